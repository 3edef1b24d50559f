"""Puts a checkpoint into the package: weights as float16, with their size, hash and model card.

    python -m training.export runs/first/best.pt --table figures.txt --trained 'python -m ...'

It writes `midas_depth_ros/assets/embedded.npz` and its card, and enters size and SHA-256 in
`midas_depth_ros/depth/embedded.py`; the same checkpoint gives the same bytes.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import click
import numpy as np
import torch

from midas_depth_ros.depth import embedded
from midas_depth_ros.depth.networks import EmbeddedNet
from midas_depth_ros.depth.weights_file import sha256_of

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


def enter(size: int, sha256: str, source: Path) -> None:
    """Replace size and hash in the module that checks them."""
    text = source.read_text()
    text = re.sub(r'size=[\d_]+', f'size={size:_}', text, count=1)
    source.write_text(re.sub(r"sha256='[0-9a-f]*'", f"sha256='{sha256}'", text, count=1))


@click.command()
@click.argument('checkpoint', type=click.Path(path_type=Path, exists=True))
@click.option('--trained', required=True, help='The commands that made it, for the card.')
@click.option('--data', required=True, help='What it was trained on, for the card.')
@click.option('--table', type=click.Path(path_type=Path, exists=True), required=True)
def main(checkpoint: Path, trained: str, data: str, table: Path) -> None:
    """Export CHECKPOINT of training."""
    state = torch.load(checkpoint, map_location='cpu', weights_only=True)
    network = EmbeddedNet()
    network.load_state_dict(state['mean'])
    embedded.ASSET.parent.mkdir(exist_ok=True)
    embedded.ASSET.write_bytes(archive(network.state_dict()))
    size, sha256 = embedded.ASSET.stat().st_size, sha256_of(embedded.ASSET)
    enter(size, sha256, Path(embedded.__file__))
    seconds, samples, steps, _ = state['progress']
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
