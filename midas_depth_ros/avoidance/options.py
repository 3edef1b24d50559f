"""What the avoidance may be told: numbers with their units, as the node's parameters have them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def _refuse_odd_numbers(options: Any, prefix: str, signed: tuple[str, ...] = ()) -> None:
    """Every comparison with NaN is false, also those that stop the robot."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, (bool, str)) or dataclasses.is_dataclass(value):
            continue
        if not math.isfinite(value) or (value < 0 and field.name not in signed):
            raise ValueError(f'{prefix}{field.name} is {value}: it must be a number, not below 0')


@dataclasses.dataclass(frozen=True)
class SensorPlace:
    """Where the scan's frame sits on the robot (x forward, y left, from its turning point).

    `x` and `y` in m, `yaw` in rad. Returns nearer than `min_range` (m) are the robot's own parts;
    what is nearer than `blind_range` (m) may have slipped out of view below a camera.
    `zero_is_clear`: the sensor says 0 where it saw nothing (against REP 117, as some lidars do).
    `frame`: the frame_id that these hold for; '' = the first that comes.
    """

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    min_range: float = 0.0
    blind_range: float = 0.3
    zero_is_clear: bool = False
    frame: str = ''

    def __post_init__(self) -> None:
        _refuse_odd_numbers(self, 'sensor.', signed=('x', 'y', 'yaw'))


@dataclasses.dataclass(frozen=True)
class ClosenessZones:
    """Zones where no metres are known; 0 = far, 1 = as near as the nearest floor in view.

    `stop` and `slow` are for the centre, `side_stop` for left and right; `max_speed` in m/s,
    since without metres nobody can say how long braking takes. `view` in rad is how wide the
    camera sees: a curve so tight that its inner side is never in view is not driven.
    """

    stop: float = 0.6
    slow: float = 0.3
    side_stop: float = 0.9
    max_speed: float = 0.2
    view: float = 1.0

    def __post_init__(self) -> None:
        _refuse_odd_numbers(self, 'closeness.')


@dataclasses.dataclass(frozen=True)
class SteeringOptions:
    """Turning toward the free gap: `max_rate` in rad/s, `max_angle` in rad to either side."""

    enabled: bool = False
    max_rate: float = 0.6
    max_angle: float = 0.9

    def __post_init__(self) -> None:
        _refuse_odd_numbers(self, 'steering.')


@dataclasses.dataclass(frozen=True)
class AvoidanceOptions:
    """All of it: lengths in m, times in s, speeds in m/s, accelerations in m/s^2 and rad/s^2.

    `source`: 'scan', 'closeness' or 'auto'; `slow_by`: 'distance' or 'time'; `stamps`: 'auto',
    'require' or 'ignore', and `other_clock`, see `freshness.age_of`. Raises ValueError where a
    number is none, or below 0.
    """

    source: str = 'auto'
    timeout: float = 0.8
    command_timeout: float = 0.5
    stamps: str = 'auto'
    other_clock: bool = False
    max_speed: float = 1.0
    max_turn_rate: float = 2.0
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
    smallest_obstacle: float = 0.04
    max_unknown: float = 0.25
    memory: float = 3.0
    turn_without_data: bool = True
    allow_reverse: bool = True
    max_reverse_speed: float = 0.15
    blind_reverse_speed: float = 0.0
    acceleration: float = 0.5
    deceleration: float = 0.8
    stop_deceleration: float = 2.0
    angular_acceleration: float = 3.0
    sensor: SensorPlace = SensorPlace()
    closeness: ClosenessZones = ClosenessZones()
    steering: SteeringOptions = SteeringOptions()

    def __post_init__(self) -> None:
        _refuse_odd_numbers(self, '')
        if self.slow_distance <= self.stop_distance:
            raise ValueError(
                f'slow_distance {self.slow_distance:g} is not above '
                f'stop_distance {self.stop_distance:g}'
            )
        for name in ('smallest_obstacle', 'stop_deceleration', 'angular_acceleration'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} {getattr(self, name):g} is not above 0')
