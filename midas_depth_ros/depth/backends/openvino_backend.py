"""Runs a network with OpenVINO on the CPU, the fastest backend where it is installed.

In: a weights file, which is converted once and cached, or a model file (.onnx, .xml, .tflite).
Then: (1, 3, h, w) float32 to (h, w) float32. The rule by which 'auto' chooses a precision is
`fastest_within_bound`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from midas_depth_ros.depth import conversion_cache
from midas_depth_ros.depth.backends import (
    AUTO,
    MODEL_SUFFIXES,
    PRECISIONS,
    Answer,
    LoadedBackend,
    answer_of,
)
from midas_depth_ros.depth.backends.openvino_runtime import (
    VERSION,
    Compiled,
    KnownModel,
    Runtime,
    last_line,
    save,
)
from midas_depth_ros.depth.backends.ports import check_proportions, not_run
from midas_depth_ros.depth.conversion_cache import Key, give_back_memory, show_steps
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    WeightsCorrupt,
    WeightsMismatch,
    first_line,
    printable,
)
from midas_depth_ros.depth.model_check import Deviation, Infer, measure_deviation, sample_pictures
from midas_depth_ros.depth.model_files import NOTHING_GIVEN
from midas_depth_ros.depth.models import digest_of, mark_of, onnx_of, spec_of
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
from midas_depth_ros.depth.models.spec import ModelSpec

CONVERSION = 2  # increase it whenever the graph or the steps of a conversion change
MODEL, ONNX = 'model.xml', 'model.onnx'
FILES = (MODEL, 'model.bin')
# In the order in which 'auto' considers them, the fastest first. int8 only where it was made: it
# needs pictures.
FASTEST_FIRST = ('int8', 'bf16', 'f16')
Pictures = Mapping[str, NDArray[np.uint8]]

# --- int8 by post-training quantisation: NNCF runs a model and chooses the ranges of its values.
#
# NNCF is an extra that only the machine needs on which the model is made.

REMEDY = "install it with: pip install 'midas_depth_ros[int8]', or: pip install nncf"
LEAST_INPUTS = 8


def quantised(model: Any, inputs: Sequence[NDArray[np.float32]]) -> Any:
    """The model in int8, calibrated on `inputs`, (1, 3, h, w) float32 each.

    Raises BackendUnavailable where NNCF cannot be imported, DepthError for too few inputs.
    """
    if len(inputs) < LEAST_INPUTS:
        raise DepthError(
            f'{len(inputs)} pictures to calibrate int8 on: give {LEAST_INPUTS} or more, better '
            '100, of places like those where the robot will drive'
        )
    os.environ.setdefault('NNCF_CI', '1')  # or it reports its use to its makers
    try:
        import nncf
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise BackendUnavailable(f'int8 needs NNCF ({first_line(error)}): {REMEDY}') from error
    logging.getLogger('nncf').setLevel(logging.WARNING)
    dataset = nncf.Dataset([np.ascontiguousarray(one) for one in inputs])
    return nncf.quantize(model, dataset, subset_size=len(inputs))


# --- From a weights file to a model in the cache: model.xml, model.bin, and the deviation from f32
# on named pictures, which decides whether 'auto' may use that precision.


class Conversion:
    """Converts one weights file, on demand, and measures its deviation at one input size."""

    def __init__(self, weights: Path, runtime: Runtime, size: NetworkSize = OFFICIAL) -> None:
        self._weights, self._runtime = weights, runtime
        self.spec = size.applied_to(spec_of(weights))
        self.weights_sha256 = digest_of(weights)
        self._read: dict[str, KnownModel] = {}

    def key(self, precision: str) -> Key:
        """Key of the cache's entry."""
        return Key(
            self.weights_sha256, self.spec.name, self.spec.input_size_text, 'openvino', VERSION,
            precision, CONVERSION,
        )  # fmt: skip

    def deviation(self, precision: str) -> Deviation | None:
        """Deviation measured when it was converted; None where it was not."""
        about = conversion_cache.remembered(self.key(precision)) or {}
        return Deviation.from_json(about.get('deviation'))

    def cached(self, precision: str) -> KnownModel | None:
        """The cache's model, if it is there and undamaged."""
        entry = conversion_cache.find(self.key(precision), FILES)
        return self._of_entry(entry.folder) if entry else None

    def model(self, precision: str) -> KnownModel:
        """The model in f32, bf16 or f16, converted if needed; in memory where no disk takes it.

        Raises WeightsCorrupt, WeightsMismatch.
        """
        if precision not in self._read:
            made: list[KnownModel] = []  # kept in case the disk turns out to be full

            def build(folder: Path) -> dict[str, Any]:
                made[:] = made or [self._converted(precision, beside=folder / ONNX)]
                return _written(made[0], folder / MODEL, precision)

            try:
                self._read[precision] = conversion_cache.load(
                    self.key(precision),
                    build,
                    self._of_entry,
                    FILES,
                    anew=self._measures(precision) and self._is_unmeasured(precision),
                )
            except OSError:
                self._read[precision] = made[0] if made else self._converted(precision)
            if made:
                made.clear()
                give_back_memory()
        return self._read[precision]

    def build(
        self,
        path: Path,
        precision: str,
        calibration: Pictures | None = None,
        pictures: Pictures | None = None,
    ) -> dict[str, Any]:
        """Write the model to `path` (.xml); returns its metadata.

        `calibration`: pictures for the ranges of int8. `pictures`: those to measure the deviation
        on, instead of the package's own; a precision that this CPU does not support is written
        unmeasured. Raises WeightsCorrupt, WeightsMismatch, BackendUnavailable where int8 lacks its
        library, OSError where it cannot be written.
        """
        beside = path.with_name(f'.{path.name}.onnx')
        made = self._converted(precision, calibration, pictures, beside)
        return _written(made, path, precision)

    def _measures(self, precision: str) -> bool:
        """Whether its deviation can be measured on this CPU."""
        return precision != 'f32' and precision in self._runtime.precisions()

    def _is_unmeasured(self, precision: str) -> bool:
        """Whether the cache's model was made where it could not be measured, as in a home folder
        that several machines share.
        """
        return (
            conversion_cache.remembered(self.key(precision)) is not None
            and self.deviation(precision) is None
        )

    def _of_entry(self, folder: Path) -> KnownModel:
        """The model in an entry's folder; WeightsMismatch if it is of other weights."""
        found = self._runtime.read(folder / MODEL, checked=True)
        sha256 = found.about.get('weights_sha256', self.weights_sha256)
        name = found.spec.name if isinstance(found.spec, ModelSpec) else ''
        if (name, sha256) != (self.spec.name, self.weights_sha256):
            raise WeightsMismatch(f'{folder} holds a model of other weights: remove it')
        return dataclasses.replace(found, spec=self.spec)

    def _converted(
        self,
        precision: str,
        calibration: Pictures | None = None,
        pictures: Pictures | None = None,
        beside: Path | None = None,
    ) -> KnownModel:
        """The model in memory. `beside`: see `_network`."""
        about = {**mark_of(self.spec, self.weights_sha256), 'precision': precision}
        measured = self._measures(precision)
        title = f'converting {printable(self._weights.name)} to {precision} for openvino'
        with show_steps(title, 3 if measured else 2) as step:
            step('reading the weights')
            model = self._network(beside)
            reference = None
            if measured:
                step(f'measuring {precision} against f32')
                reference = self._infer(model, 'f32')
            if precision == 'int8':
                inputs = [self.spec.picture.preprocess(rgb) for rgb in (calibration or {}).values()]
                model = quantised(model, inputs)
                about['calibrated_on'] = len(inputs)
            if reference is not None:
                other = self._infer(model, precision)
                deviation = measure_deviation(reference, other, pictures or sample_pictures())
                about['deviation'] = deviation.to_json()
            step('done')
        return KnownModel(model, self.spec, about)

    def _network(self, beside: Path | None) -> ov.Model:
        """The network in f32, by way of a file `beside`, if there is a place for one.

        A network of 1.4 GB then takes 2.8 GB of memory, else twice as much. OSError.
        """
        if beside is None:
            return self._runtime.from_onnx(onnx_of(self._weights, self.weights_sha256))
        try:
            beside.write_bytes(onnx_of(self._weights, self.weights_sha256))
            give_back_memory()
            return self._runtime.from_onnx(beside)
        finally:
            beside.unlink(missing_ok=True)

    def _infer(self, model: Any, precision: str) -> Infer:
        compiled = self._runtime.compile(model, precision)

        def infer(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
            network_input = self.spec.picture.preprocess(rgb)
            return self.spec.finish(compiled.infer(network_input)[0], network_input.shape[2:])

        return infer


def _written(made: KnownModel, path: Path, precision: str) -> dict[str, Any]:
    """Write a converted model to `path` (.xml); returns its metadata. OSError."""
    save(made.model, path, precision, made.about)
    return dict(made.about)


# --- The backend.


class OpenvinoBackend(LoadedBackend):
    """A model that has an ONNX graph, from weights or from an exported model file.

    `num_threads` limits the threads of this network alone; 0 = all cores that it may use.
    `choice` says why this precision was chosen.

    Raises WeightsCorrupt, WeightsMismatch, InvalidNetworkSize, and BackendUnavailable where the
    precision is not supported by this CPU, or was not made.
    """

    name = 'openvino'

    def __init__(
        self,
        weights: Path,
        num_threads: int = 0,
        precision: str = AUTO,
        size: NetworkSize = OFFICIAL,
        *,
        given: Mapping[str, Any] = NOTHING_GIVEN,
    ) -> None:
        self._size, self._given = size, given
        self._runtime = Runtime(num_threads)
        if precision not in (AUTO, *self._runtime.precisions()):
            have = ', '.join(self._runtime.precisions())
            raise BackendUnavailable(
                f'this CPU does not compute in {precision} (openvino finds {have}): choose one of '
                'these, or auto'
            )
        from_file = weights.suffix.lower() in MODEL_SUFFIXES
        found = (self._load_model if from_file else self._load_weights)(weights, precision)
        self._network = self._compiled(found, weights)
        self.spec, self.description = found.spec, found.description
        known = found.description is None
        self.weights_sha256 = str(found.about.get('weights_sha256', '')) if known else ''

    def _run(self, network_input: NDArray[np.float32]) -> Answer:
        return answer_of(self._network.infer(network_input))

    def _load_weights(self, weights: Path, precision: str) -> KnownModel:
        conversion = Conversion(weights, self._runtime, self._size)
        if precision == AUTO:
            precision, self.choice = fastest_within_bound(conversion, self._runtime.precisions())
        else:
            self.choice = f'{precision} as asked'
        self.precision = precision
        found = conversion.cached(precision) if precision == 'int8' else conversion.model(precision)
        if found is None:
            picture = conversion.spec.picture
            size = f' --network-size {min(picture.size)}' if picture.official else ''
            raise BackendUnavailable(
                f'no int8 model of {weights.name} on this machine: make one with '
                f'`midas_depth export {weights} --precision int8{size} --pictures FOLDER --cache`'
            )
        self._warn(Deviation.from_json(found.about.get('deviation')))
        return found

    def _load_model(self, path: Path, precision: str) -> KnownModel:
        found = self._runtime.read(path, given=self._given)
        made_for = found.about.get('precision', 'f32')
        if made_for not in PRECISIONS:
            raise WeightsCorrupt(
                f'{path} is marked {str(made_for)[:40]!r}, which is not a precision: write it '
                'again with `midas_depth export`'
            )
        if precision == 'int8' and found.description is not None:
            raise BackendUnavailable(
                f'{path} was not written by this package, which cannot make int8 of it: choose '
                'precision f32 or bf16'
            )
        if 'int8' in (precision, made_for) and precision not in (AUTO, made_for):
            raise BackendUnavailable(
                f'{path} is in {made_for}, not in {precision}: write another with '
                f'`midas_depth export --precision {precision}`'
            )
        deviation = Deviation.from_json(found.about.get('deviation'))
        if precision == AUTO and found.description is not None:
            self.precision = 'f32'
            self.choice = 'f32: how far others stray is not measured for files of other makers'
        elif precision == AUTO:
            self.precision, self.choice = self._of_file(path, made_for, deviation)
        else:
            self.precision, self.choice = precision, f'{precision} as asked'
            if precision == made_for:
                self._warn(deviation)
        return dataclasses.replace(found, spec=self._size.applied_to(found.spec))

    def _of_file(self, path: Path, made_for: str, found: Deviation | None) -> tuple[str, str]:
        """(precision, why): the rule of 'auto' for a model file.

        The precision it was written for, if this CPU supports it and the deviation in the file, if
        any, is within the bound; else f32, which an int8 model cannot do.
        """
        if found and not found.within_bound:
            if made_for == 'int8':
                raise BackendUnavailable(
                    f'{path} exceeds the bound of precision auto: {found}. Choose precision int8 '
                    'to use it anyway, or export f32 or bf16'
                )
            return 'f32', f'f32: {path.name} in {made_for} exceeds the bound: {found}'
        if made_for not in ('int8', *self._runtime.precisions()):
            return 'f32', f'f32: this CPU does not compute in {made_for}'
        measured = found or 'deviation not measured'
        return made_for, f'{made_for}: {path.name} was written for it; {measured}'

    def _warn(self, deviation: Deviation | None) -> None:
        if deviation and not deviation.within_bound:
            self.choice += f', although it exceeds the bound: {deviation}'

    def _compiled(self, found: KnownModel, path: Path) -> Compiled:
        try:
            network = self._runtime.compile(found.model, self.precision, found.description)
            size = found.spec.picture.usual_size
            if found.description is not None:
                try:
                    trial = network.infer(np.zeros((1, 3, *size), np.float32))
                    check_proportions(trial[0].shape, size)
                except DepthError as error:
                    raise not_run(path, size, error) from error
            network.expect((1, 3, *size))
            return network
        except (RuntimeError, MemoryError) as error:
            raise BackendUnavailable(
                f'openvino cannot compile {path} ({last_line(error)}): use another backend'
            ) from error


def fastest_within_bound(conversion: Conversion, able: tuple[str, ...]) -> tuple[str, str]:
    """(precision, why): the rule of 'auto'.

    The fastest that this CPU supports and whose deviation from f32, measured when the model was
    converted, is within the bound of `Deviation`; f32 where there is none. int8 is considered where
    `midas_depth export` has put it into the cache.
    """
    rejected = []
    for precision in FASTEST_FIRST:
        if precision not in able or (precision == 'int8' and not conversion.cached('int8')):
            continue
        found = conversion.deviation(precision)
        if found is None:
            found = Deviation.from_json(conversion.model(precision).about.get('deviation'))
        if found and found.within_bound:
            return precision, f'{precision}: {found}'
        rejected.append(f'{precision} exceeds the bound: {found}')
    reasons = '; '.join(rejected) or 'this CPU supports nothing faster'
    return 'f32', f'f32: {reasons}'
