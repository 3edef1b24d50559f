"""Batches for training: shards on disk -> augmented tensors, made in a thread ahead of their use.

OpenCV and NumPy leave the interpreter free while they work, so a thread is enough. The folder
is looked at again from time to time: scenes that appear while training runs are used.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

from training.augment import Augmenter, Scene, as_rendered
from training.dataset import open_shard, shards

AHEAD = 6  # batches
RESCAN_BATCHES = 100

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Take = Callable[[np.ndarray, np.ndarray, np.ndarray], Scene]  # picture, inverse depth, labels


class Feed:
    """Endless batches of (B, 3, H, W) float32, (B, H, W) float32, (B, H, W) uint8."""

    def __init__(
        self, data: Path, size: tuple[int, int], batch: int, seed: int, plain: bool = False
    ) -> None:
        """`plain`: the scenes as they were rendered."""
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
        rng, take = np.random.default_rng(seed), self._camera(seed + 10**6)
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

    def _camera(self, seed: int) -> Take:
        if self._plain:
            return functools.partial(as_rendered, self._size)
        return Augmenter(seed, self._size)

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
