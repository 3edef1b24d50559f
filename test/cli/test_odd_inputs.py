"""Inputs that are not what their names say: each is named in a line, and the others are done."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import raw_message, write_bag, write_image_bag
from disks import all_files

from .conftest import corridor
from .test_video_command import read_video, write_video

if find_spec('rclpy'):
    import ros_helpers  # noqa: F401 - before the first message, see there

MODEL = ('--model', 'embedded', '--backend', 'opencv')
BAG_MODEL = ('-p', 'model:=embedded', '-p', 'backend:=opencv')
WITH_ROS = pytest.mark.skipif(not find_spec('rclpy'), reason='a bag is processed by the node')
OUT = Path('midas_depth_output')
ESCAPES = 'a\x1b[31m\x1b]0;t\x07\u202egpj.\n b'


def sparse(path: Path) -> None:
    with path.open('wb') as file:
        file.truncate(10 << 30)


ODD = {
    'a FIFO': os.mkfifo,
    'a folder': os.mkdir,
    'a device': lambda path: path.symlink_to('/dev/zero'),
    'Too many levels of symbolic links': lambda path: path.symlink_to(path.name),
    '10737418240 bytes': sparse,
    'data is empty': lambda path: path.symlink_to('/proc/self/timers'),
}


def in_lines(result, *said: str) -> None:
    """Each of these is in a line of its own, and nothing can move the cursor."""
    lines = result.stderr.splitlines()
    for text in said:
        assert [line for line in lines if text in line], (text, lines)
    assert all(line.isprintable() for line in lines + result.stdout.splitlines())
    assert 'Traceback' not in result.output


def test_pictures_that_are_none_are_named_and_the_others_done(midas_depth, save):
    save('in/good.png', corridor(48, 64))
    for number, make in enumerate(ODD.values()):
        make(Path(f'in/{number}.jpg'))
    result = midas_depth('image', 'in', *MODEL, '--only', 'npy')
    assert result.exit_code == 1
    assert result.stdout.startswith(f'1 of {len(ODD) + 1} done')
    in_lines(result, *(f'in/{i}.jpg: ' for i in range(len(ODD))), *ODD)
    assert len(result.stderr.splitlines()) == len(ODD)
    assert os.listdir(OUT) == ['good_depth.npy']
    by_name = midas_depth('image', *sorted(map(str, Path('in').iterdir())), *MODEL, '-o', 'two')
    in_lines(by_name, *(text for text in ODD if text != 'a folder'))


@pytest.mark.parametrize(
    ('command', 'options'),
    [('image', ()), ('video', ()), pytest.param('bag', ('out',), marks=WITH_ROS)],
)
@pytest.mark.parametrize(
    'name', ['/dev/zero', '/dev/full', 'fifo', '/proc/self/mem', '', 'x' * 5000]
)
def test_no_command_waits_or_reads_without_end(midas_depth, tmp_path, command, options, name):
    os.mkfifo(tmp_path / 'fifo')
    model = () if command == 'bag' else MODEL
    result = midas_depth(command, name, *options, *model)
    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()[-1]) < 2200
    in_lines(result)


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.db3', '.mcap', ''])
@pytest.mark.parametrize('kind', ODD)
def test_videos_that_are_none_end_in_a_line(midas_depth, tmp_path, suffix, kind):
    ODD[kind](tmp_path / f'in{suffix}')
    result = midas_depth('video', f'in{suffix}', *MODEL)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith('error: in')
    in_lines(result)
    assert all_files(tmp_path) == {f'in{suffix}'}


def test_patterns_do_not_go_in_circles(midas_depth, save):
    """Two links back would make a path for every sequence of them, forty links long."""
    save('in/sub/good.png', corridor(48, 64))
    save('in/.hidden/other.png', corridor(48, 64))
    for number in range(3):
        Path(f'in/sub/loop{number}').symlink_to('..')
    result = midas_depth('image', 'in/**/*.png', *MODEL, '--only', 'npy')
    assert (result.exit_code, result.stdout.split(':')[0]) == (0, '1 of 1 done')


def test_names_that_a_terminal_would_obey_are_escaped(midas_depth, save, tmp_path):
    good = save(f'{ESCAPES}.png', corridor(48, 64))
    (tmp_path / f'bad{ESCAPES}.png').write_bytes(b'x')
    os.mkdir(os.fsencode(str(tmp_path)) + b'/o\xff')
    out = tmp_path / os.fsdecode(b'o\xff')
    for path in (good, f'bad{ESCAPES}.png', f'gone{ESCAPES}.png', f'{ESCAPES}*'):
        in_lines(midas_depth('image', path, *MODEL, '--only', 'npy', '-o', out))
    assert len(os.listdir(out)) == 1
    video = write_video(tmp_path / 'in.avi', [corridor(48, 64)])
    in_lines(midas_depth('video', video, *MODEL, '-o', f'{ESCAPES}.mp4'))
    assert len(read_video(tmp_path / f'{ESCAPES}.mp4')[0]) == 1
    in_lines(midas_depth('video', video, *MODEL, '-o', f'{ESCAPES}.mp4'), 'already exists')
    in_lines(midas_depth('video', f'{ESCAPES}.png', *MODEL, '-o', out / f'{ESCAPES}.x'))
    in_lines(midas_depth(f'{ESCAPES}'), 'No such command')
    in_lines(midas_depth('image', f'--{ESCAPES}'), 'No such option')
    in_lines(midas_depth('image', 'x', '--model', ESCAPES))


def test_videos_may_have_any_name(midas_depth, tmp_path):
    """None is taken for an address, a pattern or text."""
    for name in ('o\xff', 'a:b', 'http:', '%03d', '-'):
        odd, made = (tmp_path / os.fsdecode(f'{name}{end}'.encode('latin-1')) for end in '12')
        odd, made = odd.with_suffix('.avi'), made.with_suffix('.mp4')
        write_video(tmp_path / 'in.avi', [corridor(48, 64)]).rename(odd)
        result = midas_depth('video', odd, *MODEL, '-o', made)
        assert result.exit_code == 0, result.output
        in_lines(result)
        made.rename(tmp_path / 'made.mp4')
        assert len(read_video(tmp_path / 'made.mp4')[0]) == 1


@pytest.mark.sampled
@pytest.mark.parametrize('shape', [(1, 1), (1, 1920), (1920, 1), (1, 30_000), (30_000, 2)])
def test_pictures_of_every_shape_are_done(midas_depth, save, shape):
    save('a.png', np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    extremes = ('--smoothing', '15', '--clahe-clip', '40', '--no-picture-check', '--max-side', '0')
    result = midas_depth('image', 'a.png', *MODEL, *extremes)
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(OUT / 'a_heatmap.png')).shape == (*shape, 3)


def bag_of(tmp_path: Path, topic: str, count: int = 4) -> Path:
    pictures = [corridor(48, 64, shift=i) for i in range(count)]
    return write_image_bag(tmp_path / 'in', pictures, 'mcap', topic=topic, with_camera_info=True)


def contents(path: Path) -> list[tuple[str, int]]:
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return [(each.topic, time_ns) for each, time_ns, _ in reader.messages()]


@WITH_ROS
class TestBags:
    @pytest.mark.sampled
    @pytest.mark.parametrize(
        'wishes',
        [
            ('--camera', 'front', '--camera', 'front'),
            ('--camera', 'front', '--camera', '/front/'),
            ('--camera', 'front', '--topic', '/front/image_raw'),
            ('--topic', 'front/image_raw', '--topic', '/front/image_raw'),
        ],
    )
    def test_a_camera_that_is_named_twice_is_done_once(self, midas_depth, tmp_path, wishes):
        bag_of(tmp_path, '/front/image_raw')
        result = midas_depth('bag', 'in', 'out', *BAG_MODEL, '--only', 'closeness', *wishes)
        assert result.exit_code == 0, result.output
        found = contents(tmp_path / 'out')
        assert len(found) == len(set(found)) == 4

    @pytest.mark.parametrize(
        'name', ['x' * 300, 'a b', '1st', 'é', 'a\x1b[31m', 'a//b', 'a-b', '~']
    )
    def test_a_camera_that_ros_cannot_name_is_refused(self, midas_depth, tmp_path, name):
        bag_of(tmp_path, f'/{name}/image_raw')
        result = midas_depth('bag', 'in', 'out', *BAG_MODEL)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        in_lines(result, 'name of a camera')
        assert not (tmp_path / 'out').exists()
        for wish in ('--camera', '--topic', '-p cameras:=[VALUE]'):
            option, _, value = wish.partition(' ')
            value = value.replace('VALUE', name) or name
            result = midas_depth('bag', 'in', 'out', *BAG_MODEL, option, value)
            assert result.exit_code in (1, 2)
            in_lines(result)

    @pytest.mark.sampled
    @pytest.mark.parametrize(
        ('storage', 'share'),
        [('mcap', 0.3), ('mcap', 0.6), ('mcap', 0.9), ('sqlite3', 0.6), ('sqlite3', 0.9)],
    )
    def test_of_a_cut_bag_what_is_whole_is_saved(self, midas_depth, tmp_path, storage, share):
        noise = np.random.default_rng(0).integers(0, 256, (20, 120, 160, 3), dtype=np.uint8)
        write_image_bag(tmp_path / 'in', list(noise), storage)
        file = next(each for each in (tmp_path / 'in').iterdir() if each.suffix != '.yaml')
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
        for source in ('in', file):
            shutil.rmtree('out', ignore_errors=True)
            result = midas_depth('bag', source, 'out', *BAG_MODEL, '--only', 'closeness')
            assert result.exit_code == 1
            saved = len(contents(tmp_path / 'out'))
            assert 20 * share - 8 <= saved < 20
            in_lines(result, 'cut short', f'{saved} images of the damaged bag were recovered')
        result = midas_depth('video', file, *MODEL, '-o', 'out.mp4', '--no-picture-check')
        assert (result.exit_code, result.stdout) == (1, f'{saved} frames in out.mp4\n')
        in_lines(result, 'cut short')
        assert len(read_video(tmp_path / 'out.mp4')[0]) == saved

    def test_texts_of_messages_are_printable(self, midas_depth, tmp_path):
        message = raw_message(corridor(48, 64), 1)
        message.encoding = '\x1b[31m'
        message.header.frame_id = '\x1b[31m'
        write_bag(tmp_path / 'in', [(1, '/camera/image_raw', message)])
        for call in (('bag', 'in', 'out', *BAG_MODEL), ('video', 'in', *MODEL)):
            result = midas_depth(*call)
            assert result.exit_code == 1
            in_lines(result, '\\x1b[31m')

    @pytest.mark.parametrize('part', ['a#b', 'a?b', 'a%41b'])
    def test_no_bag_is_written_anywhere_else(self, midas_depth, tmp_path, part):
        """The library takes a path for an address, of which these begin another part."""
        bag_of(tmp_path, '/camera/image_raw', 1)
        (tmp_path / part).mkdir()
        before = all_files(tmp_path)
        call = ('bag', 'in', f'{part}/out', *BAG_MODEL, '--only', 'closeness')
        result = midas_depth(*call, '--storage', 'sqlite3')
        assert result.exit_code == 1
        in_lines(result, '--storage mcap')
        assert all_files(tmp_path) == before
        assert midas_depth(*call, '--storage', 'mcap').exit_code == 0
        assert len(contents(tmp_path / part / 'out')) == 1
