"""Tens of thousands of broken messages: out come sound pictures or an ImageError, never more."""

from __future__ import annotations

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
from hypothesis import HealthCheck, Phase, given, settings

import midas_depth_ros
from midas_depth_ros import images
from midas_depth_ros.images import ImageError

from .pictures import noise, png_chunk, write_png
from .strategies import (
    FORMATS,
    UINT32_MAX,
    compressed_fields,
    image_fields,
    sound_files,
)

IMAGE_CASES = 10_500
COMPRESSED_CASES = 9_700
MOST_PIXELS = 1_000_000
# Every outcome must be met this often, or the cases test less than they seem to.
EACH_AT_LEAST = 20


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
from pathlib import Path
from types import SimpleNamespace
from midas_depth_ros.images import ImageError, decode_compressed

def decode(path):
    message = SimpleNamespace(format='', data=Path(path).read_bytes())
    try:
        return 'x'.join(map(str, decode_compressed(message).shape))
    except ImageError as error:
        return type(error).__name__

decode(sys.argv[1])  # whatever is loaded late is loaded now
size_kb = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() // 1024
limit = size_kb * 1024 + 64 * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    bytearray(80_000_000)
except MemoryError:
    print('limited')
for path in sys.argv[1:]:
    print(Path(path).name, decode(path))
"""


def bombs():
    """Name, bytes and outcome: few bytes that ask for much memory."""
    jpeg = sound_files()[0]
    frame = jpeg.index(b'\xff\xc0') + 5
    tiny = noise(4, 4)
    head, _, tail = write_png(tiny).partition(b'IDAT')
    pixels = png_chunk(b'IDAT', zlib.compress(bytes(150_000_000), 1))
    text = png_chunk(b'zTXt', b'key\0\0' + zlib.compress(bytes(150_000_000), 1))
    webp = b'RIFF' + struct.pack('<I', 100) + b'WEBP'
    return (
        ('sound.png', write_png(tiny), '4x4x3'),
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
