"""What is asked of a run, and what came of it.

From a `Plan` follow the command lines of the two processes; a `Run` is what the report reads.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from midas_depth_ros.demo.recording import Recording

CAMERA = 'camera'  # the depth node's default camera namespace


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be run."""

    source: str = ''  # picture, folder, video, device number, rosbag2; '' = synthetic camera
    seconds: float = 20.0  # after the first output
    model: str = 'auto'
    rate_hz: float = 5.0  # the node's max_rate
    camera_rate_hz: float | None = None  # None: the source's own
    topic: str = ''  # of a rosbag2
    transport: str = 'raw'
    parameters: tuple[str, ...] = ()  # further name:=value of depth_node
    timeout_s: float = 30.0  # longest wait for the first output once the model is loaded

    def camera_command(self) -> list[str]:
        """The command line of the camera process."""
        parameters: dict[str, object] = {}
        if self.camera_rate_hz is not None:
            parameters['rate'] = self.camera_rate_hz
        if not self.source:
            return _node_command('synthetic_camera', parameters)
        parameters |= {'source': self.source, 'loop': True, 'stamps': 'now'}
        parameters['wait_for_subscribers'] = 2  # recorder and node: nobody misses the beginning
        if self.topic:
            parameters['topic'] = self.topic
        return _node_command('image_stream', parameters)

    def node_command(self) -> list[str]:
        """The command line of the depth node."""
        parameters: dict[str, object] = {
            'model': self.model,
            'max_rate': self.rate_hz,
            'transport': self.transport,
        }
        return _node_command('depth_node', parameters, self.parameters)


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


def _node_command(
    module: str, parameters: dict[str, object], extra: tuple[str, ...] = ()
) -> list[str]:
    # JSON is YAML: quotes keep a device number a string and a path with a colon whole.
    yaml = {name: json.dumps(value, ensure_ascii=False) for name, value in parameters.items()}
    command = [sys.executable, '-m', f'midas_depth_ros.nodes.{module}', '--ros-args']
    command.append('--disable-external-lib-logs')  # the log is ours, nothing goes to ~/.ros
    for pair in [*(f'{name}:={value}' for name, value in yaml.items()), *extra]:
        command += ['-p', pair]
    return command
