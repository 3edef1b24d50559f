"""`midas_depth inspect`: how a model file is read, where that comes from, what is assumed.

It prints every field with its source, what to set, and whether the sample pictures agree.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from midas_depth_ros.cli.options import model_file_option
from midas_depth_ros.lab.output import CommandError, OutputConsole
from midas_depth_ros.options.text import printable

PIPE_WIDTH = 200  # columns where there is no terminal
HELP = """Show how a model file is read: an .onnx or .tflite, or OpenVINO's .xml with its .bin.

Every field is printed with its value and its source: a parameter (--model-file), a YAML file beside
it, its metadata, the table of known files, preprocessor_config.json, its graph, or an assumption.
Then the file is loaded and tested on sample pictures, in which the floor in front has to be nearer
than what is above.

The exit code is 1 where the file cannot be used as it is; the text says what to set.
"""


@click.command(name='inspect', help=HELP, context_settings={'show_default': True})
@click.argument('file', type=click.Path(path_type=Path))
@model_file_option
@click.option('--run/--no-run', default=True, help='Load the file and test it on sample pictures.')
@click.option('--json', 'as_json', is_flag=True, help='Print one JSON object and nothing else.')
def inspect(file: Path, model_file: dict[str, Any], run: bool, as_json: bool) -> None:
    """Describe, test and print."""
    path = Path(os.path.expanduser(file))
    report = report_on(path, model_file, run)
    if as_json:
        click.echo(json.dumps(report))
    else:
        show(report)
    if report['error']:
        if as_json:
            raise click.exceptions.Exit(1)
        raise CommandError(report['error'])


def report_on(path: Path, given: dict[str, Any], run: bool) -> dict[str, Any]:
    """Return what `--json` prints; `error` is '' where the file can be used. Raises DepthError."""
    from midas_depth_ros.depth import DepthError, load_estimator
    from midas_depth_ros.depth.backends import MODEL_SUFFIXES
    from midas_depth_ros.depth.foreign import UnclearFile

    if path.suffix.lower() not in MODEL_SUFFIXES:
        raise CommandError(
            f'{path} is not a model file ({", ".join(MODEL_SUFFIXES)}): weights files need no '
            'description, `midas_depth image --model` takes them as they are'
        )
    report: dict[str, Any] = {
        'path': str(path),
        'error': '',
        'notice': '',
        'warning': '',
        'runs': None,
    }
    try:
        described, aloud = _description(path, given)
        report |= described
    except UnclearFile as fault:
        report |= {'error': str(fault), **(fault.found.to_json() if fault.found else {})}
        return report
    if run:
        try:
            estimator = load_estimator(path, model_file=given)
        except DepthError as fault:
            report['error'] = str(fault)
            return report
        report['notice'] = estimator.notice
        report['warning'] = estimator.notice.removeprefix(aloud).strip()
        report['runs'] = f'{estimator.backend} in {estimator.precision}'
        estimator.close()
    return report


def _description(path: Path, given: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return what is known of a file, before it runs, and what is said aloud. Raises DepthError."""
    from midas_depth_ros.depth.backends import find_backend
    from midas_depth_ros.depth.estimator import said_aloud
    from midas_depth_ros.depth.model_files import read_model_file
    from midas_depth_ros.depth.models.usage import usage_of

    if path.suffix.lower() == '.onnx':
        found = read_model_file(path, given)
        spec, description = found.spec, found.description
    else:
        find_backend(
            'openvino', path.suffix.lower()
        )  # raises with what to install if it is missing
        from midas_depth_ros.depth.backends.openvino_runtime import Runtime

        known = Runtime().read(path, given=given)
        spec, description = known.spec, known.description
    if description is not None:
        return description.to_json(), said_aloud(description)
    fields = {
        name: {'value': value, 'source': f'{spec.title}, of this package'}
        for name, value in usage_of(spec).items()
    }
    return {'file': path.name, 'fields': fields, 'conflicts': [], 'assumed': {}}, ''


def show(report: dict[str, Any]) -> None:
    """Print a report to standard output."""
    from midas_depth_ros.depth.file_description import LAYOUTS, PREFIX, as_text

    console = OutputConsole()
    if not console.is_terminal:
        console = OutputConsole(width=PIPE_WIDTH)
    for title, sides in (
        ('takes', [report['input']] if 'input' in report else []),
        ('gives', report.get('outputs', [])),
    ):
        for side in sides:
            shape = ', '.join(map(str, side['shape']))
            layout = f', {LAYOUTS[side["layout"]]}' if 'layout' in side else ''
            console.print(
                Text(printable(f'{title} {side["name"]} ({shape}) {side["type"]}{layout}'))
            )
    if fields := report.get('fields', {}):
        table = Table('field', 'value', 'source')
        for name, field in fields.items():
            style = 'yellow' if name in report['assumed'] else None
            table.add_row(name, as_text(field['value']), printable(field['source']), style=style)
        console.print(table)
    for conflict in report.get('conflicts', []):
        console.print(Text(printable(f'conflict: {conflict}'), 'yellow'))
    assumed = report.get('assumed', {})
    for why in dict.fromkeys(assumed.values()):
        names = [name for name, each in assumed.items() if each == why]
        remedy = ', '.join(f'{PREFIX}.{name}' for name in names)
        text = f'assumed: {", ".join(names)} ({why}). If you know better, set {remedy}'
        console.print(Text(printable(text), 'yellow'))
    if report['warning']:
        console.print(Text(printable(f'warning: {report["warning"]}'), 'bold yellow'))
    if report['runs']:
        console.print(Text(f'runs with {report["runs"]}, tested on the sample pictures'))
