"""Scenes of the procedural world on disk: a folder of shards that training maps into memory.

A shard is a folder of three arrays: `rgb.npy` (N, H, W, 3) uint8, `inverse_depth.npy` (N, H, W)
float16 in 1/m with 0 = sky, `labels.npy` (N, H, W) uint8 with 0 = sky, 1 = floor, 2 = structure,
3 and more = objects. It appears atomically, so a training may use new ones while they are made.

`kinds.json` has the kind of place of each. The wider world and the first one belong in folders of
their own:

    python -m training.dataset --data /tmp/world --train 12000 --validation 300 --processes 2
    python -m training.dataset --data /tmp/first --world first --train 0 --validation 300
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.progress import track

WIDTH, HEIGHT = 256, 192
SHARD_SIZE = 250
NEAREST_M, FARTHEST_M = 0.2, 30.0
FIRST_SEED = {'train': 0, 'validation': 2 * 10**9, 'test': 3 * 10**9}
TEXTURES = {'train': 'train', 'validation': 'train', 'test': 'eval'}
WORLDS = ('wider', 'first', 'closed', 'facing')
LAST_LABEL = 255
FIRST_OBJECT = 3


@dataclass(frozen=True)
class Shard:
    """One folder of scenes, its arrays mapped into memory."""

    rgb: np.ndarray
    inverse_depth: np.ndarray
    labels: np.ndarray
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rgb)


def shards(data: Path, split: str) -> list[Path]:
    """The complete shards of a split, in the order of their seeds."""
    return sorted(path for path in (data / split).glob('*') if not path.name.startswith('.'))


@functools.lru_cache(maxsize=4096)
def open_shard(path: Path) -> Shard:
    """Map a shard into memory."""
    rgb, inverse_depth, labels = (
        np.load(path / f'{name}.npy', mmap_mode='r') for name in ('rgb', 'inverse_depth', 'labels')
    )
    return Shard(rgb, inverse_depth, labels, tuple(json.loads((path / 'kinds.json').read_text())))


def inverse_of(depth_z: np.ndarray) -> np.ndarray:
    """(H, W) metres, inf = sky, to 1/m, 0 = sky; clipped to NEAREST_M and FARTHEST_M."""
    clipped = np.clip(depth_z, NEAREST_M, FARTHEST_M)
    return np.where(np.isfinite(depth_z), 1.0 / clipped, 0.0).astype(np.float16)


def write_shard(data: Path, split: str, first: int, count: int, world: str = 'wider') -> int:
    """Render the scenes `first` .. `first + count - 1` of a split; returns how many were new."""
    from training.places import sample

    final = data / split / f'{first:08d}'
    if final.exists():
        return 0
    work = final.with_name(f'.{first:08d}.{os.getpid()}')
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rgb = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    inverse_depth = np.empty((count, HEIGHT, WIDTH), np.float16)
    labels = np.empty((count, HEIGHT, WIDTH), np.uint8)
    kinds = []
    for index in range(count):
        seed = FIRST_SEED[split] + first + index
        scene = sample(seed, WIDTH, HEIGHT, textures=TEXTURES[split], world=world)
        rgb[index], inverse_depth[index] = scene.rgb, inverse_of(scene.depth_z)
        labels[index] = np.minimum(scene.ids, LAST_LABEL)
        kinds.append(scene.kind)
    for name, array in (('rgb', rgb), ('inverse_depth', inverse_depth), ('labels', labels)):
        np.save(work / f'{name}.npy', array)
    (work / 'kinds.json').write_text(json.dumps(kinds))
    work.rename(final)
    return count


Job = tuple[Path, str, int, int, str]  # as `write_shard` takes them


def _write(job: Job) -> int:
    return write_shard(*job)


def jobs(data: Path, counts: dict[str, int], world: str) -> Iterator[Job]:
    """The shards that give every split so many scenes."""
    for split, count in counts.items():
        for first in range(0, count, SHARD_SIZE):
            yield data, split, first, min(SHARD_SIZE, count - first), world


@click.command()
@click.option('--data', type=click.Path(path_type=Path), required=True, help='Where to put them.')
@click.option('--train', default=12_000, show_default=True)
@click.option('--validation', default=300, show_default=True)
@click.option('--test', default=500, show_default=True, help='Textures of the other family.')
@click.option(
    '--world', type=click.Choice(WORLDS), default='wider', show_default=True,
    help='Of training/places/worlds.py; scenes of `first` are those of the first edition.',
)  # fmt: skip
@click.option('--processes', default=2, show_default=True)
def main(data: Path, train: int, validation: int, test: int, world: str, processes: int) -> None:
    """Render scenes; existing shards are kept, whatever their world: one folder for each."""
    wanted = list(jobs(data, {'validation': validation, 'train': train, 'test': test}, world))
    start, made = time.monotonic(), 0
    with multiprocessing.get_context('spawn').Pool(processes) as pool:
        for count in track(pool.imap(_write, wanted), 'scenes', total=len(wanted)):
            made += count
    rate = made / (time.monotonic() - start)
    click.echo(f'{made} new scenes, {rate:.0f} per second in {processes} processes')


if __name__ == '__main__':
    main()
