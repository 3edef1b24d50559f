"""What every command does when its disk, or its standard output, is full: a sentence, nothing else.

On real small disks, filled so far that a little, more or nearly all of an output fits.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import write_image_bag
from disks import all_files, fill, small_disk
from effort import THOROUGH
from PIL import Image

from midas_depth_ros.cli.image_outputs import OUTPUTS
from midas_depth_ros.lab.output import CommandError, write_atomically
from midas_depth_ros.lab.speed import candidates as bench_weights

from .conftest import corridor
from .test_video_command import read_video, write_video

pytestmark = pytest.mark.thorough

if find_spec('rclpy'):
    import ros_helpers  # noqa: F401 - before the first message, see there

MODEL = ('--model', 'embedded', '--backend', 'opencv')
BAG_MODEL = ('-p', 'model:=embedded', '-p', 'backend:=opencv')
DISK = 4 << 20
FULL = 'No space left on device'
# How much of an output fits, at most.
SHARES = (0.0, 0.02, 0.3, 0.6, 0.9, 0.99) if THOROUGH else (0.02, 0.6, 0.9)
FEW_SHARES = SHARES[1::2]
WITH_ROS = pytest.mark.skipif(not find_spec('rclpy'), reason='a bag is processed by the node')


def read_output(path: Path) -> None:
    """Raises where a file is not whole."""
    if path.is_dir():
        assert contents(path)
    elif path.suffix == '.npy':
        np.load(path)
    elif path.suffix == '.ply':
        header, _, data = path.read_bytes().partition(b'end_header\n')
        count = next(line for line in header.splitlines() if b'element vertex' in line).split()[-1]
        assert len(data) == int(count) * 15
    elif path.suffix == '.png':
        with Image.open(path) as picture:
            picture.load()
    else:
        assert len(read_video(path)[0]) == 10


def contents(path: Path) -> int:
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return len(list(reader.messages()))


NEEDED: dict[str, int] = {}  # bytes of each output, once it has been made


def runs(midas_depth, tmp_path, arguments, target: str, shares=SHARES):
    """Call a command with more and more of the room that its output needs on its disk."""
    if target not in NEEDED:
        with small_disk(tmp_path / 'disk', 64 << 20) as disk:
            result = midas_depth(*arguments(disk))
            assert result.exit_code == 0, result.output
            made = disk / target
            files = [each for each in (made, *made.rglob('*')) if each.is_file()]
            NEEDED[target] = sum(each.stat().st_size for each in files)
    for share in shares:
        with small_disk(tmp_path / 'disk', DISK) as disk:
            yield disk, share * NEEDED[target], arguments(disk)


def check(result, disk: Path, target: str, before: set[str]) -> bool:
    """Whether it fitted; where it did not, all is as it was, and it is said."""
    assert 'Traceback' not in result.output
    if result.exit_code == 0:
        read_output(disk / target)
        assert all_files(disk) >= before
        return True
    assert result.exit_code == 1
    said = result.stderr.splitlines()[-1]
    assert said.endswith(FULL), result.stderr
    assert str(disk / target) in said or str((disk / target).parent) in said
    assert all_files(disk) == before
    return False


OUTPUT_NAMES = {name: f'out/a{ending}' for name, (ending, _) in OUTPUTS.items()}
VIDEOS = ('out.mp4', 'out.webm', 'out.avi')


def commands():
    for name, target in OUTPUT_NAMES.items():
        yield pytest.param('image', name, target, id=f'image {name}')
    for target in VIDEOS:
        yield pytest.param('video', '', target, id=f'video {target[4:]}')
    for storage in ('sqlite3', 'mcap'):
        yield pytest.param('bag', storage, f'out_{storage}', id=f'bag {storage}', marks=WITH_ROS)


@pytest.fixture
def arguments(tmp_path, save):
    """What calls a command with an output on a disk."""

    def of(command: str, option: str, target: str):
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(10)]
        if command == 'image':
            picture = save('a.png', noise[0])
            scale = ('--fixed-scale', '1') if option == 'metres' else ()
            call = ('image', picture, *MODEL, *scale, '--no-picture-check', '--only', option)
            return lambda disk: (*call, '-o', disk / 'out')
        if command == 'video':
            video = write_video(tmp_path / 'in.avi', noise)
            return lambda disk: ('video', video, *MODEL, '-o', disk / target)
        bag = write_image_bag(tmp_path / 'in', noise)
        model = (*BAG_MODEL, '--storage', option, '--only', 'heatmap/image')
        return lambda disk: ('bag', bag, disk / target, *model)

    return of


@pytest.mark.sampled
@pytest.mark.parametrize(('command', 'option', 'target'), list(commands()))
def test_an_output_that_does_not_fit_is_not_there(
    midas_depth, tmp_path, arguments, command, option, target
):
    fitted = []
    for disk, room, call in runs(midas_depth, tmp_path, arguments(command, option, target), target):
        (disk / 'out').mkdir()
        fill(disk, int(room))
        fitted.append(check(midas_depth(*call), disk, target, all_files(disk)))
    assert not any(fitted[:2])


@pytest.mark.sampled
@pytest.mark.parametrize(('command', 'option', 'target'), list(commands()))
def test_what_was_there_before_stays(midas_depth, tmp_path, arguments, command, option, target):
    called = arguments(command, option, target)
    for disk, room, call in runs(midas_depth, tmp_path, called, target, FEW_SHARES):
        old, mine = disk / target, b'mine'
        if command == 'bag':
            old.mkdir()
            old = old / 'metadata.yaml'
            mine = b'rosbag2_bagfile_information: {relative_file_paths: []}'
        old.parent.mkdir(exist_ok=True)
        old.write_bytes(mine)
        fill(disk, int(room))
        before = all_files(disk)
        result = midas_depth(*call, '--force')
        if not check(result, disk, target, before):
            assert old.read_bytes() == mine


def test_a_video_on_a_disk_that_is_full_ends_at_once(midas_depth, tmp_path):
    """It is not drawn to its end for nothing."""
    video = write_video(tmp_path / 'in.avi', [corridor(shift=i) for i in range(200)])
    with small_disk(tmp_path / 'disk', DISK) as disk:
        fill(disk, 4096)
        result = midas_depth('video', video, *MODEL, '-o', disk / 'out.mp4')
        assert (result.exit_code, result.stdout) == (1, '')
        assert result.stderr.splitlines()[-1] == f'error: cannot write {disk}/out.mp4: {FULL}'


def test_the_other_pictures_of_a_batch_are_tried(midas_depth, tmp_path, save):
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    large, small = save('a.png', noise), save('b.png', noise[:48, :64])
    with small_disk(tmp_path / 'disk', DISK) as disk:
        fill(disk, 100_000)
        result = midas_depth('image', large, small, *MODEL, '--only', 'npy', '-o', disk / 'out')
        assert result.exit_code == 1
        assert FULL in result.stderr
        assert all_files(disk) == {'filler', 'out', 'out/b_depth.npy'}
        np.load(disk / 'out/b_depth.npy')


def test_weights_of_a_benchmark_are_whole_or_not_there(tmp_path, monkeypatch):
    with small_disk(tmp_path / 'disk', DISK) as disk:
        monkeypatch.setattr(bench_weights, 'user_cache', lambda: disk)
        with pytest.raises(CommandError, match=FULL):
            bench_weights.random_weights()
        assert all_files(disk) == {'bench'}


def test_logs_that_do_not_fit_are_named(tmp_path):
    from midas_depth_ros.lab.processes import Children

    with small_disk(tmp_path / 'disk', DISK) as disk, Children(disk, os.environ) as children:
        fill(disk, 0)
        with pytest.raises(OSError, match=FULL) as caught:
            children.start('a_node', ['sleep', '60'])
        assert caught.value.filename == str(disk / 'a_node.log')


@WITH_ROS
def test_drives_whose_logs_do_not_fit_end_in_a_line(midas_depth, tmp_path):
    with small_disk(tmp_path / 'disk', DISK) as disk:
        fill(disk, 0)
        result = midas_depth('drive', '--worlds', '1', '--logs', disk / 'logs')
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == (
            f'error: {disk}/logs/synthetic_camera.log: {FULL}'
        )


@WITH_ROS
@pytest.mark.parametrize('leave', [0, 4096, 40_000, 400_000])
def test_a_demo_whose_results_do_not_fit_keeps_the_earlier_ones(tmp_path, leave):
    from midas_depth_ros.lab.demo import report
    from midas_depth_ros.lab.demo.report import claim

    sys.path.insert(0, str(Path(__file__).parents[1] / 'lab' / 'demo'))
    from test_report import make_recording, make_run  # type: ignore[import-not-found]

    with small_disk(tmp_path / 'disk', DISK) as disk:
        folder = disk / 'demo'
        claim(folder)
        for name in ('pictures', 'messages'):
            (folder / name).mkdir()
        (folder / 'pictures' / 'old.png').write_bytes(b'old')
        (folder / 'summary.txt').write_bytes(b'old')
        fill(disk, leave)
        before = all_files(disk)
        with contextlib.suppress(CommandError):
            report.write(make_run(make_recording()), folder)
            assert leave > 100_000
            assert (folder / 'summary.json').is_file()
            return
        assert all_files(disk) == before
        assert (folder / 'summary.txt').read_bytes() == b'old'


@pytest.mark.parametrize('name', ['a.png', 'b' * 240 + '.png', 'c' * 300 + '.png'])
def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path, name):
    if len(name) > 255:
        with pytest.raises(CommandError, match='too long'):
            write_atomically(tmp_path / name, b'x')
    else:
        write_atomically(tmp_path / name, b'x')
    assert len(all_files(tmp_path)) == (len(name) <= 255)


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: os.symlink('/dev/null', path)])
def test_what_is_no_file_is_not_replaced(tmp_path, make):
    make(tmp_path / 'a.png')
    kind = os.stat(tmp_path / 'a.png').st_mode
    with pytest.raises(CommandError, match='not replaced'):
        write_atomically(tmp_path / 'a.png', b'x')
    assert os.stat(tmp_path / 'a.png').st_mode == kind
    assert all_files(tmp_path) == {'a.png'}


# --- standard output

CALLS = {
    'help': ['--help'],
    'version': ['--version'],
    'help of a command': ['image', '--help'],
    'weights': ['weights', 'show'],
    'image': ['image', 'a.png', *MODEL, '--only', 'npy', '--force'],
    'video': ['video', 'in.avi', *MODEL, '--force'],
    'bag': ['bag', 'in', 'out', '--force', *BAG_MODEL, '--only', 'closeness'],
    'drive': ['drive', '--in-process', '--worlds', '1', '--seconds', '1', '--json'],
    'completion': [],
}


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('inputs')
    assert cv2.imwrite(str(folder / 'a.png'), corridor(48, 64))
    write_video(folder / 'in.avi', [corridor(shift=i) for i in range(4)])
    write_image_bag(folder / 'in', [corridor(shift=i) for i in range(2)])
    return folder


def call(name: str, inputs: Path, shell: str) -> subprocess.CompletedProcess:
    """A command in a shell, in which "$@" is its command line."""
    if name == 'bag' and not find_spec('rclpy'):
        pytest.skip('a bag is processed by the node, which needs rclpy')
    environment = {**os.environ}
    if name == 'completion':
        environment['_CLI_COMPLETE'] = 'bash_source'
    command = [sys.executable, '-c', PROGRAM, *CALLS[name]]
    return subprocess.run(
        ['bash', '-c', shell, 'bash', *command],
        cwd=inputs, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


PROGRAM = 'from midas_depth_ros.cli.main import main; main(prog_name="cli")'


@pytest.mark.sampled
@pytest.mark.parametrize('name', CALLS)
def test_a_standard_output_that_is_full_is_an_error(name, inputs):
    done = call(name, inputs, '"$@" > /dev/full')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f'error: standard output: {FULL}'
    assert 'Traceback' not in done.stderr


@pytest.mark.sampled
@pytest.mark.parametrize('name', CALLS)
def test_a_standard_output_that_is_closed_is_an_error(name, inputs):
    done = call(name, inputs, '"$@" >&-')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == 'error: standard output: Bad file descriptor'
    assert 'Traceback' not in done.stderr


@pytest.mark.sampled
@pytest.mark.parametrize('name', CALLS)
def test_who_no_longer_reads_is_no_error(name, inputs):
    done = call(name, inputs, '"$@" | true; exit ${PIPESTATUS[0]}')
    # Not every one is quick enough to find that nobody reads.
    assert done.returncode in (0, 128 + signal.SIGPIPE)
    assert 'Traceback' not in done.stderr
    assert 'BrokenPipe' not in done.stderr


GONE = ('"$@" 2>/dev/full', '"$@" 2>&-', '"$@" <&-', '"$@" 2>&1 | true')


@pytest.mark.sampled
@pytest.mark.parametrize('name', ['help', 'image', 'video', 'drive'])
@pytest.mark.parametrize('shell', GONE)
def test_what_else_is_gone_does_not_matter(name, inputs, shell):
    done = call(name, inputs, shell)
    assert done.returncode == 0
    assert 'Traceback' not in done.stdout + done.stderr


def test_a_closed_stream_does_not_end_up_in_a_file(inputs):
    """The next file to be opened takes the number of the stream."""
    done = call('image', inputs, '"$@" >&- 2>&-')
    assert done.returncode == 1
    data = (inputs / 'midas_depth_output' / 'a_depth.npy').read_bytes()
    assert np.load(io.BytesIO(data)).shape == (48, 64)
