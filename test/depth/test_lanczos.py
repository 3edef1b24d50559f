"""Pictures resized by Lanczos's window, against Pillow and against what must hold."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from PIL import Image

from midas_depth_ros.depth.lanczos import lanczos

PILLOW_LANCZOS = 1  # Image.Resampling.LANCZOS, a name that Pillow 9.0 does not have
ROWS_FIRST = pytest.mark.skipif(
    int(PIL.__version__.split('.')[0]) < 13, reason='Pillow before 13 takes the columns first'
)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ('size', 'wanted'),
    [
        ((480, 640), (192, 640)),  # rows alone
        ((192, 300), (192, 640)),  # columns alone
        ((192, 640), (192, 640)),
        ((100, 200), (192, 640)),  # larger
        ((270, 480), (48, 160)),  # columns first, whichever Pillow
        ((1, 1), (3, 2)),
        pytest.param((530, 730), (192, 640), marks=ROWS_FIRST),
    ],
)
def test_every_bit_is_that_of_pillow(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    picture = noise(*size)
    reference = Image.fromarray(picture).resize(wanted[::-1], PILLOW_LANCZOS)
    np.testing.assert_array_equal(lanczos(picture, wanted), np.asarray(reference))


def test_rows_go_first_where_more_than_twice_as_many_go() -> None:
    picture = noise(60, 50)
    rows, columns = lanczos(picture, (20, 50)), lanczos(picture, (60, 31))
    np.testing.assert_array_equal(lanczos(picture, (20, 31)), lanczos(rows, (20, 31)))
    by_columns = lanczos(lanczos(picture, (60, 30)), (20, 30))
    np.testing.assert_array_equal(lanczos(picture, (20, 30)), by_columns)
    assert (lanczos(picture, (20, 31)) != lanczos(columns, (20, 31))).any()


def test_a_plain_picture_stays_plain() -> None:
    picture = np.full((97, 61, 3), 201, np.uint8)
    assert (lanczos(picture, (192, 640)) == 201).all()
