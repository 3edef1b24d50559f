"""Random weights of any model, for its speed alone: that does not depend on them.

How far a faster precision strays from float32 does: of random weights nothing follows for trained
ones (docs/models.md has figures of both). So nobody judges a precision by these.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import BackendUnavailable
from midas_depth_ros.depth.files import reason
from midas_depth_ros.depth.models.spec import ModelSpec, Shape
from midas_depth_ros.lab.output import (
    move_into_place,
    temporary_beside,
    write_errors,
)

SEED = 0
# A larger array repeats so many numbers (a prime): a large model takes seconds, not a minute.
NUMBERS, LARGE = 65_521, 1 << 22
COUNTED = ('num_batches_tracked', 'attention_bias_idxs')  # whole numbers
CONSTANT = {'attn_mask': 0.0, 'mean': 0.5, 'std': 0.25, 'logit_scale': 1.0}
POSITIONS = 0.02  # spread of what is added to every token
CANNOT_JUDGE = (
    'not judged: random weights say nothing about what a faster precision does to trained ones'
)

FULL_DISK_BYTES = 1 << 20  # a failed write with less than this free means a full disk


def random_arrays(model: ModelSpec) -> dict[str, NDArray[Any]]:
    """A random state dict, always the same, scaled so that activations keep their size.

    Activations that shrink from layer to layer would become subnormal numbers, which are slow.
    """
    rng = np.random.default_rng(SEED)
    return {key: _values(key, shape, rng) for key, shape in model.shapes.items()}


def _values(key: str, shape: Shape, rng: np.random.Generator) -> NDArray[Any]:
    last, count = key.rpartition('.')[2], math.prod(shape)
    if count < LARGE:
        noise = rng.standard_normal(shape).astype(np.float32)
    else:
        noise = np.resize(rng.standard_normal(NUMBERS).astype(np.float32), shape)
    if last in COUNTED:
        return np.zeros(shape, np.int64)
    if last in CONSTANT:
        return np.full(shape, CONSTANT[last], np.float32)
    if last == 'running_var':
        return 1 + np.abs(np.float32(0.1) * noise)
    if len(shape) == 4:
        return noise * np.float32(math.sqrt(2 / math.prod(shape[1:])))
    if len(shape) == 2:
        return noise * np.float32(math.sqrt(1 / shape[1]))
    if len(shape) > 1:
        return noise * np.float32(POSITIONS)
    return np.float32(last == 'weight') + np.float32(0.1) * noise


def write_random_weights(model: ModelSpec, folder: Path, name: str = '') -> Path:
    """Write random weights into a folder, by default under a name that tells which model it is.

    A state dict or an archive; an ONNX model where torch is missing. Raises CommandError where it
    cannot be written, BackendUnavailable where that model needs torch.
    """
    path = folder / (name or model.weights.name)
    if model.weights.suffix != '.npz' and find_spec('torch') is None:
        path = path.with_suffix('.onnx')
    with temporary_beside(path) as part:
        with write_errors(path):
            _write(model, part)
        move_into_place(part, path)
    return path


def _write(model: ModelSpec, path: Path) -> None:
    arrays: dict[str, Any] = dict(random_arrays(model))
    if path.suffix == '.onnx':
        if model.onnx is None:
            raise BackendUnavailable(f'{model.title} runs with torch only: pip install torch')
        floats = {key: np.asarray(array, np.float32) for key, array in arrays.items()}
        path.write_bytes(model.onnx.make(floats, {}))
    elif path.suffix == '.npz':
        np.savez(path, **arrays)
    else:
        import torch

        try:
            torch.save({key: torch.from_numpy(array) for key, array in arrays.items()}, path)
        except RuntimeError as error:  # torch's words for a full disk, among others
            full = shutil.disk_usage(path.parent).free < FULL_DISK_BYTES
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, os.strerror(number) if full else reason(error)) from error
