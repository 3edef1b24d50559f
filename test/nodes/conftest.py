"""Fixtures of the tests that need ROS; without rclpy none of them is collected."""

from importlib.util import find_spec

if find_spec('rclpy'):
    import pytest
    from driving import state
    from fakes import BrightnessEstimator
    from lifecycle_msgs.msg import State
    from ros_helpers import ros  # noqa: F401

    from midas_depth_ros.nodes.depth.node import DepthNode

    @pytest.fixture
    def estimator():
        """What the depth_node of this test infers with."""
        return BrightnessEstimator()

    @pytest.fixture
    def start(ros, estimator):  # noqa: F811
        """Start a depth_node with the given parameters; wait until it is active."""

        def make(wait: bool = True, **parameters):
            parameters = {'diagnostics_rate': 10.0, **parameters}
            node = ros.make_node(DepthNode, lambda settings: estimator, parameters=parameters)
            if wait:
                ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
            return node

        return make

    @pytest.fixture
    def log_lines(capfd):
        """Returns the lines of log that the nodes of this process have written so far.

        Read where they are written: a subscriber of /rosout in the same process may miss some.
        """
        written = []

        def lines() -> list[str]:
            written.append(capfd.readouterr().err)
            return ''.join(written).splitlines()

        return lines

else:
    collect_ignore_glob = ['test_*.py']
