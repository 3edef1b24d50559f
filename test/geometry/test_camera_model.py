"""Calibrations as cameras send them: supported, rejected, and the directions of pixels."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, CameraModelError, GeometryError, Uncalibrated

K = (420.0, 0.0, 321.5, 0.0, 421.0, 238.25, 0.0, 0.0, 1.0)
LENSES = {
    'none': ('', ()),
    'plumb_bob': ('plumb_bob', (-0.33, 0.12, 0.0012, -0.0008, -0.02)),
    'plumb_bob_4': ('plumb_bob', (-0.25, 0.06, -0.001, 0.002)),
    'pincushion': ('plumb_bob', (0.12, 0.02, 0.0, 0.0, 0.0)),
    'rational': ('rational_polynomial', (0.9, 0.3, 1e-4, -2e-4, 0.02, 1.2, 0.45, 0.07)),
    'thin_prism': (
        'rational_polynomial',
        (0.9, 0.3, 1e-4, -2e-4, 0.02, 1.2, 0.45, 0.07, 0.002, -0.001, 0.003, 0.0005),
    ),
    'equidistant': ('equidistant', (-0.02, 0.008, -0.004, 0.0006)),
}


def camera_info(**changes):
    fields = {
        'width': 640,
        'height': 480,
        'k': K,
        'd': [],
        'distortion_model': '',
        'binning_x': 0,
        'binning_y': 0,
        'roi': SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    return SimpleNamespace(**{**fields, **changes})


def region(x_offset, y_offset, width, height):
    return SimpleNamespace(
        x_offset=x_offset, y_offset=y_offset, width=width, height=height, do_rectify=False
    )


def model(lens, width=640, height=480):
    name, coefficients = LENSES[lens]
    return CameraModel(width, height, K[0], K[4], K[2], K[5], name, coefficients)


def lens_pixels(camera, x, y):
    """Convert normalised coordinates to pixels by OpenCV."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1.0]])
    coefficients = np.array(camera.distortion)
    points = np.stack([x, y], axis=-1).reshape(-1, 1, 2).astype(np.float64)
    if camera.distortion_model == 'equidistant':
        pixels = cv2.fisheye.distortPoints(points, matrix, coefficients)
    else:
        rays = np.concatenate([points, np.ones((len(points), 1, 1))], axis=2)
        none = np.zeros(3)
        pixels, _ = cv2.projectPoints(rays, none, none, matrix, coefficients)
    return pixels.reshape(*x.shape, 2)


def test_a_calibration_is_read_as_it_is():
    info = camera_info(distortion_model='plumb_bob', d=[-0.3, 0.1, 0.0, 0.001, 0.0])
    assert CameraModel.from_camera_info(info) == CameraModel(
        640, 480, 420.0, 421.0, 321.5, 238.25, 'plumb_bob', (-0.3, 0.1, 0.0, 0.001, 0.0)
    )


def test_a_real_message_is_read():
    messages = pytest.importorskip('sensor_msgs.msg', reason='needs ROS messages')
    info = messages.CameraInfo(
        width=640, height=480, distortion_model='rational_polynomial', k=K, d=[0.1] * 8
    )
    camera = CameraModel.from_camera_info(info)
    assert camera == CameraModel(
        640, 480, 420.0, 421.0, 321.5, 238.25, 'rational_polynomial', (0.1,) * 8
    )
    assert hash(camera) == hash(dataclasses.replace(camera))
    with pytest.raises(Uncalibrated):
        CameraModel.from_camera_info(messages.CameraInfo(width=640, height=480))


def test_an_uncalibrated_camera_says_so():
    with pytest.raises(Uncalibrated, match=r'k\[0\] is 0: .* camera_calibration'):
        CameraModel.from_camera_info(camera_info(k=[0.0] * 9))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'k': (-420.0, *K[1:])}, 'focal length fx is -420.0'),
        ({'k': (math.nan, *K[1:])}, 'focal length fx is nan'),
        ({'k': (*K[:4], 0.0, *K[5:])}, 'focal length fy is 0.0'),
        ({'k': (*K[:4], math.inf, *K[5:])}, 'focal length fy is inf'),
        ({'k': (*K[:2], math.nan, *K[3:])}, 'principal point cx is nan'),
        ({'k': K[:8]}, 'k has 8 numbers'),
        ({'k': tuple(np.array(K).reshape(3, 3).T.ravel())}, r'it must be \[fx, 0, cx'),
        ({'k': (*K[:8], 0.0)}, r'it must be \[fx, 0, cx'),
        ({'width': 0}, 'width is 0'),
        ({'height': 0}, 'height is 0'),
        ({'distortion_model': 'brown', 'd': [0.1]}, "'brown': it must be one of plumb_bob, rat"),
        ({'distortion_model': 'brown'}, "'brown': it must be one of"),
        ({'distortion_model': '', 'd': [0.1, 0, 0, 0, 0]}, 'name the model'),
        (
            {'distortion_model': 'plumb_bob', 'd': [0.1] * 8},
            'd has 8 numbers: plumb_bob has 4 or 5',
        ),
        ({'distortion_model': 'equidistant', 'd': []}, 'd has 0 numbers: equidistant has 4'),
        ({'distortion_model': 'plumb_bob', 'd': [0.1, math.nan, 0, 0, 0]}, 'not all finite'),
        (
            {'distortion_model': 'rational_polynomial', 'd': [0.1] * 14},
            r'tilted sensor, \[0.1, 0.1\]',
        ),
        ({'roi': region(600, 0, 100, 100)}, r'roi 100x100 at \(600, 0\) is not within'),
        ({'binning_x': 700}, 'binning 700x1 leaves nothing'),
    ],
)
def test_nonsense_is_refused_by_name(changes, words):
    with pytest.raises(CameraModelError, match=words) as caught:
        CameraModel.from_camera_info(camera_info(**changes))
    assert not isinstance(caught.value, Uncalibrated)
    assert isinstance(caught.value, GeometryError)


@pytest.mark.parametrize('name', ['', 'none', 'plumb_bob', 'rational_polynomial'])
@pytest.mark.parametrize('coefficients', [[], [0.0] * 5])
def test_a_lens_of_zeros_is_no_lens(name, coefficients):
    camera = CameraModel.from_camera_info(camera_info(distortion_model=name, d=coefficients))
    assert (camera.distortion_model, camera.distortion) == ('', ())


def test_an_equidistant_lens_of_zeros_is_one():
    camera = CameraModel.from_camera_info(camera_info(distortion_model='equidistant', d=[0.0] * 4))
    x, _ = camera.normalised_grid()
    angle = (600 - camera.cx) / camera.fx
    assert x[238, 600] == pytest.approx(math.tan(angle), rel=1e-3)


def test_a_rectified_picture_looks_where_the_lens_picture_looks():
    name, coefficients = LENSES['plumb_bob']
    k = np.array(K).reshape(3, 3)
    new, _ = cv2.getOptimalNewCameraMatrix(k, np.array(coefficients), (640, 480), 0.3)
    p = [*new[0], 0.0, *new[1], 0.0, 0.0, 0.0, 1.0, 0.0]
    info = camera_info(d=coefficients, distortion_model=name, p=p)
    x, y = CameraModel.from_camera_info(info, rectified=True).normalised_grid()
    columns, rows = cv2.initUndistortRectifyMap(
        k, np.array(coefficients), None, new, (640, 480), cv2.CV_32FC1
    )
    raw = CameraModel.from_camera_info(info).normalised_grid()
    for rectified, lens in zip((x, y), raw, strict=True):
        seen = cv2.remap(lens, columns, rows, cv2.INTER_LINEAR, borderValue=math.nan)
        within = np.isfinite(seen)
        assert within.mean() > 0.7
        np.testing.assert_allclose(rectified[within], seen[within], atol=2e-4)


@pytest.mark.parametrize(
    ('p', 'error', 'words'),
    [
        ([0.0] * 12, Uncalibrated, r'p\[0\] is 0'),
        ([1.0] * 9, CameraModelError, 'p has 9 numbers'),
        ([400.0, 1, 320, 0, 0, 400, 240, 0, 0, 0, 1, 0], CameraModelError, 'p is'),
        ([math.nan, 0, 320, 0, 0, 400, 240, 0, 0, 0, 1, 0], CameraModelError, 'focal length fx'),
    ],
)
def test_a_rectified_calibration_that_cannot_be_right_is_refused(p, error, words):
    with pytest.raises(error, match=words):
        CameraModel.from_camera_info(camera_info(p=p), rectified=True)


def test_a_region_moves_the_principal_point():
    camera = CameraModel.from_camera_info(camera_info(roi=region(100, 40, 320, 240)))
    assert (camera.width, camera.height) == (320, 240)
    full_x, full_y = CameraModel.from_camera_info(camera_info()).normalised_grid()
    x, y = camera.normalised_grid()
    np.testing.assert_allclose(x, full_x[40:280, 100:420], atol=1e-6)
    np.testing.assert_allclose(y, full_y[40:280, 100:420], atol=1e-6)


def test_a_region_without_a_size_reaches_to_the_full_size_or_is_refused():
    whole = region(0, 0, 640, 480)
    assert CameraModel.from_camera_info(camera_info(roi=whole)).width == 640
    with pytest.raises(CameraModelError, match='roi'):
        CameraModel.from_camera_info(camera_info(roi=region(10, 0, 0, 0)))


@pytest.mark.parametrize('lens', ['none', 'plumb_bob'])
def test_binned_pixels_look_between_those_that_they_combine(lens):
    name, coefficients = LENSES[lens]
    info = camera_info(
        binning_x=2, binning_y=4, distortion_model=name, d=coefficients, width=641, height=483
    )
    camera = CameraModel.from_camera_info(info)
    assert (camera.width, camera.height) == (320, 120)
    full = np.stack(model(lens, 641, 483).normalised_grid())[:, :480, :640].astype(np.float64)
    combined = full.reshape(2, 120, 4, 320, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(np.stack(camera.normalised_grid()), combined, atol=2e-4)


def test_a_field_of_view_spans_the_picture_from_edge_to_edge():
    camera = CameraModel.from_field_of_view(640, 480, math.radians(90))
    assert camera.fx == camera.fy == pytest.approx(320)
    x, y = camera.normalised_grid()
    half_pixel = 0.5 / 320
    assert x[0, 0] - half_pixel == pytest.approx(-1.0, rel=1e-5)
    assert x[0, -1] + half_pixel == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(y, -y[::-1], atol=1e-7)
    for wrong in (0.0, -1.0, math.pi, 90.0, math.nan):
        with pytest.raises(CameraModelError, match='radians'):
            CameraModel.from_field_of_view(640, 480, wrong)


@pytest.mark.sampled
@pytest.mark.parametrize('lens', LENSES)
@pytest.mark.parametrize('size', [(640, 480), (256, 192), (256, 160), (61, 47)])
def test_the_grid_leads_back_to_the_pixels(lens, size):
    camera = model(lens)
    x, y = camera.normalised_grid(*size)
    assert x.shape == y.shape == size[::-1]
    assert x.dtype == y.dtype == np.float32
    seen = np.isfinite(x)
    assert seen.mean() > 0.97
    np.testing.assert_array_equal(seen, np.isfinite(y))
    pixels = lens_pixels(camera, x[seen], y[seen])
    u, v = np.meshgrid(
        (np.arange(size[0]) + 0.5) * 640 / size[0] - 0.5,
        (np.arange(size[1]) + 0.5) * 480 / size[1] - 0.5,
    )
    np.testing.assert_allclose(pixels[..., 0], u[seen], atol=0.02)
    np.testing.assert_allclose(pixels[..., 1], v[seen], atol=0.02)


def test_a_picture_resized_with_opencv_has_the_resized_grid():
    camera = model('plumb_bob')
    x, y = camera.normalised_grid()
    for full, small in zip((x, y), camera.normalised_grid(160, 120), strict=True):
        reduced = cv2.resize(full, (160, 120), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(small, reduced, atol=3e-4)


def test_scaling_there_and_back_is_the_same_camera():
    camera = model('rational')
    back = camera.scaled(256, 160).scaled(640, 480)
    assert dataclasses.astuple(back)[2:6] == pytest.approx(dataclasses.astuple(camera)[2:6])
    assert back.distortion == camera.distortion


def test_beyond_where_a_lens_model_turns_back_there_is_nothing():
    # r (1 - 0.6 r^2) is largest, 0.497, at r = 0.745: nothing is imaged farther out.
    camera = CameraModel(640, 480, 420.0, 420.0, 319.5, 239.5, 'plumb_bob', (-0.6, 0.0, 0.0, 0.0))
    x, y = camera.normalised_grid()
    rows, columns = np.mgrid[:480, :640]
    radius = np.hypot(columns - 319.5, rows - 239.5) / 420
    assert np.isfinite(x[radius < 0.49]).all()
    assert np.isnan(x[radius > 0.5]).all()
    seen = np.isfinite(x)
    assert np.hypot(x[seen], y[seen]).max() < 0.746


def test_a_fisheye_ends_at_ninety_degrees():
    camera = CameraModel(640, 480, 150.0, 150.0, 319.5, 239.5, 'equidistant', (0.0,) * 4)
    x, y = camera.normalised_grid()
    rows, columns = np.mgrid[:480, :640]
    angle = np.hypot(columns - 319.5, rows - 239.5) / 150
    inside = angle < math.radians(88)
    np.testing.assert_allclose(np.hypot(x, y)[inside], np.tan(angle[inside]), rtol=1e-3)
    assert np.isnan(x[angle > math.radians(91)]).all()


def test_a_camera_sees_the_same_at_any_size_and_while_it_focuses():
    camera = CameraModel(640, 480, 500.0, 510.0, 320.0, 250.0, 'plumb_bob', (0.1, 0.0, 0.0, 0.0))
    assert camera.scaled(160, 120).sees_as(camera)
    assert camera.sees_as(dataclasses.replace(camera, fx=503.0, fy=513.0, cx=323.0))


@pytest.mark.parametrize(
    'other',
    [{'fx': 510.0}, {'fy': 520.0}, {'cx': 330.0}, {'cy': 240.0}, {'distortion': (0.2,) * 4}],
)
def test_another_lens_or_zoom_sees_otherwise(other):
    camera = CameraModel(640, 480, 500.0, 510.0, 320.0, 250.0, 'plumb_bob', (0.1, 0.0, 0.0, 0.0))
    assert not dataclasses.replace(camera, **other).sees_as(camera)
