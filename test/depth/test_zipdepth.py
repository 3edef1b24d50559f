"""ZipDepth against its official code, on weights that anyone can make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_networks import (
    BACKENDS,
    TOLERANCE,
    Infer,
    deviation,
    golden_noise,
    golden_weights,
    onnxruntime_of,
)
from PIL import Image

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.models import zipdepth
from midas_depth_ros.depth.models.zipdepth_graph import zipdepth_onnx
from midas_depth_ros.depth.models.zipdepth_layers import zipdepth_shapes

PICTURE = zipdepth.SPEC.picture
CONVEX = {'zipdepth': False, 'zipdepth_base': True}
SIZES = {(128, 160): 4, (384, 384): 8}  # and every how many rows and columns are kept

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope='module')
def described(golden_dir: Path) -> dict[str, Any]:
    return json.loads((golden_dir / 'zipdepth.json').read_text())


@pytest.fixture(scope='module')
def figures(golden_dir: Path) -> Arrays:
    with np.load(golden_dir / 'zipdepth.npz') as archive:
        return dict(archive)


def entries(described: dict[str, Any], name: str) -> dict[str, list[Any]]:
    """Of the state dict; the two networks differ in the last doubling alone."""
    head = 'decoder.convex_up'
    shared = {key: value for key, value in described['zipdepth'].items() if head not in key}
    return shared | {key: value for key, value in described[name].items() if head in key}


@pytest.fixture(scope='module')
def weights(described: dict[str, Any]) -> Arrays:
    return golden_weights(entries(described, 'zipdepth'))


def network(described: dict[str, Any], name: str) -> Any:
    torch = pytest.importorskip('torch')
    module = zipdepth.build(CONVEX[name])
    values = golden_weights(entries(described, name))
    tensors = {key: torch.from_numpy(value) for key, value in values.items()}
    found = module.load_state_dict(zipdepth.rename(tensors), strict=False)
    assert (found.unexpected_keys, found.missing_keys) == ([], ['mean', 'std'])
    return module.eval()


def run(module: Any, picture: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(picture))[0])


@pytest.mark.parametrize('name', CONVEX)
def test_keys_and_shapes_are_the_official_ones(described: dict[str, Any], name: str) -> None:
    pytest.importorskip('torch')
    wanted = {key: tuple(entry[0]) for key, entry in entries(described, name).items()}
    module = zipdepth.build(CONVEX[name])
    assert zipdepth_shapes(CONVEX[name]) == wanted
    assert {key: tuple(value.shape) for key, value in module.state_dict().items()} == wanted


@pytest.mark.parametrize('name', CONVEX)
def test_the_module_gives_what_the_official_one_gives(
    described: dict[str, Any], figures: Arrays, name: str
) -> None:
    module = network(described, name)
    for (height, width), step in SIZES.items():
        found = run(module, golden_noise(height, width))
        assert found.shape == (height, width)
        wanted = figures[f'{name}_output_{height}x{width}_every_{step}']
        assert deviation(found[::step, ::step], wanted) < TOLERANCE


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name', CONVEX)
def test_the_graph_gives_what_the_official_network_gives(
    described: dict[str, Any], figures: Arrays, name: str, backend: Callable[[bytes], Infer]
) -> None:
    weights = golden_weights(entries(described, name))
    infer = backend(zipdepth_onnx(weights, convex=CONVEX[name]))
    for (height, width), step in SIZES.items():
        wanted = figures[f'{name}_output_{height}x{width}_every_{step}']
        found = infer(golden_noise(height, width))[::step, ::step]
        assert deviation(found, wanted) < TOLERANCE


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name', CONVEX)
def test_the_graph_takes_every_multiple_of_32(
    described: dict[str, Any], name: str, backend: Callable[[bytes], Infer]
) -> None:
    weights = golden_weights(entries(described, name))
    infer = backend(zipdepth_onnx(weights, convex=CONVEX[name]))
    module = network(described, name)
    for size in ((64, 64), (96, 352), (288, 64)):
        picture = golden_noise(*size)
        assert deviation(infer(picture), run(module, picture)) < TOLERANCE


@pytest.mark.parametrize('name', CONVEX)
def test_one_trace_serves_every_size(described: dict[str, Any], name: str) -> None:
    pytest.importorskip('torch')
    from midas_depth_ros.depth.backends.torch_backend import frozen_trace

    trace = frozen_trace(network(described, name), (1, 3, 128, 160))
    module = network(described, name)
    for size in ((64, 64), (96, 256)):
        picture = golden_noise(*size)
        assert deviation(run(trace, picture), run(module, picture)) < TOLERANCE


def test_colours_that_a_file_says_otherwise_count(weights: Arrays) -> None:
    picture = golden_noise(64, 64)
    plain = {'mean': np.zeros((1, 3, 1, 1)), 'std': np.ones((1, 3, 1, 1))}
    infer = onnxruntime_of(zipdepth_onnx(weights))
    other = onnxruntime_of(zipdepth_onnx(weights | plain))
    mean, std = (
        np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (zipdepth.MEAN, zipdepth.STD)
    )
    assert deviation(other((picture - mean) / std), infer(picture)) < TOLERANCE
    assert deviation(other(picture), infer(picture)) > 100 * TOLERANCE


def test_the_graph_refuses_weights_that_are_no_numbers(weights: Arrays) -> None:
    variance = 'encoder.stage2.2.bn.running_var'
    with pytest.raises(ValueError, match=r'stage2\.2\.kernel holds NaN or infinity'):
        zipdepth_onnx(weights | {variance: np.full(96, -1, np.float32)})
    with pytest.raises(KeyError, match=variance):
        zipdepth_onnx({key: value for key, value in weights.items() if key != variance})


def test_sizes_follow_the_shorter_side(described: dict[str, Any]) -> None:
    assert len(described['sizes']) == 24
    for width, height, *wanted in described['sizes']:
        assert PICTURE.network_size(width, height) == tuple(wanted), (width, height)
    assert PICTURE.with_short_side(256).network_size(640, 480) == (352, 256)


@pytest.mark.parametrize('name', CONVEX)
def test_the_whole_way_of_a_picture(
    described: dict[str, Any], figures: Arrays, shared_data: Path, name: str
) -> None:
    path = shared_data.parent / 'golden' / 'room.png'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    with Image.open(path) as image:
        rgb = np.asarray(image.convert('RGB'))
    picture = PICTURE.preprocess(rgb)
    assert picture.shape[2:] == tuple(figures[f'{name}_network_input_size_hw'])
    output = run(network(described, name), np.ascontiguousarray(picture))
    large = zipdepth.SPEC.enlarge(output, rgb.shape[:2])
    for found, what in ((picture, 'network_input'), (output, 'network_output'), (large, 'picture')):
        wanted = figures[f'{name}_{what}_every_16']
        assert deviation(found[..., ::16, ::16], wanted) < TOLERANCE


# --- As it is used: by a file's path, through the estimator.


@pytest.mark.sampled
@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime', 'torch'])
@pytest.mark.parametrize('name', CONVEX)
def test_the_estimator_gives_what_the_official_code_gives(
    described: dict[str, Any],
    figures: Arrays,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    backend: str,
) -> None:
    torch = pytest.importorskip('torch')
    pytest.importorskip(backend)
    path = shared_data.parent / 'golden' / 'room.png'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    monkeypatch.setenv('MIDAS_DEPTH_CACHE_DIR', str(tmp_path))
    torch.save(network(described, name).state_dict(), tmp_path / 'mine.pth')
    estimator = load_estimator(tmp_path / 'mine.pth', backend, 1, precision='f32')
    found = estimator.estimate(path)
    assert deviation(found[::16, ::16], figures[f'{name}_picture_every_16']) < TOLERANCE
    estimator.close()
