"""Wakes a waiting executor as soon as a signal comes, so that it need not wake up to look.

Python runs its handlers between two steps of the main thread, which does not take one while it
waits inside rcl. The interpreter can write to a file descriptor at once, though; a thread that
sleeps on its other end then ends the wait.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from types import TracebackType

CHUNK_BYTES = 64


class SignalWaker:
    """For the length of a `with` block in the main thread: every signal calls `wake`."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._thread = threading.Thread(target=self._run, name='signal_waker')
        self._previous = -1

    def __enter__(self) -> SignalWaker:
        self._receiving, self._sending = socket.socketpair()
        self._sending.setblocking(False)
        self._previous = signal.set_wakeup_fd(self._sending.fileno(), warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._previous)
        self._sending.close()  # the thread sees the end
        self._thread.join()
        self._receiving.close()

    def _run(self) -> None:
        while self._receiving.recv(CHUNK_BYTES):
            self._wake()
