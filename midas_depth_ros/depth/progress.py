"""Shows how far a download or a conversion has come.

In go byte counts or the names of steps, out come a bar on a terminal, log lines elsewhere, or
nothing.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

import tqdm

from midas_depth_ros.depth.weights import KB, WeightsFile, duration

BYTES_PER_MB = 1e6

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def show_progress(
    spec: WeightsFile, have: int, shown: bool, log_every_s: float
) -> Iterator[Callable[[int], None]]:
    """Give a function to call with the number of bytes that are there; `have` at the start."""
    if not shown:
        yield lambda done: None
    elif sys.stderr is not None and sys.stderr.isatty():
        unit = {'unit': 'B', 'unit_scale': True}
        with tqdm.tqdm(total=spec.size, initial=have, desc=spec.name, **unit) as bar:
            yield lambda done: _advance(bar, done)
    else:
        yield _log_lines(spec, have, log_every_s)


def _log_lines(spec: WeightsFile, have: int, every_s: float) -> Callable[[int], None]:
    began = last = time.monotonic()

    def report(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            text = f'{spec.name}: {done / BYTES_PER_MB:.1f} of {spec.size / BYTES_PER_MB:.1f} MB'
            rate = (done - have) / max(now - began, 1e-3)  # bytes a second
            if rate > 0 and done < spec.size:
                text += f', {rate / KB:.0f} kB/s, {duration((spec.size - done) / rate)} left'
            logger.info('%s', text)

    return report


def _advance(bar: tqdm.tqdm, done: int) -> None:
    bar.update(done - bar.n)  # backwards, too, when a download starts again


@contextlib.contextmanager
def show_steps(title: str, count: int) -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each of `count` steps as it begins."""
    if sys.stderr is not None and sys.stderr.isatty():
        with tqdm.tqdm(total=count, desc=title) as bar:
            yield lambda name: _next_step(bar, name)
    else:
        number = iter(range(1, count + 1))
        yield lambda name: logger.info('%s: %d of %d, %s', title, next(number), count, name)


def _next_step(bar: tqdm.tqdm, name: str) -> None:
    bar.set_postfix_str(name)
    bar.update()
