"""Depth packed into the bits of a picture is recovered."""

from __future__ import annotations

import numpy as np

from midas_depth_ros.sim.robot.robot import packed, unpacked


def test_there_and_back():
    relative = np.random.default_rng(0).uniform(0, 4000, (40, 60)).astype(np.float32)
    relative[0, :3] = 0, 1 / 4096, 4095.5
    picture = packed(relative)
    assert picture.shape == (40, 60, 3)
    assert picture.dtype == np.uint8
    back = unpacked(picture)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, relative, atol=1 / 4096 + 1e-6, rtol=2e-7)


def test_what_does_not_fit_is_clipped():
    back = unpacked(packed(np.array([[-3.0, np.nan, 1e9, np.inf]], np.float32)))
    np.testing.assert_allclose(back, [[0, 0, 4096, 4096]], atol=1e-3)
