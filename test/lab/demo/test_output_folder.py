"""Nothing of others is overwritten; what an earlier run left is."""

import re

import pytest

from midas_depth_ros.lab.demo import report
from midas_depth_ros.lab.demo.report import claim, default_folder, replace_results
from midas_depth_ros.lab.output import CommandError


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    assert claim(tmp_path / 'a' / 'b') is False
    assert (tmp_path / 'a' / 'b').is_dir()


def test_a_folder_of_others_is_refused_and_left_alone(tmp_path):
    thesis = tmp_path / 'summary.txt'
    thesis.write_text('my thesis')
    with pytest.raises(CommandError, match=r'not made by this demo.*--output'):
        claim(tmp_path)
    assert thesis.read_text() == 'my thesis'
    assert list(tmp_path.iterdir()) == [thesis]


def test_results_of_an_earlier_run_go_when_there_are_others_and_what_else_lies_there_stays(
    tmp_path,
):
    claim(tmp_path)
    for name in ('pictures', 'messages', 'made', 'made/pictures'):
        (tmp_path / name).mkdir()
    for name in ('pictures/01.png', 'run.gif', 'notes.txt', 'logs/old.log', 'summary.txt'):
        (tmp_path / name).write_text('old')
    for name in ('pictures/02.png', 'summary.txt'):
        (tmp_path / 'made' / name).write_text('new')
    assert claim(tmp_path) is True
    assert not list((tmp_path / 'logs').iterdir())
    assert (tmp_path / 'summary.txt').read_text() == 'old'
    replace_results(tmp_path / 'made', tmp_path)
    (tmp_path / 'made').rmdir()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')} == {
        report.MARKER,
        'notes.txt',
        'logs',
        'pictures',
        'pictures/02.png',
        'summary.txt',
    }
    assert (tmp_path / 'summary.txt').read_text() == 'new'


def test_a_path_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(CommandError, match=r'file/below.*--output'):
        claim(tmp_path / 'file' / 'below')


@pytest.mark.parametrize(
    ('source', 'stem'),
    [
        ('', 'robot'),
        ('0', '0'),
        ('/data/My Video (1).mp4', 'My_Video_1'),
        ('bags/run/', 'run'),
        ('..', 'source'),
        ('x' * 300, 'x' * 60),
    ],
)
def test_the_default_name_tells_source_and_time(source, stem):
    folder = default_folder(source)
    assert re.fullmatch(rf'demo_output/{stem}-\d{{8}}-\d{{6}}', str(folder))


def test_a_default_name_that_is_taken_is_not_given_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report.time, 'strftime', lambda layout: 'now')
    first = default_folder('')
    first.mkdir(parents=True)
    assert default_folder('') != first
