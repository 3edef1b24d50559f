"""A stand-in for MiDaS v2.1 small: its own architecture, trained on the rendered world.

The published weights cannot be had everywhere, and random ones mislead about rounding: what bf16
and int8 do to a network depends on its weights. A short run gives weights that see something, to
measure that with (`python -m benchmarks.precision`). They do not ship, and are no match for the
published ones.

    python -m training.dataset --data /tmp/world --train 10000 --validation 100
    python -m training.train --network midas_small --data /tmp/world --run runs/standin \
        --minutes 84 --rate 1e-3 --batch 4 --small-until 0.82 --f32
    python -m training.standin runs/standin/best.pt --to runs/standin.pt --data /tmp/world
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.model_quality import row_prior
from midas_depth_ros.depth.models import midas_small
from training.dataset import open_shard, shards

FIRST_OUTPUT = 1.0  # the mean of the inverse depths that the loss wants


class StandIn(nn.Module):
    """MiDaS small as training takes a network: RGB 0..1 in, and an answer of half the size."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.midas = midas_small.build().to(memory_format=torch.channels_last)
        # Its last layer is a ReLU: where it starts below 0 everywhere, no gradient comes through.
        nn.init.constant_(self.midas.scratch.output_conv[4].bias, FIRST_OUTPUT)
        picture = midas_small.SPEC.picture
        self.register_buffer('mean', torch.tensor(picture.mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(picture.std).view(3, 1, 1), persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) float32 to (B, H, W), both sides multiples of 32."""
        normal = (picture - self.mean) / self.std
        depth: Tensor = self.midas(normal.contiguous(memory_format=torch.channels_last))
        return depth

    def at_half_size(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, H / 2, W / 2): the size of the loss."""
        return F.avg_pool2d(self(picture).unsqueeze(1), 2).squeeze(1)


def weights_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a `StandIn` as the published file has it, in the usual memory order."""
    return {
        name.removeprefix('midas.'): tensor.contiguous()
        for name, tensor in state.items()
        if name.startswith('midas.')
    }


@torch.inference_mode()
def correlations(network: StandIn, data: Path, split: str) -> dict[str, float]:
    """Mean correlation with the true inverse depth over the scenes of a split, and the row's.

    Over what is not sky; needs no fit of scale and shift.
    """
    found: dict[str, list[float]] = {'stand-in': [], 'the row alone': []}
    for path in shards(data, split):
        shard = open_shard(path)
        for rgb, inverse_depth in zip(shard.rgb, shard.inverse_depth, strict=True):
            truth = np.asarray(inverse_depth, np.float64)
            seen = truth > 0
            if np.ptp(truth[seen]) == 0:
                continue
            guesses = {
                'stand-in': network(_batch(rgb))[0].numpy(),
                'the row alone': row_prior(rgb, truth.shape),
            }
            for name, guess in guesses.items():
                found[name].append(float(np.corrcoef(guess[seen], truth[seen])[0, 1]))
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def _batch(rgb: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, H, W) float32, 0..1."""
    return torch.from_numpy(rgb.transpose(2, 0, 1)[np.newaxis].copy()).float() / 255


@click.command()
@click.argument('checkpoint', type=click.Path(path_type=Path, exists=True))
@click.option(
    '--to', 'target', type=click.Path(path_type=Path, dir_okay=False), required=True,
    help='File to write (.pt), which load_estimator and every command take.',
)  # fmt: skip
@click.option(
    '--data', type=click.Path(path_type=Path), help='Of dataset.py: how well it does on its tests.'
)
def main(checkpoint: Path, target: Path, data: Path | None) -> None:
    """Write the running mean of CHECKPOINT as weights of MiDaS v2.1 small."""
    state = torch.load(checkpoint, map_location='cpu', weights_only=True)
    network = StandIn().eval()
    network.load_state_dict(state['mean'])
    torch.save(weights_of(network.state_dict()), target)
    _, samples, steps, _ = state['progress']
    click.echo(f'{target}: {target.stat().st_size:,} bytes, {samples:,} samples, {steps:,} steps')
    if data:
        for name, value in correlations(network, data, 'test').items():
            click.echo(f'correlation with the true inverse depth, {name}: {value:.3f}')


if __name__ == '__main__':
    main()
