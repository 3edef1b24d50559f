"""What the pure rooms log, said through ROS: whatever characters it has."""

from __future__ import annotations

import logging

from midas_depth_ros.nodes.log_bridge import PACKAGE_LOGGER, forward_logging, printable


def test_what_no_terminal_can_show_is_escaped():
    assert printable('a\x1b[2Jb\udcff\0') == r'a\x1b[2Jb\udcff\x00'
    assert printable('zwei Zeilen\n\tmit ☃ und ü') == 'zwei Zeilen\n\tmit ☃ und ü'


def test_a_record_that_rclpy_would_raise_on_is_said(ros, capfd):
    forward_logging(ros.node)
    logger = logging.getLogger(PACKAGE_LOGGER + '.somewhere')
    logger.warning('cannot read %s', '/tmp/\udcff\x1b[2J.png')
    logger.error('too few: %s %s', 'one')
    logger.info('and on')
    err = capfd.readouterr().err
    assert r'[test_peer]: cannot read /tmp/\udcff\x1b[2J.png' in err
    assert 'Logging error' in err
    assert '[INFO]' in err
    assert 'and on' in err
