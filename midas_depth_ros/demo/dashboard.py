"""The dashboard beside a run: started if it is there, its address told, and never in the way."""

from __future__ import annotations

import importlib.util
import re
import socket
import sys

from rich.console import Console
from rich.text import Text

from midas_depth_ros.demo.processes import PROMPT, Child, Children
from midas_depth_ros.images.errors import printable

MODULE = 'midas_depth_ros.web'
HOST = '127.0.0.1'
ADDRESS = re.compile(r'https?://[^\s\'"]+')


class Dashboard:
    """One dashboard; `look()` tells its address once, followed by `hint`, or why there is none."""

    def __init__(self, children: Children, console: Console, port: int, hint: str = '') -> None:
        self._console = console
        self._hint = hint
        self._child: Child | None = None
        if not port:  # nobody wants it
            return
        if not is_there():
            self._say('No dashboard: this installation has none')
            return
        port = free_port(port)
        command = [sys.executable, '-m', MODULE, '--host', HOST, '--port', str(port)]
        self._child = children.start('dashboard', command)

    def look(self) -> None:
        """See how it does; call it now and then."""
        child = self._child
        if child is None:
            return
        if child.exit_code is not None:
            self._child = None
            self._say(f'No dashboard: {child.ending()}: {child.last_words()}')
            return
        said = [line for line in child.tail() if not line.startswith(PROMPT)]
        told = ADDRESS.search('\n'.join(said))
        if told:
            self._child = None
            self._say(f'Look at it live in a browser: {told.group().rstrip(".,;")}{self._hint}')

    def _say(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True)


def is_there() -> bool:
    """Whether the dashboard's room can be found; its libraries may still be missing."""
    return (
        importlib.util.find_spec(MODULE) is not None
        and importlib.util.find_spec(f'{MODULE}.__main__') is not None
    )


def free_port(wanted: int) -> int:
    """The port that is wanted, or any other one where that is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
