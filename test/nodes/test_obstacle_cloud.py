"""The cloud's heights and the cloud of obstacles, over real DDS: what must never be in them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from driving import diagnostics, read, stamp
from sensor_msgs.msg import LaserScan, PointCloud2

from midas_depth_ros.geometry import CameraMount
from midas_depth_ros.nodes.ros.messages import cloud_array
from midas_depth_ros.sim import Pose

from . import test_metric_topics
from .test_metric_topics import BOX_M, HEIGHT_M, MOUNT, NETWORK, PITCH_RAD, box, run, scene_depth

__all__ = ['run']
SHAPE = (192, 256)


def field(cloud: PointCloud2, name: str) -> np.ndarray:
    """A field of a cloud, as a reader finds it who goes by its fields alone."""
    names = [each.name for each in cloud.fields]
    layout = {'names': names, 'formats': ['<f4'] * len(names), 'itemsize': cloud.point_step}
    layout['offsets'] = [each.offset for each in cloud.fields]
    return np.frombuffer(cloud.data, np.dtype(layout))[name].reshape(cloud.height, cloud.width)


def true_heights(depth: np.ndarray, pose: Pose) -> np.ndarray:
    mount = CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
    return pose.z_m - depth * mount.descent(NETWORK.normalised_grid(256, 192))


@pytest.mark.parametrize('nod', [0.0, 0.05])
def test_heights_are_above_the_floor_that_is_seen_also_while_the_robot_nods(ros, run, nod):
    pose = Pose(z_m=HEIGHT_M, pitch_rad=PITCH_RAD + nod)
    exact = scene_depth(box(), pose=pose)
    # Metres that come from elsewhere than the floor: the mount knows nothing of the nod.
    fixed = {'scale.source': 'fixed', 'scale.fixed_scale': 1.0, 'scale.fixed_shift': 0.0}
    estimator, send = run(exact, **MOUNT, **fixed)
    estimator.infer = lambda rgb: (1 / exact).astype(np.float32)
    clouds = ros.collect(PointCloud2, 'camera/points')
    send(clouds, 1)
    names = ['x', 'y', 'z', 'rgb', 'sigma', 'height']
    assert [each.name for each in clouds[0].fields] == names
    height, truth = field(clouds[0], 'height'), true_heights(exact, pose)
    near = exact < 4
    assert np.abs(height - truth)[near].max() < 0.01
    assert (np.isfinite(height) == np.isfinite(field(clouds[0], 'z'))).all()
    status = diagnostics(ros, 'camera camera', lambda s: 'heights' in read(s))
    assert read(status)['heights'] == 'above the floor in view'


def test_without_a_floor_heights_become_unknown_and_it_is_said(ros, run):
    fixed = {'scale.source': 'fixed', 'scale.fixed_scale': 1.0, 'scale.fixed_shift': 0.0}
    estimator, send = run(scene_depth(box()), **MOUNT, **fixed)
    estimator.infer = lambda rgb: np.full(SHAPE, 1.25, np.float32)  # a wall, and nothing else
    clouds = ros.collect(PointCloud2, 'camera/points')
    obstacles = ros.collect(PointCloud2, 'camera/obstacles')
    send(clouds, 1)
    assert np.isfinite(field(clouds[0], 'z')).all()
    assert np.isnan(field(clouds[0], 'height')).all(), 'neither floor nor obstacle'
    status = diagnostics(ros, 'camera camera', lambda s: 'heights' in read(s))
    assert read(status)['heights'].startswith('unknown: ')
    # Whoever reads heights loses the wall. The obstacles still have it.
    ros.spin_until(lambda: obstacles)
    assert obstacles[-1].width > 1000


def test_obstacles_are_what_stands_out_of_the_floor_in_the_body_frame(ros, run):
    exact = scene_depth(box())
    _, send = run(exact, **MOUNT, body_frame='camera_floor')
    clouds = ros.collect(PointCloud2, 'camera/obstacles')
    send(clouds, 1)
    cloud = clouds[0]
    assert cloud.header.frame_id == 'camera_floor'
    assert cloud.header.stamp.sec == 110
    assert [each.name for each in cloud.fields] == ['x', 'y', 'z']
    assert (cloud.height, cloud.is_dense) == (1, True)
    points = cloud_array(cloud)
    ahead = points[(np.abs(points[:, 1]) < 0.2) & (points[:, 0] < 3)]
    assert len(ahead) > 300
    assert ahead[:, 0].min() == pytest.approx(BOX_M, rel=0.03)
    assert 0.3 < ahead[:, 2].max() < 0.42
    # No floor, nothing far, nothing that is not finite.
    assert points[:, 2].min() > 0.04
    assert np.hypot(points[:, 0], points[:, 1]).max() <= 6.0
    assert np.isfinite(points).all()


def test_obstacles_agree_with_the_scan_that_is_made_of_them(ros, run):
    _, send = run(scene_depth(box(), box(x=2.6, y=-0.9)), **MOUNT)
    clouds = ros.collect(PointCloud2, 'camera/obstacles')
    scans = ros.collect(LaserScan, 'camera/scan')
    send(clouds, 1)
    ros.spin_until(lambda: scans and stamp(scans[-1]) == stamp(clouds[-1]))
    points, scan = cloud_array(clouds[-1]), scans[-1]
    bearing = np.arctan2(points[:, 1], points[:, 0])
    beam = np.rint((bearing - scan.angle_min) / scan.angle_increment).astype(int)
    away = np.hypot(points[:, 0], points[:, 1])
    ranges = np.array(scan.ranges)
    inside = (beam >= 0) & (beam < len(ranges))
    assert inside.mean() > 0.99
    # Where there are points the scan is neither clear nor unknown, and no farther than they are.
    assert np.isfinite(ranges[beam[inside]]).all()
    nearest = np.full(len(ranges), np.inf)
    np.minimum.at(nearest, beam[inside], away[inside])
    hit = np.isfinite(nearest)
    assert np.median(np.abs(ranges[hit] / nearest[hit] - 1)) < 0.02


def test_nothing_in_the_way_is_an_empty_cloud_and_not_silence(ros, run):
    empty = np.where(np.isfinite(scene_depth()), scene_depth(), np.nan)
    _, send = run(empty, **MOUNT, **{'scan.range_max': 1.5})
    clouds = ros.collect(PointCloud2, 'camera/obstacles')
    send(clouds, 2)
    assert [each.width for each in clouds] == [0, 0]
    assert not clouds[0].data


def test_what_only_one_frame_shows_is_unknown_and_not_among_the_obstacles(ros, run):
    estimator, send = run(
        scene_depth(), **{**MOUNT, 'obstacles.persistence': 3, 'obstacles.max_turn_rate': 0.0}
    )
    clouds = ros.collect(PointCloud2, 'camera/obstacles')
    send(clouds, 4)
    frame = iter(range(100))
    with_box, without = scene_depth(box()), scene_depth()
    plain = estimator.infer

    def flickering(rgb):
        estimator.depth_z = without if next(frame) % 3 else with_box
        return plain(rgb)

    estimator.infer = flickering
    send(clouds, 7)
    assert not any(map(box_points, clouds)), 'what comes and goes is unknown'
    estimator.infer, estimator.depth_z = plain, with_box
    send(clouds, 4)
    assert box_points(clouds[-1]) > 300


def box_points(cloud: PointCloud2) -> int:
    x, y, _ = cloud_array(cloud).T
    return int(((x < 2) & (np.abs(y) < 0.3)).sum())


def test_without_a_scale_there_is_silence_and_no_empty_cloud(ros, run):
    estimator, send = run(scene_depth(box()), **MOUNT)
    clouds = ros.collect(PointCloud2, 'camera/obstacles')
    send(clouds, 1)
    estimator.depth_z = np.full(SHAPE, 0.8, np.float32)  # a wall fills the picture: no floor
    send()
    before = len(clouds)
    send()
    assert len(clouds) == before


def at_pace(head) -> None:
    time.sleep(0.07)  # else stamps run ahead of the clock, and the scale is not kept


def test_a_picture_that_shows_nothing_is_no_cloud_without_points(ros, run, monkeypatch):
    """Who reads clouds takes one without points for clear, and silence for a fault."""
    exact = scene_depth(box())
    estimator, send = run(exact, **MOUNT)
    estimator.infer = lambda rgb: (1 / exact).astype(np.float32)  # a scale that stays
    clouds, scans = (
        ros.collect(PointCloud2, 'camera/obstacles'),
        ros.collect(LaserScan, 'camera/scan'),
    )
    points = ros.collect(PointCloud2, 'camera/points')
    send(clouds, 20, at_pace)
    ros.spin_until(lambda: points and scans)
    ros.spin_for(0.3)  # more pictures may have been sent than clouds had come
    before = len(clouds), len(points)
    estimator.of_pictures = True
    monkeypatch.setattr(test_metric_topics, 'RGB', np.zeros_like(test_metric_topics.RGB))
    send(scans, 3, at_pace)
    assert np.isnan(np.array(scans[-1].ranges)).all()
    assert (len(clouds), len(points)) == before


def test_without_a_mount_there_is_silence_and_the_reason(ros, run):
    fixed = {'scale.source': 'fixed', 'scale.fixed_scale': 1.0, 'scale.fixed_shift': 0.0}
    estimator, send = run(scene_depth(box()), camera_height=HEIGHT_M, **fixed)
    estimator.infer = lambda rgb: np.full(SHAPE, 1.25, np.float32)
    clouds = ros.collect(PointCloud2, 'camera/obstacles')
    send()
    status = diagnostics(ros, 'camera camera', lambda s: read(s).get('obstacles'))
    assert read(status)['obstacles'] == 'unknown: camera_pitch is not set'
    assert not clouds
