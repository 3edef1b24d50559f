"""A truth measured by hand: a table of distances, each with its picture and where it was aimed at.

A CSV file goes in; out come measurements by the number or the stamp of their pictures. A tape is
held from the lens to the thing (columns u, v), or along the floor from below the lens (bearing).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from midas_depth_ros.geometry import scan_limits
from midas_depth_ros.lab.evaluate.frames import BORDER_M
from midas_depth_ros.lab.evaluate.truth import FloorTruth, PictureView, TruthFrame
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.options.files import UnreadableFile, read_text
from midas_depth_ros.options.text import shown

FARTHEST_M = 1000.0  # that a tape, or a laser in the hand, measures
COLUMNS = ('frame', 'stamp', 'u', 'v', 'bearing', 'metres')
MOST_BYTES = 16 << 20
EXAMPLE = 'frame,u,v,metres (or stamp instead of frame, and bearing in degrees instead of u,v)'


@dataclasses.dataclass(frozen=True)
class Tape:
    """One measurement. frame: number of the picture from 0, -1 = by the stamp.

    stamp_s: NaN = by the number. u, v: pixels of the recorded picture; NaN = by the bearing.
    bearing_rad: to the left of straight ahead. metres: from the lens, or from below it. number:
    of the measurement in the table, from 1.
    """

    frame: int
    stamp_s: float
    u: float
    v: float
    bearing_rad: float
    metres: float
    number: int = 1

    def aims_beside(self, size: tuple[int, int]) -> bool:
        """Whether u and v are outside of a picture of (width, height) pixels."""
        beside = not (-0.5 < self.u < size[0] - 0.5 and -0.5 < self.v < size[1] - 0.5)
        return math.isfinite(self.u) and beside

    def misses_view(self, view: PictureView) -> str:
        """Return why a bearing is compared with nothing: neither a beam nor the corridor has it.

        '' where one does, and without a bearing or a mount.
        """
        if view.mount is None or not math.isfinite(self.bearing_rad):
            return ''
        step = view.settings.scan.angle_increment
        first, last = scan_limits(view.camera.normalised_grid(), view.mount, step)
        if first - step / 2 <= self.bearing_rad <= last + step / 2:
            return ''
        ahead = self.metres * math.cos(self.bearing_rad)
        aside = abs(self.metres * math.sin(self.bearing_rad))
        if ahead > 0 and aside <= view.settings.obstacles.robot_width / 2 - BORDER_M:
            return ''
        return (
            f'has the bearing {math.degrees(self.bearing_rad):g}, outside of the view from '
            f'{math.degrees(first):.0f} to {math.degrees(last):.0f} degrees'
        )


def read_tapes(path: Path) -> list[Tape]:
    """Return the measurements of a CSV file with a header line. Raises CommandError."""
    try:
        text = read_text(path, MOST_BYTES)
    except UnreadableFile as error:
        raise CommandError(f'{path}: {error}') from error
    rows = csv.DictReader(
        (line for line in io.StringIO(text) if line.strip() and not line.startswith('#')),
        skipinitialspace=True,
    )
    names = [str(name).strip() for name in rows.fieldnames or ()]
    rows.fieldnames = names
    _check_columns(path, names)
    tapes = [_tape(path, number, row) for number, row in enumerate(rows, 1)]
    if not tapes:
        raise CommandError(f'{path}: the table has no measurement: write lines of {EXAMPLE}')
    return tapes


def _check_columns(path: Path, names: list[str]) -> None:
    for separator, name in ((';', 'semicolons'), ('\t', 'tabs')):
        if len(names) == 1 and separator in names[0]:
            raise CommandError(
                f'{path}: its columns are separated by {name}: write commas between them, and 1.25 '
                'instead of 1,25'
            )
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise CommandError(
            f'{path}: unknown column {shown(unknown[0])}: the first line names some of '
            f'{", ".join(COLUMNS)}'
        )
    picture = 'frame' in names or 'stamp' in names
    aimed = {'u', 'v'} <= set(names) or 'bearing' in names
    if 'metres' not in names or not picture or not aimed:
        raise CommandError(f'{path}: its columns are {", ".join(names) or "none"}: use {EXAMPLE}')


def _tape(path: Path, number: int, row: dict[str | None, Any]) -> Tape:
    """One line. Raises CommandError that names it."""
    if row.get(None):  # what is beyond the last column
        raise CommandError(
            f'{path}: measurement {number} has more values than the {len(row) - 1} columns: write '
            '1.25 instead of 1,25'
        )
    values: dict[str, float] = {}
    for name in COLUMNS:
        text = (row.get(name) or '').strip()
        try:
            values[name] = float(text) if text else math.nan
        except ValueError as error:
            raise CommandError(
                f'{path}: measurement {number}: {name} is {shown(text)}: it must be a number'
            ) from error
    if not 0 < values['metres'] <= FARTHEST_M:
        raise CommandError(
            f'{path}: measurement {number}: metres is {values["metres"]:g}: it must be above 0 '
            f'and at most {FARTHEST_M:g}'
        )
    frame, stamp = values['frame'], values['stamp']
    whole = math.isnan(frame) or (frame >= 0 and frame.is_integer())
    if math.isnan(frame) == math.isnan(stamp) or not whole:
        raise CommandError(
            f'{path}: measurement {number}: frame is {frame:g}, stamp {stamp:g}: give either the '
            'whole number of the frame, from 0, or its stamp in seconds'
        )
    aimed = math.isfinite(values['u']) and math.isfinite(values['v'])
    if aimed == math.isfinite(values['bearing']):
        raise CommandError(
            f'{path}: measurement {number}: give either u and v in pixels, or the bearing in '
            'degrees, left positive'
        )
    if abs(values['bearing']) > 180:
        raise CommandError(
            f'{path}: measurement {number}: bearing is {values["bearing"]:g}: it must be from -180 '
            'to 180 degrees, left positive'
        )
    return Tape(
        -1 if math.isnan(frame) else int(frame),
        stamp,
        values['u'],
        values['v'],
        math.radians(values['bearing']),
        values['metres'],
        number,
    )


def tape_frame(tapes: list[Tape], view: PictureView, size: tuple[int, int]) -> TruthFrame:
    """Return the truth about one picture of (width, height) pixels, turned as `view` is.

    Raises ValueError for a bearing where the mount of the camera is not known.
    """
    x, y = view.camera.normalised_grid()
    rows, columns = x.shape
    aimed = [tape for tape in tapes if math.isfinite(tape.u)]
    u = np.array([tape.u for tape in aimed])
    v = np.array([tape.v for tape in aimed])
    u, v = _turned(u, v, size, view.rotate)
    width, height = size if view.rotate % 180 == 0 else size[::-1]
    u = (u + 0.5) * columns / width - 0.5
    v = (v + 0.5) * rows / height - 0.5
    column = np.clip(np.rint(u), 0, columns - 1).astype(int)
    row = np.clip(np.rint(v), 0, rows - 1).astype(int)
    inside = (u > -0.5) & (u < columns - 0.5) & (v > -0.5) & (v < rows - 0.5)
    # From the lens to the thing is not Z.
    length = np.sqrt(x[row, column] ** 2 + y[row, column] ** 2 + 1)
    z = np.array([tape.metres for tape in aimed]) / length
    good = inside & np.isfinite(z)
    floor = None
    along = [tape for tape in tapes if math.isfinite(tape.bearing_rad)]
    if along and view.mount is None:
        raise ValueError(
            'a bearing needs the mount of the camera: set camera_height and camera_pitch, or '
            'measure to u and v'
        )
    if view.mount is not None:
        points = [
            (tape.metres * math.cos(tape.bearing_rad), tape.metres * math.sin(tape.bearing_rad))
            for tape in along
        ]
        floor = FloorTruth(np.array(points).reshape(-1, 2), np.zeros((0, 2)), 0.0, False)
    pixels = np.stack([u, v, z]).astype(np.float32)[:, good]
    return TruthFrame(pixels[0], pixels[1], pixels[2], floor)


def _turned(
    u: np.ndarray, v: np.ndarray, size: tuple[int, int], degrees: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a picture (width, height) in the picture turned clockwise."""
    width, height = size
    if degrees == 90:
        return height - 1 - v, u
    if degrees == 180:
        return width - 1 - u, height - 1 - v
    if degrees == 270:
        return v, width - 1 - u
    return u, v
