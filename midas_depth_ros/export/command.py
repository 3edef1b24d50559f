"""`midas_depth export`: a model file for a robot, or a precision for this machine.

In: a model's name or weights file. Out: ONNX, or OpenVINO's two files, that `load_estimator` and
the node take as `model`; or an entry of this machine's cache, which 'auto' considers. What it
needs is imported when it runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from midas_depth_ros.commands.output import write_whole

SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml'}
HELP = """Write MODEL as a file for a robot: `midas_small`, `embedded`, or a weights file.

The robot then needs neither torch nor the weights: give the file's path as `model`. ONNX
is float32 and runs with onnxruntime and openvino; OpenVINO's .xml and .bin belong together.

bf16, f16 and int8 report how far they stray from f32 on named pictures. int8 is calibrated on your
pictures (--pictures), best 100 or more from the robot's camera, or on rendered ones; half of yours
are kept back to measure it on.
"""


@click.command(name='export', help=HELP, context_settings={'show_default': True})
@click.argument('model', default='midas_small')
@click.option('--format', 'form', type=click.Choice(list(SUFFIXES)), default='openvino')
@click.option('--precision', type=click.Choice(['f32', 'bf16', 'f16', 'int8']), default='f32')
@click.option(
    '--pictures',
    type=click.Path(exists=True, path_type=Path),
    help='Folder, video or bag to calibrate int8 and to measure the deviation on.',
)
@click.option('--count', type=click.IntRange(16, 5000), default=200, help='Pictures used at most.')
@click.option('--output', type=click.Path(dir_okay=False, path_type=Path), help='File to write.')
@click.option(
    '--cache',
    is_flag=True,
    help="Put it into this machine's cache instead: precision auto then considers it.",
)
@click.option('--no-download', is_flag=True, help='Fail where the weights are not on disk.')
def export(
    model: str,
    form: str,
    precision: str,
    pictures: Path | None,
    count: int,
    output: Path | None,
    cache: bool,
    no_download: bool,
) -> None:
    """See HELP."""
    if form == 'onnx' and (precision != 'f32' or cache):
        raise click.UsageError(
            f'an ONNX model is written in f32, to a file; for {precision} and for the cache '
            'use --format openvino'
        )
    if cache and output:
        raise click.UsageError('give --output or --cache, not both')
    weights = weights_of(model, not no_download)
    target = output or Path(f'{weights.stem}_{precision}{SUFFIXES[form]}')
    if target.suffix.lower() != SUFFIXES[form]:
        raise click.UsageError(f'{target} is to be named *{SUFFIXES[form]} for --format {form}')
    if form == 'onnx':
        _write_onnx(weights, target)
    else:
        _write_openvino(weights, None if cache else target, precision, pictures, count)


def weights_of(model: str, allow_download: bool) -> Path:
    """The weights file of a model's name or path; raises UnknownModel, WeightsError."""
    from midas_depth_ros.depth import checkpoints, embedded
    from midas_depth_ros.depth.errors import UnknownModel

    if model == 'embedded':
        return embedded.shipped_weights()
    if model == 'midas_small':
        return checkpoints.ensure_weights(allow_download=allow_download)
    path = Path(model).expanduser()
    if not path.is_file() or path.suffix.lower() not in ('.pt', '.pth', embedded.SUFFIX):
        raise UnknownModel(
            f'{model!r} is neither midas_small nor embedded nor a weights file (.pt, .pth, .npz): '
            'check the name or the path'
        )
    return path


def _write_onnx(weights: Path, target: Path) -> None:
    from midas_depth_ros.depth.network_kinds import onnx_of

    _put(target, onnx_of(weights))
    click.echo(f'wrote {target} ({target.stat().st_size / 1e6:.1f} MB): give it as `model`')


def _put(target: Path, content: bytes) -> None:
    """Half a model is worse than none."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> Exception:
    from midas_depth_ros.depth.errors import DepthError

    return DepthError(
        f'{target} cannot be written ({error.strerror or error}): name another by --output'
    )


def _write_openvino(
    weights: Path, target: Path | None, precision: str, folder: Path | None, count: int
) -> None:
    from midas_depth_ros.depth import conversion_cache
    from midas_depth_ros.depth.backends import find_backend

    find_backend('openvino', '.xml')  # says what to install where it is missing
    from midas_depth_ros.depth.backends.openvino_conversion import MODEL, Conversion
    from midas_depth_ros.depth.backends.openvino_runtime import Runtime
    from midas_depth_ros.export.pictures import chosen_pictures

    conversion = Conversion(weights, Runtime())
    calibration, judged = chosen_pictures(folder, count, precision)
    about: dict[str, Any] = {}

    def build(place: Path) -> dict[str, Any]:
        about.update(conversion.build(place / MODEL, precision, calibration, judged))
        return about

    try:
        if target is None:
            target = conversion_cache.store(conversion.key(precision), build) / MODEL
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix='.midas_depth_', dir=target.parent) as beside:
                build(Path(beside))
                for suffix in ('.bin', '.xml'):  # the .xml last: it is what is opened
                    (Path(beside) / MODEL).with_suffix(suffix).replace(target.with_suffix(suffix))
    except OSError as error:
        raise _unwritable(target or Path('the cache'), error) from error
    click.echo(f'wrote {target} and {target.with_suffix(".bin").name}')
    _report(about)


def _report(about: Mapping[str, Any]) -> None:
    """Print the deviation, picture by picture."""
    from rich.console import Console
    from rich.table import Table

    from midas_depth_ros.depth.deviation import Deviation

    deviation = Deviation.from_json(about.get('deviation'))
    if deviation is None:
        if about['precision'] != 'f32':
            click.echo(
                f'not measured: this CPU does not compute in {about["precision"]}. On the robot, '
                '`midas_depth export` with --cache measures it'
            )
        return
    table = Table('picture', 'correlation', 'AbsRel', title=f'{about["precision"]} against f32')
    for name, (correlation, abs_rel) in deviation.pictures.items():
        table.add_row(name, f'{correlation:.5f}', f'{abs_rel:.4f}')
    Console().print(table)
    verdict = 'within' if deviation.within_bound else 'BEYOND'
    click.echo(f'{deviation}: {verdict} the bound of precision auto')
