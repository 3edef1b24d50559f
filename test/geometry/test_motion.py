"""Poses by stamp: between two of them, a little beyond the last, and never across a jump."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    BodyPose,
    CameraMount,
    InvalidPose,
    PoseHistory,
    body_from_optical,
    camera_pose,
)
from midas_depth_ros.geometry.motion import rotation_of, slerp, tilt_matrix
from midas_depth_ros.sim import Pose

SECOND = 1_000_000_000


def turned(yaw_rad: float) -> np.ndarray:
    return np.array([0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)])


def at(x_m: float = 0.0, y_m: float = 0.0, yaw_rad: float = 0.0) -> BodyPose:
    return BodyPose.of((x_m, y_m, 0.0), turned(yaw_rad))


def history(*known: tuple[float, BodyPose]) -> PoseHistory:
    made = PoseHistory()
    for stamp_s, pose in known:
        made.add(round(stamp_s * SECOND), pose)
    return made


def on_arc(stamp_s: float) -> BodyPose:
    """Half a metre per second on a circle of 1 m."""
    angle = 0.5 * (stamp_s - 10)
    return at(math.sin(angle), 1 - math.cos(angle), angle)


ARC = [(10 + i / 20, on_arc(10 + i / 20)) for i in range(21)]


def close(found: BodyPose, expected: BodyPose, metres: float, radians: float) -> bool:
    away = float(np.linalg.norm(found.position - expected.position))
    turn = math.remainder(found.yaw_rad - expected.yaw_rad, math.tau)
    return away < metres and abs(turn) < radians


@pytest.mark.parametrize('stamp_s', [10.0, 10.01, 10.333, 10.7249, 11.0])
def test_between_two_messages_the_pose_is_that_of_the_stamp(stamp_s):
    found = history(*ARC).at(round(stamp_s * SECOND), 0.2)
    assert close(found, on_arc(stamp_s), 1e-3, 1e-4)
    assert found.continued_s == 0


@pytest.mark.parametrize('late_s', [0.02, 0.1, 0.19])
def test_a_picture_newer_than_the_last_message_continues_the_motion(late_s):
    found = history(*ARC).at(round((11 + late_s) * SECOND), 0.2)
    expected = on_arc(11 + late_s)
    assert close(found, expected, 0.02, 1e-3)
    standing = float(np.linalg.norm(ARC[-1][1].position - expected.position))
    assert standing > 4 * float(np.linalg.norm(found.position - expected.position))
    assert found.continued_s == pytest.approx(late_s)


def test_and_so_does_one_a_little_older_than_the_first():
    found = history(*ARC).at(round(9.95 * SECOND), 0.2)
    assert close(found, on_arc(9.95), 2e-3, 1e-3)


@pytest.mark.parametrize(
    ('stamp_s', 'away_s'), [(11.3, 0.3), (9.5, 0.5), (1000.0, 989.0), (0.0, 10.0)]
)
def test_farther_away_there_is_no_pose(stamp_s, away_s):
    assert history(*ARC).at(round(stamp_s * SECOND), 0.2) == pytest.approx(away_s)


def test_nothing_is_interpolated_over_a_gap():
    gap = history((10.0, at(0.0)), (10.1, at(0.05)), (14.0, at(3.0)), (14.1, at(3.05)))
    assert gap.at(12 * SECOND, 0.2) == pytest.approx(1.9)
    after = gap.at(round(10.2 * SECOND), 0.2)
    assert after.position[0] == pytest.approx(0.1)
    assert after.continued_s == pytest.approx(0.1)


def test_without_a_message_it_is_infinitely_far():
    assert history().at(SECOND, 10.0) == math.inf


def test_a_single_message_says_nothing_of_later():
    """A robot that drives would be taken for one that stands: metres were 38 % off by this."""
    one = history((10.0, at(1.0)))
    assert one.at(round(10.1 * SECOND), 0.2) == pytest.approx(0.1)
    assert one.at(round(9.9 * SECOND), 0.2) == pytest.approx(0.1)
    found = one.at(round(10.005 * SECOND), 0.2)
    assert found.position[0] == 1.0
    assert found.continued_s == pytest.approx(0.005)


def test_messages_a_second_apart_say_nothing_of_the_time_between():
    rare = history((10.0, at(0.0)), (11.0, at(0.4)), (12.0, at(0.8)))
    for stamp_s in (10.1, 10.5, 10.9, 11.1, 12.1):
        assert isinstance(rare.at(round(stamp_s * SECOND), 0.2), float)
    assert rare.at(11 * SECOND, 0.2).position[0] == 0.4


def test_the_velocity_is_not_that_of_two_noisy_neighbours():
    random = np.random.default_rng(0)
    noisy = [(10 + i / 200, at(0.3 * i / 200 + random.normal(0, 5e-4))) for i in range(201)]
    found = history(*noisy).at(round(11.15 * SECOND), 0.2)
    assert found.position[0] == pytest.approx(0.345, abs=0.004)


# --- What no robot does.


@pytest.mark.parametrize(
    ('after', 'words'),
    [
        (at(0.0, 0.0), 'its position jumped by 5.00 m'),
        (at(5.3), 'its position jumped by 0.30 m'),
        (at(5.02, 0.0, 1.5), 'its heading jumped by 1.50 rad'),
    ],
)
def test_a_jump_begins_anew(after, words):
    driven = history(*((10 + i / 50, at(4.5 + 0.5 * i / 50)) for i in range(51)))
    assert driven.epoch == 0
    driven.add(round(11.02 * SECOND), after)
    assert driven.epoch == 1
    assert words in driven.jump
    assert driven.at(round(10.9 * SECOND), 0.05) == pytest.approx(0.12)  # nothing before it
    assert driven.at(round(11.03 * SECOND), 0.2).position[0] == after.position[0]


@pytest.mark.parametrize('speed_m_s', [0.1, 1.0, 30.0])
@pytest.mark.parametrize('rate_hz', [5, 50])
def test_driving_braking_and_turning_are_no_jumps(speed_m_s, rate_hz):
    made, x = PoseHistory(), 0.0
    for i in range(10 * rate_hz):
        braking = max(0.0, 1 - max(0.0, i / rate_hz - 5) / 4)
        x += speed_m_s * braking / rate_hz
        made.add(SECOND + i * SECOND // rate_hz, at(x, 0.0, 3.0 * i / rate_hz))
    assert made.epoch == 0


def test_an_old_stamp_means_that_time_was_reset_and_a_late_one_nothing():
    made = history(*ARC)
    made.add(round(10.5 * SECOND), at(50.0))
    assert made.epoch == 0
    assert close(made.at(round(10.5 * SECOND), 0.2), on_arc(10.5), 1e-3, 1e-3)
    made.add(3 * SECOND, at(7.0))
    assert made.epoch == 1
    assert 'went back by 8.0 s' in made.jump
    assert made.at(3 * SECOND, 0.2).position[0] == 7.0


@pytest.mark.parametrize('back_s', [0.42, 0.5, 0.9])
@pytest.mark.parametrize('rate_hz', [10, 50, 400])
def test_a_clock_that_is_set_back_a_little_begins_anew(back_s, rate_hz):
    """As timesyncd sets it: what was said of those stamps before was somewhere else."""
    made = PoseHistory()
    for i in range(2 * rate_hz):
        made.add(round((10 + i / rate_hz) * SECOND), at(0.2 * i / rate_hz))
    for i in range(2 * rate_hz, 2 * rate_hz + 4):
        made.add(round((10 - back_s + i / rate_hz) * SECOND), at(0.2 * i / rate_hz))
    newest_s = 10 - back_s + i / rate_hz
    assert made.epoch == 1
    assert 'its stamps went back by' in made.jump
    assert made.at(round(newest_s * SECOND), 0.2).position[0] == pytest.approx(0.2 * i / rate_hz)
    for i in range(2 * rate_hz + 4, 4 * rate_hz):
        made.add(round((10 - back_s + i / rate_hz) * SECOND), at(0.2 * i / rate_hz))
    assert made.epoch == 1


def test_messages_that_were_overtaken_are_no_clock_that_is_set_back():
    made = history(*ARC)
    for stamp_s in (10.81, 10.86, 10.81, 10.86):
        made.add(round(stamp_s * SECOND), at(50.0))
    for i in range(21, 60):
        made.add(round((10 + i / 20) * SECOND), on_arc(10 + i / 20))
        made.add(round((10 + i / 20 - 0.12) * SECOND), at(50.0))
    assert made.epoch == 0


@pytest.mark.parametrize(
    ('position', 'quaternion', 'words'),
    [
        ((math.nan, 0, 0), (0, 0, 0, 1), r'position \(nan, 0, 0\) is not a place'),
        ((math.inf, 0, 0), (0, 0, 0, 1), 'not a place'),
        ((0, 1e9, 0), (0, 0, 0, 1), 'not a place'),
        ((0, 0, 0), (0, 0, 0, 0), r'orientation \(0, 0, 0, 0\) is not a unit quaternion'),
        ((0, 0, 0), (0, 0, 0, 2), 'not a unit quaternion'),
        ((0, 0, 0), (0, math.nan, 0, 1), 'not a unit quaternion'),
    ],
)
def test_numbers_that_are_no_pose_are_named(position, quaternion, words):
    with pytest.raises(InvalidPose, match=words):
        BodyPose.of(position, quaternion)


def test_a_turn_is_bridged_the_short_way():
    found = slerp(turned(math.pi - 0.1), -turned(-math.pi + 0.1), 0.5)
    assert abs(BodyPose((0, 0, 0), found).yaw_rad) == pytest.approx(math.pi)
    assert np.linalg.norm(found) == pytest.approx(1)


def test_two_threads_do_not_disturb_each_other():
    made, wrong = PoseHistory(), []

    def fill() -> None:
        for i in range(3000):
            made.add(10 * SECOND + i * SECOND // 100, at(0.01 * i))

    writer = threading.Thread(target=fill)
    writer.start()
    while writer.is_alive():
        found = made.at(15 * SECOND + 5_000_000, 0.2)
        if isinstance(found, BodyPose) and abs(found.position[0] - 5.005) > 1e-3:
            wrong.append(found)
    writer.join()
    assert not [each for each in wrong if not each.continued_s]


# --- From the body to the lens.


@pytest.mark.parametrize('yaw', [0.0, 0.7, -2.5])
@pytest.mark.parametrize('tilt', [(0.0, 0.0), (0.1, -0.15)])
def test_the_camera_is_where_the_renderer_puts_it(yaw, tilt):
    """Against the poses of sim, which place a lens above the point that moves."""
    body = at(1.5, -0.7, yaw)
    lens = body_from_optical(CameraMount(0.4, 0.2, 0.05), 0.0, 0.0, 0.4)
    expected = Pose(1.5, -0.7, 0.4, yaw, 0.2, 0.05)
    found = camera_pose(body, lens)
    np.testing.assert_allclose(found[:3, :3], expected.optical_axes, atol=1e-12)
    np.testing.assert_allclose(found[:3, 3], expected.position, atol=1e-12)
    tilted = camera_pose(body, lens, tilt)
    level = camera_pose(at(), lens)
    np.testing.assert_allclose(
        tilted[:3, :3],
        rotation_of(turned(yaw)) @ tilt_matrix(*tilt)[:3, :3] @ level[:3, :3],
        atol=1e-12,
    )


@pytest.mark.parametrize('camera_yaw', [0.0, 0.7, -2.0, math.pi])
def test_a_tilt_is_what_it_is_for_the_mount(camera_yaw):
    roll, pitch, mount = 0.12, -0.2, CameraMount(0.5, 0.25, 0.1)
    lens = body_from_optical(mount, 0.0, 0.0, 0.5, camera_yaw)
    found = camera_pose(at(0, 0, 1.1), lens, (roll, pitch))
    expected = mount.tilted(roll, pitch, camera_yaw)
    np.testing.assert_allclose(-found[2, :3], expected.ground_normal(), atol=1e-12)


def test_a_lens_ahead_of_the_axle_swings_out_in_a_turn():
    lens = body_from_optical(CameraMount(0.4, 0.0), 0.3, 0.1, 0.4, 0.2)
    found = camera_pose(at(0, 0, math.pi / 2), lens)
    np.testing.assert_allclose(found[:3, 3], (-0.1, 0.3, 0.4), atol=1e-12)
    heading = math.pi / 2 + 0.2
    np.testing.assert_allclose(found[:3, 2], (math.cos(heading), math.sin(heading), 0), atol=1e-12)


def test_with_an_imu_the_tilt_of_odometry_does_not_count_twice():
    half = 0.05
    tilted = BodyPose.of((0, 0, 0), (0, math.sin(half), 0, math.cos(half)))
    lens = body_from_optical(CameraMount(0.4, 0.2), 0.0, 0.0, 0.4)
    np.testing.assert_allclose(
        camera_pose(tilted, lens, (0.0, 0.1)), camera_pose(tilted, lens), atol=1e-12
    )
