"""The console script `dashboard`: options in, a server until SIGINT or SIGTERM, an exit code out.

ROS arguments may follow after --ros-args, as for every node. 0 after a signal; 1 with one line
`Error: ...` where the address cannot be had or the ROS thread has ended; 2 for wrong usage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

import click

from midas_depth_ros.cli.options import like
from midas_depth_ros.depth import DepthEstimator, load_estimator
from midas_depth_ros.web.errors import Faults, configure_logging, sanitize
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.limits import is_local

if TYPE_CHECKING:
    from midas_depth_ros.web.access import Access
    from midas_depth_ros.web.app import Robot

# Modules of which one must be there, and the package that brings them.
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
    'WARNING: everyone who can reach {address} sees what the robot sees and can change how it '
    'works. Use --token, or --host 127.0.0.1.'
)


@click.command(context_settings={'help_option_names': ['-h', '--help'], 'show_default': True})
@click.option('--host', default='127.0.0.1', help='Address to listen on; 0.0.0.0 for all.')
@click.option('--port', type=click.IntRange(0, 65535), default=8080, help='0 takes a free one.')
@click.option(
    '--token',
    default='',
    envvar='MIDAS_DEPTH_DASHBOARD_TOKEN',
    show_envvar=True,
    show_default='made up when others can reach the dashboard',
    help='What a browser must know; it is asked for as /?token=...',
)
@click.option('--no-token', is_flag=True, help='Let in everyone who can reach the dashboard.')
@click.option(
    '--allow-host',
    'names',
    multiple=True,
    metavar='NAME',
    help='A further host name under which the dashboard is reached; repeatable.',
)
@click.option(
    '--allow-origin',
    'origins',
    multiple=True,
    metavar='ORIGIN',
    envvar='MIDAS_DEPTH_DASHBOARD_ORIGINS',
    show_envvar=True,
    help='An address under which a reverse proxy serves the dashboard, such as '
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
@click.option('--model', **like('model'), help='Of dropped pictures: as the model of depth_node.')
@click.option('--backend', **like('backend'), help='Of dropped pictures: as that of depth_node.')
@click.option('--num-threads', **like('num_threads'), help='For dropped pictures; 0 = all.')
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
    backend: str,
    num_threads: int,
) -> None:
    """Show what the robot sees in a browser, and the depth of pictures that are dropped there.

    ROS arguments (remappings, namespace) may follow after --ros-args.
    """
    check_libraries()
    if token and no_token:
        raise click.UsageError('--token and --no-token exclude each other')
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
        # A picture must not wait for a download: what is on disk, else the embedded model.
        run(
            lambda: load_estimator(model, backend, num_threads, allow_download=False),
            Served(feed, robot, access, faults),
            listening,
        )


@dataclasses.dataclass(frozen=True)
class Served:
    """What the server is about."""

    feed: Feed
    robot: Robot
    access: Access
    faults: Faults


def run(
    make_estimator: Callable[[], DepthEstimator], served: Served, listening: socket.socket
) -> None:
    """Serve until a signal. Raises ClickException when nothing is heard from ROS any more."""
    from midas_depth_ros.web.app import Dashboard
    from midas_depth_ros.web.limits import Limits
    from midas_depth_ros.web.server import Server

    limits = Limits()
    web = Dashboard(
        make_estimator, served.feed, served.robot, served.access, limits, served.faults,
        lambda: server.summary(),
    )  # fmt: skip
    address = address_of(listening)

    def ready() -> None:
        token = quote(served.access.token_bytes, safe='')
        query = f'?token={token}' if token else ''
        click.echo(f'dashboard: {address}/{query}')
        for origin in sorted(served.access.origins):
            click.echo(f'dashboard behind the proxy: {origin}{served.access.root_path}/{query}')
        if served.access.any_address and not token:
            click.secho(OPEN_TO_ALL.format(address=address), err=True, fg='red', bold=True)
        sys.stdout.flush()

    server = Server(web.asgi, ready, limits, served.faults, served.robot.failure)
    try:
        server.serve_until_stopped(listening)
    finally:
        free = web.close()
    if server.failure_reason:
        raise click.ClickException(sanitize(server.failure_reason))
    if not free:  # a thread that hangs in a library would keep the process
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
    """The token to ask for: the one given, or one made up where others can reach the dashboard."""
    if token or no_token or is_local(host):
        return token
    return secrets.token_urlsafe(18)


def check_libraries() -> None:
    """Raise ClickException where what serves pages is not installed, or too old."""
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
    """The robot for the length of a block; none where ROS is not wanted or not installed."""
    from midas_depth_ros.web.app import NoRobot

    if no_ros or find_spec('rclpy') is None:
        if not no_ros:
            click.echo('dashboard: rclpy cannot be imported: pictures only', err=True)
        yield NoRobot()
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
    """Our part of a command line, and that between --ros-args and -- (or the end)."""
    if '--ros-args' not in arguments:
        return list(arguments), []
    start = list(arguments).index('--ros-args')
    end = list(arguments).index('--', start) if '--' in arguments[start:] else len(arguments)
    return [*arguments[:start], *arguments[end + 1 :]], list(arguments[start:end])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code."""
    configure_logging()
    ours, ros = split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    dashboard.main(ours, prog_name='dashboard', obj=ros)


if __name__ == '__main__':
    main()
