"""A short run of the whole benchmark, with nodes as processes, on the model that is always here."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

TIMEOUT_S = 150
# The plan of --quick is made shorter still.
PROGRAM = """
import dataclasses, sys
from midas_depth_ros.lab.speed import run
run.QUICK = dataclasses.replace(run.QUICK, network_s=0.1, pipeline_s=0.1, {changes})
from midas_depth_ros.cli.main import main
main(sys.argv[1:])
"""
KEYS = {
    'part', 'backend', 'precision', 'size', 'median_ms', 'p95_ms', 'ratio_to_usual',
}  # fmt: skip


def bench(*options: str, changes: str = 'node_s=1.0, scaling_s=0.3'):
    arguments = ['bench', '--quick', '--threads', '1', *options]
    return subprocess.run(
        [sys.executable, '-c', PROGRAM.format(changes=changes), *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_a_model_that_is_not_there_is_one_line_of_error():
    outcome = bench('--model', '/no/such.pt')
    assert outcome.returncode == 1
    assert outcome.stdout == ''
    assert outcome.stderr.startswith('error: ')
    assert '/no/such.pt' in outcome.stderr


def test_a_folder_for_logs_that_cannot_be_is_known_before_anything_is_measured(tmp_path):
    (tmp_path / 'file').touch()
    logs = tmp_path / 'file' / 'logs'
    outcome = bench('--model', 'embedded', '--logs', str(logs))
    assert outcome.returncode == 1
    assert outcome.stdout == ''
    assert outcome.stderr == f'error: {logs}: Not a directory\n'


@pytest.mark.slow
@pytest.mark.thorough
def test_json_is_one_object_with_rows_of_every_part(tmp_path):
    outcome = bench('--model', 'embedded', '--json', '--logs', str(tmp_path))
    assert outcome.returncode == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    parts = {row['part'] for row in found['rows']}
    with_ros = find_spec('rclpy') is not None
    assert parts == {'network', 'pipeline', *(['node'] if with_ros else [])}, found['absent']
    for row in found['rows']:
        assert row.keys() >= KEYS
        assert 0 < row['median_ms'] <= row['p95_ms']
    usual = [row for row in found['rows'] if row['backend'] == 'usual recipe']
    assert all(row['ratio_to_usual'] == 1 for row in usual)
    if with_ros:
        assert 20 < found['rss_mb'] < 2000
        assert found['start_s'] > 0.1
        node = next(row for row in found['rows'] if row['part'] == 'node')
        assert [node['backend'], node['precision']] == found['auto']
        assert 0 < node['cpu_ms'] < 5000
    assert found['scaling']['threads'][0]['threads'] == 1
    assert found['matrix_product_gflops'] > 0.1


@pytest.mark.thorough
@pytest.mark.slow
def test_the_table_names_who_took_part_and_what_auto_takes():
    outcome = bench('--model', 'embedded', changes='node_s=0.0')
    assert outcome.returncode == 0, outcome.stderr
    assert 'opencv' in outcome.stdout
    assert 'GFLOP/s' in outcome.stdout
    assert 'auto selects' in outcome.stdout
