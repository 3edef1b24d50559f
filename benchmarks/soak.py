"""Whether the node's memory grows: ten thousand frames, everything subscribed to.

The node runs as a process of its own, is sent one picture after another over DDS, and its resident
memory is read every few hundred frames. What it needs at first is not counted.

    python -m benchmarks.soak
    python -m benchmarks.soak --frames 2000 --model midas_small --json
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from midas_depth_ros.lab.processes import cpu_seconds, node_command, resident_mib
from midas_depth_ros.lab.speed.nodes import ALL_OUTPUTS, SAME_PICTURE, feeding

SIZE = (640, 480)
CAMERA = 'c0'
FIRST_FRAMES = 500
EVERY = 250
# Known mount and field of view, so that the outputs in metres have work as well.
PARAMETERS = {
    'cameras': [CAMERA],
    'max_rate': 0.0,
    **SAME_PICTURE,
    'camera_height': 0.3,
    'camera_pitch': 0.1,
    'horizontal_fov': 1.15,
}


def soak(model: str, frames: int, logs: Path) -> list[tuple[int, float]]:
    """(frames so far, MiB resident) as it goes on. Raises BenchError."""
    found: list[tuple[int, float]] = []
    with feeding(logs, SIZE) as feeder:
        feeder.watch(CAMERA, ALL_OUTPUTS)
        command = node_command('nodes.depth.node', {**PARAMETERS, 'model': model})
        child, _ = feeder.start(CAMERA, 'node', command)
        pid, began = child.process.pid, time.monotonic()
        for number in range(1, frames + 1):
            feeder.latency_ms(CAMERA)
            if number % EVERY == 0:
                found.append((number, resident_mib(pid)))
        click.echo(
            f'{frames} frames in {time.monotonic() - began:.0f} s, '
            f'{1e3 * cpu_seconds(pid) / frames:.1f} ms of CPU each',
            err=True,
        )
    return found


def verdict(found: list[tuple[int, float]]) -> dict[str, float]:
    """Memory after the first frames, at the end, and the straight line's growth between."""
    later = np.array([line for line in found if line[0] >= FIRST_FRAMES])
    slope = float(np.polyfit(later[:, 0], later[:, 1], 1)[0]) if len(later) > 1 else 0.0
    return {
        'frames': int(later[-1, 0]),
        'after_first_mib': round(float(later[0, 1]), 2),
        'at_end_mib': round(float(later[-1, 1]), 2),
        'growth_mib_per_1000_frames': round(1000 * slope, 4),
    }


@click.command()
@click.option('--frames', type=click.IntRange(2 * FIRST_FRAMES), default=10_000, show_default=True)
@click.option('--model', default='embedded', show_default=True)
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object.')
def main(frames: int, model: str, as_json: bool) -> None:
    """Run, and print the memory as it went."""
    with tempfile.TemporaryDirectory(prefix='midas_depth_soak_') as logs:
        found = soak(model, frames, Path(logs))
    if as_json:
        click.echo(json.dumps({**verdict(found), 'model': model, 'resident_mib': found}))
        return
    table = Table('frames', 'MiB')
    for number, mib in found[:: max(1, len(found) // 10)]:
        table.add_row(str(number), f'{mib:.1f}')
    console = Console()
    console.print(table)
    console.print(verdict(found))


if __name__ == '__main__':
    main()
