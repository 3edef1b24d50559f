"""Everything that can be wrong with a place where pictures come from.

    ImageError
    +-- SourceError
        +-- UnknownSource       neither picture, folder, video, device nor rosbag2
        +-- SourceNotFound      nothing there by that name
        +-- UnreadableSource    it is there, but nothing of it can be read
        +-- UnclearTopic        a bag without the wanted topic, or with several to choose from
        +-- SourceLost          a device that gave pictures and no longer does

Every text names the path or device and the remedy.
"""

from __future__ import annotations

from midas_depth_ros.images.errors import ImageError


class SourceError(ImageError):
    """Base of all errors about sources."""


class UnknownSource(SourceError):
    """What it is cannot be told."""


class SourceNotFound(SourceError):
    """There is no such file, folder or device."""


class UnreadableSource(SourceError):
    """It is there, but no picture can be read from it."""


class UnclearTopic(SourceError):
    """The bag's image topic has to be named, or named otherwise."""


class SourceLost(SourceError):
    """The device stopped in the middle."""
