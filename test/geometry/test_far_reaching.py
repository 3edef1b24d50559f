"""A line where errors reach far: exact where d is, and better than plain least squares on bumps."""

from __future__ import annotations

import cv2
import numpy as np

from midas_depth_ros.geometry.far_reaching import far_reaching_line

ROWS, COLUMNS = 48, 64
GROUND = np.repeat(np.linspace(0.1, 2.0, ROWS)[:, None], COLUMNS, axis=1)
ONE = np.ones_like(GROUND)


def bumps(seed):
    made = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(GROUND.shape), (0, 0), 6)
    return made / made.std()


def test_an_exact_line_is_found_whatever_the_votes():
    rng = np.random.default_rng(0)
    votes = rng.uniform(0, 1, GROUND.shape)
    slope, offset = far_reaching_line(3 * GROUND - 0.5, GROUND, 0.12 * GROUND, votes)
    assert abs(slope - 3) < 1e-4
    assert abs(offset + 0.5) < 1e-4


def test_what_has_no_vote_counts_nothing_even_if_unknown():
    d, votes = 3 * GROUND - 0.5, ONE.copy()
    d[:, 40:], votes[:, 40:] = np.nan, 0
    d[:8, :20], votes[:8, :20] = 50.0, 0
    slope, offset = far_reaching_line(d, GROUND, ONE, votes)
    assert abs(slope - 3) < 1e-4
    assert abs(offset + 0.5) < 1e-4


def test_a_few_unknown_cells_within_a_block_count_nothing():
    d, ground, tolerance, votes = 3 * GROUND - 0.5, GROUND.copy(), 0.12 * GROUND, ONE.copy()
    for unknown in (d, ground, tolerance):
        unknown[21:24, 31:35] = np.nan
    votes[21:24, 31:35] = 0
    slope, offset = far_reaching_line(d, ground, tolerance, votes)
    assert abs(slope - 3) < 1e-4
    assert abs(offset + 0.5) < 1e-4


def test_bumps_bend_it_less_than_plain_least_squares():
    ours, plain = [], []
    for seed in range(40):
        d = GROUND * (1 + 0.1 * bumps(seed))
        ours.append(far_reaching_line(d, GROUND, GROUND, ONE)[1])
        weight = 1 / GROUND.ravel()
        design = np.stack([GROUND.ravel(), ONE.ravel()], axis=1) * weight[:, None]
        plain.append(np.linalg.lstsq(design, d.ravel() * weight, rcond=None)[0][1])
    assert np.std(ours) < 0.85 * np.std(plain)


def test_too_little_floor_gives_no_line():
    votes = np.zeros_like(GROUND)
    votes[40:, :8] = 1
    assert far_reaching_line(GROUND, GROUND, ONE, votes) is None
