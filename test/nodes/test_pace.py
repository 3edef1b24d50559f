"""Models that are slower than max_rate, and pictures of new sizes: told, never in silence."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from driving import change, diagnostics, image, read, set_parameter
from fakes import BrightnessEstimator
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image

from midas_depth_ros.nodes.depth.frame_statistics import RECENT, CameraStatistics
from midas_depth_ros.nodes.depth.status import Pace

LIMIT = 'Lower max_rate or network_size, or choose a faster model'


class SlowEstimator(BrightnessEstimator):
    """Takes `seconds` for a picture, and `first_s` for the first one of each size."""

    def __init__(self, seconds: float = 0.12, first_s: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.first_s = seconds, first_s
        self._sizes: set[tuple[int, ...]] = set()

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        new = rgb.shape not in self._sizes
        self._sizes.add(rgb.shape)
        time.sleep(self.first_s if new and self.first_s else self.seconds)
        return super().infer(rgb)


@pytest.fixture
def estimator():
    return SlowEstimator()


# From plain numbers.


@pytest.mark.parametrize(
    ('pace', 'fault'),
    [
        (Pace(150, 1, 5.0, (256, 192)), ''),
        (Pace(200, 1, 5.0, (256, 192)), ''),
        (Pace(4000, 1, 0.0, (256, 192)), ''),  # as fast as it can
        (
            Pace(320, 1, 5.0, (686, 518)),
            'a frame takes 320 ms with a network input of 686x518, but max_rate 5 leaves 200 ms: '
            f'3.1 Hz are possible. {LIMIT}',
        ),
        (
            Pace(300, 2, 5.0, (256, 192)),
            'the frames of 2 cameras take 300 ms with a network input of 256x192, but max_rate 5 '
            f'leaves 200 ms: 3.3 Hz are possible. {LIMIT}',
        ),
    ],
)
def test_a_model_that_is_too_slow_for_max_rate_is_called_so(pace: Pace, fault: str) -> None:
    assert pace.fault == fault


def test_the_first_frame_of_a_size_counts_apart_and_old_sizes_not_at_all() -> None:
    statistics = CameraStatistics()
    assert statistics.work_ms() is None
    assert statistics.worked(2.0, (64, 48))
    for _ in range(3):
        assert statistics.work_ms() is None
        assert not statistics.worked(0.1, (64, 48))
    assert statistics.work_ms() == pytest.approx(100)
    assert statistics.first_work_s == 2.0
    for _ in range(RECENT):
        statistics.worked(0.3, (64, 48))
    assert statistics.work_ms() == pytest.approx(300)  # what was before is forgotten
    assert statistics.worked(1.0, (48, 64))
    assert statistics.work_ms() is None
    assert (statistics.network_size, statistics.first_work_s) == ((48, 64), 1.0)


# Over DDS.


def feed(ros, publishers, seconds: float, **picture) -> None:
    """Publish pictures of now at 20 Hz."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for publisher in publishers:
            publisher.publish(image(time.time(), **picture))
        ros.spin_for(0.05)


def lines_with(lines: list[str], text: str) -> list[str]:
    return [line for line in lines if text in line]


def test_a_slow_model_is_told_with_the_rate_that_is_possible(ros, start, log_lines) -> None:
    start(max_rate=20.0)
    ros.collect(Image, 'camera/heatmap/image')
    camera = ros.publisher(Image, 'camera/image_raw')
    feed(ros, [camera], 2.0)
    status = diagnostics(
        ros, 'camera camera', lambda s: 'Hz are possible' in s.message or feed(ros, [camera], 0.3)
    )
    assert status.level == DiagnosticStatus.WARN
    assert 'with a network input of 32x24, but max_rate 20 leaves 50 ms' in status.message
    figures = read(status)
    assert 0.5 < float(figures['possible rate [Hz]']) <= 1 / 0.12
    assert figures['network size'] == '32x24'
    assert float(figures['whole frame median [ms]']) >= 120
    assert float(figures['first frame at this network size [ms]']) >= 120
    feed(ros, [camera], 1.0)
    told = lines_with(log_lines(), 'Hz are possible')
    assert len(told) == 1, 'once, however many frames and diagnostics there were'
    assert 'WARN' in told[0]
    # A rate that it can keep up with is no fault.
    assert set_parameter(ros, 'max_rate', 0.5)[0]
    feed(ros, [camera], 1.0)
    status = diagnostics(ros, 'camera camera', lambda s: 'possible' not in s.message)
    assert float(read(status)['possible rate [Hz]']) > 0.5
    # Another model is judged anew, not sooner than ten seconds after the last warning.
    for step in ('DEACTIVATE', 'CLEANUP', 'CONFIGURE', 'ACTIVATE'):
        assert change(ros, getattr(Transition, f'TRANSITION_{step}'))
    assert set_parameter(ros, 'max_rate', 20.0)[0]
    end = time.monotonic() + 30
    while len(told) < 2 and time.monotonic() < end:
        feed(ros, [camera], 0.5)
        told = lines_with(log_lines(), 'Hz are possible')
    assert len(told) == 2


@pytest.mark.parametrize('parameters', [{'max_rate': 0.0}, {'process_every_frame': True}])
def test_without_a_limit_no_model_is_too_slow(ros, start, log_lines, parameters) -> None:
    start(**parameters)
    ros.collect(Image, 'camera/heatmap/image')
    camera = ros.publisher(Image, 'camera/image_raw')
    feed(ros, [camera], 2.0)
    status = diagnostics(
        ros, 'camera camera', lambda s: read(s)['possible rate [Hz]'] or feed(ros, [camera], 0.3)
    )
    assert status.level == DiagnosticStatus.OK
    assert not lines_with(log_lines(), 'Hz are possible')


def test_two_cameras_share_what_is_possible(ros, start) -> None:
    start(cameras=['left', 'right'], max_rate=20.0)
    cameras = []
    for name in ('left', 'right'):
        ros.collect(Image, f'{name}/heatmap/image')
        cameras.append(ros.publisher(Image, f'{name}/image_raw'))
    feed(ros, cameras, 2.0)
    for name in ('left', 'right'):
        status = diagnostics(
            ros,
            f'camera {name}',
            lambda s: 'the frames of 2 cameras take' in s.message or feed(ros, cameras, 0.3),
        )
        assert float(read(status)['possible rate [Hz]']) <= 1 / 0.24


def test_a_new_size_of_one_camera_is_told_and_what_the_other_loses_is_counted(
    ros, start, estimator, log_lines
) -> None:
    """A network may have to be prepared for a size: seconds, in which the others wait."""
    estimator.seconds, estimator.first_s = 0.0, 1.5
    start(cameras=['left', 'right'], max_rate=0.0)
    received = {name: ros.collect(Image, f'{name}/heatmap/image') for name in ('left', 'right')}
    left, right = (ros.publisher(Image, f'{name}/image_raw') for name in received)
    feed(ros, [left, right], 2.0)
    ros.spin_until(lambda: all(received.values()), what='heatmaps of both')
    before = len(received['right'])
    left.publish(image(time.time(), height=80, width=40))
    feed(ros, [right], 1.2)
    feed(ros, [right], 2.0)
    assert len(received['right']) > before, 'it goes on'
    told = lines_with(log_lines(), 'become network inputs of')
    assert len(told) == 2
    assert 'left: pictures of 40x80 become network inputs of 20x40; the first took 1.5' in told[1]
    assert 'while other cameras waited' in told[1]
    status = diagnostics(ros, 'camera right', lambda s: float(read(s)['frames dropped']) > 10)
    counts = read(status)
    ended = (counts[f'frames {end}'] for end in ('processed', 'dropped', 'throttled', 'unwanted'))
    assert abs(int(counts['frames received']) - sum(map(int, ended))) <= 1  # one may wait
    status = diagnostics(ros, 'camera left', lambda s: read(s)['network size'] == '20x40')
    assert float(read(status)['first frame at this network size [ms]']) >= 1500


def test_a_camera_of_ever_new_sizes_does_not_fill_the_log(ros, start, estimator, log_lines) -> None:
    estimator.seconds = 0.0
    start(max_rate=0.0)
    received = ros.collect(Image, 'camera/heatmap/image')
    camera = ros.publisher(Image, 'camera/image_raw')
    for width in itertools.count(20, 2):
        camera.publish(image(time.time(), height=20, width=width))
        ros.spin_for(0.03)
        if len(received) > 40:
            break
    assert len(lines_with(log_lines(), 'become network inputs of')) == 20
