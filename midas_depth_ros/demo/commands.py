"""Command lines of nodes: a module and its parameters come in, words go out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping


def node_command(
    module: str, parameters: Mapping[str, object], extra: tuple[str, ...] = ()
) -> list[str]:
    """Runs `midas_depth_ros.<module>`; `extra` are further name:=value, which win."""
    # JSON is YAML: quotes keep a device number a string and a path with a colon whole.
    yaml = {name: json.dumps(value, ensure_ascii=False) for name, value in parameters.items()}
    command = [sys.executable, '-m', f'midas_depth_ros.{module}', '--ros-args']
    command.append('--disable-external-lib-logs')  # the log is ours, nothing goes to ~/.ros
    for pair in [*(f'{name}:={value}' for name, value in yaml.items()), *extra]:
        command += ['-p', pair]
    return command
