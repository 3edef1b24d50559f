"""Measures the nodes that a user would pick instead, beside depth_node and the usual recipe.

    python -m benchmarks.peers weights ~/peers                 # random weights, under their names
    python -m benchmarks.peers measure ~/peers --json found.json
    python -m benchmarks.peers page found.json                 # fills in benchmarks/peers.md

benchmarks/peers.md says how the nodes get into the folder ~/peers, benchmarks/peers.yaml how each
is started. Whatever a node is written in, it is measured from outside: by its topics and by /proc.
All nodes of one network run in the same run, and get one picture each in turn, so that a
disturbance affects all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from benchmarks.performance_page import write_block
from midas_depth_ros.depth.backends import find_backend, model_of
from midas_depth_ros.depth.estimator import DepthEstimator
from midas_depth_ros.depth.models import spec
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
from midas_depth_ros.images import stamp_ns
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.output import print_status
from midas_depth_ros.lab.processes import Child, Children, cpu_seconds, resident_mib
from midas_depth_ros.lab.speed.bench_nodes import run_baseline_node
from midas_depth_ros.lab.speed.candidates import USUAL_RECIPE
from midas_depth_ros.lab.speed.nodes import DEPTH, MIB_IN_MB, Variant, command_of
from midas_depth_ros.lab.speed.random_weights import write_random_weights
from midas_depth_ros.lab.speed.run import NOISE, size_text, versions
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.depth.worker import keep_freed_memory
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import image_message, time_message
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import moving_scene, render

HERE = Path(__file__).parent
SIZE = (640, 480)  # of the pictures
PICTURES = 8  # different ones, shown again and again
START_TIMEOUT_S, FRAME_TIMEOUT_S = 300.0, 120.0
RESEND_S = 20.0  # between pictures while a node starts: one may come too early for it
POLL_S = 0.1
WARM_UP_FRAMES = 3
SETTLE_S = 0.02  # after a depth: the node puts its buffers away, its thread pools stop spinning

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Peer:
    """A node as it is started, by bash, and measured."""

    name: str
    network: str  # a name of `midas_depth models`: nodes of the same network are compared
    input: str  # what its network sees, for the table
    runs: str  # library and number format, for the table
    command: str
    images: str  # topic
    depth: str  # topic
    compressed: bool = False  # it subscribes to CompressedImage
    lifecycle: str = ''  # the node's name, if it waits to be configured and activated


@functools.cache
def pictures() -> list[np.ndarray]:
    """(480, 640, 3) uint8 RGB: a drive through the procedural world, with a camera's noise."""
    scene, rng = moving_scene(0), np.random.default_rng(0)
    found = []
    for number in range(PICTURES):
        seen = render(scene.scene_at(0.5 * number), scene.camera, scene.pose_at(0.5 * number)).rgb
        rgb = cv2.resize(seen, SIZE, interpolation=cv2.INTER_LINEAR).astype(np.float32)
        rgb += rng.normal(0, NOISE, rgb.shape).astype(np.float32)
        found.append(np.clip(rgb, 0, 255).astype(np.uint8))
    return found


class PeerError(Exception):
    """A node could not be measured, for the reason given."""


class Meter(Node):
    """Shows pictures to one node and takes the time until its depth.

    A node that leaves out the stamp is timed as well: it gets the next picture only after its depth
    for the last one.
    """

    def __init__(self, peer: Peer, number: int, executor: SingleThreadedExecutor) -> None:
        super().__init__(f'meter_{number}', context=executor.context)
        executor.add_node(self)
        self._executor, self._peer, self._sent = executor, peer, 0
        kind = CompressedImage if peer.compressed else Image
        self._publisher = self.create_publisher(kind, peer.images, 1)
        self._received: list[tuple[int, Header]] = []
        self._stamps: set[int] = set()  # of the pictures, ns
        qos.make_subscription(self, Image, peer.depth, self._on_depth, qos.best_effort(10))
        self._messages = [self._message(rgb) for rgb in pictures()]
        self.kept_stamps = True

    def _message(self, rgb: np.ndarray) -> Image | CompressedImage:
        header = Header(frame_id='camera_optical_frame')
        if not self._peer.compressed:
            return image_message(rgb, header)
        data = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
        return CompressedImage(header=header, format='jpeg', data=data)

    def _on_depth(self, message: Image) -> None:
        self._received.append((time.time_ns(), message.header))

    def start(self, child: Child) -> float:
        """Wait until the node publishes; returns the seconds it took. Raises PeerError."""
        began = time.monotonic()
        waiting, sent = bool(self._peer.lifecycle), -RESEND_S
        while not self._received:
            if child.exit_code is not None:
                raise PeerError(f'{child.status()}: {child.last_message()}')
            if time.monotonic() - began > START_TIMEOUT_S:
                raise PeerError(f'no depth within {START_TIMEOUT_S:g} s')
            waiting = waiting and not self._activate()
            is_due = time.monotonic() - began > sent + RESEND_S
            if is_due and self._publisher.get_subscription_count():
                sent = time.monotonic() - began
                self._send()
            self._spin(POLL_S)
        return time.monotonic() - began

    def _activate(self) -> bool:
        client = self.create_client(ChangeState, f'{self._peer.lifecycle}/change_state')
        try:
            if not client.wait_for_service(timeout_sec=0.0):
                return False
            for change in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
                request = ChangeState.Request(transition=Transition(id=change))
                answer = client.call_async(request)
                self._executor.spin_until_future_complete(answer, START_TIMEOUT_S)
                if answer.result() is None or not answer.result().success:
                    raise PeerError(f'transition {change} failed')
            return True
        finally:
            self.destroy_client(client)

    def _send(self) -> int:
        message = self._messages[self._sent % PICTURES]
        self._sent += 1
        now_ns = time.time_ns()
        self._stamps.add(now_ns)
        message.header.stamp = time_message(now_ns)
        self._publisher.publish(message)
        return now_ns

    def latency_ms(self) -> float:
        """Send one picture and wait for its depth; returns milliseconds. Raises PeerError."""
        self._received.clear()
        sent_ns = self._send()
        deadline = time.monotonic() + FRAME_TIMEOUT_S
        while (answer := self._answer(sent_ns)) is None:
            if time.monotonic() > deadline:
                raise PeerError(f'{self._peer.name}: no depth for a picture')
            self._executor.spin_once(timeout_sec=1.0)
        received_ns, stamp = answer
        self.kept_stamps &= stamp == sent_ns
        return (received_ns - sent_ns) / 1e6

    def _answer(self, sent_ns: int) -> tuple[int, int] | None:
        """When the depth of this picture came, and its stamp; that of an earlier one is none."""
        for received_ns, header in self._received:
            stamp = stamp_ns(header)
            if stamp == sent_ns or stamp not in self._stamps:
                return received_ns, stamp
        return None

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)


class Measured:
    """One node while it is measured, and its row of the table."""

    def __init__(self, peer: Peer, child: Child, meter: Meter) -> None:
        self.row: Json = {
            'name': peer.name, 'network': peer.network, 'input': peer.input, 'runs': peer.runs
        }  # fmt: skip
        self._child, self._meter = child, meter
        self._times: list[float] = []
        self._cpu_s: list[float] = []  # of each picture: what it does between them is not counted
        self.runs = self._tried(self._start)

    def _tried(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except PeerError as error:
            self.row['absent'] = f'{error}'
        return 'absent' not in self.row

    def _start(self) -> None:
        self.row['start_s'] = self._meter.start(self._child)
        for _ in range(WARM_UP_FRAMES):
            self._meter.latency_ms()

    def show_one(self) -> None:
        """Show it one more picture; after a failure it is not run any more."""
        self.runs = self.runs and self._tried(self._show_one)

    def _show_one(self) -> None:
        before_s = cpu_seconds(self._child.process.pid)
        self._times.append(self._meter.latency_ms())
        time.sleep(SETTLE_S)
        self._cpu_s.append(cpu_seconds(self._child.process.pid) - before_s)

    def finish(self) -> Json:
        """Return its row: figures, or in `absent` why there are none."""
        if self.runs:
            times = self._times
            self.row['frames'] = len(times)
            self.row['median_ms'] = statistics.median(times)
            self.row['p95_ms'] = float(np.percentile(times, 95))
            self.row['cpu_ms'] = 1e3 * statistics.median(self._cpu_s)
            self.row['rss_mb'] = resident_mib(self._child.process.pid) * MIB_IN_MB
            self.row['kept_stamps'] = self._meter.kept_stamps
        return self.row


def measure(peers: Sequence[Peer], environment: dict[str, str], seconds: float) -> list[Json]:
    """Run the nodes side by side and return a row for each."""
    processes.set_up_ros()
    with (
        tempfile.TemporaryDirectory(prefix='peers_') as logs,
        Children(Path(logs), {**processes.child_environment(), **environment}) as children,
        processes.ros_context() as executor,
    ):
        measured = []
        for number, peer in enumerate(peers):
            print_status(f'starting {peer.name} {peer.runs}')
            child = children.start(f'peer_{number}', ['bash', '-c', peer.command])
            measured.append(Measured(peer, child, Meter(peer, number, executor)))
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(one.runs for one in measured):
            for one in measured:
                one.show_one()
        return [one.finish() for one in measured]


# --- What is measured: the peers of peers.yaml, and ours with the same networks.

OURS, RECIPE = 'midas_depth_ros', 'the usual recipe'
# The network, the shape of its input, and what runs it. MiDaS_small is depth_node as it is.
SQUEEZED = NetworkSize(518, most_aspect=1.0)  # to a square
OWN: tuple[tuple[str, NetworkSize, Variant], ...] = (
    ('midas_small', OFFICIAL, (USUAL_RECIPE, 'f32')),
    ('midas_small', OFFICIAL, ('openvino', 'f32')),
    ('midas_small', OFFICIAL, ('openvino', 'bf16')),
    ('midas_small', OFFICIAL, ('onnxruntime', 'f32')),
    ('depth_anything_v2_small', NetworkSize(518), (USUAL_RECIPE, 'f32')),
    ('depth_anything_v2_small', NetworkSize(518), ('openvino', 'f32')),
    ('depth_anything_v2_small', NetworkSize(518), ('openvino', 'bf16')),
    ('depth_anything_v2_small', SQUEEZED, ('openvino', 'f32')),
    ('depth_anything_v2_small', NetworkSize(252), ('openvino', 'bf16')),
)
# The networks that are needed, and the names of the files where they are not the official ones.
WEIGHTS = (
    ('midas_small', ''),
    ('depth_anything_v2_small', ''),
    ('depth_anything_v2_small', 'depth_anything_v2_small.onnx'),
    ('depth_anything_v2_metric_indoor_small', ''),
)


def own_peers(folder: Path, threads: int) -> list[Peer]:
    """Return the usual recipe and depth_node, by network."""
    found = []
    for number, (network, size, variant) in enumerate(OWN):
        camera, weights = f'own_{number}', folder / 'weights' / spec(network).weights.name
        seen = size.applied_to(spec(network)).picture.network_size(*SIZE)
        name, runs = OURS, ' '.join(variant)
        if variant[0] == USUAL_RECIPE:
            name, runs = RECIPE, f'torch {variant[1]}'
        if size is not OFFICIAL:
            words = weights, *variant, size.short_side, size.most_aspect, threads, camera
            command = shlex.join(
                [sys.executable, '-m', 'benchmarks.peers', 'own', *map(str, words)]
            )
        else:
            command = shlex.join(command_of(variant, weights, threads, camera, size))
        topics = f'{camera}/image_raw', f'{camera}/{DEPTH}'
        found.append(Peer(name, network, size_text(seen), runs, f'exec {command}', *topics))
    return found


def listed_peers(path: Path, folder: Path) -> list[Peer]:
    """Return the peers of a YAML file: a list of what `Peer` has; topics are made up if not given.

    A command runs in the folder of the peers, after the folder's env.sh, if there is one.
    """
    found = []
    start = f'cd {shlex.quote(str(folder))}; [ ! -e env.sh ] || . ./env.sh; exec'
    for number, entry in enumerate(yaml.safe_load(path.read_text())):
        topics = {'images': f'/peer_{number}/image', 'depth': f'/peer_{number}/depth'}
        fields = {**topics, **entry}
        command = fields['command'].strip().format(**{key: fields[key] for key in topics})
        found.append(Peer(**{**fields, 'command': f'{start} {command}'}))
    return found


# --- The command.


@click.group()
def main() -> None:
    """Measure the nodes of others beside ours."""


@main.command()
@click.argument('folder', type=click.Path(path_type=Path))
def weights(folder: Path) -> None:
    """Write random weights into FOLDER/weights, under the names of the official ones."""
    (folder / 'weights').mkdir(parents=True, exist_ok=True)
    for name, file in WEIGHTS:
        click.echo(write_random_weights(spec(name), folder / 'weights', file))


@main.command(hidden=True)
@click.argument('weights', type=click.Path(path_type=Path))
@click.argument('backend')
@click.argument('precision')
@click.argument('side', type=int)
@click.argument('aspect', type=float)
@click.argument('threads', type=int)
@click.argument('camera')
def own(
    weights: Path, backend: str, precision: str, side: int, aspect: float, threads: int, camera: str
) -> None:
    """Run depth_node, or the usual recipe, with random weights that it would refuse.

    A vision transformer with random weights gives nearly the same depth everywhere: depth_node
    takes that for a broken model.
    """
    size = NetworkSize(side, aspect)
    if backend == USUAL_RECIPE:
        sys.exit(run_baseline_node([str(weights), camera, str(threads), str(side)]))
    keep_freed_memory()
    factory = find_backend(backend, weights.suffix, precision, model_of(weights))
    network = factory(weights, threads, precision, size)
    overrides = [Parameter('cameras', value=[camera]), Parameter('max_rate', value=0.0)]

    def make_estimator(settings: DepthNodeSettings) -> DepthEstimator:
        return DepthEstimator(weights.name, network)

    sys.exit(run_node(lambda: DepthNode(make_estimator, parameter_overrides=overrides), []))


@main.command('measure')
@click.argument('folder', type=click.Path(exists=True, path_type=Path))
@click.option('--peers', 'path', default=HERE / 'peers.yaml', type=click.Path(path_type=Path))
@click.option('--network', 'networks', multiple=True, help='Only nodes that run this network.')
@click.option('--seconds', default=60.0, show_default=True, help='Of measuring, per network.')
@click.option('--threads', default=0, show_default=True, help='Of each node; 0 = all processors.')
@click.option('--json', 'output', type=click.Path(path_type=Path), required=True)
def measure_command(
    folder: Path, path: Path, networks: tuple[str, ...], seconds: float, threads: int, output: Path
) -> None:
    """Measure all nodes, those of one network side by side."""
    peers = listed_peers(path, folder.resolve()) + own_peers(folder.resolve(), threads)
    environment = {'OMP_NUM_THREADS': str(threads)} if threads else {}
    rows: list[Json] = []
    before = os.getloadavg()[0]
    for network in networks or dict.fromkeys(peer.network for peer in peers):
        rows += measure([one for one in peers if one.network == network], environment, seconds)
    facts = {
        'cpu': processes.cpu_name(),
        'cores': processes.cores(),
        'threads': threads or processes.cores(),
        'python': platform.python_version(),
        'versions': versions(),
        'load_average': [round(before, 1), round(os.getloadavg()[0], 1)],
        'rows': rows,
    }
    output.write_text(json.dumps(facts, indent=2))
    click.echo(table(facts))


@main.command()
@click.argument('found', type=click.File())
@click.option('--page', 'path', default=HERE / 'peers.md', type=click.Path(path_type=Path))
def page(found: Any, path: Path) -> None:
    """Write what was FOUND into the page."""
    write_block(path, 'figures', table(json.load(found)))


def table(facts: Json) -> str:
    """Return machine and rows as Markdown."""
    listed = ', '.join(f'{name} {number}' for name, number in facts['versions'].items())
    load = ' to '.join(map(str, facts['load_average']))
    if max(facts['load_average']) > 2 * facts['cores']:
        load += ': others worked, too, so that CPU times and x hold and milliseconds are too high'
    lines = [
        f'{facts["cpu"]}, {facts["cores"]} processors; threads of each node: {facts["threads"]}; '
        f'Python {facts["python"]}; {listed}. Load average {load}.\n',
        '| node | network | its input | runs on | stamp to depth, ms | p95 | CPU per frame, ms | x '
        '| MB | start, s | keeps the stamp |',
        '| --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --- |',
    ]
    for row in facts['rows']:
        cells = [row['name'], row['network'], row['input'], row['runs']]
        if 'absent' in row:
            cells += ['did not run: ' + row['absent'].replace('|', '\\|'), *[''] * 6]
        else:
            ours = own_cpu_ms(facts, row)
            cells += [f'{row[key]:.0f}' for key in ('median_ms', 'p95_ms', 'cpu_ms')]
            cells += [f'{row["cpu_ms"] / ours:.1f}' if ours else '', f'{row["rss_mb"]:.0f}']
            cells += [f'{row["start_s"]:.1f}', 'yes' if row['kept_stamps'] else 'no']
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def own_cpu_ms(facts: Json, row: Json) -> float | None:
    """Return what our node needs in f32 for the same network and input, if that was measured."""
    for one in facts['rows']:
        same = all(one[key] == row[key] for key in ('network', 'input'))
        if one['name'] == OURS and one['runs'].endswith('f32') and same and 'cpu_ms' in one:
            return float(one['cpu_ms'])
    return None


if __name__ == '__main__':
    main()
