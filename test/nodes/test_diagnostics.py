"""What diagnostics say about a camera and a model, from plain numbers."""

from __future__ import annotations

import dataclasses
import types

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from midas_depth_ros.avoidance import Decision, State
from midas_depth_ros.geometry import MetricDepth
from midas_depth_ros.nodes.avoidance_node import InputStatistics, avoidance_status
from midas_depth_ros.nodes.depth.frame_statistics import CameraStatistics
from midas_depth_ros.nodes.depth.output import scale_values
from midas_depth_ros.nodes.depth.status import (
    CameraReport,
    ModelReport,
    camera_status,
    model_status,
)

CAMERA = CameraReport(
    node='depth_node',
    camera='front',
    topic='/front/image_raw',
    running=True,
    wanted=True,
    publishers=1,
    incompatible=(),
    calibration='camera_info 640x480',
    closeness='known',
    scale={'scale': 'valid', 'scale source': 'ground'},
    image_timeout_s=2.0,
)
MODEL = ModelReport(
    node='depth_node',
    state='active',
    enabled=True,
    model='midas_small',
    backend='torch',
    precision='f32',
    notice='',
    threads=0,
    cpu_affinity='',
    niceness=0,
)


class Hands:
    """A clock whose hands the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def statistics(clock):
    made = CameraStatistics(clock)
    for _ in range(40):
        clock.now += 0.2
        made.received()
        made.processed(latency_s=0.05, stamp_age_s=0.06, inference_s=0.03)
    return made


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def test_the_processor_time_of_the_node_is_told():
    status = model_status(dataclasses.replace(MODEL, cpu_percent=37.6))
    assert values(status)['CPU [% of a core]'] == '38'


def test_the_licence_of_the_weights_is_told():
    text = 'CC-BY-NC-4.0: for non-commercial use only'
    assert values(model_status(dataclasses.replace(MODEL, licence=text)))['licence'] == text


def test_a_working_camera_is_ok_and_gives_its_figures(statistics):
    status = camera_status(CAMERA, statistics)
    assert status.level == DiagnosticStatus.OK
    assert status.name == 'depth_node: camera front'
    figures = values(status)
    assert float(figures['output rate [Hz]']) == pytest.approx(5, rel=0.05)
    assert figures['latency median [ms]'] == '50.0'
    assert figures['stamp age p95 [ms]'] == '60.0'
    assert figures['inference median [ms]'] == '30.0'
    assert figures['scale source'] == 'ground'
    assert figures['frames received'] == figures['frames processed'] == '40'


def test_a_silent_camera_is_an_error_with_the_publishers_and_their_qos(statistics, clock):
    clock.now += 12
    report = dataclasses.replace(
        CAMERA, publishers=2, incompatible=('driver: ERROR: Best effort publisher',)
    )
    status = camera_status(report, statistics)
    assert status.level == DiagnosticStatus.ERROR
    assert status.message == (
        'no images on /front/image_raw for 12 s (publishers: 2, incompatible: 1)'
        '; driver: ERROR: Best effort publisher'
    )


@pytest.mark.parametrize(
    ('change', 'level', 'words'),
    [
        ({'running': False}, DiagnosticStatus.OK, 'not running'),
        ({'wanted': False}, DiagnosticStatus.OK, 'no output has a subscriber'),
        ({'incompatible': ('driver: why',)}, DiagnosticStatus.WARN, 'driver: why'),
    ],
)
def test_what_else_a_camera_can_be(statistics, change, level, words):
    status = camera_status(dataclasses.replace(CAMERA, **change), statistics)
    assert (status.level, words in status.message) == (level, True)


def test_a_fault_warns_and_then_is_only_remembered(statistics, clock):
    statistics.fault('rejected', 'step 3 is too small')
    status = camera_status(CAMERA, statistics)
    assert status.level == DiagnosticStatus.WARN
    assert 'step 3 is too small' in status.message
    for _ in range(40):
        clock.now += 0.2
        statistics.received()
    status = camera_status(CAMERA, statistics)
    assert status.level == DiagnosticStatus.OK
    assert values(status)['last fault'] == 'step 3 is too small'


def test_a_model_with_a_notice_warns_and_without_one_is_ok():
    assert model_status(MODEL).level == DiagnosticStatus.OK
    assert model_status(MODEL).message == 'midas_small on torch'
    status = model_status(dataclasses.replace(MODEL, model='embedded', notice='a stand-in'))
    assert (status.level, status.message) == (DiagnosticStatus.WARN, 'a stand-in')


def test_no_model_says_in_which_state_the_node_is():
    status = model_status(dataclasses.replace(MODEL, model='', backend='', state='unconfigured'))
    assert status.message == 'no model loaded (unconfigured)'


def test_stamps_that_cannot_be_right_are_a_warning_with_their_reason(statistics):
    statistics.received()
    good = camera_status(CAMERA, statistics)
    assert values(good)['stamps'] == 'valid'
    assert good.level == DiagnosticStatus.OK
    status = camera_status(dataclasses.replace(CAMERA, stamps='stamps stand still'), statistics)
    assert (status.level, status.message) == (DiagnosticStatus.WARN, 'stamps stand still')
    assert values(status)['stamps'] == 'stamps stand still'


def test_several_publishers_are_a_warning_that_names_them(statistics):
    statistics.received()
    report = dataclasses.replace(CAMERA, publisher_nodes=('/driver', '/bag_player'))
    status = camera_status(report, statistics)
    assert status.level == DiagnosticStatus.WARN
    assert '2 publishers on /front/image_raw (/driver, /bag_player)' in status.message
    status = camera_status(dataclasses.replace(report, stamps='two sequences'), statistics)
    assert '/bag_player' in status.message
    assert 'two sequences' in status.message
    one = dataclasses.replace(CAMERA, publisher_nodes=('/driver',))
    assert camera_status(one, statistics).level == DiagnosticStatus.OK


def test_a_frame_that_is_worked_on_for_ever_is_an_error(statistics, clock):
    statistics.received()
    statistics.busy(True)
    clock.now += 8.0
    statistics.received()
    assert camera_status(CAMERA, statistics).level == DiagnosticStatus.OK
    clock.now += 8.0
    status = camera_status(CAMERA, statistics)
    assert status.level == DiagnosticStatus.ERROR
    assert 'processing one frame after 16 s' in status.message
    statistics.busy(False)
    statistics.received()
    assert camera_status(CAMERA, statistics).level == DiagnosticStatus.OK


def test_messages_that_were_refused_recently_are_a_warning_of_the_node():
    refused = '/imu: 3 (ends within orientation)'
    status = model_status(dataclasses.replace(MODEL, refused=refused))
    assert status.level == DiagnosticStatus.OK
    assert values(status)['messages refused'] == refused
    status = model_status(dataclasses.replace(MODEL, refused=refused, refused_recently=refused))
    assert status.level == DiagnosticStatus.WARN
    assert refused in status.message


def test_a_picture_that_is_not_checked_is_not_called_good(statistics):
    assert values(camera_status(CAMERA, statistics))['picture'] == 'good'
    unchecked = dataclasses.replace(CAMERA, checked=False)
    said = values(camera_status(unchecked, statistics))['picture']
    assert said == 'not checked: picture_check is off'
    statistics.judged('frozen', '')
    assert values(camera_status(unchecked, statistics))['picture'] == 'frozen'


def test_what_was_thought_of_a_picture_is_not_said_of_one_that_nobody_looks_at(statistics):
    statistics.judged('dark', '')
    assert camera_status(CAMERA, statistics).level == DiagnosticStatus.ERROR
    idle = camera_status(dataclasses.replace(CAMERA, wanted=False), statistics)
    assert (idle.level, 'idle' in idle.message) == (DiagnosticStatus.OK, True)
    assert values(idle)['picture'] == 'not checked'


def test_metres_that_are_asked_for_and_not_given_are_a_warning_beside_other_troubles(statistics):
    report = dataclasses.replace(CAMERA, no_metres='no camera_info yet, so no metres')
    status = camera_status(report, statistics)
    assert (status.level, status.message) == (DiagnosticStatus.WARN, report.no_metres)
    status = camera_status(dataclasses.replace(report, stamps='stamps stand still'), statistics)
    assert status.message == 'stamps stand still; no camera_info yet, so no metres'
    idle = camera_status(dataclasses.replace(report, wanted=False), statistics)
    assert idle.level == DiagnosticStatus.WARN, 'before somebody relies on them'
    unheard = camera_status(dataclasses.replace(report, unheard_info=('driver: why',)), statistics)
    assert unheard.message.endswith('so no metres; camera_info not heard: driver: why')


@pytest.mark.parametrize(
    ('check', 'marked'),
    [
        ({}, False),
        ({'metres check': 'agrees: 1.01 times the depth of the floor'}, False),
        ({'metres check': 'unverified: nothing to compare with'}, True),
    ],
)
def test_metres_that_nobody_has_checked_are_marked_in_the_summary(statistics, check, marked):
    statistics.received()
    status = camera_status(dataclasses.replace(CAMERA, scale=check), statistics)
    assert status.level == DiagnosticStatus.OK
    assert status.message.endswith('; metres of the model, unverified') is marked


def test_by_which_clock_a_topic_is_judged_is_not_said_of_one_that_fell_silent():
    entry = InputStatistics('/scan', by_receipt='has stamps of another clock', used_s=100.0)
    decision = Decision(0.0, 0.0, State.NO_COMMAND, 'nobody commands', 'none', silent=True)
    for steady_s, said in ((101.0, True), (110.0, False)):
        status = avoidance_status('avoidance_node', decision, {'scan': entry}, steady_s=steady_s)
        assert ('judged by receipt' in status.message) == said
        assert bool(values(status)['scan judged by receipt']) == said


def test_the_state_of_a_scale_that_nobody_asks_for_is_not_told():
    output = types.SimpleNamespace(
        metric=MetricDepth(),
        refused='no floor in view',
        view_begins_m=float('nan'),
        sides_begin_m=float('nan'),
        view_reaches_m=float('nan'),
        wanted=lambda topic: False,
        scale=types.SimpleNamespace(values=dict),
    )
    assert scale_values(output)['scale'] == 'none: no floor in view'
    assert scale_values(output, 'the node is not running') == {
        'scale': 'not computed: the node is not running'
    }
