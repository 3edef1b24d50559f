"""Where the dashboard listens and who asks it: with the standard library alone."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Any

DEFAULT_PORTS = {'http': '80', 'https': '443'}


def origin_of(address: str) -> str:
    """The origin of `https://name:port` or `https://name`, as browsers write it.

    Raises ValueError for what has a path, a user, a wildcard, or is no such address.
    """
    match = re.fullmatch(
        r'(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?/?', address.lower()
    )
    if match is None:
        raise ValueError(
            f'{address!r} is no origin: give scheme and name, and a port where there is one, '
            'such as https://robots.example.org'
        )
    scheme, name, port = match.groups()
    other_port = port is not None and port != DEFAULT_PORTS[scheme]
    return f'{scheme}://{name}{f":{port}" if other_port else ""}'


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
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


def client_of(connection: Any) -> str:
    """Who is at the other end of a request or WebSocket, for counting; '' where nobody knows.

    What a header says of it (X-Forwarded-For) is not believed: anybody can write it.
    """
    return counted_as(connection.client.host if connection.client else '')


def counted_as(host: str) -> str:
    """An address as one client: IPv6 by its network of 64 bits, this machine whatever its name.

    Somebody who has one of these has all of them.
    """
    try:
        address = ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        return host[:100]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            network = ipaddress.ip_network((address, 64), strict=False)
            return 'this machine' if address.is_loopback else str(network)
        address = address.ipv4_mapped
    return 'this machine' if address.is_loopback else str(address)


def address_of(listening: socket.socket) -> str:
    """The address for a browser, `http://host:port`; of several that of the way to the network."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = _outward(listening.family) or socket.gethostname()
    return f'http://{f"[{host}]" if ":" in host else host}:{port}'


def _outward(family: int) -> str:
    """Our address on the way to a far one; '' without a network. Nothing is sent."""
    far = '2001:db8::1' if family == socket.AF_INET6 else '192.0.2.1'  # for documentation only
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))
        except OSError:
            return ''
        return str(probe.getsockname()[0])
