"""The errors of `depth`, and how values appear in their texts.

    DepthError
    +-- InvalidPicture          what was given to estimate() is not a picture
    +-- UnknownModel            no such model name or file
    +-- InvalidNetworkSize      a size that the network cannot have
    +-- BackendUnavailable      unknown backend, or its library is not installed
    +-- WeightsError
        +-- WeightsNotFound     not on disk, and downloading was not allowed
        +-- WeightsCorrupt      on disk, but unreadable or not the published file
        +-- WeightsMismatch     a readable file of another model, or its output is not depth
        +-- DownloadFailed      the network, the server or the disk failed
        +-- LicenceNotAccepted  weights for some uses only, and nobody said that this is one

Every text names the bad value and the remedy, on one line and without control characters: file
names come from outside, and a terminal obeys what it prints.
"""

from __future__ import annotations

SHOWN_LENGTH = 300


def printable(value: object) -> str:
    """`str(value)`, with characters that a terminal would obey or not show as escapes."""
    text = str(value)
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def shown(value: object) -> str:
    """`value` in quotes, printable, and cut where it would flood a log."""
    text = str(value)
    return repr(text) if len(text) <= SHOWN_LENGTH else f'{text[:SHOWN_LENGTH]!r}...'


def first_line(error: BaseException) -> str:
    """Class and first line of a library's error: 'ImportError: libfoo.so is missing'."""
    return f'{type(error).__name__}: {error}'.splitlines()[0]


class DepthError(Exception):
    """Base of all errors of `depth`."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text.replace('\n', ' ')))


class InvalidPicture(DepthError, ValueError):
    """The array is not an (H, W, 3) uint8 picture."""


class UnknownModel(DepthError, ValueError):
    """The model is neither a known name nor a file."""


class InvalidNetworkSize(DepthError, ValueError):
    """The network cannot have this input size."""


class BackendUnavailable(DepthError):
    """The inference backend is unknown or cannot be imported here."""


class WeightsError(DepthError):
    """Base of everything about weights files."""


class WeightsNotFound(WeightsError):
    """No weights on disk, and downloading them was not allowed."""


class WeightsCorrupt(WeightsError):
    """A file whose size or SHA-256 is wrong, that is unreadable or holds NaN or infinity."""


class WeightsMismatch(WeightsError):
    """A readable file of another model, or of one whose output cannot be depth."""


class DownloadFailed(WeightsError):
    """The weights could not be fetched."""


class LicenceNotAccepted(WeightsError):
    """The weights may be used for some purposes only, and the user did not accept that."""
