"""Avoidance: turns sensor data and commands into a velocity that is safe to send."""

from midas_depth_ros.avoidance.avoidance import Avoidance, Decision, State
from midas_depth_ros.avoidance.freshness import EchoDetector, MessageTimes
from midas_depth_ros.avoidance.obstacle_distance import (
    BadSectors,
    ObstacleDistance,
    obstacle_distance,
)
from midas_depth_ros.avoidance.scan import BadScan, ScanView, read_scan
from midas_depth_ros.options.avoidance import (
    AvoidanceSettings,
    ClosenessZones,
    SensorPlace,
    SteeringOptions,
)

__all__ = [
    'Avoidance',
    'AvoidanceSettings',
    'BadScan',
    'BadSectors',
    'ClosenessZones',
    'Decision',
    'EchoDetector',
    'MessageTimes',
    'ObstacleDistance',
    'ScanView',
    'SensorPlace',
    'State',
    'SteeringOptions',
    'obstacle_distance',
    'read_scan',
]
