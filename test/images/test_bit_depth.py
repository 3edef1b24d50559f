"""Cameras of 10, 12 and 14 bits in samples of 16: what they show, and that it never flickers."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bags import START_NS, Image, header, write_bag
from deep_pictures import BAYER, COLOUR, fields_of, packed, png_of, samples_of, shown_by, tiff_of
from effort import some
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import colourful, compressed_message, noise
from PIL import Image as PillowImage

from midas_depth_ros.images import BitDepth, decode_compressed, decode_image, errors
from midas_depth_ros.images.decode import eight_bits, guess
from midas_depth_ros.images.sources import open_source
from midas_depth_ros.images.sources.pictures import read_picture

ENCODINGS = (*COLOUR, 'mono16', *BAYER)
BITS = (10, 12, 14, 16)
SWATCH = np.array((0.40, 0.18, 0.33))  # 102, 46, 84 of 255
UNTOUCHED = 2  # border of a mosaic, whose pixels lack neighbours


def message(name, rgb, **options):
    return SimpleNamespace(**fields_of(name, rgb, **options))


def shades(height=48, width=64):
    """(H, W, 3) brightness 0 to 1 of a well exposed picture."""
    return colourful(height, width) / 255


def grey_message(samples, **options):
    """A mono16 of (H, W) samples."""
    return message('mono16', np.repeat(samples[:, :, None], 3, axis=2), **options)


def furthest(decoded, expected):
    return int(np.abs(decoded.astype(int) - expected.astype(int)).max())


# --- one picture --------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('high', [False, True])
@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('name', ENCODINGS)
def test_a_colour_has_its_value_whatever_the_sensor(name, bits, high, big_endian, padding):
    brightness = np.broadcast_to(SWATCH, (12, 14, 3)).copy()
    brightness[:, 10:] = SWATCH[1]
    brightness[:, :4] = SWATCH[0]
    samples = samples_of(brightness, bits, high)
    decoded = decode_image(message(name, samples, padding=padding, big_endian=big_endian))
    expected = shown_by(name, np.rint(255 * brightness).astype(np.uint8))
    rows, columns = slice(UNTOUCHED, -UNTOUCHED), [2, 6, 7, 12] if name in BAYER else slice(None)
    assert furthest(decoded[rows, columns], expected[rows, columns]) <= 1
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(np.rint(255 * SWATCH), (102, 46, 84))


@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('name', ENCODINGS)
def test_eight_bits_that_were_widened_come_out_as_they_were(name, bits):
    """By a shift or in proportion, as drivers do it."""
    rgb = colourful(48, 64)
    by_shift = rgb.astype(np.uint16) << (bits - 8)
    in_proportion = samples_of(rgb / 255, bits)
    inner = slice(UNTOUCHED, -UNTOUCHED)
    for samples in (by_shift, in_proportion):
        decoded = decode_image(message(name, samples))[inner, inner]
        tolerance = 2 if name in BAYER else 0
        assert furthest(decoded, shown_by(name, rgb)[inner, inner]) <= tolerance


@pytest.mark.parametrize('bits', [10, 12, 14])
def test_no_level_is_lost(bits):
    """All 256 levels of 8 bits are there: nothing is posterised."""
    ramp = np.arange(1 << bits, dtype=np.uint16).reshape(32, -1)
    levels, counts = np.unique(decode_image(grey_message(ramp)), return_counts=True)
    np.testing.assert_array_equal(levels, np.arange(256))
    assert len(set(counts)) == 1


def test_every_sample_of_every_depth_is_scaled_to_its_eight_highest_bits():
    samples = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    for depth in range(8, 17):
        expected = np.minimum(samples >> (depth - 8), 255)
        np.testing.assert_array_equal(eight_bits(samples, depth), expected, f'{depth} bits')


@pytest.mark.parametrize(('brightest', 'bits'), [(1023, 10), (1024, 12), (4095, 12), (4096, 14)])
def test_the_brightest_samples_decide(brightest, bits):
    ramp = np.linspace(0, brightest, 48 * 64).astype(np.uint16).reshape(48, 64)
    ramp[0] = brightest
    assert guess(ramp) == bits


@pytest.mark.parametrize('brightest', [16384, 65535])
def test_more_than_fourteen_bits_are_sixteen(brightest):
    ramp = np.linspace(0, brightest, 48 * 64).astype(np.uint16).reshape(48, 64) | 1
    ramp[0] = brightest
    assert guess(ramp) == 16


@pytest.mark.parametrize('bits', [10, 12, 14])
def test_hot_pixels_decide_nothing_and_are_white(bits):
    samples = samples_of(shades(), bits)[:, :, 1]
    expected = decode_image(grey_message(samples))
    hot = np.random.default_rng(1).permutation(samples.size)[:12]
    samples.reshape(-1)[hot] = 65535
    decoded = decode_image(grey_message(samples))
    flat, wanted = decoded.reshape(-1, 3), expected.reshape(-1, 3).copy()
    wanted[hot] = 255
    np.testing.assert_array_equal(flat, wanted)


def test_a_broken_row_or_column_decides_nothing():
    samples = samples_of(shades(480, 640), 12)[:, :, 1]
    samples[300] = 65535
    assert guess(samples) == 12
    samples = samples_of(shades(480, 640), 12)[:, :, 1]
    samples[:, 99] = 65535
    assert guess(samples) == 12


@pytest.mark.parametrize('name', ENCODINGS)
def test_black_stays_black(name):
    bit_depth = BitDepth()
    decoded = decode_image(message(name, np.zeros((8, 8, 3), np.uint16)), bit_depth=bit_depth)
    assert not decoded.any()
    assert 'until it is bright enough' in bit_depth.description


def test_a_dark_picture_stays_dark():
    """Never fewer than 10 bits: 255 of 1023 is no white."""
    samples = samples_of(shades(), 8)[:, :, 1]
    assert decode_image(grey_message(samples)).max() <= 63


@pytest.mark.parametrize('bits', [10, 12])
def test_high_bits_are_known_by_the_low_ones_that_are_empty(bits):
    """Though it is dark: by its brightest samples alone it would be four times as bright."""
    samples = samples_of(0.2 * shades(), bits, high=True)[:, :, 1]
    assert samples.max() < 16384
    assert guess(samples) == (16 if bits == 12 else 14)
    bright = samples_of(shades(), bits, high=True)[:, :, 1]
    assert guess(bright) == 16


def test_a_uniform_grey_has_no_empty_low_bits():
    """2048 is a multiple of 2048, which says nothing of the sensor."""
    assert decode_image(grey_message(np.full((8, 8), 2048, np.uint16)))[0, 0, 0] == 128


def test_alpha_says_nothing_of_the_sensor():
    rgb = samples_of(shades(), 12)
    np.testing.assert_array_equal(
        decode_image(message('rgba16', rgb)), decode_image(message('rgb16', rgb))
    )


def test_millimetres_are_not_guessed():
    """16UC1 mostly holds depth; all of its bits count, as ever, unless a bit depth is given."""
    millimetres = np.linspace(500, 4000, 48 * 64).astype(np.uint16).reshape(48, 64)
    rgb = np.repeat(millimetres[:, :, None], 3, axis=2)
    bit_depth = BitDepth()
    decoded = decode_image(message('16UC1', rgb), bit_depth=bit_depth)
    np.testing.assert_array_equal(decoded, rgb >> 8)
    assert bit_depth.description.startswith('16: 16UC1 may be depth')
    given_bits = decode_image(message('16UC1', rgb), bit_depth=BitDepth(12))
    np.testing.assert_array_equal(given_bits, rgb >> 4)


@pytest.mark.parametrize('bits', range(8, 17))
def test_what_is_given_is_not_guessed(bits):
    samples = samples_of(shades(), 16)[:, :, 1]
    bit_depth = BitDepth(bits)
    decoded = decode_image(grey_message(samples), bit_depth=bit_depth)
    np.testing.assert_array_equal(decoded[:, :, 0], np.minimum(samples >> (bits - 8), 255))
    assert bit_depth.description == f'{bits}, given by bit_depth'


@pytest.mark.parametrize('wrong', [-1, 1, 7, 17, 32])
def test_what_is_no_bit_depth_is_refused(wrong):
    with pytest.raises(ValueError, match=f'{wrong} is neither 0 nor 8 to 16'):
        BitDepth(wrong)


@pytest.mark.parametrize('big_endian', [False, True])
def test_bytes_may_lie_at_an_odd_place(big_endian):
    samples = samples_of(shades(), 12)
    sound = message('bayer_rggb16', samples, padding=2, big_endian=big_endian)
    expected = decode_image(sound)
    sound.data = memoryview(b'x' + sound.data)[1:]
    np.testing.assert_array_equal(decode_image(sound), expected)


@pytest.mark.parametrize('size', [(1, 1), (1, 5000), (5000, 1), (2, 3)])
@pytest.mark.parametrize('name', ENCODINGS)
def test_pictures_of_any_shape(name, size):
    samples = samples_of(np.full((*size, 3), 0.5), 12)
    decoded = decode_image(message(name, samples))
    assert decoded.shape == (*size, 3)
    assert furthest(decoded, np.full((*size, 3), 128)) <= 1


def test_memory_is_bounded_by_the_picture():
    """Beside the message: its samples in 8 bits, and RGB."""
    large = grey_message(np.zeros((2000, 3000), np.uint16))
    tracemalloc.start()
    try:
        decode_image(large)
        assert tracemalloc.get_traced_memory()[1] < (1 + 3) * 6_000_000 + 3_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.sampled
@pytest.mark.parametrize('bits', BITS)
def test_real_pictures_are_guessed_right(shared_data, bits):
    paths = sorted((shared_data / 'plain').glob('*.jpg')) + sorted(
        path for path in (shared_data / 'rgbd').glob('*.jpg')
    )
    assert len(paths) > 10
    for path in some(paths):
        rgb = np.asarray(PillowImage.open(path).convert('RGB'))
        for name in ('mono16', 'rgb16', 'bayer_gbrg16'):
            proportional = samples_of(rgb / 255, bits)
            shifted = rgb.astype(np.uint16) << (bits - 8)
            for samples in (proportional, shifted):
                assert guess(packed(name, samples)) == bits, (path.name, name)
            assert guess(packed(name, samples_of(rgb / 255, bits, high=True))) == 16


# --- the pictures of a camera -------------------------------------------------------------------


def stream(brightnesses, bits, bit_depth=None):
    """Decoded (H, W) of pictures of a camera at so much of its brightness, one after the other."""
    bit_depth = bit_depth or BitDepth()
    return [
        decode_image(grey_message(samples_of(part * shades(), bits)[:, :, 1]), bit_depth=bit_depth)[
            :, :, 0
        ]
        for part in brightnesses
    ]


@pytest.mark.parametrize('bits', BITS)
def test_bright_first_then_dark_is_right_throughout(bits):
    parts = (1.0, 0.5, 0.1, 0.02, 1.0, 0.0, 0.3)
    for part, decoded in zip(parts, stream(parts, bits), strict=True):
        assert furthest(decoded, 255 * part * shades()[:, :, 1]) <= 1


@pytest.mark.parametrize('bits', [12, 14])
def test_dark_first_is_right_from_the_second_bright_picture_on(bits):
    parts = (0.0, 0.01, 0.02, 0.07, 1.0, 0.02, 0.9, 0.02, 0.5, 0.01)
    decoded = stream(parts, bits)
    assert not decoded[0].any()
    for part, each in list(zip(parts, decoded, strict=True))[6:]:
        assert furthest(each, 255 * part * shades()[:, :, 1]) <= 1


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from((3, 60, 700, 1023, 1100, 4095, 9000, 16383, 30000, 65535)),
            st.integers(0, 2**32 - 1),
            st.sampled_from((0, 0, 4, 6)),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_comes_the_depth_only_grows_and_nothing_flickers(frames):
    bit_depth = BitDepth()
    depths, pictures = [], []
    for brightest, seed, empty in frames:
        samples = np.random.default_rng(seed).integers(0, brightest + 1, (8, 9), np.uint16)
        samples = samples >> empty << empty
        pictures.append(samples)
        depths.append(bit_depth.of(samples))
    # Once each was seen twice in a row, it looks the same whenever it comes.
    depths += [bit_depth.of(samples) for samples in pictures for _ in range(2)]
    settled = [bit_depth.of(samples) for samples in (*pictures, *pictures[::-1])]
    assert depths == sorted(depths)
    assert set(depths) <= {10, 12, 14, 16}
    assert set(settled) == {depths[-1]}


@pytest.mark.parametrize('damaged', ['white', 'noise', 'black'])
def test_one_damaged_picture_does_not_make_the_others_dark(damaged):
    bit_depth = BitDepth()
    broken = {
        'white': np.full((48, 64), 65535, np.uint16),
        'noise': np.random.default_rng(0).integers(0, 1 << 16, (48, 64), np.uint16),
        'black': np.zeros((48, 64), np.uint16),
    }[damaged]
    (before,) = stream([1.0], 12, bit_depth)
    for _ in range(3):
        white = decode_image(grey_message(broken), bit_depth=bit_depth)
        np.testing.assert_array_equal(white[:, :, 0], np.minimum(broken >> 4, 255))
        for after in stream([1.0] * 10, 12, bit_depth):
            np.testing.assert_array_equal(after, before)


def test_another_kind_of_picture_is_another_camera():
    bit_depth = BitDepth()
    wide = grey_message(samples_of(shades(), 16)[:, :, 1])
    narrow = grey_message(samples_of(shades(48, 32), 10)[:, :, 1])
    decode_image(wide, bit_depth=bit_depth)
    assert bit_depth.description.startswith('16')
    decode_image(narrow, bit_depth=bit_depth)
    assert bit_depth.description.startswith('10')
    decode_image(
        message('rgb16', samples_of(shades(48, 32), 12), big_endian=True), bit_depth=bit_depth
    )
    assert bit_depth.description.startswith('12')
    colour = SimpleNamespace(
        height=1, width=1, encoding='rgb8', is_bigendian=0, step=3, data=bytes(3)
    )
    decode_image(colour, bit_depth=bit_depth)
    assert bit_depth.description == ''


def test_a_reset_forgets():
    bit_depth = BitDepth()
    stream([1.0], 16, bit_depth)
    bit_depth.reset()
    assert bit_depth.description == ''
    stream([1.0], 10, bit_depth)
    assert bit_depth.description == '10, guessed from the pictures'


def test_what_is_given_may_change_and_the_guess_is_kept():
    bit_depth = BitDepth()
    stream([1.0], 12, bit_depth)
    bit_depth.given = 14
    assert furthest(stream([1.0], 14, bit_depth)[0], 255 * shades()[:, :, 1]) <= 1
    bit_depth.given = 0
    assert furthest(stream([0.1], 12, bit_depth)[0], 25.5 * shades()[:, :, 1]) <= 1


# --- compressed pictures and files --------------------------------------------------------------

PNG_COLOURS = {0: 1, 2: 3, 4: 2, 6: 4}


def with_alpha(rgb, colour):
    """(H, W, C) uint16 as a PNG of this type of colour has it."""
    alpha = np.full((*rgb.shape[:2], 1), 0xFFFF, np.uint16)
    parts = {0: [rgb[:, :, 1:2]], 2: [rgb], 4: [rgb[:, :, 1:2], alpha], 6: [rgb, alpha]}
    return np.concatenate(parts[colour], axis=2)


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize('high', [False, True])
@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('colour', PNG_COLOURS)
def test_png(colour, bits, high, interlaced):
    rgb = shades(21, 30)
    data = png_of(with_alpha(samples_of(rgb, bits, high), colour), colour, interlaced)
    decoded = decode_compressed(compressed_message(data, 'mono16; png compressed '))
    assert decoded.flags.c_contiguous
    expected = 255 * (rgb if colour in (2, 6) else rgb[:, :, 1:2].repeat(3, axis=2))
    assert furthest(decoded, expected) <= 1


def test_the_bytes_of_a_png_are_both_read():
    """Every sample, with all of its bits."""
    samples = np.random.default_rng(0).integers(0, 1 << 16, (9, 7, 3), np.uint16)
    for colour in (2, 6):
        data = png_of(with_alpha(samples, colour), colour)
        for bits in (8, 9, 13, 16):
            decoded = decode_compressed(compressed_message(data), bit_depth=BitDepth(bits))
            np.testing.assert_array_equal(decoded, np.minimum(samples >> (bits - 8), 255))


def test_pngs_of_a_camera_do_not_flicker():
    bit_depth = BitDepth()
    for part in (1.0, 0.1, 0.5):
        data = png_of(with_alpha(samples_of(part * shades(), 12), 2), 2)
        decoded = decode_compressed(compressed_message(data), bit_depth=bit_depth)
        assert furthest(decoded, 255 * part * shades()) <= 1
    assert bit_depth.description == '12, guessed from the pictures'


def test_millimetres_in_a_png_are_not_guessed():
    millimetres = np.linspace(500, 4000, 48 * 64).astype(np.uint16).reshape(48, 64, 1)
    data = png_of(millimetres, 0)
    decoded = decode_compressed(compressed_message(data, '16UC1; png compressed '))
    np.testing.assert_array_equal(decoded[:, :, :1], millimetres >> 8)


@pytest.mark.parametrize('cut', [40, -30, -20])
def test_a_png_of_sixteen_bits_that_is_cut_is_refused(cut):
    data = png_of(with_alpha(samples_of(shades(), 12), 2), 2)
    with pytest.raises(errors.TruncatedPicture):
        decode_compressed(compressed_message(data[:cut]))


@pytest.mark.parametrize('interlaced', [False, True])
@pytest.mark.parametrize('colour', [0, 2, 4, 6])
def test_a_png_of_sixteen_bits_with_too_few_pixels_is_refused(colour, interlaced):
    """Decoders show what is missing as black."""
    samples = with_alpha(samples_of(shades(), 12), colour)
    short = bytearray(png_of(samples[:-1], colour, interlaced))
    short[8:33] = png_of(samples, colour, interlaced)[8:33]
    with pytest.raises(errors.TruncatedPicture, match='pixels of the PNG are missing'):
        decode_compressed(compressed_message(bytes(short)))


@pytest.mark.sampled
@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('colours', [1, 3])
def test_tiff(tmp_path, colours, bits, order, compressed):
    rgb = shades()
    channels = slice(1, 2) if colours == 1 else slice(None)
    data = tiff_of(samples_of(rgb, bits)[:, :, channels], order, compressed=compressed)
    (tmp_path / 'a.tiff').write_bytes(data)
    decoded = read_picture(tmp_path / 'a.tiff')
    assert furthest(decoded, 255 * rgb[:, :, channels]) <= 1
    assert decoded.shape == rgb.shape
    assert decoded.flags.c_contiguous


def test_the_bytes_of_a_tiff_are_both_read(tmp_path):
    samples = np.random.default_rng(0).integers(0, 1 << 16, (9, 7, 3), np.uint16)
    for number, order in enumerate('<>'):
        path = tmp_path / f'{number}.tif'
        path.write_bytes(tiff_of(samples, order))
        for bits in (8, 9, 13, 16):
            decoded = read_picture(path, bit_depth=BitDepth(bits))
            np.testing.assert_array_equal(decoded, np.minimum(samples >> (bits - 8), 255))


def test_a_tiff_that_says_its_bits_is_believed(tmp_path):
    """A dark picture of 12 bits: a guess would make it four times as bright."""
    grey = 0.2 * shades()[:, :, 1:2]
    (tmp_path / 'a.tif').write_bytes(tiff_of(samples_of(grey, 12), bits=12))
    assert furthest(read_picture(tmp_path / 'a.tif'), 255 * grey.repeat(3, axis=2)) <= 1


@pytest.mark.parametrize('compressed', [False, True])
def test_a_tiff_whose_zero_is_white_is_not_its_negative(tmp_path, compressed):
    samples = samples_of(shades(), 16)[:, :, :1]
    path = tmp_path / 'a.tif'
    path.write_bytes(tiff_of(65535 - samples, black=0, compressed=compressed))
    np.testing.assert_array_equal(read_picture(path)[:, :, 0], samples[:, :, 0] >> 8)
    reference = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read_picture(path)[:, :, 0], reference)
    message = compressed_message(path.read_bytes(), 'mono16; tiff compressed ')
    np.testing.assert_array_equal(decode_compressed(message)[:, :, 0], reference)


def test_a_turned_tiff_of_sixteen_bits_is_turned_whole(tmp_path):
    samples = samples_of(shades(), 12)
    (tmp_path / 'a.tif').write_bytes(tiff_of(samples, orientation=3))
    np.testing.assert_array_equal(read_picture(tmp_path / 'a.tif'), (samples >> 4)[::-1, ::-1])


@pytest.mark.parametrize('values', [[-5, 100], [0, 70_000]])
def test_integers_of_more_than_sixteen_bits_are_refused(tmp_path, values):
    picture = PillowImage.fromarray(np.array([values] * 4, np.int32))
    picture.save(tmp_path / 'a.tif')
    with pytest.raises(errors.UnsupportedFormat, match=f'{values[0]} to {values[1]}'):
        read_picture(tmp_path / 'a.tif')


def portable(kind, samples, largest):
    """A PGM or PPM of (H, W, C) samples, with a comment in its header."""
    height, width = samples.shape[:2]
    head = f'{kind}\n# by a test\n{width} {height}\n{largest}\n'.encode()
    if kind in ('P2', 'P3'):
        rows = '\n'.join(' '.join(map(str, row)) for row in samples.reshape(height, -1))
        return head + f'{rows}\n'.encode()
    return head + samples.astype('>u2' if largest > 255 else 'u1').tobytes()


@pytest.mark.parametrize('kinds', [('P5', 'P6'), ('P2', 'P3')])
@pytest.mark.parametrize('largest', [1, 200, 255, 1000, 1023, 4095, 65535])
def test_pgm_and_ppm_that_say_their_largest_value(tmp_path, kinds, largest):
    rgb = shades()
    for name, kind, channels in zip(
        ('a.pgm', 'a.ppm'), kinds, (slice(1, 2), slice(None)), strict=True
    ):
        samples = np.rint(rgb * largest).astype(int)[:, :, channels]
        (tmp_path / name).write_bytes(portable(kind, samples, largest))
        expected = np.repeat(255 * samples / largest, 3 // samples.shape[2], axis=2)
        assert furthest(read_picture(tmp_path / name), expected) <= 1


def test_a_dark_pgm_that_says_its_largest_value_is_believed(tmp_path):
    samples = samples_of(0.2 * shades(), 12)[:, :, 1:2]
    (tmp_path / 'a.pgm').write_bytes(portable('P5', samples, 4095))
    assert furthest(read_picture(tmp_path / 'a.pgm')[:, :, :1], samples / 4095 * 255) <= 1


@pytest.mark.parametrize('bits', BITS)
def test_sixty_five_thousand_is_only_two_bytes(tmp_path, bits):
    """What OpenCV and Pillow write of any uint16 array."""
    samples = samples_of(shades(), bits)
    (tmp_path / 'a.ppm').write_bytes(portable('P6', samples, 65535))
    assert furthest(read_picture(tmp_path / 'a.ppm'), 255 * shades()) <= 1


@pytest.mark.parametrize('make', ['png', 'tif', 'ppm'])
def test_a_bit_depth_can_be_given_for_a_file(tmp_path, make):
    samples = samples_of(0.1 * shades(), 12)
    write = {
        'png': lambda: png_of(samples, 2),
        'tif': lambda: tiff_of(samples),
        'ppm': lambda: portable('P6', samples, 65535),
    }[make]
    path = tmp_path / f'a.{make}'
    path.write_bytes(write())
    assert furthest(read_picture(path, bit_depth=BitDepth(12)), 25.5 * shades()) <= 1
    assert furthest(read_picture(path), 25.5 * shades()) > 50, 'a guess takes it for 10 bits'


# --- sources ------------------------------------------------------------------------------------

PARTS = (1.0, 0.1, 0.4)


def test_the_pictures_of_a_folder_are_of_one_camera(tmp_path):
    for number, part in enumerate(PARTS):
        data = png_of(samples_of(part * shades(), 12), 2)
        (tmp_path / f'{number}.png').write_bytes(data)
    source = open_source(tmp_path)
    for _ in range(2):
        for part, frame in zip(PARTS, source, strict=True):
            assert furthest(frame.rgb(), 255 * part * shades()) <= 1
    given_bits = [frame.rgb() for frame in open_source(tmp_path, bit_depth=14)]
    assert furthest(given_bits[0], 255 / 4 * shades()) <= 1


@pytest.mark.parametrize('name', ['mono16', 'bayer_rggb16', 'rgb16'])
def test_the_pictures_of_a_bag_are_of_one_camera(tmp_path, name):
    messages = []
    for number, part in enumerate(PARTS):
        fields = fields_of(name, samples_of(part * shades(), 12))
        fields['data'] = np.frombuffer(fields['data'], np.uint8)
        stamp_ns = START_NS + number * 100_000_000
        messages.append((stamp_ns, '/camera/image_raw', Image(header=header(stamp_ns), **fields)))
    path = write_bag(tmp_path / 'bag', messages)
    inner = (slice(UNTOUCHED, -UNTOUCHED), slice(UNTOUCHED, -UNTOUCHED))
    for part, frame in zip(PARTS, open_source(path), strict=True):
        expected = shown_by(name, 255 * part * shades())
        assert furthest(frame.rgb()[inner], expected[inner]) <= 2
        np.testing.assert_array_equal(frame.rgb(), frame.rgb())
    given_bits = [frame.rgb() for frame in open_source(path, bit_depth=14)]
    assert furthest(given_bits[0][inner], shown_by(name, 255 / 4 * shades())[inner]) <= 2


def test_noise_of_sixteen_bits_keeps_its_values():
    rgb = noise(9, 7).astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_image(message('rgb16', rgb)), rgb >> 8)
