"""Models side by side: which ones at which sizes come in, a `Comparison` goes out.

Each model has processes of its own, so that its memory and its start are its own. In the first one
all ways to run it are timed side by side; the fastest of each precision is then loaded alone. The
weights need not be there: random ones take the same time, and judge nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from midas_depth_ros.depth import models
from midas_depth_ros.depth.conversion_cache import DIR_VARIABLE
from midas_depth_ros.depth.errors import DepthError, WeightsError, printable
from midas_depth_ros.depth.models import ModelSpec
from midas_depth_ros.lab import processes
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.lab.processes import Child, Children, module_command
from midas_depth_ros.lab.speed.candidates import LOADING, USUAL_RECIPE
from midas_depth_ros.lab.speed.jobs import Job, resized
from midas_depth_ros.lab.speed.random_weights import CANNOT_JUDGE, write_random_weights
from midas_depth_ros.lab.speed.run import VGA, Report, Size, size_text, versions

COSTLY_GFLOP = 1000.0  # of one picture: such models are measured only where they are named
JOB_TIMEOUT_S = 300.0
WAIT_S, REPORT_S = 0.05, 10.0
RANDOM = 'random weights: speed only'


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model at a size: the short side of its input, 0 = its own. `weights`: None = random."""

    model: ModelSpec
    short_side: int = 0
    weights: Path | None = None

    def input_size(self, picture: Size) -> Size:
        """(width, height) of its input for a picture of this size."""
        return resized(self.model.picture, self.short_side).network_size(*picture)

    def text(self, picture: Size) -> str:
        """For progress and errors."""
        return f'{self.model.name} {size_text(self.input_size(picture))}'


@dataclasses.dataclass
class Way:
    """A backend and precision: times from a decoded picture to depth at the network's size.

    `x_eager`: how many times faster than eager torch in float32, in the same run. `deviation`:
    (correlation, AbsRel) from the same backend's float32 on the worst sample picture, measured with
    trained weights only. Memory and start where it was loaded alone.
    """

    backend: str
    precision: str
    ms: float
    fastest_ms: float
    cpu_ms: float
    runs: int
    x_eager: float | None
    deviation: list[float] | None = None
    within_bound: bool | None = None
    gflops: float | None = None
    start_s: float | None = None
    rss_mb: float | None = None
    peak_mb: float | None = None

    @property
    def is_eager(self) -> bool:
        """Whether it is what the others are compared with."""
        return self.backend == USUAL_RECIPE

    @property
    def name(self) -> str:
        """For people."""
        return f'{"torch eager" if self.is_eager else self.backend} {self.precision}'


@dataclasses.dataclass
class Measured:
    """One model at one size. `judged`: what is known of its faster precisions, in a sentence."""

    model: str
    input: list[int]
    weights: str
    judged: str
    ways: list[Way]

    def fastest(self, precision: str = '') -> Way | None:
        """The fastest way in a precision, or of all, eager torch left out."""
        ways = [way for way in self.ways if not way.is_eager and precision in ('', way.precision)]
        return min(ways, key=lambda way: way.ms, default=None)


@dataclasses.dataclass
class Comparison:
    """What was measured, what could not be, and on which machine."""

    measured: list[Measured] = dataclasses.field(default_factory=list)
    absent: list[str] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One object, numbers rounded."""
        found: dict[str, Any] = _rounded(dataclasses.asdict(self))
        return {**found.pop('facts'), **found}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


# --- Which models, at which sizes, with which weights.


def subjects(
    names: Sequence[str], short_sides: Sequence[int], picture: Size = VGA
) -> tuple[list[Subject], list[str]]:
    """The models of these names or files, all without a name, at each size; and what is left out.

    Without sizes, at `usual_short_sides`. Those that come to the same are one. Raises UnknownModel,
    and WeightsError for a file.
    """
    found: list[Subject] = []
    absent = []
    for name in names or models.names():
        model, weights = model_of(name)
        sizes: dict[Size, Subject] = {}
        for short_side in short_sides or usual_short_sides(model):
            one = Subject(model, short_side, weights)
            sizes.setdefault(one.input_size(picture), one)
        for size, one in sizes.items():
            work = model.giga_operations.get(size, 0.0)
            if work > COSTLY_GFLOP and not names:
                absent.append(f'{one.text(picture)}: {work:.0f} GFLOP; name it to measure it')
            else:
                found.append(one)
    return found, absent


def usual_short_sides(model: ModelSpec) -> tuple[int, ...]:
    """The size that the node takes by default, and the model's own (0)."""
    return model.node_short_side, 0


def model_of(name: str) -> tuple[ModelSpec, Path | None]:
    """A model by its name or its weights file, and its weights; None where they are not here.

    Weights under a licence that must be accepted count as not here: their numbers do not matter.
    """
    if name not in models.names():
        path = models.find_weights(name, allow_download=False)
        if path.suffix.lower() not in models.WEIGHTS_SUFFIXES:
            raise CommandError(f'{path} is no weights file: give one, or a name')
        return models.spec_of(path), path
    try:
        return models.spec(name), models.find_weights(name, allow_download=False)
    except WeightsError:
        return models.spec(name), None


# --- The run.


def compare(
    chosen: Iterable[Subject],
    report: Report,
    *,
    logs: Path,
    threads: int = 0,
    seconds: float = 6.0,
    picture: Size = VGA,
    alone: bool = True,
) -> Comparison:
    """Measure each subject for about `seconds` of timing; `alone`: its memory and start as well.

    `logs`: a folder for what the processes say.
    """
    result, began, load = Comparison(), time.monotonic(), os.getloadavg()[0]
    chosen = list(chosen)
    for number, subject in enumerate(chosen, start=1):
        tell = functools.partial(_tell, report, f'{number} of {len(chosen)}', subject.text(picture))
        job = Job(subject.model.name, '', '', picture, subject.short_side, threads, seconds)
        try:
            with _ready(subject, job, logs) as (job, environment):
                session = _Session(job, environment, logs, tell)
                result.measured.append(session.measure(subject, alone, result.absent))
        except (CommandError, DepthError) as error:
            result.absent.append(f'{subject.text(picture)}: {error}')
    result.facts = {
        'picture': list(picture),
        'cpu': processes.cpu_name(),
        'cores': processes.cores(),
        'threads': threads or processes.cores(),
        'system': f'{platform.system()} {platform.machine()}, Python {platform.python_version()}',
        'versions': versions(),
        'load_average': [round(load, 2), round(os.getloadavg()[0], 2)],
        'seconds': round(time.monotonic() - began, 1),
    }
    return result


def _tell(report: Report, number: str, about: str, what: str) -> None:
    report(f'{number}: {about}, {what}')


@contextmanager
def _ready(subject: Subject, job: Job, logs: Path) -> Iterator[tuple[Job, Mapping[str, str]]]:
    """The job with its weights, and the environment; nothing of random weights stays."""
    environment = processes.child_environment()
    if subject.weights is not None:
        weights = str(subject.weights)
        yield dataclasses.replace(job, weights=weights, trained=True), environment
        return
    with tempfile.TemporaryDirectory(prefix='midas_depth_random_') as folder:
        path = write_random_weights(subject.model, Path(folder))
        converted = str(Path(folder) / 'converted')
        yield (
            dataclasses.replace(job, weights=str(path)),
            {**environment, DIR_VARIABLE: converted},
        )


class ProcessDied(CommandError):
    """A process ended without an answer: `status` says how, `last` what it said last."""

    def __init__(self, status: str, last: str) -> None:
        super().__init__(f'{status}: {last}')
        self.status, self.last = status, last


class _Session:
    """The processes of one subject."""

    def __init__(
        self, job: Job, environment: Mapping[str, str], logs: Path, report: Report
    ) -> None:
        self._job, self._environment = job, environment
        self._logs, self._report = logs, report
        self._count = 0

    def measure(self, subject: Subject, alone: bool, absent: list[str]) -> Measured:
        """Time all ways, then load the fastest of each precision alone."""
        about = subject.text(self._job.picture)
        answer = self._side_by_side(about, absent)
        width, height = answer['input']
        work = subject.model.giga_operations.get((width, height))
        ways = [Way(**row) for row in answer['rows']]
        for way in ways:
            way.gflops = work / way.ms * 1e3 if work else None
        absent += [f'{about}: {text}' for text in answer['absent']]
        random = subject.weights is None
        found = Measured(
            subject.model.name,
            [width, height],
            RANDOM if random else printable(self._job.weights),
            CANNOT_JUDGE if random else judgement(ways),
            ways,
        )
        for precision in dict.fromkeys(way.precision for way in ways) if alone else ():
            fastest = found.fastest(precision)
            if fastest is None:
                continue
            try:
                self._load_alone(fastest)
            except CommandError as error:
                absent.append(f'{about}, {fastest.name} alone: {error}')
        return found

    def _side_by_side(self, about: str, absent: list[str]) -> dict[str, Any]:
        """Time all ways; without those that end the process when they are loaded."""
        while True:
            try:
                return self._answer('model_times', self._job, 'side by side')
            except ProcessDied as error:
                loading, _, way = error.last.partition(' ')
                if loading != LOADING or way in self._job.without:
                    raise
                absent.append(f'{about}: {way}: {error.status}')
                self._job = dataclasses.replace(self._job, without=(*self._job.without, way))

    def _load_alone(self, way: Way) -> None:
        job = dataclasses.replace(
            self._job, backend=way.backend, precision=way.precision, began=time.time()
        )
        answer = self._answer('model_alone', job, f'{way.name} alone')
        way.start_s, way.rss_mb = answer['start_s'], answer['rss_mb']
        way.peak_mb = answer['peak_mb']

    def _answer(self, module: str, job: Job, what: str) -> dict[str, Any]:
        """Carry out a job in a process; raises CommandError where it gave no answer."""
        self._count += 1
        name = f'{job.model}_{job.short_side}_{self._count}'
        path = self._logs / f'{name}.json'
        path.unlink(missing_ok=True)
        job = dataclasses.replace(job, answer=str(path))
        self._report(what)
        with Children(self._logs, self._environment) as children:
            child = children.start(name, module_command(f'lab.speed.{module}', job.to_json()))
            self._wait(child, what)
            if child.exit_code:
                raise ProcessDied(child.status(), child.last_message())
        answer: dict[str, Any] = json.loads(path.read_text())
        if 'error' in answer:
            raise CommandError(answer['error'])
        return answer

    def _wait(self, child: Child, what: str) -> None:
        began = told = time.monotonic()
        while child.exit_code is None:
            time.sleep(WAIT_S)
            now = time.monotonic()
            if now - began > JOB_TIMEOUT_S:
                raise CommandError(f'no answer within {JOB_TIMEOUT_S:g} s')
            if now - told > REPORT_S:
                told = now
                said = f'{what}, {now - began:.0f} s', child.last_message()
                self._report(': '.join(filter(None, said)))


def judgement(ways: Iterable[Way]) -> str:
    """What trained weights say about the faster precisions, in a sentence."""
    said = []
    for way in ways:
        if way.deviation is not None:
            correlation, abs_rel = way.deviation
            verdict = 'within' if way.within_bound else 'beyond'
            figures = f'correlation {correlation:.4f}, AbsRel {abs_rel:.4f}'
            said.append(f'{way.name} is {verdict} the bound of auto ({figures})')
    return '; '.join(said)
