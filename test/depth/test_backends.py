"""The table of backends, and what the torch backend does with good and bad weights files."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from midas_depth_ros.depth import backends, models
from midas_depth_ros.depth.backends import BACKENDS, Entry, find_backend
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    WeightsCorrupt,
    WeightsMismatch,
)
from midas_depth_ros.depth.models import midas_small


def test_an_unknown_backend_is_named_with_the_list() -> None:
    with pytest.raises(BackendUnavailable, match=r"'tensorrt'.*auto, openvino, onnxruntime"):
        find_backend('tensorrt', '.pt')


@pytest.mark.parametrize(
    ('name', 'suffix'),
    [('torch', '.onnx'), ('torch', '.xml'), ('opencv', '.onnx'), ('onnxruntime', '.xml')],
)
def test_files_of_other_formats_are_refused_with_what_is_read(name: str, suffix: str) -> None:
    with pytest.raises(BackendUnavailable, match=rf'\*{suffix} \({name} reads \.'):
        find_backend(name, suffix)
    with pytest.raises(
        BackendUnavailable,
        match=r'\*.h5 \(openvino reads .*opencv reads .pt, .pth, .safetensors, .npz',
    ):
        find_backend('auto', '.h5')


@pytest.mark.sampled
@pytest.mark.parametrize('missing', ['torch', 'timm', 'torchvision'])
def test_a_torch_that_is_not_installed_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing != 'torch':
        pytest.importorskip('torch')
    monkeypatch.setitem(sys.modules, missing, None)
    for model in (midas_small.SPEC, None):
        with pytest.raises(
            BackendUnavailable, match=rf'{missing}.*pip install torch torchvision timm'
        ):
            find_backend('torch', '.pt', model=model)


@pytest.mark.parametrize('name', models.names())
def test_timm_is_asked_for_where_a_module_is_made_with_it(
    torch: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for missing in ('timm', 'torchvision'):
        monkeypatch.setitem(sys.modules, missing, None)
    spec = models.spec(name)
    if spec.needs_timm:
        with torch.device('meta'), pytest.raises(ImportError, match=r'torchvision|timm'):
            spec.module()
        return
    assert find_backend('torch', spec.weights.suffix, model=spec).__name__ == 'TorchBackend'
    with torch.device('meta'):
        spec.module()
    monkeypatch.setitem(sys.modules, 'torch', None)
    monkeypatch.delitem(sys.modules, 'midas_depth_ros.depth.backends.torch_backend')
    with pytest.raises(BackendUnavailable, match=r"'torch' cannot be imported"):
        find_backend('torch', spec.weights.suffix, model=spec)


def test_opencv_refuses_what_it_cannot_run_and_auto_goes_on(
    monkeypatch: pytest.MonkeyPatch, without: Callable[..., None]
) -> None:
    monkeypatch.setattr(backends.cv2, '__version__', '4.6.0')
    assert find_backend('opencv', '.pt', model=models.spec('midas_v21_384'))
    wanted = r'OpenCV 4\.6\.0 cannot run MiDaS_small: install OpenCV 5\.0 or later'
    with pytest.raises(BackendUnavailable, match=wanted):
        find_backend('opencv', '.pt', model=midas_small.SPEC)
    without('openvino', 'onnxruntime', 'torch')
    with pytest.raises(BackendUnavailable, match=rf"'onnxruntime'.*{wanted}.*'torch'"):
        find_backend('auto', '.pt', model=midas_small.SPEC)
    monkeypatch.setattr(backends.cv2, '__version__', '5.0.0-dev')
    assert find_backend('auto', '.pt', model=midas_small.SPEC) is backends.OpencvBackend
    graphless = dataclasses.replace(midas_small.SPEC, onnx=None)
    with pytest.raises(BackendUnavailable, match='OpenCV cannot run MiDaS_small: use another'):
        find_backend('opencv', '.pt', model=graphless)


def test_opencv_runs_weights_of_torch_and_refuses_sides_that_it_gets_wrong(
    golden_weights_file: Path, golden_dir: Path
) -> None:
    if backends.opencv_fault(midas_small.SPEC):
        pytest.skip('this OpenCV cannot run MiDaS_small')
    backend = find_backend('opencv', '.pt', model=midas_small.SPEC)(golden_weights_file, 1, 'f32')
    noise = np.random.RandomState(192 * 1000 + 256)
    network_input = noise.uniform(-2, 2, (1, 3, 192, 256)).astype(np.float32)
    wanted = np.load(golden_dir / 'midas_small_outputs.npz')['output_192x256'][0]
    assert np.abs(backend.infer(network_input) - wanted).max() < 1e-3 * wanted.max()
    with pytest.raises(DepthError, match='256 x 32 pixels: both sides must be 64 or more'):
        backend.infer(network_input[:, :, :32])


@pytest.mark.parametrize('name', ['openvino', 'onnxruntime'])
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    without: Callable[..., None], name: str
) -> None:
    without(name)
    with pytest.raises(BackendUnavailable, match=rf"pip install 'midas_depth_ros\[{name}\]'"):
        find_backend(name, '.pt')


def test_auto_goes_on_to_the_next_and_names_all_where_none_is_left(
    without: Callable[..., None],
) -> None:
    without('openvino', 'onnxruntime')
    assert find_backend('auto', '.npz').__name__ == 'OpencvBackend'
    without('openvino', 'onnxruntime', 'torch')
    with pytest.raises(BackendUnavailable, match=r"'openvino'.*'onnxruntime'.*OpenCV.*'torch'"):
        find_backend('auto', '.pt', model=dataclasses.replace(midas_small.SPEC, onnx=None))


def test_a_precision_that_no_candidate_has_is_named_with_what_there_is() -> None:
    with pytest.raises(BackendUnavailable, match=r"'int8'.*opencv has f32\)"):
        find_backend('opencv', '.npz', 'int8')


def test_auto_takes_the_first_that_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any) -> Any:
        raise OSError('libgomp.so.1: no such file')

    table = {
        'broken': Entry(('.onnx',), broken, 'install broken'),
        'other': Entry(('.xml',), lambda model: pytest.fail('reads another format'), ''),
        'whole': Entry(('.onnx',), lambda model: Fake, ''),
    }
    monkeypatch.setattr(backends, 'BACKENDS', table)
    assert find_backend('auto', '.onnx') is Fake
    with pytest.raises(BackendUnavailable, match=r"'broken'.*libgomp.*install broken"):
        find_backend('broken', '.onnx')


class Fake:
    """A backend that satisfies the protocol."""

    name = 'fake'
    precision = 'f32'

    choice = ''

    def __init__(self, weights: Path, num_threads: int, precision: str) -> None: ...

    def preprocess(self, rgb: np.ndarray) -> np.ndarray:
        return rgb

    def infer(self, network_input: np.ndarray) -> np.ndarray:
        return network_input[0, 0]

    def close(self) -> None: ...


# Everything below needs torch.


@pytest.fixture(scope='module')
def torch() -> Any:
    return pytest.importorskip('torch')


@pytest.fixture(scope='module')
def torch_backend(torch: Any, golden_weights_file: Path) -> Any:
    return find_backend('torch', '.pt')(golden_weights_file, 0, 'f32')


@pytest.fixture
def same_threads_afterwards(torch: Any) -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_one_trace_equals_the_reference_at_every_size(torch_backend: Any, golden_dir: Path) -> None:
    outputs = np.load(golden_dir / 'midas_small_outputs.npz')
    for height, width in ((256, 256), (160, 256), (192, 256), (256, 256)):
        wanted = outputs[f'output_{height}x{width}'][0]
        noise = np.random.RandomState(height * 1000 + width)
        network_input = noise.uniform(-2, 2, (1, 3, height, width)).astype(np.float32)
        output = torch_backend.infer(network_input)
        assert output.shape == (height, width)
        assert output.dtype == np.float32
        assert output.flags.c_contiguous
        assert np.abs(output - wanted).max() < 1e-3 * wanted.max()


def test_one_trace_equals_the_network_at_the_smallest_and_upright_sizes(
    torch: Any, torch_backend: Any, golden_state_dict: dict[str, Any]
) -> None:

    network = midas_small.build().eval()
    network.load_state_dict(golden_state_dict)
    for size in ((32, 256), (256, 32), (256, 192), (32, 32)):
        values = np.random.default_rng(0).uniform(-2, 2, (1, 3, *size)).astype(np.float32)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(values))[0].numpy()
        assert np.abs(torch_backend.infer(values) - wanted).max() < 1e-3 * wanted.max(), size


def test_the_reference_network_output_and_picture_follow_from_the_network_input(
    torch_backend: Any, golden_dir: Path
) -> None:
    pipeline = np.load(golden_dir / 'midas_small_pipeline.npz')
    output = torch_backend.infer(pipeline['network_input'])
    wanted = pipeline['network_output'][0]
    assert np.abs(output - wanted).max() < 1e-3 * wanted.max()
    every_4 = midas_small.SPEC.enlarge(output, (530, 730))[::4, ::4]
    wanted = np.maximum(pipeline['relative_inverse_depth_every_4'], 0)
    assert np.abs(every_4 - wanted).max() < 1e-3 * wanted.max()


def test_results_outlive_the_next_inference(torch_backend: Any) -> None:
    first = torch_backend.infer(np.zeros((1, 3, 64, 64), np.float32))
    kept = first.copy()
    torch_backend.infer(np.ones((1, 3, 64, 64), np.float32))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.usefixtures('same_threads_afterwards')
def test_threads_are_bounded_in_whichever_thread_infers(
    torch: Any, golden_weights_file: Path
) -> None:
    from midas_depth_ros.depth.backends.torch_backend import TorchBackend

    seen = []
    turn_of_worker, turn_of_main = threading.Event(), threading.Event()

    def work() -> None:
        torch.set_num_threads(2)  # this thread has used torch otherwise before
        turn_of_main.set()
        turn_of_worker.wait(60)
        backend.infer(np.zeros((1, 3, 32, 32), np.float32))
        seen.append(torch.get_num_threads())

    worker = threading.Thread(target=work)
    worker.start()
    turn_of_main.wait(60)
    backend = TorchBackend(golden_weights_file, num_threads=1)
    seen.append(torch.get_num_threads())
    turn_of_worker.set()
    worker.join(60)
    assert seen == [1, 1]


def test_a_closed_backend_says_so(torch: Any, golden_weights_file: Path) -> None:
    from midas_depth_ros.depth.backends.torch_backend import TorchBackend

    backend = TorchBackend(golden_weights_file)
    backend.close()
    backend.close()
    with pytest.raises(DepthError, match='closed'):
        backend.infer(np.zeros((1, 3, 32, 32), np.float32))


def test_a_torch_that_cannot_trace_is_an_error(
    torch: Any, golden_weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from midas_depth_ros.depth.backends.torch_backend import TorchBackend

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError('no such operator\nmore')

    monkeypatch.setattr(torch.jit, 'freeze', fail)
    with pytest.raises(BackendUnavailable, match=r'freeze the network \(no such operator\)'):
        TorchBackend(golden_weights_file)


class RunsCode:
    """Unpickled without care, this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def read(path: Path) -> dict[str, Any]:
    from midas_depth_ros.depth.backends.torch_backend import read_state_dict

    pytest.importorskip('torch')
    shapes = {'a.weight': (2, 3), 'a.bias': (2,), 'a.scale': ()}
    small = dataclasses.replace(midas_small.SPEC, shapes=shapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models._specs, 'midas_small', small)
        return read_state_dict(path)


UNREADABLE = {
    'empty': b'',
    'text': b'<html>Not Found</html>',
    'zip header': b'PK\x03\x04' + bytes(40),
    'pickled number': pickle.dumps(5),
    'noise': bytes(np.random.default_rng(3).integers(0, 256, 500, np.uint8)),
}


@pytest.mark.parametrize('content', UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_file_is_corrupt_and_named(
    torch: Any, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / 'weights.pt'
    path.write_bytes(content)
    with pytest.raises(DepthError, match=r'weights\.pt') as caught:
        read(path)
    assert isinstance(caught.value, (WeightsCorrupt, WeightsMismatch))


def test_every_cut_of_a_good_file_is_corrupt(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / 'weights.pt'
    state = {'a.weight': torch.ones(2, 3), 'a.bias': torch.ones(2), 'a.scale': torch.ones(())}
    torch.save(state, path)
    assert read(path)['a.weight'].sum() == 6
    content = path.read_bytes()
    for length in range(0, len(content) - 1, 37):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsCorrupt, match='fetch or copy'):
            read(path)


def test_a_file_that_is_not_there_is_corrupt_not_a_crash(torch: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsCorrupt, match='nowhere'):
        read(tmp_path / 'nowhere.pt')


def test_code_in_a_file_is_not_run(torch: Any, tmp_path: Path) -> None:
    path, trap = tmp_path / 'trap.pt', tmp_path / 'made_by_the_file'
    torch.save({'a.weight': RunsCode(trap)}, path)
    assert zipfile.is_zipfile(path)
    with pytest.raises(WeightsCorrupt):
        read(path)
    assert not trap.exists()


def test_another_models_keys_and_shapes_are_named(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / 'other.pt'
    found = {'a.weight': torch.ones(3, 3), 'b.weight': torch.ones(1), 'a.scale': torch.ones(())}
    torch.save(found, path)
    with pytest.raises(WeightsMismatch) as caught:
        read(path)
    text = str(caught.value)
    assert '1 missing (a.bias)' in text
    assert '1 unexpected (b.weight)' in text
    assert '1 of another shape (a.weight (3, 3) instead of (2, 3))' in text


def test_a_file_without_any_known_entry_names_some_of_its_own(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / 'other.pt'
    torch.save({'b.weight': torch.ones(1)}, path)
    with pytest.raises(WeightsMismatch, match=r'no entry of a known network \(it holds b.weight\)'):
        read(path)


def test_long_lists_of_keys_are_cut(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / 'other.pt'
    found = {f'layer{n}': torch.ones(1) for n in range(400)} | {'a.scale': torch.ones(())}
    torch.save(found, path)
    with pytest.raises(WeightsMismatch, match=r'400 unexpected \(.*, \.\.\.\)') as caught:
        read(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize('content', [[1, 2], {'a.weight': 'text'}, {'state_dict': {}}])
def test_what_is_not_a_table_of_tensors_is_a_mismatch(
    torch: Any, tmp_path: Path, content: Any
) -> None:
    path = tmp_path / 'other.pt'
    torch.save(content, path)
    with pytest.raises(WeightsMismatch, match=f'a {type(content).__name__}'):
        read(path)


def test_the_table_names_what_each_backend_reads() -> None:
    weights = ('.pt', '.pth', '.safetensors', '.npz')
    assert BACKENDS['torch'].reads == weights
    assert BACKENDS['opencv'].reads == weights
    assert BACKENDS['openvino'].reads == (*weights, '.onnx', '.xml', '.tflite')
    assert BACKENDS['onnxruntime'].reads == (*weights, '.onnx')
