"""How the real nodes end: volleys of signals at every moment, and work that hangs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from driving import change, image, state
from effort import THOROUGH
from geometry_msgs.msg import Twist
from lifecycle_msgs.msg import State, Transition
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage, Image, LaserScan

from midas_depth_ros.lab.processes import module_command

from .test_processes import process, wait_active

MODULES = {
    'depth_node': 'nodes.depth.node',
    'avoidance_node': 'nodes.avoidance_node',
    'image_stream': 'nodes.sources.image_stream',
    'obstacle_distance_node': 'nodes.obstacle_distance_node',
    'synthetic_camera': 'nodes.sources.synthetic_camera',
    'commander_node': 'lab.drive.over_dds commander',
}
NODES = tuple(MODULES)
CORE = NODES[:2]  # the others end by the same code: fewer will do
VOLLEYS = (
    (signal.SIGINT, signal.SIGTERM),
    (signal.SIGTERM, signal.SIGINT),
    (signal.SIGHUP,),
    (signal.SIGTERM,) * 100,
)


def command(name: str, folder) -> list[str]:
    words = [*module_command(*MODULES[name].split()), '--ros-args']
    if name == 'depth_node':
        words += ['-p', 'model:=embedded', '-p', 'max_rate:=0.0']
    if name == 'image_stream':
        path = folder / 'one.png'
        Picture.new('RGB', (64, 48), (10, 200, 30)).save(path)
        words += ['-p', f'source:={path}', '-p', 'loop:=true', '-p', 'camera:=streamed']
    if name == 'synthetic_camera':
        words += ['-p', 'scene:=robot', '-p', 'camera:=rendered', '-p', 'width:=64']
    return words


class Traffic:
    """Everything that keeps a node busy, from a thread of its own."""

    def __init__(self, ros) -> None:
        node = ros.node
        self._images = node.create_publisher(Image, 'camera/image_raw', 1)
        self._scans = node.create_publisher(LaserScan, 'scan', 1)
        self._commands = node.create_publisher(Twist, 'cmd_vel_in', 1)
        for kind, topic in (
            (Image, 'camera/relative_inverse_depth/image'),
            (CompressedImage, 'camera/heatmap/image/compressed'),
            (Image, 'streamed/image_raw'),
            (Image, 'rendered/image_raw'),
        ):
            node.create_subscription(kind, topic, lambda message: None, 1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *what) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(1 / 30):
            self._images.publish(image(time.time(), height=240, width=320))
            self._scans.publish(LaserScan(angle_increment=0.1, range_max=9.0, ranges=[5.0] * 30))
            self._commands.publish(Twist())


@pytest.mark.sampled
@pytest.mark.parametrize('name', NODES)
def test_volleys_of_signals_end_a_busy_node_cleanly(ros, name, tmp_path):
    """While it starts, as soon as it is there, and at work; each in a process of its own."""
    volleys = VOLLEYS if name in CORE and THOROUGH else VOLLEYS[::3]
    with Traffic(ros):
        for wait_s in (0.0, 0.4, 1.5) if name in CORE else (0.0, 1.5):
            for numbers in volleys:
                with process(command(name, tmp_path), ros) as node:
                    ros.spin_until(lambda pid=node.pid: catches(pid), 60, 'its handlers')
                    time.sleep(wait_s)
                    for number in numbers:
                        os.kill(node.pid, number)
                    text, _ = node.communicate(timeout=30)
                ending = (node.returncode, wait_s, numbers[:2], text)
                assert node.returncode == 0, ending
                for word in ('Traceback', 'terminate called', 'FATAL', 'Exception ignored'):
                    assert word not in text, ending


def catches(pid: int) -> bool:
    """Whether a process handles SIGTERM itself by now."""
    with open(f'/proc/{pid}/status') as status:
        caught = next(line for line in status if line.startswith('SigCgt'))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


HANGING_NODE = """
import ctypes, sys, threading
sys.path.insert(0, {support!r})
from fakes import BrightnessEstimator
from midas_depth_ros.nodes.depth import reporting
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.spinning import run_node

NATIVE = ctypes.CDLL(None)
reporting.STUCK_S = 3.0

class Hanging(BrightnessEstimator):
    def infer(self, rgb):
        print('hanging', flush=True)
        {how}

sys.exit(run_node(lambda: DepthNode(lambda settings: Hanging())))
"""
HOW = {'native code': 'NATIVE.sleep(1000)', 'a lock': 'threading.Semaphore(0).acquire()'}


def hanging(ros, how: str, *parameters: str) -> list[str]:
    support = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'support')
    program = HANGING_NODE.format(support=support, how=HOW[how])
    words = [word for parameter in parameters for word in ('-p', parameter)]
    return [sys.executable, '-c', program, '--ros-args', *words]


def hang(ros, node) -> None:
    """Send pictures until one of them hangs."""
    wait_active(ros)
    ros.collect(Image, 'camera/relative_inverse_depth/image')
    publisher = ros.publisher(Image, 'camera/image_raw')
    ros.spin_for(0.2)
    for number in range(30):  # more than the queue of a replay holds
        publisher.publish(image(100 + number))
    for line in node.stdout:
        if 'hanging' in line:
            return
    raise AssertionError('it never hung')


@pytest.mark.sampled
@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('replay', ['false', 'true'])
def test_inference_that_hangs_does_not_keep_the_process(ros, how, replay):
    with process(hanging(ros, how, f'process_every_frame:={replay}'), ros) as node:
        hang(ros, node)
        # Nobody is held up meanwhile: the executor answers, and diagnostics come.
        assert state(ros) == State.PRIMARY_STATE_ACTIVE
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=40)
    assert node.returncode == 1, text
    assert 'the inference thread hangs in a frame' in text
    assert '[FATAL]' in text
    assert 'Traceback' not in text


@pytest.mark.thorough
def test_deactivate_answers_while_inference_hangs_and_the_node_says_so(ros):
    with process(hanging(ros, 'native code', 'diagnostics_rate:=5.0'), ros) as node:
        hang(ros, node)
        assert not change(ros, Transition.TRANSITION_DEACTIVATE)
        assert state(ros) == State.PRIMARY_STATE_ACTIVE
        arrays = ros.collect(DiagnosticArray, '/diagnostics')

        def stuck() -> bool:
            statuses = [status for array in list(arrays) for status in array.status]
            errors = [each.message for each in statuses if each.level == DiagnosticStatus.ERROR]
            return any('still processing one frame' in message for message in errors)

        ros.spin_until(stuck, 30, 'diagnostics of what hangs')
        node.send_signal(signal.SIGTERM)
        text, _ = node.communicate(timeout=40)
    assert node.returncode == 1, text


@pytest.mark.thorough
def test_two_interrupts_of_a_stop_that_hangs_are_not_more_than_one(ros):
    """A terminal and ros2 launch both send one, and then a SIGTERM."""
    with process(hanging(ros, 'native code'), ros) as node:
        hang(ros, node)
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            node.send_signal(number)
        text, _ = node.communicate(timeout=40)
    assert node.returncode == 1, text
    assert text.count('[FATAL]') == 2, text  # what hangs, and that the process ends therefore
