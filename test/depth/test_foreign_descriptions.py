"""Descriptions of model files: what an export says of itself, and what parameters and YAML say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from foreign_networks import FLOAT, Foreign, brightness

from midas_depth_ros.depth import load_estimator, models
from midas_depth_ros.depth.file_description import FileDescription, merged, parsed
from midas_depth_ros.depth.model_files import read_model_file
from midas_depth_ros.depth.models import MARK, mark_of
from midas_depth_ros.depth.models.spec import Output, PictureInput, Sizing
from midas_depth_ros.depth.onnx_reader import Value, read_onnx

ROUNDING = 1e-6


@pytest.mark.parametrize('name', models.names())
def test_the_metadata_of_an_export_describe_the_model(name: str) -> None:
    """What another version of this package, which does not know the graph, makes of it."""
    spec = models.spec(name)
    mark = json.loads(json.dumps(mark_of(spec, '')))
    values, origins, conflicts = merged([('metadata', parsed(mark, 'metadata', strict=False))])
    assert conflicts == []
    values['output'] = origins['output'] = 'depth'
    source = Value('picture', FLOAT, (1, 3, 'h', 'w'))
    network = FileDescription('net.onnx', source, 'nchw', values, origins).network()
    picture, wanted = network.picture, spec.picture
    for size in ((640, 480), (480, 640), (1280, 300)):
        assert picture.network_size(*size) == wanted.network_size(*size)
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    np.testing.assert_allclose(picture.preprocess(rgb), wanted.preprocess(rgb), atol=ROUNDING)
    assert (network.output, network.depth_range_m) == (spec.output, spec.depth_range_m)
    assert network.focal_reference_px == spec.focal_reference_px
    assert network.enlargement is spec.enlargement


@pytest.mark.parametrize('library', ['onnxruntime', 'openvino'])
def test_a_file_is_read_by_the_metadata_inside(tmp_path: Path, library: str) -> None:
    """As an export of a network that this version does not have."""
    pytest.importorskip(library)
    graph = Foreign()
    brightness(graph, 'picture', 1, 'toy')
    mark = {
        'network': 'of_tomorrow', 'output_meaning': 'metres', 'depth_range_m': [0.5, 30],
        'focal_reference': 300, 'size_rule': 'short_side', 'input_size': [64, 64],
        'multiple_of': 32, 'range': 1, 'mean': 'none', 'std': 'none', 'colour': 'bgr',
        'resize': 'cubic', 'enlarge': 'linear_corners',
    }  # fmt: skip
    content = graph.file(
        [('picture', (1, 3, 'h', 'w'), FLOAT)],
        [('toy.embed', (1, 1, 'h', 'w'), FLOAT)],
        {MARK: json.dumps(mark)},
    )
    path = tmp_path / 'tomorrow.onnx'
    path.write_bytes(content)
    if library == 'openvino':
        ov = pytest.importorskip('openvino')
        model = ov.Core().read_model(path)
        model.set_rt_info(json.dumps(mark), ['midas_depth', 'about'])
        path = tmp_path / 'tomorrow.xml'
        ov.save_model(model, path, compress_to_fp16=False)
    estimator = load_estimator(path, library)
    assert 'assumed' not in estimator.notice
    rgb = np.full((48, 96, 3), (255, 51, 0), np.uint8)
    rgb[:24] = 0
    depth = estimator.infer(rgb)
    assert depth.shape == (64, 128)
    # Blue, green, red: 0.3 * 0 + 0.2 * 0.2 + 0.1 * 1.
    np.testing.assert_allclose(depth[60, 5], 1 / (4 + 0.04 + 0.1), rtol=1e-4)
    np.testing.assert_allclose(depth[4, 5], 1 / 4, rtol=1e-4)


def test_an_export_has_its_description_inside() -> None:
    from midas_depth_ros.depth.models import embedded, onnx_of

    mark = json.loads(read_onnx(onnx_of(embedded.ASSET)).metadata[MARK])
    assert mark['output_meaning'] == 'inverse_depth'
    assert (mark['input_size'], mark['size_rule']) == ([192, 256], 'stretch')
    assert (mark['colour'], mark['range'], mark['mean'], mark['std']) == ('rgb', 1, 'none', 'none')
    assert mark['resize'] == 'area'


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('0.485, 0.456, 0.406', (0.485, 0.456, 0.406)),
        ('[0.485 0.456 0.406]', (0.485, 0.456, 0.406)),
        ('1e-05;0.5;0', (1e-05, 0.5, 0)),
        ('0.5', (0.5, 0.5, 0.5)),
        ([0, 1, 2], (0.0, 1.0, 2.0)),
        (0.45, (0.45, 0.45, 0.45)),
        ('None', 'none'),
        (None, 'none'),
    ],
)
def test_means_are_read_as_people_write_them(text: object, value: object) -> None:
    found = parsed({'mean': text, 'std': 1}, 'here')
    assert found['mean'] == value


def test_yaml_without_a_fixed_notation_of_numbers(tmp_path: Path) -> None:
    graph = Foreign()
    graph.add('Relu', [brightness(graph, 'x', -1, 'toy')], 'y')
    path = tmp_path / 'own.onnx'
    path.write_bytes(graph.file([('x', (1, 3, 60, 80), FLOAT)], [('y', (1, 1, 60, 80), FLOAT)]))
    (tmp_path / 'own.yaml').write_text(
        '# my network\noutput_meaning: inverse_depth\ncolour: bgr\nrange: 255\n'
        'mean: [1.15e2, 116, 1.17e2]\nstd: 5e1\nresize: linear\n'
    )
    found = read_model_file(path).description
    assert found is not None
    picture = found.network().picture
    assert picture.bgr
    np.testing.assert_allclose(picture.mean, np.array([115, 116, 117]) / 255)
    np.testing.assert_allclose(picture.std, [50 / 255] * 3)
    assert set(found.origins.values()) == {
        'own.yaml', 'the file: its only output', 'the file: its shape'
    }  # fmt: skip
    rgb = np.full((60, 80, 3), (10, 20, 30), np.uint8)
    fed = picture.preprocess(rgb)[0, :, 0, 0]
    np.testing.assert_allclose(fed, [(30 - 117) / 50, (20 - 116) / 50, (10 - 115) / 50], rtol=1e-5)
    assert found.meaning is Output.RELATIVE_INVERSE_DEPTH


def test_a_letterbox_shows_the_whole_picture_and_nothing_else() -> None:
    picture = PictureInput((96, 168), Sizing.LETTERBOX)
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[:, :, 0] = np.linspace(0, 255, 320, dtype=np.uint8)
    fed = picture.preprocess(rgb)
    assert fed.shape == (1, 3, 96, 168)
    assert picture.network_size(320, 240) == (168, 96)
    np.testing.assert_allclose(fed[0, :, 5, 5] * 255, (123.675, 116.28, 103.53), rtol=1e-5)
    inner = picture.uncovered(fed[0, 0], (240, 320))
    assert inner.shape == (96, 128)
    assert inner[0, 0] < 0.02
    assert inner[0, -1] > 0.98
    tall = picture.uncovered(fed[0, 0], (320, 100))
    assert tall.shape == (96, 30)
