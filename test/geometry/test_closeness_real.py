"""Closeness on measured depth of real places: floors are found, and only floors."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, closeness

WITH_FLOOR = (
    'kitti_000000',
    'kitti_000002',
    'kitti_000114',
    'kitti_m3d_005',
    'nyu_m3d_00000',
    'slambook_dining_1',
    'tum_fr3_office',
    'sunrgbd_bedroom17',
    'middlebury_motorcycle',
)
# A counter, a bin, a table, and a room whose floor's depth is full of spikes.
WITHOUT_FLOOR = ('kitchen_gx', 'arc2017_bin', 'middlebury_wood2', 'nicr_livingroom')


@pytest.fixture(scope='module')
def item(shared_data):
    """One picture's inverse depth, about 256 wide, NaN where not measured; and its manifest."""
    manifest = {
        entry['id']: entry for entry in json.loads((shared_data / 'MANIFEST.json').read_text())
    }

    def read(name):
        entry = manifest[name]
        stored = cv2.imread(str(shared_data / entry['depth']), cv2.IMREAD_UNCHANGED).astype(
            np.float32
        )
        valid = stored != entry['invalid']
        values = stored / entry['scale']
        if entry['kind'] == 'disparity':
            inverse = values + (entry['intrinsics'] or {}).get('doffs_px', 0)
        else:
            inverse = 1 / np.maximum(values, 1e-6)
        height, width = stored.shape
        size = 256, round(height * 256 / width)
        weight = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(np.where(valid, inverse, 0), size, interpolation=cv2.INTER_AREA)
        with np.errstate(invalid='ignore', divide='ignore'):
            return np.where(weight > 0, mean / weight, np.nan), entry

    return read


@pytest.mark.parametrize('name', WITH_FLOOR)
def test_the_floor_is_the_one_that_was_measured(item, name):
    d, entry = item(name)
    intrinsics, fit = entry['intrinsics'], entry['floor_fit']
    camera = CameraModel(
        *entry['image_size'], *(intrinsics[key] for key in ('fx', 'fy', 'cx', 'cy'))
    )
    grid = camera.normalised_grid(d.shape[1], d.shape[0])
    pitch = math.radians(fit['pitch_down_deg'])
    for result in (closeness(d), closeness(d, grid=grid, camera_pitch_rad=pitch)):
        assert result.known, result.reason
        assert result.floor_share == pytest.approx(fit['inlier_fraction_lower_half'], abs=0.12)
        normal = fit['normal_cam']
        roll = math.degrees(math.atan2(normal[0], normal[1]))
        assert math.degrees(result.roll_rad) == pytest.approx(roll, abs=1.6)
        assert max(result.left, result.centre, result.right) > 0.2


@pytest.mark.parametrize('name', WITHOUT_FLOOR)
def test_what_is_no_floor_is_refused(item, name):
    result = closeness(item(name)[0])
    assert math.isnan(result.centre)
    assert result.reason


def test_a_sofa_on_the_left_is_nearer_than_the_shelves_behind_the_floor(item):
    result = closeness(item('arkit_library')[0])
    assert result.known, result.reason
    assert result.left > 1.4 * max(result.centre, result.right)
