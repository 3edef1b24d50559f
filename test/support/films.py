"""Writes small video files by PyAV, with times and sound as a test wants them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SOUND_RATE_HZ = 48_000


def write_film(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]],
    times_s: Sequence[float],
    codec: str = 'mjpeg',
    sound: Sequence[str] = (),
    turn: NDArray[np.int32] | None = None,
    rate: int = 1000,
) -> Path:
    """A film of (H, W, 3) uint8 RGB pictures, each due at its time.

    sound: codecs of tracks, each with a tone as long as the pictures, of 440, 660 ... Hz. turn: a
    display matrix. rate: what the header says, the least common one as browsers write it.
    """
    height, width = pictures[0].shape[:2]
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.codec_context.time_base = Fraction(1, rate)
        if turn is not None:
            stream.set_display_matrix(turn.reshape(-1).tolist())
        tracks = [container.add_stream(each, rate=SOUND_RATE_HZ) for each in sound]
        for track in tracks:
            track.codec_context.layout = 'mono'
        for number, track in enumerate(tracks):
            length_s = times_s[-1] + times_s[-1] / max(1, len(times_s) - 1)
            frame = tone(440 + 220 * number, length_s)
            for packet in [*track.encode(frame), *track.encode(None)]:
                container.mux(packet)
        for rgb, time_s in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format='rgb24')
            frame.pts, frame.time_base = round(time_s * rate), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tone(frequency_hz: float, length_s: float) -> Any:
    """An AudioFrame."""
    times = np.arange(round(length_s * SOUND_RATE_HZ)) / SOUND_RATE_HZ
    wave = (8000 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[np.newaxis], format='s16', layout='mono')
    frame.rate, frame.pts = SOUND_RATE_HZ, 0
    return frame


def film_times(path: Path) -> list[float]:
    """When each picture is shown, in seconds, as a player reads it."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def film_length(path: Path) -> float:
    """How long a film is, in seconds, as a player shows it."""
    with av.open(str(path)) as container:
        return container.duration / 1e6


def heard(path: Path, track: int = 0) -> tuple[str, float, float]:
    """Codec, length in seconds and loudest frequency in Hz of a track of sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        name = stream.codec_context.codec.canonical_name
        mono = av.AudioResampler('flt', 'mono', SOUND_RATE_HZ)
        parts = []
        for frame in container.decode(stream):
            parts += [each.to_ndarray().reshape(-1) for each in mono.resample(frame)]
    samples = np.concatenate(parts)
    spectrum = np.abs(np.fft.rfft(samples))
    length_s = len(samples) / SOUND_RATE_HZ
    return name, length_s, float(spectrum.argmax() / length_s)


def packets(path: Path, kind: str, track: int = 0) -> list[bytes]:
    """The bytes of each packet of one stream ('video' or 'audio')."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[track]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]
