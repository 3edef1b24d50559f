"""How good metres from the floor are on real pictures with measured depth.

Every picture goes through the network and the ground plane fit, as in the node; height, pitch and
roll of the camera are those of the floor in the measured depth. Beside it stand the best scale and
shift there are for the same answer of the network, and two answers that see no picture.

    python -m benchmarks.metric_on_real --write docs/accuracy.md
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.accuracy import header
from benchmarks.model_quality import DEFAULT_DATA, inverse_depth, read_picture
from benchmarks.performance_page import write_block
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    Refusal,
    ScaleShift,
    find_obstacles,
    fit_ground_plane,
)
from midas_depth_ros.geometry.fitting import NoFloor
from midas_depth_ros.geometry.ground_plane import unjudged_line
from midas_depth_ros.options.metric import ObstacleOptions

FARTHEST_M = 10.0  # what a small robot acts on; lidar reaches farther
# Of measured values; nearer ones are artefacts of interpolation (Kinect v2).
NEAREST_M = 0.4
DENSE = 0.3  # of what is below the horizon must be measured, to find obstacles in it
WHITE, FRAME = 230, 0.05  # of a white frame around a picture: grey level, largest share of a side


@dataclasses.dataclass(frozen=True)
class Pair:
    """A picture and what was measured in it.

    rgb: (H, W, 3) uint8. depth_z: (H, W) float32 metres along the optical axis, NaN = not measured.
    camera: of the picture. stated: the mount by the floor fit of the manifest; None = none.
    """

    name: str
    rgb: np.ndarray
    depth_z: np.ndarray
    camera: CameraModel
    stated: CameraMount | None


# --- The pictures.


def load_pairs(folder: Path) -> Iterator[Pair]:
    """Yield the pictures of the manifest with measured depth, intrinsics and a camera height."""
    for entry in json.loads((folder / 'MANIFEST.json').read_text()):
        if entry.get('category') == 'rgbd' and entry['intrinsics'] and entry['camera_height_m']:
            raw = read_picture(folder / entry['depth'], cv2.IMREAD_UNCHANGED)
            inverse = inverse_depth(raw.astype(np.float64), entry)
            if inverse is None:
                continue
            bgr = read_picture(folder / entry['image'], cv2.IMREAD_COLOR)
            yield pair_of(entry, bgr[..., ::-1], inverse)


def pair_of(entry: dict[str, Any], rgb: np.ndarray, inverse: np.ndarray) -> Pair:
    """Return the pair of an entry of the manifest; inverse: (H, W) in 1/m, 0 = not measured."""
    with np.errstate(divide='ignore'):
        depth_z = (1 / inverse).astype(np.float32)
    depth_z[~(np.isfinite(depth_z) & (depth_z > NEAREST_M))] = np.nan
    values = entry['intrinsics']
    height, width = rgb.shape[:2]
    lens = tuple(map(float, values.get('D', ())))
    model = values.get('model') or ''
    fx, fy, cx, cy = (float(values[name]) for name in ('fx', 'fy', 'cx', 'cy'))
    camera = CameraModel(width, height, fx, fy, cx, cy, model if lens else '', lens)
    top, bottom, left, right = white_frame(rgb)
    inside = np.s_[top : height - bottom, left : width - right]
    camera = dataclasses.replace(
        camera, width=width - left - right, height=height - top - bottom,
        cx=camera.cx - left, cy=camera.cy - top,
    )  # fmt: skip
    floor = entry.get('floor_fit')
    stated = mount_by(np.array(floor['normal_cam']), floor['height_m']) if floor else None
    return Pair(entry['id'], np.ascontiguousarray(rgb[inside]), depth_z[inside], camera, stated)


def mount_by(normal: np.ndarray, height_m: float) -> CameraMount:
    """Return the mount of a camera that sees the floor's normal, downwards, in this direction."""
    across, down, ahead = normal / np.linalg.norm(normal)
    return CameraMount(float(height_m), math.asin(ahead), math.atan2(across, down))


def white_frame(rgb: np.ndarray) -> tuple[int, int, int, int]:
    """Return how wide the white frame is at top, bottom, left and right: registration leaves one
    around the colour pictures of NYU Depth, and no camera would show it to a network.
    """
    grey = rgb.mean(axis=2)

    def width(lines: np.ndarray) -> int:
        white = np.median(lines[: max(1, round(FRAME * len(lines)))], axis=1) > WHITE
        # With the line beside it, which is half white.
        return int(np.argmin(white)) + 1 if white[0] and not white.all() else 0

    return width(grey), width(grey[::-1]), width(grey.T), width(grey.T[::-1])


# --- The true mount: the floor in the measured depth.

STEEPEST_RAD = math.radians(40)  # of the camera, downwards or rolled
TRIED = 400  # planes
NEAR_PLANE = 0.02  # a point this share of its distance off the plane, or less, is on it,
LEAST_NEAR_M = 0.02  # or this near
LOWEST = 0.04  # at most this share of what was measured may lie below the floor
MOST_POINTS = 20_000
LEAST_ON_FLOOR = 0.06  # of the points
SAME_HEIGHT, SAME = 0.1, math.radians(1)  # two fits that agree


def true_mount(pair: Pair) -> CameraMount | None:
    """Return the mount by the floor fit of the manifest where ours confirms it, else by ours; None:
    no floor is seen in the measured depth.
    """
    ours, stated = measured_mount(pair), pair.stated
    if ours is None or stated is None:
        return ours
    tilts = ours.pitch_rad - stated.pitch_rad, ours.roll_rad - stated.roll_rad
    same = abs(ours.height_m / stated.height_m - 1) < SAME_HEIGHT and max(map(abs, tilts)) < SAME
    return stated if same else ours


def measured_points(pair: Pair) -> np.ndarray:
    """Return (n, 3) float64 points in the optical frame, up to twice `FARTHEST_M`."""
    x, y = pair.camera.normalised_grid()
    known = np.isfinite(pair.depth_z) & (pair.depth_z < 2 * FARTHEST_M) & np.isfinite(x)
    rows, columns = np.nonzero(known)
    step = max(1, len(rows) // MOST_POINTS)
    chosen = rows[::step], columns[::step]
    z = pair.depth_z[chosen].astype(np.float64)
    return np.stack([x[chosen] * z, y[chosen] * z, z], axis=1)


def measured_mount(pair: Pair) -> CameraMount | None:
    """Return the mount by the floor in the measured depth; None: no floor is seen in it.

    The floor is the plane, within `STEEPEST_RAD` of level, that most points lie on and hardly
    any below.
    """
    points = measured_points(pair)
    if len(points) < 50:
        return None
    rng = np.random.default_rng(0)
    near = np.maximum(NEAR_PLANE * points[:, 2], LEAST_NEAR_M)
    best, most = None, LEAST_ON_FLOOR * len(points)
    for _ in range(TRIED):
        plane = _plane_of(points[rng.integers(len(points), size=3)])
        if plane is None:
            continue
        off = points @ plane[0] - plane[1]
        count = int((np.abs(off) < near).sum())
        if count > most and (off > 3 * near).mean() < LOWEST:
            best, most = plane, count
    if best is None:
        return None
    normal, height = best
    for reach in (2.0, 1.0, 1.0, 1.0):
        on = np.abs(points @ normal - height) < reach * near
        # Weighted as measured: the error of a camera's depth grows with it.
        plane = _plane_of(points[on], 1 / near[on])
        if plane is None:
            return None
        normal, height = plane
    return mount_by(normal, height)


def _plane_of(
    points: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, float] | None:
    """The plane normal . p = height through (n, 3) points, normal down; None: far from level."""
    weight = np.ones(len(points)) if weight is None else weight
    centre = weight @ points / weight.sum()
    _, sizes, axes = np.linalg.svd((points - centre) * weight[:, None], full_matrices=False)
    normal = axes[-1] * (1 if axes[-1] @ centre > 0 else -1)
    if not sizes[1] > 1e-6 * sizes[0] or normal[1] < math.cos(STEEPEST_RAD):
        return None
    return normal, float(normal @ centre)


# --- One picture's figures.


@dataclasses.dataclass(frozen=True)
class Errors:
    """Of |Z'/Z - 1| up to `FARTHEST_M`: median and 90th percentile; bias: median of Z'/Z - 1."""

    median: float
    most: float
    bias: float


@dataclasses.dataclass(frozen=True)
class TakenForFloor:
    """What the fit takes for a floor, accepted or not, against the measured floor.

    errors: of its metres, everywhere. right: share of its cells that are floor; found: of the
    floor's cells that are its own; cells without measured depth do not count. tilt: by how much
    more its 1/Z is too large at the right edge of the picture than at the left, as a share.
    """

    errors: Errors
    right: float
    found: float
    tilt: float


@dataclasses.dataclass(frozen=True)
class PairFigures:
    """What one picture gave.

    refused: why there are no metres, '' where there are. errors: by name; of the fit to the floor
    only where it was accepted. ahead_m: metres ahead to the nearest obstacle by the measured depth
    and by ours; inf = none, NaN = too little was measured there, or refused. floor: how right what
    the fit takes for a floor is, if anything is like one.
    """

    name: str
    mount: CameraMount
    refused: str
    errors: dict[str, Errors]
    ahead_m: tuple[float, float]
    floor: TakenForFloor | None


FLOOR, BEST, PLANE, CONSTANT = 'floor', 'best', 'plane', 'constant'


def errors_of(found_z: np.ndarray, true_z: np.ndarray) -> Errors:
    """Compare two (H, W) depths where the true one is measured and within `FARTHEST_M`.

    What has no depth counts as infinitely far.
    """
    known = true_z <= FARTHEST_M
    found = np.where(np.isfinite(found_z[known]) & (found_z[known] > 0), found_z[known], np.inf)
    share = found / true_z[known] - 1
    median, most = np.quantile(np.abs(share), (0.5, 0.9), method='lower')
    return Errors(float(median), float(most), float(np.quantile(share, 0.5, method='lower')))


def best_fit(d: np.ndarray, true_z: np.ndarray) -> ScaleShift:
    """Return the scale and shift with the least mean |Z/Z' - 1| up to `FARTHEST_M`: no method can
    do better with this answer of a network. By reweighted least squares.
    """
    known = true_z <= FARTHEST_M
    z, x = true_z[known].astype(np.float64), d[known].astype(np.float64)
    design = np.stack([x * z, z], axis=1)
    weight = np.ones_like(z)
    scale = shift = 0.0
    for _ in range(20):
        root = np.sqrt(weight)
        scale, shift = np.linalg.lstsq(design * root[:, None], root, rcond=None)[0]
        weight = 1 / np.maximum(np.abs(design @ (scale, shift) - 1), 1e-3)
    return ScaleShift(float(scale), float(shift), 'best')


def depth_of(scale: ScaleShift, d: np.ndarray) -> np.ndarray:
    return scale.depth(d, min_depth_m=0, max_depth_m=1e3, beyond=math.inf)


def plane_depth(mount: CameraMount, camera: CameraModel) -> np.ndarray:
    """Return the depth of a floor everywhere, at most `FARTHEST_M` away."""
    ground = mount.ground_inverse_depth(camera.normalised_grid())
    return np.asarray(1 / np.maximum(ground, 1 / FARTHEST_M))


def figures_of(pair: Pair, mount: CameraMount, d: np.ndarray, enlarge: Enlarge) -> PairFigures:
    """Return the figures of one picture; d: (h, w) float32, what the network says of it."""
    fit = fit_ground_plane(d, pair.camera.normalised_grid(*d.shape[::-1]), mount)
    full, true = enlarge(d, pair.depth_z.shape), pair.depth_z
    middle = float(np.nanmedian(true[true <= FARTHEST_M]))
    errors = {
        BEST: errors_of(depth_of(best_fit(full, true), full), true),
        PLANE: errors_of(plane_depth(mount, pair.camera), true),
        CONSTANT: errors_of(np.full(true.shape, middle), true),
    }
    ahead = math.nan
    if isinstance(fit, ScaleShift):
        errors[FLOOR] = errors_of(depth_of(fit, full), true)
        ahead = nearest_ahead(depth_of(fit, d), pair.camera, mount, fit)
    refused = fit.reason if isinstance(fit, Refusal) else ''
    measured = nearest_measured(pair, mount, d.shape)
    floor = taken_for_floor(pair, mount, d, full)
    return PairFigures(pair.name, mount, refused, errors, (measured, ahead), floor)


def taken_for_floor(
    pair: Pair, mount: CameraMount, d: np.ndarray, full: np.ndarray
) -> TakenForFloor | None:
    """Return how right the floor of the fit is, before it is judged; full: d as large as the
    picture. None: nothing is like one, or none of it is measured floor.
    """
    try:
        cells, line = unjudged_line(d, pair.camera.normalised_grid(*d.shape[::-1]), mount)
    except NoFloor:
        return None
    inverse = 1 / reduced_depth(pair.depth_z, cells.d.shape)
    measured = np.isfinite(inverse) & cells.candidate
    on_floor = (np.abs(inverse - cells.ground) < cells.tolerance) & measured
    if not (line.on_floor & on_floor).any():
        return None
    across = np.broadcast_to(np.linspace(-0.5, 0.5, cells.d.shape[1]), cells.d.shape)
    off = line.inverse_depth[line.on_floor] / cells.ground[line.on_floor] - 1
    return TakenForFloor(
        errors_of(depth_of(ScaleShift(line.scale, line.shift, 'ground'), full), pair.depth_z),
        float(on_floor[line.on_floor & measured].mean()),
        float(line.on_floor[on_floor].mean()),
        float(np.polyfit(across[line.on_floor], off, 1)[0]),
    )


Enlarge = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
OPTIONS = ObstacleOptions()


def nearest_ahead(
    depth_z: np.ndarray, camera: CameraModel, mount: CameraMount, fit: ScaleShift | None,
    smooth: bool = True,
) -> float:  # fmt: skip
    """Return the metres ahead to the nearest obstacle, as the package finds it; fit: of the depth,
    None where it was measured.
    """
    grid = camera.normalised_grid(*depth_z.shape[::-1])
    fit = fit or ScaleShift(1.0, 0.0)
    return find_obstacles(
        depth_z, grid, mount, OPTIONS, max_range_m=FARTHEST_M, residual=fit.residual,
        floor_drop=fit.floor_drop, smooth=smooth,
    ).nearest_range_m  # fmt: skip


def nearest_measured(pair: Pair, mount: CameraMount, shape: tuple[int, int]) -> float:
    """Return the same by the measured depth at the network's size; NaN where too little of what is
    below the horizon was measured.
    """
    small = reduced_depth(pair.depth_z, shape)
    ground = mount.ground_inverse_depth(pair.camera.normalised_grid(*shape[::-1]))
    below = ground > 1 / FARTHEST_M
    if not below.any() or np.isfinite(small[below]).mean() < DENSE:
        return math.nan
    return nearest_ahead(small, pair.camera, mount, None, smooth=bool(np.isfinite(small).all()))


def reduced_depth(depth_z: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the median of what was measured in every cell of a coarser picture, NaN: nothing."""
    rows, columns = (
        np.minimum(np.arange(n) * m // n, m - 1) for n, m in zip(depth_z.shape, shape, strict=True)
    )
    cell = rows[:, None] * shape[1] + columns[None, :]
    known = np.isfinite(depth_z)
    order = np.lexsort((depth_z[known], cell[known]))
    cells, values = cell[known][order], depth_z[known][order]
    first, count = np.unique(cells, return_index=True, return_counts=True)[1:]
    result = np.full(shape[0] * shape[1], np.nan, np.float32)
    result[cells[first]] = values[first + count // 2]
    return result.reshape(shape)


# --- The tables.


def percent(share: float) -> str:
    return f'{share:.1%}' if share < 10 else 'beyond'


def pair_lines(figures: list[PairFigures]) -> Iterator[str]:
    yield header(
        'picture', 'camera height, pitch', 'accepted', 'floor fit, median / 90 %', 'bias',
        'best fit there is', 'floor everywhere', 'constant', 'nearest ahead, measured', 'ours',
    )  # fmt: skip
    for f in figures:
        floor = f.errors.get(FLOOR)
        pitch = math.degrees(f.mount.pitch_rad)
        cells = [
            f.name, f'{f.mount.height_m:.2f} m, {pitch:+.1f}°', 'no' if f.refused else 'yes',
            f'{percent(floor.median)} / {percent(floor.most)}' if floor else '',
            f'{floor.bias:+.0%}' if floor else '',
            *(f'{percent(e.median)} / {percent(e.most)}'
              for e in (f.errors[name] for name in (BEST, PLANE, CONSTANT))),
            *(metres(m) for m in f.ahead_m),
        ]  # fmt: skip
        yield f'| {" | ".join(cells)} |'


def metres(ahead_m: float) -> str:
    if math.isnan(ahead_m):
        return ''
    return f'{ahead_m:.2f} m' if ahead_m < math.inf else 'none'


def refusal_lines(figures: list[PairFigures]) -> Iterator[str]:
    yield header(
        'picture', 'why there are no metres', 'its metres, median / 90 %',
        'taken for floor: is floor', 'floor: is taken for it', 'tilted, left to right',
    )  # fmt: skip
    for f in figures:
        if not f.refused:
            continue
        cells = [f.name, f.refused, '', '', '', '']
        if f.floor is not None:
            cells[2:] = [
                f'{percent(f.floor.errors.median)} / {percent(f.floor.errors.most)}',
                f'{f.floor.right:.0%}', f'{f.floor.found:.0%}', f'{round(100 * f.floor.tilt):+d}%',
            ]  # fmt: skip
        yield f'| {" | ".join(cells)} |'


def summary_lines(figures: list[PairFigures]) -> Iterator[str]:
    """Yield the medians over the pictures; of the baselines over the same pictures, too."""
    accepted = [f for f in figures if not f.refused]
    yield header('', 'pictures', 'median of the medians', 'median of the 90th percentiles')
    rows = [('floor fit, accepted', FLOOR, accepted)]
    rows += [
        (f'{text}, {of}', name, chosen)
        for name, text in (
            (BEST, 'best fit there is'), (PLANE, 'floor everywhere'), (CONSTANT, 'constant'),
        )
        for of, chosen in (('same pictures', accepted), ('all', figures))
    ]  # fmt: skip
    for text, name, chosen in rows:
        if chosen:
            median, most = (
                float(np.median([getattr(f.errors[name], key) for f in chosen]))
                for key in ('median', 'most')
            )
            yield f'| {text} | {len(chosen)} | {percent(median)} | {percent(most)} |'


def measure(folder: Path, model: str) -> list[PairFigures]:
    """Return the figures of all pairs of the folder in whose measured depth a floor is seen."""
    estimator = load_estimator(model)
    figures = []
    for pair in tqdm(list(load_pairs(folder)), desc=model, disable=None):
        mount = true_mount(pair)
        if mount is None:
            click.echo(f'{pair.name}: no floor in the measured depth', err=True)
            continue
        figures.append(figures_of(pair, mount, estimator.infer(pair.rgb), estimator.enlarge))
    return figures


@click.command()
@click.option('--data', type=click.Path(path_type=Path), help='Folder with MANIFEST.json.')
@click.option('--model', default='embedded', show_default=True)
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(data: Path | None, model: str, path: Path | None) -> None:
    """Print the tables, or write them between their marks in a Markdown file."""
    folder = data or Path(os.environ.get('MIDAS_DEPTH_TEST_DATA', DEFAULT_DATA))
    if not (folder / 'MANIFEST.json').is_file():
        raise click.ClickException(f'no MANIFEST.json in {folder}: choose a folder with --data')
    figures = measure(folder, model)
    tables = {
        'real': pair_lines(figures),
        'real summary': summary_lines(figures),
        'real refused': refusal_lines(figures),
    }
    for name, lines in tables.items():
        if path is None:
            click.echo(f'\n{name}\n\n' + '\n'.join(lines))
        else:
            write_block(path, name, '\n'.join(lines))


if __name__ == '__main__':
    main()
