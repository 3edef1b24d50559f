"""The figures of a drive, for summary.json and as rows of a table."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from midas_depth_ros.demo.drive_recording import COMPARED_M
from midas_depth_ros.demo.plan import Run

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


def _integer(text: str | None) -> int | None:
    return int(text) if text else None


def _text(value: float | None) -> str:
    return '-' if value is None else f'{value:g}'


def _percent(share: float | None) -> str:
    return '-' if share is None else f'{share:.1%}'
