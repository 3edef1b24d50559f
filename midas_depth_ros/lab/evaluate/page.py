"""The page of `midas_depth evaluate`: one HTML file with everything in it, for a phone or a wall.

Takes the runs with their figures. Nothing is fetched; colours follow the reader's light or dark
mode; every plot has a caption, and what it shows is in a table, too.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import midas_depth_ros
from midas_depth_ros.lab.evaluate import plots
from midas_depth_ros.lab.evaluate.plots import Run
from midas_depth_ros.lab.evaluate.summary import Numbers
from midas_depth_ros.options.text import printable

STYLE = Path(__file__).with_name('page.css')
LONG = 24  # letters of a cell that may wrap
BADGE = {'safe': 'safe', 'unsafe': 'not safe', 'unknown': 'not known'}


def page_of(report: Numbers, runs: Sequence[Run]) -> str:
    """Return the page as HTML. report: what --json gives, except for the frames."""
    range_max_m = report['range_max_m']
    sections = [
        _head(report),
        _section('Verdict', _verdicts(runs), _arithmetic(runs[0].figures['verdict'])),
        _section('In figures', _overview(runs)),
        _section('How far off are the metres?', _depth_plots(runs), _range_table(runs)),
        _section('What is in the way', _floor_plots(runs, range_max_m), _floor_table(runs)),
        _section('Where the scale came from', _scale_plots(runs), _sources(runs), _refusals(runs)),
        _section('How much the metres are to be believed', _sigma(runs)),
        _section('Processor time', _times(runs)),
        _section('What this cannot tell', _list(report['notes'])),
    ]
    title = _text(f'{report["bag"]}: metres compared with {report["truth"]["name"]}')
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><style>{STYLE.read_text()}</style></head>\n<body>\n'
        + '\n'.join(sections)
        + '\n</body></html>\n'
    )


def _text(value: object) -> str:
    return html.escape(printable(value))


def _section(title: str, *parts: str) -> str:
    return f'<section><h2>{_text(title)}</h2>\n' + '\n'.join(filter(None, parts)) + '</section>'


def _list(lines: Iterable[str]) -> str:
    return '<ul>' + ''.join(f'<li>{_text(line)}</li>' for line in lines) + '</ul>'


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], text: Sequence[int] = ()) -> str:
    """A table that scrolls sideways where it is too wide. text: columns of words."""

    def cell(tag: str, column: int, value: Any) -> str:
        shown = '–' if value is None else _text(value)
        words = column in text
        kind = ' class="text long"' if words and len(shown) > LONG else ' class="text"'
        label = f' data-label="{_text(head[column])}"' if tag == 'td' else ''
        return f'<{tag}{kind if words else ""}{label}>{shown}</{tag}>'

    def line(tag: str, values: Sequence[Any]) -> str:
        return '<tr>' + ''.join(cell(tag, n, value) for n, value in enumerate(values)) + '</tr>'

    lines = [line('td', row) for row in rows]
    kind = ' class="wordy"' if any('text long' in each for each in lines) else ''
    return (
        f'<div class="scroll" tabindex="0"><table{kind}><thead>{line("th", head)}</thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div>'
    )


def _plots(*figures: tuple[str, str, str, Callable[[Any], None]]) -> str:
    """Plots side by side where there is room: name, title, how to read it, and what draws it."""
    parts = [
        f'<figure>{plots.svg(name, title, draw)}<figcaption><b>{_text(title)}</b> {_text(read)}'
        '</figcaption></figure>'
        for name, title, read, draw in figures
    ]
    return f'<div class="plots">{"".join(parts)}</div>'


def share(value: float | None, sign: bool = False, digits: int = 1) -> str | None:
    """Return a share in percent."""
    return None if value is None else f'{100 * value:{"+" if sign else ""}.{digits}f} %'


def _head(report: Numbers) -> str:
    truth, camera = report['truth'], report['camera']
    lines = [
        f'Recording {report["bag"]}, camera {camera["topic"]}: {report["frames"]} frames in '
        f'{report["seconds"]:.1f} s were processed, of {camera["pictures"]} pictures.',
        f'Truth: {truth["text"]}. {truth["frames"]} frames have one within '
        f'{report["tolerance_s"]:g} s by its stamp.',
        f'midas_depth_ros {midas_depth_ros.__version__}',
    ]
    body = ''.join(f'<p>{_text(line)}</p>' for line in lines)
    return f'<header><h1>Are these metres?</h1>{body}</header>'


def _verdicts(runs: Sequence[Run]) -> str:
    parts = []
    for run in runs:
        verdict = run.figures['verdict']
        kinds = [row['verdict'] for row in verdict['speeds']]
        kind = next((each for each in ('unsafe', 'unknown') if each in kinds), 'safe')
        rows = [
            (
                f'{row["speed_m_s"]:g} m/s', BADGE[row['verdict']], f'{row["reach_m"]:.2f} m',
                f'{row["trials"]} ({row["trials_within_reach"]})', row['moments'],
                row['failures'],
                None if row['needed_stopping_distance_m'] is None
                else f'{row["needed_stopping_distance_m"]:.2f} m',
                row['why'],
            )
            for row in verdict['speeds']
        ]  # fmt: skip
        head = (
            'speed', 'verdict', 'reach', 'trials (within reach)', 'seconds', 'failed',
            'would need', 'because',
        )  # fmt: skip
        parts.append(
            f'<div class="verdict {kind}"><h3>{_text(run.name)}</h3><p><b>'
            f'{_text(verdict["text"])}</b></p>{_table(head, rows, (0, 1, 7))}</div>'
        )
    return ''.join(parts)


def _arithmetic(verdict: Numbers) -> str:
    parts = ('latency_s', 'interval_s', 'decision_s', 'reaction_s')
    wait_s = sum(verdict[part] for part in parts)
    return (
        '<p>'
        + _text(
            'How this is computed: from the picture that shows something to standstill a robot '
            f'goes v ({verdict["latency_s"]:.3f} s latency + '
            f'{verdict["interval_s"]:.3f} s between frames + {verdict["decision_s"]:g} s between '
            f'decisions + {verdict["reaction_s"]:g} s reaction) '
            f'+ v² / (2 x {verdict["deceleration_m_s2"]:g} m/s²) = v x {wait_s:.3f} s + v² / '
            f'{2 * verdict["deceleration_m_s2"]:g} m/s². Frames are processed one after the other: '
            'the time between them is at least the latency. With the stopping distance '
            f'{verdict["stopping_distance_m"]:g} m that is its reach: for what is nearer it must '
            f'brake. Every frame in which the truth has something in {verdict["of"]} within reach '
            'is a trial. It fails if the distance said is longer than the true one by the stopping '
            'distance or more: who trusts that frame stops in the thing, not before it. Things '
            'beyond reach, up to 2 m away, are trials, too, as if they were seen at the reach with '
            'the same error in percent. One failure is enough for "not safe". For "safe", trials '
            f'in at least {verdict["least_moments"]} different seconds are needed, '
            f'{verdict["least_near"]} of them within twice the reach, and every lower speed in '
            'the table must be safe, too. Frames without metres are no trials: there the '
            'robot stops. Distances count from the lens: add how far the robot reaches beyond it. '
            '"would need" is the shortest stopping distance, up to 3 m, without a failure.'
        )
        + '</p>'
    )


def _overview(runs: Sequence[Run]) -> str:
    head = (
        'model, source', 'AbsRel', 'bias', 'in metres', 'pixels unknown', 'false clear',
        'false alarm', 'corridor false clear', 'scale spread', 'within 1, 2 sigma', 'CPU per frame',
    )  # fmt: skip
    rows = []
    for run in runs:
        figures = run.figures
        depth, scan, sigma = figures['depth'], figures['scan'], figures['sigma']
        silent, cpu_ms = figures['silent_share'], figures['processor']['cpu_ms']
        believed = None
        if sigma is not None:
            believed = f'{share(sigma["within_1"], digits=0)}, {share(sigma["within_2"], digits=0)}'
        rows.append(
            (
                run.name,
                share(depth['abs_rel']),
                share(depth['bias'], sign=True),
                share(None if silent is None else 1 - silent),
                share(depth['unknown_share']),
                share(scan['false_clear_rate'], digits=2),
                share(scan['false_alarm_rate'], digits=2),
                share(figures['corridor']['false_clear_rate'], digits=2),
                share(figures['scale']['spread']),
                believed,
                None if cpu_ms is None else f'{cpu_ms:.1f} ms',
            )
        )
    words = (
        "AbsRel: mean of |Z'/Z - 1| over the pixels of the truth. Bias: median of Z'/Z - 1; + is "
        'too far. False clear: of the beams that say free, those with something nearer than that '
        'by more than 0.1 m and 10 %. False alarm: of the beams that report something, those '
        'where the truth is free farther than that. Scale spread: standard deviation of the '
        'median of each frame.'
    )
    return _table(head, rows) + f'<p>{_text(words)}</p>'


def _depth_plots(runs: Sequence[Run]) -> str:
    return _plots(
        (
            'bias', 'Bias by distance.',
            "Median of Z'/Z - 1: above the line the metres are too far, which is the dangerous "
            'side.', plots.by_range(runs, 'bias', "median of Z'/Z - 1"),
        ),
        (
            'absrel', 'AbsRel by distance.', "Mean of |Z'/Z - 1|.",
            plots.by_range(runs, 'abs_rel', "mean of |Z'/Z - 1|"),
        ),
        *(
            (
                f'spread{number}', f'Spread of the error, {run.name}.',
                'Dot: the middle; thick: half of the pixels; thin: 90 % of them.',
                plots.errors_by_range(run),
            )
            for number, run in enumerate(runs)
        ),
    )  # fmt: skip


def _range_table(runs: Sequence[Run]) -> str:
    rows = [
        (
            run.name, f'{row["from_m"]:g}-{row["to_m"]:g} m', row['pixels'], share(row['abs_rel']),
            share(row['bias'], sign=True), share(row['p90_abs']), share(row['within_25_percent']),
        )
        for run in runs
        for row in run.figures['depth']['by_range']
    ]  # fmt: skip
    head = ('model, source', 'true Z', 'pixels', 'AbsRel', 'bias', '90 % within', 'delta < 1.25')
    return _table(head, rows)


def _floor_plots(runs: Sequence[Run], range_max_m: float) -> str:
    if not any(run.figures['scan']['beams'] for run in runs):
        return '<p>No scan beside a truth along the floor: nothing to draw.</p>'
    return _plots(
        (
            'corridor', 'The corridor ahead.',
            'How far it is free, as said and as it was. Gaps: silent, so the robot stops.',
            plots.corridor_over_time(runs, range_max_m),
        ),
        (
            'bearing', 'False by bearing.',
            'Share of the beams that are clear where something stands, and that report what is not '
            'there.', plots.by_bearing(runs),
        ),
        *(
            (
                f'beams{number}', f'Scan against truth, {run.name}.',
                'Each dot is a beam. Crosses above the line: seen free beyond what stands there.',
                plots.scan_against_truth(run, range_max_m),
            )
            for number, run in enumerate(runs)
        ),
    )  # fmt: skip


def _floor_table(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        scan, corridor = run.figures['scan'], run.figures['corridor']
        rows.append(
            (
                run.name,
                f'{scan["false_clear"]} of {scan["beams_that_say_free"]}',
                f'{scan["false_alarm"]} of {scan["beams_that_report"]}',
                share(scan['range_bias'], sign=True),
                f'{corridor["false_clear"]} of {corridor["frames"] - corridor["silent"]}',
                f'{corridor["false_alarm"]} of {corridor["frames"] - corridor["silent"]}',
                f'{corridor["silent"]} of {corridor["frames"]}',
                share(corridor['bias'], sign=True),
            )
        )
    head = (
        'model, source', 'beams false clear', 'beams false alarm', 'range bias',
        'corridor false clear', 'corridor false alarm', 'corridor silent', 'corridor bias',
    )  # fmt: skip
    return _table(head, rows)


def _scale_plots(runs: Sequence[Run]) -> str:
    return _plots(
        (
            'scale', 'All metres of a frame at once.',
            "Median of Z'/Z - 1 of each frame over time. Strokes below: frames without metres.",
            plots.scale_over_time(runs),
        ),
        *(
            (
                f'sources{number}', f'What the sources say, {run.name}.',
                'The metres of one source by those of another, while both have any. Wheels that '
                'slip, a wrong height or pitch, and ramps move it away from 0.',
                plots.sources_over_time(run),
            )
            for number, run in enumerate(runs)
            if run.figures['sources']['ratios']
        ),
    )  # fmt: skip


def _sources(runs: Sequence[Run]) -> str:
    used = [
        (run.name, source, count, f'{count / max(1, run.figures["frames"]):.0%}')
        for run in runs
        for source, count in run.figures['scale']['by_source'].items()
    ]
    said = [
        (
            run.name, row['source'], f'{row["in_metres"]} of {row["frames"]}',
            '; '.join(f'{each["frames"]} x {each["example"]}' for each in row['refusals']),
        )
        for run in runs
        for row in run.figures['sources']['said']
    ]  # fmt: skip
    by_others = [
        (
            run.name, row['pair'], row['frames'], share(row['median'] - 1, sign=True),
            f'{share(row["p5"] - 1, sign=True)} to {share(row["p95"] - 1, sign=True)}',
        )
        for run in runs
        for row in run.figures['sources']['ratios']
    ]  # fmt: skip
    parts: list[str] = [_table(('model, source', 'scale by', 'frames', 'share'), used, (1,))]
    if said:
        of_said = ('model, source', 'source', 'frames with a scale', 'else because')
        parts.append(_table(of_said, said, (1, 3)))
    if by_others:
        of_pairs = ('model, source', 'metres of', 'frames', 'median', '90 % of the frames')
        parts.append(_table(of_pairs, by_others, (1,)))
    return '\n'.join(parts)


def _refusals(runs: Sequence[Run]) -> str:
    rows = [
        (run.name, what, each['frames'], each['example'])
        for run in runs
        for what, key in (
            ('no metres', 'refusals'),
            ('fit refused, an earlier one used', 'last_fit_refused'),
            ('no obstacles', 'no_obstacles'),
            ('no truth', 'no_truth'),
        )
        for each in run.figures[key]
    ]
    if not rows:
        return '<p>Nothing was refused.</p>'
    return '<h3>Refusals</h3>' + _table(
        ('model, source', 'what', 'frames', 'because (the first of its kind)'), rows, (1, 3)
    )


def _sigma(runs: Sequence[Run]) -> str:
    if not any(run.figures['sigma'] for run in runs):
        return '<p>No sigma was given with these metres.</p>'
    rows = [
        (
            run.name, sigma['pixels'], share(sigma['within_1']), share(sigma['within_2']),
            share(sigma['median_share_of_distance']),
        )
        for run in runs
        if (sigma := run.figures['sigma'])
    ]  # fmt: skip
    return _plots(
        (
            'sigma', 'Pixels within one and two sigma.',
            'Lines: the 68 and 95 % that a true sigma has. Below them the metres are less certain '
            'than they say.', plots.sigma_by_range(runs),
        )
    ) + _table(
        ('model, source', 'pixels', 'within 1 sigma', 'within 2 sigma', 'median sigma / Z'), rows
    )  # fmt: skip


def _times(runs: Sequence[Run]) -> str:
    rows = [
        (run.name, *(None if value is None else f'{value:.1f} ms' for value in (
            run.figures['processor'][name] for name in ('wall_ms', 'wall_p95_ms', 'cpu_ms')
        )))
        for run in runs
    ]  # fmt: skip
    return _plots(
        (
            'times', 'Time for a frame.', 'Of all steps of the node, on this machine.',
            plots.processor_times(runs),
        )
    ) + _table(
        ('model, source', 'median', '95th percentile', 'processor time, all cores'), rows
    )  # fmt: skip
