"""scale.source marker over DDS: metres where a marker is seen, else silence and the reason."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from driving import diagnostics, header, read, set_parameter, state, values
from fakes import SceneEstimator
from lifecycle_msgs.msg import State
from markers import view
from sensor_msgs.msg import CameraInfo, Image, LaserScan

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, image_message

CAMERA = CameraModel(
    640, 480, 470.0, 470.0, 310.0, 245.0, 'plumb_bob', (-0.25, 0.08, 0.0, 0.0, 0.0)
)
SIZE_M = 0.16
MARKERS = [(3, SIZE_M, (-0.3, 0.1, 1.0), (0.4, -0.2)), (7, SIZE_M, (0.5, -0.1, 2.0), (-0.5, 0.1))]
BY_MARKER = {'scale.source': 'marker', 'marker.size': SIZE_M}


@pytest.fixture
def run(ros):
    """Start a depth_node that sees markers; returns (exact Z, send)."""

    def make(markers=MARKERS, **parameters):
        grey, depth = view(CAMERA, markers)
        seen = 1 / cv2.resize(1 / depth, (256, 192), interpolation=cv2.INTER_AREA)
        parameters = {
            'diagnostics_rate': 10.0, 'max_rate': 0.0, 'frozen_after': 0.0,
            'output_size': 'network', **parameters,
        }  # fmt: skip
        ros.make_node(DepthNode, lambda settings: SceneEstimator(seen), parameters=parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        images = ros.publisher(Image, 'camera/image_raw')
        infos = ros.publisher(CameraInfo, 'camera/camera_info')
        moments = iter(range(100, 10_000))

        def send(until=lambda: False, most=100):
            for _ in range(most):
                head = header(100 + next(moments) / 10)
                infos.publish(camera_info_message(CAMERA, head))
                images.publish(image_message(np.repeat(grey[..., None], 3, axis=2), head))
                ros.spin_for(0.03)
                if until():
                    return

        return seen, send

    return make


def test_metres_by_markers_need_no_mount(ros, run):
    exact, send = run(**BY_MARKER)
    depths, scans = ros.collect(Image, 'camera/depth/image'), ros.collect(LaserScan, 'camera/scan')
    send(lambda: len(depths) > 3)
    known = np.isfinite(values(depths[-1]))
    assert known.mean() > 0.9
    np.testing.assert_allclose(values(depths[-1])[known], exact[known], rtol=0.05)
    assert not scans, 'where the floor is does not follow from a marker'
    status = read(diagnostics(ros, 'camera camera', lambda s: read(s)['scale'] == 'valid'))
    assert status['scale source'] == 'marker'
    assert '3 at 1.00 m (+- ' in status['markers']
    assert '7 at 2.0' in status['markers']


def test_without_the_marker_asked_for_there_are_no_metres(ros, run):
    _, send = run(**BY_MARKER, **{'marker.id': 12})
    depths = ros.collect(Image, 'camera/depth/image')
    send(most=30)
    assert not depths
    status = read(diagnostics(ros, 'camera camera', lambda s: 'marker 12' in read(s)['scale']))
    assert status['scale'].startswith('none: marker 12 is not seen, only ')
    assert set_parameter(ros, 'marker.id', 3)[0]
    send(lambda: len(depths) > 2)
    assert len(depths) > 2


def test_without_a_camera_model_there_are_no_metres(ros, run):
    run(**BY_MARKER)
    depths = ros.collect(Image, 'camera/depth/image')
    images = ros.publisher(Image, 'camera/image_raw')
    grey, _ = view(CAMERA, MARKERS)
    for moment in range(20):
        picture = np.repeat(grey[..., None], 3, axis=2)
        images.publish(image_message(picture, header(200 + moment / 10)))
        ros.spin_for(0.03)
    assert not depths


def test_a_marker_of_unknown_size_is_refused_at_configure(ros, start, log_lines):
    node = start(wait=False, **{'scale.source': 'marker'})
    ros.spin_until(lambda: getattr(node, 'exit_code', 0) == 1, what='start-up failed')
    assert any('marker.size is not set: measure' in line for line in log_lines())


def test_the_size_may_be_corrected_while_the_node_runs(ros, run):
    exact, send = run(**{**BY_MARKER, 'marker.size': 2 * SIZE_M})
    depths = ros.collect(Image, 'camera/depth/image')
    send(lambda: len(depths) > 2)
    known = np.isfinite(values(depths[-1]))
    np.testing.assert_allclose(values(depths[-1])[known], 2 * exact[known], rtol=0.06)
    assert set_parameter(ros, 'marker.size', SIZE_M)[0]
    count = len(depths)
    send(lambda: len(depths) > count + 4)
    known = np.isfinite(values(depths[-1]))
    np.testing.assert_allclose(values(depths[-1])[known], exact[known], rtol=0.06)


def test_under_auto_markers_take_part_from_when_their_size_is_set(ros, run):
    _, send = run(**{'scale.source': 'auto'})
    depths = ros.collect(Image, 'camera/depth/image')
    send(most=15)
    assert not depths
    assert 'markers' not in read(diagnostics(ros, 'camera camera', lambda s: True))
    assert set_parameter(ros, 'marker.size', SIZE_M) == (True, '')
    send(lambda: len(depths) > 2)
    assert len(depths) > 2


def test_where_opencv_has_no_markers_auto_goes_on_and_says_so(ros, run, monkeypatch):
    monkeypatch.delattr(cv2, 'aruco')
    _, send = run(**{'scale.source': 'auto'}, markers=[])
    assert set_parameter(ros, 'marker.size', SIZE_M) == (True, '')
    depths = ros.collect(Image, 'camera/depth/image')
    send(most=10)
    assert not depths
    told = diagnostics(ros, 'camera camera', lambda s: 'no cv2.aruco' in ' '.join(read(s).values()))
    assert told
