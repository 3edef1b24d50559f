"""The dashboard's cost in figures, and pictures of it.

    python -m benchmarks.dashboard load --seconds 20   # its cost for the depth node
    python -m benchmarks.dashboard pictures            # docs/images/dashboard.png
    python -m benchmarks.dashboard pictures --all DIR  # laptop, phone, light, dark, both tabs, and
                                                       # a depth node that has stopped

The pictures need playwright (requirements/dev.txt) and a Chromium on the PATH.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Vector3Stamped
from PIL import Image
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CompressedImage
from websockets.sync.client import connect

from midas_depth_ros.lab import processes
from midas_depth_ros.lab.demo.run import Plan
from midas_depth_ros.lab.processes import Child, Children, cpu_seconds, node_command
from midas_depth_ros.nodes.ros import quality_of_service as qos

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WEB = [sys.executable, '-m', 'midas_depth_ros.cli.dashboard', '--port', '0']


@click.group()
def main() -> None:
    """Measure the dashboard's cost, or take pictures of it."""


# --- Cost: the depth node's rate, latency and CPU with and without browsers.
#
# A moving scene of 640x480 at 15 Hz, the embedded model at 5 Hz, all processes on this machine. The
# first row is without a dashboard: one subscriber of the same outputs gives the node the same work.
# "Browsers" are WebSocket clients that confirm every frame at once.

CAMERA = {'width': 640, 'height': 480, 'rate': 15.0}
NODE = {'model': 'embedded', 'max_rate': 5.0}
ROWS = (None, 0, 1, 8)  # browsers; None = no dashboard


class Browsers:
    """WebSocket clients, each in a thread; counts the frames that they receive."""

    def __init__(self, address: str, count: int) -> None:
        self._address = address.replace('http', 'ws') + '/api/live'
        self._stopping = threading.Event()
        self.frames = 0
        self._threads = [threading.Thread(target=self._look) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop them all."""
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
    """Yield a spinning node, and the diagnostics of the camera that it receives."""
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
    """Return the processor time of a process so far."""
    return cpu_seconds(child.process.pid) if child else 0.0


def measured(browsers: int | None, seconds: float) -> list[str]:
    """Measure one row of the table."""
    with (
        tempfile.TemporaryDirectory() as logs,
        Children(Path(logs), processes.child_environment()) as children,
        watcher() as (node, heard),
    ):
        children.start('camera', node_command('nodes.sources.synthetic_camera', CAMERA))
        depth = children.start('depth', node_command('nodes.depth.node', NODE))
        dashboard, looking = None, None
        if browsers is None:
            topics = (('heatmap/image/compressed', CompressedImage), ('closeness', Vector3Stamped))
            for topic, kind in topics:
                name, newest = f'camera/{topic}', QoSProfile(depth=1)
                qos.make_subscription(node, kind, name, lambda message: None, newest)
        else:
            dashboard = children.start('dashboard', WEB)
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


@main.command()
@click.option('--seconds', default=20.0, help='How long each row is measured.')
def load(seconds: float) -> None:
    """Measure every row and print the table."""
    processes.set_up_ros()
    table = Table('browsers', 'node [Hz]', 'latency [ms]', 'node CPU [%]', 'dashboard CPU [%]')
    table.add_column('frames per browser [1/s]')
    for browsers in ROWS:
        table.add_row(*measured(browsers, seconds))
    Console(width=110).print(table)


# --- Pictures in a headless Chromium, of the robot of the driving demo.

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / 'docs/images/dashboard.png'
MOST_BYTES = 400_000
WORLD, CAMERA_HZ, DEPTH_HZ = 7, 5.0, 5.0  # of the driving demo, where its robot starts
Scheme = Literal['light', 'dark']
# name -> width, height, scheme, pixels per point, the panel
VIEWS: dict[str, tuple[int, int, Scheme, float, str]] = {
    'laptop_light': (1366, 850, 'light', 1, 'live'),
    'laptop_dark': (1366, 850, 'dark', 1, 'live'),
    'phone_dark': (390, 844, 'dark', 2, 'live'),
    'phone_light': (390, 844, 'light', 2, 'picture'),
    'laptop_picture': (1366, 850, 'dark', 1, 'picture'),
    'laptop_silent': (1366, 850, 'light', 1, 'silent'),
    'phone_silent': (390, 844, 'dark', 2, 'silent'),
}
# Distances in metres are known, and something is in the way.
WORTH_SHOWING = """
() => /^[0-9.]+m/.test(document.querySelector('.nearest')?.innerText.replace(/\\s/g, '') ?? '')
    && !document.querySelector('.stats').innerText.includes('–')
"""
SETTLE_MS = 7000  # until rates are those of a node that has run for a while


@main.command()
@click.option('--all', 'folder', type=click.Path(file_okay=False, path_type=Path))
def pictures(folder: Path | None) -> None:
    """Start the robot and write pictures of the page."""
    from playwright.sync_api import sync_playwright

    processes.set_up_ros()
    with (
        tempfile.TemporaryDirectory() as logs,
        Children(Path(logs), processes.child_environment()) as children,
        sync_playwright() as playwright,
    ):
        node, dashboard = start(children)
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=['--no-sandbox'] if os.geteuid() == 0 else [],
            env={name: v for name, v in os.environ.items() if name != 'LD_LIBRARY_PATH'},
        )
        address = address_of(dashboard)
        if folder is None:
            save(PICTURE, shot(browser, address, node, 'laptop_light'))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for name in VIEWS:
                save(folder / f'{name}.png', shot(browser, address, node, name))
        browser.close()


def start(children: Children) -> tuple[Child, Child]:
    """The robot's camera; the depth node and the dashboard, which are returned."""
    commands = Plan(world=WORLD, rate_hz=DEPTH_HZ, camera_rate_hz=CAMERA_HZ).commands()
    children.start('camera', commands['camera'])
    node = children.start('depth_node', commands['depth_node'])
    return node, children.start('dashboard', [*WEB, '--model', 'embedded'])


def address_of(dashboard: Child) -> str:
    """Return the address that it prints when it is ready."""
    while dashboard.exit_code is None:
        match = re.search(r'dashboard: (http\S+)', dashboard.log.read_text())
        if match:
            return match[1]
        time.sleep(0.1)
    raise click.ClickException(dashboard.status())


def chromium() -> str:
    """Return the Chromium of this machine."""
    for name in ('chromium', 'chromium-browser', 'google-chrome'):
        path = shutil.which(name)
        if path:
            return path
    raise click.ClickException('no chromium on the PATH: apt install chromium')


def shot(browser: Browser, address: str, node: Child, name: str) -> bytes:
    """Return one of VIEWS as PNG."""
    width, height, scheme, scale, panel = VIEWS[name]
    page = browser.new_page(
        viewport={'width': width, 'height': height}, color_scheme=scheme, device_scale_factor=scale
    )
    page.goto(f'{address}#{"picture" if panel == "picture" else "live"}')
    if panel == 'picture':
        page.get_by_role('button', name='Sample: corridor 2').click()
        page.locator('#result-words[data-level=ok]').wait_for()
        page.wait_for_timeout(1000)
    else:
        page.wait_for_function(WORTH_SHOWING, timeout=120_000)
        page.wait_for_timeout(SETTLE_MS)
    if panel == 'silent':
        node.process.send_signal(signal.SIGSTOP)
        page.wait_for_timeout(SETTLE_MS)
    data = page.screenshot()
    node.process.send_signal(signal.SIGCONT)
    page.close()
    return data


def save(path: Path, data: bytes) -> None:
    """Write a PNG, with fewer colours if it is too large for a repository."""
    picture = Image.open(io.BytesIO(data)).convert('RGB')
    small = encoded(picture)
    if len(small) > MOST_BYTES:
        small = encoded(picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(small)
    print(f'{path}: {len(small)} bytes')


def encoded(picture: Image.Image) -> bytes:
    """Encode a PNG file."""
    file = io.BytesIO()
    picture.save(file, 'PNG', optimize=True)
    return file.getvalue()


if __name__ == '__main__':
    main()
