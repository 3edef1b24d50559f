"""Where a disk is full, read-only or forbidden: models start all the same, files are whole or not.

The disks are real ones of a few pages.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from disks import PAGE, fill, read_only, small_disk
from weights_server import CONTENT, HALF, Answer, offered, own_home, serving

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import conversion_cache, load_estimator, models, transfer
from midas_depth_ros.depth.download_limit import DownloadOptions
from midas_depth_ros.depth.errors import DownloadFailed
from midas_depth_ros.depth.model_check import sample_pictures
from midas_depth_ros.depth.weights import fetch_weights

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parents[2]
PICTURE = sample_pictures()['room_1']
MB = 1_000_000
NOBODY = 65534


@pytest.fixture(params=['openvino', 'onnxruntime'])
def library(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope='module')
def wanted() -> np.ndarray:
    return load_estimator('embedded', 'opencv').infer(PICTURE)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of one megabyte, which is to hold the conversions."""
    with small_disk(tmp_path / 'disk', MB) as folder:
        monkeypatch.setenv(conversion_cache.DIR_VARIABLE, str(folder / 'cache'))
        yield folder


def starts(library: str, wanted: np.ndarray) -> None:
    """The model starts and gives the right depth."""
    found = load_estimator('embedded', library, precision='f32').infer(PICTURE)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * wanted.max())


def entries(disk: Path) -> list[str]:
    folder = disk / 'cache' / 'converted'
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return [name for name in names if not name.endswith('.lock')]


# Conversions.


def test_a_disk_that_fills_up_while_a_model_is_kept_is_told_and_no_obstacle(
    disk: Path, library: str, wanted: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        caplog.clear()
        starts(library, wanted)
        assert f'cannot keep the converted model in {disk}/cache/converted' in caplog.text
        assert 'No space left on device' in caplog.text
        assert 'name another folder by MIDAS_DEPTH_CACHE_DIR' in caplog.text
        assert entries(disk) == []


def test_a_full_disk_is_told_and_no_obstacle(
    disk: Path, library: str, wanted: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    fill(disk)
    starts(library, wanted)
    assert 'No space left on device' in caplog.text
    assert entries(disk) == []


def test_a_disk_that_takes_no_more_files_is_told_and_no_obstacle(
    tmp_path: Path, library: str, wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with small_disk(tmp_path / 'disk', 20 * MB, 'nr_inodes=4') as folder:
        monkeypatch.setenv(conversion_cache.DIR_VARIABLE, str(folder))
        starts(library, wanted)
    assert 'No space left on device' in caplog.text


def test_a_disk_that_may_not_be_written_to_is_told_and_no_obstacle(
    disk: Path, library: str, wanted: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    read_only(disk)
    starts(library, wanted)
    assert 'Read-only file system' in caplog.text


def test_a_cache_that_was_kept_before_the_disk_became_read_only_is_used(
    tmp_path: Path, library: str, wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with small_disk(tmp_path / 'disk', 20 * MB) as folder:
        monkeypatch.setenv(conversion_cache.DIR_VARIABLE, str(folder / 'cache'))
        starts(library, wanted)
        read_only(folder)
        starts(library, wanted)
    assert caplog.text == ''


def test_with_the_folder_for_temporary_files_full_too_it_is_converted_in_memory(
    disk: Path, library: str, wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    temporary = disk / 'tmp'
    temporary.mkdir()
    fill(disk, leave=20 * PAGE)
    monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
    starts(library, wanted)
    assert 'cannot keep the converted model' in caplog.text
    assert list(temporary.iterdir()) == []
    read_only(disk)
    starts(library, wanted)


def test_auto_picks_a_precision_without_any_disk(
    disk: Path, wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('openvino')
    fill(disk)
    monkeypatch.setattr(tempfile, 'tempdir', str(disk))
    kept = load_estimator('embedded', 'openvino')
    assert kept.notice == ''
    assert np.corrcoef(kept.infer(PICTURE).ravel(), wanted.ravel())[0, 1] > 0.999


@pytest.mark.sampled
@pytest.mark.parametrize('lacking', [PAGE, 3 * PAGE, 30 * PAGE, 70 * PAGE])
def test_an_entry_is_whole_or_not_there_wherever_the_disk_ends(
    tmp_path: Path, library: str, wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch, lacking: int
) -> None:
    with small_disk(tmp_path / 'whole', 20 * MB) as folder:
        monkeypatch.setenv(conversion_cache.DIR_VARIABLE, str(folder))
        starts(library, wanted)
        status = os.statvfs(folder)
        taken = (status.f_blocks - status.f_bfree) * status.f_frsize
    with small_disk(tmp_path / 'short', taken - lacking) as folder:
        monkeypatch.setenv(conversion_cache.DIR_VARIABLE, str(folder))
        starts(library, wanted)
        assert not list(folder.glob('converted/embedded-*'))
        starts(library, wanted)


USER = """
import logging, sys
import numpy as np
logging.basicConfig(stream=sys.stdout, format='%(message)s')
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.model_check import sample_pictures
estimator = load_estimator('embedded', sys.argv[1], precision='f32')
print(repr(float(estimator.infer(sample_pictures()['room_1']).mean())))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can be another user')
def test_another_user_without_any_rights_starts_all_the_same(
    library: str, wanted: np.ndarray
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # into pytest's own folder only root may look
        os.chmod(folder, 0o755)
        environment = os.environ | {
            conversion_cache.DIR_VARIABLE: f'{folder}/cache',
            'HOME': folder,
            'TMPDIR': folder,
            'PYTHONDONTWRITEBYTECODE': '1',
        }
        try:
            run = subprocess.run(
                [sys.executable, '-c', USER, library], cwd='/', env=environment, user=NOBODY,
                group=NOBODY, extra_groups=[], capture_output=True, text=True, timeout=170,
                check=False,
            )  # fmt: skip
        except PermissionError as error:
            pytest.skip(f'another user may not run this Python: {error}')
        if 'Permission denied' in run.stderr and not run.stdout:
            pytest.skip(f'another user may not read this checkout: {run.stderr.splitlines()[-1]}')
        *said, mean = run.stdout.splitlines()
        assert float(mean) == pytest.approx(float(wanted.mean()), rel=1e-3)
        assert 'Permission denied' in ' '.join(said)
        assert 'cannot keep the converted model' in ' '.join(said)
        assert os.listdir(folder) == []


# Downloads.

IMPATIENT = DownloadOptions(connect_timeout_s=5, read_timeout_s=60, first_pause_s=0)


def test_a_download_onto_a_full_disk_is_told_before_it_begins(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_home(monkeypatch, disk)
    fill(disk, leave=10 * PAGE)
    with serving(CONTENT) as server:
        with pytest.raises(DownloadFailed, match=r'bytes free, 300000 are needed.*by hand'):
            fetch_weights(server.spec(), options=IMPATIENT)
        assert server.ranges == []


def test_a_disk_that_fills_up_during_a_download_is_told_and_it_goes_on_later(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = own_home(monkeypatch, disk)
    with serving(CONTENT) as server:
        server.answers(Answer(stall_after=HALF), Answer())

        def fill_and_go_on(spec: object, part: Path) -> None:
            part.touch()
            fill(disk, leave=HALF // 2)
            server.release()

        with monkeypatch.context() as patch:
            patch.setattr(transfer, '_check_room', fill_and_go_on)
            with pytest.raises(DownloadFailed, match=f'into {cache}: No space left on device'):
                fetch_weights(server.spec(), options=IMPATIENT)
        assert not (cache / 'weights.pt').exists()
        (disk / 'filler').unlink()
        path = fetch_weights(server.spec(), options=IMPATIENT)
        assert path.read_bytes() == CONTENT
        assert server.ranges[1] != ''


@pytest.mark.parametrize('how', ['full', 'read-only'])
def test_auto_without_room_for_the_weights_runs_the_embedded_model_and_says_why(
    disk: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    own_home(monkeypatch, disk)
    if how == 'full':
        fill(disk)
    else:
        read_only(disk)
    with serving(CONTENT) as server:
        official = dataclasses.replace(models.spec('midas_small'), weights=offered(server))
        monkeypatch.setitem(models._specs, 'midas_small', official)
        estimator = load_estimator('auto')
    assert estimator.model == 'embedded'
    said = {'full': 'No space left|bytes free', 'read-only': 'Read-only file system'}[how]
    assert any(text in estimator.notice for text in said.split('|'))
    assert estimator.infer(PICTURE).shape == (192, 256)


# Exports.


def export(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ['export', *map(str, arguments)])
    return result.exit_code, ' '.join(result.output.split())


@pytest.mark.parametrize(('form', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_an_export_onto_a_full_disk_fails_and_leaves_nothing(
    disk: Path, form: str, suffix: str
) -> None:
    pytest.importorskip('openvino')
    target = disk / f'net{suffix}'
    code, said = export('embedded', '--format', form, '--output', target)
    assert code == 1
    assert f'cannot write {target} (No space left on device)' in said
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize(('form', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_an_export_that_fails_leaves_the_good_file_in_place(
    tmp_path: Path, form: str, suffix: str
) -> None:
    pytest.importorskip('openvino')
    with small_disk(tmp_path / 'disk', 9 * MB) as disk:
        target = disk / f'net{suffix}'
        assert export('embedded', '--format', form, '--output', target)[0] == 0
        before = {path.name: path.read_bytes() for path in disk.iterdir()}
        code, said = export('embedded', '--format', form, '--output', target, '--force')
        assert (code, 'cannot write' in said) == (1, True), said
        assert {path.name: path.read_bytes() for path in disk.iterdir()} == before
        assert load_estimator(target).notice == ''


def test_an_export_into_a_full_cache_fails_and_says_so(disk: Path) -> None:
    pytest.importorskip('openvino')
    code, said = export('embedded', '--cache')
    assert (code, 'cannot write the cache (No space left on device)' in said) == (1, True)
    assert entries(disk) == []
