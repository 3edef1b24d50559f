"""The sound of a video file on its way into another: copied as it is where that can hold it.

Sound goes along with the pictures, piece by piece, so that both lie side by side in the file. Its
times are shifted as those of the pictures are. A damaged piece is left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from midas_depth_ros.images.sources.video import opened_file, pyav

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
