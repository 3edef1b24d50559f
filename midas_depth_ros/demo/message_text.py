"""A ROS message as readable YAML text, in the manner of `ros2 topic echo`.

rosidl_runtime_py writes it where it is installed (every ROS 2 from apt); elsewhere the fields are
walked here. Long arrays and strings are cut short, and the cut is shown.
"""

from __future__ import annotations

from typing import Any

import yaml

try:
    from rosidl_runtime_py.convert import message_to_yaml
except ImportError:
    message_to_yaml = None

LONGEST = 48  # elements of an array, or characters of a string times four


def message_text(message: Any) -> str:
    """The message as YAML that ends in a newline; arrays keep their first `LONGEST` elements."""
    if message_to_yaml is not None:
        return str(message_to_yaml(message, truncate_length=LONGEST))
    return yaml.dump(
        plain(message), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000
    )


def plain(value: Any) -> Any:
    """Messages as dictionaries in field order, arrays as lists cut to `LONGEST` elements."""
    if hasattr(value, 'get_fields_and_field_types'):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, str):
        return value if len(value) <= 4 * LONGEST else value[: 4 * LONGEST] + '...'
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes) and len(value) == 1:
        return value[0]  # the IDL type octet, as in DiagnosticStatus.level
    if hasattr(value, 'tolist'):  # NumPy or array.array: cut before it becomes objects
        elements = value[:LONGEST].tolist()
    else:
        elements = [plain(element) for element in value[:LONGEST]]
    cut = len(value) - len(elements)
    return _Elements([*elements, f'... ({cut} more)'] if cut else elements)


class _Elements(list):
    """A list that is written on one line where its elements are numbers."""


class _Dumper(yaml.SafeDumper):
    pass


def _represent_elements(dumper: yaml.SafeDumper, elements: _Elements) -> Any:
    flow = not any(isinstance(element, dict) for element in elements)
    return dumper.represent_sequence('tag:yaml.org,2002:seq', elements, flow_style=flow)


_Dumper.add_representer(_Elements, _represent_elements)
