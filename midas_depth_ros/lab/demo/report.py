"""The files of a run: pictures of several moments, one sheet, one animation, texts and figures.

They are written from a `Run` to the output folder; `contents()` lists them.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from midas_depth_ros.lab.demo.recording import (
    CAMERA,
    Beams,
    ClosenessSample,
    DriveRecording,
    Pair,
    Picture,
    Place,
    Recording,
    message_text,
)
from midas_depth_ros.lab.demo.run import Run, drive_heatmap_options
from midas_depth_ros.lab.demo.summary import as_text, summarise
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.output import (
    CommandError,
    move_into_place,
    temporary_beside,
    write_atomically,
    write_errors,
)
from midas_depth_ros.lab.stopping import remove, signals_held
from midas_depth_ros.options.files import ParameterFault
from midas_depth_ros.sim import furnished_world
from midas_depth_ros.views import HeatmapOptions, contact_sheet, encode_animation, side_by_side
from midas_depth_ros.views.drawing import BACKGROUND, text_height
from midas_depth_ros.views.top_view import FloorPlan, RobotSnapshot, TopView

# --- The output folder. A marker file distinguishes our folders, which are reused, from others.

MARKER = '.midas_depth_demo'
DEFAULT_PARENT = Path('demo_output')
LONGEST_STEM = 60  # characters of a source's name
LOGS = 'logs'
CONTENTS = {
    'contact_sheet.png': 'camera | heatmap at several moments, on one sheet',
    'run.gif': 'the run, animated',
    'pictures': 'the same moments at full size',
    'messages': 'the last message of every output topic',
    'summary.txt': 'the tables above',
    'summary.json': 'the same for programs, with closeness over time',
    LOGS: 'the logs of all processes',
}


def default_folder(source: str) -> Path:
    """Return an unused name `demo_output/<source>-<date>-<time>`."""
    stem = Path(source).stem if source else 'robot'
    stem = re.sub(r'[^A-Za-z0-9_-]+', '_', stem).strip('_')[:LONGEST_STEM] or 'source'
    folder = DEFAULT_PARENT / f'{stem}-{time.strftime("%Y%m%d-%H%M%S")}'
    return folder.with_name(f'{folder.name}-{os.getpid()}') if folder.exists() else folder


def claim(folder: Path) -> bool:
    """Make the folder ours, and remove old logs; returns whether it has results of an earlier run.

    Old results stay until new ones replace them. Raises CommandError if the folder holds other
    files or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = (folder / MARKER).exists()
        if not ours and any(folder.iterdir()):
            raise CommandError(
                f'{folder} is not empty and was not made by this demo: choose a new folder with '
                '--output'
            )
        (folder / MARKER).touch()
        remove(folder / LOGS)
        (folder / LOGS).mkdir()
    except OSError as error:
        raise CommandError(
            f'cannot write to {folder}: {error.strerror or error}; choose another folder with '
            '--output'
        ) from error
    return ours


def replace_results(made: Path, folder: Path) -> None:
    """Replace the results of an earlier run in `folder` by those in `made`. Raises CommandError."""
    with signals_held():
        for name in CONTENTS:
            if (made / name).exists():
                move_into_place(made / name, folder / name)
            elif name != LOGS:
                remove(folder / name)


# --- The files of a run.

SHOWN_MOMENTS = 6
SHOWN_FRAMES = 60  # of the animation: more would have to be smaller
SHEET_COLUMNS = 2
MOST_BYTES = 3_000_000  # of the animation
GAP = 4  # pixels between heatmap and top view
UNKNOWN = (math.nan, math.nan, math.nan)
LONGEST_SIDE = 4096  # pixels; no picture is made higher than this
LEAST_WIDTH = 240  # pixels; narrower pictures are enlarged, so that the text below has room
ANIMATION_FPS = (2.0, 50.0)  # a long run is shown faster than it was


def write(run: Run, folder: Path) -> dict[str, Any]:
    """Write the results of a run, and return its summary.

    Raises CommandError; the folder then keeps what it had before.
    """
    with temporary_beside(folder / 'results') as made:
        with write_errors(folder):
            made.mkdir()
        summary = _write(run, made)
        replace_results(made, folder)
    return summary


def _write(run: Run, folder: Path) -> dict[str, Any]:
    recording = run.recording
    summary = summarise(run)
    closeness = {sample.time_s: sample for sample in recording.closeness}
    drive = recording.drive
    view = None if drive is None else DriveView(drive, run.plan.world)
    draw = functools.partial(
        _picture, closeness=closeness, model=summary['model'], view=view, legend=_legend(run)
    )
    moments = recording.moments.items
    scanned = [pair for pair in moments if view is not None and view.has_scan(pair)]
    moments = _evenly(scanned if len(scanned) > 1 else moments, SHOWN_MOMENTS)
    _write_pictures(folder, [draw(pair) for pair in moments], moments)
    _write_animation(folder, recording, draw)
    _write_messages(folder / 'messages', recording)
    text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + '\n'
    _write_text(folder / 'summary.json', text)
    _write_text(folder / 'summary.txt', as_text(summary))
    return summary


def _legend(run: Run) -> HeatmapOptions | None:
    """Return the colour scale of the heatmaps where they are in metres."""
    if not run.plan.drives:
        return None
    try:
        return drive_heatmap_options(run.plan.parameters)
    except ParameterFault:  # the node accepted it; the run's pictures are kept
        return None


def contents(folder: Path) -> list[tuple[Path, str]]:
    """Return the paths in an output folder with their descriptions."""
    return [(folder / name, text) for name, text in CONTENTS.items() if (folder / name).exists()]


def _evenly(moments: list[Pair], most: int) -> list[Pair]:
    """Return at most `most` of them, evenly spaced, with the first and the last."""
    count = min(most, len(moments))
    return [moments[round(i * (len(moments) - 1) / max(count - 1, 1))] for i in range(count)]


def _picture(
    pair: Pair,
    closeness: dict[float, ClosenessSample],
    model: str | None,
    view: DriveView | None,
    legend: HeatmapOptions | None,
) -> Picture:
    """Draw camera | heatmap, and the top view of a driving robot."""
    pair = _legible(pair)
    sample = closeness.get(pair.time_s)
    captions = (f'camera, {pair.time_s:.1f} s', f'heatmap, {model}: warm is near')
    values = sample.values if sample else (UNKNOWN if view else None)  # same height for all
    picture = side_by_side(pair.camera, pair.heatmap, captions, values, legend)
    if view is None:
        return picture
    gap = np.full((picture.shape[0], GAP, 3), BACKGROUND, np.uint8)
    return np.hstack([picture, gap, view.panel(pair, picture.shape[0])])


def _legible(pair: Pair) -> Pair:
    """Return the pair enlarged where it is narrow, but not beyond LONGEST_SIDE."""
    height, width = pair.camera.shape[:2]
    times = min(-(-LEAST_WIDTH // width), max(1, LONGEST_SIDE // height))
    camera, heatmap = (
        np.kron(picture, np.ones((times, times, 1), np.uint8)) if times > 1 else picture
        for picture in (pair.camera, pair.heatmap)
    )
    return dataclasses.replace(pair, camera=camera, heatmap=heatmap)


def _write_pictures(folder: Path, shown: list[Picture], moments: list[Pair]) -> None:
    if not shown:
        return
    with write_errors(folder):
        (folder / 'pictures').mkdir()
    for number, (picture, pair) in enumerate(zip(shown, moments, strict=True), start=1):
        name = f'{number:02d}_at_{pair.time_s:05.1f}s.png'
        write_atomically(folder / 'pictures' / name, _png(picture))
    write_atomically(folder / 'contact_sheet.png', _png(contact_sheet(shown, SHEET_COLUMNS)))


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format='PNG')
    return buffer.getvalue()


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, text.encode('utf-8', 'backslashreplace'))


def _write_animation(folder: Path, recording: Recording, draw: Callable[[Pair], Picture]) -> None:
    pairs = _evenly(recording.animation.items, SHOWN_FRAMES)
    if not pairs:
        return
    frames = [draw(pair) for pair in pairs]
    span_s = pairs[-1].time_s - pairs[0].time_s
    rate_hz = (len(pairs) - 1) / span_s if span_s > 0 else 1.0
    fps = float(np.clip(rate_hz, *ANIMATION_FPS))
    write_atomically(folder / 'run.gif', encode_animation(frames, fps, max_bytes=MOST_BYTES))


def _write_messages(folder: Path, recording: Recording) -> None:
    with write_errors(folder):
        folder.mkdir()
    for topic, message in recording.last_messages.items():
        name = topic if topic.startswith('/') else f'{CAMERA}/{topic}'
        path = folder / f'{name.strip("/").replace("/", "_")}.txt'
        text = 'no message received\n' if message is None else message_text(message)
        _write_text(path, f'# {name}\n{text}')


# --- The top view beside the pictures of a drive.

HEAD_ROOM_M = 2.2  # obstacles above are not drawn
CLEAR_M = 3.0  # drawn length of a beam without an obstacle
SAME_FRAME_S = 0.02


class DriveView:
    """Draws the top view of one drive."""

    def __init__(self, drive: DriveRecording, seed: int) -> None:
        self._drive = drive
        self._plan = floor_plan(seed)
        self._views: dict[int, TopView] = {}

    def has_scan(self, pair: Pair) -> bool:
        """Return whether the node published a scan of this frame, which needs a scale."""
        return self._drive.scan_at(pair.stamp_s, SAME_FRAME_S) is not None

    def panel(self, pair: Pair, height: int) -> Picture:
        """Draw the top view at the time of a pair, `height` pixels high."""
        drive, stamp = self._drive, pair.stamp_s
        view = self._view(height)
        place = drive.place_at(stamp)
        if place is None:
            return view.draw(None, ('no odometry: position unknown',))
        scan = drive.scan_at(stamp, SAME_FRAME_S)
        moment = RobotSnapshot(
            place.x,
            place.y,
            place.yaw,
            rig.ROBOT.radius_m,
            drive.path_until(stamp),
            None if scan is None else met_by(scan, place),
            None if scan is None or scan.free is None else seen_free(scan, place),
        )
        state = drive.state_at(stamp) or 'waiting'
        lines = (
            f'{drive.distance_until(stamp):.1f} m driven, {state}',
            'blue: seen free; dots: scan' if scan is not None else 'no scale: no scan',
        )
        return view.draw(moment, lines)

    def _view(self, height: int) -> TopView:
        if height not in self._views:
            text_px = text_height(height, height)
            width = TopView.fitting_width(self._plan, height, text_px)
            self._views[height] = TopView(self._plan, height, width, text_px)
        return self._views[height]


def floor_plan(seed: int) -> FloorPlan:
    """Return the plan of a furnished world: obstacles, and what the robot passes under."""
    world, heights = furnished_world(seed), rig.ROBOT.heights
    solid, above = world.plan(heights), world.plan((heights[1], HEAD_ROOM_M))
    room = solid.room
    if room is None:
        raise ValueError(f'world {seed} has no walls')
    return FloorPlan(
        (room.x_min_m, room.x_max_m, room.y_min_m, room.y_max_m),
        [each.corners for each in solid.outlines],
        [each.corners for each in above.outlines],
    )


def met_by(scan: Beams, place: Place) -> np.ndarray:
    """Return (N, 3) world x, y and distance of what beams met, NaN where they met nothing."""
    ranges = np.where(np.isfinite(scan.ranges), scan.ranges, np.nan)
    return np.column_stack([along(scan.bearings, ranges, place), ranges])


def seen_free(scan: Beams, place: Place) -> np.ndarray:
    """Return (N, 2) world x, y of how far beams were seen free; the robot's where they were not."""
    known = np.zeros(len(scan.ranges)) if scan.free is None else np.nan_to_num(scan.free, nan=0.0)
    return along(scan.bearings, np.minimum(known, CLEAR_M), place)


def along(bearings: np.ndarray, length_m: np.ndarray, place: Place) -> np.ndarray:
    """Return (N, 2) world x, y so far from a place along its bearings."""
    angle = place.yaw + bearings
    x, y = place.x + length_m * np.cos(angle), place.y + length_m * np.sin(angle)
    return np.stack([x, y], axis=1)
