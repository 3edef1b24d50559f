"""What `midas_depth bench --share` writes: a machine and its speed, as one small JSON object.

It is made of named fields only, and none of them tells who measured, or where: no name of a host or
a user, no address, no path. `python -m benchmarks.boards` makes a table of such files.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import midas_depth_ros
from midas_depth_ros.depth import models
from midas_depth_ros.lab.processes import PROC, cores, cpu_name
from midas_depth_ros.lab.speed.run import Result

SCHEMA = 'midas_depth_board'
SCHEMA_VERSION = 1
# Of the instruction set, what the speed of a network depends on; by the kernel's names.
FEATURES = (
    *('avx2', 'fma', 'avx_vnni', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'avx512_fp16'),
    *('amx_tile', 'amx_bf16', 'amx_int8'),
    *('asimd', 'asimdhp', 'asimddp', 'i8mm', 'bf16', 'sve', 'sve2'),
)
ROW_FIELDS = (
    *('part', 'backend', 'precision', 'size', 'median_ms', 'p95_ms', 'ratio_to_usual', 'cpu_ms'),
    *('runs', 'rss_mb', 'start_s'),
)
MAX_FREQUENCY = Path('/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq')
BOARD_NAME = Path('/proc/device-tree/model')  # of boards with a device tree, such as a Raspberry Pi

Json = dict[str, Any]


def shared(result: Result, quick: bool) -> Json:
    """Return what may be shown to everybody, of a result and of this machine."""
    facts = result.facts
    model = facts['model'] if facts['model'] in models.names() else 'other'
    rows = [{key: row[key] for key in ROW_FIELDS} for row in (one.to_json() for one in result.rows)]
    return {
        'schema': SCHEMA,
        'schema_version': SCHEMA_VERSION,
        'midas_depth_ros': midas_depth_ros.__version__,
        'measured': f'{datetime.datetime.now(datetime.timezone.utc):%Y-%m}',
        'machine': machine(),
        'python': platform.python_version(),
        'versions': facts['versions'],
        'model': model,
        'random_weights': not facts['judged'],
        'threads': facts['threads'],
        'quick': quick,
        'auto': facts['auto'],
        'matrix_product_gflops': facts['matrix_product_gflops'],
        'load_average': facts['load_average'],
        'rows': rows,
        # The reasons may name paths.
        'not_measured': [reason.partition(':')[0] for reason in result.absent],
    }


def machine() -> Json:
    """Return CPU, memory and system of this machine."""
    flags = _flags()
    return {
        'board': _first_line(BOARD_NAME).strip('\0'),
        'cpu': cpu_name(),
        'architecture': platform.machine(),
        'cores': cores(),
        'max_mhz': round(int(_first_line(MAX_FREQUENCY) or 0) / 1e3) or None,
        'features': [name for name in FEATURES if name in flags],
        'virtual': 'hypervisor' in flags,
        'memory_gb': round(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9, 1),
        'system': _system(),
    }


def _flags() -> set[str]:
    """The features that the kernel lists for the first processor."""
    try:
        text = (PROC / 'cpuinfo').read_text()
    except OSError:
        return set()
    found = re.search(r'^(?:flags|Features)\s*:(.*)$', text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _system() -> str:
    """Distribution and kernel; of the kernel's release only the number, the rest is free text."""
    number = re.match(r'\d+(?:\.\d+)?', platform.release())
    kernel = f'{platform.system()} {number[0] if number else ""}'.strip()
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return kernel
    return f'{release["ID"]} {release.get("VERSION_ID", "")}'.strip() + f', {kernel}'


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition('\n')[0]
    except (OSError, UnicodeDecodeError):
        return ''


def as_text(board: Json) -> str:
    """Return the text of a board file: JSON, one row per line."""
    rows = ',\n'.join(f'    {json.dumps(row)}' for row in board['rows'])
    text = json.dumps({**board, 'rows': []}, indent=2)
    return text.replace('"rows": []', f'"rows": [\n{rows}\n  ]' if rows else '"rows": []') + '\n'
