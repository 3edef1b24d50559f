"""Writes the tables of docs/performance.md from the output of the benchmarks.

    midas_depth bench --json > bench.json
    python -m benchmarks.node soak --json > soak.json
    python -m benchmarks.performance_page bench.json soak.json

Only the text between the marks `<!-- NAME -->` and `<!-- end -->` is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from midas_depth_ros.cli.bench import auto_text
from midas_depth_ros.lab.speed.candidates import USUAL_RECIPE as USUAL
from midas_depth_ros.lab.speed.run import NETWORK, NO_NETWORK, NODE, PIPELINE

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'performance.md'
VGA, NETWORK_SIZE = '640x480', '256x192'
MOST_GROWTH_MIB = 1.0  # over all frames after the first, for "no growth"

Json = dict[str, Any]


def rows_of(bench: Json, part: str, size: str = '') -> list[Json]:
    """Return the rows of a part, without the usual recipe and the node without a network."""
    rows = [row for row in bench['rows'] if row['backend'] not in (USUAL, NO_NETWORK)]
    return [row for row in rows if row['part'] == part and size in ('', row['size'])]


def auto_row(bench: Json, part: str, size: str = '') -> Json:
    """Return the row of what auto selects."""
    rows = rows_of(bench, part, size)
    return next(row for row in rows if [row['backend'], row['precision']] == bench['auto'])


def best(rows: list[Json]) -> Json:
    """Return the fastest row."""
    return min(rows, key=lambda row: float(row['median_ms']))


def _ratio(row: Json, wanted: float) -> tuple[str, bool]:
    text = f'{row["ratio_to_usual"]:.1f}x ({row["backend"]} {row["precision"]})'
    return text, row['ratio_to_usual'] >= wanted


def _auto_ratio(bench: Json, part: str, size: str, wanted: float, remark: str) -> tuple[str, bool]:
    """Return the ratio of what auto selects, and that of the fastest where it is another."""
    row, fastest = auto_row(bench, part, size), best(rows_of(bench, part, size))
    text, met = _ratio(row, wanted)
    return (text if fastest is row else f'{text}; {_ratio(fastest, wanted)[0]}{remark}'), met


def _network_f32(bench: Json, soak: Json) -> tuple[str, bool]:
    rows = rows_of(bench, NETWORK, NETWORK_SIZE)
    return _ratio(best([row for row in rows if row['precision'] == 'f32']), 2.5)


def _network_best(bench: Json, soak: Json) -> tuple[str, bool]:
    if not bench.get('judged', True):
        fastest = _ratio(best(rows_of(bench, NETWORK, NETWORK_SIZE)), 5.0)[0]
        return f'not judged, random weights; the fastest of all is {fastest}', False
    remark = ' where its deviation is within the bound'
    return _auto_ratio(bench, NETWORK, NETWORK_SIZE, 5.0, remark)


def _pipeline(bench: Json, soak: Json) -> tuple[str, bool]:
    return _auto_ratio(bench, PIPELINE, VGA, 6.0, '')


def _without_network(bench: Json, soak: Json) -> tuple[str, bool]:
    row = next(row for row in bench['rows'] if row['backend'] == NO_NETWORK)
    return f'{row["cpu_ms"]:.1f} ms', row['cpu_ms'] <= 3.0


def _beyond_pipeline(bench: Json, soak: Json) -> tuple[str, bool]:
    beyond = auto_row(bench, NODE)['median_ms'] - auto_row(bench, PIPELINE, VGA)['median_ms']
    return f'{beyond:.1f} ms', beyond <= 5.0


def _memory(bench: Json, soak: Json) -> tuple[str, bool]:
    return f'{bench["rss_mb"]:.0f} MB', bench['rss_mb'] <= 350


def _start(bench: Json, soak: Json) -> tuple[str, bool]:
    return f'{bench["start_s"]:.2f} s', bench['start_s'] <= 1.5


def _dropped(bench: Json, soak: Json) -> tuple[str, bool]:
    from midas_depth_ros.lab.speed.nodes import DROPPING, NOT_DROPPING  # needs ROS

    loads = bench['loads']
    spent = loads[DROPPING]['cpu_percent'] - loads[NOT_DROPPING]['cpu_percent']
    return f'{spent:.1f} %', spent <= 5.0


def _cameras(bench: Json, soak: Json) -> tuple[str, bool]:
    from midas_depth_ros.lab.speed.nodes import BY_CAMERAS  # needs ROS

    one, four = (bench['loads'][BY_CAMERAS[count]] for count in (1, 4))
    per_frame = [load['cpu_percent'] / load['frames_per_s'] for load in (one, four)]
    more = 100 * (per_frame[1] / per_frame[0] - 1)
    return f'{more:+.0f} % per frame', more <= 10.0


def _growth(bench: Json, soak: Json) -> tuple[str, bool]:
    grown = soak['at_end_mib'] - soak['after_first_mib']
    text = f'{grown:+.2f} MiB after the first 500 of {soak["frames"]}'
    return text, grown <= MOST_GROWTH_MIB


# What is measured, the aim, and the function that gives the result and whether it meets the aim.
AIMS: tuple[tuple[str, str, Callable[[Json, Json], tuple[str, bool]]], ...] = (
    ('network, f32, against eager f32', '>= 2.5x', _network_f32),
    ('network, best precision within the deviation bound', '>= 5x', _network_best),
    ('pipeline on 640x480 against the usual recipe', '>= 6x', _pipeline),
    ('what is not inference, CPU per frame at 640x480', '<= 3 ms', _without_network),
    ('node, latency beyond the pipeline, median', '<= 5 ms', _beyond_pipeline),
    ('resident memory, node running', '<= 350 MB', _memory),
    ('start to first heatmap, model cached', '<= 1.5 s', _start),
    ('1080p at 60 Hz with max_rate 5: CPU on dropped frames', '<= 5 % of a core', _dropped),
    ('four cameras against one at the same total rate', '<= +10 % CPU', _cameras),
    ('10,000 frames', 'no growth', _growth),
)


def aims(bench: Json, soak: Json) -> str:
    """Return the table of aims and results."""
    lines = ['| what | aim | reached | met |', '| --- | --- | --- | --- |']
    for what, wanted, result in AIMS:
        try:
            text, met = result(bench, soak)
        except (StopIteration, KeyError, ValueError, TypeError):
            text, met = 'not measured', False
        lines.append(f'| {what} | {wanted} | {text} | {"yes" if met else "no"} |')
    return '\n'.join(lines)


def machine(bench: Json, soak: Json) -> str:
    """Return machine and versions."""
    versions = ', '.join(f'{name} {number}' for name, number in bench['versions'].items())
    load = ' to '.join(str(figure) for figure in bench['load_average'])
    return (
        f'{bench["cpu"]}, {bench["cores"]} processors, {bench["system"]}; {versions}. '
        f'Load average {load}. Model: {bench["model"]} ({bench["weights"]}). '
        f'{auto_text({"judged": True, **bench}).replace("auto", "`auto`", 1)}.'
    )


def measured(bench: Json, soak: Json) -> str:
    """Return the table of all rows."""
    lines = [
        '| part | backend | precision | size | median ms | +- | p95 ms | p99 ms | x usual '
        '| CPU ms | GFLOP/s | MB | start s |',
        '| --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |',
    ]
    for row in bench['rows']:
        texts = [row['part'], row['backend'], row['precision'], row['size']]
        texts += [_text(row['median_ms'], 1), f'{100 * row["spread"]:.0f} %']
        texts += [_text(row['p95_ms'], 1), _text(row['p99_ms'], 1), _text(row['ratio_to_usual'], 1)]
        texts += [_text(row['cpu_ms'], 1), _text(row['gflops'], 0)]
        texts += [_text(row['rss_mb'], 0), _text(row['start_s'], 2)]
        lines.append(f'| {" | ".join(texts)} |')
    return '\n'.join(lines)


def roofline(bench: Json, soak: Json) -> str:
    """Return the table that compares the networks with a matrix product."""
    limit = bench['matrix_product_gflops']
    lines = [
        f'A float32 matrix product reaches {limit:.0f} GFLOP/s on this machine.\n',
        '| network | size | GFLOP/s | of the matrix product |',
        '| --- | --- | --: | --: |',
    ]
    for row in bench['rows']:
        if row['part'] == NETWORK and row['gflops']:
            name = USUAL if row['backend'] == USUAL else f'{row["backend"]} {row["precision"]}'
            share = 100 * row['gflops'] / limit
            lines.append(f'| {name} | {row["size"]} | {row["gflops"]:.0f} | {share:.0f} % |')
    return '\n'.join(lines)


def loads(bench: Json, soak: Json) -> str:
    """Return the CPU load of a running node by situation."""
    lines = ['| situation | CPU, % of a core | heatmaps per s |', '| --- | --: | --: |']
    for name, load in bench['loads'].items():
        lines.append(f'| {name} | {load["cpu_percent"]:.1f} | {load["frames_per_s"]:.1f} |')
    return '\n'.join(lines)


def scaling(bench: Json, soak: Json) -> str:
    """Return the tables of the pipeline by threads and by size."""
    tables = []
    for what, found in bench['scaling'].items():
        lines = [f'| {what} | median ms | p95 ms | CPU ms |', '| --- | --: | --: | --: |']
        for line in found:
            figures = ' | '.join(_text(line[key], 1) for key in ('median_ms', 'p95_ms', 'cpu_ms'))
            lines.append(f'| {line[what]} | {figures} |')
        tables.append('\n'.join(lines))
    return '\n\n'.join(tables)


def left_out(bench: Json, soak: Json) -> str:
    """Return what was not measured, and why."""
    return '\n'.join(f'- {reason}' for reason in bench['absent']) or 'Nothing was left out.'


def _text(value: float | None, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f}'


BLOCKS = {
    'aims': aims,
    'machine': machine,
    'measured': measured,
    'roofline': roofline,
    'loads': loads,
    'scaling': scaling,
    'left out': left_out,
}


def filled(page: str, bench: Json, soak: Json) -> str:
    """Return the page with its blocks replaced. Raises ValueError if one is missing."""
    for name, write in BLOCKS.items():
        pattern = re.compile(rf'<!-- {name} -->\n.*?<!-- end -->', re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f'the page has no block <!-- {name} --> ... <!-- end -->')
        block = f'<!-- {name} -->\n{write(bench, soak)}\n<!-- end -->'
        page = pattern.sub(block.replace('\\', r'\\'), page)
    return page


def write_block(path: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in a page."""
    before, begin, rest = path.read_text().partition(f'<!-- {name}: begin -->')
    _, end, after = rest.partition(f'<!-- {name}: end -->')
    if not end:
        raise click.ClickException(f'{path} has no block <!-- {name}: begin --> ... end')
    path.write_text(f'{before}{begin}\n{text}\n{end}{after}')


def finish(name: str, lines: list[str], page: Path | None) -> None:
    """Print a table, and write it into a block of a page, if one is given."""
    click.echo('\n'.join(lines))
    if page is not None:
        write_block(page, name, '\n'.join(lines))


@click.command()
@click.argument('bench', type=click.File())
@click.argument('soak', type=click.File())
@click.option('--page', default=PAGE, show_default=True, type=click.Path(path_type=Path))
def main(bench: Any, soak: Any, page: Path) -> None:
    """Write the tables of the page from two JSON files."""
    page.write_text(filled(page.read_text(), json.load(bench), json.load(soak)))
    click.echo(f'written: {page}')


if __name__ == '__main__':
    main()
