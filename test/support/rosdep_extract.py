"""What rosdep knows of our dependencies, as a small file that a test can read without a network.

`python test/support/rosdep_extract.py ROSDISTRO` writes test/golden/rosdep_keys.json from a clone
of github.com/ros/rosdistro: for each distribution the apt packages that a key of package.xml stands
for on its Ubuntu, 'pip' where only pip has it, and null where rosdep would stop.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
EXTRACT = ROOT / 'test' / 'golden' / 'rosdep_keys.json'
# The distributions of the README, and the Ubuntu that each of them is for.
UBUNTU = {'humble': 'jammy', 'jazzy': 'noble', 'kilted': 'noble', 'lyrical': 'resolute'}


def manifest_keys(path: Path = ROOT / 'package.xml') -> list[str]:
    """Every key that rosdep is asked for, in the order of the manifest."""
    elements = ElementTree.parse(path).getroot()
    return [str(element.text) for element in elements if element.tag.endswith('depend')]


def table(rosdistro: Path) -> dict[str, Any]:
    """The rules of both of rosdep's files for packages outside ROS."""
    rules: dict[str, Any] = {}
    for name in ('base', 'python'):
        rules |= yaml.safe_load((rosdistro / 'rosdep' / f'{name}.yaml').read_text())
    return rules


def released(rosdistro: Path, distribution: str) -> set[str]:
    """The ROS packages that apt has in a distribution."""
    text = (rosdistro / distribution / 'distribution.yaml').read_text()
    found: set[str] = set()
    for name, repository in yaml.safe_load(text)['repositories'].items():
        if 'version' in repository.get('release', {}):
            found |= set(repository['release'].get('packages', [name]))
    return found


def resolved(rule: Any, ubuntu: str) -> list[str] | str | None:
    """What a rule comes to on one Ubuntu: apt packages, 'pip', or None."""
    found = rule.get('ubuntu') if rule else None
    if isinstance(found, dict) and 'pip' not in found:
        found = found.get(ubuntu, found.get('*'))
    if isinstance(found, dict):
        return 'pip' if 'pip' in found else None
    return found


def extract(rosdistro: Path) -> dict[str, dict[str, list[str] | str | None]]:
    """For each distribution and key what rosdep installs."""
    rules = table(rosdistro)
    answer: dict[str, dict[str, list[str] | str | None]] = {}
    for distribution, ubuntu in UBUNTU.items():
        in_ros = released(rosdistro, distribution)
        answer[distribution] = {
            key: [f'ros-{distribution}-{key.replace("_", "-")}']
            if key in in_ros
            else resolved(rules.get(key), ubuntu)
            for key in sorted(manifest_keys())
        }
    return answer


if __name__ == '__main__':
    lines = [
        f' "{distribution}": {{\n'
        + ',\n'.join(f'  "{key}": {json.dumps(value)}' for key, value in keys.items())
        + '\n }'
        for distribution, keys in extract(Path(sys.argv[1])).items()
    ]
    EXTRACT.write_text('{\n' + ',\n'.join(lines) + '\n}\n')
