"""The boundary around input from outside: faults are counted and logged, and the node lives on.

Callbacks of subscriptions run within `attempt`, services are wrapped by `guard_services`, and
`run_node` asks `is_from_outside` about exceptions of the executor. A bug of our own in a callback
is logged as loudly, but costs one message, not the node.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import struct
import sys
import time
import traceback
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.serialization import deserialize_message
from rosidl_parser import definition

if TYPE_CHECKING:
    from rclpy.executors import Executor
    from rclpy.node import Node

# --- Deserialisation that does not trust the lengths in a message.
#
# rclpy allocates what a message claims before it looks whether that is there: 20 MB of zeros become
# 4 GB of diagnostics. So the lengths are checked first, by the description of the type.

# Representation identifiers (OMG DDS-XTypes 7.6.3.1.2) of plain CDR: byte order as in struct, and
# the largest alignment. The others put headers between the fields, which the middleware would read
# as fields; no ROS 2 publisher sends them.
PLAIN = {
    b'\x00\x00': ('>', 8),
    b'\x00\x01': ('<', 8),
    b'\x00\x06': ('>', 4),
    b'\x00\x07': ('<', 4),
}
ENCAPSULATION_BYTES = 4  # identifier and options; alignment counts after them
MOST_PARTS = 100_000  # messages within a message: fields of a cloud, values of diagnostics
SIZES = {
    **dict.fromkeys(('boolean', 'octet', 'char', 'int8', 'uint8'), 1),
    **dict.fromkeys(('wchar', 'int16', 'uint16'), 2),
    **dict.fromkeys(('int32', 'uint32', 'float'), 4),
    **dict.fromkeys(('int64', 'uint64', 'double'), 8),
    'long double': 16,
}


class Unreadable(ValueError):
    """The bytes are not a valid message of this type; the text says where."""


def deserialised(data: bytes, kind: type) -> Any:
    """Deserialise a message of class `kind`. Raises Unreadable."""
    check(data, kind)
    try:
        return deserialize_message(data, kind)
    except (RuntimeError, ValueError) as error:  # raised by the middleware, or by a field
        raise Unreadable(f'the middleware cannot read it: {error}') from error


def check(data: bytes, kind: type) -> None:
    """Raise Unreadable if the lengths in a message exceed its size."""
    plain = PLAIN.get(bytes(data[:2]))
    if plain is None or len(data) < ENCAPSULATION_BYTES:
        raise Unreadable(
            f'it begins with {data[:ENCAPSULATION_BYTES]!r}, which is not plain CDR: publish '
            'with a ROS 2 middleware'
        )
    _skip_of(kind)(_Cursor(data, *plain), kind.__name__)


class _Cursor:
    """A position in the bytes of a message."""

    def __init__(self, data: bytes, order: str, alignment: int) -> None:
        self._body = memoryview(data)[ENCAPSULATION_BYTES:]
        self._alignment = alignment
        self._count = struct.Struct(order + 'I')
        self._at = 0
        self._parts = 0

    def skip(self, size: int, count: int, field: str) -> None:
        """Skip `count` numbers of `size` bytes."""
        self._at += -self._at % min(size, self._alignment)
        self._at += size * count
        if self._at > len(self._body):
            raise Unreadable(
                f'it has {len(self._body) + ENCAPSULATION_BYTES} bytes and ends within {field}, '
                f'which needs {size * count} bytes: it was truncated or damaged'
            )

    def count(self, field: str) -> int:
        """Skip the length of a text or a sequence, and return it."""
        self.skip(4, 1, field)
        return int(self._count.unpack_from(self._body, self._at - 4)[0])

    def parts(self, count: int, field: str) -> None:
        """Count nested messages, of which there may be MOST_PARTS."""
        self._parts += count
        if count > len(self._body) - self._at or self._parts > MOST_PARTS:
            raise Unreadable(
                f'{field} claims {count} parts in {len(self._body) - self._at} bytes: at most '
                f'{MOST_PARTS} are allowed'
            )


Skip = Callable[[_Cursor, str], None]


@functools.cache
def _skip_of(kind: type) -> Skip:
    """A function that skips a message of this class."""
    names = kind.get_fields_and_field_types()  # type: ignore[attr-defined]
    fields = [
        (_skip_of_type(slot), name)
        for slot, name in zip(kind.SLOT_TYPES, names, strict=True)  # type: ignore[attr-defined]
    ]

    def skip(cursor: _Cursor, field: str) -> None:
        for skip_field, name in fields:
            skip_field(cursor, name)

    return skip


def _skip_of_type(slot: Any) -> Skip:
    """A function that skips a field of this type."""
    if isinstance(slot, definition.BasicType):
        size = SIZES[slot.typename]
        return lambda cursor, field: cursor.skip(size, 1, field)
    if isinstance(slot, definition.AbstractString):
        return lambda cursor, field: cursor.skip(1, cursor.count(field), field)
    if isinstance(slot, definition.AbstractWString):  # 4 bytes a letter, as in Fast CDR
        return lambda cursor, field: cursor.skip(4, cursor.count(field), field)
    if isinstance(slot, definition.NamespacedType):
        module = importlib.import_module('.'.join(slot.namespaces))
        return _skip_of(getattr(module, slot.name))
    if isinstance(slot, definition.Array):
        fixed = slot.size
        return _skip_several(slot.value_type, lambda cursor, field: fixed)
    return _skip_several(slot.value_type, _Cursor.count)


def _skip_several(element: Any, count_of: Callable[[_Cursor, str], int]) -> Skip:
    if isinstance(element, definition.BasicType):
        size = SIZES[element.typename]

        def skip_numbers(cursor: _Cursor, field: str) -> None:
            count = count_of(cursor, field)
            if count:
                cursor.skip(size, count, field)

        return skip_numbers
    skip_element = _skip_of_type(element)

    def skip_parts(cursor: _Cursor, field: str) -> None:
        count = count_of(cursor, field)
        cursor.parts(count, field)
        for _ in range(count):
            skip_element(cursor, field)

    return skip_parts


LOG_PERIOD_S = 5.0  # for each topic or service
RECENT_S = 5.0
MOST_TEXT = 400  # characters of a fault that are kept: it may quote the message
LISTS_OF_REQUESTS, MOST_ASKED = ('names', 'prefixes', 'parameters'), 2000  # of parameter services
ROS_ITSELF = 'ROS'  # the name for what rclpy subscribes to itself, such as /clock
# What processes data from outside without code of ours in between.
ROS_PACKAGES = ('rclpy', 'tf2_ros', 'tf2_py')
WORK_MODULE = 'rclpy.task'  # exceptions from outside of it are not due to one message


@dataclasses.dataclass
class Faults:
    """The faults in the messages of one topic, or the requests of one service."""

    count: int = 0
    raised: int = 0  # of them, those on which our own code raised an exception
    last: str = ''
    at_s: float = -RECENT_S  # monotonic clock
    logged_s: float = -LOG_PERIOD_S

    @property
    def recent(self) -> bool:
        """Whether the last one is only a few seconds old."""
        return time.monotonic() - self.at_s < RECENT_S


_faults: weakref.WeakKeyDictionary[Any, dict[str, Faults]] = weakref.WeakKeyDictionary()
_without_log: weakref.WeakSet[Any] = weakref.WeakSet()


def disable_log(node: Node) -> None:
    """Only count and keep the faults of this node: its owner reports them."""
    _without_log.add(node)


def faults_of(node: Node) -> dict[str, Faults]:
    """The faults of a node's input by topic or service; those without a fault are missing."""
    return _faults.setdefault(node, {})


def refused_words(node: Node, recent: bool = False) -> str:
    """The faults as text for diagnostics; with `recent` only those of the last seconds."""
    kept = sorted(faults_of(node).items())
    return '; '.join(
        f'{name}: {faults.count} ({faults.last})'
        for name, faults in kept
        if faults.recent or not recent
    )


def refuse(node: Node, name: str, text: str, on_fault: Callable[[str], None] | None = None) -> None:
    """Count and keep a fault, and log it throttled unless there is an `on_fault` to call."""
    faults = faults_of(node).setdefault(name, Faults())
    faults.count += 1
    text = text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + '...'
    faults.last, faults.at_s = text, time.monotonic()
    if on_fault is not None:
        on_fault(text)
    elif node not in _without_log and faults.at_s - faults.logged_s >= LOG_PERIOD_S:
        faults.logged_s = faults.at_s
        node.get_logger().warning(f'{name}: refused: {text}')


def attempt(
    node: Node,
    name: str,
    work: Callable[[], Any],
    on_fault: Callable[[str], None] | None = None,
) -> Any:
    """Return what `work` returns; None if it raises, which is counted as a fault of `name`."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - an unforeseen message must not blind the robot
        _refuse_raised(node, name, error, on_fault)
        return None


def _refuse_raised(
    node: Node, name: str, error: Exception, on_fault: Callable[[str], None] | None
) -> None:
    refuse(node, name, f'{type(error).__name__}: {error}', on_fault)
    faults_of(node)[name].raised += 1
    node.get_logger().debug(traceback.format_exc())


def guard_services(node: Node) -> None:
    """Let every service of a node answer with failure if its callback raises, or would not end.

    rclpy's own raise on an unknown parameter type, or answer a million prefixes a million times.
    """
    for service in node.services:
        if not hasattr(service, 'is_guarded'):
            service.is_guarded = True
            service.callback = _guarded(node, service.srv_name, service.callback)


def _guarded(node: Node, name: str, callback: Callable[[Any, Any], Any]) -> Callable:
    def answer(request: Any, response: Any) -> Any:
        made = attempt(node, name, lambda: _unless_endless(callback, request, response))
        return made if made is not None else _refusal(request, type(response)())

    async def answer_later(request: Any, response: Any) -> Any:
        try:
            return await _unless_endless(callback, request, response)
        except Exception as error:  # noqa: BLE001 - as `attempt`
            _refuse_raised(node, name, error, None)
            return _refusal(request, type(response)())

    def _refusal(request: Any, response: Any) -> Any:
        """A response that reports failure, as far as its type can."""
        reason = faults_of(node)[name].last
        no = SetParametersResult(successful=False, reason=f'request refused: {reason}')
        if hasattr(response, 'results'):
            response.results = [no for _ in request.parameters[:MOST_ASKED]]
        elif isinstance(getattr(response, 'result', None), SetParametersResult):
            response.result = no
        elif hasattr(response, 'message'):
            response.message = no.reason
        return response

    # rclpy awaits only what it can see to be a coroutine.
    return answer_later if inspect.iscoroutinefunction(callback) else answer


def _unless_endless(callback: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    """The callback's response, or what gives it.

    Raises ValueError for a request with too many parts.
    """
    for field in LISTS_OF_REQUESTS:
        count = len(getattr(request, field, ()))
        if count > MOST_ASKED:
            raise ValueError(f'{count} {field} in one request: ask for at most {MOST_ASKED}')
    return callback(request, response)


def is_from_outside(error: BaseException) -> bool:
    """Whether rclpy raised this while it handled one message or request, without code of ours.

    For example for a /clock before 1970. A bug of ours, or a wait that always fails, must not be
    hidden or repeated for ever.
    """
    if not isinstance(error, Exception):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [str(frame.f_globals.get('__name__', '')) for frame in frames]
    if WORK_MODULE not in modules:
        return False
    below = modules[modules.index(WORK_MODULE) :]
    return all(
        is_of_ros(module) or module.partition('.')[0] in sys.stdlib_module_names for module in below
    )


def is_of_ros(module: str) -> bool:
    """Whether a Python module belongs to the client library or is a generated message."""
    parts = module.split('.')
    generated = len(parts) > 2 and parts[1] in ('msg', 'srv') and parts[2].startswith('_')
    return generated or parts[0] in ROS_PACKAGES


def listen_again(executor: Executor) -> None:
    """Repair a single-threaded executor after a message could not be taken; between two turns.

    rclpy leaves the entity marked as in work and its callback group as busy for ever.
    """
    for node in executor.get_nodes():
        kinds = (node.subscriptions, node.timers, node.services, node.clients, node.guards)
        for entity in (entity for kind in (*kinds, node.waitables) for entity in kind):
            if getattr(entity, '_executor_event', False):
                entity._executor_event = False
                with contextlib.suppress(AssertionError):  # it had not begun
                    entity.callback_group.ending_execution(entity)
