"""Scale and shift from markers of known size, AprilTag or ArUco, in the picture.

In: a grey picture, its camera, and relative inverse depth. Each marker's distance follows from its
four corners. Two markers at different distances give scale and shift; one gives the scale, and the
shift is as uncertain as the distance of the farthest thing in view.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np

from midas_depth_ros.geometry.camera_model import NO_DISTORTION, CameraModel, undistort
from midas_depth_ros.geometry.fitting import GeometryError, Grid, checked
from midas_depth_ros.geometry.reference import FAR_PERCENTILE, MIN_SPREAD
from midas_depth_ros.geometry.scale import Refusal, ScaleShift
from midas_depth_ros.options.metric import MarkerOptions

MOST_PIXELS = 1280 * 960  # of the picture that is searched; a larger one is reduced
ADVICE = (
    'this needs OpenCV with cv2.aruco: install python3-opencv (apt), opencv-python-headless 4.7 or '
    'later, or opencv-contrib-python-headless, or choose another scale.source'
)
# How well a corner is located at best, in pixels, and as a share of the width of its edges.
CORNER_PX, CORNER_BY_EDGE = 0.1, 0.1
LENS_PX = 0.05  # how closely an undistorted corner must map back to itself
# Limits. Sides in pixels; a cell is the narrowest part of a marker that is black all over.
MIN_SIDE_PX, MIN_CELLS = 12.0, 12
MAX_EDGE = 1.0  # width of its edges, in cells: a blurred marker
MAX_SIGMA = 0.05  # of a distance, as a share of it
INNER = 0.8  # the part of the square that is compared: depth is smeared along its edges
# Of a network's 1/Z at one place, as a share: networks misjudge boards with markers more than the
# rest. Chosen on places 9000 to 9039 of `benchmarks.markers`, through the embedded model.
NETWORK_SIGMA = 0.2
MAX_OFF = 2.5  # of a marker from the fit, in deviations
MIN_CONTRAST = 0.1  # how much nearer than the farthest one must be, of all there is in d
MAX_BEYOND = 0.08  # 1/Z below 0 of the farthest, as a share of the nearest marker's
EDGE_SAMPLES, EDGE_PLACES = 17, np.linspace(0.1, 0.9, 13)  # across and along a side
EDGE_REACH, MAX_REACH_PX = 0.9, 6.0  # how far to look across it: in cells of the marker, in pixels
EDGE_ROUNDS = 2
MOST_NAMED = 5  # markers in a text
MIN_GREY = 20.0  # between black and white, of 255


class MarkerError(GeometryError, ValueError):
    """A marker dictionary that this OpenCV does not have."""


@dataclasses.dataclass(frozen=True)
class Marker:
    """A marker in a picture: its number and its (4, 2) float64 corners in pixels.

    Pixel centres are at whole numbers; the corners go around the black square, from the one that is
    top left on the print.
    """

    number: int
    corners: np.ndarray

    @property
    def side_px(self) -> float:
        """The mean length of the four sides."""
        return float(np.linalg.norm(np.roll(self.corners, -1, 0) - self.corners, axis=1).mean())


@dataclasses.dataclass(frozen=True)
class MarkerPose:
    """The plane of a marker: 1/Z = plane . (x', y', 1) in 1/m.

    z_m: of its middle. sigma: standard deviation of its 1/Z as a share of it.
    """

    marker: Marker
    plane: np.ndarray
    z_m: float
    sigma: float


class MarkerDetector:
    """Finds the markers of one dictionary, by OpenCV. Raises `MarkerError`."""

    def __init__(self, dictionary: str = MarkerOptions.dictionary) -> None:
        self.dictionary = dictionary
        aruco = getattr(cv2, 'aruco', None)
        number = getattr(aruco, dictionary, None)
        if aruco is None or number is None:
            what = 'no cv2.aruco' if aruco is None else f'no {dictionary}'
            raise MarkerError(f'OpenCV {cv2.__version__} has {what}: {ADVICE}')
        table = aruco.getPredefinedDictionary(number)
        self.cells = int(table.markerSize) + 2  # along a side, with the black border
        # OpenCV 4.6 and earlier crash on parameters that were made as those of 4.7 are.
        create = getattr(aruco, 'DetectorParameters_create', aruco.DetectorParameters)
        parameters = create()
        if hasattr(aruco, 'ArucoDetector'):
            self._detect: Any = aruco.ArucoDetector(table, parameters).detectMarkers
        else:
            self._detect = lambda grey: aruco.detectMarkers(grey, table, parameters=parameters)

    def find(self, grey: np.ndarray) -> list[Marker]:
        """Return the markers in an (H, W) uint8 picture."""
        corners, numbers, _ = self._detect(np.ascontiguousarray(grey))
        found = [] if numbers is None else np.asarray(numbers).reshape(-1).tolist()
        return [
            Marker(number, np.asarray(four, np.float64).reshape(4, 2))
            for number, four in zip(found, corners, strict=True)
        ]


class MarkerScale:
    """The scale of one camera by markers, frame by frame. Raises `MarkerError`."""

    def __init__(self, dictionary: str = MarkerOptions.dictionary) -> None:
        self._detector = MarkerDetector(dictionary)
        self._seen = ''

    def update(
        self,
        picture: np.ndarray,
        d: np.ndarray,
        grid: Grid,
        camera: CameraModel,
        options: MarkerOptions,
        *,
        proportional: bool = False,
    ) -> ScaleShift | Refusal:
        """Return scale and shift of one frame, or why there are none.

        picture: (H, W, 3) uint8 RGB or (H, W) grey. d: (h, w) float32 relative inverse depth, NaN
        unknown; grid: its `CameraModel.normalised_grid`. camera: of pictures of that size.
        proportional: the shift is 0 (`Output.proportional`). Raises `InvalidInverseDepth`.
        """
        d = checked(d, grid)
        seen: list[MarkerPose] = []
        found = self._fitted(picture, d, grid, camera, options, proportional, seen)
        # All at once: diagnostics may be asked for from another thread.
        self._seen = ', '.join(
            f'{each.marker.number} at {each.z_m:.2f} m (+- {each.sigma * each.z_m:.2f})'
            for each in seen[:MOST_NAMED]
        )
        return found

    def _fitted(
        self,
        picture: np.ndarray,
        d: np.ndarray,
        grid: Grid,
        camera: CameraModel,
        options: MarkerOptions,
        proportional: bool,
        seen: list[MarkerPose],
    ) -> ScaleShift | Refusal:
        """As `update`; adds the markers whose distance is known to `seen`."""
        if not options.size > 0:
            return Refusal('marker.size is not set')
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
        factor = math.sqrt(MOST_PIXELS / grey.size)
        if factor < 1:
            size = round(grey.shape[1] * factor), round(grey.shape[0] * factor)
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
            camera = camera.scaled(*size)
        found = self._detector.find(grey)
        if not found:
            return Refusal(f'no marker of {self._detector.dictionary} is seen')
        chosen = [each for each in found if options.id in (-1, each.number)]
        if not chosen:
            numbers = ', '.join(str(each.number) for each in found[:MOST_NAMED])
            return Refusal(f'marker {options.id} is not seen, only {numbers}')
        cells = self._detector.cells
        poses = [marker_pose(each, grey, camera, options.size, cells) for each in chosen]
        good = [each for each in poses if isinstance(each, MarkerPose)]
        seen += good
        if not good:
            return next(each for each in poses if isinstance(each, Refusal))
        return fit_markers(d, grid, good, grey.shape, proportional=proportional)

    def values(self) -> dict[str, str]:
        """What there is to know of the last frame, for diagnostics."""
        return {'markers': self._seen or 'none'}


def marker_pose(
    marker: Marker, grey: np.ndarray, camera: CameraModel, size_m: float, cells: int
) -> MarkerPose | Refusal:
    """Return where a marker is, or why its distance cannot be told.

    grey: (H, W) uint8; camera: of pictures of its size; cells: of the marker along a side, with the
    border.
    """
    name = f'marker {marker.number}'
    side = marker.side_px
    if side < MIN_SIDE_PX:
        return Refusal(f'{name} is too small: {side:.0f} pixels, {MIN_SIDE_PX:.0f} are needed')
    edges = find_edges(grey, marker.corners, cells)
    if not edges.contrast >= MIN_GREY:
        return Refusal(f'{name} has hardly any contrast: {edges.contrast:.0f} of 255 grey levels')
    if not edges.width_px <= MAX_EDGE * side / cells:
        return Refusal(f'{name} is blurred: its edges are {edges.width_px:.0f} pixels wide')
    corners = _normalised_corners(edges, camera)
    if corners is None:
        return Refusal(f'{name} is where the lens model has no inverse')
    focal = math.sqrt(camera.fx * camera.fy)
    corner_sigma = max(CORNER_PX, CORNER_BY_EDGE * edges.width_px) / focal
    found = _planes(corners, size_m, corner_sigma)
    if not found:
        return Refusal(f'{name} is seen at an angle at which its distance cannot be told')
    plane, z_m, sigma = found[0]
    if not sigma <= MAX_SIGMA:
        return Refusal(
            f'{name} is too small or too oblique: its {z_m:.2f} m are known to {sigma:.0%}, '
            f'{MAX_SIGMA:.0%} are needed'
        )
    return MarkerPose(marker, plane, z_m, sigma)


def fit_markers(
    d: np.ndarray,
    grid: Grid,
    poses: list[MarkerPose],
    picture_shape: tuple[int, ...],
    *,
    proportional: bool = False,
) -> ScaleShift | Refusal:
    """Return scale and shift with their covariance from markers of known distance, or a `Refusal`.

    d: (h, w) with its `grid`; picture_shape: (H, W) of the picture that the markers are in. Each
    marker counts once, by the means of d and of 1/Z over its square. Markers at similar distances
    give no shift. Unless it is known to be 0 (`proportional`), the farthest part of the picture
    then takes part, at 1/Z = 0 with a deviation of half the nearest marker's 1/Z: two deviations
    reach from infinitely far to the marker.
    """
    known = d[np.isfinite(d)]
    if not known.size:
        return Refusal('the depth has no valid values')
    means = [_means(d, grid, each, picture_shape) for each in poses]
    rows = np.array([each for each in means if each is not None])
    if not len(rows):
        return Refusal(
            f'marker {poses[0].marker.number} is too small for the network: it covers fewer than '
            f'{MIN_CELLS} pixels of its depth'
        )
    value, inverse, sigma, scatter = rows.T
    if proportional:
        fit = _least_squares(value[:, None], inverse, sigma)
        line = None if fit is None else (fit[0][0], 0.0, (float(fit[1][0, 0]), 0.0, 0.0))
    else:
        far, near = np.percentile(known, (FAR_PERCENTILE, 100 - FAR_PERCENTILE))
        apart = inverse.max() >= (1 + MIN_SPREAD) * inverse.min()
        if not apart and not value.max() - far > MIN_CONTRAST * (near - far):
            return Refusal(
                'the markers are among the farthest things in view: how far the rest is does not '
                'follow from them'
            )
        line = _line(value - far, inverse, sigma, float(far), apart)
    if line is None or not (math.isfinite(line[0]) and line[0] > 0):
        return Refusal('the markers disagree with the depth that farther is less')
    scale, shift, covariance = line
    if scale * np.percentile(known, FAR_PERCENTILE) + shift < -MAX_BEYOND * inverse.max():
        return Refusal(
            'the markers put other things farther than infinitely far: are all of them as large as '
            'marker.size says?'
        )
    off = np.abs(scale * value + shift - inverse)
    if (off > MAX_OFF * sigma).any():
        worst = int(np.argmax(off / inverse))
        return Refusal(
            f'the markers disagree: one at {1 / inverse[worst]:.2f} m would be '
            f'{1 / max(scale * value[worst] + shift, 1e-3):.2f} m away'
        )
    residual = float(np.sqrt(np.mean(off**2 + (scale * scatter) ** 2)))
    return ScaleShift(
        float(scale), float(shift), 'marker', 1.0, residual, len(rows), covariance=covariance
    )


def _line(
    value: np.ndarray, inverse: np.ndarray, sigma: np.ndarray, far: float, apart: bool
) -> tuple[float, float, tuple[float, float, float]] | None:
    """Scale, shift and covariance in d; `value` is d less `far`, the d of the farthest.

    apart: the markers give both by themselves.
    """
    if not apart:
        value, inverse = np.append(value, 0.0), np.append(inverse, 0.0)
        sigma = np.append(sigma, 0.5 * inverse.max())
    fit = _least_squares(np.stack([value, np.ones(len(value))], axis=1), inverse, sigma)
    if fit is None:
        return None
    (scale, offset), covariance = fit
    back = np.array([[1.0, 0.0], [-far, 1.0]])  # the shift at d = 0, not at the farthest
    covariance = back @ covariance @ back.T
    return (
        float(scale),
        float(offset - scale * far),
        (float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])),
    )


def _least_squares(
    columns: np.ndarray, inverse: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Weighted least squares and its covariance; enlarged where the residuals exceed `sigma`."""
    weighted = columns / sigma[:, None]
    normal = weighted.T @ weighted
    if not np.linalg.cond(normal) < 1e12:
        return None
    covariance = np.linalg.inv(normal)
    solution = covariance @ (weighted.T @ (inverse / sigma))
    spare = len(inverse) - columns.shape[1]
    if spare > 0:
        excess = float((((columns @ solution - inverse) / sigma) ** 2).sum()) / spare
        covariance = covariance * max(1.0, excess)
    return solution, covariance


def _means(
    d: np.ndarray, grid: Grid, pose: MarkerPose, picture_shape: tuple[int, ...]
) -> tuple[float, float, float, float] | None:
    """Over the marker's square: means of d and 1/Z, sigma of 1/Z, scatter of d about the plane."""
    height, width = d.shape
    middle = pose.marker.corners.mean(axis=0)
    corners = middle + INNER * (pose.marker.corners - middle)
    corners = (corners + 0.5) * (width / picture_shape[1], height / picture_shape[0]) - 0.5
    mask = np.zeros(d.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), 1, shift=4)
    inside = mask.astype(bool) & np.isfinite(d) & np.isfinite(grid[0])
    if np.count_nonzero(inside) < MIN_CELLS or 2 * np.count_nonzero(inside) < mask.sum():
        return None
    value = d[inside].astype(np.float64)
    x, y = grid[0][inside].astype(np.float64), grid[1][inside].astype(np.float64)
    inverse = float((pose.plane[0] * x + pose.plane[1] * y + pose.plane[2]).mean())
    if not inverse > 0:
        return None
    sigma = inverse * math.hypot(pose.sigma, NETWORK_SIGMA)
    return float(value.mean()), inverse, sigma, float(value.std())


def _normalised_corners(edges: Edges, camera: CameraModel) -> np.ndarray | None:
    """(4, 2) undistorted normalised coordinates; None where the lens model has no inverse.

    The sides are undistorted first: only then are they straight.
    """
    x = (edges.points[..., 0] - camera.cx) / camera.fx
    y = (edges.points[..., 1] - camera.cy) / camera.fy
    if camera.distortion_model not in NO_DISTORTION:
        tolerance = LENS_PX / max(camera.fx, camera.fy)
        x, y = undistort(x, y, camera.distortion_model, camera.distortion, tolerance)
    sides = np.stack([x, y], axis=-1)
    return corners_of(sides) if np.isfinite(sides).all() else None


def _planes(
    corners: np.ndarray, size_m: float, corner_sigma: float
) -> list[tuple[np.ndarray, float, float]]:
    """The plane, Z and relative sigma of 1/Z of the pose that fits best; [] without one.

    A small square looks nearly the same when it is tilted the other way. Where that pose fits
    nearly as well, half of the difference in Z counts as a deviation, too.
    """
    half = size_m / 2
    square = np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])
    identity = np.eye(3)
    try:
        _, turns, places, errors = cv2.solvePnPGeneric(
            square, corners[:, None], identity, None, flags=cv2.SOLVEPNP_IPPE_SQUARE
        )
    except cv2.error:
        return []
    poses = []
    for turn, place, error in zip(turns, places, np.ravel(errors), strict=True):
        turn, place = cv2.solvePnPRefineLM(
            square, corners[:, None], identity, None, turn.copy(), place.copy()
        )
        projected, jacobian = cv2.projectPoints(square, turn, place, identity, None)
        error = float(np.sqrt(np.mean((projected[:, 0] - corners) ** 2)))
        normal = cv2.Rodrigues(turn)[0][:, 2]
        distance = float(normal @ place.ravel())
        z_m = float(place.ravel()[2])
        if not (math.isfinite(z_m) and z_m > 0 and abs(distance) > 0):
            continue
        # Eight measured numbers and six unknowns: a residual is half the size of its cause.
        spread = max(corner_sigma, 2 * error)
        motion = jacobian[:, :6]
        try:
            covariance = np.linalg.inv(motion.T @ motion) * spread**2
        except np.linalg.LinAlgError:
            continue
        sigma = math.sqrt(covariance[5, 5]) / z_m
        poses.append((error, normal / distance, z_m, sigma))
    poses.sort(key=lambda pose: pose[0])
    if not poses:
        return []
    error, plane, z_m, sigma = poses[0]
    for other in poses[1:]:
        if other[0] < error + 2 * corner_sigma:
            sigma = math.hypot(sigma, 0.5 * abs(other[2] / z_m - 1))
    return [(plane, z_m, sigma)]


@dataclasses.dataclass(frozen=True)
class Edges:
    """The four sides of a marker, where its brightness changes.

    points: (4, n, 2) float64 pixels. width_px: how wide the change is, by the contrast and the
    steepest slope, of the two opposite sides that are blurred most: a moving camera blurs the edges
    across its motion only. contrast: of white and black, in grey levels.
    """

    points: np.ndarray
    width_px: float
    contrast: float


def find_edges(grey: np.ndarray, corners: np.ndarray, cells: int) -> Edges:
    """Return the edges of the black square with about these (4, 2) corners in pixels.

    OpenCV's corners lie on the outermost black pixels, half a pixel inside: a square of 30 pixels
    would be 2 % too far. Here an edge is where the blurred step has its middle.
    """
    for _ in range(EDGE_ROUNDS):
        side = np.roll(corners, -1, axis=0) - corners
        length = np.linalg.norm(side, axis=1)
        outward = np.stack([side[:, 1], -side[:, 0]], axis=1) / np.maximum(length, 1e-9)[:, None]
        turned_in = ((corners + 0.5 * side - corners.mean(axis=0)) * outward).sum(axis=1) < 0
        outward[turned_in] *= -1
        reach = np.clip(EDGE_REACH * length / cells, 1.0, MAX_REACH_PX)
        along = reach[:, None] * np.linspace(-1, 1, EDGE_SAMPLES)  # (4, k)
        places = corners[:, None] + EDGE_PLACES[:, None] * side[:, None]  # (4, n, 2)
        points = places[:, :, None] + along[:, None, :, None] * outward[:, None, None]
        brightness = cv2.remap(
            grey,
            points[..., 0].reshape(4, -1).astype(np.float32),
            points[..., 1].reshape(4, -1).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        profile = brightness.reshape(points.shape[:3]).astype(np.float64)
        black, white = profile[..., :3].mean(axis=2), profile[..., -3:].mean(axis=2)
        contrast = np.maximum(white - black, 1.0)
        share = np.clip((profile - black[..., None]) / contrast[..., None], 0, 1)
        at = reach[:, None] * (1 - 2 * (share[..., 1:] + share[..., :-1]).mean(axis=2) / 2)
        points = places + at[..., None] * outward[:, None]
        found = corners_of(points)
        if found is None:
            return Edges(points, math.inf, 0.0)
        corners = found
    slope = np.diff(profile, axis=2).max(axis=2) * (EDGE_SAMPLES - 1) / (2 * reach[:, None])
    with np.errstate(divide='ignore', invalid='ignore'):
        width = np.median(np.where(slope > 0, contrast / slope, np.inf), axis=1)
    blurred = max(min(width[0], width[2]), min(width[1], width[3]))
    return Edges(points, float(blurred), float(np.median(white - black)))


def corners_of(sides: np.ndarray) -> np.ndarray | None:
    """Return the (4, 2) corners between lines through (4, n, 2) points; None if two are parallel.

    Corner 0 is between the last side and the first.
    """
    middle = sides.mean(axis=1)
    _, _, axes = np.linalg.svd(sides - middle[:, None], full_matrices=False)
    normal = axes[:, 1]
    level = (normal * middle).sum(axis=1)
    corners = []
    for first, second in ((3, 0), (0, 1), (1, 2), (2, 3)):
        pair = normal[[first, second]]
        if abs(np.linalg.det(pair)) < 1e-3:
            return None
        corners.append(np.linalg.solve(pair, level[[first, second]]))
    return np.array(corners)
