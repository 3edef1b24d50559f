"""Everything that can go wrong between an array, a calibration and a number about the world.

    GeometryError
    +-- CameraModelError        a calibration that cannot be right, or that is not understood
    |   +-- Uncalibrated        the camera says that it has no calibration (K[0] == 0)
    +-- MountError              a camera height or tilt that cannot be right
    +-- InvalidInverseDepth     the array given is no picture of relative inverse depth
    +-- InvalidReference        reference points, or a range, that cannot be right
    +-- InvalidOptions          settings of this room that contradict themselves
    +-- NoFloor                 no floor can be fitted, and why; caught inside this room

Every text names the value at fault and the remedy.
"""


class GeometryError(Exception):
    """Base of all errors of this room."""


class CameraModelError(GeometryError, ValueError):
    """A calibration that cannot be right, or in a form that is not understood."""


class Uncalibrated(CameraModelError):
    """A camera_info whose K[0] is 0: by its definition, an uncalibrated camera."""


class MountError(GeometryError, ValueError):
    """A camera height, pitch or roll that cannot be right."""


class InvalidReference(GeometryError, ValueError):
    """Reference points whose arrays do not fit each other, or a transform that is none."""


class InvalidOptions(GeometryError, ValueError):
    """Settings that are out of range or contradict each other."""


class InvalidInverseDepth(GeometryError, ValueError):
    """Not an (h, w) array of numbers, or one that does not fit its coordinate grid."""


class NoFloor(GeometryError):
    """No floor can be fitted; the text is the reason, in words for diagnostics."""
