"""How far metric depth can be trusted: counted on rendered views whose depth is known exactly.

Random rooms, and views without a floor, are disturbed as a network would: a scale and a shift of
their own for every picture, noise, outliers. Counted are both kinds of error of the ground plane
fit (refused though the floor is in plain view; accepted though there is none), the error of scale
and of the distance to the nearest obstacle, and what a wrong camera pitch does to that.

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

BEGIN, END = '<!-- geometry: begin -->', '<!-- geometry: end -->'
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
REFUSED_UNDER = ('none', '2 %', '2 % and bumps 5 %')
CLEAR, CLEAR_NEAR = 0.4, 0.5  # floor in what is below the horizon, and in its nearest quarter
WRONG = 0.1  # depth off by more anywhere from 0.5 to 4 m: the fit should not have been accepted
PITCH_ERRORS_DEG = (0.0, 0.5, 1.0, 2.0, 4.0)
HEIGHTS_M = (0.2, 0.4, 0.8)
DISTANCES_M = (0.5, 1.0, 2.0, 3.0, 4.0)


@dataclass
class RoomFigures:
    """What became of the rooms of one noise."""

    views: int = 0
    clear: int = 0
    clear_refused: int = 0
    other_accepted: int = 0
    wrong: int = 0
    scale: list[float] = field(default_factory=list)
    distance: list[tuple[float, float]] = field(default_factory=list)  # true metres, relative error
    missed: int = 0
    false_alarms: int = 0


def fitted(
    view: RandomView, d: np.ndarray, pitch_error_rad: float = 0.0
) -> tuple[ScaleShift | Refusal, CameraMount]:
    """The fit, by a mount whose pitch is off by so much."""
    pose = view.pose
    mount = CameraMount(pose.z_m, pose.pitch_rad + pitch_error_rad, pose.roll_rad)
    return fit_ground_plane(d, view.camera.normalised_grid(), mount), mount


def nearest(view: RandomView, d: np.ndarray, fit: ScaleShift, mount: CameraMount) -> float:
    """Metres ahead to the nearest obstacle, as the package finds it."""
    depth = fit.depth(d, min_depth_m=0, beyond=math.inf)
    grid = view.camera.normalised_grid()
    return find_obstacles(depth, grid, mount, OPTIONS, residual=fit.residual).nearest_range_m


def truth(view: RandomView, pixels: int = 2 * OPTIONS.min_pixels) -> float:
    """Metres ahead to the nearest obstacle of so many pixels, from the exact depth."""
    heights = OPTIONS.min_height, OPTIONS.max_height
    return nearest_ahead(view, OPTIONS.robot_width, heights, pixels)


def distance_error(view: RandomView, found: float) -> float:
    """Of a distance that was found, as a share.

    What stands nearer and shows `min_pixels` to twice as many, of which it depends on noise
    whether they count, is right as well.
    """
    errors = [found / true - 1 for true in (truth(view), truth(view, OPTIONS.min_pixels))]
    return min(errors, key=abs)


def floor_in_plain_view(view: RandomView) -> bool:
    """Whether so much of the floor shows that it has to be found."""
    pose = view.pose
    mount = CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
    ground = mount.ground_inverse_depth(view.camera.normalised_grid())
    below = ground > 0.04 * ground.max()
    near = ground >= np.quantile(ground[below], 0.75)
    return bool(view.floor[below].mean() > CLEAR and view.floor[near].mean() > CLEAR_NEAR)


def depth_error(fit: ScaleShift, scale: float, shift: float) -> float:
    """The largest error of depth from 0.5 to 4 m, as a share."""
    inverse = np.array([2.0, 1.0, 0.25])
    found = fit.scale * (inverse - shift) / scale + fit.shift
    return float(np.abs(found / inverse - 1).max())


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
        figures.other_accepted += not clear
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
    """Of those that were accepted: how far a thing at 1 m seems to be."""
    seems = []
    for _ in range(count):
        view = make(rng)
        d, scale, shift = disturbed(view, rng, **DISTURBANCES[name])
        fit, _ = fitted(view, d)
        if isinstance(fit, ScaleShift):
            inverse = fit.scale * (1.0 - shift) / scale + fit.shift
            seems.append(1 / inverse if inverse > 0 else math.inf)
    return seems


def cliff_lines(count: int, rng: np.random.Generator) -> Iterator[str]:
    """Floors that end: what became of them."""
    yield '| noise | cliffs | fit refused | edge within 10 % | too near | too far or not seen |'
    yield '| --- | --- | --- | --- | --- | --- |'
    for name in REFUSED_UNDER:
        refused, ratios = 0, []
        for _ in range(count):
            view, edge = cliff_view(rng)
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
    """Pitch error in degrees -> views, refused, and (true distance, relative error) of the rest."""
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
    yield (
        '| noise | rooms | floor in plain view | of these refused | wrongly accepted '
        '| scale off, median / 95 % / largest |'
    )
    yield '| --- | --- | --- | --- | --- | --- |'
    for noise, t in by_noise.items():
        median, most, worst = np.quantile(t.scale, (0.5, 0.95, 1))
        yield (
            f'| {noise} | {t.views} | {t.clear} | {t.clear_refused} | {t.wrong} '
            f'| {median:.2%} / {most:.2%} / {worst:.2%} |'
        )


def distance_lines(by_noise: dict[str, RoomFigures]) -> Iterator[str]:
    bins = list(itertools.pairwise(DISTANCES_M))
    yield (
        '| noise | '
        + ' | '.join(f'{a:g}-{b:g} m' for a, b in bins)
        + (' | views | within 5 % | missed | false alarms |')
    )
    yield '|' + ' --- |' * (len(bins) + 5)
    for noise, t in by_noise.items():
        errors = np.array(t.distance)
        cells = [binned(errors, a, b) for a, b in bins]
        within = float((np.abs(errors[:, 1]) <= 0.05).mean())
        yield (
            f'| {noise} | ' + ' | '.join(cells) + f' | {len(errors)} | {within:.1%} '
            f'| {t.missed} | {t.false_alarms} |'
        )


def binned(errors: np.ndarray, low: float, high: float) -> str:
    inside = errors[(errors[:, 0] >= low) & (errors[:, 0] < high), 1] if len(errors) else []
    if len(inside) < 5:
        return '-'
    median, most = np.median(inside), np.quantile(np.abs(inside), 0.95)
    return f'{median:+.1%} / {most:.1%}' if most < 10 else f'{median:+.1%} / missed'


def floorless_lines(
    kinds: dict[str, Callable[[np.random.Generator], RandomView]], count: int,
    rng: np.random.Generator,
) -> Iterator[str]:  # fmt: skip
    yield (
        '| what fills the picture | views, each | '
        + ' | '.join(f'accepted, noise {name}' for name in REFUSED_UNDER)
        + ' | what is 1 m away then seems to be at |'
    )
    yield '|' + ' --- |' * (len(REFUSED_UNDER) + 3)
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
    bins = list(itertools.pairwise(DISTANCES_M))
    yield (
        '| camera | pitch off by | ' + ' | '.join(f'{a:g}-{b:g} m' for a, b in bins)
        + ' | refused |'
    )  # fmt: skip
    yield '|' + ' --- |' * (len(bins) + 3)
    for height in HEIGHTS_M:
        for error, (views, refused, found) in measure_pitch(count, height, rng).items():
            errors = np.array(found)
            cells = ' | '.join(median_error(errors, a, b) for a, b in bins)
            share = refused / max(1, views)
            yield f'| {height:g} m | {error + 0.0:+.1f}° | {cells} | {share:.0%} |'


def median_error(errors: np.ndarray, low: float, high: float) -> str:
    inside = errors[(errors[:, 0] >= low) & (errors[:, 0] < high), 1] if len(errors) else []
    if len(inside) < 5:
        return '-'
    median = float(np.median(inside))
    return f'{median:+.0%}' if median < 9 else 'not seen'


def report(scenes: int, seed: int, command: str) -> str:
    """The whole section, as Markdown."""
    rng = np.random.default_rng(seed)
    by_noise = {name: measure_rooms(scenes, name, rng) for name in DISTURBANCES}
    none = '\n'.join(floorless_lines(FLOORLESS, scenes // 4, rng))
    ambiguous = '\n'.join(floorless_lines(AMBIGUOUS, scenes // 4, rng))
    cliffs = '\n'.join(cliff_lines(scenes // 4, rng))
    pitch = '\n'.join(pitch_lines(scenes // 2, rng))
    return TEXT.format(
        command=command,
        rooms='\n'.join(room_lines(by_noise)),
        distances='\n'.join(distance_lines(by_noise)),
        none=none,
        ambiguous=ambiguous,
        cliffs=cliffs,
        pitch=pitch,
    )


TEXT = """
## Scale, shift and distance by the ground plane

Measured by

    {command}

on rendered views with exact depth, 256x192, each with a random scale and shift, as from a network.
Cameras are 0.15 to 1 m high, 55 to 95 degrees wide, look from 3 degrees up to 20 degrees down, and
have the horizon in view; half are rolled by up to 9 degrees. Noise is independent per pixel, given
as its standard deviation in shares of 1/Z; with noise, 1 % of the pixels are random outliers. Bumps
are smooth and about 25 pixels wide, more like the errors of a network. The figures are the errors
of the geometry alone, without those of a network.

### Is the floor found?

The floor is in plain view if it covers 40 % of what is below the horizon and half of the nearest
quarter of it. Wrongly accepted: the scale is off by more than 10 % for something 0.5 to 4 m away.

{rooms}

### How far is the nearest obstacle?

Rooms whose floor was found, with an obstacle in a corridor 0.4 m wide, 0.5 to 4 m ahead. Median
error / 95th percentile of the absolute error; positive = measured too far. Missed: nothing found
within twice the distance. False alarm: something found within 4 m in an empty corridor. An obstacle
has at least 48 pixels (twice `min_pixels`); one of 24 to 48 pixels before it may count or not, and
either distance is correct.

{distances}

### Is a floor found although there is none?

{none}

Some pictures cannot be distinguished from a level floor by any method: the relative inverse depth
of a ramp up to a wall is exactly that of a floor up to a wall farther away, and that of a low table
that the camera looks across is exactly that of a floor farther below. Do not trust metric depth
near ramps and steps, or while the robot pitches.

{ambiguous}

### Is a cliff found?

A floor that ends at most 1.7 m ahead (drops are detected up to 2 m), with another floor 0.2 to 1 m
below it.

{cliffs}

### The effect of a wrong camera pitch

Positive: the configured pitch is larger (farther down) than the true one. Median error of the
distance to the nearest obstacle, with 2 % noise. The relative error is about the distance times the
angle divided by the camera's height, so a low camera needs an exact pitch. With too large a pitch
obstacles seem nearer, with too small a pitch farther.

{pitch}
"""


@click.command()
@click.option('--scenes', default=400, show_default=True, help='Rooms for each noise.')
@click.option('--seed', default=0, show_default=True)
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(scenes: int, seed: int, path: Path | None) -> None:
    """Print the figures; with --write, put them between their marks in a Markdown file."""
    command = 'python -m benchmarks.accuracy' + (f' --write {path}' if path else '')
    if (scenes, seed) != (400, 0):
        command += f' --scenes {scenes} --seed {seed}'
    text = f'{BEGIN}\n{report(scenes, seed, command)}\n{END}'
    if path is None:
        print(text)
        return
    page = path.read_text() if path.exists() else f'# Accuracy\n\n{BEGIN}\n{END}\n'
    if BEGIN not in page:
        page += f'\n{BEGIN}\n{END}\n'
    before, _, rest = page.partition(BEGIN)
    path.write_text(before + text + rest.partition(END)[2])


if __name__ == '__main__':
    main()
