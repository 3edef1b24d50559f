"""Parameters of a node from files and `name:=value`, without the node: as rcl reads them.

A file has sections by node name; `/**` is for all nodes. Every value is checked as the node would
check it. Plain Python, no ROS.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from midas_depth_ros.nodes.declarations import Settings, Spec, build, conflict_of, specs

WILDCARDS = ('*', '**')
KEY = 'ros__parameters'
# Parameters that every node has besides those it declares.
OF_EVERY_NODE = ('use_sim_time', 'qos_overrides', 'start_type_description_service')


class ParameterFault(ValueError):
    """A file or a value that the node would not accept; names it and says why."""


def read_parameters(
    node: str, known: Iterable[str], files: Iterable[Path], assignments: Iterable[str]
) -> dict[str, Any]:
    """Dotted names and values for `node`, later ones over earlier ones.

    known: the names that it declares. assignments: `name:=value`, the value in YAML.
    Raises ParameterFault, also for names that it does not know, but for those under a wildcard.
    """
    names = tuple(known)
    values: dict[str, Any] = {}
    for path in files:
        values.update(_of_file(path, node, names))
    for text in assignments:
        name, sign, value = text.partition(':=')
        if not sign or not name:
            raise ParameterFault(f'{text!r} is no name:=value')
        _check_name(name, names)
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ParameterFault(f'{name}: {value!r} is no YAML: {error}') from error
    return {name: value for name, value in values.items() if name in names}


def settings_from(settings_class: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings object, all of it checked. Raises ParameterFault with every reason."""
    declared = {spec.name: spec for spec in specs(settings_class)}
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


def _of_file(path: Path, node: str, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterFault(f'{path}: it cannot be read: {error}') from error
    values: dict[str, Any] = {}
    found = False
    for section, block in content.items() if isinstance(content, dict) else ():
        last = str(section).rpartition('/')[2]
        if last != node and last not in WILDCARDS:
            continue
        if not isinstance(block, dict) or not isinstance(block.get(KEY), dict):
            raise ParameterFault(f'{path}: {section} has no {KEY}')
        found = True
        for name, value in _flat(block[KEY]):
            if last == node:
                _check_name(name, known, f'{path}: ')
            values[name] = value
    if not found:
        raise ParameterFault(f'{path}: there is no section {node} with {KEY}, nor /**')
    return values


def _flat(block: Mapping[str, Any], prefix: str = '') -> Iterable[tuple[str, Any]]:
    for name, value in block.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def _check_name(name: str, known: tuple[str, ...], where: str = '') -> None:
    if name in known or name.partition('.')[0] in OF_EVERY_NODE:
        return
    near = difflib.get_close_matches(name, known, n=2)
    hint = f': did you mean {" or ".join(near)}?' if near else ': docs/parameters.md lists them'
    raise ParameterFault(f'{where}there is no parameter {name}{hint}')
