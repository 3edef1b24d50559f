"""Where the sensor of a scan sits on the robot: from TF, where there is tf2_ros, or by parameters.

A scan's header comes in, a place on the robot goes out, or a `BadScan` whose text says why its
points would be put in a wrong place. Scans of one frame count, those of others are refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.time import Time

from midas_depth_ros.avoidance import BadScan, Decision, SensorPlace, State
from midas_depth_ros.nodes.depth.mounting import rotation_matrix
from midas_depth_ros.options.avoidance import FARTHEST_SENSOR_M

if TYPE_CHECKING:
    from rclpy.node import Node
    from std_msgs.msg import Header

LEVEL_RAD = 0.1  # a scan that is tilted more than this is none of the robot's plane


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where a scan's frame is on the robot. `upside_down`: its angles count the other way."""

    place: SensorPlace
    upside_down: bool = False
    by: str = 'parameters'


class ScanFrames:
    """Places the frames of scans on the robot."""

    def __init__(self, node: Node, base_frame: str) -> None:
        """Listens to TF unless `base_frame` is '' or tf2_ros is not installed."""
        self._base_frame = base_frame
        self._buffer: Any = None
        self._failure: type[Exception] = RuntimeError
        self.how = 'parameters: base_frame is empty'
        self._frame: str | None = None  # of the first scan
        self._placed: Placed | None = None
        if not base_frame:
            return
        try:
            import tf2_ros
        except ImportError:
            self.how = 'parameters: tf2_ros is not installed'
            return
        self._failure = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node)
        self.how = f'TF, in {base_frame}'

    @property
    def described(self) -> str:
        """Where the last scan was placed, and who said so."""
        if self._placed is None:
            return self.how
        place = self._placed.place
        return (
            f'frame {self._frame!r} at {place.x:.2f} m, {place.y:.2f} m, {place.yaw:.2f} rad'
            f'{", upside down" if self._placed.upside_down else ""} by {self._placed.by}'
        )

    def place(self, header: Header, by_stamp: bool, sensor: SensorPlace) -> Placed:
        """Where the frame of a scan is, at its stamp if that is of our clock. Raises BadScan."""
        frame = header.frame_id
        if sensor.frame and frame != sensor.frame:
            raise BadScan(f'a scan in frame {frame!r}: sensor.frame is {sensor.frame!r}')
        if not sensor.frame and self._frame not in (None, frame):
            raise BadScan(
                f'a scan in frame {frame!r} among those in {self._frame!r}: one sensor to a topic; '
                'sensor.frame says which one counts'
            )
        placed = Placed(sensor, by='parameters')
        if self._buffer is not None and frame != self._base_frame:
            placed = self._by_tf(header, by_stamp, sensor)
        return placed

    def hold(self, frame: str, placed: Placed) -> None:
        """A scan of this frame is used: those of others are not."""
        self._frame, self._placed = frame, placed

    def _by_tf(self, header: Header, by_stamp: bool, sensor: SensorPlace) -> Placed:
        frame = header.frame_id
        if not frame:
            raise BadScan('a scan without frame_id: TF cannot say where it is')
        when = Time.from_msg(header.stamp) if by_stamp else Time()
        try:
            found = self._buffer.lookup_transform(self._base_frame, frame, when).transform
        except self._failure as error:
            raise BadScan(
                f'no transform from {frame} to {self._base_frame} ({error}): publish one, or set '
                "base_frame to '' and give sensor.x, sensor.y and sensor.yaw"
            ) from error
        q, t = found.rotation, found.translation
        length = math.hypot(q.x, q.y, q.z, q.w)
        if not 0.5 < length < 2.0:
            raise BadScan(f'the transform from {frame} has a quaternion of length {length:.3g}')
        if not math.hypot(t.x, t.y) < FARTHEST_SENSOR_M:
            raise BadScan(f'the transform puts {frame} {t.x:.3g} m, {t.y:.3g} m from the robot')
        axes = rotation_matrix(q)
        tilt = math.acos(min(1.0, max(-1.0, float(axes[2, 2]))))
        if LEVEL_RAD < tilt < math.pi - LEVEL_RAD:
            raise BadScan(
                f'{frame} is tilted by {math.degrees(tilt):.0f} degrees: its scan is not in the '
                "robot's plane"
            )
        yaw = math.atan2(axes[1, 0], axes[0, 0])
        place = dataclasses.replace(sensor, x=float(t.x), y=float(t.y), yaw=yaw)
        return Placed(place, tilt > math.pi / 2, f'TF, from {frame}')


# --- What avoidance_node says about itself on /diagnostics. Pure wording, no spinning.

LEVELS = {
    State.CLEAR: DiagnosticStatus.OK,
    State.SLOWING: DiagnosticStatus.OK,
    State.OBSTACLE: DiagnosticStatus.OK,
    State.NO_COMMAND: DiagnosticStatus.OK,
    State.BAD_COMMAND: DiagnosticStatus.WARN,
    State.NO_DATA: DiagnosticStatus.ERROR,
    State.ECHO: DiagnosticStatus.ERROR,
    State.NO_CLOCK: DiagnosticStatus.ERROR,
}
RECENT_S = 3.0  # so long a refusal is a warning, and counts what was said of a message


@dataclasses.dataclass
class Input:
    """What happened on one input topic."""

    topic: str
    received: int = 0
    refused: int = 0
    last_fault: str = ''
    publishers: int = 0
    incompatible: tuple[str, ...] = ()
    joined: int = 0  # with what it belongs to
    by_receipt: str = ''  # why the stamps of what is used do not count
    used_s: float = -math.inf  # when something was last used, by the steady clock
    refused_s: float = -math.inf  # when, by the steady clock
    logged_s: float = -math.inf

    def judged_by_receipt(self, steady_s: float) -> str:
        """Why the stamps of what is used now do not count; '' if they do, or nothing is used."""
        return self.by_receipt if steady_s - self.used_s <= RECENT_S else ''

    def values(self, name: str, steady_s: float) -> dict[str, object]:
        """As key and value."""
        return {
            f'{name} topic': self.topic,
            f'{name} publishers': self.publishers,
            f'{name} incompatible publishers': '; '.join(self.incompatible),
            f'{name} received': self.received,
            f'{name} refused': self.refused,
            f'{name} last fault': self.last_fault,
            f'{name} judged by receipt': self.judged_by_receipt(steady_s),
            **({f'{name} joined with a scan': self.joined} if name == 'seen_free' else {}),
        }


def sentence(decision: Decision) -> str:
    """State and reason in one line."""
    return f'{decision.state.value} ({decision.text})'


def avoidance_status(
    node: str,
    decision: Decision,
    inputs: dict[str, Input],
    sensor: str = '',
    others: Sequence[str] = (),
    steady_s: float = math.inf,
    deaf: Sequence[str] = (),
) -> DiagnosticStatus:
    """The status of the node: ERROR while it is blind, OK while it does its work.

    WARN while messages are refused, while publishers cannot be heard, or `deaf` nodes not hear
    cmd_vel, and while `others` publish there, too. `sensor` says where the scans come from.
    """
    warnings = [
        f'{entry.topic} refused: {entry.last_fault}'
        for entry in inputs.values()
        if steady_s - entry.refused_s <= RECENT_S and entry.last_fault not in decision.text
    ]
    if others:
        warnings.append(f'cmd_vel comes also from {", ".join(others)}: they are not checked')
    warnings += [
        f'{entry.topic} not heard: {reason}'
        for entry in inputs.values()
        for reason in entry.incompatible
    ]
    warnings += deaf
    notes = [
        f'{entry.topic} {entry.by_receipt}: judged by receipt'
        for entry in inputs.values()
        if entry.judged_by_receipt(steady_s)
    ]
    values: dict[str, object] = {
        'state': decision.state.value,
        'reason': decision.text,
        'source': decision.source,
        'linear [m/s]': f'{decision.linear:.3f}',
        'angular [rad/s]': f'{decision.angular:.3f}',
        'free way [m]': _number(decision.free_m),
        'unknown share of the corridor': _number(decision.unknown_share),
        'turning checked': _turning(decision),
        'sensor place': sensor,
        'others on cmd_vel': ', '.join(others),
        'deaf to cmd_vel': '; '.join(deaf),
    }
    for name, entry in inputs.items():
        values |= entry.values(name, steady_s)
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    level = LEVELS[decision.state]
    if warnings and level == DiagnosticStatus.OK:
        level = DiagnosticStatus.WARN
    text = '; '.join([sentence(decision), *warnings, *notes])
    return DiagnosticStatus(name=f'{node}: avoidance', level=level, message=text, values=pairs)


def _turning(decision: Decision) -> str:
    if decision.turning_checked:
        return 'yes'
    return 'only by what is remembered: nothing is observed beside the robot'


def _number(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.2f}'
