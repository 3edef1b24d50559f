"""Runs a network with OpenVINO on the CPU, the fastest backend where it is installed.

In: a weights file, which is converted once and cached, or a model file (.onnx, .xml). Then:
(1, 3, h, w) float32 to (h, w) float32. The rule by which 'auto' picks a precision is `pick`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.backends import AUTO, MODEL_SUFFIXES, PRECISIONS
from midas_depth_ros.depth.backends.openvino_conversion import Conversion
from midas_depth_ros.depth.backends.openvino_runtime import Compiled, OwnModel, Runtime, reason
from midas_depth_ros.depth.errors import BackendUnavailable, DepthError, WeightsCorrupt
from midas_depth_ros.depth.judgement import Deviation

# In the order in which 'auto' considers them, the fastest first. int8 only where it was made:
# it needs pictures.
FASTEST_FIRST = ('int8', 'bf16', 'f16')


class OpenvinoBackend:
    """A model that has an ONNX graph, from weights or from a model file of ours.

    `num_threads` bounds the threads of this network alone; 0 = all cores that it may use.
    `choice` says why this precision was taken.

    Raises WeightsCorrupt, WeightsMismatch, and BackendUnavailable where this CPU, or what was
    converted so far, does not have the precision.
    """

    name = 'openvino'

    def __init__(self, weights: Path, num_threads: int = 0, precision: str = AUTO) -> None:
        self._runtime = Runtime(num_threads)
        if precision not in (AUTO, *self._runtime.precisions()):
            have = ', '.join(self._runtime.precisions())
            raise BackendUnavailable(
                f'this CPU does not compute in {precision} (openvino finds {have}): choose one of '
                'these, or auto'
            )
        from_file = weights.suffix.lower() in MODEL_SUFFIXES
        load = self._load_model if from_file else self._load_weights
        own = load(weights, precision)
        self._network: Compiled | None = self._compiled(own, weights)
        self.spec, self.preprocess = own.spec, own.spec.picture.preprocess
        self.weights_sha256 = str(own.about.get('weights_sha256', ''))

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32, of a size that the network takes, to (h, w) float32."""
        if self._network is None:
            raise DepthError('this openvino backend is closed: load it again')
        return self.spec.finish(self._network.infer(network_input), network_input.shape[2:])

    def close(self) -> None:
        self._network = None

    def _load_weights(self, weights: Path, precision: str) -> OwnModel:
        conversion = Conversion(weights, self._runtime)
        if precision == AUTO:
            precision, self.choice = pick(conversion, self._runtime.precisions())
        else:
            self.choice = f'{precision} as asked'
        self.precision = precision
        own = conversion.existing(precision) if precision == 'int8' else conversion.model(precision)
        if own is None:
            raise BackendUnavailable(
                f'no int8 model of {weights.name} on this machine: make one with '
                f'`midas_depth export {weights} --precision int8 --pictures FOLDER --cache`'
            )
        self._warn(Deviation.from_json(own.about.get('deviation')))
        return own

    def _load_model(self, path: Path, precision: str) -> OwnModel:
        own = self._runtime.read(path)
        made_for = own.about.get('precision', 'f32')
        if made_for not in PRECISIONS:
            raise WeightsCorrupt(
                f'{path} says that it is in {str(made_for)[:40]!r}, which is no precision: write '
                'it anew with `midas_depth export`'
            )
        if 'int8' in (precision, made_for) and precision not in (AUTO, made_for):
            raise BackendUnavailable(
                f'{path} is a model in {made_for}, not in {precision}: write another with '
                f'`midas_depth export --precision {precision}`'
            )
        deviation = Deviation.from_json(own.about.get('deviation'))
        if precision == AUTO:
            self.precision, self.choice = self._of_file(path, made_for, deviation)
        else:
            self.precision, self.choice = precision, f'{precision} as asked'
            if precision == made_for:
                self._warn(deviation)
        return own

    def _of_file(self, path: Path, made_for: str, found: Deviation | None) -> tuple[str, str]:
        """(precision, why): the rule of 'auto' for a model file.

        What it was written for, if this CPU computes so and the deviation noted in the file, where
        one is, lies within the bound; else f32, which an int8 model cannot do.
        """
        if found and not found.within_bound:
            if made_for == 'int8':
                raise BackendUnavailable(
                    f'{path} strays beyond the bound of precision auto: {found}. Choose precision '
                    'int8 to take it all the same, or export f32 or bf16'
                )
            return 'f32', f'f32: {path.name} in {made_for} strays beyond the bound: {found}'
        if made_for not in ('int8', *self._runtime.precisions()):
            return 'f32', f'f32: this CPU does not compute in {made_for}'
        return (
            made_for,
            f'{made_for}: {path.name} was written for it; {found or "deviation not measured"}',
        )

    def _warn(self, deviation: Deviation | None) -> None:
        if deviation and not deviation.within_bound:
            self.choice += f', although it strays beyond the bound: {deviation}'

    def _compiled(self, own: OwnModel, path: Path) -> Compiled:
        try:
            network = self._runtime.compile(own.model, self.precision)
            network.expect((1, 3, *own.spec.picture.usual_size))
            return network
        except (RuntimeError, MemoryError) as error:
            raise BackendUnavailable(
                f'openvino cannot compile {path} ({reason(error)}): use another backend'
            ) from error


def pick(conversion: Conversion, able: tuple[str, ...]) -> tuple[str, str]:
    """(precision, why): the rule of 'auto'.

    The fastest that this CPU computes with itself and whose deviation from f32, measured when the
    model was converted, lies within the bound of `deviation`; f32 where there is none. int8 is
    considered where `midas_depth export` has put it into the cache.
    """
    passed_over = []
    for precision in FASTEST_FIRST:
        if precision not in able or (precision == 'int8' and not conversion.existing('int8')):
            continue
        found = conversion.deviation(precision)
        if found is None:
            found = Deviation.from_json(conversion.model(precision).about.get('deviation'))
        if found and found.within_bound:
            return precision, f'{precision}: {found}'
        passed_over.append(f'{precision} strays beyond the bound: {found}')
    reasons = '; '.join(passed_over) or 'this CPU has nothing faster'
    return 'f32', f'f32: {reasons}'
