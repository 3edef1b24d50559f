"""`--help` under headings: options of one kind, and commands of one purpose, stand together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

LONGEST = 160  # characters of a command's line, which may wrap


class SectionOption(click.Option):
    """An option with a heading; without one it stands under `Options`."""

    def __init__(self, *arguments: Any, section: str = 'Options', **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.section = section


class SectionCommand(click.Command):
    """A command whose help shows its options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options in their order, each heading where it comes up first."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                title = getattr(parameter, 'section', 'Options')
                sections.setdefault(title, []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def write_commands(
    group: click.Group,
    ctx: click.Context,
    formatter: click.HelpFormatter,
    sections: Mapping[str, tuple[str, ...]],
    others: str,
) -> None:
    """The commands of a group under headings; those without one under `others`."""
    placed = [name for names in sections.values() for name in names]
    rest = tuple(name for name in group.list_commands(ctx) if name not in placed)
    for title, names in {**sections, others: rest}.items():
        known = [(name, group.get_command(ctx, name)) for name in names]
        rows = [(name, command.get_short_help_str(LONGEST)) for name, command in known if command]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
