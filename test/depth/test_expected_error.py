"""The error that the shipped model expects of its own depth, in every backend and every file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from toy_model import toy_spec

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import DepthError, DepthEstimator, load_estimator, models
from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.depth.model_check import calibration_pictures, sample_pictures
from midas_depth_ros.depth.model_files import fingerprint_of
from midas_depth_ros.depth.models import embedded, read_arrays

MODEL_FILES = {'openvino': ('.onnx', '.xml'), 'onnxruntime': ('.onnx',)}


@pytest.fixture(scope='module')
def pictures() -> dict[str, np.ndarray]:
    return sample_pictures() | calibration_pictures()


@pytest.fixture(scope='module')
def plainest() -> DepthEstimator:
    return load_estimator('embedded', 'opencv')


def share(estimator: DepthEstimator, rgb: np.ndarray) -> np.ndarray:
    """The expected error, in parts of the spread that the depth of most pictures has."""
    error = estimator.infer_with_error(rgb)[1]
    assert error is not None
    return error


@pytest.mark.parametrize('backend', BACKENDS)
def test_every_backend_says_the_same(
    backend: str, plainest: DepthEstimator, pictures: dict[str, np.ndarray]
) -> None:
    if backend != 'opencv':
        pytest.importorskip(backend)
    estimator = load_estimator('embedded', backend, precision='f32')
    for rgb in list(pictures.values())[:4]:
        depth, error = estimator.infer_with_error(rgb)
        np.testing.assert_array_equal(depth, estimator.infer(rgb))
        assert error is not None
        assert (error.shape, error.dtype) == (depth.shape, np.float32)
        np.testing.assert_allclose(error, share(plainest, rgb), rtol=1e-3)
        assert 0 < error.min() < error.max() < embedded.MOST_ERROR


def test_bf16_is_near_enough(plainest: DepthEstimator, pictures: dict[str, np.ndarray]) -> None:
    pytest.importorskip('openvino')
    estimator = load_estimator('embedded', 'openvino', precision='bf16')
    for rgb in pictures.values():
        np.testing.assert_allclose(share(estimator, rgb), share(plainest, rgb), rtol=0.2)


BLIND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'dark': lambda rgb: (rgb * 0.004).astype(np.uint8),
    'glaring': lambda rgb: (250 + rgb * 0.02).astype(np.uint8),
    'covered': lambda rgb: np.full_like(rgb, (120, 70, 60)),
    'out of focus': lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 0.25 * rgb.shape[1]),
}


@pytest.mark.parametrize('how', BLIND)
def test_a_blind_picture_comes_out_as_unsure(
    how: str, plainest: DepthEstimator, pictures: dict[str, np.ndarray]
) -> None:
    seeing = np.array([share(plainest, rgb).mean() for rgb in pictures.values()])
    blind = np.array([share(plainest, BLIND[how](rgb)).mean() for rgb in pictures.values()])
    assert (blind > seeing).all()
    assert np.median(blind) > 2.5 * np.median(seeing)


def test_a_covered_part_is_less_certain_than_the_same_part_seen(
    plainest: DepthEstimator, pictures: dict[str, np.ndarray]
) -> None:
    ratios = []
    for rgb in pictures.values():
        height, width = rgb.shape[:2]
        part = np.s_[height // 3 :, : width // 2]
        covered = rgb.copy()
        covered[part] = (60, 40, 35)
        inside = np.s_[80:180, 16:112]
        ratios.append(share(plainest, covered)[inside].mean() / share(plainest, rgb)[inside].mean())
    assert np.median(ratios) > 1.5


def test_edges_are_less_certain_than_the_floor(
    plainest: DepthEstimator, pictures: dict[str, np.ndarray]
) -> None:
    depth, error = plainest.infer_with_error(pictures['room_1'])
    assert error is not None
    edge = cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, np.ones((5, 5))) > 0.3
    floor = np.s_[170:, 60:200]
    assert error[edge].mean() / depth[edge].mean() > 2 * error[floor].mean() / depth[floor].mean()


def test_a_model_that_does_not_say_it_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models._specs, 'toy', toy_spec(tmp_path))
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    rgb[40:] //= 3  # nearer below, as the check of models wants
    for backend in ('openvino', 'onnxruntime', 'opencv', 'torch'):
        estimator = load_estimator('toy', backend)
        depth, error = estimator.infer_with_error(rgb)
        assert error is None
        np.testing.assert_array_equal(depth, estimator.infer(rgb))


def first_edition() -> bytes:
    """The model as an earlier edition of this package exported it: without the second output."""
    weights = read_arrays(embedded.ASSET)
    do = embedded._OnnxOperations({k: np.asarray(v, np.float32) for k, v in weights.items()})
    depth, _ = embedded.depth_and_error(do, embedded.INPUT)
    do.add('Relu', [depth], embedded.OUTPUT)
    do.nodes = [node for node in do.nodes if b'error.' not in node]
    do.weights = [weight for weight in do.weights if b'error.' not in weight[0]]
    return do.to_bytes(
        embedded.INPUT, (1, 3, *embedded.SIZE), embedded.OUTPUT, (1, 1, *embedded.HALF_SIZE)
    )


@pytest.mark.parametrize('backend', MODEL_FILES)
def test_files_of_the_first_edition_still_run_and_give_none(
    backend: str, tmp_path: Path, plainest: DepthEstimator, pictures: dict[str, np.ndarray]
) -> None:
    pytest.importorskip(backend)
    content = first_edition()
    assert fingerprint_of(content) in embedded.SPEC.onnx.known[1:]  # type: ignore[union-attr]
    path = tmp_path / 'robot.onnx'
    path.write_bytes(content)
    depth, error = load_estimator(path, backend).infer_with_error(pictures['room_1'])
    assert error is None
    np.testing.assert_allclose(depth, plainest.infer(pictures['room_1']), atol=1e-4)


@pytest.mark.parametrize(
    ('backend', 'suffix'), [(b, suffix) for b, each in MODEL_FILES.items() for suffix in each]
)
def test_an_exported_file_says_it_too(
    backend: str,
    suffix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plainest: DepthEstimator,
    pictures: dict[str, np.ndarray],
) -> None:
    pytest.importorskip(backend)
    monkeypatch.chdir(tmp_path)
    words = ['export', 'embedded', '--format', {'.onnx': 'onnx', '.xml': 'openvino'}[suffix]]
    result = CliRunner().invoke(main, [*words, '--output', f'net{suffix}'])
    assert result.exit_code == 0, result.output
    error = share(load_estimator(tmp_path / f'net{suffix}', backend), pictures['street_1'])
    np.testing.assert_allclose(error, share(plainest, pictures['street_1']), rtol=1e-3)


def test_a_closed_estimator_says_so(pictures: dict[str, np.ndarray]) -> None:
    estimator = load_estimator('embedded', 'opencv')
    estimator.close()
    with pytest.raises(DepthError, match='is closed'):
        estimator.infer_with_error(pictures['room_1'])


@pytest.mark.parametrize('wrong', [math.nan, math.inf, -0.1])
def test_an_expected_error_that_is_none_is_refused_and_not_taken_for_certainty(monkeypatch, wrong):
    estimator = load_estimator('embedded', backend='opencv')
    plain = estimator._network.infer_with_error

    def broken(network_input):
        depth, error = plain(network_input)
        error = error.copy()
        error[5, 7] = wrong
        return depth, error

    monkeypatch.setattr(estimator._network, 'infer_with_error', broken)
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    with pytest.raises(DepthError, match='check its weights file'):
        estimator.infer_with_error(picture)
