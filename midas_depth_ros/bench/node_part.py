"""The part of the benchmark that runs nodes: the usual one and ours, side by side over DDS."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from midas_depth_ros.bench import usual_recipe
from midas_depth_ros.bench.over_dds import (
    CLOSENESS,
    DEPTH,
    BenchError,
    NodeTimes,
    feeding,
    measured,
    node_command,
)
from midas_depth_ros.bench.result import HOLLOW, NODE, Row, row
from midas_depth_ros.bench.rounds import Times

MIB_IN_MB = 1.048576
SIZE = (640, 480)
SAME_PICTURE = {'frozen_after': 0.0}  # what a node needs that gets one again and again
Report = Callable[[str], None]
Who = tuple[str, str]  # backend and precision


def node_parameters(weights: Path, num_threads: int, who: Who) -> dict[str, Any]:
    """Of depth_node, so that it runs these weights as fast as frames come."""
    return {
        'model': str(weights),
        'backend': who[0],
        'precision': who[1],
        'num_threads': num_threads,
        'max_rate': 0.0,
        **SAME_PICTURE,
    }


def node_rows(
    whos: Sequence[Who],
    weights: Path,
    num_threads: int,
    seconds: float,
    logs: Path,
    report: Report,
    usual_ms: float | None = None,
) -> tuple[list[Row], list[str]]:
    """A row per node that ran, and why others did not.

    `usual_ms`: what to compare with where the usual node is not among them.
    """
    absent = []
    with feeding(logs, SIZE) as feeder:
        started, cameras = {}, {}
        for number, who in enumerate(whos):
            camera = f'c{number}'
            report(f'starting a node: {" ".join(who)}')
            feeder.watch(camera, (DEPTH, CLOSENESS) if who[0] == HOLLOW else (DEPTH,))
            try:
                command = command_of(who, weights, num_threads, camera)
                started[camera] = feeder.start(camera, f'node_{number}', command)
                cameras[who] = camera
            except BenchError as error:
                absent.append(f'node {" ".join(who)}: {error}')
        report(f'{len(started)} nodes in turn')
        times = measured(feeder, started, seconds) if started else {}
    usual = (usual_recipe.NAME, 'f32')
    if usual in cameras:
        usual_ms = Times(times[cameras[usual]].latency_ms, 0.0).median_ms
    return [_row(who, times[camera], usual_ms) for who, camera in cameras.items()], absent


def command_of(who: Who, weights: Path, num_threads: int, camera: str) -> list[str]:
    """How to start the node of a contestant for one camera."""
    if who[0] == usual_recipe.NAME:
        module = 'midas_depth_ros.bench.usual_node'
        return [sys.executable, '-m', module, str(weights), camera, str(num_threads)]
    if who[0] == HOLLOW:
        return node_command(
            'bench.hollow_node', {'cameras': [camera], **SAME_PICTURE, 'max_rate': 0.0}
        )
    parameters = {**node_parameters(weights, num_threads, who), 'cameras': [camera]}
    return node_command('nodes.depth.node', parameters)


def _row(who: Who, times: NodeTimes, usual_ms: float | None) -> Row:
    wall = Times(times.latency_ms, times.cpu_ms)
    size = f'{SIZE[0]}x{SIZE[1]}'
    made = row(NODE, *who, size, wall, None if who[0] == HOLLOW else usual_ms)
    return dataclasses.replace(made, rss_mb=times.rss_mib * MIB_IN_MB, start_s=times.start_s)
