"""Behind a reverse proxy: its host name, scheme and path work, and access stays restricted."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from starlette.websockets import WebSocketDisconnect
from web_pictures import jpeg_file, ramp

from midas_depth_ros.cli.dashboard import dashboard
from midas_depth_ros.web.access import COOKIE, Access, root_path_of
from midas_depth_ros.web.limits import origin_of

OURS, ROOT, TOKEN = 'https://robots.example.org', '/robots/1', 'correct horse'
# Common headers: nginx sends our name, or is configured to pass the name on, as Caddy does.
AS_PROXIES_ASK = [
    {'Host': '127.0.0.1:8080', 'Origin': OURS},
    {'Host': 'robots.example.org', 'Origin': OURS},
    {'Host': 'robots.example.org', 'X-Forwarded-Host': 'robots.example.org', 'Origin': OURS},
    {'Host': 'localhost:8080', 'X-Forwarded-Host': 'robots.example.org:443', 'Origin': OURS},
]
FOREIGN = [
    ({'Host': '127.0.0.1:8080', 'Origin': 'https://evil.example'}, 403),
    ({'Host': '127.0.0.1:8080', 'Origin': 'http://robots.example.org'}, 403),
    ({'Host': '127.0.0.1:8080', 'Origin': f'{OURS}:8443'}, 403),
    ({'Host': '127.0.0.1:8080', 'Origin': f'{OURS}.evil.example'}, 403),
    ({'Host': '127.0.0.1:8080', 'Origin': 'null'}, 403),
    ({'Host': '127.0.0.1:8080', 'Origin': OURS, 'Sec-Fetch-Site': 'cross-site'}, 403),
    ({'Host': '127.0.0.1:8080', 'Origin': OURS, 'Sec-Fetch-Site': 'same-site'}, 403),
    ({'Host': 'evil.example', 'Origin': OURS}, 421),
    ({'Host': 'evil.example', 'Origin': 'http://evil.example'}, 421),
    # The proxy was asked under a name that was rebound to it.
    ({'Host': '127.0.0.1:8080', 'X-Forwarded-Host': 'evil.example'}, 421),
    ({'Host': '127.0.0.1:8080', 'X-Forwarded-Host': 'robots.example.org, evil.example'}, 421),
]


def opens_live(client, path: str, headers: dict[str, str]) -> bool:
    try:
        with client.websocket_connect(f'ws://127.0.0.1:8080{path}', headers=headers) as live:
            return 'now' in live.receive_json()
    except WebSocketDisconnect:
        return False


@pytest.fixture
def proxied(make_client):
    """A dashboard that a proxy serves under `OURS` and `ROOT`."""
    return make_client(access=Access.of('127.0.0.1', origins=(OURS,), root_path=ROOT))


@pytest.mark.parametrize('headers', AS_PROXIES_ASK)
def test_our_page_works_under_the_name_of_the_proxy(proxied, client, headers):
    headers = {**headers, 'Sec-Fetch-Site': 'same-origin'}
    change = {'json': {'enabled': True}, 'headers': headers}
    assert client.post('/api/enabled', **change).status_code in (403, 421)  # not asked for
    assert proxied.post('/api/enabled', **change).status_code == 503  # no robot, but let in
    assert opens_live(proxied, '/api/live', headers)
    policy = proxied.get('/', headers=headers).headers['content-security-policy']
    assert 'wss://robots.example.org' in policy


@pytest.mark.parametrize(('headers', 'status'), FOREIGN)
def test_a_proxy_opens_nothing_to_others(proxied, headers, status):
    answer = proxied.post(f'{ROOT}/api/enabled', json={'enabled': False}, headers=headers)
    assert answer.status_code == status, answer.text
    assert not opens_live(proxied, f'{ROOT}/api/live', headers)


def test_a_refusal_names_the_remedy(client):
    answer = client.post('/api/enabled', json={}, headers={'Origin': OURS})
    assert '--allow-origin' in answer.json()['error']
    assert '--allow-origin' in client.get('/', headers={'Host': 'x.example'}).json()['error']


@pytest.mark.parametrize('base', ['', ROOT])
def test_the_proxy_may_take_off_the_path_or_leave_it(proxied, base):
    assert '<title>' in proxied.get(f'{base}/').text
    assert proxied.get(f'{base}/static/main.js').status_code == 200
    assert proxied.get(f'{base}/api/state').json() == {'heard': {}}
    assert opens_live(proxied, f'{base}/api/live', {})
    picture = {'image': ('x.jpg', jpeg_file(ramp()), 'image/jpeg')}
    answer = proxied.post(
        f'{base}/api/predict', files=picture, headers={'Accept': 'application/json'}
    )
    for link in answer.json()['links'].values():
        assert link.startswith(f'{ROOT}/api/results/')
        assert proxied.get(link).status_code == 200
    assert proxied.get(f'{base}/openapi.json').json()['servers'] == [{'url': ROOT}]


@pytest.mark.parametrize(
    'path',
    ['/robots/10/', '/robots/', '/ROBOTS/1/', f'{ROOT}{ROOT}/', f'{ROOT}/static/../app.py', '/x/'],
)
def test_other_paths_are_nothing(proxied, path):
    assert proxied.get(path).status_code == 404


def test_the_path_alone_leads_to_the_page(proxied):
    answer = proxied.get(f'{ROOT}?token=a%2Bb', follow_redirects=False)
    assert (answer.status_code, answer.headers['location']) == (307, f'{ROOT}/?token=a%2Bb')
    assert "default-src 'none'" in answer.headers['content-security-policy']
    assert proxied.get(ROOT, headers={'Host': 'evil.example'}).status_code == 421


@pytest.mark.parametrize('base', ['', ROOT])
def test_the_token_leads_to_where_the_page_is_and_is_for_there(make_client, base):
    """Two robots under one host name would overwrite each other's cookies."""
    access = Access.of('127.0.0.1', TOKEN, origins=(OURS,), root_path=ROOT)
    client = make_client(access=access)
    for path in ('/', '/api/state', '/static/main.js'):
        assert client.get(f'{base}{path}').status_code == 401
    answer = client.get(f'{base}/', params={'token': TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers['location']) == (303, f'{ROOT}/')
    assert f'Path={ROOT};' in f'{answer.headers["set-cookie"]};'
    assert 'HttpOnly' in answer.headers['set-cookie']
    cookie = {'Cookie': f'{COOKIE}={access.cookie_value}'}
    assert client.get(f'{base}/api/state', headers=cookie).status_code == 200
    plain = make_client(access=Access.of('127.0.0.1', TOKEN))
    answer = plain.get('/', params={'token': TOKEN}, follow_redirects=False)
    assert 'Path=' not in answer.headers['set-cookie']  # the browser's: that of the page


@pytest.mark.parametrize(
    ('given', 'origin'),
    [
        ('https://Robots.example.org/', OURS),
        ('https://robots.example.org:443', OURS),
        ('http://robots.example.org:80', 'http://robots.example.org'),
        ('https://robots.example.org:8443', f'{OURS}:8443'),
        ('http://[fe80::1]:8080', 'http://[fe80::1]:8080'),
    ],
)
def test_origins_are_as_browsers_write_them(given, origin):
    assert origin_of(given) == origin


BAD_ORIGINS = [
    '*',
    'null',
    '',
    'robots.example.org',
    'https://',
    'ftp://x',
    'https://*.example.org',
]
BAD_ORIGINS += ['https://x/robots/1', 'https://u:p@x', 'https://x?y', 'https://x\n', 'https://x y']
BAD_PATHS = ['/a/../b', '/a//b', '/a?b', '/a b', '/ä', '/%2e', '/a\nb', '/.']


@pytest.mark.parametrize(
    ('option', 'value'),
    [('--allow-origin', each) for each in BAD_ORIGINS] + [('--root-path', p) for p in BAD_PATHS],
)
def test_what_is_no_origin_or_path_is_refused_at_the_start(option, value):
    result = CliRunner().invoke(dashboard, ['--no-ros', '--port', '0', option, value])
    assert result.exit_code == 2
    assert 'such as' in result.output


def test_a_launch_file_hands_them_on_by_the_environment(monkeypatch):
    monkeypatch.setenv('MIDAS_DEPTH_DASHBOARD_ORIGINS', f'{OURS} http://[fe80::1]:80/')
    monkeypatch.setenv('MIDAS_DEPTH_DASHBOARD_ROOT_PATH', 'robots/1')
    context = dashboard.make_context('dashboard', [])
    taken = Access.of(
        '127.0.0.1', origins=context.params['origins'], root_path=context.params['root_path']
    )
    assert taken.origins == {OURS, 'http://[fe80::1]'}
    assert taken.root_path == ROOT
    assert taken.knows_host('[fe80::1]:80')


def test_a_root_path_may_be_written_with_slashes_or_without():
    assert {root_path_of(each) for each in ('robots/1', '/robots/1', '/robots/1/')} == {ROOT}
    assert root_path_of('/') == root_path_of('') == ''
