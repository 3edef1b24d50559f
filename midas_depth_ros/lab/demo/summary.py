"""The figures of a run: a dictionary fit for JSON, and the same as tables for people.

Unknown figures are None in the dictionary and a dash in the tables; NaN never gets out.
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

from midas_depth_ros.lab.demo.recording import CAMERA, COMPARED_M, Closeness
from midas_depth_ros.lab.demo.run import Run
from midas_depth_ros.options.text import printable
from midas_depth_ros.views.legend import FULL_BAR

SECTORS = ('left', 'centre', 'right')
BARS = '▁▂▃▄▅▆▇█'
UNKNOWN_BAR = '·'
TIMELINE_WIDTH = 60
# Where a frame can end, as the depth node counts it, and what that means.
FRAME_ENDINGS = {
    'received': 'reached the node',
    'processed': 'inferred and published',
    'throttled': 'faster than the allowed rate',
    'dropped': 'replaced by a newer one before its turn',
    'unwanted': 'while nobody subscribed to an output',
    'rejected': 'malformed',
    'failed': 'inference or an output failed',
}


def summarise(run: Run) -> dict[str, Any]:
    """The figures of a run. Times are in the unit that their name says; None = unknown."""
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
        'frames': {ending: _integer(camera.get(f'frames {ending}')) for ending in FRAME_ENDINGS},
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
    """The model's notice and what diagnostics warned of, without saying the same twice."""
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
    """A median and a p95 as the node's diagnostics give them."""
    texts = {key: status.get(f'{name} {key} [ms]') for key in ('median', 'p95')}
    return {key: float(text) if text else None for key, text in texts.items()}


def _closeness(samples: list[Closeness]) -> dict[str, Any]:
    """The samples with None for NaN, and the nearest that each sector saw."""
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
    """One character for each of `width` equal spans of time: the largest value in it.

    A dot is a span in which nothing was known, a blank one without any value.
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
    """The summary for people, as rich draws it."""
    return Group(_run_table(summary), _frames_table(summary), *_timeline(summary), *_notes(summary))


def _table(title: str, **columns: Any) -> Table:
    """A table; each column's name and how it is justified."""
    table = Table(title=title, title_justify='left', box=box.SIMPLE_HEAD)
    for name, justify in columns.items():
        table.add_column(name, justify=justify)
    return table


def _run_table(summary: dict[str, Any]) -> Table:
    table = _table('midas_depth_ros: a run', what='left', figure='left')
    rows = {
        'source': summary['source'] + _size(summary['picture_size']),
        'model': f'{summary["model"] or "-"} on {summary["backend"] or "-"}',
        'transport': summary['transport'],
        'recorded': f'{summary["seconds"]:.1f} s, ended by {summary["ended_by"]}',
        'first heatmap after': f'{summary["first_output_s"]:.1f} s (start of the processes, model)',
        'heatmaps': f'{_figure(summary["output_rate_hz"])} per second',
        'latency, stamp to heatmap received': _milliseconds(summary['latency_ms']),
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
    table = _table('Frames, as the node counted them', frames='left', count='right', meaning='left')
    for name, meaning in FRAME_ENDINGS.items():
        table.add_row(name, _figure(summary['frames'][name]), meaning)
    return table


def _timeline(summary: dict[str, Any]) -> list[Any]:
    rows = summary['closeness']['timeline']
    if not rows:
        return [Text('Closeness: no message came.')]
    times_s = [row['time_s'] for row in rows]
    width = min(TIMELINE_WIDTH, max(len(rows) // 2, 10))  # fewer spans than values: no holes
    lines = [f'Closeness over {times_s[-1]:.1f} s, and the largest in each sector']
    for name in SECTORS:
        bars = sparkline(times_s, [row[name] for row in rows], width)
        lines.append(f'  {name:7}{bars}  {_figure(summary["closeness"]["nearest"][name])}')
    lines.append(
        '  0 = far, 1 = as near as the nearest floor in view, above 1 nearer still; '
        f'{UNKNOWN_BAR} not known'
    )
    return [Text('\n'.join(lines) + '\n')]


def _notes(summary: dict[str, Any]) -> list[Any]:
    return [Text(printable(f'Note: {notice}')) for notice in summary['notices']]


def as_text(summary: dict[str, Any]) -> str:
    """The tables as plain text, 100 columns wide."""
    sheet = io.StringIO()
    Console(file=sheet, width=100, color_system=None).print(tables(summary))
    return '\n'.join(line.rstrip() for line in sheet.getvalue().splitlines()) + '\n'


# --- The figures of a drive, for summary.json and as rows of a table.

LEAST_DRIVEN_M = 0.1  # less is standing
LEAST_SECONDS = 8.0  # a shorter recording proves nothing


def summarise_drive(run: Run) -> dict[str, Any] | None:
    """The figures of a run's drive; None where nothing drove. Unknown figures are None."""
    drive = run.recording.drive
    if drive is None:
        return None
    tally = drive.tally
    errors = np.abs(drive.errors)
    frames = run.recording.outputs
    return {
        'world': run.plan.world,
        'distance_m': _rounded(tally.get('distance_m'), 2),
        'seconds': _rounded(tally.get('seconds'), 1),
        'turned_rad': _rounded(tally.get('turned_rad'), 1),
        'stops': _integer(tally.get('stops')),
        'collisions': _integer(tally.get('collisions')),
        'min_clearance_m': _rounded(tally.get('min_clearance_m'), 3),
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


def why_it_stood(summary: dict[str, Any]) -> str:
    """Why a drive was none, in words; '' where the robot drove, or had no time to."""
    drive = summary['drive']
    if drive is None or summary['seconds'] < LEAST_SECONDS:
        return ''
    if (drive['distance_m'] or 0.0) >= LEAST_DRIVEN_M:
        return ''
    states = ', '.join(f'{state} {share:.0%}' for state, share in drive['states'].items())
    return f'the robot did not drive: its avoidance said {states or "nothing"}'


def drive_rows(drive: dict[str, Any]) -> dict[str, str]:
    """What to say about a drive, and it."""
    error = drive['scan_error']
    within = f'within {COMPARED_M[1]:g} m'
    return {
        'driven': f'{_text(drive["distance_m"])} m, {_text(drive["stops"])} stops, nearest to '
        f'anything {_text(drive["min_clearance_m"])} m',
        'collisions': _text(drive['collisions']),
        'the avoidance was': ', '.join(f'{s} {share:.0%}' for s, share in drive['states'].items())
        or '-',
        'scans': f'{drive["scans"]}, one for {_percent(drive["scan_share"])} of the heatmaps',
        f'scan against the truth, {within}': f'off by {_percent(error["median"])} (median), '
        f'{_percent(error["p90"])} (p90); {_percent(error["missed"])} of the beams saw nothing',
    }


def _states(states: list[tuple[float, str]], begin_s: float, end_s: float) -> dict[str, float]:
    """The share of the recording that each state took, the largest first."""
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


def _text(value: float | None) -> str:
    return '-' if value is None else f'{value:g}'


def _percent(share: float | None) -> str:
    return '-' if share is None else f'{share:.1%}'
