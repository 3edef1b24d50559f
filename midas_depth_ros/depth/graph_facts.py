"""What the graph of a model file shows of its use, by the operations next to its input and output.

In: operations, constants, inputs and outputs, from an ONNX file or from OpenVINO. Out: which
normalisation is inside, the size of patches, and how the network ends. None of it says what the
output means: ReLU ends networks that give inverse depth, and others that give metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.onnx_reader import Operation, Value

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LEAST_PATCH = 8  # pixels: a kernel and stride of this size or more cut the picture into patches
NEAR = 0.02  # of the range: constants this near to ImageNet's means are those
LARGEST_UNIT_MEAN = 1.5  # means up to this are of colours 0 to 1
LEAST_BYTE_MEAN, MOST_BYTE_MEAN = 20.0, 256.0  # of colours 0 to 255
# What leaves the values of a picture as they are.
SAME = ('Identity', 'Cast', 'Resize', 'Upsample', 'Pad', 'Dropout', 'Clip')
# What may stand behind the last operation with a meaning.
TAIL = (*SAME, 'Squeeze', 'Unsqueeze', 'Reshape', 'Transpose', 'Slice', 'Flatten')
RESHAPING = ('Identity', 'Cast', 'Squeeze', 'Unsqueeze', 'Reshape')
MOST_PLANES = 8  # of a value that is still a picture
MOST_STEPS = 64  # of the way back from the output, and of the way to a constant

Constants = Callable[[str], 'NDArray[np.float64] | None']


@dataclass(frozen=True)
class GraphView:
    """A network's graph. `constants`: the values of a small constant, flat; None for others."""

    operations: Sequence[Operation]
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    constants: Constants
    kernels: Mapping[str, tuple[int, ...]]  # shapes of weights, by name


@dataclass(frozen=True)
class Channels:
    """A value that is made of the picture's colours: each channel is scale * colour + offset."""

    axis: int | None  # of the channels; None where it was dropped
    planes: tuple[tuple[int, float, float], ...]  # (colour, scale, offset)


@dataclass(frozen=True)
class Inside:
    """What the network does to the colours before its first convolution.

    `mean` and `std` are in the units of its input, in the order of its channels, None where it
    only scales. `unclear`: it does something else; the text says what.
    """

    range: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    colour: str = ''  # '' where nothing tells
    unclear: str = ''


@dataclass(frozen=True)
class GraphFacts:
    """What a graph shows. `patch`: side of the patches, 0 where it has none. `ending`: in words."""

    inside: Inside
    patch: int
    ending: str


def facts_of(graph: GraphView, source: str, channel_axis: int, output: str) -> GraphFacts:
    """Look at the graph from its input `source` and from its output."""
    constants = _with_nodes(graph)
    channels, kernel = _before_convolution(graph, source, channel_axis, constants)
    ending = _ending(graph, output, constants)
    return GraphFacts(_inside(channels) if channels else Inside(), _patch(kernel), ending)


# --- Constants, which some files keep in operations, and reshape.


def _with_nodes(graph: GraphView) -> Constants:
    makers = {name: o for o in graph.operations for name in o.outputs}

    def constant(name: str) -> NDArray[np.float64] | None:
        for _ in range(MOST_STEPS):
            found = graph.constants(name)
            if found is not None:
                return found
            maker = makers.get(name)
            if maker is None:
                return None
            if maker.kind == 'Constant':
                return _of_node(maker)
            if maker.kind not in RESHAPING or not maker.inputs:
                return None
            name = maker.inputs[0]
        return None

    return constant


def _of_node(operation: Operation) -> NDArray[np.float64] | None:
    tensor = operation.tensors.get('value')
    if tensor is not None:
        return small_values(tensor)
    floats = operation.floats('value_float') + operation.floats('value_floats')
    numbers = operation.numbers('value_int') + operation.numbers('value_ints')
    values = floats or numbers
    return np.array(values, np.float64) if values else None


def small_values(weight: object) -> NDArray[np.float64] | None:
    """The numbers of a small array, flat, in float64; None for a large one, or one not at hand."""
    shape = getattr(weight, 'shape', ())
    if math.prod(shape) > LARGEST_CONSTANT:
        return None
    try:
        array = weight.array()  # type: ignore[attr-defined]
    except ValueError:
        return None
    return np.asarray(array, np.float64).ravel()


LARGEST_CONSTANT = 64  # numbers


# --- From the input to the first convolution.


def _before_convolution(
    graph: GraphView, source: str, axis: int, constants: Constants
) -> tuple[Channels | None, tuple[tuple[int, ...], list[int]] | None]:
    """(what the first convolution gets, its kernel's sides and strides); None where unknown."""
    known = {source: Channels(axis, tuple((colour, 1.0, 0.0) for colour in range(3)))}
    for operation in graph.operations:
        found = [known[name] for name in operation.inputs if name in known]
        if not found:
            continue
        if operation.kind in ('Conv', 'Convolution'):
            kernel = tuple(operation.numbers('kernel_shape'))
            weights = ''.join(operation.inputs[1:2])  # none in a damaged file
            kernel = kernel or graph.kernels.get(weights, ())[2:]
            return found[0], (kernel, operation.numbers('strides'))
        try:
            results = list(_step(operation, found, known, constants))
        except (IndexError, ValueError, ZeroDivisionError, OverflowError):
            continue  # something that no picture has: the way ends here
        known.update(zip(operation.outputs, results, strict=False))
    return None, None


def _step(
    operation: Operation,
    found: Sequence[Channels],
    known: Mapping[str, Channels],
    constants: Constants,
) -> Iterator[Channels]:
    """What the operation makes of the colours, output by output; nothing where that is unknown."""
    first, kind = found[0], operation.kind
    if kind in SAME:
        yield first
    elif kind == 'Transpose':
        order = operation.numbers('perm')
        yield Channels(None if first.axis is None else order.index(first.axis), first.planes)
    elif kind in ('Squeeze', 'Unsqueeze', 'Reshape'):
        yield Channels(_moved(operation, first, constants), first.planes)
    elif kind in ('Add', 'Sub', 'Mul', 'Div'):
        yield _affine(operation, first, known, constants)
    elif kind == 'BatchNormalization':
        scale, shift, mean, variance = (_three(constants(name)) for name in operation.inputs[1:5])
        epsilon = (operation.floats('epsilon') or [1e-5])[0]
        factor = scale / np.sqrt(variance + epsilon)
        yield _changed(first, factor, shift - mean * factor)
    elif kind == 'Split':
        if _axis(operation, 0) % RANK[first.axis or 0] == first.axis:
            yield from (Channels(first.axis, (plane,)) for plane in first.planes)
    elif kind in ('Gather', 'Slice'):
        yield _picked(operation, first, constants)
    elif kind == 'Concat' and len(found) == len(operation.inputs):
        axis = _axis(operation, 1)
        if sum(len(each.planes) for each in found) > MOST_PLANES:
            raise ValueError('more channels than a picture has')
        planes = tuple(plane for each in found for plane in each.planes)
        yield Channels(axis if axis >= 0 else 4 + axis, planes)


RANK = {0: 3, 1: 4, 2: 5, 3: 4}  # axes of a picture, by that of its channels


def _axis(operation: Operation, default: int) -> int:
    return (operation.numbers('axis') or [default])[0]


def _moved(operation: Operation, channels: Channels, constants: Constants) -> int | None:
    """The axis of the channels after axes came or went."""
    axis = channels.axis
    given = constants(operation.inputs[1]) if len(operation.inputs) > 1 else None
    numbers = operation.numbers('axes') if given is None else [int(each) for each in given]
    if operation.kind == 'Reshape':
        return numbers.index(3) if numbers.count(3) == 1 else axis
    if axis is None:
        return numbers[0] if operation.kind == 'Unsqueeze' else None
    before = sum(0 <= each <= axis for each in numbers)
    return axis + before if operation.kind == 'Unsqueeze' else axis - before


def _three(values: NDArray[np.float64] | None, count: int = 3) -> NDArray[np.float64]:
    """One number for each channel; ValueError for anything else."""
    if values is None or values.size not in (1, count) or not np.isfinite(values).all():
        raise ValueError('not one number for each channel')
    return np.broadcast_to(values, (count,))


def _affine(
    operation: Operation,
    channels: Channels,
    known: Mapping[str, Channels],
    constants: Constants,
) -> Channels:
    left, right = operation.inputs[:2]
    swapped = left not in known
    values = _three(constants(left if swapped else right), len(channels.planes))
    ones = np.ones_like(values)
    if operation.kind == 'Add':
        return _changed(channels, ones, values)
    if operation.kind == 'Mul':
        return _changed(channels, values, 0 * ones)
    if operation.kind == 'Sub':
        return _changed(channels, -ones if swapped else ones, values if swapped else -values)
    if swapped or not values.all():
        raise ValueError('a number divided by a picture, or a picture by 0')
    return _changed(channels, 1 / values, 0 * ones)


def _changed(
    channels: Channels, factors: NDArray[np.float64], shifts: NDArray[np.float64]
) -> Channels:
    planes = tuple(
        (colour, scale * factor, offset * factor + shift)
        for (colour, scale, offset), factor, shift in zip(
            channels.planes, factors.tolist(), shifts.tolist(), strict=True
        )
    )
    return Channels(channels.axis, planes)


def _picked(operation: Operation, channels: Channels, constants: Constants) -> Channels:
    """Some of the channels, or a part of the picture."""

    def numbers(name: str, place: int) -> list[int]:
        if own := operation.numbers(name):
            return own
        given = constants(operation.inputs[place]) if len(operation.inputs) > place else None
        return [] if given is None else [int(each) for each in given]

    if operation.kind == 'Gather':
        if _axis(operation, 0) % RANK[channels.axis or 0] != channels.axis:
            raise ValueError('another axis')
        picked = [channels.planes[index] for index in numbers('indices', 1)[:MOST_PLANES]]
        return Channels(channels.axis if len(picked) > 1 else None, tuple(picked))
    starts, ends = numbers('starts', 1), numbers('ends', 2)
    axes, steps = numbers('axes', 3) or range(len(starts)), numbers('steps', 4)
    planes = channels.planes
    for place, axis in enumerate(axes):
        if axis % RANK[channels.axis or 0] == channels.axis:
            step = steps[place] if steps else 1
            # An end far below 0 means: up to the first one.
            end = None if step < 0 and ends[place] < -len(planes) else ends[place]
            planes = planes[starts[place] : end : step]
    return Channels(channels.axis, planes)


def _patch(found: tuple[tuple[int, ...], list[int]] | None) -> int:
    if found is None:
        return 0
    kernel, strides = found
    square = len(set(kernel)) == 1 and list(kernel) == strides[: len(kernel)]
    return kernel[0] if square and kernel[0] >= LEAST_PATCH else 0


def _inside(channels: Channels) -> Inside:
    """The normalisation that the channels have gone through."""
    planes = channels.planes
    if sorted(colour for colour, _, _ in planes) != [0, 1, 2]:
        return Inside()
    reversed_ = [colour for colour, _, _ in planes] == [2, 1, 0]
    swapped = 'bgr' if reversed_ else ''
    by_colour = sorted(planes)
    scales = np.array([scale for _, scale, _ in by_colour])
    offsets = np.array([offset for _, _, offset in by_colour])
    if not np.isfinite([*scales, *offsets]).all() or not scales.all():
        return Inside()
    if np.allclose(scales, 1, atol=1e-6) and np.allclose(offsets, 0, atol=1e-6):
        return Inside(colour=swapped)
    mean, std = -offsets / scales, 1 / scales
    if np.allclose(mean, 0, atol=1e-6):
        if np.allclose(std, 255, rtol=0.01):
            return Inside(range=255, colour=swapped)
        return Inside(unclear=f'it divides the colours by {_listed(std)} and does nothing else')
    largest = float(np.abs(mean).max())
    if largest <= LARGEST_UNIT_MEAN:
        unit = 1
    elif LEAST_BYTE_MEAN <= largest <= MOST_BYTE_MEAN:
        unit = 255
    else:
        return Inside(unclear=f'it subtracts {_listed(mean)}, which are means of no colours')
    colour = swapped
    for name, wanted in (('rgb', IMAGENET_MEAN), ('bgr', IMAGENET_MEAN[::-1])):
        if np.allclose(mean / unit, wanted, atol=NEAR):
            colour = name
    return Inside(unit, tuple(mean.tolist()), tuple(std.tolist()), colour)


def _listed(values: NDArray[np.float64]) -> str:
    return ', '.join(f'{value:.4g}' for value in values)


# --- From the output back to what gives it its meaning.


def _ending(graph: GraphView, output: str, constants: Constants) -> str:
    """The last operation with a meaning: 'Relu', 'Sigmoid', 'Sigmoid times 20', 'Exp', ..."""
    makers = {name: o for o in graph.operations for name in o.outputs}
    factor = 1.0
    name = output
    for _ in range(MOST_STEPS):
        operation = makers.get(name)
        if operation is None or not operation.inputs:
            return ''
        if operation.kind in TAIL:
            name = operation.inputs[0]
            continue
        if operation.kind in ('Mul', 'Div') and len(operation.inputs) > 1:
            sides = [constants(side) for side in operation.inputs[:2]]
            numbers = [each for each in sides if each is not None and each.size == 1]
            value = float(numbers[0][0]) if len(numbers) == 1 else 0.0
            if operation.kind == 'Div' and sides[0] is not None:
                return 'Reciprocal'
            if value > 0:
                factor *= value if operation.kind == 'Mul' else 1 / value
                name = operation.inputs[0 if sides[0] is None else 1]
                continue
        times = '' if abs(factor - 1) < 1e-3 else f' times {factor:g}'
        return f'{operation.kind}{times}'
    return ''
