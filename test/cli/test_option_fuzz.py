"""Every option of every command with every kind of nonsense: a sentence, never a traceback.

Commands that work on files do so, on very small ones; of those that start processes, fetch files
or measure for minutes only the way there is taken. What waits is ended by pytest's own timeout.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from importlib.util import find_spec

import click
import cv2
import pytest
from bags import write_image_bag
from click.testing import CliRunner
from effort import some, tries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midas_depth_ros.cli import bench as bench_command
from midas_depth_ros.cli import demo as demo_command
from midas_depth_ros.cli import drive as drive_command
from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import weights
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.options.declarations import specs
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import ParameterFault, read_parameters, settings_from

from .conftest import APART, corridor
from .test_video_command import write_video

pytestmark = pytest.mark.thorough

if find_spec('rclpy'):
    import ros_helpers  # noqa: F401 - before the first message, see there

HUGE = '9' * 5000
# What is never a value, or is one that nobody thinks of.
ABSURD = (
    *('', ' ', '-', '--', '-1', '0', '1', '-0.0', 'nan', '-nan', 'inf', '-inf', 'Infinity'),
    *('1e400', '1e308', '-1e308', '1e-400', '5e-324', '0x10', '1_000', '1,5', '１２', '٣', 'true'),
    *('None', 'null', '9' * 20, '-' + '9' * 20, HUGE, 'x' * 5000, 'a/b', '../..', '/', '.', '~'),
    *('~nobody', '%s%n', '{0}', '$HOME', '[red]x[/bold]', '\x1b[31m', '\x1b]0;t\x07', 'a\nb'),
    *('\u202e', '\udcff', os.fsdecode(b'\xff\xfe'), '日本', 'a:=b', '/dev/null', '/dev/zero'),
    *('/proc/self/mem', '{', '[1', '&a [*a]', '!!python/object:os.system x'),
)
INPUTS = {'image': ['a.png'], 'video': ['in.avi'], 'bag': ['in', 'out']}
# Files of models are judged elsewhere; these would be loaded and compiled once for each example.
FIXED = {'model': ['--model', 'embedded'], 'backend': ['--backend', 'opencv']}
# A bag's model is a parameter.
ALWAYS = {
    'bag': ['-p', 'model:=embedded', '-p', 'backend:=opencv', '--only', 'closeness'],
    'drive': ['--in-process'],
}


class Refused(CommandError):
    """In the place of what takes minutes."""


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    """A folder with inputs, in which nothing is started, fetched or measured."""
    monkeypatch.chdir(tmp_path)
    assert cv2.imwrite('a.png', corridor(24, 32))
    write_video(tmp_path / 'in.avi', [corridor(24, 32, i) for i in range(2)])
    write_image_bag(tmp_path / 'in', [corridor(24, 32)])

    def refuse(*_, **__):
        raise Refused('not here')

    monkeypatch.setattr(bench_command, 'measure', refuse)
    monkeypatch.setattr(demo_command, 'carry_out', lambda *_: 0)
    monkeypatch.setattr(drive_command, 'carry_out', lambda *_: {'worlds': None})
    monkeypatch.setattr(weights, 'fetch_weights', refuse)
    monkeypatch.setattr(weights, 'ensure_weights', refuse)
    monkeypatch.setattr('midas_depth_ros.cli.export._write_onnx', refuse)
    monkeypatch.setattr('midas_depth_ros.cli.export._write_openvino', refuse)
    return tmp_path


def commands():
    """Every command, those of groups too, by its words."""

    def below(group, words):
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from below(command, (*words, name))
            else:
                yield (*words, name), command

    return dict(below(main, ()))


def values_of(parameter: click.Parameter):
    """Nonsense, and what is allowed but at its very bounds."""
    kind = parameter.type
    allowed = []
    if isinstance(kind, click.Choice):
        allowed = [str(each) for each in kind.choices]
    elif isinstance(kind, (click.IntRange, click.FloatRange)):
        bounds = [each for each in (kind.min, kind.max) if each is not None]
        allowed = [repr(each) for each in bounds]
    nonsense = st.sampled_from(ABSURD) | st.text(max_size=20).filter(lambda text: '\0' not in text)
    return nonsense | st.sampled_from(allowed) if allowed else nonsense


def call_of(words, command):
    """A strategy for command lines."""
    options = [
        each
        for each in command.params
        if isinstance(each, click.Option) and each.name not in (*FIXED, 'help')
    ]
    named = {each.name for each in command.params}
    fixed = [part for name, parts in FIXED.items() if name in named for part in parts]

    def one(option):
        if option.is_flag:
            return st.sampled_from([[flag] for flag in (*option.opts, *option.secondary_opts)])
        return values_of(option).map(lambda value: [option.opts[0], value])

    several = (
        st.lists(st.sampled_from(options).flatmap(one), max_size=4) if options else st.just([])
    )
    always = ALWAYS.get(words[-1], [])
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    given = st.just(INPUTS.get(words[-1], []))
    if arguments:
        odd = st.lists(st.sampled_from(ABSURD), min_size=len(arguments), max_size=3)
        given = given | odd
    return st.tuples(given, several).map(
        lambda both: [*words, *both[0], *fixed, *always, *itertools.chain(*both[1])]
    )


def invoke(arguments):
    return CliRunner(**APART).invoke(main, [each for each in arguments if '\0' not in each])


def check(result, arguments) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), arguments
    assert result.exit_code in (0, 1, 2), arguments
    assert 'Traceback' not in result.output
    for line in result.stderr.splitlines():
        assert line.isprintable(), line
    if result.exit_code:
        assert result.stderr.strip(), f'{arguments}: nothing is said'


@pytest.mark.sampled
@pytest.mark.parametrize('words', [*commands()], ids=' '.join)
def test_no_option_of_a_command_makes_it_fall(quiet, words):
    command = commands()[words]
    if words == ('bag',) and not find_spec('rclpy'):
        pytest.skip('a bag is processed by the node, which needs rclpy')

    @settings(
        max_examples=tries(60),
        deadline=None,
        suppress_health_check=[*HealthCheck],
        derandomize=True,
    )
    @given(call_of(words, command))
    def fuzz(arguments):
        check(invoke(arguments), arguments)

    fuzz()


@pytest.mark.parametrize('words', [*commands()], ids=' '.join)
def test_each_option_refuses_each_nonsense(quiet, words):
    """One at a time, so that none hides another; what is no number is wrong usage."""
    command = commands()[words]
    for option in command.params:
        numeric = isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType))
        if not isinstance(option, click.Option) or not numeric:
            continue
        for value in some(['nan', '1e400', 'inf', '', '-inf', HUGE, 'x', '-' + HUGE, '\x1b[31m']):
            arguments = [*words, *INPUTS.get(words[-1], []), option.opts[0], value]
            result = invoke(arguments)
            check(result, arguments)
            bounded = getattr(option.type, 'max', None) is not None
            if bounded or value in ('nan', 'x', '', '\x1b[31m'):
                assert result.exit_code == 2, (option.opts[0], value, result.output)


NAMES = [spec.name for spec in specs(DepthNodeSettings)]
ODD_YAML = ('{a: {b: 1}}', '[1, [2]]', '[null]', '[1]', '2020-01-01', '2020-99-99')


@functools.cache
def accepted() -> list[str]:
    """Of all nonsense for all parameters what the node would accept; other faults are raised."""
    found = []
    for name in NAMES:
        for value in (*ABSURD, *ODD_YAML):
            with contextlib.suppress(ParameterFault):
                given = read_parameters('depth_node', DepthNodeSettings, [], [f'{name}:={value}'])
                settings_from(DepthNodeSettings, given)
                found.append(f'{name}:={value}')
    return found


def test_each_parameter_refuses_what_it_cannot_be():
    found = accepted()
    assert len(found) < 0.6 * len(NAMES) * len(ABSURD)
    for name in ('max_rate', 'cameras', 'jpeg_quality', 'heatmap.gamma', 'rectified', 'transport'):
        for value in ('inf', '', HUGE, '[1]', '{a: {b: 1}}', '2020-99-99', '\x1b[31m', '-1'):
            assert f'{name}:={value}' not in found


@pytest.mark.skipif(not find_spec('rclpy'), reason='a bag is processed by the node')
def test_what_each_parameter_accepts_can_be_worked_with(quiet):
    """But for models and threads, which are others' matter, and cost a second each."""
    always = ['bag', 'in', 'out', '--only', 'closeness', '--force']
    others = ('model', 'backend', 'precision', 'num_threads', 'cpu_affinity', 'niceness')
    values = [each for each in accepted() if each.partition(':=')[0] not in others]
    for first in range(0, len(values), 40):
        batch = {each.partition(':=')[0]: each for each in values[first : first + 40]}
        arguments = [*always, '-p', 'model:=embedded', '-p', 'backend:=opencv']
        arguments += [part for each in batch.values() for part in ('-p', each)]
        check(invoke(arguments), arguments)


BOMBS = {
    'aliases': 'a0: &a0 [x, x]\n'
    + ''.join(f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 12))
    + '/**:\n  ros__parameters: {cameras: *a11}\n',
    'mappings': 'a0: &a0 {x: 1}\n'
    + ''.join(
        f'a{i}: &a{i} {{{", ".join(f"k{j}: *a{i - 1}" for j in range(9))}}}\n' for i in range(1, 12)
    )
    + '/**:\n  ros__parameters: *a11\n',
    'itself': '/**: &a\n  ros__parameters: &b {x: *b}\n',
    'levels': '/**:\n  ros__parameters: ' + '{a: ' * 400 + '1' + '}' * 400,
    'too many levels': '[' * 20_000,
    'number': '/**:\n  ros__parameters: {max_rate: ' + HUGE + '}',
    'date': '/**:\n  ros__parameters: {max_rate: 2020-99-99}',
    'list': '- /**\n',
    'empty': '',
    'binary': '\x00\x01',
    'key': '/**:\n  ros__parameters: {? [a] : 1}',
    'escape': 'depth_node:\n  ros__parameters: {"\\e[31m": 1}',
    'wide': '/**:\n  ros__parameters: {' + ', '.join(f'k{i}: 1' for i in range(20_000)) + '}',
}


@pytest.mark.sampled
@pytest.mark.skipif(not find_spec('rclpy'), reason='a bag is processed by the node')
@pytest.mark.parametrize('name', BOMBS)
def test_a_parameters_file_may_hold_anything(quiet, name):
    (quiet / 'p.yaml').write_text(BOMBS[name])
    arguments = ['bag', 'in', 'out', '--params-file', 'p.yaml']
    result = invoke(arguments)
    check(result, arguments)
    assert result.exit_code == 2


@pytest.mark.skipif(not find_spec('rclpy'), reason='a bag is processed by the node')
@pytest.mark.parametrize('make', [os.mkfifo, lambda path: os.symlink('/dev/zero', path), os.mkdir])
def test_a_parameters_file_is_a_file(quiet, make):
    make(quiet / 'p.yaml')
    arguments = ['bag', 'in', 'out', '--params-file', 'p.yaml']
    result = invoke(arguments)
    check(result, arguments)
    assert result.exit_code == 2
