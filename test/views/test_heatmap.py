"""Each option does its job, visibly: the tests compare pixels."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.drawing import PictureError, ValuesError, ViewError
from midas_depth_ros.views.heatmap import COLORMAPS, INVALID_GREY, Heatmap, colour_table

FULL_RANGE = {'percentile_low': 0.0, 'percentile_high': 100.0}


def ramp(height=48, width=256, top=1.0):
    """Far on the left, near on the right."""
    return np.tile(np.linspace(0, top, width, dtype=np.float32), (height, 1))


def draw(values, rgb=None, size=None, **options):
    return Heatmap().render(values, rgb, 0.0, HeatmapOptions(**options), size)


def index_of(heatmap, colormap='inferno'):
    """The 0..255 values behind the colours of a heatmap, (H, W) int."""
    table = colour_table(colormap).astype(int)
    keys = {tuple(colour): i for i, colour in enumerate(table.tolist())}
    return np.array([[keys[tuple(p)] for p in row] for row in heatmap.tolist()])


@pytest.fixture
def picture():
    return np.random.default_rng(7).integers(0, 256, (60, 80, 3), dtype=np.uint8)


class TestColours:
    @pytest.mark.parametrize('name', COLORMAPS)
    def test_nearest_gets_the_near_end_and_farthest_the_far_end(self, name):
        heatmap = draw(ramp(), colormap=name, **FULL_RANGE)
        np.testing.assert_array_equal(heatmap[0, 0], colour_table(name)[0])
        np.testing.assert_array_equal(heatmap[0, -1], colour_table(name)[255])

    def test_colours_grow_evenly_with_linear_mapping(self):
        np.testing.assert_array_equal(index_of(draw(ramp(2), **FULL_RANGE)), [range(256)] * 2)

    @settings(max_examples=40)
    @given(
        scale=st.floats(1e-3, 1e4),
        shift=st.floats(0, 10),
        values=hnp.arrays(np.float32, (6, 9), elements=st.floats(0, 1, width=32)),
    )
    def test_scale_and_shift_of_the_network_do_not_matter(self, scale, shift, values):
        values[0, :2] = 0, 1
        moved = ((values + shift) * scale).astype(np.float32)
        difference = index_of(draw(values, **FULL_RANGE)) - index_of(draw(moved, **FULL_RANGE))
        assert np.abs(difference).max() <= 1

    def test_percentiles_let_go_of_the_extremes(self):
        values = ramp(1, 101, 100.0)
        index = index_of(draw(values, percentile_low=10.0, percentile_high=80.0))[0]
        assert (index[:11] == 0).all()
        assert (index[80:] == 255).all()
        assert (np.diff(index[10:81]) > 0).all()


class TestSize:
    def test_default_is_that_of_the_picture_or_else_of_the_values(self, picture):
        assert draw(ramp(), picture).shape == (60, 80, 3)
        assert draw(ramp()).shape == (48, 256, 3)
        assert draw(ramp(), picture, (30, 20)).shape == (30, 20, 3)

    def test_result_is_a_contiguous_rgb_picture_of_its_own(self, picture):
        for options in ({}, {'overlay_alpha': 1.0}, {'clahe_clip': 2.0}):
            heatmap = draw(ramp(60, 80), picture, **options)
            assert heatmap.dtype == np.uint8
            assert heatmap.flags.c_contiguous
            assert not np.shares_memory(heatmap, picture)

    def test_enlarging_mixes_values_not_colours(self):
        step = np.repeat(np.array([[0, 1]], np.float32), 8, axis=1).repeat(4, axis=0)
        heatmap = draw(step, size=(40, 160), **FULL_RANGE)
        index = index_of(heatmap)  # fails if a colour is not in the table
        assert set(np.unique(index)) - {0, 255}
        assert (np.diff(index, axis=1) >= 0).all()

    def test_larger_values_are_averaged_into_a_small_heatmap(self):
        values = np.random.default_rng(2).random((64, 64), np.float32)
        means = values.reshape(8, 8, 8, 8).mean(axis=(1, 3))
        small = index_of(draw(values, size=(8, 8), **FULL_RANGE))
        assert np.abs(small - index_of(draw(means, **FULL_RANGE))).max() <= 1

    @pytest.mark.parametrize('shape', [(1, 1), (1, 7), (9, 1), (2, 3)])
    def test_tiny_maps_work_with_everything_switched_on(self, shape, picture):
        values = np.random.default_rng(0).random(shape, np.float32)
        options = {'mapping': 'log', 'gamma': 0.5, 'clahe_clip': 2.0, 'smoothing': 15.0}
        assert draw(values, picture, overlay_alpha=0.3, **options).shape == picture.shape
        assert draw(values, **options).shape == (*shape, 3)

    def test_integers_and_float64_are_values_too(self):
        values = np.arange(12).reshape(3, 4)
        np.testing.assert_array_equal(draw(values), draw(values.astype(np.float32)))
        np.testing.assert_array_equal(draw(values), draw(values.astype(np.float64)))


class TestMappings:
    def test_gamma_below_1_raises_what_is_far_and_leaves_the_ends(self):
        plain, raised, lowered = (
            index_of(draw(ramp(1), gamma=gamma, **FULL_RANGE))[0] for gamma in (1.0, 0.5, 2.0)
        )
        expected = 255 * np.linspace(0, 1, 256)
        np.testing.assert_allclose(raised, 255 * np.sqrt(expected / 255), atol=0.51)
        np.testing.assert_allclose(lowered, 255 * (expected / 255) ** 2, atol=0.51)
        for index in (plain, raised, lowered):
            assert (index[0], index[-1]) == (0, 255)

    def test_log_gives_even_steps_to_even_ratios_of_distance(self):
        # 1/Z from 1/16 to 1, each half as far as the one before
        values = np.array([[1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]], np.float32)
        index = index_of(draw(values, mapping='log', **FULL_RANGE))[0]
        np.testing.assert_allclose(np.diff(index), 255 / 4, atol=1)
        linear = index_of(draw(values, **FULL_RANGE))[0]
        assert linear[1] - linear[0] < 20

    def test_smoothing_takes_noise_away_and_keeps_the_edge(self):
        rng = np.random.default_rng(3)
        step = np.where(np.arange(128) < 64, 0.3, 0.8) * np.ones((96, 1))
        noisy = (step + rng.normal(0, 0.02, step.shape)).astype(np.float32)
        noisy[0, :2] = 0, 1  # holds the range
        rough, fine = (
            index_of(draw(noisy, smoothing=radius, **FULL_RANGE)).astype(float)
            for radius in (0.0, 4.0)
        )
        for side in (slice(8, 60), slice(68, 120)):
            assert fine[8:-8, side].std() < rough[8:-8, side].std() / 4
        edge = fine[8:-8].mean(axis=0)
        assert edge[64] - edge[63] > 0.95 * (edge[80:].mean() - edge[:48].mean())

    def test_radius_of_smoothing_counts_in_pixels_of_the_heatmap(self):
        rng = np.random.default_rng(4)
        noisy = (0.5 + rng.normal(0, 0.02, (64, 64))).astype(np.float32)
        noisy[0, :2] = 0, 1
        spread = [
            index_of(draw(noisy, size=(side, side), smoothing=6.0, **FULL_RANGE))[side // 8 :].std()
            for side in (64, 256)
        ]
        assert spread[0] < 0.6 * spread[1]

    def test_clahe_raises_local_contrast(self):
        values = ramp(128, 128)
        bumps = 0.01 * np.indices((128, 128)).sum(0) // 4 % 2
        values = values + 0.02 * (np.indices((128, 128))[0] // 4 % 2 + bumps).astype(np.float32)
        plain, enhanced = (
            index_of(draw(values, clahe_clip=clip, **FULL_RANGE)) for clip in (0.0, 8.0)
        )

        def local_contrast(index):
            return np.abs(np.diff(index[::4], axis=0)).mean()

        assert local_contrast(enhanced) > 1.8 * local_contrast(plain)

    def test_overlay_is_the_exact_blend(self, picture):
        values = ramp(60, 80)
        heat = draw(values, picture).astype(float)
        for alpha in (0.25, 0.6):
            mixed = draw(values, picture, overlay_alpha=alpha)
            np.testing.assert_allclose(mixed, alpha * picture + (1 - alpha) * heat, atol=0.51)
        np.testing.assert_array_equal(draw(values, picture, overlay_alpha=1.0), picture)
        np.testing.assert_array_equal(draw(values, None), draw(values, picture))

    def test_overlay_brings_the_picture_to_the_size_of_the_heatmap(self, picture):
        shown = draw(ramp(), picture, (20, 27), overlay_alpha=1.0)
        small = cv2.resize(picture, (27, 20), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(shown, small)


class TestInvalid:
    @pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf, 1e31])
    @pytest.mark.parametrize(
        'options', [{}, {'smoothing': 5.0}, {'clahe_clip': 2.0}, {'mapping': 'log', 'gamma': 0.5}]
    )
    def test_grey_where_it_is_and_nothing_else_changes(self, bad, options):
        values = ramp(48, 64)
        values[10:14, 20:30] = bad
        heatmap = draw(values, **options)
        assert (heatmap[10:14, 20:30] == INVALID_GREY).all()
        if not options:
            clean = draw(ramp(48, 64))
            clean[10:14, 20:30] = INVALID_GREY
            difference = np.abs(heatmap.astype(int) - clean)
            assert difference.max() <= 16  # a hundred pixels less in the percentiles

    def test_no_fringe_of_false_depth_around_a_hole_when_enlarged(self):
        values = np.full((20, 20), 8.0, np.float32)
        values[0, 0] = 0
        values[8:12, 8:12] = np.nan
        heatmap = draw(values, size=(200, 200), **FULL_RANGE)
        around = heatmap[60:140, 60:140].reshape(-1, 3)
        colours = {tuple(colour) for colour in around.tolist()}
        assert colours == {(INVALID_GREY,) * 3, tuple(colour_table('inferno')[255].tolist())}

    def test_smoothing_takes_nothing_from_invalid_pixels(self):
        values = np.full((32, 32), 0.04, np.float32)
        values[0, :2] = 0, 1
        values[10:20, 10:20] = np.nan
        index = index_of(np.delete(draw(values, smoothing=6.0, **FULL_RANGE), range(9, 21), 1))
        assert (index[9:] == round(0.04 * 255)).all()

    def test_a_wholly_invalid_frame_is_grey_and_leaves_the_range_alone(self):
        heatmap, options = Heatmap(), HeatmapOptions(range_time_constant=5.0)
        blank = np.full((48, 256), np.nan, np.float32)
        assert (heatmap.render(blank, None, 0.0, options) == INVALID_GREY).all()
        assert heatmap.value_range is None
        before = heatmap.render(ramp(), None, 0.1, options)
        assert (heatmap.render(blank, None, 0.2, options) == INVALID_GREY).all()
        np.testing.assert_array_equal(heatmap.render(ramp(), None, 0.3, options), before)

    @settings(max_examples=150, deadline=None)
    @given(
        values=hnp.arrays(
            np.float32,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
            elements=st.floats(width=32),
        ),
        options=st.builds(
            HeatmapOptions,
            mapping=st.sampled_from(['linear', 'log']),
            gamma=st.floats(0.1, 10),
            clahe_clip=st.floats(0, 40),
            smoothing=st.floats(0, 15),
            percentile_low=st.floats(0, 49.9),
            percentile_high=st.floats(50, 100),
        ),
    )
    def test_whatever_the_values_every_pixel_has_a_colour(self, values, options):
        heatmap = draw(values, size=(12, 10), **vars(options))
        allowed = {tuple(c) for c in [*colour_table('inferno').tolist(), [INVALID_GREY] * 3]}
        assert {tuple(colour) for colour in heatmap.reshape(-1, 3).tolist()} <= allowed


class TestConstant:
    @pytest.mark.parametrize('value', [0.0, 1e-25, 3.0, 850.0, 1e29, -4.0])
    def test_one_colour_that_does_not_flicker(self, value):
        heatmap, options = Heatmap(), HeatmapOptions()
        rng = np.random.default_rng(5)
        for i in range(5):
            rounding = 1 + 1e-6 * rng.standard_normal((24, 32))
            values = (value * rounding).astype(np.float32)
            shown = index_of(heatmap.render(values, None, 0.2 * i, options))
            assert np.abs(shown - 128).max() <= 1


class TestStableRange:
    RATE_HZ = 10

    def test_flicker_is_several_times_less_than_with_a_range_per_frame(self):
        flicker = {}
        for time_constant in (0.0, 1.0):
            heatmap = Heatmap()
            options = HeatmapOptions(range_time_constant=time_constant)
            still = [
                heatmap.render(values, None, i / self.RATE_HZ, options)[:, :90].astype(int)
                for i, values in enumerate(passing_by(100))
            ]
            steps = [np.abs(b - a).mean() for a, b in itertools.pairwise(still)]
            flicker[time_constant] = np.mean(steps)
        assert flicker[1.0] < flicker[0.0] / 3

    def test_drift_of_the_scale_is_followed(self):
        heatmap, options = Heatmap(), HeatmapOptions()
        for i in range(100):
            scale = 1 + 2 * i / 99
            heatmap.render(scale * (ramp(top=10.0) + 1), None, i / self.RATE_HZ, options)
        low, high = heatmap.value_range
        assert low == pytest.approx(3 * 1.2, rel=0.1)
        assert high == pytest.approx(3 * 10.8, rel=0.1)

    def test_a_bag_that_starts_again_looks_as_it_did(self):
        heatmap, options = Heatmap(), HeatmapOptions(range_time_constant=10.0)
        first = heatmap.render(ramp(), None, 50.0, options)
        heatmap.render(ramp(top=7.0), None, 51.0, options)
        np.testing.assert_array_equal(heatmap.render(ramp(), None, 50.0, options), first)

    def test_reset_and_the_range_in_use(self):
        heatmap, options = Heatmap(), HeatmapOptions(range_time_constant=10.0, **FULL_RANGE)
        heatmap.render(ramp(top=4.0), None, 0.0, options)
        assert heatmap.value_range == (0.0, 4.0)
        heatmap.reset()
        heatmap.render(ramp(top=9.0), None, 0.1, options)
        assert heatmap.value_range == (0.0, 9.0)

    def test_each_camera_has_its_own(self):
        one, other = Heatmap(), Heatmap()
        one.render(ramp(top=100.0), None, 0.0, HeatmapOptions())
        np.testing.assert_array_equal(
            other.render(ramp(), None, 0.1, HeatmapOptions()), draw(ramp())
        )


class TestErrors:
    @pytest.mark.parametrize(
        'values',
        [
            np.zeros((0, 5), np.float32),
            np.zeros((5, 0), np.float32),
            np.zeros(5, np.float32),
            np.zeros((1, 5, 5), np.float32),
            np.zeros((5, 5), np.complex64),
            np.zeros((5, 5), bool),
        ],
    )
    def test_what_is_no_map_is_refused_with_its_shape_and_type(self, values):
        with pytest.raises(ValuesError) as caught:
            draw(values)
        assert str(values.shape) in str(caught.value)
        assert str(values.dtype) in str(caught.value)

    @pytest.mark.parametrize(
        'rgb',
        [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
            np.zeros((4, 4, 3), np.float32),
            np.zeros((0, 4, 3), np.uint8),
        ],
    )
    def test_what_is_no_picture_is_refused(self, rgb):
        with pytest.raises(PictureError, match='camera picture has shape'):
            draw(ramp(), rgb)

    def test_overlay_without_a_picture_is_refused(self):
        with pytest.raises(PictureError, match='overlay_alpha'):
            draw(ramp(), overlay_alpha=0.5)

    def test_impossible_size_is_refused(self):
        with pytest.raises(PictureError, match='0x10'):
            draw(ramp(), size=(0, 10))

    def test_a_stamp_that_is_no_time_is_refused(self):
        with pytest.raises(ViewError, match='stamp'):
            Heatmap().render(ramp(), None, float('nan'), HeatmapOptions())


def passing_by(count):
    """A still scene; in a tenth of it things pass by; noise, and the scale drifts by half."""
    rng = np.random.default_rng(11)
    scene = np.linspace(2, 10, 120)[:, None] * np.ones((1, 90))
    for i in range(count):
        passing = np.full((120, 10), rng.uniform(8, 40))
        noise = rng.normal(0, 0.02, (120, 100))
        yield ((1 + 0.5 * i / count) * (np.hstack([scene, passing]) + noise)).astype(np.float32)
