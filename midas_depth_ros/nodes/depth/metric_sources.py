"""What the metric scale is made from: how a camera is mounted, and a reference sensor.

The mount comes from parameters or TF, and from an Imu, at the picture's stamp. The message of a
LaserScan, Range or PointCloud2 that is nearest to it is projected into the picture. What is unknown
is a `Refusal`.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
import threading
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sensor_msgs.msg import Imu, LaserScan, PointCloud2, Range

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MountError,
    ReferencePoints,
    Refusal,
    body_from_optical,
    cloud_points,
    range_points,
    scan_points,
)
from midas_depth_ros.geometry.motion import SetBack
from midas_depth_ros.images import NANOSECONDS, stamp_ns
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import cloud_array
from midas_depth_ros.nodes.ros.transforms import TfMount
from midas_depth_ros.options.depth import AS_FOR_ALL, DepthNodeSettings, MountOptions
from midas_depth_ros.options.text import shown

if TYPE_CHECKING:
    from rclpy.node import Node

TRACKED_WIDTH = 320  # of the grey picture in which corners are tracked, pixels
NEAR_S = 0.1  # how far from the picture's stamp an Imu message may be
BETWEEN_S = 0.5  # two Imu messages may be this far apart to interpolate between
KEPT, KEPT_S = 2000, 5.0  # messages of an Imu: five seconds at 400 Hz


@dataclasses.dataclass(frozen=True)
class Attitude:
    """Roll (right side down is positive) and pitch (nose down is positive) of a body."""

    roll_rad: float
    pitch_rad: float


class Attitudes:
    """The attitudes of the last seconds by stamp. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamps: collections.deque[int] = collections.deque(maxlen=KEPT)
        self._values: collections.deque[Attitude] = collections.deque(maxlen=KEPT)
        self._set_back = SetBack()

    def add(self, stamp: int, attitude: Attitude) -> None:
        """Add one. Late and repeated ones are ignored; a clock set back clears the history."""
        with self._lock:
            if self._stamps and self._set_back.noticed(stamp, self._stamps[-1]):
                self._stamps.clear()
                self._values.clear()
            if not self._stamps or stamp > self._stamps[-1]:
                self._stamps.append(stamp)
                self._values.append(attitude)
            while self._stamps[-1] - self._stamps[0] > KEPT_S * NANOSECONDS:
                self._stamps.popleft()
                self._values.popleft()

    def at(self, stamp: int) -> Attitude | float:
        """The attitude at a stamp (ns), else how many seconds the nearest is away; inf: none."""
        with self._lock:
            stamps, values = list(self._stamps), list(self._values)
        after = bisect.bisect_left(stamps, stamp)
        if after < len(stamps) and stamps[after] == stamp:
            return values[after]
        if 0 < after < len(stamps):
            begin, end = stamps[after - 1], stamps[after]
            if end - begin <= BETWEEN_S * NANOSECONDS:
                share = (stamp - begin) / (end - begin)
                one, other = values[after - 1], values[after]
                rolled = math.remainder(other.roll_rad - one.roll_rad, math.tau)
                pitched = other.pitch_rad - one.pitch_rad
                return Attitude(one.roll_rad + share * rolled, one.pitch_rad + share * pitched)
        if not stamps:
            return math.inf
        nearest = min(range(len(stamps)), key=lambda index: abs(stamps[index] - stamp))
        away_s = abs(stamps[nearest] - stamp) / NANOSECONDS
        return values[nearest] if away_s <= NEAR_S else away_s


class Mounting(qos.Subscriber):
    """The mount of one camera. `tf` is shared by all cameras; None: the mount is by parameters."""

    def __init__(self, node: Node, camera: str, tf: TfMount | None = None) -> None:
        super().__init__(node)
        self._camera = camera
        self._tf = tf
        self._attitudes = Attitudes()
        self._fault = ''  # of the last Imu message
        self._options: tuple[DepthNodeSettings, MountOptions] | None = None
        self._imu_topic = self._mount.imu_topic
        if self._imu_topic:
            self._subscription = qos.make_subscription(
                node, Imu, self._imu_topic, self._on_imu, qos.HISTORY
            )

    @property
    def _mount(self) -> MountOptions:
        """The parameters of this camera's mount as they are now."""
        settings = self._node.settings
        if self._options is None or self._options[0] is not settings:
            self._options = settings, mount_of(settings, self._camera)
        return self._options[1]

    @property
    def parameters(self) -> MountOptions:
        """The parameters of this camera's mount as they are now; an equal object if unchanged."""
        return self._mount

    @property
    def body_frame(self) -> str:
        """The frame of what is measured along this camera's floor."""
        return self._mount.body_frame

    @property
    def rotate(self) -> int:
        """By how many degrees this camera's pictures are turned; its mount is that of these."""
        return self._mount.rotate

    @property
    def camera_yaw_rad(self) -> float:
        """How far to the left of straight ahead of the body this camera looks, by parameter."""
        return self._mount.camera_yaw

    @property
    def pitch_rad(self) -> float:
        """The parameter camera_pitch; NaN = unknown, as with TF."""
        return math.nan if self._tf is not None else self._mount.camera_pitch

    @property
    def given(self) -> bool:
        """Whether parameters or TF say how the camera is mounted, be it only at times."""
        mount = self._mount
        known = not (math.isnan(mount.camera_height) or math.isnan(mount.camera_pitch))
        return self._tf is not None or known

    @property
    def shared(self) -> str:
        """Why the metres of several cameras would be confused in one body frame; else ''."""
        return '' if self._tf is not None else shared_frame(self._node.settings, self._camera)

    def at(self, stamp: int, optical_frame: str) -> CameraMount | Refusal:
        """The mount when the picture of this stamp (ns) and frame_id was taken, or why unknown."""
        fixed = self.on_body(stamp, optical_frame)
        return fixed if isinstance(fixed, Refusal) else self._tilted(fixed, stamp)

    def on_body(self, stamp: int, optical_frame: str) -> CameraMount | Refusal:
        """The same without the tilt that an Imu measures: beside what tilts with the body, too."""
        if self.shared:
            return Refusal(self.shared)
        if self._tf is not None:
            return self._tf.mount(optical_frame, self.body_frame, stamp, self.rotate)
        return mount_by_parameters(self._mount)

    def pitch_at(self, stamp: int, optical_frame: str) -> float | Refusal:
        """The pitch down at a stamp (ns) in radians; NaN if not given. Needs no height."""
        if self._tf is not None:
            mount = self.at(stamp, optical_frame)
        elif math.isnan(self._mount.camera_pitch):
            return math.nan
        else:
            try:
                fixed = CameraMount(1.0, self._mount.camera_pitch, self._mount.camera_roll)
            except MountError as error:
                return Refusal(str(error))
            mount = self._tilted(fixed, stamp)
        return mount if isinstance(mount, Refusal) else mount.pitch_rad

    def lens_at(
        self,
        stamp: int,
        optical_frame: str,
        moved_frame: str,
        *,
        ahead: bool = False,
        pitch_rad: float = math.nan,
    ) -> np.ndarray | Refusal:
        """(4, 4) from the optical frame of the turned picture into the frame that odometry moves.

        Without the tilt that an Imu measures. ahead: the frame looks the way the camera looks, as
        a body frame does. pitch_rad: in place of camera_pitch.
        """
        if self._tf is not None:
            if not moved_frame:
                return Refusal('its messages have no child_frame_id, so TF cannot be asked')
            return self._tf.lens(optical_frame, moved_frame, stamp, self.rotate)
        mount = self._mount
        pitch = mount.camera_pitch if math.isnan(pitch_rad) else pitch_rad
        if math.isnan(pitch):
            return Refusal(
                'camera_pitch is not set: odometry says how the body moves, not where the camera '
                'looks; ~/calibrate_pitch finds it while the robot drives'
            )
        try:
            fixed = CameraMount(1.0, pitch, mount.camera_roll)
        except MountError as error:
            return Refusal(str(error))
        height_m = 0.0 if math.isnan(mount.camera_height) else mount.camera_height
        yaw_rad = 0.0 if ahead else mount.camera_yaw
        return body_from_optical(fixed, mount.camera_x, mount.camera_y, height_m, yaw_rad)

    def by_parameters(self) -> CameraMount | None:
        """The mount by parameters alone, without the Imu; None where it comes from TF."""
        fixed = mount_by_parameters(self._mount) if self._tf is None else None
        return fixed if isinstance(fixed, CameraMount) else None

    def _tilted(self, fixed: CameraMount, stamp: int) -> CameraMount | Refusal:
        """The mount while the body is tilted as the Imu says."""
        attitude = self.attitude_at(stamp)
        if not isinstance(attitude, Attitude):
            return fixed if attitude is None else attitude
        try:
            return fixed.tilted(attitude.roll_rad, attitude.pitch_rad, self._mount.camera_yaw)
        except MountError as error:
            return Refusal(str(error))

    def attitude_at(self, stamp: int) -> Attitude | Refusal | None:
        """How the body is tilted at a stamp (ns) by the Imu, or why unknown; None without one."""
        if self._subscription is None:
            return None
        mixed = qos.several_publishers(self._node, self._subscription, 'orientations')
        if mixed:
            return Refusal(mixed)
        attitude = self._attitudes.at(stamp)
        if isinstance(attitude, Attitude):
            return attitude
        reason = f'no orientation from {self._imu_topic}'
        if self._fault:
            return Refusal(f'{reason}: {self._fault}')
        if math.isinf(attitude):
            unheard = qos.publishers_of(self._node, self._subscription)[1]
            return Refusal('; '.join([reason, *unheard]))
        return Refusal(
            f'{reason} near the picture: the nearest is {attitude:.2f} s away by its stamp'
        )

    def _on_imu(self, message: Imu) -> None:
        attitude = attitude_of(message)
        stamp = stamp_ns(message.header)
        if attitude is None:
            self._fault = 'its messages have no valid orientation'
        elif not stamp:
            self._fault = 'its messages have no stamp'
        else:
            self._fault = ''
            self._attitudes.add(stamp, attitude)


def mount_of(settings: DepthNodeSettings, camera: str) -> MountOptions:
    """The parameters of one camera's mount: its own where given, else those of all cameras."""
    own = settings.mounts.get(camera, MountOptions())
    names = (
        'camera_height', 'camera_pitch', 'camera_roll', 'camera_x', 'camera_y',
        'body_frame', 'imu_topic', 'rotate',
    )  # fmt: skip
    unset = {'rotate': AS_FOR_ALL}
    common = {
        name: getattr(settings, name)
        for name in names
        if (value := getattr(own, name)) == unset.get(name, '') or value != value  # NaN
    }
    return dataclasses.replace(own, **common)


def shared_frame(settings: DepthNodeSettings, camera: str) -> str:
    """Why the metres of several cameras would be confused in one body frame; '' if they are not."""
    frame = mount_of(settings, camera).body_frame
    others = [
        name
        for name in settings.cameras
        if name != camera and mount_of(settings, name).body_frame == frame
    ]
    explicit = all(
        name in settings.mounts and settings.mounts[name].body_frame == frame
        for name in (camera, *others)
    )
    if not others or explicit:
        return ''
    return (
        f'{camera} and {", ".join(others)} would both measure in the frame {frame!r}, as if they '
        f'looked the same way: give each a frame below its lens by mounts.{camera}.body_frame, and '
        'its own height, pitch and yaw there where they differ'
    )


def mount_by_parameters(mount: MountOptions) -> CameraMount | Refusal:
    """The mount that the parameters give, or which of them is missing."""
    for name in ('camera_height', 'camera_pitch'):
        if math.isnan(getattr(mount, name)):
            return Refusal(f'{name} is not set')
    try:
        return CameraMount(mount.camera_height, mount.camera_pitch, mount.camera_roll)
    except MountError as error:
        return Refusal(str(error))


def attitude_of(message: Imu) -> Attitude | None:
    """The attitude of a body from an Imu in its frame (REP 103, 145); None if it is not valid.

    A first element of -1 in orientation_covariance means that there is no orientation.
    """
    q = message.orientation
    norm = math.sqrt(q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w)
    if not math.isfinite(norm) or abs(norm - 1) > 0.05 or message.orientation_covariance[0] == -1:
        return None
    x, y, z, w = q.x / norm, q.y / norm, q.z / norm, q.w / norm
    roll = math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x))))
    return Attitude(roll, pitch)


# --- A reference sensor: its message nearest to the picture's stamp is projected into it.

# Messages of a sensor, since pictures are looked at later than they arrive: so far back, and of a
# fast sensor no more than one in so long.
REFERENCE_KEPT_S, SPACING_S = 3.0, 0.02
MOST_POINTS = 20_000  # used of one message
CALM_MESSAGES = 20  # in one frame, after which another one is forgotten
REFERENCE_TYPES = {'scan': LaserScan, 'range': Range, 'points': PointCloud2}


class ReferenceInput(qos.Subscriber):
    """The subscription to <camera>/reference/<source>; none where the scale has another source."""

    def __init__(self, node: Node, camera: str, source: str) -> None:
        super().__init__(node)
        self._camera, self._source = camera, source
        self._topic = f'{camera}/reference/{source}'
        # In the order of their stamps; replaced, never changed: two threads use it.
        self._kept: tuple[_Measured, ...] = ()
        self._set_back = SetBack()
        # Of the last messages: sensors that take turns are told apart by nothing else.
        self._frames: collections.deque[str] = collections.deque(maxlen=CALM_MESSAGES)
        self._mixed = ''  # why they are those of several
        self._remedies = {
            qos.type_name(kind): f'set scale.source to {other}, and remap '
            f'{camera}/reference/{other} to this topic'
            for other, kind in REFERENCE_TYPES.items()
        }
        if source in REFERENCE_TYPES:
            self._subscription = qos.make_subscription(
                node, REFERENCE_TYPES[source], self._topic, self._on_message, qos.LATCHED
            )

    @property
    def heard(self) -> bool:
        """Whether the sensor has said anything yet."""
        return bool(self._kept)

    def points(
        self,
        picture_stamp_ns: int,
        camera: CameraModel,
        mount: CameraMount,
        settings: DepthNodeSettings,
    ) -> ReferencePoints | Refusal:
        """The points of the message nearest to a picture in the pixels of `camera`, or why none.

        mount: of the camera on the body, as `Mounting.on_body`: the sensor tilts as the camera.
        """
        if self._subscription is None:
            return Refusal(f'{self._topic} is not subscribed to')
        if shared := self._shared(settings):
            return Refusal(shared)
        mixed = qos.several_publishers(self._node, self._subscription, 'measurements')
        if mixed:
            return Refusal(mixed)
        kept = self._kept
        if not kept:
            unheard = qos.publishers_of(self._node, self._subscription, self._remedies)[1]
            return Refusal('; '.join([f'nothing on {self._topic} yet', *unheard]))
        if self._mixed:
            return Refusal(self._mixed)
        # The newest of those with one stamp.
        measured = min(reversed(kept), key=lambda each: abs(picture_stamp_ns - each.stamp_ns))
        age_s = abs(picture_stamp_ns - measured.stamp_ns) / NANOSECONDS
        if age_s > settings.reference.max_age:
            return Refusal(f'{self._topic} is {age_s:.2f} s from the picture')
        try:
            return _points(measured.what, optical_from_sensor(mount, settings), camera)
        except (ValueError, ArithmeticError, MemoryError) as error:
            return Refusal(f'{self._topic}: {error or type(error).__name__}')

    def _on_message(self, message: Any) -> None:
        self._frames.append(message.header.frame_id)
        frames = sorted(set(self._frames))
        named = ', '.join(shown(frame) for frame in frames[:2])
        self._mixed = (
            f'{self._topic} has measurements in several frames ({named}), and reference.* is the '
            'place of one sensor: give each sensor a topic of its own, and remap one of them'
            if len(frames) > 1
            else ''
        )
        kept, new = self._kept, _Measured(stamp_ns(message.header), _needed_of(message))
        if kept and self._set_back.noticed(new.stamp_ns, kept[-1].stamp_ns):
            kept = ()  # what came before is of another time
        self._kept = _with(kept, new)

    def _shared(self, settings: DepthNodeSettings) -> str:
        """Why reference.* cannot be true of all cameras that were given this sensor; ''."""
        others = [name for name in settings.cameras if name != self._camera]
        if not others:
            return ''
        resolved = self._node.resolve_topic_name

        def looks(name: str) -> tuple[str, float]:
            mount = mount_of(settings, name)
            return mount.body_frame, mount.camera_yaw

        own = looks(self._camera)
        differ = [
            name
            for name in others
            if resolved(f'{name}/reference/{self._source}') == resolved(self._topic)
            and looks(name) != own
        ]
        if not differ:
            return ''
        return (
            f'{self._topic} is also the sensor of {", ".join(differ)}, and reference.* says where '
            f'it is in one body frame, that of {self._camera} ({own[0]!r}): remap it to one camera '
            'alone'
        )


@dataclasses.dataclass(frozen=True)
class _Measured:
    """A message of a reference sensor; of a cloud, its points (n, 3), or why it has none."""

    stamp_ns: int
    what: LaserScan | Range | np.ndarray | Refusal


def _with(kept: tuple[_Measured, ...], new: _Measured) -> tuple[_Measured, ...]:
    """The messages that are kept with a new one, the newest of one stamp last."""
    newest_ns = max(new.stamp_ns, kept[-1].stamp_ns) if kept else new.stamp_ns
    oldest_ns = newest_ns - REFERENCE_KEPT_S * NANOSECONDS
    recent = [each for each in kept if each.stamp_ns >= oldest_ns]
    at = bisect.bisect_right(recent, new.stamp_ns, key=lambda each: each.stamp_ns)
    spacing_ns = SPACING_S * NANOSECONDS
    if at == len(recent):
        # The last one makes room where it is hardly later than the one before.
        if len(recent) > 1 and recent[-1].stamp_ns - recent[-2].stamp_ns < spacing_ns:
            recent.pop()
        return (*recent, new)
    if recent[at].stamp_ns - new.stamp_ns < spacing_ns:
        return tuple(recent)
    if at and new.stamp_ns - recent[at - 1].stamp_ns < spacing_ns:
        recent.pop(at - 1)
        at -= 1
    return (*recent[:at], new, *recent[at:])


def _needed_of(message: Any) -> LaserScan | Range | np.ndarray | Refusal:
    """What is kept of a message: large clouds would fill the memory, also through an exception."""
    if not isinstance(message, PointCloud2):
        return cast('LaserScan | Range', message)
    try:
        return cloud_array(message, stride(message.width * message.height))
    except ValueError as error:
        return Refusal(str(error))


def _points(
    what: LaserScan | Range | np.ndarray | Refusal, transform: np.ndarray, camera: CameraModel
) -> ReferencePoints | Refusal:
    """What was measured in the pixels of `camera`. Raises ValueError and ArithmeticError."""
    if isinstance(what, Refusal):
        raise ValueError(what.reason)
    if isinstance(what, np.ndarray):
        return cloud_points(what, transform, camera)
    if isinstance(what, Range):
        limits = {'range_min': what.min_range, 'range_max': what.max_range}
        return range_points(what.range, transform, camera, **limits)
    limits = {'range_min': what.range_min, 'range_max': what.range_max}
    step = stride(len(what.ranges))
    angles = what.angle_min, what.angle_increment * step
    return scan_points(what.ranges[::step], *angles, transform, camera, **limits)


def stride(count: int) -> int:
    """The step to take through `count` points so that at most MOST_POINTS are used."""
    return max(1, -(-count // MOST_POINTS))


def optical_from_sensor(mount: CameraMount, settings: DepthNodeSettings) -> np.ndarray:
    """(4, 4) float64: from the frame of the reference sensor into the optical frame."""
    reference = settings.reference
    cos, sin = math.cos(reference.yaw), math.sin(reference.yaw)
    body_from_sensor = np.array(
        [
            [cos, -sin, 0.0, reference.x],
            [sin, cos, 0.0, reference.y],
            [0.0, 0.0, 1.0, reference.z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    body_from_optical = np.eye(4)
    body_from_optical[:3, :3] = mount.body_axes()
    body_from_optical[2, 3] = mount.height_m
    return np.linalg.inv(body_from_optical) @ body_from_sensor
