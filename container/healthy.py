#!/usr/bin/env python3
"""Health check of a container: exit code 0 if what runs in it answers, else 1 with the reason.

A dashboard must answer where it listens; without one a depth node must publish on /diagnostics. A
camera that is silent is no fault of the container: it is on /diagnostics, not here.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# Of the dashboard, where its command line says nothing else.
HOST, PORT = '127.0.0.1', '8080'
REACHED_BY = {'0.0.0.0': '127.0.0.1', '::': '::1'}  # who listens on all addresses
DASHBOARDS = ('midas_depth_ros.cli.dashboard', 'dashboard')  # by its module, or its program's name
PROGRAM_WORDS = 3  # of a command line, at most: python3 -m MODULE
TIMEOUT_S = 5.0  # of the dashboard
LISTEN_S = 12.0  # to the diagnostics of a depth node, which come every 10 s at the latest


def main() -> int:
    """Look for a dashboard or a depth node among the processes, and ask it."""
    address = dashboard_address(command_lines())
    if address:
        return verdict(dashboard_fault(address), 'the dashboard')
    return verdict(node_fault(), 'the depth node')


def command_lines() -> list[list[str]]:
    """Return the command lines of this container's processes, each as its words."""
    found = []
    for entry in Path('/proc').iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                found.append((entry / 'cmdline').read_bytes().decode().split('\0'))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def dashboard_address(commands: list[list[str]]) -> str:
    """Return host:port of the dashboard among these command lines; '' if there is none."""
    for words in commands:
        programs = (Path(word).name for word in words[:PROGRAM_WORDS])
        if any(name in DASHBOARDS for name in programs):
            host = option(words, '--host', HOST)
            host = REACHED_BY.get(host, host)
            return f'{f"[{host}]" if ":" in host else host}:{option(words, "--port", PORT)}'
    return ''


def option(words: list[str], name: str, otherwise: str) -> str:
    """Return the value of an option, written as `name value` or `name=value`."""
    for word, following in zip(words, [*words[1:], ''], strict=True):
        if word == name and following:
            return following
        if word.startswith(f'{name}='):
            return word.partition('=')[2]
    return otherwise


def verdict(fault: str, what: str) -> int:
    """Print what was found; return the exit code."""
    print(f'{what} {fault or "answers"}')
    return 1 if fault else 0


def dashboard_fault(address: str) -> str:
    """Return why the dashboard does not answer; '' if it does, even if it asks for a token."""
    try:
        with urllib.request.urlopen(f'http://{address}/', timeout=TIMEOUT_S):
            return ''
    except urllib.error.HTTPError as error:
        return '' if error.code < 500 else f'answers with status {error.code}'
    except OSError as error:
        return f'does not answer on {address}: {error}'


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
    deadline_s = time.monotonic() + LISTEN_S
    while not heard and time.monotonic() < deadline_s:
        rclpy.spin_once(node, timeout_sec=0.2)
    node.destroy_subscription(subscription)
    node.destroy_node()
    rclpy.shutdown()
    return '' if heard else f'published nothing on /diagnostics for {LISTEN_S:g} s'


if __name__ == '__main__':
    sys.exit(main())
