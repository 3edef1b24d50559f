"""How right metres by the robot's own motion are, on real sequences and on rendered drives.

Sequences with poses and measured depth lie in shared/data/sequences (or in the folder that
MIDAS_DEPTH_TEST_DATA names): the poses are the odometry, a network gives relative inverse depth.
Each frame's metres are compared with the measured ones, beside the best affine fit to these, which
no method can know, and beside the simplest use of the same poses.

    python -m benchmarks.odometry_scale --write docs/accuracy.md
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.performance_page import write_block
from midas_depth_ros.depth import DepthEstimator, load_estimator
from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    ParallaxScale,
    Refusal,
    ScaleFilter,
    ScaleShift,
    fit_ground_plane,
)
from midas_depth_ros.sim import WORLDS, Pose

DATA = Path(__file__).resolve().parents[1] / '../shared/data'
NEAREST_M, FARTHEST_M = 0.1, 10.0
HOLOLENS_HZ = 5.0  # its stamps are numbers of frames
COLOUR_FOCAL_PX = 525.0  # of the colour camera of a Kinect, whose depth camera has 585
KINDS = ('plain', 'furnished')  # of rendered worlds
FIRST_SEED = 40  # below are those that were looked at while the method was made
DEPTH_SIZE = (256, 192)  # of relative inverse depth, as in the node
PROBE_WAY_M = 0.05
FEWEST_FRAMES = 40  # from a start to the end of a sequence


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture with its stamp, pose (4, 4) and measured Z (H, W), NaN unknown."""

    stamp_s: float
    rgb: np.ndarray
    depth_m: np.ndarray
    pose: np.ndarray


@dataclasses.dataclass(frozen=True)
class Sequence:
    """What is measured: frames one by one, their camera, how far depth counts, the floor."""

    name: str
    camera: CameraModel
    frames: list[Any]
    farthest_m: float = FARTHEST_M
    mount: CameraMount | None = None
    note: str = ''

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            yield frame() if callable(frame) else frame


@dataclasses.dataclass
class Figures:
    """Errors of the frames that have a scale, with those of the best fit to the same frames."""

    frames: int = 0
    error: list[float] = dataclasses.field(default_factory=list)
    ratio: list[float] = dataclasses.field(default_factory=list)
    best: list[float] = dataclasses.field(default_factory=list)
    reasons: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, scale: ScaleShift | None, d: np.ndarray, frame: Frame, farthest_m: float) -> None:
        """Count one frame; None: no scale."""
        self.frames += 1
        best = best_fit(d, frame.depth_m, farthest_m)
        if scale is None or best is None:
            return
        error, ratio = errors(scale, d, frame.depth_m, farthest_m)
        self.error.append(error)
        self.ratio.append(ratio)
        self.best.append(errors(best, d, frame.depth_m, farthest_m)[0])

    def row(self, *names: str) -> str:
        """Return the row of a table."""
        cells = [*names, f'{len(self.error)} of {self.frames}']
        if not self.error:
            return f'| {" | ".join(cells)} | - | - | - | - |'
        error, best = float(np.median(self.error)), float(np.median(self.best))
        low, middle, high = np.quantile(self.ratio, (0.1, 0.5, 0.9)) - 1
        cells += [f'{error:.1%}', f'{best:.1%}', f'{error / best:.2f}']
        return f'| {" | ".join(cells)} | {middle:+.1%} ({low:+.0%} to {high:+.0%}) |'


def known(depth_m: np.ndarray, farthest_m: float) -> np.ndarray:
    """Return (H, W) bool: where depth was measured and counts."""
    with np.errstate(invalid='ignore'):
        return (depth_m > NEAREST_M) & (depth_m < farthest_m)


def best_fit(d: np.ndarray, depth_m: np.ndarray, farthest_m: float) -> ScaleShift | None:
    """Return the least squares of 1/Z on d over all measured pixels; None without any."""
    good = known(depth_m, farthest_m) & np.isfinite(d)
    if good.sum() < 100:
        return None
    columns = np.stack([d[good], np.ones(int(good.sum()), d.dtype)], axis=1).astype(np.float64)
    scale, shift = np.linalg.lstsq(columns, 1 / depth_m[good].astype(np.float64), rcond=None)[0]
    return ScaleShift(float(scale), float(shift), 'reference')


def errors(
    scale: ScaleShift, d: np.ndarray, depth_m: np.ndarray, farthest_m: float
) -> tuple[float, float]:
    """Return the medians of |Z'/Z - 1| and of Z'/Z over all measured pixels."""
    good = known(depth_m, farthest_m) & np.isfinite(d)
    inverse = np.maximum(scale.inverse_depth(d[good]), 1 / (4 * farthest_m))
    ratio = 1 / (inverse * depth_m[good])
    return float(np.median(np.abs(ratio - 1))), float(np.median(ratio))


# --- The sequences: three formats.


def matrix(translation: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Return (4, 4) of a translation and a quaternion x, y, z, w."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    result[:3, 3] = translation
    return result


def read_frame(
    stamp_s: float, picture: Path, depth: Path, unit_m: float, pose: np.ndarray
) -> Frame:
    bgr, raw = cv2.imread(str(picture)), cv2.imread(str(depth), cv2.IMREAD_UNCHANGED)
    if bgr is None or raw is None:
        raise click.ClickException(f'{picture} or {depth} cannot be read')
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    metres = np.where((raw == 0) | (raw == 65535), np.nan, raw * unit_m).astype(np.float32)
    return Frame(stamp_s, rgb, metres, pose)


def lazily(*arguments: Any) -> Any:
    return lambda: read_frame(*arguments)


def from_manifest(folder: Path, entry: dict[str, Any]) -> Sequence:
    """Read a sequence of NUMBER.jpg and NUMBER_depth.png side by side."""
    lens = entry['intrinsics']
    width, height = entry['image_size']
    fx, fy, cx, cy = (float(lens[key]) for key in ('fx', 'fy', 'cx', 'cy'))
    camera = CameraModel(width, height, fx, fy, cx, cy)
    frames = [
        lazily(
            line[0], folder / f'{index:04d}.jpg', folder / f'{index:04d}_depth.png',
            1 / entry['scale'], matrix(line[1:4], line[4:8]),
        )
        for index, line in enumerate(np.loadtxt(folder / 'poses.txt'))
    ]  # fmt: skip
    return Sequence(folder.name, camera, frames)


def from_folder(folder: Path) -> Sequence:
    """Read a sequence with camera.json and frames.txt."""
    facts = json.loads((folder / 'camera.json').read_text())
    camera = CameraModel(*(facts[key] for key in ('width', 'height', 'fx', 'fy', 'cx', 'cy')))
    poses = np.loadtxt(folder / 'poses.txt')
    rate = 1.0 if facts.get('rate_hz') or 'rate_hz' not in facts else HOLOLENS_HZ
    frames = []
    for line, pose in zip((folder / 'frames.txt').read_text().splitlines(), poses, strict=True):
        stamp, picture, depth = line.split()
        if depth != '-':
            where = float(stamp) / rate, folder / picture, folder / depth, facts['depth_unit_m']
            frames.append(lazily(*where, matrix(pose[1:4], pose[4:8])))
    height = facts.get('camera_height_m')
    mount = CameraMount(height, 0.0) if height else None
    return Sequence(folder.name, camera, frames, max(FARTHEST_M, facts['depth_max_m']), mount)


def true_steps(sequence: Sequence, steps: Path) -> Sequence:
    """Return the sequence with the lengths of its steps replaced by true ones, from a table."""
    factor = {int(i): true / told for i, _, told, true, _ in np.loadtxt(steps)}
    frames = list(sequence)
    moved, place = [], frames[0].pose[:3, 3]
    for index, frame in enumerate(frames):
        pose = frame.pose.copy()
        if index:
            step = frame.pose[:3, 3] - frames[index - 1].pose[:3, 3]
            place = place + factor.get(index - 1, 1.0) * step
        pose[:3, 3] = place
        moved.append(dataclasses.replace(frame, pose=pose))
    return dataclasses.replace(sequence, frames=moved, note='true lengths')


def sequences(data: Path) -> Iterator[Sequence]:
    """Yield every sequence with poses and depth; some again, with a known error mended."""
    entries = json.loads((data / 'MANIFEST.json').read_text())
    named = {entry['id']: entry for entry in entries if entry.get('category') == 'sequence'}
    for folder in sorted((data / 'sequences').iterdir()):
        if not (folder / 'poses.txt').exists():
            continue
        if (folder / 'camera.json').exists():
            plain = from_folder(folder)
            yield plain
            if (folder / 'pnp_steps.txt').exists():
                yield true_steps(plain, folder / 'pnp_steps.txt')
            continue
        plain = from_manifest(folder, named[folder.name])
        yield plain
        if named[folder.name].get('dataset', '').startswith('7-Scenes'):
            camera = dataclasses.replace(plain.camera, fx=COLOUR_FOCAL_PX, fy=COLOUR_FOCAL_PX)
            yield dataclasses.replace(plain, camera=camera, note=f'focal {COLOUR_FOCAL_PX:g} px')


# --- Rendered drives, whose truth is exact.


def rendered(kind: str, seed: int, turn_rad_s: float) -> Sequence:
    """Return a drive of 4 s at 0.4 m/s, 5 pictures a second, a camera 0.3 m above the floor."""
    world = WORLDS[kind](seed)
    camera = CameraModel.from_field_of_view(320, 240, 1.2)
    x, y, yaw = world.start
    frames = []
    plan = world.plan((0.02, 0.5))
    for index in range(20):
        if plan.gap(x, y) < 0.2:
            break
        pose = Pose(x, y, 0.3, yaw, 0.15)
        seen = world.render(camera, pose)
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = pose.optical_axes, pose.position
        frames.append(Frame(0.2 * index, seen.rgb, seen.depth_z, place))
        x += 0.08 * math.cos(yaw + 0.1 * turn_rad_s)
        y += 0.08 * math.sin(yaw + 0.1 * turn_rad_s)
        yaw += 0.2 * turn_rad_s
    return Sequence(kind, camera, frames, mount=CameraMount(0.3, 0.15))


# --- What is compared.


class Probe:
    """The simplest use of the same poses: corners of one earlier picture, one robust line."""

    def __init__(self) -> None:
        self._past: collections.deque[tuple[np.ndarray, np.ndarray]] = collections.deque(maxlen=20)

    def update(
        self, grey: np.ndarray, d: np.ndarray, camera: CameraModel, pose: np.ndarray
    ) -> ScaleShift | None:
        """Return the scale by the latest earlier picture that is far enough away."""
        found = None
        for other, there in reversed(self._past):
            if np.linalg.norm(there[:3, 3] - pose[:3, 3]) >= PROBE_WAY_M:
                found = self._fit(grey, d, camera, np.linalg.inv(there) @ pose, other)
                break
        self._past.append((grey, pose))
        return found

    @staticmethod
    def _fit(
        grey: np.ndarray, d: np.ndarray, camera: CameraModel, motion: np.ndarray, other: np.ndarray
    ) -> ScaleShift | None:
        here = cv2.goodFeaturesToTrack(grey, 400, 0.01, 7)
        if here is None:
            return None
        there, found, _ = cv2.calcOpticalFlowPyrLK(grey, other, here, None, maxLevel=4)
        good = found.ravel() > 0
        here, there = here[good, 0].astype(np.float64), there[good, 0].astype(np.float64)
        focal, centre = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
        rays = np.column_stack([(here - centre) / focal, np.ones(len(here))])
        seen = (there - centre) / focal
        turned, way = rays @ motion[:3, :3].T, motion[:3, 3]
        lever, off = seen * way[2] - way[:2], turned[:, :2] - seen * turned[:, 2:]
        inverse = (lever * off).sum(axis=1) / np.maximum((lever * lever).sum(axis=1), 1e-12)
        shares = (here + 0.5) / (camera.width, camera.height)
        column, row = (shares * (d.shape[1], d.shape[0])).astype(int).T
        value = d[row.clip(0, d.shape[0] - 1), column.clip(0, d.shape[1] - 1)].astype(np.float64)
        usable = (inverse > 0) & (np.linalg.norm(lever * focal, axis=1) * inverse > 1.0)
        if usable.sum() < 12:
            return None
        line = cv2.fitLine(
            np.column_stack([value, inverse])[usable].astype(np.float32), cv2.DIST_HUBER, 0, 0.01,
            0.01,
        ).ravel()  # fmt: skip
        if not (line[0] and line[1] / line[0] > 0):
            return None
        scale = float(line[1] / line[0])
        return ScaleShift(scale, float(line[3] - scale * line[2]), 'odometry')


METHODS = ('odometry', 'odometry, filtered', 'one robust fit', 'floor')


@dataclasses.dataclass
class Result:
    """Figures by method; the times (s) of scale and network per frame; what was said last."""

    by: dict[str, Figures]
    scale_s: list[float]
    network_s: list[float]
    values: dict[str, str]


def measure(sequence: Sequence, estimator: DepthEstimator) -> Result:
    """Measure all methods on one sequence."""
    result = Result({name: Figures() for name in METHODS}, [], [], {})
    scale, smooth, probe = ParallaxScale(), ScaleFilter(), Probe()
    for frame in tqdm(sequence, total=len(sequence.frames), desc=sequence.name, disable=None):
        start = time.process_time()
        full = estimator.estimate(frame.rgb).astype(np.float32)
        result.network_s.append(time.process_time() - start)
        d = cv2.resize(full, DEPTH_SIZE, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
        start = time.process_time()
        fit = scale.update(frame.stamp_s, grey, d, sequence.camera, frame.pose)
        result.scale_s.append(time.process_time() - start)
        found: dict[str, ScaleShift | Refusal | None] = {
            'odometry': fit,
            'odometry, filtered': smooth.update(frame.stamp_s, fit),
            'one robust fit': probe.update(grey, d, sequence.camera, frame.pose),
        }
        if sequence.mount is not None:
            grid = sequence.camera.normalised_grid(*DEPTH_SIZE)
            found['floor'] = fit_ground_plane(d, grid, sequence.mount)
        for name, each in found.items():
            if isinstance(each, Refusal):
                result.by[name].reasons[re.sub(r'-?[0-9][0-9.]*', '#', each.reason)] += 1
            good = each if isinstance(each, ScaleShift) else None
            result.by[name].add(good, full, frame, sequence.farthest_m)
    result.values = scale.values()
    return result


def by_start(sequence: Sequence, estimator: DepthEstimator, every: int) -> list[Figures]:
    """Measure the scale by odometry as if a sequence had begun at each `every`-th of its frames."""
    frames = list(sequence)
    answers = [estimator.estimate(frame.rgb).astype(np.float32) for frame in frames]
    found = []
    starts = range(0, len(frames) - FEWEST_FRAMES + 1, every)
    for first in tqdm(starts, desc=f'{sequence.name}, starts', disable=None):
        scale, figures = ParallaxScale(), Figures()
        for frame, full in zip(frames[first:], answers[first:], strict=True):
            d = cv2.resize(full, DEPTH_SIZE, interpolation=cv2.INTER_AREA)
            grey = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
            fit = scale.update(frame.stamp_s, grey, d, sequence.camera, frame.pose)
            good = fit if isinstance(fit, ScaleShift) else None
            figures.add(good, full, frame, sequence.farthest_m)
        found.append(figures)
    return found


def start_lines(found: dict[str, list[Figures]]) -> Iterator[str]:
    """Yield the table of `by_start`."""
    yield header(
        'sequence', 'starts', 'frames with a scale', 'of the best fit: median (from to)',
        "scale off: median Z'/Z - 1 (from to)",
    )  # fmt: skip
    for name, starts in found.items():
        able = [each for each in starts if each.error]
        share = sum(len(each.error) for each in starts) / sum(each.frames for each in starts)
        if not able:
            yield f'| {name} | {len(starts)} | {share:.0%} | - | - |'
            continue
        of_best = [float(np.median(each.error) / np.median(each.best)) for each in able]
        off = [float(np.median(each.ratio)) - 1 for each in able]
        yield (
            f'| {name} | {len(starts)} | {share:.0%} '
            f'| {np.median(of_best):.2f} ({min(of_best):.2f} to {max(of_best):.2f}) '
            f'| {np.median(off):+.1%} ({min(off):+.0%} to {max(off):+.0%}) |'
        )


def joined(results: list[Result]) -> Result:
    """Return one result of several."""
    total = Result({name: Figures() for name in METHODS}, [], [], {})
    for each in results:
        total.scale_s += each.scale_s
        total.network_s += each.network_s
        for name, figures in each.by.items():
            into = total.by[name]
            into.frames += figures.frames
            into.error += figures.error
            into.ratio += figures.ratio
            into.best += figures.best
            into.reasons.update(figures.reasons)
    return total


def header(*columns: str) -> str:
    return f'| {" | ".join(columns)} |\n|{" --- |" * len(columns)}'


def table(results: dict[str, Result]) -> Iterator[str]:
    yield header(
        'sequence', 'scale by', 'frames with a scale', "median \\|Z'/Z - 1\\|", 'best affine fit',
        'of the best', "scale off: median Z'/Z - 1 (10 to 90 %)",
    )  # fmt: skip
    for name, result in results.items():
        for method, figures in result.by.items():
            if figures.frames:
                yield figures.row(name, method)


def reasons(results: dict[str, Result]) -> Iterator[str]:
    yield header('sequence', 'frames', 'why odometry gave no scale')
    for name, result in results.items():
        for reason, count in result.by['odometry'].reasons.most_common():
            yield f'| {name} | {count} | {reason} |'


def times(results: dict[str, Result]) -> str:
    total = joined(list(results.values()))
    ours, most = 1e3 * np.quantile(total.scale_s, (0.5, 0.95))
    network = 1e3 * np.median(total.network_s)
    return (
        f'Processor time per frame: {ours:.1f} ms (95 %: {most:.1f} ms), '
        f'{ours / network:.2f} times the network in the '
        f'same run ({network:.1f} ms).'
    )


def named(sequence: Sequence) -> str:
    return f'{sequence.name}, {sequence.note}' if sequence.note else sequence.name


def data_folder() -> Path:
    return Path(os.environ.get('MIDAS_DEPTH_TEST_DATA', DATA))


@click.command()
@click.option('--model', default='embedded', show_default=True)
@click.option('--drives', default=6, show_default=True, help='Rendered drives of each kind.')
@click.option('--only', default='', help='Only sequences whose name contains this.')
@click.option(
    '--starts', default=20, show_default=True, help='Frames between starts; 0 = the first alone.'
)
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(model: str, drives: int, only: str, starts: int, path: Path | None) -> None:
    """Print the tables, or write them between their marks in a Markdown file."""
    cv2.setNumThreads(1)
    estimator = load_estimator(model, num_threads=1)
    results, others = {}, {}
    data = data_folder()
    if not (data / 'sequences').is_dir():
        click.echo(f'no sequences in {data}: set MIDAS_DEPTH_TEST_DATA to their folder', err=True)
    else:
        for sequence in sequences(data):
            if only in sequence.name:
                results[named(sequence)] = measure(sequence, estimator)
                if starts and len(sequence.frames) >= FEWEST_FRAMES:
                    others[named(sequence)] = by_start(sequence, estimator, starts)
    for kind in KINDS:
        if only in kind and drives:
            seeds = range(FIRST_SEED, FIRST_SEED + drives)
            made = [rendered(kind, seed, 0.3 * (seed % 3 - 1)) for seed in seeds]
            measured = [measure(each, estimator) for each in made]
            results[f'rendered, {kind}'] = joined(measured)
    text = '\n'.join([*table(results), '', *reasons(results), '', times(results)])
    focal = [
        f'- {name}: focal length by motion {result.values["focal length by motion"]}'
        for name, result in results.items()
        if 'focal length by motion' in result.values
    ]
    text = '\n'.join([text, '', *focal])
    by_starts = '\n'.join(start_lines(others))
    if path is None:
        click.echo(f'{text}\n\n{by_starts}')
    else:
        write_block(path, 'odometry_scale', text)
        write_block(path, 'odometry_starts', by_starts)


if __name__ == '__main__':
    main()
