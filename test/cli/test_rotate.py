"""`--rotate`: what comes of pictures of a camera that is mounted upside down or on its side."""

from __future__ import annotations

import json

import numpy as np
import pytest

from midas_depth_ros.cli.options import metres_of
from midas_depth_ros.cli.video import VideoView
from midas_depth_ros.geometry import CameraModel, turned

from .conftest import corridor
from .test_image_command import ALL, MODEL, OUT
from .test_video_command import ShakyEstimator

METRES = ('--camera-height', 0.3, '--camera-pitch', 0.1)
UNSET = {'camera_roll': 0.0, 'fixed_scale': None, 'fixed_shift': None}


@pytest.mark.parametrize('rotate', [90, 180, 270])
def test_all_that_is_made_is_that_of_the_upright_picture(midas_depth, save, rotate):
    upright = corridor()
    # Of a field of view from edge to edge, as the camera takes its pictures.
    camera = CameraModel.from_field_of_view(160, 120, 1.2)
    aside = 2 * np.arctan(60 / camera.fy)
    save('upright/eye.png', upright)
    save('mounted/eye.png', turned(upright, -rotate % 360))
    made, said = {}, {}
    for folder, fov, turn in (('upright', 1.2, 0), ('mounted', aside, rotate)):
        fov = 1.2 if rotate == 180 else fov
        result = midas_depth(
            'image', f'{folder}/eye.png', *MODEL, *METRES, '--horizontal-fov', fov,
            '--rotate', turn, '-o', f'{OUT}_{folder}', '--json',
        )  # fmt: skip
        said[folder] = json.loads(result.stdout)['pictures'][0]
        made[folder] = {
            path.name: path.read_bytes() for path in OUT.parent.glob(f'{OUT}_{folder}/*')
        }
    for each in said.values():
        each.pop('picture')
    faults = [each.pop('faults') for each in said.values()]
    assert len(faults[0]) == len(faults[1])
    assert said['mounted'] == said['upright']
    assert made['mounted'].keys() == made['upright'].keys()
    assert len(made['upright']) >= len(ALL) - 1
    for name in made['upright'].keys() - {'eye_cloud.ply'}:
        assert made['mounted'][name] == made['upright'][name], name


def test_a_turn_that_is_none_is_wrong_usage(midas_depth, save):
    save('eye.png', corridor())
    for turn, words in ((45, 'is not one of 0, 90, 180, 270'), (360, '0<=x<=270')):
        for command in ('image', 'video'):
            result = midas_depth(command, 'eye.png', *MODEL, '--rotate', turn)
            assert result.exit_code == 2
            assert words in result.stderr


@pytest.mark.parametrize('rotate', [90, 180, 270])
def test_a_frame_of_a_video_is_shown_upright(rotate):
    from midas_depth_ros.cli.options import Look
    from midas_depth_ros.views import HeatmapOptions

    given = {'camera_height': np.nan, 'camera_pitch': np.nan, 'horizontal_fov': np.nan, **UNSET}
    upright, drawn = corridor(), []
    for turn in (0, rotate):
        look = Look(HeatmapOptions(), metres_of({**given, 'rotate': turn}))
        view = VideoView(ShakyEstimator(shake=False), look, 0.0, 0.0)
        drawn.append(view.draw(turned(upright, -turn % 360), 0.0, 'eye'))
    np.testing.assert_array_equal(*drawn)
