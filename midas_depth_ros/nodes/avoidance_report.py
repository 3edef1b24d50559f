"""What avoidance_node says about itself on /diagnostics. Pure wording, no spinning."""

from __future__ import annotations

import dataclasses
import math

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from midas_depth_ros.control import Decision, State

LEVELS = {
    State.CLEAR: DiagnosticStatus.OK,
    State.SLOWING: DiagnosticStatus.OK,
    State.OBSTACLE: DiagnosticStatus.OK,
    State.NO_COMMAND: DiagnosticStatus.OK,
    State.BAD_COMMAND: DiagnosticStatus.WARN,
    State.NO_DATA: DiagnosticStatus.ERROR,
    State.NO_CLOCK: DiagnosticStatus.ERROR,
}


@dataclasses.dataclass
class Input:
    """What happened on one input topic."""

    topic: str
    received: int = 0
    refused: int = 0
    last_fault: str = ''
    publishers: int = 0
    incompatible: tuple[str, ...] = ()

    def values(self, name: str) -> dict[str, object]:
        """As key and value."""
        return {
            f'{name} topic': self.topic,
            f'{name} publishers': self.publishers,
            f'{name} incompatible publishers': '; '.join(self.incompatible),
            f'{name} received': self.received,
            f'{name} refused': self.refused,
            f'{name} last fault': self.last_fault,
        }


def sentence(decision: Decision) -> str:
    """State and reason in one line."""
    return f'{decision.state.value} ({decision.text})'


def avoidance_status(node: str, decision: Decision, inputs: dict[str, Input]) -> DiagnosticStatus:
    """The status of the node: ERROR while it is blind, OK while it does its work."""
    text = sentence(decision)
    if decision.state is State.NO_DATA:
        text += ''.join(f'; {reason}' for name in inputs for reason in inputs[name].incompatible)
    values: dict[str, object] = {
        'state': decision.state.value,
        'reason': decision.text,
        'source': decision.source,
        'linear [m/s]': f'{decision.linear:.3f}',
        'angular [rad/s]': f'{decision.angular:.3f}',
        'free way [m]': _number(decision.free_m),
        'unknown share of the corridor': _number(decision.unknown_share),
    }
    for name, entry in inputs.items():
        values |= entry.values(name)
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(
        name=f'{node}: avoidance', level=LEVELS[decision.state], message=text, values=pairs
    )


def _number(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.2f}'
