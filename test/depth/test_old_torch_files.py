"""Tables of tensors as PyTorch wrote them before 1.6, read without PyTorch."""

from __future__ import annotations

import collections
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch  # noqa: E402
from midas_depth_ros.depth.torch_files import (  # noqa: E402
    OLD_MAGIC,
    OLD_VERSION,
    read_torch_table,
    torch_header,
)


def saved(path: Path, table: Any, zipped: bool = False) -> Path:
    torch.save(table, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize(
    'dtype', ['float32', 'float64', 'float16', 'bfloat16', 'int64', 'uint8', 'bool']
)
def test_every_type_is_read(tmp_path: Path, dtype: str, zipped: bool) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    table = read_torch_table(saved(tmp_path / 'a.pth', {'a': tensor}, zipped))
    np.testing.assert_array_equal(table.arrays['a'], tensor.float().numpy())


@pytest.mark.parametrize('zipped', [False, True])
def test_views_of_one_storage_are_told_apart(tmp_path: Path, zipped: bool) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    table = {'whole': whole, 'turned': whole.T, 'row': whole[1], 'number': torch.tensor(7)}
    found = read_torch_table(saved(tmp_path / 'a.pth', collections.OrderedDict(table), zipped))
    assert found.values == {}
    for key, value in table.items():
        np.testing.assert_array_equal(found.arrays[key], value.numpy())


@pytest.mark.parametrize('zipped', [False, True])
def test_plain_values_beside_the_tensors_are_kept_apart(tmp_path: Path, zipped: bool) -> None:
    beside = {'height': 192, 'use_stereo': False, 'rate': 1e-4, 'name': 'mono'}
    path = saved(tmp_path / 'a.pth', {'a': torch.ones(2), **beside}, zipped)
    found = read_torch_table(path)
    assert found.values == beside
    assert list(found.arrays) == ['a']


@pytest.mark.parametrize(
    ('table', 'said'),
    [
        ([torch.ones(1)], 'not a state dict .a list'),
        ({'a': [torch.ones(1)]}, 'not a state dict'),
        ({'state_dict': {'a': [1]}}, 'not a state dict'),
        ({'a': torch.ones(1), 'state_dict': {'a': torch.ones(1)}}, 'not a state dict'),
    ],
)
def test_what_is_no_table_of_tensors_is_refused(tmp_path: Path, table: Any, said: str) -> None:
    with pytest.raises(WeightsMismatch, match=said):
        read_torch_table(saved(tmp_path / 'a.pth', table))


def test_nothing_of_a_file_is_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / 'ran',))

    path = saved(tmp_path / 'a.pth', {'a': Harmful()})
    with pytest.raises(WeightsCorrupt, match='which no table of tensors needs'):
        read_torch_table(path)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('left', [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, left: float) -> None:
    path = saved(tmp_path / 'a.pth', {'a': torch.ones(1000), 'b': torch.ones(10)})
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(WeightsCorrupt, match='cannot be read as a PyTorch state dict'):
        read_torch_table(path)


def old_file(*parts: Any, numbers: bytes = b'') -> bytes:
    file = io.BytesIO()
    for part in parts:
        pickle.dump(part, file, protocol=2)
    return file.getvalue() + numbers


LITTLE = {'little_endian': True}


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (old_file(1, OLD_VERSION, LITTLE, {}, []), 'does not begin as a file of torch'),
        (old_file(OLD_MAGIC, 1000, LITTLE, {}, []), 'does not begin as a file of torch'),
        (old_file(OLD_MAGIC, OLD_VERSION, {'little_endian': False}, {}, []), 'big-endian'),
        (
            old_file(OLD_MAGIC, OLD_VERSION, LITTLE, {}, ['0']),
            'storages are not those of its tensors',
        ),
        (old_file(OLD_MAGIC, OLD_VERSION, LITTLE, {}, {}), 'storages are not those of its tensors'),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(WeightsCorrupt, match=said):
        read_torch_table(tmp_path / 'a.pth')


def test_a_storage_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / 'a.pth', {'a': torch.ones(4)})
    content = path.read_bytes()
    claim = (4).to_bytes(8, 'little') + np.ones(4, np.float32).tobytes()
    assert content.endswith(claim)
    path.write_bytes(content.removesuffix(claim) + (1 << 40).to_bytes(8, 'little') + claim[8:])
    with pytest.raises(WeightsCorrupt, match=r'storage .* ends too early'):
        read_torch_table(path)


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize('wrapper', ['model', 'state_dict', 'model_state_dict'])
@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.'])
def test_what_training_puts_around_weights_is_removed(
    tmp_path: Path, wrapper: str, prefix: str, zipped: bool
) -> None:
    weights = {f'{prefix}a.weight': torch.ones(2), f'{prefix}a.bias': torch.zeros(3)}
    optimizer = {'state': {0: {'step': 3, 'sum': torch.ones(9)}}, 'groups': [{'params': [0, 1]}]}
    table = {'epoch': 4, wrapper: weights, 'optimizer': optimizer}
    path = saved(tmp_path / 'a.pth', table, zipped)
    assert torch_header(path).shapes == {'a.weight': (2,), 'a.bias': (3,)}
    found = read_torch_table(path, most_numbers=5).arrays  # not those of the optimizer
    assert found['a.weight'].tolist() == [1, 1]
    assert found['a.bias'].tolist() == [0, 0, 0]


@pytest.mark.parametrize('zipped', [False, True])
def test_wrappers_may_be_nested_and_prefixes_joined(tmp_path: Path, zipped: bool) -> None:
    inner = {f'_orig_mod.module.model.{key}': torch.ones(2) for key in ('a', 'b')}
    for table in ({'state_dict': {'model': inner}}, {'model': {'epoch': 3, 'state_dict': inner}}):
        path = saved(tmp_path / 'a.pth', table, zipped)
        assert read_torch_table(path).arrays.keys() == {'a', 'b'}
    endless: dict[str, Any] = {'epoch': 3}
    endless['model'] = endless
    with pytest.raises(WeightsMismatch, match='not a state dict'):
        torch_header(saved(tmp_path / 'a.pth', endless, zipped))
    with pytest.raises(WeightsMismatch, match='not a state dict'):
        torch_header(saved(tmp_path / 'a.pth', {3: torch.ones(1), 'a': torch.ones(1)}, zipped))


def test_a_prefix_of_some_keys_is_part_of_their_names(tmp_path: Path) -> None:
    path = saved(tmp_path / 'a.pth', {'module.a': torch.ones(1), 'b': torch.ones(1)})
    assert read_torch_table(path).arrays.keys() == {'module.a', 'b'}


@pytest.mark.parametrize('zipped', [False, True])
def test_no_more_is_read_than_the_network_has(tmp_path: Path, zipped: bool) -> None:
    path = saved(tmp_path / 'a.pth', {'a': torch.ones(4_000_000)}, zipped)
    with pytest.raises(WeightsCorrupt, match='than any supported network'):
        read_torch_table(path, most_numbers=1000)
    few = saved(tmp_path / 'b.pth', {'a': torch.ones(1001)}, zipped)
    with pytest.raises(WeightsCorrupt, match='more numbers than any supported network'):
        read_torch_table(few, most_numbers=1000)
