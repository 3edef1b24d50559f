"""Colours for the numbers 0 (far) to 255 (near): six tables that OpenCV ships.

In every one the warm end is near. The default, inferno, also grows steadily brighter and is
readable in grey and for the colour-blind; turbo and jet separate more steps but do neither.
"""

from __future__ import annotations

import functools
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.views.errors import OptionError

_OPENCV_NAMES: Final[dict[str, int]] = {
    'inferno': cv2.COLORMAP_INFERNO,
    'viridis': cv2.COLORMAP_VIRIDIS,
    'plasma': cv2.COLORMAP_PLASMA,
    'magma': cv2.COLORMAP_MAGMA,
    'turbo': cv2.COLORMAP_TURBO,
    'jet': cv2.COLORMAP_JET,
}

COLORMAPS: Final = tuple(_OPENCV_NAMES)


@functools.cache
def colour_table(name: str) -> NDArray[np.uint8]:
    """The table of a colormap, far to near: (256, 3) uint8 RGB, read-only.

    Raises OptionError if there is no such colormap.
    """
    if name not in _OPENCV_NAMES:
        raise OptionError(f'colormap is {name!r}: use one of {list(COLORMAPS)}')
    steps = np.arange(256, dtype=np.uint8)[:, None]
    bgr = cv2.applyColorMap(steps, _OPENCV_NAMES[name])[:, 0]
    table = np.ascontiguousarray(bgr[:, ::-1])
    table.setflags(write=False)
    return table


def colourise(index: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Colours of an (H, W) uint8 map, 0 = far, 255 = near: (H, W, 3) uint8 RGB."""
    # OpenCV thinks the table is BGR; handed in as RGB, it gives RGB without another pass.
    table = colour_table(name).reshape(256, 1, 3).copy()
    return cv2.applyColorMap(index, table)
