"""Frames that move: a pose is that of the stamp and of the way between two frames, or none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from frames import LEVEL, OPTICAL, SECOND, add, matrix_of, turned

from midas_depth_ros.geometry import TransformFault, TransformTree


@pytest.fixture
def tree() -> TransformTree:
    """A robot that turns while it drives along x, and its camera."""
    made = TransformTree()
    for i in range(21):  # 20 Hz from 10 to 11 s
        add(made, 'odom', 'base', 10 + i / 20, (0.5 * i / 20, 0.1, 0.0), turned(0.4 * i / 20))
    add(made, 'base', 'mast', None, (0.2, 0.0, 0.3), turned(0.1))
    add(made, 'mast', 'optical', None, (0.0, 0.02, 0.0), OPTICAL)
    return made


def at(tree, target, source, stamp_s) -> np.ndarray:
    return tree.lookup(target, source, round(stamp_s * SECOND)).matrix()


def test_a_pose_is_interpolated_at_its_stamp_through_all_frames_between(tree):
    share = 0.513
    odom = matrix_of((0.5 * share, 0.1, 0.0), turned(0.4 * share))
    mast, lens = matrix_of((0.2, 0, 0.3), turned(0.1)), matrix_of((0, 0.02, 0), OPTICAL)
    np.testing.assert_allclose(at(tree, 'odom', 'optical', 10.513), odom @ mast @ lens, atol=1e-12)
    other_way = at(tree, 'optical', 'odom', 10.513)
    np.testing.assert_allclose(other_way, np.linalg.inv(odom @ mast @ lens), atol=1e-12)
    np.testing.assert_allclose(at(tree, 'base', 'optical', 999.0), mast @ lens, atol=1e-12)


def test_two_branches_meet_below_what_is_out_of_time(tree):
    """The map was last heard of long ago: the way from the wheel to the lens is known."""
    for stamp_s in (1.0, 2.0):
        add(tree, 'map', 'odom', stamp_s, (9.0, 9.0, 0.0))
    add(tree, 'base', 'wheel', 10.0, (0.0, 0.3, 0.0))
    add(tree, 'base', 'wheel', 11.0, (0.0, 0.3, 0.2))
    found = at(tree, 'wheel', 'mast', 10.5)
    np.testing.assert_allclose(found[:3, 3], (0.2, -0.3, 0.2), atol=1e-12)
    with pytest.raises(TransformFault, match=r"the newest of 'odom' in 'map' is 8\.50 s older"):
        at(tree, 'map', 'base', 10.5)


@pytest.mark.parametrize(
    ('stamp_s', 'words'),
    [(9.7, r"the oldest of 'base' in 'odom' is 0\.30 s newer"), (11.4, r'is 0\.40 s older')],
)
def test_nothing_is_extrapolated(tree, stamp_s, words):
    with pytest.raises(TransformFault, match=words):
        at(tree, 'odom', 'optical', stamp_s)


def test_what_is_unknown_is_said():
    tree = TransformTree()
    with pytest.raises(TransformFault, match='nothing was heard on /tf and /tf_static'):
        at(tree, 'odom', 'base', 1.0)
    add(tree, 'odom', 'base', 1.0)
    add(tree, 'stand', 'laser', None)
    with pytest.raises(TransformFault, match=r"no frame 'map'; there are: 'base', 'laser', 'odom'"):
        at(tree, 'map', 'base', 1.0)
    with pytest.raises(TransformFault, match=r"nothing connects the tree of 'laser' \(root 'stand"):
        at(tree, 'odom', 'laser', 1.0)
    for i in range(30):
        add(tree, 'odom', f'wheel{i}', None)
    with pytest.raises(TransformFault, match='and 26 more'):
        at(tree, 'map', 'base', 1.0)


def test_a_loop_ends():
    tree = TransformTree()
    for parent, child in (('a', 'b'), ('b', 'c'), ('c', 'a')):
        add(tree, parent, child, None)
    add(tree, 'far', 'away', None)
    with pytest.raises(TransformFault, match='hang in a loop at'):
        at(tree, 'far', 'a', 1.0)
    assert len(tree.ancestors('a')) < 5000


def test_a_child_that_changes_its_parent_hangs_where_it_hung(tree):
    add(tree, 'base', 'cup', 10.0, (1.0, 0, 0))
    add(tree, 'base', 'cup', 10.4, (1.0, 0, 0))
    add(tree, 'mast', 'cup', 10.5, (0.0, 0, 0))
    add(tree, 'mast', 'cup', 10.9, (0.0, 0, 0))
    np.testing.assert_allclose(at(tree, 'base', 'cup', 10.45)[:3, 3], (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(at(tree, 'base', 'cup', 10.6)[:3, 3], (0.2, 0, 0.3), atol=1e-12)


@pytest.mark.parametrize(
    ('parent', 'child', 'place', 'turn', 'words'),
    [
        ('odom', 'base', (math.nan, 0, 0), LEVEL, 'is not a place'),
        ('odom', 'base', (0, math.inf, 0), LEVEL, 'is not a place'),
        ('odom', 'base', (0, 0, 0), (0, 0, 0, 0), r'orientation \(0, 0, 0, 0\) is not a unit'),
        ('odom', 'base', (0, 0, 0), (0, 0, 0, math.nan), 'is not a place'),
        ('', 'base', (0, 0, 0), LEVEL, 'is not a pair of different, named frames'),
        ('base', '/base', (0, 0, 0), LEVEL, 'is not a pair of different, named frames'),
        ('odom', 'b' * 300, (0, 0, 0), LEVEL, 'more than 255 letters'),
    ],
)
def test_what_is_no_transform_is_refused_and_named_where_it_is_missed(
    parent, child, place, turn, words
):
    tree = TransformTree()
    with pytest.raises(TransformFault, match=words):
        add(tree, parent, child, 1.0, place, turn)
    assert tree.frames() == []
    with pytest.raises(TransformFault, match=words):
        at(tree, 'odom', child.removeprefix('/'), 1.0)


def test_a_transform_without_a_stamp_is_refused(tree):
    with pytest.raises(TransformFault, match="'base' in 'odom' has no stamp"):
        add(tree, 'odom', 'base', 0.0)
    assert tree.epoch('odom', 'base') == (0, '')


def test_stamps_far_back_begin_anew(tree):
    """A recording that plays again: what was heard of its first time is gone."""
    assert tree.epoch('odom', 'optical') == (0, '')
    add(tree, 'odom', 'base', 3.0, (7.0, 0.0, 0.0))
    assert tree.epoch('odom', 'optical') == (1, 'its stamps went back by 8.0 s')
    assert at(tree, 'odom', 'base', 3.0)[0, 3] == 7.0
    with pytest.raises(TransformFault, match='older'):
        at(tree, 'odom', 'base', 10.5)  # of the time before


@pytest.mark.parametrize('back_s', [0.3, 0.5, 0.9])
def test_a_clock_that_is_set_back_a_little_begins_anew(back_s):
    tree = TransformTree()
    for i in range(100):
        add(tree, 'odom', 'base', 10 + i / 50, (0.2 * i / 50, 0.0, 0.0))
    for i in range(100, 110):
        add(tree, 'odom', 'base', 10 - back_s + i / 50, (0.2 * i / 50, 0.0, 0.0))
    count, words = tree.epoch('odom', 'base')
    assert count == 1
    assert 'its stamps went back by' in words
    newest_s = 10 - back_s + 109 / 50
    assert at(tree, 'odom', 'base', newest_s)[0, 3] == pytest.approx(0.2 * 109 / 50)
    with pytest.raises(TransformFault, match='older'):
        at(tree, 'odom', 'base', newest_s + 0.1)
    for i in range(110, 300):
        add(tree, 'odom', 'base', 10 - back_s + i / 50, (0.2 * i / 50, 0.0, 0.0))
    assert tree.epoch('odom', 'base')[0] == 1


@pytest.mark.parametrize('ahead_s', [0.2, 0.5])
@pytest.mark.parametrize('every', [4, 7])
def test_a_publisher_that_stamps_ahead_of_another_is_noticed(ahead_s, every):
    """Its messages are no clock that is set back again and again."""
    tree = TransformTree()
    for i in range(200):
        add(tree, 'odom', 'base', 10 + i / 50, (0.2 * i / 50, 0.0, 0.0))
        if i % every == 0:
            add(tree, 'odom', 'base', 10 + i / 50 + ahead_s, (0.2 * i / 50, 0.5, 0.0))
    assert tree.epoch('odom', 'base')[0] <= 1
    assert tree.flipping('odom', 'base') == 'base'


def test_a_transform_that_was_overtaken_is_taken_in_at_its_place(tree):
    add(tree, 'odom', 'base', 10.225, (3.0, 0.1, 0.0))
    assert at(tree, 'odom', 'base', 10.225)[0, 3] == 3.0
    assert at(tree, 'odom', 'base', 10.9)[0, 3] == pytest.approx(0.45)
    assert tree.epoch('odom', 'base') == (0, '')


def test_when_the_way_is_known_and_how_far_its_messages_are_apart(tree):
    assert tree.span('odom', 'optical') == (10 * SECOND, 11 * SECOND)
    assert tree.span('base', 'optical') is None
    assert tree.gap_s('odom', 'optical', 10 * SECOND) == 0
    assert tree.gap_s('odom', 'optical', round(10.513 * SECOND)) == pytest.approx(0.05)
    assert tree.gap_s('base', 'optical', 5) == 0
    add(tree, 'map', 'odom', 10.2)
    add(tree, 'map', 'odom', 10.9)
    assert tree.span('map', 'optical') == (round(10.2 * SECOND), round(10.9 * SECOND))
    assert tree.gap_s('map', 'optical', round(10.513 * SECOND)) == pytest.approx(0.7)
    add(tree, 'earth', 'map', 50.0)
    with pytest.raises(TransformFault, match="'odom' is not known at the same time as 'map', but"):
        tree.span('earth', 'optical')


def test_ten_seconds_are_kept(tree):
    for i in range(400):
        add(tree, 'odom', 'base', 11 + i / 20, (0.0, 0.0, 0.0))
    first, last = tree.span('odom', 'base')
    assert (last - first) / SECOND == pytest.approx(10.0)


def test_a_frame_may_become_static_and_move_again(tree):
    add(tree, 'base', 'mast', 10.2, (0.0, 0.0, 1.0))
    assert tree.span('base', 'mast') == (round(10.2 * SECOND),) * 2
    add(tree, 'base', 'mast', None, (0.0, 0.0, 2.0))
    assert at(tree, 'base', 'mast', 77.0)[2, 3] == 2.0


def test_ancestors_tell_which_links_move(tree):
    assert tree.ancestors('optical') == [('mast', False), ('base', False), ('odom', True)]
    assert tree.knows('odom')
    assert not tree.knows('map')


def test_a_slash_of_old_is_no_part_of_a_name(tree):
    add(tree, '/base', '/old', None, (0.0, 0.0, 2.0))
    assert at(tree, 'odom', '/old', 10.0)[2, 3] == 2.0
    assert tree.knows('/old')
    assert tree.ancestors('/old')[0] == ('base', False)


def test_made_up_frames_do_not_fill_the_memory():
    tree = TransformTree()
    for i in range(2000):
        add(tree, 'odom', f'f{i}', None)
    with pytest.raises(TransformFault, match='is one frame more than 2000'):
        add(tree, 'odom', 'one more', None)
    add(tree, 'odom', 'f7', None, (1.0, 0.0, 0.0))  # those that are known go on
    assert at(tree, 'odom', 'f7', 1.0)[0, 3] == 1.0


# --- Two publishers of one transform, as where wheels and a filter both give odom to base.


def mixed(offset_m: float, rate_hz: float = 20.0, parents=('odom', 'odom')) -> TransformTree:
    """A robot drives along x; every second message comes from somebody else."""
    tree = TransformTree()
    for i in range(20):
        x = 0.5 * i / rate_hz + offset_m * (i % 2)
        add(tree, parents[i % 2], 'base', 10 + i / rate_hz, (x, 0.0, 0.0))
    add(tree, 'map', 'odom', None)
    return tree


@pytest.mark.parametrize('offset_m', [0.1, 0.3, -0.5, 4.0])
def test_two_places_by_turns_are_noticed(offset_m):
    assert mixed(offset_m).flipping('odom', 'base') == 'base'
    assert mixed(0.0, parents=('odom', 'map')).flipping('map', 'base') == 'base'


def test_a_rare_second_publisher_among_many_messages_is_noticed_late_ones_too():
    tree = TransformTree()
    for i in range(200):  # 200 Hz, and one of 20 Hz that comes a little late
        add(tree, 'odom', 'base', 10 + i / 200, (0.5 * i / 200, 0.0, 0.0))
        if i % 10 == 9:
            add(tree, 'odom', 'base', 10 + (i - 2.5) / 200, (0.5 * i / 200, 0.2, 0.0))
    assert tree.flipping('odom', 'base') == 'base'


def test_two_places_at_each_stamp_are_noticed():
    tree = TransformTree()
    for i in range(20):
        for y_m in (0.0, 0.2):
            add(tree, 'odom', 'base', 10 + i / 20, (0.5 * i / 20, y_m, 0.0))
    assert tree.flipping('odom', 'base') == 'base'
    for i in range(20, 60):
        add(tree, 'odom', 'base', 10 + i / 20, (0.5 * i / 20, 0.2, 0.0))
    assert tree.flipping('odom', 'base') == ''


def test_a_robot_that_drives_turns_or_trembles_is_in_one_place():
    assert mixed(0.0).flipping('odom', 'base') == ''
    assert mixed(0.003).flipping('odom', 'base') == ''  # what a filter corrects
    swinging = TransformTree()
    for i in range(60):  # to and fro twice a second, 10 cm each way
        add(swinging, 'odom', 'base', 10 + i / 20, (0.1 * math.sin(2 * math.tau * i / 20), 0, 0))
    assert swinging.flipping('odom', 'base') == ''
    once = TransformTree()
    for i in range(40):  # set anew once
        add(once, 'odom', 'base', 10 + i / 20, (0.02 * i + 3 * (i > 35), 0, 0))
    assert once.flipping('odom', 'base') == ''
