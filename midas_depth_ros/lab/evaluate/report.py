"""The whole of `midas_depth evaluate`: survey, one pass for each model and source, figures, notes.

A plan goes in; out come the report (what --json gives), the runs with their frames, and the faults
that were met on the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import midas_depth_ros
from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.images import NANOSECONDS
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.lab.evaluate.frames import FrameRecord
from midas_depth_ros.lab.evaluate.plots import Run
from midas_depth_ros.lab.evaluate.robot_frames import RobotFrames, robot_frames
from midas_depth_ros.lab.evaluate.run import Comparison, Truth, own_camera
from midas_depth_ros.lab.evaluate.summary import Numbers, reasons, rounded, summary_of
from midas_depth_ros.lab.evaluate.survey import Survey, check_truth_topic, place_of, survey
from midas_depth_ros.lab.evaluate.tape import Tape, read_tapes
from midas_depth_ros.lab.evaluate.truth import Place
from midas_depth_ros.lab.evaluate.verdict import Driving, Trials, verdict_of
from midas_depth_ros.lab.output import CommandError, progress_bar
from midas_depth_ros.nodes.depth.metric_sources import mount_of
from midas_depth_ros.nodes.depth.node import estimator_from
from midas_depth_ros.options.depth import DepthNodeSettings, apply_cpu_budget, parse_cpus
from midas_depth_ros.options.text import shown

EstimatorFactory = Callable[[DepthNodeSettings], DepthEstimator]
TABLE = '.csv'


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to compare with what. variants: model and scale.source of each run."""

    bag: BagMessages
    camera: BagCamera
    truth: str
    settings: DepthNodeSettings
    variants: Sequence[tuple[str, str]]
    place: Place | None = None
    reference: Place | None = None
    rate_hz: float = DepthNodeSettings.max_rate
    tolerance_s: float = 0.1
    speeds_m_s: tuple[float, ...] = Driving.speeds_m_s
    stopping_distance_m: float = Driving.stopping_distance_m
    deceleration_m_s2: float = Driving.deceleration_m_s2
    reaction_s: float = Driving.reaction_s
    latency_s: float | None = None  # None: as measured
    given: frozenset[str] = frozenset()  # names of the parameters that the user has set


def evaluate(
    plan: Plan, make_estimator: EstimatorFactory = estimator_from
) -> tuple[Numbers, list[Run], list[str]]:
    """Return the report, the runs, and what failed. Raises CommandError and DepthError."""
    found, truth, frames = _truth_of(plan)
    plan = dataclasses.replace(plan, settings=frames.settings)
    faults: list[str] = [found.damage] if found.damage else []
    runs: list[Run] = []
    for variant in plan.variants:
        run = _run(plan, found, truth, frames, variant, make_estimator, faults)
        if run.name in [each.name for each in runs]:  # 'auto' and what it stands for
            run.name = ', '.join((*variant, f'by {run.name}'))
        runs.append(run)
    if not any(run.figures['frames_with_truth'] for run in runs):
        why = [each['example'] for run in runs for each in run.figures['no_truth']]
        words = ' '.join([f'no frame could be compared with {plan.truth}: {why[0]}', *frames.notes])
        raise CommandError(words)
    return _report(plan, found, truth, frames, runs, faults), runs, faults


def _report(
    plan: Plan,
    found: Survey,
    truth: Truth,
    frames: RobotFrames,
    runs: Sequence[Run],
    faults: Sequence[str],
) -> Numbers:
    """What --json gives."""
    stamps = [found.stamps_ns[number] for number in found.chosen]
    return {
        'midas_depth_ros': midas_depth_ros.__version__,
        'bag': plan.bag.path.name,
        'camera': {
            'name': plan.camera.name,
            'topic': plan.camera.image,
            'pictures': len(found.stamps_ns),
        },
        'truth': {
            'name': plan.truth,
            'type': truth.kind or 'tape measures',
            'text': _truth_text(plan, found, truth),
            'messages': found.truth_messages,
            'frames': runs[0].figures['frames_with_truth'],
        },
        'frames': len(found.chosen),
        'seconds': rounded((max(stamps) - min(stamps)) / NANOSECONDS),
        'rate_hz': plan.rate_hz,
        'tolerance_s': plan.tolerance_s,
        'range_max_m': plan.settings.scan.range_max,
        'faults': reasons(faults),
        'notes': [*frames.notes, *_notes(plan, truth)],
        'runs': [{'name': run.name, **run.figures} for run in runs],
    }


def _truth_of(plan: Plan) -> tuple[Survey, Truth, RobotFrames]:
    """What is in the recording, what its truth is, and where it is. Raises CommandError."""
    bag, camera = plan.bag, plan.camera
    if plan.truth.endswith(TABLE):
        tapes = read_tapes(Path(plan.truth))
        found = _survey(plan, '', tapes)
        return found, Truth(), _frames(plan, found)
    topic = '/' + plan.truth.strip('/')
    kind = check_truth_topic(bag, topic, camera)
    found = _survey(plan, topic, [])
    body_frame = mount_of(plan.settings, camera.name).body_frame
    frames = _frames(plan, found)
    by_tf = frames.place(found.truth_frame)
    try:
        place = place_of(kind, found, body_frame, plan.place, plan.reference, by_tf)
    except CommandError as error:
        raise CommandError(' '.join([f'{error}.', *frames.notes]).removesuffix('.')) from error
    if place is by_tf:
        note = f'The place of the truth, frame {shown(found.truth_frame)}, is that of TF.'
        frames = dataclasses.replace(frames, notes=(*frames.notes, note))
    own = None
    if kind.endswith('/Image'):
        own = own_camera(bag, topic, camera, plan.settings.rectified)
    if not camera.info and math.isnan(plan.settings.horizontal_fov):
        raise CommandError(
            f'{bag.path}: {camera.image} has no camera_info: record it, or set horizontal_fov'
        )
    return found, Truth(topic, kind, place, own), frames


def _frames(plan: Plan, found: Survey) -> RobotFrames:
    sources = [source for _, source in plan.variants]
    camera = plan.camera.name
    return robot_frames(plan.bag, camera, found.optical_frame, plan.settings, plan.given, sources)


def _survey(plan: Plan, topic: str, tapes: list[Tape]) -> Survey:
    """Read the headers of pictures and truth, and show how far it is."""
    bag, camera = plan.bag, plan.camera
    total = sum(bag.counts.get(name, 0) for name in (camera.image, topic))
    with progress_bar('headers', total) as report:
        return survey(*(bag, camera, topic, tapes, plan.rate_hz, plan.tolerance_s), report.advance)


def _run(
    plan: Plan,
    found: Survey,
    truth: Truth,
    frames: RobotFrames,
    variant: tuple[str, str],
    make_estimator: EstimatorFactory,
    faults: list[str],
) -> Run:
    """One pass over the recording. Raises CommandError and DepthError."""
    model, source = variant
    scale = dataclasses.replace(plan.settings.scale, source=source)
    settings = dataclasses.replace(
        plan.settings,
        model=model,
        scale=scale,
        output_size='network',
        output_width=0,  # whole pictures: where a tape ends is in their pixels
    )
    try:
        apply_cpu_budget(settings.niceness, parse_cpus(settings.cpu_affinity))
    except ValueError as error:
        raise CommandError(str(error)) from error
    with (
        contextlib.closing(make_estimator(settings)) as estimator,
        progress_bar(f'{estimator.model}, {source}: frames', len(found.chosen)) as report,
    ):
        if estimator.notice:
            report.print(estimator.notice)
        comparison = Comparison(
            *(plan.bag, plan.camera, found, truth, settings, report.print), frames.beginning()
        )
        records = []
        for record in comparison.run(estimator):
            records.append(record)
            report.advance()
        name = f'{estimator.model}, {source}'
    faults += comparison.faults
    return Run(name, records, _figures(plan, found, records))


def _figures(plan: Plan, found: Survey, frames: list[FrameRecord]) -> Numbers:
    """All figures of a run, and the verdict by them."""
    range_max_m = plan.settings.scan.range_max
    figures = summary_of(frames, range_max_m)
    stamps = np.array([found.stamps_ns[number] for number in found.chosen]) / NANOSECONDS
    gaps = np.diff(stamps)
    latency_s = plan.latency_s
    if latency_s is None:
        latency_s = (figures['processor']['wall_p95_ms'] or 1000 * Driving.latency_s) / 1000
    driving = Driving(
        tuple(plan.speeds_m_s),
        plan.stopping_distance_m,
        plan.deceleration_m_s2,
        plan.reaction_s,
        interval_s=float(np.median(gaps)) if len(gaps) else Driving.interval_s,
        latency_s=latency_s,
    )
    trials = Trials.of_frames(frames, range_max_m, taped=bool(found.tapes))
    figures['verdict'] = verdict_of(trials, driving)
    return figures


def _truth_text(plan: Plan, found: Survey, truth: Truth) -> str:
    if not truth.topic:
        measured = sum(map(len, found.tapes.values()))
        return f'{measured} tape measures of {plan.truth}'
    return (
        f'{truth.topic} ({truth.kind}), {found.truth_messages} messages, '
        f'{truth.place.text(found.truth_frame)}'
    )


def _notes(plan: Plan, truth: Truth) -> list[str]:
    """What the truth cannot tell."""
    obstacles = plan.settings.obstacles
    notes = [
        'A truth has errors of its own, and its place on the robot, too: a tilt of half a degree '
        'moves a beam by 1 cm per metre. Where camera and sensor see past different edges, pixels '
        'count as wrong which are not.',
        'What is known of this recording holds for places, light and floors like those in it.',
        'Moving things are judged as of the moment of the picture.',
    ]
    if truth.kind.endswith(('/LaserScan', '/Range')):
        height = truth.place.z_m
        notes.insert(
            0,
            f'The truth is measured at one height ({height:g} m): what is lower or higher is not '
            'in it. There, what we rightly report counts as a false alarm, and a false clear is '
            'not noticed.',
        )
        if not truth.place.optical and not obstacles.min_height <= height <= obstacles.max_height:
            notes.insert(
                0,
                f'At {height:g} m the truth measures outside of what counts as an obstacle '
                f'({obstacles.min_height:g} to {obstacles.max_height:g} m, obstacles.min_height '
                'and obstacles.max_height): nothing it sees is in the way.',
            )
    if not truth.topic:
        notes.insert(0, 'Tape measures say nothing between the points that were measured.')
    return notes
