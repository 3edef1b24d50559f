"""The inference thread: takes the cameras' newest frames in turn, infers, publishes the results.

One model serves all cameras, so one thread is enough and the CPU is never oversubscribed.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import MotionReset, turned
from midas_depth_ros.images import (
    NANOSECONDS,
    BitDepth,
    FreezeDetector,
    ImageError,
    decode_compressed,
    decode_image,
    verdict_for,
)
from midas_depth_ros.images.reduction import sufficient_size
from midas_depth_ros.nodes.depth.calibration import CameraCalibration, MountCalibration
from midas_depth_ros.nodes.depth.camera_input import CameraInput, Frame, FrameExchange
from midas_depth_ros.nodes.depth.distance_calibration import DistanceCalibration
from midas_depth_ros.nodes.depth.frame_statistics import CameraStatistics
from midas_depth_ros.nodes.depth.metric_sources import Mounting
from midas_depth_ros.nodes.depth.odometry_input import CameraMotion, OdometryInput
from midas_depth_ros.nodes.depth.output import FrameView, GridCache, MetricOutput, RelativeOutput
from midas_depth_ros.nodes.depth.reuse import LastAnswer
from midas_depth_ros.nodes.depth.status import size_text
from midas_depth_ros.nodes.ros.transforms import TfMount
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from rclpy.node import Node

# --- Freed memory is kept for the next picture, except that of loading a model; only with glibc.
#
# By default glibc returns large blocks to the kernel, which clears every page again for the next
# picture: for 1080p that costs several times what copying it does.

# <malloc.h>; the largest threshold that glibc takes is half of its largest heap.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM_BYTES, MMAP_BYTES = 64 * 2**20, 32 * 2**20
MADV_DONTNEED = 4  # <sys/mman.h>
MAPS = Path('/proc/self/maps')


def keep_freed_memory() -> bool:
    """Let this process keep up to TRIM_BYTES of freed memory; False where that is impossible."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    kept = mallopt(M_MMAP_THRESHOLD, MMAP_BYTES) and mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
    return bool(kept)


def release_free_memory() -> None:
    """Return free memory to the kernel: loading a model leaves far more than pictures need."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def release_mapped_files(suffix: str) -> int:
    """Drop the pages of read-only mapped files with this suffix; returns the bytes mapped.

    A model's file stays mapped although its network has its own copy of the weights.
    """
    try:
        madvise = ctypes.CDLL(None).madvise
        lines = MAPS.read_text().splitlines()
    except (OSError, AttributeError, TypeError):
        return 0
    total = 0
    for line in lines:
        place, rights, _, _, _, *path = line.split(maxsplit=5)
        if rights[:2] == 'r-' and path and path[0].endswith(suffix):
            start, end = (int(side, 16) for side in place.split('-'))
            if madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED) == 0:
                total += end - start
    return total


STOP_TIMEOUT_S = 6.0  # the slowest models take about as long for a frame
MOST_SIZES_LOGGED = 20  # of the network's input, while the worker runs


class Camera:
    """All that belongs to one camera: input, outputs, statistics, calibration and mount."""

    def __init__(
        self,
        node: Node,
        name: str,
        estimator: DepthEstimator,
        tf: TfMount | None,
        transport: str,
        odometry: OdometryInput | None = None,
    ) -> None:
        """Make the publishers; `input.open()` subscribes. tf: where the mount comes from TF.

        odometry: of the body that carries the camera; shared by all cameras. Raises ValueError as
        the publishers and subscriptions do; none of them is left then.
        """
        self.name = name
        self.statistics = CameraStatistics()
        self.calibration = CameraCalibration(node, name)
        self.distance_calibration = DistanceCalibration()
        self.grids = GridCache()
        self.freeze = FreezeDetector()
        self.bit_depth = BitDepth()
        self.last_answer = LastAnswer()
        self.begins_anew = False  # a frame failed that said so: it holds for the next one
        with contextlib.ExitStack() as made:
            self.mounting = Mounting(node, name, tf)
            made.callback(self.mounting.close)
            self.motion = CameraMotion(odometry, self.mounting)
            self.mount_calibration = MountCalibration(self.mounting, self.motion)
            self.input = CameraInput(node, self, transport)
            self.output = RelativeOutput(node, name, estimator, self.mounting)
            made.callback(self.output.close)
            self.metric = MetricOutput(node, name, estimator, self.mounting)
            made.pop_all()

    def wanted(self) -> bool:
        """Whether any output of this camera has a subscriber, or a calibration waits for it."""
        return self.output.wanted() or self.metric.wanted() or self.calibrates

    @property
    def calibrates(self) -> bool:
        """Whether a service waits for frames of this camera."""
        return self.mount_calibration.running or self.distance_calibration.running

    def measures(self, settings: DepthNodeSettings) -> bool:
        """Whether metric depth of this camera is wanted."""
        in_metres = settings.heatmap.mode == 'metric' and self.output.heatmap_wanted
        return self.metric.wanted() or in_metres or self.calibrates

    def publish(self, view: FrameView, measures: bool) -> None:
        """Make and publish what is wanted of a frame; in metres if it `measures`."""
        if isinstance(view.pose, MotionReset):  # said once, also of a blind or unwanted frame
            self.metric.forget_motion()
        if view.frame.restarted:  # also where nobody wants metres of this one frame
            self.metric.forget()
        metric = self.metric.update(view) if measures else None
        if metric is not None:
            self.metric.publish(view, metric)
        else:
            self.metric.withdraw(view)
        self.output.publish(view, metric)
        self.mount_calibration.add(view, metric)
        self.distance_calibration.add(view, metric, self.metric.refused)

    def close(self) -> None:
        """Destroy the publishers and the subscriptions of mount and reference."""
        self.output.close()
        self.metric.close()
        self.mounting.close()


class Worker:
    """Infers until stopped; a frame that fails is counted, and the next one is taken."""

    def __init__(
        self,
        node: Node,
        estimator: DepthEstimator,
        exchange: FrameExchange,
        cameras: dict[str, Camera],
    ) -> None:
        """node: its `settings` are read for every frame."""
        self._node = node
        self._estimator = estimator
        self._exchange = exchange
        self._cameras = cameras
        self._sizes: set[tuple[int, int]] = set()  # of the network's input, so far
        self._thread = threading.Thread(target=self._run, name='inference')

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Stop after the current frame; False if that takes longer (it may hang in native code).

        After False what the thread uses must be left alone; `stop` may be called again.
        """
        self._exchange.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (frame := self._exchange.take()) is not None:
            self.process(frame)

    def process(self, frame: Frame) -> None:
        """Infer and publish one frame in the calling thread; errors are counted."""
        camera = self._cameras[frame.camera]
        camera.statistics.busy(True)
        if camera.begins_anew:
            frame = dataclasses.replace(frame, restarted=True)
        camera.begins_anew = frame.restarted
        try:
            self._infer_and_publish(frame, camera)
            camera.begins_anew = False
        except ImageError as error:
            camera.input.report_fault('rejected', str(error))
        except Exception as error:  # noqa: BLE001 - whatever a backend or DDS raises costs one
            # frame, not the node.
            camera.input.report_fault('failed', f'{type(error).__name__}: {error}')
            self._node.get_logger().debug(traceback.format_exc())
        finally:
            camera.statistics.busy(False)

    def _infer_and_publish(self, frame: Frame, camera: Camera) -> None:
        began = time.monotonic()
        settings: DepthNodeSettings = self._node.settings
        rgb = self._decoded(frame, camera, settings)
        self._report_bit_depth(camera)
        model = camera.calibration.model_for(rgb.shape[1], rgb.shape[0])
        rotate = camera.mounting.rotate
        model = None if model is None else model.turned(rotate)
        rgb = turned(rgb, rotate)
        verdict = verdict_for(
            self._estimator,
            rgb,
            check=settings.picture_check,
            freeze=camera.freeze,
            stamp_s=frame.time_s,
            frozen_after_s=settings.frozen_after,
        )
        camera.statistics.judged(verdict.reason, verdict.partial_reason)
        longest_s = settings.reuse_unchanged
        last = camera.last_answer.for_picture(frame, rgb, verdict, camera, longest_s)
        measures = camera.measures(settings)
        started = time.monotonic()
        if last is None:
            answer, error = self._infer(rgb, with_error=measures or longest_s > 0)
        else:
            answer, error = last.depth, last.error
        inference_s = time.monotonic() - started
        if last is None and longest_s > 0 and not verdict.text:
            answer = camera.last_answer.keep(frame, answer, error)
        inverse_depth = verdict.masked(answer)
        grid = camera.grids.of(model, inverse_depth.shape)
        # Asked after inference: odometry newer than the picture has come meanwhile.
        pose = camera.motion.pose(frame.stamp_ns, frame.message.header.frame_id)
        camera.publish(
            FrameView(
                frame, rgb, answer, inverse_depth, verdict.reason, model, grid, settings, rotate,
                pose, last is not None, error,
            ),
            measures,
        )  # fmt: skip
        camera.statistics.processed(
            latency_s=time.monotonic() - frame.received_s,
            stamp_age_s=(self._node.get_clock().now().nanoseconds - frame.stamp_ns) / NANOSECONDS,
            inference_s=None if last is not None else inference_s,
        )
        if last is not None:
            return
        size = answer.shape[1], answer.shape[0]
        camera.statistics.worked(time.monotonic() - began, size)
        if size not in self._sizes:
            self._report_size(camera.name, (rgb.shape[1], rgb.shape[0]), size, inference_s)

    def _decoded(
        self, frame: Frame, camera: Camera, settings: DepthNodeSettings
    ) -> NDArray[np.uint8]:
        """The picture of a frame, as the camera sends it: (H, W, 3) uint8 RGB.

        A JPEG that is larger than outputs and network need is decoded smaller; markers are looked
        for in whole pictures.
        """
        camera.bit_depth.given = settings.bit_depth
        if frame.restarted:
            camera.bit_depth.reset()
        if hasattr(frame.message, 'encoding'):
            return decode_image(frame.message, settings.max_pixels, bit_depth=camera.bit_depth)
        answer = None if camera.metric.scale.by_markers else camera.statistics.network_size
        least = sufficient_size(
            answer and (answer[1], answer[0]),
            settings.output_width,
            aside=camera.mounting.rotate in (90, 270),
        )
        return decode_compressed(frame.message, settings.max_pixels, camera.bit_depth, least)

    def _infer(
        self, rgb: NDArray[np.uint8], with_error: bool
    ) -> tuple[NDArray[np.float32], NDArray | None]:
        """Relative inverse depth, and what an estimator that says so expects it to be off by."""
        infer = getattr(self._estimator, 'infer_with_error', None) if with_error else None
        return infer(rgb) if infer else (self._estimator.infer(rgb), None)

    def _report_size(
        self, camera: str, picture: tuple[int, int], size: tuple[int, int], inference_s: float
    ) -> None:
        """Log a new size of the network's input, for which the network was perhaps prepared."""
        self._sizes.add(size)
        if len(self._sizes) > MOST_SIZES_LOGGED:
            return
        others = ', while other cameras waited' if len(self._cameras) > 1 else ''
        self._node.get_logger().info(
            f'{camera}: pictures of {size_text(picture)} become network inputs of '
            f'{size_text(size)}; the first took {inference_s:.2f} s{others}'
        )

    def _report_bit_depth(self, camera: Camera) -> None:
        description = camera.bit_depth.description
        if description != camera.statistics.bit_depth:
            camera.statistics.bit_depth = description
            if description:
                self._node.get_logger().info(
                    f'{camera.name}: bit depth of the pictures: {description} (parameter bit_depth)'
                )
