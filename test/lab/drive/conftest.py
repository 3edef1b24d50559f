"""Where ROS is not installed only the drives in one process are tested."""

from importlib.util import find_spec

if not find_spec('rclpy'):
    collect_ignore = ['test_command.py', 'test_rig.py']
