"""What odometry, sigma and fusion do for metres, on short rendered drives with exact depth.

Each drive is 0.6 m long, has 13 frames (0.25 m/s at 5 Hz), and is judged by its last one. The
network's answer is the exact inverse depth, disturbed like that in `benchmarks.accuracy`, or that
of a real network to the rendered picture. The parts are called as the node calls them.

    python -m benchmarks.drive_accuracy --write docs/accuracy.md
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.accuracy import (
    DISTANCES_M,
    DISTURBANCES,
    WRONG,
    depth_error,
    distance_error,
    floor_in_plain_view,
    header,
    mount_of,
    truth,
)
from benchmarks.metric_on_real import best_fit
from benchmarks.performance_page import write_block
from midas_depth_ros.depth import DepthEstimator, load_estimator
from midas_depth_ros.geometry import (
    Agreement,
    MetricDepth,
    MetricFrame,
    ParallaxScale,
    Refusal,
    ScaleShift,
    fit_ground_plane,
)
from midas_depth_ros.options.metric import FusionOptions, MetricOptions, SigmaOptions
from training.places.floor_drives import (
    AMBIGUOUS_DRIVES,
    PICTURE,
    DriveFrame,
    disturbed_drive,
    room_drive,
    wall_drive,
)

SLIP = 0.2  # what the wheels report is so much more, or less, than the way
HALF_WAY = 10  # the frame after 0.5 m
NETWORK = 'embedded model'
NOISES = [*DISTURBANCES, NETWORK]
UNDER_SLIP = ('none', '2 %', '2 % and bumps 5 %', NETWORK)
NEAR_M = 4.0
CLOSE = 0.05  # share by which the nearest obstacle may be off

Arguments = ParamSpec('Arguments')
Result = TypeVar('Result')


@dataclasses.dataclass(frozen=True)
class Means:
    """What metres are made by: sources by their names in `Agreement`, and what follows."""

    sources: tuple[str, ...]
    sigma: bool = False
    fusion: bool = False


FLOOR, ODOMETRY = 'ground_plane', 'odometry'
BOTH = (FLOOR, ODOMETRY)
COLUMNS = {
    'floor alone': Means((FLOOR,)),
    'odometry alone': Means((ODOMETRY,)),
    'floor and odometry (auto)': Means(BOTH),
    'floor, sigma': Means((FLOOR,), sigma=True),
    'floor, fusion': Means((FLOOR,), fusion=True),
    'all': Means(BOTH, sigma=True, fusion=True),
}
AUTO = {'auto': COLUMNS['floor and odometry (auto)']}
ALONE = {'odometry': COLUMNS['odometry alone']}


# --- One drive through the parts, as the node calls them.


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a network says of a frame, d (h, w) float32, what is right for it, and what the network
    expects d to be off by.
    """

    d: np.ndarray
    scale: float
    shift: float
    error: np.ndarray | None = None


class Timer:
    """Seconds of every call, by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def __call__(
        self, part: str, call: Callable[Arguments, Result], *args: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Result:  # fmt: skip
        start = time.perf_counter()
        result = call(*args, **options)
        self.seconds[part].append(time.perf_counter() - start)
        return result


class Maker:
    """Makes metres of the frames of one drive by some means."""

    def __init__(self, means: Means, timer: Timer) -> None:
        self.means, self.timer = means, timer
        self.agreement, self.metric = Agreement(), MetricDepth()
        # With the largest share nothing is too uncertain.
        sigma = SigmaOptions() if means.sigma else SigmaOptions(max_share=1.0)
        self.options = MetricOptions(fusion=FusionOptions(enabled=means.fusion), sigma=sigma)

    def update(
        self,
        frame: DriveFrame,
        answer: Answer,
        grey: np.ndarray,
        pose: np.ndarray,
        found: dict[str, ScaleShift | Refusal],
        *,
        judged: bool,
    ) -> MetricFrame | None:
        """Return one frame's metres. grey: (h, w) uint8, as large as d. judged: with obstacles."""
        d = answer.d
        chosen = {name: found[name] for name in self.means.sources}
        fit = next(iter(chosen.values()))
        if len(chosen) > 1:
            judge = self.agreement.update
            fit = self.timer('agreement', judge, frame.stamp_s, chosen, d, pose)
            if getattr(self.agreement, 'contradiction', ''):
                self.metric.reset()  # what was good before does not vouch for what is refuted
        grid, mount = frame.view.camera.normalised_grid(), mount_of(frame.view)
        knows_motion = pose if ODOMETRY in self.means.sources else None
        part = 'metres' + (', obstacles' if judged else '') + (', fused' * self.means.fusion)
        return self.timer(
            part, self.metric.update, frame.stamp_s, d, grid, mount if judged else None, fit,
            self.options, grey=grey, pose=knows_motion, error=answer.error,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Made:
    """The metres of one frame, None where there are none; and why there are none, or not new."""

    frame: MetricFrame | None
    reason: str


def driven(
    frames: Sequence[DriveFrame],
    answers: Sequence[Answer],
    columns: dict[str, Means],
    timer: Timer,
    slip: float = 0.0,
) -> dict[str, list[Made]]:
    """Return what every column makes of each frame. slip: the odometry says 1 + slip metres for
    every metre.
    """
    parallax = ParallaxScale()
    makers = {name: Maker(means, timer) for name, means in columns.items()}
    made: dict[str, list[Made]] = {name: [] for name in columns}
    for index, (frame, answer) in enumerate(zip(frames, answers, strict=True)):
        d, view = answer.d, frame.view
        pose = slipped(frame.pose, frames[0].pose, slip)
        grey = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, d.shape[::-1], interpolation=cv2.INTER_AREA)
        camera = view.camera.scaled(*PICTURE)
        grid, mount = view.camera.normalised_grid(), mount_of(view)
        found = {
            FLOOR: timer('floor', fit_ground_plane, d, grid, mount),
            ODOMETRY: timer('odometry', parallax.update, frame.stamp_s, grey, d, camera, pose),
        }
        for name, maker in makers.items():
            # Obstacles are made of the last frames alone: they must have been there before.
            last = index >= len(frames) - 1 - maker.options.obstacles.persistence
            judged = maker.means.fusion or last
            metres = maker.update(frame, answer, small, pose, found, judged=judged)
            made[name].append(Made(metres, maker.metric.reason))
    return made


def slipped(pose: np.ndarray, first: np.ndarray, slip: float) -> np.ndarray:
    """Return the (4, 4) pose that an odometer reports whose way is longer by a share."""
    result = pose.copy()
    result[:3, 3] += slip * (pose[:3, 3] - first[:3, 3])
    return result


def answers_of(
    frames: Sequence[DriveFrame], noise: str, rng: np.random.Generator, network: DepthEstimator
) -> list[Answer]:
    """Return what is said of each frame, by a network or the exact depth disturbed."""
    if noise != NETWORK:
        return [Answer(*each) for each in disturbed_drive(frames, rng, **DISTURBANCES[noise])]
    answers = []
    for frame in frames:
        d, error = network.infer_with_error(frame.rgb)
        with np.errstate(divide='ignore'):
            right = best_fit(d, 1 / frame.view.inverse_depth)
        answers.append(Answer(d, right.scale, right.shift, error))
    return answers


# --- Judging the last frame.


def scale_error(scale: ScaleShift, answer: Answer) -> float:
    """Return the median error of the depth that a scale gives, as a share, up to `NEAR_M`."""
    right = answer.scale * answer.d.astype(np.float64) + answer.shift
    near = answer.d[right > 1 / NEAR_M].astype(np.float64)
    if not near.size:
        return math.nan
    found = np.maximum(scale.scale * near + scale.shift, 1e-6)
    return float(np.median((answer.scale * near + answer.shift) / found) - 1)


def error_in_view(scale: ScaleShift, answer: Answer) -> float:
    """Return the largest error of the depth that a scale gives, as a share, at the deciles of what
    is in view up to `NEAR_M`: where nothing is, nothing can be wrong.
    """
    right = answer.scale * answer.d.astype(np.float64) + answer.shift
    near = right[right > 1 / NEAR_M]
    if not near.size:
        return 0.0
    deciles = np.quantile(near, (0.1, 0.5, 0.9))
    found = scale.scale * (deciles - answer.shift) / answer.scale + scale.shift
    return float(np.abs(deciles / np.maximum(found, 1e-6) - 1).max())


@dataclasses.dataclass
class Tally:
    """The results of one column under one noise."""

    drives: int = 0
    refused: int = 0
    wrong: int = 0
    errors: list[float] = dataclasses.field(default_factory=list)
    missed: int = 0
    too_far: int = 0
    false_alarms: int = 0

    def add(self, frame: DriveFrame, answer: Answer, made: Made) -> None:
        """Count one drive by its last frame."""
        self.drives += 1
        if made.frame is None:
            self.refused += 1
            return
        self.wrong += depth_error(made.frame.scale, answer.scale, answer.shift) > WRONG
        assert made.frame.obstacles is not None
        true, found = truth(frame.view), made.frame.obstacles.nearest_range_m
        if DISTANCES_M[0] <= true <= DISTANCES_M[-1]:
            error = distance_error(frame.view, found)
            self.missed += found > 2 * true
            self.too_far += error > CLOSE
            self.errors.append(error)
        elif true == math.inf and found < DISTANCES_M[-1]:
            self.false_alarms += 1

    def cells(self) -> list[str]:
        within = float((np.abs(self.errors) <= CLOSE).mean()) if self.errors else math.nan
        return [
            f'{self.refused}', f'{self.wrong} of {self.drives - self.refused}',
            f'{within:.0%} of {len(self.errors)}', f'{self.too_far}', f'{self.missed}',
            f'{self.false_alarms}',
        ]  # fmt: skip


# --- The tables.


class Figures:
    """Measures drives and keeps what the tables need."""

    def __init__(self, count: int, seed: int, model: str) -> None:
        self.count, self.seed = count, seed
        self.network = load_estimator(model)
        self.timer = Timer()

    def drives(
        self, make: Callable[[np.random.Generator], list[DriveFrame]], count: int, what: str
    ) -> Iterator[tuple[list[DriveFrame], np.random.Generator]]:
        """Yield drives, each with a generator of its own: the same under every noise."""
        for index in tqdm(range(count), desc=what, disable=None):
            rng = np.random.default_rng((self.seed, index))
            yield make(rng), rng

    def room_tables(self) -> tuple[Iterator[str], Iterator[str]]:
        """Return the lines of the table of means, and of that of the scale by odometry."""
        tallies = {(noise, name): Tally() for noise in NOISES for name in COLUMNS}
        errors: dict[str, list[float]] = {noise: [] for noise in NOISES}
        for frames, rng in self.drives(room_drive, self.count, 'rooms'):
            for noise in NOISES:
                answers = answers_of(frames, noise, rng, self.network)
                made = driven(frames, answers, COLUMNS, self.timer)
                for name in COLUMNS:
                    tallies[noise, name].add(frames[-1], answers[-1], made[name][-1])
                half = made['odometry alone'][HALF_WAY].frame
                if half is not None:
                    errors[noise].append(abs(scale_error(half.scale, answers[HALF_WAY])))
        return self._means_lines(tallies), self._scale_lines(errors)

    @staticmethod
    def _means_lines(tallies: dict[tuple[str, str], Tally]) -> Iterator[str]:
        yield header(
            'noise', 'metres by', 'refused', 'wrongly accepted', 'nearest within 5 %',
            'more than 5 % too far', 'missed', 'false alarms',
        )  # fmt: skip
        for (noise, name), tally in tallies.items():
            yield f'| {noise} | {name} | {" | ".join(tally.cells())} |'

    def _scale_lines(self, errors: dict[str, list[float]]) -> Iterator[str]:
        yield header('noise', 'drives', 'metres after 0.5 m', 'scale off, median', '95 %')
        for noise, found in errors.items():
            known = np.array(found)[np.isfinite(found)]
            figures = f'{np.median(known):.1%} | {np.quantile(known, 0.95):.1%}'
            yield f'| {noise} | {self.count} | {len(found)} | {figures if known.size else " | "} |'

    def ambiguous_lines(self) -> Iterator[str]:
        """Yield the table of views that one picture cannot tell from a floor."""
        columns = {'floor alone': COLUMNS['floor alone']} | AUTO
        yield header(
            'at the end of the drive', 'noise', 'drives',
            *(f'wrongly accepted, {name}' for name in columns), 'accepted, auto',
        )  # fmt: skip
        for kind, make in AMBIGUOUS_DRIVES.items():
            count = self.count
            wrong: dict[tuple[str, str], int] = defaultdict(int)
            accepted: dict[str, int] = defaultdict(int)
            for frames, rng in self.drives(make, count, kind):
                for noise in UNDER_SLIP:
                    answers = answers_of(frames, noise, rng, self.network)
                    for name, made in driven(frames, answers, columns, self.timer).items():
                        last = made[-1].frame
                        if last is not None:
                            wrong[noise, name] += error_in_view(last.scale, answers[-1]) > WRONG
                            accepted[noise] += name == 'auto'
            for noise in UNDER_SLIP:
                cells = ' | '.join(str(wrong[noise, name]) for name in columns)
                yield f'| {kind} | {noise} | {count} | {cells} | {accepted[noise]} |'

    def slip_lines(self) -> Iterator[str]:
        """Yield the table of odometry that is off by 20 %, where the floor is in plain view."""
        yield header(
            'odometry says', 'noise', 'drives, floor in plain view', 'silent',
            'metres within 10 %', 'wrong metres', 'wrong, odometry alone',
        )  # fmt: skip
        columns = AUTO | ALONE
        counts: dict[tuple[float, str, str], int] = defaultdict(int)
        slips = (SLIP, -SLIP)
        for frames, rng in self.drives(room_drive, self.count // 2, 'slip'):
            if not floor_in_plain_view(frames[-1].view):
                continue
            for noise in UNDER_SLIP:
                answers = answers_of(frames, noise, rng, self.network)
                for slip in slips:
                    counts[slip, noise, 'drives'] += 1
                    made = driven(frames, answers, columns, self.timer, slip)
                    for name in columns:
                        outcome = _outcome(made[name][-1], answers[-1])
                        counts[slip, noise, f'{name} {outcome}'] += 1
        for slip in slips:
            for noise in UNDER_SLIP:
                names = ('drives', 'auto silent', 'auto right', 'auto wrong', 'odometry wrong')
                cells = ' | '.join(str(counts[slip, noise, name]) for name in names)
                yield f'| {1 + slip:.1f} m per metre | {noise} | {cells} |'

    def wall_lines(self) -> Iterator[str]:
        """Yield the table of walls that fill the picture."""
        yield header(
            'noise', 'walls', 'metres by the floor', 'metres by odometry',
            'distance off, median', '95 %',
        )  # fmt: skip
        columns = {'floor': COLUMNS['floor alone']} | ALONE
        count = self.count // 2
        errors: dict[str, list[float]] = {noise: [] for noise in UNDER_SLIP}
        by_floor: dict[str, int] = defaultdict(int)
        for frames, rng in self.drives(wall_drive, count, 'walls'):
            for noise in UNDER_SLIP:
                answers = answers_of(frames, noise, rng, self.network)
                made = driven(frames, answers, columns, self.timer)
                by_floor[noise] += made['floor'][-1].frame is not None
                last = made['odometry'][-1].frame
                if last is not None:
                    ratio = last.depth_z * frames[-1].view.inverse_depth
                    known = ratio[np.isfinite(ratio)]
                    errors[noise].append(abs(float(np.median(known)) - 1) if known.size else 1.0)
        for noise, found in errors.items():
            figures = ' | '
            if found:
                figures = f'{np.median(found):.1%} | {np.quantile(found, 0.95):.1%}'
            yield f'| {noise} | {count} | {by_floor[noise]} | {len(found)} | {figures} |'

    def time_lines(self) -> Iterator[str]:
        """Yield the table of what one frame costs."""
        yield header('part', 'median, ms', '95 %, ms')
        for part, seconds in self.timer.seconds.items():
            milliseconds = 1e3 * np.array(seconds)
            median, most = np.quantile(milliseconds, (0.5, 0.95))
            yield f'| {part} | {median:.1f} | {most:.1f} |'


def _outcome(made: Made, answer: Answer) -> str:
    if made.frame is None:
        return 'silent'
    wrong = depth_error(made.frame.scale, answer.scale, answer.shift) > WRONG
    return 'wrong' if wrong else 'right'


TABLES = ('drives', 'drive scale', 'drive ambiguous', 'drive slip', 'drive walls', 'drive times')


def tables(count: int, seed: int, model: str, wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the wanted tables by name, as Markdown; the times are those of what the others ran."""
    figures = Figures(count, seed, model)
    if 'drives' in wanted or 'drive scale' in wanted:
        for name, lines in zip(TABLES, figures.room_tables(), strict=False):
            yield name, '\n'.join(lines)
    for name, of_table in (
        ('drive ambiguous', figures.ambiguous_lines),
        ('drive slip', figures.slip_lines),
        ('drive walls', figures.wall_lines),
        ('drive times', figures.time_lines),
    ):
        if name in wanted:
            yield name, '\n'.join(of_table())


@click.command()
@click.option('--drives', default=40, show_default=True, help='Drives for each noise.')
@click.option('--seed', default=0, show_default=True)
@click.option('--model', default='embedded', show_default=True)
@click.option(
    '--table', 'wanted', multiple=True, type=click.Choice(TABLES), default=TABLES,
    help='Only this one; may be repeated.',
)  # fmt: skip
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(drives: int, seed: int, model: str, wanted: Sequence[str], path: Path | None) -> None:
    """Print the tables, or write them between their marks in a Markdown file."""
    cv2.setNumThreads(1)
    for name, text in tables(drives, seed, model, wanted):
        if path is None:
            click.echo(f'\n{name}\n\n{text}')
        else:
            write_block(path, name, text)


if __name__ == '__main__':
    main()
