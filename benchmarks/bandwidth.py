"""Bytes and CPU of each image that depth_node publishes, for docs/wifi.md.

    python -m benchmarks.bandwidth
    python -m benchmarks.bandwidth --model midas_small --write docs/wifi.md

Pictures of the procedural world, depth by a network, as the node enlarges and publishes it: bytes
are those of the serialised message, CPU that of making the message of an array, alternating, in
processor time. What comes before (inference, enlarging, colouring) and after (the middleware) is
not in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from benchmarks.edges import HEIGHT, KINDS, SEEDS, WIDTH, fitted
from benchmarks.performance_page import write_block
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import depth_of_inverse
from midas_depth_ros.lab.speed.run import timed_in_turn
from midas_depth_ros.nodes.ros import messages
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.metric import DepthImageOptions
from midas_depth_ros.views import Heatmap
from training.places import sample

RATE_HZ = DepthNodeSettings().max_rate
SECONDS = 5.0  # of timing, for each picture
TABLE_HEAD = f"""\
| output | kB per frame | least to most | Mbit/s at {RATE_HZ:g} Hz | share of 32FC1 | CPU [ms] |
| --- | --- | --- | --- | --- | --- |"""
DEPTH, PACKED = '`depth/image`', '`depth/image/compressedDepth`'


@dataclasses.dataclass(frozen=True)
class Frame:
    """What the node has of one picture before it makes messages.

    depth_z: (H, W) float32 metres, NaN unknown; small_z: the same at network size. heatmap: (H, W,
    3) uint8 RGB.
    """

    depth_z: NDArray[np.float32]
    small_z: NDArray[np.float32]
    heatmap: NDArray[np.uint8]


Make = Callable[[Frame], object]
HEADER = Header(frame_id='camera_optical_frame')


def depth_image(encoding: str) -> Make:
    """Return how a raw depth image is made."""
    return lambda frame: messages.serialised_depth(frame.depth_z, HEADER, encoding)


def packed_depth(**options: object) -> Make:
    """Return how a compressed depth image is made, by options of the group `depth`."""
    made = DepthImageOptions(**options)  # type: ignore[arg-type]
    return lambda frame: messages.compressed_depth_message(frame.depth_z, HEADER, made)


def rows() -> dict[str, Make]:
    """Return the lines of the table and how their messages are made."""
    found: dict[str, Make] = {f'{DEPTH} 32FC1': depth_image('32FC1')}
    found[f'{DEPTH} 16UC1'] = depth_image('16UC1')
    for level in (1, 3):
        found[f'{PACKED} 32FC1 png, level {level}'] = packed_depth(compressed_png_level=level)
    found[f'{PACKED} 32FC1 rvl'] = packed_depth(compressed_format='rvl')
    for quantization in (20.0, 100.0):
        for name in ('png', 'rvl'):
            found[f'{PACKED} 32FC1 {name}, quantization {quantization:g} m'] = packed_depth(
                compressed_format=name, compressed_quantization=quantization
            )
    for name in ('png', 'rvl'):
        found[f'{PACKED} 16UC1 {name}'] = packed_depth(encoding='16UC1', compressed_format=name)
    quality = DepthNodeSettings().jpeg_quality
    found['`heatmap/image`'] = lambda frame: messages.serialised_bgr(frame.heatmap, HEADER)
    found['`heatmap/image/compressed`'] = lambda frame: messages.jpeg_message(
        frame.heatmap, HEADER, quality
    )
    found[f'{PACKED} 32FC1 png, output_size network'] = lambda frame: packed_depth()(
        dataclasses.replace(frame, depth_z=frame.small_z)
    )
    return found


def frames(model: str) -> list[Frame]:
    """Return depth and heatmap of one picture of each kind, scaled by its exact depth."""
    estimator, found = load_estimator(model, allow_download=False), []
    limits, colours = DepthImageOptions(), DepthNodeSettings().heatmap
    for kind in KINDS:
        view = sample(SEEDS[0], WIDTH, HEIGHT, kind)
        small = estimator.infer(view.rgb)
        exact = (1 / view.depth_z).astype(np.float32)
        reduced = cv2.resize(exact, small.shape[::-1], interpolation=cv2.INTER_AREA)
        scale, shift = fitted(small, reduced)
        depth_z, small_z = (
            depth_of_inverse(
                (scale * each + shift).astype(np.float32),
                min_depth_m=limits.min,
                max_depth_m=limits.max,
            )
            for each in (estimator.enlarge(small, (HEIGHT, WIDTH)), small)
        )
        heatmap = Heatmap().render(small, view.rgb, 0.0, colours, (HEIGHT, WIDTH), None)
        found.append(Frame(depth_z, small_z, heatmap))
    return found


@click.command()
@click.option('--model', default='embedded', show_default=True)
@click.option('--write', 'page', type=click.Path(dir_okay=False, path_type=Path))
def main(model: str, page: Path | None) -> None:
    """Measure, print the table, and write it into a page (docs/wifi.md)."""
    cv2.setNumThreads(1)  # as in the node
    made = rows()
    sizes: dict[str, list[int]] = {name: [] for name in made}
    cpu_ms: dict[str, list[float]] = {name: [] for name in made}
    for frame in frames(model):
        for name, make in made.items():
            message = make(frame)
            serialised = message if isinstance(message, bytes) else serialize_message(message)
            sizes[name].append(len(serialised))
        calls = {name: (lambda make=make, frame=frame: make(frame)) for name, make in made.items()}
        for name, times in timed_in_turn(calls, SECONDS).items():
            cpu_ms[name].append(times.cpu_ms)
    text = table(sizes, cpu_ms)
    if page:
        write_block(page, 'bandwidth', text)
    click.echo(text)


def table(sizes: dict[str, list[int]], cpu_ms: dict[str, list[float]]) -> str:
    """Return the table of docs/wifi.md: means over the pictures."""
    lines, raw = [TABLE_HEAD], float(np.mean(sizes[f'{DEPTH} 32FC1']))
    for name, each in sizes.items():
        mean = float(np.mean(each))
        lines.append(
            f'| {name} | {mean / 1e3:.0f} | {min(each) / 1e3:.0f} to {max(each) / 1e3:.0f} | '
            f'{8e-6 * RATE_HZ * mean:.1f} | {mean / raw:.0%} | {np.mean(cpu_ms[name]):.1f} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
