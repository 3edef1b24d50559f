"""Pictures that say nothing are told from those that do, in whole and in part."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import midas_depth_ros
from midas_depth_ros.images import FreezeDetector, judge_picture, verdict_for
from midas_depth_ros.images.blindness import (
    BARE,
    GOOD,
    NOISE,
    _bare_tiles,
    _Scales,
    _shrunk,
    _spread,
)
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.sim import WORLDS, Pose
from midas_depth_ros.sim.robot.robot import noisy

SAMPLES = sorted((Path(midas_depth_ros.__file__).parent / 'assets' / 'samples').glob('*.jpg'))
SIZES = [(480, 640), (240, 320), (120, 160), (64, 48)]
KINDS = ('depth_m', 'depth_mm', 'disparity', 'image')  # of single pictures in the manifest
# Not good: nothing but a wall is in them, which says as little as a cover.
BARE_WALLS = {'0018.jpg', '0045.jpg', '0058.jpg', 'rtabmap_corridor_19.jpg'}


def read(path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def sized(rgb, width=640) -> np.ndarray:
    height = round(rgb.shape[0] * width / rgb.shape[1])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)


def stored(values) -> np.ndarray:
    """What a sensor of 8 bits makes of it."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def with_noise(rgb, deviation, seed=0) -> np.ndarray:
    return stored(rgb + np.random.default_rng(seed).normal(0, deviation, rgb.shape))


def darkened(rgb, factor) -> np.ndarray:
    return stored(rgb / factor)


def fogged(rgb, share, light=200) -> np.ndarray:
    return stored(rgb * (1 - share) + light * share)


def blurred(rgb, of_256) -> np.ndarray:
    return cv2.GaussianBlur(rgb, (0, 0), of_256 * rgb.shape[1] / 256)


@pytest.fixture(scope='module')
def samples() -> list[np.ndarray]:
    return [sized(read(path)) for path in SAMPLES]


@pytest.fixture(scope='module')
def real(shared_data) -> dict[str, np.ndarray]:
    listed = json.loads((shared_data / 'MANIFEST.json').read_text())
    paths = [shared_data / entry['image'] for entry in listed if entry['kind'] in KINDS]
    frames = sorted((shared_data / 'sequences').rglob('*.[jp][pn]g'))
    paths += [path for path in frames if 'depth' not in str(path.relative_to(shared_data))]
    return {str(path.relative_to(shared_data)): sized(read(path)) for path in paths}


@pytest.mark.sampled
@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('noise', [0, 1, 8])
def test_a_picture_of_one_colour_says_nothing(size, noise):
    levels = (0, 64, 128, 191, 255) if noise == 8 or size[0] < 480 else (0, 128, 255)
    for colour in itertools.product(levels, repeat=3):
        rgb = np.empty((*size, 3), np.uint8)
        rgb[:] = colour
        if noise:
            rgb = with_noise(rgb, noise)
        assert judge_picture(rgb).reason, (colour, noise)


@pytest.mark.parametrize('noise', [0, 1, 2, 4, 8, 16])
def test_black_with_read_noise_is_said_to_be_dark(noise):
    black = np.zeros((480, 640, 3), np.uint8)
    verdict = judge_picture(with_noise(black, noise) if noise else black)
    assert verdict.reason.startswith('too dark')
    assert np.isnan(verdict.masked(np.ones((192, 256), np.float32))).all()


def test_the_reason_tells_dark_from_bright_and_even():
    def of(level):
        return judge_picture(np.full((480, 640, 3), level, np.uint8)).reason

    assert of(0).startswith('too dark')
    assert of(255).startswith('too bright')
    assert of(120).startswith('too uniform')


def test_a_slope_of_light_says_nothing():
    rows, columns = np.mgrid[:480, :640]
    slope = (40 + 100 * rows / 480 + 60 * columns / 640)[..., None].repeat(3, axis=2)
    assert judge_picture(stored(slope)).reason
    assert judge_picture(with_noise(stored(slope), 6)).reason
    glow = 30 + 150 * np.exp(-((rows - 300) ** 2 + (columns - 200) ** 2) / 2e4)
    assert judge_picture(stored(glow[..., None].repeat(3, axis=2))).reason


@pytest.mark.parametrize('deviation', [20, 60, 120])
def test_noise_alone_says_nothing(deviation):
    grey = np.full((480, 640, 3), 128, np.uint8)
    assert judge_picture(with_noise(grey, deviation)).reason
    small = np.full((192, 256, 3), 128, np.uint8)
    assert judge_picture(with_noise(small, deviation)).reason


def test_a_caption_on_black_says_nothing():
    rgb = np.zeros((480, 640, 3), np.uint8)
    cv2.putText(rgb, 'CAM 1  NO SIGNAL', (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255,) * 3, 3)
    assert judge_picture(rgb).reason
    rgb[:] = (0, 0, 200)
    cv2.putText(rgb, '2026-11-28 12:00', (20, 440), cv2.FONT_HERSHEY_SIMPLEX, 1, (255,) * 3, 2)
    assert judge_picture(rgb).reason


def test_our_own_pictures_are_good(samples):
    assert len(samples) >= 10
    for rgb in samples:
        assert judge_picture(rgb) is GOOD
        assert judge_picture(darkened(rgb, 2)).reason == ''
        assert judge_picture(with_noise(rgb, 10)).reason == ''
        assert judge_picture(fogged(rgb, 0.4)).reason == ''
        assert judge_picture(blurred(rgb, 1)).reason == ''


@pytest.mark.parametrize('size', [(120, 100), (100, 100), (96, 96), (64, 48), (33, 90)])
def test_a_small_picture_of_noise_says_nothing(size):
    rng = np.random.default_rng(5)
    for channels in (1, 3) * 10:
        noise = rng.integers(0, 256, (size[1], size[0], channels), np.uint8)
        assert judge_picture(np.ascontiguousarray(np.broadcast_to(noise, (*size[::-1], 3)))).reason


@pytest.mark.parametrize('kind', WORLDS)
def test_what_the_simulated_robots_see_is_good(kind):
    camera, rng = rig.camera_model(rig.SIZE_MODEL), np.random.default_rng(0)
    seen = []
    for seed in range(6):
        world = WORLDS[kind](seed)
        x, y, yaw = world.start
        # Beside the narrow ways of an uneven world there is nothing but a plain wall.
        for turn in (0.0,) if kind == 'uneven' else (0.0, 1.6, 3.1, 4.7):
            pose = Pose(x, y, 0.3, yaw + turn, 0.25)
            seen.append(judge_picture(noisy(world.render(camera, pose).rgb, 2.0, rng)))
    reasons = [verdict.reason for verdict in seen if verdict.reason]
    bare = kind in ('uneven', 'hazards')  # bare floor and a bare wall, as of carpet before stairs
    assert len(reasons) <= bare, reasons
    assert sum(bool(verdict.partial_reason) for verdict in seen) <= 1


def test_real_pictures_are_not_refused(real):
    refused = {name: judge_picture(rgb).text for name, rgb in real.items()}
    refused = {name: text for name, text in refused.items() if text}
    assert len(real) > 400
    assert {name.rpartition('/')[2] for name in refused} <= BARE_WALLS, refused


CHANGES = {
    # Of these a network still makes much the same: `python -m benchmarks.model_quality blindness`.
    'half as bright': (lambda rgb: darkened(rgb, 2), True),
    'a quarter as bright': (lambda rgb: darkened(rgb, 4), True),
    'a little blurred': (lambda rgb: blurred(rgb, 1.5), True),
    'thin fog': (lambda rgb: fogged(rgb, 0.5), True),
    'much noise': (lambda rgb: with_noise(rgb, 20), True),
    # Of these not.
    '1/32 as bright': (lambda rgb: darkened(rgb, 32), False),
    '1/64 as bright': (lambda rgb: darkened(rgb, 64), False),
    '1/64 as bright, with noise': (lambda rgb: with_noise(rgb / 64, 2), False),
    'out of focus': (lambda rgb: blurred(rgb, 8), False),
    'dense fog': (lambda rgb: fogged(rgb, 0.95), False),
    'a wet lens': (lambda rgb: fogged(blurred(rgb, 4), 0.9), False),
    'all but white': (lambda rgb: stored(rgb * 0.02 + 250), False),
}


@pytest.mark.sampled
@pytest.mark.parametrize('change', CHANGES)
def test_pictures_are_refused_when_a_network_no_longer_knows_near_from_far(real, change):
    alter, good = CHANGES[change]
    chosen = [rgb for name, rgb in real.items() if name.rpartition('/')[2] not in BARE_WALLS][::9]
    assert len(chosen) >= 40
    refused = sum(bool(judge_picture(alter(rgb)).reason) for rgb in chosen)
    assert refused == (0 if good else len(chosen))


def parts(rgb, share):
    """Parts of a picture at every side that are this share of it."""
    height, width = (round(share * side) for side in rgb.shape[:2])
    return {
        'left': np.s_[:, :width],
        'right': np.s_[:, -width:],
        'top': np.s_[:height],
        'bottom': np.s_[-height:],
    }


def covers(rgb, share):
    """A picture covered in part in every way: name, picture, the rows and columns that are."""
    finger = stored(0.3 * blurred(rgb, 24) + (40, 10, 10))
    dark = with_noise(np.zeros_like(rgb), 8)
    for name, part in parts(rgb, share).items():
        for cover in (0, 90, 255):
            covered = rgb.copy()
            covered[part] = cover
            yield f'{name} {cover}', covered, part
        for title, cover in (('black with noise', dark), ('a finger', finger)):
            covered = rgb.copy()
            covered[part] = cover[part]
            yield f'{name} {title}', covered, part


def test_a_picture_that_is_half_covered_is_not_believed(samples):
    for rgb in (sized(each, 320) for each in samples):
        for name, covered, _ in covers(rgb, 0.5):
            assert judge_picture(covered).reason, name


def test_of_a_picture_that_is_covered_in_part_only_the_rest_is_believed(samples):
    seen = 0
    for rgb in (sized(each, 320) for each in samples):
        for name, covered, part in covers(rgb, 0.36):
            verdict = judge_picture(covered)
            if verdict.reason:
                continue  # what remains was not enough
            seen += 1
            hidden = np.isnan(verdict.masked(np.ones(rgb.shape[:2], np.float32)))
            assert hidden[part].mean() > 0.9, name
            rest = hidden.sum() - hidden[part].sum()
            assert rest < 0.2 * hidden.size, name
            assert 'of the picture is unusable' in verdict.partial_reason
            assert verdict.text == verdict.partial_reason
    assert seen > 100


@pytest.mark.parametrize('alter', [lambda rgb: fogged(rgb, 0.95), lambda rgb: blurred(rgb, 12)])
def test_a_side_that_is_fogged_or_blurred_says_nothing(samples, alter):
    for rgb in (sized(each, 320) for each in samples):
        for name, part in list(parts(rgb, 0.36).items())[:2]:
            bad = rgb.copy()
            bad[part] = alter(rgb)[part]
            verdict = judge_picture(bad)
            hidden = np.isnan(verdict.masked(np.ones(rgb.shape[:2], np.float32)))
            third = parts(rgb, 0.31)[name]
            assert hidden[third].mean() > 0.9


def blurred_below(rgb, of_256, share) -> np.ndarray:
    """What a lens gives that is wet below."""
    down = np.arange(len(rgb)) / len(rgb)
    below = np.clip((down - (1 - share)) / 0.05 + 0.5, 0, 1)[:, np.newaxis, np.newaxis]
    return stored(rgb * (1 - below) + blurred(rgb, of_256) * below)


@pytest.mark.sampled
@pytest.mark.parametrize('share', [0.5, 0.6, 0.66])
@pytest.mark.parametrize('of_256', [4, 8, 12])
def test_a_lower_part_that_is_blurred_says_nothing(real, of_256, share):
    """Where the floor is, and what is near."""
    chosen = [rgb for name, rgb in real.items() if name.rpartition('/')[2] not in BARE_WALLS][::9]
    good = 0
    for rgb in chosen:
        verdict = judge_picture(blurred_below(rgb, of_256, share))
        hidden = np.isnan(verdict.masked(np.ones(rgb.shape[:2], np.float32)))
        if hidden[-len(rgb) // 3 :].mean() < 0.9:
            good += 1
    assert good <= 0.05 * len(chosen)


SHAPE = 480, 640, 3
BARS = ((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0),
        (0, 0, 255), (0, 0, 0))  # fmt: skip
STAMP = '2024-03-12 11:22:33'


def as_jpeg(rgb, quality):
    data = cv2.imencode('.jpg', np.ascontiguousarray(rgb[..., ::-1]), [1, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, 1)[..., ::-1])


def written(rgb, text=STAMP, size=1.0, at=(10, 40)):
    rgb = np.ascontiguousarray(rgb)
    return cv2.putText(rgb, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 2)


def sensor_patterns(rng):
    """Of a sensor that sees nothing: every column and row has an offset of its own."""
    for level, deviation in itertools.product((0, 5, 20), (1, 4, 8, 12)):
        column, row = rng.normal(0, deviation, (1, 640, 1)), rng.normal(0, deviation, (480, 1, 1))
        for pattern in (column, row, column + row):
            yield level + pattern + rng.normal(0, 1, SHAPE)


def broken_pixels(rng):
    for level, count in itertools.product((0, 10, 100), (50, 3000, 15000)):
        picture = level + rng.normal(0, 1, SHAPE)
        picture[rng.integers(0, 480, count), rng.integers(0, 640, count)] = 255
        yield picture
        yield as_jpeg(stored(picture), 60)


def banding(rng):
    rows, columns = np.mgrid[:480, :640]
    for period, height, level in itertools.product((8, 40, 80, 160), (5, 15, 40), (20, 120)):
        for axis in (rows, columns):
            wave = height * np.sin(2 * np.pi * axis / period)
            for band in (wave, height * np.sign(wave)):
                yield level + band[..., None] + rng.normal(0, 1, SHAPE)


def blotches(rng):
    """Noise that was enlarged, or smoothed, by the camera."""
    for size, level, deviation in itertools.product((2, 4, 8), (3, 20, 128), (5, 20, 40)):
        noise = level + rng.normal(0, deviation, (480 // size, 640 // size, 3))
        yield cv2.resize(noise, (640, 480), interpolation=cv2.INTER_NEAREST)
        yield cv2.resize(noise, (640, 480), interpolation=cv2.INTER_LINEAR)


def boards(rng):
    rows, columns = np.mgrid[:480, :640]
    for size, (low, high) in itertools.product((3, 4, 8, 16, 32), ((0, 255), (0, 20), (100, 140))):
        board = (rows // size + columns // size) % 2
        lines = (rows % (4 * size) < size) & (columns % (4 * size) < size)
        for pattern in (board, lines):
            yield low + (high - low) * pattern[..., None].repeat(3, axis=2)


def test_pictures(rng):
    bars = np.repeat(np.array(BARS, np.uint8)[None], 80, axis=1).repeat(480, axis=0)
    yield from (bars, as_jpeg(bars, 75), bars + rng.normal(0, 3, SHAPE))
    yield np.ascontiguousarray(cv2.resize(bars[:480, :480].transpose(1, 0, 2), (640, 480)))
    for period in (32, 64, 128, 640):
        ramp = (np.arange(640) % period) * 255 / period
        yield np.broadcast_to(ramp[None, :, None], SHAPE)
    for size in (32, 64):
        blocks = rng.integers(0, 256, (size * 3 // 4, size, 3)).astype(np.uint8)
        yield cv2.resize(blocks, (640, 480), interpolation=cv2.INTER_NEAREST)


def overlays(rng):
    """A recorder without a camera: what it writes and draws is all there is."""
    for level, size, deviation in itertools.product((0, 16, 60, 128), (0.6, 1.0, 3.0), (0, 2)):
        picture = written(np.full(SHAPE, level, np.uint8), size=size)
        yield picture + rng.normal(0, deviation, SHAPE)
        picture = cv2.circle(
            written(picture, 'NO SIGNAL', size, (60, 240)), (320, 330), 60, BARS[5], -1
        )
        for share in (1, 2, 3):
            picture = cv2.line(picture, (0, share * 120), (640, share * 120), (90, 90, 90), 1)
            picture = cv2.line(picture, (share * 160, 0), (share * 160, 480), (90, 90, 90), 1)
        picture = cv2.line(
            cv2.line(picture, (0, 0), (640, 480), BARS[5], 2), (640, 0), (0, 480), BARS[5], 2
        )
        yield picture + rng.normal(0, deviation, SHAPE)


PATTERNS = (sensor_patterns, broken_pixels, banding, blotches, boards, test_pictures, overlays)
test_pictures.__test__ = False


@pytest.mark.sampled
@pytest.mark.parametrize('kind', PATTERNS, ids=lambda kind: kind.__name__)
def test_a_pattern_is_no_scene(kind):
    count = 0
    for picture in kind(np.random.default_rng(0)):
        assert judge_picture(stored(picture)).reason, count
        count += 1
    assert count >= 10


def without_colours(rgb, value):
    yuv = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV)
    yuv[..., 1:] = value
    return cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB)


@pytest.mark.parametrize(('kept', 'colour'), [([1], 'green'), ([0, 2], 'magenta')])
def test_half_of_a_picture_in_one_colour_is_enough(real, kept, colour):
    rgb = sized(next(iter(real.values())))
    grey = np.maximum(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 40)
    for columns, tinted in ((rgb.shape[1] // 2, True), (rgb.shape[1] // 2 - 16, False)):
        picture = np.repeat(grey[..., None], 3, axis=2)
        spoilt = np.zeros((len(rgb), columns, 3), np.uint8)
        spoilt[..., kept] = picture[:, :columns, kept]
        picture[:, :columns] = spoilt
        assert (f'{colour} all over' in judge_picture(picture).reason) == tinted


def cut(rgb, fill, quality=0):
    """The lower half has not come: the last row, or the last rows, again and again."""
    half = rgb.shape[0] // 2
    bad = rgb.copy()
    rows = np.resize(np.arange(half - fill, half), rgb.shape[0] - half)
    bad[half:] = rgb[rows]
    return as_jpeg(bad, quality) if quality else bad


SPOILT = {
    'out of focus, with the time on it': lambda rgb: written(blurred(rgb, 8)),
    'fogged, with the time on it': lambda rgb: written(with_noise(fogged(rgb, 0.96), 1)),
    'dark, with the time on it': lambda rgb: written(darkened(rgb, 64)),
    'decoded without colours: green': lambda rgb: without_colours(rgb, 0),
    'decoded without colours: magenta': lambda rgb: without_colours(rgb, 255),
    'cut: the last row again': lambda rgb: cut(rgb, 1),
    'cut: the last row again, as JPEG': lambda rgb: cut(rgb, 1, 80),
    'cut: the last 16 rows again': lambda rgb: cut(rgb, 16),
    'cut: the upper half again': lambda rgb: cut(rgb, rgb.shape[0] // 2),
}


@pytest.mark.sampled
@pytest.mark.parametrize('change', SPOILT)
def test_writing_does_not_make_a_picture_good_nor_does_half_of_one(real, change):
    chosen = [rgb for name, rgb in real.items() if name.rpartition('/')[2] not in BARE_WALLS][::9]
    accepted = sum(not judge_picture(SPOILT[change](rgb)).reason for rgb in chosen)
    assert accepted == 0


KEPT = {
    'half the size, enlarged': lambda rgb: cv2.resize(
        cv2.resize(rgb, (320, 240)), (640, 480), interpolation=cv2.INTER_NEAREST
    ),
    'JPEG of 50': lambda rgb: as_jpeg(rgb, 50),
    'grey': lambda rgb: cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    'small': lambda rgb: sized(rgb, 160),
    'warm light': lambda rgb: stored(rgb * np.array([1.1, 0.7, 0.3])),
    'infrared': lambda rgb: stored(rgb * np.array([1.0, 0.65, 0.95])),
    'with the time on it': lambda rgb: written(rgb.copy()),
}


@pytest.mark.sampled
@pytest.mark.parametrize('change', KEPT)
def test_what_cameras_do_to_good_pictures_does_not_spoil_them(real, change):
    chosen = [rgb for name, rgb in real.items() if name.rpartition('/')[2] not in BARE_WALLS][::9]
    refused = [each for each in (judge_picture(KEPT[change](rgb)).reason for rgb in chosen) if each]
    assert refused == []


def test_rows_that_are_another_again_are_hidden(samples):
    for rgb in samples:
        bars = rgb.copy()
        bars[-100:] = rgb[-101]
        verdict = judge_picture(bars)
        hidden = np.isnan(verdict.masked(np.ones(rgb.shape[:2], np.float32)))
        assert hidden[-100:].all()


def test_a_good_picture_hides_nothing(samples):
    depth = np.random.default_rng(0).random((192, 256)).astype(np.float32)
    assert judge_picture(samples[0]).masked(depth) is depth


@pytest.mark.parametrize(
    'shape', [(1, 1), (1, 1920), (1920, 1), (20, 30), (31, 31), (32, 4000), (3, 100_000), (33, 47)]
)
def test_any_shape_is_judged(shape):
    rng = np.random.default_rng(0)
    assert judge_picture(np.zeros((*shape, 3), np.uint8)).reason
    verdict = judge_picture(rng.integers(0, 256, (*shape, 3), np.uint8))
    assert verdict.masked(np.ones((32, 64), np.float32)).shape == (32, 64)


def frozen_times(pictures, after_s, interval_s=0.2):
    freeze = FreezeDetector()
    said = [freeze.check(rgb, 10 + i * interval_s, after_s) for i, rgb in enumerate(pictures)]
    return [i * interval_s for i, text in enumerate(said) if text], said


def test_the_same_picture_for_long_is_a_frozen_camera(samples):
    times, said = frozen_times([samples[0]] * 20, 2.0)
    assert times[0] == pytest.approx(2.2)
    assert len(times) == 9
    assert 'frozen: the picture has not changed for 3.8 s' in said[-1]


def clock(samples, i):
    return written(samples[0].copy(), f'12:00:{i:02d}')


def flickering(samples, i):
    picture = samples[0].copy()
    picture[::97, ::61] = 40 * i % 256
    return picture


def two_buffers(samples, i):
    return samples[i % 2]


def ring_of_buffers(samples, i):
    return with_noise(samples[0], 2, i % 5)


@pytest.mark.parametrize('kind', [clock, flickering, two_buffers, ring_of_buffers])
def test_a_clock_or_buffers_sent_in_turn_do_not_hide_that_a_camera_is_frozen(samples, kind):
    times, _ = frozen_times([kind(samples, i) for i in range(30)], 2.0)
    assert times == pytest.approx(list(np.arange(times[0], 5.9, 0.2)))
    assert times[0] <= 3.3


def test_a_jpeg_camera_that_stands_still_is_not_frozen(samples):
    for quality in (30, 75):
        still = [as_jpeg(with_noise(samples[0], 0.4, seed), quality) for seed in range(20)]
        assert frozen_times(still, 1.0)[0] == []


def test_a_camera_that_stands_still_is_not_frozen(samples):
    moving = [with_noise(samples[0], 0.7, seed) for seed in range(20)]
    assert frozen_times(moving, 1.0)[0] == []
    dim = [with_noise(darkened(samples[0], 8), 0.7, seed) for seed in range(20)]
    assert frozen_times(dim, 1.0)[0] == []


def test_it_thaws_with_the_next_picture_and_may_be_left_out(samples):
    freeze = FreezeDetector()
    for i in range(20):
        freeze.check(samples[0], 0.2 * i, 2.0)
    assert freeze.check(samples[1], 4.0, 2.0) == ''
    assert freeze.check(samples[1], 4.2, 2.0) == ''
    assert frozen_times([samples[0]] * 50, 0.0)[0] == []
    # Few pictures far apart are not enough, nor is a recording that begins again.
    assert frozen_times([samples[0]] * 3, 1.0, interval_s=5.0)[0] == []
    for stamp in (0.0, 1.0, 2.0, 3.0, 0.0, 1.0):
        last = freeze.check(samples[2], stamp, 2.5)
    assert last == ''


def test_only_an_estimator_that_sees_pictures_has_them_judged():
    class Seeing:
        of_pictures = True

    black, freeze = np.zeros((240, 320, 3), np.uint8), FreezeDetector()
    assert verdict_for(object(), black) is GOOD
    assert verdict_for(Seeing(), black) == judge_picture(black) != GOOD
    assert verdict_for(Seeing(), black, check=False) is GOOD
    asked = {'check': False, 'freeze': freeze, 'frozen_after_s': 1.0}
    found = [verdict_for(Seeing(), black, stamp_s=0.5 * i, **asked).reason for i in range(6)]
    assert not found[1]
    assert found[-1].startswith('frozen')


def test_a_tile_is_bare_by_what_strays_from_its_even_slope():
    """Against a plane fitted to every tile."""
    rng = np.random.default_rng(2)
    grey = rng.normal(100, 1.0, (192, 256)).astype(np.float32)
    grey += np.linspace(-90, 90, 256, dtype=np.float32)  # a steep slope
    grey[:96] = cv2.GaussianBlur(grey[:96], (0, 0), 3)
    grey[100:180, 30:90] += rng.normal(0, 3, (20, 15)).repeat(4, 0).repeat(4, 1)
    scales = _Scales.of(grey)
    means, bare = _bare_tiles(scales)
    assert 0.2 < bare.mean() < 0.98
    rows, columns = np.indices((8, 8)).reshape(2, -1)
    design = np.stack([rows, columns, np.ones(64)], axis=1)
    for (row, column), is_bare in np.ndenumerate(bare):
        tile = scales.half[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].ravel()
        finest = scales.finest[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        plane = design @ np.linalg.lstsq(design, tile.astype(np.float64), rcond=None)[0]
        strays, limit = np.mean((tile - plane) ** 2), BARE**2 + NOISE * finest.mean()
        assert means[row, column] == pytest.approx(tile.mean(), abs=1e-3)
        assert is_bare == (strays < limit) or strays == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize('size', [2, 3, 57, 768])
def test_contrast_is_between_the_percentiles(size):
    values = np.random.default_rng(size).normal(100, 30, (1, size)).astype(np.float32)
    low, high = np.percentile(values.astype(np.float64), (2, 98))
    assert _spread(values) == pytest.approx(high - low, rel=1e-5)


@pytest.mark.parametrize('before', [(320, 240), (640, 360), (480, 270), (256, 192), (477, 333)])
def test_what_is_averaged_by_blocks_is_as_by_opencv(before):
    grey = np.random.default_rng(3).uniform(0, 255, before[::-1]).astype(np.float32)
    by_opencv = cv2.resize(grey, (256, 192), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(_shrunk(grey, (256, 192)), by_opencv, atol=1e-4)
