"""What ends a command with one line and exit code 1."""

from __future__ import annotations


class CommandError(Exception):
    """The text names what was in the way and the remedy."""
