"""Scale by the robot's own motion: right where it says something, a reason where it cannot."""

from __future__ import annotations

import dataclasses
import functools
import math

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midas_depth_ros.geometry import CameraModel, ParallaxScale, Refusal, ScaleFilter, ScaleShift
from midas_depth_ros.sim import Box, Material, Pose, Room, Scene, Sphere, render

CAMERA = CameraModel.from_field_of_view(320, 240, 1.2)
LENS = dataclasses.replace(
    CAMERA, distortion_model='plumb_bob', distortion=(-0.28, 0.09, 0.001, -0.0005, 0.0)
)
PLANKS = Material((0.8, 0.58, 0.38), 'planks', (3.0, 1.5))
BRICKS = Material((0.8, 0.62, 0.52), 'bricks', (1.0, 1.0))
CARTON = Material((0.78, 0.57, 0.37), 'carton', (0.45, 0.45))
STEP_M, DT_S = 0.08, 0.2  # 0.4 m/s at 5 Hz
SCALE, SHIFT = 80.0, 3.0  # of relative inverse depth per 1/Z


def room(*more: object) -> Scene:
    walls = Room(-1.0, 8.0, -2.5, 2.5, 2.5, BRICKS)
    things = (
        Box(3.0, 0.9, 0.5, 0.5, 0.6, material=CARTON),
        Box(4.0, -1.0, 0.6, 0.5, 0.8, material=CARTON),
        Box(2.2, -0.7, 0.3, 0.3, 0.35, material=CARTON),
        Sphere(5.0, 0.3, 0.3, 0.3, CARTON),
        *more,
    )
    return Scene(PLANKS, walls, things, seed=3)


@functools.lru_cache(maxsize=512)
def view(pose: Pose, camera: CameraModel = CAMERA, mover_x: float = math.nan):
    """Return a grey picture and 1/Z from a pose; with a box in the way if mover_x is given."""
    more = ()
    if not math.isnan(mover_x):
        more = (Box(mover_x, 0.45, 0.3, 1.1, 1.4, material=BRICKS),)
    seen = render(room(*more), camera, pose)
    return cv2.cvtColor(seen.rgb, cv2.COLOR_RGB2GRAY), 1 / seen.depth_z


def matrix(pose: Pose) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = pose.optical_axes, pose.position
    return result


def along(count: int, step_m: float = STEP_M, turn_rad: float = 0.0, pitch_rad: float = 0.2):
    """Return poses of a robot that drives forward, turning by an angle at each step."""
    poses, x, y, yaw = [], 0.0, 0.0, 0.0
    for _ in range(count):
        poses.append(Pose(x, y, 0.35, yaw, pitch_rad))
        x += step_m * math.cos(yaw + 0.5 * turn_rad)
        y += step_m * math.sin(yaw + 0.5 * turn_rad)
        yaw += turn_rad
    return poses


def driven(poses, told=None, camera=CAMERA, scale=None, dt_s=DT_S, pictures=None):
    """Return what is said of each frame, with exact d; told: the poses by odometry."""
    scale = scale or ParallaxScale()
    found = []
    for index, pose in enumerate(poses):
        grey, inverse = pictures[index] if pictures else view(pose, camera)
        d = (SCALE * inverse + SHIFT).astype(np.float32)
        by = matrix(pose) if told is None else told[index]
        found.append(scale.update(index * dt_s, grey, d, camera, by))
    return found


def factors(found) -> list[float]:
    """By which factor metres at 1.5 m are too long, of the frames with a scale."""
    inverse = 1 / 1.5
    return [
        inverse / (fit.scale * (SCALE * inverse + SHIFT) + fit.shift)
        for fit in found
        if isinstance(fit, ScaleShift)
    ]


def reasons(found) -> str:
    return '\n'.join(fit.reason for fit in found if isinstance(fit, Refusal))


@pytest.mark.parametrize('turn_rad', [0.0, 0.05, -0.08])
def test_scale_is_right_with_exact_depth(turn_rad):
    found = driven(along(10, turn_rad=turn_rad))
    right = factors(found)
    assert len(right) >= 7, reasons(found)
    assert abs(np.median(right) - 1) < 0.02
    assert max(abs(each - 1) for each in right) < 0.06


@pytest.mark.parametrize('share', [1e-5, 1e-4, 1e-3])
def test_a_calibration_that_is_corrected_with_every_picture_is_that_of_one_camera(share):
    scale, found = ParallaxScale(), []
    for index, pose in enumerate(along(10)):
        grey, inverse = view(pose, CAMERA)
        by = 1 + share * (index % 7)
        camera = dataclasses.replace(CAMERA, fx=CAMERA.fx * by, fy=CAMERA.fy * by)
        d = (SCALE * inverse + SHIFT).astype(np.float32)
        found.append(scale.update(index * DT_S, grey, d, camera, matrix(pose)))
    right = factors(found)
    assert len(right) >= 7, reasons(found)
    assert max(abs(each - 1) for each in right) < 0.06


def test_another_camera_begins_anew():
    scale = ParallaxScale()
    assert factors(driven(along(6), scale=scale))
    other = dataclasses.replace(CAMERA, fx=1.05 * CAMERA.fx, fy=1.05 * CAMERA.fy)
    grey, inverse = view(along(7)[-1], CAMERA)
    said = scale.update(
        6 * DT_S, grey, (SCALE * inverse).astype(np.float32), other, matrix(along(7)[-1])
    )
    assert isinstance(said, Refusal)


@pytest.mark.parametrize('filtered', [False, True])
def test_a_curve_moves_with_the_line_that_is_averaged(filtered):
    """It still rises, and at its ends it is on the line."""
    scale, over_time, curves = ParallaxScale(), ScaleFilter(0.3, 1.0), 0
    for index, pose in enumerate(along(14)):
        grey, inverse = view(pose, CAMERA)
        by, more = 1 + 0.04 * (index % 2), 2 * (index % 2)  # a network's changes
        d = (by * (SCALE * inverse**1.3 + SHIFT) + more).astype(np.float32)
        fit = scale.update(index * DT_S, grey, d, CAMERA, matrix(pose), 'spline')
        if filtered:
            fit = over_time.update(index * DT_S, fit)
        if not isinstance(fit, ScaleShift) or not fit.curve:
            continue
        curves += 1
        rising = fit.inverse_depth(np.linspace(d.min(), d.max(), 4000, dtype=np.float32))
        assert np.diff(rising).min() > -1e-6
        for at, height in (fit.curve[0], fit.curve[-1]):
            assert height == pytest.approx(fit.scale * at + fit.shift, abs=2e-3)
    assert curves > 5


def test_scale_is_right_at_thirty_pictures_a_second():
    right = factors(driven(along(50, step_m=0.0133), dt_s=1 / 30))
    assert len(right) > 40
    assert max(abs(each - 1) for each in right) < 0.07  # from 5 cm of way on
    assert max(abs(each - 1) for each in right[-16:]) < 0.02  # after half a metre


def test_a_lens_is_undistorted():
    right = factors(driven(along(10), camera=LENS))
    assert len(right) >= 6
    assert abs(np.median(right) - 1) < 0.025


@pytest.mark.parametrize('turn_rad', [0.0, 0.05])
@pytest.mark.parametrize(('side', 'fov_deg', 'least'), [((320, 320), 170, 2), ((320, 240), 190, 0)])
def test_pixels_without_a_ray_around_a_fisheyes_circle_spoil_nothing(
    side, fov_deg, least, turn_rad, capfd
):
    focal = side[0] / math.radians(fov_deg)
    middle = (side[0] - 1) / 2, (side[1] - 1) / 2
    lens = CameraModel(*side, focal, focal, *middle, 'equidistant', (0.0,) * 4)
    found = driven(along(14, turn_rad=turn_rad), camera=lens)
    assert 'no solution' not in reasons(found)
    assert 'nan' not in reasons(found)
    assert len(factors(found)) >= least, reasons(found)
    assert all(abs(each - 1) < 0.06 for each in factors(found))
    assert not capfd.readouterr().err  # of the linear algebra


def test_covariance_is_given_and_believable():
    fits = [fit for fit in driven(along(10)) if isinstance(fit, ScaleShift)]
    for fit in fits:
        ss, st_, tt = fit.covariance
        assert fit.source == 'odometry'
        assert min(ss, tt) > 0
        assert st_ * st_ <= ss * tt * (1 + 1e-9)
        d = SCALE / 1.5 + SHIFT
        sigma = math.sqrt(d * d * ss + 2 * d * st_ + tt)
        assert 0.005 < sigma * 1.5 < 0.3


def test_slip_is_invisible_and_scales_everything():
    poses = along(10)
    told = [matrix(dataclasses.replace(pose, x_m=1.2 * pose.x_m)) for pose in poses]
    # Wheels that slip by 20 %: the way by odometry is 1.2 times the true one.
    assert np.median(factors(driven(poses, told))) == pytest.approx(1.2, abs=0.03)


def test_standing_is_refused_from_the_start_and_after_a_drive():
    still = driven([along(1)[0]] * 8)
    assert not factors(still)
    assert 'stands' in still[-1].reason
    poses = along(8)
    after = driven(poses + [poses[-1]] * 8)
    assert factors(after)
    assert isinstance(after[-1], Refusal)
    assert 'stands' in after[-1].reason


def test_turning_on_the_spot_is_refused():
    found = driven(along(12, step_m=0.0, turn_rad=0.06))
    assert not factors(found)
    assert 'turns on the spot' in found[-1].reason


def test_wheels_that_spin_on_the_spot_give_no_metres():
    poses = along(10)
    found = driven([poses[0]] * 10, told=[matrix(pose) for pose in poses])
    assert not factors(found)
    assert 'parallax' in found[-1].reason


@pytest.mark.parametrize('degrees', [90.0, -60.0, 35.0])
def test_pictures_that_move_in_another_direction_are_refused(degrees):
    poses = along(10)
    angle = math.radians(degrees)
    told = []
    for pose in poses:
        by = matrix(pose)
        by[:2, 3] = pose.x_m * math.cos(angle), pose.x_m * math.sin(angle)
        told.append(by)
    found = driven(poses, told)
    assert len(factors(found)) <= 1
    assert 'otherwise than odometry' in reasons(found)


def test_pictures_that_do_not_turn_are_refused_where_odometry_turns():
    poses = along(10)
    told = [matrix(dataclasses.replace(p, yaw_rad=0.12 * i)) for i, p in enumerate(poses)]
    found = driven(poses, told)
    wrong = [each for each in factors(found) if abs(each - 1) > 0.15]
    assert not wrong
    assert 'otherwise than odometry' in reasons(found)


def test_too_short_a_way_is_refused_with_its_figures():
    found = driven(along(6, step_m=0.004), dt_s=0.05)
    assert not factors(found)
    assert 'min_baseline' in found[-1].reason


def test_a_plain_wall_gives_no_metres():
    plain = np.full((240, 320), 127, np.uint8)
    pictures = [(plain, np.full((240, 320), 0.5, np.float32))] * 8
    found = driven(along(8), pictures=pictures)
    assert not factors(found)


def test_a_mover_across_a_third_of_the_picture_does_not_move_the_scale():
    poses = along(10)
    pictures = [view(pose, mover_x=1.6 + 0.12 * i) for i, pose in enumerate(poses)]
    share = np.mean(np.abs(pictures[4][1] - view(poses[4])[1]) > 0.02)
    assert share > 0.25
    right = factors(driven(poses, pictures=pictures))
    assert all(abs(each - 1) < 0.1 for each in right)


def test_a_reflection_does_not_move_the_scale():
    poses = along(10)
    pictures = []
    for pose in poses:
        grey, inverse = view(pose)
        glossy = grey.copy()
        low = slice(150, 240)
        # A floor like a mirror: the picture above, upside down, over the planks.
        mirrored = grey[240 - 150 - 90 : 240 - 150][::-1]
        glossy[low] = cv2.addWeighted(grey[low], 0.6, mirrored, 0.4, 0)
        pictures.append((glossy, inverse))
    right = factors(driven(poses, pictures=pictures))
    assert all(abs(each - 1) < 0.12 for each in right)


def test_blurred_pictures_do_not_move_the_scale():
    poses = along(10)
    kernel = np.zeros((9, 9), np.float32)
    kernel[4] = 1 / 9
    pictures = [(cv2.filter2D(view(pose)[0], -1, kernel), view(pose)[1]) for pose in poses]
    right = factors(driven(poses, pictures=pictures))
    assert all(abs(each - 1) < 0.1 for each in right)


def test_the_same_drive_gives_the_same_answers():
    assert driven(along(7)) == driven(along(7))


def test_a_reset_forgets():
    scale = ParallaxScale()
    first = driven(along(7), scale=scale)
    scale.reset()
    assert scale.heading is None
    assert driven(along(7), scale=scale) == first


def test_a_jump_of_the_pose_starts_anew():
    poses = along(12)
    told = [matrix(pose) for pose in poses]
    for by in told[6:]:
        by[:3, 3] += (30.0, 5.0, 0.0)
    found = driven(poses, told)
    assert 'jumped' in found[6].reason
    assert all(abs(each - 1) < 0.06 for each in factors(found[7:]))
    assert factors(found[7:])


def test_unknown_poses_and_pictures_are_refused_with_a_reason():
    scale = ParallaxScale()
    grey, inverse = view(along(1)[0])
    d = (SCALE * inverse + SHIFT).astype(np.float32)
    pose = matrix(along(1)[0])
    bad = np.full((4, 4), np.nan)
    assert scale.update(0.0, grey, d, CAMERA, Refusal('no odometry')) == Refusal('no odometry')
    assert 'rigid' in scale.update(0.1, grey, d, CAMERA, bad).reason
    assert 'no valid' in scale.update(0.2, grey, np.full_like(d, np.nan), CAMERA, pose).reason
    small = scale.update(0.3, grey[:100], d, CAMERA, pose)
    assert 'calibration for 320x240' in small.reason
    scale.update(0.4, grey, d, CAMERA, pose)
    assert 'went back' in scale.update(0.2, grey, d, CAMERA, pose).reason


def test_a_changed_size_of_the_pictures_starts_anew():
    scale = ParallaxScale()
    driven(along(6), scale=scale)
    large = CAMERA.scaled(640, 480)
    found = []
    for index, pose in enumerate(along(12)[6:]):
        seen = render(room(), large, pose)
        d = (SCALE / seen.depth_z + SHIFT).astype(np.float32)
        grey = cv2.cvtColor(seen.rgb, cv2.COLOR_RGB2GRAY)
        found.append(scale.update((6 + index) * DT_S, grey, d, large, matrix(pose)))
    assert isinstance(found[0], Refusal)
    assert all(abs(each - 1) < 0.06 for each in factors(found))
    assert factors(found)


def test_heading_shows_how_the_camera_is_placed():
    for pitch_rad in (0.2, 0.05):
        scale = ParallaxScale()
        driven(along(45, step_m=0.05, pitch_rad=pitch_rad), scale=scale, dt_s=0.1)
        heading = scale.heading
        assert heading is not None
        assert heading.pitch_rad == pytest.approx(pitch_rad, abs=math.radians(0.3))
        assert heading.yaw_rad == pytest.approx(0.0, abs=math.radians(0.5))
        assert 0 < heading.sigma_rad < math.radians(1.0)
        assert math.isnan(heading.roll_rad)


def test_heading_does_not_need_the_right_pitch():
    """Odometry places the camera with a pitch that is wrong by 3 degrees."""
    scale = ParallaxScale()
    poses = along(45, step_m=0.05)
    told = [matrix(dataclasses.replace(p, pitch_rad=0.2 - math.radians(3))) for p in poses]
    found = driven(poses, told, scale=scale, dt_s=0.1)
    assert scale.heading.pitch_rad == pytest.approx(0.2, abs=math.radians(0.8))
    assert abs(np.median(factors(found)) - 1) < 0.05


def test_values_name_what_was_seen():
    scale = ParallaxScale()
    driven(along(6), scale=scale)
    values = scale.values()
    assert values['odometry scale'] == 'valid'
    assert {'baseline', 'direction error', 'anchors', 'corners'} <= set(values)


def test_a_spline_follows_what_a_line_cannot():
    scale = ParallaxScale()
    found = None
    for index, pose in enumerate(along(10)):
        grey, inverse = view(pose)
        d = (100 * inverse**0.6).astype(np.float32)
        found = scale.update(index * DT_S, grey, d, CAMERA, matrix(pose), shape='spline')
    assert isinstance(found, ScaleShift)
    assert len(found.curve) >= 4
    values, heights = np.array(found.curve).T
    assert (np.diff(values) > 0).all()
    assert (np.diff(heights) >= 0).all()
    true = (values / 100) ** (1 / 0.6)
    middle = slice(1, -1)
    assert np.abs(heights[middle] / true[middle] - 1).mean() < 0.1


# --- A focal length that the pictures contradict: corrected in a hand, never on wheels.


def in_a_hand(count: int) -> list[Pose]:
    """Return poses that sway sideways, up and down, and turn about all axes."""
    return [
        Pose(
            0.3 + 0.01 * i,
            0.35 * math.sin(0.21 * i),
            0.6 + 0.12 * math.sin(0.17 * i),
            0.3 * math.sin(0.23 * i + 1),
            0.15 + 0.2 * math.sin(0.19 * i),
            0.15 * math.sin(0.29 * i),
        )
        for i in range(count)
    ]


def calibrated(poses: list[Pose], factor: float):
    """Return what is said of frames whose camera is calibrated `1 / factor` times too long."""
    scale = ParallaxScale()
    told = dataclasses.replace(CAMERA, fx=CAMERA.fx / factor, fy=CAMERA.fy / factor)

    class Wrongly(ParallaxScale):
        def update(self, stamp_s, grey, d, camera, pose, shape='affine'):
            return scale.update(stamp_s, grey, d, told, pose, shape)

    return driven(poses, scale=Wrongly(), dt_s=0.1), scale


@pytest.mark.parametrize('wrong', [0.88, 0.9, 1.12])
def test_a_wrong_focal_length_is_found_and_corrected_in_a_hand(wrong):
    """After a second it is known or doubted: no metres that are wrong by it are given any more."""
    found, scale = calibrated(in_a_hand(60), wrong)
    said = scale.values()['focal length by motion']
    assert 'corrected' in said
    assert float(said.split()[0]) == pytest.approx(wrong, rel=0.03)
    assert len(factors(found[30:])) > 20, reasons(found)
    assert max(abs(each - 1) for each in factors(found[10:])) < 0.1
    assert max(abs(each - 1) for each in factors(found[40:])) < 0.03
    assert 'calibrated focal length' in reasons(found)
    doubted = [i for i, fit in enumerate(found) if 'focal' in getattr(fit, 'reason', '')]
    known = factors(found[max(doubted) + 1 :])  # no picture is half by one, half by the other
    assert max(abs(each - 1) for each in known) < 0.05


def test_a_hand_that_turns_about_one_axis_moves_along_it():
    poses = [dataclasses.replace(p, pitch_rad=0.15, roll_rad=0.0) for p in in_a_hand(60)]
    found, scale = calibrated(poses, 0.88)
    assert float(scale.values()['focal length by motion'].split()[0]) == pytest.approx(
        0.88, abs=0.03
    )
    assert max(abs(each - 1) for each in factors(found[40:])) < 0.05


def test_a_right_focal_length_stays():
    found, scale = calibrated(in_a_hand(60), 1.0)
    said = scale.values()['focal length by motion']
    assert 'corrected' not in said
    assert float(said.split()[0]) == pytest.approx(1, abs=0.015)
    assert abs(np.median(factors(found)) - 1) < 0.015
    assert not [fit for fit in found if isinstance(fit, Refusal) and 'focal' in fit.reason]


@pytest.mark.parametrize('turn_rad', [0.1, -0.06])
def test_wheels_whose_turns_are_too_large_correct_nothing(turn_rad):
    scale = ParallaxScale()
    poses = along(24, step_m=0.05, turn_rad=turn_rad)
    told = along(24, step_m=0.05, turn_rad=1.08 * turn_rad)
    by = []
    for pose, other in zip(poses, told, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = other.optical_axes, pose.position
        by.append(matrix)
    driven(poses, told=by, scale=scale)
    assert 'corrected' not in scale.values().get('focal length by motion', '')


def test_wheels_on_bumps_correct_nothing():
    """Odometry that sees the bumps, and turns that are 8 % too large."""
    scale = ParallaxScale()
    poses = along(24, step_m=0.05, turn_rad=0.08)
    bumps = 0.2 + np.radians(0.7) * np.sin(2.1 * np.arange(24))
    poses = [dataclasses.replace(p, pitch_rad=float(b)) for p, b in zip(poses, bumps, strict=True)]
    told = [matrix(dataclasses.replace(p, yaw_rad=1.08 * p.yaw_rad)) for p in poses]
    for by, pose in zip(told, poses, strict=True):
        by[:3, 3] = pose.position
    found = driven(poses, told=told, scale=scale)
    assert 'corrected' not in scale.values().get('focal length by motion', '')
    assert 'focal' not in reasons(found)


POSES = st.one_of(
    st.just('drive'), st.just('nan'), st.just('jump'), st.just('flip'), st.just('refusal')
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(POSES, st.integers(0, 6), st.floats(-0.2, 0.5)), min_size=2, max_size=10),
    st.integers(0, 2**31),
)
def test_nothing_raises(frames, seed):
    rng = np.random.default_rng(seed)
    scale, stamp = ParallaxScale(), 0.0
    camera = CAMERA.scaled(160, 120)
    for index, (kind, picture, dt) in enumerate(frames):
        stamp += dt
        pose = matrix(Pose(0.08 * index, 0.0, 0.35, 0.02 * index, 0.2))
        by = {
            'nan': np.full((4, 4), np.nan), 'flip': np.diag([-1.0, 1.0, 1.0, 1.0]),
            'refusal': Refusal('silent'), 'jump': pose + 100 * np.eye(4)[:, ::-1] * (index % 2),
        }.get(kind, pose)  # fmt: skip
        grey = cv2.resize(view(Pose(0.08 * index, 0.0, 0.35, 0.0, 0.2))[0], (160, 120))
        d = rng.uniform(0, 100, (30, 40)).astype(np.float32)
        if picture == 1:
            grey = rng.integers(0, 255, (120, 160), np.uint8)
        elif picture == 2:
            grey = np.zeros((120, 160), np.uint8)
        elif picture == 3:
            grey = grey[:60]
        elif picture == 4:
            d[:] = np.nan
        elif picture == 5:
            d[rng.random(d.shape) < 0.5] = np.inf
        elif picture == 6:
            d[:] = 3.0
        found = scale.update(stamp, grey, d, camera, by)
        if isinstance(found, ScaleShift):
            assert found.scale > 0
            assert math.isfinite(found.shift)
            assert all(map(math.isfinite, found.covariance))
        else:
            assert found.reason
        scale.values()
