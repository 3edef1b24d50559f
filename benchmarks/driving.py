"""Collisions and distance with avoidance in many worlds, without it, and with perfect perception.

Every row drives worlds made from seeds, in one process or over DDS. The same worlds are driven
without avoidance ("blind"), and with exact scans of all that is in view.

    python -m benchmarks.driving --write docs/driving.md     # exact and a model's depth
    python -m benchmarks.driving --table scale --write docs/driving.md     # floor, odometry, auto
    python -m benchmarks.driving --table ground --write docs/driving.md    # ramps, steps, edges
    python -m benchmarks.driving --table over_dds --write docs/driving.md  # real nodes, real time

Over DDS `--parallel` robots drive at a time, each in processes and a ROS domain of its own.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
HEADER_SCALE = (
    '| what is driven | collisions | falls | driven | least clearance | stops | without metres '
    '| by hand | frames with metres | of them off by more than 10 % |\n'
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |'
)
SLIP, BIAS = 0.2, 0.05


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


def scale_plans(worlds: int) -> list[DrivePlan]:
    """Return plans by floor, odometry and both, with the embedded model among furniture."""
    floor = DrivePlan(
        worlds=worlds, seconds=20.0, depth='model', model='embedded', blind=False,
        worlds_are='furnished',
    )  # fmt: skip
    odometry, auto = (dataclasses.replace(floor, scale=scale) for scale in ('odometry', 'auto'))
    return [
        floor,
        odometry,
        auto,
        dataclasses.replace(auto, odometry_bias=BIAS),
        dataclasses.replace(odometry, slip=SLIP),
        dataclasses.replace(auto, slip=SLIP),
    ]


def ground_plans(worlds: int) -> list[DrivePlan]:
    """Return plans on ramps, before steps and above edges: exact depth, then the model's."""
    exact = DrivePlan(worlds=worlds, seconds=20.0, worlds_are='uneven')
    model = dataclasses.replace(exact, depth='model', model='embedded', blind=False)
    return [
        exact,
        dataclasses.replace(exact, scale='auto', blind=False),
        model,
        dataclasses.replace(model, scale='auto'),
    ]


def over_dds_plans(worlds: int) -> list[DrivePlan]:
    """Return plans for real nodes: exact depth, and the three sources of scale with the model."""
    exact = DrivePlan(worlds=worlds, seed=100, seconds=20.0, blind=False)
    return [exact, *(dataclasses.replace(p, seed=100) for p in scale_plans(worlds)[:3])]


def command_of(plan: DrivePlan, in_process: bool) -> str:
    """Return the command that does the same."""
    words = [f'drive --worlds {plan.worlds}', f'--seconds {plan.seconds:g}']
    plain = DrivePlan()
    for name in ('seed', 'worlds_are', 'rate_hz', 'metres_off', 'scale', 'odometry_bias', 'slip'):
        value = getattr(plan, name)
        if value != getattr(plain, name):
            shown = f'{value:g}' if isinstance(value, float) else value
            words.append(f'--{name.removesuffix("_hz").replace("_", "-")} {shown}')
    if plan.depth == 'model':
        words.append(f'--depth model --model {plan.model}')
    if plan.depth == 'metres':
        words.append('--depth metres')
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
    given = {name: getattr(plain, name) for name in ('depth', 'model', 'metres_off', 'scale')}
    return dataclasses.replace(plan, **given)


def in_process(plan: DrivePlan) -> dict[str, Any]:
    """Return the summary of a plan, driven in this process."""
    with tqdm(total=plan.worlds * (1 + plan.blind), desc=command_of(plan, True)) as bar:
        return carry_out(plan, True, None, lambda _: bar.update() and None)


def over_dds(plan: DrivePlan, parallel: int) -> dict[str, Any]:
    """Return the summary of a plan, driven by several commands at a time."""
    shares = [
        dataclasses.replace(plan, seed=plan.seed + first, worlds=count)
        for first, count in _shares(plan.worlds, parallel)
    ]
    environment = {k: v for k, v in os.environ.items() if k != 'ROS_DOMAIN_ID'}
    with tempfile.TemporaryDirectory() as logs:
        commands = [
            [sys.executable, '-m', 'midas_depth_ros.cli.main', *command_of(share, False).split()]
            + ['--json', '--logs', f'{logs}/{share.seed}']
            for share in shares
        ]
        running = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            for command in commands
        ]
        said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise click.ClickException(f'a drive failed: {command_of(plan, False)}')
    return merged([json.loads(text) for text in said])


def _shares(worlds: int, parallel: int) -> Iterator[tuple[int, int]]:
    """Yield first and count of each of up to `parallel` shares of so many worlds."""
    first = 0
    for number in range(min(parallel, worlds)):
        count = (worlds - first) // (min(parallel, worlds) - number)
        yield first, count
        first += count


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one summary of several."""
    whole = dict(parts[0])
    for name, value in whole.items():
        values = [part[name] for part in parts]
        if isinstance(value, (str, bool)) or None in values:
            continue
        if name == 'min_clearance_m':
            whole[name] = min(values)
        else:
            whole[name] = sum(values, [] if isinstance(value, list) else 0)
    return whole


def row(plan: DrivePlan, found: dict[str, Any], command: str) -> str:
    """Return one row of the first table."""
    blind = found['collisions_without_avoidance']
    cells = [
        f'`{command}`',
        f'**{found["collisions"]}** of {plan.worlds}',
        '-' if blind is None else f'{blind}',
        f'{found["distance_m"]:.0f} m',
        f'{by_exact_scans(exactly(plan)):.0f} m',
        f'{found["min_clearance_m"]:.2f} m',
        f'{found["stops"]}',
    ]
    return f'| {" | ".join(cells)} |'


def scale_row(plan: DrivePlan, found: dict[str, Any], command: str) -> str:
    """Return one row of the other tables."""
    helped = found['times_by_hand'] is not None
    frames, given = found['frames'], found['frames_with_metres']
    cells = [
        f'`{command}`',
        f'**{found["collisions"]}** of {plan.worlds}',
        falls(plan, found),
        f'{found["distance_m"]:.0f} m',
        f'{found["min_clearance_m"]:.2f} m',
        f'{found["stops"]}',
        f'{found["seconds_without_metres"] / found["seconds"]:.0%} of the time' if helped else '-',
        f'{found["times_by_hand"]} times, {found["distance_by_hand_m"]:.0f} m' if helped else '-',
        f'{given / frames:.0%}' if frames else '-',
        f'{found["frames_far_off"]} ({found["frames_far_off"] / given:.1%})' if given else '-',
    ]
    return f'| {" | ".join(cells)} |'


def falls(plan: DrivePlan, found: dict[str, Any]) -> str:
    """Return falls and, on uneven ground, in which kinds of worlds they were."""
    text = f'**{found["falls"]}** of {plan.worlds}'
    if plan.worlds_are != 'uneven':
        return text
    kinds = {seed: WORLDS['uneven'](seed).kind for seed in plan.seeds}
    fell = collections.Counter(kinds[seed] for seed in found['fell'])
    of_kind = [
        f'{kind} {fell[kind]} of {count}'
        for kind, count in sorted(collections.Counter(kinds.values()).items())
    ]
    blind = found['falls_without_avoidance']
    of_blind = [] if blind is None else [f'blind {blind} of {plan.worlds}']
    return f'{text} ({"; ".join([*of_kind, *of_blind])})'


PLANS = {'depth': plans, 'scale': scale_plans, 'ground': ground_plans, 'over_dds': over_dds_plans}


def rows(worlds: int, table: str, parallel: int) -> Iterator[str]:
    """Yield a table, row by row."""
    made = row if table == 'depth' else scale_row
    yield HEADER if table == 'depth' else HEADER_SCALE
    for plan in PLANS[table](worlds):
        if table == 'over_dds':
            yield made(plan, over_dds(plan, parallel), command_of(plan, False))
        else:
            yield made(plan, in_process(plan), command_of(plan, True))


@click.command()
@click.option('--worlds', default=50, show_default=True, help='In each row.')
@click.option('--table', type=click.Choice(list(PLANS)), default='depth', show_default=True)
@click.option('--parallel', default=2, show_default=True, help='Robots at a time over DDS.')
@click.option('--write', 'path', type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(worlds: int, table: str, parallel: int, path: Path | None) -> None:
    """Print the table, and with --write put it between its marks in a Markdown file."""
    lines = []
    for line in rows(worlds, table, parallel):
        click.echo(line)
        lines.append(line)
    if path is not None:
        write_block(path, 'driving' if table == 'depth' else f'driving-{table}', '\n'.join(lines))


if __name__ == '__main__':
    main()
