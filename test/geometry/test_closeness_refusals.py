"""Without a floor to measure against, closeness is NaN with a reason, never a guess."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rendered import FLOORLESS, floorless, post, view

from midas_depth_ros.geometry import closeness
from midas_depth_ros.sim import Pose, Room

# One plane can be a wall as well as a floor: of these, a few in a hundred pass.
AMBIGUOUS = {'corner of two walls': 4, 'clouds': 1, 'landscape': 1}


def assert_unknown(result, words=''):
    assert all(math.isnan(value) for value in (result.left, result.centre, result.right))
    assert not result.known
    assert words in result.reason


@pytest.mark.sampled
@pytest.mark.parametrize('kind', FLOORLESS)
def test_of_a_hundred_pictures_without_a_floor_all_are_refused(kind):
    rng = np.random.default_rng(11)
    results = [closeness(floorless(kind, rng)) for _ in range(100)]
    accepted = [result for result in results if result.known]
    assert len(accepted) <= AMBIGUOUS.get(kind, 0)
    for result in results:
        if not result.known:
            assert_unknown(result)
            assert len(result.reason) > 20


@pytest.mark.parametrize(
    ('d', 'words'),
    [
        (np.zeros((192, 256), np.float32), 'same everywhere'),
        (np.full((192, 256), 1e4, np.float32), 'same everywhere'),
        (np.full((192, 256), np.nan, np.float32), 'only 0% of the picture has a value'),
        (np.full((192, 256), np.inf, np.float32), 'only 0% of the picture has a value'),
        (np.linspace(1, 0, 192 * 256, dtype=np.float32).reshape(192, 256), 'nearer towards'),
    ],
)
def test_nothing_to_see(d, words):
    assert_unknown(closeness(d), words)


def test_half_a_picture_is_not_enough():
    d = view().d()
    d[100:] = np.nan
    assert_unknown(closeness(d), 'has a value')


def test_a_floor_that_fills_the_picture_may_be_a_wall_unless_the_pitch_says_otherwise():
    seen = view(post(1.0, -1), pose=Pose(z_m=1.0, pitch_rad=0.9))
    empty = view(pose=Pose(z_m=1.0, pitch_rad=0.9))
    assert_unknown(closeness(empty.d()), 'cannot be told apart')
    grid = seen.camera.normalised_grid()
    known = closeness(empty.d(), grid=grid, camera_pitch_rad=0.9)
    assert (known.left, known.centre, known.right) == (0, 0, 0)
    known = closeness(seen.d(), grid=grid, camera_pitch_rad=0.9)
    assert known.left > 0.5
    assert known.right == 0


@pytest.mark.parametrize('pitch', [-0.35, -0.25])
def test_a_wrong_pitch_is_noticed(pitch):
    seen = view(pose=Pose(z_m=0.3, pitch_rad=0.1))
    result = closeness(seen.d(), grid=seen.camera.normalised_grid(), camera_pitch_rad=pitch)
    assert_unknown(result, f'camera_pitch {pitch:.3f} rad')


def test_a_camera_tilted_too_far_is_refused_by_its_angle():
    seen = view(pose=Pose(z_m=0.3, pitch_rad=0.1, roll_rad=math.radians(40)))
    assert_unknown(closeness(seen.d()))


def test_a_wall_with_only_a_strip_of_floor_is_refused():
    seen = view(room=Room(-5, 0.55, -5, 5, 3), pose=Pose(z_m=0.3))
    result = closeness(seen.d())
    assert_unknown(result)


@pytest.mark.parametrize('shape', [(64, 48), (48, 64), (16, 16), (17, 200), (30, 40)])
def test_three_cells_in_a_row_make_no_plane(shape):
    """In few cells many of the planes tried go through such; none must pass for the best."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(-2, 3, shape[0], dtype=np.float32)[:, None].clip(0)
    near = closeness(ramp + 0.02 * rng.random(shape, np.float32))
    assert near.known
    assert near.centre == 0
    assert isinstance(closeness(rng.random(shape, np.float32)).reason, str)
