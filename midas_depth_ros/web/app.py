"""The web application, wired: pages, pictures, robot, and the layers that guard them.

Everything comes in as an argument, so that tests hand in an estimator whose answers can be worked
out by hand, and a robot that is absent.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import ASGIApp

import midas_depth_ros
from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.options.declarations import spec_of, specs
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views import COLORMAPS, colour_table
from midas_depth_ros.web.access import Access, AccessGuard, BodyGuard
from midas_depth_ros.web.errors import Faults, Refused, add_handlers, documented
from midas_depth_ros.web.feed import Feed
from midas_depth_ros.web.limits import Jobs, Limits
from midas_depth_ros.web.picture_routes import picture_router
from midas_depth_ros.web.pictures import PictureDepth
from midas_depth_ros.web.robot_routes import NoRobot, Robot, robot_router

# --- The page and its parts, read once from the package; no request reaches the file system.

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


# Pictures of cameras become JPEGs beside those that people send, and neither waits for the other.
ENCODERS, ENCODER_S, WAITING_ENCODINGS = 2, 5.0, 64
DESCRIPTION = 'Monocular depth: of pictures that are sent, and of what the robot sees.'


class Dashboard:
    """The guarded application (`asgi`), the inner one (`app`) and what it holds."""

    def __init__(
        self,
        make_estimator: Callable[[], DepthEstimator],
        feed: Feed | None = None,
        robot: Robot | None = None,
        access: Access | None = None,
        limits: Limits | None = None,
        faults: Faults | None = None,
        connections: Callable[[], dict[str, int]] = dict,
    ) -> None:
        limits = limits or Limits()
        robot = robot or NoRobot()
        faults = faults or Faults()
        access = access or Access.of('127.0.0.1')
        self.feed = feed or Feed()
        self.pictures = PictureDepth(make_estimator, limits)
        self._jobs = Jobs(limits, on_hung=self.pictures.start_anew)
        quick = dataclasses.replace(limits, job_s=ENCODER_S, waiting_jobs=WAITING_ENCODINGS)
        self._encoders = Jobs(quick, ENCODERS, 'encoders')
        self.app = FastAPI(
            title='midas_depth_ros dashboard',
            version=midas_depth_ros.__version__,
            description=DESCRIPTION,
            docs_url=None,  # their pages load scripts from elsewhere
            redoc_url=None,
            servers=[{'url': access.root_path}] if access.root_path else None,
        )
        add_handlers(self.app)
        self.app.include_router(picture_router(self.pictures, self._jobs, limits, access.root_path))
        self.app.include_router(robot_router(self.feed, robot, self._encoders, limits))
        bodies = BodyGuard(self.app, limits)
        _add_pages(self.app, limits)

        def status() -> dict[str, Any]:
            return {
                'robot': robot.summary(),
                'pictures': self._jobs.summary(),
                'encoders': self._encoders.summary(),
                'uploads': bodies.uploads.summary(),
                'connections': connections(),
                'viewers': self.feed.viewers,
                'faults': faults.summary(),
            }

        _add_status(self.app, status)
        self.asgi: ASGIApp = AccessGuard(bodies, access, limits)

    def close(self) -> bool:
        """End the threads and free the model; False where a job hangs and keeps it."""
        self._jobs.close()
        self._encoders.close()
        return self.pictures.close()


def palette(colormap: str) -> list[str]:
    """Some colours of a colour map from far to near, as a style sheet writes them."""
    table = colour_table(colormap)
    return [f'#{bytes(table[i]).hex()}' for i in range(0, 256, 15)]


def _add_status(app: FastAPI, status: Callable[[], dict[str, Any]]) -> None:
    @app.get('/api/status', summary='State of the dashboard itself', responses=documented())
    async def show_status() -> dict[str, Any]:
        return status()


def _add_pages(app: FastAPI, limits: Limits) -> None:
    files = read_assets()

    @app.get('/', include_in_schema=False)
    async def page(request: Request) -> Response:
        return answer(files, 'index.html', request)

    @app.get('/static/{name:path}', include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return answer(files, name, request)

    @app.get('/favicon.ico', include_in_schema=False)
    async def icon(request: Request) -> Response:
        return answer(files, 'icon.svg', request)

    @app.get('/api/about', summary='Version, limits and choices', responses=documented())
    async def about() -> dict[str, Any]:
        return {
            'version': midas_depth_ros.__version__,
            'upload_bytes': limits.upload_bytes,
            'pixels': limits.pixels,
            'colormaps': list(COLORMAPS),
            'palettes': {name: palette(name) for name in COLORMAPS},
            'mappings': list(spec_of(HeatmapOptions, 'mapping').choices),
            'bounds': {
                spec.name: [spec.minimum, spec.maximum]
                for spec in specs(HeatmapOptions)
                if spec.minimum is not None
            },
            'samples': sorted(name for name in files if name.startswith('samples/')),
        }
