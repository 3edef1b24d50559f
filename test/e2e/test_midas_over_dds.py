"""The real network in the real node: its answer over DDS equals the reference implementation's.

Golden weights stand for the official ones: the same loading, tracing and inference, with figures
computed by the reference.
"""

from __future__ import annotations

import signal
import sys

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from driving import DEPTH, header, values
from sensor_msgs.msg import Image

from midas_depth_ros.nodes.ros.messages import image_message

from .test_processes import process, wait_active


def test_the_node_gives_the_reference_depth_of_a_room(
    ros, golden_weights_file, golden_dir, shared_data
):
    picture = shared_data.parent / 'golden' / 'room.png'
    if not picture.is_file():
        pytest.skip(f'no {picture}: the picture may not be redistributed')
    rgb = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
    expected = np.load(golden_dir / 'midas_small_pipeline.npz')['relative_inverse_depth_every_4']
    pytest.importorskip('openvino', reason='without it auto takes another backend')
    command = [sys.executable, '-m', 'midas_depth_ros.nodes.depth.node', '--ros-args']
    command += ['-p', f'model:={golden_weights_file}', '-p', 'num_threads:=1']
    with process(command, ros) as node:
        wait_active(ros)
        out = ros.collect(Image, DEPTH)
        diagnostics = ros.collect(DiagnosticArray, '/diagnostics')
        publisher = ros.publisher(Image, 'camera/image_raw')
        ros.spin_until(lambda: diagnostics)
        for second in range(100, 160):
            publisher.publish(image_message(rgb, header(second)))
            ros.spin_for(0.2)
            if out:
                break
        depth = values(out[0])
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text
    assert depth.shape == rgb.shape[:2]
    difference = np.abs(depth[::4, ::4] - np.clip(expected, 0, None)).max()
    assert difference < 1e-3 * expected.max()
    pairs = {pair.key: pair.value for pair in diagnostics[-1].status[0].values}
    assert pairs['model'] == golden_weights_file.name
    assert pairs['backend'] == 'openvino'
    assert pairs['inference threads'] == '1'
