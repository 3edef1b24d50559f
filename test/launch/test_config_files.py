"""The files in config/ parse, and fit what the nodes offer and ask for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config'
RVIZ_POLICIES = {
    'History Policy': {'System Default', 'Keep Last', 'Keep All'},
    'Reliability Policy': {'System Default', 'Reliable', 'Best Effort'},
    'Durability Policy': {'System Default', 'Transient Local', 'Volatile'},
}


@pytest.fixture(scope='module')
def layout() -> dict:
    return yaml.safe_load((CONFIG / 'midas_depth.rviz').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def overrides() -> dict:
    return yaml.safe_load((CONFIG / 'qos_overrides.yaml').read_text(encoding='utf-8'))


def test_rviz_shows_camera_heatmap_scan_and_points(layout):
    displays = layout['Visualization Manager']['Displays']
    shown = {
        display['Name']: (display['Class'], display['Topic']['Value'])
        for display in displays
        if 'Topic' in display
    }
    assert shown == {
        'Camera': ('rviz_default_plugins/Image', 'camera/image_raw'),
        'Heatmap': ('rviz_default_plugins/Image', 'camera/heatmap/image'),
        'Scan': ('rviz_default_plugins/LaserScan', 'camera/scan'),
        'Points': ('rviz_default_plugins/PointCloud2', 'camera/points'),
    }
    # A display is on only if both say so.
    assert all(display['Enabled'] is display['Value'] is True for display in displays)


def test_rviz_subscribes_so_that_any_publisher_matches(layout):
    for display in layout['Visualization Manager']['Displays']:
        topic = display.get('Topic')
        if topic:
            for policy, names in RVIZ_POLICIES.items():
                assert topic[policy] in names
            assert topic['Reliability Policy'] == 'Best Effort'
            assert topic['Durability Policy'] == 'Volatile'
            assert topic['Depth'] >= 1


def test_rviz_classes_are_of_rviz2(layout):
    classes = []

    def walk(tree):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if key == 'Class' and value:
                classes.append(value)
            elif isinstance(value, (dict, list)):
                walk(value)

    walk(layout)
    assert len(classes) >= 12
    assert {name.split('/')[0] for name in classes} == {'rviz_common', 'rviz_default_plugins'}


def test_rviz_window_state_places_the_panels_that_there_are(layout):
    state = bytes.fromhex(layout['Window Geometry']['QMainWindow State'])
    assert state[:4] == b'\0\0\0\xff'
    for name in ('Displays', 'Camera', 'Heatmap'):
        assert name.encode('utf-16-be') in state
        assert layout['Window Geometry'][name] == {'collapsed': False}
    for side in ('Left', 'Right'):
        assert layout['Window Geometry'][f'Hide {side} Dock'] is False


def test_overrides_are_for_the_input_topics_of_the_default_camera(overrides):
    from midas_depth_ros.nodes.settings import DepthNodeSettings

    (camera,) = DepthNodeSettings().cameras
    topics = ('image_raw', 'image_raw/compressed', 'camera_info')
    assert set(overrides) == {f'/{camera}/{topic}' for topic in topics}


def test_overrides_reach_every_subscription_of_depth_node(overrides):
    pytest.importorskip('rclpy', reason='QoS profiles are of rclpy')
    from rclpy import qos

    from midas_depth_ros.nodes import quality_of_service as ours

    policies = {
        'history': qos.HistoryPolicy,
        'reliability': qos.ReliabilityPolicy,
        'durability': qos.DurabilityPolicy,
    }
    subscriptions = (ours.NEWEST_IMAGE, ours.EVERY_IMAGE, ours.CAMERA_INFO)
    for values in overrides.values():
        values = {
            key: policies[key].get_from_short_key(value) if key in policies else value
            for key, value in values.items()
        }
        played = qos.QoSProfile(**values)
        for subscription in subscriptions:
            verdict, reason = qos.qos_check_compatible(played, subscription)
            assert verdict != qos.QoSCompatibility.ERROR, reason
    recorded = qos.qos_profile_sensor_data
    verdict, _ = qos.qos_check_compatible(recorded, ours.EVERY_IMAGE)
    assert verdict == qos.QoSCompatibility.ERROR, 'the overrides would not be needed'


def test_example_calibration_is_of_the_lens_that_it_says():
    pytest.importorskip('sensor_msgs', reason='a calibration becomes a CameraInfo')
    from midas_depth_ros.nodes.camera_calibration import read_calibration

    info = read_calibration(CONFIG / 'camera_calibration_example.yaml')
    assert (info.width, info.height) == (640, 480)
    width_rad = 2 * math.atan(info.width / 2 / info.k[0])
    assert math.degrees(width_rad) == pytest.approx(60, abs=0.1)
    assert (info.k[2], info.k[5]) == ((info.width - 1) / 2, (info.height - 1) / 2)
    assert list(info.p[:3]) == list(info.k[:3])
