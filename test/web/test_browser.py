"""The page in a real headless Chromium, over a real depth node and camera as processes over DDS."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from browsing import find_browser, frames, programs, wait_for, wait_frames
from driving import set_parameter
from rcl_interfaces.srv import GetParameters
from ros_helpers import Ros
from web_pictures import jpeg_file, png_file, ramp

from midas_depth_ros.lab.processes import free_domain
from midas_depth_ros.web.limits import Limits

BROWSER = find_browser()
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason='no chromium on PATH: apt install chromium'),
    pytest.mark.skipif(find_spec('playwright') is None, reason='playwright is not installed'),
    pytest.mark.filterwarnings('ignore:failed to send response'),
]
CAMERA = ['--ros-args', '-p', 'width:=160', '-p', 'height:=120', '-p', 'rate:=8.0']
NODE = [
    '--ros-args',
    '-p',
    'model:=embedded',
    '-p',
    'diagnostics_rate:=5.0',
    '-p',
    'num_threads:=1',
]
BELOW = '/robots/1'  # where a reverse proxy would serve the page, too
# The pixels of a canvas, as text.
PIXELS = 'canvas => canvas.toDataURL()'
# A file of `size` zeros, dropped on the page.
DROP = """
size => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array(size)], 'x.jpg', {type: 'image/jpeg'}));
    window.dispatchEvent(new DragEvent('drop', {dataTransfer, cancelable: true}));
}
"""


@pytest.fixture(scope='module')
def world():
    """ROS in a domain of this module."""
    with free_domain() as domain:
        ros = Ros(domain)
        yield ros
        ros.close()


@pytest.fixture(scope='module')
def start(world, tmp_path_factory):
    """Starts programs in that domain."""
    with programs(tmp_path_factory.mktemp('logs'), world.environment) as starter:
        yield starter


@pytest.fixture(scope='module')
def robot(start):
    """A camera, a depth node and a dashboard; `robot['node']` may be replaced."""
    started = {
        'camera': start('nodes.sources.synthetic_camera', *CAMERA),
        'node': start('nodes.depth.node', *NODE),
        'dashboard': start(
            'cli.dashboard', '--port', '0', '--model', 'embedded', '--root-path', BELOW
        ),
    }
    started['address'] = started['dashboard'].said(r'http://\S+')[0]
    return started


def parameter(world, name: str):
    answer = world.call(
        GetParameters, 'depth_node/get_parameters', GetParameters.Request(names=[name])
    )
    value = answer.values[0]
    return value.string_value or value.double_value or value.integer_value


def is_set(world, name: str, value) -> None:
    world.spin_until(lambda: parameter(world, name) == value, what=f'{name} = {value}')


def test_live_pictures_change_in_every_browser_that_looks(open_page):
    first, second = open_page(), open_page(viewport={'width': 390, 'height': 844})
    for page in (first, second):
        for stream in ('camera/picture', 'camera/heatmap'):
            wait_frames(page, stream, 1)
            canvas = page.locator(f'canvas[data-stream="{stream}"]')
            before, count = canvas.evaluate(PIXELS), frames(page, stream)
            wait_frames(page, stream, count + 3)
            assert canvas.evaluate(PIXELS) != before
        assert page.locator('#connection').inner_text() == 'connected'
    assert first.locator('#node-state').inner_text() == 'running'
    told = first.locator('#node-facts').inner_text()
    assert told.split('\n')[:2] == ['Model', 'embedded']
    assert '% of a core' in told
    stats = first.locator('.stats').inner_text()
    wait_for(first, "!document.querySelector('.stats').innerText.includes('Depth\\n–')")
    assert 'Latency' in stats


def test_a_slider_and_a_list_change_the_parameters_of_the_node(open_page, world):
    page = open_page()
    page.get_by_label('Camera overlay', exact=True).fill('0.5')
    is_set(world, 'heatmap.overlay_alpha', 0.5)
    page.get_by_label('Camera overlay', exact=True).press('ArrowRight')  # with the keyboard
    is_set(world, 'heatmap.overlay_alpha', 0.55)
    page.get_by_label('Colour map').first.select_option('turbo')
    is_set(world, 'heatmap.colormap', 'turbo')
    page.get_by_label('Maximum frame rate', exact=True).fill('4')
    is_set(world, 'max_rate', 4.0)
    # What is set elsewhere is shown here.
    assert set_parameter(world, 'heatmap.smoothing', 3.0)[0]
    wait_for(page, "document.getElementById('parameter-heatmap-smoothing').value === '3'")


def test_a_heatmap_in_metres_has_its_legend_below_it(open_page, world):
    page = open_page()
    legend = page.locator('[data-camera] .legend')
    assert legend.is_hidden()
    for name, value in (('metric_near', 0.5), ('metric_far', 8.0), ('mapping', 'log')):
        assert set_parameter(world, f'heatmap.{name}', value)[0]
    assert set_parameter(world, 'heatmap.legend', False)[0]
    assert set_parameter(world, 'heatmap.mode', 'metric')[0]
    legend.wait_for()
    page.locator('[data-camera] .legend[aria-label="Colours from 0.5 m to 8 m"]').wait_for()
    places = dict(
        legend.locator('span').evaluate_all('all => all.map((s) => [s.innerText, s.style.left])')
    )
    # Even ratios of distance are even steps.
    assert [places[name] for name in ('0.5 m', '1 m', '2 m', '8 m')] == ['0%', '25%', '50%', '100%']
    about = page.request.get(page.url.partition('#')[0] + 'api/about').json()
    assert about['palettes']['inferno'][0] == '#000004'
    for name, value in (('legend', True), ('mode', 'relative')):
        assert set_parameter(world, f'heatmap.{name}', value)[0]
    legend.wait_for(state='hidden')


def test_a_number_that_is_being_typed_is_not_written_over(open_page, world):
    page = open_page()
    height = page.get_by_label('Camera height', exact=True)
    height.fill('0.7')
    for name in ('viridis', 'inferno'):  # a change by others makes the page read all of them again
        assert set_parameter(world, 'heatmap.colormap', name)[0]
        field = "document.getElementById('parameter-heatmap-colormap')"
        wait_for(page, f"{field}.value === '{name}'")
    assert height.input_value() == '0.7'
    height.press('Enter')
    is_set(world, 'camera_height', 0.7)


def test_what_is_set_elsewhere_right_after_a_slider_is_shown_as_well(open_page, world):
    """The page kept its own value, and nothing told that the node had another one."""
    page = open_page()
    slider = page.get_by_label('JPEG quality', exact=True)
    slider.fill('60')
    is_set(world, 'jpeg_quality', 60)
    assert set_parameter(world, 'jpeg_quality', 90)[0]
    wait_for(page, "document.getElementById('parameter-jpeg_quality').value === '90'")
    height = page.get_by_label('Camera height', exact=True)
    shown = height.input_value()
    height.press_sequentially('5')
    assert set_parameter(world, 'camera_height', 0.9)[0]
    page.wait_for_timeout(1000)
    height.fill(shown)  # nothing is changed after all
    height.press('Tab')
    wait_for(page, "document.getElementById('parameter-camera_height').value === '0.9'")


@pytest.mark.parametrize('text', ['-', '1e'])
def test_half_a_number_is_not_unknown(open_page, world, text):
    """The node would have lost its metres: what is no number reads like an empty field."""
    assert set_parameter(world, 'camera_height', 0.4)[0]
    page = open_page()
    wait_for(page, "document.getElementById('parameter-camera_height')?.value === '0.4'")
    height = page.get_by_label('Camera height', exact=True)
    height.press('Control+a')
    height.press_sequentially(text)
    assert height.evaluate('field => field.validity.badInput')
    height.press('Tab')
    page.locator('#parameter-camera_height-error', has_text='not a number').wait_for()
    assert height.input_value() == '0.4'
    assert parameter(world, 'camera_height') == 0.4


def test_a_refusal_is_shown_in_the_words_of_the_node(open_page, world):
    page = open_page()
    height = page.get_by_label('Camera height', exact=True)
    height.fill('0.4')
    height.press('Enter')
    is_set(world, 'camera_height', 0.4)
    height.fill('1000')
    height.press('Enter')
    error = page.locator('#parameter-camera_height-error')
    error.filter(has_text='camera_height: 1000').wait_for()
    assert 'above the maximum 100 m' in error.inner_text()
    assert height.input_value() == '0.4'
    assert parameter(world, 'camera_height') == 0.4


def test_pause_and_resume_from_the_page(open_page):
    page = open_page()
    wait_frames(page, 'camera/heatmap', 1)
    page.get_by_role('button', name='Pause node').click()
    page.get_by_role('button', name='Resume node').wait_for()
    assert page.locator('#node-state').inner_text() == 'paused'
    level = page.locator('[data-camera] .pill')
    level.filter(has_text='paused').wait_for()
    assert level.get_attribute('data-level') == 'warn'
    wait_for(page, "!/[0-9]/.test(document.querySelector('.stats').innerText.replace('95 %', ''))")
    # The camera's own picture continues.
    wait_frames(page, 'camera/picture', frames(page, 'camera/picture') + 6)
    page.get_by_role('button', name='Resume node').click()
    page.get_by_role('button', name='Pause node').wait_for()
    wait_frames(page, 'camera/heatmap', frames(page, 'camera/heatmap') + 2)


def test_a_frozen_view_stands_still_until_it_goes_on(open_page):
    page = open_page()
    wait_frames(page, 'camera/heatmap', 1)
    page.get_by_role('button', name='Freeze view').click()
    wait_for(page, "document.getElementById('connection').innerText === 'frozen'")
    count = frames(page, 'camera/heatmap')
    page.wait_for_timeout(700)
    assert frames(page, 'camera/heatmap') == count
    page.get_by_role('button', name='Back to live').click()
    wait_frames(page, 'camera/heatmap', count + 2)


def natural_size(page, selector: str) -> list[int]:
    return page.locator(selector).evaluate('i => [i.naturalWidth, i.naturalHeight]')


def test_an_uploaded_picture_gives_a_result_that_sliders_draw_anew(open_page):
    page = open_page('#picture')
    room = jpeg_file(ramp(240, 320))
    choose(page, 'room.jpg', room)
    page.locator('#result-words[data-level=ok]').wait_for()
    assert '320×240, embedded, inferred in' in page.locator('#result-words').inner_text()
    wait_for(page, "document.getElementById('result-heatmap').naturalWidth > 0")
    assert natural_size(page, '#result-heatmap') == natural_size(page, '#result-picture')
    assert natural_size(page, '#result-heatmap') == [320, 240]
    before = page.locator('#result-heatmap').get_attribute('src')
    with page.expect_response(lambda answer: 'gamma=2' in answer.url) as drawn:
        page.get_by_label('Gamma', exact=True).fill('2')
    assert drawn.value.ok
    wait_for(page, "before => document.getElementById('result-heatmap').src !== before", before)
    for name, start in (('#save-pair', b'\x89PNG'), ('#save-depth', b'\x93NUMPY')):
        with page.expect_download() as download:
            page.locator(name).click()
        assert download.value.path().read_bytes().startswith(start)
    choose(page, 'room.jpg', room)
    page.locator('#result-words', has_text='from cache').wait_for()


def test_a_heatmap_that_cannot_be_drawn_leaves_none_of_another_picture(open_page):
    page = open_page('#picture')
    choose(page, 'first.jpg', jpeg_file(ramp(240, 320)))
    wait_for(page, "document.getElementById('result-heatmap').naturalWidth > 0")
    busy = {'status': 429, 'json': {'error': 'too many requests: try again in 1 s'}}
    page.route('**/heatmap.png*', lambda route: route.fulfill(**busy))
    choose(page, 'second.jpg', jpeg_file(ramp(120, 320)))
    page.locator('#picture-error', has_text='try again').wait_for()
    assert page.locator('#result-title').inner_text() == 'second.jpg'
    assert natural_size(page, '#result-picture') == [320, 120]
    assert natural_size(page, '#result-heatmap') == [0, 0]
    page.unroute('**/heatmap.png*')
    page.get_by_label('Gamma', exact=True).fill('2')
    wait_for(page, "document.getElementById('result-heatmap').naturalHeight === 120")


def choose(page, name: str, data: bytes) -> None:
    file = {'name': name, 'mimeType': 'image/jpeg', 'buffer': data}
    page.locator('#file').set_input_files(file)


# Where an element is, and whether something covers its centre.
SEEN_AT = """
element => {
    const { left, top, right, bottom, width, height } = element.getBoundingClientRect();
    const over = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    return { left, top, right, bottom, width, height, free: element.contains(over) };
}
"""
TOO_WIDE = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'
NOTICE = (
    'MiDaS_small is not available: fetch '
    f'https://example.org/{"a" * 80}.pt (85761505 bytes, SHA-256 {"0123456789abcdef" * 4}). '
    "Running 'embedded' instead."
)


@pytest.mark.parametrize('shape', [(320, 180), (60, 320)])
def test_a_picture_of_whatever_shape_is_shown_whole(open_page, shape):
    """Portrait pictures lost their lower part, and a long notice made the page wider."""
    page = open_page('#picture')

    def with_notice(route):
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), 'notice': NOTICE})

    page.route('**/api/predict', with_notice)
    choose(page, f'{"x" * 60}.jpg', jpeg_file(ramp(*shape)))
    page.locator('#result-words[data-level=ok]').wait_for()
    wait_for(page, "document.getElementById('result-heatmap').naturalWidth > 0")
    for width, height in ((1280, 800), (390, 844), (3840, 2160)):
        page.set_viewport_size({'width': width, 'height': height})
        for name in ('#result-picture', '#result-heatmap'):
            assert natural_size(page, name) == [shape[1], shape[0]]
            frame, picture = (
                page.locator(each).evaluate(SEEN_AT) for each in (f'.frame:has({name})', name)
            )
            for side in ('left', 'top', 'right', 'bottom'):
                assert picture[side] == frame[side]
            style = page.locator(name).evaluate('image => getComputedStyle(image).objectFit')
            assert style == 'contain'
            assert frame['height'] <= 0.77 * height
            assert frame['width'] > (0.3 if width > 560 else 0.85) * width
        assert page.evaluate(TOO_WIDE) <= 0
        assert page.locator('#content').evaluate(SEEN_AT)['width'] > 0.98 * width
    # The notice is shown once, shortened, and not below every picture.
    assert 'MiDaS_small' not in page.locator('#result').inner_text()
    note = page.locator('#model-note')
    assert note.inner_text().strip() == 'MiDaS_small is not available'
    note.locator('summary').click()
    assert NOTICE in note.inner_text()
    assert page.evaluate(TOO_WIDE) <= 0


def test_a_fault_is_in_sight_wherever_the_page_is_scrolled_to(open_page):
    page = open_page('#picture', viewport={'width': 390, 'height': 844})
    choose(page, 'x.jpg', jpeg_file(ramp(240, 320)))
    page.locator('#result-words[data-level=ok]').wait_for()
    for place in (0, 300, 1e6):
        page.evaluate(f'scrollTo(0, {place})')
        choose(page, 'x.jpg', b'this is a text')
        error = page.locator('#picture-error', has_text='this is not a JPEG')
        error.wait_for()
        seen = error.evaluate(SEEN_AT)
        assert seen['free']
        assert seen['top'] > 100
        assert seen['bottom'] < 844
        page.get_by_role('button', name='Close message').click()
        error.wait_for(state='hidden')


def test_a_heatmap_that_comes_late_does_not_hide_the_error_of_a_newer_picture(open_page):
    held = []
    page = open_page(
        '#picture', before=lambda page: page.route('**/heatmap.png*', lambda r: held.append(r))
    )
    choose(page, 'good.jpg', jpeg_file(ramp(240, 320)))
    page.locator('#result-words[data-level=ok]').wait_for()
    choose(page, 'bad.jpg', b'this is a text')
    error = page.locator('#picture-error', has_text='this is not a JPEG')
    error.wait_for()
    with page.expect_response('**/heatmap.png*'):
        held[0].continue_()
    page.wait_for_timeout(200)
    assert error.is_visible()


def test_the_answer_to_an_older_picture_does_not_replace_that_to_a_newer_one(open_page):
    held = []

    def hold_first(route):
        if held:
            route.continue_()
        else:
            held.append(route)

    page = open_page('#picture', before=lambda page: page.route('**/api/predict', hold_first))
    choose(page, 'older.jpg', jpeg_file(ramp(240, 320)))
    choose(page, 'newer.jpg', jpeg_file(ramp(120, 160)))
    page.locator('#result-title', has_text='newer.jpg').wait_for()
    with page.expect_response('**/api/predict'):
        held[0].continue_()
    page.wait_for_timeout(200)
    assert page.locator('#result-title').inner_text() == 'newer.jpg'


def test_a_file_that_is_too_large_leaves_no_card_that_waits(open_page):
    held = []
    page = open_page(
        '#picture', before=lambda page: page.route('**/api/predict', lambda r: held.append(r))
    )
    choose(page, 'older.jpg', jpeg_file(ramp(240, 320)))
    page.locator('#result[aria-busy=true]').wait_for()
    choose(page, 'large.jpg', bytes(Limits().upload_bytes + 1))
    page.locator('#picture-error', has_text='the limit is').wait_for()
    assert page.locator('#result').is_hidden()
    held[0].continue_()
    page.wait_for_timeout(300)
    assert page.locator('#picture-error', has_text='the limit is').is_visible()
    assert page.locator('#result').is_hidden()


def test_a_picture_that_is_chosen_while_the_page_still_starts_is_not_lost(open_page):
    held = []  # the page's question, until we answer it
    page = open_page(
        '#picture', before=lambda page: page.route('**/api/about', lambda r: held.append(r))
    )
    choose(page, 'x.jpg', jpeg_file(ramp(240, 320)))
    page.wait_for_timeout(200)
    held[0].continue_()
    page.locator('#result-words[data-level=ok]').wait_for()


def test_a_picture_that_is_chosen_where_the_server_does_not_answer_says_so(open_page):
    page = open_page('#picture', before=lambda page: page.route('**/api/about', refuse))
    choose(page, 'x.jpg', jpeg_file(ramp(240, 320)))
    page.locator('#picture-error', has_text='not today').wait_for()


def refuse(route) -> None:
    route.fulfill(status=418, json={'error': 'not today'})


def test_a_parameter_is_explained_reset_and_written_as_a_file(open_page, world, tmp_path):
    page = open_page(BELOW.removeprefix('/') + '/')
    wait_frames(page, 'camera/heatmap', 1)  # the live view, too, below a path
    page.get_by_role('button', name='Help on Smoothing radius').click()
    told = page.locator('#parameter-heatmap-smoothing-help').inner_text()
    assert 'bilateral' in told
    assert 'double, 0 to 15 px; default 0 px; takes effect immediately' in told
    assert 'heatmap.smoothing' in page.locator('#controls').inner_text()
    labels = page.locator('#controls label').all_inner_texts()
    assert len(set(labels)) == len(labels)
    far = [i for i, label in enumerate(labels) if label.startswith('Far limit')]
    assert [labels[i + 1].startswith('Near limit') for i in far] == [True, True]
    page.locator('#controls').get_by_label('Smoothing radius', exact=True).fill('4')
    is_set(world, 'heatmap.smoothing', 4.0)
    page.locator('#others > summary').click()
    page.get_by_label('Search parameters').fill('max_blind')
    other = page.locator('.other:visible')
    other.locator('summary').click()
    assert '0.01 to 100 m; default 1.5 m' in other.inner_text()
    page.locator('#as-yaml > summary').click()
    page.locator('#yaml', has_text='smoothing: 4.0').wait_for()
    with page.expect_download() as download:
        page.locator('#yaml-save').click()
    assert download.value.suggested_filename == 'depth_node.yaml'
    assert 'max_blind' not in download.value.path().read_text()  # it has its default
    page.get_by_role('button', name='Reset Smoothing radius to 0 px').click()
    is_set(world, 'heatmap.smoothing', 0.0)
    page.get_by_role('button', name='Reset Smoothing radius').wait_for(state='hidden')
    aside = page.locator('#live aside')
    assert aside.evaluate('a => getComputedStyle(a).overflowY') == 'scroll'


def test_a_sample_gives_a_result(open_page):
    page = open_page('#picture')
    page.get_by_role('button', name='Sample: corridor 2').click()
    page.locator('#result-words', has_text='320×240').wait_for()


def test_bad_files_give_a_readable_error_and_the_page_lives_on(open_page):
    page = open_page('#picture')
    for buffer, words in (
        (b'this is a text', 'this is not a JPEG, PNG or WebP picture'),
        (png_file(ramp())[:-60], 'cut short'),
    ):
        file = {'name': 'x.jpg', 'mimeType': 'image/jpeg', 'buffer': buffer}
        page.locator('#file').set_input_files(file)
        page.locator('#picture-error', has_text=words).wait_for()
        assert page.locator('#result').is_hidden()
    page.evaluate(DROP, 21 * 2**20)
    page.locator('#picture-error', has_text='the file has 22020096 bytes').wait_for()
    file = {'name': 'x.png', 'mimeType': 'image/png', 'buffer': png_file(ramp())}
    page.locator('#file').set_input_files(file)
    page.locator('#result-words[data-level=ok]').wait_for()
    assert page.locator('#picture-error').inner_text() == ''


def test_the_page_works_by_keyboard_and_on_a_phone_in_the_dark(open_page):
    page = open_page(viewport={'width': 360, 'height': 740}, color_scheme='dark', has_touch=True)
    wait_frames(page, 'camera/heatmap', 1)
    assert page.evaluate(TOO_WIDE) <= 0
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(14, 17, 22)'
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.className') == 'skip'
    page.keyboard.press('Tab')
    page.keyboard.press('ArrowRight')
    assert page.evaluate('document.activeElement.id') == 'tab-picture'
    assert page.locator('#picture').is_visible()
    assert page.locator('#live').is_hidden()
    assert page.evaluate(TOO_WIDE) <= 0


def test_a_depth_node_that_goes_and_comes_back_is_shown_again(open_page, robot, start):
    page = open_page()
    wait_frames(page, 'camera/heatmap', 1)
    assert robot['node'].stop() == 0, robot['node'].output
    page.locator('#live-notice', has_text='No depth node /depth_node found').wait_for()
    page.locator('#controls', has_text='No depth node running').wait_for()
    heatmap = page.locator('figure', has=page.locator('canvas[data-stream="camera/heatmap"]'))
    heatmap.locator('.over', has_text='no new picture').wait_for()
    assert '?' in page.locator('.bars').first.inner_text()  # closeness is unknown now
    robot['node'] = start('nodes.depth.node', *NODE)
    page.locator('#live-notice').wait_for(state='hidden')
    wait_frames(page, 'camera/heatmap', frames(page, 'camera/heatmap') + 3)
    page.get_by_label('Camera overlay', exact=True).wait_for()


def test_a_dashboard_that_goes_and_comes_back_is_found_again(open_page, robot, start):
    page = open_page()
    wait_frames(page, 'camera/heatmap', 1)
    assert robot['dashboard'].stop() == 0, robot['dashboard'].output
    assert 'Traceback' not in robot['dashboard'].output
    page.locator('#connection', has_text='connection lost').wait_for()
    count = frames(page, 'camera/heatmap')
    port = robot['address'].rstrip('/').rpartition(':')[2]
    robot['dashboard'] = start(
        'cli.dashboard', '--port', port, '--model', 'embedded', '--root-path', BELOW
    )
    robot['dashboard'].said('http://')
    page.locator('#connection', has_text='connected').wait_for()
    wait_frames(page, 'camera/heatmap', count + 3)
