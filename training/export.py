"""Exports a checkpoint into the package: weights as float16, their size, hash and model card.

    python -m training.export runs/first/best.pt --table figures.txt --trained 'python -m ...'
    python -m training.export runs/first/best.pt --to first.npz

The first writes `midas_depth_ros/assets/embedded.npz` and its card, and updates size, SHA-256 and
the recorded depth in `midas_depth_ros/depth/models/embedded.py`; the same checkpoint gives the same
bytes.
"""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.files import sha256_of
from midas_depth_ros.depth.model_check import PICTURES, cell_means, sample_pictures
from midas_depth_ros.depth.models import embedded

CARD = Path(__file__).with_name('model_card.md')
DATE = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the archive depends on the weights alone


def archive(state: dict[str, torch.Tensor]) -> bytes:
    """The entries that inference needs: kernels as float16, normalisations as float32."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as file:
        for name, tensor in sorted(state.items()):
            dtype = np.float16 if tensor.ndim == 4 else np.float32
            entry = io.BytesIO()
            np.lib.format.write_array(entry, tensor.numpy().astype(dtype), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f'{name}.npy', DATE), entry.getvalue())
    return buffer.getvalue()


def sample_depth_of(weights: bytes) -> NDArray[np.float32]:
    """(6, 8) float32: these weights' depth of the sample picture, as `model_check` compares it.

    Raises DepthError where it cannot be depth.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / embedded.ASSET.name
        path.write_bytes(weights)
        estimator = load_estimator(path, 'opencv')
        return cell_means(estimator.infer(sample_pictures(PICTURES[:1])[PICTURES[0]]))


def enter(size: int, sha256: str, depth: NDArray[np.float32], source: Path) -> None:
    """Update size, hash and recorded depth in the module that checks them.

    Raises ValueError, and does not change the module, where one of them is not found in it.
    """
    rows = ''.join(f'        {row},\n' for row in np.round(1000 * depth).astype(int).tolist())
    text = source.read_text()
    for pattern, value in (
        (r'size=[\d_]+', f'size={size:_}'),
        (r"sha256='[0-9a-f]*'", f"sha256='{sha256}'"),
        (r'(SAMPLE_DEPTH = np\.array\(\n    \[\n)[^()]*?    \],\n', rf'\g<1>{rows}    ],\n'),
    ):
        text, count = re.subn(pattern, value, text, count=1)
        if not count:
            raise ValueError(f'{source} has no match of {pattern}')
    source.write_text(text)


@click.command()
@click.argument('checkpoint', type=click.Path(path_type=Path, exists=True))
@click.option('--trained', help='The commands that made it, for the card.')
@click.option('--data', help='What it was trained on, for the card.')
@click.option('--table', type=click.Path(path_type=Path, exists=True), help='For the card.')
@click.option(
    '--to', 'target', type=click.Path(path_type=Path, dir_okay=False),
    help='Write the archive there, and do not change the package.',
)  # fmt: skip
def main(
    checkpoint: Path, trained: str | None, data: str | None, table: Path | None,
    target: Path | None,
) -> None:  # fmt: skip
    """Export CHECKPOINT of training into the package, or to a file."""
    state = torch.load(checkpoint, map_location='cpu', weights_only=True)
    network = embedded.build()
    network.load_state_dict(state['mean'])
    if target:
        target.write_bytes(archive(network.state_dict()))
    elif trained and data and table:
        ship(network, state['progress'], trained, data, table)
    else:
        raise click.UsageError('the model card needs --trained, --data and --table; or give --to')


def ship(
    network: torch.nn.Module, progress: list[float], trained: str, data: str, table: Path
) -> None:
    """Put the network into the package, with size, hash and card."""
    weights = archive(network.state_dict())
    depth = sample_depth_of(weights)  # raises where it is not depth
    embedded.ASSET.parent.mkdir(exist_ok=True)
    embedded.ASSET.write_bytes(weights)
    size, sha256 = embedded.ASSET.stat().st_size, sha256_of(embedded.ASSET)
    enter(size, sha256, depth, Path(embedded.__file__))
    seconds, samples, steps, _ = progress
    card = CARD.read_text().format(
        name=embedded.ASSET.name,
        size=f'{size:,}',
        sha256=sha256,
        parameters=f'{sum(p.numel() for p in network.parameters()):,}',
        samples=f'{samples:,}',
        steps=f'{steps:,}',
        minutes=f'{seconds / 60:.0f}',
        trained=trained,
        data=data,
        table=table.read_text().rstrip(),
    )
    embedded.ASSET.with_name('embedded_model_card.md').write_text(card)
    click.echo(f'{embedded.ASSET}: {size:,} bytes, SHA-256 {sha256}')


if __name__ == '__main__':
    main()
