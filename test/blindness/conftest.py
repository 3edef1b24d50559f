"""Fixtures of the tests that need ROS; without rclpy only those without ROS are collected."""

from importlib.util import find_spec

if find_spec('rclpy'):
    from rclpy.type_support import check_for_type_support
    from ros_helpers import ros  # noqa: F401
    from sensor_msgs.msg import CameraInfo

    # Imports, once, a parser that a newer Python warns of; in a test that would be an error.
    check_for_type_support(CameraInfo)
else:
    collect_ignore = ['test_pictures.py', 'test_over_dds.py']
