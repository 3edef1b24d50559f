"""`midas_depth image` on the photographs that people have: phones, cameras, whole folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from fakes import BrightnessEstimator
from PIL import Image, features

from midas_depth_ros.cli import options as model_module
from midas_depth_ros.cli.image_outputs import Result
from midas_depth_ros.cli.options import Look, Metres
from midas_depth_ros.geometry import ScaleShift
from midas_depth_ros.images import ImageError
from midas_depth_ros.images.sources.pictures import read_picture
from midas_depth_ros.views import HeatmapOptions

from .conftest import corridor

MODEL = ('--model', 'embedded', '--backend', 'opencv')
OUT = Path('midas_depth_output')
HAS_AVIF = pytest.mark.skipif(not features.check('avif'), reason='this Pillow knows no AVIF')
WITHOUT = """
import sys
for name in sys.argv[2].split(','):
    sys.modules[name] = None
from pathlib import Path
from midas_depth_ros.images.sources.pictures import read_picture
read_picture(Path(sys.argv[1]))
"""


class Exact(BrightnessEstimator):
    """Gives what it is given: (h, w) float32 1/Z."""

    def __init__(self, inverse_m: np.ndarray) -> None:
        super().__init__()
        self._inverse_m = inverse_m

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        return self._inverse_m


def colours(height: int = 48, width: int = 64) -> np.ndarray:
    """Three columns."""
    rgb = np.zeros((height, width, 3), np.uint8)
    for number in range(3):
        rgb[:, number * width // 3 : (number + 1) * width // 3, number] = 250
    return rgb


def save_heic(path: Path, rgb: np.ndarray, **options) -> Path:
    pillow_heif.from_pillow(Image.fromarray(rgb)).save(path, quality=90, **options)
    return path


@pytest.mark.parametrize(
    'name', ['a.heic', 'a.HEIF', 'a.jpg', pytest.param('a.avif', marks=HAS_AVIF)]
)
def test_pictures_of_phones_are_read_whatever_they_are_called(tmp_path, name):
    path = tmp_path / name
    if name == 'a.avif':
        Image.fromarray(colours()).save(path, quality=90)
    else:
        save_heic(tmp_path / 'x.heic', colours()).rename(path)
    assert np.abs(read_picture(path).astype(int) - colours()).mean() < 6
    with pytest.raises(ImageError, match='64x48, more than 1000 pixels'):
        read_picture(path, 1000)


def test_what_only_calls_itself_heic_is_read_as_what_it_is(tmp_path):
    Image.fromarray(colours()).save(tmp_path / 'x.png')
    (tmp_path / 'x.png').rename(tmp_path / 'x.heic')
    np.testing.assert_array_equal(read_picture(tmp_path / 'x.heic'), colours())
    for data in (b'', b'\0\0\0\x18ftypheic', b'\0\0\0\x18ftypavif', b'nonsense' * 9):
        (tmp_path / 'x.heic').write_bytes(data)
        with pytest.raises(ImageError):
            read_picture(tmp_path / 'x.heic')


@pytest.mark.parametrize('name', ['a.jfif', 'a.MPO', 'a', 'a.gif', 'a.bmp', 'a.tif', 'a.jpg'])
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'BMP', 'TIFF', 'PPM', 'WEBP'])
def test_a_picture_is_what_its_bytes_say_not_its_name(tmp_path, name, form):
    Image.fromarray(colours()).save(tmp_path / name, form)
    assert np.abs(read_picture(tmp_path / name).astype(int) - colours()).mean() < 6


@pytest.mark.parametrize('name', ['a.gif', 'a', 'a.txt', 'a.jpg', 'a.bmp', 'a.heic', 'a.pgm'])
def test_what_is_no_picture_is_named_whatever_it_is_called(midas_depth, tmp_path, name):
    Path(name).write_bytes(b'GIF89a and so on')
    result = midas_depth('image', name, *MODEL)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.output
    assert 'which is not a' in result.stderr or 'cannot be decoded' in result.stderr


@pytest.mark.parametrize('mode', ['L', 'RGBA'])
def test_grey_and_alpha_of_heic(tmp_path, mode):
    picture = Image.fromarray(corridor(48, 64)).convert(mode)
    pillow_heif.from_pillow(picture).save(tmp_path / 'a.heic', quality=90)
    seen = read_picture(tmp_path / 'a.heic')
    wanted = np.asarray(picture.convert('RGB'))
    assert np.abs(seen.astype(int) - wanted).mean() < 5


@HAS_AVIF
@pytest.mark.parametrize('orientation', [3, 6])
def test_an_avif_is_turned_as_it_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colours()).save(tmp_path / 'a.avif', quality=90, exif=exif)
    wanted = np.rot90(colours(), {3: 2, 6: 3}[orientation])
    assert np.abs(read_picture(tmp_path / 'a.avif').astype(int) - wanted).mean() < 6


@pytest.mark.parametrize(
    ('name', 'without', 'said'),
    [
        ('a.heic', 'pillow_heif', 'pip install pillow-heif (the extra `heif`'),
        pytest.param('a.avif', 'PIL.AvifImagePlugin', 'Pillow 11.3', marks=HAS_AVIF),
    ],
)
def test_what_is_missing_is_named(tmp_path, name, without, said):
    if name == 'a.heic':
        save_heic(tmp_path / name, colours())
    else:
        Image.fromarray(colours()).save(tmp_path / name)
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT, str(tmp_path / name), without],
        capture_output=True, text=True,
    )  # fmt: skip
    assert 'UnsupportedFormat' in done.stderr.splitlines()[-1]
    assert said in done.stderr.splitlines()[-1]


def test_pictures_that_differ_in_their_endings_do_not_meet(midas_depth, save):
    """And one that fails is in nobody's way."""
    Path('in').mkdir()
    Path('in/IMG_1.HEIC').write_bytes(b'broken')
    save('in/IMG_1.JPG', corridor(48, 64))
    for name in ('in/a.jpg', 'in/a.png', 'in/a.b.png', 'in/b.png', 'in/a_jpg.png'):
        save(name, corridor(48, 64))
    result = midas_depth('image', 'in', *MODEL, '--only', 'npy')
    assert (result.exit_code, result.stdout.partition(':')[0]) == (1, '6 of 7 done')
    assert [line.partition(':')[0] for line in result.stderr.splitlines()] == ['in/IMG_1.HEIC']
    names = ['IMG_1_JPG', 'a.b', 'a_jpg', 'a_jpg_png', 'a_png', 'b']
    assert sorted(os.listdir(OUT)) == [f'{name}_depth.npy' for name in names]


def test_pictures_called_one_by_one_do_not_meet_either(midas_depth, save):
    Path('in').mkdir()
    paths = [save(f'in/{name}', corridor(48, 64)) for name in ('a.jpg', 'a.png', 'b.png')]
    for path in paths:
        result = midas_depth('image', path, *MODEL, '--only', 'npy')
        assert (result.exit_code, result.stdout[:11]) == (0, '1 of 1 done'), result.output
    names = ['a_jpg_depth.npy', 'a_png_depth.npy', 'b_depth.npy']
    assert sorted(os.listdir(OUT)) == names
    result = midas_depth('image', 'in', *MODEL, '--only', 'npy')
    assert '3 already there' in result.stdout
    assert sorted(os.listdir(OUT)) == names


def test_a_picture_that_fails_keeps_no_name_from_another(midas_depth, save):
    Path('x').mkdir()
    Path('x/a.png').write_bytes(b'broken')
    good = save('y/a.png', corridor(48, 64))
    result = midas_depth('image', 'x/a.png', good, *MODEL, '--only', 'npy')
    assert (result.exit_code, os.listdir(OUT)) == (1, ['a_depth.npy'])
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('output', 'only', 'shape'),
    [
        ('result.png', (), (48, 64, 3)),
        ('made/result.JPG', ('--only', 'overlay'), (48, 64, 3)),
        ('result.webp', ('--only', 'side-by-side'), None),
        ('result.png', ('--only', 'depth16'), (48, 64)),
        ('result.npy', (), (48, 64)),
        ('result.ply', (), None),
    ],
)
def test_one_picture_becomes_the_file_that_is_named(midas_depth, save, output, only, shape):
    path = save('a.png', corridor(48, 64))
    call = ('image', path, *MODEL, '-o', output, *only)
    result = midas_depth(*call)
    assert result.exit_code == 0, result.output
    assert Path(output).is_file()
    before = Path(output).read_bytes()
    if output.endswith('.npy'):
        assert np.load(output).shape == shape
    elif shape:
        assert cv2.imread(output, cv2.IMREAD_UNCHANGED).shape == shape
    again = midas_depth(*call)
    assert (again.exit_code, Path(output).read_bytes()) == (1, before)
    assert f'{output} already exists: use --force' in again.stderr
    assert midas_depth(*call, '--force').exit_code == 0


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('a.png', 'b.png', '-o', 'r.png'), 'r.png is one file, but there are 2 pictures'),
        (('a.png', '-o', 'r.png', '--only', 'cloud'), 'cloud is written as .ply'),
        (('a.png', '-o', 'r.npy', '--only', 'heatmap'), 'heatmap is written as .png, .jpg'),
        (('a.png', '-o', 'r.png', '--only', 'heatmap', '--only', 'overlay'), 'give one --only'),
        (('a.png', '-o', 'r.gif'), 'cannot write .gif: use *.jpeg, *.jpg'),
        (('a.png', '-o', 'r.HEIC'), 'cannot write .HEIC: use *.jpeg, *.jpg'),
        (('a.png', '-o', 'text'), 'text is a file: use a folder, or *.jpeg, *.jpg, *.npy'),
    ],
)
def test_files_that_cannot_be_what_is_asked_for(midas_depth, save, arguments, said):
    save('a.png', corridor(48, 64))
    save('b.png', corridor(48, 64))
    Path('text').write_text('mine')
    result = midas_depth('image', *arguments, *MODEL)
    assert (result.exit_code, sorted(os.listdir())) == (2, ['a.png', 'b.png', 'text'])
    assert said in ' '.join(result.stderr.split())


def test_an_input_is_not_overwritten_by_name_and_a_folder_may_have_any(midas_depth, save):
    path = save('a.png', corridor(48, 64))
    before = path.read_bytes()
    result = midas_depth('image', path, *MODEL, '-o', './a.png', '--force')
    assert (result.exit_code, path.read_bytes()) == (1, before)
    assert 'is one of the inputs' in result.stderr
    Path('folder.png').mkdir()
    assert midas_depth('image', path, *MODEL, '-o', 'folder.png', '--only', 'npy').exit_code == 0
    assert os.listdir('folder.png') == ['a_depth.npy']


def test_a_large_photo_leaves_files_of_a_sensible_size(midas_depth, tmp_path):
    rows = corridor(600, 800).repeat(5, axis=0).repeat(5, axis=1)  # 12 megapixels
    Image.fromarray(rows).save(tmp_path / 'a.jpg')
    result = midas_depth('image', 'a.jpg', *MODEL, '--json')
    assert result.exit_code == 0, result.output
    sizes = {path.name: path.stat().st_size for path in OUT.iterdir()}
    assert len(sizes) == 6
    assert sum(sizes.values()) < 15e6
    assert np.load(OUT / 'a_depth.npy').shape == (960, 1280)
    about = json.loads(result.stdout)['pictures'][0]
    assert (about['width'], about['height']) == (4000, 3000)
    whole = midas_depth('image', 'a.jpg', *MODEL, '--only', 'npy', '--force', '--max-side', '0')
    assert whole.exit_code == 0
    assert np.load(OUT / 'a_depth.npy').shape == (3000, 4000)


@pytest.mark.parametrize(('nearest_m', 'farthest_m'), [(0.3, 2.0), (6.0, 40.0), (60.0, 700.0)])
def test_colours_in_metres_show_what_is_there(nearest_m, farthest_m):
    """Beyond 5 m all was black."""
    inverse_m = np.linspace(1 / farthest_m, 1 / nearest_m, 64, dtype=np.float32)
    metres = Metres(None, ScaleShift(1.0, 0.0, 'fixed'))
    options = HeatmapOptions(mode='metric', legend=False)
    rgb = np.full((64, 96, 3), 120, np.uint8)
    estimator = Exact(np.tile(inverse_m[:, np.newaxis], (1, 96)))
    given = Result('a', rgb, estimator, Look(options, metres)).heatmap
    fitted = Look(options, metres, fits_near=True, fits_far=True)
    drawn = Result('a', rgb, estimator, fitted).heatmap
    assert len(np.unique(drawn[:, 0], axis=0)) > 40, 'each distance has its colour'
    if nearest_m > 5:
        assert len(np.unique(given[:, 0], axis=0)) < 20
    ends = fitted.fitted(estimator.infer(rgb))
    assert ends.metric_near == pytest.approx(nearest_m, rel=0.1)
    assert ends.metric_far == pytest.approx(farthest_m, rel=0.3)


def test_ends_that_are_given_stay():
    look = Look(HeatmapOptions(metric_near=2.0, metric_far=4.0), Metres(), fits_far=True)
    ends = look.fitted(np.full((4, 4), 0.02, np.float32))
    assert (ends.metric_near, ends.metric_far) == (2.0, 50.0)
    look = Look(HeatmapOptions(metric_near=2.0, metric_far=4.0), Metres(), fits_near=True)
    assert look.fitted(np.full((4, 4), 0.02, np.float32)).metric_near < 4
    none = np.full((4, 4), np.nan, np.float32)
    assert look.fitted(none) == look.heatmap


def test_metres_are_fitted_unless_they_are_given(midas_depth, save, monkeypatch):
    far = Exact(np.linspace(0.02, 0.2, 48 * 64, dtype=np.float32).reshape(48, 64))
    monkeypatch.setattr(model_module, 'estimator_of', lambda values: far)
    save('a.png', corridor(48, 64))
    call = ('image', 'a.png', '--mode', 'metric', '--fixed-scale', '1', '--no-legend')
    seen = {}
    for name, more in (('open.png', ()), ('given.png', ('--metric-far', '5'))):
        result = midas_depth(*call, '--no-picture-check', *more, '-o', name)
        assert result.exit_code == 0, result.output
        seen[name] = cv2.imread(name)[..., ::-1].astype(int)
    assert seen['open.png'].mean() > seen['given.png'].mean() + 40, 'beyond 5 m all is black'
