"""Shortcuts that save time give the same answers on real pictures, to the bounds written here."""

from __future__ import annotations

import dataclasses
import importlib

import cv2
import numpy as np
import pytest

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MetricDepth,
    Refusal,
    ScaleShift,
    closeness,
    depth_of_inverse,
    fit_ground_plane,
    fit_in_metres,
    floor_in_metres,
)
from midas_depth_ros.geometry import ground_plane as of_the_floor
from midas_depth_ros.geometry.fitting import robust_deviation
from midas_depth_ros.options.metric import MetricOptions

of_relative_floor = importlib.import_module('midas_depth_ros.geometry.relative_floor')
of_closeness = importlib.import_module('midas_depth_ros.geometry.closeness')
MOUNT = CameraMount(0.5, 0.1)
LEAST_FLOORS = 4  # of the pictures, or a test compares hardly anything
PARTS = (slice(40, 90), slice(60, 130))  # unknown in every other picture


@pytest.fixture(scope='module')
def pictures(shared_data):
    """Relative inverse depth by the embedded model, and the grid of an assumed camera."""
    corridor = sorted((shared_data / 'sequences' / 'rtabmap_corridor').rglob('*.jpg'))
    paths = [*sorted((shared_data / 'plain').glob('*.jpg')), *corridor[::4]]
    estimator = load_estimator('embedded', num_threads=1)
    found = []
    for number, path in enumerate(paths):
        rgb = cv2.imread(str(path))[..., ::-1]
        d = estimator.infer(np.ascontiguousarray(rgb))
        if number % 2:
            d[PARTS] = np.nan
        camera = CameraModel.from_field_of_view(d.shape[1], d.shape[0], 1.1)
        found.append((d, camera.normalised_grid()))
    return found


def answers(d, grid):
    """Everything that is made of a picture in numbers."""
    fit = fit_ground_plane(d, grid, MOUNT)
    near = closeness(d, grid=grid, camera_pitch_rad=MOUNT.pitch_rad)
    scale = fit if isinstance(fit, ScaleShift) else ScaleShift(2.0, 0.1)
    metric = MetricDepth().update(0.0, d, grid, MOUNT, scale, MetricOptions())
    assert metric is not None
    return fit, near, metric


def test_what_is_remembered_of_a_grid_changes_nothing(pictures):
    floors = 0
    for d, grid in pictures:
        fixed = tuple(axis.copy() for axis in grid)
        for axis in fixed:
            axis.setflags(write=False)
        for _ in range(2):
            first, second = answers(d, grid), answers(d, fixed)
            assert first[0] == second[0]
            assert str(first[1]) == str(second[1])  # NaN is not equal to itself
            for name in ('depth_z', 'inverse_sigma'):
                np.testing.assert_array_equal(*(getattr(each[2], name) for each in (first, second)))
            one, other = first[2].obstacles, second[2].obstacles
            for field in dataclasses.fields(one):
                np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
        floors += isinstance(first[0], ScaleShift)
    assert floors >= LEAST_FLOORS


def test_quantiles_by_one_partition_move_no_fit(pictures, monkeypatch):
    found = [answers(d, grid)[:2] for d, grid in pictures]

    def quantiles(values, *shares):
        return [float(each) for each in np.quantile(values, shares)]

    for module in (of_the_floor, of_closeness):
        monkeypatch.setattr(module, 'quantiles_of', quantiles)
    for (d, grid), (fit, near) in zip(pictures, found, strict=True):
        other, as_near = answers(d, grid)[:2]
        assert type(fit) is type(other)
        if isinstance(fit, ScaleShift):
            assert fit.scale == pytest.approx(other.scale, rel=1e-4)
            assert fit.shift == pytest.approx(other.shift, rel=1e-4, abs=1e-5)
        sides = [(each.left, each.centre, each.right) for each in (near, as_near)]
        np.testing.assert_allclose(*sides, rtol=1e-5)


def test_a_fit_that_ends_when_it_has_settled_moves_no_closeness(pictures, monkeypatch):
    found = [closeness(d, grid=grid) for d, grid in pictures]
    monkeypatch.setattr(of_relative_floor, 'SETTLED', 0.0)
    known = 0
    for (d, grid), near in zip(pictures, found, strict=True):
        other = closeness(d, grid=grid)
        assert other.reason == near.reason
        sides = [(each.left, each.centre, each.right) for each in (near, other)]
        np.testing.assert_allclose(*sides, atol=1e-3)
        known += near.known
    assert known >= LEAST_FLOORS


def test_fewer_pixels_move_no_closeness(pictures, monkeypatch):
    found = [closeness(d, grid=grid) for d, grid in pictures]
    monkeypatch.setattr(of_closeness, 'WORK_PIXELS', 256 * 192)
    off = []
    for (d, grid), near in zip(pictures, found, strict=True):
        other = closeness(d, grid=grid)
        assert other.reason == near.reason
        sides = np.array([(each.left, each.centre, each.right) for each in (near, other)])
        np.testing.assert_array_equal(*np.isnan(sides))
        if near.known:
            off.extend(np.abs(sides[0] - sides[1]))
    assert len(off) >= 3 * LEAST_FLOORS
    assert np.nanmedian(off) < 0.003
    assert np.nanmax(off) < 0.1


@pytest.mark.parametrize('count', [0, 5, 47, 48, 49, 4000, 16_000])
def test_the_nearest_of_a_sector_is_found_among_what_is_nearest_in_its_columns(count):
    rng = np.random.default_rng(count)
    near = np.full((192, 85), -np.inf, np.float32)
    values = np.round(rng.normal(size=count), 2).astype(np.float32)  # many are equal
    near.reshape(-1)[rng.permutation(near.size)[:count]] = values
    found = of_closeness._sector(near, near.max(axis=0), 49, 0.0, 1.0)
    assert found == (pytest.approx(float(np.sort(values)[-49])) if count >= 49 else 0.0)


def test_what_stands_out_is_counted_as_by_the_median(pictures):
    rng = np.random.default_rng(4)
    told = []
    for d, _ in pictures:
        above = (d - np.nanmedian(d)).astype(np.float32)
        floor = rng.random(d.shape) < 0.7
        lower = slice(len(d) // 2, None)
        behind = -above[lower][(above[lower] < 0) & floor[lower]]
        by_noise = of_closeness.NOISE_DEVIATIONS * robust_deviation(behind)
        for least in (0.2 * by_noise, 0.99 * by_noise, 1.01 * by_noise, 3 * by_noise):
            found = of_closeness._stands_out(above, floor, least)
            assert found == pytest.approx(max(least, by_noise), rel=1e-6)
            told.append(found > least)
    assert any(told)
    assert not all(told)


def test_heights_by_the_frames_own_fit_are_those_of_a_second_one(pictures):
    floors = 0
    for d, grid in pictures:
        fit = fit_ground_plane(d, grid, MOUNT)
        scale = ScaleShift(3.0, -0.2) if isinstance(fit, Refusal) else fit
        scale = dataclasses.replace(scale, scale=1.03 * scale.scale, shift=scale.shift - 0.02)
        inverse = scale.inverse_depth(d)
        known = floor_in_metres(inverse, grid, MOUNT, fit_in_metres(fit, scale))
        again = floor_in_metres(inverse, grid, MOUNT)
        assert type(known) is type(again)
        if not isinstance(again, Refusal):
            floors += 1
            depth_z = depth_of_inverse(inverse)
            heights = known.heights(depth_z, grid), again.heights(depth_z, grid)
            np.testing.assert_allclose(*heights, atol=1e-4)
    assert floors >= LEAST_FLOORS
