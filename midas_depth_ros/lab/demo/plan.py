"""What is asked of a run, and what came of it.

From a `Plan` follow the command lines of its processes; a `Run` is what the report reads.
"""

from __future__ import annotations

import dataclasses

from midas_depth_ros.images.sources import is_still
from midas_depth_ros.lab.demo import WIDEST
from midas_depth_ros.lab.demo.recording import Recording
from midas_depth_ros.lab.processes import node_command

CAMERA = 'camera'  # the depth node's default camera namespace
# Where nothing is said: frames per second that the node may process, and the model.
RATE_HZ, DRIVE_RATE_HZ, DRIVE_CAMERA_RATE_HZ = 5.0, 10.0, 10.0
MODEL, DRIVE_MODEL = 'auto', 'embedded'


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be run. Fields that are None are chosen by what is run."""

    source: str = ''  # picture, folder, video, device number, rosbag2; '' = the driving robot
    seconds: float = 20.0  # after the first output
    model: str | None = None
    rate_hz: float | None = None  # the node's max_rate
    camera_rate_hz: float | None = None  # None: the source's own
    topic: str = ''  # of a rosbag2
    transport: str = 'raw'
    parameters: tuple[str, ...] = ()  # further name:=value of depth_node
    timeout_s: float = 30.0  # longest wait for the first output once the model is loaded
    world: int = 0  # that the robot drives through
    dashboard_port: int = 0  # 0: none
    keep_going: bool = False  # after the recording, until a signal

    @property
    def drives(self) -> bool:
        """Whether it is the robot that is shown."""
        return not self.source

    @property
    def what(self) -> str:
        """What the camera is, in words."""
        return self.source or f'a simulated robot in furnished world {self.world}'

    def commands(self) -> dict[str, list[str]]:
        """The command lines of the processes by name, in the order in which they start."""
        if self.drives:
            from midas_depth_ros.lab.demo import (
                driving,  # the simulation is not loaded for pictures
            )

            return driving.commands(
                self.world,
                DRIVE_MODEL if self.model is None else self.model,
                DRIVE_RATE_HZ if self.rate_hz is None else self.rate_hz,
                self.camera_rate_hz or DRIVE_CAMERA_RATE_HZ,
                self.transport,
                self.parameters,
            )
        return {'camera': self._stream_command(), 'depth_node': self._node_command()}

    def _stream_command(self) -> list[str]:
        parameters: dict[str, object] = {}
        if self.camera_rate_hz is not None:
            parameters['rate'] = self.camera_rate_hz
        elif is_still(self.source):
            # As fast as they are processed: at twice that rate each second one would be lost.
            parameters['rate'] = RATE_HZ if self.rate_hz is None else self.rate_hz
        parameters['max_width'] = WIDEST
        parameters |= {'source': self.source, 'loop': True, 'stamps': 'now'}
        parameters['wait_for_subscribers'] = 2  # recorder and node: nobody misses the beginning
        if self.topic:
            parameters['topic'] = self.topic
        return node_command('nodes.sources.image_stream', parameters)

    def _node_command(self) -> list[str]:
        parameters: dict[str, object] = {
            'model': MODEL if self.model is None else self.model,
            'max_rate': RATE_HZ if self.rate_hz is None else self.rate_hz,
            'transport': self.transport,
        }
        if is_still(self.source):
            parameters['frozen_after'] = 0.0  # a picture that is shown again is no frozen camera
            # Pictures of a folder have nothing to do with each other.
            parameters['heatmap.range_time_constant'] = 0.0
            # Each is to be seen, unless it was asked for a camera of a rate of its own.
            if self.camera_rate_hz is None:
                parameters['process_every_frame'] = True
        return node_command('nodes.depth.node', parameters, self.parameters)


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of a plan."""

    plan: Plan
    recording: Recording
    domain: int
    started: str  # local time, ISO 8601
    first_output_s: float  # from the start of the processes to the first heatmap
    seconds: float  # recorded after the first output
    ended_by: str  # '', the name of a signal, or how the source ended
    exit_codes: dict[str, int]
