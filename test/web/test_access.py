"""Who is let in: host names, origins, the token, and the headers that close the page."""

from __future__ import annotations

import socket

import pytest
from starlette.websockets import WebSocketDisconnect

from midas_depth_ros.web.access import COOKIE, Access
from midas_depth_ros.web.addresses import is_local

TOKEN = 'correct horse'
OPEN = Access.of('0.0.0.0')


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
    assert (answer.status_code, answer.headers['location']) == (303, '/')
    cookie = answer.headers['set-cookie'].lower()
    assert 'httponly' in cookie
    assert 'samesite=strict' in cookie
    assert TOKEN not in cookie
    assert client.get('/api/state').status_code == 200  # the client has kept it
    rebound = client.get(
        '/', params={'token': TOKEN}, headers={'Host': 'evil.example'}, follow_redirects=False
    )
    assert rebound.status_code == 421


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
