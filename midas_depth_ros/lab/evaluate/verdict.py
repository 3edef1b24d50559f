"""What a recording says about driving: at which speed stopping so far before things is safe.

From the picture that shows something to standstill a robot at speed v goes

    way = v blind + v^2 / (2 deceleration),
    blind = latency + frame interval + decision period + reaction time,

so it must brake for what is within reach = way + stopping distance. Frames are processed one after
the other, so their interval is at least the latency. Who trusts a frame that says more than the
true distance stops that much later. Every frame with something within reach is a trial, and fails
if it says too much by the stopping distance or more: the robot would stop in the thing, not before
it. Said is how far the corridor was free: its end, where it was clear. Robots that avoid things
seldom have any within reach, so things up to 2 m away are trials, too: with the share that the
distance said is too far, at the reach.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from midas_depth_ros.lab.evaluate.frames import FrameRecord
from midas_depth_ros.lab.evaluate.summary import Numbers, rounded
from midas_depth_ros.options.avoidance import AvoidanceSettings

# To call anything safe it takes so many seconds of the recording with something within
# FARTHEST_TRIAL_M, and within twice the reach.
LEAST_MOMENTS, LEAST_NEAR = 60, 20
CONFIDENCE = 0.95
FARTHEST_TRIAL_M = 2.0
FARTHEST_STOP_M, STOP_STEP_M = 3.0, 0.05
SPEEDS_M_S = (0.2, 0.4, 0.8)


@dataclasses.dataclass(frozen=True)
class Driving:
    """How the robot drives; the stopping distance is from the lens to the thing."""

    speeds_m_s: tuple[float, ...] = SPEEDS_M_S
    stopping_distance_m: float = AvoidanceSettings.stop_distance
    deceleration_m_s2: float = AvoidanceSettings.stop_deceleration
    reaction_s: float = AvoidanceSettings.reaction_time
    decision_s: float = 1 / AvoidanceSettings.rate  # between two decisions of avoidance_node
    interval_s: float = 0.2  # between two frames, as they are due
    latency_s: float = 0.1  # from a picture to what is said of it

    @property
    def between_frames_s(self) -> float:
        """The time between two frames: a frame waits until the one before has been processed."""
        return max(self.interval_s, self.latency_s)

    def braking_m(self, speed_m_s: float) -> float:
        """Return how far the robot goes from the picture that shows it something to standstill."""
        blind_s = self.latency_s + self.between_frames_s + self.decision_s + self.reaction_s
        return speed_m_s * blind_s + speed_m_s**2 / (2 * self.deceleration_m_s2)


@dataclasses.dataclass(frozen=True)
class Trials:
    """Distances of what stands ahead: true and as said (inf = clear), and the time of each, (n,).

    of: what they are of, in words.
    """

    true: np.ndarray
    said: np.ndarray
    time_s: np.ndarray
    of: str = 'the corridor ahead'

    @classmethod
    def of_frames(
        cls, frames: Sequence[FrameRecord], range_max_m: float, taped: bool = False
    ) -> Trials:
        """Return those of the corridor, and of pixels where nothing is known of any corridor.

        taped: pixels were measured by hand, each on purpose: they all count, beside the corridor.
        """
        corridor = [
            (frame.corridor_true, min(frame.corridor_said, range_max_m), frame.time_s)
            for frame in frames
            if math.isfinite(frame.corridor_true) and not math.isnan(frame.corridor_said)
        ]
        pixels = [
            (true, said, frame.time_s)
            for frame in frames
            for true, said in zip(frame.z_true, frame.z_said, strict=True)
            if math.isfinite(said)
        ]
        if not taped and any(not math.isnan(frame.corridor_true) for frame in frames):
            pixels = []
        of = 'the measured pixels' if pixels else 'the corridor ahead'
        if pixels and corridor:
            of = 'the corridor ahead or the measured pixels'
        true, said, time_s = np.array([*corridor, *pixels], float).reshape(-1, 3).T
        return cls(true, said, time_s, of)

    def within(self, distance_m: float) -> Trials:
        """Return those of things at most so far ahead."""
        near = self.true <= distance_m
        return Trials(self.true[near], self.said[near], self.time_s[near], self.of)

    @property
    def moments(self) -> int:
        """In how many seconds of the recording there were any: neighbouring frames are alike."""
        return len(np.unique(np.floor(self.time_s)))

    def failures(self, stopping_distance_m: float, reach_m: float) -> int:
        """Return how many would have ended in a collision."""
        too_far = self.said - self.true
        beyond = self.true > reach_m
        too_far[beyond] *= reach_m / self.true[beyond]
        return int((too_far >= stopping_distance_m).sum())


def verdict_of(trials: Trials, driving: Driving) -> Numbers:
    """Return the verdict at each speed, and in words."""
    rows = []
    worse = ''  # no speed is judged better than a lower one, nor needs less
    needed: float | None = 0.0
    for speed in sorted(driving.speeds_m_s):
        row = _at_speed(trials, driving, speed)
        alone = row['needed_stopping_distance_m']
        needed = None if needed is None or alone is None else max(needed, alone)
        row['needed_stopping_distance_m'] = needed
        if worse and row['verdict'] == 'safe':
            row['verdict'] = worse
            row['why'] = f'a lower speed is {_WORDS[worse]}'
        worse = row['verdict'] if row['verdict'] != 'safe' else worse
        rows.append(row)
    return {
        'of': trials.of,
        'stopping_distance_m': driving.stopping_distance_m,
        'deceleration_m_s2': driving.deceleration_m_s2,
        'reaction_s': driving.reaction_s,
        'decision_s': driving.decision_s,
        'interval_s': rounded(driving.between_frames_s),
        'latency_s': rounded(driving.latency_s),
        'least_moments': LEAST_MOMENTS,
        'least_near': LEAST_NEAR,
        'speeds': rows,
        'text': in_words(rows, driving),
    }


_WORDS = {'unsafe': 'not safe', 'unknown': 'not known'}


def _at_speed(trials: Trials, driving: Driving, speed: float) -> Numbers:
    """The verdict at one speed: safe, unsafe, or unknown."""
    stop = driving.stopping_distance_m
    reach = stop + driving.braking_m(speed)
    near = trials.within(max(reach, FARTHEST_TRIAL_M))
    failures, moments = near.failures(stop, reach), near.moments
    if failures:
        verdict, why = 'unsafe', f'{failures} of {len(near.true)} trials would have ended in it'
    elif too_few := lacking(trials, reach):
        verdict, why = 'unknown', too_few
    else:
        verdict = 'safe'
        why = (
            f'none of {len(near.true)} trials in {moments} seconds would have ended in it: with '
            f'{CONFIDENCE:.0%} confidence at most {upper_bound(moments):.0%} of such seconds do'
        )
    return {
        'speed_m_s': speed,
        'braking_m': rounded(reach - stop),
        'reach_m': rounded(reach),
        'trials': len(near.true),
        'trials_within_reach': len(trials.within(reach).true),
        'moments': moments,
        'failures': failures,
        'verdict': verdict,
        'why': why,
        'needed_stopping_distance_m': needed_distance(trials, driving, speed),
    }


def lacking(trials: Trials, reach_m: float) -> str:
    """Return why there are too few trials to call anything safe; '' if there are enough."""
    asked = ((max(reach_m, FARTHEST_TRIAL_M), LEAST_MOMENTS), (2 * reach_m, LEAST_NEAR))
    for within_m, least in asked:
        moments = trials.within(within_m).moments
        if moments < least:
            return (
                f'something stood within {within_m:.1f} m in only {moments} seconds of the '
                f'recording, {least} are needed'
            )
    return ''


def upper_bound(moments: int) -> float:
    """Return how often at most something happens that did not happen in so many moments."""
    return 1 - (1 - CONFIDENCE) ** (1 / moments)


def needed_distance(trials: Trials, driving: Driving, speed: float) -> float | None:
    """Return the least stopping distance, up to 3 m, with which nothing fails; None: none that has
    enough trials, or none shorter than what was near in the recording.
    """
    nearest = float(trials.true.min(initial=math.inf))
    for step in range(1, round(FARTHEST_STOP_M / STOP_STEP_M) + 1):
        stop = step * STOP_STEP_M
        reach = stop + driving.braking_m(speed)
        near = trials.within(max(reach, FARTHEST_TRIAL_M))
        if reach < nearest or lacking(trials, reach):
            continue
        if not near.failures(stop, reach):
            return rounded(stop, 2)
    return None


def in_words(rows: Sequence[Numbers], driving: Driving) -> str:
    """Return the verdict as a sentence or two."""
    speeds = {
        kind: [f'{row["speed_m_s"]:g}' for row in rows if row['verdict'] == kind]
        for kind in ('safe', 'unsafe', 'unknown')
    }
    start = f'Stopping {driving.stopping_distance_m:g} m before things'
    parts = []
    if speeds['safe']:
        parts.append(
            f'{start} is safe at {_listed(speeds["safe"])} m/s, as far as this recording shows'
        )
    if speeds['unsafe']:
        subject = 'it' if parts else start
        parts.append(f'{subject} is not safe at {_listed(speeds["unsafe"])} m/s')
    if speeds['unknown']:
        unsaid = f'nothing can be said about {_listed(speeds["unknown"])} m/s'
        because = 'too seldom was something near while there were metres'
        parts.append(f'{unsaid}: {because}' if parts else f'{start}: {unsaid}: {because}')
    return '; '.join(parts) + '.'


def _listed(words: Sequence[str]) -> str:
    return ' and '.join(filter(None, [', '.join(words[:-1]), words[-1]]))
