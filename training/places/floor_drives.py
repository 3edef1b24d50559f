"""Short drives with exact inverse depth and textured pictures, for measuring what motion tells.

Each drive ends in a view like those of `floor_views` (a room, a ramp, a step, a wall before the
lens) and comes up to it on a level floor, so that corners can be tracked from frame to frame.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.scene.render import FLOOR, SIDE_WALL, SKY, Surfaces, paint, render
from midas_depth_ros.sim.scene.scene import Box, Material, Pose, Room, Scene, Solid
from training.places.floor_views import RandomView, random_camera, random_room

STEP_M, STEP_S = 0.05, 0.2  # between frames: 0.25 m/s at 5 Hz
FRAMES = 13  # 0.6 m
PICTURE = (320, 240)
CAMERA_NOISE = 3.0  # grey levels
MOST_TURN_PER_M = 0.3  # rad/m
LEAST_TO_WALL_M = 0.25
# Of the variance of smooth errors: what moves with the scene, and what stays in the picture; the
# rest is new in every frame.
WITH_SCENE, WITH_PICTURE = 0.5, 0.25
DRIFT = 0.03  # of scale, and of shift against the nearest 1/Z, from frame to frame


@dataclasses.dataclass(frozen=True)
class DriveFrame:
    """rgb: (H, W, 3) uint8 of `PICTURE`. view: exact inverse depth at `SIZE`; its pose has the
    frame's yaw. pose: (4, 4) float64, from the optical frame into the world.
    """

    stamp_s: float
    rgb: np.ndarray
    view: RandomView
    pose: np.ndarray


# --- Drives.


def room_drive(rng: np.random.Generator) -> list[DriveFrame]:
    """Through a room with things in it, on a gentle arc."""
    scene, camera, pose = random_room(rng)
    scene = dataclasses.replace(_textured(scene, rng), seed=int(rng.integers(8)))
    turn = rng.uniform(-MOST_TURN_PER_M, MOST_TURN_PER_M)
    return _driven(rng, lambda at: _of_scene('room', scene, camera, at), pose, turn)


def step_drive(rng: np.random.Generator) -> list[DriveFrame]:
    """Up to a low platform, until its top is all that looks like a floor."""
    camera, pose = random_camera(rng)
    room = Room(-5, rng.uniform(3, 9), -6, 6, 2.6)
    step = Box(5.05, 0, 10, 11.9, pose.z_m * rng.uniform(0.3, 0.8))
    scene = _textured(Scene(room=room, solids=(step,)), rng)
    step = dataclasses.replace(step, material=_floor_material(rng))
    scene = dataclasses.replace(scene, solids=(step,))
    return _driven(rng, lambda at: _of_scene('step', scene, camera, at), pose)


def ramp_down_drive(rng: np.random.Generator) -> list[DriveFrame]:
    """Up to a ramp down, under an open sky."""
    return _ramp_drive(rng, 'ramp down', (-30, -6), wall=False)


def ramp_to_a_wall_drive(rng: np.random.Generator) -> list[DriveFrame]:
    """Up to a ramp that ends at a wall below the height of the camera."""
    return _ramp_drive(rng, 'ramp to a wall', (6, 35), wall=True)


def wall_drive(rng: np.random.Generator) -> list[DriveFrame]:
    """Towards a wall that at last fills the picture."""
    camera, pose = random_camera(rng)
    turn = rng.uniform(-0.9, 0.9)
    normal = np.array([math.cos(turn), math.sin(turn), 0.0])
    rays = rays_of(camera, pose)
    facing = np.einsum('i,ihw->hw', normal, rays)
    with np.errstate(divide='ignore', invalid='ignore'):
        foot = np.where((facing > 0) & (rays[2] < 0), facing * pose.z_m / -rays[2], np.inf)
    nearest = float(foot.min()) if np.isfinite(foot).any() else 1.0
    distance = max(LEAST_TO_WALL_M, nearest * rng.uniform(0.4, 0.98))
    wall = Plane(normal, distance, (-normal[1], normal[0], 0.0), UP)
    return _driven(rng, _of_planes('wall', np.maximum, [_floor(pose), wall], camera, rng), pose)


AMBIGUOUS_DRIVES: dict[str, Callable[[np.random.Generator], list[DriveFrame]]] = {
    'ramp down': ramp_down_drive,
    'ramp to a wall': ramp_to_a_wall_drive,
    'step at its feet': step_drive,
}


def _ramp_drive(
    rng: np.random.Generator, kind: str, steepness: tuple[float, float], *, wall: bool
) -> list[DriveFrame]:
    """As `floor_views.ramp_view`, with the level floor before it."""
    camera, pose = random_camera(rng)
    slope, turn = math.radians(rng.uniform(*steepness)), rng.uniform(-0.3, 0.3)
    ahead = np.array([math.cos(turn), math.sin(turn), 0.0])
    normal = math.sin(slope) * ahead - math.cos(slope) * np.array(UP)
    start = rng.uniform(0, 0.5) * pose.z_m / math.tan(pose.pitch_rad + 0.3)
    distance = pose.z_m * math.cos(slope) + start * math.sin(slope)
    ramp = Plane(normal, distance, tuple(ahead), (-ahead[1], ahead[0], 0.0))
    if not wall:
        # Beyond the edge the ramp is behind where the floor would be: the farther one is seen.
        return _driven(rng, _of_planes(kind, np.minimum, [_floor(pose), ramp], camera, rng), pose)
    rays = rays_of(camera, pose)
    highest = float(ramp.inverse_depth(rays, 0.0)[rays[2] > 0].max())  # of the ramp, at the horizon
    end = Plane(np.array([1.0, 0, 0]), 1 / (highest * rng.uniform(1.1, 2.5)), (0.0, 1.0, 0.0), UP)
    planes = [_floor(pose), ramp, end]
    return _driven(rng, _of_planes(kind, np.maximum, planes, camera, rng), pose)


def _driven(
    rng: np.random.Generator,
    render_at: Callable[[Pose], tuple[np.ndarray, RandomView]],
    last: Pose,
    turn_per_m: float = 0.0,
) -> list[DriveFrame]:
    """The frames of a drive that ends at `last`, after an arc."""
    frames = []
    for index in range(FRAMES):
        back = (FRAMES - 1 - index) * STEP_M
        chord = last.yaw_rad - 0.5 * turn_per_m * back
        at = dataclasses.replace(
            last, x_m=-back * math.cos(chord), y_m=-back * math.sin(chord),
            yaw_rad=last.yaw_rad - turn_per_m * back,
        )  # fmt: skip
        rgb, view = render_at(at)
        noisy = np.rint(rgb + CAMERA_NOISE * rng.standard_normal(rgb.shape))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = at.optical_axes, at.position
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
        frames.append(DriveFrame(index * STEP_S, picture, view, pose))
    return frames


# --- What the camera sees: of a scene of solids, or of planes.

UP = (0.0, 0.0, 1.0)
PATTERNS = ('tiles', 'planks', 'bricks', 'checker')


def _textured(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with a pattern on every surface, so that there are corners to track."""
    room = scene.room
    assert room is not None
    solids: list[Solid] = [
        dataclasses.replace(solid, material=Material(solid.material.colour, 'carton', (0.4, 0.4)))
        for solid in scene.solids
    ]
    return dataclasses.replace(
        scene,
        floor=_floor_material(rng),
        room=dataclasses.replace(room, walls=Material((0.8, 0.78, 0.72), 'wall', (2.4, 2.4))),
        solids=tuple(solids),
    )


def _floor_material(rng: np.random.Generator) -> Material:
    size = rng.uniform(0.4, 1.2)
    return Material((0.66, 0.62, 0.55), str(rng.choice(PATTERNS)), (size, size))


def _of_scene(
    kind: str, scene: Scene, camera: CameraModel, pose: Pose
) -> tuple[np.ndarray, RandomView]:
    exact = render(scene, camera, pose)
    inverse = 1 / exact.depth_z.astype(np.float64)
    picture = render(scene, camera.scaled(*PICTURE), pose).rgb
    return picture, RandomView(kind, inverse, exact.floor_mask, camera, pose)


@dataclasses.dataclass(frozen=True)
class Plane:
    """normal . (p - camera) = distance_m for the camera at the end of a drive; `across` and `up`:
    axes of the pattern on it.
    """

    normal: np.ndarray
    distance_m: float
    across: tuple[float, float, float]
    up: tuple[float, float, float]

    def inverse_depth(self, rays: np.ndarray, x_m: float) -> np.ndarray:
        """Return 1/Z, (h, w), for the camera at `x_m`; 0 or less where the rays miss it."""
        distance = self.distance_m - self.normal[0] * x_m
        return np.asarray(np.einsum('i,ihw->hw', self.normal, rays) / distance)


def _floor(pose: Pose) -> Plane:
    return Plane(np.array([0.0, 0.0, -1.0]), pose.z_m, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def rays_of(camera: CameraModel, pose: Pose) -> np.ndarray:
    """Return (3, h, w) float64 rays in the world, 1 long along the optical axis."""
    x, y = (axis.astype(np.float64) for axis in camera.normalised_grid())
    return np.asarray(
        np.einsum('ij,jhw->ihw', pose.optical_axes, np.stack([x, y, np.ones_like(x)]))
    )


def _of_planes(
    kind: str,
    seen: np.ufunc,
    planes: Sequence[Plane],
    camera: CameraModel,
    rng: np.random.Generator,
) -> Callable[[Pose], tuple[np.ndarray, RandomView]]:
    """Render planes; `seen`: np.maximum or np.minimum of their 1/Z, the first being the floor."""
    scene = Scene(floor=_floor_material(rng), seed=int(rng.integers(8)))

    def inverse_depths(camera: CameraModel, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        rays = rays_of(camera, pose)
        every = np.stack([plane.inverse_depth(rays, pose.x_m) for plane in planes])
        inverse = np.maximum(seen.reduce(every), 0)
        return inverse, np.argmax(every == seen.reduce(every), axis=0)

    def render_at(pose: Pose) -> tuple[np.ndarray, RandomView]:
        inverse, which = inverse_depths(camera, pose)
        view = RandomView(kind, inverse, (which == 0) & (inverse > 0), camera, pose)
        large = camera.scaled(*PICTURE)
        return _painted(scene, planes, large, pose, *inverse_depths(large, pose)), view

    return render_at


def _painted(
    scene: Scene,
    planes: Sequence[Plane],
    camera: CameraModel,
    pose: Pose,
    inverse: np.ndarray,
    which: np.ndarray,
) -> np.ndarray:
    """The picture of planes, each with the floor's pattern but the last, if upright, a wall's."""
    rays = rays_of(camera, pose)
    with np.errstate(divide='ignore'):
        distance = np.where(inverse > 1e-3, 1 / inverse, np.inf)
    points = pose.position[:, None, None] + rays * np.where(np.isfinite(distance), distance, 0)
    across, up, slant = (np.zeros(inverse.shape, np.float32) for _ in range(3))
    material = np.full(inverse.shape, FLOOR, np.uint8)
    for index, plane in enumerate(planes):
        mine = which == index
        across[mine] = np.tensordot(plane.across, points, 1)[mine]
        up[mine] = np.tensordot(plane.up, points, 1)[mine]
        slant[mine] = np.abs(np.tensordot(plane.normal, rays, 1))[mine]
        if plane.up == UP:
            material[mine] = SIDE_WALL
    material[~np.isfinite(distance)] = SKY
    surfaces = Surfaces(
        distance.astype(np.float32), material, across, up, np.ones_like(across), slant
    )
    sky, floor = Material(scene.sky_colour), scene.floor
    wall = Material((0.75, 0.72, 0.7), 'bricks', (0.7, 0.7))
    return paint(surfaces, [sky, floor, wall, wall, wall], scene, camera.fx)


# --- What a network would make of it.


def disturbed_drive(
    frames: Sequence[DriveFrame],
    rng: np.random.Generator,
    *,
    noise: float = 0.0,
    smooth: float = 0.0,
    outliers: float = 0.0,
) -> list[tuple[np.ndarray, float, float]]:
    """Return (d float32, scale, shift) of every frame: as `floor_views.disturbed`, but scale and
    shift drift from frame to frame, and bumps move partly with the scene.
    """
    scale, shift = 10 ** rng.uniform(-3, 1), rng.uniform(-2, 2)
    shape = frames[0].view.inverse_depth.shape
    on_scene, on_picture = bumps(rng, shape), bumps(rng, shape)
    result = []
    for frame in frames:
        exact = frame.view.inverse_depth
        inverse = exact * (1 + noise * rng.standard_normal(shape))
        if smooth:
            own = math.sqrt(1 - WITH_SCENE - WITH_PICTURE) * bumps(rng, shape)
            carried = math.sqrt(WITH_SCENE) * _carried(on_scene, frame, frames[0])
            inverse *= 1 + smooth * (carried + math.sqrt(WITH_PICTURE) * on_picture + own)
        if outliers:
            wrong = rng.random(shape) < outliers
            inverse[wrong] = rng.uniform(0, inverse.max(), int(wrong.sum()))
        nearest = float(np.quantile(exact, 0.98))
        s = scale * (1 + DRIFT * rng.standard_normal())
        t = shift + DRIFT * nearest * rng.standard_normal()
        result.append((((inverse - t) / s).astype(np.float32), s, t))
    return result


def bumps(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return (h, w) float64 smooth bumps some 25 pixels wide, of deviation 1."""
    small = cv2.GaussianBlur(rng.standard_normal((shape[0] // 2, shape[1] // 2)), (0, 0), 12)
    return cv2.resize(small / small.std(), shape[::-1], interpolation=cv2.INTER_CUBIC)


def _carried(field: np.ndarray, frame: DriveFrame, first: DriveFrame) -> np.ndarray:
    """A (h, w) field on the surfaces, as painted on them in the first frame, seen in `frame`."""
    camera = first.view.camera
    x, y = (axis.astype(np.float64) for axis in camera.normalised_grid())
    with np.errstate(divide='ignore'):
        z = np.minimum(1 / frame.view.inverse_depth, 1e3)
    points = np.stack([x * z, y * z, z])
    move = np.linalg.inv(first.pose) @ frame.pose
    there = np.einsum('ij,jhw->ihw', move[:3, :3], points) + move[:3, 3][:, None, None]
    columns = camera.fx * there[0] / there[2] + camera.cx
    rows = camera.fy * there[1] / there[2] + camera.cy
    return cv2.remap(
        field, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
