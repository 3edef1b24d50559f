"""The files of a run: pictures of several moments, one sheet, one animation, texts and figures.

A `Run` comes in; everything goes to the output folder, whose contents `contents()` lists.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from midas_depth_ros.lab.demo.recording import (
    CAMERA,
    Beams,
    Closeness,
    DriveRecording,
    Pair,
    Picture,
    Place,
    Recording,
    message_text,
)
from midas_depth_ros.lab.demo.run import (
    Run,
    demo_world,
    drive_heatmap_options,
    robot_heights,
    robot_radius_m,
)
from midas_depth_ros.lab.demo.summary import as_text, summarise
from midas_depth_ros.lab.output import (
    CommandError,
    move_into_place,
    temporary_beside,
    write_atomically,
    write_errors,
)
from midas_depth_ros.lab.stopping import signals_held
from midas_depth_ros.options.files import ParameterFault
from midas_depth_ros.views import HeatmapOptions, contact_sheet, encode_animation, side_by_side
from midas_depth_ros.views.legend import BACKGROUND, text_height
from midas_depth_ros.views.top_view import FloorPlan, Moment, TopView

# --- The folder of a run's results: made anew, or used again if an earlier run made it.
#
# A marker file tells our folders from others: a folder with somebody else's files is refused.

MARKER = '.midas_depth_demo'
DEFAULT_PARENT = Path('demo_output')
LONGEST_STEM = 60  # letters of a source's name
LOGS = 'logs'
RESULTS = (
    'pictures', 'messages', 'contact_sheet.png', 'run.gif', 'summary.txt', 'summary.json'
)  # fmt: skip


def default_folder(source: str) -> Path:
    """`demo_output/<source>-<date>-<time>`, a name that is not taken."""
    stem = Path(source).stem if source else 'robot'
    stem = re.sub(r'[^A-Za-z0-9_-]+', '_', stem).strip('_')[:LONGEST_STEM] or 'source'
    folder = DEFAULT_PARENT / f'{stem}-{time.strftime("%Y%m%d-%H%M%S")}'
    return folder.with_name(f'{folder.name}-{os.getpid()}') if folder.exists() else folder


def claim(folder: Path) -> bool:
    """Make the folder ours and empty of earlier logs; whether there are results of an earlier run.

    Those stay until there are others to take their place. Raises CommandError when the folder
    holds files of others or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = (folder / MARKER).exists()
        if not ours and any(folder.iterdir()):
            raise CommandError(
                f'{folder} is not empty and was not made by this demo: name a new folder with '
                '--output'
            )
        (folder / MARKER).touch()
        _remove(folder / LOGS)
        (folder / LOGS).mkdir()
    except OSError as error:
        raise CommandError(
            f'cannot write to {folder}: {error.strerror or error}; name another folder with '
            '--output'
        ) from error
    return ours


def put_results(made: Path, folder: Path) -> None:
    """Put the results of a run, all of them complete in `made`, in the place of earlier ones.

    Nothing else of the folder is touched. Raises CommandError.
    """
    with signals_held():
        for name in RESULTS:
            if (made / name).exists():
                move_into_place(made / name, folder / name)
            else:
                _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    with temporary_beside(folder / 'results') as made:
        with write_errors(folder):
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
    try:
        return drive_heatmap_options(run.plan.parameters)
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
        text = 'no message came\n' if message is None else message_text(message)
        _write_text(path, f'# {name}\n{text}')


# --- The top view beside the pictures of a drive: from its recording to a panel for every
# moment.

HEAD_ROOM_M = 2.2  # what hangs higher is not drawn
CLEAR_M = 3.0  # a beam that meets nothing is drawn so long
SAME_FRAME_S = 0.02


class DriveView:
    """Draws the top view of one drive."""

    def __init__(self, drive: DriveRecording, seed: int) -> None:
        self._drive = drive
        self._plan = floor_plan(seed)
        self._views: dict[int, TopView] = {}

    def has_scan(self, pair: Pair) -> bool:
        """Whether the node gave a scan of this frame, which it does while it has a scale."""
        return self._drive.scan_at(pair.stamp_s, SAME_FRAME_S) is not None

    def panel(self, pair: Pair, height: int) -> Picture:
        """The top view at the moment of a pair, so many pixels high."""
        drive, stamp = self._drive, pair.stamp_s
        view = self._view(height)
        place = drive.place_at(stamp)
        if place is None:
            return view.draw(None, ('no odometry: where the robot is, is not known',))
        scan = drive.scan_at(stamp, SAME_FRAME_S)
        moment = Moment(
            place.x,
            place.y,
            place.yaw,
            robot_radius_m(),
            drive.path_until(stamp),
            None if scan is None else ends(scan, place),
        )
        state = drive.state_at(stamp) or 'waiting'
        lines = (
            f'{drive.distance_until(stamp):.1f} m driven, {state}',
            'grey: the room; coloured: the scan' if scan is not None else 'no scale: no scan',
        )
        return view.draw(moment, lines)

    def _view(self, height: int) -> TopView:
        if height not in self._views:
            self._views[height] = self._made(height)
        return self._views[height]

    def _made(self, height: int) -> TopView:
        text_px = text_height(height, height)
        return TopView(
            self._plan, height, TopView.fitting_width(self._plan, height, text_px), text_px
        )


def floor_plan(seed: int) -> FloorPlan:
    """The world's plan: what the robot cannot pass, and what it passes under."""
    driven, heights = demo_world(seed), robot_heights()
    solid, above = driven.plan(heights), driven.plan((heights[1], HEAD_ROOM_M))
    room = solid.room
    if room is None:
        raise ValueError(f'world {seed} has no walls')
    return FloorPlan(
        (room.x_min_m, room.x_max_m, room.y_min_m, room.y_max_m),
        [each.corners for each in solid.outlines],
        [each.corners for each in above.outlines],
    )


def ends(scan: Beams, place: Place) -> np.ndarray:
    """(N, 3) world x, y and distance of where beams end; distance NaN where nothing was met.

    A beam that is unknown ends where it begins.
    """
    met = np.isfinite(scan.ranges)
    length = np.where(met, scan.ranges, np.where(np.isnan(scan.ranges), 0.0, CLEAR_M))
    angle = place.yaw + scan.bearings
    return np.stack(
        [
            place.x + length * np.cos(angle),
            place.y + length * np.sin(angle),
            np.where(met, scan.ranges, np.nan),
        ],
        axis=1,
    )
