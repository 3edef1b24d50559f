"""What is known of a camera: its intrinsics from camera_info, and how it is mounted on request.

`CameraCalibration` listens to camera_info and gives the camera model of a picture. The service
`~/calibrate_pitch` lets every camera watch a flat floor, or the way that the robot drives, and
answers with mount parameters.
"""

from __future__ import annotations

import collections
import math
import statistics
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo
from std_srvs.srv import Trigger

from midas_depth_ros.geometry import (
    UNCALIBRATED,
    CameraModel,
    CameraModelError,
    CameraMount,
    DrivenMount,
    MetricFrame,
    MotionReset,
    MountError,
    MountEstimate,
    Refusal,
    estimate_mount,
    median_estimate,
)
from midas_depth_ros.images.message_bytes import grey_reduced
from midas_depth_ros.nodes.depth.metric_sources import TRACKED_WIDTH, Attitude, Mounting
from midas_depth_ros.nodes.depth.odometry_input import CameraMotion
from midas_depth_ros.nodes.ros import quality_of_service as qos

if TYPE_CHECKING:
    from midas_depth_ros.nodes.depth.node import DepthNode
    from midas_depth_ros.nodes.depth.output import FrameView

FAULT_LOG_PERIOD_S = 5.0
# After so many equal messages two cameras no longer alternate; or after twice as many as were equal
# while they did, where one is slower than the other.
CALM_INFOS = 20
RETURNS, FORGOTTEN = 2, 600  # of the camera_info before: A, B, A, B; within so many messages each
NO_INFO = 'no camera_info yet'
ASPECT = 0.02  # camera_info of another aspect ratio than the pictures is not theirs


class CameraCalibration(qos.Subscriber):
    """The subscription to camera_info of one camera, and the camera model that follows."""

    def __init__(self, node: DepthNode, camera: str) -> None:
        super().__init__(node)
        self._camera = camera
        self._model: CameraModel | None = None
        self._text = NO_INFO  # what camera_info says, or why it is invalid
        self._ignored, self._ignored_s = '', -math.inf  # the last reason in the log, and when
        self._misfit = ''  # why camera_info does not fit the pictures, as long as it does not
        self._unknown_since_s: float | None = None
        self._changes = CameraInfoChanges()

    def open(self) -> None:
        """Subscribe."""
        self._subscription = qos.make_subscription(
            self._node,
            CameraInfo,
            f'{self._camera}/camera_info',
            self._on_camera_info,
            qos.LATCHED,
        )

    def publishers(self) -> tuple[int, list[str]]:
        """How many publish on the topic of camera_info, and why some cannot reach us."""
        return qos.publishers_of(self._node, self._subscription)

    @property
    def text(self) -> str:
        """What is known of the camera and from where, or why it is unknown, for diagnostics."""
        fov = self._node.settings.horizontal_fov
        if self._misfit or self._model is not None or math.isnan(fov):
            return self._misfit or self._text
        assumed = f'assumed field of view {fov:.3f} rad'
        return assumed if self._text == NO_INFO else f'{assumed}, for {self._text}'

    @property
    def misfit(self) -> str:
        """Why camera_info is not used for the last pictures; '' where it fits, or there is none."""
        return self._misfit

    def missing(self) -> str:
        """Why the camera has been uncalibrated for image_timeout since the first call; else ''."""
        settings = self._node.settings
        unknown = self._model is None or bool(self._misfit)
        if self._subscription is None or not unknown or not math.isnan(settings.horizontal_fov):
            self._unknown_since_s = None
            return ''
        now_s = time.monotonic()
        if self._unknown_since_s is None:
            self._unknown_since_s = now_s
        if now_s - self._unknown_since_s < settings.image_timeout:
            return ''
        if self._text != NO_INFO:
            return f'no metres: {self.text}'
        count, reasons = self.publishers()
        topic = self._subscription.topic_name
        where = f'publishers: {count} on {topic}, incompatible: {len(reasons)}'
        return f'{NO_INFO}, so no metres ({where})'

    def model_for(self, width: int, height: int) -> CameraModel | None:
        """The camera model for pictures of this size, by camera_info if that has their shape.

        Else by the assumed field of view; None if that is unknown, too.
        """
        model = self._model
        if model is not None:
            if abs(model.width * height - model.height * width) <= ASPECT * model.width * height:
                self._misfit = ''
                same = (model.width, model.height) == (width, height)
                return model if same else model.scaled(width, height)
            self._misfit = (
                f'camera_info is of {model.width}x{model.height}, the pictures are '
                f'{width}x{height}: ignored'
            )
        fov = self._node.settings.horizontal_fov
        if math.isnan(fov):
            return None
        return CameraModel.from_field_of_view(width, height, fov)

    def check_size(self, width: int, height: int) -> None:
        """See whether camera_info that did not fit fits now, also while no depth is wanted."""
        if self._misfit:
            self.model_for(width, height)

    def _on_camera_info(self, info: CameraInfo) -> None:
        changed = self._changes.add(info)
        if self._changes.alternates:
            self._forget(
                f'{self._camera}/camera_info alternates between two cameras: stop all publishers '
                'but one'
            )
            return
        if not changed:
            return
        try:
            rectified = self._node.settings.rectified
            self._model = CameraModel.from_camera_info(info, rectified=rectified)
            matrix = 'P of camera_info' if rectified else 'camera_info'
            self._text = f'{matrix} {info.width}x{info.height}'
            self._ignored = self._misfit = ''
        except CameraModelError as error:
            self._forget(str(error))
        except Exception as error:
            self._forget(f'{type(error).__name__}: {error}')
            raise  # into the boundary of the subscription

    def _forget(self, reason: str) -> None:
        """Treat the camera as uncalibrated, and log each kind of reason once."""
        self._model, self._text, self._misfit = None, reason, ''
        # Without the numbers, which may differ in every message.
        kind, now_s = reason.partition(' is ')[0], time.monotonic()
        if kind != self._ignored and now_s - self._ignored_s >= FAULT_LOG_PERIOD_S:
            self._ignored, self._ignored_s = kind, now_s
            self._node.get_logger().warning(f'{self._camera}: camera_info ignored: {reason}')


class CameraInfoChanges:
    """Whether camera_info changes, and whether it alternates between two cameras.

    Counted in messages, so that a bag is judged as the live camera was.
    """

    def __init__(self) -> None:
        self._last: list[Any] | None = None
        self._before: list[Any] | None = None
        self._info: CameraInfo | None = None  # the last one
        self._calm = self._since_turn = CALM_INFOS
        self._since_change = 0
        # How many messages were equal before each return to what was before, one after another: a
        # single one is a camera that was switched and back.
        self._returns: list[int] = []

    @property
    def alternates(self) -> bool:
        """Whether two cameras have taken turns within the last messages."""
        return self._since_turn < self._calm

    def add(self, info: CameraInfo) -> bool:
        """Take a message; whether to use it: it differs, or alternation has just ended."""
        self._since_turn += 1
        self._since_change += 1
        content = content_of(info)
        if content == self._last:
            return self._since_turn == self._calm
        returns = content == self._before and self._since_change < FORGOTTEN
        returns = returns and not _same_view(self._info, info)
        self._returns = [*self._returns[1 - RETURNS :], self._since_change] if returns else []
        # Of a camera that is switched to and fro, both stay for a while.
        if len(self._returns) >= RETURNS and min(self._returns) < CALM_INFOS:
            self._since_turn, self._calm = 0, max(CALM_INFOS, 2 * max(self._returns))
        self._before, self._last, self._info = self._last, content, info
        self._since_change = 0
        return True


def _same_view(one: CameraInfo | None, other: CameraInfo) -> bool:
    """Whether both are of one camera, which may focus to and fro."""
    if one is None:
        return False
    try:
        first, second = map(CameraModel.from_camera_info, (one, other))
    except CameraModelError:
        return False
    return (first.width, first.height) == (second.width, second.height) and first.sees_as(second)


def content_of(info: CameraInfo) -> list[Any]:
    """All but the header, to compare bit by bit: a NaN equals a NaN."""
    fields = [field for field in info.get_fields_and_field_types() if field != 'header']
    values = [getattr(info, field) for field in fields]
    return [value.tobytes() if hasattr(value, 'tobytes') else value for value in values]


# --- ~/calibrate_pitch: watches a flat floor for some frames and estimates the mount. Where the
# robot drives, its way tells more: the picture flows from where it goes.

FRAMES = 30
MOST_STRAY_RAD = math.radians(1.0)
TIMEOUT_S = 30.0
POLL_PERIOD_S = 0.1
ASIDE_RAD = math.radians(2.0)  # of the way, from which on camera_yaw is worth a word


class MountCalibration:
    """Collects what the frames of one camera say of its mount, while it runs. Thread-safe."""

    def __init__(
        self, mounting: Mounting | None = None, motion: CameraMotion | None = None
    ) -> None:
        """mounting, motion: of the camera; without them the floor alone is watched."""
        self._lock = threading.Lock()
        self._mounting = mounting
        self._motion = motion
        self._driven: DrivenMount | None = None
        self._tilts: list[Attitude] = []  # by an Imu, of the frames of a drive
        self._estimates: list[MountEstimate] = []
        self._refusals: collections.Counter[str] = collections.Counter()
        self._frames = 0
        self.running = False

    def start(self) -> None:
        """Discard earlier estimates and collect."""
        with self._lock:
            self._estimates, self._frames = [], 0
            self._refusals.clear()
            self._driven, self._tilts = None, []
            if self._motion is not None and self._motion.given and self._mounting is not None:
                self._driven = DrivenMount(self._mounting.pitch_rad)
            self.running = True

    def stop(self) -> None:
        """Stop collecting."""
        self.running = False

    @property
    def done(self) -> bool:
        """Whether enough frames were seen; of a robot that drives, enough way."""
        with self._lock:
            if self._driven is not None and self._driven.drives:
                return self._driven.done
            return self._frames >= FRAMES

    def add(self, view: FrameView, metric: MetricFrame | None) -> None:
        """Use one frame; ignored while not running."""
        if not self.running:
            return
        with self._lock:
            self._frames += 1
            if self._driven is not None and isinstance(view.pose, MotionReset):
                self._driven.forget_motion(view.pose)  # also in a frame that says nothing else
            self._watch_the_way(view)
            estimate = self._estimate(view, metric)
            if isinstance(estimate, MountEstimate):
                estimate = self._on_body(view, estimate)
            if isinstance(estimate, Refusal):
                self._refusals[estimate.reason] += 1
            else:
                self._estimates.append(estimate)

    def _watch_the_way(self, view: FrameView) -> None:
        """Let the frame say how the camera is mounted against the motion."""
        driven, motion = self._driven, self._motion
        if driven is None or motion is None or view.camera is None or view.grid is None:
            return
        if view.frame.mixed or view.blind:
            return
        tilt = self._tilt(view)
        if isinstance(tilt, Refusal):
            return
        if isinstance(view.pose, MotionReset):
            return
        assumed_rad = driven.assumed_pitch_rad
        pose = motion.assuming(view.frame.stamp_ns, view.header.frame_id, assumed_rad)
        if pose is None:
            return
        grey = grey_reduced(view.rgb, TRACKED_WIDTH)
        camera = view.camera.scaled(grey.shape[1], grey.shape[0])
        driven.add(view.stamp_s, grey, view.inverse_depth, view.grid, camera, pose)
        if tilt is not None:
            self._tilts.append(tilt)

    @staticmethod
    def _estimate(view: FrameView, metric: MetricFrame | None) -> MountEstimate | Refusal:
        if view.frame.mixed:
            return Refusal(view.frame.mixed)
        if view.grid is None:
            return Refusal(UNCALIBRATED)
        # The scale of the ground plane follows from the very mount that is to be estimated.
        reference = metric.scale if metric and metric.scale.source == 'reference' else None
        return estimate_mount(view.inverse_depth, view.grid, reference)

    def _tilt(self, view: FrameView) -> Attitude | Refusal | None:
        """How the body is tilted by an Imu, or why unknown; None without one."""
        return self._mounting.attitude_at(view.frame.stamp_ns) if self._mounting else None

    def _on_body(self, view: FrameView, seen: MountEstimate) -> MountEstimate | Refusal:
        """The mount without the tilt that an Imu measures, which is added to it in every frame."""
        tilt = self._tilt(view)
        if tilt is None or isinstance(tilt, Refusal):
            return tilt or seen
        return self._without(tilt, seen)

    def _without(self, tilt: Attitude, seen: MountEstimate) -> MountEstimate | Refusal:
        yaw_rad = self._mounting.camera_yaw_rad if self._mounting else 0.0
        # A roll that nobody has seen stays so.
        rolled = 0.0 if math.isnan(seen.roll_rad) else seen.roll_rad
        try:
            level = CameraMount(1.0, seen.pitch_rad, rolled)
            found = level.untilted(tilt.roll_rad, tilt.pitch_rad, yaw_rad)
        except MountError as error:
            return Refusal(str(error))
        roll_rad = seen.roll_rad if math.isnan(seen.roll_rad) else found.roll_rad
        return MountEstimate(found.pitch_rad, roll_rad, seen.height_m)

    def result(self) -> tuple[bool, str]:
        """Whether the mount could be estimated, and the sentence for the user."""
        with self._lock:
            driven = self._driven
            if driven is not None and driven.drives:
                return self._by_driving(driven)
            good, text = self._by_floor()
        if good and driven is not None:
            text += '; for more certainty call this while the robot drives'
        return good, text

    def _by_driving(self, driven: DrivenMount) -> tuple[bool, str]:
        """The sentence about a robot that has driven."""
        found = driven.estimate()
        if isinstance(found, Refusal):
            return False, f'the way of the robot does not show how the camera looks: {found.reason}'
        heading, floor = found.heading, None if found.contradiction else found.floor
        if heading.sigma_rad > MOST_STRAY_RAD:
            return False, (
                f'after {found.way_m:.2f} m the pitch is only known to '
                f'{math.degrees(heading.sigma_rad):.1f} degrees: drive on, straight, past things '
                'that are near'
            )
        roll = floor[0].roll_rad if floor is not None else heading.roll_rad
        mount = self._without_mean_tilt(MountEstimate(heading.pitch_rad, roll, math.nan))
        if isinstance(mount, Refusal):
            return False, mount.reason
        parts = [f'camera_pitch: {mount.pitch_rad:.4f} (+- {heading.sigma_rad:.4f})']
        if not math.isnan(mount.roll_rad):
            stray = f' (+- {floor[1].roll_rad:.4f})' if floor is not None else ''
            parts.append(f'camera_roll: {mount.roll_rad:.4f}{stray}')
        if floor is not None:
            parts.append(f'camera_height: {floor[0].height_m:.3f} (+- {floor[1].height_m:.3f})')
        if abs(heading.yaw_rad) > max(ASIDE_RAD, 3 * heading.sigma_rad):
            parts.append(f'camera_yaw against the way: {heading.yaw_rad:.4f}')
        from_floor = ', roll and height by the floor in its metres'
        if floor is None:
            from_floor = f'; not roll and height: {found.contradiction}'
        return True, (
            f'{", ".join(parts)}; by the way that the robot has driven ({found.way_m:.2f} m: the '
            f'focus of expansion){from_floor}'
        )

    def _without_mean_tilt(self, seen: MountEstimate) -> MountEstimate | Refusal:
        """The mount without what the Imu said in the median while the robot drove."""
        if not self._tilts:
            return seen
        roll_rad = statistics.median(each.roll_rad for each in self._tilts)
        pitch_rad = statistics.median(each.pitch_rad for each in self._tilts)
        return self._without(Attitude(roll_rad, pitch_rad), seen)

    def _by_floor(self) -> tuple[bool, str]:
        """The sentence about a robot that stands."""
        estimates, frames = list(self._estimates), self._frames
        refusal = next(iter(self._refusals.most_common(1)), ('no frame came', 0))[0]
        if len(estimates) < max(1, frames // 2):
            return False, f'{len(estimates)} of {frames} frames showed a floor: {refusal}'
        middle, stray = median_estimate(estimates)
        if stray.pitch_rad > MOST_STRAY_RAD:
            return False, (
                f'pitch varies by {math.degrees(stray.pitch_rad):.1f} degrees between frames: '
                'keep the robot still on flat floor with a free view'
            )
        text = (
            f'camera_pitch: {middle.pitch_rad:.4f} (+- {stray.pitch_rad:.4f}), '
            f'camera_roll: {middle.roll_rad:.4f} (+- {stray.roll_rad:.4f})'
        )
        if math.isnan(middle.height_m):
            return True, (
                f'{text}; from {len(estimates)} frames, assuming that the farthest thing in view '
                'is infinitely far away: point the camera along the longest free path'
            )
        return True, f'{text}, camera_height: {middle.height_m:.3f}; from {len(estimates)} frames'


class CalibrationService:
    """Serves ~/calibrate_pitch for the running cameras of a depth node."""

    def __init__(self, node: DepthNode, clock: Clock) -> None:
        self._node = node
        self._clock = clock
        node.create_service(
            Trigger,
            '~/calibrate_pitch',
            self._on_request,
            # Waits for frames: a group of its own keeps no other callback waiting.
            callback_group=MutuallyExclusiveCallbackGroup(),
        )

    async def _on_request(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Estimate the mount over some frames and answer with the parameters to set."""
        cameras = self._node.running_cameras()
        if not cameras:
            response.message = 'the node is not running: activate and enable it first'
            return response
        for camera in cameras:
            camera.mount_calibration.start()
        await until(
            self._node,
            self._clock,
            lambda: (
                all(camera.mount_calibration.done for camera in cameras)
                or not self._node.running_cameras()
            ),
            TIMEOUT_S,
        )
        answers = []
        for camera in cameras:
            camera.mount_calibration.stop()
            answers.append((camera.name, *camera.mount_calibration.result()))
        response.success = all(good for _, good, _ in answers)
        response.message = '; '.join(f'{name}: {text}' for name, _, text in answers)
        return response


async def until(node: DepthNode, clock: Clock, met: Callable[[], bool], timeout_s: float) -> None:
    """Wait until a condition holds or time is up, without blocking the executor."""
    deadline = time.monotonic() + timeout_s
    future: Future = Future()

    def poll() -> None:
        if not future.done() and (met() or time.monotonic() > deadline):
            future.set_result(None)

    timer = node.create_timer(POLL_PERIOD_S, poll, MutuallyExclusiveCallbackGroup(), clock)
    await future
    node.destroy_timer(timer)
