"""Access: host names, origins, the token, and the security headers of the page."""

from __future__ import annotations

import os
import socket
from urllib.parse import quote

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from midas_depth_ros.web.access import COOKIE, Access, TokenGuesses, token_in_query
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Limits, is_local

TOKEN = 'correct horse'


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        ('127.0.0.1:8080', 200),
        ('localhost', 200),
        ('LOCALHOST:1', 200),
        ('[::1]:8080', 200),
        ('evil.example', 421),
        ('127.0.0.1.evil.example', 421),
        ('localhost.evil.example:8080', 421),
        ('192.168.1.7', 421),
        ('', 421),
        ('localhost@evil.example', 421),
        ('localhost:8080:1', 421),
        ("localhost' script-src *", 421),
    ],
)
def test_only_names_of_this_machine_are_answered(client, host, status):
    answer = client.get('/api/state', headers={'Host': host})
    assert answer.status_code == status
    if status == 421:
        assert 'host name' in answer.json()['error']


def test_beyond_localhost_addresses_and_own_names_are_answered(make_client):
    client = make_client(access=Access.of('0.0.0.0', further=('Robot.example',)))
    for host in ('192.168.1.7:8080', '[fe80::1]:80', socket.gethostname(), 'robot.example:8080'):
        assert client.get('/api/state', headers={'Host': host}).status_code == 200, host
    assert client.get('/api/state', headers={'Host': 'evil.example'}).status_code == 421


@pytest.mark.parametrize(
    'headers',
    [
        {'Origin': 'http://evil.example'},
        {'Origin': 'null'},
        {'Origin': 'http://127.0.0.1:9999'},  # another program of this machine
        {'Sec-Fetch-Site': 'cross-site'},
        {'Sec-Fetch-Site': 'same-site'},
    ],
)
def test_pages_of_other_sites_change_nothing(client, headers):
    answer = client.post('/api/enabled', json={'enabled': False}, headers=headers)
    assert answer.status_code == 403
    assert 'another site' in answer.json()['error']
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect('ws://127.0.0.1:8080/api/live', headers=headers) as live,
    ):
        live.receive_text()


def test_our_own_page_may(client):
    headers = {'Origin': 'http://127.0.0.1:8080', 'Sec-Fetch-Site': 'same-origin'}
    assert client.post('/api/enabled', json={'enabled': True}, headers=headers).status_code == 503
    with client.websocket_connect('ws://127.0.0.1:8080/api/live', headers=headers) as live:
        assert live.receive_json().keys() == {'now'}


def test_a_link_from_elsewhere_opens_the_page_and_nothing_else(client):
    headers = {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate'}
    assert client.get('/', headers=headers).status_code == 200
    assert client.get('/api/state', headers=headers).status_code == 403


def test_no_other_origin_may_read(client):
    answer = client.options(
        '/api/predict',
        headers={'Origin': 'http://evil.example', 'Access-Control-Request-Method': 'POST'},
    )
    assert answer.status_code >= 400
    answer = client.get('/api/state', headers={'Origin': 'http://evil.example'})
    assert not [name for name in answer.headers if name.startswith('access-control')]
    assert answer.headers['cross-origin-resource-policy'] == 'same-origin'


@pytest.mark.parametrize('path', ['/', '/api/state', '/nothing', '/static/main.js'])
def test_every_answer_is_closed_to_scripts_and_frames_of_others(client, path):
    headers = client.get(path).headers
    policy = dict(
        part.strip().split(' ', 1) for part in headers['content-security-policy'].split(';')
    )
    assert policy['default-src'] == "'none'"
    assert policy['script-src'] == policy['style-src'] == "'self'"
    assert policy['frame-ancestors'] == policy['base-uri'] == policy['form-action'] == "'none'"
    assert 'unsafe' not in headers['content-security-policy']
    assert headers['x-content-type-options'] == 'nosniff'
    assert headers['referrer-policy'] == 'no-referrer'


def test_without_the_token_there_is_nothing(make_client):
    client = make_client(access=Access.of('127.0.0.1', TOKEN))
    wrong = [{}, {'Authorization': 'Bearer wrong'}, {'Authorization': TOKEN}]
    wrong += [{'Cookie': f'{COOKIE}={TOKEN}'}, {'Cookie': 'rubbish;;=\x7f'}]
    for headers in wrong:
        for path in ('/', '/api/state', '/static/main.js', '/openapi.json'):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers['www-authenticate'] == 'Bearer'
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect('ws://127.0.0.1:8080/api/live', headers=headers) as live,
        ):
            live.receive_text()
    bearer = {'Authorization': f'Bearer {TOKEN}'}
    assert client.get('/api/state', headers=bearer).status_code == 200
    assert client.get('/api/state', headers={**bearer, 'Host': 'evil.example'}).status_code == 421


def test_the_printed_address_becomes_a_cookie(make_client):
    client = make_client(access=Access.of('127.0.0.1', TOKEN))
    assert client.get('/?token=wrong').status_code == 401
    answer = client.get('/', params={'token': TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers['location']) == (303, './')
    cookie = answer.headers['set-cookie'].lower()
    assert 'httponly' in cookie
    assert 'samesite=strict' in cookie
    assert TOKEN not in cookie
    assert client.get('/api/state').status_code == 200  # the client has kept the cookie
    rebound = client.get(
        '/', params={'token': TOKEN}, headers={'Host': 'evil.example'}, follow_redirects=False
    )
    assert rebound.status_code == 421


FOREIGN_COOKIES = [
    'prefs={"a":1}',
    'a="b; c',
    'x=\xff\xfe; \xe4=\xf6',
    'no equals sign',
    '=; ==; ;;; ,',
    'a=b, c=d',
    '$Version=1; $Path=/',
    'space in name=1; tab\t=2',
    'k=' + 'v' * 8000,
    '; '.join(f'c{number}={{"n":{number}}}' for number in range(200)),
    f'{COOKIE}x=1; x{COOKIE}=2',
]


@pytest.mark.parametrize('foreign', FOREIGN_COOKIES)
def test_cookies_of_others_do_not_hide_ours(make_client, foreign):
    """Every program under this host name sets its own, on any port."""
    access = Access.of('127.0.0.1', TOKEN)
    client = make_client(access=access)
    ours = f'{COOKIE}={access.cookie_value}'
    for value in (f'{foreign}; {ours}', f'{ours}; {foreign}', f'{foreign};{ours};{foreign}'):
        headers = {'Cookie': value.encode('latin-1')}
        assert client.get('/api/state', headers=headers).status_code == 200, value
    assert (
        client.get('/api/state', headers={'Cookie': foreign.encode('latin-1')}).status_code == 401
    )


def test_one_good_cookie_of_several_is_enough(make_client):
    access = Access.of('127.0.0.1', TOKEN)
    client = make_client(access=access)
    for value in (
        f'{COOKIE}=of another dashboard; {COOKIE}={access.cookie_value}',
        f'{COOKIE}={access.cookie_value}; {COOKIE}=',
        f'{COOKIE}="{access.cookie_value}"',
        f' {COOKIE} = {access.cookie_value} ',
    ):
        assert client.get('/api/state', headers={'Cookie': value}).status_code == 200, value
    two = [('Cookie', 'prefs={"a":1}'), ('Cookie', f'{COOKIE}={access.cookie_value}')]
    assert client.get('/api/state', headers=two).status_code == 200
    for wrong in (
        access.cookie_value[:-1],
        access.cookie_value.upper(),
        '',
        TOKEN,
        f'{access.cookie_value}x',
    ):
        headers = {'Cookie': f'{COOKIE}={wrong}'}
        assert client.get('/api/state', headers=headers).status_code == 401, wrong


@pytest.mark.parametrize('token', ['größe & größer', '%41+ #?/', 'a=b;c', 'x' * 500])
def test_a_token_of_whatever_characters_is_taken_back_as_it_was_printed(make_client, token):
    access = Access.of('127.0.0.1', token)
    client = make_client(access=access)
    printed = f'/?token={quote(access.token_bytes, safe="")}'
    assert client.get(printed, follow_redirects=False).status_code == 303
    client.cookies.clear()
    bearer = {'Authorization': b'Bearer ' + access.token_bytes}
    assert client.get('/api/state', headers=bearer).status_code == 200


def test_a_token_from_an_environment_that_is_no_text_can_be_given_back():
    access = Access.of('127.0.0.1', os.fsdecode(b'\xff\xfe'))
    assert token_in_query(b'token=' + quote(access.token_bytes).encode()) == b'\xff\xfe'
    assert access.has_valid_token(Headers(raw=[(b'authorization', b'Bearer \xff\xfe')]))


def guessing(make_client, **limits):
    limits = {'guesses_per_s': 0.001, 'guess_burst': 5, **limits}
    dashboard_limits = Limits(**limits)
    return make_client(access=Access.of('127.0.0.1', TOKEN), limits=dashboard_limits)


BEARER = {'Authorization': f'Bearer {TOKEN}'}


def from_address(client, host: str) -> TestClient:
    """Another client of the same dashboard, from another address."""
    return TestClient(client.dashboard.asgi, 'http://127.0.0.1:8080', client=(host, 1))


@pytest.mark.parametrize('way', ['bearer', 'cookie', 'address', 'websocket'])
def test_who_guesses_is_slowed_and_then_not_even_listened_to(make_client, way):
    client = guessing(make_client)

    def guess(number: int) -> int:
        if way == 'address':
            return client.get('/', params={'token': f'guess {number}'}).status_code
        if way == 'cookie':
            headers = {'Cookie': f'{COOKIE}={number}'}
        else:
            headers = {'Authorization': f'Bearer guess {number}'}
        if way == 'websocket':
            with (
                pytest.raises(WebSocketDisconnect),
                client.websocket_connect('ws://127.0.0.1:8080/api/live', headers=headers) as live,
            ):
                live.receive_text()
            return 401 if number < 5 else 429
        return client.get('/api/state', headers=headers).status_code

    assert [guess(number) for number in range(9)] == [401] * 5 + [429] * 4
    answer = client.get('/api/state', headers=BEARER)  # the right token is refused too
    assert answer.status_code == 429
    assert int(answer.headers['retry-after']) > 0
    assert client.get('/api/state').status_code == 401  # without a token the answer is as before
    elsewhere = from_address(client, '192.0.2.7')
    assert elsewhere.get('/api/state', headers=BEARER).status_code == 200


def test_what_a_header_says_of_the_address_is_not_believed(make_client):
    client = guessing(make_client)
    codes = [
        client.get(
            '/api/state',
            headers={
                'Authorization': 'Bearer wrong',
                'X-Forwarded-For': f'192.0.2.{number}',
                'Forwarded': f'for=192.0.2.{number}',
                'X-Real-IP': f'192.0.2.{number}',
            },
        ).status_code
        for number in range(9)
    ]
    assert codes == [401] * 5 + [429] * 4


@pytest.mark.parametrize(
    'addresses', [[f'127.0.0.{n}' for n in range(1, 10)], [f'2001:db8::{n}' for n in range(1, 10)]]
)
def test_addresses_that_one_has_all_of_are_one_client(make_client, addresses):
    client = guessing(make_client)
    wrong = {'Authorization': 'Bearer wrong'}
    codes = [from_address(client, a).get('/api/state', headers=wrong) for a in addresses]
    assert [answer.status_code for answer in codes] == [401] * 5 + [429] * 4


def test_guesses_from_everywhere_are_bounded_and_lock_out_nobody_who_is_in(make_client):
    client = guessing(make_client, guesses_in_all_per_s=0.001, guess_burst_in_all=20)
    friend = from_address(client, '198.51.100.1')
    assert friend.get('/api/state', headers=BEARER).status_code == 200
    wrong = {'Authorization': 'Bearer wrong'}
    codes = [
        from_address(client, f'203.0.113.{n}').get('/api/state', headers=wrong).status_code
        for n in range(60)
    ]
    assert codes == [401] * 20 + [429] * 40
    assert friend.get('/api/state', headers=BEARER).status_code == 200


def test_pages_with_the_cookie_of_an_earlier_token_lock_out_nobody(make_client):
    """They reconnect every few seconds: three of them kept out who came with the right token."""
    client = guessing(make_client)
    for number in range(30):
        old = {'Cookie': f'{COOKIE}={number % 2}'}
        assert client.get('/api/state', headers=old).status_code == 401
    assert client.get('/', params={'token': TOKEN}, follow_redirects=False).status_code == 303
    # With a new guess beside it, it is one.
    for number in range(9):
        bearer = {'Authorization': f'Bearer {number}', 'Cookie': f'{COOKIE}=0'}
        code = client.get('/api/state', headers=bearer).status_code
        assert code == (401 if number < 3 else 429)
    # Who is not listened to learns nothing by asking twice.
    for _ in range(3):
        new = {'Cookie': f'{COOKIE}=new'}
        assert client.get('/api/state', headers=new).status_code == 429


def test_guesses_are_forgiven_with_time():
    now = [0.0]
    guesses = TokenGuesses(Limits(guesses_per_s=0.5, guess_burst=2), lambda: now[0])
    for _ in range(2):
        guesses.check('a')
        guesses.count_invalid('a')
    with pytest.raises(Refused) as refused:
        guesses.check('a')
    assert refused.value.status_code == 429
    now[0] += 2.0
    guesses.check('a')


def test_those_who_guess_are_not_all_remembered():
    guesses = TokenGuesses(Limits(guess_burst_in_all=10**6))
    for number in range(5000):
        guesses.count_invalid(str(number))
        guesses.trust(str(number))
    assert len(guesses._own._buckets) <= 1024
    assert len(guesses._trusted) <= 256


@pytest.mark.parametrize(
    'query', ['token=' + '&token=' * 5000, 'a=1&' * 5000 + 'token=x', 'token=%ff']
)
def test_a_query_that_is_none_is_a_wrong_token(make_client, query):
    client = make_client(access=Access.of('127.0.0.1', TOKEN))
    assert client.get(f'/?{query}', follow_redirects=False).status_code == 401


def test_a_page_of_another_site_cannot_guess_in_the_name_of_its_visitor(make_client):
    client = guessing(make_client)
    headers = {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors'}
    for _ in range(9):
        assert client.get('/?token=wrong', headers=headers).status_code == 403
    assert client.get('/api/state', headers=BEARER).status_code == 200


@pytest.mark.parametrize(
    ('host', 'local'),
    [
        ('127.0.0.1', True),
        ('127.3.2.1', True),
        ('::1', True),
        ('localhost', True),
        ('0.0.0.0', False),
        ('::', False),
        ('192.168.0.1', False),
        ('robot', False),
    ],
)
def test_what_only_this_machine_reaches(host, local):
    assert is_local(host) is local
