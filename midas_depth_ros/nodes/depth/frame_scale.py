"""Where each frame's scale comes from, and how its camera was mounted: the parameters `scale.*`.

A fit to the floor, to what the robot's own motion shows, or to a reference sensor; all of them
together, where they agree; or the metres of the network itself, compared with one of them. What
cannot be had is a `Refusal`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import TYPE_CHECKING

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.depth.models import Output
from midas_depth_ros.geometry import (
    UNCALIBRATED,
    Agreement,
    CameraMount,
    Comparison,
    FloorInView,
    FloorMotion,
    LowerCorners,
    MarkerError,
    ModelScale,
    ParallaxScale,
    ReferencePoints,
    Refusal,
    ScaleShift,
    compare_with_floor,
    compare_with_points,
    fit_ground_plane,
    fit_range,
    fit_reference,
    lower_corners,
    model_scale,
    mount_in_view,
    pitch_contradiction,
)
from midas_depth_ros.images.message_bytes import grey_reduced
from midas_depth_ros.nodes.depth.marker import MarkerInput, check_marker
from midas_depth_ros.nodes.depth.metric_sources import (
    REFERENCE_TYPES,
    TRACKED_WIDTH,
    Mounting,
    ReferenceInput,
)
from midas_depth_ros.nodes.depth.odometry_input import check_odometry
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from rclpy.node import Node

    from midas_depth_ros.nodes.depth.output import FrameView

Mount = CameraMount | Refusal
BY_MOTION = 'odometry'  # in the source of a scale that needs no mount


def check_source(settings: DepthNodeSettings, estimator: DepthEstimator) -> None:
    """Raise ValueError where metres are asked of what cannot give them."""
    check_odometry(settings)
    if settings.scale.source == 'marker':
        check_marker(settings.marker)
    if settings.scale.source == 'model' and estimator.gives is not Output.METRIC_DEPTH:
        raise ValueError(
            f'scale.source is model, but {estimator.model} gives {estimator.gives.value}, not '
            'metres: set model to one that gives metres, such as '
            'depth_anything_v2_metric_indoor_small, or scale.source to ground_plane, scan, range '
            'or points'
        )


class FrameScale:
    """Scale, shift and mount of each frame of one camera, from the sources in the parameters.

    `model`: the judgement on the network's own metres, for scale.source model. `agreement`: that on
    all sources, for auto. `tilted`: why the pitch of the camera is wrong by the way it drives.
    `repeats`: whether the last scale is that of the frame before, since the network's answer is.
    `floor`: what `fit_ground_plane` found in that answer; None where it was not asked.
    """

    def __init__(
        self, node: Node, camera: str, estimator: DepthEstimator, mounting: Mounting
    ) -> None:
        scale = node.settings.scale
        self.source = scale.source
        self.model = ModelScale()
        self.agreement = Agreement()
        self.parallax = ParallaxScale(node.settings.odometry)
        self.tilted = ''
        odometry = node.settings.odometry
        self._by_odometry = bool(odometry.topic or odometry.fixed_frame)
        self._check = scale.check
        self._estimator = estimator
        self._mounting = mounting
        self._floor = FloorInView()
        self._floor_motion, self._lower_corners = FloorMotion(), LowerCorners()
        self._lower = ''  # why this frame has no metres: the floor does not go on as it seems to
        self.floor: ScaleShift | Refusal | None = None
        # Under auto whichever sensor delivers takes part: on these topics nothing else does.
        of_sensor = self._check if self.source == 'model' else self.source
        listened = tuple(REFERENCE_TYPES) if self.source == 'auto' else (of_sensor,)
        self._references: dict[str, ReferenceInput] = {}
        self._node = node
        # Under auto made when a size is set, be it while the node runs: OpenCV may lack markers.
        self._marker: MarkerInput | None = None
        with contextlib.ExitStack() as made:
            made.callback(self.close)
            for name in listened:
                self._references[name] = ReferenceInput(node, camera, name)
            if self.by_markers:
                self._marker = MarkerInput(node.settings.marker, estimator)
            made.pop_all()
        self._found: tuple[ScaleShift | Refusal, Mount] | None = None
        self._found_for: tuple[object, ...] | None = None  # the answer, and what else counts
        self.repeats = False

    def close(self) -> None:
        """Unsubscribe from the reference sensors."""
        for reference in self._references.values():
            reference.close()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""
        self.model.reset()
        self.agreement.reset()
        self.parallax.reset()
        self.tilted = self._lower = ''
        self._floor.reset()
        self._floor_motion.reset()
        self._lower_corners.reset()
        self._found = self._found_for = None

    def forget_motion(self) -> None:
        """Forget from where things were seen: odometry began anew."""
        self.agreement.forget_places()
        self.parallax.reset()
        self._lower_corners.forget_places()

    @property
    def compares(self) -> bool:
        """Whether a reference sensor delivers that is not the only source of the scale."""
        heard = any(reference.heard for reference in self._references.values())
        return heard and self.source in ('auto', 'model')

    @property
    def subscribed(self) -> str:
        """The topic of the reference sensor that is waited for; '' without one."""
        if self.source == 'auto':
            return ''
        return next(iter(self._references.values())).subscribed

    @property
    def by_markers(self) -> bool:
        """Whether markers are looked for in the pictures."""
        sized = self._node.settings.marker.size > 0
        return self.source == 'marker' or (self.source == 'auto' and sized)

    @property
    def refuted(self) -> str:
        """Why the metres of this frame and those before must not be used; '' if they may."""
        return self.model.refuted or self.agreement.refuted or self._lower

    @property
    def advice(self) -> str:
        """What to know of the network's own metres before relying on them; '' without them."""
        estimator = self._estimator
        if estimator.gives is not Output.METRIC_DEPTH or self.source not in ('auto', 'model'):
            return ''
        if self.source == 'model':
            if self._checked_by != 'none':
                return ''
            return (
                f'the metres of {estimator.model} are not checked (it learned them '
                f'{self._domain}): elsewhere they are wrong by a factor; camera_height and '
                'camera_pitch, or scale.check, let them be checked'
            )
        if self._mounting.given or self._by_odometry:
            return ''
        return (
            f'{estimator.model} gives metres, which nothing asks for: scale.source model publishes '
            'them, camera_height and camera_pitch fit its depth to the floor'
        )

    @property
    def needs_calibration(self) -> bool:
        """Whether there are no metres at all without a calibrated camera."""
        focal = self._estimator.focal_reference_px is not None
        return self.source != 'model' or focal or self._checked_by != 'none'

    @property
    def _checked_by(self) -> str:
        """What the network's metres are compared with, as in scale.check but 'auto'."""
        if self._check != 'auto':
            return self._check
        return 'ground_plane' if self._mounting.given else 'none'

    @property
    def _domain(self) -> str:
        return self._estimator.domain or 'nobody says where'

    def of_frame(self, view: FrameView) -> tuple[ScaleShift | Refusal, Mount]:
        """Return the scale of a frame and the mount that its obstacles are measured by."""
        mount = self._mounting.at(view.frame.stamp_ns, view.header.frame_id)
        made_of = view.camera, isinstance(mount, CameraMount)
        before = self._found_for
        same = before is not None and (
            before[0] is view.answer and before[1] is view.settings and before[2:] == made_of
        )
        # The same answer again is no new evidence: it must neither confirm nor contradict. But each
        # message of a reference sensor that gives the scale alone gives another.
        self.repeats = view.repeated and same and self.source not in REFERENCE_TYPES
        if self._found is None or not self.repeats:
            self._found = self._of_answer(view, mount)
            self._found_for = view.answer, view.settings, *made_of
        return self._found

    def _of_answer(self, view: FrameView, mount: Mount) -> tuple[ScaleShift | Refusal, Mount]:
        """The scale of an answer of the network, by the sources that the parameters name."""
        self._lower, self.floor = '', None
        if view.frame.mixed:
            return Refusal(view.frame.mixed), mount
        if view.blind:
            return Refusal(f'the picture is {view.blind}'), mount
        if self.source == 'model':
            return self._by_model(view, mount)
        fit = self._by_all(view, mount) if self.source == 'auto' else self._fitted(view, mount)
        below = self._below_floor(view, mount)
        self._lower = self._floor_motion.found or below
        if self._floor_motion.found or (below and isinstance(fit, ScaleShift)):
            # Whoever gives a scale: the network takes a lower floor for floor.
            return Refusal(self._lower), mount
        if isinstance(fit, ScaleShift):
            fit = dataclasses.replace(fit, far_end=self._estimator.far_end)
            if BY_MOTION in fit.source and isinstance(mount, Refusal):
                return fit, self._mount_in_view(view, fit, mount)
        return fit, mount

    def values(self) -> dict[str, str]:
        """What there is to know of the sources, for diagnostics."""
        values = self.agreement.values() if self.source == 'auto' else {}
        if self.source in ('auto', 'odometry'):
            values |= self.parallax.values()
        if self._marker is not None and self.by_markers:
            values |= self._marker.values()
        return values | self.model_values()

    def model_values(self) -> dict[str, str]:
        """What there is to know of the network's own metres, for diagnostics; {} without them."""
        if self.source != 'model':
            return {}
        comparison = self.model.comparison
        return {
            'metres': f'of the model, learned {self._domain}',
            'metres check': self.model.check,
            'metres by measured metres': f'{comparison.ratio:.3f}' if comparison else '',
        }

    def _fitted(self, view: FrameView, mount: Mount) -> ScaleShift | Refusal:
        """Scale and shift by the one source that the parameters name."""
        settings = view.settings
        if self.source == 'fixed':
            return ScaleShift(settings.scale.fixed_scale, settings.scale.fixed_shift, 'fixed')
        if self.source == 'none':
            return Refusal('scale.source is none')
        if self.source == 'marker':  # wherever the floor is
            return self._by_markers(view)
        if self.source == 'odometry':
            return self._by_motion(view)
        if self.source in REFERENCE_TYPES:
            return self._by_reference(view, mount, self.source)
        return self._by_floor(view, mount)

    def _by_all(self, view: FrameView, mount: Mount) -> ScaleShift | Refusal:
        """Scale and shift by all sources there are, where they agree."""
        found: dict[str, ScaleShift | Refusal] = {}
        if view.pose is not None:
            found['odometry'] = self._by_motion(view)
        for name, reference in self._references.items():
            if reference.heard:
                found[name] = self._by_reference(view, mount, name)
        if view.settings.marker.size > 0:  # which may change
            found['marker'] = self._by_markers(view)
        if self._mounting.given or not found:
            found = {'ground_plane': self._by_floor(view, mount), **found}
        if self._estimator.gives is Output.METRIC_DEPTH:
            found['model'] = self._by_network(view)
        far_end = self._estimator.far_end  # nothing is compared there
        found = {
            name: dataclasses.replace(fit, far_end=far_end) if isinstance(fit, ScaleShift) else fit
            for name, fit in found.items()
        }
        return self.agreement.update(view.stamp_s, found, view.inverse_depth, view.pose)

    def _by_markers(self, view: FrameView) -> ScaleShift | Refusal:
        """Scale and shift by the markers in view."""
        try:
            self._marker = self._marker or MarkerInput(view.settings.marker, self._estimator)
        except MarkerError as error:
            return Refusal(str(error))
        return self._marker.scale(view)

    def _by_floor(self, view: FrameView, mount: Mount) -> ScaleShift | Refusal:
        """Scale and shift by the floor in view."""
        if isinstance(mount, Refusal):
            return mount
        if view.grid is None:
            return Refusal(UNCALIBRATED)
        lower = self._lower_floor(view, mount)
        if lower:
            return Refusal(lower)
        self.floor = fit_ground_plane(
            view.inverse_depth,
            view.grid,
            mount,
            sigma=view.settings.sigma,
            max_drop_m=view.settings.obstacles.max_drop,
        )
        return self.floor

    def _lower_floor(self, view: FrameView, mount: CameraMount) -> str:
        """Why the floor does not go on as it seems to, by how it moves; '' where it may.

        Under auto with odometry its corners are asked instead (`_below_floor`): they see more.
        """
        known = view.pose is not None and not isinstance(view.pose, Refusal)
        asked = self.source == 'auto' and known
        if asked or not view.settings.scale.floor_motion or view.camera is None:
            self._floor_motion.reset()
            return ''
        grey = grey_reduced(view.rgb, TRACKED_WIDTH)
        camera = view.camera.scaled(grey.shape[1], grey.shape[0])
        return self._floor_motion.update(view.stamp_s, grey, camera, mount)

    def _below_floor(self, view: FrameView, mount: Mount) -> str:
        """Why corners that are measured contradict the floor; '' if they do not."""
        if self.source not in ('auto', 'odometry') or not isinstance(mount, CameraMount):
            return ''
        pose = None if isinstance(view.pose, Refusal) else view.pose
        corners, settings = self.parallax.corners, view.settings
        seen = None
        if corners is not None and pose is not None:
            seen = lower_corners(corners, mount, settings.sigma, settings.obstacles.max_drop)
        return self._lower_corners.update(view.stamp_s, seen, pose)

    def _by_motion(self, view: FrameView) -> ScaleShift | Refusal:
        """Scale and shift by how far the robot has moved."""
        if view.camera is None:
            return Refusal(UNCALIBRATED)
        pose = Refusal('there is no odometry') if view.pose is None else view.pose
        self.parallax.options = view.settings.odometry  # may change while the node runs
        grey = grey_reduced(view.rgb, TRACKED_WIDTH)
        camera = view.camera.scaled(grey.shape[1], grey.shape[0])
        shape = view.settings.scale.shape
        found = self.parallax.update(view.stamp_s, grey, view.inverse_depth, camera, pose, shape)
        self.tilted = self._pitch_by_motion(view)
        return found

    def _pitch_by_motion(self, view: FrameView) -> str:
        """Why the pitch of the camera cannot be right by the way it drives; '' if it can."""
        heading = self.parallax.heading
        pitch = self._mounting.pitch_at(view.frame.stamp_ns, view.header.frame_id)
        if heading is None or isinstance(pitch, Refusal) or math.isnan(pitch):
            return ''
        return pitch_contradiction(heading, pitch)

    def _by_reference(self, view: FrameView, mount: Mount, name: str) -> ScaleShift | Refusal:
        """Scale and shift by a reference sensor."""
        if isinstance(mount, Refusal):
            return mount
        if view.grid is None:
            return Refusal(UNCALIBRATED)
        points = self._points(view, name)
        if isinstance(points, Refusal):
            return points
        if name != 'range':
            return fit_reference(view.inverse_depth, points)
        if self._estimator.gives.proportional:  # one reading is enough: there is no shift
            return fit_reference(view.inverse_depth, points, fixed_shift=0.0)
        return fit_range(view.inverse_depth, points)

    def _points(self, view: FrameView, name: str) -> ReferencePoints | Refusal:
        """What a reference sensor measured, in the pixels of the network's answer."""
        if view.camera is None:
            return Refusal(UNCALIBRATED)
        mount = self._mounting.on_body(view.frame.stamp_ns, view.header.frame_id)
        if isinstance(mount, Refusal):
            return mount
        height, width = view.inverse_depth.shape
        camera = view.camera.scaled(width, height)
        reference = self._references[name]
        return reference.points(view.frame.stamp_ns, camera, mount, view.settings)

    def _by_network(self, view: FrameView) -> ScaleShift | Refusal:
        """The metres that the network gives, as they are."""
        height, width = view.inverse_depth.shape
        return model_scale(
            None if view.camera is None else view.camera.scaled(width, height),
            reference_px=self._estimator.focal_reference_px,
            far_end=self._estimator.far_end,
        )

    def _by_model(self, view: FrameView, mount: Mount) -> tuple[ScaleShift | Refusal, Mount]:
        """The metres that the network gives, where nothing refutes them."""
        scale = self._by_network(view)
        if isinstance(scale, Refusal):
            self.model.reset()
            return scale, mount
        found = self._compared(view, mount, scale)
        judged = self.model.judged(scale, found, view.settings.scale.check_tolerance)
        if isinstance(mount, CameraMount):
            return judged, self.model.height_in_metres(mount)
        return judged, self._mount_in_view(view, scale, mount)

    def _mount_in_view(self, view: FrameView, scale: ScaleShift, unknown: Refusal) -> Mount:
        """The mount that the floor shows in these metres, where nobody has said it."""
        if self._mounting.given or self._mounting.shared or view.grid is None:
            return unknown
        seen = mount_in_view(view.inverse_depth, view.grid, scale)
        return self._floor.update(view.stamp_s, seen, view.settings.scale.expiry)

    def _compared(
        self, view: FrameView, mount: Mount, scale: ScaleShift
    ) -> Comparison | Refusal | None:
        """The network's metres by those measured; None where nothing measures them."""
        check = self._checked_by
        if check == 'none':
            return None
        if isinstance(mount, Refusal):
            return mount
        if view.grid is None:
            return Refusal(UNCALIBRATED)
        if check == 'ground_plane':
            within_m = view.settings.scan.range_max
            return compare_with_floor(view.inverse_depth, view.grid, mount, scale, within_m)
        points = self._points(view, check)
        if isinstance(points, Refusal):
            return points
        return compare_with_points(view.inverse_depth, points, scale)
