"""The console script `dashboard`: options in, a server until SIGINT or SIGTERM, an exit code out.

ROS arguments may follow after --ros-args, as for every node. Exit code 0 after a signal; 1 with one
line `Error: ...` if the address is not available or the ROS thread has ended; 2 for wrong usage.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import logging
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

import click

from midas_depth_ros.cli.options import accept_licence_option, like, network_size_options
from midas_depth_ros.depth import DepthEstimator, load_estimator
from midas_depth_ros.web.errors import LOG_PERIOD_S, MOST_KINDS, Faults, sanitize
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.limits import is_local

if TYPE_CHECKING:
    from midas_depth_ros.web.access import Access
    from midas_depth_ros.web.app import Robot

# Modules, one of which must be installed, and the package that provides them.
NEEDED = (
    (('fastapi',), 'fastapi'),
    (('uvicorn',), 'uvicorn'),
    (('websockets',), 'websockets'),
    (('python_multipart', 'multipart'), 'python-multipart'),
)
LIBRARY_MISSING = (
    'the dashboard needs {names}, which cannot be imported: install them with '
    'pip install {names} (or rosdep install)'
)
OLDEST_FASTAPI = (0, 100)
TOO_OLD = (
    'the dashboard needs FastAPI 0.100 or later, {found} is installed: get it with '
    'pip install --upgrade fastapi'
)
OPEN_TO_ALL = (
    'WARNING: anyone who can reach {address} can see what the robot sees and change its settings. '
    'Use --token, or --host 127.0.0.1.'
)


@click.command(context_settings={'help_option_names': ['-h', '--help'], 'show_default': True})
@click.option('--host', default='127.0.0.1', help='Address to listen on; 0.0.0.0 for all.')
@click.option('--port', type=click.IntRange(0, 65535), default=8080, help='0 picks a free one.')
@click.option(
    '--token',
    default='',
    envvar='MIDAS_DEPTH_DASHBOARD_TOKEN',
    show_envvar=True,
    show_default='generated if others can reach the dashboard',
    help='Token that a browser must send, as /?token=...',
)
@click.option('--no-token', is_flag=True, help='Let in anyone who can reach the dashboard.')
@click.option(
    '--allow-host',
    'names',
    multiple=True,
    metavar='NAME',
    help='An additional host name of the dashboard; repeatable.',
)
@click.option(
    '--allow-origin',
    'origins',
    multiple=True,
    metavar='ORIGIN',
    envvar='MIDAS_DEPTH_DASHBOARD_ORIGINS',
    show_envvar=True,
    help='The address under which a reverse proxy serves the dashboard, such as '
    'https://robots.example.org; repeatable.',
)
@click.option(
    '--root-path',
    default='',
    show_default='none',
    envvar='MIDAS_DEPTH_DASHBOARD_ROOT_PATH',
    show_envvar=True,
    help='The path under which a reverse proxy serves the dashboard, such as /robots/1.',
)
@click.option('--no-ros', is_flag=True, help='Pictures only, without a depth node.')
@click.option('--node', 'depth_node', default='depth_node', help='Name of the depth node to watch.')
@click.option('--model', **like('model'), help='Model for dropped pictures, as for depth_node.')
@accept_licence_option
@click.option(
    '--backend', **like('backend'), help='Backend for dropped pictures, as for depth_node.'
)
@network_size_options
@click.option('--num-threads', **like('num_threads'), help='Threads for dropped pictures; 0 = all.')
def dashboard(
    host: str,
    port: int,
    token: str,
    no_token: bool,
    names: tuple[str, ...],
    origins: tuple[str, ...],
    root_path: str,
    no_ros: bool,
    depth_node: str,
    model: str,
    accept_licence: str,
    backend: str,
    network_size: int,
    network_aspect: float,
    num_threads: int,
) -> None:
    """Show what the robot sees in a browser, and the depth of pictures dropped on the page.

    ROS arguments (remappings, namespace) may follow after --ros-args.
    """
    check_libraries()
    if token and no_token:
        raise click.UsageError('--token and --no-token are mutually exclusive')
    from midas_depth_ros.web.access import Access

    try:
        access = Access.of(host, chosen_token(host, token, no_token), names, origins, root_path)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        listening = listening_socket(host, port)
    except OSError as error:
        text = f'cannot listen on {host}:{port} ({error.strerror or error})'
        raise click.ClickException(f'{text}: choose another --host or --port') from error
    feed, faults = Feed(), Faults()
    ros_arguments = click.get_current_context().obj or []
    with listening, watching(feed, depth_node, ros_arguments, no_ros, faults) as robot:
        # A picture must not wait for a download: weights on disk, else the embedded model.
        make_estimator = functools.partial(
            load_estimator,
            model,
            backend,
            num_threads,
            allow_download=False,
            accept_licence=accept_licence,
            network_size=network_size,
            network_aspect=network_aspect,
        )
        serve(listening, make_estimator, feed, robot, access, faults)


def serve(
    listening: socket.socket,
    make_estimator: Callable[[], DepthEstimator],
    feed: Feed,
    robot: Robot,
    access: Access,
    faults: Faults,
) -> None:
    """Serve until a signal. Raises ClickException if ROS is not heard any more."""
    from midas_depth_ros.web.app import Dashboard
    from midas_depth_ros.web.limits import Limits
    from midas_depth_ros.web.server import Server

    limits = Limits()
    web = Dashboard(make_estimator, feed, robot, access, limits, faults, lambda: server.summary())
    address = address_of(listening)

    def ready() -> None:
        token = quote(access.token_bytes, safe='')
        query = f'?token={token}' if token else ''
        click.echo(f'dashboard: {address}/{query}')
        for origin in sorted(access.origins):
            click.echo(f'dashboard behind the proxy: {origin}{access.root_path}/{query}')
        if access.any_address and not token:
            click.secho(OPEN_TO_ALL.format(address=address), err=True, fg='red', bold=True)
        sys.stdout.flush()

    server = Server(web.asgi, ready, limits, faults, robot.failure)
    try:
        server.serve_until_stopped(listening)
    finally:
        free = web.close()
    if server.failure_reason:
        raise click.ClickException(sanitize(server.failure_reason))
    if not free:  # a thread that hangs in a library would keep the process alive
        leave(0)


def listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 picks a free one. Raises OSError."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def address_of(listening: socket.socket) -> str:
    """Return `http://host:port` for a browser; for 0.0.0.0, with this machine's own address."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = _outward(listening.family) or socket.gethostname()
    return f'http://{f"[{host}]" if ":" in host else host}:{port}'


def _outward(family: int) -> str:
    """This machine's address in the network; '' without one. Sends nothing."""
    far = '2001:db8::1' if family == socket.AF_INET6 else '192.0.2.1'  # reserved addresses
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))
        except OSError:
            return ''
        return str(probe.getsockname()[0])


def leave(code: int) -> NoReturn:
    """End the process without waiting for threads that hang."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def chosen_token(host: str, token: str, no_token: bool) -> str:
    """Return the token: the one given, or a generated one if others can reach the dashboard."""
    if token or no_token or is_local(host):
        return token
    return secrets.token_urlsafe(18)


def check_libraries() -> None:
    """Raise ClickException if a required library is missing or too old."""
    missing = [name for modules, name in NEEDED if not any(map(find_spec, modules))]
    if missing:
        raise click.ClickException(LIBRARY_MISSING.format(names=' '.join(missing)))
    found = version('fastapi')
    if tuple(map(int, re.findall(r'\d+', found)[:2])) < OLDEST_FASTAPI:
        raise click.ClickException(TOO_OLD.format(found=found))


@contextlib.contextmanager
def watching(
    feed: Feed, depth_node: str, ros_arguments: Sequence[str], no_ros: bool, faults: Faults
) -> Iterator[Robot]:
    """Yield the robot; the one without ROS if that is not wanted or not installed."""
    from midas_depth_ros.web.app import Robot

    if no_ros or find_spec('rclpy') is None:
        if not no_ros:
            click.echo('dashboard: rclpy cannot be imported: pictures only', err=True)
        yield Robot()
        return
    from midas_depth_ros.web.ros_node import RosThread

    try:
        ros = RosThread(feed, depth_node, ros_arguments, faults=faults)
    except (RuntimeError, ValueError) as error:
        raise click.ClickException(f'ROS arguments refused: {error}') from error
    try:
        yield ros
    finally:
        closed = ros.close()
        if not closed:
            click.echo(f'Error: {ros.failure() or "the ROS thread does not end"}', err=True)
            leave(1)


def split_ros_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our part of a command line, and that between --ros-args and -- (or the end)."""
    if '--ros-args' not in arguments:
        return list(arguments), []
    start = list(arguments).index('--ros-args')
    end = list(arguments).index('--', start) if '--' in arguments[start:] else len(arguments)
    return [*arguments[:start], *arguments[end + 1 :]], list(arguments[start:end])


# --- The log of the process, at a bounded rate: a million warnings become a few lines and a count.

LINES_AT_ONCE = 5  # of one kind per period, before they are only counted
LINES_IN_ALL = 60  # of all kinds per period
LONGEST_LINE = 2000  # characters


class LogThrottle(logging.Filter):
    """Passes a few records of each kind per period, and reports how many it suppressed.

    Of a kind that continues in the next period it passes one. A kind is a logger and an unformatted
    message: records that differ only in their values are of one kind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._since_s = -LOG_PERIOD_S
        self._passed: dict[tuple[str, str], int] = {}
        self._suppressed: dict[tuple[str, str], int] = {}
        self._flooding: set[tuple[str, str]] = set()  # in the period before
        self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this record is written."""
        kind = (record.name, str(record.msg)[:200])
        with self._lock:
            now = self._clock()
            if now - self._since_s >= LOG_PERIOD_S:
                self._since_s, self._passed, self._lines = now, {}, 0
                self._flooding = set(self._suppressed)
            passed = self._passed.get(kind, 0)
            most = 1 if kind in self._flooding else LINES_AT_ONCE
            if passed >= most or self._lines >= LINES_IN_ALL:
                if kind in self._suppressed or len(self._suppressed) < MOST_KINDS:
                    self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
                return False
            self._passed[kind] = passed + 1
            self._lines += 1
            more = self._suppressed.pop(kind, 0)
        if more:
            record.msg, record.args = f'{record.getMessage()} (and {more} more like it)', ()
        return True


class SanitizingFormatter(logging.Formatter):
    """Formats a record without control characters; only tracebacks take more than one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the first line."""
        return sanitize(super().formatMessage(record), LONGEST_LINE)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback."""
        lines = super().formatException(ei).split('\n')
        return '\n'.join(sanitize(line, LONGEST_LINE) for line in lines)


def configure_logging() -> None:
    """Log warnings and errors of this process to stderr, at a bounded rate."""
    handler = logging.StreamHandler()
    handler.setFormatter(SanitizingFormatter('%(levelname)s %(name)s: %(message)s'))
    handler.addFilter(LogThrottle())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # It logs every bad byte of an upload; the response reports it once.
    logging.getLogger('python_multipart').setLevel(logging.ERROR)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    configure_logging()
    ours, ros = split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    dashboard.main(ours, prog_name='dashboard', obj=ros)


if __name__ == '__main__':
    main()
