"""image_stream over real DDS: what subscribers get is what the source has."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bags
import cv2
import numpy as np
import pytest
from ros_helpers import Ros
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from midas_depth_ros.images import decode_compressed, decode_image, stamp_ns
from midas_depth_ros.images.errors import SourceLost
from midas_depth_ros.images.sources.pictures import PictureFiles
from midas_depth_ros.nodes.sources import image_stream
from midas_depth_ros.nodes.sources.image_stream import ImageStream

FAST = 50.0


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


PICTURES = [picture(i) for i in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for index, rgb in enumerate(PICTURES):
        assert cv2.imwrite(str(folder / f'{index}.png'), rgb[..., ::-1])
    return folder


def play(ros: Ros, source: Path, **parameters: Any) -> Any:
    """A node that plays once somebody listens, fast, and loses nothing."""
    defaults = {'source': str(source), 'rate': FAST, 'wait_for_subscribers': 1}
    return ros.make_node(ImageStream, parameters={**defaults, **parameters})


def time_ns(clock: Clock) -> int:
    return int(clock.clock.sec * 10**9 + clock.clock.nanosec)


def ended(ros: Ros, node: Any) -> int:
    ros.spin_until(lambda: hasattr(node, 'exit_code'), what='the end of the source')
    return int(node.exit_code)


def test_folder_comes_out_pixel_by_pixel_and_in_order(ros: Ros, folder: Path) -> None:
    images = ros.collect(Image, '/camera/image_raw')
    before_ns = ros.node.get_clock().now().nanoseconds
    node = play(ros, folder)
    assert ended(ros, node) == 0
    ros.spin_until(lambda: len(images) == 5, what='five pictures')
    for image, rgb in zip(images, PICTURES, strict=True):
        assert (image.encoding, image.step, image.is_bigendian) == ('rgb8', 96, 0)
        np.testing.assert_array_equal(decode_image(image), rgb)
        assert image.header.frame_id == 'camera_optical_frame'
    stamps = [before_ns, *(stamp_ns(image.header) for image in images)]
    assert stamps == sorted(stamps)
    assert stamps[-1] <= ros.node.get_clock().now().nanoseconds
    assert len(set(stamps)) == 6


def test_the_last_picture_reaches_a_best_effort_subscriber(ros: Ros, folder: Path) -> None:
    from rclpy.qos import qos_profile_sensor_data

    images = ros.collect(Image, '/camera/image_raw', qos_profile_sensor_data)
    node = play(ros, folder, start_delay=0.2)
    ended(ros, node)
    ros.destroy(node)
    ros.spin_until(lambda: images, what='a picture')
    np.testing.assert_array_equal(decode_image(images[-1]), PICTURES[-1])


def test_compressed_pictures_are_jpegs_of_the_source(ros: Ros, tmp_path: Path) -> None:
    smooth = np.zeros((48, 64, 3), np.uint8)
    smooth[:, 32:] = (200, 100, 40)
    assert cv2.imwrite(str(tmp_path / 'one.png'), smooth[..., ::-1])
    compressed = ros.collect(CompressedImage, '/front/image_raw/compressed')
    play(ros, tmp_path / 'one.png', camera='front', transport='compressed', jpeg_quality=95)
    ros.spin_until(lambda: compressed, what='a compressed picture')
    # As image_transport writes it: the image beside it is rgb8, and a JPEG is made of bgr8.
    assert compressed[0].format == 'rgb8; jpeg compressed bgr8'
    assert bytes(compressed[0].data[:3]) == b'\xff\xd8\xff'
    difference = np.abs(decode_compressed(compressed[0]).astype(int) - smooth)
    assert difference[:, :16].max() < 5
    assert difference[:, 48:].max() < 5
    assert not ros.node.get_publishers_info_by_topic('/front/image_raw')


def test_loop_starts_anew_until_the_node_ends(ros: Ros, folder: Path) -> None:
    images = ros.collect(Image, '/camera/image_raw')
    node = play(ros, folder, loop=True)
    ros.spin_until(lambda: len(images) >= 12, what='more than two passes')
    assert not hasattr(node, 'exit_code')
    for index, image in enumerate(images[:12]):
        np.testing.assert_array_equal(decode_image(image), PICTURES[index % 5])
    ros.destroy(node)
    assert node.exit_code == 0


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_bag_comes_out_as_it_was_recorded(ros: Ros, tmp_path: Path, storage: str) -> None:
    bag = bags.write_image_bag(
        tmp_path / 'bag', PICTURES, storage, padding=3, with_camera_info=True, rate_hz=25.0
    )
    images = ros.collect(Image, '/camera/image_raw')
    infos = ros.collect(CameraInfo, '/camera/camera_info')
    node = play(ros, bag, rate=0.0, stamps='original')
    assert ended(ros, node) == 0
    ros.spin_until(lambda: len(images) == len(infos) == 5, what='pictures and camera_info')
    for index, (image, info) in enumerate(zip(images, infos, strict=True)):
        recorded = bags.raw_message(PICTURES[index], bags.START_NS + index * 40_000_000, padding=3)
        assert stamp_ns(image.header) == stamp_ns(recorded.header)
        assert image.header.frame_id == bags.OPTICAL_FRAME
        for field in ('height', 'width', 'encoding', 'is_bigendian', 'step'):
            assert getattr(image, field) == getattr(recorded, field), field
        assert bytes(image.data) == recorded.data.tobytes()
        assert info.header == image.header
        expected = bags.camera_info_message(PICTURES[index], 0)
        assert (info.width, info.height, info.distortion_model) == (32, 24, 'plumb_bob')
        for field in 'dkrp':
            np.testing.assert_array_equal(getattr(info, field), getattr(expected, field))


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_compressed_bag_comes_out_as_recorded_and_decoded(
    ros: Ros, tmp_path: Path, storage: str
) -> None:
    bag = bags.write_image_bag(tmp_path / 'bag', PICTURES, storage, compressed=True, suffix='.png')
    compressed = ros.collect(CompressedImage, '/camera/image_raw/compressed')
    images = ros.collect(Image, '/camera/image_raw')
    before_ns = ros.node.get_clock().now().nanoseconds
    play(ros, bag, wait_for_subscribers=2)
    ros.spin_until(lambda: len(images) == len(compressed) == 5, what='both transports')
    for rgb, image, message in zip(PICTURES, images, compressed, strict=True):
        recorded = bags.compressed_message(rgb, 0, '.png')
        assert message.format == recorded.format
        assert bytes(message.data) == recorded.data.tobytes()
        np.testing.assert_array_equal(decode_image(image), rgb)
        assert image.header == message.header
        assert stamp_ns(image.header) >= before_ns, 'now, not as recorded'


def test_a_broken_message_of_a_bag_is_passed_on_or_skipped(ros: Ros, tmp_path: Path) -> None:
    cut = bags.raw_message(PICTURES[1], 2)
    cut.data = cut.data[:50]
    messages = [
        (1, '/image', bags.raw_message(PICTURES[0], 1)),
        (2, '/image', cut),
        (3, '/image', bags.raw_message(PICTURES[2], 3)),
    ]
    bag = bags.write_bag(tmp_path / 'bag', messages)
    images = ros.collect(Image, '/camera/image_raw')
    compressed = ros.collect(CompressedImage, '/camera/image_raw/compressed')
    assert ended(ros, play(ros, bag, wait_for_subscribers=2)) == 0
    ros.spin_until(lambda: (len(images), len(compressed)) == (3, 2), what='three and two')
    assert len(images[1].data) == 50
    assert decode_compressed(compressed[1]).shape == (24, 32, 3)


def test_looping_original_stamps_jump_back(ros: Ros, tmp_path: Path) -> None:
    bag = bags.write_image_bag(tmp_path / 'bag', PICTURES[:2])
    images = ros.collect(Image, '/camera/image_raw')
    play(ros, bag, loop=True, stamps='original')
    ros.spin_until(lambda: len(images) >= 4, what='two passes')
    stamps = [stamp_ns(image.header) - bags.START_NS for image in images[:4]]
    assert stamps == [0, 100_000_000, 0, 100_000_000]


def test_a_gap_of_a_bag_is_said_and_a_long_one_skipped(
    ros: Ros, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_stream, 'LONG_WAIT_S', 0.2)
    times_s = (0.0, 0.1, 0.6, 0.7 + 30 * 86400, 0.8 + 30 * 86400)
    messages = []
    for rgb, time_s in zip(PICTURES, times_s, strict=True):
        stamp = bags.START_NS + round(time_s * 1e9)
        messages.append((stamp, bags.TOPIC, bags.raw_message(rgb, stamp)))
    bag = bags.write_bag(tmp_path / 'bag', messages)
    images = ros.collect(Image, '/camera/image_raw')
    assert ended(ros, play(ros, bag, rate=0.0, stamps='original')) == 0
    ros.spin_until(lambda: len(images) == 5, what='five pictures')
    assert [stamp_ns(image.header) for image in images] == [stamp for stamp, _, _ in messages]
    said = capfd.readouterr()
    lines = (said.out + said.err).splitlines()
    (waits,) = (line for line in lines if 'is due in' in line)
    assert 'message 2 is due in' in waits
    (skips,) = (line for line in lines if 'the recording has a gap of' in line)
    assert 'message 3: the recording has a gap of 30 days: going on without it' in skips


def test_clock_follows_the_recorded_stamps(ros: Ros, tmp_path: Path) -> None:
    bag = bags.write_image_bag(tmp_path / 'bag', PICTURES[:4], rate_hz=5.0)
    images = ros.collect(Image, '/camera/image_raw')
    clocks = ros.collect(Clock, '/clock')
    node = play(
        ros, bag, rate=0.0, stamps='original', publish_clock=True, start_delay=0.3, clock_rate=100.0
    )
    first, last = bags.START_NS, bags.START_NS + 600_000_000
    ended(ros, node)
    ros.spin_until(lambda: len(images) == 4, what='four pictures')
    ros.spin_until(lambda: time_ns(clocks[-1]) == last, what='the last tick')
    times = [time_ns(clock) for clock in clocks]
    assert times == sorted(times)
    assert first <= times[0]
    stamps = {stamp_ns(image.header) for image in images}
    assert stamps <= {first, *times}, 'each picture is announced by the clock'
    assert len(set(times) - stamps) > 3, 'and time passes in between'


def test_clock_with_stamps_of_now(ros: Ros, folder: Path) -> None:
    images = ros.collect(Image, '/camera/image_raw')
    clocks = ros.collect(Clock, '/clock')
    ended(ros, play(ros, folder, publish_clock=True, start_delay=0.3, use_sim_time=True))
    ros.spin_until(lambda: len(images) == 5, what='five pictures')
    now_ns = ros.node.get_clock().now().nanoseconds
    times = [time_ns(clock) for clock in clocks]
    assert now_ns - 60 * 10**9 < times[0] <= times[-1] <= now_ns
    assert stamp_ns(images[-1].header) in times


def test_assumed_field_of_view_and_shrinking(ros: Ros, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / 'wide.png'), np.full((48, 128, 3), 90, np.uint8))
    images = ros.collect(Image, '/camera/image_raw')
    infos = ros.collect(CameraInfo, '/camera/camera_info')
    play(ros, tmp_path / 'wide.png', horizontal_fov=math.pi / 2, max_width=64, frame_id='eye')
    ros.spin_until(lambda: images and infos, what='a picture with camera_info')
    assert (images[0].width, images[0].height) == (64, 24)
    np.testing.assert_array_equal(decode_image(images[0]), 90)
    info = infos[0]
    assert (info.width, info.height, info.header.frame_id) == (64, 24, 'eye')
    # From edge to edge 90 degrees: half the width is as long as the focal length.
    np.testing.assert_allclose(info.k, [32, 0, 31.5, 0, 32, 11.5, 0, 0, 1])
    assert list(info.d) == [0.0] * 5


def test_calibration_file_is_scaled_to_the_picture(ros: Ros, folder: Path, tmp_path: Path) -> None:
    calibration = tmp_path / 'camera.yaml'
    calibration.write_text(
        'image_width: 64\nimage_height: 48\n'
        'camera_matrix: {rows: 3, cols: 3, data: [50, 0, 31.5, 0, 52, 23.5, 0, 0, 1]}\n'
        'distortion_model: plumb_bob\n'
        'distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0.3]}\n'
    )
    infos = ros.collect(CameraInfo, '/camera/camera_info')
    ros.collect(Image, '/camera/image_raw')
    play(ros, folder, calibration=str(calibration), start_delay=0.2)
    ros.spin_until(lambda: len(infos) == 5, what='five camera_info')
    np.testing.assert_allclose(infos[0].k, [25, 0, 15.5, 0, 26, 11.5, 0, 0, 1])
    np.testing.assert_allclose(infos[0].p, [25, 0, 15.5, 0, 0, 26, 11.5, 0, 0, 0, 1, 0])
    assert list(infos[0].d) == [0.1, -0.2, 0.001, 0.002, 0.3]


def test_calibration_of_another_aspect_is_left_out(
    ros: Ros,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_lines: Callable[[], list[str]],
) -> None:
    monkeypatch.setattr(image_stream, 'FAULT_LOG_PERIOD_S', 0.0)
    calibration = tmp_path / 'camera.yaml'
    calibration.write_text(
        'image_width: 64\nimage_height: 36\n'
        'camera_matrix: {data: [50, 0, 31.5, 0, 52, 17.5, 0, 0, 1]}\n'
        'distortion_coefficients: {data: [0, 0, 0, 0, 0]}\n'
    )
    images = ros.collect(Image, '/camera/image_raw')
    infos = ros.collect(CameraInfo, '/camera/camera_info')
    assert ended(ros, play(ros, folder, calibration=str(calibration), start_delay=0.2)) == 0
    ros.spin_until(lambda: len(images) == 5, what='the pictures all the same')
    assert infos == []
    warnings = [line for line in log_lines() if 'is published without camera_info' in line]
    assert len(warnings) == 1, 'one for all of them'
    assert 'another aspect' in warnings[0]


def test_without_calibration_there_is_no_camera_info_topic(ros: Ros, folder: Path) -> None:
    play(ros, folder)
    ros.spin_until(lambda: ros.node.get_publishers_info_by_topic('/camera/image_raw'))
    assert not ros.node.get_publishers_info_by_topic('/camera/camera_info')


def test_nothing_is_converted_for_nobody(
    ros: Ros, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from midas_depth_ros.nodes.sources import camera_topics

    def must_not(*args: Any) -> None:
        raise AssertionError('nobody subscribes to this')

    monkeypatch.setattr(camera_topics, 'jpeg_message', must_not)
    images = ros.collect(Image, '/camera/image_raw')
    assert ended(ros, play(ros, folder)) == 0
    ros.spin_until(lambda: len(images) == 5, what='five pictures')


def test_unplugged_device_ends_the_node_with_1(
    ros: Ros, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unplugged(PictureFiles):
        live = True

        def __iter__(self) -> Any:
            yield from super().__iter__()
            raise SourceLost('/dev/video9: no more pictures: was the camera unplugged?')

    monkeypatch.setattr(
        image_stream, 'open_source', lambda *args: Unplugged(folder, 10**6, args[-1])
    )
    images = ros.collect(Image, '/camera/image_raw')
    node = play(ros, folder, rate=0.0)
    assert ended(ros, node) == 1
    ros.spin_until(lambda: len(images) == 5, what='what came before')


@pytest.mark.parametrize(
    ('parameters', 'named'),
    [
        ({'source': ''}, 'source is empty'),
        ({'source': '/no/such/thing'}, '/no/such/thing'),
        ({'source': '/dev/video63'}, '/dev/video63'),
        ({'rate': -1.0}, 'rate'),
        ({'camera': 'a b'}, 'camera'),
        ({'stamps': 'yesterday'}, 'original'),
        ({'transport': 'theora'}, 'compressed'),
        ({'frame_id': '/camera'}, 'frame_id'),
        ({'calibration': '/no/camera.yaml'}, '/no/camera.yaml'),
        ({'qos_overrides./camera/image_raw.publisher.history': 'all'}, 'history'),
    ],
)
def test_what_is_wrong_at_the_start_is_named(
    ros: Ros, folder: Path, parameters: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        ros.make_node(ImageStream, parameters={'source': str(folder), **parameters})


def test_real_pictures_in_a_bag(ros: Ros, shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / 'plain').glob('*.jpg'))[:4]
    real = [cv2.imread(str(path))[..., ::-1] for path in paths]
    bag = bags.write_image_bag(tmp_path / 'bag', real, 'mcap', topic='/robot/front/image_raw')
    images = ros.collect(Image, '/camera/image_raw')
    assert ended(ros, play(ros, bag, rate=10.0)) == 0
    ros.spin_until(lambda: len(images) == len(real), what='all of them')
    for image, rgb in zip(images, real, strict=True):
        np.testing.assert_array_equal(decode_image(image), rgb)


@pytest.mark.parametrize(
    ('parameters', 'said'),
    [
        ({'camera': 'a' * 300}, 'has 300 letters'),
        ({'camera': 'a//b'}, 'cannot be a topic namespace'),
        ({'camera': '..'}, 'cannot be a topic namespace'),
        ({'camera': 'a/'}, 'cannot be a topic namespace'),
        ({'camera': '\x1b[31m'}, 'cannot be a topic namespace'),
        ({'frame_id': 'a' * 300}, 'at most 255 letters'),
        ({'frame_id': '\x1b[31m'}, 'is not a tf2 frame'),
        ({'source': 'ELSEWHERE/fifo'}, 'it is a FIFO'),
        ({'source': 'ELSEWHERE/fifo.db3'}, 'it is a FIFO'),
        ({'source': '/dev/zero'}, 'it is a device'),
        ({'source': 'x' * 5000}, 'there is no such'),
        ({'calibration': 'ELSEWHERE/fifo'}, 'it is a FIFO'),
        ({'calibration': '/dev/zero'}, 'it is a device'),
        ({'calibration': 'ELSEWHERE/bomb.yaml'}, 'image_width is a list'),
        ({'calibration': 'ELSEWHERE/number.yaml'}, 'not a number of pixels'),
    ],
)
def test_what_is_named_wrongly_is_refused_at_once(
    ros: Ros, folder: Path, parameters: dict[str, str], said: str
) -> None:
    elsewhere = folder.parent
    for name in ('fifo', 'fifo.db3'):
        os.mkfifo(elsewhere / name)
    levels = (f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 12))
    (elsewhere / 'bomb.yaml').write_text(f'a0: &a0 [x]\n{"".join(levels)}image_width: *a11\n')
    (elsewhere / 'number.yaml').write_text(f'image_width: {2**40}\n')
    given = {name: text.replace('ELSEWHERE', str(elsewhere)) for name, text in parameters.items()}
    with pytest.raises(ValueError, match=said) as caught:
        ros.make_node(ImageStream, parameters={'source': str(folder), **given})
    assert str(caught.value).isprintable()


def test_what_is_no_picture_in_a_folder_is_skipped(ros: Ros, folder: Path) -> None:
    os.mkfifo(folder / '1a.png')
    (folder / '1b.png').symlink_to('/dev/zero')
    (folder / '1c.png').symlink_to('1c.png')
    (folder / '1d.png').mkdir()
    images = ros.collect(Image, '/camera/image_raw')
    assert ended(ros, play(ros, folder)) == 0
    ros.spin_until(lambda: len(images) == 5, what='five pictures')


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_of_a_cut_bag_what_is_whole_is_played(ros: Ros, tmp_path: Path, storage: str) -> None:
    bag = bags.write_image_bag(tmp_path / 'bag', [picture(i, 96, 128) for i in range(20)], storage)
    file = next(each for each in bag.iterdir() if each.suffix != '.yaml')
    file.write_bytes(file.read_bytes()[: int(0.8 * file.stat().st_size)])
    images = ros.collect(Image, '/camera/image_raw')
    node = play(ros, bag)
    assert ended(ros, node) == 1, 'the damage is said when all is played'
    ros.spin_until(lambda: len(images) >= 12, what='the pictures before the cut')
    for index, image in enumerate(images[:12]):
        np.testing.assert_array_equal(decode_image(image), picture(index, 96, 128))


def test_what_the_node_says_does_not_move_the_cursor(tmp_path: Path) -> None:
    odd = tmp_path / 'a\x1b[31mb\n\u202e'
    odd.mkdir()
    (odd / 'x\x1b[2J.png').write_bytes(b'none')
    for source in (odd, odd / 'gone\x1b[2J'):
        command = [sys.executable, '-m', 'midas_depth_ros.nodes.sources.image_stream', '--ros-args']
        done = subprocess.run(
            [*command, '-p', f'source:={json.dumps(str(source))}'],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert b'\\x1b[31m' in done.stderr
        for line in (done.stdout + done.stderr).decode().splitlines():
            assert line.isprintable(), line
