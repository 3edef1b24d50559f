"""Layers of ONNX graphs against their torch form, and the bytes in which numbers are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.depth.models.dpt_graph import DptGraph
from midas_depth_ros.depth.models.state_graph import StateGraph
from midas_depth_ros.depth.onnx_files import Graph
from midas_depth_ros.depth.onnx_reader import read_onnx

RNG = np.random.default_rng(0)
Arrays = dict[str, np.ndarray]


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def run(graph: Graph, picture: np.ndarray, result: str) -> np.ndarray:
    ort = pytest.importorskip('onnxruntime')
    graph.add('Identity', [result], 'depth')
    free = [f'side {axis}' for axis in range(4)]
    model = graph.to_bytes('picture', picture.shape, 'depth', free[: picture.ndim])
    found = read_onnx(model)
    assert not found.unexpected
    assert found.operator_sets == [('', graph.operator_set)]
    session = ort.InferenceSession(model, providers=['CPUExecutionProvider'])
    return np.asarray(session.run(None, {'picture': picture})[0])


def test_a_transposed_convolution_whose_stride_is_its_kernel() -> None:
    torch = pytest.importorskip('torch')
    state, picture = {'up.weight': numbers(5, 3, 4, 4), 'up.bias': numbers(3)}, numbers(1, 5, 3, 2)
    graph = StateGraph(state)
    found = run(graph, picture, graph.enlarged('picture', 'up'))
    kernel, bias = map(torch.from_numpy, state.values())
    wanted = torch.conv_transpose2d(torch.from_numpy(picture), kernel, bias, stride=4)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize('with_bias', [False, True])
def test_a_transposed_convolution_with_output_padding(with_bias: bool) -> None:
    torch = pytest.importorskip('torch')
    kernel, picture = numbers(5, 3, 3, 3), numbers(1, 5, 3, 4)
    bias = numbers(3) if with_bias else None
    graph = StateGraph({})
    found = run(graph, picture, graph.doubled_by('picture', 'up', kernel, bias))
    wanted = torch.conv_transpose2d(
        torch.from_numpy(picture), torch.from_numpy(kernel),
        None if bias is None else torch.from_numpy(bias), stride=2, padding=1, output_padding=1,
    )  # fmt: skip
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_linear_layer_takes_over_the_norm_before_it_and_the_factor_behind_it() -> None:
    state = {
        'norm.weight': numbers(6), 'norm.bias': numbers(6),
        'layer.weight': numbers(4, 6), 'layer.bias': numbers(4),
    }  # fmt: skip
    tokens, factor = numbers(1, 3, 6), numbers(4)
    graph = StateGraph(state)
    value = graph.normed('picture', 'norm', 6, 1e-6)
    found = run(graph, tokens, graph.linear(value, 'layer', 'norm', factor))
    less = tokens - tokens.mean(2, keepdims=True)
    normed = less / np.sqrt(tokens.var(2, keepdims=True) + 1e-6)
    normed = normed * state['norm.weight'] + state['norm.bias']
    wanted = (normed @ state['layer.weight'].T + state['layer.bias']) * factor
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    plain = StateGraph(state)
    kept = plain.linear(plain.layer_norm('picture', 'norm', 1e-6), 'layer')
    np.testing.assert_allclose(run(plain, tokens, kept) * factor, wanted, atol=1e-5)


def test_gelu_is_the_exact_one() -> None:
    values = np.linspace(-4, 4, 99, dtype=np.float32)[np.newaxis]
    graph = StateGraph({})
    found = run(graph, values, graph.gelu('picture'))
    wanted = [[x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in map(float, values[0])]]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize('biased', [False, True])
def test_attention_mixes_values_by_likeness(biased: bool) -> None:
    tokens, bias = numbers(1, 2, 5, 3), numbers(1, 2, 5, 5)
    graph = StateGraph({})
    key = graph.transposed('picture', 'key', (0, 1, 3, 2))
    extra = graph.weight('bias', bias) if biased else ''
    mixed = graph.attention('picture', key, 'picture', 'attention', 0.5, extra)
    found = run(graph, tokens, mixed)
    likeness = 0.5 * tokens @ tokens.swapaxes(2, 3) + (bias if biased else 0)
    shares = np.exp(likeness)
    wanted = shares / shares.sum(3, keepdims=True) @ tokens
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize('corners', [False, True])
@pytest.mark.parametrize('sides', [(3, 4), (5, 8)])
def test_features_are_resized_to_the_sides_of_others(sides: tuple[int, int], corners: bool) -> None:
    torch = pytest.importorskip('torch')
    picture = numbers(1, 3, 3, 4)
    graph = StateGraph({})
    wanted_sides = graph.sides(graph.weight('like', np.zeros((1, 1, *sides))), 'sides')
    found = run(graph, picture, graph.resized('picture', 'up', 3, wanted_sides, corners))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(picture), sides, mode='bilinear', align_corners=corners
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize('rectified', [False, True])
@pytest.mark.parametrize('mixed', [False, True])
@pytest.mark.parametrize('odd', [False, True])
def test_the_decoder_and_head_are_those_of_torch(rectified: bool, mixed: bool, odd: bool) -> None:
    torch = pytest.importorskip('torch')
    from midas_depth_ros.depth.models.dpt_torch import Decoder, head

    taken = (4, 5, 6)

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scratch = Decoder(taken, 8, rectified, mixed)
            self.head = head(8, 3, corners=rectified)

    both = Both().eval()
    with torch.no_grad():
        for each in both.parameters():
            each.copy_(torch.from_numpy(0.1 + 0.2 * numbers(*each.shape)))
        both.head[4].weight.abs_()  # or all might be below 0
    state = {key: value.numpy() for key, value in both.state_dict().items()}
    sizes = ((12, 20), (6, 10), (2, 5) if odd else (3, 5))
    picture = numbers(1, sum(taken), *sizes[0])
    graph = DptGraph(state)
    features, tensors, first = [], [], 0
    for place, (count, size) in enumerate(zip(taken, sizes, strict=True)):
        part = graph.sliced('picture', f'part {place}', first, first + count)
        part = graph.sliced(part, f'rows {place}', 0, size[0], axis=2)
        features.append(graph.sliced(part, f'columns {place}', 0, size[1], axis=3))
        tensors.append(torch.from_numpy(picture[:, first : first + count, : size[0], : size[1]]))
        first += count
    path = graph.decoder(features, 'scratch', odd=odd, rectified=rectified, mixed=mixed)
    found = run(graph, picture, graph.head(path, 'head', 'last', corners=rectified))
    with torch.inference_mode():
        wanted = both.head(both.scratch.joined(tensors))
    assert wanted.std() > 1e-3
    np.testing.assert_allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_numbers_below_0_and_views_are_kept() -> None:
    graph = Graph()
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    graph.weight('turned', table.T)
    graph.integers('shape', (1, -1, 2**62))
    model = read_onnx(graph.to_bytes('x', (1,), 'y', (1,)))
    np.testing.assert_array_equal(model.weights[0].array(), table.T)
    (constant,) = model.operations
    found = [number for field, number in constant.attributes[0][1] if field == 8]
    assert np.array(found, np.uint64).astype(np.int64).tolist() == [1, -1, 2**62]


def test_what_belongs_to_the_network_is_in_its_fingerprint() -> None:
    """A network that gives up to 20 m is another than one that gives up to 80 m."""
    prints = set()
    for metres in (20.0, 80.0):
        graph = StateGraph({})
        graph.add('Mul', ['x', graph.constant('farthest', metres)], 'y')
        prints.add(read_onnx(graph.to_bytes('x', (1,), 'y', (1,))).fingerprint())
    assert len(prints) == 2
