"""Models side by side: which ones, at which sizes, and that nothing is judged by random weights."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from midas_depth_ros.cli.bench import auto_text
from midas_depth_ros.cli.bench_models import show
from midas_depth_ros.depth import models, weights
from midas_depth_ros.depth.errors import UnknownModel, WeightsCorrupt, WeightsNotFound
from midas_depth_ros.depth.models import embedded
from midas_depth_ros.lab.speed import by_model
from midas_depth_ros.lab.speed.by_model import (
    Comparison,
    Measured,
    Subject,
    Way,
    compare,
    judgement,
    model_of,
    subjects,
)
from midas_depth_ros.lab.speed.candidates import USUAL_RECIPE, Weights
from midas_depth_ros.lab.speed.jobs import Job, at_size, carry_out, resized
from midas_depth_ros.lab.speed.random_weights import CANNOT_JUDGE
from midas_depth_ros.lab.speed.run import Plan, Run

VGA = (640, 480)


def job(**changes) -> Job:
    return Job(**{'model': 'embedded', 'weights': '', 'answer': '', 'picture': VGA, **changes})


def way(backend: str, precision: str, ms: float, **more) -> Way:
    return Way(backend, precision, ms, ms, 2 * ms, 9, 100 / ms, **more)


@pytest.fixture
def no_weights(monkeypatch):
    def none(*args, **kwargs):
        raise WeightsNotFound('none here')

    monkeypatch.setattr(weights, 'ensure_weights', none)


# Which models, at which sizes.


def test_sizes_that_come_to_the_same_are_measured_once(no_weights):
    found, left_out = subjects(['embedded', 'zipdepth'], [200, 250, 256])
    assert [one.text(VGA) for one in found] == [
        'embedded 256x192',  # its only size
        'zipdepth 256x192',
        'zipdepth 352x256',
    ]
    assert left_out == []


def test_all_models_but_the_costliest_take_part_without_a_name(no_weights):
    found, left_out = subjects([], [0])
    assert {one.model.name for one in found} == {*models.names()} - {'depth_anything_v2_large'}
    (line,) = left_out
    assert line == 'depth_anything_v2_large 686x518: 1806 GFLOP; name it to measure it'
    assert subjects(['depth_anything_v2_large'], [0])[0]


def test_weights_whose_licence_is_not_accepted_count_as_not_here(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, 'ensure_weights', lambda *args, **kwargs: tmp_path / 'here')
    assert model_of('midas_small')[1] == tmp_path / 'here'
    assert model_of('depth_anything_v2_base')[1] is None


def test_a_file_is_measured_with_its_own_weights():
    model, path = model_of(str(embedded.ASSET))
    assert (model.name, path) == ('embedded', embedded.ASSET)
    with pytest.raises(UnknownModel, match='no_such'):
        model_of('no_such')


def test_the_size_is_the_nearest_that_the_network_takes():
    picture = models.spec('depth_anything_v2_small').picture
    assert resized(picture, 250).network_size(*VGA) == (336, 252)
    assert resized(picture, 1).network_size(*VGA)[1] == 14
    assert resized(picture, 0) is picture
    assert resized(embedded.SPEC.picture, 300) is embedded.SPEC.picture


def test_a_model_at_another_size_is_known_in_the_same_place():
    before = {name: models.spec(name) for name in models.names()}
    try:
        at_size('zipdepth', 256)
        assert tuple(before) == models.names()
        assert models.spec('zipdepth').picture.usual_size == (256, 352)
    finally:
        for name in before:
            models.unregister(name)
        for spec in before.values():
            models.register(spec)


# What the processes are told, and answer.


def test_a_job_survives_the_command_line():
    told = job(short_side=192, backend='torch', precision='bf16', began=12.5, without=('a b',))
    assert Job.from_json(told.to_json()) == told


def test_a_job_that_cannot_be_done_answers_why(tmp_path):
    answer = tmp_path / 'answer.json'

    def fail(told):
        raise WeightsCorrupt('x.pt is corrupt')

    assert carry_out([job(answer=str(answer)).to_json()], fail) == 0
    assert json.loads(answer.read_text()) == {'error': 'x.pt is corrupt'}


def test_a_process_that_ends_without_an_answer_is_left_out_and_named(monkeypatch, tmp_path):
    monkeypatch.setattr(
        by_model, 'module_command', lambda *words: [sys.executable, '-c', 'raise SystemExit(3)']
    )
    found = compare([Subject(embedded.SPEC, weights=embedded.ASSET)], print, logs=tmp_path)
    assert found.measured == []
    (line,) = found.absent
    assert line.startswith('embedded 256x192: ')
    assert 'exit code 3' in line


def test_what_ends_the_process_is_left_out_and_the_rest_is_timed(monkeypatch, tmp_path):
    program = """
import json, sys
job = json.loads(sys.argv[1])
print('loading opencv f32', flush=True)
if 'opencv f32' not in job['without']:
    import os
    os.abort()
json.dump({'rows': [], 'absent': [], 'input': [256, 192]}, open(job['answer'], 'w'))
"""
    monkeypatch.setattr(
        by_model, 'module_command', lambda module, told: [sys.executable, '-c', program, told]
    )
    found = compare([Subject(embedded.SPEC, weights=embedded.ASSET)], print, logs=tmp_path)
    (line,) = found.absent
    assert line.startswith('embedded 256x192: opencv f32: ')
    assert 'SIGABRT' in line
    assert [one.model for one in found.measured] == ['embedded']


def test_a_process_that_hangs_is_ended(monkeypatch, tmp_path):
    monkeypatch.setattr(by_model, 'JOB_TIMEOUT_S', 0.5)
    monkeypatch.setattr(
        by_model,
        'module_command',
        lambda *words: [sys.executable, '-c', 'import time; time.sleep(60)'],
    )
    found = compare([Subject(embedded.SPEC, weights=embedded.ASSET)], print, logs=tmp_path)
    assert found.absent == ['embedded 256x192: no answer within 0.5 s']
    assert found.facts['seconds'] < 30


def test_memory_is_read_from_this_process():
    program = """
import json, numpy as np
from midas_depth_ros.lab.speed.model_alone import memory_mib
before = memory_mib()
held = np.ones(8 << 20)  # 64 MiB
print(json.dumps([before, memory_mib()]))
"""
    # A process of its own: this one may have as much memory that was freed before.
    printed = subprocess.check_output([sys.executable, '-c', program], text=True)
    before, after = json.loads(printed)
    assert after['VmRSS'] - before['VmRSS'] == pytest.approx(64, abs=8)
    assert after['VmHWM'] >= after['VmRSS'] > 20


# Random weights judge nothing.


def test_what_auto_selects_is_not_judged_by_random_weights():
    random = Weights(embedded.ASSET, 'embedded', 'made up', random=True)
    bench = Run(random, 1, Plan(), lambda text: None)
    (chosen,) = bench._auto()
    assert chosen.precision == 'f32'
    assert bench.result.facts['auto_choice'] == CANNOT_JUDGE
    facts = {**bench.result.facts, 'auto': [chosen.backend, 'f32'], 'judged': False}
    text = auto_text(facts)
    assert 'not judged: random weights' in text
    assert 'exceeds' not in text
    assert 'auto selects openvino' not in text


def test_trained_weights_are_judged():
    bench = Run(Weights(embedded.ASSET, 'embedded'), 1, Plan(), lambda text: None)
    (chosen,) = bench._auto()
    facts = {**bench.result.facts, 'auto': [chosen.backend, chosen.precision], 'judged': True}
    assert auto_text(facts) == f'auto selects {chosen.name}: {facts["auto_choice"]}'
    assert CANNOT_JUDGE not in auto_text(facts)


def test_a_judgement_names_the_figures():
    ways = [
        way('openvino', 'f32', 9.0),
        way('openvino', 'bf16', 5.0, deviation=[0.9999, 0.0029], within_bound=True),
        way('torch', 'bf16', 7.0, deviation=[0.95, 0.13], within_bound=False),
    ]
    assert judgement(ways) == (
        'openvino bf16 is within the bound of auto (correlation 0.9999, AbsRel 0.0029); '
        'torch bf16 is beyond the bound of auto (correlation 0.9500, AbsRel 0.1300)'
    )


# The report.


def comparison() -> Comparison:
    ways = [
        way(USUAL_RECIPE, 'f32', 12345.6),
        way('onnxruntime', 'f32', 9.0, rss_mb=1234.0, start_s=123.45),
        way('openvino', 'bf16', 5.0, deviation=[1.0, 0.0029], within_bound=True),
    ]
    name = 'depth_anything_v2_metric_outdoor_small'
    facts = {
        'picture': list(VGA), 'cpu': 'a CPU', 'cores': 2, 'threads': 2, 'load_average': [0.1, 1.0],
        'seconds': 61.5, 'versions': {'numpy': '2'}, 'system': 'Linux',
    }  # fmt: skip
    measured = [Measured(name, [686, 518], by_model.RANDOM, CANNOT_JUDGE, ways)]
    return Comparison(measured, ['x: torch is not installed'], facts)


def test_the_table_fits_80_columns_and_says_what_was_not_judged(capsys):
    show(comparison())
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert 'depth_anything_v2_metric_outdoor_small at 686x518' in out
    assert 'random weights: speed only' in out
    assert 'not judged: random weights say nothing' in ' '.join(out.split())
    assert 'not measured: x: torch is not installed' in out
    assert '12345.6' in out
    assert '…' not in out, 'a figure was cut'


def test_json_is_rounded_and_flat():
    found = comparison().to_json()
    assert found['cpu'] == 'a CPU'
    assert found['measured'][0]['ways'][2]['deviation'] == [1.0, 0.0029]
    json.dumps(found)


def test_the_fastest_is_never_the_baseline():
    (one,) = comparison().measured
    assert one.fastest().name == 'openvino bf16'
    assert one.fastest('f32').name == 'onnxruntime f32'
    assert dataclasses.replace(one, ways=one.ways[:1]).fastest() is None


def test_names_without_models_are_wrong_usage():
    outcome = subprocess.run(
        [sys.executable, '-m', 'midas_depth_ros.cli.main', 'bench', 'zipdepth'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 2
    assert '--models' in outcome.stderr


@pytest.mark.slow
@pytest.mark.thorough
def test_a_model_is_measured_by_its_processes(tmp_path):
    subject = Subject(embedded.SPEC, weights=embedded.ASSET)
    said: list[str] = []
    found = compare([subject], said.append, logs=tmp_path, threads=1, seconds=0.2)
    (one,) = found.measured
    assert one.input == [256, 192]
    assert {w.backend for w in one.ways} >= {'opencv'}
    assert one.fastest('f32').rss_mb > 30
    assert one.fastest('f32').start_s > 0.1
    assert any('alone' in text for text in said)
    assert Path(tmp_path, 'embedded_0_1.log').is_file()
