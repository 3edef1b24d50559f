"""Model files of other makers that cannot be used: a sentence, with what to set; nothing hangs."""

from __future__ import annotations

import contextlib
import json
import os
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_networks import (
    DOUBLE,
    FLOAT,
    HALF,
    IMAGENET,
    INT8,
    INT64,
    UINT8,
    Foreign,
    brightness,
    field,
    varint,
)

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    WeightsCorrupt,
    WeightsMismatch,
)
from midas_depth_ros.depth.file_description import FIELDS
from midas_depth_ros.depth.files import sha256_of
from midas_depth_ros.depth.known_files import KnownFile
from midas_depth_ros.depth.model_check import check_model
from midas_depth_ros.depth.model_files import read_model_file
from midas_depth_ros.depth.models import MARK

SHAPE = (1, 3, 64, 96)
FREE = (1, 3, 'h', 'w')
TOLD = {'output_meaning': 'inverse_depth'}
READERS = ('onnxruntime', 'openvino')


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def toy(
    path: Path,
    shape: Sequence[Any] = SHAPE,
    *,
    element: int = FLOAT,
    outputs: Sequence[tuple[str, Sequence[Any]]] = (('depth', (1, 1, 64, 96)),),
    inputs: Sequence[tuple[str, Sequence[Any]]] = (),
    patch: int = 1,
    change: Callable[[Foreign, str], str] = lambda graph, value: value,
    ending: Callable[[Foreign, str], str] = lambda graph, value: value,
    metadata: dict[str, str] | None = None,
    data: Path | None = None,
) -> Path:
    """A network that sees brightness, with one thing other than usual."""
    graph = Foreign()
    value = graph.add('Cast', ['image'], 'cast', to=FLOAT) if element != FLOAT else 'image'
    value = change(graph, value)
    value = ending(graph, graph.add('Relu', [brightness(graph, value, -1, 'toy', patch)], 'relu'))
    for name, _ in outputs:
        graph.add('Identity', [value], name)
    if data is not None:
        graph.with_data_in(data)
    sides = [('image', shape), *inputs]
    content = graph.file(
        [(name, sides_, element) for name, sides_ in sides],
        [(name, sides_, FLOAT) for name, sides_ in outputs],
        metadata,
    )
    path.write_bytes(content)
    return path


def patched(path: Path, **how: Any) -> Path:
    return toy(path, FREE, patch=14, outputs=[('depth', (1, 1, 'h', 'w'))], **how)


def folded(graph: Foreign, value: str) -> str:
    """A Reshape for one size: a position grid that an exporter baked in."""
    return graph.add('Reshape', [value, graph.integers('grid', (1, 3, 56, 84))], 'baked')


def only_scaled(graph: Foreign, value: str) -> str:
    return graph.add('Div', [value, graph.colours('std', IMAGENET[1])], 'scaled')


def odd_means(graph: Foreign, value: str) -> str:
    return graph.add('Sub', [value, graph.colours('odd', (7000.0, 1.0, 2.0))], 'less')


def turned(graph: Foreign, value: str) -> str:
    return graph.add('Transpose', [value], 'turned', perm=(0, 1, 3, 2))


def doubled(graph: Foreign, value: str) -> str:
    return graph.add('Concat', [value, value], 'doubled', axis=1)


def chained(graph: Foreign, value: str, count: int) -> str:
    """So many operations, one behind another: OpenVINO follows 100,000 until the stack ends."""
    for number in range(count):
        value = graph.add('Relu', [value], f'chained{number}')
    return value


# name: how the file is made, what is given, what the text says.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    'two pictures at once': ({'shape': (1, 2, 3, 64, 96)}, TOLD, r'\(1, 1, 3, h, w\): export'),
    'a batch of eight': ({'shape': (8, 3, 64, 96)}, TOLD, 'one colour picture at a time'),
    'one colour': ({'shape': (1, 1, 64, 96)}, TOLD, 'one colour picture at a time'),
    'no batch': ({'shape': (3, 64, 96)}, TOLD, 'one colour picture at a time'),
    'int8': ({'element': INT8}, TOLD, 'input is int8 .*quantised.*: export it with'),
    'int64': ({'element': INT64}, TOLD, 'input is int64; .*: export it with'),
    'two inputs': (
        {'inputs': [('focal_length', (1,))]},
        TOLD,
        r"'focal_length' \(1\) float32 .*one input, a picture: export",
    ),
    'two outputs': (
        {'outputs': [('a', (1, 1, 64, 96)), ('b', (1, 1, 64, 96))]},
        TOLD,
        r'Which of its 2 outputs is depth cannot be told: set model_file\.output',
    ),
    'an output that is not there': (
        {},
        {**TOLD, 'output': 'deepth'},
        r"model_file\.output: output 'deepth' is none of 'depth'",
    ),
    'two channels': (
        {'outputs': [('depth', (1, 2, 64, 96))], 'ending': doubled},
        TOLD,
        r'not one number for each pixel.*set model_file\.output',
    ),
    'depth turned on its side': (
        {'outputs': [('depth', (1, 1, 96, 64))], 'ending': turned},
        TOLD,
        r'gave 96 x 64 \(height x width\) for a picture of 64 x 96, which has other proportions',
    ),
    'one free side': ({'shape': (1, 3, 64, 'w')}, TOLD, 'Only one side of its input is free'),
    'another size than the fixed one': (
        {},
        {**TOLD, 'input_size': '96, 64'},
        r'takes 64 x 96 \(height x width\) only, not 96, 64 \(stretch\): leave input_size',
    ),
    'another rule than for a fixed size': (
        {},
        {**TOLD, 'size_rule': 'short_side'},
        r'size_rule: it takes 64 x 96 .* only, not 64, 96 \(short_side\)',
    ),
    'a focal length for relative depth': (
        {},
        {**TOLD, 'focal_reference': 300},
        'focal_reference belongs to output_meaning metres',
    ),
    'mean without std': ({}, {**TOLD, 'mean': '0.5'}, 'mean is given without std: give both'),
    'means of the other range': (
        {},
        {**TOLD, 'mean': '123.7, 116.3, 103.5', 'std': '58, 57, 57', 'range': '1'},
        'numbers for colours 0 to 255: give range 255',
    ),
    'means of the other range, unsaid': (
        {},
        {**TOLD, 'mean': '123.7, 116.3, 103.5', 'std': '58, 57, 57'},
        'numbers for colours 0 to 255: give range 255',
    ),
    'small means for bytes': (
        {},
        {**TOLD, 'mean': '0.485, 0.456, 0.406', 'std': '0.2', 'range': '255'},
        'numbers for colours 0 to 1: give range 1',
    ),
    'a scale without a mean': (
        {'change': only_scaled},
        TOLD,
        r'divides the colours by 0\.229, 0\.224, 0\.225 .*Set model_file\.mean, std and range',
    ),
    'means of no colours': ({'change': odd_means}, TOLD, 'subtracts 7000, 1, 2, which are means'),
    'bytes, with a mean': (
        {'element': UINT8},
        {**TOLD, 'mean': '0.485, 0.456, 0.406', 'std': '0.2', 'range': '1'},
        'its input is bytes, which it takes from 0 to 255 as they are: leave range, mean and std',
    ),
    '0 to 255 without means': (
        {},
        {**TOLD, 'range': '255'},
        'range is 255 .*Set model_file.mean and std .*none where it does',
    ),
    'bytes from 0 to 1': ({'element': UINT8}, {**TOLD, 'range': '1'}, 'as they are: leave range'),
    'more operations than any network has': (
        {'ending': lambda graph, value: chained(graph, value, 20_001)},
        TOLD,
        r'has 2\d{4} operations, more than any network needs: export',
    ),
    'no word for its ending': (
        {'ending': lambda graph, value: graph.add('Exp', [value], 'exp')},
        {},
        r'\(it ends in Exp\): near and far could be swapped\. Set model_file\.output_meaning .*'
        r'net\.yaml beside it\) to one of inverse_depth, disparity, depth, metres',
    ),
    'a reciprocal': (
        {'ending': lambda graph, value: graph.add('Div', [graph.weight('one', 1.0), value], 'r')},
        {},
        r'\(it ends in Reciprocal\): near and far could be swapped',
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', REFUSED)
def test_a_file_that_cannot_be_used_is_refused_with_what_to_do(
    tmp_path: Path, reader: str, name: str
) -> None:
    how, given, said = REFUSED[name]
    path = toy(tmp_path / 'net.onnx', **how)
    with pytest.raises(WeightsMismatch, match=said) as caught:
        load_estimator(path, reader, model_file=given)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 900


def test_the_file_that_all_of_these_differ_from_is_read(tmp_path: Path, reader: str) -> None:
    path = toy(tmp_path / 'net.onnx')
    assert load_estimator(path, reader, model_file=TOLD).backend == reader


# Patches.


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ({'input_size': '256, 256'}, r'256, 256 .*multiples of 14 only: give 252, 252'),
        ({'multiple_of': 32}, r'multiples of 14 only: give multiple_of 14'),
        (
            {'input_size': '300, 300', 'size_rule': 'short_side'},
            'in multiples of 14: give positive sides that are multiples',
        ),
    ],
)
def test_sizes_of_which_patches_are_no_parts_are_refused(
    tmp_path: Path, reader: str, given: dict[str, Any], said: str
) -> None:
    path = patched(tmp_path / 'net.onnx')
    with pytest.raises(WeightsMismatch, match=said):
        load_estimator(path, reader, model_file={**TOLD, **given})


@pytest.mark.parametrize(
    ('given', 'size'),
    [
        ({}, (518, 686)),
        ({'input_size': '252, 336'}, (252, 336)),
        ({'input_size': '252 252', 'size_rule': 'short_side'}, (252, 336)),
        ({'input_size': [252, 252], 'size_rule': 'long_side'}, (196, 252)),
    ],
)
def test_free_sizes_follow_the_rule(
    tmp_path: Path, reader: str, given: dict[str, Any], size: tuple[int, int]
) -> None:
    path = patched(tmp_path / 'net.onnx')
    estimator = load_estimator(path, reader, model_file={**TOLD, **given})
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    assert estimator.infer(rgb).shape == size


def test_an_export_that_runs_at_one_size_says_so(tmp_path: Path, reader: str) -> None:
    path = patched(tmp_path / 'net.onnx', change=folded)
    with pytest.raises(
        WeightsMismatch, match=r'does not run at 518 x 686 .*Set model_file\.input_size'
    ):
        load_estimator(path, reader, model_file=TOLD)
    given = {**TOLD, 'input_size': '56, 84'}
    assert load_estimator(path, reader, model_file=given).infer(
        np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    ).shape == (56, 84)


# Weights in a second file.


def test_weights_in_a_second_file_are_used(tmp_path: Path, reader: str) -> None:
    path = toy(tmp_path / 'net.onnx', data=tmp_path / 'net.onnx.data')
    assert load_estimator(path, reader, model_file=TOLD).backend == reader


@pytest.mark.parametrize('name', ['gone', 'short', 'outside', 'link', 'folder', 'infinite'])
def test_weights_that_are_not_where_they_should_be(tmp_path: Path, reader: str, name: str) -> None:
    folder = tmp_path / 'model'
    folder.mkdir()
    data = folder / 'net.data'
    path = toy(folder / 'net.onnx', data=data)
    content = data.read_bytes()
    data.unlink()
    said = {
        'gone': "its weights in a second file, 'net.data', which is not there: copy both",
        'short': "'net.data' ends before the weights",
        'outside': r"names '/passwd\.' for its weights, outside its folder",
        'link': "names 'net.data' for its weights, outside its folder",
        'folder': r'net\.data is not a regular file',
        'infinite': r'NaN or infinity in 1 of 1 entries \(toy\.embed\.kernel\)',
    }[name]
    if name == 'short':
        data.write_bytes(content[:-4])
    elif name == 'outside':
        path.write_bytes(path.read_bytes().replace(b'net.data', b'/passwd.'[:8]))
    elif name == 'link':
        (tmp_path / 'elsewhere').write_bytes(content)
        data.symlink_to(tmp_path / 'elsewhere')
    elif name == 'folder':
        os.mkfifo(data)
    elif name == 'infinite':
        data.write_bytes(np.float32(np.inf).tobytes() + content[4:])
    with pytest.raises((WeightsCorrupt, WeightsMismatch), match=said):
        load_estimator(path, reader, model_file=TOLD)


@pytest.mark.parametrize('kind', ['half', 'double'])
def test_weights_of_other_types_are_checked_too(tmp_path: Path, kind: str) -> None:
    graph = Foreign()
    kinds = {'half': ('<f2', HALF), 'double': ('<f8', DOUBLE)}
    graph.tensor('bad', np.array([1, np.nan, 1]).astype(kinds[kind][0]), kinds[kind][1])
    brightness(graph, 'image', -1, 'toy')
    graph.add('Relu', ['toy.embed'], 'depth')
    path = tmp_path / 'net.onnx'
    path.write_bytes(graph.file([('image', SHAPE, FLOAT)], [('depth', (1, 1, 64, 96), FLOAT)]))
    with pytest.raises(WeightsCorrupt, match=r'NaN or infinity in 1 of 1 entries \(bad\)'):
        read_model_file(path, TOLD)


# The sources and their order.


def described(path: Path, given: dict[str, Any] = TOLD) -> Any:
    found = read_model_file(path, given).description
    assert found is not None
    return found


def test_each_source_goes_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = iter((0.1, 0.2, 0.3, 0.4, 0.5))

    def words() -> dict[str, Any]:
        return {'range': 1, 'mean': [next(means)] * 3, 'std': [1, 1, 1]}

    parameters, yaml, metadata, table, config = (words() for _ in range(5))
    path = toy(tmp_path / 'net.onnx', metadata={MARK: json.dumps(metadata)})
    beside = tmp_path / 'net.yaml'
    beside.write_text(json.dumps(yaml))  # JSON is YAML
    row = KnownFile('a toy', table)
    known = 'midas_depth_ros.depth.foreign.KNOWN_FILES'
    monkeypatch.setattr(known, {sha256_of(path): row})
    processor = tmp_path / 'preprocessor_config.json'
    processor.write_text(
        json.dumps({'do_rescale': True, 'image_mean': config['mean'], 'image_std': config['std']})
    )
    found = described(path, {**TOLD, **parameters})
    assert found.values['mean'] == (0.1,) * 3
    assert 'model_file.mean' in found.origins['mean']
    overridden = [text for text in found.conflicts if text.startswith('mean ')]
    assert len(overridden) == 4
    assert 'although net.yaml says 0.2, 0.2, 0.2' in overridden[0]
    notice = load_estimator(path, model_file={**TOLD, **parameters}).notice
    assert overridden[0] in notice
    wanted = [('net.yaml', 0.2), ('metadata', 0.3), ('table of known files: a toy', 0.4),
              ('preprocessor_config.json', 0.5), ('assumed:', 0.485)]  # fmt: skip
    removals: list[Callable[[], object]] = [
        lambda: None,
        beside.unlink,
        lambda: toy(path),
        lambda: monkeypatch.setattr(known, {}),
        processor.unlink,
    ]
    for (source, mean), remove in zip(wanted, removals, strict=True):
        remove()
        if source.startswith('table'):
            monkeypatch.setattr(known, {sha256_of(path): row})
        found = described(path)
        assert found.values['mean'][0] == mean
        assert found.origins['mean'].startswith(source)


def test_what_the_graph_does_itself_is_not_done_twice_in_silence(tmp_path: Path) -> None:
    path = toy(tmp_path / 'net.onnx', change=lambda g, v: g.normalised(v, *IMAGENET))
    assert described(path).values['mean'] == 'none'
    given = {**TOLD, 'mean': '0.485, 0.456, 0.406', 'std': '0.229, 0.224, 0.225'}
    found = described(path, given)
    assert found.values['mean'] == IMAGENET[0]
    assert 'it subtracts 0.485, 0.456, 0.406 itself says none' in found.conflicts[0]


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('colour: RGB\noutput_meening: depth\n', "'output_meening' is unknown: did you mean outp"),
        ('output_meaning: far\n', "output_meaning is 'far': give one of inverse_depth, disparity"),
        ('range: 2\n', 'range is .2.: give 1 or 255'),
        ('mean: [0.5, 0.5]\nstd: 1\n', r'mean is .\[0\.5, 0\.5\].: give three numbers'),
        ('mean: 0\nstd: 0\n', 'std is .0.: give three numbers above 0'),
        ('input_size: 64\n', 'input_size is .64.: give height and width'),
        ('input_size: [1e9, 2]\n', 'input_size is .*: give height and width'),
        ('multiple_of: 0.5\n', 'multiple_of is .*: give a whole number'),
        ('focal_reference: .nan\n', 'focal_reference is .nan.: give a focal length'),
        ('resize: [cubic]\n', 'resize is .*: give one of cubic, linear, area'),
        ('output: true\n', 'output is .True.: give the name of an output'),
        ('- colour\n', 'expected are lines such as output_meaning: inverse_depth'),
        ('colour: {rgb\n', 'cannot be read: it is not valid YAML'),
        ('\xff\xfe', 'cannot be read'),
        ('a: &a [0]\nb: &b [*a,*a]\nmean: [*b,*b]\nstd: 1\n', "'a' is unknown"),
        ('mean: &a [[[0,0],[0,0]]]\nstd: *a\n', 'mean is a list: give three numbers'),
    ],
)
def test_a_yaml_file_beside_it_is_checked(tmp_path: Path, text: str, said: str) -> None:
    path = toy(tmp_path / 'net.onnx')
    (tmp_path / 'net.yaml').write_bytes(text.encode('latin-1'))
    with pytest.raises(WeightsMismatch, match=rf'net\.yaml.*{said}') as caught:
        read_model_file(path, {})
    assert len(str(caught.value)) < 900


def test_two_yaml_files_are_one_too_many(tmp_path: Path) -> None:
    path = toy(tmp_path / 'net.onnx')
    (tmp_path / 'net.onnx.yaml').write_text('colour: bgr\n')
    assert described(path).origins['colour'] == 'net.onnx.yaml'
    (tmp_path / 'net.yaml').write_text('colour: rgb\n')
    with pytest.raises(WeightsMismatch, match=r'Both net\.yaml and net\.onnx\.yaml .*remove one'):
        read_model_file(path, TOLD)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('{', r'preprocessor_config\.json cannot be read'),
        ('[1]', r'preprocessor_config\.json is not a table'),
        ('{"rescale_factor": 0.1}', r'rescale_factor is .0\.1.: only 1/255 is understood'),
        ('{"image_mean": [1], "image_std": ["x"]}', r'image_std|std is .*: give three numbers'),
    ],
)
def test_a_preprocessor_configuration_is_checked(tmp_path: Path, text: str, said: str) -> None:
    path = toy(tmp_path / 'net.onnx')
    (tmp_path / 'preprocessor_config.json').write_text(text)
    with pytest.raises(WeightsMismatch, match=said):
        read_model_file(path, TOLD)


@pytest.mark.parametrize('text', ['[]', '"x"', '{' * 9999, '{"colour": "rgb"}', '{"future": 1}'])
def test_metadata_of_a_future_version_are_no_fault(tmp_path: Path, text: str) -> None:
    path = toy(tmp_path / 'net.onnx', metadata={MARK: text})
    assert described(path).values['colour'] == 'rgb'


def test_an_openvino_file_with_endless_operations_is_refused(tmp_path: Path) -> None:
    openvino = pytest.importorskip('openvino')
    path = toy(tmp_path / 'net.onnx', ending=lambda graph, value: chained(graph, value, 20_001))
    openvino.save_model(openvino.Core().read_model(path), tmp_path / 'net.xml')
    with pytest.raises(WeightsMismatch, match='operations, more than any network needs: export'):
        load_estimator(tmp_path / 'net.xml', 'openvino', model_file=TOLD)


@pytest.mark.parametrize('word', ['focal_refrence', 'output_meening', 'color', 'means'])
def test_a_mistyped_word_in_metadata_is_refused(tmp_path: Path, word: str) -> None:
    text = json.dumps({'output_meaning': 'metres', word: 300})
    path = toy(tmp_path / 'net.onnx', metadata={MARK: text})
    with pytest.raises(WeightsMismatch, match=f"metadata: '{word}' is unknown: did you mean"):
        read_model_file(path)


def test_a_line_that_stands_twice_beside_a_file_is_refused(tmp_path: Path) -> None:
    path = toy(tmp_path / 'net.onnx')
    (tmp_path / 'net.yaml').write_text('output_meaning: metres\noutput_meaning: inverse_depth\n')
    with pytest.raises(WeightsMismatch, match=r"net\.yaml cannot .* 'output_meaning' is there"):
        read_model_file(path)


def test_a_yml_beside_a_file_is_read(tmp_path: Path) -> None:
    path = toy(tmp_path / 'net.onnx')
    (tmp_path / 'net.yml').write_text('colour: bgr\n')
    found = described(path)
    assert (found.values['colour'], found.origins['colour']) == ('bgr', 'net.yml')
    (tmp_path / 'net.yaml').write_text('colour: rgb\n')
    with pytest.raises(WeightsMismatch, match=r'Both net\.yaml and net\.yml describe'):
        described(path)


def test_colours_that_the_network_divides_by_255_are_given_as_they_are(tmp_path: Path) -> None:
    """Means taken from them before would leave next to nothing of the picture."""

    def divided(graph: Foreign, value: str) -> str:
        return graph.add('Div', [value, graph.weight('unit', 255.0)], 'unit_colours')

    found = described(toy(tmp_path / 'net.onnx', change=divided))
    assert [found.values[name] for name in ('range', 'mean', 'std')] == [255, 'none', 'none']
    assert {'mean', 'std'} <= found.assumed.keys()


def test_a_preprocessor_configuration_may_swap_the_colours(tmp_path: Path) -> None:
    path = toy(tmp_path / 'net.onnx')
    (tmp_path / 'preprocessor_config.json').write_text('{"do_flip_channel_order": true}')
    found = described(path)
    where = 'preprocessor_config.json'
    assert (found.values['colour'], found.origins['colour']) == ('bgr', where)


def test_a_preprocessor_configuration_does_not_change_bytes(tmp_path: Path) -> None:
    path = toy(tmp_path / 'net.onnx', element=UINT8)
    config = {'image_mean': [0.5, 0.5, 0.5], 'image_std': [0.5, 0.5, 0.5]}
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(config))
    found = described(path)
    assert [found.values[name] for name in ('range', 'mean', 'std')] == [255, 'none', 'none']
    assert 'preprocessor_config.json' in found.conflicts[0]


@pytest.mark.parametrize('name', ['DA3METRIC-LARGE.onnx', 'metric3d-vit-small.onnx'])
def test_metres_for_one_focal_length_are_not_taken_without_a_word(
    tmp_path: Path, name: str
) -> None:
    metres = {'output_meaning': 'metres'}
    path = toy(tmp_path / name)
    (said,) = described(path, metres).conflicts
    assert 'model_file.focal_reference is not set' in said
    assert not described(path, {**metres, 'focal_reference': 300.0}).conflicts


def test_metadata_with_wrong_values_are_refused(tmp_path: Path) -> None:
    path = toy(tmp_path / 'net.onnx', metadata={MARK: '{"output_meaning": "thickness"}'})
    with pytest.raises(WeightsMismatch, match="metadata: output_meaning is 'thickness': give one"):
        read_model_file(path, {})


def test_only_known_fields_are_described(tmp_path: Path) -> None:
    assert set(described(toy(tmp_path / 'net.onnx')).values) <= set(FIELDS)


def test_parameters_for_a_model_that_needs_none_are_called_unused() -> None:
    estimator = load_estimator('embedded', 'opencv', model_file={'colour': 'bgr'})
    assert 'model_file.colour: not used, embedded needs none' in estimator.notice


# Precision, and doubts.


def test_a_file_of_another_maker_runs_in_f32_unless_asked(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    path = toy(tmp_path / 'net.onnx')
    estimator = load_estimator(path, 'openvino', model_file=TOLD)
    assert estimator.precision == 'f32'
    assert 'not measured for files of other makers' in estimator.choice
    with pytest.raises(BackendUnavailable, match='cannot make int8 of it: choose precision f32'):
        load_estimator(path, 'openvino', precision='int8', model_file=TOLD)
    estimator = load_estimator(path, 'openvino', precision='f32', model_file=TOLD)
    assert 'precision f32 as asked' in estimator.choice


def test_depth_that_is_mostly_0_is_doubted(tmp_path: Path) -> None:
    def infer(rgb: np.ndarray) -> np.ndarray:
        near = np.linspace(-2, 1, rgb.shape[0], dtype=np.float32)[:, np.newaxis]
        return np.maximum(near * (1 + rgb.mean(2) / 255), 0).astype(np.float32)

    description = described(toy(tmp_path / 'net.onnx'))
    notice = check_model(infer, 'net.onnx', '', 'f32', description=description)
    assert 'implausible depth' in notice
    assert 'most of its depth is 0. Its colours may be read wrongly (model_file.range' in notice


# TFLite.


def test_tflite_files_that_cannot_be_used(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    pytest.importorskip('flatbuffers')
    from tflite_file import one_convolution

    kernel, bias = np.ones((1, 1, 1, 3), np.float32), np.array([4.0], np.float32)
    path = tmp_path / 'net.tflite'
    path.write_bytes(one_convolution(kernel, bias, (64, 96), kind=9))  # int8
    with pytest.raises((WeightsMismatch, WeightsCorrupt), match=r'net\.tflite'):
        load_estimator(path, model_file=TOLD)
    path.write_bytes(one_convolution(kernel, bias, (64, 96)))
    with pytest.raises(
        WeightsMismatch, match=r"input 'sub_7' is not .*Set model_file\.output_mean"
    ):
        load_estimator(path)
    with pytest.raises(DepthError, match=r'no backend reads|onnxruntime reads'):
        load_estimator(path, 'onnxruntime')
    good = path.read_bytes()
    for content in (b'', b'hello', b'\x08\x07' * 50, good[:200], good[:4] + b'TFL9' + good[8:]):
        path.write_bytes(content)
        with pytest.raises(WeightsCorrupt, match=r'net\.tflite'):
            load_estimator(path, model_file=TOLD)


# Hostile ones.


def bomb(graph: Foreign, value: str) -> str:
    return graph.resize(value, 'bomb', (4000, 4000), 'nearest')


def test_a_network_that_asks_for_a_terabyte_is_refused(tmp_path: Path, reader: str) -> None:
    path = toy(tmp_path / 'net.onnx', ending=bomb, outputs=[('depth', (1, 1, 'a', 'b'))])
    with pytest.raises(DepthError, match=r'net\.onnx'):
        load_estimator(path, reader, model_file=TOLD)


def test_channels_that_double_without_end_cost_nothing(tmp_path: Path) -> None:
    def many(graph: Foreign, value: str) -> str:
        twice = value
        for number in range(60):
            twice = graph.add('Concat', [twice, twice], f'twice{number}', axis=1)
        return value

    assert described(toy(tmp_path / 'net.onnx', change=many)).values['colour'] == 'rgb'


@pytest.mark.parametrize(
    'tensor',
    [
        varint(2, FLOAT) + field(4, b'\x00' * 12) + b'\x08\x03',  # floats as one block
        varint(2, FLOAT) + b'\x21' + b'\xff' * 8 + b'\x08\x01',  # a float of eight bytes
        varint(2, FLOAT) + field(4, b'\x00' * 11) + b'\x08\x03',
        varint(2, INT64) + field(7, b'\xff' * 9) + b'\x08\x03',
        varint(2, INT64) + field(7, b'\x01\x02\x03') + b'\x08\x03',
        varint(2, HALF) + field(5, b'\x80\x78') + b'\x08\x01',
        varint(2, HALF) + field(5, b'\xff\xff\xff\xff\x0f') + b'\x08\x01',
        varint(2, 99) + field(9, b'\x00') + b'\x08\x03',
        varint(2, FLOAT) + field(1, b'\x03') + field(9, bytes(12)),  # packed sides
    ],
)
def test_constants_as_lists_are_read_or_refused(tmp_path: Path, tensor: bytes) -> None:
    graph = Foreign()
    graph.tensors.append(tensor + field(8, b'list'))
    graph.add('Relu', [brightness(graph, 'image', -1, 'toy')], 'depth')
    path = tmp_path / 'net.onnx'
    path.write_bytes(graph.file([('image', SHAPE, FLOAT)], [('depth', (1, 1, 64, 96), FLOAT)]))
    with contextlib.suppress(WeightsCorrupt):
        assert described(path).output == 'depth'


def test_a_network_with_a_loop_is_refused(tmp_path: Path, reader: str) -> None:
    def loop(graph: Foreign, value: str) -> str:
        body = field(2, b'body') + field(1, field(4, b'Identity'))
        attribute = field(1, b'body') + field(6, body) + varint(20, 5)
        graph.nodes.append(
            field(1, b'n') + field(1, b'c') + field(2, b'looped') + field(4, b'Loop')
            + field(5, attribute)
        )  # fmt: skip
        return value

    path = toy(tmp_path / 'net.onnx', ending=loop)
    with pytest.raises(WeightsMismatch, match='operation Loop, which may never end: export'):
        load_estimator(path, reader, model_file=TOLD)


def test_graphs_in_graphs_without_end_are_refused(tmp_path: Path) -> None:
    inner = field(2, b'g')
    for _ in range(200):
        attribute = field(1, b'body') + field(6, inner) + varint(20, 5)
        inner = field(1, field(4, b'If') + field(5, attribute))
    path = tmp_path / 'net.onnx'
    path.write_bytes(varint(1, 7) + field(7, inner) + field(8, varint(2, 13)))
    with pytest.raises(WeightsCorrupt, match='nested more than 8 times'):
        read_model_file(path)


def test_a_large_file_is_in_memory_once(tmp_path: Path) -> None:
    graph = Foreign()
    graph.weight('large', np.zeros(25_000_000))  # 100 MB
    graph.add('Relu', [brightness(graph, 'image', -1, 'toy')], 'depth')
    path = tmp_path / 'net.onnx'
    path.write_bytes(graph.file([('image', SHAPE, FLOAT)], [('depth', (1, 1, 64, 96), FLOAT)]))
    del graph
    tracemalloc.start()
    try:
        description = described(path)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert description.values['output_meaning'] == 'inverse_depth'
    assert peak < 1.4 * path.stat().st_size
    assert left < 10_000_000


@pytest.mark.parametrize('seed', range(6))
def test_altered_bytes_never_end_the_process(tmp_path: Path, seed: int) -> None:
    """What the reader says is an error of ours, or a description: never anything else."""
    noise = np.random.default_rng(seed)
    path = toy(tmp_path / 'net.onnx', change=lambda g, v: g.normalised(v, *IMAGENET))
    good = path.read_bytes()
    for _ in range(150):
        content = bytearray(good)
        for _ in range(noise.integers(1, 6)):
            kind, place = noise.integers(3), noise.integers(len(content))
            if kind == 0:
                content[place] = noise.integers(256)
            elif kind == 1:
                del content[place : place + noise.integers(1, 40)]
            else:
                content[place:place] = noise.bytes(noise.integers(1, 20))
        path.write_bytes(content)
        with contextlib.suppress(DepthError):  # anything else fails the test
            described(path)


@pytest.mark.thorough
@pytest.mark.parametrize('seed', range(4))
def test_altered_bytes_never_end_a_backend(tmp_path: Path, reader: str, seed: int) -> None:
    noise = np.random.default_rng(100 + seed)
    path = toy(tmp_path / 'net.onnx')
    good = path.read_bytes()
    for _ in range(25):
        content = bytearray(good)
        content[noise.integers(len(content))] = noise.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(DepthError):
            load_estimator(path, reader, model_file=TOLD).close()
