"""How well does a model order and scale depth on real pictures with measured depth?

Scores any model name (or weights file) beside two baselines that see no picture: a constant, and
inverse depth linear in the row. Per picture: least squares of 1/Z on the prediction over the
measured pixels (scale and shift), clamped to the measured range, then AbsRel and delta < 1.25;
and, without any fit, how often the nearer of two random pixels is called nearer (pairs whose
depths differ by more than a quarter). Printed per scene type, since a mean hides what fails.

    python -m benchmarks.relative_depth embedded midas_small --per-picture
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from midas_depth_ros.depth import DepthError, load_estimator

DEFAULT_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'
PAIRS = 20_000
RATIO = 1.25
SCENE_TYPES = {'basement': 'indoor'}  # everything else is named by its own first word

Floats = NDArray[np.floating[Any]]
Predictor = Callable[[NDArray[np.uint8], tuple[int, int]], Floats]


@dataclass(frozen=True)
class Item:
    """One picture with its measured inverse depth (H, W) in 1/m; 0 = not measured."""

    name: str
    scene_type: str
    rgb: NDArray[np.uint8]
    inverse_depth: Floats


@dataclass(frozen=True)
class Score:
    """AbsRel (less is better), share of pixels within 25 % and share of pairs ordered rightly."""

    abs_rel: float
    delta: float
    ordinal: float


def load_items(folder: Path) -> Iterator[Item]:
    """Every picture of the manifest whose depth is known in metres."""
    for entry in json.loads((folder / 'MANIFEST.json').read_text()):
        if entry.get('category') != 'rgbd':
            continue
        raw = read_picture(folder / entry['depth'], cv2.IMREAD_UNCHANGED)
        inverse = inverse_depth(raw.astype(np.float64), entry)
        if inverse is None:
            continue
        bgr = read_picture(folder / entry['image'], cv2.IMREAD_COLOR)
        first_word = entry['scene'].split(':')[0]
        scene_type = SCENE_TYPES.get(first_word, first_word)
        yield Item(entry['id'], scene_type, bgr[..., ::-1].copy(), inverse)


def read_picture(path: Path, flags: int) -> NDArray[Any]:
    """As OpenCV reads it; raises click.ClickException where it cannot."""
    picture: NDArray[Any] | None = cv2.imread(str(path), flags)
    if picture is None:
        raise click.ClickException(f'{path} is not a picture that OpenCV reads')
    return picture


def inverse_depth(raw: Floats, entry: dict[str, Any]) -> Floats | None:
    """The measured 1/Z in 1/m, 0 = none; None where only an affine copy of it is known."""
    valid = raw != entry['invalid']
    value = raw / entry['scale']
    if entry['kind'] == 'disparity':
        camera = entry['intrinsics']
        if 'doffs_px' not in camera:
            return None
        return valid * (value + camera['doffs_px']) / (camera['fx'] * camera['baseline_m'])
    metres = value / {'depth_m': 1.0, 'depth_mm': 1000.0}[entry['kind']]
    return np.divide(1.0, metres, out=np.zeros_like(metres), where=valid)


def constant(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> Floats:
    """The baseline that says nothing."""
    return np.zeros(shape)


def row_prior(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> Floats:
    """The baseline that says: lower in the picture is nearer."""
    return np.broadcast_to(np.linspace(0.0, 1.0, shape[0])[:, None], shape)


def predictor_of(model: str) -> Predictor:
    """Load a model; raises click.ClickException where it cannot be loaded."""
    try:
        estimator = load_estimator(model)
    except DepthError as error:
        raise click.ClickException(str(error)) from error
    if estimator.notice:
        click.echo(f'{model}: {estimator.notice}', err=True)
    return lambda rgb, shape: estimator.enlarge(estimator.infer(rgb), shape)


def score(prediction: Floats, item: Item) -> Score:
    """Compare a prediction (H, W) with the measurement of the same size."""
    valid = item.inverse_depth > 0
    truth, guess = item.inverse_depth[valid], prediction[valid].astype(np.float64)
    design = np.stack([guess, np.ones_like(guess)], axis=1)
    fitted = design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    fitted = np.clip(fitted, truth.min(), truth.max())
    ratio = truth / fitted  # of depths: fitted Z over true Z
    return Score(
        abs_rel=float(np.mean(np.abs(ratio - 1.0))),
        delta=float(np.mean(np.maximum(ratio, 1.0 / ratio) < RATIO)),
        ordinal=ordinal(guess, truth),
    )


def ordinal(guess: Floats, truth: Floats) -> float:
    """Share of random pairs ordered rightly; a tie counts half, so a constant has 0.5."""
    pairs = np.random.default_rng(0).integers(0, truth.size, (2, PAIRS))
    first, second = truth[pairs]
    clear = np.maximum(first / second, second / first) > RATIO
    said = np.sign(guess[pairs[0]] - guess[pairs[1]])[clear]
    return float(np.mean(0.5 + 0.5 * said * np.sign(first - second)[clear]))


def mean(scores: list[Score]) -> Score:
    return Score(*np.mean([[s.abs_rel, s.delta, s.ordinal] for s in scores], axis=0))


def table_of(results: dict[str, dict[str, Score]], items: list[Item], per_picture: bool) -> Table:
    """One section per scene type (or picture), in it one row per model."""
    groups = {item.name: [item.name] for item in items} if per_picture else {}
    for kind in dict.fromkeys(item.scene_type for item in items):
        names = [item.name for item in items if item.scene_type == kind]
        groups[f'{kind} ({len(names)})'] = names
    groups[f'all ({len(items)})'] = [item.name for item in items]
    table = Table('scene type (pictures)', 'model')
    for column in ('AbsRel', f'delta < {RATIO}', 'ordinal'):
        table.add_column(column, justify='right')
    for title, names in groups.items():
        for row, (model, scores) in enumerate(results.items()):
            values = mean([scores[name] for name in names])
            figures = (values.abs_rel, values.delta, values.ordinal)
            table.add_row('' if row else title, Path(model).name, *(f'{x:.3f}' for x in figures))
        table.add_section()
    return table


@click.command()
@click.argument('models', nargs=-1)
@click.option('--data', type=click.Path(path_type=Path), help='Folder with MANIFEST.json.')
@click.option('--per-picture', is_flag=True, help='One more row for every picture.')
def main(models: tuple[str, ...], data: Path | None, per_picture: bool) -> None:
    """Score MODELS (default: embedded) beside the baselines."""
    folder = data or Path(os.environ.get('MIDAS_DEPTH_TEST_DATA', DEFAULT_DATA))
    if not (folder / 'MANIFEST.json').is_file():
        raise click.ClickException(f'no MANIFEST.json in {folder}: name the folder with --data')
    items = list(load_items(folder))
    predictors: dict[str, Predictor] = {'constant': constant, 'row prior': row_prior}
    for model in models or ('embedded',):
        predictors[model] = predictor_of(model)
    results = {
        name: {
            item.name: score(predict(item.rgb, item.inverse_depth.shape), item) for item in items
        }
        for name, predict in predictors.items()
    }
    Console().print(table_of(results, items, per_picture))


if __name__ == '__main__':
    main()
