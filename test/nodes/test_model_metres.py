"""Metres that the network itself gives, over real DDS: worked out by hand, of a toy network.

The toy's metres are weight * (red + green + blue), so a picture can be made of any depth.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from driving import change, diagnostics, header, read, set_parameter, state, values
from fakes import SceneEstimator
from lifecycle_msgs.msg import State, Transition
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, Range
from toy_model import FAR_M, NEAR_M, picture_of, toy_spec

from midas_depth_ros.depth import load_estimator, models
from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, cloud_array, image_message
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

HEIGHT_M, PITCH_RAD, BOX_M = 0.3, 0.1, 1.5
CAMERA = CameraModel.from_field_of_view(80, 60, 1.2)
WEIGHT = 4.0  # metres up to 12, in steps of 0.016
STEP_M = WEIGHT / 255
POSE = Pose(z_m=HEIGHT_M, pitch_rad=PITCH_RAD)
ROOM = Room(x_min_m=-3.0, x_max_m=9.0, y_min_m=-2.0, y_max_m=2.0, height_m=2.5)
BOX = Box(x_m=BOX_M + 0.2, y_m=0.0, length_m=0.4, width_m=0.4, height_m=0.4)
EXACT = render(Scene(room=ROOM, solids=(BOX,)), CAMERA, POSE).depth_z
EDGE_ROW = 46  # floor 0.8 m ahead
MOUNT = {'camera_height': HEIGHT_M, 'camera_pitch': PITCH_RAD}
OURS = {
    'scale.source': 'model',
    'picture_check': False,
    'frozen_after': 0.0,
    'obstacles.persistence': 1,
    'output_size': 'network',
    'diagnostics_rate': 10.0,
    'max_rate': 0.0,
}


@pytest.fixture
def run(ros, tmp_path, monkeypatch):
    """Start a depth_node with the toy; returns a function to feed it the picture of a depth."""

    def make(calibrated=True, weight=WEIGHT, fields=None, **parameters):
        fields = {'depth_range_m': (0.1, FAR_M), **(fields or {})}
        monkeypatch.setitem(models._specs, 'toy', toy_spec(tmp_path, weight, 0.0, **fields))
        estimator = load_estimator('toy', 'opencv')
        ros.make_node(DepthNode, lambda settings: estimator, parameters={**OURS, **parameters})
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        images = ros.publisher(Image, 'camera/image_raw')
        infos = ros.publisher(CameraInfo, 'camera/camera_info')
        moment = iter(range(100, 10_000))

        def send(depth_z, received=None, count=1, before=lambda header: None):
            rgb = picture_of(depth_z, weight)
            wanted = len(received or []) + count
            for _ in range(200 if received is not None else 30):
                now = 100 + next(moment) / 10
                if calibrated:
                    infos.publish(camera_info_message(CAMERA, header(now)))
                before(header(now))
                images.publish(image_message(rgb, header(now)))
                ros.spin_for(0.03)
                if received is not None and len(received) >= wanted:
                    return
            assert received is None, f'{len(received)} of {wanted} messages'

        return send

    return make


def told(ros, predicate) -> dict[str, str]:
    """The camera's diagnostics that fulfil the predicate."""
    return read(diagnostics(ros, 'camera camera', lambda status: predicate(read(status))))


def pinging(ros):
    """A range finder that looks at the box: returns what makes it measure at a picture's stamp."""
    finder = ros.publisher(Range, 'camera/reference/range')
    ros.spin_until(lambda: finder.get_subscription_count())

    def ping(head) -> None:
        finder.publish(Range(header=head, min_range=0.05, max_range=4.0, range=BOX_M))
        ros.spin_for(0.02)

    return ping


def test_a_model_without_metres_is_refused_and_the_node_lives_on(ros, log_lines):
    parameters = {'scale.source': 'model', 'autostart': False}
    node = ros.make_node(DepthNode, lambda settings: SceneEstimator(EXACT), parameters=parameters)
    assert not change(ros, Transition.TRANSITION_CONFIGURE)
    assert state(ros) == State.PRIMARY_STATE_UNCONFIGURED
    (line,) = [line for line in log_lines() if 'cannot configure' in line]
    assert 'scale.source is model, but scene gives relative inverse depth, not metres' in line
    assert 'ground_plane' in line
    assert not node.cameras
    assert set_parameter(ros, 'scale.source', 'none') == (True, '')
    assert change(ros, Transition.TRANSITION_CONFIGURE)


def test_without_any_calibration_the_depth_image_is_in_metres(ros, run, log_lines):
    send = run(calibrated=False)
    depth = ros.collect(Image, 'camera/depth/image')
    infos = ros.collect(CameraInfo, 'camera/depth/camera_info')
    scans = ros.collect(LaserScan, 'camera/scan')
    clouds = ros.collect(PointCloud2, 'camera/points')
    send(EXACT, depth, 2)
    np.testing.assert_allclose(values(depth[-1]), EXACT, atol=STEP_M)
    send(EXACT)
    assert not infos  # all of these need the rays of a calibrated camera
    assert not scans
    assert not clouds
    status = told(ros, lambda v: v['scale'] == 'valid')
    assert status['scale source'] == 'model'
    assert status['metres'] == 'of the model, learned nobody says where'
    assert status['metres check'] == 'unverified: nothing to compare with'
    assert status['obstacles'] == (
        'unknown: the camera is not calibrated: no camera_info that fits its pictures, '
        'and no horizontal_fov'
    )
    assert any('the metres of toy are not checked' in line for line in log_lines())


def test_with_camera_info_alone_scan_proximity_and_cloud_come_in_metres(ros, run):
    """No height, no pitch: the floor in these metres says how the camera is mounted."""
    send = run(fields={'domain': 'indoors (toys)'})
    scans = ros.collect(LaserScan, 'camera/scan')
    free = ros.collect(LaserScan, 'camera/seen_free')
    near = ros.collect(Range, 'camera/proximity')
    clouds = ros.collect(PointCloud2, 'camera/points')
    send(EXACT, scans, 5)
    ros.spin_until(lambda: clouds and near and free)
    points = cloud_array(clouds[-1]).reshape(60, 80, 3)
    np.testing.assert_allclose(points[..., 2], EXACT, atol=STEP_M)
    ranges = np.array(scans[-1].ranges)
    angles = scans[-1].angle_min + scans[-1].angle_increment * np.arange(len(ranges))
    ahead = np.abs(angles) < 0.08
    assert ranges[ahead] == pytest.approx(BOX_M / np.cos(angles[ahead]), rel=0.05)
    assert near[-1].range == pytest.approx(BOX_M, rel=0.05)
    beside = np.abs(angles - 0.35) < 0.05
    assert np.nanmin(np.array(free[-1].ranges)[beside]) > BOX_M
    status = told(ros, lambda v: v.get('obstacles') == 'in metres')
    assert status['metres'] == 'of the model, learned indoors (toys)'
    assert status['metres check'].startswith('unverified')


def test_two_cameras_in_one_frame_give_depth_and_no_scan(ros, tmp_path, monkeypatch):
    """Depth is in the frame of each camera; scans of both in one frame would be confused."""
    spec = toy_spec(tmp_path, WEIGHT, 0.0, depth_range_m=(0.1, FAR_M))
    monkeypatch.setitem(models._specs, 'toy', spec)
    estimator = load_estimator('toy', 'opencv')
    parameters = {**OURS, 'cameras': ['front', 'rear']}
    ros.make_node(DepthNode, lambda settings: estimator, parameters=parameters)
    depth = [ros.collect(Image, f'{name}/depth/image') for name in ('front', 'rear')]
    scans = [ros.collect(LaserScan, f'{name}/scan') for name in ('front', 'rear')]
    cameras = [
        (
            ros.publisher(Image, f'{name}/image_raw'),
            ros.publisher(CameraInfo, f'{name}/camera_info'),
        )
        for name in ('front', 'rear')
    ]
    rgb = picture_of(EXACT, WEIGHT)
    for number in range(200):
        head = header(100 + number / 10)
        for images, infos in cameras:
            infos.publish(camera_info_message(CAMERA, head))
            images.publish(image_message(rgb, head))
        ros.spin_for(0.05)
        if min(map(len, depth)) > 5:
            break
    assert min(map(len, depth)) > 5
    assert scans == [[], []]
    for name in ('front', 'rear'):
        status = diagnostics(ros, f'camera {name}', lambda s: 'same way' in read(s)['obstacles'])
        assert f'mounts.{name}.body_frame' in read(status)['obstacles']


def test_without_a_floor_in_view_there_is_depth_but_no_scan(ros, run):
    send = run(image_timeout=0.5)
    depth = ros.collect(Image, 'camera/depth/image')
    scans = ros.collect(LaserScan, 'camera/scan')
    wall = np.full((60, 80), 1.2) + np.linspace(0, 0.3, 80)
    send(wall, depth, 10)
    np.testing.assert_allclose(values(depth[-1]), wall, atol=STEP_M)
    assert not scans
    status = told(ros, lambda v: v.get('obstacles', '').startswith('unknown'))
    assert 'no floor in view' in status['obstacles']
    send(wall)
    told(ros, lambda v: v['scale'] == 'valid')
    diagnostics(ros, 'camera camera', lambda s: 'no obstacles: no floor in view' in s.message)


def test_a_floor_that_agrees_is_said_and_its_metres_are_published(ros, run):
    send = run(**MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    scans = ros.collect(LaserScan, 'camera/scan')
    send(EXACT, depth, 3)
    np.testing.assert_allclose(values(depth[-1]), EXACT, atol=STEP_M)
    status = told(ros, lambda v: v['scale'] == 'valid')
    assert status['metres check'].startswith('agrees: ')
    assert float(status['metres by measured metres']) == pytest.approx(1, abs=0.03)
    ros.spin_until(lambda: scans)
    assert scans[-1].ranges[len(scans[-1].ranges) // 2] == pytest.approx(BOX_M, rel=0.05)


@pytest.mark.parametrize('factor', [0.89, 1.12])
def test_metres_a_little_off_keep_the_floor_a_floor(ros, run, factor):
    """By the true height a floor that is too near would be an obstacle, one too far a drop."""
    send = run(**MOUNT)
    scans = ros.collect(LaserScan, 'camera/scan')
    send(factor * EXACT, scans, 3)
    ranges = np.array(scans[-1].ranges)
    assert ranges[len(ranges) // 2] == pytest.approx(factor * BOX_M, rel=0.05)
    assert ranges[5] > factor * 2.0 or np.isnan(ranges[5])  # the wall beside, nothing before it
    status = told(ros, lambda v: v['scale'] == 'valid')
    assert float(status['metres by measured metres']) == pytest.approx(factor, abs=0.03)


@pytest.mark.parametrize('factor', [0.6, 1.6])
def test_metres_that_the_floor_refutes_fall_silent_at_once(ros, run, factor, log_lines):
    send = run(**MOUNT, **{'scale.expiry': 60.0, 'obstacles.max_drop': 5.0})
    depth = ros.collect(Image, 'camera/depth/image')
    scans = ros.collect(LaserScan, 'camera/scan')
    near = ros.collect(Range, 'camera/proximity')
    send(EXACT, depth, 2)
    send(factor * EXACT)
    ros.spin_for(0.3)
    before = len(depth), len(scans), len(near)
    send(factor * EXACT)
    assert (len(depth), len(scans), len(near)) == before
    reason = f"the model's metres are wrong here: {factor:.1f}"
    status = told(ros, lambda v: v['scale'].startswith(f'none: {reason}'))
    assert float(status['metres by measured metres']) == pytest.approx(factor, rel=0.03)
    diagnostics(ros, 'camera camera', lambda s: f'no metres: {reason}' in s.message)
    assert any(reason in line for line in log_lines())
    # A wall, on which nothing can be checked, does not end it; an agreeing floor does.
    send(np.full((60, 80), 1.2) + np.linspace(0, 0.3, 80))
    assert len(depth) == before[0]
    send(EXACT, depth, 1)
    told(ros, lambda v: v['scale'] == 'valid')


def test_an_agreement_vouches_for_frames_without_a_floor_only_for_a_while(ros, run):
    send = run(**MOUNT, **{'scale.expiry': 0.5})
    depth = ros.collect(Image, 'camera/depth/image')
    send(EXACT, depth, 2)
    wall = np.full((60, 80), 1.2) + np.linspace(0, 0.3, 80)
    send(wall, depth, 2)
    send(wall)
    ros.spin_for(0.3)
    before = len(depth)
    send(wall)
    assert len(depth) == before
    status = told(ros, lambda v: v['scale'].startswith('none'))
    assert "the model's metres cannot be checked" in status['scale']
    assert status['metres check'].startswith('not possible: ')


def test_a_known_mount_and_no_camera_info_is_silence_and_the_reason(ros, run):
    send = run(calibrated=False, **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    send(EXACT)
    assert not depth
    status = told(ros, lambda v: 'cannot be checked' in v['scale'])
    assert 'no camera_info' in status['scale']


def test_a_check_that_is_not_wanted_is_not_made(ros, run):
    send = run(calibrated=False, **MOUNT, **{'scale.check': 'none'})
    depth = ros.collect(Image, 'camera/depth/image')
    send(0.5 * EXACT, depth, 2)
    assert told(ros, lambda v: v['scale'] == 'valid')['metres check'].startswith('unverified')


@pytest.mark.parametrize(('factor', 'valid'), [(1.0, True), (1.7, False)])
def test_a_range_finder_checks_it_by_one_reading(ros, run, factor, valid):
    send = run(**MOUNT, **{'scale.check': 'range', 'reference.z': 0.2})
    depth = ros.collect(Image, 'camera/depth/image')
    send(factor * EXACT, before=pinging(ros))
    status = told(ros, lambda v: v.get('metres by measured metres'))
    assert float(status['metres by measured metres']) == pytest.approx(factor, rel=0.05)
    assert 'the reference' in status['metres check']
    assert bool(depth) is valid


def test_one_reading_gives_the_scale_of_a_disparity(ros, run):
    """Its shift is 0: in a small room nothing is far enough to count as infinitely far."""
    room = Room(x_min_m=-1.0, x_max_m=2.5, y_min_m=-1.0, y_max_m=1.0, height_m=2.5)
    exact = render(Scene(room=room, solids=(BOX,)), CAMERA, POSE).depth_z
    fields = {'output': models.Output.DISPARITY, 'depth_range_m': None}
    ours = {'scale.source': 'range', 'reference.z': 0.2}
    send = run(weight=2.0, fields=fields, **MOUNT, **ours)
    depth = ros.collect(Image, 'camera/depth/image')
    send(1.7 / exact, depth, 2, before=pinging(ros))  # of unknown scale
    assert np.abs(values(depth[-1]) / exact - 1).max() < 0.05


def test_metres_for_one_focal_length_follow_the_camera(ros, run):
    """metres = output * f / reference, f in pixels of the network's input."""
    send = run(fields={'focal_reference_px': 2 * CAMERA.fx})
    depth = ros.collect(Image, 'camera/depth/image')
    scans = ros.collect(LaserScan, 'camera/scan')
    send(2 * EXACT, depth, 5)
    near = EXACT < 5.9  # the toy says no more than 12
    np.testing.assert_allclose(values(depth[-1])[near], EXACT[near], atol=STEP_M)
    ros.spin_until(lambda: scans)
    assert scans[-1].ranges[len(scans[-1].ranges) // 2] == pytest.approx(BOX_M, rel=0.05)


def test_metres_for_one_focal_length_need_it(ros, run):
    send = run(calibrated=False, fields={'focal_reference_px': 100.0})
    depth = ros.collect(Image, 'camera/depth/image')
    send(EXACT)
    assert not depth
    status = told(ros, lambda v: 'depend on the focal length' in v['scale'])
    assert 'no camera_info' in status['scale']
    # A field of view is as good.
    assert set_parameter(ros, 'horizontal_fov', 1.2) == (True, '')
    send(EXACT, depth, 1)
    factor = CAMERA.fx / 100
    np.testing.assert_allclose(values(depth[-1]), factor * EXACT, atol=STEP_M)


@pytest.mark.parametrize('source', ['model', 'ground_plane'])
def test_the_far_end_is_unknown_and_never_free(ros, run, source):
    """Where the toy says 20 m it says "at least 20 m": the floor that is gone there is a drop."""
    empty = render(Scene(room=ROOM, solids=()), CAMERA, POSE).depth_z
    gone = empty.copy()
    gone[:EDGE_ROW, :40] = 24.0  # clipped to 20 by the network
    send = run(weight=8.0, **MOUNT, **{'scale.source': source, 'depth.max': 1000.0})
    depth = ros.collect(Image, 'camera/depth/image')
    scans = ros.collect(LaserScan, 'camera/scan')
    free = ros.collect(LaserScan, 'camera/seen_free')
    send(gone, depth, 3)
    ros.spin_until(lambda: scans and free)
    made = values(depth[-1])
    assert np.isnan(made[: EDGE_ROW - 1, :39]).all()
    near = empty[:, 41:] < 5
    assert np.abs(made[:, 41:][near] / empty[:, 41:][near] - 1).max() < 0.05
    ranges = np.array(scans[-1].ranges)
    angles = scans[-1].angle_min + scans[-1].angle_increment * np.arange(len(ranges))
    left = angles > 0.05
    edge_m = HEIGHT_M / math.tan(PITCH_RAD + math.atan((EDGE_ROW - 29.5) / CAMERA.fy))
    edges = edge_m / np.cos(angles[left])
    assert np.abs(ranges[left] / edges - 1).max() < 0.2  # the near edge, to two rows
    assert (np.array(free[-1].ranges)[left] < 1.2 * edges).all()
    assert np.nanmax(np.array(free[-1].ranges)[angles < -0.05]) > 2


def test_the_near_end_is_never_farther(ros, run):
    """Where the toy says half a metre it says "at most": what is nearer stays an obstacle there."""
    blocked = EXACT.copy()
    blocked[20:50, 30:50] = 0.2
    send = run(fields={'depth_range_m': (NEAR_M, FAR_M)})
    depth = ros.collect(Image, 'camera/depth/image')
    near = ros.collect(Range, 'camera/proximity')
    send(EXACT, depth, 5)
    assert near[-1].range == pytest.approx(BOX_M, rel=0.05)
    send(blocked, depth, 5)
    assert (values(depth[-1])[20:50, 30:50] <= NEAR_M).all()
    ros.spin_for(0.3)
    assert near[-1].range <= NEAR_M + 0.01


def test_auto_never_takes_the_models_metres(ros, run, log_lines):
    send = run(**{'scale.source': 'auto'})
    depth = ros.collect(Image, 'camera/depth/image')
    send(EXACT)
    assert not depth
    assert told(ros, lambda v: v['scale'].startswith('none'))['scale'] == (
        'none: camera_height is not set'
    )
    assert any('toy gives metres, which nothing asks for' in line for line in log_lines())
    for name, value in MOUNT.items():
        assert set_parameter(ros, name, value) == (True, '')
    send(1.6 * EXACT, depth, 2)  # the floor corrects what the network has wrong
    near = EXACT < 5
    assert np.abs(values(depth[-1])[near] / EXACT[near] - 1).max() < 0.1
    assert told(ros, lambda v: v['scale'] == 'valid')['scale source'] == 'ground'


def test_relative_inverse_depth_is_large_where_it_is_near(ros, run):
    send = run(calibrated=False)
    relative = ros.collect(Image, 'camera/relative_inverse_depth/image')
    send(EXACT, relative, 1)
    np.testing.assert_allclose(values(relative[-1]), 1 / EXACT, rtol=0.03)
