"""`midas_depth export` as a person runs it, and what its files are worth."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from midas_depth_ros.cli.export import EXPORTED, SUFFIXES, _judged, read_pictures
from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.errors import DepthError
from midas_depth_ros.depth.model_check import compare, sample_pictures
from midas_depth_ros.depth.models import embedded, read_arrays


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MIDAS_DEPTH_CACHE_DIR', str(tmp_path / 'cache'))


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ['export', *map(str, arguments)])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures as a robot's camera might have taken them."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name, picture in sample_pictures().items():
        for side, mirrored in enumerate((picture, picture[:, ::-1])):
            cv2.imwrite(str(folder / f'{name}_{side}.png'), mirrored[..., ::-1])
    return folder


PICTURE = sample_pictures()['corridor_1']


def test_onnx_is_written_without_torch_and_is_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: Any
) -> None:
    result = run('embedded', '--format', 'onnx')
    assert result.exit_code == 0, result.output
    assert 'wrote embedded_f32.onnx' in result.output
    wanted = load_estimator('embedded', 'opencv').infer(PICTURE)
    for backend in ('openvino', 'onnxruntime'):
        pytest.importorskip(backend)
        found = load_estimator(tmp_path / 'embedded_f32.onnx', backend).infer(PICTURE)
        assert np.abs(found - wanted).max() < 1e-3 * wanted.max()


def test_openvino_files_are_the_model_in_f32(tmp_path: Path, golden_weights_file: Path) -> None:
    pytest.importorskip('openvino')
    result = run(golden_weights_file, '--output', 'robot/net.xml')
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path('robot').iterdir()) == ['net.bin', 'net.xml']
    estimator = load_estimator('robot/net.xml')
    assert (estimator.model, estimator.backend, estimator.precision) == (
        'net.xml', 'openvino', 'f32',
    )  # fmt: skip
    wanted = load_estimator(golden_weights_file, 'openvino', precision='f32').infer(PICTURE)
    np.testing.assert_allclose(estimator.infer(PICTURE), wanted, atol=1e-4 * wanted.max())


@pytest.mark.thorough
def test_int8_is_calibrated_and_judged_on_the_users_pictures(pictures: Path) -> None:
    for library in ('openvino', 'nncf'):
        pytest.importorskip(library)
    result = run('embedded', '--precision', 'int8', '--pictures', pictures, '--output', 'i8.xml')
    assert result.exit_code == 0, result.output
    assert 'int8 against f32' in result.output
    assert 'room_1_1.png' in result.output, 'the mirrored ones are kept back'
    assert 'room_1_0.png' not in result.output
    quarter = load_estimator('embedded', 'openvino', precision='f32')
    rough = load_estimator('i8.xml', precision='int8')
    assert rough.precision == 'int8'
    correlation, _ = compare(quarter.infer(PICTURE), rough.infer(PICTURE))
    assert 0.95 < correlation < 1 - 1e-6
    weights = sum(array.size for array in read_arrays(embedded.ASSET).values())
    assert Path('i8.bin').stat().st_size < 0.4 * 4 * weights  # a byte per weight, not four


@pytest.mark.thorough
def test_int8_without_pictures_is_calibrated_on_those_of_the_package() -> None:
    for library in ('openvino', 'nncf'):
        pytest.importorskip(library)
    result = run('embedded', '--precision', 'int8')
    assert result.exit_code == 0, result.output
    for name, picture in sample_pictures().items():
        assert name in result.output, 'judged by other pictures'
        wanted, found = (
            load_estimator(model, 'openvino', precision=precision).infer(picture)
            for model, precision in (('embedded', 'f32'), ('embedded_int8.xml', 'int8'))
        )
        assert compare(wanted, found)[0] > 0.99, name


def test_in_the_cache_auto_considers_it(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ('openvino', 'nncf'):
        pytest.importorskip(library)
    result = run('embedded', '--precision', 'int8', '--pictures', pictures, '--cache')
    assert result.exit_code == 0, result.output
    assert load_estimator('embedded', 'openvino', precision='int8').precision == 'int8'
    monkeypatch.setattr('midas_depth_ros.depth.model_check.MOST_ABS_REL', 1.0)
    monkeypatch.setattr('midas_depth_ros.depth.model_check.LEAST_CORRELATION', 0.5)
    assert load_estimator('embedded', 'openvino').precision == 'int8'
    monkeypatch.setattr('midas_depth_ros.depth.model_check.MOST_ABS_REL', 1e-9)
    assert load_estimator('embedded', 'openvino').precision == 'f32'


def test_a_precision_beyond_the_bound_is_not_taken_from_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip('openvino')
    monkeypatch.setattr('midas_depth_ros.depth.model_check.MOST_ABS_REL', 1e-9)
    result = run('embedded', '--precision', 'bf16')
    if 'not measured' in result.output:
        pytest.skip('this CPU has no bf16')
    assert 'BEYOND the bound' in result.output
    estimator = load_estimator('embedded_bf16.xml')
    assert (estimator.precision, 'exceeds the bound' in estimator.choice) == ('f32', True)
    assert load_estimator('embedded_bf16.xml', precision='bf16').precision == 'bf16'


@pytest.mark.parametrize('form', ['onnx', 'openvino'])
def test_what_was_written_is_read_back_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """A disk that loses bytes without a word is noticed now, not on the robot."""
    pytest.importorskip('openvino')
    target = tmp_path / f'net{SUFFIXES[form]}'
    assert run('embedded', '--format', form, '--output', target).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob('net.*')}
    real = _judged

    def lose(model: Path, precision: str) -> str:
        damaged = model if form == 'onnx' else model.with_suffix('.bin')
        damaged.write_bytes(damaged.read_bytes()[:-1000])
        return real(model, precision)

    monkeypatch.setattr('midas_depth_ros.cli.export._judged', lose)
    result = run('embedded', '--format', form, '--output', target, '--force')
    assert result.exit_code == 1, result.output
    assert 'the written file cannot be read back' in result.output
    assert {path.name: path.read_bytes() for path in tmp_path.glob('net.*')} == before
    assert not list(tmp_path.glob('.midas*'))


@pytest.mark.parametrize('there', ['net.xml', 'net.bin', 'embedded_f32.xml'])
def test_what_is_there_is_overwritten_only_by_force(tmp_path: Path, there: str) -> None:
    pytest.importorskip('openvino')
    output = () if there.startswith('embedded') else ('--output', 'net.xml')
    Path(there).write_bytes(b'mine')
    result = run('embedded', *output)
    assert (result.exit_code, Path(there).read_bytes()) == (1, b'mine')
    assert f'{there} already exists: use --force' in result.output
    assert os.listdir(tmp_path) == [there]
    assert run('embedded', *output, '--force').exit_code == 0
    assert Path(there).read_bytes() != b'mine'


def test_half_of_a_new_export_never_stands_beside_half_of_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('openvino')
    target = tmp_path / 'net.xml'
    assert run('embedded', '--output', target).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob('net.*')}
    real = Path.replace

    def fail(path: Path, place: Path) -> Path:
        if place == target and path.name == target.name:
            raise PermissionError(13, 'Permission denied')
        return real(path, place)

    monkeypatch.setattr(Path, 'replace', fail)
    result = run('embedded', '--precision', 'f16', '--output', target, '--force')
    assert result.exit_code == 1
    assert 'net.xml (Permission denied)' in result.output
    assert {path.name: path.read_bytes() for path in tmp_path.glob('net.*')} == before
    target.unlink()
    target.with_suffix('.bin').unlink()
    assert run('embedded', '--output', target).exit_code == 1
    assert not list(tmp_path.glob('*net*'))


def test_a_network_that_answers_nonsense_is_not_exported(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    state = read_arrays(embedded.ASSET)
    state['head.weight'] *= 0
    np.savez(tmp_path / 'flat.npz', **state)
    for form in SUFFIXES:
        result = run(tmp_path / 'flat.npz', '--format', form, '--output', f'net{SUFFIXES[form]}')
        assert result.exit_code == 1
        assert 'everywhere for a sample picture' in result.output
    assert not list(tmp_path.glob('*net*'))


def test_an_implausible_network_is_exported_with_a_warning(golden_weights_file: Path) -> None:
    pytest.importorskip('openvino')
    result = run(golden_weights_file, '--output', 'net.xml')
    assert result.exit_code == 0
    assert 'warning: net.xml gives implausible depth' in result.output


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_no_half_file_and_no_folder(
    tmp_path: Path, golden_weights_file: Path, number: signal.Signals
) -> None:
    pytest.importorskip('openvino')
    folder = tmp_path / 'robot'
    command = [sys.executable, '-m', 'midas_depth_ros.cli.main', 'export', str(golden_weights_file)]
    command += ['--precision', 'bf16', '--output', str(folder / 'net.xml')]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(folder.glob('.midas*')):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == f'Stopped by {number.name}'
    assert 'Traceback' not in said
    assert list(folder.iterdir()) == []


def test_a_terminal_that_is_closed_does_not_end_what_was_started_with_nohup(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    command = [sys.executable, '-m', 'midas_depth_ros.cli.main', 'export', 'embedded']
    command += ['--output', str(tmp_path / 'robot' / 'net.xml')]
    deaf = ['sh', '-c', 'trap \'\' HUP; exec "$@"', 'sh', *command]
    with subprocess.Popen(deaf, stderr=subprocess.PIPE, text=True) as process:
        while not list((tmp_path / 'robot').glob('.midas*')):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (tmp_path / 'robot' / 'net.xml').is_file()


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    left = tmp_path / '.midas_depth_export_left'
    left.mkdir()
    os.utime(left, (0, 0))
    assert run('embedded', '--output', tmp_path / 'net.xml').exit_code == 0
    assert not left.exists()


@pytest.mark.parametrize(
    ('arguments', 'code', 'said'),
    [
        (
            ['nowhere.pt'],
            1,
            f"'nowhere.pt' is neither a model ({', '.join(EXPORTED)}) nor a weights file",
        ),
        (['embedded', '--format', 'onnx', '--precision', 'int8'], 2, 'an ONNX model is f32'),
        (['embedded', '--format', 'onnx', '--cache'], 2, '--format openvino'),
        (['embedded', '--cache', '--output', 'a.xml'], 2, 'not both'),
        (['embedded', '--output', 'a.onnx'], 2, '--format openvino needs the suffix .xml'),
        (['embedded', '--precision', 'f64'], 2, "'f64' is not one of"),
        (['embedded', '--output', '/proc/a.xml'], 1, 'cannot write /proc/a.xml'),
        (['embedded', '--format', 'onnx', '--output', '/proc/a.onnx'], 1, 'cannot write'),
    ],
)
def test_what_cannot_be_done_is_said_with_the_remedy(
    arguments: list[str], code: int, said: str
) -> None:
    pytest.importorskip('openvino')
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert said in ' '.join(result.output.split())
    assert not list(Path().glob('*.xml'))


def test_pictures_that_are_none_or_too_few_are_named(tmp_path: Path) -> None:
    for library in ('openvino', 'nncf'):
        pytest.importorskip(library)
    empty = tmp_path / 'empty'
    empty.mkdir()
    result = run('embedded', '--precision', 'int8', '--pictures', empty)
    assert result.exit_code == 1
    assert f'no pictures in {empty}' in result.output
    cv2.imwrite(str(empty / 'one.png'), np.zeros((48, 64, 3), np.uint8))
    result = run('embedded', '--precision', 'int8', '--pictures', empty)
    assert result.exit_code == 1
    assert '1 pictures to calibrate int8 on: give 8 or more' in result.output
    assert not list(tmp_path.glob('*.xml'))


@pytest.mark.parametrize('library', ['openvino', 'nncf'])
def test_a_missing_library_is_named_with_its_extra(
    library: str, pictures: Path, without: Any
) -> None:
    pytest.importorskip('openvino')
    without(library)
    result = run('embedded', '--precision', 'int8', '--pictures', pictures)
    assert result.exit_code == 1, result.output
    assert 'pip install' in result.output
    assert library in result.output


def test_many_pictures_are_thinned_evenly(pictures: Path) -> None:
    found = read_pictures(pictures, 16)
    assert 8 <= len(found) <= 16
    numbers = [int(name.split()[-1]) for name in found]
    assert numbers[0] == 0
    assert max(numbers) >= 16
    assert len({after - before for before, after in itertools.pairwise(numbers)}) == 1


@pytest.mark.thorough
def test_int8_for_another_size_is_found_at_that_size_alone(golden_weights_file: Path) -> None:
    """Its ranges, and its deviation, are those of one size."""
    pytest.importorskip('nncf')
    chosen = ('--precision', 'int8', '--cache', '--network-size', 128)
    result = run(golden_weights_file, *chosen)
    assert result.exit_code == 0, result.output
    found = load_estimator(golden_weights_file, 'openvino', precision='int8', network_size=128)
    assert found.infer(np.zeros((48, 64, 3), np.uint8)).shape == (128, 160)
    with pytest.raises(DepthError, match=r'no int8 model .* int8 --pictures FOLDER --cache`$'):
        load_estimator(golden_weights_file, 'openvino', precision='int8')
    with pytest.raises(DepthError, match=r'no int8 model .* int8 --network-size 96 --pictures'):
        load_estimator(golden_weights_file, 'openvino', precision='int8', network_size=96)


@pytest.mark.parametrize(
    ('arguments', 'code', 'said'),
    [
        (('--network-size', 100), 1, '--network-size is 100: not a multiple of 32: give 96 or 128'),
        (('--format', 'onnx', '--network-size', 128), 2, 'an ONNX model is not made for one size'),
    ],
)
def test_a_size_that_cannot_be_exported_is_refused(
    golden_weights_file: Path, arguments: tuple[object, ...], code: int, said: str
) -> None:
    result = run(golden_weights_file, *arguments)
    assert result.exit_code == code
    assert said in ' '.join(result.output.split())


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (
            ('--format', 'onnx', '--network-aspect', 1.5),
            'leave --network-aspect out, or give it where',
        ),
        (('--format', 'onnx', '--pictures', '.'), 'an ONNX model .* so --pictures changes nothing'),
        (('--format', 'onnx', '--count', 100), 'an ONNX model .* so --count changes nothing'),
        (('--pictures', '.'), 'a model in f32 .* so --pictures changes nothing'),
        (('--precision', 'f32', '--count', 20), 'a model in f32 .* so --count changes nothing'),
        (('--precision', 'int8', '--count', 20), '--count limits your pictures: give --pictures'),
    ],
)
def test_an_option_that_changes_nothing_is_refused(
    arguments: tuple[object, ...], said: str
) -> None:
    result = run('embedded', *arguments)
    assert result.exit_code == 2
    assert re.search(said, ' '.join(result.output.replace('│', ' ').split()))
    assert os.listdir() == []
