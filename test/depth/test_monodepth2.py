"""Monodepth2 against its official code, on weights that anyone can make, and its two files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from golden_networks import (
    BACKENDS,
    TOLERANCE,
    Infer,
    deviation,
    golden_noise,
    golden_weights,
)
from PIL import Image

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import DepthEstimator, load_estimator, models
from midas_depth_ros.depth.errors import (
    DepthError,
    LicenceNotAccepted,
    WeightsCorrupt,
    WeightsError,
    WeightsMismatch,
    WeightsNotFound,
)
from midas_depth_ros.depth.files import sha256_of
from midas_depth_ros.depth.model_check import sample_pictures
from midas_depth_ros.depth.models import monodepth2

LICENCE = monodepth2.SPEC.weights.licence

SIZES = {(96, 160): 4, (192, 640): 8}  # and every how many rows and columns are kept

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope='module')
def described(golden_dir: Path) -> dict[str, Any]:
    return json.loads((golden_dir / 'monodepth2.json').read_text())


@pytest.fixture(scope='module')
def figures(golden_dir: Path) -> Arrays:
    with np.load(golden_dir / 'monodepth2.npz') as archive:
        return dict(archive)


@pytest.fixture(scope='module')
def weights(described: dict[str, Any]) -> Arrays:
    return golden_weights(described['monodepth2'])


@pytest.fixture(scope='module')
def hollow() -> Arrays:
    """The same entries, each one zero that is repeated: small files."""
    zero = np.zeros((), np.float32)
    return {k: np.broadcast_to(zero, shape) for k, shape in monodepth2.monodepth2_shapes().items()}


def network(weights: Arrays) -> Infer:
    torch = pytest.importorskip('torch')
    module = monodepth2.build()
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    module.eval()

    def infer(picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(picture))[0])

    return infer


def run_by(backend: Callable[[bytes], Infer]) -> Callable[[Arrays], Infer]:
    return lambda weights: backend(monodepth2.monodepth2_onnx(weights))


GRAPHS = [pytest.param(run_by(backend), id=backend.__name__) for backend in BACKENDS]


def test_keys_and_shapes_are_the_official_ones(described: dict[str, Any]) -> None:
    pytest.importorskip('torch')
    wanted = {key: tuple(entry[0]) for key, entry in described['monodepth2'].items()}
    assert monodepth2.monodepth2_shapes() == wanted
    module = monodepth2.build()
    assert {key: tuple(value.shape) for key, value in module.state_dict().items()} == wanted


@pytest.mark.parametrize('backend', [network, *GRAPHS])
def test_it_gives_what_the_official_network_gives(
    weights: Arrays, figures: Arrays, backend: Callable[[Arrays], Infer]
) -> None:
    infer = backend(weights)
    for (height, width), step in SIZES.items():
        found = infer(golden_noise(height, width))
        assert found.shape == (height, width)
        wanted = figures[f'monodepth2_output_{height}x{width}_every_{step}']
        assert deviation(found[::step, ::step], wanted) < TOLERANCE


@pytest.mark.parametrize('backend', GRAPHS)
def test_the_smallest_picture_has_two_places_at_the_coarsest_stride(
    weights: Arrays, backend: Callable[[Arrays], Infer]
) -> None:
    picture = golden_noise(monodepth2.LEAST_SIDE, monodepth2.LEAST_SIDE)
    assert deviation(backend(weights)(picture), network(weights)(picture)) < TOLERANCE


def test_the_graph_refuses_weights_that_are_no_numbers(weights: Arrays) -> None:
    variance = 'encoder.layer2.0.bn1.running_var'
    with pytest.raises(ValueError, match=r'layer2\.0\.conv1\.kernel holds NaN or infinity'):
        monodepth2.monodepth2_onnx(weights | {variance: np.full(128, -1, np.float32)})


def test_the_whole_way_of_a_picture(weights: Arrays, figures: Arrays, shared_data: Path) -> None:
    path = shared_data.parent / 'golden' / 'room.png'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    with Image.open(path) as image:
        rgb = np.asarray(image.convert('RGB'))
    picture = np.ascontiguousarray(monodepth2.SPEC.picture.preprocess(rgb))
    output = network(weights)(picture)
    large = monodepth2.SPEC.enlarge(output, rgb.shape[:2])
    for found, what in ((picture, 'network_input'), (output, 'network_output'), (large, 'picture')):
        wanted = figures[f'monodepth2_{what}_every_16']
        assert deviation(found[..., ::16, ::16], wanted) < TOLERANCE


def test_every_picture_gets_the_same_size(described: dict[str, Any]) -> None:
    for *_, width, height in described['sizes']:
        assert monodepth2.SPEC.picture.network_size(64, 48) == (width, height)


# --- The two official files.


def write(folder: Path, weights: Arrays, zipped: bool = False, **numbers: Any) -> Path:
    """As its authors wrote them: the numbers beside the tensors of the first."""
    torch = pytest.importorskip('torch')
    for file, prefix, beside in (('encoder', 'encoder.', numbers), ('depth', 'decoder.', {})):
        table = {
            key: torch.from_numpy(value)
            if value.flags.writeable
            else torch.zeros(()).expand(value.shape)
            for key, value in weights.items()
            if key.startswith(prefix)
        }
        path = folder / f'{file}.pth'
        torch.save(table | beside, path, _use_new_zipfile_serialization=zipped)
    return folder


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize('given', ['', 'encoder.pth', 'depth.pth'])
def test_both_files_are_read_whichever_is_named(
    weights: Arrays, tmp_path: Path, given: str, zipped: bool
) -> None:
    write(tmp_path, weights, zipped, height=320, width=1024, use_stereo=True)
    path = models.find_weights(str(tmp_path / given), accept_licence=LICENCE)
    spec = models.spec_of(path)
    assert (spec.name, spec.picture.size) == ('monodepth2', (320, 1024))
    assert models.spec_of(path) is spec
    found = models.read_arrays(path)
    assert found.keys() == weights.keys()
    for key, value in weights.items():
        np.testing.assert_array_equal(found[key], value)


def test_one_file_with_both_tables_is_read_too(weights: Arrays, tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    table = {key: torch.from_numpy(value) for key, value in weights.items()}
    path = tmp_path / 'both.pt'
    torch.save(table | {'height': 192, 'width': 640, 'use_stereo': False}, path)
    assert models.spec_of(path) is monodepth2.SPEC
    assert models.read_arrays(path).keys() == weights.keys()
    torch.save(table | {'epoch': 3}, path)
    with pytest.raises(WeightsMismatch, match=r'beside its weights it holds epoch: save network'):
        models.read_arrays(path)


def test_numbers_beside_the_tensors_are_no_weights(weights: Arrays) -> None:
    table = weights | {'height': 192, 'width': 640, 'use_stereo': False}
    assert monodepth2.rename(table).keys() == weights.keys()
    assert monodepth2.rename({'other': 1}) == {'other': 1}


@pytest.mark.parametrize('missing', ['encoder.pth', 'depth.pth'])
def test_a_file_that_is_missing_is_named(hollow: Arrays, tmp_path: Path, missing: str) -> None:
    write(tmp_path, hollow)
    (tmp_path / missing).unlink()
    other = {'encoder.pth': 'depth.pth', 'depth.pth': 'encoder.pth'}[missing]
    for given in (tmp_path, tmp_path / other):
        with pytest.raises(WeightsNotFound, match=rf'has no {missing}: Monodepth2 is the files'):
            load_estimator(given, accept_licence=LICENCE)


@pytest.mark.parametrize('height', [0, 100, 1 << 20, 192.0, True, '192'])
def test_a_size_that_cannot_be_is_refused(hollow: Arrays, tmp_path: Path, height: Any) -> None:
    write(tmp_path, hollow, height=height, width=640)
    with pytest.raises(WeightsMismatch, match=r'encoder\.pth says .* multiples of 32 from 64 to'):
        load_estimator(tmp_path, accept_licence=LICENCE)


def test_a_file_that_is_cut_short_is_refused(weights: Arrays, tmp_path: Path) -> None:
    write(tmp_path, weights)
    path = tmp_path / 'depth.pth'
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsCorrupt, match=r'depth\.pth .*ends too early'):
        load_estimator(tmp_path, accept_licence=LICENCE)


def test_files_that_hold_the_same_are_refused(hollow: Arrays, tmp_path: Path) -> None:
    write(tmp_path, hollow)
    (tmp_path / 'depth.pth').write_bytes((tmp_path / 'encoder.pth').read_bytes())
    path = tmp_path / 'depth.pth'
    with pytest.raises(WeightsMismatch, match=r'holds encoder\..*, as encoder\.pth does'):
        models.read_arrays(path)
    with pytest.raises(WeightsError):
        load_estimator(path, accept_licence=LICENCE)


def test_the_digest_is_of_both_files(weights: Arrays, tmp_path: Path) -> None:
    write(tmp_path, weights)
    before = models.digest_of(tmp_path / 'encoder.pth')
    assert before == models.digest_of(tmp_path / 'depth.pth')
    write(tmp_path, weights | {'decoder.13.conv.bias': np.ones(1, np.float32)})
    assert models.digest_of(tmp_path / 'encoder.pth') != before
    assert models.digest_of(tmp_path / 'encoder.pth') != sha256_of(tmp_path / 'encoder.pth')


# --- From a folder to depth.


@pytest.mark.parametrize('backend', ['torch', 'openvino', 'onnxruntime'])
def test_a_folder_runs_on_every_backend(
    weights: Arrays, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MIDAS_DEPTH_CACHE_DIR', str(tmp_path / 'cache'))
    folder = tmp_path / 'mono_128x96'
    folder.mkdir()
    write(folder, weights, height=96, width=128)
    picture = sample_pictures(['street_1'])['street_1']
    wanted = network(weights)(
        np.ascontiguousarray(
            monodepth2.SPEC.sized((96, 128)).picture.preprocess(picture)  # (1, 3, 96, 128)
        )
    )
    pytest.importorskip(backend)
    for _ in range(2):  # converted, and from the cache
        estimator = load_estimator(folder, backend, precision='f32', accept_licence=LICENCE)
        assert (estimator.model, estimator.backend) == ('mono_128x96', backend)
        found = estimator.infer(picture)
        assert found.shape == (96, 128)
        assert deviation(found, wanted) < TOLERANCE
        estimator.close()


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_an_exported_file_keeps_the_size_of_the_pictures(
    weights: Arrays, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('openvino')
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'mono_128x96'
    folder.mkdir()
    write(folder, weights, height=96, width=128)
    form = 'onnx' if suffix == '.onnx' else 'openvino'
    command = ['export', str(folder), '--format', form]
    refused = CliRunner().invoke(main, command)
    assert '--accept-licence LicenseRef-Monodepth2' in refused.output
    result = CliRunner().invoke(main, [*command, '--accept-licence', LICENCE])
    assert result.exit_code == 0, result.output
    picture = sample_pictures(['street_1'])['street_1']
    with load(tmp_path / f'mono_128x96_f32{suffix}') as exported, load(folder) as own:
        assert exported.infer(picture).shape == (96, 128)
        assert deviation(exported.infer(picture), own.infer(picture)) < TOLERANCE


@contextlib.contextmanager
def load(path: Path) -> Iterator[DepthEstimator]:
    estimator = load_estimator(path, precision='f32', accept_licence=LICENCE)
    yield estimator
    estimator.close()


@pytest.mark.parametrize(
    'size', [[0, 640], [192], 'x', [192.0, 640], [1 << 40, 640], [True, 64], [96, 128, 3], {}]
)
def test_a_size_in_the_metadata_of_a_file_is_not_believed(size: Any) -> None:
    with pytest.raises(ValueError, match='pictures are'):
        models.marked(monodepth2.SPEC, {'picture_size': size})


def test_a_size_in_the_metadata_of_a_file_is_taken() -> None:
    assert models.marked(monodepth2.SPEC, {}) is monodepth2.SPEC
    assert models.marked(monodepth2.SPEC, {'picture_size': [192, 640]}) is monodepth2.SPEC
    large = models.marked(monodepth2.SPEC, {'picture_size': [320, 1024]})
    assert large.picture.network_size(640, 480) == (1024, 320)
    other = models.spec('midas_small')
    assert models.marked(other, {'picture_size': [64, 64]}) is other


def test_the_name_alone_says_how_to_get_it() -> None:
    with pytest.raises(LicenceNotAccepted, match=r'non-commercial use only.* patent pending'):
        load_estimator('monodepth2')
    with pytest.raises(WeightsNotFound, match=r'give the folder with encoder\.pth and depth\.pth'):
        load_estimator('monodepth2', accept_licence=LICENCE)


@pytest.mark.parametrize('accepted', ['', 'MIT', 'CC-BY-NC-4.0'])
def test_a_folder_needs_its_licence_accepted(hollow: Arrays, tmp_path: Path, accepted: str) -> None:
    write(tmp_path, hollow)
    for given in (tmp_path, tmp_path / 'encoder.pth', tmp_path / 'depth.pth'):
        with pytest.raises(LicenceNotAccepted, match=r'accept_licence=LicenseRef-Monodepth2'):
            load_estimator(given, accept_licence=accepted)


# --- Files that are made to harm, or are no files.


class Harmful:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def torch_save(path: Path, table: Any, zipped: bool) -> None:
    torch = pytest.importorskip('torch')
    torch.save(table, path, _use_new_zipfile_serialization=zipped)


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize('name', monodepth2.FILES)
@pytest.mark.parametrize(
    'attack',
    [
        replace_by_fifo,
        replace_by_folder,
        replace_by_loop,
        lambda path: path.write_bytes(b''),
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(b'PK' + bytes(1000)),
        lambda path: torch_save(path, {'a': Harmful(path.with_name('ran'))}, zipped=True),
        lambda path: torch_save(path, {'a': Harmful(path.with_name('ran'))}, zipped=False),
        lambda path: torch_save(path, [1, 2], zipped=False),
    ],
    ids=['fifo', 'folder', 'loop', 'empty', 'cut', 'zip', 'code', 'old code', 'a list'],
)
def test_a_harmful_file_is_refused_by_its_name(
    hollow: Arrays, tmp_path: Path, name: str, attack: Callable[[Path], None]
) -> None:
    write(tmp_path, hollow)
    attack(tmp_path / name)
    for given in (tmp_path, *(tmp_path / each for each in monodepth2.FILES)):
        with pytest.raises(DepthError) as caught:
            load_estimator(given, accept_licence=LICENCE)
        assert name in str(caught.value)
        assert str(caught.value).isprintable()
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        (np.full((1, 16, 3, 3), np.nan, np.float32), r'holds NaN or infinity in 1 of 150'),
        (np.ones((1, 16, 3, 3), np.int8), r'whole numbers \(int8\) in 1 of 150'),
        (np.ones((2, 16, 3, 3), np.float32), r'1 of another shape \(decoder\.10'),
    ],
)
def test_weights_that_are_wrong_are_named(
    weights: Arrays, tmp_path: Path, values: np.ndarray, said: str
) -> None:
    write(tmp_path, weights | {'decoder.10.conv.weight': values})
    with pytest.raises(WeightsError, match=said):
        load_estimator(tmp_path, accept_licence=LICENCE)
