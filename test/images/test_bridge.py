"""Encodings that are not ours: cv_bridge where it works, a clear error where it does not."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from picture_files import noise

from midas_depth_ros.images import check_image, decode_image
from midas_depth_ros.images.decode import load_bridge
from midas_depth_ros.images.errors import DataTooShort, StepTooSmall, UnknownEncoding


class CvBridgeError(TypeError):
    """As in cv_bridge."""


@pytest.fixture(autouse=True)
def _forget_bridge():
    load_bridge.cache_clear()
    yield
    load_bridge.cache_clear()


@pytest.fixture
def install(monkeypatch):
    """Installs a cv_bridge whose imgmsg_to_cv2 is the given function; None makes it missing."""

    def install_bridge(convert):
        module = ModuleType('cv_bridge')
        module.CvBridge = lambda: SimpleNamespace(imgmsg_to_cv2=convert)
        monkeypatch.setitem(sys.modules, 'cv_bridge', module if convert else None)

    return install_bridge


def strange_message(encoding='strange'):
    return SimpleNamespace(
        height=2, width=3, encoding=encoding, is_bigendian=0, step=4, data=bytes(range(8))
    )


def test_an_unknown_encoding_is_handed_over(install):
    calls = []
    rgb = noise(2, 3)

    def convert(message, desired_encoding):
        calls.append((message.encoding, desired_encoding))
        return rgb

    install(convert)
    np.testing.assert_array_equal(decode_image(strange_message()), rgb)
    assert calls == [('strange', 'rgb8')]
    check_image(strange_message())


def test_a_known_encoding_is_not_handed_over(install):
    install(lambda message, encoding: pytest.fail('cv_bridge was asked'))
    message = strange_message('mono8')
    np.testing.assert_array_equal(decode_image(message)[:, :, 1], [[0, 1, 2], [4, 5, 6]])


def test_without_cv_bridge_the_error_lists_what_can_be_sent(install):
    install(None)
    for function in (decode_image, check_image):
        with pytest.raises(UnknownEncoding, match=r"'strange'.*cv_bridge.*rgb8, bgr8.*nv12"):
            function(strange_message())


@pytest.mark.parametrize(
    'fault',
    [
        CvBridgeError('[strange] is not a color format'),
        ImportError('numpy.core.multiarray failed to import'),
        AttributeError('_ARRAY_API not found'),
        AttributeError('`newbyteorder` was removed from the ndarray class'),
        SystemError('initialization of cv_bridge_boost raised unreported exception'),
        ValueError('buffer is smaller than requested size'),
        RuntimeError('Unrecognized image encoding'),
    ],
)
def test_a_cv_bridge_that_fails_is_named(install, fault):
    def convert(message, desired_encoding):
        raise fault

    install(convert)
    with pytest.raises(UnknownEncoding) as caught:
        decode_image(strange_message())
    assert str(fault) in str(caught.value)
    assert 'rgb8' in str(caught.value)


@pytest.mark.parametrize('fault', [ImportError, AttributeError, SystemError, RuntimeError])
def test_a_cv_bridge_that_cannot_be_loaded_is_tried_once(monkeypatch, fault):
    tries = []

    class Broken(ModuleType):
        def __getattr__(self, name):
            if name == 'CvBridge':
                tries.append(name)
                raise fault('_ARRAY_API not found')
            raise AttributeError(name)

    monkeypatch.setitem(sys.modules, 'cv_bridge', Broken('cv_bridge'))
    for _ in range(3):
        with pytest.raises(UnknownEncoding, match='_ARRAY_API not found'):
            decode_image(strange_message())
    assert tries == ['CvBridge']


@pytest.mark.parametrize(
    'result', [np.zeros((2, 3), np.uint8), np.zeros((3, 2, 3), np.uint8), np.zeros((2, 3, 3))]
)
def test_what_cv_bridge_makes_must_be_the_picture(install, result):
    install(lambda message, encoding: result)
    with pytest.raises(UnknownEncoding, match='strange'):
        decode_image(strange_message())


def test_any_function_can_take_over():
    rgb = noise(2, 3)
    decoded = decode_image(strange_message(), hand_over=lambda message: rgb[::-1])
    np.testing.assert_array_equal(decoded, rgb[::-1])
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize(
    ('field', 'value', 'error'),
    [
        ('step', 2, StepTooSmall),
        ('data', bytes(7), DataTooShort),
    ],
)
def test_cv_bridge_gets_no_message_that_contradicts_itself(install, field, value, error):
    install(lambda message, encoding: pytest.fail('cv_bridge was asked'))
    message = strange_message()
    setattr(message, field, value)
    with pytest.raises(error):
        decode_image(message)
