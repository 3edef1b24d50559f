"""The parameters of `avoidance_node`; their defaults are those of the pure avoidance."""

from __future__ import annotations

import dataclasses

from midas_depth_ros.avoidance import AvoidanceOptions, ClosenessZones, SensorPlace, SteeringOptions
from midas_depth_ros.options.declarations import group, parameter

DEFAULT = AvoidanceOptions()


@dataclasses.dataclass(frozen=True)
class SensorParameters:
    """Where the scan's frame sits on the robot; the same fields as `control.SensorPlace`.

    TF says it where there is one, see `base_frame`.
    """

    x: float = parameter(
        DEFAULT.sensor.x,
        'How far the origin of the scan lies before the point about which the robot turns. Counts '
        'where TF does not say it, see base_frame; 0 = a scan in a frame of that point.',
        unit='m',
        minimum=-5.0,
        maximum=5.0,
        live=True,
    )
    y: float = parameter(
        DEFAULT.sensor.y,
        'How far it lies to the left of it; as sensor.x.',
        unit='m',
        minimum=-5.0,
        maximum=5.0,
        live=True,
    )
    yaw: float = parameter(
        DEFAULT.sensor.yaw,
        'How far the x axis of the scan is turned to the left of straight ahead; as sensor.x.',
        unit='rad',
        minimum=-3.1416,
        maximum=3.1416,
        live=True,
    )
    min_range: float = parameter(
        DEFAULT.sensor.min_range,
        "Nearer returns are the robot's own parts and count as unknown; 0 = the robot is not in "
        'view.',
        unit='m',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    blind_range: float = parameter(
        DEFAULT.sensor.blind_range,
        'What is nearer to the sensor may slip out of its view, as below a camera, and is '
        'remembered although its bearing is clear.',
        unit='m',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    zero_is_clear: bool = parameter(
        DEFAULT.sensor.zero_is_clear,
        'The sensor says 0 where it saw nothing, as some lidars do; otherwise 0 is unknown.',
        live=True,
    )
    frame: str = parameter(
        DEFAULT.sensor.frame,
        'The only frame_id whose scans count; empty = that of the first scan. Scans of other '
        'frames are refused.',
        live=True,
    )


@dataclasses.dataclass(frozen=True)
class ClosenessParameters:
    """Zones without metres; the same fields as `control.ClosenessZones`."""

    stop: float = parameter(
        DEFAULT.closeness.stop,
        'Stop from this closeness of the centre on (0 = far, 1 = as near as the nearest floor in '
        'view).',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    slow: float = parameter(
        DEFAULT.closeness.slow,
        'Slow down from this closeness of the centre on.',
        minimum=0.001,
        maximum=10.0,
        live=True,
    )
    side_stop: float = parameter(
        DEFAULT.closeness.side_stop,
        'Stop from this closeness of the left or right on; slowing follows in proportion.',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    max_speed: float = parameter(
        DEFAULT.closeness.max_speed,
        'Fastest forward speed by closeness alone, where no braking distance is known.',
        unit='m/s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    view: float = parameter(
        DEFAULT.closeness.view,
        'How wide the camera sees. A curve so tight that its inner side is never in view is turned '
        'on the spot.',
        unit='rad',
        minimum=0.1,
        maximum=3.1416,
        live=True,
    )


@dataclasses.dataclass(frozen=True)
class SteeringParameters:
    """Turning toward the free gap; the same fields as `control.SteeringOptions`."""

    enabled: bool = parameter(
        DEFAULT.steering.enabled,
        'Turn toward the free gap while something ahead slows or stops a forward command.',
        live=True,
    )
    max_rate: float = parameter(
        DEFAULT.steering.max_rate,
        'Fastest turning toward the gap.',
        unit='rad/s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    max_angle: float = parameter(
        DEFAULT.steering.max_angle,
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
class AvoidanceSettings:
    """The parameters of `avoidance_node`."""

    source: str = parameter(
        DEFAULT.source,
        'What to look at: scan (metres), closeness (nothing is calibrated), or auto (scan while it '
        'is fresh, else closeness).',
        choices=('auto', 'scan', 'closeness'),
    )
    stamped: bool = parameter(False, 'cmd_vel_in and cmd_vel are TwistStamped; otherwise Twist.')
    rate: float = parameter(
        20.0, 'How often cmd_vel is sent.', unit='Hz', minimum=1.0, maximum=200.0
    )
    diagnostics_rate: float = parameter(
        1.0, 'How often /diagnostics is published.', unit='Hz', minimum=0.1, maximum=100.0
    )
    timeout: float = parameter(
        DEFAULT.timeout,
        'Without a scan or closeness for so long, or with one measured so long ago, nothing goes '
        'forward.',
        unit='s',
        minimum=0.05,
        maximum=5.0,
        live=True,
    )
    command_timeout: float = parameter(
        DEFAULT.command_timeout,
        'Without a command for so long the robot stops.',
        unit='s',
        minimum=0.05,
        maximum=5.0,
        live=True,
    )
    stamps: str = parameter(
        DEFAULT.stamps,
        'Age by header stamps: auto = they must be of our clock (see other_clock; a Twist has '
        'none); require = that, without exception; ignore = by receipt alone.',
        choices=('auto', 'require', 'ignore'),
        live=True,
    )
    other_clock: bool = parameter(
        DEFAULT.other_clock,
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
        DEFAULT.max_speed,
        'Fastest speed forward; faster commands are limited to it.',
        unit='m/s',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    max_turn_rate: float = parameter(
        DEFAULT.max_turn_rate,
        'Fastest turning; faster commands are limited to it.',
        unit='rad/s',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    robot_width: float = _length(
        DEFAULT.robot_width, 'Width of the robot with all that stands out.', minimum=0.01
    )
    robot_front: float = _length(
        DEFAULT.robot_front, 'From the point about which the robot turns to its front.'
    )
    robot_rear: float = _length(
        DEFAULT.robot_rear, 'From the point about which the robot turns to its back.'
    )
    side_margin: float = _length(
        DEFAULT.side_margin, 'What is kept free ahead to either side of the width.'
    )
    stop_distance: float = _length(
        DEFAULT.stop_distance,
        'Stop zone: nothing goes forward with an obstacle so near before the front. Not less than '
        'what the camera cannot see before the robot.',
        minimum=0.01,
    )
    slow_distance: float = _length(
        DEFAULT.slow_distance,
        'Slow zone: up to so far before the front obstacles slow down.',
        minimum=0.02,
    )
    slow_by: str = parameter(
        DEFAULT.slow_by,
        'In the slow zone the speed follows the distance, or the time_to_contact is kept.',
        choices=('distance', 'time'),
        live=True,
    )
    time_to_contact: float = parameter(
        DEFAULT.time_to_contact,
        'With slow_by time: the stop zone is kept so far away in time.',
        unit='s',
        minimum=0.1,
        maximum=60.0,
        live=True,
    )
    reaction_time: float = parameter(
        DEFAULT.reaction_time,
        'From cmd_vel to the first braking of the wheels. The age of the data is known besides.',
        unit='s',
        minimum=0.0,
        maximum=5.0,
        live=True,
    )
    min_speed: float = parameter(
        DEFAULT.min_speed,
        'Slowest speed that the drive can hold; the slow zone slows no further.',
        unit='m/s',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    resume_margin: float = _length(
        DEFAULT.resume_margin, 'Once stopped, so much more room is wanted before going on.'
    )
    resume_delay: float = parameter(
        DEFAULT.resume_delay,
        'Once stopped, the way must be free for so long before going on.',
        unit='s',
        minimum=0.0,
        maximum=60.0,
        live=True,
    )
    smallest_obstacle: float = parameter(
        DEFAULT.smallest_obstacle,
        'Where something so wide could stand unseen, between two beams or in a gap, nothing is '
        'free.',
        unit='m',
        minimum=0.01,
        maximum=1.0,
        live=True,
    )
    max_unknown: float = parameter(
        DEFAULT.max_unknown,
        "Share of the beams across the corridor's width that may be unknown, one here and one "
        'there; more counts as no data, and so does a gap as wide as the smallest_obstacle.',
        minimum=0.0,
        maximum=0.99,
        live=True,
    )
    memory: float = parameter(
        DEFAULT.memory,
        'How long obstacles and free floor that are out of view now are remembered, carried along '
        'by the velocities sent; 0 = not at all.',
        unit='s',
        minimum=0.0,
        maximum=5.0,
        live=True,
    )
    turn_without_data: bool = parameter(
        DEFAULT.turn_without_data,
        'Turning in place is allowed without fresh data. It stops at obstacles that are known; '
        'where nothing is observed beside the robot, as a camera does not, none are.',
        live=True,
    )
    allow_reverse: bool = parameter(
        DEFAULT.allow_reverse,
        'Backing up is allowed as far as it is known to be free behind: a lidar sees it, or the '
        'robot has just come from there.',
        live=True,
    )
    max_reverse_speed: float = parameter(
        DEFAULT.max_reverse_speed,
        'Fastest speed backward.',
        unit='m/s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    blind_reverse_speed: float = parameter(
        DEFAULT.blind_reverse_speed,
        'Fastest speed backward where what is behind is unknown; 0 = not at all.',
        unit='m/s',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    acceleration: float = parameter(
        DEFAULT.acceleration,
        'Greatest acceleration forward or backward.',
        unit='m/s^2',
        minimum=0.01,
        maximum=100.0,
        live=True,
    )
    deceleration: float = parameter(
        DEFAULT.deceleration,
        'Deceleration for comfort, in the slow zone. A lower command is obeyed at once.',
        unit='m/s^2',
        minimum=0.01,
        maximum=100.0,
        live=True,
    )
    stop_deceleration: float = parameter(
        DEFAULT.stop_deceleration,
        'Deceleration for a stop; used to compute braking distances.',
        unit='m/s^2',
        minimum=0.05,
        maximum=100.0,
        live=True,
    )
    angular_acceleration: float = parameter(
        DEFAULT.angular_acceleration,
        'Greatest angular acceleration; how far it turns on before a stop is reckoned with it.',
        unit='rad/s^2',
        minimum=0.01,
        maximum=1000.0,
        live=True,
    )
    sensor: SensorParameters = group(SensorParameters)
    closeness: ClosenessParameters = group(ClosenessParameters)
    steering: SteeringParameters = group(SteeringParameters)

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

    def options(self) -> AvoidanceOptions:
        """What of it the pure avoidance is told."""
        names = {field.name for field in dataclasses.fields(AvoidanceOptions)}
        values = {name: value for name, value in vars(self).items() if name in names}
        return AvoidanceOptions(
            **{
                **values,
                'sensor': SensorPlace(**vars(self.sensor)),
                'closeness': ClosenessZones(**vars(self.closeness)),
                'steering': SteeringOptions(**vars(self.steering)),
            }
        )
