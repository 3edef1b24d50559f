"""The animation plays the frames that were given, in their colours, within its size."""

import io

import numpy as np
import pytest
from PIL import Image

from midas_depth_ros.views.drawing import OptionError, PictureError, ViewError
from midas_depth_ros.views.heatmap import colour_table
from midas_depth_ros.views.pictures import encode_animation


def moving_ramp(count, height=60, width=80):
    """A heatmap that moves sideways."""
    index = np.linspace(0, 255, width).astype(np.uint8)[None].repeat(height, axis=0)
    return [colour_table('inferno')[np.roll(index, 5 * i, axis=1)] for i in range(count)]


def noise(count, height, width):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def play(data):
    """Frames (n, H, W, 3) and their durations in milliseconds."""
    frames, durations = [], []
    with Image.open(io.BytesIO(data)) as animation:
        assert animation.format == 'GIF'
        assert animation.info['loop'] == 0
        for i in range(animation.n_frames):
            animation.seek(i)
            durations.append(animation.info['duration'])
            frames.append(np.array(animation.convert('RGB')))
    return np.stack(frames), durations


def test_frames_come_back_in_order_and_colour():
    given = moving_ramp(12)
    shown, durations = play(encode_animation(iter(given), fps=5))
    assert durations == [200] * 12
    assert shown.shape == (12, 60, 80, 3)
    assert np.abs(shown.astype(int) - given).mean() < 3
    assert np.abs(shown.astype(int) - given).max() < 30


def test_colours_do_not_flicker_from_frame_to_frame():
    still = moving_ramp(1)[0]
    frames = []
    for i in range(12):  # something else changes in a corner
        frame = still.copy()
        frame[:20, :20] = [(255, 0, 0), (0, 255, 0), (0, 0, 255)][i % 3]
        frames.append(frame)
    shown, _ = play(encode_animation(frames, fps=10))
    assert len(shown) == 12
    assert (shown[:, 20:] == shown[0, 20:]).all()


def test_even_areas_stay_even():
    shown, _ = play(encode_animation(moving_ramp(3), fps=10))
    assert (shown == shown[:, :1]).all()  # the ramp is the same in every row: no dots


def test_a_small_thing_of_strong_colour_keeps_it():
    rng = np.random.default_rng(1)
    grey = rng.integers(60, 200, (120, 160, 1), dtype=np.uint8).repeat(3, axis=2)
    frame = np.hstack([grey, moving_ramp(1, 120, 160)[0]])
    frame[50:60, 20:28] = 30, 190, 60
    shown, _ = play(encode_animation([frame], fps=10))
    assert np.abs(shown[0, 52:58, 22:26].astype(int) - (30, 190, 60)).max() < 12


@pytest.mark.parametrize('fps', [3, 7, 30])
def test_it_lasts_as_long_as_the_run(fps):
    _, durations = play(encode_animation(moving_ramp(15), fps=fps))
    assert sum(durations) == pytest.approx(15000 / fps, abs=10)


def test_width_is_limited_and_shape_kept():
    shown, _ = play(encode_animation(moving_ramp(3, 90, 300), 5, max_width=100))
    assert shown.shape[1:3] == (30, 100)


def test_frames_of_another_size_are_fitted_into_the_first():
    frames = moving_ramp(2) + moving_ramp(1, 30, 80)
    assert play(encode_animation(frames, 5))[0].shape == (3, 60, 80, 3)


@pytest.mark.parametrize('limit', [90_000, 20_000])
def test_file_is_no_larger_than_asked_and_lasts_as_long(limit):
    data = encode_animation(noise(4, 40, 700), 5, max_bytes=limit)
    assert limit / 8 < len(data) <= limit
    shown, durations = play(data)
    assert sum(durations) == 800
    assert shown.shape[2] == 660 or limit < 50_000
    assert shown.shape[2] / shown.shape[1] == pytest.approx(700 / 40, rel=0.1)


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ViewError, match='no frames'):
        encode_animation([], 5)
    for fps in (0, -1, 51, float('nan')):
        with pytest.raises(OptionError, match='fps'):
            encode_animation(moving_ramp(1), fps)
    with pytest.raises(OptionError, match='max_width is 0'):
        encode_animation(moving_ramp(1), 5, max_width=0)
    with pytest.raises(OptionError, match='max_bytes is 100'):
        encode_animation(moving_ramp(2), 5, max_bytes=100)
    with pytest.raises(PictureError, match='frame 1'):
        encode_animation([*moving_ramp(1), np.zeros((4, 4))], 5)
