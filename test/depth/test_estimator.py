"""load_estimator's choices and fallbacks, and what DepthEstimator promises."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from midas_depth_ros.depth import DepthEstimator, load_estimator, weights
from midas_depth_ros.depth.backends import BACKENDS
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    DownloadFailed,
    InvalidPicture,
    UnknownModel,
    WeightsMismatch,
    WeightsNotFound,
)
from midas_depth_ros.depth.model_check import sample_pictures
from midas_depth_ros.depth.models import midas_small

RGB = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


class FakeBackend:
    """Gives the mean brightness of the picture, more towards the bottom, and counts."""

    name = 'fake'
    precision = 'f32'
    choice = ''

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []
        self.closed = 0

    def preprocess(self, rgb: np.ndarray) -> np.ndarray:
        self.pictures.append(rgb)
        return rgb

    def infer(self, network_input: np.ndarray) -> np.ndarray:
        rows = np.linspace(0.9, 1.1, 32, dtype=np.float32)[:, np.newaxis]
        return np.float32(network_input.mean()) * rows.repeat(64, axis=1)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """No weights anywhere, no network; what was asked for is noted."""
    asked = []

    def ensure(spec: Any, *, allow_download: bool, **rest: Any) -> Path:
        asked.append(allow_download)
        kind = DownloadFailed if allow_download else WeightsNotFound
        raise kind(f'cannot get {spec.name}: no route to host; put it by hand into /weights')

    monkeypatch.setattr(weights, 'ensure_weights', ensure)
    return asked


@pytest.fixture
def golden_weights(monkeypatch: pytest.MonkeyPatch, golden_weights_file: Path) -> Path:
    """The golden weights stand in for the official ones."""
    monkeypatch.setattr(weights, 'ensure_weights', lambda *_, **__: golden_weights_file)
    return golden_weights_file


@pytest.fixture
def same_threads_afterwards() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


# What the estimator promises.


def test_estimate_has_the_pictures_size_and_infer_the_networks() -> None:
    estimator = DepthEstimator('model', FakeBackend())
    assert (estimator.model, estimator.backend, estimator.notice) == ('model', 'fake', '')
    assert estimator.infer(RGB).shape == (32, 64)
    depth = estimator.estimate(RGB)
    assert depth.shape == (60, 80)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth.mean(), RGB.mean(), rtol=1e-3)
    assert depth[-1].mean() > 1.15 * depth[0].mean()


@pytest.mark.parametrize('backend', BACKENDS)
def test_threads_may_share_an_estimator(backend: str) -> None:
    """Each gets the depth of its own picture, of whatever size."""
    if backend != 'opencv':
        pytest.importorskip(backend)
    pictures = list(sample_pictures().values())[:4]
    pictures += [each[: each.shape[0] // 2] for each in pictures[:2]]
    with contextlib.closing(load_estimator('embedded', backend)) as estimator:
        wanted = [estimator.infer(each) for each in pictures]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(estimator.infer, pictures * 8))
    for index, depth in enumerate(found):
        np.testing.assert_allclose(depth, wanted[index % len(pictures)], rtol=1e-4, atol=1e-5)


class OneBuffer(FakeBackend):
    """A backend of somebody else's, which needs some time and has one place for its answer."""

    def __init__(self) -> None:
        super().__init__()
        self._answer = np.zeros((8, 8), np.float32)

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        self._answer[:] = np.arange(64, dtype=np.float32).reshape(8, 8) * network_input.mean()
        time.sleep(0.001)
        return self._answer.copy()


def test_threads_take_turns_in_any_backend_and_closing_waits() -> None:
    estimator = DepthEstimator('model', OneBuffer())
    pictures = [np.full((16, 16, 3), grey, np.uint8) for grey in (50, 100, 200)]
    wanted = [estimator.infer(each) for each in pictures]
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(estimator.infer, pictures[index % 3]) for index in range(90)]
        for index, each in enumerate(found):
            np.testing.assert_array_equal(each.result(), wanted[index % 3])
        later = [pool.submit(estimator.infer, pictures[0]) for _ in range(30)]
        estimator.close()
    for each in later:
        fault = each.exception()
        assert fault is None or 'is closed' in str(fault)


def test_enlarging_clips_the_overshoot_at_0() -> None:
    small = np.zeros((32, 32), np.float32)
    small[:, 16:] = 1.0
    large = DepthEstimator('model', FakeBackend()).enlarge(small, (64, 320))
    assert large.min() == 0.0
    assert large.max() > 1.0


def test_a_picture_with_reversed_channels_arrives_contiguous_and_right() -> None:
    backend = FakeBackend()
    DepthEstimator('model', backend).infer(RGB[..., ::-1])
    assert backend.pictures[0].flags.c_contiguous
    np.testing.assert_array_equal(backend.pictures[0][..., 0], RGB[..., 2])


@pytest.mark.parametrize(
    ('picture', 'named'),
    [
        (RGB.astype(np.float32), r'\(60, 80, 3\) float32 .*\* 255\).astype\(np.uint8\)'),
        (RGB.astype(np.uint16), r'\(60, 80, 3\) uint16 .*array >> 8'),
        (RGB[..., 0] > 9, r'\(60, 80\) bool .*\* 255'),
        (RGB.astype(object), r'\(60, 80, 3\) object .*a path, a PIL picture'),
        (np.zeros((4, 5, 2), np.uint8), r'\(4, 5, 2\) uint8'),
        (np.zeros((3, 4, 5), np.uint8), r'\(3, 4, 5\) uint8 .*transpose\(1, 2, 0\)'),
        (np.zeros((1, 60, 80, 3), np.uint8), r'\(1, 60, 80, 3\) uint8'),
        (np.zeros((0, 5, 3), np.uint8), r'\(0, 5, 3\) uint8'),
        (np.zeros((0, 5), np.uint8), r'\(0, 5\) uint8'),
        (RGB.tolist(), 'a list'),
        (None, 'a NoneType'),
        (b'\xff\xd8\xff', 'a bytes'),
        (Image.new('F', (4, 5)), 'mode F has more than 8 bits'),
        (Image.new('I;16', (4, 5)), 'mode I;16 has more than 8 bits'),
        ('nowhere.jpg', "'nowhere.jpg' is not a picture: No such file"),
        (Path(__file__).parent, 'it is a folder'),
        (__file__, 'not a picture that Pillow can read'),
        ('a\0b', 'is not a picture'),
    ],
)
def test_what_is_no_picture_is_refused_by_shape_and_dtype(picture: Any, named: str) -> None:
    backend = FakeBackend()
    estimator = DepthEstimator('model', backend)
    for call in (estimator.infer, estimator.estimate):
        with pytest.raises(InvalidPicture, match=named):
            call(picture)
    assert not backend.pictures


AS_PEOPLE_HAVE_THEM: dict[str, tuple[Callable[[Path], Any], Callable[[], np.ndarray]]] = {
    'RGBA': (lambda path: np.dstack([RGB, RGB[..., :1]]), lambda: RGB),
    'grey': (lambda path: RGB[..., 0], lambda: RGB[..., [0, 0, 0]]),
    'grey with a channel': (lambda path: RGB[..., :1], lambda: RGB[..., [0, 0, 0]]),
    'PIL': (lambda path: Image.fromarray(RGB), lambda: RGB),
    'PIL RGBA': (lambda path: Image.fromarray(RGB).convert('RGBA'), lambda: RGB),
    'PIL grey': (lambda path: Image.fromarray(RGB[..., 0]), lambda: RGB[..., [0, 0, 0]]),
    'PIL of a file': (lambda path: Image.open(saved(path)), lambda: RGB),
    'path': (lambda path: saved(path), lambda: RGB),
    'str': (lambda path: str(saved(path)), lambda: RGB),
    'path of a turned picture': (lambda path: saved(path, 6), lambda: np.rot90(RGB, 3)),
    'read-only': (lambda path: np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape),
                  lambda: RGB),
}  # fmt: skip


def saved(folder: Path, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(folder / 'a.png', exif=exif)
    return folder / 'a.png'


def test_a_heic_is_one_by_its_bytes_whatever_it_is_called(tmp_path: Path) -> None:
    grey = np.full((24, 32, 3), 99, np.uint8)
    pillow_heif.from_pillow(Image.fromarray(grey)).save(tmp_path / 'a.heic')
    backend = FakeBackend()
    for name in ('a.heic', 'a.jpg', 'a'):
        depth = DepthEstimator('model', backend).estimate(
            (tmp_path / 'a.heic').rename(tmp_path / name)
        )
        assert depth.shape == grey.shape[:2]
        np.testing.assert_allclose(backend.pictures[-1], grey, atol=3)
        (tmp_path / name).rename(tmp_path / 'a.heic')


@pytest.mark.filterwarnings('ignore::ResourceWarning')  # a file that PIL was given to open
@pytest.mark.parametrize('name', AS_PEOPLE_HAVE_THEM)
def test_pictures_are_taken_as_people_have_them(tmp_path: Path, name: str) -> None:
    make, wanted = AS_PEOPLE_HAVE_THEM[name]
    backend = FakeBackend()
    depth = DepthEstimator('model', backend).estimate(make(tmp_path))
    np.testing.assert_array_equal(backend.pictures[0], wanted())
    assert backend.pictures[0].flags.c_contiguous
    assert (depth.shape, depth.dtype) == (wanted().shape[:2], np.float32)


def test_a_damaged_picture_is_refused_before_it_reaches_the_network(tmp_path: Path) -> None:
    data = saved(tmp_path).read_bytes()
    (tmp_path / 'a.png').write_bytes(data[: len(data) // 2])
    with Image.open(tmp_path / 'a.png') as opened:
        for picture in (tmp_path / 'a.png', opened):
            with pytest.raises(InvalidPicture, match=r'cannot be read: .*save it again'):
                DepthEstimator('model', FakeBackend()).estimate(picture)


def test_a_closed_estimator_says_so_and_frees_once() -> None:
    backend = FakeBackend()
    estimator = DepthEstimator('model', backend)
    estimator.close()
    estimator.close()
    assert backend.closed == 1
    with pytest.raises(DepthError, match=r'closed.*load_estimator'):
        estimator.estimate(RGB)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_no_numbers_are_an_error(value: float) -> None:
    backend = FakeBackend()
    backend.infer = lambda rgb: np.full((32, 32), value, np.float32)  # type: ignore[method-assign]
    with pytest.raises(DepthError, match='NaN or infinity'):
        DepthEstimator('model', backend).estimate(RGB)


@pytest.mark.parametrize('value', [0.0, 3.5])
def test_the_same_depth_everywhere_is_an_error_never_far_or_clear(value: float) -> None:
    backend = FakeBackend()
    backend.infer = lambda rgb: np.full((32, 64), value, np.float32)  # type: ignore[method-assign]
    with pytest.raises(DepthError, match=f'model on fake gave {value:g} everywhere'):
        DepthEstimator('model', backend).infer(RGB)


# Which model it becomes.


def test_embedded_asks_for_nothing(no_weights: list[bool]) -> None:
    estimator = load_estimator('embedded')
    assert estimator.model == 'embedded'
    assert estimator.notice == ''
    assert no_weights == []
    assert estimator.estimate(RGB).shape == (60, 80)


@pytest.mark.parametrize('allow_download', [True, False])
def test_auto_without_weights_falls_back_and_says_why(
    no_weights: list[bool], allow_download: bool
) -> None:
    pytest.importorskip('torch')
    estimator = load_estimator(allow_download=allow_download)
    assert no_weights == [allow_download]
    assert estimator.model == 'embedded'
    assert 'no route to host; put it by hand into /weights' in estimator.notice
    assert 'trained on rendered rooms, corridors and streets only' in estimator.notice
    assert estimator.estimate(RGB).shape == (60, 80)


def test_a_long_reason_is_shortened_in_the_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('torch')

    def ensure(*args: Any, **options: Any) -> Path:
        raise DownloadFailed('why ' * 1000)

    monkeypatch.setattr(weights, 'ensure_weights', ensure)
    assert len(load_estimator().notice) < 1000


@pytest.fixture
def old_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs the embedded model, but not MiDaS_small."""
    monkeypatch.setattr(cv2, '__version__', '4.6.0')


@pytest.mark.usefixtures('old_opencv')
def test_auto_without_any_library_falls_back_before_it_downloads(
    no_weights: list[bool], without: Callable[..., None]
) -> None:
    without('openvino', 'onnxruntime', 'torch')
    estimator = load_estimator('auto')
    assert (estimator.model, estimator.backend) == ('embedded', 'opencv')
    assert "pip install 'midas_depth_ros[openvino]'" in estimator.notice
    assert no_weights == []


@pytest.mark.usefixtures('old_opencv')
def test_midas_small_without_any_library_is_an_error_before_it_downloads(
    no_weights: list[bool], without: Callable[..., None]
) -> None:
    without('openvino', 'onnxruntime', 'torch')
    with pytest.raises(BackendUnavailable, match='pip install'):
        load_estimator('midas_small')
    assert no_weights == []


def test_midas_small_without_weights_is_an_error(no_weights: list[bool]) -> None:
    pytest.importorskip('torch')
    with pytest.raises(DownloadFailed, match='no route to host'):
        load_estimator('midas_small')


@pytest.mark.parametrize('model', ['auto', 'midas_small', 'embedded'])
def test_an_unknown_backend_is_an_error_never_a_fallback(
    no_weights: list[bool], model: str
) -> None:
    with pytest.raises(
        BackendUnavailable, match=r"'cuda'.*auto, openvino, onnxruntime, opencv, torch"
    ):
        load_estimator(model, backend='cuda')


def test_embedded_runs_on_torch_where_asked_for() -> None:
    pytest.importorskip('torch')
    assert load_estimator('embedded', backend='torch').backend == 'torch'


@pytest.mark.usefixtures('old_opencv')
def test_midas_small_does_not_run_on_an_old_opencv(no_weights: list[bool]) -> None:
    with pytest.raises(BackendUnavailable, match=r'OpenCV 4\.6\.0 cannot run MiDaS_small'):
        load_estimator('midas_small', backend='opencv')
    assert no_weights == []


@pytest.mark.parametrize('model', ['midas_large', '/nowhere/weights.pt', ''])
def test_an_unknown_model_is_named_with_the_list(model: str) -> None:
    with pytest.raises(UnknownModel, match=rf"'{model or '.'}'.*auto, midas_small, embedded"):
        load_estimator(model)


def test_a_file_for_no_backend_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / 'net.h5').write_bytes(b'')
    with pytest.raises(BackendUnavailable, match='state dict'):
        load_estimator(tmp_path / 'net.h5')


def test_negative_threads_are_refused() -> None:
    with pytest.raises(ValueError, match='num_threads is -1'):
        load_estimator('embedded', num_threads=-1)


@pytest.mark.usefixtures('same_threads_afterwards')
def test_opencv_keeps_to_the_allowed_threads() -> None:
    cv2.setNumThreads(3)
    load_estimator('embedded')
    assert cv2.getNumThreads() == 3
    load_estimator('embedded', num_threads=1)
    assert cv2.getNumThreads() == 1


# The whole way with real weights.


def test_midas_small_is_network_and_pre_and_postprocessing(
    golden_weights: Path, golden_state_dict: dict[str, Any]
) -> None:
    import torch

    network = midas_small.build().eval()
    network.load_state_dict(golden_state_dict)
    with torch.inference_mode():
        small = network(torch.from_numpy(midas_small.SPEC.picture.preprocess(RGB)))[0].numpy()
    wanted = midas_small.SPEC.enlarge(small, (60, 80))
    for model in ('auto', 'midas_small'):
        estimator = load_estimator(model, precision='f32')
        assert (estimator.model, estimator.notice) == ('midas_small', '')
        assert np.abs(estimator.estimate(RGB) - wanted).max() < 1e-3 * wanted.max()
        estimator.close()


def test_a_weights_file_is_a_model_too(golden_weights_file: Path) -> None:
    estimator = load_estimator(golden_weights_file)
    assert estimator.model == 'golden.pt'
    assert 'golden.pt gives implausible depth' in estimator.notice  # as random weights do
    assert estimator.infer(RGB).shape == (192, 256)


def test_a_file_of_another_model_is_a_mismatch(tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    torch.save({'fc.weight': torch.zeros(1)}, tmp_path / 'resnet.pt')
    with pytest.raises(
        WeightsMismatch,
        match=r'resnet\.pt has no entry .* \(it holds fc\.weight\): give weights of midas_small, ',
    ):
        load_estimator(str(tmp_path / 'resnet.pt'))


def test_a_real_picture_equals_the_reference(
    golden_weights_file: Path, golden_dir: Path, shared_data: Path
) -> None:
    picture = shared_data.parent / 'golden' / 'room.png'
    if not picture.is_file():
        pytest.skip(f'{picture} is not there')
    pipeline = np.load(golden_dir / 'midas_small_pipeline.npz')
    wanted = np.maximum(pipeline['relative_inverse_depth_every_4'], 0)
    with Image.open(picture) as image:
        rgb = np.array(image.convert('RGB'))
    depth = load_estimator(golden_weights_file, precision='f32').estimate(rgb)
    assert depth.shape == (530, 730)
    assert np.abs(depth[::4, ::4] - wanted).max() < 1e-3 * wanted.max()


def test_embedded_runs_without_ros_and_without_torch(tmp_path: Path) -> None:
    script = tmp_path / 'robot.py'
    script.write_text(
        'import sys\n'
        "for name in ('torch', 'timm', 'torchvision', 'rclpy'):\n"
        '    sys.modules[name] = None\n'
        'import numpy as np\n'
        'from midas_depth_ros.depth import load_estimator\n'
        "depth = load_estimator('embedded').estimate(np.zeros((48, 64, 3), np.uint8))\n"
        'sys.stdout.write(str(depth.shape))\n'
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, script], cwd=root, env={'PYTHONPATH': str(root)}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.stdout == '(48, 64)', run.stderr
