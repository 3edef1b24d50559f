"""Which topics of a bag are cameras, by names and types alone."""

from __future__ import annotations

import pytest

from midas_depth_ros.images.sources import UnclearTopic
from midas_depth_ros.images.sources.bag_cameras import BagCamera, find_cameras

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
        ({**ONE, RECT: IMAGE}, {'wanted_topics': [RAW, RECT]}, 'are of one camera'),
        ({'/a/x': IMAGE, '/a/y': IMAGE, '/a/camera_info': INFO}, {}, 'several images: /a/x, /a/y'),
        (ONE, {'leave_out': [RAW]}, 'no images'),
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
    ],
)
def test_cameras_are_image_topics_with_their_camera_info(topics, wishes, found):
    assert find_cameras(topics, **wishes) == [BagCamera(*each) for each in found]


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
    with pytest.raises(UnclearTopic, match='are of one camera'):
        find_cameras({**ONE, RECT: IMAGE}, [RECT], cameras)


def test_the_transport_of_a_camera_is_that_of_its_topic():
    assert [BagCamera('a', topic, '').transport for topic in (RAW, JPEG)] == ['raw', 'compressed']
