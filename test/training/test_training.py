"""The loss, the scores, the augmentation and a short run, on scenes made by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip('torch')
pytest.importorskip('rich')

from made_scenes import HEIGHT, WIDTH, made  # noqa: E402

from midas_depth_ros.depth.files import read_npz  # noqa: E402
from training import augment, dataset  # noqa: E402
from training.augment import OUTSIDE, Augmenter  # noqa: E402
from training.evaluate import Score, mean, score  # noqa: E402
from training.loss import (  # noqa: E402
    OFFSET,
    Weights,
    loss_of,
    moves,
    residual_of,
    second_view,
    truth_of,
    unsteadiness,
)


@pytest.fixture
def truth() -> tuple[np.ndarray, np.ndarray]:
    scene = made(0)
    return dataset.inverse_of(scene.depth_z).astype(np.float32), np.uint8(scene.ids)


def loss(prediction: np.ndarray, inverse_depth: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    tensors = [torch.from_numpy(np.ascontiguousarray(a))[None] for a in (inverse_depth, labels)]
    goal = truth_of(*tensors, Weights())
    half = torch.nn.functional.avg_pool2d(torch.from_numpy(np.float32(prediction))[None, None], 2)
    _, parts = loss_of(half[0], goal, Weights())
    return {name: float(value) for name, value in parts.items()}


def test_scale_and_shift_of_a_prediction_cost_nothing(truth: tuple[np.ndarray, ...]) -> None:
    known = truth[0][truth[0] > 0].mean()
    for scale, shift in ((1.0, 0.0), (7.0, 3.0), (0.5, -2.0)):
        parts = loss(scale * truth[0] / known + shift, *truth)
        assert parts['error'] < 0.02, (scale, parts)
        assert parts['slopes'] < 0.02, (scale, parts)
    assert loss(np.full_like(truth[0], 0.3), *truth)['error'] > 0.2
    assert loss(-truth[0], *truth)['error'] > 0.2


def test_the_anchor_wants_one_scale(truth: tuple[np.ndarray, ...]) -> None:
    known = truth[0][truth[0] > 0].mean()
    assert loss(truth[0] / known + OFFSET, *truth)['anchor'] < 0.02
    assert loss(3 * truth[0] / known + OFFSET, *truth)['anchor'] > 0.5


def test_a_missed_obstacle_costs_more_than_a_missed_piece_of_wall(
    truth: tuple[np.ndarray, ...],
) -> None:
    inverse_depth, labels = truth
    columns = np.flatnonzero((labels == 3).any(axis=0))
    one, other = inverse_depth.copy(), inverse_depth.copy()
    one[30:60, columns[0] : columns[0] + 40] += 0.3  # on the wall
    other[85:115, columns[0] : columns[0] + 40] -= 0.3  # on the box
    assert loss(other, *truth)['slopes'] > 0
    as_wall = np.where(labels == 3, 2, labels).astype(np.uint8)
    assert loss(other, *truth)['error'] > loss(other, inverse_depth, as_wall)['error']
    assert loss(one, *truth)['error'] > 0


def test_an_obstacle_that_does_not_stand_out_costs_more_than_one_that_does_too_much(
    truth: tuple[np.ndarray, ...],
) -> None:
    inverse_depth, labels = truth
    inside = labels == 3
    background = 1 / made(0).depth_z[120, 0]  # of the floor in the middle of the box
    assert loss(inverse_depth, *truth)['rings'] < 0.02
    contrast = 1 / 1.1 - background
    flat = np.where(inside, inverse_depth - contrast, inverse_depth)
    half = np.where(inside, inverse_depth - 0.5 * contrast, inverse_depth)
    too_near = np.where(inside, inverse_depth + 0.5 * contrast, inverse_depth)
    costs = [loss(prediction, *truth)['rings'] for prediction in (flat, half, too_near)]
    assert costs[0] > costs[1] > costs[2] > 0.02
    nothing = np.where(inside, 2, labels).astype(np.uint8)
    assert loss(flat, inverse_depth, nothing)['rings'] == 0


def test_a_run_begins_with_the_weights_of_a_narrower_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from midas_depth_ros.depth.models import embedded
    from training.train import begin

    picture = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    narrow = embedded.build((16, 32, 48, 48, 48)).eval()
    torch.save({'mean': narrow.state_dict()}, tmp_path / 'narrow.pt')
    wide = embedded.build((24, 40, 48, 64, 48)).eval()
    begin(wide, tmp_path / 'narrow.pt')
    with torch.inference_mode():
        np.testing.assert_allclose(wide(picture), narrow(picture), atol=1e-6)
    with pytest.raises(click.ClickException, match='here only'):
        begin(embedded.build((8, 32, 48, 48, 48)), tmp_path / 'narrow.pt')


def test_a_run_says_which_layers_it_begins_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from midas_depth_ros.depth.models import embedded
    from training.train import begin

    other = embedded.build((16, 32, 32, 32, 32)).state_dict()
    other['refine.0.conv1.weight'] = other.pop('refine.0.conv.weight')
    torch.save({'mean': other}, tmp_path / 'other.pt')
    network = embedded.build((16, 32, 32, 32, 32))
    own = network.get_submodule('refine.0.conv').weight.clone()
    said = begin(network, tmp_path / 'other.pt')
    torch.testing.assert_close(network.get_submodule('refine.0.conv').weight, own)
    torch.testing.assert_close(network.head.weight, other['head.weight'])
    assert said == [
        'new, with random weights: refine.0.conv.weight',
        f'of {tmp_path / "other.pt"}, left out: refine.0.conv1',
    ]


def test_a_run_does_not_begin_with_weights_of_another_network(tmp_path: Path) -> None:
    from midas_depth_ros.depth.models import embedded
    from training.train import begin

    torch.save({'mean': {'conv.weight': torch.zeros(3)}}, tmp_path / 'other.pt')
    with pytest.raises(click.ClickException, match=r'other.pt has no stem.weight.*training.export'):
        begin(embedded.build(), tmp_path / 'other.pt')


def test_the_truth_scores_best_and_its_negative_worst(truth: tuple[np.ndarray, ...]) -> None:
    inverse_depth, labels = truth
    best = score(3 * inverse_depth + 1, inverse_depth, labels)
    assert best.abs_rel < 1e-3
    assert (best.delta, best.ordinal, best.floor_delta) == (1, 1, 1)
    assert (best.ring_sign, best.ring_half) == (1, 1)
    assert score(-inverse_depth, inverse_depth, labels).ordinal == 0


def test_the_ring_sees_what_the_other_figures_hardly_do(truth: tuple[np.ndarray, ...]) -> None:
    inverse_depth, labels = truth
    background = 1 / made(0).depth_z
    background[labels == 3] = np.median(inverse_depth[(labels == 2) & (inverse_depth > 0)])
    background[~np.isfinite(background)] = 0
    hidden = score(background, inverse_depth, labels)
    half_way = score(0.85 * inverse_depth + 0.15 * background, inverse_depth, labels)
    assert hidden.ring_half == 0
    assert (half_way.ring_sign, half_way.ring_half) == (1, 1)


def test_a_wall_seen_straight_on_has_no_order() -> None:
    flat = np.full((HEIGHT, WIDTH), 0.5)
    judged = score(flat, flat, np.full((HEIGHT, WIDTH), 2, np.uint8))
    assert np.isnan(judged.ordinal)
    assert (judged.abs_rel, judged.delta) == (0, 1)


def test_a_mean_leaves_out_what_scenes_do_not_have() -> None:
    nan = float('nan')
    scores = [Score(0.1, 1, 1, nan, nan, nan), Score(0.3, 0, 1, 0.5, 1, nan)]
    result = mean(scores)
    assert result.abs_rel == pytest.approx(0.2)
    assert (result.floor_delta, result.ring_sign) == (0.5, 1)
    assert np.isnan(result.ring_half)


FAULTS = (
    *('MIXED', 'GREY', 'SHADED', 'BLURRED', 'MOVED', 'NOISY', 'JPEG', 'SHARPENED'),
    *('DAPPLED', 'HAZED', 'DIMMED'),
)


def without(monkeypatch: pytest.MonkeyPatch, *kept: str) -> None:
    """No faults but those `kept`, which every picture has."""
    for name in FAULTS:
        monkeypatch.setattr(augment, name, float(name in kept))


def test_haze_takes_contrast_and_too_little_light_is_dark_and_noisy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    squares = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    squares[:, ::8] = 180

    def drawn(*kept: str) -> np.ndarray:
        without(monkeypatch, *kept)
        camera = Augmenter(3, (HEIGHT, WIDTH))
        return np.stack([camera._photograph(squares) for _ in range(24)])

    plain, hazy, dim = drawn(), drawn('HAZED'), drawn('DIMMED')
    assert hazy.std(axis=(1, 2, 3)).mean() < 0.8 * plain.std(axis=(1, 2, 3)).mean()
    assert hazy.mean() == pytest.approx(plain.mean(), rel=0.1)
    assert dim.mean() < 0.6 * plain.mean()
    assert np.median(np.ptp(dim[:, :, 1::8], axis=(1, 2))) > 0
    assert np.ptp(plain[:, :, 1::8], axis=(1, 2)).max() == 0


def test_dapples_darken_and_move_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, 'DAPPLED')
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    nowhere, somewhere = [], []
    for share, found in ((0, nowhere), (1, somewhere)):
        monkeypatch.setattr(augment, 'DAPPLED', share)
        camera = Augmenter(3, (HEIGHT, WIDTH))
        found += [np.ptp(camera._photograph(grey)[..., 0]) for _ in range(8)]
    assert max(nowhere) == 0
    assert min(somewhere) > 0.02


@pytest.mark.parametrize('size', [(192, 256), (96, 128)])
def test_a_scene_as_rendered_is_itself(size: tuple[int, int]) -> None:
    scene = made(3)
    inverse_depth, labels = dataset.inverse_of(scene.depth_z), np.uint8(scene.ids)
    rgb, depth, marks = augment.as_rendered(size, scene.rgb, inverse_depth, labels)
    step = HEIGHT // size[0]
    np.testing.assert_allclose(depth, inverse_depth[::step, ::step])
    np.testing.assert_array_equal(marks, labels[::step, ::step])
    assert np.abs(255 * rgb[..., 0] - (40 * marks + 60)).mean() < 1


@pytest.mark.parametrize('size', [(192, 256), (96, 128)])
def test_augmented_pictures_and_depth_stay_together(size: tuple[int, int]) -> None:
    scene = made(3)
    inverse_depth, labels = dataset.inverse_of(scene.depth_z), np.uint8(scene.ids)
    camera = Augmenter(1, size)
    camera._photograph = lambda rgb: rgb / np.float32(255)  # type: ignore[method-assign]
    shown = {0: 60, 1: 100, 2: 140, 3: 180}
    for _ in range(20):
        rgb, depth, marks = camera(scene.rgb, inverse_depth, labels)
        assert rgb.shape == (*size, 3)
        assert depth.shape == marks.shape == size
        seen = marks != OUTSIDE
        wanted = np.vectorize(shown.get)(np.where(seen, marks, 0))
        right = np.abs(255 * rgb[..., 0] - wanted) < 6
        assert right[seen].mean() > 0.93  # all but edges, which the picture interpolates
        np.testing.assert_allclose(depth[marks == 3], 1 / 1.1, rtol=1e-3)


@pytest.fixture
def two_views() -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    scenes, random = [made(seed) for seed in range(6)], torch.Generator().manual_seed(5)
    depth = np.stack([dataset.inverse_of(scene.depth_z) for scene in scenes])
    first = (
        torch.from_numpy(np.stack([np.float32(s.rgb) / 255 for s in scenes])).permute(0, 3, 1, 2),
        torch.from_numpy(depth.astype(np.float32)),
        torch.from_numpy(np.stack([np.uint8(scene.ids) for scene in scenes])),
    )
    move = moves(len(scenes), HEIGHT, WIDTH, random)
    return move, first, second_view(*first, move, random)


def test_a_second_view_shows_the_same_scene_a_little_moved(two_views: tuple[Any, ...]) -> None:
    _, (rgb, depth, labels), (rgb_after, depth_after, labels_after) = two_views
    assert rgb_after.shape == rgb.shape
    assert 0 <= rgb_after.min() <= rgb_after.max() <= 1
    for before, after in ((rgb, rgb_after), (depth, depth_after), (labels, labels_after)):
        assert before.dtype == after.dtype
        assert not torch.equal(before, after)
    assert 0 < (labels_after == OUTSIDE).float().mean() < 0.1
    for label in (0, 1, 2, 3):  # each has its own grey, but for brightness and noise
        grey = rgb_after.mean(dim=1)[labels_after == label].mean()
        assert grey == pytest.approx((40 * label + 60) / 255, rel=0.1)
    torch.testing.assert_close(depth_after[labels_after == 3].unique(), depth[labels == 3].unique())


def test_an_error_that_stays_where_it_is_on_things_is_steady(two_views: tuple[Any, ...]) -> None:
    move, first, second = two_views
    before, after = (truth_of(*view[1:], Weights()) for view in (first, second))

    def predicted(view: tuple[torch.Tensor, ...], wrong: float) -> torch.Tensor:
        things = (view[2][:, ::2, ::2] == 3).float()
        return torch.nn.functional.avg_pool2d(view[1], 2) * (1 + wrong * things)

    def change(wrong_before: float, wrong_after: float) -> float:
        errors = (
            residual_of(predicted(first, wrong_before), before),
            residual_of(predicted(second, wrong_after), after),
        )
        return float(unsteadiness(*errors, after, move))

    assert change(0, 0) < 0.01
    assert change(0.5, 0.5) < 0.03
    assert change(0.5, 0) > 3 * change(0.5, 0.5)


def test_a_run_learns_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import places, train

    monkeypatch.setattr(places, 'sample', lambda seed, *size, **options: made(seed % 97))
    for split, count in (('train', 12), ('validation', 4)):
        assert dataset.write_shard(tmp_path, split, 0, count) == count
        assert dataset.write_shard(tmp_path, split, 0, count) == 0  # it is there
    monkeypatch.setattr(train, 'CURVE_STEPS', 2)
    monkeypatch.setattr(train.os, 'cpu_count', lambda: 1)
    # In this process: what is patched here would be whole again in another one.
    monkeypatch.setattr(train, 'spawn', lambda work, arguments, nprocs: work(0, *arguments))
    run = tmp_path / 'run'
    common = ['--data', str(tmp_path), '--run', str(run), '--batch', '2', '--device', 'cpu']
    minutes = 0.0
    for how in (('--steady', '3'), ('--plain',)):
        more = str(minutes + 0.03)  # however long a step takes, one fits in
        result = CliRunner().invoke(train.main, [*common, '--minutes', more, *how])
        assert result.exit_code == 0, result.output
        seconds = train.torch.load(run / 'last.pt', weights_only=True)['progress'][0]
        minutes = seconds / 60
    rows = list(csv.DictReader((run / 'validation.csv').read_text().splitlines()))
    assert len(rows) == 2
    assert int(rows[1]['samples']) > int(rows[0]['samples']) > 0
    curve = list(csv.DictReader((run / 'curve.csv').read_text().splitlines()))
    assert {row['width'] for row in curve} <= {'128', '256'}
    state = torch.load(run / 'last.pt', weights_only=True)
    assert state['progress'][1] == int(rows[1]['samples'])


def test_a_checkpoint_becomes_an_archive_of_the_same_weights(tmp_path: Path) -> None:
    from midas_depth_ros.depth.models import embedded
    from training.export import main

    network = embedded.build()
    torch.save({'mean': network.state_dict(), 'progress': [0, 0, 0, 0]}, tmp_path / 'best.pt')
    path = tmp_path / 'first.npz'
    result = CliRunner().invoke(main, [str(tmp_path / 'best.pt'), '--to', str(path)])
    assert result.exit_code == 0, result.output
    written = read_npz(path, 1 << 24)
    for name, tensor in network.state_dict().items():
        np.testing.assert_allclose(written[name], tensor.numpy(), atol=1e-3)
    refused = CliRunner().invoke(main, [str(tmp_path / 'best.pt')])
    assert refused.exit_code == 2
    assert 'give --to' in refused.output


def test_what_is_shipped_is_known_by_its_hash_and_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a copy of it would be refused, or the altered one taken for it."""
    from midas_depth_ros.depth import load_estimator
    from midas_depth_ros.depth.files import sha256_of
    from midas_depth_ros.depth.model_check import PICTURES, cell_means, sample_pictures
    from midas_depth_ros.depth.models import embedded
    from training.export import main

    module, table = tmp_path / 'shipped.py', tmp_path / 'table.txt'
    module.write_text(Path(embedded.__file__).read_text())
    table.write_text('figures')
    state = {
        name: torch.from_numpy(np.array(value))
        for name, value in read_npz(embedded.ASSET, 1 << 24).items()
    }
    network = embedded.build()
    network.load_state_dict(state, strict=False)  # it has counters of batches besides
    with torch.no_grad():
        network.state_dict()['head.weight'].mul_(1.25)
    torch.save({'mean': network.state_dict(), 'progress': [60, 9, 3, 0]}, tmp_path / 'best.pt')
    monkeypatch.setattr(embedded, 'ASSET', tmp_path / 'assets' / 'embedded.npz')
    monkeypatch.setattr(embedded, '__file__', str(module))
    words = ['--trained', 'so', '--data', 'that', '--table', str(table)]
    result = CliRunner().invoke(main, [str(tmp_path / 'best.pt'), *words])
    assert result.exit_code == 0, (result.output, result.exception)

    entered: dict[str, Any] = {'__file__': str(module)}
    exec(compile(module.read_text(), module, 'exec'), entered)
    sha256 = sha256_of(embedded.ASSET)
    assert entered['SPEC'].weights.sha256 == sha256
    assert entered['SPEC'].weights.size == embedded.ASSET.stat().st_size
    picture = sample_pictures(PICTURES[:1])[PICTURES[0]]
    found = cell_means(load_estimator(embedded.ASSET, 'opencv').infer(picture))
    np.testing.assert_allclose(entered['SAMPLE_DEPTH'] / 1000, found, atol=6e-4)
    assert np.abs(entered['SAMPLE_DEPTH'] - embedded.SAMPLE_DEPTH).max() > 100


def test_a_network_that_says_nothing_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from midas_depth_ros.depth.models import embedded
    from training.export import main

    network = embedded.build()
    with torch.no_grad():
        network.state_dict()['head.weight'].zero_()
    torch.save({'mean': network.state_dict(), 'progress': [0, 0, 0, 0]}, tmp_path / 'best.pt')
    asset = tmp_path / 'assets' / 'embedded.npz'
    monkeypatch.setattr(embedded, 'ASSET', asset)
    (tmp_path / 'table.txt').write_text('figures')
    words = ['--trained', 'so', '--data', 'that', '--table', str(tmp_path / 'table.txt')]
    result = CliRunner().invoke(main, [str(tmp_path / 'best.pt'), *words])
    assert result.exit_code != 0
    assert not asset.exists()
