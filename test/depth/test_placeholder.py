"""The floor finder on painted scenes: what stands nearer must come out nearer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from midas_depth_ros.depth import placeholder
from midas_depth_ros.depth.placeholder import FloorAppearance, floor_mask, obstacle_base, upright

FLOOR, WALL, BOX = (110, 100, 90), (200, 205, 215), (30, 60, 150)
HEIGHT, WIDTH = 192, 256  # the size at which a 4:3 picture is looked at
HORIZON = placeholder.HORIZON * (HEIGHT - 1)


def floor_and_wall(wall_until: int = 70, noise: float = 4.0) -> np.ndarray:
    """(192, 256, 3) uint8: wall above the row `wall_until`, floor below, some sensor noise."""
    picture = np.empty((HEIGHT, WIDTH, 3))
    picture[:wall_until], picture[wall_until:] = WALL, FLOOR
    picture += np.random.default_rng(1).normal(0, noise, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def with_box(picture: np.ndarray, columns: slice, base: int, height: int = 60) -> np.ndarray:
    """Paint a box whose lowest row is `base`."""
    picture = picture.copy()
    picture[base - height + 1 : base + 1, columns] = BOX
    return picture


def predict(rgb: np.ndarray) -> np.ndarray:
    return FloorAppearance().predict(rgb)


def test_an_empty_floor_is_linear_in_the_row_and_never_falls_downwards() -> None:
    depth = predict(floor_and_wall())
    assert depth.shape == (HEIGHT, WIDTH)
    assert depth.dtype == np.float32
    assert depth.min() >= 0
    assert np.diff(depth, axis=0)[80:].min() > 0
    assert np.diff(depth, axis=0).min() >= 0
    rows = np.arange(80, HEIGHT)
    wanted = (rows - HORIZON) / (HEIGHT - 1 - HORIZON)
    np.testing.assert_allclose(depth[80:, WIDTH // 2], wanted, atol=1e-5)
    assert depth[-1].min() == 1.0


def test_the_far_wall_has_the_value_of_its_foot() -> None:
    near_wall, far_wall = predict(floor_and_wall(120)), predict(floor_and_wall(90))
    assert near_wall[100, 128] == pytest.approx((120 - HORIZON) / (HEIGHT - 1 - HORIZON), abs=0.04)
    assert far_wall[85, 128] == pytest.approx((90 - HORIZON) / (HEIGHT - 1 - HORIZON), abs=0.04)


@pytest.mark.parametrize('mirrored', [False, True])
def test_the_nearer_box_is_nearer(mirrored: bool) -> None:
    picture = with_box(floor_and_wall(), slice(30, 80), base=150)
    picture = with_box(picture, slice(170, 220), base=110)
    if mirrored:
        picture = picture[:, ::-1].copy()
    depth = predict(picture)[:, ::-1] if mirrored else predict(picture)
    near, far = depth[95:145, 35:75], depth[80:105, 175:215]
    assert near.min() > far.max() + 0.2
    # Against the ring around it: the floor beside a box, at the same rows, is farther away.
    assert near.mean() > depth[95:145, 100:150].mean() + 0.1


def test_a_box_stands_upright_from_its_base() -> None:
    depth = predict(with_box(floor_and_wall(), slice(100, 150), base=150))
    column = depth[:, 125]
    assert column[95:148].max() - column[95:148].min() < 0.03
    assert column[120] == pytest.approx((150 - HORIZON) / (HEIGHT - 1 - HORIZON), abs=0.04)
    assert column[0] < column[77]


def test_a_thin_mark_on_the_floor_is_not_an_obstacle() -> None:
    marked = floor_and_wall()
    marked[130:134] = BOX
    np.testing.assert_allclose(predict(marked)[80:], predict(floor_and_wall())[80:], atol=1e-6)


def test_an_obstacle_that_fills_a_column_to_the_bottom_is_as_near_as_can_be() -> None:
    depth = predict(with_box(floor_and_wall(), slice(0, 35), base=HEIGHT - 1, height=150))
    np.testing.assert_allclose(depth[100:, 5:25], 1.0, atol=1e-6)


def test_a_lone_column_does_not_count() -> None:
    picture = with_box(floor_and_wall(), slice(100, 102), base=150)
    np.testing.assert_allclose(predict(picture)[80:], predict(floor_and_wall())[80:], atol=1e-6)


def test_the_floor_is_what_has_its_colours() -> None:
    lab = np.full((100, 200, 3), 128, np.uint8)
    lab[:40] = (128, 160, 128)  # another colour of the same brightness
    lab[60:70, 50:60] = (250, 128, 128)  # another brightness of the same colour
    floor = floor_mask(lab)
    wanted = np.ones((100, 200), bool)
    wanted[:40] = wanted[60:70, 50:60] = False
    np.testing.assert_array_equal(floor, wanted)


def test_bases_are_counted_from_below() -> None:
    floor = np.ones((100, 40), bool)
    floor[:30, :20] = False  # base 29
    floor[50:52, :20] = False  # too thin
    assert set(obstacle_base(floor)[:15]) == {29.0}
    assert set(obstacle_base(floor)[25:]) == {-1.0}
    assert set(obstacle_base(~np.ones((100, 40), bool))) == {99.0}


def test_a_base_above_the_horizon_is_as_far_as_the_horizon() -> None:
    depth = upright(np.array([10.0, -1.0, 60.0]), 101)
    assert (depth[:, 0] == depth[:, 1]).all()
    assert (depth[:41, 0] == 0).all()
    assert depth[50, 2] == pytest.approx(20 / 60)
    assert depth[0, 2] == pytest.approx(20 / 60 * placeholder.TOP_SHARE)


def test_the_same_picture_gives_the_same_answer() -> None:
    picture = with_box(floor_and_wall(), slice(30, 80), base=150)
    finder = FloorAppearance()
    first = finder.predict(picture)
    finder.predict(np.zeros((50, 50, 3), np.uint8))
    np.testing.assert_array_equal(finder.predict(picture), first)


@pytest.mark.parametrize('shape', [(1, 1), (1, 3000), (3000, 1), (2, 3), (31, 257), (2400, 3200)])
@pytest.mark.parametrize('value', [0, 255, None])
def test_every_picture_gets_an_answer(shape: tuple[int, int], value: int | None) -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (*shape, 3), np.uint8)
    if value is not None:
        rgb[:] = value
    depth = predict(rgb)
    assert max(depth.shape) == 256
    assert np.isfinite(depth).all()
    assert depth.min() >= 0
    assert depth.max() == 1


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
)
def test_small_pictures_of_anything_get_an_answer(rgb: np.ndarray) -> None:
    depth = predict(rgb)
    assert np.isfinite(depth).all()
    assert 0 <= depth.min() <= depth.max() == 1


def test_it_beats_the_row_prior_on_real_rooms(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    benchmark = pytest.importorskip('benchmarks.relative_depth', reason='needs click and rich')
    rooms = [item for item in benchmark.load_items(shared_data) if item.scene_type == 'indoor']
    assert len(rooms) >= 8
    ours = benchmark.predictor_of('embedded')
    placeholder_mean, row_mean = (
        benchmark.mean([benchmark.score(p(r.rgb, r.inverse_depth.shape), r) for r in rooms])
        for p in (ours, benchmark.row_prior)
    )
    assert placeholder_mean.ordinal > row_mean.ordinal
    assert placeholder_mean.abs_rel < row_mean.abs_rel
