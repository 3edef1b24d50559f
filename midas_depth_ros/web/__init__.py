"""The dashboard: what the robot sees, in a browser, and the depth of pictures dropped on the page.

The HTTP part runs without ROS and without a depth node; only the `ros_*` modules import rclpy.
"""
