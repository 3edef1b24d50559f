"""Text from outside: made fit for a log, and judged as the name of a camera, frame or topic.

A `check_*` function returns what is wrong with a name, or '' where nothing is.
"""

from __future__ import annotations

import re
from typing import Any

SHOWN_LENGTH = 60
PRINTED_LENGTH = 2000


class PrintableError(ValueError):
    """An error whose text is printable, whatever was put into it."""

    def __init__(self, text: object = '') -> None:
        super().__init__(printable(text))


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


# ROS names a topic in 247 letters at most: 100 leave room for a namespace and the longest output.
LONGEST_CAMERA_NAME = 100
LONGEST_TOPIC = 200  # the same, without an output
LONGEST_FRAME_ID = 255
TOKEN = '[A-Za-z_][A-Za-z0-9_]*'
MOST_CAMERAS = 64
# What a camera has below its name; a camera by such a name would be mixed up with it.
BELOW_A_CAMERA = ('depth', 'heatmap', 'reference', 'relative_inverse_depth')


def check_camera_names(names: list[str]) -> str:
    """Camera names become topic namespaces: at least one, valid, and no two for one topic."""
    if not names:
        return 'is empty: name at least one camera'
    if len(names) > MOST_CAMERAS:
        return f'names {len(names)} cameras: one node has {MOST_CAMERAS} at most'
    for name in names:
        if len(name) > LONGEST_CAMERA_NAME:
            return (
                f'{shown(name)} has {len(name)} letters: a topic below it would be longer than ROS '
                f'allows; use {LONGEST_CAMERA_NAME} at most'
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
            return f'{shown(name)} is where the outputs of camera {shown(camera)} are'
    return ''


def check_frame_id(name: str) -> str:
    """A tf2 frame has no leading slash, no blanks and a length; '' chooses one."""
    if re.search(r'^/|\s', name) or not name.isprintable():
        return f'{shown(name)} is not a tf2 frame: leave out the leading slash and blanks'
    if len(name) > LONGEST_FRAME_ID:
        return f'{shown(name)} is not a tf2 frame: use {LONGEST_FRAME_ID} letters at most'
    return ''


def check_body_frame(name: str) -> str:
    """Scans, proximity and points are in it, so there must be one."""
    return check_frame_id(name) if name else 'is empty: name the frame that the scan shall be in'


def check_topic(name: str) -> str:
    """A name that ROS takes for a topic, relative or absolute; '' is none at all."""
    if name and not re.fullmatch(rf'(~/|/)?{TOKEN}(/{TOKEN})*', name):
        return (
            f'{shown(name)} is not a topic name: use letters, digits and underscores, no digit '
            'first, and single slashes between'
        )
    if len(name) > LONGEST_TOPIC:
        return f'{shown(name)} is not a topic name: use {LONGEST_TOPIC} letters at most'
    return ''


def check_camera_name(name: str) -> str:
    """A camera's name is the namespace of its topics."""
    return check_camera_names([name])


def check_robot_frame(name: str) -> str:
    """A tf2 frame that must be there."""
    return check_frame_id(name) if name else 'is empty: a tf2 frame needs a name'
