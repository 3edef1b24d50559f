"""The second head: its loss, its blind pictures, and that depth does not change with it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip('torch')
pytest.importorskip('rich')

from made_scenes import HEIGHT, WIDTH, made  # noqa: E402

from midas_depth_ros.depth.models import embedded  # noqa: E402
from training import dataset, expected_error  # noqa: E402
from training.expected_error import (  # noqa: E402
    blinded,
    calibration,
    errors_of,
    freeze_all_but_error,
    likelihood_loss,
)
from training.loss import Truth, Weights, truth_of  # noqa: E402


def truth_and_depth() -> tuple[Truth, torch.Tensor]:
    """The truth of a scene, and a depth that shows it exactly, at half the size."""
    scene = made(0)
    inverse = torch.from_numpy(dataset.inverse_of(scene.depth_z).astype(np.float32))[None]
    truth = truth_of(inverse, torch.from_numpy(np.uint8(scene.ids))[None], Weights())
    return truth, truth.inverse_depth + 0.1


def test_an_error_is_in_the_units_of_depth_whatever_they_are() -> None:
    truth, depth = truth_and_depth()
    assert errors_of(depth, truth).max() < 0.02
    wrong = depth.clone()
    wrong[:, 10:20, 10:20] += 0.3
    here = np.s_[:, 12:18, 12:18]
    assert errors_of(wrong, truth)[here].mean() == pytest.approx(0.3, rel=0.1)
    twice = errors_of(2 * wrong + 1, truth)[here].mean()
    assert twice == pytest.approx(0.6, rel=0.1)


def test_the_loss_is_least_at_the_mean_error() -> None:
    truth, _ = truth_and_depth()
    generator = torch.Generator().manual_seed(0)
    error = 0.2 * -torch.rand(truth.seen.shape, generator=generator).clamp(min=1e-6).log()
    size = truth.seen.shape[-2] // 2, truth.seen.shape[-1] // 2
    losses = {
        b: float(likelihood_loss(error, torch.full((1, *size), b), truth))
        for b in (0.1, 0.15, 0.2, 0.27, 0.4)
    }
    assert min(losses, key=losses.__getitem__) == 0.2


def test_what_is_calibrated_is_called_so() -> None:
    rng = np.random.default_rng(1)
    inverse = (0.2 + rng.random((96, 128))).astype(np.float32)
    expected = 0.02 + 0.1 * rng.random((96, 128)).astype(np.float32)
    off = rng.laplace(0, expected)
    found = calibration((3 * (inverse + off / 3)).astype(np.float32), expected, inverse)
    assert found.ratio == pytest.approx(1, abs=0.05)
    assert found.within_68 == pytest.approx(0.6827, abs=0.02)
    assert found.within_95 == pytest.approx(0.9545, abs=0.02)
    assert found.surest_half < 0.6 * found.other_half
    too_sure = calibration((3 * (inverse + off / 3)).astype(np.float32), 0.3 * expected, inverse)
    assert too_sure.ratio > 2
    assert too_sure.likelihood > found.likelihood


def test_blind_pictures_show_nothing_and_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(24, 3, HEIGHT, WIDTH, generator=generator)
    monkeypatch.setattr(expected_error, 'BLIND', 0.0)
    monkeypatch.setattr(expected_error, 'COVERED', 0.0)
    torch.testing.assert_close(blinded(pictures, generator), pictures)
    monkeypatch.setattr(expected_error, 'BLIND', 1.0)
    assert blinded(pictures, generator).std(dim=(2, 3)).max() < 0.1 < pictures.std(dim=(2, 3)).min()
    monkeypatch.setattr(expected_error, 'BLIND', 0.0)
    monkeypatch.setattr(expected_error, 'COVERED', 1.0)
    covered = (blinded(pictures, generator) != pictures).any(dim=1).float().mean(dim=(1, 2))
    assert 0 < covered.min() < covered.max() < 0.7


def test_only_the_second_head_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import places, train

    monkeypatch.setattr(places, 'sample', lambda seed, *size, **options: made(seed % 97))
    for split, count in (('train', 12), ('validation', 2)):
        dataset.write_shard(tmp_path, split, 0, count)
    monkeypatch.setattr(train.os, 'cpu_count', lambda: 1)
    monkeypatch.setattr(train, 'spawn', lambda work, arguments, nprocs: work(0, *arguments))
    torch.manual_seed(5)
    first = embedded.build()
    torch.save({'mean': first.state_dict()}, tmp_path / 'start.pt')
    run = tmp_path / 'run'
    words = ['--data', tmp_path, '--run', run, '--minutes', '0.02', '--batch', '2']
    words += ['--device', 'cpu', '--only-error', '--start-from', tmp_path / 'start.pt']
    result = CliRunner().invoke(train.main, list(map(str, words)))
    assert result.exit_code == 0, result.output
    after = torch.load(run / 'last.pt', weights_only=True)
    for name, before in first.state_dict().items():
        for weights in ('network', 'mean'):
            same = torch.equal(after[weights][name], before)
            assert same != name.startswith(embedded.ERROR_PREFIX), (weights, name)
    header, row = (run / 'validation.csv').read_text().split()
    assert 'likelihood' in header
    assert all(math.isfinite(float(each)) for each in row.split(','))
    refused = CliRunner().invoke(train.main, [*map(str, words), '--plain'])
    assert refused.exit_code == 2
    assert '--only-error excludes' in refused.output


def test_no_gradient_of_the_error_reaches_depth() -> None:
    network = embedded.build()
    trained = freeze_all_but_error(network)
    assert len(trained) == 8
    depth, expected = network.eval().heads(torch.rand(1, 3, HEIGHT, WIDTH))
    assert not depth.requires_grad
    assert (depth.shape, expected.shape) == ((1, 96, 128), (1, 48, 64))
    assert 0 < expected.min() <= expected.max() < embedded.MOST_ERROR
