"""Many drives in parts: several at a time, each a command of its own, and kept for the next run.

A part is some worlds of a row of a table. Its summary is written to a folder as soon as it is
there, so that a run that was stopped goes on where it ended.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from midas_depth_ros.lab.drive.rig import DrivePlan

WORLDS = 5  # of a part: over DDS a start takes as long as half a drive
TRIES = 2  # of a part whose command fails, as where a machine is too busy to start nodes in time
DRIVEN = 'world '  # how the line begins that a command says of each drive
LAST_WORDS = 3  # lines of a command that failed
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Part:
    """Some worlds of a row: `plan` says which. words: the command that drives them."""

    row: str
    plan: DrivePlan
    words: tuple[str, ...]

    @property
    def drives(self) -> int:
        """How many drives it takes."""
        return self.plan.worlds * (self.plan.avoiding + self.plan.blind)

    @property
    def name(self) -> str:
        """How it is called in progress."""
        last = self.plan.seed + self.plan.worlds - 1
        return f'{self.row}, worlds {self.plan.seed} to {last}'

    def file(self, folder: Path) -> Path:
        """Where its summary is kept."""
        return folder / f'{self.row}_{self.plan.seed}_{self.plan.worlds}.json'

    def kept(self, folder: Path) -> dict[str, Any] | None:
        """Return the summary of an earlier run of the same command; None without one."""
        try:
            found = json.loads(self.file(folder).read_text())
        except (FileNotFoundError, ValueError):  # none, or a file that was not finished
            return None
        return found['summary'] if found.get('command') == list(self.words) else None

    def keep(self, folder: Path, summary: Mapping[str, Any]) -> None:
        """Write the summary; a reader sees all of it or nothing."""
        path = self.file(folder)
        unfinished = path.with_suffix('.unfinished')
        unfinished.write_text(json.dumps({'command': self.words, 'summary': summary}, indent=1))
        unfinished.replace(path)


def parts_of(
    row: str, plan: DrivePlan, command: Callable[[DrivePlan], str], worlds: int = WORLDS
) -> Iterator[Part]:
    """Yield the parts of a row, of up to so many worlds."""
    for first in range(0, plan.worlds, worlds):
        count = min(worlds, plan.worlds - first)
        part = dataclasses.replace(plan, seed=plan.seed + first, worlds=count)
        yield Part(row, part, tuple(command(part).split()))


class PartFailed(Exception):
    """The command of a part failed; the text has its last words."""


class Progress:
    """Says how many drives are done, and how long the others take at this pace. Thread-safe."""

    def __init__(self, drives: int, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._left, self._say, self._clock = drives, say, clock
        self._all, self._done, self._begin_s = drives, 0, clock()
        self._lock = threading.Lock()

    def kept(self, part: Part) -> None:
        """A part need not be driven."""
        with self._lock:
            self._left -= part.drives
            self._say(f'{part.name}: kept from an earlier run')

    def driven(self, row: str, line: str) -> None:
        """A drive is done."""
        with self._lock:
            self._left -= 1
            self._done += 1
            to_go_s = (self._clock() - self._begin_s) / self._done * self._left
            done = self._all - self._left
            self._say(f'[{done}/{self._all}, {to_go_s / 60:.0f} min to go] {row}: {line}')

    def again(self, part: Part, drives: int, why: str) -> None:
        """A part failed after so many drives."""
        with self._lock:
            self._left += drives
            self._done -= drives
            self._say(f'{part.name}: {why}')


class Runner:
    """Runs parts, `parallel` at a time; no command of theirs outlives the `with` block."""

    def __init__(self, folder: Path, parallel: int, say: Say) -> None:
        self._folder, self._parallel, self._say = folder, parallel, say
        self._running: set[subprocess.Popen[str]] = set()
        self._stopping = False

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for process in list(self._running):
            process.terminate()

    def summaries(self, parts: list[Part]) -> dict[str, list[dict[str, Any]]]:
        """Return the summaries of all parts by row, in order. Raises ClickException at the end if
        one failed.
        """
        progress = Progress(sum(part.drives for part in parts), self._say)
        found = {part: part.kept(self._folder) for part in parts}
        for part in parts:
            if found[part] is not None:
                progress.kept(part)
        failed = []
        with concurrent.futures.ThreadPoolExecutor(self._parallel) as pool:
            try:
                futures = {
                    part: pool.submit(self._carry_out, part, progress)
                    for part in parts
                    if found[part] is None
                }
                for part, future in futures.items():
                    try:
                        found[part] = future.result()
                    except PartFailed as error:
                        failed.append(f'{part.name}: {error}')
            except BaseException:  # a signal: what runs is of no use
                self.__exit__()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if failed:
            raise click.ClickException('; '.join([*failed, 'the same command goes on from here']))
        rows: dict[str, list[dict[str, Any]]] = {}
        for part in parts:
            rows.setdefault(part.row, []).append(found[part] or {})
        return rows

    def _carry_out(self, part: Part, progress: Progress) -> dict[str, Any]:
        """Return the summary of a part, from the second try if the first one fails."""
        for attempt in range(1, TRIES + 1):
            drives, code, last, summary = self._run(part, progress)
            if code == 0:
                part.keep(self._folder, summary)
                return summary
            why = f'exit code {code}: {" / ".join(last)}'
            if self._stopping or attempt == TRIES:
                break
            progress.again(part, drives, f'{why}; it is tried again')
        raise PartFailed(why)

    def _run(self, part: Part, progress: Progress) -> tuple[int, int, list[str], dict[str, Any]]:
        """Run the command; return its drives, exit code, last words and summary."""
        # ROS_DOMAIN_ID: each chooses a free domain.
        environment = {k: v for k, v in os.environ.items() if k != 'ROS_DOMAIN_ID'}
        logs = self._folder / 'logs' / part.file(Path()).stem
        command = [sys.executable, '-m', 'midas_depth_ros.cli.main', *part.words, '--json']
        drives, last = 0, ['']
        with subprocess.Popen(
            [*command, '--logs', str(logs)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self._running.add(process)
            assert process.stderr is not None  # both are pipes
            assert process.stdout is not None
            for line in process.stderr:
                last = [*last, line.strip()][-LAST_WORDS:]
                if line.startswith(DRIVEN):
                    drives += 1
                    progress.driven(part.row, line.strip())
            text = process.stdout.read()
        self._running.discard(process)
        return drives, process.returncode, last, json.loads(text) if text.strip() else {}
