"""Recordings of the simulated robot with known truth, made once, and how to compare them."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from bags import JAZZY
from fakes import SceneEstimator

from midas_depth_ros.sim import Box, Material, PlainWorld, Pose, Rendering, Room, Scene

if not find_spec('rclpy'):
    collect_ignore_glob = ['test_*.py']

HEIGHT_M, PITCH_RAD = 0.3, 0.25  # of the simulated robot's camera
BOX = Box(3.0, 0.0, 0.5, 0.6, 0.7, material=Material((0.7, 0.5, 0.3)))
HALL = Scene(Material((0.6, 0.6, 0.6), 'tiles', (0.8, 0.8)), Room(-2, 9, -1.5, 1.5), (BOX,))


@dataclasses.dataclass(frozen=True)
class Hall(PlainWorld):
    """A box stands ahead. hidden: the camera does not see it, as a network may not."""

    hidden: bool = False

    def render(self, camera, pose: Pose) -> Rendering:
        if self.hidden:
            empty = dataclasses.replace(self.scene, solids=())
            return PlainWorld(empty, self.start, self.kind, self.seed).render(camera, pose)
        return super().render(camera, pose)


def hall(hidden: bool = False) -> Hall:
    return Hall(HALL, (0.6, 0.0, 0.0), 'hall', 1, hidden=hidden)


@pytest.fixture(scope='session')
def recordings(tmp_path_factory):
    """Return the bag of a drive: 'hall', 'hidden', or 'room'; each is made once."""
    from benchmarks.simulated_recording import Recording, record

    folder, made = tmp_path_factory.mktemp('recordings'), {}
    plans = {
        'hall': (Recording(4.0, exact=True, straight=True, speed_m_s=0.2, slip=0.2), hall()),
        'hidden': (Recording(4.0, exact=True, straight=True, speed_m_s=0.2), hall(hidden=True)),
        'slip': (Recording(8.0, world='plain', speed_m_s=0.4, slip=0.2), None),
        'room': (Recording(8.0, exact=True, world='plain', rate_hz=4.0), None),
    }

    def make(name: str) -> Path:
        if name not in made:
            made[name] = folder / name
            record(made[name], *plans[name])
        return made[name]

    return make


@pytest.fixture
def compare():
    """Return a function that compares a bag with a truth, by a perfect network."""
    from midas_depth_ros.images.sources.bag import depth_topics, find_cameras
    from midas_depth_ros.images.sources.bag_messages import BagMessages
    from midas_depth_ros.lab.drive.over_dds import exact_estimator
    from midas_depth_ros.lab.evaluate.report import Plan, evaluate
    from midas_depth_ros.lab.evaluate.truth import Place
    from midas_depth_ros.options.declarations import build
    from midas_depth_ros.options.depth import DepthNodeSettings

    def call(
        path,
        truth,
        place=None,
        source='auto',
        make_estimator=exact_estimator,
        placed=True,
        **parameters,
    ):
        bag = BagMessages(path)
        (camera,) = find_cameras(bag.topics, (), (), '', depth_topics(bag))
        named = {name.replace('__', '.') for name in parameters}
        given = {'camera_height': HEIGHT_M, 'camera_pitch': PITCH_RAD} | parameters
        settings = build(
            DepthNodeSettings,
            {'frozen_after': 0.0}
            | {name.replace('__', '.'): value for name, value in given.items()},
        )
        if place is None and truth == '/scan' and placed:
            place = Place(z_m=0.15)
        variants = [('auto', source)]
        plan = Plan(bag, camera, truth, settings, variants, place, given=frozenset(named))
        report, runs, faults = evaluate(plan, make_estimator)
        assert faults == []
        return report, runs[0]

    return call


class DepthOfPictures(SceneEstimator):
    """Knows the exact depth of every picture of a recording."""

    model = 'known'

    def __init__(self, path: Path) -> None:
        super().__init__(np.ones((1, 1)))
        from midas_depth_ros.images.sources.bag_messages import BagMessages

        self._depth, picture = {}, None
        for recorded in BagMessages(path).read(['/camera/image_raw', '/camera/depth_true/image']):
            message = JAZZY.deserialize_cdr(recorded.data, recorded.kind)
            shape = message.height, message.width
            if recorded.topic.endswith('raw'):
                picture = message.data.reshape(*shape, 3)
            else:
                self._depth[picture.tobytes()] = message.data.view('<f4').reshape(shape)

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        self.depth_z = self._depth[rgb.tobytes()]
        return super().infer(rgb)


@pytest.fixture
def frame():
    """Return a record of one frame that says `said` where `true` is ahead."""
    from midas_depth_ros.lab.evaluate.frames import FrameRecord

    def make(time_s: float, true: float, said: float):
        return FrameRecord(
            0,
            time_s,
            away_s=0.0,
            corridor_true=true,
            corridor_looked=true,
            corridor_said=said,
            z_true=np.array([true], np.float32),
            z_said=np.array([said], np.float32),
        )

    return make
