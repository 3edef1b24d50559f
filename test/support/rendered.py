"""Rendered views with known answers, and pictures without a floor, for the tests of closeness."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import Box, Cylinder, Pose, Room, Scene, Sphere, render

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
HALL = Room(-40, 40, -40, 40, height_m=20)  # walls too far to be near


@dataclasses.dataclass(frozen=True)
class View:
    """A rendered scene: exact inverse depth (h, w) float64, and the expected closeness."""

    inverse_depth: np.ndarray
    camera: CameraModel
    pose: Pose

    @property
    def floor_edge(self) -> float:
        """1/Z of the floor at the middle of the bottom row, by closed form."""
        x, y = self.camera.normalised_grid()
        middle = slice((self.camera.width - 1) // 2, self.camera.width // 2 + 1)
        cos, roll = math.cos(self.pose.pitch_rad), self.pose.roll_rad
        across, down = float(x[-1, middle].mean()), float(y[-1, middle].mean())
        return (
            cos * (math.sin(roll) * across + math.cos(roll) * down) + math.sin(self.pose.pitch_rad)
        ) / self.pose.z_m

    def closeness_of(self, depth_m: float) -> float:
        """Closeness of something at this depth."""
        return 1 / depth_m / self.floor_edge

    def d(self, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
        """Return d as from a network: float32, with a scale and shift."""
        return (self.inverse_depth * scale + shift).astype(np.float32)


def view(*solids, room=HALL, pose=None, camera=CAMERA) -> View:
    pose = pose or Pose(z_m=0.3, pitch_rad=0.1)
    depth = render(Scene(room=room, solids=solids), camera, pose).depth_z
    return View(1 / depth.astype(np.float64), camera, pose)


def post(depth_m: float, side: int, width_m: float = 0.3) -> Box:
    """A tall box whose front is `depth_m` ahead of a level camera, in sector -1, 0 or 1 (right)."""
    aside = side * depth_m * 2 / 3 * math.tan(math.radians(35))
    return Box(depth_m + 0.1, -aside, 0.2, width_m * depth_m, 2.0)


def random_view(rng: np.random.Generator) -> View:
    """Return a room with a few objects, seen by a random camera."""
    height, fov = rng.uniform(0.15, 1.3), math.radians(rng.uniform(50, 95))
    camera = CameraModel.from_field_of_view(256, 192, fov)
    pose = Pose(
        z_m=height,
        yaw_rad=rng.uniform(-0.5, 0.5),
        pitch_rad=rng.uniform(-0.03, 0.35),
        roll_rad=rng.uniform(-0.2, 0.2),
    )
    half = rng.uniform(1.2, 4) * max(1, 2 * height)
    room = Room(-half, rng.uniform(3, 12) * max(1, 1.7 * height), -half, half, max(2.5, height + 1))
    solids = []
    for _ in range(rng.integers(0, 5)):
        ahead = rng.uniform(1.2, 5) * max(0.5, 2.3 * height)
        bearing = pose.yaw_rad + rng.uniform(-0.4, 0.4) * fov
        x, y = ahead * math.cos(bearing), ahead * math.sin(bearing)
        if rng.random() < 0.5:
            size = rng.uniform(0.1, 0.6, 2)
            solids.append(Box(x, y, *size, rng.uniform(0.15, 1.2), rng.uniform(-0.7, 0.7)))
        else:
            solids.append(Cylinder(x, y, rng.uniform(0.04, 0.25), rng.uniform(0.2, 1.5)))
    return view(*solids, room=room, pose=pose, camera=camera)


def _wall(rng: np.random.Generator) -> np.ndarray:
    """Inverse depth of a wall that fills the picture: turned, the camera tilted and rolled."""
    camera = CameraModel.from_field_of_view(256, 192, math.radians(rng.uniform(50, 95)))
    x, y = camera.normalised_grid()
    pose = Pose(
        yaw_rad=rng.uniform(-1, 1),
        pitch_rad=rng.uniform(-0.35, 0.35),
        roll_rad=rng.uniform(-0.2, 0.2),
    )
    normal = pose.optical_axes.T @ np.array([1.0, 0.0, 0.0])
    return (normal[0] * x + normal[1] * y + normal[2]) / rng.uniform(0.3, 3)


def _corner(rng: np.random.Generator) -> np.ndarray:
    return (np.minimum if rng.random() < 0.5 else np.maximum)(_wall(rng), _wall(rng))


def _white_noise(rng: np.random.Generator) -> np.ndarray:
    return rng.random((192, 256))


def _smooth(rng: np.random.Generator, size: float) -> np.ndarray:
    """Noise of deviation 1, smoothed over `size` pixels."""
    noise = cv2.GaussianBlur(rng.standard_normal((48, 64)), (0, 0), size / 4)
    return cv2.resize(noise / noise.std(), (256, 192), interpolation=cv2.INTER_CUBIC)


def _clouds(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of one size."""
    return _smooth(rng, 2 ** rng.uniform(2, 7))


def _landscape(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of several sizes, as a network may answer to an empty picture."""
    return sum(
        weight * _smooth(rng, size) for weight, size in ((1, 64), (0.5, 32), (0.25, 16), (0.12, 8))
    )


def _dark(rng: np.random.Generator) -> np.ndarray:
    return np.full((192, 256), rng.uniform(0, 5))


def _sky(rng: np.random.Generator) -> np.ndarray:
    return np.zeros((192, 256)) + np.linspace(0, 1, 192)[:, None] * rng.uniform(0, 1e-7)


def _blocked(rng: np.random.Generator) -> np.ndarray:
    """A box that covers the whole lower part; the room is visible above it."""
    height = rng.uniform(0.15, 0.5)
    pose = Pose(
        z_m=height,
        yaw_rad=rng.uniform(-0.4, 0.4),
        pitch_rad=rng.uniform(-0.1, 0.05),
        roll_rad=rng.uniform(-0.1, 0.1),
    )
    box = Box(0.25 * height / 0.15 + 0.3, 0, 0.6, 9, height * rng.uniform(0.95, 2))
    return view(box, room=Room(-5, rng.uniform(4, 9), -6, 6), pose=pose).inverse_depth


def _ball(rng: np.random.Generator) -> np.ndarray:
    """A large ball close to the camera."""
    ball = Sphere(0.75, rng.uniform(-0.1, 0.1), 0.3, rng.uniform(0.5, 0.6))
    pose = Pose(z_m=0.3, pitch_rad=rng.uniform(-0.1, 0.1))
    return view(ball, room=Room(-5, rng.uniform(3, 9), -3, 3), pose=pose).inverse_depth


def _clutter(rng: np.random.Generator) -> np.ndarray:
    """A wall with flat objects before it."""
    d = _wall(rng)
    for _ in range(rng.integers(1, 6)):
        x, y, w, h = rng.integers((0, 0, 10, 10), (236, 172, 120, 120))
        d[y : y + h, x : x + w] += rng.uniform(0.05, 1)
    return d


FLOORLESS = {
    'wall': _wall,
    'corner of two walls': _corner,
    'white noise': _white_noise,
    'clouds': _clouds,
    'landscape': _landscape,
    'darkness': _dark,
    'sky': _sky,
    'blocked': _blocked,
    'ball': _ball,
    'clutter on a wall': _clutter,
}


def floorless(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return (192, 256) float32 of a picture without a floor, with noise, scale and shift."""
    d = FLOORLESS[kind](rng)
    if kind != 'darkness':
        d = d * (1 + rng.choice([0.0, 0.01, 0.03]) * rng.standard_normal(d.shape))
    return (d * rng.uniform(0.1, 100) + rng.uniform(-1, 1)).astype(np.float32)
