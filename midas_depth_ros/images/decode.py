"""sensor_msgs/Image into RGB. A message goes in, an (H, W, 3) uint8 array comes out.

The bytes are read in place, with any row padding and byte order. Invalid messages are rejected
before anything is allocated. At the end: the bit depth of a camera, for samples of 16 bits.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import itertools
import operator
from collections.abc import Callable, Hashable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.errors import (
    DataTooShort,
    EmptyPicture,
    InvalidEncoding,
    InvalidField,
    PictureTooLarge,
    StepTooSmall,
    StepUnaligned,
    UnknownEncoding,
)
from midas_depth_ros.options.declarations import (
    FEWEST_BITS,
    MOST_BITS,
    SharedOptions,
    check_bit_depth,
)
from midas_depth_ros.options.text import shown

# --- The supported encodings: memory layout and OpenCV conversion for each name.
#
# Sources: sensor_msgs/image_encodings.hpp for the names, cv_bridge for their meaning.


class Layout(enum.Enum):
    """How the samples of a picture are arranged in memory."""

    PACKED = enum.auto()  # channels of a pixel side by side
    MOSAIC = enum.auto()  # one sample per pixel, behind a Bayer colour filter
    YUV_422 = enum.auto()  # two bytes per pixel, two pixels share their chroma
    YUV_420 = enum.auto()  # a luma plane, then rows of chroma pairs for 2x2 pixels
    YUV_444 = enum.auto()  # a luma plane, then rows of chroma pairs for each pixel


# Encodings of depth images (REP 118) and other measurements, which are not camera pictures.
MEASUREMENTS = ('16UC1', '16SC1', '32FC1', '32SC1', '64FC1')
NO_CONVERSION = -1  # the samples are RGB already, or OpenCV has no conversion


@dataclasses.dataclass(frozen=True)
class Encoding:
    """One row of the table. conversion: the OpenCV code that gives RGB."""

    layout: Layout
    channels: int
    sample_bytes: int
    conversion: int
    may_be_depth: bool = False

    def row_bytes(self, width: int) -> int:
        """Return the minimum number of bytes in a row of `width` pixels."""
        if self.layout is Layout.YUV_420:
            width += width % 2  # chroma rows have the same step
        return width * self.channels * self.sample_bytes

    def rows(self, height: int) -> int:
        """Return the number of rows of `step` bytes, including chroma, for a luma height."""
        if self.layout is Layout.YUV_420:
            return height + (height + 1) // 2
        return 3 * height if self.layout is Layout.YUV_444 else height  # chroma has double rows

    @property
    def is_planar(self) -> bool:
        """Whether chroma has a plane of its own."""
        return self.layout in (Layout.YUV_420, Layout.YUV_444)


# OpenCV names a mosaic by the second row's second and third samples, ROS by the first row's
# first two: ROS's rggb is OpenCV's BG. YUV is BT.601 in video range (16..235), as in cv_bridge.
# 16UC1 is decoded as grey, though it mostly holds millimetres (REP 118); nUC3 is BGR, nUC4 BGRA.
_TABLE: tuple[tuple[Any, ...], ...] = (
    # names (the current one first), layout, channels, bytes per sample, conversion, may be depth
    ('rgb8', Layout.PACKED, 3, 1, NO_CONVERSION),
    ('bgr8 8UC3', Layout.PACKED, 3, 1, cv2.COLOR_BGR2RGB),
    ('rgba8', Layout.PACKED, 4, 1, cv2.COLOR_RGBA2RGB),
    ('bgra8 8UC4', Layout.PACKED, 4, 1, cv2.COLOR_BGRA2RGB),
    ('mono8 8UC1', Layout.PACKED, 1, 1, cv2.COLOR_GRAY2RGB),
    ('rgb16', Layout.PACKED, 3, 2, NO_CONVERSION),
    ('bgr16 16UC3', Layout.PACKED, 3, 2, cv2.COLOR_BGR2RGB),
    ('rgba16', Layout.PACKED, 4, 2, cv2.COLOR_RGBA2RGB),
    ('bgra16 16UC4', Layout.PACKED, 4, 2, cv2.COLOR_BGRA2RGB),
    ('mono16', Layout.PACKED, 1, 2, cv2.COLOR_GRAY2RGB),
    ('16UC1', Layout.PACKED, 1, 2, cv2.COLOR_GRAY2RGB, True),
    ('uyvy yuv422', Layout.YUV_422, 2, 1, cv2.COLOR_YUV2RGB_UYVY),
    ('yuyv yuv422_yuy2', Layout.YUV_422, 2, 1, cv2.COLOR_YUV2RGB_YUY2),
    ('nv12', Layout.YUV_420, 1, 1, cv2.COLOR_YUV2RGB_NV12),
    ('nv21', Layout.YUV_420, 1, 1, cv2.COLOR_YUV2RGB_NV21),
    ('nv24', Layout.YUV_444, 1, 1, NO_CONVERSION),
    ('bayer_rggb8', Layout.MOSAIC, 1, 1, cv2.COLOR_BayerBG2RGB),
    ('bayer_bggr8', Layout.MOSAIC, 1, 1, cv2.COLOR_BayerRG2RGB),
    ('bayer_gbrg8', Layout.MOSAIC, 1, 1, cv2.COLOR_BayerGR2RGB),
    ('bayer_grbg8', Layout.MOSAIC, 1, 1, cv2.COLOR_BayerGB2RGB),
    ('bayer_rggb16', Layout.MOSAIC, 1, 2, cv2.COLOR_BayerBG2RGB),
    ('bayer_bggr16', Layout.MOSAIC, 1, 2, cv2.COLOR_BayerRG2RGB),
    ('bayer_gbrg16', Layout.MOSAIC, 1, 2, cv2.COLOR_BayerGR2RGB),
    ('bayer_grbg16', Layout.MOSAIC, 1, 2, cv2.COLOR_BayerGB2RGB),
)

ENCODINGS: dict[str, Encoding] = {
    name: Encoding(*row) for names, *row in _TABLE for name in names.split()
}


# --- Checks that raw and compressed messages share, made before anything is allocated.

# 8192 x 4096: more than any camera on a robot, and 100 MB as RGB.
MAX_PIXELS = SharedOptions.max_pixels


def integer(message: Any, field: str) -> int:
    """Return an integer field of a message. Raises InvalidField."""
    value = getattr(message, field)
    try:
        return operator.index(value)
    except TypeError as error:
        raise InvalidField(f'{field} is {shown(value)}: set it to an integer') from error


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise EmptyPicture or PictureTooLarge unless 1 <= width * height <= max_pixels."""
    if width <= 0 or height <= 0:
        raise EmptyPicture(f'the picture is {width}x{height}: width and height must be at least 1')
    if width * height > max_pixels:
        raise PictureTooLarge(
            f'the picture is {width}x{height}, more than {max_pixels} pixels: '
            'make it smaller, or raise max_pixels'
        )


def byte_view(data: Any) -> NDArray[np.uint8]:
    """Return the bytes of a message as (N,) uint8, without a copy.

    `data` is array.array('B'), bytes, bytearray, memoryview or a uint8 array. Raises InvalidField.
    """
    try:
        view = memoryview(data)
        if view.itemsize != 1:
            raise TypeError(f'items of {view.itemsize} bytes')
        # np.frombuffer refuses an empty buffer, which the caller reports.
        return np.frombuffer(view, np.uint8) if view.nbytes else np.empty(0, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        kind = type(data).__name__
        raise InvalidField(
            f'data is a {kind} ({error}): give contiguous bytes (array.array("B"), bytes, uint8)'
        ) from error


# --- cv_bridge decodes encodings that are not in the table, where it is installed and works.
#
# It is imported at the first such message: its compiled part cannot be loaded with a NumPy it was
# not built for, and most robots never need it.

# Raised by its import where it was built for another NumPy or Python.
IMPORT_FAULTS = (ImportError, AttributeError, SystemError, RuntimeError)
# Raised by a call: CvBridgeError is a TypeError, short data gives a TypeError or ValueError, and
# its compiled part, loaded late, fails as above.
CALL_FAULTS = (*IMPORT_FAULTS, TypeError, ValueError, KeyError, cv2.error)


def rgb_by_cv_bridge(message: Any) -> NDArray[np.uint8]:
    """Decode a sensor_msgs/Image to (H, W, 3) uint8 RGB by cv_bridge. Raises UnknownEncoding."""
    bridge, reason = load_bridge()
    if bridge is None:
        raise unknown_encoding(message.encoding, reason)
    try:
        return np.asarray(bridge.imgmsg_to_cv2(message, 'rgb8'))
    except CALL_FAULTS as error:
        raise unknown_encoding(message.encoding, f'cv_bridge failed: {error}') from error


@functools.lru_cache(maxsize=1)
def load_bridge() -> tuple[Any, str]:
    """Return a CvBridge and '', or None and the reason. Tried once per process."""
    try:
        import cv_bridge

        return cv_bridge.CvBridge(), ''
    except IMPORT_FAULTS as error:
        return None, f'cv_bridge cannot be used ({type(error).__name__}: {error})'


def unknown_encoding(name: str, reason: str) -> UnknownEncoding:
    """Return the error that names the encoding, why cv_bridge failed, and the supported ones."""
    similar = {known.lower(): known for known in ENCODINGS}.get(name.strip().lower())
    hint = f'Did you mean {similar!r}? ' if similar else ''
    return UnknownEncoding(
        f'encoding {shown(name)} is unknown, and {reason}. {hint}'
        f'Publish one of: {", ".join(ENCODINGS)}'
    )


Picture = NDArray[np.uint8]

# BT.601 in video range: rows R, G, B; columns Y, U, V, 1; the figures OpenCV uses for nv12.
YUV_TO_RGB = np.array(
    [
        [1.164, 0.0, 1.596, -16 * 1.164 - 128 * 1.596],
        [1.164, -0.391, -0.813, -16 * 1.164 + 128 * (0.391 + 0.813)],
        [1.164, 2.018, 0.0, -16 * 1.164 - 128 * 2.018],
    ]
)
NEUTRAL_CHROMA = 128
SMALLEST_MOSAIC = 3  # OpenCV's demosaicing needs neighbours on both sides of a pixel
LINE_PIECE = 1 << 16  # even, so that each piece begins with the same colour
LONGEST_ENCODING = 200


@dataclasses.dataclass(frozen=True)
class RawPicture:
    """A checked message: all bytes that the layout requires are present."""

    data: Picture  # (N,)
    width: int
    height: int
    step: int
    big_endian: bool
    encoding: Encoding

    def plane(self, width: int, height: int, channels: int, first_row: int = 0) -> Picture:
        """Return a view of 8 bit samples, (height, width, channels) or (height, width).

        `first_row` is where the plane starts, in steps.
        """
        return self._view(np.dtype(np.uint8), (height, width, channels), first_row)

    def in_eight_bits(self, bit_depth: BitDepth) -> RawPicture:
        """Return the picture with samples of 8 bits instead of 16 and without row padding."""
        order = '>u2' if self.big_endian else '<u2'
        shape = (self.height, self.width, self.encoding.channels)
        # OpenCV needs aligned samples in native byte order.
        samples = np.require(self._view(np.dtype(order), shape), np.uint16, ('C', 'A'))
        kind = (self.encoding, self.width, self.height, self.big_endian)
        depth = bit_depth.of(samples, kind, self.encoding.may_be_depth)
        return RawPicture(
            data=eight_bits(samples, depth).reshape(-1),
            width=self.width,
            height=self.height,
            step=self.width * self.encoding.channels,
            big_endian=self.big_endian,
            encoding=dataclasses.replace(self.encoding, sample_bytes=1),
        )

    def _view(
        self, kind: np.dtype[Any], shape: tuple[int, int, int], first_row: int = 0
    ) -> NDArray[Any]:
        """Return a view of the bytes as (H, W, C), or (H, W) for one channel."""
        strides = (self.step, shape[2] * kind.itemsize, kind.itemsize)
        view: NDArray[Any] = np.ndarray(shape, kind, self.data, first_row * self.step, strides)
        return view[:, :, 0] if shape[2] == 1 else view


def decode_image(
    message: Any,
    max_pixels: int = MAX_PIXELS,
    hand_over: Callable[[Any], Picture] = rgb_by_cv_bridge,
    bit_depth: BitDepth | None = None,
) -> Picture:
    """Decode a sensor_msgs/Image to RGB.

    Args:
        message: anything with height, width, encoding, is_bigendian, step and data
            (array.array('B'), bytes, memoryview or uint8 array).
        max_pixels: larger pictures are rejected before anything is allocated.
        hand_over: decodes a message whose encoding is not in the table.
        bit_depth: of the camera, for samples of 16 bits; by default guessed from this message
            alone, so a darker picture may come out brighter.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous. For rgb8 without row padding it is a read-only view of
        the message's bytes: copy it if it has to outlive the message.
        Samples of 16 bits are scaled by the bit depth; those of 16UC1, which may be depth, by all
        16 bits. YUV is BT.601 in video range. Alpha is dropped.

    Raises:
        ImageError: the message is invalid.
    """
    raw = checked(message, max_pixels)
    if raw is not None:
        if raw.encoding.sample_bytes == 2:
            raw = raw.in_eight_bits(bit_depth or BitDepth())
        elif bit_depth is not None:
            bit_depth.reset()
        return CONVERTERS[raw.encoding.layout](raw)
    rgb = hand_over(message)
    if rgb.dtype != np.uint8 or rgb.shape != (message.height, message.width, 3):
        raise unknown_encoding(
            message.encoding, f'cv_bridge returned {rgb.dtype} of shape {rgb.shape}'
        )
    return np.ascontiguousarray(rgb)


def check_image(message: Any, max_pixels: int = MAX_PIXELS) -> str:
    """Raise the ImageError that decode_image() would raise, judging by the fields alone.

    Returns '', where check_compressed() returns what is unusual in a picture.
    """
    if checked(message, max_pixels) is None:
        bridge, reason = load_bridge()
        if bridge is None:
            raise unknown_encoding(message.encoding, reason)
    return ''


def checked(message: Any, max_pixels: int) -> RawPicture | None:
    """Check every field; None if only the encoding is not in the table. Raises ImageError."""
    name = message.encoding
    if not isinstance(name, str):
        raise InvalidEncoding(f'encoding is {shown(name)}: set it to a name such as "rgb8"')
    if len(name) > LONGEST_ENCODING:
        raise InvalidEncoding(
            f'encoding {shown(name)} has {len(name)} characters: set it to a name such as "rgb8"'
        )
    width, height, step = (integer(message, field) for field in ('width', 'height', 'step'))
    check_size(width, height, max_pixels)
    data = byte_view(message.data)
    encoding = ENCODINGS.get(name)
    if encoding is None:
        check_rows(name, width, width, height, step, data.size)
        return None
    row_bytes, rows = encoding.row_bytes(width), encoding.rows(height)
    if encoding.is_planar and data.size == row_bytes * rows < step * rows:
        # Some drivers set step to data.size / height, chroma included: the planes are packed.
        step = row_bytes
    check_rows(name, width, row_bytes, rows, step, data.size)
    if step % encoding.sample_bytes:
        raise StepUnaligned(
            f'step {step} is not a multiple of the {encoding.sample_bytes} bytes of a {name} '
            'sample: pad rows by whole samples'
        )
    return RawPicture(data, width, height, step, bool(message.is_bigendian), encoding)


def check_rows(name: str, width: int, row_bytes: int, rows: int, step: int, size: int) -> None:
    """Raise StepTooSmall or DataTooShort unless `size` bytes hold `rows` rows of `step` bytes."""
    if step < row_bytes:
        raise StepTooSmall(
            f'step {step} is less than a row of {width} pixels in {shown(name)}: '
            f'set it to at least {row_bytes}'
        )
    if size < step * rows:
        raise DataTooShort(
            f'data has {size} bytes, but {rows} rows of step {step} in {shown(name)} are '
            f'{step * rows}: the message was cut short, or its height or step is wrong'
        )


def _packed(raw: RawPicture) -> Picture:
    pixels = np.ascontiguousarray(raw.plane(raw.width, raw.height, raw.encoding.channels))
    if raw.encoding.conversion != NO_CONVERSION:
        return cv2.cvtColor(pixels, raw.encoding.conversion)
    pixels.setflags(write=False)  # it may be the message's own memory
    return pixels


def _mosaic(raw: RawPicture) -> Picture:
    mosaic = np.ascontiguousarray(raw.plane(raw.width, raw.height, 1))
    if min(raw.width, raw.height) >= SMALLEST_MOSAIC:
        return cv2.cvtColor(mosaic, raw.encoding.conversion)
    rgb = np.empty((raw.height, raw.width, 3), np.uint8)
    # In pieces, since a mirrored single row has five times the pixels.
    for top, left in itertools.product(
        range(0, raw.height, LINE_PIECE), range(0, raw.width, LINE_PIECE)
    ):
        piece = mosaic[top : top + LINE_PIECE, left : left + LINE_PIECE]
        # Mirroring about the edge samples keeps the pattern.
        mirrored = cv2.cvtColor(np.pad(piece, 2, mode='reflect'), raw.encoding.conversion)
        rgb[top : top + LINE_PIECE, left : left + LINE_PIECE] = mirrored[2:-2, 2:-2]
    return rgb


def _yuv_422(raw: RawPicture) -> Picture:
    pixels = raw.plane(raw.width, raw.height, 2)
    if raw.width % 2 == 0:
        return cv2.cvtColor(pixels, raw.encoding.conversion)
    # The last pixel has no partner, hence half of its chroma: take it from the pair before.
    partner = pixels[:, -2:-1] if raw.width > 1 else np.full_like(pixels, NEUTRAL_CHROMA)
    pairs = np.concatenate((pixels, partner), axis=1)
    return np.ascontiguousarray(cv2.cvtColor(pairs, raw.encoding.conversion)[:, : raw.width])


def _yuv_420(raw: RawPicture) -> Picture:
    height, width = raw.height, raw.width
    luma = raw.plane(width, height, 1)
    chroma = raw.plane((width + 1) // 2, (height + 1) // 2, 2, first_row=height)
    if height % 2 or width % 2:
        luma = np.pad(luma, ((0, height % 2), (0, width % 2)), mode='edge')
    rgb = cv2.cvtColorTwoPlane(luma, chroma, raw.encoding.conversion)
    return np.ascontiguousarray(rgb[:height, :width])


def _yuv_444(raw: RawPicture) -> Picture:
    luma = raw.plane(raw.width, raw.height, 1)
    # A chroma row is two steps long, which plane() cannot express.
    rows = dataclasses.replace(raw, step=2 * raw.step, data=raw.data[raw.step * raw.height :])
    chroma = rows.plane(raw.width, raw.height, 2)
    return cv2.transform(np.dstack((luma, chroma)), YUV_TO_RGB)


CONVERTERS: dict[Layout, Callable[[RawPicture], Picture]] = {
    Layout.PACKED: _packed,
    Layout.MOSAIC: _mosaic,
    Layout.YUV_422: _yuv_422,
    Layout.YUV_420: _yuv_420,
    Layout.YUV_444: _yuv_444,
}


# --- Bit depth: how many of the 16 bits of a sample a camera uses, set or guessed.
#
# Sensors of 10, 12 or 14 bits are published in samples of 16, and no message says how many bits are
# used; a picture scaled by all 16 is nearly black. docs/cameras.md describes the guess and why it
# only grows.

Samples = NDArray[np.uint16]

GUESSES = (10, 12, 14, 16)
IGNORED_SHARE = 0.005
MIN_BRIGHTNESS = 256  # a quarter of 10 bits: a darker picture is dark at any bit depth
# Fewer empty low bits, or fewer levels, mean nothing: a uniform grey of 2048 has 11 empty bits.
MIN_EMPTY_BITS, MIN_LEVELS = 4, 16
AGREEING, RECENT = 2, 10  # so many of the recent pictures have to ask for more bits
SAMPLED_LINES = 384  # rows and columns that a guess looks at; a broken one is below IGNORED_SHARE
COLOURS = 3  # without alpha


class BitDepth:
    """The bit depth of one camera, or of one picture.

    given: 8 to 16, or 0 to guess; may be changed between two pictures. 16 is right for every sensor
    that uses the high bits.
    description: the bit depth of the last picture and its origin, for people; '' before the first.
    """

    def __init__(self, given: int = 0) -> None:
        """Raises ValueError for a bit depth other than 0 and 8 to 16."""
        fault = check_bit_depth(given)
        if fault:
            raise ValueError(f'bit depth {fault}')
        self.given = given
        self.description = ''
        self._guess = 0
        self._recent: collections.deque[int] = collections.deque(maxlen=RECENT)
        self._kind: Hashable = None

    def reset(self) -> None:
        """Discard the guess, as for a new camera."""
        self.description, self._guess, self._kind = '', 0, None
        self._recent.clear()

    def of(self, samples: Samples, kind: Hashable = None, may_be_depth: bool = False) -> int:
        """Return how many bits these samples use, 8 to 16.

        samples: (H, W) or (H, W, C) uint16, in native byte order. kind: encoding, size and so on;
        a change discards the guess. may_be_depth: they may be millimetres, which are not guessed.
        """
        if kind != self._kind:
            self.reset()
            self._kind = kind
        if self.given:
            self.description = f'{self.given}, given by bit_depth'
            return self.given
        if may_be_depth:
            self.description = f'{MOST_BITS}: 16UC1 may be depth, so it is not guessed'
            return MOST_BITS
        self._add(samples)
        if self._guess:
            self.description = f'{self._guess}, guessed from the pictures'
            return self._guess
        self.description = f'{GUESSES[0]}, until it is bright enough for a guess'
        return GUESSES[0]

    def _add(self, samples: Samples) -> None:
        # Only a brighter picture can raise the guess.
        brighter = not self._guess or _colours(samples).max() >> self._guess
        wanted = guess(samples) if brighter else self._guess
        if wanted:
            self._recent.append(wanted)
            agreed = sorted(self._recent)[-AGREEING:][0]
            self._guess = max(self._guess, agreed)


def guess(samples: Samples) -> int:
    """Guess the bit depth of one picture, (H, W) or (H, W, C) uint16; 0 where it is too dark."""
    few = _colours(samples[:: _stride(samples.shape[0]), :: _stride(samples.shape[1])])
    counts = np.bincount(few.reshape(-1), minlength=1 << MOST_BITS)
    ignored = int(IGNORED_SHARE * few.size)
    brightest = len(counts) - 1 - int(np.argmax(counts[::-1].cumsum() > ignored))
    if brightest < MIN_BRIGHTNESS:
        return 0
    needed = brightest.bit_length()
    empty = _empty_bits(counts, ignored)
    if empty >= MIN_EMPTY_BITS:
        fits = brightest >> empty < 1 << FEWEST_BITS
        needed = max(needed, FEWEST_BITS + empty) if fits else MOST_BITS
    return next(each for each in GUESSES if each >= needed)


def _empty_bits(counts: NDArray[np.intp], ignored: int) -> int:
    """Count the low bits that all samples have empty, outliers apart; 0 with too few levels."""
    empty = 0
    while empty < FEWEST_BITS and counts.sum() - counts[:: 2 << empty].sum() <= ignored:
        empty += 1
    return empty if np.count_nonzero(counts[:: 1 << empty]) >= MIN_LEVELS else 0


def _stride(length: int) -> int:
    """An odd step, so that every colour of a mosaic is sampled."""
    return length // SAMPLED_LINES | 1


def _colours(samples: Samples) -> Samples:
    return samples[:, :, :COLOURS] if samples.ndim == 3 else samples


def eight_bits(samples: Samples, depth: int) -> NDArray[np.uint8]:
    """Return the eight highest of `depth` bits of (H, W) or (H, W, C) uint16, as uint8.

    Larger values saturate. 8 bits that were widened to `depth`, by a shift or in proportion, are
    restored exactly.
    """
    step = 1 << (depth - FEWEST_BITS)
    # OpenCV rounds to the nearest and saturates in one pass; half a step less rounds down.
    down = 0.5 / step - 0.5
    scaled = cv2.convertScaleAbs(samples, alpha=1 / step, beta=down)
    return np.asarray(scaled, np.uint8).reshape(samples.shape)


def in_colour(grey_or_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) for (H, W), (H, W, 1) or (H, W, 3) uint8."""
    if grey_or_rgb.ndim == 3 and grey_or_rgb.shape[2] == 3:
        return grey_or_rgb
    return np.asarray(cv2.cvtColor(grey_or_rgb, cv2.COLOR_GRAY2RGB), np.uint8)
