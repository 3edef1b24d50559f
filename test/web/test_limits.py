"""Bytes, time, rate and jobs are limited, and an error names the limit."""

from __future__ import annotations

import asyncio
import tempfile
import threading

import numpy as np
import pytest
from fakes import BrightnessEstimator
from web_pictures import png_file, ramp

from midas_depth_ros.web import access
from midas_depth_ros.web.access import BodyGuard
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Jobs, Limits, Rate

FILE = png_file(ramp())
SMALL = Limits(upload_bytes=2000, json_bytes=200)
MULTIPART = {'Content-Type': 'multipart/form-data; boundary=x'}


def upload(size: int) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head + bytes(size) + b'\r\n--x--\r\n'


def test_too_many_bytes_are_refused_by_their_announcement(make_client):
    answer = make_client(limits=SMALL).post('/api/predict', content=upload(3000), headers=MULTIPART)
    assert answer.status_code == 413
    assert '2000' in answer.json()['error']


def test_too_many_bytes_are_refused_without_an_announcement(make_client):
    def pieces():
        for _ in range(100):
            yield upload(1000)

    client = make_client(limits=SMALL)
    answer = client.post('/api/predict', content=pieces(), headers=MULTIPART)
    assert answer.status_code == 413
    answer = client.post('/api/parameters', json={'name': 'x' * 300, 'value': 1})
    assert answer.status_code == 413


HEADERS = [
    (b'content-type', b'multipart/form-data; boundary=x'),
    (b'transfer-encoding', b'chunked'),
]


async def guarded(guard: BodyGuard, receive, client: str = '192.0.2.1') -> tuple[int, dict]:
    """Return status and headers of the response of a BodyGuard."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {'type': 'http', 'method': 'POST', 'path': '/api/predict', 'headers': HEADERS}
    await guard({**scope, 'client': (client, 1)}, receive, send)
    return sent[0]['status'], {name.decode(): value for name, value in sent[0]['headers']}


class Reader:
    """An app that reads the whole body and waits until it may continue."""

    def __init__(self) -> None:
        self.read: list[bytes] = []
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def __call__(self, scope, receive, send) -> None:
        more = True
        while more:
            message = await receive()
            self.read.append(message.get('body', b''))
            more = message.get('more_body', False)
        await self.going_on.wait()
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})


def run_guard(receive, limits: Limits) -> tuple[int, list[bytes]]:
    """Return the status of a BodyGuard around an app that reads the whole body."""

    async def run():
        reader = Reader()
        status, _ = await guarded(BodyGuard(reader, limits), receive)
        return status, reader.read

    return asyncio.run(run())


def test_a_body_that_does_not_come_is_not_waited_for():
    async def receive():
        await asyncio.sleep(60)

    assert run_guard(receive, Limits(upload_s=0.05))[0] == 408


def test_a_body_that_trickles_is_not_waited_for():
    async def receive():
        await asyncio.sleep(0.01)
        return {'type': 'http.request', 'body': b'x', 'more_body': True}

    status, read = run_guard(receive, Limits(upload_s=0.2))
    assert status == 408
    assert 0 < len(read) < 60


def test_who_sends_too_slowly_is_not_waited_for_as_long_as_who_sends_fast(monkeypatch):
    monkeypatch.setattr(access, 'GRACE_S', 0.1)

    def sender(size: int):
        async def receive():
            await asyncio.sleep(0.05)
            return {'type': 'http.request', 'body': bytes(size), 'more_body': True}

        return receive

    status, slow = run_guard(sender(10), Limits())
    assert status == 408
    assert len(slow) < 10
    status, fast = run_guard(sender(50_000), Limits(upload_bytes=500_000))
    assert status == 413
    assert len(fast) == 10


def test_a_whole_body_comes_through():
    pieces = [b'one', b'two']

    async def receive():
        body = pieces.pop(0)
        return {'type': 'http.request', 'body': body, 'more_body': bool(pieces)}

    assert run_guard(receive, Limits()) == (200, [b'one', b'two'])


def one_piece(size: int):
    async def receive():
        return {'type': 'http.request', 'body': bytes(size), 'more_body': False}

    return receive


@pytest.mark.parametrize('limit', ['uploads', 'uploads_per_client'])
def test_more_uploads_than_may_be_are_refused_until_others_are_answered(limit):
    async def run() -> None:
        reader = Reader()
        reader.going_on.clear()
        guard = BodyGuard(reader, Limits(**{limit: 3}))
        waiting = [asyncio.create_task(guarded(guard, one_piece(10))) for _ in range(3)]
        await asyncio.sleep(0.05)
        status, headers = await guarded(guard, one_piece(10))
        assert status == 503
        assert int(headers['retry-after']) > 0
        elsewhere = asyncio.create_task(guarded(guard, one_piece(10), '192.0.2.2'))
        await asyncio.sleep(0.05)
        reader.going_on.set()
        assert [(await each)[0] for each in waiting] == [200, 200, 200]
        assert (await elsewhere)[0] == (503 if limit == 'uploads' else 200)
        assert (await guarded(guard, one_piece(10)))[0] == 200
        assert guard.uploads.summary()['open'] == 0

    asyncio.run(run())


def test_all_uploads_share_one_budget_of_bytes():
    async def run() -> None:
        reader = Reader()
        reader.going_on.clear()
        guard = BodyGuard(reader, Limits(uploads_in_all_bytes=1000))
        kept = asyncio.create_task(guarded(guard, one_piece(600)))
        await asyncio.sleep(0.05)
        status, headers = await guarded(guard, one_piece(600))
        assert status == 503
        assert int(headers['retry-after']) > 0
        assert guard.uploads.held == 600
        reader.going_on.set()
        assert (await kept)[0] == 200
        assert guard.uploads.held == 0
        assert (await guarded(guard, one_piece(600)))[0] == 200

    asyncio.run(run())


def test_what_is_uploaded_never_reaches_the_disk(make_client, monkeypatch):
    def no_disk(*arguments, **options):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(tempfile, 'TemporaryFile', no_disk)
    monkeypatch.setattr(tempfile, '_TemporaryFileWrapper', no_disk)
    noise = np.random.default_rng(1).integers(0, 255, (1500, 1500, 3), np.uint8)
    data = png_file(noise)
    assert len(data) > 6 * 2**20
    answer = make_client().post('/api/predict', files={'image': data})
    assert answer.status_code == 200, answer.text


def test_rate_lets_a_burst_through_and_then_so_many_per_second():
    now = [100.0]
    rate = Rate(2.0, 3, lambda: now[0])
    for _ in range(3):
        rate.take('a')
    with pytest.raises(Refused) as refused:
        rate.take('a')
    assert refused.value.status_code == 429
    assert refused.value.headers['Retry-After'] == '1'
    rate.take('b')  # somebody else
    now[0] += 0.5
    rate.take('a')
    with pytest.raises(Refused):
        rate.take('a')
    now[0] += 60
    for _ in range(3):
        rate.take('a')
    with pytest.raises(Refused):
        rate.take('a')


def test_rate_does_not_remember_everybody():
    rate = Rate(1.0, 1)
    for number in range(3000):
        rate.take(str(number))
    assert len(rate._buckets) <= 1024


def test_too_many_pictures_at_once_are_refused_over_http(make_client):
    client = make_client(limits=Limits(predictions_per_s=0.001, prediction_burst=2))
    answers = [client.post('/api/predict', files={'image': FILE}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers['retry-after']) > 1
    assert client.get('/api/state').status_code == 200


def test_jobs_that_would_wait_too_long_are_refused():
    gate = threading.Event()
    jobs = Jobs(Limits(waiting_jobs=1, job_s=30))

    async def run() -> list:
        first = [asyncio.create_task(jobs.run(lambda: gate.wait(20))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await jobs.run(lambda: gate.wait(20))
        assert refused.value.status_code == 503
        gate.set()
        return [*await asyncio.gather(*first), await jobs.run(lambda: 'free again')]

    assert asyncio.run(run()) == [True, True, 'free again']
    jobs.close()


def test_a_job_that_takes_too_long_is_given_up_and_counts_until_it_ends():
    gate = threading.Event()
    jobs = Jobs(Limits(waiting_jobs=0, job_s=0.5))

    async def run() -> None:
        slow = asyncio.create_task(jobs.run(lambda: gate.wait(20)))
        await asyncio.sleep(0.1)
        with pytest.raises(Refused) as refused:
            await jobs.run(lambda: None)
        assert refused.value.status_code == 503
        with pytest.raises(Refused) as refused:
            await slow
        assert refused.value.status_code == 503
        assert refused.value.headers['Retry-After']

    asyncio.run(run())
    gate.set()
    jobs.close()


def test_a_thread_that_hangs_is_replaced_and_said_and_after_two_nothing_is_taken():
    gate = threading.Event()
    hung = []
    jobs = Jobs(Limits(job_s=0.2), on_hung=lambda: hung.append(1))

    async def run() -> None:
        for number in (1, 2):
            assert await jobs.run(lambda: 'done') == 'done'
            with pytest.raises(Refused):
                await jobs.run(lambda: gate.wait(60))
            assert jobs.summary()['hung'] == number
            assert len(hung) == number
        with pytest.raises(Refused) as refused:
            await jobs.run(lambda: 'done')
        assert refused.value.status_code == 503
        assert '/api/status' in refused.value.text
        gate.set()  # they return after all
        while jobs.summary()['hung']:
            await asyncio.sleep(0.01)
        assert await jobs.run(lambda: 'done') == 'done'
        assert jobs.summary()['hung_ever'] == 2

    asyncio.run(run())
    jobs.close()


def test_what_waits_behind_a_job_that_hangs_gets_its_turn():
    gate = threading.Event()
    jobs = Jobs(Limits(job_s=1.0))

    async def run() -> str:
        hanging = asyncio.create_task(jobs.run(lambda: gate.wait(60)))
        await asyncio.sleep(0.5)
        behind = asyncio.create_task(jobs.run(lambda: 'done'))
        with pytest.raises(Refused):
            await hanging
        return await behind

    assert asyncio.run(run()) == 'done'
    gate.set()
    jobs.close()


def test_a_slow_model_does_not_hold_up_the_page(make_client, estimator):
    client = make_client(limits=Limits(job_s=0.1))
    estimator.gate.clear()
    answer = client.post('/api/predict', files={'image': FILE})
    assert answer.status_code == 503
    assert client.get('/').status_code == 200
    estimator.gate.set()


def test_a_model_that_hangs_is_left_behind_and_the_status_says_so(make_client, estimator):
    estimators = [estimator, BrightnessEstimator()]
    made = iter(estimators)
    client = make_client(limits=Limits(job_s=0.5), make_estimator=lambda: next(made))
    estimator.gate.clear()
    try:
        assert client.post('/api/predict', files={'image': FILE}).status_code == 503
        answer = client.post('/api/predict', files={'image': png_file(ramp()[::-1])})
        assert answer.status_code == 200
        assert estimators[1].calls == 1
        assert client.get('/api/status').json()['pictures']['hung'] == 1
    finally:
        estimator.gate.set()
