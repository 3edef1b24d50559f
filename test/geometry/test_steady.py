"""Steady relative inverse depth, independent of a network's changing scale and shift."""

from __future__ import annotations

import numpy as np
import pytest

from midas_depth_ros.geometry import InvalidInverseDepth, SteadyDepth

RATE_HZ = 10.0


def scene(seed: int = 0) -> np.ndarray:
    """Return (48, 64) float32: a floor, nearer towards the bottom, and a box before it."""
    rng = np.random.default_rng(seed)
    d = np.linspace(0.1, 1.0, 48)[:, None] * np.ones((1, 64))
    left, top = rng.integers(5, 40), rng.integers(5, 25)
    d[top : top + 15, left : left + 12] = rng.uniform(0.8, 1.2)
    return d.astype(np.float32)


def moving(count: int) -> list[np.ndarray]:
    """Return a box that moves from left to right before a floor."""
    frames = []
    for index in range(count):
        d = np.linspace(0.1, 1.0, 48)[:, None] * np.ones((1, 64))
        d[10:25, 2 * index : 2 * index + 12] = 1.1
        frames.append(d.astype(np.float32))
    return frames


def disturbed(frames, seed=1):
    """Return the frames, each with a random scale and shift, as from a network."""
    rng = np.random.default_rng(seed)
    return [(rng.uniform(0.3, 300.0) * d + rng.uniform(-50, 50)).astype(np.float32) for d in frames]


def steady(frames, time_constant_s=0.2):
    filtered = SteadyDepth(time_constant_s)
    return [filtered.update(index / RATE_HZ, d) for index, d in enumerate(frames)]


@pytest.mark.parametrize(
    'bad', [np.zeros(5, np.float32), np.zeros((4, 4), np.float32), np.zeros((20, 20), np.uint8)]
)
def test_what_is_no_depth_is_refused(bad):
    with pytest.raises(InvalidInverseDepth):
        SteadyDepth().update(0.0, bad)


def test_flat_and_unknown_pictures_pass_through_and_spoil_nothing():
    filtered = SteadyDepth()
    nothing = np.full((48, 64), np.nan, np.float32)
    assert np.isnan(filtered.update(0.0, nothing)).all()
    assert (filtered.update(0.1, np.full((48, 64), 7.0, np.float32)) == 0).all()
    after = filtered.update(0.2, scene())
    np.testing.assert_array_equal(after, SteadyDepth().update(0.0, scene()))


def test_scale_and_shift_of_every_frame_leave_no_trace():
    frames = moving(15)
    plain, shaken = steady(frames), steady(disturbed(frames))
    for one, other in zip(plain, shaken, strict=True):
        np.testing.assert_allclose(other, one, atol=2e-3)


def test_a_still_scene_is_still_where_raw_values_jump():
    frames = disturbed([scene()] * 12)
    out = np.stack(steady(frames))
    assert np.ptp(out, axis=0).max() < 2e-3
    raw = np.stack(frames)
    assert np.ptp(raw, axis=0).max() > 50


def test_noise_becomes_less_and_contrast_does_not():
    rng = np.random.default_rng(3)
    frames = [scene() + rng.normal(0, 0.01, (48, 64)).astype(np.float32) for _ in range(60)]
    own = np.stack(steady(disturbed(frames), time_constant_s=0.0))[20:]
    out = np.stack(steady(disturbed(frames), time_constant_s=0.5))[20:]
    assert out.std(axis=0).mean() < 0.5 * own.std(axis=0).mean()
    assert np.ptp(out[-1]) == pytest.approx(np.ptp(own[-1]), rel=0.1)


def test_what_moves_is_not_smeared():
    frames = moving(10)
    out = steady(frames, time_constant_s=2.0)[-1]
    left = 2 * 9
    background = out[15, -1]
    assert out[15, left + 6] == pytest.approx(steady(frames[-1:])[0][15, left + 6], abs=0.05)
    assert out[15, 2] == pytest.approx(background, abs=0.05), 'a ghost where the box was'


def test_another_scene_starts_anew():
    upside_down = scene()[::-1].copy()
    out = steady([scene(), scene(), upside_down])
    np.testing.assert_array_equal(out[-1], steady([upside_down])[0])


@pytest.mark.parametrize('stamps', [(5.0, 4.0), (5.0, 9.0)])
def test_a_stamp_that_goes_back_and_a_pause_start_anew(stamps):
    filtered = SteadyDepth(10.0)
    filtered.update(stamps[0], scene())
    brighter = scene() ** 2
    np.testing.assert_array_equal(
        filtered.update(stamps[1], brighter), SteadyDepth().update(0.0, brighter)
    )


def test_nothing_drifts_over_a_long_run():
    rng = np.random.default_rng(5)
    filtered = SteadyDepth(0.3)
    for index in range(600):
        noisy = scene() + rng.normal(0, 0.03, (48, 64)).astype(np.float32)
        out = filtered.update(index / 30, noisy)
    assert np.percentile(out, 5) == pytest.approx(0, abs=0.1)
    assert np.percentile(out, 95) == pytest.approx(1, abs=0.1)
