"""How good a model is on real pictures with measured depth, how much it flickers, when it is blind.

Any model's name or weights file is scored beside baselines that see no picture.

    python -m benchmarks.model_quality real embedded midas_small --per-picture
    python -m benchmarks.model_quality sureness embedded
    python -m benchmarks.model_quality flicker embedded --drive FOLDER_OF_FRAMES
    python -m benchmarks.model_quality blindness embedded --write docs/blindness.md
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.performance_page import write_block
from midas_depth_ros.depth import DepthError, load_estimator
from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images import judge_picture
from midas_depth_ros.lab.speed.run import timed_in_turn
from midas_depth_ros.sim import Pose, moving_scene, render


@click.group()
def main() -> None:
    """How good a model is."""


# --- Real pictures: how well a model orders and scales depth, beside two baselines.
#
# Per picture: least squares of 1/Z on the prediction over the measured pixels (scale and shift),
# clamped to the measured range, then AbsRel and delta < 1.25; and, without a fit, the share of
# random pairs of pixels in the right order (pairs whose depths differ by more than a quarter).
# Printed per scene type, since a mean hides failures.

DEFAULT_DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'
PAIRS = 20_000
RATIO = 1.25
SCENE_TYPES = {'basement': 'indoor'}  # others are the first word of the scene

Floats = NDArray[np.floating[Any]]
Predictor = Callable[[NDArray[np.uint8], tuple[int, int]], Floats]


@dataclass(frozen=True)
class Item:
    """One picture with its measured inverse depth (H, W) in 1/m; 0 = not measured."""

    name: str
    scene_type: str
    rgb: NDArray[np.uint8]
    inverse_depth: Floats


@dataclass(frozen=True)
class Score:
    """AbsRel (less is better), share of pixels within 25 %, share of pairs in the right order."""

    abs_rel: float
    delta: float
    ordinal: float


def load_items(folder: Path) -> Iterator[Item]:
    """Yield the pictures of the manifest with metric depth."""
    for entry in json.loads((folder / 'MANIFEST.json').read_text()):
        if entry.get('category') != 'rgbd':
            continue
        raw = read_picture(folder / entry['depth'], cv2.IMREAD_UNCHANGED)
        inverse = inverse_depth(raw.astype(np.float64), entry)
        if inverse is None:
            continue
        bgr = read_picture(folder / entry['image'], cv2.IMREAD_COLOR)
        first_word = entry['scene'].split(':')[0]
        scene_type = SCENE_TYPES.get(first_word, first_word)
        yield Item(entry['id'], scene_type, bgr[..., ::-1].copy(), inverse)


def read_picture(path: Path, flags: int) -> NDArray[Any]:
    """Return a picture as OpenCV reads it. Raises ClickException."""
    picture: NDArray[Any] | None = cv2.imread(str(path), flags)
    if picture is None:
        raise click.ClickException(f'{path} is not a picture that OpenCV can read')
    return picture


def inverse_depth(raw: Floats, entry: dict[str, Any]) -> Floats | None:
    """Return the measured 1/Z in 1/m, 0 = none; None if scale and shift are unknown."""
    valid = raw != entry['invalid']
    value = raw / entry['scale']
    if entry['kind'] == 'disparity':
        camera = entry['intrinsics']
        if 'doffs_px' not in camera:
            return None
        return valid * (value + camera['doffs_px']) / (camera['fx'] * camera['baseline_m'])
    metres = value / {'depth_m': 1.0, 'depth_mm': 1000.0}[entry['kind']]
    return np.divide(1.0, metres, out=np.zeros_like(metres), where=valid)


def constant(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> Floats:
    """Return the baseline without information."""
    return np.zeros(shape)


def row_prior(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> Floats:
    """Return the baseline: lower in the picture is nearer."""
    return np.broadcast_to(np.linspace(0.0, 1.0, shape[0])[:, None], shape)


def predictor_of(model: str) -> Predictor:
    """Load a model. Raises ClickException."""
    try:
        estimator = load_estimator(model)
    except DepthError as error:
        raise click.ClickException(str(error)) from error
    if estimator.notice:
        click.echo(f'{model}: {estimator.notice}', err=True)
    return lambda rgb, shape: estimator.enlarge(estimator.infer(rgb), shape)


def score(prediction: Floats, item: Item) -> Score:
    """Compare a prediction (H, W) with the measurement of the same size."""
    valid = item.inverse_depth > 0
    truth, guess = item.inverse_depth[valid], prediction[valid].astype(np.float64)
    inverse = fitted(guess, truth, np.ones(guess.shape, bool))
    ratio = truth / np.clip(inverse, truth.min(), truth.max())  # of depths: fitted Z over true Z
    return Score(
        abs_rel=float(np.mean(np.abs(ratio - 1.0))),
        delta=float(np.mean(np.maximum(ratio, 1.0 / ratio) < RATIO)),
        ordinal=ordinal(guess, truth),
    )


def fitted(guess: np.ndarray, wanted: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the guess with the scale and shift that fit it to what is wanted, by least squares."""
    design = np.stack([guess[where], np.ones(int(where.sum()))], axis=1)
    scale, shift = np.linalg.lstsq(design, wanted[where], rcond=None)[0]
    return np.asarray(scale * guess + shift)


def ordinal(guess: Floats, truth: Floats) -> float:
    """Return the share of random pairs in the right order; a tie counts half.

    NaN where no pair's depths differ by a quarter.
    """
    pairs = np.random.default_rng(0).integers(0, truth.size, (2, PAIRS))
    first, second = truth[pairs]
    clear = np.maximum(first / second, second / first) > RATIO
    if not clear.any():
        return math.nan
    order = np.sign(guess[pairs[0]] - guess[pairs[1]])[clear]
    return float(np.mean(0.5 + 0.5 * order * np.sign(first - second)[clear]))


def mean(scores: list[Score]) -> Score:
    return Score(*np.mean([[s.abs_rel, s.delta, s.ordinal] for s in scores], axis=0))


def table_of(results: dict[str, dict[str, Score]], items: list[Item], per_picture: bool) -> Table:
    """Return one section per scene type (or picture), with one row per model."""
    groups = {item.name: [item.name] for item in items} if per_picture else {}
    for kind in dict.fromkeys(item.scene_type for item in items):
        names = [item.name for item in items if item.scene_type == kind]
        groups[f'{kind} ({len(names)})'] = names
    groups[f'all ({len(items)})'] = [item.name for item in items]
    table = Table('scene type (pictures)', 'model')
    for column in ('AbsRel', f'delta < {RATIO}', 'ordinal'):
        table.add_column(column, justify='right')
    for title, names in groups.items():
        for row, (model, scores) in enumerate(results.items()):
            values = mean([scores[name] for name in names])
            figures = (values.abs_rel, values.delta, values.ordinal)
            table.add_row('' if row else title, Path(model).name, *(f'{x:.3f}' for x in figures))
        table.add_section()
    return table


def data_folder(given: Path | None) -> Path:
    """Return the folder with MANIFEST.json. Raises ClickException where it is none."""
    folder = given or Path(os.environ.get('MIDAS_DEPTH_TEST_DATA', DEFAULT_DATA))
    if not (folder / 'MANIFEST.json').is_file():
        raise click.ClickException(f'no MANIFEST.json in {folder}: choose a folder with --data')
    return folder


@main.command()
@click.argument('models', nargs=-1)
@click.option('--data', type=click.Path(path_type=Path), help='Folder with MANIFEST.json.')
@click.option('--per-picture', is_flag=True, help='One more row for every picture.')
def real(models: tuple[str, ...], data: Path | None, per_picture: bool) -> None:
    """Score MODELS (default: embedded) beside the baselines."""
    folder = data_folder(data)
    items = list(load_items(folder))
    predictors: dict[str, Predictor] = {'constant': constant, 'row prior': row_prior}
    for model in models or ('embedded',):
        predictors[model] = predictor_of(model)
    results = {
        name: {
            item.name: score(predict(item.rgb, item.inverse_depth.shape), item) for item in items
        }
        for name, predict in predictors.items()
    }
    Console().print(table_of(results, items, per_picture))


# --- Whether a model knows where it is wrong, on the same pictures.
#
# The pixels of each picture are halved by the error that the model expects of 1/Z, as a share of
# 1/Z; with the fit of `score`, AbsRel is that of each half. What is far is off by a larger share in
# any case, so the picture is halved by distance alone, too: the model should do better than that.


def halves(surest_first: Floats, relative: Floats) -> tuple[float, float]:
    """Return the mean of `relative` over the half that comes first, and over the other."""
    order = np.argsort(surest_first, kind='stable')
    middle = len(order) // 2
    return float(relative[order[:middle]].mean()), float(relative[order[middle:]].mean())


def sureness_of(prediction: Floats, error: Floats, item: Item) -> dict[str, tuple[float, float]]:
    """Return AbsRel of the surest and of the least sure half, by the model and by distance alone.

    prediction, error: (H, W) as `item.inverse_depth`.
    """
    valid = item.inverse_depth > 0
    truth, guess = item.inverse_depth[valid], prediction[valid].astype(np.float64)
    design = np.stack([guess, np.ones(guess.shape)], axis=1)
    scale, shift = np.linalg.lstsq(design, truth, rcond=None)[0]
    inverse = np.clip(scale * guess + shift, truth.min(), truth.max())
    relative = np.abs(truth / inverse - 1)
    said = abs(scale) * error[valid].astype(np.float64) / inverse
    return {'by the model': halves(said, relative), 'by distance': halves(1 / inverse, relative)}


@main.command()
@click.argument('model', default='embedded')
@click.option('--data', type=click.Path(path_type=Path), help='Folder with MANIFEST.json.')
def sureness(model: str, data: Path | None) -> None:
    """Compare the surest half of each real picture with the least sure one."""
    folder = data_folder(data)
    estimator = load_estimator(model)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for item in load_items(folder):
        shape = item.inverse_depth.shape
        depth, error = estimator.infer_with_error(item.rgb)
        if error is None:
            raise click.ClickException(f'{model} does not say what error it expects')
        whole = estimator.enlarge(depth, shape), cv2.resize(error, shape[::-1])
        for kind in (item.scene_type, 'all'):
            for way, pair in sureness_of(*whole, item).items():
                found.setdefault(kind, {}).setdefault(way, []).append(pair)
    table = Table('scene type (pictures)', 'halved', 'surest AbsRel', 'least sure', 'ratio')
    for kind in (*(name for name in found if name != 'all'), 'all'):
        for way, pairs in found[kind].items():
            sure, other = np.mean(pairs, axis=0)
            figures = (f'{sure:.3f}', f'{other:.3f}', f'{sure / other:.2f}')
            table.add_row(f'{kind} ({len(pairs)})', way, *figures)
    Console().print(table)


# --- Flicker from frame to frame, beyond what motion explains.
#
# A robot drives through rendered corridors, so the correspondence of points between frames is
# known. Each prediction is fitted to its frame's true inverse depth by scale and shift; flicker is
# the change of a point's error from one frame to the next, in percent of the spread of true inverse
# depth (5th to 95th percentile).
#
# On real drives (a folder of frames) points are matched by optical flow, and the second prediction
# is fitted to the first; the figures then include the motion.

WIDTH, HEIGHT = 256, 192
SEEDS = (0, 1, 2, 3)
RATE_HZ, FRAMES = 10.0, 40
NOISE = 4.0  # grey levels of a camera's noise on rendered frames
SAME_DEPTH = 0.03  # relative tolerance of depth for the same point in the next frame
AGREE_PX, LEAST_MATCHED = 2.0, 0.05  # optical flow there and back; share of the picture


@dataclass(frozen=True)
class Frame:
    """A frame of a drive with its true depth and pose."""

    rgb: np.ndarray
    depth_z: np.ndarray
    pose: Pose


def drive(seed: int, camera: CameraModel) -> list[Frame]:
    """Return the frames of one corridor, with camera noise."""
    scene, rng = moving_scene(seed), np.random.default_rng(seed)
    frames = []
    for index in range(FRAMES):
        time_s, pose = index / RATE_HZ, scene.pose_at(index / RATE_HZ)
        rendering = render(scene.scene_at(time_s), camera, pose)
        noisy = rendering.rgb + rng.normal(0, NOISE, rendering.rgb.shape)
        rgb = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        frames.append(Frame(rgb, rendering.depth_z, pose))
    return frames


def carried(frame: Frame, following: Frame, camera: CameraModel) -> tuple[np.ndarray, ...]:
    """Return columns and rows (H, W) float32 of a frame's points in the next, and where valid."""
    x, y = camera.normalised_grid()
    points = np.stack([x, y, np.ones_like(x)], axis=-1) * frame.depth_z[..., np.newaxis]
    world = points @ frame.pose.optical_axes.T + frame.pose.position
    there = (world - following.pose.position) @ following.pose.optical_axes
    z = np.maximum(there[..., 2], 1e-3)
    columns = (camera.fx * there[..., 0] / z + camera.cx).astype(np.float32)
    rows = (camera.fy * there[..., 1] / z + camera.cy).astype(np.float32)
    found = cv2.remap(following.depth_z, columns, rows, cv2.INTER_NEAREST, borderValue=0)
    same = np.isfinite(frame.depth_z) & (np.abs(found / z - 1) < SAME_DEPTH)
    return columns, rows, same


def flicker_of(predict: Predictor, frames: list[Frame], camera: CameraModel) -> list[float]:
    """Return the flicker of each pair of neighbouring frames, in percent."""
    errors, spreads = [], []
    for frame in frames:
        truth = 1 / frame.depth_z.astype(np.float64)
        guess = np.array(predict(frame.rgb, truth.shape), np.float64)
        errors.append(np.float32(fitted(guess, truth, np.isfinite(frame.depth_z)) - truth))
        spreads.append(np.ptp(np.quantile(truth, (0.05, 0.95))))
    figures = []
    for index, (frame, following) in enumerate(pairwise(frames)):
        columns, rows, same = carried(frame, following, camera)
        next_error = cv2.remap(errors[index + 1], columns, rows, cv2.INTER_LINEAR)
        change = np.abs(next_error - errors[index])[same].mean()
        figures.append(float(100 * change / spreads[index]))
    return figures


def real_flicker(predict: Predictor, folder: Path) -> list[float]:
    """Return the flicker of each pair of frames that optical flow could match, in percent."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    figures, before = [], None
    for path in sorted(p for p in folder.iterdir() if p.suffix in ('.jpg', '.png')):
        rgb = read_picture(path, cv2.IMREAD_COLOR)[..., ::-1].copy()
        grey = cv2.cvtColor(cv2.resize(rgb, (WIDTH, HEIGHT)), cv2.COLOR_RGB2GRAY)
        depth = np.array(predict(rgb, rgb.shape[:2]), np.float32)
        depth = cv2.resize(depth, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        if before is not None:
            flow, back = finder.calc(before[0], grey, None), finder.calc(grey, before[0], None)
            target = (columns + flow[..., 0], rows + flow[..., 1])
            returned = cv2.remap(back, *target, cv2.INTER_LINEAR, borderValue=(1e3, 1e3))
            held = np.linalg.norm(flow + returned, axis=2) < AGREE_PX
            if held.mean() > LEAST_MATCHED:
                there = cv2.remap(depth, *target, cv2.INTER_LINEAR).astype(np.float64)
                rest = np.abs(fitted(there, before[1], held) - before[1])[held].mean()
                spread = np.ptp(np.quantile(before[1], (0.05, 0.95)))
                figures.append(float(100 * rest / max(spread, 1e-9)))
        before = (grey, depth)
    return figures


@main.command()
@click.argument('models', nargs=-1)
@click.option('--drive', 'folder', type=click.Path(path_type=Path, exists=True))
def flicker(models: tuple[str, ...], folder: Path | None) -> None:
    """Measure MODELS (default: embedded) on rendered drives, and on a folder of real frames."""
    camera = moving_scene(0).camera.scaled(WIDTH, HEIGHT)
    drives = [drive(seed, camera) for seed in SEEDS]
    table = Table('frames', 'model', 'pairs', 'mean %', 'median %', '90th percentile %')
    predictors: dict[str, Predictor] = {'row prior': row_prior}
    predictors |= {model: predictor_of(model) for model in models or ('embedded',)}
    for name, predict in predictors.items():
        results = {
            'rendered': [v for frames in drives for v in flicker_of(predict, frames, camera)]
        }
        if folder:
            results[folder.name] = real_flicker(predict, folder)
        for frames, values in results.items():
            quantiles = np.quantile(values, (0.5, 0.9)) if values else (np.nan, np.nan)
            row = (np.mean(values) if values else np.nan, *quantiles)
            table.add_row(frames, Path(name).name, str(len(values)), *(f'{x:.2f}' for x in row))
    Console().print(table)


# --- Blindness: which pictures are refused, and what a network makes of them.
#
# Real pictures and copies of them, darkened, fogged, blurred or noisy, are judged and given to a
# model. Its output for a copy is compared with that for the picture: the share of random pairs of
# pixels with clearly different depth that keep their order. The limits of `images.blindness` are
# where that share begins to fall.

Picture = NDArray[np.uint8]
PICTURE_WIDTH = 640
EVERY = 12  # frames of a sequence: one is used
CLEARLY = 0.1  # of the spread of depth: least difference of a pair
BARE_WALLS = ('rtabmap_corridor_19', '/0018', '/0045', '/0058')  # only a wall in view


def stored(values: NDArray) -> Picture:
    """Return what an 8-bit sensor gives."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def darkened(factor: float, noise: float = 0.0) -> Callable[[Picture], Picture]:
    rng = np.random.default_rng(0)
    return lambda rgb: stored(rgb / factor + rng.normal(0, noise, rgb.shape) * bool(noise))


def fog(share: float, blur: float = 0.0) -> Callable[[Picture], Picture]:
    return lambda rgb: stored(soft(blur)(rgb) * (1 - share) + 200 * share)


def soft(blur: float) -> Callable[[Picture], Picture]:
    """Blur by a Gaussian of `blur` pixels at a width of 256."""
    if not blur:
        return lambda rgb: rgb
    return lambda rgb: cv2.GaussianBlur(rgb, (0, 0), blur * rgb.shape[1] / 256)


def soft_below(blur: float, share: float) -> Callable[[Picture], Picture]:
    """Blur the lower part alone, with a soft border, as a lens does that is wet there."""

    def blurred(rgb: Picture) -> Picture:
        height = len(rgb)
        below = np.clip((np.arange(height) / height - (1 - share)) / 0.05 + 0.5, 0, 1)
        below = below[:, np.newaxis, np.newaxis]
        return stored(rgb * (1 - below) + soft(blur)(rgb) * below)

    return blurred


COPIES: dict[str, Callable[[Picture], Picture]] = {
    'as it is': lambda rgb: rgb,
    **{f'1/{k} as bright': darkened(k) for k in (2, 4, 8, 16, 32, 64)},
    **{f'1/{k} as bright, noise of 2': darkened(k, 2.0) for k in (8, 16, 32, 64)},
    **{f'blurred by {k} of 256 px': soft(k) for k in (1, 2, 3, 4, 6, 8, 12)},
    **{f'lower half blurred by {k} px': soft_below(k, 0.5) for k in (2, 3, 4, 8, 12)},
    **{f'{share:.0%} fog': fog(share) for share in (0.5, 0.7, 0.8, 0.9, 0.95)},
    '70 % fog, blurred by 4 px': fog(0.7, 4),
    '90 % fog, blurred by 4 px': fog(0.9, 4),
    **{f'noise of {n}': darkened(1, n) for n in (10, 20, 40)},
}


def blindness_pictures(folder: Path) -> dict[str, Picture]:
    """Return the pictures, and some of every sequence, PICTURE_WIDTH wide."""
    paths = [*folder.glob('rgbd/*'), *folder.glob('plain/*')]
    for sequence in sorted((folder / 'sequences').iterdir()):
        frames = sorted(path for path in sequence.rglob('*.[jp][pn]g') if 'depth' not in str(path))
        paths += frames[::EVERY]
    found = {}
    for path in sorted(paths):
        name = str(path.relative_to(folder))
        if 'depth' in name or 'disp' in name or any(wall in name for wall in BARE_WALLS):
            continue
        rgb = np.ascontiguousarray(read_picture(path, cv2.IMREAD_COLOR)[..., ::-1])
        height = round(rgb.shape[0] * PICTURE_WIDTH / rgb.shape[1])
        found[name] = cv2.resize(rgb, (PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
    return found


def order_kept(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the share of pixel pairs, clearly ordered in `first`, with that order in `second`."""
    one, other = np.random.default_rng(0).integers(0, first.size, (2, PAIRS))
    differs = first.ravel()[one] - first.ravel()[other]
    low, high = np.percentile(first, (2, 98))
    clear = np.abs(differs) > CLEARLY * (high - low)
    return float(np.mean((differs * (second.ravel()[one] - second.ravel()[other]) > 0)[clear]))


def shown(values: list[float]) -> str:
    if not values:
        return '-'
    return f'{np.median(values):.2f} / {np.percentile(values, 5):.2f}'


def blindness_rows(model: str, originals: dict[str, Picture]) -> Iterator[str]:
    """Yield the table as Markdown."""
    estimator = load_estimator(model)
    answers = {name: estimator.infer(rgb) for name, rgb in originals.items()}
    yield (
        f'| copies of {len(originals)} pictures | refused | in part '
        '| order kept by those believed | by those refused |'
    )
    yield '|' + ' --- |' * 5
    for title, alter in tqdm(COPIES.items(), disable=None):
        believed: list[float] = []
        refused: list[float] = []
        parts = 0
        for name, rgb in originals.items():
            copy = alter(rgb)
            verdict = judge_picture(copy)
            kept = order_kept(answers[name], estimator.infer(copy))
            (refused if verdict.reason else believed).append(kept)
            parts += bool(verdict.partial_reason)
        yield f'| {title} | {len(refused)} | {parts} | {shown(believed)} | {shown(refused)} |'


def judging_ms() -> float:
    """Return the median time of judging a picture of 640x480."""
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    return timed_in_turn({'judge': lambda: judge_picture(rgb)}, 1.0)['judge'].median_ms


@main.command()
@click.argument('model', default='embedded')
@click.option('--data', type=click.Path(exists=True, path_type=Path), default=DEFAULT_DATA)
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def blindness(model: str, data: Path, path: Path | None) -> None:
    """Print the table and the time of judging a picture, or write the table into a page."""
    text = '\n'.join(blindness_rows(model, blindness_pictures(data)))
    if path is None:
        click.echo(f'{text}\n\njudging 640x480 takes {judging_ms():.2f} ms')
    else:
        write_block(path, 'blindness', f'\n{text}\n')


if __name__ == '__main__':
    main()
