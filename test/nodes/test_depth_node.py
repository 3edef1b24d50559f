"""depth_node over real DDS: what goes in, what comes out, and what it says when it cannot."""

from __future__ import annotations

import math
import threading
import time

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from driving import (
    DEPTH,
    HEATMAP,
    change,
    diagnostics,
    header,
    image,
    picture,
    read,
    send_until,
    set_parameter,
    stamp,
    state,
    values,
)
from geometry_msgs.msg import Vector3Stamped
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from midas_depth_ros.images.compressed import NO_END_MARKER
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.depth.worker import Worker
from midas_depth_ros.nodes.ros import quality_of_service
from midas_depth_ros.nodes.ros.messages import image_message, jpeg_message

# --- what goes in comes out -------------------------------------------------------------------


def test_depth_is_the_estimators_answer_with_the_inputs_header(ros, start):
    start()
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(100 + i, brightness=50), out)
    message = out[0]
    assert message.encoding == '32FC1'
    assert (message.height, message.width, message.step) == (48, 64, 256)
    assert message.header.frame_id == 'camera_optical_frame'
    assert stamp(message) == int(stamp(message)) >= 100
    expected = np.repeat(picture(50)[::2, ::2, 0].astype(np.float32), 2, 0).repeat(2, 1)
    np.testing.assert_array_equal(values(message), expected)


def test_heatmap_is_warm_where_near_raw_and_compressed_alike(ros, start):
    start()
    raw = ros.collect(Image, HEATMAP)
    jpeg = ros.collect(CompressedImage, HEATMAP + '/compressed')
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(100 + i), jpeg)
    ros.spin_until(lambda: raw)
    picture_raw = values(raw[0])
    assert picture_raw[-2].mean() > picture_raw[1].mean() + 100  # inferno: bright is near
    assert 'jpeg' in jpeg[0].format
    picture_jpeg = cv2.imdecode(np.frombuffer(jpeg[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(picture_jpeg.astype(int) - picture_raw.astype(int)).mean() < 10
    assert stamp(jpeg[0]) == stamp(raw[0])
    assert jpeg[0].header.frame_id == raw[0].header.frame_id == 'camera_optical_frame'


def test_compressed_transport_gives_the_same_depth(ros, start):
    start(transport='compressed')
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(CompressedImage, 'camera/image_raw/compressed')
    send_until(ros, publisher, lambda i: jpeg_message(picture(80), header(5 + i), 95), out)
    expected = picture(80)[::2, ::2, 0].repeat(2, 0).repeat(2, 1)
    assert np.abs(values(out[0]) - expected).max() <= 3


def test_network_size_output(ros, start):
    start(output_size='network')
    depth, heat = ros.collect(Image, DEPTH), ros.collect(Image, HEATMAP)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(100 + i), depth)
    ros.spin_until(lambda: heat)
    assert (depth[0].height, depth[0].width) == (heat[0].height, heat[0].width) == (24, 32)


def test_closeness_of_a_picture_without_a_floor_is_nan(ros, start):
    start()
    out = ros.collect(Vector3Stamped, 'camera/closeness')
    publisher = ros.publisher(Image, 'camera/image_raw')
    flat = np.full((48, 64, 3), 90, np.uint8)
    send_until(ros, publisher, lambda i: image_message(flat, header(100 + i)), out)
    vector = out[0].vector
    assert math.isnan(vector.x)
    assert math.isnan(vector.y)
    assert math.isnan(vector.z)
    assert out[0].header.frame_id == 'camera_optical_frame'


def test_nothing_is_inferred_while_nobody_wants_anything(ros, start, estimator):
    start()
    publisher = ros.publisher(Image, 'camera/image_raw')
    for number in range(10):
        publisher.publish(image(100 + number))
        ros.spin_for(0.02)
    status = diagnostics(ros, 'camera camera', lambda s: read(s)['frames unwanted'] != '0')
    assert status.hardware_id == '/depth_node'
    assert estimator.calls == 0
    assert 'idle' in status.message


def test_two_cameras_share_one_model_and_keep_their_frames(ros, start):
    start(cameras=['left', 'right'])
    left = ros.collect(Image, 'left/relative_inverse_depth/image')
    right = ros.collect(Image, 'right/relative_inverse_depth/image')
    to_left = ros.publisher(Image, 'left/image_raw')
    to_right = ros.publisher(Image, 'right/image_raw')
    for number in range(100):
        to_left.publish(image_message(picture(10), header(number, 'left_optical')))
        to_right.publish(image_message(picture(180), header(number, 'right_optical')))
        ros.spin_for(0.02)
        if len(left) >= 3 and len(right) >= 3:
            break
    assert {m.header.frame_id for m in left} == {'left_optical'}
    assert {m.header.frame_id for m in right} == {'right_optical'}
    assert values(left[0]).max() < 100 < values(right[0]).min()


# --- which frames are taken -------------------------------------------------------------------


def test_max_rate_follows_the_stamps_where_time_is_simulated(ros, start):
    start(max_rate=2.0, use_sim_time=True)
    out = ros.collect(Image, DEPTH)
    clock = ros.publisher(Clock, '/clock')
    publisher = ros.publisher(Image, 'camera/image_raw')

    def at(seconds):
        clock.publish(Clock(clock=header(seconds).stamp))
        return image(seconds)

    send_until(ros, publisher, lambda i: at(10 + i), out)
    del out[:-1]  # on a slow machine more than one picture was answered
    first = stamp(out[0])
    for number in range(1, 31):  # 3 s of a 10 Hz camera, sent faster than that
        publisher.publish(at(first + number / 10))
        ros.spin_for(0.03)
    ros.spin_until(lambda: len(out) >= 7)
    stamps = [stamp(message) for message in out]
    assert len(stamps) == 7
    assert np.diff(stamps) == pytest.approx([0.5] * 6, abs=0.15)


def test_a_slow_model_gets_the_newest_frame_and_drops_are_counted(ros, start, estimator):
    start(max_rate=0.0)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(100 + i), out)
    ros.spin_until(lambda: estimator.calls == len(out), what='the last of these frames')
    done = len(out)
    estimator.gate.clear()
    calls = estimator.calls
    publisher.publish(image(2000))
    ros.spin_until(lambda: estimator.calls > calls)
    for number in range(1, 11):
        publisher.publish(image(2000 + number))
        ros.spin_for(0.02)
    estimator.gate.set()
    ros.spin_until(lambda: len(out) >= done + 2)
    assert [stamp(m) for m in out[done:]] == [2000, 2010]
    status = diagnostics(ros, 'camera camera', lambda s: int(read(s)['frames dropped']) >= 9)
    assert int(read(status)['frames processed']) == len(out)


def test_stamps_that_go_back_resume_at_once(ros, start):
    start(max_rate=1.0)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(time.time()), out)
    done = len(out)
    back = time.time() - 0.5
    publisher.publish(image(back))
    ros.spin_until(lambda: len(out) > done)
    assert stamp(out[done]) == pytest.approx(back, abs=1e-3)
    status = diagnostics(ros, 'camera camera', lambda s: read(s)['stamp jumps'] == '1')
    assert status.level == DiagnosticStatus.OK


# --- lifecycle, enabling, parameters ------------------------------------------------------------


def test_lifecycle_transitions_can_be_repeated(ros, start, estimator):
    start(wait=False, autostart=False)
    assert state(ros) == State.PRIMARY_STATE_UNCONFIGURED
    assert not change(ros, Transition.TRANSITION_ACTIVATE)
    out = ros.collect(Image, DEPTH)
    publisher = ros.node.create_publisher(Image, 'camera/image_raw', 1)
    for _ in range(3):
        assert change(ros, Transition.TRANSITION_CONFIGURE)
        for _ in range(2):
            assert change(ros, Transition.TRANSITION_ACTIVATE)
            send_until(ros, publisher, lambda i: image(100 + i), out)  # stamps go back: fine
            assert change(ros, Transition.TRANSITION_DEACTIVATE)
            assert 'inference' not in [thread.name for thread in threading.enumerate()]
            ros.spin_until(lambda: publisher.get_subscription_count() == 0)
        calls = estimator.calls
        publisher.publish(image(9999))
        ros.spin_for(0.1)
        assert estimator.calls == calls
        assert change(ros, Transition.TRANSITION_CLEANUP)
        assert estimator.closed
        estimator.closed = False


def test_a_refused_transition_is_said_with_those_that_are_possible(ros, start, capfd):
    start()
    by_label = ChangeState.Request(transition=Transition(label='cleanup'))
    for request in (
        by_label,
        ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CLEANUP)),
        ChangeState.Request(transition=Transition(label='reboot' * 10_000)),
        ChangeState.Request(transition=Transition(id=200)),
    ):
        assert not ros.call(ChangeState, 'depth_node/change_state', request).success
        said = capfd.readouterr().err
        assert 'refused: the node is active' in said
        assert 'deactivate (4), shutdown (7)' in said
        assert len(said) < 2000
    accepted, reason = set_parameter(ros, 'model', 'embedded')
    assert not accepted
    assert 'deactivate the node, then clean up' in reason
    assert change(ros, Transition.TRANSITION_DEACTIVATE)
    accepted, reason = set_parameter(ros, 'model', 'embedded')
    assert not accepted
    assert 'clean up' in reason
    assert 'deactivate' not in reason
    assert ros.call(ChangeState, 'depth_node/change_state', by_label).success
    assert set_parameter(ros, 'model', 'embedded') == (True, '')


def test_enable_pauses_and_resumes(ros, start, estimator):
    start()
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(100 + i), out)
    answer = ros.call(SetBool, 'depth_node/enable', SetBool.Request(data=False))
    assert (answer.success, answer.message) == (True, 'paused')
    calls = estimator.calls
    for number in range(5):
        publisher.publish(image(5000 + number))
        ros.spin_for(0.02)
    assert estimator.calls == calls
    assert ros.call(SetBool, 'depth_node/enable', SetBool.Request(data=True)).success
    send_until(ros, publisher, lambda i: image(6000 + i), out)


def test_the_rate_of_diagnostics_counts_from_configuring(ros, start):
    start(wait=False, autostart=False, diagnostics_rate=0.2)
    assert set_parameter(ros, 'diagnostics_rate', 20.0) == (True, '')
    told = ros.collect(DiagnosticArray, '/diagnostics')
    assert change(ros, Transition.TRANSITION_CONFIGURE)
    ros.spin_until(lambda: len(told) > 12, timeout=4.0)


def test_enable_of_an_inactive_node_says_what_to_do(ros, start):
    start(wait=False, autostart=False)
    answer = ros.call(SetBool, 'depth_node/enable', SetBool.Request(data=True))
    assert not answer.success
    assert 'configure it, then activate it' in answer.message


def test_live_parameters_take_effect_at_the_next_frame(ros, start):
    start()
    out = ros.collect(Image, HEATMAP)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(100 + i), out)
    assert set_parameter(ros, 'heatmap.overlay_alpha', 1.0) == (True, '')
    before = len(out)
    send_until(ros, publisher, lambda i: image(1000 + i, brightness=70), out)
    np.testing.assert_array_equal(values(out[before]), picture(70))


def test_wrong_values_are_refused_with_the_reason_and_the_old_ones_stay(ros, start):
    node = start()
    before = node.settings
    for name, value, reason in [
        ('heatmap.colormap', 'rainbow', 'inferno'),
        ('max_rate', -1.0, '-1'),
        ('max_rate', float('nan'), 'max_rate'),
        ('jpeg_quality', 101, '100'),
        ('jpeg_quality', 'high', 'jpeg_quality'),
        ('model', 'embedded', 'clean up'),
        ('cameras', 'front', 'cameras'),
    ]:
        accepted, text = set_parameter(ros, name, value)
        assert not accepted, name
        assert reason in text or 'type' in text, text
    assert node.settings == before


def test_a_wrong_parameter_at_start_is_refused(ros):
    with pytest.raises(ValueError, match=r"transport: 'smoke' is not one of raw, compressed"):
        ros.make_node(DepthNode, parameters={'transport': 'smoke'})


def test_whole_numbers_are_taken_for_doubles(ros, start):
    assert start(max_rate=3).settings.max_rate == 3.0


# --- when things go wrong -----------------------------------------------------------------------


def malformed() -> dict[str, Image]:
    short, wide, odd, empty, huge = (image(50) for _ in range(5))
    short.data = short.data[:-1]
    wide.step = 10
    odd.encoding = 'purple8'
    empty.width = empty.height = 0
    huge.width = huge.height = 4_000_000_000
    return {'data': short, 'step': wide, 'purple8': odd, '0': empty, '4000000000': huge}


def test_malformed_images_are_counted_named_and_survived(ros, start):
    start()
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    for number, (word, message) in enumerate(malformed().items(), 1):
        publisher.publish(message)
        status = diagnostics(
            ros, 'camera camera', lambda s, n=number: int(read(s)['frames rejected']) == n
        )
        assert word in read(status)['last fault']
        assert status.level == DiagnosticStatus.WARN
    send_until(ros, publisher, lambda i: image(100 + i), out)


def test_truncated_jpeg_is_rejected_and_survived(ros, start):
    start(transport='compressed')
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(CompressedImage, 'camera/image_raw/compressed')
    bad = jpeg_message(picture(), header(99), 90)
    bad.data = bad.data[: len(bad.data) // 2]

    def is_refused(status: DiagnosticStatus) -> bool:
        publisher.publish(bad)
        return int(read(status)['frames rejected']) > 0

    diagnostics(ros, 'camera camera', is_refused)

    def without_end(index: int) -> CompressedImage:
        """As some USB cameras send them: all of the pixels, and no end marker."""
        message = jpeg_message(picture(), header(100 + index), 90)
        message.data = message.data[:-2]
        return message

    send_until(ros, publisher, without_end, out)
    diagnostics(ros, 'camera camera', lambda s: int(read(s)[f'frames {NO_END_MARKER}']) > 0)


def test_failed_inference_loses_one_frame_not_the_node(ros, start, estimator):
    start()
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    estimator.fail_next = RuntimeError('out of luck')
    publisher.publish(image(100))
    status = diagnostics(ros, 'camera camera', lambda s: read(s)['frames failed'] == '1')
    assert 'out of luck' in read(status)['last fault']
    assert not out
    send_until(ros, publisher, lambda i: image(200 + i), out)


def test_a_silent_camera_is_an_error_that_counts_publishers(ros, start):
    start(image_timeout=0.2)
    status = diagnostics(ros, 'camera camera', lambda s: s.level == DiagnosticStatus.ERROR)
    assert 'no images on /camera/image_raw for' in status.message
    assert '(publishers: 0, incompatible: 0)' in status.message


def test_a_publisher_with_other_qos_is_named(ros, start):
    start(
        image_timeout=0.2,
        **{'qos_overrides./camera/image_raw.subscription.reliability': 'reliable'},
    )
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    ros.node.create_publisher(Image, 'camera/image_raw', best_effort)
    status = diagnostics(ros, 'camera camera', lambda s: 'incompatible: 1' in s.message)
    assert status.level == DiagnosticStatus.ERROR
    assert 'publishers: 1' in status.message
    assert 'eliab' in status.message


def test_overridden_qos_is_that_of_one_topic_and_of_no_other(ros, start):
    start(**{'qos_overrides./camera/heatmap/image.publisher.reliability': 'best_effort'})

    def reliability(topic):
        ends = ros.spin_until(lambda: ros.node.get_publishers_info_by_topic(topic), what=topic)
        return [end.qos_profile.reliability for end in ends]

    assert reliability('/camera/heatmap/image') == [ReliabilityPolicy.BEST_EFFORT]
    for other in ('heatmap/image/compressed', 'closeness', 'scan'):
        assert reliability(f'/camera/{other}') == [ReliabilityPolicy.RELIABLE], other
    assert quality_of_service.OUTPUT.reliability == ReliabilityPolicy.RELIABLE


def test_a_camera_that_falls_silent_and_returns(ros, start):
    start(image_timeout=0.3)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(100 + i), out)
    diagnostics(ros, 'camera camera', lambda s: s.level == DiagnosticStatus.ERROR)
    done = len(out)
    ros.spin_for(0.1)
    assert len(out) == done
    send_until(ros, publisher, lambda i: image(300 + i), out)


def test_a_fallback_is_a_warning_in_diagnostics(ros, start, estimator):
    estimator.notice = 'a stand-in serves'
    start()
    status = diagnostics(ros, 'model', lambda s: read(s)['model'] == 'brightness')
    assert status.level == DiagnosticStatus.WARN
    assert status.message == 'a stand-in serves'


def test_a_worker_that_hangs_is_said_and_started_anew_only_when_it_has_ended(
    ros, start, estimator, monkeypatch
):
    start()
    monkeypatch.setattr(Worker.stop, '__defaults__', (0.3,))
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    estimator.gate.clear()
    publisher.publish(image(100))
    ros.spin_until(lambda: estimator.calls == 1)
    assert not change(ros, Transition.TRANSITION_DEACTIVATE)
    assert state(ros) == State.PRIMARY_STATE_ACTIVE
    for wanted in (False, True):
        answer = ros.call(SetBool, 'depth_node/enable', SetBool.Request(data=wanted))
        assert not answer.success
        assert 'hangs' in answer.message
    assert not estimator.closed
    assert not out, 'nothing is published meanwhile'
    estimator.gate.set()  # the call that hung comes back after all
    ros.spin_until(
        lambda: ros.call(SetBool, 'depth_node/enable', SetBool.Request(data=True)).success
    )
    send_until(ros, publisher, lambda i: image(200 + i), out)
    assert [thread.name for thread in threading.enumerate()].count('inference') == 1
    assert change(ros, Transition.TRANSITION_DEACTIVATE)


def test_a_replay_whose_queue_is_full_keeps_the_node_talking(ros, start, estimator):
    start(process_every_frame=True)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    estimator.gate.clear()
    for number in range(40):
        publisher.publish(image(1000 + number))
    ros.spin_until(lambda: estimator.calls == 1)
    ros.spin_for(0.3)
    assert state(ros) == State.PRIMARY_STATE_ACTIVE
    diagnostics(ros, 'camera camera', lambda s: read(s)['frames received'] == '11')
    estimator.gate.set()
    ros.spin_until(lambda: len(out) == 40)
    assert [stamp(message) for message in out] == [1000 + number for number in range(40)]
