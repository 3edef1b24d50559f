"""Metres from markers of known size, in rendered pictures, lens and all."""

from __future__ import annotations

import dataclasses
import math
import re

import cv2
import numpy as np
import pytest
from markers import view

from midas_depth_ros.geometry import CameraModel, Refusal, ScaleShift
from midas_depth_ros.geometry.marker import (
    MarkerDetector,
    MarkerError,
    MarkerPose,
    MarkerScale,
    marker_pose,
)
from midas_depth_ros.options.metric import MARKER_DICTIONARIES, MarkerOptions

PLAIN = CameraModel.from_field_of_view(640, 480, 1.2)
LENS = dataclasses.replace(
    PLAIN, cx=305.0, cy=252.0, distortion_model='plumb_bob',
    distortion=(-0.32, 0.12, 0.001, -0.001, 0.0),
)  # fmt: skip
FISHEYE = dataclasses.replace(
    PLAIN, distortion_model='equidistant', distortion=(-0.02, 0.005, 0.0, 0.0)
)
SIZE_M = 0.16
SCALE, SHIFT = 2.5, -0.2
NEAR = (3, SIZE_M, (-0.3, 0.1, 1.0), (0.4, -0.2))
FAR = (7, SIZE_M, (0.5, -0.1, 2.0), (-0.5, 0.1))
ALONE = (3, SIZE_M, (0.1, -0.05, 1.2), (0.2, 0.1))


def fit(
    markers, camera=PLAIN, proportional=False, seen=None, unseen=None, size=SIZE_M, id=-1, **scene
):
    """What is made of a scene, and its exact 1/Z at the network's size.

    seen: changes the picture, unseen: the network's answer.
    """
    grey, depth = view(camera, markers, **scene)
    inverse = cv2.resize(1 / depth, (256, 192), interpolation=cv2.INTER_AREA)
    shift = 0.0 if proportional else SHIFT
    d = ((inverse - shift) / SCALE).astype(np.float32)
    made = MarkerScale().update(
        grey if seen is None else seen(grey),
        d if unseen is None else unseen(d),
        camera.normalised_grid(256, 192),
        camera,
        MarkerOptions(size=size, id=id),
        proportional=proportional,
    )
    return made, inverse, d


def deviation(found: ScaleShift, d: np.ndarray) -> np.ndarray:
    """Of 1/Z in every pixel, by the covariance."""
    scale, both, shift = found.covariance
    return np.sqrt(np.maximum(scale * d * d + 2 * both * d + shift, 0))


@pytest.mark.parametrize('camera', [PLAIN, LENS, FISHEYE], ids=['plain', 'lens', 'fisheye'])
@pytest.mark.parametrize('z_m', [0.6, 1.5, 3.5])
def test_the_distance_of_a_marker(camera, z_m):
    """In the corner of the picture, tilted: within one per cent, and as sure as it says."""
    middle = -0.35 * z_m, 0.2 * z_m, z_m
    grey, _ = view(camera, [(11, 0.2, middle, (0.5, -0.4))], wall_m=8.0, floor_m=3.0)
    (marker,) = MarkerDetector().find(grey)
    assert marker.number == 11
    pose = marker_pose(marker, grey, camera, 0.2, 8)
    assert isinstance(pose, MarkerPose)
    assert pose.z_m == pytest.approx(z_m, rel=0.01)
    assert abs(pose.z_m / z_m - 1) < 2.5 * pose.sigma
    assert pose.sigma < 0.02
    assert pose.plane @ (np.array(middle) / z_m) == pytest.approx(1 / z_m, rel=0.01)


@pytest.mark.parametrize('camera', [PLAIN, LENS], ids=['plain', 'lens'])
def test_two_markers_give_scale_and_shift(camera):
    found, inverse, d = fit([NEAR, FAR], camera)
    assert isinstance(found, ScaleShift)
    assert (found.source, found.points) == ('marker', 2)
    np.testing.assert_allclose(1 / found.depth(d, max_depth_m=100.0), inverse, rtol=0.05)
    off = np.abs(found.inverse_depth(d) - inverse)
    assert (off < 2 * deviation(found, d)).all()


@pytest.mark.parametrize('wall_m', [2.0, 3.0, 30.0])
def test_one_marker_is_sure_of_what_is_as_near_as_itself(wall_m):
    """What is farther may be wrong, and is said to be: a wall is not taken for the horizon."""
    found, inverse, d = fit([ALONE], wall_m=wall_m)
    assert isinstance(found, ScaleShift)
    off, sigma = np.abs(found.inverse_depth(d) - inverse), deviation(found, d)
    assert (off < 2 * sigma).all()
    here = np.abs(inverse * ALONE[2][2] - 1) < 0.02
    assert here.sum() > 200
    assert (off[here] / inverse[here]).max() < 0.05
    assert (sigma[here] / inverse[here]).max() < 0.25
    wall = np.abs(inverse * wall_m - 1) < 0.01
    assert (sigma[wall] / inverse[wall]).min() > 0.25


def test_of_a_network_without_shift_one_marker_is_enough():
    found, inverse, d = fit([ALONE], proportional=True, wall_m=2.5)
    assert isinstance(found, ScaleShift)
    assert (found.shift, found.covariance[1:]) == (0.0, (0.0, 0.0))
    assert found.scale == pytest.approx(SCALE, rel=0.02)
    assert (np.abs(found.inverse_depth(d) - inverse) < 2 * deviation(found, d)).all()


def test_a_network_that_errs_at_the_marker_is_within_the_deviation():
    """5 % at one place, which nothing in the picture shows: counted over 40 networks."""
    grey, depth = view(PLAIN, [NEAR, FAR])
    inverse = cv2.resize(1 / depth, (256, 192), interpolation=cv2.INTER_AREA)
    random, shares = np.random.default_rng(5), []
    for _ in range(40):
        bumps = cv2.resize(random.normal(0, 1, (6, 8)), (256, 192), interpolation=cv2.INTER_CUBIC)
        d = ((inverse - SHIFT) / SCALE).astype(np.float32)
        # Of 1/Z, of which d is a part.
        bent = d + (0.05 * bumps / bumps.std() * inverse / SCALE).astype(np.float32)
        found = MarkerScale().update(
            grey, bent, PLAIN.normalised_grid(256, 192), PLAIN, MarkerOptions(size=SIZE_M)
        )
        assert isinstance(found, (ScaleShift, Refusal))
        if isinstance(found, ScaleShift):  # the error of the fit, not of the bumps
            off, sigma = np.abs(found.inverse_depth(d) - inverse), deviation(found, d)
            shares.append([(off < sigma).mean(), (off < 2 * sigma).mean()])
    assert len(shares) > 30
    one, two = np.mean(shares, axis=0)
    assert one > 0.6
    assert two > 0.9


REFUSED = {
    'no marker': ({'markers': []}, 'no marker of DICT_APRILTAG_36h11'),
    'another number': ({'markers': [ALONE], 'id': 4}, 'marker 4 is not seen, only 3'),
    'size not set': ({'markers': [ALONE], 'size': math.nan}, r'marker\.size is not set'),
    'the farthest thing': (
        {'markers': [(3, SIZE_M, (0.0, 0.0, 2.0), (0.0, 0.0))], 'wall_m': 2.05},
        'farthest things in view',
    ),
    'two sizes': (
        {'markers': [NEAR, (7, SIZE_M / 2, (0.4, -0.1, 2.0), (0.0, 0.0))], 'wall_m': 4.0},
        r'marker\.size',
    ),
    'nearer is not larger': (
        {'markers': [NEAR, FAR], 'unseen': lambda d: 1 - d},
        'farthest|disagr',
    ),
    'blurred': (
        {'markers': [ALONE], 'seen': lambda grey: cv2.blur(grey, (14, 1))},
        'blurred|no marker',
    ),
    'hardly any contrast': (
        {
            'markers': [ALONE],
            'seen': lambda grey: (130 + 0.03 * grey).astype(np.uint8),
            'noise': 0.0,
        },
        'contrast|no marker',
    ),
    'covered in the depth': (
        {'markers': [ALONE], 'unseen': lambda d: np.where(d < 0.38, d, np.nan).astype(np.float32)},
        'too small for the network',
    ),
    'no depth': ({'markers': [ALONE], 'unseen': lambda d: d * np.nan}, 'no valid values'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_cannot_be_relied_on_is_refused(name):
    scene, reason = REFUSED[name]
    found, _, _ = fit(**scene)
    assert isinstance(found, Refusal)
    assert re.search(reason, found.reason), found.reason


@pytest.mark.parametrize('side_px', [4, 8, 11, 14, 18])
def test_a_small_marker_is_refused_or_right(side_px):
    z_m = 3.0
    side = side_px * z_m / PLAIN.fx
    found, inverse, d = fit([(3, side, (0.1, 0.1, z_m), (0.6, 0.0))], size=side, wall_m=20.0)
    if isinstance(found, Refusal):
        assert found.reason
    else:
        assert (np.abs(found.inverse_depth(d) - inverse) < 2 * deviation(found, d)).all()


@pytest.mark.parametrize('pixels', [6, 10, 15, 20])
def test_a_marker_blurred_by_motion_is_refused_or_right(pixels):
    found, inverse, d = fit(
        [(3, SIZE_M, (0.1, 0.05, 1.0), (0.2, 0.0))],
        proportional=True,
        seen=lambda grey: cv2.blur(grey, (pixels, 1)),
    )
    if isinstance(found, ScaleShift):
        assert (np.abs(found.inverse_depth(d) - inverse) < 2 * deviation(found, d)).all()


def test_a_marker_in_a_large_picture():
    """Which is reduced before it is searched."""
    large = PLAIN.scaled(1800, 1350)
    found, inverse, d = fit([NEAR, FAR], large, finer=1)
    assert isinstance(found, ScaleShift)
    np.testing.assert_allclose(found.inverse_depth(d), inverse, rtol=0.05)


def test_noise_and_patterns_are_no_markers():
    random = np.random.default_rng(1)
    detector = MarkerDetector()
    for _ in range(5):
        coarse = random.integers(0, 2, (24, 32), np.uint8) * 255
        assert not detector.find(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_NEAREST))
        assert not detector.find(random.integers(0, 256, (480, 640), np.uint8))


def test_every_dictionary_that_can_be_chosen_is_there():
    for name in MARKER_DICTIONARIES:
        if hasattr(cv2.aruco, name):
            assert 6 <= MarkerDetector(name).cells <= 10


def test_an_opencv_without_markers_says_what_to_install(monkeypatch):
    with pytest.raises(MarkerError, match=r'no DICT_OF_NOBODY.*python3-opencv'):
        MarkerDetector('DICT_OF_NOBODY')
    monkeypatch.delattr(cv2, 'aruco')
    with pytest.raises(MarkerError, match=r'no cv2\.aruco.*choose another scale\.source'):
        MarkerDetector()
