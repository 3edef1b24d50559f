"""Where the processes of a run meet: a ROS domain of their own on this machine.

`set_up()` changes the environment of this process, which the recorder reads when its context is
made; `for_children()` is what the children get.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib.metadata
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

import midas_depth_ros

DOMAINS = range(1, 101)  # above 101 the ports of a domain reach into Linux' ephemeral ports
# RTPS 2.5, 9.6.2.3: PB + DG * domain + d0 (multicast) or d1 (first participant's unicast).
PORT_BASE, DOMAIN_GAIN, PORT_OFFSETS = 7400, 250, (0, 10)

_UNTIL_EXIT = contextlib.ExitStack()  # what this process holds
atexit.register(_UNTIL_EXIT.close)

SEGMENT_BYTES = 16 * 2**20  # of each process, as the profile says
SHARED_MEMORY = Path('/dev/shm')
# Fast DDS 2 (up to Jazzy) reads the first; Fast DDS 3 reads both, but warns of the first.
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
FIRST_RCLPY_WITH_FAST_DDS_3 = 9
PROFILE = Path(midas_depth_ros.__file__).parent / 'assets' / 'fastdds_large_pictures.xml'


def set_up() -> int:
    """Choose the ROS domain, unless ROS_DOMAIN_ID does, and keep the traffic on this machine.

    Fast DDS gets the profile for large pictures, unless the user has one. Returns the domain.
    Call it before `rclpy.init`.
    """
    if 'ROS_DOMAIN_ID' not in os.environ:
        os.environ['ROS_DOMAIN_ID'] = str(_UNTIL_EXIT.enter_context(free_domain()))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'  # the only name that Humble knows
    has_own_profile = any(name in os.environ for name in PROFILE_VARIABLES)
    if not has_own_profile and _has_room(4 * SEGMENT_BYTES - 2**20):
        os.environ[_profile_variable()] = str(PROFILE)
    return int(os.environ['ROS_DOMAIN_ID'])


def for_children() -> dict[str, str]:
    """The environment for the children: plain unbuffered logs, and this very package."""
    home = str(Path(midas_depth_ros.__file__).parents[1])
    path = os.environ.get('PYTHONPATH', '')
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([home, path] if path else [home]),
        'PYTHONUNBUFFERED': '1',
        'RCUTILS_COLORIZED_OUTPUT': '0',
    }


@contextlib.contextmanager
def free_domain() -> Iterator[int]:
    """A domain that is ours while the block runs.

    Nobody has its ports open, and nobody else who asks here gets it: ports alone do not tell,
    since between choosing a domain and opening its ports another run may choose it too. Begins at
    one picked by our process id. Raises ClickException when all of them are taken.
    """
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(os.getpid() + offset) % len(DOMAINS)]
        with _lock(domain) as is_ours:
            if is_ours and all(
                _port_is_free(PORT_BASE + DOMAIN_GAIN * domain + p) for p in PORT_OFFSETS
            ):
                yield domain
                return
    raise click.ClickException(
        'every ROS domain from 1 to 100 is taken: end other runs, or set ROS_DOMAIN_ID'
    )


@contextlib.contextmanager
def _lock(domain: int) -> Iterator[bool]:
    """Whether we are the only one who has this domain; for as long as the block runs."""
    path = Path(tempfile.gettempdir()) / f'midas_depth_ros_{os.getuid()}_domain_{domain}.lock'
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)  # never written to
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it before us has removed it: then it may be another's by now.
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)  # before the lock is gone
        os.close(descriptor)


def _profile_variable() -> str:
    major = int(importlib.metadata.version('rclpy').partition('.')[0])
    return PROFILE_VARIABLES[major >= FIRST_RCLPY_WITH_FAST_DDS_3]


def _has_room(needed_bytes: int) -> bool:
    return SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free >= needed_bytes


def _port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
        return True
