"""synthetic_camera as a robot's camera, over real DDS."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from driving import read, values
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from ros_helpers import Ros
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_srvs.srv import Trigger

from midas_depth_ros.geometry import CameraModel, CameraMount, ScaleShift, fit_ground_plane
from midas_depth_ros.images import decode_image, stamp_ns
from midas_depth_ros.nodes.sources.synthetic_camera import SyntheticCamera
from midas_depth_ros.sim import DrivenRobot, RobotModel, furnished_world, plain_world
from midas_depth_ros.sim.robot.robot import unpacked

SMALL = {
    'scene': 'robot',
    'width': 96,
    'height': 64,
    'rate': 20.0,
    'horizontal_fov': 1.6,
    'camera_pitch': 0.25,
    'seed': 3,
    'transport': 'raw',
    'robot.picture_noise': 0.0,
    'robot.command_timeout': 0.3,
}
START = plain_world(3).start


def make(ros: Ros, **parameters: Any) -> Any:
    return ros.make_node(SyntheticCamera, parameters={**SMALL, **parameters})


def twist(speed: float, turn: float = 0.0) -> Twist:
    message = Twist()
    message.linear.x, message.angular.z = speed, turn
    return message


def place(message: Odometry) -> tuple[float, float, float]:
    pose = message.pose.pose
    return pose.position.x, pose.position.y, 2 * math.atan2(pose.orientation.z, pose.orientation.w)


def send(ros: Ros, publisher: Any, message: Twist, until: Any, what: str) -> None:
    def met() -> Any:
        publisher.publish(message)
        return until()

    ros.spin_until(met, what=what)


def test_at_rest_it_sees_and_tells_the_truth_of_its_start(ros: Ros) -> None:
    images = ros.collect(Image, '/camera/image_raw')
    infos = ros.collect(CameraInfo, '/camera/camera_info')
    odometry = ros.collect(Odometry, '/odom')
    scans = ros.collect(LaserScan, '/ground_truth/scan')
    make(ros)
    ros.spin_until(lambda: images and infos and odometry and scans, what='all of it')
    robot = DrivenRobot(plain_world(3), RobotModel(camera_pitch_rad=0.25))
    camera = CameraModel.from_field_of_view(96, 64, 1.6)
    expected = robot.world.render(camera, robot.motion.camera_pose(robot.model)).rgb
    np.testing.assert_array_equal(decode_image(images[0]), expected)
    assert CameraModel.from_camera_info(infos[0]) == camera
    assert place(odometry[0]) == pytest.approx(START)
    assert (odometry[0].header.frame_id, odometry[0].child_frame_id) == ('odom', 'base_link')
    scan = scans[0]
    assert scan.header.frame_id == 'base_link'
    assert stamp_ns(scan.header) in {stamp_ns(image.header) for image in images}
    angles = scan.angle_min + scan.angle_increment * np.arange(len(scan.ranges))
    np.testing.assert_allclose(scan.ranges, robot.scan(angles), rtol=1e-4)
    assert angles[-1] == pytest.approx(scan.angle_max, abs=1e-5)


def test_the_furnished_world_is_another_and_is_seen_truly(ros: Ros) -> None:
    images = ros.collect(Image, '/camera/image_raw')
    scans = ros.collect(LaserScan, '/ground_truth/scan')
    make(ros, **{'robot.world': 'furnished'})
    ros.spin_until(lambda: images and scans, what='picture and scan')
    robot = DrivenRobot(furnished_world(3), RobotModel(camera_pitch_rad=0.25))
    camera = CameraModel.from_field_of_view(96, 64, 1.6)
    seen = robot.world.render(camera, robot.motion.camera_pose(robot.model)).rgb
    np.testing.assert_array_equal(decode_image(images[0]), seen)
    angles = scans[0].angle_min + scans[0].angle_increment * np.arange(360)
    np.testing.assert_allclose(scans[0].ranges, robot.scan(angles), rtol=1e-5)


def test_cmd_vel_drives_it_and_silence_stops_it(ros: Ros) -> None:
    odometry = ros.collect(Odometry, '/odom')
    make(ros)
    publisher = ros.publisher(Twist, '/cmd_vel')
    send(
        ros,
        publisher,
        twist(0.3, 0.5),
        lambda: odometry and odometry[-1].twist.twist.linear.x > 0.29,
        'the speed commanded',
    )
    assert odometry[-1].twist.twist.angular.z == pytest.approx(0.5)
    ros.spin_until(lambda: odometry[-1].twist.twist.linear.x == 0, what='a stop by itself')
    x, y, yaw = place(odometry[-1])
    assert math.hypot(x - START[0], y - START[1]) > 0.03
    turned = math.remainder(yaw - START[2], math.tau)
    assert turned > 0.05, 'to the left'
    ahead = (x - START[0]) * math.cos(START[2]) + (y - START[1]) * math.sin(START[2])
    assert ahead > 0.03


def test_wheels_that_slip_report_more_than_the_ground_truth(ros: Ros) -> None:
    odometry, truth = ros.collect(Odometry, '/odom'), ros.collect(Odometry, '/ground_truth/odom')
    make(ros, **{'robot.slip': 0.2, 'robot.odometry_noise': 0.01, 'robot.odometry_rate': 40.0})
    publisher = ros.publisher(Twist, '/cmd_vel')

    def far() -> bool:
        return bool(truth) and math.dist(place(truth[-1])[:2], START[:2]) > 0.2

    send(ros, publisher, twist(0.4), far, '20 cm of way')
    said = {stamp_ns(each.header): each for each in odometry}
    both = [(said[stamp_ns(each.header)], each) for each in truth if stamp_ns(each.header) in said]
    reported, true = both[-1]
    ways = [math.dist(place(each)[:2], START[:2]) for each in (reported, true)]
    assert ways[0] == pytest.approx(1.2 * ways[1], abs=0.02)
    assert ways[0] > 1.1 * ways[1]
    assert reported.twist.twist.linear.x == pytest.approx(1.2 * true.twist.twist.linear.x)
    assert (true.header.frame_id, true.child_frame_id) == ('odom', 'base_link')
    variance = np.diag(np.reshape(reported.pose.covariance, (6, 6)))
    assert variance[0] == pytest.approx(1e-6 + 1e-4 * ways[0], rel=0.2)
    assert (variance[2:5] > 1e3).all(), 'wheels measure neither height nor tilt'
    gaps = np.diff([stamp_ns(each.header) for each in odometry]) / 1e9
    assert np.median(gaps) == pytest.approx(1 / 40, rel=0.3)


def tally(arrays: list[DiagnosticArray]) -> dict[str, str]:
    return read(arrays[-1].status[0]) if arrays else {}


def test_a_collision_is_counted_and_reset_begins_anew(ros: Ros) -> None:
    arrays = ros.collect(DiagnosticArray, '/diagnostics')
    odometry = ros.collect(Odometry, '/odom')
    make(ros, **{'robot.max_acceleration': 20.0})
    publisher = ros.publisher(Twist, '/cmd_vel')
    send(
        ros,
        publisher,
        twist(0.6),
        lambda: tally(arrays).get('collisions') == '1',
        'a collision',
    )
    status = arrays[-1].status[0]
    assert status.level == DiagnosticStatus.WARN
    assert float(tally(arrays)['min_clearance_m']) == 0
    assert float(tally(arrays)['distance_m']) > 0.3
    drive = int(tally(arrays)['drive'])
    assert ros.call(Trigger, '/synthetic_camera/reset', Trigger.Request()).success
    ros.spin_until(lambda: tally(arrays)['drive'] == str(drive + 1), what='the next drive')
    assert tally(arrays)['collisions'] == '0'
    assert float(tally(arrays)['distance_m']) == 0
    assert place(odometry[-1]) == pytest.approx(START)


def test_another_seed_is_another_world(ros: Ros) -> None:
    odometry = ros.collect(Odometry, '/odom')
    node = make(ros)
    ros.spin_until(lambda: odometry, what='odometry')

    assert node.set_parameters([Parameter('seed', value=4)])[0].successful
    other = plain_world(4).start
    ros.spin_until(lambda: place(odometry[-1]) == pytest.approx(other), what='the new start')
    assert other != START


@pytest.mark.parametrize('pictures', ['rendered', 'packed_depth'])
def test_simulated_depth_can_be_made_metric_again(ros: Ros, pictures: str) -> None:
    depths = ros.collect(Image, '/camera/simulated/relative_inverse_depth/image')
    images = ros.collect(Image, '/camera/image_raw')
    make(ros, **{'robot.pictures': pictures, 'robot.depth_noise': 0.0})
    ros.spin_until(lambda: len(depths) >= 2 and len(images) >= 2, what='depth and pictures')
    relative = values(depths[0])
    assert relative.shape == (64, 96)
    robot = DrivenRobot(plain_world(3), RobotModel(camera_pitch_rad=0.25))
    camera = CameraModel.from_field_of_view(96, 64, 1.6)
    true = robot.world.render(camera, robot.motion.camera_pose(robot.model)).depth_z
    fit = fit_ground_plane(relative.copy(), camera.normalised_grid(), CameraMount(0.3, 0.25))
    assert isinstance(fit, ScaleShift)
    near = true < 4
    np.testing.assert_allclose(fit.depth(relative)[near], true[near], rtol=0.03)
    assert not np.allclose(values(depths[1]), relative, rtol=1e-3), 'of another scale each time'
    if pictures == 'packed_depth':
        of = {stamp_ns(depth.header): values(depth) for depth in depths}
        image = next(each for each in images if stamp_ns(each.header) in of)
        np.testing.assert_allclose(
            unpacked(decode_image(image)), of[stamp_ns(image.header)], atol=1e-3
        )


def test_clock_on_request(ros: Ros) -> None:
    clocks = ros.collect(Clock, '/clock')
    images = ros.collect(Image, '/camera/image_raw')
    make(ros, publish_clock=True)
    ros.spin_until(lambda: len(clocks) > 10 and len(images) > 2, what='time')
    times = [clock.clock.sec + clock.clock.nanosec / 1e9 for clock in clocks]
    assert times == sorted(times)
    assert 1.0 <= times[0] < 60
    stamp = images[-1].header.stamp
    assert 1.0 < stamp.sec + stamp.nanosec / 1e9 < 60


def test_without_the_request_there_is_no_clock(ros: Ros) -> None:
    odometry = ros.collect(Odometry, '/odom')
    make(ros)
    ros.spin_until(lambda: odometry, what='odometry')
    assert ros.node.count_publishers('/clock') == 0


def test_a_clock_that_is_set_neither_hangs_it_nor_moves_the_robot(ros: Ros) -> None:
    """Seventy years in one step, and back: the robot was nowhere meanwhile, and obeys again."""
    odometry = ros.collect(Odometry, '/odom')
    make(ros, use_sim_time=True)
    clock = ros.publisher(Clock, '/clock')
    commands = ros.publisher(Twist, '/cmd_vel')

    def at(seconds: float) -> Clock:
        message = Clock()
        message.clock.sec, message.clock.nanosec = int(seconds), int(seconds % 1 * 1e9)
        return message

    for seconds in (100, 2_147_483_000, 100):
        clock.publish(at(seconds))
        ros.spin_until(
            lambda s=seconds: odometry and stamp_ns(odometry[-1].header) == s * 10**9,
            what=f'odometry at {seconds} s',
        )
    assert place(odometry[-1]) == pytest.approx(START, abs=1e-6)
    passed = iter(range(1, 10_000))

    def met() -> Any:
        clock.publish(at(100 + next(passed) / 50))
        commands.publish(twist(0.3))
        return odometry[-1].twist.twist.linear.x > 0.2

    ros.spin_until(met, what='a robot that drives')
