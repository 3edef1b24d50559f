"""Augmentation: one scene in, many pictures out.

In: a picture (H, W, 3) uint8 with its inverse depth (H, W) and labels (H, W). Out: the same at a
given size, float32 RGB 0..1, rotated about the optical axis, cropped, mirrored, and with the
properties of another camera. Inverse depth stays the same up to scale and shift: depth is along the
optical axis, which cropping, zooming and rolling keep.
"""

from __future__ import annotations

import functools
import math
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
import torch

from training.dataset import open_shard, shards

OUTSIDE = 255  # label of pixels outside the scene
BANK = 24  # noise pictures to draw from: new noise costs more than a rendering
OCTAVES = (3, 6, 12, 24, 48)  # cells across a picture of dapples: shade of leaves, stains

# Share of the pictures to which each is applied.
WIDE = 0.2
TURNED, MIXED, GREY, SHADED = 0.5, 0.3, 0.05, 0.2
BLURRED, MOVED, NOISY, JPEG = 0.15, 0.05, 0.25, 0.15
DAPPLED, SHARPENED = 0.25, 0.15
HAZED, DIMMED = 0.06, 0.06


Scene = tuple[np.ndarray, np.ndarray, np.ndarray]


def as_rendered(
    size: tuple[int, int], rgb: np.ndarray, inverse_depth: np.ndarray, labels: np.ndarray
) -> Scene:
    """A scene at (height, width) without augmentation, for comparison."""
    wanted, nearest = size[::-1], cv2.INTER_NEAREST
    rgb = cv2.resize(np.asarray(rgb), wanted, interpolation=cv2.INTER_AREA).astype(np.float32)
    inverse_depth = np.asarray(inverse_depth, np.float32)
    inverse_depth = cv2.resize(inverse_depth, wanted, interpolation=nearest)
    return rgb / 255, inverse_depth, cv2.resize(np.asarray(labels), wanted, interpolation=nearest)


class Augmenter:
    """Draws from its own generator; one per thread."""

    def __init__(self, seed: int, size: tuple[int, int]) -> None:
        """`size` = (height, width) of what comes out."""
        self._rng = np.random.default_rng(seed)
        self._height, self._width = size
        noise = self._rng.standard_normal((BANK, *size, 3), np.float32)
        for index in range(0, BANK, 3):  # some of it coarse, as after a camera's processing
            noise[index] = 2 * cv2.GaussianBlur(noise[index], (0, 0), 0.8)
        self._noise = noise
        self._dapples = np.stack([self._dapple() for _ in range(BANK)])

    def __call__(self, rgb: np.ndarray, inverse_depth: np.ndarray, labels: np.ndarray) -> Scene:
        """(h, w, 3) float32 0..1, (h, w) float32 1/m, (h, w) uint8, OUTSIDE beyond the scene."""
        rgb, inverse_depth = np.asarray(rgb), np.asarray(inverse_depth, np.float32)
        labels = np.asarray(labels)
        if 2 * self._height <= rgb.shape[0]:
            rgb = cv2.resize(rgb, (self._width, self._height), interpolation=cv2.INTER_AREA)
        to_picture = self._view((rgb.shape[0], rgb.shape[1]))
        to_labels = to_picture.copy()  # the picture may have been reduced, its labels not
        larger = labels.shape[0] / rgb.shape[0]
        to_labels *= larger
        to_labels[:, 2] += 0.5 * (larger - 1)  # pixels are counted at their centres
        linear = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        nearest = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        size = (self._width, self._height)
        rgb = cv2.warpAffine(rgb, to_picture, size, flags=linear, borderMode=cv2.BORDER_REFLECT)
        inverse_depth = cv2.warpAffine(inverse_depth, to_labels, size, flags=nearest)
        labels = cv2.warpAffine(labels, to_labels, size, flags=nearest, borderValue=OUTSIDE)
        return self._photograph(rgb), inverse_depth, labels

    def _view(self, shape: tuple[int, int]) -> np.ndarray:
        """(2, 3): pixels of the new picture to pixels of the old one; a crop of any aspect."""
        rng, (height, width) = self._rng, shape
        if rng.random() < WIDE:  # cameras of 16:9 up to 10:3, stretched to the network's 4:3
            zoom_y, stretch = rng.uniform(0.4, 0.7), rng.uniform(0.3, 0.95)
        else:
            zoom_y, stretch = 1 - 0.4 * rng.random() ** 2, rng.uniform(-0.25, 0.35)
        zoom_x = min(1.0, zoom_y * math.exp(stretch))
        angle = math.radians(rng.normal(0, 3.0)) if rng.random() < TURNED else 0.0
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        scale_x = zoom_x * width / self._width
        scale_y = zoom_y * height / self._height
        c, s = math.cos(angle), math.sin(angle)
        turn = np.array([[c * scale_x * mirror, -s * scale_y], [s * scale_x * mirror, c * scale_y]])
        centre = np.array([
            0.5 * width + (1 - zoom_x) * width * rng.uniform(-0.5, 0.5),
            0.5 * height + (1 - zoom_y) * height * rng.uniform(-0.5, 0.5),
        ])  # fmt: skip
        start = centre - 0.5 - turn @ np.array([0.5 * self._width - 0.5, 0.5 * self._height - 0.5])
        return np.concatenate([turn, start[:, np.newaxis]], axis=1)

    def _photograph(self, rgb: np.ndarray) -> np.ndarray:
        rng = self._rng
        if rng.random() < BLURRED:
            rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.3, 1.3) * self._width / 256)
        elif rng.random() < SHARPENED:  # as cameras do
            soft = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.6, 1.6) * self._width / 256)
            much = rng.uniform(0.3, 1.5)
            rgb = cv2.addWeighted(rgb, 1 + much, soft, -much, 0)
        if rng.random() < MOVED:
            rgb = cv2.blur(rgb, (int(rng.integers(2, 6)), 1))
        if rng.random() < HAZED:  # fog, or light that falls on a dirty lens
            veil = np.full_like(rgb, rgb.mean(axis=(0, 1)))
            share = rng.uniform(0.1, 0.6)
            rgb = cv2.addWeighted(rgb, 1 - share, veil, share, 0)
        exposure = math.exp(rng.uniform(-1.5, -0.4)) if rng.random() < DIMMED else 1.0
        rgb = cv2.LUT(rgb, self._curves(exposure))
        if rng.random() < JPEG:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
            rgb = np.asarray(cv2.imdecode(cv2.imencode('.jpg', rgb, quality)[1], cv2.IMREAD_COLOR))
        picture = rgb.astype(np.float32)
        if rng.random() < MIXED:
            mix = np.eye(3) + rng.normal(0, 0.12, (3, 3))
            picture = cv2.transform(picture, mix / mix.sum(axis=1, keepdims=True))
        if rng.random() < GREY:
            picture[:] = picture.mean(axis=2, keepdims=True)
        if rng.random() < SHADED:  # a lamp to one side, or a lens that darkens its corners
            across = np.linspace(-1, 1, self._width, dtype=np.float32)
            down = np.linspace(-1, 1, self._height, dtype=np.float32)[:, np.newaxis]
            a, b, d = rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), rng.uniform(0, 0.25)
            light = 1 + a * across + b * down - d * (across * across + down * down)
            picture *= light.astype(np.float32)[..., np.newaxis]
        if rng.random() < DAPPLED:  # light and dark without a cause in the scene
            field = self._dapples[rng.integers(BANK)][:: 1 if rng.random() < 0.5 else -1]
            edge = np.float32(0.5 * math.exp(rng.uniform(0.5, 3.0)))
            shade = 0.5 - 0.5 * np.tanh(edge * (field - np.float32(rng.uniform(-1.0, 1.0))))
            tint = rng.uniform(0.1, 0.6) * (1 + rng.normal(0, 0.1, 3))
            picture *= 1 - shade[..., np.newaxis] * tint.astype(np.float32)
        if exposure < 1 or rng.random() < NOISY:  # too little light is noisy
            noise = self._noise[rng.integers(BANK)]
            picture += noise * np.float32(12 * rng.random() ** 2)
        return np.clip(picture, 0, 255, out=picture) * np.float32(1 / 255)

    def _dapple(self) -> np.ndarray:
        """(H, W) float32, mean 0, variance 1: noise of several octaves, most of it wide."""
        rng, size = self._rng, (self._width, self._height)
        total = np.zeros((self._height, self._width), np.float32)
        for cells in OCTAVES:
            rows = max(2, round(cells * rng.uniform(0.7, 2.5)))
            values = rng.standard_normal((rows, cells), np.float32) / np.sqrt(cells)
            total += cv2.resize(values, size, interpolation=cv2.INTER_CUBIC)
        return (total - total.mean()) / total.std()

    def _curves(self, exposure: float) -> np.ndarray:
        """(1, 256, 3) uint8: exposure, contrast, gamma and white balance of one camera.

        `exposure`: share of the usual one.
        """
        rng = self._rng
        level = np.linspace(0, 1, 256)[:, np.newaxis]
        gamma = math.exp(rng.normal(0, 0.22))
        gain = math.exp(rng.normal(0, 0.18)) * np.exp(rng.normal(0, 0.07, 3))
        contrast = math.exp(rng.normal(0, 0.2))
        value = exposure * ((level**gamma - 0.5) * contrast + 0.5) * gain + rng.normal(0, 0.03)
        return np.clip(np.rint(255 * value), 0, 255).astype(np.uint8)[np.newaxis]


# --- Batches: shards on disk -> augmented tensors, made ahead in a thread.
#
# OpenCV and NumPy release the GIL, so a thread is enough. The folder is read again from time to
# time, so scenes that appear during training are used.

AHEAD = 6  # batches
RESCAN_BATCHES = 100

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Take = Callable[[np.ndarray, np.ndarray, np.ndarray], Scene]  # picture, inverse depth, labels


class Feed:
    """Endless batches of (B, 3, H, W) float32, (B, H, W) float32, (B, H, W) uint8."""

    def __init__(
        self, data: Path, size: tuple[int, int], batch: int, seed: int, plain: bool = False
    ) -> None:
        """`plain`: without augmentation."""
        self._data, self._size, self._batch, self._plain = data, size, batch, plain
        self._ready: queue.Queue[Batch] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        if not shards(data, 'train'):
            raise click.ClickException(f'no scenes in {data}/train: run training.dataset first')
        self._thread = threading.Thread(target=self._work, args=(seed,), daemon=True)
        self._thread.start()

    def next(self) -> Batch:
        """The next batch; raises ClickException where the thread has died."""
        while True:
            try:
                return self._ready.get(timeout=10)
            except queue.Empty:
                if not self._thread.is_alive():
                    raise click.ClickException('the feed has died: see its traceback') from None

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()

    def _work(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        take: Take = functools.partial(as_rendered, self._size)
        if not self._plain:
            take = Augmenter(seed + 10**6, self._size)
        made = 0
        while not self._stop.is_set():
            if made % RESCAN_BATCHES == 0:
                paths = shards(self._data, 'train')
            batch = self._make(paths, rng, take)
            made += 1
            while not self._stop.is_set():
                try:
                    self._ready.put(batch, timeout=1)
                    break
                except queue.Full:
                    continue

    def _make(self, paths: list[Path], rng: np.random.Generator, take: Take) -> Batch:
        height, width = self._size
        rgb = np.empty((self._batch, height, width, 3), np.float32)
        inverse_depth = np.empty((self._batch, height, width), np.float32)
        labels = np.empty((self._batch, height, width), np.uint8)
        for slot in range(self._batch):
            shard = open_shard(paths[rng.integers(len(paths))])
            index = int(rng.integers(len(shard)))
            rgb[slot], inverse_depth[slot], labels[slot] = take(
                shard.rgb[index], shard.inverse_depth[index], shard.labels[index]
            )
        picture = torch.from_numpy(rgb.transpose(0, 3, 1, 2).copy())
        return picture, torch.from_numpy(inverse_depth), torch.from_numpy(labels)
