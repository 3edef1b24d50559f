"""Children that behave, that refuse to die, that crash, and that lose their parent."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from midas_depth_ros.lab import processes
from midas_depth_ros.lab.processes import (
    Children,
    free_domain,
    module_command,
    node_command,
    ros_context,
)
from midas_depth_ros.nodes.ros.spinning import StopSignals

STUBBORN = """
import signal, sys, time
for number in {numbers}:
    signal.signal(number, signal.SIG_IGN)
print('ready', flush=True)
while True:
    time.sleep(0.05)
"""
POLITE = """
import time
print('ready', flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print('bye', flush=True)
"""


def script(text: str) -> list[str]:
    return [sys.executable, '-c', text]


def wait_until(condition, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, 'waited in vain'
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


@pytest.fixture
def steps(monkeypatch):
    """The same escalation with short waits."""
    monkeypatch.setattr(processes, 'STEPS', tuple((number, 0.5) for number, _ in processes.STEPS))


def test_a_polite_child_ends_with_sigint_and_has_its_last_words_logged(tmp_path):
    # Within StopSignals, as the demo does it: a child would inherit that SIGINT is ignored, as it
    # is where a shell script starts something in the background.
    with StopSignals(), Children(tmp_path, os.environ) as children:
        child = children.start('polite', script(POLITE))
        wait_until(lambda: child.tail(1) == ['ready'])
        assert children.stop() == {'polite': 0}
    assert child.log == tmp_path / 'polite.log'
    assert child.tail()[-2:] == ['ready', 'bye']
    assert child.log.read_text().startswith('$ ')


@pytest.mark.usefixtures('steps')
@pytest.mark.parametrize(
    ('ignored', 'expected'), [('[2]', -signal.SIGTERM), ('[2, 15]', -signal.SIGKILL)]
)
def test_a_stubborn_child_meets_stronger_signals(tmp_path, ignored, expected):
    with Children(tmp_path, os.environ) as children:
        child = children.start('stubborn', script(STUBBORN.format(numbers=ignored)))
        wait_until(lambda: child.tail(1) == ['ready'])
        pid = child.process.pid
    assert child.exit_code == expected
    assert child.status() == f'stubborn was ended by {signal.Signals(-expected).name}'
    assert not is_alive(pid)


def test_children_are_ended_when_the_block_raises(tmp_path):
    started = []

    def fail() -> None:
        with Children(tmp_path, os.environ) as children:
            started.append(children.start('polite', script(POLITE)))
            raise RuntimeError('on purpose')

    with pytest.raises(RuntimeError, match='on purpose'):
        fail()
    assert started[0].exit_code is not None
    assert not is_alive(started[0].process.pid)


def test_what_a_crashed_child_said_is_found(tmp_path):
    with Children(tmp_path, os.environ) as children:
        child = children.start('crash', script('raise ValueError("no such picture")'))
        wait_until(lambda: children.ended() is child)
    assert child.status() == 'crash ended with exit code 1'
    assert child.last_message() == 'ValueError: no such picture'


def test_an_error_of_the_ros_log_says_more_than_the_last_line(tmp_path):
    lines = [
        '[INFO] [1.0] [depth_node]: loading',
        '[ERROR] [2.0] [depth_node]: cannot load model: it is corrupt',
        '[FATAL] [2.1] [depth_node]: start-up failed, see the error above',
    ]
    with Children(tmp_path, os.environ) as children:
        child = children.start('node', script(f'import sys; print({chr(10).join(lines)!r})'))
        wait_until(lambda: children.ended() is child)
    assert child.last_message() == 'cannot load model: it is corrupt'
    assert child.tail(2) == lines[1:]


def test_of_a_redrawn_progress_line_only_the_last_state_is_told(tmp_path):
    with Children(tmp_path, os.environ) as children:
        child = children.start('bar', script(r'print("\r 10%\r 50%\r 99%", end="\n\n")'))
        wait_until(lambda: children.ended() is child)
    assert child.tail(1) == [' 99%']


def test_a_signal_only_sets_the_flag_and_the_old_handler_comes_back():
    # In a process of its own: a signal to this one may meet what another test has left behind.
    text = (
        'import os, signal, time\n'
        'from midas_depth_ros.lab.processes import STOP_SIGNALS\n'
        'from midas_depth_ros.nodes.ros.spinning import StopSignals\n'
        'before = signal.getsignal(signal.SIGTERM)\n'
        'with StopSignals(STOP_SIGNALS) as signals:\n'
        '    print(repr(signals.requested))\n'
        '    os.kill(os.getpid(), signal.SIGTERM)\n'
        '    while not signals.requested:\n'
        '        time.sleep(0.01)\n'
        '    print(signals.requested)\n'
        'print(signal.getsignal(signal.SIGTERM) is before)\n'
    )
    root = Path(__file__).parents[3]
    said = subprocess.run(
        script(text), stdout=subprocess.PIPE, text=True, cwd=root, timeout=60, check=True
    )
    assert said.stdout.split() == ["''", 'SIGTERM', 'True']


@pytest.mark.skipif(not processes._parent_watch(), reason='setpriv (util-linux) is not installed')
def test_a_killed_parent_takes_its_children_along(tmp_path):
    parent_script = (
        'import os, sys, time\n'
        'from midas_depth_ros.lab.processes import Children\n'
        f'with Children(__import__("pathlib").Path({str(tmp_path)!r}), os.environ) as children:\n'
        f'    print(children.start("c", {script(POLITE)!r}).process.pid, flush=True)\n'
        '    time.sleep(60)\n'
    )
    with subprocess.Popen(
        script(parent_script), stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as parent:
        pid = int(parent.stdout.readline())
        wait_until(lambda: '\nready\n' in (tmp_path / 'c.log').read_text())
        parent.kill()
    wait_until(lambda: not is_alive(pid))


def test_words_and_parameters_become_a_command_line():
    assert module_command('cli.dashboard', '--port', '1') == [
        sys.executable, '-m', 'midas_depth_ros.cli.dashboard', '--port', '1'
    ]  # fmt: skip
    command = node_command('nodes.depth.node', {'source': '0', 'rate': 5.0}, ('rate:=6.0',))
    assert command[:3] == module_command('nodes.depth.node')
    pairs = [command[i + 1] for i, word in enumerate(command) if word == '-p']
    assert pairs == ['source:="0"', 'rate:=5.0', 'rate:=6.0']


@pytest.mark.skipif(find_spec('rclpy') is None, reason='ROS is not installed')
def test_a_context_of_ros_ends_with_its_block(monkeypatch):
    from rclpy.node import Node

    with free_domain() as domain:
        monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
        with ros_context() as executor:
            node = Node('watching', context=executor.context)
            executor.add_node(node)
            executor.spin_once(timeout_sec=0.0)
            assert executor.context.get_domain_id() == domain
        assert not executor.context.ok()
        assert not executor.get_nodes()
