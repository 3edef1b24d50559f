"""Sources of pictures without a camera driver: files, folders, videos, devices, bags.

`open_source` opens what a person names as a `Source`; iterating over it gives one `Frame` after the
other. Bags are read without ROS: by code of this package, which also reads damaged ones; the
library `rosbags` only deserialises messages.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from midas_depth_ros.images.decode import MAX_PIXELS
from midas_depth_ros.images.errors import SourceError, SourceNotFound, UnclearTopic, UnknownSource
from midas_depth_ros.images.sources.bag import Bag
from midas_depth_ros.images.sources.bag_messages import ROS1_SUFFIX, is_bag_file, is_bag_folder
from midas_depth_ros.images.sources.pictures import Frame, PictureFiles, Source, Warn, is_picture
from midas_depth_ros.images.sources.video import Device, VideoFile
from midas_depth_ros.options.files import is_folder, is_there

__all__ = ['Frame', 'Source', 'SourceError', 'UnclearTopic', 'is_still', 'open_source']

LOGGER = logging.getLogger(__name__)
KINDS = (
    'a picture, a folder of pictures, a video file, a camera device (0, /dev/video0) or a rosbag2'
)


def open_source(
    source: str | int | Path,
    topic: str = '',
    max_pixels: int = MAX_PIXELS,
    warn: Warn = LOGGER.warning,
    bit_depth: int = 0,
) -> Source:
    """Open a picture, folder of pictures, video file, camera device or rosbag2.

    Args:
        source: a path, or a device number (an int, digits, or /dev/videoN).
        topic: the image topic of a bag; '' takes the only one.
        max_pixels: larger pictures are rejected.
        warn: called with a text for each picture or message that is skipped.
        bit_depth: bits that samples of 16 bits use, 8 to 16; 0 guesses them, for all the pictures
            of a folder or bag together.

    Raises:
        SourceError: the source cannot be used.
    """
    text = str(source).strip()
    if not text:
        raise UnknownSource(f'source is empty: name {KINDS}')
    path = expanded_path(text)
    device = re.fullmatch(r'(?:/dev/video)?(\d{1,9})', text, re.ASCII)
    if device and (text.startswith('/dev/') or not is_there(path)):
        return Device(int(device.group(1)))
    if not is_there(path):
        raise SourceNotFound(f'{path}: there is no such file or folder: name {KINDS}')
    if is_folder(path):
        if is_bag_folder(path):
            return Bag(path, topic, max_pixels, warn, bit_depth)
        return PictureFiles(path, max_pixels, warn, bit_depth)
    if is_bag_file(path) or path.suffix == ROS1_SUFFIX:
        return Bag(path, topic, max_pixels, warn, bit_depth)
    if is_picture(path):
        return PictureFiles(path, max_pixels, warn, bit_depth)
    return VideoFile(path, max_pixels, warn)


def is_still(source: str | int | Path) -> bool:
    """Whether a source is a picture or a folder of pictures, by its name.

    Repeats of these are bit-identical, unlike those of a camera. False where there is no such file.
    """
    text = str(source).strip()
    path = expanded_path(text)
    if not text or not is_there(path):
        return False
    if is_folder(path):
        return not is_bag_folder(path)
    return is_picture(path) and not is_bag_file(path)


def expanded_path(text: str) -> Path:
    """Expand a leading `~`."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~name of an unknown user
        return Path(text)
