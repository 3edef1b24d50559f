"""`python -m benchmarks.node profile`: what it times is there, and counts once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

pytest.importorskip('rclpy')

from benchmarks import node

ROOT = Path(__file__).resolve().parents[3]
PROFILE = """
import json, sys
from pathlib import Path
from benchmarks import node
print(json.dumps(node.per_frame('metric', Path(sys.argv[1]), seconds=2.0)))
"""


def test_a_frame_with_metres_goes_through_every_step(tmp_path):
    # In a process of its own: Fast DDS reads its profile for large images once, so where another
    # test has made a context before, they would not go through shared memory, and be lost.
    command = [sys.executable, '-c', PROFILE, str(tmp_path / 'metric')]
    environment = {name: value for name, value in os.environ.items() if name != 'ROS_DOMAIN_ID'}
    environment['PYTHONPATH'] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert ran.returncode == 0, ran.stderr
    threads, steps = json.loads(ran.stdout)
    names = {step for _, _, step in node.STEPS} - {node.NETWORK}
    assert set(steps) == names
    assert min(steps.values()) > 0
    assert threads[node.INFERENCE] > 0


def test_a_step_within_another_does_not_count_for_it(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(node.time, 'thread_time', lambda: now_s[0])

    def work(seconds):
        now_s[0] += seconds

    frame = SimpleNamespace(inner=lambda: work(0.02))
    frame.whole = lambda: (work(0.005), frame.inner(), frame.inner())
    clock = node.Clock()
    clock.watch(frame, 'whole', node.WHOLE)
    clock.watch(frame, 'inner', 'scan')
    frame.inner()  # not in a frame
    for _ in range(node.WARM_UP_FRAMES + 2):
        frame.whole()
    found = clock.per_frame_ms()
    assert list(found) == ['scan', node.WHOLE]
    assert found == pytest.approx({'scan': 40.0, node.WHOLE: 5.0})


@pytest.mark.parametrize('lost', [1, 3])
def test_lost_pictures_are_not_counted_and_end_nothing(monkeypatch, lost):
    now_s, sent = [0.0], []
    monkeypatch.setattr(node.time, 'monotonic', lambda: now_s[0])
    monkeypatch.setattr(node.time, 'sleep', lambda seconds: None)

    def latency_ms(camera, patience_s):
        sent.append(camera)
        now_s[0] += patience_s
        if len(sent) <= lost:
            raise node.BenchError('it was lost')

    feeder = SimpleNamespace(latency_ms=latency_ms)
    assert node.frames_for(feeder, 5 * node.LOST_S) == 5 - lost
    lost = 100
    with pytest.raises(node.BenchError, match='answered no picture'):
        node.frames_for(feeder, 5 * node.LOST_S)


def test_a_revision_that_is_not_in_the_clone_is_refused_with_the_remedy(tmp_path):
    with (
        pytest.raises(click.ClickException, match=r'revision nosuch is not.*git fetch --unshallow'),
        node.tree_of('nosuch', tmp_path / 'tree'),
    ):
        pass
    assert not (tmp_path / 'tree').exists()
