"""Tens of thousands of broken messages: out come sound pictures or an ImageError, never more."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from deep_pictures import tiff_of
from effort import tries
from hypothesis import HealthCheck, Phase, given, settings
from picture_files import noise, png_chunk, write_png
from picture_strategies import (
    FORMATS,
    UINT32_MAX,
    compressed_fields,
    image_fields,
    sound_files,
)
from PIL import Image

import midas_depth_ros
from midas_depth_ros import images
from midas_depth_ros.images import ImageError

pytestmark = pytest.mark.thorough

IMAGE_CASES = tries(10_500)
COMPRESSED_CASES = tries(9_700)
MOST_PIXELS = 1_000_000
# Every outcome must be met this often, or the cases test less than they seem to.
EACH_AT_LEAST = tries(20)


def fuzzing(cases):
    return settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def attempt(function, message):
    """What the function returns, or the ImageError it raises."""
    try:
        return function(message, MOST_PIXELS)
    except ImageError as error:
        return error


def outcome(check, decode, message):
    """The name of the ImageError, or the picture. What the check refuses must not be decoded."""
    refusal = attempt(check, message)
    if isinstance(refusal, str):  # what is unusual, but good
        refusal = None
    result = attempt(decode, message)
    if isinstance(result, ImageError):
        assert 0 < len(str(result)) < 600
        assert refusal is None or type(refusal) is type(result)
        return type(result).__name__
    assert refusal is None
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    return result


def met(outcomes, names):
    return {name: outcomes[name] for name in names if outcomes[name] < EACH_AT_LEAST}


@pytest.mark.slow
def test_image_messages():
    outcomes = Counter()

    @fuzzing(IMAGE_CASES)
    @given(fields=image_fields())
    def fuzz(fields):
        result = outcome(images.check_image, images.decode_image, SimpleNamespace(**fields))
        if isinstance(result, np.ndarray):
            assert result.shape == (fields['height'], fields['width'], 3)
            result = fields['encoding']
        outcomes[result] += 1

    fuzz()
    assert outcomes.total() >= IMAGE_CASES
    faults = ('EmptyPicture', 'PictureTooLarge', 'UnknownEncoding', 'StepTooSmall', 'DataTooShort')
    assert not met(outcomes, (*faults, 'StepUnaligned', *images.decode.ENCODINGS))


@pytest.mark.slow
def test_compressed_messages():
    outcomes = Counter()

    @fuzzing(COMPRESSED_CASES)
    @given(fields=compressed_fields())
    def fuzz(fields):
        result = outcome(
            images.check_compressed, images.decode_compressed, SimpleNamespace(**fields)
        )
        if isinstance(result, np.ndarray):
            assert result.ndim == 3
            assert result.shape[2] == 3
            assert 0 < result.shape[0] * result.shape[1] <= MOST_PIXELS
            result = fields['data'][:4]
        outcomes[result] += 1

    fuzz()
    assert outcomes.total() >= COMPRESSED_CASES
    faults = ('EmptyPicture', 'PictureTooLarge', 'UnsupportedFormat', 'CorruptPicture')
    sound = {data[:4] for data in sound_files()}
    assert not met(outcomes, (*faults, 'TruncatedPicture', 'DataTooShort', *sound))


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(image=image_fields(), compressed=compressed_fields())
def test_the_cases_fit_the_types_of_ros(image, compressed):
    assert all(0 <= image[field] <= UINT32_MAX for field in ('height', 'width', 'step'))
    assert 0 <= image['is_bigendian'] <= 255
    for text in (image['encoding'], compressed['format']):
        assert '\0' not in text
        text.encode()
    assert type(image['data']) is bytes
    assert type(compressed['data']) is bytes


BOMB_RUNNER = """
import resource, sys
import cv2
from pathlib import Path
from types import SimpleNamespace
from midas_depth_ros.images import ImageError, decode_image
from midas_depth_ros.images.sources.pictures import read_picture

def decode(path):
    path = Path(path)
    encoding = path.suffix[1:]
    try:
        if not encoding.startswith('bayer'):
            return 'x'.join(map(str, read_picture(path).shape))
        data = path.read_bytes()
        message = SimpleNamespace(
            height=1, width=len(data), encoding=encoding, is_bigendian=0, step=len(data), data=data
        )
        return 'x'.join(map(str, decode_image(message).shape))
    except ImageError as error:
        return type(error).__name__

for path in sys.argv[1:4]:
    decode(path)  # whatever is loaded late is loaded now
size_kb = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() // 1024
limit = size_kb * 1024 + 64 * 1024 * 1024
cv2.setNumThreads(1)  # the stacks of others would count
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    bytearray(80_000_000)
except MemoryError:
    print('limited')
for path in sys.argv[1:]:
    print(Path(path).name, decode(path))
"""


LARGE = (2400, 2300)  # 5.5 million pixels, 16.6 MB as RGB
SMALL_TIFF = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8)]


def saved(picture, name, **options):
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def clear(size):
    """Black that shines through."""
    return Image.new('RGBA', size, (0, 0, 0, 100))


def tags_of_everything(size, tag=1, more=()):
    """A TIFF, or EXIF block, of `size` bytes, most of whose tags name all of them but one."""
    count = min((size - 100) // 12 - len(more), 40_000)
    entries = [*more, *((tag + number, 7, size - 1, 1) for number in range(count))]
    packed = b''.join(struct.pack('<HHII', *entry) for entry in entries)
    head = b'II*\0' + struct.pack('<I', 16) + bytes(8)
    data = head + struct.pack('<H', len(entries)) + packed
    return data + bytes(size - len(data))


def with_exif(jpeg, exif):
    block = b'Exif\0\0' + exif
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(block) + 2) + block + jpeg[2:]


def half_a_tiff():
    """Its only strip has half of its rows."""
    data = bytearray(tiff_of(noise(8, 4, 1).astype(np.uint16)))
    at = data.index(struct.pack('<HHI', 278, 3, 1)) + 8
    data[at : at + 2] = struct.pack('<H', 4)
    return bytes(data)


def delta_bmp():
    """Run-length encoded, 30 million pixels in a row; its only run goes 255 rows up."""
    runs = b'\0\2\0\xff\0\1'
    palette = bytes(4 * 256)
    start = 54 + len(palette)
    head = struct.pack('<2sIHHI', b'BM', start + len(runs), 0, 0, start)
    size = struct.pack('<IiiHHIIiiII', 40, 30_000_000, 1, 1, 8, 1, len(runs), 1, 1, 256, 0)
    return head + size + palette + runs


def inner_webp():
    """A canvas of 4 x 4, and in it a picture of 16384 x 16384."""
    sides = (16_383 | 16_383 << 14).to_bytes(4, 'little')
    picture = b'VP8L' + struct.pack('<I', 100) + b'\x2f' + sides + bytes(95)
    canvas = b'VP8X' + struct.pack('<I', 10) + bytes(4) + b'\3\0\0\3\0\0'
    return b'RIFF' + struct.pack('<I', 4 + len(canvas + picture)) + b'WEBP' + canvas + picture


def bombs():
    """Name, bytes and outcome: few bytes that ask for much memory."""
    jpeg = sound_files()[0]
    frame = jpeg.index(b'\xff\xc0') + 5
    tiny = noise(4, 4)
    head, _, tail = write_png(tiny).partition(b'IDAT')
    pixels = png_chunk(b'IDAT', zlib.compress(bytes(150_000_000), 1))
    text = png_chunk(b'zTXt', b'key\0\0' + zlib.compress(bytes(150_000_000), 1))
    webp = b'RIFF' + struct.pack('<I', 100) + b'WEBP'
    grey, colour = Image.new('L', LARGE), Image.new('RGB', LARGE)
    shape = f'{LARGE[1]}x{LARGE[0]}x3'
    exif_png = write_png(tiny, extra=png_chunk(b'eXIf', tags_of_everything(1_000_000)))
    return (
        ('sound.png', write_png(tiny), '4x4x3'),
        ('sound.webp', saved(Image.fromarray(tiny), 'WEBP'), '4x4x3'),
        ('sound.tif', saved(Image.fromarray(tiny), 'TIFF'), '4x4x3'),
        # Large, but within max_pixels: no more than their RGB and the decoder's own copy.
        ('large.webp', saved(colour, 'WEBP', lossless=True, method=0), shape),
        ('large_alpha.webp', saved(clear(LARGE), 'WEBP', lossless=True, method=0), shape),
        ('large_alpha.png', saved(clear(LARGE), 'PNG', compress_level=1), shape),
        ('large_grey.png', saved(grey, 'PNG', compress_level=1), shape),
        ('large.jpg', saved(colour, 'JPEG'), shape),
        ('line.bayer_rggb8', bytes(8_000_000), '1x8000000x3'),
        ('exif.png', exif_png, '4x4x3'),
        ('exif.jpg', with_exif(jpeg, tags_of_everything(65_000)), '16x24x3'),
        ('tags.tif', tags_of_everything(1_000_000, tag=1000, more=SMALL_TIFF), '2x2x3'),
        ('strips.tif', tags_of_everything(1_000_000, tag=256), 'CorruptPicture'),
        ('passes.tif', tiff_of(np.zeros((1500, 1500, 1), np.uint16), strips=500), 'CorruptPicture'),
        ('half.tif', half_a_tiff(), 'CorruptPicture'),
        ('delta.bmp', delta_bmp(), 'UnsupportedFormat'),
        ('comments.pgm', b'P5\n' + b'#\n' * 3_000_000, 'UnsupportedFormat'),
        ('comments.ppm', b'P3 1 1 255 ' + b'#\n' * 3_000_000 + b'1 2 3', 'CorruptPicture'),
        ('chunks.png', write_png(tiny, extra=png_chunk(b'tEXt', b'') * 500_000), 'CorruptPicture'),
        ('inner.webp', inner_webp(), 'CorruptPicture'),
        ('side.jpg', jpeg[:frame] + b'\xff' * 4 + jpeg[frame + 4 :], 'PictureTooLarge'),
        ('side.png', write_png(tiny, size=(2**31 - 1, 2**31 - 1)), 'PictureTooLarge'),
        ('area.png', write_png(tiny, size=(60_000, 60_000)), 'PictureTooLarge'),
        ('line.png', write_png(tiny, size=(2**31 - 1, 1)), 'PictureTooLarge'),
        ('canvas.webp', webp + b'VP8X\x0a' + bytes(7) + b'\xff' * 86, 'PictureTooLarge'),
        ('lossless.webp', webp + b'VP8L\x0a\0\0\0\x2f' + b'\xff' * 87, 'PictureTooLarge'),
        ('text.png', write_png(tiny, extra=text), '4x4x3'),
        ('pixels.png', head[:-4] + pixels + png_chunk(b'IEND', b''), '4x4x3'),
        ('tail.png', head + b'IDAT' + tail + bytes(1_000_000), '4x4x3'),
    )


@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs /proc')
def test_bombs_do_not_go_off(tmp_path):
    expected = ['limited']
    for name, data, result in bombs():
        (tmp_path / name).write_bytes(data)
        expected.append(f'{name} {result}')
    paths = [str(tmp_path / name) for name, _, _ in bombs()]
    root = str(Path(midas_depth_ros.__file__).parents[1])
    finished = subprocess.run(
        [sys.executable, '-W', 'error', '-c', BOMB_RUNNER, *paths],
        env={**os.environ, 'PYTHONPATH': root},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.stdout.splitlines() == expected, finished.stderr
    assert not finished.stderr


def test_a_format_never_hides_a_fault_of_the_bytes():
    for text in FORMATS:
        with pytest.raises(ImageError):
            images.decode_compressed(SimpleNamespace(format=text, data=b'\xff\xd8\xff'))
