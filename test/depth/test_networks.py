"""MidasSmall against the reference implementation, on weights that anyone can make."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from midas_depth_ros.depth import backends  # noqa: E402
from midas_depth_ros.depth.models import embedded, midas_small  # noqa: E402


@pytest.fixture(scope='module')
def network(golden_state_dict: dict[str, Any]) -> torch.nn.Module:
    network = midas_small.build()
    network.load_state_dict(golden_state_dict, strict=True)
    return network.eval()


def golden_input(height: int, width: int) -> np.ndarray:
    noise = np.random.RandomState(height * 1000 + width)
    return noise.uniform(-2, 2, (1, 3, height, width)).astype(np.float32)


def test_state_dict_has_exactly_the_official_keys_and_shapes(golden_dir: Path) -> None:
    official = json.loads((golden_dir / 'midas_small_state_dict.json').read_text())
    ours = {key: list(value.shape) for key, value in midas_small.build().state_dict().items()}
    assert len(ours) == 482
    assert ours == official


@pytest.mark.parametrize('size', [(256, 256), (192, 256), (160, 256)])
def test_output_equals_the_reference(
    network: torch.nn.Module, golden_dir: Path, size: tuple[int, int]
) -> None:
    height, width = size
    wanted = np.load(golden_dir / 'midas_small_outputs.npz')[f'output_{height}x{width}']
    with torch.inference_mode():
        output = network(torch.from_numpy(golden_input(height, width))).numpy()
    assert output.shape == (1, height, width)
    assert np.abs(output - wanted).max() < 1e-3 * wanted.max()


def multiplications(network: torch.nn.Module, size: tuple[int, int]) -> int:
    """Of all convolutions, for one picture of (height, width)."""
    counts = []

    def count(layer: torch.nn.Conv2d, _: Any, output: torch.Tensor) -> None:
        counts.append(output.numel() * layer.weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, *size))
    return sum(counts)


def test_the_embedded_network_is_as_small_as_it_is_said_to_be() -> None:
    ours = embedded.build()
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == 1.73
    small, midas = (
        multiplications(ours, embedded.SIZE),
        multiplications(midas_small.build(), embedded.SIZE),
    )
    assert round(small / 1e9, 2) == 0.29
    assert round(midas / small) == 12


def test_pictures_of_a_batch_do_not_influence_each_other(network: torch.nn.Module) -> None:
    first, second = (torch.from_numpy(golden_input(64, width))[..., :96] for width in (96, 128))
    with torch.inference_mode():
        both = network(torch.cat([first, second]))
        alone = network(second)
    assert both.shape == (2, 64, 96)
    assert torch.allclose(both[1], alone[0], atol=1e-3 * float(alone.max()))
    assert not torch.allclose(both[0], both[1], atol=0.1 * float(alone.max()))


class Imports:
    """Stands for importlib.import_module: torchvision fails with `error` a number of times."""

    def __init__(self, error: Exception, failures: int) -> None:
        self.error, self.failures, self.names = error, failures, list[str]()

    def __call__(self, name: str) -> ModuleType:
        self.names.append(name)
        if name == 'torchvision' and self.failures:
            self.failures -= 1
            raise self.error
        return ModuleType(name)


def importing(imports: Imports) -> SimpleNamespace:
    return SimpleNamespace(import_module=imports)


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was declared to torch, which is not touched."""
    calls: list[str] = []
    monkeypatch.setattr(backends, '_declared', [])
    monkeypatch.setattr(backends, '_declare_missing_operators', lambda: calls.append('nms'))
    monkeypatch.setattr(backends, '_forget', lambda package: calls.append(package))
    return calls


MISSING_OPERATOR = RuntimeError('operator torchvision::nms does not exist')


def test_a_torchvision_that_imports_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, declared: list[str]
) -> None:
    monkeypatch.setattr(backends, 'importlib', importing(Imports(MISSING_OPERATOR, failures=0)))
    assert backends.import_timm().__name__ == 'timm'
    assert declared == []


def test_a_torchvision_of_another_torch_gets_its_schemas(
    monkeypatch: pytest.MonkeyPatch, declared: list[str]
) -> None:
    imports = Imports(MISSING_OPERATOR, failures=1)
    monkeypatch.setattr(backends, 'importlib', importing(imports))
    assert backends.import_timm().__name__ == 'timm'
    assert declared == ['nms', 'torchvision']
    assert imports.names == ['torch', 'torchvision', 'torchvision', 'timm']


def test_another_failure_of_torchvision_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch, declared: list[str]
) -> None:
    monkeypatch.setattr(
        backends, 'importlib', importing(Imports(RuntimeError('broken'), failures=1))
    )
    with pytest.raises(RuntimeError, match='broken'):
        backends.import_timm()
    assert declared == []


def test_a_failed_import_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('halfway', 'halfway.inner', 'halfway_not'):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    backends._forget('halfway')
    assert 'halfway' not in sys.modules
    assert 'halfway.inner' not in sys.modules
    assert 'halfway_not' in sys.modules
