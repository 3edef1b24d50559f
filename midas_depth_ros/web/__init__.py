"""The dashboard: what the robot sees, in a browser; and depth of pictures that are dropped on it.

Stands on top of the other rooms. The HTTP part runs without ROS and without a depth node;
only `ros_node` and `ros_thread` import rclpy.
"""
