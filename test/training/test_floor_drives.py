"""Drives with exact depth: poses, pictures and depth fit together, and errors move with them."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from benchmarks import drive_accuracy as judged
from midas_depth_ros.geometry import MetricDepth, ScaleShift
from training.places import floor_drives
from training.places.floor_drives import AMBIGUOUS_DRIVES, FRAMES, room_drive, wall_drive

DRIVES = {'room': room_drive, 'wall': wall_drive, **AMBIGUOUS_DRIVES}


@pytest.mark.parametrize('kind', DRIVES)
def test_depth_and_poses_of_a_drive_fit_together(kind):
    """What is on a surface in one frame is on it in the next."""
    frames = DRIVES[kind](np.random.default_rng(3))
    assert len(frames) == FRAMES
    first, second = frames[-2], frames[-1]
    camera = first.view.camera
    x, y = (axis.astype(np.float64) for axis in camera.normalised_grid())
    z = 1 / np.where(second.view.inverse_depth > 0.1, second.view.inverse_depth, np.nan)
    points = np.stack([x * z, y * z, z])
    move = np.linalg.inv(first.pose) @ second.pose
    there = np.einsum('ij,jhw->ihw', move[:3, :3], points) + move[:3, 3][:, None, None]
    columns = np.nan_to_num(camera.fx * there[0] / there[2] + camera.cx, nan=-99)
    rows = np.nan_to_num(camera.fy * there[1] / there[2] + camera.cy, nan=-99)
    seen = cv2.remap(
        first.view.inverse_depth, columns.astype(np.float32), rows.astype(np.float32),
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan,
    )  # fmt: skip
    inside = np.isfinite(seen)
    assert inside.mean() > 0.03
    ratio = (seen * there[2])[inside]
    assert np.median(np.abs(ratio - 1)) < 0.01
    assert np.mean(np.abs(ratio - 1) < 0.1) > 0.9
    assert np.linalg.norm(move[:3, 3]) == pytest.approx(floor_drives.STEP_M, rel=0.01)


def test_a_drive_is_textured_and_the_same_for_a_seed():
    one, two = (wall_drive(np.random.default_rng(5))[0] for _ in range(2))
    np.testing.assert_array_equal(one.rgb, two.rgb)
    assert one.rgb.std() > 10


def test_smooth_errors_stick_to_the_scene_as_far_as_they_should(monkeypatch):
    monkeypatch.setattr(floor_drives, 'WITH_SCENE', 1.0)
    monkeypatch.setattr(floor_drives, 'WITH_PICTURE', 0.0)
    monkeypatch.setattr(floor_drives, 'DRIFT', 0.0)
    frames = wall_drive(np.random.default_rng(1))[:8:7]
    rng = np.random.default_rng(2)
    answers = floor_drives.disturbed_drive(frames, rng, smooth=0.05)
    shares = [
        (scale * d + shift) / frame.view.inverse_depth - 1
        for frame, (d, scale, shift) in zip(frames, answers, strict=True)
    ]
    assert shares[0].std() == pytest.approx(0.05, rel=0.1)
    moved = floor_drives._carried(shares[0], frames[1], frames[0])
    inner = np.s_[20:-20, 20:-20]
    assert np.corrcoef(moved[inner].ravel(), shares[1][inner].ravel())[0, 1] > 0.98
    still = np.corrcoef(shares[0][inner].ravel(), shares[1][inner].ravel())[0, 1]
    assert still < 0.9


def test_scale_and_shift_are_those_of_each_frame():
    frames = room_drive(np.random.default_rng(0))[:3]
    answers = floor_drives.disturbed_drive(frames, np.random.default_rng(0))
    for frame, (d, scale, shift) in zip(frames, answers, strict=True):
        np.testing.assert_allclose(scale * d + shift, frame.view.inverse_depth, atol=1e-4)
    scales = [scale for _, scale, _ in answers]
    assert 0 < np.std(scales) / np.mean(scales) < 0.15


def test_slip_lengthens_the_way_and_leaves_the_direction():
    first, pose = np.eye(4), np.eye(4)
    first[:3, 3], pose[:3, 3] = (1, 2, 0.3), (2, 2, 0.3)
    found = judged.slipped(pose, first, 0.2)
    np.testing.assert_allclose(found[:3, 3], (2.2, 2, 0.3))
    np.testing.assert_allclose(judged.slipped(pose, first, -0.2)[:3, 3], (1.8, 2, 0.3))
    np.testing.assert_array_equal(pose[:3, 3], (2, 2, 0.3))


def test_errors_of_a_scale_are_those_that_were_put_in():
    d = np.linspace(0, 1, 300, dtype=np.float32).reshape(15, 20)
    answer = judged.Answer(d, 2.0, 0.1)
    right, too_near = ScaleShift(2.0, 0.1), ScaleShift(2.5, 0.125)
    assert judged.scale_error(right, answer) == pytest.approx(0, abs=1e-6)
    assert judged.scale_error(too_near, answer) == pytest.approx(-0.2, abs=1e-3)
    assert judged.error_in_view(right, answer) == pytest.approx(0, abs=1e-6)
    assert judged.error_in_view(too_near, answer) == pytest.approx(0.2, abs=1e-3)
    nothing_near = dataclasses.replace(answer, scale=0.01, shift=0.01)
    assert judged.error_in_view(too_near, nothing_near) == 0
    assert np.isnan(judged.scale_error(too_near, nothing_near))


def test_refused_drives_and_wrong_ones_are_counted_apart():
    frame = room_drive(np.random.default_rng(0))[-1]
    view = frame.view
    answer = judged.Answer(view.inverse_depth.astype(np.float32), 1.0, 0.0)
    tally, maker = judged.Tally(), judged.Maker(judged.COLUMNS['floor alone'], judged.Timer())
    tally.add(frame, answer, judged.Made(None, 'refused'))
    assert (tally.drives, tally.refused, tally.wrong) == (1, 1, 0)
    grey = np.zeros(view.inverse_depth.shape, np.uint8)
    for factor, wrong in ((1.0, 0), (1.3, 1)):
        maker.metric = MetricDepth()
        fits = {'ground_plane': ScaleShift(factor, 0.0, 'ground')}
        made = maker.update(frame, answer, grey, frame.pose, fits, judged=True)
        tally.add(frame, answer, judged.Made(made, ''))
        assert (tally.refused, tally.wrong) == (1, wrong)
