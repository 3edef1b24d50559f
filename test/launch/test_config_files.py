"""The files in config/ parse, and fit what the nodes offer and ask for."""

from __future__ import annotations

import json
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
def nav2() -> dict:
    return yaml.safe_load((CONFIG / 'nav2_example.yaml').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def monitor(nav2) -> dict:
    return nav2['collision_monitor']['ros__parameters']


@pytest.fixture(scope='module')
def costmap(nav2) -> dict:
    return nav2['local_costmap']['local_costmap']['ros__parameters']


@pytest.fixture(scope='module')
def overrides() -> dict:
    return yaml.safe_load((CONFIG / 'qos_overrides.yaml').read_text(encoding='utf-8'))


def test_rviz_shows_every_output_that_can_be_drawn(layout):
    displays = layout['Visualization Manager']['Displays']
    shown = {
        display['Name']: (display['Class'], display['Topic']['Value'])
        for display in displays
        if 'Topic' in display
    }
    assert shown == {
        'Camera': ('rviz_default_plugins/Image', 'camera/image_raw'),
        'Heatmap': ('rviz_default_plugins/Image', 'camera/heatmap/image'),
        'Depth': ('rviz_default_plugins/Image', 'camera/depth/image'),
        'Scan': ('rviz_default_plugins/LaserScan', 'camera/scan'),
        'Seen free': ('rviz_default_plugins/LaserScan', 'camera/seen_free'),
        'Proximity': ('rviz_default_plugins/Range', 'camera/proximity'),
        'Nearest point': ('rviz_default_plugins/PointStamped', 'camera/nearest_point'),
        'Points': ('rviz_default_plugins/PointCloud2', 'camera/points'),
        'Obstacles': ('rviz_default_plugins/PointCloud2', 'camera/obstacles'),
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
    for name in ('Displays', 'Camera', 'Heatmap', 'Depth'):
        assert name.encode('utf-16-be') in state
        assert layout['Window Geometry'][name] == {'collapsed': False}
    for side in ('Left', 'Right'):
        assert layout['Window Geometry'][f'Hide {side} Dock'] is False


def test_rviz_takes_messages_in_the_frame_and_with_the_types_of_depth_node(layout):
    pytest.importorskip('sensor_msgs', reason='the outputs are ROS messages')
    from midas_depth_ros.nodes.depth.output import METRIC_OUTPUTS
    from midas_depth_ros.options.depth import DepthNodeSettings

    settings = DepthNodeSettings()
    options = layout['Visualization Manager']['Global Options']
    assert options['Fixed Frame'] == settings.body_frame
    displays = layout['Visualization Manager']['Displays']
    shown = {
        display['Topic']['Value'].removeprefix(f'{settings.cameras[0]}/'): display
        for display in displays
        if 'Topic' in display
    }
    for name, kind in METRIC_OUTPUTS.items():
        # The transport of an image is chosen in the display of the image.
        if name not in ('depth/camera_info', 'depth/sigma', 'depth/image/compressedDepth'):
            assert shown[name]['Class'].removeprefix('rviz_default_plugins/') == kind.__name__
    depth = shown['depth/image']
    assert depth['Normalize Range'] is False
    assert (depth['Min Value'], depth['Max Value']) == (0, settings.heatmap.metric_far)


@pytest.fixture(scope='module')
def foxglove() -> dict:
    return json.loads((CONFIG / 'foxglove_layout.json').read_text(encoding='utf-8'))


def test_foxglove_places_every_panel_that_there_is_once(foxglove):
    placed = []

    def walk(tree):
        for side in ('first', 'second'):
            if isinstance(tree[side], str):
                placed.append(tree[side])
            else:
                walk(tree[side])

    walk(foxglove['layout'])
    assert sorted(placed) == sorted(foxglove['configById'])


def test_foxglove_shows_topics_of_the_default_camera(foxglove):
    pytest.importorskip('sensor_msgs', reason='the outputs are ROS messages')
    from midas_depth_ros.nodes.depth.output import RELATIVE_OUTPUTS

    panels = foxglove['configById']
    known = {f'/{name}' for name in outputs()} | {f'/camera/{name}' for name in RELATIVE_OUTPUTS}
    known |= {'/camera/image_raw', '/camera/camera_info', '/tf', '/tf_static', '/diagnostics'}
    images = (panels[name]['imageMode'] for name in panels if name.startswith('Image!'))
    shown = {topic for panel in images for topic in panel.values()}
    drawn = panels['3D!depth']['topics']
    assert all(each['visible'] for each in drawn.values())
    shown |= set(drawn) - {'/local_costmap/costmap'}
    shown |= {path['value'].partition('.')[0] for path in panels['Plot!proximity']['paths']}
    shown.add(panels['DiagnosticSummary!all']['topicToRender'])
    assert shown <= known
    clouds = {
        f'/{name}' for name, kind in outputs().items() if kind in ('PointCloud2', 'LaserScan')
    }
    assert clouds <= set(drawn)


def test_aggregator_finds_what_depth_node_says_of_itself_and_misses_it(ros):
    from driving import diagnostics
    from fakes import BrightnessEstimator

    from midas_depth_ros.nodes.depth.node import DepthNode

    path = CONFIG / 'diagnostics_aggregator.yaml'
    blocks = yaml.safe_load(path.read_text(encoding='utf-8'))
    analyzer = blocks['analyzers']['ros__parameters']['midas_depth']
    ros.make_node(DepthNode, lambda settings: BrightnessEstimator())
    (missed,) = analyzer['expected']
    for suffix in ('model', 'camera camera'):
        status = diagnostics(ros, suffix, lambda each: True)
        assert status.name.startswith(tuple(analyzer['startswith']))
        assert (status.name == missed) is (suffix == 'model')
    assert analyzer['type'] == 'diagnostic_aggregator/GenericAnalyzer'
    # A group that nobody speaks for puts the whole robot in error: it has depth_node alone.
    groups = [
        each for each in blocks['analyzers']['ros__parameters'].values() if type(each) is dict
    ]
    assert groups == [analyzer]


def avoidance_node():
    from midas_depth_ros.nodes.avoidance_node import AvoidanceNode

    return AvoidanceNode


def obstacle_distance_node():
    from midas_depth_ros.nodes.obstacle_distance_node import ObstacleDistanceNode

    return ObstacleDistanceNode


@pytest.mark.parametrize('made', [avoidance_node, obstacle_distance_node])
def test_aggregator_misses_a_node_that_a_robot_says_it_runs(ros, made):
    """With discard_stale a node that has died would be OK (Jazzy's generic_analyzer_base.hpp)."""
    from driving import diagnostics

    group = made.__name__.removesuffix('_node')
    path = CONFIG / f'diagnostics_aggregator_{group}.yaml'
    files = ['--params-file', str(CONFIG / 'diagnostics_aggregator.yaml')]
    aggregator = ros.make_node(
        'analyzers',
        cli_args=['--ros-args', *files, '--params-file', str(path)],
        automatically_declare_parameters_from_overrides=True,
    )
    read = {key: each.value for key, each in aggregator.get_parameters_by_prefix('').items()}
    assert read['path'] == 'Robot'
    assert read['midas_depth.expected'] == ['depth_node: model'], 'the other group is still there'
    assert read[f'{group}.type'] == 'diagnostic_aggregator/GenericAnalyzer'
    (prefix,), (missed,) = read[f'{group}.startswith'], read[f'{group}.expected']
    assert read[f'{group}.timeout'] == 5.0
    assert f'{group}.discard_stale' not in read
    ros.make_node(made())
    assert missed.startswith(prefix)
    diagnostics(ros, missed, lambda each: each.name == missed)
    assert path.name in (CONFIG / 'diagnostics_aggregator.yaml').read_text(encoding='utf-8')


def test_overrides_are_for_the_input_topics_of_the_default_camera(overrides):
    from midas_depth_ros.options.depth import DepthNodeSettings

    (camera,) = DepthNodeSettings().cameras
    topics = ('image_raw', 'image_raw/compressed', 'camera_info')
    assert set(overrides) == {f'/{camera}/{topic}' for topic in topics}


def test_overrides_reach_every_subscription_of_depth_node(overrides):
    pytest.importorskip('rclpy', reason='QoS profiles are of rclpy')
    from rclpy import qos

    from midas_depth_ros.nodes.ros import quality_of_service as ours

    policies = {
        'history': qos.HistoryPolicy,
        'reliability': qos.ReliabilityPolicy,
        'durability': qos.DurabilityPolicy,
    }
    subscriptions = (ours.NEWEST, ours.EVERY_IMAGE, ours.LATCHED)
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
    from midas_depth_ros.nodes.sources.camera_topics import read_calibration

    info = read_calibration(CONFIG / 'camera_calibration_example.yaml')
    assert (info.width, info.height) == (640, 480)
    width_rad = 2 * math.atan(info.width / 2 / info.k[0])
    assert math.degrees(width_rad) == pytest.approx(60, abs=0.1)
    assert (info.k[2], info.k[5]) == ((info.width - 1) / 2, (info.height - 1) / 2)
    assert list(info.p[:3]) == list(info.k[:3])


def outputs() -> dict[str, str]:
    """The metric topics of the default camera, and the names of their types."""
    pytest.importorskip('sensor_msgs', reason='the outputs are ROS messages')
    from midas_depth_ros.nodes.depth.output import METRIC_OUTPUTS

    return {f'camera/{name}': kind.__name__ for name, kind in METRIC_OUTPUTS.items()}


def costmap_sources(costmap: dict) -> dict[str, dict]:
    """The sources of all obstacle layers of a costmap, by layer and name."""
    layers = {name: costmap[name] for name in costmap['plugins']}
    return {
        f'{name}.{source}': layer[source]
        for name, layer in layers.items()
        for source in layer.get('observation_sources', '').split()
    }


def test_collision_monitor_listens_to_what_depth_node_publishes(monitor):
    types = {'scan': 'LaserScan', 'range': 'Range', 'pointcloud': 'PointCloud2'}
    sources = {name: monitor[name] for name in monitor['observation_sources']}
    assert {source['type'] for source in sources.values()} == {'scan', 'range'}
    for source in sources.values():
        assert outputs()[source['topic']] == types[source['type']]


def test_collision_monitor_stops_when_depth_node_falls_silent(monitor):
    from midas_depth_ros.options.depth import DepthNodeSettings

    settings = DepthNodeSettings()
    # 0 would mean for ever; two frames may be late.
    assert 2 / settings.max_rate < monitor['source_timeout'] <= 1.0
    assert not any('source_timeout' in monitor[name] for name in monitor['observation_sources'])
    assert monitor['base_frame_id'] == settings.body_frame


@pytest.mark.parametrize(('distance', 'felt'), [(math.inf, False), (0.6, True), (0.0, True)])
def test_collision_monitor_reads_proximity_as_it_is_meant(monitor, distance, felt):
    pytest.importorskip('sensor_msgs', reason='a proximity is a Range')
    from std_msgs.msg import Header

    from midas_depth_ros.nodes.ros import messages as messages
    from midas_depth_ros.options.depth import DepthNodeSettings

    settings = DepthNodeSettings()
    limits = settings.scan.range_min, settings.scan.range_max
    angle = messages.corridor_angle(settings.obstacles.robot_width, limits[1])
    message = messages.range_message(distance, limits, angle, Header())
    assert message.min_range <= message.range <= message.max_range  # else an invalid source
    # The reading becomes points on an arc; a zone acts on min_points of them.
    step = monitor['proximity']['obstacles_angle']
    count = math.ceil(message.field_of_view / step) + 1
    angles = [(index / (count - 1) - 0.5) * message.field_of_view for index in range(count)]
    arc = [(message.range * math.cos(a), message.range * math.sin(a)) for a in angles]
    slow = monitor['slow']
    inside = [point for point in arc if is_inside(point, yaml.safe_load(slow['points']))]
    assert (len(inside) >= slow['min_points']) is felt
    assert monitor['approach']['min_points'] <= count


def is_inside(point: tuple[float, float], corners: list[list[float]]) -> bool:
    """Whether a point is in a rectangle along the axes."""
    return all(
        min(corner[axis] for corner in corners)
        <= point[axis]
        <= max(corner[axis] for corner in corners)
        for axis in (0, 1)
    )


def test_collision_monitor_lets_the_robot_turn_away(monitor):
    zones = [monitor[name] for name in monitor['polygons']]
    assert {zone['action_type'] for zone in zones} == {'slowdown', 'approach'}


def test_costmap_listens_to_what_depth_node_publishes(costmap):
    for name, source in costmap_sources(costmap).items():
        topic = source['topic']
        assert topic.startswith('/'), f'{name} would be below the namespace of the costmap'
        assert outputs()[topic.removeprefix('/')] == source['data_type']


def test_costmap_takes_clear_for_clear(costmap):
    from midas_depth_ros.options.depth import DepthNodeSettings

    range_max = DepthNodeSettings().scan.range_max
    scan = costmap['scan_layer']['scan']
    assert scan['inf_is_valid'] is scan['marking'] is scan['clearing'] is True
    # Inf becomes a range just below range_max, which must not be marked.
    assert scan['obstacle_max_range'] < scan['raytrace_max_range'] < range_max


def test_costmap_clears_as_far_as_was_seen_and_not_below_the_picture(costmap):
    seen, scan = costmap['scan_layer']['seen_free'], costmap['scan_layer']['scan']
    assert (seen['marking'], seen['clearing']) == (False, True)
    assert seen['raytrace_min_range'] == scan['raytrace_min_range'] > 0
    assert seen['raytrace_max_range'] == scan['raytrace_max_range']


def test_costmap_is_not_current_when_depth_node_falls_silent(costmap):
    for source in costmap_sources(costmap).values():
        assert 0 < source['expected_update_rate'] <= 1.0


def test_costmap_has_the_scan_but_not_the_floor(costmap):
    from midas_depth_ros.options.depth import DepthNodeSettings

    lowest = DepthNodeSettings().obstacles.min_height
    layer = costmap['scan_layer']
    for bounds in (layer, layer['scan']):
        assert bounds['min_obstacle_height'] < 0 < bounds['max_obstacle_height']
    cloud = costmap['cloud_layer']
    assert cloud['obstacles']['min_obstacle_height'] > lowest
    uses = {
        name: (cloud[name]['marking'], cloud[name]['clearing']) for name in ('obstacles', 'floor')
    }
    assert uses == {'obstacles': (True, False), 'floor': (False, True)}
    assert cloud['floor']['min_obstacle_height'] < 0
    # Rays begin at the lens, which must be inside the voxels, of which there are 16 at most.
    assert cloud['z_voxels'] <= 16
    assert cloud['origin_z'] < 0.3 < cloud['origin_z'] + cloud['z_voxels'] * cloud['z_resolution']
