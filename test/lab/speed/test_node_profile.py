"""`python -m benchmarks.node profile`: what it times is there, and counts once."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from benchmarks import node


@pytest.mark.parametrize(('owner', 'attribute', 'step'), node.STEPS)
def test_every_step_is_a_function_that_a_node_calls(owner, attribute, step):
    assert callable(getattr(owner, attribute))


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
