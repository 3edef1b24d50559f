"""What `ros2 param dump` writes can be loaded, and starts the node with the same values.

By the services that `ros2 param` calls, with its YAML and with its way to guess types, which is
rclpy's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy.parameter
import yaml
from fakes import BrightnessEstimator
from rcl_interfaces.msg import Parameter, ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters

from midas_depth_ros.lab.drive.over_dds import CommanderNode
from midas_depth_ros.nodes.avoidance_node import AvoidanceNode
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.sources.image_stream import ImageStream
from midas_depth_ros.nodes.sources.synthetic_camera import SyntheticCamera

pytestmark = pytest.mark.skipif(
    not hasattr(rclpy.parameter, 'parameter_dict_from_yaml_file'),
    reason='before Jazzy the guessing of types is in ros2 param, not in rclpy',
)


def depth_node(**options: Any) -> DepthNode:
    return DepthNode(lambda settings: BrightnessEstimator(), **options)


# Texts that a tool takes for something else, besides what is a default.
ODD = {
    depth_node: {
        'cameras': ['front', 'on', 'rear/left'],
        'body_frame': '0123',
        'model': '1.10',
        'imu_topic': 'yes',
        'cpu_affinity': '0',
        'max_rate': 1e-05,
        'camera_height': 0.3,
        'mounts.rear/left.body_frame': 'null_frame',
        'mounts.front.camera_yaw': -3.1,
        'scale.fixed_scale': 1e-9,
    },
    AvoidanceNode: {'use_sim_time': False},
    ImageStream: {'frame_id': 'off', 'rate': 50.0, 'loop': True},
    SyntheticCamera: {'frame_id': '0x1F', 'robot.base_frame': 'true', 'seed': 7},
    CommanderNode: {'speed': 0.0},
}


def asked(ros, node, kind, request) -> Any:
    name = {ListParameters: 'list_parameters', GetParameters: 'get_parameters'}.get(kind)
    name = name or {SetParameters: 'set_parameters'}.get(kind, 'describe_parameters')
    return ros.call(kind, f'{node.get_fully_qualified_name()}/{name}', request)


def dumped(ros, node) -> dict[str, Any]:
    """As `ros2 param dump` has it: nested at the dots, the node's full name above."""
    names = sorted(asked(ros, node, ListParameters, ListParameters.Request()).result.names)
    values = asked(ros, node, GetParameters, GetParameters.Request(names=names)).values
    tree: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        *groups, last = name.split('.')
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[last] = rclpy.parameter.parameter_value_to_python(value)
    return {node.get_fully_qualified_name(): {'ros__parameters': tree}}


def described(ros, node) -> dict[str, Any]:
    names = list(node._parameters)
    request = DescribeParameters.Request(names=names)
    return {each.name: each for each in asked(ros, node, DescribeParameters, request).descriptors}


def started(ros, make, **options: Any):
    node = ros.make_node(make, **options)
    if make is depth_node:
        ros.spin_until(lambda: node._phase == 'active', what='active')
    return node


def source_of(make, folder: Path) -> dict[str, str]:
    """image_stream needs something to show."""
    if make is not ImageStream:
        return {}
    cv2.imwrite(str(folder / 'still.png'), np.zeros((8, 8, 3), np.uint8))
    return {'source': str(folder / 'still.png')}


@pytest.mark.sampled
@pytest.mark.parametrize('make', ODD, ids=lambda make: make.__name__)
def test_a_dump_can_be_loaded_and_starts_the_node_alike(ros, tmp_path: Path, make):
    given = dict(ODD[make])
    given |= source_of(make, tmp_path)
    node = started(ros, make, parameters=given)
    before, descriptors = dumped(ros, node), described(ros, node)
    file = tmp_path / 'dump.yaml'
    file.write_text(yaml.dump(before, default_flow_style=False))

    sent = rclpy.parameter.parameter_dict_from_yaml_file(str(file))
    request = SetParameters.Request(parameters=list(sent.values()))
    results = asked(ros, node, SetParameters, request).results
    assert len(results) == len(sent) > 1
    assert {n: r.reason for n, r in zip(sent, results, strict=True) if not r.successful} == {}
    assert repr(dumped(ros, node)) == repr(before)
    assert described(ros, node) == descriptors

    ros.destroy(node)
    node = started(ros, make, cli_args=['--ros-args', '--params-file', str(file)])
    assert repr(dumped(ros, node)) == repr(before)


@pytest.mark.sampled
@pytest.mark.parametrize('make', ODD, ids=lambda make: make.__name__)
def test_descriptors_keep_type_bounds_and_when_it_is_read_whatever_is_set(ros, tmp_path, make):
    node = started(ros, make, parameters=source_of(make, tmp_path))
    specs = node._parameter_server._specs if hasattr(node, '_parameter_server') else {}
    before = described(ros, node)
    for name, spec in specs.items():
        each = before[name]
        kind = {
            'bool': ParameterType.PARAMETER_BOOL,
            'int': ParameterType.PARAMETER_INTEGER,
            'double': ParameterType.PARAMETER_DOUBLE,
            'string': ParameterType.PARAMETER_STRING,
            'string array': ParameterType.PARAMETER_STRING_ARRAY,
        }[spec.kind]
        assert (each.type, each.dynamic_typing) == (kind, False), name
        read = each.additional_constraints.split('; ')[-1]
        fixed = 'at configure' if make is depth_node and name != 'autostart' else 'at start'
        assert read == ('live' if spec.live else fixed), name
        for bound in (spec.minimum, spec.maximum):
            ranges = [*each.floating_point_range, *each.integer_range]
            ends = [end for r in ranges for end in (r.from_value, r.to_value)]
            said = f'{bound:.12g}' in each.additional_constraints if bound is not None else True
            assert bound is None or said, name
            assert bound is None or not ends or bound in ends, name
        for choice in spec.choices:
            assert choice in each.additional_constraints, name
    value = rclpy.parameter.get_parameter_value
    for text in ('soon', '[1, 2]', '-1.0e+30', 'true', '7', 'nan'):
        parameters = [Parameter(name=name, value=value(text)) for name in before]
        asked(ros, node, SetParameters, SetParameters.Request(parameters=parameters))
        parameters = [Parameter(name=name) for name in before]  # ros2 param delete
        results = asked(ros, node, SetParameters, SetParameters.Request(parameters=parameters))
        assert not any(result.successful for result in results.results)
        assert described(ros, node) == before, text
