"""Metres over real DDS: against the exact depth of a scene, by nav2's own rules (REP 117, 118)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from driving import diagnostics, header, read, set_parameter, stamp, values
from fakes import SceneEstimator
from geometry_msgs.msg import PointStamped, Quaternion, Vector3Stamped
from lifecycle_msgs.msg import State
from sensor_msgs.msg import CameraInfo, Image, Imu, LaserScan, PointCloud2, Range
from std_srvs.srv import Trigger

from midas_depth_ros.geometry import CameraModel, CameraMount, closeness, point_cloud
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import (
    camera_info_message,
    cloud_array,
    image_message,
    obstacles_message,
)
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

HEIGHT_M, PITCH_RAD = 0.3, 0.1
BOX_M = 1.5  # from the lens to the front of the box, along the floor
NETWORK = CameraModel.from_field_of_view(256, 192, 1.2)
PICTURE = CameraModel.from_field_of_view(320, 240, 1.2)
POSE = Pose(z_m=HEIGHT_M, pitch_rad=PITCH_RAD)
RGB = np.full((240, 320, 3), 120, np.uint8)
MOUNT = {'camera_height': HEIGHT_M, 'camera_pitch': PITCH_RAD, 'obstacles.persistence': 1}


def scene_depth(*solids, pose=POSE) -> np.ndarray:
    room = Room(x_min_m=-3.0, x_max_m=9.0, y_min_m=-2.0, y_max_m=2.0, height_m=2.5)
    return render(Scene(room=room, solids=solids), NETWORK, pose).depth_z


def box(x=BOX_M + 0.2, y=0.0, side=0.4) -> Box:
    return Box(x_m=x, y_m=y, length_m=0.4, width_m=side, height_m=side)


@pytest.fixture
def run(ros):
    """Start a depth_node that sees a scene; returns (node, send) to feed it pictures."""

    def make(depth_z, calibrated=True, **parameters):
        from driving import state

        estimator = SceneEstimator(depth_z)
        parameters = {'diagnostics_rate': 10.0, 'max_rate': 0.0, **parameters}
        ros.make_node(DepthNode, lambda settings: estimator, parameters=parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        images = ros.publisher(Image, 'camera/image_raw')
        infos = ros.publisher(CameraInfo, 'camera/camera_info')
        moment = iter(range(100, 10_000))

        def send(received=None, count=1, before=lambda stamp: None):
            wanted = len(received or []) + count
            for _ in range(200 if received is not None else 30):
                now = 100 + next(moment) / 10
                if calibrated:
                    infos.publish(camera_info_message(PICTURE, header(now)))
                before(header(now))
                images.publish(image_message(RGB, header(now)))
                ros.spin_for(0.03)
                if received is not None and len(received) >= wanted:
                    return
            assert received is None, f'{len(received)} of {wanted} messages'

        return estimator, send

    return make


def test_depth_is_in_metres_with_its_own_camera_info(ros, run):
    exact = scene_depth(box())
    _, send = run(exact, output_size='network', **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    infos = ros.collect(CameraInfo, 'camera/depth/camera_info')
    send(depth, 2)
    ros.spin_until(lambda: len(infos) >= 2)
    message, info = depth[-1], next(i for i in infos if stamp(i) == stamp(depth[-1]))
    assert (message.encoding, message.header.frame_id) == ('32FC1', 'camera_optical_frame')
    known = np.isfinite(values(message)) & (exact < 8)
    assert known.mean() > 0.6
    assert np.abs(values(message)[known] / exact[known] - 1).max() < 0.02
    assert (info.width, info.height) == (message.width, message.height) == (256, 192)
    assert info.header == message.header
    assert list(info.k) == pytest.approx([NETWORK.fx, 0, 127.5, 0, NETWORK.fy, 95.5, 0, 0, 1])
    assert list(info.p)[:3] == pytest.approx(list(info.k)[:3])


def test_rectified_pictures_are_measured_by_the_projection_without_the_lens(ros, run):
    exact = scene_depth(box())
    _, send = run(exact, calibrated=False, rectified=True, output_size='network', **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    infos = ros.collect(CameraInfo, 'camera/depth/camera_info')
    rectified = ros.publisher(CameraInfo, 'camera/camera_info')

    def publish(head):
        info = camera_info_message(PICTURE, head)
        info.k = [1.4 * info.k[0], 0.0, 150.0, 0.0, 1.4 * info.k[4], 110.0, 0.0, 0.0, 1.0]
        info.d = [-0.3, 0.1, 0.001, 0.0, 0.0]
        rectified.publish(info)

    send(depth, 2, before=publish)
    ros.spin_until(lambda: len(infos) >= 2)
    known = np.isfinite(values(depth[-1])) & (exact < 8)
    assert known.mean() > 0.6
    assert np.abs(values(depth[-1])[known] / exact[known] - 1).max() < 0.02
    assert infos[-1].k[0] == pytest.approx(NETWORK.fx)
    assert not any(infos[-1].d)


def test_millimetres_have_zero_for_invalid(ros, run):
    exact = scene_depth(box())
    _, send = run(
        exact, output_size='network', **MOUNT, **{'depth.encoding': '16UC1', 'depth.max': 4.0}
    )
    depth = ros.collect(Image, 'camera/depth/image')
    send(depth, 1)
    assert depth[0].encoding == '16UC1'
    got = np.frombuffer(depth[0].data, np.uint16).reshape(192, 256)
    near = exact < 3.5
    assert np.abs(got[near] / (1000 * exact[near]) - 1).max() < 0.02
    assert (got[exact > 4.5] == 0).all()


def test_enlarging_along_edges_is_for_the_depth_image_alone(ros, run):
    """What a robot acts on is made of what the network said, not of what a picture made of it."""
    _, send = run(scene_depth(box()), **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    scans = ros.collect(LaserScan, 'camera/scan')
    send(depth, 2)
    assert set_parameter(ros, 'depth.edge_aware', True)[0]
    before = values(depth[-1])
    send(depth, 2)
    after = values(depth[-1])
    assert after.shape == before.shape == (240, 320)
    both = np.isfinite(after) & np.isfinite(before)
    assert both.mean() > 0.6
    assert (after != before)[both].mean() > 0.5
    ros.spin_until(lambda: stamp(scans[-1]) >= stamp(depth[-1]))
    np.testing.assert_allclose(scans[-1].ranges, scans[0].ranges, rtol=1e-3)


def test_a_scan_is_what_nav2_accepts_and_where_the_box_is(ros, run):
    _, send = run(scene_depth(box()), **MOUNT)
    scans = ros.collect(LaserScan, 'camera/scan')
    send(scans, 1)
    scan = scans[0]
    assert scan.header.frame_id == 'base_link'
    count = round((scan.angle_max - scan.angle_min) / scan.angle_increment) + 1
    assert len(scan.ranges) == count
    ranges = np.array(scan.ranges)
    angles = scan.angle_min + scan.angle_increment * np.arange(count)
    assert angles[0] < -0.4
    assert angles[-1] > 0.4
    ahead = np.abs(angles) < 0.1
    assert ranges[ahead] == pytest.approx(BOX_M / np.cos(angles[ahead]), rel=0.05)
    finite = np.isfinite(ranges)
    assert ((ranges[finite] >= scan.range_min) & (ranges[finite] <= scan.range_max)).all()
    assert finite.any()
    assert not np.isnan(ranges[ahead]).any()


def test_how_far_was_seen_comes_with_the_scan_and_before_it(ros, run):
    _, send = run(scene_depth(box(), pose=POSE), **MOUNT)
    order = []
    for name in ('seen_free', 'scan'):
        ros.node.create_subscription(
            LaserScan, f'camera/{name}', lambda m, name=name: order.append((name, m)), 10
        )
    send()
    scans = {stamp(m): m for name, m in order if name == 'scan'}
    free = {stamp(m): m for name, m in order if name == 'seen_free'}
    moment = next(iter(scans.keys() & free.keys()))
    scan, seen = scans[moment], free[moment]
    for field in ('angle_min', 'angle_max', 'angle_increment', 'range_max'):
        assert getattr(scan, field) == getattr(seen, field)
    assert scan.header == seen.header
    ranges, reach = np.array(scan.ranges), np.array(seen.ranges)
    assert len(ranges) == len(reach)
    clear, hit = np.isposinf(ranges), np.isfinite(ranges)
    np.testing.assert_allclose(reach[clear], scan.range_max, rtol=1e-6)
    assert (reach[hit & np.isfinite(reach)] <= ranges[hit & np.isfinite(reach)] + 1e-5).all()
    # From here on the floor is in view: nearer than that nobody looks.
    begins = HEIGHT_M / math.tan(PITCH_RAD + math.atan(0.5 * NETWORK.height / NETWORK.fy))
    assert seen.range_min == pytest.approx(begins, rel=0.05)
    status = read(diagnostics(ros, 'camera camera', lambda s: read(s)['scale'] == 'valid'))
    assert float(status['floor in view from [m]']) == pytest.approx(begins, rel=0.05)
    # And at 1 m up to here: what hangs higher is not seen there.
    top = HEIGHT_M + math.tan(math.atan(0.5 * NETWORK.height / NETWORK.fy) - PITCH_RAD)
    assert float(status['in view at 1 m up to [m]']) == pytest.approx(top, abs=0.02)


def test_while_the_robot_nods_the_scan_keeps_its_beams(ros, run):
    _, send = run(scene_depth(box()), imu_topic='imu', **MOUNT)
    scans = ros.collect(LaserScan, 'camera/scan')
    imu = ros.publisher(Imu, 'imu')
    nods = iter(0.12 * math.sin(0.9 * i) for i in range(1000))

    def hear(head):
        nod = next(nods)
        message = Imu(header=head)
        message.orientation = Quaternion(w=math.cos(nod / 2), y=math.sin(nod / 2))
        imu.publish(message)
        ros.spin_for(0.02)

    # By the wrong pitch most fits are refused; what is published has the same beams.
    send(scans, 12, before=hear)
    assert {(s.angle_min, s.angle_max, s.angle_increment, len(s.ranges)) for s in scans} == {
        (scans[0].angle_min, scans[0].angle_max, scans[0].angle_increment, len(scans[0].ranges))
    }


def test_the_attitude_is_of_the_picture_and_not_of_its_result(ros, run):
    exact = scene_depth(box())
    estimator, _ = run(exact, output_size='network', imu_topic='imu', **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    imu = ros.publisher(Imu, 'imu')

    def level(seconds, nod):
        message = Imu(header=header(seconds))
        message.orientation = Quaternion(w=math.cos(nod / 2), y=math.sin(nod / 2))
        imu.publish(message)
        ros.spin_for(0.02)

    images = ros.publisher(Image, 'camera/image_raw')
    infos = ros.publisher(CameraInfo, 'camera/camera_info')
    for number in range(40):
        taken = 500 + number
        infos.publish(camera_info_message(PICTURE, header(taken)))
        level(taken, 0.0)  # level when the picture was taken,
        estimator.gate.clear()
        images.publish(image_message(RGB, header(taken)))
        ros.spin_for(0.05)
        for later in range(1, 6):  # and far from it when the model has answered
            level(taken + 0.02 * later, 0.1 * later)
        estimator.gate.set()
        ros.spin_for(0.1)
        if len(depth) >= 3:
            break
    near = exact < 5
    assert len(depth) >= 3
    for message in depth:
        assert np.abs(values(message)[near] / exact[near] - 1).max() < 0.02


def test_closeness_looks_down_as_the_imu_says(ros, run):
    nod = 0.12
    exact = scene_depth(box(x=2.5), pose=Pose(z_m=HEIGHT_M, pitch_rad=PITCH_RAD + nod))
    expected = closeness(
        (1 / exact).astype(np.float32),
        grid=NETWORK.normalised_grid(),
        camera_pitch_rad=PITCH_RAD + nod,
    )
    _, send = run(exact, imu_topic='imu', **MOUNT)
    near = ros.collect(Vector3Stamped, 'camera/closeness')
    imu = ros.publisher(Imu, 'imu')

    def hear(head):
        message = Imu(header=head)
        message.orientation = Quaternion(w=math.cos(nod / 2), y=math.sin(nod / 2))
        imu.publish(message)
        ros.spin_for(0.02)

    send(near, 3, before=hear)
    assert near[-1].vector.y == pytest.approx(expected.centre, rel=0.05)
    send(near, 4)  # the Imu has fallen silent
    assert math.isnan(near[-1].vector.y)
    status = diagnostics(ros, 'camera camera', lambda s: 'no orientation' in read(s)['closeness'])
    assert 'near the picture' in read(status)['closeness']


def test_two_cameras_in_one_frame_give_no_metres_and_say_why(ros):
    exact = scene_depth(box())
    estimator = SceneEstimator(exact)
    parameters = {'cameras': ['front', 'rear'], 'diagnostics_rate': 10.0, 'max_rate': 0.0, **MOUNT}
    ros.make_node(DepthNode, lambda settings: estimator, parameters=parameters)
    scans = [ros.collect(LaserScan, f'{name}/scan') for name in ('front', 'rear')]
    feed_both(ros)
    assert scans == [[], []]
    for name in ('front', 'rear'):
        status = diagnostics(ros, f'camera {name}', lambda s: 'same way' in read(s)['scale'])
        assert f'mounts.{name}.body_frame' in read(status)['scale']


def test_each_camera_measures_in_its_own_frame_by_its_own_mount(ros):
    estimator = SceneEstimator(scene_depth(box()))
    parameters = {
        'cameras': ['front', 'rear'], 'diagnostics_rate': 10.0, 'max_rate': 0.0, **MOUNT,
        'mounts.rear.body_frame': 'rear_view', 'mounts.rear.camera_height': 2 * HEIGHT_M,
    }  # fmt: skip
    ros.make_node(DepthNode, lambda settings: estimator, parameters=parameters)
    front, rear = (ros.collect(LaserScan, f'{name}/scan') for name in ('front', 'rear'))
    feed_both(ros)
    assert {scan.header.frame_id for scan in front} == {'base_link'}
    assert {scan.header.frame_id for scan in rear} == {'rear_view'}
    ahead = [scan.ranges[len(scan.ranges) // 2] for scan in (front[-1], rear[-1])]
    # The same picture from twice the height is of things twice as far.
    assert ahead == pytest.approx([BOX_M, 2 * BOX_M], rel=0.05)


def feed_both(ros):
    """Pictures of both cameras for a while."""
    publishers = [
        (
            ros.publisher(Image, f'{name}/image_raw'),
            ros.publisher(CameraInfo, f'{name}/camera_info'),
        )
        for name in ('front', 'rear')
    ]
    for number in range(30):
        head = header(100 + number / 10)
        for images, infos in publishers:
            infos.publish(camera_info_message(PICTURE, head))
            images.publish(image_message(RGB, head))
        ros.spin_for(0.05)


def test_a_fixed_scale_of_nothing_is_refused(ros, run):
    fixed = {**MOUNT, 'scale.source': 'fixed'}
    run(scene_depth(box()), **fixed)
    accepted, reason = set_parameter(ros, 'scale.fixed_scale', 0.0)
    assert not accepted
    assert 'out of range' in reason
    with pytest.raises(ValueError, match='fixed_scale'):
        ros.make_node(
            DepthNode, lambda settings: SceneEstimator(scene_depth()),
            parameters={**fixed, 'scale.fixed_scale': 0.0},
        )  # fmt: skip


def test_an_empty_floor_is_clear_in_scan_and_proximity(ros, run):
    _, send = run(scene_depth(), **MOUNT, **{'scan.range_max': 4.0})
    scans = ros.collect(LaserScan, 'camera/scan')
    ranges = ros.collect(Range, 'camera/proximity')
    points = ros.collect(PointStamped, 'camera/nearest_point')
    send(ranges, 1)
    ros.spin_until(lambda: scans)
    beams = np.array(scans[0].ranges)
    assert np.isposinf(beams[len(beams) // 2])
    # nav2 refuses inf and what is outside [min, max]: clear is max_range itself.
    assert ranges[0].range == ranges[0].max_range == pytest.approx(4.0)
    assert ranges[0].header.frame_id == 'base_link'
    assert not points


def test_proximity_and_nearest_point_are_the_box(ros, run):
    _, send = run(scene_depth(box(y=0.05)), **MOUNT, body_frame='camera_footprint')
    ranges = ros.collect(Range, 'camera/proximity')
    points = ros.collect(PointStamped, 'camera/nearest_point')
    send(points, 1)
    ros.spin_until(lambda: ranges)
    assert ranges[0].range == pytest.approx(BOX_M, rel=0.05)
    assert ranges[0].min_range <= ranges[0].range <= ranges[0].max_range
    point = points[0]
    assert point.header.frame_id == 'camera_footprint'
    assert stamp(point) in {stamp(r) for r in ranges}
    assert point.point.x == pytest.approx(BOX_M, rel=0.05)
    assert abs(point.point.y) < 0.25
    assert 0 < point.point.z < 0.45


def test_a_box_beside_the_corridor_is_in_the_scan_but_not_in_the_way(ros, run):
    _, send = run(scene_depth(box(y=0.7)), **MOUNT, **{'scan.range_max': 4.0})
    ranges = ros.collect(Range, 'camera/proximity')
    scans = ros.collect(LaserScan, 'camera/scan')
    send(ranges, 1)
    assert ranges[0].range == pytest.approx(4.0)
    ros.spin_until(lambda: scans)
    beams = np.array(scans[0].ranges)
    angles = scans[0].angle_min + scans[0].angle_increment * np.arange(len(beams))
    left = beams[np.abs(angles - math.atan2(0.7, BOX_M)) < 0.05]
    assert left == pytest.approx(math.hypot(0.7, BOX_M), rel=0.1)


def test_points_are_organised_coloured_and_exact(ros, run):
    exact = scene_depth(box())
    _, send = run(exact, **MOUNT)
    clouds = ros.collect(PointCloud2, 'camera/points')
    send(clouds, 1)
    cloud = clouds[0]
    assert (cloud.height, cloud.width) == (192, 256)
    assert cloud.header.frame_id == 'camera_optical_frame'
    names = [field.name for field in cloud.fields]
    assert names == ['x', 'y', 'z', 'rgb', 'sigma', 'height']
    assert [field.offset for field in cloud.fields] == [0, 4, 8, 12, 16, 20]
    assert (cloud.point_step, cloud.row_step) == (24, 24 * 256)
    points = cloud_array(cloud).reshape(192, 256, 3)
    near = exact < 5
    assert np.abs(points[near][:, 2] / exact[near] - 1).max() < 0.02
    x, _ = NETWORK.normalised_grid(256, 192)
    np.testing.assert_allclose(points[near][:, 0], (x * points[..., 2])[near], atol=1e-3)
    colour = np.frombuffer(cloud.data, np.uint8).reshape(192, 256, 24)[..., 12:15]
    assert (colour == 120).all()
    # As a reader does who goes by the fields alone.
    kinds = {'names': names, 'formats': ['<f4'] * 6, 'offsets': [f.offset for f in cloud.fields]}
    table = np.frombuffer(cloud.data, np.dtype({**kinds, 'itemsize': cloud.point_step}))
    sigma, z = (table[name].reshape(192, 256) for name in ('sigma', 'z'))
    assert (np.isfinite(sigma) == np.isfinite(z)).all()
    assert (sigma[near] > 0.005 * z[near]).all()
    assert np.median(sigma[near] / z[near]) < 0.1


@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
def test_sigma_is_in_metres_and_known_where_depth_is(ros, run, encoding):
    exact = scene_depth(box())
    options = {'depth.encoding': encoding, 'depth.max': 5.0}
    _, send = run(exact, **MOUNT, **options)
    sigmas = ros.collect(Image, 'camera/depth/sigma')
    send(sigmas, 1)  # alone: it needs no depth/image
    depths = ros.collect(Image, 'camera/depth/image')
    send(depths, 2)
    ros.spin_until(lambda: stamp(sigmas[-1]) >= stamp(depths[-1]))
    depth = depths[-1]
    sigma = next(each for each in sigmas if stamp(each) == stamp(depth))
    assert sigma.header == depth.header
    assert (sigma.encoding, sigma.height, sigma.width) == ('32FC1', depth.height, depth.width)
    if encoding == '32FC1':
        metres, known = values(depth), np.isfinite(values(depth))
    else:
        metres = np.frombuffer(depth.data, np.uint16).reshape(depth.height, -1) / 1000
        known = metres > 0
    found = values(sigma)
    assert 0.3 < known.mean() < 1
    assert (np.isfinite(found) == known).all()
    assert (found[known] > 0).all()
    # The far is less certain than the near, in metres and as a share of them.
    near, far = (known & (metres > low) & (metres < low + 0.5) for low in (0.8, 3.5))
    share = found / np.where(known, metres, 1)
    assert np.median(share[far]) > np.median(share[near]) > 0.01


def test_what_a_network_expects_to_be_off_by_is_in_sigma_where_it_says_so(ros, run):
    exact = scene_depth(box())
    left, right = np.s_[:, 16:112], np.s_[:, 144:240]
    estimator, send = run(exact, output_size='network', **MOUNT)
    sigmas = ros.collect(Image, 'camera/depth/sigma')
    send(sigmas, 2)
    plain = values(sigmas[-1])
    error = np.zeros(exact.shape, np.float32)
    error[left] = 5.0
    estimator.infer_with_error = lambda rgb: (estimator.infer(rgb), error)
    send(sigmas, 2)
    found = values(sigmas[-1])
    known = np.isfinite(found) & np.isfinite(plain)
    assert known[left].mean() > 0.3
    assert known[right].mean() > 0.3
    assert (found[left] > 2 * plain[left])[known[left]].all()
    assert np.median((found / plain)[right][known[right]]) == pytest.approx(1, abs=0.5)


def test_metric_topics_are_silent_while_a_wall_fills_the_picture(ros, run):
    estimator, send = run(scene_depth(box()), **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    scans = ros.collect(LaserScan, 'camera/scan')
    send(depth, 2)
    estimator.depth_z = np.full((192, 256), 0.8, np.float32)
    send()  # long enough for the last good fit to expire
    before = len(depth), len(scans)
    send()
    assert (len(depth), len(scans)) == before
    status = diagnostics(ros, 'camera camera', lambda s: read(s)['scale'].startswith('none'))
    assert read(status)['last refusal']


def test_diagnostics_tell_the_scale(ros, run):
    _, send = run(scene_depth(box()), **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    send(depth, 2)
    status = read(diagnostics(ros, 'camera camera', lambda s: read(s)['scale'] == 'valid'))
    assert status['scale source'] == 'ground'
    assert 0.2 < float(status['scale s [1/m]']) < 5.1
    assert -0.3 < float(status['scale t [1/m]']) < 0.6
    assert '%' in status['scale inliers']


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('parameters', 'calibrated', 'reason'),
    [
        ({'camera_pitch': 0.1}, True, 'camera_height is not set'),
        ({'camera_height': 0.3}, True, 'camera_pitch is not set'),
        (MOUNT, False, 'not calibrated'),
        ({**MOUNT, 'scale.source': 'none'}, True, 'scale.source is none'),
        ({**MOUNT, 'imu_topic': 'imu'}, True, 'no orientation from imu'),
        ({**MOUNT, 'scale.source': 'scan'}, True, 'nothing on camera/reference/scan'),
    ],
)
def test_without_what_it_needs_there_are_no_metres_and_the_reason_is_said(
    ros, run, parameters, calibrated, reason
):
    _, send = run(scene_depth(box()), calibrated=calibrated, **parameters)
    depth = ros.collect(Image, 'camera/depth/image')
    send()
    status = diagnostics(ros, 'camera camera', lambda s: reason in read(s)['scale'])
    assert read(status)['scale'].startswith('none')
    assert not depth


def test_an_assumed_field_of_view_will_do(ros, run):
    exact = scene_depth(box())
    _, send = run(exact, calibrated=False, horizontal_fov=1.2, output_size='network', **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    send(depth, 1)
    near = exact < 5
    assert np.abs(values(depth[0])[near] / exact[near] - 1).max() < 0.02


def test_an_imu_corrects_a_robot_that_nods(ros, run):
    nod = 0.06
    exact = scene_depth(box(), pose=Pose(z_m=HEIGHT_M, pitch_rad=PITCH_RAD + nod, roll_rad=0.04))
    _, send = run(exact, output_size='network', imu_topic='imu', **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    imu = ros.publisher(Imu, 'imu')
    half_pitch, half_roll = nod / 2, 0.04 / 2
    message = Imu()
    message.orientation = Quaternion(  # roll about x after pitch about y
        w=math.cos(half_roll) * math.cos(half_pitch),
        x=math.sin(half_roll) * math.cos(half_pitch),
        y=math.cos(half_roll) * math.sin(half_pitch),
        z=-math.sin(half_roll) * math.sin(half_pitch),
    )

    def hear(head):
        message.header = head
        imu.publish(message)
        ros.spin_for(0.02)

    send(depth, 1, before=hear)
    near = exact < 5
    assert np.abs(values(depth[-1])[near] / exact[near] - 1).max() < 0.02


def test_a_lidar_gives_the_scale(ros, run):
    exact = scene_depth(box(), box(x=3.5, y=0.8), box(x=2.5, y=-0.9))
    parameters = {**MOUNT, 'scale.source': 'scan', 'reference.z': 0.15, 'output_size': 'network'}
    _, send = run(exact, **parameters)
    depth = ros.collect(Image, 'camera/depth/image')
    lidar = ros.publisher(LaserScan, 'camera/reference/scan')
    angles = np.arange(-60, 61) * 0.01

    def sweep(head):
        scan = LaserScan(header=head, angle_min=-0.6, angle_max=0.6, angle_increment=0.01)
        scan.range_min, scan.range_max = 0.05, 20.0
        scan.ranges = [float(r) for r in plan_ranges(angles)]
        lidar.publish(scan)
        ros.spin_for(0.02)

    send(depth, 1, before=sweep)
    near = exact < 5
    assert np.abs(values(depth[-1])[near] / exact[near] - 1).max() < 0.03
    status = diagnostics(ros, 'camera camera', lambda s: read(s)['scale'] == 'valid')
    assert read(status)['scale source'] == 'reference'


def test_a_sensor_that_nods_with_the_robot_stays_where_it_is_beside_the_camera(ros, run):
    """What an Imu says of the floor changes nothing between two things that are bolted together."""
    nod = 0.1
    exact = scene_depth(
        box(), box(x=2.5, y=-0.9), pose=dataclasses.replace(POSE, pitch_rad=PITCH_RAD + nod)
    )
    parameters = {**MOUNT, 'scale.source': 'points', 'reference.z': 0.0, 'imu_topic': 'imu'}
    _, send = run(exact, output_size='network', **parameters)
    depth = ros.collect(Image, 'camera/depth/image')
    imu = ros.publisher(Imu, 'imu')
    cloud = ros.publisher(PointCloud2, 'camera/reference/points')
    fixed = CameraMount(HEIGHT_M, PITCH_RAD)
    seen = point_cloud(exact, NETWORK.normalised_grid())[::12, ::12].reshape(-1, 3)
    seen = seen[seen[:, 2] < 5] @ fixed.body_axes().T + (0.0, 0.0, HEIGHT_M)

    def hear(head):
        tilted = Quaternion(w=math.cos(nod / 2), y=math.sin(nod / 2))
        imu.publish(Imu(header=head, orientation=tilted))
        cloud.publish(obstacles_message(seen.astype(np.float32), head))
        ros.spin_for(0.02)

    send(depth, 3, before=hear)
    near = exact < 5
    assert np.abs(values(depth[-1])[near] / exact[near] - 1).max() < 0.03


def test_a_range_finder_gives_the_scale_where_something_far_is_in_view(ros, run):
    exact = scene_depth(box(), pose=Pose(z_m=HEIGHT_M, pitch_rad=PITCH_RAD))
    parameters = {**MOUNT, 'scale.source': 'range', 'reference.z': 0.2, 'output_size': 'network'}
    _, send = run(exact, **parameters)
    depth = ros.collect(Image, 'camera/depth/image')
    finder = ros.publisher(Range, 'camera/reference/range')

    def ping(head):
        finder.publish(Range(header=head, min_range=0.05, max_range=4.0, range=BOX_M))
        ros.spin_for(0.02)

    send(depth, 1, before=ping)
    near = exact < 2
    assert np.abs(values(depth[-1])[near] / exact[near] - 1).max() < 0.25  # a wall at 9 m is "far"
    ahead = values(depth[-1])[exact < 1.6][:50]
    assert np.median(ahead) == pytest.approx(np.median(exact[exact < 1.6][:50]), rel=0.1)


def plan_ranges(angles: np.ndarray) -> np.ndarray:
    """What a planar lidar above the lens's foot point measures in the scene with three boxes."""
    boxes = [(1.5, 1.9, -0.2, 0.2), (3.3, 3.7, 0.6, 1.0), (2.3, 2.7, -1.1, -0.7)]
    walls = (-3.0, 9.0, -2.0, 2.0)
    ranges = []
    for angle in angles:
        cos, sin = math.cos(angle), math.sin(angle)
        best = (walls[1] if cos > 0 else walls[0]) / cos
        if sin:
            best = min(best, (walls[3] if sin > 0 else walls[2]) / sin)
        for x0, x1, y0, y1 in boxes:
            enter = max(x0 / cos, min(y0 / sin, y1 / sin) if sin else -math.inf)
            leave = min(x1 / cos, max(y0 / sin, y1 / sin) if sin else math.inf)
            if enter <= leave and (sin or y0 <= 0 <= y1):
                best = min(best, enter)
        ranges.append(best)
    return np.array(ranges)


def test_metric_heatmap_is_grey_until_there_is_a_scale(ros, run):
    _, send = run(scene_depth(box()), **{'heatmap.mode': 'metric', 'obstacles.persistence': 1})
    heat = ros.collect(Image, 'camera/heatmap/image')
    send(heat, 1)
    assert (values(heat[-1])[:60] == 128).all()
    for name, value in (('camera_height', HEIGHT_M), ('camera_pitch', PITCH_RAD)):
        assert set_parameter(ros, name, value) == (True, '')
    send(heat, 3)
    assert not (values(heat[-1])[-60:, :200] == 128).all(axis=2).any()


def test_calibrate_pitch_finds_the_mount(ros, run):
    exact = scene_depth(pose=Pose(z_m=HEIGHT_M, pitch_rad=0.17))
    _, send = run(exact)
    client = ros.node.create_client(Trigger, 'depth_node/calibrate_pitch')
    ros.spin_until(client.service_is_ready)
    answer = client.call_async(Trigger.Request())
    while not answer.done():
        send()
    assert answer.result().success, answer.result().message
    pitch = float(answer.result().message.split('camera_pitch: ')[1].split()[0])
    # Without a reference the far wall (9 m) passes for infinity: 0.3 / 9 too little.
    assert pitch == pytest.approx(0.17 - HEIGHT_M / 9, abs=0.01)


def test_calibrate_pitch_leaves_out_the_tilt_that_an_imu_measures(ros, run):
    """Else what is written down would count twice, since the Imu adds it in every frame."""
    nod = 0.05
    exact = scene_depth(pose=Pose(z_m=HEIGHT_M, pitch_rad=0.17 + nod))
    _, send = run(exact, imu_topic='imu')
    imu = ros.publisher(Imu, 'imu')

    def hear(head):
        tilted = Quaternion(w=math.cos(nod / 2), y=math.sin(nod / 2))
        imu.publish(Imu(header=head, orientation=tilted))
        ros.spin_for(0.02)

    client = ros.node.create_client(Trigger, 'depth_node/calibrate_pitch')
    ros.spin_until(client.service_is_ready)
    answer = client.call_async(Trigger.Request())
    while not answer.done():
        send(before=hear)
    assert answer.result().success, answer.result().message
    pitch = float(answer.result().message.split('camera_pitch: ')[1].split()[0])
    assert pitch == pytest.approx(0.17 - HEIGHT_M / 9, abs=0.01)


def test_calibrate_pitch_of_a_stopped_node_says_what_to_do(ros, run):
    node_name = 'depth_node'
    run(scene_depth(), autostart=True)
    from std_srvs.srv import SetBool

    ros.call(SetBool, f'{node_name}/enable', SetBool.Request(data=False))
    answer = ros.call(Trigger, f'{node_name}/calibrate_pitch', Trigger.Request())
    assert not answer.success
    assert 'enable' in answer.message


def test_what_is_not_computed_is_not_told_as_valid(ros, run):
    from std_srvs.srv import SetBool

    _, send = run(scene_depth(box()), image_timeout=0.5, **MOUNT)
    depth = ros.collect(Image, 'camera/depth/image')
    reader = ros.node.create_subscription(Vector3Stamped, 'camera/closeness', lambda m: None, 5)
    ros.spin_until(lambda: ros.node.count_publishers('camera/closeness'))
    send(depth, 4)

    def told(key: str, text: str) -> dict[str, str]:
        predicate = lambda status: text in read(status)[key]  # noqa: E731
        return read(diagnostics(ros, 'camera camera', predicate))

    assert told('scale', 'valid')['closeness'] == 'known'
    ros.node.destroy_subscription(reader)
    ros.spin_until(lambda: ros.node.count_subscribers('camera/closeness') == 0)
    send(depth, 4)
    assert told('closeness', 'not computed')['scale'] == 'valid'
    ros.spin_for(1.0)
    assert 'scale age [s]' not in told('scale', 'not computed: no images for ')
    send(depth, 4)
    assert ros.call(SetBool, 'depth_node/enable', SetBool.Request(data=False)).success
    told('scale', 'not computed: the node is not running')
