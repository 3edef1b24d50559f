"""At which size a network sees pictures: what may be chosen, what is refused, and what follows."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_networks import TOLERANCE, deviation, golden_file, golden_noise
from hypothesis import given
from hypothesis import strategies as st

from midas_depth_ros.depth import load_estimator, models, weights
from midas_depth_ros.depth.backends import find_backend
from midas_depth_ros.depth.errors import InvalidNetworkSize
from midas_depth_ros.depth.models import embedded, midas_small
from midas_depth_ros.depth.models.sizes import (
    LEAST_SHORT_SIDE,
    MOST_ASPECT,
    MOST_PIXELS,
    NetworkSize,
    size_in_words,
)
from midas_depth_ros.depth.models.spec import ModelSpec, Sizing

SPECS = tuple(map(models.spec, models.names()))
FREE = tuple(model for model in SPECS if model.picture.fixed_size is None)
SMALL = models.spec('depth_anything_v2_small')
RGB = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)


# Which sizes there are.


@given(st.sampled_from(SPECS), st.integers(1, 5000), st.integers(1, 5000), st.booleans())
def test_every_picture_has_a_size_that_the_network_takes(
    model: ModelSpec, width: int, height: int, for_robot: bool
) -> None:
    picture = NetworkSize(for_robot=for_robot).applied_to(model).picture
    sides = picture.network_size(width, height)
    assert not any(side % picture.multiple for side in sides)
    assert min(sides) >= picture.multiple
    assert max(sides) <= MOST_ASPECT * max(picture.size)
    assert math.prod(sides) <= picture.most_pixels <= MOST_PIXELS


@given(
    st.sampled_from(FREE),
    st.integers(1, 80),
    st.floats(1, 20),
    st.integers(1, 5000),
    st.integers(1, 5000),
)
def test_every_size_that_is_not_refused_is_kept(
    model: ModelSpec, patches: int, aspect: float, width: int, height: int
) -> None:
    side = patches * model.picture.multiple
    try:
        picture = NetworkSize(side, aspect).applied_to(model).picture
    except InvalidNetworkSize:
        assert side < LEAST_SHORT_SIDE or side * side * aspect > MOST_PIXELS
        return
    sides = picture.network_size(width, height)
    assert min(sides) == side
    assert max(sides) <= aspect * side
    assert not any(each % picture.multiple for each in sides)
    if max(width, height) < 0.9 * aspect * min(width, height):  # proportions as near as they can be
        exact = side * max(width, height) / min(width, height)
        assert abs(max(sides) - exact) <= picture.multiple


@pytest.mark.parametrize('family', ['depth_anything', 'dpt', 'midas_v21', 'zipdepth'])
def test_the_bound_changes_no_official_size_of_usual_pictures(
    golden_dir: Path, family: str
) -> None:
    """What it changes are strips twenty times as long as wide, which would take minutes."""
    changed = set()
    described = json.loads((golden_dir / f'{family}.json').read_text())
    names = {'depth_anything': SMALL.name, 'dpt': 'dpt_large_384', 'midas_v21': 'midas_v21_384'}
    model = models.spec(names.get(family, family))
    bounded = NetworkSize().applied_to(model).picture
    for width, height, *_ in described['sizes']:
        official = model.picture.network_size(width, height)
        if bounded.network_size(width, height) != official:
            changed.add((width, height))
            assert max(official) > MOST_ASPECT * min(official)
    covers = model.picture.sizing is Sizing.COVER
    assert changed == ({(2000, 100), (100, 2000), (4000, 64)} if covers else set())


def test_a_huge_picture_does_not_make_a_huge_input() -> None:
    """Of 4000 x 300 the official rule makes 6902 x 518, of 20 times the pixels of a 4:3 picture."""
    assert SMALL.picture.network_size(4000, 300) == (6902, 518)
    for for_robot, sides in ((False, (2072, 518)), (True, (1008, 252))):
        picture = NetworkSize(for_robot=for_robot).applied_to(SMALL).picture
        assert picture.network_size(4000, 300) == sides
        assert picture.network_size(300, 4000) == sides[::-1]
        high, wide = picture.usual_size
        for width, height in ((20_000, 1), (1, 20_000), (20_000, 20_000), (40_000, 300)):
            assert math.prod(picture.network_size(width, height)) <= 3.1 * high * wide


@pytest.mark.parametrize(
    ('name', 'asked', 'said'),
    [
        (SMALL.name, {'network_size': 250}, 'is 250: not a multiple of 14: give 238 or 252, or 0'),
        ('zipdepth', {'network_size': 300}, 'is 300: not a multiple of 32: give 288 or 320, or 0'),
        ('midas_small', {'network_size': 255}, 'give 224 or 256'),
        (SMALL.name, {'network_size': 14}, 'is 14: too small to tell anything apart: give 70'),
        ('zipdepth', {'network_size': 1}, 'is 1: too small to tell anything apart: give 64'),
        ('zipdepth', {'network_size': -32}, 'is -32: too small'),
        ('zipdepth', {'network_size': 256.5}, r'is 256\.5: give whole pixels'),
        (SMALL.name, {'network_size': 20_006}, r'1601.0 million pixels.* at most 1022$'),
        (SMALL.name, {'network_size': 1540}, r'9\.5 million.* at most 1022, or a .* at most 1\.7'),
        (SMALL.name, {'network_aspect': 100.0}, r'518 and .*_aspect of 100 .* at most 15\.6'),
        (SMALL.name, {'network_aspect': 0.5}, r'network_aspect is 0\.5: give 1 or more'),
        (SMALL.name, {'network_aspect': math.nan}, 'network_aspect is nan: give 1 or more'),
        (SMALL.name, {'network_aspect': math.inf}, 'network_aspect is inf: give 1 or more'),
        ('embedded', {'network_size': 256}, 'is 256, but .* takes 256 x 192 pixels only: leave'),
        ('dpt_swin2_tiny_256', {'network_size': 224}, 'takes 256 x 256 pixels only'),
        ('auto', {'network_size': 100}, 'give 96 or 128'),
    ],
)
def test_a_size_that_cannot_be_is_refused_before_anything_is_fetched(
    name: str, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidNetworkSize, match=said):
        load_estimator(name, **asked)


def test_what_the_text_of_a_refusal_proposes_is_accepted() -> None:
    for side, aspect in ((1022, 4.0), (1540, 1.7), (518, 15.6), (70, 4.0), (238, 4.0)):
        NetworkSize(side, aspect).applied_to(SMALL)


def test_models_have_a_size_for_robots() -> None:
    """Two cores of a PC take less than 200 ms, or the log says that they do not."""
    sides = {model.name: model.node_short_side for model in SPECS}
    assert sides[SMALL.name] == 252
    for model in SPECS:
        robot = NetworkSize(for_robot=True).applied_to(model)
        assert NetworkSize().applied_to(model).picture.official is None
        assert robot.picture.usual_size <= model.picture.usual_size
        words = size_in_words(robot)
        high, wide = model.picture.usual_size
        assert f'{wide}x{high}' in words  # the official size
        high, wide = robot.picture.usual_size
        assert f'network input {wide}x{high}' in words
        assert ('more than 200 ms' in words) == model.slow_on_two_cores
    assert NetworkSize(518, for_robot=True).applied_to(SMALL).picture.usual_size == (518, 686)


# What runs at the size.


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime', 'torch'])
def test_the_network_sees_the_picture_at_the_size_that_was_asked_for(
    golden_weights_file: Path, backend: str
) -> None:
    pytest.importorskip(backend)
    estimator = load_estimator(golden_weights_file, backend, precision='f32', network_size=128)
    assert 'network input 160x128 for a 4:3 picture (official: 256x192' in estimator.choice
    assert estimator.infer(RGB).shape == (128, 160)
    assert estimator.infer(RGB[:, :20]).shape == (512, 128)
    exact = load_estimator(golden_weights_file, backend, precision='f32').infer(RGB)
    assert exact.shape == (192, 256)


QUICK = ('depth_anything_v2_small', 'dpt_hybrid_384', 'zipdepth', 'zipdepth_base')
COMPARED = [
    pytest.param(model.name, marks=() if model.name in QUICK else pytest.mark.thorough)
    for model in FREE
    if model is not midas_small.SPEC  # whose golden weights are described otherwise
]


@pytest.mark.sampled
@pytest.mark.timeout(900)
@pytest.mark.parametrize('name', COMPARED)
def test_a_trace_is_right_at_every_size(golden_dir: Path, tmp_path: Path, name: str) -> None:
    """Made at one size, it would hold that size's position embedding for ever, were it a number."""
    import torch

    from midas_depth_ros.depth.backends.torch_backend import TorchBackend, load_network

    path = golden_file(golden_dir, tmp_path, name)
    picture = models.spec(name).picture
    least = picture.multiple * math.ceil(LEAST_SHORT_SIDE / picture.multiple)
    backend = TorchBackend(path, 1, 'f32', NetworkSize(least))
    eager = load_network(path).eval()
    sizes = [(least, least), (2 * least, 3 * least), (3 * least, 2 * least), (least, 4 * least)]
    if name == SMALL.name:  # another branch: at the size of training nothing is resized
        sizes.append((518, 518))
    for size in (*sizes, (least, least)):
        noise = golden_noise(*size)
        with torch.inference_mode():
            wanted = np.asarray(eager(torch.from_numpy(noise)))[0]
        assert deviation(backend._run(noise)[0], wanted) < TOLERANCE, size


@pytest.mark.parametrize('library', ['openvino', 'onnxruntime'])
@pytest.mark.parametrize(
    'name',
    [
        pytest.param(model.name, marks=() if model.name == 'zipdepth' else pytest.mark.thorough)
        for model in FREE
        if model is not midas_small.SPEC and model.onnx
    ],
)
def test_a_converted_network_is_right_at_every_size(
    golden_dir: Path, tmp_path: Path, name: str, library: str
) -> None:
    """OpenVINO has a network of its own for two sizes, and shares one for the others."""
    pytest.importorskip(library)
    import torch

    from midas_depth_ros.depth.backends.torch_backend import load_network

    path = golden_file(golden_dir, tmp_path, name)
    spec = models.spec(name)
    multiple = spec.picture.multiple
    least = multiple * math.ceil(LEAST_SHORT_SIDE / multiple)
    backend = find_backend(library, path.suffix)(path, 1, 'f32', NetworkSize(least))
    eager = load_network(path).eval()
    sizes = [(least, least), (least, 2 * least), (2 * least, least), (least, 3 * least)]
    for size in (*sizes, *sizes):
        noise = golden_noise(*size)
        with torch.inference_mode():
            wanted = spec.finish(np.asarray(eager(torch.from_numpy(noise)))[0], size)
        assert deviation(backend.infer(noise), wanted) < TOLERANCE, size


@pytest.mark.parametrize('library', ['openvino', 'onnxruntime'])
def test_a_model_file_of_one_size_keeps_it(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    path = tmp_path / 'exported.onnx'
    path.write_bytes(models.onnx_of(embedded.ASSET))
    for size in (0, 192):
        estimator = load_estimator(path, library, network_size=size, for_robot=True)
        assert estimator.infer(RGB).shape == (192, 256)
    with pytest.raises(InvalidNetworkSize, match=r'is 256, but .* takes 256 x 192 pixels only'):
        load_estimator(path, library, network_size=256)


@pytest.mark.parametrize('library', ['openvino', 'onnxruntime'])
def test_a_model_file_of_every_size_takes_another(
    golden_weights_file: Path, tmp_path: Path, library: str
) -> None:
    pytest.importorskip(library)
    path = tmp_path / 'exported.onnx'
    path.write_bytes(models.onnx_of(golden_weights_file))
    assert load_estimator(path, library).infer(RGB).shape == (192, 256)
    assert load_estimator(path, library, network_size=128).infer(RGB).shape == (128, 160)
    with pytest.raises(InvalidNetworkSize, match='is 100: not a multiple of 32: give 96 or 128'):
        load_estimator(path, library, network_size=100)


@pytest.mark.parametrize(
    ('model', 'side', 'said'),
    [(SMALL, 250, 'multiple of 14'), (embedded.SPEC, 96, 'takes 256 x 192 pixels only')],
)
def test_a_size_for_robots_that_cannot_be_is_no_specification(
    model: ModelSpec, side: int, said: str
) -> None:
    with pytest.raises(ValueError, match=f'node_short_side: .*{said}'):
        dataclasses.replace(model, node_short_side=side)


def test_without_weights_auto_runs_the_embedded_model_whatever_size_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, 'candidate_paths', lambda file: [])
    estimator = load_estimator('auto', allow_download=False, network_size=128)
    assert estimator.model == 'embedded'
    assert estimator.infer(RGB).shape == (192, 256)
    assert 'network_size 128 is not for it' in estimator.notice
