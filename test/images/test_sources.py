"""Sources: what is read equals what was written, in order; what is wrong is named with its path."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import bags
import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from midas_depth_ros.images import ImageError, decode_image
from midas_depth_ros.images.errors import (
    SourceLost,
    SourceNotFound,
    UnknownSource,
    UnreadableSource,
)
from midas_depth_ros.images.sources import UnclearTopic, open_source, video
from midas_depth_ros.images.sources.pictures import upright

STORAGES = ('sqlite3', 'mcap')


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path: Path, rgb: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


@pytest.fixture
def warnings_of() -> list[str]:
    return []


# --- pictures


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.tiff', '.ppm', '.PNG'])
def test_picture_file(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f'one{suffix}', picture(1))
    source = open_source(str(path))
    frames = list(source)
    assert len(frames) == 1
    np.testing.assert_array_equal(frames[0].rgb(), picture(1))
    assert frames[0].rgb().flags.c_contiguous
    assert (frames[0].stamp_ns, frames[0].time_ns, source.rate_hz) == (None, None, None)
    assert len(list(source)) == 1, 'a second pass gives the same'


def test_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1, 100):
        write(tmp_path / f'frame_{number}.png', picture(number))
    (tmp_path / 'notes.txt').write_text('not a picture')
    (tmp_path / '._frame_1.png').write_bytes(b'left by a Mac')
    frames = list(open_source(tmp_path))
    assert [Path(frame.name).name for frame in frames] == [
        'frame_1.png',
        'frame_9.png',
        'frame_10.png',
        'frame_100.png',
    ]
    np.testing.assert_array_equal(frames[2].rgb(), picture(10))


def test_broken_pictures_are_named_and_skipped(tmp_path: Path, warnings_of: list[str]) -> None:
    write(tmp_path / '1.png', picture(1))
    (tmp_path / '2.png').write_bytes((tmp_path / '1.png').read_bytes()[:100])
    (tmp_path / '3.jpg').write_bytes(b'no picture at all')
    (tmp_path / '4.bmp').write_bytes(b'BM')
    write(tmp_path / '5.png', picture(5))
    source = open_source(tmp_path, warn=warnings_of.append)
    assert [Path(frame.name).name for frame in source] == ['1.png', '5.png']
    assert [text.partition(':')[0] for text in warnings_of] == [
        str(tmp_path / name) for name in ('2.png', '3.jpg', '4.bmp')
    ]
    assert len(list(source)) == 2
    assert len(warnings_of) == 3, 'each is named once, however often the folder is played'


def test_nothing_readable(tmp_path: Path, warnings_of: list[str]) -> None:
    (tmp_path / 'broken.png').write_bytes(b'x')
    with pytest.raises(UnreadableSource, match='no picture could be read') as caught:
        list(open_source(tmp_path, warn=warnings_of.append))
    assert str(tmp_path) in str(caught.value)
    assert len(warnings_of) == 1


def test_grey_and_sixteen_bits(tmp_path: Path) -> None:
    deep = (picture(3)[..., 0].astype(np.uint16) << 8) + 77
    for name in ('deep.png', 'deep.tiff'):
        assert cv2.imwrite(str(tmp_path / name), deep)
        (frame,) = open_source(tmp_path / name)
        assert frame.rgb().dtype == np.uint8
        for channel in range(3):
            np.testing.assert_array_equal(frame.rgb()[..., channel], picture(3)[..., 0])


def test_depth_map_of_floats_is_no_picture(tmp_path: Path, warnings_of: list[str]) -> None:
    assert cv2.imwrite(str(tmp_path / 'depth.tiff'), np.full((4, 5), 1.5, np.float32))
    with pytest.raises(UnreadableSource):
        list(open_source(tmp_path / 'depth.tiff', warn=warnings_of.append))
    assert 'floats' in warnings_of[0]


@pytest.mark.parametrize('name', ['big.png', 'big.bmp'])
def test_too_large_a_picture_is_skipped(tmp_path: Path, name: str, warnings_of: list[str]) -> None:
    write(tmp_path / name, picture(1))
    with pytest.raises(UnreadableSource):
        list(open_source(tmp_path / name, max_pixels=24 * 32 - 1, warn=warnings_of.append))
    assert '32x24' in warnings_of[0]


@pytest.mark.parametrize('name', ['turned.jpg', 'turned.png', 'turned.webp'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / name
    options: dict[str, Any] = {'.jpg': {'quality': 100, 'subsampling': 0}, '.webp': {'quality': 90}}
    rgb = Image.fromarray(picture(1, 16, 24))
    rgb.save(path, exif=exif, **options.get(path.suffix, {}))
    with Image.open(path) as expected:
        np.testing.assert_array_equal(
            next(iter(open_source(path))).rgb(), np.asarray(ImageOps.exif_transpose(expected))
        )


def test_unknown_orientation_is_left() -> None:
    np.testing.assert_array_equal(upright(picture(1), 99), picture(1))


# --- video


@pytest.fixture
def video_file(tmp_path: Path) -> Path:
    path = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 12.5, (64, 48))
    for level in (40, 120, 200):
        writer.write(np.full((48, 64, 3), (level, 20, 250 - level), np.uint8))
    writer.release()
    return path


def test_video_has_its_own_rate_and_colours(video_file: Path) -> None:
    source = open_source(video_file)
    assert source.rate_hz == pytest.approx(12.5)
    frames = list(source)
    assert [frame.time_ns for frame in frames] == [0, 80_000_000, 160_000_000]
    for frame, level in zip(frames, (40, 120, 200), strict=True):
        assert frame.rgb().shape == (48, 64, 3)
        np.testing.assert_allclose(frame.rgb().mean(axis=(0, 1)), (250 - level, 20, level), atol=4)
    assert len(list(source)) == 3


def test_video_is_not_read_ahead(video_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    original = video.frames_of

    def counted(*opened: Any) -> Any:
        for frame in original(*opened):
            reads.append(1)
            yield frame

    monkeypatch.setattr(video, 'frames_of', counted)
    frames = iter(open_source(video_file))
    next(frames)
    assert len(reads) == 1
    next(frames)
    assert len(reads) == 2


def test_too_large_a_video(video_file: Path) -> None:
    with pytest.raises(ImageError, match='64x48'):
        open_source(video_file, max_pixels=1000)


def test_no_video(tmp_path: Path) -> None:
    path = tmp_path / 'notes.txt'
    path.write_text('no pictures in here')
    with pytest.raises(UnreadableSource, match='ffmpeg') as caught:
        open_source(path)
    assert str(path) in str(caught.value)


# --- devices


class FakeCapture:
    """Three pictures, then nothing, as of a camera that was unplugged."""

    opened: ClassVar[list[int]] = []

    def __init__(self, what: int) -> None:
        self.opened.append(what)
        self._left = 3

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        self._left -= 1
        return (True, picture(self._left)) if self._left >= 0 else (False, None)

    def release(self) -> None:
        self.opened.remove(self.opened[-1])


@pytest.mark.parametrize('spec', [3, '3', '/dev/video3'])
def test_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: int | str) -> None:
    monkeypatch.setattr(video, 'DEVICE_FOLDER', tmp_path)
    monkeypatch.setattr(video.cv2, 'VideoCapture', FakeCapture)
    (tmp_path / 'video3').write_bytes(b'')
    source = open_source(spec)
    assert source.live
    assert FakeCapture.opened == [], 'opened only when it is read'
    frames = iter(source)
    np.testing.assert_array_equal(next(frames).rgb(), picture(2)[..., ::-1])
    assert FakeCapture.opened == [3]
    next(frames)
    next(frames)
    with pytest.raises(SourceLost, match='after 3') as caught:
        next(frames)
    assert str(tmp_path / 'video3') in str(caught.value)
    assert FakeCapture.opened == [], 'and released'


def test_missing_device_names_those_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, 'DEVICE_FOLDER', tmp_path)
    (tmp_path / 'video2').write_bytes(b'')
    with pytest.raises(SourceNotFound, match='video2'):
        open_source('0')


def test_device_that_opencv_cannot_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, 'DEVICE_FOLDER', tmp_path)
    monkeypatch.setattr(video.cv2, 'VideoCapture', FakeCapture)
    monkeypatch.setattr(FakeCapture, 'isOpened', lambda self: False)
    (tmp_path / 'video1').write_bytes(b'')
    with pytest.raises(UnreadableSource, match='video1'):
        next(iter(open_source('/dev/video1')))


# --- rosbag2


@pytest.mark.parametrize('storage', STORAGES)
def test_raw_bag_keeps_every_field(tmp_path: Path, storage: str) -> None:
    pictures = [picture(i) for i in range(4)]
    path = bags.write_image_bag(
        tmp_path / 'bag', pictures, storage, rate_hz=8.0, padding=5, with_camera_info=True
    )
    source = open_source(path)
    assert (source.topic, source.has_camera_info) == ('/camera/image_raw', True)
    frames = list(source)
    assert len(frames) == 4
    for index, (frame, rgb) in enumerate(zip(frames, pictures, strict=True)):
        assert frame.time_ns == index * 125_000_000
        assert frame.stamp_ns == bags.START_NS + index * 125_000_000
        assert frame.frame_id == bags.OPTICAL_FRAME
        assert frame.size == (32, 24)
        assert (frame.message.encoding, frame.message.step) == ('bgr8', 3 * 32 + 5)
        np.testing.assert_array_equal(frame.message.data, bags.raw_message(rgb, 0, padding=5).data)
        np.testing.assert_array_equal(frame.rgb(), rgb)
        np.testing.assert_array_equal(decode_image(frame.message), rgb)
        np.testing.assert_array_equal(frame.camera_info.d, [-0.2, 0.05, 0.001, -0.001, 0.0])
        assert frame.camera_info.k[0] == 400.0
    assert len(list(source)) == 4, 'a second pass gives the same'


@pytest.mark.parametrize('storage', STORAGES)
def test_compressed_bag_keeps_its_bytes(tmp_path: Path, storage: str) -> None:
    pictures = [picture(i) for i in range(3)]
    path = bags.write_image_bag(tmp_path / 'bag', pictures, storage, compressed=True, suffix='.png')
    source = open_source(path)
    assert (source.topic, source.has_camera_info) == ('/camera/image_raw/compressed', False)
    for frame, rgb in zip(source, pictures, strict=True):
        expected = bags.compressed_message(rgb, 0, '.png')
        assert frame.message.format == expected.format
        np.testing.assert_array_equal(frame.message.data, expected.data)
        assert frame.size == (32, 24)
        np.testing.assert_array_equal(frame.rgb(), rgb)
        assert frame.camera_info is None


@pytest.mark.parametrize('storage', STORAGES)
def test_storage_file_without_its_folder(tmp_path: Path, storage: str) -> None:
    path = bags.write_image_bag(tmp_path / 'bag', [picture(0)], storage)
    file = next(file for file in path.iterdir() if file.name != 'metadata.yaml')
    np.testing.assert_array_equal(next(iter(open_source(file))).rgb(), picture(0))
    (path / 'metadata.yaml').unlink()
    np.testing.assert_array_equal(next(iter(open_source(path))).rgb(), picture(0))
    shutil.copy(file, path / f'second{file.suffix}')
    with pytest.raises(UnreadableSource, match='reindex'):
        open_source(path)


def test_frames_of_a_bag_are_shrunk_only_where_they_must(tmp_path: Path) -> None:
    rgb = np.zeros((20, 40, 3), np.uint8)
    rgb[:, 20:] = (200, 100, 50)
    path = bags.write_image_bag(tmp_path / 'bag', [rgb])
    (frame,) = open_source(path)
    assert frame.shrunk(0) is frame
    assert frame.shrunk(40) is frame
    small = frame.shrunk(10)
    assert small.message is None
    assert small.size == (10, 5)
    np.testing.assert_array_equal(small.rgb()[:, :5], 0)
    np.testing.assert_array_equal(small.rgb()[:, 5:], np.broadcast_to((200, 100, 50), (5, 5, 3)))


def test_bag_with_one_camera_on_two_topics(tmp_path: Path) -> None:
    messages = [
        (1, '/cam/image_raw/compressed', bags.compressed_message(picture(1), 1, '.png')),
        (2, '/cam/image_raw', bags.raw_message(picture(2), 2)),
    ]
    path = bags.write_bag(tmp_path / 'bag', messages)
    (frame,) = open_source(path)
    np.testing.assert_array_equal(frame.rgb(), picture(2))
    (frame,) = open_source(path, topic='cam/image_raw/compressed')
    np.testing.assert_array_equal(frame.rgb(), picture(1))


def test_bag_with_two_cameras_wants_a_topic(tmp_path: Path) -> None:
    messages = [
        (1, '/left/image_raw', bags.raw_message(picture(1), 1)),
        (2, '/right/image_raw', bags.raw_message(picture(2), 2)),
    ]
    path = bags.write_bag(tmp_path / 'bag', messages)
    with pytest.raises(UnclearTopic, match='/left/image_raw, /right/image_raw'):
        open_source(path)
    (frame,) = open_source(path, topic='/right/image_raw')
    np.testing.assert_array_equal(frame.rgb(), picture(2))
    with pytest.raises(UnclearTopic, match=r'/middle/image_raw.*/left/image_raw'):
        open_source(path, topic='/middle/image_raw')


def test_bag_whose_image_topic_is_empty(tmp_path: Path) -> None:
    path = bags.write_bag(
        tmp_path / 'bag', [], empty_topics={'/camera/image_raw': 'sensor_msgs/msg/Image'}
    )
    with pytest.raises(UnreadableSource, match='/camera/image_raw'):
        list(open_source(path))


@pytest.mark.parametrize('name', ['talker_sqlite3', 'talker_mcap'])
def test_real_bag_without_images(shared_data: Path, name: str) -> None:
    with pytest.raises(UnclearTopic, match=r'no images.*/topic \(std_msgs/msg/String\)'):
        open_source(shared_data / 'bags' / name)


def test_message_without_stamp_gets_the_time_of_recording(tmp_path: Path) -> None:
    path = bags.write_bag(
        tmp_path / 'bag', [(5_000_000_007, '/image', bags.raw_message(picture(1), 0))]
    )
    (frame,) = open_source(path)
    assert frame.stamp_ns == 5_000_000_007


def test_damaged_message_is_skipped(tmp_path: Path, warnings_of: list[str]) -> None:
    pictures = [picture(i) for i in range(3)]
    path = bags.write_image_bag(tmp_path / 'bag', pictures)
    database = next(path.glob('*.db3'))
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE messages SET data = x'000100000102' WHERE id = 2")
    connection.close()
    frames = list(open_source(path, warn=warnings_of.append))
    np.testing.assert_array_equal(frames[0].rgb(), pictures[0])
    np.testing.assert_array_equal(frames[1].rgb(), pictures[2])
    assert len(frames) == 2
    assert '/camera/image_raw' in warnings_of[0]


@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.9])
def test_bag_that_was_cut_short(tmp_path: Path, storage: str, share: float) -> None:
    path = bags.write_image_bag(tmp_path / 'bag', [picture(i, 240, 320) for i in range(4)], storage)
    file = next(file for file in path.iterdir() if file.name != 'metadata.yaml')
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(UnreadableSource, match='reindex'):
        list(open_source(path))


@pytest.mark.sampled
@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('storage', STORAGES)
def test_damaged_bag_never_raises_anything_else(
    tmp_path: Path, storage: str, seed: int, warnings_of: list[str]
) -> None:
    rng = np.random.default_rng(seed)
    path = bags.write_image_bag(
        tmp_path / 'bag', [picture(i) for i in range(4)], storage, with_camera_info=True
    )
    file = next(file for file in path.iterdir() if file.name != 'metadata.yaml')
    sound = np.frombuffer(file.read_bytes(), np.uint8)
    for _ in range(10):
        damaged = sound.copy()
        damaged[rng.integers(0, len(sound), 12)] = rng.integers(0, 256, 12)
        file.write_bytes(damaged.tobytes())
        try:
            answer = f'{path}: {len(list(open_source(path, warn=warnings_of.append)))} frames'
        except ImageError as error:
            answer = str(error)
        assert str(path) in answer


def test_without_the_library_there_is_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bags.write_image_bag(tmp_path / 'bag', [picture(1)])
    monkeypatch.setitem(sys.modules, 'rosbags.typesys', None)
    monkeypatch.delattr(sys.modules['rosbags'], 'typesys', raising=False)
    with pytest.raises(ImageError, match='pip install rosbags'):
        open_source(path)


# --- what is none of these


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound) as caught:
        open_source(tmp_path / 'missing.png')
    assert str(tmp_path / 'missing.png') in str(caught.value)
    with pytest.raises(UnknownSource, match='rosbag2'):
        open_source(' ')


def test_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match='holds no pictures'):
        open_source(tmp_path)


def test_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / 'mine.png', picture(1))
    monkeypatch.setenv('HOME', str(tmp_path))
    np.testing.assert_array_equal(next(iter(open_source('~/mine.png'))).rgb(), picture(1))


def test_sources_need_no_ros(tmp_path: Path) -> None:
    path = bags.write_image_bag(tmp_path / 'bag', [picture(1)])
    program = (
        'import sys; sys.modules["rclpy"] = sys.modules["sensor_msgs"] = None\n'
        'from midas_depth_ros.images.sources import open_source\n'
        f'print(sum(frame.rgb().shape[0] for frame in open_source({str(path)!r})))'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.stdout.strip() == '24', done.stderr


def test_a_single_picture_is_read_anew_only_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is played again and again; a photo of 12 megapixels takes half a second each time."""
    from midas_depth_ros.images.sources import pictures

    reads: list[Path] = []
    read = pictures.read_picture

    def counted(path: Path, *more: Any) -> np.ndarray:
        reads.append(path)
        return read(path, *more)

    monkeypatch.setattr(pictures, 'read_picture', counted)
    path = write(tmp_path / 'a.png', picture(1))
    source = open_source(path, warn=lambda text: None)
    first, second = (next(iter(source)).rgb() for _ in range(2))
    assert first is second
    assert not first.flags.writeable
    assert len(reads) == 1
    write(path, picture(2, 40, 50))
    np.testing.assert_array_equal(next(iter(source)).rgb(), picture(2, 40, 50))
    path.unlink()
    with pytest.raises(UnreadableSource):
        next(iter(source))
