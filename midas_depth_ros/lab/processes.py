"""Processes of ours: ROS domains of their own, command lines, children that are always ended, what
they cost.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click

import midas_depth_ros
from midas_depth_ros.lab.stopping import held

if TYPE_CHECKING:
    from rclpy.executors import SingleThreadedExecutor

# --- Where the processes of a run meet: a ROS domain of their own on this machine.
#
# `set_up()` changes the environment of this process, which the recorder reads when its context is
# made; `for_children()` is what the children get.

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


# --- Child processes that are always ended: each with a log file, in a process group of its own.
#
# `Children` starts them, tells which one ended and with what last words, and stops them all:
# SIGINT, then SIGTERM, then SIGKILL, each after a bounded wait. Use them within `StopSignals`, so
# that no signal can come between the children and their end.

# The signals to end a process with, and how long to wait after each, in seconds.
STEPS = ((signal.SIGINT, 6.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TAIL_BYTES = 16_384
PROMPT = '$ '  # before the command line in a log


@dataclasses.dataclass(frozen=True)
class Child:
    """One running or ended process and the file that has what it wrote."""

    name: str
    command: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative numbers are signals, as in `subprocess`."""
        return self.process.poll()

    def tail(self, lines: int = 12) -> list[str]:
        """The last lines of its log that are not blank."""
        with self.log.open('rb') as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - TAIL_BYTES))
            text = log.read().decode(errors='replace')
        # A progress bar redraws its line after a carriage return: only the last state counts.
        drawn = [line.rstrip('\r').rpartition('\r')[2].rstrip() for line in text.split('\n')]
        return [line for line in drawn if line][-lines:]

    def last_words(self) -> str:
        """The line of its log that says most: the first recent error, else the last line."""
        lines = [line for line in self.tail() if not line.startswith(PROMPT)]
        errors = [line for line in lines if line.startswith(('[ERROR]', '[FATAL]'))]
        # What comes before ']: ' is level, time and logger.
        return (errors or lines[-1:] or [''])[0].rpartition(']: ')[2]

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.exit_code
        if code is None:
            return f'{self.name} is running'
        if code < 0:
            return f'{self.name} was ended by {signal.Signals(-code).name}'
        return f'{self.name} ended with exit code {code}'


class Children:
    """The processes of one run, for the length of a `with` block; none outlives it."""

    def __init__(self, log_folder: Path, environment: Mapping[str, str]) -> None:
        self._log_folder = log_folder
        self._environment = dict(environment)
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start a process whose stdout and stderr go to `<log folder>/<name>.log`.

        Raises OSError, which names the file.
        """
        path = self._log_folder / f'{name}.log'
        with path.open('wb', buffering=0) as log, held():
            try:
                log.write(f'{PROMPT}{shlex.join(command)}\n'.encode(errors='backslashreplace'))
            except OSError as error:  # which does not say of which file
                raise OSError(error.errno, error.strerror, str(path)) from error
            process = subprocess.Popen(
                [*_leash(), *command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end them in order
            )
            child = Child(name, tuple(command), path, process)
            self._children.append(child)
        return child

    def ended(self) -> Child | None:
        """The first child that is no longer running."""
        return next((child for child in self._children if child.exit_code is not None), None)

    def stop(self) -> dict[str, int]:
        """End all that still run, and return the exit code of each."""
        for number, wait_s in STEPS:
            for child in self._children:
                _send(child, number)
            if self._wait(wait_s):
                break
        return {child.name: child.process.returncode for child in self._children}

    def _wait(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while any(child.exit_code is None for child in self._children):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def _send(child: Child, number: signal.Signals) -> None:
    if child.exit_code is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)


def _leash() -> list[str]:
    """What makes the kernel end a child whose parent is killed without a chance to do it."""
    setpriv = shutil.which('setpriv')  # of util-linux
    return [setpriv, '--pdeathsig', 'TERM'] if setpriv else []


# --- Command lines of nodes: a module and its parameters come in, words go out.

ROS_ARGUMENTS = ['--ros-args', '--disable-external-lib-logs']  # the log is ours, nothing in ~/.ros


def module_command(module: str, *words: str) -> list[str]:
    """Runs the module `midas_depth_ros.<module>` with these words."""
    return [sys.executable, '-m', f'midas_depth_ros.{module}', *words]


def node_command(
    module: str, parameters: Mapping[str, object], extra: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs a node of `midas_depth_ros.<module>`.

    A module with several nodes is followed by the node's name: 'lab.drive.over_dds commander'.
    extra: further name:=value, which override `parameters`.
    """
    # JSON is YAML: quotes keep a device number a string and a path with a colon whole.
    yaml = [
        f'{name}:={json.dumps(value, ensure_ascii=False)}' for name, value in parameters.items()
    ]
    given = [word for pair in (*yaml, *extra) for word in ('-p', pair)]
    return module_command(*module.split(), *ROS_ARGUMENTS, *given)


# --- A context of ROS in this process, for nodes that watch and feed the children.


@contextlib.contextmanager
def ros_context() -> Iterator[SingleThreadedExecutor]:
    """An executor with a context of its own, which the block's nodes are made in; ended with it.

    Whoever has the executor spins it; its `context` goes to the nodes, and the nodes to it. Signals
    are left to the caller. Call `set_up` before.
    """
    import rclpy  # processes are started without ROS, too
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    context = Context()
    rclpy.init(args=ROS_ARGUMENTS, context=context, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor(context=context)
    try:
        yield executor
    finally:
        nodes = executor.get_nodes()
        executor.shutdown()
        for node in nodes:
            node.destroy_node()
        rclpy.shutdown(context=context)


# --- What a process costs: CPU time and resident memory, of all its threads. Linux's /proc.

PROC = Path('/proc')
MIB = 2**20


def cpu_seconds(pid: int) -> float:
    """CPU time since the start of a process; 0 once it is gone.

    The scheduler counts nanoseconds, where it was built to; else ticks of 10 ms.
    """
    try:
        tasks = list((PROC / str(pid) / 'task').iterdir())
    except OSError:
        return 0.0
    total = 0.0
    for task in tasks:
        try:
            total += int((task / 'schedstat').read_text().split()[0]) / 1e9
        except (OSError, IndexError):
            total += _ticks(task)
    return total


def _ticks(task: Path) -> float:
    try:
        fields = (task / 'stat').read_text().rpartition(')')[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident_mib(pid: int) -> float:
    """Resident memory in MiB; 0 once it is gone."""
    try:
        pages = int((PROC / str(pid) / 'statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / MIB


def cpu_name() -> str:
    """The CPU's name as the kernel tells it, or the architecture."""
    try:
        for line in (PROC / 'cpuinfo').read_text().splitlines():
            key, _, value = line.partition(':')
            if key.strip() in ('model name', 'Model', 'Hardware'):
                return value.strip()
    except OSError:
        pass
    return os.uname().machine


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
