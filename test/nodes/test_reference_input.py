"""What a range sensor sends, however odd: points in the picture, or a reason why there are none."""

from __future__ import annotations

import contextlib
import dataclasses
import gc

import numpy as np
import pytest
from driving import header
from raw_messages import raw_messages
from scans import fields
from sensor_msgs.msg import LaserScan, PointCloud2, Range

from midas_depth_ros.geometry import CameraModel, CameraMount, ReferencePoints, Refusal
from midas_depth_ros.nodes.depth.metric_sources import (
    CALM_MESSAGES,
    MOST_POINTS,
    REFERENCE_KEPT_S,
    SPACING_S,
    ReferenceInput,
)
from midas_depth_ros.nodes.ros.boundary import Unreadable, deserialised
from midas_depth_ros.nodes.ros.messages import cloud_message
from midas_depth_ros.options.depth import DepthNodeSettings, MountOptions

CAMERA = CameraModel.from_field_of_view(64, 48, 1.5)
MOUNT = CameraMount(0.3, 0.1)


def settings() -> DepthNodeSettings:
    made = DepthNodeSettings()
    # In the body's frame ahead of the lens, as a lidar beside it.
    return dataclasses.replace(made, reference=dataclasses.replace(made.reference, z=0.3))


def scan() -> LaserScan:
    message = LaserScan(header=header(7))
    for name, value in fields(3.0).items():
        setattr(message, name, value if name != 'ranges' else [float(r) for r in value])
    return message


def cloud(count: int) -> PointCloud2:
    """Points on a wall 2 m ahead of the body."""
    across = np.linspace(-1, 1, count)
    xyz = np.stack([np.full(count, 2.0), across, np.full(count, 0.0)], axis=-1)
    points = xyz.astype(np.float32)[None]
    grey = np.zeros((1, count, 3), np.uint8)
    return cloud_message(points, grey, np.full((1, count), 0.01, np.float32), header(7))


GOOD = {
    'scan': scan(),
    'range': Range(header=header(7), range=1.0, max_range=4.0),
    'points': cloud(50),
}


@pytest.fixture
def points_of(ros):
    """What an input of a kind makes of a message."""

    def ask(source, message):
        made = ReferenceInput(ros.node, 'camera', source)
        made._on_message(message)
        return made.points(7 * 10**9, CAMERA, MOUNT, settings())

    return ask


@pytest.mark.parametrize('source', GOOD)
def test_a_good_message_gives_points(points_of, source):
    points = points_of(source, GOOD[source])
    assert isinstance(points, ReferencePoints)
    assert len(points) > 0


def test_sensors_that_take_turns_on_one_topic_give_nothing(ros):
    """As a ring of range finders: what one measures to the side is not ahead."""
    made = ReferenceInput(ros.node, 'camera', 'range')

    def hear(frame: str):
        message = Range(header=header(7), range=1.0, max_range=4.0)
        message.header.frame_id = frame
        made._on_message(message)
        return made.points(7 * 10**9, CAMERA, MOUNT, settings())

    assert len(hear('front')) > 0
    for _ in range(3):
        refused = hear('left')
        assert "several frames ('front', 'left')" in refused.reason
        assert isinstance(hear('front'), Refusal)
    assert [isinstance(hear('front'), Refusal) for _ in range(CALM_MESSAGES)].count(False) >= 1


@pytest.mark.parametrize('source', GOOD)
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_an_odd_message_gives_points_or_a_reason(points_of, source):
    read = 0
    for data in raw_messages(GOOD[source], 1500):
        with contextlib.suppress(Unreadable):
            message = deserialised(data, type(GOOD[source]))
            message.header = header(7)
            assert isinstance(points_of(source, message), (ReferencePoints, Refusal))
            read += 1
    assert read > 100


def test_of_millions_of_points_some_are_used(points_of):
    many, few = points_of('points', cloud(1_000_000)), points_of('points', cloud(10_000))
    assert len(few) > 1000
    assert 1000 < len(many) <= MOST_POINTS
    np.testing.assert_allclose([many.u.min(), many.u.max()], [few.u.min(), few.u.max()], atol=0.1)
    dense = scan()
    dense.ranges = np.repeat(np.array(dense.ranges), 5000).tolist()
    dense.angle_increment /= 5000
    assert 100 < len(points_of('scan', dense)) <= MOST_POINTS


def said(metres: float, stamp_s: float) -> Range:
    return Range(header=header(stamp_s), range=metres, max_range=4.0)


def metres_at(made: ReferenceInput, stamp_s: float, **changes) -> float | str:
    """What a range finder says of a picture of this stamp."""
    chosen = dataclasses.replace(settings(), **changes)
    points = made.points(round(stamp_s * 1e9), CAMERA, MOUNT, chosen)
    return points.reason if isinstance(points, Refusal) else float(np.median(points.z))


def test_a_picture_is_measured_by_the_message_of_its_stamp_not_by_the_newest(ros):
    made = ReferenceInput(ros.node, 'camera', 'range')
    for number in range(12):
        made._on_message(said(1.0 + 0.1 * number, 7.0 + 0.1 * number))
    for number in (0, 3, 11):
        found = metres_at(made, 7.02 + 0.1 * number)
        assert found == pytest.approx(metres_at(made, 7.0 + 0.1 * number))
        assert found < metres_at(made, 7.1 + 0.1 * number) or number == 11
    assert 's from the picture' in metres_at(made, 6.5)


def test_after_a_stamp_that_goes_back_only_new_messages_count(ros):
    made = ReferenceInput(ros.node, 'camera', 'range')
    made._on_message(said(1.0, 7.0))
    made._on_message(said(2.0, 3.0))
    assert '4.00 s from the picture' in metres_at(made, 7.0)


def test_of_messages_with_one_stamp_the_newest_counts(ros):
    """A clock that stands still: the sensor has moved on."""
    made = ReferenceInput(ros.node, 'camera', 'range')
    for metres in (1.0, 2.0):
        made._on_message(said(metres, 7.0))
    assert metres_at(made, 7.0) == pytest.approx(2.0, rel=0.2)


def test_large_clouds_do_not_fill_the_memory(ros):
    made = ReferenceInput(ros.node, 'camera', 'points')
    for number in range(10):
        message = cloud(500_000)
        message.header = header(7.0 + 0.1 * number)
        made._on_message(message)
    assert len(made._kept) == 10
    assert all(len(each.what) <= MOST_POINTS for each in made._kept)
    assert isinstance(made.points(round(7.35e9), CAMERA, MOUNT, settings()), ReferencePoints)


@pytest.mark.parametrize('hertz', [5, 20, 50, 100, 400, 1000])
@pytest.mark.parametrize('latency_s', [0.1, 0.6, 1.5, 2.5])
def test_of_a_fast_sensor_few_messages_are_kept_but_for_as_long(ros, hertz, latency_s):
    made = ReferenceInput(ros.node, 'camera', 'range')
    for number in range(4 * hertz):
        made._on_message(said(1.0, 7.0 + number / hertz))
    assert len(made._kept) <= 2 + REFERENCE_KEPT_S / SPACING_S
    picture_s = 11.0 - latency_s
    nearest = min(made._kept, key=lambda each: abs(each.stamp_ns / 1e9 - picture_s))
    assert abs(nearest.stamp_ns / 1e9 - picture_s) <= max(0.5 / hertz, SPACING_S) + 1e-6
    assert isinstance(metres_at(made, picture_s), float)


def test_a_message_that_was_overtaken_is_put_in_its_place(ros):
    made = ReferenceInput(ros.node, 'camera', 'range')
    order = (0, 1, 2, 4, 3, 5, 7, 8, 6, 9)
    for number in order:
        made._on_message(said(1.0 + 0.1 * number, 7.0 + 0.1 * number))
    stamps = [each.stamp_ns for each in made._kept]
    assert stamps == sorted(stamps)
    for number in order:
        alone = ReferenceInput(ros.node, 'camera', 'range')
        alone._on_message(said(1.0 + 0.1 * number, 7.0))
        assert metres_at(made, 7.0 + 0.1 * number) == pytest.approx(metres_at(alone, 7.0))


@pytest.mark.parametrize('back_s', [0.343, 0.493, 0.893])
@pytest.mark.parametrize('hertz', [10, 40])
def test_after_a_clock_that_is_set_back_a_little_only_new_messages_count(ros, back_s, hertz):
    """A robot that drives at a wall: before, it was farther away at the same stamp."""
    made = ReferenceInput(ros.node, 'camera', 'range')
    for number in range(hertz):
        made._on_message(said(3.0, 7.0 + number / hertz))
    for number in range(hertz, hertz + 4):
        made._on_message(said(1.0, 7.0 - back_s + number / hertz))
    newest_s = 7.0 - back_s + (hertz + 3) / hertz
    for later_s in (-1 / hertz, 0.0, 0.07, 0.15):
        assert metres_at(made, newest_s + later_s) == pytest.approx(1.0, rel=0.2)


def test_invalid_clouds_do_not_fill_the_memory(ros):
    """Not even through an exception, which holds on to what was being read."""
    made = ReferenceInput(ros.node, 'camera', 'points')

    def clouds() -> int:
        gc.collect()
        return sum(type(each) is PointCloud2 for each in gc.get_objects())

    before = clouds()
    for number in range(5):
        message = cloud(50)
        message.header = header(7.0 + 0.1 * number)
        message.fields = message.fields[:1]
        made._on_message(message)
    del message
    assert clouds() <= before
    assert 'no float32 field' in made.points(7 * 10**9, CAMERA, MOUNT, settings()).reason


def test_a_stamp_that_is_frozen_behind_others_does_not_fill_the_memory(ros):
    made = ReferenceInput(ros.node, 'camera', 'range')
    made._on_message(said(1.0, 7.0))
    made._on_message(said(1.0, 7.5))
    for number in range(1000):
        made._on_message(said(1.0, 7.2 + 1e-6 * number))
    assert len(made._kept) <= 3


def test_what_is_long_past_is_not_kept(ros):
    made = ReferenceInput(ros.node, 'camera', 'range')
    for number in range(5):
        made._on_message(said(1.0, 7.0 + 0.1 * number))
    made._on_message(said(1.0, 8.0 + REFERENCE_KEPT_S))
    assert len(made._kept) == 1


@pytest.mark.parametrize('same_way', [False, True])
def test_one_sensor_for_cameras_that_look_other_ways_is_refused(ros, monkeypatch, same_way):
    """reference.* is its place in one body frame: the others would take it for another."""
    frames = {'camera': 'below_camera', 'left': 'below_camera' if same_way else 'below_left'}
    mounts = {name: MountOptions(body_frame=frame) for name, frame in frames.items()}
    chosen = {'cameras': ('camera', 'left'), 'mounts': mounts}
    monkeypatch.setattr(ros.node, 'resolve_topic_name', lambda name: '/lidar/range')  # remapped
    made = ReferenceInput(ros.node, 'camera', 'range')
    made._on_message(said(1.0, 7.0))
    found = metres_at(made, 7.0, **chosen)
    if same_way:
        assert found == pytest.approx(1.0, rel=0.2)
    else:
        assert 'is also the sensor of left' in found
        assert 'remap it to one camera alone' in found
