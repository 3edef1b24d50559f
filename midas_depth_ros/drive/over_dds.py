"""Driving for real: robot with camera, depth node and avoidance node are processes that talk DDS.

A plan comes in, results go out; logs of the processes go to a folder. The worlds are driven
without avoidance first, while there is none: nobody else then sends cmd_vel.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from midas_depth_ros.demo import environment
from midas_depth_ros.demo.processes import STOP_SIGNALS, Child, Children
from midas_depth_ros.drive import rig
from midas_depth_ros.drive.bench import Bench, BenchError
from midas_depth_ros.drive.plan import DriveError, DrivePlan
from midas_depth_ros.drive.result import WorldResult, described
from midas_depth_ros.nodes.ros.spinning import StopSignals
from midas_depth_ros.sim import WORLDS, Tally

SPIN_S = 0.01
LOADING_TIMEOUT_S = 1800.0  # a model may be downloaded over a slow line
Report = Callable[[str], None]


class DriveStopped(Exception):
    """A signal asked for the end; its name is the text."""


def drive_over_dds(plan: DrivePlan, logs: Path, report: Report) -> list[WorldResult]:
    """Drive all worlds of a plan. Raises DriveError or DriveStopped. No process is left."""
    environment.set_up()
    exact = plan.depth == 'exact'
    tallies: dict[bool, dict[int, Tally]] = {False: {}, True: {}}
    with (
        StopSignals(STOP_SIGNALS) as signals,
        Children(logs, environment.for_children()) as children,
        _bench() as (bench, spin),
    ):

        def work() -> None:
            spin()
            if signals.requested:
                raise DriveStopped(signals.requested)
            ended = children.ended()
            if ended is not None:
                raise DriveError(_epitaph(ended))

        bench.work = work
        camera = rig.camera_parameters(exact, plan.rate_hz) | {'robot.world': plan.worlds_are}
        children.start('synthetic_camera', _command('nodes.sources.synthetic_camera', camera))
        try:
            if plan.blind:
                tallies[False] = _drive_all(plan, bench, False, report)
            if plan.avoiding:
                _start_avoidance(plan, children)
                bench.wait_until(
                    lambda: (
                        bench.count_publishers('cmd_vel') > 1
                        and bench.count_publishers(f'{rig.CAMERA}/scan') > 0
                    ),
                    LOADING_TIMEOUT_S,
                    'the depth node and the avoidance node',
                )
                tallies[True] = _drive_all(plan, bench, True, report)
        except BenchError as error:
            raise DriveError(str(error)) from error
    return [
        WorldResult(
            seed,
            WORLDS[plan.worlds_are](seed).kind,
            tallies[True].get(seed),
            tallies[False].get(seed),
        )
        for seed in plan.seeds
    ]


def _drive_all(plan: DrivePlan, bench: Bench, avoiding: bool, report: Report) -> dict[int, Tally]:
    tallies = {}
    for seed in plan.seeds:
        tallies[seed] = tally = bench.drive(seed, plan.speed_m_s, plan.seconds, avoiding)
        report(described(seed, tally, avoiding))
    return tallies


def _start_avoidance(plan: DrivePlan, children: Children) -> None:
    if plan.depth == 'exact':
        module, model = 'drive.exact_depth_node', ''
    else:
        module, model = 'nodes.depth.node', plan.model
    parameters = rig.depth_parameters(plan.rate_hz, model)
    children.start('depth_node', _command(module, parameters))
    avoidance = _command('nodes.avoidance.node', rig.avoidance_parameters())
    children.start('avoidance_node', [*avoidance, *rig.avoidance_topics()])


def _command(module: str, parameters: dict[str, Any]) -> list[str]:
    command = [sys.executable, '-m', f'midas_depth_ros.{module}', '--ros-args']
    command.append('--disable-external-lib-logs')  # the log is ours, nothing goes to ~/.ros
    for name, value in parameters.items():
        command += ['-p', f'{name}:={json.dumps(value)}']  # JSON is YAML
    return command


def _epitaph(child: Child) -> str:
    return f'{child.ending()}: {child.last_words()} (log: {child.log})'


@contextlib.contextmanager
def _bench() -> Iterator[tuple[Bench, Callable[[], None]]]:
    """The node that drives, in a context of its own, and what lets it work for a moment."""
    context = Context()
    rclpy.init(
        args=['--ros-args', '--disable-external-lib-logs'],
        context=context,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    executor = SingleThreadedExecutor(context=context)
    try:
        bench = Bench(context=context)
        executor.add_node(bench)
        try:
            yield bench, lambda: executor.spin_once(timeout_sec=SPIN_S)
        finally:
            executor.shutdown()
            bench.destroy_node()
    finally:
        rclpy.shutdown(context=context)
