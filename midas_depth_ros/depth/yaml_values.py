"""The one reader of YAML: values with the same meaning in every file and argument.

Numbers are those of rcl, in a file as in `name:=value`: 1e-05 and 5e-1 too. It stands here because
files beside models are YAML, and `depth` may import nothing else of the package.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

MERGE_TAG = 'tag:yaml.org,2002:merge'


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars as rcl does.

    PyYAML follows YAML 1.1, where 1e-05 is text, 1_000 a number and 12:30 is 750; and ROS has no
    dates.
    """

    bool_values: ClassVar = {**yaml.SafeLoader.bool_values, 'y': True, 'n': False}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping whose keys are names: `y` is not true there."""
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE_TAG:
                key.tag = 'tag:yaml.org,2002:str'
        return super().construct_mapping(node, deep)


# For any first letter: kind and pattern, in the order in which they are tried.
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
    """C's notation, as in rcl: 0X1F as well as 0x1f, and 017 is octal."""
    text = str(loader.construct_scalar(node)).lower()
    digits = text.lstrip('+-')
    octal = len(digits) > 1 and digits.isdecimal() and digits.startswith('0')
    return int(text, 8) if octal else int(text, 0)


_Loader.add_constructor('tag:yaml.org,2002:int', _integer)


class NotYaml(ValueError):
    """The text is not YAML, or holds values that cannot be; the text says why."""


class _UniqueLoader(_Loader):
    """Refuses keys that stand twice, of which rcl takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise NotYaml(f'{twice[0][:80]!r} is there twice: remove one of the lines')
        return super().construct_mapping(node, deep)


def load_yaml(text: str, *, unique: bool = False) -> Any:
    """Parse YAML without Python objects. Raises NotYaml, with `unique` also for repeated keys."""
    try:
        return yaml.load(text, _UniqueLoader if unique else _Loader)
    except NotYaml:
        raise
    except yaml.YAMLError as error:
        raise NotYaml(f'it is not valid YAML: {" ".join(str(error).split())}') from error
    except RecursionError as error:
        raise NotYaml('its YAML is nested too deeply') from error
    # Impossible dates, numbers with thousands of digits, tags on what is none of them.
    except (LookupError, ValueError, OverflowError) as error:
        raise NotYaml(f'it is not valid YAML: {error}') from error
