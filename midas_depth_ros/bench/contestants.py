"""What is timed: the usual recipe, and the network on each backend in each precision.

In: a weights file. Out: contestants with the network alone and the whole pipeline, from a picture
to depth and heatmap at the picture's size; and for each that cannot take part the reason.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.bench import usual_recipe
from midas_depth_ros.depth.backends import BACKENDS, PRECISIONS, Backend, find_backend
from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.depth.estimator import DepthEstimator, NetworkPredictor
from midas_depth_ros.views import Heatmap, HeatmapOptions

F32 = 'f32'
FRAME_PERIOD_S = 1 / 30  # of the stamps that the heatmap's colours follow

Picture = NDArray[np.uint8]
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Infer = Callable[[Picture], NDArray[np.float32]]
Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Someone who runs the network. `preprocess` gives what `network` takes."""

    backend: str
    precision: str
    preprocess: Infer
    network: Network
    pipeline: Callable[[Picture], object]

    @property
    def name(self) -> str:
        """For people."""
        return self.backend if self.is_usual else f'{self.backend} {self.precision}'

    @property
    def is_usual(self) -> bool:
        """Whether this is what the others are compared with."""
        return self.backend == usual_recipe.NAME


class Pipeline:
    """Picture to depth and heatmap as the node makes them, both at the picture's size."""

    def __init__(self, infer: Infer, enlarge: Callable[..., NDArray[np.float32]]) -> None:
        self._infer, self._enlarge = infer, enlarge
        self._heatmap = Heatmap()
        self._options = HeatmapOptions()
        self._stamp_s = 0.0

    def __call__(self, rgb: Picture) -> tuple[NDArray[np.float32], Picture]:
        self._stamp_s += FRAME_PERIOD_S
        small = self._infer(rgb)
        size = (rgb.shape[0], rgb.shape[1])
        heatmap = self._heatmap.render(small, rgb, self._stamp_s, self._options, size)
        return self._enlarge(small, size), heatmap


def gather(
    weights: Path,
    num_threads: int,
    report: Report,
    give_up_s: float = float('inf'),
    ready: Sequence[Contestant] = (),
) -> tuple[list[Contestant], list[str]]:
    """Everybody who can run these weights, the usual recipe first; and why others cannot.

    `ready` are loaded already. After `give_up_s` seconds nobody else is: converting a model for
    the first time takes its time.
    """
    began = time.monotonic()
    found = list(ready)
    there = {(one.backend, one.precision) for one in ready}
    absent: list[str] = []
    wanted: list[tuple[str, str]] = [(usual_recipe.NAME, F32)]
    for name, entry in BACKENDS.items():
        if weights.suffix in entry.reads:
            wanted += [(name, precision) for precision in entry.precisions]
    for name, precision in sorted(set(wanted) - there, key=_order):
        if time.monotonic() - began > give_up_s and name != usual_recipe.NAME:
            absent.append(f'{name} {precision}: left out, for time ran short')
            continue
        report(f'loading {name} {precision}')
        try:
            found.append(loaded(name, precision, weights, num_threads))
        except DepthError as error:
            absent.append(f'{name} {precision}: {error}')
    return sorted(found, key=_shown), absent


def _order(who: tuple[str, str]) -> tuple[int, int, int]:
    """Who loads in a moment, then the usual recipe, then the rest, should time run short."""
    name, precision = who
    if name == usual_recipe.NAME:
        return 1, 0, 0
    quick = name != 'torch' and precision in (F32, 'bf16')
    return (0 if quick else 2), list(BACKENDS).index(name), PRECISIONS.index(precision)


def _shown(one: Contestant) -> tuple[int, int]:
    """The usual recipe first, then as the table of backends has them."""
    if one.is_usual:
        return -1, 0
    return list(BACKENDS).index(one.backend), PRECISIONS.index(one.precision)


def loaded(name: str, precision: str, weights: Path, num_threads: int) -> Contestant:
    """One contestant; raises DepthError where it cannot take part."""
    if name == usual_recipe.NAME:
        recipe = usual_recipe.UsualRecipe(weights, num_threads)
        return Contestant(name, F32, recipe.preprocess, recipe.network, recipe.depth_and_heatmap)
    factory = find_backend(name, weights.suffix, precision)
    return of_backend(factory(weights, num_threads, precision), weights)


def of_backend(backend: Backend, weights: Path) -> Contestant:
    """A loaded backend as a contestant."""
    estimator = DepthEstimator(weights.name, NetworkPredictor(backend))
    return Contestant(
        backend.name,
        backend.precision,
        backend.preprocess,
        backend.infer,
        Pipeline(estimator.infer, estimator.enlarge),
    )
