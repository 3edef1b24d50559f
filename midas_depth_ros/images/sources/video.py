"""Video files, read by PyAV, and camera devices, read by OpenCV, as sources.

A picture of a file is due at its presentation time. The rate in the header is unreliable: browsers
write 1000 Hz, and phones record at a varying rate.
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
LOOKED_AT = 64  # pictures whose times are read beforehand, for the rate
PLAUSIBLE_RATE_HZ = (0.1, 1000.0)
ASSUMED_RATE_HZ = 30.0
# The share of the stated number of pictures, or the time, that may be missing without a warning:
# some containers only estimate their length.
SOME_MISSING, MISSING_S = 0.02, 1.0
MOST_PICTURES = 1e9
LONGEST_GAP_S = 3600.0  # between two pictures; a longer one means damaged times
MATRIX_BYTES = 36  # of a display matrix: nine numbers of 32 bits
ATTACHED_PICTURE = 0x400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC: the cover of a piece of music


def pyav() -> Any:
    """Return the library PyAV. Raises SourceError where it is missing."""
    try:
        import av
    except ImportError as error:
        raise SourceError(
            f'video files need the Python library PyAV ({error}): {PYAV_REMEDY}'
        ) from error
    if av.logging.get_level() is not None:  # before version 14 it prints what errors say
        av.logging.set_level(av.logging.PANIC)
    return av


class VideoFile(Source):
    """A video file: each picture is due at its presentation time, counted from the first one."""

    def __init__(self, path: Path, max_pixels: int, warn: Warn) -> None:
        """Raises SourceError, and ImageError where its pictures are too large."""
        self.name = str(path)
        self._path = path
        self._max_pixels = max_pixels
        self._warn = lambda text: warn(printable(f'{path}: {text}'))
        try:
            check_file(path)
        except UnreadableFile as error:
            raise UnreadableSource(f'{path}: {error}') from error
        with opened_video(path, max_pixels) as (container, stream):
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
        with opened_video(self._path, self._max_pixels) as (container, stream):
            stated_s = length_s(container, stream)
            may_hide = container.format.name.startswith('mov')  # by an edit list
            # AVI has decoding times, which differ from display times with B-frames.
            has_b_frames = bool(getattr(stream.codec_context, 'has_b_frames', False))
            coded = container.format.name == 'avi' and has_b_frames
            for index, frame in enumerate(frames_of(container, stream, faults)):
                at_s = time_s + step_s
                ticks = frame.dts if coded else frame.pts
                if ticks is not None:
                    if coded and not index:  # the picture decoded first is due first
                        shift_s = -float(ticks * stream.time_base)
                    at_s = float(ticks * stream.time_base) + shift_s
                if not max(0.0, time_s) <= at_s <= time_s + LONGEST_GAP_S:
                    # The clock jumps, as where two files were joined: continue without a gap.
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
            raise UnreadableSource(f'{self._path}: no picture could be read: {REMEDY}')
        # Some count the length from the first picture, others from the clock's zero.
        missing_s = stated_s - max(0.0, self.start_s) - time_s - step_s
        is_whole = may_hide and stated_s > 0 and missing_s < step_s + SOME_MISSING * stated_s
        if self.length:
            is_short = index + 1 < (1 - SOME_MISSING) * self.length - 1
            of = f'of {self.length} pictures'
        else:
            is_short = missing_s > max(MISSING_S, SOME_MISSING * stated_s, longest_s)
            of = f'pictures, {missing_s:.1f} s early'
        if is_short and not is_whole:
            self._warn(
                f'ended after {index + 1} {of}: the file is cut short or damaged; what could be '
                'read is kept'
            )
        elif faults:
            self._warn(f'{len(faults)} damaged pieces were left out; the first: {faults[0]}')

    def _rgb(self, frame: Any, stream: Any) -> NDArray[np.uint8]:
        """Convert a frame to upright (H, W, 3) uint8 RGB. Raises UnreadableSource."""
        try:
            check_size(frame.width, frame.height, self._max_pixels)
            rgb: NDArray[np.uint8] = frame.to_ndarray(format='rgb24')
        except (ImageError, ValueError, pyav().error.FFmpegError) as error:
            raise UnreadableSource(f'{self._path}: a picture cannot be read: {error}') from error
        return turned(rgb, turn_of(frame, stream))

    def _rate(self, times: list[float], stated: Fraction | None) -> float:
        """Return pictures per second: by the times of the first ones, else as stated."""
        low, high = PLAUSIBLE_RATE_HZ
        span_s = times[-1] - times[0] if times else 0.0
        if span_s and low <= (len(times) - 1) / span_s <= high:
            return (len(times) - 1) / span_s
        if stated and low <= stated <= high:
            return float(stated)
        self._warn(f'it has no time stamps and no rate: {ASSUMED_RATE_HZ:g} Hz is assumed')
        return ASSUMED_RATE_HZ


@contextlib.contextmanager
def opened_file(path: Path) -> Iterator[Any]:
    """Open a file as PyAV container. Raises UnreadableSource, and SourceError without PyAV.

    PyAV gets only the bytes: a name could be taken for an address or a pattern, and a list of other
    files or addresses (HLS, concat) must not open any of them.
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
    """Open a file as PyAV container and its video stream. Raises as `opened_file` does."""
    with opened_file(path) as container:
        streams = [each for each in container.streams.video if each.codec_context is not None]
        films = [each for each in streams if not is_cover(each)]
        if not streams:
            raise UnreadableSource(f'{path}: it contains no pictures: give a video')
        stream = (films or streams)[0]
        if not (stream.codec_context.width and stream.codec_context.height):
            raise UnreadableSource(f'{path}: it cannot be read as video: {REMEDY}')
        # The size may change within the stream: this limits it, too.
        stream.codec_context.options = {'max_pixels': str(max_pixels)}
        stream.thread_type = 'AUTO'
        yield container, stream


def is_cover(stream: Any) -> bool:
    """Whether a stream is the cover picture of the sound."""
    disposition = getattr(stream, 'disposition', 0)
    return bool(int(getattr(disposition, 'value', disposition)) & ATTACHED_PICTURE)


def frames_of(container: Any, stream: Any, faults: list[str]) -> Iterator[Any]:
    """Yield PyAV's frames in display order; add what cannot be decoded to `faults`."""
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
            # The empty last packet returns the pictures that the decoder held back.
            yield from stream.decode(packet)
        except failure as error:
            if not isinstance(error, EOFError):
                faults.append(reason(error))
        if packet is None:
            return


def is_hidden(packet: Any) -> bool:
    """Whether a packet is not shown, as in a video cut by a phone: others refer to it."""
    return bool(getattr(packet, 'is_discard', False))


def first_times(container: Any, stream: Any) -> list[float]:
    """Return when the first pictures are due, in seconds and in order, without decoding them."""
    times: list[float] = []
    with contextlib.suppress(pyav().error.FFmpegError):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size and not is_hidden(packet):
                times.append(float(packet.pts * packet.time_base))
            if len(times) >= LOOKED_AT:
                # They are not in display order: the last ones have gaps.
                return sorted(times)[: LOOKED_AT // 2]
    return sorted(times)


def length_s(container: Any, stream: Any) -> float:
    """Return the stated length of the video stream in seconds; 0 where it is missing."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    stated = re.fullmatch(r'(\d+):(\d+):(\d+(?:\.\d+)?)', str(stream.metadata.get('DURATION', '')))
    if stated is not None:  # in Matroska files
        hours, minutes, seconds = map(float, stated.groups())
        return 3600 * hours + 60 * minutes + seconds
    # The length of the file is that of the longest stream, which may be sound.
    alone = len(container.streams) == 1
    return (container.duration or 0) / 1e6 if alone else 0.0


def turn_of(frame: Any, stream: Any) -> Turn:
    """Return how to make a decoded picture upright, by the display matrix that phones write."""
    for data in frame.side_data:
        if getattr(data.type, 'name', '') == 'DISPLAYMATRIX' and len(bytes(data)) == MATRIX_BYTES:
            (a, b, _), (c, d, _), _ = np.frombuffer(bytes(data), np.int32).reshape(3, 3).tolist()
            if abs(b) > abs(a):
                return Turn(True, rows=b < 0, columns=c < 0)
            return Turn(False, rows=d < 0, columns=a < 0)
    # Older PyAVs have it for the stream only: degrees clockwise.
    degrees = str(getattr(stream, 'metadata', {}).get('rotate', '0'))
    return QUARTERS.get(int(degrees) % 360, Turn()) if degrees.lstrip('-').isdigit() else Turn()


QUARTERS = {
    90: Turn(True, columns=True),
    180: Turn(False, rows=True, columns=True),
    270: Turn(True, rows=True),
}


def reason(error: Exception) -> str:
    """Return FFmpeg's error text without the file name."""
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
                f'{self.path}: there is no such device (found: {others or "none"}): plug in the '
                'camera, or give another number'
            )
        if not os.access(self.path, os.R_OK | os.W_OK):
            raise UnreadableSource(
                f'{self.path}: no permission: add yourself to its group, '
                'sudo usermod -aG video $USER, and log in again'
            )

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        with capturing(self._number) as capture:
            if not capture.isOpened():
                raise UnreadableSource(
                    f'{self.path}: OpenCV cannot open it: close other programs that use it, or try '
                    'another device: cameras often have two, of which one gives pictures'
                )
            while (read := capture.read())[0]:
                rgb = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
                yield Frame(f'{self.path} picture {count}', picture=rgb)
                count += 1
        raise SourceLost(f'{self.path}: no more pictures after {count}: was the camera unplugged?')


@contextlib.contextmanager
def capturing(number: int) -> Iterator[cv2.VideoCapture]:
    """Open a device by OpenCV, without its log; it is released at the end."""
    log = getattr(cv2.utils, 'logging', None)
    level = log.getLogLevel() if log else 0
    if log:
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
