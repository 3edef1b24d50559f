"""What a camera may be called: all that ROS can name topics by, and nothing that it cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rclpy.validate_full_topic_name import validate_full_topic_name

from midas_depth_ros.nodes.depth import output
from midas_depth_ros.options.text import (
    BELOW_A_CAMERA,
    LONGEST_CAMERA_NAME,
    MOST_CAMERAS,
    check_camera_names,
)

OUTPUTS = (*output.RELATIVE_OUTPUTS, *output.METRIC_OUTPUTS)


@pytest.mark.parametrize(
    ('names', 'said'),
    [
        ([], 'at least one'),
        (['a' * (LONGEST_CAMERA_NAME + 1)], f'at most {LONGEST_CAMERA_NAME}'),
        (['a/' * 200 + 'a'], 'letters'),
        *((([name],) + ('cannot be a topic namespace',)) for name in (
            '', ' ', 'a b', '/a', 'a/', 'a//b', '..', '.', 'a/../b', '~', '~/a', '{a}', '1a', 'a/1',
            '_a', 'a/_b', 'a-b', 'a.b', 'é', '日本', 'a\n', '\x1b[31m', 'a\0b', 'a:b', '\ud800',
        )),
        (['a', 'b', 'a'], "'a' is named twice"),
        ([f'a{i}' for i in range(MOST_CAMERAS + 1)], f'at most {MOST_CAMERAS}'),
        (['front', 'front/depth'], 'is the namespace of an output of camera'),
        (['front/heatmap', 'front'], 'is the namespace of an output of camera'),
    ],
)  # fmt: skip
def test_what_cannot_be_named_is_refused_with_the_reason(names, said):
    complaint = check_camera_names(names)
    assert said in complaint
    assert complaint.isprintable()
    assert len(complaint) < 300


@pytest.mark.parametrize(
    'names',
    [
        ['a'], ['A', 'a'], ['front/left', 'front'], ['a__b'], ['a_'], ['depth'], ['diagnostics'],
        ['a' * LONGEST_CAMERA_NAME],
    ],
)  # fmt: skip
def test_what_is_accepted_makes_topics_that_ros_accepts(names):
    assert check_camera_names(names) == ''
    for name in names:
        for topic in (*OUTPUTS, 'image_raw/compressed', 'camera_info', 'reference/points'):
            validate_full_topic_name(f'/{"namespace_" * 10}/{name}/{topic}')


def test_no_output_is_below_a_camera_but_those_that_are_kept_free():
    """Two cameras, one of which is called as the other's outputs are, would be mixed up."""
    assert {name.partition('/')[0] for name in OUTPUTS if '/' in name} <= set(BELOW_A_CAMERA)


@pytest.mark.parametrize('names', ['["' + 'a' * 300 + '"]', '["a", "a"]', '["a/"]'])
def test_a_node_with_such_a_camera_ends_in_a_line(names):
    command = [sys.executable, '-m', 'midas_depth_ros.nodes.depth.node', '--ros-args']
    done = subprocess.run(
        [*command, '-p', f'cameras:={names}', '-p', 'model:=embedded'],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert 'cameras: ' in line
