"""Begins a run with the weights of another one, also where its stages were narrower."""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Tensor, nn

from midas_depth_ros.depth import embedded


def begin(network: nn.Module, path: Path) -> None:
    """Give the network a checkpoint's running mean, or the weights of a NumPy archive.

    Where it has more channels than they have, the new ones see what their random kernels show
    them and have no say at first: the network gives what the narrower one gave.
    Raises ClickException where an entry is missing or larger than here.
    """
    if path.suffix == embedded.SUFFIX:
        known = {key: torch.from_numpy(array) for key, array in embedded.read_weights(path).items()}
    else:
        known = torch.load(path, map_location='cpu', weights_only=True)['mean']
    state = network.state_dict()
    for name, mine in state.items():
        if name not in known:
            if mine.is_floating_point():  # the archive has no counters
                raise click.ClickException(
                    f'{path} has no {name}, so it is of another network: begin with a run of '
                    'training.train or with an archive of training.export'
                )
            continue
        theirs = known[name].to(mine)
        if any(a < b for a, b in zip(mine.shape, theirs.shape, strict=True)):
            raise click.ClickException(
                f'{name} is {tuple(theirs.shape)} in {path}, here only {tuple(mine.shape)}: begin '
                'with a network that is not wider'
            )
        state[name] = widened(mine, theirs)
    network.load_state_dict(state)


def widened(mine: Tensor, theirs: Tensor) -> Tensor:
    """`theirs` in the corner of a tensor like `mine`: new outputs are mine, new inputs nothing."""
    result = mine.clone()
    old = tuple(slice(size) for size in theirs.shape)
    if theirs.ndim > 1:
        result[: theirs.shape[0], theirs.shape[1] :] = 0
    result[old] = theirs
    return result
