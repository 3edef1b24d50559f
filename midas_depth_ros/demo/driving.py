"""What the demonstration runs where no source is named: a robot that drives and avoids.

From a plan follow the command lines of its processes; the robot, its camera and its avoidance are
those of `midas_depth drive`, with larger pictures.
"""

from __future__ import annotations

from midas_depth_ros.demo.commands import node_command
from midas_depth_ros.drive import rig
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.parameter_files import read_parameters, settings_from
from midas_depth_ros.sim import FurnishedWorld, furnished_world
from midas_depth_ros.views import HeatmapOptions

PICTURE = (400, 300)  # what people look at; the network makes it smaller
SPEED_M_S = 0.4
PICTURE_NOISE = 1.0  # grey levels
TIMEOUT_S = 1.6  # how old a scan may be: twice the default, so that busy machines show a drive too


# Colours in even steps for even ratios of distance, from the nearest floor in view to across a
# room: even in 1/Z, nearly all of them would be for less than the first metre and a half. The
# legend stands beside the picture.
HEATMAP: dict[str, str | float | bool] = {
    'mode': 'metric',
    'metric_near': 0.3,
    'metric_far': 6.0,
    'mapping': 'log',
    'legend': False,
}


def heatmap_options(parameters: tuple[str, ...] = ()) -> HeatmapOptions | None:
    """Which colours are how far in the heatmaps of a drive, None where they are not in metres.

    parameters: further `name:=value` of depth_node. Raises ParameterFault.
    """
    given = {f'heatmap.{name}': value for name, value in HEATMAP.items()}
    given |= read_parameters('depth_node', DepthNodeSettings, [], parameters)
    settings = settings_from(DepthNodeSettings, given)
    options = HeatmapOptions(**vars(settings.heatmap))
    return options if options.mode == 'metric' else None


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
        **{f'heatmap.{name}': value for name, value in HEATMAP.items()},
    }
    avoidance = rig.avoidance_parameters() | {'timeout': TIMEOUT_S}
    wishes = {'seed': seed, 'speed': SPEED_M_S}
    remapped = rig.avoidance_topics()
    return {
        'camera': node_command('nodes.sources.synthetic_camera', camera),
        'depth_node': node_command('nodes.depth.node', depth, parameters),
        'avoidance_node': [
            *node_command('nodes.avoidance.node', avoidance),
            *remapped,
        ],
        'commander': node_command('drive.commander_node', wishes),
    }
