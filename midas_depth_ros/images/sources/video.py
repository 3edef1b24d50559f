"""Video files and camera devices as sources, both by OpenCV."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.checks import check_size
from midas_depth_ros.images.errors import UnreadableFile, printable
from midas_depth_ros.images.files import check_file
from midas_depth_ros.images.sources.errors import SourceLost, SourceNotFound, UnreadableSource
from midas_depth_ros.images.sources.frames import Frame, Source, Warn

DEVICE_FOLDER = Path('/dev')
# What a video file may claim; others say nothing or nonsense.
PLAUSIBLE_RATE_HZ = (0.1, 1000.0)
ASSUMED_RATE_HZ = 30.0
MOST_PICTURES = 1e9


class VideoFile(Source):
    """A video file, at its own rate."""

    def __init__(self, path: Path, max_pixels: int, warn: Warn) -> None:
        self.name = str(path)
        self._path = path
        try:
            check_file(path)
        except UnreadableFile as error:
            raise UnreadableSource(f'{path}: {error}') from error
        with self._open() as capture:
            width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            check_size(width, height, max_pixels)
            rate_hz = capture.get(cv2.CAP_PROP_FPS)
            length = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        low, high = PLAUSIBLE_RATE_HZ
        if not (math.isfinite(rate_hz) and low <= rate_hz <= high):
            text = f'{path}: its rate is {rate_hz} Hz: {ASSUMED_RATE_HZ:g} Hz is assumed'
            warn(printable(text))
            rate_hz = ASSUMED_RATE_HZ
        self.rate_hz: float = rate_hz
        self.length = int(length) if 0 < length < MOST_PICTURES else None

    def __iter__(self) -> Iterator[Frame]:
        index = -1
        with self._open() as capture:
            for index, bgr in enumerate(pictures_of(capture)):
                yield Frame(
                    f'{self._path} picture {index}',
                    time_ns=round(index * 1e9 / self.rate_hz),
                    picture=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
                )
        if index < 0:
            raise UnreadableSource(f'{self._path}: not one picture could be read: {REMEDY}')

    @contextlib.contextmanager
    def _open(self) -> Iterator[cv2.VideoCapture]:
        with capturing(opencv_name(self._path)) as capture:
            if not capture.isOpened():
                raise UnreadableSource(f'{self._path}: OpenCV cannot read it as video: {REMEDY}')
            yield capture


REMEDY = 'convert it, for example: ffmpeg -i FILE -c:v mjpeg -q:v 3 OUT.avi'


class Device(Source):
    """A camera device, at its own rate."""

    live = True

    def __init__(self, number: int) -> None:
        self.path = DEVICE_FOLDER / f'video{number}'
        self.name = str(self.path)
        self._number = number
        if not self.path.exists():
            others = ', '.join(sorted(str(path) for path in DEVICE_FOLDER.glob('video*')))
            raise SourceNotFound(
                f'{self.path}: there is no such device (there is: {others or "none"}): plug the '
                'camera in, or give another number'
            )
        if not os.access(self.path, os.R_OK | os.W_OK):
            raise UnreadableSource(
                f'{self.path}: no permission: add yourself to its group, '
                'sudo usermod -aG video $USER, and log in again'
            )

    def __iter__(self) -> Iterator[Frame]:
        index = -1
        with capturing(self._number) as capture:
            if not capture.isOpened():
                raise UnreadableSource(
                    f'{self.path}: OpenCV cannot open it: close other programs that use it; a '
                    'camera often has two devices of which one gives pictures'
                )
            for index, bgr in enumerate(pictures_of(capture)):
                yield Frame(
                    f'{self.path} picture {index}', picture=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
                )
        raise SourceLost(
            f'{self.path}: no more pictures after {index + 1}: was the camera unplugged?'
        )


def opencv_name(path: Path) -> str:
    """How OpenCV is told of a file. Raises UnreadableSource.

    From the root: a relative name with a colon would be taken for an address or a protocol. And
    only in UTF-8: of other names OpenCV makes a null pointer, which ends the process.
    """
    name = os.path.abspath(path)
    try:
        name.encode('utf-8')
    except UnicodeEncodeError as error:
        raise UnreadableSource(
            f'{path}: OpenCV takes names in UTF-8 only: rename the file, or its folder'
        ) from error
    return name


@contextlib.contextmanager
def capturing(what: str | int) -> Iterator[cv2.VideoCapture]:
    """An OpenCV capture that is released in the end."""
    log = getattr(cv2.utils, 'logging', None)
    level = log.getLogLevel() if log else 0
    if log:
        # It repeats names of files as they are; what is wrong is said by who opens them.
        log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(what)
    finally:
        if log:
            log.setLogLevel(level)
    try:
        yield capture
    finally:
        capture.release()


def pictures_of(capture: cv2.VideoCapture) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) uint8 BGR, until there is no more."""
    while True:
        good, bgr = capture.read()
        if not good:
            return
        yield bgr
