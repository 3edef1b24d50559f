"""Who may talk to the dashboard: host names, origins and the token, and the headers that say so.

An ASGI layer around the whole app. It refuses a request under a foreign host name (DNS rebinding),
one that a page of another site makes, and, where there is a token, one without it. Nothing here
reads a body.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import ipaddress
import re
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from midas_depth_ros.web.addresses import is_local
from midas_depth_ros.web.errors import Refused

COOKIE = 'midas_depth_dashboard'
LOCAL_NAMES = ('localhost', '127.0.0.1', '::1')
READING = ('GET', 'HEAD', 'OPTIONS')
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Permissions-Policy': 'camera=(), microphone=(), geolocation=()',
}


@dataclasses.dataclass(frozen=True)
class Access:
    """Who may talk to a dashboard: under which host names, and with which token ('' = none)."""

    names: frozenset[str]
    any_address: bool = False  # an IP address cannot be rebound
    token: str = ''

    @classmethod
    def of(cls, host: str, token: str = '', further: tuple[str, ...] = ()) -> Access:
        """The access that suits a server that listens on `host`."""
        names = {*LOCAL_NAMES, host.lower(), *(name.lower() for name in further)}
        if is_local(host):
            return cls(frozenset(names), False, token)
        own = socket.gethostname().lower()
        return cls(frozenset({*names, own, f'{own}.local', f'{own}.lan'}), True, token)

    def knows(self, authority: str) -> bool:
        """Whether a Host header (name or address, perhaps with a port) is one of ours."""
        match = re.fullmatch(r'(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?', authority)
        if match is None:
            return False
        name = match[1].strip('[]').lower().removesuffix('.')
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address

    @property
    def secret(self) -> str:
        """What the cookie holds: it proves the token without being it."""
        return hashlib.sha256(f'midas_depth dashboard {self.token}'.encode()).hexdigest()

    def admits(self, headers: Headers) -> bool:
        """Whether the token is there, as bearer or as cookie."""
        if not self.token:
            return True
        scheme, _, given = headers.get('authorization', '').partition(' ')
        if scheme.lower() == 'bearer' and _same(given.strip(), self.token):
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get('cookie', ''))
        except CookieError:
            return False
        return COOKIE in cookies and _same(cookies[COOKIE].value, self.secret)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


class AccessGuard:
    """The ASGI layer that asks `Access` and adds the headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] not in ('http', 'websocket'):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        send = self._with_headers(send, headers.get('host', ''))
        try:
            if self._wants_cookie(scope):
                await self._give_cookie(scope, receive, send)
                return
            self._check(scope, headers)
        except Refused as refusal:
            await _refuse(refusal, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get('host', '')
        if not self._access.knows(host):
            raise Refused(
                421,
                'this dashboard is not known under this host name: use its address, or start it '
                'with --allow-host NAME',
            )
        # A page of another site may not even read: pictures of a robot are nobody else's.
        foreign = headers.get('sec-fetch-site') in ('cross-site', 'same-site')
        navigates = headers.get('sec-fetch-mode') == 'navigate' and scope['path'] == '/'
        if foreign and not navigates:
            raise Refused(403, 'this request comes from a page of another site')
        origin = headers.get('origin')
        writes = scope['type'] == 'websocket' or scope['method'] not in READING
        if origin is not None and writes and urlsplit_host(origin) != host.lower():
            raise Refused(403, 'this request comes from a page of another site')
        if not self._access.admits(headers):
            raise Refused(
                401,
                'the token is missing or wrong: open the address that the dashboard printed, or '
                'send it as "Authorization: Bearer TOKEN"',
            )

    def _wants_cookie(self, scope: Scope) -> bool:
        return (
            scope['type'] == 'http'
            and scope['path'] == '/'
            and bool(self._access.token)
            and b'token=' in scope['query_string']
        )

    async def _give_cookie(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`/?token=...` turns into a cookie and an address without the token."""
        if not self._access.knows(Headers(scope=scope).get('host', '')):
            raise Refused(421, 'this dashboard is not known under this host name')
        given = parse_qs(scope['query_string'].decode('latin-1')).get('token', [''])[0]
        if not _same(given, self._access.token):
            raise Refused(401, 'the token is wrong: open the address that the dashboard printed')
        answer = RedirectResponse('/', 303)
        answer.set_cookie(COOKIE, self._access.secret, httponly=True, samesite='strict')
        await answer(scope, receive, send)

    def _with_headers(self, send: Send, host: str) -> Send:
        policy = POLICY.format(host=host if self._access.knows(host) else 'localhost')

        async def with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                headers['Content-Security-Policy'] = policy
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault('Cache-Control', 'no-store')
            await send(message)

        return with_headers


def urlsplit_host(origin: str) -> str:
    """Host and port of an Origin header, as a Host header would have them."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ''


async def _refuse(refusal: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    if scope['type'] == 'websocket':
        await receive()
        await send({'type': 'websocket.close', 'code': 1008, 'reason': refusal.text[:120]})
        return
    await refusal.response()(scope, receive, send)
