"""Pictures of cameras with more than 8 bits on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bags import START_NS, Image, header, write_bag
from deep_pictures import fields_of, png_of, samples_of, tiff_of

from midas_depth_ros.images.sources.pictures import read_picture

from .conftest import corridor
from .test_video_command import read_video

MODEL = ('--model', 'embedded', '--backend', 'opencv')
OUT = Path('midas_depth_output')
SIZE = (slice(0, 120), slice(0, 160))


def shown(name):
    """The picture that the command saw."""
    return read_picture(OUT / f'{name}_side_by_side.png')[SIZE].astype(int)


@pytest.mark.parametrize('bits', [10, 12, 14, 16])
def test_a_picture_is_guessed_by_itself(midas_depth, tmp_path, bits):
    samples = samples_of(corridor() / 255, bits)
    (tmp_path / 'a.png').write_bytes(png_of(samples, 2))
    (tmp_path / 'b.tiff').write_bytes(tiff_of(samples))
    made = midas_depth('image', 'a.png', 'b.tiff', *MODEL, '--only', 'side-by-side')
    assert made.exit_code == 0, made.output
    for name in 'ab':
        np.testing.assert_array_equal(shown(name), corridor())


def test_the_bit_depth_of_a_picture_can_be_given(midas_depth, tmp_path):
    (tmp_path / 'a.png').write_bytes(png_of(samples_of(corridor() / 255 / 10, 12), 2))
    arguments = ('image', 'a.png', *MODEL, '--only', 'side-by-side', '--force')
    assert midas_depth(*arguments).exit_code == 0
    assert np.abs(shown('a') - corridor() / 10).max() > 50, 'the guess is 10'
    assert midas_depth(*arguments, '--bit-depth', '12').exit_code == 0
    assert np.abs(shown('a') - corridor() / 10).max() <= 1


@pytest.mark.parametrize('wrong', ['7', '17', '-1', 'auto'])
def test_what_is_no_bit_depth_is_refused(midas_depth, tmp_path, wrong):
    (tmp_path / 'a.png').write_bytes(png_of(samples_of(corridor() / 255, 12), 2))
    result = midas_depth('image', 'a.png', *MODEL, '--bit-depth', wrong)
    assert result.exit_code == 2
    assert "'--bit-depth'" in result.stderr
    assert not OUT.exists()


@pytest.mark.parametrize('kind', ['folder', 'bag'])
@pytest.mark.parametrize(('options', 'factor'), [((), 1), (('--bit-depth', '13'), 0.5)])
def test_the_pictures_of_a_video_are_of_one_camera(midas_depth, tmp_path, kind, options, factor):
    parts = (1.0, 0.1, 0.5)
    messages = []
    (tmp_path / 'in').mkdir()
    for number, part in enumerate(parts):
        samples = samples_of(part * corridor() / 255, 12)
        (tmp_path / 'in' / f'{number}.png').write_bytes(png_of(samples, 2))
        fields = fields_of('rgb16', samples)
        fields['data'] = np.frombuffer(fields['data'], np.uint8)
        stamp_ns = START_NS + number * 100_000_000
        messages.append((stamp_ns, '/camera/image_raw', Image(header=header(stamp_ns), **fields)))
    source = 'in' if kind == 'folder' else write_bag(tmp_path / 'bag', messages)
    result = midas_depth('video', source, '-o', 'out.avi', *MODEL, *options)
    assert result.exit_code == 0, result.output
    pictures, _ = read_video(tmp_path / 'out.avi')
    for part, picture in zip(parts, pictures, strict=True):
        difference = np.abs(picture[SIZE].astype(int) - part * factor * corridor())
        assert difference.mean() < 6, 'Motion JPEG'
