"""Fixtures that several rooms' tests share: golden figures, golden weights, real pictures."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# Tests run side by side; threads of several that share the cores wait for each other busily.
for variable in ('OPENCV_FOR_THREADS_NUM', 'OMP_NUM_THREADS'):
    os.environ.setdefault(variable, '1')  # read when OpenCV and torch are imported
os.environ['NNCF_CI'] = '1'  # read when it is imported: it would report its use over the network
TEST_FOLDER = Path(__file__).resolve().parent
# As the setting `pythonpath`, which the pytest of Ubuntu 22.04 does not know.
sys.path[:0] = [str(TEST_FOLDER.parent), str(TEST_FOLDER / 'support')]
DATA_VARIABLE = 'MIDAS_DEPTH_TEST_DATA'


# The same examples in every run, however slow the machine: `--hypothesis-profile=default` explores.
settings.register_profile('repeatable', deadline=None, derandomize=True, database=None)
settings.load_profile('repeatable')


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """An ordinary run: nothing that is marked `thorough`, and of `sampled` cases a part."""
    from effort import THOROUGH, some

    if THOROUGH:
        return
    families: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker('sampled'):
            families.setdefault(item.nodeid.partition('[')[0], []).append(item)
    left = {id(item) for item in items if item.get_closest_marker('thorough')}
    left |= {id(item) for cases in families.values() for item in cases}
    left -= {id(item) for cases in families.values() for item in some(cases)}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in left])
    items[:] = [item for item in items if id(item) not in left]


CRASHED: list[str] = []
MOST_CRASHES = 2  # as scripts/test tells xdist: the next one breaks the run off


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str) -> None:
    """xdist says that the process of a test has died: another one tries it again, and the rest."""
    CRASHED.append(crashitem)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that broke off is not one in which tests failed: not everything was tried."""
    if len(CRASHED) > MOST_CRASHES:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted models of tests are not the user's; processes that tests start inherit this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MIDAS_DEPTH_CACHE_DIR', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes libraries of backends impossible to import."""

    def hide(*libraries: str) -> None:
        for module in [name for name in sys.modules if name.split('.')[0] in libraries]:
            monkeypatch.delitem(sys.modules, module)
        for name in libraries:
            monkeypatch.setitem(sys.modules, name, None)
        for backend in ('openvino', 'onnxruntime', 'torch'):
            for part in ('backend', 'runtime', 'conversion'):
                module = f'midas_depth_ros.depth.backends.{backend}_{part}'
                if backend in libraries and module in sys.modules:
                    monkeypatch.delitem(sys.modules, module)

    return hide


@pytest.fixture(scope='session')
def golden_dir() -> Path:
    """Figures computed with the reference implementation of MiDaS v2.1 small."""
    return TEST_FOLDER / 'golden'


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Real pictures with measured depth; licences differ, so they are not in the repository."""
    named = os.environ.get(DATA_VARIABLE)
    folder = Path(named) if named else TEST_FOLDER.parents[1] / 'shared' / 'data'
    if not (folder / 'MANIFEST.json').is_file():
        pytest.skip(f'no real pictures in {folder}: name their folder in {DATA_VARIABLE}')
    return folder


@pytest.fixture(scope='session')
def golden_state_dict(golden_dir: Path) -> dict[str, Any]:
    """The 482 weights on which the golden outputs were computed: anyone can make them again."""
    pytest.importorskip('torch', reason='golden weights are torch tensors')
    import torch

    shapes = json.loads((golden_dir / 'midas_small_state_dict.json').read_text())
    return {key: torch.from_numpy(golden_weight(key, shape)) for key, shape in shapes.items()}


@pytest.fixture(scope='session')
def golden_weights_file(
    golden_state_dict: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The golden weights as a .pt file, as the official ones would come."""
    import torch

    path = tmp_path_factory.mktemp('weights') / 'golden.pt'
    torch.save(golden_state_dict, path)
    return path


def golden_weight(key: str, shape: list[int]) -> np.ndarray:
    """One entry of the golden state dict: random by its key's name, scaled to keep values sane."""
    if key.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    noise = np.random.RandomState(zlib.crc32(key.encode()))
    values = noise.standard_normal(shape).astype(np.float32)
    if key.endswith('running_mean'):
        return np.float32(0.1) * values
    if key.endswith('running_var'):
        return np.float32(1) + np.float32(0.1) * np.abs(values)
    if len(shape) == 4:
        return values * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if key.endswith('weight'):
        return np.float32(1) + np.float32(0.1) * values
    return np.float32(0.1) * values
