"""The mean of the weights of several runs."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch')

from click.testing import CliRunner  # noqa: E402

from midas_depth_ros.depth.models import embedded  # noqa: E402
from training.mean import main, mean_of  # noqa: E402


def state(value: float, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    return {'kernel': torch.full((2, 3), value), 'seen': torch.tensor(7), **more}


def test_weights_are_averaged_by_their_shares_and_counters_kept() -> None:
    mean = mean_of([state(1.0), state(3.0)], [0.75, 0.25])
    torch.testing.assert_close(mean['kernel'], torch.full((2, 3), 1.5))
    assert mean['seen'] == 7


@pytest.mark.parametrize('shares', [[1.0], [0.5, 0.6], [float('nan'), 0.5]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match='1 in all'):
        mean_of([state(1.0), state(3.0)], shares)


@pytest.mark.parametrize('other', [{'more': torch.zeros(1)}, {'kernel': torch.zeros(3, 2)}])
def test_other_networks_are_refused(other: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match='not the same network'):
        mean_of([state(1.0), {**state(3.0), **other}], [0.5, 0.5])


def test_the_second_output_is_that_of_what_ships(tmp_path) -> None:
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = embedded.build()
        runs.append(tmp_path / f'{seed}.pt')
        torch.save({'mean': network.state_dict()}, runs[-1])
    arguments = [str(runs[0]), '0.5', str(runs[1]), '0.5', '--to', str(tmp_path / 'mean.pt')]
    ran = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    mean = torch.load(tmp_path / 'mean.pt', weights_only=True)['mean']
    network.load_state_dict(mean)
    one, other = (torch.load(run, weights_only=True)['mean'] for run in runs)
    for name in ('error.near.weight', 'error.head.bias'):
        assert not torch.equal(mean[name], 0.5 * (one[name] + other[name]))
    depth = [name for name in mean if name.endswith('weight') and not name.startswith('error.')]
    for name in depth:
        torch.testing.assert_close(mean[name], 0.5 * (one[name] + other[name]))
    assert CliRunner().invoke(main, [*arguments[:3], '0.6', *arguments[4:]]).exit_code == 2
    two_runs = CliRunner().invoke(main, [arguments[0], arguments[2], *arguments[4:]])
    assert (two_runs.exit_code, 'could not convert' in two_runs.output) == (2, True)
