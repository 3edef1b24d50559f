"""What came of driving: per world, and of all of them in one object for --json."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from midas_depth_ros.sim import Tally


@dataclasses.dataclass(frozen=True)
class WorldResult:
    """One world driven with avoidance and, unless it was left out, without."""

    seed: int
    kind: str
    avoiding: Tally | None
    blind: Tally | None


def summary(results: Sequence[WorldResult], **facts: Any) -> dict[str, Any]:
    """The object of --json. A drive ends at its first collision, so these count worlds.

    Values of drives that were not made are None.
    """
    avoiding = [each.avoiding for each in results if each.avoiding is not None]
    blind = [each.blind for each in results if each.blind is not None]
    return {
        'worlds': len(results),
        'collisions': sum(t.collisions > 0 for t in avoiding) if avoiding else None,
        'collisions_without_avoidance': sum(t.collisions > 0 for t in blind) if blind else None,
        'distance_m': round(sum(t.distance_m for t in avoiding), 2) if avoiding else None,
        'distance_without_avoidance_m': (
            round(sum(t.distance_m for t in blind), 2) if blind else None
        ),
        'min_clearance_m': (
            round(min(t.min_clearance_m for t in avoiding), 3) if avoiding else None
        ),
        'stops': sum(t.stops for t in avoiding) if avoiding else None,
        'seconds': round(sum(t.seconds for t in avoiding), 1) if avoiding else None,
        'collided': [r.seed for r in results if r.avoiding and r.avoiding.collisions],
        **facts,
    }


def described(seed: int, tally: Tally, avoiding: bool) -> str:
    """One drive in a line."""
    end = 'collided' if tally.collisions else 'no collision'
    how = 'with avoidance' if avoiding else 'blind'
    return (
        f'world {seed} {how}: {end} in {tally.distance_m:.1f} m, {tally.stops} stops, '
        f'clearance {tally.min_clearance_m:.2f} m'
    )
