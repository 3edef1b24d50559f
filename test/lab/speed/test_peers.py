"""Other people's nodes are measured from outside, whatever they leave out of their messages."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from ros_helpers import ros  # noqa: F401

from benchmarks import peers
from benchmarks.peers import HERE, WARM_UP_FRAMES, Peer, listed_peers, measure, table

DELAY_S = 0.05
NODE = f"""
import sys, time
import rclpy
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

images, depth, how = sys.argv[1:4]
kind = CompressedImage if how == 'compressed' else Image

class Peer(LifecycleNode if how == 'lifecycle' else Node):
    def __init__(self):
        super().__init__('slow_peer')
        self.depth = self.create_publisher(Image, depth, 1)
        if how != 'lifecycle':
            self.create_subscription(kind, images, self.on_image, 10)

    def on_configure(self, state):
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state):
        self.create_subscription(Image, images, self.on_image, 10)
        return super().on_activate(state)

    def on_image(self, message):
        time.sleep({DELAY_S})
        answer = Image(height=1, width=1, encoding='mono8', step=1, data=[0])
        if how != 'no stamp':
            answer.header = message.header
        self.depth.publish(answer)

rclpy.init()
rclpy.spin(Peer())
"""

TIRED = f"""
node = Peer()
for _ in range({WARM_UP_FRAMES + 2}):
    rclpy.spin_once(node)
time.sleep(60)
"""


def peer(script: Path, how: str) -> Peer:
    images, depth = f'/{how.replace(" ", "_")}/in', f'/{how.replace(" ", "_")}/out'
    command = shlex.join([sys.executable, str(script), images, depth, how])
    lifecycle = '/slow_peer' if how == 'lifecycle' else ''
    rest = {'compressed': how == 'compressed', 'lifecycle': lifecycle}
    return Peer(how, 'midas_small', '', 'torch f32', f'exec {command}', images, depth, **rest)


def test_nodes_of_any_kind_are_measured(ros, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    monkeypatch.setattr(peers, 'RESEND_S', 1.0)
    script = tmp_path / 'slow_peer.py'
    script.write_text(NODE)
    kinds = ('stamp', 'no stamp', 'compressed', 'lifecycle')
    rows = measure([peer(script, how) for how in kinds], {}, seconds=1.0)
    assert [row['name'] for row in rows] == list(kinds)
    for row in rows:
        assert row['median_ms'] >= 1e3 * DELAY_S
        assert 0 < row['cpu_ms'] < 1e3 * DELAY_S < row['p95_ms']  # it sleeps, mostly
        assert row['rss_mb'] > 10
        assert row['frames'] == rows[0]['frames'] >= 1
        assert row['kept_stamps'] is (row['name'] != 'no stamp')


def test_a_node_that_ends_is_named_with_its_last_words(ros, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    script = tmp_path / 'broken_peer.py'
    script.write_text('raise SystemExit("no CUDA | no depth")')
    (row,) = measure([peer(script, 'stamp')], {}, seconds=1.0)
    assert row['absent'] == 'peer_0 ended with exit code 1: no CUDA | no depth'


def test_a_node_that_falls_silent_does_not_end_the_run(ros, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros.domain_id))
    monkeypatch.setattr(peers, 'RESEND_S', 1.0)
    monkeypatch.setattr(peers, 'FRAME_TIMEOUT_S', 1.0)
    script, tired = tmp_path / 'slow_peer.py', tmp_path / 'tired_peer.py'
    script.write_text(NODE)
    tired.write_text(NODE.replace('rclpy.spin(Peer())', TIRED))
    rows = measure([peer(tired, 'no stamp'), peer(script, 'stamp')], {}, seconds=3.0)
    assert rows[0]['absent'] == 'no stamp: no depth for a picture'
    assert rows[1]['frames'] >= 2


def row(name: str, runs: str, cpu_ms: float) -> dict:
    figures = {'median_ms': 90.0, 'p95_ms': 99.0, 'rss_mb': 300.0, 'start_s': 2.0}
    network = {'network': 'midas_small', 'input': '256x192', 'kept_stamps': True}
    return {'name': name, 'runs': runs, 'cpu_ms': cpu_ms, **network, **figures}


def test_cpu_time_is_compared_with_ours_in_f32():
    rows = [
        row('theirs', 'torch f32', 150.0),
        row('midas_depth_ros', 'openvino bf16', 60.0),
        row('midas_depth_ros', 'openvino f32', 100.0),
        {**row('midas_depth_ros', 'openvino bf16', 20.0), 'input': '64x64'},
        {'name': 'broken', 'network': 'x', 'input': '', 'runs': '', 'absent': 'no CUDA | no depth'},
    ]
    facts = {'cpu': 'C', 'cores': 2, 'threads': 1, 'python': '3', 'versions': {}, 'rows': rows}
    facts['load_average'] = [0.1, 1.0]
    lines = table(facts).splitlines()[-5:]
    assert [line.split(' | ')[7] for line in lines[:4]] == ['1.5', '0.6', '1.0', '']
    assert 'others worked' not in table(facts)
    assert 'others worked, too' in table({**facts, 'load_average': [0.1, 12.0]})
    assert r'did not run: no CUDA \| no depth' in lines[4]


def test_the_peers_that_are_listed_get_topics_of_their_own():
    found = listed_peers(HERE / 'peers.yaml', Path('/some where'))
    assert len({one.depth for one in found}) == len(found) >= 4
    for one in found:
        assert '{' not in one.command
        assert one.command.startswith("cd '/some where'; ")
        assert one.images in one.command or one.compressed  # the one without parameters
