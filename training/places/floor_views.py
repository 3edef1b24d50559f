"""Random views with exact inverse depth, for measuring: rooms with a floor, and views without one.

Views without a floor (a wall, a ramp, a box before the lens, darkness ...) test whether something
is mistaken for one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.scene.render import render
from midas_depth_ros.sim.scene.scene import Box, Cylinder, Pose, Room, Scene, Solid

SIZE = (256, 192)
HORIZON_ROWS = 0.12  # of the picture lie above the horizon, at least


@dataclasses.dataclass(frozen=True)
class RandomView:
    """inverse_depth: (h, w) float64 exact 1/Z in 1/m. floor: (h, w) bool, where floor is seen."""

    kind: str
    inverse_depth: np.ndarray
    floor: np.ndarray
    camera: CameraModel
    pose: Pose


def random_camera(
    rng: np.random.Generator, height_m: float | None = None
) -> tuple[CameraModel, Pose]:
    """A camera with the horizon in view, `height_m` or 0.15 to 1 m high."""
    camera = CameraModel.from_field_of_view(*SIZE, math.radians(rng.uniform(55, 95)))
    lowest = math.atan((0.5 - HORIZON_ROWS) * camera.height / camera.fy)
    pitch = rng.uniform(-0.05, min(0.35, lowest))
    roll = rng.choice([0.0, rng.uniform(-0.15, 0.15)])
    height = rng.uniform(0.15, 1.0)
    return camera, Pose(z_m=height_m or height, pitch_rad=pitch, roll_rad=float(roll))


def room_view(rng: np.random.Generator, height_m: float | None = None) -> RandomView:
    """A room with a few boxes and poles, 0.5 m away and more."""
    return _rendered('room', *random_room(rng, height_m))


def random_room(
    rng: np.random.Generator, height_m: float | None = None
) -> tuple[Scene, CameraModel, Pose]:
    """The scene of `room_view`, its camera, and where that is."""
    camera, pose = random_camera(rng, height_m)
    pose = dataclasses.replace(pose, yaw_rad=rng.uniform(-0.6, 0.6))
    half, ahead = rng.uniform(1.0, 5), rng.uniform(2.5, 12)
    room = Room(-half, ahead, -half, half, max(2.4, pose.z_m + 1))
    solids = [_solid(rng, camera, pose, room) for _ in range(rng.integers(0, 6))]
    return Scene(room=room, solids=tuple(solids)), camera, pose


def _rendered(kind: str, scene: Scene, camera: CameraModel, pose: Pose) -> RandomView:
    rendering = render(scene, camera, pose)
    inverse = 1 / rendering.depth_z.astype(np.float64)
    return RandomView(kind, inverse, rendering.floor_mask, camera, pose)


def _solid(rng: np.random.Generator, camera: CameraModel, pose: Pose, room: Room) -> Solid:
    fov = 2 * math.atan(0.5 * camera.width / camera.fx)
    bearing = pose.yaw_rad + rng.uniform(-0.5, 0.5) * fov
    width = rng.uniform(0.1, 0.6)
    away = rng.uniform(0.5, 4.5) + 0.5 * width
    x, y = away * math.cos(bearing), away * math.sin(bearing)
    height = rng.uniform(0.12, 1.2)
    if rng.random() < 0.5:
        return Box(x, y, width, rng.uniform(0.1, 0.6), height, rng.uniform(-0.7, 0.7))
    return Cylinder(x, y, 0.5 * min(width, 0.4), height)


def _rays(camera: CameraModel, pose: Pose) -> np.ndarray:
    """(3, h, w) rays in the world, 1 long along the optical axis."""
    x, y = (axis.astype(np.float64) for axis in camera.normalised_grid())
    return np.einsum('ij,jhw->ihw', pose.optical_axes, np.stack([x, y, np.ones_like(x)]))


def _plane(camera: CameraModel, pose: Pose, normal: np.ndarray, distance_m: float) -> np.ndarray:
    """1/Z of the plane normal . (p - camera) = distance; 0 where the rays miss it."""
    return np.maximum(np.einsum('i,ihw->hw', normal, _rays(camera, pose)) / distance_m, 0)


def _bare(kind: str, inverse: np.ndarray, camera: CameraModel, pose: Pose) -> RandomView:
    return RandomView(kind, inverse, np.zeros(inverse.shape, bool), camera, pose)


def wall_view(rng: np.random.Generator) -> RandomView:
    """A wall so near that it fills the picture."""
    camera, pose = random_camera(rng)
    return _bare('wall', _wall(rng, camera, pose, rng.uniform(-0.9, 0.9)), camera, pose)


def _wall(rng: np.random.Generator, camera: CameraModel, pose: Pose, turn: float) -> np.ndarray:
    """A wall that hides the floor: its foot is below the picture."""
    normal, rays = np.array([math.cos(turn), math.sin(turn), 0.0]), _rays(camera, pose)
    facing = np.einsum('i,ihw->hw', normal, rays)
    with np.errstate(divide='ignore', invalid='ignore'):
        foot = np.where((facing > 0) & (rays[2] < 0), facing * pose.z_m / -rays[2], np.inf)
    nearest_floor = float(foot.min()) if np.isfinite(foot).any() else 1.0
    return _plane(camera, pose, normal, nearest_floor * rng.uniform(0.4, 0.98))


def tilted_wall_view(rng: np.random.Generator) -> RandomView:
    """A wall that fills the picture of a camera that looks up, or whose wall leans back."""
    camera, pose = random_camera(rng)
    lean = rng.uniform(0.05, 0.6)
    normal = np.array([math.cos(lean), rng.uniform(-0.3, 0.3), -math.sin(lean)])
    normal /= np.linalg.norm(normal)
    return _bare('leaning wall', _plane(camera, pose, normal, rng.uniform(0.2, 1)), camera, pose)


def corner_view(rng: np.random.Generator) -> RandomView:
    """Two walls that meet, and nothing else."""
    camera, pose = random_camera(rng)
    turns = rng.uniform(-0.9, 0), rng.uniform(0, 0.9)
    walls = [_wall(rng, camera, pose, turn) for turn in turns]
    return _bare('corner', np.maximum(*walls), camera, pose)


def ramp_view(rng: np.random.Generator, steepness: tuple[float, float] = (6, 35)) -> RandomView:
    """A ramp up that begins at the bottom of the picture and fills it as far as it goes."""
    camera, pose = random_camera(rng)
    slope, turn = math.radians(rng.uniform(*steepness)), rng.uniform(-0.3, 0.3)
    normal = np.array([
        math.sin(slope) * math.cos(turn), math.sin(slope) * math.sin(turn), -math.cos(slope)
    ])  # fmt: skip
    start = rng.uniform(0, 0.5) * pose.z_m / math.tan(pose.pitch_rad + 0.3)
    distance = pose.z_m * math.cos(slope) + start * math.sin(slope)
    return _bare('ramp', _plane(camera, pose, normal, distance), camera, pose)


def ramp_down_view(rng: np.random.Generator) -> RandomView:
    """A ramp down that begins at the bottom of the picture, under an open sky."""
    return dataclasses.replace(ramp_view(rng, (-30, -6)), kind='ramp down')


def ramp_to_a_wall_view(rng: np.random.Generator) -> RandomView:
    """A ramp up that ends at a wall below the height of the camera."""
    ramp = ramp_view(rng)
    rows = np.nonzero(_rays(ramp.camera, ramp.pose)[2] > 0)
    highest = float(ramp.inverse_depth[rows].max())  # of the ramp, at the horizon
    ahead = _rays(ramp.camera, ramp.pose)[0]
    wall = np.maximum(ahead, 0) * highest * rng.uniform(1.1, 2.5)
    inverse = np.maximum(ramp.inverse_depth, wall)
    return dataclasses.replace(ramp, kind='ramp to a wall', inverse_depth=inverse)


def darkness_view(rng: np.random.Generator) -> RandomView:
    """Nothing: one value everywhere, or noise around it."""
    camera, pose = random_camera(rng)
    shape = (camera.height, camera.width)
    inverse = np.full(shape, rng.uniform(0, 2))
    if rng.random() < 0.5:
        inverse = inverse + 0.02 * rng.standard_normal(shape)
    return _bare('darkness', inverse, camera, pose)


def blocked_view(rng: np.random.Generator) -> RandomView:
    """A box right before the camera that hides all floor; the room shows above it."""
    camera, pose = random_camera(rng)
    room = Room(-5, rng.uniform(3, 9), -6, 6, 2.6)
    lowest = math.atan(0.5 * camera.height / camera.fy) + pose.pitch_rad
    # Rolled, the picture's corner sees the floor from nearer than its middle.
    reach = 0.8 * pose.z_m / math.tan(min(1.4, lowest + 1.2 * abs(pose.roll_rad)))
    front = max(0.06, rng.uniform(0.5, 0.95) * reach)
    box = Box(front + 0.3, 0, 0.6, 9, pose.z_m * rng.uniform(0.85, 1.6))
    return _rendered('blocked', Scene(room=room, solids=(box,)), camera, pose)


def cliff_view(
    rng: np.random.Generator, drop_m: tuple[float, float] = (0.2, 1.0)
) -> tuple[RandomView, float]:
    """A floor that ends, a lower one beyond it and a wall behind; and metres ahead to the edge.

    drop_m: least and most by which the other floor is lower.
    """
    camera, pose = random_camera(rng)
    rays = _rays(camera, pose)
    ground = -rays[2] / pose.z_m
    edge = rng.uniform(1.4, 3.5) / float(ground.max())
    below = rng.uniform(*drop_m)
    with np.errstate(divide='ignore', invalid='ignore'):
        lower = (ground > 0) & (rays[0] / ground > edge)
    inverse = np.where(lower, ground * pose.z_m / (pose.z_m + below), np.maximum(ground, 0))
    inverse = np.maximum(inverse, rays[0] / rng.uniform(4, 8))
    return RandomView('cliff', inverse, (ground > 0) & ~lower, camera, pose), edge


def points_of(view: RandomView) -> np.ndarray:
    """(3, h, w) float64: x ahead, y left, z up from the floor below the camera, metres."""
    x, y = (axis.astype(np.float64) for axis in view.camera.normalised_grid())
    axes = dataclasses.replace(view.pose, yaw_rad=0.0).optical_axes
    with np.errstate(divide='ignore', invalid='ignore'):
        z = 1 / view.inverse_depth
        points: np.ndarray = np.einsum('ij,jhw->ihw', axes, np.stack([x * z, y * z, z]))
    points[2] += view.pose.z_m
    return points


def nearest_ahead(
    view: RandomView, width_m: float, heights_m: tuple[float, float], pixels: int
) -> float:
    """Metres ahead to an obstacle in a corridor `width_m` wide, between two heights; inf: none.

    An obstacle counts where `pixels` of it are seen within the first tenth of its distance.
    """
    x, y, z = points_of(view)
    hit = ~view.floor & (z >= heights_m[0]) & (z <= heights_m[1]) & (x > 0)
    ahead = np.sort(x[hit & (np.abs(y) <= 0.5 * width_m)])
    within = np.searchsorted(ahead, 1.1 * ahead, side='right') - np.arange(len(ahead))
    enough = np.flatnonzero(within >= pixels)
    return float(ahead[enough[0]]) if len(enough) else math.inf


FLOORLESS: dict[str, Callable[[np.random.Generator], RandomView]] = {
    'wall': wall_view,
    'leaning wall': tilted_wall_view,
    'corner': corner_view,
    'ramp': ramp_view,
    'darkness': darkness_view,
    'blocked': blocked_view,
}


def step_view(rng: np.random.Generator) -> RandomView:
    """A low platform before the camera, whose top is all that looks like a floor."""
    camera, pose = random_camera(rng)
    room = Room(-5, rng.uniform(3, 9), -6, 6, 2.6)
    height = pose.z_m * rng.uniform(0.3, 0.8)
    step = Box(5.05, 0, 10, 11.9, height)
    return _rendered('step', Scene(room=room, solids=(step,)), camera, pose)


# One picture of relative inverse depth cannot tell these from a level floor.
AMBIGUOUS: dict[str, Callable[[np.random.Generator], RandomView]] = {
    'ramp down': ramp_down_view,
    'ramp to a wall': ramp_to_a_wall_view,
    'step at its feet': step_view,
}


def disturbed(
    view: RandomView,
    rng: np.random.Generator,
    *,
    noise: float = 0.0,
    smooth: float = 0.0,
    outliers: float = 0.0,
) -> tuple[np.ndarray, float, float]:
    """(d float32, scale, shift): 1/Z = scale * d + shift, both random, like a network's output.

    noise, smooth: standard deviation as a share of 1/Z, of independent pixels and of bumps some 25
    pixels wide. outliers: share of pixels with a random value.
    """
    shape = view.inverse_depth.shape
    inverse = view.inverse_depth * (1 + noise * rng.standard_normal(shape))
    if smooth:
        bumps = cv2.GaussianBlur(rng.standard_normal((shape[0] // 2, shape[1] // 2)), (0, 0), 12)
        bumps = cv2.resize(bumps / bumps.std(), shape[::-1], interpolation=cv2.INTER_CUBIC)
        inverse *= 1 + smooth * bumps
    if outliers:
        wrong = rng.random(shape) < outliers
        inverse[wrong] = rng.uniform(0, inverse.max(), int(wrong.sum()))
    scale, shift = 10 ** rng.uniform(-3, 1), rng.uniform(-2, 2)
    return ((inverse - shift) / scale).astype(np.float32), scale, shift
