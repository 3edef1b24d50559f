"""The free way: by hand calculation, and by moving the footprint in small steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scans import points, wall

from midas_depth_ros.avoidance.corridor import (
    Footprint,
    MotionHistory,
    Pose,
    free_arc,
    free_straight,
    free_turn,
)

ROBOT = Footprint(half_width=0.2, front=0.3, rear=0.1, margin=0.05)
BARE = Footprint(half_width=0.2, front=0.3, rear=0.1)


def one(x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([x]), np.array([y])


@pytest.mark.parametrize(
    ('point', 'free'),
    [
        ((1.0, 0.0), 0.7),
        ((1.0, 0.25), 0.7),  # within the margin
        ((1.0, 0.26), math.inf),
        ((1.0, -0.25), 0.7),
        ((0.2, 0.0), 0.0),  # as if within the robot: it touches
        ((0.2, 0.22), math.inf),  # beside it
        ((-0.5, 0.0), math.inf),  # behind it
        ((-0.05, 0.0), math.inf),
    ],
)
def test_straight_ahead(point, free):
    assert free_straight(*one(*point), ROBOT) == pytest.approx(free)
    assert free_arc(*one(*point), 0.0, ROBOT) == pytest.approx(free)


def test_no_points_are_no_obstacle():
    assert free_straight(np.array([]), np.array([]), ROBOT) == math.inf
    assert free_arc(np.array([]), np.array([]), 2.0, ROBOT) == math.inf


def test_an_arc_reaches_what_straight_ahead_does_not():
    # A quarter circle of radius 1 m to the left ends at (1, 1), heading along +y.
    free = free_arc(*one(1.0, 1.5), 1.0, BARE)
    assert free == pytest.approx(math.pi / 2 + math.atan(0.5) - math.asin(0.3 / math.hypot(1, 0.5)))
    assert free_straight(*one(1.0, 1.5), BARE) == math.inf
    assert free_arc(*one(1.0, 1.5), -1.0, BARE) == math.inf
    assert free_arc(*one(1.0, -1.5), -1.0, BARE) == pytest.approx(free)


def driven(x: float, y: float, curvature: float, footprint: Footprint) -> float:
    """Return how far an arc of at most half a turn is free, tried in steps of half a millimetre."""
    ways = np.arange(0, math.pi / abs(curvature), 0.0005)
    turned = curvature * ways
    px, py = np.sin(turned) / curvature, (1 - np.cos(turned)) / curvature
    c, s = np.cos(turned), np.sin(turned)
    along, across = c * (x - px) + s * (y - py), c * (y - py) - s * (x - px)
    inside = (along >= -footprint.rear) & (along <= footprint.front)
    inside &= np.abs(across) <= footprint.half_width
    return float(ways[np.argmax(inside)]) if inside.any() else math.inf


@settings(max_examples=200)
@given(
    st.floats(-1.5, 1.5),
    st.floats(-1.5, 1.5),
    st.floats(0.3, 8.0),
    st.booleans(),
)
def test_an_arc_ends_where_driving_it_ends(x, y, curvature, right):
    if -0.12 <= x <= 0.32 and abs(y) <= 0.22:
        return  # within the robot
    curvature = -curvature if right else curvature
    free = free_arc(*one(x, y), curvature, BARE)
    # Grazing by less than a step is a matter of rounding: ask a slightly smaller and larger robot.
    small, large = (Footprint(0.2 + d, 0.3 + d, 0.1 + d) for d in (-0.002, 0.002))
    soonest, latest = driven(x, y, curvature, large), driven(x, y, curvature, small)
    assert soonest - 0.002 <= free <= latest + 0.002


@given(st.floats(-0.1, 0.3), st.floats(-0.2, 0.2), st.floats(-1000, 1000))
def test_what_is_within_the_front_half_touches_on_every_arc(x, y, curvature):
    free = free_arc(*one(x, y), curvature, BARE)
    assert free == 0.0 if x > 0 else free >= 0.0


@given(st.floats(0.3, 6.0), st.floats(0.0, 3.0))
def test_farther_is_never_nearer(near, further):
    view, far_view = wall(near), wall(near + further)
    for curvature in (0.0, 0.5, -2.0):
        near_free = free_arc(view.x, view.y, curvature, ROBOT)
        assert near_free <= free_arc(far_view.x, far_view.y, curvature, ROBOT) + 1e-9


def test_a_beam_finds_its_point_again():
    view = points((1.0, 0.1), (-0.5, 0.0))
    assert free_straight(view.x, view.y, ROBOT) == pytest.approx(0.7, abs=0.01)
    assert free_straight(-view.x, -view.y, ROBOT.backward()) == pytest.approx(0.4, abs=0.01)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-4, 4), st.floats(-2, 2), st.floats(-2, 2))
def test_a_pose_there_and_back_is_where_it_was(x, y, yaw, px, py):
    pose = Pose(x, y, yaw)
    back = pose.to_past(*pose.to_now(*one(px, py)))
    np.testing.assert_allclose(np.ravel(back), (px, py), atol=1e-9)


def test_what_was_driven_since_a_moment():
    motion = MotionHistory()
    assert motion.since(0.0, 9.0) == Pose()
    motion.sent(10.0, 0.5, 0.0)
    motion.sent(11.0, 0.0, math.pi / 2)
    motion.sent(12.0, 1.0, 0.0)
    whole = motion.since(9.0, 12.5)
    np.testing.assert_allclose((whole.x, whole.y, whole.yaw), (0.5, 0.5, math.pi / 2))
    part = motion.since(10.5, 11.0)
    np.testing.assert_allclose((part.x, part.y, part.yaw), (0.25, 0.0, 0.0))
    assert motion.since(12.5, 12.5) == Pose()


def test_an_arc_moves_along_its_chord():
    pose = Pose().moved(math.pi / 2, math.pi / 2)
    np.testing.assert_allclose((pose.x, pose.y, pose.yaw), (1.0, 1.0, math.pi / 2))


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-4, 4), st.floats(-2, 2), st.floats(-4, 4))
def test_a_pose_after_a_pose_sees_the_same_places(x, y, yaw, px, turned):
    first, second = Pose(x, y, yaw), Pose(px, -0.3, turned)
    both = first.then(second).to_past(*one(0.7, -0.2))
    np.testing.assert_allclose(both, first.to_past(*second.to_past(*one(0.7, -0.2))), atol=1e-9)


# --- turning on the spot -----------------------------------------------------------------------


def turned_until_touched(x: float, y: float, left: bool, footprint: Footprint) -> float:
    """Return how far the robot turns before it touches a point, tried in steps of 2 mrad."""
    angles = np.arange(0, 2 * math.pi, 0.002) * (1 if left else -1)
    along = np.cos(angles) * x + np.sin(angles) * y
    across = np.cos(angles) * y - np.sin(angles) * x
    touched = footprint.covers(along, across)
    return float(abs(angles[np.argmax(touched)])) if touched.any() else math.inf


@settings(max_examples=300)
@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.booleans())
def test_a_turn_ends_where_turning_ends(x, y, left):
    if BARE.grown(0.004).covers(*one(x, y)).any():
        return
    free = free_turn(*one(x, y), left, BARE, 0.0)
    soonest = turned_until_touched(x, y, left, BARE.grown(0.003))
    latest = turned_until_touched(x, y, left, BARE.grown(-0.003))
    assert soonest - 0.004 <= free <= latest + 0.004


def test_a_margin_is_kept_to_what_is_not_within_it_already():
    corner = math.hypot(0.3, 0.2)
    assert free_turn(*one(0.0, corner + 0.02), True, BARE, 0.0) == math.inf
    assert free_turn(*one(0.0, corner + 0.02), True, BARE, 0.03) < 1.5
    near = one(0.0, 0.21)  # a centimetre beside
    assert free_turn(*near, True, BARE, 0.03) == free_turn(*near, True, BARE, 0.0) > 0


@pytest.mark.parametrize(
    ('point', 'left', 'right'),
    [
        ((0.2, 0.195), 0.0, math.inf),  # left of the front: a turn to the left presses on it
        ((-0.08, 0.195), math.inf, 0.0),  # left of the back
        ((0.2, -0.195), math.inf, 0.0),
        ((0.295, 0.1), math.inf, 0.0),  # before the front, left of the middle
        ((0.295, -0.1), 0.0, math.inf),
        ((0.1, 0.0), math.inf, math.inf),  # so deep within it is the robot's own
    ],
)
def test_what_touches_stops_only_the_turn_that_presses_on_it(point, left, right):
    assert free_turn(*one(*point), True, BARE, 0.0) == left
    assert free_turn(*one(*point), False, BARE, 0.0) == right
