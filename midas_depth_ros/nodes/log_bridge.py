"""What the pure rooms say through Python's logging, said through ROS.

So that a slow download or a corrupt file is told on the console and on /rosout like all else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from midas_depth_ros.images.errors import printable

if TYPE_CHECKING:
    from rclpy.node import Node

PACKAGE_LOGGER = 'midas_depth_ros'


class RosHandler(logging.Handler):
    """Hands records to a node's logger, level for level."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record; one that cannot be put into words must not stop who logs it."""
        try:
            text = '\n'.join(map(printable, record.getMessage().split('\n')))
        except Exception:  # noqa: BLE001 - logging's own boundary, which says it on standard error
            self.handleError(record)
            return
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def forward_logging(node: Node) -> None:
    """Let this node say what the package logs; the latest node made replaces earlier ones."""
    logger = logging.getLogger(PACKAGE_LOGGER)
    logger.handlers = [RosHandler(node)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
