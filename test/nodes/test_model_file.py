"""A model file of another maker in the running node, described by a parameter file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from driving import DEPTH, diagnostics, header, read, send_until, state, values
from foreign_networks import BIAS, FLOAT, WEIGHTS, Foreign, brightness
from lifecycle_msgs.msg import State
from sensor_msgs.msg import Image

from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import image_message

PARAMETERS = """
/**:
  ros__parameters:
    model: {path}
    backend: onnxruntime
    diagnostics_rate: 10.0
    picture_check: false
    output_size: network
    model_file:
{fields}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A network that gives depth of colours 0 to 1, blue first."""
    pytest.importorskip('onnxruntime')
    graph = Foreign()
    graph.add('Relu', [brightness(graph, 'image', 1, 'toy')], 'depth')
    content = graph.file([('image', (1, 3, 60, 80), FLOAT)], [('depth', (1, 1, 60, 80), FLOAT)])
    (tmp_path / 'net.onnx').write_bytes(content)
    return tmp_path / 'net.onnx'


def started(ros, path: Path, **fields: str) -> DepthNode:
    lines = ''.join(f"      {name}: '{value}'\n" for name, value in fields.items())
    file = path.with_name('parameters.yaml')
    file.write_text(PARAMETERS.format(path=path, fields=lines or '      {}'))
    return ros.make_node(DepthNode, cli_args=['--ros-args', '--params-file', str(file)])


def test_near_is_large_as_the_parameters_say(ros, path: Path) -> None:
    started(
        ros, path, output_meaning='depth', colour='bgr', range='1', mean='none', std='none'
    )  # fmt: skip
    ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
    rgb = np.full((60, 80, 3), (250, 200, 150), np.uint8)
    rgb[30:] = (10, 20, 40)
    received = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda _: image_message(rgb, header(100)), received)
    depth = values(received[-1])
    assert depth.shape == (60, 80)
    for row in (5, 55):
        wanted = 1 / (BIAS + WEIGHTS @ rgb[row, 0, ::-1] / 255)
        assert depth[row, 40] == pytest.approx(wanted, rel=1e-4)
    assert depth[55, 40] > depth[5, 40]
    status = read(diagnostics(ros, ': model', lambda s: read(s)['lifecycle state'] == 'active'))
    assert status['notice'] == ''


def test_what_was_assumed_stands_in_the_diagnostics_and_the_log(ros, path: Path, log_lines) -> None:
    started(ros, path, output_meaning='depth')
    status = diagnostics(ros, ': model', lambda s: 'assumed' in read(s)['notice'])
    notice = read(status)['notice']
    assert 'std 0.229, 0.224, 0.225 (usual, since it has none itself)' in notice
    assert 'output_meaning' not in notice
    log = '\n'.join(log_lines())
    assert notice in log
    assert 'output_meaning depth (the parameter model_file.output_meaning)' in log


def test_a_wrong_guess_keeps_the_node_from_starting(ros, path: Path, log_lines) -> None:
    node = started(ros, path)
    ros.spin_until(lambda: getattr(node, 'exit_code', 0) == 1, what='given up')
    assert any(
        'seems to give depth' in line and 'model_file.output_meaning' in line
        for line in log_lines()
    )


def test_a_wrong_parameter_is_refused(ros, path: Path) -> None:
    with pytest.raises(ValueError, match=r'model_file\.colour: .red. is not one of auto, rgb, bgr'):
        started(ros, path, colour='red')
    with pytest.raises(ValueError, match='mean is given without std'):
        started(ros, path, mean='0.5')
