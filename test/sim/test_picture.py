"""Rendered pictures: reproducible, textured, lit, hazy; and scenes that are not valid."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import (
    Box,
    Cylinder,
    Material,
    Pose,
    Room,
    Scene,
    SceneError,
    Sphere,
    render,
)
from midas_depth_ros.sim.scene.render import PATTERNS, sheet

CAMERA = CameraModel.from_field_of_view(160, 120, math.radians(70))
POSE = Pose(0, 0, 0.4, 0, 0.15)
SCENE = Scene(
    floor=Material((0.8, 0.6, 0.4), 'planks', (3.0, 1.5)),
    room=Room(-2, 6, -1.5, 1.5, walls=Material((0.9, 0.9, 0.85), 'wall', (4.0, 2.5))),
    solids=(Box(2, 0.5, 0.4, 0.4, 0.4), Cylinder(2.5, -0.6, 0.1, 1.0), Sphere(1.5, 0, 0.1, 0.1)),
)


def test_the_same_scene_is_the_same_picture_to_the_bit():
    first = render(SCENE, CAMERA, POSE)
    sheet.cache_clear()
    again = render(SCENE, CAMERA, POSE)
    for field in ('rgb', 'depth_z', 'floor_mask'):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    other = render(dataclasses.replace(SCENE, seed=1), CAMERA, POSE)
    np.testing.assert_array_equal(first.depth_z, other.depth_z)
    assert (first.rgb != other.rgb).any(axis=2).mean() > 0.3


def test_types_and_shapes():
    rendering = render(SCENE, CAMERA, POSE)
    assert (rendering.rgb.shape, rendering.rgb.dtype) == ((120, 160, 3), np.uint8)
    assert (rendering.depth_z.shape, rendering.depth_z.dtype) == ((120, 160), np.float32)
    assert (rendering.floor_mask.shape, rendering.floor_mask.dtype) == ((120, 160), bool)
    assert rendering.rgb.flags.c_contiguous


def test_colours_are_rgb_and_follow_the_material():
    red = Material((0.9, 0.1, 0.1))
    scene = Scene(solids=(Box(1.5, 0, 0.2, 0.8, 0.8, material=red),), haze_m=1000)
    r, g, b = render(scene, CAMERA, POSE).rgb[60, 80].astype(int)
    assert r > 3 * max(g, b)


@pytest.mark.parametrize('pattern', sorted(set(PATTERNS) - {'plain'}))
def test_every_pattern_shows_and_repeats_without_a_seam(pattern):
    floor = Material((0.8, 0.8, 0.8), pattern, (0.5, 0.5))
    plain = Material((0.8, 0.8, 0.8))
    near = slice(80, 120)
    pose = Pose(0, 0, 0.6, 0.3, 0.5)
    shown = render(Scene(floor=floor), CAMERA, pose).rgb[near].std()
    assert shown > 1.5 * render(Scene(floor=plain), CAMERA, pose).rgb[near].std()
    moved = dataclasses.replace(pose, x_m=5.0, y_m=-3.5)
    difference = np.abs(
        render(Scene(floor=floor), CAMERA, pose).rgb[near].astype(int)
        - render(Scene(floor=floor), CAMERA, moved).rgb[near]
    )
    assert np.percentile(difference, 99) <= 6


def test_a_checker_alternates_where_it_should():
    floor = Material((1.0, 1.0, 1.0), 'checker', (0.4, 0.4))
    camera = CameraModel.from_field_of_view(240, 240, 1.0)
    pose = Pose(0.05, 0.03, 0.5, 0, math.pi / 2)  # straight down: pixels are metres
    grey = render(Scene(floor=floor, haze_m=1e6), camera, pose).rgb.mean(axis=2)
    x, y = camera.normalised_grid()
    ahead, left = 0.05 - 0.5 * y, 0.03 - 0.5 * x
    light = (np.floor(ahead / 0.2) + np.floor(left / 0.2)) % 2 == 1
    inside = np.minimum(np.abs((ahead / 0.2) % 1 - 0.5), np.abs((left / 0.2) % 1 - 0.5)) < 0.4
    inside &= (np.abs((ahead / 0.2) % 1 - 0.5) < 0.4) & (np.abs((left / 0.2) % 1 - 0.5) < 0.4)
    assert grey[light & inside].min() > grey[~light & inside].max() + 30


def test_what_is_far_fades_into_the_haze():
    haze = (0.2, 0.3, 0.9)
    wall = Material((0.9, 0.2, 0.1))
    colours = []
    for distance in (1.0, 8.0, 60.0):
        room = Room(-1, distance, -100, 100, walls=wall, height_m=200)
        scene = Scene(room=room, haze_colour=haze, haze_m=10)
        colours.append(render(scene, CAMERA, Pose(z_m=100)).rgb[60, 80].astype(int))
    target = np.array(haze) * 255
    gaps = [float(np.abs(colour - target).sum()) for colour in colours]
    assert gaps[0] > 1.5 * gaps[1] > 3 * gaps[2]
    assert gaps[2] < 10


def test_a_solid_darkens_the_floor_at_its_foot():
    floor = Material((0.8, 0.8, 0.8))
    box = Box(1.5, 0, 0.3, 0.3, 0.3)
    pose = Pose(0, 0, 0.8, 0, 0.5)
    bare = render(Scene(floor=floor), CAMERA, pose)
    rendering = render(Scene(floor=floor, solids=(box,)), CAMERA, pose)
    lost = bare.rgb.astype(int).sum(axis=2) - rendering.rgb.astype(int).sum(axis=2)
    column = rendering.floor_mask[:, 80]
    foot = np.flatnonzero(column & (np.arange(120) > 50))[0] + 2
    assert lost[foot, 80] > 60
    assert lost[118, 80] < 6


def test_the_sky_has_its_colour():
    rgb = render(Scene(sky_colour=(0.2, 0.4, 0.8)), CAMERA, Pose()).rgb
    np.testing.assert_allclose(rgb[5, 5], [51, 102, 204], atol=1)


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: Room(1, 1, -1, 1), 'length of Room is 0'),
        (lambda: Box(0, 0, -0.1, 1, 1), 'length_m of Box is -0.1'),
        (lambda: Cylinder(0, 0, math.nan, 1), 'radius_m of Cylinder is nan'),
        (lambda: Sphere(0, 0, 0, 0), 'radius_m of Sphere is 0'),
        (lambda: Material(repeat_m=(1.0, 0.0)), 'repeat_m of Material is 0'),
        (lambda: Scene(haze_m=0), 'haze_m of Scene is 0'),
        (lambda: render(Scene(), CAMERA, Pose(z_m=0.0)), 'above the floor'),
        (lambda: render(SCENE, CAMERA, Pose(y_m=1.6)), 'not inside the room'),
        (lambda: render(SCENE, CAMERA, Pose(z_m=2.6)), 'not inside the room'),
        (
            lambda: render(Scene(floor=Material(pattern='marble')), CAMERA, POSE),
            "'marble' is not one of plain, checker",
        ),
        (lambda: render(Scene(solids=(Box(9, 0, 1, 1, 1),) * 300), CAMERA, POSE), '305 materials'),
    ],
)
def test_what_cannot_be_is_refused_in_words(make, words):
    with pytest.raises(SceneError, match=words):
        make()
