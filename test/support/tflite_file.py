"""A TFLite file of one convolution, shaped as that of MiDaS, written with flatbuffers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flatbuffers
import numpy as np

CONV_2D, CONV_OPTIONS, RELU, FLOAT32 = 3, 1, 1, 0
SCHEMA, IDENTIFIER = 3, b'TFL3'


def one_convolution(
    kernel: np.ndarray, bias: np.ndarray, size: tuple[int, int], *, kind: int = FLOAT32
) -> bytes:
    """(1, h, w, 3) to (1, h, w, out) by a 1 x 1 convolution and ReLU; `kernel` (out, 1, 1, 3).

    Source: the schema of the format, tensorflow/compiler/mlir/lite/schema/schema.fbs.
    """
    builder = flatbuffers.Builder(1024)

    def table(*fields: Callable[[int], object] | None) -> int:
        builder.StartObject(len(fields))
        for slot, field in enumerate(fields):
            if field is not None:
                field(slot)
        return int(builder.EndObject())

    def offset(value: int) -> Callable[[int], object]:
        return lambda slot: builder.PrependUOffsetTRelativeSlot(slot, value, 0)

    def number(value: int) -> Callable[[int], object]:
        return lambda slot: builder.PrependInt32Slot(slot, value, 0)

    def byte(value: int) -> Callable[[int], object]:
        return lambda slot: builder.PrependInt8Slot(slot, value, 0)

    def ints(values: Sequence[int]) -> int:
        return int(builder.CreateNumpyVector(np.asarray(values, np.int32)))

    def tables(values: Sequence[int]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependUOffsetTRelative(value)
        return int(builder.EndVector())

    def tensor(name: str, shape: Sequence[int], buffer: int, of: int = FLOAT32) -> int:
        text, sides = builder.CreateString(name), ints(shape)
        return table(offset(sides), byte(of), number(buffer), offset(text))

    data = [
        builder.CreateNumpyVector(np.frombuffer(np.asarray(a, '<f4').tobytes(), np.uint8))
        for a in (kernel, bias)
    ]
    buffers = tables([table(), *(table(offset(each)) for each in data)])
    out = kernel.shape[0]
    tensors = tables(
        [
            tensor('sub_7', (1, *size, 3), 0, kind),
            tensor('kernel', kernel.shape, 1),
            tensor('bias', bias.shape, 2),
            tensor('conv2d_153', (1, *size, out), 0),
        ]
    )
    options = table(byte(0), number(1), number(1), byte(RELU))
    taken, given = ints([0, 1, 2]), ints([3])
    operator = table(number(0), offset(taken), offset(given), byte(CONV_OPTIONS), offset(options))
    operators, inputs, outputs = tables([operator]), ints([0]), ints([3])
    name = builder.CreateString('main')
    graph = table(offset(tensors), offset(inputs), offset(outputs), offset(operators), offset(name))
    code = table(byte(CONV_2D), None, number(1), number(CONV_2D))
    codes, graphs = tables([code]), tables([graph])
    model = table(number(SCHEMA), offset(codes), offset(graphs), None, offset(buffers))
    builder.Finish(model, IDENTIFIER)
    return bytes(builder.Output())
