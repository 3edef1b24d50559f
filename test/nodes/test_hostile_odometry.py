"""Odometry as it should never be, over DDS: metres are right, or there are none and it is said why.

The pictures are exact, and the network's scale changes with every frame.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from drives import CAMERA, MOUNT, PITCH_RAD, SPEED_M_S, ExactEstimator, Step, drive, odometry, view
from driving import header, state, values
from lifecycle_msgs.msg import State
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image

from midas_depth_ros.images import stamp_ns
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, image_message

NEAR_M = 4.0
OURS = {
    'odometry.topic': 'odom',
    'picture_check': False,
    'frozen_after': 0.0,
    'output_size': 'network',
    'process_every_frame': True,  # pictures come faster than their stamps say
    'scale.time_constant': 0.0,
}


def said(step: Step, **position: float) -> Odometry:
    """What odometry says at a step, but for these coordinates."""
    message = odometry(step.stamp_s, step.said_m, step.yaw_rad)
    for name, value in position.items():
        setattr(message.pose.pose.position, name, value)
    return message


def without_turn(step: Step) -> Odometry:
    message = said(step)
    message.pose.pose.orientation.z = message.pose.pose.orientation.w = 0.0
    return message


def stamped(step: Step, later_s: float) -> Odometry:
    message = said(step)
    message.header = header(step.stamp_s + later_s, 'odom')
    return message


def framed(step: Step, frame: str) -> Odometry:
    message = said(step)
    message.header.frame_id = frame
    return message


def nonsense(number: int, step: Step) -> list[Odometry]:
    """A good message among others."""
    worst = (
        said(step, x=math.nan), said(step, y=1e300), said(step, z=-math.inf), without_turn(step),
        stamped(step, -0.5), said(step), odometry(0.0, step.said_m),
    )  # fmt: skip
    return [said(step), worst[number % len(worst)]]


# What odometry says at each picture (number, step), and which share of pictures has metres then.
SAYS = {
    'nonsense between': (nonsense, 0.3),
    'once a second': (lambda number, step: [] if number % 10 else [said(step)], 0.0),
    'a thousand times a second': (
        lambda number, step: [
            odometry(
                step.stamp_s + each / 1000 - 0.1, step.said_m + (each / 1000 - 0.1) * SPEED_M_S
            )
            for each in range(101)
        ],
        0.6,
    ),
    'not a number': (lambda number, step: [said(step, x=math.nan)], 0.0),
    'a second late': (lambda number, step: [stamped(step, -1.0)], 0.0),
    'millimetres': (lambda number, step: [said(step, x=1000 * step.said_m)], 0.0),
    'sideways': (lambda number, step: [said(step, x=0.0, y=step.said_m)], 0.0),
    'up': (lambda number, step: [said(step, x=0.0, z=step.said_m)], 0.0),
    'backward': (lambda number, step: [said(step, x=-step.said_m)], 0.0),
    'standing': (lambda number, step: [said(step, x=0.0)], 0.0),
    'two fixed frames': (lambda number, step: [framed(step, 'map' if number % 2 else 'odom')], 0.0),
    'silent after a while': (lambda number, step: [said(step)] if number < 12 else [], 0.3),
    'noise of 5 mm': (
        lambda number, step: [
            said(step, x=step.said_m + np.random.default_rng(number).normal(0, 0.005))
        ],
        0.5,
    ),
}
STEPS = drive(2.4)
# Which place a picture shows (number) while odometry drives on.
SHOWS = {
    'a picture that freezes': lambda number: STEPS[min(number, 12)].x_m,
    'wheels that spin at first': lambda number: STEPS[max(number - 12, 0)].x_m,
    'wheels that spin all the time': lambda number: 0.5,
    'a robot that shakes while wheels spin': lambda number: 0.5 + 0.001 * (number % 2),
    'a robot that is pulled back': lambda number: 1.2 - STEPS[number].x_m,
}
ALWAYS = ('nonsense between', 'once a second')


@pytest.fixture
def metres(ros):
    """Drive with a source of scale; metres by true metres of every picture that has some."""

    def go(source, says, shows=lambda number: STEPS[number].x_m):
        exact, truth = ExactEstimator(), {}
        parameters = {**OURS, **MOUNT, 'scale.source': source}
        ros.make_node(DepthNode, lambda settings: exact, parameters=parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        images, infos = (
            ros.publisher(kind, f'camera/{name}')
            for kind, name in ((Image, 'image_raw'), (CameraInfo, 'camera_info'))
        )
        wheels = ros.publisher(Odometry, 'odom')
        depth = ros.collect(Image, 'camera/depth/image')
        for number, step in enumerate(STEPS):
            seen = view(shows(number), step.yaw_rad, PITCH_RAD)
            head = header(step.stamp_s)
            truth[stamp_ns(head)] = seen.depth_z
            for message in says(number, step):
                wheels.publish(message)
            infos.publish(camera_info_message(CAMERA, head))
            ros.spin_for(0.01)
            calls = exact.calls
            images.publish(image_message(exact.show(seen), head))
            ros.spin_until(lambda now=calls: exact.calls > now, what='the picture')
        ros.spin_for(0.3)
        factors = []
        for message in depth:
            exact_z = truth[stamp_ns(message.header)]
            near = exact_z < NEAR_M
            factors.append(float(np.nanmedian(values(message)[near] / exact_z[near])))
        return np.array(factors)

    return go


def marked(names, always=ALWAYS):
    return [
        pytest.param(name, marks=() if name in always else pytest.mark.thorough) for name in names
    ]


@pytest.mark.parametrize('name', marked(SAYS))
def test_by_odometry_alone(metres, name):
    says, share = SAYS[name]
    factors = metres('odometry', says)
    assert len(factors) >= share * len(STEPS)
    assert (np.abs(factors - 1) < 0.15).all(), factors.round(2)
    if not share:
        assert len(factors) <= 2, factors.round(2)


@pytest.mark.thorough
@pytest.mark.parametrize('name', SAYS)
def test_with_the_floor(metres, name):
    """Odometry that can be seen to be none does not silence the floor.

    Where it moves, and otherwise than the pictures do, the floor is not confirmed on the way: it is
    believed alone for the first 0.3 m.
    """
    factors = metres('auto', SAYS[name][0])
    share = 0.25 if name in ('sideways', 'up', 'backward') else 0.6
    assert len(factors) >= share * len(STEPS)
    assert (np.abs(factors - 1) < 0.1).all(), factors.round(2)


@pytest.mark.parametrize('name', marked(SHOWS, ('a picture that freezes',)))
def test_pictures_that_do_not_move_as_the_wheels_do(metres, name):
    factors = metres('odometry', lambda number, step: [said(step)], SHOWS[name])
    assert len(factors) < 0.75 * len(STEPS)
    assert (np.abs(factors - 1) < 0.25).all(), factors.round(2)
