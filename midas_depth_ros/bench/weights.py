"""Which weights are timed: the official ones, or random ones of the same network.

How long a network takes does not depend on its weights, so a robot without the official file can
be measured too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.commands.output import refusing, write_whole
from midas_depth_ros.depth import weights
from midas_depth_ros.depth.errors import UnknownModel, WeightsError
from midas_depth_ros.depth.models import embedded, midas_small
from midas_depth_ros.depth.weights import user_cache
from midas_depth_ros.images.errors import UnreadableFile, printable
from midas_depth_ros.options.files import check_file

EMBEDDED, MIDAS_SMALL, AUTO = 'embedded', 'midas_small', 'auto'
SEED = 0


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file, what it is called in the report, and what is to be said about it."""

    path: Path
    name: str
    note: str = ''


def find_weights(model: str) -> Weights:
    """The weights of `model`: auto, midas_small, embedded or a path.

    auto is midas_small. Raises UnknownModel, and CommandError where none can be written.
    """
    if model == EMBEDDED:
        return Weights(embedded.shipped_weights(), EMBEDDED)
    if model not in (AUTO, MIDAS_SMALL):
        path = Path(os.path.expanduser(model))  # Path.expanduser raises where there is no such user
        try:
            check_file(path)
        except UnreadableFile as error:
            raise UnknownModel(
                f'{printable(model)} is neither auto, midas_small, embedded nor a file: {error}'
            ) from error
        return Weights(path, path.name)
    try:
        official = weights.ensure_weights(weights.MIDAS_SMALL, allow_download=False)
        return Weights(official, MIDAS_SMALL, 'official weights')
    except WeightsError:
        pass
    note = 'random weights, since the official ones are not here: the times are the same'
    return Weights(random_weights(), MIDAS_SMALL, note)


def random_weights() -> Path:
    """Weights of MiDaS_small as training would begin with, always the same.

    A state dict, or an ONNX model where there is no torch to write one (and none to read it). Kept
    in the user's cache, since conversions are kept under the file's hash. Raises CommandError.
    """
    cache = user_cache()
    folder = (cache if cache is not None else Path(tempfile.gettempdir())) / 'bench'
    has_torch = find_spec('torch') is not None
    path = folder / ('midas_small_random' + ('.pt' if has_torch else '.onnx'))
    with contextlib.suppress(UnreadableFile):
        check_file(path)
        return path
    with refusing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    arrays = random_arrays()
    if has_torch:
        import torch

        tensors = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        write_whole(path, buffer.getvalue())
    else:
        floats = {key: np.asarray(array, np.float32) for key, array in arrays.items()}
        write_whole(path, midas_small.midas_onnx(floats))
    return path


def random_arrays() -> dict[str, NDArray[Any]]:
    """Entries of a state dict of MiDaS_small, random but of a size that keeps values sane.

    Values that fade away layer by layer would become numbers too small for float32's fast path,
    and slow everything down.
    """
    rng = np.random.default_rng(SEED)
    arrays: dict[str, NDArray[Any]] = {}
    for key, shape in midas_small.midas_shapes().items():
        last = key.rpartition('.')[2]
        values = rng.standard_normal(shape).astype(np.float32)
        if last == 'num_batches_tracked':
            arrays[key] = np.array(0, np.int64)
        elif len(shape) == 4:
            arrays[key] = values * np.float32(math.sqrt(2 / math.prod(shape[1:])))
        elif last == 'running_var':
            arrays[key] = 1 + np.abs(0.1 * values)
        else:
            arrays[key] = np.float32(last == 'weight') + np.float32(0.1) * values
    return arrays
