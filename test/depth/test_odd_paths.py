"""Paths that lead to no file, and names that a terminal would obey."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from midas_depth_ros.cli.main import main
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.errors import DepthError, UnknownModel, WeightsCorrupt, printable
from midas_depth_ros.depth.models import embedded, midas_small


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.onnx')
    (tmp_path / 'folder.onnx').mkdir()
    (tmp_path / 'loop.onnx').symlink_to(tmp_path / 'loop.onnx')
    (tmp_path / 'dangling.onnx').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'zero.onnx').symlink_to('/dev/zero')
    for model, said in {
        str(tmp_path / 'pipe.onnx'): 'a pipe, a device or a socket',
        str(tmp_path / 'folder.onnx'): 'it is a folder',
        str(tmp_path / 'loop.onnx'): 'Too many levels of symbolic links',
        str(tmp_path / 'dangling.onnx'): 'No such file',
        str(tmp_path / 'zero.onnx'): 'a pipe, a device or a socket',
        '/dev/zero': 'a pipe, a device or a socket',
        str(tmp_path / ('x' * 4000 + '.onnx')): 'name too long',
        'nul\0byte.onnx': 'embedded null',
        '~nobody-of-that-name/net.onnx': 'No such file',
        '/proc/self/mem': 'cannot be read|no backend|nor a file',
    }.items():
        with pytest.raises(DepthError, match=said) as caught:
            load_estimator(model)
        assert len(str(caught.value)) < 800  # it lists the models
        assert str(caught.value).isprintable()
        if model.endswith('.onnx'):
            assert isinstance(caught.value, UnknownModel)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can make files that root alone may read')
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    load_estimator('embedded', 'opencv')  # imports what another user may have no right to
    with tempfile.TemporaryDirectory() as folder:  # into pytest's own folder only root may look
        os.chmod(folder, 0o755)
        path = Path(folder) / 'secret.npz'
        path.write_bytes(embedded.ASSET.read_bytes())
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(WeightsCorrupt, match=r'secret\.npz .*Permission denied'):
                load_estimator(path, 'opencv')
            with pytest.raises(UnknownModel, match=r'hidden\.npz.*Permission denied'):
                load_estimator(tmp_path / 'hidden.npz')
        finally:
            os.seteuid(0)


# Names that a terminal would obey.

NASTY = 'a\x1b[31m\x07\nb\u202e\udcff.npz'


def test_control_characters_of_a_name_reach_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / NASTY
    path.write_bytes(embedded.ASSET.read_bytes())
    estimator = load_estimator(path)
    assert estimator.model == 'a\\x1b[31m\\x07\\nb\\u202e\\udcff.npz'
    assert estimator.choice.isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
    path.write_bytes(b'no archive')
    refused_text = ''
    with pytest.raises(WeightsCorrupt) as caught:
        load_estimator(path)
    refused_text = str(caught.value)
    assert refused_text.isprintable()
    assert '\\x1b[31m' in refused_text
    with pytest.raises(UnknownModel) as unknown:
        load_estimator(tmp_path / ('nowhere' + NASTY))
    assert str(unknown.value).isprintable()


def test_printable_leaves_what_can_be_shown_and_spells_out_the_rest() -> None:
    assert printable('Rübe/日本 1.onnx') == 'Rübe/日本 1.onnx'
    assert printable('a\x1b[2J\r\n\t\x9b\u200b\ud800') == 'a\\x1b[2J\\r\\n\\t\\x9b\\u200b\\ud800'
    assert printable(Path('x\x07')) == 'x\\x07'


def test_the_commands_show_no_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('MIDAS_DEPTH_WEIGHTS_DIR', str(tmp_path / NASTY))
    (tmp_path / NASTY).mkdir()
    (tmp_path / NASTY / midas_small.SPEC.weights.name).write_bytes(b'corrupt')
    for command in (
        ['weights'],
        ['weights', 'verify'],
        ['weights', 'verify', str(tmp_path / NASTY / midas_small.SPEC.weights.name)],
        ['export', str(tmp_path / NASTY)],
        ['export', 'embedded', '--output', str(tmp_path / 'file' / NASTY.replace('.npz', '.xml'))],
    ):
        (tmp_path / 'file').write_text('in the way')
        result = CliRunner().invoke(main, command)
        for line in result.output.splitlines():
            assert line.isprintable(), (command, line)
