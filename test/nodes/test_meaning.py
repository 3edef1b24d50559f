"""What the shipped model means, asked over the running node: pictures in, depth and closeness out.

`test/depth/test_embedded_meaning.py` asks the model alone, of more scenes and changes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from driving import DEPTH, header, send_until, stamp, values
from geometry_msgs.msg import Vector3Stamped
from known_scenes import CARTON, CRATE, FLOORS, box, jpeg, order_kept, scene_of, view, within
from sensor_msgs.msg import CompressedImage, Image

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.nodes.ros.messages import image_message, jpeg_message

APPROACH_M = (3.2, 2.2, 1.5, 1.05)


@pytest.fixture
def estimator():
    """The node closes what it was given, so every test has its own."""
    return load_estimator('embedded')


def answers(ros, kind: type, topic: str, pictures: list[np.ndarray]) -> list:
    """What the node publishes for each of these pictures, a second of stamps apart."""
    received = ros.collect(kind, topic)
    publisher = ros.publisher(Image, 'camera/image_raw')
    for number, rgb in enumerate(pictures):
        send_until(ros, publisher, lambda _: image_message(rgb, header(100 + number)), received)  # noqa: B023
        ros.spin_until(lambda: stamp(received[-1]) == 100 + number)  # noqa: B023
    latest = {stamp(message): message for message in received}
    return [latest[100 + number] for number in range(len(pictures))]


def test_the_nearer_of_two_boxes_comes_out_nearer(ros, start):
    start()
    scenes = [
        scene_of(box(1.3, 0.4 * side, CRATE), box(3.0, -0.6 * side, CARTON)) for side in (1, -1)
    ]
    messages = answers(ros, Image, DEPTH, [view(scene).rgb for scene in scenes])
    for scene, message in zip(scenes, messages, strict=True):
        depth = values(message)
        assert depth[within(scene, 0)].mean() > 1.2 * depth[within(scene, 1)].mean()


@pytest.mark.parametrize('side', ['left', 'right'])
def test_an_approaching_box_raises_closeness_in_its_sector(ros, start, side):
    y = 0.28 if side == 'left' else -0.28
    approach = [view(scene_of(box(x, y * x, CRATE, 0.4))).rgb for x in APPROACH_M]
    mirrored = [np.ascontiguousarray(rgb[:, ::-1]) for rgb in approach]
    start()
    here, there = ('x', 'z') if side == 'left' else ('z', 'x')
    for sector, pictures in ((here, approach), (there, mirrored)):
        messages = answers(ros, Vector3Stamped, 'camera/closeness', pictures)
        closeness = [getattr(message.vector, sector) for message in messages]
        assert closeness[-1] > closeness[0] + 0.2, closeness
        assert closeness == sorted(closeness), closeness


def test_the_empty_floor_falls_off_with_distance(ros, start):
    start()
    rendering = view(scene_of(floor=next(iter(FLOORS))))
    (message,) = answers(ros, Image, DEPTH, [rendering.rgb])
    height, width = rendering.depth_z.shape
    middle = values(message)[:, width // 3 : 2 * width // 3].mean(axis=1)
    rows = np.flatnonzero(rendering.floor_mask.all(axis=1))[:: height // 24]
    assert len(rows) > 8
    assert (np.diff(middle[rows]) > 0).all(), middle[rows]


@pytest.mark.parametrize(('quality', 'bound'), [(90, 0.98), (30, 0.95)])
def test_a_compressed_camera_gives_the_same_order(ros, start, quality, bound):
    start(transport='compressed')
    rgb = view(scene_of(box(1.4, 0.5), box(2.4, -0.5, CRATE))).rgb
    received = ros.collect(Image, DEPTH)
    publisher = ros.publisher(CompressedImage, 'camera/image_raw/compressed')
    send_until(ros, publisher, lambda i: jpeg_message(rgb, header(5 + i), quality), received)
    assert not np.array_equal(jpeg(rgb, quality), rgb)
    assert order_kept(load_estimator('embedded').estimate(rgb), values(received[0])) > bound


def test_a_picture_upside_down_does_not_stop_the_node(ros, start):
    start()
    rgb = view(scene_of(box(1.4, 0.5))).rgb
    pictures = [np.ascontiguousarray(rgb[::-1]), rgb]
    messages = answers(ros, Vector3Stamped, 'camera/closeness', pictures)
    upright = messages[1].vector
    assert not any(math.isnan(value) for value in (upright.x, upright.y, upright.z))
