"""`midas_depth evaluate` as a person uses it: one page, one object, one line for what is wrong."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest
import ros_helpers  # noqa: F401 - before the first message, see there
from bags import JAZZY, START_NS, camera_info_message, header, raw_message, write_bag
from frames import quaternion_of, recorded, tf_message
from rosbags.rosbag2 import Writer

from midas_depth_ros.geometry import CameraMount
from midas_depth_ros.lab.evaluate.plots import CSS

from .conftest import corridor

STEP_NS = 200_000_000
OPTICAL = 'recorded_optical_frame'
LaserScan = JAZZY.types['sensor_msgs/msg/LaserScan']
String = JAZZY.types['std_msgs/msg/String']
OURS = ('--model', 'embedded', '-p', 'camera_height:=0.3', '-p', 'camera_pitch:=10deg')


def scan(time_ns: int, frame_id: str = 'lidar'):
    return LaserScan(
        header(time_ns, frame_id), *(-0.5, 0.5, 0.01, 0.0, 0.1, 0.1, 8.0),
        np.full(101, 2.0, np.float32), np.zeros(0, np.float32),
    )  # fmt: skip


def messages(count: int = 4, info: bool = True, late_ns: int = 0, frame_id: str = 'lidar') -> list:
    found = []
    for index in range(count):
        stamp = START_NS + index * STEP_NS
        picture = corridor(shift=3 * index)
        found.append((stamp + 1, '/front/image_raw', raw_message(picture, stamp)))
        found.append((stamp + 2, '/scan', scan(stamp + late_ns, frame_id)))
        if info:
            camera_info = camera_info_message(picture, stamp, focal=120.0)
            found.append((stamp + 3, '/front/camera_info', camera_info))
    return found


@pytest.fixture
def bag(tmp_path):
    def make(**named):
        return write_bag(tmp_path / 'bag', messages(**named))

    return make


class Page(html.parser.HTMLParser):
    """What a browser would fetch or run, and whether the tags are closed in order."""

    VOID = ('meta', 'br')

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.counts: dict[str, int] = {}
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        for name, value in attrs:
            if name in ('src', 'href', 'xlink:href') and not (value or '').startswith('#'):
                self.fetched.append(f'{tag} {value}')
            if name == 'id':
                self.ids.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open = self.open if tag in self.VOID else self.open[:-1]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_has_everything_in_it(bag, midas_depth, tmp_path):
    done = midas_depth(
        *('evaluate', bag(), '--truth', '/scan', '--truth-at', '0,0,0.2', '-o', 'page.html', *OURS),
        *('--source', 'ground_plane', '--source', 'none', '--rate', '0'),
    )
    assert done.exit_code == 0, done.output
    assert len(re.findall('^embedded, (ground_plane|none): Stopping', done.stdout, re.M)) == 2
    text = (tmp_path / 'page.html').read_text()
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert not {'script', 'link', 'img', 'iframe'} & set(page.counts)
    assert page.counts['svg'] == page.counts['figure'] >= 5
    assert text.count('role="img" aria-label="') == page.counts['svg']
    assert not [colour for colour in CSS if colour in text]  # all of them take the page's colours
    assert not re.search(r'(stroke|fill): #(?!ff)', text.split('<body>')[1])
    assert 'prefers-color-scheme: dark' in text
    assert 'width=device-width' in text
    assert 'scale.source is none' in text
    clips = [each for each in page.ids if 'figure_1' in each]
    assert len(set(clips)) == len(clips)
    assert sorted(each.name for each in tmp_path.iterdir()) == ['bag', 'page.html']


def test_json_is_one_object(bag, midas_depth):
    done = midas_depth(
        *('evaluate', bag(), '--truth', 'scan', '--truth-at', '0,0,0.2', '--json', *OURS),
        *('--rate', '0', '--speed', '0.3', '--stopping-distance', '0.6', '--latency', '0.4'),
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found['truth']['type'] == 'sensor_msgs/msg/LaserScan'
    assert (found['frames'], found['seconds']) == (4, 0.6)
    (run,) = found['runs']
    assert run['name'] == 'embedded, auto'
    assert run['frames_with_truth'] == 4
    (row,) = run['verdict']['speeds']
    assert (row['speed_m_s'], row['verdict']) == (0.3, 'unknown')
    assert row['braking_m'] == pytest.approx(0.3 * (0.4 + 0.4 + 0.05 + 0.2) + 0.3**2 / 4)
    assert run['verdict']['text'].startswith('Stopping 0.6 m before things: nothing can be said')


def test_the_rate_is_that_of_a_node(bag, midas_depth):
    arguments = ('--truth', '/scan', '--truth-at', '0,0,0.2', '--json', *OURS)
    done = midas_depth('evaluate', bag(), *arguments, '--rate', '2.5')
    assert json.loads(done.stdout)['frames'] == 2


def line(done) -> str:
    assert done.exit_code == 1, done.output
    errors = [each for each in done.stderr.splitlines() if each.startswith('error: ')]
    assert len(errors) == 1, done.stderr
    assert done.stdout == ''
    return errors[0]


@pytest.mark.parametrize(
    ('named', 'truth', 'words'),
    [
        ({}, '/lidar', 'there is no topic /lidar; what could be a truth: .*/scan'),
        ({}, '/front/camera_info', 'is a sensor_msgs/msg/CameraInfo, which is no truth'),
        ({}, '/front/image_raw', 'is the picture itself'),
        ({}, '/scan', "in the frame 'lidar', whose place is not known: give --truth-at"),
        ({'late_ns': 10**10}, '/scan', r'within 0.1 s of a picture .* the nearest is 9\.400 s'),
        ({'info': False}, '/scan', 'has no camera_info: record it, or set horizontal_fov'),
    ],
)
def test_what_is_wrong_is_one_line_with_the_remedy(bag, midas_depth, named, truth, words, tmp_path):
    place = () if 'not known' in words else ('--truth-at', '0,0,0.2')
    done = midas_depth('evaluate', bag(**named), '--truth', truth, *place, '-o', 'a.html', *OURS)
    assert re.search(words, line(done))
    assert sorted(each.name for each in tmp_path.iterdir()) == ['bag']


def two_cameras(path):
    """One looks ahead, one to the left and is higher; TF knows both, and the lidar."""
    found = messages()
    for time_ns, topic, message in list(found):
        if topic.startswith('/front/'):
            head = dataclasses.replace(message.header, frame_id='left_optical_frame')
            turned_to = dataclasses.replace(message, header=head)
            found.append((time_ns + 5, topic.replace('/front/', '/left/'), turned_to))
    ahead = CameraMount(0.3, 0.17).body_axes()
    left = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) @ ahead
    static = [
        recorded('base_footprint', OPTICAL, 0, (0.2, 0, 0.3), quaternion_of(ahead)),
        recorded('base_footprint', 'left_optical_frame', 0, (0, 0.15, 0.5), quaternion_of(left)),
        recorded('base_footprint', 'lidar', 0, (0.1, 0, 0.2)),
    ]
    found.append((START_NS, '/tf_static', tf_message(*static)))
    return write_bag(path, sorted(found, key=lambda each: each[0]))


def test_of_several_cameras_one_is_named_and_each_is_mounted_as_tf_says(midas_depth, tmp_path):
    path = two_cameras(tmp_path / 'bag')
    arguments = ('--truth', '/scan', '--json', '--model', 'embedded', '--rate', '0')
    words = r'has 2 cameras \(front, left\): name one by --camera or --topic'
    assert re.search(words, line(midas_depth('evaluate', path, *arguments)))
    for camera, height, place in (
        ('front', '0.300', 'x -0.1, y 0, z 0.2 m, yaw 0, pitch 0'),
        ('left', '0.500', 'x -0.15, y -0.1, z 0.2 m, yaw -90, pitch 0'),
    ):
        done = midas_depth('evaluate', path, *arguments, '--camera', camera)
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found['camera']['name'] == camera
        assert f'{height} m above' in found['notes'][0]
        assert place in found['truth']['text']


def test_a_truth_in_the_frame_of_the_pictures_needs_no_place(bag, midas_depth):
    bag = bag(frame_id=OPTICAL)
    done = midas_depth('evaluate', bag, '--truth', '/scan', '--json', *OURS)
    assert 'in the optical frame of the camera' in json.loads(done.stdout)['truth']['text']


@pytest.mark.parametrize(
    ('place', 'words'),
    [
        ('-0.2,0,0.25,0deg', 'x -0.2, y 0, z 0.25 m, yaw 0, pitch 0 degrees'),
        ('0,0.1,0.25,90deg,0.1', 'y 0.1, z 0.25 m, yaw 90, pitch 5.72'),
        ('camera', 'in the optical frame of the camera'),
    ],
)
def test_a_place_is_taken_as_it_is_written(bag, midas_depth, place, words):
    done = midas_depth('evaluate', bag(), '--truth', '/scan', '--truth-at', place, '--json', *OURS)
    assert words in json.loads(done.stdout)['truth']['text']


def test_the_place_of_the_parameters_counts(bag, midas_depth):
    place = ('-p', 'reference.z:=0.25', '-p', 'reference.yaw:=90deg')
    done = midas_depth('evaluate', bag(), '--truth', '/scan', '--json', *OURS, *place)
    assert 'z 0.25 m, yaw 90,' in json.loads(done.stdout)['truth']['text']


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ((), 'give --output page.html, or --json'),
        (('--json', '--truth-at', '1,2'), "'1,2' is not a place"),
        (('--json', '--truth-at', '1,2,nan'), "'1,2,nan' is not a place"),
        (('--json', '-p', 'camera_hight:=1'), 'camera_hight'),
        (('--json', '--source', 'lidar'), "'lidar' is not one of"),
        (('--json', '--speed', 'nan'), "'nan' is not"),
        (('--json', '--deceleration', 'nan'), "'nan' is not"),
        (('--json', '--reaction-time', '9'), 'is not in the range'),
    ],
)
def test_wrong_usage(bag, midas_depth, arguments, words):
    done = midas_depth('evaluate', bag(), '--truth', '/scan', *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_bags_that_say_nothing(midas_depth, tmp_path):
    empty = write_bag(tmp_path / 'empty', [])
    assert 'the bag is empty' in line(midas_depth('evaluate', empty, '--truth', '/s', '--json'))
    gone = tmp_path / 'gone'
    assert 'there is no such bag' in line(midas_depth('evaluate', gone, '--truth', '/s', '--json'))
    topics = {'/front/image_raw': 'sensor_msgs/msg/Image', '/scan': 'sensor_msgs/msg/LaserScan'}
    silent = write_bag(tmp_path / 'silent', [], empty_topics=topics)
    done = midas_depth('evaluate', silent, '--truth', '/scan', '--json')
    assert '/scan has no message' in line(done)


def test_a_damaged_bag_is_compared_as_far_as_it_goes(bag, midas_depth):
    path = bag(count=6)
    (file,) = path.glob('*.db3')
    whole = file.read_bytes()
    file.write_bytes(whole[: int(0.7 * len(whole))])
    arguments = ('--truth', '/scan', '--truth-at', '0,0,0.2', '--json', *OURS, '--rate', '0')
    done = midas_depth('evaluate', path, *arguments)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert 1 <= found['frames'] < 6
    assert 'damaged' in found['faults'][0]['reason']


def test_a_truth_that_cannot_be_read_is_said(midas_depth, tmp_path):
    found = messages()
    for index in (1, 4, 7):
        time_ns, topic, message = found[index]
        message.ranges[:] = np.nan
        found[index] = (time_ns, topic, message)
    path = write_bag(tmp_path / 'bag', found)
    arguments = ('--truth', '/scan', '--truth-at', '0,0,0.2', '--json', *OURS, '--rate', '0')
    run = json.loads(midas_depth('evaluate', path, *arguments).stdout)['runs'][0]
    assert run['corridor']['frames'] <= 1  # nothing is known of the others


@pytest.mark.parametrize('bad', [b'\0\1\0\0\xff\xff', b'', b'\0\1\0\0' + bytes(8)])
def test_bytes_that_are_no_message_cost_one_frame(midas_depth, tmp_path, bad):
    path, connections = tmp_path / 'bag', {}
    with Writer(path, version=9) as writer:
        for index, (time_ns, topic, message) in enumerate(messages()):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=JAZZY)
            data = bad if index == 4 else JAZZY.serialize_cdr(message, kind)
            writer.write(connections[topic], time_ns, data)
    arguments = ('--truth', '/scan', '--truth-at', '0,0,0.2', '--json', *OURS, '--rate', '0')
    done = midas_depth('evaluate', path, *arguments)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found['runs'][0]['frames'] == 4
    assert found['runs'][0]['frames_with_truth'] == 3
    assert found['faults'][0]['reason'].startswith('/scan at # ns: ')


def test_names_from_outside_do_no_harm(midas_depth, tmp_path):
    path = write_bag(tmp_path / '<b>&"bag', messages(frame_id='<script>'))
    arguments = ('--truth', '/scan', '--truth-at', '0,0,0.2', '-o', 'page.html', *OURS)
    assert midas_depth('evaluate', path, *arguments).exit_code == 0
    text = (tmp_path / 'page.html').read_text()
    assert '<script' not in text
    assert '&lt;script&gt;' in text
    assert '&lt;b&gt;&amp;&quot;bag' in text


def test_a_page_without_the_library_is_refused_before_the_work(bag, midas_depth, without):
    without('matplotlib')
    arguments = ('--truth', '/scan', '--truth-at', '0,0,0.2', *OURS)
    path = bag()
    done = midas_depth('evaluate', path, *arguments, '-o', 'page.html')
    assert 'pip install matplotlib' in line(done)
    done = midas_depth('evaluate', path, *arguments, '--json', '--rate', '0')
    assert json.loads(done.stdout)['frames'] == 4


def test_an_existing_page_is_kept(bag, midas_depth, tmp_path):
    (tmp_path / 'page.html').write_text('mine')
    done = midas_depth('evaluate', bag(), '--truth', '/scan', '-o', 'page.html', *OURS)
    assert 'page.html already exists: use --force' in line(done)
    assert (tmp_path / 'page.html').read_text() == 'mine'


def test_what_is_read_is_never_overwritten_by_the_page(bag, midas_depth, tmp_path):
    path = bag()
    recording = next((tmp_path / path).glob('*.db3'))
    table = tmp_path / 'tape.html'
    table.write_text('frame,u,v,metres\n0,10,10,1.0\n')
    before = recording.read_bytes(), table.read_bytes()
    linked = recording.rename(tmp_path / 'linked.html')
    recording.symlink_to(linked)
    for page, truth, said in (
        (recording, '/scan', 'the suffix of the page must be .html or .htm'),
        (Path(path) / 'page.html', '/scan', 'is in the recording'),
        (Path('linked.html'), '/scan', 'is the input'),
        (table, str(table), 'is the input'),
        (Path('page.txt'), '/scan', 'the suffix of the page'),
    ):
        done = midas_depth('evaluate', path, '--truth', truth, '-o', str(page), '--force', *OURS)
        assert said in line(done)
    assert (recording.read_bytes(), table.read_bytes()) == before


def test_a_measurement_beside_the_picture_is_named_and_others_are_compared(
    bag, midas_depth, tmp_path
):
    table = tmp_path / 'tape.csv'
    table.write_text('frame,u,v,metres\n0,3200,24,1.0\n1,12,10,1.0\n')
    done = midas_depth('evaluate', bag(), '--truth', str(table), '--json', *OURS)
    assert done.exit_code == 1
    assert 'measurement 1 aims at u 3200, v 24, outside of the picture of' in done.stderr
    assert 'measurement 2' not in done.stderr


def test_a_bearing_outside_of_the_view_is_named_and_others_are_compared(bag, midas_depth, tmp_path):
    table = tmp_path / 'tape.csv'
    table.write_text('frame,bearing,metres\n0,85,1.0\n1,-179,1.0\n2,85,0.1\n3,20,1.0\n')
    done = midas_depth('evaluate', bag(), '--truth', str(table), '--rate', '0', '--json', *OURS)
    assert done.exit_code == 1
    faults = ''.join(each['example'] for each in json.loads(done.stdout)['faults'])
    named = (
        r'frame 0: measurement 1 has the bearing 85, outside of the view from -\d+ to \d+ degrees'
    )
    assert re.search(named, faults)
    for number, found in ((1, True), (2, True), (3, False), (4, False)):  # 3: at the wheel
        assert (f'measurement {number} has' in done.stderr) == found, number
