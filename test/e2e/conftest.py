"""Fixtures of the end-to-end tests; without rclpy none of them is collected."""

from importlib.util import find_spec

if find_spec('rclpy'):
    from ros_helpers import ros  # noqa: F401
    from workspace import workspace  # noqa: F401
else:
    collect_ignore_glob = ['test_*.py']
