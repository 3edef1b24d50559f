"""Files that a person or a recording names: regular ones only, of a bounded size, never waited for.

A name may stand for anything: a FIFO that nobody writes to, a device without an end, a file of
/proc that claims to be empty, one that grows while it is read. Every error is an UnreadableFile
whose text does not repeat the path.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import yaml

from midas_depth_ros.images.errors import UnreadableFile

KINDS = (
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a FIFO'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)
CHUNK_BYTES = 1 << 20
SETTINGS_BYTES = 1 << 20  # of files that people write: parameters, calibrations


def check_file(path: Path) -> int:
    """The size in bytes of a regular file. Raises UnreadableFile."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UnreadableFile(f'it cannot be read: {_reason(error)}') from error
    return _size_of(found)


def open_file(path: Path) -> BinaryIO:
    """A regular file, open for reading without ever waiting. Raises UnreadableFile."""
    check_file(path)  # opening a device may do something by itself
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableFile(f'it cannot be read: {_reason(error)}') from error
    try:
        _size_of(os.fstat(descriptor))
    except UnreadableFile:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, 'rb')


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file of at most so many bytes. Raises UnreadableFile."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        # What it says first: nothing is allocated for what is too large.
        if size > most_bytes:
            raise UnreadableFile(f'it has {size} bytes, more than the {most_bytes} allowed here')
        parts: list[bytes] = []
        left = most_bytes + 1
        try:
            while left and (part := file.read(min(left, CHUNK_BYTES))):
                parts.append(part)
                left -= len(part)
        except OSError as error:
            raise UnreadableFile(f'it cannot be read: {_reason(error)}') from error
    if not left:
        raise UnreadableFile(f'it goes on after the {most_bytes} bytes that are allowed here')
    return b''.join(parts)


def read_text(path: Path, most_bytes: int = SETTINGS_BYTES) -> str:
    """The content of a regular UTF-8 file. Raises UnreadableFile."""
    try:
        return read_file(path, most_bytes).decode('utf-8')
    except UnicodeDecodeError as error:
        raise UnreadableFile(f'it is not UTF-8 text: {error}') from error


MERGE_TAG = 'tag:yaml.org,2002:merge'


class _Loader(yaml.SafeLoader):
    """What a plain word of YAML is: as rcl, whose files these are, reads it.

    PyYAML's own rules are those of YAML 1.1, to which 1e-05 is a text, 1_000 a number, and 12:30
    are 750; and a date is no value of ROS.
    """

    bool_values: ClassVar = {**yaml.SafeLoader.bool_values, 'y': True, 'n': False}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are names: `y` is one, and no yes."""
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE_TAG:
                key.tag = 'tag:yaml.org,2002:str'
        return super().construct_mapping(node, deep)


# Any first letter -> kind and pattern, in the order in which they are tried.
_Loader.yaml_implicit_resolvers = {
    None: [
        (f'tag:yaml.org,2002:{kind}', re.compile(f'(?:{pattern})\\Z'))
        for kind, pattern in (
            ('bool', '[yY]|yes|Yes|YES|true|True|TRUE|on|On|ON'),
            ('bool', '[nN]|no|No|NO|false|False|FALSE|off|Off|OFF'),
            ('int', '[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)'),
            ('float', r'[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?'),
            ('float', r'[-+]?(?:\.?(?:inf|Inf|INF)|infinity)|\.?(?:nan|NaN|NAN)'),
            ('null', '~|null|Null|NULL|'),
            ('merge', '<<'),
        )
    ]
}


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    """In C's notation, as rcl has it: 0X1F as well as 0x1f, and 017 is octal."""
    text = str(loader.construct_scalar(node)).lower()
    digits = text.lstrip('+-')
    octal = len(digits) > 1 and digits.isdecimal() and digits.startswith('0')
    return int(text, 8) if octal else int(text, 0)


_Loader.add_constructor('tag:yaml.org,2002:int', _integer)


def parse_yaml(text: str) -> Any:
    """What YAML says, without objects of Python: the one reader of YAML. Raises UnreadableFile.

    Numbers are what rcl takes for numbers, in a file as in `name:=value`: 1e-05 and 5e-1 too.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UnreadableFile(f'it is not valid YAML: {" ".join(str(error).split())}') from error
    except RecursionError as error:
        raise UnreadableFile('its YAML is nested too deeply') from error
    # Of dates that there are not, and of numbers with thousands of digits.
    except (ValueError, OverflowError) as error:
        raise UnreadableFile(f'it is not valid YAML: {error}') from error


def is_there(path: Path) -> bool:
    """Whether there is anything by that name. Unlike `exists` it never raises."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def is_folder(path: Path) -> bool:
    """Whether it is a folder. Unlike `is_dir` it never raises."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _size_of(found: os.stat_result) -> int:
    for is_of_kind, name in KINDS:
        if is_of_kind(found.st_mode):
            raise UnreadableFile(f'it is {name}, not a file')
    return found.st_size


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
