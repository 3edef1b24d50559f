"""The parameters of `avoidance_node`, which the pure avoidance code uses directly."""

from __future__ import annotations

import dataclasses
import functools

from midas_depth_ros.options.declarations import (
    Options,
    SharedOptions,
    declared_as,
    group,
    live_parameter,
    parameter,
)

FARTHEST_SENSOR_M = 20.0  # of a sensor from its robot, by parameters or by TF

_length = functools.partial(live_parameter, unit='m', minimum=0.0, maximum=20.0)
_speed = functools.partial(live_parameter, unit='m/s', minimum=0.0, maximum=10.0)
_duration = functools.partial(live_parameter, unit='s')


@dataclasses.dataclass(frozen=True)
class SensorPlace(Options):
    """Where the scan's frame is mounted on the robot; TF takes precedence, see `base_frame`."""

    x: float = _length(
        0.0,
        'Position of the origin of the scan ahead of the turning centre of the robot. Used where '
        'TF does not give it, see base_frame; 0 = the scan is in a frame at the turning centre.',
        minimum=-FARTHEST_SENSOR_M,
        maximum=FARTHEST_SENSOR_M,
    )
    y: float = _length(
        0.0,
        'Position of the origin of the scan to the left; see sensor.x.',
        minimum=-FARTHEST_SENSOR_M,
        maximum=FARTHEST_SENSOR_M,
    )
    yaw: float = live_parameter(
        0.0,
        'Angle of the x axis of the scan to the left of straight ahead; see sensor.x.',
        unit='rad',
        minimum=-3.1416,
        maximum=3.1416,
    )
    min_range: float = _length(
        0.0,
        "Nearer returns are the robot's own parts and count as unknown; 0 = the robot is not in "
        'view.',
        maximum=10.0,
    )
    blind_range: float = _length(
        0.3,
        'Obstacles nearer to the sensor may leave its view, as below a camera, so they are '
        'remembered although their bearing is clear.',
        maximum=10.0,
    )
    zero_is_clear: bool = live_parameter(
        False, 'The sensor reports 0 where it sees nothing, as some lidars do; else 0 is unknown.'
    )
    frame: str = live_parameter(
        '',
        'The only accepted frame_id of scans; empty = that of the first scan. Scans in other '
        'frames are rejected.',
    )


@dataclasses.dataclass(frozen=True)
class ClosenessZones(Options):
    """Zones without metres; 0 = far, 1 = as near as the nearest floor in view."""

    stop: float = live_parameter(
        0.6,
        'Stop from this closeness in the centre (0 = far, 1 = as near as the nearest floor in '
        'view).',
        minimum=0.01,
        maximum=10.0,
    )
    slow: float = live_parameter(
        0.3, 'Slow down from this closeness in the centre.', minimum=0.001, maximum=10.0
    )
    side_stop: float = live_parameter(
        0.9,
        'Stop from this closeness on the left or right; slowing down follows in proportion.',
        minimum=0.01,
        maximum=10.0,
    )
    max_speed: float = _speed(
        0.2, 'Fastest forward speed by closeness alone, where braking distances are unknown.'
    )
    view: float = live_parameter(
        1.0,
        'Horizontal field of view of the camera. A curve so tight that its inner side is never in '
        'view becomes a turn in place.',
        unit='rad',
        minimum=0.1,
        maximum=3.1416,
    )


@dataclasses.dataclass(frozen=True)
class SteeringOptions(Options):
    """Turning toward the free gap."""

    enabled: bool = live_parameter(
        False,
        'Turn toward the free gap while an obstacle ahead slows or stops a forward command.',
    )
    max_rate: float = live_parameter(
        0.6, 'Fastest turning toward the gap.', unit='rad/s', minimum=0.0, maximum=10.0
    )
    max_angle: float = live_parameter(
        0.9,
        'How far to either side to look for a gap.',
        unit='rad',
        minimum=0.05,
        maximum=3.0,
    )


@dataclasses.dataclass(frozen=True)
class AvoidanceSettings(Options):
    """The parameters of `avoidance_node`."""

    source: str = parameter(
        'auto',
        'Input: scan (metres), closeness (without calibration), or auto (scan while it is fresh, '
        'else closeness).',
        choices=('auto', 'scan', 'closeness'),
    )
    stamped: bool = parameter(False, 'cmd_vel_in and cmd_vel are TwistStamped; otherwise Twist.')
    rate: float = parameter(
        20.0, 'Publishing rate of cmd_vel.', unit='Hz', minimum=1.0, maximum=200.0
    )
    diagnostics_rate: float = declared_as(SharedOptions, 'diagnostics_rate')
    timeout: float = _duration(
        0.8,
        'The robot does not go forward if the last scan or closeness was received, or measured, '
        'longer ago than this.',
        minimum=0.05,
        maximum=5.0,
    )
    command_timeout: float = _duration(
        0.5, 'The robot stops after this long without a command.', minimum=0.05, maximum=5.0
    )
    stamps: str = live_parameter(
        'auto',
        'Age by header stamps: auto = stamps must be of our clock (see other_clock; a Twist has '
        'none); require = likewise, without exception; ignore = by receipt alone.',
        choices=('auto', 'require', 'ignore'),
    )
    other_clock: bool = live_parameter(
        False,
        'With stamps auto: messages without a stamp of our clock (none, in the future, or more '
        'than 60 s old) are judged by their receipt instead of rejected. Delays are then not '
        'noticed.',
    )
    base_frame: str = parameter(
        'base_link',
        'Frame at the turning centre of the robot, x ahead. With tf2_ros installed, TF gives the '
        'position of a scan in it; empty = sensor.x, y and yaw give it, as they do without '
        'tf2_ros, and for scans in base_frame itself.',
    )
    max_speed: float = _speed(
        1.0, 'Fastest speed forward; faster commands are limited to it.', minimum=0.01
    )
    max_turn_rate: float = live_parameter(
        2.0,
        'Fastest turning; faster commands are limited to it.',
        unit='rad/s',
        minimum=0.01,
        maximum=10.0,
    )
    robot_width: float = _length(
        0.3, 'Width of the robot including all protruding parts.', minimum=0.01
    )
    robot_front: float = _length(0.15, 'From the turning centre of the robot to its front.')
    robot_rear: float = _length(0.15, 'From the turning centre of the robot to its back.')
    side_margin: float = _length(0.05, 'Free margin to either side of the width.')
    stop_distance: float = _length(
        0.35,
        'Stop zone: the robot does not go forward with an obstacle this near to its front. At '
        'least the distance in front of the robot that the camera cannot see.',
        minimum=0.01,
    )
    slow_distance: float = _length(
        1.2,
        'Slow zone: obstacles up to this far from the front slow the robot down.',
        minimum=0.02,
    )
    slow_by: str = live_parameter(
        'distance',
        'In the slow zone the speed follows the distance, or keeps the time_to_contact.',
        choices=('distance', 'time'),
    )
    time_to_contact: float = _duration(
        2.0, 'With slow_by time: the time to the stop zone to keep.', minimum=0.1, maximum=60.0
    )
    reaction_time: float = _duration(
        0.2,
        'Delay from cmd_vel to the first braking of the wheels, without the age of the data. A '
        'period of the node, 1 / rate, is added.',
        minimum=0.0,
        maximum=5.0,
    )
    min_speed: float = _speed(
        0.03,
        'Slowest speed that the drive can hold; the slow zone slows no further.',
        maximum=1.0,
    )
    resume_margin: float = _length(
        0.05, 'Additional free distance required to resume after a stop.'
    )
    resume_delay: float = _duration(
        0.4,
        'How long the way must be free to resume after a stop.',
        minimum=0.0,
        maximum=60.0,
    )
    smallest_obstacle: float = _length(
        0.04,
        'A place where an obstacle this wide could stand unseen, between two beams or in a gap, is '
        'not free.',
        minimum=0.01,
        maximum=1.0,
    )
    max_unknown: float = live_parameter(
        0.25,
        "Share of the beams across the corridor's width that may be unknown if they are scattered; "
        'more counts as no data, and so does a gap as wide as smallest_obstacle.',
        minimum=0.0,
        maximum=0.99,
    )
    memory: float = _duration(
        3.0,
        'How long obstacles and free floor that left the view are remembered, moved by the '
        'velocities sent; 0 = not at all.',
        minimum=0.0,
        maximum=5.0,
    )
    turn_without_data: bool = live_parameter(
        True,
        'Allow turning in place without fresh data. It stops at known obstacles; a camera does not '
        'see beside the robot, so none are known there.',
    )
    allow_reverse: bool = live_parameter(
        True,
        'Allow driving backward as far as the space behind is known to be free: a lidar sees it, '
        'or the robot has just come from there.',
    )
    max_reverse_speed: float = _speed(0.15, 'Fastest speed backward.')
    blind_reverse_speed: float = _speed(
        0.0, 'Fastest speed backward into unknown space; 0 = not at all.', maximum=1.0
    )
    acceleration: float = live_parameter(
        0.5,
        'Greatest acceleration forward or backward.',
        unit='m/s^2',
        minimum=0.01,
        maximum=100.0,
    )
    deceleration: float = live_parameter(
        0.8,
        'Comfortable deceleration, in the slow zone. A lower command is obeyed at once.',
        unit='m/s^2',
        minimum=0.01,
        maximum=100.0,
    )
    stop_deceleration: float = live_parameter(
        2.0,
        'Deceleration for a stop; used to compute braking distances.',
        unit='m/s^2',
        minimum=0.05,
        maximum=100.0,
    )
    angular_acceleration: float = live_parameter(
        3.0,
        'Greatest angular acceleration; used to compute how far the robot turns before a stop.',
        unit='rad/s^2',
        minimum=0.01,
        maximum=1000.0,
    )
    sensor: SensorPlace = group(SensorPlace)
    closeness: ClosenessZones = group(ClosenessZones)
    steering: SteeringOptions = group(SteeringOptions)

    @property
    def response_s(self) -> float:
        """How long (s) the robot drives on after its node has decided: until the next decision can
        be another, and then until the wheels brake.
        """
        return 1.0 / self.rate + self.reaction_time

    def conflict(self) -> str:
        """Return why these values contradict each other, '' if they do not."""
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
                f'closeness.stop {self.closeness.stop:g}: it grows as obstacles come nearer'
            )
        if self.sensor.x >= self.robot_front + self.stop_distance:
            return (
                f'sensor.x {self.sensor.x:g} lies beyond robot_front {self.robot_front:g} + '
                f'stop_distance {self.stop_distance:g}: the stop zone would not be in view'
            )
        return ''


@dataclasses.dataclass(frozen=True)
class ObstacleDistanceSettings(Options):
    """The parameters of `obstacle_distance_node`."""

    autopilot: str = parameter(
        'mavros',
        'Type of the topic obstacle_distance: mavros = sensor_msgs/LaserScan for the plugin of '
        'mavros (remap to /mavros/obstacle/send); px4 = px4_msgs/ObstacleDistance (remap to '
        '/fmu/in/obstacle_distance; needs px4_msgs).',
        choices=('mavros', 'px4'),
    )
    sensor_yaw: float = live_parameter(
        0.0,
        'Angle of the x axis of the scan to the left of straight ahead of the vehicle.',
        unit='rad',
        minimum=-3.1416,
        maximum=3.1416,
    )
    timeout: float = _duration(
        0.8,
        'Scans that were measured longer ago than this, by a stamp of our clock, are refused, as '
        'are those whose stamp stands still: to an autopilot whatever arrives is new.',
        minimum=0.05,
        maximum=5.0,
    )
