"""`midas_depth video` as a person uses it: steady pictures out, damaged ones in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import raw_message, write_bag
from fakes import BrightnessEstimator

from midas_depth_ros.cli import options as model_module
from midas_depth_ros.cli.options import Look, Metres
from midas_depth_ros.cli.video import VideoView
from midas_depth_ros.views import HeatmapOptions

from .conftest import corridor

MODEL = ('--model', 'embedded', '--backend', 'opencv')
RATE_HZ = 12.0
FRAMES = 20


def frames(count: int = FRAMES) -> list[np.ndarray]:
    return [corridor(shift=2 * index) for index in range(count)]


def write_video(path: Path, pictures, rate_hz: float = RATE_HZ) -> Path:
    height, width = pictures[0].shape[:2]
    codec = cv2.VideoWriter.fourcc(*('MJPG' if path.suffix == '.avi' else 'mp4v'))
    writer = cv2.VideoWriter(str(path), codec, rate_hz, (width, height))
    for rgb in pictures:
        writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read_video(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    pictures = []
    while True:
        good, bgr = capture.read()
        if not good:
            break
        pictures.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return pictures, rate


class ShakyEstimator(BrightnessEstimator):
    """Brightness as depth, behind another scale and shift in every frame."""

    model = 'shaky'

    def __init__(self, shake: bool) -> None:
        super().__init__()
        self._random = np.random.default_rng(0)
        self._shake = shake

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        small = rgb[::2, ::2].mean(axis=2, dtype=np.float32)
        if not self._shake:
            return small
        return small * np.float32(self._random.uniform(0.1, 10)) + np.float32(
            self._random.uniform(-500, 500)
        )


def test_a_truncated_video_is_said_and_what_was_done_is_kept(midas_depth, tmp_path):
    whole = write_video(tmp_path / 'whole.avi', frames())
    data = whole.read_bytes()
    (tmp_path / 'cut.avi').write_bytes(data[: len(data) // 2])
    result = midas_depth('video', 'cut.avi', *MODEL)
    assert result.exit_code == 1
    assert 'the file is cut short or damaged; what could be read is kept' in result.stderr
    kept, _ = read_video(tmp_path / 'cut_depth.mp4')
    assert 3 < len(kept) < FRAMES - 3
    assert result.stdout == f'{len(kept)} frames in cut_depth.mp4\n'


@pytest.mark.parametrize('content', [b'', b'no video', None])
def test_what_is_no_video_ends_in_one_line_and_leaves_nothing(midas_depth, tmp_path, content):
    if content is not None:
        (tmp_path / 'bad.mp4').write_bytes(content)
    result = midas_depth('video', 'bad.mp4', *MODEL)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith('error: bad.mp4: ')
    assert 'Traceback' not in result.output
    assert not list(tmp_path.glob('*depth*'))


def test_outputs_are_not_overwritten_and_inputs_never(midas_depth, tmp_path):
    path = write_video(tmp_path / 'in.avi', frames(3))
    before = path.read_bytes()
    (tmp_path / 'in_depth.mp4').write_bytes(b'mine')
    assert 'use --force' in midas_depth('video', 'in.avi', *MODEL).stderr
    assert (tmp_path / 'in_depth.mp4').read_bytes() == b'mine'
    result = midas_depth('video', 'in.avi', *MODEL, '-o', './in.avi', '--force')
    assert 'is the input' in result.stderr
    assert path.read_bytes() == before
    assert 'must be one of .mp4' in midas_depth('video', 'in.avi', *MODEL, '-o', 'a.gif').stderr
    assert 'no such folder' in midas_depth('video', 'in.avi', *MODEL, '-o', 'x/a.mp4').stderr
    assert midas_depth('video', 'in.avi', *MODEL, '--force').exit_code == 0


def test_every_frame_comes_out_beside_its_heatmap(midas_depth, tmp_path):
    pictures = frames()
    write_video(tmp_path / 'in.avi', pictures)
    result = midas_depth('video', 'in.avi', *MODEL, '-o', 'out.avi', '--width', '0')
    assert (result.exit_code, result.stdout) == (0, f'{FRAMES} frames in out.avi\n')
    made, rate = read_video(tmp_path / 'out.avi')
    assert rate == pytest.approx(RATE_HZ)
    assert len(made) == FRAMES
    height, width = pictures[0].shape[:2]
    for one, other in zip(made, pictures, strict=True):
        assert one.shape[0] > height
        assert one.shape[1] > 2 * width
        assert np.abs(one[:height, :width].astype(int) - other).mean() < 6
        assert one[:height, width + 4 : 2 * width].std() > 20, 'there is something to see'


def test_folders_and_bags_are_videos_too(midas_depth, tmp_path, save):
    for index, rgb in enumerate(frames(3)):
        save(f'folder/{index}.png', rgb)
    (tmp_path / 'folder' / '1.png').write_bytes(b'broken')
    result = midas_depth('video', 'folder/', *MODEL)
    assert (result.exit_code, result.stdout) == (1, '2 frames in folder_depth.mp4\n')
    assert '1.png: skipped' in result.stderr
    messages = [
        (1000 + index * 100_000_000, '/camera/image_raw', raw_message(rgb, index))
        for index, rgb in enumerate(frames(4))
    ]
    messages[2][2].data = messages[2][2].data[:50]
    write_bag(tmp_path / 'bag', messages)
    result = midas_depth('video', 'bag', *MODEL)
    assert (result.exit_code, result.stdout) == (1, '3 frames in bag_depth.mp4\n')
    assert 'message 2: skipped' in result.stderr


def test_a_scale_that_changes_per_frame_does_not_show():
    def drawn(shake: bool) -> list[np.ndarray]:
        look = Look(HeatmapOptions(), Metres())
        view = VideoView(ShakyEstimator(shake), look, 0.2, 0.3)
        return [view.draw(rgb, index / 10, 'x') for index, rgb in enumerate(frames(10))]

    for calm, shaken in zip(drawn(False), drawn(True), strict=True):
        heatmap = np.s_[:120, -160:]
        assert np.abs(calm[heatmap].astype(int) - shaken[heatmap]).max() <= 3


def test_an_interrupted_video_is_kept(midas_depth, tmp_path, monkeypatch):
    class Interrupted(ShakyEstimator):
        calls = 0

        def infer(self, rgb):
            self.calls += 1
            if self.calls > 5:
                raise KeyboardInterrupt
            return super().infer(rgb)

    monkeypatch.setattr(model_module, 'estimator_of', lambda values: Interrupted(False))
    write_video(tmp_path / 'in.avi', frames())
    result = midas_depth('video', 'in.avi', *MODEL)
    assert result.exit_code == 1
    assert 'Aborted' in result.stderr
    assert len(read_video(tmp_path / 'in_depth.mp4')[0]) == 5


def test_metres_are_grey_where_they_are_refused(midas_depth, tmp_path):
    write_video(tmp_path / 'in.avi', [np.full((120, 160, 3), 90, np.uint8)] * 4)
    metres = ('--camera-height', '0.3', '--camera-pitch', '-1.2', '--horizontal-fov', '1.0')
    result = midas_depth('video', 'in.avi', *MODEL, '--mode', 'metric', *metres)
    assert result.exit_code == 0
    assert '4 of 4 frames have no metres; the last reason: ' in result.stdout


def test_frames_whose_scale_gives_metres_nowhere_are_counted(midas_depth, tmp_path):
    write_video(tmp_path / 'in.avi', frames())
    fixed = ('--mode', 'metric', '--fixed-scale', '0.01', '--fixed-shift=-1e6')
    result = midas_depth('video', 'in.avi', *MODEL, *fixed)
    assert result.exit_code == 0, result.output
    count = len(frames())
    said = f'{count} of {count} frames have no metres; the last reason: nothing is within the range'
    assert said in ' '.join(result.stdout.split())
