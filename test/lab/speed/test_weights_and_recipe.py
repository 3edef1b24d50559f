"""What is timed is the right network: random weights that keep values sane, and a usual recipe
that gives the depth that the estimator gives.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from golden_networks import golden_file

from midas_depth_ros.depth import load_estimator, models, weights
from midas_depth_ros.depth.errors import UnknownModel, WeightsNotFound
from midas_depth_ros.depth.models import embedded
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
from midas_depth_ros.lab.speed import candidates
from midas_depth_ros.lab.speed.candidates import (
    find_candidates,
    find_weights,
    load_candidate,
)
from midas_depth_ros.lab.speed.random_weights import random_arrays, write_random_weights
from midas_depth_ros.lab.speed.run import picture


def test_a_model_that_is_nothing_is_named(tmp_path):
    with pytest.raises(UnknownModel, match='no_such'):
        find_weights(str(tmp_path / 'no_such.pt'))


@pytest.mark.parametrize(
    'model',
    ['~nobody_here/x.pt', 'x' * 5000, 'a\0b.pt', '', '/', '/dev/zero', '\udcff', '\x1b[31m'],
)
def test_what_can_be_no_file_is_told_in_a_sentence(model):
    with pytest.raises(
        UnknownModel, match=r'neither a model \(auto, midas_small, embedded, .*\) nor a file'
    ) as it:
        find_weights(model)
    assert len(str(it.value)) < 2200
    assert str(it.value).isprintable()


@pytest.mark.parametrize('name', ['midas_small', 'zipdepth', 'embedded', 'dpt_swin2_tiny_256'])
def test_random_weights_are_those_of_the_network_and_always_the_same(name):
    spec = models.spec(name)
    first, second = random_arrays(spec), random_arrays(spec)
    assert {key: array.shape for key, array in first.items()} == dict(spec.shapes)
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key])
        assert np.isfinite(array).all()
    variances = [first[key].min() for key in first if key.endswith('running_var')]
    assert min(variances, default=1) > 0.5


@pytest.mark.sampled
@pytest.mark.parametrize('name', ['zipdepth', 'depth_anything_v2_small', 'dpt_levit_224'])
def test_written_random_weights_are_recognised_and_give_depth(name, tmp_path):
    if not find_spec('torch'):
        pytest.skip('torch is not installed')
    path = write_random_weights(models.spec(name), tmp_path)
    assert models.spec_of(path).name == name
    assert [each.name for each in tmp_path.iterdir()] == [path.name], 'something was left beside it'
    usual = load_candidate('usual recipe', 'f32', path, 1)
    depth = usual.network(usual.preprocess(picture(64, 48)))
    assert np.isfinite(depth).all()
    assert np.abs(depth).max() < 1e6, 'activations grow from layer to layer'


def test_random_weights_where_there_are_no_official_ones(tmp_path, monkeypatch):
    def none(*args, **kwargs):
        raise WeightsNotFound('none here')

    monkeypatch.setattr(weights, 'ensure_weights', none)
    monkeypatch.setattr(candidates, 'user_cache', lambda: tmp_path)
    found = find_weights('auto')
    assert 'random weights' in found.note
    assert found.random
    assert found.path.is_file()
    assert found.path.is_relative_to(tmp_path)
    before = found.path.stat().st_mtime_ns
    assert find_weights('midas_small').path.stat().st_mtime_ns == before, 'it was written anew'


def test_the_usual_recipe_gives_the_depth_of_the_estimator():
    if not (find_spec('torch') and find_spec('timm')):
        pytest.skip('torch and timm are not installed')
    rgb = picture(320, 240)
    usual = load_candidate('usual recipe', 'f32', embedded.ASSET, 1)
    depth, heatmap = usual.pipeline(rgb)
    expected = load_estimator('embedded', 'torch', 1).estimate(rgb)
    assert depth.shape == expected.shape == (240, 320)
    assert np.corrcoef(depth.ravel(), expected.ravel())[0, 1] > 0.999
    assert heatmap.shape == (240, 320, 3)
    near, far = (heatmap.reshape(-1, 3)[index].sum() for index in (depth.argmax(), depth.argmin()))
    assert near > far + 200  # inferno: near is bright


def test_who_cannot_take_part_is_named_and_the_others_are_there():
    found, absent = find_candidates(embedded.ASSET, 1, lambda text: None)
    names = [one.name for one in found]
    assert 'opencv f32' in names
    assert names[0] == 'usual recipe' or any('usual recipe' in reason for reason in absent)
    for one in found:
        small = one.network(one.preprocess(picture(320, 240)))
        assert small.shape == (192, 256), one.name


def test_when_time_runs_short_only_the_usual_recipe_is_loaded():
    found, absent = find_candidates(embedded.ASSET, 1, lambda text: None, give_up_s=-1.0)
    assert all(one.is_usual for one in found)
    assert any('out of time' in reason for reason in absent)


def test_all_that_is_compared_sees_pictures_of_one_size(
    golden_weights_file: Path, golden_dir: Path, tmp_path: Path
) -> None:
    """Nodes, too, whose own choice for a slow model would be a smaller one."""
    pytest.importorskip('torch')
    rgb = np.zeros((480, 640, 3), np.uint8)
    for size, shape in ((OFFICIAL, (192, 256)), (NetworkSize(128), (128, 160))):
        for who in (('usual recipe', 'f32'), ('torch', 'f32')):
            candidate = load_candidate(*who, golden_weights_file, 1, size)
            assert candidate.preprocess(rgb).shape == (1, 3, *shape)
    pytest.importorskip('rclpy')
    from midas_depth_ros.lab.speed.nodes import node_parameters

    def side(weights: Path, size: NetworkSize = OFFICIAL) -> int:
        return int(node_parameters(weights, 1, ('torch', 'f32'), size)['network_size'])

    assert (side(golden_weights_file), side(golden_weights_file, NetworkSize(128))) == (0, 128)
    anything = golden_file(golden_dir, tmp_path, 'depth_anything_v2_small')
    assert (side(anything), side(anything, NetworkSize(252))) == (518, 252)
