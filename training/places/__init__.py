"""The places that the embedded model is trained and measured in: rooms, streets, heaps of things.

`sample(seed)` draws a place and a camera in it, and gives the picture with the exact depth of every
pixel, the floor and the objects: the same bits for the same arguments on one machine. Places are
drawn as the furnished room of `midas_depth_ros.sim.furnished` is, and share its furniture.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import random

import cv2
import numpy as np

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim.furnished.panes import view_panes
from midas_depth_ros.sim.furnished.place import FLOOR_ID
from midas_depth_ros.sim.furnished.shading import Photo, blurred, exposed, toned
from midas_depth_ros.sim.furnished.textures import (
    ATLASES,
    SIDE,
    Atlas,
    Families,
    atlas,
    clouds,
    drawn_atlas,
    line,
    noise,
    uv,
)
from midas_depth_ros.sim.scene.render import tripled
from midas_depth_ros.sim.scene.scene import Pose, SceneError
from training.places.first import PLACES
from training.places.lens import Faults, random_faults, spoilt
from training.places.tilted import tilt
from training.places.worlds import MURKY, WORLDS

__all__ = ['PLACES', 'WORLDS', 'Sample', 'sample']

TILTED = 0.04  # of the pictures of the wider world, beside those of the kind 'tilted'

LENSES = 24
DISTORTED = 0.3
# Width by height of the pictures that cameras make, before they are resized.
ASPECTS = (4 / 3,) * 6 + (3 / 2, 16 / 9, 16 / 9, 1.0, 3 / 4)
WIDE_ASPECTS = (4 / 3, 4 / 3, 4 / 3, 3 / 2, 16 / 9, 16 / 9, 2.0, 2.5, 3.2, 3.3)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the camera sees.

    rgb: (H, W, 3) uint8. depth_z: (H, W) float32, metres along the optical axis (REP 118), inf
    for the sky. floor: (H, W) bool, the floor at z = 0. ids: (H, W) int16, 0 the sky, 1 the
    floor, 2 walls and what is fixed, from 3 on one number per object.
    """

    rgb: np.ndarray
    depth_z: np.ndarray
    floor: np.ndarray
    ids: np.ndarray
    camera: CameraModel
    pose: Pose
    kind: str


def sample(
    seed: int,
    width: int = 256,
    height: int = 192,
    kind: str | None = None,
    textures: str = 'train',
    world: str = 'first',
) -> Sample:
    """The sample of `seed`: of one of the kinds of `world`, drawn too where it is None.

    `textures` is 'train', or 'eval' for textures that no training sample has. Raises
    `SceneError` for a kind, a set of textures or a world that does not exist.
    """
    if world not in WORLDS:
        raise SceneError(f'world {world!r} is not one of {", ".join(WORLDS)}')
    kinds = WORLDS[world]
    if kind is not None and kind not in kinds:
        raise SceneError(f'kind {kind!r} is not one of {", ".join(kinds)}')
    if textures not in TEXTURES:
        raise SceneError(f"textures {textures!r} must be 'train' or 'eval'")
    rng = random.Random(seed)
    drawn = rng.choices(list(kinds), [share for _, share in kinds.values()])[0]
    kind = kind or drawn
    texture_atlas = TEXTURES[textures](rng.randrange(ATLASES))
    camera = _camera(rng, width, height, kind)
    place, pose = kinds[kind][0](rng, texture_atlas)
    faults = Faults()
    if world != 'first':
        faults = random_faults(rng, kind == MURKY)
        if kind in PLACES and rng.random() < TILTED:
            pose = tilt(rng, pose)
    light, depth, ids = view_panes(place, camera, pose, texture_atlas)
    light = spoilt(light, faults)
    mean = float(np.minimum(light[::4, ::4], 1.5).mean())
    photo = random_photo(rng, mean)
    rgb = photograph(light, _with_faults(photo, faults))
    return Sample(rgb, depth, ids == FLOOR_ID, ids, camera, pose, kind)


def _with_faults(photo: FaultyPhoto, faults: Faults) -> FaultyPhoto:
    """The camera, with the faults that are not in the light."""
    return dataclasses.replace(
        photo,
        exposure=photo.exposure * faults.light,
        noise=max(photo.noise, faults.noise),
        motion_px=max(photo.motion_px, faults.shake_px),
    )


def _camera(rng: random.Random, width: int, height: int, kind: str) -> CameraModel:
    """A camera whose own picture may have been wider or higher before it was resized to this."""
    lens, plain = rng.randrange(LENSES), rng.random() >= DISTORTED
    fov = math.radians(rng.choice((rng.uniform(50, 74), rng.uniform(45, 110))))
    off = rng.gauss(0, 0.015), rng.gauss(0, 0.015)
    aspects = WIDE_ASPECTS if kind == 'street' else ASPECTS
    aspect = rng.choice(aspects) * math.exp(rng.gauss(0, 0.05)) * height / width
    camera = CameraModel.from_field_of_view(width, height, fov)
    if not plain and aspect < 1.5:
        return _lens(lens, width, height)
    return dataclasses.replace(
        camera, fy=camera.fy * aspect, cx=camera.cx + off[0] * width, cy=camera.cy + off[1] * height
    )


@functools.lru_cache(maxsize=2 * LENSES)
def _lens(number: int, width: int, height: int) -> CameraModel:
    """One of a few lenses that distort, chosen so that every pixel has a direction."""
    rng = random.Random(number)
    fov = math.radians(rng.uniform(50, 105))
    focal = 0.5 * width / math.tan(0.5 * fov)
    corner = math.hypot(width, 1.25 * height) / (2 * focal)
    k1 = rng.uniform(-0.12, 0.06) / corner**2  # from -0.148 on the corners would see nothing
    tangential = rng.gauss(0, 0.0005), rng.gauss(0, 0.0005)
    fy = focal * rng.choice((1.0, rng.uniform(0.8, 1.4)))
    cx, cy = (0.5 * (side - 1) + rng.gauss(0, 0.01) * side for side in (width, height))
    return CameraModel(width, height, focal, fy, cx, cy, 'plumb_bob', (k1, 0.0, *tangential, 0.0))


# --- Light -> the picture that a camera makes of it: exposure, white balance, blur, noise, JPEG.

NOISE_SIDE, NOISE_DEVIATION = 640, 32.0


@dataclasses.dataclass(frozen=True)
class FaultyPhoto(Photo):
    """What a camera that is not perfect does to the light.

    motion_px, motion_rad: length and direction of motion blur. bloom: share of glare around what
    is too bright. noise: deviation in grey levels of 255, and `noise_px` how coarse. saturation: 0
    is grey, 1 unchanged. jpeg: quality, 0 without. noise_at: which piece of noise.
    """

    motion_px: float = 0.0
    motion_rad: float = 0.0
    bloom: float = 0.0
    noise: float = 0.0
    noise_px: int = 1
    saturation: float = 1.0
    jpeg: int = 0
    noise_at: tuple[int, int] = (0, 0)


def random_photo(rng: random.Random, mean_light: float) -> FaultyPhoto:
    """A camera that more or less exposes for `mean_light`."""
    warm, green = rng.gauss(0, 0.09), rng.gauss(0, 0.035)
    return FaultyPhoto(
        exposure=rng.uniform(0.36, 0.5) / max(mean_light, 0.05) * 2 ** rng.gauss(0, 0.36),
        balance=(1 + warm, 1 + green, 1 - warm),
        gamma=math.exp(rng.gauss(0, 0.16)),
        contrast=rng.uniform(-0.1, 0.5),
        vignette=max(0.0, rng.uniform(-0.25, 0.45)),
        blur_px=rng.choice((0.0, 0.0, 0.4, 0.5, 0.6, 0.8, 1.2)),
        motion_px=rng.uniform(1.5, 7) if rng.random() < 0.15 else 0.0,
        motion_rad=rng.choice((0.0, rng.uniform(0, math.pi))),
        bloom=rng.uniform(0.1, 0.5) if rng.random() < 0.4 else 0.0,
        noise=rng.choice((0.0, 1.0, 2.0, 3.0, rng.uniform(0, 14))),
        noise_px=rng.choice((1, 1, 2)),
        saturation=rng.choice((1.0, rng.uniform(0.3, 1.3), rng.uniform(0.6, 1.2))),
        jpeg=rng.randint(30, 95) if rng.random() < 0.6 else 0,
        noise_at=(rng.randrange(10**6), rng.randrange(10**6)),
    )


def photograph(light: np.ndarray, photo: FaultyPhoto) -> np.ndarray:
    """(H, W, 3) float32 light -> RGB uint8."""
    height, width = light.shape[:2]
    image = exposed(light, photo)
    if photo.bloom > 0:
        small = cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        glare = cv2.GaussianBlur(np.maximum(small - np.float32(0.9), 0), (0, 0), width / 64)
        image += cv2.resize(glare, (width, height)) * np.float32(photo.bloom)
    image = blurred(image, photo)
    if photo.motion_px > 0:
        image = cv2.filter2D(image, -1, _streak(photo.motion_px, photo.motion_rad))
    if photo.saturation != 1:
        grey = tripled(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        image -= grey
        image *= np.float32(photo.saturation)
        image += grey
    picture = toned(image, photo)
    if photo.noise > 0:
        picture = _with_noise(picture, photo)
    if photo.jpeg:
        code = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, photo.jpeg])[1]
        picture = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return np.ascontiguousarray(picture)


def _streak(length: float, angle: float) -> np.ndarray:
    side = 2 * int(length / 2) + 3
    middle, reach = side // 2, 0.5 * length
    kernel = np.zeros((side, side), np.float32)
    for step in np.linspace(-reach, reach, 4 * side):
        x, y = middle + step * math.cos(angle), middle + step * math.sin(angle)
        kernel[round(y), round(x)] += 1
    return kernel / kernel.sum()


@functools.lru_cache(maxsize=2)
def _noise_sheet(coarse: int) -> np.ndarray:
    rng = np.random.default_rng(coarse)
    grey = rng.standard_normal((NOISE_SIDE, NOISE_SIDE, 1), np.float32)
    noise = 0.8 * grey + 0.6 * rng.standard_normal((NOISE_SIDE, NOISE_SIDE, 3), np.float32)
    if coarse > 1:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.45 * coarse)
        noise /= noise.std()
    return np.clip(np.rint(128 + NOISE_DEVIATION * noise), 0, 255).astype(np.uint8)


def _with_noise(picture: np.ndarray, photo: FaultyPhoto) -> np.ndarray:
    height, width = picture.shape[:2]
    sheet = _noise_sheet(photo.noise_px)
    while sheet.shape[0] < height or sheet.shape[1] < width:
        sheet = np.tile(sheet, (2, 2, 1))
    y = photo.noise_at[0] % (sheet.shape[0] - height + 1)
    x = photo.noise_at[1] % (sheet.shape[1] - width + 1)
    piece = sheet[y : y + height, x : x + width]
    share = photo.noise / NOISE_DEVIATION
    return cv2.addWeighted(picture, 1.0, piece, share, -128 * share)


# --- Textures for measuring only: no training sample has them.


def _hexagons(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    count = 4
    angle = np.cos(math.tau * count * u) + np.cos(math.tau * (count * u / 2 + count * v))
    return angle + np.cos(math.tau * (count * u / 2 - count * v)) + 0.1 * noise(rng, 1)


def _stones(rng: np.random.Generator) -> np.ndarray:
    points = rng.random((int(rng.integers(12, 60)), 2))
    tone = rng.random(len(points))
    u, v = uv()
    first, second, owner = np.full(u.shape, 9.0), np.full(u.shape, 9.0), np.zeros(u.shape, int)
    for i, (x, y) in enumerate(points):
        dx, dy = np.abs(u - x), np.abs(v - y)
        d = np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy))
        second = np.minimum(second, np.maximum(first, d))
        owner, first = np.where(d < first, i, owner), np.minimum(first, d)
    return 0.6 * tone[owner] + 0.08 * noise(rng, 2) - 0.9 * (second - first < 0.015)


def _marble(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    a, b = rng.integers(1, 5, 2)
    return np.sin(math.tau * (a * u + b * v) + 1.8 * clouds(rng, 1.9))


def _dots(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    count = int(rng.integers(3, 10))
    radius = np.hypot(count * u % 1.0 - 0.5, count * v % 1.0 - 0.5)
    return (radius < rng.uniform(0.2, 0.42)) + 0.05 * noise(rng, 1)


def _plaid(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    bars = rng.random(16)
    return bars[(16 * u).astype(int)] + bars[(16 * v).astype(int)] + 0.1 * noise(rng, 0.5)


def _herringbone(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    zig = np.abs((4 * u) % 2.0 - 1.0)
    strip = 8 * v + 2 * zig
    tone = rng.random(8)[np.floor(strip).astype(int) % 8]
    return tone + 0.1 * noise(rng, 3) - 0.7 * np.maximum(line(strip, 0.1), line(4 * u, 0.03))


def _waves(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    return np.sin(math.tau * (int(rng.integers(3, 9)) * v + 0.3 * np.sin(math.tau * 2 * u)))


def _terrazzo(rng: np.random.Generator) -> np.ndarray:
    return np.where(noise(rng, 3) > 1.1, rng.random(), 0.6) + np.where(noise(rng, 2) > 1.4, -0.5, 0)


def _knit(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    return np.sin(math.tau * 24 * u) * np.sin(math.tau * (16 * v + np.abs(24 * u % 1 - 0.5)))


def _clumps(rng: np.random.Generator) -> np.ndarray:
    return np.abs(noise(rng, 3, 2)) ** 0.5 - 0.5 * np.abs(noise(rng, 7)) + 0.4 * noise(rng, 1, 2)


def _bands(rng: np.random.Generator) -> np.ndarray:
    """A facade of bands of glass."""
    u, v = uv()
    a, b = 6 * u % 1.0, 3 * v % 1.0
    tone = rng.random((3, 6))[np.floor(3 * v).astype(int), np.floor(6 * u).astype(int)]
    glass = b > rng.uniform(0.35, 0.55)
    return np.where(a < 0.06, 0.9, np.where(glass, 0.3 * tone + 0.1 * b, 0.75))


def _collage(rng: np.random.Generator) -> np.ndarray:
    """Round patches of all tones."""
    u, v = uv()
    value = np.full((SIDE, SIDE), rng.random())
    for _ in range(int(rng.integers(5, 30))):
        x, y, r = *rng.random(2), rng.uniform(0.03, 0.25)
        value = np.where(np.hypot(u - x, (v - y) * rng.uniform(0.5, 2)) < r, rng.random(), value)
    return value


# name, function, how many of them, what else they suit
EVALUATION_FAMILIES: Families = [
    ('hexagons', _hexagons, 2, 'floor tile odd'),
    ('stones', _stones, 5, 'floor tile road brick odd'),
    ('marble', _marble, 5, 'wood furniture floor concrete wall grain'),
    ('dots', _dots, 3, 'odd object cloth'),
    ('plaid', _plaid, 3, 'odd cloth soft floor object'),
    ('herringbone', _herringbone, 3, 'floor wood brick'),
    ('waves', _waves, 2, 'odd object sky'),
    ('terrazzo', _terrazzo, 4, 'plain wall floor concrete road object grain'),
    ('knit', _knit, 2, 'soft cloth floor object'),
    ('clumps', _clumps, 5, 'meadow leaves trunk grain sky plain'),
    ('bands', _bands, 5, 'building shelf front furniture'),
    ('collage', _collage, 5, 'picture odd object shelf'),
]


@functools.lru_cache(maxsize=ATLASES)
def evaluation_atlas(number: int) -> Atlas:
    """Atlas `number` of these families; the same bits for the same number."""
    return drawn_atlas(EVALUATION_FAMILIES, (4, number))


TEXTURES = {'train': atlas, 'eval': evaluation_atlas}
