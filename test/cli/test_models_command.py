"""`midas_depth models`: everything to choose by, readable on a small terminal, without torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys

import pytest
from weights_server import own_home

from midas_depth_ros.cli.models import weights_of
from midas_depth_ros.depth import models
from midas_depth_ros.depth.models.published import Accuracy

WITHOUT_TORCH = """
import sys
for name in ('torch', 'timm', 'torchvision', 'openvino', 'onnxruntime', 'rclpy'):
    sys.modules[name] = None
from midas_depth_ros.cli.main import main
main(['models', *sys.argv[1:]])
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The user's cache folder of this test."""
    return own_home(monkeypatch, tmp_path)


def listed(midas_depth, *names):
    result = midas_depth('models', '--json', *names)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)['models']


def test_every_model_is_a_line_of_at_most_80_columns(midas_depth):
    result = midas_depth('models')
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name in models.names():
        row = next(line for line in lines if line.split()[:1] == [name])
        assert models.spec(name).weights.licence.removeprefix('LicenseRef-') in row, name


def test_the_figures_are_those_of_the_specification(midas_depth):
    for found in listed(midas_depth):
        model = models.spec(found['name'])
        assert found['parameters'] == model.parameters
        assert found['gflop'] == model.giga_operations[tuple(found['input'])], model.name
        assert found['licence'] == model.weights.licence
        assert found['must_be_accepted'] == model.weights.must_be_accepted
        assert len(found['published']) == len(model.published)


def test_accuracy_has_its_source_and_a_model_without_is_named(midas_depth):
    (found,) = listed(midas_depth, 'depth_anything_v2_small')
    own = found['published'][0]
    assert own['source']['title'] == 'Depth Anything V2'
    assert own['kitti'] == {'abs_rel': 0.078, 'delta1': 0.936}
    text = midas_depth('models', 'embedded', 'dpt_levit_224').stdout
    assert 'Nothing published on these two sets: embedded.' in text
    assert 'dpt_levit_224*' in text
    assert 'trained on pictures of both sets' in text
    assert 'github.com/isl-org/MiDaS' in text


def test_what_is_no_share_is_no_accuracy():
    with pytest.raises(ValueError, match=r'delta1 is 93\.6'):
        Accuracy(0.078, 93.6)
    with pytest.raises(ValueError, match='abs_rel is 0'):
        Accuracy(0.0)


def test_whether_the_weights_are_here(midas_depth, cache):
    content = b'weights'
    digest = hashlib.sha256(content).hexdigest()
    spec = models.spec('zipdepth')
    here = dataclasses.replace(
        spec, name='here', weights=dataclasses.replace(spec.weights, name='h.pth', sha256=digest)
    )
    models.register(here)
    try:
        assert weights_of(here).state == 'no'
        cache.mkdir(parents=True, exist_ok=True)
        (cache / 'h.pth').write_bytes(b'other')
        assert listed(midas_depth, 'here')[0]['weights'] == 'corrupt'
        (cache / 'h.pth').write_bytes(content)
        found = listed(midas_depth, 'here')[0]
        assert (found['weights'], found['weights_file']) == ('here', str(cache / 'h.pth'))
    finally:
        models.unregister('here')
    assert listed(midas_depth, 'embedded')[0]['weights'] == 'ships'
    assert listed(midas_depth, 'dpt_levit_224')[0]['weights'] == 'by path'


def test_a_name_that_is_none_is_an_error_with_the_names(midas_depth):
    result = midas_depth('models', 'midas_smal')
    assert result.exit_code == 1
    assert "'midas_smal' is not one of the models: midas_small, embedded" in result.stderr


@pytest.mark.sampled
@pytest.mark.parametrize('options', [[], ['--json']])
def test_it_needs_neither_torch_nor_ros(options):
    result = subprocess.run(
        [sys.executable, '-c', WITHOUT_TORCH, *options], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert 'depth_anything_v2_small' in result.stdout
