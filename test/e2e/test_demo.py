"""The demonstration as a user runs it: real processes, real DDS, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

pytest.importorskip('rclpy')

from geometry_msgs.msg import Vector3Stamped
from sensor_msgs.msg import Image as RosImage

from midas_depth_ros.lab import processes
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import DrivenRobot, furnished_world

ROOT = Path(__file__).parents[2]
MARK = 'MIDAS_DEPTH_TEST_MARK'
SECONDS = 4
DRIVE_TOPICS = {
    'odom',
    'camera_scan',
    'camera_seen_free',
    'camera_proximity',
    'ground_truth_scan',
    'cmd_vel',
    'cmd_vel_in',
}


class Demo:
    """The demo in a process of its own, with a mark in its environment by which all are found."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.folder = folder / 'output'
        self.mark = uuid.uuid4().hex
        self.environment = {
            **os.environ,
            'ROS_DOMAIN_ID': str(domain),
            'PYTHONPATH': str(ROOT),
            'COLUMNS': '100',
            MARK: self.mark,
        }
        self.environment.pop('FORCE_COLOR', None)
        self.cwd = folder

    def start(self, *options: str, headless: bool = True) -> subprocess.Popen[str]:
        """Start it in the background."""
        return subprocess.Popen(
            [
                *(sys.executable, '-m', 'midas_depth_ros.lab.demo', '--output', str(self.folder)),
                *(('--headless',) if headless else ()),
                *options,
            ],
            env=self.environment,
            cwd=self.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str) -> tuple[int, str, str]:
        """Run it to its end; exit code, stdout and stderr."""
        process = self.start(*options)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
        return process.returncode, out, err

    def processes(self, words: str = '') -> list[int]:
        """Living processes of this demo whose command line has these words."""
        found = []
        for entry in Path('/proc').iterdir():
            with contextlib.suppress(OSError):
                command = (entry / 'cmdline').read_bytes().replace(b'\0', b' ').decode()
                if not entry.name.isdigit() or not command or words not in command:
                    continue
                if f'{MARK}={self.mark}'.encode() in (entry / 'environ').read_bytes():
                    found.append(int(entry.name))
        return found

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / 'summary.json').read_text('utf-8'))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with processes.free_domain() as domain:
        instance = Demo(tmp_path, domain)
        yield instance
        left = instance.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert left == [], 'the demo left processes behind'


def wait_for(condition, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, 'waited in vain'
        time.sleep(0.05)


def check_figures(summary: dict, seconds: float = SECONDS) -> None:
    """Figures that must fit each other, whatever the machine's speed."""
    frames, recorded = summary['frames'], summary['recorded']
    endings = ('processed', 'throttled', 'dropped', 'unwanted', 'rejected', 'failed')
    assert 0 <= frames['received'] - sum(frames[name] for name in endings) <= 2  # on their way
    assert frames['rejected'] == frames['failed'] == 0
    assert 0 < recorded['heatmaps'] <= frames['processed']
    assert 0 < recorded['pairs_of_same_stamp'] <= recorded['heatmaps']
    assert recorded['pairs_of_same_stamp'] <= recorded['camera_pictures']
    assert summary['seconds'] == pytest.approx(seconds, abs=1)
    assert summary['output_rate_hz'] == pytest.approx(
        recorded['heatmaps'] / summary['seconds'], abs=0.05
    )
    for name in ('latency_ms', 'node_latency_ms', 'inference_ms'):
        assert 0 < summary[name]['median'] <= summary[name]['p95']
    assert summary['inference_ms']['median'] <= summary['node_latency_ms']['median']
    assert set(summary['exit_codes'].values()) == {0}
    times = [row['time_s'] for row in summary['closeness']['timeline']]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= seconds + 1


def check_pictures(folder: Path, size: tuple[int, int], top_view: bool = False) -> None:
    """Camera | heatmap: readable, of the right size, and of different content."""
    paths = sorted((folder / 'pictures').iterdir())
    assert 2 <= len(paths) <= 6
    for path in paths:
        with Image.open(path) as image:
            picture = np.asarray(image).astype(int)
        width, height = size
        assert picture.shape[1] >= 2 * width
        assert picture.shape[0] >= height
        right = picture[:height, -width:]
        if top_view:
            right = picture[:height, width + 2 : 2 * width]
        left = picture[:height, :width]
        left = left[:, : right.shape[1]]
        assert np.abs(left - right).mean() > 10
        assert right.std() > 5
    with Image.open(folder / 'contact_sheet.png') as sheet:
        assert sheet.width > width
    with Image.open(folder / 'run.gif') as animation:
        assert animation.n_frames >= 4


def check_messages(folder: Path, model: str, further: set[str]) -> dict[str, dict]:
    """Every output topic's last message, read back."""
    messages = {
        path.stem: yaml.safe_load(path.read_text('utf-8'))
        for path in (folder / 'messages').iterdir()
    }
    assert (
        set(messages)
        == {
            'camera_relative_inverse_depth_image',
            'camera_heatmap_image',
            'camera_heatmap_image_compressed',
            'camera_closeness',
            'diagnostics',
        }
        | further
    )
    assert messages['camera_relative_inverse_depth_image']['encoding'] == '32FC1'
    assert messages['camera_heatmap_image']['encoding'] == 'bgr8'
    assert 'jpeg' in messages['camera_heatmap_image_compressed']['format']
    assert set(messages['camera_closeness']['vector']) == {'x', 'y', 'z'}
    assert model in (folder / 'messages' / 'diagnostics.txt').read_text('utf-8')
    return messages


def check_drive(summary: dict) -> None:
    """The robot drove, and what it saw was there. Wide bounds: a busy machine sees less often."""
    drive = summary['drive']
    assert drive['distance_m'] > 0.2
    assert drive['seconds'] >= SECONDS
    assert drive['collisions'] >= 0
    assert drive['min_clearance_m'] < 3.0  # of a room
    assert 0 < drive['scan_share'] <= 1
    assert drive['scan_error']['beams'] > 100
    # It was 10 to 22 % where it was measured; a scale that is wrong by half would show here.
    assert drive['scan_error']['median'] < 0.35
    assert sum(drive['states'].values()) == pytest.approx(1, abs=0.01)
    assert summary['closeness']['nearest']['centre'] is not None


def check_top_view(folder: Path, width: int) -> None:
    """Right of camera and heatmap; the robot has moved in it."""
    paths = sorted((folder / 'pictures').iterdir())
    views = [np.asarray(Image.open(path)).astype(int)[:, 2 * width + 8 :] for path in paths]
    assert views[0].shape[1] > 100
    assert np.abs(views[-1] - views[0]).max() > 50


def test_the_robot_drives(demo):
    # Slower pictures: a machine with other work to do shall see as often as it is told.
    code, out, err = demo.run(
        *('--seconds', '6', '--camera-rate', '6', '--rate', '4'),
    )
    assert (code, err) == (0, '')
    summary = demo.summary
    check_figures(summary, 6)
    check_drive(summary)
    assert summary['source'].startswith('a simulated robot')
    assert summary['model'] == 'embedded'
    assert 'no download' in out
    assert 'dashboard' not in out
    assert summary['exit_codes'] == dict.fromkeys(
        ('camera', 'depth_node', 'avoidance_node', 'commander'), 0
    )
    check_pictures(demo.folder, tuple(summary['picture_size']), top_view=True)
    check_top_view(demo.folder, summary['picture_size'][0])
    messages = check_messages(demo.folder, 'embedded', DRIVE_TOPICS)
    assert [messages['camera_heatmap_image'][side] for side in ('width', 'height')] == summary[
        'picture_size'
    ]
    assert messages['camera_scan']['range_max'] > 1
    assert messages['cmd_vel_in']['linear']['y'] == 0
    assert (demo.folder / 'summary.txt').read_text('utf-8').splitlines()[0] in out
    assert str(demo.folder / 'contact_sheet.png') in out
    for path in (demo.folder / 'logs').iterdir():
        assert 'Traceback' not in path.read_text('utf-8')


def test_the_dashboard_is_beside_it(demo):
    for module in ('fastapi', 'uvicorn', 'websockets', 'multipart', 'midas_depth_ros.web'):
        pytest.importorskip(module)
    process = demo.start('--keep-going', '--seconds', '1', '--camera-rate', '3', headless=False)
    try:
        said = ''
        for line in process.stdout:
            said += line
            if line.startswith(('Live view', 'No dashboard')):
                break
        address = re.search(r'http://127\.0\.0\.1:\d+', said)
        assert address, said
        with urllib.request.urlopen(address.group(), timeout=20) as page:
            assert '<html' in page.read().decode()
        for line in process.stdout:
            if line.startswith('Running until Ctrl-C'):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (0, '')
    assert 'Results:' in out
    assert demo.summary['exit_codes']['dashboard'] == 0
    assert demo.summary['seconds'] == pytest.approx(1, abs=1)


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Three pictures that differ in nothing but colour."""
    folder = tmp_path / 'pictures with a: colon'
    folder.mkdir()
    texture = np.random.RandomState(0).uniform(0.5, 1, (120, 160, 1))
    for name, colour in {'a': (250, 60, 60), 'b': (60, 250, 60), 'c': (60, 60, 250)}.items():
        Image.fromarray((texture * colour).astype(np.uint8)).save(folder / f'{name}.png')
    return folder


def test_folder_of_pictures_over_the_compressed_transport(demo, picture_folder):
    del demo.environment['ROS_DOMAIN_ID']  # one is chosen
    code, _, err = demo.run(
        *('--source', str(picture_folder), '--transport', 'compressed', '--model', 'embedded'),
        *('--seconds', str(SECONDS), '--camera-rate', '20', '--rate', '4'),
        *('--param', 'heatmap.colormap:=viridis'),
    )
    assert (code, err) == (0, '')
    summary = demo.summary
    check_figures(summary)
    assert summary['picture_size'] == [160, 120]
    assert summary['transport'] == 'compressed'
    assert summary['frames']['throttled'] > 0  # the camera is faster than 4 Hz
    assert summary['output_rate_hz'] < 6
    assert 1 <= summary['ros_domain_id'] <= 100
    paths = sorted((demo.folder / 'pictures').iterdir())
    colours = set()
    for path in paths:
        with Image.open(path) as image:
            picture = np.asarray(image).astype(int)
        colours.add(int(picture[:100, :150].mean((0, 1)).argmax()))
        # Viridis goes from violet to yellow by way of green; red never leads but in its yellow.
        red, green, blue = picture[10:110, -150:].reshape(-1, 3).T
        assert (np.maximum(green, blue) >= red - 12).mean() > 0.95
    assert len(colours) >= 2


def test_one_still_picture_goes_on_giving_metres(ros, tmp_path):
    """Longer than a living camera might send the same picture."""
    world = furnished_world(2)
    pose = DrivenRobot(world, rig.ROBOT).motion.camera_pose(rig.ROBOT)
    rendering = world.render(rig.camera_model((320, 240)), pose)
    Image.fromarray(rendering.rgb).save(tmp_path / 'still.png')
    demo = Demo(tmp_path, ros.domain_id)
    closeness = ros.collect(Vector3Stamped, '/camera/closeness')
    depth = ros.collect(RosImage, '/camera/depth/image')
    given = {
        'camera_height': rig.ROBOT.camera_height_m,
        'camera_pitch': rig.ROBOT.camera_pitch_rad,
        'horizontal_fov': rig.HORIZONTAL_FOV_RAD,
        'depth.max': 100.0,
    }
    parameters = [word for name in given for word in ('--param', f'{name}:={given[name]}')]
    options = '--source', 'still.png', '--model', 'embedded', '--keep-going', '--seconds', '1'
    process = demo.start(*options, *parameters)
    try:
        ros.spin_until(lambda: lasted_s(closeness) > FROZEN_S and lasted_s(depth) > FROZEN_S, 90)
    finally:
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)
    assert not [each for each in closeness if np.isnan(each.vector.y)], output
    assert lasted_s(depth) > FROZEN_S
    assert demo.processes() == []


FROZEN_S = 3 * DepthNodeSettings().frozen_after


def lasted_s(messages: list) -> float:
    """From the first message to the last, by their stamps."""
    stamps = [each.header.stamp for each in (*messages[:1], *messages[-1:])]
    seconds = [stamp.sec + 1e-9 * stamp.nanosec for stamp in stamps]
    return seconds[-1] - seconds[0] if seconds else 0.0


def test_a_bad_source_is_told_by_its_own_message(demo):
    code, out, err = demo.run('--source', '/nowhere/holiday.mp4', '--model', 'embedded')
    assert code == 1
    reason = err.strip().splitlines()[-1]
    assert reason.startswith('demo: camera ended with exit code 1: ')
    assert '/nowhere/holiday.mp4' in reason
    assert 'Traceback' not in out + err
    assert not (demo.folder / 'summary.json').exists()


def test_a_node_that_cannot_start_is_told_with_its_log(demo, picture_folder):
    code, _, err = demo.run('--source', str(picture_folder), '--model', '/nowhere/weights.pt')
    assert code == 1
    assert '/nowhere/weights.pt' in err.strip().splitlines()[-1]
    assert str(demo.folder / 'logs' / 'depth_node.log') in err
    assert 'Traceback' not in err


def test_a_node_that_is_killed_meanwhile_is_told(demo, picture_folder, tmp_path):
    # A profile of the user's is not replaced. This one is small: a killed process leaves its
    # shared memory behind.
    profile = tmp_path / 'profile.xml'
    profile.write_text(
        processes.PROFILE.read_text().replace(str(processes.SEGMENT_BYTES), '131072')
    )
    demo.environment[processes._profile_variable()] = str(profile)
    source = '--source', str(picture_folder)
    process = demo.start(*source, '--seconds', '60', '--model', 'embedded')
    try:
        log = demo.folder / 'logs' / 'depth_node.log'
        wait_for(lambda: log.exists() and 'waiting for images' in log.read_text('utf-8'))
        (node,) = demo.processes('nodes.depth.node')
        os.kill(node, signal.SIGKILL)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert 'depth_node was ended by SIGKILL' in err.strip().splitlines()[-1]
    assert not list((demo.folder / 'logs').glob('*.xml'))


def test_ended_early_it_reports_what_it_has(demo):
    process = demo.start('--seconds', '60', '--model', 'embedded', '--camera-rate', '4')
    try:
        for line in process.stdout:
            if line.startswith('Recording'):
                break
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (128 + signal.SIGINT, '')
    assert demo.summary['ended_by'] == 'SIGINT'
    assert demo.summary['seconds'] < 60
    assert (demo.folder / 'contact_sheet.png').exists()
    assert 'Results:' in out


def test_a_node_that_hears_another_camera_is_given_up(demo, picture_folder):
    code, _, err = demo.run(
        *('--source', str(picture_folder)),
        *('--model', 'embedded', '--timeout', '3', '--param', "cameras:=['attic']"),
        *('--camera-rate', '1'),
    )
    assert code == 1
    reason = err.strip().splitlines()[-1]
    assert 'no heatmap within 3 s' in reason
    assert 'no images on /attic/image_raw' in reason


def test_a_wrong_parameter_is_told(demo, picture_folder):
    code, _, err = demo.run(
        '--source', str(picture_folder), '--model', 'embedded', '--param', 'jpeg_quality:=500'
    )
    assert code == 1
    assert 'jpeg_quality' in err.strip().splitlines()[-1]


def test_a_folder_of_others_is_refused_before_anything_starts(demo):
    demo.folder.mkdir()
    (demo.folder / 'thesis.txt').touch()
    code, out, err = demo.run()
    assert code == 1
    assert str(demo.folder) in err
    assert out == ''
    assert [path.name for path in demo.folder.iterdir()] == ['thesis.txt']
