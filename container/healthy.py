#!/usr/bin/env python3
"""Health check of a container: exit code 0 if what runs in it answers, else 1 with the reason.

A dashboard must answer on its port; without one a depth node must publish on /diagnostics. A
camera that is silent is no fault of the container: it is on /diagnostics, not here.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PORT = 8080
TIMEOUT_S = 5.0


def main() -> int:
    """Look for a dashboard or a depth node among the processes, and ask it."""
    lines = command_lines()
    if any('midas_depth_ros.cli.dashboard' in line or 'bin/dashboard' in line for line in lines):
        return verdict(dashboard_fault(), 'the dashboard')
    return verdict(node_fault(), 'the depth node')


def command_lines() -> list[str]:
    """Return the command lines of this container's processes."""
    found = []
    for entry in Path('/proc').iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                found.append((entry / 'cmdline').read_bytes().replace(b'\0', b' ').decode())
        except (OSError, UnicodeDecodeError):
            continue
    return found


def verdict(fault: str, what: str) -> int:
    """Print what was found; return the exit code."""
    print(f'{what} {fault or "answers"}')
    return 1 if fault else 0


def dashboard_fault() -> str:
    """Return why the dashboard does not answer; '' if it does, even if it asks for a token."""
    try:
        with urllib.request.urlopen(f'http://127.0.0.1:{PORT}/', timeout=TIMEOUT_S):
            return ''
    except urllib.error.HTTPError as error:
        return '' if error.code < 500 else f'answers with status {error.code}'
    except OSError as error:
        return f'does not answer on port {PORT}: {error}'


def node_fault() -> str:
    """Return why the depth node is not heard; '' if it publishes diagnostics."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray

    rclpy.init(args=[])
    node = rclpy.create_node('health_check', enable_rosout=False, start_parameter_services=False)
    heard: list[str] = []

    def listen(message: DiagnosticArray) -> None:
        heard.extend(each.name for each in message.status if each.name.endswith(': model'))

    subscription = node.create_subscription(DiagnosticArray, '/diagnostics', listen, 10)
    deadline_s = time.monotonic() + TIMEOUT_S
    while not heard and time.monotonic() < deadline_s:
        rclpy.spin_once(node, timeout_sec=0.2)
    node.destroy_subscription(subscription)
    node.destroy_node()
    rclpy.shutdown()
    return '' if heard else f'published nothing on /diagnostics for {TIMEOUT_S:g} s'


if __name__ == '__main__':
    sys.exit(main())
