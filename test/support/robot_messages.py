"""Messages of a depth node, made by hand: valid, absurd, and bytes that are not messages."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from driving import header
from geometry_msgs.msg import Point, PointStamped, Vector3, Vector3Stamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image, LaserScan, Range

from midas_depth_ros.nodes.ros.messages import image_message, jpeg_message

NODE = '/depth_node'
# Every representation identifier of OMG DDS-XTypes 7.6.3.1.2 and some that are none.
ENCAPSULATIONS = [bytes((0, kind)) for kind in (*range(12), 0x10, 0x7F, 0xFF)] + [
    b'\x80\x01',
    b'\xff\xff',
]
WORDS = (b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'\xff\xff\xff\x7f', b'\0\0\0\x10')
NAN, INF = math.nan, math.inf
LARGEST = 3.4e38  # of a float32


def diagnostics(
    cameras: dict[str, str] | None = None, node: str = NODE, **model: str
) -> DiagnosticArray:
    """What a depth node with these cameras (name: image topic) tells of itself."""
    name = node.rpartition('/')[2]
    values = {'enabled': 'True', 'lifecycle state': 'active', 'model': 'embedded', **model}
    statuses = [status(f'{name}: model', 'all is well', values, node)]
    for camera, topic in (cameras or {}).items():
        facts = {'topic': topic, 'scale': 'valid', 'scale source': 'ground_plane'}
        statuses.append(status(f'{name}: camera {camera}', '5.0 frames per second', facts, node))
    return DiagnosticArray(status=statuses)


def status(name: str, message: str, values: dict[str, str], node: str = NODE) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(
        name=name, message=message, hardware_id=node, values=pairs, level=DiagnosticStatus.OK
    )


def closeness(left: float = 0.25, centre: float = 0.5, right: float = 0.75) -> Vector3Stamped:
    return Vector3Stamped(vector=Vector3(x=left, y=centre, z=right))


def proximity(metres: float = 1.25, most: float = 6.0) -> Range:
    return Range(range=metres, min_range=0.1, max_range=most)


def scan(ranges: Any = (1.0, 2.0, INF, NAN), **fields: float) -> LaserScan:
    given = {'angle_min': -0.5, 'angle_max': 0.5, 'angle_increment': 0.25, 'range_max': 6.0}
    return LaserScan(ranges=[float(value) for value in ranges], **{**given, **fields})


def nearest_point(forward: float = 1.25, left: float = 0.5) -> PointStamped:
    return PointStamped(point=Point(x=forward, y=left))


def picture(brightness: int = 100) -> np.ndarray:
    return np.full((48, 64, 3), brightness, np.uint8)


def raw_picture(brightness: int = 100, **fields: Any) -> Image:
    message = image_message(picture(brightness), header(1))
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def jpeg_picture(brightness: int = 100, data: bytes | None = None) -> CompressedImage:
    message = jpeg_message(picture(brightness), header(1), 90)
    if data is not None:
        message.data = list(data)
    return message


def absurd_scans() -> Iterator[LaserScan]:
    for value in (NAN, INF, -INF, 0.0, -0.25, -LARGEST, LARGEST, 7.0, 1e-30):
        for field in ('angle_min', 'angle_increment', 'range_max', 'range_min', 'angle_max'):
            yield scan(**{field: value})
    for ranges in (
        (),
        (NAN,) * 9,
        (INF,) * 9,
        (-INF,) * 9,
        (-1.0, -0.0, 0.0),
        (LARGEST, -LARGEST),
        (1.0,) * 100_000,
        (NAN, 1.0, INF, -INF) * 25_000,
    ):
        yield scan(ranges)
        yield scan(ranges, angle_increment=1e-5)


def absurd_ranges() -> Iterator[Range]:
    values = (NAN, INF, -INF, 0.0, -1.0, LARGEST, -LARGEST)
    for value in values:
        for most in (*values, 6.0):
            yield proximity(value, most)


def absurd_vectors() -> Iterator[Vector3Stamped]:
    for value in (NAN, INF, -INF, 1e308, -1e308, -1.0, 5e-324):
        yield closeness(value, value, value)


def absurd_points() -> Iterator[PointStamped]:
    for value in (NAN, INF, -INF, 1e308, -1e308):
        yield nearest_point(value, value)


def absurd_pictures() -> Iterator[Image]:
    yield raw_picture(data=[])
    yield raw_picture(height=0)
    yield raw_picture(height=2**32 - 1, width=2**32 - 1)
    yield raw_picture(step=1)
    yield raw_picture(step=2**32 - 1)
    for encoding in ('', 'rgb16', 'bayer_rggb8', 'yuv422', 'nv12', '32FC1', '8UC2', 'x' * 5000):
        yield raw_picture(encoding=encoding)
    message = raw_picture()
    message.data = message.data[: len(message.data) // 2]  # cut
    yield message


def absurd_jpegs() -> Iterator[CompressedImage]:
    good = bytes(jpeg_picture().data)
    for data in (b'', b'\xff\xd8\xff', good[:100], good[: len(good) // 2], b'GIF89a' + bytes(50)):
        yield jpeg_picture(data=data)


NO_NAMES = (
    '',
    ' ',
    '/',
    'a b',
    '1st',
    'a//b',
    'a/',
    '/a',
    '~',
    '~/a',
    '{node}',
    'a-b',
    'ä',
    'a\nb',
    'a\x1b[31m',
    '../x',
    'a' * 300,
    '__proto__',
    'constructor',
    '<b>x</b>',
)


def absurd_diagnostics() -> Iterator[DiagnosticArray]:
    """Cameras and topics that are no names, and far too much of everything."""
    for name in NO_NAMES:
        yield diagnostics({name: '/camera/image_raw'})
        yield diagnostics({'camera': name})
        yield diagnostics({'camera': f'/{name}/compressed'})
    yield diagnostics({f'camera{number}': f'/c{number}/image_raw' for number in range(300)})
    yield diagnostics({'camera': '/camera/image_raw'}, model='x' * 100_000)
    message = diagnostics({'camera': '/camera/image_raw'})
    message.status[0].values = [KeyValue(key=f'k{n}', value='v') for n in range(3000)]
    yield message
    for level in (b'\x03', b'\x80', b'\xff'):
        message = diagnostics({'camera': '/camera/image_raw'})
        message.status[0].level = level
        message.status[1].level = level
        yield message
    yield DiagnosticArray(status=[status('depth_node: camera', '', {}), status('', '', {})])


def bad_bytes(good: Any, seed: int = 1) -> Iterator[bytes]:
    """A serialised message under every encapsulation, cut, damaged, and bytes that are none."""
    rng = random.Random(seed)
    whole = serialize_message(good)
    for kind in ENCAPSULATIONS:
        yield kind + b'\0\0'
        yield kind + whole[2:]
        yield kind + whole[2 : len(whole) // 2]
        yield kind + rng.randbytes(50)
    for length in range(0, min(len(whole), 120), 7):
        yield whole[:length]
    for place in range(4, min(len(whole), 160), 4):
        for word in WORDS:
            yield whole[:place] + word + whole[place + 4 :]
    for _ in range(60):
        yield rng.randbytes(rng.randrange(200))
