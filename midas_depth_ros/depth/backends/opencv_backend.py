"""Runs EmbeddedNet with OpenCV's own network module: nothing else has to be installed.

In: the model's NumPy archive as a file. Then: (1, 3, 192, 256) float32 to (192, 256) float32. The
graph is made in memory from the weights; OpenCV 4.6 and 5 give what torch gives to 1e-5.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.backends import AUTO
from midas_depth_ros.depth.errors import BackendUnavailable, DepthError
from midas_depth_ros.depth.models import EMBEDDED, onnx_of
from midas_depth_ros.depth.weights import digest_of


class OpencvBackend:
    """EmbeddedNet on the CPU.

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
        self.preprocess, self.weights_sha256 = EMBEDDED.preprocess, digest_of(weights)
        try:
            self._network: cv2.dnn.Net | None = cv2.dnn.readNetFromONNX(
                np.frombuffer(model, np.uint8)
            )
            self.infer(np.zeros((1, 3, *EMBEDDED.usual_size), np.float32))  # allocates
        except cv2.error as error:
            raise BackendUnavailable(
                f'OpenCV {cv2.__version__} cannot run the embedded model ({error}): install '
                'OpenCV 4.6 or later, or use backend torch'
            ) from error

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, 192, 256) float32 to (192, 256) float32."""
        if self._network is None:
            raise DepthError('this opencv backend is closed: load it again')
        self._network.setInput(np.ascontiguousarray(network_input))
        return EMBEDDED.finish(
            self._network.forward()[0, 0]
        )  # a new array, which outlives this run

    def close(self) -> None:
        self._network = None
