"""What counts as an unchanged picture: noise alone, and never anything that moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from still_pictures import SIZE, Camera, approached, scene

from midas_depth_ros.images.unchanged import (
    CHANGED,
    FEWEST_PAIRS,
    NO_NOISE,
    NOISY,
    NOTHING_KEPT,
    SMALL,
    UNKNOWN_NOISE,
    UnchangedPicture,
)


def used_to(camera: Camera, light: np.ndarray, pictures: int = 20) -> UnchangedPicture:
    """A comparison that knows the camera's noise, and has kept a picture of this scene."""
    still = UnchangedPicture()
    for _ in range(pictures):
        still.changed(camera.shot(light))
    still.keep()
    return still


@pytest.mark.parametrize('name', ['room_1', 'corridor_2', 'street_1', 'table_1', 'clutter_1'])
@pytest.mark.parametrize('noise', [0.7, 2.0, 4.0])
def test_noise_alone_is_no_change(name, noise):
    light, camera = scene(name), Camera(noise)
    still = used_to(camera, light)
    assert [still.changed(camera.shot(light)) for _ in range(20)].count('') >= 19


def test_a_jpeg_whose_blocks_flicker_is_mostly_unchanged():
    light, camera = scene(), Camera(3.0, quality=90)
    still, found = used_to(camera, light, 30), []
    for _ in range(30):
        found.append(still.changed(camera.shot(light)))
        if found[-1]:
            still.keep()
    assert found.count('') > 15


def test_nothing_is_judged_before_the_noise_is_known():
    light, camera = scene(), Camera()
    still = UnchangedPicture()
    assert still.changed(camera.shot(light)) == NOTHING_KEPT
    still.keep()
    found = [still.changed(camera.shot(light)) for _ in range(FEWEST_PAIRS + 3)]
    assert found[:FEWEST_PAIRS] == [UNKNOWN_NOISE] * FEWEST_PAIRS
    assert found[FEWEST_PAIRS:] == ['', '', '']


@pytest.mark.parametrize('per_picture', [0.00002, 0.0002, 0.001, 0.01, 0.05])
def test_an_approach_is_noticed_however_slow(per_picture):
    """Each picture may look like the one before: compared is with the one that was kept."""
    sharp, camera = scene(), Camera()
    light = cv2.GaussianBlur(sharp, (0, 0), 1.5)  # so that it is the same wherever it is sampled
    still, last = used_to(camera, light), used_to(camera, light)
    noticed, alike = 0, 0
    for number in range(1, 200):
        shot = camera.shot(approached(light, 1 + per_picture * number))
        alike += not last.changed(shot)
        last.keep()
        if still.changed(shot):
            noticed = number
            break
    # The border of the picture has moved by less than a pixel and a half of it.
    assert noticed
    assert noticed == 1 or per_picture * noticed * SIZE[0] / 2 < 1.5
    if per_picture < 0.0001:
        assert alike > 0.8 * noticed > 3, 'the one before is no help'


@pytest.mark.parametrize('noise', [1.0, 3.0])
@pytest.mark.parametrize(('side', 'contrast', 'by'), [(6, 60.0, 3), (10, 40.0, 2), (20, 25.0, 2)])
def test_a_small_far_thing_that_begins_to_move_is_noticed(noise, side, contrast, by):
    light, camera = scene('corridor_1'), Camera(noise)

    def with_thing(x: int) -> np.ndarray:
        made = light.copy()
        made[230 : 230 + side, x : x + side] += contrast
        return made

    before, after = with_thing(300), with_thing(300 + by)
    assert np.abs(after - before).mean() < 0.05, 'of the whole picture hardly anything changes'
    still = used_to(camera, before)
    assert still.changed(camera.shot(before)) == ''
    assert still.changed(camera.shot(after)) == CHANGED


def test_light_and_colour_count():
    light, camera = scene(), Camera()
    still = used_to(camera, light)
    assert still.changed(camera.shot(light)) == ''
    assert still.changed(camera.shot(1.03 * light)) == CHANGED, 'exposure'
    assert still.changed(camera.shot(light + np.float32([3, 0, -3]))) == CHANGED, 'white balance'
    red = light.copy()
    red[200:230, 300:330] += np.float32([30, -15, 0])  # of about the same brightness
    assert still.changed(camera.shot(red)) == CHANGED
    assert [still.changed(camera.shot(light)) for _ in range(3)][-1] == ''


def test_what_has_moved_before_is_not_taken_for_noise():
    """A robot that drives for a while and never stands: noise was never seen alone."""
    light, camera = cv2.resize(scene(), (1280, 480)), Camera()
    still = UnchangedPicture()
    for number in range(50):
        seen = light[:, 3 * number : 3 * number + 640]
        found = still.changed(camera.shot(seen))
        assert found, number
        still.keep()
    found = [still.changed(camera.shot(seen)) for _ in range(30)]
    assert found[-1] == '', 'it stands'


def test_something_that_moves_in_one_place_does_not_become_its_noise():
    """Waving for minutes, then creeping nearer."""
    light, camera = scene('corridor_1'), Camera(1.0)

    def with_thing(x: int) -> np.ndarray:
        made = light.copy()
        made[220:260, x : x + 20] += 40
        return made

    still = used_to(camera, with_thing(300))
    for number in range(60):
        assert still.changed(camera.shot(with_thing(300 + 3 * (number % 2)))) or number % 2 == 0
    still.keep()
    assert still.changed(camera.shot(with_thing(304))) == CHANGED


@pytest.mark.parametrize('step', [1, 3, 7, 20])
@pytest.mark.parametrize('contrast', [3.0, 8.0, 25.0])
def test_an_even_texture_that_moves_is_no_noise(step, contrast):
    """A carpet that fills the picture: wherever it is, two pictures of it differ alike."""
    random, camera = np.random.default_rng(1), Camera(1.0)
    grain = random.normal(0, 1, (480, 4000)).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 2.0)
    carpet = np.repeat((110 + contrast * grain / grain.std())[..., None], 3, axis=2)
    still = UnchangedPicture()
    for number in range(25):
        found = still.changed(camera.shot(carpet[:, step * number : step * number + 640]))
        assert found, number
        still.keep()


def test_pictures_without_noise_are_not_those_of_a_live_camera():
    light, camera = scene(), Camera()
    still = used_to(camera, light)
    stuck = camera.shot(light)
    still.changed(stuck)
    still.keep()
    assert [still.changed(stuck) for _ in range(20)] == [NO_NOISE] * 20


def test_a_picture_that_is_mostly_noise_tells_nothing():
    light, camera = np.full((480, 640, 3), 90, np.float32), Camera(3.0)
    light[200:280, 280:360] += 10
    still = used_to(camera, light)
    assert still.changed(camera.shot(light)) == NOISY


def test_another_size_begins_anew_and_a_tiny_picture_is_never_judged():
    light, camera = scene(), Camera()
    still = used_to(camera, light)
    assert still.changed(camera.shot(light[:400])) == NOTHING_KEPT
    still.keep()
    assert still.changed(camera.shot(light[:400])) == UNKNOWN_NOISE
    tiny = UnchangedPicture()
    assert {tiny.changed(camera.shot(light[:24, :32])) for _ in range(20)} == {SMALL}
    still.reset()
    assert still.changed(camera.shot(light)) == NOTHING_KEPT
