"""The avoidance of `avoidance/`, fed with plain scans and commands: what avoidance_node does."""

from __future__ import annotations

import collections

from midas_depth_ros.avoidance import Avoidance, AvoidanceOptions, Moment, State, read_scan
from midas_depth_ros.drive.perception import PlainScan


class ScanReflexes:
    """Limits commands by the newest scan; `states` counts how many steps it was in each state."""

    def __init__(self, options: AvoidanceOptions) -> None:
        self._avoidance = Avoidance(options)
        self.states: collections.Counter[State] = collections.Counter()

    def see(self, stamp_s: float, scan: PlainScan, now_s: float) -> None:
        """A scan of what was there at `stamp_s` has come at `now_s`."""
        options = scan.options
        view = read_scan(
            scan.ranges,
            options.angle_min,
            options.angle_max,
            options.angle_increment,
            options.range_min,
            options.range_max,
            self._avoidance.options.sensor,
            getattr(scan, 'seen_free', None),
            self._avoidance.options.smallest_obstacle,
        )
        self._avoidance.see_scan(view, Moment(now_s, stamp_s))

    def limited(self, now_s: float, speed_m_s: float, turn_rad_s: float) -> tuple[float, float]:
        """The command to give to the robot instead of the wished one."""
        self._avoidance.command(speed_m_s, turn_rad_s, Moment(now_s, now_s))
        decision = self._avoidance.step(now_s)
        self.states[decision.state] += 1
        return decision.linear, decision.angular
