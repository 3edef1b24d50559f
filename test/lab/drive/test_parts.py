"""benchmarks.parts: many drives in parts, kept so that a run that was stopped goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks import driving
from benchmarks.parts import Part, Progress, Runner, parts_of
from midas_depth_ros.lab.drive.rig import DrivePlan

REPOSITORY = Path(__file__).parents[3]


def part(row='floor', seed=3, worlds=1, extra=''):
    words = f'drive --worlds {worlds} --seed {seed} --seconds 1 --no-blind --in-process {extra}'
    return Part(row, DrivePlan(worlds=worlds, seed=seed, blind=False), tuple(words.split()))


@pytest.mark.parametrize(('worlds', 'counts'), [(50, [5] * 10), (7, [5, 2]), (1, [1])])
def test_parts_cover_all_worlds_of_a_row_once(worlds, counts):
    plan = DrivePlan(worlds=worlds, seed=100)
    parts = list(parts_of('auto', plan, lambda plan: f'drive --seed {plan.seed}'))
    assert [each.plan.worlds for each in parts] == counts
    assert [seed for each in parts for seed in each.plan.seeds] == list(plan.seeds)
    assert parts[-1].words == ('drive', '--seed', str(100 + 5 * (len(parts) - 1)))


def test_what_an_earlier_run_has_driven_is_kept(tmp_path):
    said = []
    with Runner(tmp_path, 2, said.append) as runner:
        first = runner.summaries([part(seed=3), part(seed=4), part('auto', seed=3)])
    assert [each['worlds'] for each in first['floor']] == [1, 1]
    assert set(first) == {'floor', 'auto'}
    assert len([line for line in said if 'no collision' in line]) == 3
    assert said[-1].startswith('[3/3, 0 min to go] ')
    said.clear()
    with Runner(tmp_path, 2, said.append) as runner:
        again = runner.summaries([part(seed=3), part(seed=4), part('auto', seed=3)])
    assert again == first
    assert len(said) == 3
    assert all('kept from an earlier run' in line for line in said)


def test_another_command_is_not_taken_for_what_was_kept(tmp_path):
    one, other = part(), part(extra='--speed 0.1')
    one.keep(tmp_path, {'distance_m': 1.5})
    assert one.kept(tmp_path) == {'distance_m': 1.5}
    assert other.kept(tmp_path) is None
    one.file(tmp_path).write_text('{"comm')  # as of a machine that was switched off
    assert one.kept(tmp_path) is None


def test_a_part_that_fails_is_tried_again_and_named_and_the_others_are_kept(tmp_path):
    bad, good = part('odometry', extra='--depth model --model /nowhere'), part(seed=5)
    said = []
    with (
        pytest.raises(click.ClickException, match=r'odometry, worlds 3 to 3: .*/nowhere.*goes on'),
        Runner(tmp_path, 1, said.append) as runner,
    ):
        runner.summaries([bad, good])
    assert len([line for line in said if 'it is tried again' in line]) == 1
    assert bad.kept(tmp_path) is None
    assert good.kept(tmp_path)['worlds'] == 1


def test_a_signal_ends_the_commands_and_what_is_done_stays(tmp_path):
    command = [
        *(sys.executable, '-m', 'benchmarks.driving', '--table', 'ground', '--rows', 'exact'),
        *('--worlds', '11', '--parallel', '1', '--keep', str(tmp_path)),
    ]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith('[1/22'):
                break
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - before < 30
    children = Path(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read_text().split()
    assert str(process.pid) not in children
    left = [
        path for path in Path('/proc').glob('[0-9]*/cmdline')
        if str(tmp_path).encode() in _read(path)
    ]  # fmt: skip
    assert left == []


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b''


def test_progress_estimates_by_what_was_driven_in_this_run():
    said, now = [], [0.0]
    progress = Progress(22, said.append, lambda: now[0])
    progress.kept(part(worlds=10))
    for _ in range(2):
        now[0] += 60.0
        progress.driven('auto', 'world 7')
    assert said[-1] == '[12/22, 10 min to go] auto: world 7'
    progress.again(part(worlds=2), 2, 'exit code 1')
    now[0] += 30.0
    progress.driven('auto', 'world 7')
    assert said[-1].startswith('[11/22, 28 min to go]')


def test_rows_and_seed_can_be_chosen_and_unknown_rows_are_named():
    found = driving.chosen('over_dds', 7, 'auto,floor', 40)
    assert [(name, plan.scale, plan.seeds) for name, plan in found.items()] == [
        ('auto', 'auto', range(40, 47)),
        ('floor', 'floor', range(40, 47)),
    ]
    result = CliRunner().invoke(driving.main, ['--table', 'scale', '--rows', 'floor,wheels'])
    assert result.exit_code == 2
    assert "'wheels' is no row of the table scale: use some of floor,odometry,auto" in result.output
