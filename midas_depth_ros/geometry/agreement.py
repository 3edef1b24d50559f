"""Several sources of scale for one frame: one scale where they agree, else silence.

Sources fail differently: a ramp deceives the floor, wheel slip deceives the odometry. What two of
them say may be used only where they agree within what they believe of themselves. A contradiction
that was found while driving is held while the robot stands: a ramp does not become a floor because
there is no parallax any more.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
from collections.abc import Mapping

import numpy as np

from midas_depth_ros.geometry.scale import Refusal, ScaleShift
from midas_depth_ros.geometry.trust import (
    FLOOR,
    MOVED_M,
    ODOMETRY,
    TURNED_RAD,
    Trust,
    is_elsewhere,
)

# Two scales are compared in the pixels of the picture, at these percentiles of d: the nearer half,
# where floor is, corners are, and a robot acts; leaving out what is farther than FAR_M by both, and
# where they are much less certain than elsewhere: WIDER times, unless that is still SURE.
PERCENTILES = (50.0, 62.0, 74.0, 86.0, 96.0)
FAR_M, NEAR_M, BEYOND_M = 5.0, 0.05, 50.0
WIDER, SURE, LEAST_SHARE = 1.5, 0.05, 0.01
# How far apart they may be, in the logarithm of the distance: DEVIATIONS of what both believe of
# themselves. In one frame at most MOST_ONCE, whatever they believe; a slip of 20 % is ln 1.2. In
# the median of the last frames less, MOST, but never less than LEAST, since fits of a network's
# depth are off by so much. A single probe may be off by more than all of them together.
DEVIATIONS, DEVIATIONS_OF_ONE = 2.0, 2.5
LEAST, MOST, MOST_ONCE = math.log(1.10), math.log(1.15), math.log(1.20)
LEAST_OF_ONE, MOST_OF_ONE = math.log(1.20), math.log(1.35)
UNKNOWN_SHARE = 0.05  # of 1/Z: the weight of a source that does not say its standard deviation
# Of 1/Z, in every probe: such a source may contradict the others, by more than it believes of
# itself, but nothing is published by it.
TOO_UNCERTAIN = 0.15
# Comparisons whose median is judged, and how old they may be; so many of them are as good as one
# alone, since frames that follow each other err alike. One wrong frame then neither silences the
# robot nor ends a contradiction.
REMEMBERED, REMEMBERED_S, ALIKE = 7, 3.0, 3.0
LEAST_TO_HOLD = 2
# A contradiction ends where the robot sees something else: turned by half of a usual field of view,
# or moved about as far as the floor that is compared reaches. Without a known motion, after a time.
# A ramp stays behind, but slip and a wrong mount of a sensor go along: what has contradicted the
# floor is not believed alone before both have agreed again.
# It is remembered from at most PLACES, APART of that from each other.
HELD_S = 30.0
PLACES, APART = 32, 0.2
# A witness (of a refusal) that is more uncertain than this is no help to anybody.
MOST_OF_WITNESS = 0.35
PRIOR = 'model'  # learned, not measured: it is named beside the others and never decides

WORDS = {
    'ground_plane': 'the floor',
    'odometry': 'the odometry',
    'scan': 'the laser scan',
    'range': 'the range finder',
    'points': 'the point cloud',
    'marker': 'the marker',
    'model': 'the model',
}


@dataclasses.dataclass(frozen=True)
class Difference:
    """How two sources differ in one frame.

    middle: weighted mean of ln(Z first / Z second) over the probes, which is known to `share`;
    worst: that of the most different probe, known to `worst_share`, where both distances are
    first_m and second_m. unsure: whether one of them says too little to publish metres by it.
    """

    middle: float
    share: float
    worst: float
    worst_share: float
    first_m: float
    second_m: float
    unsure: bool = False

    @property
    def agrees(self) -> bool:
        """Whether both may be right in this frame."""
        most = math.inf if self.unsure else MOST_ONCE
        allowed = _within(DEVIATIONS * self.share, MOST, most)
        most = math.inf if self.unsure else MOST_OF_ONE
        of_one = _within(DEVIATIONS_OF_ONE * self.worst_share, LEAST_OF_ONE, most)
        return abs(self.middle) <= allowed and abs(self.worst) <= of_one


class Pair:
    """What two sources have said of each other in the last frames.

    `contradicts`: whether the last ones, by themselves or in the median, say that one is wrong.
    """

    def __init__(self, first: str, second: str) -> None:
        self.first, self.second = first, second
        self.contradicts = False
        self.ratio = 1.0  # Z of the first by that of the second, in the median
        self.words = ''  # the last contradiction
        self.found_s = -math.inf  # and when it was found,
        self.found_at: list[np.ndarray] = []  # and from where, since both agreed last
        self._here_s = -math.inf  # when the robot was last known to see it still
        self._in_a_row = 0  # contradictions up to now
        self.agreed_in_a_row = 0  # comparisons that found both right, up to now
        self._last: collections.deque[tuple[float, Difference]] = collections.deque(
            maxlen=REMEMBERED
        )

    def add(
        self, stamp_s: float, found: Difference, pose: np.ndarray | None, *, witness: bool = False
    ) -> bool:
        """Take the comparison of a frame; whether both may be used in it.

        witness: of a fit that gives no metres. It may contradict, but ends no contradiction.
        """
        if not self.contradicts or self.is_over(stamp_s, pose):  # what is held does not age
            while self._last and not 0 <= stamp_s - self._last[0][0] <= REMEMBERED_S:
                self._last.popleft()
        self._last.append((stamp_s, found))
        lasting = _median([each.middle for _, each in self._last])
        share = statistics.median(each.share for _, each in self._last)
        share /= math.sqrt(max(1.0, len(self._last) / ALIKE))
        most = math.inf if found.unsure else MOST
        differs = abs(lasting) > _within(DEVIATIONS * share, LEAST, most)
        self.ratio = math.exp(lasting)
        agrees = found.agrees and not differs
        if agrees and witness:
            return True
        self._in_a_row = 0 if agrees else self._in_a_row + 1
        self.agreed_in_a_row = self.agreed_in_a_row + 1 if agrees else 0
        self.contradicts = self._in_a_row >= LEAST_TO_HOLD
        if agrees:
            self.found_at = []
            return True
        self.words = self._sentence(found)
        self.found_s = stamp_s
        self._find_at(pose)
        return False

    def stay(self, stamp_s: float, pose: np.ndarray | None) -> None:
        """Take where the robot is: without a known motion a contradiction ages from then on."""
        if pose is not None and self.found_at and not self.is_over(stamp_s, pose):
            self._here_s = stamp_s

    def is_over(self, stamp_s: float, pose: np.ndarray | None) -> bool:
        """Whether the robot no longer sees what was contradictory, from wherever it was found: one
        who has turned away and back looks at the same ramp.
        """
        if pose is None or not self.found_at:
            return not 0 <= stamp_s - max(self.found_s, self._here_s) <= HELD_S
        return all(is_elsewhere(place, pose) for place in self.found_at)

    def _find_at(self, pose: np.ndarray | None) -> None:
        """Remember from where a contradiction was found; None = the motion is not known."""
        if pose is None:
            self.found_at = []
        elif all(is_elsewhere(place, pose, share=APART) for place in self.found_at):
            self.found_at = [*self.found_at, pose][-PLACES:]

    def _sentence(self, found: Difference) -> str:
        """The sentence about a contradiction, with both figures."""
        first, second = WORDS.get(self.first, self.first), WORDS.get(self.second, self.second)
        lately = f' and {1 / self.ratio:.2f} times as much lately' if found.agrees else ''
        return (
            f'{first} says {metres(found.first_m)}, {second} {metres(found.second_m)} for the same '
            f'point{lately}{_suspicion(self.first, self.second)}'
        )


def _median(values: list[float]) -> float:
    """The median; of two in the middle the one nearer to 0, so that one alone decides nothing."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return min(ordered[half], ordered[half - (len(ordered) % 2 == 0)], key=abs)


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)


class Agreement:
    """The judgement on the sources of one camera, frame by frame.

    `contradiction`: why their metres must not be used, until they agree again; '' if they may.
    `refuted`: the same, or why the only one who speaks is not believed: then what an earlier frame
    said must not be used for this one either.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""
        self.contradiction = self.refuted = ''
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._trust = Trust()
        self._said: dict[str, str] = {}
        self._verdict = 'no frame yet'
        self._now_s = -math.inf

    def forget_places(self) -> None:
        """The fixed frame has changed: what was found in the old one is held by time alone."""
        for pair in self._pairs.values():
            pair.found_at = []
        self._trust.forget_place()

    def update(
        self,
        stamp_s: float,
        found: Mapping[str, ScaleShift | Refusal],
        d: np.ndarray,
        pose: np.ndarray | Refusal | None = None,
    ) -> ScaleShift | Refusal:
        """Return the scale of one frame by all sources, or why there is none.

        found: by name of the source ('ground_plane', 'odometry', 'scan', 'model', ...): its scale,
        or why it has none. d: (h, w) float32. pose: (4, 4), from the optical into a fixed frame;
        None without odometry. Deterministic.
        """
        if stamp_s < self._now_s:
            self.reset()
        self._now_s, self.refuted = stamp_s, ''
        place = pose if isinstance(pose, np.ndarray) and np.isfinite(pose).all() else None
        self._trust.move(place)
        for pair in self._pairs.values():
            pair.stay(stamp_s, place)
        fits = [fit for name, fit in found.items() if name != PRIOR]
        if len(fits) == 1 and not self._pairs:  # alone: judged by nobody else
            return self._alone(fits[0])
        probes = probes_of(d)
        judged = {name: checked_source(fit, probes) for name, fit in found.items()}
        valid = {name: fit for name, fit in judged.items() if isinstance(fit, ScaleShift)}
        self._said = {name: _said(fit, probes) for name, fit in judged.items()}
        measured = {name: fit for name, fit in valid.items() if name != PRIOR}
        if not measured:
            return self._none(judged)
        witnesses = {
            name: witness
            for name, fit in judged.items()
            if (witness := _witness(fit, probes)) is not None
        }
        against = self._compared(stamp_s, measured, witnesses, probes, place)
        unsure = {
            name: f'its metres are uncertain by {share:.0%} (1 sigma)'
            for name, fit in measured.items()
            if (share := uncertain_by(fit, probes)) > TOO_UNCERTAIN
        }
        held = self._held(stamp_s, measured, place)
        self.contradiction = self.refuted = held
        if against or held:
            self._verdict = f'contradiction: {against or held}'
            return Refusal(self._with_prior(against or held, valid, probes))
        for name, reason in unsure.items():
            del measured[name]
            judged[name] = Refusal(reason)
        if not measured:
            return self._none(judged)
        unconfirmed = self._trust.unconfirmed(set(measured), judged, stamp_s)
        if unconfirmed:
            self.refuted = unconfirmed
            self._verdict = f'not confirmed: {unconfirmed}'
            return Refusal(self._with_prior(unconfirmed, valid, probes))
        agreed = combined(measured, probes) if len(measured) > 1 else next(iter(measured.values()))
        self._verdict = f'{agreed.source} agree' if len(measured) > 1 else f'{agreed.source} alone'
        return agreed

    def _alone(self, fit: ScaleShift | Refusal) -> ScaleShift | Refusal:
        """The only source there is, as it is."""
        self.contradiction = ''
        self._said = {}
        self._verdict = f'{fit.source} alone' if isinstance(fit, ScaleShift) else 'none'
        return fit

    def values(self) -> dict[str, str]:
        """What each source said of the last frame, for diagnostics."""
        values = {f'says {WORDS.get(name, name)}': text for name, text in self._said.items()}
        # A copy, since another thread may ask while a frame is judged.
        for (first, second), pair in list(self._pairs.items()):
            values[f'{WORDS.get(first, first)} by {WORDS.get(second, second)}'] = (
                f'{pair.ratio:.3f}'
            )
        return {'sources': self._verdict, **values}

    def _none(self, judged: Mapping[str, ScaleShift | Refusal]) -> Refusal:
        """The refusal where nothing measures."""
        self.contradiction = ''
        self._verdict = 'none'
        reasons = {name: fit.reason for name, fit in judged.items() if isinstance(fit, Refusal)}
        if not reasons:
            return Refusal(
                'nothing measures: only the model gives metres, which scale.source model publishes'
                if judged
                else 'no source of scale'
            )
        if len(reasons) == 1:
            return Refusal(next(iter(reasons.values())))
        return Refusal(
            '; '.join(f'{WORDS.get(name, name)}: {text}' for name, text in reasons.items())
        )

    def _compared(
        self,
        stamp_s: float,
        measured: Mapping[str, ScaleShift],
        witnesses: Mapping[str, ScaleShift],
        probes: np.ndarray,
        pose: np.ndarray | None,
    ) -> str:
        """Compare each with each, but no two witnesses; the first contradiction of this frame, ''
        without one.
        """
        fits = {**measured, **witnesses}
        names, against = sorted(fits), ''
        for index, first in enumerate(names):
            for second in names[index + 1 :]:
                heard = [name for name in (first, second) if name in witnesses]
                if len(heard) == 2:
                    continue
                found = compare(fits[first], fits[second], probes)
                if heard and (found is None or found.share > MOST_OF_WITNESS):
                    continue
                if heard == [ODOMETRY] and found is not None and FLOOR in (first, second):
                    near = abs(found.middle) <= MOST_ONCE
                    self._trust.witnessed = near and found.share <= TOO_UNCERTAIN
                if found is None:
                    against = against or (
                        f'{WORDS.get(first, first)} and {WORDS.get(second, second)} cannot be '
                        'compared: nothing in the picture has a depth by both'
                    )
                    continue
                pair = self._pairs.setdefault((first, second), Pair(first, second))
                if heard:
                    found = dataclasses.replace(found, unsure=True)
                if not pair.add(stamp_s, found, pose, witness=bool(heard)):
                    against = against or pair.words
                    if pair.contradicts:
                        self._trust.contradicted(first, second)
                elif not found.unsure:
                    twice = pair.agreed_in_a_row >= LEAST_TO_HOLD
                    self._trust.agreed(first, second, stamp_s, lasting=twice)
        return against

    def _held(
        self, stamp_s: float, measured: Mapping[str, ScaleShift], pose: np.ndarray | None
    ) -> str:
        """The contradiction that still counts in this frame; '' without one."""
        for key, pair in list(self._pairs.items()):
            speaking = [name for name in key if name in measured]
            if not (pair.contradicts and speaking):
                continue
            if len(speaking) == 2:
                return pair.words
            elsewhere = pair.is_over(stamp_s, pose)
            bound_to_place = FLOOR not in key or speaking == [FLOOR]
            if elsewhere and bound_to_place:
                if FLOOR not in key:
                    del self._pairs[key]
                continue
            until = (
                f' or the robot has moved {MOVED_M:g} m or turned '
                f'{math.degrees(TURNED_RAD):.0f} degrees'
            )
            return (
                f'{pair.words}; found {stamp_s - pair.found_s:.1f} s ago, and held until they '
                f'agree{until if bound_to_place else ""}'
            )
        return ''

    def _with_prior(self, reason: str, valid: Mapping[str, ScaleShift], probes: np.ndarray) -> str:
        """The reason, with what a metric network says of the same picture."""
        if PRIOR not in valid:
            return reason
        nearer = [
            f'{ratio:.2f} times {WORDS.get(name, name)}'
            for name, fit in sorted(valid.items())
            if name != PRIOR and (ratio := _ratio(valid[PRIOR], fit, probes)) is not None
        ]
        return f'{reason}; the model says {", ".join(nearer)}' if nearer else reason


def _witness(fit: ScaleShift | Refusal, probes: np.ndarray) -> ScaleShift | None:
    """The witness of a refusal, where it can be compared."""
    if not isinstance(fit, Refusal) or fit.witness is None:
        return None
    checked = checked_source(fit.witness, probes)
    return checked if isinstance(checked, ScaleShift) and any(checked.covariance) else None


def metres(distance_m: float) -> str:
    """A distance for a sentence."""
    return f'{distance_m:.2f} m' if distance_m < BEYOND_M else f'more than {BEYOND_M:g} m'


def probes_of(d: np.ndarray) -> np.ndarray:
    """Return the values of d, (n,) float64, at which scales are compared; none if all NaN."""
    known = d[np.isfinite(d)]
    if not known.size:
        return np.zeros(0)
    return np.unique(np.percentile(known[:: max(1, known.size // 5000)], PERCENTILES)).astype(
        np.float64
    )


def sigma_at(fit: ScaleShift, d: np.ndarray, unknown: float = 0.0) -> np.ndarray:
    """Return the standard deviation of 1/Z (1/m) that a source believes of itself, as `d`.

    unknown: as a share of 1/Z, where it does not say.
    """
    of_scale, of_both, of_shift = fit.covariance
    if not any(fit.covariance):
        return unknown * _inverse(fit, d)
    return np.sqrt(np.maximum(of_scale * d * d + 2 * of_both * d + of_shift, 0.0))


def checked_source(fit: ScaleShift | Refusal, probes: np.ndarray) -> ScaleShift | Refusal:
    """Return a scale that can be compared, or why this one cannot."""
    if isinstance(fit, Refusal):
        return fit
    numbers = (fit.scale, fit.shift, *fit.covariance)
    if not (all(map(math.isfinite, numbers)) and fit.scale > 0):
        return Refusal(f'its scale is {fit.scale:.3g} and its shift {fit.shift:.3g}: not valid')
    if not any(fit.covariance) or not probes.size:
        return fit
    of_scale, of_both, of_shift = fit.covariance
    if of_scale < 0 or of_shift < 0 or of_both * of_both > of_scale * of_shift * (1 + 1e-6):
        return Refusal('its covariance is not valid')
    return fit


def uncertain_by(fit: ScaleShift, probes: np.ndarray) -> float:
    """Return the standard deviation as a share of 1/Z in the probe where it is least."""
    if not probes.size:
        return 0.0
    return float(np.min(sigma_at(fit, probes) / _inverse(fit, probes)))


def compare(first: ScaleShift, second: ScaleShift, probes: np.ndarray) -> Difference | None:
    """Return how two scales differ in the probes; None where neither has a depth."""
    one, other = _inverse(first, probes), _inverse(second, probes)
    near = np.maximum(one, other) > 1 / FAR_M
    if not near.any():
        near = np.maximum(one, other) > 1 / BEYOND_M
    near &= probes > max(first.far_end, second.far_end)
    if not near.any():
        return None
    one, other, at = one[near], other[near], probes[near]
    ratio = np.log(other / one)
    shares = np.stack([sigma_at(first, at) / one, sigma_at(second, at) / other])
    share = np.hypot(*shares)
    counts = share <= max(WIDER * float(share.min()), SURE)
    weight = counts / np.maximum(share, LEAST_SHARE) ** 2
    worst = int(np.argmax(np.where(counts, np.abs(ratio), -1.0)))
    return Difference(
        middle=float(weight @ ratio / weight.sum()),
        share=float(share.min()),
        worst=float(ratio[worst]),
        worst_share=float(share[worst]),
        first_m=float(1 / one[worst]),
        second_m=float(1 / other[worst]),
        unsure=float(shares.max(axis=0).min()) > TOO_UNCERTAIN,
    )


def combined(fits: Mapping[str, ScaleShift], probes: np.ndarray) -> ScaleShift:
    """Return one scale of several that agree, weighted by their inverse covariances.

    Where they differ by more than they believe of themselves, its covariance grows by that much. A
    curve cannot be averaged with a line: then the scale is that of the most certain source.
    """
    listed = [fits[name] for name in fits]
    source = '+'.join(fit.source for fit in listed)
    informations = [np.linalg.inv(_covariance(fit, probes)) for fit in listed]
    vectors = [np.array([fit.scale, fit.shift]) for fit in listed]
    covariance = np.linalg.inv(sum(informations))
    mean = covariance @ sum(i @ v for i, v in zip(informations, vectors, strict=True))
    squares = sum(
        float((v - mean) @ i @ (v - mean)) for i, v in zip(informations, vectors, strict=True)
    )
    covariance *= max(1.0, squares / (2 * (len(listed) - 1)))
    best = min(listed, key=lambda fit: float(np.median(sigma_at(fit, probes, UNKNOWN_SHARE))))
    curved = any(fit.curve for fit in listed)
    scale, shift = (best.scale, best.shift) if curved else mean
    return dataclasses.replace(
        best if curved else listed[0],
        scale=float(scale),
        shift=float(shift),
        source=source,
        covariance=(float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])),
        residual=listed[0].residual,  # of the floor, where it is one of them
        inlier_share=min(fit.inlier_share for fit in listed),
        points=sum(fit.points for fit in listed),
        far_end=max(fit.far_end for fit in listed),
        floor_drop=max(fit.floor_drop for fit in listed),
    )


def _covariance(fit: ScaleShift, probes: np.ndarray) -> np.ndarray:
    """(2, 2) of scale and shift; by UNKNOWN_SHARE in the probes where the source says none.

    A little is added to what is singular, as with a fixed shift.
    """
    of_scale, of_both, of_shift = fit.covariance
    made = np.array([[of_scale, of_both], [of_both, of_shift]])
    spread = float(np.ptp(probes)) or 1.0
    middle = float(np.mean(_inverse(fit, probes)))
    least = np.diag([(1e-4 * middle / spread) ** 2, (1e-4 * middle) ** 2])
    if made.any():
        return made + least
    rows = (
        np.stack([probes, np.ones_like(probes)], axis=1)
        / sigma_at(fit, probes, UNKNOWN_SHARE)[:, None]
    )
    return np.linalg.inv(rows.T @ rows / len(probes) + 1e-9 * np.linalg.inv(least)) + least


def _inverse(fit: ScaleShift, probes: np.ndarray) -> np.ndarray:
    """1/Z of the probes, float64, within what can be compared."""
    return np.clip(fit.inverse_depth(probes).astype(np.float64), 1 / BEYOND_M, 1 / NEAR_M)


def _said(fit: ScaleShift | Refusal, probes: np.ndarray) -> str:
    """What a source says of the nearer part of the picture, or why nothing."""
    if isinstance(fit, Refusal):
        return f'nothing: {fit.reason}'
    if not probes.size:
        return 'nothing: the depth has no valid values'
    at = probes[len(probes) // 2 :][:1]
    inverse = float(_inverse(fit, at)[0])
    sigma = f' +- {float(sigma_at(fit, at)[0]) / inverse:.0%}' if any(fit.covariance) else ''
    return f'{metres(1 / inverse)}{sigma}'


def _ratio(first: ScaleShift, second: ScaleShift, probes: np.ndarray) -> float | None:
    found = compare(first, second, probes)
    return None if found is None else math.exp(found.middle)


def _suspicion(first: str, second: str) -> str:
    """What to look for when these two contradict each other."""
    suspects = {
        'ground_plane': 'a ramp or a step, or a wrong camera_height or camera_pitch',
        'odometry': 'wheel slip',
    }
    causes = [suspects[name] for name in (first, second) if name in suspects]
    return f' ({"; or ".join(causes)})' if causes else ''
