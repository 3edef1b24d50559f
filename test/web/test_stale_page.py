"""Nothing old looks live, in a real Chromium with a real robot.

Whatever stops (the depth node, the dashboard, by a signal that stops it or one that kills it), the
page notices by its own clock, takes off what it does not know any more and says so.
"""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.request
from importlib.util import find_spec

import pytest
from browsing import find_browser, frames, programs, wait_for, wait_frames
from ros_helpers import Ros

from midas_depth_ros.lab.processes import free_domain

BROWSER = find_browser()
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason='no chromium on PATH: apt install chromium'),
    pytest.mark.skipif(find_spec('playwright') is None, reason='playwright is not installed'),
]
CAMERA = ['--ros-args', '-p', 'width:=320', '-p', 'height:=240', '-p', 'rate:=5.0']
NODE = [
    *('--ros-args', '-p', 'model:=embedded', '-p', 'diagnostics_rate:=5.0', '-p', 'num_threads:=1'),
    *('-p', 'camera_height:=0.3', '-p', 'camera_pitch:=0.105'),  # those of the camera
]
DASHBOARD = ['--model', 'embedded', '--port']
# What the camera's card shows.
SEEN = """
() => {
    const card = document.querySelector('[data-camera="camera"]');
    if (!card) return null;
    const picture = (stream) => {
        const canvas = card.querySelector(`canvas[data-stream="camera/${stream}"]`);
        const empty = document.createElement('canvas');
        [empty.width, empty.height] = [canvas.width, canvas.height];
        const visible = getComputedStyle(canvas).visibility === 'visible';
        return visible && canvas.toDataURL() !== empty.toDataURL();
    };
    return {
        nearest: /^([0-9.]+\\s*m|clear)/.test(card.querySelector('.nearest').innerText),
        closeness: [...card.querySelectorAll('.bar')].some((bar) => !bar.innerText.includes('?')),
        scan: card.querySelector('.top-view').dataset.known === 'true',
        rates: /[0-9]/.test(card.querySelector('.stats').innerText.replace('95 %', '')),
        picture: picture('picture'),
        heatmap: picture('heatmap'),
    };
}
"""
LIVE = dict.fromkeys(('nearest', 'closeness', 'scan', 'rates', 'picture', 'heatmap'), True)
CLEARED = dict.fromkeys(LIVE, False)
# The picture comes from the camera itself, which continues.
CLEARED_BUT_PICTURE = {**CLEARED, 'picture': True}


@pytest.fixture(scope='module')
def world():
    with free_domain() as domain:
        ros = Ros(domain)
        yield ros
        ros.close()


@pytest.fixture(scope='module')
def start(world, tmp_path_factory):
    with programs(tmp_path_factory.mktemp('logs'), world.environment) as starter:
        yield starter


@pytest.fixture(scope='module')
def robot(start):
    """A camera, a depth node with a metric scale and a dashboard; parts may be replaced."""
    started = {
        'camera': start('nodes.sources.synthetic_camera', *CAMERA),
        'node': start('nodes.depth.node', *NODE),
        'dashboard': start('cli.dashboard', *DASHBOARD, '0'),
    }
    started['address'] = started['dashboard'].said(r'http://\S+')[0]
    return started


def wait_seen(page, expected: dict[str, bool]) -> None:
    """Wait until the card shows exactly this."""
    wanted = f'(wanted) => JSON.stringify(({SEEN})()) === wanted'
    try:
        wait_for(page, wanted, json.dumps(expected, separators=(',', ':')))
    except AssertionError:
        pytest.fail(f'{page.evaluate(SEEN)} instead of {expected}')


@contextlib.contextmanager
def stopped(program):
    """Stop a process for the length of a block."""
    program.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        program.process.send_signal(signal.SIGCONT)


def state(robot) -> dict:
    with urllib.request.urlopen(f'{robot["address"]}api/state', timeout=20) as answer:
        return json.loads(answer.read())


def opened(open_page, **options):
    page = open_page(**options)
    wait_seen(page, LIVE)
    return page


def test_a_node_that_stands_still_is_not_known_any_more(open_page, robot):
    page = opened(open_page)
    with stopped(robot['node']):
        wait_seen(page, CLEARED_BUT_PICTURE)
        page.locator('#live-notice', has_text='No depth node /depth_node found').wait_for()
        page.locator('#node-state', has_text='no data for').wait_for()
        page.locator('[data-camera] .nearest', has_text='no data for').wait_for()
        assert page.get_by_role('button', name='Pause node').is_disabled()
        now = state(robot)
        assert now['present'] is False
        assert now['proximity/camera'] is now['scan/camera'] is now['closeness/camera'] is None
        # A browser that connects now sees nothing either.
        late = open_page()
        late.locator('#live-notice', has_text='No depth node /depth_node found').wait_for()
        assert late.locator('[data-camera]').count() == 0
    wait_seen(page, LIVE)
    wait_seen(late, LIVE)
    assert page.locator('#live-notice').is_hidden()


@pytest.mark.thorough
def test_a_node_that_is_killed_is_not_known_any_more(open_page, robot, start):
    page = opened(open_page)
    robot['node'].process.kill()
    wait_seen(page, CLEARED_BUT_PICTURE)
    page.locator('#live-notice', has_text='No depth node /depth_node found').wait_for()
    robot['node'] = start('nodes.depth.node', *NODE)
    wait_seen(page, LIVE)


@pytest.mark.thorough
def test_a_camera_that_stands_still_has_no_picture(open_page, robot):
    page = opened(open_page)
    with stopped(robot['camera']):
        wait_for(
            page,
            f'() => {{ const seen = ({SEEN})(); return seen && !seen.picture && !seen.heatmap; }}',
        )
        over = page.locator('figure .over').first
        assert over.inner_text().startswith('no new picture for')
    wait_seen(page, LIVE)


def test_a_dashboard_that_stands_still_shows_nothing_as_live(open_page, robot):
    page = opened(open_page)
    with stopped(robot['dashboard']):
        wait_seen(page, CLEARED)
        page.locator('#connection[data-level=error]').wait_for()
        page.locator('#live-notice[data-level=error]').wait_for()
        count = frames(page, 'camera/heatmap')
        page.wait_for_timeout(500)
        assert frames(page, 'camera/heatmap') == count
    wait_seen(page, LIVE)
    page.locator('#connection', has_text='connected').wait_for()


@pytest.mark.thorough
def test_a_dashboard_that_is_killed_shows_nothing_as_live(open_page, robot, start):
    page = opened(open_page, viewport={'width': 390, 'height': 844})
    robot['dashboard'].process.kill()
    wait_seen(page, CLEARED)
    page.locator('#connection', has_text='connection lost').wait_for()
    page.locator('#live-notice', has_text='Connection to the dashboard lost').wait_for()
    port = robot['address'].rstrip('/').rpartition(':')[2]
    robot['dashboard'] = start('cli.dashboard', *DASHBOARD, port)
    wait_seen(page, LIVE)


def test_a_frozen_view_says_that_it_is_not_live(open_page, robot):
    page = opened(open_page)
    page.get_by_role('button', name='Freeze view').click()
    page.locator('#live-notice', has_text='View frozen: nothing here is live').wait_for()
    assert 'frozen' in page.locator('[data-camera]').get_attribute('class')
    assert page.locator('figure .over').first.inner_text() == 'frozen'
    count = frames(page, 'camera/heatmap')
    page.get_by_role('button', name='Back to live').click()
    wait_frames(page, 'camera/heatmap', count + 2)
    wait_seen(page, LIVE)


# facts.js with made-up messages that arrive `late` milliseconds late.
LATE = """
async ([late, echoed]) => {
    const { clock, Facts } = await import('/static/facts.js');
    const wait = (time) => new Promise((done) => setTimeout(done, time));
    const facts = new Facts();
    facts.open();
    const sent = clock();
    const now = 1000;
    const told = (values, age) => Object.fromEntries(
        Object.keys(values).map((name) => [name, { age_s: age, lifetime_s: 0.6, silent: false }]));
    if (echoed) facts.take({ now, echo: sent });
    await wait(late);
    const values = { 'proximity/camera': { metres: 1.5, clear: false, most: 6 } };
    facts.take({ now: now + 0.01, ...values, heard: told(values, 0) });
    const first = facts.get('proximity/camera')?.metres ?? null;
    await wait(800);
    return [first, facts.get('proximity/camera'), facts.silence('proximity/camera')];
}
"""


@pytest.mark.sampled
@pytest.mark.parametrize('echoed', [False, True])
@pytest.mark.parametrize(('late_ms', 'first'), [(0, 1.5), (1500, None)])
def test_a_message_that_lay_on_its_way_is_old_when_it_comes(open_page, late_ms, first, echoed):
    """After a connection has stalled, what arrives late is not live."""
    page = open_page()
    seen, later, words = page.evaluate(LATE, [late_ms, echoed])
    assert seen == first
    assert later is None
    assert words.startswith('no data for')


# connection.js on a connection that is made up: whether it is kept, so many seconds after a text;
# a frame comes at the seconds `frame`.
KEPT = """
async ([frame, seconds]) => {
    const { Connection } = await import('/static/connection.js');
    let tick = performance.now();
    const [start, date] = [tick, Date.now()];
    performance.now = () => tick;
    Date.now = () => date;
    window.WebSocket = class {
        static OPEN = 1;
        readyState = 1;
        send() {}
        close() {}
    };
    const connection = new Connection({
        onFacts() {}, async onFrame() {}, onOpening() {}, onState() {},
    });
    const socket = connection.socket;
    socket.onmessage({ data: '{}' });
    return seconds.map((second) => {
        tick = start + 1000 * second;
        if (second === frame) socket.onmessage({ data: new Uint8Array([0, 2, 123, 125]).buffer });
        connection.watch();
        return connection.socket === socket;
    });
}
"""


@pytest.mark.parametrize(
    ('frame_s', 'kept'), [(None, [True, True, False, False]), (10, [True, True, True, False])]
)
def test_a_connection_on_which_a_frame_takes_long_is_kept(open_page, frame_s, kept):
    assert open_page().evaluate(KEPT, [frame_s, [10, 14, 24, 26]]) == kept


# How many beams topview.js tints as free, of a canvas that only records.
TINTED = """
async ([scan, free]) => {
    const { drawTopView } = await import('/static/topview.js');
    const style = getComputedStyle(document.documentElement);
    const tint = style.getPropertyValue('--free').trim();
    const filled = [];
    const pen = new Proxy({ measureText: () => ({ width: 10 }) }, {
        get: (own, name) => own[name] ?? (() => {
            if (name === 'fill') filled.push(own.fillStyle);
        }),
    });
    const canvas = { clientWidth: 400, clientHeight: 300, getContext: () => pen };
    drawTopView(canvas, scan, free, null, '');
    return filled.filter((colour) => colour === tint).length;
}
"""


@pytest.mark.parametrize(
    ('free', 'tinted'), [(None, 0), ([0, 0, 0, 0], 0), ([1.2, 0, 6, 0.4], 3), ([2, 2, 2, 2], 4)]
)
def test_only_ground_that_was_seen_free_is_tinted(open_page, free, tinted):
    page = open_page()
    beams = {'first': -0.3, 'step': 0.2, 'most': 6}
    scan = {**beams, 'ranges': [2.0, 2.0, -1, None]}
    seen = free and {**beams, 'free': free}
    assert page.evaluate(TINTED, [scan, seen]) == tinted


# The state of a camera whose node reports ok: [level, text], by what the page sees.
VERDICTS = """
async () => {
    const { CameraCard } = await import('./static/camera.js');
    const { Facts } = await import('./static/facts.js');
    const facts = new Facts();
    facts.open();
    const told = { age_s: 0, lifetime_s: 30, silent: false };
    const good = { level: 'ok', message: '2.2 frames per second', values: {} };
    const heard = { model: told };
    const model = (values) => ({ now: 1000, model: { level: 'ok', values }, heard });
    facts.take({ now: 1000, cameras: { x: good }, heard: { cameras: told } });
    facts.take(model({ enabled: 'True', 'lifecycle state': 'active' }));
    const card = new CameraCard('x', facts);
    const said = [card.verdict(good)];
    card.since -= 10_000;
    said.push(card.verdict(good));
    Object.assign(card.views.heatmap, { heard: facts.now(), lifetime: 2000 });
    said.push(card.verdict(good));
    card.views.heatmap.heard -= 28_000;
    said.push(card.verdict(good));
    facts.take(model({ enabled: 'False', 'lifecycle state': 'active' }));
    said.push(card.verdict(good));
    facts.take(model({ enabled: 'True', 'lifecycle state': 'inactive' }));
    said.push(card.verdict(good));
    return said;
}
"""
# The same of a node that warns, and the rates that the card shows.
WARNS = """
async (level) => {
    const { CameraCard } = await import('./static/camera.js');
    const { Facts } = await import('./static/facts.js');
    const facts = new Facts();
    facts.open();
    const told = { age_s: 0, lifetime_s: 30, silent: false };
    const camera = { level, message: 'no metres', values: { 'output rate [Hz]': '2.2' } };
    const model = { level: 'ok', values: { enabled: 'True', 'lifecycle state': 'active' } };
    facts.take({ now: 1000, cameras: { x: camera }, model, heard: { cameras: told, model: told } });
    const card = new CameraCard('x', facts);
    Object.assign(card.views.heatmap, { heard: facts.now(), lifetime: 2000 });
    const look = () => {
        card.refresh();
        const { level: state, stats } = card;
        return [state.dataset.level, state.textContent, stats.textContent.includes('2.2 Hz')];
    };
    const said = [look()];
    card.views.heatmap.heard -= 28_000;
    said.push(look());
    return said;
}
"""


def test_green_is_only_what_is_seen(open_page):
    """A node that had been dead for 28 s was green, with 2.2 frames per second."""
    waiting, never, live, dead, paused, inactive = open_page().evaluate(VERDICTS)
    assert waiting == ['wait', 'waiting for depth']
    assert never == ['error', 'no depth for 10\xa0s']
    assert live == ['ok', '2.2 frames per second']
    assert dead == ['error', 'no depth for 28\xa0s']
    assert paused == ['rest', 'paused']
    assert inactive == ['rest', 'inactive']


def test_a_warning_hides_no_lack_of_depth(open_page):
    """A camera without metres was yellow, with its rates, however long ago its last depth was."""
    page = open_page()
    live, dead = page.evaluate(WARNS, 'warn')
    assert live == ['warn', 'no metres', True]
    assert dead == ['error', 'no depth for 28\xa0s: no metres', False]
    assert page.evaluate(WARNS, 'error')[1] == ['error', 'no metres', False]
