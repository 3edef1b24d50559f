"""OpenVINO and ONNX Runtime: golden parity, threads, precisions, and files that are wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from effort import tries

from midas_depth_ros.depth import conversion_cache, load_estimator, model_check, models
from midas_depth_ros.depth.backends import BACKENDS, find_backend
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    WeightsCorrupt,
    WeightsMismatch,
)
from midas_depth_ros.depth.models import embedded, midas_small, onnx_of
from midas_depth_ros.depth.onnx_files import Graph

FAST = ('openvino', 'onnxruntime')
RGB = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
SIZES = ((256, 256), (192, 256), (160, 256), (192, 256))


@pytest.fixture(scope='module', params=FAST)
def library(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope='module')
def midas(library: str, golden_weights_file: Path) -> Any:
    return find_backend(library, '.pt')(golden_weights_file, 1, 'f32')


def golden_input(height: int, width: int) -> np.ndarray:
    noise = np.random.RandomState(height * 1000 + width)
    return noise.uniform(-2, 2, (1, 3, height, width)).astype(np.float32)


# The same depth as the reference, in float32.


def test_one_model_equals_the_reference_at_every_size(midas: Any, golden_dir: Path) -> None:
    outputs = np.load(golden_dir / 'midas_small_outputs.npz')
    for height, width in SIZES:
        wanted = outputs[f'output_{height}x{width}'][0]
        output = midas.infer(golden_input(height, width))
        assert output.shape == (height, width)
        assert output.dtype == np.float32
        assert output.flags.c_contiguous
        assert np.abs(output - wanted).max() < 1e-3 * wanted.max()


def test_the_pipeline_follows_from_the_reference_input(midas: Any, golden_dir: Path) -> None:
    pipeline = np.load(golden_dir / 'midas_small_pipeline.npz')
    output = midas.infer(pipeline['network_input'])
    wanted = np.maximum(pipeline['relative_inverse_depth_every_4'], 0)
    assert (
        np.abs(midas_small.SPEC.enlarge(output, (530, 730))[::4, ::4] - wanted).max()
        < 1e-3 * wanted.max()
    )


def test_results_outlive_the_next_inference(midas: Any) -> None:
    first = midas.infer(golden_input(64, 64))
    kept = first.copy()
    midas.infer(np.ones((1, 3, 64, 64), np.float32))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.sampled
@pytest.mark.parametrize('name', BACKENDS)
def test_the_embedded_model_is_the_same_in_every_backend(name: str) -> None:
    if name != 'opencv':
        pytest.importorskip(name)
    wanted = load_estimator('embedded', 'opencv').infer(RGB)
    estimator = load_estimator('embedded', name, precision='f32')
    assert (estimator.backend, estimator.precision) == (name, 'f32')
    assert np.abs(estimator.infer(RGB) - wanted).max() < 1e-3 * wanted.max()


def test_a_few_sizes_get_networks_of_their_own_and_further_ones_share(
    golden_weights_file: Path,
) -> None:
    pytest.importorskip('openvino')
    backend = find_backend('openvino', '.pt')(golden_weights_file, 1, 'f32')
    made = backend._network._compiled
    assert list(made) == [(1, 3, 192, 256)]
    for size in ((32, 64), (32, 32), (64, 32), (96, 32), (32, 64)):
        assert backend.infer(golden_input(*size)).shape == size
    assert list(made) == [(1, 3, 32, 64), (1, 3, 32, 32), None], 'what nobody sent was dropped'
    shared = backend.infer(golden_input(64, 96))
    own = find_backend('openvino', '.pt')(golden_weights_file, 1, 'f32').infer(golden_input(64, 96))
    np.testing.assert_allclose(shared, own, atol=1e-4 * own.max())


# Models as files.


@pytest.fixture(scope='module')
def embedded_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('models') / 'small.onnx'
    path.write_bytes(onnx_of(embedded.ASSET))
    return path


@pytest.fixture(scope='module')
def midas_onnx(tmp_path_factory: pytest.TempPathFactory, golden_weights_file: Path) -> Path:
    path = tmp_path_factory.mktemp('models') / 'midas.onnx'
    path.write_bytes(onnx_of(golden_weights_file))
    return path


def test_an_onnx_file_is_a_model_and_gets_its_networks_preprocessing(
    library: str, embedded_onnx: Path, midas_onnx: Path, golden_weights_file: Path
) -> None:
    for path, weights in ((embedded_onnx, embedded.ASSET), (midas_onnx, golden_weights_file)):
        estimator = load_estimator(path, library)
        assert (estimator.model, estimator.backend) == (path.name, library)
        wanted = load_estimator(weights, library, precision='f32').infer(RGB)
        np.testing.assert_allclose(estimator.infer(RGB), wanted, atol=1e-5 * wanted.max())


def one_layer(path: Path, shape: tuple[int, ...], **attributes: Any) -> Path:
    """A model that averages 2x2 pixels; of `shape` channels to one of the same number."""
    graph = Graph()
    graph.add('AveragePool', ['in'], 'out', kernel_shape=(2, 2), strides=(2, 2), **attributes)
    height, width = shape[-2] // 2, shape[-1] // 2
    path.write_bytes(graph.to_bytes('in', shape, 'out', (1, shape[1], height, width)))
    return path


@pytest.mark.parametrize('content', [b'', b'not a model', b'\x08\x07' + bytes(100)])
def test_a_file_that_is_no_model_is_named_with_the_remedy(
    library: str, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / 'net.onnx'
    path.write_bytes(content)
    with pytest.raises(DepthError, match=r'net\.onnx.*midas_depth export') as caught:
        load_estimator(path, library)
    assert isinstance(caught.value, (WeightsCorrupt, WeightsMismatch))
    assert len(str(caught.value)) < 600


def test_a_network_that_takes_no_picture_is_a_mismatch(library: str, tmp_path: Path) -> None:
    path = one_layer(tmp_path / 'grey.onnx', (1, 1, 64, 64))
    with pytest.raises(WeightsMismatch, match=r'grey\.onnx cannot be used: .*[Ee]xpected'):
        load_estimator(path, library)


def test_half_of_an_openvino_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    (tmp_path / 'net.xml').write_text('<net></net>')
    with pytest.raises(WeightsCorrupt, match=r'net\.bin is not there: .*copy both'):
        load_estimator(tmp_path / 'net.xml')
    (tmp_path / 'net.bin').write_bytes(b'')
    with pytest.raises(WeightsCorrupt, match=r'net\.xml cannot be read'):
        load_estimator(tmp_path / 'net.xml')


def test_a_state_dict_of_another_network_is_a_mismatch(library: str, tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    torch.save({'fc.weight': torch.zeros(1)}, tmp_path / 'resnet.pt')
    with pytest.raises(WeightsMismatch, match=r'resnet\.pt has no entry of a known network'):
        load_estimator(tmp_path / 'resnet.pt', library)


def test_a_size_that_the_network_does_not_take_is_an_error_of_ours(
    library: str, embedded_onnx: Path
) -> None:
    backend = find_backend(library, '.onnx')(embedded_onnx, 1, 'auto')
    with pytest.raises(DepthError, match=r'could not run.*64, 64'):
        backend.infer(np.zeros((1, 3, 64, 64), np.float32))
    backend.close()
    backend.close()
    with pytest.raises(DepthError, match='closed'):
        backend.infer(np.zeros((1, 3, 192, 256), np.float32))


# Threads.

AT_ONCE = """
import faulthandler, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.model_check import sample_pictures
picture, barrier, found = sample_pictures()['room_1'], threading.Barrier(6), []
def load():
    barrier.wait()
    found.append(load_estimator('embedded', sys.argv[1], 1, precision='f32').infer(picture).sum())
threads = [threading.Thread(target=load) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.stdout.write(str(len({round(float(s)) for s in found})))
"""


@pytest.mark.sampled
@pytest.mark.parametrize('kept', [False, True])
def test_threads_that_load_at_once_all_get_the_model(
    library: str, own_folder: Path, kept: bool
) -> None:
    """Not even as the first thing that the process does with the library."""
    if kept:
        load_estimator('embedded', library, precision='f32')
    for _ in range(tries(3)):
        run = subprocess.run(
            [sys.executable, '-c', AT_ONCE, library], capture_output=True, text=True, check=False
        )
        assert run.stdout == '1', run.stderr


def busy_threads(work: Callable[[], Any]) -> int:
    """How many threads of this process burnt a tenth or more of the processor time of `work`."""

    def ticks() -> dict[str, int]:
        found = {}
        for task in Path('/proc/self/task').iterdir():
            fields = (task / 'stat').read_text().rpartition(')')[2].split()
            found[task.name] = int(fields[11]) + int(fields[12])
        return found

    before = ticks()
    work()
    spent = [count - before.get(name, 0) for name, count in ticks().items()]
    assert sum(spent) >= 20, 'too little work to tell'
    return sum(share > sum(spent) / 10 for share in spent)


def test_one_thread_is_one_thread(library: str, golden_weights_file: Path) -> None:
    values = golden_input(256, 256)
    backend = find_backend(library, '.pt')(golden_weights_file, 1, 'f32')
    backend.infer(values)  # compiles for this size: one thread after another, not at once
    assert busy_threads(lambda: [backend.infer(values) for _ in range(8)]) == 1
    assert num_threads(backend) == 1
    two = find_backend(library, '.pt')(golden_weights_file, 2, 'f32')
    assert num_threads(two) == 2


def num_threads(backend: Any) -> int:
    """Threads for which the library has made the network."""
    if backend.name == 'onnxruntime':
        return backend._network.get_session_options().intra_op_num_threads
    compiled = next(iter(backend._network._compiled.values()))
    return int(compiled.get_property('INFERENCE_NUM_THREADS'))


# Precisions.


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv(conversion_cache.DIR_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def openvino_precisions() -> tuple[str, ...]:
    pytest.importorskip('openvino')
    from midas_depth_ros.depth.backends.openvino_runtime import Runtime

    return tuple(Runtime().precisions())


def test_a_precision_that_this_cpu_lacks_is_refused_with_what_it_has(
    openvino_precisions: tuple[str, ...],
) -> None:
    lacking = {'bf16', 'f16', 'int8'} - set(openvino_precisions)
    for precision in lacking:
        with pytest.raises(BackendUnavailable, match=rf'not compute in {precision}.*finds f32'):
            load_estimator('embedded', 'openvino', precision=precision)


def test_auto_takes_what_is_within_the_bound_and_reports_the_deviation(
    openvino_precisions: tuple[str, ...], own_folder: Path
) -> None:
    if 'bf16' not in openvino_precisions:
        pytest.skip('this CPU has no bf16')
    estimator = load_estimator('embedded', 'openvino')
    assert estimator.precision == 'bf16'
    assert 'bf16: correlation 0.99' in estimator.choice or 'correlation 1.0' in estimator.choice
    wanted = load_estimator('embedded', 'opencv').infer(model_check.sample_pictures()['room_1'])
    found = estimator.infer(model_check.sample_pictures()['room_1'])
    correlation, abs_rel = model_check.compare(wanted, found)
    assert correlation >= model_check.LEAST_CORRELATION
    assert abs_rel <= model_check.MOST_ABS_REL
    assert not np.array_equal(wanted, found), 'this was f32'
    (about,) = own_folder.glob('converted/embedded-openvino-bf16-*/about.json')
    noted = json.loads(about.read_text())['about']['deviation']
    assert noted['room_1'] == pytest.approx([correlation, abs_rel], abs=1e-3)


def test_auto_never_takes_what_exceeds_the_bound(
    openvino_precisions: tuple[str, ...], own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_check, 'MOST_ABS_REL', 1e-9)
    for _ in range(2):  # as converted, and as remembered
        estimator = load_estimator('embedded', 'openvino')
        assert estimator.precision == 'f32'
        if 'bf16' in openvino_precisions:
            assert 'bf16 exceeds the bound' in estimator.choice
    if 'bf16' in openvino_precisions:
        asked = load_estimator('embedded', 'openvino', precision='bf16')
        assert asked.precision == 'bf16'
        assert 'although it exceeds the bound' in asked.choice


@pytest.fixture
def unmeasured(
    openvino_precisions: tuple[str, ...], own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Any]:
    """The cache has the embedded model in bf16, from where bf16 could not be run; its conversion,
    anew with each call.
    """
    if 'bf16' not in openvino_precisions:
        pytest.skip('this CPU has no bf16')
    from midas_depth_ros.depth.backends.openvino_backend import Conversion
    from midas_depth_ros.depth.backends.openvino_runtime import Runtime

    with monkeypatch.context() as laptop:
        laptop.setattr(Runtime, 'precisions', lambda _: ('f32',))
        conversion = Conversion(embedded.ASSET, Runtime())
        conversion.model('bf16')
        assert conversion.deviation('bf16') is None
    return lambda: Conversion(embedded.ASSET, Runtime())


def test_what_was_converted_where_it_could_not_be_measured_is_measured_where_it_can(
    unmeasured: Callable[[], Any],
) -> None:
    """As in a home folder that a laptop without bf16 shares with a robot that has it."""
    assert load_estimator('embedded', 'openvino').precision == 'bf16'
    assert unmeasured().deviation('bf16') is not None


def test_an_unmeasured_model_in_a_cache_that_cannot_be_written_is_not_converted_again(
    unmeasured: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> Any:
        raise PermissionError('read-only')

    monkeypatch.setattr(conversion_cache, '_locked', refused)
    monkeypatch.setattr(type(unmeasured()), '_converted', refused)
    assert unmeasured().model('bf16').about['precision'] == 'bf16'


@pytest.mark.parametrize('name', ['opencv', *FAST])
def test_weights_that_change_while_they_are_read_are_not_used(
    name: str, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download or a copy over them: the cache would keep them as those before."""
    if name in FAST:
        pytest.importorskip(name)
    weights = own_folder / 'mine.npz'
    weights.write_bytes(embedded.ASSET.read_bytes())
    arrays = dict(np.load(weights))
    arrays['head.bias'] = arrays['head.bias'] + 1
    read = models.read_arrays

    def meanwhile(path: Path) -> Any:
        np.savez(weights, **arrays)
        return read(path)

    with monkeypatch.context() as copying:
        copying.setattr(models, 'read_arrays', meanwhile)
        with pytest.raises(WeightsCorrupt, match=r'mine\.npz was changed while it was read'):
            load_estimator(weights, name, precision='f32')
    assert not list(own_folder.glob('converted/embedded-*'))
    assert load_estimator(weights, name, precision='f32').infer(RGB).size


def test_int8_that_was_never_made_is_refused_with_the_command(own_folder: Path) -> None:
    pytest.importorskip('openvino')
    with pytest.raises(BackendUnavailable, match=r'midas_depth export .*--precision int8'):
        load_estimator('embedded', 'openvino', precision='int8')


def test_torch_takes_bf16_when_asked(golden_weights_file: Path) -> None:
    pytest.importorskip('torch')
    exact = load_estimator('embedded', 'torch')
    rough = load_estimator('embedded', 'torch', precision='bf16')
    assert (exact.precision, rough.precision) == ('f32', 'bf16')
    picture = cv2.GaussianBlur(model_check.sample_pictures()['room_1'], (9, 9), 0)
    correlation, _ = model_check.compare(exact.infer(picture), rough.infer(picture))
    assert 0.99 < correlation < 1


def test_a_robot_reports_to_nobody_that_it_uses_openvino(tmp_path: Path) -> None:
    """By itself openvino tells its makers of each import, by a process and a number in HOME."""
    pytest.importorskip('openvino')
    code = (
        'import sys; import midas_depth_ros.depth.backends.openvino_backend; '
        'print([name for name in sys.modules if name.startswith("openvino_telemetry.")])'
    )
    environment = {**os.environ, 'HOME': str(tmp_path)}
    environment.pop('CI', None)
    command = [sys.executable, '-c', code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, '[]\n', '')
    assert list(tmp_path.iterdir()) == []
