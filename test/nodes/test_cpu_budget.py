"""Processors and niceness: what the parameters mean, and that every thread of the process obeys."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from midas_depth_ros.options.depth import apply_cpu_budget, check_cpus, parse_cpus, threads_for

ABSENT = os.cpu_count() or 1

# A thread from before, a thread from after, the main one: (niceness, processors) of each.
WITH_THREADS = """
import os, threading
from midas_depth_ros.options.depth import apply_cpu_budget
go, seen, apart = threading.Event(), [], threading.Barrier(2)

def look():
    seen.append((os.getpriority(os.PRIO_PROCESS, threading.get_native_id()),
                 sorted(os.sched_getaffinity(0))))

def early():
    apart.wait()
    go.wait()
    look()

first = threading.Thread(target=early)
first.start()
apart.wait()
apply_cpu_budget({niceness}, frozenset({cpus}))
go.set()
late = threading.Thread(target=look)
late.start()
late.join()
first.join()
look()
print(seen)
"""


@pytest.mark.parametrize('text', ['a', '1-', '-1', '0,,1', '3-1', '0-99999', '0;1', '1.5'])
def test_what_is_no_list_of_processors_is_refused(text):
    assert check_cpus(text)
    with pytest.raises(ValueError):
        parse_cpus(text)


def test_a_processor_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=f'processor {ABSENT},.* 0 to {ABSENT - 1}'):
        apply_cpu_budget(0, frozenset({0, ABSENT}))


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='affinity is of Linux')
def test_where_the_system_has_no_affinity_it_says_so(monkeypatch):
    monkeypatch.delattr(os, 'sched_setaffinity')
    with pytest.raises(ValueError, match='needs Linux'):
        apply_cpu_budget(0, frozenset({0}))


@pytest.mark.parametrize(
    ('text', 'cpus'),
    [('', set()), ('0', {0}), ('0,2-3', {0, 2, 3}), (' 1 - 2 , 5', {1, 2, 5}), ('4-4', {4})],
)
def test_lists_of_processors(text, cpus):
    assert check_cpus(text) == ''
    assert parse_cpus(text) == cpus


def test_threads_follow_the_processors_unless_they_are_named():
    assert threads_for(0, frozenset()) == 0
    assert threads_for(0, frozenset({1, 3})) == 2
    assert threads_for(4, frozenset({1, 3})) == 4


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='affinity is of Linux')
def test_every_thread_obeys():
    cpu = min(os.sched_getaffinity(0))
    start = os.getpriority(os.PRIO_PROCESS, 0)
    niceness = min(start + 5, 19)
    code = WITH_THREADS.format(niceness=niceness, cpus={cpu})
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.strip() == str([(niceness, [cpu])] * 3), result.stderr


def test_nothing_asked_changes_nothing():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    apply_cpu_budget(0, frozenset())
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_opencv_has_one_thread_unless_it_runs_the_network():
    code = (
        'import cv2\n'
        'from midas_depth_ros.options.depth import bound_opencv_threads\n'
        "for each in (('openvino', 3), ('opencv', 3), ('openvino', 0), ('opencv', 0)):\n"
        '    bound_opencv_threads(*each)\n'
        '    print(cv2.getNumThreads())\n'
    )
    # Of a process of its own: in those of tests OpenCV is told to have one thread.
    environment = {name: text for name, text in os.environ.items() if 'OPENCV' not in name}
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True
    )
    one, three, again, all_of_them = map(int, done.stdout.split())
    assert (one, three, again) == (1, 3, 1)
    assert all_of_them >= ABSENT


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='affinity is of Linux')
def test_no_processors_are_all_again_after_some():
    code = (
        'import os\n'
        'from midas_depth_ros.options.depth import apply_cpu_budget\n'
        'first = os.sched_getaffinity(0)\n'
        'apply_cpu_budget(0, frozenset({min(first)}))\n'
        'apply_cpu_budget(0, frozenset())\n'
        'print(os.sched_getaffinity(0) == first)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'True'
