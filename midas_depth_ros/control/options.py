"""What the avoidance may be told: numbers with their units, as the node's parameters have them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class SensorPlace:
    """Where the scan's frame sits on the robot (x forward, y left, from its turning point).

    `x` and `y` in m, `yaw` in rad. Returns nearer than `min_range` (m) are the robot's own parts;
    what is nearer than `blind_range` (m) may have slipped out of view below a camera.
    `zero_is_clear`: the sensor says 0 where it saw nothing (against REP 117, as some lidars do).
    """

    x: float = 0.1
    y: float = 0.0
    yaw: float = 0.0
    min_range: float = 0.0
    blind_range: float = 0.3
    zero_is_clear: bool = False


@dataclasses.dataclass(frozen=True)
class ClosenessZones:
    """Zones where no metres are known; 0 = far, 1 = as near as the nearest floor in view.

    `stop` and `slow` are for the centre, `side_stop` for left and right; `max_speed` in m/s,
    since without metres nobody can say how long braking takes.
    """

    stop: float = 0.6
    slow: float = 0.3
    side_stop: float = 0.9
    max_speed: float = 0.2


@dataclasses.dataclass(frozen=True)
class SteeringOptions:
    """Turning toward the free gap: `max_rate` in rad/s, `max_angle` in rad to either side."""

    enabled: bool = False
    max_rate: float = 0.6
    max_angle: float = 0.9


@dataclasses.dataclass(frozen=True)
class AvoidanceOptions:
    """All of it: lengths in m, times in s, speeds in m/s, accelerations in m/s^2 and rad/s^2.

    `source`: 'scan', 'closeness' or 'auto'; `slow_by`: 'distance' or 'time'; `stamps`: 'auto',
    'require' or 'ignore', see `freshness.age_of`.
    """

    source: str = 'auto'
    timeout: float = 0.8
    command_timeout: float = 0.5
    stamps: str = 'auto'
    robot_width: float = 0.3
    robot_front: float = 0.15
    robot_rear: float = 0.15
    side_margin: float = 0.05
    stop_distance: float = 0.35
    slow_distance: float = 1.2
    slow_by: str = 'distance'
    time_to_contact: float = 2.0
    reaction_time: float = 0.2
    min_speed: float = 0.03
    resume_margin: float = 0.05
    resume_delay: float = 0.4
    max_unknown: float = 0.25
    memory: float = 3.0
    turn_without_data: bool = True
    allow_reverse: bool = True
    max_reverse_speed: float = 0.15
    acceleration: float = 0.5
    deceleration: float = 0.8
    stop_deceleration: float = 2.0
    angular_acceleration: float = 3.0
    sensor: SensorPlace = SensorPlace()
    closeness: ClosenessZones = ClosenessZones()
    steering: SteeringOptions = SteeringOptions()
