"""The recorder over DDS: pairs of the same stamp, bounded waiting, and what it counts."""

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.lab.demo import recording as recorder_module
from midas_depth_ros.lab.demo.recording import Recorder, Recording
from midas_depth_ros.nodes.ros.messages import image_message, jpeg_message, vector_message

SIZE = (24, 32)


def header(second: int) -> Header:
    result = Header(frame_id='camera_optical_frame')
    result.stamp.sec = second
    return result


def picture(level: int) -> np.ndarray:
    return np.full((*SIZE, 3), level, np.uint8)


@pytest.fixture
def recorder(ros):
    return ros.make_node(Recorder)


def publish_camera(ros, recorder, publisher, seconds) -> None:
    """Publish a picture per second whose brightness is its stamp; wait until all came."""
    for second in seconds:
        before = recorder.recording.pictures
        publisher.publish(image_message(picture(second), header(second)))
        ros.spin_until(lambda before=before: recorder.recording.pictures > before)


def test_a_heatmap_meets_the_picture_of_its_own_stamp(ros, recorder):
    camera = ros.publisher(Image, 'camera/image_raw')
    heatmap = ros.publisher(Image, 'camera/heatmap/image')
    publish_camera(ros, recorder, camera, range(1, 9))
    for second in (2, 5, 99, 8):
        heatmap.publish(image_message(picture(100 + second), header(second), 'bgr8'))
    recording = recorder.recording
    ros.spin_until(lambda: recording.outputs == 4)
    pairs = recording.moments.items
    assert [pair.time_s for pair in pairs] == [0, 3, 6]
    assert [int(pair.camera[0, 0, 0]) for pair in pairs] == [2, 5, 8]
    assert [int(pair.heatmap[0, 0, 0]) for pair in pairs] == [102, 105, 108]
    assert recording.counts['pairs'] == 3
    assert len(recording.latencies_ms) == 4
    assert recording.last_messages['heatmap/image'].header.stamp.sec == 8
    assert recording.last_messages['closeness'] is None


def test_pictures_that_wait_in_vain_are_forgotten(ros, recorder, monkeypatch):
    monkeypatch.setattr(recorder_module, 'WAITING_BYTES', 3 * picture(0).nbytes)
    camera = ros.publisher(Image, 'camera/image_raw')
    heatmap = ros.publisher(Image, 'camera/heatmap/image')
    publish_camera(ros, recorder, camera, range(1, 7))
    for second in (3, 4):
        heatmap.publish(image_message(picture(0), header(second), 'bgr8'))
    ros.spin_until(lambda: recorder.recording.outputs == 2)
    assert [int(pair.camera[0, 0, 0]) for pair in recorder.recording.moments.items] == [4]


def test_compressed_transport(ros):
    recorder = ros.make_node(Recorder, 'compressed')
    image = jpeg_message(picture(60), header(1), 95)
    camera = ros.publisher(type(image), 'camera/image_raw/compressed')
    heatmap = ros.publisher(Image, 'camera/heatmap/image')
    camera.publish(image)
    ros.spin_until(lambda: recorder.recording.pictures == 1)
    heatmap.publish(image_message(picture(200), header(1), 'bgr8'))
    ros.spin_until(lambda: recorder.recording.counts['pairs'] == 1)
    assert recorder.recording.moments.items[0].camera == pytest.approx(60, abs=2)


def test_switched_off_it_takes_diagnostics_only(ros, recorder):
    message = vector_message(0.25, 0.5, float('nan'), header(3))
    closeness = ros.publisher(type(message), 'camera/closeness')
    diagnostics = ros.publisher(DiagnosticArray, '/diagnostics')
    closeness.publish(message)
    ros.spin_until(lambda: recorder.recording.closeness)
    recorder.recording_on = False
    closeness.publish(message)
    status = DiagnosticStatus(name='depth_node: model', level=DiagnosticStatus.WARN, message='slow')
    status.values = [KeyValue(key='model', value='embedded')]
    diagnostics.publish(DiagnosticArray(status=[status]))
    ros.spin_until(lambda: recorder.recording.statuses)
    assert len(recorder.recording.closeness) == 1
    assert recorder.recording.closeness[0].values[:2] == (0.25, 0.5)
    assert recorder.recording.statuses == {'model': {'model': 'embedded'}}
    assert recorder.recording.notices == []  # before the first heatmap warnings are no news


def test_what_is_said_again_and_again_is_noted_once_with_a_count():
    """A camera that had died left 41 notes, each a second older."""
    recording = Recording()
    for seconds in range(3, 44):
        recording.add_notice(f'camera front1: no images on /front1/image_raw for {seconds} s')
    recording.add_notice('camera front2: no images on /front2/image_raw for 3 s')
    for share in (0.25, 12.5):
        recording.add_notice(f'camera front1: {share} of the picture is dark')
    recording.add_notice('')
    assert recording.notices == [
        'camera front1: no images on /front1/image_raw for 43 s (reported 41 times)',
        'camera front2: no images on /front2/image_raw for 3 s',
        'camera front1: 12.5 of the picture is dark (reported 2 times)',
    ]
