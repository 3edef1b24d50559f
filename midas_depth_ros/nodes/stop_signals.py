"""SIGINT, SIGTERM and SIGHUP as a flag instead of a sudden end. Plain Python, no ROS."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, TypeVar

# A terminal that is closed says SIGHUP: what drives a robot must stop it then, too.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Self = TypeVar('Self', bound='StopSignals')


class StopSignals:
    """For the length of a `with` block: `requested` is the name of the signal that came last.

    The context that a signal finds stays whole, so that children are ended and last messages
    sent in order. What else shall happen, a subclass adds in `on_signal` and `handler_after`.
    A SIGHUP that is ignored stays ignored: so nohup asks for it.
    """

    def __init__(self, numbers: Sequence[signal.Signals] = STOP_SIGNALS) -> None:
        self.requested = ''
        self._numbers = tuple(
            number
            for number in numbers
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        )
        self._previous: dict[int, Any] = {}

    def __enter__(self: Self) -> Self:
        self._previous = {number: signal.signal(number, self.on_signal) for number in self._numbers}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            if handler is not None:  # else it was not Python that had set it
                signal.signal(number, self.handler_after(handler))

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal."""
        self.requested = signal.Signals(number).name

    def handler_after(self, previous: Any) -> Any:
        """What handles a signal after the block: what did before it."""
        return previous
