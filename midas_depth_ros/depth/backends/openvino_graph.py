"""The graph of an OpenVINO model in the words of ONNX, so that the same rules look at both.

In: an `ov.Model`. Out: a `GraphView`, of which only what lies next to input and output is
translated exactly; other operations keep their OpenVINO name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from midas_depth_ros.depth.graph_facts import LARGEST_CONSTANT, GraphView
from midas_depth_ros.depth.onnx_files import Side
from midas_depth_ros.depth.onnx_reader import ANY_SIDE, ELEMENTS, Operation, Value

KINDS = {
    'Convolution': 'Conv',
    'GroupConvolution': 'Conv',
    'Subtract': 'Sub',
    'Multiply': 'Mul',
    'Divide': 'Div',
    'Convert': 'Cast',
    'Interpolate': 'Resize',
    'ReLU': 'Relu',
    'Clamp': 'Clip',
    'VariadicSplit': 'Split',
    'TensorIterator': 'Loop',
}
TYPES = {
    'f32': 'float32', 'f16': 'float16', 'f64': 'float64', 'bf16': 'bfloat16', 'u8': 'uint8',
    'i8': 'int8', 'i16': 'int16', 'u16': 'uint16', 'i32': 'int32', 'i64': 'int64',
    'u32': 'uint32', 'u64': 'uint64', 'boolean': 'bool',
}  # fmt: skip
NUMBERS = {name: number for number, name in ELEMENTS.items()}
# Attributes of ONNX that are inputs here: kind, place, name.
AS_INPUT = {'Transpose': (1, 'perm'), 'Split': (1, 'axis'), 'Gather': (2, 'axis')}
INTS = 8  # the field of a list of whole numbers


def view_of(model: ov.Model) -> GraphView:
    """Translate the model."""
    operations: list[Operation] = []
    values: dict[str, NDArray[np.float64]] = {}
    kernels: dict[str, tuple[int, ...]] = {}
    inputs, outputs = [], []
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        made = [_place(node, number) for number in range(node.get_output_size())]
        if kind == 'Constant':
            kernels[made[0]] = tuple(node.get_output_shape(0))
            small = 0 < np.prod(kernels[made[0]], initial=1) <= LARGEST_CONSTANT
            array = _array(node) if small else None
            if array is not None:
                values[made[0]] = array
            continue
        if kind == 'Parameter':
            value = _value(node.output(0), node.get_friendly_name())
            inputs.append(value)
            operations.append(Operation('Identity', (value.name,), tuple(made), ()))
            continue
        taken = tuple(
            _place(port.get_source_output().get_node(), port.get_source_output().get_index())
            for port in node.inputs()
        )
        if kind == 'Result':
            value = _value(node.output(0), taken[0])
            outputs.append(value)
            operations.append(Operation('Identity', taken, (value.name,), ()))
            continue
        operations.append(_operation(KINDS.get(kind, kind), node, taken, tuple(made), values))
    order = {_name(port, ''): number for number, port in enumerate(model.outputs)}
    outputs.sort(key=lambda value: order.get(value.name, len(order)))
    return GraphView(operations, inputs, outputs, values.get, kernels)


def _place(node: Any, number: int) -> str:
    return f'{node.get_name()}:{number}'  # unique, other than its friendly name


def _array(node: Any) -> NDArray[np.float64] | None:
    try:
        return np.asarray(node.data, np.float64).ravel()
    except (RuntimeError, TypeError, ValueError):  # types of fewer than 8 bits
        return None


def _name(port: Any, otherwise: str) -> str:
    return next(iter(sorted(port.get_names())), otherwise)


def _value(port: Any, otherwise: str) -> Value:
    shape = port.get_partial_shape()
    sides: list[Side] = []
    if shape.rank.is_static:
        sides = [ANY_SIDE if side.is_dynamic else side.get_length() for side in shape]
    kind = TYPES.get(port.get_element_type().get_type_name(), '')
    return Value(_name(port, otherwise), NUMBERS.get(kind, 0), tuple(sides))


def _operation(
    kind: str,
    node: Any,
    taken: tuple[str, ...],
    made: tuple[str, ...],
    values: dict[str, NDArray[np.float64]],
) -> Operation:
    """An operation with the attributes that the rules read, as ONNX has them."""
    attributes: list[tuple[str, Any]] = []
    if kind in AS_INPUT:
        place, name = AS_INPUT[kind]
        if len(taken) > place and taken[place] in values:
            attributes.append((name, _ints(values[taken[place]])))
            taken = taken[:1] if kind != 'Gather' else taken[:2]
    elif kind == 'Conv':
        given = node.get_attributes()
        attributes.append(('strides', _ints(given.get('strides', []))))
        shape = node.input(1).get_partial_shape()
        if shape.is_static:
            attributes.append(('kernel_shape', _ints(tuple(shape.to_shape())[-2:])))
    elif kind == 'Concat':
        attributes.append(('axis', _ints([node.get_attributes().get('axis', 1)])))
    elif kind == 'Slice' and len(taken) == 5:  # start, stop, step, axes: ONNX has the axes first
        taken = (*taken[:3], taken[4], taken[3])
    return Operation(kind, taken, made, tuple(attributes))


def _ints(values: Any) -> list[list[int]]:
    return [[INTS, int(each) & (1 << 64) - 1] for each in np.atleast_1d(np.asarray(values))]
