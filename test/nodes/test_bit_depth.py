"""Cameras of 10, 12 and 14 bits before a depth_node, over DDS: it sees what an 8-bit one shows."""

from __future__ import annotations

import bags
import numpy as np
import pytest
from click.testing import CliRunner
from deep_pictures import fields_of, png_of, samples_of
from driving import DEPTH, diagnostics, header, read, send_until, set_parameter, values
from fakes import BrightnessEstimator
from geometry_msgs.msg import Vector3Stamped
from PIL import Image as PillowImage
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CompressedImage, Image

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.images import decode_compressed
from midas_depth_ros.nodes.bag.writer import canonical, ros_types
from midas_depth_ros.nodes.depth import node as depth_node
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import image_message
from midas_depth_ros.nodes.sources.image_stream import ImageStream

ENCODINGS = ('mono16', 'rgb16', 'bgra16', 'bayer_rggb16', 'bayer_gbrg16')
# Brightness of grey pictures comes through a mosaic as it is.
SHADES = np.repeat(np.linspace(0.02, 0.98, 48)[:, None, None], 64, axis=1).repeat(3, axis=2)
PARTS = (1.0, 0.1, 0.5, 0.02, 1.0, 0.1)


def message(name, rgb, seconds, **options):
    made = Image(header=header(seconds))
    for field, value in fields_of(name, rgb, **options).items():
        setattr(made, field, value)
    return made


def png_message(rgb, seconds):
    return CompressedImage(
        header=header(seconds), format='rgb16; png compressed ', data=png_of(rgb, 2)
    )


INNER = slice(4, -4)  # a mosaic's border lacks neighbours


def brightness(out):
    """The brightness 0 to 255 that the estimator of these tests saw in each row."""
    return values(out)[INNER, 10]


def seen(part):
    """The same that it should have seen, at half the rows."""
    return np.repeat(255 * part * SHADES[::2, 0, 0], 2)[INNER]


@pytest.mark.sampled
@pytest.mark.parametrize('bits', [10, 12, 14])
@pytest.mark.parametrize('name', ENCODINGS)
def test_every_picture_of_a_stream_is_as_bright_as_it_should_be(ros, start, name, bits):
    """Whatever the scene does: the same brightness is the same value from the first one on."""
    start(max_rate=0.0)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    for number, part in enumerate(PARTS):
        made = message(name, samples_of(part * SHADES, bits), 100 + number, padding=4)
        before = len(out)
        send_until(ros, publisher, lambda _, made=made: made, out)
        for each in out[before:]:
            assert np.abs(brightness(each) - seen(part)).max() <= 1.5
    guessed = f'{bits}, guessed from the pictures'
    diagnostics(ros, 'camera camera', lambda s: read(s)['bit depth'] == guessed)


def test_a_compressed_png_of_sixteen_bits_likewise(ros, start):
    start(transport='compressed', max_rate=0.0)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(CompressedImage, 'camera/image_raw/compressed')
    for number, part in enumerate(PARTS):
        made = png_message(samples_of(part * SHADES, 12), 100 + number)
        before = len(out)
        send_until(ros, publisher, lambda _, made=made: made, out)
        for each in out[before:]:
            assert np.abs(brightness(each) - seen(part)).max() <= 1.5


def test_a_bit_depth_is_given_while_the_node_runs_and_a_wrong_one_refused(ros, start):
    start(max_rate=0.0, bit_depth=14)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    made = message('mono16', samples_of(SHADES, 12), 100)
    send_until(ros, publisher, lambda i: made, out)
    assert np.abs(brightness(out[-1]) - seen(0.25)).max() <= 1.5
    assert set_parameter(ros, 'bit_depth', 12) == (True, '')
    send_until(ros, publisher, lambda i: made, out)
    assert np.abs(brightness(out[-1]) - seen(1)).max() <= 1.5
    status = diagnostics(ros, 'camera camera', lambda s: read(s)['bit depth'].startswith('12'))
    assert read(status)['bit depth'] == '12, given by bit_depth'
    accepted, reason = set_parameter(ros, 'bit_depth', 5)
    assert not accepted
    assert '5 is neither 0 nor 8 to 16' in reason


def test_a_camera_that_restarts_is_guessed_anew(ros, start):
    """Its stamps go back: it may be another camera, or a bag that begins again."""
    start(max_rate=0.0)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: message('mono16', samples_of(SHADES, 16), 100), out)
    send_until(ros, publisher, lambda i: message('mono16', samples_of(SHADES, 10), 50), out)
    assert np.abs(brightness(out[-1]) - seen(1)).max() <= 1.5


def test_cameras_do_not_disturb_each_other(ros, start):
    start(cameras=['left', 'right'], max_rate=0.0)
    for name, bits in (('left', 16), ('right', 10), ('left', 16)):
        out = ros.collect(Image, f'{name}/relative_inverse_depth/image')
        publisher = ros.publisher(Image, f'{name}/image_raw')
        made = message('mono16', samples_of(SHADES, bits), 100)
        send_until(ros, publisher, lambda _, made=made: made, out)
        assert np.abs(brightness(out[-1]) - seen(1)).max() <= 1.5


@pytest.fixture(scope='module')
def corridor(shared_data):
    """(H, W, 3) uint8 of a real corridor."""
    return np.asarray(PillowImage.open(shared_data / 'plain' / 'rtabmap_corridor_30.jpg'))


@pytest.mark.parametrize('name', ['mono16', 'bayer_rggb16', 'rgb16'])
def test_a_real_picture_of_twelve_bits_gives_the_closeness_of_eight(ros, corridor, name):
    node = ros.make_node(
        DepthNode, lambda settings: load_estimator('embedded'), parameters={'max_rate': 0.0}
    )
    assert node is not None
    near = ros.collect(Vector3Stamped, 'camera/closeness')
    depth = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    rgb = corridor[: corridor.shape[0] // 2 * 2, : corridor.shape[1] // 2 * 2]
    if name == 'mono16':
        rgb = np.repeat(rgb[:, :, 1:2], 3, axis=2)
    eight = {'mono16': 'rgb8', 'rgb16': 'rgb8', 'bayer_rggb16': 'bayer_rggb8'}[name]
    if eight == 'rgb8':
        expected = image_message(rgb, header(100))
    else:
        # The same mosaic in 8 bits: what is lost by the filter is not what is tried here.
        wide = message(name, rgb.astype(np.uint16), 100)
        expected = message(name, rgb.astype(np.uint16), 100)
        expected.encoding, expected.step = eight, wide.width
        expected.data = np.frombuffer(wide.data, '<u2').astype(np.uint8).tobytes()
    send_until(ros, publisher, lambda i: expected, depth)
    ros.spin_until(lambda: near)
    made = message(name, samples_of(rgb / 255, 12), 200)
    send_until(ros, publisher, lambda i: made, depth)
    ros.spin_until(lambda: near[-1].header.stamp.sec == 200)
    eight_bits, twelve_bits = ([v.x, v.y, v.z] for v in (near[0].vector, near[-1].vector))
    np.testing.assert_allclose(twelve_bits, eight_bits, atol=0.02, equal_nan=True)
    spread = np.ptp(values(depth[0]))
    assert np.abs(values(depth[-1]) - values(depth[0])).max() <= 0.02 * spread


def recorded(path, parts, bits=12, name='mono16'):
    """A rosbag2 of a camera of so many bits."""
    messages = []
    for number, part in enumerate(parts):
        fields = fields_of(name, samples_of(part * SHADES, bits))
        fields['data'] = np.frombuffer(fields['data'], np.uint8)
        stamp_ns = bags.START_NS + number * 100_000_000
        image = bags.Image(header=bags.header(stamp_ns), **fields)
        messages.append((stamp_ns, '/camera/image_raw', image))
    return bags.write_bag(path, messages)


def test_a_bag_gives_what_the_node_publishes(ros, monkeypatch, tmp_path):
    """Dark first: the guess grows in both at the same picture."""
    parts = (0.02, 0.1, 1.0, 1.0, 0.1, 0.5)
    path = recorded(tmp_path / 'in', parts)
    monkeypatch.setattr(depth_node, 'estimator_from', lambda settings: BrightnessEstimator())
    only = ('--only', 'relative_inverse_depth/image')
    result = CliRunner().invoke(main, ['bag', str(path), str(tmp_path / 'out'), *only])
    assert result.exit_code == 0, result.output
    written = read_bag(tmp_path / 'out')[f'/{DEPTH}']

    parameters = {'process_every_frame': True}
    ros.make_node(DepthNode, lambda settings: BrightnessEstimator(), parameters=parameters)
    live = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    for data in read_bag(path)['/camera/image_raw']:
        publisher.publish(data)
    ros.spin_until(lambda: len(live) == len(parts), what='every frame')
    store, _ = ros_types()
    assert [canonical(store, each) for each in live] == written
    for part, each in list(zip(parts, live, strict=True))[3:]:
        assert np.abs(brightness(each) - seen(part)).max() <= 1.5


def read_bag(path):
    """Serialised messages by topic."""
    data = {}
    with Reader(path) as reader:
        for connection, _, raw in reader.messages():
            data.setdefault(connection.topic, []).append(bytes(raw))
    return data


@pytest.mark.parametrize('parameters', [{}, {'bit_depth': 14}])
def test_image_stream_shows_a_recorded_camera_as_it_should_be(ros, tmp_path, parameters):
    path = recorded(tmp_path / 'in', PARTS)
    images = ros.collect(CompressedImage, '/camera/image_raw/compressed')
    parameters = {'source': str(path), 'rate': 50.0, 'wait_for_subscribers': 1, **parameters}
    ros.make_node(ImageStream, parameters=parameters)
    ros.spin_until(lambda: len(images) == len(PARTS), what='every picture')
    for part, each in zip(PARTS, images, strict=True):
        expected = 255 * part * SHADES / (4 if 'bit_depth' in parameters else 1)
        assert np.abs(decode_compressed(each) - expected).max() <= 6  # JPEG
