"""Metres by markers through a network, in rendered furnished places with exact depth.

One or two panels that stand on the floor, each with a marker, are drawn into a view of the place.
Printed are, over the places: how often there is a scale, how far off the metres are beside the best
fit to the exact depth, and how often 1/Z is within one and two deviations of it.

    python -m benchmarks.markers --write docs/metres.md
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.performance_page import write_block
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import CameraModel, MarkerScale, Refusal, ScaleShift
from midas_depth_ros.options.metric import MarkerOptions, SigmaOptions
from midas_depth_ros.sim import Pose
from midas_depth_ros.sim.furnished.world import furnished_world

CAMERA = CameraModel.from_field_of_view(640, 480, 1.2)
HEIGHT_M, PITCH_RAD = 0.3, 0.1
SIZE_M = 0.2
PANEL = 1.0  # half of its width and what it reaches above the marker, in sides of the marker
MARGIN = 0.25  # of white around the marker
FARTHEST_M = 8.0  # farther things are not counted
HEADER = (
    '| markers | network | places | with a scale | metres off, median | of what is sure '
    '| by the best fit | within 1 and 2 deviations |\n'
    '| --- | --- | --- | --- | --- | --- | --- | --- |'
)


class Outcome(NamedTuple):
    """Of one place: median |Z'/Z - 1| of all, of what is sure, and of the best fit; shares."""

    off: float
    sure_off: float
    best: float
    one: float
    two: float


def panel(
    rgb: np.ndarray, depth_z: np.ndarray, number: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one panel with a marker in front of what is at a random place in the picture."""
    x, y = (axis.astype(np.float64) for axis in CAMERA.normalised_grid())
    column, row = int(rng.uniform(120, 520)), int(rng.uniform(130, 300))
    around = np.s_[row - 15 : row + 15, column - 15 : column + 15]
    z_m = float(depth_z[around].min()) * rng.uniform(0.6, 0.97)
    turn = rng.uniform(-0.5, 0.5)
    right = np.array([math.cos(turn), 0.0, -math.sin(turn)])
    down = np.array([0.0, math.cos(PITCH_RAD), -math.sin(PITCH_RAD)])
    normal = np.cross(right, down) / np.linalg.norm(np.cross(right, down))
    down = np.cross(normal, right)
    middle = z_m * np.array([x[row, column], y[row, column], 1.0])
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    distance = (normal @ middle) / (rays @ normal)
    from_middle = distance[..., None] * rays - middle
    across, below = from_middle @ right / SIZE_M, from_middle @ down / SIZE_M
    seen = (distance > 0) & (distance < depth_z) & (np.abs(across) < PANEL) & (below > -PANEL)
    rgb = np.where(seen[..., None], np.array([150, 120, 90]), rgb)
    white = seen & (np.abs(across) < 0.5 + MARGIN) & (np.abs(below) < 0.5 + MARGIN)
    return (
        np.where(white[..., None], marker(number, across, below, z_m)[..., None], rgb).astype(
            np.uint8
        ),
        np.where(seen, distance, depth_z),
    )


def marker(number: int, across: np.ndarray, below: np.ndarray, z_m: float) -> np.ndarray:
    """Brightness of the print, as fine as it is in the picture."""
    table = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    name = 'generateImageMarker' if hasattr(cv2.aruco, 'generateImageMarker') else 'drawMarker'
    draw = getattr(cv2.aruco, name)
    margin = round(MARGIN * 400)
    whole = np.pad(draw(table, number, 400), margin, constant_values=255)
    side = max(8, round((1 + 2 * MARGIN) * SIZE_M * CAMERA.fx / z_m))
    fine = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
    u, v = (
        ((at + 0.5 + MARGIN) / (1 + 2 * MARGIN) * side - 0.5).astype(np.float32)
        for at in (across, below)
    )
    return 0.8 * cv2.remap(fine, u, v, cv2.INTER_LINEAR).astype(np.float64)


def outcome(d: np.ndarray, inverse: np.ndarray, fit: ScaleShift) -> Outcome:
    """Compare a scale with the exact 1/Z."""
    use = (inverse > 1 / FARTHEST_M) & np.isfinite(d)
    d, inverse = d[use].astype(np.float64), inverse[use]
    scale, both, shift = fit.covariance
    sigma = np.sqrt(np.maximum(scale * d * d + 2 * both * d + shift, 0))
    found = fit.scale * d + fit.shift
    off = np.abs(inverse / np.maximum(found, 1e-3) - 1)
    sure = sigma < SigmaOptions.max_share * found
    columns = np.stack([d, np.ones_like(d)], axis=1) / inverse[:, None]
    best = columns @ np.linalg.lstsq(columns, np.ones(len(d)), rcond=None)[0]
    error = np.abs(found - inverse)
    return Outcome(
        float(np.median(off)),
        float(np.median(off[sure])) if sure.any() else math.nan,
        float(np.median(np.abs(1 / np.maximum(best, 1e-3) - 1))),
        float((error < sigma).mean()),
        float((error < 2 * sigma).mean()),
    )


@click.command()
@click.option('--places', default=60, show_default=True)
@click.option('--first', default=9100, show_default=True, help='Number of the first place.')
@click.option('--model', default='embedded', show_default=True)
@click.option('--write', 'page', type=click.Path(path_type=Path), help='Page to write them into.')
def main(places: int, first: int, model: str, page: Path | None) -> None:
    """Print the table."""
    estimator, lines = load_estimator(model), [HEADER]
    for count in (1, 2):
        rng, scale = np.random.default_rng(first + count), MarkerScale()
        outcomes, refusals = [], Counter[str]()
        for number in tqdm(range(first, first + places), disable=None):
            world = furnished_world(number)
            x_m, y_m, yaw_rad = world.start
            pose = Pose(x_m=x_m, y_m=y_m, z_m=HEIGHT_M, yaw_rad=yaw_rad, pitch_rad=PITCH_RAD)
            seen = world.render(CAMERA, pose)
            rgb, depth_z = seen.rgb, np.minimum(seen.depth_z.astype(np.float64), 30.0)
            for each in range(count):
                rgb, depth_z = panel(rgb, depth_z, each, rng)
            d = estimator.infer(rgb)
            size = d.shape[1], d.shape[0]
            fit = scale.update(
                rgb, d, CAMERA.normalised_grid(*size), CAMERA, MarkerOptions(size=SIZE_M)
            )
            if isinstance(fit, Refusal):
                refusals[fit.reason] += 1
            elif fit.points == count:
                inverse = cv2.resize(1 / depth_z, size, interpolation=cv2.INTER_AREA)
                outcomes.append(outcome(d, inverse, fit))
        off, sure, best, one, two = np.nanmedian(np.array(outcomes), axis=0)
        lines.append(
            f'| {count} | {estimator.model} | {places} | {len(outcomes)} | {off:.0%} | {sure:.0%} '
            f'| {best:.0%} | {one:.0%}, {two:.0%} |'
        )
        for reason, times in refusals.most_common(4):
            print(f'{count}: {times} refused: {reason}')
    print('\n'.join(lines))
    if page is not None:
        write_block(page, 'markers', '\n'.join(lines))


if __name__ == '__main__':
    main()
