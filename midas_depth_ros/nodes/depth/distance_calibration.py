"""`~/calibrate_distance`: metres compared with a tape measure, and the parameters to correct.

A person sets `calibrate_distance.distance` and calls the service, at three to six distances. Each
call takes one measurement over some frames; from the third on the answer says what to write down.
`~/calibrate_distance/restart` forgets the measurements.
"""

from __future__ import annotations

import collections
import math
import threading
from typing import TYPE_CHECKING

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from std_srvs.srv import Trigger

from midas_depth_ros.geometry import (
    DistanceFit,
    Measurement,
    MetricFrame,
    MountError,
    Refusal,
    added,
    corrected_field_of_view,
    corrected_mount,
    fit_distances,
    middle_inverse_depth,
    middle_ray,
    middle_value,
    steady_value,
)
from midas_depth_ros.nodes.depth.calibration import until
from midas_depth_ros.nodes.depth.metric_sources import mount_of
from midas_depth_ros.options.depth import DepthNodeSettings, MountOptions

if TYPE_CHECKING:
    from midas_depth_ros.nodes.depth.node import DepthNode
    from midas_depth_ros.nodes.depth.output import FrameView
    from midas_depth_ros.nodes.depth.worker import Camera

FRAMES, FEWEST_FRAMES, MOST_FRAMES = 15, 8, 60  # that give a value, and that may be looked at
TIMEOUT_S = 30.0
# Sources without metres of their own: the service then compares relative inverse depth.
RELATIVE = ('fixed', 'none')
COMMAND = 'ros2 param set {} calibrate_distance.distance 1.0'


class DistanceCalibration:
    """What one camera has measured, and what it sees while a measurement runs. Thread-safe.

    ray: how long the ray (x', y', 1) through the middle is; 1 without a camera model.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.running = False
        self.measurements: list[Measurement] = []
        self.conditions: tuple = ()  # parameters under which they were made
        self._clear()

    def _clear(self) -> None:
        self._values: list[float] = []
        self._sources: collections.Counter[str] = collections.Counter()
        self._refusals: collections.Counter[str] = collections.Counter()
        self.ray = 1.0

    def start(self) -> None:
        """Discard what was seen and collect."""
        with self._lock:
            self._clear()
            self.running = True

    def stop(self) -> None:
        """Stop collecting."""
        self.running = False

    @property
    def done(self) -> bool:
        """Whether enough frames were seen."""
        return len(self._values) >= FRAMES or self._refusals.total() >= MOST_FRAMES

    def add(self, view: FrameView, metric: MetricFrame | None, refused: str) -> None:
        """Use one frame; ignored while not running. refused: why there is no `metric`."""
        if not self.running:
            return
        with self._lock:
            value = self._value(view, metric, refused)
            if isinstance(value, Refusal):
                self._refusals[value.reason] += 1
                return
            self._values.append(value)
            self._sources[metric.scale.source if metric else ''] += 1
            if view.grid is not None:
                self.ray = middle_ray(view.grid)

    @staticmethod
    def _value(view: FrameView, metric: MetricFrame | None, refused: str) -> float | Refusal:
        if view.frame.mixed or view.blind:
            return Refusal(view.frame.mixed or f'the picture is {view.blind}')
        if view.settings.scale.source in RELATIVE:
            return middle_value(view.inverse_depth)
        if metric is None:
            return Refusal(refused)
        return middle_inverse_depth(metric.depth_z)

    def result(self, distance_m: float) -> Measurement | Refusal:
        """The measurement at a distance (m, from the lens), or why there is none."""
        with self._lock:
            if len(self._values) < FEWEST_FRAMES:
                reason = next(iter(self._refusals.most_common(1)), ('no picture came', 0))[0]
                return Refusal(f'not measured: {reason}')
            value = steady_value(self._values)
            if isinstance(value, Refusal):
                return Refusal(f'not measured: {value.reason}')
            source = self._sources.most_common(1)[0][0]
            return Measurement(distance_m / self.ray, value, source)


class DistanceCalibrationService:
    """Serves ~/calibrate_distance and ~/calibrate_distance/restart."""

    def __init__(self, node: DepthNode, clock: Clock) -> None:
        self._node = node
        self._clock = clock
        # Waits for frames: a group of its own keeps no other callback waiting.
        group = MutuallyExclusiveCallbackGroup()
        name = '~/calibrate_distance'
        node.create_service(Trigger, name, self._on_request, callback_group=group)
        node.create_service(Trigger, f'{name}/restart', self._on_restart, callback_group=group)

    async def _on_request(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Take one measurement and answer with what follows from all of them."""
        camera = self._camera()
        distance_m = self._node.settings.calibrate_distance.distance
        if isinstance(camera, str):
            response.message = camera
            return response
        if not distance_m > 0:
            command = COMMAND.format(self._node.get_fully_qualified_name())
            response.message = (
                'calibrate_distance.distance is not set: measure from the lens to the thing in '
                f'the middle of the picture, then e.g. {command}'
            )
            return response
        seen = camera.distance_calibration
        seen.start()
        await until(
            self._node,
            self._clock,
            lambda: seen.done or not self._node.running_cameras(),
            TIMEOUT_S,
        )
        seen.stop()
        response.success, text = self._judged(camera, seen.result(distance_m))
        response.message = f'{camera.name}: {text}'
        self._node.get_logger().info(f'calibrate_distance: {response.message}')
        return response

    def _on_restart(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Forget the measurements of all cameras."""
        cameras = self._node.cameras.values()
        count = sum(len(each.distance_calibration.measurements) for each in cameras)
        for each in cameras:
            each.distance_calibration.measurements = []
        response.success, response.message = True, f'{count} measurements forgotten'
        return response

    def _camera(self) -> Camera | str:
        """The camera to calibrate, or why there is none."""
        cameras = {each.name: each for each in self._node.running_cameras()}
        if not cameras:
            return 'the node is not running: activate and enable it first'
        name = self._node.settings.calibrate_distance.camera
        if not name and len(cameras) == 1:
            return next(iter(cameras.values()))
        if name in cameras:
            return cameras[name]
        wrong = f'{name!r} is not a camera' if name else 'there are several cameras'
        return f'{wrong}: calibrate_distance.camera must be one of {", ".join(cameras)}'

    def _judged(self, camera: Camera, new: Measurement | Refusal) -> tuple[bool, str]:
        """Whether a measurement was taken, and what there is to say of all of them."""
        if isinstance(new, Refusal):
            return False, new.reason
        seen, settings = camera.distance_calibration, self._node.settings
        conditions = conditions_of(settings, camera.name)
        again = ''
        if seen.measurements and seen.conditions != conditions:
            seen.measurements = []
            again = 'parameters have changed, so earlier measurements are forgotten; '
        every = added(seen.measurements, new)
        if isinstance(every, Refusal):
            return False, f'{every.reason}: call ~/calibrate_distance/restart'
        seen.measurements, seen.conditions = every, conditions
        relative = settings.scale.source in RELATIVE
        fit = fit_distances(every, relative=relative)
        text = f'{again}{_measured(new, seen.ray, relative)}; '
        if isinstance(fit, Refusal):
            return True, f'{text}{fit.reason}'
        words = _corrections(fit, every, camera, settings)
        return True, f'{text}{_table(every, seen.ray, fit)}; {words}'


def conditions_of(settings: DepthNodeSettings, camera: str) -> tuple:
    """The parameters that make metres: measurements under different ones are not comparable."""
    return (
        mount_of(settings, camera),
        settings.scale,
        settings.marker,
        settings.odometry,
        settings.reference,
        settings.horizontal_fov,
    )


def _measured(new: Measurement, ray: float, relative: bool) -> str:
    """One measurement in words."""
    distance_m = new.z_m * ray
    if relative:
        return f'{distance_m:.2f} m by the tape is relative inverse depth {new.value:.4g}'
    return f'{distance_m:.2f} m by the tape, {ray / new.value:.2f} m by the node ({new.source})'


def _table(every: list[Measurement], ray: float, fit: DistanceFit) -> str:
    """What is left of every distance's error after the correction."""
    rows = zip(every, fit.before, fit.off, strict=True)
    return 'off: ' + ', '.join(
        f'{each.z_m * ray:.2f} m {"" if math.isnan(before) else f"{before:+.1%}, "}corrected '
        f'{off:+.1%}'
        for each, before, off in rows
    )


def _corrections(
    fit: DistanceFit, every: list[Measurement], camera: Camera, settings: DepthNodeSettings
) -> str:
    """What to write down."""
    if settings.scale.source in RELATIVE:
        return (
            f'scale.source: fixed, scale.fixed_scale: {fit.factor:.6g}, scale.fixed_shift: '
            f'{fit.offset:.6g}; for a bench set-up only: they hold for this view'
        )
    if fit.right:
        return (
            f'the metres are right to {max(abs(each) for each in fit.before):.0%}: nothing to '
            'correct'
        )
    nearer = 'too far' if fit.factor > 1 else 'too near'
    times = max(fit.factor, 1 / fit.factor)
    text = f'the metres are {nearer} by a factor of {times:.3f} (+- {fit.factor_sigma:.3f})'
    if fit.offset:
        text += f' and an offset of 1/Z of {fit.offset:+.4f} 1/m'
    sources = {part for each in every for part in each.source.split('+')}
    remedies = [_remedy(source, fit, camera, settings) for source in sorted(sources)]
    if camera.calibration.text.startswith('assumed') and not fit.offset:
        fov = corrected_field_of_view(settings.horizontal_fov, fit)
        remedies.append(f'if all else is right, write down horizontal_fov: {fov:.4f}')
    return f'{text}; {"; or ".join(remedies)}'


def _remedy(source: str, fit: DistanceFit, camera: Camera, settings: DepthNodeSettings) -> str:
    """What would have made the metres of one source right."""
    if source == 'ground':
        return _mount_remedy(fit, camera, settings)
    if source == 'marker':
        return f'write down marker.size: {settings.marker.size / fit.factor:.4f}'
    if source == 'odometry':
        return (
            f'the odometry says {fit.factor:.3f} times the way of the robot: correct its wheel '
            'radius'
        )
    if source == 'reference':
        return 'the reference sensor is off, or where it is mounted (reference.*)'
    return (
        "no parameter corrects a network's own metres: take scale.source ground_plane or odometry"
    )


def _mount_remedy(fit: DistanceFit, camera: Camera, settings: DepthNodeSettings) -> str:
    """The mount by which the floor would have been right."""
    mount = camera.mounting.by_parameters()
    if mount is None:
        return (
            'the transform from the lens to the floor is off: its height is '
            f'{fit.factor:.3f} times the true one'
        )
    try:
        right = corrected_mount(mount, fit)
    except MountError as error:
        return f'no mount explains it: {error}'
    own = settings.mounts.get(camera.name)
    names = {'camera_height': right.height_m}
    if fit.offset:
        names['camera_pitch'] = right.pitch_rad
    written = ', '.join(
        f'{_own_name(name, own, camera.name)}: {value:.4f}' for name, value in names.items()
    )
    return f'write down {written}'


def _own_name(name: str, own: MountOptions | None, camera: str) -> str:
    """The parameter that gives this camera's value: its own, or that of all cameras."""
    given = own is not None and not math.isnan(getattr(own, name))
    return f'mounts.{camera}.{name}' if given else name
