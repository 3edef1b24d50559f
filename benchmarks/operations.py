"""Counts the arithmetic of every model at the sizes in its specification, on the torch modules.

    python -m benchmarks.operations                       # all, beside what the specifications say
    python -m benchmarks.operations zipdepth --size 320x256

Convolutions, matrix products and attention, multiplications and additions counted apart, for one
picture: what `ModelSpec.giga_operations` holds. Nothing is computed, so it takes seconds. A
convolution that is merged into another where the network runs does not count.
"""

from __future__ import annotations

from collections.abc import Iterable

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from midas_depth_ros.depth import models
from midas_depth_ros.depth.models.spec import ModelSpec
from midas_depth_ros.lab.speed.run import Size, size_text

MERGED = '.branch_1x1.0'  # ends the names of layers that are merged into others
TOLERANCE = 0.01  # of the figure


def giga_operations(model: ModelSpec, sizes: Iterable[Size]) -> dict[Size, float]:
    """Of one run by the size (width, height) of the network's input, in 10^9.

    Raises BackendUnavailable where the model has no torch module.
    """
    with torch.device('meta'), torch.no_grad():
        module = model.module().eval()
        return {size: _counted(module, size) / 1e9 for size in sizes}


def _counted(module: torch.nn.Module, size: Size) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        module(torch.empty(1, 3, size[1], size[0]))
    merged = sum(
        sum(count.values())
        for name, count in counter.get_flop_counts().items()
        if name.endswith(MERGED)
    )
    return int(counter.get_total_flops()) - merged


def _size(text: str) -> Size:
    width, _, height = text.partition('x')
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter(f'{text!r} is not WIDTHxHEIGHT, such as 320x256')
    return int(width), int(height)


@click.command()
@click.argument('names', nargs=-1)
@click.option('--size', 'texts', multiple=True, metavar='WxH', help="Of the network's input.")
def main(names: tuple[str, ...], texts: tuple[str, ...]) -> None:
    """Print GFLOP by model and size; exit code 1 where a specification says otherwise."""
    sizes = [_size(text) for text in texts]
    wrong = []
    for name in names or models.names():
        model = models.spec(name)
        height, width = model.picture.usual_size
        wanted = sizes or list(dict.fromkeys([(width, height), *model.giga_operations]))
        for size, count in giga_operations(model, wanted).items():
            said = model.giga_operations.get(size)
            if said is not None and abs(said - count) > TOLERANCE * count:
                wrong.append(name)
            note = '' if said is None else f'  (the specification: {said:g})'
            click.echo(f'{name} {size_text(size)}: {count:.4g}{note}')
    if wrong:
        raise click.ClickException(f'other figures in the specification of {", ".join(wrong)}')


if __name__ == '__main__':
    main()
