"""Monodepth2 against its official code, on weights that anyone can make, and its two files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_networks import (
    BACKENDS,
    TOLERANCE,
    Infer,
    deviation,
    golden_noise,
    golden_weights,
)
from PIL import Image

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch, WeightsNotFound
from midas_depth_ros.depth.models import monodepth2

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
        table = {key: torch.from_numpy(v) for key, v in weights.items() if key.startswith(prefix)}
        path = folder / f'{file}.pth'
        torch.save(table | beside, path, _use_new_zipfile_serialization=zipped)
    return folder


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize('given', ['', 'encoder.pth', 'depth.pth'])
def test_both_files_are_read_whichever_is_named(
    weights: Arrays, tmp_path: Path, given: str, zipped: bool
) -> None:
    write(tmp_path, weights, zipped, height=320, width=1024, use_stereo=True)
    found, size = monodepth2.read_official(tmp_path / given)
    assert size == (320, 1024)
    assert found.keys() == weights.keys()
    for key, value in weights.items():
        np.testing.assert_array_equal(found[key], value)


def test_numbers_beside_the_tensors_are_no_weights(weights: Arrays) -> None:
    table = weights | {'height': 192, 'width': 640, 'use_stereo': False}
    assert monodepth2.rename(table).keys() == weights.keys()
    assert monodepth2.rename({'other': 1}) == {'other': 1}


def test_a_file_that_is_missing_is_named(weights: Arrays, tmp_path: Path) -> None:
    write(tmp_path, weights)
    (tmp_path / 'depth.pth').unlink()
    with pytest.raises(WeightsNotFound, match=r'has no depth\.pth: Monodepth2 is the two files'):
        monodepth2.read_official(tmp_path / 'encoder.pth')


@pytest.mark.parametrize('height', [0, 100, 1 << 20, 192.0, True, '192'])
def test_a_size_that_cannot_be_is_refused(weights: Arrays, tmp_path: Path, height: Any) -> None:
    write(tmp_path, weights, height=height, width=640)
    with pytest.raises(WeightsMismatch, match='multiples of 32 from 64 to 2048'):
        monodepth2.read_official(tmp_path)


def test_a_file_that_is_cut_short_is_refused(weights: Arrays, tmp_path: Path) -> None:
    write(tmp_path, weights)
    path = tmp_path / 'depth.pth'
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsCorrupt, match=r'depth\.pth .*ends too early'):
        monodepth2.read_official(tmp_path)
