"""A video file that is written picture by picture; what was written is kept, whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.commands.errors import CommandError
from midas_depth_ros.commands.video_view import even
from midas_depth_ros.views.fitting import fit_into

# Suffix -> the encoder that every OpenCV brings for it.
ENCODERS: Final = {'.mp4': 'mp4v', '.mkv': 'mp4v', '.avi': 'MJPG'}


class VideoFile:
    """Pictures in, one video out. The first one sets the size; others are fitted into it."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self.count = 0

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Append an (H, W, 3) uint8 RGB picture. Raises CommandError."""
        picture = even(rgb)
        if self._writer is None:
            self._size = picture.shape[0], picture.shape[1]
            self._writer = self._opened(picture.shape[1], picture.shape[0])
        self._writer.write(cv2.cvtColor(fit_into(picture, *self._size), cv2.COLOR_RGB2BGR))
        self.count += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def _opened(self, width: int, height: int) -> cv2.VideoWriter:
        code = cv2.VideoWriter.fourcc(*ENCODERS[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._path), code, self._rate_hz, (width, height))
        if not writer.isOpened():
            raise CommandError(
                f'OpenCV cannot write {self._path} ({width}x{height}, {self._rate_hz:g} Hz): is '
                f'the folder writable? Other formats: {", ".join(ENCODERS)}'
            )
        return writer


@contextlib.contextmanager
def video_file(path: Path, rate_hz: float) -> Iterator[VideoFile]:
    """A video that gets its name when it ends, also by an error. Without a picture there is none.

    path: its suffix is one of ENCODERS. Raises CommandError where it cannot be written.
    """
    part = path.with_name(f'.{path.stem}.part{path.suffix}')
    video = VideoFile(part, rate_hz)
    try:
        yield video
    finally:
        video.close()
        if video.count:
            part.replace(path)
        else:
            part.unlink(missing_ok=True)
