"""Tape measure against the node: what is found is what was put in, and what cannot be is said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, CameraMount, Refusal
from midas_depth_ros.geometry.distance_calibration import (
    MOST,
    DistanceFit,
    Measurement,
    added,
    corrected_field_of_view,
    corrected_mount,
    fit_distances,
    middle_ray,
    middle_value,
    steady_value,
)

AT_M = (0.6, 1.0, 1.5, 2.2, 3.0, 4.0)


def measured(values, at=AT_M):
    return [Measurement(z_m, float(value)) for z_m, value in zip(at, values, strict=True)]


def of_floor(true: CameraMount, assumed: CameraMount, at=AT_M):
    """What a node says that takes the floor for that of another mount: exact but for that."""
    y = (true.height_m / np.array(at) - math.sin(true.pitch_rad)) / math.cos(true.pitch_rad)
    inverse = (y * math.cos(assumed.pitch_rad) + math.sin(assumed.pitch_rad)) / assumed.height_m
    return measured(inverse, at)


@pytest.mark.parametrize('height_m', [0.25, 0.3, 0.42])
@pytest.mark.parametrize('count', [3, 4, 6])
def test_a_wrong_height_is_found(height_m, count):
    true, assumed = CameraMount(height_m, 0.15), CameraMount(0.3, 0.15)
    fit = fit_distances(of_floor(true, assumed, AT_M[:count]))
    assert isinstance(fit, DistanceFit)
    assert fit.offset == 0
    assert fit.factor == pytest.approx(0.3 / height_m)
    assert fit.right == (height_m == 0.3)
    right = corrected_mount(assumed, fit)
    assert (right.height_m, right.pitch_rad) == pytest.approx((height_m, 0.15))
    np.testing.assert_allclose(fit.off, 0, atol=1e-9)
    np.testing.assert_allclose(fit.before, 0.3 / height_m - 1, atol=1e-9)


@pytest.mark.parametrize(('height_m', 'pitch_rad'), [(0.32, 0.21), (0.3, 0.05), (0.24, -0.1)])
def test_a_wrong_height_and_pitch_are_found(height_m, pitch_rad):
    true, assumed = CameraMount(height_m, pitch_rad), CameraMount(0.28, 0.13)
    fit = fit_distances(of_floor(true, assumed, AT_M[:5]))
    assert isinstance(fit, DistanceFit)
    right = corrected_mount(assumed, fit)
    assert (right.height_m, right.pitch_rad) == pytest.approx((height_m, pitch_rad))


def test_a_wrong_field_of_view_is_found():
    """Metres by a marker, for example: in proportion to the focal length."""
    true, assumed = (CameraModel.from_field_of_view(640, 480, fov).fx for fov in (1.1, 1.4))
    fit = fit_distances(measured([true / assumed / z for z in AT_M]))
    assert isinstance(fit, DistanceFit)
    # A lens that is taken for a wider one: things seem nearer than they are.
    assert fit.factor == pytest.approx(assumed / true)
    assert corrected_field_of_view(1.4, fit) == pytest.approx(1.1)


def test_an_offset_that_noise_explains_is_none():
    """With 3 % of noise and no offset: none is reported, but for rare chance."""
    random, offsets = np.random.default_rng(0), 0
    for _ in range(200):
        noise = 1 + random.normal(0, 0.03, len(AT_M))
        fit = fit_distances(measured(noise / np.array(AT_M) / 1.1))
        assert isinstance(fit, DistanceFit)
        offsets += fit.offset != 0
        if not fit.offset:
            assert fit.factor == pytest.approx(1.1, abs=5 * fit.factor_sigma)
    assert offsets <= 20


def test_relative_inverse_depth_gives_scale_and_shift():
    values = [(1 / z + 0.3) / 2.5 for z in AT_M]
    fit = fit_distances(measured(values), relative=True)
    assert isinstance(fit, DistanceFit)
    assert (fit.factor, fit.offset) == pytest.approx((2.5, -0.3))
    assert all(math.isnan(each) for each in fit.before)


REFUSED = {
    'too few': (measured([1, 0.5], (1.0, 2.0)), '2 of at least 3'),
    'none': ([], '0 of at least 3'),
    'too similar': (measured([1, 0.9, 0.8], (1.0, 1.1, 1.2)), 'too similar'),
    'scattered': (measured([1, 0.3, 0.6], (1.0, 1.5, 2.0)), 'no single correction'),
    'opposite': (measured([0.2, 0.4, 0.9], (0.5, 1.5, 3.0)), 'no single correction|farther'),
}


@pytest.mark.parametrize('name', REFUSED)
@pytest.mark.parametrize('relative', [False, True])
def test_what_gives_no_correction_is_refused(name, relative):
    import re

    measurements, reason = REFUSED[name]
    found = fit_distances(measurements, relative=relative)
    assert isinstance(found, Refusal)
    assert re.search(reason, found.reason), found.reason


def test_the_same_distance_counts_once():
    two = measured([1.0, 0.5], (1.0, 2.0))
    again = added(two, Measurement(1.01, 0.9))
    assert isinstance(again, list)
    assert [each.z_m for each in again] == [2.0, 1.01]
    other = added(two, Measurement(1.2, 0.9))
    assert isinstance(other, list)
    assert len(other) == 3
    many = measured([1.0] * MOST, 1.2 ** np.arange(MOST))
    full = added(many, Measurement(100.0, 0.01))
    assert isinstance(full, Refusal)
    assert isinstance(added(many, Measurement(1.0, 0.5)), list)  # replaces the first


def picture(middle: float, around: float = 0.2) -> np.ndarray:
    values = np.full((192, 256), around, np.float32)
    values[70:122, 100:156] = middle
    return values


def test_the_middle_is_the_middle():
    assert middle_value(picture(0.8)) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        (picture(math.nan), 'unknown'),
        (picture(0.0), 'infinitely far'),
        (picture(-1.0), 'infinitely far'),
        (np.where(np.arange(256) < 128, 0.5, 1.0)[None].repeat(192, 0).astype(np.float32), 'flat'),
    ],
)
def test_a_middle_that_is_not_one_thing_is_refused(values, reason):
    found = middle_value(values)
    assert isinstance(found, Refusal)
    assert reason in found.reason


def test_what_moves_meanwhile_is_refused():
    random = np.random.default_rng(0)
    still = steady_value(list(0.5 + random.normal(0, 0.01, 15)))
    assert still == pytest.approx(0.5, abs=0.01)
    moving = steady_value(list(np.linspace(0.5, 0.6, 15)))
    assert isinstance(moving, Refusal)
    assert 'meanwhile' in moving.reason


def test_a_tape_is_not_measured_along_the_axis():
    """Where the lens is not in the middle of the picture, the ray through the middle is longer."""
    camera = CameraModel(640, 480, 300.0, 300.0, 319.5, 100.0)
    ray = middle_ray(camera.normalised_grid(256, 192))
    assert ray == pytest.approx(math.hypot(1, 139.5 / 300), rel=0.01)
