"""The parameters of `avoidance_node`, which the pure avoidance takes as they are."""

from __future__ import annotations

import dataclasses

from midas_depth_ros.options.declarations import (
    Options,
    SharedOptions,
    declared_as,
    group,
    parameter,
)

FARTHEST_SENSOR_M = 20.0  # no sensor sits so far from its robot, by parameters or by TF


@dataclasses.dataclass(frozen=True)
class SensorPlace(Options):
    """Where the scan's frame sits on the robot; TF says it where there is one, see `base_frame`."""

    x: float = parameter(
        0.0,
        'How far the origin of the scan lies before the point about which the robot turns. Counts '
        'where TF does not say it, see base_frame; 0 = a scan in a frame of that point.',
        unit='m',
        minimum=-FARTHEST_SENSOR_M,
        maximum=FARTHEST_SENSOR_M,
        live=True,
    )
    y: float = parameter(
        0.0,
        'How far it lies to the left of it; as sensor.x.',
        unit='m',
        minimum=-FARTHEST_SENSOR_M,
        maximum=FARTHEST_SENSOR_M,
        live=True,
    )
    yaw: float = parameter(
        0.0,
        'How far the x axis of the scan is turned to the left of straight ahead; as sensor.x.',
        unit='rad',
        minimum=-3.1416,
        maximum=3.1416,
        live=True,
    )
    min_range: float = parameter(
        0.0,
        "Nearer returns are the robot's own parts and count as unknown; 0 = the robot is not in "
        'view.',
        unit='m',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    blind_range: float = parameter(
        0.3,
        'What is nearer to the sensor may slip out of its view, as below a camera, and is '
        'remembered although its bearing is clear.',
        unit='m',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    zero_is_clear: bool = parameter(
        False,
        'The sensor says 0 where it saw nothing, as some lidars do; otherwise 0 is unknown.',
        live=True,
    )
    frame: str = parameter(
        '',
        'The only frame_id whose scans count; empty = that of the first scan. Scans of other '
        'frames are refused.',
        live=True,
    )


@dataclasses.dataclass(frozen=True)
class ClosenessZones(Options):
    """Zones where no metres are known; 0 = far, 1 = as near as the nearest floor in view."""

    stop: float = parameter(
        0.6,
        'Stop from this closeness of the centre on (0 = far, 1 = as near as the nearest floor in '
        'view).',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    slow: float = parameter(
        0.3,
        'Slow down from this closeness of the centre on.',
        minimum=0.001,
        maximum=10.0,
        live=True,
    )
    side_stop: float = parameter(
        0.9,
        'Stop from this closeness of the left or right on; slowing follows in proportion.',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    max_speed: float = parameter(
        0.2,
        'Fastest forward speed by closeness alone, where no braking distance is known.',
        unit='m/s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    view: float = parameter(
        1.0,
        'How wide the camera sees. A curve so tight that its inner side is never in view is turned '
        'on the spot.',
        unit='rad',
        minimum=0.1,
        maximum=3.1416,
        live=True,
    )


@dataclasses.dataclass(frozen=True)
class SteeringOptions(Options):
    """Turning toward the free gap."""

    enabled: bool = parameter(
        False,
        'Turn toward the free gap while something ahead slows or stops a forward command.',
        live=True,
    )
    max_rate: float = parameter(
        0.6,
        'Fastest turning toward the gap.',
        unit='rad/s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    max_angle: float = parameter(
        0.9,
        'How far to either side a gap is looked for.',
        unit='rad',
        minimum=0.05,
        maximum=3.0,
        live=True,
    )


def _length(default: float, text: str, maximum: float = 20.0, minimum: float = 0.0) -> float:
    value: float = parameter(default, text, unit='m', minimum=minimum, maximum=maximum, live=True)
    return value


@dataclasses.dataclass(frozen=True)
class AvoidanceSettings(Options):
    """The parameters of `avoidance_node`."""

    source: str = parameter(
        'auto',
        'What to look at: scan (metres), closeness (nothing is calibrated), or auto (scan while it '
        'is fresh, else closeness).',
        choices=('auto', 'scan', 'closeness'),
    )
    stamped: bool = parameter(False, 'cmd_vel_in and cmd_vel are TwistStamped; otherwise Twist.')
    rate: float = parameter(
        20.0, 'How often cmd_vel is sent.', unit='Hz', minimum=1.0, maximum=200.0
    )
    diagnostics_rate: float = declared_as(SharedOptions, 'diagnostics_rate')
    timeout: float = parameter(
        0.8,
        'Without a scan or closeness for so long, or with one measured so long ago, nothing goes '
        'forward.',
        unit='s',
        minimum=0.05,
        maximum=5.0,
        live=True,
    )
    command_timeout: float = parameter(
        0.5,
        'Without a command for so long the robot stops.',
        unit='s',
        minimum=0.05,
        maximum=5.0,
        live=True,
    )
    stamps: str = parameter(
        'auto',
        'Age by header stamps: auto = they must be of our clock (see other_clock; a Twist has '
        'none); require = that, without exception; ignore = by receipt alone.',
        choices=('auto', 'require', 'ignore'),
        live=True,
    )
    other_clock: bool = parameter(
        False,
        'With stamps auto: what is stamped by another clock (not at all, ahead of ours, or more '
        'than 60 s behind) is judged by when it came instead of refused. Then nobody notices what '
        'comes late.',
        live=True,
    )
    base_frame: str = parameter(
        'base_link',
        'Frame at the point about which the robot turns, x ahead. Where tf2_ros is installed, TF '
        'says where the frame of a scan lies in it; empty = sensor.x, y and yaw say it. They do '
        'also without tf2_ros, and for scans in base_frame itself.',
    )
    max_speed: float = parameter(
        1.0,
        'Fastest speed forward; faster commands are limited to it.',
        unit='m/s',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    max_turn_rate: float = parameter(
        2.0,
        'Fastest turning; faster commands are limited to it.',
        unit='rad/s',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    robot_width: float = _length(0.3, 'Width of the robot with all that stands out.', minimum=0.01)
    robot_front: float = _length(0.15, 'From the point about which the robot turns to its front.')
    robot_rear: float = _length(0.15, 'From the point about which the robot turns to its back.')
    side_margin: float = _length(0.05, 'What is kept free ahead to either side of the width.')
    stop_distance: float = _length(
        0.35,
        'Stop zone: nothing goes forward with an obstacle so near before the front. Not less than '
        'what the camera cannot see before the robot.',
        minimum=0.01,
    )
    slow_distance: float = _length(
        1.2,
        'Slow zone: up to so far before the front obstacles slow down.',
        minimum=0.02,
    )
    slow_by: str = parameter(
        'distance',
        'In the slow zone the speed follows the distance, or the time_to_contact is kept.',
        choices=('distance', 'time'),
        live=True,
    )
    time_to_contact: float = parameter(
        2.0,
        'With slow_by time: the stop zone is kept so far away in time.',
        unit='s',
        minimum=0.1,
        maximum=60.0,
        live=True,
    )
    reaction_time: float = parameter(
        0.2,
        'From cmd_vel to the first braking of the wheels. The age of the data is known besides.',
        unit='s',
        minimum=0.0,
        maximum=5.0,
        live=True,
    )
    min_speed: float = parameter(
        0.03,
        'Slowest speed that the drive can hold; the slow zone slows no further.',
        unit='m/s',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    resume_margin: float = _length(
        0.05, 'Once stopped, so much more room is wanted before going on.'
    )
    resume_delay: float = parameter(
        0.4,
        'Once stopped, the way must be free for so long before going on.',
        unit='s',
        minimum=0.0,
        maximum=60.0,
        live=True,
    )
    smallest_obstacle: float = parameter(
        0.04,
        'Where something so wide could stand unseen, between two beams or in a gap, nothing is '
        'free.',
        unit='m',
        minimum=0.01,
        maximum=1.0,
        live=True,
    )
    max_unknown: float = parameter(
        0.25,
        "Share of the beams across the corridor's width that may be unknown, one here and one "
        'there; more counts as no data, and so does a gap as wide as the smallest_obstacle.',
        minimum=0.0,
        maximum=0.99,
        live=True,
    )
    memory: float = parameter(
        3.0,
        'How long obstacles and free floor that are out of view now are remembered, carried along '
        'by the velocities sent; 0 = not at all.',
        unit='s',
        minimum=0.0,
        maximum=5.0,
        live=True,
    )
    turn_without_data: bool = parameter(
        True,
        'Turning in place is allowed without fresh data. It stops at obstacles that are known; '
        'a camera does not see beside the robot, so none are known there.',
        live=True,
    )
    allow_reverse: bool = parameter(
        True,
        'Backing up is allowed as far as it is known to be free behind: a lidar sees it, or the '
        'robot has just come from there.',
        live=True,
    )
    max_reverse_speed: float = parameter(
        0.15,
        'Fastest speed backward.',
        unit='m/s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    blind_reverse_speed: float = parameter(
        0.0,
        'Fastest speed backward where what is behind is unknown; 0 = not at all.',
        unit='m/s',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    acceleration: float = parameter(
        0.5,
        'Greatest acceleration forward or backward.',
        unit='m/s^2',
        minimum=0.01,
        maximum=100.0,
        live=True,
    )
    deceleration: float = parameter(
        0.8,
        'Deceleration for comfort, in the slow zone. A lower command is obeyed at once.',
        unit='m/s^2',
        minimum=0.01,
        maximum=100.0,
        live=True,
    )
    stop_deceleration: float = parameter(
        2.0,
        'Deceleration for a stop; used to compute braking distances.',
        unit='m/s^2',
        minimum=0.05,
        maximum=100.0,
        live=True,
    )
    angular_acceleration: float = parameter(
        3.0,
        'Greatest angular acceleration; how far it turns on before a stop is reckoned with it.',
        unit='rad/s^2',
        minimum=0.01,
        maximum=1000.0,
        live=True,
    )
    sensor: SensorPlace = group(SensorPlace)
    closeness: ClosenessZones = group(ClosenessZones)
    steering: SteeringOptions = group(SteeringOptions)

    def conflict(self) -> str:
        """Why these values do not go together; empty if they do."""
        if self.slow_distance <= self.stop_distance:
            return (
                f'slow_distance {self.slow_distance:g} is not above '
                f'stop_distance {self.stop_distance:g}'
            )
        if self.min_speed >= self.max_speed:
            return f'min_speed {self.min_speed:g} is not below max_speed {self.max_speed:g}'
        if self.closeness.slow >= self.closeness.stop:
            return (
                f'closeness.slow {self.closeness.slow:g} is not below '
                f'closeness.stop {self.closeness.stop:g}: it grows as things come nearer'
            )
        if self.sensor.x >= self.robot_front + self.stop_distance:
            return (
                f'sensor.x {self.sensor.x:g} lies beyond robot_front {self.robot_front:g} + '
                f'stop_distance {self.stop_distance:g}: the stop zone would not be in view'
            )
        return ''
