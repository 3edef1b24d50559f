"""The plots of the page, drawn by matplotlib as SVG that takes the colours of the page.

Text stays text. Colours are written as placeholders and replaced by CSS variables, so that one
drawing serves a light and a dark page. Series differ in marker and line as well as in colour.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from midas_depth_ros.lab.evaluate.frames import FrameRecord
from midas_depth_ros.lab.evaluate.summary import (
    EDGES_M,
    LEAST_PIXELS,
    SIGMA_SHARES,
    Numbers,
    beams_joined,
    judged_beams,
    ratios_of,
    said_free,
)
from midas_depth_ros.lab.output import CommandError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID, BAD = '#010203', '#040506', '#070809'
SERIES = ('#0a0b01', '#0a0b02', '#0a0b03', '#0a0b04', '#0a0b05', '#0a0b06')
CSS = {
    INK: 'currentColor',
    GRID: 'var(--grid)',
    BAD: 'var(--bad)',
    **{colour: f'var(--s{number})' for number, colour in enumerate(SERIES, 1)},
}
MARKERS, LINES = 'osD^vP', ('-', '--', '-.', ':', (0, (5, 1)), (0, (1, 1)))
SIZE_IN = (4.6, 3.0)  # small, so that its text can be read on a phone
LINE_IN = 0.17  # of the legend, which is above the plot
MOST_DOTS = 1500  # of a scatter plot: each is an element of the page


class Run:
    """One run of the page: its name, frames and figures."""

    def __init__(self, name: str, frames: Sequence[FrameRecord], figures: Numbers) -> None:
        self.name, self.frames, self.figures = name, frames, figures

    @property
    def label(self) -> str:
        """The name as matplotlib takes it: no mathematics between dollars, and never hidden."""
        return self.name.lstrip('_').replace('$', r'\$')


def check_library() -> None:
    """Raise CommandError where matplotlib is missing."""
    try:
        importlib.import_module('matplotlib.figure')
    except ImportError as error:
        raise CommandError(
            f'the page needs matplotlib ({error}): pip install matplotlib, or apt install '
            'python3-matplotlib; --json alone does without'
        ) from error


@contextlib.contextmanager
def style() -> Iterator[Any]:
    """Yield matplotlib's Figure with our settings."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        'svg.fonttype': 'none',
        'svg.hashsalt': 'midas_depth',
        'font.family': 'sans-serif',
        'font.size': 9,
        'axes.spines.top': False,
        'axes.spines.right': False,
        'axes.grid': True,
        'grid.linewidth': 0.6,
        'legend.frameon': False,
        'legend.fontsize': 8,
        'lines.linewidth': 1.4,
        'lines.markersize': 4,
        **dict.fromkeys(
            ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color'), INK
        ),
        'grid.color': GRID,
    }
    with mpl.rc_context(settings):
        yield Figure


def svg(name: str, title: str, draw: Callable[[Axes], None]) -> str:
    """Return an <svg> element. name: unique on the page; title: what it shows, for who hears it."""
    with style() as figure_class:
        figure = figure_class(figsize=SIZE_IN, layout='constrained')
        axes = figure.add_subplot()
        draw(axes)
        legend = axes.get_legend()
        lines = 0 if legend is None else len(legend.get_texts())
        figure.set_size_inches(SIZE_IN[0], SIZE_IN[1] + LINE_IN * lines)
        text = io.StringIO()
        figure.savefig(text, format='svg', transparent=True, metadata={'Date': None})
    return _inline(text.getvalue(), name, title)


def _inline(document: str, name: str, title: str) -> str:
    """A whole SVG document as an element of a page."""
    body = document[document.index('<svg') :]
    body = re.sub(r'<metadata>.*?</metadata>', '', body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(url\(#|href="#)', rf'\g<1>{name}-', body)
    for colour, css in CSS.items():
        body = body.replace(colour, css)
    view = re.search(r'viewBox="[^"]*"', body)
    end = body.index('>')
    label = title.replace('&', '&amp;').replace('"', '&quot;').replace('<', '&lt;')
    return (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {view.group() if view else ""} '
        f'role="img" aria-label="{label}">{body[end + 1 :].strip()}'
    )


def percent(axes: Axes, which: str = 'y') -> None:
    """Label an axis in percent."""
    from matplotlib.ticker import FuncFormatter

    axis = axes.yaxis if which == 'y' else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f'{100 * value:.4g} %'))


def looks(index: int) -> dict[str, Any]:
    """Return colour, marker and line of a series."""
    kind = index % len(SERIES)
    return {'color': SERIES[kind], 'marker': MARKERS[kind], 'linestyle': LINES[kind]}


def thinned(frames: Sequence[FrameRecord]) -> tuple[Sequence[FrameRecord], str]:
    """Return the frames to draw over time, and the label of that axis."""
    step = max(1, -(-len(frames) // MOST_DOTS))
    return frames[::step], 'time [s]' if step == 1 else f'time [s], one of {step} frames'


# --- The plots. Each takes all runs, and draws nothing where there is nothing to draw.


def by_range(runs: Sequence[Run], key: str, label: str) -> Callable[[Axes], None]:
    """Return what draws a figure of `depth.by_range`."""

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            rows = run.figures['depth']['by_range']
            middle = [0.5 * (row['from_m'] + row['to_m']) for row in rows]
            values = [math.nan if row[key] is None else row[key] for row in rows]
            axes.plot(middle, values, label=run.label, **looks(index))
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlabel='true distance Z [m]', ylabel=label)
        percent(axes)
        _legend(axes, runs)

    return draw


def scale_over_time(runs: Sequence[Run]) -> Callable[[Axes], None]:
    """Return what draws how far the metres of each frame are off, and when there were none."""

    def draw(axes: Axes) -> None:
        values: list[float] = []
        label = ''
        for index, run in enumerate(runs):
            frames, label = thinned(run.frames)
            time_s = [frame.time_s for frame in frames]
            ratio = [frame.ratio - 1 for frame in frames]
            values += [value for value in ratio if math.isfinite(value)]
            shown = looks(index) | {'marker': MARKERS[index % 6] if len(ratio) < 120 else ''}
            axes.plot(time_s, ratio, label=run.label, markersize=3, **_without(shown, 'markersize'))
        low, high = _limits(values)
        for index, run in enumerate(runs):
            refused = [frame.time_s for frame in thinned(run.frames)[0] if frame.refused]
            height = low - (index + 1) * 0.06 * (high - low)
            axes.plot(refused, [height] * len(refused), '|', color=looks(index)['color'])
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlabel=label, ylabel='metres too far (+) or near (-)')
        axes.set_ylim(low - (len(runs) + 1) * 0.06 * (high - low), high)
        percent(axes)
        _legend(axes, runs)

    return draw


def sources_over_time(run: Run) -> Callable[[Axes], None]:
    """Return what draws the metres of one source by those of another, over time."""

    def draw(axes: Axes) -> None:
        frames, label = thinned(run.frames)
        pairs = [row['pair'] for row in run.figures['sources']['ratios']]
        values: list[float] = []
        for index, pair in enumerate(pairs):
            found = [(frame.time_s, ratios_of(frame).get(pair, math.nan)) for frame in frames]
            time_s, ratio = zip(*found, strict=True)
            off = [each - 1 for each in ratio]
            values += [each for each in off if math.isfinite(each)]
            axes.plot(time_s, off, label=pair, **looks(index) | {'markersize': 2.5})
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlabel=label, ylabel='farther (+) or nearer (-)', ylim=_limits(values))
        percent(axes)
        _above(axes)

    return draw


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Where a plot of shares begins and ends: outliers do not squeeze the rest."""
    if not values:
        return -0.2, 0.2
    low, high = np.percentile(values, [1, 99])
    room = max(0.05, 0.2 * (high - low))
    return float(min(low, 0.0) - room), float(max(high, 0.0) + room)


def scan_against_truth(run: Run, range_max_m: float) -> Callable[[Axes], None]:
    """Return what draws each beam's range, and how far free it was, over the true one."""

    def draw(axes: Axes) -> None:
        frames = run.frames
        true, said = beams_joined(frames, 'nearest'), beams_joined(frames, 'said')
        free = said_free(frames, range_max_m)
        _, false_clear, _, _ = judged_beams(frames, range_max_m)
        fine = np.isfinite(true) & np.isfinite(said) & (true < range_max_m) & ~false_clear
        for mask, values, marker, colour, name in (
            (fine, said, 'o', SERIES[0], 'range of the scan'),
            (false_clear, free, 'x', BAD, 'free beyond it: false clear'),
        ):
            index = np.flatnonzero(mask & np.isfinite(values))
            index = index[:: max(1, -(-len(index) // MOST_DOTS))]
            shown: dict[str, Any] = {'color': colour, 'markersize': 2.2, 'alpha': 0.6}
            axes.plot(true[index], values[index], marker, label=name, **shown)
        axes.plot([0, range_max_m], [0, range_max_m], color=INK, linewidth=0.8)
        axes.set(xlabel='true range [m]', ylabel='said [m]', xlim=(0, range_max_m))
        axes.set_ylim(0, 1.03 * range_max_m)
        _above(axes, markerscale=2)

    return draw


def by_bearing(runs: Sequence[Run]) -> Callable[[Axes], None]:
    """Return what draws false clears (filled) and false alarms (open) by bearing."""

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            rows = run.figures['scan']['by_bearing']
            for name, of, fill in (
                ('false_clear', 'beams_that_say_free', 'full'),
                ('false_alarm', 'beams_that_report', 'none'),
            ):
                chosen = [row for row in rows if row[of]]
                axes.plot(
                    [row['bearing_deg'] for row in chosen],
                    [row[name] / row[of] for row in chosen],
                    label=f'{run.label}: {name.replace("_", " ")}',
                    fillstyle=fill,
                    **looks(index) | {'linestyle': '-' if fill == 'full' else ':'},
                )
        axes.invert_xaxis()
        axes.set(xlabel='bearing [degrees], left positive', ylabel='share of the beams')
        axes.set_ylim(bottom=0)
        percent(axes)
        _above(axes)

    return draw


def corridor_over_time(runs: Sequence[Run], range_max_m: float) -> Callable[[Axes], None]:
    """Return what draws how far the corridor is free, as said and as it was."""

    def draw(axes: Axes) -> None:
        frames, label = thinned(runs[0].frames)
        true = [min(frame.corridor_true, range_max_m) for frame in frames]
        axes.plot(
            *([frame.time_s for frame in frames], true), color=INK, linewidth=2.2, label='truth'
        )
        for index, run in enumerate(runs):
            drawn, _ = thinned(run.frames)
            said = [min(frame.corridor_said, range_max_m) for frame in drawn]
            time_s = [frame.time_s for frame in drawn]
            axes.plot(time_s, said, label=run.label, **looks(index) | {'markersize': 2.5})
        axes.set(xlabel=label, ylabel='free ahead [m]')
        axes.set_ylim(0, 1.05 * range_max_m)
        _above(axes)

    return draw


def sigma_by_range(runs: Sequence[Run]) -> Callable[[Axes], None]:
    """Return what draws the share of pixels within one and two sigma."""

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            rows = (run.figures['sigma'] or {}).get('by_range', ())
            middle = [0.5 * (row['from_m'] + row['to_m']) for row in rows]
            for name, fill in (('within_1', 'full'), ('within_2', 'none')):
                axes.plot(
                    *(middle, [row[name] for row in rows]),
                    label=f'{run.label}: {name.replace("_", " ")} sigma',
                    fillstyle=fill,
                    **looks(index),
                )
        for share in SIGMA_SHARES:
            axes.axhline(share, color=INK, linewidth=0.8)
        axes.set(xlabel='true distance Z [m]', ylabel='share of the pixels', ylim=(0, 1.03))
        percent(axes)
        _above(axes)

    return draw


def errors_by_range(run: Run) -> Callable[[Axes], None]:
    """Return what draws the error by range: middle, half and 90 % of the pixels."""

    def draw(axes: Axes) -> None:
        true = np.concatenate([frame.z_true for frame in run.frames])
        said = np.concatenate([frame.z_said for frame in run.frames])
        off = said / true - 1
        for low, high in itertools.pairwise(EDGES_M):
            inside = off[(true >= low) & (true < high) & np.isfinite(off)]
            if len(inside) < LEAST_PIXELS:
                continue
            middle = 0.5 * (low + high)
            p5, p25, p50, p75, p95 = np.percentile(inside, [5, 25, 50, 75, 95])
            axes.plot([middle] * 2, [p5, p95], color=SERIES[0], linewidth=1)
            axes.plot([middle] * 2, [p25, p75], color=SERIES[0], linewidth=5)
            axes.plot([middle], [p50], 'o', color=INK, markersize=4)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlabel='true distance Z [m]', ylabel='error')
        percent(axes)

    return draw


def processor_times(runs: Sequence[Run]) -> Callable[[Axes], None]:
    """Return what draws how long the frames took."""

    def draw(axes: Axes) -> None:
        times = [[1000 * frame.wall_s for frame in run.frames[1:]] or [0.0] for run in runs]
        top = max(float(np.percentile(each, 99)) for each in times) * 1.1 or 1.0
        edges = np.linspace(0, top, 40)
        for index, (run, each) in enumerate(zip(runs, times, strict=True)):
            counts, _ = np.histogram(each, edges)
            shown = _without(looks(index), 'marker')
            axes.step(
                edges[:-1], counts / max(1, len(each)), where='post', label=run.label, **shown
            )
        axes.set(xlabel='time for a frame [ms]', ylabel='share of the frames')
        axes.set_ylim(bottom=0)
        percent(axes)
        _legend(axes, runs)

    return draw


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _legend(axes: Axes, runs: Sequence[Run]) -> None:
    if len(runs) > 1:
        _above(axes)


def _above(axes: Axes, **named: Any) -> None:
    """A legend above the plot, where it hides nothing."""
    axes.legend(loc='lower left', bbox_to_anchor=(0, 1), borderaxespad=0.2, **named)
