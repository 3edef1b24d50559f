"""The page as shipped: complete, self-contained and accessible."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from midas_depth_ros.web.app import STATIC, read_assets

FILES = read_assets()
TEXTS = {
    name: file.data.decode() for name, file in FILES.items() if file.media_type != 'image/jpeg'
}


class Page(HTMLParser):
    """Every element of the page: its name and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(TEXTS['index.html'])

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


PAGE = Page()


@pytest.mark.parametrize('name', TEXTS)
def test_nothing_is_fetched_from_elsewhere(name):
    addresses = set(re.findall(r'(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}', TEXTS[name]))
    assert addresses <= {'http://www.w3.org'}, addresses  # the name of SVG, not an address


def test_every_file_that_is_named_is_there():
    named = set()
    for text in TEXTS.values():
        named |= set(re.findall(r'static/([\w./-]+)', text))
        named |= set(re.findall(r"from '\./([\w./-]+)'", text))
    assert {'main.js', 'style.css', 'icon.svg'} <= named
    assert named <= set(FILES)
    unused = set(FILES) - named - {'index.html'}
    assert {name for name in unused if not name.startswith('samples/')} == set()


def test_every_address_in_the_page_is_relative(client):
    """A reverse proxy may serve the page below a path unknown to it."""
    for name, text in TEXTS.items():
        quoted = re.findall(r"""["'`(](/[\w.][\w./-]*)""", text)
        assert quoted == [], name


def test_the_page_has_no_inline_script_or_style(client):
    assert client.get('/').text == TEXTS['index.html']
    for tag, attributes in PAGE.elements:
        assert 'style' not in attributes
        assert not [name for name in attributes if name.startswith('on')]
        assert tag != 'style'
        if tag == 'script':
            assert attributes.get('src')


def test_scripts_never_parse_text_as_html():
    for name, text in TEXTS.items():
        assert not re.search(
            r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(', text
        ), name


def test_the_page_is_labelled():
    ids = [attributes['id'] for _, attributes in PAGE.elements if 'id' in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in PAGE.elements:
        for name in ('aria-labelledby', 'aria-controls'):
            assert set((attributes.get(name) or '').split()) <= set(ids)
        if tag == 'img':
            assert 'alt' in attributes
    tags = {tag for tag, _ in PAGE.elements}
    assert {'main', 'header', 'footer', 'h1'} <= tags
    assert dict(PAGE.elements[0][1]) == {'lang': 'en'} or PAGE.elements[0][0] == 'html'


def luminance(colour: str) -> float:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize(
    ('text', 'ground'),
    [
        *[(text, ground) for text in ('text', 'dim', 'accent') for ground in ('back', 'card')],
        *[(name, f'{name}-back') for name in ('good', 'warn', 'bad')],
        ('dim', 'track'),
    ],
)
def test_texts_stand_out_from_their_ground(scheme, text, ground):
    """WCAG 2.1, 1.4.3: a contrast of 4.5."""
    blocks = re.findall(r':root \{(.*?)\}', TEXTS['style.css'], re.DOTALL)
    colours = dict(re.findall(r'--([\w-]+): (#[0-9a-f]{6})', blocks[scheme == 'dark']))
    bright, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_both_schemes_and_reduced_motion_are_there():
    assert 'prefers-color-scheme: dark' in TEXTS['style.css']
    assert 'prefers-reduced-motion: reduce' in TEXTS['style.css']
    assert ':focus-visible' in TEXTS['style.css']


def test_samples_are_pictures_of_a_sensible_size(client):
    samples = client.get('/api/about').json()['samples']
    assert len(samples) >= 3
    for name in samples:
        answer = client.get(f'/static/{name}')
        assert answer.headers['content-type'] == 'image/jpeg'
        assert len(answer.content) < 60_000
        picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (240, 320, 3)


@pytest.mark.parametrize(
    'path', ['nothing.js', '../app.py', '..%2fapp.py', '%2e%2e/app.py', '/etc/passwd', '']
)
def test_only_files_of_the_page_are_given(client, path):
    answer = client.get(f'/static/{path}')
    assert answer.status_code == 404
    assert answer.json()['error']


def test_files_are_given_with_their_type_and_only_when_they_changed(client):
    for name, kind in (('main.js', 'text/javascript'), ('style.css', 'text/css')):
        answer = client.get(f'/static/{name}')
        assert answer.headers['content-type'].startswith(kind)
        assert answer.content == (STATIC / name).read_bytes()
        again = client.get(f'/static/{name}', headers={'If-None-Match': answer.headers['etag']})
        assert (again.status_code, again.content) == (304, b'')
