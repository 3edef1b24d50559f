"""The checks that raw and compressed messages share, made before anything is allocated.

Fields come in as a message has them; plain numbers and a flat view of the bytes go out.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.errors import EmptyPicture, InvalidField, PictureTooLarge, shown

# 8192 x 4096: more than any camera on a robot, and 100 MB as RGB.
MAX_PIXELS = 33_554_432


def integer(message: Any, field: str) -> int:
    """The integer field of a message. Raises InvalidField."""
    value = getattr(message, field)
    try:
        return operator.index(value)
    except TypeError as error:
        raise InvalidField(f'{field} is {shown(value)}: set it to an integer') from error


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise EmptyPicture or PictureTooLarge unless 1 <= width * height <= max_pixels."""
    if width <= 0 or height <= 0:
        raise EmptyPicture(f'the picture is {width}x{height}: width and height must be at least 1')
    if width * height > max_pixels:
        raise PictureTooLarge(
            f'the picture is {width}x{height}, more than {max_pixels} pixels: '
            'make it smaller, or raise max_pixels'
        )


def byte_view(data: Any) -> NDArray[np.uint8]:
    """The bytes of a message as (N,) uint8, without a copy.

    `data` is array.array('B'), bytes, bytearray, memoryview or a uint8 array. Raises InvalidField.
    """
    try:
        view = memoryview(data)
        if view.itemsize != 1:
            raise TypeError(f'items of {view.itemsize} bytes')
        # An empty buffer is refused by np.frombuffer, but it is the caller's to complain about.
        return np.frombuffer(view, np.uint8) if view.nbytes else np.empty(0, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        kind = type(data).__name__
        raise InvalidField(
            f'data is a {kind} ({error}): give contiguous bytes (array.array("B"), bytes, uint8)'
        ) from error
