"""Begins a run with the weights of another one, also where its stages were others."""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Tensor, nn

from midas_depth_ros.depth.archives import read_npz

MOST_BYTES = 1 << 26  # of an archive


def begin(network: nn.Module, path: Path) -> list[str]:
    """Give the network a checkpoint's running mean, or the weights of a NumPy archive.

    Where it has more channels than they have, the new ones see what their random kernels show
    them and have no say at first: the network gives what the narrower one gave. Layers that only
    one of them has are left as they are, or left out; returns a line for each of the two.
    Raises ClickException where the file lacks more than half of the network, or an entry is larger.
    """
    if path.suffix == '.npz':
        known = {key: torch.from_numpy(array) for key, array in read_npz(path, MOST_BYTES).items()}
    else:
        known = torch.load(path, map_location='cpu', weights_only=True)['mean']
    state = network.state_dict()
    missing = [
        name
        for name, mine in state.items()
        if name not in known and mine.is_floating_point()  # the archive has no counters
    ]
    if len(missing) > len(state) // 2:
        raise click.ClickException(
            f'{path} has no {missing[0]} and lacks {len(missing)} of {len(state)} entries, so it '
            'is of another network: begin with a run of training.train or with an archive of '
            'training.export'
        )
    left_out = sorted({name.rsplit('.', 1)[0] for name in known.keys() - state.keys()})
    for name, mine in state.items():
        if name not in known:
            continue
        theirs = known[name].to(mine)
        if any(a < b for a, b in zip(mine.shape, theirs.shape, strict=True)):
            raise click.ClickException(
                f'{name} is {tuple(theirs.shape)} in {path}, here only {tuple(mine.shape)}: begin '
                'with a network that is not wider'
            )
        state[name] = widened(mine, theirs)
    network.load_state_dict(state)
    said = {'new, with random weights': missing, f'of {path}, left out': left_out}
    return [f'{what}: {", ".join(names)}' for what, names in said.items() if names]


def widened(mine: Tensor, theirs: Tensor) -> Tensor:
    """`theirs` in the corner of a tensor like `mine`: new outputs are mine, new inputs nothing."""
    result = mine.clone()
    old = tuple(slice(size) for size in theirs.shape)
    if theirs.ndim > 1:
        result[: theirs.shape[0], theirs.shape[1] :] = 0
    result[old] = theirs
    return result
