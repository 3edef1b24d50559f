"""Hundreds of broken messages over real DDS against one living node, which must go on working."""

from __future__ import annotations

import signal
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import HealthCheck, Phase, given, settings
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from midas_depth_ros.nodes.messages import image_message, jpeg_message

from ..images.strategies import compressed_fields, image_fields
from .test_processes import process, wait_active

CASES = 500
MOST_MEMORY_MB = 400  # more than the node needs; less than one unchecked size would take
PICTURE = np.full((48, 64, 3), 128, np.uint8)


def header(seconds: int) -> Header:
    message = Header(frame_id='camera_optical_frame')
    message.stamp.sec = seconds
    return message


def cases(strategy) -> list[dict]:
    """The first CASES examples of a strategy, the same ones every time."""
    found: list[dict] = []

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def gather(fields):
        found.append(fields)

    gather()
    return found


def peak_memory_mb(pid: int) -> float:
    status = Path(f'/proc/{pid}/status').read_text()
    line = next(line for line in status.splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize(
    ('transport', 'kind', 'strategy', 'good'),
    [
        ('raw', Image, image_fields(), image_message(PICTURE, header(5000))),
        (
            'compressed',
            CompressedImage,
            compressed_fields(),
            jpeg_message(PICTURE, header(5000), 90),
        ),
    ],
)
def test_broken_messages_do_not_end_the_node(ros, transport, kind, strategy, good):
    command = [sys.executable, '-m', 'midas_depth_ros.nodes.depth_node', '--ros-args']
    # Every frame: reliable and without skipping, so that each case really arrives.
    parameters = ['model:=embedded', 'process_every_frame:=true', f'transport:={transport}']
    parameters += ['max_pixels:=1000000']
    command += [word for parameter in parameters for word in ('-p', parameter)]
    topic = 'camera/image_raw' + ('/compressed' if transport == 'compressed' else '')
    with process(command, ros) as node:
        wait_active(ros)
        out = ros.collect(Image, 'camera/relative_inverse_depth/image')
        diagnostics = ros.collect(DiagnosticArray, '/diagnostics')
        publisher = ros.publisher(kind, topic)
        ros.spin_until(lambda: publisher.get_subscription_count() and out is not None)
        sent = cases(strategy)
        for number, fields in enumerate(sent):
            data = array('B', fields.pop('data'))
            publisher.publish(kind(header=header(number), data=data, **fields))
        publisher.publish(good)

        def counts() -> dict[str, int]:
            pairs = diagnostics[-1].status[-1].values if diagnostics else []
            return {p.key: int(p.value) for p in pairs if p.key.startswith('frames ')}

        ros.spin_until(lambda: counts().get('frames received') == len(sent) + 1, 60, 'all messages')
        ros.spin_until(lambda: out and out[-1].header.stamp.sec == 5000, 60, 'the good frame')
        ended = counts()
        assert len(sent) == CASES
        assert ended['frames rejected'] > CASES / 4
        assert ended['frames failed'] == 0
        assert peak_memory_mb(node.pid) < MOST_MEMORY_MB
        assert (out[-1].height, out[-1].width) == PICTURE.shape[:2]
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text
    assert 'Traceback' not in text
