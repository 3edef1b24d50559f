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

from midas_depth_ros.options.text import PrintableError

# --- Everything that can be wrong with a camera message, or with a picture that is to become
# one.
#
#     ImageError
#     +-- InvalidField        a field has a type that cannot mean what it should
#     |   +-- InvalidEncoding     `encoding` is no string
#     +-- EmptyPicture        no rows or no columns
#     +-- PictureTooLarge     more pixels than max_pixels; nothing was allocated for them
#     +-- UnknownEncoding     an encoding that neither this room nor cv_bridge can turn into RGB
#     +-- StepTooSmall        `step` is less than a row of pixels
#     +-- StepUnaligned       `step` is no multiple of a 16 bit sample
#     +-- DataTooShort        fewer bytes than rows times step
#     +-- UnsupportedFormat   compressed, but not as JPEG, PNG or WebP
#     +-- CorruptPicture      compressed bytes that contradict themselves
#     |   +-- TruncatedPicture    compressed bytes that end too early
#     +-- MalformedMessage    serialised bytes that are no camera message
#     +-- InvalidPicture      an array that cannot be encoded
#
# Every text names the value at fault and the remedy. Long values are shortened: a text fits a log.
# What comes from outside (names of files and topics, texts of libraries) is made `printable`.


class ImageError(PrintableError):
    """Base of all errors of this room."""


class InvalidField(ImageError):
    """A field of the message is of the wrong type."""


class InvalidEncoding(InvalidField):
    """The encoding is not a string."""


class EmptyPicture(ImageError):
    """The picture has no pixels."""


class PictureTooLarge(ImageError):
    """The picture has more pixels than are allowed."""


class UnknownEncoding(ImageError):
    """The encoding can be turned into RGB neither here nor by cv_bridge."""


class StepTooSmall(ImageError):
    """The row length in bytes is too small for the width and encoding."""


class StepUnaligned(ImageError):
    """The row length in bytes would cut a sample in two."""


class DataTooShort(ImageError):
    """The message has fewer bytes than its own fields promise."""


class UnsupportedFormat(ImageError):
    """The compressed bytes are no picture that can be read here."""


class CorruptPicture(ImageError):
    """The compressed bytes are damaged."""


class TruncatedPicture(CorruptPicture):
    """The compressed bytes end before the picture does."""


class MalformedMessage(ImageError):
    """The serialised bytes are no camera message."""


class InvalidPicture(ImageError):
    """The array to encode is no (H, W, 3) uint8 picture."""


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
