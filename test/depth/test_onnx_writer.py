"""The bytes of an ONNX model, against hand-made ones and against what OpenCV reads from them."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from midas_depth_ros.depth.onnx_files import Graph, _attribute, _varint


@pytest.mark.parametrize(
    ('value', 'wanted'),
    [(0, b'\x00'), (1, b'\x01'), (127, b'\x7f'), (128, b'\x80\x01'), (300, b'\xac\x02')],
)
def test_numbers_are_written_seven_bits_at_a_time(value: int, wanted: bytes) -> None:
    assert _varint(value) == wanted


@pytest.mark.parametrize(
    ('value', 'wanted'),
    [
        (5, b'\x0a\x01a\x18\x05\xa0\x01\x02'),
        ('hi', b'\x0a\x01a\x22\x02hi\xa0\x01\x03'),
        ((1, 300), b'\x0a\x01a\x40\x01\x40\xac\x02\xa0\x01\x07'),
        (0.5, b'\x0a\x01a\x15' + struct.pack('<f', 0.5) + b'\xa0\x01\x01'),
    ],
)
def test_attributes_carry_name_value_and_kind(value: object, wanted: bytes) -> None:
    assert _attribute('a', value) == wanted  # type: ignore[arg-type]


def test_opencv_computes_what_the_graph_says() -> None:
    rng = np.random.default_rng(0)
    kernel, shift = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    graph = Graph()
    names = ['x', graph.weight('kernel', kernel), graph.weight('shift', shift)]
    graph.add('Conv', names, 'y', kernel_shape=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1))
    graph.add('Relu', ['y'], 'z')
    model = graph.to_bytes('x', (1, 3, 8, 10), 'z', (1, 4, 8, 10))
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    picture = rng.normal(size=(1, 3, 8, 10)).astype(np.float32)
    network.setInput(picture)
    padded = np.pad(picture[0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    wanted = np.einsum('chwij,ocij->ohw', windows, kernel) + shift[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(network.forward()[0], np.maximum(wanted, 0), atol=1e-4)
