"""No option and no shape of picture makes work without bound: it is counted, never timed."""

import contextlib
import io
import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from midas_depth_ros.options.declarations import OptionFault, specs
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views import drawing, pictures, top_view
from midas_depth_ros.views import heatmap as colours
from midas_depth_ros.views.drawing import OptionError, ViewError
from midas_depth_ros.views.heatmap import Heatmap, metric_heatmap
from midas_depth_ros.views.pictures import (
    closeness_bars,
    contact_sheet,
    encode_animation,
    fit_into,
    side_by_side,
)
from midas_depth_ros.views.top_view import FloorPlan, RobotSnapshot, TopView

BOUNDS = {
    spec.name: (spec.minimum, spec.maximum)
    for spec in specs(HeatmapOptions)
    if spec.kind == 'double'
}
# (H, W) of pictures that cameras never send and files may have.
EXTREME = ((1, 1), (1, 1920), (1920, 1), (1, 100_000), (100_000, 1), (2, 50_000), (50_000, 2))
NETWORK = (192, 256)  # of the values that a network gives, whatever the picture
BYTES_PER_PIXEL = 400  # of what is drawn, strips for text included
LEAST_BYTES = 2_000_000  # a small picture has its captions and bars, too


@pytest.fixture
def taps(monkeypatch):
    """What every bilateral filter costs: pixels times the area of its window."""
    counted = []
    original = cv2.bilateralFilter

    def counting(source, diameter, *arguments):
        counted.append((source.size * diameter**2, diameter))
        return original(source, diameter, *arguments)

    monkeypatch.setattr(cv2, 'bilateralFilter', counting)
    return counted


def values(shape):
    return np.random.default_rng(1).random(shape, np.float32)


def picture(shape):
    return np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.sampled
@pytest.mark.parametrize('size', EXTREME)
@pytest.mark.parametrize('shape', [NETWORK, (32, 256), (256, 32), None])
def test_smoothing_has_a_window_that_no_shape_enlarges(taps, size, shape):
    options = HeatmapOptions(smoothing=15.0)
    heatmap = Heatmap().render(values(shape or size), None, 0.0, options, size)
    assert heatmap.shape == (*size, 3)
    ((cost, diameter),) = taps
    assert diameter <= 31
    assert cost <= colours.MOST_TAPS


@pytest.mark.parametrize('shape', [(4000, 6000), (24_000_000, 1)])
def test_smoothing_of_a_large_map_costs_no_more_than_its_budget(monkeypatch, shape):
    counted = []
    monkeypatch.setattr(cv2, 'bilateralFilter', lambda s, d, *_: counted.append(s.size * d**2) or s)
    colours.smooth(np.zeros(shape, np.float32), 15.0)
    assert counted[0] <= colours.MOST_TAPS


@pytest.mark.sampled
@pytest.mark.parametrize('radius', [0.3, 1.0, 6.0, 15.0])
def test_smoothing_of_a_usual_map_is_what_was_asked_for(taps, radius):
    colours.smooth(values((720, 1280)), radius)
    assert taps[0][1] == 2 * np.ceil(radius) + 1


def extremes_of_options():
    """Every number at both of its bounds, alone; then all of them at once."""
    for name, limits in BOUNDS.items():
        for value in limits:
            yield {name: value}
    for number in (0, 1):
        yield {name: limits[number] for name, limits in BOUNDS.items()}
    yield {'mapping': 'log', 'smoothing': 15.0, 'clahe_clip': 40.0, 'overlay_alpha': 1.0}


@pytest.mark.sampled
@pytest.mark.parametrize('shape', EXTREME)
def test_heatmaps_of_every_shape_and_option_are_drawn_or_refused(shape):
    rgb = picture(shape)
    for wanted in extremes_of_options():
        with contextlib.suppress(OptionFault):  # near and far at one place are refused
            options = HeatmapOptions(**wanted)
            assert Heatmap().render(values(NETWORK), rgb, 0.0, options).shape == (*shape, 3)
            assert metric_heatmap(values(NETWORK), rgb, options).shape == (*shape, 3)
            assert metric_heatmap(None, rgb, options).shape == (*shape, 3)


@pytest.mark.sampled
@pytest.mark.parametrize(('camera', 'other'), list(itertools.product(EXTREME, (*EXTREME, NETWORK))))
def test_pictures_side_by_side_are_no_larger_than_what_went_in(camera, other):
    drawn = side_by_side(picture(camera), picture(other), ('a' * 1000, 'b'), (0.0, 1.0, np.nan))
    pixels = camera[0] * camera[1] + other[0] * other[1]
    assert drawn.nbytes <= max(BYTES_PER_PIXEL * pixels, LEAST_BYTES)


@pytest.mark.parametrize('shape', EXTREME)
@pytest.mark.parametrize('max_width', [32, 1920, 10**9])
def test_a_contact_sheet_is_no_larger_than_its_pictures(shape, max_width):
    sheet = contact_sheet([picture(shape)] * 3, 2, max_width)
    assert sheet.nbytes <= max(BYTES_PER_PIXEL * 3 * shape[0] * shape[1], LEAST_BYTES)


@pytest.mark.sampled
@pytest.mark.parametrize('shape', EXTREME)
def test_an_animation_has_sides_that_a_gif_can_state(shape):
    data = encode_animation([picture(shape)] * 2, 5, 10**9)
    with Image.open(io.BytesIO(data)) as opened:
        assert max(opened.size) <= 65_535


@pytest.mark.parametrize('max_bytes', [0, -1, 1])
def test_an_animation_that_cannot_be_so_small_is_refused(max_bytes):
    with pytest.raises(OptionError, match='max_bytes'):
        encode_animation([picture((40, 80))] * 9, 5, 80, max_bytes)


@pytest.mark.parametrize('content', ['x' * 10**7, '\u0300' * 10**6, 'a\n' * 10**6, 'W' * 10**5])
def test_only_the_beginning_of_a_long_text_is_ever_drawn(monkeypatch, content):
    lengths = []
    original = drawing._drawn

    def counting(line, *arguments):
        lengths.append(len(line))
        return original(line, *arguments)

    monkeypatch.setattr(drawing, '_drawn', counting)
    drawing._mask.cache_clear()
    assert drawing.text_mask(drawing.fit_text(content, 12, 300), 12).shape[1] <= 300
    assert max(lengths, default=0) <= drawing.LONGEST


@pytest.mark.parametrize('size', [0, -1, 10**6])
def test_letters_of_no_size_are_refused(size):
    with pytest.raises(OptionError, match='letters'):
        drawing.text_mask('a', size)


@pytest.mark.parametrize('width', [12, 13, 100_000])
@pytest.mark.parametrize('near', [(-1e300, 1e300, np.inf), (np.nan, -np.inf, 0.0)])
def test_bars_of_every_value_are_drawn(width, near):
    assert closeness_bars(near, width).nbytes <= max(BYTES_PER_PIXEL * width, LEAST_BYTES)


@pytest.mark.parametrize(('shape', 'frame'), list(itertools.product(EXTREME, ((1, 1), (480, 640)))))
def test_fitting_gives_the_frame(shape, frame):
    assert fit_into(picture(shape), *frame).shape == (*frame, 3)


def plan(span=4.0):
    return FloorPlan((0.0, span, -2.0, 2.0))


@pytest.mark.parametrize('far', [1e6, 1e300, np.inf, -np.inf, np.nan])
def test_a_moment_anywhere_is_drawn_in_the_same_work(monkeypatch, far):
    """OpenCV's shapes are filled row by row, those far outside of the picture included."""
    largest = []
    for name in ('circle', 'line', 'fillPoly', 'polylines'):
        original = getattr(cv2, name)

        def counting(canvas, *arguments, _original=original):
            for argument in arguments:
                with contextlib.suppress(ValueError, TypeError):
                    largest.append(np.abs(np.asarray(argument, np.float64)).max())
            return _original(canvas, *arguments)

        monkeypatch.setattr(cv2, name, counting)
    view = TopView(plan(), 200, 160)
    scan = np.array([(far, 0.0, 1.0), (1.0, far, far), (2.0, 1.0, np.nan)])
    path = np.array([(0.0, 0.0), (far, far)])
    moment = RobotSnapshot(far, 1.0, far, far, path, scan, scan[:, :2])
    assert view.draw(moment, ('a' * 10**5, 'b')).shape == (200, 160, 3)
    assert max(largest) <= top_view.FARTHEST_PX << top_view.SHIFT


@pytest.mark.parametrize('walls', [(0.0, np.inf, 0.0, 1.0), (0.0, np.nan, 0.0, 1.0), (1, 0, 1, 0)])
def test_a_plan_without_a_size_is_refused(walls):
    with pytest.raises(OptionError, match='walls'):
        TopView(FloorPlan(walls), 200, 160)


@pytest.mark.parametrize(('height', 'width'), [(10**6, 10**6), (200, 10**9), (0, 0), (-5, 100)])
def test_a_top_view_of_no_size_is_refused(height, width):
    with pytest.raises(OptionError):
        TopView(plan(), height, width)


def test_what_is_too_narrow_for_bars_goes_without():
    drawn = side_by_side(picture((400, 5)), picture((400, 5)), ('a', 'b'), (0.0, 1.0, 2.0))
    assert drawn.shape[1] == 5 + 2 + 5
    assert issubclass(OptionError, ViewError)


def test_the_widest_panel_is_a_multiple_of_the_picture():
    """A flat heatmap as high as a tall picture would be as wide as both sides together."""
    drawn = side_by_side(picture((5000, 4)), picture((1, 5000)))
    assert drawn.shape[1] <= 4 * (pictures.WIDEST + 1) + 20
