"""From a plan to command lines whose parameters come out of YAML as they went in."""

import sys

import yaml

from midas_depth_ros.lab.demo.run import Plan


def parameters(command: list[str]) -> dict[str, object]:
    pairs = [command[i + 1] for i, word in enumerate(command) if word == '-p']
    return {name: yaml.safe_load(text) for name, _, text in (p.partition(':=') for p in pairs)}


def test_a_source_is_a_string_whatever_it_looks_like():
    for source in ('0', '/dev/video0', 'a: b #c', 'it\'s "here"', 'ünïcode', '1e3', 'null'):
        command = Plan(source=source).commands()['camera']
        assert command[:3] == [sys.executable, '-m', 'midas_depth_ros.nodes.sources.image_stream']
        assert parameters(command)['source'] == source


def test_the_camera_loops_with_present_stamps_and_its_own_rate():
    given = parameters(Plan(source='bag', topic='/front/image').commands()['camera'])
    assert given['loop'] is True
    assert given['stamps'] == 'now'
    assert given['topic'] == '/front/image'
    assert 'rate' not in given
    faster = Plan(source='bag', camera_rate_hz=12.5).commands()['camera']
    assert parameters(faster)['rate'] == 12.5


def test_each_picture_of_a_folder_is_shown_by_itself(tmp_path):
    """At twice the node's rate each second one was never seen, in no pass."""
    (tmp_path / 'a.png').write_bytes(b'a picture by its name')
    for source in (tmp_path, tmp_path / 'a.png'):
        commands = Plan(source=str(source)).commands()
        stream, node = parameters(commands['camera']), parameters(commands['depth_node'])
        assert stream['rate'] == node['max_rate'] == 5.0
        assert node['process_every_frame'] is True
        assert node['heatmap.range_time_constant'] == 0.0, 'they have nothing in common'
        slower = Plan(source=str(source), rate_hz=2.0).commands()
        assert parameters(slower['camera'])['rate'] == 2.0
        faster = Plan(source=str(source), camera_rate_hz=20.0).commands()
        assert parameters(faster['camera'])['rate'] == 20.0
        assert 'process_every_frame' not in parameters(faster['depth_node'])
    film = parameters(Plan(source='film.mp4').commands()['depth_node'])
    assert 'process_every_frame' not in film
    assert 'heatmap.range_time_constant' not in film


def test_large_photos_do_not_travel_as_they_are():
    for source in ('photo.jpg', 'film.mp4', '0'):
        assert parameters(Plan(source=source).commands()['camera'])['max_width'] == 1280


def test_of_a_source_nothing_drives_and_the_best_model_is_taken():
    commands = Plan(source='bag').commands()
    assert list(commands) == ['camera', 'depth_node']
    assert parameters(commands['depth_node'])['model'] == 'auto'
    assert parameters(commands['depth_node'])['max_rate'] == 5.0


def test_without_a_source_a_robot_drives_with_the_model_that_needs_no_download():
    commands = Plan(world=7, camera_rate_hz=4.0).commands()
    modules = [command[2].removeprefix('midas_depth_ros.') for command in commands.values()]
    assert commands['commander'][3] == 'commander'
    assert modules == [
        'nodes.sources.synthetic_camera',
        'nodes.depth.node',
        'nodes.avoidance_node',
        'lab.drive.over_dds',
    ]
    camera, depth = parameters(commands['camera']), parameters(commands['depth_node'])
    assert (camera['scene'], camera['robot.world'], camera['seed']) == ('robot', 'furnished', 7)
    assert camera['rate'] == 4.0
    assert depth['model'] == 'embedded'
    # The node is told how the camera is mounted, and the avoidance which scan to look at.
    for name in ('camera_height', 'camera_pitch'):
        assert depth[name] == camera[name]
    remaps = ['-r', 'scan:=camera/scan', '-r', 'seen_free:=camera/seen_free']
    assert commands['avoidance_node'][-4:] == remaps
    assert parameters(commands['commander'])['speed'] > 0


def test_a_named_model_and_parameters_reach_the_node_of_the_robot():
    depth = Plan(model='midas_small', rate_hz=2.0, parameters=('heatmap.mode:=relative',))
    given = parameters(depth.commands()['depth_node'])
    assert (given['model'], given['max_rate']) == ('midas_small', 2.0)
    assert given['heatmap.mode'] == 'relative'


def frozen_after(source: object, *more: str) -> object:
    command = Plan(source=str(source), parameters=more).commands()['depth_node']
    return parameters(command).get('frozen_after', 'the default')


def test_pictures_that_are_shown_again_are_no_frozen_camera(tmp_path):
    picture = tmp_path / 'a picture.PNG'
    folder, bag = tmp_path / 'folder', tmp_path / 'bag'
    video, database = tmp_path / 'film.mp4', tmp_path / 'single.db3'
    for each in (folder, bag):
        each.mkdir()
    for each in (picture, folder / '1.jpg', video, database, bag / 'metadata.yaml'):
        each.write_bytes(b'')
    for source in (picture, folder, f'{folder}/'):
        assert frozen_after(source) == 0.0, source
    living = (video, database, bag, '0', '/dev/video0', tmp_path / 'none.png', '~nobody/x.png')
    for source in (*living, 'x' * 5000, 'a\0b.png'):
        assert frozen_after(source) == 'the default', source


def test_who_names_frozen_after_has_the_last_word(tmp_path):
    picture = tmp_path / 'picture.png'
    picture.write_bytes(b'')
    assert frozen_after(picture, 'frozen_after:=5.0') == 5.0


def test_further_parameters_come_last_and_win():
    plan = Plan(
        'bag', model='x.pt', rate_hz=3.0, transport='compressed', parameters=('max_rate:=4.0',)
    )
    command = plan.commands()['depth_node']
    assert parameters(command) == {'model': 'x.pt', 'max_rate': 4.0, 'transport': 'compressed'}
    assert command[-1] == 'max_rate:=4.0'
