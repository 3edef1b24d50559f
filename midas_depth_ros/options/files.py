"""Safe reading of files, the one reader of YAML, and parameter files.

A file name may stand for anything: a FIFO without a writer, an endless device, a file of /proc with
size 0, one that grows while it is read. So only regular files are read, up to a limit and without
waiting. Every error is an UnreadableFile whose text does not repeat the path.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from midas_depth_ros.depth.yaml_values import NotYaml, load_yaml
from midas_depth_ros.options.declarations import (
    LONGEST_NAME,
    OptionFault,
    Settings,
    build,
    did_you_mean,
    is_grouped,
    specs_for_names,
)
from midas_depth_ros.options.text import PrintableError, shown

KINDS = (
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a FIFO'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)
CHUNK_BYTES = 1 << 20
SETTINGS_BYTES = 1 << 20  # of files that people write: parameters, calibrations


class UnreadableFile(PrintableError):
    """The file is not a regular one, is too large, or cannot be read."""


def check_file(path: Path) -> int:
    """Return the size in bytes of a regular file. Raises UnreadableFile."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UnreadableFile(f'it cannot be read: {_reason(error)}') from error
    return _size_of(found)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading, without ever waiting. Raises UnreadableFile."""
    check_file(path)  # opening a device may have side effects
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
    """Read a regular file of at most `most_bytes`. Raises UnreadableFile."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise UnreadableFile(f'it has {size} bytes, more than the limit of {most_bytes}')
        parts: list[bytes] = []
        left = most_bytes + 1
        try:
            while left and (part := file.read(min(left, CHUNK_BYTES))):
                parts.append(part)
                left -= len(part)
        except OSError as error:
            raise UnreadableFile(f'it cannot be read: {_reason(error)}') from error
    if not left:
        raise UnreadableFile(f'it is larger than the limit of {most_bytes} bytes')
    return b''.join(parts)


def read_text(path: Path, most_bytes: int = SETTINGS_BYTES) -> str:
    """Read a regular UTF-8 file, with or without a byte order mark. Raises UnreadableFile."""
    try:
        return read_file(path, most_bytes).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise UnreadableFile(f'it is not UTF-8 text: {error}') from error


def is_there(path: Path) -> bool:
    """Whether the path exists. Unlike `Path.exists` it never raises."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def is_folder(path: Path) -> bool:
    """Whether it is a folder. Unlike `Path.is_dir` it never raises."""
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


def parse_yaml(text: str) -> Any:
    """Parse YAML without Python objects, numbers as rcl reads them. Raises UnreadableFile."""
    try:
        return load_yaml(text)
    except NotYaml as error:
        raise UnreadableFile(str(error)) from error


# --- Parameters of a node from files and `name:=value`, read as rcl reads them, without the node.
#
# A file has sections by the full names of nodes, as one key or nested by namespace; `*` stands for
# one name and `**` for any number of names. Values are checked as the node would check them.

# Patterns for the wildcards in a section's name, including the `/` before them.
WILDCARDS = {'*': r'/\w+', '**': r'(?:/\w+)*'}
KEY = 'ros__parameters'
# Parameters that every node has besides those it declares.
OF_EVERY_NODE = ('use_sim_time', 'qos_overrides', 'start_type_description_service')
# YAML repeats by reference, so a short file may hold more values than fit into memory.
MOST_VALUES, MOST_LEVELS = 10_000, 20
LARGEST_INTEGER = 2**63 - 1


class ParameterFault(PrintableError):
    """A file or a value that the node would not accept, with the reason."""


def read_parameters(
    node: str,
    settings_class: type,
    files: Iterable[Path],
    assignments: Iterable[str],
    namespace: str = '',
) -> dict[str, Any]:
    """Return dotted names and values for `node`; later ones override earlier ones.

    settings_class: declares them. assignments: `name:=value`, the value in YAML. namespace: of the
    node; '' = the only namespace in which the files name the node. Raises ParameterFault, also for
    unknown names, except under a wildcard. In `groups` any name is accepted; `unknown_in_groups`
    checks them afterwards.
    """
    values = read_values(node, settings_class, files, assignments, namespace)
    known = specs_for_names(settings_class, values)
    return {name: value for name, value in values.items() if name in known}


def read_values(
    node: str,
    settings_class: type,
    files: Iterable[Path],
    assignments: Iterable[str],
    namespace: str = '',
) -> dict[str, Any]:
    """As `read_parameters`, including parameters of every node, such as `qos_overrides`."""
    values: dict[str, Any] = {}
    sections = [(path, *section) for path in files for section in _sections_of(path)]
    full_name = _full_name(node, namespace, [name for _, name, _ in sections])
    for path in files:
        values.update(
            _of_file(
                path,
                full_name,
                [(name, block) for of, name, block in sections if of == path],
                settings_class,
            )
        )
    for text in assignments:
        name, sign, value = text.partition(':=')
        if not sign or not name:
            raise ParameterFault(f'{shown(text)} is not of the form name:=value')
        _check_name(name, settings_class)
        try:
            values[name] = _value(name, parse_yaml(value))
        except UnreadableFile as error:
            raise ParameterFault(f'{name}: {shown(value)}: {error}') from error
    return values


def settings_from(settings_class: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Make the settings object. Raises ParameterFault with every reason."""
    declared = specs_for_names(settings_class, values)
    values = {name: declared[name].coerced(value) for name, value in values.items()}
    faults = [text for name, value in values.items() if (text := declared[name].fault(value))]
    if faults:
        raise ParameterFault('; '.join(faults))
    try:
        return build(settings_class, dict(values))
    except OptionFault as error:  # contradicting values
        raise ParameterFault(error) from error


def _sections_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the full names of a file's sections, with a leading `/`, and their parameters."""
    try:
        content = parse_yaml(read_text(path))
    except UnreadableFile as error:
        raise ParameterFault(f'{path}: {error}') from error
    if not isinstance(content, dict):
        raise ParameterFault(f'{path}: there is no section with {KEY}')
    return [*_sections(path, content)]


def _sections(path: Path, content: dict[Any, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    blocks: list[tuple[tuple[str, ...], dict[Any, Any]]] = [((), content)]
    for seen in itertools.count():
        if not blocks:
            return
        parts, block = blocks.pop()
        if len(parts) > MOST_LEVELS or seen > MOST_VALUES:
            raise ParameterFault(
                f'{path}: {shown("/".join(parts))}: node names are nested more than {MOST_LEVELS} '
                f'times, or there are more than {MOST_VALUES}'
            )
        for part in parts:
            if '*' in part and part not in WILDCARDS:
                raise ParameterFault(
                    f'{path}: {shown(part)}: * stands for a whole name, ** for any number of names'
                )
        inner = []
        for key, value in block.items():
            if key == KEY and parts:
                if not isinstance(value, dict):
                    raise ParameterFault(f'{path}: {shown("/".join(parts))}: {KEY} has no values')
                yield '/' + '/'.join(parts), value
            elif isinstance(value, dict):
                inner.append(((*parts, *filter(None, str(key).split('/'))), value))
            else:
                name = '/'.join((*parts, str(key)))
                raise ParameterFault(f'{path}: {shown(name)} has no {KEY}')
        blocks += reversed(inner)  # in the order of the file: later ones override earlier ones


def _full_name(node: str, namespace: str, sections: Iterable[str]) -> str:
    """Return the full name of the node: by `namespace`, else as in the files."""
    root = f'/{node}'
    given = '/'.join(each for each in namespace.split('/') if each)
    if given:
        return f'/{given}{root}'
    whole: set[str] = set()
    wild: set[str] = set()
    for name in sections:
        *spaces, last = name.split('/')[1:]
        if last == node or last in WILDCARDS:
            named = [{'*': 'any'}.get(each, each) for each in spaces if each != '**']
            full_name = '/' + '/'.join((*named, node))
            (wild if set(WILDCARDS) & {*spaces, last} else whole).add(full_name)
    if not whole:
        whole = wild - {root} or {root}
    if root not in whole and len(whole) > 1:
        raise ParameterFault(
            f'there are parameters for {", ".join(sorted(whole))}: choose one by --namespace'
        )
    return root if root in whole else whole.pop()


def is_for(section: str, full_name: str) -> bool:
    """Whether a section applies to this node, by rcl's rules."""
    parts = section.split('/')[1:]
    pattern = ''.join(WILDCARDS.get(each, re.escape('/' + each)) for each in parts)
    return re.fullmatch(pattern, full_name, re.ASCII) is not None


def _of_file(
    path: Path,
    full_name: str,
    sections: Iterable[tuple[str, dict[str, Any]]],
    settings_class: type,
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    found = False
    for section, block in sections:
        if not is_for(section, full_name):
            continue
        found = True
        named = section.rpartition('/')[2] not in WILDCARDS
        for number, (name, value) in enumerate(_flat(block)):
            if number >= MOST_VALUES:
                raise ParameterFault(f'{path}: {section} has more than {MOST_VALUES} values')
            if named or is_grouped(settings_class, name):  # only this node has groups
                _check_name(name, settings_class, f'{path}: ')
            values[name] = _value(f'{path}: {name}', value)
    if not found:
        names = ', '.join(sorted({shown(name) for name, _ in sections})[:5]) or 'none'
        raise ParameterFault(
            f'{path}: there is no section of {full_name} with {KEY}, nor /**; it has: {names}'
        )
    return values


def _value(where: str, value: Any) -> Any:
    """Check that a parameter can have the value: a scalar or a list of them, within 64 bits."""
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, (str, int, float, type(None))):
            raise ParameterFault(f'{where}: a {type(each).__name__} is not a parameter value')
        if isinstance(each, int) and abs(each) > LARGEST_INTEGER:
            raise ParameterFault(f'{where}: {shown(each)} does not fit into 64 bits')
    return value


def _flat(block: Mapping[str, Any], prefix: str = '', level: int = 0) -> Iterable[tuple[str, Any]]:
    if level > MOST_LEVELS:
        raise ParameterFault(f'{prefix}: nested more than {MOST_LEVELS} times')
    for name, value in block.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{name}.', level + 1)
        else:
            yield f'{prefix}{name}', value


def _check_name(name: str, settings_class: type, where: str = '') -> None:
    known = specs_for_names(settings_class, [name])
    if name in known or name.partition('.')[0] in OF_EVERY_NODE:
        return
    name = name[:LONGEST_NAME]
    hint = did_you_mean(name, known) or 'docs/parameters.md lists them'
    raise ParameterFault(f'{where}there is no parameter {name}: {hint}')
