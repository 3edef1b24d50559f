"""What was put into a recording is found: a bias, something hidden, and else nothing."""

from __future__ import annotations

import html
import json
import math
import re

import pytest
import ros_helpers  # noqa: F401 - before the first message, see there

from midas_depth_ros.lab.evaluate.page import page_of
from midas_depth_ros.lab.output import CommandError

from .conftest import DepthOfPictures

DEPTH = '/camera/depth_true/image'


@pytest.mark.parametrize('truth', ['/scan', DEPTH])
def test_where_all_is_well_nothing_is_found(recordings, compare, truth):
    report, run = compare(recordings('room'), truth)
    figures = run.figures
    assert (figures['frames'], figures['in_metres'], figures['frames_with_truth']) == (32, 32, 32)
    assert abs(figures['depth']['bias']) < 0.005
    assert figures['depth']['median_abs'] < 0.01
    assert figures['depth']['pixels'] > 3000
    assert figures['corridor']['frames'] > 20
    assert figures['corridor']['false_clear'] == 0
    assert figures['scan']['beams_that_say_free'] > 2000
    # A lidar and a camera disagree at some edges by a beam.
    assert figures['scan']['false_clear_rate'] <= (0.004 if truth == '/scan' else 0.001)
    assert figures['scale']['spread'] < 0.02
    assert {row['verdict'] for row in figures['verdict']['speeds']} == {'unknown'}  # 8 s
    assert report['truth']['messages'] == 32


@pytest.mark.parametrize('factor', [0.9, 1.1])
def test_a_bias_of_ten_percent_is_found(recordings, compare, factor):
    _, run = compare(recordings('room'), '/scan', camera_height=0.3 * factor)
    figures = run.figures
    assert figures['depth']['bias'] == pytest.approx(factor - 1, abs=0.02)
    assert figures['depth']['abs_rel'] == pytest.approx(0.1, abs=0.02)
    assert figures['scale']['bias'] == pytest.approx(factor - 1, abs=0.02)
    by_range = [row['bias'] for row in figures['depth']['by_range'] if row['pixels'] > 100]
    assert by_range == pytest.approx([factor - 1] * len(by_range), abs=0.02)
    assert len(by_range) >= 4


@pytest.mark.parametrize(
    ('source', 'bias'), [('odometry', 0.2), ('ground_plane', 0.0), ('auto', None)]
)
def test_wheels_that_slip_are_found(recordings, compare, source, bias):
    path = recordings('slip')
    _, run = compare(
        *(path, DEPTH),
        source=source,
        make_estimator=lambda settings: DepthOfPictures(path),
        odometry__topic='/odom',
    )
    figures = run.figures
    if source != 'auto':
        assert figures['in_metres'] >= 20
        assert figures['depth']['bias'] == pytest.approx(bias, abs=0.02)
        return
    # Nothing that is 20 % too far is published, and both sources are named with what they say.
    assert figures['depth']['bias'] == pytest.approx(0, abs=0.02)
    (pair,) = figures['sources']['ratios']
    assert pair['pair'] == 'the floor by the odometry'
    assert pair['median'] == pytest.approx(1 / 1.2, abs=0.02)
    said = {row['source']: row for row in figures['sources']['said']}
    assert said['the floor']['in_metres'] == 40
    assert 20 <= said['the odometry']['in_metres'] < 40
    assert 'wheel slip' in figures['refusals'][0]['example']


def test_what_the_camera_does_not_see_is_a_false_clear(recordings, compare):
    hidden = compare(recordings('hidden'), '/scan')[1].figures
    seen = compare(recordings('hall'), '/scan')[1].figures
    assert seen['corridor']['false_clear'] == seen['scan']['false_clear'] == 0
    assert hidden['corridor']['false_clear'] == hidden['corridor']['frames'] == 20
    ahead = {row['bearing_deg']: row for row in hidden['scan']['by_bearing']}
    assert ahead[0]['false_clear'] == ahead[0]['beams_that_say_free'] > 0
    assert ahead[40]['false_clear'] == 0  # the box stands ahead, not there
    kinds = [row['verdict'] for row in hidden['verdict']['speeds']]
    assert kinds == ['unsafe'] * 3
    assert hidden['verdict']['speeds'][0]['failures'] > 0


def test_what_has_no_metres_is_said_with_its_reason(recordings, compare):
    report, run = compare(recordings('hall'), DEPTH, source='none')
    figures = run.figures
    assert (figures['in_metres'], figures['silent_share']) == (0, 1.0)
    assert figures['refusals'] == [
        {'reason': 'scale.source is none', 'frames': 20, 'example': 'scale.source is none'}
    ]
    assert figures['depth']['unknown_share'] == 1.0
    assert figures['depth']['bias'] is None
    assert figures['scan']['false_clear_rate'] is None
    assert {row['verdict'] for row in figures['verdict']['speeds']} == {'unknown'}
    assert report['runs'][0]['name'] == 'exact, none'


def test_tape_measures_are_compared(recordings, compare, tmp_path):
    # The box is 2.15 m ahead of the start; the wall behind it is not measured.
    table = tmp_path / 'tape.csv'
    table.write_text('frame,bearing,metres\n' + ''.join(f'{n},0,2.15\n' for n in range(3)))
    _, run = compare(recordings('hall'), str(table))
    figures = run.figures
    assert figures['frames_with_truth'] == 3
    assert figures['corridor']['frames'] == 3
    assert figures['corridor']['bias'] == pytest.approx(0.0, abs=0.03)
    reason = 'nothing was measured in this picture'
    assert figures['no_truth'] == [{'reason': reason, 'frames': 17, 'example': reason}]


def test_all_rows_of_a_table_are_trials(recordings, compare, tmp_path):
    table = tmp_path / 'tape.csv'
    rows = ['0,0,,,1.9', *(f'{n},,160,120,1.9' for n in range(4))]
    table.write_text('frame,bearing,u,v,metres\n' + ''.join(f'{row}\n' for row in rows))
    _, run = compare(recordings('hall'), str(table))
    verdict = run.figures['verdict']
    assert verdict['of'] == 'the corridor ahead or the measured pixels'
    assert [row['trials'] for row in verdict['speeds']] == [5, 5, 5]


def test_a_frame_of_a_table_that_is_not_in_the_recording_is_named(recordings, compare, tmp_path):
    table = tmp_path / 'tape.csv'
    table.write_text('frame,bearing,metres\n20,0,2.15\n')
    with pytest.raises(CommandError, match='frame 20: the recording has the frames 0 to 19'):
        compare(recordings('hall'), str(table))


def test_the_truth_of_each_frame_is_its_own(recordings, compare):
    _, run = compare(recordings('hall'), '/scan')
    true = [frame.corridor_true for frame in run.frames if math.isfinite(frame.corridor_true)]
    said = [frame.corridor_said for frame in run.frames if math.isfinite(frame.corridor_true)]
    assert true[0] == pytest.approx(2.15, abs=0.02)
    assert true[-1] < true[0] - 0.5  # the robot has come nearer
    assert said == pytest.approx(true, rel=0.04)


def test_the_page_shows_what_there_is(recordings, compare):
    report, run = compare(recordings('room'), '/scan')
    text = page_of(report, [run, run])
    for caption in (
        'Bias by distance.', 'AbsRel by distance.', 'Spread of the error, exact, auto.',
        'The corridor ahead.', 'False by bearing.', 'Scan against truth, exact, auto.',
        'All metres of a frame at once.', 'Pixels within one and two sigma.', 'Time for a frame.',
    ):  # fmt: skip
        assert f'<b>{caption}</b>' in text, caption
    assert re.findall('id="(figure_1|axes_1)"', text) == []
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(set(ids)) == len(ids)
    figures = run.figures
    assert f'{100 * figures["depth"]["abs_rel"]:.1f} %' in text
    assert f'{figures["scan"]["false_clear"]} of {figures["scan"]["beams_that_say_free"]}' in text
    assert all(html.escape(note) in text for note in report['notes'])
    json.dumps(report, allow_nan=False)
    run.name = '_$\\frac{$<b>'
    assert '$\\frac{$&lt;b&gt;' in page_of(report, [run, run])
