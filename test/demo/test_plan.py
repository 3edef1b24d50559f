"""From a plan to command lines whose parameters come out of YAML as they went in."""

import sys

import yaml

from midas_depth_ros.demo.plan import Plan


def parameters(command: list[str]) -> dict[str, object]:
    pairs = [command[i + 1] for i, word in enumerate(command) if word == '-p']
    return {name: yaml.safe_load(text) for name, _, text in (p.partition(':=') for p in pairs)}


def test_a_source_is_a_string_whatever_it_looks_like():
    for source in ('0', '/dev/video0', 'a: b #c', 'it\'s "here"', 'ünïcode', '1e3', 'null'):
        command = Plan(source=source).camera_command()
        assert command[:3] == [sys.executable, '-m', 'midas_depth_ros.nodes.image_stream']
        assert parameters(command)['source'] == source


def test_the_camera_loops_with_present_stamps_and_its_own_rate():
    given = parameters(Plan(source='bag', topic='/front/image').camera_command())
    assert given['loop'] is True
    assert given['stamps'] == 'now'
    assert given['topic'] == '/front/image'
    assert 'rate' not in given
    assert parameters(Plan(source='bag', camera_rate_hz=12.5).camera_command())['rate'] == 12.5


def test_without_a_source_the_camera_is_synthetic():
    command = Plan(camera_rate_hz=7.0).camera_command()
    assert command[2] == 'midas_depth_ros.nodes.synthetic_camera'
    assert parameters(command) == {'rate': 7.0}


def test_further_parameters_come_last_and_win():
    plan = Plan(model='x.pt', rate_hz=3.0, transport='compressed', parameters=('max_rate:=4.0',))
    command = plan.node_command()
    assert parameters(command) == {'model': 'x.pt', 'max_rate': 4.0, 'transport': 'compressed'}
    assert command[-1] == 'max_rate:=4.0'
