"""The live WebSocket: newest frames only, at each browser's own pace."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import pytest
from starlette.websockets import WebSocketDisconnect

from midas_depth_ros.web.feed import Feed, LiveView, Picture
from midas_depth_ros.web.limits import Jobs, Limits

LIVE = 'ws://127.0.0.1:8080/api/live'


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def client(make_client, feed):
    # One event loop for all connections of a test, as the server has.
    with make_client(feed=feed, limits=Limits(viewers=3)) as client:
        yield client


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def put(feed: Feed, stream: str, content: bytes) -> Picture:
    picture = Picture(lambda: content)
    feed.set_picture(stream, picture)
    return picture


def next_frame(live) -> tuple[str, bytes]:
    """Return the next binary message, skipping facts."""
    while True:
        message = live.receive()
        if message.get('bytes') is not None:
            data = message['bytes']
            length = int.from_bytes(data[:2], 'big')
            header = json.loads(data[2 : 2 + length])
            return header['stream'], data[2 + length :]
        assert message['type'] == 'websocket.send', message


def next_facts(live) -> dict:
    """Return the next text that has any fact, without clock and ages."""
    while True:
        message = live.receive_json()
        assert isinstance(message.pop('now'), float)
        heard = message.pop('heard', {})
        assert set(message) <= set(heard)
        if message:
            return message


def test_facts_come_at_once_and_then_only_what_changed(client, feed):
    feed.set_fact('present', True)
    feed.set_fact('cameras', {'front': {'level': 'ok'}})
    with client.websocket_connect(LIVE) as live:
        assert next_facts(live) == {'present': True, 'cameras': {'front': {'level': 'ok'}}}
        feed.set_fact('present', True)  # nothing new
        feed.set_fact('closeness/front', [0.25, None, 1.0])
        assert next_facts(live) == {'closeness/front': [0.25, None, 1.0]}
        feed.set_fact('closeness/front', None)
        assert next_facts(live) == {'closeness/front': None}


@pytest.mark.parametrize('clock', ['1' + 400 * '0', '-1' + 400 * '0', 'NaN', 'Infinity', '1e999'])
def test_a_clock_that_is_no_time_ends_nothing(client, feed, clock):
    with client.websocket_connect(LIVE) as live:
        live.receive_json()
        live.send_text(f'{{"clock": {clock}}}')
        live.send_json({'clock': 12.5})
        feed.set_fact('present', True)
        facts: dict = {}
        wait_for(lambda: facts.update(live.receive_json()) or 'echo' in facts)
        assert facts['echo'] == 12.5


def test_a_browser_gets_the_next_frame_when_it_has_shown_the_last(client, feed):
    with client.websocket_connect(LIVE) as live:
        live.receive_json()
        put(feed, 'front/heatmap', b'first')
        assert next_frame(live) == ('front/heatmap', b'first')
        for number in range(50):
            put(feed, 'front/heatmap', b'skipped %d' % number)
        put(feed, 'front/heatmap', b'newest')
        put(feed, 'front/picture', b'another stream')
        assert next_frame(live) == ('front/picture', b'another stream')
        live.send_json({'shown': 'front/heatmap'})
        assert next_frame(live) == ('front/heatmap', b'newest')


class SlowLink:
    """A WebSocket on which a frame takes 0.15 s; remembers what was sent, and confirms frames."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._confirmed: asyncio.Queue[str] = asyncio.Queue()

    async def send_text(self, text: str) -> None:
        self.sent.append('text')

    async def send_bytes(self, data: bytes) -> None:
        stream = json.loads(data[2 : 2 + int.from_bytes(data[:2], 'big')])['stream']
        await asyncio.sleep(0.15)
        self.sent.append(stream)
        self._confirmed.put_nowait(json.dumps({'shown': stream}))

    async def receive_text(self) -> str:
        return await self._confirmed.get()


def test_on_a_slow_link_facts_go_before_each_frame_and_streams_take_turns(feed):
    link, streams = SlowLink(), ['a/picture', 'b/picture', 'c/picture']

    async def robot() -> None:
        for number in range(200):
            for stream in streams:
                put(feed, stream, b'jpeg')
            feed.set_fact('number', number)
            await asyncio.sleep(0.01)

    async def serve() -> None:
        encoders = Jobs(Limits(), 1, 'encoders')
        with feed.viewing(1) as event:
            serving = asyncio.create_task(LiveView(link, feed, encoders).serve(event))
            await robot()
            serving.cancel()
        encoders.close()

    asyncio.run(serve())
    assert link.sent.count('text') > 8
    for one, other in itertools.pairwise(link.sent[1:]):
        assert 'text' in (one, other), link.sent
    frames = [each for each in link.sent if each != 'text']
    assert len(frames) > 8
    for first in range(len(frames) - 2):
        assert sorted(frames[first : first + 3]) == streams


def test_a_browser_that_shows_nothing_holds_up_nobody(client, feed):
    with client.websocket_connect(LIVE) as stuck, client.websocket_connect(LIVE) as quick:
        put(feed, 'front/heatmap', b'0')
        assert next_frame(stuck) == ('front/heatmap', b'0')
        for number in range(1, 6):
            assert next_frame(quick)[0] == 'front/heatmap'
            put(feed, 'front/heatmap', b'%d' % number)
            quick.send_json({'shown': 'front/heatmap'})
        assert next_frame(quick) == ('front/heatmap', b'5')
        stuck.send_json({'shown': 'front/heatmap'})
        assert next_frame(stuck) == ('front/heatmap', b'5')


def test_a_frame_is_encoded_once_for_all_and_never_for_nobody(client, feed):
    calls = []

    def encode() -> bytes:
        calls.append(1)
        return b'jpeg'

    feed.set_picture('front/picture', Picture(encode))
    assert calls == []
    with client.websocket_connect(LIVE) as one, client.websocket_connect(LIVE) as two:
        assert next_frame(one)[1] == next_frame(two)[1] == b'jpeg'
    assert calls == [1]


def test_a_frame_that_cannot_be_shown_is_left_out(client, feed):
    put(feed, 'front/picture', b'')
    with client.websocket_connect(LIVE) as live:
        live.receive_json()
        put(feed, 'front/picture', b'good')
        assert next_frame(live) == ('front/picture', b'good')


@pytest.mark.parametrize('junk', ['', '{', '[]', '{"shown": 3}', '"x"', 'null', 'y' * 3000])
def test_rubbish_from_a_browser_does_no_harm(client, feed, junk):
    with client.websocket_connect(LIVE) as live:
        live.send_text(junk)
        put(feed, 'front/heatmap', b'still here')
        assert next_frame(live) == ('front/heatmap', b'still here')


def test_binary_rubbish_ends_that_browser_alone(client, feed):
    with client.websocket_connect(LIVE) as live, client.websocket_connect(LIVE) as other:
        live.send_bytes(b'\0')
        put(feed, 'front/heatmap', b'x')
        assert next_frame(other)[1] == b'x'


def test_who_looks_is_counted_and_told(client, feed):
    heard = []
    feed.on_viewers_changed(heard.append)
    with client.websocket_connect(LIVE) as one:
        one.receive_json()
        with client.websocket_connect(LIVE) as two:
            two.receive_json()
            assert feed.viewers == 2
        wait_for(lambda: feed.viewers == 1)
    wait_for(lambda: feed.viewers == 0)
    assert heard == [1, 2, 1, 0]


def test_more_browsers_than_allowed_are_told_to_come_again(client, feed):
    with (
        client.websocket_connect(LIVE),
        client.websocket_connect(LIVE),
        client.websocket_connect(LIVE),
        client.websocket_connect(LIVE) as fourth,
    ):
        with pytest.raises(WebSocketDisconnect) as closed:
            fourth.receive_text()
        assert closed.value.code == 1013
    wait_for(lambda: feed.viewers == 0)
    with client.websocket_connect(LIVE) as later:
        assert later.receive_json().keys() == {'now'}


def test_state_is_everything_that_is_known(client, feed):
    feed.set_fact('present', True)
    feed.set_fact('scan/front', None)
    state = client.get('/api/state').json()
    assert set(state.pop('heard')) == {'present', 'scan/front'}
    assert state == {'present': True, 'scan/front': None}


@pytest.mark.parametrize('enabled', ['yes', 'false', 1, 0, None, [], {}])
def test_a_switch_is_true_or_false_and_nothing_that_could_be_either(client, enabled):
    answer = client.post('/api/enabled', json={'enabled': enabled})
    assert answer.status_code == 422, answer.text
    assert 'enabled' in answer.json()['error']


@pytest.mark.parametrize(
    ('body', 'status', 'words'),
    [
        ({'name': 'model', 'value': '/etc/passwd'}, 422, ['name', 'heatmap.colormap']),
        ({'name': 'heatmap.colormap', 'value': ['a']}, 422, ['number', 'text']),
        ({'name': 'heatmap.colormap', 'value': 'x' * 1000}, 422, ['too long']),
        ({'name': 'max_rate', 'value': 10**30}, 422, ['too large']),
        ({'value': 1}, 422, ['name', 'required']),
        ([], 422, []),
        ({'name': 'max_rate', 'value': 2.0}, 503, ['without ROS']),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(client, body, status, words):
    answer = client.post('/api/parameters', json=body)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word.lower() in answer.json()['error'].lower()
