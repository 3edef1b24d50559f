"""The mean of the weights of runs that started from the same one: better than any of them.

Two networks that were trained on from the same weights lie in one valley, and between them it is
deeper (Wortsman et al., "Model soups", ICML 2022). The error that it expects of itself has to be
trained anew (`train --only-error`), since depth is another.

    python -m training.mean runs/K/best.pt 0.65 runs/L/best.pt 0.35 --to runs/KL.pt
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from midas_depth_ros.depth.files import read_npz
from midas_depth_ros.depth.models import embedded

MOST_BYTES = 1 << 26

State = dict[str, torch.Tensor]


def mean_of(states: Sequence[State], shares: Sequence[float]) -> State:
    """Return the weighted mean; counters are those of the first. ValueError where they differ."""
    if len(states) != len(shares) or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(f'{len(states)} runs and the shares {shares}: one for each, 1 in all')
    first = states[0]
    for state in states[1:]:
        others = {name for name in first.keys() | state.keys() if not _same(name, first, state)}
        if others:
            raise ValueError(f'not the same network: {", ".join(sorted(others)[:3])} differ')
    return {name: _weighted([state[name] for state in states], shares) for name in first}


def _same(name: str, one: State, other: State) -> bool:
    return name in one and name in other and one[name].shape == other[name].shape


def _weighted(tensors: list[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    weights = torch.tensor(shares, dtype=tensors[0].dtype)
    return torch.tensordot(weights, torch.stack(tensors), 1)


def with_error_of(state: State, archive: Path) -> State:
    """Return the state with the second output of an archive of weights (.npz), to train on from."""
    known = read_npz(archive, MOST_BYTES)
    head = {name: torch.tensor(known[name]) for name in known if name.startswith('error.')}
    return {**state, **head}


@click.command()
@click.argument('runs_and_shares', nargs=-1, required=True, metavar='CHECKPOINT SHARE ...')
@click.option('--to', 'target', type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option(
    '--error-of', type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=embedded.ASSET, help='Archive with the second output to start from.',
)  # fmt: skip
def main(runs_and_shares: tuple[str, ...], target: Path, error_of: Path) -> None:
    """Write the mean of checkpoints, each followed by its share."""
    paths = map(Path, runs_and_shares[::2])
    states = [torch.load(path, map_location='cpu', weights_only=True)['mean'] for path in paths]
    try:
        state = mean_of(states, list(map(float, runs_and_shares[1::2])))
    except ValueError as error:
        raise click.UsageError(f'{error}. As in: K.pt 0.65 L.pt 0.35') from error
    torch.save({'mean': with_error_of(state, error_of)}, target)


if __name__ == '__main__':
    main()
