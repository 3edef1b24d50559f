"""How good a model is on scenes that training never saw: the measures, and the command.

The measures are those that training/DIARY.md defines. In: relative inverse depth (H, W) and the
scene's truth. Out: a `Score`; `mean` of many leaves out what a scene does not have. Depth beyond
`dataset.FARTHEST_M` counts as not measured.

The command prints one table per scene type with the constant, the row prior and the model, one of
the last model's ring figures by the size of the obstacle, one of what it expects to be off by,
where it says that, and writes a sheet of pictures: camera, truth, model.

    python -m training.evaluate runs/first/best.pt --data /tmp/world --sheet sheet.png
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import click
import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.model_quality import RATIO, constant, ordinal, predictor_of, row_prior
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.models import embedded
from training.dataset import FARTHEST_M, FIRST_OBJECT, open_shard, shards
from training.expected_error import Calibration, calibration
from training.standin import StandIn

FLOOR = 1
LEAST_FLOOR = 0.02  # of the picture, for a floor delta to mean something
LEAST_OBJECT = 0.004  # of the picture
RING = 0.03  # width of the ring around an obstacle, of the picture's width
LEAST_CONTRAST = 0.15  # obstacles that are less nearer (in 1/Z) than their ring do not count


@dataclass(frozen=True)
class Score:
    """Of one scene, or a mean. NaN where the scene has no floor or no obstacles.

    abs_rel: mean |Z'/Z - 1|. delta: share of pixels within a quarter. ordinal: share of random
    pairs in the right order. floor_delta: delta on the floor alone. ring_sign: share of obstacles
    that are nearer than the ring around them. ring_half: share that are nearer by at least half of
    the true contrast.
    """

    abs_rel: float
    delta: float
    ordinal: float
    floor_delta: float
    ring_sign: float
    ring_half: float


def score(prediction: np.ndarray, inverse_depth: np.ndarray, labels: np.ndarray) -> Score:
    """Fit scale and shift by least squares over measured pixels, clip to their range, compare."""
    truth = inverse_depth.astype(np.float64)
    valid = truth > 1.001 / FARTHEST_M
    fit = fitted(prediction.astype(np.float64), truth, valid)
    ratio = truth[valid] / fit[valid]
    good = np.maximum(ratio, 1 / ratio) < RATIO
    floor = labels[valid] == FLOOR
    enough = floor.sum() > LEAST_FLOOR * truth.size
    floor_delta = float(np.mean(good[floor])) if enough else math.nan
    abs_rel, delta = float(np.mean(np.abs(ratio - 1))), float(np.mean(good))
    pairs = ordinal(prediction[valid], truth[valid])
    sign, half = ring_shares(rings(fit, truth, labels, valid))
    return Score(abs_rel, delta, pairs, floor_delta, sign, half)


def fitted(prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The prediction (H, W) as 1/Z, clipped to the measured range."""
    guess, wanted = prediction[valid], truth[valid]
    centred = guess - guess.mean()
    spread = float(centred @ centred)
    scale = float(centred @ (wanted - wanted.mean())) / spread if spread > 1e-12 else 0.0
    line = scale * (prediction - guess.mean()) + wanted.mean()
    return np.clip(line, wanted.min(), wanted.max())


@dataclass(frozen=True)
class Ring:
    """An obstacle: its share of the picture, and the share of its contrast that is predicted."""

    share: float
    seen: float


def rings(fit: np.ndarray, truth: np.ndarray, labels: np.ndarray, valid: np.ndarray) -> list[Ring]:
    """Every obstacle of a scene that is large enough and nearer than the ring around it."""
    width = max(2, round(RING * truth.shape[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    found = []
    for label in np.unique(labels[labels >= FIRST_OBJECT]):
        inside = (labels == label).astype(np.uint8)
        if inside.sum() < LEAST_OBJECT * truth.size:
            continue
        around = (cv2.dilate(inside, kernel) > inside) & valid
        within = (inside > 0) & valid
        if around.sum() < 20 or within.sum() < 20:
            continue
        contrast = truth[within].mean() - truth[around].mean()
        if contrast < LEAST_CONTRAST * truth[around].mean():
            continue
        seen = fit[within].mean() - fit[around].mean()
        found.append(Ring(float(inside.mean()), float(seen / contrast)))
    return found


def ring_shares(found: list[Ring]) -> tuple[float, float]:
    """Shares of obstacles that stand out, and that do so by half of the true contrast."""
    if not found:
        return math.nan, math.nan
    seen = np.array([each.seen for each in found])
    return float(np.mean(seen > 1e-6)), float(np.mean(seen >= 0.5))  # more than rounding


Figures = TypeVar('Figures', bound=Any)


def mean(scores: list[Figures]) -> Figures:
    """The mean of each column over the scenes where it is not NaN; ValueError without a scene."""
    if not scores:
        raise ValueError(
            'there is no scene to take the mean of: make some by python -m training.dataset'
        )
    columns = np.array([dataclasses.astuple(each) for each in scores]).T
    known = [column[~np.isnan(column)] for column in columns]
    kind = type(scores[0])
    return kind(*(float(column.mean()) if column.size else math.nan for column in known))


def rank(score: Score) -> float:
    """One number to choose a checkpoint by: larger is better."""
    return score.ordinal + score.delta - score.abs_rel + 0.5 * (score.ring_sign + score.ring_half)


@torch.inference_mode()
def predict(network: nn.Module, rgb: np.ndarray, device: torch.device) -> np.ndarray:
    """(B, H, W, 3) uint8 to (B, H, W) float32."""
    picture = torch.from_numpy(rgb.transpose(0, 3, 1, 2).copy()).to(device).float() / 255
    result: np.ndarray = network(picture).float().cpu().numpy()
    return result


@torch.inference_mode()
def predict_with_error(
    network: Any, rgb: np.ndarray, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """(B, H, W, 3) uint8 to depth and the error that is expected of it, (B, H, W) float32 each."""
    picture = torch.from_numpy(rgb.transpose(0, 3, 1, 2).copy()).to(device).float() / 255
    depth, error = (each.float().cpu().numpy() for each in network.with_error(picture))
    return depth, error


# --- The command.

AIMS = Score(0.20, 0.74, 0.92, 0.75, 0.92, 0.55)
SIZES = (0.004, 0.01, 0.02, 0.05, 0.15, 1.0)  # of obstacles, shares of the picture
SHEET_ROWS, SHEET_COLUMNS = 8, 3
Predictor = Callable[[np.ndarray], np.ndarray]
PredictorWithError = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def checkpoint(path: Path) -> torch.nn.Module:
    """The running mean of a checkpoint, ready to predict."""
    state = torch.load(path, map_location='cpu', weights_only=True)['mean']
    mine = any(name.startswith('midas.') for name in state)
    network: torch.nn.Module = StandIn() if mine else embedded.build()
    network.load_state_dict(state)
    return network.eval()


def predictor(model: str) -> Predictor:
    """(H, W, 3) uint8 to (H, W), from a checkpoint of training or a model of load_estimator."""
    if model.endswith('.pt') and 'mean' in torch.load(model, weights_only=True):
        network = checkpoint(Path(model))
        return lambda rgb: predict(network, rgb[np.newaxis], torch.device('cpu'))[0]
    loaded = predictor_of(model)
    return lambda rgb: np.asarray(loaded(rgb, rgb.shape[:2]))


def predictor_with_error(model: str) -> PredictorWithError:
    """(H, W, 3) uint8 to depth and the error that the model expects of it, None if it does not."""
    if model.endswith('.pt') and 'mean' in torch.load(model, weights_only=True):
        network = checkpoint(Path(model))
        if not hasattr(network, 'with_error'):
            return lambda rgb: (predict(network, rgb[np.newaxis], torch.device('cpu'))[0], None)

        def both(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            depth, error = predict_with_error(network, rgb[np.newaxis], torch.device('cpu'))
            return depth[0], error[0]

        return both
    return load_estimator(model).infer_with_error


def calibration_table(found: list[Calibration], kinds: list[str]) -> Table:
    """Means by scene type and over all of what a model expects to be off by."""
    table = Table('scene type', *(field.name for field in dataclasses.fields(Calibration)))
    for kind in (*sorted(set(kinds)), 'all'):
        chosen = [each for each, name in zip(found, kinds, strict=True) if kind in (name, 'all')]
        table.add_row(kind, *(f'{figure:.3f}' for figure in dataclasses.astuple(mean(chosen))))
    return table


def table_of(scores: dict[str, list[Score]], kinds: list[str]) -> Table:
    """Means by scene type and over all, one row per model."""
    names = [field.name for field in dataclasses.fields(Score)]
    table = Table('scene type (scenes)', 'model', *names)
    for kind in (*sorted(set(kinds)), 'all'):
        chosen = [index for index, name in enumerate(kinds) if kind in (name, 'all')]
        for row, (model, values) in enumerate(scores.items()):
            figures = dataclasses.astuple(mean([values[index] for index in chosen]))
            title = '' if row else f'{kind} ({len(chosen)})'
            table.add_row(title, model, *(f'{figure:.3f}' for figure in figures))
        table.add_section()
    table.add_row('', 'aim', *(f'{figure:.2f}' for figure in dataclasses.astuple(AIMS)))
    return table


def sizes_of(found: list[Ring]) -> Table:
    """Ring figures by the size of the obstacle, over all obstacles of all scenes."""
    table = Table('obstacle, of the picture', 'obstacles', 'ring sign', 'ring half')
    for low, high in (*pairwise(SIZES), (SIZES[0], SIZES[-1])):
        chosen = [ring for ring in found if low <= ring.share < high]
        sign, half = ring_shares(chosen)
        title = f'{100 * low:g} to {100 * high:g} %'
        table.add_row(title, str(len(chosen)), f'{sign:.3f}', f'{half:.3f}')
    return table


def panel(rgb: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Picture, truth and prediction side by side, (H, 3 W, 3) uint8; one colour scale for both."""
    fit = fitted(prediction.astype(np.float64), truth, truth > 0)
    top = np.quantile(truth, 0.98)
    depths = [
        cv2.applyColorMap(np.uint8(255 * np.clip(d / top, 0, 1)), cv2.COLORMAP_INFERNO)[..., ::-1]
        for d in (truth, fit)
    ]
    return np.hstack([rgb, *depths])


@click.command()
@click.argument('models', nargs=-1, required=True)
@click.option('--data', type=click.Path(path_type=Path), required=True, help='Of dataset.py.')
@click.option('--split', default='test', type=click.Choice(['test', 'validation', 'train']))
@click.option(
    '--sheet', type=click.Path(path_type=Path), help='Picture to write, of the last model.'
)
@click.option('--limit', default=0, help='Only so many scenes.')
def main(models: tuple[str, ...], data: Path, split: str, sheet: Path | None, limit: int) -> None:
    """Score MODELS (checkpoints of training, or names that load_estimator knows)."""
    predictors = {
        'constant': lambda rgb: np.asarray(constant(rgb, rgb.shape[:2])),
        'row prior': lambda rgb: np.asarray(row_prior(rgb, rgb.shape[:2])),
        **{model: predictor(model) for model in models},
    }
    scores: dict[str, list[Score]] = {name: [] for name in predictors}
    kinds: list[str] = []
    found: list[Ring] = []
    panels: list[np.ndarray] = []
    last, calibrations = predictor_with_error(models[-1]), []
    for path in shards(data, split):
        shard = open_shard(path)
        for index in range(len(shard)):
            if limit and len(kinds) >= limit:
                break
            kinds.append(shard.kinds[index])
            rgb, labels = np.asarray(shard.rgb[index]), np.asarray(shard.labels[index])
            truth = np.asarray(shard.inverse_depth[index], np.float64)
            for name, predict_one in predictors.items():
                prediction = predict_one(rgb)
                scores[name].append(score(prediction, truth, labels))
            valid = truth > 1.001 / FARTHEST_M
            depth, error = last(rgb)
            if error is not None:
                calibrations.append(calibration(depth, error, truth))
            found += rings(fitted(prediction, truth, valid), truth, labels, valid)
            if len(panels) < SHEET_ROWS * SHEET_COLUMNS:
                panels.append(panel(rgb, truth, prediction))
    console = Console(width=130)
    console.print(table_of(scores, kinds))
    console.print(sizes_of(found))
    if calibrations:
        console.print(calibration_table(calibrations, kinds))
    if sheet:
        firsts = range(0, len(panels) - SHEET_COLUMNS + 1, SHEET_COLUMNS)
        rows = [np.hstack(panels[first : first + SHEET_COLUMNS]) for first in firsts]
        cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1])


if __name__ == '__main__':
    main()
