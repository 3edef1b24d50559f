"""Fusion over time: steadier where nothing moves, and never a ghost, a lag or a filled hole."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    DepthFusion,
    InvalidInverseDepth,
    MetricDepth,
    ScaleShift,
)
from midas_depth_ros.options.metric import FusionOptions, MetricOptions, ObstacleOptions
from midas_depth_ros.sim import Box, Material, Pose, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
GRID = CAMERA.normalised_grid()
ON = FusionOptions(enabled=True)
CRATE = Material((0.5, 0.35, 0.2), 'tiles', (0.1, 0.1))
WALL = Material((0.8, 0.75, 0.7), 'tiles', (0.25, 0.25))
HALL = Room(-2.0, 5.0, -2.0, 2.0, walls=WALL, ends=WALL)
NOISE = 0.03
PERIOD_S = 0.2


def seen(pose: Pose, *solids, room=HALL) -> tuple[np.ndarray, np.ndarray]:
    """1/Z and the grey picture of a hall, from a pose."""
    view = render(Scene(room=room, solids=solids), CAMERA, pose)
    return (1 / view.depth_z).astype(np.float32), cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY)


def matrix(pose: Pose) -> np.ndarray:
    """(4, 4) from the optical frame into the world."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = pose.optical_axes, pose.position
    return made


class Filmed:
    """A fusion that is given frame after frame; `known`: whether it is told the poses."""

    def __init__(self, known: bool = True, noise: float = 0.0, seed: int = 1) -> None:
        self.fusion, self.known, self.noise = DepthFusion(ON), known, noise
        self.rng = np.random.default_rng(seed)
        self.time_s = 100.0

    def add(self, pose: Pose, *solids, hide=None, grey=None, room=HALL) -> tuple[np.ndarray, ...]:
        """Fused, alone and true 1/Z of one frame."""
        true, picture = seen(pose, *solids, room=room)
        noise = self.rng.standard_normal(true.shape, np.float32)
        alone = true * (1 + np.float32(self.noise) * noise)
        if hide is not None:
            alone[hide] = np.nan
        self.time_s += PERIOD_S
        fused, self.sigma = self.fusion.update(
            self.time_s,
            alone.copy(),
            np.float32(0.1) * true,
            picture if grey is None else grey,
            GRID,
            matrix(pose) if self.known else None,
        )
        return fused, alone, true


def standing(x_m: float = 0.0, yaw_rad: float = 0.0) -> Pose:
    return Pose(x_m, 0.0, 0.3, yaw_rad, 0.1)


def noise_of(inverse: np.ndarray, true: np.ndarray) -> float:
    return float(np.median(np.abs(inverse / true - 1)))


# --- What must never happen.


@pytest.mark.parametrize('known', [True, False])
def test_what_is_not_seen_now_stays_unknown(known):
    film = Filmed(known)
    hide = np.s_[50:120, 100:180]
    for _ in range(5):
        film.add(standing())
    fused, _, true = film.add(standing(), hide=hide)
    assert np.isnan(fused[hide]).all()
    fused[hide] = true[hide]
    assert np.isfinite(fused).all()


@pytest.mark.parametrize('known', [True, False])
def test_a_hole_starts_anew(known):
    film = Filmed(known, NOISE)
    hide = np.s_[50:120, 100:180]
    for _ in range(5):
        film.add(standing())
    film.add(standing(), hide=hide)
    fused, alone, _ = film.add(standing())
    within = np.s_[52:118, 102:178]  # bilinear neighbours at the border do not count
    assert np.array_equal(fused[within], alone[within])


@pytest.mark.parametrize('known', [True, False])
def test_a_mover_leaves_no_ghost_and_is_never_farther_than_it_is(known):
    film = Filmed(known, 0.01)
    for _ in range(5):
        film.add(standing())
    before = None
    for step in range(13):
        box = Box(1.2, 0.45 - 0.07 * step, 0.3, 0.3, 0.5, material=CRATE)
        fused, alone, true = film.add(standing(), box)
        empty = seen(standing())[0]
        on_box = true > 1.05 * empty
        assert on_box.sum() > 500
        # The box is at its true distance at once, and not behind that of the frame alone.
        assert (fused[on_box] > alone[on_box] * (1 - 0.05)).all()
        assert np.quantile(np.abs(fused[on_box] / true[on_box] - 1), 0.99) < 0.04
        if before is not None:
            freed = before & ~on_box
            assert freed.sum() > 30
            assert (fused[freed] < 1.1 * empty[freed]).all()
        before = on_box


@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize('noise', [0.0, NOISE])
def test_a_wall_that_the_robot_drives_at_lags_less_than_a_frame(known, noise):
    film = Filmed(known, noise)
    ahead = np.s_[60:110, 90:166]
    last_m = math.inf
    for step in range(18):  # 1 m/s at 5 Hz, from 4.7 to 1.3 m before the wall
        fused, _, true = film.add(standing(0.3 + 0.2 * step))
        assert 1 / np.median(fused[ahead]) < last_m
        assert np.median(fused[ahead] / true[ahead]) == pytest.approx(1, abs=0.02)
        last_m = 1 / float(np.median(true[ahead]))


def test_without_known_motion_or_texture_a_wall_lags_less_than_a_frame():
    film = Filmed(known=False)
    plain = np.full(GRID[0].shape, 128, np.uint8)
    last = None
    for step in range(18):
        fused, _, true = film.add(standing(0.3 + 0.2 * step), grey=plain)
        if last is not None:
            wall = true > 1.001 * last  # the floor before a robot stays where it is
            assert wall[60:90, 90:166].all()
            assert (fused[wall] > last[wall]).all()
        last = true


@pytest.mark.parametrize('step', [0.93, 0.8, 0.5, 1.1, 1.3, 2.0])
def test_a_step_of_depth_is_taken_over_within_a_frame(step):
    film = Filmed()
    for _ in range(6):
        _, _, true = film.add(standing())
    _, grey = seen(standing())
    for _ in range(2):
        film.time_s += PERIOD_S
        fused, _ = film.fusion.update(
            film.time_s, true / np.float32(step), 0.1 * true, grey, GRID, matrix(standing())
        )
    assert np.median(fused * step / true) == pytest.approx(1, abs=0.05)
    assert np.abs(fused * step / true - 1).max() < 0.1


def test_what_comes_nearer_by_itself_lags_about_a_frame():
    film = Filmed(noise=0.01)
    for step in range(12):  # a front that fills the middle, at 1 m/s
        box = Box(4.0 - 0.2 * step, 0.0, 0.3, 1.5, 1.2, material=CRATE)
        fused, _, true = film.add(standing(), box)
        front = np.s_[70:100, 110:146]
        lag_m = 1 / np.median(fused[front]) - 1 / np.median(true[front])
        assert lag_m < 0.3 if step else lag_m < 0.05


@pytest.mark.parametrize('noise', [0.0, NOISE])
@pytest.mark.parametrize('step_m', [0.1, 0.2])
def test_odometry_that_wrongly_says_it_stands_does_not_hide_a_wall(noise, step_m):
    film = Filmed(noise=noise)
    for _ in range(5):
        film.add(standing(0.3))
    worst_m = 0.0
    for step in range(round(3.5 / step_m)):
        true, grey = seen(standing(0.3 + step_m * step))
        alone = true * (1 + np.float32(noise) * film.rng.standard_normal(true.shape, np.float32))
        film.time_s += PERIOD_S
        fused, _ = film.fusion.update(
            film.time_s, alone, 0.1 * true, grey, GRID, matrix(standing(0.3))
        )
        wall = np.s_[60:90, 100:156]
        worst_m = max(worst_m, 1 / float(np.median(fused[wall])) - 1 / float(np.median(true[wall])))
    assert worst_m < 0.2


# --- What it is for.


@pytest.mark.parametrize('known', [True, False])
def test_the_noise_of_what_stands_falls_to_a_third(known):
    film = Filmed(known, NOISE)
    for step in range(15):
        pose = standing(0.05 * step, 0.05 * math.sin(step))
        fused, alone, true = film.add(pose)
    assert film.fusion.motion == ('odometry' if known else 'flow')
    assert film.fusion.share_fused > 0.85
    edges = cv2.dilate(np.abs(cv2.Laplacian(true, cv2.CV_32F)), np.ones((5, 5))) > 0.02 * true
    inner = ~edges
    assert noise_of(fused[inner], true[inner]) < noise_of(alone[inner], true[inner]) / (
        2.5 if known else 2
    )


def test_a_turning_robot_smears_nothing():
    film = Filmed()
    for step in range(10):
        fused, _, true = film.add(standing(yaw_rad=0.15 * step))
    assert np.quantile(np.abs(fused / true - 1), 0.99) < 0.02
    assert film.fusion.share_fused > 0.7


@pytest.mark.parametrize(
    ('model', 'coefficients'),
    [
        ('plumb_bob', (-0.3, 0.08, 0.001, -0.001, 0.0)),
        ('equidistant', (0.02, -0.005, 0.0, 0.0)),
    ],
)
def test_a_distorted_lens_is_followed(model, coefficients):
    camera = CameraModel(256, 192, 150.0, 150.0, 127.5, 95.5, model, coefficients)
    grid = camera.normalised_grid()
    fusion = DepthFusion(ON)
    for step in range(6):
        pose = standing(yaw_rad=0.12 * step)
        view = render(Scene(room=HALL), camera, pose)
        true = (1 / view.depth_z).astype(np.float32)
        grey = cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY)
        fused, _ = fusion.update(step * PERIOD_S, true, 0.1 * true, grey, grid, matrix(pose))
    assert fusion.share_fused > 0.6
    assert np.nanquantile(np.abs(fused / true - 1), 0.99) < 0.02


def test_a_camera_without_calibration_is_followed_by_flow():
    fusion, rng = DepthFusion(ON), np.random.default_rng(2)
    for step in range(12):
        true, grey = seen(standing(0.04 * step))
        alone = (true * (1 + NOISE * rng.standard_normal(true.shape))).astype(np.float32)
        fused, _ = fusion.update(step * PERIOD_S, alone, 0.1 * true, grey, None, None)
    assert fusion.motion == 'flow'
    assert noise_of(fused, true) < 0.5 * noise_of(alone, true)


# --- When it starts anew.


def changed(film: Filmed, **changes) -> bool:
    """Whether a frame with these changes is fused at all."""
    true, grey = seen(standing())
    frame = {
        'stamp_s': film.time_s + PERIOD_S,
        'inverse': true,
        'sigma': 0.1 * true,
        'grey': grey,
        'grid': GRID,
        'pose': matrix(standing()),
        **changes,
    }
    film.fusion.update(**frame)
    return film.fusion.share_fused > 0


@pytest.fixture
def film() -> Filmed:
    made = Filmed()
    for _ in range(3):
        made.add(standing())
    return made


def test_an_unchanged_frame_is_fused(film):
    assert changed(film)


def test_time_that_goes_back_or_stands_still_starts_anew(film):
    assert not changed(film, stamp_s=film.time_s)
    assert not changed(film, stamp_s=film.time_s - 1)


def test_a_long_pause_starts_anew(film):
    assert not changed(film, stamp_s=film.time_s + 10)


def test_odometry_that_jumps_starts_anew(film):
    assert not changed(film, pose=matrix(standing(3.0)))
    assert film.fusion.motion == 'none: the odometry has jumped'


def test_another_size_starts_anew(film):
    camera = CAMERA.scaled(128, 96)
    true = (1 / render(Scene(room=HALL), camera, standing()).depth_z).astype(np.float32)
    grey = np.zeros((96, 128), np.uint8)
    assert not changed(film, inverse=true, sigma=true, grey=grey, grid=camera.normalised_grid())


def test_after_a_reset_the_frame_stands_alone(film):
    film.fusion.reset()
    assert not changed(film)


def test_pictures_that_fit_no_motion_start_anew(film):
    grey = np.random.default_rng(3).integers(0, 255, GRID[0].shape, np.uint8)
    assert not changed(film, pose=None, grey=grey)
    assert film.fusion.motion.startswith('unknown')
    assert film.fusion.share_anew == 1.0


def test_poses_that_are_not_numbers_are_unknown(film):
    assert changed(film, pose=np.full((4, 4), np.nan))
    assert film.fusion.motion == 'flow'


def test_depth_that_is_none_is_left_as_it_is(film):
    true, _ = seen(standing())
    true[:40] = 0.0
    true[40:50] = -0.3
    assert changed(film, inverse=true)
    fused, _ = film.fusion.update(
        film.time_s + 2 * PERIOD_S, true, np.abs(true) + 0.1, np.zeros(true.shape, np.uint8), GRID,
        matrix(standing()),
    )  # fmt: skip
    assert np.array_equal(fused[:50], true[:50])


@pytest.mark.parametrize('name', ['sigma', 'grey', 'grid'])
def test_arrays_of_other_sizes_are_refused_by_name(film, name):
    small = np.zeros((96, 128), np.float32)
    with pytest.raises(InvalidInverseDepth, match=name):
        changed(film, **{name: (small, small) if name == 'grid' else small})


# --- The deviation.


def test_the_deviation_does_not_shrink_by_averaging_and_grows_where_frames_disagree():
    film = Filmed(noise=0.0)
    for _ in range(10):
        film.add(standing())
    _, _, true = film.add(standing())
    assert np.quantile(film.sigma / (0.1 * true), 0.01) > 0.99
    film = Filmed(noise=0.04)
    for _ in range(10):
        film.add(standing())
    assert np.median(film.sigma / (0.1 * true)) > 1.01


# --- In MetricDepth.


def frames(options: MetricOptions, rng: np.random.Generator, count: int = 6):
    metric, mount = MetricDepth(), CameraMount(0.3, 0.1)
    true, grey = seen(standing(), Box(1.5, 0.0, 0.3, 0.3, 0.4))
    made = []
    for step in range(count):
        d = (true * (1 + 0.02 * rng.standard_normal(true.shape))).astype(np.float32)
        fit = ScaleShift(1.0, 0.0, residual=0.01)
        made.append(
            metric.update(step * PERIOD_S, d, GRID, mount, fit, options, grey, matrix(standing()))
        )
    return made, true


def test_depth_and_obstacles_in_metres_are_the_fused_ones():
    options = MetricOptions(obstacles=ObstacleOptions(persistence=1))
    alone, true = frames(options, np.random.default_rng(4))
    fused, _ = frames(
        MetricOptions(obstacles=options.obstacles, fusion=ON), np.random.default_rng(4)
    )
    assert np.array_equal(alone[0].depth_z, fused[0].depth_z)
    off = [np.nanmedian(np.abs(made[-1].depth_z * true - 1)) for made in (alone, fused)]
    assert off[1] < 0.6 * off[0]
    assert fused[-1].obstacles.nearest_range_m == pytest.approx(1.35, abs=0.02)
    assert not np.array_equal(fused[-1].obstacles.points, alone[-1].obstacles.points)


def test_fusion_that_is_switched_off_forgets():
    metric, (true, grey) = MetricDepth(), seen(standing())
    fit = ScaleShift(1.0, 0.0)
    for step, enabled in enumerate([True, True, False, True]):
        options = MetricOptions(fusion=FusionOptions(enabled))
        made = metric.update(step * 0.2, true, GRID, None, fit, options, grey, matrix(standing()))
        assert (metric.fusion.share_fused > 0) == (step == 1)
        assert bool(metric.fusion.values()) == enabled
        if not enabled:
            assert np.array_equal(made.inverse, true)
