"""`midas_depth drive` as a person calls it, in one process and over real DDS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from midas_depth_ros.cli.main import main
from midas_depth_ros.lab.processes import free_domain

REPOSITORY = Path(__file__).parents[3]


def call(*arguments, **environment):
    return subprocess.run(
        [sys.executable, '-m', 'midas_depth_ros.cli.main', 'drive', *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        timeout=380,
    )


def test_json_is_one_object_and_nothing_else():
    result = call('--worlds', '2', '--seed', '10', '--seconds', '7', '--in-process', '--json')
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert result.stdout.count('\n') == 1
    assert found['worlds'] == 2
    assert found['collisions'] == 0
    assert found['collisions_without_avoidance'] == 2
    assert found['distance_m'] > 0.5
    assert found['min_clearance_m'] > 0
    assert 'world 10 without avoidance: ' in result.stderr
    assert 'world 11 with avoidance: ' in result.stderr


def test_a_table_for_people():
    result = CliRunner().invoke(
        main, ['drive', '--worlds', '1', '--seconds', '2', '--in-process', '--no-avoidance']
    )
    assert result.exit_code == 0
    assert 'worlds: 1' in result.output
    assert 'distance m: -' in result.output


@pytest.mark.parametrize(
    ('arguments', 'code', 'said'),
    [
        (['--no-avoidance', '--no-blind'], 2, 'leave nothing to drive'),
        (['--worlds', '0'], 2, '--worlds'),
        (['--in-process', '--depth', 'model', '--model', '/nowhere'], 1, '/nowhere'),
    ],
)
def test_what_cannot_be_driven_is_said(arguments, code, said):
    result = CliRunner().invoke(main, ['drive', *arguments])
    assert result.exit_code == code
    assert said in result.output


def test_help_needs_neither_ros_nor_a_model():
    code = (
        'import sys; from midas_depth_ros.cli import main as cli\n'
        'try: cli.main(["drive", "--help"])\n'
        'except SystemExit: print({"rclpy", "torch", "nav_msgs"} & set(sys.modules))'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith('set()')


@pytest.mark.thorough
@pytest.mark.timeout(400)
def test_over_dds_blind_collides_and_avoiding_does_not(tmp_path):
    with free_domain() as domain:
        result = call(
            '--worlds', '1', '--seed', '5', '--seconds', '15', '--rate', '5', '--json',
            '--logs', str(tmp_path), ROS_DOMAIN_ID=str(domain),
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found['collisions_without_avoidance'] == 1
    assert found['collisions'] == 0
    # In real time: a machine with much else to do sees late, and the robot stands rather than go.
    assert found['distance_m'] > 0.02
    assert 0 < found['frames_with_metres'] <= found['frames'] < 5.5 * found['frames_seconds']
    assert found['frames_far_off'] is None  # nobody judged them
    assert 0 < found['min_clearance_m'] < 3
    assert sorted(path.stem for path in tmp_path.iterdir()) == [
        'avoidance_node', 'depth_node', 'synthetic_camera'
    ]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.timeout(400)
def test_over_dds_by_odometry_a_person_starts_it(tmp_path):
    with free_domain() as domain:
        result = call(
            '--worlds', '1', '--seconds', '12', '--no-blind', '--json', '--scale', 'odometry',
            '--depth', 'model', '--model', 'embedded', '--worlds-are', 'furnished',
            '--logs', str(tmp_path), ROS_DOMAIN_ID=str(domain),
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found['collisions'], found['scale']) == (0, 'odometry')
    assert found['times_by_hand'] >= 1
    assert 0.03 < found['distance_by_hand_m'] <= found['distance_m']
    assert 0 < found['seconds_without_metres'] < 13


@pytest.mark.timeout(400)
def test_a_process_that_ends_is_named(tmp_path):
    with free_domain() as domain:
        result = call(
            '--worlds', '1', '--seconds', '3', '--no-blind', '--logs', str(tmp_path),
            '--depth', 'model', '--model', '/nowhere/at/all.pt', ROS_DOMAIN_ID=str(domain),
        )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith('error: depth_node ended with exit code 1')
    assert '/nowhere/at/all.pt' in result.stderr
