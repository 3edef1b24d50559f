"""POST /api/predict and its results: values, and errors for bad pictures."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from web_pictures import (
    animated_webp,
    bomb,
    decoded,
    gif_file,
    jpeg_file,
    many_scans,
    pillow_file,
    png_bomb,
    png_file,
    ramp,
    zeros_packed,
)

from midas_depth_ros.depth import DepthError, load_estimator
from midas_depth_ros.geometry import turned
from midas_depth_ros.views import Heatmap, HeatmapOptions, side_by_side
from midas_depth_ros.web import pictures
from midas_depth_ros.web.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ramp()
FILE = png_file(PICTURE)
JSON = {'Accept': 'application/json'}


def send(client, data: bytes = FILE, kind: str = 'image/png', headers=None, query: str = ''):
    files = {'image': ('../../etc/passwd', data, kind)}
    return client.post(f'/api/predict{query}', files=files, headers=headers or {})


def expected(estimator, **options) -> np.ndarray:
    depth = estimator.infer(PICTURE)
    estimator.calls -= 1
    return Heatmap().render(depth, PICTURE, 0.0, HeatmapOptions(**options))


@pytest.mark.parametrize(
    ('data', 'kind', 'status', 'words'),
    [
        (b'', 'image/png', 415, ['JPEG, PNG or WebP']),
        (b'hello', 'image/jpeg', 415, ['JPEG, PNG or WebP']),
        (gif_file(PICTURE), 'image/png', 415, ['JPEG, PNG or WebP']),
        (FILE, 'text/html', 415, ['text/html']),
        (FILE, 'image/svg+xml', 415, ['image/svg+xml']),
        (FILE[:-60], 'image/png', 422, ['cut short']),
        (jpeg_file(PICTURE)[:400], 'image/jpeg', 422, ['cut short']),
        (bomb(), 'image/png', 413, ['60000x60000', 'smaller']),
        (png_bomb(16, 16, bits=16, colour=3), 'image/png', 422, ['type 3 have no 16 bits']),
        (png_bomb(5000, 16, bits=16, colour=3), 'image/png', 422, ['type 3 have no 16 bits']),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(
    client, estimator, data, kind, status, words
):
    answer = send(client, data, kind)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.json()['error']
    assert estimator.calls == 0


def test_a_bomb_is_refused_before_it_is_decoded(client, monkeypatch):
    def decode(*arguments):
        raise AssertionError('it was decoded')

    monkeypatch.setattr(pictures, 'decode_compressed', decode)
    assert send(client, bomb()).status_code == 413
    assert send(client, FILE).status_code == 500  # the fake raises


BOMBS = {
    'an ordinary one': lambda: png_bomb(5792, 5792),
    '16 bits of grey': lambda: png_bomb(5792, 5792, bits=16, colour=0),
    'a palette': lambda: png_bomb(5792, 5792, bits=1, colour=3),
    'texts that unpack to 900 MB': lambda: png_bomb(
        64, 48, before=[(b'zTXt', b'k\0\0' + zeros_packed(15_000_000))] * 60
    ),
    'a profile that unpacks to 900 MB': lambda: png_bomb(
        64, 48, before=[(b'iCCP', b'k\0\0' + zeros_packed(900_000_000))]
    ),
    'a large one with texts': lambda: png_bomb(
        5792, 5792, before=[(b'zTXt', b'k\0\0' + zeros_packed(1_000_000))] * 60
    ),
    'texts behind the pixels': lambda: png_bomb(
        64, 48, after=[(b'iTXt', b'k\0\1\0\0\0' + zeros_packed(15_000_000))] * 60
    ),
    'an animation': lambda: png_bomb(5792, 5792, before=[(b'acTL', struct.pack('>II', 10_000, 0))]),
    'a JPEG': lambda: pillow_file('JPEG', (5792, 5792)),
    'a progressive JPEG': lambda: pillow_file('JPEG', (5792, 5792), progressive=True),
    'a JPEG of four colours': lambda: pillow_file('JPEG', (5792, 5792), 'CMYK'),
    'a WebP': lambda: pillow_file('WEBP', (5792, 5792), lossless=True),
}
MEASURE = """
import sys, resource
from midas_depth_ros.web.limits import Limits
from midas_depth_ros.web.pictures import decode
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
data = sys.stdin.buffer.read()
before = peak()
rgb, size = decode(data, Limits())
print(peak() - before, *rgb.shape[:2], *size)
"""


@pytest.mark.sampled
@pytest.mark.parametrize('bomb', BOMBS)
def test_what_unpacks_to_much_takes_little_memory(bomb):
    """Measured from outside: it is the process that would run out of memory."""
    data = BOMBS[bomb]()
    assert len(data) < 2_000_000
    result = subprocess.run(
        [sys.executable, '-c', MEASURE], input=data, capture_output=True, timeout=150, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr.decode()
    mib, height, width, *size = map(int, result.stdout.split())
    assert mib < 320
    assert max(height, width) <= 1920
    assert size in ([5792, 5792], [64, 48])


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda: png_bomb(5792, 5792, bits=16, colour=6), ['5792x5792', 'PNG']),
        (lambda: png_bomb(33_554_432, 1, colour=0), ['33554432x1', '65535 a side']),
        (lambda: png_bomb(1, 70_000, colour=0), ['1x70000', '65535 a side']),
        (lambda: many_scans(), ['scans']),
        (lambda: gif_file(PICTURE), ['JPEG, PNG or WebP']),
        (lambda: pillow_file('TIFF', (64, 48)), ['JPEG, PNG or WebP']),
        (lambda: pillow_file('BMP', (64, 48)), ['JPEG, PNG or WebP']),
        (lambda: pillow_file('ICO', (64, 48)), ['JPEG, PNG or WebP']),
        (lambda: animated_webp(), ['animated']),
    ],
)
def test_what_would_cost_too_much_is_refused_by_its_header(client, estimator, make, words):
    answer = send(client, make())
    assert answer.status_code in (413, 415), answer.text
    for word in words:
        assert word in answer.json()['error']
    assert estimator.calls == 0


@pytest.mark.sampled
@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP'])
def test_a_picture_that_is_reduced_while_it_is_decoded_is_the_same_picture(client, kind):
    large = cv2.resize(PICTURE, (4111, 3083), interpolation=cv2.INTER_CUBIC)
    options = {'quality': 95} if kind == 'JPEG' else {'lossless': True} if kind == 'WEBP' else {}
    answer = send(client, pillow_file(kind, picture=large, **options), headers=JSON).json()
    assert (answer['width'], answer['height']) == (4111, 3083)
    assert (answer['shown_width'], answer['shown_height']) == (1920, 1440)
    shown = decoded(client.get(answer['links']['picture']).content)
    wanted = cv2.resize(large, (1920, 1440), interpolation=cv2.INTER_AREA)
    difference = np.abs(shown.astype(int) - wanted)
    assert difference.max() < 12
    assert difference.mean() < 1


def test_a_large_picture_of_sixteen_bits_keeps_its_high_byte(client):
    grey = (np.linspace(0, 65535, 2400 * 1800).reshape(1800, 2400)).astype(np.uint16)
    answer = send(client, cv2.imencode('.png', grey)[1].tobytes(), headers=JSON).json()
    shown = decoded(client.get(answer['links']['picture']).content)
    wanted = cv2.resize((grey >> 8).astype(np.uint8), (1920, 1440), interpolation=cv2.INTER_AREA)
    assert np.abs(shown[..., 0].astype(int) - wanted).max() <= 2


@pytest.mark.sampled
@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP'])
def test_every_kind_is_turned_as_its_exif_says(client, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pillow_file(kind, picture=PICTURE, exif=exif)
    answer = send(client, data, headers=JSON).json()
    turned = orientation >= 5
    assert (answer['width'], answer['height']) == ((48, 64) if turned else (64, 48))
    shown = decoded(client.get(answer['links']['picture']).content).astype(int)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert('RGB'))
    assert np.abs(shown - wanted).mean() < 1.5


@pytest.mark.parametrize(
    'before',
    [
        [(b'eXIf', b'')],
        [(b'eXIf', b'Exif\0\0' + b'\xff' * 50)],
        [(b'eXIf', b'MM\0*\xff\xff\xff\xff')],
        [(b'tEXt', b'')] * 900,
        [(b'eXIf', b'II*\0\x08\0\0\0' + b'\xff' * 4000)],
    ],
)
def test_a_png_with_a_damaged_orientation_is_upright(client, before):
    answer = send(client, png_bomb(64, 48, before=before), headers=JSON)
    assert answer.status_code == 200, answer.text
    assert (answer.json()['width'], answer.json()['height']) == (64, 48)


@pytest.mark.sampled
@pytest.mark.parametrize('size', [(1, 1920), (1920, 1), (1, 1), (2, 3), (1, 5000), (65_000, 2)])
def test_the_widest_smoothing_of_the_thinnest_picture_is_drawn(make_client, size):
    """A filter as wide as it would be for a broad picture would take hours."""
    client = make_client(make_estimator=lambda: load_estimator('embedded'))
    data = pillow_file('PNG', size)
    assert send(client, data, query='?smoothing=15&clahe_clip=40&gamma=10').status_code == 200
    answer = send(client, data, query='?smoothing=15&view=side_by_side')
    assert answer.status_code in (200, 422), answer.text
    assert client.get('/api/status').json()['pictures']['hung_ever'] == 0


@pytest.mark.parametrize(
    ('arguments', 'status', 'words'),
    [
        ({'json': {'image': 'x'}}, 415, ['application/json', 'multipart/form-data']),
        ({'content': FILE, 'headers': {'Content-Type': 'image/png'}}, 415, ['image/png']),
        ({}, 415, ['missing', 'multipart/form-data']),
        ({'files': {'photo': FILE}}, 422, ['image', 'required']),
        ({'files': {'a': b''}, 'data': {'image': 'text'}}, 422, ['image']),
        (
            {'content': b'--x\r\nrubbish', 'headers': {'Content-Type': 'multipart/form-data'}},
            400,
            ['boundary'],
        ),
    ],
)
def test_a_request_that_cannot_be_one_is_refused(client, arguments, status, words):
    answer = client.post('/api/predict', **arguments)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.json()['error']


@pytest.mark.parametrize(
    'query',
    ['gamma=0', 'gamma=nan', 'gamma=inf', 'gamma=x', 'colormap=pink', 'overlay_alpha=1.1', 'view=x']
    + ['percentile_low=51', 'smoothing=1e9', 'clahe_clip=-1', 'mapping='],
)
def test_options_outside_their_bounds_are_refused(client, query):
    answer = send(client, query=f'?{query}')
    assert answer.status_code == 422
    assert query.partition('=')[0] in answer.json()['error']


def test_a_picture_becomes_the_heatmap_that_the_node_would_draw(client, estimator):
    answer = send(client)
    assert (answer.status_code, answer.headers['content-type']) == (200, 'image/png')
    np.testing.assert_array_equal(decoded(answer.content), expected(estimator))


def test_views_and_options(client, estimator):
    query = '?view=side_by_side&colormap=turbo&gamma=0.5&overlay_alpha=0.25&percentile_low=10'
    answer = send(client, query=query)
    options = {'colormap': 'turbo', 'gamma': 0.5, 'overlay_alpha': 0.25, 'percentile_low': 10}
    heatmap = expected(estimator, **options)
    near = client.dashboard.pictures.find(answer.headers['x-result-id']).closeness
    pair = side_by_side(PICTURE, heatmap, closeness=(near.left, near.centre, near.right))
    np.testing.assert_array_equal(decoded(answer.content), pair)
    picture = decoded(send(client, query='?view=picture').content)
    np.testing.assert_array_equal(picture, PICTURE)


def test_the_same_picture_twice_is_inferred_once(client, estimator):
    first, second = send(client), send(client, kind='application/octet-stream')
    assert [each.headers['x-cache'] for each in (first, second)] == ['miss', 'hit']
    assert first.content == second.content
    assert estimator.calls == 1
    other = send(client, png_file(PICTURE[::-1]))
    assert other.headers['x-cache'] == 'miss'
    assert other.content != first.content
    assert estimator.calls == 2


def test_json_tells_what_is_known_and_where_the_rest_is(client, estimator):
    answer = send(client, headers=JSON).json()
    assert (answer['width'], answer['height'], answer['cached']) == (64, 48, False)
    assert (answer['model'], answer['backend']) == ('brightness', 'numpy')
    assert set(answer['closeness']) == {'left', 'centre', 'right', 'reason'}
    assert send(client, headers=JSON).json()['cached']
    heatmap = client.get(answer['links']['heatmap'] + '?colormap=viridis')
    np.testing.assert_array_equal(decoded(heatmap.content), expected(estimator, colormap='viridis'))
    depth = client.get(answer['links']['depth'])
    assert depth.headers['content-type'] == 'application/x-npy'
    values = np.load(io.BytesIO(depth.content))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, estimator.estimate(PICTURE))


def test_drawing_anew_infers_nothing(client, estimator):
    links = send(client, headers=JSON).json()['links']
    pictures = {
        client.get(f'{links["heatmap"]}?gamma={gamma}').content for gamma in (0.5, 1.0, 2.0)
    }
    assert len(pictures) == 3
    assert estimator.calls == 1


def test_a_result_that_is_not_kept_is_said_to_be_gone(client):
    answer = client.get(f'/api/results/{"0" * 64}/heatmap.png')
    assert answer.status_code == 404
    assert 'send it again' in answer.json()['error']
    for path in ('../../etc/passwd', '%2e%2e%2fetc', 'A' * 64, '0' * 63):
        assert client.get(f'/api/results/{path}/heatmap.png').status_code in (404, 422)


def test_the_oldest_pictures_make_room(make_client):
    client = make_client(limits=Limits(cache_bytes=2 * PICTURE.nbytes))
    first = send(client).headers['x-result-id']
    for shift in (1, 2):
        send(client, png_file(np.roll(PICTURE, 7 * shift, axis=1)))
    assert client.get(f'/api/results/{first}/heatmap.png').status_code == 404
    assert send(client).headers['x-cache'] == 'miss'


def test_a_picture_from_a_phone_is_turned_upright(client):
    turned = send(client, jpeg_file(PICTURE, orientation=6), 'image/jpeg', JSON).json()
    assert (turned['width'], turned['height']) == (48, 64)
    upright = decoded(client.get(turned['links']['picture']).content)
    assert abs(upright.astype(int) - np.rot90(PICTURE, -1).astype(int)).mean() < 3


def test_a_large_picture_is_kept_smaller(make_client):
    client = make_client(limits=Limits(kept_side=48))
    answer = send(client, headers=JSON).json()
    assert (answer['width'], answer['height']) == (64, 48)
    assert (answer['shown_width'], answer['shown_height']) == (48, 36)
    assert decoded(client.get(answer['links']['heatmap']).content).shape == (36, 48, 3)


@pytest.mark.parametrize(
    ('accept', 'kind'),
    [
        ('*/*', 'image/png'),
        ('', 'image/png'),
        ('image/*', 'image/png'),
        ('application/json', 'application/json'),
        ('application/json;q=0.9, image/png;q=0.1', 'application/json'),
        ('application/json;q=0.1, */*', 'image/png'),
        ('text/html, application/*;q=0.2', 'application/json'),
        ('image/png;q=0, */*', 'application/json'),
        ('text/html', None),
        ('image/png;q=0', None),
        ('image/png;q=rubbish', None),
    ],
)
def test_accept_chooses_between_png_and_json(client, accept, kind):
    answer = send(client, headers={'Accept': accept})
    if kind is None:
        assert answer.status_code == 406
        assert 'image/png' in answer.json()['error']
    else:
        assert answer.headers['content-type'] == kind


def test_a_model_that_is_not_there_is_said_without_naming_files(make_client):
    def no_model():
        raise DepthError('/home/robot/secret/weights.pt is missing')

    answer = send(make_client(make_estimator=no_model))
    assert answer.status_code == 503
    assert 'log' in answer.json()['error']
    assert 'secret' not in answer.text


def test_a_fault_of_the_program_shows_nothing_of_its_inside(client, estimator):
    estimator.fail_next = RuntimeError('/home/robot/secret went wrong')
    answer = send(client)
    assert answer.status_code == 500
    assert json.loads(answer.text).keys() == {'error'}
    assert 'secret' not in answer.text
    assert 'Traceback' not in answer.text
    assert send(client).status_code == 200


class Seeing:
    """An estimator whose depth comes from the picture: floor below, far above."""

    model, backend, notice, of_pictures = 'seeing', 'numpy', '', True

    def infer(self, rgb):
        rows = np.linspace(-1, 1, 48, dtype=np.float32)[:, None]
        return np.broadcast_to(np.maximum(rows, 0), (48, 64)).copy()

    def enlarge(self, small, shape):
        return cv2.resize(small, shape[::-1])

    def close(self):
        pass


SAMPLE = Path(pictures.__file__).parents[1] / 'assets' / 'samples' / 'room_1.jpg'


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda good: np.zeros_like(good), 'too dark'),
        (lambda good: np.full_like(good, 255), 'too bright'),
        (lambda good: cv2.GaussianBlur(good, (0, 0), 30), ''),
        (lambda good: np.uint8(good * 0.04 + 190), 'fogged'),
    ],
)
def test_of_a_picture_that_says_nothing_closeness_is_unknown(make_client, make, words):
    good = cv2.resize(cv2.imread(str(SAMPLE)), (320, 240))
    client = make_client(make_estimator=Seeing)
    known = send(client, cv2.imencode('.png', good)[1].tobytes(), headers=JSON).json()
    assert known['blind'] == ''
    assert known['closeness']['centre'] is not None
    data = cv2.imencode('.png', make(good))[1].tobytes()
    answer = send(client, data, headers=JSON).json()
    assert words in answer['blind']
    assert answer['blind']
    assert [answer['closeness'][side] for side in ('left', 'centre', 'right')] == [None] * 3
    assert answer['blind'] in answer['closeness']['reason']
    grey = decoded(client.get(answer['links']['heatmap']).content)
    assert (grey == grey[0, 0]).all()
    assert send(client, data).headers['X-Blind'] == answer['blind']


def test_of_a_picture_that_is_covered_in_part_that_part_is_unknown(make_client):
    good = cv2.resize(cv2.imread(str(SAMPLE)), (320, 240))
    good[:, :115] = 0
    client = make_client(make_estimator=Seeing)
    data = cv2.imencode('.png', good)[1].tobytes()
    answer = send(client, data, headers=JSON).json()
    assert 'of the picture is unusable' in answer['blind']
    assert answer['closeness']['left'] is None
    assert answer['closeness']['right'] is not None


def test_a_picture_of_a_camera_on_its_head_is_turned_first(client, estimator):
    upright = send(client, headers=JSON).json()
    for rotate in (90, 180, 270):
        mounted = png_file(turned(PICTURE, -rotate % 360))
        found = send(client, mounted, headers=JSON, query=f'?rotate={rotate}').json()
        assert not found['cached']
        for name in ('width', 'height', 'closeness'):
            assert found[name] == upright[name], name
        shown = client.get(found['links']['picture'])
        np.testing.assert_array_equal(decoded(shown.content), PICTURE)
        # The same file unturned is another picture.
        assert send(client, mounted, headers=JSON).json()['id'] != found['id']
        assert send(client, mounted, headers=JSON, query=f'?rotate={rotate}').json()['cached']
    for bad in ('45', '360', '-90', 'x'):
        assert send(client, query=f'?rotate={bad}').status_code == 422
