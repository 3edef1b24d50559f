"""What every source gives: frames, one after the other, never all at once.

A frame has an RGB array, or the message of a bag as it was recorded, to be decoded on demand.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.bit_depth import BitDepth
from midas_depth_ros.images.checks import MAX_PIXELS
from midas_depth_ros.images.compressed import checked, decode_compressed
from midas_depth_ros.images.decode import decode_image

Warn = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a source.

    name: where it comes from, for people.
    time_ns: when it is due, counted from the source's start; None where a source has no rhythm.
    stamp_ns: the stamp it was recorded with; None where there is none.
    frame_id: of the recorded message; '' where there is none.
    picture: (H, W, 3) uint8 RGB; None where there is a `message`.
    message: an image or compressed image with all the fields of the ROS message, as recorded.
    camera_info: the camera's CameraInfo by then, likewise, or None.
    max_pixels: a larger message is not decoded.
    bit_depth: of the camera that the message is of; None guesses it from this message alone.
    """

    name: str
    time_ns: int | None = None
    stamp_ns: int | None = None
    frame_id: str = ''
    picture: NDArray[np.uint8] | None = None
    message: Any = None
    camera_info: Any = None
    max_pixels: int = MAX_PIXELS
    bit_depth: BitDepth | None = None

    @property
    def is_raw_message(self) -> bool:
        """Whether `message` is an Image."""
        return hasattr(self.message, 'encoding')

    @property
    def is_compressed_message(self) -> bool:
        """Whether `message` is a CompressedImage."""
        return hasattr(self.message, 'format')

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, by the header of a message. Raises ImageError."""
        if self.picture is not None:
            return self.picture.shape[1], self.picture.shape[0]
        if self.is_raw_message:
            return int(self.message.width), int(self.message.height)
        return checked(self.message, self.max_pixels)[1]

    def rgb(self) -> NDArray[np.uint8]:
        """The picture as (H, W, 3) uint8 RGB. Raises ImageError if the message is none."""
        if self.picture is not None:
            return self.picture
        decode = decode_image if self.is_raw_message else decode_compressed
        return decode(self.message, self.max_pixels, bit_depth=self.bit_depth)

    def shrunk(self, max_width: int) -> Frame:
        """The frame with a picture at most `max_width` wide (0 = no limit), its aspect kept.

        A message that is narrow enough stays as recorded. Raises ImageError.
        """
        if not max_width or self.size[0] <= max_width:
            return self
        width, height = self.size
        size = (max_width, max(1, round(height * max_width / width)))
        small = cv2.resize(self.rgb(), size, interpolation=cv2.INTER_AREA)
        return dataclasses.replace(self, picture=small, message=None)


class Source(abc.ABC):
    """A place where pictures come from. Each iteration starts anew, a device excepted.

    name: for people. rate_hz: of its pictures, None where it has none of its own. length: how many
    pictures it says to have, None where it does not; some container formats only guess.
    live: whether its pictures come when they like. has_stamps: whether they were recorded with
    stamps. has_camera_info: whether they may have a CameraInfo. sound: a file whose sound belongs
    to the pictures, None where there is none; start_s: when the first one is due by its clock.
    """

    name: str
    rate_hz: float | None = None
    length: int | None = None
    live = False
    has_stamps = False
    has_camera_info = False
    sound: Path | None = None
    start_s = 0.0

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames in order. Raises SourceError when there is none, or none any more."""
