"""Serialised messages that no ROS 2 publisher would send, made from a valid one."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

from rclpy.serialization import serialize_message

# Plain, parameter list, XML, and the XCDR2 kinds of OMG DDS-XTypes; then a vendor's, and nonsense.
ENCAPSULATIONS = (
    *(bytes([0, kind]) for kind in range(12)),
    b'\x80\x00',
    b'\xc0\x01',
    b'\xff\xff',
    b'<?',
    b'\x01\x00',
)
WORDS = (
    b'\xff\xff\xff\xff',  # a length that would be 4 GB
    b'\xff\xff\xff\x7f',
    b'\x00\x00\x00\x80',
    b'\x00\x00\x01\x00',
    b'\x00\x00\xc0\x7f',  # NaN
    b'\x00\x00\x80\x7f',  # infinity
    b'\xc3\x28\xa0\xa1',  # no UTF-8
    b'\x00\x00\x00\x00',
)


def raw_messages(good: Any, count: int, seed: int = 0) -> list[bytes]:
    """`count` serialised messages: every encapsulation, every truncation, every word replaced."""
    data = bytes(serialize_message(good))
    rng = random.Random(seed)
    made = [*_odd(data), *_replaced(data)]
    rng.shuffle(made)
    made = [*_encapsulated(data, rng), *made]
    while len(made) < count:
        made.append(_mutated(data, rng))
    return made[:count]


def _encapsulated(data: bytes, rng: random.Random) -> Iterator[bytes]:
    for kind in ENCAPSULATIONS:
        for options in (b'\0\0', b'\0\3', b'\xff\xff'):
            for body in (data[4:], rng.randbytes(50), b'', data[4 : len(data) // 2]):
                yield kind + options + body


def _odd(data: bytes) -> Iterator[bytes]:
    yield from (data[:size] for size in range(min(len(data), 400)))
    yield data + bytes(100_000)
    for words in range(1, 12):  # from here on nothing but lengths
        yield data[: 4 * words] + b'\xff' * 400
        yield data[: 4 * words] + struct.pack('<I', 1_000_000) + bytes(1_000_000)


def _replaced(data: bytes) -> Iterator[bytes]:
    for at in range(4, min(len(data), 240) - 3, 4):
        for word in WORDS:
            yield data[:at] + word + data[at + 4 :]


def _mutated(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(4, len(made))
        made[at : at + 4] = rng.choice((*WORDS, rng.randbytes(4)))
    if rng.random() < 0.3:
        del made[rng.randrange(4, len(made)) :]
    if rng.random() < 0.3:
        made[:2] = rng.choice(ENCAPSULATIONS)
    return bytes(made)
