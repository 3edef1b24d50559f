"""Pictures of markers at known places, with the exact depth behind every pixel."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel

FINER = 2  # rays along each side of a pixel
MARGIN = 0.25  # of white around a marker, as a share of its side
Placed = tuple[int, float, tuple[float, float, float], tuple[float, float]]


def print_of(number: int, dictionary: str = 'DICT_APRILTAG_36h11', side: int = 400) -> np.ndarray:
    """The black square of a marker, (side, side) uint8."""
    table = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    draw = getattr(cv2.aruco, 'generateImageMarker', None) or cv2.aruco.drawMarker
    return draw(table, number, side)


def axes_of(turn: float, tip: float) -> np.ndarray:
    """(3, 3): right, down and normal of a print that faces the camera but for two angles."""
    ct, st, cp, sp = np.cos(turn), np.sin(turn), np.cos(tip), np.sin(tip)
    about_y = np.array([[ct, 0, st], [0, 1, 0], [-st, 0, ct]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return about_y @ about_x


@functools.cache
def _rays(camera: CameraModel, finer: int) -> tuple[np.ndarray, np.ndarray]:
    """x', y' of a picture so many times as fine."""
    return camera.normalised_grid(camera.width * finer, camera.height * finer)


def view(
    camera: CameraModel,
    markers: list[Placed],
    dictionary: str = 'DICT_APRILTAG_36h11',
    wall_m: float = 6.0,
    floor_m: float = 0.5,
    noise: float = 2.0,
    finer: int = FINER,
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) uint8 and (H, W) float64 Z in metres: markers before a wall, above a floor.

    markers: (number, side in metres, middle in the optical frame, (turn, tip) in radians).
    """
    x, y = _rays(camera, finer)
    with np.errstate(divide='ignore'):
        floor = np.where(y > 0, floor_m / y, np.inf)
    z = np.fmin(wall_m, floor)
    grey = np.where(floor < wall_m, 90.0, 150.0)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    for number, side, middle, angles in markers:
        axes, place = axes_of(*angles), np.array(middle)
        distance = (axes[:, 2] @ place) / (rays @ axes[:, 2])
        across = (distance[..., None] * rays - place) @ axes[:, :2] / side
        texture = print_of(number, dictionary)
        whole = cv2.copyMakeBorder(
            texture, *[round(MARGIN * len(texture))] * 4, cv2.BORDER_CONSTANT, value=255
        )
        at = ((across + 0.5 + MARGIN) * len(texture) - 0.5).astype(np.float32)
        sampled = cv2.remap(whole, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
        on = (np.abs(across) < 0.5 + MARGIN).all(axis=-1) & (distance > 0) & (distance < z)
        grey = np.where(on, 0.9 * sampled, grey)
        z = np.where(on, distance, z)
    size = camera.width, camera.height
    picture = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    depth = 1 / cv2.resize(1 / z, size, interpolation=cv2.INTER_AREA)
    picture = picture + np.random.default_rng(0).normal(0, noise, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), depth
