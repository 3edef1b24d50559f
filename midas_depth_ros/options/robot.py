"""The options of the simulated robot that carries `synthetic_camera` when its `scene` is robot."""

from __future__ import annotations

import dataclasses

from midas_depth_ros.options.declarations import Options, parameter
from midas_depth_ros.options.text import check_robot_frame


@dataclasses.dataclass(frozen=True)
class RobotSettings(Options):
    """What drives, how it answers to commands, and what it tells."""

    world: str = parameter(
        'plain',
        'plain = bare rooms and corridors with boxes, poles and pillars; furnished = a room drawn '
        'as those are that the embedded model was trained on, which takes longer to draw.',
        choices=('plain', 'furnished'),
    )
    radius: float = parameter(
        0.18, 'The robot is a disc of this radius.', unit='m', minimum=0.02, maximum=0.4
    )
    max_speed: float = parameter(0.6, 'It drives no faster.', unit='m/s', minimum=0.0, maximum=5.0)
    max_turn: float = parameter(1.8, 'It turns no faster.', unit='rad/s', minimum=0.0, maximum=20.0)
    max_acceleration: float = parameter(
        1.0, 'How fast its speed changes.', unit='m/s^2', minimum=0.01, maximum=100.0
    )
    latency: float = parameter(
        0.05, 'From a command to the wheels.', unit='s', minimum=0.0, maximum=5.0
    )
    command_timeout: float = parameter(
        0.5, 'It stops when no cmd_vel came for this long.', unit='s', minimum=0.05, maximum=60.0
    )
    pictures: str = parameter(
        'rendered',
        'rendered = what a camera sees; packed_depth = simulated/relative_inverse_depth in the 24 '
        'bits of every pixel instead, for evaluation with exact depth.',
        choices=('rendered', 'packed_depth'),
    )
    picture_noise: float = parameter(
        2.0,
        "Standard deviation of every pixel's grey level, of 255.",
        minimum=0.0,
        maximum=100.0,
        live=True,
    )
    depth_noise: float = parameter(
        0.03,
        'Standard deviation of simulated/relative_inverse_depth/image, as a share of 1/Z.',
        minimum=0.0,
        maximum=1.0,
    )
    depth_scale_factor: float = parameter(
        1.5,
        'Its scale is drawn anew for every frame, up to so many times more or less.',
        minimum=1.0,
        maximum=10.0,
    )
    depth_shift: float = parameter(
        0.3,
        'Its shift is drawn anew for every frame, up to +- this 1/Z.',
        unit='1/m',
        minimum=0.0,
        maximum=10.0,
    )
    odometry_rate: float = parameter(
        50.0, 'How often odom is published.', unit='Hz', minimum=1.0, maximum=1000.0
    )
    odometry_frame: str = parameter('odom', 'Frame of odom.', check=check_robot_frame)
    base_frame: str = parameter(
        'base_link', 'Frame of the robot, x forward.', check=check_robot_frame
    )
    scan_beams: int = parameter(
        360, 'Beams of ground_truth/scan, all around.', minimum=2, maximum=10_000
    )
