"""Nav2's parameters for a robot: topics, frames and sizes; what a merged file must never lose."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import pytest
import yaml

from midas_depth_ros.nodes.ros.nav2_parameters import (
    ROBOTS,
    InvalidNav2Parameters,
    Robot,
    for_any_namespace,
    merged,
    nav2_blocks,
    read_blocks,
    write_blocks,
)
from midas_depth_ros.options.metric import ObstacleOptions

TEMPLATE = read_blocks(Path(__file__).resolve().parents[2] / 'config' / 'nav2_example.yaml')
LIDAR = {  # as a robot's own file has it
    'amcl': {'ros__parameters': {'base_frame_id': 'base_footprint'}},
    'collision_monitor': {
        'ros__parameters': {
            'base_frame_id': 'base_footprint',
            'source_timeout': 5.0,
            'polygons': ['FootprintApproach'],
            'FootprintApproach': {'type': 'polygon', 'action_type': 'approach'},
            'observation_sources': ['scan'],
            'scan': {'type': 'scan', 'topic': '/scan', 'enabled': True},
        }
    },
    'local_costmap': {
        'local_costmap': {
            'ros__parameters': {
                'robot_radius': 0.15,
                'plugins': ['obstacle_layer', 'inflation_layer'],
                'obstacle_layer': {'plugin': 'nav2_costmap_2d::ObstacleLayer'},
                'inflation_layer': {'plugin': 'nav2_costmap_2d::InflationLayer'},
            }
        }
    },
}


def monitor_of(blocks: dict) -> dict:
    return blocks['collision_monitor']['ros__parameters']


def costmap_of(blocks: dict) -> dict:
    return blocks['local_costmap']['local_costmap']['ros__parameters']


def test_topics_are_those_of_the_camera_in_its_namespace():
    blocks = nav2_blocks(TEMPLATE, Robot(), 'front/color', namespace='/robot/')
    monitor, layer = monitor_of(blocks), costmap_of(blocks)['scan_layer']
    # The monitor is in the namespace itself; the costmap is below a node of its own.
    assert [monitor[name]['topic'] for name in monitor['observation_sources']] == [
        'front/color/scan',
        'front/color/proximity',
    ]
    assert {name: layer[name]['topic'] for name in layer['observation_sources'].split()} == {
        'scan': '/robot/front/color/scan',
        'seen_free': '/robot/front/color/seen_free',
        'obstacles': '/robot/front/color/obstacles',
    }


@pytest.mark.parametrize('name', ROBOTS)
def test_zones_and_frames_are_those_of_the_robot(name):
    robot = ROBOTS[name]
    blocks = nav2_blocks(TEMPLATE, robot, 'camera')
    monitor, costmap = monitor_of(blocks), costmap_of(blocks)
    assert monitor['base_frame_id'] == costmap['robot_base_frame'] == robot.base_frame
    assert monitor['odom_frame_id'] == costmap['global_frame'] == robot.odom_frame
    assert costmap['robot_radius'] == robot.robot_radius < monitor['approach']['radius']
    corners = yaml.safe_load(monitor['slow']['points'])
    assert max(y for _, y in corners) > robot.robot_radius
    assert max(x for x, _ in corners) > robot.robot_radius + 0.5
    for source in ('scan', 'seen_free'):
        from_m = costmap['scan_layer'][source]['raytrace_min_range']
        # Along a beam 30 degrees aside, to where the floor is in view straight ahead.
        assert from_m * math.cos(math.radians(30)) >= robot.clears_from > 0


@pytest.mark.parametrize('radius', [0.18, 0.4, 0.7, 1.2])
def test_a_large_robot_slows_down_before_what_is_ahead_of_its_front(radius):
    monitor = monitor_of(nav2_blocks(TEMPLATE, Robot(robot_radius=radius), 'camera'))
    corners = yaml.safe_load(monitor['slow']['points'])
    assert max(x for x, _ in corners) >= max(1.0, radius + 0.5)


@pytest.mark.parametrize('height_m', [0.1, 0.3, 0.8])
@pytest.mark.parametrize('pitch_rad', [0.0, 0.1, 0.35])
def test_the_costmap_clears_no_floor_that_is_not_in_view(height_m, pitch_rad):
    for vertical_rad in (0.7, 0.8, 1.2):
        begins_m = height_m / math.tan(pitch_rad + 0.5 * vertical_rad)
        robot = Robot(camera_height=height_m, camera_pitch=pitch_rad)
        assert robot.clears_from >= begins_m - 0.005
        assert dataclasses.replace(robot, floor_from=0.7).clears_from == 0.7
    assert Robot().clears_from >= 1.0, 'nothing is known of the mount'
    high = Robot(camera_height=height_m).clears_from
    assert high >= max(1.0, height_m / math.tan(0.35) - 0.005), 'the pitch is not known'


@pytest.mark.parametrize('name', ROBOTS)
def test_what_is_unknown_never_clears_and_silence_stops(name):
    blocks = nav2_blocks(TEMPLATE, ROBOTS[name], 'camera')
    for made in (blocks, merged(LIDAR, blocks), merged({}, blocks)):
        costmap, monitor = costmap_of(made), monitor_of(made)
        layer = next(costmap[each] for each in costmap['plugins'] if each.endswith('scan_layer'))
        assert layer['obstacles']['clearing'] is False
        assert layer['seen_free']['marking'] is False
        for source in layer['observation_sources'].split():
            assert 0 < layer[source]['expected_update_rate'] <= 1.0
        # proximity says what the scan cannot: that something is unknown.
        sources = monitor['observation_sources']
        assert any(monitor[each]['topic'] == 'camera/proximity' for each in sources)
        for each in sources:
            if monitor[each]['topic'].startswith('camera/'):
                assert 0 < monitor[each].get('source_timeout', monitor['source_timeout']) <= 1.0
        assert not any(monitor[each].get('use_global_height') for each in sources)


def test_a_merged_file_keeps_all_that_the_robot_had():
    before = copy.deepcopy(LIDAR)
    blocks = nav2_blocks(TEMPLATE, ROBOTS['turtlebot3'], 'camera')
    made = merged(LIDAR, blocks)
    assert before == LIDAR, 'the given blocks are not changed'
    monitor, costmap = monitor_of(made), costmap_of(made)
    assert made['amcl'] == LIDAR['amcl']
    assert monitor['observation_sources'] == ['scan', 'camera_scan', 'camera_proximity']
    assert monitor['scan'] == {'type': 'scan', 'topic': '/scan', 'enabled': True}
    assert monitor['polygons'] == ['FootprintApproach', 'camera_slow', 'camera_approach']
    assert monitor['source_timeout'] == 5.0, 'the lidar has its own pace'
    assert monitor['camera_scan']['topic'] == 'camera/scan'
    assert monitor['camera_slow']['polygon_pub_topic'] == 'polygon_camera_slow'
    assert costmap['plugins'] == ['obstacle_layer', 'camera_scan_layer', 'inflation_layer']
    assert costmap['robot_radius'] == 0.15


def test_a_robot_without_a_monitor_or_a_costmap_gets_ours():
    blocks = nav2_blocks(TEMPLATE, Robot(), 'camera')
    made = merged({'amcl': LIDAR['amcl']}, blocks)
    assert monitor_of(made) == monitor_of(blocks)
    assert costmap_of(made) == costmap_of(blocks)
    assert 'lifecycle_manager_depth' not in made, 'bond_timeout 0.0 is for depth_node alone'


PLAIN = ('collision_monitor', 'local_costmap/local_costmap')


def named(monitor: str, costmap: str) -> dict:
    """LIDAR with other names of its two sections; a '>' is a level of YAML."""
    made: dict = {'amcl': LIDAR['amcl']}
    for names, block in (
        (monitor, LIDAR['collision_monitor']),
        (costmap, LIDAR['local_costmap']['local_costmap']),
    ):
        tree = made
        *outer, last = names.split('>')
        for each in outer:
            tree = tree.setdefault(each, {})
        tree[last] = copy.deepcopy(block)
    return made


@pytest.mark.parametrize(
    ('monitor', 'costmap', 'namespace'),
    [
        ('/collision_monitor', '/local_costmap/local_costmap', ''),
        ('/collision_monitor', '/local_costmap>local_costmap', ''),
        ('/**/collision_monitor', '/**/local_costmap', ''),
        ('/**/collision_monitor', '/**/local_costmap', 'fleet/tb'),
        ('/**/collision_monitor', '/**/local_costmap/local_costmap', 'fleet/tb'),
        ('/**>collision_monitor', '/*/local_costmap', ''),
        ('/*/collision_monitor', '/*/local_costmap/local_costmap', 'tb'),
        ('/tb/collision_monitor', '/tb/local_costmap/local_costmap', 'tb'),
        ('tb>collision_monitor', 'tb>local_costmap>local_costmap', 'tb'),
        ('/**>collision_monitor', '/**>local_costmap>local_costmap', ''),
        ('/**>collision_monitor', '/**/local_costmap>local_costmap', 'tb'),
        ('*>collision_monitor', '*>local_costmap>local_costmap', 'robot1'),
        ('/tb>collision_monitor', 'tb/local_costmap>local_costmap', 'tb'),
    ],
)
def test_a_robot_s_sections_are_found_by_whatever_name_rcl_reads_them(
    ros, tmp_path, monitor, costmap, namespace
):
    blocks = nav2_blocks(TEMPLATE, Robot(), 'camera', namespace)
    path = tmp_path / 'merged.yaml'
    write_blocks(path, merged(named(monitor, costmap), blocks, namespace), 'a comment')
    got = as_read(ros, path, 'collision_monitor', namespace)
    assert got['observation_sources'] == ['scan', 'camera_scan', 'camera_proximity']
    assert got['polygons'] == ['FootprintApproach', 'camera_slow', 'camera_approach']
    assert (got['scan.topic'], got['camera_scan.topic']) == ('/scan', 'camera/scan')
    got = as_read(ros, path, 'local_costmap', f'{namespace}/local_costmap')
    assert got['plugins'] == ['obstacle_layer', 'camera_scan_layer', 'inflation_layer']
    assert got['robot_radius'] == 0.15


@pytest.mark.parametrize(
    ('there', 'namespace'),
    [
        ({'/tb/collision_monitor': LIDAR['collision_monitor']}, 'tb'),
        ({'/**/collision_monitor': LIDAR['collision_monitor']}, 'tb'),
        ({'/**/local_costmap': LIDAR['local_costmap']['local_costmap']}, 'tb'),
        ({'tb': {'amcl': LIDAR['amcl']}}, 'tb'),
        ({'/**/amcl': LIDAR['amcl']}, 'tb'),
        ({'/**': {'ros__parameters': {'use_sim_time': True}}}, ''),
        ({'local_costmap': {'local_costmap_client': {'ros__parameters': {'a': 1}}}}, ''),
    ],
)
def test_what_a_robot_lacks_is_added_where_its_nodes_read_it(ros, tmp_path, there, namespace):
    path = tmp_path / 'merged.yaml'
    made = merged(there, nav2_blocks(TEMPLATE, Robot(), 'camera', namespace), namespace)
    write_blocks(path, made, 'a comment')
    got = as_read(ros, path, 'collision_monitor', namespace)
    assert [each for each in got['observation_sources'] if 'proximity' in each]
    got = as_read(ros, path, 'local_costmap', f'{namespace}/local_costmap')
    assert [each for each in got['plugins'] if each.endswith('scan_layer')]
    for name, block in there.items():
        assert set(block) <= set(made[name]), 'nothing of theirs is replaced'


def as_read(ros, path: Path, name: str, namespace: str) -> dict:
    """The parameters that a node of this name reads from a file."""
    node = ros.make_node(
        name,
        namespace=namespace,
        cli_args=['--ros-args', '--params-file', str(path)],
        automatically_declare_parameters_from_overrides=True,
    )
    values = {key: each.value for key, each in node.get_parameters_by_prefix('').items()}
    return {key: list(v) if isinstance(v, (list, tuple)) else v for key, v in values.items()}


@pytest.mark.parametrize(
    ('monitor', 'costmap', 'namespace', 'said'),
    [
        ('/tb/collision_monitor', PLAIN[1], '', ['/tb/collision_monitor', 'namespace:=tb']),
        ('/tb/collision_monitor', PLAIN[1], 'no_7', ['/tb/collision_monitor', 'namespace:=tb']),
        ('/*/collision_monitor', PLAIN[1], '', ['/*/collision_monitor', 'name the section coll']),
        (PLAIN[0], 'local_costmap', '', ['/local_costmap is not', f'section {PLAIN[1]}']),
        (PLAIN[0], '/tb/**/local_costmap', '', ['/tb/**/local_costmap', f'section {PLAIN[1]}']),
        ('/*_monitor', PLAIN[1], '', ['*_monitor', 'whole name']),
        ('/**', PLAIN[1], '', ['/** has polygons', 'in the section collision_monitor']),
        (PLAIN[0], '/*/*', '', ['/*/* has plugins', f'section {PLAIN[1]}']),
    ],
)
def test_a_section_that_may_be_for_another_node_is_refused(monitor, costmap, namespace, said):
    with pytest.raises(InvalidNav2Parameters) as raised:
        merged(named(monitor, costmap), nav2_blocks(TEMPLATE, Robot(), 'camera'), namespace)
    for words in said:
        assert words in str(raised.value)


def test_two_sections_for_one_node_are_refused():
    base = named(*PLAIN) | {'/**/collision_monitor': LIDAR['collision_monitor']}
    with pytest.raises(InvalidNav2Parameters) as raised:
        merged(base, nav2_blocks(TEMPLATE, Robot(), 'camera'))
    assert '/collision_monitor and /**/collision_monitor are both for' in str(raised.value)


def test_of_several_robots_in_one_file_the_one_of_the_namespace_gets_the_camera():
    base = named('/a/collision_monitor', '/a/local_costmap/local_costmap')
    base |= named('/b/collision_monitor', '/b/local_costmap/local_costmap')
    made = merged(base, nav2_blocks(TEMPLATE, Robot(), 'camera', 'b'), 'b')
    assert made['/a/collision_monitor'] == LIDAR['collision_monitor']
    assert 'camera_scan' in made['/b/collision_monitor']['ros__parameters']


def test_without_an_inflation_our_layer_is_the_last():
    base = copy.deepcopy(LIDAR)
    costmap_of(base)['plugins'] = ['obstacle_layer']
    made = merged(base, nav2_blocks(TEMPLATE, Robot(), 'camera'))
    assert costmap_of(made)['plugins'] == ['obstacle_layer', 'camera_scan_layer']


DEFAULTS = ['static_layer', 'obstacle_layer', 'inflation_layer']  # costmap_2d_ros.cpp


def test_a_costmap_that_leaves_its_layers_to_nav2_keeps_them():
    """Nav2 knows the types of its default layers only where the list is exactly its default."""
    base = copy.deepcopy(LIDAR)
    costmap = costmap_of(base)
    del costmap['plugins'], costmap['inflation_layer']
    costmap['obstacle_layer'] = {'observation_sources': 'scan', 'scan': {'topic': '/scan'}}
    costmap['static_layer.map_topic'] = '/map'
    made = costmap_of(merged(base, nav2_blocks(TEMPLATE, Robot(), 'camera')))
    assert made['plugins'] == [*DEFAULTS[:2], 'camera_scan_layer', 'inflation_layer']
    assert {name: made[name]['plugin'] for name in DEFAULTS} == {
        'static_layer': 'nav2_costmap_2d::StaticLayer',
        'obstacle_layer': 'nav2_costmap_2d::ObstacleLayer',
        'inflation_layer': 'nav2_costmap_2d::InflationLayer',
    }
    assert made['obstacle_layer']['scan'] == {'topic': '/scan'}
    assert made['static_layer.map_topic'] == '/map'


def test_so_does_one_that_names_them_without_their_types():
    base = copy.deepcopy(LIDAR)
    costmap_of(base).clear()
    costmap_of(base)['plugins'] = DEFAULTS
    costmap_of(base)['inflation_layer.plugin'] = 'mine::Inflation'
    made = costmap_of(merged(base, nav2_blocks(TEMPLATE, Robot(), 'camera')))
    assert made['static_layer']['plugin'] == 'nav2_costmap_2d::StaticLayer'
    assert 'inflation_layer' not in made, 'the type is theirs'
    assert made['plugins'] == [*DEFAULTS, 'camera_scan_layer']


def test_an_inflation_is_found_where_its_type_is_a_dotted_name():
    base = copy.deepcopy(LIDAR)
    del costmap_of(base)['inflation_layer']
    costmap_of(base)['inflation_layer.plugin'] = 'nav2_costmap_2d::InflationLayer'
    made = costmap_of(merged(base, nav2_blocks(TEMPLATE, Robot(), 'camera')))
    assert made['plugins'] == ['obstacle_layer', 'camera_scan_layer', 'inflation_layer']


def test_a_monitor_without_zones_and_sources_gets_ours():
    """Nav2 has no default for them: without, its monitor does not start."""
    base = {'collision_monitor': {'ros__parameters': {'base_frame_id': 'base_footprint'}}}
    made = monitor_of(merged(base, nav2_blocks(TEMPLATE, Robot(), 'camera')))
    assert made['observation_sources'] == ['camera_scan', 'camera_proximity']
    assert made['polygons'] == ['camera_slow', 'camera_approach']
    assert made['base_frame_id'] == 'base_footprint'


@pytest.mark.parametrize(
    ('base', 'said'),
    [
        ({'collision_monitor': 3}, 'collision_monitor is 3: it has no ros__parameters'),
        ({'collision_monitor': {}}, 'collision_monitor is {}: it has no ros__parameters'),
        ({'local_costmap': 'x'}, "local_costmap is 'x': it has no ros__parameters"),
        ({'local_costmap': {'local_costmap': []}}, 'is []: it has no ros__parameters'),
        (
            {'collision_monitor': {'ros__parameters': {'polygons': 'slow'}}},
            "polygons of collision_monitor is 'slow'",
        ),
    ],
)
def test_a_file_of_another_layout_is_refused_by_name(base, said):
    with pytest.raises(InvalidNav2Parameters) as raised:
        merged(base, nav2_blocks(TEMPLATE, Robot(), 'camera'))
    assert said in str(raised.value)


def test_a_file_that_has_the_camera_already_is_refused():
    blocks = nav2_blocks(TEMPLATE, Robot(), 'camera')
    with pytest.raises(InvalidNav2Parameters, match='already has camera_slow'):
        merged(merged(LIDAR, blocks), blocks)


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'robot_radius': 0.0}, 'robot_radius is 0.0'),
        ({'robot_radius': float('nan')}, 'robot_radius is nan'),
        ({'floor_from': -1.0}, 'floor_from is -1.0'),
        ({'camera_x': 7.0}, 'camera_x is 7.0'),
        ({'camera_y': float('nan')}, 'camera_y is nan'),
        ({'camera_y': -0.3, 'robot_radius': 0.2}, 'camera_y is -0.3: the lens must be above'),
        ({'base_frame': ''}, 'base_frame is empty'),
        ({'stamped': 'yes'}, 'stamped is yes'),
    ],
)
def test_a_robot_that_cannot_be_is_refused(values, said):
    with pytest.raises(InvalidNav2Parameters) as raised:
        Robot(**values)
    assert said in str(raised.value)


def test_a_file_that_is_not_yaml_is_refused(tmp_path):
    path = tmp_path / 'nav2.yaml'
    path.write_text('a: [')
    with pytest.raises(InvalidNav2Parameters, match='is not YAML'):
        read_blocks(path)
    path.write_text('- 1')
    with pytest.raises(InvalidNav2Parameters, match='has no parameters'):
        read_blocks(path)


@pytest.mark.parametrize('namespace', ['', 'fleet/robot'])
def test_the_files_are_read_by_the_nodes_that_they_are_for(ros, tmp_path, namespace):
    """By rcl itself, as Nav2's nodes read theirs: names, namespaces and types."""
    blocks = nav2_blocks(TEMPLATE, ROBOTS['turtlebot4'], 'camera', namespace)
    nodes = {
        'collision_monitor': namespace,
        'local_costmap': f'{namespace}/local_costmap'.strip('/'),
        'lifecycle_manager_depth': namespace,
    }
    for name, block in for_any_namespace(blocks).items():
        path = tmp_path / f'{name}.yaml'
        write_blocks(path, block, 'a comment')
        node = ros.make_node(
            name,
            namespace=nodes[name],
            cli_args=['--ros-args', '--params-file', str(path)],
            automatically_declare_parameters_from_overrides=True,
        )
        got = {key: each.value for key, each in node.get_parameters_by_prefix('').items()}
        wanted = dict(flattened(next(iter(block.values()))['ros__parameters']))
        for key, value in wanted.items():
            assert type(got[key]) is type(value) or isinstance(value, list), key
            assert (list(got[key]) if isinstance(value, list) else got[key]) == value, key


def flattened(tree: dict, prefix: str = ''):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flattened(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def test_the_inflation_is_found_where_its_type_is_shared_by_both_costmaps():
    """Else what the camera marks would not be inflated."""
    there = copy.deepcopy(LIDAR)
    costmap = costmap_of(there)
    del costmap['inflation_layer']
    kind = {'inflation_layer': {'plugin': 'nav2_costmap_2d::InflationLayer'}}
    there['/**'] = {'ros__parameters': kind}
    found = costmap_of(merged(there, nav2_blocks(TEMPLATE, Robot(), 'camera')))
    assert found['plugins'] == ['obstacle_layer', 'camera_scan_layer', 'inflation_layer']


@pytest.mark.parametrize('range_max', [6.0, 2.5, 0.8])
@pytest.mark.parametrize('camera_x', [0.0, 0.1, -0.1])
def test_nothing_reaches_where_the_scan_shows_what_is_clear(range_max, camera_x):
    robot = Robot(camera_x=camera_x)
    blocks = nav2_blocks(TEMPLATE, robot, 'camera', range_max_m=range_max)
    monitor = blocks['collision_monitor']['ros__parameters']
    corners = yaml.safe_load(monitor['slow']['points'])
    assert 0.5 < max(x for x, _ in corners) - camera_x < range_max
    layer = blocks['local_costmap']['local_costmap']['ros__parameters']['scan_layer']
    for name in layer['observation_sources'].split():
        ends = [value for key, value in layer[name].items() if key.endswith('max_range')]
        assert max(ends) < range_max


@pytest.mark.parametrize('max_height', [0.3, 1.0, 1.8])
def test_what_counts_as_an_obstacle_is_not_too_high_for_the_costmap(max_height):
    """Nav2 drops what is higher than its source, or its layer, says."""
    blocks = nav2_blocks(TEMPLATE, Robot(), 'camera', max_height_m=max_height)
    layer = costmap_of(blocks)['scan_layer']
    for each in (layer, layer['obstacles']):
        assert max_height < each['max_obstacle_height'] <= max_height + 0.2
    for default in (TEMPLATE, nav2_blocks(TEMPLATE, Robot(), 'camera')):
        layer = costmap_of(default)['scan_layer']
        for each in (layer, layer['obstacles']):
            assert each['max_obstacle_height'] > ObstacleOptions.max_height
