"""What is asked of a run, and what came of it.

From a `Plan` follow the command lines of its processes; a `Run` is what the report reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from midas_depth_ros.images.sources import is_still
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.demo import WIDEST
from midas_depth_ros.lab.demo.recording import DIAGNOSTICS, DriveListener, Recorder, Recording
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.output import step
from midas_depth_ros.lab.processes import (
    PROMPT,
    STOP_SIGNALS,
    Child,
    Children,
    module_command,
    node_command,
)
from midas_depth_ros.nodes.ros.spinning import StopSignals
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import read_parameters, settings_from
from midas_depth_ros.options.text import printable
from midas_depth_ros.sim import FurnishedWorld, furnished_world
from midas_depth_ros.views import HeatmapOptions

# Where nothing is said: frames per second that the node may process, and the model.
RATE_HZ, DRIVE_RATE_HZ, DRIVE_CAMERA_RATE_HZ = 5.0, 10.0, 10.0
MODEL, DRIVE_MODEL = 'auto', 'embedded'


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be run. Fields that are None are chosen by what is run."""

    source: str = ''  # picture, folder, video, device number, rosbag2; '' = the driving robot
    seconds: float = 20.0  # after the first output
    model: str | None = None
    rate_hz: float | None = None  # the node's max_rate
    camera_rate_hz: float | None = None  # None: the source's own
    topic: str = ''  # of a rosbag2
    transport: str = 'raw'
    parameters: tuple[str, ...] = ()  # further name:=value of depth_node
    timeout_s: float = 30.0  # longest wait for the first output once the model is loaded
    world: int = 0  # that the robot drives through
    dashboard_port: int = 0  # 0: none
    keep_going: bool = False  # after the recording, until a signal

    @property
    def drives(self) -> bool:
        """Whether it is the robot that is shown."""
        return not self.source

    @property
    def what(self) -> str:
        """What the camera is, in words."""
        return self.source or f'a simulated robot in furnished world {self.world}'

    def commands(self) -> dict[str, list[str]]:
        """The command lines of the processes by name, in the order in which they start."""
        if self.drives:
            return drive_commands(
                self.world,
                DRIVE_MODEL if self.model is None else self.model,
                DRIVE_RATE_HZ if self.rate_hz is None else self.rate_hz,
                self.camera_rate_hz or DRIVE_CAMERA_RATE_HZ,
                self.transport,
                self.parameters,
            )
        return {'camera': self._stream_command(), 'depth_node': self._node_command()}

    def _stream_command(self) -> list[str]:
        parameters: dict[str, object] = {}
        if self.camera_rate_hz is not None:
            parameters['rate'] = self.camera_rate_hz
        elif is_still(self.source):
            # As fast as they are processed: at twice that rate each second one would be lost.
            parameters['rate'] = RATE_HZ if self.rate_hz is None else self.rate_hz
        parameters['max_width'] = WIDEST
        parameters |= {'source': self.source, 'loop': True, 'stamps': 'now'}
        parameters['wait_for_subscribers'] = 2  # recorder and node: nobody misses the beginning
        if self.topic:
            parameters['topic'] = self.topic
        return node_command('nodes.sources.image_stream', parameters)

    def _node_command(self) -> list[str]:
        parameters: dict[str, object] = {
            'model': MODEL if self.model is None else self.model,
            'max_rate': RATE_HZ if self.rate_hz is None else self.rate_hz,
            'transport': self.transport,
        }
        if is_still(self.source):
            parameters['frozen_after'] = 0.0  # a picture that is shown again is no frozen camera
            # Pictures of a folder have nothing to do with each other.
            parameters['heatmap.range_time_constant'] = 0.0
            # Each is to be seen, unless it was asked for a camera of a rate of its own.
            if self.camera_rate_hz is None:
                parameters['process_every_frame'] = True
        return node_command('nodes.depth.node', parameters, self.parameters)


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of a plan."""

    plan: Plan
    recording: Recording
    domain: int
    started: str  # local time, ISO 8601
    first_output_s: float  # from the start of the processes to the first heatmap
    seconds: float  # recorded after the first output
    ended_by: str  # '', the name of a signal, or how the source ended
    exit_codes: dict[str, int]


# --- What the demonstration runs where no source is named: a robot that drives and avoids.
#
# From a plan follow the command lines of its processes; the robot, its camera and its avoidance
# are those of `midas_depth drive`, with larger pictures.

PICTURE = (400, 300)  # what people look at; the network makes it smaller
SPEED_M_S = 0.4
PICTURE_NOISE = 1.0  # grey levels
TIMEOUT_S = 1.6  # how old a scan may be: twice the default, so that busy machines show a drive too


# Colours in even steps for even ratios of distance, from the nearest floor in view to across a
# room: even in 1/Z, nearly all of them would be for less than the first metre and a half. The
# legend stands beside the picture.
HEATMAP: dict[str, str | float | bool] = {
    'mode': 'metric',
    'metric_near': 0.3,
    'metric_far': 6.0,
    'mapping': 'log',
    'legend': False,
}


def drive_heatmap_options(parameters: tuple[str, ...] = ()) -> HeatmapOptions | None:
    """Which colours are how far in the heatmaps of a drive, None where they are not in metres.

    parameters: further `name:=value` of depth_node. Raises ParameterFault.
    """
    given = {f'heatmap.{name}': value for name, value in HEATMAP.items()}
    given |= read_parameters('depth_node', DepthNodeSettings, [], parameters)
    settings = settings_from(DepthNodeSettings, given)
    options = settings.heatmap
    return options if options.mode == 'metric' else None


def demo_world(seed: int) -> FurnishedWorld:
    """The world that is driven through."""
    return furnished_world(seed)


def robot_radius_m() -> float:
    """Of the disc that is driven."""
    return rig.ROBOT.radius_m


def robot_heights() -> tuple[float, float]:
    """Between which heights something is in its way, in metres."""
    return rig.ROBOT.heights


def drive_commands(
    seed: int,
    model: str,
    rate_hz: float,
    camera_rate_hz: float,
    transport: str,
    parameters: tuple[str, ...] = (),
) -> dict[str, list[str]]:
    """The processes by name, in the order in which they start."""
    camera = rig.camera_parameters(False, camera_rate_hz) | {
        'robot.world': 'furnished',
        'robot.picture_noise': PICTURE_NOISE,
        'seed': seed,
        'width': PICTURE[0],
        'height': PICTURE[1],
        'transport': 'both',
    }
    depth = rig.depth_parameters(rate_hz, model) | {
        'output_size': 'input',
        'transport': transport,
        **{f'heatmap.{name}': value for name, value in HEATMAP.items()},
    }
    avoidance = rig.avoidance_parameters() | {'timeout': TIMEOUT_S}
    wishes = {'seed': seed, 'speed': SPEED_M_S}
    remapped = rig.avoidance_topics()
    return {
        'camera': node_command('nodes.sources.synthetic_camera', camera),
        'depth_node': node_command('nodes.depth.node', depth, parameters),
        'avoidance_node': [
            *node_command('nodes.avoidance.node', avoidance),
            *remapped,
        ],
        'commander': node_command('lab.drive.over_dds commander', wishes),
    }


# --- One run: the node and a camera are started, watched for a while, and ended.
#
# A `Plan` comes in, a `Run` with the recording goes out; `RunError` says in one sentence what
# went wrong, with the last lines of the log of whoever is to blame.

# --- The dashboard beside a run: started if it is there, its address told, and never in the way.

MODULE = 'midas_depth_ros.web'
HOST = '127.0.0.1'
ADDRESS = re.compile(r'https?://[^\s\'"]+')


class Dashboard:
    """One dashboard; `look()` tells its address once, followed by `hint`, or why there is none."""

    def __init__(self, children: Children, console: Console, port: int, hint: str = '') -> None:
        self._console = console
        self._hint = hint
        self._child: Child | None = None
        if not port:  # nobody wants it
            return
        if not is_there():
            self._say('No dashboard: this installation has none')
            return
        port = free_port(port)
        command = module_command('web', '--host', HOST, '--port', str(port))
        self._child = children.start('dashboard', command)

    def look(self) -> None:
        """See how it does; call it now and then."""
        child = self._child
        if child is None:
            return
        if child.exit_code is not None:
            self._child = None
            self._say(f'No dashboard: {child.status()}: {child.last_message()}')
            return
        said = [line for line in child.tail() if not line.startswith(PROMPT)]
        told = ADDRESS.search('\n'.join(said))
        if told:
            self._child = None
            self._say(f'Look at it live in a browser: {told.group().rstrip(".,;")}{self._hint}')

    def _say(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True)


def is_there() -> bool:
    """Whether the dashboard's room can be found; its libraries may still be missing."""
    return (
        importlib.util.find_spec(MODULE) is not None
        and importlib.util.find_spec(f'{MODULE}.__main__') is not None
    )


def free_port(wanted: int) -> int:
    """The port that is wanted, or any other one where that is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted


LOADING_TIMEOUT_S = 1800.0  # a model may be downloaded over a slow line
LAST_DIAGNOSTICS_TIMEOUT_S = 3.0
SPIN_S = 0.05


class RunError(Exception):
    """The run cannot go on: the reason in one sentence, and last lines of a log."""

    def __init__(self, reason: str, child: Child | None = None) -> None:
        super().__init__(printable(reason))
        self.log = child.log if child else None
        self.last_lines = child.tail() if child else []


class StoppedError(Exception):
    """A signal asked for the end before there was anything to report; its name is the text."""


def run(plan: Plan, folder: Path, console: Console) -> Run:
    """Carry a plan out; logs go to `folder`/logs.

    Raises RunError, or StoppedError when a signal came before the first output. No process is left.
    """
    logs = folder / 'logs'
    logs.mkdir(exist_ok=True)
    domain = processes.set_up_ros()
    started = time.strftime('%Y-%m-%dT%H:%M:%S%z')
    with (
        StopSignals(STOP_SIGNALS) as signals,
        Children(logs, processes.child_environment()) as children,
    ):
        begin = time.monotonic()
        essential = {name: children.start(name, c) for name, c in plan.commands().items()}
        hint = '' if plan.keep_going else ' (until the demo ends; --keep-going: until Ctrl-C)'
        look = Dashboard(children, console, plan.dashboard_port, hint).look
        with _recorder(plan) as (recorder, spin):
            watch = _Watch(plan, console, signals, essential, recorder.recording, spin, look)
            watch.wait_for_output()
            first_output_s = time.monotonic() - begin
            seconds, ended_by = watch.record()
            recorder.recording_on = False
            watch.wait_for_diagnostics()
            if plan.keep_going and not ended_by:
                watch.keep_going()
        exit_codes = children.stop()
    return Run(
        plan, recorder.recording, domain, started, first_output_s, seconds, ended_by, exit_codes
    )


@contextlib.contextmanager
def _recorder(plan: Plan) -> Iterator[tuple[Recorder, Callable[[], None]]]:
    """The recorder in a context of its own, and what lets it work for a moment."""
    drive = DriveListener() if plan.drives else None
    with processes.ros_context() as executor:
        recorder = Recorder(plan.transport, drive, context=executor.context)
        executor.add_node(recorder)
        yield recorder, lambda: executor.spin_once(timeout_sec=SPIN_S)


@dataclasses.dataclass(frozen=True)
class _Watch:
    """The phases of a run; each lets the recorder work and looks after the processes."""

    plan: Plan
    console: Console
    signals: StopSignals
    children: dict[str, Child]
    recording: Recording
    spin_once: Callable[[], None]
    look: Callable[[], None]  # after what is not essential

    @property
    def camera(self) -> Child:
        """The camera's process."""
        return self.children['camera']

    @property
    def node(self) -> Child:
        """The depth node's process."""
        return self.children['depth_node']

    def spin(self) -> None:
        """Let things work for a moment."""
        self.spin_once()
        self.look()

    def wait_for_output(self) -> None:
        """Return at the first heatmap; the time that loading a model takes is not counted."""
        begin = time.monotonic()
        ready: float | None = None
        with step(self.console, 'Waiting for the first heatmap') as update:
            while not self.recording.outputs:
                self.spin()
                now = time.monotonic()
                if self.signals.requested:
                    raise StoppedError(self.signals.requested)
                self._check_alive()
                if self.camera.exit_code == 0:
                    raise RunError(f'{self._source} ended before the first heatmap', self.camera)
                if ready is None and not self._is_loading():
                    ready = now
                self._check_time(now - begin, None if ready is None else now - ready)
                update(self._waiting_for(), now - begin)

    def record(self) -> tuple[float, str]:
        """Record for the planned time; the seconds it took, and what ended it early."""
        begin = time.monotonic()
        with self._noting_the_time(), step(self.console, 'Recording', self.plan.seconds) as update:
            while (done := time.monotonic() - begin) < self.plan.seconds:
                self.spin()
                self._check_alive()
                update(f'{self.recording.outputs} heatmaps', done)
                if self.signals.requested:
                    return done, self.signals.requested
                if self.camera.exit_code == 0:
                    return done, f'{self._source} ended'
        return done, ''

    @contextlib.contextmanager
    def _noting_the_time(self) -> Iterator[None]:
        """Of a drive's recording, when it begins and ends."""
        drive = self.recording.drive
        if drive is None:
            yield
            return
        drive.began_s = time.time()
        try:
            yield
        finally:
            drive.ended_s = time.time()

    def keep_going(self) -> None:
        """Leave the processes alone until a signal comes."""
        begin = time.monotonic()
        with step(self.console, 'Going on until Ctrl-C; the recording is complete') as update:
            while not self.signals.requested:
                self.spin()
                self._check_alive()
                update('', time.monotonic() - begin)

    def wait_for_diagnostics(self) -> None:
        """Wait for one more report of the node, so that its counters include the last frames."""
        before = self.recording.counts[DIAGNOSTICS]
        deadline = time.monotonic() + LAST_DIAGNOSTICS_TIMEOUT_S
        while self.recording.counts[DIAGNOSTICS] == before and time.monotonic() < deadline:
            self.spin()

    @property
    def _source(self) -> str:
        return f'the source {self.plan.source}' if self.plan.source else 'the robot'

    def _is_loading(self) -> bool:
        model = self.recording.statuses.get('model')
        return model is None or model.get('lifecycle state') == 'configuring'

    def _waiting_for(self) -> str:
        said = self.node.last_message()
        return f'{self.recording.pictures} pictures in' + (f'; depth_node: {said}' if said else '')

    def _check_alive(self) -> None:
        for name, child in self.children.items():
            if child.exit_code:
                raise RunError(f'{child.status()}: {child.last_message()}', child)
            if child.exit_code == 0 and name != 'camera':
                raise RunError(f'{name} ended by itself', child)

    def _check_time(self, waited_s: float, ready_s: float | None) -> None:
        limit_s = self.plan.timeout_s
        if ready_s is not None and ready_s > limit_s:
            pictures = self.recording.pictures
            said = '; '.join(self.recording.status_texts.values())
            raise RunError(
                f'no heatmap within {limit_s:g} s of the model being loaded: {pictures} pictures '
                f'came from the camera; depth_node says: {said}',
                self.node if pictures else self.camera,
            )
        if waited_s > max(LOADING_TIMEOUT_S, limit_s):
            raise RunError(f'depth_node is not ready after {waited_s:.0f} s', self.node)
