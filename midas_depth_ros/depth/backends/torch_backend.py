"""Runs a network with PyTorch on the CPU: traced, frozen, channels_last, in inference mode.

In: a state dict as a file, the official one of MidasSmall or the archive of EmbeddedNet. Then:
(1, 3, h, w) float32 to (h, w) float32. One trace serves every size, because the networks are
convolutional and the sides multiples of 32, so a camera of another size neither stalls the robot
for a new trace nor keeps a second copy of the weights. The golden outputs at three sizes are
tested against one trace.
"""

from __future__ import annotations

import io
import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from midas_depth_ros.depth.archives import reason
from midas_depth_ros.depth.backends import AUTO
from midas_depth_ros.depth.errors import BackendUnavailable, DepthError, WeightsCorrupt
from midas_depth_ros.depth.models import (
    EMBEDDED,
    MIDAS_SMALL,
    kind_of,
    read_arrays,
    refuse_what_is_not_finite,
)
from midas_depth_ros.depth.networks import EmbeddedNet, MidasSmall
from midas_depth_ros.depth.torch_files import (
    MOST_BYTES,
    check_old_torch_file,
    matched,
    read_torch_file,
    table_of_tensors,
)
from midas_depth_ros.depth.weights import MIDAS_SMALL as MIDAS_SMALL_FILE
from midas_depth_ros.depth.weights import digest_of, opened, read_file

TRACED_SIZE = (192, 256)  # (h, w): what a 4:3 camera gives
DTYPES = {'f32': torch.float32, 'bf16': torch.bfloat16}
WARM_UP_RUNS = 2  # TorchScript optimises during its first runs; the first frame need not wait
OLD_FORMAT = b'\x80'  # how a pickle begins: a file of torch before 1.6

# What torch.load raises on files that are cut, altered or something else altogether.
LOAD_FAILURES = (
    RuntimeError,
    OSError,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    AssertionError,
    AttributeError,
    TypeError,
    struct.error,
    MemoryError,
)


class TorchBackend:
    """MidasSmall on the CPU, or EmbeddedNet where the file is a NumPy archive.

    `num_threads` bounds torch's pool, which belongs to the whole process: the last one set holds
    for every torch user in it. 0 leaves it as it is, which is all cores unless somebody said
    otherwise.

    Raises WeightsCorrupt, WeightsMismatch, and BackendUnavailable where this torch cannot trace.
    """

    name = 'torch'

    def __init__(self, weights: Path, num_threads: int = 0, precision: str = AUTO) -> None:
        self._num_threads = num_threads
        self.precision = 'f32' if precision == AUTO else precision
        self.choice = f'{self.precision}: ' + (
            'backend torch takes another only when asked' if precision == AUTO else 'as asked'
        )
        self.preprocess = kind_of(weights).preprocess
        self.weights_sha256 = digest_of(weights)
        self._dtype = DTYPES[self.precision]
        self._bound_threads()
        network = load_network(weights).to(self._dtype)
        self._network: torch.jit.ScriptModule | None = frozen_trace(network, self._dtype)
        for _ in range(WARM_UP_RUNS):
            self.infer(np.zeros((1, 3, *TRACED_SIZE), np.float32))

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32, sides multiples of 32, to (h, w) float32."""
        if self._network is None:
            raise DepthError('this torch backend is closed: load it again')
        self._bound_threads()
        with torch.inference_mode():
            picture = torch.from_numpy(network_input)
            picture = picture.to(self._dtype, memory_format=torch.channels_last)
            output = self._network(picture)[0].float().contiguous()
        inverse_depth: NDArray[np.float32] = output.numpy()
        return inverse_depth

    def close(self) -> None:
        self._network = None

    def _bound_threads(self) -> None:
        # OpenMP keeps the bound per calling thread, and the caller may be a worker thread.
        if self._num_threads and torch.get_num_threads() != self._num_threads:
            torch.set_num_threads(self._num_threads)


def load_network(weights: Path) -> torch.nn.Module:
    """The network that the file is of, with its weights; raises WeightsCorrupt, WeightsMismatch."""
    if kind_of(weights) is EMBEDDED:
        small = EmbeddedNet()
        small.load_state_dict(_tensors(read_arrays(weights)), strict=True)
        return small
    network = MidasSmall()
    network.load_state_dict(read_state_dict(weights, network.state_dict()), strict=True)
    return network


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}


def frozen_trace(
    network: torch.nn.Module, dtype: torch.dtype = torch.float32
) -> torch.jit.ScriptModule:
    """Trace the network and freeze its weights into the graph (normalisation folded).

    Raises BackendUnavailable where this torch fails at it: the slow way in silence would be
    worse than an error.
    """
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    example = torch.zeros(1, 3, *TRACED_SIZE, dtype=dtype)
    example = example.to(memory_format=torch.channels_last)
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # torch announces the end of TorchScript; its replacement needs a compiler on the robot.
            warnings.filterwarnings('ignore', r'.*torch\.jit', DeprecationWarning)
            trace = torch.jit.trace(network, example, check_trace=False)
            return torch.jit.freeze(trace)
    except (RuntimeError, AttributeError) as error:
        raise BackendUnavailable(
            f'torch {torch.__version__} cannot trace and freeze the network '
            f'({first_sentence(error)}): install another version of torch'
        ) from error


def read_state_dict(path: Path, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read a state dict and hold its keys and shapes against `wanted`; runs no code of the file.

    Raises WeightsCorrupt where the file cannot be read, WeightsMismatch where it is not of this
    network.
    """
    with opened(path, MOST_BYTES) as file:
        old = file.read(1) == OLD_FORMAT
    loaded = _read_old_file(path) if old else _tensors(read_torch_file(path))
    shapes = {key: tuple(tensor.shape) for key, tensor in wanted.items()}
    matched(loaded, shapes, path, MIDAS_SMALL.title, MIDAS_SMALL_FILE.name)
    refuse_what_is_not_finite({key: t.float().numpy() for key, t in loaded.items()}, path)
    return loaded


def _read_old_file(path: Path) -> dict[str, torch.Tensor]:
    """A file of torch before 1.6, as only torch reads it."""
    content = read_file(path, MOST_BYTES)
    check_old_torch_file(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's advice on odd files adds nothing to an error
            loaded: Any = torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)
    except LOAD_FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a PyTorch state dict ({first_sentence(error)}): fetch or '
            'copy the file again'
        ) from error
    return table_of_tensors(loaded, torch.Tensor, path)


def first_sentence(error: BaseException) -> str:
    """The first sentence of an error's text, or its type where it says nothing.

    What torch says after it is advice to load the file without the safety of weights_only.
    """
    return reason(error).split('. ')[0].rstrip('.')
