"""JPEG, PNG and WebP: what they show, what is refused, and that nothing else happens."""

from __future__ import annotations

import array
import contextlib
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from picture_files import colourful, compressed_message, grey_of, noise, png_chunk, write_png
from PIL import Image

from midas_depth_ros.images import check_compressed, decode_compressed, errors

JPEG_TOLERANCE = 8
# What image_transport and drivers write into `format`; the bytes decide.
FORMATS = (
    'jpeg',
    'jpg',
    'png',
    '',
    'mjpeg',
    'bgr8; jpeg compressed bgr8',
    'rgb8; jpeg compressed bgr8',
    'rgb8; jpeg compressed ',
    'yuv422_yuy2; jpeg compressed mono8',
    'mono16; png compressed ',
    'bayer_rggb8; jpeg compressed bgr8',
)


def jpeg(rgb, *options, pillow_options=None):
    """A JPEG by OpenCV, or by Pillow where it has options of Pillow."""
    if pillow_options is None:
        return cv2.imencode('.jpg', rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95, *options])[
            1
        ].tobytes()
    return saved(Image.fromarray(rgb), 'JPEG', quality=95, **pillow_options)


def saved(picture, name, **options):
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def decoded(data, text='jpeg', **options):
    result = decode_compressed(compressed_message(data, text), **options)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    return result


def difference(one, other):
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def as_grey(values):
    return np.repeat(values[:, :, None], 3, axis=2)


def rotated_by_exif(rgb):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to look right
    return jpeg(rgb, pillow_options={'exif': exif})


def segments_of(data):
    """The header segments of a JPEG as bytes, the rest as the last."""
    position, parts = 2, [data[:2]]
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
        parts.append(data[position:end])
        position = end
    return [*parts, data[position:]]


def without_huffman_tables(data):
    """As the motion JPEG of many USB cameras."""
    return b''.join(part for part in segments_of(data) if part[:2] != b'\xff\xc4')


def with_size(data, width, height):
    """A JPEG whose header states another size."""
    size = struct.pack('>HH', height, width)
    return b''.join(
        part[:5] + size + part[9:] if part[:2] in (b'\xff\xc0', b'\xff\xc2') else part
        for part in segments_of(data)
    )


@pytest.mark.parametrize('text', FORMATS)
def test_jpeg_whatever_the_format_string_says(text):
    rgb = colourful(48, 64)
    assert difference(decoded(jpeg(rgb), text), rgb) <= JPEG_TOLERANCE


@pytest.mark.parametrize('text', FORMATS)
def test_png_whatever_the_format_string_says(text):
    rgb = noise(9, 7)
    np.testing.assert_array_equal(decoded(write_png(rgb), text), rgb)


@pytest.mark.parametrize(
    'make',
    [
        lambda rgb: jpeg(rgb, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        lambda rgb: jpeg(rgb, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        lambda rgb: jpeg(rgb, pillow_options={'subsampling': 0}),
        lambda rgb: jpeg(rgb, pillow_options={'comment': b'\xff\xd9 a comment'}),
        lambda rgb: jpeg(rgb) + bytes(5000),
        lambda rgb: jpeg(rgb) + b'\xff\xd9 and more',
        lambda rgb: jpeg(rgb)[:2] + b'\xff\xff\xff' + jpeg(rgb)[2:],
        lambda rgb: without_huffman_tables(jpeg(rgb)),
        rotated_by_exif,
    ],
    ids=[
        *('progressive', 'restarts', '444', 'comment', 'zeros after', 'bytes after'),
        *('fill bytes', 'no tables', 'exif'),
    ],
)
def test_all_sorts_of_jpeg(make):
    rgb = colourful(48, 64)
    assert difference(decoded(make(rgb)), rgb) <= JPEG_TOLERANCE


def test_grey_jpeg():
    grey = grey_of(colourful(48, 64))
    data = cv2.imencode('.jpg', grey, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert difference(decoded(data, 'mono8; jpeg compressed mono8'), as_grey(grey)) <= 4


def test_jpeg_equals_what_opencv_makes_of_it():
    data = jpeg(noise(40, 60))
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert difference(decoded(data), by_opencv) <= 2


def test_png_of_sixteen_bits_keeps_the_high_byte():
    high, low = noise(9, 7, 3), noise(9, 7, 3, seed=1)
    grey = np.stack((high[:, :, 0], low[:, :, 0]), axis=2)
    np.testing.assert_array_equal(
        decoded(write_png(grey, depth=16, colour=0)), as_grey(high[:, :, 0])
    )
    colour = np.stack((high, low), axis=3).reshape(9, 7, 6)
    np.testing.assert_array_equal(decoded(write_png(colour, depth=16, colour=2)), high)


def test_png_of_sixteen_bits_as_opencv_writes_it():
    grey = noise(9, 7, 1).astype(np.uint16)[:, :, 0] * 256 + 99
    data = cv2.imencode('.png', grey)[1].tobytes()
    np.testing.assert_array_equal(
        decoded(data, 'mono16; png compressed '), as_grey((grey >> 8).astype(np.uint8))
    )


def test_png_of_every_kind():
    rgb, alpha = noise(9, 7), noise(9, 7, 1, seed=2)
    grey = rgb[:, :, :1]
    np.testing.assert_array_equal(decoded(write_png(grey, colour=0)), as_grey(rgb[:, :, 0]))
    np.testing.assert_array_equal(decoded(write_png(np.dstack((rgb, alpha)), colour=6)), rgb)
    np.testing.assert_array_equal(
        decoded(write_png(np.dstack((grey, alpha)), colour=4)), as_grey(rgb[:, :, 0])
    )


@pytest.mark.parametrize('transparency', [b'', png_chunk(b'tRNS', bytes(range(100)))])
def test_png_with_a_palette(transparency):
    palette = noise(1, 256)[0]
    indices = noise(9, 7, 1)
    data = write_png(indices, colour=3, palette=palette.tobytes(), extra=transparency)
    np.testing.assert_array_equal(decoded(data), palette[indices[:, :, 0]])


def test_png_of_one_bit():
    bits = noise(5, 16, 1)[:, :, 0] > 127
    data = write_png(np.packbits(bits, axis=1)[:, :, None], depth=1, colour=0)
    np.testing.assert_array_equal(decoded(data), as_grey(bits.astype(np.uint8) * 255))


def test_webp():
    rgb = colourful(48, 64)
    alpha = np.full((48, 64, 1), 100, np.uint8)
    plain = Image.fromarray(rgb)
    assert difference(decoded(saved(plain, 'WEBP', quality=95)), rgb) <= 12
    np.testing.assert_array_equal(decoded(saved(plain, 'WEBP', lossless=True), 'webp'), rgb)
    extended = saved(plain, 'WEBP', lossless=True, exif=Image.Exif().tobytes() or b'Exif\0\0')
    np.testing.assert_array_equal(decoded(extended), rgb)
    clear = Image.fromarray(np.dstack((rgb, alpha)))
    np.testing.assert_array_equal(decoded(saved(clear, 'WEBP', lossless=True, exact=True)), rgb)


def test_animated_webp_is_refused():
    frames = [Image.fromarray(noise(8, 8, seed=seed)) for seed in (1, 2)]
    data = saved(frames[0], 'WEBP', save_all=True, duration=100, append_images=frames[1:])
    with pytest.raises(errors.UnsupportedFormat, match='animated'):
        decoded(data)


@pytest.mark.parametrize('container', [bytes, bytearray, memoryview, lambda b: array.array('B', b)])
def test_data_may_be_any_bytes(container):
    rgb = noise(5, 6)
    np.testing.assert_array_equal(decoded(container(write_png(rgb))), rgb)


@pytest.mark.parametrize('progressive', [0, 1])
def test_a_jpeg_cut_anywhere_is_refused(progressive):
    data = jpeg(colourful(16, 24), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    for length in range(3, len(data) - 2):
        with pytest.raises(errors.TruncatedPicture):
            decoded(data[:length])


def test_a_jpeg_cut_and_filled_with_zeros_is_refused():
    data = jpeg(noise(48, 64))
    with pytest.raises(errors.TruncatedPicture, match='cut short'):
        decoded(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def test_an_end_marker_in_the_metadata_is_no_end():
    data = jpeg(noise(48, 64), pillow_options={'comment': b'\xff\xd9'})
    with pytest.raises(errors.TruncatedPicture):
        decoded(data[: len(data) // 2] + bytes(100))


def test_a_png_cut_anywhere_is_refused():
    data = write_png(noise(8, 8))
    for length in range(8, len(data)):
        with pytest.raises(errors.TruncatedPicture):
            decoded(data[:length])


@pytest.mark.parametrize('lossless', [False, True])
def test_a_webp_cut_anywhere_is_refused(lossless):
    data = saved(Image.fromarray(noise(8, 8)), 'WEBP', lossless=lossless)
    for length in range(12, len(data)):
        with pytest.raises(errors.TruncatedPicture):
            decoded(data[:length])


PNG_KINDS = ((1, 8, 0), (3, 8, 2), (1, 8, 3), (2, 8, 4), (4, 8, 6), (1, 1, 0), (1, 2, 0), (1, 4, 3))


@pytest.mark.parametrize(('channels', 'depth', 'colour'), PNG_KINDS)
def test_a_png_whose_pixels_end_early_is_refused(channels, depth, colour):
    """All of its checksums are right; decoders show what is missing as black."""
    samples = noise(40, 30, channels)
    samples = samples if depth == 8 else samples[:, : 30 * depth // 8]
    palette = noise(1, 256).tobytes() if colour == 3 else b''
    whole = write_png(samples, depth, colour, palette)
    assert decoded(whole).shape[0] == 40
    for rows in (1, 39):
        short = write_png(samples[:rows], depth, colour, palette)
        with pytest.raises(errors.TruncatedPicture, match='pixels of the PNG are missing'):
            decoded(whole[:33] + short[33:])


def test_a_flipped_bit_of_a_png_is_seen():
    data = bytearray(write_png(noise(8, 8)))
    data[len(data) // 2] ^= 4
    with pytest.raises(errors.CorruptPicture, match=r'IDAT.*checksum'):
        decoded(data)


def compressed_badly():
    """A PNG whose checksums are right, but whose pixels are not compressed data."""
    parts = write_png(noise(4, 4)).partition(b'IDAT')
    return parts[0][:-4] + png_chunk(b'IDAT', b'not zlib') + png_chunk(b'IEND', b'')


def two_headers():
    """A PNG with a second header, of another size, which decoders may believe."""
    header = write_png(noise(2, 2), size=(30_000, 30_000))[8:33]
    return write_png(noise(2, 2), extra=header)


SMALL = jpeg(colourful(16, 24))
FRAME = next(part for part in segments_of(SMALL) if part[:2] == b'\xff\xc0')

SCAN_HEADER = segments_of(SMALL)[-1][:14]

# Bytes, format, the error, and what its text must say.
REFUSED = (
    (b'', 'jpeg', errors.DataTooShort, ['empty']),
    (b'\0\0\0\1\x67\x42', '', errors.UnsupportedFormat, ['not a JPEG', 'give']),
    (b'II*\0' + bytes(50), 'mono8; tiff compressed ', errors.CorruptPicture, ['tags']),
    (b'GIF89a' + bytes(50), 'mono8; gif compressed ', errors.UnsupportedFormat, ['GIF89a']),
    (b'BM' + bytes(50), 'bmp', errors.UnsupportedFormat, ['BM']),
    (SMALL, 'h264', errors.UnsupportedFormat, ["'h264'", 'video', 'republish']),
    (SMALL, 'hevc;nv12;bgr8;bgr8', errors.UnsupportedFormat, ['hevc']),
    (SMALL, 'ffmpeg', errors.UnsupportedFormat, ['video']),
    (SMALL, '16UC1; compressedDepth png', errors.UnsupportedFormat, ['depth', 'subscribe']),
    (SMALL, '32FC1; compressedDepth', errors.UnsupportedFormat, ['depth']),
    # By its bytes, where the text says nothing.
    (
        bytes(12) + write_png(colourful(4, 4)),
        'png',
        errors.UnsupportedFormat,
        ['compressedDepth', 'subscribe'],
    ),
    (SMALL, None, errors.UnsupportedFormat, ['None']),
    (SMALL, 'jpeg ' * 100, errors.UnsupportedFormat, ['500 characters']),
    ([1, 2], 'jpeg', errors.InvalidField, ['list']),
    (with_size(SMALL, 65535, 65535), 'jpeg', errors.PictureTooLarge, ['65535x65535']),
    (with_size(SMALL, 0, 16), 'jpeg', errors.EmptyPicture, ['0x16']),
    (with_size(SMALL, 24, 0), 'jpeg', errors.EmptyPicture, ['24x0']),
    (SMALL.replace(FRAME, b''), 'jpeg', errors.CorruptPicture, ['no frame header']),
    (SMALL.replace(FRAME, FRAME * 2), 'jpeg', errors.CorruptPicture, ['2 frame headers']),
    (SMALL.replace(FRAME, b'\xff\xc0\0\x05123'), 'jpeg', errors.CorruptPicture, ['7 bytes']),
    (SMALL.replace(FRAME, b'\xff\xc0\0\1'), 'jpeg', errors.CorruptPicture, ['without a length']),
    (SMALL.replace(FRAME, b'xx' + FRAME), 'jpeg', errors.CorruptPicture, ['no marker']),
    (SMALL[:2] + b'\xff\xfe\0\2' * 2000 + SMALL[2:], '', errors.CorruptPicture, ['1000']),
    (SMALL[:-2] + SCAN_HEADER * 200 + SMALL[-2:], '', errors.CorruptPicture, ['100 scans']),
    (write_png(noise(2, 2), size=(2**31 - 1, 2**31 - 1)), '', errors.PictureTooLarge, ['2147']),
    (write_png(noise(2, 2), size=(0, 2)), '', errors.EmptyPicture, ['0x2']),
    (b'\x89PNG\r\n\x1a\n' + bytes(50), '', errors.CorruptPicture, ['instead of its header']),
    (two_headers(), '', errors.CorruptPicture, ['2 headers']),
    (b'RIFF\x40\0\0\0WEBPVP8 ' + bytes(60), '', errors.CorruptPicture, ['VP8']),
    (
        b'RIFF\x40\0\0\0WEBPVP8X\x0a' + bytes(7) + b'\xff' * 60,
        '',
        errors.PictureTooLarge,
        ['16777'],
    ),
)
# These come to light only when they are decoded.
UNDECODABLE = {
    'jpeg of 12 bits': SMALL.replace(FRAME[:5], FRAME[:4] + b'\x0c'),
    'png of unknown colours': write_png(noise(2, 2), colour=5),
    'png of colours without 16 bits': write_png(np.zeros((2, 2), np.uint16), 16, 3),
    'png without compressed data': compressed_badly(),
    'webp without a picture': b'RIFF\x40\0\0\0WEBPVP8X\x0a' + bytes(60),
}


@pytest.mark.parametrize('function', [decode_compressed, check_compressed])
@pytest.mark.parametrize(('data', 'text', 'error', 'words'), REFUSED)
def test_each_fault_has_its_error(function, data, text, error, words):
    with pytest.raises(errors.ImageError) as caught:
        function(compressed_message(data, text))
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize('name', UNDECODABLE)
def test_what_cannot_be_decoded_is_corrupt(name):
    message = compressed_message(UNDECODABLE[name])
    check_compressed(message)
    with pytest.raises(errors.CorruptPicture, match=r'cannot be decoded.*damaged'):
        decode_compressed(message)


def test_the_check_agrees_on_sound_pictures():
    for data in (SMALL, write_png(noise(4, 4)), saved(Image.fromarray(noise(4, 4)), 'WEBP')):
        check_compressed(compressed_message(data))


def test_max_pixels_is_the_last_size_allowed():
    assert decoded(SMALL, max_pixels=384).shape == (16, 24, 3)
    with pytest.raises(errors.PictureTooLarge, match=r'24x16.*383'):
        decoded(SMALL, max_pixels=383)


def test_pillows_own_limit_does_not_warn(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    for data in (SMALL, write_png(noise(16, 24))):
        assert decoded(data).shape == (16, 24, 3)
    # Newer Pillows check a WebP where it cannot be avoided: then it is refused as all else is.
    with contextlib.suppress(errors.CorruptPicture):
        assert decoded(saved(Image.fromarray(noise(16, 24)), 'WEBP')).shape == (16, 24, 3)


def test_broken_metadata_is_not_even_looked_at():
    """Pillow warns of a broken EXIF block, and warnings are errors here."""
    exif = b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + b'\x1a\x01\5\0\1\0\0\0\xff\xff\xff\xff' * 3
    segment = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif
    assert difference(decoded(SMALL[:2] + segment + SMALL[2:]), decoded(SMALL)) == 0
    extra = (
        png_chunk(b'eXIf', exif)
        + png_chunk(b'acTL', b'\xff' * 8)
        + png_chunk(b'zTXt', b'key\0\0' + zlib.compress(bytes(50_000_000)))
        + png_chunk(b'iCCP', b'name\0\0' + b'junk')
    )
    rgb = noise(4, 4)
    np.testing.assert_array_equal(decoded(write_png(rgb, extra=extra)), rgb)


def test_threads_do_not_disturb_each_other():
    pictures = [noise(40 + n, 60 - n, seed=n) for n in range(8)]
    files = [write_png(rgb) for rgb in pictures]
    jpegs = [jpeg(rgb) for rgb in pictures]
    expected = [decoded(data) for data in jpegs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            for rgb, result in zip(pictures, pool.map(decoded, files), strict=True):
                np.testing.assert_array_equal(result, rgb)
            for rgb, result in zip(expected, pool.map(decoded, jpegs), strict=True):
                np.testing.assert_array_equal(result, rgb)
