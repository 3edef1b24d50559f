"""The summary of a run: a dictionary for JSON, and tables for people.

Unknown values are None in the dictionary, never NaN, and a dash in the tables.
"""

from __future__ import annotations

import io
import itertools
import math
import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from midas_depth_ros.lab.demo.recording import CAMERA, COMPARED_M, ClosenessSample
from midas_depth_ros.lab.demo.run import Run
from midas_depth_ros.options.text import printable
from midas_depth_ros.views.pictures import FULL_BAR

SECTORS = ('left', 'centre', 'right')
BARS = '▁▂▃▄▅▆▇█'
UNKNOWN_BAR = '·'
TIMELINE_WIDTH = 60
# The counters of the depth node's diagnostics, and their meaning.
FRAME_COUNTERS = {
    'received': 'reached the node',
    'processed': 'inferred and published',
    'throttled': 'above the maximum rate',
    'dropped': 'replaced by a newer frame',
    'unwanted': 'no subscriber to any output',
    'rejected': 'malformed',
    'failed': 'inference or an output failed',
}


def summarise(run: Run) -> dict[str, Any]:
    """Return the summary of a run. Units are in the names; None = unknown."""
    recording = run.recording
    camera = recording.statuses.get(f'camera {CAMERA}', {})
    model = recording.statuses.get('model', {})
    moments = recording.moments.items
    return {
        'made_by': 'midas_depth_ros demo',
        'started': run.started,
        'source': run.plan.what,
        'transport': run.plan.transport,
        'picture_size': list(moments[0].camera.shape[1::-1]) if moments else None,
        'model': model.get('model') or None,
        'backend': model.get('backend') or None,
        'notices': _notices(model.get('notice', ''), recording.notices),
        'ros_domain_id': run.domain,
        'seconds': round(run.seconds, 2),
        'ended_by': run.ended_by or 'time',
        'first_output_s': round(run.first_output_s, 2),
        'frames': {ending: _integer(camera.get(f'frames {ending}')) for ending in FRAME_COUNTERS},
        'recorded': {
            'camera_pictures': recording.pictures,
            'heatmaps': recording.outputs,
            'pairs_of_same_stamp': recording.counts['pairs'],
        },
        'output_rate_hz': round(recording.outputs / run.seconds, 2) if run.seconds else None,
        'latency_ms': _spread(recording.latencies_ms),
        'node_latency_ms': _reported(camera, 'latency'),
        'inference_ms': _reported(camera, 'inference'),
        'closeness': _closeness(recording.closeness),
        'drive': summarise_drive(run),
        'exit_codes': run.exit_codes,
        'commands': run.plan.commands(),
    }


def _notices(model_notice: str, diagnosed: list[str]) -> list[str]:
    """Return the model's notice and the warnings of diagnostics, each once."""
    others = [text for text in diagnosed if not model_notice or model_notice not in text]
    return [model_notice, *others] if model_notice else others


def _integer(text: str | None) -> int | None:
    return int(text) if text else None


def _spread(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {'median': None, 'p95': None}
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {'median': round(statistics.median(ordered), 1), 'p95': round(p95, 1)}


def _reported(status: dict[str, str], name: str) -> dict[str, float | None]:
    """Return a median and a p95 from the node's diagnostics."""
    texts = {key: status.get(f'{name} {key} [ms]') for key in ('median', 'p95')}
    return {key: float(text) if text else None for key, text in texts.items()}


def _closeness(samples: list[ClosenessSample]) -> dict[str, Any]:
    """Return the samples with None for NaN, and the largest closeness of each sector."""
    timeline: list[dict[str, float | None]] = [
        {
            'time_s': round(sample.time_s, 3),
            **dict(zip(SECTORS, map(_finite, sample.values), strict=True)),
        }
        for sample in samples
    ]
    nearest = {name: _largest(row[name] for row in timeline) for name in SECTORS}
    return {'nearest': nearest, 'timeline': timeline}


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def sparkline(times_s: list[float], values: list[float | None], width: int) -> str:
    """Return a bar for the largest value in each of `width` equal spans of time.

    A dot is a span whose values are unknown, a blank one without values.
    """
    end = times_s[-1] if times_s else 0.0
    spans: list[list[float | None]] = [[] for _ in range(width)]
    for time_s, value in zip(times_s, values, strict=True):
        spans[min(width - 1, int(width * time_s / end)) if end > 0 else 0].append(value)
    return ''.join(_bar(_largest(span)) if span else ' ' for span in spans)


def _bar(value: float | None) -> str:
    if value is None:
        return UNKNOWN_BAR
    level = round(value / FULL_BAR * (len(BARS) - 1))
    return BARS[min(max(level, 0), len(BARS) - 1)]


def tables(summary: dict[str, Any]) -> Group:
    """Return the summary as tables."""
    notes = [Text(printable(f'Note: {notice}')) for notice in summary['notices']]
    return Group(_run_table(summary), _frames_table(summary), *_timeline(summary), *notes)


def _table(title: str, **columns: Any) -> Table:
    """Return an empty table; the columns are given as name=justify."""
    table = Table(title=title, title_justify='left', box=box.SIMPLE_HEAD)
    for name, justify in columns.items():
        table.add_column(name, justify=justify)
    return table


def _run_table(summary: dict[str, Any]) -> Table:
    table = _table('midas_depth_ros demo', what='left', value='left')
    rows = {
        'source': summary['source'] + _size(summary['picture_size']),
        'model': f'{summary["model"] or "-"} on {summary["backend"] or "-"}',
        'transport': summary['transport'],
        'recorded': f'{summary["seconds"]:.1f} s, ended by {summary["ended_by"]}',
        'first heatmap after': f'{summary["first_output_s"]:.1f} s (with start and model loading)',
        'heatmaps': f'{_figure(summary["output_rate_hz"])} per second',
        'latency, camera stamp to heatmap received': _milliseconds(summary['latency_ms']),
        'latency inside the node, all outputs': _milliseconds(summary['node_latency_ms']),
        'inference': _milliseconds(summary['inference_ms']),
        **(drive_rows(summary['drive']) if summary['drive'] else {}),
    }
    for name, text in rows.items():
        table.add_row(name, Text(printable(text)))
    return table


def _size(size: list[int] | None) -> str:
    return f', {size[0]}x{size[1]}' if size else ''


def _figure(value: float | None) -> str:
    return '-' if value is None else f'{value:g}'


def _milliseconds(spread: dict[str, float | None]) -> str:
    if spread['median'] is None:
        return _figure(None)
    return f'median {_figure(spread["median"])} ms, p95 {_figure(spread["p95"])} ms'


def _frames_table(summary: dict[str, Any]) -> Table:
    table = _table('Frames, as counted by the node', frames='left', count='right', meaning='left')
    for name, meaning in FRAME_COUNTERS.items():
        table.add_row(name, _figure(summary['frames'][name]), meaning)
    return table


def _timeline(summary: dict[str, Any]) -> list[Any]:
    rows = summary['closeness']['timeline']
    if not rows:
        return [Text('Closeness: no message received.')]
    times_s = [row['time_s'] for row in rows]
    width = min(TIMELINE_WIDTH, max(len(rows) // 2, 10))  # fewer spans than values: no gaps
    lines = [f'Closeness over {times_s[-1]:.1f} s, and its maximum, by sector']
    for name in SECTORS:
        bars = sparkline(times_s, [row[name] for row in rows], width)
        lines.append(f'  {name:7}{bars}  {_figure(summary["closeness"]["nearest"][name])}')
    lines.append(
        '  0 = far, 1 = as near as the nearest floor in view, above 1 = nearer; '
        f'{UNKNOWN_BAR} = unknown'
    )
    return [Text('\n'.join(lines) + '\n')]


def as_text(summary: dict[str, Any]) -> str:
    """Return the tables as plain text, 100 columns wide."""
    sheet = io.StringIO()
    Console(file=sheet, width=100, color_system=None).print(tables(summary))
    return '\n'.join(line.rstrip() for line in sheet.getvalue().splitlines()) + '\n'


# --- The summary of a drive.

LEAST_DRIVEN_M = 0.1  # less counts as standing
LEAST_SECONDS = 8.0  # a shorter recording is not judged


def summarise_drive(run: Run) -> dict[str, Any] | None:
    """Return the summary of a drive; None if there was none. Unknown values are None."""
    drive = run.recording.drive
    if drive is None:
        return None
    robot_status = drive.robot_status
    errors = np.abs(drive.errors)
    frames = run.recording.outputs
    return {
        'world': run.plan.world,
        'distance_m': _rounded(robot_status.get('distance_m'), 2),
        'seconds': _rounded(robot_status.get('seconds'), 1),
        'turned_rad': _rounded(robot_status.get('turned_rad'), 1),
        'stops': _integer(robot_status.get('stops')),
        'collisions': _integer(robot_status.get('collisions')),
        'min_clearance_m': _rounded(robot_status.get('min_clearance_m'), 3),
        'scans': drive.scan_count,
        'scan_share': round(min(drive.scan_count / frames, 1.0), 3) if frames else None,
        'scan_error': {
            'beams': len(errors),
            'median': round(float(np.median(errors)), 4) if len(errors) else None,
            'p90': round(float(np.quantile(errors, 0.9)), 4) if len(errors) else None,
            'missed': round(1 - drive.seen / drive.to_be_seen, 4) if drive.to_be_seen else None,
        },
        'states': _states(drive.states, drive.began_s, drive.ended_s),
    }


def why_it_did_not_drive(summary: dict[str, Any]) -> str:
    """Return why the robot did not drive; '' if it did, or had no time to."""
    drive = summary['drive']
    if drive is None or summary['seconds'] < LEAST_SECONDS:
        return ''
    if (drive['distance_m'] or 0.0) >= LEAST_DRIVEN_M:
        return ''
    states = ', '.join(f'{state} {share:.0%}' for state, share in drive['states'].items())
    return f'the robot did not drive: states of the avoidance: {states or "none"}'


def drive_rows(drive: dict[str, Any]) -> dict[str, str]:
    """Return the rows of the table about a drive."""
    error = drive['scan_error']
    return {
        'driven': f'{_figure(drive["distance_m"])} m, {_figure(drive["stops"])} stops, least '
        f'clearance {_figure(drive["min_clearance_m"])} m',
        'collisions': _figure(drive['collisions']),
        'avoidance': ', '.join(f'{s} {share:.0%}' for s, share in drive['states'].items()) or '-',
        'scans': f'{drive["scans"]}, for {_percent(drive["scan_share"])} of the heatmaps',
        f'scan error within {COMPARED_M[1]:g} m': f'median {_percent(error["median"])}, '
        f'p90 {_percent(error["p90"])}; {_percent(error["missed"])} of the beams missed obstacles',
    }


def _states(states: list[tuple[float, str]], begin_s: float, end_s: float) -> dict[str, float]:
    """Return the share of each state in the recording, the largest first."""
    lengths: dict[str, float] = {}
    for (since, state), (until, _) in itertools.pairwise([*states, (end_s, '')]):
        length = min(until, end_s) - max(since, begin_s)
        if length > 0:
            lengths[state] = lengths.get(state, 0.0) + length
    whole = sum(lengths.values())
    ordered = sorted(lengths.items(), key=lambda pair: -pair[1])
    return {state: round(length / whole, 3) for state, length in ordered} if whole else {}


def _rounded(text: str | None, digits: int) -> float | None:
    return round(float(text), digits) if text else None


def _percent(share: float | None) -> str:
    return '-' if share is None else f'{share:.1%}'
