"""How good a checkpoint is on scenes that training never saw, beside what sees nothing at all.

Prints one table per scene type with the constant, the row prior and the model, one of the last
model's ring figures by the size of the obstacle, and writes a sheet of pictures: what the camera
sees, what is true, what the model says.

    python -m training.evaluate runs/first/best.pt --data /tmp/world --sheet sheet.png
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.model_quality import constant, predictor_of, row_prior
from midas_depth_ros.depth.models import embedded
from training.dataset import FARTHEST_M, open_shard, shards
from training.scores import Ring, Score, fitted, mean, predict, ring_shares, rings, score

AIMS = Score(0.20, 0.74, 0.92, 0.75, 0.92, 0.55)
SIZES = (0.004, 0.01, 0.02, 0.05, 0.15, 1.0)  # of obstacles, shares of the picture
SHEET_ROWS, SHEET_COLUMNS = 8, 3
Predictor = Callable[[np.ndarray], np.ndarray]


def checkpoint(path: Path) -> torch.nn.Module:
    """The running mean of a checkpoint, ready to predict."""
    network: torch.nn.Module = embedded.build().eval()
    network.load_state_dict(torch.load(path, map_location='cpu', weights_only=True)['mean'])
    return network


def predictor(model: str) -> Predictor:
    """(H, W, 3) uint8 to (H, W): a checkpoint of training, or whatever load_estimator knows."""
    if model.endswith('.pt') and 'mean' in torch.load(model, weights_only=True):
        network = checkpoint(Path(model))
        return lambda rgb: predict(network, rgb[np.newaxis], torch.device('cpu'))[0]
    loaded = predictor_of(model)
    return lambda rgb: np.asarray(loaded(rgb, rgb.shape[:2]))


def predictors_of(models: tuple[str, ...]) -> dict[str, Predictor]:
    """The baselines, then the models by name."""
    return {
        'constant': lambda rgb: np.asarray(constant(rgb, rgb.shape[:2])),
        'row prior': lambda rgb: np.asarray(row_prior(rgb, rgb.shape[:2])),
        **{model: predictor(model) for model in models},
    }


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
    predictors = predictors_of(models)
    scores: dict[str, list[Score]] = {name: [] for name in predictors}
    kinds: list[str] = []
    found: list[Ring] = []
    panels: list[np.ndarray] = []
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
            found += rings(fitted(prediction, truth, valid), truth, labels, valid)
            if len(panels) < SHEET_ROWS * SHEET_COLUMNS:
                panels.append(panel(rgb, truth, prediction))
    console = Console(width=130)
    console.print(table_of(scores, kinds))
    console.print(sizes_of(found))
    if sheet:
        firsts = range(0, len(panels) - SHEET_COLUMNS + 1, SHEET_COLUMNS)
        rows = [np.hstack(panels[first : first + SHEET_COLUMNS]) for first in firsts]
        cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1])


if __name__ == '__main__':
    main()
