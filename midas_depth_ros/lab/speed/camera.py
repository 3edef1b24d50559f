"""A camera that only publishes: one picture again and again, freshly stamped, at a steady rate.

    python -m midas_depth_ros.lab.speed.camera WIDTH HEIGHT RATE CAMERA [CAMERA ...]

With several cameras each has its share of the rate. Ends on SIGINT or SIGTERM.
"""

from __future__ import annotations

import itertools
import sys
import time

from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.lab.speed.run import picture
from midas_depth_ros.nodes.ros.messages import image_message, time_message
from midas_depth_ros.nodes.ros.quality_of_service import NEWEST
from midas_depth_ros.nodes.ros.spinning import run_node


class BenchCamera(Node):
    """Publishes on <camera>/image_raw of each camera in turn."""

    def __init__(self, size: tuple[int, int], rate_hz: float, cameras: list[str]) -> None:
        super().__init__('bench_camera')
        self._message = image_message(picture(*size), Header(frame_id='camera_optical_frame'))
        self._publishers = itertools.cycle(
            [self.create_publisher(Image, f'{name}/image_raw', NEWEST) for name in cameras]
        )
        self.create_timer(1 / rate_hz, self._publish)

    def _publish(self) -> None:
        self._message.header.stamp = time_message(time.time_ns())
        next(self._publishers).publish(self._message)


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped."""
    width, height, rate, *cameras = sys.argv[1:] if arguments is None else arguments
    size = int(width), int(height)
    return run_node(lambda: BenchCamera(size, float(rate), cameras), [])


if __name__ == '__main__':
    sys.exit(main())
