"""The service ~/calibrate_pitch: lets every camera watch the floor, then says what it saw.

Cameras come in by a function, since they come and go with the node's configuration; the answer
is the text to write down, one sentence per camera.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.task import Future
from std_srvs.srv import Trigger

from midas_depth_ros.nodes.worker import Camera

if TYPE_CHECKING:
    from rclpy.node import Node

TIMEOUT_S = 30.0
LOOK_PERIOD_S = 0.1


class CalibrationService:
    """Serves ~/calibrate_pitch; `cameras` gives those that run, none while the node is not."""

    def __init__(self, node: Node, cameras: Callable[[], Sequence[Camera]], clock: Clock) -> None:
        self._node = node
        self._cameras = cameras
        self._clock = clock
        self._service = node.create_service(
            Trigger,
            '~/calibrate_pitch',
            self._on_request,
            # Waits for frames: in a group of its own it keeps nobody else waiting.
            callback_group=MutuallyExclusiveCallbackGroup(),
        )

    async def _on_request(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Estimate the mount over some frames; the answer is what to write down."""
        cameras = self._cameras()
        if not cameras:
            response.message = 'the node is not running: activate and enable it first'
            return response
        for camera in cameras:
            camera.calibration.start()
        await self._until(lambda: all(camera.calibration.done for camera in cameras))
        answers = []
        for camera in cameras:
            camera.calibration.stop()
            answers.append((camera.name, *camera.calibration.result()))
        response.success = all(good for _, good, _ in answers)
        response.message = '; '.join(f'{name}: {text}' for name, _, text in answers)
        return response

    async def _until(self, met: Callable[[], bool]) -> None:
        """Wait without blocking the executor until a condition holds or time is up."""
        deadline = time.monotonic() + TIMEOUT_S
        future: Future = Future()

        def look() -> None:
            if not future.done() and (met() or time.monotonic() > deadline):
                future.set_result(None)

        group = MutuallyExclusiveCallbackGroup()
        timer = self._node.create_timer(LOOK_PERIOD_S, look, group, self._clock)
        await future
        self._node.destroy_timer(timer)
