"""Text from outside: made printable, and checked as the name of a camera, frame or topic.

A `check_*` function returns what is wrong with a name, or ''.
"""

from __future__ import annotations

import re
from typing import Any

SHOWN_LENGTH = 60
PRINTED_LENGTH = 2000


class PrintableError(ValueError):
    """An error whose text is always printable."""

    def __init__(self, text: object = '') -> None:
        super().__init__(printable(text))


def printable(text: object, most: int = PRINTED_LENGTH) -> str:
    """Return text as one line of at most `most` characters that is safe in a terminal or a log.

    Control characters, changes of the writing direction, line breaks, invisible characters and
    bytes of file names that are not UTF-8 are escaped as in Python. A long text loses its middle,
    since errors often have a path at the start and the reason at the end.
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
    byte = ord(letter) - 0xDC00  # os.fsdecode's code for an undecodable byte
    return f'\\x{byte:02x}' if 0x80 <= byte <= 0xFF else repr(letter)[1:-1]


def shown(value: Any) -> str:
    """Return `repr(value)`, shortened so that no message can flood a log."""
    # Cut first, so that no repr of a long string is made.
    text = repr(value[:SHOWN_LENGTH] if isinstance(value, (str, bytes)) else value)
    long = len(text) > SHOWN_LENGTH or (isinstance(value, str) and len(value) > SHOWN_LENGTH)
    return text[:SHOWN_LENGTH] + '...' if long else text


# A ROS topic has at most 247 characters: 100 leave room for a namespace and the longest output.
LONGEST_CAMERA_NAME = 100
LONGEST_TOPIC = 200  # likewise, without an output
LONGEST_FRAME_ID = 255
TOKEN = '[A-Za-z_][A-Za-z0-9_]*'
MOST_CAMERAS = 64
# Sub-namespaces of a camera's outputs, which another camera must not have as its name.
BELOW_A_CAMERA = ('depth', 'heatmap', 'reference', 'relative_inverse_depth')


def check_camera_names(names: list[str]) -> str:
    """Check camera names, which become topic namespaces: at least one, valid, no duplicates."""
    if not names:
        return 'is empty: name at least one camera'
    if len(names) > MOST_CAMERAS:
        return f'names {len(names)} cameras: one node has at most {MOST_CAMERAS}'
    for name in names:
        if len(name) > LONGEST_CAMERA_NAME:
            return (
                f'{shown(name)} has {len(name)} letters: its topics would be longer than ROS '
                f'allows; use at most {LONGEST_CAMERA_NAME}'
            )
        if not re.fullmatch(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*', name):
            return (
                f'{shown(name)} cannot be a topic namespace: use letters, digits and underscores, '
                'a letter first, and single slashes between'
            )
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        return f'{shown(twice)} is named twice'
    for name in names:
        camera, _, below = name.rpartition('/')
        if camera in names and below in BELOW_A_CAMERA:
            return f'{shown(name)} is the namespace of an output of camera {shown(camera)}'
    return ''


def check_frame_id(name: str) -> str:
    """Check a tf2 frame: no leading slash, no blanks, not too long; '' = a default is used."""
    if re.search(r'^/|\s', name) or not name.isprintable():
        return f'{shown(name)} is not a tf2 frame: leave out the leading slash and blanks'
    if len(name) > LONGEST_FRAME_ID:
        return f'{shown(name)} is not a tf2 frame: use at most {LONGEST_FRAME_ID} letters'
    return ''


def check_required_frame_id(name: str) -> str:
    """Check a tf2 frame that must be given."""
    return check_frame_id(name) if name else 'is empty: name a tf2 frame'


def check_topic(name: str) -> str:
    """Check a topic name, relative or absolute; '' = no topic."""
    if name and not re.fullmatch(rf'(~/|/)?{TOKEN}(/{TOKEN})*', name):
        return (
            f'{shown(name)} is not a topic name: use letters, digits and underscores, no digit '
            'first, and single slashes between'
        )
    if len(name) > LONGEST_TOPIC:
        return f'{shown(name)} is not a topic name: use at most {LONGEST_TOPIC} letters'
    return ''


def check_camera_name(name: str) -> str:
    """Check the name of a single camera."""
    return check_camera_names([name])


def check_optional_camera_name(name: str) -> str:
    """Check the name of a single camera; '' = none is named."""
    return check_camera_name(name) if name else ''
