"""Whether a picture may have the network's last answer, since it shows the same.

The parameter `reuse_unchanged`. The picture has been decoded and judged as every other, and what
is made of the answer is made again, with this frame's stamp: only the network and the fit of the
scale are spared. In doubt they are not.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry import STANDS_RAD, Refusal, moved_between
from midas_depth_ros.images.unchanged import UnchangedPicture
from midas_depth_ros.nodes.depth.camera_input import Frame
from midas_depth_ros.nodes.depth.metric_sources import Attitude

if TYPE_CHECKING:
    from midas_depth_ros.images import Verdict
    from midas_depth_ros.nodes.depth.worker import Camera


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the network said, (h, w) float32, and of a picture of which stamp and time.

    error: what it expects depth to be off by; None where it does not say that.
    """

    depth: NDArray[np.float32]
    error: NDArray[np.float32] | None
    stamp_ns: int
    time_s: float


class LastAnswer:
    """The last answer to the pictures of one camera.

    `reason`: why the last picture was given to the network; '' if it was not.
    """

    def __init__(self) -> None:
        self.reason = ''
        self._picture = UnchangedPicture()
        self._answer: Answer | None = None

    def for_picture(
        self,
        frame: Frame,
        rgb: NDArray[np.uint8],
        verdict: Verdict,
        camera: Camera,
        longest_s: float,
    ) -> Answer | None:
        """Return the answer that a picture may share; None where the network has to be asked.

        rgb: (H, W, 3) uint8, every picture in turn. longest_s: as `reuse_unchanged`.
        """
        if longest_s <= 0 or frame.restarted or frame.mixed:
            self._answer, self.reason = None, 'stamps or publishers have changed'
            self._picture.reset()
            if longest_s <= 0 or frame.mixed:
                return None
        changed = self._picture.changed(rgb)
        answer = self._answer
        if answer is None:
            self.reason = self.reason or 'there is no answer yet'
            return None
        elapsed_s = frame.time_s - answer.time_s
        if verdict.text:  # of a part, too: what is seen may be another part
            self.reason = f'the picture is {verdict.text}'
        elif camera.freeze.repeats:
            self.reason = 'the camera repeats its pictures'
        elif not 0 < elapsed_s <= longest_s:
            self.reason = f'the last answer is {elapsed_s:.1f} s old'
        elif camera.calibrates:
            self.reason = 'a calibration counts pictures'
        elif camera.metric.scale.compares:
            self.reason = 'a reference sensor is compared with every picture'
        else:
            self.reason = changed or self._moved(camera, answer.stamp_ns, frame.stamp_ns)
        return None if self.reason else answer

    def keep(
        self, frame: Frame, depth: NDArray[np.float32], error: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Keep what the network said of the picture that was compared last; returns the depth.

        It is one array for all pictures that share it, by which they are known.
        """
        error = None if error is None else error.copy()
        self._answer = Answer(depth.copy(), error, frame.stamp_ns, frame.time_s)
        self._picture.keep()
        return self._answer.depth

    @staticmethod
    def _moved(camera: Camera, *stamps: int) -> str:
        """Why the robot may have moved between two stamps (ns), by odometry and Imu; '' if not."""
        bodies = [camera.motion.body_at(stamp) for stamp in stamps]
        tilts = [camera.mounting.attitude_at(stamp) for stamp in stamps]
        if reason := moved_between(*bodies):
            return reason
        before, after = tilts
        for each in tilts:
            if isinstance(each, Refusal):
                return each.reason
        if not (isinstance(before, Attitude) and isinstance(after, Attitude)):
            return ''
        rolled, pitched = after.roll_rad - before.roll_rad, after.pitch_rad - before.pitch_rad
        if max(abs(math.remainder(rolled, math.tau)), abs(pitched)) <= STANDS_RAD:
            return ''
        return f'the robot has tilted by {rolled:.3f} and {pitched:.3f} rad'
