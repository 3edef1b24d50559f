"""Small ONNX files as other makers write them, which compute something that can be worked out.

Each toy sees brightness: it gives `BIAS - brightness` or `BIAS + brightness` of the colours as its
network wants them, so that dark is near in every one of them, as most floors are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from midas_depth_ros.depth import onnx_files
from midas_depth_ros.depth.onnx_files import Graph, Side

FLOAT, UINT8, INT8, INT64, HALF, DOUBLE = 1, 2, 3, 7, 10, 11
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
WEIGHTS = np.array([0.3, 0.2, 0.1])  # of red, green and blue: another order gives another number
BIAS = 4.0
Sides = Sequence[Side]


def field(number: int, payload: bytes) -> bytes:
    return onnx_files._field(number, payload)


def varint(number: int, value: int) -> bytes:
    return onnx_files._varint_field(number, value)


def value_info(name: str, shape: Sides, element: int = FLOAT) -> bytes:
    sides = b''.join(field(1, onnx_files._side(side)) for side in shape)
    tensor = varint(1, element) + field(2, sides)
    return field(1, name.encode()) + field(2, field(1, tensor))


class Foreign(Graph):
    """A graph with whatever inputs, outputs and weights, which it writes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[bytes] = []

    def weight(self, name: str, values: np.ndarray | float) -> str:
        return self.tensor(name, np.asarray(values, '<f4'), FLOAT)

    def tensor(self, name: str, array: np.ndarray, element: int) -> str:
        head = b''.join(varint(1, side) for side in array.shape) + varint(2, element)
        self.tensors.append(head + field(8, name.encode()) + field(9, array.tobytes()))
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        return self.tensor(name, np.asarray(values, '<i8'), INT64)

    def colours(self, name: str, values: Sequence[float], last: bool = False) -> str:
        shape = (1, 1, 1, -1) if last else (1, -1, 1, 1)
        return self.weight(name, np.reshape(values, shape))

    def normalised(
        self, source: str, mean: Sequence[float], std: Sequence[float], last: bool = False
    ) -> str:
        less = self.add('Sub', [source, self.colours('mean', mean, last)], 'less')
        return self.add('Div', [less, self.colours('std', std, last)], 'normalised')

    def squeezed(self, value: str, name: str, axes: Sequence[int]) -> str:
        return self.add('Squeeze', [value, self.integers(f'{name}.axes', axes)], name)

    def file(
        self,
        inputs: Sequence[tuple[str, Sides, int]],
        outputs: Sequence[tuple[str, Sides, int]],
        metadata: dict[str, str] | None = None,
    ) -> bytes:
        body = b''.join(field(1, node) for node in self.nodes) + field(2, b'main_graph')
        body += b''.join(field(5, tensor) for tensor in self.tensors)
        body += b''.join(field(11, value_info(*one)) for one in inputs)
        body += b''.join(field(12, value_info(*one)) for one in outputs)
        model = varint(1, 7) + field(2, b'pytorch') + field(7, body)
        model += field(8, field(1, b'') + varint(2, 13))
        for key, text in (metadata or {}).items():
            model += field(14, field(1, key.encode()) + field(2, text.encode()))
        return model

    def with_data_in(self, path: Path) -> None:
        """Move the numbers of all float32 weights into a second file."""
        data = b''
        moved = []
        for tensor in self.tensors:
            head, sign, rest = tensor.partition(b'\x10\x01\x42')  # type 1, then the name
            if not sign or b'.scales' in tensor:  # ONNX Runtime reads those before the data
                moved.append(tensor)
                continue
            length = rest[0]
            name, raw = rest[1 : 1 + length], rest[1 + length :]
            raw = raw[1:]  # the tag; then the length
            size = 0
            for shift, byte in enumerate(raw):
                size |= (byte & 0x7F) << 7 * shift
                if not byte & 0x80:
                    raw = raw[shift + 1 :]
                    break
            assert len(raw) == size
            place = {'location': path.name, 'offset': str(len(data)), 'length': str(size)}
            entries = b''.join(
                field(13, field(1, key.encode()) + field(2, text.encode()))
                for key, text in place.items()
            )
            moved.append(head + varint(2, FLOAT) + field(8, name) + entries + varint(14, 1))
            data += raw
        self.tensors = moved
        path.write_bytes(data)


def brightness(
    graph: Foreign,
    value: str,
    sign: int,
    name: str,
    patch: int = 1,
    weights: np.ndarray = WEIGHTS,
    bias: float = BIAS,
) -> str:
    """bias + sign * a mean of the colours, (1, 1, h, w), by patches where `patch` is above 1."""
    kernel = np.broadcast_to(sign * weights.reshape(1, 3, 1, 1) / patch**2, (1, 3, patch, patch))
    value = graph.convolution(value, f'{name}.embed', kernel, np.array([bias]), stride=patch)
    if patch > 1:
        value = graph.resize(value, f'{name}.up', (patch, patch), 'nearest')
    return value


def truth(
    rgb: Sequence[float],
    normalisation: tuple,
    sign: int,
    bias: float = BIAS,
    weights: np.ndarray = WEIGHTS,
) -> float:
    """What a toy gives for a picture of one colour, in float64."""
    mean, std = (np.array(part) for part in normalisation)
    return float(bias + sign * weights @ ((np.array(rgb) / 255 - mean) / std))
