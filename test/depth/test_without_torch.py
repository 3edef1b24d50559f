"""MiDaS_small where there is no torch: state dicts read without it, and what is loaded to run."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.models.midas_small import Simplifications, midas_onnx, midas_shapes
from midas_depth_ros.depth.torch_files import read_torch_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def torch() -> Any:
    return pytest.importorskip('torch')


# Reading state dicts.


def test_every_number_is_what_torch_reads(
    golden_weights_file: Path, golden_state_dict: dict[str, Any]
) -> None:
    found = read_torch_table(golden_weights_file).arrays
    assert found.keys() == golden_state_dict.keys()
    for key, tensor in golden_state_dict.items():
        assert found[key].shape == tuple(tensor.shape), key
        np.testing.assert_array_equal(found[key], tensor.numpy(), err_msg=key)


def test_views_parameters_and_other_types_are_read_too(torch: Any, tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    saved = OrderedDict(
        turned=base.t(),
        part=base[1:3, ::2],
        half=torch.tensor([0.5, -2], dtype=torch.float16),
        flag=torch.tensor([True, False]),
        number=torch.tensor(7),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    torch.save(saved, tmp_path / 'views.pt')
    found = read_torch_table(tmp_path / 'views.pt').arrays
    for key, tensor in saved.items():
        np.testing.assert_array_equal(found[key], tensor.detach().numpy(), err_msg=key)


def test_every_cut_is_corrupt_never_something_else(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / 'weights.pt'
    torch.save({'a.weight': torch.ones(2, 3), 'a.bias': torch.ones(2)}, path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsCorrupt, match='fetch or copy'):
            read_torch_table(path)


def test_random_damage_is_an_error_of_ours_or_no_damage(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / 'weights.pt'
    torch.save({'a.weight': torch.ones(2, 3), 'a.bias': torch.ones(2)}, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            found = read_torch_table(path).arrays
        except (WeightsCorrupt, WeightsMismatch):
            continue
        assert set(found) <= {'a.weight', 'a.bias'}


class RunsCode:
    """Unpickled without care, this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_is_not_run(torch: Any, tmp_path: Path) -> None:
    path, trap = tmp_path / 'trap.pt', tmp_path / 'made_by_the_file'
    torch.save({'a.weight': RunsCode(trap)}, path)
    with pytest.raises(WeightsCorrupt, match=r'names posix.mkdir'):
        read_torch_table(path)
    assert not trap.exists()


def forged(path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Path:
    """A file whose tensor lies elsewhere than its four numbers."""

    class Persistent(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return ('storage', FloatStorage, '0', 'cpu', 4) if thing is marker else None

    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            return _rebuild_tensor_v2, (marker, offset, size, stride, False, OrderedDict())

    marker = object()
    with zipfile.ZipFile(path, 'w') as archive:
        with archive.open('x/data.pkl', 'w') as file:
            Persistent(file, protocol=2).dump({'a': Tensor()})
        archive.writestr('x/data/0', np.arange(4, dtype=np.float32).tobytes())
    return path


class FloatStorage:
    """Pickled by its name: torch.FloatStorage."""


def _rebuild_tensor_v2() -> None: ...


FloatStorage.__module__, FloatStorage.__qualname__ = 'torch', 'FloatStorage'
_rebuild_tensor_v2.__module__ = 'torch._utils'


def test_a_tensor_outside_its_storage_is_refused(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / 'forged.pt'
    monkey = pytest.MonkeyPatch()
    monkey.setattr(torch, 'FloatStorage', FloatStorage)
    monkey.setattr(torch._utils, '_rebuild_tensor_v2', _rebuild_tensor_v2)
    with monkey.context():
        good = read_torch_table(forged(path, 0, (2, 2), (2, 1))).arrays['a']
        np.testing.assert_array_equal(good, [[0, 1], [2, 3]])
        for offset, size, stride in (
            (0, (2, 3), (3, 1)),
            (1, (2, 2), (2, 1)),
            (-1, (2,), (1,)),
            (3, (2,), (-1,)),
            (0, (10**9, 10**9), (1, 1)),
        ):
            with pytest.raises(WeightsCorrupt, match='outside its storage'):
                read_torch_table(forged(path, offset, size, stride))
    monkey.undo()


@pytest.mark.parametrize('content', [[1, 2], {'a.weight': 'text'}, {'state_dict': {}}])
def test_what_is_no_table_of_tensors_is_a_mismatch(
    torch: Any, tmp_path: Path, content: Any
) -> None:
    torch.save(content, tmp_path / 'other.pt')
    with pytest.raises(WeightsMismatch, match=r'other\.pt is not a state dict'):
        read_torch_table(tmp_path / 'other.pt')


def test_files_of_old_torch_are_read_as_well(torch: Any, tmp_path: Path) -> None:
    path = tmp_path / 'old.pt'
    torch.save({'a': torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    assert read_torch_table(path).arrays['a'].tolist() == [1, 1]


# The graph.


def test_the_shapes_are_those_of_the_official_checkpoint(golden_dir: Path) -> None:
    official = json.loads((golden_dir / 'midas_small_state_dict.json').read_text())
    assert {key: list(shape) for key, shape in midas_shapes().items()} == official


@pytest.mark.sampled
@pytest.mark.parametrize('fold_norms', [False, True])
@pytest.mark.parametrize('narrow_first', [False, True])
def test_every_simplification_keeps_golden_parity(
    golden_weights_file: Path, golden_dir: Path, fold_norms: bool, narrow_first: bool
) -> None:
    ort = pytest.importorskip('onnxruntime')
    simplify = Simplifications(fold_norms=fold_norms, narrow_first=narrow_first)
    model = midas_onnx(read_torch_table(golden_weights_file).arrays, (160, 256), simplify)
    session = ort.InferenceSession(model, providers=['CPUExecutionProvider'])
    noise = np.random.RandomState(160 * 1000 + 256)
    values = noise.uniform(-2, 2, (1, 3, 160, 256)).astype(np.float32)
    (output,) = session.run(None, {'network_input': values})
    wanted = np.load(golden_dir / 'midas_small_outputs.npz')['output_160x256'][0]
    assert np.abs(output[0, 0] - wanted).max() < 1e-3 * wanted.max()
    assert (b'BatchNormalization' in model) is not fold_norms


# What is loaded.

ROBOT = """
import sys
import numpy as np
from midas_depth_ros.depth import load_estimator
estimator = load_estimator(sys.argv[1], sys.argv[2], 1)
depth = estimator.estimate(np.zeros((48, 64, 3), np.uint8))
heavy = {'torch', 'timm', 'torchvision', 'onnx', 'nncf', 'requests', 'rclpy'}
heavy |= {'openvino', 'onnxruntime'} - {estimator.backend}
sys.stdout.write(f'{estimator.backend} {depth.shape} {sorted(heavy & set(sys.modules))}')
"""


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_neither_a_conversion_nor_a_cached_start_loads_torch(
    backend: str, golden_weights_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    environment = os.environ | {'MIDAS_DEPTH_CACHE_DIR': str(tmp_path), 'PYTHONPATH': str(ROOT)}
    for converts in (True, False):
        run = subprocess.run(
            [sys.executable, '-c', ROBOT, str(golden_weights_file), backend],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False,
        )  # fmt: skip
        assert run.stdout == f'{backend} (48, 64) []', run.stderr
        assert bool(list(tmp_path.glob('converted/*/about.json'))), converts
