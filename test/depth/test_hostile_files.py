"""Model files made to fill the memory, to hang, to run code, or to be no files at all."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import load_estimator, onnx_files
from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.depth.errors import (
    WeightsCorrupt,
    WeightsMismatch,
)
from midas_depth_ros.depth.models import embedded, onnx_of, read_arrays

pytestmark = pytest.mark.thorough

MOST_MEMORY = 150 << 20  # bytes, at the peak: a good file of MiDaS_small takes as much
# Those that are here, but for torch, which takes seconds to load, and has tests of its own below.
HERE = [
    name
    for name in ('openvino', 'onnxruntime', 'opencv')
    if find_spec(name.replace('opencv', 'cv2'))
]


def readers(suffix: str) -> list[str]:
    """The backends that read files of a suffix; the test is skipped where none is here."""
    found = [name for name in HERE if suffix in BACKENDS[name].reads]
    return found or pytest.skip(f'no library here reads {suffix}')


def refused(path: Path, backend: str = 'auto', *, watched: bool = True) -> str:
    """The text of the error with which a file is refused, little memory having been used."""
    if watched:  # which takes ten times as long
        tracemalloc.start()
    try:
        with pytest.raises((WeightsCorrupt, WeightsMismatch)) as caught:
            load_estimator(path, backend)
        assert not watched or tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert path.name in text
    assert text.isprintable()
    assert len(text) < 900
    return text


# Archives of NumPy arrays.


def npy(header: str, data: bytes = b'', version: bytes = b'\x01\x00') -> bytes:
    """An .npy file with whatever header."""
    text = header.encode('latin-1') + b'\n'
    length = (
        struct.pack('<H', len(text)) if version == b'\x01\x00' else struct.pack('<I', len(text))
    )
    return b'\x93NUMPY' + version + length + text + data


def header(descr: str = "'<f4'", shape: str = '(4,)') -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


def archive(path: Path, content: bytes, name: str = 'head.bias.npy', **how: int) -> Path:
    with zipfile.ZipFile(path, 'w', how.get('compression', zipfile.ZIP_DEFLATED)) as file:
        file.writestr(name, content)
    return path


HEADERS = {
    '1e18 numbers': npy(header(shape='(1000000000000000000,)'), bytes(16)),
    'sides that overflow': npy(header(shape='(4294967296, 4294967296, 4294967296)'), bytes(16)),
    'negative sides': npy(header(shape='(-4,)'), bytes(16)),
    'two negative sides': npy(header(shape='(-2, -2)'), bytes(16)),
    'no numbers, endless': npy(header(shape='(0, 10000000000000000000000)')),
    'objects': npy(header("'|O'", '(1,)'), pickle.dumps([1])),
    'texts': npy(header("'<U1000000000'", '(0,)')),
    'records': npy(header("[('a', '<f4')]", '(4,)'), bytes(16)),
    'nested deeply': npy('(' * 5000 + ')' * 5000),
    'a number of 9000 digits': npy(header(shape='(' + '9' * 9000 + ',)')),
    'a long header': npy(header() + ' ' * 60_000, bytes(16)),
    'a header beyond the file': b'\x93NUMPY\x02\x00' + struct.pack('<I', 2**32 - 1),
    'another version': npy(header(), bytes(16), b'\x09\x00'),
    'no table': npy('[1, 2]'),
    'code': npy("__import__('os').mkdir('made_by_the_file')"),
    'too few numbers': npy(header(), bytes(15)),
    'too many numbers': npy(header(), bytes(17)),
    'empty': b'',
}


@pytest.mark.parametrize('name', HEADERS)
def test_an_array_whose_header_lies_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / 'weights.npz', HEADERS[name])
    assert 'copy the file again' in refused(path, 'opencv')


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'bomb.npz'
    block = npy(header(shape='(3000000,)'), bytes(12_000_000))
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        for number in range(2):
            file.writestr(f'part{number}.npy', block)
    assert path.stat().st_size < 50_000
    assert 'unpacks to more than any supported network' in refused(path)


def test_an_archive_that_claims_less_than_it_unpacks_to_is_refused(tmp_path: Path) -> None:
    content = bytearray(
        archive(tmp_path / 'liar.npz', npy(header(), bytes(50_000_000))).read_bytes()
    )
    for place in (22, content.rfind(b'PK\x01\x02') + 24):  # the size that it says to unpack to
        content[place : place + 4] = struct.pack('<I', 100)
    (tmp_path / 'liar.npz').write_bytes(content)
    refused(tmp_path / 'liar.npz')


@pytest.mark.parametrize('compression', [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_refused(tmp_path: Path, compression: int) -> None:
    path = archive(tmp_path / 'weights.npz', npy(header(), bytes(16)), compression=compression)
    assert 'has a compression that weights never have' in refused(path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(archive(tmp_path / 'weights.npz', npy(header(), bytes(16))).read_bytes())
    content[6] |= 1
    content[content.rfind(b'PK\x01\x02') + 8] |= 1
    (tmp_path / 'weights.npz').write_bytes(content)
    assert 'encrypted' in refused(tmp_path / 'weights.npz')


@pytest.mark.parametrize('suffix', ['.npz', '.pt'])
def test_an_archive_of_countless_entries_is_refused(tmp_path: Path, suffix: str) -> None:
    readers(suffix)
    path = tmp_path / f'weights{suffix}'
    with zipfile.ZipFile(path, 'w') as file:
        for number in range(30_000):
            file.writestr(f'entry{number}', b'')
    assert 'list of entries is longer' in refused(path)


@pytest.mark.parametrize('name', ['../../escaped.npy', '/tmp/escaped.npy', '\x1b[31mred.npy'])
def test_names_in_an_archive_are_names_and_nothing_else(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / 'weights.npz', npy(header(), bytes(16)), name)
    assert 'not a state dict of the embedded model' in refused(path)
    assert [p.name for p in tmp_path.iterdir()] == ['weights.npz']


# PyTorch's files.


def pt(path: Path, table: bytes, storages: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('x/data.pkl', table)
        for name, content in (storages or {'0': bytes(16)}).items():
            file.writestr(f'x/data/{name}', content)
    return path


def tensor(size: tuple[int, ...], stride: tuple[int, ...], count: int = 4) -> bytes:
    """Operations that leave a tensor on the stack; its storage is '0'."""
    storage = (
        b'((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu'
    )
    storage += number(count) + b'tQ'
    sides = b'(' + b''.join(map(number, size)) + b't(' + b''.join(map(number, stride)) + b't'
    return b'ctorch._utils\n_rebuild_tensor_v2\n' + storage + b'K\x00' + sides + b'\x89}tR'


def number(value: int) -> bytes:
    return b'\x8a\x09' + value.to_bytes(9, 'little', signed=True)


def table(value: bytes, key: bytes = b'X\x01\x00\x00\x00a') -> bytes:
    return b'\x80\x02}' + key + value + b's.'


NESTED = b')' + b'\x85' * 900_000
PICKLES = {
    'repeated by a stride of 0': table(tensor((100_000, 100_000), (0, 0))),
    'countless tensors of one storage': b'\x80\x02}(' + b''.join(
        b'X\x03\x00\x00\x00' + b'%03d' % n + tensor((1000, 1000), (0, 0)) for n in range(60)
    ) + b'u.',
    'endless sides': table(tensor((2**62, 0), (1, 1))),
    'countless axes': table(tensor((1,) * 500, (1,) * 500)),
    'a note far away': b'\x80\x02}r\xff\xff\xff\x7f.',
    'a text of 4 GB': b'\x80\x02X\xff\xff\xff\xff.',
    'bytes of 1e18': b'\x80\x04\x8e' + struct.pack('<Q', 10**18) + b'.',
    'nested deeply': b'\x80\x02' + NESTED + b'.',
    'nested deeply, as a value': table(NESTED),
    'a key whose hash takes years': table(b'N', b')' + b'\x94h\x00\x86' * 60),
    'a list of itself': b'\x80\x02]q\x00h\x00a.',
    'code': b'cos\nsystem\n(X\x10\x00\x00\x00touch made_by_itttR.',
    'code, the new way': b'\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.',
    'an object': pickle.dumps(zipfile.ZipInfo('a')),
    'a number in text': b'I' + b'9' * 1_000_000 + b'\n.',
    'nothing on the stack': b'\x80\x02R.',
    'a mark that is missing': b'\x80\x02u.',
    'a note that is missing': b'\x80\x02h\x07.',
    'called what cannot be': b'\x80\x02X\x01\x00\x00\x00a)R.',
    'no end': b'\x80\x02}',
    'nothing': b'',
    'noise': np.random.default_rng(0).bytes(4000),
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize('name', PICKLES)
def test_a_table_that_is_more_than_a_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(pt(tmp_path / 'weights.pt', PICKLES[name]), readers('.pt')[0])
    assert [p.name for p in tmp_path.iterdir()] == ['weights.pt']


@pytest.mark.sampled
@pytest.mark.parametrize('name', PICKLES)
def test_torch_reads_no_more_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As an archive, and as files of torch before 1.6 were."""
    pytest.importorskip('torch')
    from midas_depth_ros.depth.backends.torch_backend import load_network

    monkeypatch.chdir(tmp_path)
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    pt(tmp_path / 'new.pt', PICKLES[name])
    (tmp_path / 'old.pt').write_bytes(magic + PICKLES[name] + pickle.dumps(['0'], 2) + bytes(24))
    for path in (tmp_path / 'new.pt', tmp_path / 'old.pt'):
        with pytest.raises((WeightsCorrupt, WeightsMismatch), match=path.name):
            load_network(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['new.pt', 'old.pt']


def test_files_of_torch_before_1_6_are_read(
    tmp_path: Path, golden_state_dict: dict[str, object]
) -> None:
    torch = pytest.importorskip('torch')
    from midas_depth_ros.depth.backends.torch_backend import load_network

    path = tmp_path / 'old.pt'
    torch.save(golden_state_dict, path, _use_new_zipfile_serialization=False)
    network = load_network(path)
    for key, found in network.state_dict().items():
        torch.testing.assert_close(found, golden_state_dict[key])


def test_a_table_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    path = pt(tmp_path / 'weights.pt', table(b'N' * 30_000_000))
    assert 'is too large' in refused(path, readers('.pt')[0])


def test_a_storage_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pt'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('x/data.pkl', table(tensor((4,), (1,))))
        with file.open('x/data/0', 'w', force_zip64=True) as storage:
            for _ in range(300):
                storage.write(bytes(1_000_000))
    assert 'no entry of a known network' in refused(path, readers('.pt')[0])  # nothing is unpacked


# Models.


def graph_of(*parts: bytes) -> bytes:
    field = onnx_files._field
    operators = field(1, b'') + onnx_files._varint_field(2, 13)
    return onnx_files._varint_field(1, 7) + field(7, b''.join(parts)) + field(8, operators)


def weight_of(sides: tuple[int, ...], *more: bytes) -> bytes:
    field, varint = onnx_files._field, onnx_files._varint_field
    body = b''.join(varint(1, side) for side in sides) + varint(2, 1) + field(8, b'kernel')
    return field(5, body + b''.join(more))


ONNX = {
    'a weight of 1e18 numbers': graph_of(weight_of((10**9, 10**9), onnx_files._field(9, bytes(4)))),
    'a weight of nothing with endless sides': graph_of(weight_of((0, 2**62, 2**62))),
    'the same as bytes': graph_of(weight_of((0, 2**62, 2**62), onnx_files._field(9, b''))),
    'a weight elsewhere': graph_of(
        weight_of(
            (4,),
            onnx_files._field(
                13, onnx_files._field(1, b'location') + onnx_files._field(2, b'/etc/passwd')
            ),
            onnx_files._varint_field(14, 1),
        )
    ),
    'sides of 1e18': graph_of(
        onnx_files._field(11, onnx_files._value('picture', (1, 3, 10**18, 10**18)))
    ),
    'a billion axes': graph_of(onnx_files._field(11, onnx_files._value('picture', (1,) * 50_000))),
    'countless parts': graph_of(b'\x0a\x00' * 1_000_000),
    'no graph': b'\x08\x07',
    'two graphs': graph_of() + graph_of(),
    'a number without an end': b'\xff' * 5000,
    'a field beyond the file': b'\x3a' + b'\xff' * 9 + b'\x01',
    'groups': b'\x0b' * 100_000,
    'a name that is no text': graph_of(onnx_files._field(11, onnx_files._field(1, b'\xff\xfe'))),
}


@pytest.mark.sampled
@pytest.mark.parametrize('name', ONNX)
@pytest.mark.parametrize('backend', ['openvino', 'onnxruntime'])
def test_an_onnx_file_that_lies_is_refused(tmp_path: Path, backend: str, name: str) -> None:
    pytest.importorskip(backend)
    (tmp_path / 'net.onnx').write_bytes(ONNX[name])
    refused(tmp_path / 'net.onnx', backend, watched=False)


@pytest.fixture(scope='module')
def xml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good OpenVINO model of ours."""
    pytest.importorskip('openvino')
    path = tmp_path_factory.mktemp('xml') / 'net.xml'
    result = CliRunner().invoke(main, ['export', 'embedded', '--output', str(path)])
    assert result.exit_code == 0, result.output
    return path


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "ha">'
    + ''.join(f'<!ENTITY a{n} "{f"&a{n - 1 if n else str()};" * 10}">' for n in range(12))
    + ']><net name="&a11;" version="11">'
)


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        ('shape="1,3,192,256"', 'shape="1,3,1000000000,1000000000"'),
        ('shape="1,3,192,256"', 'shape="1,3,?,?"'),
        ('shape="1,3,192,256"', 'shape="-1,-3,-5,-7"'),
        ('shape="32, 3, 6, 6" offset="0"', 'shape="99999999, 9999" offset="0"'),
        ('offset="0" size="13824"', 'offset="99999999999999" size="13824"'),
        ('offset="0" size="13824"', 'offset="0" size="999999999999999999"'),
        ('<?xml version="1.0"?>', LAUGHS),
        ('<layers>', '<layers>' + '<layer>' * 50_000),
        ('</net>', ''),
    ],
)  # fmt: skip
def test_an_openvino_file_that_lies_is_refused(
    tmp_path: Path, xml: Path, before: str, after: str
) -> None:
    text = xml.read_text()
    assert before in text
    (tmp_path / 'net.xml').write_text(text.replace(before, after, 1))
    (tmp_path / 'net.bin').write_bytes(xml.with_suffix('.bin').read_bytes())
    refused(tmp_path / 'net.xml')


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_what_is_no_bin_file_is_refused(
    tmp_path: Path, xml: Path, make: Callable[[Path], None]
) -> None:
    (tmp_path / 'net.xml').write_bytes(xml.read_bytes())
    make(tmp_path / 'net.bin')
    with pytest.raises(WeightsCorrupt, match=r'net\.bin'):
        load_estimator(tmp_path / 'net.xml')


# Files that are none, or too large to be any.


@pytest.mark.parametrize('suffix', ['.npz', '.pt', '.pth', '.onnx', '.xml'])
def test_a_file_of_a_terabyte_is_refused_unread(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'huge{suffix}'
    with path.open('wb') as file:
        file.truncate(10**12)  # takes no room on the disk
    path.with_suffix('.bin').write_bytes(b'')
    for backend in readers(suffix):
        assert '1000000 MB' in refused(path, backend)
    if suffix == '.xml':
        path.with_suffix('.bin').unlink()
        path.rename(path.with_suffix('.bin'))
        path.write_text('<net/>')
        with pytest.raises(WeightsMismatch, match=r'huge\.bin'):
            load_estimator(path)


def test_good_files_still_run(tmp_path: Path) -> None:
    """What is refused above is refused for what it is, not because everything is."""
    (tmp_path / 'net.onnx').write_bytes(onnx_of(embedded.ASSET))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **read_arrays(embedded.ASSET))
    (tmp_path / 'net.npz').write_bytes(buffer.getvalue())
    for path in (tmp_path / 'net.onnx', tmp_path / 'net.npz'):
        assert load_estimator(path).notice == ''
