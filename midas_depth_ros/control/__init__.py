"""Avoidance: from what a sensor sees and what is commanded to a velocity that is safe to send."""

from midas_depth_ros.control.avoidance import Avoidance, Decision, State
from midas_depth_ros.control.freshness import Moment
from midas_depth_ros.control.options import (
    AvoidanceOptions,
    ClosenessZones,
    SensorPlace,
    SteeringOptions,
)
from midas_depth_ros.control.scan import BadScan, ScanView, read_scan
from midas_depth_ros.control.sent import EchoWatch

__all__ = [
    'Avoidance',
    'AvoidanceOptions',
    'BadScan',
    'ClosenessZones',
    'Decision',
    'EchoWatch',
    'Moment',
    'ScanView',
    'SensorPlace',
    'State',
    'SteeringOptions',
    'read_scan',
]
