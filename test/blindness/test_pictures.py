"""Thousands of blind pictures through the whole node: nothing may ever be clear.

The embedded model gives every one of them a plausible room. The outputs of depth_node are searched
for anything that a robot could take for a free way.
"""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest
from bags import JAZZY, START_NS, camera_info_message, raw_message
from depth_reader import read_depth
from effort import THOROUGH

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.bag_messages import Recorded
from midas_depth_ros.nodes.bag.pipeline import BagPipeline
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import Pose, furnished_world

SIZE = 320, 240
FOCAL_PX = 190.0
CAMERA = BagCamera('camera', '/camera/image_raw', '/camera/camera_info')
MOUNT = {'camera_height': 0.3, 'camera_pitch': 0.2}
STEP_NS = 200_000_000  # the node's default rate
PACKED = 'depth/image/compressedDepth'
TOPICS = ('closeness', 'scan', 'seen_free', 'proximity', 'nearest_point', 'depth/image', PACKED)


@pytest.fixture(scope='module')
def estimator():
    return load_estimator('embedded', num_threads=2)


@pytest.fixture(scope='module')
def samples():
    """Furnished rooms, seen by the camera that `MOUNT` describes."""
    camera = CameraModel(*SIZE, FOCAL_PX, FOCAL_PX, 0.5 * (SIZE[0] - 1), 0.5 * (SIZE[1] - 1))
    height_m, pitch_rad = MOUNT['camera_height'], MOUNT['camera_pitch']
    pictures = []
    for seed in (0, 1, 2, 4, 5, 6, 8, 9, 10, 11):
        world = furnished_world(seed)
        x_m, y_m, yaw_rad = world.start
        pose = Pose(x_m, y_m, height_m, yaw_rad, pitch_rad)
        pictures.append(world.render(camera, pose).rgb)
    return pictures


class Eye:
    """A camera and its node, whose messages come back for every picture."""

    def __init__(self, estimator, calibrated=True, **parameters):
        settings = build(DepthNodeSettings, {**(MOUNT if calibrated else {}), **parameters})
        said = []
        self.node = BagPipeline(estimator, settings, [CAMERA], TOPICS, said.append, said.append)
        self.now_ns = START_NS
        if calibrated:
            blank = np.zeros((*SIZE[::-1], 3), np.uint8)
            self.hand(CAMERA.info, camera_info_message(blank, START_NS, focal=FOCAL_PX))

    def hand(self, topic, message):
        data = bytes(JAZZY.serialize_cdr(message, message.__msgtype__))
        return self.node.process(Recorded(topic, message.__msgtype__, self.now_ns, data))

    def see(self, rgb) -> dict:
        self.now_ns += STEP_NS
        made = self.hand(CAMERA.image, raw_message(rgb, self.now_ns))
        return {topic.removeprefix('/camera/'): message for topic, message in made}


def clear_in(made) -> list[str]:
    """Return what a robot could take for a free way in these messages."""
    found = []
    near = made['closeness'].vector
    if not all(math.isnan(value) for value in (near.x, near.y, near.z)):
        found.append(f'closeness {near}')
    for name in ('scan', 'seen_free'):
        if name in made and not np.isnan(made[name].ranges).all():
            found.append(name)
    for name in ('proximity', 'nearest_point'):
        if name in made:
            found.append(name)
    if 'depth/image' in made:
        depth = np.frombuffer(bytes(made['depth/image'].data), np.float32)
        if np.isfinite(depth).any():
            found.append('depth')
    if PACKED in made and np.isfinite(read_depth(made[PACKED])).any():
        found.append('compressed depth')
    return found


def stored(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def of_one_colour(rng, samples):
    for colour in itertools.product((0, 64, 128, 191, 255), repeat=3):
        yield np.broadcast_to(np.uint8(colour), (*SIZE[::-1], 3)).copy()


def black_with_noise(rng, samples):
    for deviation in np.linspace(0.0, 8.0, 80):
        yield stored(rng.normal(0, deviation, (*SIZE[::-1], 3)))


def grey_with_noise(rng, samples):
    for level, deviation in itertools.product((20, 128, 230), (0.5, 2, 8, 25)):
        for _ in range(8):
            yield stored(level + rng.normal(0, deviation, (*SIZE[::-1], 3)))


def too_dark(rng, samples):
    for rgb, factor in itertools.product(samples, (32, 48, 64, 100)):
        for noise in (0.0, 1.0, 4.0):
            yield stored(rgb / factor + rng.normal(0, noise, rgb.shape))


def over_exposed(rng, samples):
    for rgb, light in itertools.product(samples, (245, 250, 254)):
        for _ in range(3):
            yield stored(light + rgb * 0.02 + rng.normal(0, 0.6, rgb.shape))


def fogged(rng, samples):
    for rgb, share in itertools.product(samples, (0.95, 0.97, 0.99)):
        for light in (90, 160, 220):
            yield stored(rgb * (1 - share) + light * share + rng.normal(0, 0.6, rgb.shape))


def out_of_focus(rng, samples):
    for rgb, blur in itertools.product(samples, (8, 12, 20)):
        for noise in (0.0, 0.6):
            soft = cv2.GaussianBlur(rgb, (0, 0), blur * SIZE[0] / 256)
            yield stored(soft + rng.normal(0, noise, rgb.shape))


def slopes(rng, samples):
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    for _ in range(80):
        down, aside, level = rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.4), rng.uniform(30, 220)
        slope = level + down * (rows - 120) + aside * (columns - 160)
        yield stored(slope[..., None] * rng.uniform(0.5, 1.0, 3) + rng.normal(0, 0.7))


def covered(rng, samples):
    for rgb in samples:
        glow = 0.2 * cv2.GaussianBlur(rgb, (0, 0), 40)
        for _ in range(10):
            finger = glow + rng.uniform((20, 0, 0), (80, 20, 20))
            yield stored(finger + rng.normal(0, 1.0, rgb.shape))


def patterned(rng, samples):
    """Rows and columns of the sensor, stripes, enlarged noise, boards."""
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    for level, deviation in itertools.product((4, 20, 90), (4, 12)):
        row, column = rng.normal(0, deviation, (SIZE[1], 1, 1)), rng.normal(0, deviation, SIZE[0])
        yield stored(level + row + column[:, None] + rng.normal(0, 1, (*SIZE[::-1], 3)))
        blotches = level + rng.normal(0, 3 * deviation, (SIZE[1] // 4, SIZE[0] // 4, 3))
        yield stored(cv2.resize(blotches, SIZE))
        for size in (8, 20):
            for wave in (np.sin(rows / size), np.sin(columns / size)):
                yield stored(level + 3 * deviation * np.sign(wave)[..., None].repeat(3, axis=2))
            board = (rows // size + columns // size) % 2
            yield stored(level + 6 * deviation * board[..., None].repeat(3, axis=2))


def written_on(rng, samples):
    """What a recorder writes on a blind picture."""
    for rgb in samples:
        soft = cv2.GaussianBlur(rgb, (0, 0), 10)
        for blind in (rgb / 64, soft, rgb * 0.04 + 170, np.full_like(rgb, 16)):
            bad = stored(blind + rng.normal(0, 0.6, rgb.shape))
            yield cv2.putText(bad, '11:22:33', (5, 20), 0, 0.6, (255, 255, 255), 1)


def badly_decoded(rng, samples):
    """Without colours, or with a lower half that repeats the last rows."""
    for rgb in samples:
        for value in (0, 255):
            yuv = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV)
            yuv[..., 1:] = value
            yield cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB)
        for count in (1, 16, 120):
            bad = rgb.copy()
            bad[120:] = rgb[np.resize(np.arange(120 - count, 120), 120)]
            yield bad


KINDS = (
    of_one_colour,
    black_with_noise,
    grey_with_noise,
    too_dark,
    over_exposed,
    fogged,
    out_of_focus,
    slopes,
    covered,
    patterned,
    written_on,
    badly_decoded,
)


@pytest.mark.sampled
@pytest.mark.parametrize('calibrated', [True, False], ids=['calibrated', 'uncalibrated'])
@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_of_pictures_that_say_nothing_nothing_is_clear(estimator, samples, kind, calibrated):
    eye = Eye(estimator, calibrated)
    count = 0
    for rgb in kind(np.random.default_rng(1), samples):
        made = eye.see(rgb)
        assert clear_in(made) == [], (kind.__name__, count)
        count += 1
    assert count >= 40


def test_the_same_pictures_say_something_where_they_are_not_disturbed(estimator, samples):
    eye, known = Eye(estimator), 0
    for rgb in samples:
        known += bool(clear_in(eye.see(rgb)))
    assert known >= 0.6 * len(samples)


def test_a_camera_that_freezes_says_nothing_after_a_while(estimator, samples):
    eye = Eye(estimator)
    good = next(rgb for rgb in samples if clear_in(Eye(estimator).see(rgb)))
    seen = [bool(clear_in(eye.see(good))) for _ in range(60)]
    assert all(seen[:5])
    assert not any(seen[12:])  # 2 s of 5 Hz
    assert clear_in(eye.see(stored(good + np.random.default_rng(0).normal(0, 1, good.shape))))


def test_a_scale_from_before_does_not_make_metres_of_a_blind_picture(estimator, samples):
    eye = Eye(estimator)
    good = next(rgb for rgb in samples if 'scan' in Eye(estimator).see(rgb))
    for _ in range(5):
        assert clear_in(eye.see(good))
    assert clear_in(eye.see(np.zeros_like(good))) == []
    assert clear_in(eye.see(good))


@pytest.mark.sampled
@pytest.mark.parametrize('share', [0.36, 0.5])
@pytest.mark.parametrize('side', ['left', 'right'])
def test_where_a_part_is_covered_that_part_is_never_clear(estimator, samples, side, share):
    width = round(share * SIZE[0])
    columns = np.s_[:width] if side == 'left' else np.s_[-width:]
    # Radians to the side, from which on all is covered.
    edge = math.atan((width - 0.5 * SIZE[0]) / FOCAL_PX) - 0.05
    frames = scans = 0
    rng = np.random.default_rng(2)
    for rgb in samples:
        for cover in (0, 40, 128, 255) if THOROUGH else (0, 128):
            eye = Eye(estimator)
            for _ in range(3):
                bad = rgb.copy()
                bad[:, columns] = stored(cover + rng.normal(0, 1.5, bad[:, columns].shape))
                made = eye.see(bad)
                frames += 1
                near = made['closeness'].vector
                assert math.isnan(near.x if side == 'left' else near.z)
                if share >= 0.5:
                    assert clear_in(made) == []
                    continue
                if 'scan' not in made:
                    continue
                scans += 1
                scan = made['scan']
                angles = scan.angle_min + scan.angle_increment * np.arange(len(scan.ranges))
                hidden = angles > -edge if side == 'left' else angles < edge
                assert np.isnan(np.array(scan.ranges)[hidden]).all()
                assert np.isnan(np.array(made['seen_free'].ranges)[hidden]).all()
    assert frames == (12 if THOROUGH else 6) * len(samples)
    assert scans > 0 or share >= 0.5
