"""What the HTTP part asks of a robot, and what answers where there is none.

The other implementation is `ros_thread.RosThread`; the HTTP part knows neither rclpy nor messages.
"""

from __future__ import annotations

from typing import Any, Protocol

from midas_depth_ros.web.errors import Refused


class Robot(Protocol):
    """The depth node, as far as a browser may change it. What changes something raises Refused."""

    async def set_parameter(self, name: str, value: Any) -> None:
        """Set one of the parameters in `controls.CONTROLS`; 409 with the node's reason."""

    async def set_enabled(self, enabled: bool) -> None:
        """Pause or resume the node."""

    def trouble(self) -> str:
        """Why nothing can be learnt of the robot any more; '' while all is well."""

    def summary(self) -> dict[str, Any]:
        """What GET /api/status says of it."""


class NoRobot:
    """There is no ROS: pictures alone."""

    def trouble(self) -> str:
        return ''

    def summary(self) -> dict[str, Any]:
        return {'ros': False}

    async def set_parameter(self, name: str, value: Any) -> None:
        raise Refused(503, 'this dashboard runs without ROS: there is no depth node to set')

    async def set_enabled(self, enabled: bool) -> None:
        raise Refused(503, 'this dashboard runs without ROS: there is no depth node to set')
