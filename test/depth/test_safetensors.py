"""Safetensors files: what is read, and what is refused before memory is taken."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors_writer import TYPES, Arrays, content_of, write_safetensors
from toy_model import toy_spec

from midas_depth_ros.depth import load_estimator, models
from midas_depth_ros.depth.errors import DepthError, WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.safetensors_files import (
    MOST_HEADER_BYTES,
    read_safetensors,
    safetensors_header,
)

FEW = 1000  # numbers

ARRAYS = {
    'a.weight': np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    'a.count': np.array(7),
    'none': np.zeros((0, 4), np.float16),
    **{name.lower(): np.array([0, 1, 1], kind) for kind, name in TYPES.items()},
}


def test_every_type_and_shape_is_read(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / 'a.safetensors', ARRAYS)
    assert safetensors_header(path).shapes == {k: each.shape for k, each in ARRAYS.items()}
    found = read_safetensors(path, FEW).arrays
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize('kind', ['float32', 'float16', 'bfloat16', 'float64', 'int64', 'bool'])
def test_what_the_library_writes_is_read(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip('torch')
    library = pytest.importorskip('safetensors.torch')
    table = {
        'a': torch.linspace(0, 3, 6).reshape(2, 3).to(getattr(torch, kind)),
        'b': torch.ones(()),
    }
    library.save_file(table, tmp_path / 'a.safetensors', metadata={'format': 'pt'})
    found = read_safetensors(tmp_path / 'a.safetensors', FEW).arrays
    np.testing.assert_array_equal(found['a'], table['a'].float().numpy())
    assert found['b'].shape == ()


@pytest.mark.parametrize(
    'prefix', ['module.', 'model.', '_orig_mod.', 'model.module.', 'module.model.']
)
def test_a_prefix_of_all_names_is_removed(tmp_path: Path, prefix: str) -> None:
    path = write_safetensors(
        tmp_path / 'a.safetensors', {f'{prefix}{k}': v for k, v in ARRAYS.items()}
    )
    assert read_safetensors(path, FEW).arrays.keys() == ARRAYS.keys()
    assert safetensors_header(path).shapes.keys() == ARRAYS.keys()


def entry(kind: Any = 'F32', shape: Any = (1,), place: Any = (0, 4)) -> dict[str, Any]:
    return {'dtype': kind, 'shape': shape, 'data_offsets': place}


FOUR = bytes(4)
HOSTILE = {
    'empty': (b'', 'not a table|Expecting value|ends before'),
    'seven bytes': (b'\x01' * 7, 'ends before|would have'),
    'a header of 2**63 bytes': (content_of({}, length=2**63), 'its header would have'),
    'a header of 1 MB and a byte': (
        content_of({}, length=MOST_HEADER_BYTES + 1),
        'its header would have',
    ),
    'a header beyond the file': (content_of({}, length=1000), 'ends before its header'),
    'a list': (content_of([1]), 'its header is not a table'),
    'no JSON': (content_of(b'{"a": '), 'Expecting'),
    'not UTF-8': (content_of(b'\xff\xfe\xfd\xfc'), 'codec'),
    'deep': (content_of(b'[' * 100_000 + b']' * 100_000), 'recursion'),
    'a number of 10,000 digits': (content_of(b'{"a": ' + b'9' * 10_000 + b'}'), 'digits'),
    'NaN': (content_of(b'{"a": NaN}'), 'its header holds NaN'),
    'a name twice': (content_of(b'{"a": {}, "a": {}}'), 'in its header twice'),
    'a place twice in an entry': (
        content_of(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"shape":[1]}}', FOUR),
        'in its header twice',
    ),
    'no entry': (content_of({'a': 3}), 'not described by a table'),
    'another type': (content_of({'a': entry('F8_E4M3', [4], [0, 4])}, FOUR), 'is of type F8_E4M3'),
    'no type': (content_of({'a': entry(None)}, FOUR), 'is of type None'),
    'a type that is a list': (content_of({'a': entry(['F32'])}, FOUR), 'is of type'),
    'a shape that is a text': (content_of({'a': entry(shape='1')}, FOUR), 'has the shape 1'),
    'a negative side': (content_of({'a': entry(shape=[-1], place=[4, 0])}, FOUR), 'has the shape'),
    'a side that is no number': (content_of({'a': entry(shape=[1.0])}, FOUR), 'has the shape'),
    'a side that is true': (content_of({'a': entry(shape=[True])}, FOUR), 'has the shape'),
    'nine axes': (content_of({'a': entry(shape=[1] * 9)}, FOUR), 'has the shape'),
    'a million axes': (content_of({'a': entry(shape=[1] * 300_000)}, FOUR), 'has the shape'),
    'a claim of 2**80 numbers': (
        content_of({'a': entry(shape=[2**40, 2**40], place=[0, 2**82])}, FOUR),
        'its arrays end at byte|gap',
    ),
    'a place with too few bytes': (content_of({'a': entry(shape=[2])}, FOUR), 'has 4 bytes'),
    'a place beyond the file': (content_of({'a': entry(place=[0, 4])}), 'its arrays end at byte'),
    'a gap': (content_of({'a': entry(place=[4, 8])}, bytes(8)), 'a gap or an overlap before a'),
    'an overlap': (
        content_of({'a': entry(), 'b': entry(place=[2, 6])}, bytes(6)),
        'a gap or an overlap before b',
    ),
    'one place for two': (content_of({'a': entry(), 'b': entry()}, FOUR), 'a gap or an overlap'),
    'bytes behind the arrays': (content_of({'a': entry()}, bytes(5)), 'its arrays end at byte'),
    'three offsets': (content_of({'a': entry(place=[0, 4, 4])}, FOUR), 'lies at'),
    'a cut': (content_of({'a': entry(shape=[9], place=[0, 36])}, bytes(20)), 'its arrays end at'),
    'a pickle': (b'\x80\x02}q\x00.' + bytes(99), 'would have'),
}  # fmt: skip


@pytest.mark.parametrize('name', HOSTILE)
def test_a_header_that_lies_is_refused_with_little_memory(tmp_path: Path, name: str) -> None:
    content, said = HOSTILE[name]
    path = tmp_path / 'a.safetensors'
    path.write_bytes(content)
    tracemalloc.start()
    try:
        for read in (lambda: safetensors_header(path), lambda: read_safetensors(path, FEW)):
            with pytest.raises(WeightsCorrupt, match=said) as caught:
                read()
            text = str(caught.value)
            assert 'fetch or copy the file again' in text
            assert text.isprintable()
            assert len(text) < 700
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_no_more_is_read_than_the_network_has(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / 'a.safetensors', {'a': np.ones(FEW + 1, np.float32)})
    with pytest.raises(WeightsCorrupt, match='more numbers than any supported network'):
        read_safetensors(path, FEW)


def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.safetensors')
    (tmp_path / 'folder.safetensors').mkdir()
    (tmp_path / 'loop.safetensors').symlink_to('loop.safetensors')
    for name in ('pipe', 'folder', 'loop', 'missing'):
        with pytest.raises(WeightsCorrupt):
            read_safetensors(tmp_path / f'{name}.safetensors', FEW)
        with pytest.raises(DepthError):
            load_estimator(tmp_path / f'{name}.safetensors')


# --- As weights of a network.


@pytest.fixture(scope='module')
def zipdepth() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        key: np.array(3)
        if key.endswith('num_batches_tracked')
        else np.abs(rng.standard_normal(shape, np.float32)) + np.float32(0.5)
        for key, shape in models.spec('zipdepth').shapes.items()
    }


def test_a_known_network_is_recognised_and_read(tmp_path: Path, zipdepth: Arrays) -> None:
    path = write_safetensors(
        tmp_path / 'any.safetensors', {f'module.{k}': v for k, v in zipdepth.items()}
    )
    assert models.spec_of(path) is models.spec('zipdepth')
    found = models.read_arrays(path)
    assert found.keys() == zipdepth.keys()
    for key, value in zipdepth.items():
        np.testing.assert_array_equal(found[key], value)
    assert models.find_weights(str(path)) == path


@pytest.mark.parametrize('kind', [np.float16, np.float64])
def test_other_precisions_are_taken(tmp_path: Path, zipdepth: Arrays, kind: Any) -> None:
    table = {k: v.astype(kind) if v.dtype == np.float32 else v for k, v in zipdepth.items()}
    path = write_safetensors(tmp_path / 'any.safetensors', table)
    onnx = models.onnx_of(path)
    assert len(onnx) > 20_000_000


@pytest.mark.parametrize(
    ('change', 'error', 'said'),
    [
        (lambda a: a | {'more': np.ones(1)}, WeightsMismatch, r'1 unexpected \(more\)'),
        (lambda a: dict(list(a.items())[1:]), WeightsMismatch, '1 missing'),
        (lambda a: a | {next(iter(a)): np.ones((2, 2))}, WeightsMismatch, '1 of another shape'),
        (lambda a: a | {nth(a): a[nth(a)] * np.float32(np.nan)}, WeightsCorrupt, 'holds NaN'),
        (lambda a: a | {nth(a): a[nth(a)].astype(np.float64) * 1e300}, WeightsCorrupt, 'infinity'),
        (lambda a: a | {nth(a): a[nth(a)].astype(np.int8)}, WeightsCorrupt, r'numbers \(int8\) in'),
    ],
)
def test_what_is_wrong_with_the_weights_is_named(
    tmp_path: Path, zipdepth: Arrays, change: Any, error: type[Exception], said: str
) -> None:
    path = write_safetensors(tmp_path / 'any.safetensors', change(zipdepth))
    with pytest.raises(error, match=said):
        models.read_arrays(path)
    with pytest.raises(error, match=said):
        load_estimator(path)


def nth(arrays: Arrays, number: int = 3) -> str:
    """The name of one with weights."""
    return [key for key, value in arrays.items() if value.ndim == 4][number]


def test_weights_of_an_unknown_network_say_what_they_hold(tmp_path: Path) -> None:
    path = write_safetensors(
        tmp_path / 'x.safetensors', {'model.head.weight': np.ones((1, 3), np.float32)}
    )
    with pytest.raises(
        WeightsMismatch, match=r'no entry of a known network \(it holds head\.weight'
    ):
        load_estimator(path)


def test_archives_of_a_model_keep_their_own_format(tmp_path: Path) -> None:
    """A registered .npz is not looked for among safetensors."""
    assert toy_spec(tmp_path).suffixes == ('.npz',)
