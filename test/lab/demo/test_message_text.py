"""Messages as text: every value there, long arrays cut and said so."""

import array
import math

import pytest
import yaml

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Vector3Stamped
from sensor_msgs.msg import CameraInfo, Image

from midas_depth_ros.lab.demo.recording import LONGEST, message_text


def test_a_small_message_reads_back_as_it_was():
    message = Vector3Stamped()
    message.header.stamp.sec = 12
    message.header.frame_id = 'camera: optical'
    message.vector.x, message.vector.y = 0.25, math.nan
    read = yaml.safe_load(message_text(message))
    assert read['header'] == {'stamp': {'sec': 12, 'nanosec': 0}, 'frame_id': 'camera: optical'}
    assert read['vector']['x'] == 0.25
    assert math.isnan(read['vector']['y'])
    assert list(read) == ['header', 'vector']


def test_a_picture_is_cut_after_the_first_bytes():
    message = Image(height=480, width=640, encoding='bgr8', step=1920)
    message.data = array.array('B', bytes(range(256)) * 3600)
    text = message_text(message)
    assert len(text) < 1000
    read = yaml.safe_load(text)
    assert read['data'][:LONGEST] == list(range(LONGEST))
    assert '...' in str(read['data'][LONGEST])
    assert read['encoding'] == 'bgr8'


def test_nested_messages_and_octets():
    status = DiagnosticStatus(name='n', level=DiagnosticStatus.WARN, message='slow')
    status.values = [KeyValue(key='rate [Hz]', value='4.5')]
    read = yaml.safe_load(message_text(DiagnosticArray(status=[status])))
    assert read['status'][0]['message'] == 'slow'
    assert read['status'][0]['values'] == [{'key': 'rate [Hz]', 'value': '4.5'}]


def test_numpy_arrays_are_lists_of_numbers():
    read = yaml.safe_load(message_text(CameraInfo(k=[float(i) for i in range(9)])))
    assert read['k'] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert read['d'] == []
