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

from typing import Any

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
#     +-- UnreadableFile      no regular file, too large, or not to be read
#
# Every text names the value at fault and the remedy. Long values are shortened: a text fits a log.
# What comes from outside (names of files and topics, texts of libraries) is made `printable`.

SHOWN_LENGTH = 60
PRINTED_LENGTH = 2000


class ImageError(ValueError):
    """Base of all errors of this room; its text is printable."""

    def __init__(self, text: object = '') -> None:
        super().__init__(printable(text))


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


class UnreadableFile(ImageError):
    """The file is no regular one, is too large, or cannot be read."""


def printable(text: object, most: int = PRINTED_LENGTH) -> str:
    """Text from outside as one line that may go to a terminal or a log, of `most` characters.

    What would move the cursor, change colours, turn the direction of writing, begin a new line or
    be invisible is escaped as Python escapes it; bytes of a file's name that are no UTF-8, too.
    Of what is too long the middle is left out: a path stands first, what is wrong with it last.
    """
    whole = str(text)
    line = ''.join(map(_escaped, whole[:most]))
    if max(len(line), len(whole)) <= most:
        return line
    tail = (most - 3) // 3
    last = ''.join(map(_escaped, whole[len(whole) - tail :]))
    return f'{line[: most - 3 - tail]}...{last[len(last) - tail :]}'


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    byte = ord(letter) - 0xDC00  # as os.fsdecode puts what it cannot decode
    return f'\\x{byte:02x}' if 0x80 <= byte <= 0xFF else repr(letter)[1:-1]


def shown(value: Any) -> str:
    """`repr(value)`, shortened so that no message can flood a log."""
    # The value is cut first: the repr of a long string would be made whole.
    text = repr(value[:SHOWN_LENGTH] if isinstance(value, (str, bytes)) else value)
    long = len(text) > SHOWN_LENGTH or (isinstance(value, str) and len(value) > SHOWN_LENGTH)
    return text[:SHOWN_LENGTH] + '...' if long else text


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
