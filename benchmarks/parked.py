"""A parked robot (`reuse_unchanged`): how much CPU is saved, and whether a motion is missed.

    python -m benchmarks.parked cpu --write docs/performance.md
    python -m benchmarks.parked moving FOLDER... --write docs/performance.md

`cpu` shows rendered places with the noise of a sensor, raw and as JPEG, to the node's own classes,
with and without reuse in turn, in processor time of the whole process. `moving` gives folders of
pictures of a camera that moves to the comparison: each picture that it calls unchanged is a fault.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

import midas_depth_ros
from benchmarks.model_quality import read_picture
from benchmarks.performance_page import finish
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.estimator import PictureLike
from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.images.unchanged import CHANGED, FEWEST_PAIRS, UnchangedPicture
from midas_depth_ros.nodes.bag.pipeline import BagPipeline
from midas_depth_ros.nodes.ros.messages import (
    camera_info_message,
    image_message,
    jpeg_message,
    time_message,
)
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings, bound_opencv_threads

SAMPLES = Path(midas_depth_ros.__file__).parent / 'assets' / 'samples'
PLACES = ('corridor_1', 'room_1', 'street_1')
SIZE = (640, 480)
RATE_HZ, LONGEST_S = 5.0, 1.0
WANTED = ('closeness', 'heatmap/image', 'depth/image', 'depth/camera_info', 'scan', 'proximity')
FRAMES, LEARNING = 60, 15
KINDS = ((1.0, 0), (3.0, 0), (3.0, 90))  # noise in grey levels, JPEG quality; 0 = raw


@click.group()
def main() -> None:
    """Measure pictures that share an answer."""


def place(name: str) -> NDArray[np.float32]:
    """Read a rendered place as (480, 640, 3) float32 RGB."""
    bgr = cv2.imread(str(SAMPLES / f'{name}.jpg'))
    large = cv2.resize(bgr, SIZE, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large[:, :, ::-1], np.float32)


def shots(light: NDArray[np.float32], noise: float) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures of a sensor whose noise grows with brightness."""
    random = np.random.default_rng(0)
    spread = noise * np.sqrt(0.4 + light / 128)
    while True:
        picture = light + spread * random.normal(0, 1, light.shape)
        yield np.clip(np.rint(picture), 0, 255).astype(np.uint8)


class Line:
    """The node's own classes on the pictures of one camera."""

    def __init__(self, model: str, quality: int, reuse_s: float) -> None:
        topic = '/c/image_raw' + ('/compressed' if quality else '')
        self._camera = BagCamera('c', topic, '/c/camera_info', 'compressed' if quality else 'raw')
        self._quality, self._number = quality, 0
        given = {
            'camera_height': 0.3, 'camera_pitch': 0.1, 'reuse_unchanged': reuse_s,
        }  # fmt: skip
        settings = build(DepthNodeSettings, given)
        estimator = load_estimator(model)
        self.asked = 0  # how many pictures the network was given
        infer = estimator.infer_with_error

        def counted(picture: PictureLike) -> Any:
            self.asked += 1
            return infer(picture)

        estimator.infer_with_error = counted  # type: ignore[method-assign]
        bound_opencv_threads(estimator.backend, 0)
        self._pipeline = BagPipeline(estimator, settings, [self._camera], WANTED, print, print)
        info = camera_info_message(CameraModel.from_field_of_view(*SIZE, 1.15), self._header())
        self._process('/c/camera_info', info)

    def _header(self) -> Header:
        head = Header(frame_id='camera_optical_frame')
        head.stamp = time_message(round(1e9 * (100 + self._number / RATE_HZ)))
        return head

    def _process(self, topic: str, message: object) -> None:
        kind = f'sensor_msgs/msg/{type(message).__name__}'
        time_ns = round(1e9 * (100 + self._number / RATE_HZ))
        list(self._pipeline.process(Recorded(topic, kind, time_ns, serialize_message(message))))

    def show(self, rgb: NDArray[np.uint8]) -> float:
        """Process one picture; returns milliseconds of processor time."""
        self._number += 1
        head = self._header()
        made = jpeg_message(rgb, head, self._quality) if self._quality else image_message(rgb, head)
        began = time.process_time()
        self._process(self._camera.image, made)
        return 1e3 * (time.process_time() - began)


@main.command()
@click.option('--models', default='embedded', show_default=True)
@click.option('--write', type=click.Path(dir_okay=False, path_type=Path), help='A page to fill.')
def cpu(models: str, write: Path | None) -> None:
    """Measure the processor time of a frame, and print a table."""
    lines = [
        '| model | pictures | share an answer | CPU per frame [ms] | without reuse [ms] | saved |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for model in models.split(','):
        for noise, quality in KINDS:
            times: dict[float, list[float]] = {LONGEST_S: [], 0.0: []}
            shared = 0
            for name in PLACES:
                made = {reuse_s: Line(model, quality, reuse_s) for reuse_s in times}
                for number, rgb in zip(range(FRAMES), shots(place(name), noise), strict=False):
                    for reuse_s, line in made.items():
                        spent = line.show(rgb)
                        if number >= LEARNING:
                            times[reuse_s].append(spent)
                    if number == LEARNING - 1:
                        shared += made[LONGEST_S].asked
                shared += FRAMES - LEARNING - made[LONGEST_S].asked
            kind = f'JPEG {quality}' if quality else 'raw'
            on, off = (statistics.mean(each) for each in times.values())
            lines.append(
                f'| `{model}` | {kind}, noise {noise:g} | '
                f'{shared / len(times[0.0]):.0%} | {on:.1f} | {off:.1f} | {1 - on / off:.0%} |'
            )
            click.echo(lines[-1], err=True)
    finish('parked', lines, write)


@main.command()
@click.argument(
    'folders',
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option('--write', type=click.Path(dir_okay=False, path_type=Path), help='A page to fill.')
def moving(folders: tuple[Path, ...], write: Path | None) -> None:
    """Count pictures of a moving camera that are called unchanged, and print a table."""
    lines = [
        '| pictures of a moving camera | judged | called unchanged | changed | cannot be told |',
        '| --- | --- | --- | --- | --- |',
    ]
    for folder in folders:
        paths = sorted(
            path
            for path in folder.iterdir()
            if path.suffix in ('.jpg', '.png') and 'depth' not in path.name
        )
        if len(paths) <= FEWEST_PAIRS + 1:
            raise click.ClickException(
                f'{folder} has {len(paths)} pictures: choose a folder with more than '
                f'{FEWEST_PAIRS + 1} .jpg or .png in it'
            )
        comparison, found = UnchangedPicture(), []
        for path in paths:
            rgb = np.ascontiguousarray(read_picture(path, cv2.IMREAD_COLOR)[:, :, ::-1])
            found.append(comparison.changed(rgb))
            if found[-1]:
                comparison.keep()
        judged = found[FEWEST_PAIRS + 1 :]
        unchanged, changed = judged.count(''), judged.count(CHANGED)
        name = folder.parent.name if folder.name == 'image' else folder.name
        lines.append(
            f'| {name} | {len(judged)} | {unchanged} | {changed} | '
            f'{len(judged) - unchanged - changed} |'
        )
    finish('moving', lines, write)


if __name__ == '__main__':
    main()
