"""The parameters network_size and network_aspect of depth_node, with networks that are real."""

from __future__ import annotations

from pathlib import Path

import pytest
from driving import change, diagnostics, image, read, send_until, set_parameter, state
from golden_networks import golden_file
from lifecycle_msgs.msg import State, Transition
from sensor_msgs.msg import Image

from midas_depth_ros.depth import models
from midas_depth_ros.nodes.depth import node as depth_node
from midas_depth_ros.nodes.depth.node import DepthNode, estimator_from
from midas_depth_ros.options.depth import DepthNodeSettings

UNCONFIGURED = State.PRIMARY_STATE_UNCONFIGURED


def test_a_node_sees_pictures_at_the_size_that_was_asked_for(
    ros, golden_weights_file: Path, log_lines
) -> None:
    parameters = {
        'model': str(golden_weights_file),
        'autostart': False,
        'diagnostics_rate': 10.0,
        'max_rate': 0.0,
        'precision': 'f32',
        'network_size': 250,
    }
    ros.make_node(DepthNode, parameters=parameters)
    assert not change(ros, Transition.TRANSITION_CONFIGURE)
    assert state(ros) == UNCONFIGURED
    refused = [line for line in log_lines() if 'network_size is 250' in line]
    assert len(refused) == 1
    assert 'not a multiple of 32: give 224 or 256, or 0 for the default' in refused[0]
    # It lives on, and takes a better one.
    assert not set_parameter(ros, 'network_size', -1)[0]
    assert not set_parameter(ros, 'network_size', 20_000)[0]
    assert not set_parameter(ros, 'network_aspect', 0.5)[0]
    assert set_parameter(ros, 'network_size', 128) == (True, '')
    assert set_parameter(ros, 'network_aspect', 1.5) == (True, '')
    assert change(ros, Transition.TRANSITION_CONFIGURE)
    assert change(ros, Transition.TRANSITION_ACTIVATE)
    said = [line for line in log_lines() if 'network input 160x128 for a 4:3 picture' in line]
    assert len(said) == 1
    assert 'official: 256x192' in said[0]
    fixed, reason = set_parameter(ros, 'network_size', 64)
    assert not fixed
    assert 'deactivate' in reason
    received = ros.collect(Image, 'camera/heatmap/image')
    camera = ros.publisher(Image, 'camera/image_raw')
    for width, size in ((64, '160x128'), (480, '192x128')):
        send_until(ros, camera, lambda n, width=width: image(n + width, width=width), received)
        diagnostics(ros, 'camera camera', lambda s, size=size: read(s)['network size'] == size)


@pytest.mark.parametrize('backend', ['openvino', 'torch'])
def test_cameras_of_different_sizes_share_a_network(
    ros, golden_dir: Path, tmp_path: Path, log_lines, backend: str
) -> None:
    """Each picture gets the size that its proportions ask for, and neither camera stands still."""
    pytest.importorskip(backend)
    parameters = {
        'model': str(golden_file(golden_dir, tmp_path, 'zipdepth')),
        'backend': backend,
        'precision': 'f32',
        'cameras': ['wide', 'high'],
        'network_size': 64,
        'max_rate': 0.0,
        'diagnostics_rate': 10.0,
    }
    ros.make_node(DepthNode, parameters=parameters)
    ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, 60, what='active')
    sizes = {'wide': (96, 48, '128x64'), 'high': (48, 200, '64x256')}
    received, cameras = {}, {}
    for name in sizes:
        received[name] = ros.collect(Image, f'{name}/heatmap/image')
        cameras[name] = ros.publisher(Image, f'{name}/image_raw')
    for number in range(600):
        for name, (width, height, _) in sizes.items():
            cameras[name].publish(image(1 + 0.1 * number, width=width, height=height))
        ros.spin_for(0.05)
        if min(map(len, received.values())) >= 5:
            break
    assert min(map(len, received.values())) >= 5
    lines = log_lines()
    for name, (width, height, size) in sizes.items():
        status = diagnostics(ros, f'camera {name}', lambda s: read(s)['network size'])
        assert read(status)['network size'] == size
        said = f'{name}: pictures of {width}x{height} become network inputs of {size}; the first'
        assert sum(said in line for line in lines) == 1


def test_a_node_takes_the_size_for_robots_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(depth_node, 'load_estimator', lambda *a, **settings: asked.update(settings))
    estimator_from(DepthNodeSettings())
    assert (asked['network_size'], asked['network_aspect'], asked['for_robot']) == (0, 4.0, True)
    assert models.spec('depth_anything_v2_small').node_short_side == 252
