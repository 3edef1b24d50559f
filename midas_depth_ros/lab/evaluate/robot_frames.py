"""What /tf and /tf_static of a recording say about its robot: mount, odometry, place of the truth.

A bag goes in; out come parameters for the node, each only where none was given, and words about
what was taken from TF. What stands on the floor is never guessed: it is the frame base_footprint
(REP 120), or the one that `body_frame` names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Collection

import numpy as np

from midas_depth_ros.geometry import (
    CameraMount,
    MountError,
    TransformFault,
    TransformTree,
    turned_axes,
)
from midas_depth_ros.images import ImageError
from midas_depth_ros.images.message_bytes import TF, TF_STATIC
from midas_depth_ros.images.sources import SourceError
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.lab.evaluate.truth import Place
from midas_depth_ros.nodes.depth.metric_sources import mount_of
from midas_depth_ros.nodes.ros.transforms import add_recorded
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.text import shown

KIND = 'tf2_msgs/msg/TFMessage'
ODOMETRY = 'nav_msgs/msg/Odometry'
FLOOR, FIXED = 'base_footprint', 'odom'  # REP 120, REP 105
BELOW = 'below_the_lens'  # the frame that is added: on the floor, looks the way the camera looks
MOST_READ = 2000  # of the moving transforms: which frames there are shows at once
BY_ODOMETRY = ('odometry', 'auto')


@dataclasses.dataclass(frozen=True)
class RobotFrames:
    """What was taken from TF.

    settings: the node's, completed. tree: of the recording; None = without TF. below: the frame on
    the floor below the lens, which was added to it; '' = not known. notes: what was taken from TF,
    and what could not be.
    """

    settings: DepthNodeSettings
    tree: TransformTree | None = None
    below: str = ''
    notes: tuple[str, ...] = ()

    def beginning(self) -> TransformTree:
        """Return a new tree with nothing but the frame below the lens, for a pass over the bag."""
        made = TransformTree()
        if self.tree is not None and self.below:
            floor = self.tree.ancestors(self.below)[0][0]
            pose = self.tree.lookup(floor, self.below, 0)
            made.add(floor, self.below, 0, (*pose.position, *pose.quaternion), static=True)
        return made

    def place(self, frame: str) -> Place | None:
        """Where a sensor is that does not move on the robot; None = TF does not know."""
        if self.tree is None or not self.below:
            return None
        try:
            if self.tree.span(self.below, frame) is not None:
                return None
            found = self.tree.lookup(self.below, frame, 0)
        except TransformFault:
            return None
        axes = found.matrix()[:3, :3]
        x, y, z = map(float, found.position)
        yaw, pitch = math.atan2(axes[1, 0], axes[0, 0]), math.asin(np.clip(-axes[2, 0], -1, 1))
        roll = math.atan2(axes[2, 1], axes[2, 2])
        x, y, z, yaw, pitch, roll = (round(value, 6) + 0.0 for value in (x, y, z, yaw, pitch, roll))
        return Place(x, y, z, yaw, pitch, roll)


def robot_frames(
    bag: BagMessages,
    camera: str,
    optical_frame: str,
    settings: DepthNodeSettings,
    given: Collection[str],
    sources: Collection[str],
) -> RobotFrames:
    """Complete the parameters of a camera by the recording.

    given: names of the parameters that the user has set. sources: those of scale that are wanted.
    """
    tree = _read(bag)
    wants_odometry = any(source in BY_ODOMETRY for source in sources)
    topics = sorted(name for name, kind in bag.topics.items() if kind == ODOMETRY)
    notes = []
    if wants_odometry and topics and not _has_odometry(settings):
        notes.append(
            f'The odometry that was recorded ({", ".join(topics)}) is not used: '
            f'-p odometry.topic:={topics[0]} uses it.'
        )
    if tree is None:
        return RobotFrames(settings, notes=tuple(notes))
    wants_mount = not settings.mount_from_tf and _without_mount(settings, camera)
    floor = _floor_frame(tree, mount_of(settings, camera).body_frame, optical_frame, given)
    below, fault = _add_below(tree, floor, optical_frame) if floor else ('', '')
    if wants_mount and below:
        rotate = mount_of(settings, camera).rotate
        settings, note = _mounted(settings, tree, below, optical_frame, rotate)
        notes.append(note)
    elif wants_mount:
        notes.append(fault or _why_no_floor(tree, optical_frame))
    elif below and not (settings.mount_from_tf or _is_own(settings, camera)):
        settings = dataclasses.replace(settings, body_frame=floor)
    if wants_odometry and not topics and not _has_odometry(settings):
        settings, note = _moved(settings, tree, mount_of(settings, camera).body_frame)
        notes += [note] if note else []
    return RobotFrames(settings, tree, below, tuple(notes))


def _read(bag: BagMessages) -> TransformTree | None:
    """All static transforms, and the first of the moving ones; None without any."""
    tree = TransformTree()
    for topic, most in ((TF_STATIC, None), (TF, MOST_READ)):
        if bag.topics.get(topic) != KIND or not bag.counts.get(topic):
            continue
        with contextlib.suppress(SourceError):  # the pass over the recording reports it
            for recorded in itertools.islice(bag.read([topic]), most):
                with contextlib.suppress(ImageError):  # likewise
                    add_recorded(tree, recorded.data, topic == TF_STATIC)
    return tree if tree.frames() else None


def _has_odometry(settings: DepthNodeSettings) -> bool:
    return bool(settings.odometry.topic or settings.odometry.fixed_frame)


def _without_mount(settings: DepthNodeSettings, camera: str) -> bool:
    mount = mount_of(settings, camera)
    return math.isnan(mount.camera_height) and math.isnan(mount.camera_pitch)


def _is_own(settings: DepthNodeSettings, camera: str) -> bool:
    own = settings.mounts.get(camera)
    return own is not None and bool(own.body_frame)


def _floor_frame(
    tree: TransformTree, body_frame: str, optical_frame: str, given: Collection[str]
) -> str:
    """The frame on the floor to which the camera is connected; '' = not known."""
    named = any(name == 'body_frame' or name.endswith('.body_frame') for name in given)
    frame = body_frame if named else FLOOR
    try:
        tree.span(frame, optical_frame)
    except TransformFault:
        return ''
    return frame


def _add_below(tree: TransformTree, floor: str, optical_frame: str) -> tuple[str, str]:
    """Add the frame below the lens to the tree; its name, or '' and why there is none."""
    try:
        span = tree.span(floor, optical_frame)
        lens = tree.lookup(floor, optical_frame, span[0] if span else 0)
    except TransformFault as error:
        return '', f'TF does not say how the camera is mounted: {error}.'
    _, down, ahead = lens.matrix()[:3, :3].T
    yaw = math.atan2(ahead[1], ahead[0])
    if math.hypot(ahead[0], ahead[1]) < 1e-3:  # straight down: ahead is where its top is
        yaw = math.atan2(-down[1], -down[0])
    name = BELOW
    while tree.knows(name):
        name += '_'
    x, y, _ = map(float, lens.position)
    turn = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    tree.add(floor, name, 0, (x, y, 0.0, *turn), static=True)
    return name, ''


def _mounted(
    settings: DepthNodeSettings, tree: TransformTree, below: str, optical_frame: str, rotate: int
) -> tuple[DepthNodeSettings, str]:
    """The parameters with the mount by TF, and what is said of it."""
    span = tree.span(below, optical_frame)
    lens = tree.lookup(below, optical_frame, span[0] if span else 0)
    floor = tree.ancestors(below)[0][0]
    try:
        axes = turned_axes(lens.matrix()[:3, :3], rotate)
        mount = CameraMount.from_axes(axes, float(lens.position[2]))
    except MountError as error:
        return settings, f'TF says how {shown(optical_frame)} is mounted, but {error}.'
    # Of one camera: what is its own becomes that of all.
    made = dataclasses.replace(
        settings, mount_from_tf=True, body_frame=below, rotate=rotate, mounts={}
    )
    moves = '' if span is None else ' at first; it moves on the robot'
    return made, (
        f'The mount of the camera is that of TF: {mount.height_m:.3f} m above {shown(floor)}, '
        f'{_degrees(mount.pitch_rad)} down, rolled by {_degrees(mount.roll_rad)}{moves}.'
    )


def _moved(
    settings: DepthNodeSettings, tree: TransformTree, body_frame: str
) -> tuple[DepthNodeSettings, str]:
    """The parameters with odometry by TF, and what is said of it; '' = TF knows of none."""
    moving, fixed = False, ''
    for frame, moves in tree.ancestors(body_frame):
        moving = moving or moves
        if moving and (not fixed or frame == FIXED):
            fixed = frame
    if not fixed:
        return settings, ''
    odometry = dataclasses.replace(settings.odometry, fixed_frame=fixed)
    return dataclasses.replace(settings, odometry=odometry), (
        f'The odometry is that of TF: how the robot moves in {shown(fixed)}.'
    )


def _why_no_floor(tree: TransformTree, optical_frame: str) -> str:
    if not tree.knows(optical_frame):
        return (
            f'TF of the recording does not know the frame of the pictures, {shown(optical_frame)}: '
            'give camera_height and camera_pitch.'
        )
    above = ', '.join(shown(frame) for frame, _ in tree.ancestors(optical_frame))
    return (
        f'TF of the recording does not say which frame is on the floor (there is no {FLOOR} above '
        f'{shown(optical_frame)}, but {above or "none"}): name it by -p body_frame:=NAME, or give '
        'camera_height and camera_pitch.'
    )


def _degrees(angle_rad: float) -> str:
    return f'{round(math.degrees(angle_rad), 1) + 0.0:.1f} degrees'
