"""From a weights file to an OpenVINO model in the cache, in one of the precisions.

In: a weights file. Out: an entry of the cache with model.xml, model.bin and the deviation from f32
on named pictures, which decides whether 'auto' may take that precision. Only the first start of a
model on a machine comes here; the cached model needs no weights library.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import conversion_cache
from midas_depth_ros.depth.backends.openvino_runtime import VERSION, Runtime, save
from midas_depth_ros.depth.conversion_cache import Entry, Key
from midas_depth_ros.depth.deviation import Deviation, Infer, measure, sample_pictures
from midas_depth_ros.depth.network_kinds import NetworkKind, kind_of, onnx_of
from midas_depth_ros.depth.progress import show_steps
from midas_depth_ros.depth.quantisation import quantised
from midas_depth_ros.depth.weights_file import sha256_of

CONVERSION = 2  # raise it whenever the graph or the steps below change
MODEL = 'model.xml'
Pictures = Mapping[str, NDArray[np.uint8]]


class Conversion:
    """One weights file for OpenVINO; nothing is done before it is asked for."""

    def __init__(self, weights: Path, runtime: Runtime) -> None:
        self._weights, self._runtime = weights, runtime
        self.kind: NetworkKind = kind_of(weights)
        self._sha256 = sha256_of(weights)

    def key(self, precision: str) -> Key:
        """Of the cache's entry."""
        size = self.kind.input_size
        return Key(
            self._sha256, self.kind.name, f'{size[0]}x{size[1]}' if size else 'any',
            'openvino', VERSION, precision, CONVERSION,
        )  # fmt: skip

    def deviation(self, precision: str) -> Deviation | None:
        """As measured when it was converted; None where it was not."""
        about = conversion_cache.remembered(self.key(precision)) or {}
        return Deviation.from_json(about.get('deviation'))

    def existing(self, precision: str) -> Entry | None:
        """The entry, if it is there and sound."""
        return conversion_cache.find(self.key(precision))

    @contextlib.contextmanager
    def model(self, precision: str) -> Iterator[Entry]:
        """The entry, converted if need be: f32, bf16 or f16.

        Raises WeightsCorrupt, WeightsMismatch.
        """
        with conversion_cache.provide(
            self.key(precision), lambda folder: self.build(folder / MODEL, precision)
        ) as entry:
            yield entry

    def build(
        self,
        path: Path,
        precision: str,
        calibration: Pictures | None = None,
        pictures: Pictures | None = None,
    ) -> dict[str, Any]:
        """Write the model to `path` (.xml); what is to be known about it.

        `calibration`: what int8 finds its ranges on. `pictures`: what the deviation is measured
        on, instead of the package's own; a precision that this CPU does not compute in is written
        unmeasured. Raises WeightsCorrupt, WeightsMismatch,
        BackendUnavailable where int8 lacks its library.
        """
        about: dict[str, Any] = {'network': self.kind.name, 'precision': precision}
        steps = 4 if precision != 'f32' and precision in self._runtime.precisions() else 3
        title = f'converting {self._weights.name} to {precision} for openvino, once'
        with show_steps(title, steps) as step:
            step('reading the weights')
            model = self._runtime.from_onnx(onnx_of(self._weights))
            reference = None
            if precision != 'f32' and precision in self._runtime.precisions():
                step(f'measuring {precision} against f32')
                reference = self._infer(model, 'f32')
            if precision == 'int8':
                inputs = [self.kind.preprocess(rgb) for rgb in (calibration or {}).values()]
                model = quantised(model, inputs)
                about['calibrated_on'] = len(inputs)
            if reference is not None:
                other = self._infer(model, precision)
                deviation = measure(reference, other, pictures or sample_pictures())
                about['deviation'] = deviation.to_json()
            step('writing the model')
            save(model, path, precision, about)
            step('done')
        return about

    def _infer(self, model: Any, precision: str) -> Infer:
        compiled = self._runtime.compile(model, precision)
        return lambda rgb: self.kind.finish(compiled.infer(self.kind.preprocess(rgb)))
