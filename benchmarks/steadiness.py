"""How much a model's depth flickers from frame to frame, beyond what motion and scale explain.

Neighbouring frames of a drive are matched by dense optical flow. The second frame's prediction is
carried over to the first along it, fitted to the first one's by scale and shift, and compared
where the flow there and back agree. What is left, in percent of the prediction's spread (5th to
95th percentile), is mostly flicker: the camera moves little between neighbours.

    python -m benchmarks.steadiness embedded
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.relative_depth import DEFAULT_DATA, Predictor, predictor_of, read_picture, row_prior

SEQUENCE = Path('sequences/rtabmap_corridor')
SIZE = (256, 192)  # (width, height) at which frames are matched and compared
AGREE_PX = 1.0  # flow there and back
LEAST_MATCHED = 0.3  # of the picture, or the pair says nothing


def flows(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 2) flow from the first grey frame to the second, and (H, W) bool where it holds."""
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there, back = finder.calc(first, second, None), finder.calc(second, first, None)
    returned = cv2.remap(back, *targets(there), cv2.INTER_LINEAR, borderValue=(1e3, 1e3))
    return there, np.linalg.norm(there + returned, axis=2) < AGREE_PX


def targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where every pixel goes: columns and rows, (H, W) float32."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def change(first: np.ndarray, second: np.ndarray, flow: np.ndarray, held: np.ndarray) -> float:
    """Mean unexplained difference of two predictions (H, W), in percent of the first's spread."""
    carried = cv2.remap(second.astype(np.float32), *targets(flow), cv2.INTER_LINEAR)
    a, b = first[held].astype(np.float64), carried[held].astype(np.float64)
    design = np.stack([b, np.ones_like(b)], axis=1)
    residual = a - design @ np.linalg.lstsq(design, a, rcond=None)[0]
    low, high = np.quantile(first, (0.05, 0.95))
    return float(100 * np.abs(residual).mean() / max(high - low, 1e-9))


def measure(predict: Predictor, frames: list[np.ndarray]) -> np.ndarray:
    """One figure per pair of neighbours that could be matched."""
    shape = SIZE[::-1]
    predictions = [cv2.resize(np.array(predict(f, shape), np.float32), SIZE) for f in frames]
    greys = [cv2.cvtColor(cv2.resize(f, SIZE), cv2.COLOR_RGB2GRAY) for f in frames]
    figures = []
    for (grey, depth), (next_grey, next_depth) in pairwise(zip(greys, predictions, strict=True)):
        flow, held = flows(grey, next_grey)
        if held.mean() > LEAST_MATCHED:
            figures.append(change(depth, next_depth, flow, held))
    return np.array(figures)


@click.command()
@click.argument('models', nargs=-1)
@click.option('--data', type=click.Path(path_type=Path), help='Folder with the sequences.')
def main(models: tuple[str, ...], data: Path | None) -> None:
    """Measure MODELS (default: embedded) on the corridor drive."""
    folder = (data or Path(os.environ.get('MIDAS_DEPTH_TEST_DATA', DEFAULT_DATA))) / SEQUENCE
    paths = sorted(p for p in folder.rglob('*') if p.suffix in ('.jpg', '.png'))
    if len(paths) < 2:
        raise click.ClickException(f'no frames in {folder}: name the data folder with --data')
    frames = [read_picture(p, cv2.IMREAD_COLOR)[..., ::-1].copy() for p in paths]
    table = Table('model', 'pairs', 'mean %', 'median %', '90th percentile %')
    predictors: dict[str, Predictor] = {'row prior': row_prior}
    predictors |= {model: predictor_of(model) for model in models or ('embedded',)}
    for name, predict in predictors.items():
        values = measure(predict, frames)
        figures = (values.mean(), np.median(values), np.quantile(values, 0.9))
        table.add_row(Path(name).name, str(len(values)), *(f'{x:.2f}' for x in figures))
    Console().print(table)


if __name__ == '__main__':
    main()
