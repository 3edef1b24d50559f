"""What is asked of a drive: how many worlds, which depth, how long, how fast."""

from __future__ import annotations

import dataclasses

from midas_depth_ros.options.depth import DepthNodeSettings


class DriveError(Exception):
    """Driving cannot go on; the text says why, with the last words of who is to blame."""


@dataclasses.dataclass(frozen=True)
class DrivePlan:
    """`depth`: exact (disturbed) or model. Worlds are `seed`, `seed` + 1 and so on."""

    worlds: int = 5
    seed: int = 0
    depth: str = 'exact'
    model: str = 'auto'
    seconds: float = 30.0  # per drive
    speed_m_s: float = 0.4
    rate_hz: float = DepthNodeSettings.max_rate  # pictures per second
    avoiding: bool = True
    blind: bool = True
    worlds_are: str = 'plain'  # or furnished

    @property
    def seeds(self) -> range:
        """The worlds."""
        return range(self.seed, self.seed + self.worlds)
