"""What ends a command with one line and exit code 1."""

from __future__ import annotations

from midas_depth_ros.images.errors import printable


class CommandError(Exception):
    """The text names what was in the way and the remedy; it is printable."""

    def __init__(self, text: object) -> None:
        super().__init__(printable(text))
