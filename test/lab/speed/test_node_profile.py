"""`python -m benchmarks.node profile`: what it times is there, and counts once."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from benchmarks import node


@pytest.mark.filterwarnings('ignore:module .sre_:DeprecationWarning')  # what rclpy imports
def test_a_frame_with_metres_goes_through_every_step(tmp_path):
    threads, steps = node.per_frame('metric', tmp_path / 'metric', seconds=1.0)
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
