"""Fixtures shared by tests of several packages: golden figures, golden weights, real pictures."""

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

# Tests run in parallel: threads of several processes on the same cores would busy-wait.
for variable in ('OPENCV_FOR_THREADS_NUM', 'OMP_NUM_THREADS'):
    os.environ.setdefault(variable, '1')  # read when OpenCV and torch are imported
os.environ['NNCF_CI'] = '1'  # read on import: disables its telemetry
TEST_FOLDER = Path(__file__).resolve().parent
# Like the setting `pythonpath`, which pytest on Ubuntu 22.04 does not have.
sys.path[:0] = [str(TEST_FOLDER.parent), str(TEST_FOLDER / 'support')]
DATA_VARIABLE = 'MIDAS_DEPTH_TEST_DATA'


# The same examples in every run, however slow the machine: `--hypothesis-profile=default` explores.
settings.register_profile('repeatable', deadline=None, derandomize=True, database=None)
settings.load_profile('repeatable')


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In an ordinary run, leave out tests marked `thorough` and two thirds of `sampled` cases.

    Long tests of the largest networks are left out in both: see `effort`. Several workers wait and
    compute by turns.
    """
    from effort import LARGE, THOROUGH, in_turns, of_a_large_network, some

    if hasattr(config, 'workerinput'):
        items[:] = in_turns(items)

    if not LARGE:
        large = {
            id(item)
            for item in items
            if item.get_closest_marker('thorough') and of_a_large_network(item.name)
        }
        config.hook.pytest_deselected(items=[item for item in items if id(item) in large])
        items[:] = [item for item in items if id(item) not in large]
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
MOST_CRASHES = 2  # as in scripts/test: xdist aborts the run at the next one


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str) -> None:
    """Count the tests whose xdist worker died; another worker takes over the rest."""
    CRASHED.append(crashitem)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Report an aborted run as an internal error: not all tests were run."""
    if len(CRASHED) > MOST_CRASHES:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep converted models of tests out of the user's cache; child processes inherit this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MIDAS_DEPTH_CACHE_DIR', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes libraries of backends impossible to import."""

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
    """The 482 weights that the golden outputs were computed with; reproducible from their names."""
    pytest.importorskip('torch', reason='golden weights are torch tensors')
    import torch

    shapes = json.loads((golden_dir / 'midas_small_state_dict.json').read_text())
    return {key: torch.from_numpy(golden_weight(key, shape)) for key, shape in shapes.items()}


@pytest.fixture(scope='session')
def golden_weights_file(
    golden_state_dict: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The golden weights as a .pt file, in the form of the official ones."""
    import torch

    path = tmp_path_factory.mktemp('weights') / 'golden.pt'
    torch.save(golden_state_dict, path)
    return path


def golden_weight(key: str, shape: list[int]) -> np.ndarray:
    """Return one entry of the golden state dict: random by its name, scaled to keep values sane."""
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
