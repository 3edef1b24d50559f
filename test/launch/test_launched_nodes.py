"""The demo's launch file with the installed programs: pictures come out, Ctrl-C ends all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed (it comes with ROS)')

from geometry_msgs.msg import Twist, Vector3Stamped
from launching import launch_command
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, LaserScan, PointCloud2

from midas_depth_ros.nodes.sources.synthetic_camera import SyntheticCamera


@contextlib.contextmanager
def launched(name, arguments, environment):
    """A launch file running in a session of its own; nothing of it is left at the end."""
    with subprocess.Popen(
        launch_command(name, arguments),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def stamp(image):
    return image.header.stamp.sec, image.header.stamp.nanosec


def run_demo(ros, workspace, folder, arguments, enough, nodes=2) -> None:
    """Run the demo until `enough()`, end it with Ctrl-C, and see that nothing of it is left."""
    environment = {
        **workspace.environment,
        'ROS_DOMAIN_ID': str(ros.domain_id),
        'ROS_LOG_DIR': str(folder),
        'TMPDIR': str(folder),  # launch leaves its parameter files behind
    }
    with launched('demo', {'model': 'embedded', **arguments}, environment) as running:
        ros.spin_until(enough, timeout=60, what='what the demo shall publish')
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=30)
        with pytest.raises(ProcessLookupError):  # nobody is left in the session
            os.killpg(running.pid, 0)
    assert running.returncode == 0, output
    assert output.count('process has finished cleanly') == nodes, output
    assert 'Traceback' not in output


def test_demo_shows_heatmaps_of_the_synthetic_scene_until_ctrl_c(ros, workspace, tmp_path):
    heatmaps = ros.collect(Image, '/robot/front/heatmap/image')
    closeness = ros.collect(Vector3Stamped, '/robot/front/closeness')
    pictures = ros.collect(Image, '/robot/front/image_raw')
    arguments = {'max_rate': '4', 'camera': 'front', 'namespace': 'robot'}

    def enough():
        # A busy machine loses some of the pictures on the way to this process.
        stamps = {stamp(image) for image in pictures}
        return closeness and len([image for image in heatmaps if stamp(image) in stamps]) >= 3

    run_demo(ros, workspace, tmp_path, arguments, enough)
    for image in heatmaps:
        assert (image.encoding, image.width, image.height) == ('bgr8', 640, 480)
        assert image.header.frame_id == pictures[0].header.frame_id
        assert np.std(np.asarray(image.data)) > 10, 'a heatmap of one colour'


def test_demo_shows_heatmaps_of_a_picture_sent_compressed(ros, workspace, tmp_path):
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[:, 40:] = (200, 120, 40)
    source = tmp_path / "it's one picture.png"
    cv2.imwrite(str(source), picture)
    heatmaps = ros.collect(Image, '/camera/heatmap/image')
    arguments = {
        'source': str(source),
        'transport': 'compressed',
        'params_file': str(ours(tmp_path)),
    }
    run_demo(ros, workspace, tmp_path, arguments, lambda: len(heatmaps) >= 3)
    assert {(image.width, image.height) for image in heatmaps} == {(80, 60)}


def test_demo_lets_commands_through_to_the_robot(ros, workspace, tmp_path):
    odometry = ros.collect(Odometry, '/robot/odom')
    heatmaps = ros.collect(Image, '/robot/camera/heatmap/image')
    commands = ros.node.create_publisher(Twist, '/robot/cmd_vel_in', 1)
    wish = Twist()
    # Turning on the spot is let through whatever is seen, and does not depend on the model.
    wish.angular.z = 0.5
    ros.node.create_timer(0.1, lambda: commands.publish(wish))
    arguments = {'drive': 'true', 'speed': '0.0', 'namespace': 'robot'}

    def turned():
        return heatmaps and any(message.twist.twist.angular.z > 0.1 for message in odometry)

    run_demo(ros, workspace, tmp_path, arguments, turned, nodes=3)
    last = odometry[-1]
    assert (last.header.frame_id, last.child_frame_id) == ('odom', 'base_link')
    first = odometry[0]
    assert last.pose.pose.orientation != first.pose.pose.orientation
    assert {(image.width, image.height) for image in heatmaps} == {(320, 240)}


def test_nav2_camera_gives_what_nav2_listens_to(ros, workspace, tmp_path):
    """Without Nav2 itself: the node starts itself, by the topics and the mount of a robot."""
    mount = {'camera_height': 0.3, 'camera_pitch': 0.25}
    ros.make_node(SyntheticCamera, parameters={**mount, 'camera': 'usb', 'rate': 5.0})
    clouds = ros.collect(PointCloud2, '/robot/camera/obstacles')
    scans = ros.collect(LaserScan, '/robot/camera/scan')
    environment = {
        **workspace.environment,
        'ROS_DOMAIN_ID': str(ros.domain_id),
        'ROS_LOG_DIR': str(tmp_path),
        'TMPDIR': str(tmp_path),
    }
    arguments = {
        'autostart': 'true',
        'collision_monitor': 'false',
        'namespace': 'robot',
        'model': 'embedded',
        'image_topic': '/usb/image_raw',
        'camera_info_topic': '/usb/camera_info',
        'base_frame': 'base_footprint',
        **{name: str(value) for name, value in mount.items()},
    }
    with launched('nav2_camera', arguments, environment) as running:
        ros.spin_until(lambda: clouds and scans, timeout=60, what='obstacles and scan')
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=30)
    assert running.returncode == 0, output
    assert 'Traceback' not in output
    assert clouds[0].header.frame_id == scans[0].header.frame_id == 'base_footprint'
    for name in ('collision_monitor', 'local_costmap', 'lifecycle_manager_depth'):
        assert list(tmp_path.glob(f'midas_depth_nav2_*/{name}.yaml'))


def ours(folder: Path) -> Path:
    """A parameter file of one's own, as a user would write it."""
    path = folder / 'params.yaml'
    path.write_text('depth_node:\n  ros__parameters:\n    max_rate: 0.0\n')
    return path
