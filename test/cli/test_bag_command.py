"""`midas_depth bag` as a person uses it; that it equals the node is in test/nodes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import ros_helpers  # noqa: F401 - before the first message, see there
import yaml
from bags import (
    JAZZY,
    START_NS,
    STORAGES,
    camera_info_message,
    compressed_message,
    raw_message,
    write_bag,
    write_image_bag,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, Writer
from rosbags.typesys import Stores, get_typestore

from .conftest import corridor

MODEL = ('-p', 'model:=embedded')
STEP_NS = 100_000_000
TOPICS = {
    'relative_inverse_depth/image': 'sensor_msgs/msg/Image',
    'heatmap/image': 'sensor_msgs/msg/Image',
    'heatmap/image/compressed': 'sensor_msgs/msg/CompressedImage',
    'closeness': 'geometry_msgs/msg/Vector3Stamped',
    'depth/image': 'sensor_msgs/msg/Image',
    'depth/image/compressedDepth': 'sensor_msgs/msg/CompressedImage',
    'depth/camera_info': 'sensor_msgs/msg/CameraInfo',
    'depth/sigma': 'sensor_msgs/msg/Image',
    'scan': 'sensor_msgs/msg/LaserScan',
    'seen_free': 'sensor_msgs/msg/LaserScan',
    'proximity': 'sensor_msgs/msg/Range',
    'nearest_point': 'geometry_msgs/msg/PointStamped',
    'points': 'sensor_msgs/msg/PointCloud2',
    'obstacles': 'sensor_msgs/msg/PointCloud2',
}


def frames(count: int = 4) -> list[np.ndarray]:
    return [corridor(shift=3 * index) for index in range(count)]


def contents(path: Path) -> list[tuple[str, int, bytes]]:
    with Reader(path) as reader:
        return [(c.topic, time, bytes(data)) for c, time, data in reader.messages()]


def files(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(path.iterdir())}


def camera(name: str, count: int = 3, compressed: bool = False, info: bool = True) -> list:
    """The messages of a camera of this namespace."""
    messages = []
    for index, rgb in enumerate(frames(count)):
        stamp = START_NS + index * STEP_NS
        image, ending = raw_message(rgb, stamp), ''
        if compressed:
            image, ending = compressed_message(rgb, stamp), '/compressed'
        messages.append((stamp + 1000, f'{name}/image_raw{ending}', image))
        if info:
            messages.append((stamp + 2000, f'{name}/camera_info', camera_info_message(rgb, stamp)))
    return messages


def in_order(*groups: list) -> list:
    return sorted((each for group in groups for each in group), key=lambda each: each[0])


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('-p', 'gama:=1'), 'there is no parameter gama'),
        (('-p', 'heatmap.gama:=1'), 'did you mean heatmap.gamma'),
        (('-p', 'model'), "'model' is not of the form name:=value"),
        (('-p', 'heatmap.gamma:=much'), "heatmap.gamma: 'much' is not a double"),
        (('-p', 'heatmap.colormap:=grey'), "'grey' is not one of inferno"),
        (('-p', 'scan.range_min:=7.0'), 'is not below scan.range_max'),
        (('-p', 'model:=[1'), 'is not valid YAML'),
        (('--params-file', 'none.yaml'), 'does not exist'),
        (('--storage', 'csv'), "'csv' is not one of 'sqlite3', 'mcap'"),
        (
            ('--only', 'heat'),
            'unknown output; choose from relative_inverse_depth/image',
        ),
    ],
)
def test_wrong_usage_writes_nothing(midas_depth, tmp_path, arguments, said):
    write_image_bag(tmp_path / 'in', frames(1))
    result = midas_depth('bag', 'in', 'out', *arguments)
    assert result.exit_code == 2
    assert said in ' '.join(result.stderr.split())
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('content', [None, b'', b'SQLite format 3\0' + b'x' * 500])
def test_what_is_no_bag_ends_in_one_line(midas_depth, tmp_path, content):
    if content is not None:
        (tmp_path / 'in.db3').write_bytes(content)
    result = midas_depth('bag', 'in.db3', 'out', *MODEL)
    assert result.exit_code == 1
    assert result.stderr.startswith('error: in.db3: ')
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('where', ['a', 'a/b'])
def test_a_recording_that_holds_the_input_is_not_replaced(midas_depth, tmp_path, where):
    write_image_bag(tmp_path / 'out', frames(1))
    (tmp_path / 'out' / where).mkdir(parents=True)
    write_image_bag(tmp_path / 'out' / where / 'in', frames(2))
    before = sorted((tmp_path / 'out').rglob('*'))
    done = midas_depth('bag', f'out/{where}/in', 'out', *MODEL, '--force')
    assert done.exit_code == 1
    assert f'out holds out/{where}/in, which is an input' in done.stderr
    assert sorted((tmp_path / 'out').rglob('*')) == before


@pytest.mark.parametrize('name', ['out.db3', 'metadata.yaml'])
def test_a_recording_that_a_file_of_the_input_links_to_is_not_replaced(midas_depth, tmp_path, name):
    write_image_bag(tmp_path / 'out', frames(1))
    (tmp_path / 'in').mkdir()
    for each in ('out.db3', 'metadata.yaml'):
        place, real = tmp_path / 'in' / each, tmp_path / 'out' / each
        if each == name:
            place.symlink_to(real)
        else:
            place.write_bytes(real.read_bytes())
    before = (tmp_path / 'out' / name).read_bytes()
    for source in ('in', 'in/out.db3') if name == 'out.db3' else ('in',):
        done = midas_depth('bag', source, 'out', *MODEL, '--force')
        assert done.exit_code == 1
        assert f'out holds in/{name}, which is an input' in done.stderr
    assert (tmp_path / 'out' / name).read_bytes() == before


def test_nothing_is_written_into_the_recording_of_a_file(midas_depth, tmp_path):
    write_image_bag(tmp_path / 'in', frames(1))
    (tmp_path / 'link.db3').symlink_to(tmp_path / 'in' / 'in.db3')
    before = sorted((tmp_path / 'in').rglob('*'))
    for source in ('in/in.db3', 'link.db3'):
        done = midas_depth('bag', source, 'in/out', *MODEL)
        assert done.exit_code == 1
        assert 'in/out is in the recording ' in done.stderr
    assert sorted((tmp_path / 'in').rglob('*')) == before
    (tmp_path / 'in' / 'metadata.yaml').unlink()  # now it is a file beside others
    assert midas_depth('bag', 'in/in.db3', 'in/out', *MODEL, '--only', 'scan').exit_code == 0


@pytest.mark.parametrize('name', ['params.yaml', '.hidden', 'notes/mine.txt'])
def test_a_recording_with_something_else_beside_it_is_not_replaced(midas_depth, tmp_path, name):
    write_image_bag(tmp_path / 'in', frames(1))
    write_image_bag(tmp_path / 'out', frames(1))
    stranger = tmp_path / 'out' / name
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text('/**:\n  ros__parameters: {heatmap.gamma: 1.5}\n')
    done = midas_depth('bag', 'in', 'out', *MODEL, '--force')
    assert done.exit_code == 1
    assert f"out holds '{name.split('/')[0]}' beside its recording" in done.stderr
    if name.endswith('.yaml'):  # which is read, too
        done = midas_depth('bag', 'in', 'out', *MODEL, '--params-file', f'out/{name}', '--force')
        assert f'out holds out/{name}, which is an input' in done.stderr
    assert stranger.exists()


def test_the_output_is_not_replaced_by_accident(midas_depth, tmp_path):
    write_image_bag(tmp_path / 'in', frames(1))
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'thesis.txt').write_text('mine')
    assert 'use --force' in midas_depth('bag', 'in', 'out', *MODEL).stderr
    assert 'is not a rosbag2' in midas_depth('bag', 'in', 'out', *MODEL, '--force').stderr
    assert 'is the input' in midas_depth('bag', 'in', './in', *MODEL, '--force').stderr
    assert 'is an input' in midas_depth('bag', 'in/in.db3', 'in', *MODEL, '--force').stderr
    assert 'no such folder' in midas_depth('bag', 'in', 'x/y', *MODEL).stderr
    assert 'is in the recording' in midas_depth('bag', 'in', 'in/out', *MODEL).stderr
    assert not (tmp_path / 'in' / 'out').exists()
    assert (tmp_path / 'out' / 'thesis.txt').read_text() == 'mine'
    assert midas_depth('bag', 'in', 'new', *MODEL).exit_code == 0
    assert midas_depth('bag', 'in', 'new', *MODEL, '--force', '--only', 'scan').exit_code == 0
    assert contents(tmp_path / 'new') == []


@pytest.mark.parametrize(('storage', 'compressed'), [('sqlite3', True), ('mcap', False)])
def test_the_same_bag_gives_the_same_bytes(midas_depth, tmp_path, storage, compressed):
    write_image_bag(
        tmp_path / 'in', frames(), storage=storage, compressed=compressed, with_camera_info=True
    )
    for name in ('one', 'two'):
        assert midas_depth('bag', 'in', name, *MODEL).exit_code == 0
    one, two = files(tmp_path / 'one'), files(tmp_path / 'two')
    assert list(one) == [
        'metadata.yaml',
        f'midas_depth.{"db3" if storage == "sqlite3" else "mcap"}',
    ]
    assert one == two
    assert sorted(each.name for each in tmp_path.iterdir()) == ['in', 'one', 'two']


@pytest.mark.parametrize('storage', list(STORAGES))
def test_metadata_are_those_that_rosbag2_reads(midas_depth, tmp_path, storage):
    """Against the fields of rosbag2's metadata, version 9, and what is really in the file."""
    write_image_bag(tmp_path / 'in', frames(), with_camera_info=True)
    assert midas_depth('bag', 'in', 'out', *MODEL, '--storage', storage).exit_code == 0
    about = yaml.safe_load((tmp_path / 'out' / 'metadata.yaml').read_text())
    about = about['rosbag2_bagfile_information']
    found = contents(tmp_path / 'out')
    times = [time for _, time, _ in found]
    assert about['version'] in (8, 9)
    assert about['storage_identifier'] == storage
    assert about['message_count'] == len(found) == 16
    assert about['starting_time'] == {'nanoseconds_since_epoch': START_NS + 1_000_000}
    assert (
        about['duration']
        == {'nanoseconds': max(times) - min(times)}
        == {'nanoseconds': 3 * STEP_NS}
    )
    assert (about['compression_format'], about['compression_mode']) == ('', '')
    (name,) = about['relative_file_paths']
    assert (tmp_path / 'out' / name).is_file()
    assert about['files'][0]['path'] == name
    assert about['files'][0]['message_count'] == 16
    assert about['custom_data']['model'] == 'embedded'
    listed = {each['topic_metadata']['name']: each for each in about['topics_with_message_count']}
    assert {name: each['topic_metadata']['type'] for name, each in listed.items()} == {
        f'/camera/{name}': kind for name, kind in TOPICS.items()
    }
    for topic, each in listed.items():
        assert each['message_count'] == sum(name == topic for name, _, _ in found)
        offered = each['topic_metadata']['offered_qos_profiles']
        offered = yaml.safe_load(offered) if isinstance(offered, str) else offered
        assert offered[0]['depth'] == 100
        assert offered[0]['reliability'] in ('reliable', 1)
        assert offered[0]['durability'] in ('volatile', 2)
        assert each['topic_metadata']['serialization_format'] == 'cdr'
        assert each['topic_metadata']['type_description_hash'].startswith('RIHS01_')


def test_other_readers_read_it_too(midas_depth, tmp_path):
    """SQLite itself, by the columns that rosbag2 asks for, and the reference reader of MCAP."""
    write_image_bag(tmp_path / 'in', frames(), with_camera_info=True)
    for storage in STORAGES:
        assert midas_depth('bag', 'in', storage, *MODEL, '--storage', storage).exit_code == 0
    expected = contents(tmp_path / 'mcap')
    assert sorted(contents(tmp_path / 'sqlite3')) == sorted(expected)
    with sqlite3.connect(tmp_path / 'sqlite3' / 'midas_depth.db3') as database:
        rows = database.execute(
            'SELECT name, timestamp, data FROM messages JOIN topics ON topics.id = topic_id'
        ).fetchall()
        columns = [row[1] for row in database.execute('PRAGMA table_info(topics)')]
    database.close()
    assert sorted(rows) == sorted(expected)
    assert {'id', 'name', 'type', 'serialization_format', 'offered_qos_profiles'} <= set(columns)
    mcap = pytest.importorskip('mcap.reader', reason='the reference reader of MCAP')
    with (tmp_path / 'mcap' / 'midas_depth.mcap').open('rb') as file:
        reader = mcap.make_reader(file)
        assert reader.get_header().profile == 'ros2'
        read = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()]
        schemas = {each.name: each.encoding for each in reader.get_summary().schemas.values()}
    assert sorted(read) == sorted(expected)
    assert schemas == dict.fromkeys(TOPICS.values(), 'ros2msg')


DEPTH_FORMATS = (
    '16UC1; png compressed ',
    '16UC1; jpeg compressed mono8',
    '32FC1; tiff compressed ',
)


def test_all_cameras_with_calibration_are_taken_and_depth_images_are_not(midas_depth, tmp_path):
    depth = []
    for index in range(2):
        stamp = START_NS + index * STEP_NS
        image = raw_message(np.zeros((20, 30, 3), np.uint8), stamp)
        image.encoding, image.step, image.data = '16UC1', 60, image.data[:1200]
        depth.append((stamp + 5, '/front/depth/image_raw', image))
        info = camera_info_message(np.zeros((20, 30, 3)), stamp)
        depth.append((stamp + 6, '/front/depth/camera_info', info))
        # As image_transport compresses them; what a topic is called says nothing of it.
        for number, text in enumerate(DEPTH_FORMATS):
            packed = compressed_message(np.zeros((20, 30, 3), np.uint8), stamp)
            packed.format = text
            depth.append((stamp + 7, f'/depth{number}/image/compressed', packed))
            depth.append((stamp + 8, f'/depth{number}/camera_info', info))
    groups = camera('/front'), camera('/back/color', 2, True), camera('/bare', info=False), depth
    write_bag(tmp_path / 'in', in_order(*groups))
    write_bag(tmp_path / 'empty', [], empty_topics={'/front/image_raw': 'sensor_msgs/msg/Image'})
    write_bag(tmp_path / 'depth', in_order(depth))
    only = ('--only', 'closeness')
    assert 'only depth images (/depth0/image/compressed' in (
        midas_depth('bag', 'depth', 'out', *MODEL, *only).stderr
    )
    result = midas_depth('bag', 'empty', 'none', *MODEL, *only)
    assert result.exit_code == 1
    assert 'front: no message on /front/image_raw' in result.stdout
    assert midas_depth('bag', 'in', 'out', *MODEL, *only).exit_code == 0
    topics = [topic for topic, _, _ in contents(tmp_path / 'out')]
    assert sorted(topics) == ['/back/color/closeness'] * 2 + ['/front/closeness'] * 3
    for wish in (('--camera', 'bare'), ('--topic', 'bare/image_raw'), ('-p', 'cameras:=[bare]')):
        result = midas_depth('bag', 'in', 'out', *MODEL, *only, *wish, '--force')
        assert result.exit_code == 0, result.output
        assert {topic for topic, _, _ in contents(tmp_path / 'out')} == {'/bare/closeness'}
    result = midas_depth('bag', 'in', 'no', *MODEL, '-p', 'transport:=compressed', *only)
    assert '/back/color/image_raw/compressed' in result.stdout
    assert 'there are no images on /nowhere; its topics are: /back/color/camera_info' in (
        midas_depth('bag', 'in', 'no', *MODEL, '--topic', 'nowhere', '--force').stderr
    )


def test_a_compressed_topic_may_have_any_name(midas_depth, tmp_path):
    messages = [
        (time, topic.replace('image_raw/compressed', 'image_rect_compressed'), message)
        for time, topic, message in camera('/cam_front', 3, True)
    ]
    write_bag(tmp_path / 'in', messages)
    wish = ('--topic', '/cam_front/image_rect_compressed')
    for name, arguments in (('one', ()), ('two', wish)):
        result = midas_depth('bag', 'in', name, *MODEL, '--only', 'closeness', *arguments)
        assert result.exit_code == 0, result.output
        assert [topic for topic, _, _ in contents(tmp_path / name)] == ['/cam_front/closeness'] * 3


def test_parameters_come_from_files_and_the_command_line(midas_depth, tmp_path):
    write_image_bag(tmp_path / 'in', frames(2))
    (tmp_path / 'p.yaml').write_text(
        '/**:\n  ros__parameters: {model: embedded, jpeg_quality: 5, of_another_node: 1}\n'
        'depth_node:\n  ros__parameters:\n    output_size: network\n    heatmap: {gamma: 1e-1}\n'
    )
    call = ('bag', 'in', 'out', '--params-file', 'p.yaml', '--only', 'heatmap/image', '--force')
    assert midas_depth(*call).exit_code == 0

    def size() -> int:
        message = JAZZY.deserialize_cdr(contents(tmp_path / 'out')[0][2], 'sensor_msgs/msg/Image')
        return int(message.width)

    assert size() != 160
    assert midas_depth(*call, '-p', 'output_size:=input').exit_code == 0
    assert size() == 160


def test_a_broken_frame_is_named_and_the_rest_is_done(midas_depth, tmp_path):
    messages = camera('/camera')
    messages[2][2].step = 1
    write_bag(tmp_path / 'in', messages)
    result = midas_depth('bag', 'in', 'out', *MODEL, '--only', 'closeness')
    assert result.exit_code == 1
    assert f'/camera/image_raw at {START_NS + STEP_NS + 1000} ns: ' in result.stderr
    assert 'step' in result.stderr
    assert len(contents(tmp_path / 'out')) == 2
    row = next(line for line in result.stdout.splitlines() if '/camera/image_raw' in line)
    assert row.split()[2:] == ['3', '2', '0']


@pytest.mark.parametrize('fov', [False, True])
def test_a_camera_info_of_other_pictures_is_named(midas_depth, tmp_path, fov):
    messages = camera('/camera', info=False)
    for index, rgb in enumerate(frames(3)):
        stamp = START_NS + index * STEP_NS
        info = camera_info_message(rgb[: len(rgb) // 2], stamp)
        messages.append((stamp + 2000, '/camera/camera_info', info))
    write_bag(tmp_path / 'in', in_order(messages))
    mount = ['-p', 'camera_height:=0.3', '-p', 'camera_pitch:=0.1']
    assumed = ['-p', 'horizontal_fov:=1.0'] if fov else []
    result = midas_depth('bag', 'in', 'out', *MODEL, *mount, *assumed)
    said = 'camera: camera_info is of 160x60, the pictures are 160x120: ignored'
    assert result.stderr.count(said) == 1
    assert 'no camera_info and' not in result.stdout, 'there is one'


def test_a_bag_that_is_cut_short_gives_what_is_in_it(midas_depth, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 200, 300, 3)).astype(np.uint8)
    write_image_bag(tmp_path / 'in', list(noise), storage='sqlite3')
    database = tmp_path / 'in' / 'in.db3'
    data = bytearray(database.read_bytes())
    half = len(data) // 2
    data[half : half + 200_000] = bytes(200_000)
    database.write_bytes(data)
    result = midas_depth('bag', 'in', 'out', *MODEL, '--only', 'closeness')
    assert result.exit_code == 1
    assert 'Traceback' not in result.output
    assert 0 < len(contents(tmp_path / 'out')) < 40


def test_single_files_and_compressed_bags_are_read_too(midas_depth, tmp_path):
    messages = camera('/camera')
    plain = write_bag(tmp_path / 'plain', messages, 'mcap')
    writer = Writer(tmp_path / 'zstd', version=9, storage_plugin=STORAGES['sqlite3'])
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with writer:
        connections = {
            topic: writer.add_connection(topic, message.__msgtype__, typestore=JAZZY)
            for _, topic, message in messages[:2]
        }
        for time_ns, topic, message in messages:
            data = JAZZY.serialize_cdr(message, message.__msgtype__)
            writer.write(connections[topic], time_ns, data)
    only = ('--only', 'relative_inverse_depth/image')
    for source, name in ((plain / 'plain.mcap', 'one'), (tmp_path / 'zstd', 'two')):
        assert midas_depth('bag', source, name, *MODEL, *only).exit_code == 0
    assert len(contents(tmp_path / 'one')) == 3
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


def test_bags_of_ros_1_are_read(midas_depth, tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    header = types['std_msgs/msg/Header']
    with Writer1(tmp_path / 'in.bag') as writer:
        connection = writer.add_connection(
            '/camera/image_raw', 'sensor_msgs/msg/Image', typestore=store
        )
        for index, rgb in enumerate(frames(3)):
            now = START_NS + index * STEP_NS
            stamp = types['builtin_interfaces/msg/Time'](now // 10**9, now % 10**9)
            image = types['sensor_msgs/msg/Image'](
                header(index, stamp, 'optical'), 120, 160, 'rgb8', 0, 480, rgb.reshape(-1)
            )
            writer.write(connection, now + 7, store.serialize_ros1(image, image.__msgtype__))
    result = midas_depth('bag', 'in.bag', 'one', *MODEL, '--only', 'relative_inverse_depth/image')
    assert result.exit_code == 0, result.output
    messages = [
        (
            START_NS + index * STEP_NS + 7,
            '/camera/image_raw',
            raw_message(rgb, START_NS + index * STEP_NS),
        )
        for index, rgb in enumerate(frames(3))
    ]
    write_bag(tmp_path / 'in2', messages)
    midas_depth('bag', 'in2', 'two', *MODEL, '--only', 'relative_inverse_depth/image')
    for one, two in zip(contents(tmp_path / 'one'), contents(tmp_path / 'two'), strict=True):
        first, second = (JAZZY.deserialize_cdr(m[2], 'sensor_msgs/msg/Image') for m in (one, two))
        assert one[1] == two[1]
        assert (first.header.stamp, first.header.frame_id) == (second.header.stamp, 'optical')
        np.testing.assert_array_equal(first.data, second.data)
    assert (tmp_path / 'one' / 'midas_depth.mcap').is_file()


REAR_FRAME = '-p', 'mounts.rear.body_frame:=rear_view'


def scans(path: Path) -> dict[str, set[str]]:
    """The frames of the scans of a bag, by topic."""
    found: dict[str, set[str]] = {}
    for topic, _, data in contents(path):
        if topic.endswith('/scan'):
            scan = JAZZY.deserialize_cdr(data, 'sensor_msgs/msg/LaserScan')
            found.setdefault(topic, set()).add(scan.header.frame_id)
    return found


def two_cameras(tmp_path: Path) -> None:
    write_bag(tmp_path / 'in', in_order(camera('/front', 6), camera('/rear', 6)))


@pytest.mark.parametrize('way', ['assignments', 'section', 'wildcard'])
def test_each_camera_of_a_bag_may_have_a_mount_of_its_own(midas_depth, tmp_path, way):
    two_cameras(tmp_path)
    fixed = {'scale': {'source': 'fixed'}, 'camera_height': 0.3, 'camera_pitch': 0.1}
    mounts = {'rear': {'body_frame': 'rear_view', 'camera_yaw': 3.14}}
    arguments = [*MODEL, '-p', 'scale.source:=fixed', '-p', 'picture_check:=false']
    arguments += ['-p', 'camera_height:=0.3', '-p', 'camera_pitch:=0.1']
    if way == 'assignments':
        arguments += [*REAR_FRAME, '-p', 'mounts.rear.camera_yaw:=3.14']
    else:
        key = '/**' if way == 'wildcard' else '/robot/depth_node'
        values = {key: {'ros__parameters': {**fixed, 'mounts': mounts}}}
        (tmp_path / 'p.yaml').write_text(yaml.safe_dump(values))
        arguments += ['--params-file', 'p.yaml']
    result = midas_depth('bag', 'in', 'out', '--only', 'scan', *arguments)
    assert result.exit_code == 0, result.output
    assert scans(tmp_path / 'out') == {'/front/scan': {'base_link'}, '/rear/scan': {'rear_view'}}


def test_a_mount_of_a_camera_that_is_left_out_but_configured_is_no_fault(midas_depth, tmp_path):
    two_cameras(tmp_path)
    arguments = [*MODEL, '-p', 'cameras:=[front, rear]', *REAR_FRAME]
    result = midas_depth('bag', 'in', 'out', '--camera', 'front', '--only', 'scan', *arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ('name', 'value', 'said'),
    [
        ('mounts.raer.camera_yaw', '3.14', ['mounts.raer.camera_yaw', 'front, rear']),
        ('mounts.camera.camera_yaw', '3.14', ['mounts.camera.camera_yaw', 'front, rear']),
        ('mounts.rear.yaw', '3.14', ['mounts.rear.yaw', 'did you mean mounts.rear.camera_yaw']),
        ('mounts.camera_yaw', '3.14', ['mounts.camera_yaw']),
        ('mounts..camera_yaw', '3.14', ['mounts..camera_yaw']),
        ('mounts.rear', '3.14', ['mounts.rear']),
        ('mounts.rear.camera_yaw', 'back', ['mounts.rear.camera_yaw', 'not a double']),
        ('mounts.rear.camera_height', '-1', ['mounts.rear.camera_height', 'minimum 0.01']),
        ('mounts.rear.body_frame', '[a]', ['mounts.rear.body_frame', 'not a string']),
        ('mounts.' + 'x' * 5000 + '.camera_yaw', '1', ['mounts.xxx', 'is unknown']),
    ],
)
@pytest.mark.parametrize('from_file', [False, True])
def test_a_wrong_mount_is_named_with_the_remedy(
    midas_depth, tmp_path, name, value, said, from_file
):
    two_cameras(tmp_path)
    arguments = ['-p', f'{name}:={value}']
    if from_file:
        values = {'/**': {'ros__parameters': {name: yaml.safe_load(value)}}}
        (tmp_path / 'p.yaml').write_text(yaml.safe_dump(values))
        arguments = ['--params-file', 'p.yaml']
    result = midas_depth('bag', 'in', 'out', *MODEL, *arguments)
    assert result.exit_code == 2, result.output
    for word in said:
        assert word in result.stderr
    assert len(result.stderr) < 3000
    assert not (tmp_path / 'out').exists()
