"""Where sources of scale agree there are metres, where they contradict each other there is none."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    Agreement,
    CameraModel,
    CameraMount,
    Refusal,
    ScaleShift,
    fit_ground_plane,
    trust,
)
from midas_depth_ros.geometry import agreement as limits
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

LIMITS = (
    limits.LEAST, limits.MOST, limits.MOST_ONCE, limits.LEAST_OF_ONE, limits.MOST_OF_ONE,
)  # fmt: skip
SCALE, SHIFT = 0.8, 0.05  # the network's, which both sources have to find
TRUE = ScaleShift(SCALE, SHIFT, 'ground', points=1000, residual=0.01)
STANDING = Refusal('the robot stands')
NO_FLOOR = Refusal('no floor in view')
HERE = np.eye(4)


def picture(seed: int = 0) -> np.ndarray:
    """Relative inverse depth of things 0.5 to 8 m away."""
    inverse = np.random.default_rng(seed).uniform(1 / 8, 2, (48, 64))
    return ((inverse - SHIFT) / SCALE).astype(np.float32)


D = picture()


def times(factor: float, source: str = 'odometry', sigma: float = 0.0) -> ScaleShift:
    """A source that says this many times the true distances; sigma: of 1/Z, as a share."""
    covariance = (0.0, 0.0, 0.0)
    if sigma:
        scale, shift = sigma * SCALE / factor, sigma * SHIFT / factor
        covariance = (scale * scale, scale * shift, shift * shift)
    return ScaleShift(
        SCALE / factor, SHIFT / factor, source, points=100, residual=0.02, covariance=covariance
    )


def moved(forward_m: float = 0.0, turned_rad: float = 0.0) -> np.ndarray:
    """A pose of the optical frame: z forward, turned about y."""
    cos, sin = math.cos(turned_rad), math.sin(turned_rad)
    made = np.array([[cos, 0, sin, 0], [0, 1, 0, 0], [-sin, 0, cos, forward_m], [0, 0, 0, 1.0]])
    return made


def both(factor: float, **kwargs) -> dict[str, ScaleShift | Refusal]:
    return {'ground_plane': TRUE, 'odometry': times(factor, **kwargs)}


FLOOR_ALONE = {'ground_plane': TRUE, 'odometry': STANDING}


def drive(agreement: Agreement, factors, start_s: float = 0.0, step_m: float = 0.05) -> list:
    """What comes out of frames in which the odometry is off by these factors."""
    return [
        agreement.update(start_s + i / 10, both(factor), D, moved(step_m * i))
        for i, factor in enumerate(factors)
    ]


def test_the_floor_alone_is_as_it_was():
    agreement = Agreement()
    assert agreement.update(0.0, {'ground_plane': TRUE}, D) is TRUE
    assert agreement.update(0.1, {'ground_plane': NO_FLOOR}, D) is NO_FLOOR
    assert agreement.update(0.2, {'ground_plane': TRUE}, np.full((48, 64), np.nan)) is TRUE


def test_without_any_source_there_is_a_reason():
    assert agreement_of({}).reason == 'no source of scale'
    refused = agreement_of({'ground_plane': NO_FLOOR, 'odometry': STANDING})
    assert refused.reason == 'the floor: no floor in view; the odometry: the robot stands'


def agreement_of(found) -> ScaleShift | Refusal:
    return Agreement().update(0.0, found, D, HERE)


def test_two_that_agree_give_one_scale_between_them_named_by_both():
    found = agreement_of(both(1.04))
    assert found.source == 'ground+odometry'
    ratio = TRUE.inverse_depth(D) / found.inverse_depth(D)
    assert np.abs(ratio - 1.02).max() < 0.01
    assert found.points == 1100
    assert found.covariance[0] > 0


def test_the_more_certain_one_counts_more():
    certain = dataclasses.replace(TRUE, covariance=times(1.0, sigma=0.01).covariance)
    found = agreement_of({'ground_plane': certain, 'odometry': times(1.08, sigma=0.05)})
    assert 1.0 < SCALE / found.scale < 1.01
    # They differ by more than they believe, so neither does the mean believe that much.
    assert found.covariance[0] > (0.009 * SCALE) ** 2


@pytest.mark.parametrize('factor', [1.2, 1 / 1.2, 1.25, 0.75, 2.3])
@pytest.mark.parametrize('sigma', [0.0, 0.001, 0.03, 0.1, 0.14])
def test_a_slip_is_never_metres_whatever_they_believe(factor, sigma):
    floor = dataclasses.replace(TRUE, covariance=times(1.0, sigma=sigma).covariance)
    agreement = Agreement()
    for i in range(20):
        found = {'ground_plane': floor, 'odometry': times(factor, sigma=sigma)}
        refused = agreement.update(i / 10, found, D, moved(i * 0.05))
        assert isinstance(refused, Refusal)
        first, second = map(float, re.findall(r'(\d+\.\d+) m', refused.reason)[:2])
        assert second / first == pytest.approx(factor, rel=0.03)
        assert refused.reason.startswith(f'the floor says {first:.2f} m, the odometry {second:.2f}')
        assert 'wheel slip' in refused.reason
    assert agreement.contradiction


@pytest.mark.parametrize('factor', [0.93, 1.0, 1.08])
def test_what_scatters_as_fits_do_agrees(factor):
    assert all(isinstance(each, ScaleShift) for each in drive(Agreement(), [factor] * 30))


def test_who_believes_little_of_itself_may_be_a_little_farther_off():
    assert isinstance(agreement_of(both(1.12)), Refusal)
    unsure = {'ground_plane': TRUE, 'odometry': times(1.12, sigma=0.1)}
    assert isinstance(agreement_of(unsure), ScaleShift)


def test_a_slip_that_scatter_hides_in_single_frames_is_found_in_several():
    """With 6 % of scatter single frames of a slip of 20 % seem to agree."""
    scatter = np.random.default_rng(1).normal(0, 0.06, 200)
    given = drive(Agreement(), 1.2 * np.exp(scatter))
    accepted = [scale for scale in given[3:] if isinstance(scale, ScaleShift)]
    assert len(accepted) <= 4
    honest = drive(Agreement(), np.exp(scatter))
    assert sum(isinstance(scale, ScaleShift) for scale in honest) > 0.8 * len(honest)


def test_a_contradiction_is_held_while_the_robot_stands():
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    for i in range(600):  # a minute, and a pose that trembles
        at = moved(0.2 + 0.001 * (i % 3), 0.002 * (i % 2))
        refused = agreement.update(0.5 + i / 10, FLOOR_ALONE, D, at)
        assert isinstance(refused, Refusal)
    assert 'the floor says' in refused.reason
    assert 'held until they agree or the robot has moved 2 m or turned 29 degrees' in refused.reason
    assert agreement.contradiction
    # Nor does the other one speak alone.
    alone = {'ground_plane': NO_FLOOR, 'odometry': times(1.3)}
    assert isinstance(agreement.update(61, alone, D, moved(0.2)), Refusal)


@pytest.mark.parametrize('at', [moved(0.2, 0.6), moved(0.2, -0.6)])
def test_who_has_turned_away_is_free_of_it(at):
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    assert isinstance(agreement.update(1.0, FLOOR_ALONE, D, moved(0.2)), Refusal)
    assert agreement.update(1.1, FLOOR_ALONE, D, at) is TRUE
    assert not agreement.contradiction


def test_who_turns_back_to_where_it_was_found_is_not_free_of_it():
    """An edge ahead, seen in many directions: the last of them is not the only one."""
    agreement = Agreement()
    for i in range(9):
        agreement.update(i / 10, both(1.3), D, moved(0.05 * i, 0.1 * i))
    assert isinstance(agreement.update(1.0, FLOOR_ALONE, D, moved(0.4, 1.1)), Refusal)
    for turned in (0.8, 0.2, 0.0, -0.3):  # -0.3: 1.1 from the last
        refused = agreement.update(2.0, FLOOR_ALONE, D, moved(0.4, turned))
        assert isinstance(refused, Refusal), turned
    assert 'found 1.2 s ago, and held' in refused.reason
    assert agreement.update(3.0, FLOOR_ALONE, D, moved(0.4, -0.6)) is TRUE


def confirm(agreement):
    """The odometry agrees with the floor for a while."""
    for step in range(5):
        agreement.update(-1 + 0.1 * step, {'ground_plane': TRUE, 'odometry': TRUE}, D, HERE)


@pytest.mark.parametrize('trembling_m', [0.0, 0.0003, 0.001, 0.002])
def test_standing_changes_nothing_also_where_the_odometry_trembles(trembling_m):
    rng, agreement = np.random.default_rng(0), Agreement()
    confirm(agreement)
    for second in range(1, 1200):
        pose = np.eye(4)
        pose[:2, 3] += rng.normal(0, trembling_m, 2)
        said = agreement.update(float(second), FLOOR_ALONE, D, pose)
        assert isinstance(said, ScaleShift), said.reason


def test_a_way_in_small_steps_is_a_way():
    agreement = Agreement()
    confirm(agreement)
    for step in range(1, 120):
        said = agreement.update(0.1 * step, FLOOR_ALONE, D, moved(0.004 * step))
        assert isinstance(said, ScaleShift) == (0.004 * step < trust.FLOOR_ALONE_M + 0.011)


def test_near_a_contradiction_the_floor_alone_is_believed_for_a_creep():
    """Who has turned aside before an edge may still go over it."""
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    assert agreement.update(1.0, FLOOR_ALONE, D, moved(0.2, 0.7)) is TRUE
    assert agreement.update(1.1, FLOOR_ALONE, D, moved(0.2 + 0.9 * trust.CREEP_M, 0.7)) is TRUE
    far = moved(0.2 + 1.5 * trust.CREEP_M, 0.7)
    assert 1.5 * trust.CREEP_M < trust.FLOOR_ALONE_M
    refused = agreement.update(1.2, FLOOR_ALONE, D, far)
    assert refused.reason.startswith('the odometry has not confirmed the floor on the last 0.1 m')
    # Where both have agreed again it is as elsewhere.
    for i in range(8):
        agreement.update(2.0 + i / 10, both(1.0), D, far)
    assert agreement.update(3.0, FLOOR_ALONE, D, moved(0.2 + 3.5 * trust.CREEP_M, 0.7)) is TRUE


def test_what_is_not_confirmed_refutes_what_was_said_before():
    agreement = Agreement()
    drive(agreement, [1.0] * 5)
    lost = {'ground_plane': TRUE, 'odometry': Refusal('too few corners')}
    assert agreement.update(1.0, lost, D, moved(0.3)) is TRUE
    assert agreement.refuted == ''
    refused = agreement.update(2.0, lost, D, moved(0.9))
    assert agreement.refuted == refused.reason
    assert agreement.contradiction == ''
    none = {'ground_plane': NO_FLOOR, 'odometry': Refusal('too few corners')}
    agreement.update(3.0, none, D, moved(0.9))  # as any frame without a fit
    assert agreement.refuted == ''


@pytest.mark.parametrize('at', [moved(2.3), moved(-2.0)])
def test_who_has_moved_on_is_free_of_it_but_has_to_confirm_the_floor_there(at):
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    assert isinstance(agreement.update(1.0, FLOOR_ALONE, D, moved(0.2)), Refusal)
    refused = agreement.update(1.1, FLOOR_ALONE, D, at)
    assert refused.reason.startswith('the odometry has not confirmed the floor')
    assert not agreement.contradiction
    for i in range(4):
        agreement.update(5.0 + i / 10, both(1.0), D, at)
    assert agreement.update(6.0, FLOOR_ALONE, D, at) is TRUE


def test_slip_goes_along_with_the_robot():
    """What has contradicted the floor is not believed alone elsewhere, as before a wall."""
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    wall = {'ground_plane': NO_FLOOR, 'odometry': times(1.3)}
    for number, at in enumerate((moved(3.0), moved(9.0, 2.0), moved(20.0))):
        refused = agreement.update(10.0 + 50 * number, wall, D, at)
        assert isinstance(refused, Refusal)
        assert refused.reason.endswith('held until they agree')
    assert agreement.update(200.0, FLOOR_ALONE, D, moved(20.0)) is TRUE
    assert isinstance(agreement.update(201.0, wall, D, moved(20.5)), Refusal)
    drive(agreement, [1.0] * 8, start_s=202.0)
    wall['odometry'] = times(1.0)
    assert agreement.update(203.0, wall, D, moved(0.4)) is wall['odometry']


def test_it_ends_when_they_agree_again_but_not_by_one_frame():
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    given = drive(agreement, [1.0] * 8, start_s=1.0)
    assert isinstance(given[0], Refusal)
    assert isinstance(given[-1], ScaleShift)
    assert agreement.update(2.0, FLOOR_ALONE, D, moved(0.2)) is TRUE


def test_nor_does_one_frame_end_it_after_a_long_stand():
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    for i in range(100):
        agreement.update(0.5 + i / 10, FLOOR_ALONE, D, moved(0.2))
    assert isinstance(agreement.update(11.0, both(1.0), D, moved(0.25)), Refusal)
    assert isinstance(agreement.update(11.1, FLOOR_ALONE, D, moved(0.25)), Refusal)
    # What is seen elsewhere is judged anew.
    assert isinstance(agreement.update(12.0, both(1.0), D, moved(4.0)), ScaleShift)


@pytest.mark.parametrize('before', [0, 1, 10])
def test_one_wrong_frame_silences_one_frame(before):
    agreement = Agreement()
    drive(agreement, [1.0] * before)
    here = moved(0.05 * before)
    assert isinstance(agreement.update(2.0, both(1.5), D, here), Refusal)
    assert not agreement.contradiction
    assert agreement.update(2.1, FLOOR_ALONE, D, here) is TRUE
    assert isinstance(agreement.update(2.2, both(1.0), D, here), ScaleShift)


@pytest.mark.parametrize('pose', [None, Refusal('no odometry')])
def test_without_a_known_motion_it_ends_by_time(pose):
    agreement = Agreement()
    scan = {'ground_plane': TRUE, 'scan': times(1.4, 'reference')}
    for i in range(4):
        refused = agreement.update(i / 10, scan, D, pose)
    assert 'the laser scan' in refused.reason
    silent = {'ground_plane': TRUE, 'scan': Refusal('nothing in view')}
    assert isinstance(agreement.update(25.0, silent, D, pose), Refusal)
    assert agreement.update(31.0, silent, D, pose) is TRUE


def test_each_of_three_has_to_agree_with_each():
    scan = times(1.0, 'reference')
    good = {**both(1.03), 'scan': scan}
    assert agreement_of(good).source == 'ground+odometry+reference'
    assert isinstance(agreement_of({**both(1.3), 'scan': scan}), Refusal)
    assert isinstance(agreement_of({**both(1.0), 'scan': times(0.7, 'reference')}), Refusal)


# --- A metric network: named, and never deciding.


def test_a_model_alone_is_refused():
    model = {'model': ScaleShift(SCALE, SHIFT, 'model')}
    assert isinstance(agreement_of(model), Refusal)
    unset = Refusal('camera_height is not set')
    assert agreement_of({'ground_plane': unset, **model}).reason == unset.reason


def test_a_model_is_named_and_decides_nothing():
    agreement = Agreement()
    model = times(2.0, 'model')
    assert agreement.update(0.0, {'ground_plane': TRUE, 'model': model}, D, HERE) is TRUE
    refused = agreement.update(0.1, {**both(1.25), 'model': times(1.25, 'model')}, D, HERE)
    assert 'the model says 1.25 times the floor, 1.00 times the odometry' in refused.reason


# --- Witnesses: too uncertain for metres, but not for a contradiction.


def refused(factor: float, sigma: float, source: str = 'odometry') -> Refusal:
    return Refusal('too few corners', times(factor, source, sigma=sigma))


@pytest.mark.parametrize('step_m', [0.01, 0.05])
def test_of_a_robot_that_stood_long_before_a_ramp_one_late_pose_frees_nothing(step_m):
    agreement = Agreement()
    drive(agreement, [1.0] * 5, step_m=step_m)
    for i in range(3):
        refuted = agreement.update(0.5 + i / 10, both(1.5), D, moved(step_m * (5 + i)))
        assert isinstance(refuted, Refusal)
    stands = moved(step_m * 7)
    for i in range(80):  # 40 s; for a while the floor has nothing to say either
        floor = TRUE if i < 50 else NO_FLOOR
        found = {'ground_plane': floor, 'odometry': STANDING}
        assert isinstance(agreement.update(1.0 + i / 2, found, D, stands), Refusal)
    late = Refusal('no odometry near the picture')
    found = {'ground_plane': TRUE, 'odometry': late}
    assert isinstance(agreement.update(41.1, found, D, late), Refusal)
    assert isinstance(agreement.update(41.2, FLOOR_ALONE, D, stands), Refusal)


def test_a_witness_contradicts_the_floor_and_it_is_held():
    """The corners are too alike for metres, but say that the floor is twice as far."""
    agreement = Agreement()
    found = {'ground_plane': TRUE, 'odometry': refused(2.0, 0.2)}
    for i in range(4):
        answer = agreement.update(i / 10, found, D, moved(0.05 * i))
        assert 'for the same point' in answer.reason
    assert agreement.contradiction
    assert isinstance(agreement.update(1.0, FLOOR_ALONE, D, moved(0.2)), Refusal)


def test_a_witness_contradicts_odometry_too():
    agreement = Agreement()
    drive(agreement, [1.0] * 5)  # so that it may speak alone
    found = {'ground_plane': refused(1.0, 0.1, 'ground'), 'odometry': times(1.6)}
    assert 'for the same point' in agreement.update(1.0, found, D, moved(0.25)).reason
    found['odometry'] = times(1.1)  # within two deviations of the witness
    assert isinstance(agreement.update(9.0, found, D, moved(0.25)), ScaleShift)


@pytest.mark.parametrize('sigma', [0.01, 0.1, 0.3])
def test_a_witness_never_gives_metres(sigma):
    agreement = Agreement()
    soft = refused(1.0, sigma)
    for i in range(5):
        found = {'ground_plane': NO_FLOOR, 'odometry': soft}
        assert isinstance(agreement.update(i / 10, found, D, moved(0.05 * i)), Refusal)
    two = {'ground_plane': refused(1.0, sigma, 'ground'), 'odometry': soft}
    assert isinstance(agreement.update(1.0, two, D, moved(0.3)), Refusal)
    given = agreement.update(1.1, {'ground_plane': TRUE, 'odometry': soft}, D, moved(0.3))
    assert given is TRUE  # not averaged with it


def test_a_witness_ends_no_contradiction():
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    for i in range(20):
        found = {'ground_plane': TRUE, 'odometry': refused(1.0, 0.1)}
        assert isinstance(agreement.update(1 + i / 10, found, D, moved(0.2)), Refusal)
    assert agreement.contradiction


def test_who_is_as_uncertain_as_that_contradicts_nobody():
    found = {'ground_plane': TRUE, 'odometry': refused(3.0, 1.0)}
    assert agreement_of(found) is TRUE


# --- Alone is believed what was confirmed lately.

WALL = {'ground_plane': NO_FLOOR, 'odometry': times(1.0)}


def driven_on(agreement: Agreement, found, way_m: float, start_m: float, step_m: float = 0.05):
    """The answers on a way with the same fits."""
    return [
        agreement.update(10 + i / 10, found, D, moved(start_m + i * step_m))
        for i in range(round(way_m / step_m) + 1)
    ]


@pytest.mark.parametrize('factor', [1.0, 1.2, 1 / 1.2])
def test_odometry_that_the_floor_has_never_confirmed_gives_no_metres(factor):
    """So that wheels which slip from the start are never believed, where the floor is refused."""
    wall = {'ground_plane': NO_FLOOR, 'odometry': times(factor)}
    for given in driven_on(Agreement(), wall, 3.0, 0.0):
        assert given.reason == (
            'the odometry has not been confirmed by the floor yet; the floor: no floor in view; '
            'drive by hand to where floor is in view, or set scale.source to odometry'
        )


def test_without_a_mount_odometry_alone_is_believed():
    alone = {'odometry': times(1.0), 'scan': Refusal('nothing in view')}
    assert agreement_of(alone) is alone['odometry']


def test_a_wall_after_an_agreement_has_its_metres_for_a_room_and_a_minute():
    agreement = Agreement()
    drive(agreement, [1.0] * 5)
    assert all(given is WALL['odometry'] for given in driven_on(agreement, WALL, 3.0, 0.2))
    late = agreement.update(10 + trust.ODOMETRY_ALONE_S, WALL, D, moved(3.2))
    assert re.search(r'not been confirmed by the floor on the last 3.0 m, in \d+ s', late.reason)
    agreement = Agreement()
    drive(agreement, [1.0] * 5)
    far = driven_on(agreement, WALL, trust.ODOMETRY_ALONE_M + 1, 0.2, step_m=1.0)
    assert far[-2] is WALL['odometry']
    assert isinstance(far[-1], Refusal)


def test_the_floor_is_believed_for_a_short_way_after_odometry_has_fallen_silent():
    agreement = Agreement()
    drive(agreement, [1.0] * 5)
    lost = {'ground_plane': TRUE, 'odometry': Refusal('too few corners')}
    given = driven_on(agreement, lost, 0.25, 0.2)
    assert all(each is TRUE for each in given)
    assert 'too few corners' in agreement.update(20.0, lost, D, moved(0.7)).reason
    # Standing does not confirm it; an agreement does.
    assert isinstance(agreement.update(80.0, FLOOR_ALONE, D, moved(0.7)), Refusal)
    assert isinstance(agreement.update(81.0, both(1.0), D, moved(0.75)), ScaleShift)
    assert agreement.update(82.0, FLOOR_ALONE, D, moved(0.75)) is TRUE


def test_who_stands_at_the_start_has_the_floor():
    agreement = Agreement()
    for i in range(600):
        assert agreement.update(i / 10, FLOOR_ALONE, D, moved(0.0001 * (i % 2))) is TRUE


def test_with_an_assenting_witness_the_floor_is_believed_for_longer():
    """A furnished room whose corners hardly ever suffice."""
    agreement = Agreement()
    drive(agreement, [1.0] * 5)
    found = {'ground_plane': TRUE, 'odometry': refused(1.08, 0.12)}
    given = driven_on(agreement, found, 4.0, 0.2)
    assert all(each is TRUE for each in given[:40])  # 2 m
    assert isinstance(given[-1], Refusal)


@pytest.mark.parametrize('sigma', [0.2, 0.34, 0.5, 1.2])
def test_a_witness_that_could_as_well_say_anything_else_is_no_assent(sigma):
    """A step down is 20 to 40 % in 1/Z: who does not know it that well has not seen floor."""
    agreement = Agreement()
    drive(agreement, [1.0] * 5)
    found = {'ground_plane': TRUE, 'odometry': refused(1.0, sigma)}
    given = driven_on(agreement, found, 0.5, 0.2)
    assert given[0] is TRUE
    assert isinstance(given[-1], Refusal)


def test_one_agreement_near_a_contradiction_is_believed_for_a_creep_only():
    """An edge: floor and odometry contradict each other, then one frame agrees by chance."""
    for agreements, believed in ((1, False), (3, True)):
        agreement = Agreement()
        drive(agreement, [1.0] * 5)
        for number in range(12):
            agreement.update(10 + 0.2 * number, both(1.5), D, moved(0.05 * number))
        turned = moved(0.6, 0.6)
        for number in range(agreements):
            agreement.update(30 + 0.2 * number, both(1.0), D, turned)
        silent = {'ground_plane': TRUE, 'odometry': Refusal('too few corners')}
        ahead = turned.copy()
        ahead[:3, 3] += 0.2 * turned[:3, 0]
        assert (agreement.update(32.0, silent, D, ahead) is TRUE) == believed


def test_a_floor_that_comes_back_out_of_nothing_is_not_believed():
    """The top of a step, when its front has passed below the picture."""
    agreement = Agreement()
    drive(agreement, [1.0] * 5)
    silent = {'ground_plane': NO_FLOOR, 'odometry': refused(1.0, 0.2)}
    driven_on(agreement, silent, 0.4, 0.2)
    top = {'ground_plane': TRUE, 'odometry': Refusal('nearer is not larger')}
    assert isinstance(agreement.update(20.0, top, D, moved(0.65)), Refusal)


# --- What is not valid.


@pytest.mark.parametrize(
    'bad',
    [
        ScaleShift(math.nan, 0.0, 'odometry'),
        ScaleShift(SCALE, math.inf, 'odometry'),
        ScaleShift(-SCALE, SHIFT, 'odometry'),
        dataclasses.replace(TRUE, covariance=(math.nan, 0.0, 0.0)),
        dataclasses.replace(TRUE, covariance=(1e-4, 1.0, 1e-4)),
        dataclasses.replace(TRUE, covariance=(-1e-4, 0.0, 1e-4)),
    ],
)
def test_a_source_that_says_nothing_valid_counts_as_silent(bad):
    agreement = Agreement()
    assert agreement.update(0.0, {'ground_plane': TRUE, 'odometry': bad}, D, HERE) is TRUE
    assert agreement.values()['says the odometry'].startswith('nothing: ')
    refused = agreement.update(0.1, {'ground_plane': NO_FLOOR, 'odometry': bad}, D, HERE)
    assert isinstance(refused, Refusal)


def test_who_is_too_uncertain_for_metres_may_still_contradict():
    unsure = {'ground_plane': TRUE, 'odometry': times(1.25, sigma=0.3)}
    assert agreement_of(unsure) is TRUE
    wrong = {'ground_plane': TRUE, 'odometry': times(3.0, sigma=0.3)}
    assert isinstance(agreement_of(wrong), Refusal)
    alone = agreement_of({'ground_plane': NO_FLOOR, 'odometry': times(1.0, sigma=0.3)})
    assert alone.reason.endswith('the odometry: its metres are uncertain by 30% (1 sigma)')


@pytest.mark.parametrize('share', [0.5, 0.97, 1.0])
def test_unknown_depth_leaves_what_is_known(share):
    holes = D.copy()
    holes[np.random.default_rng(2).random(D.shape) < share] = np.nan
    agreement = Agreement()
    given = agreement.update(0.0, both(1.3), holes, HERE)
    assert isinstance(given, Refusal)
    if share < 1:
        assert 'the floor says' in given.reason
        assert isinstance(agreement.update(0.1, both(1.02), holes, HERE), ScaleShift)
    else:
        assert 'cannot be compared' in given.reason
        assert isinstance(agreement.update(0.1, both(1.0), holes, HERE), Refusal)


def test_what_one_calls_near_and_the_other_infinite_is_a_contradiction():
    behind = ScaleShift(SCALE, SHIFT - 1.5, 'odometry')
    refused = agreement_of({'ground_plane': TRUE, 'odometry': behind})
    assert 'more than 50 m' in refused.reason


def test_a_pose_that_is_none_is_not_used():
    agreement = Agreement()
    bad = np.full((4, 4), np.nan)
    for i in range(5):
        agreement.update(i / 10, both(1.3), D, bad)
    assert isinstance(agreement.update(1.0, FLOOR_ALONE, D, bad), Refusal)


def test_time_that_goes_back_begins_anew():
    agreement = Agreement()
    drive(agreement, [1.3] * 5, start_s=100.0)
    assert agreement.update(3.0, FLOOR_ALONE, D, HERE) is TRUE


def test_in_a_new_fixed_frame_it_is_held_by_time():
    """Two metres from where it was found mean nothing after odometry began anew."""
    agreement = Agreement()
    drive(agreement, [1.3] * 5)
    agreement.forget_places()
    assert isinstance(agreement.update(1.0, FLOOR_ALONE, D, moved(50.0)), Refusal)
    assert agreement.update(40.0, FLOOR_ALONE, D, moved(50.0)) is TRUE


def test_the_page_names_the_limits_of_the_code():
    page = (Path(__file__).parents[2] / 'docs' / 'metres.md').read_text().replace('\n', ' ')
    percent = [f'{math.exp(each) - 1:.0%}'.replace('%', ' %') for each in LIMITS]
    assert percent == ['10 %', '15 %', '20 %', '20 %', '35 %']
    assert f'at least by {percent[1]} and at most by {percent[2]}' in page
    assert f'a single place by more ({percent[3][:-2]} to {percent[4]})' in page
    assert f'at least by {percent[0]} and at most by {percent[1]}' in page
    assert f'the median of the last {limits.REMEMBERED} comparisons' in page
    assert f'moved {limits.MOVED_M:g} m or turned {math.degrees(limits.TURNED_RAD):.0f} deg' in page
    assert f'it is held for {limits.HELD_S:g} s' in page
    assert f'uncertain by more than {limits.TOO_UNCERTAIN:.0%}'.replace('%', ' %') in page
    assert f'for {trust.FLOOR_ALONE_M:g} m of the way since' in page
    assert round(1 / trust.WITNESSED_SHARE) == 10  # "ten times as long"
    assert f'for {trust.ODOMETRY_ALONE_M:g} m and {trust.ODOMETRY_ALONE_S:g} s' in page


def test_the_same_frames_give_the_same():
    factors = np.exp(np.random.default_rng(3).normal(0, 0.08, 60))
    assert drive(Agreement(), factors) == drive(Agreement(), factors)


def test_the_diagnostics_name_what_each_says():
    agreement = Agreement()
    agreement.update(0.0, both(1.05, sigma=0.02), D, HERE)
    values = agreement.values()
    assert values['sources'] == 'ground+odometry agree'
    assert re.fullmatch(r'\d\.\d\d m', values['says the floor'])
    assert re.fullmatch(r'\d\.\d\d m \+- \d%', values['says the odometry'])
    assert float(values['the floor by the odometry']) == pytest.approx(1 / 1.05, abs=0.005)


# --- Real views that deceive the floor.

CAMERA = CameraModel.from_field_of_view(128, 96, 1.2)
MOUNT = CameraMount(0.3, 0.12)
GRID = CAMERA.normalised_grid()
ROOM = Room(x_min_m=-3.0, x_max_m=9.0, y_min_m=-2.0, y_max_m=2.0, height_m=2.5)


def seen(pitch_rad: float = MOUNT.pitch_rad, height_m: float = MOUNT.height_m, box=None):
    """Relative inverse depth of a room, from this pitch and height."""
    solids = () if box is None else (box,)
    pose = Pose(z_m=height_m, pitch_rad=pitch_rad)
    depth_z = render(Scene(room=ROOM, solids=solids), CAMERA, pose).depth_z
    return ((1 / depth_z - SHIFT) / SCALE).astype(np.float32)


EXACT = ScaleShift(SCALE, SHIFT, 'odometry', points=80)  # parallax sees what is there


def test_a_flat_floor_agrees():
    d = seen(box=Box(x_m=2.0, y_m=0.3, length_m=0.4, width_m=0.4, height_m=0.5))
    floor = fit_ground_plane(d, GRID, MOUNT)
    found = Agreement().update(0.0, {'ground_plane': floor, 'odometry': EXACT}, d, HERE)
    assert found.source == 'ground+odometry'
    near = (1 / EXACT.inverse_depth(d)) < 4
    assert np.abs(found.depth(d) * EXACT.inverse_depth(d) - 1)[near].max() < 0.03


@pytest.mark.parametrize(
    'view',
    [
        {'height_m': 0.22},  # the robot's wheels stand on a step, or the floor is nearer
        {'height_m': 0.4},  # a step down right at the robot's feet
        {'pitch_rad': MOUNT.pitch_rad + 0.1},  # a ramp up ahead, as steep as that
        {'pitch_rad': MOUNT.pitch_rad - 0.09},  # and one down
    ],
)
def test_a_step_or_a_ramp_that_deceives_the_floor_is_refused(view):
    d = seen(**view)
    floor = fit_ground_plane(d, GRID, MOUNT)
    agreement = Agreement()
    for i in range(10):
        found = {'ground_plane': floor, 'odometry': EXACT}
        given = agreement.update(i / 10, found, d, moved(0.03 * i))
        if isinstance(floor, Refusal):  # nor may the odometry speak, which nothing has confirmed
            assert 'the odometry has not been confirmed by the floor yet' in given.reason
        else:
            assert isinstance(given, Refusal)
            assert 'a ramp or a step' in given.reason


def test_what_was_said_can_be_asked_for_while_a_frame_is_judged():
    """Diagnostics do so in another thread: an exception there would end the node."""
    agreement = Agreement()

    class Judged:
        @property
        def ratio(self) -> float:
            agreement._pairs.setdefault(('model', 'odometry'), self)
            return 1.0

    agreement._pairs[('ground_plane', 'odometry')] = Judged()
    assert agreement.values()['the floor by the odometry'] == '1.000'


def test_the_residual_of_the_floor_is_not_replaced_by_that_of_corners():
    """What stands out of the floor by less is floor: corners scatter for reasons of their own."""
    knots = tuple((d, SCALE * d + SHIFT) for d in (0.1, 1.0, 2.0))
    curved = dataclasses.replace(times(1.0, sigma=0.01), curve=knots, residual=0.3)
    found = {'ground_plane': times(1.0, 'ground', sigma=0.1), 'odometry': curved}
    agreed = agreement_of(found)
    assert agreed.source == 'ground+odometry'
    assert agreed.curve == knots
    assert agreed.residual == agreed.floor_residual == 0.02


@pytest.mark.parametrize('order', [('odometry', 'marker'), ('marker', 'odometry')])
def test_a_curve_of_the_less_certain_source_does_not_stay(order):
    """Scale and shift are then those of the most certain source, and so is its lack of a curve."""
    knots = tuple((float(d), 1.09 * float(d)) for d in np.linspace(0.1, 1.0, 8))
    fits = {
        'odometry': ScaleShift(1.09, 0.0, 'odometry', covariance=(0.01, 0.0, 1e-6), curve=knots),
        'marker': ScaleShift(1.0, 0.0, 'reference', covariance=(0.0004, 0.0, 1e-6)),
    }
    found = limits.combined({name: fits[name] for name in order}, np.linspace(0.1, 1.0, 9))
    assert found.inverse_depth(np.array([0.5]))[0] == pytest.approx(0.5)
