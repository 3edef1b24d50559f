"""Child processes: their ROS domain, command lines, orderly termination, and CPU and memory use."""

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
from midas_depth_ros.lab.stopping import signals_held

if TYPE_CHECKING:
    from rclpy.executors import SingleThreadedExecutor

# --- The ROS domain of a run, for the processes of this machine only.
#
# `set_up_ros()` changes the environment of this process, which rclpy reads when a context is made;
# `child_environment()` is for the children.

DOMAINS = range(1, 101)  # above 101 the ports of a domain reach into Linux' ephemeral ports
# RTPS 2.5, 9.6.2.3: PB + DG * domain + d0 (multicast) or d1 (first participant's unicast).
PORT_BASE, DOMAIN_GAIN, PORT_OFFSETS = 7400, 250, (0, 10)

_UNTIL_EXIT = contextlib.ExitStack()  # locks held by this process
atexit.register(_UNTIL_EXIT.close)

SEGMENT_BYTES = 16 * 2**20  # shared memory of each process, as in the profile
SHARED_MEMORY = Path('/dev/shm')
# Fast DDS 2 (up to Jazzy) reads the first; Fast DDS 3 reads both, but warns about the first.
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
FIRST_RCLPY_WITH_FAST_DDS_3 = 9
PROFILE = Path(midas_depth_ros.__file__).parent / 'assets' / 'fastdds_large_pictures.xml'


def set_up_ros() -> int:
    """Choose a free ROS domain unless ROS_DOMAIN_ID is set, and limit discovery to this machine.

    Fast DDS gets the profile for large images unless the user has one. Returns the domain. Call it
    before `rclpy.init`.
    """
    if 'ROS_DOMAIN_ID' not in os.environ:
        os.environ['ROS_DOMAIN_ID'] = str(_UNTIL_EXIT.enter_context(free_domain()))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'  # Humble knows no other
    has_own_profile = any(name in os.environ for name in PROFILE_VARIABLES)
    if not has_own_profile and _has_room(4 * SEGMENT_BYTES - 2**20):
        os.environ[_profile_variable()] = str(PROFILE)
    return int(os.environ['ROS_DOMAIN_ID'])


def child_environment() -> dict[str, str]:
    """Return the environment for children: plain unbuffered logs, and this copy of the package."""
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
    """Yield a ROS domain that is reserved while the block runs.

    Its ports are free, and a lock file keeps other runs from choosing it before the ports are
    opened. The search starts at a domain picked by our process id. Raises ClickException when all
    are taken.
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
        'all ROS domains from 1 to 100 are in use: stop other runs, or set ROS_DOMAIN_ID'
    )


@contextlib.contextmanager
def _lock(domain: int) -> Iterator[bool]:
    """Lock a domain for the length of the block; yields whether that succeeded."""
    path = Path(tempfile.gettempdir()) / f'midas_depth_ros_{os.getuid()}_domain_{domain}.lock'
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)  # never written to
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous owner may have removed it: then the lock is on a file without a name.
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)  # before the lock is released
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


# --- Child processes, each with a log file and a process group of its own.
#
# `Children` starts them and always stops them. Use it within `StopSignals`, so that no signal
# interrupts the termination.

# The signals to end a process with, and the seconds to wait after each.
STEPS = ((signal.SIGINT, 6.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TAIL_BYTES = 16_384
PROMPT = '$ '  # before the command line in a log


@dataclasses.dataclass(frozen=True)
class Child:
    """One running or ended process and its log file."""

    name: str
    command: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal, as in `subprocess`."""
        return self.process.poll()

    def tail(self, lines: int = 12) -> list[str]:
        """Return the last non-blank lines of its log."""
        with self.log.open('rb') as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - TAIL_BYTES))
            text = log.read().decode(errors='replace')
        # A progress bar redraws its line after a carriage return: keep the last state.
        drawn = [line.rstrip('\r').rpartition('\r')[2].rstrip() for line in text.split('\n')]
        return [line for line in drawn if line][-lines:]

    def last_message(self) -> str:
        """Return the first recent error in its log, or else the last line."""
        lines = [line for line in self.tail() if not line.startswith(PROMPT)]
        errors = [line for line in lines if line.startswith(('[ERROR]', '[FATAL]'))]
        # Before ']: ' are level, time and logger.
        return (errors or lines[-1:] or [''])[0].rpartition(']: ')[2]

    def status(self) -> str:
        """Return how it ended, in words."""
        code = self.exit_code
        if code is None:
            return f'{self.name} is running'
        if code < 0:
            return f'{self.name} was ended by {signal.Signals(-code).name}'
        return f'{self.name} ended with exit code {code}'


class Children:
    """The processes of one run; none outlives the `with` block."""

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
        """Start a process that logs to `<log folder>/<name>.log`. Raises OSError with the path."""
        path = self._log_folder / f'{name}.log'
        with path.open('wb', buffering=0) as log, signals_held():
            try:
                log.write(f'{PROMPT}{shlex.join(command)}\n'.encode(errors='backslashreplace'))
            except OSError as error:  # it has no path
                raise OSError(error.errno, error.strerror, str(path)) from error
            process = subprocess.Popen(
                [*_parent_watch(), *command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches only us
            )
            child = Child(name, tuple(command), path, process)
            self._children.append(child)
        return child

    def ended(self) -> Child | None:
        """Return the first child that is no longer running."""
        return next((child for child in self._children if child.exit_code is not None), None)

    def stop(self) -> dict[str, int]:
        """Stop all children: SIGINT, SIGTERM, SIGKILL in turn; returns the exit codes by name."""
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


def _parent_watch() -> list[str]:
    """Return a command prefix with which the kernel ends a child whose parent was killed."""
    setpriv = shutil.which('setpriv')  # of util-linux
    return [setpriv, '--pdeathsig', 'TERM'] if setpriv else []


# --- Command lines of nodes.

ROS_ARGUMENTS = ['--ros-args', '--disable-external-lib-logs']  # nothing in ~/.ros


def module_command(module: str, *words: str) -> list[str]:
    """Return the command that runs the module `midas_depth_ros.<module>` with these arguments."""
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


# --- A ROS context in this process, for nodes that watch and feed the children.


@contextlib.contextmanager
def ros_context() -> Iterator[SingleThreadedExecutor]:
    """Yield an executor with a ROS context of its own; both end with the block.

    The caller spins the executor, makes nodes with its `context`, and handles signals. Call
    `set_up_ros` before.
    """
    import rclpy  # this module also serves where ROS is not installed
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


# --- CPU time and memory of a process with all its threads, from Linux's /proc.

PROC = Path('/proc')
MIB = 2**20


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process since its start; 0 once it has ended.

    Counted in nanoseconds where the kernel has schedstat, else in ticks of 10 ms.
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
    """Return the resident memory of a process in MiB; 0 once it has ended."""
    try:
        pages = int((PROC / str(pid) / 'statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / MIB


def cpu_name() -> str:
    """Return the CPU's name from the kernel, or else the architecture."""
    try:
        for line in (PROC / 'cpuinfo').read_text().splitlines():
            key, _, value = line.partition(':')
            if key.strip() in ('model name', 'Model', 'Hardware'):
                return value.strip()
    except OSError:
        pass
    return os.uname().machine


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
