"""`ModelSpec`: what is needed to find, load, run and convert a model. Imports no torch."""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import BackendUnavailable
from midas_depth_ros.depth.lanczos import lanczos
from midas_depth_ros.depth.models.published import Published
from midas_depth_ros.depth.weights_file import WeightsFile

Shape = tuple[int, ...]
Weights = Mapping[str, NDArray[Any]]  # a state dict's arrays by name
# Of weights files, with those of other formats that are read, too.
TABLES = ('.pt', '.pth', '.safetensors')
SUFFIXES = {'.npz': ('.npz',), **dict.fromkeys(TABLES, TABLES)}
# Numbers of a file that were not learned: of pictures, of training, of what a module computes.
NOT_LEARNED = (
    *('mean', 'std', 'running_mean', 'running_var', 'num_batches_tracked'),
    *('attn_mask', 'attention_bias_idxs'),
)
NORM_ENTRIES = ('weight', 'bias', 'running_mean', 'running_var')  # of a batch normalisation
USUAL_PICTURE = (640, 480)  # (width, height) of most cameras
MEAN_COLOUR = (123.675, 116.28, 103.53)  # of ImageNet's pictures: what letterboxes are filled with
NEAREST_PART = 1e-3  # of the farthest relative depth: what is nearer counts as that near
AT_LIMIT = 0.98  # of the farthest metres: from here on a network only says "at least so far"


class Output(enum.Enum):
    """What a network gives; the estimator always gives relative inverse depth."""

    RELATIVE_INVERSE_DEPTH = 'relative inverse depth'  # affine in 1/Z
    DISPARITY = 'disparity'  # proportional to 1/Z
    RELATIVE_DEPTH = 'relative depth'  # proportional to Z
    METRIC_DEPTH = 'metric depth'  # Z in metres

    @property
    def proportional(self) -> bool:
        """Whether what the estimator makes of it is proportional to 1/Z: it has no shift."""
        return self is not Output.RELATIVE_INVERSE_DEPTH


class Sizing(enum.Enum):
    """How the network's input size follows from a picture's size."""

    FIT = 'fit'  # keep the proportions: the longer side becomes `size`
    COVER = 'cover'  # keep the proportions: the shorter side becomes `size`
    NEAREST_SCALE = 'nearest scale'  # keep the proportions: whichever of both is nearer to 1
    STRETCH = 'stretch'  # always the same size
    LETTERBOX = 'letterbox'  # always the same size, proportions kept, the rest in the mean colour


class Interpolation(enum.Enum):
    """How a picture is resized."""

    CUBIC = 'cubic'  # of the picture in float32
    # In float64, as the official code of most networks does it: OpenCV's resize of float32 is off
    # by 2e-5 where it is an accelerated one, and DPT-Hybrid makes a hundred times as much of that.
    CUBIC_FLOAT64 = 'cubic in float64'
    LINEAR = 'linear'  # in uint8, without averaging where it shrinks
    LANCZOS = 'lanczos'  # in uint8, averaged where it shrinks
    AREA = 'area'  # averaged where it shrinks, bilinear where it grows; in uint8


class Enlargement(enum.Enum):
    """How a network's output is brought to the size of the picture."""

    CUBIC = 'bicubic'  # corners not aligned; it overshoots at edges
    LINEAR = 'bilinear'  # corners not aligned
    LINEAR_CORNERS = 'bilinear, corners aligned'


@dataclasses.dataclass(frozen=True)
class PictureInput:
    """How a picture becomes the network's input: RGB in [0, 1], resized, normalised.

    With `bgr` the colours are in the order blue, green, red; `mean` and `std` never are. `size`
    (h, w) is the size, with Sizing.FIT the largest, with COVER and NEAREST_SCALE that of a square
    picture. With the latter two `most_aspect` bounds the longer side, in parts of `size`: a longer
    picture is squeezed. `mean` and `std` are per colour. `official`: what `with_short_side` made
    this from; None where this is the model's own.
    """

    size: tuple[int, int]
    sizing: Sizing = Sizing.STRETCH
    multiple: int = 1
    interpolation: Interpolation = Interpolation.AREA
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    most_aspect: float = math.inf
    bgr: bool = False
    official: PictureInput | None = None

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.multiple < 1 or any(s % self.multiple for s in self.size):
            raise ValueError(
                f'a picture of {self.size} (h, w) in multiples of {self.multiple}: give positive '
                'sides that are multiples'
            )
        if self.sizing in (Sizing.COVER, Sizing.NEAREST_SCALE) and len(set(self.size)) > 1:
            raise ValueError(f'size is {self.size} (h, w): give that of a square picture')
        if not all(0 < value < math.inf for value in self.std):
            raise ValueError(f'std is {self.std}: give three numbers above 0')
        if not self.most_aspect >= 1:
            raise ValueError(f'most_aspect is {self.most_aspect}: give 1 or more')

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only (h, w) that the network takes; None where it takes every multiple."""
        return self.size if self.sizing in (Sizing.STRETCH, Sizing.LETTERBOX) else None

    @property
    def usual_size(self) -> tuple[int, int]:
        """(h, w) of the network's input for a 4:3 picture."""
        width, height = self.network_size(*USUAL_PICTURE)
        return height, width

    @property
    def most_pixels(self) -> float:
        """Of the largest input of the network; infinite without a bound."""
        if self.sizing in (Sizing.FIT, Sizing.STRETCH):
            return math.prod(self.size)
        return min(self.size) * self.most_aspect * min(self.size)

    def with_short_side(self, pixels: int) -> PictureInput:
        """The same, but the shorter side of the network's input is `pixels`.

        Raises ValueError where that is not a multiple, and where the network takes one size only.
        """
        if self.fixed_size:
            high, wide = self.fixed_size
            raise ValueError(f'this network takes {wide} x {high} pixels only')
        if pixels < 1 or pixels % self.multiple:
            raise ValueError(
                f'a short side of {pixels} pixels: give a positive multiple of {self.multiple}'
            )
        return dataclasses.replace(
            self, size=(pixels, pixels), sizing=Sizing.COVER, official=self.official or self
        )

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the network's input for a picture of `width` x `height` pixels.

        Unless it is always the same, the picture is scaled as `sizing` says, and each side rounded
        to the nearest multiple (half to even), at least one. Raises ValueError where a side is not
        positive.
        """
        if width < 1 or height < 1:
            raise ValueError(f'a picture of {width} x {height} pixels has no network input size')
        high, wide = self.size
        if self.fixed_size:
            return wide, high
        by_width, by_height = wide / width, high / height
        if self.sizing is Sizing.FIT:
            scale = min(by_width, by_height)
        elif self.sizing is Sizing.COVER:
            scale = max(by_width, by_height)
        else:
            scale = by_width if abs(1 - by_width) < abs(1 - by_height) else by_height
        sides = self._nearest(scale * width), self._nearest(scale * height)
        if self.sizing is Sizing.FIT:
            return min(sides[0], wide), min(sides[1], high)
        longest = self.most_aspect * high
        if max(sides) <= longest:
            return sides
        most = self.multiple * int(longest / self.multiple)
        return min(sides[0], most), min(sides[1], most)

    def uncovered(self, small: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """What shows the picture of `shape` (H, W) in (h, w) float32, an answer at network size."""
        if self.sizing is not Sizing.LETTERBOX:
            return small
        return np.ascontiguousarray(small[self._window(*shape)])

    def _window(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of a letterbox in which the picture is."""
        high, wide = self.size
        scale = min(high / height, wide / width)
        rows, columns = (max(1, round(scale * side)) for side in (height, width))
        top, left = (high - rows) // 2, (wide - columns) // 2
        return slice(top, top + rows), slice(left, left + columns)

    def _nearest(self, side: float) -> int:
        # Half to even, as NumPy does.
        return max(round(side / self.multiple) * self.multiple, self.multiple)

    def preprocess(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB to (1, 3, h, w) float32, the network's input.

        In memory the channels are last, as OpenVINO expects them; the other libraries copy.
        """
        size = self.network_size(rgb.shape[1], rgb.shape[0])
        small = np.ascontiguousarray(self._resized(rgb, size))  # `rows` is a view of it
        mean, std = np.array(self.mean, small.dtype), np.array(self.std, small.dtype)
        # (v / 255 - mean) / std, in two passes over whole rows: by pixel it would be slow.
        rows = small.reshape(size[1], 3 * size[0])
        rows *= np.tile(1 / (255 * std), size[0])
        if mean.any():
            rows += np.tile(-mean / std, size[0])
        if self.bgr:
            small = np.ascontiguousarray(small[:, :, ::-1])
        network_input: NDArray[np.float32] = small.transpose(2, 0, 1)[np.newaxis]
        return network_input.astype(np.float32, copy=False)

    def _resized(self, rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.floating[Any]]:
        """The picture at (width, height), 0..255: a new array."""
        if self.sizing is Sizing.LETTERBOX:
            whole = np.empty((size[1], size[0], 3), np.float32)
            whole[:] = MEAN_COLOUR
            rows, columns = self._window(rgb.shape[0], rgb.shape[1])
            inner = (columns.stop - columns.start, rows.stop - rows.start)
            whole[rows, columns] = dataclasses.replace(self, sizing=Sizing.STRETCH)._resized(
                rgb, inner
            )
            return whole
        # Cubic: the resize is linear, so the arithmetic comes after it, on fewer pixels.
        if self.interpolation is Interpolation.CUBIC:
            return cv2.resize(rgb.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
        if self.interpolation is Interpolation.CUBIC_FLOAT64:
            return cv2.resize(rgb.astype(np.float64), size, interpolation=cv2.INTER_CUBIC)
        if self.interpolation is Interpolation.LINEAR:
            small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        elif self.interpolation is Interpolation.LANCZOS:
            small = lanczos(rgb, size[::-1])
        else:
            small = _averaged(rgb, size)
        return small.astype(np.float32)


def _averaged(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at (width, height)."""
    width, height = size
    # OpenCV is fast at halving: a fifth of the time that a single step takes.
    while rgb.shape[0] >= 2 * height and rgb.shape[1] >= 2 * width:
        half = (rgb.shape[1] // 2, rgb.shape[0] // 2)
        rgb = np.asarray(cv2.resize(rgb, half, interpolation=cv2.INTER_AREA), np.uint8)
    far = rgb.shape[0] >= 2 * height or rgb.shape[1] >= 2 * width
    how = cv2.INTER_AREA if far else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, size, interpolation=how), np.uint8)


def enlarged(
    small: NDArray[np.float32],
    shape: tuple[int, int],
    how: Enlargement = Enlargement.CUBIC,
) -> NDArray[np.float32]:
    """Bring (h, w) float32 to `shape` = (H, W).

    Cubic interpolation overshoots at edges: its values below 0 are clipped.
    """
    if how is Enlargement.LINEAR_CORNERS:
        return _enlarged_by_corners(small, shape)
    if how is Enlargement.LINEAR:
        return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR)
    large = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.maximum(large, 0.0, out=large)


def _enlarged_by_corners(
    values: NDArray[np.float32], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Bilinear, the outermost values at the outermost pixels: OpenCV cannot."""
    for count in shape:  # rows, then columns as rows, and back
        last = values.shape[0] - 1
        at = np.linspace(0, last, count)
        before = at.astype(np.intp)
        share = (at - before).astype(np.float32)[:, np.newaxis]
        here, next_ = values[before], values[np.minimum(before + 1, last)]
        values = (here + share * (next_ - here)).T
    return np.ascontiguousarray(values)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Identifies a model file: see `OnnxModel.fingerprint` and `digest_of_shapes`."""

    network: str
    convolutions: str


@dataclasses.dataclass(frozen=True)
class OnnxGraph:
    """A network as an ONNX model, made without torch.

    `make`: the state dict as float32 and the file's metadata, to the file's bytes; ValueError where
    a number is not finite. `picture` and `depth` are the names of its input (1, 3, h, w) and output
    (1, 1, h, w), `error` that of a second output: the error that it expects of depth, in the units
    of depth, of a size of its own; '' where it has none. `output_sizes`: each (h, w) of depth that
    it gives or once gave, where that is not the size of its input. `known`: the current graph and
    earlier ones, whose files are on robots; computed where it is empty. `opencv`: (major, minor) of
    the oldest OpenCV that runs it, None where none does.
    """

    make: Callable[[Weights, Mapping[str, str]], bytes]
    picture: str = 'picture'
    depth: str = 'depth'
    error: str = ''
    output_sizes: tuple[tuple[int, int], ...] = ()
    known: tuple[Fingerprint, ...] = ()
    opencv: tuple[int, int] | None = (4, 6)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its outputs, depth first; files of an earlier edition may have fewer."""
        return (self.depth, self.error) if self.error else (self.depth,)


@dataclasses.dataclass(frozen=True)
class SeveralFiles:
    """Weights in several files of one folder, with plain values beside them.

    `names`: of the files. `values`: the names of the plain values, first those of height and width.
    `size`: (h, w) of the pictures that the network takes, by these values; ValueError, which says
    what they are and what is wanted, where it cannot be.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]
    size: Callable[[Mapping[Any, Any]], tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Network:
    """What is needed to run a network, wherever it comes from: what goes in and what comes out.

    `title` is what people read. `depth_range_m`: (nearest, farthest) of a network that gives
    metres. `focal_reference_px`: where its metres hold for a camera of this focal length, in pixels
    of the network's input: metres = output * focal length / reference; None where the focal length
    does not matter. `enlargement`: how its official code brings the output to the picture's size.
    `domain`: what it learned its metres from, in words that follow "learned": elsewhere they are
    wrong by a factor. `node_short_side`: pixels of the input's shorter side at which two cores of a
    PC take less than 200 ms for a 4:3 picture, or the smallest at which it still sees enough; 0 =
    the official size is fast enough, or the only one. `slow_on_two_cores`: even then it takes
    longer in f32.

    Raises ValueError, which names the bad field.
    """

    title: str
    picture: PictureInput
    output: Output
    depth_range_m: tuple[float, float] | None = None
    focal_reference_px: float | None = None
    domain: str = ''
    enlargement: Enlargement = Enlargement.CUBIC
    node_short_side: int = 0
    slow_on_two_cores: bool = False

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise ValueError(f'model {self.title!r}: {fault}')

    def _fault(self) -> str:
        if not self.title:
            return 'its title is empty: say what people call it'
        if (self.output is Output.METRIC_DEPTH) != (self.depth_range_m is not None):
            return 'depth_range_m belongs to a network that gives metric depth, and to no other'
        near, far = self.depth_range_m or (1.0, 2.0)
        if not 0 < near < far < math.inf:
            return f'depth_range_m is {self.depth_range_m}: give 0 < nearest < farthest, in metres'
        if self.focal_reference_px is not None and self.output is not Output.METRIC_DEPTH:
            return (
                'focal_reference_px belongs to a network that gives metric depth, and to no other'
            )
        if self.focal_reference_px is not None and not 0 < self.focal_reference_px < math.inf:
            return f'focal_reference_px is {self.focal_reference_px}: give pixels above 0'
        if self.node_short_side:
            try:
                self.picture.with_short_side(self.node_short_side)
            except ValueError as error:
                return f'node_short_side: {error}'
        return ''

    def finish(self, output: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """The network's output, (h, w) float32, to relative inverse depth of `size` = (h, w).

        Larger = nearer, also for networks that give depth. An output smaller than the input is
        enlarged.
        """
        if output.shape != size:
            output = cv2.resize(output, size[::-1])  # bilinear
        return self._inverse(output) if self._gives_depth else output

    @property
    def far_end(self) -> float:
        """Where what `finish` gives is this or less, the network only says "at least so far".

        Nowhere (-inf), unless it gives metres up to a limit.
        """
        return 1 / (AT_LIMIT * self.depth_range_m[1]) if self.depth_range_m else -math.inf

    @property
    def _gives_depth(self) -> bool:
        return self.output in (Output.RELATIVE_DEPTH, Output.METRIC_DEPTH)

    def _inverse(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """1 / depth, of what the network can tell apart; NaN where no depth is above 0, or none is
        known.
        """
        if self.depth_range_m:
            return np.asarray(1 / np.clip(depth, *self.depth_range_m), np.float32)
        farthest = depth.max(initial=0.0, where=np.isfinite(depth))
        if not farthest > 0:
            return np.full_like(depth, np.nan)
        return np.asarray(1 / np.maximum(depth, NEAREST_PART * farthest), np.float32)

    def enlarge(self, answer: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """What `finish` gave, (h, w) float32, at the picture's size `shape` = (H, W).

        Depth is enlarged as depth, as official code does it, though the answer is its inverse.
        """
        if self._gives_depth:
            depth = enlarged(np.asarray(1 / answer, np.float32), shape, self.enlargement)
            return self._inverse(depth)
        return enlarged(answer, shape, self.enlargement)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ModelSpec(Network):
    """A registered network and its weights file.

    `name` is the value of `model`. `shapes` are the keys and shapes of its state dict, by which its
    files are recognised and loaded strictly. `build` returns the torch module with random weights,
    (B, 3, h, w) to (B, h, w); it imports torch when called. `shipped`: path of weights in the
    package. `sample_depth`: of the first sample picture by the published weights, as
    `model_check.cell_means`. `about`: its limits, in a sentence. `renaming`: an official state dict
    to that of the torch module. `needs_timm`: whether that library makes its torch module.
    `keys_tell`: whether keys and shapes tell its files from those of every other network; else
    their SHA-256 or name has to. `giga_operations`: floating point operations of one run in 10^9,
    by input size (width, height), multiplications and additions counted separately. `several`:
    where its official weights are several files; one file with all their entries is taken, too.
    `fits_config`: whether the config.json that the library transformers keeps beside weights is of
    this network. `published`: its accuracy, by others.

    Raises ValueError, which names the bad field.
    """

    name: str
    weights: WeightsFile
    shapes: Mapping[str, Shape]
    build: Callable[[], Any] | None = None
    onnx: OnnxGraph | None = None
    shipped: Path | None = None
    sample_depth: NDArray[np.float32] | None = None
    about: str = ''
    giga_operations: Mapping[tuple[int, int], float] = dataclasses.field(default_factory=dict)
    renaming: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    keys_tell: bool = True
    needs_timm: bool = False
    several: SeveralFiles | None = None
    published: tuple[Published, ...] = ()
    fits_config: Callable[[Mapping[str, Any]], bool] | None = None

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise ValueError(f'model {self.name!r}: {fault}')

    def _fault(self) -> str:
        weights = self.weights
        if not re.fullmatch('[a-z][a-z0-9_]*', self.name) or self.name == 'auto':
            return 'use lower-case letters, digits and underscores for its name, and not auto'
        if weights.suffix not in SUFFIXES:
            return f'weights file {weights.name!r}: name it *{" or *".join(SUFFIXES)}'
        if not re.fullmatch('([0-9a-f]{64})?', weights.sha256) or weights.size < 0:
            return (
                f'give size and SHA-256 of {weights.name}, in bytes and 64 lower-case hex digits, '
                'or 0 and nothing where they are not published'
            )
        if weights.must_be_accepted and not weights.restriction:
            return f'say what the licence of {weights.name} forbids, since it has to be accepted'
        if not weights.url and self.shipped is None:
            return f'{weights.name} has no address, and is not shipped: give one of them'
        if not weights.licence:
            return f'say under which licence {weights.name} is'
        if not self.shapes:
            return 'give the keys and shapes of its state dict'
        if self.build is None and self.onnx is None:
            return 'give its torch module, its ONNX graph, or both'
        return super()._fault()

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of its weights files."""
        return SUFFIXES[self.weights.suffix]

    @property
    def parameters(self) -> int:
        """How many numbers of its state dict were learned."""
        return sum(
            math.prod(shape)
            for name, shape in self.shapes.items()
            if name.rpartition('.')[2] not in NOT_LEARNED
        )

    @property
    def input_size_text(self) -> str:
        """Its input size in the key of converted models: 'hxw', 'any', or its shorter side.

        The graph takes any size, but a precision's deviation from f32 is that of one size.
        """
        size, official = self.picture.fixed_size, self.picture.official
        if size:
            return f'{size[0]}x{size[1]}'
        return f'short side {min(self.picture.size)}' if official else 'any'

    def sized(self, size: tuple[int, int]) -> ModelSpec:
        """The same network for pictures of (h, w); itself where it takes them already."""
        if size == self.picture.size:
            return self
        return dataclasses.replace(self, picture=dataclasses.replace(self.picture, size=size))

    def module(self) -> Any:
        """Its torch module with random weights, (B, 3, h, w) to (B, h, w); imports torch.

        Raises BackendUnavailable where it has none.
        """
        if self.build is None:
            raise BackendUnavailable(f'{self.title} has no torch module: use another backend')
        return self.build()

    def rename(self, official: Mapping[str, Any]) -> dict[str, Any]:
        """An official state dict as the torch module takes it."""
        return self.renaming(official)


def depth_fault(answer: NDArray[np.float32]) -> str:
    """Why an array cannot be the depth of a picture, in words; '' where it can."""
    if answer.ndim != 2 or answer.size == 0:
        return f'an array {answer.shape} instead of (h, w)'
    low, high = answer.min(), answer.max()  # NaN where one of them is NaN
    if not (np.isfinite(low) and np.isfinite(high)):
        return 'NaN or infinity'
    return f'{high:g} everywhere' if low == high else ''


def norm_shapes(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Keys and shapes of a batch normalisation's entries in a state dict."""
    yield from ((f'{name}.{entry}', (channels,)) for entry in NORM_ENTRIES)
    yield f'{name}.num_batches_tracked', ()


def folded_norm(
    weights: Weights, name: str, epsilon: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A batch normalisation as factor and bias, (C,) each, for the convolution before it."""
    factor, bias, mean, variance = (
        np.asarray(weights[f'{name}.{entry}'], np.float32) for entry in NORM_ENTRIES
    )
    factor = factor / np.sqrt(variance + np.float32(epsilon))
    return factor, bias - mean * factor


def conv_shapes(
    name: str, shape: tuple[int, int, int, int]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Keys and shapes of a convolution's entries, `shape` that of its kernel."""
    yield f'{name}.weight', shape
    yield f'{name}.bias', shape[:1]
