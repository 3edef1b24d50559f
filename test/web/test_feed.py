"""Facts are valid for their lifetime, and are always valid JSON."""

from __future__ import annotations

import asyncio
import json
import math
import threading

import pytest

from midas_depth_ros.web.errors import Faults
from midas_depth_ros.web.feed import MOST_FACTS, MOST_STREAMS, Feed, FeedPosition, Picture, to_json
from midas_depth_ros.web.limits import Jobs, Limits


@pytest.fixture
def now() -> list[float]:
    """The time of the clock of `feed`."""
    return [100.0]


@pytest.fixture
def feed(now) -> Feed:
    return Feed(lambda: now[0])


def news(feed: Feed, seen: FeedPosition) -> dict:
    return json.loads(f'{{{feed.changes_since(seen)}}}')


def test_a_fact_expires_by_itself(feed, now):
    feed.set_fact('nearest', 4.48, 2.0)
    feed.set_fact('present', True, 3.0, otherwise=False)
    feed.set_fact('name', 'depth_node')
    now[0] += 2.0
    assert feed.facts() == {'nearest': 4.48, 'present': True, 'name': 'depth_node'}
    now[0] += 0.5
    assert feed.facts() == {'nearest': None, 'present': True, 'name': 'depth_node'}
    now[0] += 1000.0
    assert feed.facts() == {'nearest': None, 'present': False, 'name': 'depth_node'}
    assert feed.ages()['nearest'] == {'age_s': 1002.5, 'lifetime_s': 2.0, 'silent': True}
    assert feed.ages()['name'] == {'age_s': 1002.5, 'lifetime_s': None, 'silent': False}


def test_what_is_told_again_lives_on(feed, now):
    for _ in range(5):
        feed.set_fact('nearest', 4.48, 2.0)
        now[0] += 1.5
    assert feed.facts() == {'nearest': 4.48}
    assert feed.ages()['nearest']['age_s'] == 1.5


def test_news_are_what_changed_and_how_old_all_is_that_was_told(feed, now):
    seen = FeedPosition()
    feed.set_fact('a', 1, 2.0)
    feed.set_fact('b', 1, 2.0)
    first = news(feed, seen)
    assert (first['a'], first['b']) == (1, 1)
    assert not feed.has_changes_since(seen)
    assert feed.changes_since(seen) == ''
    now[0] += 1.0
    feed.set_fact('a', 2, 2.0)
    feed.set_fact('b', 1, 2.0)
    second = news(feed, seen)
    assert second.pop('heard').keys() == {'a', 'b'}
    assert second == {'a': 2}


def test_what_comes_back_after_silence_is_news_though_it_is_the_same(feed, now):
    seen = FeedPosition()
    feed.set_fact('a', 1, 2.0)
    now[0] += 3.0
    assert news(feed, seen)['a'] is None  # a browser that connects late
    feed.set_fact('a', 1, 2.0)
    assert news(feed, seen)['a'] == 1


def test_what_holds_on_is_told_once(feed):
    seen = FeedPosition()
    feed.set_fact('name', 'depth_node')
    news(feed, seen)
    feed.set_fact('name', 'depth_node')
    assert not feed.has_changes_since(seen)
    feed.remove_fact('name')
    assert feed.facts() == {}


@pytest.mark.parametrize(
    ('value', 'told'),
    [
        (math.nan, None),
        (-math.inf, None),
        ([1.0, math.nan, [math.inf]], [1.0, None, [None]]),
        ({'a': math.nan, 'b': {'c': (1, math.inf)}}, {'a': None, 'b': {'c': [1, None]}}),
        (10**30, None),
        (2**53, 2**53),
        (True, True),
        ('\ud800 a\x1b[31m\u202eb\r\nc', '\ufffd a\ufffd[31m\ufffdb c'),
        ({'\ud800': 'x' * 10_000}, {'\ufffd': 'x' * 497 + '...'}),
        ('größe 深度 🙂', 'größe 深度 🙂'),
    ],
)
def test_every_value_is_what_json_and_a_page_can_take(feed, value, told):
    feed.set_fact('a', value)
    assert feed.facts() == {'a': told}
    assert json.loads(to_json(value)) == told


@pytest.mark.parametrize('value', [object(), b'bytes', {1, 2}, [0] * 100_000, [[[[[[[[1]]]]]]]]])
def test_what_cannot_be_told_is_refused_and_what_was_told_stays(feed, value):
    feed.set_fact('a', 1, 2.0)
    with pytest.raises((TypeError, ValueError)):
        feed.set_fact('a', value, 2.0)
    assert feed.facts() == {'a': 1}


def test_facts_and_streams_are_bounded(feed):
    for number in range(MOST_FACTS):
        feed.set_fact(f'f{number}', number)
    with pytest.raises(ValueError, match='facts'):
        feed.set_fact('one more', 1)
    feed.set_fact('f0', 'again')
    for number in range(MOST_STREAMS):
        feed.set_picture(f's{number}', Picture(bytes))
    with pytest.raises(ValueError, match='streams'):
        feed.set_picture('one more', Picture(bytes))
    feed.remove_picture('s0')
    feed.set_picture('one more', Picture(bytes))


def test_a_picture_expires_by_itself(feed, now):
    feed.set_picture('front/picture', Picture(lambda: b'jpeg', 2.0, clock=lambda: now[0]))
    assert set(feed.pictures()) == {'front/picture'}
    now[0] += 2.5
    assert feed.pictures() == {}


def test_a_picture_that_cannot_be_made_is_empty_and_counted():
    faults = Faults()

    def fail() -> bytes:
        raise RuntimeError('no picture')

    picture = Picture(fail, faults=faults)
    assert picture.jpeg() == picture.jpeg() == b''
    assert faults.summary()['count'] == 1


def test_a_picture_that_takes_long_holds_up_neither_threads_nor_other_pictures():
    """However many browsers wait for it, one thread encodes it and the others are free."""
    gate = threading.Event()
    faults = Faults()

    async def run() -> None:
        jobs = Jobs(Limits(job_s=1.0, waiting_jobs=4), threads=2)
        slow = Picture(lambda: b'slow' if gate.wait(60) else b'', faults=faults)
        waiting = [asyncio.create_task(slow.encoded(jobs)) for _ in range(50)]
        await asyncio.sleep(0.05)
        assert await Picture(lambda: b'quick').encoded(jobs) == b'quick'
        waiting[0].cancel()  # a browser that disconnects
        assert set(await asyncio.gather(*waiting[1:])) == {b''}
        assert faults.summary()['count'] > 0
        jobs.close()

    asyncio.run(run())
    gate.set()
