"""The registry of models: what it refuses, and a toy that does all that the others do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from toy_model import FAR_M, NEAR_M, toy_spec

import midas_depth_ros
from midas_depth_ros.cli import options
from midas_depth_ros.cli.dashboard import dashboard
from midas_depth_ros.cli.main import main
from midas_depth_ros.cli.weights import weights
from midas_depth_ros.depth import load_estimator, models
from midas_depth_ros.depth.backends import import_timm
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    LicenceNotAccepted,
    UnknownModel,
    WeightsMismatch,
    WeightsNotFound,
)
from midas_depth_ros.depth.files import sha256_of
from midas_depth_ros.depth.model_check import sample_pictures
from midas_depth_ros.depth.models import ModelSpec, Output, PictureInput
from midas_depth_ros.depth.weights_file import WeightsFile

SAMPLE = Path(midas_depth_ros.__file__).parent / 'assets' / 'samples' / 'street_1.jpg'
PICTURE = sample_pictures(['street_1'])['street_1']
NAMES = (
    'midas_small',
    'embedded',
    'zipdepth',
    'zipdepth_base',
    'depth_anything_v2_small',
    'depth_anything_v2_base',
    'depth_anything_v2_large',
    'depth_anything_v2_metric_indoor_small',
    'depth_anything_v2_metric_outdoor_small',
    'depth_anything_v1_small',
    'midas_v21_384',
    'dpt_large_384',
    'dpt_hybrid_384',
    'dpt_swin2_tiny_256',
    'dpt_levit_224',
    'monodepth2',
)


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[ModelSpec]:
    """A model that gives metres: the brighter, the farther."""
    spec = toy_spec(tmp_path)
    models.register(spec)
    yield spec
    models.unregister('toy')


def wanted() -> np.ndarray:
    """1 / metres of the sample picture."""
    picture = models.spec('toy').picture.preprocess(PICTURE)[0]
    return 1 / np.clip(2 * picture.sum(axis=0) + 1, NEAR_M, FAR_M)


@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime', 'opencv', 'torch'])
def test_the_toy_runs_on_every_backend_and_near_is_large(toy: ModelSpec, backend: str) -> None:
    if backend != 'opencv':
        pytest.importorskip(backend)
    estimator = load_estimator('toy', backend, precision='f32')
    assert (estimator.model, estimator.backend) == ('toy', backend)
    found = estimator.infer(PICTURE)
    np.testing.assert_allclose(found, wanted(), atol=1e-5)
    assert estimator.estimate(PICTURE).shape == PICTURE.shape[:2]
    assert toy.shipped
    from_file = load_estimator(toy.shipped, backend, precision='f32')
    np.testing.assert_array_equal(from_file.infer(PICTURE), found)


def test_disparity_is_relative_inverse_depth_already(toy: ModelSpec) -> None:
    output = np.array([[0.1, 2.0]], np.float32)
    disparity = dataclasses.replace(toy, output=Output.DISPARITY, depth_range_m=None)
    np.testing.assert_array_equal(disparity.finish(output, (1, 2)), output)
    np.testing.assert_allclose(toy.finish(output, (1, 2)), [[1 / NEAR_M, 0.5]])


def test_relative_depth_is_turned_over_and_zero_is_near_not_infinite(toy: ModelSpec) -> None:
    depth = dataclasses.replace(toy, output=Output.RELATIVE_DEPTH, depth_range_m=None)
    output = np.array([[0.0, 1.0, 4.0]], np.float32)
    found = depth.finish(output, (1, 3))
    np.testing.assert_allclose(found, [[250.0, 1.0, 0.25]])
    np.testing.assert_allclose(depth.enlarge(found, (1, 3)), found)
    assert np.isnan(depth.finish(-output, (1, 3))).all()


def test_relative_depth_of_a_partly_blind_picture_is_known_beside_the_blind_part(
    toy: ModelSpec,
) -> None:
    depth = dataclasses.replace(toy, output=Output.RELATIVE_DEPTH, depth_range_m=None)
    answer = np.full((12, 8), 0.5, np.float32)
    whole = depth.enlarge(answer, (24, 16))
    answer[:4] = np.nan
    partly = depth.enlarge(answer, (24, 16))
    np.testing.assert_allclose(partly[12:], whole[12:])
    assert np.isnan(partly[:6]).all()


def test_the_estimator_gives_metres_where_the_network_does(toy: ModelSpec) -> None:
    estimator = load_estimator('toy', 'opencv')
    assert estimator.gives is Output.METRIC_DEPTH
    small = np.array([[1 / NEAR_M, 0.5, 1 / (0.99 * FAR_M), 1 / FAR_M]], np.float32)
    np.testing.assert_allclose(estimator.metres(small), [[NEAR_M, 2.0, np.nan, np.nan]])
    assert estimator.metres(small).dtype == np.float32
    assert estimator.metres(small, 55.0)[0, 1] == 2.0  # the focal length does not matter
    whole = estimator.metres(estimator.estimate(PICTURE))
    assert whole.shape == PICTURE.shape[:2]
    np.testing.assert_allclose(estimator.metres(estimator.infer(PICTURE)), 1 / wanted(), rtol=1e-4)


def test_metres_for_one_focal_length_are_given_with_it(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, focal_reference_px=300.0)
    models.register(spec)
    try:
        estimator = load_estimator('toy', 'opencv')
    finally:
        models.unregister('toy')
    small = np.array([[0.5, 1 / FAR_M]], np.float32)
    np.testing.assert_allclose(estimator.metres(small, 150.0), [[1.0, np.nan]])
    for bad in (None, 0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"focal_length_px is .*camera's focal length"):
            estimator.metres(small, bad)


def test_other_models_give_no_metres() -> None:
    estimator = load_estimator('embedded', 'opencv')
    assert estimator.gives is Output.RELATIVE_INVERSE_DEPTH
    with pytest.raises(DepthError, match=r'embedded gives relative inverse depth, not metres: fit'):
        estimator.metres(np.ones((2, 2), np.float32))


def test_the_domain_of_metres_is_known_of_each_model() -> None:
    """Or a robot would be told metres without where they hold."""
    metric = [name for name in models.names() if models.spec(name).output is Output.METRIC_DEPTH]
    assert len(metric) == 2
    assert [models.spec(name).domain.split()[0] for name in metric] == ['indoors', 'outdoors']
    for name in models.names():
        spec = models.spec(name)
        assert bool(spec.domain) is (name in metric)
        assert spec.output.proportional is (spec.output is not Output.RELATIVE_INVERSE_DEPTH)
        assert (spec.far_end > 0) is (name in metric)
    assert 1 / models.spec(metric[0]).far_end == pytest.approx(0.98 * 20)
    assert 1 / models.spec(metric[1]).far_end == pytest.approx(0.98 * 80)


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_the_toy_is_exported_and_known_again(toy: ModelSpec, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip('openvino')
    path = tmp_path / f'robot{suffix}'
    form = ['--format', 'onnx'] if suffix == '.onnx' else []
    result = CliRunner().invoke(main, ['export', 'toy', '--output', str(path), *form])
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(load_estimator(path).infer(PICTURE), wanted(), atol=1e-3)


def test_without_metadata_a_file_is_not_taken_for_a_network_that_others_trained_to_give_depth(
    toy: ModelSpec, tmp_path: Path
) -> None:
    openvino = pytest.importorskip('openvino')
    from midas_depth_ros.depth.backends.openvino_runtime import Runtime

    assert toy.shipped
    path = tmp_path / 'robot.xml'
    graph = openvino.Core().read_model(models.onnx_of(toy.shipped), b'')
    openvino.save_model(graph, path, compress_to_fp16=False)
    assert Runtime().read(path).spec is toy
    models.unregister('toy')
    models.register(dataclasses.replace(toy, keys_tell=False))
    with pytest.raises(WeightsMismatch, match='output_meaning'):
        Runtime().read(path)


def test_the_command_line_takes_the_toy(toy: ModelSpec, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'in.png'), PICTURE[..., ::-1])
    command = ['image', str(tmp_path / 'in.png'), '--model', 'toy', '--output', str(tmp_path / 'o')]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert list((tmp_path / 'o').iterdir()) or (tmp_path / 'o').is_file()


def test_the_weights_file_of_each_model_is_recognised_by_its_shapes(
    toy: ModelSpec, tmp_path: Path
) -> None:
    assert toy.shipped
    assert models.spec_of(toy.shipped) is toy
    assert models.spec_of(models.embedded.ASSET).name == 'embedded'
    np.savez(tmp_path / 'odd.npz', **{'mix.weight': np.ones((1, 3, 1, 1)), 'more': np.ones(2)})
    with pytest.raises(WeightsMismatch, match=r'of the toy: 1 missing .*1 unexpected'):
        load_estimator(tmp_path / 'odd.npz')


def test_names_are_those_of_the_registry(toy: ModelSpec) -> None:
    assert models.names() == (*NAMES, 'toy')
    with pytest.raises(UnknownModel, match=r'a model \(auto, midas_small, embedded, .*, toy\) nor'):
        load_estimator('toys')
    with pytest.raises(ValueError, match="'toy' is registered already"):
        models.register(toy)
    with pytest.raises(ValueError, match=r"'other': 'toy' has a weights file 'toy\.npz', too"):
        models.register(dataclasses.replace(toy, name='other'))
    models.unregister('toy')
    with pytest.raises(UnknownModel, match='not one of the models: midas_small, embedded, '):
        models.spec('toy')
    models.register(toy)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'name': 'Two Words'}, "model 'Two Words': use lower-case letters"),
        ({'name': 'auto'}, 'not auto'),
        ({'title': ''}, 'its title is empty'),
        ({'shapes': {}}, 'keys and shapes'),
        ({'build': None, 'onnx': None}, 'its torch module, its ONNX graph, or both'),
        ({'shipped': None}, 'no address, and is not shipped'),
        ({'depth_range_m': None}, 'depth_range_m belongs to a network that gives metric depth'),
        ({'depth_range_m': (2.0, 1.0)}, r'depth_range_m is \(2.0, 1.0\): give 0 < nearest'),
        ({'output': Output.DISPARITY}, 'depth_range_m belongs'),
        (
            {'output': Output.DISPARITY, 'depth_range_m': None, 'focal_reference_px': 300.0},
            'focal_reference_px belongs to a network that gives metric depth',
        ),
        ({'focal_reference_px': 0.0}, r'focal_reference_px is 0.0: give pixels above 0'),
        ({'weights': WeightsFile('toy.h5', '', 1, 'a' * 64)}, r"'toy.h5': name it .* or \*\.pt or"),
        ({'weights': WeightsFile('toy.pt', '', 1, 'abc')}, 'size and SHA-256 of toy.pt'),
        (
            {'weights': WeightsFile('toy.pt', 'http://x', must_be_accepted=True, licence='N')},
            'what the licence of toy.pt forbids',
        ),
        ({'weights': WeightsFile('toy.pt', 'http://x', 1, 'a' * 64)}, 'under which licence toy.pt'),
    ],
)
def test_a_spec_that_cannot_be_right_is_refused(
    toy: ModelSpec, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(toy, **change)


def test_a_picture_without_size_is_refused() -> None:
    with pytest.raises(ValueError, match='multiples of 32'):
        PictureInput((60, 80), multiple=32)
    with pytest.raises(ValueError, match='three numbers above 0'):
        PictureInput((60, 80), std=(0.0, 1.0, 1.0))


@pytest.mark.parametrize('name', NAMES)
def test_documentation_names_every_model(name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    for page in ('README.md', 'docs/backends.md', 'docs/parameters.md'):
        assert name in (root / page).read_text(), page


# --- Which model a file is of.

SMALL = ('v2_small', 'v2_metric_indoor_small', 'v2_metric_outdoor_small', 'v1_small')
SAME_KEYS = tuple(f'depth_anything_{each}' for each in SMALL)


def zeros_like(spec: ModelSpec, path: Path) -> Path:
    """A file with the keys and shapes of a model; each number is the same one."""
    torch = pytest.importorskip('torch')
    zero = torch.zeros(())
    torch.save({key: zero.expand(shape) for key, shape in spec.shapes.items()}, path)
    return path


@pytest.mark.parametrize('name', [each for each in NAMES if models.spec(each).keys_tell])
def test_keys_and_shapes_tell_whose_weights_they_are(name: str, tmp_path: Path) -> None:
    spec = models.spec(name)
    if '.npz' in spec.suffixes:
        pytest.skip('the only one with such files')
    assert models.spec_of(zeros_like(spec, tmp_path / 'any.pth')) is spec


@pytest.mark.parametrize('name', [each for each in NAMES if not models.spec(each).keys_tell])
def test_of_those_that_share_them_hash_or_name_tells(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = models.spec(name)
    unknown = zeros_like(spec, tmp_path / 'best.pth')
    with pytest.raises(WeightsMismatch, match='near and far could be swapped') as caught:
        models.spec_of(unknown)
    assert f'{spec.weights.name} for {spec.title}' in str(caught.value)
    stem = Path(spec.weights.name).stem
    for named in (spec.weights.name, f'{name}.pt', f'{stem}_fp16.pth', f'{name}-F32.pt'):
        (tmp_path / named).write_bytes(unknown.read_bytes())
        assert models.spec_of(tmp_path / named) is spec
    other = models.spec(SAME_KEYS[0] if name != SAME_KEYS[0] else SAME_KEYS[1])
    if other.shapes == spec.shapes:  # the name says one thing, the hash another
        path = zeros_like(spec, tmp_path / other.weights.name)
        known = dataclasses.replace(
            spec, weights=dataclasses.replace(spec.weights, sha256=sha256_of(path))
        )
        monkeypatch.setitem(models._specs, name, known)
        assert models.spec_of(path) is known


@pytest.mark.parametrize(
    'named',
    [
        'depth_anything_v2_metric_hypersim_vitb.pth',
        'depth_anything_v2_vitb_metric.pth',
        'metric_depth_anything_v2_vitb.pth',
        'depth_anything_vitb14.pth',
        'latest.pth',
    ],
)
def test_a_name_that_is_only_alike_decides_nothing(named: str, tmp_path: Path) -> None:
    path = zeros_like(models.spec('depth_anything_v2_base'), tmp_path / named)
    with pytest.raises(WeightsMismatch, match=r'depth_anything_v2_vitb\.pth for Depth Anything'):
        load_estimator(path)


def test_a_wrapped_and_prefixed_table_is_of_its_model(tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    spec, zero = models.spec('zipdepth'), torch.zeros(())
    table = {f'module.{key}': zero.expand(shape) for key, shape in spec.shapes.items()}
    torch.save({'model': table, 'epoch': 3}, tmp_path / 'mine.pth')
    assert models.spec_of(tmp_path / 'mine.pth') is spec


# --- Licences.

ACCEPTING = (
    'CC-BY-NC-4.0',
    'MIT, CC-BY-NC-4.0,',
    ' CC-BY-NC-4.0 ',
    'cc-by-nc 4.0',
    'MIT CC-BY-NC-4.0',
)
RESTRICTED = tuple(name for name in NAMES if models.spec(name).weights.must_be_accepted)


def test_a_typing_error_in_an_accepted_licence_is_named() -> None:
    for fine in ('', 'MIT', 'MIT,', 'Monodepth2', *ACCEPTING):
        assert not models.licences_fault(fine)
    fault = models.licences_fault('MIT,CC-BY-NC-4')
    assert fault == (
        "'CC-BY-NC-4' is the licence of no model; those to accept: CC-BY-NC-4.0, "
        'LicenseRef-Monodepth2'
    )
    result = CliRunner().invoke(main, ['weights', 'fetch', '--accept-licence', 'CC-BY-NC'])
    assert result.exit_code == 2
    assert "'CC-BY-NC' is the licence of no model" in result.output


@pytest.mark.parametrize('accepted', ACCEPTING)
def test_a_licence_is_accepted_by_its_name_however_it_is_written(accepted: str) -> None:
    models.check_licence(models.spec('depth_anything_v2_base'), accepted)


def test_restricted_weights_are_neither_fetched_nor_used_before_the_licence_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RESTRICTED == ('depth_anything_v2_base', 'depth_anything_v2_large', 'monodepth2')
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(tmp_path))
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_URL', 'http://127.0.0.1:9/')
    spec = models.spec(RESTRICTED[0])
    path = zeros_like(spec, tmp_path / spec.weights.name)
    for model in (spec.name, str(path)):
        for accepted in ('', 'MIT', 'CC-BY-NC'):
            with pytest.raises(LicenceNotAccepted, match=r'accept_licence=CC-BY-NC-4\.0'):
                load_estimator(model, accept_licence=accepted)
    result = CliRunner().invoke(main, ['weights', 'fetch', '--model', spec.name])
    assert result.exit_code != 0
    assert 'CC-BY-NC-4.0' in result.output
    assert models.find_weights(str(path), accept_licence='MIT, CC-BY-NC-4.0') == path


def test_every_command_that_takes_a_model_accepts_licences() -> None:
    commands = {**main.commands, 'dashboard': dashboard, 'fetch': weights.commands['fetch']}
    for name, command in commands.items():
        options = {parameter.name for parameter in command.params}
        if 'model' in options:
            assert 'accept_licence' in options, name
    assert {'accept_licence'} <= {each.name for each in commands['export'].params}


@pytest.mark.parametrize('command', ['export', 'bench', 'image'])
def test_a_command_refuses_restricted_weights_and_says_what_to_add(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = models.spec(RESTRICTED[0])
    path = str(zeros_like(spec, tmp_path / spec.weights.name))
    given = {
        'export': [path, '--output', str(tmp_path / 'o.xml')],
        'bench': ['--quick', '--model', path],
        'image': [str(SAMPLE), '--model', path, '--output', str(tmp_path / 'o')],
    }[command]
    result = CliRunner().invoke(main, [command, *given])
    assert result.exit_code == 1
    assert 'on the command line --accept-licence CC-BY-NC-4.0' in ' '.join(result.output.split())
    if command == 'image':  # the others would take long, and are tried with smaller networks
        asked: list[tuple[str, str]] = []

        def load(model: str = '', accept_licence: str = '', model_file: Any = None) -> None:
            asked.append((model, accept_licence))
            raise BackendUnavailable('none here')

        monkeypatch.setattr(options, 'load_estimator', load)
        CliRunner().invoke(main, [command, *given, '--accept-licence', 'CC-BY-NC-4.0'])
        assert asked == [(path, 'CC-BY-NC-4.0')]


def test_an_exported_model_keeps_its_licence(toy: ModelSpec, tmp_path: Path) -> None:
    pytest.importorskip('onnxruntime')
    assert toy.shipped
    restricted = dataclasses.replace(
        toy.weights, licence='CC-BY-NC-4.0', restriction='for play', must_be_accepted=True
    )
    models.unregister('toy')
    models.register(dataclasses.replace(toy, weights=restricted))
    path = tmp_path / 'robot.onnx'
    command = ['export', 'toy', '--format', 'onnx', '--output', str(path)]
    assert 'for play' in CliRunner().invoke(main, command).output
    result = CliRunner().invoke(main, [*command, '--accept-licence', 'CC-BY-NC-4.0'])
    assert result.exit_code == 0, result.output
    with pytest.raises(LicenceNotAccepted, match='for play'):
        load_estimator(path)
    estimator = load_estimator(path, accept_licence='CC-BY-NC-4.0')
    assert estimator.licence == 'CC-BY-NC-4.0: for play'


@pytest.mark.parametrize('name', ['mono_640x192.zip', 'checkpoint.tar', 'weights.pt.gz'])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'PK')
    with pytest.raises(UnknownModel, match='is an archive: unpack it, and give'):
        load_estimator(tmp_path / name)


def test_weights_without_a_published_hash_are_taken_by_their_path_alone(tmp_path: Path) -> None:
    spec = models.spec('dpt_levit_224')
    with pytest.raises(WeightsNotFound, match=r'dpt_levit_224\.pt .* give its path'):
        load_estimator(spec.name)
    path = zeros_like(spec, tmp_path / 'levit.pt')
    assert models.find_weights(str(path)) == path


# --- For checks from outside.


@pytest.mark.parametrize('name', NAMES)
def test_the_bare_module_takes_the_renamed_state_dict(name: str) -> None:
    torch = pytest.importorskip('torch')
    if name == 'midas_small':
        if find_spec('timm') is None:
            pytest.skip('timm is not there')
        import_timm()
    with torch.device('meta'):
        spec = models.spec(name)
        official = {key: torch.zeros(shape) for key, shape in spec.shapes.items()}
        found = spec.module().state_dict()
        renamed = spec.rename(official)
    assert renamed.keys() == found.keys()
    assert {key: each.shape for key, each in renamed.items()} == {
        key: each.shape for key, each in found.items()
    }


def test_the_weights_command_says_what_holds_for_a_model() -> None:
    shown = CliRunner().invoke(main, ['weights', 'show', '--model', 'dpt_levit_224']).output
    assert 'give its path as the model' in ' '.join(shown.split())
    assert '`midas_depth weights fetch` downloads' not in shown
    shown = CliRunner().invoke(main, ['weights', 'show', '--model', RESTRICTED[0]]).output
    fetching = 'weights fetch --model depth_anything_v2_base --accept-licence CC-BY-NC-4.0`'
    assert fetching in ' '.join(shown.split())
    assert 'licence CC-BY-NC-4.0: for non-commercial use only' in shown
