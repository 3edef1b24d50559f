"""Runs a network with OpenCV's own network module: nothing else has to be installed.

In: a NumPy archive of weights as a file. Then: (1, 3, h, w) float32 to (h, w) float32. The graph is
made in memory from the weights; OpenCV 4.6 and 5 give of the embedded model what torch gives to
1e-5.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.backends import AUTO
from midas_depth_ros.depth.errors import BackendUnavailable, DepthError
from midas_depth_ros.depth.models import onnx_of, spec_of
from midas_depth_ros.depth.weights import digest_of


class OpencvBackend:
    """A model whose graph OpenCV can run, on the CPU.

    `num_threads` bounds OpenCV's pool, which belongs to the whole process; 0 leaves it.

    Raises WeightsCorrupt, WeightsMismatch, and BackendUnavailable where this OpenCV cannot run
    the network.
    """

    name = 'opencv'
    precision = 'f32'
    choice = 'f32: the only precision of backend opencv'

    def __init__(self, weights: Path, num_threads: int = 0, precision: str = AUTO) -> None:
        if num_threads:
            cv2.setNumThreads(num_threads)
        model = onnx_of(weights)
        self.spec, self.weights_sha256 = spec_of(weights), digest_of(weights)
        self.preprocess = self.spec.picture.preprocess
        try:
            self._network: cv2.dnn.Net | None = cv2.dnn.readNetFromONNX(
                np.frombuffer(model, np.uint8)
            )
            self.infer(np.zeros((1, 3, *self.spec.picture.usual_size), np.float32))  # allocates
        except cv2.error as error:
            raise BackendUnavailable(
                f'OpenCV {cv2.__version__} cannot run {self.spec.title} ({error}): install '
                'OpenCV 4.6 or later, or use backend torch'
            ) from error

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32, of a size that the network takes, to (h, w) float32."""
        if self._network is None:
            raise DepthError('this opencv backend is closed: load it again')
        self._network.setInput(np.ascontiguousarray(network_input))
        output = self._network.forward()[0, 0]  # a new array, which outlives this run
        return self.spec.finish(output, network_input.shape[2:])

    def close(self) -> None:
        self._network = None
