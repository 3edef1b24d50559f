"""The fixture `ros`, where there is ROS; the rest of the room is tested without."""

from importlib.util import find_spec

if find_spec('rclpy'):
    from ros_helpers import ros  # noqa: F401
