#!/usr/bin/env python3
"""What the dashboard costs: the depth node's rate, latency and CPU with and without browsers.

    python -m benchmarks.dashboard_load --seconds 20

A moving scene of 640x480 at 15 Hz, the embedded model at 5 Hz, all processes on this machine. The
first row is without a dashboard: one subscriber of the same outputs, so that the node has the same
to do. "Browsers" are WebSocket clients that confirm every frame at once. One run, one machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Vector3Stamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CompressedImage
from websockets.sync.client import connect

from benchmarks.dashboard_pictures import address_of
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.processes import Child, Children
from midas_depth_ros.nodes.ros import quality_of_service as qos

CAMERA = ['-p', 'width:=640', '-p', 'height:=480', '-p', 'rate:=15.0']
NODE = ['-p', 'model:=embedded', '-p', 'max_rate:=5.0']
TICKS_PER_S = os.sysconf('SC_CLK_TCK')
ROWS = (None, 0, 1, 8)  # browsers; None = no dashboard


class Browsers:
    """So many WebSocket clients, each in a thread; counts the frames that they get."""

    def __init__(self, address: str, count: int) -> None:
        self._address = address.replace('http', 'ws') + '/api/live'
        self._stopping = threading.Event()
        self.frames = 0
        self._threads = [threading.Thread(target=self._look) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End them all."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        with connect(self._address) as socket:
            while not self._stopping.is_set():
                message = socket.recv()
                if isinstance(message, bytes):
                    length = int.from_bytes(message[:2], 'big')
                    stream = json.loads(message[2 : 2 + length])['stream']
                    socket.send(json.dumps({'shown': stream}))
                    self.frames += 1


@contextlib.contextmanager
def watcher() -> Iterator[tuple[Node, dict[str, str]]]:
    """A node that hears the diagnostics of the camera, spinning."""
    rclpy.init()
    node = rclpy.create_node('load_watcher')
    heard: dict[str, str] = {}

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith('depth_node: camera'):
                heard.update({pair.key: pair.value for pair in status.values})

    qos.make_subscription(
        node, DiagnosticArray, '/diagnostics', on_diagnostics, QoSProfile(depth=10)
    )
    stopping = threading.Event()

    def spin() -> None:
        while not stopping.is_set():
            rclpy.spin_once(node, timeout_sec=0.2)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield node, heard
    finally:
        stopping.set()
        thread.join()
        node.destroy_node()
        rclpy.shutdown()


def cpu_s(child: Child | None) -> float:
    """Processor time of a process so far."""
    if child is None:
        return 0.0
    fields = Path(f'/proc/{child.process.pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def measured(browsers: int | None, seconds: float) -> list[str]:
    """One row of the table."""
    with (
        tempfile.TemporaryDirectory() as logs,
        Children(Path(logs), processes.for_children()) as children,
        watcher() as (node, heard),
    ):
        module = [sys.executable, '-m']
        ros = ['--ros-args', '--disable-external-lib-logs']
        package = 'midas_depth_ros'
        children.start('camera', [*module, f'{package}.nodes.synthetic_camera', *ros, *CAMERA])
        depth = children.start('depth', [*module, f'{package}.nodes.depth_node', *ros, *NODE])
        dashboard, looking = None, None
        if browsers is None:
            topics = (('heatmap/image/compressed', CompressedImage), ('closeness', Vector3Stamped))
            for topic, kind in topics:
                name, newest = f'camera/{topic}', QoSProfile(depth=1)
                qos.make_subscription(node, kind, name, lambda message: None, newest)
        else:
            dashboard = children.start('dashboard', [*module, f'{package}.web', '--port', '0'])
            looking = Browsers(address_of(dashboard).rstrip('/'), browsers)
        time.sleep(8)
        before = cpu_s(depth), cpu_s(dashboard), looking.frames if looking else 0
        time.sleep(seconds)
        after = cpu_s(depth), cpu_s(dashboard), looking.frames if looking else 0
        row = ['none' if browsers is None else str(browsers)]
        row += [heard.get(key, '') for key in ('output rate [Hz]', 'latency median [ms]')]
        row += [f'{100 * (after[i] - before[i]) / seconds:.0f}' for i in (0, 1)]
        row.append(f'{(after[2] - before[2]) / seconds / browsers:.1f}' if browsers else '')
        if looking:
            looking.close()
    return row


@click.command()
@click.option('--seconds', default=20.0, help='How long each row is measured.')
def main(seconds: float) -> None:
    """Measure every row and print the table."""
    processes.set_up()
    table = Table('browsers', 'node [Hz]', 'latency [ms]', 'node CPU [%]', 'dashboard CPU [%]')
    table.add_column('frames per browser [1/s]')
    for browsers in ROWS:
        table.add_row(*measured(browsers, seconds))
    Console(width=110).print(table)


if __name__ == '__main__':
    main()
