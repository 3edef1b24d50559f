"""What the shipped model says about scenes of which we know what is near.

The bounds are what was measured when the model was shipped, with some room; a better model may
tighten them. `test/nodes/test_meaning.py` asks the same over the running node.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from known_scenes import (
    CARTON,
    CRATE,
    FLOORS,
    HEIGHT,
    WIDTH,
    box,
    jpeg,
    order_kept,
    scene_of,
    view,
    within,
)

from midas_depth_ros.depth import DepthEstimator, load_estimator
from midas_depth_ros.geometry import closeness
from midas_depth_ros.sim import Material


@pytest.fixture(scope='module')
def estimator() -> DepthEstimator:
    return load_estimator('embedded')


@pytest.mark.sampled
@pytest.mark.parametrize('floor', FLOORS)
@pytest.mark.parametrize('side', [1, -1])
@pytest.mark.parametrize('materials', [(CARTON, CRATE), (CRATE, CARTON)])
def test_the_nearer_of_two_boxes_comes_out_nearer(
    estimator: DepthEstimator, floor: str, side: int, materials: tuple[Material, Material]
) -> None:
    near, far = materials
    scene = scene_of(box(1.3, 0.4 * side, near), box(3.0, -0.6 * side, far), floor=floor)
    depth = estimator.estimate(view(scene).rgb)
    assert depth[within(scene, 0)].mean() > 1.2 * depth[within(scene, 1)].mean()


@pytest.mark.parametrize('side', ['left', 'right'])
def test_an_approaching_box_raises_closeness_in_its_sector(
    estimator: DepthEstimator, side: str
) -> None:
    y = 0.28 if side == 'left' else -0.28
    there, mirrored = [], []
    other = 'right' if side == 'left' else 'left'
    for x in (3.2, 2.2, 1.5, 1.05):
        rgb = view(scene_of(box(x, y * x, CRATE, 0.4))).rgb
        there.append(getattr(closeness(estimator.infer(rgb)), side))
        flipped = np.ascontiguousarray(rgb[:, ::-1])
        mirrored.append(getattr(closeness(estimator.infer(flipped)), other))
    for values in (there, mirrored):
        assert np.isfinite(values).all(), values
        assert values[-1] > values[0] + 0.2, values
        assert values == sorted(values), values


@pytest.mark.parametrize('floor', FLOORS)
def test_the_empty_floor_falls_off_with_distance(estimator: DepthEstimator, floor: str) -> None:
    rendering = view(scene_of(floor=floor))
    depth = estimator.estimate(rendering.rgb)
    middle = depth[:, WIDTH // 3 : 2 * WIDTH // 3].mean(axis=1)
    rows = np.flatnonzero(rendering.floor_mask.all(axis=1))
    falling = middle[rows[:: HEIGHT // 24]]
    assert len(falling) > 8
    assert (np.diff(falling) > 0).all(), falling


def test_a_mirrored_picture_gives_mirrored_depth(estimator: DepthEstimator) -> None:
    rgb = view(scene_of(box(1.4, 0.5), box(2.4, -0.5, CRATE))).rgb
    depth = estimator.infer(rgb)
    mirrored = estimator.infer(np.ascontiguousarray(rgb[:, ::-1]))[:, ::-1]
    assert np.abs(depth - mirrored).mean() < 0.05 * np.ptp(depth)
    assert order_kept(depth, mirrored) > 0.97


def turned(rgb: np.ndarray, degrees: float) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 1.0)
    return cv2.warpAffine(rgb, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


CHANGES = {
    'half as bright': (lambda rgb: cv2.convertScaleAbs(rgb, alpha=0.5), 0.95),
    'brighter': (lambda rgb: cv2.convertScaleAbs(rgb, alpha=1.4), 0.95),
    'less contrast': (lambda rgb: cv2.convertScaleAbs(rgb, alpha=0.6, beta=50), 0.95),
    'JPEG 90': (lambda rgb: jpeg(rgb, 90), 0.98),
    'JPEG 30': (lambda rgb: jpeg(rgb, 30), 0.95),
    'grey': (lambda rgb: np.repeat(rgb.mean(axis=2, keepdims=True).astype(np.uint8), 3, 2), 0.95),
    'turned by 3 degrees': (lambda rgb: turned(rgb, 3), 0.93),
}


@pytest.mark.parametrize('name', CHANGES)
def test_order_survives_what_cameras_do(estimator: DepthEstimator, name: str) -> None:
    change, bound = CHANGES[name]
    rgb = view(scene_of(box(1.4, 0.5), box(2.4, -0.5, CRATE))).rgb
    assert order_kept(estimator.infer(rgb), estimator.infer(change(rgb))) > bound


def test_a_picture_upside_down_is_answered(estimator: DepthEstimator) -> None:
    rgb = np.ascontiguousarray(view(scene_of(box(1.4, 0.5))).rgb[::-1])
    depth = estimator.infer(rgb)
    assert np.isfinite(depth).all()
    assert depth.min() >= 0
    assert not closeness(depth).known or np.isfinite(closeness(depth).centre)
