"""A video file that is written picture by picture; what was written is kept, whatever happens.

OpenCV says nothing when the disk is full. So the file is read back before it gets its name, and
where that fails the disk itself is asked for the reason.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.commands.errors import CommandError
from midas_depth_ros.commands.output import part_of, put, refusing
from midas_depth_ros.commands.stopping import held, is_stopping
from midas_depth_ros.commands.video_view import even
from midas_depth_ros.images.sources.video import capturing, opencv_name, pictures_of
from midas_depth_ros.views.fitting import fit_into

# Suffix -> the encoder that every OpenCV brings for it.
ENCODERS: Final = {'.mp4': 'mp4v', '.mkv': 'mp4v', '.avi': 'MJPG'}
LONGEST_SIDE: Final = 16_384  # pixels; encoders refuse more, or end the process
PROBE: Final = bytes(1 << 20)  # is written where a file cannot be read back, for the reason
LOOK_EVERY: Final = 16  # frames, for room on the disk


class VideoFile:
    """Pictures in, one video out. The first one sets the size; others are fitted into it."""

    def __init__(self, path: Path, rate_hz: float, name: Path) -> None:
        """`path` is written to; `name` is what it will be called, for people."""
        self._path = path
        self._rate_hz = statable(rate_hz)
        self._name = name
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self.count = 0

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Append an (H, W, 3) uint8 RGB picture. Raises CommandError."""
        picture = even(rgb)
        if self._writer is None:
            self._size = picture.shape[0], picture.shape[1]
            self._writer = self._opened(picture.shape[1], picture.shape[0])
        if self.count % LOOK_EVERY == 0:
            self._look_for_room()
        self._writer.write(cv2.cvtColor(fit_into(picture, *self._size), cv2.COLOR_RGB2BGR))
        self.count += 1

    def finish(self) -> None:
        """Complete the file and read it back. Raises CommandError."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        found = self._read_back()
        if found < self.count and not is_stopping():
            self._refuse(
                f'of {self.count} pictures that were written {found} can be read back: is the disk '
                'damaged?'
            )

    def _opened(self, width: int, height: int) -> cv2.VideoWriter:
        if max(width, height) > LONGEST_SIDE:
            raise CommandError(
                f'{self._name}: a video of {width}x{height} pixels cannot be written: no side may '
                f'be above {LONGEST_SIDE}; --width makes it smaller'
            )
        code = cv2.VideoWriter.fourcc(*ENCODERS[self._path.suffix.lower()])
        name = opencv_name(self._path)
        writer = cv2.VideoWriter(name, code, self._rate_hz, (width, height))
        if not writer.isOpened():
            self._refuse(
                f'OpenCV makes no video of {width}x{height} pixels at {self._rate_hz:g} Hz; try a '
                f'smaller --width, or another format: {", ".join(ENCODERS)}'
            )
        return writer

    def _look_for_room(self) -> None:
        """Nothing is written any more where the disk is full: who goes on works in vain."""
        with refusing(self._name):
            if not os.statvfs(self._path.parent).f_bfree:
                self._refuse('the disk is full')

    def _read_back(self) -> int:
        """How many pictures of the right size the file gives; all, while a signal waits."""
        found = 0
        with capturing(opencv_name(self._path)) as capture:
            for picture in pictures_of(capture):
                if picture.shape[:2] != self._size:
                    break
                found += 1
                if is_stopping():
                    return self.count
        return found

    def _refuse(self, otherwise: str) -> None:
        """Raises CommandError with the reason that the disk gives, else with this one."""
        with refusing(self._name), self._path.open('ab') as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
        raise CommandError(f'{self._name}: it cannot be written: {otherwise}')


def statable(rate_hz: float) -> float:
    """The nearest rate that MPEG-4 can state: as a fraction whose parts have 16 bits."""
    return round(rate_hz, 3 if rate_hz < 65 else 2 if rate_hz < 650 else 1)


@contextlib.contextmanager
def video_file(path: Path, rate_hz: float) -> Iterator[VideoFile]:
    """A video that gets its name when it ends, also by an error. Without a picture there is none.

    path: its suffix is one of ENCODERS. Raises CommandError where it cannot be written; what was
    there before is then left.
    """
    with part_of(path) as part:
        video = VideoFile(part, rate_hz, path)
        try:
            yield video
        finally:
            with held():
                video.finish()
                if video.count:
                    put(part, path)
