"""Collisions and distance with avoidance in many worlds, without it, and with perfect perception.

Every row drives worlds made from seeds, in one process or over DDS. The same worlds are driven
without avoidance ("blind"), and with exact scans of all that is in view. Robots drive `--parallel`
at a time, five worlds a command; over DDS each in processes and a ROS domain of its own.

    python -m benchmarks.driving --write docs/driving.md     # exact and a model's depth
    python -m benchmarks.driving --table scale --write docs/driving.md     # floor, odometry, auto
    python -m benchmarks.driving --table ground --write docs/driving.md    # ramps, steps, edges
    python -m benchmarks.driving --table hazards --write docs/driving.md   # doors, stairs
    python -m benchmarks.driving --table over_dds --keep FOLDER --write docs/driving.md  # DDS

With `--keep` a run that was stopped goes on where it ended.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.parts import Runner, parts_of
from benchmarks.performance_page import write_block
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.in_process import (
    LoopOptions,
    PerfectSensor,
    ScanAvoidance,
    ScanMaker,
    drive,
)
from midas_depth_ros.lab.drive.rig import DrivePlan
from midas_depth_ros.lab.stopping import run_command
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


Plans = dict[str, DrivePlan]  # by name of the row


def plans(worlds: int) -> Plans:
    """Return the plans for one process: at the node's rate, and with exact depth at twice that."""
    exact = DrivePlan(worlds=worlds, seconds=20.0)
    model = dataclasses.replace(exact, depth='model', model='embedded')
    fast = dataclasses.replace(exact, rate_hz=2 * exact.rate_hz)
    metres = dataclasses.replace(exact, depth='metres')
    allowed, off = (dataclasses.replace(metres, metres_off=factor) for factor in (1.15, 1.25))
    named = {
        'exact': exact, 'metres': metres, 'metres_15': allowed, 'metres_25': off,
        'model': model, 'fast': fast,
    }  # fmt: skip
    return {
        f'{name}_{worlds_are}': dataclasses.replace(plan, worlds_are=worlds_are)
        for name, plan in named.items()
        for worlds_are in ('plain', 'furnished')
    }


def scale_plans(worlds: int) -> Plans:
    """Return plans by floor, odometry and both, with the embedded model among furniture."""
    floor = DrivePlan(
        worlds=worlds, seconds=20.0, depth='model', model='embedded', blind=False,
        worlds_are='furnished',
    )  # fmt: skip
    odometry, auto = (dataclasses.replace(floor, scale=scale) for scale in ('odometry', 'auto'))
    return {
        'floor': floor,
        'odometry': odometry,
        'auto': auto,
        'auto_bias': dataclasses.replace(auto, odometry_bias=BIAS),
        'odometry_slip': dataclasses.replace(odometry, slip=SLIP),
        'auto_slip': dataclasses.replace(auto, slip=SLIP),
    }


def ground_plans(worlds: int) -> Plans:
    """Return plans on ramps, before steps and above edges: exact depth, then the model's."""
    exact = DrivePlan(worlds=worlds, seconds=20.0, worlds_are='uneven')
    model = dataclasses.replace(exact, depth='model', model='embedded', blind=False)
    return {
        'exact': exact,
        'exact_auto': dataclasses.replace(exact, scale='auto', blind=False),
        'floor': model,
        'auto': dataclasses.replace(model, scale='auto'),
    }


def hazard_plans(worlds: int) -> Plans:
    """Return plans before dark doors, glass, stairs down and among near things."""
    exact = DrivePlan(worlds=worlds, seconds=20.0, worlds_are='hazards')
    model = dataclasses.replace(exact, depth='model', model='embedded', blind=False)
    return {'exact': exact, 'floor': model, 'auto': dataclasses.replace(model, scale='auto')}


def over_dds_plans(worlds: int) -> Plans:
    """Return plans for real nodes: exact depth, and the three sources of scale with the model."""
    exact = DrivePlan(worlds=worlds, seconds=20.0, blind=False)
    of_scale = scale_plans(worlds)
    rows = {'exact': exact, **{name: of_scale[name] for name in ('floor', 'odometry', 'auto')}}
    return {name: dataclasses.replace(plan, seed=100) for name, plan in rows.items()}


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


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one summary of several."""
    whole = dict(parts[0])
    for name, value in whole.items():
        values = [part[name] for part in parts]
        if isinstance(value, (str, bool)):
            continue
        if None in values:
            whole[name] = None
        elif name == 'min_clearance_m':
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
    off = found['frames_far_off']
    cells = [
        f'`{command}`',
        collisions(plan, found),
        falls(plan, found),
        f'{found["distance_m"]:.0f} m',
        f'{found["min_clearance_m"]:.2f} m',
        f'{found["stops"]}',
        f'{found["seconds_without_metres"] / found["seconds"]:.0%} of the time' if helped else '-',
        f'{found["times_by_hand"]} times, {found["distance_by_hand_m"]:.0f} m' if helped else '-',
        f'{given / frames:.0%}{_pace(found)}' if frames else '-',
        '-' if off is None else f'{off} ({off / given:.1%})',
    ]
    return f'| {" | ".join(cells)} |'


def _pace(found: dict[str, Any]) -> str:
    """Frames per second that were reached, where they were measured."""
    seconds = found['frames_seconds']
    return f' of {found["frames"] / seconds:.1f} per second' if seconds else ''


def collisions(plan: DrivePlan, found: dict[str, Any]) -> str:
    """Return collisions and, in worlds with hazards, in which kinds of them they were."""
    text = f'**{found["collisions"]}** of {plan.worlds}'
    if plan.worlds_are != 'hazards':
        return text
    of_kind = by_kind(kinds_of(plan), found['collided'])
    return f'{text} ({"; ".join([*of_kind, *_blind(plan, found, "collisions")])})'


def falls(plan: DrivePlan, found: dict[str, Any]) -> str:
    """Return falls and in which kinds of worlds they were, of those with edges."""
    text = f'**{found["falls"]}** of {plan.worlds}'
    kinds = kinds_of(plan, with_edges=True)
    if not kinds:
        return text
    of_kind = by_kind(kinds, found['fell'])
    return f'{text} ({"; ".join([*of_kind, *_blind(plan, found, "falls")])})'


def kinds_of(plan: DrivePlan, with_edges: bool = False) -> dict[int, str]:
    """Return the kind of each world by its seed, of all or only of those that are not flat."""
    if plan.worlds_are not in ('uneven', 'hazards'):
        return {}
    worlds = (WORLDS[plan.worlds_are](seed) for seed in plan.seeds)
    return {each.seed: each.kind for each in worlds if not (with_edges and each.ground.is_flat)}


def by_kind(kinds: dict[int, str], ended: list[int]) -> list[str]:
    """Return for each kind in how many of its worlds it ended so; ended: seeds."""
    met = collections.Counter(kinds[seed] for seed in ended)
    counts = sorted(collections.Counter(kinds.values()).items())
    return [f'{kind} {met[kind]} of {count}' for kind, count in counts]


def _blind(plan: DrivePlan, found: dict[str, Any], name: str) -> list[str]:
    blind = found[f'{name}_without_avoidance']
    return [] if blind is None else [f'blind {blind} of {plan.worlds}']


PLANS = {
    'depth': plans, 'scale': scale_plans, 'ground': ground_plans, 'hazards': hazard_plans,
    'over_dds': over_dds_plans,
}  # fmt: skip


def chosen(table: str, worlds: int, rows: str = '', seed: int | None = None) -> Plans:
    """Return the plans of a table, only the named rows if some are named, from another seed."""
    every = PLANS[table](worlds)
    names = rows.split(',') if rows else list(every)
    unknown = [name for name in names if name not in every]
    if unknown:
        raise click.BadParameter(
            f'{unknown[0]!r} is no row of the table {table}: use some of {",".join(every)}'
        )
    found = {name: every[name] for name in names}
    if seed is None:
        return found
    return {name: dataclasses.replace(plan, seed=seed) for name, plan in found.items()}


def table_lines(table: str, rows: Plans, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the table."""
    made = row if table == 'depth' else scale_row
    lines = [HEADER if table == 'depth' else HEADER_SCALE]
    for name, plan in rows.items():
        lines.append(made(plan, merged(found[name]), command_of(plan, table != 'over_dds')))
    return lines


@click.command()
@click.option('--worlds', default=50, show_default=True, help='In each row.')
@click.option('--table', type=click.Choice(list(PLANS)), default='depth', show_default=True)
@click.option('--rows', default='', help='Only these, as floor,odometry,auto.')
@click.option('--seed', type=int, help='Of the first world; the others follow.')
@click.option('--parallel', default=2, show_default=True, help='Robots at a time.')
@click.option(
    '--keep',
    type=click.Path(file_okay=False, path_type=Path),
    help='Folder for what is driven so far: the same command with it goes on where it was stopped. '
    'Remove it where the code has changed.',
)
@click.option('--write', 'path', type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(
    worlds: int,
    table: str,
    rows: str,
    seed: int | None,
    parallel: int,
    keep: Path | None,
    path: Path | None,
) -> None:
    """Print the table, and with --write put it between its marks in a Markdown file."""
    wanted = chosen(table, worlds, rows, seed)
    commands = functools.partial(command_of, in_process=table != 'over_dds')
    parts = [part for name, plan in wanted.items() for part in parts_of(name, plan, commands)]
    with tempfile.TemporaryDirectory(prefix='midas_depth_driving_') as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with Runner(folder, parallel, lambda text: click.echo(text, err=True)) as runner:
            found = runner.summaries(parts)
    lines = table_lines(table, wanted, found)
    click.echo('\n'.join(lines))
    if path is not None:
        write_block(path, 'driving' if table == 'depth' else f'driving-{table}', '\n'.join(lines))


if __name__ == '__main__':
    run_command(functools.partial(main, standalone_mode=False))
