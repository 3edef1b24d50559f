"""Hands an encoding that is not in our table over to cv_bridge, where that is installed and works.

A message goes in, RGB comes out. cv_bridge is imported at the first such message and not before:
its compiled part cannot be loaded under a NumPy it was not built for, and most robots never
need it.
"""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.encodings import ENCODINGS
from midas_depth_ros.images.errors import UnknownEncoding, shown

# What its import raises where it was built for another NumPy or Python.
IMPORT_FAULTS = (ImportError, AttributeError, SystemError, RuntimeError)
# What a call raises: CvBridgeError is a TypeError, short data a TypeError or ValueError, and its
# compiled part, loaded late, fails as above.
CALL_FAULTS = (*IMPORT_FAULTS, TypeError, ValueError, KeyError, cv2.error)


def rgb_by_cv_bridge(message: Any) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image, by cv_bridge. Raises UnknownEncoding."""
    bridge, reason = load_bridge()
    if bridge is None:
        raise unknown_encoding(message.encoding, reason)
    try:
        return np.asarray(bridge.imgmsg_to_cv2(message, 'rgb8'))
    except CALL_FAULTS as error:
        raise unknown_encoding(message.encoding, f'cv_bridge refused it: {error}') from error


@functools.lru_cache(maxsize=1)
def load_bridge() -> tuple[Any, str]:
    """A CvBridge and '', or None and why there is none. Tried once per process."""
    try:
        import cv_bridge

        return cv_bridge.CvBridge(), ''
    except IMPORT_FAULTS as error:
        return None, f'cv_bridge cannot be used ({type(error).__name__}: {error})'


def unknown_encoding(name: str, reason: str) -> UnknownEncoding:
    """The error that names the encoding, why cv_bridge does not help, and the ones we know."""
    similar = {known.lower(): known for known in ENCODINGS}.get(name.strip().lower())
    hint = f'did you mean {similar!r}? ' if similar else ''
    return UnknownEncoding(
        f'encoding {shown(name)} is not known, and {reason}. {hint}'
        f'Publish one of: {", ".join(ENCODINGS)}'
    )
