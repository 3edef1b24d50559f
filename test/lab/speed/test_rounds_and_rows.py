"""Times taken in turn, what becomes of them, and what a process costs."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from midas_depth_ros.lab import processes
from midas_depth_ros.lab.speed import run as rounds
from midas_depth_ros.lab.speed.run import (
    LEAST_ROUNDS,
    NETWORK,
    NO_NETWORK,
    NODE,
    PIPELINE,
    WARM_UP_ROUNDS,
    Result,
    Times,
    row,
    timed_in_turn,
)


def times(*milliseconds: float) -> Times:
    return Times(np.array(milliseconds), cpu_ms=1.0)


def test_all_are_called_in_turn_and_the_warm_up_is_not_counted():
    calls = []
    found = timed_in_turn({name: lambda name=name: calls.append(name) for name in 'abc'}, 0.2)
    assert calls == list('abc') * (len(calls) // 3)
    assert {len(one.wall_ms) for one in found.values()} == {len(calls) // 3 - WARM_UP_ROUNDS}
    assert len(calls) // 3 - WARM_UP_ROUNDS >= LEAST_ROUNDS


def test_what_is_slow_gets_fewer_rounds_but_one(monkeypatch):
    monkeypatch.setattr(rounds, 'SETTLE_S', 0.0)
    calls = []

    def slow():
        calls.append(1)
        time.sleep(0.2)

    found = timed_in_turn({'slow': slow}, 0.01)
    assert len(calls) == 2
    assert found['slow'].wall_ms[0] >= 200


def test_the_ratio_says_how_many_times_faster():
    faster = row(NETWORK, 'openvino', 'f32', '256x192', times(19, 20, 22), usual_ms=100.0)
    assert faster.ratio_to_usual == pytest.approx(5.0)
    assert (faster.median_ms, faster.fastest_ms, faster.runs) == (20, 19, 3)
    assert faster.spread == pytest.approx(0.0375)
    alone = row(NETWORK, 'openvino', 'f32', '256x192', times(20), usual_ms=None)
    assert alone.to_json()['ratio_to_usual'] is None


def result() -> Result:
    rows = [row(PIPELINE, 'openvino', 'bf16', '640x480', times(1), 5.0)]
    for backend, precision, ms, rss in (
        ('usual recipe', 'f32', 50, 500.0),
        ('openvino', 'f32', 20, 300.0),
        ('openvino', 'bf16', 10, 250.0),
        (NO_NETWORK, 'f32', 4, 100.0),
    ):
        made = row(NODE, backend, precision, '640x480', times(ms), 50.0)
        rows.append(type(made)(**{**vars(made), 'rss_mb': rss, 'start_s': rss / 100}))
    return Result(rows, {'auto': ['openvino', 'f32']})


def test_memory_and_start_are_of_the_node_that_auto_gives():
    found = result()
    assert (found.to_json()['rss_mb'], found.to_json()['start_s']) == (300.0, 3.0)
    found.facts['auto'] = None
    assert found.to_json()['rss_mb'] == 250.0  # of the fastest that infers


def test_without_nodes_there_is_no_memory_to_tell():
    assert Result().to_json()['rss_mb'] is None


def test_a_process_that_works_costs_cpu_and_one_that_sleeps_does_not():
    wait = "print('done', flush=True)\nsys.stdin.read()"
    begin = "import sys, time\nprint('begun', flush=True)\n"
    work = 'end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n'
    costs = {}
    for name, code in (('works', begin + work + wait), ('sleeps', begin + wait)):
        with subprocess.Popen(
            [sys.executable, '-c', code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            child.stdout.readline()
            before = processes.cpu_seconds(child.pid)
            child.stdout.readline()
            costs[name] = processes.cpu_seconds(child.pid) - before
            assert processes.resident_mib(child.pid) > 1
            child.communicate('')
    assert costs['works'] > 0.15 > costs['sleeps']


def test_a_process_that_is_gone_costs_nothing():
    child = subprocess.Popen([sys.executable, '-c', ''])
    child.wait()
    assert processes.cpu_seconds(child.pid) == 0
    assert processes.resident_mib(child.pid) == 0
