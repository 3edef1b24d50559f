"""One frame of ours beside the truth: pixels, beams, the corridor, and what the scale came from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.lab.evaluate.truth import FloorTruth, TruthFrame
from midas_depth_ros.options.avoidance import AvoidanceSettings

Floats = NDArray[np.float32]
NONE = np.zeros(0, np.float32)
# What reaches less than this into the corridor, or misses it by less, may count or not: avoidance
# keeps as much free beside it.
BORDER_M = AvoidanceSettings.side_margin


@dataclasses.dataclass(frozen=True)
class Beams:
    """What a scan says beside the truth, (n,) float32 metres along the floor.

    said: a distance, inf = clear, NaN = unknown. seen_free: how far free, NaN = unknown. nearest:
    of the truth, inf = nothing seen. looked: up to where the truth has looked, NaN = it says
    nothing.
    """

    angle: Floats = dataclasses.field(default_factory=lambda: NONE)
    said: Floats = dataclasses.field(default_factory=lambda: NONE)
    seen_free: Floats = dataclasses.field(default_factory=lambda: NONE)
    nearest: Floats = dataclasses.field(default_factory=lambda: NONE)
    looked: Floats = dataclasses.field(default_factory=lambda: NONE)


@dataclasses.dataclass
class FrameRecord:
    """What was said of one picture, and what is true.

    time_s: since the first picture. away_s: of the truth; NaN = there is none, `no_truth` says why.
    refused: why there are no metres. no_obstacles: why nothing along the floor is known. values:
    the scale's state as in diagnostics. z_true, z_said, sigma: (n,) metres; z_said NaN = unknown.
    corridor_said: metres, inf = clear as far as the sensor reaches, NaN = silent. corridor_true:
    metres, inf = nothing up to corridor_looked, NaN = unknown. corridor_wide: metres, the same of a
    wider corridor: what stands at its border may count or not, see BORDER_M. begins_m: how far
    ahead our view of the floor begins.
    """

    number: int
    time_s: float
    wall_s: float = 0.0
    cpu_s: float = 0.0
    failed: bool = False
    refused: str = ''
    no_obstacles: str = ''
    values: dict[str, str] = dataclasses.field(default_factory=dict)
    away_s: float = math.nan
    no_truth: str = ''
    z_true: Floats = dataclasses.field(default_factory=lambda: NONE)
    z_said: Floats = dataclasses.field(default_factory=lambda: NONE)
    sigma: Floats = dataclasses.field(default_factory=lambda: NONE)
    beams: Beams = dataclasses.field(default_factory=Beams)
    corridor_said: float = math.nan
    corridor_true: float = math.nan
    corridor_looked: float = math.nan
    corridor_wide: float = math.nan
    begins_m: float = 0.0

    @property
    def ratio(self) -> float:
        """Median of said by true over the pixels; NaN without any."""
        with np.errstate(invalid='ignore'):
            ratios = self.z_said / self.z_true
        ratios = ratios[np.isfinite(ratios)]
        return float(np.median(ratios)) if len(ratios) else math.nan


def compare_pixels(
    record: FrameRecord, truth: TruthFrame, depth_z: Floats | None, sigma: Floats | None
) -> None:
    """Note what our depth image, (h, w) float32 or None, says at the pixels of the truth."""
    record.z_true = truth.z
    if depth_z is None or not len(truth.z):
        record.z_said = np.full(len(truth.z), np.nan, np.float32)
        return
    rows, columns = depth_z.shape
    row = np.clip(np.rint(truth.v), 0, rows - 1).astype(int)
    column = np.clip(np.rint(truth.u), 0, columns - 1).astype(int)
    record.z_said = depth_z[row, column].astype(np.float32)
    if sigma is not None:
        record.sigma = sigma[row, column].astype(np.float32)


def compare_floor(
    record: FrameRecord,
    floor: FloorTruth,
    messages: Iterable[tuple[str, Any]],
    width_m: float,
    begins_m: float,
) -> None:
    """Note what scan, seen_free and proximity say beside the truth about the floor.

    messages: what the node published of this frame. begins_m: how far ahead our view of the floor
    begins, not finite = unknown. What stands nearer than that is in the way like anything else, so
    whoever says free there is wrong; how near it is no camera can tell.
    """
    record.begins_m = begins_m if math.isfinite(begins_m) else 0.0
    by_name = {topic.rpartition('/')[2]: message for topic, message in messages}
    ahead, record.corridor_looked = floor.corridor(width_m - 2 * BORDER_M)
    record.corridor_wide = min(floor.corridor(width_m + 2 * BORDER_M)[0], ahead)
    record.corridor_true = math.nan if math.isnan(record.corridor_looked) else ahead
    if 'proximity' in by_name:
        said = by_name['proximity']
        record.corridor_said = math.inf if said.range >= said.max_range else float(said.range)
    scan = by_name.get('scan')
    if scan is None:
        return
    count = len(scan.ranges)
    nearest, looked = floor.along(scan.angle_min, scan.angle_increment, count)
    ranges = np.asarray(scan.ranges, np.float32)
    free = by_name.get('seen_free')
    record.beams = Beams(
        (scan.angle_min + scan.angle_increment * np.arange(count)).astype(np.float32),
        ranges,
        np.full(count, np.nan, np.float32) if free is None else np.asarray(free.ranges, np.float32),
        nearest,
        looked,
    )
