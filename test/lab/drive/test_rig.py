"""The nodes are given what the loop in one process has: parameters that they take, and mean so."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from midas_depth_ros.lab.drive import in_process, over_dds, rig
from midas_depth_ros.lab.drive.rig import DrivePlan
from midas_depth_ros.nodes.sources.synthetic_camera import camera_model
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.declarations import build, specs, value_of
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.files import read_parameters, settings_from
from midas_depth_ros.options.stream import SyntheticCameraSettings
from midas_depth_ros.sim.robot.robot import robot_of


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


@pytest.mark.parametrize('exact', [True, False])
def test_the_robot_and_its_camera_are_the_same(exact):
    settings = build(SyntheticCameraSettings, rig.camera_parameters(exact, 10.0))
    assert dataclasses.asdict(robot_of(settings)) == pytest.approx(dataclasses.asdict(rig.ROBOT))
    size = rig.SIZE_EXACT if exact else rig.SIZE_MODEL
    assert camera_model(settings) == rig.camera_model(size)


def test_the_mount_is_what_the_depth_node_is_told():
    settings = build(DepthNodeSettings, rig.depth_parameters(10.0, ''))
    assert settings.camera_height == rig.mount().height_m
    assert settings.camera_pitch == rig.mount().pitch_rad


@pytest.mark.parametrize('depth', ['exact', 'model'])
def test_one_process_has_all_options_of_the_nodes_over_dds(depth):
    """What the processes are started with, read as a node reads it, against what drives here."""
    plan = DrivePlan(depth=depth, model='embedded', rate_hz=8.0, worlds_are='furnished')
    started = {}

    class Recorder:
        def start(self, name, command):
            started[name] = [after for word, after in itertools.pairwise(command) if word == '-p']

    over_dds._start(Recorder(), plan, 'synthetic_camera', 'nodes.sources.synthetic_camera')
    over_dds._start_avoidance(plan, Recorder())
    here = vars(rig.node_settings(plan)).values()
    assert len(started) == 3
    for (name, kind), settings in zip(rig.NODES.items(), here, strict=True):
        there = settings_from(kind, read_parameters(name, kind, [], started[name]))
        for spec in specs(kind):
            values = value_of(there, spec.name), value_of(settings, spec.name)
            assert values[0] == values[1] or all(map(math.isnan, values)), spec.name


def test_a_drive_in_one_process_uses_them(monkeypatch):
    used = []
    for name in ('ScanMaker', 'ScanAvoidance', 'LoopOptions'):
        made = getattr(in_process, name)
        monkeypatch.setattr(in_process, name, lambda *a, made=made: used.append(a) or made(*a))
    plan = DrivePlan(worlds=1, seconds=0.2, rate_hz=4.0)
    in_process.drive_in_process(plan, lambda _: None)
    settings = rig.node_settings(plan)
    loop, (avoidance,), (camera, mount, depth) = used
    assert (avoidance, repr(depth)) == (settings.avoidance, repr(settings.depth))
    assert loop[2:] == (settings.depth.max_rate, settings.avoidance.rate)
    assert (camera, mount) == (camera_model(settings.camera), rig.mount())
    assert settings.avoidance != AvoidanceSettings()


def test_frames_over_dds_are_those_between_two_reports():
    first, last = over_dds.Counted(10.0, 50, 40), over_dds.Counted(30.0, 150, 120)
    tally = last.since(first)
    assert tally == rig.MetresTally(100, 80, 0, 80, 20.0)
    assert over_dds.Counted(11.0, 55, 46).since(first).with_metres == 5  # one is not counted yet
