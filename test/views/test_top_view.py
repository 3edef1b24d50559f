"""The top view: what is drawn where, for rooms of both shapes."""

import math

import numpy as np
import pytest

from midas_depth_ros.views.drawing import OptionError
from midas_depth_ros.views.top_view import (
    ABOVE,
    FLOOR,
    PATH,
    ROBOT,
    SOLID,
    WALL,
    FloorPlan,
    RobotSnapshot,
    TopView,
)

BOX = np.array([(1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0)])
TABLE = BOX - (3.0, 0.0)
LONG = FloorPlan((-4.0, 4.0, -3.0, 3.0), [BOX], [TABLE])
DEEP = FloorPlan((-3.0, 3.0, -4.0, 4.0), [BOX], [TABLE])
AWAY = RobotSnapshot(-1.5, -2.5, 0.0, 0.2, np.zeros((0, 2)))


def centre_of(picture: np.ndarray, colour: tuple) -> tuple[float, float]:
    """Row and column of the middle of what has this colour, in shares of the picture."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).max(axis=2) <= 2)
    assert len(rows) > 20, f'{colour} is not there'
    return rows.mean() / picture.shape[0], columns.mean() / picture.shape[1]


@pytest.mark.parametrize('size', [(400, 300), (300, 500), (120, 90)])
def test_it_is_as_large_as_was_asked_for(size):
    assert TopView(LONG, *size).draw(AWAY, ('one', 'two')).shape == (*size, 3)


def test_a_long_room_stands_upright_with_forward_up_and_left_on_the_left():
    picture = TopView(LONG, 420, 280).draw(AWAY)
    row, column = centre_of(picture, SOLID)  # at (1.5, 1.5): ahead and to the left
    assert row < 0.45
    assert column < 0.45
    assert centre_of(picture, ABOVE)[0] > row  # at (-1.5, 1.5): behind
    assert centre_of(picture, FLOOR)[0] == pytest.approx(0.45, abs=0.1)
    assert centre_of(picture, WALL)[1] == pytest.approx(0.5, abs=0.02)


def test_a_deep_room_keeps_x_to_the_right():
    row, column = centre_of(TopView(DEEP, 420, 280).draw(AWAY), SOLID)
    assert row < 0.45
    assert column > 0.55


def test_distances_are_true_to_scale():
    view = TopView(LONG, 640, 480)
    one = centre_of(view.draw(RobotSnapshot(0.0, 0.0, 0.0, 0.3, np.zeros((0, 2)))), ROBOT)
    other = centre_of(view.draw(RobotSnapshot(2.0, 0.0, 0.0, 0.3, np.zeros((0, 2)))), ROBOT)
    walls = np.nonzero((view.draw(AWAY) == WALL).all(axis=2))[0]
    assert (one[0] - other[0]) * 640 == pytest.approx(np.ptp(walls) * 2.0 / 8.0, rel=0.05)


def test_the_way_is_drawn_and_what_is_seen_is_warm_where_it_is_near():
    view = TopView(LONG, 640, 480)
    path = np.array([(-3.0, -1.0), (-1.0, -1.0)])
    bearings = np.linspace(-0.5, 0.5, 21)
    for distance in (0.5, 2.5):
        ends = np.stack(
            [distance * np.cos(bearings), distance * np.sin(bearings), np.full(21, distance)], 1
        )
        plain = view.draw(RobotSnapshot(0.0, 0.0, 0.0, 0.2, path)).astype(int)
        seen = view.draw(RobotSnapshot(0.0, 0.0, 0.0, 0.2, path, ends, ends[:, :2])).astype(int)
        assert centre_of(plain, PATH)[0] > 0.5
        changed = np.abs(seen - plain).max(axis=2) > 8
        assert changed[:290].any()
        assert not changed[330:].any()  # behind the robot
        reddish = seen[changed][:, 0] - seen[changed][:, 2]
        assert reddish.max() > (150 if distance == 0.5 else 60)


def test_floor_before_an_obstacle_that_nobody_saw_is_not_tinted():
    view = TopView(LONG, 640, 480)
    bearings = np.linspace(-0.5, 0.5, 21)
    ends = np.stack([2.0 * np.cos(bearings), 2.0 * np.sin(bearings), np.full(21, 2.0)], 1)
    place = (0.0, 0.0, 0.0, 0.2, np.zeros((0, 2)))
    plain = view.draw(RobotSnapshot(*place)).astype(int)
    changed = []
    for share in (0.0, 0.3, 1.0):
        seen = view.draw(RobotSnapshot(*place, ends, share * ends[:, :2])).astype(int)
        changed.append((np.abs(seen - plain).max(axis=2) > 8).sum())
    dots = (np.abs(view.draw(RobotSnapshot(*place, ends)) - plain).max(axis=2) > 8).sum()
    assert dots == pytest.approx(changed[0], abs=10)
    assert changed[0] < 0.5 * changed[1] < 0.2 * changed[2]


def test_beams_that_meet_nothing_leave_no_dots():
    view = TopView(LONG, 640, 480)
    ends = np.array([(2.0, -0.5, math.nan), (2.0, 0.5, math.nan)])
    moment = RobotSnapshot(0.0, 0.0, 0.0, 0.2, np.zeros((0, 2)), ends, ends[:, :2])
    seen = view.draw(moment).astype(int)
    assert (seen[..., 0] - seen[..., 2]).max() < 20


def test_what_is_too_small_is_refused():
    with pytest.raises(OptionError, match='20x30'):
        TopView(LONG, 30, 20)
