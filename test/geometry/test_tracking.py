"""Points that are followed: how certain and which they are, and what two views say of them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry.tracking import (
    BLOCK_PX,
    HALF_CERTAIN,
    LEAST_CERTAIN,
    PointTracks,
    at_points,
)
from midas_depth_ros.geometry.two_views import (
    corrected_motion,
    focal_change,
    inverse_depths,
)


def textured(seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(0, 255, (240, 320), np.uint8)
    return cv2.GaussianBlur(rough, (0, 0), 2.5)


def moved(picture: np.ndarray, x_px: float, y_px: float) -> np.ndarray:
    by = np.array([[1.0, 0.0, x_px], [0.0, 1.0, y_px]])
    return cv2.warpAffine(picture, by, (320, 240), borderMode=cv2.BORDER_REFLECT_101)


def test_certainty_is_that_of_the_eigenvectors():
    picture = textured()
    tracks: PointTracks[int] = PointTracks()
    tracks.update(picture)
    tracks.step(0)
    column, row = tracks.here.astype(int).T
    each = cv2.cornerEigenValsAndVecs(picture, BLOCK_PX, 3)[row, column].astype(np.float64)
    share = each[:, :2] / (each[:, :2] + HALF_CERTAIN)
    vectors = each[:, 2:].reshape(-1, 2, 2)
    expected = np.einsum('nk,nki,nkj->nij', share, vectors, vectors) + LEAST_CERTAIN * np.eye(2)
    found = np.stack([tracks.certainty[:, (0, 1)], tracks.certainty[:, (1, 2)]], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_numbers_tell_which_point_it_is():
    """A number is never used again, whatever is lost and found."""
    picture, tracks = textured(), PointTracks()
    tracks.update(picture)
    tracks.step('first')
    first = dict(zip(tracks.numbers, tracks.here, strict=True))
    tracks.update(moved(picture, 3.0, -2.0))
    tracks.keep(np.arange(len(tracks.here)) % 3 > 0)
    tracks.step('second')
    assert (np.diff(tracks.numbers) > 0).all()
    old = [number for number in tracks.numbers if number in first]
    assert len(old) > 60
    assert len(tracks.numbers) > len(old)
    for number, place in zip(tracks.numbers, tracks.here, strict=True):
        if number in first:
            np.testing.assert_allclose(place - first[number], (3, -2), atol=0.3)


@pytest.mark.parametrize('way_px', [4.0, 12.0])
def test_points_are_found_without_a_guess(way_px):
    picture, tracks = textured(), PointTracks()
    tracks.update(picture)
    tracks.step(0)
    tracks.update(moved(picture, way_px, 0.0))
    off = tracks.here - tracks.seen[-1] - (way_px, 0)
    assert len(off) > 120
    assert np.quantile(np.abs(off), 0.95) < 0.3


def test_values_between_pixels_and_none_outside():
    image = np.arange(48.0, dtype=np.float32).reshape(6, 8)
    places = np.array([[2.25, 3.5], [-0.4, 5.4], [7.6, 1.0], [math.nan, 1.0], [math.inf, 0.0]])
    np.testing.assert_allclose(at_points(image, places), [30.25, 40, np.nan, np.nan, np.nan])


# --- Two views of points in space.

FOCAL_PX = 250.0


def seen(turn: np.ndarray, way: np.ndarray, noise_px: float):
    """Rays there and here (n, 3), certainty (n, 3), 1/Z here (n,)."""
    rng = np.random.default_rng(1)
    there = rng.uniform((-0.6, -0.4, 1), (0.6, 0.4, 1), (180, 3))
    points = there * rng.uniform(1, 5, (180, 1)) @ cv2.Rodrigues(turn)[0].T + way
    here = points / points[:, 2:]
    for rays in (there, here):
        rays[:, :2] += rng.normal(0, noise_px / FOCAL_PX, (180, 2))
    return there, here, np.tile((1.0, 0.0, 1.0), (180, 1)), 1 / points[:, 2]


def motion_of(turn: np.ndarray, way: np.ndarray) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = cv2.Rodrigues(turn)[0], way
    return motion


def test_a_motion_is_corrected_by_the_pictures():
    turn, way = np.array([0.01, 0.05, -0.02]), np.array([0.1, 0.02, -0.25])
    there, here, certainty, inverse = seen(turn, way, 0.1)
    told = motion_of(turn + (0.004, -0.006, 0.003), way + (0.01, 0.0, 0.004))
    told[:3, 3] *= np.linalg.norm(way) / np.linalg.norm(told[:3, 3])
    pair = corrected_motion(there, here, certainty, told, 0.01, FOCAL_PX)
    off = cv2.Rodrigues(pair.rotation @ cv2.Rodrigues(turn)[0].T)[0]
    assert np.abs(off).max() < 0.001
    np.testing.assert_allclose(pair.way, way, atol=0.004)
    found, sigma, _ = inverse_depths(there, here, certainty, pair, FOCAL_PX)
    sure = sigma < 0.1 * inverse
    assert sure.sum() > 100
    assert np.median(np.abs(found / inverse - 1)[sure]) < 0.03


def test_what_all_depths_are_off_by_together_is_that_of_many_motions():
    """By motions drawn from the covariance that the correction gives."""
    turn, way = np.array([0.0, 0.04, 0.0]), np.array([0.15, 0.0, -0.2])
    there, here, certainty, _ = seen(turn, way, 0.3)
    pair = corrected_motion(there, here, certainty, motion_of(turn, way), 0.005, FOCAL_PX)
    inverse, sigma, together = inverse_depths(there, here, certainty, pair, FOCAL_PX)
    weight = pair.votes / sigma**2
    shares = []
    for draw in np.random.default_rng(2).multivariate_normal(np.zeros(5), pair.covariance, 400):
        motion = cv2.Rodrigues(draw[:3])[0] @ pair.rotation
        aside = pair.way + np.linalg.norm(pair.way) * draw[3:] @ pair.across
        other = type(pair)(**{**vars(pair), 'rotation': motion, 'way': aside})
        change = inverse_depths(there, here, certainty, other, FOCAL_PX)[0] - inverse
        shares.append(weight @ change / (weight @ np.abs(inverse)))
    expected = float(np.std(shares))
    assert together == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize('turn_rad', [0.03, 0.1, 0.4])
@pytest.mark.parametrize('factor', [0.9, 1.1])
def test_a_focal_length_is_as_certain_as_its_variance_says(turn_rad, factor):
    """By odometry whose turns are wrong: a small turn says little."""
    turn, way, sigma_rad = np.array([0.6, 0.8, 0.0]) * turn_rad, np.array([0.1, 0.05, 0.1]), 0.006
    there, here, certainty, _ = seen(turn, way, 0.1)
    for rays in (there, here):
        rays[:, :2] *= factor  # calibrated shorter or longer than it is
    off, claimed = [], 0.0
    for wrong in np.random.default_rng(4).normal(0, sigma_rad, (20, 3)):
        told = motion_of(turn + wrong, way)
        change, variance = focal_change(there, here, certainty, told, sigma_rad, FOCAL_PX)
        off.append(change - math.log(factor))
        claimed += math.sqrt(variance) / 20
    spread = float(np.sqrt(np.mean(np.square(off))))
    assert claimed > 0.3 * sigma_rad / turn_rad
    if turn_rad > 0.05:  # less is far from a straight line
        assert 0.4 * claimed < spread < 1.6 * claimed
