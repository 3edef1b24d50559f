"""How much a model's depth flickers from frame to frame, beyond what motion explains.

A robot drives through rendered corridors, so where every point of one frame is in the next is
known exactly. Each prediction is fitted to its frame's true inverse depth by scale and shift; what
is left is its error, and a point's change of error from one frame to the next is flicker. It is
given in percent of the spread of true inverse depth (5th to 95th percentile).

On real drives (a folder of frames) poses are unknown: there, points are matched by optical flow,
the second prediction is fitted to the first, and the rest contains what motion would explain.

    python -m benchmarks.steadiness embedded --drive ../shared/data/sequences/rtabmap_corridor
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.relative_depth import Predictor, predictor_of, read_picture, row_prior
from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import Pose, moving_scene, render

WIDTH, HEIGHT = 256, 192
SEEDS = (0, 1, 2, 3)
RATE_HZ, FRAMES = 10.0, 40
NOISE = 4.0  # grey levels of a camera's noise on rendered frames
SAME_DEPTH = 0.03  # a point is the same if its depth in the next frame is right to this share
AGREE_PX, LEAST_MATCHED = 2.0, 0.05  # optical flow there and back; share of the picture


@dataclass(frozen=True)
class Frame:
    """A picture of a drive with its true depth and pose."""

    rgb: np.ndarray
    depth_z: np.ndarray
    pose: Pose


def drive(seed: int, camera: CameraModel) -> list[Frame]:
    """Frames of one corridor, noise of the camera included."""
    scene, rng = moving_scene(seed), np.random.default_rng(seed)
    frames = []
    for index in range(FRAMES):
        time_s, pose = index / RATE_HZ, scene.pose_at(index / RATE_HZ)
        rendering = render(scene.scene_at(time_s), camera, pose)
        noisy = rendering.rgb + rng.normal(0, NOISE, rendering.rgb.shape)
        rgb = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        frames.append(Frame(rgb, rendering.depth_z, pose))
    return frames


def carried(frame: Frame, following: Frame, camera: CameraModel) -> tuple[np.ndarray, ...]:
    """Columns and rows (H, W) float32 of a frame's points in the next, and where that holds."""
    x, y = camera.normalised_grid()
    points = np.stack([x, y, np.ones_like(x)], axis=-1) * frame.depth_z[..., np.newaxis]
    world = points @ frame.pose.optical_axes.T + frame.pose.position
    there = (world - following.pose.position) @ following.pose.optical_axes
    z = np.maximum(there[..., 2], 1e-3)
    columns = (camera.fx * there[..., 0] / z + camera.cx).astype(np.float32)
    rows = (camera.fy * there[..., 1] / z + camera.cy).astype(np.float32)
    found = cv2.remap(following.depth_z, columns, rows, cv2.INTER_NEAREST, borderValue=0)
    same = np.isfinite(frame.depth_z) & (np.abs(found / z - 1) < SAME_DEPTH)
    return columns, rows, same


def flicker(predict: Predictor, frames: list[Frame], camera: CameraModel) -> list[float]:
    """One figure per pair of neighbours, in percent."""
    errors, spreads = [], []
    for frame in frames:
        truth = 1 / frame.depth_z.astype(np.float64)
        guess = np.array(predict(frame.rgb, truth.shape), np.float64)
        errors.append(np.float32(fitted(guess, truth, np.isfinite(frame.depth_z)) - truth))
        spreads.append(np.ptp(np.quantile(truth, (0.05, 0.95))))
    figures = []
    for index, (frame, following) in enumerate(pairwise(frames)):
        columns, rows, same = carried(frame, following, camera)
        next_error = cv2.remap(errors[index + 1], columns, rows, cv2.INTER_LINEAR)
        change = np.abs(next_error - errors[index])[same].mean()
        figures.append(float(100 * change / spreads[index]))
    return figures


def fitted(guess: np.ndarray, wanted: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The guess under the scale and shift that bring it nearest to what is wanted."""
    design = np.stack([guess[where], np.ones(int(where.sum()))], axis=1)
    scale, shift = np.linalg.lstsq(design, wanted[where], rcond=None)[0]
    return np.asarray(scale * guess + shift)


def real_flicker(predict: Predictor, folder: Path) -> list[float]:
    """One figure per pair of neighbouring frames that optical flow could match, in percent."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    figures, before = [], None
    for path in sorted(p for p in folder.iterdir() if p.suffix in ('.jpg', '.png')):
        rgb = read_picture(path, cv2.IMREAD_COLOR)[..., ::-1].copy()
        grey = cv2.cvtColor(cv2.resize(rgb, (WIDTH, HEIGHT)), cv2.COLOR_RGB2GRAY)
        depth = np.array(predict(rgb, rgb.shape[:2]), np.float32)
        depth = cv2.resize(depth, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        if before is not None:
            flow, back = finder.calc(before[0], grey, None), finder.calc(grey, before[0], None)
            target = (columns + flow[..., 0], rows + flow[..., 1])
            returned = cv2.remap(back, *target, cv2.INTER_LINEAR, borderValue=(1e3, 1e3))
            held = np.linalg.norm(flow + returned, axis=2) < AGREE_PX
            if held.mean() > LEAST_MATCHED:
                there = cv2.remap(depth, *target, cv2.INTER_LINEAR).astype(np.float64)
                rest = np.abs(fitted(there, before[1], held) - before[1])[held].mean()
                spread = np.ptp(np.quantile(before[1], (0.05, 0.95)))
                figures.append(float(100 * rest / max(spread, 1e-9)))
        before = (grey, depth)
    return figures


@click.command()
@click.argument('models', nargs=-1)
@click.option('--drive', 'folder', type=click.Path(path_type=Path, exists=True))
def main(models: tuple[str, ...], folder: Path | None) -> None:
    """Measure MODELS (default: embedded) on rendered drives, and on a folder of real frames."""
    camera = moving_scene(0).camera.scaled(WIDTH, HEIGHT)
    drives = [drive(seed, camera) for seed in SEEDS]
    table = Table('frames', 'model', 'pairs', 'mean %', 'median %', '90th percentile %')
    predictors: dict[str, Predictor] = {'row prior': row_prior}
    predictors |= {model: predictor_of(model) for model in models or ('embedded',)}
    for name, predict in predictors.items():
        results = {'rendered': [v for frames in drives for v in flicker(predict, frames, camera)]}
        if folder:
            results[folder.name] = real_flicker(predict, folder)
        for frames, values in results.items():
            quantiles = np.quantile(values, (0.5, 0.9)) if values else (np.nan, np.nan)
            row = (np.mean(values) if values else np.nan, *quantiles)
            table.add_row(frames, Path(name).name, str(len(values)), *(f'{x:.2f}' for x in row))
    Console().print(table)


if __name__ == '__main__':
    main()
