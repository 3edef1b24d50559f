"""Samples of the world: the same bits for a seed, exact, of what they say they are."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import Pose, SceneError
from midas_depth_ros.sim.furnished.place import (
    BALL,
    BOX,
    FIRST_OBJECT_ID,
    FLOOR_ID,
    SKY_ID,
    Finish,
    Hall,
    Light,
    Marking,
    Part,
    Place,
    Sky,
)
from midas_depth_ros.sim.furnished.shading import Photo, develop, view_place
from midas_depth_ros.sim.furnished.textures import FAMILIES, atlas
from training.places import (
    EVALUATION_FAMILIES,
    PLACES,
    FaultyPhoto,
    evaluation_atlas,
    photograph,
    sample,
)

ALL_KINDS = pytest.mark.parametrize('kind', list(PLACES))
FIELDS = ('rgb', 'depth_z', 'floor', 'ids')
GREY, RED, WHITE, LAMP = range(4)
FINISHES = (
    Finish(((0.5, 0.5, 0.5),), grain_depth=0.0),
    Finish(((0.8, 0.1, 0.1),), grain_depth=0.0),
    Finish(((0.9, 0.9, 0.9),), grain_depth=0.0),
    Finish(((1.0, 1.0, 1.0),), grain_depth=0.0, glow=2.0),
)
NOON = Light((0.0, 0.0, 1.0), True, (0.6, 0.6, 0.6), (0.4, 0.4, 0.4))
BLUE = Sky((0.2, 0.4, 0.9), (0.6, 0.8, 1.0))
CAMERA = CameraModel.from_field_of_view(160, 120, math.radians(70))
POSE = Pose(0, 0, 0.8, 0, 0.3)


def outdoors(*parts, **changes):
    return dataclasses.replace(Place(FINISHES, GREY, parts, NOON, BLUE), **changes)


def light_of(place, pose=POSE):
    return view_place(place, CAMERA, pose, atlas(0))


def world_points(drawn):
    x, y = (axis.astype(np.float64) for axis in drawn.camera.normalised_grid())
    depth = np.where(np.isfinite(drawn.depth_z), drawn.depth_z, 0).astype(np.float64)
    points = np.stack([x * depth, y * depth, depth])
    turned = np.einsum('ij,jhw->ihw', drawn.pose.optical_axes, points)
    return turned + drawn.pose.position[:, None, None]


@pytest.mark.sampled
@ALL_KINDS
def test_a_seed_is_always_the_same_sample(kind):
    first = sample(7, 96, 72, kind)
    atlas.cache_clear()
    again = sample(7, 96, 72, kind)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert (first.camera, first.pose, first.kind) == (again.camera, again.pose, kind)
    other = sample(8, 96, 72, kind)
    assert (first.rgb != other.rgb).any(axis=2).mean() > 0.5


@pytest.mark.sampled
@ALL_KINDS
@pytest.mark.parametrize('seed', range(6))
def test_what_a_sample_says_fits_together(kind, seed):
    drawn = sample(seed, 128, 96, kind)
    assert (drawn.rgb.shape, drawn.rgb.dtype) == ((96, 128, 3), np.uint8)
    assert (drawn.depth_z.shape, drawn.depth_z.dtype) == ((96, 128), np.float32)
    assert (drawn.floor.dtype, drawn.ids.dtype) == (bool, np.int16)
    assert drawn.rgb.flags.c_contiguous
    assert (drawn.camera.width, drawn.camera.height) == (128, 96)
    assert 0.1 <= drawn.pose.z_m <= 2.1
    assert drawn.depth_z.min() > 0.05
    np.testing.assert_array_equal(np.isinf(drawn.depth_z), drawn.ids == SKY_ID)
    np.testing.assert_array_equal(drawn.floor, drawn.ids == FLOOR_ID)
    height = world_points(drawn)[2]
    tolerance = 1e-4 * np.where(np.isfinite(drawn.depth_z), drawn.depth_z, 0)
    assert (np.abs(height) <= tolerance + 1e-5)[drawn.floor].all()
    above = (drawn.ids >= FIRST_OBJECT_ID) & np.isfinite(drawn.depth_z)
    assert (height >= -tolerance - 1e-3)[above].all() or (height < -0.1).any()  # only over a drop


def test_kinds_come_as_often_as_they_should():
    kinds = [sample(seed, 8, 6).kind for seed in range(300)]
    for kind, (_, share) in PLACES.items():
        assert kinds.count(kind) / 300 == pytest.approx(share, abs=0.1)
    assert sum(share for _, share in PLACES.values()) == pytest.approx(1)


def test_most_samples_show_floor_and_things():
    samples = [sample(seed, 64, 48) for seed in range(60)]
    assert np.mean([drawn.floor.mean() > 0.05 for drawn in samples]) > 0.8
    assert np.mean([(drawn.ids >= FIRST_OBJECT_ID).mean() > 0.02 for drawn in samples]) > 0.8
    assert np.mean([drawn.rgb.std() > 20 for drawn in samples]) > 0.8


def test_cameras_differ_in_height_view_and_lens():
    samples = [sample(seed, 16, 12) for seed in range(120)]
    heights = [drawn.pose.z_m for drawn in samples]
    assert min(heights) < 0.3
    assert max(heights) > 1.5
    views = [math.degrees(2 * math.atan(8 / drawn.camera.fx)) for drawn in samples]
    assert min(views) < 55
    assert max(views) > 95
    bent = np.mean([bool(drawn.camera.distortion_model) for drawn in samples])
    assert 0.1 < bent < 0.5
    assert any(abs(drawn.camera.fy / drawn.camera.fx - 1) > 0.3 for drawn in samples)


def test_eval_has_the_same_places_in_other_textures():
    names = {
        key: {name for name, *_ in families}
        for key, families in (('train', FAMILIES), ('eval', EVALUATION_FAMILIES))
    }
    assert not names['train'] & names['eval']
    assert set(atlas(0).roles) - names['train'] <= set(evaluation_atlas(0).roles)
    assert not np.array_equal(atlas(0).texels[:64], evaluation_atlas(0).texels[:64])
    trained, unseen = (sample(11, 96, 72, 'room', textures) for textures in ('train', 'eval'))
    assert (trained.rgb != unseen.rgb).any(axis=2).mean() > 0.5


def test_what_does_not_exist_is_refused():
    with pytest.raises(SceneError, match='cellar'):
        sample(0, kind='cellar')
    with pytest.raises(SceneError, match='photographs'):
        sample(0, textures='photographs')


@pytest.mark.parametrize('size', [(320, 180), (64, 200), (640, 480)])
def test_any_size(size):
    drawn = sample(5, *size, kind='open')
    assert drawn.rgb.shape == (size[1], size[0], 3)
    np.testing.assert_array_equal(drawn.floor, drawn.ids == FLOOR_ID)


def test_a_box_throws_its_shadow_away_from_the_sun():
    sun = dataclasses.replace(NOON, place=(0.0, 1.0, 1.0))  # from the left
    box = Part(BOX, (3.0, 0.0, 0.5), (0.3, 0.3, 0.5), RED, FIRST_OBJECT_ID)
    light, _, ids = light_of(outdoors(box, light=sun))
    bare, _, _ = light_of(outdoors(light=sun))
    dark = (ids == FLOOR_ID) & (light.mean(axis=2) < 0.62 * bare.mean(axis=2))
    _, columns = np.nonzero(dark)
    assert dark.sum() > 100
    assert (columns > 80).mean() > 0.9


def test_what_hangs_low_darkens_the_floor_below_it_and_what_hangs_high_does_not():
    below = slice(60, 90), slice(75, 86)
    overcast = dataclasses.replace(NOON, colour=(0.0, 0.0, 0.0))
    bare = light_of(outdoors(light=overcast))[0][below].mean()
    for bottom, darker in ((0.05, True), (0.9, False)):
        slab = Part(BOX, (3.4, 0.0, bottom + 0.01), (0.4, 0.4, 0.01), RED, FIRST_OBJECT_ID)
        pose = dataclasses.replace(POSE, x_m=1.0)
        light, _, ids = light_of(outdoors(slab, light=overcast), pose)
        ring = light.mean(axis=2)[ids == FLOOR_ID]
        assert (ring.min() < 0.85 * bare) == darker


def test_lamps_glow_and_do_not_throw_shadows():
    hall = Hall((-2, -2), (4, 2), 2.5, (GREY,) * 4, GREY)
    lamp = Light((1.5, 0.0, 2.2), False, (0.8, 0.8, 0.8), (0.2, 0.2, 0.2))
    room = outdoors(light=lamp, hall=hall)
    globe = Part(BALL, (1.5, 0.0, 2.0), (0.15, 0.15, 0.15), LAMP)
    opaque = dataclasses.replace(globe, finish=GREY)
    plain, lit, shaded = (
        light_of(dataclasses.replace(room, parts=p))[0] for p in ((), (globe,), (opaque,))
    )
    floor = slice(80, 120)
    np.testing.assert_allclose(lit[floor], plain[floor], atol=1e-5)
    assert shaded[floor].mean() < 0.8 * plain[floor].mean()


def test_markings_lie_on_the_floor_and_change_no_depth():
    square = ((1.5, -0.4), (2.3, -0.4), (2.3, 0.4), (1.5, 0.4))
    bare, depth, _ = light_of(outdoors())
    marked, same, ids = light_of(outdoors(markings=(Marking(square, RED),)))
    np.testing.assert_array_equal(depth, same)
    changed = np.abs(marked - bare).max(axis=2) > 0.1
    x, y = CAMERA.normalised_grid()
    points = np.stack([x * depth, y * depth, depth]).astype(np.float64)
    with np.errstate(invalid='ignore'):
        at = np.einsum('ij,jhw->ihw', POSE.optical_axes, points) + POSE.position[:, None, None]
        inside = (np.abs(at[0] - 1.9) < 0.36) & (np.abs(at[1]) < 0.36) & (ids == FLOOR_ID)
        outside = (np.abs(at[0] - 1.9) > 0.44) | (np.abs(at[1]) > 0.44)
    assert inside.sum() > 200
    assert changed[inside].all()
    assert not changed[outside].any()


def test_a_glossy_floor_mirrors_what_stands_on_it():
    wall = Part(BOX, (3.1, 0.0, 1.0), (0.1, 4.0, 1.0), RED, FIRST_OBJECT_ID)
    dull, _, ids = light_of(outdoors(wall))
    glossy, _, _ = light_of(outdoors(wall, mirror=1.0))
    near_foot = (ids == FLOOR_ID) & (np.arange(120)[:, None] < 75)
    assert near_foot.any()
    redness = glossy[near_foot][:, 0] - glossy[near_foot][:, 2]
    assert redness.mean() > (dull[near_foot][:, 0] - dull[near_foot][:, 2]).mean() + 0.02


def test_haze_hides_what_is_far():
    far = Part(BOX, (60.0, 0.0, 5.0), (1.0, 9.0, 5.0), RED, FIRST_OBJECT_ID)
    light, _, ids = light_of(outdoors(far, haze_m=15.0), Pose(z_m=1.5))
    np.testing.assert_allclose(light[ids == FIRST_OBJECT_ID].mean(axis=0), BLUE.horizon, atol=0.03)


def test_a_drop_shows_the_ground_below():
    platform = Part(BOX, (-3.0, 0.0, -0.5), (5.0, 20.0, 0.5), GREY, FLOOR_ID)
    place = outdoors(platform, ground_m=-0.6, ground=WHITE)
    _, depth, ids = light_of(place)
    x, y = (axis.astype(np.float64) for axis in CAMERA.normalised_grid())
    inverse = math.cos(0.3) * y + math.sin(0.3)
    near = ids == FLOOR_ID
    np.testing.assert_allclose(depth[near], 0.8 / inverse[near], rtol=1e-4)
    below = (ids != FLOOR_ID) & (inverse > 0.05)
    assert below.sum() > 500
    np.testing.assert_allclose(depth[below], 1.4 / inverse[below], rtol=1e-4)
    assert x.shape == depth.shape


@pytest.fixture
def ramp():
    """Light that rises from left to right, (90, 120, 3)."""
    return np.tile(np.linspace(0, 1.2, 120, dtype=np.float32)[None, :, None], (90, 1, 3))


def test_exposure_and_balance(ramp):
    plain = photograph(ramp, FaultyPhoto()).astype(int)
    assert (np.diff(plain[45, :, 1]) >= 0).all()
    assert photograph(ramp, FaultyPhoto(exposure=0.5)).mean() < 0.7 * plain.mean()
    warm = photograph(ramp, FaultyPhoto(balance=(1.2, 1.0, 0.8))).astype(int)
    assert (warm[:, 60, 0] > warm[:, 60, 1]).all()
    assert (warm[:, 60, 1] > warm[:, 60, 2]).all()
    grey = photograph(ramp * np.float32([1, 0.5, 0.2]), FaultyPhoto(saturation=0.0)).astype(int)
    assert np.ptp(grey, axis=2).max() <= 1


def test_vignette_noise_blur_and_jpeg(ramp):
    flat = np.full_like(ramp, 0.5)
    plain = photograph(flat, FaultyPhoto())
    np.testing.assert_array_equal(develop(flat, Photo()), plain)
    dark = photograph(flat, FaultyPhoto(vignette=0.5))
    assert dark[0, 0, 1] < 0.7 * dark[45, 60, 1]
    np.testing.assert_array_equal(dark[45, 60], plain[45, 60])
    noisy = photograph(flat, FaultyPhoto(noise=8.0))
    assert noisy.astype(float).std() == pytest.approx(8.0, rel=0.15)
    assert (photograph(flat, FaultyPhoto(noise=8.0, noise_at=(3, 9))) != noisy).any()
    edge = np.where(np.arange(120)[None, :, None] < 60, np.float32(0.1), np.float32(0.8))
    edge = np.ascontiguousarray(np.broadcast_to(edge, ramp.shape))
    sharp = np.abs(np.diff(photograph(edge, FaultyPhoto()).astype(int)[..., 1])).max()
    assert (
        np.abs(np.diff(photograph(edge, FaultyPhoto(blur_px=1.5)).astype(int)[..., 1])).max()
        < 0.5 * sharp
    )
    across, along = (
        np.abs(
            np.diff(photograph(edge, FaultyPhoto(motion_px=6.0, motion_rad=a)).astype(int)[..., 1])
        ).max()
        for a in (0.0, math.pi / 2)
    )
    assert across < 0.5 * sharp
    assert along > 0.9 * sharp
    squeezed = photograph(ramp, FaultyPhoto(jpeg=10))
    difference = np.abs(squeezed.astype(int) - photograph(ramp, FaultyPhoto()))
    assert 0 < difference.mean() < 6
