"""Everything that can go wrong between a model's name and relative inverse depth.

    DepthError
    +-- InvalidPicture          the array given to estimate() is no picture
    +-- UnknownModel            no such model name, or no such file
    +-- BackendUnavailable      unknown backend, or its library is not installed
    +-- WeightsError
        +-- WeightsNotFound     not on disk, and downloading was not allowed
        +-- WeightsCorrupt      on disk, but not the file that was promised
        +-- WeightsMismatch     a readable checkpoint, but of another model
        +-- DownloadFailed      the network, the server or the disk said no

Every text names the value at fault and the remedy.
"""


class DepthError(Exception):
    """Base of all errors of this room."""


class InvalidPicture(DepthError, ValueError):
    """The array is not an (H, W, 3) uint8 picture."""


class UnknownModel(DepthError, ValueError):
    """The model is neither a known name nor a file."""


class BackendUnavailable(DepthError):
    """The inference backend is unknown or cannot be imported here."""


class WeightsError(DepthError):
    """Base of everything about weights files."""


class WeightsNotFound(WeightsError):
    """No weights on disk, and downloading them was not allowed."""


class WeightsCorrupt(WeightsError):
    """A weights file whose size or SHA-256 is wrong, or that cannot be read."""


class WeightsMismatch(WeightsError):
    """A readable checkpoint whose keys or shapes belong to another model."""


class DownloadFailed(WeightsError):
    """The weights could not be fetched."""
