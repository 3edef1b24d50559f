"""Checks a loaded model on sample pictures, before a robot drives by its depth.

In: a model that infers, and which weights it says it has. Out: a notice, '' where nothing is wrong;
an error where its output cannot be depth. Four pictures are inferred, or two where the weights are
known and plausibility needs no check; the model that ships must give the depth recorded for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import models
from midas_depth_ros.depth.errors import DepthError, WeightsMismatch
from midas_depth_ros.depth.file_description import PREFIX, FileDescription
from midas_depth_ros.depth.models.spec import depth_fault

# --- The deviation of another precision from float32.
#
# In: the relative inverse depth of the same pictures in float32 and in the other precision. Out:
# per picture the correlation, and AbsRel: the mean of |difference| / float32, after the best scale
# and shift, over what is not far away. Scale and shift of relative inverse depth have no meaning,
# so they do not count here.

ASSETS = Path(__file__).resolve().parents[1] / 'assets'
# 'auto' takes a precision only within both, on the worst picture. MiDaS_small's own error is an
# AbsRel of 0.1 to 0.3: a tenth of that does not matter.
LEAST_CORRELATION = 0.99
MOST_ABS_REL = 0.02
# AbsRel leaves out inverse depth below this part of the nearest: it would divide by almost 0.
NEAR_PART = 0.05
NEAREST_QUANTILE = 0.99

Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Deviation:
    """(correlation, AbsRel) per picture name."""

    pictures: Mapping[str, tuple[float, float]]

    @property
    def correlation(self) -> float:
        """Of the worst picture."""
        return min(correlation for correlation, _ in self.pictures.values())

    @property
    def abs_rel(self) -> float:
        """Of the worst picture."""
        return max(abs_rel for _, abs_rel in self.pictures.values())

    @property
    def within_bound(self) -> bool:
        """Whether 'auto' may use it; NaN is not within."""
        return all(
            correlation >= LEAST_CORRELATION and abs_rel <= MOST_ABS_REL
            for correlation, abs_rel in self.pictures.values()
        )

    def __str__(self) -> str:
        return (
            f'correlation {self.correlation:.4f} and AbsRel {self.abs_rel:.4f} against f32 on the '
            f'worst of {len(self.pictures)} pictures (bound: {LEAST_CORRELATION}, {MOST_ABS_REL})'
        )

    def to_json(self) -> dict[str, Any]:
        """For a file's metadata."""
        return {name: list(figures) for name, figures in self.pictures.items()}

    @classmethod
    def from_json(cls, values: Any) -> Deviation | None:
        """The inverse of `to_json`; None for anything else."""
        try:
            pictures = {str(k): (float(c), float(a)) for k, (c, a) in values.items()}
        except (AttributeError, OverflowError, TypeError, ValueError):
            return None
        return cls(pictures) if pictures else None


def sample_pictures(names: Collection[str] = ()) -> dict[str, NDArray[np.uint8]]:
    """The pictures to check models on, by name, (240, 320, 3) uint8 RGB; DepthError without them.

    `names`: those to read; all by default.
    """
    return _read_pictures(ASSETS / 'samples', names)


def calibration_pictures() -> dict[str, NDArray[np.uint8]]:
    """Other pictures, for the ranges of int8, by name, (192, 256, 3) uint8 RGB."""
    return _read_pictures(ASSETS / 'calibration')


def _read_pictures(folder: Path, names: Collection[str] = ()) -> dict[str, NDArray[np.uint8]]:
    pictures = {}
    for path in [folder / f'{name}.jpg' for name in names] or sorted(folder.glob('*.jpg')):
        picture = cv2.imread(str(path))
        if picture is None:
            raise DepthError(f'{path} cannot be read: install the package again')
        pictures[path.stem] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if not pictures:
        raise DepthError(f'no pictures in {folder}: install the package again')
    return pictures


def measure_deviation(
    reference: Infer, other: Infer, pictures: Mapping[str, NDArray[np.uint8]]
) -> Deviation:
    """Run both on every picture and compare."""
    return Deviation({name: compare(reference(rgb), other(rgb)) for name, rgb in pictures.items()})


def compare(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> tuple[float, float]:
    """(correlation, AbsRel) of `found` against `wanted`, (h, w) each.

    Where one of them is the same everywhere, the correlation is 1 if both are, else 0.
    """
    true = wanted.ravel().astype(np.float64)
    other = found.ravel().astype(np.float64)
    if not np.isfinite(other).all():
        return 0.0, float('inf')
    if np.ptp(true) == 0 or np.ptp(other) == 0:
        same = np.ptp(true) == np.ptp(other)
        return (1.0, 0.0) if same else (0.0, 1.0)
    correlation = float(np.corrcoef(true, other)[0, 1])
    scale, shift = np.polyfit(other, true, 1)
    near = true > NEAR_PART * np.quantile(true, NEAREST_QUANTILE)
    abs_rel = np.abs(scale * other + shift - true)[near] / true[near]
    return correlation, float(abs_rel.mean())


# --- The check of a loaded model.

# In all of them the floor below is near, and what is above is far.
PICTURES = ('street_1', 'corridor_1', 'room_1')
PICTURE_SIZE = (320, 240)  # (width, height)
USUAL_SIZE = (192, 256)  # (h, w) of most networks for them
LEAST_SPREAD = 1e-3  # of the largest value
STEP = 3  # of the pixels whose values are counted
MOST_OF_ONE_VALUE = 0.99
LEAST_DISTINCT_VALUES = 16
LARGEST = 1e18  # the squares of float32 beyond it are infinite
LEAST_CHANGE = 1e-3  # of the spread, from one picture to another
# Limits for a notice: a trained network is far from them.
LEAST_MIRRORED_CORRELATION = 0.5
MOST_ZEROS = 0.5
# Error of the worst cell, as a part of the largest, against the recorded depth.
TOLERANCE = {'f32': 0.02, 'f16': 0.03, 'bf16': 0.05, 'int8': 0.3}


def check_model(
    infer: Infer,
    name: str,
    weights_sha256: str,
    precision: str,
    size: tuple[int, int] = USUAL_SIZE,
    *,
    description: FileDescription | None = None,
    claimed: bool = False,
) -> str:
    """Return a notice, '' where the model's output is plausible.

    `infer`: (H, W, 3) uint8 RGB to (h, w) float32 at network size. `weights_sha256`: the weights
    that it was made from, or ''; `claimed`: only the file says so. `size`: (h, w) of its output for
    pictures of PICTURE_SIZE: it follows from their size, not from their proportions alone.
    `description`: of a model file of another maker, whose meaning is tested on all sample pictures
    where it was guessed. Raises WeightsMismatch where the output is not finite, the same everywhere
    or for every picture, differs from the depth recorded for these weights, or contradicts a guess.
    """
    if description is not None:
        return _check_meaning(infer, description)
    specs = map(models.spec, models.names())
    known = next((s for s in specs if weights_sha256 and s.weights.sha256 == weights_sha256), None)
    compared = (
        known is not None
        and known.sample_depth is not None
        and size[::-1] == known.picture.network_size(*PICTURE_SIZE)
    )
    trusted = known is not None and (compared or not claimed)
    pictures = sample_pictures(PICTURES[:2] if trusted else PICTURES)
    answers = [_checked(infer(rgb), name, size) for rgb in pictures.values()]
    change = np.abs(answers[0] - answers[1]).mean() / answers[0].std()
    if change < LEAST_CHANGE:
        raise WeightsMismatch(f'{name} gives the same depth for every picture: {_remedy()}')
    if compared and known is not None and known.sample_depth is not None:
        wanted = known.sample_depth
        worst = np.abs(cell_means(answers[0]) - wanted).max() / wanted.max()
        if worst > TOLERANCE[precision]:
            raise WeightsMismatch(
                f'{name} has the weights of {known.title} but gives another depth '
                f'({worst:.0%} off, in {precision}): the converted model is damaged, or the '
                'backend computes wrongly on this processor. Remove the file, or the folder '
                'named by MIDAS_DEPTH_CACHE_DIR (else ~/.cache/midas_depth_ros/converted), and '
                'start again. If it is still so, set `backend` to another one'
            )
    if trusted:
        return ''
    mirrored = _checked(infer(np.ascontiguousarray(pictures[PICTURES[0]][:, ::-1])), name, size)
    doubts = _doubts(answers, mirrored[:, ::-1])
    if not doubts:
        return ''
    return (
        f'{name} gives implausible depth for the sample pictures: {"; ".join(doubts)}. It may be '
        'untrained, or give depth instead of inverse depth: look at its depth of your own pictures '
        '(midas_depth image) before a robot drives by it.'
    )


def near_below(answer: NDArray[np.float32]) -> bool:
    """Whether (h, w) inverse depth has the lower third nearer than the upper one."""
    third = max(1, answer.shape[0] // 3)
    return bool(answer[-third:].mean() > answer[:third].mean())


OF_DEPTH, OF_INVERSE = ('depth', 'depth or metres'), ('inverse depth', 'inverse_depth or disparity')
# What a network seems to give whose meaning is contradicted, in words and as the parameter.
OPPOSITES = {
    'inverse_depth': OF_DEPTH,
    'disparity': OF_DEPTH,
    'depth': OF_INVERSE,
    'metres': OF_INVERSE,
}


def _check_meaning(infer: Infer, description: FileDescription) -> str:
    """A notice about a file of another maker, whose meaning was stated or guessed."""
    name = description.title
    pictures = sample_pictures(() if description.guessed_meaning else PICTURES)
    answers = {}
    for key, rgb in pictures.items():
        answer = infer(rgb)
        answers[key] = _checked(answer, name, answer.shape)  # a letterbox has many sizes
    first, second = (answers[key] for key in PICTURES[:2])
    if np.abs(first - second).mean() / first.std() < LEAST_CHANGE:
        raise WeightsMismatch(f'{name} gives the same depth for every picture: {_remedy()}')
    agreeing = sum(map(near_below, answers.values()))
    said = f'in {agreeing} of {len(answers)} sample pictures the floor in front is nearer'
    meaning = description.values['output_meaning']
    if 2 * agreeing > len(answers):
        mirrored = infer(np.ascontiguousarray(pictures[PICTURES[0]][:, ::-1]))[:, ::-1]
        doubts = '; '.join(_doubts_beside_the_floor(list(answers.values()), mirrored))
        if not doubts:
            return ''
        return (
            f'{name} gives implausible depth for the sample pictures: {doubts}. Its colours may be '
            f'read wrongly ({PREFIX}.range, mean, std): look at its depth of your own pictures '
            '(midas_depth image) before a robot drives by it.'
        )
    if description.guessed_meaning:
        others = OPPOSITES[meaning]
        raise WeightsMismatch(
            f'{name} seems to give {others[0]}, not {meaning.replace("_", " ")}: {said} than what '
            f'is above, if it is read so. Set {PREFIX}.output_meaning to {others[1]} if it gives '
            f'that, or to {meaning} if you know that it does'
        )
    return (
        f'{name} IS PROBABLY READ WRONGLY, NEAR AND FAR SWAPPED: as {meaning}, which '
        f'{description.origins["output_meaning"]} says, {said} than what is above. Look at its '
        'depth of your own pictures (midas_depth image) before a robot drives by it.'
    )


def _remedy() -> str:
    return f'use {models.in_words()}, or other weights'


def _checked(answer: NDArray[np.float32], name: str, size: tuple[int, int]) -> NDArray[np.float32]:
    """The answer, if it could be depth; else WeightsMismatch."""
    fault = depth_fault(answer)
    if not fault and answer.shape != size:
        fault = f'a depth of {answer.shape} pixels instead of {size}'
    if not fault:
        _, counts = np.unique(answer[::STEP, ::STEP], return_counts=True)
        if len(counts) < LEAST_DISTINCT_VALUES or counts.max() > MOST_OF_ONE_VALUE * counts.sum():
            fault = f'{len(counts)} different values, one of them nearly everywhere'
    if not fault and np.ptp(answer) <= LEAST_SPREAD * np.abs(answer).max():
        fault = f'{answer.mean():g} nearly everywhere'
    if not fault and np.abs(answer).max() > LARGEST:
        fault = f'values up to {np.abs(answer).max():g}'
    if fault:
        raise WeightsMismatch(f'{name} gives {fault} for a sample picture: {_remedy()}')
    return answer


def cell_means(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) float32 to the means of 6 x 8 cells, as in `ModelSpec.sample_depth`."""
    height, width = (side // number for side, number in zip(answer.shape, (6, 8), strict=True))
    parts = answer[: 6 * height, : 8 * width].reshape(6, height, 8, width)
    means: NDArray[np.float32] = parts.mean((1, 3), dtype=np.float32)
    return means


def _doubts(answers: list[NDArray[np.float32]], mirrored: NDArray[np.float32]) -> list[str]:
    doubts = []
    if sum(map(near_below, answers)) <= len(answers) // 2:
        doubts.append('it puts the floor in front farther away than what is above')
    return doubts + _doubts_beside_the_floor(answers, mirrored)


def _doubts_beside_the_floor(
    answers: list[NDArray[np.float32]], mirrored: NDArray[np.float32]
) -> list[str]:
    doubts = []
    if np.corrcoef(answers[0].ravel(), mirrored.ravel())[0, 1] < LEAST_MIRRORED_CORRELATION:
        doubts.append('a picture and its mirror image give another depth')
    if max(np.mean(answer == 0) for answer in answers) > MOST_ZEROS:
        doubts.append('most of its depth is 0')
    return doubts
