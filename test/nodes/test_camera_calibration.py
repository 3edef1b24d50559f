"""CameraInfo: what is in the file is in the message, and resizing keeps every ray where it was."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bags
import numpy as np
import pytest
import yaml
from std_msgs.msg import Header

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images import stamp_ns
from midas_depth_ros.images.sources import Frame
from midas_depth_ros.nodes.ros.messages import camera_info_message, time_message
from midas_depth_ros.nodes.sources.camera_topics import (
    Calibration,
    CalibrationError,
    info_of_recording,
    read_calibration,
    resized,
)

FILE = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [430.2, 0.0, 306.7, 0.0, 430.6, 227.2, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.337586, 0.111276, -0.000370, 0.000141, 0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [0.99, 0.0, 0.1, 0.0, 1.0, 0.0, -0.1, 0.0, 0.99]
projection_matrix:
  rows: 3
  cols: 4
  data: [345.2, 0.0, 305.1, -31.5, 0.0, 410.7, 222.3, 2.5, 0.0, 0.0, 1.0, 0.0]
"""
NAN = math.nan


def content_without(key: str) -> dict[str, Any]:
    return {name: value for name, value in yaml.safe_load(FILE).items() if name != key}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / 'camera.yaml'
    path.write_text(FILE)
    return path


def test_everything_in_the_file_is_in_the_message(path: Path) -> None:
    for name in (str(path), f'file://{path}'):
        info = read_calibration(name)
        assert (info.width, info.height, info.distortion_model) == (640, 480, 'plumb_bob')
        assert list(info.d) == [-0.337586, 0.111276, -0.000370, 0.000141, 0.0]
        assert list(info.k) == [430.2, 0.0, 306.7, 0.0, 430.6, 227.2, 0.0, 0.0, 1.0]
        assert list(info.r) == [0.99, 0.0, 0.1, 0.0, 1.0, 0.0, -0.1, 0.0, 0.99]
        assert list(info.p)[3] == -31.5
        assert list(info.p)[5:8] == [410.7, 222.3, 2.5]


def test_rectification_and_projection_may_be_missing(path: Path) -> None:
    content = content_without('rectification_matrix')
    del content['projection_matrix']
    path.write_text(yaml.safe_dump(content))
    info = read_calibration(path)
    np.testing.assert_array_equal(np.reshape(info.r, (3, 3)), np.eye(3))
    np.testing.assert_array_equal(np.reshape(info.p, (3, 4))[:, :3], np.reshape(info.k, (3, 3)))
    np.testing.assert_array_equal(np.reshape(info.p, (3, 4))[:, 3], 0)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (content_without('image_width'), 'image_width is None'),
        ({**content_without(''), 'image_height': 'tall'}, "image_height is 'tall'"),
        (content_without('camera_matrix'), 'camera_matrix'),
        ({**content_without(''), 'camera_matrix': {'data': [1, 2]}}, 'camera_matrix'),
        ({**content_without(''), 'projection_matrix': {'data': [1] * 9}}, 'projection_matrix'),
        ({**content_without(''), 'camera_matrix': {'data': [NAN] * 9}}, 'finite'),
        ({**content_without(''), 'distortion_model': 'spherical'}, "'spherical', not one of"),
        ({**content_without(''), 'distortion_coefficients': {'data': [0] * 7}}, '4 or 5 numbers'),
        (['a', 'list'], 'no keys'),
    ],
)
def test_what_is_wrong_is_named(path: Path, change: Any, named: str) -> None:
    path.write_text(yaml.safe_dump(change))
    with pytest.raises(CalibrationError) as caught:
        read_calibration(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('text', ['%YAML:1.0\na: !!opencv-matrix [', 'a: [1'])
def test_no_yaml(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(CalibrationError, match='camera_calibration'):
        read_calibration(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match='nowhere'):
        read_calibration(tmp_path / 'nowhere.yaml')


@pytest.mark.parametrize('size', [(320, 240), (1280, 960), (213, 160)])
def test_resized_calibration_keeps_the_rays(path: Path, size: tuple[int, int]) -> None:
    full = read_calibration(path)
    small = resized(full, *size)
    assert (small.width, small.height) == size
    assert list(small.d) == list(full.d)
    expected = CameraModel.from_camera_info(full).scaled(*size)
    model = CameraModel.from_camera_info(small)
    assert (model.fx, model.fy) == pytest.approx((expected.fx, expected.fy))
    assert (model.cx, model.cy) == pytest.approx((expected.cx, expected.cy))
    # P [X Y Z 1] is the pixel of a point; its pixel in the resized picture is its own, scaled.
    point = np.array([0.3, -0.2, 2.0, 1.0])
    before, after = (np.reshape(info.p, (3, 4)) @ point for info in (full, small))
    scale = np.array(size) / (640, 480)
    np.testing.assert_allclose(after[:2] / after[2], (before[:2] / before[2] + 0.5) * scale - 0.5)


def test_resizing_does_not_touch_the_original(path: Path) -> None:
    full = read_calibration(path)
    resized(full, 320, 240)
    assert full == read_calibration(path)
    assert resized(full, 640, 480) == full


def test_another_aspect_is_refused(path: Path) -> None:
    with pytest.raises(CalibrationError, match=r'640x480.*640x360'):
        resized(read_calibration(path), 640, 360)


def test_region_of_interest_and_binning_are_of_the_full_picture(path: Path) -> None:
    info = read_calibration(path)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 40, 80, 320, 240
    info.binning_x = info.binning_y = 2
    assert resized(info, 160, 120) == info
    half = resized(info, 80, 60)
    assert (half.width, half.height, half.binning_x) == (320, 240, 2)
    assert (half.roi.x_offset, half.roi.y_offset, half.roi.width) == (20, 40, 160)
    model = CameraModel.from_camera_info(half)
    expected = CameraModel.from_camera_info(info).scaled(80, 60)
    assert (model.width, model.height) == (80, 60)
    assert (model.fx, model.cx, model.cy) == pytest.approx((expected.fx, expected.cx, expected.cy))


def test_model_to_message_and_back() -> None:
    model = CameraModel(320, 200, 300.0, 310.0, 150.0, 99.0, 'equidistant', (0.1, 0.2, 0.3, 0.4))
    assert CameraModel.from_camera_info(camera_info_message(model)) == model
    plain = CameraModel.from_field_of_view(320, 200, 1.2)
    info = camera_info_message(plain)
    assert (info.distortion_model, list(info.d)) == ('plumb_bob', [0.0] * 5)
    assert CameraModel.from_camera_info(info) == plain


def test_recorded_message_is_kept_field_by_field() -> None:
    recorded = bags.camera_info_message(np.zeros((240, 320, 3), np.uint8), 5)
    recorded.roi = bags.RegionOfInterest(
        x_offset=1, y_offset=2, height=100, width=90, do_rectify=True
    )
    recorded.binning_x, recorded.binning_y = 2, 4
    info = info_of_recording(recorded)
    for field in ('width', 'height', 'distortion_model', 'binning_x', 'binning_y'):
        assert getattr(info, field) == getattr(recorded, field), field
    for field in 'dkrp':
        np.testing.assert_array_equal(getattr(info, field), getattr(recorded, field))
    for field in ('x_offset', 'y_offset', 'width', 'height', 'do_rectify'):
        assert getattr(info.roi, field) == getattr(recorded.roi, field), field


class TestChoice:
    """Of the file, else recorded, else assumed, else none."""

    PICTURE = np.zeros((240, 320, 3), np.uint8)

    def frame(self, recorded: bool) -> Frame:
        info = bags.camera_info_message(self.PICTURE, 0) if recorded else None
        return Frame('x', picture=self.PICTURE, camera_info=info)

    def test_file_first(self, path: Path) -> None:
        choice = Calibration(str(path), 1.0, True)
        info = choice.info_for(self.frame(True))
        assert choice.has_any
        assert info is not None
        assert info.k[0] == pytest.approx(430.2 / 2)
        assert (info.width, info.height) == (320, 240)

    def test_recorded_second(self) -> None:
        info = Calibration('', 1.0, True).info_for(self.frame(True))
        assert info is not None
        assert info.k[0] == 400.0

    def test_assumed_third(self) -> None:
        choice = Calibration('', 1.0, False)
        info = choice.info_for(self.frame(False))
        assert choice.has_any
        assert info is not None
        assert info.k[0] == pytest.approx(160 / math.tan(0.5))

    def test_none(self) -> None:
        choice = Calibration('', NAN, False)
        assert not choice.has_any
        assert choice.info_for(self.frame(False)) is None


def test_numbers_may_have_an_exponent_without_a_point(path: Path) -> None:
    """As yaml-cpp writes them, and with it camera_calibration's C++ relatives."""
    for text in ('1e-05', '-1E-5', '5e-1', '1e+3', '.5e2'):
        path.write_text(FILE.replace('0.000141', text))
        assert read_calibration(path).d[3] == float(text)
    path.write_text(FILE.replace('0.000141', '"1e-05"'))
    with pytest.raises(CalibrationError, match="'1e-05'"):
        read_calibration(path)


def test_nanoseconds_to_a_stamp_and_back() -> None:
    header = Header(stamp=time_message(1_700_000_000_987_654_321))
    assert (header.stamp.sec, header.stamp.nanosec) == (1_700_000_000, 987_654_321)
    assert stamp_ns(header) == 1_700_000_000_987_654_321
