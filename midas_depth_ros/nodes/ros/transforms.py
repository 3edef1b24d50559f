"""TF: where frames are at a picture's stamp, from tf2_ros's listener or from a recording.

Transforms go into a `TransformTree`, the same for both, so that a bag gives what the node gives,
also on a machine without tf2_ros. Out come mounts, places of lenses and poses, or a `Refusal`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midas_depth_ros.geometry import (
    BodyPose,
    CameraMount,
    MountError,
    Refusal,
    TransformFault,
    TransformTree,
    between,
    rotation_of,
    turned_axes,
)
from midas_depth_ros.geometry.motion import BETWEEN_S, STILL_S, VELOCITY_S
from midas_depth_ros.geometry.transforms import NOTHING
from midas_depth_ros.images import NANOSECONDS, ImageError, stamp_ns
from midas_depth_ros.images.message_bytes import TF, TF_STATIC, read_transforms
from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.nodes.ros import quality_of_service as qos

if TYPE_CHECKING:
    from rclpy.node import Node

NEAR_S = 0.1  # how far from the picture's stamp the transform of a mount may be
BY_TURNS = (
    'TF says by turns that {} is in two places, as two publishers do: let only one of them publish '
    'its transform'
)
MOST_ASIDE_M = 0.05  # of the lens from the body frame's origin, seen from above


class TreeFeeder:
    """What tf2_ros's listener takes for its buffer: it puts transforms into a tree.

    What is no transform is counted and kept for diagnostics, as other refused input.
    """

    def __init__(self, node: Node | None, tree: TransformTree) -> None:
        self._node, self._tree = node, tree

    def set_transform(self, transform: Any, authority: str) -> None:
        """Take in a geometry_msgs/TransformStamped."""
        self._put(transform, TF, False)

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Take in one that holds for ever."""
        self._put(transform, TF_STATIC, True)

    def _put(self, message: Any, topic: str, static: bool) -> None:
        t, q = message.transform.translation, message.transform.rotation
        head, numbers = message.header, (t.x, t.y, t.z, q.x, q.y, q.z, q.w)
        try:
            self._tree.add(head.frame_id, message.child_frame_id, stamp_ns(head), numbers, static)
        except TransformFault as error:
            if self._node is not None:
                boundary.refuse(self._node, topic, str(error))


def subscribe_recorded(node: Node, tree: TransformTree) -> None:
    """Let an OfflineNode read recorded TF as bytes: no tf2 need be installed."""

    def take(data: bytes, topic: str, static: bool) -> None:
        try:
            add_recorded(tree, data, static)
        except ImageError as error:
            boundary.refuse(node, topic, str(error))

    for topic, static in ((TF, False), (TF_STATIC, True)):
        put = functools.partial(take, topic=topic, static=static)
        qos.make_subscription(
            node, bytes, topic, lambda data, put=put: put(data), qos.HISTORY, True
        )


def add_recorded(tree: TransformTree, data: bytes, static: bool) -> None:
    """Add a serialised TFMessage; what is no transform in it is left out. Raises ImageError."""
    for each in read_transforms(data):
        with contextlib.suppress(TransformFault):  # the tree names it where it is missed
            names = each.header.frame_id, each.child_frame_id
            tree.add(*names, stamp_ns(each.header), each.numbers, static)


class TfMount:
    """What TF says of frames. Raises ValueError where tf2_ros is not installed."""

    def __init__(
        self,
        node: Node | None,
        wanted_by: str = 'mount_from_tf',
        instead: str = 'give camera_height and camera_pitch',
        tree: TransformTree | None = None,
    ) -> None:
        """wanted_by: the parameter that needs TF. instead: what to do without it.

        tree: filled by somebody else, as from a recording; None = by tf2_ros's listener.
        """
        self._node = node
        self._listener: Any = None
        self._tree = TransformTree() if tree is None else tree
        if tree is not None:
            return
        try:
            import tf2_ros
        except ImportError as error:
            raise ValueError(
                f'{wanted_by} needs tf2_ros ({error}): install it (apt: '
                f'ros-$ROS_DISTRO-tf2-ros-py), or {instead} instead'
            ) from error
        self._listener = tf2_ros.TransformListener(TreeFeeder(node, self._tree), node)

    @classmethod
    def of_recording(cls, node: Node, tree: TransformTree | None = None) -> TfMount:
        """What the /tf and /tf_static of a recording say; tree: what is known before.

        node: an OfflineNode.
        """
        tree = TransformTree() if tree is None else tree
        subscribe_recorded(node, tree)
        return cls(node, tree=tree)

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None

    def mount(
        self, optical_frame: str, body_frame: str, stamp: int, rotate: int = 0
    ) -> CameraMount | Refusal:
        """The mount of a camera at a stamp (ns), or why it is unknown.

        rotate: by how many degrees its pictures are turned; the mount is that of the turned
        pictures. Without a transform at the stamp the nearest one is used if it is near.
        """
        found = self._near(optical_frame, body_frame, stamp)
        if isinstance(found, Refusal):
            return found
        aside = math.hypot(*found.position[:2])
        if not aside <= MOST_ASIDE_M:
            return Refusal(
                f'the lens of {optical_frame} is {aside:.2f} m from the origin of {body_frame} as '
                'seen from above: use a frame below the lens, where distances begin'
            )
        try:
            axes = turned_axes(rotation_of(found.quaternion), rotate)
            return CameraMount.from_axes(axes, float(found.position[2]))
        except MountError as error:
            return Refusal(str(error))

    def lens(
        self, optical_frame: str, body_frame: str, stamp: int, rotate: int = 0
    ) -> np.ndarray | Refusal:
        """(4, 4) from the optical frame of the turned picture into a body frame, or why unknown."""
        found = self._near(optical_frame, body_frame, stamp)
        if isinstance(found, Refusal):
            return found
        made = found.matrix()
        made[:3, :3] = turned_axes(made[:3, :3], rotate)
        return made

    def pose(
        self, frame: str, fixed_frame: str, stamp: int, max_age_s: float
    ) -> BodyPose | Refusal:
        """The pose of a frame in a fixed one at a stamp (ns), or why it is unknown.

        Interpolated; before the oldest and after the newest transform (a picture is often newer)
        the motion is continued at constant velocity, by `max_age_s` at most. As `PoseHistory.at`.
        """
        try:
            return self._pose(frame, fixed_frame, stamp, max_age_s)
        except TransformFault as error:
            return self._unknown(frame, fixed_frame, error)

    def epoch(self, frame: str, fixed_frame: str) -> tuple[int, str]:
        """How often time began anew between two frames, and what happened last."""
        return self._tree.epoch(fixed_frame, frame)

    def _pose(
        self, frame: str, fixed_frame: str, stamp: int, max_age_s: float
    ) -> BodyPose | Refusal:
        """As `pose`; raises TransformFault."""
        span = self._tree.span(fixed_frame, frame)
        between_them = f'from {frame} to {fixed_frame}'
        if span is None:
            return Refusal(
                f'TF says that {frame} does not move in {fixed_frame}: odometry.fixed_frame must '
                'be a frame in which the robot moves (often odom)'
            )
        flipping = self._tree.flipping(fixed_frame, frame)
        if flipping:
            return Refusal(BY_TURNS.format(flipping))
        oldest, newest = span
        nearest = min(max(stamp, oldest), newest)
        if nearest == stamp:
            gap_s = self._tree.gap_s(fixed_frame, frame, stamp)
            if gap_s <= BETWEEN_S:
                return self._tree.lookup(fixed_frame, frame, stamp)
            return Refusal(
                f'the transforms {between_them} on both sides of the picture are {gap_s:.2f} s '
                f'apart, more than {BETWEEN_S:g} s'
            )
        away_s = abs(stamp - nearest) / NANOSECONDS
        if away_s > max_age_s:
            return Refusal(self._far(between_them, stamp, nearest))
        pose = self._tree.lookup(fixed_frame, frame, nearest)
        back = -1 if stamp > nearest else 1
        other = min(max(nearest + back * round(VELOCITY_S * NANOSECONDS), oldest), newest)
        gap_s = self._tree.gap_s(fixed_frame, frame, other)
        if other != nearest and gap_s <= BETWEEN_S:
            share = (stamp - other) / (nearest - other)
            pose = between(self._tree.lookup(fixed_frame, frame, other), pose, share)
        elif away_s > STILL_S:
            return Refusal(
                f'{self._far(between_them, stamp, nearest)}, and it is not known how fast the '
                'robot was then: these are the first, or they are too rare'
            )
        return dataclasses.replace(pose, continued_s=away_s)

    def _near(self, frame: str, other: str, stamp: int) -> BodyPose | Refusal:
        """The pose of a frame in another at a stamp, or at the nearest one if it is near."""
        try:
            span = self._tree.span(other, frame)
            oldest, newest = (stamp, stamp) if span is None else span
            nearest = min(max(stamp, oldest), newest)
            if abs(nearest - stamp) > NEAR_S * NANOSECONDS:
                return Refusal(self._far(f'from {frame} to {other}', stamp, nearest))
            found = self._tree.lookup(other, frame, nearest)
            if span is not None and (fault := self._moving_unseen(frame, other, nearest)):
                return Refusal(fault)
            return found
        except TransformFault as error:
            return self._unknown(frame, other, error)

    def _moving_unseen(self, frame: str, other: str, stamp: int) -> str:
        """Why nobody knows where a moving frame was between two transforms; '' = it is known.

        Raises TransformFault.
        """
        flipping = self._tree.flipping(other, frame)
        if flipping:
            return BY_TURNS.format(flipping)
        child, gap_s = self._tree.moved_unseen(other, frame, stamp, BETWEEN_S, NEAR_S)
        if not child:
            return ''
        return (
            f'{child} has moved, and its transforms on both sides of the picture are {gap_s:.2f} s '
            f'apart, more than {BETWEEN_S:g} s'
        )

    @staticmethod
    def _far(between_them: str, stamp: int, nearest: int) -> str:
        which = 'newest' if nearest < stamp else 'oldest'
        away_s = abs(stamp - nearest) / NANOSECONDS
        return (
            f'the {which} transform {between_them} is {away_s:.2f} s from the picture by its stamp'
        )

    def _unknown(self, frame: str, other: str, error: TransformFault) -> Refusal:
        reason = f'no transform from {frame} to {other}: {error}'
        subscription = getattr(self._listener, 'tf_sub', None)
        if str(error) == NOTHING and subscription is not None and self._node is not None:
            topic = subscription.topic_name
            if not self._node.count_publishers(topic):
                reason += f'; nothing publishes on {topic}'
        return Refusal(reason)


def rotation_matrix(q: Any) -> np.ndarray:
    """(3, 3) float64 of a geometry_msgs/Quaternion."""
    return rotation_of(np.array([q.x, q.y, q.z, q.w]) / math.hypot(q.x, q.y, q.z, q.w))


def pose_of(position: Any, orientation: Any) -> BodyPose:
    """The pose of a geometry_msgs/Point or Vector3 and a Quaternion. Raises InvalidPose."""
    q = orientation
    return BodyPose.of(
        np.array([position.x, position.y, position.z]), np.array([q.x, q.y, q.z, q.w])
    )
