"""The nodes are given what the loop in one process has: parameters that they take, and mean so."""

from __future__ import annotations

import dataclasses

import pytest

from midas_depth_ros.avoidance import AvoidanceOptions
from midas_depth_ros.geometry import MetricOptions
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.in_process import LoopOptions
from midas_depth_ros.lab.drive.rig import DrivePlan
from midas_depth_ros.nodes.sources.synthetic_camera import camera_model, robot_model
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.declarations import build, specs
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.stream import SyntheticCameraSettings


@pytest.mark.parametrize(
    ('settings_class', 'parameters'),
    [
        (SyntheticCameraSettings, rig.camera_parameters(True, 10.0)),
        (SyntheticCameraSettings, rig.camera_parameters(False, 5.0)),
        (DepthNodeSettings, rig.depth_parameters(10.0, '')),
        (DepthNodeSettings, rig.depth_parameters(10.0, 'embedded')),
        (AvoidanceSettings, rig.avoidance_parameters()),
    ],
)
def test_the_nodes_take_them(settings_class, parameters):
    known = {spec.name: spec for spec in specs(settings_class)}
    assert set(parameters) <= set(known)
    faults = [known[name].fault(value) for name, value in parameters.items()]
    assert not any(faults), faults


def test_the_avoidance_is_the_same():
    settings = build(AvoidanceSettings, rig.avoidance_parameters())
    assert settings.options() == rig.avoidance_options()
    assert rig.avoidance_options() != AvoidanceOptions()
    assert settings.conflict() == ''


@pytest.mark.parametrize('exact', [True, False])
def test_the_robot_and_its_camera_are_the_same(exact):
    settings = build(SyntheticCameraSettings, rig.camera_parameters(exact, 10.0))
    assert dataclasses.asdict(robot_model(settings)) == pytest.approx(dataclasses.asdict(rig.ROBOT))
    size = rig.SIZE_EXACT if exact else rig.SIZE_MODEL
    assert camera_model(settings) == rig.camera_model(size)


def test_the_mount_is_what_the_depth_node_is_told():
    settings = build(DepthNodeSettings, rig.depth_parameters(10.0, ''))
    assert settings.camera_height == rig.mount().height_m
    assert settings.camera_pitch == rig.mount().pitch_rad


def test_what_sees_in_one_process_has_the_options_of_the_node():
    over_dds = build(DepthNodeSettings, rig.depth_parameters(DepthNodeSettings.max_rate, ''))
    in_process = rig.depth_settings()
    assert in_process.metric_options() == over_dds.metric_options()
    assert (in_process.scan, in_process.scale) == (over_dds.scan, over_dds.scale)
    assert DrivePlan().rate_hz == LoopOptions().camera_rate_hz == over_dds.max_rate
    # What a robot of its own size says for itself; all else is the default of the node.
    default = dataclasses.replace(
        DepthNodeSettings(), obstacles=dataclasses.replace(over_dds.obstacles)
    )
    assert over_dds.metric_options() == default.metric_options()
    assert dataclasses.replace(over_dds.obstacles, max_height=1.0) == DepthNodeSettings().obstacles


def test_the_pure_room_has_the_defaults_of_the_node():
    assert DepthNodeSettings().metric_options() == MetricOptions()
