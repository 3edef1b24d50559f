"""One bag on its way into another, and what a person is told of it.

The code of the node is imported when it runs: it needs ROS's Python packages.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

import midas_depth_ros
from midas_depth_ros.commands.errors import CommandError
from midas_depth_ros.commands.output import Reporter, part_of, put, refusing, reporting
from midas_depth_ros.images.errors import printable
from midas_depth_ros.images.sources import SourceError
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.bag_messages import BagMessages
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.options.cpu_budget import apply_cpu_budget, parse_cpus
from midas_depth_ros.options.depth import DepthNodeSettings

if TYPE_CHECKING:
    from midas_depth_ros.depth import DepthEstimator
    from midas_depth_ros.nodes.bag.pipeline import Tally

PIPE_WIDTH = 200  # columns where there is no terminal


def process(
    source: BagMessages,
    output: Path,
    settings: DepthNodeSettings,
    cameras: list[BagCamera],
    only: tuple[str, ...],
    storage: str,
    compression: str,
    overrides: Mapping[str, Any],
) -> bool:
    """Process the bag and say what came of it; whether everything went well.

    overrides: parameters of `qos_overrides`, for what the outputs are said to offer.

    Raises CommandError where ROS is missing, a parameter cannot be had here, or OUT cannot be
    written, and DepthError where there is no model.
    """
    ros = code_of_the_node()
    unknown = [name for name in only if name not in ros.bag_pipeline.OUTPUTS]
    if unknown:
        choices = ', '.join(ros.bag_pipeline.OUTPUTS)
        raise click.UsageError(f'--only {unknown[0]}: choose of {choices}')
    accepted(apply_cpu_budget, settings.niceness, parse_cpus(settings.cpu_affinity))
    total = sum(source.counts[camera.image] for camera in cameras)
    faults: list[str] = []
    with (
        contextlib.closing(ros.depth_node.estimator_from(settings)) as estimator,
        reporting('frames', total) as report,
    ):
        if estimator.notice:
            report.say(estimator.notice)
        for note in source.notes:
            report.say(note)

        def fail(text: str) -> None:
            faults.append(text)
            report.say(text)

        make = ros.bag_pipeline.BagPipeline
        pipeline = accepted(make, estimator, settings, cameras, only, fail, report.say, overrides)
        messages = until_damaged(in_order(source, cameras, pipeline.topics), fail)
        write, about = ros.bag_writer.bag_writer, description(estimator)
        with part_of(output) as part:
            outputs = pipeline.outputs
            with (
                refusing(output),
                write(part, storage, outputs, about, compression) as writer,
            ):
                convert(messages, pipeline, writer, report)
            put(part / ros.bag_writer.FILE_NAME, output)
    if source.damage:
        frames = sum(tally.frames for tally in pipeline.tallies)
        report.say(f'{source.path}: {frames} pictures of the damaged bag were saved')
    tell(pipeline.tallies, writer.counts, output)
    return not faults and all(tally.processed for tally in pipeline.tallies)


def convert(messages: Iterable[Recorded], pipeline: Any, writer: Any, report: Reporter) -> None:
    """Every message through the pipeline into the writer. Raises OSError."""
    for recorded in messages:
        for topic, message in pipeline.process(recorded):
            writer.write(topic, recorded.time_ns, message)
        if pipeline.is_picture(recorded):
            report.advance()


def accepted(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call that refuses a parameter by ValueError. Raises CommandError."""
    try:
        return call(*arguments)
    except ValueError as error:
        raise CommandError(str(error)) from error


def code_of_the_node() -> SimpleNamespace:
    """The modules that need ROS. Raises CommandError where it is missing."""
    try:
        from midas_depth_ros.nodes.bag import pipeline as bag_pipeline
        from midas_depth_ros.nodes.bag import writer as bag_writer
        from midas_depth_ros.nodes.depth import node
    except ModuleNotFoundError as error:
        raise CommandError(
            f'{error}: a bag is processed by the code of the node: source a ROS 2 installation, or '
            'pip install -r requirements/ros.txt'
        ) from error
    return SimpleNamespace(bag_pipeline=bag_pipeline, bag_writer=bag_writer, depth_node=node)


def description(estimator: DepthEstimator) -> dict[str, str]:
    """What made the bag, for its metadata."""
    return {
        'midas_depth_ros': midas_depth_ros.__version__,
        'model': estimator.model,
        'backend': estimator.backend,
    }


def until_damaged(messages: Iterable[Recorded], fail: Callable[[str], None]) -> Iterator[Recorded]:
    """The messages up to where the bag cannot be read any more, which is said."""
    try:
        yield from messages
    except SourceError as error:
        fail(str(error))


def in_order(
    source: BagMessages, cameras: Iterable[BagCamera], topics: Collection[str]
) -> Iterator[Recorded]:
    """The messages of these topics, as recorded, but the first camera_info of each camera first.

    A driver sends it beside the picture; which of them is recorded first is chance.
    """
    infos = [first for camera in cameras if camera.info and (first := source.first(camera.info))]
    yield from infos
    yield from source.read(topics)


def tell(tallies: Collection[Tally], counts: Mapping[str, int], output: Path) -> None:
    """Print what was processed and what was written."""
    text = io.StringIO()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH
    table = Table('camera', 'pictures', 'frames', 'processed', 'in metres', box=SIMPLE)
    for column in table.columns[2:]:
        column.justify = 'right'
    for tally in tallies:
        camera = tally.camera
        numbers = map(str, (tally.frames, tally.processed, tally.in_metres))
        table.add_row(Text(printable(camera.name)), Text(printable(camera.image)), *numbers)
    Console(file=text, width=width).print(table)
    click.echo(text.getvalue(), nl=False)
    for tally in tallies:
        if not tally.frames:
            click.echo(
                printable(f'{tally.camera.name}: no message of {tally.camera.image} was read')
            )
        if tally.reason:
            reason = f'{tally.camera.name}: the last frame without metres: {tally.reason}'
            click.echo(printable(reason))
    topics = sum(map(bool, counts.values()))
    click.echo(printable(f'{sum(counts.values())} messages on {topics} topics in {output}'))
