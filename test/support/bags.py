"""Writes rosbag2 folders with images, by the library `rosbags`: no ROS is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

JAZZY = get_typestore(Stores.ROS2_JAZZY)
TYPES = JAZZY.types
Image = TYPES['sensor_msgs/msg/Image']
CompressedImage = TYPES['sensor_msgs/msg/CompressedImage']
CameraInfo = TYPES['sensor_msgs/msg/CameraInfo']
RegionOfInterest = TYPES['sensor_msgs/msg/RegionOfInterest']
Header = TYPES['std_msgs/msg/Header']
Time = TYPES['builtin_interfaces/msg/Time']

STORAGES = {'sqlite3': StoragePlugin.SQLITE3, 'mcap': StoragePlugin.MCAP}
NANOSECONDS = 1_000_000_000
START_NS = 1_700_000_000 * NANOSECONDS
TOPIC = '/camera/image_raw'
OPTICAL_FRAME = 'recorded_optical_frame'


def header(stamp_ns: int, frame_id: str = OPTICAL_FRAME) -> Any:
    """A std_msgs/Header."""
    stamp = Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)
    return Header(stamp=stamp, frame_id=frame_id)


def raw_message(rgb: NDArray[np.uint8], stamp_ns: int, padding: int = 0) -> Any:
    """A bgr8 Image of an (H, W, 3) uint8 RGB array, each row followed by `padding` bytes of 7."""
    height, width = rgb.shape[:2]
    rows = np.full((height, 3 * width + padding), 7, np.uint8)
    rows[:, : 3 * width] = rgb[..., ::-1].reshape(height, -1)
    return Image(
        header=header(stamp_ns),
        height=height,
        width=width,
        encoding='bgr8',
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def compressed_message(rgb: NDArray[np.uint8], stamp_ns: int, suffix: str = '.jpg') -> Any:
    """A CompressedImage of an (H, W, 3) uint8 RGB array: JPEG, or PNG without loss."""
    _, encoded = cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]))
    kind = {'.jpg': 'jpeg', '.png': 'png'}[suffix]
    return CompressedImage(
        header=header(stamp_ns), format=f'bgr8; {kind} compressed bgr8', data=encoded.reshape(-1)
    )


def camera_info_message(rgb: NDArray[np.uint8], stamp_ns: int, focal: float = 400.0) -> Any:
    """A CameraInfo for pictures of this size, with a lens that distorts."""
    height, width = rgb.shape[:2]
    cx, cy = (width - 1) / 2, (height - 1) / 2
    return CameraInfo(
        header=header(stamp_ns),
        height=height,
        width=width,
        distortion_model='plumb_bob',
        d=np.array([-0.2, 0.05, 0.001, -0.001, 0.0]),
        k=np.array([focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]),
        r=np.eye(3).reshape(-1),
        p=np.array([focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]),
        binning_x=0,
        binning_y=0,
        roi=RegionOfInterest(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def write_image_bag(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    storage: str = 'sqlite3',
    compressed: bool = False,
    topic: str = TOPIC,
    with_camera_info: bool = False,
    rate_hz: float = 10.0,
    start_ns: int = START_NS,
    padding: int = 0,
    suffix: str = '.jpg',
) -> Path:
    """Write a rosbag2 folder with one camera, in message types of Jazzy, and return its path.

    frames: (H, W, 3) uint8 RGB; frame i has the stamp start_ns + i / rate_hz and is recorded a
    millisecond later. compressed: CompressedImage (`suffix` .jpg or .png) instead of bgr8 Image,
    on `topic` + '/compressed'. The camera_info of a frame is recorded *after* it.
    """
    messages = []
    for index, rgb in enumerate(frames):
        stamp_ns = start_ns + round(index * NANOSECONDS / rate_hz)
        if compressed:
            image = compressed_message(rgb, stamp_ns, suffix)
            messages.append((stamp_ns + 1_000_000, topic + '/compressed', image))
        else:
            messages.append((stamp_ns + 1_000_000, topic, raw_message(rgb, stamp_ns, padding)))
        if with_camera_info:
            info_topic = topic.rpartition('/')[0] + '/camera_info'
            info = camera_info_message(rgb, stamp_ns)
            messages.append((stamp_ns + 2_000_000, info_topic, info))
    return write_bag(path, messages, storage)


def write_bag(
    path: Path,
    messages: Iterable[tuple[int, str, Any]],
    storage: str = 'sqlite3',
    empty_topics: Mapping[str, str] | None = None,
) -> Path:
    """Write a rosbag2 folder of (time in ns, topic, message), and return its path.

    empty_topics: name -> type of topics without a message.
    """
    with Writer(path, version=9, storage_plugin=STORAGES[storage]) as writer:
        connections: dict[str, Any] = {}
        for name, kind in (empty_topics or {}).items():
            connections[name] = writer.add_connection(name, kind, typestore=JAZZY)
        for time_ns, topic, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=JAZZY)
            writer.write(connections[topic], time_ns, JAZZY.serialize_cdr(message, kind))
    return path
