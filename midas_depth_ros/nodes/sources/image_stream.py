"""image_stream: pictures, a video, a camera device or a rosbag2 in; a camera's topics out.

One thread reads the source and publishes each picture when it is due. A repeated picture is bitwise
equal: depth_node takes that for a frozen camera unless its frozen_after is 0. The node ends with
exit code 0 at the end of the source, and with 1 when it fails.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
import time
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from midas_depth_ros.depth.download_limit import duration
from midas_depth_ros.images import NANOSECONDS, ImageError
from midas_depth_ros.images.sources import Frame, SourceError, is_still, open_source
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import time_message
from midas_depth_ros.nodes.ros.parameters import ParameterServer, printed_help
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.nodes.sources.camera_topics import Calibration, CalibrationError, CameraTopics
from midas_depth_ros.options.stream import ImageStreamSettings
from midas_depth_ros.options.text import printable

# --- When each picture of a source is due, and the recorded time in between. Plain numbers, no ROS.

PICTURES_RATE_HZ = 10.0  # for picture files, which have no rate of their own
LAG_S = 1.0  # after a longer delay (a suspended laptop) the schedule is shifted
LONG_WAIT_S = 5.0  # is logged
LONGEST_GAP_S = 60.0  # longer ones, as where a recorder's clock was set, are skipped


class Pacer:
    """Due times of frames, in seconds since the start, over any number of passes.

    interval_s: the usual time between two frames; a single long gap is not usual.
    skipped_s: by how much the gap before the last frame was shortened.
    """

    def __init__(self, rate_hz: float, source_rate_hz: float | None) -> None:
        """rate_hz: overrides the source's own times; 0 keeps them."""
        self._period_s = 1.0 / (rate_hz or source_rate_hz or PICTURES_RATE_HZ)
        self._by_rate = rate_hz > 0
        self._pass_start_s = 0.0
        self._due_s: float | None = None
        self._gap_s = math.inf  # before the last frame
        self.interval_s = self._period_s
        self.skipped_s = 0.0

    def start_pass(self) -> None:
        """Begin a new pass: its first frame follows the last one at the usual interval."""
        if self._due_s is not None:
            self._pass_start_s = self._due_s + self.interval_s

    def due_s(self, time_ns: int | None, now_s: float) -> float:
        """When the next frame is due. time_ns: its time in the source, None if it has none."""
        if time_ns is None or self._by_rate:
            due = 0.0 if self._due_s is None else self._due_s + self._period_s
        else:
            due = self._pass_start_s + time_ns / NANOSECONDS
            due = self._without_gap(due)
        if now_s - due > LAG_S:
            self._pass_start_s += now_s - due
            due = now_s
        if self._due_s is not None and due > self._due_s:
            gap_s = due - self._due_s
            self.interval_s = gap_s if gap_s <= LONG_WAIT_S else min(gap_s, self._gap_s)
            self._gap_s = gap_s
        self._due_s = due
        return due

    def _without_gap(self, due_s: float) -> float:
        """When a frame is due, earlier if the gap before it is too long; shifts the schedule."""
        usual_s = 0.0 if self._due_s is None else self._due_s + self.interval_s
        last_s = 0.0 if self._due_s is None else self._due_s
        if due_s - last_s <= LONGEST_GAP_S:
            self.skipped_s = 0.0
            return due_s
        self.skipped_s = due_s - usual_s
        self._pass_start_s -= self.skipped_s
        return usual_s


class Thinner:
    """Lets the frames of a live device pass at most at a rate."""

    def __init__(self, rate_hz: float) -> None:
        """0 lets all of them pass."""
        self._period_s = 1.0 / rate_hz if rate_hz else 0.0
        self._next_s = 0.0

    def passes(self, now_s: float) -> bool:
        """Whether a frame that arrives now may pass."""
        # Half a millisecond, since a camera at exactly this rate jitters.
        if now_s < self._next_s - 0.0005:
            return False
        on_time = now_s < self._next_s + self._period_s
        self._next_s = (self._next_s if on_time else now_s) + self._period_s
        return True


@dataclasses.dataclass
class ClockTrack:
    """The time for /clock: it advances evenly between two frames, (stamp in ns, due time in s)."""

    last: tuple[int, float] = (0, 0.0)
    next: tuple[int, float] = (0, 0.0)

    def approach(self, stamp_ns: int, due_s: float) -> None:
        """Set the next frame."""
        self.last, self.next = self.next, (stamp_ns, due_s)

    def time_ns(self, now_s: float) -> int:
        """The recorded time; 0 while it is unknown."""
        (stamp, due), (next_stamp, next_due) = self.last, self.next
        if now_s >= next_due:
            return next_stamp
        if not stamp:
            return 0
        share = max(0.0, (now_s - due) / (next_due - due))
        return stamp + int(share * max(0, next_stamp - stamp))


POLL_S = 0.02
FAULT_LOG_PERIOD_S = 5.0


class ImageStream(Node):
    """The ROS shell around a source; sets `exit_code` at its end. Raises ValueError."""

    exit_code: int

    def __init__(self, **node_options: Any) -> None:
        super().__init__('image_stream', **node_options)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='image_stream')
        try:
            self._set_up()
        except ValueError:
            super().destroy_node()
            raise
        self._thread.start()

    def _set_up(self) -> None:
        self._parameter_server = ParameterServer(self, ImageStreamSettings)
        settings = self._parameter_server.current
        self._source = open_source(
            settings.source,
            settings.topic,
            settings.max_pixels,
            self._warn,
            settings.bit_depth,
        )
        self._calibration = Calibration(
            settings.calibration, settings.horizontal_fov, self._source.has_camera_info
        )
        self._topics = CameraTopics(
            self,
            settings.camera,
            settings.transport,
            self._calibration.has_any,
            qos.output_profile(not self._source.live),
        )
        self._stamp_clock = self.get_clock()
        self._clock_publisher = None
        if settings.publish_clock:
            # With use_sim_time our own clock would be what we publish.
            self._stamp_clock = Clock(clock_type=ClockType.SYSTEM_TIME)
            self._clock_publisher = qos.make_publisher(self, ClockMessage, '/clock')
        self._parameter_server.warn_of_unused_qos()
        self._track = ClockTrack()
        self._pacer = Pacer(settings.rate, self._source.rate_hz)
        self._thinner = Thinner(settings.rate)
        # Ends the executor's wait, so that it sees the exit code.
        self._ended = self.create_guard_condition(lambda: None)
        self._start_s = 0.0
        self._published = 0
        self._last_shrunk: tuple[Any, Any] = (None, None)  # a picture, and its frame
        self._info_fault = ''  # why frames lack camera_info, as logged last
        self._fault_logged_s = -FAULT_LOG_PERIOD_S

    def destroy_node(self) -> None:
        """Stop the thread, then destroy what it uses."""
        self._stopping.set()
        self._thread.join()
        super().destroy_node()

    def _run(self) -> None:
        exit_code = 1
        try:
            self._play()
            exit_code = 0
        except SourceError as error:
            self.get_logger().fatal(printable(str(error)))
        except RuntimeError:
            if self.context.ok():
                raise
            exit_code = 0  # ROS was shut down while we were publishing
        finally:
            self.exit_code = exit_code
            self._ended.trigger()

    def _play(self) -> None:
        settings = self._parameter_server.current
        self._wait_for_subscribers(settings.wait_for_subscribers)
        self._stopping.wait(settings.start_delay)
        self._start_s = time.monotonic()
        self.get_logger().info(printable(f'{self._source.name} -> {self._topics.names}'))
        if settings.loop and is_still(settings.source):
            self.get_logger().info(
                'the same pictures are repeated: depth_node takes that for a frozen camera unless '
                'its frozen_after is 0'
            )
        while not self._stopping.is_set():
            self._pacer.start_pass()
            for frame in self._source:
                self._play_frame(frame)
                if self._stopping.is_set():
                    return
            if not settings.loop:
                self._topics.flush()
                ended = f'{self._source.name} has ended: {self._published} published'
                self.get_logger().info(printable(ended))
                return

    def _wait_for_subscribers(self, count: int) -> None:
        if self._topics.subscribers < count:
            self.get_logger().info(f'waiting for {count} subscribers of {self._topics.names}')
        while self._topics.subscribers < count and not self._stopping.wait(POLL_S):
            pass

    def _play_frame(self, frame: Frame) -> None:
        original = self._parameter_server.current.stamps == 'original'
        stamp_ns = frame.stamp_ns or 0 if original else 0  # 0: the time of publishing
        if self._source.live:
            if not self._thinner.passes(self._elapsed_s()):
                return
        else:
            usual_s = self._pacer.interval_s
            due_s = self._pacer.due_s(frame.time_ns, self._elapsed_s())
            self._say_gap(frame.name, due_s - self._elapsed_s(), usual_s)
            self._track.approach(stamp_ns, due_s)
            self._wait_until(due_s)
        if not self._stopping.is_set():
            self._publish(frame, stamp_ns or self._stamp_clock.now().nanoseconds)

    def _say_gap(self, name: str, wait_s: float, usual_s: float) -> None:
        """Log a wait for a frame that is long and unusual, or a gap that is not waited for."""
        if self._pacer.skipped_s:
            gap = duration(self._pacer.skipped_s)
            self._warn_throttled(f'{name}: the recording has a gap of {gap}: going on without it')
        elif wait_s > max(LONG_WAIT_S, 1.5 * usual_s):
            self.get_logger().info(printable(f'{name} is due in {duration(wait_s)}: waiting'))

    def _wait_until(self, due_s: float) -> None:
        """Wait, and publish /clock meanwhile if the parameters ask for it."""
        tick_s = 1.0 / self._parameter_server.current.clock_rate
        while not self._stopping.is_set():
            left_s = due_s - self._elapsed_s()
            if left_s <= 0:
                return
            if self._clock_publisher is not None:
                self._publish_clock(self._clock_ns())
                left_s = min(left_s, tick_s)
            self._stopping.wait(left_s)

    def _clock_ns(self) -> int:
        if self._parameter_server.current.stamps == 'original' and self._source.has_stamps:
            return self._track.time_ns(self._elapsed_s())
        return int(self._stamp_clock.now().nanoseconds)

    def _publish_clock(self, time_ns: int) -> None:
        if self._clock_publisher is not None and time_ns:
            self._clock_publisher.publish(ClockMessage(clock=time_message(time_ns)))

    def _publish(self, frame: Frame, stamp_ns: int) -> None:
        settings = self._parameter_server.current
        self._publish_clock(stamp_ns)
        frame_id = settings.frame_id or frame.frame_id or settings.optical_frame
        header = Header(stamp=time_message(stamp_ns), frame_id=frame_id)
        try:
            frame = self._shrunk(frame, settings.max_width)
            info = self._info_for(frame)
            if info is not None:
                self._topics.publish_info(info, header)
            self._topics.publish_frame(frame, header, settings.jpeg_quality)
        except ImageError as error:
            self._warn_throttled(f'{frame.name} skipped: {error}')
        else:
            self._published += 1

    def _shrunk(self, frame: Frame, max_width: int) -> Frame:
        """The frame, shrunk to max_width; a repeated picture is shrunk once."""
        last, made = self._last_shrunk
        if frame.picture is None or frame.picture is not last:
            made = frame.shrunk(max_width)
            self._last_shrunk = frame.picture, made
        return made

    def _info_for(self, frame: Frame) -> CameraInfo | None:
        """Its camera_info, if any; the reason why not is logged once."""
        try:
            info = self._calibration.info_for(frame)
        except (CalibrationError, ImageError) as error:
            text = f'{frame.name} is published without camera_info: {error}'
            if str(error) != self._info_fault and self._warn_throttled(text):
                self._info_fault = str(error)
            return None
        self._info_fault = ''
        return info

    def _warn_throttled(self, text: str) -> bool:
        """Log a warning unless there was one recently; returns whether it was logged."""
        if time.monotonic() - self._fault_logged_s < FAULT_LOG_PERIOD_S:
            return False
        self._fault_logged_s = time.monotonic()
        self._warn(text)
        return True

    def _warn(self, text: str) -> None:
        self.get_logger().warning(printable(text))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._start_s


def main() -> int:
    """Run the node; returns the exit code."""
    if printed_help('image_stream', ImageStreamSettings, __doc__):
        return 0
    return run_node(ImageStream)


if __name__ == '__main__':
    sys.exit(main())
