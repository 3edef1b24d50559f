"""synthetic_camera: a camera that drives through a rendered scene, for trying things out.

In the moving scene the picture is a function of its stamp alone: two of these cameras with the
same parameters see the same, and depth can be compared with the scene's own. In the scene `robot`
it is the camera of a robot that cmd_vel drives. Renders only while somebody subscribes.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images.sources import Frame
from midas_depth_ros.nodes.camera_calibration import info_of_model
from midas_depth_ros.nodes.camera_topics import CameraTopics
from midas_depth_ros.nodes.node_help import helped
from midas_depth_ros.nodes.parameters import ParameterServer
from midas_depth_ros.nodes.robot_view import RobotView, time_message
from midas_depth_ros.nodes.spinning import run_node
from midas_depth_ros.nodes.stream_settings import SyntheticCameraSettings
from midas_depth_ros.sim import moving_scene, render

NANOSECONDS = 1_000_000_000


def picture_at(time_ns: int, settings: SyntheticCameraSettings) -> NDArray[np.uint8]:
    """What the camera sees at a stamp: (height, width, 3) uint8 RGB."""
    scene = moving_scene(settings.seed)
    # The remainder first: nanoseconds since 1970 have more digits than a float.
    time_s = time_ns % round(scene.period_s * NANOSECONDS) / NANOSECONDS
    pose = dataclasses.replace(
        scene.pose_at(time_s), z_m=settings.camera_height, pitch_rad=settings.camera_pitch
    )
    return render(scene.scene_at(time_s), camera_model(settings), pose).rgb


def camera_model(settings: SyntheticCameraSettings) -> CameraModel:
    """The camera that the parameters describe."""
    return CameraModel.from_field_of_view(settings.width, settings.height, settings.horizontal_fov)


class SyntheticCamera(Node):
    """The ROS shell around the renderer."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__('synthetic_camera', **node_options)
        try:
            self._parameter_server = ParameterServer(self, SyntheticCameraSettings)
        except ValueError:
            self.destroy_node()
            raise
        settings = self._parameter_server.current
        self._topics = CameraTopics(self, settings.camera, settings.transport, True)
        self._robot: RobotView | None = None
        timer_clock = None  # the node's own
        if settings.scene == 'robot':
            self._robot = RobotView(self, self._parameter_server, camera_model(settings))
            timer_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._parameter_server.warn_of_unused_qualities()
        self.create_timer(1.0 / settings.rate, self._on_timer, clock=timer_clock)
        self.get_logger().info(f'{settings.scene} scene {settings.seed} -> {self._topics.names}')

    def _on_timer(self) -> None:
        # Looked at once: somebody may come, or go, while this runs.
        shown = bool(self._topics.subscribers)
        if not (shown or self._topics.wanted or (self._robot and self._robot.wanted)):
            return
        settings = self._parameter_server.current
        now_ns = self._robot.now_ns() if self._robot else self.get_clock().now().nanoseconds
        header = Header(stamp=time_message(now_ns), frame_id=settings.optical_frame)
        self._topics.publish_info(info_of_model(camera_model(settings)), header)
        if not (shown or self._robot):
            return
        seen = self._robot.picture(now_ns, header) if self._robot else picture_at(now_ns, settings)
        if shown:
            frame = Frame('rendered', picture=seen)
            self._topics.publish_frame(frame, header, settings.jpeg_quality)


def main() -> int:
    """Run the node; returns the exit code."""
    if helped('synthetic_camera', SyntheticCameraSettings, __doc__):
        return 0
    return run_node(SyntheticCamera)


if __name__ == '__main__':
    sys.exit(main())
