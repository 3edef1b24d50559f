"""One reader of YAML values: what is a number in one place is that number everywhere."""

from __future__ import annotations

import pytest

from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import parse_yaml, read_parameters, settings_from

NUMBERS = {'5e-1': 0.5, '1e-05': 1e-5, '.5': 0.5, '+5.': 5.0, '1E1': 10.0, '017': 15.0}
NAME = 'scale.fixed_scale'


def read(files=(), assignments=()):
    values = read_parameters('depth_node', DepthNodeSettings, files, assignments)
    return settings_from(DepthNodeSettings, values).scale.fixed_scale


@pytest.mark.parametrize(('text', 'value'), NUMBERS.items())
def test_parameter_files_and_assignments_read_it(tmp_path, text, value):
    path = tmp_path / 'p.yaml'
    path.write_text(f'depth_node: {{ros__parameters: {{scale: {{fixed_scale: {text}}}}}}}')
    assert read([path]) == value
    assert read((), [f'{NAME}:={text}']) == value


@pytest.mark.parametrize(('text', 'value'), NUMBERS.items())
def test_launch_arguments_read_it(text, value):
    pytest.importorskip('launch_ros')
    from midas_depth_ros.nodes.ros.launch_arguments import parameter_value
    from midas_depth_ros.options.declarations import spec_of

    assert parameter_value(spec_of(DepthNodeSettings, NAME), text) == value


@pytest.mark.parametrize(('text', 'value'), NUMBERS.items())
def test_calibration_files_read_it(tmp_path, text, value):
    pytest.importorskip('rclpy')
    from midas_depth_ros.nodes.sources import camera_topics

    content = parse_yaml(f'distortion_coefficients: {{data: [{text}, 0, 0, 0, 0]}}')
    found = camera_topics._numbers(content, 'distortion_coefficients', (5,))
    assert found[0] == value
