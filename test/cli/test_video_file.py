"""What `midas_depth video` writes: times, sound, layouts, and that browsers play it."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from bags import write_image_bag
from films import film_length, film_times, heard, packets, write_film

from midas_depth_ros.cli import video as video_command
from midas_depth_ros.cli.video_file import FORMATS, Clock, VideoFile, encoder_of
from midas_depth_ros.images.sources import Frame, Source
from midas_depth_ros.lab.output import CommandError

from .conftest import corridor

MODEL = ('--model', 'embedded', '--backend', 'opencv')
IRREGULAR_S = [0.0, 0.033, 0.067, 0.103, 0.139, 0.161, 0.9, 0.91, 1.5, 1.965]
PICTURES = [corridor(shift=2 * index) for index in range(10)]


@pytest.fixture
def film(tmp_path):
    """A film of a browser: a header of 1000 Hz, other times, and two tracks of sound."""
    sound = ('libopus', 'libopus')
    return write_film(tmp_path / 'in.webm', PICTURES, IRREGULAR_S, 'libvpx-vp9', sound)


@pytest.mark.sampled
@pytest.mark.parametrize('ending', FORMATS)
def test_pictures_are_shown_when_they_were_and_the_sound_goes_along(midas_depth, film, ending):
    result = midas_depth('video', film, *MODEL, '-o', f'out{ending}')
    assert (result.exit_code, result.stdout) == (0, f'10 frames in out{ending}\n'), result.stderr
    out = Path(f'out{ending}')
    if ending == '.avi':  # knows one rate only
        assert film_length(out) == pytest.approx(1.965, abs=0.3)
    else:
        np.testing.assert_allclose(film_times(out), IRREGULAR_S, atol=0.0011)
        # The last picture is shown as long as the one before.
        assert film_length(out) == pytest.approx(1.965 + 0.465, abs=0.03)
    for track, hertz in ((0, 440), (1, 660)):
        codec, length_s, found_hz = heard(out, track)
        assert codec == ('pcm_s16le' if ending == '.avi' else 'opus')
        assert found_hz == pytest.approx(hertz, abs=2)
        assert length_s == pytest.approx(2.183, abs=0.05)
    if ending != '.avi':
        # Copied, not encoded again; the first is due before the pictures begin.
        assert packets(out, 'audio', 1) == packets(film, 'audio', 1)[1:]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('sound', 'ending', 'becomes'),
    [
        ('aac', '.mp4', 'aac'), ('pcm_s16le', '.mp4', 'aac'), ('aac', '.webm', 'opus'),
        ('pcm_s16le', '.mkv', 'pcm_s16le'), ('mp3', '.avi', 'mp3'),
    ],
)  # fmt: skip
def test_sound_that_a_file_cannot_hold_is_encoded_again(
    midas_depth, tmp_path, sound, ending, becomes
):
    times_s = [i / 5 for i in range(10)]
    path = write_film(tmp_path / 'in.mkv', PICTURES, times_s, 'libx264', [sound])
    result = midas_depth('video', path, *MODEL, '-o', f'out{ending}', '--layout', 'heatmap')
    assert (result.exit_code, result.stderr) == (0, '')
    codec, length_s, hertz = heard(Path(f'out{ending}'))
    assert codec == becomes
    assert length_s == pytest.approx(2, abs=0.06)
    assert hertz == pytest.approx(440, abs=2)


def test_what_is_written_plays_in_browsers(midas_depth, film):
    """H.264 or VP9 of 4:2:0, of even sizes, and in an MP4 the index before the pictures."""
    for ending, codec in (('.mp4', 'h264'), ('.webm', 'vp9')):
        for layout in ('side-by-side', 'heatmap', 'above'):
            out = Path(f'{layout}{ending}')
            options = ('--layout', layout, '--width', '101')
            assert midas_depth('video', film, *MODEL, *options, '-o', out).exit_code == 0
            with av.open(str(out)) as container:
                stream = container.streams.video[0]
                assert stream.codec_context.codec.canonical_name == codec
                assert stream.codec_context.pix_fmt == 'yuv420p'
                assert (stream.codec_context.width % 2, stream.codec_context.height % 2) == (0, 0)
    data = Path('heatmap.mp4').read_bytes()
    assert 0 < data.index(b'moov') < data.index(b'mdat')


def test_layouts_show_what_they_say(midas_depth, tmp_path):
    film = write_film(tmp_path / 'in.avi', PICTURES, [i / 10 for i in range(10)], rate=10)
    seen = {}
    for layout in ('side-by-side', 'heatmap', 'above'):
        assert midas_depth('video', film, *MODEL, '--layout', layout, '--force').exit_code == 0
        with av.open('in_depth.mp4') as container:
            seen[layout] = next(container.decode(video=0)).to_ndarray(format='rgb24').astype(int)
    assert seen['heatmap'].shape == (120, 160, 3)
    picture, heatmap = PICTURES[0].astype(int), seen['heatmap']
    beside, above = seen['side-by-side'], seen['above']
    assert beside.shape[1] > 320
    assert above.shape[0] > 240
    assert above.shape[1] == 160
    for shown in (beside[:120, :160], above[:120]):
        assert np.abs(shown - picture).mean() < 8
    captions = above.shape[0] - 240
    found = min(
        np.abs(above[top : top + 120] - heatmap).mean() for top in range(120, 120 + captions)
    )
    assert found < 8
    assert np.abs(beside[:120, 162:322] - heatmap).mean() < 8


def test_a_bag_keeps_the_speed_with_which_it_was_recorded(midas_depth, tmp_path):
    write_image_bag(tmp_path / 'bag', [corridor(48, 64, shift=i) for i in range(30)], rate_hz=30.0)
    assert midas_depth('video', 'bag', *MODEL).exit_code == 0
    assert film_length(Path('bag_depth.mp4')) == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(film_times(Path('bag_depth.mp4')), np.arange(30) / 30, atol=1e-3)


class Live(Source):
    """A camera."""

    name, live = 'camera', True

    def __iter__(self):
        for index in range(4):
            yield Frame(f'picture {index}', picture=corridor(48, 64, shift=index))


def test_a_live_camera_is_shown_at_the_speed_at_which_it_came(midas_depth, monkeypatch):
    ticks = itertools.count(0, 0.25)
    monkeypatch.setattr(video_command, 'open_source', lambda *_: Live())
    monkeypatch.setattr(video_command.time, 'monotonic', lambda: next(ticks))
    assert midas_depth('video', '0', *MODEL, '-o', 'out.mp4').exit_code == 0
    np.testing.assert_allclose(film_times(Path('out.mp4')), [0, 0.25, 0.5, 0.75], atol=1e-3)


@pytest.mark.parametrize(
    ('due_s', 'shown_s'),
    [
        ([5.0, 5.1, 5.3], [0, 0.1, 0.3]),
        ([0, 0.1, 0.1, 0.1, 0.2], [0, 0.1, 0.1, 0.1, 0.2]),  # a tick apart each
        ([0, 0.1, 0.09, 0.2], [0, 0.1, 0.1, 0.2]),
        ([0, 0.1, 0.2, 0.0, 0.1, 0.2], [0, 0.1, 0.2, 0.3, 0.4, 0.5]),  # a bag that begins anew
        ([0, 0.1, 1.7e9, 1.7e9 + 0.1], [0, 0.1, 0.2, 0.3]),  # a clock that was set
        ([-1.7e9, 0, 0.1], [0, 0.1, 0.2]),
        ([0, 600, 601], [0, 600, 601]),  # a robot that was paused
    ],
)
@pytest.mark.parametrize('tick_hz', [90_000, 1000, 0])
def test_clocks_that_jump_go_on(due_s, shown_s, tick_hz):
    clock = Clock(tick_hz, 10.0)
    ticks = [clock.ticks(each) for each in due_s]
    assert ticks == sorted(set(ticks)), 'each comes after the one before'
    coarse = 0.0 if tick_hz else 0.21
    shown = [float(each * clock.tick) for each in ticks]
    np.testing.assert_allclose(shown, shown_s, atol=0.003 + coarse)


def test_a_gap_of_years_is_said_and_left_out(tmp_path):
    said: list[str] = []
    path = tmp_path / 'a.mp4'
    video = VideoFile(path, 10.0, path, None, said.append)
    for due_s in (0.0, 0.1, 1.7e9, 1.7e9 + 0.1):
        video.write(corridor(48, 64), due_s)
    video.finish()
    np.testing.assert_allclose(film_times(path), [0, 0.1, 0.2, 0.3], atol=1e-4)
    assert len(said) == 1
    assert 'the gap of 17000' in said[0]
    assert 'between frames 1 and 2 is dropped' in said[0]


def test_sound_that_cannot_be_read_is_left_out_and_said(midas_depth, tmp_path, monkeypatch):
    times_s = [i / 5 for i in range(10)]
    path = write_film(tmp_path / 'in.mkv', PICTURES, times_s, 'libx264', ['aac'])

    def refuse(*_):
        raise ValueError('no such codec')

    monkeypatch.setattr('midas_depth_ros.cli.video_file.Sound', refuse)
    result = midas_depth('video', path, *MODEL)
    assert (result.exit_code, result.stdout) == (0, '10 frames in in_depth.mp4\n')
    assert 'in_depth.mp4: the sound is dropped: no such codec' in result.stderr
    assert len(film_times(Path('in_depth.mp4'))) == 10


def test_of_an_interrupted_film_the_sound_ends_with_the_pictures(tmp_path):
    times_s = [i / 5 for i in range(10)]
    path = write_film(tmp_path / 'in.mkv', PICTURES, times_s, 'libx264', ['aac'])
    source = Live()
    source.sound = path
    video = VideoFile(tmp_path / 'out.mp4', 5.0, tmp_path / 'out.mp4', source)
    for due_s in times_s[:3]:
        video.write(PICTURES[0], due_s)
    video.finish(ended=False)
    assert heard(tmp_path / 'out.mp4')[1] == pytest.approx(0.6, abs=0.05)


def test_without_pyav_or_its_encoders_it_is_said_what_to_install(midas_depth, film, monkeypatch):
    with pytest.raises(CommandError, match=r'no encoder nonsense: .*\.webm.*pip install av'):
        encoder_of(FORMATS['.mp4'].__class__(('nonsense',), '', {}, 0, None), film)
    monkeypatch.setitem(__import__('sys').modules, 'av', None)
    assert cv2.imwrite('a.png', corridor(48, 64))
    result = midas_depth('video', 'a.png', *MODEL)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert 'pip install av, or sudo apt install python3-av' in result.stderr
    assert midas_depth('image', 'a.png', *MODEL, '--only', 'npy').exit_code == 0


def test_rates_are_told_as_they_are():
    assert Clock(0, 30_000 / 1001).tick == Fraction(1001, 30_000)
    assert Clock(0, 12.5).tick == Fraction(2, 25)
