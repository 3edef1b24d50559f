"""What fusion over time is worth: flicker of static points, lag, scale over a minute, time.

A robot drives through rendered worlds that no constant was chosen on; its pictures go through the
embedded model, the floor or reference points give scale and shift of every frame, and the frames
are fused by the exact poses, or by what the pictures say of the motion. The same is done with
sequences of real pictures.

    taskset -c 1 python -m benchmarks.flicker --write docs/accuracy.md
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.performance_page import write_block
from benchmarks.recordings import (
    DATA,
    FOV_RAD,
    NETWORK,
    RATE_HZ,
    Recording,
    driven,
    pose_matrix,
    sequence,
)
from benchmarks.steady_points import FARTHEST_M, Matches, Points, exact_points, flicker
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import (
    CameraModel,
    MetricDepth,
    ReferencePoints,
    Refusal,
    ScaleShift,
    find_obstacles,
    fit_ground_plane,
    fit_reference,
)
from midas_depth_ros.geometry.fitting import PER_MEDIAN
from midas_depth_ros.geometry.rays import Rays
from midas_depth_ros.images.message_bytes import grey_of
from midas_depth_ros.lab.drive.in_process import Infer
from midas_depth_ros.nodes.depth.worker import keep_freed_memory
from midas_depth_ros.options.metric import FusionOptions, MetricOptions, ObstacleOptions
from midas_depth_ros.sim import Box, Material, Pose, Room, Scene, render

SEEDS = tuple(range(401, 409))  # no constant was chosen on these worlds
REFERENCES, REFERENCE_NOISE = 48, 0.02  # points per frame, and the noise of their ranges

Fit = Callable[[int], ScaleShift | Refusal]


# --- The frames alone and fused.


@dataclasses.dataclass
class Frames:
    """The frames of a recording in metres: 1/Z or None; nearest obstacle; shares; seconds."""

    inverse: list[np.ndarray | None] = dataclasses.field(default_factory=list)
    nearest_m: list[float] = dataclasses.field(default_factory=list)
    share_fused: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    motions: list[str] = dataclasses.field(default_factory=list)
    far_apart: list[bool] = dataclasses.field(default_factory=list)


def in_metres(recording: Recording, fit: Fit, motion: str) -> Frames:
    """Return the frames. motion: 'none' = each alone, 'odometry', or 'pictures'."""
    fusing = FusionOptions(enabled=motion != 'none')
    options = MetricOptions(obstacles=ObstacleOptions(persistence=1), fusion=fusing)
    metric, made = MetricDepth(), Frames()
    timed, update = [0.0], metric.fusion.update

    def timed_update(*frame: Any) -> Any:
        began = time.thread_time()
        result = update(*frame)
        timed[0] = time.thread_time() - began
        return result

    metric.fusion.update = timed_update  # type: ignore[method-assign, assignment]
    for index, d in enumerate(recording.d):
        pose = recording.poses[index] if motion == 'odometry' else None
        frame = metric.update(
            recording.stamps_s[index], d, recording.grid, recording.mount, fit(index), options,
            recording.grey[index], pose, error=recording.error[index],
        )  # fmt: skip
        made.inverse.append(None if frame is None else frame.inverse)
        found = frame.obstacles.nearest_range_m if frame and frame.obstacles else math.nan
        made.nearest_m.append(found)
        if fusing.enabled and frame is not None:
            made.share_fused.append(metric.fusion.share_fused)
            made.motions.append(metric.fusion.motion)
            made.far_apart.append(metric.fusion.far_apart)
            made.seconds.append(timed[0])
    return made


def fixed(scale: ScaleShift) -> Fit:
    return lambda index: scale


def by_floor(recording: Recording) -> Fit:
    mount = recording.mount
    assert mount is not None
    fits = [fit_ground_plane(d, recording.grid, mount) for d in recording.d]
    return lambda index: fits[index]


def by_points(recording: Recording, seed: int) -> Fit:
    """Scale and shift by points of known depth, other ones in every frame."""
    rng = np.random.default_rng([seed, 10])

    def fit(index: int) -> ScaleShift | Refusal:
        height, width = recording.d[index].shape
        u, v = rng.integers(0, width, REFERENCES), rng.integers(0, height, REFERENCES)
        true = recording.true[index][v, u].astype(np.float64)
        with np.errstate(divide='ignore'):
            z = (1 + REFERENCE_NOISE * rng.standard_normal(REFERENCES)) / true
        points = ReferencePoints(u.astype(float), v.astype(float), z, np.ones(REFERENCES))
        return fit_reference(recording.d[index], points)

    fits = [fit(index) for index in range(len(recording.d))]
    return lambda index: fits[index]


def judged(recording: Recording, frames: Frames) -> tuple[list[float], list[float], list[float]]:
    """Per frame: median |Z'/Z - 1|, log of the median Z'/Z, error of the nearest obstacle."""
    mount = recording.mount
    assert mount is not None
    errors, scales, nearest = [], [], []
    for true, inverse, found in zip(recording.true, frames.inverse, frames.nearest_m, strict=True):
        if inverse is None:
            continue
        known = (true > 1 / FARTHEST_M) & (inverse > 0.01)
        if not known.any():
            continue
        ratio = true[known] / inverse[known]
        errors.append(float(np.median(np.abs(ratio - 1))))
        scales.append(float(np.log(np.median(ratio))))
        with np.errstate(divide='ignore'):
            exact = find_obstacles(
                (1 / true).astype(np.float32), recording.grid, mount, ObstacleOptions()
            ).nearest_range_m
        if 0.3 < exact < 4.0:
            nearest.append(min(abs(found / exact - 1), 1.0))
    return errors, scales, nearest


def spread(logs: list[float]) -> float:
    """The robust deviation of the scale over the frames, as a share."""
    return PER_MEDIAN * float(np.median(np.abs(np.array(logs) - np.median(logs))))


# --- Tables.


def table(*rows: tuple[str, ...]) -> str:
    lines = [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join([lines[0], f'|{" --- |" * len(rows[0])}', *lines[1:]])


def percent(value: float, digits: int = 1) -> str:
    return f'{100 * value:.{digits}f}%'


@dataclasses.dataclass
class Sums:
    """What all drives give for one source of scale and one motion."""

    plain: list[np.ndarray] = dataclasses.field(default_factory=list)
    aligned: list[np.ndarray] = dataclasses.field(default_factory=list)
    errors: list[float] = dataclasses.field(default_factory=list)
    nearest: list[float] = dataclasses.field(default_factory=list)
    spreads: list[float] = dataclasses.field(default_factory=list)
    fused: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    far_apart: list[bool] = dataclasses.field(default_factory=list)
    frames: int = 0


MOTIONS = ('none', 'odometry', 'pictures')
SOURCES = ('reference points', 'floor')


def rendered_tables(seeds: tuple[int, ...], seconds: float, infer: Infer) -> tuple[str, Sums, Sums]:
    """Return the table of the rendered drives, and the figures by odometry and by pictures."""
    sums = {(source, motion): Sums() for source in SOURCES for motion in MOTIONS}
    for seed in tqdm(seeds, desc='drives', disable=None):
        recording = driven(seed, seconds, infer)
        points, rays = exact_points(recording), Rays().of(recording.grid, NETWORK[::-1])
        steps: list = [None]
        for before, here in itertools.pairwise(recording.poses):
            steps.append(np.linalg.inv(before) @ here)
        for source in SOURCES:
            fit = by_floor(recording) if source == 'floor' else by_points(recording, seed)
            for motion in MOTIONS:
                _add(
                    sums[source, motion],
                    recording,
                    fit,
                    motion,
                    (points, steps, recording.true, rays),
                )
    rows = [('scale by', 'motion by', 'flicker', 'of the frame alone', 'after alignment', 'fused',
             'Z off', 'nearest off, median / 90 %', 'scale over a minute, per drive')]  # fmt: skip
    for (source, motion), each in sums.items():
        if not each.plain:
            continue
        alone = sums[source, 'none']
        rows.append((
            f'{source}, {each.frames} frames', motion if motion != 'none' else '(frame alone)',
            percent(_median(each.plain), 2), f'{_median(each.plain) / _median(alone.plain):.2f}',
            f'{_median(each.aligned) / _median(alone.aligned):.2f}',
            percent(float(np.mean(each.fused)), 0) if each.fused else '',
            percent(float(np.mean(each.errors))),
            f'{percent(float(np.median(each.nearest)))} / '
            f'{percent(float(np.quantile(each.nearest, 0.9)))}',
            ', '.join(percent(one) for one in each.spreads),
        ))  # fmt: skip
    text = table(*rows)
    return text, sums[SOURCES[0], 'odometry'], sums[SOURCES[0], 'pictures']


def _median(parts: list[np.ndarray]) -> float:
    return float(np.median(np.concatenate(parts)))


def _add(
    sums: Sums,
    recording: Recording,
    fit: Fit,
    motion: str,
    tracked: tuple[list[Points | None], list, list[np.ndarray], Rays],
) -> None:
    frames = in_metres(recording, fit, motion)
    if sum(each is not None for each in frames.inverse) < 10:
        return
    found = flicker(frames.inverse, *tracked)
    errors, scales, nearest = judged(recording, frames)
    sums.plain.append(found.plain)
    sums.aligned.append(found.aligned)
    sums.errors += errors
    sums.nearest += nearest
    sums.spreads.append(spread(scales))
    sums.fused += frames.share_fused
    sums.seconds += frames.seconds
    sums.far_apart += frames.far_apart
    sums.frames += len(errors)


SEQUENCES = (  # and the step between the pictures that are taken
    ('rtabmap_corridor', 1),
    ('hololens_indoor', 1),
    ('redkitchen_a', 1),
    ('redkitchen_a', 10),
)
KNOWN = ('odometry', 'flow')


def real_table(infer: Infer) -> str:
    """Return the table of the real sequences, whose scale is one for all of their frames."""
    rows = [('sequence', 'motion by', 'points', 'flicker', 'fused', 'ratio', 'after alignment',
             'pictures whose motion matches tell', 'found for fusion', 'of those',
             'share fused')]  # fmt: skip
    for name, every in SEQUENCES:
        if not (DATA / name).exists():
            continue
        recording, greys = sequence(name, infer, every)
        rays = Rays().of(recording.grid, recording.d[0].shape)
        matches = Matches(greys, greys[0].shape[1] / recording.d[0].shape[1])
        # One scale for the whole sequence: a median Z of about 2 m.
        scale = ScaleShift(0.5 / float(np.median(recording.d[0])), 0.0)
        alone = in_metres(recording, fixed(scale), 'none')
        inverse = [each for each in alone.inverse if each is not None]
        steps = matches.steps(inverse, rays)
        usual = flicker(alone.inverse, matches.points(), steps, inverse, rays)
        told = [step is not None for step in steps]
        for motion in MOTIONS[1:]:
            if motion == 'odometry' and not recording.poses:
                continue
            frames = in_metres(recording, fixed(scale), motion)
            found = flicker(frames.inverse, matches.points(), steps, inverse, rays)
            known = [each in KNOWN for each in frames.motions]
            rows.append((
                name if every == 1 else f'{name}, every {every}th', motion, str(usual.plain.size),
                percent(usual.median, 2), percent(found.median, 2),
                f'{found.median / usual.median:.2f}',
                f'{np.median(found.aligned) / np.median(usual.aligned):.2f}',
                f'{sum(told)} of {len(recording.d) - 1}', str(sum(known)),
                str(sum(a and b for a, b in zip(told, known, strict=True))),
                percent(float(np.mean(frames.share_fused)), 0),
            ))  # fmt: skip
    return table(*rows)


# --- Lag.

WALL = Material((0.8, 0.75, 0.7), 'tiles', (0.25, 0.25))
CRATE = Material((0.5, 0.35, 0.2), 'tiles', (0.1, 0.1))
NOISE = 0.03


def lag_table() -> str:
    """Return how far the fused depth lags: of a wall that a robot drives at, and of a mover."""
    wall = 'wall at 1 m/s and 5 Hz: largest lag, in frames'
    box = 'box crosses: farther than in the frame alone, median of the box'
    rows = [('motion by', wall, box, 'its old place is free after')]
    for motion in ('odometry', 'pictures', 'nothing (no texture)'):
        rows.append((motion, f'{_wall_lag(motion):.2f}', *_crossing(motion)))
    return table(*rows)


class _Hall:
    """A robot in a hall, with noisy exact depth."""

    def __init__(self, motion: str) -> None:
        self.motion, self.rng, self.time_s = motion, np.random.default_rng(8), 0.0
        self.camera = CameraModel.from_field_of_view(*NETWORK, FOV_RAD)
        self.grid = self.camera.normalised_grid()
        self.metric = MetricDepth()
        self.options = MetricOptions(fusion=FusionOptions(enabled=True))

    def see(self, x_m: float, *solids: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return 1/Z fused, of the frame alone, and true."""
        pose = Pose(x_m, 0.0, 0.3, 0.0, 0.1)
        hall = Scene(room=Room(-2.0, 5.0, -2.0, 2.0, walls=WALL, ends=WALL), solids=solids)
        view = render(hall, self.camera, pose)
        true = (1 / view.depth_z).astype(np.float32)
        grey = grey_of(view.rgb, true.shape)
        if self.motion.startswith('nothing'):
            grey = np.full_like(grey, 128)
        alone = true * (1 + np.float32(NOISE) * self.rng.standard_normal(true.shape, np.float32))
        self.time_s += 1 / RATE_HZ
        known = pose_matrix(pose) if self.motion == 'odometry' else None
        frame = self.metric.update(
            self.time_s, alone, self.grid, None, ScaleShift(1.0, 0.0), self.options, grey, known
        )
        assert frame is not None
        return frame.inverse, alone, true


def _wall_lag(motion: str) -> float:
    hall, worst, last_m = _Hall(motion), 0.0, math.nan
    for step in range(18):
        fused, _, true = hall.see(0.3 + 0.2 * step)
        middle = np.s_[60:90, 100:156]
        true_m, fused_m = (1 / float(np.median(each[middle])) for each in (true, fused))
        if step:
            worst = max(worst, (fused_m - true_m) / (last_m - true_m))
        last_m = true_m
    return worst


def _crossing(motion: str) -> tuple[str, str]:
    hall = _Hall(motion)
    for _ in range(5):
        _, _, empty = hall.see(0.0)
    farther, frames, before = 0.0, 0, None
    for step in range(13):
        box = Box(1.2, 0.45 - 0.07 * step, 0.3, 0.3, 0.5, material=CRATE)
        fused, alone, true = hall.see(0.0, box)
        on_box = true > 1.15 * empty
        farther = max(farther, float(np.median(alone[on_box] / fused[on_box]) - 1))
        if before is not None:
            freed = before & (true == empty)
            ghost = float((fused[freed] > 1.15 * empty[freed]).mean())
            frames = max(frames, 1 if ghost < 0.01 else 2)
        before = on_box
    return percent(farther, 2), f'{frames} frame{"s" if frames > 1 else ""}'


def time_table(odometry: Sums, pictures: Sums) -> str:
    """Return the processor time of one frame."""
    rows = [('motion by', 'median', '95 %', 'of pictures far apart, median')]
    for name, sums in (('odometry', odometry), ('pictures', pictures)):
        times, far = 1e3 * np.array(sums.seconds), np.array(sums.far_apart)
        rows.append((
            name, f'{np.median(times):.1f} ms', f'{np.quantile(times, 0.95):.1f} ms',
            f'{np.median(times[far]):.1f} ms, {far.mean():.0%} of them' if far.any() else '',
        ))  # fmt: skip
    return table(*rows)


@click.command()
@click.option('--drives', default=4, show_default=True, help='Rendered drives.')
@click.option('--seconds', default=60.0, show_default=True, help='Length of each drive.')
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(drives: int, seconds: float, path: Path | None) -> None:
    """Print the tables, or write them between their marks in a Markdown file."""
    cv2.setNumThreads(1)
    keep_freed_memory()  # as the node does
    infer = load_estimator('embedded').infer_with_error
    driven_text, odometry, pictures = rendered_tables(SEEDS[:drives], seconds, infer)
    parts = {
        f'Rendered drives of {seconds:g} s, {min(drives, len(SEEDS))} in all:': driven_text,
        'Real sequences, one scale for all frames:': real_table(infer),
        'Lag, in a hall with 3 % noise:': lag_table(),
        'Processor time of a frame of 256x192, one core:': time_table(odometry, pictures),
    }
    text = '\n\n'.join(f'{title}\n\n{body}' for title, body in parts.items())
    if path is None:
        click.echo(text)
    else:
        write_block(path, 'flicker', text)


if __name__ == '__main__':
    main()
