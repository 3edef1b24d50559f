"""Pictures that say nothing, through the commands: no closeness, no points, no metres of them.

The embedded model gives every one of them a plausible room.
"""

from __future__ import annotations

import json
import math
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import raw_message, write_bag, write_image_bag
from PIL import Image

import midas_depth_ros
from midas_depth_ros.cli.image_outputs import Result
from midas_depth_ros.cli.options import Look, Metres
from midas_depth_ros.cli.video import VideoView
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.geometry import CameraMount, Refusal, closeness
from midas_depth_ros.images import judge_picture
from midas_depth_ros.views import Heatmap, HeatmapOptions
from midas_depth_ros.views.heatmap import INVALID_GREY

from .test_image_command import ALL, MODEL, OUT, ply
from .test_video_command import read_video, write_video

if find_spec('rclpy'):
    import ros_helpers  # noqa: F401 - before the first message, see there

SAMPLES = sorted((Path(midas_depth_ros.__file__).parent / 'assets' / 'samples').glob('*.jpg'))
SIZE = 320, 240
METRES = ('--camera-height', '0.3', '--camera-pitch', '0.2', '--horizontal-fov', '1.4')
GREY = INVALID_GREY
WITH_ROS = pytest.mark.skipif(not find_spec('rclpy'), reason='a bag is processed by the node')


def stored(values) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def sample(index: int = 0) -> np.ndarray:
    picture = cv2.cvtColor(cv2.imread(str(SAMPLES[index])), cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)


def noisy(values, deviation: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return stored(values + rng.normal(0, deviation, (*SIZE[::-1], 3)))


def covered(share: float, side: str = 'left', level: int = 40) -> np.ndarray:
    """A good picture of which this share is hidden."""
    rgb, width = sample(), round(share * SIZE[0])
    columns = np.s_[:width] if side == 'left' else np.s_[-width:]
    rgb[:, columns] = noisy(np.full((*SIZE[::-1], 3), level), 1.5)[:, columns]
    return rgb


BLIND = {
    'black': lambda: noisy(np.zeros(3), 0),
    'read noise': lambda: noisy(np.zeros(3), 8),
    'white': lambda: noisy(np.full(3, 255), 0),
    'grey': lambda: noisy(np.full(3, 128), 2),
    'blue': lambda: noisy(np.array([0, 0, 255]), 0),
    'much noise': lambda: noisy(np.full(3, 128), 60),
    '1/64 as bright': lambda: noisy(sample() / 64, 1),
    'fog': lambda: noisy(sample() * 0.05 + 190, 0.6),
    'out of focus': lambda: cv2.GaussianBlur(sample(), (0, 0), 12),
    'half covered, left': lambda: covered(0.5),
    'half covered, right': lambda: covered(0.5, 'right', 255),
}


def unknown(near: dict) -> bool:
    return [near[side] for side in ('left', 'centre', 'right')] == [None] * 3


def hatched(picture: np.ndarray) -> bool:
    """Whether the bars below a heatmap show no colour that stands for a closeness."""
    strip = picture[SIZE[1] :, -SIZE[0] :].astype(int)
    return int(np.ptp(strip, axis=2).max()) < 40


@pytest.mark.sampled
@pytest.mark.parametrize('metres', [(), METRES, ('--fixed-scale', '0.5')], ids=' '.join)
@pytest.mark.parametrize('kind', BLIND)
def test_a_picture_that_says_nothing_has_no_closeness_no_points_and_a_reason(
    midas_depth, save, kind, metres
):
    rgb = BLIND[kind]()
    reason = judge_picture(rgb).reason
    result = midas_depth('image', save('a.png', rgb), *MODEL, *metres, '--json')
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)['pictures']
    assert unknown(found['closeness'])
    assert found['closeness']['reason'] == f'the picture is {reason}'
    assert found['blind'] == reason != ''
    blind, refused = result.stderr.splitlines()
    assert blind.endswith(f'a.png: blind: the picture is {reason}')
    because = 'no metric scale: ' if metres else ''
    assert refused.endswith(f'a.png: no cloud: {because}the picture is {reason}')
    assert found['faults'] == [refused]
    assert not (OUT / 'a_cloud.ply').exists()
    heatmap = cv2.imread(str(OUT / 'a_heatmap.png'))
    assert (heatmap == GREY).all()
    overlay = cv2.imread(str(OUT / 'a_overlay.png'))[..., ::-1].astype(int)
    np.testing.assert_allclose(overlay, (GREY + rgb.astype(int)) / 2, atol=1)
    assert hatched(cv2.imread(str(OUT / 'a_side_by_side.png')))


@pytest.mark.sampled
@pytest.mark.parametrize('kind', BLIND)
def test_metres_of_a_blind_picture_are_grey(midas_depth, save, kind):
    rgb = BLIND[kind]()
    calls = ('--mode', 'metric', '--only', 'heatmap', *METRES)
    assert midas_depth('image', save('a.png', rgb), *MODEL, *calls).exit_code == 0
    made = cv2.imread(str(OUT / 'a_heatmap.png'))
    # But for the words 'no metric scale' in its middle.
    assert (made[:60] == GREY).all()
    assert int(np.ptp(made.astype(int), axis=2).max()) < 10


def test_what_the_network_says_is_kept_as_it_is(midas_depth, save):
    """As relative_inverse_depth/image of the node and depth.npy of the HTTP API are."""
    for name, rgb in (('black', BLIND['black']()), ('part', covered(0.36))):
        midas_depth('image', save(f'{name}.png', rgb), *MODEL)
        expected = load_estimator('embedded', 'opencv').estimate(rgb)
        np.testing.assert_allclose(np.load(OUT / f'{name}_depth.npy'), expected, atol=1e-5)
        with Image.open(OUT / f'{name}_depth16.png') as opened:
            assert opened.text['near'] == repr(float(expected.max()))


@pytest.mark.parametrize('side', ['left', 'right'])
@pytest.mark.parametrize('metres', [(), ('--fixed-scale', '0.5')], ids=' '.join)
def test_of_a_picture_that_is_covered_in_part_only_the_rest_is_believed(
    midas_depth, save, side, metres
):
    rgb = covered(0.36, side)
    verdict = judge_picture(rgb)
    assert verdict.partial_reason
    result = midas_depth('image', save('a.png', rgb), *MODEL, *metres, '--json')
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)['pictures']
    assert found['blind'] == verdict.partial_reason
    assert found['closeness'][side] is None
    assert result.stderr.strip().endswith(f'a.png: {verdict.partial_reason}')
    hidden = np.s_[:, :100] if side == 'left' else np.s_[:, -100:]
    heatmap = cv2.imread(str(OUT / 'a_heatmap.png'))
    assert (heatmap[hidden] == GREY).all()
    assert (heatmap == GREY).all(axis=2).mean() < 0.6
    _, table = ply(OUT / 'a_cloud.ply')
    x = table['x'] / table['z']
    assert len(table) > 0
    assert x.min() > -0.3 if side == 'left' else x.max() < 0.3


def test_the_reason_stands_below_the_heatmap_and_in_one_line(midas_depth, save):
    paths = [save(f'{name}.png', rgb) for name, rgb in
             (('a', sample()), ('b', BLIND['black']()), ('c', BLIND['white']()))]  # fmt: skip
    result = midas_depth('image', *paths, *MODEL, '--only', 'side-by-side')
    assert result.exit_code == 0
    said = result.stderr.splitlines()
    assert [Path(line.partition(':')[0]).name for line in said] == ['b.png', 'c.png']
    assert result.stdout == f'3 of 3 done: side-by-side in {OUT}\n'


def test_names_in_what_is_said_of_a_blind_picture_are_printable(midas_depth, save):
    save('a\x1b[31m.png', BLIND['black']())
    result = midas_depth('image', 'a\x1b[31m.png', *MODEL, '--only', 'npy')
    assert '\x1b' not in result.output
    assert '\\x1b[31m.png: blind: the picture is too dark' in result.stderr


def test_json_names_what_failed_and_is_json_whatever_comes(midas_depth, save, tmp_path):
    (tmp_path / 'bad.png').write_bytes(b'no picture')
    call = ('bad.png', 'nowhere.png', save('a.png', sample()), '--only', 'npy', '--json')
    result = midas_depth('image', *call, *MODEL)
    assert result.exit_code == 1
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert (found['done'], found['output']) == (1, str(OUT))
    bad, nowhere, good = found['pictures']
    assert bad['picture'] == 'bad.png'
    assert 'bad.png' in bad['faults'][0]
    assert 'nowhere.png' in nowhere['faults'][0]
    assert (good['faults'], good['blind'], good['closeness']['reason']) == ([], '', '')


@pytest.mark.sampled
@pytest.mark.parametrize('index', range(0, len(SAMPLES), 3))
def test_good_pictures_come_out_as_if_nobody_judged(midas_depth, save, index):
    rgb = sample(index)
    path = save('a.png', rgb)
    said = []
    for folder, options in (('judged', ()), ('not', ('--no-picture-check',))):
        result = midas_depth('image', path, *MODEL, '-o', folder, '--json', *options)
        assert (result.exit_code, result.stderr) == (0, '')
        said.append(json.loads(result.stdout)['pictures'][0])
    for ending in ALL:
        assert Path(f'judged/a{ending}').read_bytes() == Path(f'not/a{ending}').read_bytes()
    assert said[0] == said[1]
    estimator = load_estimator('embedded', 'opencv')
    answer = estimator.infer(rgb)
    expected = Heatmap().render(answer, rgb, 0.0, HeatmapOptions(), rgb.shape[:2])
    np.testing.assert_array_equal(cv2.imread('judged/a_heatmap.png')[..., ::-1], expected)
    near = closeness(answer)
    for side in ('left', 'centre', 'right'):
        value = getattr(near, side)
        assert said[0]['closeness'][side] == (None if math.isnan(value) else round(value, 4))


class OfSomebody:
    """An estimator that does not say whether its depth comes from what the picture shows."""

    model = 'mine'

    def __init__(self) -> None:
        self._estimator = load_estimator('embedded', 'opencv')
        self.infer, self.enlarge = self._estimator.infer, self._estimator.enlarge


def test_pictures_are_only_judged_for_what_sees_them():
    look = Look(HeatmapOptions(), Metres(CameraMount(0.3, 0.2), horizontal_fov_rad=1.4))
    black = BLIND['black']()
    assert Result('a', black, OfSomebody(), look).verdict.text == ''
    seen = Result('a', black, load_estimator('embedded', 'opencv'), look)
    assert isinstance(seen.scale, Refusal)
    assert seen.scale.reason.startswith('the picture is too dark')
    view = VideoView(OfSomebody(), look, 0.2, 0.3, frozen_after_s=0.1)
    for index in range(9):
        view.draw(black, index / 10, 'x')
    assert (view.blind, view.partly_blind) == (0, 0)


# --- videos and bags


def clip(*kinds: str, each: int = 4) -> list[np.ndarray]:
    """Frames of these kinds, one after the other; those of a good one are not the same."""
    return [
        noisy(sample(), 1.0, number) if kind == 'good' else BLIND[kind]()
        for kind in kinds
        for number in range(each)
    ]


def panels(picture: np.ndarray) -> np.ndarray:
    """The heatmap of a side-by-side picture."""
    return picture[: SIZE[1], -SIZE[0] :].astype(int)


@pytest.mark.sampled
@pytest.mark.parametrize('mode', [(), ('--mode', 'metric', *METRES)], ids=['relative', 'metric'])
@pytest.mark.parametrize(
    'kind', ['black', 'read noise', 'white', 'grey', 'fog', 'out of focus', 'half covered, left']
)
def test_blind_frames_of_a_video_are_grey_and_counted(midas_depth, tmp_path, kind, mode):
    write_video(tmp_path / 'in.avi', clip('good', kind, 'good'))
    result = midas_depth('video', 'in.avi', *MODEL, *mode, '-o', 'out.avi')
    assert result.exit_code == 0
    counted = next(line for line in result.stdout.splitlines() if 'blind' in line)
    assert counted.startswith('4 of 12 frames are blind, 0 in part; the first reason: ')
    assert result.stdout.splitlines()[-1] == '12 frames in out.avi'
    made, _ = read_video(tmp_path / 'out.avi')
    colourful = [np.ptp(panels(each), axis=2).mean() > 20 for each in made]
    # In metres the colours need a floor that was found; nowhere may a blind frame have any.
    assert not any(colourful[4:8])
    if not mode:
        assert colourful == [True] * 4 + [False] * 4 + [True] * 4


def test_a_summary_of_a_video_as_json(midas_depth, tmp_path):
    write_video(tmp_path / 'in.avi', [*clip('good', 'black'), *[covered(0.36)] * 3])
    result = midas_depth('video', 'in.avi', *MODEL, '-o', 'out.avi', '--json')
    found = json.loads(result.stdout)
    assert found.pop('blind').startswith('too dark: ')
    assert found == {
        'output': 'out.avi', 'frames': 11, 'frames_without_metres': 0, 'last_refusal': '',
        'blind_frames': 4, 'partly_blind_frames': 3, 'faults': [],
    }  # fmt: skip
    write_video(tmp_path / 'in.avi', clip('good'))
    result = midas_depth('video', 'in.avi', *MODEL, '-o', 'out.avi', '--json', '--force')
    assert json.loads(result.stdout)['blind'] == ''


def test_a_scale_from_before_makes_no_metres_of_a_blind_frame():
    mount = CameraMount(0.3, 0.2)
    look = Look(HeatmapOptions(mode='metric'), Metres(mount, horizontal_fov_rad=1.4))
    estimator = load_estimator('embedded', 'opencv')
    good = next(
        rgb for rgb in map(sample, range(len(SAMPLES)))
        if not isinstance(Result('a', rgb, estimator, look).scale, Refusal)
    )  # fmt: skip
    view = VideoView(estimator, look, 0.2, 0.3)
    view.draw(good, 0.0, 'x')
    known = view.draw(good, 0.1, 'x')  # a scale is kept once two frames have agreed on it
    assert np.ptp(panels(known), axis=2).mean() > 5
    blind = view.draw(BLIND['grey'](), 0.2, 'x')
    # The legend at the side keeps its colours.
    assert (blind[: SIZE[1], -SIZE[0] : -SIZE[0] // 3] == GREY).all()


def test_good_frames_around_a_blind_one_do_not_jump():
    look = Look(HeatmapOptions(), Metres())
    view = VideoView(load_estimator('embedded', 'opencv'), look, 0.2, 0.3)
    before = panels(view.draw(sample(), 0.0, 'x'))
    view.draw(BLIND['black'](), 0.1, 'x')
    after = panels(view.draw(sample(), 0.2, 'x'))
    assert np.abs(after - before).max() <= 3


@pytest.fixture
def still():
    """A recording of a camera that gives one picture again and again, for 5 s of 5 Hz."""
    return [
        (1000 + n * 200_000_000, '/camera/image_raw', raw_message(sample(), 1 + n * 200_000_000))
        for n in range(25)
    ]


def test_frames_of_a_camera_that_stand_still_are_frozen(midas_depth, tmp_path, still):
    write_bag(tmp_path / 'bag', still)
    result = midas_depth('video', 'bag', *MODEL)
    assert result.exit_code == 0
    counted, made = result.stdout.splitlines()
    assert counted.startswith('14 of 25 frames are blind, 0 in part; the first reason: frozen: ')
    assert made == '25 frames in bag_depth.mp4'
    for options in (('--frozen-after', '0'), ('--frozen-after', '10')):
        result = midas_depth('video', 'bag', *MODEL, '--force', *options)
        assert result.stdout == '25 frames in bag_depth.mp4\n'


def test_a_paused_video_and_a_picture_played_again_are_not_frozen(midas_depth, tmp_path, save):
    write_video(tmp_path / 'in.avi', [sample()] * 40, rate_hz=10.0)
    result = midas_depth('video', 'in.avi', *MODEL, '-o', 'out.avi')
    assert result.stdout == '40 frames in out.avi\n'
    for number in range(40):
        save(f'folder/{number}.png', sample())
    result = midas_depth('video', 'folder', *MODEL, '-o', 'out.avi', '--force')
    assert result.stdout == '40 frames in out.avi\n'


def messages_of(path: Path) -> dict[str, list]:
    from rosbags.highlevel import AnyReader

    found: dict[str, list] = {}
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            name = connection.topic.removeprefix('/camera/')
            found.setdefault(name, []).append(reader.deserialize(data, connection.msgtype))
    return found


@pytest.mark.sampled
@WITH_ROS
@pytest.mark.parametrize('kind', BLIND)
def test_a_bag_of_blind_pictures_has_no_closeness_and_nothing_in_metres(
    midas_depth, tmp_path, kind
):
    write_image_bag(tmp_path / 'in', [BLIND[kind]()] * 4, with_camera_info=True)
    mount = [f'-p{name}:={value}' for name, value in
             (('model', 'embedded'), ('camera_height', 0.3), ('camera_pitch', 0.2))]  # fmt: skip
    result = midas_depth('bag', 'in', 'out', *mount)
    assert result.exit_code == 0, result.output
    assert 'last frame without metres: the picture is ' in result.stdout
    made = messages_of(tmp_path / 'out')
    for message in made['closeness']:
        assert np.isnan([message.vector.x, message.vector.y, message.vector.z]).all()
    assert len(made['closeness']) == len(made['relative_inverse_depth/image']) == 4
    for name in ('scan', 'seen_free', 'proximity', 'nearest_point', 'points', 'depth/image'):
        assert name not in made


@WITH_ROS
def test_the_same_bag_of_good_pictures_has_them(midas_depth, tmp_path):
    """Else the test above could not fail."""
    write_image_bag(
        tmp_path / 'in', [sample(n) for n in range(len(SAMPLES))], with_camera_info=True
    )
    mount = [f'-p{name}:={value}' for name, value in
             (('model', 'embedded'), ('camera_height', 0.3), ('camera_pitch', 0.2))]  # fmt: skip
    assert midas_depth('bag', 'in', 'out', *mount).exit_code == 0
    made = messages_of(tmp_path / 'out')
    assert np.isfinite([message.vector.y for message in made['closeness']]).any()
    assert not np.isnan(np.concatenate([message.ranges for message in made['scan']])).all()
