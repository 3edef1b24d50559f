"""The stand-in of MiDaS_small: trained as the embedded model is, and read as the published file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip('torch')
if not find_spec('timm'):
    pytest.skip('timm is not installed', allow_module_level=True)

from midas_depth_ros.depth import models  # noqa: E402
from midas_depth_ros.depth.models import midas_small  # noqa: E402
from training import standin  # noqa: E402
from training.evaluate import checkpoint  # noqa: E402
from training.standin import StandIn  # noqa: E402


@pytest.fixture(scope='module')
def network() -> StandIn:
    torch.manual_seed(0)
    return StandIn().eval()


def test_it_normalises_as_the_published_network_wants_it(network: StandIn) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    picture = torch.from_numpy(rgb.transpose(2, 0, 1)[np.newaxis].copy()).float() / 255
    spec = midas_small.SPEC.picture
    wanted = (rgb / 255 - np.array(spec.mean)) / np.array(spec.std)
    wanted = torch.from_numpy(wanted.transpose(2, 0, 1)[np.newaxis].astype(np.float32))
    with torch.inference_mode():
        torch.testing.assert_close(network(picture), network.midas(wanted), rtol=1e-4, atol=1e-5)
        assert network.at_half_size(picture).shape == (1, 32, 48)


def test_it_starts_alive(network: StandIn) -> None:
    """Where the last ReLU gives 0 everywhere, nothing would ever be learned."""
    answer = network(torch.rand(2, 3, 64, 64))
    assert (answer > 0).float().mean() > 0.9
    answer.mean().backward()
    first = network.midas.pretrained.layer1[0].weight.grad
    assert first.abs().max() > 0


def test_a_checkpoint_becomes_a_weights_file_of_midas_small(
    network: StandIn, tmp_path: Path
) -> None:
    state = network.state_dict()
    torch.save({'mean': state, 'progress': [1.0, 24, 3, 0.5]}, tmp_path / 'best.pt')
    target = tmp_path / 'weights.pt'
    result = CliRunner().invoke(standin.main, [str(tmp_path / 'best.pt'), '--to', str(target)])
    assert result.exit_code == 0, result.output
    assert '24 samples, 3 steps' in result.output
    assert models.spec_of(target).name == 'midas_small'
    for name, array in models.read_arrays(target).items():
        np.testing.assert_array_equal(array, state[f'midas.{name}'].numpy(), err_msg=name)
    assert isinstance(checkpoint(tmp_path / 'best.pt'), StandIn)
