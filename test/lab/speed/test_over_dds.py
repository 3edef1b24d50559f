"""What the benchmarks subscribe to over DDS: no message ends a measurement."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from robot_messages import bad_bytes
from ros_helpers import ros  # noqa: F401
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.lab.processes import ros_context
from midas_depth_ros.lab.speed import bench_nodes, candidates
from midas_depth_ros.lab.speed.nodes import HEATMAP, Feeder
from midas_depth_ros.nodes.ros.messages import image_message

ROOT = Path(__file__).resolve().parents[3]
RGB = np.zeros((48, 64, 3), np.uint8)


class Recipe:
    """Answers at once, where the usual one needs torch and timm."""

    def __init__(self, weights: Path, num_threads: int, size: object) -> None:
        pass

    def depth_and_heatmap(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return rgb[..., 0].astype(np.float32), rgb


def test_bytes_that_are_no_heatmap_do_not_end_the_feeder(ros, monkeypatch):  # noqa: F811
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    with ros_context() as executor:
        feeder = Feeder(None, (64, 48), executor)
        feeder.watch('c0')
        heatmaps = ros.publisher(Image, f'c0/{HEATMAP}')
        for data in bad_bytes(image_message(RGB, Header())):
            heatmaps.publish(data)
            feeder.spin(0.002)
        good = image_message(RGB, Header(frame_id='good'))
        good.header.stamp.sec = 1234

        def heard() -> bool:
            heatmaps.publish(good)
            feeder.spin(0.05)
            return feeder._seen.get('c0', (0, 0))[0] == 1234 * 10**9

        ros.spin_until(heard, what='a good heatmap')
        feeder.close()


def test_bytes_that_are_no_picture_do_not_end_the_baseline_node(ros, monkeypatch):  # noqa: F811
    monkeypatch.setattr(candidates, 'UsualRecipe', Recipe)
    ros.survives = True  # pictures of another size than they say raise in its callback
    ros.make_node(bench_nodes.BaselineNode, Path('none'), 'c0', 1)
    heatmaps = ros.collect(Image, f'c0/{HEATMAP}')
    pictures = ros.publisher(Image, 'c0/image_raw')
    good = image_message(RGB, Header(frame_id='good'))
    short = image_message(RGB, Header())
    short.width = 65
    for data in (*bad_bytes(good), short):
        pictures.publish(data)
        ros.spin_for(0.002)

    def answered() -> bool:
        pictures.publish(good)
        ros.spin_for(0.05)
        return any(each.header.frame_id == 'good' for each in heatmaps)

    ros.spin_until(answered, what='an answer to a good picture')


def test_every_subscription_is_made_within_the_boundary():
    """`create_subscription` is called where the boundary is put around it, and nowhere else."""
    allowed = {'nodes/ros/quality_of_service.py', 'nodes/bag/pipeline.py'}
    found = set()
    for folder in ('midas_depth_ros', 'benchmarks', 'training', 'scripts'):
        for path in (ROOT / folder).rglob('*.py'):
            if re.search(r'\bcreate_subscription\(', path.read_text(encoding='utf-8')):
                found.add(path.relative_to(ROOT / folder).as_posix())
    assert found == allowed
