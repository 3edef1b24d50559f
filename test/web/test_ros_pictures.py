"""What a browser shows of a CompressedImage is what the node makes of it."""

from __future__ import annotations

import io
import types

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from web_pictures import jpeg_file, pillow_file, png_file, ramp

from midas_depth_ros.images import BitDepth, ImageError, decode_compressed
from midas_depth_ros.web.ros_camera import SHOWN_BYTES, SHOWN_SIDE, compressed_to_jpeg

EXIF_TURNED = 6


def two_colours(height: int = 48, width: int = 64) -> np.ndarray:
    """(H, W, 3) uint8: red above, blue below."""
    rgb = np.full((height, width, 3), (20, 20, 250), np.uint8)
    rgb[: height // 2] = (250, 20, 20)
    return rgb


def grey(bits: int) -> np.ndarray:
    """(48, 64) uint16: a ramp through all values of so many bits."""
    return np.linspace(0, (1 << bits) - 1, 48 * 64).reshape(48, 64).astype(np.uint16)


def encoded(ending: str, picture: np.ndarray) -> bytes:
    """As OpenCV writes it, which takes the first channel for blue."""
    return cv2.imencode(ending, picture)[1].tobytes()


def message(text: str, data: bytes) -> types.SimpleNamespace:
    return types.SimpleNamespace(format=text, data=data)


def in_browser(data: bytes) -> np.ndarray:
    """(H, W, 3) int: turned by EXIF, and of 16 bits the high ones, as browsers show it."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if picture.mode.startswith('I'):
        return np.dstack([np.asarray(picture).astype(int) >> 8] * 3)
    on_black = Image.new('RGBA', picture.size, 'black')
    on_black.alpha_composite(picture.convert('RGBA'))
    return np.asarray(on_black.convert('RGB')).astype(int)


def with_alpha() -> bytes:
    return pillow_file('PNG', picture=np.dstack([ramp(), np.full((48, 64), 60, np.uint8)]))


def webp_with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = EXIF_TURNED
    return pillow_file('WEBP', picture=ramp(), exif=exif, quality=95)


@pytest.mark.parametrize(
    ('text', 'data'),
    [
        ('jpeg', encoded('.jpg', two_colours())),
        ('rgb8; jpeg compressed bgr8', encoded('.jpg', two_colours())),
        ('rgb8; png compressed rgb8', encoded('.png', two_colours())),
        ('rgb8; jpeg compressed rgb8', encoded('.jpg', two_colours())),
        ('bgr8; webp compressed rgb8', encoded('.webp', two_colours())),
        ('rgb8; jpeg compressed rgb8', encoded('.jpg', two_colours(1200, 1600))),  # and reduced
        ('mono16; png compressed ', encoded('.png', grey(10))),
        ('mono16; png compressed ', encoded('.png', grey(12))),
        ('16UC1; png compressed ', encoded('.png', grey(16))),
        ('rgb16; png compressed rgb16', encoded('.png', np.dstack([grey(12)] * 2 + [grey(10)]))),
        ('jpeg', jpeg_file(ramp(), EXIF_TURNED)),
        ('webp', webp_with_exif()),
        ('png', with_alpha()),
        ('tiff', pillow_file('TIFF', picture=ramp())),
        ('bayer_rggb8; png compressed ', encoded('.png', two_colours()[..., 0])),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_a_browser_shows_what_the_node_sees(text: str, data: bytes) -> None:
    seen = decode_compressed(message(text, data)).astype(int)
    shown = in_browser(compressed_to_jpeg(message(text, data)))
    if max(seen.shape) > SHOWN_SIDE:
        seen = cv2.resize(seen.astype(np.uint8), shown.shape[1::-1]).astype(int)
    assert shown.shape == seen.shape
    assert np.abs(shown - seen).mean() < 6
    assert shown.max() > 150  # not nearly black


@pytest.mark.parametrize('data', [png_file(ramp()), jpeg_file(ramp())], ids=['png', 'jpeg'])
def test_plain_pictures_are_sent_as_they_are_without_metadata(data: bytes) -> None:
    sent = compressed_to_jpeg(message('jpeg', data))
    assert np.array_equal(in_browser(sent), in_browser(data))
    assert len(sent) <= len(data)
    assert b'Exif' not in sent


def test_the_bit_depth_of_a_stream_does_not_flicker() -> None:
    bit_depth = BitDepth()
    text = 'mono16; png compressed '
    bright, dim = encoded('.png', grey(12)), encoded('.png', grey(12) // 4)
    for data in (bright, bright, bright):
        compressed_to_jpeg(message(text, data), bit_depth=bit_depth)
    shown = in_browser(compressed_to_jpeg(message(text, dim), bit_depth=bit_depth))
    assert 50 < shown.max() < 75  # a quarter of white


def test_a_picture_that_was_cut_short_is_not_shown() -> None:
    data = jpeg_file(ramp())
    with pytest.raises(ImageError, match='cut short'):
        compressed_to_jpeg(message('jpeg', data[: len(data) // 2]))


@pytest.mark.parametrize(('ending', 'text'), [('.png', 'png'), ('.jpg', 'jpeg')])
def test_what_is_large_is_made_small_for_slow_links(ending: str, text: str) -> None:
    rng = np.random.default_rng(0)
    noisy = (ramp(720, 1280) + rng.integers(0, 60, (720, 1280, 1))).astype(np.uint8)
    data = encoded(ending, noisy)
    assert len(data) > 3 * SHOWN_BYTES
    sent = compressed_to_jpeg(message(text, data))
    assert in_browser(sent).shape == (540, SHOWN_SIDE, 3)
    assert len(sent) <= SHOWN_BYTES
