"""Which topics of a bag are cameras, by names and types alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from midas_depth_ros.images.sources import UnclearTopic
from midas_depth_ros.images.sources.bag import choose_topic, find_cameras

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'
RAW, JPEG = '/a/image_raw', '/a/image_raw/compressed'
A_INFO = '/a/camera_info'
ROOT, ROOT_INFO, RECT = '/image_raw', '/camera_info', '/a/rect'
ONE = {RAW: IMAGE, A_INFO: INFO}
TWO = {**ONE, '/b/c/image_raw': IMAGE, '/b/c/camera_info': INFO}


@pytest.mark.parametrize(
    ('topics', 'wishes', 'said'),
    [
        ({}, {}, 'no images'),
        ({'/scan': 'sensor_msgs/msg/LaserScan'}, {}, 'its topics are: /scan'),
        ({RAW: IMAGE, '/b/image_raw': IMAGE}, {}, 'several cameras, none with a camera_info'),
        (ONE, {'wanted_topics': ['/b']}, 'no images on /b'),
        (ONE, {'wanted_topics': ['/a/camera_info']}, 'no images on /a/camera_info'),
        (ONE, {'wanted_cameras': ['b']}, '/b has no images'),
        (ONE, {'transport': 'compressed'}, 'no images'),
        ({**ONE, RECT: IMAGE}, {'wanted_topics': [RAW, RECT]}, 'belong to one camera'),
        ({'/a/x': IMAGE, '/a/y': IMAGE, '/a/camera_info': INFO}, {}, 'several images: /a/x, /a/y'),
        (ONE, {'leave_out': [RAW]}, 'only depth images'),
    ],
)
def test_what_is_not_clear_is_refused_with_the_choice(topics, wishes, said):
    with pytest.raises(UnclearTopic) as caught:
        find_cameras(topics, **wishes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ('topics', 'wishes', 'found'),
    [
        (ONE, {}, [('a', RAW, A_INFO)]),
        (TWO, {}, [('a', RAW, '/a/camera_info'), ('b/c', '/b/c/image_raw', '/b/c/camera_info')]),
        (TWO, {'wanted_cameras': ['/b/c/']}, [('b/c', '/b/c/image_raw', '/b/c/camera_info')]),
        ({**ONE, JPEG: COMPRESSED}, {}, [('a', RAW, A_INFO)]),
        ({**ONE, JPEG: COMPRESSED}, {'transport': 'compressed'}, [('a', JPEG, A_INFO)]),
        ({JPEG: COMPRESSED}, {}, [('a', JPEG, '')]),
        (
            {'/image_raw': IMAGE, '/camera_info': INFO},
            {},
            [('camera', '/image_raw', '/camera_info')],
        ),
        ({**ONE, RECT: IMAGE}, {}, [('a', RAW, A_INFO)]),
        (
            {**ONE, RECT: IMAGE},
            {'wanted_topics': ['a/rect']},
            [('a', RECT, A_INFO)],
        ),
        ({RECT: IMAGE, '/a/camera_info': INFO}, {}, [('a', RECT, A_INFO)]),
        ({**ONE, '/a/x/compressedDepth': COMPRESSED}, {}, [('a', RAW, A_INFO)]),
        ({**ONE, '/b/image_raw': IMAGE}, {}, [('a', RAW, A_INFO)]),
        (
            {'/a/depth': IMAGE, '/a/color': IMAGE, A_INFO: INFO},
            {'wanted_cameras': ['a'], 'leave_out': ['/a/depth']},
            [('a', '/a/color', A_INFO)],
        ),
        (ONE, {'wanted_cameras': ['a'], 'leave_out': [RAW]}, [('a', RAW, A_INFO)]),
        # The type says what a topic is, whatever it is called.
        (
            {'/a/rect_compressed': COMPRESSED, A_INFO: INFO},
            {},
            [('a', '/a/rect_compressed', A_INFO)],
        ),
        (
            {'/image_compressed': COMPRESSED, ROOT_INFO: INFO},
            {},
            [('camera', '/image_compressed', ROOT_INFO)],
        ),
        (
            {'/a/jpg': COMPRESSED, A_INFO: INFO},
            {'wanted_topics': ['/a/jpg']},
            [('a', '/a/jpg', A_INFO)],
        ),
        ({'/a/jpg': COMPRESSED}, {'wanted_cameras': ['a']}, [('a', '/a/jpg', '')]),
        (
            {'/a/x/compressed': IMAGE, '/a/x/camera_info': INFO},
            {},
            [('a/x', '/a/x/compressed', '/a/x/camera_info')],
        ),
        ({'/a/compressed': COMPRESSED, A_INFO: INFO}, {}, [('a', '/a/compressed', A_INFO)]),
        (
            {
                '/a/compressed': COMPRESSED,
                A_INFO: INFO,
                '/b/compressed': COMPRESSED,
                '/b/camera_info': INFO,
            },
            {},
            [('a', '/a/compressed', A_INFO), ('b', '/b/compressed', '/b/camera_info')],
        ),
        (
            {
                **ONE,
                RAW + '/zstd': COMPRESSED,
                JPEG: COMPRESSED,
                RAW + '/compressedDepth': COMPRESSED,
            },
            {},
            [('a', RAW, A_INFO)],
        ),
        ({JPEG: COMPRESSED, RAW + '/zstd': COMPRESSED, A_INFO: INFO}, {}, [('a', JPEG, A_INFO)]),
    ],
)
def test_cameras_are_image_topics_with_their_camera_info(topics, wishes, found):
    cameras = find_cameras(topics, **wishes)
    assert [(each.name, each.image, each.info) for each in cameras] == found
    for each in cameras:
        assert each.transport == {IMAGE: 'raw', COMPRESSED: 'compressed'}[topics[each.image]]


@pytest.mark.parametrize(
    'wishes', [{'wanted_topics': ['a/x/compressedDepth']}, {'wanted_cameras': ['a']}]
)
def test_a_compressed_depth_image_is_refused_by_its_name(wishes):
    topics = {'/a/x/compressedDepth': COMPRESSED, '/b/image_raw': IMAGE}
    with pytest.raises(UnclearTopic, match='/a/x/compressedDepth is a depth image: subscribe to'):
        find_cameras(topics, **wishes)
    with pytest.raises(UnclearTopic, match='/a/x/compressedDepth is a depth image: subscribe to'):
        choose_topic(Path('in'), topics, 'a/x/compressedDepth')


@pytest.mark.parametrize(
    ('topics', 'cameras', 'found'),
    [
        ([], ['a', 'a'], ['a']),
        ([], ['a', '/a', 'a/', '/a/'], ['a']),
        ([RAW, RAW, 'a/image_raw', '/a/image_raw/'], [], ['a']),
        ([RAW], ['a'], ['a']),
        ([RAW], ['b/c'], ['a', 'b/c']),
        (['/b/c/image_raw'], ['a', 'b/c', 'a'], ['b/c', 'a']),
    ],
)
def test_a_camera_that_is_named_twice_is_one(topics, cameras, found):
    assert [each.name for each in find_cameras(TWO, topics, cameras)] == found


@pytest.mark.parametrize('cameras', [['a'], ['a', 'a']])
def test_two_topics_of_one_camera_are_refused_however_they_are_named(cameras):
    with pytest.raises(UnclearTopic, match='belong to one camera'):
        find_cameras({**ONE, RECT: IMAGE}, [RECT], cameras)
