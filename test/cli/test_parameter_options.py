"""Options against the parameters they are made of, and the help a person reads."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from midas_depth_ros.cli import demo as demo_command
from midas_depth_ros.cli.image import image
from midas_depth_ros.cli.main import main
from midas_depth_ros.cli.options import (
    Look,
    angle_names,
    as_options,
    heatmap_options,
    in_radians,
    metres_of,
    option_of,
)
from midas_depth_ros.cli.video import video
from midas_depth_ros.geometry import CameraModel, CameraMount, closeness_of_picture
from midas_depth_ros.images.blindness import Verdict
from midas_depth_ros.options.declarations import Spec, specs
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.heatmap import HeatmapOptions

from .test_video_command import write_video

HEATMAP = list(specs(HeatmapOptions))
SPECS = {spec.name: spec for spec in specs(DepthNodeSettings)}


@pytest.mark.parametrize('command', [image, video])
@pytest.mark.parametrize('spec', HEATMAP, ids=lambda spec: spec.name)
def test_every_heatmap_parameter_is_an_option_like_it(command, spec):
    (option,) = [each for each in command.params if each.name == spec.name]
    assert option.default == spec.default
    assert f'--{spec.name.replace("_", "-")}' in option.opts
    assert option.help.startswith(spec.text)
    if spec.choices:
        assert tuple(option.type.choices) == spec.choices
    if spec.minimum is not None:
        assert (option.type.min, option.type.max) == (spec.minimum, spec.maximum)


@pytest.mark.parametrize('command', [image, video])
def test_no_default_is_shown_for_ends_that_are_fitted_to_the_picture(command):
    shown = {each.name: each.show_default for each in command.params if 'metric_' in each.name}
    assert shown == dict.fromkeys(('metric_near', 'metric_far'), 'as the picture has it')


def test_defaults_are_those_of_the_heatmap():
    values = {spec.name: spec.default for spec in HEATMAP}
    assert heatmap_options(values) == HeatmapOptions()
    assert {field.name for field in dataclasses.fields(HeatmapOptions)} == set(values)


@pytest.mark.parametrize(
    ('name', 'arguments', 'value'),
    [
        ('camera_height', [], 'nan'),
        ('camera_height', ['--camera-height', '0.25'], '0.25'),
        ('num_threads', ['--num-threads', '3'], '3'),
        ('allow_download', ['--no-allow-download'], 'False'),
        ('model', ['--model', 'x.pt'], 'x.pt'),
    ],
)
def test_values_arrive_as_the_node_would_have_them(name, arguments, value):
    seen = []
    command = option_of(SPECS[name], 'x')(click.command()(lambda **values: seen.append(values)))
    command.main(arguments, standalone_mode=False)
    assert str(seen[0][name]) == value


@pytest.mark.parametrize('command', [image, video])
def test_every_angle_may_be_given_in_degrees(command):
    angles = [each for each in command.params if each.name in angle_names()]
    assert {'camera_pitch', 'camera_roll', 'horizontal_fov'} <= {each.name for each in angles}
    for option in angles:
        for text in ('30deg', '30°', ' 30 degrees', '+3e1deg', '0.5235987755982988rad'):
            assert option.type.convert(text, option, None) == pytest.approx(math.pi / 6)
        assert option.type.convert('0.25', option, None) == 0.25
        assert '10deg' in option.help
        for text in ('400deg', '30', '10grad', 'deg', '1e999deg'):
            with pytest.raises(click.BadParameter, match='degrees are written as 10deg'):
                option.type.convert(text, option, None)


@pytest.mark.parametrize(
    ('assignment', 'radians'),
    [
        ('camera_pitch:=10deg', math.radians(10)),
        ('camera_pitch:=-10°', math.radians(-10)),
        ('mounts.front.camera_yaw:=90deg', math.pi / 2),
        ('horizontal_fov:=60 deg', math.pi / 3),
        ('horizontal_fov:=1.2rad', 1.2),
        ('camera_pitch:=0.1', None),
        ('model:=10deg', None),
        ('camera_pitch', None),
        ('camera_pitch:=x10deg', None),
    ],
)
def test_parameters_that_are_angles_may_be_given_in_degrees(assignment, radians):
    made = in_radians(assignment)
    if radians is None:
        assert made == assignment
    else:
        name, _, value = made.partition(':=')
        assert (name, float(value)) == (assignment.partition(':=')[0], pytest.approx(radians))


def test_errors_name_the_options_of_the_command(midas_depth, save):
    save('max_pixels.png', np.zeros((40, 50, 3), np.uint8))
    write_video(Path('in.avi'), [np.zeros((48, 64, 3), np.uint8)] * 2)
    small = ('--max-pixels', '1024', '--model', 'embedded', '--backend', 'opencv')
    said = midas_depth('image', 'max_pixels.png', *small).stderr
    assert said.startswith('max_pixels.png: the picture is 50x40, more than 1024 pixels: ')
    assert 'or raise --max-pixels' in said
    said = midas_depth('video', 'in.avi', *small).stderr
    assert said.startswith('error: in.avi: the picture is 64x48, more than 1024 pixels: ')
    assert 'or raise --max-pixels' in said
    assert (
        as_options('x needs frozen_after: 0, a/max_pixels')
        == 'x needs --frozen-after 0, a/max_pixels'
    )


def test_bag_and_demo_take_degrees(midas_depth, monkeypatch):
    plans = []
    monkeypatch.setattr(demo_command, 'carry_out', lambda plan, _: plans.append(plan) or 0)
    pytest.importorskip('rclpy')
    assert midas_depth('demo', '--param', 'camera_pitch:=45deg').exit_code == 0
    assert float(plans[0].parameters[0].partition(':=')[2]) == pytest.approx(math.pi / 4)
    result = midas_depth('bag', 'nowhere', 'out', '-p', 'camera_pitch:=400deg')
    assert 'camera_pitch: 6.98' in ' '.join(result.stderr.split())


def test_the_demo_knows_the_names_of_parameters(midas_depth, monkeypatch):
    monkeypatch.setattr(demo_command, 'carry_out', lambda plan, _: 0)
    result = midas_depth('demo', '--param', 'heatmap.colourmap:=turbo')
    assert result.exit_code == 2
    assert 'did you mean heatmap.colormap' in ' '.join(result.stderr.split())
    for fault in ('max_rate:=[1', 'max_rate', ':=3'):
        assert midas_depth('demo', '--param', fault).exit_code == 2, fault


def test_a_check_of_the_declaration_is_asked_too():
    spec = Spec('colour', 'red', 'text', '', None, None, (), False, lambda value: 'is no colour')
    command = option_of(spec, 'x')(click.command()(lambda **values: None))
    with pytest.raises(click.BadParameter, match='is no colour'):
        command.main(['--colour', 'loud'], standalone_mode=False)


def test_help_lists_every_command_once_under_its_heading(midas_depth):
    text = midas_depth('--help').output
    for name in ('image', 'video', 'bag', 'weights', 'drive'):
        rows = [line for line in text.splitlines() if line.startswith(f'  {name} ')]
        assert len(rows) == 1, name
        assert '...' not in rows[0], 'the line is cut'
    assert text.index('Look at depth:') < text.index('  bag ') < text.index('Models:')
    assert text.index('Models:') < text.index('  weights ') < text.index('Robots:')


@pytest.mark.parametrize('name', ['image', 'video', 'bag'])
def test_help_of_a_command_shows_all_of_its_options(midas_depth, name):
    text = midas_depth(name, '--help').output
    for parameter in main.commands[name].params:
        if isinstance(parameter, click.Option):
            assert max(parameter.opts, key=len) in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ('words', 'offered'),
    [
        ('midas_depth im', 'plain,image'),
        ('midas_depth image --colormap tu', 'plain,turbo'),
        ('midas_depth bag -p heatmap.gam', 'plain,heatmap.gamma:='),
    ],
)
def test_shells_complete_commands_choices_and_parameters(midas_depth, monkeypatch, words, offered):
    monkeypatch.setenv('_MIDAS_DEPTH_COMPLETE', 'bash_complete')
    monkeypatch.setenv('COMP_WORDS', words)
    monkeypatch.setenv('COMP_CWORD', str(len(words.split()) - 1))
    from click.testing import CliRunner

    result = CliRunner().invoke(main, [], prog_name='midas_depth')
    assert result.output.splitlines() == [offered]


@pytest.mark.parametrize('address', ['192.0.2.1', 'no.such.host.invalid', '', 'a' * 300, '::zz'])
def test_a_demo_does_not_start_with_an_address_that_is_not_this_machine(address):
    ran = CliRunner().invoke(main, ['demo', '--dashboard-host', address])
    assert ran.exit_code == 2
    assert 'cannot be listened on' in ' '.join(ran.output.replace('│', ' ').split())
    assert '127.0.0.1' in ran.output


@pytest.mark.parametrize(('height', 'scale'), [(math.nan, None), (math.nan, 2.0), (0.3, None)])
def test_pitch_places_the_horizon_of_closeness_with_and_without_a_height(height, scale):
    """As in the node, which needs no height for it."""
    grid = CameraModel.from_field_of_view(256, 192, 1.2).normalised_grid()
    floor = np.maximum(CameraMount(0.3, 0.3).ground_inverse_depth(grid), 0)
    depth = (2 * floor + 0.4).astype(np.float32)
    depth[60:110, 100:140] = depth[110, 120]  # a box
    values = {'camera_height': height, 'camera_pitch': 0.3, 'camera_roll': 0.0, 'rotate': 0}
    values |= {'horizontal_fov': 1.2, 'fixed_scale': scale, 'fixed_shift': None}
    near = Look(HeatmapOptions(), metres_of(values)).closeness(depth, Verdict())
    assert near == closeness_of_picture(depth, '', grid, 0.3)
    assert near != closeness_of_picture(depth, '', grid)
