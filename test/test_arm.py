"""What scripts/test_arm compares, and which tests it runs; on ARM it tries itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'scripts'))
import answers  # noqa: E402

SCRIPT = (ROOT / 'scripts' / 'test_arm').read_text()


def reference() -> answers.Maps:
    """Maps of a processor that has everything."""
    depth = np.linspace(0.5, 2.5, 48, dtype=np.float32).reshape(6, 8)
    return {label: depth.copy() for label in (*answers.ALWAYS, 'torch f32', answers.INT8)}


def test_the_same_answers_are_no_fault_and_a_missing_torch_is_none():
    found = reference()
    del found['torch f32']
    found['openvino f16'] = found['openvino f32'] * np.float32(1.001)
    assert answers.compare_maps(reference(), found) == []


@pytest.mark.parametrize('value', [0.5 + 2 * 1.1 * answers.MOST_DIFFERENCE, np.nan, np.inf])
@pytest.mark.parametrize('label', answers.ALWAYS)
def test_one_pixel_in_f32_that_differs_is_a_fault(label, value):
    found = reference()
    found[label][0, 0] = value
    assert answers.compare_maps(reference(), found) == [f'{label}: differs by more than 1e-04']


@pytest.mark.parametrize('label', answers.ALWAYS)
def test_a_backend_that_does_not_answer_is_a_fault(label):
    found = reference()
    del found[label]
    assert answers.compare_maps(reference(), found) == [f'{label}: no answer']


@pytest.mark.parametrize('label', ['openvino f16', answers.INT8])
def test_a_precision_beyond_the_bound_of_auto_is_a_fault(label):
    found = reference()
    found[label] = found['openvino f32'][::-1]
    assert answers.compare_maps(reference(), found) == [f'{label}: beyond 0.99 and 0.0200']


@pytest.mark.parametrize(('share', 'is_fault'), [(0.4, False), (0.6, True)])
def test_int8_may_differ_by_half_of_what_it_costs_on_the_reference(share, is_fault):
    wanted = reference()
    noise = np.float32(0.1) * np.random.default_rng(2).choice([-1, 1], (6, 8)).astype(np.float32)
    wanted[answers.INT8] = wanted['openvino f32'] + noise
    found = {**wanted, answers.INT8: wanted[answers.INT8] + np.float32(share) * noise}
    assert bool(answers.compare_maps(wanted, found)) == is_fault


def test_what_commands_give_is_compared_as_well(tmp_path, capsys):
    for name in ('here', 'there'):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / answers.MAPS, **reference())
        depth = np.arange(12, dtype=np.uint16).reshape(3, 4)
        answers.cv2.imwrite(str(tmp_path / name / answers.DEPTH), depth)
        (tmp_path / name / answers.GRAPH).write_bytes(b'graph')
        (tmp_path / name / answers.INSPECTED).write_text('{}')
    assert answers.compare(tmp_path / 'here', tmp_path / 'there') == []
    assert 'midas_depth image: differs by 0.0e+00 of the range' in capsys.readouterr().out
    (tmp_path / 'there' / answers.GRAPH).write_bytes(b'grapf')
    depth[1, 2] += 1000
    answers.cv2.imwrite(str(tmp_path / 'there' / answers.DEPTH), depth)
    image, export = answers.compare(tmp_path / 'here', tmp_path / 'there')
    assert image == 'midas_depth image: differs by more than 1e-02'
    assert export.startswith('midas_depth export: ')


def test_the_tests_that_it_runs_are_there():
    listed = re.search(r'^rooms=\((.*?)^\)', SCRIPT, re.M | re.S)
    assert listed is not None
    paths = listed[1].split()
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / 'test' / path).exists()] == []
    left_out = re.search(r'^too_slow=(.*)::(.*)$', SCRIPT, re.M)
    assert left_out is not None
    assert f'def {left_out[2]}(' in (ROOT / left_out[1]).read_text()


def test_a_wrong_argument_is_refused_before_anything_is_done():
    script = [ROOT / 'scripts' / 'test_arm', 'nonsense']
    result = subprocess.run(script, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == 'scripts/test_arm: unknown argument nonsense: answers, tests, or none\n'
