"""Who wants to drive on, whatever is in the way: a constant forward command with random turns.

A function of time alone, so that the same drive with and without avoidance asks for the same.
"""

from __future__ import annotations

import bisect

import numpy as np

STRAIGHT = 0.35  # share of stretches without a turn
TURN_RAD_S = (0.25, 0.9)
STRETCH_S = (0.8, 2.5)


class Commander:
    """The commands of one drive of at most `seconds`."""

    def __init__(self, seed: int, speed_m_s: float, seconds: float) -> None:
        rng = np.random.default_rng([seed, 5])
        self._until: list[float] = []
        self._speed_m_s = speed_m_s
        self._turns: list[float] = []
        end_s = 0.0
        while end_s <= seconds:
            end_s += float(rng.uniform(*STRETCH_S))
            self._until.append(end_s)
            turn = float(rng.uniform(*TURN_RAD_S) * rng.choice((-1, 1)))
            self._turns.append(0.0 if rng.random() < STRAIGHT else turn)

    def command(self, time_s: float) -> tuple[float, float]:
        """Forward speed in m/s and turn in rad/s, to the left positive, that are wished for."""
        stretch = min(bisect.bisect(self._until, time_s), len(self._until) - 1)
        return self._speed_m_s, self._turns[stretch]
