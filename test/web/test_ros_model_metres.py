"""The page marks metres that come from the model, and says whether they are checked."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from browsing import find_browser, programs
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from robot_messages import diagnostics
from ros_helpers import Ros

from midas_depth_ros.lab.processes import free_domain

BROWSER = find_browser()
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason='no chromium on PATH: apt install chromium'),
    pytest.mark.skipif(find_spec('playwright') is None, reason='playwright is not installed'),
]
NARROW = {'width': 390, 'height': 844}
LEARNED = 'of the model, learned indoors (rendered rooms, Hypersim)'
REFUTED = (
    "the model's metres are wrong here: 1.60 times the depth of the floor, and a factor of 1.15 is "
    'allowed (scale.check_tolerance); it may not know such places, or the mount is wrong'
)


@pytest.fixture
def world():
    with free_domain() as domain:
        ros = Ros(domain)
        yield ros
        ros.close()


@pytest.fixture
def robot(world, tmp_path):
    with programs(tmp_path, world.environment) as starter:
        dashboard = starter('cli.dashboard', '--port', '0', '--model', 'embedded')
        yield {'dashboard': dashboard, 'address': dashboard.said(r'http://\S+')[0]}


def test_metres_of_the_model_are_marked_on_the_page(open_page, world):
    publisher = world.publisher(DiagnosticArray, '/diagnostics')
    page = open_page(viewport=NARROW)

    def shows(text: str, **values: str) -> None:
        message = diagnostics({'camera': '/camera/image_raw'})
        camera = message.status[1]
        told = {'scale': 'valid', 'scale source': 'model', 'metres': LEARNED, **values}
        for pair in list(camera.values):
            pair.value = told.pop(pair.key, pair.value)
        camera.values += [type(camera.values[0])(key=k, value=v) for k, v in told.items()]
        if values['scale'] != 'valid':
            camera.level, camera.message = DiagnosticStatus.WARN, f'no metres: {REFUTED}'
        line = page.locator('[data-camera] .left-readings', has_text=text)
        for _ in range(100):
            publisher.publish(message)
            world.spin_for(0.1)
            if line.count():
                break
        line.wait_for(timeout=1000)
        wide = page.evaluate('document.documentElement.scrollWidth')
        assert wide <= NARROW['width'], f'the page is {wide} pixels wide'

    unverified = 'unverified: nothing to compare with'
    shows('metres from the model, unverified', scale='valid', **{'metres check': unverified})
    agrees = 'agrees: 1.04 times the depth of the floor'
    shows('metres from the model, checked', scale='valid', **{'metres check': agrees})
    missing = 'not possible: the horizon is not in view'
    shows('metres from the model, checked before', scale='valid', **{'metres check': missing})
    shows('no metric scale', scale=f'none: {REFUTED}', **{'metres check': REFUTED})
    whole = page.locator('[data-camera]').inner_text()
    assert 'indoors (rendered rooms, Hypersim)' in page.locator('[data-camera]').text_content()
    assert '1.60 times the depth of the floor' in whole
