"""What one camera's metric outputs make of frames, without a graph around them."""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from midas_depth_ros.depth import models
from midas_depth_ros.geometry import CameraModel, CameraMount
from midas_depth_ros.nodes.bag.pipeline import OfflineNode
from midas_depth_ros.nodes.depth.metric_sources import Mounting
from midas_depth_ros.nodes.depth.output import FrameView, GridCache, MetricOutput
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings

CAMERA = CameraModel.from_field_of_view(640, 480, 1.0)
SMALL = (192, 256)
METRIC = 'depth_anything_v2_metric_indoor_small'  # metres up to 20 m


class Output:
    """A `MetricOutput` that is given relative inverse depth, and what it has sent."""

    def __init__(self, model: str, wanted: tuple[str, ...], **parameters: Any) -> None:
        self.sent: dict[str, list[Any]] = {}
        self.node = OfflineNode(self.settings(**parameters), self._take, print, wanted=wanted)
        spec = models.spec(model)
        estimator = types.SimpleNamespace(
            gives=spec.output, far_end=spec.far_end, focal_reference_px=spec.focal_reference_px,
            model=model, domain='', enlarge=spec.enlarge,
        )  # fmt: skip
        self.output = MetricOutput(self.node, 'camera', estimator, Mounting(self.node, 'camera'))
        self._grids, self._count = GridCache(), 0

    @staticmethod
    def settings(**parameters: Any) -> DepthNodeSettings:
        given = {name.replace('__', '.'): value for name, value in parameters.items()}
        return build(DepthNodeSettings, given)

    def _take(self, topic: str, message: Any) -> None:
        self.sent.setdefault(topic.removeprefix('/').partition('/')[2], []).append(message)

    def frame(self, d: np.ndarray, camera: CameraModel = CAMERA, grey: np.ndarray | None = None):
        message = Image()
        message.header.frame_id = 'optical'
        message.header.stamp.sec = 10 + self._count // 10
        message.header.stamp.nanosec = self._count % 10 * 10**8
        stamp_ns = 10**10 + self._count * 10**8
        self._count += 1
        frame = types.SimpleNamespace(
            message=message, stamp_ns=stamp_ns, time_s=stamp_ns / 1e9, restarted=False, mixed='',
            camera='camera',
        )  # fmt: skip
        grey = np.full((480, 640), 90, np.uint8) if grey is None else grey
        d = d.astype(np.float32)
        view = FrameView(
            frame, np.dstack([grey] * 3), d, d, '', camera, self._grids.of(camera, d.shape),
            self.node.settings,
        )  # fmt: skip
        metric = self.output.update(view)
        if metric is not None:
            self.output.publish(view, metric)
        return metric

    def depth_image(self) -> np.ndarray:
        message = self.sent['depth/image'][-1]
        if isinstance(message, (bytes, bytearray)):
            message = deserialize_message(bytes(message), Image)
        return np.frombuffer(bytes(message.data), np.float32).reshape(message.height, -1)


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize(
    ('scale', 'shift', 'metres'),
    [(1.0, -0.1, math.nan), (0.625, 0.0, 24.0), (2.0, 0.0, 7.5)],
    ids=['no depth', 'beyond its range', 'within its range'],
)
def test_a_fused_depth_image_knows_no_range_of_the_network(fused, scale, shift, metres):
    """Its metres are the fit's: what has none must not come out as near, nor the far as its end."""
    camera = Output(
        METRIC, ('depth/image',), scale__source='fixed', scale__fixed_scale=scale,
        scale__fixed_shift=shift, fusion__enabled=fused, depth__max=100.0,
    )  # fmt: skip
    d = np.full(SMALL, 0.5)
    d[:96] = 1 / 15
    for _ in range(3):
        metric = camera.frame(d)
    far = camera.depth_image()[100, 320]
    assert far == pytest.approx(metric.depth_z[40, 128], nan_ok=True)
    assert far == pytest.approx(metres, rel=1e-3, nan_ok=True)


def test_a_camera_that_focuses_keeps_the_beams_of_its_scan():
    camera = Output('embedded', ('scan',), camera_height=0.3, camera_pitch=0.15)
    base = CameraModel.from_field_of_view(256, 192, math.radians(64))
    mount = CameraMount(0.3, 0.15)
    for factor in (1, 1.002, 1, 0.998, 1.002, 0.997, 1.003, 1):
        lens = dataclasses.replace(base, fx=base.fx * factor, fy=base.fy * factor)
        floor = mount.ground_inverse_depth(lens.normalised_grid())
        camera.frame(2 * np.maximum(floor, 0.15) + 0.1, lens)
    scans = camera.sent['scan']
    assert len(scans) == 8
    assert len({(scan.angle_min, len(scan.ranges)) for scan in scans}) == 1
    zoomed = dataclasses.replace(base, fx=1.3 * base.fx, fy=1.3 * base.fy)
    floor = mount.ground_inverse_depth(zoomed.normalised_grid())
    camera.frame(2 * np.maximum(floor, 0.15) + 0.1, zoomed)
    assert len(camera.sent['scan'][-1].ranges) < len(scans[0].ranges)


def test_metres_by_a_size_that_was_corrected_end_at_once():
    cv2 = pytest.importorskip('cv2')
    if not hasattr(cv2, 'aruco'):
        pytest.skip('this OpenCV has no aruco')
    make = getattr(cv2.aruco, 'generateImageMarker', None) or cv2.aruco.drawMarker
    shown = np.full((480, 640), 220, np.uint8)
    hidden = shown.copy()
    kind = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    shown[160:320, 240:400] = make(kind, 3, 160)
    d = np.ones(SMALL) + np.linspace(0, 0.01, SMALL[1])
    given = {'scale__source': 'marker', 'scale__expiry': 30.0}
    camera = Output('zipdepth', ('depth/image',), **given, marker__size=0.32)
    for _ in range(3):
        wrong = camera.frame(d, grey=shown)
    assert camera.frame(d, grey=hidden) is not None
    camera.node.settings = camera.settings(**given, marker__size=0.16)
    assert camera.frame(d, grey=hidden) is None
    right = camera.frame(d, grey=shown)
    ratio = right.scale.scale / wrong.scale.scale
    assert ratio == pytest.approx(2, rel=0.05)
