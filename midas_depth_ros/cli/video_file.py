"""A video file that is written frame by frame; what was written is kept, whatever happens.

Each frame has its presentation time, and the sound of the source is copied. The result plays in
browsers: H.264 or VP9 with 4:2:0 colours, and the index at the front. The file is read back before
it gets its name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.decode import MAX_PIXELS
from midas_depth_ros.images.sources import Source, SourceError
from midas_depth_ros.images.sources.video import frames_of, opened_file, opened_video, pyav, reason
from midas_depth_ros.lab.output import CommandError, move_into_place, temporary_beside, write_errors
from midas_depth_ros.lab.stopping import is_stopping, signals_held
from midas_depth_ros.views.pictures import fit_into

# --- Sound: copied from one file to another, transcoded where the format requires it.
#
# Sound is interleaved with the frames, with its times shifted like theirs. Damaged packets are
# dropped.

# Sample rate that every encoder here supports.
COMMON_RATE_HZ = 48_000
AAC_RATES_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, COMMON_RATE_HZ)


@dataclasses.dataclass(frozen=True)
class SoundFormat:
    """The sound of a file format: codecs that are copied (none named: all), and the encoder."""

    copied: tuple[str, ...]
    encoder: str


class Sound:
    """All sound tracks of one file, written into another."""

    def __init__(self, path: Path, output: Any, form: SoundFormat, begins_s: float) -> None:
        """begins_s: time of `path` that is time 0 of the output.

        Raises SourceError, ValueError and errors of PyAV.
        """
        self._open = contextlib.ExitStack()
        with self._open:
            container = self._open.enter_context(opened_file(path))
            streams = [each for each in container.streams.audio if each.codec_context is not None]
            self._tracks = {each.index: _track(each, output, form, begins_s) for each in streams}
            self._pieces = _pieces(container, streams)
            self._next = next(self._pieces, None)
            self._open = self._open.pop_all()

    def until(self, time_s: float) -> None:
        """Write the packets due before `time_s`. Raises an error of PyAV if the disk is full."""
        while self._next is not None:
            packet, track = self._next, self._tracks[self._next.stream.index]
            if track.time_s(packet) >= time_s:
                return
            track.write(packet)
            self._next = next(self._pieces, None)

    def rest(self, end_s: float | None) -> None:
        """Write the packets due before `end_s` (None: all), and end each track."""
        self.until(float('inf') if end_s is None else end_s)
        for track in self._tracks.values():
            track.end()

    def close(self) -> None:
        """Close the input file."""
        self._open.close()


class _Copy:
    """A track whose packets are copied."""

    def __init__(self, stream: Any, output: Any, begins_s: float) -> None:
        add = getattr(output, 'add_stream_from_template', None)
        self._made = add(stream) if add else output.add_stream(template=stream)
        self._output = output
        self._begins_s = begins_s
        self._last = -1 << 62

    def time_s(self, packet: Any) -> float:
        """Return when a packet is due in the output."""
        return float(packet.dts * packet.time_base) - self._begins_s

    def write(self, packet: Any) -> None:
        """Write a packet, unless it is due before the first frame, or out of order."""
        shift = round(self._begins_s / packet.time_base)
        dts = packet.dts - shift
        if dts < 0 or dts <= self._last:
            return
        self._last = dts
        packet.pts = dts if packet.pts is None else max(dts, packet.pts - shift)
        packet.dts = dts
        packet.stream = self._made
        with _dropping_packets():
            self._output.mux(packet)

    def end(self) -> None:
        """Do nothing: no packet is held back."""


class _Transcoded(_Copy):
    """A track that is decoded and encoded, since the format does not support its codec."""

    def __init__(self, stream: Any, output: Any, encoder: str, begins_s: float) -> None:
        rate = stream.codec_context.sample_rate
        allowed = AAC_RATES_HZ if encoder != 'libopus' else (COMMON_RATE_HZ,)
        self._made = output.add_stream(encoder, rate=rate if rate in allowed else COMMON_RATE_HZ)
        layout = 'mono' if stream.codec_context.channels == 1 else 'stereo'
        self._made.codec_context.layout = layout
        self._made.codec_context.format = self._made.codec_context.codec.audio_formats[0]
        self._stream = stream
        self._output = output
        self._begins_s = begins_s

    def write(self, packet: Any) -> None:
        """Decode a packet and write its frames."""
        with _dropping_packets():
            for frame in self._stream.decode(packet):
                if frame.pts is None:
                    continue
                frame.time_base = self._stream.time_base
                frame.pts -= round(self._begins_s / frame.time_base)
                if frame.pts >= 0:
                    self._put(frame)

    def end(self) -> None:
        """Flush the encoder."""
        with _dropping_packets():
            self._put(None)

    def _put(self, frame: Any) -> None:
        for packet in self._made.encode(frame):
            self._output.mux(packet)


def _track(stream: Any, output: Any, form: SoundFormat, begins_s: float) -> _Copy:
    codec = stream.codec_context.codec
    name = getattr(codec, 'canonical_name', codec.name)
    if not form.copied or name.removeprefix('lib').removesuffix('float') in form.copied:
        return _Copy(stream, output, begins_s)
    return _Transcoded(stream, output, form.encoder, begins_s)


def _pieces(container: Any, streams: list[Any]) -> Iterator[Any]:
    """Yield the packets of these streams that have a time, until the file cannot be read."""
    with contextlib.suppress(pyav().error.FFmpegError):
        for packet in container.demux(streams):
            if packet.size and packet.dts is not None:
                yield packet


@contextlib.contextmanager
def _dropping_packets() -> Iterator[None]:
    """Ignore the error of a packet that is damaged or not accepted, but not a full disk."""
    try:
        yield
    except pyav().error.FFmpegError as error:
        if error.errno == errno.ENOSPC:
            raise


# --- The video.

LEAST_SIDE: Final = 16  # pixels; smaller frames may crash an encoder
LONGEST_SIDE: Final = 16_384  # pixels; encoders refuse larger frames, or crash
PROBE: Final = bytes(1 << 20)  # written after a failure, to get the reason from the system
CHECK_EVERY: Final = 16  # frames, for space on the disk
# Between two frames; a wrong clock could ask for years, and AVI repeats a frame at each tick.
LONGEST_GAP_S: Final = 3600.0
LONGEST_GAP_TICKS: Final = 50_000


@dataclasses.dataclass(frozen=True)
class Format:
    """How a file format is written.

    encoders: the first that PyAV has is used. tick_hz: times are multiples of 1/tick_hz s; 0 = of
    the frame period, for formats with a fixed rate.
    """

    encoders: tuple[str, ...]
    pixels: str
    options: dict[str, str]
    tick_hz: int
    sound: SoundFormat
    file_options: dict[str, str] = dataclasses.field(default_factory=dict)


# Without B-frames: packets are in order, and their times need no shift.
H264 = {'preset': 'veryfast', 'crf': '20', 'bf': '0'}
VP9 = {
    **{'deadline': 'realtime', 'cpu-used': '8', 'row-mt': '1', 'crf': '26', 'b': '0'},
    **{'lag-in-frames': '0', 'auto-alt-ref': '0'},
}
MJPEG = {'qmin': '3', 'qmax': '3'}
# The colour space, which players otherwise guess from the size.
HD_COLOURS = {
    **{'color_range': 'tv', 'colorspace': 'bt709'},
    **{'color_primaries': 'bt709', 'color_trc': 'bt709'},
}
H264_ENCODERS = ('libx264', 'libopenh264')
FORMATS: Final = {
    '.mp4': Format(
        H264_ENCODERS,
        'yuv420p',
        {**H264, **HD_COLOURS},
        90_000,
        SoundFormat(('aac', 'mp3', 'opus', 'flac'), 'aac'),
        {'movflags': '+faststart'},
    ),
    '.webm': Format(
        ('libvpx-vp9',),
        'yuv420p',
        {**VP9, **HD_COLOURS},
        1000,
        SoundFormat(('opus', 'vorbis'), 'libopus'),
    ),
    '.mkv': Format(H264_ENCODERS, 'yuv420p', {**H264, **HD_COLOURS}, 1000, SoundFormat((), 'aac')),
    '.avi': Format(('mjpeg',), 'yuvj420p', MJPEG, 0, SoundFormat(('mp3', 'ac3'), 'pcm_s16le')),
}


class VideoFile:
    """Writes a video. The first frame sets the size; others are fitted into it."""

    def __init__(
        self,
        path: Path,
        rate_hz: float,
        name: Path,
        source: Source | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """path: written to. name: its final name, for messages. source: the source of the sound.

        warn: called with what is dropped. Raises CommandError if PyAV or an encoder is missing.
        """
        self._path = path
        self._rate_hz = rate_hz
        self._name = name
        self._source = source
        self._warn = warn
        self._format = FORMATS[path.suffix.lower()]
        self._av = library()
        self._encoder = encoder_of(self._format, name)
        self._clock = Clock(self._format.tick_hz, rate_hz)
        self._container: Any = None
        self._stream: Any = None
        self._waiting: Any = None  # the last packet, whose duration is not known yet
        self._sound: Sound | None = None
        self._size = (0, 0)
        self.count = 0

    def write(self, rgb: NDArray[np.uint8], time_s: float) -> None:
        """Append an (H, W, 3) uint8 RGB frame that is due at `time_s`. Raises CommandError."""
        picture = even(rgb)
        if self._container is None:
            self._size = picture.shape[0], picture.shape[1]
            self._open(picture.shape[1], picture.shape[0], time_s)
        if self.count % CHECK_EVERY == 0:
            self._check_space()
        if self._clock.gap_s(time_s) > self._clock.longest_s:
            self._warn(
                f'{self._name}: the gap of {self._clock.gap_s(time_s):.0f} s between frames '
                f'{self.count - 1} and {self.count} is dropped'
            )
        fitted = np.ascontiguousarray(fit_into(picture, *self._size))
        with self._failing():
            frame = self._av.VideoFrame.from_ndarray(fitted, format='rgb24')
            colours = {'dst_colorspace': 'ITU709'} if self._format.pixels == 'yuv420p' else {}
            frame = frame.reformat(format=self._format.pixels, **colours)
            frame.pts = self._clock.ticks(time_s)
            frame.time_base = self._clock.tick
            self._put(self._stream.encode(frame))
        self.count += 1

    def finish(self, ended: bool = True) -> None:
        """Complete the file and read it back; `ended`: the source has ended, so write all sound.

        Raises CommandError.
        """
        if self._container is None:
            return
        with self._failing():
            try:
                self._put(self._stream.encode(None))
                self._put_waiting(self._clock.step)
                if self._sound is not None:
                    self._sound.rest(None if ended else self._clock.end_s)
            finally:
                self._close_sound()
                container, self._container = self._container, None
                container.close()
        found = self._read_back()
        if found < self.count and not is_stopping():
            self._refuse(
                f'only {found} of {self.count} frames can be read back: is the disk damaged?'
            )

    def _open(self, width: int, height: int, first_s: float) -> None:
        if max(width, height) > LONGEST_SIDE:
            raise CommandError(
                f'cannot write {self._name}: {width}x{height} pixels are too large: the sides of a '
                f'video are limited to {LONGEST_SIDE}; --width makes it smaller'
            )
        source = self._source
        sound: Path | None = source.sound if source else None
        begins_s = (source.start_s if source else 0.0) + first_s
        without = ''
        for path in (sound, None) if sound else (None,):
            try:
                self._begin(width, height, path, begins_s)
                if without:
                    self._warn(f'{self._name}: the sound is dropped: {without}')
                return
            except (self._av.error.FFmpegError, ValueError, SourceError) as error:
                self._close_sound()
                if path is None:
                    self._container = None
                    self._refuse(
                        f'{self._encoder} cannot encode {width}x{height} pixels '
                        f'({reason(error)}): try a smaller --width, or another format: '
                        f'{", ".join(FORMATS)}'
                    )
                without = reason(error)

    def _begin(self, width: int, height: int, sound: Path | None, begins_s: float) -> None:
        """Open the file and write its header. Raises errors of PyAV, and SourceError."""
        options = self._format.file_options
        self._container = self._av.open(str(self._path), 'w', container_options=options)
        rate = Fraction(self._rate_hz).limit_denominator(1001)
        self._stream = self._container.add_stream(self._encoder, rate=rate)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = self._format.pixels
        self._stream.options = dict(self._format.options)
        self._stream.codec_context.time_base = self._clock.tick
        self._stream.time_base = self._clock.tick
        if sound is not None:
            self._sound = Sound(sound, self._container, self._format.sound, begins_s)
        self._container.start_encoding()

    def _close_sound(self) -> None:
        if self._sound is not None:
            self._sound.close()
            self._sound = None

    def _put(self, packets: list[Any]) -> None:
        """Write packets, each once its duration is known."""
        for packet in packets:
            if self._waiting is not None:
                self._put_waiting(packet.pts - self._waiting.pts)
            self._waiting = packet

    def _put_waiting(self, ticks: int) -> None:
        packet, self._waiting = self._waiting, None
        if packet is not None:
            with contextlib.suppress(AttributeError):  # PyAV before 13: the muxer guesses
                packet.duration = max(1, ticks)
            if self._sound is not None:
                self._sound.until(float(packet.pts * packet.time_base))
            self._container.mux(packet)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn an error of FFmpeg into a CommandError, with the system's reason if there is one."""
        try:
            yield
        except self._av.error.FFmpegError as error:
            self._refuse(reason(error))

    def _check_space(self) -> None:
        """Raise CommandError if the disk is full."""
        with write_errors(self._name):
            if not os.statvfs(self._path.parent).f_bfree:
                self._refuse('the disk is full')

    def _read_back(self) -> int:
        """Return how many frames of the right size the file gives; all, if a signal is pending."""
        found = 0
        faults: list[str] = []
        with (
            contextlib.suppress(SourceError),
            opened_video(self._path, max(MAX_PIXELS, self._size[0] * self._size[1])) as opened,
        ):
            for frame in frames_of(*opened, faults):
                if (frame.height, frame.width) != self._size:
                    break
                found += 1
                if is_stopping():
                    return self.count
        return found

    def _refuse(self, otherwise: str) -> None:
        """Raise CommandError with the reason that the system gives, else with this one."""
        with write_errors(self._name), self._path.open('ab') as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
        raise CommandError(f'cannot write {self._name}: {otherwise}')


class Clock:
    """Presentation times in ticks from the first frame, strictly increasing."""

    def __init__(self, tick_hz: int, rate_hz: float) -> None:
        """tick_hz: 0 = one tick per frame."""
        self.tick = 1 / Fraction(tick_hz or rate_hz).limit_denominator(10_000)
        self.step = max(1, round(1 / rate_hz / self.tick))  # ticks from one frame to the next
        self.longest_s = LONGEST_GAP_S
        if not tick_hz:
            self.longest_s = min(LONGEST_GAP_S, float(LONGEST_GAP_TICKS * self.tick))
        self._shift_s = 0.0
        self._last_s = 0.0
        self._last: int | None = None

    @property
    def end_s(self) -> float:
        """The end of the last frame."""
        return float(((self._last or 0) + self.step) * self.tick)

    def gap_s(self, time_s: float) -> float:
        """Return how long after the last frame this one is due."""
        return 0.0 if self._last is None else time_s - self._last_s

    def ticks(self, time_s: float) -> int:
        """Return when to show a frame that is due at `time_s`; jumps of the clock are removed."""
        last, step_s = self._last, float(self.step * self.tick)
        if last is None:
            self._shift_s = -time_s
        elif not -step_s < self.gap_s(time_s) <= self.longest_s:
            self._shift_s += self._last_s + step_s - time_s
        ticks = round((time_s + self._shift_s) / self.tick)
        if last is not None:
            ticks = max(last + 1, ticks)
            self.step = ticks - last
        self._last, self._last_s = ticks, time_s
        return ticks


def even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture padded to even sides of at least LEAST_SIDE, as encoders require."""
    below, beside = (max(side % 2, LEAST_SIDE - side) for side in picture.shape[:2])
    return cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_REPLICATE)


def library() -> Any:
    """Return PyAV. Raises CommandError if it is missing."""
    try:
        return pyav()
    except SourceError as error:
        raise CommandError(str(error)) from error


def encoder_of(form: Format, name: Path) -> str:
    """Return the first of the format's encoders that PyAV has. Raises CommandError."""
    av = library()
    for encoder in form.encoders:
        with contextlib.suppress(ValueError):  # PyAV's error for an unknown codec
            av.codec.Codec(encoder, 'w')
            return encoder
    raise CommandError(
        f'{name}: this PyAV has no encoder {" or ".join(form.encoders)}: use another suffix '
        f'({", ".join(FORMATS)}), or pip install av, which has them'
    )


@contextlib.contextmanager
def video_file(
    path: Path,
    rate_hz: float,
    source: Source | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[VideoFile]:
    """Yield a video that gets its name at the end, also after an error; none without a frame.

    path: its suffix is one of FORMATS. rate_hz: of frames without times. source: the source of the
    sound. Raises CommandError if it cannot be written; an existing file is then left as it was.
    """
    with temporary_beside(path) as part:
        video = VideoFile(part, rate_hz, path, source, warn)
        ended = False
        try:
            yield video
            ended = True
        finally:
            with signals_held():
                video.finish(ended)
                if video.count:
                    move_into_place(part, path)
