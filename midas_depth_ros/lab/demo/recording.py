"""What is kept of a run, bounded however long the run and however large the pictures.

Plain data: the recorder fills it, the report reads it.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.sources import is_still
from midas_depth_ros.lab.demo import WIDEST
from midas_depth_ros.lab.processes import node_command

# --- A bounded part of an endless stream.

Item = TypeVar('Item')


class Thinned(Generic[Item]):
    """At most `limit` items of an endless stream, evenly spread: full, every second one goes."""

    def __init__(self, limit: int) -> None:
        self.items: list[Item] = []
        self._limit = limit
        self._stride = 1
        self._seen = 0

    def offer(self, make: Callable[[], Item]) -> None:
        """Count one more item; it is made only if it is kept."""
        if self._seen % self._stride == 0 and len(self.items) == self._limit:
            self.items = self.items[::2]
            self._stride *= 2
        if self._seen % self._stride == 0:
            self.items.append(make())
        self._seen += 1


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


# --- What is kept of a drive: the way, the scans, the avoidance's states, how true the scans
# were.
#
# Plain data, bounded however long the drive: the listener fills it, the report reads it.

PLACES, SCANS = 4000, 2000  # kept at most
TRUTHS_WAITING = 50  # scans of the simulation that wait for one of the node
COMPARED_M = (0.2, 4.0)  # at these true distances a scan is compared with the truth
MOST_ERRORS = 200_000


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the robot was; seconds, metres, radians."""

    stamp_s: float
    x: float
    y: float
    yaw: float


@dataclasses.dataclass(frozen=True)
class Beams:
    """A scan: bearings (N,) radians to the left of ahead, ranges (N,) metres, NaN, inf."""

    stamp_s: float
    bearings: np.ndarray
    ranges: np.ndarray


class DriveRecording:
    """The drive of one run."""

    def __init__(self) -> None:
        self.places: Thinned[Place] = Thinned(PLACES)
        self.scans: Thinned[Beams] = Thinned(SCANS)
        self.scan_count = 0
        self.tally: dict[str, str] = {}  # as diagnostics have it
        self.began_s = self.ended_s = 0.0  # of the recording, by the wall clock
        self.states: list[tuple[float, str]] = []  # since when, by the wall clock, and which
        self.errors: list[float] = []  # (measured - true) / true, of beams
        self.seen = self.to_be_seen = 0  # beams with something within COMPARED_M
        self._scans_by_stamp: collections.OrderedDict[float, Beams] = collections.OrderedDict()
        self._truths: collections.OrderedDict[float, Beams] = collections.OrderedDict()

    def add_scan(self, scan: Beams) -> None:
        """Take a scan of the node."""
        self.scan_count += 1
        self.scans.offer(lambda: scan)
        truth = self._truths.pop(scan.stamp_s, None)
        if truth is not None:
            self._compare(scan, truth)
        else:
            _remember(self._scans_by_stamp, scan)

    def add_truth(self, truth: Beams) -> None:
        """Take a scan of the simulation: what is true."""
        scan = self._scans_by_stamp.pop(truth.stamp_s, None)
        if scan is not None:
            self._compare(scan, truth)
        else:
            _remember(self._truths, truth)

    def add_state(self, time_s: float, state: str) -> None:
        """Take the avoidance's state at a time."""
        if not self.states or self.states[-1][1] != state:
            self.states.append((time_s, state))

    def state_at(self, time_s: float) -> str:
        """The state at a time; '' before the first."""
        known = [state for since, state in self.states if since <= time_s]
        return known[-1] if known else ''

    def _compare(self, scan: Beams, truth: Beams) -> None:
        nearest = np.abs(
            np.angle(np.exp(1j * (scan.bearings[:, None] - truth.bearings[None])))
        ).argmin(axis=1)
        true = truth.ranges[nearest]
        there = (true > COMPARED_M[0]) & (true < COMPARED_M[1])
        there &= ~np.isnan(scan.ranges)  # unknown is no claim
        measured = np.isfinite(scan.ranges)
        self.to_be_seen += int(there.sum())
        self.seen += int((there & measured).sum())
        if len(self.errors) < MOST_ERRORS:
            both = there & measured
            self.errors += ((scan.ranges[both] - true[both]) / true[both]).tolist()

    def place_at(self, stamp_s: float) -> Place | None:
        """The place of the nearest time."""
        return min(self.places.items, key=lambda p: abs(p.stamp_s - stamp_s), default=None)

    def path_until(self, stamp_s: float) -> np.ndarray:
        """Where the robot was until then, (N, 2) metres."""
        way = [(p.x, p.y) for p in self.places.items if p.stamp_s <= stamp_s]
        return np.array(way, np.float64).reshape(-1, 2)

    def scan_at(self, stamp_s: float, within_s: float) -> Beams | None:
        """The scan of the nearest time, if there is one so near."""
        nearest = min(self.scans.items, key=lambda s: abs(s.stamp_s - stamp_s), default=None)
        if nearest is None or abs(nearest.stamp_s - stamp_s) > within_s:
            return None
        return nearest

    def distance_until(self, stamp_s: float) -> float:
        """Metres driven until then."""
        way = self.path_until(stamp_s)
        return float(np.hypot(*np.diff(way, axis=0).T).sum()) if len(way) > 1 else 0.0


def _remember(waiting: collections.OrderedDict[float, Beams], beams: Beams) -> None:
    waiting[beams.stamp_s] = beams
    while len(waiting) > TRUTHS_WAITING:
        waiting.popitem(last=False)


# --- What is asked of a run, and what came of it.
#
# From a `Plan` follow the command lines of its processes; a `Run` is what the report reads.

CAMERA = 'camera'  # the depth node's default camera namespace
# Where nothing is said: frames per second that the node may process, and the model.
RATE_HZ, DRIVE_RATE_HZ, DRIVE_CAMERA_RATE_HZ = 5.0, 10.0, 10.0
MODEL, DRIVE_MODEL = 'auto', 'embedded'


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be run. Fields that are None are chosen by what is run."""

    source: str = ''  # picture, folder, video, device number, rosbag2; '' = the driving robot
    seconds: float = 20.0  # after the first output
    model: str | None = None
    rate_hz: float | None = None  # the node's max_rate
    camera_rate_hz: float | None = None  # None: the source's own
    topic: str = ''  # of a rosbag2
    transport: str = 'raw'
    parameters: tuple[str, ...] = ()  # further name:=value of depth_node
    timeout_s: float = 30.0  # longest wait for the first output once the model is loaded
    world: int = 0  # that the robot drives through
    dashboard_port: int = 0  # 0: none
    keep_going: bool = False  # after the recording, until a signal

    @property
    def drives(self) -> bool:
        """Whether it is the robot that is shown."""
        return not self.source

    @property
    def what(self) -> str:
        """What the camera is, in words."""
        return self.source or f'a simulated robot in furnished world {self.world}'

    def commands(self) -> dict[str, list[str]]:
        """The command lines of the processes by name, in the order in which they start."""
        if self.drives:
            from midas_depth_ros.lab.demo import (
                driving,  # the simulation is not loaded for pictures
            )

            return driving.commands(
                self.world,
                DRIVE_MODEL if self.model is None else self.model,
                DRIVE_RATE_HZ if self.rate_hz is None else self.rate_hz,
                self.camera_rate_hz or DRIVE_CAMERA_RATE_HZ,
                self.transport,
                self.parameters,
            )
        return {'camera': self._stream_command(), 'depth_node': self._node_command()}

    def _stream_command(self) -> list[str]:
        parameters: dict[str, object] = {}
        if self.camera_rate_hz is not None:
            parameters['rate'] = self.camera_rate_hz
        elif is_still(self.source):
            # As fast as they are processed: at twice that rate each second one would be lost.
            parameters['rate'] = RATE_HZ if self.rate_hz is None else self.rate_hz
        parameters['max_width'] = WIDEST
        parameters |= {'source': self.source, 'loop': True, 'stamps': 'now'}
        parameters['wait_for_subscribers'] = 2  # recorder and node: nobody misses the beginning
        if self.topic:
            parameters['topic'] = self.topic
        return node_command('nodes.sources.image_stream', parameters)

    def _node_command(self) -> list[str]:
        parameters: dict[str, object] = {
            'model': MODEL if self.model is None else self.model,
            'max_rate': RATE_HZ if self.rate_hz is None else self.rate_hz,
            'transport': self.transport,
        }
        if is_still(self.source):
            parameters['frozen_after'] = 0.0  # a picture that is shown again is no frozen camera
            # Pictures of a folder have nothing to do with each other.
            parameters['heatmap.range_time_constant'] = 0.0
            # Each is to be seen, unless it was asked for a camera of a rate of its own.
            if self.camera_rate_hz is None:
                parameters['process_every_frame'] = True
        return node_command('nodes.depth.node', parameters, self.parameters)


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of a plan."""

    plan: Plan
    recording: Recording
    domain: int
    started: str  # local time, ISO 8601
    first_output_s: float  # from the start of the processes to the first heatmap
    seconds: float  # recorded after the first output
    ended_by: str  # '', the name of a signal, or how the source ended
    exit_codes: dict[str, int]
