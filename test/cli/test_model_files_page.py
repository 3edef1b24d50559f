"""The examples of docs/model_files.md: what `midas_depth inspect` prints for such files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from foreign_networks import FLOAT, IMAGENET, Foreign, brightness

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth.file_description import FIELDS, parsed
from midas_depth_ros.depth.files import sha256_of
from midas_depth_ros.depth.known_files import KNOWN_FILES
from midas_depth_ros.options.declarations import specs
from midas_depth_ros.options.model_file import ModelFileOptions

PAGE = Path(__file__).parents[2] / 'docs' / 'model_files.md'
MIDAS = '2d8c6cb8f415229daf1eb041024208e2608c9f98e17c81cc7c6ecb449c56fd58'


def midas(folder: Path) -> Path:
    graph = Foreign()
    value = graph.normalised('0', *IMAGENET)
    value = graph.add('Relu', [brightness(graph, value, -1, 'toy')], 'relu')
    graph.squeezed(value, '797', (1,))
    path = folder / 'model-small.onnx'
    inputs, outputs = [('0', (1, 3, 256, 256), FLOAT)], [('797', (1, 256, 256), FLOAT)]
    path.write_bytes(graph.file(inputs, outputs))
    return path


def outdoor(folder: Path) -> Path:
    graph = Foreign()
    value = brightness(graph, 'image', 1, 'toy', 14, bias=-4.0)
    value = graph.add('Sigmoid', [value], 'sigmoid')
    value = graph.add('Mul', [value, graph.weight('most', 80.0)], 'metres')
    graph.squeezed(value, 'depth', (1,))
    path = folder / 'depth_anything_v2_vits_outdoor_dynamic.onnx'
    inputs = [('image', ('batch', 3, '14*h', '14*w'), FLOAT)]
    path.write_bytes(graph.file(inputs, [('depth', ('batch', 'H', 'W'), FLOAT)]))
    return path


def own(folder: Path) -> Path:
    graph = Foreign()
    brightness(graph, 'x', -1, 'y', bias=200.0)
    path = folder / 'mine.onnx'
    inputs = [('x', (1, 3, 'height', 'width'), FLOAT)]
    path.write_bytes(graph.file(inputs, [('y.embed', (1, 1, 'height', 'width'), FLOAT)]))
    (folder / 'mine.yaml').write_text(block('yaml', 'mine.yaml'))
    return path


def block(kind: str, about: str) -> str:
    """The block of the page of a kind that mentions something."""
    blocks = re.findall(rf'```{kind}\n(.*?)```', PAGE.read_text(), re.DOTALL)
    (found,) = (each for each in blocks if about in each)
    return str(found)


def printed(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(main, ['inspect', *arguments])
    return '\n'.join(line.rstrip() for line in result.output.splitlines()) + '\n'


@pytest.mark.parametrize(
    ('make', 'arguments'),
    [
        (midas, ['model-small.onnx']),
        (outdoor, ['depth_anything_v2_vits_outdoor_dynamic.onnx', '--model-file',
                   'output_meaning=metres']),
        (own, ['mine.onnx']),
    ],
)  # fmt: skip
def test_the_page_shows_what_is_printed(tmp_path, monkeypatch, make, arguments) -> None:
    pytest.importorskip('openvino')
    path = make(tmp_path)
    if make is midas:
        table = {**KNOWN_FILES, sha256_of(path): KNOWN_FILES[MIDAS]}
        monkeypatch.setattr('midas_depth_ros.depth.foreign.KNOWN_FILES', table)
    command = f'$ midas_depth inspect {" ".join(arguments)}\n'
    assert block('text', command) == command + printed(tmp_path, monkeypatch, *arguments)


def test_the_files_of_the_page_are_accepted() -> None:
    from midas_depth_ros.options.files import settings_from

    beside = yaml.safe_load(block('yaml', 'mine.yaml'))
    assert parsed(beside, 'mine.yaml')['output_meaning'] == 'disparity'
    parameters = yaml.safe_load(block('yaml', 'ros__parameters'))['/**']['ros__parameters']
    from midas_depth_ros.options.depth import DepthNodeSettings

    values = {'model': parameters['model']}
    values |= {f'model_file.{key}': each for key, each in parameters['model_file'].items()}
    settings = settings_from(DepthNodeSettings, values)
    assert settings.model_file.given() == parameters['model_file']


def test_the_page_names_every_field() -> None:
    text = PAGE.read_text()
    for name in FIELDS:
        assert f'| `{name}` |' in text, name
    assert {spec.name for spec in specs(ModelFileOptions)} <= set(FIELDS)
