"""What avoidance_node says about itself on /diagnostics. Pure wording, no spinning."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from midas_depth_ros.avoidance import Decision, State

LEVELS = {
    State.CLEAR: DiagnosticStatus.OK,
    State.SLOWING: DiagnosticStatus.OK,
    State.OBSTACLE: DiagnosticStatus.OK,
    State.NO_COMMAND: DiagnosticStatus.OK,
    State.BAD_COMMAND: DiagnosticStatus.WARN,
    State.NO_DATA: DiagnosticStatus.ERROR,
    State.ECHO: DiagnosticStatus.ERROR,
    State.NO_CLOCK: DiagnosticStatus.ERROR,
}
RECENT_S = 3.0  # so long a refusal is a warning, and counts what was said of a message


@dataclasses.dataclass
class Input:
    """What happened on one input topic."""

    topic: str
    received: int = 0
    refused: int = 0
    last_fault: str = ''
    publishers: int = 0
    incompatible: tuple[str, ...] = ()
    joined: int = 0  # with what it belongs to
    by_receipt: str = ''  # why the stamps of what is used do not count
    used_s: float = -math.inf  # when something was last used, by the steady clock
    refused_s: float = -math.inf  # when, by the steady clock
    logged_s: float = -math.inf

    def judged_by_receipt(self, steady_s: float) -> str:
        """Why the stamps of what is used now do not count; '' if they do, or nothing is used."""
        return self.by_receipt if steady_s - self.used_s <= RECENT_S else ''

    def values(self, name: str, steady_s: float) -> dict[str, object]:
        """As key and value."""
        return {
            f'{name} topic': self.topic,
            f'{name} publishers': self.publishers,
            f'{name} incompatible publishers': '; '.join(self.incompatible),
            f'{name} received': self.received,
            f'{name} refused': self.refused,
            f'{name} last fault': self.last_fault,
            f'{name} judged by receipt': self.judged_by_receipt(steady_s),
            **({f'{name} joined with a scan': self.joined} if name == 'seen_free' else {}),
        }


def sentence(decision: Decision) -> str:
    """State and reason in one line."""
    return f'{decision.state.value} ({decision.text})'


def avoidance_status(
    node: str,
    decision: Decision,
    inputs: dict[str, Input],
    sensor: str = '',
    others: Sequence[str] = (),
    steady_s: float = math.inf,
    deaf: Sequence[str] = (),
) -> DiagnosticStatus:
    """The status of the node: ERROR while it is blind, OK while it does its work.

    WARN while messages are refused, while publishers cannot be heard, or `deaf` nodes not hear
    cmd_vel, and while `others` publish there, too. `sensor` says where the scans come from.
    """
    warnings = [
        f'{entry.topic} refused: {entry.last_fault}'
        for entry in inputs.values()
        if steady_s - entry.refused_s <= RECENT_S and entry.last_fault not in decision.text
    ]
    if others:
        warnings.append(f'cmd_vel comes also from {", ".join(others)}: they are not checked')
    warnings += [
        f'{entry.topic} not heard: {reason}'
        for entry in inputs.values()
        for reason in entry.incompatible
    ]
    warnings += deaf
    notes = [
        f'{entry.topic} {entry.by_receipt}: judged by receipt'
        for entry in inputs.values()
        if entry.judged_by_receipt(steady_s)
    ]
    values: dict[str, object] = {
        'state': decision.state.value,
        'reason': decision.text,
        'source': decision.source,
        'linear [m/s]': f'{decision.linear:.3f}',
        'angular [rad/s]': f'{decision.angular:.3f}',
        'free way [m]': _number(decision.free_m),
        'unknown share of the corridor': _number(decision.unknown_share),
        'turning checked': _turning(decision),
        'sensor place': sensor,
        'others on cmd_vel': ', '.join(others),
        'deaf to cmd_vel': '; '.join(deaf),
    }
    for name, entry in inputs.items():
        values |= entry.values(name, steady_s)
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    level = LEVELS[decision.state]
    if warnings and level == DiagnosticStatus.OK:
        level = DiagnosticStatus.WARN
    text = '; '.join([sentence(decision), *warnings, *notes])
    return DiagnosticStatus(name=f'{node}: avoidance', level=level, message=text, values=pairs)


def _turning(decision: Decision) -> str:
    if decision.turning_checked:
        return 'yes'
    return 'only by what is remembered: nobody looks beside the robot'


def _number(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.2f}'
