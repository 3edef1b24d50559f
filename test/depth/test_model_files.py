"""Which model files run, and that no other does: it might swap near and far in silence."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from effort import THOROUGH

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import load_estimator, onnx_files
from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.depth.errors import DepthError, WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.files import sha256_of
from midas_depth_ros.depth.model_files import (
    fingerprint_of,
    known_graphs,
    read_model_file,
)
from midas_depth_ros.depth.models import MARK, embedded, midas_small, onnx_of, read_arrays
from midas_depth_ros.depth.models.midas_small import midas_onnx
from midas_depth_ros.depth.onnx_files import Graph
from midas_depth_ros.depth.onnx_reader import CONSTANT_INPUTS, read_onnx
from midas_depth_ros.depth.torch_files import read_torch_table

READERS = ('openvino', 'onnxruntime')
SIDES = ('height', 'width')
PRECISIONS = ['f32', 'bf16', 'f16', 'int8']
RGB = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


@pytest.fixture(scope='module', params=READERS)
def library(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope='module')
def embedded_bytes() -> bytes:
    return onnx_of(embedded.ASSET)


# Ours.


def test_what_is_written_today_is_known(embedded_bytes: bytes, golden_weights_file: Path) -> None:
    """After a change of a graph: put its fingerprint first, and keep the older ones."""
    midas_bytes = onnx_of(golden_weights_file)
    for spec, content in ((embedded.SPEC, embedded_bytes), (midas_small.SPEC, midas_bytes)):
        assert read_onnx(content).unexpected == ''
        assert known_graphs(spec)[0] == fingerprint_of(content)


def test_the_mark_says_which_network_and_which_weights(
    embedded_bytes: bytes, tmp_path: Path
) -> None:
    mark = json.loads(read_onnx(embedded_bytes).metadata[MARK])
    assert mark['network'] == 'embedded'
    assert mark['weights_sha256'] == embedded.SPEC.weights.sha256
    ort = pytest.importorskip('onnxruntime')
    session = ort.InferenceSession(embedded_bytes, providers=['CPUExecutionProvider'])
    assert json.loads(session.get_modelmeta().custom_metadata_map[MARK]) == mark
    ov = pytest.importorskip('openvino')
    path = tmp_path / 'small.xml'
    result = CliRunner().invoke(main, ['export', 'embedded', '--output', str(path)])
    assert result.exit_code == 0, result.output
    about = json.loads(str(ov.Core().read_model(path).get_rt_info(['midas_depth', 'about']).value))
    assert {key: about[key] for key in mark} == mark
    assert about['bin_sha256'] == sha256_of(path.with_suffix('.bin'))


def filled(skeleton: bytes) -> bytes:
    """An export whose weights were left out, with random ones."""
    content = bytearray(skeleton)
    model = read_onnx(memoryview(content))
    noise = np.random.default_rng(0)
    constants = {
        name for o in model.operations if o.kind in CONSTANT_INPUTS for name in o.inputs[1:]
    }
    for weight in model.weights:
        if weight.name not in constants:
            scale = np.sqrt(2 / max(1, np.prod(weight.shape[1:])))
            values = (noise.standard_normal(weight.shape) * scale).astype('<f4')
            weight.data[:] = values.tobytes()
    return bytes(content)


@pytest.mark.sampled
@pytest.mark.parametrize('number', [1, 2, 3, 4])
def test_what_earlier_versions_exported_runs(
    library: str, golden_dir: Path, tmp_path: Path, number: int
) -> None:
    skeletons = np.load(golden_dir / 'earlier_exports.npz')
    path = tmp_path / 'earlier.onnx'
    path.write_bytes(filled(skeletons[f'embedded_{number}'].tobytes()))
    assert load_estimator(path, library).infer(RGB).shape == (192, 256)
    if library == 'openvino':
        import openvino as ov

        model = ov.Core().read_model(path)
        model.set_rt_info('{"network": "embedded", "precision": "f32"}', ['midas_depth', 'about'])
        ov.save_model(model, tmp_path / 'earlier.xml', compress_to_fp16=False)
        assert load_estimator(tmp_path / 'earlier.xml').infer(RGB).shape == (192, 256)


def test_midas_small_as_earlier_versions_exported_it_runs(
    library: str, golden_weights_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / 'unmarked.onnx'
    path.write_bytes(midas_onnx(read_torch_table(golden_weights_file).arrays))
    assert load_estimator(path, library).infer(RGB).shape == (192, 256)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('model', 'precision'),
    [
        *(('embedded', precision) for precision in PRECISIONS),
        *(('midas_small', precision) for precision in (PRECISIONS if THOROUGH else ['f32'])),
    ],
)
def test_every_export_of_both_networks_runs(
    tmp_path: Path, golden_weights_file: Path, model: str, precision: str
) -> None:
    pytest.importorskip('openvino')
    if precision == 'int8':
        pytest.importorskip('nncf')
    weights = 'embedded' if model == 'embedded' else str(golden_weights_file)
    options = ['--precision', precision, '--output', str(tmp_path / 'net.xml')]
    result = CliRunner().invoke(main, ['export', weights, *options])
    assert result.exit_code == 0, result.output
    chosen = 'int8' if precision == 'int8' else 'auto'
    assert load_estimator(tmp_path / 'net.xml', precision=chosen).infer(RGB).shape == (192, 256)


# Foreign ones.


def averaged(shape: tuple[Any, ...], source: str = 'image', result: str = 'depth') -> bytes:
    """A model whose output is the mean of a picture's colours: a depth for all that is known."""
    graph = Graph()
    kernel = graph.weight('kernel', np.full((1, shape[1], 1, 1), 1 / 3))
    graph.add('Conv', [source, kernel], result, kernel_shape=(1, 1))
    return graph.to_bytes(source, shape, result, (1, 1, *shape[2:]))


def of_type(element: int) -> bytes:
    """A model whose input has another type of numbers."""
    graph = Graph()
    graph.add('Cast', ['image'], 'cast', to=1)
    kernel = graph.weight('kernel', np.full((1, 3, 1, 1), 1 / 3))
    graph.add('Conv', ['cast', kernel], 'depth', kernel_shape=(1, 1))
    content = graph.to_bytes('image', (1, 3, 64, 64), 'depth', (1, 1, 64, 64))
    before = onnx_files._value('image', (1, 3, 64, 64))
    assert content.count(before) == 1
    return content.replace(before, before.replace(b'\x08\x01', bytes([8, element]), 1))


def two_sided(inputs: int, outputs: int) -> bytes:
    """A model of several inputs or outputs."""
    graph = Graph()
    for number in range(outputs):
        kernel = graph.weight(f'kernel{number}', np.full((1, 3, 1, 1), 1 / 3))
        graph.add('Conv', ['image', kernel], f'depth{number}', kernel_shape=(1, 1))
    field, varint = onnx_files._field, onnx_files._varint_field
    body = b''.join(field(1, node) for node in graph.nodes) + field(2, b'graph')
    body += b''.join(field(5, head + make().tobytes()) for head, _, make in graph.weights)
    names = ['image', 'focal_length'][:inputs]
    body += b''.join(field(11, onnx_files._value(name, (1, 3, 64, 64))) for name in names)
    for number in range(outputs):
        body += field(12, onnx_files._value(f'depth{number}', (1, 1, 64, 64)))
    return varint(1, 7) + field(7, body) + field(8, field(1, b'') + varint(2, 13))


def channels_last() -> bytes:
    graph = Graph()
    graph.add('ReduceMean', ['image'], 'depth', axes=(3,), keepdims=1)
    return graph.to_bytes('image', (1, 64, 64, 3), 'depth', (1, 64, 64, 1))


def two_channels() -> bytes:
    graph = Graph()
    kernel = graph.weight('kernel', np.full((2, 3, 1, 1), 1 / 3))
    graph.add('Conv', ['network_input', kernel], 'depth', kernel_shape=(1, 1))
    return graph.to_bytes('network_input', (1, 3, *SIDES), 'depth', (1, 1, *SIDES))


def marked_as_ours(content: bytes) -> bytes:
    """Our mark, copied into a file of somebody else's."""
    mark = read_onnx(onnx_of(embedded.ASSET)).metadata[MARK]
    entry = onnx_files._field(1, MARK.encode()) + onnx_files._field(2, mark.encode())
    return content + onnx_files._field(14, entry)


def normalised_itself() -> bytes:
    graph = Graph()
    scaled = graph.add('Sub', ['image', graph.weight('mean', np.full((1, 3, 1, 1), 0.4))], 'scaled')
    kernel = graph.weight('kernel', np.full((1, 3, 1, 1), 1 / 3))
    graph.add('Conv', [scaled, kernel], 'depth', kernel_shape=(1, 1))
    return graph.to_bytes('image', (1, 3, 64, 64), 'depth', (1, 1, 64, 64))


FOREIGN: dict[str, Callable[[], bytes]] = {
    'depth': lambda: averaged((1, 3, 64, 64)),
    'any size': lambda: averaged((1, 3, *SIDES), 'pixel_values', 'predicted_depth'),
    'any batch': lambda: averaged(('batch', 3, *SIDES), 'pixel_values', 'predicted_depth'),
    'odd size': lambda: averaged((1, 3, 61, 97)),
    'published': lambda: averaged((1, 3, 256, 256), '0', '797'),
    'our names': lambda: averaged((1, 3, *SIDES), 'network_input'),
    'our names and size': lambda: averaged((1, 3, 192, 256), 'picture'),
    'our mark': lambda: marked_as_ours(averaged((1, 3, 192, 256), 'picture')),
    'normalised itself': normalised_itself,
    'bytes': lambda: of_type(2),
    'whole numbers': lambda: of_type(7),
    'half numbers': lambda: of_type(10),
    'two inputs': lambda: two_sided(2, 1),
    'two outputs': lambda: two_sided(1, 2),
    'no output': lambda: two_sided(1, 0),
    'channels last': channels_last,
    'two channels': two_channels,
    'one colour': lambda: averaged((1, 1, 64, 64)),
}


ALTERED = 'has the metadata of this package, but is not '


@pytest.mark.parametrize('name', FOREIGN)
def test_a_foreign_onnx_file_is_refused_with_what_was_found(
    library: str, tmp_path: Path, name: str
) -> None:
    path = tmp_path / 'foreign.onnx'
    path.write_bytes(FOREIGN[name]())
    with pytest.raises(WeightsMismatch) as caught:
        load_estimator(path, library)
    text = str(caught.value)
    found = read_onnx(path.read_bytes())
    for value in (*found.inputs, *found.outputs):
        assert str(value) in text
    assert ('cannot be used' in text) != (ALTERED in text)
    assert (ALTERED in text) == (name == 'our mark')
    assert 'model_file.output' in text or 'export' in text  # the remedy
    assert len(text) < 700


def test_every_command_refuses_a_foreign_file(tmp_path: Path) -> None:
    path, picture = tmp_path / 'foreign.onnx', tmp_path / 'picture.png'
    path.write_bytes(FOREIGN['depth']())
    cv2.imwrite(str(picture), RGB)
    image = ['image', str(picture), '--model', str(path)]
    for command in (image, ['export', str(path)]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1, result.output
        assert result.output.startswith('error: ')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['foreign.onnx', 'picture.png']
    for backend in BACKENDS:
        with pytest.raises(DepthError):
            load_estimator(path, backend)


def as_openvino(content: bytes, path: Path, about: str = '') -> Path:
    """A model of OpenVINO's, as its own converter writes it, or with a mark."""
    ov = pytest.importorskip('openvino')
    model = ov.Core().read_model(content)
    if about:
        model.set_rt_info(about, ['midas_depth', 'about'])
    ov.save_model(model, path, compress_to_fp16=False)
    return path


@pytest.mark.sampled
@pytest.mark.parametrize('name', [name for name in FOREIGN if name != 'no output'])
@pytest.mark.parametrize('about', ['', '{"network": "embedded"}', '{"network": "midas_small"}'])
def test_a_foreign_openvino_file_is_refused_marked_or_not(
    tmp_path: Path, name: str, about: str
) -> None:
    path = as_openvino(FOREIGN[name](), tmp_path / 'foreign.xml', about)
    with pytest.raises(WeightsMismatch, match=r'cannot be used|was altered') as e:
        load_estimator(path)
    assert (ALTERED in str(e.value)) == bool(about)


@pytest.mark.parametrize(
    'about', ['[1]', '{"network": ["embedded"]}', '"text"', '{' * 5000, '{"network": null}']
)
def test_a_mark_of_another_form_is_no_mark(tmp_path: Path, about: str) -> None:
    path = as_openvino(FOREIGN['depth'](), tmp_path / 'foreign.xml', about)
    with pytest.raises(WeightsMismatch, match=r'cannot be told .*model_file\.output_meaning'):
        load_estimator(path)


def test_our_network_with_the_mark_of_the_other_is_refused(
    library: str, tmp_path: Path, embedded_bytes: bytes
) -> None:
    path = tmp_path / 'swapped.onnx'
    path.write_bytes(embedded_bytes.replace(b'"network": "embedded"', b'"network": "midas_sm"'))
    with pytest.raises(WeightsMismatch, match=f"{ALTERED}'midas_sm'"):
        load_estimator(path, library)


# Altered ones of ours.


def resized(content: bytes, name: str, factor: float) -> bytes:
    """The scales of a Resize changed: a size that a weight decides."""
    copy = bytearray(content)
    weight = next(w for w in read_onnx(memoryview(copy)).weights if w.name == name)
    weight.data[:] = (weight.array() * np.float32(factor)).tobytes()
    return bytes(copy)


def test_weights_that_decide_about_sizes_are_part_of_the_network(
    library: str, tmp_path: Path, embedded_bytes: bytes
) -> None:
    path = tmp_path / 'bomb.onnx'
    path.write_bytes(resized(embedded_bytes, 'up.0.scales', 10_000))
    with pytest.raises(WeightsMismatch, match=f"{ALTERED}'embedded'"):
        load_estimator(path, library)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_model_file_with_numbers_that_are_none_is_corrupt(
    library: str, tmp_path: Path, embedded_bytes: bytes, value: float
) -> None:
    content = bytearray(embedded_bytes)
    model = read_onnx(memoryview(content))
    model.weights[3].data[:4] = np.float32(value).tobytes()
    path = tmp_path / 'nan.onnx'
    path.write_bytes(content)
    with pytest.raises(WeightsCorrupt, match=rf'NaN or infinity in 1 .*{model.weights[3].name}'):
        load_estimator(path, library)
    if library == 'openvino':
        xml = as_openvino(bytes(content), tmp_path / 'nan.xml', '{"network": "embedded"}')
        with pytest.raises(WeightsCorrupt, match='NaN or infinity'):
            load_estimator(xml)


def test_the_halves_of_two_exports_do_not_run_together(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    for name in ('one', 'two'):
        state = read_arrays(embedded.ASSET)
        state['head.bias'] = state['head.bias'] + (0.1 if name == 'two' else 0)
        np.savez(tmp_path / f'{name}.npz', **state)
        command = ['export', str(tmp_path / f'{name}.npz'), '--output', f'{tmp_path}/{name}.xml']
        assert CliRunner().invoke(main, command).exit_code == 0
    shutil.copy(tmp_path / 'two.bin', tmp_path / 'one.bin')
    with pytest.raises(WeightsCorrupt, match=r'one\.bin does not belong to one\.xml.*copy both'):
        load_estimator(tmp_path / 'one.xml')


def test_any_damage_to_an_onnx_file_is_an_error_of_ours_or_no_damage(
    embedded_bytes: bytes, tmp_path: Path
) -> None:
    """What is read here is what the libraries get: none of them may see anything else."""
    noise = np.random.default_rng(0)
    # Where the structure is: in front of the first large kernel, and behind the last.
    places = np.concatenate(
        [np.arange(20_000), np.arange(len(embedded_bytes) - 4000, len(embedded_bytes))]
    )
    path = tmp_path / 'damaged.onnx'
    for _ in range(150):
        damaged = bytearray(embedded_bytes)
        for place in noise.choice(places, 2):
            damaged[place] = noise.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(WeightsCorrupt, WeightsMismatch):
            assert read_model_file(path).spec is embedded.SPEC


def test_every_cut_of_an_onnx_file_is_an_error_of_ours(
    embedded_bytes: bytes, tmp_path: Path
) -> None:
    path = tmp_path / 'cut.onnx'
    for length in (*range(0, 3000, 7), *range(3000, len(embedded_bytes), 400_001)):
        path.write_bytes(embedded_bytes[:length])
        with pytest.raises((WeightsCorrupt, WeightsMismatch), match=r'cut\.onnx'):
            read_model_file(path)
