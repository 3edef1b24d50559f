"""Texts for people name only what there is: options, parameters, variables; and nothing twice."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
import yaml
from click.testing import CliRunner

import midas_depth_ros
from midas_depth_ros.cli.dashboard import dashboard
from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import models
from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.images import ImageError
from midas_depth_ros.images.sources.pictures import read_picture
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.declarations import specs, specs_for_names
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.reference import main as parameter_reference
from midas_depth_ros.options.stream import ImageStreamSettings, SyntheticCameraSettings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'midas_depth_ros'
SETTINGS = (DepthNodeSettings, AvoidanceSettings, ImageStreamSettings, SyntheticCameraSettings)
# Options of others that we name: of pip, rosbags-convert, ros2 and what ROS's own arguments are.
FOREIGN_OPTIONS = {
    '--pdeathsig',
    '--upgrade',
    '--src',
    '--dst',
    '--clock',
    '--ros-args',
    '--params-file',
}
# What is set, given or raised and is no parameter: of ROS itself, of launch files, of a message, of
# a function whose caller reads it, files, topics and programs.
OTHER_WORDS = {
    *('use_sim_time', 'qos_overrides', 'params_file', 'camera_info', 'image_raw', 'cmd_vel'),
    *('cmd_vel_in', 'cv_bridge', 'tf2_ros', 'depth_node', 'midas_small', 'midas_depth'),
    *('avoidance_node', 'image_stream', 'synthetic_camera', 'distortion_model', 'max_bytes'),
    *('load_estimator', 'state_dict', 'normalised_grid', 'camera_calibration', 'allow_pickle'),
}
NAME = r'[a-z][a-z0-9]*(?:[_.][a-z0-9]+)*_[a-z0-9_]+'
# "set x to", "raise x or y", "the parameter x": what the reader is to change.
TO_CHANGE = re.compile(
    rf'\b(?:set|raise|lower|give|choose|parameters?|either|unless its)\s+`?({NAME})\b'
)


@functools.cache
def strings() -> tuple[tuple[str, str], ...]:
    """Where it stands, and each string of the package; what is put in is {}.

    Docstrings are left out: they are for who reads code.
    """
    found: list[tuple[str, str]] = []
    for path in sorted(PACKAGE.rglob('*.py')):
        nodes = list(ast.walk(ast.parse(path.read_text('utf-8'))))
        left_out = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            where = f'{path.relative_to(ROOT)}:{getattr(node, "lineno", 0)}'
            if isinstance(node, ast.JoinedStr):
                left_out.update(map(id, node.values))
                parts = (p.value if isinstance(p, ast.Constant) else '{}' for p in node.values)
                found.append((where, ''.join(parts)))
            elif isinstance(getattr(node, 'value', None), str) and id(node) not in left_out:
                found.append((where, node.value))
    return tuple(found)


def texts() -> Iterator[tuple[str, str]]:
    """Those that a person may read."""
    return ((where, text) for where, text in strings() if ' ' in text)


def pages() -> Iterator[tuple[str, str]]:
    """The documentation."""
    for path in (ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))):
        yield path.name, path.read_text('utf-8')


def options() -> set[str]:
    """Every option of every command."""
    found = {'--help', '--version'}
    waiting: list[click.Command] = [main, dashboard, parameter_reference]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, 'commands', {}).values()
        for parameter in command.params:
            found.update(parameter.opts, parameter.secondary_opts)
    return found


def parameters() -> set[str]:
    """Every parameter of every node, by its whole name and by the last part."""
    names = {
        name for each in SETTINGS for name in specs_for_names(each, ['mounts.<camera>.camera_yaw'])
    }
    return names | {name.rpartition('.')[2] for name in names}


def test_options_that_texts_name_exist() -> None:
    known = options() | FOREIGN_OPTIONS
    wrong = [
        (where, option)
        for where, text in texts()
        for option in re.findall(r'(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9](?![-{])', text)
        if option not in known
    ]
    assert wrong == []


def test_parameters_that_texts_tell_to_change_exist() -> None:
    known = parameters() | OTHER_WORDS
    found = [(where, name) for where, text in texts() for name in TO_CHANGE.findall(text)]
    assert len(found) > 5, 'there is something to be looked at'
    assert [each for each in found if each[1] not in known] == []


def test_help_of_commands_tells_nobody_to_set_a_parameter() -> None:
    """Who looks at a picture has options, no parameters, no camera_info and no services."""
    words = {spec.name for spec in specs(DepthNodeSettings) if '_' in spec.name} | {'camera_info'}
    words |= {'~/calibrate_pitch', 'configuration', 'source fixed'}
    found = re.compile('|'.join(rf'(?<![\w/.-]){re.escape(word)}(?![\w/.])' for word in words))
    for name in ('image', 'video', 'bench', 'export'):
        for parameter in main.commands[name].params:
            text = getattr(parameter, 'help', None) or ''
            assert found.findall(text) == [], (name, parameter.name)


def test_variables_that_texts_name_are_read() -> None:
    constants = {text for _, text in strings()}
    # Those of the scripts and of tests, too.
    others = [*(ROOT / 'scripts').iterdir(), *(ROOT / 'test').glob('*.py')]
    scripts = ''.join(path.read_text('utf-8') for path in others if path.is_file())
    for where, text in (*texts(), *pages()):
        for name in re.findall(r'\bMIDAS_DEPTH_[A-Z_]+', text):
            assert name in constants or name in scripts, (where, name)


def test_files_are_no_messages(tmp_path: Path) -> None:
    """Nobody publishes a file, and it is no message that was cut short."""
    png = b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x40\0\0\0\x40\0\x08\2\0\0\0'
    contents = {
        'a.jpg': b'\xff\xd8\xff\xe0\0\x10JFIF',
        'b.jpg': b'',
        'c.jpg': b'no picture',
        'd.png': png,
        'e.png': png + b'\0\0\0\0\0\0\0\0\0\0\0\0',
        'f.webp': b'RIFF\xff\0\0\0WEBPVP8X' + bytes(30),
        'g.webp': b'RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x02' + bytes(30),
        'h.heic': b'x',
        'i.tiff': b'II*\0',
        'j.ppm': b'P6 9 9 255 ',
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError) as caught:
            read_picture(tmp_path / name, 1000)
        assert 'message' not in str(caught.value), name
        assert 'publish' not in str(caught.value), name


DOUBLED = re.compile(r'(\b[^:;]{4,60})[:;] \1\b')


def test_nothing_is_said_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As "by hand: by hand" was, where one text was put into another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(tmp_path / 'none'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    with pytest.raises(DepthError) as caught:
        models.find_weights('midas_small', allow_download=False)
    said = [str(caught.value)]
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'bad.png').write_bytes(b'x')
    (tmp_path / 'bad.mp4').write_bytes(b'x')
    model = ('--model', 'embedded', '--backend', 'opencv')
    for call in (
        ('image', 'bad.png', 'folder', 'nowhere', '*.tiff', *model),
        ('video', 'bad.mp4', *model),
        ('video', 'folder', *model),
        ('video', 'nowhere', *model),
        ('bag', 'folder', 'out'),
        ('weights', 'verify', 'bad.png'),
        ('export', 'nowhere'),
        ('image', 'bad.png', '--model', 'nowhere'),
    ):
        said += CliRunner().invoke(main, call).output.splitlines()
    assert len(said) > 10
    for line in said:
        assert not DOUBLED.search(line), line


def test_the_fault_that_readme_shows_is_the_one_that_is_said(tmp_path: Path) -> None:
    shown = re.search(r'^photos/broken.jpg: (.+)$', (ROOT / 'README.md').read_text(), re.M)
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes((PACKAGE / 'assets' / 'samples' / 'room_1.jpg').read_bytes()[:700])
    with pytest.raises(ImageError) as fault:
        read_picture(broken)
    assert shown is not None
    assert str(fault.value) == shown[1]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text('utf-8'))
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert citation['version'] == package.findtext('version') == midas_depth_ros.__version__
    assert citation['license'] == package.findtext('license')
    assert citation['title'].startswith(f'{package.findtext("name")}: ')
    assert citation['authors'] == [{'name': package.findtext('maintainer')}]
