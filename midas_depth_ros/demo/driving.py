"""What the demonstration runs where no source is named: a robot that drives and avoids.

From a plan follow the command lines of its processes; the robot, its camera and its avoidance are
those of `midas_depth drive`, with larger pictures.
"""

from __future__ import annotations

from midas_depth_ros.demo.commands import node_command
from midas_depth_ros.drive import rig
from midas_depth_ros.sim import FurnishedWorld, furnished_world

PICTURE = (400, 300)  # what people look at; the network makes it smaller
SPEED_M_S = 0.4
PICTURE_NOISE = 1.0  # grey levels
TIMEOUT_S = 1.6  # how old a scan may be: twice the default, so that busy machines show a drive too


def world(seed: int) -> FurnishedWorld:
    """The world that is driven through."""
    return furnished_world(seed)


def robot_radius_m() -> float:
    """Of the disc that is driven."""
    return rig.ROBOT.radius_m


def robot_heights() -> tuple[float, float]:
    """Between which heights something is in its way, in metres."""
    return rig.ROBOT.heights


def commands(
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
        'heatmap.mode': 'metric',
        'heatmap.metric_near': 0.3,  # the nearest floor in view
        'heatmap.metric_far': 5.0,
        'heatmap.gamma': 0.65,  # brings out what is a metre or two away
    }
    avoidance = rig.avoidance_parameters() | {'timeout': TIMEOUT_S}
    wishes = {'seed': seed, 'speed': SPEED_M_S}
    remapped = rig.avoidance_topics()
    return {
        'camera': node_command('nodes.synthetic_camera', camera),
        'depth_node': node_command('nodes.depth_node', depth, parameters),
        'avoidance_node': [
            *node_command('nodes.avoidance_node', avoidance),
            *remapped,
        ],
        'commander': node_command('drive.commander_node', wishes),
    }
