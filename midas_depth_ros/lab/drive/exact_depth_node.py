"""depth_node with a perfect network: it unpacks the depth that `synthetic_camera` has packed.

For evaluation only: all of depth_node but its network is at work. In come pictures of
`robot.pictures: packed_depth`, out goes all that depth_node publishes.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.parameters import helped
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim.robot.robot import unpacked

NOTICE = 'For evaluation: depth is taken from the simulation, not from what the picture shows.'


class Unpacker:
    """What stands in for a network."""

    name = 'unpacked'
    precision = 'f32'
    choice = ''

    def preprocess(self, rgb: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """The relative inverse depth that is packed in a picture, (H, W) float32."""
        return unpacked(rgb).astype(np.float32)

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same."""
        return network_input

    def close(self) -> None:
        """There is nothing to free."""


class ExactEstimator(DepthEstimator):
    """Its pictures are no pictures, so that nobody judges them as such."""

    of_pictures = False


def exact_estimator(settings: DepthNodeSettings) -> DepthEstimator:
    """The estimator for a depth node that is fed packed depth."""
    return ExactEstimator('exact', Unpacker(), NOTICE)


def main() -> int:
    """Run the node; returns the exit code."""
    if helped('exact_depth_node', DepthNodeSettings, __doc__):
        return 0
    return run_node(lambda: DepthNode(exact_estimator))


if __name__ == '__main__':
    sys.exit(main())
