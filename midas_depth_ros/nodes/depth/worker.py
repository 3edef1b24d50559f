"""The one thread that infers: takes the cameras' newest frames in turn and publishes results.

One model serves all cameras, so one thread is enough and the CPU is never oversubscribed.
"""

from __future__ import annotations

import collections
import ctypes
import dataclasses
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import turned
from midas_depth_ros.images import (
    NANOSECONDS,
    BitDepth,
    Freeze,
    ImageError,
    decode_compressed,
    decode_image,
    verdict_for,
)
from midas_depth_ros.nodes.depth.output import (
    CameraOutput,
    FrameView,
    GridCache,
    MetricOutput,
    MountCalibration,
)
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from rclpy.node import Node

    from midas_depth_ros.nodes.depth.camera_input import CameraInput
    from midas_depth_ros.nodes.depth.metric_sources import Mounting
    from midas_depth_ros.nodes.depth.reporting import CameraStatistics

# --- Keeps the memory of one picture for the next one, and none of what loading a model left.
#
# Linux with glibc; elsewhere nothing happens. By default glibc gives large blocks back to the
# kernel as soon as they are free, and the kernel clears every page of them anew for the next
# picture: for 1080p that costs several times what copying it does.

# <malloc.h>; the largest threshold that glibc takes is half of its largest heap.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM_BYTES, MMAP_BYTES = 64 * 2**20, 32 * 2**20
MADV_DONTNEED = 4  # <sys/mman.h>
MAPS = Path('/proc/self/maps')


def keep_freed_memory() -> bool:
    """Let this process keep up to TRIM_BYTES of freed memory; False where that is not possible.

    Blocks larger than MMAP_BYTES still go back at once.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    kept = mallopt(M_MMAP_THRESHOLD, MMAP_BYTES) and mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
    return bool(kept)


def give_back_free_memory() -> None:
    """Give back what is free now: loading a model leaves far more than pictures will need."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return


def leave_mapped_files(suffix: str) -> int:
    """Give back what lies in memory of files so called that are mapped for reading only.

    A model's file stays mapped after its network was made from it, which has its weights in an
    order of its own. What is read again after all comes from the file. Returns how many bytes
    were mapped.
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


PATIENCE_S = 6.0  # the slowest models take about as long for a frame


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image message on its way through the node."""

    camera: str
    message: Any
    stamp_ns: int
    received_s: float  # monotonic clock
    restarted: bool = False  # time began anew before this frame: what came before has no meaning
    tells_time: bool = True  # whether its stamp can be used to tell how much later it is
    mixed: str = ''  # why it may be of another camera than the frames before

    @property
    def time_s(self) -> float:
        """When it was, for what is remembered from frame to frame: by its stamp, or by receipt."""
        return self.stamp_ns / NANOSECONDS if self.tells_time else self.received_s


class FrameExchange:
    """Frames between the callbacks and the worker: a slot per camera, taken in turn.

    With `capacity` 1 a new frame replaces a waiting one (`put` returns the one it replaced). With a
    larger capacity nothing is replaced (replay of every frame): who puts asks `is_full` first and
    is called by `on_room` when there is room again; `put` itself waits for it.
    """

    def __init__(
        self,
        cameras: tuple[str, ...],
        capacity: int = 1,
        on_room: Callable[[], object] = lambda: None,
    ) -> None:
        self._waiting: dict[str, collections.deque[Frame]] = {
            camera: collections.deque() for camera in cameras
        }
        self._turn = collections.deque(cameras)
        self._capacity = capacity
        self._on_room = on_room
        self._closed = False
        self._changed = threading.Condition()

    def is_full(self, camera: str) -> bool:
        """Whether the next frame of this camera would have to wait."""
        with self._changed:
            full = len(self._waiting[camera]) >= self._capacity > 1
            return full and not self._closed

    def put(self, frame: Frame) -> Frame | None:
        """Hand a frame over; returns the frame that it replaced and that nobody will see."""
        with self._changed:
            queue = self._waiting[frame.camera]
            replaced = None
            if self._capacity == 1 and queue:
                replaced = queue.popleft()
            else:
                self._changed.wait_for(lambda: len(queue) < self._capacity or self._closed)
            if self._closed:
                return frame
            queue.append(frame)
            self._changed.notify_all()
            return replaced

    def take(self) -> Frame | None:
        """Wait for the next frame, the cameras in turn; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._waiting.values()))
            if self._closed:
                return None
            while not self._waiting[self._turn[0]]:
                self._turn.rotate(-1)
            frame = self._waiting[self._turn[0]].popleft()
            self._turn.rotate(-1)
            self._changed.notify_all()
        if self._capacity > 1:
            self._on_room()
        return frame

    def close(self) -> None:
        """Wake everybody and refuse further frames; what waits is forgotten."""
        with self._changed:
            self._closed = True
            for queue in self._waiting.values():
                queue.clear()
            self._changed.notify_all()


@dataclasses.dataclass(frozen=True)
class Camera:
    """What belongs to one camera: its way in, its ways out, what happened to its frames."""

    name: str
    input: CameraInput
    output: CameraOutput
    metric: MetricOutput
    statistics: CameraStatistics
    mounting: Mounting
    calibration: MountCalibration = dataclasses.field(default_factory=MountCalibration)
    grids: GridCache = dataclasses.field(default_factory=GridCache)
    freeze: Freeze = dataclasses.field(default_factory=Freeze)
    bit_depth: BitDepth = dataclasses.field(default_factory=BitDepth)

    def wanted(self) -> bool:
        """Whether anybody wants anything of this camera."""
        return self.output.wanted() or self.metric.wanted() or self.calibration.running

    def measures(self, settings: DepthNodeSettings) -> bool:
        """Whether anybody wants metres of this camera."""
        in_metres = settings.heatmap.mode == 'metric' and self.output.heatmap_wanted
        return self.metric.wanted() or in_metres or self.calibration.running

    def publish(self, view: FrameView) -> None:
        """Make and publish what is wanted of a frame."""
        metric = None
        if self.measures(view.settings):
            metric = self.metric.update(view)
        if metric is not None:
            self.metric.publish(view, metric)
        self.output.publish(view, metric)
        self.calibration.add(view, metric)

    def close(self) -> None:
        """Destroy the publishers."""
        self.output.close()
        self.metric.close()
        self.mounting.close()


class Worker:
    """Infers until stopped; a frame that fails is counted and the next one is taken."""

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
        self._thread = threading.Thread(target=self._run, name='inference')

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, patience_s: float = PATIENCE_S) -> bool:
        """Stop after the frame at hand; whether that was done with in time.

        A thread cannot be ended from outside, and what it hangs in may be native code. So the wait
        is bounded: who gets False must leave alone what the thread uses, and may ask again.
        """
        self._exchange.close()
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (frame := self._exchange.take()) is not None:
            self.process(frame)

    def process(self, frame: Frame) -> None:
        """Infer and publish one frame, in the calling thread; what goes wrong is counted."""
        camera = self._cameras[frame.camera]
        camera.statistics.busy(True)
        try:
            self._infer_and_publish(frame, camera)
        except ImageError as error:
            camera.input.complain('rejected', str(error))
        except Exception as error:  # noqa: BLE001 - whatever a backend or DDS raises, the
            # robot keeps its eyes: this frame is lost, the next one gets its chance.
            camera.input.complain('failed', f'{type(error).__name__}: {error}')
            self._node.get_logger().debug(traceback.format_exc())
        finally:
            camera.statistics.busy(False)

    def _infer_and_publish(self, frame: Frame, camera: Camera) -> None:
        settings: DepthNodeSettings = self._node.settings
        decode = decode_image if hasattr(frame.message, 'encoding') else decode_compressed
        camera.bit_depth.given = settings.bit_depth
        if frame.restarted:
            camera.bit_depth.reset()
        rgb = decode(frame.message, settings.max_pixels, bit_depth=camera.bit_depth)
        self._report_bit_depth(camera)
        model = camera.input.model_for(rgb.shape[1], rgb.shape[0])
        rotate = camera.mounting.rotate
        model = None if model is None else model.turned(rotate)
        rgb = turned(rgb, rotate)
        started = time.monotonic()
        answer = self._estimator.infer(rgb)
        inference_s = time.monotonic() - started
        verdict = verdict_for(
            self._estimator,
            rgb,
            check=settings.picture_check,
            freeze=camera.freeze,
            stamp_s=frame.time_s,
            frozen_after_s=settings.frozen_after,
        )
        camera.statistics.judged(verdict.reason, verdict.partly)
        inverse_depth = verdict.hidden(answer)
        grid = camera.grids.of(model, inverse_depth.shape)
        view = FrameView(
            frame, rgb, answer, inverse_depth, verdict.reason, model, grid, settings, rotate
        )
        camera.publish(view)
        camera.statistics.processed(
            latency_s=time.monotonic() - frame.received_s,
            stamp_age_s=(self._node.get_clock().now().nanoseconds - frame.stamp_ns) / NANOSECONDS,
            inference_s=inference_s,
        )

    def _report_bit_depth(self, camera: Camera) -> None:
        words = camera.bit_depth.words
        if words == camera.statistics.bit_depth:
            return
        camera.statistics.bit_depth = words
        if words:
            self._node.get_logger().info(
                f'{camera.name}: bit depth of the pictures: {words} (parameter bit_depth)'
            )
