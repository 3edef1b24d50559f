"""What the subpackages without ROS log, forwarded to ROS, whatever characters it has."""

from __future__ import annotations

import logging

from midas_depth_ros.nodes.ros.spinning import PACKAGE_LOGGER, forward_logging


def test_a_record_that_rclpy_would_raise_on_is_said(ros, capfd):
    forward_logging(ros.node)
    logger = logging.getLogger(PACKAGE_LOGGER + '.somewhere')
    logger.warning('cannot read %s', '/tmp/\udcff\x1b[2J.png')
    logger.error('too few: %s %s', 'one')
    logger.info('and on\nin a second line, with ☃')
    err = capfd.readouterr().err
    assert r'[test_peer]: cannot read /tmp/\xff\x1b[2J.png' in err
    assert 'Logging error' in err
    assert '[INFO]' in err
    assert 'and on\nin a second line, with ☃' in err
