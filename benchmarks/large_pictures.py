"""Large pictures: how fast the node is at output widths, and what decoding less of a JPEG changes.

    python -m benchmarks.large_pictures node --write docs/cameras.md
    python -m benchmarks.large_pictures node --size 3840x2160 --model midas_small
    python -m benchmarks.large_pictures answers PICTURE... --write docs/cameras.md

`node` feeds a depth_node over DDS, one picture after another: rate, latency from stamp to heatmap
and processor time with depth, its camera_info and the heatmap subscribed to. `answers` enlarges
pictures, saves them as JPEG, and compares what the network says of the whole and of the reduced.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from benchmarks.performance_page import finish
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images import decode_compressed, encode_jpeg, read_image, stamp_ns
from midas_depth_ros.images.reduction import sufficient_size
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.processes import Children, cpu_seconds, node_command
from midas_depth_ros.lab.speed.nodes import MESSAGE_TYPES
from midas_depth_ros.lab.speed.run import picture
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import (
    camera_info_message,
    image_message,
    jpeg_message,
    time_message,
)

CAMERA = 'c0'
HEATMAP = 'heatmap/image'
WATCHED = ('relative_inverse_depth/image', 'depth/image', 'depth/camera_info', HEATMAP)
PARAMETERS = {
    'cameras': [CAMERA], 'max_rate': 0.0, 'picture_check': False, 'frozen_after': 0.0,
    'scale.source': 'fixed', 'scale.fixed_scale': 1.0, 'scale.fixed_shift': 0.1,
}  # fmt: skip
WARM_UP, TIMEOUT_S, START_S = 3, 30.0, 120.0
FIRST_S = 10.0  # until another picture is sent to a node that starts
QUALITY, NOISE = 90, 2.0  # of the JPEGs
SEGMENT_BYTES = 160 * 2**20  # of shared memory, for each process


@click.group()
def main() -> None:
    """Measure large pictures."""


def share_enough_memory(folder: Path) -> None:
    """Let this process and its nodes pass 12 megapixels, 36 MB, through shared memory."""
    profile = folder / 'profile.xml'
    text = processes.PROFILE.read_text()
    profile.write_text(text.replace(f'>{processes.SEGMENT_BYTES}<', f'>{SEGMENT_BYTES}<'))
    for name in processes.PROFILE_VARIABLES:
        os.environ[name] = str(profile)


class Feed:
    """Publishes one picture again and again, each time after the heatmap of the last one."""

    def __init__(self, executor: Any, size: tuple[int, int], compressed: bool) -> None:
        self._executor = executor
        self._node = Node('large_pictures', context=executor.context)
        executor.add_node(self._node)
        onlooker = Node('onlooker', context=executor.context)  # never spun: it costs nothing
        head, rgb = Header(frame_id='camera_optical_frame'), picture(*size)
        self._message: Any = image_message(rgb, head)
        if compressed:
            self._message = jpeg_message(rgb, head, QUALITY)
        topic = f'{CAMERA}/image_raw' + ('/compressed' if compressed else '')
        kind = CompressedImage if compressed else Image
        self._images = self._node.create_publisher(kind, topic, 1)
        self._infos = self._node.create_publisher(CameraInfo, f'{CAMERA}/camera_info', 1)
        self._info = camera_info_message(CameraModel.from_field_of_view(*size, 1.15), head)
        self._seen = 0
        self.width = 0
        for name in WATCHED:
            if name != HEATMAP:
                qos.make_subscription(
                    onlooker, MESSAGE_TYPES[name], f'{CAMERA}/{name}', print, qos.NEWEST
                )
        qos.make_subscription(
            self._node, Image, f'{CAMERA}/{HEATMAP}', self._on_heatmap, qos.NEWEST, serialised=True
        )

    def _on_heatmap(self, serialised: Any) -> None:
        heatmap = read_image(serialised) if isinstance(serialised, bytes) else serialised
        self._seen, self.width = stamp_ns(heatmap.header), heatmap.width

    def frame_ms(self, timeout_s: float = TIMEOUT_S) -> float | None:
        """Milliseconds from the stamp of a picture to its heatmap; None if it never came."""
        now_ns = time.time_ns()
        self._message.header.stamp = self._info.header.stamp = time_message(now_ns)
        self._infos.publish(self._info)
        self._images.publish(self._message)
        end = time.monotonic() + timeout_s
        while self._seen != now_ns:
            if time.monotonic() > end:
                return None
            self._executor.spin_once(timeout_sec=0.05)
        return (time.time_ns() - now_ns) / 1e6


def node_row(
    size: tuple[int, int], compressed: bool, width: int, model: str, seconds: float
) -> str:
    """Return one line of the table. Raises ClickException where no heatmap comes."""
    given = PARAMETERS | {
        'model': model, 'output_width': width, 'transport': 'compressed' if compressed else 'raw',
    }  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix='midas_depth_large_') as logs,
        Children(Path(logs), processes.child_environment()) as children,
        processes.ros_context() as executor,
    ):
        feed = Feed(executor, size, compressed)
        child = children.start('node', node_command('nodes.depth.node', given))
        end = time.monotonic() + START_S
        while feed.frame_ms(FIRST_S) is None:
            if time.monotonic() > end or child.exit_code is not None:
                raise click.ClickException(f'no heatmap: {child.last_message()}')
        for _ in range(WARM_UP):
            feed.frame_ms()
        before, began, times = cpu_seconds(child.process.pid), time.monotonic(), []
        while time.monotonic() < began + seconds:
            times.append(feed.frame_ms())
        known = [each for each in times if each is not None]
        if not known:
            raise click.ClickException(f'no heatmap within {TIMEOUT_S:g} s: {child.last_message()}')
        rate = len(known) / (time.monotonic() - began)
        cpu_ms = 1e3 * (cpu_seconds(child.process.pid) - before) / len(known)
    kind = 'JPEG' if compressed else 'raw'
    bound = str(width) if width else '0 (as the picture)'
    return (
        f'| {kind} | {bound} | {feed.width} | {rate:.1f} | {statistics.median(known):.0f} | '
        f'{cpu_ms:.0f} |'
    )


@main.command()
@click.option(
    '--size', type=click.IntRange(16, 20_000), nargs=2, default=(4000, 3000), show_default=True
)
@click.option(
    '--widths', type=click.IntRange(0), multiple=True, default=(0, 1280, 640), show_default=True
)
@click.option('--model', default='embedded', show_default=True)
@click.option('--seconds', default=10.0, show_default=True, help='For each line.')
@click.option('--write', type=click.Path(dir_okay=False, path_type=Path), help='A page to fill.')
def node(
    size: tuple[int, int], widths: tuple[int, ...], model: str, seconds: float, write: Path | None
) -> None:
    """Measure the node over DDS, and print a table."""
    with tempfile.TemporaryDirectory(prefix='midas_depth_profile_') as folder:
        share_enough_memory(Path(folder))
        processes.set_up_ros()
        lines = node_rows(size, widths, model, seconds)
    finish('large pictures', lines, write)


def node_rows(
    size: tuple[int, int], widths: tuple[int, ...], model: str, seconds: float
) -> list[str]:
    """Return the table of `node`."""
    lines = [
        f'| {size[0]}x{size[1]}, `{model}` | `output_width` | heatmap is wide | '
        'frames per second | latency, median [ms] | CPU per frame [ms] |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for compressed in (False, True):
        for most in widths:
            lines.append(node_row(size, compressed, most, model, seconds))
            click.echo(lines[-1], err=True)
    return lines


@main.command()
@click.argument('pictures', nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option('--model', default='embedded', show_default=True)
@click.option('--width', default=4000, show_default=True, help='To which pictures are enlarged.')
@click.option('--write', type=click.Path(dir_okay=False, path_type=Path), help='A page to fill.')
def answers(pictures: tuple[Path, ...], model: str, width: int, write: Path | None) -> None:
    """Compare what the network says of whole and of reduced pictures, and print a table."""
    estimator = load_estimator(model)
    random = np.random.default_rng(0)
    off: dict[str, list[float]] = {'reduced': [], 'noise': [], 'encoded': []}
    for path in pictures:
        rgb = enlarged(path, width)
        message, again, coarse = (
            types.SimpleNamespace(format='jpeg', data=encode_jpeg(each, quality))
            for each, quality in (
                (noisy(rgb, random), QUALITY), (noisy(rgb, random), QUALITY), (rgb, QUALITY - 10),
            )
        )  # fmt: skip
        whole = estimator.infer(decode_compressed(message))
        least = sufficient_size(whole.shape, 1280)
        for name, other in (
            ('reduced', decode_compressed(message, least=least)),
            ('noise', decode_compressed(again)),
            ('encoded', decode_compressed(coarse)),
        ):
            off[name].append(deviation(whole, estimator.infer(other)))
    words = {
        'reduced': 'the same JPEG, decoded at a half',
        'noise': 'another picture of the same scene: other noise of the sensor',
        'encoded': f'JPEG quality {QUALITY - 10} in place of {QUALITY}, without noise',
    }
    lines = [
        f'| {len(pictures)} pictures, {width} wide, `{model}` | off, of its range: median | most |',
        '| --- | --- | --- |',
        *(
            f'| {words[name]} | {statistics.median(each):.2%} | {max(each):.2%} |'
            for name, each in off.items()
        ),
    ]  # fmt: skip
    finish('reduced answers', lines, write)


def enlarged(path: Path, width: int) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) RGB of this width; its height a multiple of 8."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise click.ClickException(f'{path} is not a picture')
    height = round(width * bgr.shape[0] / bgr.shape[1] / 8) * 8
    large = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_LANCZOS4)
    return np.asarray(cv2.cvtColor(large, cv2.COLOR_BGR2RGB), np.uint8)


def noisy(rgb: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Add the noise of a sensor."""
    noise = random.normal(0, NOISE, rgb.shape).astype(np.float32)
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


def deviation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean deviation of two answers after the best scale and shift, as a share of their range."""
    table = np.stack([other.ravel(), np.ones(other.size)], axis=1)
    fit = np.linalg.lstsq(table, one.ravel(), rcond=None)[0]
    low, high = np.percentile(one, (2, 98))
    return float(np.abs(table @ fit - one.ravel()).mean() / (high - low))


if __name__ == '__main__':
    main()
