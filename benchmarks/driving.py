"""Collisions and distance with avoidance in many worlds, without it, and with perfect perception.

Every row drives worlds made from seeds, in one process or over DDS. The same worlds are driven
without avoidance ("blind"), and with exact scans of all that is in view.

    python -m benchmarks.driving --write docs/driving.md      # all but the row over DDS
    python -m benchmarks.driving --over-dds                   # that row alone, in real time
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from tqdm import tqdm

from benchmarks.performance_page import write_block
from midas_depth_ros.cli.drive import carry_out
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.in_process import (
    LoopOptions,
    PerfectSensor,
    ScanAvoidance,
    ScanMaker,
    drive,
)
from midas_depth_ros.lab.drive.rig import DrivePlan
from midas_depth_ros.sim import WORLDS

HEADER = (
    '| what is driven | collisions | blind | driven | by exact scans | least clearance | stops |\n'
    '| --- | --- | --- | --- | --- | --- | --- |'
)


def plans(worlds: int) -> list[DrivePlan]:
    """Return the plans for one process: at the node's rate, and with exact depth at twice that."""
    exact = DrivePlan(worlds=worlds, seconds=20.0)
    model = dataclasses.replace(exact, depth='model', model='embedded')
    fast = dataclasses.replace(exact, rate_hz=2 * exact.rate_hz)
    metres = dataclasses.replace(exact, depth='metres')
    allowed, off = (dataclasses.replace(metres, metres_off=factor) for factor in (1.15, 1.25))
    return [
        dataclasses.replace(plan, worlds_are=worlds_are)
        for plan in (exact, metres, allowed, off, model, fast)
        for worlds_are in ('plain', 'furnished')
    ]


def command_of(plan: DrivePlan, in_process: bool) -> str:
    """Return the command that does the same."""
    words = [f'drive --worlds {plan.worlds}', f'--seconds {plan.seconds:g}']
    if plan.seed:
        words.append(f'--seed {plan.seed}')
    if plan.worlds_are != DrivePlan.worlds_are:
        words.append(f'--worlds-are {plan.worlds_are}')
    if plan.rate_hz != DrivePlan.rate_hz:
        words.append(f'--rate {plan.rate_hz:g}')
    if plan.depth == 'model':
        words.append(f'--depth model --model {plan.model}')
    if plan.depth == 'metres':
        words.append('--depth metres')
    if plan.metres_off != DrivePlan.metres_off:
        words.append(f'--metres-off {plan.metres_off:g}')
    if not plan.blind:
        words.append('--no-blind')
    return ' '.join([*words, '--in-process'] if in_process else words)


@functools.cache
def by_exact_scans(plan: DrivePlan) -> float:
    """Return the metres that the same robot drives in the same worlds with perfect perception."""
    given = rig.node_settings(plan)
    scans = ScanMaker(rig.camera_model(rig.SIZE_EXACT), rig.mount(), given.depth)
    sensor = PerfectSensor(scans.scan_beams(rig.SIZE_EXACT[::-1]))
    options = LoopOptions(plan.seconds, plan.speed_m_s, plan.rate_hz)
    return sum(
        drive(
            WORLDS[plan.worlds_are](seed),
            rig.ROBOT,
            options,
            sensor,
            ScanAvoidance(given.avoidance),
        ).distance_m
        for seed in plan.seeds
    )


def exactly(plan: DrivePlan) -> DrivePlan:
    """Return the plan of the same worlds with exact depth."""
    plain = DrivePlan()
    return dataclasses.replace(
        plan, depth=plain.depth, model=plain.model, metres_off=plain.metres_off
    )


def row(plan: DrivePlan, in_process: bool, logs: Path | None) -> str:
    """Return one row of the table."""
    with tqdm(total=plan.worlds * (1 + plan.blind), desc=command_of(plan, in_process)) as bar:
        found = carry_out(plan, in_process, logs, lambda _: bar.update() and None)
    blind = found['collisions_without_avoidance']
    cells = [
        f'`{command_of(plan, in_process)}`',
        f'**{found["collisions"]}** of {plan.worlds}',
        '-' if blind is None else f'{blind}',
        f'{found["distance_m"]:.0f} m',
        f'{by_exact_scans(exactly(plan)):.0f} m',
        f'{found["min_clearance_m"]:.2f} m',
        f'{found["stops"]}',
    ]
    return f'| {" | ".join(cells)} |'


def rows(worlds: int, over_dds: bool) -> Iterator[str]:
    """Yield the table, row by row."""
    yield HEADER
    if not over_dds:
        for plan in plans(worlds):
            yield row(plan, True, None)
        return
    with tempfile.TemporaryDirectory() as logs:
        yield row(DrivePlan(worlds=worlds, seed=100, seconds=20.0, blind=False), False, Path(logs))


@click.command()
@click.option('--worlds', default=50, show_default=True, help='In each row.')
@click.option('--over-dds', is_flag=True, help='Real nodes in real time in place of one process.')
@click.option('--write', 'path', type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(worlds: int, over_dds: bool, path: Path | None) -> None:
    """Print the table, and with --write put it between its marks in a Markdown file."""
    lines = []
    for line in rows(worlds, over_dds):
        click.echo(line)
        lines.append(line)
    if path is not None:
        write_block(path, 'driving', '\n'.join(lines))


if __name__ == '__main__':
    main()
