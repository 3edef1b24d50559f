"""The generated parameter file and reference say what is declared, and ROS reads them so."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from midas_depth_ros.nodes.ros.parameters import ParameterServer
from midas_depth_ros.options import reference as reference
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.declarations import Spec, build, parameter, specs
from midas_depth_ros.options.depth import DepthNodeSettings

ROOT = Path(__file__).parents[2]
DEPTH_NODE = reference.NODES[0]


class Altered(reference.NodeReference):
    """A node whose every parameter has another, acceptable default."""

    def specs(self) -> list[Spec]:
        """The same parameters with other values."""
        return [dataclasses.replace(spec, default=another(spec)) for spec in super().specs()]


def another(spec: Spec) -> object:
    """An acceptable value that is not the default, awkward to quote where it can be."""
    if spec.choices:
        return next(choice for choice in spec.choices if choice != spec.default)
    if spec.kind == 'bool':
        return not spec.default
    if spec.kind == 'string array':
        return ('front', 'rear/left')
    if spec.kind == 'string':
        texts = ("it's: '0' # no", 'on', '0,2-3', '0.5', '64, 96', 'MIT')
        return next(text for text in texts if not spec.fault(text))
    bound = spec.maximum if spec.default == spec.minimum else spec.minimum
    return type(spec.default)(spec.default + 1 if bound is None else bound)


def same(one: object, other: object) -> bool:
    """Equal in type and value, where NaN equals NaN."""
    return type(one) is type(other) and repr(one) == repr(other)


def params_file(folder: Path, node: reference.NodeReference) -> list[str]:
    path = folder / 'params.yaml'
    path.write_text(reference.render_yaml(node), encoding='utf-8')
    return ['--ros-args', '--params-file', str(path)]


def flat(tree: dict, prefix: str = '') -> dict:
    """Nested mappings as dotted names."""
    names = {}
    for name, value in tree.items():
        names |= (
            flat(value, f'{prefix}{name}.')
            if isinstance(value, dict)
            else {f'{prefix}{name}': value}
        )
    return names


def test_files_in_the_tree_are_up_to_date():
    assert reference.stale_files(ROOT) == [], f'run {reference.COMMAND}'


@pytest.mark.parametrize(
    ('path', 'node', 'settings_class'),
    [
        (reference.YAML_PATH, 'depth_node', DepthNodeSettings),
        (reference.AVOIDANCE_YAML_PATH, 'avoidance_node', AvoidanceSettings),
    ],
)
def test_file_has_every_parameter_with_its_default_and_nothing_else(path, node, settings_class):
    text = (ROOT / path).read_text(encoding='utf-8')
    assert f'ros2 run midas_depth_ros {node} ' in text
    document = yaml.safe_load(text)
    assert list(document) == [f'/**/{node}']
    values = flat(document[f'/**/{node}']['ros__parameters'])
    declared = {spec.name: spec.default for spec in specs(settings_class)}
    assert list(values) == list(declared)
    for name, value in values.items():
        default = declared[name]
        assert same(value, list(default) if isinstance(default, tuple) else default), name


@pytest.mark.parametrize('namespace', ['', '/robot', '/fleet/robot_7'])
def test_ros_reads_every_default_from_the_file(ros, namespace):
    node = ros.make_node(
        'depth_node',
        namespace=namespace,
        cli_args=['--ros-args', '--params-file', str(ROOT / reference.YAML_PATH)],
        automatically_declare_parameters_from_overrides=True,
    )
    for spec in specs(DepthNodeSettings):
        value = node.get_parameter(spec.name).value
        assert same(value, list(spec.default) if spec.kind == 'string array' else spec.default)


def test_file_does_not_touch_other_nodes(ros):
    node = ros.make_node(
        'depth_node_2',
        cli_args=['--ros-args', '--params-file', str(ROOT / reference.YAML_PATH)],
        automatically_declare_parameters_from_overrides=True,
    )
    assert not node.has_parameter('max_rate')


@pytest.mark.parametrize('described', reference.NODES, ids=lambda node: node.name)
def test_values_of_a_file_reach_the_settings(ros, tmp_path, described):
    altered = Altered(**{f.name: getattr(described, f.name) for f in dataclasses.fields(described)})
    node = ros.make_node(described.name, cli_args=params_file(tmp_path, altered))
    current = ParameterServer(node, described.settings_class).current
    wanted = build(described.settings_class, {s.name: s.default for s in altered.specs()})
    # Of the cameras that were named nothing was given.
    assert {**vars(current), 'mounts': None} == {**vars(wanted), 'mounts': None}
    assert current != described.settings_class()


def test_markdown_has_a_row_for_every_parameter_of_every_node():
    text = (ROOT / reference.MARKDOWN_PATH).read_text(encoding='utf-8')
    for node in reference.NODES:
        section = text.split(f'\n## {node.name}\n')[1].split('\n## ')[0]
        rows = [line.split(' | ') for line in section.splitlines() if line.startswith('| `')]
        assert [row[0].strip('| `') for row in rows] == [
            spec.name for spec in (*node.specs(), *node.group_specs())
        ]
        assert all(len(row) == 6 for row in rows)
        read = {row[0].strip('| `'): row[4] for row in rows}
        at_start = ['autostart'] if node.name == 'depth_node' else []
        assert [name for name, when in read.items() if when not in ('live', node.fixed)] == at_start


@pytest.mark.parametrize(
    ('spec_arguments', 'text'),
    [
        ({'default': 5.0, 'minimum': 0.0, 'maximum': 1000.0, 'unit': 'Hz'}, '0 to 1000 Hz'),
        ({'default': 7, 'minimum': 1, 'maximum': 1_000_000_000}, '1 to 1000000000'),
        ({'default': 0.5, 'minimum': 0.1}, 'at least 0.1'),
        ({'default': 0.5, 'maximum': 2.0, 'unit': 'rad'}, 'at most 2 rad'),
        ({'default': 0.5, 'unit': 'm'}, 'm'),
        ({'default': 'a', 'choices': ('a', 'b')}, 'a, b'),
        ({'default': True}, ''),
    ],
)
def test_allowed_values_in_words(spec_arguments, text):
    @dataclasses.dataclass(frozen=True)
    class Settings:
        value: object = parameter(text='what it is', **spec_arguments)

    assert reference.allowed(next(specs(Settings))) == text


@pytest.mark.parametrize(
    'value',
    [5.0, 1e-06, 1.5e-09, 1e22, float('inf'), float('-inf'), -3, True, 'true', '1.0', "it's", ''],
)
def test_yaml_value_keeps_type_and_value(ros, tmp_path, value):
    text = reference.yaml_value(value)
    assert same(yaml.safe_load(text), value)
    path = tmp_path / 'params.yaml'
    path.write_text(f'/**:\n  ros__parameters:\n    value: {text}\n', encoding='utf-8')
    node = ros.make_node(
        'reader',
        cli_args=['--ros-args', '--params-file', str(path)],
        automatically_declare_parameters_from_overrides=True,
    )
    assert same(node.get_parameter('value').value, value)


def test_groups_nest_and_reopen_without_a_double_key():
    @dataclasses.dataclass(frozen=True)
    class Nested(reference.NodeReference):
        def specs(self) -> list[Spec]:
            some = next(specs(DepthNodeSettings))
            return [dataclasses.replace(some, name=name) for name in ('a.b.c', 'a.d', 'a.e.f', 'g')]

    text = reference.render_yaml(Nested('n', DepthNodeSettings, '', 'at start'))
    assert flat(yaml.safe_load(text)['/**/n']['ros__parameters']).keys() == {
        'a.b.c',
        'a.d',
        'a.e.f',
        'g',
    }
    assert text.count(' a:') == 1


def test_check_names_what_is_out_of_date_and_a_run_mends_it(tmp_path):
    (tmp_path / 'package.xml').touch()
    run = CliRunner().invoke(reference.main, ['--check', '--root', str(tmp_path)])
    assert run.exit_code == 1
    assert 'config/midas_depth.yaml, config/avoidance.yaml, docs/parameters.md' in run.output
    assert reference.COMMAND in run.output
    assert not (tmp_path / 'config').exists()

    assert CliRunner().invoke(reference.main, ['--root', str(tmp_path)]).exit_code == 0
    run = CliRunner().invoke(reference.main, ['--check', '--root', str(tmp_path)])
    assert (run.exit_code, run.output) == (0, 'up to date\n')

    stale = tmp_path / reference.YAML_PATH
    stale.write_text(stale.read_text().replace('max_rate: 5.0', 'max_rate: 6.0'))
    run = CliRunner().invoke(reference.main, ['--check', '--root', str(tmp_path)])
    assert run.exit_code == 1
    assert 'out of date: config/midas_depth.yaml;' in run.output


def test_a_folder_that_is_not_the_source_tree_is_refused(tmp_path):
    run = CliRunner().invoke(reference.main, ['--root', str(tmp_path)])
    assert run.exit_code == 1
    assert '--root' in run.output
    assert list(tmp_path.iterdir()) == []
