"""Video files, read by PyAV, and camera devices, read by OpenCV, as sources.

A picture of a file is due at its presentation time. The rate in a file's header may be anything:
that of browsers is 1000 Hz, that of phones one that no two pictures keep.
"""

from __future__ import annotations

import contextlib
import os
import re
import types
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.decode import check_size
from midas_depth_ros.images.errors import (
    ImageError,
    SourceError,
    SourceLost,
    SourceNotFound,
    UnreadableSource,
)
from midas_depth_ros.images.sources.pictures import Frame, Source, Turn, Warn, turned
from midas_depth_ros.options.files import UnreadableFile, check_file, open_file
from midas_depth_ros.options.text import printable

DEVICE_FOLDER = Path('/dev')
PYAV_REMEDY = 'pip install av, or sudo apt install python3-av'
REMEDY = 'convert it, for example: ffmpeg -i FILE -c:v mjpeg -q:v 3 OUT.avi'
# Of so many pictures the times are looked at beforehand, for the rate.
LOOKED_AT = 64
PLAUSIBLE_RATE_HZ = (0.1, 1000.0)
ASSUMED_RATE_HZ = 30.0
SOME_MISSING = 0.02  # of the pictures that a file says to have: some containers only guess
MISSING_S = 1.0  # likewise, where only the length in seconds is said
MOST_PICTURES = 1e9
LONGEST_GAP_S = 3600.0  # between two pictures; nobody waits for damaged times
MATRIX_BYTES = 36  # of a display matrix: nine numbers of 32 bits
ATTACHED_PICTURE = 0x400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC: the cover of a piece of music


def pyav() -> Any:
    """The library PyAV. Raises SourceError where there is none."""
    try:
        import av
    except ImportError as error:
        raise SourceError(
            f'video files need the Python library PyAV ({error}): {PYAV_REMEDY}'
        ) from error
    if av.logging.get_level() is not None:  # before version 14 it prints; errors say it, too
        av.logging.set_level(av.logging.PANIC)
    return av


class VideoFile(Source):
    """A video file: each picture is due at its presentation time, counted from the first one."""

    def __init__(self, path: Path, max_pixels: int, warn: Warn) -> None:
        """Raises SourceError, and ImageError where its pictures are too large."""
        self.name = str(path)
        self._path = path
        self._max_pixels = max_pixels
        self._warn = warn
        try:
            check_file(path)
        except UnreadableFile as error:
            raise UnreadableSource(f'{path}: {error}') from error
        with self._opened() as (container, stream):
            try:
                check_size(stream.codec_context.width, stream.codec_context.height, max_pixels)
            except ImageError as error:
                raise type(error)(f'{path}: {error}') from error
            times = first_times(container, stream)
            self.start_s = min(times, default=0.0)
            self.rate_hz: float = self._rate(times, stream.average_rate)
            self.length = stream.frames if 0 < stream.frames < MOST_PICTURES else None
            if len(container.streams.audio):
                self.sound = path

    def __iter__(self) -> Iterator[Frame]:
        index, time_s, step_s, longest_s = -1, -1.0, 1 / self.rate_hz, 0.0
        faults: list[str] = []
        shift_s = -self.start_s
        with self._opened() as (container, stream):
            stated_s = length_s(container, stream)
            may_hide = container.format.name.startswith('mov')  # by an edit list
            coded = in_order_of_coding(container, stream)
            for index, frame in enumerate(frames_of(container, stream, faults)):
                at_s = time_s + step_s
                ticks = frame.dts if coded else frame.pts
                if ticks is not None:
                    if coded and not index:  # what is held back first is due first
                        shift_s = -float(ticks * stream.time_base)
                    at_s = float(ticks * stream.time_base) + shift_s
                if not max(0.0, time_s) <= at_s <= time_s + LONGEST_GAP_S:
                    # Its clock jumps, as where two files were put together: we go on.
                    shift_s += max(0.0, time_s + step_s) - at_s
                    at_s = max(0.0, time_s + step_s)
                if index:
                    step_s = at_s - time_s or step_s
                    longest_s = max(longest_s, step_s)
                time_s = at_s
                yield Frame(
                    f'{self._path} picture {index}',
                    time_ns=round(time_s * 1e9),
                    picture=self._rgb(frame, stream),
                )
        if index < 0:
            raise UnreadableSource(f'{self._path}: not one picture could be read: {REMEDY}')
        # Some count the length from the first picture, others from the clock's zero.
        missing_s = stated_s - max(0.0, self.start_s) - time_s - step_s
        is_whole = may_hide and stated_s > 0 and missing_s < step_s + SOME_MISSING * stated_s
        short = not is_whole and (
            index + 1 < (1 - SOME_MISSING) * self.length - 1
            if self.length
            else missing_s > max(MISSING_S, SOME_MISSING * stated_s, longest_s)
        )
        if short:
            of = (
                f'of {self.length} pictures'
                if self.length
                else f'pictures, {missing_s:.1f} s early'
            )
            self._warn(
                printable(
                    f'{self._path}: ended after {index + 1} {of}: the file is cut short or '
                    'damaged; what could be read is kept'
                )
            )
        elif faults:
            self._warn(
                printable(
                    f'{self._path}: {len(faults)} damaged pieces were left out; the first: '
                    f'{faults[0]}'
                )
            )

    def _rgb(self, frame: Any, stream: Any) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, upright. Raises UnreadableSource."""
        try:
            check_size(frame.width, frame.height, self._max_pixels)
            rgb: NDArray[np.uint8] = frame.to_ndarray(format='rgb24')
        except (ImageError, ValueError, pyav().error.FFmpegError) as error:
            raise UnreadableSource(f'{self._path}: a picture cannot be read: {error}') from error
        return turned(rgb, turn_of(frame, stream))

    def _rate(self, times: list[float], stated: Fraction | None) -> float:
        """Pictures per second: by the times of the first of them, else as the file says."""
        low, high = PLAUSIBLE_RATE_HZ
        span_s = times[-1] - times[0] if times else 0.0
        if span_s and low <= (len(times) - 1) / span_s <= high:
            return (len(times) - 1) / span_s
        if stated and low <= stated <= high:
            return float(stated)
        self._warn(
            printable(
                f'{self._path}: it has no time stamps and no rate: {ASSUMED_RATE_HZ:g} Hz is '
                'assumed'
            )
        )
        return ASSUMED_RATE_HZ

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        with opened_video(self._path, self._max_pixels) as opened:
            yield opened


@contextlib.contextmanager
def opened_file(path: Path) -> Iterator[Any]:
    """PyAV's container of a file. Raises UnreadableSource, and SourceError without PyAV.

    PyAV gets the bytes of the file alone: a name could be taken for an address or a pattern, and a
    list of other files or addresses (HLS, concat) is to open none of them.
    """
    av = pyav()
    try:
        file = open_file(path)
    except UnreadableFile as error:
        raise UnreadableSource(f'{path}: {error}') from error
    with file:
        reader = types.SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
        try:
            container = av.open(
                reader, options={'protocol_whitelist': 'none'}, metadata_errors='replace'
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise UnreadableSource(
                f'{path}: it cannot be read as video ({reason(error)}): {REMEDY}'
            ) from error
        with contextlib.closing(container):
            yield container


@contextlib.contextmanager
def opened_video(path: Path, max_pixels: int) -> Iterator[tuple[Any, Any]]:
    """PyAV's container of a file, and its stream of pictures. Raises as `opened_file` does."""
    with opened_file(path) as container:
        streams = [each for each in container.streams.video if each.codec_context is not None]
        films = [each for each in streams if not is_cover(each)]
        if not streams:
            raise UnreadableSource(f'{path}: there are no pictures in it: give a video')
        stream = (films or streams)[0]
        if not (stream.codec_context.width and stream.codec_context.height):
            raise UnreadableSource(f'{path}: it cannot be read as video: {REMEDY}')
        # No more is allocated for a picture whose size changes on the way.
        stream.codec_context.options = {'max_pixels': str(max_pixels)}
        stream.thread_type = 'AUTO'
        yield container, stream


def is_cover(stream: Any) -> bool:
    """Whether a stream is one picture that belongs to the sound."""
    disposition = getattr(stream, 'disposition', 0)
    return bool(int(getattr(disposition, 'value', disposition)) & ATTACHED_PICTURE)


def frames_of(container: Any, stream: Any, faults: list[str]) -> Iterator[Any]:
    """PyAV's frames, in the order in which they are shown; `faults` gets what cannot be decoded."""
    failure = pyav().error.FFmpegError
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except failure as error:
            faults.append(reason(error))
            packet = None
        if packet is not None and not packet.size:
            continue  # AVI: the picture before is shown again
        if packet is not None and packet.is_corrupt:
            faults.append('bytes are missing')  # decoded, it would be green
            continue
        try:
            # What was held back, for pictures that are shown later than they come, is last.
            yield from stream.decode(packet)
        except failure as error:
            if not isinstance(error, EOFError):
                faults.append(reason(error))
        if packet is None:
            return


def is_hidden(packet: Any) -> bool:
    """Whether a packet is not shown, as where a phone has cut a film: others refer to it."""
    return bool(getattr(packet, 'is_discard', False))


def first_times(container: Any, stream: Any) -> list[float]:
    """When the first pictures are due, in seconds and in order; they are not decoded."""
    times: list[float] = []
    with contextlib.suppress(pyav().error.FFmpegError):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size and not is_hidden(packet):
                times.append(float(packet.pts * packet.time_base))
            if len(times) >= LOOKED_AT:
                # They come in another order than they are shown: the last ones have gaps.
                return sorted(times)[: LOOKED_AT // 2]
    return sorted(times)


def in_order_of_coding(container: Any, stream: Any) -> bool:
    """Whether times are those at which pictures are decoded: AVI has no others.

    They differ from when these are shown where some refer to later ones.
    """
    return container.format.name == 'avi' and bool(
        getattr(stream.codec_context, 'has_b_frames', False)
    )


def length_s(container: Any, stream: Any) -> float:
    """How long a file says that its pictures are, in seconds; 0 where it says nothing of them."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    told = re.fullmatch(r'(\d+):(\d+):(\d+(?:\.\d+)?)', str(stream.metadata.get('DURATION', '')))
    if told is not None:  # as Matroska has it
        hours, minutes, seconds = map(float, told.groups())
        return 3600 * hours + 60 * minutes + seconds
    # What the file says of itself is the end of the longest stream, which may be sound.
    alone = len(container.streams) == 1
    return (container.duration or 0) / 1e6 if alone else 0.0


def turn_of(frame: Any, stream: Any) -> Turn:
    """How a decoded picture is to be turned, by the display matrix that phones write."""
    for data in frame.side_data:
        if getattr(data.type, 'name', '') == 'DISPLAYMATRIX' and len(bytes(data)) == MATRIX_BYTES:
            (a, b, _), (c, d, _), _ = np.frombuffer(bytes(data), np.int32).reshape(3, 3).tolist()
            if abs(b) > abs(a):
                return Turn(True, rows=b < 0, columns=c < 0)
            return Turn(False, rows=d < 0, columns=a < 0)
    # Of older PyAVs, which know it of the stream only: degrees clockwise.
    degrees = str(getattr(stream, 'metadata', {}).get('rotate', '0'))
    return QUARTERS.get(int(degrees) % 360, Turn()) if degrees.lstrip('-').isdigit() else Turn()


QUARTERS = {
    90: Turn(True, columns=True),
    180: Turn(False, rows=True, columns=True),
    270: Turn(True, rows=True),
}


def reason(error: Exception) -> str:
    """What FFmpeg says, without the name of what was read."""
    return str(getattr(error, 'strerror', '') or error)


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


@contextlib.contextmanager
def capturing(number: int) -> Iterator[cv2.VideoCapture]:
    """An OpenCV capture that is released in the end."""
    log = getattr(cv2.utils, 'logging', None)
    level = log.getLogLevel() if log else 0
    if log:
        # What is wrong is said by who opens it.
        log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(number)
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
