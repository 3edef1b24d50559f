"""docs/models.md: its tables are made of figures, each model is in them, its marks are there."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import models as page
from midas_depth_ros.depth import models
from midas_depth_ros.depth.model_check import Deviation
from midas_depth_ros.lab.speed.candidates import USUAL_RECIPE


def way(backend, precision, ms, **more):
    return {
        'backend': backend, 'precision': precision, 'ms': ms, 'cpu_ms': 2 * ms,
        'x_eager': 100 / ms, 'rss_mb': None, 'start_s': None, **more,
    }  # fmt: skip


FOUND = {
    'measured': [
        {
            'model': 'zipdepth',
            'input': [320, 256],
            'judged': 'not judged: random weights say nothing',
            'ways': [
                way(USUAL_RECIPE, 'f32', 100.0),
                way('openvino', 'f32', 40.0, rss_mb=200.4, start_s=1.26),
                way('onnxruntime', 'f32', 50.0),
                way('openvino', 'bf16', 20.0, rss_mb=180.0, start_s=1.0),
                way('torch', 'bf16', 70.0),
            ],
        }
    ],
    'absent': ['x 1x1: why'],
    'cpu': 'a CPU', 'cores': 2, 'threads': 2, 'system': 'Linux', 'versions': {'numpy': '2'},
    'load_average': [0.1, 1.0], 'seconds': 12.3,
}  # fmt: skip


def test_every_model_and_figure_of_a_specification_is_in_the_tables():
    there, accuracy = page.what_there_is(FOUND), page.accuracy(FOUND)
    for model in map(models.spec, models.names()):
        assert f'| `{model.name}` | {model.output.value} |' in there
        rows = [line for line in accuracy.splitlines() if line.startswith(f'| `{model.name}`')]
        assert len(rows) == len(model.published), model.name
    assert 'CC-BY-NC-4.0, must be accepted' in there


def test_the_fastest_of_each_precision_stands_beside_eager_torch():
    rows = page.speed(FOUND).splitlines()[2:]
    assert rows == [
        '| `zipdepth` | 320 x 256 | 3.24 | f32 | torch eager | 100.0 | 200.0 | 10.0 | 1.00 |  |  |',
        '| | | | f32 | openvino | 40.0 | 80.0 | 25.0 | 2.50 | 200 | 1.3 |',
        '| | | | bf16 | openvino | 20.0 | 40.0 | 50.0 | 5.00 | 180 | 1.0 |',
    ]


def test_machine_weights_and_what_is_left_out_are_named():
    text = page.machine(FOUND)
    assert 'Load average 0.1 to 1.0, 12 s' in text
    assert 'published ones of none, random ones of the others' in text
    assert '- x 1x1: why' in page.left_out(FOUND)
    assert '`depth_anything_v1_small` is the same network' in page.left_out(FOUND)


def test_the_page_has_a_place_for_each_table(tmp_path, monkeypatch):
    copy = tmp_path / 'models.md'
    copy.write_text(page.PAGE.read_text())
    for name, block in page.BLOCKS.items():
        page.write_block(copy, name, block(FOUND))
    assert '| `zipdepth` | 320 x 256 | 3.24 | f32 | torch eager |' in copy.read_text()
    assert '<!-- precision: begin -->' in copy.read_text()


def test_networks_that_are_the_same_are_measured_once(monkeypatch):
    monkeypatch.setattr(page, 'model_of', lambda name: (models.spec(name), None))
    node, own = page.at_both_sizes([])
    names = [subject.model.name for subject in node]
    assert len(names) == len(set(names)) == len(models.names()) - len(page.SAME_NETWORK)
    assert all(
        subject.model.giga_operations[subject.input_size(page.VGA)] <= page.MOST_GFLOP
        for subject in own
    )


def test_the_table_of_precisions_says_what_is_within_the_bound():
    pytest.importorskip('openvino')
    from benchmarks.precision import EXACT, HALF, Outcome, table

    near = Deviation({'a': (0.9999, 0.004), 'b': (0.9998, 0.006), 'c': (0.9997, 0.005)})
    far = Deviation({'a': (0.99, 0.03), 'b': (0.95, 0.12), 'c': (0.97, 0.05)})
    text = table(
        [
            Outcome('x', EXACT, near, near, 0.2),
            Outcome('x', HALF, near, far, 0.201),
            Outcome('y', HALF, far, far, 0.3),
        ],
        prior=float(np.float64(0.24)),
    )
    assert '| x | f32 |  |  |  |  |  |  | 0.200 |' in text
    assert '| x | bf16 | 0.9997 | 0.0060 | yes | 0.9500 | 0.1200 | 0.0500 | 0.201 |' in text
    assert '| y | bf16 | 0.9500 | 0.1200 | no |' in text
    assert text.endswith('0.240 |')
