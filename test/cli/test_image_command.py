"""`midas_depth image` as a person uses it: what it makes, refuses, keeps and says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.images.sources.pictures import read_picture
from midas_depth_ros.views import Heatmap, HeatmapOptions

from .conftest import corridor

ENDINGS = ('_heatmap.png', '_overlay.png', '_side_by_side.png', '_depth16.png', '_depth.npy')
ALL = (*ENDINGS, '_cloud.ply')
MODEL = ('--model', 'embedded', '--backend', 'opencv')
OUT = Path('midas_depth_output')
NO_ROS = """
import sys
class NoRos:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('rclpy', 'sensor_msgs', 'std_msgs', 'rcl_interfaces',
                                  'builtin_interfaces', 'geometry_msgs', 'torch'):
            raise ModuleNotFoundError(name + ' is not to be had here')
sys.meta_path.insert(0, NoRos())
from midas_depth_ros.cli.main import main
main(sys.argv[1:])
"""


def ply(path: Path) -> tuple[list[str], np.ndarray]:
    """The comments of a PLY and its vertices."""
    header, _, data = path.read_bytes().partition(b'end_header\n')
    lines = header.decode().splitlines()
    kinds = {'float': '<f4', 'uchar': 'u1'}
    fields = [line.split()[1:] for line in lines if line.startswith('property')]
    table = np.frombuffer(data, [(name, kinds[kind]) for kind, name in fields])
    assert f'element vertex {len(table)}' in lines
    return [line.removeprefix('comment ') for line in lines if line.startswith('comment')], table


def test_a_bad_picture_is_named_and_the_others_are_done(midas_depth, save, tmp_path):
    good = save('good.jpg', corridor())
    empty = tmp_path / 'empty.jpg'
    empty.write_bytes(b'')
    cut = tmp_path / 'cut.jpg'
    cut.write_bytes(good.read_bytes()[:900])
    text = tmp_path / 'text.png'
    text.write_text('no picture')
    result = midas_depth('image', 'nowhere.jpg', empty, cut, text, good, *MODEL)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line.split(':')[0] for line in lines] == ['nowhere.jpg', *map(str, (empty, cut, text))]
    assert 'Traceback' not in result.output
    assert result.stdout.startswith('1 of 5 done: ')
    assert sorted(os.listdir(OUT)) == sorted(f'good{ending}' for ending in ALL)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ((), "Missing argument 'FILE...'"),
        (('--gamma', '99'), "'--gamma': 99.0 is not in the range 0.1<=x<=10.0"),
        (('--gamma', 'nan'), 'leave the option out'),
        (('--colormap', 'grey'), "'grey' is not one of 'inferno'"),
        (('--only', 'gif'), "'gif' is not one of 'heatmap'"),
        (('--metric-near', '9', '--metric-far', '3'), '--metric-near 9 m is not below'),
        (('--percentile-low', '50', '--percentile-high', '50'), 'is not below'),
        (('--mode', 'metric'), '--mode metric needs metres'),
        (('--camera-height', '0.3'), 'only with --camera-pitch and --horizontal-fov'),
        (('--fixed-shift', '1'), '--fixed-shift alone gives no metres'),
        (('--fixed-scale', '1', '--camera-height', '0.3'), 'both give metres'),
    ],
)
def test_wrong_usage_is_said_before_anything_is_done(midas_depth, save, arguments, said):
    files = (save('a.png', corridor()),) if arguments else ()
    result = midas_depth('image', *files, *arguments)
    assert result.exit_code == 2
    assert said in ' '.join(result.stderr.split())
    assert not OUT.exists()


def test_outputs_hold_what_the_library_says(midas_depth, save):
    path = save('a.png', corridor())
    assert midas_depth('image', path, *MODEL, '--colormap', 'turbo').exit_code == 0
    rgb = read_picture(path)
    estimator = load_estimator('embedded', 'opencv')
    depth = estimator.estimate(rgb)
    np.testing.assert_allclose(np.load(OUT / 'a_depth.npy'), depth, atol=1e-5)

    with Image.open(OUT / 'a_depth16.png') as opened:
        far, near = float(opened.text['far']), float(opened.text['near'])
        levels = np.asarray(opened).astype(np.float64)
    assert (levels.min(), levels.max()) == (0, 65535)
    np.testing.assert_allclose(
        far + levels / 65535 * (near - far), depth, atol=1e-3 * np.ptp(depth)
    )

    options = HeatmapOptions(colormap='turbo')
    heatmap = Heatmap().render(estimator.infer(rgb), rgb, 0.0, options, rgb.shape[:2])
    np.testing.assert_array_equal(read_picture(OUT / 'a_heatmap.png'), heatmap)
    overlay = read_picture(OUT / 'a_overlay.png').astype(int)
    np.testing.assert_allclose(overlay, (heatmap.astype(int) + rgb) / 2, atol=1)
    beside = read_picture(OUT / 'a_side_by_side.png')
    np.testing.assert_array_equal(beside[:120, :160], rgb)
    np.testing.assert_array_equal(beside[:120, -160:], heatmap)


def test_a_cloud_without_a_scale_says_that_it_has_no_unit(midas_depth, save):
    path = save('a.png', corridor())
    assert midas_depth('image', path, *MODEL, '--only', 'cloud').exit_code == 0
    assert os.listdir(OUT) == ['a_cloud.ply']
    comments, table = ply(OUT / 'a_cloud.ply')
    assert comments[0].startswith('unit: none. Relative shape only')
    assert 'assumed' in comments[1]
    assert (table['z'].min(), table['z'].max()) == (pytest.approx(1), pytest.approx(10))
    estimator = load_estimator('embedded', 'opencv')
    small = estimator.infer(read_picture(path))
    nearest = np.argsort(small.reshape(-1))[-50:]
    assert table['z'][nearest].max() < 1.2, 'near in the picture is near in the cloud'


def test_a_fixed_scale_makes_metres_of_the_cloud(midas_depth, save):
    path = save('a.png', corridor())
    metres = ('--fixed-scale', '0.5', '--fixed-shift', '0.2', '--horizontal-fov', '1.2')
    assert midas_depth('image', path, *MODEL, '--only', 'cloud', *metres).exit_code == 0
    comments, table = ply(OUT / 'a_cloud.ply')
    assert comments[0] == 'unit: metres, by fixed: 1/Z = 0.5 d + 0.2'
    small = load_estimator('embedded', 'opencv').infer(read_picture(path))
    depth_z = 1 / (0.5 * small + 0.2)
    np.testing.assert_allclose(table['z'], depth_z[depth_z >= 0.05].reshape(-1), rtol=1e-4)
    row = table[: small.shape[1]]
    focal = 0.5 * small.shape[1] / np.tan(0.6)
    columns = np.arange(small.shape[1]) - (small.shape[1] - 1) / 2
    np.testing.assert_allclose(row['x'] / row['z'], columns / focal, atol=1e-5)


@pytest.mark.parametrize('only', ['metres', 'cloud'])
def test_metres_that_are_nowhere_are_no_result(midas_depth, save, only):
    path = save('a.png', corridor())
    metres = ('--fixed-scale', '0.01', '--fixed-shift', '-1e6', '--horizontal-fov', '1.2')
    result = midas_depth('image', path, *MODEL, '--only', only, *metres)
    assert result.exit_code == 1
    assert f'a.png: no {only}: ' in result.stderr
    assert 'check --fixed-scale and --fixed-shift' in result.stderr
    assert not list(Path(OUT).glob('*'))


def test_a_heatmap_in_metres_that_has_none_says_why(midas_depth, save):
    path = save('a.png', corridor())
    metres = ('--camera-height', '0.3', '--camera-pitch', '-1.2', '--horizontal-fov', '1.0')
    wanted = ('--mode', 'metric', '--only', 'heatmap', *metres)
    result = midas_depth('image', path, *MODEL, *wanted)
    assert 'a.png: the heatmap is grey, no metres: ' in result.stderr
    done = midas_depth('image', path, *MODEL, *wanted, '--json', '--force')
    (about,) = json.loads(done.stdout)['pictures']
    assert about['no_metres'] in result.stderr


def test_a_heatmap_whose_scale_gives_metres_nowhere_says_so(midas_depth, save):
    path = save('a.png', corridor())
    fixed = ('--mode', 'metric', '--fixed-scale', '0.01', '--fixed-shift=-1e6')
    result = midas_depth('image', path, *MODEL, '--only', 'heatmap', *fixed)
    assert 'a.png: the heatmap shows no metres: nothing is within the range' in result.stderr
    assert 'check --fixed-scale and --fixed-shift' in result.stderr
    done = midas_depth('image', path, *MODEL, '--only', 'heatmap', *fixed, '--json', '--force')
    (about,) = json.loads(done.stdout)['pictures']
    assert about['no_metres'] in result.stderr
    fixed = ('--mode', 'metric', '--fixed-scale', '0.01', '--fixed-shift=0.1')
    done = midas_depth('image', path, *MODEL, '--only', 'heatmap', *fixed, '--force')
    assert 'no metres' not in done.stderr


def test_patterns_leave_out_earlier_outputs_as_folders_do(midas_depth, save):
    save('in/a.png', corridor(48, 64))
    for _ in range(2):
        result = midas_depth(
            'image', 'in/*.png', *MODEL, '--only', 'heatmap', '-o', 'in', '--force'
        )
        assert result.exit_code == 0
    assert sorted(os.listdir('in')) == ['a.png', 'a_heatmap.png']
    os.remove('in/a.png')
    result = midas_depth('image', 'in/*.png', *MODEL, '--only', 'heatmap', '-o', 'in')
    assert 'only outputs of an earlier run match' in result.stderr
    assert midas_depth('image', 'in/a_heatmap.png', *MODEL, '--only', 'npy').exit_code == 0


def test_a_refused_fit_is_said_and_no_cloud_takes_its_place(midas_depth, save):
    grey = save('grey.png', np.full((120, 160, 3), 128, np.uint8))
    metres = ('--camera-height', '0.3', '--camera-pitch', '-1.2', '--horizontal-fov', '1.0')
    result = midas_depth('image', grey, *MODEL, *metres)
    assert result.exit_code == 1
    assert 'grey.png: no cloud: no metric scale: ' in result.stderr
    assert sorted(os.listdir(OUT)) == sorted(f'grey{ending}' for ending in ENDINGS)


def test_folders_and_patterns_give_their_pictures_once(midas_depth, save):
    for name in ('in/b10.png', 'in/b9.png', 'in/sub/c.png', 'other/x.jpg', 'other/x_heatmap.png'):
        save(name, corridor(48, 64))
    Path('in/notes.txt').write_text('none')
    result = midas_depth(
        'image', 'in', 'in/b9.png', 'other/*.jpg', *MODEL, '--only', 'npy', '-o', 'made/there'
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == '3 of 3 done: npy in made/there\n'
    assert sorted(os.listdir('made/there')) == ['b10_depth.npy', 'b9_depth.npy', 'x_depth.npy']
    assert midas_depth('image', 'other', *MODEL, '--only', 'npy').stdout.startswith('1 of 1 done')
    assert 'no picture matches' in midas_depth('image', '*.tiff', *MODEL).stderr
    Path('nothing').mkdir()
    assert 'holds no pictures' in midas_depth('image', 'nothing', *MODEL).stderr


def test_what_is_there_is_kept_unless_forced(midas_depth, save):
    path = save('a.png', corridor(48, 64))
    OUT.mkdir()
    there = OUT / 'a_depth.npy'
    there.write_text('mine')
    both = ('image', path, *MODEL, '--only', 'npy', '--only', 'heatmap')
    result = midas_depth(*both)
    assert (result.exit_code, result.stdout.partition(':')[0]) == (0, '1 of 1 done')
    assert f'{path}: already in {OUT}: a_depth.npy' in result.stderr
    assert (there.read_text(), sorted(os.listdir(OUT))) == (
        'mine',
        ['a_depth.npy', 'a_heatmap.png'],
    )
    result = midas_depth(*both)
    assert result.exit_code == 0, 'a batch that is called again'
    no_model = ('--only', 'npy', '--model', 'nonsense')
    assert midas_depth('image', path, *no_model).exit_code == 0, 'nothing is loaded for nothing'
    assert result.stdout.startswith('0 of 1 done, 1 already there (use --force to overwrite): ')
    assert midas_depth('image', path, *MODEL, '--only', 'npy', '--force').exit_code == 0
    assert np.load(there).shape == (48, 64)


def test_an_input_is_never_written_to(midas_depth, save):
    first = save('a.png', corridor(48, 64))
    second = save('a_heatmap.png', corridor(48, 64, shift=5))
    before = second.read_bytes()
    result = midas_depth('image', first, second, *MODEL, '--force', '-o', '.', '--only', 'heatmap')
    assert result.exit_code == 1
    assert f'{first}: a_heatmap.png is one of the inputs' in result.stderr
    assert second.read_bytes() == before
    assert Path('a_heatmap_heatmap.png').is_file()


def test_two_pictures_of_one_name_do_not_overwrite_each_other(midas_depth, save):
    one, other = save('x/a.png', corridor(48, 64)), save('y/a.png', corridor(48, 64, 5))
    result = midas_depth('image', one, other, *MODEL, '--only', 'npy')
    assert result.exit_code == 1
    assert f'{other}: {OUT}/a_depth.npy is an output of {one}' in result.stderr
    again = midas_depth('image', one, other, *MODEL, '--only', 'npy')
    assert again.exit_code == 1, 'what is there is of the first one'
    assert f'{other}: {OUT}/a_depth.npy is an output of {one}' in again.stderr


def test_an_unknown_model_ends_in_one_line(midas_depth, save):
    result = midas_depth('image', save('a.png', corridor(48, 64)), '--model', 'nonsense')
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 'nonsense' is neither a model")


def test_it_runs_where_there_is_neither_ros_nor_torch(save, tmp_path):
    path = save('a.png', corridor())
    arguments = ['image', str(path), '-o', str(tmp_path / 'out'), *MODEL]
    result = subprocess.run(
        [sys.executable, '-c', NO_ROS, *arguments], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert len(os.listdir(tmp_path / 'out')) == len(ALL)
    helped = subprocess.run(
        [sys.executable, '-c', NO_ROS, 'bag', str(tmp_path), str(tmp_path / 'o')],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (helped.returncode, 'is not a bag' in helped.stderr) == (1, True)


def test_turned_pictures_come_out_upright(midas_depth, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(corridor(48, 64)).save(tmp_path / 'turned.jpg', exif=exif)
    assert midas_depth('image', 'turned.jpg', *MODEL, '--only', 'npy').exit_code == 0
    assert np.load(OUT / 'turned_depth.npy').shape == (64, 48)
    assert cv2.imread('turned.jpg') is not None
