"""`midas_depth image` with other networks: official size and enlargement, as their own code does.

On weights that anyone can make, in files that the command finds by path.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden_networks import TOLERANCE, deviation, golden_file
from PIL import Image

from .conftest import corridor

SMALL, HYBRID, V21 = 'depth_anything_v2_small', 'dpt_hybrid_384', 'midas_v21_384'
FAMILIES = {SMALL: 'depth_anything', 'zipdepth': 'zipdepth', V21: 'midas_v21'}
STEP = 16  # every how many rows and columns of a golden picture are kept
EXACT = ('--precision', 'f32', '--only', 'npy', '--num-threads', '1')


@pytest.mark.parametrize(
    'name',
    [
        'zipdepth',
        'dpt_levit_224',
        *(pytest.param(each, marks=pytest.mark.thorough) for each in (SMALL, V21, HYBRID)),
    ],
)
def test_the_depth_of_a_picture_is_the_official_one(
    midas_depth, golden_dir: Path, shared_data: Path, tmp_path: Path, name: str
) -> None:
    room = shared_data.parent / 'golden' / 'room.png'
    if not room.is_file():
        pytest.skip(f'{room} is not there')
    weights = golden_file(golden_dir, tmp_path, name)
    result = midas_depth('image', room, '--model', weights, '-o', 'room.npy', *EXACT)
    assert result.exit_code == 0, result.output
    found = np.load('room.npy')
    with Image.open(room) as picture:
        assert found.shape == (picture.height, picture.width)
    with np.load(golden_dir / f'{FAMILIES.get(name, "dpt")}.npz') as figures:
        wanted = figures[f'{name}_picture_every_{STEP}']
    wanted = np.maximum(wanted, 0)  # the cubic overshoots
    assert deviation(found[::STEP, ::STEP], wanted) < TOLERANCE


def test_another_size_gives_another_depth_of_the_same_scene(
    midas_depth, golden_dir: Path, tmp_path: Path, save
) -> None:
    path = save('a.png', corridor())
    weights = golden_file(golden_dir, tmp_path, 'zipdepth')
    found = {}
    for size in (0, 384, 128):
        arguments = ('--network-size', size, '-o', f'{size}.npy', *EXACT)
        result = midas_depth('image', path, '--model', weights, *arguments)
        assert result.exit_code == 0, result.output
        found[size] = np.load(f'{size}.npy')
        assert found[size].shape == (120, 160)
    np.testing.assert_array_equal(found[0], found[384])  # the official one
    assert deviation(found[128], found[0]) > 0.1
    assert np.corrcoef(found[128].ravel(), found[0].ravel())[0, 1] > 0.2


@pytest.mark.parametrize(
    ('arguments', 'code', 'said'),
    [
        (
            ('--network-size', 250),
            1,
            '--network-size is 250: not a multiple of 32: give 224 or 256',
        ),
        (('--network-size', 20_000), 2, '20000 is not in the range 0<=x<=2048'),
        (('--network-size', 'wide'), 2, "'wide' is not a valid integer"),
        (('--network-aspect', 0.5), 2, '0.5 is not in the range 1.0<=x<=64.0'),
        (('--network-size', 1024, '--network-aspect', 5), 1, '--network-size of at most 896'),
        (('--network-size', 256, '--model', 'embedded'), 1, '256 x 192 pixels only: leave it at 0'),
    ],
)
def test_a_size_that_cannot_be_is_refused_in_one_line(
    midas_depth, save, arguments: tuple[object, ...], code: int, said: str
) -> None:
    path = save('a.png', corridor())
    model = () if '--model' in arguments else ('--model', 'zipdepth')
    result = midas_depth('image', path, *model, *arguments)
    assert result.exit_code == code
    assert said in ' '.join(result.stderr.split())
    assert 'Traceback' not in result.output
    assert not Path('midas_depth_output').exists()
