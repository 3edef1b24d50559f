"""int8 by post-training quantisation: NNCF watches a model at work and picks the ranges.

In: an OpenVINO model and network inputs like those it will meet. Out: the model in int8. NNCF is
an extra that only the machine that makes the model needs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import BackendUnavailable, DepthError

REMEDY = "install it with: pip install 'midas_depth_ros[int8]', or: pip install nncf"
LEAST_INPUTS = 8


def quantised(model: Any, inputs: Sequence[NDArray[np.float32]]) -> Any:
    """The model in int8, calibrated on `inputs`, (1, 3, h, w) float32 each.

    Raises BackendUnavailable where NNCF cannot be imported, DepthError for too few inputs.
    """
    if len(inputs) < LEAST_INPUTS:
        raise DepthError(
            f'{len(inputs)} pictures to calibrate int8 on: give {LEAST_INPUTS} or more, better '
            '100, of places like those where the robot will be'
        )
    os.environ.setdefault('NNCF_CI', '1')  # or it reports its use to its makers
    try:
        import nncf
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = f'{type(error).__name__}: {error}'.splitlines()[0]
        raise BackendUnavailable(f'int8 needs NNCF ({reason}): {REMEDY}') from error
    logging.getLogger('nncf').setLevel(logging.WARNING)
    dataset = nncf.Dataset([np.ascontiguousarray(one) for one in inputs])
    return nncf.quantize(model, dataset, subset_size=len(inputs))
