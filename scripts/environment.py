"""Sets up .venv for scripts/demo and scripts/test; does nothing when it is already right.

Standard library only, since it runs before anything is installed. Without a ROS 2, everything
comes from pinned requirements. Where a ROS 2 is sourced, that one is used: the environment sees
its packages, and only what cannot be imported is installed beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
STAMP = 'midas_depth_ros.stamp'
SUPPORTED = ((3, 10), (3, 13))
NEEDED_BYTES = {  # a third more than measured
    'runtime': 1_100_000_000,
    'torch': 2_000_000_000,  # for the CPU
    'dev': 500_000_000,
}
CUDA_BYTES = 8_000_000_000  # torch, where the index has it only with its CUDA libraries
TELL_EVERY_S = 5.0
# What a requirement is called when it is imported, where that is another name.
IMPORT_NAMES = {
    'opencv-python-headless': 'cv2',
    'pillow': 'PIL',
    'pillow-heif': 'pillow_heif',
    'pyyaml': 'yaml',
    'pytest-timeout': 'pytest_timeout',
    'pytest-xdist': 'xdist',
    'colcon-common-extensions': 'colcon_core',
    'colcon-core': 'colcon_core',
    'colcon-ros': 'colcon_ros',
    'catkin-pkg': 'catkin_pkg',
    'empy': 'em',
    'lark-parser': 'lark',
}


# Beside a ROS these follow the NumPy that is there, instead of their pin.
BOUND_TO_NUMPY = ('opencv-python-headless',)


class SetupError(Exception):
    """Something is missing on this machine; the text says what and how to get it."""


def main() -> int:
    """Set up the environment; 1 with one clear reason if that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--torch', action='store_true', help='also the backend torch')
    parser.add_argument('--dev', action='store_true', help='also what scripts/test needs')
    arguments = parser.parse_args()
    parts = ['runtime']
    if arguments.torch or arguments.dev:
        parts.append('torch')
    if arguments.dev:
        parts.append('dev')
    try:
        set_up(parts)
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def set_up(parts: list[str]) -> None:
    """Make VENV hold these parts of requirements/, unless its stamp says that it does."""
    check_python(sys.version_info[:2])
    sourced = sourced_ros()
    parts = [parts[0], 'package', *parts[1:]]
    wanted = {part: fingerprint(part, sourced) for part in parts}
    present = read_stamp()
    lacking = [part for part in parts if present.get(part) != wanted[part]]
    if lacking:
        check_disk(shutil.disk_usage(ROOT).free, lacking)
    if 'runtime' in lacking:
        check_venv_module()
        say(f'setting up {VENV} with Python {sys.version.split()[0]} (first use)')
        venv.create(VENV, with_pip=True, clear=True, system_site_packages=bool(sourced))
        present = {}
    for part in parts:
        if present.get(part) != wanted[part]:
            install(part, sourced)
            present[part] = wanted[part]
            write_stamp(present)  # after each part, so that a broken set-up is taken up again


def check_python(running: tuple[int, ...]) -> None:
    """Refuse a Python for which there are no packages."""
    if not SUPPORTED[0] <= tuple(running) <= SUPPORTED[1]:
        lowest, highest = ('.'.join(map(str, limit)) for limit in SUPPORTED)
        raise SetupError(
            f'this is Python {running[0]}.{running[1]}; {lowest} to {highest} are supported. '
            f'Name another: MIDAS_DEPTH_PYTHON=/path/to/python{highest} scripts/demo'
        )


def check_venv_module() -> None:
    """Debian and Ubuntu ship Python without what venv needs."""
    try:
        import ensurepip  # noqa: F401
    except ImportError as error:
        name = f'python{sys.version_info[0]}.{sys.version_info[1]}-venv'
        raise SetupError(
            f'{sys.executable} has no ensurepip, so no virtual environment can be made. '
            f'Install it (Debian, Ubuntu: sudo apt install {name}) and run this again.'
        ) from error


def check_disk(free: int, parts: list[str]) -> None:
    """Say before the download that it will not fit."""
    needed = sum(NEEDED_BYTES.get(part, 0) for part in parts)
    if free < needed:
        with_cuda = f'{(needed + CUDA_BYTES - NEEDED_BYTES["torch"]) / 1e9:.1f} GB'
        note = f' ({with_cuda} where the package index has torch only with CUDA)'
        raise SetupError(
            f'{free / 1e9:.1f} GB free at {ROOT}, {needed / 1e9:.1f} GB needed'
            f'{note if "torch" in parts else ""}. '
            'Free some space, or clone the repository to a larger disk.'
        )
    if 'torch' in parts and free < CUDA_BYTES:
        say(f'note: {free / 1e9:.1f} GB free; torch with CUDA libraries would not fit')


def sourced_ros() -> str:
    """The distribution of a sourced ROS 2 whose rclpy this Python can import; else ''."""
    distribution = os.environ.get('ROS_DISTRO', '')
    if distribution and importlib.util.find_spec('rclpy') is None:
        raise SetupError(
            f'ROS 2 {distribution} is sourced, but {sys.executable} cannot import its rclpy. '
            'Run this with the Python that ROS came with (MIDAS_DEPTH_PYTHON=/usr/bin/python3), '
            'or in a shell without ROS.'
        )
    return distribution


def requirements(part: str) -> list[str]:
    """The lines of a requirements file that are requirements."""
    lines = (ROOT / 'requirements' / f'{part}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def missing(lines: list[str]) -> list[str]:
    """Those requirements that this Python cannot import, markers applied by pip later."""
    absent = []
    for line in lines:
        name = line.split(';')[0].split('==')[0].split('[')[0].strip().lower()
        module = IMPORT_NAMES.get(name, name.replace('-', '_'))
        # Stubs (types-...) cannot be imported; setuptools is always there, and too old for torch.
        always = name.startswith('types-') or name == 'setuptools'
        if always or importlib.util.find_spec(module) is None:
            absent.append(name if name in BOUND_TO_NUMPY else line)
    return absent


def kept_numpy() -> list[str]:
    """The constraint that keeps the NumPy of the ROS: its cv_bridge is compiled against that."""
    try:
        return [f'numpy=={version("numpy")}']
    except PackageNotFoundError:
        return []


def install(part: str, sourced: str) -> None:
    """Install one part of requirements/, or the package itself, into VENV."""
    if part == 'package':
        say('the package itself')
        pip('install', '--no-deps', '--no-build-isolation', '-e', str(ROOT))
        return
    if not sourced:
        files = ['ros', part] if part == 'runtime' else [part]
        say(f'installing requirements: {", ".join(files)}')
        pip('install', *[f'-r{ROOT / "requirements" / name}.txt' for name in files])
        return
    lines = missing(requirements(part))
    say(f'ROS 2 {sourced} is sourced; lacking beside it: {", ".join(lines) or "nothing"}')
    constraints = VENV / 'constraints.txt'
    constraints.write_text('\n'.join(kept_numpy()) + '\n')
    if lines:
        pip('install', '-c', str(constraints), *lines)


def pip(*arguments: str) -> None:
    """Run pip in VENV, showing what it collects; its last words in the error if it fails."""
    command = [str(VENV / 'bin' / 'python'), '-m', 'pip', *arguments]
    command += ['--progress-bar=off', '--disable-pip-version-check', '--no-input']
    heard: list[str] = []
    collected, told_s = 0, time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            heard.append(line.rstrip())
            collected += line.startswith('Collecting')
            if 'Downloading' in line and line.rstrip().endswith(' MB)'):
                say(f'  {line.strip()}')
            elif line.startswith('Installing collected'):
                say(f'  installing {line.count(",") + 1} packages')
            elif line.startswith('Collecting') and time.monotonic() > told_s + TELL_EVERY_S:
                told_s = time.monotonic()
                say(f'  {collected} packages collected so far')
    if process.returncode:
        errors = [line for line in heard if line.startswith('ERROR')] or heard[-5:]
        raise SetupError(
            'pip could not install what is needed:\n  '
            + '\n  '.join(line[:300] for line in errors)
            + '\nCheck the network and the package index (pip config list), then run this again.'
        )


def fingerprint(part: str, sourced: str) -> str:
    """What the environment depends on; another fingerprint means setting it up anew."""
    if part == 'package':
        texts = [str(ROOT), (ROOT / 'setup.py').read_text()]
    else:
        texts = [sys.version, sourced, *requirements(part)]
    if part == 'runtime':
        texts += requirements('ros')
    return hashlib.sha256('\n'.join(texts).encode()).hexdigest()


def read_stamp() -> dict[str, str]:
    """Which parts the environment holds, by fingerprint."""
    path = VENV / STAMP
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split(' ', 1) for line in lines if ' ' in line)


def write_stamp(parts: dict[str, str]) -> None:
    """Note which parts the environment holds."""
    (VENV / STAMP).write_text(''.join(f'{part} {text}\n' for part, text in parts.items()))


def say(text: str) -> None:
    """Tell the person who waits, at once."""
    print(f'[setup] {text}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
