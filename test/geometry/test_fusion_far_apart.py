"""Fusion of pictures that are far apart: what both show is steadier, the rest starts anew."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, DepthFusion
from midas_depth_ros.geometry.rays import Rays, sampled
from midas_depth_ros.options.metric import FusionOptions
from midas_depth_ros.sim import Box, Material, Pose, Room, Scene, furnished_world, render

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
GRID = CAMERA.normalised_grid()
RAYS = Rays().of(GRID, (192, 256))
NOISE = 0.04
THIRD_RAD = 0.36  # a turn that moves the picture by a third of its width
FORWARD_M = 0.4
CRATE = Material((0.9, 0.2, 0.1), 'tiles', (0.1, 0.1))


@dataclasses.dataclass
class Frame:
    """1/Z fused, alone and true, the pose and the share of pixels that were fused."""

    fused: np.ndarray
    alone: np.ndarray
    true: np.ndarray
    matrix: np.ndarray
    share: float

    def off(self, inverse: np.ndarray, among: np.ndarray) -> float:
        return float(np.median(np.abs(inverse / self.true - 1)[among]))


def with_solids(view, pose: Pose, solids) -> tuple[np.ndarray, np.ndarray]:
    """Picture and depth of a view, with solids before it."""
    room = Room(-30.0, 30.0, -30.0, 30.0)
    bare, full = (render(Scene(room=room, solids=s), CAMERA, pose) for s in ((), solids))
    solid = (full.depth_z < 0.999 * bare.depth_z) & (full.depth_z < view.depth_z)
    rgb = np.where(solid[..., None], full.rgb, view.rgb)
    return rgb, np.where(solid, full.depth_z, view.depth_z)


class Jumps:
    """A fusion that sees a world from poses that are far apart, and knows none of them."""

    def __init__(self, seed: int = 14, noise: float = NOISE) -> None:
        self.world, self.noise = furnished_world(seed), noise
        self.fusion = DepthFusion(FusionOptions(enabled=True))
        self.rng, self.time_s = np.random.default_rng(6), 0.0

    def see(
        self, forward_m: float, turn_rad: float, line: tuple[float, float] = (1.0, 0.0), *solids
    ) -> Frame:
        """Add a frame. line: scale and shift (1/m) of its 1/Z, which a network's differ by."""
        x, y, yaw = self.world.start
        x, y = x + forward_m * math.cos(yaw), y + forward_m * math.sin(yaw)
        pose = Pose(x, y, 0.3, yaw + turn_rad, 0.2)
        rgb, depth_z = with_solids(self.world.render(CAMERA, pose), pose, solids)
        true = (1 / depth_z).astype(np.float32)
        alone = true * np.float32(line[0]) + np.float32(line[1])
        alone *= 1 + np.float32(self.noise) * self.rng.standard_normal(true.shape, np.float32)
        self.time_s += 0.5
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        fused, self.sigma = self.fusion.update(self.time_s, alone, 0.1 * alone, grey, GRID, None)
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = pose.optical_axes, pose.position
        return Frame(fused, alone, true, matrix, self.fusion.share_fused)


def seen_before(now: Frame, before: Frame) -> np.ndarray:
    """Which pixels show what the frame before shows, too."""
    step = np.linalg.inv(before.matrix) @ now.matrix
    places, _ = RAYS.places(now.true, step)
    along = step[2, 0] * RAYS.x + step[2, 1] * RAYS.y + step[2, 2] + step[2, 3] * now.true
    with np.errstate(invalid='ignore'):
        return np.abs(sampled(before.true, places) * along / now.true - 1) < 0.02


JUMPS = {
    'turns': [(0.0, 0.0), (0.0, THIRD_RAD), (0.0, 0.0), (0.0, -THIRD_RAD), (0.0, 0.0)],
    'ways': [(FORWARD_M * step, 0.0) for step in range(4)],
    'both': [(0.0, 0.0), (0.2, THIRD_RAD), (0.4, 0.0), (0.6, THIRD_RAD)],
}


@pytest.mark.parametrize('name', JUMPS)
def test_what_both_pictures_show_is_fused(name):
    jumps, last, kept = Jumps(), None, []
    for pose in JUMPS[name]:
        now = jumps.see(*pose)
        if last is not None:
            assert jumps.fusion.motion == 'flow'
            both = seen_before(now, last)
            kept.append(now.off(now.fused, both) / now.off(now.alone, both))
            assert now.share > 0.6 * both.mean()
        last = now
    assert np.median(kept) < 0.85


def test_what_was_not_seen_before_starts_anew():
    jumps = Jumps()
    before, now = jumps.see(0.0, 0.0), jumps.see(0.0, THIRD_RAD)
    new = ~cv2.dilate(seen_before(now, before).astype(np.uint8), np.ones((9, 9))).view(bool)
    assert new.mean() > 0.2
    # It has the scale of the other pixels, and nothing of what was seen elsewhere.
    assert np.abs(now.fused / now.alone - 1)[new].max() < 0.03
    assert now.share < 1 - 0.9 * new.mean()


@pytest.mark.parametrize('line', [(1.15, 0.0), (0.9, 0.05), (1.1, -0.03)])
def test_a_scale_and_shift_of_one_view_hardly_show(line):
    jumps, first = Jumps(noise=0.01), None
    for index, (forward_m, turn_rad) in enumerate([(0, 0), (0.2, 0.1), (0.0, THIRD_RAD)]):
        now = jumps.see(forward_m, turn_rad, line if index == 2 else (1.0, 0.0))
        first = first or now
    assert now.share > 0.35
    known = now.true > 0.2
    assert now.off(now.fused, known) < 0.5 * now.off(now.alone, known)
    # Where a frame and its past disagree, it is less sure.
    assert np.quantile(jumps.sigma[known] / (0.1 * now.alone[known]), 0.9) > 1.1


def test_a_scale_that_stays_is_followed():
    jumps = Jumps(noise=0.01)
    for index in range(8):
        now = jumps.see(0.0, THIRD_RAD * (index % 2), (1.0 if index < 2 else 1.15, 0.0))
    assert np.median(now.fused / now.true) == pytest.approx(1.15, abs=0.04)


def test_what_has_come_meanwhile_is_there_at_once_and_leaves_no_ghost():
    jumps = Jumps(noise=0.01)
    x, y, yaw = jumps.world.start
    middle = yaw + 0.5 * THIRD_RAD
    box = Box(x + 1.0 * math.cos(middle), y + 1.0 * math.sin(middle), 0.3, 0.3, 0.6, material=CRATE)
    jumps.see(0.0, 0.0)
    empty = jumps.see(0.0, THIRD_RAD)
    jumps.see(0.0, 0.0)
    come = jumps.see(0.0, THIRD_RAD, (1.0, 0.0), box)
    on_box = come.true > 1.1 * empty.true
    assert on_box.sum() > 1000
    assert np.quantile(np.abs(come.fused / come.true - 1)[on_box], 0.99) < 0.06
    for turn_rad in (0.0, THIRD_RAD):
        gone = jumps.see(0.0, turn_rad)
        assert np.quantile(gone.fused / gone.true, 0.995) < 1.15
