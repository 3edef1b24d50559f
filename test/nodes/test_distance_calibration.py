"""~/calibrate_distance over DDS, as a person with a tape measure uses it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from driving import header, set_parameter, state
from fakes import SceneEstimator
from lifecycle_msgs.msg import State
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, image_message
from midas_depth_ros.sim import Pose, Room, Scene, render

HEIGHT_M, PITCH_RAD = 0.3, 0.05
NETWORK = CameraModel.from_field_of_view(256, 192, 1.2)
PICTURE = CameraModel.from_field_of_view(320, 240, 1.2)
WALLS_M = (1.5, 1.9, 2.4, 2.8)  # nearer too little floor is in view
ASK, RESTART = 'depth_node/calibrate_distance', 'depth_node/calibrate_distance/restart'
DISTANCE = 'calibrate_distance.distance'


def wall_at(x_m: float) -> np.ndarray:
    """Z of a room with a wall ahead, which is in the middle of the picture."""
    room = Room(x_min_m=-2.0, x_max_m=x_m, y_min_m=-3.0, y_max_m=3.0, height_m=2.5)
    return render(Scene(room=room), NETWORK, Pose(z_m=HEIGHT_M, pitch_rad=PITCH_RAD)).depth_z


class Fixed(SceneEstimator):
    """With the same scale and shift in every frame, as on a bench."""

    def infer(self, rgb):
        self.calls += 1
        return ((1 / self.depth_z - 0.1) / 3.0).astype(np.float32)


@pytest.fixture
def bench(ros):
    """Start a depth_node before a wall; returns (node, measure, ask)."""

    def make(kind=SceneEstimator, name='camera', **parameters):
        seen = kind(wall_at(WALLS_M[0]))
        parameters = {'max_rate': 0.0, 'picture_check': False, **parameters}
        node = ros.make_node(DepthNode, lambda settings: seen, parameters=parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        images = ros.publisher(Image, f'{name}/image_raw')
        infos = ros.publisher(CameraInfo, f'{name}/camera_info')
        moments = iter(range(100, 100_000))
        picture = np.full((240, 320, 3), 120, np.uint8)

        def ask(service=ASK, frames=True, each=lambda: None):
            client = ros.node.create_client(Trigger, service)
            ros.spin_until(client.service_is_ready, what=service)
            future = client.call_async(Trigger.Request())
            for _ in range(400):
                head = header(100 + next(moments) / 10)
                if frames:
                    infos.publish(camera_info_message(PICTURE, head))
                    images.publish(image_message(picture, head))
                each()
                ros.spin_for(0.02)
                if future.done():
                    return future.result()
            raise AssertionError(f'no answer of {service}')

        def measure(x_m, **options):
            seen.depth_z = wall_at(x_m)
            set_ok, why = set_parameter(ros, DISTANCE, float(seen.depth_z[96, 128]))
            assert set_ok, why
            return ask(**options)

        return node, measure, ask, seen

    return make


def test_a_height_that_was_measured_wrongly_is_found(ros, bench):
    """Taken for 20 % higher than it is, every distance is 20 % too far."""
    _, measure, _, _ = bench(camera_height=1.2 * HEIGHT_M, camera_pitch=PITCH_RAD)
    first = measure(WALLS_M[0])
    assert first.success, first.message
    assert '1 of at least 3' in first.message
    assert re.search(r'1\.50 m by the tape, 1\.8\d m by the node \(ground\)', first.message)
    assert measure(WALLS_M[1]).success
    third = measure(WALLS_M[2])
    assert third.success, third.message
    assert 'too far by a factor of 1.2' in third.message
    height = float(re.search(r'write down camera_height: (\S+)$', third.message)[1])
    assert height == pytest.approx(HEIGHT_M, rel=0.02)
    assert set_parameter(ros, 'camera_height', height)[0]
    again = measure(WALLS_M[0])
    assert 'earlier measurements are forgotten' in again.message
    measure(WALLS_M[1])
    done = measure(WALLS_M[2])
    assert 'nothing to correct' in done.message, done.message


def test_a_pitch_that_was_measured_wrongly_is_found(ros, bench):
    _, measure, _, _ = bench(camera_height=HEIGHT_M, camera_pitch=PITCH_RAD + 0.02)
    answers = [measure(x_m) for x_m in WALLS_M]
    assert all(each.success for each in answers), answers
    found = re.search(r'camera_height: (\S+), camera_pitch: (\S+)$', answers[-1].message)
    assert found, answers[-1].message
    assert float(found[1]) == pytest.approx(HEIGHT_M, rel=0.03)
    assert float(found[2]) == pytest.approx(PITCH_RAD, abs=0.005)


def test_a_bench_set_up_gets_fixed_values(ros, bench):
    """Without a source of metres: 1/Z = 3 d + 0.1 is what the network was made with."""
    _, measure, _, _ = bench(Fixed, **{'scale.source': 'none'})
    answers = [measure(x_m) for x_m in WALLS_M[:3]]
    assert 'relative inverse depth' in answers[0].message
    found = re.search(r'fixed_scale: (\S+), scale.fixed_shift: ([^;]+);', answers[-1].message)
    assert found, answers[-1].message
    assert float(found[1]) == pytest.approx(3.0, rel=0.02)
    assert float(found[2]) == pytest.approx(0.1, abs=0.02)


def test_what_is_wrong_is_said(ros, bench):
    node, measure, ask, seen = bench(camera_height=HEIGHT_M, camera_pitch=PITCH_RAD)
    unset = ask(frames=False)
    assert not unset.success
    assert 'ros2 param set /depth_node calibrate_distance.distance' in unset.message
    for wrong in (-1.0, 0.0, float('inf'), 1e9):
        assert not set_parameter(ros, DISTANCE, wrong)[0]
    assert set_parameter(ros, 'camera_height', float('nan'))[0]
    missing = measure(WALLS_M[0])
    assert not missing.success
    assert 'camera_height is not set' in missing.message
    assert set_parameter(ros, 'camera_height', HEIGHT_M)[0]
    walls = iter(np.linspace(1.5, 2.7, 60))

    def move():
        seen.depth_z = wall_at(next(walls, 2.7))

    moved = measure(WALLS_M[0], each=move)
    assert not moved.success
    assert 'keep robot and scene still' in moved.message
    assert measure(WALLS_M[0]).success
    assert measure(WALLS_M[0] + 0.02).message.endswith('1 of at least 3 distances')
    for x_m in (1.58, 1.67, 1.76):
        similar = measure(x_m)
    assert 'too similar' in similar.message
    assert ask(RESTART, frames=False).message == '4 measurements forgotten'
    assert '1 of at least 3' in measure(WALLS_M[1]).message
    assert set_parameter(ros, 'calibrate_distance.camera', 'rear')[0]
    other = ask(frames=False)
    assert (other.success, other.message) == (
        False, "'rear' is not a camera: calibrate_distance.camera must be one of camera",
    )  # fmt: skip
    assert node.cameras['camera'].distance_calibration.running is False
