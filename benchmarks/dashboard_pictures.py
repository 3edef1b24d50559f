#!/usr/bin/env python3
"""Takes pictures of the dashboard in a headless Chromium, over the robot of the driving demo.

    python -m benchmarks.dashboard_pictures            # docs/images/dashboard.png
    python -m benchmarks.dashboard_pictures --all DIR  # laptop, phone, light, dark, both tabs, and
                                                       # a depth node that has stopped

Needs playwright (requirements/dev.txt) and a Chromium on the PATH.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import click
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from midas_depth_ros.lab import processes
from midas_depth_ros.lab.demo import driving
from midas_depth_ros.lab.processes import Child, Children

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
# Metres are known, and something is in the way.
WORTH_SHOWING = """
() => /^[0-9.]+m/.test(document.querySelector('.nearest')?.innerText.replace(/\\s/g, '') ?? '')
    && !document.querySelector('.stats').innerText.includes('–')
"""
SETTLE_MS = 7000  # until the rates are those of a node that has run for a while


@click.command()
@click.option('--all', 'folder', type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path | None) -> None:
    """Start the robot, look at it, and write the pictures."""
    processes.set_up()
    with (
        tempfile.TemporaryDirectory() as logs,
        Children(Path(logs), processes.for_children()) as children,
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
    commands = driving.commands(WORLD, 'embedded', DEPTH_HZ, CAMERA_HZ, 'raw')
    children.start('camera', commands['camera'])
    node = children.start('depth_node', commands['depth_node'])
    web = [sys.executable, '-m', 'midas_depth_ros.web', '--port', '0', '--model', 'embedded']
    return node, children.start('dashboard', web)


def address_of(dashboard: Child) -> str:
    """What it prints when it is ready."""
    while dashboard.exit_code is None:
        match = re.search(r'dashboard: (http\S+)', dashboard.log.read_text())
        if match:
            return match[1]
        time.sleep(0.1)
    raise click.ClickException(dashboard.ending())


def chromium() -> str:
    """The Chromium of this machine."""
    for name in ('chromium', 'chromium-browser', 'google-chrome'):
        path = shutil.which(name)
        if path:
            return path
    raise click.ClickException('no chromium on the PATH: apt install chromium')


def shot(browser: Browser, address: str, node: Child, name: str) -> bytes:
    """One of VIEWS as PNG."""
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
    """Write a small PNG; with fewer colours where it is too large for a repository."""
    picture = Image.open(io.BytesIO(data)).convert('RGB')
    small = encoded(picture)
    if len(small) > MOST_BYTES:
        small = encoded(picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(small)
    print(f'{path}: {len(small)} bytes')


def encoded(picture: Image.Image) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    picture.save(file, 'PNG', optimize=True)
    return file.getvalue()


if __name__ == '__main__':
    main()
