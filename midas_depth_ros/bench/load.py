"""How much of a core a running node takes, with cameras at a steady rate or without any."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from midas_depth_ros.bench.over_dds import (
    CLOSENESS,
    DEPTH,
    HEATMAP,
    BenchError,
    Feeder,
    feeding,
    node_command,
)
from midas_depth_ros.bench.processes import cpu_seconds

READY_TIMEOUT_S = 60.0
SETTLING_S = 2.0
QUIET_SIZE = (640, 480)


@dataclasses.dataclass(frozen=True)
class Load:
    """One situation: what the camera process sends, and what is wanted of it.

    `rate_hz` is of all cameras together. Nothing is sent where it is 0. `parameters` are those of
    the node. Not `watched`: nobody subscribes.
    """

    name: str
    size: tuple[int, int] = QUIET_SIZE
    rate_hz: float = 0.0
    cameras: tuple[str, ...] = ('c0',)
    watched: bool = True
    outputs: tuple[str, ...] = (DEPTH, CLOSENESS)  # and the heatmap
    parameters: tuple[tuple[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class Share:
    """Per cent of one core over some seconds, and the heatmaps that came of it."""

    cpu_percent: float
    frames_per_s: float


def shares(
    loads: Sequence[Load],
    module: str,
    parameters: dict[str, Any],
    logs: Path,
    seconds: float,
    report: Callable[[str], None],
) -> dict[str, Share]:
    """Each situation in turn, with a node of its own. Raises BenchError."""
    found = {}
    for number, load in enumerate(loads):
        report(f'node: {load.name}')
        folder = logs / f'load_{number}'
        folder.mkdir(parents=True, exist_ok=True)
        with feeding(folder, QUIET_SIZE) as feeder:
            found[load.name] = _share(load, module, parameters, feeder, seconds)
    return found


def _share(
    load: Load, module: str, parameters: dict[str, Any], feeder: Feeder, seconds: float
) -> Share:
    wanted = {**parameters, 'cameras': list(load.cameras), **dict(load.parameters)}
    node = feeder.children.start('node', node_command(module, wanted))
    if load.watched:
        for camera in load.cameras:
            feeder.watch(camera, load.outputs)
    if load.rate_hz:
        size = map(str, load.size)
        command = [sys.executable, '-m', 'midas_depth_ros.bench.camera', *size, str(load.rate_hz)]
        feeder.children.start('camera', [*command, *load.cameras])
    began = time.monotonic()
    while not _is_ready(load, feeder):
        feeder.spin(0.1)
        if node.exit_code is not None or time.monotonic() - began > READY_TIMEOUT_S:
            raise BenchError(f'{load.name}: {node.ending()}: {node.last_words()}')
    feeder.spin(SETTLING_S)
    before, since, frames = cpu_seconds(node.process.pid), time.monotonic(), feeder.heatmaps
    feeder.spin(seconds)
    elapsed = time.monotonic() - since
    used = cpu_seconds(node.process.pid) - before
    return Share(100 * used / elapsed, (feeder.heatmaps - frames) / elapsed)


def _is_ready(load: Load, feeder: Feeder) -> bool:
    """Whether the node has started and does what it will be doing."""
    if load.watched and load.rate_hz:
        return all(map(feeder.heard, load.cameras))
    inactive = dict(load.parameters).get('autostart', True) is False
    return feeder.is_published('/diagnostics' if inactive else f'{load.cameras[0]}/{HEATMAP}')
