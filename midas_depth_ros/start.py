"""The console scripts, each of which imports what it needs when it is called.

A missing library is reported in one sentence with the remedy, instead of a traceback.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import NoReturn

# Modules whose pip or apt name differs from the module's, or that only one of them has.
PROJECTS = {
    'cv2': ('opencv-python-headless', 'python3-opencv'),
    'PIL': ('pillow', 'python3-pil'),
    'yaml': ('PyYAML', 'python3-yaml'),
    'numpy': ('numpy', 'python3-numpy'),
    'click': ('click', 'python3-click'),
    'rich': ('rich', 'python3-rich'),
    'tqdm': ('tqdm', 'python3-tqdm'),
    'requests': ('requests', 'python3-requests'),
    'filelock': ('filelock', 'python3-filelock'),
    'platformdirs': ('platformdirs', 'python3-platformdirs'),
    'starlette': ('fastapi', ''),  # the one in apt may be too old
    'multipart': ('python-multipart', 'python3-multipart'),
    'uvicorn': ('uvicorn', 'python3-uvicorn'),
    'websockets': ('websockets', 'python3-websockets'),
}
ROS_PREFIXES = ('rclpy', 'rpyutils', 'ament_', 'rosidl_', 'tf2_', '_rclpy')
ROS_SUFFIXES = ('_msgs', '_interfaces', '_srvs')
NO_ROS = (
    '{command} needs ROS 2, and {module} cannot be imported ({error}): source '
    '/opt/ros/<distribution>/setup.bash first. Without an installed ROS, scripts/demo of the '
    'repository sets up its own; `midas_depth image` and `video` need none.'
)
NO_LIBRARY = '{command} cannot import {module} ({error}): {remedy}'


def avoidance_node() -> None:
    """Filter a robot's velocity commands before obstacles."""
    start('avoidance_node', 'midas_depth_ros.nodes.avoidance_node')


def dashboard() -> None:
    """Show what the robot sees in a browser."""
    start('dashboard', 'midas_depth_ros.cli.dashboard')


def depth_node() -> None:
    """Turn camera topics into depth, heatmaps and obstacles."""
    start('depth_node', 'midas_depth_ros.nodes.depth.node')


def image_stream() -> None:
    """Play pictures, videos and bags as a camera."""
    start('image_stream', 'midas_depth_ros.nodes.sources.image_stream')


def obstacle_distance_node() -> None:
    """Tell an autopilot the obstacles of a scan."""
    start('obstacle_distance_node', 'midas_depth_ros.nodes.obstacle_distance_node')


def synthetic_camera() -> None:
    """Play a rendered scene as a camera."""
    start('synthetic_camera', 'midas_depth_ros.nodes.sources.synthetic_camera')


def midas_depth() -> None:
    """Run the command line."""
    start('midas_depth', 'midas_depth_ros.cli.main')


def start(command: str, module: str) -> None:
    """Run `main` of a module, or exit with code 1 and what to install."""
    try:
        main = importlib.import_module(module).main
    except ImportError as error:
        refuse(command, error)
    except KeyboardInterrupt:  # nothing has started yet
        sys.exit(128 + signal.SIGINT)
    try:
        sys.exit(main())
    except ImportError as error:  # of a library that only a part of the command needs
        refuse(command, error)


def refuse(command: str, error: ImportError) -> NoReturn:
    """Exit with the remedy for a library that is missing or does not load.

    Re-raises import errors of this package and of the standard library.
    """
    module = (error.name or '').split('.')[0]
    facts = {
        'command': command,
        'module': module,
        'error': (str(error) or 'no reason given').splitlines()[0],
    }
    if module.startswith(ROS_PREFIXES) or module.endswith(ROS_SUFFIXES):
        sys.exit('error: ' + NO_ROS.format(**facts))
    if module in ('', __package__) or module in sys.stdlib_module_names:
        raise error
    project, package = PROJECTS.get(module, (module.replace('_', '-'), ''))
    remedy = f'pip install {project}' + (f', or sudo apt install {package}' if package else '')
    sys.exit('error: ' + NO_LIBRARY.format(**facts, remedy=remedy))
