"""From a recording made by hand to the files: pictures, animation, figures and texts."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from midas_depth_ros.lab.demo import report
from midas_depth_ros.lab.demo.recording import (
    MOMENTS,
    ClosenessSample,
    Pair,
    Recording,
    Thinned,
)
from midas_depth_ros.lab.demo.run import Plan, Run
from midas_depth_ros.lab.demo.summary import as_text, sparkline, summarise

NAN = math.nan
HEIGHT, WIDTH = 120, 160


def make_recording(frames: int = 40) -> Recording:
    """Camera pictures all blue, heatmaps all orange and brighter over time."""
    recording = Recording()
    for i in range(frames):
        camera = np.full((HEIGHT, WIDTH, 3), (20, 40, 200), np.uint8)
        heatmap = np.full((HEIGHT, WIDTH, 3), (100 + 3 * i, 60, 10), np.uint8)
        recording.add_pair(Pair(0.2 * i, camera, heatmap))
        recording.closeness.append(ClosenessSample(0.2 * i, 0.25, 1.1 if i == 7 else 0.5, NAN))
        recording.latencies_ms.append(float(i + 1))
    recording.counts.update({'heatmap/image': frames, 'image_raw': 2 * frames})
    recording.statuses = {
        'model': {'model': 'embedded', 'backend': 'numpy', 'notice': 'a stand-in'},
        'camera camera': {
            'frames received': '80',
            'frames processed': '40',
            'frames throttled': '40',
            'frames dropped': '0',
            'inference median [ms]': '12.5',
            'inference p95 [ms]': '20.0',
            'latency median [ms]': '',
        },
    }
    recording.add_notice('model: a stand-in')
    recording.add_notice('camera camera: incompatible QoS')
    return recording


def make_run(recording: Recording, ended_by: str = '') -> Run:
    return Run(
        Plan('holiday.mp4'),
        recording,
        7,
        '2025-01-01T00:00:00+0000',
        3.0,
        8.0,
        ended_by,
        {'camera': 0},
    )


@pytest.mark.parametrize('count', [0, 1, 5, 12, 13, 100, 1000])
def test_thinning_keeps_items_evenly_and_no_more_than_the_limit(count):
    thinned = Thinned(12)
    for i in range(count):
        thinned.offer(lambda i=i: i)
    items = thinned.items
    assert items[:1] == list(range(min(count, 1)))
    assert min(count, 6) <= len(items) <= 12
    gaps = np.diff([*items, count]) if items else []
    assert len(set(gaps[:-1])) <= 1
    assert all(gap <= max(gaps[0], 1) for gap in gaps)


def test_items_that_are_not_kept_are_not_made():
    made = []
    thinned = Thinned(4)
    for i in range(64):
        thinned.offer(lambda i=i: made.append(i) or i)
    assert len(made) < 20
    assert thinned.items == [0, 16, 32, 48]


def test_figures_of_a_summary():
    summary = summarise(make_run(make_recording()))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary['latency_ms'] == {'median': 20.5, 'p95': 38.0}
    assert summary['inference_ms'] == {'median': 12.5, 'p95': 20.0}
    assert summary['node_latency_ms'] == {'median': None, 'p95': None}
    assert summary['frames']['throttled'] == 40
    assert summary['frames']['rejected'] is None
    assert summary['recorded'] == {
        'camera_pictures': 80,
        'heatmaps': 40,
        'pairs_of_same_stamp': 40,
    }
    assert summary['output_rate_hz'] == 5.0
    assert summary['picture_size'] == [WIDTH, HEIGHT]
    assert summary['closeness']['nearest'] == {'left': 0.25, 'centre': 1.1, 'right': None}
    assert summary['closeness']['timeline'][7] == {
        'time_s': 1.4,
        'left': 0.25,
        'centre': 1.1,
        'right': None,
    }
    assert summary['notices'] == ['a stand-in', 'camera camera: incompatible QoS']


def test_text_tells_model_backend_frames_and_timeline():
    text = as_text(summarise(make_run(make_recording(), 'SIGINT')))
    for words in (
        'embedded on numpy',
        'median 20.5 ms, p95 38 ms',
        'ended by SIGINT',
        'Note: a stand-in',
    ):
        assert words in text
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert rows['received'].split()[1] == '80'
    assert rows['throttled'].split()[1] == '40'
    assert rows['right'].split()[1:] == ['·' * 20, '-']
    assert rows['centre'].split()[1].index(max(rows['centre'].split()[1])) == 7 // 2
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_run_without_any_diagnostics_is_summarised_too():
    recording = Recording()
    text = as_text(summarise(make_run(recording)))
    assert '- on -' in text
    assert 'no message received' in text


def test_sparkline_shows_the_nearest_of_each_span_and_what_is_unknown():
    times = [0.0, 1.0, 2.0, 3.0, 4.0]
    assert sparkline(times, [0.0, 0.0, None, 9.0, 0.0], 5) == '▁▁·█▁'
    assert sparkline(times, [0.0, 1.5, None, None, 0.75], 2) == '█▅'
    assert sparkline([], [], 3) == '   '
    assert sparkline([0.0, 4.0], [1.5, None], 3) == '█ ·'
    assert sparkline([0.0], [1.5], 2) == '█ '


def test_files_of_a_report(tmp_path):
    recording = make_recording()
    recording.last_messages['closeness'] = None
    summary = report.write(make_run(recording), tmp_path)
    names = {path.name for path, _ in report.contents(tmp_path)}
    assert names == {
        'contact_sheet.png',
        'run.gif',
        'pictures',
        'messages',
        'summary.txt',
        'summary.json',
    }
    assert json.loads((tmp_path / 'summary.json').read_text()) == summary
    assert (tmp_path / 'summary.txt').read_text() == as_text(summary)
    assert 'no message received' in (tmp_path / 'messages' / 'camera_closeness.txt').read_text()


def test_pictures_show_the_camera_left_and_the_heatmap_of_the_moment_right(tmp_path):
    report.write(make_run(make_recording()), tmp_path)
    paths = sorted((tmp_path / 'pictures').iterdir())
    assert len(paths) == report.SHOWN_MOMENTS
    reds = []
    for path in paths:
        with Image.open(path) as image:
            picture = np.asarray(image)
        height, width = picture.shape[:2]
        assert width > 2 * WIDTH
        assert height > HEIGHT
        assert tuple(picture[height // 3, width // 4]) == (20, 40, 200)
        red, green, blue = picture[height // 3, 3 * width // 4]
        assert (green, blue) == (60, 10)
        reds.append((int(red) - 100) / 3 * 0.2)
    # The time in a picture's name is the time of what it shows.
    assert reds == pytest.approx([float(path.stem.split('_')[-1][:-1]) for path in paths], abs=0.06)
    assert reds == sorted(reds)
    assert len(set(reds)) == len(reds)
    with Image.open(tmp_path / 'contact_sheet.png') as sheet:
        assert 4 * WIDTH < sheet.width <= 1920
        assert sheet.height > 3 * HEIGHT


def test_animation_lasts_as_long_as_the_run(tmp_path):
    report.write(make_run(make_recording()), tmp_path)
    with Image.open(tmp_path / 'run.gif') as animation:
        assert animation.n_frames == 40
        duration_ms = 0
        for frame in range(animation.n_frames):
            animation.seek(frame)
            duration_ms += animation.info['duration']
    assert duration_ms == pytest.approx(8000, abs=200)


@pytest.mark.parametrize('frames', [1, 2, MOMENTS + 1])
@pytest.mark.parametrize('shape', [(24, 32), (37, 500)])
def test_few_moments_and_odd_shapes(tmp_path, frames, shape):
    recording = Recording()
    for i in range(frames):
        picture = np.full((*shape, 3), i, np.uint8)
        recording.add_pair(Pair(float(i), picture, picture))
        recording.closeness.append(ClosenessSample(float(i), NAN, 0.0, 0.5))
    report.write(make_run(recording), tmp_path)
    assert len(list((tmp_path / 'pictures').iterdir())) == min(frames, report.SHOWN_MOMENTS)
    with Image.open(tmp_path / 'run.gif') as animation:
        assert animation.n_frames >= 1
