"""Enlarging along the edges of a picture: sharper there, nothing known that was not."""

import cv2
import numpy as np
import pytest

from midas_depth_ros.views import Heatmap, HeatmapOptions, enlarge_along_edges, metric_heatmap
from midas_depth_ros.views import guided as guided_module
from midas_depth_ros.views.heatmap import INVALID_GREY

SIZE = (480, 640)


def bilinear(values, size=SIZE):
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def box_before_a_wall():
    """Exact inverse depth, the picture, and what a network that blurs makes of it at 256x192."""
    exact = np.full(SIZE, 0.25, np.float32)
    exact[137:411, 203:407] = 1.0
    picture = np.full((*SIZE, 3), (90, 120, 140), np.uint8)
    picture[exact > 0.5] = (150, 100, 60)
    noise = np.random.default_rng(1).normal(0, 3, picture.shape)
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    small = cv2.resize(exact, (256, 192), interpolation=cv2.INTER_AREA)
    return exact, picture, cv2.GaussianBlur(small, (0, 0), 1.5)


def test_a_rim_is_where_the_picture_has_it():
    exact, picture, small = box_before_a_wall()
    edge = cv2.dilate(exact, np.ones((7, 7))) - cv2.erode(exact, np.ones((7, 7))) > 0.1
    guided = enlarge_along_edges(small, picture, SIZE)
    assert guided.dtype == np.float32
    blurred, sharp = (np.abs(each - exact)[edge].mean() for each in (bilinear(small), guided))
    assert sharp < 0.5 * blurred
    elsewhere = cv2.erode((~edge).astype(np.uint8), np.ones((41, 41))) > 0
    np.testing.assert_allclose(guided[elsewhere], exact[elsewhere], atol=0.01)


@pytest.mark.parametrize('seed', range(6))
def test_unknown_stays_unknown_and_tells_nothing(seed):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.1, 1, (24, 32)).astype(np.float32)
    picture = rng.integers(0, 256, (96, 128, 3), np.uint8)
    seen = cv2.resize(rng.random((4, 5)), (32, 24), interpolation=cv2.INTER_NEAREST) < 0.6
    unknown = np.where(seen, values, np.nan).astype(np.float32)
    guided = enlarge_along_edges(unknown, picture, (96, 128))
    share = bilinear(seen.astype(np.float32), (96, 128))
    np.testing.assert_array_equal(np.isnan(guided), share < 1 - 1e-6)
    known = guided[np.isfinite(guided)]
    assert known.size == 0 or (
        values[seen].min() - 1e-6 <= known.min() <= known.max() <= values[seen].max() + 1e-6
    )


def test_nothing_known_gives_nothing():
    unknown = np.full((24, 32), np.nan, np.float32)
    picture = np.zeros((96, 128, 3), np.uint8)
    assert np.isnan(enlarge_along_edges(unknown, picture, (96, 128))).all()
    endless = np.full((24, 32), np.inf, np.float32)
    assert np.isnan(enlarge_along_edges(endless, picture, (96, 128))).all()


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (40, 1), (3, 5), (192, 256)])
@pytest.mark.parametrize('size', [(1, 1), (7, 300), (300, 7), (201, 303)])
@pytest.mark.parametrize('colours', ['black', 'white', 'noise'])
def test_it_is_within_what_is_near_whatever_the_sizes(shape, size, colours):
    rng = np.random.default_rng(3)
    picture = {
        'black': np.zeros((*size, 3), np.uint8),
        'white': np.full((60, 80, 3), 255, np.uint8),  # of another size
        'noise': rng.integers(0, 256, (*size, 3), np.uint8),
    }[colours]
    values = (rng.random(shape) * 1e4 ** rng.random(shape)).astype(np.float32)
    guided = enlarge_along_edges(values, picture, size)
    assert guided.shape == size
    assert np.isfinite(guided).all()
    reach = np.ones((5, 5), np.uint8)
    low, high = cv2.erode(values, reach), cv2.dilate(values, reach)
    near = {'dsize': size[::-1], 'interpolation': cv2.INTER_NEAREST}
    assert (guided >= cv2.resize(low, **near)).all()
    assert (guided <= cv2.resize(high, **near)).all()


def test_an_immense_picture_lends_fewer_pixels(monkeypatch):
    _, picture, small = box_before_a_wall()
    whole = enlarge_along_edges(small, picture, SIZE)
    monkeypatch.setattr(guided_module, '_MOST_PIXELS', 320 * 240)
    reduced = enlarge_along_edges(small, picture, SIZE)
    assert reduced.shape == whole.shape
    assert np.abs(reduced - whole).mean() < 0.01


@pytest.mark.parametrize('mode', ['relative', 'metric'])
def test_the_heatmap_has_the_sharper_rim_and_the_grey_of_the_unknown(mode):
    _, picture, small = box_before_a_wall()
    small[:40, :60] = np.nan
    options = {'mode': mode, 'legend': False, 'metric_near': 1.0, 'metric_far': 4.0}

    def drawn(**more):
        chosen = HeatmapOptions(**options, **more)
        if mode == 'metric':
            return metric_heatmap(small, picture, chosen)
        return Heatmap().render(small, picture, 0.0, chosen)

    plain, sharp = drawn(), drawn(edge_aware=True)
    ideal = plain[470, 630], plain[270, 300]
    rim = np.abs(np.arange(640) - 203) < 4
    wanted = np.where((np.arange(640) >= 203)[rim, None], ideal[1], ideal[0]).astype(int)
    blurred, clear = (
        np.abs(picture_[270, rim].astype(int) - wanted).mean() for picture_ in (plain, sharp)
    )
    assert clear < 0.6 * blurred
    grey = (sharp == INVALID_GREY).all(axis=2)
    assert grey[:98, :148].all()
    assert not grey[110:].any()
    assert (plain == INVALID_GREY).all(axis=2)[grey].mean() > 0.9
