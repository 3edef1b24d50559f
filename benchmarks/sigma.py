"""How far each metre can be believed: what sigma promises, against the error that was made.

Views of rendered places are given to the embedded model, as pictures of a camera; the floor gives
scale and shift, with a mount that is off as one measured by hand is. Counted is the share of pixels
whose 1/Z is off by less than some multiples of its sigma, which for a normal distribution is known.
The places are others than those that the constants of `geometry.sigma` were chosen on. The same is
counted on real pictures with measured depth.

    python -m benchmarks.sigma --write docs/accuracy.md
    python -m benchmarks.sigma --choose     # the weights in geometry/sigma.py
    python -m benchmarks.sigma --drift      # of a scale that is kept without new fits
"""

from __future__ import annotations

import dataclasses
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.metric_on_real import load_pairs, measured_mount
from benchmarks.model_quality import DEFAULT_DATA
from benchmarks.performance_page import write_block
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    ParallaxScale,
    Refusal,
    ScaleFilter,
    ScaleShift,
    fit_ground_plane,
    inverse_depth_sigma,
)
from midas_depth_ros.geometry import sigma as believed
from midas_depth_ros.geometry.scale import PROBES_PER_M
from midas_depth_ros.options.metric import DepthImageOptions
from midas_depth_ros.sim import WORLDS, Pose, World
from midas_depth_ros.sim.robot.plain_world import free_start
from midas_depth_ros.sim.robot.robot import noisy
from training.places import sample

SIZE = (256, 192)
GREY_LEVELS = 4.0  # noise of a camera on rendered pictures
# One sigma of a mount measured with ruler and level: the declared uncertainty of the fit.
PITCH_OFF_RAD, HEIGHT_OFF = math.radians(0.5), 0.02
HORIZON_ROWS = 0.1  # of the picture lie above the horizon, at least
START_HEIGHTS_M = (0.0, 1.0)
INDOORS, OUTDOORS = ('room', 'corridor', 'clutter'), ('street', 'open')  # training places
SIGMAS = (0.5, 1.0, 1.5, 2.0, 3.0)
NORMAL = tuple(math.erf(s / math.sqrt(2)) for s in SIGMAS)
RANGES_M = ((0.3, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 20.0))
SAMPLED = 600  # pixels of every picture, so that all pictures count alike
# A picture to relative inverse depth, and to the error that the network expects of it, if any.
Infer = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32] | None]]


@dataclasses.dataclass(frozen=True)
class View:
    """A picture (H, W, 3) uint8 with its exact 1/Z (H, W) float32 (0: sky, NaN: not measured), its
    camera and the true mount.
    """

    name: str
    rgb: NDArray[np.uint8]
    inverse: NDArray[np.float32]
    camera: CameraModel
    mount: CameraMount


def view_of_pose(name: str, world: World, camera: CameraModel, pose: Pose, seed: int) -> View:
    """Return what a camera in a world sees."""
    rendering = world.render(camera, pose)
    rgb = noisy(rendering.rgb, GREY_LEVELS, np.random.default_rng([seed, 8]))
    return View(name, rgb, inverse_of(rendering.depth_z), camera, mount_of(pose))


def inverse_of(depth_z: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return 1/Z, 0 for what is infinitely far."""
    with np.errstate(divide='ignore'):
        return (1 / depth_z).astype(np.float32)


def mount_of(pose: Pose) -> CameraMount:
    return CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)


def world_views(kind: str, seeds: range, each: int) -> Iterator[View]:
    """Yield `each` views of every world: other places, cameras and mounts of small robots."""
    for seed in seeds:
        world = WORLDS[kind](seed)
        rng = np.random.default_rng([seed, 7])
        plan = world.plan(START_HEIGHTS_M)
        for number in range(each):
            x, y, yaw = free_start(rng, plan, seed)
            camera = CameraModel.from_field_of_view(*SIZE, math.radians(rng.uniform(55, 95)))
            lowest = math.atan((0.5 - HORIZON_ROWS) * camera.height / camera.fy)
            pitch = rng.uniform(-0.03, min(0.35, lowest))
            roll = rng.normal(0, 0.02)
            pose = Pose(x, y, rng.uniform(0.15, 1.0), yaw, pitch, roll)
            yield view_of_pose(f'{kind} {seed}', world, camera, pose, 100 * seed + number)


def place_views(kinds: tuple[str, ...], seeds: range) -> Iterator[View]:
    """Yield views of training places with textures that no training sample has."""
    for seed in seeds:
        kind = random.Random(seed).choice(kinds)
        seen = sample(seed, *SIZE, kind=kind, textures='eval')
        inverse = inverse_of(seen.depth_z)
        yield View(f'{kind} {seed}', seen.rgb, inverse, seen.camera, mount_of(seen.pose))


def real_views(folder: Path) -> Iterator[View]:
    """Yield the real pictures with measured depth and a floor in it, which gives the mount."""
    for pair in load_pairs(folder):
        mount = measured_mount(pair)
        if mount is not None:
            yield View(pair.name, pair.rgb, inverse_of(pair.depth_z), pair.camera, mount)


# --- What was chosen on, and what is measured on.


def chosen_on() -> Iterator[View]:
    """Yield the views that the weights were chosen on."""
    yield from world_views('furnished', range(60), 4)
    yield from world_views('plain', range(60), 4)
    yield from place_views(INDOORS, range(3_100_000_000, 3_100_000_240))


MEASURED: dict[str, Callable[[], Iterable[View]]] = {
    'furnished rooms': lambda: world_views('furnished', range(7000, 7060), 4),
    'plain worlds': lambda: world_views('plain', range(7000, 7060), 4),
    'rooms, corridors, clutter': lambda: place_views(INDOORS, range(3_700_000_000, 3_700_000_240)),
    'streets, open ground': lambda: place_views(OUTDOORS, range(3_800_000_000, 3_800_000_240)),
}


# --- The error of every pixel, and its sigma.


@dataclasses.dataclass(frozen=True)
class Judged:
    """Some pixels of the pictures of one kind, (n,) float32 each.

    error, sigma: of 1/Z, 1/m. inverse: 1/Z as measured by the package.
    """

    views: int
    refused: int
    error: NDArray[np.float32]
    sigma: NDArray[np.float32]
    inverse: NDArray[np.float32]

    @property
    def off(self) -> NDArray[np.float32]:
        """Errors in sigmas."""
        return np.asarray(np.abs(self.error) / self.sigma, np.float32)

    @property
    def relative(self) -> NDArray[np.float32]:
        """|Z'/Z - 1|."""
        return np.asarray(np.abs(self.error) / self.inverse, np.float32)


def measured_wrong(mount: CameraMount, rng: np.random.Generator) -> CameraMount:
    """Return the mount as it is known: off by one sigma of ruler and level."""
    return dataclasses.replace(
        mount,
        pitch_rad=mount.pitch_rad + rng.normal(0, PITCH_OFF_RAD),
        height_m=mount.height_m * (1 + rng.normal(0, HEIGHT_OFF)),
    )


def judged(views: Iterable[View], infer: Infer, name: str, *, exact_mount: bool = False) -> Judged:
    """Return errors and sigmas of pixels that have metres, by the floor."""
    count = refused = 0
    parts = []
    for number, view in enumerate(tqdm(views, desc=name, disable=None)):
        rng = np.random.default_rng([number, 9])
        mount = view.mount if exact_mount else measured_wrong(view.mount, rng)
        d, expected = infer(view.rgb)
        grid = view.camera.normalised_grid(d.shape[1], d.shape[0])
        fit = fit_ground_plane(d, grid, mount)
        count += 1
        if isinstance(fit, Refusal):
            refused += 1
            continue
        sigma = inverse_depth_sigma(d, fit, grid=grid, mount=mount, error=expected)
        parts.append(sampled(view.inverse, fit.inverse_depth(d), sigma, rng))
    return gathered(parts, count, refused)


def gathered(parts: list[NDArray[np.float32]], views: int, refused: int) -> Judged:
    error, sigma, inverse = np.concatenate([np.zeros((3, 0), np.float32), *parts], axis=1)
    return Judged(views, refused, error, sigma, inverse)


def sampled(
    true: NDArray[np.float32],
    inverse: NDArray[np.float32],
    sigma: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return (3, n) error, sigma and 1/Z of random pixels that have metres and were measured.

    true: (H, W); the others (h, w), of the same view.
    """
    rows, columns = np.nonzero(np.isfinite(true))
    at = [
        np.minimum(index * small // large, small - 1)
        for index, large, small in zip((rows, columns), true.shape, inverse.shape, strict=True)
    ]
    found = inverse[at[0], at[1]]
    limits = 1 / DepthImageOptions.max, 1 / DepthImageOptions.min
    known = np.flatnonzero((found > limits[0]) & (found < limits[1]))
    known = rng.choice(known, min(SAMPLED, len(known)), replace=False)
    error = true[rows[known], columns[known]] - found[known]
    return np.stack([error, sigma[at[0][known], at[1][known]], found[known]]).astype(np.float32)


# --- Metres by the robot's own motion.

DRIVE_SEEDS, FRAMES, STEP_M, TURN_RAD = range(7000, 7012), 30, 0.04, 0.03
WARM = 8  # frames until there is a baseline


def driven(infer: Infer) -> Judged:
    """Return the same for scales by odometry, on rendered drives."""
    count = refused = 0
    parts = []
    for seed in tqdm(DRIVE_SEEDS, desc='drives', disable=None):
        scale, smooth = ParallaxScale(), ScaleFilter()
        rng = np.random.default_rng([seed, 11])
        for number, view, pose in drive_views(seed):
            d, expected = infer(view.rgb)
            grey = cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY)
            fit = scale.update(0.1 * number, grey, d, view.camera, optical_pose(pose))
            used = smooth.update(0.1 * number, fit)
            if number < WARM:
                continue
            count += 1
            if used is None:
                refused += 1
                continue
            grid = view.camera.normalised_grid(d.shape[1], d.shape[0])
            mount = measured_wrong(view.mount, rng)
            sigma = inverse_depth_sigma(d, used, grid=grid, mount=mount, error=expected)
            parts.append(sampled(view.inverse, used.inverse_depth(d), sigma, rng))
    return gathered(parts, count, refused)


def drive_views(seed: int) -> Iterator[tuple[int, View, Pose]]:
    """Yield the pictures of a robot that drives in a furnished room, along a bend."""
    world = WORLDS['furnished'](seed)
    x, y, yaw = world.start
    camera = CameraModel.from_field_of_view(*SIZE, 1.3)
    for number in range(FRAMES):
        pose = Pose(x, y, 0.3, yaw, 0.2)
        yield number, view_of_pose(f'drive {seed}', world, camera, pose, 100 * seed + number), pose
        yaw += TURN_RAD * math.sin(seed + 0.2 * number)
        x, y = x + STEP_M * math.cos(yaw), y + STEP_M * math.sin(yaw)


def optical_pose(pose: Pose) -> NDArray[np.float64]:
    """Return (4, 4), from the optical frame into the world."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = pose.optical_axes, pose.position
    return matrix


# --- Tables.


def header(*columns: str) -> str:
    return f'| {" | ".join(columns)} |\n|{" --- |" * len(columns)}'


def curve_lines(found: dict[str, Judged]) -> Iterator[str]:
    """Yield the share of pixels within some sigmas."""
    yield header('pixels within', 'pictures', 'refused', *(f'{s:g} sigma' for s in SIGMAS))
    yield f'| a normal distribution | | | {" | ".join(f"{share:.1%}" for share in NORMAL)} |'
    for name, each in found.items():
        shares = ' | '.join(f'{(each.off < s).mean():.1%}' for s in SIGMAS)
        yield f'| {name} | {each.views} | {each.refused} | {shares} |'


def ranking_lines(found: dict[str, Judged]) -> Iterator[str]:
    """Yield the error of what is surest, by sigma as a share of the distance."""
    yield header("median of abs(Z'/Z - 1)", 'surest tenth', 'surest half', 'other half', 'all')
    for name, each in found.items():
        order = np.argsort(each.sigma / each.inverse)
        middle, tenth = len(order) // 2, len(order) // 10
        parts = order[:tenth], order[:middle], order[middle:], order
        cells = ' | '.join(f'{np.median(each.relative[part]):.1%}' for part in parts)
        yield f'| {name} | {cells} |'


def range_lines(found: dict[str, Judged]) -> Iterator[str]:
    """Yield the shares within one and two sigmas, and the median of sigma, by range."""
    yield header('1 sigma / 2 sigma / median sigma of Z', *(f'{a:g}-{b:g} m' for a, b in RANGES_M))
    for name, each in found.items():
        z = 1 / each.inverse
        cells = []
        for low, high in RANGES_M:
            part = (z >= low) & (z < high)
            if part.sum() < SAMPLED:
                cells.append('-')
                continue
            one, two = ((each.off[part] < s).mean() for s in (1, 2))
            share = np.median((each.sigma / each.inverse)[part])
            cells.append(f'{one:.0%} / {two:.0%} / {share:.0%}')
        yield f'| {name} | {" | ".join(cells)} |'


# --- How the weights were chosen, and the drift of a kept scale.


def chosen_weights(infer: Infer) -> dict[str, float]:
    """Return the weights of `geometry.sigma` that fit the views they are chosen on.

    The quantiles at 68 and 95 % of log |error| are to be log sigma and log 2 sigma: the sum of both
    pinball losses is the least. The weights of fit and floor are given; all others then shrink
    until 68 % of all pixels are within one sigma, since quantiles of the parts are not those of the
    whole. What a network says of itself comes last, with the others as they are: they have to do
    for networks that say nothing.
    """
    import torch

    given = {name: believed.WEIGHTS[name] for name in ('fit', 'floor')}
    doubt, error = doubts_of(chosen_on(), infer)
    free = [name for name in believed.WEIGHTS if name not in (*given, 'network')]
    fixed = torch.tensor(sum(weight * doubt[name] for name, weight in given.items()))
    parts = torch.tensor(np.stack([doubt[name] for name in free]))
    off = torch.log(torch.tensor(np.abs(error)) + 1e-6)
    logs = torch.full((len(free),), -2.0, requires_grad=True)
    optimizer = torch.optim.Adam([logs], lr=0.08)
    for _ in range(300):
        log_sigma = 0.5 * torch.log(fixed + torch.exp(2 * logs) @ parts + 1e-12)
        rest = off - log_sigma, off - log_sigma - math.log(2)
        pinball = [
            torch.maximum(share * each, (share - 1) * each).mean()
            for share, each in zip((NORMAL[1], NORMAL[3]), rest, strict=True)
        ]
        loss = pinball[0] + 2 * pinball[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = torch.exp(2 * logs.detach()).numpy()
    others = found @ parts.numpy()
    shrink = min(
        np.linspace(0.7, 1.2, 101),
        key=lambda k: abs((error**2 < fixed.numpy() + k * others).mean() - NORMAL[1]),
    )
    weights = given | {name: float(shrink * each) for name, each in zip(free, found, strict=True)}
    others = np.asarray(sum(weight * doubt[name] for name, weight in weights.items()))
    said = doubt['network']
    costs = {share: pinball_loss(error, others + share * said) for share in NETWORK_SHARES}
    return weights | {'network': float(min(costs, key=costs.__getitem__))}


NETWORK_SHARES = tuple(np.geomspace(0.01, 2.0, 47).round(3))


def pinball_loss(error: NDArray[np.float32], variance: NDArray[np.float32]) -> float:
    """Return how far one and two sigmas are from the quantiles of |error| that they stand for."""
    rest = np.log(np.abs(error) + 1e-6) - 0.5 * np.log(variance + 1e-12)
    cost = 0.0
    for share, sigmas, weight in ((NORMAL[1], 1, 1.0), (NORMAL[3], 2, 2.0)):
        off = rest - math.log(sigmas)
        cost += weight * float(np.maximum(share * off, (share - 1) * off).mean())
    return cost


def doubts_of(
    views: Iterable[View], infer: Infer
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Return `geometry.sigma.doubts` and errors of sampled pixels, (n,) each."""
    parts: list[NDArray[np.float32]] = []
    for number, view in enumerate(tqdm(views, desc='choosing', disable=None)):
        rng = np.random.default_rng([number, 9])
        mount, (d, expected) = measured_wrong(view.mount, rng), infer(view.rgb)
        grid = view.camera.normalised_grid(d.shape[1], d.shape[0])
        fit = fit_ground_plane(d, grid, mount)
        if isinstance(fit, Refusal):
            continue
        small = tuple(side // believed.FINEST for side in d.shape[::-1])
        inverse = fit.inverse_depth(d)
        d_small, inverse_small, x, y = (
            cv2.resize(each, small, interpolation=cv2.INTER_AREA) for each in (d, inverse, *grid)
        )
        rays = believed.FloorRays.of((x, y), mount)
        if expected is not None:
            expected = cv2.resize(expected, small, interpolation=cv2.INTER_AREA)
        found = believed.doubts(d_small, inverse_small, fit, rays, expected)
        large = [
            cv2.resize(each, d.shape[::-1], interpolation=cv2.INTER_LINEAR)
            for each in found.values()
        ]
        samples = [
            sampled(view.inverse, inverse, each, np.random.default_rng(number)) for each in large
        ]
        parts.append(np.stack([*(each[1] for each in samples), samples[0][0]]))
    table = np.concatenate(parts, axis=1)
    return dict(zip(believed.WEIGHTS, table[:-1], strict=True)), table[-1]


def drift_lines(infer: Infer) -> Iterator[str]:
    """Yield how far a scale is off that is kept for a while, at the probes of the filter."""
    yield header('kept for', *(f'1/Z off at {1 / probe:g} m' for probe in PROBES_PER_M))
    fits: list[list[ScaleShift | Refusal]] = []
    for seed in range(12):
        camera_fits = []
        for _, view, _ in drive_views(seed):
            d, _ = infer(view.rgb)
            grid = view.camera.normalised_grid(d.shape[1], d.shape[0])
            camera_fits.append(fit_ground_plane(d, grid, view.mount))
        fits.append(camera_fits)
    for frames in (2, 5, 10, 20):
        off = [
            [old.scale * (probe - new.shift) / new.scale + old.shift - probe
             for probe in PROBES_PER_M]
            for drive in fits
            for old, new in zip(drive, drive[frames:], strict=False)
            if isinstance(old, ScaleShift) and isinstance(new, ScaleShift)
        ]  # fmt: skip
        deviation = np.sqrt(np.mean(np.square(off), axis=0))
        yield f'| {frames / 10:g} s | {" | ".join(f"{each:.3f} 1/m" for each in deviation)} |'


@click.command()
@click.option('--data', type=click.Path(path_type=Path), help='Folder with MANIFEST.json.')
@click.option('--model', default='embedded', show_default=True)
@click.option('--choose', is_flag=True, help='Print the weights for geometry/sigma.py.')
@click.option('--drift', is_flag=True, help='Print the drift of a scale that is kept.')
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(
    data: Path | None, model: str, choose: bool, drift: bool, path: Path | None
) -> None:  # fmt: skip
    """Print the tables, or write them between their marks in a Markdown file."""
    infer = load_estimator(model).infer_with_error
    if choose:
        click.echo(chosen_weights(infer))
        return
    if drift:
        click.echo('\n'.join(drift_lines(infer)))
        return
    folder = data or Path(os.environ.get('MIDAS_DEPTH_TEST_DATA', DEFAULT_DATA))
    text = '\n'.join(tables_of(infer, folder))
    if path is None:
        click.echo(text)
    else:
        write_block(path, 'sigma', f'\n{text}\n')


def tables_of(infer: Infer, folder: Path) -> Iterator[str]:
    """Yield all tables."""
    found = {name: judged(views(), infer, name) for name, views in MEASURED.items()}
    rendered = gathered(
        [np.stack([each.error, each.sigma, each.inverse]) for each in found.values()],
        sum(each.views for each in found.values()),
        sum(each.refused for each in found.values()),
    )
    found = {'all rendered': rendered} | found
    found['furnished rooms, driving by odometry'] = driven(infer)
    if (folder / 'MANIFEST.json').is_file():
        found['real pictures'] = judged(real_views(folder), infer, 'real', exact_mount=True)
    else:
        click.echo(f'no MANIFEST.json in {folder}: choose a folder with --data', err=True)
    for lines in (curve_lines, ranking_lines, range_lines):
        yield from lines(found)
        yield ''


if __name__ == '__main__':
    main()
