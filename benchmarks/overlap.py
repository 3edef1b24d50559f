"""Whether it helps to make the outputs of a frame while the next one is in the network.

The same frames one after another, and with a second thread for what follows the network, in turn.
What is printed is for a robot without a GPU, where the network uses all cores itself.

    python -m benchmarks.overlap
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
from std_msgs.msg import Header

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import closeness
from midas_depth_ros.lab.speed.contestants import Contestant, find_weights, loaded
from midas_depth_ros.lab.speed.run import picture
from midas_depth_ros.nodes.ros.messages import bgr_message, image_message
from midas_depth_ros.views import Heatmap, HeatmapOptions

SIZE = (640, 480)
FRAMES = 15  # of a turn


class Outputs:
    """Depth, closeness and heatmap as messages."""

    def __init__(self) -> None:
        self._heatmap, self._options, self._stamp_s = Heatmap(), HeatmapOptions(), 0.0

    def make(self, small: Any) -> None:
        """Of one frame."""
        self._stamp_s += 0.1
        closeness(small)
        shape = (SIZE[1], SIZE[0])
        image_message(DepthEstimator.enlarge(small, shape), Header())
        rgb = self._heatmap.render(small, None, self._stamp_s, self._options, shape)
        bgr_message(rgb, Header())


def in_turn(one: Contestant, outputs: Outputs) -> None:
    """One frame after another."""
    for _ in range(FRAMES):
        outputs.make(one.network(one.preprocess(picture(*SIZE))))


def overlapped(one: Contestant, outputs: Outputs) -> None:
    """What follows the network in a thread of its own."""
    waiting: queue.Queue[Any] = queue.Queue(1)

    def work() -> None:
        while (small := waiting.get()) is not None:
            outputs.make(small)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(FRAMES):
        waiting.put(one.network(one.preprocess(picture(*SIZE))))
    waiting.put(None)
    thread.join()


@click.command()
@click.option('--backend', default='openvino', show_default=True)
@click.option('--precision', default='bf16', show_default=True)
@click.option('--turns', default=30, show_default=True)
def main(backend: str, precision: str, turns: int) -> None:
    """Print milliseconds per frame of both ways."""
    one, outputs = loaded(backend, precision, find_weights('auto').path, 0), Outputs()
    ways: dict[str, Callable[[Contestant, Outputs], None]] = {
        'one after another': in_turn,
        'overlapped': overlapped,
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            before, cpu_before = time.perf_counter(), time.process_time()
            way(one, outputs)
            if turn:  # the first one warms up
                wall[name].append(1e3 * (time.perf_counter() - before) / FRAMES)
                cpu[name].append(1e3 * (time.process_time() - cpu_before) / FRAMES)
    for name in ways:
        click.echo(
            f'{name}: median {np.median(wall[name]):.1f} ms, fastest {min(wall[name]):.1f} ms, '
            f'CPU {np.median(cpu[name]):.1f} ms per frame'
        )


if __name__ == '__main__':
    main()
