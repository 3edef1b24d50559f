"""The console scripts as processes: installed by colcon, stopped by signals, refused clearly."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from weights_server import serving

from midas_depth_ros.depth.models import midas_small
from midas_depth_ros.nodes.ros.messages import image_message

ROOT = Path(__file__).resolve().parents[2]
DEPTH_NODE = [sys.executable, '-m', 'midas_depth_ros.nodes.depth.node']
EMBEDDED = ['--ros-args', '-p', 'model:=embedded']


@contextlib.contextmanager
def process(command, ros, **options):
    """A process in the test's ROS domain; killed at the end if it still runs."""
    options.setdefault('env', ros.environment)
    with subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def wait_active(ros) -> None:
    def active():
        # Right after discovery an answer can get lost: ask again.
        with contextlib.suppress(AssertionError):
            answer = ros.call(GetState, 'depth_node/get_state', GetState.Request(), timeout=2)
            return answer.current_state.id == State.PRIMARY_STATE_ACTIVE
        return False

    ros.spin_until(active, timeout=60, what='an active depth_node')


def feed(ros, received: list, count: int) -> None:
    """Publish images until `count` messages came back."""
    publisher = ros.publisher(Image, 'camera/image_raw')
    picture = np.full((48, 64, 3), 128, np.uint8)
    for number in range(500):
        header = Header(frame_id='camera_optical_frame')
        header.stamp.sec = 100 + number
        publisher.publish(image_message(picture, header))
        ros.spin_for(0.05)
        if len(received) >= count:
            return
    raise AssertionError(f'{len(received)} of {count} messages came back')


@pytest.mark.sampled
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_working_node_cleanly(ros, number):
    with process([*DEPTH_NODE, *EMBEDDED], ros) as node:
        wait_active(ros)
        out = ros.collect(Image, 'camera/relative_inverse_depth/image')
        feed(ros, out, 3)
        node.send_signal(number)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text
    assert 'Traceback' not in text
    assert 'terminate called' not in text


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        (['model:=/nowhere/weights.pt'], ['/nowhere/weights.pt']),
        (['model:=giant'], ['giant', 'midas_small', 'embedded']),
        (['max_rate:=-3'], ['max_rate', '-3']),
        (['transport:=telepathy'], ['telepathy', 'raw', 'compressed']),
        (['num_threads:=many'], ['num_threads', 'many']),
        (['max_rate:=often'], ['max_rate', 'often']),
        (["cameras:=['front', 'front']"], ['front', 'twice']),
        (
            ['model:=embedded', 'qos_overrides./camera/closeness.publisher.reliability:=hopeful'],
            ['camera/closeness', 'hopeful'],
        ),
        (
            ['model:=embedded', 'qos_overrides./camera/image_raw.subscription.history:=some'],
            ['camera/image_raw', 'some'],
        ),
    ],
)
def test_a_node_that_cannot_start_says_why_and_fails(ros, parameters, words):
    arguments = [word for parameter in parameters for word in ('-p', parameter)]
    with process([*DEPTH_NODE, '--ros-args', *arguments], ros) as node:
        text, _ = node.communicate(timeout=60)
    assert node.returncode == 1, text
    assert 'Traceback' not in text
    for word in words:
        assert word in text


@pytest.fixture
def without_weights(ros, tmp_path):
    """An environment with no weights on disk, and nobody to fetch them from."""
    return {
        **ros.environment,
        'XDG_CACHE_HOME': str(tmp_path / 'cache'),
        'TORCH_HOME': str(tmp_path / 'torch'),
        'MIDAS_DEPTH_WEIGHTS_DIR': '',
        'MIDAS_DEPTH_WEIGHTS_URL': 'http://127.0.0.1:9/weights.pt',
    }


def test_missing_weights_end_a_node_that_was_told_to_use_them(ros, without_weights):
    command = [*DEPTH_NODE, '--ros-args', '-p', 'model:=midas_small']
    with process(command, ros, env=without_weights) as node:
        text, _ = node.communicate(timeout=60)
    assert node.returncode == 1, text
    assert 'Traceback' not in text
    assert midas_small.SPEC.weights.url in text
    assert midas_small.SPEC.weights.sha256 in text
    assert str(Path(without_weights['XDG_CACHE_HOME'])) in text


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('rubbish', ['weights.pt', 'cannot be read', 'copy the file again']),
        ('another model', ['weights.pt', 'no entry of a known network', 'encoder.weight']),
    ],
)
def test_a_wrong_weights_file_ends_the_node_with_its_name(ros, tmp_path, content, words):
    torch = pytest.importorskip('torch', reason='a real state dict needs torch')
    path = tmp_path / 'weights.pt'
    if content == 'rubbish':
        path.write_bytes(b'not a checkpoint' * 1000)
    else:
        torch.save({'encoder.weight': torch.zeros(3)}, path)
    with process([*DEPTH_NODE, '--ros-args', '-p', f'model:={path}'], ros) as node:
        text, _ = node.communicate(timeout=60)
    assert node.returncode == 1, text
    assert 'Traceback' not in text
    for word in words:
        assert word in text


def test_a_corrupt_download_is_not_used(ros, without_weights):
    with serving(b'<html>not what you want</html>') as server:
        without_weights['MIDAS_DEPTH_WEIGHTS_URL'] = server.url
        command = [*DEPTH_NODE, '--ros-args', '-p', 'model:=midas_small']
        with process(command, ros, env=without_weights) as node:
            text, _ = node.communicate(timeout=60)
    assert node.returncode == 1, text
    assert midas_small.SPEC.weights.sha256 in text
    cache = Path(without_weights['XDG_CACHE_HOME'])
    assert not list(cache.rglob('*.pt'))


def test_auto_falls_back_and_says_so(ros, without_weights):
    with process(DEPTH_NODE, ros, env=without_weights) as node:
        wait_active(ros)
        arrays = ros.collect(DiagnosticArray, '/diagnostics')
        status = ros.spin_until(lambda: arrays and arrays[-1].status[0])
        assert status.level == DiagnosticStatus.WARN
        assert 'MiDaS_small is not available' in status.message
        assert "Running 'embedded' instead" in status.message
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text
    assert '[WARN]' in text
    assert "Running 'embedded' instead" in text


def test_a_signal_ends_a_node_that_waits_for_a_stalled_download(ros, without_weights):
    with socket.create_server(('127.0.0.1', 0)) as silent:
        without_weights['MIDAS_DEPTH_WEIGHTS_URL'] = f'http://127.0.0.1:{silent.getsockname()[1]}/'
        with process(DEPTH_NODE, ros, env=without_weights) as node:
            connection, _ = silent.accept()
            with connection:
                node.send_signal(signal.SIGINT)
                text, _ = node.communicate(timeout=15)  # far below the download's own patience
    assert node.returncode == 0, text
    assert 'Traceback' not in text


def test_the_node_installed_by_colcon_runs_with_the_shipped_parameters(ros, workspace):
    environment = {**workspace.environment, 'ROS_DOMAIN_ID': str(ros.domain_id)}
    command = [workspace.executable('depth_node'), *EMBEDDED]
    command += ['--params-file', workspace.share('config', 'midas_depth.yaml')]
    with process(command, ros, env=environment, cwd='/') as node:
        wait_active(ros)
        out = ros.collect(Image, 'camera/relative_inverse_depth/image')
        feed(ros, out, 1)
        assert out[0].encoding == '32FC1'
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text


def test_what_colcon_installs(workspace):
    nodes = ('avoidance_node', 'dashboard', 'depth_node', 'image_stream', 'synthetic_camera')
    for name in (*nodes, 'obstacle_distance_node', 'midas_depth'):
        assert workspace.executable(name).exists(), name
    for folder in ('launch', 'config'):
        shipped = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert shipped <= {path.name for path in workspace.share(folder).iterdir()}
    assert workspace.share('config', 'fastdds_large_pictures.xml').exists()
    assert workspace.share('package.xml').exists()
    site = next(
        workspace.install.glob('midas_depth_ros/lib/python3*/site-packages/midas_depth_ros')
    )
    page = ROOT / 'midas_depth_ros' / 'web' / 'static'
    for path in page.rglob('*'):
        assert (site / 'web' / 'static' / path.relative_to(page)).exists(), path
    index = workspace.install / 'midas_depth_ros/share/ament_index/resource_index/packages'
    assert (index / 'midas_depth_ros').exists()
