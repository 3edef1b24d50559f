"""`midas_depth image` and `video` with a model that gives metres: those of a toy, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_model import FAR_M, picture_of, toy_spec

from midas_depth_ros.cli.options import Look, Metres, by_model
from midas_depth_ros.cli.video import VideoView
from midas_depth_ros.depth import load_estimator, models
from midas_depth_ros.views import HeatmapOptions

OUT = Path('midas_depth_output')
WEIGHT = 8.0
STEP_M = WEIGHT / 255
ROWS = np.linspace(24.0, 0.5, 60)[:, None]
DEPTH_Z = np.broadcast_to(ROWS, (60, 80))  # the top of it is beyond what the toy can say
KNOWN = DEPTH_Z < 0.97 * FAR_M
PICTURE_CHECK = ('--no-picture-check',)
RUN = ('--model', 'toy', '--backend', 'opencv', *PICTURE_CHECK)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Register the toy, with other fields of its specification."""

    def make(**fields):
        fields = {'depth_range_m': (0.1, FAR_M), 'domain': 'indoors (toys)', **fields}
        spec = toy_spec(tmp_path, WEIGHT, 0.0, **fields)
        monkeypatch.setitem(models._specs, 'toy', spec)

    return make


def test_a_model_that_gives_metres_writes_them_and_says_that_nobody_checked(
    midas_depth, save, toy, caplog
):
    toy()
    path = save('a.png', picture_of(DEPTH_Z, WEIGHT))
    result = midas_depth('image', path, *RUN)
    assert result.exit_code == 0, result.output
    metres = np.load(OUT / 'a_metres.npy')
    assert (metres.shape, metres.dtype) == ((60, 80), np.float32)
    np.testing.assert_allclose(metres[KNOWN], DEPTH_Z[KNOWN], atol=0.6 * STEP_M)
    assert np.isnan(metres[DEPTH_Z > FAR_M]).all()  # "at least 20 m" is no depth
    relative = np.load(OUT / 'a_depth.npy')
    assert (np.diff(relative[KNOWN.all(axis=1), 40]) > 0).all()  # near is large
    assert 'toy gives metres, learned indoors (toys): elsewhere they are wrong' in caplog.text
    header = (OUT / 'a_cloud.ply').read_bytes().split(b'end_header')[0].decode()
    assert 'comment unit: metres, by model: 1/Z = 1 d + 0' in header


def test_the_heatmap_in_metres_needs_no_other_scale(midas_depth, save, toy):
    toy()
    path = save('a.png', picture_of(DEPTH_Z, WEIGHT))
    result = midas_depth('image', path, *RUN, '--mode', 'metric', '-o', 'a_heat.png')
    assert result.exit_code == 0, result.output
    heat = cv2.imread('a_heat.png')
    assert not (heat == 128).all(axis=2)[45:].any()  # grey is unknown


def test_what_is_measured_comes_before_what_the_model_says(midas_depth, save, toy, caplog):
    toy()
    path = save('a.png', picture_of(DEPTH_Z, WEIGHT))
    result = midas_depth('image', path, *RUN, '--only', 'metres', '--fixed-scale', '2')
    assert result.exit_code == 0, result.output
    metres = np.load(OUT / 'a_metres.npy')
    np.testing.assert_allclose(metres[KNOWN], DEPTH_Z[KNOWN] / 2, atol=0.6 * STEP_M)
    assert np.isnan(metres[DEPTH_Z > FAR_M]).all()
    assert 'gives metres' not in caplog.text


def test_metres_for_one_focal_length_need_the_field_of_view(midas_depth, save, toy):
    toy(focal_reference_px=200.0)
    path = save('a.png', picture_of(DEPTH_Z, WEIGHT))
    result = midas_depth('image', path, *RUN, '--only', 'metres')
    assert result.exit_code == 1
    assert "a.png: no metres: the model's metres depend on the focal length" in result.stderr
    assert 'give --horizontal-fov' in result.stderr
    result = midas_depth('image', path, *RUN, '--only', 'metres', '--horizontal-fov', '1.2')
    assert result.exit_code == 0, result.output
    factor = 40 / math.tan(0.6) / 200
    metres = np.load(OUT / 'a_metres.npy')
    np.testing.assert_allclose(metres[KNOWN], factor * DEPTH_Z[KNOWN], atol=0.6 * STEP_M)


def test_other_models_write_no_metres_unless_they_are_named(midas_depth, save):
    path = save('a.png', picture_of(DEPTH_Z, WEIGHT))
    embedded = ('--model', 'embedded', '--backend', 'opencv', *PICTURE_CHECK)
    assert midas_depth('image', path, *embedded).exit_code == 0
    assert not (OUT / 'a_metres.npy').exists()
    result = midas_depth('image', path, *embedded, '--only', 'metres')
    assert result.exit_code == 1
    assert 'no metres: nothing gives a scale' in result.stderr
    result = midas_depth('image', path, *embedded, '--mode', 'metric')
    assert result.exit_code == 2
    assert 'a model that gives metres' in result.stderr


def test_a_file_is_loaded_before_it_is_said_that_it_gives_no_metres(midas_depth, save):
    path = save('a.png', picture_of(DEPTH_Z, WEIGHT))
    file = ('--model', models.embedded.ASSET, '--backend', 'opencv', *PICTURE_CHECK)
    result = midas_depth('image', path, *file, '--mode', 'metric')
    assert result.exit_code == 2
    assert '--mode metric needs metres' in result.stderr
    result = midas_depth('image', path, *file)
    assert result.exit_code == 0, result.output
    assert 'metres' not in result.stdout
    assert not (OUT / 'a_metres.npy').exists()


def test_a_video_in_metres(toy):
    toy()
    estimator = load_estimator('toy', 'opencv')
    look = by_model(Look(HeatmapOptions(mode='metric'), Metres(), picture_check=False), estimator)
    view = VideoView(estimator, look, 0.2, 0.3, layout='heatmap')
    drawn = view.draw(picture_of(DEPTH_Z, WEIGHT), 0.0, 'film')
    assert view.refused == 0
    assert not (drawn == 128).all(axis=2)[45:].any()
