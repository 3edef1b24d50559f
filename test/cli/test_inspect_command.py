"""`midas_depth inspect`, and `--model-file` of the commands that take a model."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from foreign_networks import FLOAT, IMAGENET, Foreign, brightness

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth.models import embedded, onnx_of
from midas_depth_ros.options.declarations import specs
from midas_depth_ros.options.model_file import ModelFileOptions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A network that gives depth, and does not say so."""
    graph = Foreign()
    value = graph.normalised('image', *IMAGENET)
    graph.add('Relu', [brightness(graph, value, 1, 'toy')], 'depth')
    content = graph.file([('image', (1, 3, 64, 96), FLOAT)], [('depth', (1, 1, 64, 96), FLOAT)])
    (tmp_path / 'net.onnx').write_bytes(content)
    return tmp_path / 'net.onnx'


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    return result.exit_code, result.stdout, result.stderr


def test_it_prints_every_field_with_its_source(path: Path) -> None:
    code, out, _ = run('inspect', path, '--model-file', 'output_meaning=depth')
    assert code == 0
    for line in (
        'takes image (1, 3, 64, 96) float32, channels first',
        'gives depth (1, 1, 64, 96) float32',
        '│ mean           │ none    │ the graph: it subtracts 0.485, 0.456, 0.406 itself',
        '│ output_meaning │ depth   │ the parameter model_file.output_meaning',
        '│ input_size     │ 64, 96  │ the file: its shape',
        'tested on the sample pictures',
    ):
        assert line in out
    assert 'assumed: output' not in out


def test_a_wrong_guess_fails_the_pictures(path: Path) -> None:
    code, out, err = run('inspect', path)
    assert code == 1
    assert 'assumed: output_meaning (it ends in Relu and its input is called image). If you' in out
    assert 'error: net.onnx seems to give depth, not inverse depth' in err
    assert 'model_file.output_meaning' in err
    assert run('inspect', path, '--no-run')[0] == 0


def test_json_is_one_object(path: Path) -> None:
    code, out, err = run('inspect', path, '--json', '--model-file', 'output_meaning=depth')
    report = json.loads(out)
    assert (code, err, report['error'], report['notice']) == (0, '', '', '')
    assert report['input'] == {
        'name': 'image', 'shape': [1, 3, 64, 96], 'type': 'float32', 'layout': 'nchw'
    }  # fmt: skip
    assert report['fields']['range'] == {
        'value': 1,
        'source': 'the graph: it subtracts 0.485, 0.456, 0.406 itself',
    }
    code, out, _ = run('inspect', path, '--json')
    assert code == 1
    assert 'seems to give depth' in json.loads(out)['error']


def test_what_could_be_told_is_printed_where_the_meaning_cannot(tmp_path: Path) -> None:
    graph = Foreign()
    graph.add('Exp', [brightness(graph, graph.normalised('x', *IMAGENET), 1, 'toy')], 'y')
    path = tmp_path / 'net.onnx'
    path.write_bytes(graph.file([('x', (1, 3, 64, 96), FLOAT)], [('y', (1, 1, 64, 96), FLOAT)]))
    code, out, err = run('inspect', path)
    assert code == 1
    assert 'the graph: it subtracts' in out
    assert 'Set model_file.output_meaning (or write it into net.yaml beside it)' in err
    report = json.loads(run('inspect', path, '--json')[1])
    assert report['fields']['mean']['value'] == 'none'
    assert 'output_meaning' not in report['fields']


def test_a_word_that_the_pictures_contradict_is_told(path: Path) -> None:
    code, out, _ = run('inspect', path, '--model-file', 'output_meaning=inverse_depth')
    assert code == 0
    assert 'warning: net.onnx IS PROBABLY READ WRONGLY, NEAR AND FAR SWAPPED' in out
    assert '\nassumed' not in out


def test_conflicts_are_printed(path: Path) -> None:
    (path.parent / 'net.yaml').write_text('output_meaning: depth\ncolour: bgr\n')
    _, out, _ = run('inspect', path, '--no-run')
    assert 'conflict: colour is bgr (net.yaml), although the graph: the order' in out


def test_an_export_of_this_package_needs_nothing(tmp_path: Path) -> None:
    path = tmp_path / 'embedded.onnx'
    path.write_bytes(onnx_of(embedded.ASSET))
    code, out, _ = run('inspect', path)
    assert code == 0
    assert 'of this package' in out
    assert 'assumed' not in out


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('weights.pt', 'is not a model file (.onnx, .xml, .tflite)'),
        ('gone.onnx', 'No such file'),
        ('text.onnx', 'cannot be read as an ONNX model'),
    ],
)
def test_other_files_give_an_error(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / 'text.onnx').write_text('hello')
    code, _, err = run('inspect', tmp_path / name)
    assert code == 1
    assert said in err
    assert err.startswith('error: ')


@pytest.mark.parametrize(
    ('pair', 'said'),
    [
        ('colour', 'is not NAME=VALUE'),
        ('range', 'give range=VALUE'),
        ('color=rgb', 'did you mean colour?'),
        ('colour=red', 'is not one of auto, rgb, bgr'),
        ('mean=0.5', 'mean is given without std'),
        ('mean=red', "mean: 'red' is not accepted: give three numbers"),
        ('multiple_of=1000', 'above the maximum 512'),
        ('focal_reference=-3', 'below the minimum'),
        ('input_size=64', "input_size: '64' is not accepted: give height and width"),
    ],
)
def test_wrong_fields_are_refused_with_the_remedy(path: Path, pair: str, said: str) -> None:
    code, _, err = run('inspect', path, '--model-file', pair)
    assert code == 2
    assert said in err


def test_image_takes_the_same_fields(path: Path, tmp_path: Path) -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[60:] = np.random.default_rng(0).integers(0, 80, (60, 160, 3))
    picture[:60] = np.random.default_rng(1).integers(150, 250, (60, 160, 3))
    cv2.imwrite(str(tmp_path / 'p.png'), picture)
    common = ['image', tmp_path / 'p.png', '--model', path, '-o', tmp_path / 'out', '--only', 'npy']
    code, _, err = run(*common)
    assert code == 1
    assert 'seems to give depth' in err
    code, _, err = run(
        *common, '--no-picture-check', '--model-file', 'output_meaning=depth',
        '--model-file', 'resize=linear',
    )  # fmt: skip
    assert code == 0, err
    depth = np.load(tmp_path / 'out' / 'p_depth.npy')
    assert depth.shape == (120, 160)
    assert depth[80:].mean() > depth[:40].mean()  # dark is near


def test_every_field_is_an_option_and_a_parameter() -> None:
    from midas_depth_ros.depth.file_description import FIELDS

    names = {spec.name for spec in specs(ModelFileOptions)}
    assert names <= FIELDS.keys()
    assert FIELDS.keys() - names == {'depth_range_m', 'enlarge', 'most_aspect'}  # in files alone
    help_text = run('image', '--help')[1]
    assert '--model-file NAME=VALUE' in help_text
