"""The estimator that a command's options ask for."""

from __future__ import annotations

import inspect
import logging
from typing import Any

from midas_depth_ros.commands.parameter_options import MODEL
from midas_depth_ros.depth import DepthEstimator, load_estimator

LOGGER = logging.getLogger(__name__)


def estimator_of(values: dict[str, Any]) -> DepthEstimator:
    """Load the model named by the options. Raises DepthError, and ValueError for a bad number.

    What it is, and why it is not what one would wish for, goes to the log.
    """
    accepted = inspect.signature(load_estimator).parameters
    chosen = {name: values[name] for name in MODEL if name in values and name in accepted}
    estimator = load_estimator(**chosen)
    if estimator.notice:
        LOGGER.warning('%s', estimator.notice)
    return estimator
