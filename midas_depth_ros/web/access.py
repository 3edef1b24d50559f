"""Who may talk to the dashboard: host names, origins and the token, and the headers that say so.

An ASGI layer around the whole app. It refuses a request under a foreign host name (DNS rebinding),
one that a page of another site makes, and, where there is a token, one without it. It also takes
off the path under which a reverse proxy serves the dashboard. Nothing here reads a body.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import ipaddress
import re
import socket
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartParser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Limits, Rate, counted_as, is_local, origin_of

COOKIE = 'midas_depth_dashboard'
LOCAL_NAMES = ('localhost', '127.0.0.1', '::1')
MOST_COOKIES = 8  # of our name, in one request
MOST_FIELDS = 20  # in a query
MOST_RIGHT = 256  # clients that are remembered
WRONG_TOKEN = (
    'the token is missing or wrong: open the address that the dashboard printed, or '
    'send it as "Authorization: Bearer TOKEN"'
)
READING = ('GET', 'HEAD', 'OPTIONS')
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; "
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
    """Who may talk to a dashboard: under which host names, and with which token ('' = none).

    origins: those under which a reverse proxy serves it, as `origin_of` writes them; root_path:
    the path under which it does, as `root_path_of` writes it.
    """

    names: frozenset[str]
    any_address: bool = False  # an IP address cannot be rebound
    token: str = ''
    origins: frozenset[str] = frozenset()
    root_path: str = ''

    @classmethod
    def of(
        cls,
        host: str,
        token: str = '',
        further: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
        root_path: str = '',
    ) -> Access:
        """The access that suits a server that listens on `host`. Raises ValueError.

        Who asks under an origin of ours asks under its host name.
        """
        ours = frozenset(map(origin_of, origins))
        of_origins = {str(urlsplit(origin).hostname) for origin in ours}
        names = {*LOCAL_NAMES, host.lower(), *(name.lower() for name in further), *of_origins}
        beyond = not is_local(host)
        if beyond:
            own = socket.gethostname().lower()
            names |= {own, f'{own}.local', f'{own}.lan'}
        return cls(frozenset(names), beyond, token, ours, root_path_of(root_path))

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

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin, as a browser writes it, is one of this dashboard's.

        host: the Host header of the request, which is known to be ours.
        """
        return urlsplit_host(origin) == host.lower() or origin.lower() in self.origins

    def sockets(self, host: str) -> str:
        """Where our page may open a WebSocket, for a content security policy."""
        hosts = [host if self.knows(host) else 'localhost']
        hosts += sorted(urlsplit_host(origin) for origin in self.origins)
        return ' '.join(f'ws://{each} wss://{each}' for each in dict.fromkeys(hosts))

    @property
    def secret(self) -> str:
        """What the cookie holds: it proves the token without being it."""
        return hashlib.sha256(b'midas_depth dashboard ' + self.token_bytes).hexdigest()

    @property
    def token_bytes(self) -> bytes:
        """The token as it comes over the wire; an environment variable may be no UTF-8."""
        return self.token.encode('utf-8', 'surrogateescape')

    def admits(self, headers: Headers) -> bool:
        """Whether the token is there, as bearer or as cookie."""
        if not self.token:
            return True
        bearers, cookies = given_tokens(headers)
        # All are compared, so that the time tells nothing.
        good = [_same(given, self.token_bytes) for given in bearers]
        good += [_same(given, self.secret.encode()) for given in cookies]
        return any(good)


def root_path_of(text: str) -> str:
    """A path under which a reverse proxy serves us: `/robots/1`; '' is none. Raises ValueError."""
    path = text.strip('/')
    parts = path.split('/') if path else []
    if any(part in ('.', '..') or not re.fullmatch(r'[A-Za-z0-9._~-]+', part) for part in parts):
        raise ValueError(
            f'{text!r} is not a path: use letters, digits, ".", "_", "~" and "-" between slashes, '
            'such as /robots/1'
        )
    return f'/{path}' if path else ''


def given_tokens(headers: Headers) -> tuple[list[bytes], list[bytes]]:
    """What a request has as bearer tokens and as cookies of our name, as it was sent.

    Whatever other cookies look like: every program under this host name sets its own, and one that
    no parser likes must not hide ours. There may be several of our name.
    """
    bearers, cookies = [], []
    for header in headers.getlist('authorization')[:1]:
        scheme, _, given = header.partition(' ')
        if scheme.lower() == 'bearer':
            bearers.append(given.strip().encode('latin-1'))
    for header in headers.getlist('cookie'):
        for part in header.split(';'):
            name, _, value = part.partition('=')
            if name.strip() == COOKIE:
                cookies.append(value.strip().strip('"').encode('latin-1'))
    return bearers, cookies[:MOST_COOKIES]


def token_of(query: bytes) -> bytes:
    """The token in a query string; empty where there is none to be found."""
    try:
        found = parse_qs(
            query.decode('latin-1'), errors='surrogateescape', max_num_fields=MOST_FIELDS
        )
    except ValueError:
        return b''
    return found.get('token', [''])[0].encode('utf-8', 'surrogateescape')


def _same(given: bytes, wanted: bytes) -> bool:
    # Of the same length, whatever that of the token is.
    digests = (hashlib.sha256(each).digest() for each in (given, wanted))
    return hmac.compare_digest(*digests)


class Guesses:
    """Wrong tokens, counted per client and in all; who has guessed too often is not listened to.

    Who was right lately is exempt from the bound that all share, so that guessing from many
    addresses cannot lock out those who are in.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = Rate(limits.guesses_per_s, limits.guess_burst, clock)
        self._all = Rate(limits.guesses_in_all_per_s, limits.guess_burst_in_all, clock)
        self._right: dict[str, None] = {}  # the latest is the last

    def check(self, client: str) -> None:
        """Raise Refused (429) if this client's token is not even to be looked at."""
        self._own.check(client)
        if client not in self._right:
            self._all.check('')

    def wrong(self, client: str) -> None:
        """Count a wrong one. Raises Refused (429)."""
        self._own.take(client)
        self._all.take('')

    def right(self, client: str) -> None:
        """Remember who knows it."""
        self._right.pop(client, None)
        self._right[client] = None
        while len(self._right) > MOST_RIGHT:
            del self._right[next(iter(self._right))]


class AccessGuard:
    """The ASGI layer that asks `Access` and adds the headers."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits | None = None) -> None:
        self._app = app
        self._access = access
        self._guesses = Guesses(limits or Limits())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] not in ('http', 'websocket'):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        send = self._with_headers(send, headers.get('host', ''))
        asked, scope = scope['path'], self._below_root_path(scope)
        try:
            self._check_source(scope, headers)
            if asked == self._access.root_path and scope['type'] == 'http' and asked:
                # The page names its files relative to where it is: below the slash.
                query = scope['query_string'].decode('latin-1')
                answer = RedirectResponse(f'{asked}/{f"?{query}" if query else ""}', 307)
                await answer(scope, receive, send)
                return
            if self._wants_cookie(scope):
                await self._give_cookie(scope, receive, send)
                return
            self._check_token(scope, headers)
        except Refused as refusal:
            await _refuse(refusal, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _below_root_path(self, scope: Scope) -> Scope:
        """The request without the path under which a proxy serves us, if it has left that in."""
        root, path = self._access.root_path, scope['path']
        if not root or not (path == root or path.startswith(f'{root}/')):
            return scope
        below = dict(scope, path=path[len(root) :] or '/')
        raw = scope.get('raw_path') or b''
        if raw.startswith(root.encode()):
            below['raw_path'] = raw[len(root) :] or b'/'
        return below

    def _check_source(self, scope: Scope, headers: Headers) -> None:
        """Raise Refused for a foreign host name (421) or a page of another site (403)."""
        host = headers.get('host', '')
        # A proxy that asks us under our own name must not hide under which it was asked itself.
        through = ','.join(headers.getlist('x-forwarded-host')).split(',')
        if not all(map(self._access.knows, [host, *filter(None, map(str.strip, through))])):
            raise Refused(
                421,
                'this dashboard is not known under this host name: use its address, or start it '
                'with --allow-host NAME (behind a proxy: --allow-origin https://NAME)',
            )
        # A page of another site may not even read: pictures of a robot are nobody else's.
        foreign = headers.get('sec-fetch-site') in ('cross-site', 'same-site')
        navigates = headers.get('sec-fetch-mode') == 'navigate' and scope['path'] == '/'
        if foreign and not navigates:
            raise Refused(403, 'this request comes from a page of another site')
        origin = headers.get('origin')
        writes = scope['type'] == 'websocket' or scope['method'] not in READING
        if origin is not None and writes and not self._access.is_own_origin(origin, host):
            raise Refused(
                403,
                'this request comes from a page of another site: if that is this dashboard behind '
                'a proxy, start it with --allow-origin and the address of the proxy',
            )

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if not self._access.token:
            return
        if not any(given_tokens(headers)):  # a question is no guess
            raise Refused(401, WRONG_TOKEN)
        self._judge(scope, self._access.admits(headers))

    def _judge(self, scope: Scope, right: bool) -> None:
        """Let in who is right. Raises Refused: 401, and 429 who has been wrong too often."""
        client = counted_as((scope.get('client') or ('',))[0])
        self._guesses.check(client)
        if not right:
            self._guesses.wrong(client)
            raise Refused(401, WRONG_TOKEN)
        self._guesses.right(client)

    def _wants_cookie(self, scope: Scope) -> bool:
        return (
            scope['type'] == 'http'
            and scope['path'] == '/'
            and bool(self._access.token)
            and b'token=' in scope['query_string']
        )

    async def _give_cookie(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`/?token=...` turns into a cookie and an address without the token."""
        self._judge(scope, _same(token_of(scope['query_string']), self._access.token_bytes))
        root = self._access.root_path
        answer = RedirectResponse(f'{root}/' if root else './', 303)
        # Without a path it is for where the page is: dashboards under one name keep their own.
        answer.set_cookie(
            COOKIE,
            self._access.secret,
            path=root or None,
            httponly=True,
            samesite='strict',
        )
        await answer(scope, receive, send)

    def _with_headers(self, send: Send, host: str) -> Send:
        policy = POLICY.format(sockets=self._access.sockets(host))

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


# --- What a request may carry: the content type that its path takes, few enough bytes, soon
# enough.
#
# An ASGI layer that looks before anything is parsed. A path that takes no body gets none. All
# uploads share one budget of number and bytes, which a request gives back when it is answered.
# They stay in memory: a file in the temporary folder would be one more thing to bound, on a disk
# that may be full.

MULTIPART, JSON = 'multipart/form-data', 'application/json'
# The paths that take a body.
TAKEN = {'/api/predict': MULTIPART, '/api/parameters': JSON, '/api/enabled': JSON}
# Who brings less than this, after a while, keeps a place that others could use.
SLOWEST_BYTES_PER_S, FAIR_START_S = 16 * 1024, 5.0
RETRY_S = 3
SMALL_BODIES = 64  # at once: a robot can be paused while pictures are being sent


class Uploads:
    """The budget of bodies: so many at once, so many bytes that are not answered yet."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._open: set[Upload] = set()
        self.refused = 0

    def begin(self, client: str, most_bytes: int) -> Upload:
        """One more, of at most so many bytes. Raises Refused (503)."""
        of_client = sum(1 for upload in self._open if upload.client == client)
        if len(self._open) >= self._limits.uploads or of_client >= self._limits.uploads_per_client:
            self.refused += 1
            text = f'{len(self._open)} requests are being sent or worked on: try again'
            raise Refused(503, text, RETRY_S)
        upload = Upload(self, client, most_bytes, self._limits.upload_s, self._clock)
        self._open.add(upload)
        return upload

    def end(self, upload: Upload) -> None:
        """It is answered."""
        self._open.discard(upload)

    def check(self) -> None:
        """Raise Refused (503) where more has come in than may be kept at once."""
        if self.held > self._limits.uploads_in_all_bytes:
            self.refused += 1
            raise Refused(503, 'too many bytes are being sent at once: try again', RETRY_S)

    @property
    def held(self) -> int:
        """Bytes of requests that are not answered yet."""
        return sum(upload.received for upload in self._open)

    def summary(self) -> dict[str, int]:
        """What GET /api/status says of them."""
        return {'open': len(self._open), 'bytes': self.held, 'refused': self.refused}


class Upload:
    """One body on its way: counts its bytes and its time."""

    def __init__(
        self,
        uploads: Uploads,
        client: str,
        most_bytes: int,
        time_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._uploads = uploads
        self._most_bytes = most_bytes
        self._time_s = time_s
        self._clock = clock
        self._started_s = clock()
        self._whole = False
        self.client = client
        self.received = 0

    def bounded(self, receive: Receive) -> Receive:
        """A `receive` that raises Refused: 408 too slow, 413 too much, 503 too much in all."""

        async def receive_bounded() -> Message:
            if self._whole:  # what follows is the disconnect, for which one may wait
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._time_left_s())
            except asyncio.TimeoutError:
                raise Refused(408, 'the request took too long to arrive') from None
            self.received += len(message.get('body', b''))
            self._whole = not message.get('more_body', False)
            if self.received > self._most_bytes:
                raise too_many_bytes(self._most_bytes)
            self._uploads.check()
            return message

        return receive_bounded

    def _time_left_s(self) -> float:
        """For the next piece."""
        fair_s = FAIR_START_S + self.received / SLOWEST_BYTES_PER_S
        age_s = self._clock() - self._started_s
        return max(min(self._time_s, fair_s) - age_s, 0.001)


class BodyGuard:
    """The ASGI layer that refuses bodies: type (415), size (413), slowness (408), number (503)."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self.uploads = Uploads(limits)
        small = dataclasses.replace(limits, uploads=SMALL_BODIES, uploads_per_client=SMALL_BODIES)
        self._small = Uploads(small)
        keep_in_memory(limits.upload_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            most_bytes = self._allowed(scope)
            small = most_bytes <= self._limits.json_bytes
            uploads = self._small if small else self.uploads
            if scope['method'] in ('GET', 'HEAD') and not announces_a_body(scope):
                await self._app(scope, receive, watched)
                return
            upload = uploads.begin(counted_as((scope.get('client') or ('',))[0]), most_bytes)
            try:
                await self._app(scope, upload.bounded(receive), watched)
            finally:
                uploads.end(upload)
        except Refused as refusal:
            if started:
                raise
            await refusal.response()(scope, receive, send)

    def _allowed(self, scope: Scope) -> int:
        """How many bytes this request may bring. Raises Refused."""
        wanted = TAKEN.get(scope['path']) if scope['method'] == 'POST' else None
        if wanted is None:
            return self._limits.json_bytes
        headers = Headers(scope=scope)
        given = headers.get('content-type', '').partition(';')[0].strip().lower()
        if given != wanted:
            raise Refused(415, f'the content type is {given[:60] or "missing"}: send {wanted}')
        most = self._limits.upload_bytes if wanted == MULTIPART else self._limits.json_bytes
        length = headers.get('content-length', '0')
        if length.isdecimal() and int(length[:20]) > most:
            raise too_many_bytes(most)
        return most


def announces_a_body(scope: Scope) -> bool:
    """Whether a body follows the header of a request (RFC 9112, 6.3)."""
    headers = Headers(scope=scope)
    return headers.get('content-length', '0') != '0' or 'transfer-encoding' in headers


def too_many_bytes(most: int) -> Refused:
    """The refusal of a request that is too large."""
    return Refused(413, f'at most {most} bytes are taken: send a smaller picture')


def keep_in_memory(most_bytes: int) -> None:
    """Have Starlette keep what is uploaded, of no more than so many bytes, out of the disk."""
    for name in ('spool_max_size', 'max_file_size'):  # its newer and its older name
        if getattr(MultiPartParser, name, most_bytes + 1) <= most_bytes:
            setattr(MultiPartParser, name, most_bytes + 1)
