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
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.performance_page import write_block
from midas_depth_ros.avoidance import AvoidanceSettings
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MetricDepth,
    ReferencePoints,
    Refusal,
    ScaleShift,
    find_obstacles,
    fit_ground_plane,
    fit_reference,
)
from midas_depth_ros.geometry.fitting import PER_MEDIAN, Grid
from midas_depth_ros.geometry.flow import PictureMotion
from midas_depth_ros.geometry.rays import Rays, sampled
from midas_depth_ros.images import judge_picture
from midas_depth_ros.images.message_bytes import grey_of
from midas_depth_ros.lab.drive.in_process import (
    Infer,
    LoopOptions,
    PerfectSensor,
    PlainScan,
    ScanAvoidance,
    ScanBeams,
    drive,
)
from midas_depth_ros.nodes.depth.worker import keep_freed_memory
from midas_depth_ros.options.metric import FusionOptions, MetricOptions, ObstacleOptions
from midas_depth_ros.sim import (
    Box,
    DrivenRobot,
    Material,
    Pose,
    RobotModel,
    Room,
    Scene,
    furnished_world,
    render,
)
from midas_depth_ros.sim.robot.robot import noisy

SEEDS = tuple(range(301, 305))  # no constant was chosen on these worlds
PICTURE, NETWORK = (320, 240), (256, 192)
FOV_RAD, GREY_LEVELS = math.radians(70), 2.0
SPEED_M_S, RATE_HZ = 0.4, 5.0
FARTHEST_M = 6.0  # what is farther away is not judged
GRID_PX = 8  # step between the points of a rendered picture whose flicker is measured
SAME = 0.02  # a point is seen again where its true 1/Z is within this share of what is expected
REFERENCES, REFERENCE_NOISE = 48, 0.02  # points per frame, and the noise of their ranges
DATA = Path(os.environ.get('MIDAS_DEPTH_TEST_DATA', '../shared/data')) / 'sequences'
SEQUENCE_FOV_RAD = math.radians(60)  # of rtabmap_corridor, whose camera nobody knows

Points = tuple[np.ndarray, np.ndarray, np.ndarray]  # (n, 2) pixels in three successive frames
Fit = Callable[[int], ScaleShift | Refusal]


@dataclasses.dataclass
class Recording:
    """What a camera saw: per frame relative inverse depth, grey picture, pose and exact 1/Z."""

    name: str
    grid: Grid
    mount: CameraMount | None = None
    stamps_s: list[float] = dataclasses.field(default_factory=list)
    d: list[np.ndarray] = dataclasses.field(default_factory=list)
    grey: list[np.ndarray] = dataclasses.field(default_factory=list)
    poses: list[np.ndarray] = dataclasses.field(default_factory=list)
    true: list[np.ndarray] = dataclasses.field(default_factory=list)


def pose_matrix(pose: Pose) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = pose.optical_axes, pose.position
    return made


class Recorder:
    """A sensor that never errs, and records what the camera sees meanwhile."""

    def __init__(self, seed: int, camera: CameraModel, recording: Recording, infer: Infer) -> None:
        self._perfect = PerfectSensor(ScanBeams(-1.5, 1.5, 0.02, 0.05, 6.0))
        self._rng = np.random.default_rng([seed, 9])
        self._camera, self._recording, self._infer = camera, recording, infer

    def sense(self, robot: DrivenRobot) -> PlainScan:
        """Record the present view; return the exact scan."""
        made, pose = self._recording, robot.motion.camera_pose(robot.model)
        view = robot.world.render(self._camera, pose)
        picture = noisy(view.rgb, GREY_LEVELS, self._rng)
        made.stamps_s.append(robot.motion.time_s)
        made.d.append(judge_picture(picture).masked(self._infer(picture)))
        made.grey.append(grey_of(picture, NETWORK[::-1]))
        made.poses.append(pose_matrix(pose))
        depth = cv2.resize(view.depth_z, NETWORK, interpolation=cv2.INTER_NEAREST)
        with np.errstate(divide='ignore'):
            made.true.append((1 / depth).astype(np.float32))
        return self._perfect.sense(robot)


def driven(seed: int, seconds: float, infer: Infer) -> Recording:
    """Return what a robot sees that drives through a furnished world."""
    camera = CameraModel.from_field_of_view(*PICTURE, FOV_RAD)
    robot = RobotModel()
    mount = CameraMount(robot.camera_height_m, robot.camera_pitch_rad)
    made = Recording(f'world {seed}', camera.normalised_grid(*NETWORK), mount)
    recorder = Recorder(seed, camera, made, infer)
    options = LoopOptions(seconds, SPEED_M_S, RATE_HZ)
    drive(furnished_world(seed), robot, options, recorder, ScanAvoidance(AvoidanceSettings()))
    return made


# --- Points that are seen in three successive frames.


def exact_points(recording: Recording) -> list[Points | None]:
    """Return points of a rendered drive, by its exact depth and poses."""
    rays = Rays().of(recording.grid, recording.true[0].shape)
    lattice = np.zeros(recording.true[0].shape, bool)
    lattice[GRID_PX // 2 :: GRID_PX, GRID_PX // 2 :: GRID_PX] = True

    def seen_in(frame: int, other: int) -> tuple[np.ndarray, np.ndarray]:
        step = np.linalg.inv(recording.poses[other]) @ recording.poses[frame]
        true = recording.true[frame]
        places, _ = rays.places(true, step)
        there = brought(sampled(recording.true[other], places), places, rays, step)
        return places, np.abs(there / true - 1) < SAME

    made: list[Points | None] = []
    for middle in range(1, len(recording.d) - 1):
        (before, seen), (after, again) = (seen_in(middle, middle + way) for way in (-1, 1))
        good = lattice & seen & again & (recording.true[middle] > 1 / FARTHEST_M)
        points = [each[:, good].T for each in (before, rays.pixels, after)]
        made.append((points[0], points[1], points[2]) if good.sum() else None)
    return made


def matched_points(greys: list[np.ndarray], shrink: float) -> list[Points | None]:
    """Return points of real pictures (H, W), in pixels of those shrunk by a factor.

    SIFT features that are each other's best match, and agree on one epipolar geometry.
    """
    make_sift = cv2.SIFT_create  # type: ignore[attr-defined]
    sift, matcher = make_sift(800), cv2.BFMatcher()
    features = [sift.detectAndCompute(grey, None) for grey in greys]

    def best(one: np.ndarray, other: np.ndarray) -> dict[int, int]:
        pairs = matcher.knnMatch(one, other, k=2)
        return {a.queryIdx: a.trainIdx for a, b in pairs if a.distance < 0.8 * b.distance}

    def matches(one: int, other: int) -> dict[int, int]:
        (corners, here), (corners_there, there) = features[one], features[other]
        if here is None or there is None or min(len(here), len(there)) < 8:
            return {}
        back = best(there, here)
        both = [(a, b) for a, b in best(here, there).items() if back.get(b) == a]
        if len(both) < 12:
            return {}
        ends = [np.array([keys[pair[side]].pt for pair in both], np.float32)
                for side, keys in enumerate((corners, corners_there))]  # fmt: skip
        _, good = cv2.findFundamentalMat(ends[0], ends[1], cv2.FM_RANSAC, 1.5, 0.99)
        return (
            {}
            if good is None
            else {a: b for (a, b), kept in zip(both, good.ravel(), strict=True) if kept}
        )

    made: list[Points | None] = []
    for middle in range(1, len(greys) - 1):
        before, after = matches(middle, middle - 1), matches(middle, middle + 1)
        indices = [index for index in before if index in after]
        if not indices:
            made.append(None)
            continue
        keys = [[features[middle - 1][0][before[i]].pt for i in indices],
                [features[middle][0][i].pt for i in indices],
                [features[middle + 1][0][after[i]].pt for i in indices]]  # fmt: skip
        ends = [((np.array(each) + 0.5) / shrink - 0.5).astype(np.float32) for each in keys]
        made.append((ends[0], ends[1], ends[2]))
    return made


def brought(inverse: np.ndarray, at: np.ndarray, rays: Rays, step: np.ndarray) -> np.ndarray:
    """1/Z (h, w) at pixels `at` (2, h, w) of one camera, in that from which `step` leads there."""
    x, y = (sampled(axis, at) for axis in (rays.x, rays.y))
    back = step[:3, :3].T
    along = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    return inverse / (along - (back[2] @ step[:3, 3]) * inverse)


# --- Flicker.


@dataclasses.dataclass
class Flicker:
    """|second difference| of the logarithm of 1/Z over three frames, of all points."""

    plain: np.ndarray
    aligned: np.ndarray

    @property
    def median(self) -> float:
        return float(np.nanmedian(self.plain))


def flicker(
    inverse: list[np.ndarray | None], points: list[Points | None], steps: list, rays: Rays
) -> Flicker:
    """Return the flicker of static points, each brought to the middle one of three cameras.

    steps: per frame (4, 4) from its optical frame into that of the frame before, or None. What the
    motion changes is no flicker, so it is taken away. aligned: the median of each three frames is
    taken away, too, which is what their scales differ by.
    """
    plain, aligned = [], []
    for index, three in enumerate(points):
        frames = inverse[index : index + 3]
        to_before, to_here = steps[index + 1], steps[index + 2]
        if three is None or any(f is None for f in frames) or to_before is None or to_here is None:
            continue
        at = [each.T.reshape(2, 1, -1).astype(np.float32) for each in three]
        values = [sampled(f, pixels) for f, pixels in zip(frames, at, strict=True) if f is not None]
        values[0] = brought(values[0], at[0], rays, to_before)
        values[2] = brought(values[2], at[2], rays, np.linalg.inv(to_here))
        with np.errstate(invalid='ignore', divide='ignore'):
            logs = [np.log(each) for each in values]
        second = logs[0] - 2 * logs[1] + logs[2]
        second = second[np.isfinite(second)]
        plain.append(np.abs(second))
        if second.size:
            aligned.append(np.abs(second - np.median(second)))
    return Flicker(np.concatenate(plain), np.concatenate(aligned))


# --- The frames alone and fused.


@dataclasses.dataclass
class Frames:
    """The frames of a recording in metres: 1/Z or None; nearest obstacle; shares; seconds."""

    inverse: list[np.ndarray | None] = dataclasses.field(default_factory=list)
    nearest_m: list[float] = dataclasses.field(default_factory=list)
    share_fused: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    motions: list[str] = dataclasses.field(default_factory=list)


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
            recording.grey[index], pose,
        )  # fmt: skip
        made.inverse.append(None if frame is None else frame.inverse)
        found = frame.obstacles.nearest_range_m if frame and frame.obstacles else math.nan
        made.nearest_m.append(found)
        if fusing.enabled and frame is not None:
            made.share_fused.append(metric.fusion.share_fused)
            made.motions.append(metric.fusion.motion)
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
                _add(sums[source, motion], recording, fit, motion, (points, steps, rays))
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
    tracked: tuple[list[Points | None], list, Rays],
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
    sums.frames += len(errors)


def sequence(name: str, infer: Infer) -> tuple[Recording, list[np.ndarray]]:
    """Return a sequence of real pictures, and the grey pictures in their own size."""
    folder = DATA / name
    camera, poses = None, None
    if name == 'rtabmap_corridor':
        paths = sorted(folder.glob('*.jpg'))
    elif (folder / 'frames.txt').exists():
        lines = (folder / 'frames.txt').read_text().split('\n')
        paths = [folder / line.split()[1] for line in lines if line.strip() and line[0] != '#']
        poses = np.loadtxt(folder / 'poses.txt')
        given = json.loads((folder / 'camera.json').read_text())
        camera = CameraModel(*(given[key] for key in ('width', 'height', 'fx', 'fy', 'cx', 'cy')))
    else:
        paths = sorted(path for path in folder.glob('*.jpg'))
        poses = np.loadtxt(folder / 'poses.txt')
        camera = CameraModel(640, 480, 585.0, 585.0, 320.0, 240.0)
    pictures = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    height, width = pictures[0].shape[:2]
    if camera is None:
        camera = CameraModel.from_field_of_view(width, height, SEQUENCE_FOV_RAD)
    d = [infer(picture) for picture in pictures]
    shape = d[0].shape
    made = Recording(name, camera.normalised_grid(shape[1], shape[0]))
    made.stamps_s = [index / RATE_HZ for index in range(len(d))]
    made.d, made.grey = d, [grey_of(picture, shape) for picture in pictures]
    if poses is not None:
        made.poses = [_pose_of(row[1:]) for row in poses]
    return made, [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]


def _pose_of(row: np.ndarray) -> np.ndarray:
    """(4, 4) of tx ty tz qx qy qz qw."""
    x, y, z, w = row[3:] / np.linalg.norm(row[3:])
    made = np.eye(4)
    made[:3, 3] = row[:3]
    made[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return made


SEQUENCES = ('rtabmap_corridor', 'hololens_indoor', 'redkitchen_a')


def real_table(infer: Infer) -> str:
    """Return the table of the real sequences, whose scale is one for all of their frames."""
    rows = [('sequence', 'motion by', 'points', 'flicker', 'fused', 'ratio', 'after alignment',
             'pictures whose motion was found', 'share fused')]  # fmt: skip
    for name in SEQUENCES:
        if not (DATA / name).exists():
            continue
        recording, greys = sequence(name, infer)
        rays = Rays().of(recording.grid, recording.d[0].shape)
        points = matched_points(greys, greys[0].shape[1] / recording.d[0].shape[1])
        # One scale for the whole sequence: a median Z of about 2 m.
        scale = ScaleShift(0.5 / float(np.median(recording.d[0])), 0.0)
        alone = in_metres(recording, fixed(scale), 'none')
        steps = _steps_of(recording, alone, rays)
        usual = flicker(alone.inverse, points, steps, rays)
        for motion in MOTIONS[1:]:
            if motion == 'odometry' and not recording.poses:
                continue
            frames = in_metres(recording, fixed(scale), motion)
            found = flicker(frames.inverse, points, steps, rays)
            known = sum(each in ('odometry', 'flow') for each in frames.motions)
            rows.append((
                name, motion, str(usual.plain.size), percent(usual.median, 2),
                percent(found.median, 2), f'{found.median / usual.median:.2f}',
                f'{np.median(found.aligned) / np.median(usual.aligned):.2f}',
                f'{known} of {len(recording.d) - 1}',
                percent(float(np.mean(frames.share_fused)), 0),
            ))  # fmt: skip
    return table(*rows)


def _steps_of(recording: Recording, alone: Frames, rays: Rays) -> list:
    """The motion to the frame before, by the pictures and the depth of the frames alone."""
    steps: list = [None]
    finder = PictureMotion()
    for index in range(1, len(recording.d)):
        inverse = alone.inverse[index]
        assert inverse is not None
        grey = recording.grey
        found = finder.between(grey[index], grey[index - 1], inverse, rays)
        steps.append(None if isinstance(found, Refusal) else found.step)
    return steps


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
    rows = [('motion by', 'median', '95 %')]
    for name, sums in (('odometry', odometry), ('pictures', pictures)):
        times = 1e3 * np.array(sums.seconds)
        rows.append((name, f'{np.median(times):.1f} ms', f'{np.quantile(times, 0.95):.1f} ms'))
    return table(*rows)


@click.command()
@click.option('--drives', default=len(SEEDS), show_default=True, help='Rendered drives.')
@click.option('--seconds', default=60.0, show_default=True, help='Length of each drive.')
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(drives: int, seconds: float, path: Path | None) -> None:
    """Print the tables, or write them between their marks in a Markdown file."""
    cv2.setNumThreads(1)
    keep_freed_memory()  # as the node does
    infer = load_estimator('embedded').infer
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
