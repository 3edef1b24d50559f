"""What `--help` of a node's executable prints: what it does, how it is called, its parameters.

It is asked for before ROS is started, so nothing is loaded, fetched or sent. No ROS is imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any

import click

from midas_depth_ros.nodes.declarations import Spec, group_specs, specs

WORDS = ('--help', '-h')
WIDTH = 100
CALL = (
    'Usage: ros2 run midas_depth_ros {name}',
    '       [--ros-args -p NAME:=VALUE ... -r FROM:=TO ... --params-file FILE]',
)


def helped(
    name: str, settings_class: type, about: str | None, args: Sequence[str] | None = None
) -> bool:
    """Print the help of a node if the command line asks for it; whether it did.

    about: the docstring of its module. args: the command line, that of the process if None.
    """
    given = sys.argv[1:] if args is None else args
    if not any(word in given for word in WORDS):
        return False
    with contextlib.suppress(BrokenPipeError):  # nobody reads on
        click.echo(help_text(name, settings_class, about or ''))
        sys.stdout.flush()
    return True


def help_text(name: str, settings_class: type, about: str) -> str:
    """The help of a node, in lines of at most WIDTH characters where words allow it."""
    formatter = click.HelpFormatter(width=WIDTH, max_width=WIDTH)
    formatter.write('\n'.join(CALL).format(name=name) + '\n')
    formatter.write_paragraph()
    for paragraph in about.strip().split('\n\n'):
        formatter.write_text(' '.join(paragraph.split()))
        formatter.write_paragraph()
    rows = [(spec.name, _row(spec)) for spec in every_spec(settings_class)]
    with formatter.section('Parameters'):
        formatter.write_dl(rows, col_max=32)
    return formatter.getvalue().rstrip()


def every_spec(settings_class: type) -> list[Spec]:
    """Every parameter, with those of which there is one for each camera or the like."""
    names = {
        each.metadata['names']: ['<name>']
        for each in dataclasses.fields(settings_class)
        if 'groups' in each.metadata
    }
    return [*specs(settings_class), *group_specs(settings_class, names)]


def _row(spec: Spec) -> str:
    """Text, unit, default and bounds of a parameter, and when a new value takes effect."""
    facts = [spec.kind, f'default {_shown(spec.default)}']
    if spec.choices:
        facts.append(f'one of {", ".join(spec.choices)}')
    if spec.minimum is not None or spec.maximum is not None:
        facts.append(f'{_shown(spec.minimum)} to {_shown(spec.maximum)}')
    if spec.live:
        facts.append('at once')
    unit = f' [{spec.unit}]' if spec.unit else ''
    return f'{spec.text}{unit} ({"; ".join(facts)})'


def _shown(value: Any) -> str:
    if value is None:
        return '...'
    if isinstance(value, bool):
        return str(value).lower()  # as YAML and ros2 param have it
    if isinstance(value, float):
        return 'NaN' if math.isnan(value) else f'{value:g}'
    if isinstance(value, (tuple, list)):
        return f'[{", ".join(map(str, value))}]'
    return str(value) if value != '' else "''"
