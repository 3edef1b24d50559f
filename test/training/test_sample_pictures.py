"""The pictures that ship are those that their script renders, and judge nothing they calibrated."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from midas_depth_ros.depth.model_check import ASSETS, calibration_pictures, sample_pictures
from training.sample_pictures import FOLDERS, JPEG_QUALITY, pictures

SHIPPED = {'samples': sample_pictures, 'calibration': calibration_pictures}


@pytest.mark.parametrize('folder', FOLDERS)
def test_what_ships_is_what_the_script_renders(folder: str) -> None:
    shipped, made = SHIPPED[folder](), dict(pictures(folder))
    assert set(shipped) == set(made)
    for name, rgb in made.items():
        # As JPEG does: another version of the library may round otherwise.
        code = cv2.imencode('.jpg', rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        wanted = cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert shipped[name].shape == rgb.shape
        assert np.abs(shipped[name].astype(int) - wanted).mean() < 1.0, name


def test_the_pictures_are_few_and_no_place_is_in_both_folders() -> None:
    assert sum(path.stat().st_size for path in ASSETS.glob('*/*.jpg')) < 400_000
    calibrating = [cv2.resize(rgb, (320, 240)) for rgb in calibration_pictures().values()]
    assert len(calibrating) == 20
    for name, judging in sample_pictures().items():
        alike = [np.corrcoef(judging.ravel(), other.ravel())[0, 1] for other in calibrating]
        assert max(alike) < 0.9, name
