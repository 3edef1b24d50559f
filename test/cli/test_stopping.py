"""A signal at any moment: the exit code says which, and nothing is left that is not whole."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import write_image_bag
from disks import all_files

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.lab import output, stopping
from midas_depth_ros.lab.output import move_into_place, temporary_beside, write_atomically
from midas_depth_ros.lab.stopping import Stoppable, Stopped, run_command, signals_held

from .conftest import corridor
from .test_video_command import read_video, write_video

# With one thread: more of them, in vain, wait busily where several tests run.
MODEL = ('--model', 'embedded', '--backend', 'opencv', '--num-threads', '1')
BAG_MODEL = ('-p', 'model:=embedded', '-p', 'backend:=opencv', '-p', 'num_threads:=1')
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FRAMES = 1000  # more than can be done before the signal
ALONE = 'MIDAS_DEPTH_TEST_ALONE'


def alone(test):
    """Run a test in another pytest: a signal that is not handled then ends that one only.

    Nor can it meet what tests of other modules have made of this process's signals. One such
    process is enough for all tests that are marked so.
    """

    @functools.wraps(test)
    def run(**fixtures):
        if ALONE in os.environ:
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            try:
                test(**fixtures)
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
            return
        name = os.environ['PYTEST_CURRENT_TEST'].rpartition(' ')[0].rpartition('::')[2]
        output = output_alone()
        assert re.search(rf'^PASSED .*::{re.escape(name)}$', output, re.M), output

    return pytest.mark.alone(run)


@functools.cache
def output_alone() -> str:
    """What a pytest says that runs all tests of this file which are marked `alone`."""
    options = ('-q', '-rA', '-m', 'alone', '-p', 'no:xdist', '-p', 'no:cacheprovider')
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', *options, __file__],
        cwd=Path(__file__).parents[2], env={**os.environ, ALONE: '1'},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return f'exit code {done.returncode}\n{done.stdout}{done.stderr}'


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    """Much to do: pictures, a video and a bag."""
    folder = tmp_path_factory.mktemp('inputs')
    (folder / 'pictures').mkdir()
    _, data = cv2.imencode('.png', corridor(48, 64))
    for number in range(FRAMES):
        (folder / 'pictures' / f'{number}.png').write_bytes(data)
    # With noise, of which each picture takes some bytes: the file is soon begun.
    noise = np.random.default_rng(0).integers(0, 50, (50, 120, 160, 3), dtype=np.uint8)
    scenes = [corridor(shift=shift) // 2 + noise[shift] for shift in range(50)]
    write_video(folder / 'in.avi', [scenes[i % 50] for i in range(FRAMES)])
    scenes = [corridor(48, 64, shift=shift) for shift in range(9)]
    write_image_bag(folder / 'in', [scenes[i % 9] for i in range(FRAMES)])
    return folder


CALLS = {
    'image': ('image', 'pictures', *MODEL, '-o', 'OUT/out'),
    'video': ('video', 'in.avi', *MODEL, '-o', 'OUT/out.mp4'),
    'bag': ('bag', 'in', 'OUT/out', *BAG_MODEL),
    'bag mcap': ('bag', 'in', 'OUT/out', '--storage', 'mcap', *BAG_MODEL),
    'drive': ('drive', '--in-process', '--worlds', '1000', '--seconds', '1', '--json'),
}


def has_begun(name: str, folder: Path) -> bool:
    """Whether it is in the middle of its work."""
    out = folder / 'out'
    if name == 'drive':
        return 'world' in (folder / 'said').read_text()
    if name == 'image':
        return len(all_files(out)) > 20
    with contextlib.suppress(FileNotFoundError):  # a journal of SQLite comes and goes
        parts = [path for path in out.rglob('*') if path.is_file()]
        return any(path.stat().st_size > (30_000 if name == 'video' else 0) for path in parts)
    return False


def whole(path: Path) -> bool:
    if path.suffix == '.mp4':
        return len(read_video(path)[0]) > 0
    if path.suffix == '.png':
        return cv2.imread(str(path)) is not None
    if path.suffix == '.npy':
        return np.load(path).shape == (48, 64)
    return path.is_dir() or path.suffix == '.ply'


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('name', 'number'),
    [*((name, signal.SIGTERM) for name in CALLS), *(('image', number) for number in SIGNALS[::2])],
)
def test_a_command_that_is_stopped_leaves_nothing_that_is_not_whole(inputs, tmp_path, name, number):
    if 'bag' in name and not find_spec('rclpy'):
        pytest.skip('a bag is processed by the node, which needs rclpy')
    (tmp_path / 'temporary').mkdir()
    (tmp_path / 'out').mkdir()
    arguments = [each.replace('OUT', str(tmp_path / 'out')) for each in CALLS[name]]
    with (tmp_path / 'said').open('w') as file:
        running = subprocess.Popen(
            [sys.executable, '-m', 'midas_depth_ros.cli.main', *arguments],
            cwd=inputs, stdout=subprocess.DEVNULL, stderr=file,
            env={**os.environ, 'TMPDIR': str(tmp_path / 'temporary')},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 100
        while not has_begun(name, tmp_path):
            assert running.poll() is None, (tmp_path / 'said').read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        running.send_signal(number)
        running.send_signal(number)  # a terminal and a launcher both send one
        code = running.wait(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert code == 128 + number
    said = (tmp_path / 'said').read_text()
    assert said.splitlines()[-1] == f'Stopped by {number.name}'
    assert 'Traceback' not in said
    assert all_files(tmp_path / 'temporary') == set()
    left = all_files(tmp_path / 'out')
    assert not [each for each in left if Path(each).name.startswith('.')]
    assert all(whole(tmp_path / 'out' / each) for each in left)
    if name == 'video':
        assert left == {'out.mp4'}, 'what was done is kept'
    elif 'bag' in name:
        assert left == set()


def test_a_signal_that_was_silenced_stays_so(inputs, tmp_path):
    """As of nohup, and of what a shell starts in the background."""
    program = (
        'import os, signal; from midas_depth_ros.cli import main as cli; import click\n'
        '@cli.main.command()\n'
        'def wait():\n'
        '    os.kill(os.getpid(), signal.SIGHUP); click.echo("went on")\n'
        'signal.signal(signal.SIGHUP, signal.SIG_IGN); cli.main(["wait"])'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'went on\n')


class Injector:
    """Sends a signal at the n-th step within some modules, as it may come between any two."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.files = {output.__file__, stopping.__file__}

    def __enter__(self) -> Injector:
        sys.settrace(self.on_call)
        return self

    def __exit__(self, *_) -> None:
        sys.settrace(None)

    def on_call(self, frame, event, argument):
        return self.on_line if frame.f_code.co_filename in self.files else None

    def on_line(self, frame, event, argument):
        # Until the handlers are there, and when they are gone, a signal ends the process at once.
        handled = signal.getsignal(signal.SIGTERM) == stopping._signals.on_signal
        if event == 'line' and handled and signal.SIGTERM not in blocked():
            self.left -= 1
            if self.left == 0:
                stopping._signals.on_signal(signal.SIGTERM, frame)
        return self.on_line


def blocked() -> set:
    """The signals that wait."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def make_file(folder: Path) -> None:
    write_atomically(folder / 'file', b'new')


def make_folder(folder: Path) -> None:
    with temporary_beside(folder / 'folder') as part:
        part.mkdir()
        (part / 'inner').write_bytes(b'new')
        move_into_place(part, folder / 'folder')


# Between opening a file and the block that closes it Python itself has to close it.
@pytest.mark.thorough
@pytest.mark.sampled
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('make', [make_file, make_folder])
@pytest.mark.parametrize('is_there', [False, True])
@alone
def test_between_any_two_steps_all_is_old_or_all_is_new(tmp_path, make, is_there):
    ends = set()
    before = [signal.getsignal(number) for number in SIGNALS]
    for at in range(1, 2000):
        folder = tmp_path / str(at)
        folder.mkdir()
        target = folder / 'file' if make is make_file else folder / 'folder' / 'inner'
        if is_there:
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(b'old')
        with pytest.raises(SystemExit) as ended, Injector(at) as injector:
            run_command(lambda make=make, folder=folder: make(folder))
        after = [signal.getsignal(number) for number in SIGNALS]
        assert after in (before, [signal.SIG_IGN] * len(SIGNALS)), f'step {at}'
        assert not blocked()
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
        content = target.read_bytes() if target.exists() else b''
        assert content in ((b'old', b'new') if is_there else (b'', b'new'))
        names = {'file'} if make is make_file else {'folder', 'folder/inner'}
        assert all_files(folder) <= names, f'step {at}'
        if injector.left > 0:
            break
        ends.add((ended.value.code, content))
    else:
        pytest.fail('it never came to its end')
    assert (0, b'new') in ends or (143, b'new') in ends
    assert (143, b'old' if is_there else b'') in ends
    assert ended.value.code == 0
    assert at > 30


@alone
def test_a_signal_waits_where_it_must_not_come(capsys):
    steps = []

    def work() -> None:
        with signals_held():
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append('held')
        steps.append('never')

    with pytest.raises(SystemExit) as ended:
        run_command(work)
    assert (ended.value.code, steps) == (143, ['held'])
    assert capsys.readouterr().err == 'Stopped by SIGTERM\n'


@alone
def test_who_was_asked_to_end_is_not_ended_by_what_comes_late():
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: os.kill(os.getpid(), signal.SIGTERM))
    for number in SIGNALS:
        os.kill(os.getpid(), number)
    assert ended.value.code == 143


@alone
def test_only_the_first_of_many_signals_is_raised():
    steps = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            steps.append('went on')

    with pytest.raises(SystemExit) as ended:
        run_command(work)
    assert (ended.value.code, steps) == (143, ['went on'])


@pytest.mark.parametrize('times', [1, 3])
@alone
def test_a_signal_that_somebody_loses_comes_again(times):
    """NumPy's Generator.choice loses exceptions that are raised while it looks at its arguments."""
    lost = []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def losing() -> None:
        while len(lost) < times:
            try:
                work() if not lost else time.sleep(30)
            except BaseException as error:  # noqa: BLE001 - that is what it is about
                lost.append(error)
        time.sleep(30)

    with pytest.raises(SystemExit) as ended:
        run_command(losing)
    assert (ended.value.code, len(lost)) == (143, times)


@alone
def test_what_is_being_cleared_is_not_disturbed():
    steps = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            time.sleep(3 * stopping.RESEND_S)
            try:
                raise ValueError
            except ValueError:
                time.sleep(3 * stopping.RESEND_S)
                steps.append('cleared')

    with pytest.raises(SystemExit) as ended:
        run_command(work)
    assert (ended.value.code, steps) == (143, ['cleared'])


@alone
def test_no_signal_of_ours_comes_when_the_handlers_are_gone():
    """One that was sent and has not come yet, as it may be on a busy machine, would be the end."""
    with Stoppable():
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        stopping._signals.requested = signal.SIGTERM
        while signal.SIGTERM not in signal.sigpending():
            time.sleep(0.01)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.sigpending() == set()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@alone
def test_a_block_that_a_signal_kept_from_its_end_takes_nothing_from_the_next_one():
    """As a generator would, which the garbage collector runs to its end at any time."""
    guard = Stoppable()

    def at_its_end(frame, event, argument):
        if frame.f_code.co_name == '__exit__' and frame.f_locals.get('self') is guard:
            sys.settrace(None)
            stopping._signals.on_signal(signal.SIGTERM, frame)

    kept = []

    def left_early() -> None:
        try:
            with guard:
                sys.settrace(at_its_end)
        except Stopped as stopped:
            guard.close()
            kept.append(stopped)

    def work() -> None:
        nonlocal guard
        kept.clear()
        guard = None
        gc.collect()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    left_early()
    assert len(kept) == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with pytest.raises(SystemExit) as ended:
        run_command(work)
    assert ended.value.code == 143


@alone
@pytest.mark.parametrize('name', ['bag', 'image', 'video'])
def test_a_signal_waits_until_a_frame_is_done(inputs, tmp_path, monkeypatch, name):
    """A bag's command was seen to crash within OpenCV after two signals at once."""
    if name == 'bag' and not find_spec('rclpy'):
        pytest.skip('a bag is processed by the node, which needs rclpy')
    went_on = []

    def with_a_signal(function):
        @functools.wraps(function)
        def infer(*arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            answer = function(*arguments)
            went_on.append(1)
            return answer

        return infer

    for method in ('infer', 'infer_with_error'):
        function = getattr(DepthEstimator, method)
        monkeypatch.setattr(DepthEstimator, method, with_a_signal(function))
    (tmp_path / 'out').mkdir()
    monkeypatch.chdir(inputs)
    arguments = [each.replace('OUT', str(tmp_path / 'out')) for each in CALLS[name]]
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main(arguments, standalone_mode=False))
    assert ended.value.code == 143
    assert went_on in ([1], [1, 1])  # one of both methods may call the other


@alone
def test_handlers_are_those_of_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Stoppable():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_fault_of_the_program_keeps_its_traceback():
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(work)
