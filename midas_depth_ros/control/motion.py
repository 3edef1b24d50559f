"""Where the robot has gone since a measurement, by the velocities that were sent."""

from __future__ import annotations

import collections

from midas_depth_ros.control.corridor import Pose

KEPT_S = 10.0  # longer than any timeout


class MotionHistory:
    """The velocities of the last seconds: m/s forward and rad/s to the left, by time in s."""

    def __init__(self) -> None:
        self._sent: collections.deque[tuple[float, float, float]] = collections.deque()

    def sent(self, now_s: float, linear: float, angular: float) -> None:
        """These velocities hold from now on."""
        self._sent.append((now_s, linear, angular))
        while now_s - self._sent[0][0] > KEPT_S:
            self._sent.popleft()

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._sent.clear()

    def since(self, then_s: float, now_s: float) -> Pose:
        """The pose now, seen from the pose then; what came before the first velocity was rest."""
        pose, end = Pose(), now_s
        steps = []
        for start, linear, angular in reversed(self._sent):
            begin = max(start, then_s)
            if end > begin:
                steps.append(((end - begin) * linear, (end - begin) * angular))
            end = min(end, begin)
            if start <= then_s:
                break
        for forward, turned in reversed(steps):
            pose = pose.moved(forward, turned)
        return pose
