"""Everything that can be wrong with a camera message, a picture, or a source of pictures.

    ImageError
    +-- InvalidField            a field has the wrong type
    |   +-- InvalidEncoding     `encoding` is not a string
    +-- EmptyPicture            no rows or no columns
    +-- PictureTooLarge         more pixels than max_pixels; nothing was allocated
    +-- UnknownEncoding         neither this package nor cv_bridge can decode it
    +-- StepTooSmall            `step` is less than a row of pixels
    +-- StepUnaligned           `step` is not a multiple of a 16 bit sample
    +-- DataTooShort            fewer bytes than rows times step
    +-- UnsupportedFormat       compressed, but not as JPEG, PNG, TIFF or WebP
    +-- CorruptPicture          compressed bytes that contradict themselves
    |   +-- TruncatedPicture    compressed bytes that end too early
    +-- MalformedMessage        serialised bytes that are not a camera message
    +-- InvalidPicture          an array that cannot be encoded
    +-- SourceError             a source of pictures cannot be used
        +-- UnknownSource       not a picture, folder, video, device or rosbag2
        +-- SourceNotFound      it does not exist
        +-- UnreadableSource    it exists, but nothing in it can be read
        +-- UnclearTopic        a bag without the wanted topic, or with several to choose from
        +-- SourceLost          a device stopped while it was read

Every text names the value at fault, or the path or device, and the remedy. Texts from outside
(names of files and topics, texts of libraries) are made `printable` and shortened.
"""

from __future__ import annotations

from midas_depth_ros.options.text import PrintableError


class ImageError(PrintableError):
    """Base of all errors of `images`."""


class InvalidField(ImageError):
    """A field of the message has the wrong type."""


class InvalidEncoding(InvalidField):
    """The encoding is not a string."""


class EmptyPicture(ImageError):
    """The picture has no pixels."""


class PictureTooLarge(ImageError):
    """The picture has more pixels than allowed."""


class UnknownEncoding(ImageError):
    """The encoding is not supported, here or by cv_bridge."""


class StepTooSmall(ImageError):
    """The row length in bytes is too small for the width and encoding."""


class StepUnaligned(ImageError):
    """The row length in bytes would cut a sample in two."""


class DataTooShort(ImageError):
    """The message has fewer bytes than its fields require."""


class UnsupportedFormat(ImageError):
    """The compressed bytes have an unsupported format."""


class CorruptPicture(ImageError):
    """The compressed bytes are damaged."""


class TruncatedPicture(CorruptPicture):
    """The compressed bytes end before the picture does."""


class MalformedMessage(ImageError):
    """The serialised bytes are not a camera message."""


class InvalidPicture(ImageError):
    """The array to encode is not an (H, W, 3) uint8 picture."""


class SourceError(ImageError):
    """Base of all errors about sources."""


class UnknownSource(SourceError):
    """The kind of source cannot be determined."""


class SourceNotFound(SourceError):
    """The file, folder or device does not exist."""


class UnreadableSource(SourceError):
    """It exists, but no picture can be read from it."""


class UnclearTopic(SourceError):
    """The bag's image topic has to be named, or named differently."""


class SourceLost(SourceError):
    """The device stopped while it was read."""
