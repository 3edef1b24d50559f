"""Drives in real time: robot with camera, depth node and avoidance node are processes over DDS.

    python -m midas_depth_ros.lab.drive.over_dds commander|exact_depth_node [--ros-args ...]

runs one of the nodes that exist for drives only. The worlds are driven without avoidance first,
before the avoidance node is started, which publishes on cmd_vel as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from numpy.typing import NDArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import LaserScan
from std_srvs.srv import Trigger

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.images import NANOSECONDS, stamp_ns
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.by_hand import Help, Person
from midas_depth_ros.lab.drive.in_process import Commander
from midas_depth_ros.lab.drive.rig import (
    DriveError,
    DrivePlan,
    MetresTally,
    WorldResult,
    drive_line,
)
from midas_depth_ros.lab.processes import STOP_SIGNALS, Children, node_command
from midas_depth_ros.nodes.ros.parameters import ParameterServer, printed_help
from midas_depth_ros.nodes.ros.quality_of_service import make_subscription
from midas_depth_ros.nodes.ros.spinning import StopSignals, run_node
from midas_depth_ros.options.declarations import parameter
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import WORLDS, DriveOutcome
from midas_depth_ros.sim.robot.robot import unpacked

# --- The node that sends the commands, resets the robot between drives, and reads the outcome.

CAMERA_NODE = 'synthetic_camera'
STATUS = 'synthetic_camera: drive'
CAMERA_STATUS = f'depth_node: camera {rig.CAMERA}'
SERVICE_TIMEOUT_S = 30.0
OUTCOME_TIMEOUT_S = 5.0
SETTLE_S = 1.2  # until scans of the previous world are too old to be used
OUTCOME_S = 0.6  # until the last outcome has been received
PERIOD_S = 0.05


class RobotNotResponding(Exception):
    """The robot does not respond; the text says which part and for how long."""


@dataclasses.dataclass(frozen=True)
class Counted:
    """How many frames the depth node had processed at a stamp (s), and how many scans had come."""

    stamp_s: float
    frames: int
    scans: int

    def since(self, first: Counted) -> MetresTally:
        """Return what has come since; nobody here can judge whether its metres are right."""
        frames = self.frames - first.frames
        scans = min(self.scans - first.scans, frames)  # the last one may not be counted yet
        return MetresTally(frames, scans, 0, scans, self.stamp_s - first.stamp_s)


class DriveNode(Node):
    """Drives the robot. `work` spins it once, and raises if a process has ended."""

    def __init__(self, work: Callable[[], None] = lambda: None, **kwargs: Any) -> None:
        super().__init__('midas_depth_drive', **kwargs)
        self.work = work
        self.values: dict[str, str] = {}  # the last outcome, from diagnostics
        self._set_parameters = self.create_client(SetParameters, f'{CAMERA_NODE}/set_parameters')
        self._reset_robot = self.create_client(Trigger, f'{CAMERA_NODE}/reset')
        # By `avoiding`: without avoidance, commands go directly to the robot.
        self._velocities = {
            True: self.create_publisher(Twist, 'cmd_vel_in', 1),
            False: self.create_publisher(Twist, 'cmd_vel', 1),
        }
        make_subscription(
            self, DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=10)
        )
        self.person: Person | None = None
        self._around: LaserScan | None = None  # what a person sees
        self._scans = 0
        self._counted: list[Counted] = []  # in this drive

    def watch(self, by_hand: bool) -> None:
        """Subscribe to the scans, and to what a person needs who drives by hand."""
        if by_hand:
            newest = QoSProfile(depth=1)
            make_subscription(self, LaserScan, 'ground_truth/scan', self._on_around, newest)
        every = QoSProfile(depth=10)
        make_subscription(self, LaserScan, f'{rig.CAMERA}/scan', self._on_scan, every)

    @property
    def tally(self) -> MetresTally:
        """Frames and frames with metres in the last drive, between two reports of the node."""
        counted = self._counted
        return counted[-1].since(counted[0]) if counted else MetresTally()

    def drive(
        self, seed: int, speed_m_s: float, seconds: float, avoiding: bool, helped: bool = False
    ) -> DriveOutcome:
        """Put the robot into a world, and drive until the first collision or fall at most.

        helped: by `person`, anew in each drive, while it has no metres.
        """
        self._enter_world(seed)
        self.wait(SETTLE_S)
        commander = Commander(seed, speed_m_s, seconds)
        velocity = self._velocities[avoiding]
        self._counted = []
        begin = time.monotonic()
        self.person = Person(begin, rig.ROBOT.radius_m) if helped else None
        while (done := time.monotonic() - begin) < seconds:
            outcome = self.outcome()
            if outcome.collisions or outcome.falls:
                break
            by_hand = self._by_hand()
            if by_hand is None:
                velocity.publish(_twist(*commander.command(done)))
            elif any(by_hand):  # past the avoidance, which is silent without commands
                self._velocities[False].publish(_twist(*by_hand))
            self.wait(PERIOD_S)
        velocity.publish(_twist(0.0, 0.0))
        self.wait(OUTCOME_S)
        return self.outcome()

    def _by_hand(self) -> tuple[float, float] | None:
        around = self._around
        if self.person is None or around is None:
            return None
        ranges = np.array(around.ranges)
        bearings = around.angle_min + around.angle_increment * np.arange(len(ranges))
        driven_m = self.outcome().distance_m
        return self.person.command(time.monotonic(), bearings, ranges, driven_m)

    def _on_around(self, message: LaserScan) -> None:
        self._around = message

    def _on_scan(self, message: LaserScan) -> None:
        self._scans += 1
        if self.person is not None:
            self.person.see_metres(time.monotonic())

    def outcome(self) -> DriveOutcome:
        """Return the last outcome that the robot has published."""
        values = self.values
        return DriveOutcome(
            int(values['collisions']),
            float(values['distance_m']),
            float(values['turned_rad']),
            int(values['stops']),
            float(values['min_clearance_m']),
            float(values['seconds']),
            int(values['falls']),
        )

    def wait(self, seconds: float) -> None:
        """Keep working for some seconds."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.work()

    def wait_until(self, met: Callable[[], Any], timeout_s: float, what: str) -> None:
        """Keep working until a condition holds. Raises RobotNotResponding."""
        begin = time.monotonic()
        while not met():
            if time.monotonic() - begin > timeout_s:
                raise RobotNotResponding(f'timeout: waited {timeout_s:.0f} s for {what}')
            self.work()

    def _enter_world(self, seed: int) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        request = SetParameters.Request(parameters=[Parameter(name='seed', value=value)])
        result = self._called(self._set_parameters, request).results[0]
        if not result.successful:
            raise RobotNotResponding(f'{CAMERA_NODE} rejected world {seed}: {result.reason}')
        before = self.values.get('drive')
        self._called(self._reset_robot, Trigger.Request())
        self.wait_until(
            lambda: self.values.get('drive') != before and self.values.get('world') == str(seed),
            OUTCOME_TIMEOUT_S,
            f'the outcome of world {seed}',
        )

    def _called(self, client: Any, request: Any) -> Any:
        self.wait_until(
            client.service_is_ready, SERVICE_TIMEOUT_S, f'the service {client.srv_name}'
        )
        future = client.call_async(request)
        self.wait_until(future.done, SERVICE_TIMEOUT_S, f'the response of {client.srv_name}')
        return future.result()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if status.name == STATUS:
                self.values = values
            elif status.name == CAMERA_STATUS:
                stamp_s = stamp_ns(message.header) / NANOSECONDS
                frames = int(values['frames processed'])
                self._counted.append(Counted(stamp_s, frames, self._scans))


def _twist(speed_m_s: float, turn_rad_s: float) -> Twist:
    message = Twist()
    message.linear.x, message.angular.z = speed_m_s, turn_rad_s
    return message


# --- The drives of a plan.

SPIN_S = 0.01
LOADING_TIMEOUT_S = 1800.0  # a model may be downloaded over a slow connection
Report = Callable[[str], None]


class DriveStopped(Exception):
    """A signal asked the drive to stop; the text is its name."""


class Seen(NamedTuple):
    """By world: what a person did, and how many frames had metres."""

    helps: dict[int, Help]
    tallies: dict[int, MetresTally]


def drive_over_dds(plan: DrivePlan, logs: Path, report: Report) -> list[WorldResult]:
    """Drive through all worlds of a plan. Raises DriveError or DriveStopped. No process is left."""
    processes.set_up_ros()
    outcomes: dict[bool, dict[int, DriveOutcome]] = {False: {}, True: {}}
    seen = Seen({}, {})
    with (
        StopSignals(STOP_SIGNALS) as signals,
        Children(logs, processes.child_environment()) as children,
        _drive_node() as (driver, spin),
    ):

        def work() -> None:
            spin()
            if signals.requested:
                raise DriveStopped(signals.requested)
            ended = children.ended()
            if ended is not None:
                raise DriveError(f'{ended.status()}: {ended.last_message()} (log: {ended.log})')

        driver.work = work
        _start(children, plan, 'synthetic_camera', 'nodes.sources.synthetic_camera')
        try:
            if plan.blind:
                outcomes[False] = _drive_all(plan, driver, False, report, seen)
            if plan.avoiding:
                _start_avoidance(plan, children)
                driver.wait_until(
                    lambda: (
                        driver.count_publishers('cmd_vel') > 1
                        and driver.count_publishers(f'{rig.CAMERA}/scan') > 0
                    ),
                    LOADING_TIMEOUT_S,
                    'the depth node and the avoidance node',
                )
                driver.watch(by_hand=plan.by_odometry)
                outcomes[True] = _drive_all(plan, driver, True, report, seen)
        except RobotNotResponding as error:
            raise DriveError(str(error)) from error
    return [
        WorldResult(
            seed,
            WORLDS[plan.worlds_are](seed).kind,
            outcomes[True].get(seed),
            outcomes[False].get(seed),
            seen.helps.get(seed),
            seen.tallies.get(seed),
        )
        for seed in plan.seeds
    ]


def _drive_all(
    plan: DrivePlan, driver: DriveNode, avoiding: bool, report: Report, seen: Seen
) -> dict[int, DriveOutcome]:
    outcomes, helped = {}, avoiding and plan.by_odometry
    for seed in plan.seeds:
        how = plan.speed_m_s, plan.seconds, avoiding, helped
        outcomes[seed] = outcome = driver.drive(seed, *how)
        if avoiding:
            seen.tallies[seed] = driver.tally
        if driver.person is not None:
            seen.helps[seed] = driver.person.help
        report(drive_line(seed, outcome, avoiding))
    return outcomes


def _start_avoidance(plan: DrivePlan, children: Children) -> None:
    exact = plan.depth == 'exact'
    depth_node = 'lab.drive.over_dds exact_depth_node' if exact else 'nodes.depth.node'
    _start(children, plan, 'depth_node', depth_node)
    _start(children, plan, 'avoidance_node', 'nodes.avoidance_node', rig.avoidance_topics())


def _start(
    children: Children, plan: DrivePlan, name: str, module: str, remappings: Sequence[str] = ()
) -> None:
    command = node_command(module, rig.node_parameters(plan)[name])
    children.start(name, [*command, *remappings])


@contextlib.contextmanager
def _drive_node() -> Iterator[tuple[DriveNode, Callable[[], None]]]:
    """Yield the driving node in its own ROS context, and a function that spins it once."""
    with processes.ros_context() as executor:
        driver = DriveNode(context=executor.context)
        executor.add_node(driver)
        yield driver, lambda: executor.spin_once(timeout_sec=SPIN_S)


# --- The process that commands the robot of the demo.

COMMAND_PERIOD_S = 0.05
REPEAT_S = 600.0  # then the commands repeat


@dataclasses.dataclass(frozen=True)
class CommanderSettings:
    """The commands."""

    speed: float = parameter(0.4, 'Forward speed.', unit='m/s', minimum=0.0, maximum=5.0)
    seed: int = parameter(0, 'Which turns.', minimum=0, maximum=2_147_483_647)


class CommanderNode(Node):
    """Publishes the commands of `Commander` on cmd_vel_in until it is stopped."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__('commander', **node_options)
        try:
            settings = ParameterServer(self, CommanderSettings).current
        except ValueError:
            self.destroy_node()
            raise
        self._commander = Commander(settings.seed, settings.speed, REPEAT_S)
        self._begin_s = time.monotonic()
        self._velocity = self.create_publisher(Twist, 'cmd_vel_in', 1)
        self.create_timer(COMMAND_PERIOD_S, self._on_timer)

    def _on_timer(self) -> None:
        message = Twist()
        time_s = (time.monotonic() - self._begin_s) % REPEAT_S
        message.linear.x, message.angular.z = self._commander.command(time_s)
        self._velocity.publish(message)


def run_commander() -> int:
    """Run the node; returns the exit code."""
    if printed_help('commander', CommanderSettings, CommanderNode.__doc__):
        return 0
    return run_node(CommanderNode)


# --- depth_node with a perfect network.

NOTICE = 'For evaluation: depth comes from the simulation, not from the picture.'


class Unpacker:
    """Stands in for a network."""

    name = 'unpacked'
    precision = 'f32'
    choice = ''

    def preprocess(self, rgb: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return the relative inverse depth that is packed in a picture, (H, W) float32."""
        return unpacked(rgb).astype(np.float32)

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the same."""
        return network_input

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class ExactEstimator(DepthEstimator):
    """depth_node with a perfect network: it unpacks the depth that `synthetic_camera` has packed.

    For evaluation only: everything but the network is the real node. Its input is pictures of
    `robot.pictures: packed_depth`, which are not judged as pictures.
    """

    of_pictures = False


def exact_estimator(settings: DepthNodeSettings) -> DepthEstimator:
    """Return the estimator for a depth node that is fed packed depth."""
    return ExactEstimator('exact', Unpacker(), NOTICE)


def run_exact_depth_node() -> int:
    """Run the node; returns the exit code."""
    if printed_help('exact_depth_node', DepthNodeSettings, ExactEstimator.__doc__):
        return 0
    from midas_depth_ros.nodes.depth.node import DepthNode  # the commander does without

    return run_node(lambda: DepthNode(exact_estimator))


NODES = {'commander': run_commander, 'exact_depth_node': run_exact_depth_node}

if __name__ == '__main__':
    sys.exit(NODES[sys.argv[1]]())
