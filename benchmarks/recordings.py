"""What a camera saw, for benchmarks: rendered drives and sequences of real pictures.

Every frame has the relative inverse depth of a network, the grey picture, and, where known, the
pose and the exact 1/Z.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import cv2
import numpy as np

from midas_depth_ros.avoidance import AvoidanceSettings
from midas_depth_ros.geometry import CameraModel, CameraMount
from midas_depth_ros.geometry.fitting import Grid
from midas_depth_ros.images import judge_picture
from midas_depth_ros.images.message_bytes import grey_of
from midas_depth_ros.lab.drive.in_process import (
    Infer,
    LoopOptions,
    PerfectSensor,
    PlainScan,
    ScanAvoidance,
    ScanBeams,
    drive,
)
from midas_depth_ros.sim import DrivenRobot, Pose, RobotModel, furnished_world
from midas_depth_ros.sim.robot.robot import noisy

PICTURE, NETWORK = (320, 240), (256, 192)
FOV_RAD, GREY_LEVELS = math.radians(70), 2.0
SPEED_M_S, RATE_HZ = 0.4, 5.0
DATA = Path(os.environ.get('MIDAS_DEPTH_TEST_DATA', '../shared/data')) / 'sequences'
SEQUENCE_FOV_RAD = math.radians(60)  # of rtabmap_corridor, whose camera nobody knows


@dataclasses.dataclass
class Recording:
    """What a camera saw: per frame relative inverse depth and the error that the network expects of
    it, grey picture, pose and exact 1/Z.
    """

    name: str
    grid: Grid
    mount: CameraMount | None = None
    stamps_s: list[float] = dataclasses.field(default_factory=list)
    d: list[np.ndarray] = dataclasses.field(default_factory=list)
    error: list[np.ndarray | None] = dataclasses.field(default_factory=list)
    grey: list[np.ndarray] = dataclasses.field(default_factory=list)
    poses: list[np.ndarray] = dataclasses.field(default_factory=list)
    true: list[np.ndarray] = dataclasses.field(default_factory=list)


def pose_matrix(pose: Pose) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = pose.optical_axes, pose.position
    return made


class Recorder:
    """A sensor that never errs, and records what the camera sees meanwhile."""

    def __init__(self, seed: int, camera: CameraModel, recording: Recording, infer: Infer) -> None:
        self._perfect = PerfectSensor(ScanBeams(-1.5, 1.5, 0.02, 0.05, 6.0))
        self._rng = np.random.default_rng([seed, 9])
        self._camera, self._recording, self._infer = camera, recording, infer

    def sense(self, robot: DrivenRobot) -> PlainScan:
        """Record the present view; return the exact scan."""
        made, pose = self._recording, robot.motion.camera_pose(robot.model)
        view = robot.world.render(self._camera, pose)
        picture = noisy(view.rgb, GREY_LEVELS, self._rng)
        made.stamps_s.append(robot.motion.time_s)
        d, error = self._infer(picture)
        made.d.append(judge_picture(picture).masked(d))
        made.error.append(error)
        made.grey.append(grey_of(picture, NETWORK[::-1]))
        made.poses.append(pose_matrix(pose))
        depth = cv2.resize(view.depth_z, NETWORK, interpolation=cv2.INTER_NEAREST)
        with np.errstate(divide='ignore'):
            made.true.append((1 / depth).astype(np.float32))
        return self._perfect.sense(robot)


def driven(seed: int, seconds: float, infer: Infer) -> Recording:
    """Return what a robot sees that drives through a furnished world."""
    camera = CameraModel.from_field_of_view(*PICTURE, FOV_RAD)
    robot = RobotModel()
    mount = CameraMount(robot.camera_height_m, robot.camera_pitch_rad)
    made = Recording(f'world {seed}', camera.normalised_grid(*NETWORK), mount)
    recorder = Recorder(seed, camera, made, infer)
    options = LoopOptions(seconds, SPEED_M_S, RATE_HZ)
    drive(furnished_world(seed), robot, options, recorder, ScanAvoidance(AvoidanceSettings()))
    return made


def sequence(name: str, infer: Infer, every: int = 1) -> tuple[Recording, list[np.ndarray]]:
    """Return a sequence of real pictures, and the grey pictures in their own size.

    every: the step between the pictures that are taken.
    """
    folder = DATA / name
    camera, poses = None, None
    if name == 'rtabmap_corridor':
        paths = sorted(folder.glob('*.jpg'))
    elif (folder / 'frames.txt').exists():
        lines = (folder / 'frames.txt').read_text().split('\n')
        paths = [folder / line.split()[1] for line in lines if line.strip() and line[0] != '#']
        poses = np.loadtxt(folder / 'poses.txt')
        given = json.loads((folder / 'camera.json').read_text())
        camera = CameraModel(*(given[key] for key in ('width', 'height', 'fx', 'fy', 'cx', 'cy')))
    else:
        paths = sorted(path for path in folder.glob('*.jpg'))
        poses = np.loadtxt(folder / 'poses.txt')
        camera = CameraModel(640, 480, 585.0, 585.0, 320.0, 240.0)
    poses = None if poses is None else poses[::every]
    pictures = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths[::every]]
    height, width = pictures[0].shape[:2]
    if camera is None:
        camera = CameraModel.from_field_of_view(width, height, SEQUENCE_FOV_RAD)
    d, error = map(list, zip(*map(infer, pictures), strict=True))
    shape = d[0].shape
    made = Recording(name, camera.normalised_grid(shape[1], shape[0]))
    made.stamps_s = [index / RATE_HZ for index in range(len(d))]
    made.d, made.error = d, error
    made.grey = [grey_of(picture, shape) for picture in pictures]
    if poses is not None:
        made.poses = [_pose_of(row[1:]) for row in poses]
    return made, [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]


def _pose_of(row: np.ndarray) -> np.ndarray:
    """(4, 4) of tx ty tz qx qy qz qw."""
    x, y, z, w = row[3:] / np.linalg.norm(row[3:])
    made = np.eye(4)
    made[:3, 3] = row[:3]
    made[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return made
