"""The gain of each change to MiDaS_small's graph, of each backend and each precision.

The network alone, with random weights (which speed does not depend on; deviation does, so it is not
given), against the usual recipe: torch, eager, default memory layout, float32. All variants run
interleaved in one process, in short bursts whose first run is not counted. Wall-clock time is the
latency of a frame; CPU time, summed over the threads, is its cost.

    python -m benchmarks.graph --threads 2 --size 192x256

On a busy machine, `--first` gives bursts real-time priority (as root; a burst takes a fraction of a
second, and other processes run between two).
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from midas_depth_ros.depth.models.midas_small import (
    INPUT,
    SPEC,
    Simplifications,
    build,
    midas_onnx,
)
from midas_depth_ros.lab.speed.random_weights import random_arrays

BURST = 4  # counted runs of each variant in each round
QUANTISED_ON = 8
PAUSE_S = 0.3  # for other processes
Run = Callable[[np.ndarray], object]


def torch_runs(weights: dict[str, np.ndarray], threads: int) -> dict[str, Run]:
    """Return the usual recipe, and the network of the torch backend."""
    import torch

    from midas_depth_ros.depth.backends.torch_backend import frozen_trace

    torch.set_num_threads(threads)
    network = build().eval()
    state = {key: torch.from_numpy(array) for key, array in weights.items()}
    network.load_state_dict(state)
    another = build().eval()
    another.load_state_dict(state)
    trace = frozen_trace(another, (1, 3, 192, 256))

    def eager(values: np.ndarray) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(values))[0].numpy()

    def traced(values: np.ndarray) -> object:
        with torch.inference_mode():
            picture = torch.from_numpy(values).to(memory_format=torch.channels_last)
            return trace(picture)[0].numpy()

    return {'torch f32, eager: the usual recipe': eager, 'torch f32, traced and frozen': traced}


def openvino_runs(
    weights: dict[str, np.ndarray], size: tuple[int, int], threads: int
) -> dict[str, Run]:
    """Return the graph as written, simplified step by step; then the precisions."""
    from midas_depth_ros.depth.backends.openvino_backend import quantised
    from midas_depth_ros.depth.backends.openvino_runtime import Runtime

    runtime = Runtime(threads)
    steps = {
        'as written': (Simplifications(fold_norms=False, narrow_first=False), size),
        'norms folded by us': (Simplifications(fold_norms=True, narrow_first=False), size),
        '1x1 before enlarging': (Simplifications(fold_norms=False, narrow_first=True), size),
        'both: what is used': (Simplifications(), None),
        'both, one model for every size': (Simplifications(), None),
    }
    models = {
        name: runtime.from_onnx(midas_onnx(weights, fixed, simplify))
        for name, (simplify, fixed) in steps.items()
    }
    runs: dict[str, Run] = {
        f'openvino f32, {name}': runtime.compile(model, 'f32').infer
        for name, model in models.items()
    }
    for small in ((32, 32), (32, 64)):  # further sizes share one network
        runs['openvino f32, both, one model for every size'](np.zeros((1, 3, *small), np.float32))
    used = runtime.from_onnx(midas_onnx(weights))
    for precision in runtime.precisions():
        if precision in ('bf16', 'f16'):
            runs[f'openvino {precision}'] = runtime.compile(used, precision).infer
    rng = np.random.default_rng(1)
    inputs = [rng.normal(size=(1, 3, *size)).astype(np.float32) for _ in range(QUANTISED_ON)]
    runs['openvino int8'] = runtime.compile(quantised(used, inputs), 'int8').infer
    return runs


def onnxruntime_runs(
    weights: dict[str, np.ndarray], size: tuple[int, int], threads: int, folder: Path
) -> dict[str, Run]:
    """Return the graph as written and as used."""
    from midas_depth_ros.depth.backends.onnxruntime_backend import session_of

    def run(session: Any, values: np.ndarray) -> object:
        return session.run(None, {INPUT: values})

    runs: dict[str, Run] = {}
    for name, simplify, fixed in (
        ('as written', Simplifications(fold_norms=False, narrow_first=False), size),
        ('both: what is used', Simplifications(), None),
    ):
        path = folder / f'{len(runs)}.onnx'
        path.write_bytes(midas_onnx(weights, fixed, simplify))
        runs[f'onnxruntime f32, {name}'] = functools.partial(run, session_of(path, threads))
    return runs


def opencv_runs(
    weights: dict[str, np.ndarray], size: tuple[int, int], threads: int
) -> dict[str, Run]:
    """Return OpenCV without and with Winograd convolutions (OpenCV 4.7 and later)."""
    cv2.setNumThreads(threads)
    model = np.frombuffer(midas_onnx(weights, size, Simplifications()), np.uint8)

    def run(network: cv2.dnn.Net, values: np.ndarray) -> object:
        network.setInput(values)
        return network.forward()

    runs: dict[str, Run] = {}
    for name, winograd in (('', False), (', Winograd', True)):
        network = cv2.dnn.readNetFromONNX(model)
        network.enableWinograd(winograd)
        runs[f'opencv f32{name}'] = functools.partial(run, network)
    return runs


@contextlib.contextmanager
def real_time_priority(wanted: bool) -> Iterator[None]:
    """Run all threads of this process with real-time scheduling, if wanted."""
    if not wanted:
        yield
        return
    _schedule(os.SCHED_FIFO, 1)
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER, 0)
    time.sleep(PAUSE_S)


def _schedule(policy: int, priority: int) -> None:
    for task in os.listdir('/proc/self/task'):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.sched_setscheduler(int(task), policy, os.sched_param(priority))


def measure(
    runs: dict[str, Run], values: np.ndarray, rounds: int, first: bool
) -> dict[str, np.ndarray]:
    """Return (runs, 2) milliseconds of wall clock and of CPU for every variant."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            with real_time_priority(first):
                run(values)
                for _ in range(BURST):
                    wall, busy = time.perf_counter(), time.process_time()
                    run(values)
                    spent = time.perf_counter() - wall, time.process_time() - busy
                    if turn:  # the first round warms everything up
                        taken[name].append(spent)
    return {name: 1000 * np.array(times) for name, times in taken.items()}


def product_gflops(threads: int) -> float:
    """Return the GFLOP/s of a float32 matrix product by CPU time, times the threads."""
    import torch

    torch.set_num_threads(1)
    square, best = torch.rand(1024, 1024), float('inf')
    for _ in range(10):
        start = time.process_time()
        square @ square
        best = min(best, time.process_time() - start)
    return threads * 2 * 1024**3 / best / 1e9


def print_table(taken: dict[str, np.ndarray]) -> None:
    usual = np.median(next(iter(taken.values())), axis=0)
    print('| network | ms, median | fastest tenth | times faster | ms of processor | times less |')
    print('| --- | --- | --- | --- | --- | --- |')
    for name, times in taken.items():
        wall, busy = np.median(times, axis=0)
        print(
            f'| {name} | {wall:.1f} | {np.quantile(times[:, 0], 0.1):.1f} '
            f'| {usual[0] / wall:.2f} | {busy:.1f} | {usual[1] / busy:.2f} |'
        )


@click.command()
@click.option('--threads', default=2, show_default=True)
@click.option('--size', default='192x256', show_default=True, help='Height x width.')
@click.option('--rounds', default=10, show_default=True)
@click.option('--first', is_flag=True, help='With real-time priority; as root.')
@click.option('--only', multiple=True, help='Only variants named like this, and the usual recipe.')
def main(threads: int, size: str, rounds: int, first: bool, only: tuple[str, ...]) -> None:
    """Time the variants of MiDaS_small's network."""
    import tempfile

    height, width = map(int, size.split('x'))
    weights = {key: np.asarray(array, np.float32) for key, array in random_arrays(SPEC).items()}
    runs = torch_runs(weights, threads)
    with tempfile.TemporaryDirectory() as folder:
        runs |= openvino_runs(weights, (height, width), threads)
        runs |= onnxruntime_runs(weights, (height, width), threads, Path(folder))
    runs |= opencv_runs(weights, (height, width), threads)
    usual = next(iter(runs))
    runs = {n: r for n, r in runs.items() if not only or n == usual or any(o in n for o in only)}
    values = np.random.default_rng(2).normal(size=(1, 3, height, width)).astype(np.float32)
    before = os.getloadavg()[0]
    print_table(measure(runs, values, rounds, first))
    with real_time_priority(first):
        product = product_gflops(threads)
    print(
        f'\n{threads} threads, {width}x{height}, {rounds * BURST} runs each, load {before:.1f} to '
        f'{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; Python {platform.python_version()}. '
        f'A float32 matrix product reaches {product:.0f} GFLOP/s.'
    )


if __name__ == '__main__':
    main()
