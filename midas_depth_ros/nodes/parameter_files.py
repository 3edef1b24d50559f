"""Parameters of a node from files and `name:=value`, without the node: as rcl reads them.

A file has sections by node name; `/**` is for all nodes. Every value is checked as the node would
check it. Plain Python, no ROS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from midas_depth_ros.images.errors import UnreadableFile, printable, shown
from midas_depth_ros.images.files import parse_yaml, read_text
from midas_depth_ros.nodes.declarations import (
    LONGEST_NAME,
    Settings,
    Spec,
    build,
    conflict_of,
    is_grouped,
    near_names,
    specs_of,
)

WILDCARDS = ('*', '**')
KEY = 'ros__parameters'
# Parameters that every node has besides those it declares.
OF_EVERY_NODE = ('use_sim_time', 'qos_overrides', 'start_type_description_service')
# YAML repeats by reference, so that a short file may hold more values than there is memory for.
MOST_VALUES, MOST_LEVELS = 10_000, 20
LARGEST_INTEGER = 2**63 - 1


class ParameterFault(ValueError):
    """A file or a value that the node would not accept; names it and says why."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


def read_parameters(
    node: str, settings_class: type, files: Iterable[Path], assignments: Iterable[str]
) -> dict[str, Any]:
    """Dotted names and values for `node`, later ones over earlier ones.

    settings_class: what it declares. assignments: `name:=value`, the value in YAML.
    Raises ParameterFault, also for names that it does not know, but for those under a wildcard. Of
    parameters in `groups` any name is taken: once it is known which there are, ask `strangers`.
    """
    values: dict[str, Any] = {}
    for path in files:
        values.update(_of_file(path, node, settings_class))
    for text in assignments:
        name, sign, value = text.partition(':=')
        if not sign or not name:
            raise ParameterFault(f'{shown(text)} is no name:=value')
        _check_name(name, settings_class)
        try:
            values[name] = _value(name, parse_yaml(value))
        except UnreadableFile as error:
            raise ParameterFault(f'{name}: {shown(value)}: {error}') from error
    known = specs_of(settings_class, values)
    return {name: value for name, value in values.items() if name in known}


def settings_from(settings_class: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings object, all of it checked. Raises ParameterFault with every reason."""
    declared = specs_of(settings_class, values)
    read = {name: _number(declared[name], value) for name, value in values.items()}
    faults = [text for name, value in read.items() if (text := declared[name].fault(value))]
    if faults:
        raise ParameterFault('; '.join(faults))
    settings = build(settings_class, read)
    conflict = conflict_of(settings)
    if conflict:
        raise ParameterFault(conflict)
    return settings


def _number(spec: Spec, value: Any) -> Any:
    """YAML 1.1 takes 1e-3 for text, which rcl takes for a number."""
    if spec.kind == 'double' and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _of_file(path: Path, node: str, settings_class: type) -> dict[str, Any]:
    try:
        content = parse_yaml(read_text(path))
    except UnreadableFile as error:
        raise ParameterFault(f'{path}: {error}') from error
    values: dict[str, Any] = {}
    found = False
    for section, block in content.items() if isinstance(content, dict) else ():
        last = str(section).rpartition('/')[2]
        if last != node and last not in WILDCARDS:
            continue
        if not isinstance(block, dict) or not isinstance(block.get(KEY), dict):
            raise ParameterFault(f'{path}: {section} has no {KEY}')
        found = True
        for number, (name, value) in enumerate(_flat(block[KEY])):
            if number >= MOST_VALUES:
                raise ParameterFault(f'{path}: {section} has more than {MOST_VALUES} values')
            if last == node or is_grouped(settings_class, name):  # which only this node has
                _check_name(name, settings_class, f'{path}: ')
            values[name] = _value(f'{path}: {name}', value)
    if not found:
        raise ParameterFault(f'{path}: there is no section {node} with {KEY}, nor /**')
    return values


def _value(where: str, value: Any) -> Any:
    """The value, if a parameter can have it: one, or a list of them, within 64 bits."""
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, (str, int, float, type(None))):
            raise ParameterFault(f'{where}: a {type(each).__name__} is no value of a parameter')
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
    known = specs_of(settings_class, [name])
    if name in known or name.partition('.')[0] in OF_EVERY_NODE:
        return
    name = name[:LONGEST_NAME]
    hint = near_names(name, known) or 'docs/parameters.md lists them'
    raise ParameterFault(f'{where}there is no parameter {name}: {hint}')
