"""DPT's networks and MiDaS v2.1 large against the official code, on weights anyone can make."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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

from midas_depth_ros.depth.model_files import fingerprint_of
from midas_depth_ros.depth.models import dpt, midas_v21
from midas_depth_ros.depth.models.dpt import NETWORKS, TransformerEncoder, make_onnx
from midas_depth_ros.depth.models.dpt_parts import Transformer

MIDAS, LARGE, HYBRID = 'midas_v21_384', 'dpt_large_384', 'dpt_hybrid_384'
SWIN, LEVIT = 'dpt_swin2_tiny_256', 'dpt_levit_224'
NAMES = (MIDAS, *NETWORKS)
STEP = 8  # every how many rows and columns of a golden output are kept
QUICK = {MIDAS: (224, 384), HYBRID: (128, 160), SWIN: (256, 256), LEVIT: (224, 224)}

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope='module')
def described(golden_dir: Path) -> dict[str, Any]:
    files = (golden_dir / f'{family}.json' for family in ('dpt', 'midas_v21'))
    of_dpt, of_midas = (json.loads(file.read_text()) for file in files)
    return of_dpt | of_midas | {'sizes': of_dpt['sizes'], 'midas_sizes': of_midas['sizes']}


@pytest.fixture(scope='module')
def figures(golden_dir: Path) -> Arrays:
    found = {}
    for family in ('dpt', 'midas_v21'):
        with np.load(golden_dir / f'{family}.npz') as archive:
            found.update(archive)
    return found


def new_module(name: str) -> Any:
    pytest.importorskip('torch')
    return midas_v21.build() if name == MIDAS else dpt.module(name)


def network(described: dict[str, Any], name: str) -> Any:
    module = new_module(name)
    import torch

    values = golden_weights(described[name])
    tensors = {key: torch.from_numpy(value) for key, value in values.items()}
    module.load_state_dict(tensors, strict=True)
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


@pytest.mark.parametrize('name', NAMES)
def test_keys_and_shapes_are_the_official_ones(described: dict[str, Any], name: str) -> None:
    torch = pytest.importorskip('torch')
    wanted = {key: tuple(entry[0]) for key, entry in described[name].items()}
    shapes = midas_v21.shapes() if name == MIDAS else dpt.shapes(NETWORKS[name].encoder)
    assert shapes == wanted
    with torch.device('meta'):
        module = new_module(name)
    rename = midas_v21.rename if name == MIDAS else dpt.rename
    # As much as there is in a file, but for tables that the module computes itself.
    assert {key: tuple(value.shape) for key, value in module.state_dict().items()} == rename(wanted)
    computed = {key for key, entry in described[name].items() if entry[1] == 'keep'}
    assert wanted.keys() - rename(wanted).keys() == computed
    assert bool(computed) == (name in (SWIN, LEVIT))


@pytest.mark.sampled
@pytest.mark.parametrize('name', QUICK)
def test_an_output_equals_the_official_one(
    described: dict[str, Any], figures: Arrays, name: str
) -> None:
    found = run(network(described, name), golden_noise(*QUICK[name]))
    wanted = outputs(figures, name)[QUICK[name]]
    assert deviation(found[::STEP, ::STEP], wanted) < TOLERANCE


@pytest.mark.thorough
@pytest.mark.parametrize('name', [MIDAS, HYBRID, LARGE])
def test_outputs_equal_the_official_ones_at_all_sizes(
    described: dict[str, Any], figures: Arrays, name: str
) -> None:
    module = network(described, name)
    assert len(outputs(figures, name)) >= 3
    for size, wanted in outputs(figures, name).items():
        assert deviation(run(module, golden_noise(*size))[::STEP, ::STEP], wanted) < TOLERANCE, size


def test_one_trace_serves_every_size(described: dict[str, Any], figures: Arrays) -> None:
    """Of the network that has all parts: a ResNet, a transformer, a decoder."""
    pytest.importorskip('torch')
    from midas_depth_ros.depth.backends.torch_backend import frozen_trace

    trace = frozen_trace(network(described, HYBRID), (1, 3, 64, 96))
    found = run(trace, golden_noise(128, 160))[::STEP, ::STEP]
    assert deviation(found, outputs(figures, HYBRID)[128, 160]) < TOLERANCE


# A network of DPT-Large's parts that is small enough for a quick test.
MINIATURE = TransformerEncoder(
    Transformer(24, depth=4, heads=3, patch=16, grid=6), taps=(1, 2, 3, 4), channels=(8, 12, 16, 20)
)
GRAPHS = (openvino_of, onnxruntime_of)


@pytest.mark.parametrize('backend', GRAPHS)
def test_the_graph_of_a_transformer_gives_what_its_module_gives(
    backend: Callable[[bytes], Infer],
) -> None:
    torch = pytest.importorskip('torch')
    module = dpt.build(MINIATURE).eval()
    rng = np.random.default_rng(0)
    state = {
        key: rng.normal(0, np.prod(shape[1:], initial=1) ** -0.5, shape).astype(np.float32)
        for key, shape in dpt.shapes(MINIATURE).items()
    }
    state['scratch.output_conv.4.bias'] += 5  # or the last ReLU might cut everything off
    module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    infer = backend(make_onnx(MINIATURE, state, {}))
    # The embedding was learned at 96 x 96: it is resized along both sides, one, or none.
    for size in ((64, 160), (96, 128), (128, 96), (96, 96), (32, 32)):
        picture = golden_noise(*size)
        wanted = run(module, picture)
        assert wanted.std() > 0.01
        assert deviation(infer(picture), wanted) < TOLERANCE, size


@pytest.mark.thorough
@pytest.mark.parametrize('backend', GRAPHS)
def test_the_large_graph_gives_what_the_official_network_gives(
    described: dict[str, Any], figures: Arrays, backend: Callable[[bytes], Infer]
) -> None:
    infer = backend(make_onnx(NETWORKS[LARGE].encoder, golden_weights(described[LARGE]), {}))
    assert len(outputs(figures, LARGE)) >= 3
    for size, wanted in outputs(figures, LARGE).items():
        found = infer(golden_noise(*size))[::STEP, ::STEP]
        assert deviation(found, wanted) < TOLERANCE, size


@pytest.mark.parametrize(
    ('size', 'bound'),
    [((128, 160), 1e-4), pytest.param((384, 512), TOLERANCE, marks=pytest.mark.thorough)],
)
def test_channels_that_lie_last_change_nothing(
    described: dict[str, Any], figures: Arrays, size: tuple[int, int], bound: float
) -> None:
    """As the torch backend lays them out: torch's group norms then round otherwise."""
    import torch

    module = network(described, HYBRID).to(memory_format=torch.channels_last)
    last = torch.from_numpy(golden_noise(*size)).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = np.asarray(module(last))[0]
    assert deviation(found[::STEP, ::STEP], outputs(figures, HYBRID)[size]) < bound


@pytest.mark.thorough
def test_the_large_graph_is_known() -> None:
    spec = dpt.spec(LARGE)
    assert spec.onnx is not None
    ones = {key: np.broadcast_to(np.float32(1), shape) for key, shape in spec.shapes.items()}
    assert fingerprint_of(spec.onnx.make(ones, {})) == spec.onnx.known[0]


def test_sizes_of_dpt_take_the_scale_nearer_to_1(described: dict[str, Any]) -> None:
    picture = dpt.picture(LARGE)
    assert len(described['sizes']) == 24
    for width, height, *wanted in described['sizes']:
        # The official code fails where a side becomes 0.
        sides = tuple(max(side, 32) for side in wanted)
        assert picture.network_size(width, height) == sides, (width, height)
    assert picture.with_short_side(256).network_size(640, 480) == (352, 256)
    for most, size, wanted in ((2, (1241, 376), (768, 384)), (3, (100, 2000), (32, 384))):
        bounded = dataclasses.replace(picture, most_aspect=most)
        assert bounded.network_size(*size) == wanted


def test_the_other_sizes_are_the_official_ones(described: dict[str, Any]) -> None:
    assert len(described['midas_sizes']) == 24
    for width, height, *wanted in described['midas_sizes']:
        sides = tuple(max(side, 32) for side in wanted)
        assert midas_v21.SPEC.picture.network_size(width, height) == sides, (width, height)
    assert dpt.picture(SWIN).network_size(730, 530) == (256, 256)
    assert dpt.picture(LEVIT).network_size(730, 530) == (224, 224)


@pytest.mark.parametrize(
    'name',
    [LEVIT, SWIN, *(pytest.param(each, marks=pytest.mark.thorough) for each in (MIDAS, HYBRID))],
)
def test_the_whole_way_of_a_picture(
    described: dict[str, Any], figures: Arrays, shared_data: Path, name: str
) -> None:
    path = shared_data.parent / 'golden' / 'room.png'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    with Image.open(path) as image:
        rgb = np.asarray(image.convert('RGB'))
    spec = midas_v21.SPEC if name == MIDAS else dpt.spec(name)
    picture = np.ascontiguousarray(spec.picture.preprocess(rgb))
    assert picture.shape[2:] == tuple(figures[f'{name}_network_input_size_hw'])
    output = run(network(described, name), picture)
    large = spec.enlarge(output, rgb.shape[:2])
    same = LARGE if name == HYBRID else name  # both see the same
    wanted = figures[f'{same}_network_input_every_16']
    assert deviation(picture[..., ::16, ::16], wanted) < TOLERANCE
    wanted = figures[f'{name}_network_output_every_16']
    assert deviation(output[::16, ::16], wanted) < TOLERANCE
    wanted = np.maximum(figures[f'{name}_picture_every_16'], 0)  # the cubic overshoots
    assert deviation(large[::16, ::16], wanted) < TOLERANCE
