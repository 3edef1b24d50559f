"""Models that load and answer nonsense: refused, or told as implausible, before a robot drives."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from midas_depth_ros.depth import conversion_cache, load_estimator
from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.depth.errors import DepthError, WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.model_check import (
    PICTURES,
    USUAL_SIZE,
    cell_means,
    check_model,
    sample_pictures,
)
from midas_depth_ros.depth.models import embedded, midas_small, read_arrays
from midas_depth_ros.lab.speed.random_weights import random_arrays

PICTURE = sample_pictures()[PICTURES[0]]
Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param != 'opencv':
        pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(conversion_cache.DIR_VARIABLE, str(tmp_path / 'cache'))
    return tmp_path / 'cache' / conversion_cache.SUBFOLDER


def altered(path: Path, changes: Mapping[str, Change]) -> Path:
    """The embedded model's weights with some of them changed."""
    state = read_arrays(embedded.ASSET)
    for name, change in changes.items():
        state[name] = change(state[name].copy()).astype(np.float32)
    np.savez(path, **state)
    return path


def constant(value: float) -> Change:
    return lambda array: np.full_like(array, value)


def last_number(value: float) -> Change:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[-1] = value
        return array

    return change


# Near and far swapped, as a network does that gives depth.
INVERTED: dict[str, Change] = {'head.weight': lambda w: -w, 'head.bias': lambda b: 2.5 - b}


# The model that ships.


def test_the_shipped_models_answer_is_known(backend: str) -> None:
    found = cell_means(load_estimator('embedded', backend, precision='f32').infer(PICTURE))
    rounded = np.round(1000 * found).astype(int).tolist()
    np.testing.assert_allclose(found, embedded.SAMPLE_DEPTH / 1000, atol=0.02, err_msg=str(rounded))


@pytest.mark.sampled
@pytest.mark.parametrize('precision', ['f32', 'bf16', 'f16', 'int8'])
def test_whoever_claims_to_be_the_shipped_model_gives_its_answer(
    tmp_path: Path, precision: str
) -> None:
    inverted = load_estimator(altered(tmp_path / 'altered.npz', INVERTED), 'opencv')
    with pytest.raises(WeightsMismatch, match='gives another depth'):
        check_model(inverted.infer, 'copy.xml', embedded.SPEC.weights.sha256, precision)
    right = load_estimator('embedded', 'opencv')
    assert check_model(right.infer, 'copy.xml', embedded.SPEC.weights.sha256, precision) == ''


# What is refused.


@pytest.mark.sampled
@pytest.mark.parametrize('value', [0.0, 1.5])
def test_a_model_that_gives_the_same_everywhere_is_refused(
    backend: str, tmp_path: Path, value: float
) -> None:
    changes = {'head.weight': constant(0), 'head.bias': constant(value)}
    with pytest.raises(WeightsMismatch, match=rf'altered\.npz gives {value:g} everywhere'):
        load_estimator(altered(tmp_path / 'altered.npz', changes), backend)


def test_a_model_that_does_not_look_at_the_picture_is_refused(backend: str, tmp_path: Path) -> None:
    path = altered(tmp_path / 'altered.npz', {'stem.weight': constant(0)})
    with pytest.raises(WeightsMismatch, match='the same depth for every picture'):
        load_estimator(path, backend)


@pytest.mark.parametrize(
    ('entry', 'value'),
    [('head.bias', np.nan), ('head.bias', -np.inf), ('stages.2.0.first.0.weight', np.inf)],
)
def test_weights_that_are_no_numbers_are_refused(
    backend: str, tmp_path: Path, entry: str, value: float
) -> None:
    path = altered(tmp_path / 'altered.npz', {entry: last_number(value)})
    with pytest.raises(WeightsCorrupt, match=rf'NaN or infinity in 1 of \d+ entries \({entry}\)'):
        load_estimator(path, backend)


def test_finite_weights_of_which_numbers_become_that_are_none_are_refused(
    backend: str, tmp_path: Path
) -> None:
    """The root of a variance below 0 is NaN, and a Relu makes 0 of that."""
    path = altered(tmp_path / 'altered.npz', {'stages.0.0.first.1.running_var': constant(-1)})
    with pytest.raises((WeightsCorrupt, WeightsMismatch), match=r'altered\.npz'):
        load_estimator(path, backend)


@pytest.mark.sampled
@pytest.mark.parametrize('name', ['openvino', 'onnxruntime', 'torch'])
@pytest.mark.parametrize(
    ('entry', 'value', 'said'),
    [
        ('scratch.output_conv.4.bias', np.nan, 'NaN or infinity in 1 of 482 entries'),
        ('pretrained.layer3.0.0.conv_dw.weight', np.inf, 'NaN or infinity in 1 of 482 entries'),
        ('scratch.output_conv.4.bias', -1e6, 'gives 0 everywhere'),
    ],
)
def test_midas_weights_that_say_nothing_are_refused(
    golden_state_dict: dict[str, Any], tmp_path: Path, name: str, entry: str, value: float,
    said: str,
) -> None:  # fmt: skip
    torch = pytest.importorskip('torch')
    pytest.importorskip(name)
    state = {key: tensor.clone() for key, tensor in golden_state_dict.items()}
    state[entry].view(-1)[-1] = value
    torch.save(state, tmp_path / 'altered.pt')
    with pytest.raises((WeightsCorrupt, WeightsMismatch), match=said):
        load_estimator(tmp_path / 'altered.pt', name)


def rows(low: float, high: float) -> np.ndarray:
    column = np.linspace(low, high, USUAL_SIZE[0], dtype=np.float32)
    return column[:, np.newaxis].repeat(USUAL_SIZE[1], axis=1)


@pytest.mark.parametrize(
    ('answer', 'said'),
    [
        (np.full(USUAL_SIZE, np.nan, np.float32), 'gives NaN or infinity'),
        (np.where(rows(0, 1) > 0.999, np.float32(np.inf), rows(0, 1)), 'gives NaN or infinity'),
        (np.zeros(USUAL_SIZE, np.float32), 'gives 0 everywhere'),
        (rows(7, 7.001), 'nearly everywhere'),
        (np.where(rows(0, 1) > 0.995, rows(0, 1), 0), 'one of them nearly everywhere'),
        (np.round(rows(0, 7)), '8 different values'),
        (rows(0, 1e20), r'values up to 1e\+20'),
        (rows(0, 1)[:96], r'\(96, 256\) pixels instead of \(192, 256\)'),
        (np.zeros((2, *USUAL_SIZE), np.float32), r'\(2, 192, 256\) instead of \(h, w\)'),
        (np.zeros((0, 0), np.float32), r'\(0, 0\) instead of \(h, w\)'),
        (rows(0, 1), 'the same depth for every picture'),
    ],
)
def test_an_answer_that_cannot_be_depth_is_refused(answer: np.ndarray, said: str) -> None:
    with pytest.raises(WeightsMismatch, match=f'net.onnx.*{said}.*use midas_small or embedded'):
        check_model(lambda rgb: answer, 'net.onnx', '', 'f32')


# What is told.


@pytest.fixture
def inverted(tmp_path: Path) -> Path:
    return altered(tmp_path / 'inverted.npz', INVERTED)


def test_near_and_far_swapped_is_told(backend: str, inverted: Path) -> None:
    notice = load_estimator(inverted, backend).notice
    assert 'inverted.npz gives implausible depth' in notice
    assert 'the floor in front farther away' in notice
    assert 'depth instead of inverse depth' in notice


def test_weights_that_are_known_need_no_opinion(golden_weights_file: Path) -> None:
    golden = load_estimator(golden_weights_file, precision='f32')
    assert 'most of its depth is 0' in golden.notice
    assert check_model(golden.infer, 'official', midas_small.SPEC.weights.sha256, 'f32') == ''


def test_a_file_that_claims_known_weights_has_to_be_plausible(
    golden_weights_file: Path, inverted: Path
) -> None:
    """What a model file says of itself anybody may have written."""
    sha256 = midas_small.SPEC.weights.sha256
    golden = load_estimator(golden_weights_file, precision='f32')
    assert 'most of its depth is 0' in check_model(
        golden.infer, 'net.xml', sha256, 'f32', claimed=True
    )
    swapped = load_estimator(inverted, 'opencv')
    assert check_model(swapped.infer, 'net.xml', sha256, 'f32') == ''
    said = check_model(swapped.infer, 'net.xml', sha256, 'f32', claimed=True)
    assert 'the floor in front farther away' in said


def test_a_model_without_faults_has_no_notice(backend: str, tmp_path: Path) -> None:
    path = altered(tmp_path / 'mine.npz', {'head.bias': lambda bias: bias + 0.01})
    assert load_estimator(path, backend).notice == ''


@pytest.mark.thorough
def test_the_benchmarks_random_weights_are_not_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    pytest.importorskip('openvino')
    state = {
        name: torch.from_numpy(np.array(a)) for name, a in random_arrays(midas_small.SPEC).items()
    }
    torch.save(state, tmp_path / 'random.pt')
    assert load_estimator(tmp_path / 'random.pt', 'openvino').model == 'random.pt'


# Through the cache of conversions.


@pytest.mark.parametrize('name', ['openvino', 'onnxruntime'])
def test_the_entry_of_other_weights_is_never_taken(
    cache: Path, inverted: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where its about.json was written to fit: the model's own mark says whose it is."""
    pytest.importorskip(name)
    wanted = load_estimator('embedded', 'opencv').infer(PICTURE)
    load_estimator('embedded', name, precision='f32')
    (right,) = cache.glob('embedded-*')
    load_estimator(inverted, name, precision='f32')
    (wrong,) = set(cache.glob('embedded-*')) - {right}
    record = json.loads((wrong / 'about.json').read_text())
    record['key'] = json.loads((right / 'about.json').read_text())['key']
    shutil.rmtree(right)
    wrong.rename(right)
    (right / 'about.json').write_text(json.dumps(record))
    with caplog.at_level(logging.WARNING):
        found = load_estimator('embedded', name, precision='f32').infer(PICTURE)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * wanted.max())
    assert 'holds a model of other weights' in caplog.text


def test_an_entry_that_was_forged_throughout_is_refused(cache: Path, inverted: Path) -> None:
    """Key, hashes and mark all lie: what is left is the answer."""
    pytest.importorskip('openvino')
    load_estimator('embedded', 'openvino', precision='f32')
    (right,) = cache.glob('embedded-*')
    load_estimator(inverted, 'openvino', precision='f32')
    (wrong,) = set(cache.glob('embedded-*')) - {right}
    other = json.loads((wrong / 'about.json').read_text())['key']['weights_sha256']
    for path in (wrong / 'model.xml', wrong / 'about.json'):
        path.write_text(path.read_text().replace(other, embedded.SPEC.weights.sha256))
    record = json.loads((wrong / 'about.json').read_text())
    xml = (wrong / 'model.xml').read_bytes()
    record['files']['model.xml'] = {
        'bytes': len(xml), 'sha256': hashlib.sha256(xml).hexdigest(),
    }  # fmt: skip
    (wrong / 'about.json').write_text(json.dumps(record))
    shutil.rmtree(right)
    wrong.rename(right)
    with pytest.raises(DepthError, match='gives another depth'):
        load_estimator('embedded', 'openvino', precision='f32')
