"""The files of a run: pictures of several moments, one sheet, one animation, texts and figures.

A `Run` comes in; everything goes to the output folder, whose contents `contents()` lists.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from midas_depth_ros.lab.demo.driving import DriveView
from midas_depth_ros.lab.demo.output import put_results
from midas_depth_ros.lab.demo.recorder import message_text
from midas_depth_ros.lab.demo.recording import CAMERA, Closeness, Pair, Picture, Recording, Run
from midas_depth_ros.lab.demo.summary import as_text, summarise
from midas_depth_ros.lab.output import part_of, refusing, write_whole
from midas_depth_ros.options.files import ParameterFault
from midas_depth_ros.views import HeatmapOptions, contact_sheet, encode_animation, side_by_side
from midas_depth_ros.views.drawing import BACKGROUND

SHOWN_MOMENTS = 6
SHOWN_FRAMES = 60  # of the animation: more would have to be smaller
SHEET_COLUMNS = 2
MOST_BYTES = 3_000_000  # of the animation
GAP = 4  # pixels between heatmap and top view
UNKNOWN = (math.nan, math.nan, math.nan)
LONGEST_SIDE = 4096  # pixels; no picture is made higher than this
LEAST_WIDTH = 240  # pixels; narrower pictures are enlarged, so that the text below has room
ANIMATION_FPS = (2.0, 50.0)  # a long run is shown faster than it was
CONTENTS = {
    'contact_sheet.png': 'camera | heatmap at several moments, on one sheet',
    'run.gif': 'the run, animated',
    'pictures': 'the same moments at full size',
    'messages': 'the last message of every output topic',
    'summary.txt': 'the figures above',
    'summary.json': 'the same for programs, with closeness over time',
    'logs': 'what the node and the source said',
}


def write(run: Run, folder: Path) -> dict[str, Any]:
    """Write everything that a run gave, and return its summary.

    Raises CommandError where that cannot be done; then the folder has what it had before.
    """
    with part_of(folder / 'results') as made:
        with refusing(folder):
            made.mkdir()
        summary = _write(run, made)
        put_results(made, folder)
    return summary


def _write(run: Run, folder: Path) -> dict[str, Any]:
    recording = run.recording
    summary = summarise(run)
    closeness = {sample.time_s: sample for sample in recording.closeness}
    drive = recording.drive
    view = None if drive is None else DriveView(drive, run.plan.world)
    legend = _legend(run)
    draw = functools.partial(
        _picture, closeness=closeness, summary=summary, view=view, legend=legend
    )
    moments = _evenly(_telling(recording.moments.items, view), SHOWN_MOMENTS)
    _write_pictures(folder, [draw(pair) for pair in moments], moments)
    _write_animation(folder, recording, draw)
    _write_messages(folder / 'messages', recording)
    text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + '\n'
    _write_text(folder / 'summary.json', text)
    _write_text(folder / 'summary.txt', as_text(summary))
    return summary


def _legend(run: Run) -> HeatmapOptions | None:
    """How far which colour is, where the heatmaps are in metres."""
    if not run.plan.drives:
        return None
    from midas_depth_ros.lab.demo import driving  # the simulation is not loaded for pictures

    try:
        return driving.heatmap_options(run.plan.parameters)
    except ParameterFault:  # what the node took is not to cost the pictures of its run
        return None


def contents(folder: Path) -> list[tuple[Path, str]]:
    """What is in an output folder, and what it is."""
    return [(folder / name, text) for name, text in CONTENTS.items() if (folder / name).exists()]


def _telling(moments: list[Pair], view: DriveView | None) -> list[Pair]:
    """Without those of a drive that have no scale yet, if there are others to show."""
    scanned = [pair for pair in moments if view is not None and view.has_scan(pair)]
    return scanned if len(scanned) > 1 else moments


def _evenly(moments: list[Pair], most: int) -> list[Pair]:
    """At most so many of them, the first and the last included."""
    count = min(most, len(moments))
    return [moments[round(i * (len(moments) - 1) / max(count - 1, 1))] for i in range(count)]


def _picture(
    pair: Pair,
    closeness: dict[float, Closeness],
    summary: dict[str, Any],
    view: DriveView | None,
    legend: HeatmapOptions | None,
) -> Picture:
    """Camera | heatmap, and the top view where a robot drives."""
    pair = _legible(pair)
    sample = closeness.get(pair.time_s)
    captions = (f'camera, {pair.time_s:.1f} s', f'heatmap, {summary["model"]}: warm is near')
    values = sample.values if sample else (UNKNOWN if view else None)  # all of the same height
    picture = side_by_side(pair.camera, pair.heatmap, captions, values, legend)
    if view is None:
        return picture
    gap = np.full((picture.shape[0], GAP, 3), BACKGROUND, np.uint8)
    return np.hstack([picture, gap, view.panel(pair, picture.shape[0])])


def _legible(pair: Pair) -> Pair:
    height, width = pair.camera.shape[:2]
    # A picture that is much higher than wide would become immense.
    times = min(-(-LEAST_WIDTH // width), max(1, LONGEST_SIDE // height))
    camera, heatmap = (
        np.kron(picture, np.ones((times, times, 1), np.uint8)) if times > 1 else picture
        for picture in (pair.camera, pair.heatmap)
    )
    return dataclasses.replace(pair, camera=camera, heatmap=heatmap)


def _write_pictures(folder: Path, shown: list[Picture], moments: list[Pair]) -> None:
    if not shown:
        return
    with refusing(folder):
        (folder / 'pictures').mkdir()
    for number, (picture, pair) in enumerate(zip(shown, moments, strict=True), start=1):
        name = f'{number:02d}_at_{pair.time_s:05.1f}s.png'
        write_whole(folder / 'pictures' / name, _png(picture))
    write_whole(folder / 'contact_sheet.png', _png(contact_sheet(shown, SHEET_COLUMNS)))


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format='PNG')
    return buffer.getvalue()


def _write_text(path: Path, text: str) -> None:
    write_whole(path, text.encode('utf-8', 'backslashreplace'))


def _write_animation(folder: Path, recording: Recording, draw: Callable[[Pair], Picture]) -> None:
    pairs = _evenly(recording.animation.items, SHOWN_FRAMES)
    if not pairs:
        return
    frames = [draw(pair) for pair in pairs]
    span_s = pairs[-1].time_s - pairs[0].time_s
    rate_hz = (len(pairs) - 1) / span_s if span_s > 0 else 1.0
    fps = float(np.clip(rate_hz, *ANIMATION_FPS))
    write_whole(folder / 'run.gif', encode_animation(frames, fps, max_bytes=MOST_BYTES))


def _write_messages(folder: Path, recording: Recording) -> None:
    with refusing(folder):
        folder.mkdir()
    for topic, message in recording.last_messages.items():
        name = topic if topic.startswith('/') else f'{CAMERA}/{topic}'
        path = folder / f'{name.strip("/").replace("/", "_")}.txt'
        text = 'no message came\n' if message is None else message_text(message)
        _write_text(path, f'# {name}\n{text}')
