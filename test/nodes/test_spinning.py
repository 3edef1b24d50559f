"""How nodes end, as processes: exit code, no traceback, whatever the moment of the signal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from midas_depth_ros.lab.processes import free_domain

TIMEOUT_S = 60
SIGNALS = [signal.SIGINT, signal.SIGTERM]

PRELUDE = """
import os, signal, sys, time
import rclpy
from rclpy.node import Node
from midas_depth_ros.nodes.ros.spinning import run_node

def say(text):
    print(text, flush=True)

class Example(Node):
    def __init__(self):
        super().__init__('example')
        self.create_timer(0.01, self.on_timer)
        self.said = False

    def on_timer(self):
        if not self.said:
            self.said = True
            say('ready')

    def destroy_node(self):
        say(f'closed with ROS running: {rclpy.ok()}')
        super().destroy_node()
"""


class Program:
    """A Python process in a ROS domain of its own."""

    def __init__(self, arguments: list[str], domain_id: int) -> None:
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain_id), 'PYTHONUNBUFFERED': '1'}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.text = ''

    def read_until(self, mark: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if mark in line:
                return
        raise AssertionError(f'{mark!r} was never said, but: {self.text}')

    def end(self, *numbers: signal.Signals) -> int:
        """Send signals, and return the exit code."""
        for number in numbers:
            self.process.send_signal(number)
        self.text += self.process.communicate(timeout=TIMEOUT_S)[0]
        return self.process.returncode


@pytest.fixture
def domain() -> Iterator[int]:
    with free_domain() as domain_id:
        yield domain_id


@pytest.fixture
def start(domain: int) -> Iterator:
    programs: list[Program] = []

    def run(*arguments: str) -> Program:
        programs.append(Program(list(arguments), domain))
        return programs[-1]

    yield run
    for program in programs:
        program.process.kill()
        program.process.communicate()


def example(start, body: str) -> Program:
    return start('-c', f'{PRELUDE}\n{body}\nsys.exit(run_node(Example))')


@pytest.mark.parametrize('number', SIGNALS)
def test_signal_while_spinning(start, number: signal.Signals) -> None:
    program = example(start, '')
    program.read_until('ready')
    assert program.end(number) == 0
    assert program.text == 'ready\nclosed with ROS running: True\n'


@pytest.mark.parametrize(
    ('given', 'named'),
    [
        (['-p', 'camera_height:=0.3'], '-p camera_height:=0.3'),
        (['camera_height:=0.3'], 'camera_height:=0.3'),
        (['--params-file', 'mine.yaml', '--ros-args', '-p', 'x:=1'], '--params-file mine.yaml'),
        (['12', '--ros-args', '-p', 'x:=1', '--', '-'], ''),
    ],
)
def test_what_ros_would_ignore_silently_is_named(start, given: list[str], named: str) -> None:
    """A height that is not read leaves a robot without metres, and nobody would know why."""
    program = start('-c', f'{PRELUDE}\nsys.exit(run_node(Example))', *given)
    program.read_until('ready')
    assert program.end(signal.SIGINT) == 0
    said = [line for line in program.text.splitlines() if 'WARN' in line]
    assert len(said) == bool(named), program.text
    if named:
        assert f'ignored: {named}: parameters and remappings follow after --ros-args' in said[0]


@pytest.mark.parametrize('number', SIGNALS)
def test_the_running_callback_may_finish(start, number: signal.Signals) -> None:
    body = """
def on_timer(self):
    if not self.said:
        self.said = True
        os.kill(os.getpid(), signal.Signals(int(sys.argv[1])))
        time.sleep(0.2)
        say('finished')
Example.on_timer = on_timer
"""
    program = start('-c', f'{PRELUDE}\n{body}\nsys.exit(run_node(Example))', str(int(number)))
    assert program.end() == 0
    assert program.text == 'finished\nclosed with ROS running: True\n'


@pytest.mark.parametrize(
    'moment',
    [
        pytest.param('Example.on_timer', id='the second signal in a callback that takes too long'),
        pytest.param('Example.__init__', id='while the node is made'),
        pytest.param('Example.destroy_node', id='while it closes'),
    ],
)
def test_signals_at_other_moments(start, moment: str) -> None:
    closing = moment == 'Example.destroy_node'
    body = f"""
def method(self):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    if {closing}:
        say('closed')
        Node.destroy_node(self)
    else:
        time.sleep(1000)
{moment} = method
{'run_node.__globals__["rclpy"].ok = lambda: False' if closing else ''}
"""
    program = example(start, body)
    assert program.end() == 0
    assert 'Traceback' not in program.text
    assert ('closed' in program.text) == (moment != 'Example.__init__')


def test_a_node_that_ends_by_itself(start) -> None:
    program = example(start, "Example.on_timer = lambda self: setattr(self, 'exit_code', 7)")
    assert program.end() == 7
    assert program.text == 'closed with ROS running: True\n'


def test_a_fault_of_the_program_is_not_hidden(start) -> None:
    program = example(start, 'Example.on_timer = lambda self: 1 / 0')
    assert program.end() == 1
    assert 'ZeroDivisionError' in program.text
    assert 'closed with ROS running: True' in program.text


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (['-p', 'source:=/no/such/thing'], '/no/such/thing'),
        (['-p', 'rate:=[1.0'], 'rate:=[1.0'),
        (['--bogus'], '--bogus'),
        (['-p', 'source:=.', '-p', 'camera:=3'], 'camera'),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_1(start, arguments: list[str], named: str) -> None:
    program = start('-m', 'midas_depth_ros.nodes.sources.image_stream', '--ros-args', *arguments)
    assert program.end() == 1
    fatal = [line for line in program.text.splitlines() if line.startswith('[FATAL]')]
    assert len(fatal) == 1
    assert named in fatal[0]
    assert 'Traceback' not in program.text


@pytest.mark.parametrize('number', SIGNALS)
def test_image_stream_ends_on_a_signal(
    start, tmp_path: Path, number: signal.Signals, one_picture: Path
) -> None:
    arguments = ['--ros-args', '-p', f'source:={one_picture}', '-p', 'loop:=true']
    program = start('-m', 'midas_depth_ros.nodes.sources.image_stream', *arguments)
    program.read_until('/camera/image_raw')
    assert program.end(number) == 0
    assert 'Traceback' not in program.text
    assert 'terminate' not in program.text


def test_image_stream_ends_with_its_source(start, one_picture: Path) -> None:
    program = start(
        '-m',
        'midas_depth_ros.nodes.sources.image_stream',
        '--ros-args',
        '-p',
        f'source:={one_picture}',
    )
    assert program.end() == 0
    assert 'has ended: 1 published' in program.text


def test_synthetic_camera_ends_on_a_signal(start, domain: int) -> None:
    program = start('-m', 'midas_depth_ros.nodes.sources.synthetic_camera')
    program.read_until('/camera/image_raw')
    assert program.end(signal.SIGINT) == 0
    assert 'Traceback' not in program.text


@pytest.fixture
def one_picture(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / 'one.png'
    Image.new('RGB', (32, 24), (10, 200, 30)).save(path)
    return path


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_ends_a_node_that_has_nothing_to_do(start, number: signal.Signals) -> None:
    """Nothing but the signal ends this wait."""
    body = """
from midas_depth_ros.nodes.ros import spinning
spinning.WAIT_S = 600.0

def on_timer(self):
    next(iter(self.timers)).cancel()
    say('ready')
Example.on_timer = on_timer
"""
    program = example(start, body)
    program.read_until('ready')
    time.sleep(0.5)  # for it to wait
    assert program.end(number) == 0
    assert program.text == 'ready\nclosed with ROS running: True\n'


BUSY = """
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

class Busy(Node):
    '''Spends its time on turning messages into Python and back.'''
    def __init__(self):
        super().__init__('busy')
        self.heard = 0
        self.publisher = self.create_publisher(DiagnosticArray, 'talk', 50)
        self.create_subscription(DiagnosticArray, 'talk', self.on_message, 50)
        self.create_timer(0.0001, self.on_timer)
        status = DiagnosticStatus(values=[KeyValue()] * 5)
        self.message = DiagnosticArray(status=[status] * 300)

    def on_timer(self):
        self.publisher.publish(self.message)

    def on_message(self, message):
        self.heard += 1
        if self.heard == 10:
            say('ready')

sys.exit(run_node(Busy))
"""


@pytest.mark.sampled
@pytest.mark.parametrize('attempt', range(8))
def test_no_signal_comes_in_the_middle_of_a_message(start, attempt: int) -> None:
    """An exception there is a crash of rclpy: of the process, or of its exit code."""
    program = start('-c', f'{PRELUDE}\n{BUSY}')
    program.read_until('ready')
    time.sleep(0.013 * attempt)
    assert program.end(signal.SIGINT, signal.SIGTERM) == 0, program.text
    assert program.text == 'ready\n'


VOLLEYS = {
    'a pair': [signal.SIGINT, signal.SIGTERM],
    'the other way round': [signal.SIGTERM, signal.SIGINT],
    'the same twice': [signal.SIGINT, signal.SIGINT],
    'a closed terminal': [signal.SIGHUP],
    'a closed terminal that insists': [signal.SIGHUP, signal.SIGCONT, signal.SIGTERM],
    'a storm': [signal.SIGTERM] * 200,
}


@pytest.mark.sampled
@pytest.mark.parametrize('name', VOLLEYS)
def test_many_signals_at_once_end_a_node_as_one_does(start, name: str) -> None:
    program = example(start, '')
    program.read_until('ready')
    assert program.end(*VOLLEYS[name]) == 0
    assert program.text == 'ready\nclosed with ROS running: True\n'


def test_a_sighup_that_is_ignored_stays_ignored(start) -> None:
    body = """
def on_timer(self):
    os.kill(os.getpid(), signal.SIGHUP)
    if not self.said:
        self.said = True
        self.create_timer(0.3, lambda: say('alive'))
Example.on_timer = on_timer
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
"""
    program = example(start, body)
    program.read_until('alive')
    assert program.end(signal.SIGTERM) == 0


HANGING = """
import ctypes
NATIVE = ctypes.CDLL(None)

def hang(self):
    say('hanging')
    while True:  # as native code does, it goes on after a signal
        try:
            NATIVE.sleep(1000)
        except KeyboardInterrupt:
            pass
"""


@pytest.mark.thorough
@pytest.mark.parametrize('method', ['on_timer', 'destroy_node'])
def test_what_hangs_is_ended_by_time_alone_and_named(start, method: str) -> None:
    """One signal, and nobody who asks again."""
    program = example(start, f'{HANGING}\nExample.{method} = hang')
    program.read_until('hanging' if method == 'on_timer' else 'ready')
    assert program.end(signal.SIGTERM) == 1
    fatal = [line for line in program.text.splitlines() if line.startswith('[FATAL]')]
    assert len(fatal) == 1
    assert 'MainThread in hang' in fatal[0]
    assert 'Traceback' not in program.text


def test_the_third_signal_does_not_wait_for_that(start) -> None:
    body = f"""
{HANGING}
from midas_depth_ros.nodes.ros import spinning
spinning.LIMIT_S = 600.0
Example.on_timer = hang
"""
    program = example(start, body)
    program.read_until('hanging')
    for _ in range(3):
        program.process.send_signal(signal.SIGINT)
        time.sleep(2.0)
    assert program.end() == 1
    assert 'MainThread in hang' in program.text


CLOCKS = """
from rosgraph_msgs.msg import Clock
from rclpy.clock import Clock as RclpyClock, ClockType
from rclpy.parameter import Parameter

def init(self):
    Node.__init__(self, 'example', parameter_overrides=[Parameter('use_sim_time', value=True)])
    self.clocks = self.create_publisher(Clock, '/clock', 1)
    self.sent = 0
    self.create_timer(0.02, self.on_timer, clock=RclpyClock(clock_type=ClockType.STEADY_TIME))

def on_timer(self):
    self.sent += 1
    message = Clock()
    message.clock.sec = -5 if self.sent % 3 == 0 else self.sent
    self.clocks.publish(message)
    if self.sent > 30 and self.get_clock().now().nanoseconds > 30e9:
        say('ready')
Example.__init__ = init
Example.on_timer = on_timer
"""
# What other middlewares do with bytes that are no message, where Fast DDS keeps silent.
FAILING_TAKE = """
from rclpy.executors import SingleThreadedExecutor
IN_RCLPY = {'__name__': 'rclpy.stand_in', 'take': SingleThreadedExecutor._take_subscription}
exec('''
taken = 0
def failing(self, subscription):
    global taken
    taken += 1
    if taken % 2:
        raise RuntimeError('failed to take message')
    return take(self, subscription)
''', IN_RCLPY)
SingleThreadedExecutor._take_subscription = IN_RCLPY['failing']
"""


@pytest.mark.parametrize('take', ['', FAILING_TAKE], ids=['before 1970', 'no message'])
def test_a_clock_that_rclpy_cannot_take_ends_nothing_and_deafens_nobody(start, take: str) -> None:
    program = example(start, CLOCKS + take)
    program.read_until('ready')
    assert program.end(signal.SIGTERM) == 0
    warnings = [line for line in program.text.splitlines() if 'ROS: refused: ' in line]
    assert len(warnings) == 1, 'one line in a few seconds'
    assert ('failed to take' if take else 'must not be negative') in warnings[0]
    assert 'Traceback' not in program.text


def test_what_fails_whatever_comes_is_not_tried_for_ever(start) -> None:
    body = """
from rclpy.executors import SingleThreadedExecutor
IN_RCLPY = {'__name__': 'rclpy.stand_in'}
exec('def wait(self, *arguments): raise RuntimeError("failed to wait")', IN_RCLPY)
SingleThreadedExecutor.wait_for_ready_callbacks = IN_RCLPY['wait']
"""
    program = example(start, body)
    assert program.end() == 1
    assert 'failed to wait' in program.text


@pytest.mark.parametrize('method', ['__init__', 'on_timer'])
def test_what_native_code_makes_of_an_interrupt_is_no_fault(start, method: str) -> None:
    """It is raised anew as something else, and a thread is left that nobody ends."""
    body = f"""
import threading

def method(self):
    threading.Thread(target=threading.Event().wait).start()
    try:
        say('loading')
        time.sleep(1000)
    except KeyboardInterrupt:
        raise ImportError('initialization failed') from None
Example.{method} = method
Example.interruptible = True
"""
    program = example(start, body)
    program.read_until('loading')
    assert program.end(signal.SIGINT) == 0
    assert 'Traceback' not in program.text


def test_an_interrupt_that_gets_lost_is_tried_again(start) -> None:
    body = """
def on_timer(self):
    lost = 0
    while lost < 2:
        try:
            if not lost:
                say('loading')
            time.sleep(1000)
        except KeyboardInterrupt:
            lost += 1
            say('lost')
Example.on_timer = on_timer
Example.interruptible = True
"""
    program = example(start, body)
    program.read_until('loading')
    assert program.end(signal.SIGTERM) == 0
    assert program.text.count('lost') == 2


def test_a_signal_in_the_handler_of_another_is_not_raised_there(start) -> None:
    """Python may be at a native call in it, which makes a SystemError of that."""
    body = """
import traceback
from midas_depth_ros.nodes.ros.spinning import StopSignals

sent = []

def on_signal(self, number, frame):
    self.requested = signal.Signals(number).name
    if not sent:
        sent.append(number)
        os.kill(os.getpid(), signal.SIGINT)
StopSignals.on_signal = on_signal

def on_timer(self):
    try:
        say('loading')
        time.sleep(1000)
    except KeyboardInterrupt as error:
        names = [each.name for each in traceback.extract_tb(error.__traceback__)]
        say(f'raised in {names}')
        raise
Example.on_timer = on_timer
Example.interruptible = True
"""
    program = example(start, body)
    program.read_until('loading')
    assert program.end(signal.SIGTERM) == 0
    raised = re.search('raised in (.*)', program.text).group(1)
    assert raised.count("'on_signal'") == 1, raised
