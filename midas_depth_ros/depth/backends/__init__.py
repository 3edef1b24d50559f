"""Inference backends: the library that runs the network.

A backend takes the preprocessed picture and gives relative inverse depth at network size. To add
one, write a class that satisfies `Backend`, and a row in `BACKENDS`: what it reads, how to import
it and what to install. Nothing here imports a library before it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import BackendUnavailable

AUTO = 'auto'
PRECISIONS = ('f32', 'bf16', 'f16', 'int8')

# What importing a compiled library raises where it is missing, or was built for something else.
IMPORT_FAILURES = (ImportError, OSError, RuntimeError, AttributeError)


class Backend(Protocol):
    """A loaded network."""

    @property
    def name(self) -> str:
        """The backend's name in `BACKENDS`."""

    @property
    def precision(self) -> str:
        """The numbers it computes with: one of `PRECISIONS`."""

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32 as the model's `preprocess` makes it, to (h, w) float32, >= 0."""

    def close(self) -> None:
        """Free the network; may be called again."""


Factory = Callable[[Path, int], Backend]


@dataclass(frozen=True)
class Entry:
    """One row of the table of backends."""

    reads: tuple[str, ...]  # suffixes of the weights files
    load: Callable[[], Factory]  # imports the library; may raise IMPORT_FAILURES
    remedy: str


def _load_torch() -> Factory:
    from midas_depth_ros.depth.timm_import import import_timm

    import_timm()
    from midas_depth_ros.depth.backends.torch_backend import TorchBackend

    return TorchBackend


def _load_opencv() -> Factory:
    from midas_depth_ros.depth.backends.opencv_backend import OpencvBackend

    return OpencvBackend


# In the order in which 'auto' tries them.
BACKENDS = {
    'opencv': Entry(
        reads=('.npz',),
        load=_load_opencv,
        remedy='install it with: pip install opencv-python-headless',
    ),
    'torch': Entry(
        reads=('.pt', '.pth', '.npz'),
        load=_load_torch,
        remedy='install it with: pip install torch torchvision timm',
    ),
}


def find_backend(name: str, suffix: str) -> Factory:
    """Import a backend that reads weights files of this suffix; 'auto' = the first that can.

    Returns what makes the backend: `factory(weights_path, num_threads)`, 0 threads = the
    library's own choice. Raises BackendUnavailable where there is none, with the list and remedy.
    """
    if name != AUTO and name not in BACKENDS:
        known = ', '.join([AUTO, *BACKENDS])
        raise BackendUnavailable(f'unknown backend {name!r}: choose one of {known}')
    chosen = {name: BACKENDS[name]} if name in BACKENDS else BACKENDS
    candidates = {key: entry for key, entry in chosen.items() if suffix in entry.reads}
    if not candidates:
        readable = '; '.join(f'{key} reads {", ".join(e.reads)}' for key, e in chosen.items())
        raise BackendUnavailable(
            f'no backend of this version reads files named *{suffix} ({readable}): give the '
            'weights as a PyTorch state dict'
        )
    failures = []
    for key, entry in candidates.items():
        try:
            return entry.load()
        except IMPORT_FAILURES as error:
            reason = f'{type(error).__name__}: {error}'.splitlines()[0]
            failures.append(f'backend {key!r} cannot be imported ({reason}): {entry.remedy}')
    raise BackendUnavailable('; '.join(failures))
