"""The page and its parts, read once from the package; no request reaches the file system."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response

import midas_depth_ros
from midas_depth_ros.web.errors import Refused

STATIC = Path(__file__).parent / 'static'
SAMPLES = Path(midas_depth_ros.__file__).parent / 'assets' / 'samples'
# Not left to the machine: some map .js to text/plain.
TYPES = {
    '.html': 'text/html; charset=utf-8',
    '.css': 'text/css; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.svg': 'image/svg+xml',
    '.jpg': 'image/jpeg',
}


@dataclasses.dataclass(frozen=True)
class Asset:
    """One file of the page."""

    data: bytes
    media_type: str
    tag: str


def read_assets() -> dict[str, Asset]:
    """Every file of the page by its name, and the sample pictures as `samples/<name>`."""
    found = {path.name: _asset(path) for path in STATIC.iterdir() if path.suffix in TYPES}
    samples = {f'samples/{path.name}': _asset(path) for path in sorted(SAMPLES.glob('*.jpg'))}
    return {**found, **samples}


def _asset(path: Path) -> Asset:
    data = path.read_bytes()
    return Asset(data, TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')


def answer(assets: dict[str, Asset], name: str, request: Request) -> Response:
    """The file of this name. Raises Refused (404)."""
    asset = assets.get(name)
    if asset is None:
        raise Refused(404, 'there is no such file')
    headers = {'ETag': asset.tag, 'Cache-Control': 'no-cache'}
    if request.headers.get('if-none-match') == asset.tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.data, media_type=asset.media_type, headers=headers)
