"""The robot's own motion: nav_msgs/Odometry or TF, and from it each camera's pose at its pictures.

One `OdometryInput` serves all cameras of a node; a `CameraMotion` adds how its camera is mounted,
and the tilt that an Imu measures. What is unknown is a `Refusal`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from nav_msgs.msg import Odometry

from midas_depth_ros.geometry import (
    BodyPose,
    InvalidPose,
    MotionReset,
    PoseHistory,
    Refusal,
    camera_pose,
)
from midas_depth_ros.geometry.motion import BETWEEN_S
from midas_depth_ros.images import stamp_ns
from midas_depth_ros.nodes.depth.metric_sources import Mounting, mount_of
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.transforms import TfMount, pose_of
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from rclpy.node import Node

NOTICED_S = 0.001  # a motion continued by less than this is not worth a word


def check_odometry(settings: DepthNodeSettings) -> None:
    """Raise ValueError where odometry is asked for and nothing says where it comes from, or two."""
    if settings.odometry.topic and settings.odometry.fixed_frame:
        raise ValueError(
            'odometry.topic and odometry.fixed_frame are both set: leave one of them empty'
        )
    for camera in settings.cameras:
        if settings.odometry.fixed_frame == mount_of(settings, camera).body_frame:
            raise ValueError(
                f'odometry.fixed_frame is {settings.odometry.fixed_frame!r}, the body_frame of '
                f'{camera}: name a frame in which the robot moves, often odom'
            )
    if settings.scale.source != 'odometry':
        return
    if not (settings.odometry.topic or settings.odometry.fixed_frame):
        raise ValueError(
            'scale.source is odometry, but nothing says where it comes from: set odometry.topic '
            '(nav_msgs/Odometry, often odom) or odometry.fixed_frame (TF)'
        )


class OdometryInput(qos.Subscriber):
    """Where the body is, by stamp: from `odometry.topic`, or from TF by `odometry.fixed_frame`."""

    def __init__(self, node: Node, tf: TfMount | None = None) -> None:
        """tf: of the node, where it listens to TF already. Raises ValueError as TfMount does."""
        super().__init__(node)
        options = node.settings.odometry
        self._topic, self._fixed_frame = options.topic, options.fixed_frame
        self._history = PoseHistory()
        self._frames = ('', '')  # the fixed and the moving one of the last message
        self._fault = ''  # of the last message
        self._tf: TfMount | None = None
        self._own_tf = False
        if self._topic:
            self._subscription = qos.make_subscription(
                node, Odometry, self._topic, self._on_odometry, qos.HISTORY
            )
        elif self._fixed_frame:
            self._own_tf = tf is None
            instead = 'set odometry.topic'
            self._tf = tf or TfMount(node, 'odometry.fixed_frame', instead)

    @property
    def given(self) -> bool:
        """Whether parameters say where odometry comes from."""
        return bool(self._topic or self._fixed_frame)

    @property
    def subscribed(self) -> str:
        """Topic and type as text, or which frames of TF; '' without odometry."""
        return f'TF from {self._fixed_frame}' if self._tf is not None else super().subscribed

    @property
    def by_tf(self) -> bool:
        """Whether it is TF that says how a body frame moves."""
        return self._tf is not None

    @property
    def moved_frame(self) -> str:
        """The child_frame_id of the messages."""
        return self._frames[1]

    def epoch(self, body_frame: str = '') -> tuple[int, str]:
        """How often the odometry began anew, and why it last did; body_frame: for TF."""
        if self._tf is not None:
            return self._tf.epoch(body_frame, self._fixed_frame)
        return self._history.epoch, self._history.jump

    def close(self) -> None:
        """Unsubscribe, and stop listening to TF."""
        super().close()
        if self._tf is not None and self._own_tf:
            self._tf.close()
        self._tf = None

    def at(self, stamp: int, body_frame: str = '') -> BodyPose | Refusal:
        """The pose of the body at a stamp (ns), or why it is unknown; body_frame: for TF."""
        max_age_s = self._node.settings.odometry.max_age
        if self._tf is not None:
            return self._tf.pose(body_frame, self._fixed_frame, stamp, max_age_s)
        subscription = self._subscription
        if subscription is None:
            return Refusal('there is no odometry')
        mixed = qos.several_publishers(self._node, subscription, 'poses')
        if mixed:
            return Refusal(mixed)
        found = self._history.at(stamp, max_age_s)
        if isinstance(found, BodyPose):
            return found
        reason = f'no odometry from {self._topic}'
        if self._fault:
            return Refusal(f'{reason}: {self._fault}')
        if math.isinf(found):
            unheard = qos.publishers_of(self._node, subscription)[1]
            return Refusal('; '.join([reason, *unheard]))
        if found <= max_age_s:
            return Refusal(
                f'{reason} on both sides of the picture within {BETWEEN_S:g} s: its messages are '
                'too rare, or these are the first'
            )
        return Refusal(f'{reason} near the picture: the nearest is {found:.2f} s away by its stamp')

    def _on_odometry(self, message: Odometry) -> None:
        stamp = stamp_ns(message.header)
        try:
            pose = pose_of(message.pose.pose.position, message.pose.pose.orientation)
        except InvalidPose as error:
            self._fault = f'its {error}'
            return
        if not stamp:
            self._fault = 'its messages have no stamp'
            return
        frames = message.header.frame_id, message.child_frame_id
        if frames != self._frames and any(self._frames):
            self._history.clear(f'its frames changed from {self._frames} to {frames}')
        self._fault, self._frames = '', frames
        self._history.add(stamp, pose)


class CameraMotion:
    """The poses of one camera.

    `words`: where the last one came from, or why there was none, for diagnostics; '' without
    odometry.
    """

    def __init__(self, odometry: OdometryInput | None, mounting: Mounting) -> None:
        self._odometry = odometry if odometry is not None and odometry.given else None
        self._mounting = mounting
        self._seen = PoseHistory()  # where TF said the body was at this camera's pictures
        self._epochs = 0, 0
        self.words = ''

    @property
    def given(self) -> bool:
        """Whether there is odometry."""
        return self._odometry is not None

    def pose(self, stamp: int, optical_frame: str) -> np.ndarray | Refusal | None:
        """(4, 4) from the optical frame of the turned picture of this stamp (ns) into a fixed one.

        Or why it is unknown; None without odometry. The first picture after odometry began anew
        has a `MotionReset`.
        """
        if self._odometry is None:
            return None
        made = self._pose(self._odometry, stamp, optical_frame)
        if isinstance(made, Refusal):
            self.words = f'none: {made.reason}'
        return made

    def body_at(self, stamp: int) -> BodyPose | Refusal | None:
        """Where the body is at a stamp (ns), or why that is unknown; None without odometry."""
        if self._odometry is None:
            return None
        return self._odometry.at(stamp, self._mounting.body_frame)

    def assuming(
        self, stamp: int, optical_frame: str, pitch_rad: float
    ) -> np.ndarray | Refusal | None:
        """As `pose`, of a camera with another pitch than the parameters say."""
        if self._odometry is None:
            return None
        body = self._odometry.at(stamp, self._mounting.body_frame)
        if isinstance(body, Refusal):
            return body
        return self._of_lens(self._odometry, body, stamp, optical_frame, pitch_rad)

    def _pose(
        self, odometry: OdometryInput, stamp: int, optical_frame: str
    ) -> np.ndarray | Refusal:
        body = odometry.at(stamp, self._mounting.body_frame)
        if isinstance(body, BodyPose) and odometry.by_tf:
            self._seen.add(stamp, body)
        reset = self._reset_of(odometry)
        if reset is not None:
            return reset
        if isinstance(body, Refusal):
            return body
        late = body.continued_s
        self.words = f'continued by {late:.3f} s' if late > NOTICED_S else 'interpolated'
        return self._of_lens(odometry, body, stamp, optical_frame)

    def _of_lens(
        self,
        odometry: OdometryInput,
        body: BodyPose,
        stamp: int,
        optical_frame: str,
        pitch_rad: float = math.nan,
    ) -> np.ndarray | Refusal:
        """From where the body is to where the lens is."""
        by_tf = odometry.by_tf
        moved_frame = self._mounting.body_frame if by_tf else odometry.moved_frame
        lens = self._mounting.lens_at(
            stamp, optical_frame, moved_frame, ahead=by_tf, pitch_rad=pitch_rad
        )
        if isinstance(lens, Refusal):
            return lens
        attitude = self._mounting.attitude_at(stamp)
        if isinstance(attitude, Refusal):
            return attitude
        tilt = None if attitude is None else (attitude.roll_rad, attitude.pitch_rad)
        # By TF, body_frame looks as the camera looks, but the Imu straight ahead.
        return camera_pose(body, lens, tilt, self._mounting.camera_yaw_rad if by_tf else 0.0)

    def _reset_of(self, odometry: OdometryInput) -> MotionReset | None:
        """Whether odometry began anew since the last picture."""
        (said, why), seen = odometry.epoch(self._mounting.body_frame), self._seen.epoch
        before, self._epochs = self._epochs, (said, seen)
        if said <= before[0] and seen <= before[1]:
            return None
        return MotionReset(f'odometry began anew: {self._seen.jump if seen > before[1] else why}')
