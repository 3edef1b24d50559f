"""A JPEG ends at its end marker, whatever follows; without one it is good if its pixels are there.

What is whole is known: the pictures are cut by us, and shown by Pillow before.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_files import colourful, compressed_message, noise
from PIL import Image

from midas_depth_ros.images import check_compressed, decode_compressed, errors
from midas_depth_ros.images.compressed import NO_END_MARKER
from midas_depth_ros.images.sources.pictures import read_picture

CASES = Path(__file__).parent / 'motion_photo'
END = b'\xff\xd9'
# ISO base media, as phones put it behind a photo; films hold every pair of bytes.
FILM = b'\0\0\0\x18ftypmp42\0\0\0\0mp42isom' + noise(100, 300, 1, seed=7).tobytes() + END + b'mdat'
PLAIN_FILM = b'\0\0\0\x18ftypmp42' + bytes(3000) + END + bytes(50) + b'moov'
TRAILERS = {
    'film': FILM,
    'film with many ends': END.join([b'ftyp'] * 9) + b'\xff\xda' * 300 + FILM,
    'another picture': b'',  # itself, below
    'text': b'SEFT' + b'{"a": 1}' * 20,
    'a byte': b'\n',
}
KINDS = {
    'baseline': (),
    'progressive': (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    'restarts': (cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    'optimised': (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    'rough': (cv2.IMWRITE_JPEG_QUALITY, 20),
    'fine': (cv2.IMWRITE_JPEG_QUALITY, 100),
}


def jpeg(kind: str, rgb: np.ndarray) -> bytes:
    return cv2.imencode('.jpg', rgb[:, :, ::-1], KINDS[kind])[1].tobytes()


def soft(height: int = 61, width: int = 83) -> np.ndarray:
    """Of a size that is not a multiple of the blocks, with something in each of them."""
    return cv2.GaussianBlur(noise(height, width), (0, 0), 2) // 2 + colourful(height, width) // 2


def decoded(data: bytes) -> np.ndarray:
    return decode_compressed(compressed_message(data, 'jpeg'))


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('trailer', TRAILERS)
def test_what_follows_the_end_is_not_looked_at(kind, trailer):
    data = jpeg(kind, soft())
    message = compressed_message(data + (TRAILERS[trailer] or data), 'jpeg')
    np.testing.assert_array_equal(decode_compressed(message), by_pillow(data))
    assert check_compressed(message) == ''


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('fill', [b'', b'\0' * 999, b'\xff' * 999, b'\xff', b'\xff\xff\0\0\0'])
def test_without_an_end_marker_what_is_complete_is_shown_and_said(kind, fill):
    data = jpeg(kind, soft())
    message = compressed_message(data.removesuffix(END) + fill, 'jpeg')
    if fill != b'\xff\xff\0\0\0':  # in which there may be pixels
        np.testing.assert_array_equal(decode_compressed(message), by_pillow(data))
    assert check_compressed(message) == NO_END_MARKER
    assert check_compressed(compressed_message(data + fill, 'jpeg')) == ''
    np.testing.assert_array_equal(decoded(data + fill), by_pillow(data))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('behind', [b'', bytes(5000), FILM, PLAIN_FILM, b'\xff' * 99, 'stale'])
def test_what_is_cut_within_its_pixels_is_refused_whatever_follows(kind, behind):
    """Even where an end marker follows somewhere: in a film, or left in the camera's buffer."""
    data = jpeg(kind, soft())
    for cut in (3, 4, 5, 6, 7, 8, 9, 12, 20, 50, 200, len(data) // 3, len(data) // 2):
        if behind == bytes(5000) and cut < 50:
            continue  # the first 0 may be of the pixels: of the very last block, as far as is known
        stale = data[-cut - 300 : -150] + FILM if behind == 'stale' else behind
        with pytest.raises(errors.CorruptPicture):
            decoded(data[:-cut] + stale)


def test_every_cut_of_many_pictures_is_seen():
    for seed in range(6):
        rgb = cv2.GaussianBlur(noise(24, 40, seed=seed), (0, 0), 1 + seed)
        data = jpeg(('baseline', 'progressive', 'optimised')[seed % 3], rgb)
        for cut in range(3, 120):
            with pytest.raises(errors.CorruptPicture):
                decoded(data[:-cut])


@pytest.mark.parametrize('subsampling', [0, 2])
def test_pictures_of_any_size_are_not_refused_for_how_they_end(subsampling):
    """The bytes at the end may be anything, zeros too, and may have nothing to say."""
    rng = np.random.default_rng(5)
    for number in range(120):
        height, width = rng.integers(1, 70, 2)
        flat = (np.add.outer(np.arange(height), np.arange(width)) % 256).astype(np.uint8)
        rgb = (np.dstack([flat] * 3), noise(height, width), soft(height, width))[number % 3]
        rgb[height // 2 :] *= number % 2
        file = io.BytesIO()
        options = {'quality': 75, 'progressive': number % 4 == 3, 'subsampling': subsampling}
        Image.fromarray(rgb).save(file, 'JPEG', **options)
        data = file.getvalue()
        optimised = io.BytesIO()  # in which zeros are the code of what stays as it is
        Image.fromarray(rgb).save(optimised, 'JPEG', **options, optimize=True)
        film = optimised.getvalue() + FILM
        np.testing.assert_array_equal(decoded(film), by_pillow(optimised.getvalue()))
        for other in (data[:-2], data[:-1], data[:-2] + bytes(40), data + FILM):
            np.testing.assert_array_equal(decoded(other), by_pillow(data))


@pytest.mark.parametrize('colour', [0, 40, 255])
def test_of_one_colour_there_are_few_pixels_to_miss(colour):
    data = jpeg('baseline', np.full((48, 64, 3), colour, np.uint8))
    for whole in (data + FILM, data[:-2]):
        np.testing.assert_array_equal(decoded(whole), by_pillow(data))
    with pytest.raises(errors.CorruptPicture):
        decoded(data[:-8] + FILM)


def test_a_picture_that_begins_within_another_is_none():
    """Two frames of a camera of which the first lost its end."""
    data = jpeg('baseline', soft())
    with pytest.raises(errors.TruncatedPicture, match='breaks off'):
        decoded(data[: len(data) // 2] + data)


def test_lost_restart_markers_are_lost_pixels():
    data = jpeg('restarts', soft())
    marks = [at for at in range(len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    lost = data[: marks[2]] + data[marks[4] :]
    with pytest.raises(errors.TruncatedPicture, match='restart markers'):
        decoded(lost)


def test_a_progressive_picture_without_its_last_scans_is_cut():
    data = jpeg('progressive', soft())
    scans = [at for at in range(len(data) - 1) if data[at : at + 2] == b'\xff\xda']
    tables = [data.rfind(b'\xff\xc4', 0, at) for at in scans]
    for at in tables[1:]:
        for behind in (b'', END, END + FILM):
            with pytest.raises(errors.TruncatedPicture):
                decoded(data[:at] + behind)


def test_a_motion_photo_is_its_photo(tmp_path):
    """Of which one was refused for the scans that its film seems to hold."""
    photo, small = CASES / 'photo.jpg', CASES / 'small.jpg'
    data = photo.read_bytes()
    assert small.read_bytes().startswith(data)
    np.testing.assert_array_equal(read_picture(photo), by_pillow(data))
    np.testing.assert_array_equal(read_picture(small), by_pillow(data))
    cut = tmp_path / 'cut.jpg'
    cut.write_bytes(data[: len(data) // 2] + small.read_bytes()[len(data) :] + FILM)
    with pytest.raises(errors.TruncatedPicture):
        read_picture(cut)
