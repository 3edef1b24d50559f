"""Writes docs/models.md: what the models are, and how fast they are on this machine.

    python -m benchmarks.models --write               # measures for a quarter of an hour
    python -m benchmarks.models --json found.json     # keeps the figures ...
    python -m benchmarks.models --from found.json --write   # ... to write them later

Each network once: those of Depth Anything's small models are the same, whatever they were trained
for. At the size that a node takes, with memory and start, then at the model's own size up to
MOST_GFLOP. Only the text between the marks is replaced.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.performance_page import write_block
from midas_depth_ros.cli.models import input_of
from midas_depth_ros.depth import models
from midas_depth_ros.depth.models.published import Accuracy, Source
from midas_depth_ros.lab.output import print_status
from midas_depth_ros.lab.speed.by_model import (
    Comparison,
    Subject,
    compare,
    model_of,
    usual_short_sides,
)
from midas_depth_ros.lab.speed.candidates import USUAL_RECIPE
from midas_depth_ros.lab.speed.run import VGA

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'models.md'
SAME_NETWORK = {
    'depth_anything_v1_small': 'depth_anything_v2_small',
    'depth_anything_v2_metric_indoor_small': 'depth_anything_v2_small',
    'depth_anything_v2_metric_outdoor_small': 'depth_anything_v2_small',
}
MOST_GFLOP = 400.0  # at a model's own size
SECONDS = 5.0  # of timing, per model; at its own size half of that

Json = dict[str, Any]


def at_both_sizes(names: Sequence[str]) -> tuple[list[Subject], list[Subject]]:
    """Each network at the node's size, and at its own where that is another."""
    node, own = [], []
    for name in names or [each for each in models.names() if each not in SAME_NETWORK]:
        model, weights = model_of(name)
        short_side, _ = usual_short_sides(model)
        node.append(Subject(model, short_side, weights))
        official = Subject(model, 0, weights)
        size = official.input_size(VGA)
        if size == node[-1].input_size(VGA):
            continue
        if model.giga_operations.get(size, 0.0) <= MOST_GFLOP:
            own.append(official)
    return node, own


def measure(names: Sequence[str], threads: int, seconds: float) -> Json:
    """Measure these, or all of them, for about `seconds` of timing each."""
    node, own = at_both_sizes(names)
    with tempfile.TemporaryDirectory(prefix='midas_depth_models_') as folder:
        first = _compare(node, Path(folder), threads, seconds, alone=True)
        second = _compare(own, Path(folder), threads, seconds / 2, alone=False)
    result = Comparison(
        first.measured + second.measured, first.absent + second.absent, dict(first.facts)
    )
    result.facts['seconds'] += second.facts['seconds']
    result.facts['load_average'][1] = second.facts['load_average'][1]
    return result.to_json()


def _compare(
    chosen: Sequence[Subject], folder: Path, threads: int, seconds: float, *, alone: bool
) -> Comparison:
    return compare(chosen, print_status, logs=folder, threads=threads, seconds=seconds, alone=alone)


# --- The tables of the page.


def what_there_is(found: Json) -> str:
    """Every model: size, cost, licence."""
    lines = [
        '| model | gives | M parameters | GFLOP | input for 4:3 | licence of the weights |',
        '| --- | --- | --: | --: | --- | --- |',
    ]
    for model in map(models.spec, models.names()):
        width, height = input_of(model)
        work = model.giga_operations.get((width, height))
        file = model.weights
        must = ', must be accepted' if file.must_be_accepted else ''
        lines.append(
            f'| `{model.name}` | {model.output.value} | {_digits(model.parameters / 1e6)} '
            f'| {_digits(work)} | {width} x {height} | {file.licence}{must} |'
        )
    return '\n'.join(lines)


def accuracy(found: Json) -> str:
    """What was published, a table per source."""
    said = [(model, each) for model in map(models.spec, models.names()) for each in model.published]
    parts = []
    for source in dict.fromkeys(each.source for _, each in said):
        rows = [
            f'| `{model.name}`{f" ({each.note})" if each.note else ""} '
            f'| {_accuracy(each.nyu)} | {_accuracy(each.kitti)} |'
            for model, each in said
            if each.source == source
        ]
        parts.append('\n'.join((_introduction(source), '', *ACCURACY_HEAD, *rows)))
    return '\n\n'.join(parts)


ACCURACY_HEAD = (
    '| model | NYU AbsRel | d1 | KITTI AbsRel | d1 |',
    '| --- | --: | --: | --: | --: |',
)


def _introduction(source: Source) -> str:
    return f'**{source.title}**: {source.where}; {source.about}.'


def _accuracy(found: Accuracy | None) -> str:
    values = (None, None) if found is None else (found.abs_rel, found.delta1)
    return ' | '.join('' if value is None else f'{value:.3f}' for value in values)


def speed(found: Json) -> str:
    """The fastest way in each precision, beside eager torch."""
    lines = [
        '| model | input | GFLOP | precision | backend | ms | CPU ms | per s | x eager | MB '
        '| start s |',
        '| --- | --- | --: | --- | --- | --: | --: | --: | --: | --: | --: |',
    ]
    for one in found['measured']:
        size = f'{one["input"][0]} x {one["input"][1]}'
        work = models.spec(one['model']).giga_operations.get(tuple(one['input']))
        about = f'| `{one["model"]}` | {size} | {_digits(work)} '
        ways = [way for way in one['ways'] if way['backend'] != USUAL_RECIPE]
        eager = [way for way in one['ways'] if way['backend'] == USUAL_RECIPE]
        best = {
            precision: min(
                (way for way in ways if way['precision'] == precision), key=lambda way: way['ms']
            )
            for precision in dict.fromkeys(way['precision'] for way in ways)
        }
        for way in (*eager, *best.values()):
            backend = 'torch eager' if way in eager else way['backend']
            lines.append(f'{about}| {way["precision"]} | {backend} | {_figures(way)} |')
            about = '| | | '
    return '\n'.join(lines)


def _figures(way: Json) -> str:
    numbers = (
        *((way['ms'], 1), (way['cpu_ms'], 1), (1e3 / way['ms'], 1), (way['x_eager'], 2)),
        *((way['rss_mb'], 0), (way['start_s'], 1)),
    )
    return ' | '.join('' if value is None else f'{value:.{digits}f}' for value, digits in numbers)


def machine(found: Json) -> str:
    """On what it was measured."""
    versions = ', '.join(f'{name} {number}' for name, number in found['versions'].items())
    load = ' to '.join(str(figure) for figure in found['load_average'])
    trained = [one['model'] for one in found['measured'] if not one['judged'].startswith('not ')]
    return (
        f'{found["cpu"]}, {found["cores"]} processors, {found["threads"]} threads, '
        f'{found["system"]}; {versions}. Load average {load}, {found["seconds"]:.0f} s. Weights: '
        f'published ones of {", ".join(dict.fromkeys(trained)) or "none"}, random ones of the '
        'others, which take the same time.'
    )


def left_out(found: Json) -> str:
    """What could not be measured, and why."""
    same = [f'- `{name}` is the same network as `{other}`.' for name, other in SAME_NETWORK.items()]
    return '\n'.join([*same, *(f'- {line}' for line in found['absent'])])


def _digits(value: float | None) -> str:
    if value is None:
        return ''
    return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


BLOCKS: dict[str, Callable[[Json], str]] = {
    'models': what_there_is,
    'accuracy': accuracy,
    'machine': machine,
    'speed': speed,
    'left out': left_out,
}


@click.command()
@click.argument('names', nargs=-1)
@click.option('--write', is_flag=True, help='Put the tables into docs/models.md.')
@click.option('--threads', default=0, show_default='all processors')
@click.option('--seconds', default=SECONDS, show_default=True, help='Of timing, per model.')
@click.option(
    '--json', 'target', type=click.Path(path_type=Path), help='File to keep the figures in.'
)
@click.option(
    '--from', 'source', type=click.Path(path_type=Path, exists=True), help='Measure nothing.'
)
def main(
    names: tuple[str, ...], write: bool, threads: int, seconds: float, target: Path | None,
    source: Path | None,
) -> None:  # fmt: skip
    """Measure the models NAMES, or each network once, and print or write the tables."""
    found: Json = json.loads(source.read_text()) if source else measure(names, threads, seconds)
    if target:
        target.write_text(json.dumps(found, indent=1))
    for name, block in BLOCKS.items():
        if write:
            write_block(PAGE, name, block(found))
        else:
            click.echo(f'{block(found)}\n')


if __name__ == '__main__':
    main()
