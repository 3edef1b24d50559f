"""Options against the parameters they are made of, and the help a person reads."""

from __future__ import annotations

import dataclasses

import click
import pytest

from midas_depth_ros import cli
from midas_depth_ros.commands.image_command import image
from midas_depth_ros.commands.parameter_options import heatmap_options, option_of
from midas_depth_ros.commands.video_command import video
from midas_depth_ros.nodes.declarations import Spec, specs
from midas_depth_ros.nodes.heatmap_settings import HeatmapParameters
from midas_depth_ros.nodes.settings import DepthNodeSettings
from midas_depth_ros.views import HeatmapOptions

HEATMAP = list(specs(HeatmapParameters))
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
    for parameter in cli.main.commands[name].params:
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

    result = CliRunner().invoke(cli.main, [], prog_name='midas_depth')
    assert result.output.splitlines() == [offered]
