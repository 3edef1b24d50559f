"""The wider world: what it shows is there, as far away as it says, panes and faults included."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import Pose, SceneError
from midas_depth_ros.sim.furnished.panes import Pane, PanedBuilder, PanedPlace, view_panes
from midas_depth_ros.sim.furnished.place import (
    BALL,
    BOX,
    FIRST_OBJECT_ID,
    FLOOR_ID,
    SKY_ID,
    Finish,
    FinishMaker,
    Hall,
    Light,
    Part,
    PartTable,
    Sky,
)
from midas_depth_ros.sim.furnished.textures import atlas
from training import dataset
from training.places import PLACES, WORLDS, doors, sample
from training.places.layout import keep_clear
from training.places.lens import Faults, spoilt
from training.places.worlds import NEW

NEW_KINDS = pytest.mark.parametrize('kind', list(NEW))
CAMERA = CameraModel.from_field_of_view(96, 72, math.radians(75))
GREY, RED, GREEN = range(3)
FINISHES = tuple(
    Finish((colour,), grain_depth=0.0)
    for colour in ((0.5, 0.5, 0.5), (0.8, 0.05, 0.05), (0.05, 0.8, 0.05))
)
EVEN = Light((0.0, 0.0, 2.2), False, (0.2, 0.2, 0.2), (0.8, 0.8, 0.8))
FIRST_KINDS = ['table', 'room', 'clutter', 'room', 'room', 'street', 'open', 'room']


def laid_out(kind, seed):
    return WORLDS['wider'][kind][0](random.Random(seed), atlas(seed % 4))


def rays(camera, pose):
    """(3, n) float64 along every 7th pixel's ray for 1 m of depth."""
    x, y = (axis.astype(np.float64).ravel()[::7] for axis in camera.normalised_grid())
    return pose.optical_axes @ np.stack([x, y, np.ones_like(x)])


def in_units(table, points):
    """Points (3, n) in the units of every part, (P, 3, n)."""
    away = points[None] - table.centre[:, :, None]
    return np.einsum('pij,pjn->pin', table.to_unit, away)


def depth_inside(table, units):
    """How far out of each part a point is, (P, n): 1 on its surface, less inside."""
    flat = np.abs(units).max(axis=1)
    round_ = np.sqrt((units**2).sum(axis=1))
    radius = 0.5 * (1 + table.taper[:, None] + (table.taper[:, None] - 1) * units[:, 2])
    side = np.hypot(units[:, 0], units[:, 1]) / np.maximum(radius, 1e-9)
    tube = np.maximum(side, np.abs(units[:, 2]))
    shape = table.shape[:, None]
    return np.where(shape == BOX, flat, np.where(shape == BALL, round_, tube))


def on_backdrop(place, points):
    """How far points are from the ground and the hall's walls, (n,) metres."""
    x, y, z = points
    gaps = [np.abs(z - place.ground_m)]
    if place.hall is not None:
        low, high = place.hall.low, place.hall.high
        gaps += [np.abs(x - low[0]), np.abs(x - high[0]), np.abs(y - low[1]), np.abs(y - high[1])]
        gaps.append(np.abs(z - place.hall.height_m))
    return np.min(gaps, axis=0)


def off_panes(place, points):
    """How far points are from the nearest pane, (n,) metres."""
    gaps = [np.full(points.shape[1], np.inf)]
    for pane in getattr(place, 'panes', ()):
        away = points - np.array(pane.middle)[:, None]
        across, up = np.array(pane.across), np.array(pane.up)
        normal = np.cross(across, up)
        gap = np.abs(normal @ away) / np.linalg.norm(normal)
        beyond = [np.abs(side @ away) / (side @ side) > 1.001 for side in (across, up)]
        gaps.append(np.where(beyond[0] | beyond[1], np.inf, gap))
    return np.min(gaps, axis=0)


@pytest.mark.sampled
@NEW_KINDS
@pytest.mark.parametrize('seed', range(3))
def test_every_ray_ends_on_a_surface_and_meets_nothing_before(kind, seed):
    place, pose = laid_out(kind, seed)
    _, depth, _ = view_panes(place, CAMERA, pose, atlas(seed % 4))
    assert not np.isnan(depth).any()
    depth = depth.ravel()[::7].astype(np.float64)
    seen = np.isfinite(depth)
    along, depth = rays(CAMERA, pose)[:, seen], depth[seen]
    table = PartTable(place.parts)
    points = pose.position[:, None] + along * depth
    units = in_units(table, points)
    smallest = table.half.min(axis=1)[:, None]
    off_parts = np.abs(depth_inside(table, units) - 1) * smallest
    away = np.minimum(off_parts.min(axis=0), on_backdrop(place, points))
    away = np.minimum(away, off_panes(place, points))
    assert (away < 1e-3 + 2e-3 * depth).mean() > 0.995
    blocked = np.zeros(len(depth), bool)
    around = depth_inside(table, in_units(table, pose.position[:, None]))[:, 0] > 1
    for share in np.linspace(0.03, 0.97, 25):
        units = in_units(table, pose.position[:, None] + share * along * depth)
        blocked |= (depth_inside(table, units)[around] < 0.9).any(axis=0)
    assert blocked.mean() < 0.005


@pytest.mark.sampled
@NEW_KINDS
@pytest.mark.parametrize('seed', range(4))
def test_what_a_sample_says_fits_together(kind, seed):
    drawn = sample(seed, 128, 96, kind, world='wider')
    assert (drawn.rgb.shape, drawn.rgb.dtype) == ((96, 128, 3), np.uint8)
    assert not np.isnan(drawn.depth_z).any()
    assert drawn.depth_z.min() > 0.02
    np.testing.assert_array_equal(np.isinf(drawn.depth_z), drawn.ids == SKY_ID)
    np.testing.assert_array_equal(drawn.floor, drawn.ids == FLOOR_ID)
    again = sample(seed, 128, 96, kind, world='wider')
    np.testing.assert_array_equal(drawn.rgb, again.rgb)
    np.testing.assert_array_equal(drawn.depth_z, again.depth_z)
    x, y = (axis.astype(np.float64) for axis in drawn.camera.normalised_grid())
    depth = np.where(drawn.floor, drawn.depth_z, 0).astype(np.float64)
    points = np.einsum('ij,jhw->ihw', drawn.pose.optical_axes, np.stack([x, y, 0 * x + 1]) * depth)
    height = points[2] + drawn.pose.z_m
    assert (np.abs(height) <= 1e-4 * depth + 1e-5)[drawn.floor].all()


def test_kinds_come_as_often_as_they_should():
    kinds = WORLDS['wider']
    assert sum(share for _, share in kinds.values()) == pytest.approx(1)
    drawn = [sample(seed, 8, 6, world='wider').kind for seed in range(400)]
    assert set(drawn) == set(kinds)
    assert np.mean([kind in NEW for kind in drawn]) == pytest.approx(0.5, abs=0.08)


def test_the_first_world_is_as_it_was():
    kinds = [sample(seed, 8, 6).kind for seed in range(8)]
    assert kinds == FIRST_KINDS
    assert set(kinds) <= set(PLACES)
    for seed in range(3):
        default, named = sample(seed, 64, 48), sample(seed, 64, 48, world='first')
        np.testing.assert_array_equal(default.rgb, named.rgb)


def test_a_world_that_does_not_exist_is_refused():
    with pytest.raises(SceneError, match='second'):
        sample(0, world='second')
    with pytest.raises(SceneError, match='stairs'):
        sample(0, kind='stairs')  # not of the first world


def test_a_dataset_is_of_one_world_and_names_the_kinds(tmp_path):
    assert set(dataset.WORLDS) == set(WORLDS)
    for world in dataset.WORLDS:
        assert dataset.write_shard(tmp_path / world, 'test', 0, 6, world) == 6
        shard = dataset.open_shard(dataset.shards(tmp_path / world, 'test')[0])
        assert set(shard.kinds) <= set(WORLDS[world])
        number = dataset.FIRST_SEED['test'] + 3
        drawn = sample(number, dataset.WIDTH, dataset.HEIGHT, textures='eval', world=world)
        np.testing.assert_array_equal(shard.rgb[3], drawn.rgb)
        assert shard.kinds[3] == drawn.kind


def test_closed_doors_are_often_dark_large_and_as_near_as_their_wall():
    found = []
    for seed in range(60):
        drawn = sample(seed, 64, 48, 'doors', world='wider')
        grey = drawn.rgb.mean(axis=2)
        for number in np.unique(drawn.ids[drawn.ids >= FIRST_OBJECT_ID]):
            door = drawn.ids == number
            if door.mean() > 1 / 6 and np.median(grey[door]) < 60:
                found.append(seed)
                break
    assert len(found) > 12


def test_the_facing_world_shows_dark_doors_level_and_mostly_without_floor():
    dark, floorless = 0, 0
    for seed in range(40):
        drawn = sample(seed, 64, 48, 'facing', world='facing')
        assert 0.9 <= drawn.pose.z_m <= 1.8
        assert abs(drawn.pose.pitch_rad) < 0.4
        floorless += drawn.floor.mean() < 0.1
        grey = drawn.rgb.mean(axis=2)
        for number in np.unique(drawn.ids[drawn.ids >= FIRST_OBJECT_ID]):
            door = drawn.ids == number
            if door.mean() > 1 / 10 and np.median(grey[door]) < 70:
                dark += 1
                break
    assert dark > 12
    assert floorless > 12


# --- Panes: what they show, and where they are.


HALL = Hall((-3.0, -2.0), (5.0, 2.0), 2.5, (RED, GREY, GREY, GREY), GREY)  # red behind the camera
AHEAD = Pose(z_m=1.2)


def with_pane(**look):
    pane = Pane((2.0, 0.0, 1.2), (0.0, 0.8, 0.0), (0.0, 0.0, 0.6), 7, **look)
    wall = Part(BOX, (4.0, 0.0, 1.0), (0.1, 2.0, 1.5), GREEN)
    return PanedPlace(FINISHES, GREY, (wall,), EVEN, Sky((1, 1, 1), (1, 1, 1)), HALL, panes=(pane,))


MIDDLE = slice(30, 42), slice(40, 56)


def test_a_mirror_shows_what_is_behind_the_camera_at_its_own_depth():
    light, depth, ids = view_panes(with_pane(shine=0.9, clear=(0, 0, 0)), CAMERA, AHEAD, atlas(0))
    np.testing.assert_allclose(depth[MIDDLE], 2.0, rtol=1e-5)
    assert (ids[MIDDLE] == 7).all()
    red, green, _ = light[MIDDLE].reshape(-1, 3).mean(axis=0)
    assert red > 4 * green


def test_glass_shows_what_is_behind_it_at_its_own_depth():
    place = with_pane(shine=0.04, clear=(0.9, 0.9, 0.9))
    bare = view_panes(dataclasses.replace(place, panes=()), CAMERA, AHEAD, atlas(0))
    light, depth, _ = view_panes(place, CAMERA, AHEAD, atlas(0))
    np.testing.assert_allclose(bare[1][MIDDLE], 3.9, rtol=1e-4)
    np.testing.assert_allclose(depth[MIDDLE], 2.0, rtol=1e-5)
    through, behind = light[MIDDLE].mean(axis=(0, 1)), bare[0][MIDDLE].mean(axis=(0, 1))
    assert through[1] == pytest.approx(0.9 * 0.96 * behind[1], rel=0.1)
    np.testing.assert_array_equal(depth[:8], bare[1][:8])  # beyond the pane nothing changes


def test_the_mirror_image_is_where_the_law_of_reflection_puts_it():
    ball = Part(BALL, (0.6, 0.9, 1.2), (0.12, 0.12, 0.12), GREEN, FIRST_OBJECT_ID)
    place = with_pane(shine=1.0, clear=(0, 0, 0))
    wall = dataclasses.replace(place.parts[0], finish=GREY)
    light, _, _ = view_panes(
        dataclasses.replace(place, parts=(wall, ball)), CAMERA, AHEAD, atlas(0)
    )
    # Mirrored in x = 2 the ball is at x = 3.4, y = 0.9: left of the middle by the tangent.
    column = CAMERA.cx - CAMERA.fx * 0.9 / 3.4
    green = light[..., 1] - light[..., 0]
    _, columns = np.nonzero(green[30:42] > 0.15)
    assert np.median(columns) == pytest.approx(column, abs=1.5)


def test_what_stands_before_a_pane_hides_it():
    post = Part(BOX, (1.0, 0.0, 1.2), (0.1, 0.1, 1.2), RED, FIRST_OBJECT_ID)
    place = with_pane(shine=0.9, clear=(0, 0, 0))
    _, depth, _ = view_panes(dataclasses.replace(place, parts=(post,)), CAMERA, AHEAD, atlas(0))
    np.testing.assert_allclose(depth[36, 46:50], 0.9, rtol=1e-4)


def test_flat_angles_mirror_more():
    def redness(pose):
        light, _, ids = view_panes(with_pane(shine=0.04), CAMERA, pose, atlas(0))
        pane = light[ids == 7].mean(axis=0)
        return (pane[0] - pane[1]) / pane.sum()

    assert redness(Pose(1.8, -1.8, 1.2, math.radians(80))) > redness(AHEAD) + 0.05


def test_the_pane_of_an_object_goes_with_it():
    make = FinishMaker(random.Random(0), atlas(0))
    builder = PanedBuilder(make)
    for x in (1.0, 3.0):
        f = builder.frame(x, 0.0, math.pi / 2)
        f.box(0, 0, 0, 1.0, 0.1, 2.0, make.plain())
        builder.pane(f, (0, 0.06, 0.0), 1.0, 2.0, shine=0.1)
    keep_clear(builder, Pose(x_m=0.9, z_m=1.0))
    panes = builder.place(0, EVEN).panes
    assert [round(pane.middle[0]) for pane in panes] == [3]


# --- Faults of lens and light.


@pytest.fixture
def scene():
    rng = np.random.default_rng(3)
    return np.clip(rng.random((72, 96, 3), np.float32), 0.05, 0.9)


def test_fog_takes_contrast_and_keeps_the_mean(scene):
    foggy = spoilt(scene, Faults(fog=0.6))
    assert foggy.std() < 0.55 * scene.std()
    assert foggy.mean() == pytest.approx(scene.mean(), rel=0.1)


def test_flare_adds_light_unevenly(scene):
    added = spoilt(scene, Faults(flare=1.0, at=5)) - scene
    assert added.min() >= 0
    assert added.max() > 2 * np.median(added)


def test_drops_blur_in_places(scene):
    changed = np.abs(spoilt(scene, Faults(drops=8, at=2)) - scene).max(axis=2) > 0.02
    assert 0.005 < changed.mean() < 0.8


def test_no_fault_changes_nothing(scene):
    np.testing.assert_array_equal(spoilt(scene, Faults()), scene)


def test_what_is_black_in_a_wall_is_hardly_ever_an_open_way(monkeypatch):
    """A robot that has learned to take black doors for dark rooms drives into them."""
    made = {'closed': 0, 'unlit': 0}

    def counted(function, name):
        def counting(*arguments):
            made[name] += 1
            return function(*arguments)

        return counting

    monkeypatch.setattr(doors, 'closed_door', counted(doors.closed_door, 'closed'))
    monkeypatch.setattr(doors, 'dark_space', counted(doors.dark_space, 'unlit'))
    for seed in range(120):
        laid_out('doors', seed)
    assert made['unlit'] >= 5, 'unlit rooms are there'
    assert made['closed'] >= 9 * made['unlit']


def test_some_doors_are_seen_without_floor_and_ceiling():
    without = 0
    for seed in range(60):
        drawn = sample(seed, 64, 48, 'doors', world='wider')
        without += not drawn.floor.any()
    assert 6 <= without <= 30


def test_the_closed_world_has_only_kinds_of_the_wider_one():
    shares = {kind: share for kind, (_, share) in WORLDS['closed'].items()}
    assert set(shares) <= set(NEW)
    assert math.isclose(sum(shares.values()), 1)
    assert sample(3, 64, 48, world='closed').kind in shares
