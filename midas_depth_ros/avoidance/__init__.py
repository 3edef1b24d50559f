"""Avoidance: from what a sensor sees and what is commanded to a velocity that is safe to send."""

from midas_depth_ros.avoidance.avoidance import Avoidance, Decision, State
from midas_depth_ros.avoidance.freshness import EchoWatch, Moment
from midas_depth_ros.avoidance.options import (
    AvoidanceOptions,
    ClosenessZones,
    SensorPlace,
    SteeringOptions,
)
from midas_depth_ros.avoidance.scan import BadScan, ScanView, read_scan

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
