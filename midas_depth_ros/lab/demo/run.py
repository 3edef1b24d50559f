"""A run of the demo: a `Plan` gives the commands of its processes; `run` returns a `Run`."""

from __future__ import annotations

import contextlib
import dataclasses
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
from midas_depth_ros.views import HeatmapOptions

# --- What to run.

# Defaults: frames per second that the node may process, and the model.
RATE_HZ, DRIVE_RATE_HZ, DRIVE_CAMERA_RATE_HZ = 5.0, 10.0, 10.0
MODEL, DRIVE_MODEL = 'auto', 'embedded'
# Of the driving robot, which otherwise is that of `midas_depth drive`.
DRIVE_PICTURE = (400, 300)
DRIVE_SPEED_M_S = 0.4
PICTURE_NOISE = 1.0  # grey levels
SCAN_TIMEOUT_S = 1.6  # twice the default, so that the robot also drives on a busy machine
# Equal colour steps for equal ratios of distance, from the nearest floor in view to across a room:
# linear in 1/Z, nearly all colours would be used up within 1.5 m. The legend is drawn separately.
HEATMAP: dict[str, str | float | bool] = {
    'heatmap.mode': 'metric',
    'heatmap.metric_near': 0.3,
    'heatmap.metric_far': 6.0,
    'heatmap.mapping': 'log',
    'heatmap.legend': False,
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to run. The defaults of fields that are None depend on the source."""

    source: str = ''  # picture, folder, video, device number, rosbag2; '' = the driving robot
    seconds: float = 20.0  # after the first output
    model: str | None = None
    rate_hz: float | None = None  # the node's max_rate
    camera_rate_hz: float | None = None  # None: the source's own
    topic: str = ''  # of a rosbag2
    transport: str = 'raw'
    parameters: tuple[str, ...] = ()  # further name:=value of depth_node
    timeout_s: float = 30.0  # for the first output, once the model is loaded
    world: int = 0  # that the robot drives through
    dashboard_port: int = 0  # 0: none
    dashboard_host: str = '127.0.0.1'  # on which the dashboard listens
    keep_going: bool = False  # after the recording, until a signal

    @property
    def drives(self) -> bool:
        """Whether a robot drives."""
        return not self.source

    @property
    def what(self) -> str:
        """The source in words."""
        return self.source or f'a simulated robot in furnished world {self.world}'

    def commands(self) -> dict[str, list[str]]:
        """Return the commands of the processes by name, in the order in which they start."""
        if self.drives:
            return self._drive_commands()
        return {'camera': self._stream_command(), 'depth_node': self._node_command()}

    def _drive_commands(self) -> dict[str, list[str]]:
        camera_rate_hz = self.camera_rate_hz or DRIVE_CAMERA_RATE_HZ
        camera = rig.camera_parameters(False, camera_rate_hz) | {
            'robot.world': 'furnished',
            'robot.picture_noise': PICTURE_NOISE,
            'seed': self.world,
            'width': DRIVE_PICTURE[0],
            'height': DRIVE_PICTURE[1],
            'transport': 'both',
        }
        rate_hz = DRIVE_RATE_HZ if self.rate_hz is None else self.rate_hz
        model = DRIVE_MODEL if self.model is None else self.model
        depth = rig.depth_parameters(rate_hz, model) | {
            'output_size': 'input',
            'transport': self.transport,
            **HEATMAP,
        }
        avoidance = rig.avoidance_parameters() | {'timeout': SCAN_TIMEOUT_S}
        commander = {'seed': self.world, 'speed': DRIVE_SPEED_M_S}
        return {
            'camera': node_command('nodes.sources.synthetic_camera', camera),
            'depth_node': node_command('nodes.depth.node', depth, self.parameters),
            'avoidance_node': [
                *node_command('nodes.avoidance_node', avoidance),
                *rig.avoidance_topics(),
            ],
            'commander': node_command('lab.drive.over_dds commander', commander),
        }

    def _stream_command(self) -> list[str]:
        parameters: dict[str, object] = {
            'max_width': WIDEST,
            'source': self.source,
            'loop': True,
            'stamps': 'now',
            'wait_for_subscribers': 2,  # recorder and node, so that neither misses the beginning
        }
        if self.camera_rate_hz is not None:
            parameters['rate'] = self.camera_rate_hz
        elif is_still(self.source):
            # The rate at which they are processed: at a higher one some would be dropped.
            parameters['rate'] = RATE_HZ if self.rate_hz is None else self.rate_hz
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
            parameters['frozen_after'] = 0.0  # a repeated picture is not a frozen camera
            # The pictures of a folder are unrelated.
            parameters['heatmap.range_time_constant'] = 0.0
            # Process each of them, unless a camera rate was requested.
            if self.camera_rate_hz is None:
                parameters['process_every_frame'] = True
        return node_command('nodes.depth.node', parameters, self.parameters)


def drive_heatmap_options(parameters: tuple[str, ...] = ()) -> HeatmapOptions | None:
    """Return the options of the heatmaps of a drive; None where they are not in metres.

    parameters: further `name:=value` of depth_node. Raises ParameterFault.
    """
    given = HEATMAP | read_parameters('depth_node', DepthNodeSettings, [], parameters)
    options = settings_from(DepthNodeSettings, given).heatmap
    return options if options.mode == 'metric' else None


@dataclasses.dataclass(frozen=True)
class Run:
    """The result of a plan."""

    plan: Plan
    recording: Recording
    domain: int
    started: str  # local time, ISO 8601
    first_output_s: float  # from the start of the processes to the first heatmap
    seconds: float  # recorded after the first output
    ended_by: str  # '', the name of a signal, or how the source ended
    exit_codes: dict[str, int]


# --- The dashboard beside a run. Where it cannot run, the demo goes on without it.

EVERYWHERE = ('0.0.0.0', '::')
ADDRESS = re.compile(r'https?://[^\s\'"]+')


class Dashboard:
    """The dashboard's process; `look()` prints its address and `hint` once, or why it failed."""

    def __init__(
        self,
        children: Children,
        console: Console,
        port: int,
        hint: str = '',
        host: str = Plan.dashboard_host,
    ) -> None:
        self._console = console
        self._hint = hint
        self._everywhere = host in EVERYWHERE
        self._child: Child | None = None
        if port:
            command = module_command(
                'cli.dashboard', '--host', host, '--port', str(free_port(port, host))
            )
            self._child = children.start('dashboard', command)

    def look(self) -> None:
        """Check on the process; call it regularly."""
        child = self._child
        if child is None:
            return
        if child.exit_code is not None:
            self._child = None
            self._print(f'No dashboard: {child.status()}: {child.last_message()}')
            return
        lines = [line for line in child.tail() if not line.startswith(PROMPT)]
        address = ADDRESS.search('\n'.join(lines))
        if address:
            self._child = None
            shown = address.group().rstrip('.,;')
            if self._everywhere:  # its own address means little outside a container
                shown = re.sub(r'//(\[[^]]*\]|[^:/]+)', '//localhost', shown, count=1)
            self._print(f'Live view in a browser: {shown}{self._hint}')

    def _print(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True)


def free_port(wanted: int, host: str = Plan.dashboard_host) -> int:
    """Return the wanted port, or another free one if it is taken."""
    for port in (wanted, 0):
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        with socket.socket(family) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted


# --- A run: the processes are started, watched and stopped.

LOADING_TIMEOUT_S = 1800.0  # a model may be downloaded over a slow connection
LAST_DIAGNOSTICS_TIMEOUT_S = 3.0
SPIN_S = 0.05


class RunError(Exception):
    """The run failed: the reason in one sentence, and the last lines of the log of the culprit."""

    def __init__(self, reason: str, child: Child | None = None) -> None:
        super().__init__(printable(reason))
        self.log = child.log if child else None
        self.last_lines = child.tail() if child else []


class StoppedError(Exception):
    """A signal came before there was anything to report; the text is its name."""


def run(plan: Plan, folder: Path, console: Console) -> Run:
    """Carry out a plan; logs go to `folder`/logs. No process is left behind.

    Raises RunError, or StoppedError if a signal comes before the first output.
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
        port, host = plan.dashboard_port, plan.dashboard_host
        look = Dashboard(children, console, port, hint, host).look
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
    """Yield the recorder in its own ROS context, and a function that spins it once."""
    drive = DriveListener() if plan.drives else None
    with processes.ros_context() as executor:
        recorder = Recorder(plan.transport, drive, context=executor.context)
        executor.add_node(recorder)
        yield recorder, lambda: executor.spin_once(timeout_sec=SPIN_S)


@dataclasses.dataclass(frozen=True)
class _Watch:
    """The phases of a run; each spins the recorder and checks the processes."""

    plan: Plan
    console: Console
    signals: StopSignals
    children: dict[str, Child]
    recording: Recording
    spin_once: Callable[[], None]
    look: Callable[[], None]  # checks on the dashboard

    @property
    def camera(self) -> Child:
        """The camera's process."""
        return self.children['camera']

    @property
    def node(self) -> Child:
        """The depth node's process."""
        return self.children['depth_node']

    def spin(self) -> None:
        """Spin the recorder once, and check on the dashboard."""
        self.spin_once()
        self.look()

    def wait_for_output(self) -> None:
        """Wait for the first heatmap; the timeout starts when the model is loaded."""
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
        """Record for the planned time; returns the seconds, and what ended it early."""
        begin = time.monotonic()
        with self._drive_time(), step(self.console, 'Recording', self.plan.seconds) as update:
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
    def _drive_time(self) -> Iterator[None]:
        """Note the start and the end of the block in the recording of a drive."""
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
        """Keep the processes running until a signal comes."""
        begin = time.monotonic()
        with step(self.console, 'Running until Ctrl-C; the recording is complete') as update:
            while not self.signals.requested:
                self.spin()
                self._check_alive()
                update('', time.monotonic() - begin)

    def wait_for_diagnostics(self) -> None:
        """Wait for one more diagnostics message, whose counters include the last frames."""
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
        text = self.node.last_message()
        received = f'{self.recording.pictures} camera images'
        return f'{received}; depth_node: {text}' if text else received

    def _check_alive(self) -> None:
        for name, child in self.children.items():
            if child.exit_code:
                raise RunError(f'{child.status()}: {child.last_message()}', child)
            if child.exit_code == 0 and name != 'camera':
                raise RunError(f'{name} ended unexpectedly', child)

    def _check_time(self, waited_s: float, ready_s: float | None) -> None:
        limit_s = self.plan.timeout_s
        if ready_s is not None and ready_s > limit_s:
            pictures = self.recording.pictures
            status = '; '.join(self.recording.status_texts.values())
            raise RunError(
                f'no heatmap within {limit_s:g} s of loading the model: {pictures} images received '
                f'from the camera; depth_node reports: {status}',
                self.node if pictures else self.camera,
            )
        if waited_s > max(LOADING_TIMEOUT_S, limit_s):
            raise RunError(f'depth_node was not ready after {waited_s:.0f} s', self.node)
