"""What `midas_depth image` makes of one picture: six files, each from one table row.

In come the picture, its relative inverse depth and the options; out come the bytes of the files.
Where the picture says nothing, all but the relative inverse depth as it is leave that out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import glob
import io
import json
import math
import mimetypes
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from midas_depth_ros.cli.options import (
    ASSUMED_FOV_RAD,
    FAR_PERCENTILE,
    FIXED_SCALE,
    MODEL,
    MOUNT,
    NEAR_PERCENTILE,
    PICTURE_CHECK,
    ROTATE,
    Look,
    Metres,
    SectionCommand,
    as_options,
    blind_words,
    captions_of,
    heatmap_parameters,
    look_of,
    node_parameters,
)
from midas_depth_ros.depth import DepthError, DepthEstimator
from midas_depth_ros.geometry import (
    Closeness,
    GeometryError,
    Refusal,
    ScaleShift,
    ply_bytes,
    point_cloud,
    turned,
)
from midas_depth_ros.images import BitDepth, ImageError, verdict_for
from midas_depth_ros.images.encode import picture_reduced
from midas_depth_ros.images.sources import expanded
from midas_depth_ros.images.sources.pictures import (
    PICTURE_SUFFIXES,
    is_picture,
    natural_order,
    read_picture,
)
from midas_depth_ros.lab.output import (
    CommandError,
    Reporter,
    progress_bar,
    write_atomically,
    write_errors,
)
from midas_depth_ros.options.files import is_folder, is_there
from midas_depth_ros.options.text import printable
from midas_depth_ros.views import Heatmap, HeatmapOptions, ViewError, side_by_side

if TYPE_CHECKING:
    from midas_depth_ros.depth import DepthEstimator

OVERLAY_ALPHA = 0.5  # of the overlay, where none is given for the heatmap
DEEPEST = 65535
CLOUD_DEPTH_M = (0.05, 50.0)  # of the points of a cloud in metres
# A cloud without a scale needs some: what is nearest is put at 1, what is farthest at 10.
NEAREST, FARTHEST = 1.0, 10.0
LONGEST_SIDES = {'.webp': 16_383, '.jpg': 65_500, '.jpeg': 65_500}  # pixels, by the formats


class Result:
    """One picture and what the network says of it. What several outputs need is made once.

    rgb: (H, W, 3) uint8, no side above `longest_side` (0 = as the picture is). answer: (h, w)
    float32 relative inverse depth at network size, as the network says it. inverse_depth: the same
    with NaN where the picture says nothing.
    """

    def __init__(
        self,
        name: str,
        rgb: NDArray[np.uint8],
        estimator: DepthEstimator,
        look: Look,
        longest_side: int = 0,
        suffix: str = '.png',
    ) -> None:
        """`suffix`: of the kind of file that pictures are encoded as."""
        self.name = name
        self.rgb = shrunk(rgb, longest_side)
        self.suffix = suffix
        self.look = look
        self.model = estimator.model
        self.answer = estimator.infer(rgb)
        self.verdict = verdict_for(estimator, rgb, check=look.picture_check)
        self.inverse_depth = self.verdict.hidden(self.answer)
        self._enlarge = estimator.enlarge

    @functools.cached_property
    def depth(self) -> NDArray[np.float32]:
        """(H, W) float32 relative inverse depth, as the node publishes it."""
        return self._enlarge(self.answer, self.rgb.shape[:2])

    @functools.cached_property
    def scale(self) -> ScaleShift | Refusal:
        """Metres, or why there are none."""
        return self.look.fit(self.inverse_depth, self.verdict)

    @functools.cached_property
    def closeness(self) -> Closeness:
        """Of the nearest obstacle left, in the centre and right; NaN = unknown."""
        return self.look.closeness(self.inverse_depth, self.verdict)

    @functools.cached_property
    def heatmap(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB by the options."""
        return self.drawn(self.look.heatmap)

    def drawn(self, options: HeatmapOptions) -> NDArray[np.uint8]:
        """The heatmap by other options."""
        size, depth = self.rgb.shape[:2], self.inverse_depth
        scale = None
        if options.mode == 'metric' and isinstance(self.scale, ScaleShift):
            scale = self.scale
            fitted = self.look.fitted(scale.inverse_depth(depth))
            near, far = fitted.metric_near, fitted.metric_far
            options = dataclasses.replace(options, metric_near=near, metric_far=far)
        return Heatmap().render(depth, self.rgb, 0.0, options, size, scale)


def closeness_json(near: Closeness) -> dict[str, float | str | None]:
    """As the HTTP API has it: null = unknown."""
    values = {'left': near.left, 'centre': near.centre, 'right': near.right}
    return {
        **{name: round(float(v), 4) if math.isfinite(v) else None for name, v in values.items()},
        'reason': near.reason,
    }


def heatmap_png(result: Result) -> bytes:
    """The heatmap."""
    return encoded(result.heatmap, result.suffix)


def overlay_png(result: Result) -> bytes:
    """The heatmap with the picture shining through."""
    options = result.look.heatmap
    alpha = options.overlay_alpha or OVERLAY_ALPHA
    drawn = result.drawn(dataclasses.replace(options, overlay_alpha=alpha))
    return encoded(drawn, result.suffix)


def side_by_side_png(result: Result) -> bytes:
    """Picture | heatmap, with captions and closeness."""
    near, mode = result.closeness, result.look.heatmap.mode
    captions = captions_of(result.name, result.model, mode, result.verdict)
    thirds = (near.left, near.centre, near.right)
    beside = side_by_side(result.rgb, result.heatmap, captions, thirds)
    return encoded(beside, result.suffix)


def depth_png(result: Result) -> bytes:
    """Relative inverse depth in 16 bits, from the farthest (0) to the nearest (65535).

    The values of both are in the file's text fields `far` and `near`.
    """
    far, near = float(result.depth.min()), float(result.depth.max())
    share = (result.depth - far) / ((near - far) or 1.0)
    about = PngImagePlugin.PngInfo()
    about.add_text('Description', 'relative inverse depth, no unit: far + v/65535 * (near - far)')
    about.add_text('far', repr(far))
    about.add_text('near', repr(near))
    buffer = io.BytesIO()
    levels = np.rint(share * DEEPEST).astype(np.uint16)
    Image.fromarray(levels).save(buffer, format='PNG', pnginfo=about)
    return buffer.getvalue()


def depth_npy(result: Result) -> bytes:
    """Relative inverse depth as it is, (H, W) float32."""
    buffer = io.BytesIO()
    np.save(buffer, result.depth)
    return buffer.getvalue()


def cloud_ply(result: Result) -> bytes:
    """Coloured points at network size, of what the picture shows; in metres only with a scale.

    Raises CommandError where the picture says nothing, and where metres were asked for and the fit
    was refused: a cloud of another unit in its place would be mistaken for one in metres.
    """
    depth, metres = result.inverse_depth, result.look.metres
    scale = result.scale
    if not metres.asked:
        if result.verdict.reason:
            raise CommandError(f'no cloud: the picture is {result.verdict.reason}')
        known = depth[np.isfinite(depth)]
        far, near = np.percentile(known, (FAR_PERCENTILE, NEAR_PERCENTILE))
        share = np.clip((depth - far) / max(float(near - far), 1e-9), 0, 1)
        depth_z = 1 / (1 / FARTHEST + share * (1 / NEAREST - 1 / FARTHEST))
        unit = (
            f'unit: none. Relative shape only: the nearest was put at {NEAREST:g}, the farthest '
            f'at {FARTHEST:g}; scale and shift are unknown'
        )
    elif isinstance(scale, Refusal):
        raise CommandError(f'no cloud: there are no metres: {scale.reason}')
    else:
        depth_z = scale.depth(depth, min_depth_m=CLOUD_DEPTH_M[0], max_depth_m=CLOUD_DEPTH_M[1])
        unit = f'unit: metres, by {scale.source}: 1/Z = {scale.scale:.9g} d + {scale.shift:.9g}'
    colours = picture_reduced(result.rgb, depth.shape)
    points = point_cloud(depth_z.astype(np.float32), metres.any_grid(depth.shape))
    return ply_bytes(points, colours, (unit, _lens(metres), 'x right, y down, z forward'))


def _lens(metres: Metres) -> str:
    fov = metres.horizontal_fov_rad
    if fov == fov:
        return f'horizontal field of view {fov:g} rad'
    return f'horizontal field of view {ASSUMED_FOV_RAD:g} rad, assumed'


def encoded(rgb: NDArray[np.uint8], suffix: str = '.png') -> bytes:
    """A picture file of (H, W, 3) uint8 RGB. Raises CommandError."""
    most = LONGEST_SIDES.get(suffix, max(rgb.shape))
    if max(rgb.shape) > most:
        raise CommandError(
            f'a {suffix} of {rgb.shape[1]}x{rgb.shape[0]} pixels is too large: no side above '
            f'{most}; --max-side makes it smaller'
        )
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise CommandError(f'OpenCV makes no {suffix} of {rgb.shape[1]}x{rgb.shape[0]} pixels')
    return bytes(data)


def shrunk(rgb: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 with no side above `longest_side` (0 = as it is), its shape kept."""
    height, width = rgb.shape[:2]
    factor = longest_side / max(height, width) if longest_side else 1.0
    if factor >= 1:
        return rgb
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


# Name of an output -> how its file's name ends, and what makes it.
OUTPUTS: Final[dict[str, tuple[str, Callable[[Result], bytes]]]] = {
    'heatmap': ('_heatmap.png', heatmap_png),
    'overlay': ('_overlay.png', overlay_png),
    'side-by-side': ('_side_by_side.png', side_by_side_png),
    'depth16': ('_depth16.png', depth_png),
    'npy': ('_depth.npy', depth_npy),
    'cloud': ('_cloud.ply', cloud_ply),
}

# What one output may be written as, where its file is named.
PICTURE_ENDINGS: Final = ('.png', '.jpg', '.jpeg', '.webp')
ENDINGS: Final = {
    **dict.fromkeys(('heatmap', 'overlay', 'side-by-side'), PICTURE_ENDINGS),
    'depth16': ('.png',),
    'npy': ('.npy',),
    'cloud': ('.ply',),
}


# --- `midas_depth image`: pictures in; heatmaps, overlays, depth and point clouds out. No ROS.
#
# A picture that cannot be done is named with its fault and skipped. Inputs are never written to,
# and what is there already is kept, unless --force is given.

# --- Which pictures a person means: files, folders of them and patterns, each once, in order.


def expand(named: Iterable[str], leave_out: Iterable[str] = ()) -> list[Path | CommandError]:
    """The pictures, and in the place of what stands for none the error that says so.

    A folder gives its pictures in natural order, without those of its sub-folders and without
    those whose names end in one of `leave_out` (what an earlier run left there). A name that
    does not exist is tried as a pattern (**, * and ?), for shells that do not expand it.
    """
    found: list[Path | CommandError] = []
    seen: set[str] = set()
    for text in named:
        for each in _meant(text, tuple(leave_out)):
            key = os.path.realpath(each) if isinstance(each, Path) else str(each)
            if key not in seen:
                seen.add(key)
                found.append(each)
    return found


def _meant(text: str, leave_out: tuple[str, ...]) -> list[Path | CommandError]:
    path = expanded(text)
    if not text:
        return [CommandError('a FILE without a name: there is no such file or folder')]
    if is_folder(path):
        return _of_folder(path, leave_out)
    if is_there(path) or path.is_symlink():
        return [path]
    if not glob.has_magic(text):
        return [CommandError(f'{text}: there is no such file or folder')]
    matched = [found for found in _matches(path) if is_picture(found) and is_there(found)]
    if not matched:
        return [CommandError(f'{text}: no picture matches ({", ".join(PICTURE_SUFFIXES)})')]
    return [*sorted((each for each in matched if not is_folder(each)), key=natural_order)]


def _matches(pattern: Path) -> Iterable[Path]:
    """What a pattern means. Through ** no links are followed: they may lead in circles."""
    if '**' not in pattern.parts:
        return map(Path, glob.glob(str(pattern)))
    first = next(number for number, part in enumerate(pattern.parts) if glob.has_magic(part))
    folder = Path(*pattern.parts[:first])
    found = folder.glob(str(Path(*pattern.parts[first:])))
    return [each for each in found if not _is_hidden(each.relative_to(folder))]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith('.') for part in path.parts)


def _of_folder(folder: Path, leave_out: tuple[str, ...]) -> list[Path | CommandError]:
    try:
        pictures = [path for path in folder.iterdir() if is_picture(path)]
    except OSError as error:
        return [CommandError(f'{folder}: the folder cannot be read: {error.strerror}')]
    pictures = [path for path in pictures if not path.name.endswith(leave_out)]
    if not pictures:
        return [CommandError(f'{folder}: the folder holds no pictures; sub-folders are not read')]
    return [*sorted(pictures, key=natural_order)]


# What one bad picture may come to; the others are done all the same.
FAULTS = (ImageError, DepthError, GeometryError, ViewError, CommandError)

HELP = """Heatmap, depth and point cloud of pictures.

FILE is a picture, a folder of pictures or a pattern ('*.jpg'). Of picture.jpg these are made, all
or those named by --only:

\b
  heatmap       picture_heatmap.png       warm is near
  overlay       picture_overlay.png       with the picture shining through
  side-by-side  picture_side_by_side.png  picture | heatmap, with closeness
  depth16       picture_depth16.png       relative inverse depth, 0 to 65535
  npy           picture_depth.npy         relative inverse depth as it is, float32
  cloud         picture_cloud.ply         coloured points

They are at most --max-side pixels wide and high. Of one picture one output may be named as a file:
-o result.png. Of a.jpg and a.png in one folder they are called a_jpg_heatmap.png and
a_png_heatmap.png. What is there already is kept, so that a batch that was stopped can be called
again.

Relative inverse depth has no unit: larger is nearer, within one picture. The cloud has none either,
unless a scale is given: --camera-height, --camera-pitch and --horizontal-fov (metres by the floor
in view; where no floor can be fitted there is no cloud, and it is said why), or --fixed-scale.

A picture that says nothing about depth (dark, white, fogged, out of focus, covered), or a part of
which does not, is named with the reason: there its heatmap is grey and closeness unknown, and there
are no points. depth16 and npy are what the network says all the same.

With --mode metric the colours go from the nearest to the farthest of the picture, as the legend
says, but for --metric-near and --metric-far where they are given.

Exit code: 0 all done or there already, 1 some pictures failed, 2 wrong usage, 128 plus the number
of the signal that stopped it.
"""


@click.command(name='image', cls=SectionCommand, help=HELP, context_settings={'show_default': True})
@click.argument('files', metavar='FILE...', nargs=-1, required=True)
@click.option(
    '-o',
    '--output',
    type=click.Path(path_type=Path),
    default=Path('midas_depth_output'),
    help='Folder of what is made; it comes into being if it must. Of one picture also a file.',
)
@click.option(
    '--only',
    type=click.Choice(list(OUTPUTS)),
    multiple=True,
    help='Make only this; may be given several times.',
)
@click.option('--force', is_flag=True, help='Overwrite what an earlier run made.')
@click.option(
    '--max-side',
    type=click.IntRange(0, 65_535),
    default=1280,
    help='What is made of larger pictures is so wide or high; 0 = as large as they are. [px]',
)
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
@node_parameters('Model', *MODEL)
@heatmap_parameters
@node_parameters('Mounting', ROTATE)
@node_parameters('Metres', *MOUNT)
@node_parameters('Metres', *FIXED_SCALE, unset=True)
@node_parameters('Blindness', PICTURE_CHECK)
@click.pass_context
def image(
    ctx: click.Context,
    files: tuple[str, ...],
    output: Path,
    only: tuple[str, ...],
    force: bool,
    max_side: int,
    as_json: bool,
    **values: Any,
) -> None:
    """Do the pictures one by one and say what came of it."""
    look = look_of(ctx, values)
    if look.heatmap.mode == 'metric' and not look.metres.asked:
        raise click.UsageError(
            '--mode metric needs metres: --camera-height, --camera-pitch and --horizontal-fov, or '
            '--fixed-scale'
        )
    wanted = tuple(name for name in OUTPUTS if not only or name in only)
    inputs = expand(files, leave_out=[ending for ending, _ in OUTPUTS.values()])
    file = None
    if is_file_name(output):
        if len(inputs) > 1:
            raise click.UsageError(
                f'-o {output} is one file, but there are {len(inputs)} pictures: name a folder'
            )
        file, wanted = output, (output_for(output, only),)
    elif is_picture_name(output):
        raise click.UsageError(
            f'-o {output}: nothing is written as {output.suffix}: name {ALL_ENDINGS}, or a folder'
        )
    elif is_there(output) and not is_folder(output):
        raise click.UsageError(f'-o {output} is a file: name a folder, or {ALL_ENDINGS}')
    batch = Batch(output, file, wanted, force, max_side, look, inputs, values, as_json)
    done = batch.run()
    if as_json:
        found = {'done': done, 'kept': batch.kept, 'output': str(output), 'pictures': batch.found}
        click.echo(json.dumps(found))
    else:
        kept = f', {batch.kept} there already (--force makes them anew)' if batch.kept else ''
        line = f'{done} of {len(inputs)} done{kept}: {", ".join(wanted)} in {output}'
        click.echo(printable(line))
    ctx.exit(0 if done + batch.kept == len(inputs) else 1)


ALL_ENDINGS = ', '.join(sorted({f'*{each}' for endings in ENDINGS.values() for each in endings}))


def is_file_name(output: Path) -> bool:
    """Whether -o names a file that is to be written, by its ending; what is a folder stays one."""
    endings = {each for name in OUTPUTS for each in ENDINGS[name]}
    return output.suffix.lower() in endings and not is_folder(output)


def is_picture_name(output: Path) -> bool:
    """Whether -o names a picture or a video, and no folder of pictures, of whatever format."""
    kind = mimetypes.MimeTypes().guess_type(output.name)[0] or ''
    is_one = kind.startswith(('image/', 'video/')) or output.suffix.lower() in PICTURE_SUFFIXES
    return is_one and not is_folder(output)


def output_for(output: Path, only: tuple[str, ...]) -> str:
    """Which output a file holds: the one of --only, else by its ending. Raises UsageError."""
    fitting = [name for name in OUTPUTS if output.suffix.lower() in ENDINGS[name]]
    if len(only) > 1:
        raise click.UsageError(f'-o {output} is one file: give one --only, or name a folder')
    if only and only[0] not in fitting:
        raise click.UsageError(
            f'-o {output}: {only[0]} is written as {", ".join(ENDINGS[only[0]])}'
        )
    return only[0] if only else fitting[0]


class Batch:
    """The pictures of one call, and what has been written for them."""

    def __init__(
        self,
        output: Path,
        file: Path | None,
        wanted: tuple[str, ...],
        force: bool,
        longest_side: int,
        look: Look,
        inputs: list[Path | CommandError],
        values: dict[str, Any],
        as_json: bool,
    ) -> None:
        """`file`: that is written in place of those in the folder `output`."""
        self._folder = output.parent if file else output
        self._file = file
        self._longest_side = longest_side
        self._wanted = wanted
        self._force = force
        self._look = look
        self._inputs = inputs
        self._values = values
        self._as_json = as_json
        self._given = {os.path.realpath(each) for each in inputs if isinstance(each, Path)}
        self._names = names_of(with_siblings([each for each in inputs if isinstance(each, Path)]))
        self._made: dict[Path, Path] = {}  # output -> the picture it is of
        self.kept = 0  # pictures of which all was there already
        self.found: list[dict[str, Any]] = []  # of each picture, as JSON has it

    def run(self) -> int:
        """How many were done; the others are named. Raises DepthError where there is no model."""
        from midas_depth_ros.cli.options import estimator_of

        # Before the bar, for a model may be fetched; not where there is nothing to do.
        to_do = any(isinstance(each, Path) and self._is_to_do(each) for each in self._inputs)
        estimator = estimator_of(self._values) if to_do else None
        done = 0
        with progress_bar('pictures', len(self._inputs)) as report:
            for each in self._inputs:
                faults: list[Exception] = []
                about: dict[str, Any] = {}
                if isinstance(each, CommandError):
                    faults = [each]
                else:
                    faults = self._do(each, estimator, about, report)
                lines = [fault_line(each, fault) for fault in faults]
                for line in lines:
                    report.print(line)
                if self._as_json:
                    self.found.append({**about, 'faults': lines})
                is_kept = bool(about.get('kept')) and not about['made'] and not faults
                self.kept += is_kept
                done += not faults and not is_kept
                report.advance()
        return done

    def _do(
        self,
        picture: Path,
        estimator: DepthEstimator | None,
        about: dict[str, Any],
        report: Reporter,
    ) -> list[Exception]:
        """Do one picture; what went wrong with it. `about` is filled with what JSON tells of it."""
        about['picture'] = str(picture)
        try:
            paths, kept = self._paths_of(picture)
            about |= {'kept': [path.name for path in kept], 'made': []}
            self._made |= dict.fromkeys(kept, picture)
            if kept:
                names = ', '.join(path.name for path in kept)
                report.print(f'{picture}: there already in {self._folder}: {names}')
            if not paths or estimator is None:
                return []
            bit_depth = BitDepth(self._values['bit_depth'])  # each is a picture for itself
            rgb = read_picture(picture, self._values['max_pixels'], bit_depth)
            rgb = turned(rgb, self._values['rotate'])
            suffix = self._file.suffix.lower() if self._file else '.png'
            look, side = self._look, self._longest_side
            result = Result(picture.name, rgb, estimator, look, side, suffix)
            blind = blind_words(result.verdict)
            if blind:
                report.print(f'{picture}: {blind}')
            if self._as_json:
                about |= {
                    'width': rgb.shape[1],
                    'height': rgb.shape[0],
                    'model': result.model,
                    'closeness': closeness_json(result.closeness),
                    'blind': result.verdict.text,
                }
            with write_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
        except FAULTS as error:
            return [error]
        faults: list[Exception] = []
        for name, path in paths.items():
            try:
                write_atomically(path, OUTPUTS[name][1](result))
                self._made[path] = picture
                about['made'].append(path.name)
            except FAULTS as error:
                faults.append(error)
        return faults

    def _is_to_do(self, picture: Path) -> bool:
        """Whether something would be made of a picture."""
        try:
            return bool(self._paths_of(picture)[0])
        except CommandError:
            return False

    def _paths_of(self, picture: Path) -> tuple[dict[str, Path], list[Path]]:
        """Where its outputs go, and those that are there already and stay.

        Raises CommandError where another picture's are there, or it would be written to an input.
        """
        name = self._names[picture]
        paths = {each: self._folder / (name + OUTPUTS[each][0]) for each in self._wanted}
        if self._file:
            paths = dict.fromkeys(self._wanted, self._file)
        for path in paths.values():
            other = self._made.get(path, picture)
            if other != picture:
                raise CommandError(
                    f'{path} is that of {other}: give them different names or folders'
                )
            if os.path.realpath(path) in self._given:
                raise CommandError(f'{path} is one of the inputs: name another folder by -o')
        kept = [] if self._force else [path for path in paths.values() if is_there(path)]
        if kept and self._file:
            raise CommandError(f'{self._file} is there already: give --force to overwrite it')
        return {each: path for each, path in paths.items() if path not in kept}, kept


def with_siblings(pictures: list[Path]) -> list[Path]:
    """The pictures, and those beside them: one by one they are called as in their folder."""
    made = tuple(ending for ending, _ in OUTPUTS.values())
    found = dict.fromkeys(pictures)
    for folder in dict.fromkeys(each.parent for each in pictures):
        with contextlib.suppress(OSError):
            beside = (each for each in folder.iterdir() if is_picture(each))
            found |= dict.fromkeys(each for each in beside if not each.name.endswith(made))
    return list(found)


def names_of(pictures: list[Path]) -> dict[Path, str]:
    """What the outputs of each picture are called after: its name, with its ending where needed.

    IMG_1.HEIC and IMG_1.JPG are two pictures to a person, and so they are here.
    """
    long: set[str] = set()  # names of pictures that are called after their endings, too
    while True:
        names = {
            each: f'{each.stem}_{each.suffix[1:]}' if each.name in long else each.stem
            for each in pictures
        }
        shared: dict[str, set[str]] = {}
        for picture, name in names.items():
            shared.setdefault(name, set()).add(picture.name)
        more = {each for group in shared.values() if len(group) > 1 for each in group} - long
        if not more:
            return names
        long |= more


def fault_line(each: Path | CommandError, error: Exception) -> str:
    """One line: which picture, and what is wrong with it."""
    text = as_options(' '.join(str(error).split()))
    return text if isinstance(each, CommandError) else f'{each}: {text}'
