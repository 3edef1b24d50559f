"""What bf16 and int8 do to a network's depth, by the weights it has: random, half trained, trained.

    python -m benchmarks.precision 'random=' 'stand-in=runs/standin.pt' embedded --write

Each argument is a model's name or weights file, with a name for the table before `=` if wanted;
'NAME=' alone stands for random weights of MiDaS_small. OpenVINO computes all precisions; int8 is
calibrated once on the pictures that ship, and once on every other real picture and then judged on
the rest. The deviation is that of `model_check`, by which `auto` chooses; the accuracy on real
pictures that of `benchmarks.model_quality`. The stand-in is made by `training.standin`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.model_quality import DEFAULT_DATA, Item, load_items, read_picture, row_prior, score
from benchmarks.performance_page import write_block
from midas_depth_ros.depth import models
from midas_depth_ros.depth.backends.openvino_backend import Conversion, OpenvinoBackend
from midas_depth_ros.depth.backends.openvino_runtime import Runtime
from midas_depth_ros.depth.model_check import (
    Deviation,
    calibration_pictures,
    compare,
    sample_pictures,
)
from midas_depth_ros.depth.models import PREFERRED
from midas_depth_ros.lab.speed.random_weights import write_random_weights

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'models.md'
BLOCK = 'precision'
EXACT, HALF, SHIPPED, OWN = 'f32', 'bf16', 'int8', 'int8, own pictures'
Pictures = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Outcome:
    """One precision of one network: deviation by group of pictures, AbsRel of the depth itself."""

    name: str
    precision: str
    samples: Deviation
    real: Deviation
    abs_rel: float


def real_pictures(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Every single picture of the manifest, RGB, by its id. Raises ClickException."""
    manifest = folder / 'MANIFEST.json'
    if not manifest.is_file():
        raise click.ClickException(f'{manifest} is not there: give the folder of pictures (--data)')
    found = {}
    for entry in json.loads(manifest.read_text()):
        if entry.get('category') in ('rgbd', 'plain'):
            bgr = read_picture(folder / entry['image'], cv2.IMREAD_COLOR)
            found[entry['id']] = np.ascontiguousarray(bgr[..., ::-1])
    return found


def outcomes(name: str, weights: Path, folder: Path, data: Path, threads: int) -> list[Outcome]:
    """All precisions of a weights file. Raises DepthError."""
    real, items = real_pictures(data), list(load_items(data))
    half = {key: rgb for place, (key, rgb) in enumerate(real.items()) if place % 2 == 0}
    rest = {key: rgb for key, rgb in real.items() if key not in half}
    ways: list[tuple[str, Pictures, Pictures]] = [
        (EXACT, {}, real),
        (HALF, {}, real),
        (SHIPPED, calibration_pictures(), real),
        (OWN, half, rest),
    ]
    samples = sample_pictures()
    found: list[Outcome] = []
    exact: dict[str, NDArray[np.float32]] = {}
    for precision, calibration, judged in ways:
        click.echo(f'{name}, {precision}', err=True)
        path = folder / f'{len(found)}.xml'
        kind = precision.split(',')[0]
        Conversion(weights, Runtime(threads)).build(path, kind, calibration)
        backend = OpenvinoBackend(path, threads, kind)
        depths = {key: _infer(backend, rgb) for key, rgb in {**samples, **real}.items()}
        exact = exact or depths
        of_samples, of_real = (
            Deviation({key: compare(exact[key], depths[key]) for key in group})
            for group in (samples, judged)
        )
        abs_rel = float(np.mean([_scored(backend, depths[item.name], item) for item in items]))
        found.append(Outcome(name, precision, of_samples, of_real, abs_rel))
    return found


def _infer(backend: OpenvinoBackend, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    return backend.infer(backend.preprocess(rgb))


def _scored(backend: OpenvinoBackend, small: NDArray[np.float32], item: Item) -> float:
    return score(backend.spec.enlarge(small, item.inverse_depth.shape), item).abs_rel


# --- The table.


def table(found: Sequence[Outcome], prior: float) -> str:
    """Markdown: the deviation of every precision but f32, beside the error of the depth itself."""
    lines = [
        '| weights | precision | samples: worst correlation | worst AbsRel | within the bound '
        '| real: worst correlation | worst AbsRel | median AbsRel | depth off by |',
        '| --- | --- | --: | --: | --- | --: | --: | --: | --: |',
    ]
    for one in found:
        cells = [one.name, one.precision]
        if one.precision == EXACT:
            cells += [''] * 6
        else:
            within = 'yes' if one.samples.within_bound else 'no'
            typical = float(np.median([abs_rel for _, abs_rel in one.real.pictures.values()]))
            cells += [f'{one.samples.correlation:.4f}', f'{one.samples.abs_rel:.4f}', within]
            cells += [f'{one.real.correlation:.4f}', f'{one.real.abs_rel:.4f}', f'{typical:.4f}']
        cells.append(f'{one.abs_rel:.3f}')
        lines.append(f'| {" | ".join(cells)} |')
    lines.append(f'| the row alone | | | | | | | | {prior:.3f} |')
    return '\n'.join(lines)


@click.command()
@click.argument('subjects', nargs=-1, required=True, metavar='[NAME=]MODEL...')
@click.option(
    '--data',
    type=click.Path(path_type=Path),
    default=lambda: os.environ.get('MIDAS_DEPTH_TEST_DATA', DEFAULT_DATA),
    show_default='MIDAS_DEPTH_TEST_DATA, else ../shared/data',
    help='Folder of real pictures, with a MANIFEST.json.',
)
@click.option('--threads', default=1, show_default=True)
@click.option('--write', is_flag=True, help='Put the table into docs/models.md.')
def main(subjects: tuple[str, ...], data: Path, threads: int, write: bool) -> None:
    """Measure what faster precisions do to the depth of each model."""
    found: list[Outcome] = []
    for subject in subjects:
        name, equals, model = subject.rpartition('=')
        with tempfile.TemporaryDirectory(prefix='midas_depth_precision_') as temporary:
            folder = Path(temporary)
            if equals and not model:
                weights = write_random_weights(models.spec(PREFERRED), folder)
            else:
                weights = models.find_weights(model, allow_download=False)
            found += outcomes(name or model, weights, folder, data, threads)
    items = list(load_items(data))
    prior = np.mean([score(row_prior(i.rgb, i.inverse_depth.shape), i).abs_rel for i in items])
    text = table(found, float(prior))
    click.echo(text)
    if write:
        write_block(PAGE, BLOCK, text)


if __name__ == '__main__':
    main()
