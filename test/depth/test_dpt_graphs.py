"""The ONNX graphs of MiDaS v2.1 large, DPT-Hybrid, DPT-Swin2 and DPT-LeViT, made without torch.

Their goldens are those of `test_dpt.py`; here, too, weights are such that anyone can make.
"""

from __future__ import annotations

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
from golden_networks import (
    TOLERANCE,
    Infer,
    deviation,
    golden_noise,
    golden_weights,
    onnxruntime_of,
    opencv_of,
    openvino_of,
)

from midas_depth_ros.depth import load_estimator, models
from midas_depth_ros.depth.errors import BackendUnavailable
from midas_depth_ros.depth.model_files import fingerprint_of, known_graphs
from midas_depth_ros.depth.models import (
    dpt_levit_graph,
    dpt_resnet_graph,
    dpt_swin2_graph,
    monodepth2,
)

ROOT = Path(__file__).resolve().parents[2]
MIDAS, HYBRID = 'midas_v21_384', 'dpt_hybrid_384'
SWIN, LEVIT = 'dpt_swin2_tiny_256', 'dpt_levit_224'
# The smallest golden output of each: (height, width).
QUICK = {MIDAS: (224, 384), HYBRID: (128, 160), SWIN: (256, 256), LEVIT: (224, 224)}
STEP = 8  # every how many rows and columns of a golden output are kept
BACKENDS = (openvino_of, onnxruntime_of)
large = pytest.mark.thorough  # of networks with 100 million weights

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope='module')
def described(golden_dir: Path) -> dict[str, Any]:
    found = {}
    for family in ('dpt', 'midas_v21'):
        found.update(json.loads((golden_dir / f'{family}.json').read_text()))
    return found


@pytest.fixture(scope='module')
def figures(golden_dir: Path) -> Arrays:
    found = {}
    for family in ('dpt', 'midas_v21'):
        with np.load(golden_dir / f'{family}.npz') as archive:
            found.update(archive)
    return found


def graph(described: dict[str, Any], name: str) -> bytes:
    spec = models.spec(name)
    assert spec.onnx is not None
    return spec.onnx.make(golden_weights(described[name]), {})


def outputs(figures: Arrays, name: str) -> dict[tuple[int, int], np.ndarray]:
    """The golden outputs of a network by (height, width)."""
    found = {}
    for key, values in figures.items():
        if size := re.fullmatch(rf'{name}_output_(\d+)x(\d+)_every_{STEP}', key):
            found[int(size[1]), int(size[2])] = values
    return found


@pytest.mark.sampled
@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name', QUICK)
def test_an_output_equals_the_official_one(
    described: dict[str, Any], figures: Arrays, name: str, backend: Callable[[bytes], Infer]
) -> None:
    size = QUICK[name]
    found = backend(graph(described, name))(golden_noise(*size))
    assert found.shape == size
    assert deviation(found[::STEP, ::STEP], outputs(figures, name)[size]) < TOLERANCE


@large
@pytest.mark.parametrize('backend', [*BACKENDS, opencv_of])
@pytest.mark.parametrize('name', [MIDAS, HYBRID])
def test_outputs_equal_the_official_ones_at_all_sizes(
    described: dict[str, Any], figures: Arrays, name: str, backend: Callable[[bytes], Infer]
) -> None:
    if backend is opencv_of and name == HYBRID:
        pytest.skip('OpenCV takes no layer norms of a picture whose size is free')
    infer, wanted = backend(graph(described, name)), outputs(figures, name)
    assert len(wanted) >= 3
    for size, figure in wanted.items():
        assert deviation(infer(golden_noise(*size))[::STEP, ::STEP], figure) < TOLERANCE, size


@large
@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name', [MIDAS, HYBRID])
def test_every_multiple_of_32_is_taken(
    described: dict[str, Any], name: str, backend: Callable[[bytes], Infer]
) -> None:
    torch = pytest.importorskip('torch')
    spec, weights = models.spec(name), golden_weights(described[name])
    module = spec.module().eval()
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    infer = backend(graph(described, name))
    for size in ((32, 64), (64, 32), (96, 288)):
        picture = golden_noise(*size)
        with torch.inference_mode():
            wanted = np.asarray(module(torch.from_numpy(picture))[0])
        assert deviation(infer(picture), wanted) < TOLERANCE, size


@pytest.mark.parametrize('name', QUICK)
def test_weights_that_are_missing_or_no_numbers_are_refused(
    described: dict[str, Any], name: str
) -> None:
    make = models.spec(name).onnx.make
    key = 'scratch.refinenet2.resConfUnit1.conv2.bias'
    with pytest.raises(ValueError, match=r'refinenet2\S*conv2\S* holds NaN or infinity'):
        make(golden_weights(described[name]) | {key: np.full(256, np.nan, np.float32)}, {})
    weights = golden_weights(described[name])
    del weights['scratch.layer1_rn.weight']
    with pytest.raises(KeyError, match=r'scratch\.layer1_rn\.weight'):
        make(weights, {})


@pytest.mark.parametrize('name', [*QUICK, 'zipdepth', 'zipdepth_base', 'monodepth2'])
def test_todays_graph_is_known_and_no_other_models(name: str) -> None:
    spec = monodepth2.SPEC if name == 'monodepth2' else models.spec(name)
    ones = {key: np.ones(shape, np.float32) for key, shape in spec.shapes.items()}
    assert spec.onnx.known, 'it would be built anew by whoever reads a model file'
    assert fingerprint_of(spec.onnx.make(ones, {})) == known_graphs(spec)[0]
    for other in map(models.spec, models.names()):
        if other.name != spec.name and other.onnx is not None:
            assert not set(other.onnx.known) & set(spec.onnx.known)


# --- What is computed once, against its torch form.


def test_kernels_are_standardised_bit_by_bit_as_the_official_ones() -> None:
    torch = pytest.importorskip('torch')
    rng = np.random.default_rng(0)
    for shape in ((64, 3, 7, 7), (256, 64, 1, 1), (128, 128, 3, 3)):
        kernel = rng.normal(0.02, 0.05, shape).astype(np.float32)
        rows = torch.from_numpy(kernel).reshape(1, len(kernel), -1)
        wanted = torch.batch_norm(
            rows, None, None, None, None, training=True, momentum=0.0, eps=1e-8,
            cudnn_enabled=False,
        )  # fmt: skip
        found = dpt_resnet_graph.standardised_kernel(kernel)
        np.testing.assert_array_equal(found, wanted.reshape(shape).numpy())


def test_positions_and_windows_of_swin_are_those_of_the_module() -> None:
    pytest.importorskip('torch')
    from midas_depth_ros.depth.models import dpt_swin2_torch as module

    for window in (8, 16):
        for found, wanted in zip(
            dpt_swin2_graph.relative_positions(window),
            module.relative_positions(window),
            strict=True,
        ):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-7)
    for sides in ((64, 16, 8), (32, 16, 8), (32, 16, 4)):
        masks = module.neighbourhood(*sides)[:, 0].numpy()
        np.testing.assert_array_equal(dpt_swin2_graph.neighbourhood(*sides), masks)


def test_rolled_windows_of_swin_hold_the_patches_of_the_modules() -> None:
    torch = pytest.importorskip('torch')
    from midas_depth_ros.depth.models import dpt_swin2_torch as module

    places = torch.arange(32 * 32).reshape(1, 32, 32, 1)
    rolled = places.roll((-8, -8), (1, 2))
    wanted = module.into_windows(rolled, 16).flatten().numpy()
    np.testing.assert_array_equal(dpt_swin2_graph.in_windows(32, 16, 8), wanted)


def test_distances_of_levit_are_those_of_the_module() -> None:
    pytest.importorskip('torch')
    from midas_depth_ros.depth.models import dpt_levit_torch as module

    for sides in ((14, 14), (7, 14), (7, 7), (4, 7), (4, 4)):
        wanted = module.distances(*sides).numpy()
        np.testing.assert_array_equal(dpt_levit_graph.distances(*sides), wanted)


# --- As they are used: by a file's path, through the estimator, on a robot without torch.


def official_file(described: dict[str, Any], name: str, folder: Path) -> Path:
    """A file with all entries that the official one has."""
    torch = pytest.importorskip('torch')
    spec = models.spec(name)
    table: dict[str, np.ndarray] = {
        key: np.zeros(shape, np.int64 if key.endswith('attention_bias_idxs') else np.float32)
        for key, shape in spec.shapes.items()
    }
    table |= golden_weights(described[name])
    path = folder / spec.weights.name
    torch.save({key: torch.from_numpy(value) for key, value in table.items()}, path)
    return path


def room(shared_data: Path) -> Path:
    path = shared_data.parent / 'golden' / 'room.png'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    return path


@pytest.mark.sampled
@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
@pytest.mark.parametrize(
    'name', [LEVIT, SWIN, pytest.param(MIDAS, marks=large), pytest.param(HYBRID, marks=large)]
)
def test_the_estimator_gives_what_the_official_code_gives(
    described: dict[str, Any],
    figures: Arrays,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    backend: str,
) -> None:
    pytest.importorskip(backend)
    monkeypatch.setenv('MIDAS_DEPTH_CACHE_DIR', str(tmp_path / 'cache'))
    file = official_file(described, name, tmp_path)
    estimator = load_estimator(file, backend, 1, precision='f32')
    found = estimator.estimate(room(shared_data))
    estimator.close()
    wanted = np.maximum(figures[f'{name}_picture_every_16'], 0)  # the cubic overshoots
    assert deviation(found[::16, ::16], wanted) < TOLERANCE
    assert estimator.backend == backend


@pytest.mark.thorough
def test_midas_runs_on_opencv(
    described: dict[str, Any], figures: Arrays, shared_data: Path, tmp_path: Path
) -> None:
    file = official_file(described, MIDAS, tmp_path)
    estimator = load_estimator(file, 'opencv', 1)
    found = estimator.estimate(room(shared_data))
    wanted = np.maximum(figures[f'{MIDAS}_picture_every_16'], 0)
    assert deviation(found[::16, ::16], wanted) < TOLERANCE


def test_opencv_refuses_a_transformer_and_says_so(
    described: dict[str, Any], tmp_path: Path
) -> None:
    file = official_file(described, LEVIT, tmp_path)
    with pytest.raises(BackendUnavailable, match='OpenCV cannot run DPT-LeViT: use another'):
        load_estimator(file, 'opencv')


ROBOT = """
import sys
import numpy as np
from midas_depth_ros.depth import load_estimator
estimator = load_estimator(sys.argv[1], sys.argv[2], 1)
depth = estimator.estimate(np.zeros((48, 64, 3), np.uint8) + np.arange(64, dtype=np.uint8)[:, None])
heavy = {'torch', 'timm', 'torchvision', 'onnx'} & set(sys.modules)
sys.stdout.write(f'{estimator.backend} {depth.shape} {sorted(heavy)}')
"""


@pytest.mark.sampled
@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_an_official_file_becomes_a_model_without_torch(
    described: dict[str, Any], backend: str, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    file = official_file(described, LEVIT, tmp_path)
    environment = os.environ | {'MIDAS_DEPTH_CACHE_DIR': str(tmp_path), 'PYTHONPATH': str(ROOT)}
    for _ in ('converted', 'from the cache'):
        run = subprocess.run(
            [sys.executable, '-c', ROBOT, str(file), backend],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False,
        )  # fmt: skip
        assert run.stdout == f'{backend} (48, 64) []', run.stderr
