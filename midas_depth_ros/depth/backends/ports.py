"""How a picture enters a network and how depth leaves it, for files of other makers.

In: (1, 3, h, w) float32, as all networks of this package take it. Out: the same numbers in another
layout and type. And back: whatever a network gives, to (h, w) float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import DepthError, WeightsMismatch
from midas_depth_ros.depth.file_description import FileDescription

DTYPES = {'float32': np.float32, 'float16': np.float16, 'float64': np.float64, 'uint8': np.uint8}
MOST_SKEW = 0.1  # of the proportions of an output against those of its input


@dataclass(frozen=True)
class Port:
    """The input and the output of a network. `output`: the name of one of several, or ''."""

    layout: str = 'nchw'
    element: str = 'float32'
    output: str = ''

    @classmethod
    def of(cls, description: FileDescription | None) -> Port:
        """The port of a described file; the usual one without a description."""
        if description is None:
            return cls()
        return cls(description.layout, description.source.type_name, description.output)

    def feed(self, network_input: NDArray[np.float32]) -> NDArray[np.generic]:
        """(1, 3, h, w) float32 in the layout and type of the network, C-contiguous."""
        return np.ascontiguousarray(self._laid_out(self.cast(network_input)))

    def cast(self, network_input: NDArray[np.float32]) -> NDArray[np.generic]:
        """The numbers in the type of the network."""
        if self.element == 'uint8':
            return np.rint(network_input).clip(0, 255).astype(np.uint8)
        return network_input.astype(DTYPES[self.element], copy=False)

    def _laid_out(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        if self.layout == 'nhwc':
            return values.transpose(0, 2, 3, 1)
        return values[np.newaxis] if self.layout == 'multi-view' else values


def as_map(output: NDArray[np.generic]) -> NDArray[np.float32]:
    """An output such as (1, 1, h, w) or (1, h, w, 1) as (h, w) float32; DepthError for others."""
    sides = [side for side in output.shape if side != 1]
    if len(sides) != 2 or output.dtype.kind not in 'fiu':
        raise DepthError(
            f'the network gave {output.shape} {output.dtype}, which is not one number for each '
            'pixel, such as (1, 1, h, w): name another output (model_file.output)'
        )
    return output.reshape(sides).astype(np.float32, copy=False)


def check_proportions(output: tuple[int, ...], size: tuple[int, int]) -> None:
    """Raise DepthError where (h, w) of an output has not the proportions of its input."""
    high, wide = output
    if abs(np.log(high * size[1] / (wide * size[0]))) > MOST_SKEW:
        raise DepthError(
            f'the network gave {high} x {wide} (height x width) for a picture of {size[0]} x '
            f'{size[1]}, which has other proportions: name another output (model_file.output), or '
            'export it so'
        )


def not_run(path: Path, size: tuple[int, int], error: DepthError) -> WeightsMismatch:
    """The error for a file that does not run at the (h, w) that its description gives."""
    return WeightsMismatch(
        f'{path} does not run at {size[0]} x {size[1]} (height x width): {error}. Set '
        'model_file.input_size to the size that it was exported for, or export it anew'
    )
