"""What TF of a recording says is taken where nothing else is given, and is as good as numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import ros_helpers  # noqa: F401 - before the first message, see there
from bags import JAZZY, write_bag
from frames import add, matrix_of, quaternion_of, recorded, tf_message, turned

from midas_depth_ros.geometry import CameraMount, TransformTree
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.lab.evaluate.robot_frames import BELOW, robot_frames
from midas_depth_ros.lab.evaluate.truth import Place
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings

from .conftest import HEIGHT_M, PITCH_RAD, DepthOfPictures

DEPTH = '/camera/depth_true/image'
EYE, LIDAR = 'camera_optical_frame', 'lidar'
AHEAD_M, LEFT_M = 0.2, 0.05  # the lens, from the frame on the floor
UNKNOWN = {'camera_height': math.nan, 'camera_pitch': math.nan}


def mounted(floor: str = 'base_footprint', yaw: float = 0.0) -> list:
    """The static transforms of a robot whose axle is 0.1 m high, with lens and lidar."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    eye = quaternion_of(turn @ CameraMount(HEIGHT_M, PITCH_RAD).body_axes())
    lens = (AHEAD_M, LEFT_M, HEIGHT_M - 0.1)
    return [
        recorded(floor, 'base_link', 0, (0, 0, 0.1)),
        recorded('base_link', EYE, 0, lens, eye),
        recorded('base_link', LIDAR, 0, (*lens[:2], 0.05), turned(yaw)),
    ]


def with_tf(source: Path, target: Path, static: list, floor: str = 'base_footprint') -> Path:
    """The same drive with /tf and /tf_static in place of /odom; the lens is where it was."""
    messages = []
    for kept in BagMessages(source).read(list(BagMessages(source).topics)):
        message = JAZZY.deserialize_cdr(kept.data, kept.kind)
        if kept.topic != '/odom':
            messages.append((kept.time_ns, kept.topic, message))
            continue
        p, q = message.pose.pose.position, message.pose.pose.orientation
        body = matrix_of((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
        place = (body @ np.array([-AHEAD_M, -LEFT_M, 0, 1]))[:3]
        moved = recorded('odom', floor, 0, place, (q.x, q.y, q.z, q.w))
        moved = dataclasses.replace(
            moved, header=dataclasses.replace(message.header, frame_id='odom')
        )
        messages.append((kept.time_ns, '/tf', tf_message(moved)))
    # Recorded last, as by a recorder that finds its publisher late.
    messages.append((messages[-1][0] + 1, '/tf_static', tf_message(*static)))
    return write_bag(target, messages)


@pytest.fixture(scope='module')
def slipping(recordings, tmp_path_factory):
    """A drive with wheels that slip by a fifth, as recorded and with TF."""
    source = recordings('slip')
    return source, with_tf(source, tmp_path_factory.mktemp('tf') / 'bag', mounted())


def figures(run) -> tuple:
    depth = run.figures['depth']
    return run.figures['in_metres'], depth['bias'], depth['abs_rel']


def test_odometry_by_tf_is_as_good_as_by_messages(slipping, compare):
    plain, by_frames = slipping

    def network(settings):
        return DepthOfPictures(plain)

    given = {'source': 'odometry', 'make_estimator': network}
    expected = figures(compare(plain, DEPTH, odometry__topic='/odom', **given)[1])
    report, run = compare(by_frames, DEPTH, **given, **UNKNOWN)
    assert figures(run) == pytest.approx(expected, abs=0.003)
    assert run.figures['depth']['bias'] == pytest.approx(0.2, abs=0.02)  # the slip
    mount, odometry = report['notes'][:2]
    assert mount == (
        "The mount of the camera is that of TF: 0.300 m above 'base_footprint', 14.3 degrees "
        'down, rolled by 0.0 degrees.'
    )
    assert odometry == "The odometry is that of TF: how the robot moves in 'odom'."


@pytest.mark.parametrize('yaw', [0.6, pytest.param(0.0, marks=pytest.mark.thorough)])
def test_the_mount_and_the_place_of_the_truth_are_those_of_tf(recordings, compare, tmp_path, yaw):
    """Also of a camera that looks to the side, beside a lidar that is turned as well."""
    source = recordings('room')
    path = with_tf(source, tmp_path / 'bag', mounted(yaw=yaw))
    expected = compare(source, '/scan', source='ground_plane')[1]
    report, run = compare(path, '/scan', source='ground_plane', placed=False, **UNKNOWN)
    assert figures(run) == pytest.approx(figures(expected), abs=1e-3)
    assert run.figures['corridor'] == pytest.approx(expected.figures['corridor'], abs=1e-3)
    assert run.figures['in_metres'] == 32
    assert 'at x 0, y 0, z 0.15 m, yaw 0, pitch 0 degrees' in report['truth']['text']
    assert "The place of the truth, frame 'lidar', is that of TF." in report['notes']


def test_without_a_frame_on_the_floor_no_height_is_made_up(recordings, compare, tmp_path):
    """base_link is often at the axle: a height above it would make all metres too near."""
    path = with_tf(recordings('room'), tmp_path / 'bag', mounted('base'), 'base')
    with pytest.raises(CommandError, match='does not say which frame is on the floor') as error:
        compare(path, '/scan', placed=False, **UNKNOWN)
    assert "'lidar', whose place is not known" in str(error.value)
    assert '-p body_frame:=NAME' in str(error.value)
    report, run = compare(
        path, '/scan', source='ground_plane', placed=False, body_frame='base', **UNKNOWN
    )
    assert run.figures['in_metres'] == 32
    assert run.figures['depth']['bias'] == pytest.approx(0.0, abs=0.01)
    assert "0.300 m above 'base'" in report['notes'][0]


# --- Which frames are taken.


def settings(**parameters) -> DepthNodeSettings:
    return build(DepthNodeSettings, parameters)


def found(tmp_path, static, moving=(), given=(), sources=('auto',), odom=False, **parameters):
    """What is taken from a bag with these transforms."""
    messages = [(1, '/tf_static', tf_message(*static))] if static else []
    messages += [(2 + i, '/tf', tf_message(each)) for i, each in enumerate(moving)]
    empty = {'/odom': 'nav_msgs/msg/Odometry'} if odom else {'/nothing': 'std_msgs/msg/String'}
    path = write_bag(tmp_path / 'bag', messages, empty_topics=empty)
    bag = BagMessages(path)
    return robot_frames(bag, 'camera', EYE, settings(**parameters), set(given), sources)


def test_without_tf_nothing_changes(tmp_path):
    made = found(tmp_path, [])
    assert made.settings == settings()
    assert made.notes == ()
    assert made.place(LIDAR) is None


def test_what_is_given_is_kept(tmp_path):
    own = {'camera_height': 0.5, 'camera_pitch': 0.1, 'odometry.topic': 'odom'}
    moving = [recorded('odom', 'base_footprint', 5 + i, (i, 0, 0)) for i in range(2)]
    made = found(tmp_path, mounted(), moving, own, **own)
    assert made.notes == ()
    assert not made.settings.mount_from_tf
    assert made.settings.camera_height == 0.5
    assert made.settings.odometry.fixed_frame == ''
    assert made.place(LIDAR) == Place(z_m=0.15)


def test_the_fixed_frame_is_odom_or_the_nearest_in_which_the_robot_moves(tmp_path):
    def moving(*chain):
        return [
            recorded(parent, child, 5 + i, (i, 0, 0))
            for parent, child in itertools.pairwise(chain)
            for i in range(2)
        ]

    chains = {
        'odom': ('map', 'odom', 'base_footprint'),
        'world': ('world', 'base_footprint'),
        'start': ('map', 'start', 'base_footprint'),
    }
    for number, (fixed, chain) in enumerate(chains.items()):
        made = found(tmp_path / str(number), mounted(), moving(*chain))
        assert made.settings.odometry.fixed_frame == fixed
    still = found(tmp_path / 'still', [*mounted(), recorded('odom', 'base_footprint', 0)])
    assert still.settings.odometry.fixed_frame == ''
    ground = found(tmp_path / 'ground', mounted(), moving(*chains['odom']), (), ['ground_plane'])
    assert ground.settings.odometry.fixed_frame == ''


def test_odometry_that_was_recorded_is_named_and_not_replaced(tmp_path):
    moving = [recorded('odom', 'base_footprint', 5 + i, (i, 0, 0)) for i in range(2)]
    made = found(tmp_path, mounted(), moving, odom=True)
    assert made.settings.odometry.fixed_frame == ''
    assert '-p odometry.topic:=/odom uses it' in made.notes[0]


def test_a_sensor_that_moves_on_the_robot_has_no_place(tmp_path):
    moving = [recorded('base_link', 'head_lidar', 5 + i, (0, 0, 1)) for i in range(2)]
    made = found(tmp_path, mounted(), moving)
    assert made.place('head_lidar') is None
    assert made.place('nobody') is None
    assert made.place('base_footprint') == Place(-AHEAD_M, -LEFT_M)


def test_a_lidar_that_hangs_upside_down_is_placed_so(tmp_path):
    hung = recorded('base_link', 'hung', 0, (AHEAD_M, LEFT_M, 0.3), (1, 0, 0, 0))
    place = found(tmp_path, [*mounted(), hung]).place('hung')
    assert abs(place.roll_rad) == pytest.approx(math.pi, abs=1e-3)
    left_of_it = place.body_from_sensor() @ np.array([1.0, 0.5, 0.0, 1.0])
    np.testing.assert_allclose(left_of_it[:3], (1.0, -0.5, 0.4), atol=1e-3)


@pytest.mark.parametrize(
    ('static', 'words'),
    [
        ([recorded('base_footprint', 'base_link', 0)], "the frame of the pictures, 'camera_op"),
        ([recorded('rig', EYE, 0)], "there is no base_footprint above 'camera_optical_frame'"),
        (
            [recorded('base_footprint', EYE, 0, (0, 0, -0.2), (-0.5, 0.5, -0.5, 0.5))],
            'camera height is -0.2',
        ),
    ],
)
def test_what_tf_cannot_say_is_said(tmp_path, static, words):
    made = found(tmp_path, static)
    assert words in made.notes[0]
    assert not made.settings.mount_from_tf


def test_the_pass_begins_with_the_frame_below_the_lens_alone(tmp_path):
    moving = [recorded('odom', 'base_footprint', 5 + i, (i, 0, 0)) for i in range(2)]
    tree = found(tmp_path, mounted(), moving).beginning()
    assert tree.frames() == ['base_footprint', BELOW]
    add(other := TransformTree(), 'base_footprint', BELOW, None, (AHEAD_M, LEFT_M, 0))
    np.testing.assert_allclose(
        tree.lookup('base_footprint', BELOW, 1).matrix(),
        other.lookup('base_footprint', BELOW, 1).matrix(),
        atol=1e-9,
    )
