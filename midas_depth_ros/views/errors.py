"""What can go wrong in this room, and the checks at its door.

    ViewError
    +-- PictureError     an array that is no (H, W, 3) uint8 picture
    +-- ValuesError      an array that is no (h, w) map of numbers
    +-- OptionError      an option outside its bounds

Every text names the value at fault and the remedy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ViewError(ValueError):
    """Base of all errors of this room."""


class PictureError(ViewError):
    """The array is not an (H, W, 3) uint8 picture."""


class ValuesError(ViewError):
    """The array is not an (h, w) map of relative inverse depth."""


class OptionError(ViewError):
    """An option has a value outside its bounds."""


def check_picture(picture: Any, what: str = 'picture') -> NDArray[np.uint8]:
    """The same array, C-contiguous, if it is an (H, W, 3) uint8 picture with pixels in it.

    Raises PictureError.
    """
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise PictureError(
            f'{what} has shape {array.shape} and dtype {array.dtype}: '
            'give a non-empty (H, W, 3) uint8 RGB array'
        )
    return np.ascontiguousarray(array)
