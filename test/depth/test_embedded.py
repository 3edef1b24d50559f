"""The shipped model's file, and that every backend computes the same with it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from midas_depth_ros.depth import load_estimator, models
from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.models import embedded

MOST_BYTES = 6_000_000


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    """A floor that darkens towards a wall, a box on it, and grain."""
    rgb = np.zeros((480, 640, 3), np.float32)
    rgb[:220] = (190, 185, 170)
    rgb[220:] = np.linspace(90, 170, 260)[:, np.newaxis, np.newaxis] * (1.0, 0.8, 0.6)
    cv2.rectangle(rgb, (380, 170), (520, 380), (60, 80, 150), -1)
    rgb += np.random.default_rng(0).normal(0, 4, rgb.shape)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def test_the_file_is_small_and_the_promised_one() -> None:
    data = embedded.ASSET.read_bytes()
    assert len(data) == embedded.SPEC.weights.size <= MOST_BYTES
    assert hashlib.sha256(data).hexdigest() == embedded.SPEC.weights.sha256


def test_the_card_names_the_file_the_licence_and_the_limits() -> None:
    card = embedded.ASSET.with_name('embedded_model_card.md').read_text()
    assert embedded.SPEC.weights.sha256 in card
    assert 'Apache-2.0' in card
    assert '## Limits' in card
    assert 'python -m training.train' in card


def test_an_altered_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(embedded.ASSET.read_bytes())
    data[len(data) // 2] ^= 1
    altered = tmp_path / 'embedded.npz'
    altered.write_bytes(data)
    spec = dataclasses.replace(embedded.SPEC, shipped=altered)
    monkeypatch.setitem(models._specs, 'embedded', spec)
    with pytest.raises(WeightsCorrupt, match='SHA-256'):
        load_estimator('embedded')
    altered.unlink()
    with pytest.raises(WeightsCorrupt, match='is not there: install the package again'):
        load_estimator('embedded')


@pytest.mark.sampled
@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut', b'{"json": 1}'])
@pytest.mark.parametrize('backend', BACKENDS)
def test_files_that_are_no_archives_are_refused(
    tmp_path: Path, content: bytes, backend: str
) -> None:
    if backend != 'opencv':
        pytest.importorskip(backend)
    path = tmp_path / 'weights.npz'
    path.write_bytes(content)
    with pytest.raises(WeightsCorrupt, match='copy the file again'):
        load_estimator(path, backend)


@pytest.mark.parametrize('backend', BACKENDS)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, backend: str) -> None:
    if backend != 'opencv':
        pytest.importorskip(backend)
    np.savez(tmp_path / 'weights.npz', other=np.zeros(3))
    with pytest.raises(WeightsMismatch, match='embedded model'):
        load_estimator(tmp_path / 'weights.npz', backend)


def test_archives_with_pickled_objects_are_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / 'weights.npz', evil=np.array([Path], dtype=object))
    with pytest.raises(WeightsCorrupt, match='allow_pickle'):
        load_estimator(tmp_path / 'weights.npz')


def test_opencv_is_what_is_left_and_says_nothing_when_asked_for(
    without: Callable[..., None],
) -> None:
    without('openvino', 'onnxruntime')
    estimator = load_estimator('embedded')
    assert (estimator.model, estimator.backend, estimator.notice) == ('embedded', 'opencv', '')


def test_a_copy_of_the_file_is_the_same_model(tmp_path: Path, picture: np.ndarray) -> None:
    copy = tmp_path / 'mine.npz'
    copy.write_bytes(embedded.ASSET.read_bytes())
    estimator = load_estimator(copy)
    assert estimator.model == 'mine.npz'
    wanted = load_estimator('embedded').infer(picture)
    np.testing.assert_array_equal(estimator.infer(picture), wanted)


@pytest.mark.parametrize('backend', BACKENDS)
def test_it_gives_what_it_gave_when_it_was_shipped(
    picture: np.ndarray, golden_dir: Path, backend: str
) -> None:
    if backend != 'opencv':
        pytest.importorskip(backend)
    golden = np.load(golden_dir / 'embedded_output.npz')
    assert str(golden['sha256']) == embedded.SPEC.weights.sha256, 'make it again'
    depth = load_estimator('embedded', backend, precision='f32').infer(picture)
    # OpenCV's bilinear resize differs by one level of 255 between processors.
    most = 1e-3 if platform.machine() in ('x86_64', 'AMD64') else 5e-3
    assert np.abs(depth[::4, ::4] - golden['depth_every_4']).max() < most * depth.max()


@pytest.mark.sampled
@pytest.mark.parametrize('shape', [(480, 640), (1, 1), (1, 900), (900, 1), (31, 257), (1080, 1920)])
def test_it_works_at_its_trained_size_whatever_the_picture(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    estimator = load_estimator('embedded')
    small = estimator.infer(rgb)
    assert small.shape == (192, 256)
    assert small.min() >= 0
    assert estimator.estimate(rgb).shape == shape


def test_results_do_not_share_memory(picture: np.ndarray) -> None:
    estimator = load_estimator('embedded')
    first = estimator.infer(picture)
    kept = first.copy()
    estimator.infer(np.zeros_like(picture))
    np.testing.assert_array_equal(first, kept)


def test_preprocessing_averages_what_it_shrinks_and_keeps_what_fits() -> None:
    rgb = np.zeros((384, 512, 3), np.uint8)
    rgb[::2, ::2] = 200  # a quarter of the pixels
    np.testing.assert_allclose(embedded.SPEC.picture.preprocess(rgb), 50 / 255, atol=1e-6)
    rgb = np.random.default_rng(2).integers(0, 256, (192, 256, 3), np.uint8)
    wanted = rgb.transpose(2, 0, 1)[np.newaxis] / 255
    np.testing.assert_allclose(embedded.SPEC.picture.preprocess(rgb), wanted, atol=1e-6)


def test_it_needs_neither_torch_nor_the_network(tmp_path: Path) -> None:
    script = tmp_path / 'robot.py'
    script.write_text(
        'import socket, sys\n'
        "for name in ('torch', 'timm', 'torchvision', 'rclpy', 'onnx', 'requests'):\n"
        '    sys.modules[name] = None\n'
        'import numpy as np\n'
        'from midas_depth_ros.depth import load_estimator\n'
        'def refuse(*_): raise OSError("no network here")\n'
        'socket.socket.connect = socket.getaddrinfo = refuse\n'
        "depth = load_estimator('embedded').estimate(np.zeros((48, 64, 3), np.uint8))\n"
        'sys.stdout.write(str(depth.shape))\n'
    )
    root = Path(__file__).resolve().parents[2]
    places = os.pathsep.join([str(root), *filter(None, sys.path)])
    run = subprocess.run(
        [sys.executable, script], cwd=root, env={'PYTHONPATH': places}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.stdout == '(48, 64)', run.stderr
