"""The figures of a comparison: accuracy by range, false clears and alarms, scale, sigma, times.

Takes the frames of one run and gives plain numbers for the page and for --json; what cannot be said
is None.
"""

from __future__ import annotations

import collections
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.agreement import WORDS
from midas_depth_ros.lab.evaluate.frames import FrameRecord

EDGES_M = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 40.0, 80.0)
LEAST_PIXELS = 30  # of a range, to say anything of it
LEAST_BEAMS = 30
# What is said may be off from the truth by this much before it counts as false.
TOLERANCE_M, TOLERANCE_SHARE = 0.1, 0.1
SIGMA_SHARES = (0.6827, 0.9545)  # of a normal distribution, within 1 and 2
NUMBER = re.compile(r'-?\d+(?:\.\d+)?(?:e[+-]?\d+)?')
Numbers = dict[str, Any]


def rounded(value: float, digits: int = 4) -> float | None:
    """Return a number for JSON; None if it is not finite."""
    return round(float(value), digits) if math.isfinite(value) else None


def summary_of(frames: Sequence[FrameRecord], range_max_m: float) -> Numbers:
    """Return all figures of one run."""
    compared = [frame for frame in frames if not math.isnan(frame.away_s)]
    in_metres = sum(not frame.refused for frame in frames)
    return {
        'frames': len(frames),
        'failed': sum(frame.failed for frame in frames),
        'in_metres': in_metres,
        'silent_share': rounded(1 - in_metres / len(frames)) if frames else None,
        'refusals': reasons([frame.refused for frame in frames]),
        'last_fit_refused': reasons(
            [frame.values.get('last refusal', '') for frame in frames if not frame.refused]
        ),
        'no_obstacles': reasons([frame.no_obstacles for frame in frames]),
        'frames_with_truth': len(compared),
        'no_truth': reasons([frame.no_truth for frame in frames]),
        'depth': depth_figures(compared),
        'scan': scan_figures(compared, range_max_m),
        'corridor': corridor_figures(compared, range_max_m),
        'scale': scale_figures(frames),
        'sources': source_figures(frames),
        'sigma': sigma_figures(compared),
        'processor': processor_figures(frames),
    }


def reasons(texts: Sequence[str]) -> list[Numbers]:
    """Return the reasons with their counts, the most frequent first.

    Reasons that differ in their numbers alone are counted as one; the first one is the example.
    """
    counts: collections.Counter[str] = collections.Counter()
    examples: dict[str, str] = {}
    for text in filter(None, texts):
        kind = NUMBER.sub('#', text)
        counts[kind] += 1
        examples.setdefault(kind, text)
    return [
        {'reason': kind, 'frames': count, 'example': examples[kind]}
        for kind, count in counts.most_common()
    ]


def joined(frames: Sequence[FrameRecord], name: str) -> NDArray[np.float32]:
    """Return an array of all frames, one after the other."""
    arrays = [getattr(frame, name) for frame in frames]
    return np.concatenate(arrays) if arrays else np.zeros(0, np.float32)


def beams_joined(frames: Sequence[FrameRecord], name: str) -> NDArray[np.float32]:
    """Return an array of the beams of all frames, one after the other."""
    arrays = [getattr(frame.beams, name) for frame in frames]
    return np.concatenate(arrays) if arrays else np.zeros(0, np.float32)


# --- Pixels.


def depth_figures(frames: Sequence[FrameRecord]) -> Numbers:
    """Return AbsRel, bias (median Z'/Z - 1) and spread, in all and by range of the truth."""
    true, said = joined(frames, 'z_true'), joined(frames, 'z_said')
    spoken = np.isfinite(said)
    by_range = []
    for low, high in itertools.pairwise(EDGES_M):
        inside = (true >= low) & (true < high)
        if inside.sum() >= LEAST_PIXELS:
            by_range.append({'from_m': low, 'to_m': high, **_accuracy(true[inside], said[inside])})
    return {'unknown_share': _share(~spoken), **_accuracy(true, said), 'by_range': by_range}


def _accuracy(true: NDArray[np.float32], said: NDArray[np.float32]) -> Numbers:
    known = np.isfinite(said)
    if not known.any():
        return {'pixels': 0, 'abs_rel': None, 'bias': None, 'median_abs': None, 'p90_abs': None,
                'within_25_percent': None}  # fmt: skip
    off = said[known] / true[known] - 1
    size = np.abs(off)
    return {
        'pixels': int(known.sum()),
        'abs_rel': rounded(size.mean()),
        'bias': rounded(np.median(off)),
        'median_abs': rounded(np.median(size)),
        'p90_abs': rounded(np.percentile(size, 90)),
        'within_25_percent': rounded((np.maximum(1 + off, 1 / (1 + off)) < 1.25).mean()),
    }


def _share(mask: NDArray[np.bool_]) -> float | None:
    return rounded(mask.mean()) if len(mask) else None


# --- Beams and the corridor.


def tolerance_m(distance_m: Any) -> Any:
    """Return how far off what is said at a distance may be before it counts as false."""
    return np.maximum(TOLERANCE_M, TOLERANCE_SHARE * np.asarray(distance_m))


def scan_figures(frames: Sequence[FrameRecord], range_max_m: float) -> Numbers:
    """Return how often a beam was clear where something stands, and the other way round."""
    angle = beams_joined(frames, 'angle')
    claim, false_clear, alarm, false_alarm = judged_beams(frames, range_max_m)
    said, nearest = beams_joined(frames, 'said'), beams_joined(frames, 'nearest')
    both = np.isfinite(said) & np.isfinite(nearest) & ~false_clear & ~false_alarm
    both &= ~before_view(frames)
    ratio = said[both] / nearest[both] - 1
    return {
        'tolerance_m': TOLERANCE_M,
        'tolerance_share': TOLERANCE_SHARE,
        'beams': len(angle),
        'beams_that_say_free': int(claim.sum()),
        'false_clear': int(false_clear.sum()),
        'false_clear_rate': _rate(false_clear, claim),
        'beams_that_report': int(alarm.sum()),
        'false_alarm': int(false_alarm.sum()),
        'false_alarm_rate': _rate(false_alarm, alarm),
        'range_bias': rounded(np.median(ratio)) if len(ratio) else None,
        'by_bearing': _by_bearing(angle, claim, false_clear, alarm, false_alarm),
    }


def judged_beams(
    frames: Sequence[FrameRecord], range_max_m: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which beams say free where there is a truth, which of these are false, and the same of
    those that report something.

    A beam says free as `said_free` gives it. Where something stands before our view begins, no
    report is judged.
    """
    said, free = beams_joined(frames, 'said'), said_free(frames, range_max_m)
    nearest, looked = beams_joined(frames, 'nearest'), beams_joined(frames, 'looked')
    known = ~np.isnan(looked)
    claim = known & (free > 0)
    false_clear = claim & (nearest < free - tolerance_m(nearest))
    alarm = known & np.isfinite(said) & ~before_view(frames)
    with np.errstate(invalid='ignore'):
        beyond = np.minimum(nearest, looked)
        # What the truth did not look as far as may be there.
        alarm &= (looked >= said) | np.isfinite(nearest)
        false_alarm = alarm & (beyond > said + tolerance_m(said))
    return claim, false_clear, alarm, false_alarm


def before_view(frames: Sequence[FrameRecord]) -> NDArray[np.bool_]:
    """Return where something stands nearer than our view of the floor begins, for each beam."""
    begins = [np.full(len(frame.beams.nearest), frame.begins_m, np.float32) for frame in frames]
    return beams_joined(frames, 'nearest') < np.concatenate(begins or [np.zeros(0, np.float32)])


def said_free(frames: Sequence[FrameRecord], range_max_m: float) -> NDArray[np.float32]:
    """Return up to where each beam says free, metres: to the end where it is clear, up to what it
    reports unless nothing was seen free before that, else as far as the floor was seen free.
    """
    said, seen = beams_joined(frames, 'said'), beams_joined(frames, 'seen_free')
    free = np.nan_to_num(seen, nan=0.0)
    free = np.where(np.isfinite(said) & (seen != 0), np.fmax(free, said), free)
    return np.where(np.isposinf(said), np.float32(range_max_m), free)


def _rate(some: NDArray[np.bool_], of: NDArray[np.bool_]) -> float | None:
    return rounded(some.sum() / of.sum()) if of.sum() >= LEAST_BEAMS else None


def _by_bearing(angle: NDArray[np.float32], *masks: NDArray[np.bool_]) -> list[Numbers]:
    names = ('beams_that_say_free', 'false_clear', 'beams_that_report', 'false_alarm')
    sectors = np.round(np.degrees(angle) / 10).astype(int) * 10
    return [
        {'bearing_deg': int(sector)}
        | {
            name: int(mask[sectors == sector].sum())
            for name, mask in zip(names, masks, strict=True)
        }
        for sector in np.unique(sectors)
    ]


def corridor_figures(frames: Sequence[FrameRecord], range_max_m: float) -> Numbers:
    """Return the same of the corridor ahead (`proximity`), per frame.

    Where something stands before our view begins, only what says free is judged.
    """
    said = np.array([frame.corridor_said for frame in frames])
    true = np.array([frame.corridor_true for frame in frames])
    looked = np.array([frame.corridor_looked for frame in frames])
    wide = np.array([frame.corridor_wide for frame in frames])
    in_view = true >= np.array([frame.begins_m for frame in frames])
    known = ~np.isnan(true)
    spoken = known & ~np.isnan(said)
    reach = np.where(np.isposinf(said), range_max_m, said)
    false_clear = spoken & (true < reach - tolerance_m(true))
    reports = spoken & np.isfinite(said) & in_view
    beyond = np.where(np.isfinite(wide), wide, looked)
    false_alarm = reports & (beyond > reach + tolerance_m(reach))
    both = reports & np.isfinite(true) & ~false_clear & ~false_alarm
    count = int(spoken.sum())
    return {
        'frames': int(known.sum()),
        'silent': int((known & np.isnan(said)).sum()),
        'false_clear': int(false_clear.sum()),
        'false_clear_rate': rounded(false_clear.sum() / count) if count else None,
        'false_alarm': int(false_alarm.sum()),
        'false_alarm_rate': rounded(false_alarm.sum() / count) if count else None,
        'bias': rounded(np.median(said[both] / true[both] - 1)) if both.any() else None,
    }


# --- Scale, sigma and times.


def scale_figures(frames: Sequence[FrameRecord]) -> Numbers:
    """Return how far all metres are off at once, over time: the median of Z'/Z of each frame."""
    ratios = np.array([frame.ratio for frame in frames])
    ratios = ratios[np.isfinite(ratios)]
    sources = collections.Counter(
        frame.values.get('scale source', '') for frame in frames if not frame.refused
    )
    return {
        'frames': len(ratios),
        'bias': rounded(np.median(ratios) - 1) if len(ratios) else None,
        'p5': rounded(np.percentile(ratios, 5) - 1) if len(ratios) else None,
        'p95': rounded(np.percentile(ratios, 95) - 1) if len(ratios) else None,
        'spread': rounded(np.std(ratios) / np.median(ratios)) if len(ratios) else None,
        'by_source': {name or 'not said': count for name, count in sources.most_common()},
    }


SAYS, BY = 'says ', ' by '  # how diagnostics name what a source says, and one by another
SOURCES = {*WORDS.values(), 'metres', 'measured metres'}
IN_METRES = re.compile(r'[\d.]+ m\b')


def ratios_of(frame: FrameRecord) -> dict[str, float]:
    """Return the metres of one source by those of another, as diagnostics give them."""
    found = {}
    for name, text in frame.values.items():
        if set(name.split(BY)) <= SOURCES and NUMBER.fullmatch(text):
            found[name] = float(text)
    return found


def source_figures(frames: Sequence[FrameRecord]) -> Numbers:
    """Return what each source of scale said: how often, by each other, and why not."""
    said: dict[str, list[str]] = {}
    ratios: dict[str, list[float]] = {}
    for frame in frames:
        for name, text in frame.values.items():
            if name.startswith(SAYS):
                said.setdefault(name.removeprefix(SAYS), []).append(text)
        for name, ratio in ratios_of(frame).items():
            ratios.setdefault(name, []).append(ratio)
    return {
        'said': [
            {
                'source': name,
                'frames': len(texts),
                'in_metres': sum(bool(IN_METRES.match(text)) for text in texts),
                'refusals': reasons([text for text in texts if not IN_METRES.match(text)]),
            }
            for name, texts in said.items()
        ],
        'ratios': [
            {
                'pair': name,
                'frames': len(values),
                'median': rounded(np.median(values)),
                'p5': rounded(np.percentile(values, 5)),
                'p95': rounded(np.percentile(values, 95)),
            }
            for name, values in ratios.items()
        ],
        'judged': reasons([frame.values.get('sources', '') for frame in frames]),
    }


def sigma_figures(frames: Sequence[FrameRecord]) -> Numbers | None:
    """Return the share of pixels within one and two sigma of the truth; None without a sigma."""
    having = [frame for frame in frames if len(frame.sigma) == len(frame.z_true) > 0]
    true, said, sigma = (joined(having, name) for name in ('z_true', 'z_said', 'sigma'))
    known = np.isfinite(said) & np.isfinite(sigma)
    if known.sum() < LEAST_PIXELS:
        return None
    true, said, sigma = true[known], said[known], sigma[known]
    off = deviations(true, said, sigma)
    by_range = []
    for low, high in itertools.pairwise(EDGES_M):
        inside = (true >= low) & (true < high)
        if inside.sum() >= LEAST_PIXELS:
            by_range.append({'from_m': low, 'to_m': high, **_within(off[inside])})
    return {
        **_within(off),
        'should_be': list(SIGMA_SHARES),
        'median_share_of_distance': rounded(np.median(sigma / said)),
        'by_range': by_range,
    }


def deviations(
    true: NDArray[np.float32], said: NDArray[np.float32], sigma: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return how many sigma each pixel is off, in 1/Z, where sigma is symmetric.

    A sigma of 0 claims to be exact: then that is none, or inf.
    """
    off = np.abs(1 / said - 1 / true)
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(off > 0, off / (sigma / said**2), np.float32(0))


def _within(off: NDArray[np.float32]) -> Numbers:
    return {
        'pixels': len(off),
        'within_1': rounded((off <= 1).mean()),
        'within_2': rounded((off <= 2).mean()),
    }


def processor_figures(frames: Sequence[FrameRecord]) -> Numbers:
    """Return milliseconds per frame, without the first one, for which a network is prepared."""
    later = frames[1:] or frames
    wall = np.array([frame.wall_s for frame in later]) * 1000
    cpu = np.array([frame.cpu_s for frame in later]) * 1000
    if not len(wall):
        return {'wall_ms': None, 'wall_p95_ms': None, 'cpu_ms': None}
    return {
        'wall_ms': rounded(np.median(wall), 2),
        'wall_p95_ms': rounded(np.percentile(wall, 95), 2),
        'cpu_ms': rounded(np.median(cpu), 2),
    }
