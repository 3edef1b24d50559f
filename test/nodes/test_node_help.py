"""`--help` of every executable: it is printed, and nothing else happens."""

from __future__ import annotations

import importlib
import re
import socket
import sys
from pathlib import Path

import pytest
import rclpy
from click.testing import CliRunner

from midas_depth_ros.cli.dashboard import dashboard
from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import weights
from midas_depth_ros.nodes.ros import spinning
from midas_depth_ros.nodes.ros.parameters import every_spec

ROOT = Path(__file__).parents[2]
# Executables, what is no node apart; `midas_depth` and `dashboard` are click's.
ENTRIES = re.findall(r"'(\w+) = midas_depth_ros[\w.]+:", (ROOT / 'setup.py').read_text('utf-8'))
NODES = {
    'avoidance_node': 'midas_depth_ros.nodes.avoidance_node',
    'depth_node': 'midas_depth_ros.nodes.depth.node',
    'image_stream': 'midas_depth_ros.nodes.sources.image_stream',
    'obstacle_distance_node': 'midas_depth_ros.nodes.obstacle_distance_node',
    'synthetic_camera': 'midas_depth_ros.nodes.sources.synthetic_camera',
}
NODES |= dict.fromkeys(('commander', 'exact_depth_node'), 'midas_depth_ros.lab.drive.over_dds')


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ROS is started, nothing is fetched, and no connection made."""

    def refuse(*_, **__):
        raise AssertionError('it was to print its help only')

    for place, name in (
        (rclpy, 'init'),
        (spinning, '_started'),
        (weights, 'ensure_weights'),
        (weights, 'fetch_weights'),
        (socket, 'socket'),
    ):
        monkeypatch.setattr(place, name, refuse)


@pytest.mark.parametrize('word', ['--help', '-h'])
@pytest.mark.parametrize('name', NODES)
def test_a_node_prints_what_it_does_and_every_parameter(name, word, monkeypatch, capsys) -> None:
    module = importlib.import_module(NODES[name])
    monkeypatch.setattr(sys, 'argv', [name, word, '--ros-args', '-p', 'x:=1'])
    run = module.NODES[name] if hasattr(module, 'NODES') else module.main
    assert run() == 0
    said, complaints = capsys.readouterr()
    assert complaints == ''
    assert said.startswith('Usage: ros2 run midas_depth_ros ')
    assert max(map(len, said.splitlines())) <= 100
    assert '--params-file FILE]' in said, 'what is to be copied is not torn'
    assert 'default True' not in said
    settings = [each for each in vars(module).values() if _is_settings(each, name)]
    for spec in every_spec(settings[0]):
        assert f'\n  {spec.name} ' in said or f'\n  {spec.name}\n' in said
        assert ' '.join(spec.text.split())[:40] in ' '.join(said.split())


def _is_settings(each: object, name: str) -> bool:
    wanted = {
        'depth_node': 'DepthNodeSettings', 'exact_depth_node': 'DepthNodeSettings',
        'avoidance_node': 'AvoidanceSettings', 'image_stream': 'ImageStreamSettings',
        'obstacle_distance_node': 'ObstacleDistanceSettings',
        'synthetic_camera': 'SyntheticCameraSettings', 'commander': 'CommanderSettings',
    }  # fmt: skip
    return getattr(each, '__name__', '') == wanted[name]


def test_every_executable_is_looked_at() -> None:
    assert set(ENTRIES) - set(NODES) == {'midas_depth', 'dashboard'}


def test_the_commands_print_their_help() -> None:
    for command, call in (
        (dashboard, ['--help']),
        (main, ['--help']),
        *((main, [name, '--help']) for name in main.commands),
        *((main, ['weights', name, '--help']) for name in ('show', 'fetch', 'verify')),
    ):
        result = CliRunner().invoke(command, call)
        assert (result.exit_code, result.output[:6]) == (0, 'Usage:'), call
