"""The words of /diagnostics: one status for the model, one for each camera.

In go a `ModelReport`, a `CameraReport` and the counted frames; only wording, testable by itself.
"""

from __future__ import annotations

import dataclasses

from diagnostic_msgs.msg import DiagnosticStatus

from midas_depth_ros.images.compressed import NO_END_MARKER
from midas_depth_ros.nodes.depth.frame_statistics import CameraStatistics
from midas_depth_ros.nodes.ros.messages import status_message
from midas_depth_ros.nodes.ros.quality_of_service import mixed_words

STUCK_S = 10.0  # even slow models are faster


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """The estimator and the state of the node."""

    node: str
    state: str  # lifecycle label
    enabled: bool
    model: str
    backend: str
    precision: str
    notice: str
    threads: int
    cpu_affinity: str
    niceness: int
    cpu_percent: float = 0.0  # of one core, all threads of the process
    refused: str = ''  # messages and requests that could not be read, by topic and service
    refused_recently: str = ''
    licence: str = ''  # of the weights, and what it forbids


@dataclasses.dataclass(frozen=True)
class CameraReport:
    """The state of one camera, besides its statistics."""

    node: str
    camera: str
    topic: str
    running: bool  # subscribed: active and enabled
    wanted: bool  # an output has a subscriber
    publishers: int
    incompatible: tuple[str, ...]
    calibration: str
    closeness: str
    scale: dict[str, str]
    image_timeout_s: float
    stamps: str = ''  # what is wrong with them
    topic_type: str = ''
    rotate: int = 0  # degrees by which the pictures are turned
    unheard_info: tuple[str, ...] = ()  # why publishers of camera_info are not heard
    other_transport: str = ''  # on which topic its images are instead
    no_metres: str = ''  # why there are none although parameters ask for them
    publisher_nodes: tuple[str, ...] = ()
    pace: Pace | None = None  # None before it is known
    tilted: str = ''  # why the pitch of the camera is wrong, by the way it drives
    inferred: str = ''  # why the network was asked although answers may be used again
    checked: bool = True  # whether pictures are, which may say nothing


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast frames can be processed, and how fast they shall be.

    `work_ms`: the worker's time for one frame of each of `cameras` cameras that it serves in turn.
    `max_rate_hz`: 0 = no limit is asked for. `network_size`: (width, height) for this camera.
    """

    work_ms: float
    cameras: int
    max_rate_hz: float
    network_size: tuple[int, int]

    @property
    def possible_hz(self) -> float:
        """Frames per second of each camera."""
        return 1e3 / max(self.work_ms, 1e-3)

    @property
    def fault(self) -> str:
        """Why max_rate cannot be reached, and what to do; '' where it can."""
        if not self.max_rate_hz or self.possible_hz >= self.max_rate_hz:
            return ''
        width, height = self.network_size
        who = 'a frame takes' if self.cameras == 1 else f'the frames of {self.cameras} cameras take'
        return (
            f'{who} {self.work_ms:.0f} ms with a network input of {width}x{height}, but max_rate '
            f'{self.max_rate_hz:g} leaves {1e3 / self.max_rate_hz:.0f} ms: {self.possible_hz:.1f} '
            'Hz are possible. Lower max_rate or network_size, or choose a faster model'
        )


def size_text(size: tuple[int, int] | None) -> str:
    """(width, height) as 640x480."""
    return f'{size[0]}x{size[1]}' if size else ''


def model_status(report: ModelReport) -> DiagnosticStatus:
    """The status of the model: WARN while a fallback model is used or messages are refused."""
    level, text = DiagnosticStatus.OK, f'{report.model} on {report.backend}'
    if not report.model:
        text = f'no model loaded ({report.state})'
    elif report.notice:
        level, text = DiagnosticStatus.WARN, report.notice
    if report.refused_recently:
        level, text = DiagnosticStatus.WARN, f'{text}; messages refused: {report.refused_recently}'
    values = {
        'lifecycle state': report.state,
        'enabled': report.enabled,
        'model': report.model,
        'backend': report.backend,
        'precision': report.precision,
        'notice': report.notice,
        'licence': report.licence,
        'inference threads': report.threads or 'all cores',
        'processors': report.cpu_affinity or 'all',
        'niceness': report.niceness,
        'CPU [% of a core]': f'{report.cpu_percent:.0f}',
        'messages refused': report.refused,
    }
    return status_message(f'{report.node}: model', level, text, values)


def camera_status(report: CameraReport, statistics: CameraStatistics) -> DiagnosticStatus:
    """The status of one camera: ERROR while it is blind or silent, WARN while frames fail."""
    level, text = _verdict(report, statistics)
    rate_in, rate_out = statistics.rates()
    counts = statistics.counts
    good = 'good' if report.checked else 'not checked: picture_check is off'
    picture = statistics.blind or statistics.partly_blind or good
    values = {
        'topic': report.topic,
        'topic type': report.topic_type,
        'rotate [degrees]': report.rotate,
        'publishers': report.publishers,
        'incompatible publishers': '; '.join(report.incompatible),
        'calibration': report.calibration,
        'camera_info not heard': '; '.join(report.unheard_info),
        'bit depth': statistics.bit_depth,
        'input rate [Hz]': f'{rate_in:.2f}',
        'output rate [Hz]': f'{rate_out:.2f}',
        'possible rate [Hz]': f'{report.pace.possible_hz:.2f}' if report.pace else '',
        'network size': size_text(statistics.network_size),
        'frames received': counts.received,
        'frames processed': counts.processed,
        'frames dropped': counts.dropped,
        'frames throttled': counts.throttled,
        'frames unwanted': counts.unwanted,
        'frames rejected': counts.rejected,
        'frames failed': counts.failed,
        'frames unchanged': statistics.unchanged,
        'inferred because': report.inferred,
        f'frames {NO_END_MARKER}': statistics.unended,
        'stamps': report.stamps or 'valid',
        'stamp jumps': statistics.stamp_jumps,
        'last fault': statistics.last_fault,
        'picture': picture if report.wanted else 'not checked',
        'closeness': report.closeness,
        **report.scale,
    }
    for name, times in (
        ('latency', statistics.latency),
        ('stamp age', statistics.stamp_age),
        ('inference', statistics.inference),
        ('whole frame', statistics.work),
    ):
        summary = times.summary()
        values[f'{name} median [ms]'] = f'{summary[0]:.1f}' if summary else ''
        values[f'{name} p95 [ms]'] = f'{summary[1]:.1f}' if summary else ''
    first_ms = 1e3 * statistics.first_work_s
    values['first frame at this network size [ms]'] = f'{first_ms:.1f}' if first_ms else ''
    return status_message(f'{report.node}: camera {report.camera}', level, text, values)


def silence(report: CameraReport, seconds: float) -> str:
    """The sentence about a camera without images."""
    text = (
        f'no images on {report.topic} for {seconds:.0f} s '
        f'(publishers: {report.publishers}, incompatible: {len(report.incompatible)})'
    )
    return '; '.join(filter(None, [text, *report.incompatible, report.other_transport]))


def stamp_fault(report: CameraReport) -> str:
    """The sentence about invalid stamps or several publishers; '' if there is none."""
    several = len(report.publisher_nodes) > 1
    mixed = mixed_words(report.topic, report.publisher_nodes) if several else ''
    return '; '.join(filter(None, [mixed, report.stamps]))


def _verdict(report: CameraReport, statistics: CameraStatistics) -> tuple[bytes, str]:
    """Level and sentence of a camera; the most serious fault wins."""
    if not report.running:
        return DiagnosticStatus.OK, 'not running: inactive or paused'
    busy_s = statistics.busy_for()
    if busy_s > STUCK_S:
        return DiagnosticStatus.ERROR, f'still processing one frame after {busy_s:.0f} s'
    silent_s = statistics.silent_for()
    if silent_s > report.image_timeout_s:
        return DiagnosticStatus.ERROR, silence(report, silent_s)
    fault = statistics.recent_fault()
    if fault:
        return DiagnosticStatus.WARN, f'frames rejected or failed recently: {fault}'
    # The verdict on the last picture is outdated while no picture is processed.
    if report.wanted and statistics.blind:
        return DiagnosticStatus.ERROR, f'blind: the picture is {statistics.blind}'
    if report.wanted and statistics.partly_blind:
        return DiagnosticStatus.WARN, statistics.partly_blind
    if report.incompatible:
        return DiagnosticStatus.WARN, f'not heard: {"; ".join(report.incompatible)}'
    unheard = '; '.join(report.unheard_info)
    info = f'camera_info not heard: {unheard}' if unheard else ''
    slow = report.pace.fault if report.pace and report.wanted else ''
    warnings = '; '.join(
        filter(None, [stamp_fault(report), report.no_metres, report.tilted, info, slow])
    )
    if warnings:
        return DiagnosticStatus.WARN, warnings
    if not report.wanted:
        return DiagnosticStatus.OK, 'idle: no output has a subscriber'
    rate = f'{statistics.rates()[1]:.1f} frames per second'
    unverified = report.scale.get('metres check', '').startswith('unverified')
    return DiagnosticStatus.OK, rate + ('; metres of the model, unverified' if unverified else '')
