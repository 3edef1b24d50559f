"""Where data from outside ends: what is wrong with it is counted and said, and the node lives.

Callbacks of subscriptions run within `attempt`, services are wrapped by `guard_services`, and
`run_node` asks `is_from_outside` about what comes out of the executor. A fault of our own code is
said as loudly here as elsewhere, but it costs one message, not the robot's eyes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult

if TYPE_CHECKING:
    from rclpy.executors import Executor
    from rclpy.node import Node

LOG_PERIOD_S = 5.0  # for each topic or service
RECENT_S = 5.0
MOST_TEXT = 400  # characters of a fault that are kept: it may quote what came
LISTS_OF_REQUESTS, MOST_ASKED = ('names', 'prefixes', 'parameters'), 2000  # of parameter services
REFUSED = ': refused: '  # in each line of log about it
ROS_ITSELF = 'ROS'  # the name of what rclpy listens to by itself, such as /clock
# What rclpy runs on data from outside, without a line of ours between.
ROS_PACKAGES = ('rclpy', 'tf2_ros', 'tf2_py')
WORK_MODULE = 'rclpy.task'  # what is raised outside of it does not come of one message


@dataclasses.dataclass
class Faults:
    """What was wrong with what came by one name: a topic or a service."""

    count: int = 0
    raised: int = 0  # of them, those on which our own code raised
    last: str = ''
    at_s: float = -RECENT_S  # monotonic clock
    said_s: float = -LOG_PERIOD_S

    @property
    def recent(self) -> bool:
        """Whether the last one is only a few seconds old."""
        return time.monotonic() - self.at_s < RECENT_S


_faults: weakref.WeakKeyDictionary[Any, dict[str, Faults]] = weakref.WeakKeyDictionary()


def faults_of(node: Node) -> dict[str, Faults]:
    """By name, what was wrong with what a node was sent; names without a fault are not in it."""
    return _faults.setdefault(node, {})


def refused_words(node: Node, recent: bool = False) -> str:
    """The faults in words, for diagnostics; with `recent` only those of the last seconds."""
    kept = sorted(faults_of(node).items())
    return '; '.join(
        f'{name}: {faults.count} ({faults.last})'
        for name, faults in kept
        if faults.recent or not recent
    )


def refuse(node: Node, name: str, text: str, on_fault: Callable[[str], None] | None = None) -> None:
    """Count and keep a fault; say it now and then, unless `on_fault` does that."""
    faults = faults_of(node).setdefault(name, Faults())
    faults.count += 1
    text = text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + '...'
    faults.last, faults.at_s = text, time.monotonic()
    if on_fault is not None:
        on_fault(text)
    elif faults.at_s - faults.said_s >= LOG_PERIOD_S:
        faults.said_s = faults.at_s
        node.get_logger().warning(f'{name}{REFUSED}{text}')


def attempt(
    node: Node,
    name: str,
    work: Callable[[], Any],
    on_fault: Callable[[str], None] | None = None,
) -> Any:
    """What `work` returns; None where it raises, which is then counted as a fault of `name`."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a message that nobody thought of must not blind the
        # robot: it is refused, loudly, and the next one gets its chance.
        refuse(node, name, f'{type(error).__name__}: {error}', on_fault)
        faults_of(node)[name].raised += 1
        node.get_logger().debug(traceback.format_exc())
        return None


def guard_services(node: Node) -> None:
    """Let every service of a node answer "no" to what its callback raises on, or would not end.

    rclpy's own raise on a parameter type that does not exist, and end the process with it; asked
    for the parameters of a million prefixes, they answer with a million times all of them.
    """
    for service in node.services:
        if not hasattr(service, 'is_guarded'):
            service.is_guarded = True
            service.callback = _guarded(node, service.srv_name, service.callback)


def _guarded(node: Node, name: str, callback: Callable[[Any, Any], Any]) -> Callable:
    def answer(request: Any, response: Any) -> Any:
        made = attempt(node, name, lambda: _unless_endless(callback, request, response))
        return made if made is not None else _refusal(request, type(response)())

    def _refusal(request: Any, response: Any) -> Any:
        """The answer that says no, where the type has a word for that."""
        reason = faults_of(node)[name].last
        no = SetParametersResult(successful=False, reason=f'request refused: {reason}')
        if hasattr(response, 'results'):
            response.results = [no for _ in request.parameters[:MOST_ASKED]]
        elif isinstance(getattr(response, 'result', None), SetParametersResult):
            response.result = no
        elif hasattr(response, 'message'):
            response.message = no.reason
        return response

    return answer


def _unless_endless(callback: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    """The callback's answer; raises ValueError for a request of too many parts."""
    for field in LISTS_OF_REQUESTS:
        count = len(getattr(request, field, ()))
        if count > MOST_ASKED:
            raise ValueError(f'{count} {field} in one request: ask for at most {MOST_ASKED}')
    return callback(request, response)


def is_from_outside(error: BaseException) -> bool:
    """Whether rclpy raised this at work on one message or request, with no code of ours below.

    So it is with bytes that the middleware cannot take, or a /clock before 1970. A bug of ours, or
    a wait that fails whatever comes, is not, and must not be hidden or tried again for ever.
    """
    if not isinstance(error, Exception):
        return False
    modules = list(_modules(error.__traceback__))
    if WORK_MODULE not in modules:
        return False
    below = modules[modules.index(WORK_MODULE) :]
    return all(
        is_of_ros(module) or module.partition('.')[0] in sys.stdlib_module_names for module in below
    )


def _modules(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        yield str(trace.tb_frame.f_globals.get('__name__', ''))
        trace = trace.tb_next


def is_of_ros(module: str) -> bool:
    """Whether a Python module belongs to the client library or is a generated message."""
    parts = module.split('.')
    generated = len(parts) > 2 and parts[1] in ('msg', 'srv') and parts[2].startswith('_')
    return generated or parts[0] in ROS_PACKAGES


def listen_again(executor: Executor) -> None:
    """Make a single-threaded executor whole after a message could not be taken.

    rclpy leaves the entity marked as being worked on, and its callback group as busy: the node
    would live on and hear nothing. Only for the thread that spins, between two turns.
    """
    for node in executor.get_nodes():
        kinds = (node.subscriptions, node.timers, node.services, node.clients, node.guards)
        for entity in (entity for kind in (*kinds, node.waitables) for entity in kind):
            if getattr(entity, '_executor_event', False):
                entity._executor_event = False
                with contextlib.suppress(AssertionError):  # it had not begun
                    entity.callback_group.ending_execution(entity)
