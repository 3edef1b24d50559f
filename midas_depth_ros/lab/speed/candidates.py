"""What is timed: the usual recipe, and the network on each backend in each precision.

Each candidate has the network alone and the whole pipeline, from a picture to depth and heatmap at
the picture's size. For backends that cannot run there is a reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import models
from midas_depth_ros.depth.backends import (
    BACKENDS,
    PRECISIONS,
    Backend,
    find_backend,
    import_timm,
    model_of,
)
from midas_depth_ros.depth.errors import BackendUnavailable, DepthError, WeightsError
from midas_depth_ros.depth.estimator import DepthEstimator
from midas_depth_ros.depth.models import AUTO, PREFERRED, Interpolation
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
from midas_depth_ros.depth.weights import user_cache
from midas_depth_ros.lab.output import write_errors
from midas_depth_ros.lab.speed.random_weights import write_random_weights
from midas_depth_ros.options.files import UnreadableFile, check_file
from midas_depth_ros.views import Heatmap, HeatmapOptions

# --- The weights: the official ones, or random ones, which take the same time.


@dataclasses.dataclass(frozen=True)
class Weights:
    """A weights file, its name in the report, and a note about it. `random`: made up."""

    path: Path
    name: str
    note: str = ''
    random: bool = False


def find_weights(model: str, accept_licence: str = '') -> Weights:
    """Return the weights of `model`: auto (midas_small), a model's name or a path.

    `accept_licence`: see `models.check_licence`. Raises UnknownModel, WeightsError, and
    CommandError if random weights cannot be written.
    """
    name = PREFERRED if model == AUTO else model
    if name != PREFERRED:
        path = models.find_weights(name, allow_download=False, accept_licence=accept_licence)
        return Weights(path, name if name in models.names() else models.name_of(path))
    try:
        official = models.find_weights(name, allow_download=False)
        return Weights(official, name, 'official weights')
    except WeightsError:
        pass
    note = 'random weights, since the official ones are not on disk; the times are the same'
    return Weights(random_weights(), name, note, random=True)


def random_weights() -> Path:
    """Return random weights of MiDaS_small, always the same, in the user's cache.

    A state dict, or an ONNX model where torch is not installed. Raises CommandError.
    """
    cache = user_cache()
    folder = (cache if cache is not None else Path(tempfile.gettempdir())) / 'bench'
    name = 'midas_small_random' + ('.pt' if find_spec('torch') is not None else '.onnx')
    with contextlib.suppress(UnreadableFile):
        check_file(folder / name)
        return folder / name
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return write_random_weights(models.spec(PREFERRED), folder, name)


# --- The baseline, called the usual recipe: MiDaS on a CPU without any optimisation.
#
# PyTorch eager, float32, default memory layout; picture and depth are resized by cubic
# interpolation; depth is stretched from its minimum to its maximum, and coloured.

USUAL_RECIPE = 'usual recipe'


class UsualRecipe:
    """The network of a weights file, eager. Raises BackendUnavailable without torch and timm."""

    def __init__(self, weights: Path, num_threads: int = 0, size: NetworkSize = OFFICIAL) -> None:
        try:
            import torch

            model = model_of(weights)
            if model is not None and model.needs_timm:
                import_timm()
            from midas_depth_ros.depth.backends.torch_backend import load_network
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            raise BackendUnavailable(
                f'the usual recipe needs torch and timm ({error}): pip install torch torchvision '
                'timm'
            ) from error
        self._torch = torch
        if num_threads:
            torch.set_num_threads(num_threads)
        self._network = load_network(weights).eval()
        self._picture = size.applied_to(models.spec_of(weights)).picture

    def preprocess(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB to (1, 3, h, w) float32, contiguous."""
        return np.ascontiguousarray(self._picture.preprocess(rgb))

    def network(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32 to (h, w) float32."""
        with self._torch.no_grad():
            depth: NDArray[np.float32] = self._network(self._torch.from_numpy(network_input))[0]
        return np.asarray(depth)

    def depth_and_heatmap(
        self, rgb: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """(H, W, 3) uint8 RGB to (H, W) float32 and a (H, W, 3) uint8 BGR heatmap."""
        torch = self._torch
        batch = torch.from_numpy(self._network_input(rgb))
        with torch.no_grad():
            prediction = self._network(batch)
            prediction = torch.nn.functional.interpolate(
                prediction.unsqueeze(1), size=rgb.shape[:2], mode='bicubic', align_corners=False
            ).squeeze()
        depth = prediction.cpu().numpy()
        low, high = depth.min(), depth.max()
        index = (255 * (depth - low) / max(high - low, 1e-6)).astype(np.uint8)
        return depth, cv2.applyColorMap(index, cv2.COLORMAP_INFERNO)

    def _network_input(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._picture.interpolation is not Interpolation.CUBIC:
            return self.preprocess(rgb)
        picture = rgb / 255.0
        size = self._picture.network_size(rgb.shape[1], rgb.shape[0])
        small = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        normalised = (small - np.array(self._picture.mean)) / np.array(self._picture.std)
        return np.ascontiguousarray(normalised.transpose(2, 0, 1)[np.newaxis], np.float32)


F32 = 'f32'
FRAME_PERIOD_S = 1 / 30  # of the stamps, which the heatmap's colour range follows

Picture = NDArray[np.uint8]
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Infer = Callable[[Picture], NDArray[np.float32]]
Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to run the network. `preprocess` gives the input of `network`."""

    backend: str
    precision: str
    preprocess: Infer
    network: Network
    pipeline: Callable[[Picture], object]

    @property
    def name(self) -> str:
        """Backend and precision as text."""
        return self.backend if self.is_usual else f'{self.backend} {self.precision}'

    @property
    def is_usual(self) -> bool:
        """Whether this is the usual recipe."""
        return self.backend == USUAL_RECIPE


class Pipeline:
    """Picture to depth and heatmap as in the node, both at the picture's size."""

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


LOADING = 'loading'  # begins the report of what is loaded


def find_candidates(
    weights: Path,
    num_threads: int,
    report: Report,
    give_up_s: float = float('inf'),
    ready: Sequence[Candidate] = (),
    precisions: Collection[str] = PRECISIONS,
    backends: Collection[str] = tuple(BACKENDS),
    size: NetworkSize = OFFICIAL,
    without: Collection[str] = (),
) -> tuple[list[Candidate], list[str]]:
    """Return all that can run these weights, the usual recipe first, and why others cannot.

    `ready` are already loaded; `precisions` and `backends` are those to load, `without` names of
    what not to load all the same. After `give_up_s` seconds no others are loaded, since the first
    conversion of a model takes long.
    """
    began = time.monotonic()
    found = list(ready)
    there = {(one.backend, one.precision) for one in ready}
    absent: list[str] = []
    wanted: list[tuple[str, str]] = [(USUAL_RECIPE, F32)]
    for name, entry in BACKENDS.items():
        if weights.suffix in entry.reads and name in backends:
            wanted += [(name, each) for each in entry.precisions if each in precisions]
    for name, precision in sorted(set(wanted) - there, key=_loading_order):
        if time.monotonic() - began > give_up_s and name != USUAL_RECIPE:
            absent.append(f'{name} {precision}: skipped: out of time')
            continue
        if f'{name} {precision}' in without:
            continue
        report(f'{LOADING} {name} {precision}')
        try:
            found.append(load_candidate(name, precision, weights, num_threads, size))
        except DepthError as error:
            absent.append(f'{name} {precision}: {error}')
    return sorted(found, key=_report_order), absent


def _loading_order(variant: tuple[str, str]) -> tuple[int, int, int]:
    """Order of loading: fast loaders, the usual recipe, then the rest, which may be skipped."""
    name, precision = variant
    if name == USUAL_RECIPE:
        return 1, 0, 0
    quick = name != 'torch' and precision in (F32, 'bf16')
    return (0 if quick else 2), list(BACKENDS).index(name), PRECISIONS.index(precision)


def _report_order(one: Candidate) -> tuple[int, int]:
    """Order in the report: the usual recipe first, then as in the table of backends."""
    if one.is_usual:
        return -1, 0
    return list(BACKENDS).index(one.backend), PRECISIONS.index(one.precision)


def load_candidate(
    name: str, precision: str, weights: Path, num_threads: int, size: NetworkSize = OFFICIAL
) -> Candidate:
    """Load a backend or the usual recipe. Raises DepthError."""
    if name == USUAL_RECIPE:
        recipe = UsualRecipe(weights, num_threads, size)
        return Candidate(name, F32, recipe.preprocess, recipe.network, recipe.depth_and_heatmap)
    factory = find_backend(name, weights.suffix, precision, model_of(weights))
    return candidate_of(factory(weights, num_threads, precision, size), weights)


def candidate_of(backend: Backend, weights: Path) -> Candidate:
    """Return a loaded backend as a candidate."""
    estimator = DepthEstimator(weights.name, backend)
    return Candidate(
        backend.name,
        backend.precision,
        backend.preprocess,
        backend.infer,
        Pipeline(estimator.infer, estimator.enlarge),
    )
