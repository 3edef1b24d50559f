"""What is read from a parameters file without a node is what rcl gives the node of it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import ParameterFault, read_parameters

CASES = Path(__file__).parent / 'parameter_files'
NODE = 'depth_node'


def by_rcl(path: Path, namespace: str = '') -> dict:
    """The values of a real node that is started with this file, but for those of every node."""
    context = Context()
    rclpy.init(args=['--ros-args', '--params-file', str(path)], context=context)
    try:
        node = Node(
            NODE,
            namespace=namespace,
            context=context,
            automatically_declare_parameters_from_overrides=True,
            start_parameter_services=False,
            enable_rosout=False,
        )
        values = {name: each.value for name, each in node.get_parameters_by_prefix('').items()}
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    return {name: value for name, value in values.items() if name in DECLARED}


DECLARED = ('max_rate', 'model', 'camera_height', 'heatmap.gamma', 'niceness', 'rectified')


def read(path: Path, namespace: str = '') -> dict:
    return read_parameters(NODE, DepthNodeSettings, [path], [], namespace)


def section(name: str, values: str = 'max_rate: 3.5') -> str:
    """One section; a colon nests what follows it."""
    text = f'{{ros__parameters: {{{values}}}}}'
    for part in reversed(name.split(':')):
        text = f"{{'{part}': {text}}}"
    return text[1:-1] + '\n'


SECTIONS = [
    *('/**', '/*', '*', '**', '/**/depth_node', '/**:depth_node', '/*/depth_node', '*:depth_node'),
    *('/robot1/*', '/robot1/**', '/robot1:**', 'robot1:depth_node', '/robot1:depth_node'),
    *('robot1/arm:depth_node', 'robot1:arm:depth_node', '/robot1/:*'),
    *('depth_node', '/depth_node', '/:depth_node', 'robot1:**:depth_node', 'other', 'robot1:other'),
]


@pytest.mark.parametrize('namespace', ['', 'robot1', '/robot1/arm'])
def test_a_section_is_for_the_nodes_that_rcl_gives_it_to(tmp_path, namespace):
    path = tmp_path / 'p.yaml'
    for name in SECTIONS:
        path.write_text(section(name))
        expected = by_rcl(path, namespace)
        if namespace:
            if expected:
                assert read(path, namespace) == expected, name
            else:
                with pytest.raises(ParameterFault, match='there is no section'):
                    read(path, namespace)
        elif expected:  # without a namespace it is that of the file, whichever it has
            assert read(path) == expected, name


@pytest.mark.parametrize(
    ('namespace', 'names'),
    [
        ('', ('depth_node', '/**')),
        ('', ('/**', 'depth_node')),
        ('', ('/*', 'depth_node', '/robot1/*')),
        ('robot1', ('/**', 'depth_node')),
        ('robot1', ('/*', 'depth_node', '/robot1/*')),
        ('robot1', ('/**:depth_node', '/**/depth_node', 'robot1:depth_node')),
        ('robot1', ('robot1:depth_node', '/**:depth_node')),
    ],
)
def test_of_several_sections_the_later_one_counts_as_in_rcl(tmp_path, namespace, names):
    path = tmp_path / 'p.yaml'
    texts = [section(name, f'max_rate: {i}.5, niceness: {i}') for i, name in enumerate(names)]
    path.write_text(''.join(texts))
    assert read(path, namespace) == by_rcl(path, namespace)


VALUES = (
    *('1e-05', '5e-1', '1e5', '1E5', '+1e3', '.5', '5.', '1.e3', '-2E-2', '08', '1.5.1', '1_000.5'),
    *(
        'inf',
        '-inf',
        '.inf',
        'nan',
        '.NaN',
        '"1e-3"',
        "'5e-1'",
        '0x10',
        '010',
        '0o10',
        '+5',
        '1_000',
    ),
    *('y', 'N', 'yes', 'off', 'True', 'yep', '2020-01-01', '=', '1.5e', 'e5'),
)


def test_a_value_is_what_rcl_takes_it_for(tmp_path):
    """In a file, and on the command line, whose values rcl reads alike."""
    path = tmp_path / 'p.yaml'
    for text in VALUES:
        path.write_text(section(NODE, f'model: {text}'))
        expected = by_rcl(path)['model']
        (value,) = read(path).values()
        (given,) = read_parameters(NODE, DepthNodeSettings, [], [f'model:={text}']).values()
        for each in (value, given):
            assert type(each) is type(expected), text
            assert each == expected or (math.isnan(each) and math.isnan(expected)), text


@pytest.mark.parametrize('name', ['robot1', 'any'])
def test_a_nested_file_that_the_node_reads_is_read(tmp_path, name):
    path = tmp_path / 'p.yaml'
    shutil.copy(CASES / f'{name}.yaml', path)
    expected = by_rcl(path, 'robot1')
    assert expected
    assert read(path) == read(path, 'robot1') == read(path, '/robot1/') == expected


def test_which_node_of_several_is_meant_has_to_be_said(tmp_path):
    path = tmp_path / 'p.yaml'
    path.write_text(
        section('left:depth_node', 'max_rate: 1.0') + section('right:depth_node', 'max_rate: 2.0')
    )
    with pytest.raises(ParameterFault, match=r'/left/depth_node, /right/depth_node.*--namespace'):
        read(path)
    assert read(path, 'right') == by_rcl(path, 'right') == {'max_rate': 2.0}
    path.write_text(path.read_text() + section('depth_node', 'max_rate: 3.0'))
    assert read(path) == by_rcl(path) == {'max_rate': 3.0}  # as it is started without a namespace


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('max_rate: 3\n', 'max_rate.* has no ros__parameters'),
        ('robot1: {depth_node: {max_rate: 3}}\n', 'robot1/depth_node/max_rate.* has no ros__par'),
        ('depth_node: {ros__parameters: }\n', 'depth_node.*ros__parameters has no values'),
        ('- depth_node\n', 'no section with ros__parameters'),
        (section('robot1:other'), 'no section of /depth_node .*it has: .*/robot1/other'),
        (section('robot1:depth_node', 'max_rat: 1'), 'did you mean max_rate'),
        (
            'a: &a {b: {}}\n' + ''.join(f'x{i}: &a{i} {{a: *a, b: *a}}\n' for i in range(3)),
            'has no|no section',
        ),
        (
            'a0: &a0 {}\n'
            + ''.join(
                f'a{i}: &a{i} {{b: *a{i - 1}, c: *a{i - 1}, d: *a{i - 1}}}\n' for i in range(1, 18)
            ),
            'are more than',
        ),
        ('a: &a {b: *a}\n', 'nested more than'),
        (section('rob*:depth_node'), r"'rob\*': \* stands for a whole name"),
        (section('robot1:***'), r"'\*\*\*': \* stands for a whole name"),
    ],
)
def test_what_is_no_parameters_file_is_said(tmp_path, text, said):
    path = tmp_path / 'p.yaml'
    path.write_text(text)
    with pytest.raises(ParameterFault, match=said):
        read(path)
