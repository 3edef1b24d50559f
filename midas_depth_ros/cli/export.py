"""`midas_depth export`: a model file for a robot, or a precision for this machine.

A model becomes ONNX, or OpenVINO's two files, which `load_estimator` and the node accept as
`model`, or an entry of this machine's cache, which 'auto' considers. What this needs is imported
when it runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.cli.options import accept_licence_option, as_options, network_size_options
from midas_depth_ros.depth.errors import (
    DepthError,
    InvalidNetworkSize,
    UnknownModel,
    printable,
    shown,
)
from midas_depth_ros.depth.model_check import calibration_pictures
from midas_depth_ros.depth.models import (
    PREFERRED,
    WEIGHTS_SUFFIXES,
    find_weights,
    name_of,
    names,
    onnx_of,
    spec,
)
from midas_depth_ros.depth.models.sizes import NetworkSize
from midas_depth_ros.images.errors import ImageError
from midas_depth_ros.images.sources import SourceError, open_source

# --- The pictures on which int8 is calibrated, and others on which the deviation is measured.

Pictures = Mapping[str, NDArray[np.uint8]]

MEASURED = 30  # pictures, at most, on which the deviation is measured
WIDEST = 640  # pixels of the width that are kept: the network sees 256


def chosen_pictures(
    path: Path | None, count: int, precision: str
) -> tuple[Pictures | None, Pictures | None]:
    """Return pictures for calibration (None = not needed) and measurement (None = the package's).

    Of the user's pictures every other one calibrates int8; some of the rest are for measurement.
    Raises DepthError without pictures.
    """
    if path is None:
        return (calibration_pictures() if precision == 'int8' else None), None
    found = list(read_pictures(path, count).items())
    if precision != 'int8':
        return None, _spread(dict(found), MEASURED)
    return dict(found[::2]), _spread(dict(found[1::2] or found), MEASURED)


def read_pictures(path: Path, count: int) -> Pictures:
    """Return at most `count` pictures, evenly spaced. Raises DepthError."""
    kept: dict[str, NDArray[np.uint8]] = {}
    every = 1
    try:
        for number, frame in enumerate(open_source(path)):
            if number % every:
                continue
            kept[f'{Path(frame.name).name} {number}'] = frame.shrunk(WIDEST).rgb()
            if len(kept) == 2 * count:  # keep every other one
                kept, every = dict(list(kept.items())[::2]), 2 * every
    except (SourceError, ImageError) as error:
        raise DepthError(f'no pictures in {path}: {error}') from error
    return _spread(kept, count)


def _spread(pictures: Pictures, count: int) -> Pictures:
    """Return at most `count` of them, evenly spaced."""
    step = max(1, -(-len(pictures) // count))
    return dict(list(pictures.items())[::step])


SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml'}
# The .xml last: it is the one that is opened.
FILES = {'onnx': ('.onnx',), 'openvino': ('.bin', '.xml')}
SCRATCH = '.midas_depth_export_'  # prefix of the temporary folder
EXPORTED = tuple(name for name in names() if spec(name).onnx)  # the others have no graph yet
NAMED = ', '.join(f'`{name}`' for name in EXPORTED)
HELP = f"""Write MODEL as a file for a robot: {NAMED}, or a weights file.

The robot then needs neither torch nor the weights: use the path of the file as `model`. ONNX is
float32 and runs with onnxruntime and openvino; OpenVINO's .xml and .bin belong together.

For bf16, f16 and int8, the deviation from f32 is measured on named pictures and printed. int8 is
calibrated on your pictures (--pictures), best 100 or more from the robot's camera, or on 20
rendered ones of the package; half of yours are reserved for the measurement. Both happen at
--network-size: give the one at which the robot will run the model.
"""


@click.command(name='export', help=HELP, context_settings={'show_default': True})
@click.argument('model', default=PREFERRED)
@click.option('--format', 'form', type=click.Choice(list(SUFFIXES)), default='openvino')
@click.option('--precision', type=click.Choice(['f32', 'bf16', 'f16', 'int8']), default='f32')
@click.option(
    '--pictures',
    type=click.Path(exists=True, path_type=Path),
    help='Folder, video or bag for calibrating int8 and measuring the deviation.',
)
@click.option(
    '--count',
    type=click.IntRange(16, 5000),
    default=200,
    help='Maximum number of your pictures.',
)
@click.option('--output', type=click.Path(dir_okay=False, path_type=Path), help='File to write.')
@click.option(
    '--cache',
    is_flag=True,
    help="Write to this machine's cache instead; precision auto then considers it.",
)
@network_size_options
@click.option('--force', is_flag=True, help='Overwrite existing files.')
@accept_licence_option
@click.option('--no-download', is_flag=True, help='Fail if the weights are not on disk.')
@click.pass_context
def export(
    ctx: click.Context,
    model: str,
    form: str,
    precision: str,
    pictures: Path | None,
    count: int,
    output: Path | None,
    cache: bool,
    network_size: int,
    network_aspect: float,
    force: bool,
    accept_licence: str,
    no_download: bool,
) -> None:
    """Check the options, and write the model."""
    check_used(ctx, form, precision)
    size = NetworkSize(network_size, network_aspect)
    if form == 'onnx' and (precision != 'f32' or cache):
        raise click.UsageError(
            f'an ONNX model is f32 and written to a file; for {precision} and for the cache '
            'use --format openvino'
        )
    if cache and output:
        raise click.UsageError('use --output or --cache, not both')
    if output is not None:  # before anything is downloaded
        if output.suffix.lower() != SUFFIXES[form]:
            raise click.UsageError(f'{output}: --format {form} needs the suffix {SUFFIXES[form]}')
        if not force:
            check_not_there(output, form)
    weights = weights_of(model, not no_download, accept_licence)
    target = output or Path(f'{Path(name_of(weights)).stem}_{precision}{SUFFIXES[form]}')
    if not cache and not force:
        check_not_there(target, form)
    if form == 'onnx':
        _write_onnx(weights, target)
    else:
        _write_openvino(weights, None if cache else target, precision, pictures, count, size)


def check_used(ctx: click.Context, form: str, precision: str) -> None:
    """Raise UsageError for an option that would change nothing."""

    defaults = {option.name: option.get_default(ctx) for option in ctx.command.params}

    def given(name: str) -> bool:
        written = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        return written and ctx.params[name] != defaults[name]

    sizes = [name for name in ('network_size', 'network_aspect') if given(name)]
    if form == 'onnx' and sizes:
        raise click.UsageError(
            f'an ONNX model is not made for one size, and nothing is measured for it: leave '
            f'--{sizes[0].replace("_", "-")} out, or give it where the model is used'
        )
    for name in ('pictures', 'count'):
        if not given(name):
            continue
        if form == 'onnx' or precision == 'f32':
            kind = 'an ONNX model' if form == 'onnx' else 'a model in f32'
            raise click.UsageError(
                f'{kind} is neither calibrated nor measured, so --{name} changes nothing: leave it '
                'out, or give --format openvino and --precision bf16, f16 or int8'
            )
    if given('count') and not given('pictures'):
        raise click.UsageError('--count limits your pictures: give --pictures, too')


def check_not_there(target: Path, form: str) -> None:
    """Raise DepthError if one of the files of an export already exists."""
    for suffix in FILES[form]:
        path = target.with_suffix(suffix)
        if os.path.lexists(path):
            raise DepthError(f'{path} already exists: use --force to overwrite it')


def weights_of(model: str, allow_download: bool, accept_licence: str) -> Path:
    """Return the weights file of a model's name or path. Raises UnknownModel, WeightsError."""
    path = Path(os.path.expanduser(model))
    is_weights = path.suffix.lower() in WEIGHTS_SUFFIXES and os.path.isfile(path)
    if model not in names() and not is_weights and not os.path.isdir(path):
        raise UnknownModel(
            f'{shown(model)} is neither a model ({", ".join(EXPORTED)}) nor a weights file '
            f'({", ".join(WEIGHTS_SUFFIXES)}): check the name or the path'
        )
    return find_weights(model, allow_download=allow_download, accept_licence=accept_licence)


def _write_onnx(weights: Path, target: Path) -> None:
    from midas_depth_ros.depth.conversion_cache import show_steps

    with show_steps(f'converting {printable(weights.name)} to ONNX', 2) as step:

        def write(part: Path) -> None:
            step('reading the weights')
            part.write_bytes(onnx_of(weights))  # not kept: it may have 1.4 GB
            step('reading it back, as a robot will')

        notice = _put(target, FILES['onnx'], 'f32', write)
    size = target.stat().st_size / 1e6
    click.echo(f'wrote {printable(target)} ({size:.1f} MB): use it as `model`')
    _warn(notice)


def _write_openvino(
    weights: Path,
    target: Path | None,
    precision: str,
    folder: Path | None,
    count: int,
    size: NetworkSize,
) -> None:
    from midas_depth_ros.depth import conversion_cache
    from midas_depth_ros.depth.backends import find_backend

    find_backend('openvino', '.xml')  # raises with what to install if it is missing
    from midas_depth_ros.depth.backends.openvino_backend import MODEL, Conversion
    from midas_depth_ros.depth.backends.openvino_runtime import Runtime

    try:
        conversion = Conversion(weights, Runtime(), size)
    except InvalidNetworkSize as error:
        raise InvalidNetworkSize(as_options(str(error))) from error
    calibration, judged = chosen_pictures(folder, count, precision)
    about: dict[str, Any] = {}
    notice = ''

    def build(model: Path) -> None:
        about.update(conversion.build(model, precision, calibration, judged))

    def build_entry(place: Path) -> dict[str, Any]:
        nonlocal notice
        build(place / MODEL)
        notice = _judged(place / MODEL, precision)
        return about

    if target is None:
        try:
            target = conversion_cache.store(conversion.key(precision), build_entry) / MODEL
        except OSError as error:
            raise _unwritable('the cache', error) from error
    else:
        notice = _put(target, FILES['openvino'], precision, build)
    click.echo(f'wrote {printable(target)} and {printable(target.with_suffix(".bin").name)}')
    _report(about)
    _warn(notice)


def _put(
    target: Path, suffixes: tuple[str, ...], precision: str, write: Callable[[Path], object]
) -> str:
    """Write files beside `target`, load and judge them, then move them into place.

    Existing files stay unless all that succeeds. Returns the judge's notice. Raises DepthError.
    """
    from midas_depth_ros.depth.conversion_cache import scratch_folder
    from midas_depth_ros.depth.files import flush

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target.parent, SCRATCH) as beside:
            model = beside / target.name
            write(model)
            notice = _judged(model, precision)
            for suffix in suffixes:
                flush(model.with_suffix(suffix))
            _replace(model, target, suffixes, beside)
            flush(target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    return notice


def _replace(model: Path, target: Path, suffixes: tuple[str, ...], beside: Path) -> None:
    """Replace all files of a model, or none of them."""
    kept: dict[Path, Path] = {}
    placed: list[Path] = []
    try:
        for suffix in suffixes:
            place, old = target.with_suffix(suffix), beside / f'old{suffix}'
            with contextlib.suppress(OSError):  # none exists, or the file system has no hard links
                os.link(place, old)
                kept[place] = old
            model.with_suffix(suffix).replace(place)
            placed.append(place)
    except BaseException:  # including Ctrl-C; raised again
        for place in placed:
            if place not in kept:
                place.unlink()
        for place, old in kept.items():
            old.replace(place)
        raise


def _judged(model: Path, precision: str) -> str:
    """Load the model as a robot will, and return its notice. Raises DepthError and OSError."""
    from midas_depth_ros.depth import load_estimator
    from midas_depth_ros.depth.backends import AUTO
    from midas_depth_ros.depth.errors import BackendUnavailable, WeightsCorrupt
    from midas_depth_ros.depth.model_files import read_model_file

    try:
        if model.suffix == SUFFIXES['onnx']:
            read_model_file(model)
        accepted = ','.join(spec(name).weights.licence for name in names())  # or we were not here
        for wanted in (precision, AUTO):
            with contextlib.suppress(BackendUnavailable):  # another machine may run it
                estimator = load_estimator(model, precision=wanted, accept_licence=accepted)
                estimator.close()
                return estimator.notice
    except WeightsCorrupt as error:
        raise OSError(f'the written file cannot be read back: {error}') from error
    return ''


def _warn(notice: str) -> None:
    if notice:
        click.echo(f'warning: {notice}', err=True)


def _unwritable(target: Path | str, error: OSError) -> Exception:
    reason = error.strerror or error
    return DepthError(f'cannot write {target} ({reason}): choose another file with --output')


def _report(about: Mapping[str, Any]) -> None:
    """Print the deviation, picture by picture."""
    from rich.console import Console
    from rich.table import Table

    from midas_depth_ros.depth.model_check import Deviation

    deviation = Deviation.from_json(about.get('deviation'))
    if deviation is None:
        if about['precision'] != 'f32':
            click.echo(
                f'not measured: this CPU does not support {about["precision"]}. On the robot, '
                '`midas_depth export --cache` measures it'
            )
        return
    table = Table('picture', 'correlation', 'AbsRel', title=f'{about["precision"]} against f32')
    for name, (correlation, abs_rel) in deviation.pictures.items():
        table.add_row(name, f'{correlation:.5f}', f'{abs_rel:.4f}')
    Console().print(table)
    verdict = 'within' if deviation.within_bound else 'BEYOND'
    click.echo(f'{deviation}: {verdict} the bound of precision auto')
