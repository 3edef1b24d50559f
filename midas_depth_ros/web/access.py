"""Access to the dashboard: host names, origins, tokens and security headers; and request bodies.

Two ASGI layers around the app. `AccessGuard` refuses requests under a foreign host name (DNS
rebinding), from pages of other sites, and, if a token is set, without it; it also strips the path
under which a reverse proxy serves the dashboard. `BodyGuard` limits request bodies.
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
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartParser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Limits, Rate, client_of, is_local, origin_of

COOKIE = 'midas_depth_dashboard'
LOCAL_NAMES = ('localhost', '127.0.0.1', '::1')
MOST_COOKIES = 8  # of our name, in one request
MOST_FIELDS = 20  # in a query
MOST_TRUSTED = 256  # clients that are remembered
MOST_OLD_COOKIES = 256  # that are remembered
INVALID_TOKEN = (
    'the token is missing or invalid: open the address that the dashboard printed, or '
    'send it as "Authorization: Bearer TOKEN"'
)
SAFE_METHODS = ('GET', 'HEAD', 'OPTIONS')
CONTENT_SECURITY_POLICY = (
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
    """Who may access a dashboard: under which host names, and with which token ('' = none).

    origins, root_path: where a reverse proxy serves it, as `origin_of` and `root_path_of` return.
    """

    names: frozenset[str]
    any_address: bool = False  # any IP address is a valid host: it cannot be rebound
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
        """Return the access rules of a server that listens on `host`. Raises ValueError.

        further: more host names. Those of `origins` are known as well.
        """
        ours = frozenset(map(origin_of, origins))
        of_origins = {str(urlsplit(origin).hostname) for origin in ours}
        names = {*LOCAL_NAMES, host.lower(), *(name.lower() for name in further), *of_origins}
        beyond = not is_local(host)
        if beyond:
            own = socket.gethostname().lower()
            names |= {own, f'{own}.local', f'{own}.lan'}
        return cls(frozenset(names), beyond, token, ours, root_path_of(root_path))

    def knows_host(self, authority: str) -> bool:
        """Return whether a Host header (name or address, with or without port) is valid."""
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
        """Return whether an Origin header is that of the dashboard's own page.

        host: the Host header of the request, already checked.
        """
        return host_of_origin(origin) == host.lower() or origin.lower() in self.origins

    def websocket_sources(self, host: str) -> str:
        """Return where the page may open a WebSocket, for the content security policy."""
        hosts = [host if self.knows_host(host) else 'localhost']
        hosts += sorted(host_of_origin(origin) for origin in self.origins)
        return ' '.join(f'ws://{each} wss://{each}' for each in dict.fromkeys(hosts))

    @property
    def cookie_value(self) -> str:
        """The cookie's content: it proves the token without containing it."""
        return hashlib.sha256(b'midas_depth dashboard ' + self.token_bytes).hexdigest()

    @property
    def token_bytes(self) -> bytes:
        """The token as bytes; an environment variable need not be valid UTF-8."""
        return self.token.encode('utf-8', 'surrogateescape')

    def has_valid_token(self, headers: Headers) -> bool:
        """Return whether a request has the token, as bearer or as cookie."""
        bearers, cookies = tokens_in_headers(headers)
        # All are compared, so that timing reveals nothing.
        good = [_same(given, self.token_bytes) for given in bearers]
        good += [_same(given, self.cookie_value.encode()) for given in cookies]
        return any(good)


def root_path_of(text: str) -> str:
    """Normalize the path under which a reverse proxy serves us (`/robots/1`). Raises ValueError."""
    path = text.strip('/')
    parts = path.split('/') if path else []
    if any(part in ('.', '..') or not re.fullmatch(r'[A-Za-z0-9._~-]+', part) for part in parts):
        raise ValueError(
            f'{text!r} is not a valid path: use letters, digits, ".", "_", "~" and "-" between '
            'slashes, such as /robots/1'
        )
    return f'/{path}' if path else ''


def tokens_in_headers(headers: Headers) -> tuple[list[bytes], list[bytes]]:
    """Return a request's bearer tokens, and its cookies of our name, of which there may be several.

    Parsed by hand: other programs under this host name set cookies too, and a malformed one must
    not hide ours.
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


def token_in_query(query: bytes) -> bytes:
    """Return the token in a query string; empty if there is none."""
    try:
        found = parse_qs(
            query.decode('latin-1'), errors='surrogateescape', max_num_fields=MOST_FIELDS
        )
    except ValueError:
        return b''
    return found.get('token', [''])[0].encode('utf-8', 'surrogateescape')


def _same(given: bytes, wanted: bytes) -> bool:
    # Digests are of equal length, whatever that of the token is.
    digests = (hashlib.sha256(each).digest() for each in (given, wanted))
    return hmac.compare_digest(*digests)


class TokenGuesses:
    """Counts invalid tokens, per client and in total; a client with too many is refused.

    Clients that recently sent the right token are exempt from the total, so that guessing from
    many addresses cannot lock them out.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = Rate(limits.guesses_per_s, limits.guess_burst, clock)
        self._all = Rate(limits.guesses_in_all_per_s, limits.guess_burst_in_all, clock)
        self._trusted: dict[str, None] = {}  # the latest last
        self._old: dict[bytes, None] = {}  # digests of invalid cookies, the latest last

    def check(self, client: str) -> None:
        """Raise Refused (429) if this client has guessed too often."""
        self._own.check(client)
        if client not in self._trusted:
            self._all.check('')

    def count_invalid(self, client: str, cookies: Sequence[bytes] = ()) -> None:
        """Count an invalid token, and remember the cookies it came with. Raises Refused (429)."""
        self._own.take(client)
        self._all.take('')
        for each in cookies:
            self._old[hashlib.sha256(each).digest()] = None
        while len(self._old) > MOST_OLD_COOKIES:
            del self._old[next(iter(self._old))]

    def are_old(self, cookies: Sequence[bytes]) -> bool:
        """Return whether all these cookies were counted as invalid before.

        A page keeps sending that of an earlier token: it guesses nothing.
        """
        return all(hashlib.sha256(each).digest() in self._old for each in cookies)

    def trust(self, client: str) -> None:
        """Remember a client that sent the right token."""
        self._trusted.pop(client, None)
        self._trusted[client] = None
        while len(self._trusted) > MOST_TRUSTED:
            del self._trusted[next(iter(self._trusted))]


class AccessGuard:
    """The ASGI layer that enforces `Access` and adds security headers."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits | None = None) -> None:
        self._app = app
        self._access = access
        self._guesses = TokenGuesses(limits or Limits())

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
                # The page's links are relative, so its address must end with a slash.
                query = scope['query_string'].decode('latin-1')
                answer = RedirectResponse(f'{asked}/{f"?{query}" if query else ""}', 307)
                await answer(scope, receive, send)
                return
            is_page = scope['type'] == 'http' and scope['path'] == '/'
            if is_page and self._access.token and b'token=' in scope['query_string']:
                await self._give_cookie(scope, receive, send)
                return
            self._check_token(scope, headers)
        except Refused as refusal:
            await _refuse(refusal, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _below_root_path(self, scope: Scope) -> Scope:
        """Return the request without `root_path`, if the proxy has left that in."""
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
        # A proxy that uses our own name as Host must not hide the name it was called by.
        through = ','.join(headers.getlist('x-forwarded-host')).split(',')
        if not all(map(self._access.knows_host, [host, *filter(None, map(str.strip, through))])):
            raise Refused(
                421,
                'unknown host name: use the address of the dashboard, or start it with '
                '--allow-host NAME (behind a proxy: --allow-origin https://NAME)',
            )
        # Pages of other sites may not even read: what the robot sees is private.
        foreign = headers.get('sec-fetch-site') in ('cross-site', 'same-site')
        navigates = headers.get('sec-fetch-mode') == 'navigate' and scope['path'] == '/'
        if foreign and not navigates:
            raise Refused(403, 'this request comes from a page of another site')
        origin = headers.get('origin')
        writes = scope['type'] == 'websocket' or scope['method'] not in SAFE_METHODS
        if origin is not None and writes and not self._access.is_own_origin(origin, host):
            raise Refused(
                403,
                'this request comes from a page of another site: if that is this dashboard behind '
                'a proxy, start it with --allow-origin and the address of the proxy',
            )

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if not self._access.token:
            return
        bearers, cookies = tokens_in_headers(headers)
        right = self._access.has_valid_token(headers)
        # Asking without a token is not a guess, nor is sending an old cookie again.
        if not right and not bearers and (not cookies or self._guesses.are_old(cookies)):
            raise Refused(401, INVALID_TOKEN)
        self._judge(scope, right, cookies)

    def _judge(self, scope: Scope, right: bool, cookies: Sequence[bytes] = ()) -> None:
        """Raise Refused (401) for an invalid token, or (429) after too many of them."""
        client = client_of(scope)
        self._guesses.check(client)
        if not right:
            self._guesses.count_invalid(client, cookies)
            raise Refused(401, INVALID_TOKEN)
        self._guesses.trust(client)

    async def _give_cookie(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `/?token=...` with a cookie and a redirect to the address without the token."""
        self._judge(scope, _same(token_in_query(scope['query_string']), self._access.token_bytes))
        root = self._access.root_path
        answer = RedirectResponse(f'{root}/' if root else './', 303)
        # With the page's path, several dashboards under one host name keep their own cookies.
        answer.set_cookie(
            COOKIE,
            self._access.cookie_value,
            path=root or None,
            httponly=True,
            samesite='strict',
        )
        await answer(scope, receive, send)

    def _with_headers(self, send: Send, host: str) -> Send:
        policy = CONTENT_SECURITY_POLICY.format(sockets=self._access.websocket_sources(host))

        async def with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                headers['Content-Security-Policy'] = policy
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault('Cache-Control', 'no-store')
            await send(message)

        return with_headers


def host_of_origin(origin: str) -> str:
    """Return host and port of an Origin header, as in a Host header; '' if malformed."""
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


# --- Request bodies: the content type that a path takes, a limited size, and in time.
#
# Checked before anything is parsed. All uploads share one budget of number and bytes, which a
# request returns when it is answered. They stay in memory: files in the temporary folder would be
# one more thing to limit, on a disk that may be full.

MULTIPART, JSON = 'multipart/form-data', 'application/json'
# The paths that take a body.
BODY_TYPES = {'/api/predict': MULTIPART, '/api/parameters': JSON, '/api/enabled': JSON}
# A sender slower than this, after a grace period, is cut off: others could use its place.
SLOWEST_BYTES_PER_S, GRACE_S = 16 * 1024, 5.0
RETRY_S = 3
SMALL_BODIES = 64  # at once: the robot can be paused while pictures are being uploaded


class Uploads:
    """The budget of request bodies: their number, and their bytes until they are answered."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.clock = limits, clock
        self._open: set[Upload] = set()
        self.refused = 0

    def begin(self, client: str, most_bytes: int) -> Upload:
        """Admit a body of at most `most_bytes`. Raises Refused (503)."""
        of_client = sum(1 for upload in self._open if upload.client == client)
        if len(self._open) >= self.limits.uploads or of_client >= self.limits.uploads_per_client:
            self.refused += 1
            text = f'{len(self._open)} requests are being sent or processed: try again'
            raise Refused(503, text, RETRY_S)
        upload = Upload(self, client, most_bytes)
        self._open.add(upload)
        return upload

    def end(self, upload: Upload) -> None:
        """Release a body whose request is answered."""
        self._open.discard(upload)

    def check(self) -> None:
        """Raise Refused (503) if more bytes have arrived than may be held at once."""
        if self.held > self.limits.uploads_in_all_bytes:
            self.refused += 1
            raise Refused(503, 'too many bytes are being sent at once: try again', RETRY_S)

    @property
    def held(self) -> int:
        """Bytes of requests not answered yet."""
        return sum(upload.received for upload in self._open)

    def summary(self) -> dict[str, int]:
        """Return them as GET /api/status reports them."""
        return {'open': len(self._open), 'bytes': self.held, 'refused': self.refused}


class Upload:
    """One request body: counts its bytes and its time."""

    def __init__(self, uploads: Uploads, client: str, most_bytes: int) -> None:
        self._uploads = uploads
        self._most_bytes = most_bytes
        self._started_s = uploads.clock()
        self._whole = False
        self.client = client
        self.received = 0

    def bounded(self, receive: Receive) -> Receive:
        """Wrap `receive`. Raises Refused: 408 too slow, 413 too large, 503 too much in total."""

        async def receive_bounded() -> Message:
            if self._whole:  # what follows is the disconnect, whenever it comes
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
        """Until the next piece has to arrive."""
        fair_s = GRACE_S + self.received / SLOWEST_BYTES_PER_S
        age_s = self._uploads.clock() - self._started_s
        return max(min(self._uploads.limits.upload_s, fair_s) - age_s, 0.001)


class BodyGuard:
    """The ASGI layer that refuses bodies: type (415), size (413), slowness (408), number (503)."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self.uploads = Uploads(limits)
        small = dataclasses.replace(limits, uploads=SMALL_BODIES, uploads_per_client=SMALL_BODIES)
        self._small = Uploads(small)
        keep_uploads_in_memory(limits.upload_bytes)

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
            if scope['method'] in ('GET', 'HEAD') and not has_body(scope):
                await self._app(scope, receive, watched)
                return
            upload = uploads.begin(client_of(scope), most_bytes)
            try:
                await self._app(scope, upload.bounded(receive), watched)
            finally:
                uploads.end(upload)
        except Refused as refusal:
            if started:
                raise
            await refusal.response()(scope, receive, send)

    def _allowed(self, scope: Scope) -> int:
        """Return how many bytes the body may have. Raises Refused."""
        wanted = BODY_TYPES.get(scope['path']) if scope['method'] == 'POST' else None
        if wanted is None:
            return self._limits.json_bytes
        headers = Headers(scope=scope)
        given = headers.get('content-type', '').partition(';')[0].strip().lower()
        if given != wanted:
            raise Refused(415, f'content type {given[:60] or "missing"}: send {wanted}')
        most = self._limits.upload_bytes if wanted == MULTIPART else self._limits.json_bytes
        length = headers.get('content-length', '0')
        if length.isdecimal() and int(length[:20]) > most:
            raise too_many_bytes(most)
        return most


def has_body(scope: Scope) -> bool:
    """Return whether a body follows the header of a request (RFC 9112, 6.3)."""
    headers = Headers(scope=scope)
    return headers.get('content-length', '0') != '0' or 'transfer-encoding' in headers


def too_many_bytes(most: int) -> Refused:
    """Return the error for a body that is too large."""
    return Refused(413, f'the limit is {most} bytes: send a smaller picture')


def keep_uploads_in_memory(most_bytes: int) -> None:
    """Make Starlette keep uploads of up to `most_bytes` in memory rather than on disk."""
    for name in ('spool_max_size', 'max_file_size'):  # the newer and the older name
        if getattr(MultiPartParser, name, most_bytes + 1) <= most_bytes:
            setattr(MultiPartParser, name, most_bytes + 1)
