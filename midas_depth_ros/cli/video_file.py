"""A video file that is written picture by picture; what was written is kept, whatever happens.

Each picture gets the time at which it is due, and the sound of the source goes along. What comes
out plays in browsers: H.264 or VP9 with 4:2:0 colours, and what a player needs first is first. The
file is read back before it gets its name, and where that fails the disk is asked for the reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

# --- The sound of a video file on its way into another: copied as it is where that can hold it.
#
# Sound goes along with the pictures, piece by piece, so that both lie side by side in the file.
# Its times are shifted as those of the pictures are. A damaged piece is left out.

# Of samples per second, what every encoder here knows.
COMMON_RATE_HZ = 48_000
AAC_RATES_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, COMMON_RATE_HZ)
FULL_DISK = 28  # errno.ENOSPC, of which no piece of sound is to blame


@dataclasses.dataclass(frozen=True)
class SoundFormat:
    """What a kind of file holds: codecs that are copied (none named: all), and the encoder."""

    copied: tuple[str, ...]
    encoder: str


class NoSound:
    """Of pictures without."""

    def until(self, time_s: float) -> None:
        """Nothing is due."""

    def rest(self, end_s: float | None) -> None:
        """Nothing is left."""

    def close(self) -> None:
        """Nothing is open."""


class Sound(NoSound):
    """Every track of one file, written into another."""

    def __init__(self, path: Path, output: Any, form: SoundFormat, begins_s: float) -> None:
        """begins_s: what is time 0 of the output, by the clock of `path`.

        Raises SourceError, ValueError and what PyAV raises.
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
        """Write what is due before `time_s`. Raises what PyAV raises where the disk is full."""
        while self._next is not None:
            packet, track = self._next, self._tracks[self._next.stream.index]
            if track.time_s(packet) >= time_s:
                return
            track.write(packet)
            self._next = next(self._pieces, None)

    def rest(self, end_s: float | None) -> None:
        """Write what is due before `end_s` (None: all that there is), and end each track."""
        self.until(float('inf') if end_s is None else end_s)
        for track in self._tracks.values():
            track.end()

    def close(self) -> None:
        """Close the file that is read."""
        self._open.close()


class _Copy:
    """A track whose packets are taken as they are."""

    def __init__(self, stream: Any, output: Any, begins_s: float) -> None:
        add = getattr(output, 'add_stream_from_template', None)
        self._made = add(stream) if add else output.add_stream(template=stream)
        self._output = output
        self._begins_s = begins_s
        self._last = -1 << 62

    def time_s(self, packet: Any) -> float:
        """When a packet is due in the output."""
        return float(packet.dts * packet.time_base) - self._begins_s

    def write(self, packet: Any) -> None:
        """Write a packet, unless it is due before the first picture, or goes back."""
        shift = round(self._begins_s / packet.time_base)
        dts = packet.dts - shift
        if dts < 0 or dts <= self._last:
            return
        self._last = dts
        packet.pts = dts if packet.pts is None else max(dts, packet.pts - shift)
        packet.dts = dts
        packet.stream = self._made
        with _but_for_full_disks():
            self._output.mux(packet)

    def end(self) -> None:
        """Nothing was held back."""


class _Transcoded(_Copy):
    """A track that is decoded and encoded, since the file cannot hold it as it is."""

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
        """Decode a packet and write what comes of it."""
        with _but_for_full_disks():
            for frame in self._stream.decode(packet):
                if frame.pts is None:
                    continue
                frame.time_base = self._stream.time_base
                frame.pts -= round(self._begins_s / frame.time_base)
                if frame.pts >= 0:
                    self._put(frame)

    def end(self) -> None:
        """Write what the encoder holds back."""
        with _but_for_full_disks():
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
    """Packets of these streams that say when they are due, until the file cannot be read."""
    with contextlib.suppress(pyav().error.FFmpegError):
        for packet in container.demux(streams):
            if packet.size and packet.dts is not None:
                yield packet


@contextlib.contextmanager
def _but_for_full_disks() -> Iterator[None]:
    """A piece of sound that is damaged, or that the file will not have, is left out."""
    try:
        yield
    except pyav().error.FFmpegError as error:
        if error.errno == FULL_DISK:
            raise


LEAST_SIDE: Final = 16  # pixels; of less an encoder may end the process
LONGEST_SIDE: Final = 16_384  # pixels; encoders refuse more, or end the process
PROBE: Final = bytes(1 << 20)  # is written where a file cannot be read back, for the reason
LOOK_EVERY: Final = 16  # frames, for room on the disk
# Between two pictures; a wrong clock could ask for years, and AVI repeats a picture at each tick.
LONGEST_GAP_S: Final = 3600.0
LONGEST_GAP_TICKS: Final = 50_000


@dataclasses.dataclass(frozen=True)
class Format:
    """How a kind of file is written.

    encoders: the first that PyAV has is taken. tick_hz: times are multiples of 1/tick_hz s; 0 = of
    the pictures' own period, for files that know one rate only.
    """

    encoders: tuple[str, ...]
    pixels: str
    options: dict[str, str]
    tick_hz: int
    sound: SoundFormat
    file_options: dict[str, str] = dataclasses.field(default_factory=dict)


# No picture refers to a later one: what comes out is in order, and times need no shift.
H264 = {'preset': 'veryfast', 'crf': '20', 'bf': '0'}
VP9 = {
    **{'deadline': 'realtime', 'cpu-used': '8', 'row-mt': '1', 'crf': '26', 'b': '0'},
    **{'lag-in-frames': '0', 'auto-alt-ref': '0'},
}
MJPEG = {'qmin': '3', 'qmax': '3'}
# What the colours are, which players else guess by the size.
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
    """Pictures in, one video out. The first one sets the size; others are fitted into it."""

    def __init__(
        self,
        path: Path,
        rate_hz: float,
        name: Path,
        source: Source | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`path` is written to; `name` is what it will be called, for people.

        source: whose sound is taken. warn: is told what the video is without. Raises CommandError
        where PyAV is missing, or an encoder.
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
        self._waiting: Any = None  # the last packet: how long it is shown is not known yet
        self._sound: Sound | NoSound = NoSound()
        self._size = (0, 0)
        self.count = 0

    def write(self, rgb: NDArray[np.uint8], time_s: float) -> None:
        """Append an (H, W, 3) uint8 RGB picture that is due at `time_s`. Raises CommandError."""
        picture = even(rgb)
        if self._container is None:
            self._size = picture.shape[0], picture.shape[1]
            self._open(picture.shape[1], picture.shape[0], time_s)
        if self.count % LOOK_EVERY == 0:
            self._look_for_room()
        if self._clock.gap_s(time_s) > self._clock.longest_s:
            self._warn(
                f'{self._name}: between pictures {self.count - 1} and {self.count} there are '
                f'{self._clock.gap_s(time_s):.0f} s: the gap is left out'
            )
        fitted = np.ascontiguousarray(fit_into(picture, *self._size))
        with self._failing():
            frame = self._av.VideoFrame.from_ndarray(fitted, format='rgb24')
            frame = frame.reformat(format=self._format.pixels, **self._colours())
            frame.pts = self._clock.ticks(time_s)
            frame.time_base = self._clock.tick
            self._put(self._stream.encode(frame))
        self.count += 1

    def finish(self, ended: bool = True) -> None:
        """Complete the file and read it back; `ended`: the source is at its end, so is its sound.

        Raises CommandError.
        """
        if self._container is None:
            return
        with contextlib.closing(self._sound), self._failing():
            try:
                self._put(self._stream.encode(None))
                self._put_waiting(self._clock.step)
                self._sound.rest(None if ended else self._clock.end_s)
            finally:
                container, self._container = self._container, None
                container.close()
        found = self._read_back()
        if found < self.count and not is_stopping():
            self._refuse(
                f'of {self.count} pictures that were written {found} can be read back: is the disk '
                'damaged?'
            )

    def _open(self, width: int, height: int, first_s: float) -> None:
        if max(width, height) > LONGEST_SIDE:
            raise CommandError(
                f'{self._name}: a video of {width}x{height} pixels cannot be written: no side may '
                f'be above {LONGEST_SIDE}; --width makes it smaller'
            )
        source = self._source
        sound: Path | None = source.sound if source else None
        begins_s = (source.start_s if source else 0.0) + first_s
        without = ''
        for path in (sound, None) if sound else (None,):
            try:
                self._begin(width, height, path, begins_s)
                if without:
                    self._warn(f'{self._name}: the sound is left out: {without}')
                return
            except (self._av.error.FFmpegError, ValueError, SourceError) as error:
                self._sound.close()
                self._sound = NoSound()
                if path is None:
                    self._container = None
                    self._refuse(
                        f'{self._encoder} makes no video of {width}x{height} pixels '
                        f'({reason(error)}); try a smaller --width, or another format: '
                        f'{", ".join(FORMATS)}'
                    )
                without = reason(error)

    def _begin(self, width: int, height: int, sound: Path | None, begins_s: float) -> None:
        """Open the file and write what stands first. Raises what PyAV raises, and SourceError."""
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

    def _colours(self) -> dict[str, str]:
        return {'dst_colorspace': 'ITU709'} if self._format.pixels == 'yuv420p' else {}

    def _put(self, packets: list[Any]) -> None:
        """Write packets, each when it is known how long its picture is shown."""
        for packet in packets:
            if self._waiting is not None:
                self._put_waiting(packet.pts - self._waiting.pts)
            self._waiting = packet

    def _put_waiting(self, ticks: int) -> None:
        packet, self._waiting = self._waiting, None
        if packet is not None:
            with contextlib.suppress(AttributeError):  # PyAV before 13: the muxer guesses it
                packet.duration = max(1, ticks)
            self._sound.until(float(packet.pts * packet.time_base))
            self._container.mux(packet)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What FFmpeg cannot do becomes a CommandError, by the disk's reason if it has one."""
        try:
            yield
        except self._av.error.FFmpegError as error:
            self._refuse(reason(error))

    def _look_for_room(self) -> None:
        """Nothing is written any more where the disk is full: who goes on works in vain."""
        with write_errors(self._name):
            if not os.statvfs(self._path.parent).f_bfree:
                self._refuse('the disk is full')

    def _read_back(self) -> int:
        """How many pictures of the right size the file gives; all, while a signal waits."""
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
        """Raises CommandError with the reason that the disk gives, else with this one."""
        with write_errors(self._name), self._path.open('ab') as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
        raise CommandError(f'{self._name}: it cannot be written: {otherwise}')


class Clock:
    """When pictures are shown, in ticks from the first one; each comes after the one before."""

    def __init__(self, tick_hz: int, rate_hz: float) -> None:
        """tick_hz: 0 = a tick for each picture."""
        self.tick = 1 / Fraction(tick_hz or rate_hz).limit_denominator(10_000)
        self.step = max(1, round(1 / rate_hz / self.tick))  # ticks from one picture to the next
        self.longest_s = LONGEST_GAP_S
        if not tick_hz:
            self.longest_s = min(LONGEST_GAP_S, float(LONGEST_GAP_TICKS * self.tick))
        self._shift_s = 0.0
        self._last_s = 0.0
        self._last: int | None = None

    @property
    def end_s(self) -> float:
        """When the last picture is over."""
        return float(((self._last or 0) + self.step) * self.tick)

    def gap_s(self, time_s: float) -> float:
        """How long after the last picture this one is due."""
        return 0.0 if self._last is None else time_s - self._last_s

    def ticks(self, time_s: float) -> int:
        """When to show a picture that is due at `time_s`: clocks that jump go on as before."""
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
    """The picture with an even number of rows and columns, and some of them, as encoders want."""
    below, beside = (max(side % 2, LEAST_SIDE - side) for side in picture.shape[:2])
    return cv2.copyMakeBorder(picture, 0, below, 0, beside, cv2.BORDER_REPLICATE)


def library() -> Any:
    """PyAV. Raises CommandError where it is missing."""
    try:
        return pyav()
    except SourceError as error:
        raise CommandError(str(error)) from error


def encoder_of(form: Format, name: Path) -> str:
    """The first of its encoders that PyAV has. Raises CommandError."""
    av = library()
    for encoder in form.encoders:
        with contextlib.suppress(ValueError):  # what PyAV raises for what it does not know
            av.codec.Codec(encoder, 'w')
            return encoder
    raise CommandError(
        f'{name}: this PyAV has no encoder {" or ".join(form.encoders)}: give another ending '
        f'({", ".join(FORMATS)}), or pip install av, which has them'
    )


@contextlib.contextmanager
def video_file(
    path: Path,
    rate_hz: float,
    source: Source | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[VideoFile]:
    """A video that gets its name when it ends, also by an error. Without a picture there is none.

    path: its suffix is one of FORMATS. rate_hz: of pictures whose times are not known. source:
    whose sound goes along. Raises CommandError where it cannot be written; what was there before is
    then left.
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
