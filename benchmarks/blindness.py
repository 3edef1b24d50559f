"""When does a picture say nothing? What the judge refuses, and what a network makes of the same.

Real pictures and copies of them, darkened, fogged, blurred and made noisy, are judged and given to
a model. Its answer to a copy is held against its answer to the picture itself: of random pairs of
pixels that are clearly one before the other, how many keep their order. The limits of
`images.blindness` stand where that begins to fall.

    python -m benchmarks.blindness embedded --write docs/blindness.md
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.model_quality import DEFAULT_DATA, read_picture
from midas_depth_ros.depth import load_estimator
from midas_depth_ros.images import judge_picture

Picture = NDArray[np.uint8]
WIDTH = 640
EVERY = 12  # of the frames of a sequence so many apart are taken
PAIRS, CLEARLY = 20_000, 0.1  # of the spread, so far apart are two pixels that count
BEGIN, END = '<!-- blindness: begin -->', '<!-- blindness: end -->'
BARE_WALLS = ('rtabmap_corridor_19', '/0018', '/0045', '/0058')  # nothing but a wall in view


def stored(values: NDArray) -> Picture:
    """What a sensor of 8 bits makes of it."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def dark(factor: float, noise: float = 0.0) -> Callable[[Picture], Picture]:
    rng = np.random.default_rng(0)
    return lambda rgb: stored(rgb / factor + rng.normal(0, noise, rgb.shape) * bool(noise))


def fog(share: float, blur: float = 0.0) -> Callable[[Picture], Picture]:
    return lambda rgb: stored(soft(blur)(rgb) * (1 - share) + 200 * share)


def soft(blur: float) -> Callable[[Picture], Picture]:
    """Blurred by a Gaussian of so many pixels of a picture 256 wide."""
    if not blur:
        return lambda rgb: rgb
    return lambda rgb: cv2.GaussianBlur(rgb, (0, 0), blur * rgb.shape[1] / 256)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    'as it is': lambda rgb: rgb,
    **{f'1/{k} as bright': dark(k) for k in (2, 4, 8, 16, 32, 64)},
    **{f'1/{k} as bright, noise of 2': dark(k, 2.0) for k in (8, 16, 32, 64)},
    **{f'blurred by {k} of 256 px': soft(k) for k in (1, 2, 3, 4, 6, 8, 12)},
    **{f'{share:.0%} fog': fog(share) for share in (0.5, 0.7, 0.8, 0.9, 0.95)},
    '70 % fog, blurred by 4 px': fog(0.7, 4),
    '90 % fog, blurred by 4 px': fog(0.9, 4),
    **{f'noise of {n}': dark(1, n) for n in (10, 20, 40)},
}


def pictures(folder: Path) -> dict[str, Picture]:
    """The pictures, and some of every sequence, WIDTH wide."""
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
        height = round(rgb.shape[0] * WIDTH / rgb.shape[1])
        found[name] = cv2.resize(rgb, (WIDTH, height), interpolation=cv2.INTER_AREA)
    return found


def order_kept(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Share of pixel pairs, clearly one before the other in `first`, that `second` orders alike."""
    one, other = np.random.default_rng(0).integers(0, first.size, (2, PAIRS))
    differs = first.ravel()[one] - first.ravel()[other]
    low, high = np.percentile(first, (2, 98))
    clear = np.abs(differs) > CLEARLY * (high - low)
    return float(np.mean((differs * (second.ravel()[one] - second.ravel()[other]) > 0)[clear]))


def shown(values: list[float]) -> str:
    if not values:
        return '-'
    return f'{np.median(values):.2f} / {np.percentile(values, 5):.2f}'


def rows(model: str, originals: dict[str, Picture]) -> Iterator[str]:
    """The table as Markdown."""
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
    """What judging a picture of 640x480 takes, the middle of many times."""
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    taken = []
    for _ in range(300):
        begin = time.perf_counter()
        judge_picture(rgb)
        taken.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(taken))


@click.command()
@click.argument('model', default='embedded')
@click.option('--data', type=click.Path(exists=True, path_type=Path), default=DEFAULT_DATA)
@click.option('--write', 'path', type=click.Path(dir_okay=False, path_type=Path))
def main(model: str, data: Path, path: Path | None) -> None:
    """Print the table and what judging a picture takes, or write the table into a document."""
    text = '\n'.join(rows(model, pictures(data)))
    if path is None:
        click.echo(f'{text}\n\njudging 640x480 takes {judging_ms():.2f} ms')
        return
    document = path.read_text(encoding='utf-8')
    begin, end = document.index(BEGIN) + len(BEGIN), document.index(END)
    path.write_text(f'{document[:begin]}\n\n{text}\n\n{document[end:]}', encoding='utf-8')


if __name__ == '__main__':
    main()
