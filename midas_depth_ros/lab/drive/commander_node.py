"""The process that wants to drive on: `Commander`'s wishes go out as cmd_vel_in, for ever."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import Any

from geometry_msgs.msg import Twist
from rclpy.node import Node

from midas_depth_ros.lab.drive.in_process import Commander
from midas_depth_ros.nodes.ros.parameters import ParameterServer, helped
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.options.declarations import parameter

PERIOD_S = 0.05
REPEAT_S = 600.0  # then the wishes begin anew


@dataclasses.dataclass(frozen=True)
class CommanderSettings:
    """What is wished for."""

    speed: float = parameter(0.4, 'Forward speed.', unit='m/s', minimum=0.0, maximum=5.0)
    seed: int = parameter(0, 'Which turns.', minimum=0, maximum=2_147_483_647)


class CommanderNode(Node):
    """The ROS shell around `Commander`."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__('commander', **node_options)
        try:
            settings = ParameterServer(self, CommanderSettings).current
        except ValueError:
            self.destroy_node()
            raise
        self._commander = Commander(settings.seed, settings.speed, REPEAT_S)
        self._begin_s = time.monotonic()
        self._velocity = self.create_publisher(Twist, 'cmd_vel_in', 1)
        self.create_timer(PERIOD_S, self._on_timer)

    def _on_timer(self) -> None:
        message = Twist()
        time_s = (time.monotonic() - self._begin_s) % REPEAT_S
        message.linear.x, message.angular.z = self._commander.command(time_s)
        self._velocity.publish(message)


def main() -> int:
    """Run the node; returns the exit code."""
    if helped('commander', CommanderSettings, __doc__):
        return 0
    return run_node(CommanderNode)


if __name__ == '__main__':
    sys.exit(main())
