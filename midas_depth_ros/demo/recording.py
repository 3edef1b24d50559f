"""What is kept of a run, bounded however long the run and however large the pictures.

Plain data: the recorder fills it, the report reads it.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.demo.drive_recording import DriveRecording
from midas_depth_ros.demo.thinned import Thinned

MOMENTS = 12  # full-size pairs that are kept
ANIMATION_FRAMES = 120  # small pairs that are kept
ANIMATION_WIDTH = 320  # pixels, of one picture of a small pair

FIGURES = re.compile(r'(?<![\w./])\d+(?:\.\d+)*')  # and none that are part of a name

Picture = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A camera picture and the heatmap made of it, (H, W, 3) uint8 RGB each."""

    time_s: float  # of the stamp, since the first output's
    camera: Picture
    heatmap: Picture
    stamp_s: float = math.nan

    def small(self) -> Pair:
        """The pair at the size of the animation; not enlarged."""
        return dataclasses.replace(self, camera=_shrunk(self.camera), heatmap=_shrunk(self.heatmap))


@dataclasses.dataclass(frozen=True)
class Closeness:
    """Closeness in the three sectors at a time since the first output's stamp; NaN = unknown."""

    time_s: float
    left: float
    centre: float
    right: float

    @property
    def values(self) -> tuple[float, float, float]:
        """Left, centre, right."""
        return self.left, self.centre, self.right


class Recording:
    """The pairs, figures and last messages of one run."""

    def __init__(self) -> None:
        self.moments: Thinned[Pair] = Thinned(MOMENTS)
        self.animation: Thinned[Pair] = Thinned(ANIMATION_FRAMES)
        self.closeness: list[Closeness] = []
        self.latencies_ms: list[float] = []  # stamp to heatmap received
        self.drive: DriveRecording | None = None  # where a robot drives
        self.counts: collections.Counter[str] = collections.Counter()  # messages per topic
        self.last_messages: dict[str, Any] = {}  # of every output topic
        self.statuses: dict[str, dict[str, str]] = {}  # last diagnostics: key/values per part
        self.status_texts: dict[str, str] = {}  # last diagnostics: message per part
        self._notices: dict[str, tuple[str, int]] = {}  # by what does not count up in them

    @property
    def notices(self) -> list[str]:
        """What diagnostics warned of after the first output, each once, with how often it came.

        What differs in its figures alone ("no images for 3 s", "for 4 s") is one: the last of them.
        """
        return [
            text if times == 1 else f'{text} (said {times} times)'
            for text, times in self._notices.values()
        ]

    @property
    def outputs(self) -> int:
        """How many heatmaps came."""
        return self.counts['heatmap/image']

    @property
    def pictures(self) -> int:
        """How many camera pictures came."""
        return self.counts['image_raw'] + self.counts['image_raw/compressed']

    def add_pair(self, pair: Pair) -> None:
        """Take one more heatmap with its camera picture."""
        self.counts['pairs'] += 1
        self.moments.offer(lambda: pair)
        self.animation.offer(pair.small)

    def add_notice(self, text: str) -> None:
        """Take a warning."""
        if text:
            kind = FIGURES.sub('0', text)
            self._notices[kind] = (text, self._notices.get(kind, ('', 0))[1] + 1)


def _shrunk(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    if width <= ANIMATION_WIDTH:
        return picture
    size = (ANIMATION_WIDTH, max(1, round(height * ANIMATION_WIDTH / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
