"""The parameters of the two camera sources, `image_stream` and `synthetic_camera`."""

from __future__ import annotations

import dataclasses

from midas_depth_ros.options.declarations import (
    NAN,
    Options,
    SharedOptions,
    declared_as,
    group,
    live_parameter,
    parameter,
)
from midas_depth_ros.options.text import check_camera_name, check_frame_id, check_required_frame_id


@dataclasses.dataclass(frozen=True)
class RobotSettings(Options):
    """The simulated robot that carries `synthetic_camera` with `scene` robot."""

    world: str = parameter(
        'plain',
        'plain = bare rooms and corridors with boxes, poles and pillars; furnished = a room like '
        'those that the embedded model was trained on, which takes longer to render; uneven = '
        'rooms with a platform: ramps, steps up and edges down; hazards = what a camera easily '
        "misses, one after the other: dark doors, glass doors, stairs down, things at arm's "
        'length.',
        choices=('plain', 'furnished', 'uneven', 'hazards'),
    )
    radius: float = parameter(
        0.18, 'Radius of the robot, which is a disc.', unit='m', minimum=0.02, maximum=0.4
    )
    max_speed: float = parameter(0.6, 'Fastest speed.', unit='m/s', minimum=0.0, maximum=5.0)
    max_turn: float = parameter(1.8, 'Fastest turning.', unit='rad/s', minimum=0.0, maximum=20.0)
    max_acceleration: float = parameter(
        1.0, 'Greatest acceleration.', unit='m/s^2', minimum=0.01, maximum=100.0
    )
    latency: float = parameter(
        0.05, 'Delay from a command to the wheels.', unit='s', minimum=0.0, maximum=5.0
    )
    command_timeout: float = parameter(
        0.5,
        'Without cmd_vel for this long the robot stops.',
        unit='s',
        minimum=0.05,
        maximum=60.0,
    )
    pictures: str = parameter(
        'rendered',
        'rendered = camera pictures; packed_depth = simulated/relative_inverse_depth in the 24 '
        'bits of every pixel instead, for evaluation with exact depth.',
        choices=('rendered', 'packed_depth'),
    )
    picture_noise: float = live_parameter(
        2.0,
        "Standard deviation of the noise in every pixel's grey level, of 255.",
        minimum=0.0,
        maximum=100.0,
    )
    depth_noise: float = parameter(
        0.03,
        'Standard deviation of the noise in simulated/relative_inverse_depth/image, as a share of '
        '1/Z.',
        minimum=0.0,
        maximum=1.0,
    )
    depth_scale_factor: float = parameter(
        1.5,
        'The scale of simulated depth is random in every frame, up to this factor more or less.',
        minimum=1.0,
        maximum=10.0,
    )
    depth_shift: float = parameter(
        0.3,
        'The shift of simulated depth is random in every frame, up to +- this 1/Z.',
        unit='1/m',
        minimum=0.0,
        maximum=10.0,
    )
    odometry_rate: float = parameter(
        50.0, 'Publishing rate of odom.', unit='Hz', minimum=1.0, maximum=1000.0
    )
    odometry_frame: str = parameter('odom', 'Frame of odom.', check=check_required_frame_id)
    base_frame: str = parameter(
        'base_link', 'Frame of the robot, x forward.', check=check_required_frame_id
    )
    odometry_bias: float = parameter(
        0.0,
        'Share by which odom reports a longer way than the wheels rolled, as with wheels of '
        'another radius than is thought.',
        minimum=-0.5,
        maximum=0.5,
    )
    odometry_noise: float = parameter(
        0.0,
        'Standard deviation of the error that odom gathers over 1 m of way (in m) and 1 rad of '
        'turning (in rad); it grows with their root.',
        minimum=0.0,
        maximum=1.0,
    )
    turn_bias: float = parameter(
        0.0, 'Share by which odom reports more turning.', minimum=-0.5, maximum=0.5
    )
    slip: float = parameter(
        0.0,
        'Share by which the wheels roll farther than the robot moves over the ground: odom reports '
        'so much more.',
        minimum=-0.5,
        maximum=2.0,
    )
    slip_stretch: float = parameter(
        0.0,
        'The wheels slip in every second stretch of this length; 0 = always.',
        unit='m',
        minimum=0.0,
        maximum=1000.0,
    )
    spin: str = parameter(
        'none',
        'When wheels turn on the spot, and odom reports motion where there is none: none; blocked '
        '= when the robot is held by what it ran into; patches = also on smooth patches, after '
        '2 m on average and for about 1 s.',
        choices=('none', 'blocked', 'patches'),
    )
    scan_beams: int = parameter(
        360, 'Beams of ground_truth/scan, all around.', minimum=2, maximum=10_000
    )


@dataclasses.dataclass(frozen=True)
class CameraSourceSettings(Options):
    """What both nodes have: where and how pictures are published."""

    camera: str = parameter(
        'camera',
        'Camera namespace: publishes <c>/image_raw, <c>/image_raw/compressed and <c>/camera_info.',
        check=check_camera_name,
    )
    transport: str = parameter(
        'both',
        'Which image topics to publish; pictures are converted only while somebody subscribes.',
        choices=('raw', 'compressed', 'both'),
    )
    frame_id: str = live_parameter(
        '',
        'Optical frame of the pictures; empty = as recorded, else <camera>_optical_frame.',
        check=check_frame_id,
    )
    jpeg_quality: int = live_parameter(
        90,
        'JPEG quality of <c>/image_raw/compressed.',
        minimum=1,
        maximum=100,
    )

    @property
    def optical_frame(self) -> str:
        """The frame of pictures without a recorded one."""
        return self.frame_id or f'{self.camera.replace("/", "_")}_optical_frame'


@dataclasses.dataclass(frozen=True)
class ImageStreamSettings(CameraSourceSettings):
    """The parameters of `image_stream`."""

    source: str = parameter(
        '',
        'Picture, folder of pictures, video file, camera device (/dev/video0, or "0" in quotes), '
        'or rosbag2 (folder, .db3 or .mcap). A repeated picture looks like a frozen camera: set '
        'frozen_after 0 in depth_node for pictures.',
    )
    topic: str = parameter('', 'Image topic of a rosbag2; empty = its only image topic.')
    rate: float = parameter(
        0.0,
        "Pictures per second; 0 = the source's own rate: that of the video or device, as recorded "
        'in the bag, 10 for pictures. Surplus pictures of a device are dropped, and gaps of more '
        'than a minute in a recording are skipped.',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
    )
    loop: bool = parameter(
        False,
        'Start again at the end; otherwise the node exits then. With original stamps, time jumps '
        'back each time.',
    )
    stamps: str = parameter(
        'now',
        'Header stamps: now = the time of publishing; original = as recorded in the bag (pictures, '
        'videos and devices have none and get now).',
        choices=('now', 'original'),
    )
    publish_clock: bool = parameter(
        False,
        'Publish /clock for nodes with use_sim_time: the stamps of the pictures, interpolated '
        'between them.',
    )
    clock_rate: float = parameter(
        40.0,
        'Publishing rate of /clock between pictures.',
        unit='Hz',
        minimum=1.0,
        maximum=1000.0,
    )
    wait_for_subscribers: int = parameter(
        0,
        'Start only once there are this many subscribers to the images, so that they miss none.',
        minimum=0,
        maximum=1000,
    )
    start_delay: float = parameter(
        0.0,
        'Delay before the first picture (after the subscribers have connected).',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
    )
    max_width: int = parameter(
        0,
        'Wider pictures are shrunk to this width, camera_info with them; 0 = never.',
        unit='px',
        minimum=0,
        maximum=65_535,
    )
    max_pixels: int = declared_as(
        SharedOptions, 'max_pixels', text='Larger pictures are rejected.', live=False
    )
    bit_depth: int = declared_as(SharedOptions, 'bit_depth', live=False)
    calibration: str = parameter(
        '',
        'Calibration file (YAML of camera_calibration) for camera_info; empty = the camera_info of '
        'the bag, else one computed from horizontal_fov, else none.',
    )
    horizontal_fov: float = parameter(
        NAN,
        'Assumed horizontal field of view from edge to edge, for a camera_info without distortion; '
        'NaN = unknown.',
        unit='rad',
        minimum=0.01,
        maximum=3.1,
    )


@dataclasses.dataclass(frozen=True)
class SyntheticCameraSettings(CameraSourceSettings):
    """The parameters of `synthetic_camera`."""

    scene: str = parameter(
        'moving',
        'moving = a drive along a corridor, which depends on the stamp alone; robot = a robot in a '
        'simulated world that is driven by cmd_vel.',
        choices=('moving', 'robot'),
    )
    rate: float = parameter(10.0, 'Pictures per second.', unit='Hz', minimum=0.1, maximum=1000.0)
    width: int = parameter(640, 'Width of the pictures.', unit='px', minimum=16, maximum=4096)
    height: int = parameter(480, 'Height of the pictures.', unit='px', minimum=16, maximum=4096)
    horizontal_fov: float = parameter(
        1.152,
        'Horizontal field of view from edge to edge.',
        unit='rad',
        minimum=0.1,
        maximum=2.8,
    )
    camera_height: float = parameter(
        0.3, 'Height of the camera above the floor.', unit='m', minimum=0.05, maximum=2.4
    )
    camera_pitch: float = parameter(
        0.105,
        'Pitch of the camera, positive = looking down.',
        unit='rad',
        minimum=-1.5,
        maximum=1.5,
    )
    seed: int = live_parameter(
        0,
        'Seed of the scene: the same number gives the same scene. A new number puts the robot at '
        'the start of a new world.',
        minimum=0,
        maximum=2_147_483_647,
    )
    publish_clock: bool = parameter(
        False,
        'Publish /clock for nodes with use_sim_time: the time of the stamps, which then begins at '
        '1 s. For scene robot.',
    )
    robot: RobotSettings = group(RobotSettings)
