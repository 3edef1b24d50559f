"""The depth node alone: whether its memory grows, and where its time and memory go.

    python -m benchmarks.node soak
    python -m benchmarks.node soak --frames 2000 --model midas_small --json
    python -m benchmarks.node profile
    python -m benchmarks.node against

Run it on an idle machine. `profile` and `against` print the tables of docs/performance.md.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
from geometry_msgs.msg import Vector3Stamped
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.depth import estimator
from midas_depth_ros.depth.backends import LoadedBackend
from midas_depth_ros.depth.models.spec import PictureInput
from midas_depth_ros.geometry import Beams, ScaleShift, metric
from midas_depth_ros.geometry.obstacles import ObstacleMemory
from midas_depth_ros.images import read_image
from midas_depth_ros.lab.processes import (
    PROC,
    Child,
    cpu_seconds,
    module_command,
    node_command,
    resident_mib,
)
from midas_depth_ros.lab.speed.candidates import find_weights
from midas_depth_ros.lab.speed.nodes import (
    ALL_OUTPUTS,
    CLOSENESS,
    DEPTH,
    HEATMAP,
    SAME_PICTURE,
    BenchError,
    Feeder,
    feeding,
    node_parameters,
)
from midas_depth_ros.nodes.depth import frame_scale, node, output, worker
from midas_depth_ros.nodes.depth.worker import keep_freed_memory
from midas_depth_ros.nodes.ros import messages
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import image_message
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.views import Heatmap

SIZE = (640, 480)
CAMERA = 'c0'


@click.group()
def main() -> None:
    """Measure the depth node alone."""


# --- Whether its memory grows over ten thousand frames, with all outputs subscribed.

FIRST_FRAMES = 500
EVERY = 250
# With mount and field of view, so that outputs in metres are published as well.
PARAMETERS = {
    'cameras': [CAMERA],
    'max_rate': 0.0,
    **SAME_PICTURE,
    'camera_height': 0.3,
    'camera_pitch': 0.1,
    'horizontal_fov': 1.15,
}


def memory_over(model: str, frames: int, logs: Path) -> list[tuple[int, float]]:
    """Return (number of frames, MiB resident) every EVERY frames. Raises BenchError."""
    found: list[tuple[int, float]] = []
    with feeding(logs, SIZE) as feeder:
        feeder.watch(CAMERA, ALL_OUTPUTS)
        command = node_command('nodes.depth.node', {**PARAMETERS, 'model': model})
        child, _ = feeder.start(CAMERA, 'node', command)
        pid, began = child.process.pid, time.monotonic()
        for number in range(1, frames + 1):
            feeder.latency_ms(CAMERA)
            if number % EVERY == 0:
                found.append((number, resident_mib(pid)))
        click.echo(
            f'{frames} frames in {time.monotonic() - began:.0f} s, '
            f'{1e3 * cpu_seconds(pid) / frames:.1f} ms of CPU each',
            err=True,
        )
    return found


def verdict(found: list[tuple[int, float]]) -> dict[str, float]:
    """Return the memory after FIRST_FRAMES and at the end, and the slope of a linear fit."""
    later = np.array([line for line in found if line[0] >= FIRST_FRAMES])
    slope = float(np.polyfit(later[:, 0], later[:, 1], 1)[0]) if len(later) > 1 else 0.0
    return {
        'frames': int(later[-1, 0]),
        'after_first_mib': round(float(later[0, 1]), 2),
        'at_end_mib': round(float(later[-1, 1]), 2),
        'growth_mib_per_1000_frames': round(1000 * slope, 4),
    }


@main.command()
@click.option('--frames', type=click.IntRange(2 * FIRST_FRAMES), default=10_000, show_default=True)
@click.option('--model', default='embedded', show_default=True)
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object.')
def soak(frames: int, model: str, as_json: bool) -> None:
    """Measure the memory, and print it."""
    with tempfile.TemporaryDirectory(prefix='midas_depth_soak_') as logs:
        found = memory_over(model, frames, Path(logs))
    if as_json:
        click.echo(json.dumps({**verdict(found), 'model': model, 'resident_mib': found}))
        return
    table = Table('frames', 'MiB')
    for number, mib in found[:: max(1, len(found) // 10)]:
        table.add_row(str(number), f'{mib:.1f}')
    console = Console()
    console.print(table)
    console.print(verdict(found))


# --- Where it spends CPU time and memory besides the network, by step, thread and kind of memory,
# beside a minimal Python node that takes an image and publishes prepared messages.

FULL_HD = (1920, 1080)
RATE_HZ, MAX_RATE_HZ = 60.0, 5.0
LOST_S = 1.0  # after which a picture is not waited for
WARM_UP_FRAMES, SETTLE_S = 30, 0.02
STARTED_S = 4.0  # for a node without heatmaps to subscribe
MAIN = 'main: rclpy waits, takes messages, calls back'
INFERENCE = 'inference: all steps of a frame but the network'
THREADS = {
    'dds.shm': 'Fast DDS: out of shared memory into its history',
    'dds.': 'Fast DDS: the rest',
    'python': INFERENCE,
}
KINDS = ('the cached model, mapped', 'libraries and programs, mapped', 'made while running')
Times = dict[str, float]


def thread_ms(pid: int) -> Times:
    """Return CPU milliseconds so far, by purpose of the threads of a process."""
    found: Times = {}
    for task in (PROC / str(pid) / 'task').iterdir():
        name = (task / 'comm').read_text().strip()
        label = next((text for start, text in THREADS.items() if name.startswith(start)), name)
        if int(task.name) == pid:
            label = MAIN
        spent = int((task / 'schedstat').read_text().split()[0]) / 1e6
        found[label] = found.get(label, 0.0) + spent
    return found


def spent_by(pid: int, during: Callable[[], float]) -> Times:
    """Return `thread_ms` of a process during a call, divided by what it returns."""
    before = thread_ms(pid)
    units = during()
    after = thread_ms(pid)
    found = {label: (ms - before.get(label, 0.0)) / units for label, ms in after.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def resident_mb(pid: int) -> Times:
    """Return resident memory of a process in MB, by origin."""
    found, label = dict.fromkeys(KINDS, 0.0), KINDS[2]
    for line in (PROC / str(pid) / 'smaps').read_text().splitlines():
        first, _, rest = line.partition(' ')
        if '-' in first and not first.endswith(':'):
            path = rest.split(maxsplit=4)[4] if len(rest.split(maxsplit=4)) > 4 else ''
            mapped = path.startswith('/') and not path.startswith('/dev/shm')
            label = KINDS[2] if not mapped else KINDS[0 if path.endswith('.bin') else 1]
        elif first == 'Rss:':
            found[label] += int(rest.split()[0]) * 1024 / 1e6
    return found


def frames_for(feeder: Feeder, seconds: float) -> int:
    """Feed pictures one after another; returns how many were answered.

    A busy machine loses some, which cost the node nothing. Raises BenchError if it loses all.
    """
    end, frames = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        time.sleep(SETTLE_S)
        with contextlib.suppress(BenchError):
            feeder.latency_ms(CAMERA, LOST_S)
            frames += 1
    if not frames:
        raise BenchError(f'{CAMERA} answered no picture in {seconds:g} s: see its log')
    return frames


def per_frame(which: str, folder: Path, seconds: float) -> tuple[Times, Times]:
    """Return CPU milliseconds per frame of a node of `serve`, by thread and, if any, by step.

    Those of the network, which runs in the inference thread, are left out.
    """
    folder.mkdir()
    steps = folder / 'steps.json'
    with feeding(folder, SIZE) as feeder:
        feeder.watch(CAMERA, OUTPUTS[which])
        child, _ = feeder.start(CAMERA, which, _command(which, str(steps)))
        feeder.warm_up(CAMERA, WARM_UP_FRAMES, LOST_S)
        threads = spent_by(child.process.pid, lambda: frames_for(feeder, seconds))
    found: Times = json.loads(steps.read_text()) if steps.exists() else {}
    if found:
        threads[INFERENCE] -= found.pop(NETWORK)
    return threads, found


def per_second(
    name: str, command: Sequence[str], folder: Path, seconds: float, hears: bool
) -> Times:
    """Return CPU milliseconds per second by thread, with a 1080p camera at 60 Hz."""
    folder.mkdir()
    with feeding(folder, SIZE) as feeder:
        if hears:
            feeder.watch(CAMERA, (DEPTH, CLOSENESS))
        child = feeder.children.start(name, command)
        words = ('camera', *map(str, (*FULL_HD, RATE_HZ)), CAMERA)
        feeder.children.start('camera', module_command('lab.speed.bench_nodes', *words))
        feeder.spin(STARTED_S)
        while hears and not feeder.has_heatmap(CAMERA):
            feeder.spin(0.1)
        return spent_by(child.process.pid, lambda: _spin(feeder, seconds))


def memory(model: Path, precision: str, folder: Path) -> Times:
    """Return MB by kind of memory of depth_node, with a cached model after some frames."""
    folder.mkdir()
    with feeding(folder, SIZE) as feeder:
        feeder.watch(CAMERA, (DEPTH, CLOSENESS))
        parameters = node_parameters(model, 0, ('openvino', precision))
        command = node_command('nodes.depth.node', {**parameters, 'cameras': [CAMERA]})
        child: Child = feeder.start(CAMERA, 'node', command)[0]
        feeder.warm_up(CAMERA, WARM_UP_FRAMES, LOST_S)
        return resident_mb(child.process.pid)


def _command(which: str, *more: str) -> list[str]:
    return [sys.executable, '-m', 'benchmarks.node', 'serve', which, CAMERA, *more]


def _spin(feeder: Feeder, seconds: float) -> float:
    began = time.monotonic()
    feeder.spin(seconds)
    return time.monotonic() - began


def show(title: str, unit: str, *columns: Times, heads: Sequence[str] = ()) -> None:
    """Print a table in Markdown, with its sums."""
    click.echo(f'\n{title}\n')
    heads = heads or [unit]
    click.echo(f'| | {" | ".join(heads)} |\n| --- |{" --: |" * len(columns)}')
    digits = 2 if unit == 'ms' else 1
    for row in dict.fromkeys(label for column in columns for label in column):
        cells = [f'{column[row]:.{digits}f}' if row in column else '' for column in columns]
        click.echo(f'| {row} | {" | ".join(cells)} |')
    sums = [f'**{sum(column.values()):.{digits}f}**' for column in columns]
    click.echo(f'| **in all** | {" | ".join(sums)} |')


@main.command()
@click.option('--seconds', default=15.0, show_default=True, help='Of each measurement.')
def profile(seconds: float) -> None:
    """Profile the node, and print tables."""
    with tempfile.TemporaryDirectory(prefix='midas_depth_profile_') as name:
        logs = Path(name)
        click.echo('depth_node, and a node that only passes messages', err=True)
        threads, steps = zip(
            *(per_frame(which, logs / which, seconds) for which in OUTPUTS), strict=True
        )
        show(
            'CPU per frame of 640x480, by step of the inference thread:', 'ms', *steps[:2],
            heads=HEADS[:2],
        )  # fmt: skip
        show('CPU per frame of 640x480, by thread:', 'ms', *threads, heads=HEADS)
        click.echo('1080p at 60 Hz', err=True)
        null_network = node_command(
            'lab.speed.bench_nodes no_network', {'cameras': [CAMERA], 'max_rate': MAX_RATE_HZ}
        )
        dropping = per_second('node', null_network, logs / 'dropping', seconds, hears=True)
        nothing = per_second('least', _command('receiving'), logs / 'least', seconds, hears=False)
        show(
            '1080p at 60 Hz, CPU milliseconds per second:', 'ms/s', dropping, nothing,
            heads=['depth_node without network, max_rate 5', 'subscribed, nothing taken'],
        )  # fmt: skip
        click.echo('memory', err=True)
        weights = find_weights('midas_small').path
        found = [memory(weights, each, logs / each) for each in ('f32', 'bf16')]
        show(
            'Resident memory, MiDaS_small on openvino:', 'MB', *found, heads=['f32, MB', 'bf16, MB']
        )


# --- What a frame costs beside what it cost before, in one run: machines differ from hour to hour.

ROOT = Path(__file__).resolve().parent.parent
BEFORE = 'bf9cfce1'  # of 2026-11-29, before the work on the node's share of the processor
# Run in the tree of a revision, whose own benchmark measures its own node.
MEASURE = """
import json, sys
from pathlib import Path
from benchmarks.node import per_frame
print(json.dumps(per_frame(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))[0]))
"""


@contextlib.contextmanager
def tree_of(revision: str, folder: Path) -> Iterator[Path]:
    """Check a revision of the repository out. Raises ClickException where this clone lacks it."""
    git = ['git', '-C', str(ROOT), 'worktree']
    added = subprocess.run(
        [*git, 'add', '--quiet', '--detach', str(folder), revision],
        capture_output=True,
        text=True,
        check=False,
    )
    if added.returncode:
        raise click.ClickException(
            f'revision {revision} is not in this clone ({added.stderr.strip()}): fetch all of its '
            'history (git fetch --unshallow), or name another revision'
        )
    try:
        yield folder
    finally:
        subprocess.run([*git, 'remove', '--force', str(folder)], check=True)


def measured_in(tree: Path, which: str, folder: Path, seconds: float) -> Times:
    """Return `per_frame` by thread as a tree's benchmark measures it. Raises ClickException."""
    ran = subprocess.run(
        [sys.executable, '-c', MEASURE, which, str(folder), str(seconds)],
        cwd=tree,
        env=os.environ | {'PYTHONPATH': str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ['no reason given'])[-1]
        raise click.ClickException(f'the node {which} was not measured: {last}')
    found: Times = json.loads(ran.stdout.splitlines()[-1])
    return found


@main.command()
@click.argument('revision', default=BEFORE)
@click.option('--which', default='null', show_default=True, help="That revision's node.")
@click.option('--rounds', default=5, show_default=True)
@click.option('--seconds', default=8.0, show_default=True, help='Of each measurement.')
def against(revision: str, which: str, rounds: int, seconds: float) -> None:
    """Compare the relative outputs with those of a REVISION, in turn.

    CPU milliseconds per frame around the network. `null`: a node whose network does nothing.
    """
    with tempfile.TemporaryDirectory(prefix='midas_depth_against_') as name:
        folder = Path(name)
        with tree_of(revision, folder / 'tree') as tree:
            ways = ((tree, which), (ROOT, 'relative'), (ROOT, 'passing'))
            found = [
                [
                    sum(measured_in(place, node, folder / f'{turn}_{node}', seconds).values())
                    for place, node in ways
                ]
                for turn in range(rounds)
            ]
    click.echo(f'| round | {revision}, ms | now, ms | only passing messages, ms | now / before |')
    click.echo('| --- |' + ' --: |' * 4)
    rows = {str(turn + 1): row for turn, row in enumerate(found)}
    rows['**median**'] = [float(np.median(column)) for column in zip(*found, strict=True)]
    for label, (before, now, passing) in rows.items():
        click.echo(f'| {label} | {before:.2f} | {now:.2f} | {passing:.2f} | {now / before:.2f} |')


# --- The nodes of `profile`: one that records where its time goes, and minimal ones.

SHAPE = (480, 640)
RELATIVE = (DEPTH, CLOSENESS)  # beside the heatmap, which is always watched
METRIC = (
    'depth/image', 'depth/camera_info', 'scan', 'seen_free', 'proximity', 'nearest_point'
)  # fmt: skip
OUTPUTS = {
    'relative': RELATIVE,
    'metric': (*RELATIVE, *METRIC),
    'threaded': RELATIVE,
    'passing': RELATIVE,
}
HEADS = (
    'relative outputs, ms', 'and in metres, ms', 'OpenCV with all threads, ms',
    'only passing messages, ms',
)  # fmt: skip
# The camera of `picture`, whose floor gives the scale.
MOUNT = {'camera_height': 0.3, 'camera_pitch': 0.105, 'horizontal_fov': 1.152}
WHOLE, NETWORK = 'everything between', 'the network'
MESSAGES = (
    'serialised_image', 'serialised_bgr', 'serialised_depth', 'vector_message',
    'camera_info_message', 'scan_message', 'range_message', 'point_message', 'copied_header',
)  # fmt: skip
# (owner, attribute, step) of all that the inference thread does with a frame. What a step calls
# that is a step itself does not count for it.
STEPS: tuple[tuple[Any, str, str], ...] = (
    (worker.Worker, '_infer_and_publish', WHOLE),
    (worker, 'decode_image', 'find the pixels in the message'),
    (worker, 'verdict_for', 'judge the picture'),
    (PictureInput, 'preprocess', 'resize and normalise'),
    (LoadedBackend, '_answer', NETWORK),
    (estimator.DepthEstimator, 'infer', 'check what the network gives'),
    (estimator.DepthEstimator, 'infer_with_error', 'check what the network gives'),
    (output, 'closeness_of_picture', 'closeness'),
    (frame_scale, 'fit_ground_plane', 'floor fit'),
    (metric, 'sigma_and_of_surfaces', 'sigma'),
    (metric, 'find_obstacles', 'obstacles'),
    (ObstacleMemory, 'update', 'obstacles of earlier frames'),
    (metric.MetricDepth, 'update', 'scale filter, metres'),
    (Beams, 'scan', 'scan'),
    (output, 'corridor_free_m', 'proximity'),
    (estimator.DepthEstimator, 'enlarge', 'enlarge depth'),
    (ScaleShift, 'depth', 'metres at the size of the picture'),
    (Heatmap, 'render', 'heatmap'),
    *((messages, name, 'arrays into messages') for name in MESSAGES),
    (qos.PublisherTable, 'send', 'publish'),
    (qos.PublisherTable, 'wanted', 'ask who subscribes'),
)


class Clock:
    """CPU seconds of the calling thread within a frame, by step."""

    def __init__(self) -> None:
        self.frames: list[dict[str, float]] = []
        self._running: list[float] = []  # of each step that runs: seconds of the steps within it

    def watch(self, owner: Any, attribute: str, step: str) -> None:
        """Replace a function by a timed one."""
        function: Callable[..., Any] = getattr(owner, attribute)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if step == WHOLE:
                self.frames.append(defaultdict(float))
            elif not self._running:  # not in a frame, as when the model is checked
                return function(*args, **kwargs)
            self._running.append(0.0)
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - began
                self.frames[-1][step] += spent - self._running.pop()
                if self._running:
                    self._running[-1] += spent

        is_static = isinstance(inspect.getattr_static(owner, attribute), staticmethod)
        setattr(owner, attribute, staticmethod(timed) if is_static else timed)

    def per_frame_ms(self) -> dict[str, float]:
        """Return the mean by step, in order; the rest comes last."""
        frames = self.frames[WARM_UP_FRAMES:]
        steps = [step for _, _, step in STEPS[1:]] + [WHOLE]
        sums = {step: sum(frame.get(step, 0.0) for frame in frames) for step in steps}
        return {step: 1e3 * spent / len(frames) for step, spent in sums.items() if spent}


class PassingNode(Node):
    """Takes every image serialised, and publishes three prepared messages."""

    def __init__(self, camera: str) -> None:
        super().__init__('passing_node')
        depth, heatmap = np.zeros(SHAPE, np.float32), np.zeros((*SHAPE, 3), np.uint8)
        self._messages = {
            DEPTH: image_message(depth, Header()),
            CLOSENESS: Vector3Stamped(),
            HEATMAP: image_message(heatmap, Header(), 'bgr8'),
        }
        self._outputs = {
            name: qos.make_publisher(self, type(message), f'{camera}/{name}')
            for name, message in self._messages.items()
        }
        qos.make_subscription(
            self, Image, f'{camera}/image_raw', self._pass, qos.NEWEST, serialised=True
        )

    def _pass(self, serialised: Any) -> None:
        if isinstance(serialised, bytes):
            header = read_image(serialised).header
        else:
            header = deserialize_message(serialised, Image).header
        for name, message in self._messages.items():
            message.header.stamp = header.stamp
            self._outputs[name].publish(message)


class ReceivingNode(Node):
    """Subscribes as depth_node does; messages are left to the middleware."""

    def __init__(self, camera: str) -> None:
        super().__init__('receiving_node')
        topic = f'{camera}/image_raw'
        self._kept = qos.make_subscription(self, Image, topic, print, qos.NEWEST, serialised=True)
        # The executor never takes a message.
        self._kept.callback_group.can_execute = lambda entity: False


@main.command(hidden=True)
@click.argument('which', type=click.Choice([*OUTPUTS, 'receiving']))
@click.argument('camera')
@click.argument('output', required=False, type=click.Path(path_type=Path))
def serve(which: str, camera: str, output: Path | None) -> None:
    """Run a node of `profile` until SIGINT or SIGTERM.

    relative, metric: depth_node with the embedded model on one thread; threaded: the same, OpenCV
    with all threads. These write CPU milliseconds per frame and step to OUTPUT. passing: takes a
    picture, publishes ready messages. receiving: subscribes, and takes nothing.
    """
    keep_freed_memory()
    if which == 'passing':
        sys.exit(run_node(lambda: PassingNode(camera), []))
    if which == 'receiving':
        sys.exit(run_node(lambda: ReceivingNode(camera), []))
    if which == 'threaded':
        mock.patch.object(node, 'bound_opencv_threads').start()
    clock = Clock()
    for step in STEPS:
        clock.watch(*step)
    parameters = {
        'cameras': [camera], 'model': 'embedded', 'num_threads': 1, 'max_rate': 0.0,
        **SAME_PICTURE, **(MOUNT if which == 'metric' else {}),
    }  # fmt: skip
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    code = run_node(lambda: node.DepthNode(parameter_overrides=overrides), [])
    if output is not None:
        output.write_text(json.dumps(clock.per_frame_ms()))
    sys.exit(code)


if __name__ == '__main__':
    main()
