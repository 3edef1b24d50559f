"""Camera messages as bytes: serialised ones are read without a copy, arrays become `data`.

A serialised sensor_msgs/Image or CompressedImage (plain CDR, OMG DDSI-RTPS 10.2, either byte order)
goes in; an object with the message's fields comes out, whose `data` is a view. A frame that is
dropped is never copied. An Image is also written, with one copy of its pixels. A
tf2_msgs/TFMessage can be read where its Python type is not installed.
"""

from __future__ import annotations

import array
import struct
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.images.errors import InvalidField, InvalidPicture, MalformedMessage
from midas_depth_ros.options.text import shown

# The representation identifiers of plain CDR, and struct's sign for their byte order.
BYTE_ORDERS = {b'\x00\x00': '>', b'\x00\x01': '<'}
LITTLE_ENDIAN = b'\x00\x01\x00\x00'  # the encapsulation header that is written, without options
LONGEST_TEXT = 4096  # of a frame_id or encoding; a dozen outputs repeat the frame_id
NANOSECONDS = 1_000_000_000  # in a second
ENCAPSULATION_BYTES = 4  # identifier and options; alignment counts from behind them
TF, TF_STATIC = '/tf', '/tf_static'  # topics of tf2_msgs/TFMessage
LEAST_TRANSFORM_BYTES = 72  # stamp, two empty names, seven doubles


class Stamp(NamedTuple):
    """As builtin_interfaces/Time."""

    sec: int
    nanosec: int


class SerialisedHeader(NamedTuple):
    """As std_msgs/Header."""

    stamp: Stamp
    frame_id: str


class SerialisedImage(NamedTuple):
    """As sensor_msgs/Image; `data` is a view of the serialised bytes, or of what becomes them."""

    header: SerialisedHeader
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


class SerialisedCompressedImage(NamedTuple):
    """As sensor_msgs/CompressedImage; `data` is a view of the serialised bytes."""

    header: SerialisedHeader
    format: str
    data: memoryview


def stamp_ns(header: Any) -> int:
    """Return the stamp of a header of any class, in nanoseconds."""
    return int(header.stamp.sec) * NANOSECONDS + int(header.stamp.nanosec)


def is_plain_cdr(serialised: bytes) -> bool:
    """Whether these bytes are plain CDR by their header; other representations are rare."""
    return serialised[:2] in BYTE_ORDERS


def read_image(serialised: bytes) -> SerialisedImage:
    """Read a serialised sensor_msgs/Image. Raises MalformedMessage or InvalidField."""
    reader = _Reader(serialised)
    return SerialisedImage(
        header=reader.header(),
        height=reader.number('height'),
        width=reader.number('width'),
        encoding=reader.text('encoding'),
        is_bigendian=reader.byte('is_bigendian'),
        step=reader.number('step'),
        data=reader.data(),
    )


def write_image(image: Any) -> bytes:
    """Serialise an object with the fields of sensor_msgs/Image: what `read_image` reads.

    `data` is anything contiguous in memory, of any shape and type.
    """
    stamp, data = image.header.stamp, memoryview(image.data)
    frame_id, encoding = (text.encode() + b'\0' for text in (image.header.frame_id, image.encoding))
    return b''.join(
        (
            LITTLE_ENDIAN,
            struct.pack('<iII', stamp.sec, stamp.nanosec, len(frame_id)),
            _aligned(frame_id),
            struct.pack('<III', image.height, image.width, len(encoding)),
            _aligned(encoding + bytes([image.is_bigendian])),
            struct.pack('<II', image.step, data.nbytes),
            data,
        )
    )


def _aligned(field: bytes) -> bytes:
    """With zeros up to where a number may follow."""
    return field + bytes(-len(field) % 4)


def read_compressed(serialised: bytes) -> SerialisedCompressedImage:
    """Read a serialised CompressedImage. Raises MalformedMessage or InvalidField."""
    reader = _Reader(serialised)
    return SerialisedCompressedImage(
        header=reader.header(), format=reader.text('format'), data=reader.data()
    )


class SerialisedTransform(NamedTuple):
    """As geometry_msgs/TransformStamped; numbers: translation x, y, z, rotation x, y, z, w."""

    header: SerialisedHeader
    child_frame_id: str
    numbers: tuple[float, ...]


def read_transforms(serialised: bytes) -> list[SerialisedTransform]:
    """Read a serialised tf2_msgs/TFMessage. Raises MalformedMessage or InvalidField."""
    reader = _Reader(serialised)
    count = reader.number('transforms')
    if count > len(serialised) // LEAST_TRANSFORM_BYTES:
        raise MalformedMessage(
            f'the serialised message has {len(serialised)} bytes and states {count} transforms: it '
            'was cut short or damaged in transit'
        )
    return [
        SerialisedTransform(
            reader.header(), reader.text('child_frame_id'), reader.doubles(7, 'transform')
        )
        for _ in range(count)
    ]


class _Reader:
    """Reads one field after the other; 4-byte numbers are aligned to multiples of 4."""

    def __init__(self, serialised: bytes) -> None:
        order = BYTE_ORDERS.get(serialised[:2])
        if order is None or len(serialised) < ENCAPSULATION_BYTES:
            raise MalformedMessage(
                f'the serialised message begins with {shown(bytes(serialised[:4]))}, which is not '
                'plain CDR: publish with a ROS 2 middleware'
            )
        self._all = serialised
        self._body = memoryview(serialised)[ENCAPSULATION_BYTES:]
        self._at = 0
        self._unsigned = struct.Struct(order + 'I')
        self._stamp = struct.Struct(order + 'iI')
        self._order = order

    def header(self) -> SerialisedHeader:
        self._at += -self._at % 4
        stamp = Stamp(*self._unpack(self._stamp, 'stamp'))
        return SerialisedHeader(stamp, self.text('frame_id'))

    def number(self, field: str) -> int:
        self._at += -self._at % 4
        return int(self._unpack(self._unsigned, field)[0])

    def doubles(self, count: int, field: str) -> tuple[float, ...]:
        self._at += -self._at % 8
        taken = self._take(8 * count, field)
        return struct.unpack(f'{self._order}{count}d', taken)

    def byte(self, field: str) -> int:
        return self._take(1, field)[0]

    def text(self, field: str) -> str:
        taken = self._take(self.number(field), field)
        if len(taken) > LONGEST_TEXT:
            raise InvalidField(
                f'{field} has {len(taken)} bytes, more than {LONGEST_TEXT}: set it to a short text'
            )
        raw = bytes(taken)
        try:
            return raw.partition(b'\0')[0].decode()  # as in C; the length includes the NUL
        except UnicodeDecodeError as error:
            raise InvalidField(f'{field} is {shown(raw)}: set it to UTF-8 text') from error

    def data(self) -> memoryview:
        return self._take(self.number('data'), 'data')

    def _unpack(self, form: struct.Struct, field: str) -> tuple[int, ...]:
        return form.unpack(self._take(form.size, field))

    def _take(self, size: int, field: str) -> memoryview:
        if size > len(self._body) - self._at:
            raise MalformedMessage(
                f'the serialised message has {len(self._all)} bytes and ends within {field}, '
                f'which should have {size} bytes: it was cut short or damaged in transit'
            )
        self._at += size
        return self._body[self._at - size : self._at]


# --- Arrays into the `data` of camera messages.

# The longest side that libjpeg writes; a header could state 35 pixels more.
LONGEST_SIDE = 65_500
MILLIMETRES, LARGEST_16UC1 = 1000.0, 65535


def message_data(values: NDArray[Any]) -> array.array[int]:
    """Return the bytes of an array of any shape and dtype, row by row, for `message.data`.

    ROS takes array.array('B') as it is; it checks every element of bytes or of a NumPy array,
    which is a thousand times slower.
    """
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return data


def bgr_of(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert (H, W, 3) uint8 RGB to BGR."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR), np.uint8)


def picture_reduced(rgb: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Shrink (H, W, 3) uint8 RGB to (h, w, 3) for (h, w) = `shape`, by area averaging."""
    size = shape[1], shape[0]
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def grey_reduced(rgb: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return (h, w) uint8 grey of (H, W, 3) RGB, shrunk by area averaging to at most `width`."""
    if rgb.shape[1] > width:
        rgb = picture_reduced(rgb, (max(1, round(rgb.shape[0] * width / rgb.shape[1])), width))
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), np.uint8)


def grey_of(rgb: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return (h, w) uint8 grey of (H, W, 3) RGB, resized by area averaging to (h, w) = `shape`."""
    return np.asarray(cv2.cvtColor(picture_reduced(rgb, shape), cv2.COLOR_RGB2GRAY), np.uint8)


def millimetres_of(depth_z: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Convert (H, W) float32 metres to whole millimetres; 0 for NaN, infinity, what is not above 0
    and what is above 65535.
    """
    is_known = (depth_z > 0) & (depth_z < 2 * LARGEST_16UC1 / MILLIMETRES)
    millimetres = np.rint(np.where(is_known, depth_z, 0) * np.float32(MILLIMETRES))
    millimetres[millimetres > LARGEST_16UC1] = 0
    return millimetres.astype(np.uint16)


def packed_points(
    points: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    sigma: NDArray[np.float32],
    height: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Pack (h, w, 3) float32 metres, (h, w, 3) uint8 RGB and twice (h, w) float32 metres as
    (h, w, 6) float32: x, y, z, rgb, sigma, height.

    rgb is 0x00RRGGBB in the bits of a float32, as PCL and rviz2 read it. No height is NaN.
    """
    packed = np.empty((*points.shape[:2], 6), np.float32)
    packed[..., :3] = points
    bgr = np.zeros((*points.shape[:2], 4), np.uint8)
    bgr[..., :3] = rgb[..., ::-1]
    packed[..., 3] = bgr.view(np.float32)[..., 0]
    packed[..., 4] = sigma
    packed[..., 5] = np.float32(np.nan) if height is None else height
    return packed


def encode_jpeg(rgb: NDArray[np.uint8], quality: int = 80) -> array.array[int]:
    """Encode (H, W, 3) uint8 RGB as JPEG, for the `data` of a CompressedImage.

    `quality` is 1 (smallest) to 100 (best). Raises InvalidPicture, and ValueError for a quality
    outside its bounds.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise InvalidPicture(
            f'the picture has shape {rgb.shape} and dtype {rgb.dtype}: '
            'give a non-empty (H, W, 3) uint8 RGB array'
        )
    if max(rgb.shape) > LONGEST_SIDE:
        raise InvalidPicture(
            f'the picture is {rgb.shape[1]}x{rgb.shape[0]}: a JPEG has at most {LONGEST_SIDE} '
            'pixels a side'
        )
    if not 1 <= quality <= 100:
        raise ValueError(f'JPEG quality {quality} is not in 1..100')
    try:
        done, encoded = cv2.imencode('.jpg', bgr_of(rgb), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    except cv2.error as error:
        raise InvalidPicture(f'OpenCV cannot write a JPEG of shape {rgb.shape}: {error}') from error
    if not done:
        raise InvalidPicture(f'OpenCV could not write a JPEG of shape {rgb.shape}')
    return message_data(encoded)
