"""Depth Anything against its official code, on weights that anyone can make."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from golden_networks import (
    TOLERANCE,
    Infer,
    deviation,
    golden_noise,
    golden_weights,
    onnxruntime_of,
    openvino_of,
)
from PIL import Image

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.errors import WeightsMismatch
from midas_depth_ros.depth.model_files import fingerprint_of, read_model_file
from midas_depth_ros.depth.models import Output, depth_anything
from midas_depth_ros.depth.models.depth_anything import NETWORKS, SPECS
from midas_depth_ros.depth.models.depth_anything_graph import depth_anything_onnx
from midas_depth_ros.depth.onnx_reader import read_onnx

ROOT = Path(__file__).resolve().parents[2]
SMALL, V1 = 'depth_anything_v2_small', 'depth_anything_v1_small'
INDOOR, OUTDOOR = (f'depth_anything_v2_metric_{where}_small' for where in ('indoor', 'outdoor'))
BASE, LARGE = (f'depth_anything_v2_{size}' for size in ('base', 'large'))
PICTURE = SPECS[0].picture
STEP = 8  # every how many rows and columns of a golden output are kept
QUICK = {SMALL: 252 * 336, V1: 140 * 182, INDOOR: 140 * 182, OUTDOOR: 140 * 182}  # pixels

GRAPHS = (openvino_of, onnxruntime_of)

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope='module')
def described(golden_dir: Path) -> dict[str, Any]:
    return json.loads((golden_dir / 'depth_anything.json').read_text())


@pytest.fixture(scope='module')
def figures(golden_dir: Path) -> Arrays:
    with np.load(golden_dir / 'depth_anything.npz') as archive:
        return dict(archive)


def entries(described: dict[str, Any], name: str) -> dict[str, list[Any]]:
    """Of the state dict; the small networks differ in the last layer's alone."""
    shared = described[SMALL] if name.endswith('_small') else {}
    return shared | described[name]


def network(described: dict[str, Any], name: str) -> Any:
    torch = pytest.importorskip('torch')
    module = depth_anything.module(name)
    values = golden_weights(entries(described, name))
    tensors = {key: torch.from_numpy(value) for key, value in values.items()}
    module.load_state_dict(depth_anything.rename(tensors), strict=True)
    return module.eval()


def run(module: Any, picture: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        output = np.asarray(module(torch.from_numpy(picture)))
    assert output.shape == (1, *picture.shape[2:])
    return output[0]


def outputs(figures: Arrays, name: str) -> dict[tuple[int, int], np.ndarray]:
    """The golden outputs of a network by (height, width)."""
    found = {}
    for key, values in figures.items():
        if size := re.fullmatch(rf'{name}_output_(\d+)x(\d+)_every_{STEP}', key):
            found[int(size[1]), int(size[2])] = values
    return found


@pytest.mark.parametrize('name', NETWORKS)
def test_keys_and_shapes_are_the_official_ones(described: dict[str, Any], name: str) -> None:
    torch = pytest.importorskip('torch')
    wanted = {key: tuple(entry[0]) for key, entry in entries(described, name).items()}
    assert depth_anything.shapes(NETWORKS[name].width) == wanted
    with torch.device('meta'):
        module = depth_anything.module(name)
    assert {key: tuple(value.shape) for key, value in module.state_dict().items()} == wanted


@pytest.mark.parametrize('name', QUICK)
def test_outputs_equal_the_official_ones(
    described: dict[str, Any], figures: Arrays, name: str
) -> None:
    module = network(described, name)
    sizes = {size for size in outputs(figures, name) if size[0] * size[1] <= QUICK[name]}
    assert (140, 182) in sizes
    for size in sizes:
        found = run(module, golden_noise(*size))[::STEP, ::STEP]
        assert deviation(found, outputs(figures, name)[size]) < TOLERANCE, size


@pytest.mark.thorough
@pytest.mark.parametrize('name', NETWORKS)
def test_outputs_equal_the_official_ones_at_all_sizes(
    described: dict[str, Any], figures: Arrays, name: str
) -> None:
    module = network(described, name)
    assert len(outputs(figures, name)) >= 2
    for size, wanted in outputs(figures, name).items():
        assert deviation(run(module, golden_noise(*size))[::STEP, ::STEP], wanted) < TOLERANCE, size


@pytest.mark.parametrize('backend', GRAPHS)
@pytest.mark.parametrize('name', QUICK)
def test_the_graph_gives_what_the_official_network_gives(
    described: dict[str, Any],
    figures: Arrays,
    name: str,
    backend: Callable[[bytes], Infer],
) -> None:
    """Of 140 x 182 pixels, the number of patches along a side is even and odd."""
    weights = golden_weights(entries(described, name))
    infer = backend(depth_anything_onnx(NETWORKS[name], weights))
    for size in ((140, 182), (252, 336)):
        found = infer(golden_noise(*size))[::STEP, ::STEP]
        assert deviation(found, outputs(figures, name)[size]) < TOLERANCE, size


@pytest.mark.sampled
@pytest.mark.parametrize('backend', GRAPHS)
def test_one_graph_serves_the_size_of_training_and_its_neighbours(
    described: dict[str, Any], figures: Arrays, backend: Callable[[bytes], Infer]
) -> None:
    """At 518 x 518 the embedding is not resized; where one side alone is 518, both are."""
    infer = backend(depth_anything_onnx(NETWORKS[SMALL], golden_weights(described[SMALL])))
    for size in ((518, 518), (518, 686)):
        found = infer(golden_noise(*size))[::STEP, ::STEP]
        assert deviation(found, outputs(figures, SMALL)[size]) < TOLERANCE, size


@pytest.mark.thorough
@pytest.mark.parametrize('backend', GRAPHS)
@pytest.mark.parametrize('name', NETWORKS)
def test_the_graph_gives_what_the_official_network_gives_at_all_sizes(
    described: dict[str, Any], figures: Arrays, name: str, backend: Callable[[bytes], Infer]
) -> None:
    weights = golden_weights(entries(described, name))
    infer = backend(depth_anything_onnx(NETWORKS[name], weights))
    del weights
    assert len(outputs(figures, name)) >= 2
    for size, wanted in outputs(figures, name).items():
        found = infer(golden_noise(*size))[::STEP, ::STEP]
        assert deviation(found, wanted) < TOLERANCE, size


def test_graphs_that_give_different_things_are_different_networks(
    described: dict[str, Any],
) -> None:
    """By their fingerprints, so that no file of weights alone can turn near into far."""
    weights = golden_weights(described[SMALL])
    models = {
        name: read_onnx(depth_anything_onnx(NETWORKS[name], weights))
        for name in NETWORKS
        if name.endswith('_small')
    }
    assert {model.unexpected for model in models.values()} == {''}
    assert len({model.fingerprint() for model in models.values()}) == 4


@pytest.mark.parametrize('name', [SMALL, V1, INDOOR, OUTDOOR])
def test_a_written_file_is_known_again(
    described: dict[str, Any], tmp_path: Path, name: str
) -> None:
    spec = depth_anything.spec(name)
    assert spec.onnx is not None
    model = spec.onnx.make(golden_weights(entries(described, name)), {})
    assert fingerprint_of(model) == spec.onnx.known[0]
    (tmp_path / 'any.onnx').write_bytes(model)
    assert read_model_file(tmp_path / 'any.onnx').spec.name == name


@pytest.mark.thorough
@pytest.mark.parametrize('name', [BASE, LARGE])
def test_the_graphs_of_large_networks_are_known(name: str) -> None:
    spec = depth_anything.spec(name)
    assert spec.onnx is not None
    ones = {key: np.broadcast_to(np.float32(1), shape) for key, shape in spec.shapes.items()}
    assert fingerprint_of(spec.onnx.make(ones, {})) == spec.onnx.known[0]


@pytest.mark.parametrize('name', [SMALL, V1, INDOOR, OUTDOOR])
def test_an_openvino_file_has_to_say_which_network_it_is(
    described: dict[str, Any], tmp_path: Path, name: str
) -> None:
    """All have convolutions of the same shapes, and near and far could be swapped."""
    pytest.importorskip('openvino')
    from midas_depth_ros.depth.backends.openvino_runtime import Runtime, save

    spec = depth_anything.spec(name)
    assert spec.onnx is not None
    runtime = Runtime(1)
    model = runtime.from_onnx(spec.onnx.make(golden_weights(entries(described, name)), {}))
    save(model, tmp_path / 'any.xml', 'f32', {'network': name})
    assert runtime.read(tmp_path / 'any.xml').spec.name == name
    save(model, tmp_path / 'any.xml', 'f32', {})
    if spec.output is Output.METRIC_DEPTH:
        with pytest.raises(WeightsMismatch, match='output_meaning'):
            runtime.read(tmp_path / 'any.xml')
    else:  # a guess, which is tested on pictures before it is used
        found = runtime.read(tmp_path / 'any.xml')
        assert found.spec is not spec
        assert found.description is not None
        assert found.description.origins['output_meaning'].startswith('assumed')


@pytest.mark.parametrize(
    ('changed', 'error', 'text'),
    [
        (None, KeyError, r'pretrained\.blocks\.3\.mlp\.fc1\.weight'),
        (np.nan, ValueError, r'pretrained\.blocks\.3\.mlp\.fc1\.shift holds NaN or infinity'),
    ],
)
def test_the_graph_refuses_weights_that_are_missing_or_no_numbers(
    described: dict[str, Any], changed: float | None, error: type[Exception], text: str
) -> None:
    weights = golden_weights(described[SMALL])
    key = 'pretrained.blocks.3.mlp.fc1.weight'
    if changed is None:
        del weights[key]
    else:
        weights[key][5, 7] = changed
    with pytest.raises(error, match=text):
        depth_anything_onnx(NETWORKS[SMALL], weights)


def test_one_trace_serves_every_size(described: dict[str, Any], figures: Arrays) -> None:
    """That of training, 518 x 518, is among them: nothing is resized there."""
    pytest.importorskip('torch')
    from midas_depth_ros.depth.backends.torch_backend import frozen_trace

    trace = frozen_trace(network(described, SMALL), (1, 3, 140, 182))
    for size in ((252, 336), (518, 518)):
        found = run(trace, golden_noise(*size))[::STEP, ::STEP]
        assert deviation(found, outputs(figures, SMALL)[size]) < TOLERANCE, size


@pytest.mark.thorough
@pytest.mark.filterwarnings('ignore:.*torch.jit:DeprecationWarning')  # OpenVINO traces
def test_openvino_converts_it_for_every_size(described: dict[str, Any], figures: Arrays) -> None:
    torch = pytest.importorskip('torch')
    openvino = pytest.importorskip('openvino')
    module = network(described, SMALL)
    converted = openvino.convert_model(module, example_input=torch.zeros(1, 3, 70, 84))
    how = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}
    compiled = openvino.Core().compile_model(converted, 'CPU', how)
    for size in ((140, 182), (518, 518)):
        found = compiled(golden_noise(*size))[0][0, ::STEP, ::STEP]
        assert deviation(found, outputs(figures, SMALL)[size]) < TOLERANCE, size


def test_versions_and_ranges_tell_apart_what_their_files_do_not(described: dict[str, Any]) -> None:
    """All have the same keys and shapes: the wrong name gives another depth, or another unit."""
    import torch

    tensors = {
        key: torch.from_numpy(value)
        for key, value in golden_weights(entries(described, SMALL)).items()
    }
    found = {}
    for name in (SMALL, V1, INDOOR, OUTDOOR):
        module = depth_anything.module(name)
        module.load_state_dict(tensors)
        found[name] = run(module.eval(), golden_noise(70, 84))
    assert deviation(found[V1], found[SMALL]) > 0.5
    np.testing.assert_allclose(found[OUTDOOR], 4 * found[INDOOR], rtol=1e-6)
    above = found[SMALL] > 0  # where a ReLU has cut nothing off
    assert 0.5 < above.mean() < 1
    metres = 20 / (1 + np.exp(-found[SMALL][above]))
    np.testing.assert_allclose(metres, found[INDOOR][above], rtol=1e-4)


def test_sizes_follow_the_shorter_side(described: dict[str, Any]) -> None:
    assert len(described['sizes']) == 24
    for width, height, *wanted in described['sizes']:
        assert PICTURE.network_size(width, height) == tuple(wanted), (width, height)
    assert PICTURE.with_short_side(252).network_size(640, 480) == (336, 252)


def test_the_longer_side_can_be_bounded() -> None:
    for most, size, wanted in (
        (3, (2000, 100), (1554, 518)),
        (3, (640, 480), (686, 518)),
        (1, (640, 480), (518, 518)),
    ):
        bounded = dataclasses.replace(PICTURE, most_aspect=most)
        assert bounded.network_size(*size) == wanted
    bounded = dataclasses.replace(PICTURE, most_aspect=2.1).with_short_side(252)
    assert bounded.network_size(100, 2000) == (252, 518)


@pytest.mark.parametrize(
    'name', [SMALL, *(pytest.param(each, marks=pytest.mark.thorough) for each in (V1, INDOOR))]
)
def test_the_whole_way_of_a_picture(
    described: dict[str, Any], figures: Arrays, shared_data: Path, name: str
) -> None:
    path = shared_data.parent / 'golden' / 'room.png'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    with Image.open(path) as image:
        rgb = np.asarray(image.convert('RGB'))
    spec = depth_anything.spec(name)
    picture = spec.picture.preprocess(rgb)
    assert picture.shape[2:] == tuple(figures[f'{name}_network_input_size_hw'])
    output = run(network(described, name), np.ascontiguousarray(picture))
    large = spec.enlarge(spec.finish(output, output.shape), rgb.shape[:2])
    if spec.output is Output.METRIC_DEPTH:
        large = 1 / large
    wanted = figures[f'{SMALL}_network_input_every_16']  # of all networks
    assert deviation(picture[..., ::16, ::16], wanted) < TOLERANCE
    for found, what in ((output, 'network_output'), (large, 'picture')):
        assert deviation(found[::16, ::16], figures[f'{name}_{what}_every_16']) < TOLERANCE, what


def test_what_is_not_free_says_so_and_metres_are_told_apart() -> None:
    specs = {spec.name: spec for spec in SPECS}
    free = {name for name, spec in specs.items() if not spec.weights.restriction}
    assert free == {SMALL, INDOOR, OUTDOOR, V1}
    assert {spec.weights.licence for spec in SPECS} == {'Apache-2.0', 'CC-BY-NC-4.0'}
    metric = {name for name, spec in specs.items() if spec.output is Output.METRIC_DEPTH}
    assert metric == {INDOOR, OUTDOOR}
    metres = np.array([[0.01, 2, 50]], np.float32)
    np.testing.assert_allclose(specs[INDOOR].finish(metres, (1, 3)), [[10, 0.5, 1 / 20]])
    np.testing.assert_allclose(specs[OUTDOOR].finish(metres, (1, 3)), [[10, 0.5, 1 / 50]])
    np.testing.assert_array_equal(specs[LARGE].finish(metres, (1, 3)), metres)


@pytest.mark.thorough
@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime', 'torch'])
@pytest.mark.parametrize('name', [SMALL, INDOOR, V1])
def test_the_estimator_gives_what_the_official_code_gives(
    described: dict[str, Any],
    figures: Arrays,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    backend: str,
) -> None:
    """Whose weights they are is told by the file's name."""
    torch = pytest.importorskip('torch')
    pytest.importorskip(backend)
    path = shared_data.parent / 'golden' / 'room.png'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    monkeypatch.setenv('MIDAS_DEPTH_CACHE_DIR', str(tmp_path / 'cache'))
    file = tmp_path / depth_anything.spec(name).weights.name
    weights = golden_weights(entries(described, name))
    torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, file)
    estimator = load_estimator(file, backend, num_threads=1, precision='f32')
    assert estimator.backend == backend
    found = estimator.estimate(path)[::16, ::16]
    estimator.close()
    wanted = figures[f'{name}_picture_every_16']
    if name == INDOOR:  # metres: here, too, larger is nearer
        assert deviation(1 / found, wanted) < TOLERANCE
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] < -0.5
    else:
        assert deviation(found, wanted) < TOLERANCE


WITHOUT_TORCH = """
import sys
import numpy as np
from midas_depth_ros.depth.backends import find_backend
path = __import__('pathlib').Path(sys.argv[1])
backend = find_backend(sys.argv[2], path.suffix)(path, 1, 'f32')
np.save('found.npy', backend.infer(np.load('noise.npy')))
sys.stdout.write(f"{backend.spec.name} {'torch' in sys.modules}")
"""


@pytest.mark.thorough
@pytest.mark.parametrize('form', ['weights', 'onnx', 'openvino'])
def test_weights_and_exported_files_run_on_a_robot_without_torch(
    described: dict[str, Any],
    figures: Arrays,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    torch = pytest.importorskip('torch')
    backends = ['openvino'] if form == 'openvino' else ['openvino', 'onnxruntime']
    for backend in backends:
        pytest.importorskip(backend)
    monkeypatch.setenv('MIDAS_DEPTH_CACHE_DIR', str(tmp_path / 'cache'))
    weights, file = golden_weights(described[SMALL]), tmp_path / 'depth_anything_v2_vits.pth'
    torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, file)
    if form != 'weights':
        made = tmp_path / ('robot.onnx' if form == 'onnx' else 'robot.xml')
        options = ['--format', form, '--output', str(made)]
        result = CliRunner().invoke(main, ['export', str(file), *options])
        assert result.exit_code == 0, result.output
        file.unlink()
        file = made
    np.save(tmp_path / 'noise.npy', golden_noise(140, 182))
    for backend in backends:
        found = subprocess.run(
            [sys.executable, '-c', WITHOUT_TORCH, str(file), backend],
            cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False,
            env=os.environ | {'PYTHONPATH': str(ROOT)},
        )  # fmt: skip
        assert found.stdout == f'{SMALL} False', found.stderr
        values = np.load(tmp_path / 'found.npy')[::STEP, ::STEP]
        assert deviation(values, outputs(figures, SMALL)[140, 182]) < TOLERANCE
