"""How accurate metric depth is, on rendered views with exact depth.

Random rooms, and views without a floor, are disturbed like a network's output: a random scale and
shift for every picture, noise, outliers. Counted are both kinds of error of the ground plane fit
(refused with the floor in plain view; accepted without a floor), the error of scale and of the
distance to the nearest obstacle, and the effect of a wrong camera pitch.

    python -m benchmarks.accuracy --write docs/accuracy.md
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from benchmarks.performance_page import write_block
from midas_depth_ros.geometry import (
    CameraMount,
    Refusal,
    ScaleShift,
    find_obstacles,
    fit_ground_plane,
)
from midas_depth_ros.geometry.obstacles import MAX_DROP_RANGE_M
from midas_depth_ros.options.metric import ObstacleOptions
from training.places.floor_views import (
    AMBIGUOUS,
    FLOORLESS,
    RandomView,
    cliff_view,
    disturbed,
    nearest_ahead,
    room_view,
)

OUTLIERS = 0.01
DISTURBANCES: dict[str, dict[str, float]] = {
    'none': {},
    '2 %': {'noise': 0.02, 'outliers': OUTLIERS},
    '5 %': {'noise': 0.05, 'outliers': OUTLIERS},
    '2 % and bumps 5 %': {'noise': 0.02, 'smooth': 0.05, 'outliers': OUTLIERS},
    '2 % and bumps 10 %': {'noise': 0.02, 'smooth': 0.1, 'outliers': OUTLIERS},
}
OPTIONS = ObstacleOptions()
CLIFF_M = 0.85 * MAX_DROP_RANGE_M
CLIFF_DROPS_M, STEP_DROPS_M = (0.2, 1.0), (0.12, 0.25)
REFUSED_UNDER = ('none', '2 %', '2 % and bumps 5 %')
CLEAR, CLEAR_NEAR = 0.4, 0.5  # floor in what is below the horizon, and in its nearest quarter
WRONG = 0.1  # with a larger error of depth from 0.5 to 4 m, the fit should have been refused
PITCH_ERRORS_DEG = (0.0, 0.5, 1.0, 2.0, 4.0)
HEIGHTS_M = (0.2, 0.4, 0.8)
DISTANCES_M = (0.5, 1.0, 2.0, 3.0, 4.0)
BINS = list(itertools.pairwise(DISTANCES_M))
BIN_NAMES = [f'{a:g}-{b:g} m' for a, b in BINS]


@dataclass
class RoomFigures:
    """The results for the rooms of one noise."""

    views: int = 0
    clear: int = 0
    clear_refused: int = 0
    wrong: int = 0
    scale: list[float] = field(default_factory=list)
    distance: list[tuple[float, float]] = field(default_factory=list)  # true metres, relative error
    missed: int = 0
    false_alarms: int = 0


def mount_of(view: RandomView, pitch_error_rad: float = 0.0) -> CameraMount:
    pose = view.pose
    return CameraMount(pose.z_m, pose.pitch_rad + pitch_error_rad, pose.roll_rad)


def fitted(
    view: RandomView, d: np.ndarray, pitch_error_rad: float = 0.0
) -> tuple[ScaleShift | Refusal, CameraMount]:
    """Return the fit with a mount whose pitch has an error."""
    mount = mount_of(view, pitch_error_rad)
    return fit_ground_plane(d, view.camera.normalised_grid(), mount), mount


def nearest(view: RandomView, d: np.ndarray, fit: ScaleShift, mount: CameraMount) -> float:
    """Return the metres ahead to the nearest obstacle, as the package finds it."""
    depth = fit.depth(d, min_depth_m=0, beyond=math.inf)
    grid = view.camera.normalised_grid()
    return find_obstacles(
        depth, grid, mount, OPTIONS, residual=fit.residual, floor_drop=fit.floor_drop
    ).nearest_range_m


def truth(view: RandomView, pixels: int = 2 * OPTIONS.min_pixels) -> float:
    """Return the true metres ahead to the nearest obstacle of at least `pixels`."""
    heights = OPTIONS.min_height, OPTIONS.max_height
    return nearest_ahead(view, OPTIONS.robot_width, heights, pixels)


def distance_error(view: RandomView, found: float) -> float:
    """Return the relative error of a distance.

    A nearer obstacle of `min_pixels` to twice as many may be found or not, depending on noise;
    either distance is right.
    """
    errors = [found / true - 1 for true in (truth(view), truth(view, OPTIONS.min_pixels))]
    return min(errors, key=abs)


def floor_in_plain_view(view: RandomView) -> bool:
    """Return whether enough floor is visible that it must be found."""
    ground = mount_of(view).ground_inverse_depth(view.camera.normalised_grid())
    below = ground > 0.04 * ground.max()
    near = ground >= np.quantile(ground[below], 0.75)
    return bool(view.floor[below].mean() > CLEAR and view.floor[near].mean() > CLEAR_NEAR)


def depth_error(fit: ScaleShift, scale: float, shift: float) -> float:
    """Return the largest relative error of depth from 0.5 to 4 m."""
    inverse = np.array([2.0, 1.0, 0.25])
    found = fit.scale * (inverse - shift) / scale + fit.shift
    return float(np.abs(found / inverse - 1).max())


def header(*columns: str) -> str:
    return f'| {" | ".join(columns)} |\n|{" --- |" * len(columns)}'


def measure_rooms(count: int, name: str, rng: np.random.Generator) -> RoomFigures:
    figures = RoomFigures(views=count)
    for _ in tqdm(range(count), desc=f'rooms, noise {name}', disable=None):
        view = room_view(rng)
        d, scale, shift = disturbed(view, rng, **DISTURBANCES[name])
        fit, mount = fitted(view, d)
        clear = floor_in_plain_view(view)
        figures.clear += clear
        if isinstance(fit, Refusal):
            figures.clear_refused += clear
            continue
        figures.wrong += depth_error(fit, scale, shift) > WRONG
        figures.scale.append(abs(fit.scale / scale - 1))
        true, found = truth(view), nearest(view, d, fit, mount)
        if DISTANCES_M[0] <= true <= DISTANCES_M[-1]:
            figures.missed += found > 2 * true
            figures.distance.append((true, distance_error(view, found)))
        elif true == math.inf and found < DISTANCES_M[-1]:
            figures.false_alarms += 1
    return figures


def measure_floorless(
    make: Callable[[np.random.Generator], RandomView], count: int, name: str,
    rng: np.random.Generator,
) -> list[float]:  # fmt: skip
    """Return, for each accepted fit, the apparent distance of an object at 1 m."""
    seems = []
    for _ in range(count):
        view = make(rng)
        d, scale, shift = disturbed(view, rng, **DISTURBANCES[name])
        fit, _ = fitted(view, d)
        if isinstance(fit, ScaleShift):
            inverse = fit.scale * (1.0 - shift) / scale + fit.shift
            seems.append(1 / inverse if inverse > 0 else math.inf)
    return seems


def cliff_lines(
    count: int, rng: np.random.Generator, drop_m: tuple[float, float] = CLIFF_DROPS_M
) -> Iterator[str]:
    """Yield the table of floors that end, with another one lower by `drop_m` beyond."""
    outcomes = ('edge within 10 %', 'too near', 'too far or not seen')
    yield header('noise', 'cliffs', 'fit refused', *outcomes)
    for name in REFUSED_UNDER:
        refused, ratios = 0, []
        for _ in range(count):
            view, edge = cliff_view(rng, drop_m)
            d, _, _ = disturbed(view, rng, **DISTURBANCES[name])
            fit, mount = fitted(view, d)
            if edge > CLIFF_M:
                continue
            if isinstance(fit, Refusal):
                refused += 1
            else:
                ratios.append(nearest(view, d, fit, mount) / edge)
        found = np.array(ratios)
        yield (
            f'| {name} | {len(found) + refused} | {refused} | {(np.abs(found - 1) <= 0.1).sum()} '
            f'| {(found < 0.9).sum()} | {(found > 1.1).sum()} |'
        )


def measure_pitch(
    count: int, height_m: float, rng: np.random.Generator
) -> dict[float, tuple[int, int, list[tuple[float, float]]]]:
    """Return, by pitch error in degrees: views, refusals, (true distance, relative error)s."""
    errors = sorted({sign * e for e in PITCH_ERRORS_DEG for sign in (-1, 1)})
    result: dict[float, tuple[int, int, list[tuple[float, float]]]] = {
        error: (0, 0, []) for error in errors
    }
    for _ in tqdm(range(count), desc=f'pitch, camera at {height_m} m', disable=None):
        view = room_view(rng, height_m)
        true = truth(view)
        if not (floor_in_plain_view(view) and DISTANCES_M[0] <= true <= DISTANCES_M[-1]):
            continue
        d, _, _ = disturbed(view, rng, noise=0.02, outliers=OUTLIERS)
        for error in errors:
            views, refused, found = result[error]
            fit, mount = fitted(view, d, math.radians(error))
            if isinstance(fit, Refusal):
                refused += 1
            else:
                found.append((true, nearest(view, d, fit, mount) / true - 1))
            result[error] = views + 1, refused, found
    return result


def room_lines(by_noise: dict[str, RoomFigures]) -> Iterator[str]:
    counts = ('rooms', 'floor in plain view', 'of these refused', 'wrongly accepted')
    yield header('noise', *counts, 'scale off, median / 95 % / largest')
    for noise, t in by_noise.items():
        median, most, worst = np.quantile(t.scale, (0.5, 0.95, 1))
        yield (
            f'| {noise} | {t.views} | {t.clear} | {t.clear_refused} | {t.wrong} '
            f'| {median:.2%} / {most:.2%} / {worst:.2%} |'
        )


def distance_lines(by_noise: dict[str, RoomFigures]) -> Iterator[str]:
    yield header('noise', *BIN_NAMES, 'views', 'within 5 %', 'missed', 'false alarms')
    for noise, t in by_noise.items():
        errors = np.array(t.distance)
        cells = [binned(errors, a, b) for a, b in BINS]
        within = float((np.abs(errors[:, 1]) <= 0.05).mean())
        yield (
            f'| {noise} | ' + ' | '.join(cells) + f' | {len(errors)} | {within:.1%} '
            f'| {t.missed} | {t.false_alarms} |'
        )


def inside_bin(errors: np.ndarray, low: float, high: float) -> np.ndarray:
    if not len(errors):
        return errors
    return errors[(errors[:, 0] >= low) & (errors[:, 0] < high), 1]


def binned(errors: np.ndarray, low: float, high: float) -> str:
    inside = inside_bin(errors, low, high)
    if len(inside) < 5:
        return '-'
    median, most = np.median(inside), np.quantile(np.abs(inside), 0.95)
    return f'{median:+.1%} / {most:.1%}' if most < 10 else f'{median:+.1%} / missed'


def floorless_lines(
    kinds: dict[str, Callable[[np.random.Generator], RandomView]], count: int,
    rng: np.random.Generator,
) -> Iterator[str]:  # fmt: skip
    accepted_under = [f'accepted, noise {name}' for name in REFUSED_UNDER]
    seems_at = 'what is 1 m away then seems to be at'
    yield header('what fills the picture', 'views, each', *accepted_under, seems_at)
    for kind, make in tqdm(kinds.items(), desc='views without a floor', disable=None):
        seems = {name: measure_floorless(make, count, name, rng) for name in REFUSED_UNDER}
        every = [metres for found in seems.values() for metres in found]
        far = ''
        if every:
            low, high = np.quantile(np.minimum(every, 99), (0.1, 0.9))
            far = f'{low:.1f} to {high:.1f} m' if high < 99 else f'{low:.1f} m to beyond sight'
            far = far if low < 99 else 'beyond sight'
        accepted = ' | '.join(str(len(found)) for found in seems.values())
        yield f'| {kind} | {count} | {accepted} | {far} |'


def pitch_lines(count: int, rng: np.random.Generator) -> Iterator[str]:
    yield header('camera', 'pitch off by', *BIN_NAMES, 'refused')
    for height in HEIGHTS_M:
        for error, (views, refused, found) in measure_pitch(count, height, rng).items():
            errors = np.array(found)
            cells = ' | '.join(median_error(errors, a, b) for a, b in BINS)
            share = refused / max(1, views)
            yield f'| {height:g} m | {error + 0.0:+.1f}° | {cells} | {share:.0%} |'


def median_error(errors: np.ndarray, low: float, high: float) -> str:
    inside = inside_bin(errors, low, high)
    if len(inside) < 5:
        return '-'
    median = float(np.median(inside))
    return f'{median:+.0%}' if median < 9 else 'not seen'


def tables(scenes: int, seed: int) -> dict[str, str]:
    """Return the tables of docs/accuracy.md by name, as Markdown."""
    rng = np.random.default_rng(seed)
    by_noise = {name: measure_rooms(scenes, name, rng) for name in DISTURBANCES}
    found = {
        'rooms': room_lines(by_noise),
        'distances': distance_lines(by_noise),
        'floorless': floorless_lines(FLOORLESS, scenes // 4, rng),
        'ambiguous': floorless_lines(AMBIGUOUS, scenes // 4, rng),
        'cliffs': cliff_lines(scenes // 4, rng),
        'pitch': pitch_lines(scenes // 2, rng),
        'steps': cliff_lines(scenes, rng, STEP_DROPS_M),
    }
    return {name: '\n'.join(lines) for name, lines in found.items()}


@click.command()
@click.option('--scenes', default=400, show_default=True, help='Rooms for each noise.')
@click.option('--seed', default=0, show_default=True)
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(scenes: int, seed: int, path: Path | None) -> None:
    """Print the tables, or write them between their marks in a Markdown file."""
    for name, text in tables(scenes, seed).items():
        if path is None:
            click.echo(f'\n{name}\n\n{text}')
        else:
            write_block(path, name, text)


if __name__ == '__main__':
    main()
