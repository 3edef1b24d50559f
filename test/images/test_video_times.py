"""Video files: when each picture is due, which way up it is, and what damage and traps come to."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from films import write_film

from midas_depth_ros.images import ImageError
from midas_depth_ros.images.errors import UnreadableSource
from midas_depth_ros.images.sources import SourceError, open_source
from midas_depth_ros.nodes.sources.image_stream import Pacer

IRREGULAR_S = [0.0, 0.033, 0.067, 0.103, 0.139, 0.161, 0.9, 0.91, 1.5, 1.965]
# Display matrices (ISO/IEC 14496-12) of a phone held in each of four ways, and of a mirror.
MATRICES = {
    'upright': ((1, 0), (0, 1)),
    'to the right': ((0, 1), (-1, 0)),
    'upside down': ((-1, 0), (0, -1)),
    'to the left': ((0, -1), (1, 0)),
    'mirrored': ((-1, 0), (0, 1)),
    'mirrored and turned': ((0, 1), (1, 0)),
}
NO_PYAV = """
import sys
sys.modules['av'] = None
from midas_depth_ros.images.sources import open_source
assert len(list(open_source(sys.argv[2]))) == 1
open_source(sys.argv[1])
"""


def quarters(height: int = 48, width: int = 64) -> np.ndarray:
    """Four colours, so that every way to hold it shows."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (250, 20, 20)
    rgb[: height // 2, width // 2 :] = (20, 250, 20)
    rgb[height // 2 :, : width // 2] = (20, 20, 250)
    rgb[height // 2 :, width // 2 :] = (240, 240, 240)
    return rgb


@pytest.mark.parametrize('name', ['browser.webm', 'phone.mkv'])
def test_each_picture_is_due_at_its_presentation_time(tmp_path: Path, name: str) -> None:
    """Not at the rate of the header, which is the least that all times are multiples of."""
    codec = 'libvpx-vp9' if name.endswith('webm') else 'mjpeg'
    path = write_film(tmp_path / name, [quarters()] * len(IRREGULAR_S), IRREGULAR_S, codec)
    source = open_source(path)
    due_s = [frame.time_ns / 1e9 for frame in source if frame.time_ns is not None]
    np.testing.assert_allclose(due_s, IRREGULAR_S, atol=0.0011)
    assert source.rate_hz == pytest.approx(9 / 1.965, rel=0.01)


def test_pictures_that_come_in_another_order_are_in_that_of_their_times(tmp_path: Path) -> None:
    levels = range(20, 240, 10)
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in levels]
    times_s = [0.04 * index for index in range(len(levels))]
    path = write_film(tmp_path / 'b.mp4', pictures, times_s, 'libx264', rate=25)
    frames = list(open_source(path))
    means = [frame.rgb().mean() for frame in frames]
    np.testing.assert_allclose(means, levels, atol=6)
    np.testing.assert_allclose([frame.time_ns / 1e9 for frame in frames], times_s, atol=1e-6)


def test_times_of_an_avi_are_those_of_its_order(tmp_path: Path) -> None:
    """It has times of decoding alone: pictures that refer to later ones come with wrong ones."""
    levels = range(20, 240, 10)
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in levels]
    times_s = [0.04 * index for index in range(len(levels))]
    path = write_film(tmp_path / 'b.avi', pictures, times_s, 'libx264', rate=25)
    frames = list(open_source(path))
    np.testing.assert_allclose([frame.rgb().mean() for frame in frames], levels, atol=6)
    np.testing.assert_allclose([frame.time_ns / 1e9 for frame in frames], times_s, atol=1e-6)


@pytest.mark.parametrize('codec', ['libx264', 'mpeg4'])
@pytest.mark.parametrize(('begin', 'count'), [(20, 30), (0, 20), (12, 10), (24, 26)])
def test_what_a_phone_has_cut_off_is_not_shown_and_not_missed(
    tmp_path: Path, codec: str, begin: int, count: int
) -> None:
    """By an edit list: the pictures are all in the file, for some of them refer to others."""
    levels = range(20, 220, 4)
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in levels]
    times_s = [0.04 * index for index in range(len(levels))]
    path = write_film(tmp_path / 'a.mp4', pictures, times_s, codec, rate=25)
    data = bytearray(path.read_bytes())
    at = data.index(b'elst') + 12  # the length in ms, and when it begins in ticks of the stream
    ticks = struct.unpack_from('>I', data, data.index(b'mdhd') + 16)[0] // 25
    (first,) = struct.unpack_from('>I', data, at + 4)
    struct.pack_into('>II', data, at, 40 * count, first + begin * ticks)
    path.write_bytes(data)
    said: list[str] = []
    frames = list(open_source(path, warn=said.append))
    assert said == []
    means = [frame.rgb().mean() for frame in frames]
    np.testing.assert_allclose(means, levels[begin : begin + count], atol=6)
    due_s = [frame.time_ns / 1e9 for frame in frames]
    np.testing.assert_allclose(due_s, times_s[:count], atol=1e-6)


@pytest.mark.parametrize('way', MATRICES)
def test_pictures_of_a_phone_are_upright(tmp_path: Path, way: str) -> None:
    (a, b), (c, d) = MATRICES[way]
    matrix = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], np.int32)
    path = write_film(tmp_path / 'a.mp4', [quarters()] * 2, [0, 0.04], 'libx264', turn=matrix)
    seen = next(iter(open_source(path))).rgb()
    # Every place goes where the matrix says: x' = a x + c y, y' = b x + d y, from the middle.
    height, width = seen.shape[:2]
    for x, y in ((-16, -12), (16, -12), (-16, 12), (16, 12)):
        to_x, to_y = a * x + c * y, b * x + d * y
        colour = quarters()[24 + y, 32 + x]
        found = seen[height // 2 + to_y, width // 2 + to_x]
        np.testing.assert_allclose(found, colour, atol=25, err_msg=way)


def test_a_node_publishes_each_picture_when_it_is_due(tmp_path: Path) -> None:
    path = write_film(tmp_path / 'a.mkv', [quarters()] * len(IRREGULAR_S), IRREGULAR_S)
    source = open_source(path)
    pacer = Pacer(0.0, source.rate_hz)
    pacer.start_pass()
    due_s = [pacer.due_s(frame.time_ns, 0.0) for frame in source]
    np.testing.assert_allclose(due_s, IRREGULAR_S, atol=0.0011)


def test_clocks_that_go_back_go_on(tmp_path: Path) -> None:
    """As where two recordings were put together."""
    one = write_film(tmp_path / 'a.ts', [quarters()] * 6, [i / 25 for i in range(6)], 'mpeg2video',
                     rate=25)  # fmt: skip
    both = tmp_path / 'both.ts'
    both.write_bytes(one.read_bytes() * 2)
    due_ns = [frame.time_ns or 0 for frame in open_source(both, warn=lambda text: None)]
    assert len(due_ns) >= 10
    steps = np.diff(due_ns)
    assert steps.min() >= 0
    assert steps.max() < 200_000_000


@pytest.mark.parametrize('name', ['cut.mkv', 'cut.avi'])
def test_a_file_that_is_cut_short_is_said(tmp_path: Path, name: str) -> None:
    """Also where it says seconds only."""
    times_s = [i / 10 for i in range(60)]
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
    path = write_film(tmp_path / name, list(noise), times_s, rate=10)
    said: list[str] = []
    assert len(list(open_source(path, warn=said.append))) == 60
    assert said == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    count = len(list(open_source(path, warn=said.append)))
    assert 20 < count < 40
    assert len(said) == 1
    assert str(path) in said[0]
    assert 'cut short' in said[0]


def test_a_list_of_other_files_opens_none_of_them(tmp_path: Path) -> None:
    write_film(tmp_path / 'secret.ts', [quarters()] * 3, [0, 0.04, 0.08], 'mpeg2video', rate=25)
    playlist = '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n'
    for name, text in {
        'a.m3u8': playlist,
        'a.mp4': playlist.replace('secret.ts', str(tmp_path / 'secret.ts')),
        'b.mp4': f"ffconcat version 1.0\nfile '{tmp_path}/secret.ts'\n",
        'c.mp4': 'ffconcat version 1.0\nfile secret.ts\n',
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableSource, match=name):
            list(open_source(tmp_path / name))


def test_sizes_are_checked_where_they_change_on_the_way(tmp_path: Path) -> None:
    small = write_film(tmp_path / 'a.ts', [quarters()] * 6, [i / 25 for i in range(6)],
                       'mpeg2video', rate=25)  # fmt: skip
    large = write_film(tmp_path / 'b.ts', [quarters(480, 640)] * 6, [i / 25 for i in range(6)],
                       'mpeg2video', rate=25)  # fmt: skip
    small.write_bytes(small.read_bytes() + large.read_bytes())
    seen = []
    with contextlib.suppress(SourceError):
        for frame in open_source(small, max_pixels=100 * 100, warn=lambda text: None):
            seen.append(frame.size)
    assert set(seen) == {(64, 48)}
    with pytest.raises(ImageError, match='640x480'):
        open_source(large, max_pixels=100 * 100)


def test_without_pyav_it_is_said_what_to_install_and_pictures_are_read(tmp_path: Path) -> None:
    film = write_film(tmp_path / 'a.mp4', [quarters()] * 2, [0, 0.04], 'libx264')
    (tmp_path / 'a.ppm').write_bytes(b'P6 1 1 255 abc')
    done = subprocess.run(
        [sys.executable, '-c', NO_PYAV, str(film), str(tmp_path / 'a.ppm')],
        capture_output=True, text=True,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert 'pip install av' in last
    assert 'apt install python3-av' in last


@pytest.mark.parametrize('seed', range(3))
def test_damaged_bytes_are_an_error_or_pictures(tmp_path: Path, seed: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (10, 48, 64, 3), dtype=np.uint8)
    random = np.random.default_rng(seed)
    for codec, name in (('libx264', 'a.mp4'), ('mjpeg', 'a.avi'), ('libvpx-vp9', 'a.webm')):
        path = write_film(tmp_path / name, list(noise), [i / 10 for i in range(10)], codec, rate=10)
        whole = path.read_bytes()
        for _ in range(12):
            data = np.frombuffer(whole, np.uint8).copy()
            places = random.integers(0, len(data), random.integers(1, 200))
            data[places] = random.integers(0, 256, len(places))
            path.write_bytes(data.tobytes())
            with contextlib.suppress(ImageError):
                for frame in open_source(path, warn=lambda text: None):
                    assert frame.rgb().dtype == np.uint8
                    assert frame.time_ns is not None
                    assert frame.time_ns >= 0


def test_pictures_that_begin_late_beside_longer_sound_are_not_cut_short(tmp_path: Path) -> None:
    path = write_film(
        tmp_path / 'a.mkv',
        [quarters()] * 20,
        [5 + i / 10 for i in range(20)],
        sound=['aac'],
        rate=10,
    )
    said: list[str] = []
    source = open_source(path, warn=said.append)
    due_s = [(frame.time_ns or 0) / 1e9 for frame in source]
    np.testing.assert_allclose(due_s, np.arange(20) / 10, atol=1e-6)
    assert (source.start_s, said) == (5.0, [])
