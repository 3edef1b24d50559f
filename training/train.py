"""Trains a network: one command, which resumes where it stopped.

The learning rate, the picture size and the batch are functions of the share of the minutes that is
spent, so a run uses the time it is given, whatever else the machine does. Pictures of half the size
may come first, then full size, at which the model is used. Validation scenes choose the checkpoint,
a running mean of the weights. Run it again with more minutes to continue. Several processes can
share the work, gradients averaged after every step; on a busy CPU two processes of one thread each
are several times as fast as one of two threads.

    python -m training.train --data /tmp/world --run runs/first --minutes 45
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

from midas_depth_ros.depth.files import read_npz
from midas_depth_ros.depth.models import embedded
from training.augment import Feed
from training.dataset import open_shard, shards
from training.evaluate import Score, mean, predict, predict_with_error, rank, score
from training.expected_error import (
    Calibration,
    blinded,
    calibration,
    errors_of,
    freeze_all_but_error,
    likelihood_loss,
)
from training.loss import (
    Truth,
    Weights,
    loss_of,
    moves,
    residual_of,
    second_view,
    truth_of,
    unsteadiness,
)
from training.standin import StandIn

# --- Starting from the weights of another run, which may have other stages.

MOST_BYTES = 1 << 26  # of an archive


def begin(network: nn.Module, path: Path) -> list[str]:
    """Load a checkpoint's running mean, or the weights of a NumPy archive, into the network.

    Where the network is wider, the new channels have random kernels but no effect at first: it
    gives what the narrower one gave. Layers that only one of them has stay random, or are skipped;
    returns a line about each of the two. Raises ClickException where the file lacks more than half
    of the network, or an entry is larger.
    """
    if path.suffix == '.npz':
        known = {key: torch.from_numpy(array) for key, array in read_npz(path, MOST_BYTES).items()}
    else:
        known = torch.load(path, map_location='cpu', weights_only=True)['mean']
    state = network.state_dict()
    missing = [
        name
        for name, mine in state.items()
        if name not in known and mine.is_floating_point()  # the archive has no counters
    ]
    if len(missing) > len(state) // 2:
        raise click.ClickException(
            f'{path} has no {missing[0]} and lacks {len(missing)} of {len(state)} entries, so it '
            'is of another network: start from a run of training.train or an archive of '
            'training.export'
        )
    left_out = sorted({name.rsplit('.', 1)[0] for name in known.keys() - state.keys()})
    for name, mine in state.items():
        if name not in known:
            continue
        theirs = known[name].to(mine)
        if any(a < b for a, b in zip(mine.shape, theirs.shape, strict=True)):
            raise click.ClickException(
                f'{name} is {tuple(theirs.shape)} in {path}, here only {tuple(mine.shape)}: start '
                'from a network that is not wider'
            )
        state[name] = widened(mine, theirs)
    network.load_state_dict(state)
    said = {'new, with random weights': missing, f'of {path}, left out': left_out}
    return [f'{what}: {", ".join(names)}' for what, names in said.items() if names]


def widened(mine: Tensor, theirs: Tensor) -> Tensor:
    """`theirs` in the corner of a tensor like `mine`: new outputs are mine, new inputs 0."""
    result = mine.clone()
    old = tuple(slice(size) for size in theirs.shape)
    if theirs.ndim > 1:
        result[: theirs.shape[0], theirs.shape[1] :] = 0
    result[old] = theirs
    return result


# --- The run: its plan, its steps, its records.

NETWORKS: dict[str, Callable[[], Any]] = {
    'embedded': embedded.build,
    'midas_small': StandIn,
}
WARM_UP = 0.02  # share of the run during which the learning rate rises
CURVE_STEPS = 50  # per row of the curve
COLUMNS = (TextColumn('{task.description}'), BarColumn(), TimeRemainingColumn())
VALIDATION_BATCH = 25
AGAIN = 0.5  # share of a batch that gets a second view, a moment later


@dataclass(frozen=True)
class Phase:
    """Batches of pictures of 1/`divisor` of the size, until a share of the run."""

    until: float
    divisor: int
    batch: int


@dataclass(frozen=True)
class Plan:
    """Schedule of a run."""

    minutes: float
    rate: float = 3e-3
    weight_decay: float = 0.02
    phases: tuple[Phase, ...] = (Phase(0.55, 2, 64), Phase(1.0, 1, 24))
    mean_decay: float = 0.998
    steady: float = 0.0  # weight of flicker in the loss
    plain: bool = False  # no augmentation, and no fixed scale from picture to picture
    only_error: bool = False  # train the second head alone, see `training/expected_error.py`
    network: str = 'embedded'  # of NETWORKS
    autocast: bool = True  # compute in bf16 where torch thinks it safe

    def phase(self, share: float) -> Phase:
        return next((phase for phase in self.phases if share < phase.until), self.phases[-1])

    def rate_at(self, share: float) -> float:
        """Rises, then falls along half a cosine to a hundredth."""
        rising = min(1.0, share / WARM_UP)
        falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        return self.rate * max(rising, 0.01) * falling


class Trainer:
    """A run: network, running mean, optimiser and progress.

    `rank` counts the processes that share the run; the first keeps the time and the records.
    """

    def __init__(
        self, data: Path, run: Path, plan: Plan, device: str, rank: int = 0, processes: int = 1
    ) -> None:
        self.data, self.run, self.plan = data, run, plan
        self.rank, self.processes = rank, processes
        self.device = torch.device(device)
        self.network = NETWORKS[plan.network]().to(self.device)
        self.mean_network = copy.deepcopy(self.network).eval()
        if plan.only_error:
            freeze_all_but_error(self.network)
        self.optimiser = torch.optim.AdamW(
            groups(self.network, plan.weight_decay), lr=plan.rate, betas=(0.9, 0.98)
        )
        self.weights = Weights(anchor=0.0) if plan.plain else Weights(steady=plan.steady)
        self.random = torch.Generator(self.device).manual_seed(torch.initial_seed() + rank)
        self.seconds, self.samples, self.steps, self.best = 0.0, 0, 0, -math.inf

    @property
    def share(self) -> float:
        return self.seconds / (60 * self.plan.minutes)

    def step(self, batch: tuple[torch.Tensor, ...]) -> dict[str, float]:
        """One update; returns the parts of the loss."""
        picture, inverse_depth, labels = (tensor.to(self.device) for tensor in batch)
        for group in self.optimiser.param_groups:
            group['lr'] = self.plan.rate_at(self.share)
        truth = truth_of(inverse_depth, labels, self.weights)
        if self.plan.only_error:
            total, parts = self._error_loss(picture, truth)
        else:
            total, parts = self._depth_loss(picture, inverse_depth, labels, truth)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        if self.processes > 1:
            self._share()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self._follow()
        self.samples += len(picture) * self.processes
        self.steps += 1
        return {name: float(value.detach()) for name, value in parts.items()}

    def _error_loss(self, picture: Tensor, truth: Truth) -> tuple[Tensor, dict[str, Tensor]]:
        self.network.eval()  # the statistics of its normalisations stay, too
        picture = blinded(picture, self.random)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.autocast):
            depth, expected = self.network.heads(picture)
        error = errors_of(depth.float(), truth)
        loss = likelihood_loss(error, expected.float(), truth)
        return loss, {'likelihood': loss, 'error': error.mean(), 'expected': expected.mean()}

    def _depth_loss(
        self, picture: Tensor, inverse_depth: Tensor, labels: Tensor, truth: Truth
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.network.train()
        again = round(len(picture) * AGAIN) if self.weights.steady else 0
        pictures, count = picture, len(picture)
        if again:
            move = moves(again, picture.shape[2], picture.shape[3], self.random)
            first = picture[:again], inverse_depth[:again], labels[:again]
            later = second_view(*first, move, self.random)
            pictures = torch.cat([picture, later[0]])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.autocast):
            predictions = self.network.at_half_size(pictures).float()
        total, parts = loss_of(predictions[:count], truth, self.weights)
        parts['steady'] = total.new_zeros(())
        if again:
            truth_later = truth_of(*later[1:], self.weights)
            error = residual_of(predictions[:count], truth)[:again]
            error_later = residual_of(predictions[count:], truth_later)
            parts['steady'] = unsteadiness(error, error_later, truth_later, move)
            total = total + self.weights.steady * parts['steady']
        return total, parts

    def _share(self) -> None:
        """Average the gradients of all processes, and take the first one's clock."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        seconds = torch.tensor([self.seconds * (self.rank == 0)], device=self.device)
        flat = torch.cat([*(g.flatten() for g in gradients), seconds.float()])
        distributed.all_reduce(flat)
        self.seconds = float(flat[-1])
        start = 0
        for gradient in gradients:
            end = start + gradient.numel()
            gradient.copy_(flat[start:end].view_as(gradient) / self.processes)
            start = end

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running mean towards the weights; quickly while there are few steps."""
        decay = min(self.plan.mean_decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = self.mean_network.state_dict(), self.network.state_dict()
        for key, value in mine.items():
            if value.is_floating_point():
                value.lerp_(theirs[key], 1 - decay)

    def validate(self) -> tuple[Score | Calibration, float]:
        """The running mean on every validation scene, at full size; and the rank to choose by."""
        scores: list[Score] = []
        calibrations: list[Calibration] = []
        for path in shards(self.data, 'validation'):
            shard = open_shard(path)
            for first in range(0, len(shard), VALIDATION_BATCH):
                some = slice(first, first + VALIDATION_BATCH)
                rgb, truth = np.asarray(shard.rgb[some]), shard.inverse_depth[some]
                if self.plan.only_error:
                    both = predict_with_error(self.mean_network, rgb, self.device)
                    calibrations += map(calibration, *both, truth)
                else:
                    predictions = predict(self.mean_network, rgb, self.device)
                    scores += map(score, predictions, truth, shard.labels[some])
        if self.plan.only_error:
            found = mean(calibrations)
            return found, -found.likelihood
        figures = mean(scores)
        return figures, rank(figures)

    def save(self, name: str) -> None:
        """Write everything needed to resume, atomically."""
        state = {
            'network': self.network.state_dict(),
            'mean': self.mean_network.state_dict(),
            'optimiser': self.optimiser.state_dict(),
            'progress': [self.seconds, self.samples, self.steps, self.best],
            'minutes': self.plan.minutes,
        }
        torch.save(state, self.run / f'.{name}')
        (self.run / f'.{name}').replace(self.run / name)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint of `save`."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state['network'])
        self.mean_network.load_state_dict(state['mean'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.seconds, self.samples, self.steps, self.best = state['progress']


def groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for kernels, none for biases and normalisations."""
    trained = [p for p in network.parameters() if p.requires_grad]
    kernels = [p for p in trained if p.ndim > 1]
    others = [p for p in trained if p.ndim <= 1]
    return [{'params': kernels, 'weight_decay': decay}, {'params': others, 'weight_decay': 0.0}]


def append(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV file, with a header if it is new."""
    new = not path.exists()
    with path.open('a', newline='') as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: f'{v:.5g}' if isinstance(v, float) else v for k, v in row.items()})


def train(trainer: Trainer, validate_minutes: float, seed: int) -> None:
    """Train until the minutes are spent."""
    phase, feed = None, None
    next_validation = trainer.seconds + 60 * validate_minutes
    curve = Curve(trainer)
    with Progress(*COLUMNS, disable=trainer.rank > 0) as progress:
        task = progress.add_task('training', total=60 * trainer.plan.minutes)
        while trainer.share < 1:
            start = time.monotonic()
            if feed is None or trainer.plan.phase(trainer.share) != phase:
                phase = trainer.plan.phase(trainer.share)
                if feed:
                    feed.close()
                size = (embedded.SIZE[0] // phase.divisor, embedded.SIZE[1] // phase.divisor)
                stream = seed + 1000 * trainer.steps + trainer.rank
                feed = Feed(trainer.data, size, phase.batch, stream, trainer.plan.plain)
            parts = trainer.step(feed.next())
            trainer.seconds += time.monotonic() - start
            if trainer.rank == 0:
                text = curve.note(phase.divisor, parts)
                progress.update(task, completed=trainer.seconds)
                if text:
                    progress.update(task, description=text)
                if trainer.seconds >= next_validation:
                    note_validation(trainer, progress)
                    next_validation = trainer.seconds + 60 * validate_minutes
        if trainer.rank == 0:
            note_validation(trainer, progress)
    if feed:
        feed.close()


class Curve:
    """The parts of the loss over time: a row of `curve.csv` for every CURVE_STEPS steps."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._parts: list[dict[str, float]] = []
        self._seconds, self._samples = trainer.seconds, trainer.samples

    def note(self, divisor: int, parts: dict[str, float]) -> str:
        """Add one step's parts; returns what to show, or '' between rows."""
        self._parts.append(parts)
        if len(self._parts) < CURVE_STEPS:
            return ''
        run = self._trainer
        means = {key: float(np.mean([part[key] for part in self._parts])) for key in parts}
        speed = (run.samples - self._samples) / max(run.seconds - self._seconds, 1e-9)
        width = embedded.SIZE[1] // divisor
        row = {'minutes': run.seconds / 60, 'samples': run.samples, 'width': width, **means}
        row |= {'rate': run.plan.rate_at(run.share), 'pictures_per_s': speed}
        append(run.run / 'curve.csv', row)
        self._parts, self._seconds, self._samples = [], run.seconds, run.samples
        text = ' '.join(f'{key} {value:.3f}' for key, value in means.items())
        return f'{width} wide, {run.samples} samples, {speed:.0f}/s: {text}'


def note_validation(trainer: Trainer, progress: Progress) -> None:
    """Score the running mean; save it if it is the best so far, and the run in any case."""
    figures, value = trainer.validate()
    row = {'minutes': trainer.seconds / 60, 'samples': trainer.samples}
    append(trainer.run / 'validation.csv', {**row, **dataclasses.asdict(figures)})
    text = ' '.join(f'{key} {value:.3f}' for key, value in dataclasses.asdict(figures).items())
    progress.console.print(f'{row["minutes"]:.1f} min, {trainer.samples} samples: {text}')
    if value > trainer.best:
        trainer.best = value
        trainer.save('best.pt')
    trainer.save('last.pt')


@dataclass(frozen=True)
class Job:
    """Arguments of every process of a run."""

    data: Path
    run: Path
    plan: Plan
    device: str
    processes: int
    validate_minutes: float
    seed: int
    start_from: Path | None
    port: int


def work(rank: int, job: Job) -> None:
    """Run one process of a run."""
    torch.manual_seed(job.seed)
    cv2.setNumThreads(1)
    if job.device == 'cpu':
        share = max(1, (os.cpu_count() or 1) // job.processes)
        torch.set_num_threads(min(share, torch.get_num_threads()))  # OMP_NUM_THREADS may say less
    if job.processes > 1:
        backend = 'gloo' if job.device == 'cpu' else 'nccl'
        address = f'tcp://127.0.0.1:{job.port}'
        distributed.init_process_group(
            backend, init_method=address, rank=rank, world_size=job.processes
        )
    device = job.device if job.device == 'cpu' else f'{job.device}:{rank}'
    trainer = Trainer(job.data, job.run, job.plan, device, rank, job.processes)
    if (job.run / 'last.pt').exists():
        trainer.resume(job.run / 'last.pt')
    elif job.start_from:
        said = begin(trainer.network, job.start_from)
        if rank == 0 and said:
            click.echo('\n'.join(said))
        trainer.mean_network.load_state_dict(trainer.network.state_dict())
    train(trainer, job.validate_minutes, job.seed)
    if job.processes > 1:
        distributed.destroy_process_group()


def free_port() -> int:
    """A free TCP port of this machine."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port: int = listener.getsockname()[1]
        return port


@click.command()
@click.option('--data', type=click.Path(path_type=Path), required=True, help='Of dataset.py.')
@click.option('--run', type=click.Path(path_type=Path), required=True, help='Folder of this run.')
@click.option('--minutes', type=float, required=True, help='In all, validation not counted.')
@click.option('--rate', default=Plan.rate, show_default=True)
@click.option(
    '--start-from',
    type=click.Path(path_type=Path),
    help='A checkpoint, or an archive of weights (.npz).',
)
@click.option('--small-until', default=0.55, show_default=True, help='Share at half the size.')
@click.option('--batch', default=16, show_default=True, help='Per process; twice at half size.')
@click.option('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
@click.option('--processes', default=1, show_default=True, help='That share the run.')
@click.option('--validate-minutes', default=4.0, show_default=True)
@click.option('--seed', default=0, show_default=True)
@click.option(
    '--steady',
    default=0.0,
    show_default=True,
    help='Weight of what changes a moment later; needs half as much time again.',
)
@click.option('--network', default=Plan.network, type=click.Choice(list(NETWORKS)))
@click.option('--f32', is_flag=True, help='No bf16: its rounding is not trained against.')
@click.option('--plain', is_flag=True, help='Scenes as rendered, no fixed scale: to compare with.')
@click.option(
    '--only-error',
    is_flag=True,
    help='Train the second head alone: depth stays as it is in --start-from.',
)
def main(
    data: Path, run: Path, minutes: float, rate: float, start_from: Path | None,
    small_until: float, batch: int, device: str, processes: int, validate_minutes: float,
    seed: int, steady: float, network: str, f32: bool, plain: bool, only_error: bool,
) -> None:  # fmt: skip
    """Train, or resume where RUN/last.pt stopped."""
    run.mkdir(parents=True, exist_ok=True)
    phases = (Phase(small_until, 2, 2 * batch), Phase(1.0, 1, batch))
    if steady and plain:
        raise click.UsageError('--steady and --plain exclude each other')
    plan = Plan(minutes, rate, phases=phases, steady=steady, plain=plain)
    if only_error and (steady or plain or network != Plan.network):
        raise click.UsageError('--only-error excludes --steady, --plain and other networks')
    plan = dataclasses.replace(plan, network=network, autocast=not f32, only_error=only_error)
    port = free_port()
    job = Job(data, run, plan, device, processes, validate_minutes, seed, start_from, port)
    spawn(work, (job,), nprocs=processes)


if __name__ == '__main__':
    main()
