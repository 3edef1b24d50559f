"""Runs a network with PyTorch on the CPU: traced, frozen, channels_last, in inference mode.

In: a state dict as a file. Then: (1, 3, h, w) float32 to (h, w) float32. One trace serves every
size: a camera of another size neither stalls the robot for a new trace nor keeps a second copy of
the weights. So a module must compute with tensors whatever follows from the size, such as the
resized position embedding of a transformer: numbers would be those of the first size for ever.
`test_network_sizes.py` compares every model.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from midas_depth_ros.depth.backends import AUTO, Answer, LoadedBackend, answer_of
from midas_depth_ros.depth.errors import BackendUnavailable
from midas_depth_ros.depth.files import reason
from midas_depth_ros.depth.models import digest_of, read_arrays, spec_of
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize

DTYPES = {'f32': torch.float32, 'bf16': torch.bfloat16}
WARM_UP_RUNS = 2  # TorchScript optimises during its first runs, not during the first frames


class TorchBackend(LoadedBackend):
    """A model that has a torch module, on the CPU.

    `num_threads` limits torch's pool, which belongs to the whole process: the last value set holds
    for every torch user in it. 0 leaves it as it is: all cores, unless the process set a limit.

    Raises WeightsCorrupt, WeightsMismatch, InvalidNetworkSize, and BackendUnavailable where this
    torch cannot trace.
    """

    name = 'torch'

    def __init__(
        self,
        weights: Path,
        num_threads: int = 0,
        precision: str = AUTO,
        size: NetworkSize = OFFICIAL,
    ) -> None:
        self._num_threads = num_threads
        self.precision = 'f32' if precision == AUTO else precision
        self.choice = f'{self.precision}: ' + (
            'backend torch takes another only when asked' if precision == AUTO else 'as asked'
        )
        self.spec = size.applied_to(spec_of(weights))
        self.weights_sha256 = digest_of(weights)
        self._dtype = DTYPES[self.precision]
        self._limit_threads()
        network = load_network(weights).to(self._dtype)
        if hasattr(network, 'with_error'):
            network = WithError(network)
        shape = (1, 3, *self.spec.picture.usual_size)
        self._network = frozen_trace(network, shape, self._dtype)
        for _ in range(WARM_UP_RUNS):
            self.infer(np.zeros(shape, np.float32))

    def _run(self, network_input: NDArray[np.float32]) -> Answer:
        self._limit_threads()
        with torch.inference_mode():
            picture = torch.from_numpy(network_input)
            picture = picture.to(self._dtype, memory_format=torch.channels_last)
            outputs = self._network(picture)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return answer_of([each[0].float().contiguous().numpy() for each in outputs])

    def _limit_threads(self) -> None:
        # OpenMP keeps the limit per calling thread, and the caller may be a worker thread.
        if self._num_threads and torch.get_num_threads() != self._num_threads:
            torch.set_num_threads(self._num_threads)


class WithError(torch.nn.Module):
    """A network whose `with_error` is run: its `forward` gives depth alone."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, h, w) to depth and the error that is expected of it, (B, h, w) each."""
        both: tuple[torch.Tensor, torch.Tensor] = self.network.with_error(picture)
        return both


def load_network(weights: Path) -> torch.nn.Module:
    """The network of a weights file, with its weights.

    Raises WeightsCorrupt, WeightsMismatch, and BackendUnavailable where it has no torch module.
    """
    spec = spec_of(weights)
    network: torch.nn.Module = spec.module()
    network.load_state_dict(spec.rename(read_state_dict(weights)), strict=True)
    return network


def frozen_trace(
    network: torch.nn.Module, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> torch.jit.ScriptModule:
    """Trace it with an input (1, 3, h, w), and freeze its weights into the graph (norms folded).

    Raises BackendUnavailable where this torch cannot: an error is better than running slowly.
    """
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    example = torch.zeros(shape, dtype=dtype)
    example = example.to(memory_format=torch.channels_last)
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # TorchScript is deprecated, but its replacement needs a compiler on the robot.
            warnings.filterwarnings('ignore', r'.*torch\.jit', DeprecationWarning)
            trace = torch.jit.trace(network, example, check_trace=False)
            return torch.jit.freeze(trace)
    except (RuntimeError, AttributeError) as error:
        raise BackendUnavailable(
            f'torch {torch.__version__} cannot trace and freeze the network '
            f'({first_sentence(error)}): install another version of torch'
        ) from error


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """A file's state dict, checked against its model; runs no code of the file.

    Raises WeightsCorrupt where it cannot be read, WeightsMismatch where it is of another network.
    """
    return {key: torch.from_numpy(np.array(array)) for key, array in read_arrays(path).items()}


def first_sentence(error: BaseException) -> str:
    """The first sentence of an error's text, or its type."""
    return reason(error).split('. ')[0].rstrip('.')
