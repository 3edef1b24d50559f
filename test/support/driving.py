"""Driving a depth_node from a test: pictures, messages, transitions, parameters, diagnostics."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from midas_depth_ros.nodes.ros.messages import image_message

DEPTH = 'camera/relative_inverse_depth/image'
HEATMAP = 'camera/heatmap/image'
SETTLING_S = 0.3


def picture(brightness: int = 100, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture whose rows get brighter downward from `brightness`."""
    rows = np.arange(height, dtype=np.uint8)[:, None, None] + np.uint8(brightness)
    return np.broadcast_to(rows, (height, width, 3)).copy()


def header(seconds: float, frame_id: str = 'camera_optical_frame') -> Header:
    message = Header(frame_id=frame_id)
    message.stamp.sec = int(seconds)
    message.stamp.nanosec = round((seconds % 1) * 1e9)
    return message


def image(seconds: float, brightness: int = 100, **kwargs) -> Image:
    return image_message(picture(brightness, **kwargs), header(seconds))


def values(message: Image) -> np.ndarray:
    dtype, channels = {'32FC1': (np.float32, 1), 'bgr8': (np.uint8, 3)}[message.encoding]
    array = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return array[..., 0] if channels == 1 else array


def stamp(message) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec / 1e9


def state(ros) -> int:
    return ros.call(GetState, 'depth_node/get_state', GetState.Request()).current_state.id


def change(ros, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return ros.call(ChangeState, 'depth_node/change_state', request).success


def set_parameter(ros, name: str, value) -> tuple[bool, str]:
    kinds = {
        bool: (ParameterType.PARAMETER_BOOL, 'bool_value'),
        int: (ParameterType.PARAMETER_INTEGER, 'integer_value'),
        float: (ParameterType.PARAMETER_DOUBLE, 'double_value'),
        str: (ParameterType.PARAMETER_STRING, 'string_value'),
    }
    kind, field = kinds[type(value)]
    parameter = Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))
    request = SetParameters.Request(parameters=[parameter])
    result = ros.call(SetParameters, 'depth_node/set_parameters', request).results[0]
    return result.successful, result.reason


def diagnostics(ros, suffix: str, predicate, timeout: float = 20.0) -> DiagnosticStatus:
    """The first status whose name ends so and that fulfils the predicate."""
    arrays = ros.collect(DiagnosticArray, '/diagnostics')

    def found():
        statuses = [s for a in list(arrays) for s in a.status if s.name.endswith(suffix)]
        return next((s for s in statuses if predicate(s)), None)

    return ros.spin_until(found, timeout, what=f'diagnostics of {suffix}')


def read(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def send_until(ros, publisher, make, received: list, count: int = 1) -> None:
    """Publish messages of `make(i)` until `received` has `count` messages more."""
    wanted = len(received) + count
    for number in range(400):
        publisher.publish(make(number))
        ros.spin_for(0.02)
        if len(received) >= wanted:
            if number >= count:  # on a slow machine some of these are still on their way
                ros.spin_for(SETTLING_S)
            return
    raise AssertionError(f'{len(received)} of {wanted} messages')
