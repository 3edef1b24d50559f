"""`midas_depth video`: a video in, the same beside its steady heatmap out, without ROS.

If the input is damaged or the command is interrupted, the frames done so far are kept.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.cli.options import (
    BLINDNESS,
    FIXED_SCALE,
    HEATMAP,
    MODEL,
    MOUNT,
    ROTATE,
    Look,
    NumberRange,
    SectionCommand,
    as_options,
    by_model,
    captions_of,
    look_of,
    model_file_option,
    node_parameters,
    nowhere_text,
)
from midas_depth_ros.cli.video_file import FORMATS, VideoFile, library, video_file
from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import ScaleFilter, ScaleShift, SteadyDepth, turned
from midas_depth_ros.images import FreezeDetector, ImageError, Verdict, verdict_for
from midas_depth_ros.images.sources import Source, SourceError, open_source
from midas_depth_ros.lab.output import CommandError, Reporter, check_target, progress_bar
from midas_depth_ros.lab.stopping import signals_held
from midas_depth_ros.options.text import printable
from midas_depth_ros.views import (
    Heatmap,
    HeatmapOptions,
    one_above_other,
    side_by_side,
)

LAYOUTS = {'side-by-side': side_by_side, 'heatmap': None, 'above': one_above_other}


class VideoView:
    """Draws the frames of one video, with steady colours."""

    def __init__(
        self,
        estimator: DepthEstimator,
        look: Look,
        steady_s: float,
        scale_s: float,
        frozen_after_s: float = 0.0,
        layout: str = 'side-by-side',
    ) -> None:
        """steady_s, scale_s: time constants of relative depth and of the metric scale.

        frozen_after_s: as in `FreezeDetector`, 0 = never. layout: one of LAYOUTS.
        """
        self._lay_out = LAYOUTS[layout]
        self._estimator = estimator
        self._look = look
        self._steady = SteadyDepth(steady_s)
        self._scale = ScaleFilter(scale_s)
        self._heatmap = Heatmap()
        self._freeze = FreezeDetector()
        self._frozen_after_s = frozen_after_s
        # Ends of the colours in metres, fitted to the first frame that has a scale.
        self.ends_m: tuple[float, float] | None = None
        self.refused, self.reason = 0, ''  # frames without metres, and the last reason
        # Frames that are blind, or blind in part, and the first reason.
        self.blind, self.partly_blind, self.blind_reason = 0, 0, ''

    def draw(self, rgb: NDArray[np.uint8], stamp_s: float, name: str) -> NDArray[np.uint8]:
        """Draw one frame, (H, W, 3) uint8 RGB as the camera took it; the result is upright."""
        rgb = turned(rgb, self._look.metres.rotate)
        answer = self._estimator.infer(rgb)
        verdict = self._verdict(rgb, stamp_s)
        small, options, scale = verdict.masked(answer), self._look.heatmap, None
        if options.mode == 'metric':
            scale = self._scale.update(stamp_s, self._look.fit(small, verdict))
            reason = self._scale.reason
            if scale is not None:
                known = np.isfinite(small).any()
                reason = nowhere_text(scale, small) if known else ''
            if scale is None or reason:
                self.refused, self.reason = self.refused + 1, reason
            depth, options = small, self._fitted(scale, small)
        else:
            # A blind frame does not change the steady depth.
            depth = small if verdict.reason else self._steady.update(stamp_s, small)
        heatmap = self._heatmap.render(depth, rgb, stamp_s, options, rgb.shape[:2], scale)
        if self._lay_out is None:
            return heatmap
        near = self._look.closeness(small, verdict)
        title = f'{name}  {stamp_s:.1f} s'
        captions = captions_of(title, self._estimator.model, options.mode, verdict)
        return self._lay_out(rgb, heatmap, captions, (near.left, near.centre, near.right))

    def _fitted(self, scale: ScaleShift | None, depth: NDArray[np.float32]) -> HeatmapOptions:
        """Return the options with the ends of the colours fitted to the first frame in metres."""
        options = self._look.heatmap
        if self.ends_m is None and scale is not None:
            fitted = self._look.fitted(scale.inverse_depth(depth))
            if fitted != options:
                self.ends_m = fitted.metric_near, fitted.metric_far
        if self.ends_m is None:
            return options
        near, far = self.ends_m
        return dataclasses.replace(options, metric_near=near, metric_far=far)

    def _verdict(self, rgb: NDArray[np.uint8], stamp_s: float) -> Verdict:
        """Judge a frame, and count it if it is blind."""
        verdict = verdict_for(
            self._estimator,
            rgb,
            check=self._look.picture_check,
            freeze=self._freeze,
            stamp_s=stamp_s,
            frozen_after_s=self._frozen_after_s,
        )
        self.blind += bool(verdict.reason)
        self.partly_blind += bool(verdict.partial_reason)
        self.blind_reason = self.blind_reason or verdict.text
        return verdict


# --- The command.

HELP = """Make a video of picture and heatmap, or of the heatmap alone.

IN is a video file, a folder of pictures, a rosbag2 or a camera's device number (until Ctrl-C).
Frame times and sound are those of IN. .mp4 and .webm play in browsers; .avi has a fixed rate. The
scale of a network's output changes with every frame: each frame is first aligned to the one before,
then averaged over --steady seconds. Colours follow slowly (--range-time-constant).

With --mode metric the colours are metres, which needs --camera-height, --camera-pitch and
--horizontal-fov, or --fixed-scale. Frames without a floor are grey. Colours range from the 2nd to
the 98th percentile of the distances in the first frame with metres, unless --metric-near and
--metric-far are given.

Blind frames (dark, overexposed, fogged, out of focus, covered) and blind parts of frames are grey,
and their closeness is unknown; so are frozen frames of a camera or a bag. Their number and the
first reason are printed at the end.

Exit code: 0 all done, 1 the input ended early or some frames failed, 2 wrong usage, 128 plus the
number of the signal that stopped it. Frames done so far are kept in any case.
"""


@click.command(name='video', cls=SectionCommand, help=HELP, context_settings={'show_default': True})
@click.argument('source', metavar='IN')
@click.option(
    '-o',
    '--output',
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    show_default='NAME_depth.mp4 in the current folder',
    help=f'The video to write; its suffix is one of {", ".join(FORMATS)}.',
)
@click.option('--force', is_flag=True, help='Overwrite the output if it exists.')
@click.option(
    '--layout',
    type=click.Choice(list(LAYOUTS)),
    default='side-by-side',
    help='Picture beside heatmap, heatmap alone, or picture above heatmap.',
)
@click.option(
    '--steady',
    type=NumberRange(0, 10),
    default=0.2,
    help='Time constant of averaging aligned frames; 0 = align only. [s]',
)
@click.option(
    '--width',
    type=click.IntRange(0, 7680),
    default=960,
    help='Shrink wider frames to this width; 0 = never. [px]',
)
@click.option(
    '--rate',
    type=NumberRange(0.1, 1000),
    default=10.0,
    help='Frame rate for an input without one, such as a folder. [Hz]',
)
@click.option('--topic', default='', show_default=False, help='Image topic of a bag.')
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
@node_parameters('Model', *MODEL)
@model_file_option
@node_parameters('Heatmap', *HEATMAP)
@node_parameters('Mounting', ROTATE)
@node_parameters('Metres', *MOUNT)
@node_parameters('Metres', *FIXED_SCALE, unset=True)
@node_parameters('Metres', 'scale.time_constant')
@node_parameters('Blindness', *BLINDNESS)
@click.pass_context
def video(
    ctx: click.Context,
    source: str,
    output: Path | None,
    force: bool,
    layout: str,
    steady: float,
    width: int,
    rate: float,
    topic: str,
    as_json: bool,
    **values: Any,
) -> None:
    """Draw every frame, and print a summary."""
    from midas_depth_ros.cli.options import estimator_of

    look = look_of(ctx, values)
    path = output or Path(f'{Path(source.rstrip("/")).stem}_depth.mp4')
    check_output(path, source, force)
    faults: list[str] = []
    try:
        opened = open_source(
            source, topic, values['max_pixels'], faults.append, values['bit_depth']
        )
    except ImageError as error:
        raise CommandError(as_options(str(error))) from error
    # A live sensor has noise: identical frames mean that it is frozen. In a video file they do not:
    # codecs and screen recorders repeat unchanged frames, and a recording may be paused.
    frozen_after_s = values['frozen_after'] if opened.live or opened.has_stamps else 0.0
    estimator = estimator_of(values)
    look = by_model(look, estimator)
    view = VideoView(estimator, look, steady, values['time_constant'], frozen_after_s, layout)
    rate_hz = opened.rate_hz or rate
    with (
        progress_bar('frames', opened.length) as report,
        video_file(path, rate_hz, opened, report.print) as made,
    ):
        faults += draw_all(opened, view, made, width, rate_hz, report)
        faults = [as_options(text) for text in faults]
        for text in faults:
            report.print(text)
    if as_json:
        click.echo(json.dumps(summary(path, made.count, view, faults)))
    else:
        for line in summary_lines(path, made.count, view):
            click.echo(printable(line))
    ctx.exit(1 if faults or not made.count else 0)


def summary_lines(path: Path, frames: int, view: VideoView) -> Iterator[str]:
    """Yield the summary in lines."""
    if view.refused:
        reason = as_options(view.reason)
        yield f'{view.refused} of {frames} frames have no metres; the last reason: {reason}'
    if view.blind_reason:
        counts = f'{view.blind} of {frames} frames are blind, {view.partly_blind} in part'
        yield f'{counts}; the first reason: {as_options(view.blind_reason)}'
    if view.ends_m is not None:
        near, far = view.ends_m
        yield (
            f'colours range from {near:g} to {far:g} m, as in the first frame with metres; '
            '--metric-near and --metric-far set them'
        )
    if frames:
        yield f'{frames} frames in {path}'


def summary(path: Path, frames: int, view: VideoView, faults: list[str]) -> dict[str, Any]:
    """Return the summary for JSON. blind: the first reason for a blind frame, '' without one."""
    return {
        'output': str(path) if frames else None,
        'frames': frames,
        'frames_without_metres': view.refused,
        'last_refusal': view.reason,
        'blind_frames': view.blind,
        'partly_blind_frames': view.partly_blind,
        'blind': view.blind_reason,
        'faults': faults,
    }


def check_output(path: Path, source: str, force: bool) -> None:
    """Raise CommandError if the output must not or cannot be written."""
    check_target(path, (source,), force)
    if path.suffix.lower() not in FORMATS:
        raise CommandError(f'{path}: the suffix of a video must be one of {", ".join(FORMATS)}')
    library()


def draw_all(
    source: Source, view: VideoView, made: VideoFile, width: int, rate_hz: float, report: Reporter
) -> list[str]:
    """Draw until the source ends; returns its faults."""
    faults: list[str] = []
    name, begin_s = Path(source.name).name, time.monotonic()
    try:
        for index, frame in enumerate(source):
            due_s = index / rate_hz if frame.time_ns is None else frame.time_ns / 1e9
            if source.live:
                due_s = time.monotonic() - begin_s
            try:
                with signals_held():
                    drawn = view.draw(frame.shrunk(width).rgb(), due_s, name)
            except ImageError as error:
                faults.append(f'{frame.name}: skipped: {error}')
                continue
            made.write(drawn, due_s)
            report.advance()
    except SourceError as error:
        faults.append(str(error))
    return faults
