"""Files of every convention in the field, each read rightly: exact numbers, and near stays near.

Each is a small network of the same names, shapes, element types, normalisation and ending as the
published one, which sees brightness: dark is near (`support/foreign_networks.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_networks import (
    BIAS,
    DOUBLE,
    FLOAT,
    HALF,
    HALVES,
    IMAGENET,
    PLAIN,
    UINT8,
    WEIGHTS,
    Foreign,
    brightness,
    truth,
)

from midas_depth_ros.depth import load_estimator
from midas_depth_ros.depth.errors import WeightsMismatch
from midas_depth_ros.depth.files import sha256_of
from midas_depth_ros.depth.known_files import KNOWN_FILES

READERS = ('onnxruntime', 'openvino')
DARK, BRIGHT = (40, 60, 90), (230, 200, 160)  # the floor in front, and what is above
PICTURE = np.empty((240, 320, 3), np.uint8)
PICTURE[:120], PICTURE[120:] = BRIGHT, DARK
NEAREST_M, FARTHEST_M = 0.1, 100.0
GENTLE = WEIGHTS / 8  # where what follows is far from straight
INVERSE, DEPTH = -1, 1  # signs of brightness: what the toy gives is larger for dark, or for bright


@dataclasses.dataclass(frozen=True)
class Convention:
    """How files of one kind are made and what they are to give.

    `make(folder, sign)`: writes the file. `answer`: relative inverse depth of a colour.
    `given`: what has to be stated, by parameters. `known`: a row of the table, by its SHA-256.
    """

    make: Callable[[Path, int], Path]
    answer: Callable[[tuple[int, int, int]], float]
    sign: int = INVERSE
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    known: str = ''
    assumed: frozenset[str] = frozenset()
    readers: tuple[str, ...] = READERS


def as_file(folder: Path, content: bytes, name: str = 'model.onnx') -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def inverse(normalisation: tuple = IMAGENET) -> Callable[[tuple[int, int, int]], float]:
    return lambda rgb: truth(rgb, normalisation, INVERSE)


def of_depth(
    normalisation: tuple = IMAGENET, change: Callable[[float], float] = lambda depth: depth
) -> Callable[[tuple[int, int, int]], float]:
    return lambda rgb: 1 / change(truth(rgb, normalisation, DEPTH))


def simple(
    source: str,
    result: str,
    shape: tuple[Any, ...],
    *,
    inside: tuple | None = None,
    patch: int = 1,
    squeezed: bool = False,
    element: int = FLOAT,
    result_shape: tuple[Any, ...] = (),
    name: str = 'model.onnx',
) -> Callable[[Path, int], Path]:
    """One input and one output, which ends in Relu."""

    def make(folder: Path, sign: int) -> Path:
        graph = Foreign()
        value = source
        if element != FLOAT:
            value = graph.add('Cast', [value], 'as_float', to=FLOAT)
        if inside is not None:
            value = graph.normalised(value, *inside)
        value = brightness(graph, value, sign, 'toy', patch)
        value = graph.add('Relu', [value], 'relu')
        shape_out = (1, *shape[2:]) if squeezed else (1, 1, *shape[2:])
        if squeezed:
            value = graph.squeezed(value, 'squeezed', (1,))
        value = graph.add('Cast', [value], result, to=HALF if element == HALF else FLOAT)
        out = (result, result_shape or shape_out, HALF if element == HALF else FLOAT)
        return as_file(folder, graph.file([(source, shape, element)], [out]), name)

    return make


def scaled(normalisation: tuple, factor: float) -> tuple:
    return tuple(tuple(factor * each for each in part) for part in normalisation)


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def depth_anything_metric(most: float, name: str) -> Callable[[Path, int], Path]:
    def make(folder: Path, sign: int) -> Path:
        graph = Foreign()
        value = brightness(graph, 'image', sign, 'toy', 14, weights=GENTLE, bias=-1.0)
        value = graph.add('Sigmoid', [value], 'sigmoid')
        value = graph.add('Mul', [value, graph.weight('most', most)], 'metres')
        graph.squeezed(value, 'depth', (1,))
        shape = ('batch', 3, '14*h', '14*w')
        out = ('depth', ('batch', 'H', 'W'), FLOAT)
        return as_file(folder, graph.file([('image', shape, FLOAT)], [out]), name)

    return make


def sigmoid_metres(most: float) -> Callable[[tuple[int, int, int]], float]:
    return lambda rgb: 1 / (most * sigmoid(truth(rgb, IMAGENET, DEPTH, -1.0, GENTLE)))


def onnx_community(element: int = FLOAT) -> Callable[[Path, int], Path]:
    """The transformers export: every side is free, a configuration lies beside its folder."""

    def make(folder: Path, sign: int) -> Path:
        shape = ('batch_size', 'num_channels', 'height', 'width')
        make_model = simple(
            'pixel_values', 'predicted_depth', shape, patch=14, element=element,
            result_shape=('batch_size', 'h', 'w'), name='onnx/model.onnx', squeezed=True,
        )  # fmt: skip
        config = {
            'do_normalize': True, 'image_mean': IMAGENET[0], 'image_std': IMAGENET[1],
            'do_rescale': True, 'rescale_factor': 0.00392156862745098, 'resample': 3,
            'size': {'height': 518, 'width': 518}, 'keep_aspect_ratio': True,
            'ensure_multiple_of': 14,
        }  # fmt: skip
        (folder / 'preprocessor_config.json').write_text(json.dumps(config))
        return make_model(folder, sign)

    return make


def two_outputs(
    source: str,
    shape: tuple[Any, ...],
    depth: str,
    other: str,
    *,
    inside: tuple | None = None,
    ending: str = 'Relu',
    name: str = 'model.onnx',
) -> Callable[[Path, int], Path]:
    """Depth, and another map of the same size before it."""

    def make(folder: Path, sign: int) -> Path:
        graph = Foreign()
        value = graph.normalised(source, *inside) if inside else source
        brightness(graph, value, 1, other, weights=np.zeros(3))
        graph.add('Relu', [f'{other}.embed'], other)
        graph.add(ending, [brightness(graph, value, sign, 'toy')], depth)
        sides = (1, 1, *shape[-2:])
        outputs = [(other, sides, FLOAT), (depth, sides, FLOAT)]
        return as_file(folder, graph.file([(source, shape, FLOAT)], outputs), name)

    return make


def depth_anything_3(folder: Path, sign: int) -> Path:
    """Five axes, weights in a second file, and the ending of its authors: exp."""
    graph = Foreign()
    value = graph.squeezed('pixel_values', 'one', (0,))
    value = graph.add(
        'Exp', [brightness(graph, value, sign, 'toy', 14, weights=GENTLE, bias=0.5)], 'exp'
    )
    graph.add('Unsqueeze', [value, graph.integers('front', (0,))], 'predicted_depth')
    graph.with_data_in(folder / 'model.onnx_data')
    shape = ('batch_size', 'num_images', 3, 'height', 'width')
    out = ('predicted_depth', ('batch_size', 'num_images', 'one', 'h', 'w'), FLOAT)
    return as_file(folder, graph.file([('pixel_values', shape, FLOAT)], [out]))


def channels_last(folder: Path, sign: int) -> Path:
    """As converters to TFLite and back leave it: channels last outside, first inside."""
    graph = Foreign()
    value = graph.add('Transpose', ['image'], 'first', perm=(0, 3, 1, 2))
    value = graph.add('Relu', [brightness(graph, value, sign, 'toy')], 'relu')
    graph.add('Transpose', [value], 'depth', perm=(0, 2, 3, 1))
    out = ('depth', (1, 64, 96, 1), FLOAT)
    path = as_file(folder, graph.file([('image', (1, 64, 96, 3), FLOAT)], [out]))
    (folder / 'model.yaml').write_text(
        'colour: rgb\nrange: 255\nmean: 115\nstd: 58\noutput_meaning: inverse_depth\n'
    )
    return path


def by_channel(folder: Path, sign: int) -> Path:
    """Blue, green, red from 0 to 255, swapped by Split and Concat, normalised by BatchNorm."""
    graph = Foreign()
    axis = {'axis': 1}
    node = b''.join(
        [onnx_field(1, b'image'), *(onnx_field(2, name) for name in (b'b', b'g', b'r'))]
    )
    node += onnx_field(4, b'Split') + onnx_field(5, attribute('axis', axis['axis']))
    graph.nodes.append(node)
    graph.add('Concat', ['r', 'g', 'b'], 'rgb', axis=1)
    mean, std = (255 * np.array(part) for part in IMAGENET)
    parts = {'scale': np.ones(3), 'shift': np.zeros(3), 'mean': mean, 'variance': std**2 - 1e-5}
    names = [graph.weight(name, values) for name, values in parts.items()]
    value = graph.add('BatchNormalization', ['rgb', *names], 'normal', epsilon=1e-5)
    graph.add('Relu', [brightness(graph, value, sign, 'toy')], 'depth')
    inputs = [('image', (1, 3, 64, 96), FLOAT)]
    return as_file(folder, graph.file(inputs, [('depth', (1, 1, 64, 96), FLOAT)]))


def gathered(folder: Path, sign: int) -> Path:
    """Blue, green, red from 0 to 255: divided, put in order by Gather, normalised."""
    graph = Foreign()
    value = graph.add('Mul', ['image', graph.weight('unit', 1 / 255)], 'unit_colours')
    value = graph.add('Gather', [value, graph.integers('order', (2, 1, 0))], 'rgb', axis=-3)
    value = graph.normalised(value, *IMAGENET)
    graph.add('Relu', [brightness(graph, value, sign, 'toy')], 'depth')
    inputs = [('image', (1, 3, 64, 96), FLOAT)]
    return as_file(folder, graph.file(inputs, [('depth', (1, 1, 64, 96), FLOAT)]))


def bytes_last(folder: Path, sign: int) -> Path:
    """Bytes, channels last, as cameras give them: all inside, the order reversed by Slice."""
    graph = Foreign()
    value = graph.add('Cast', ['image'], 'as_float', to=FLOAT)
    names = [
        graph.integers(name, [number])
        for name, number in (('start', -1), ('end', -(2**63)), ('axis', -1), ('step', -1))
    ]
    value = graph.add('Slice', [value, *names], 'rgb')
    value = graph.normalised(value, *scaled(IMAGENET, 255), last=True)
    value = graph.add('Transpose', [value], 'first', perm=(0, 3, 1, 2))
    value = graph.add('Relu', [brightness(graph, value, sign, 'toy')], 'relu')
    graph.squeezed(value, 'depth', (1,))
    inputs = [('image', (1, 64, 96, 3), UINT8)]
    return as_file(folder, graph.file(inputs, [('depth', (1, 64, 96), FLOAT)]))


def attribute(name: str, value: int) -> bytes:
    from midas_depth_ros.depth import onnx_files

    return onnx_files._attribute(name, value)


def onnx_field(number: int, payload: bytes) -> bytes:
    from midas_depth_ros.depth import onnx_files

    return onnx_files._field(number, payload)


def openvino_of(make: Callable[[Path, int], Path]) -> Callable[[Path, int], Path]:
    """The same as OpenVINO's two files, as its own converter writes them: in half precision."""

    def converted(folder: Path, sign: int) -> Path:
        ov = pytest.importorskip('openvino')
        model = ov.Core().read_model(make(folder / 'source', sign))
        ov.save_model(model, folder / 'model.xml', compress_to_fp16=False)
        return folder / 'model.xml'

    return converted


def open_model_zoo(folder: Path, sign: int) -> Path:
    """Midasnet of the Open Model Zoo: blue, green, red from 0 to 255, mean and scale inside."""
    ov = pytest.importorskip('openvino')
    graph = Foreign()
    mean, std = ((123.675, 116.28, 103.53), (51.525, 50.4, 50.625))
    value = graph.normalised('image', mean[::-1], std[::-1])
    value = brightness(graph, value, sign, 'toy', weights=WEIGHTS[::-1])
    value = graph.add('Relu', [value], 'relu')
    graph.squeezed(value, 'inverse_depth', (1,))
    content = graph.file(
        [('image', (1, 3, 96, 96), FLOAT)], [('inverse_depth', (1, 96, 96), FLOAT)]
    )
    ov.save_model(ov.Core().read_model(content), folder / 'midasnet.xml', compress_to_fp16=False)
    return folder / 'midasnet.xml'


def tflite(folder: Path, sign: int) -> Path:
    """MiDaS's own model_opt.tflite: channels last, (v - 115) / 58 in its sample."""
    pytest.importorskip('flatbuffers')
    from tflite_file import one_convolution

    kernel = sign * WEIGHTS.astype(np.float32).reshape(1, 1, 1, 3)
    content = one_convolution(kernel, np.array([BIAS], np.float32), (64, 96))
    return as_file(folder, content, 'model_opt.tflite')


ZOO = scaled(((123.675, 116.28, 103.53), (51.525, 50.4, 50.625)), 1 / 255)
COLOURS = frozenset({'range', 'mean', 'std', 'colour'})
MEANING = frozenset({'output_meaning'})
FREE = (1, 3, 'height', 'width')
CONVENTIONS: dict[str, Convention] = {
    'midas model-small': Convention(
        simple('0', '797', (1, 3, 256, 256), inside=IMAGENET, squeezed=True),
        inverse(),
        assumed=MEANING,
    ),
    'midas model-small, by its hash': Convention(
        simple('0', '797', (1, 3, 256, 256), inside=IMAGENET, squeezed=True),
        inverse(),
        known='2d8c6cb8f415229daf1eb041024208e2608c9f98e17c81cc7c6ecb449c56fd58',
    ),
    'midas model-f6b98070': Convention(
        simple('0', '1195', (1, 3, 384, 384), inside=IMAGENET, squeezed=True),
        inverse(),
        assumed=MEANING,
    ),
    'midas for openvino': Convention(
        openvino_of(simple('0', '797', (1, 3, 256, 256), squeezed=True)),
        inverse(),
        assumed=MEANING | COLOURS,
        readers=('openvino',),
    ),
    'open model zoo': Convention(
        open_model_zoo, inverse(ZOO), assumed=MEANING, readers=('openvino',)
    ),
    'channels last': Convention(
        channels_last, inverse(((115 / 255,) * 3, (58 / 255,) * 3))
    ),
    'midas for tflite, by its hash': Convention(
        tflite,
        inverse(((115 / 255,) * 3, (58 / 255,) * 3)),
        known='93d871071edff1218973ce25ee27ce95ccd20450c70a55e1b89efa3f5a772cdd',
        readers=('openvino',),
    ),
    'a tflite file, told': Convention(
        tflite,
        inverse(),
        given={'output_meaning': 'inverse_depth'},
        assumed=COLOURS,
        readers=('openvino',),
    ),
    'depth anything, fixed': Convention(
        simple('image', 'depth', (1, 3, 518, 518), patch=14, squeezed=True),
        inverse(),
        assumed=MEANING | COLOURS,
    ),
    'depth anything, free': Convention(
        simple(
            'image', 'depth', ('batch', 3, '14*h', '14*w'), patch=14, squeezed=True,
            result_shape=('batch', 'H', 'W'),
        ),
        inverse(),
        assumed=MEANING | COLOURS,
    ),
    'depth anything, free, by its hash': Convention(
        simple('image', 'depth', ('batch', 3, '14*h', '14*w'), patch=14, squeezed=True),
        inverse(),
        known='46c4e8eeda3a27f34701831b6a2ec7753d7b38779b215acb5633424703deed8f',
    ),
    'depth anything indoor': Convention(
        depth_anything_metric(20.0, 'depth_anything_v2_vits_indoor_dynamic.onnx'),
        sigmoid_metres(20.0),
        DEPTH,
        given={'output_meaning': 'metres'},
        assumed=COLOURS,
    ),
    'depth anything indoor, by its hash': Convention(
        depth_anything_metric(20.0, 'some.onnx'),
        sigmoid_metres(20.0),
        DEPTH,
        known='2e25a3f332b34d885a1b3059cab471f7916a36099325810821b2d6e0471f74ad',
    ),
    'depth anything outdoor': Convention(
        depth_anything_metric(80.0, 'depth_anything_v2_vits_outdoor_dynamic.onnx'),
        sigmoid_metres(80.0),
        DEPTH,
        given={'output_meaning': 'metres'},
        assumed=COLOURS,
    ),
    'depth anything v1': Convention(
        simple('image', 'depth', FREE, patch=14), inverse(), assumed=MEANING | COLOURS
    ),
    'transformers': Convention(
        onnx_community(), inverse(), assumed=MEANING | {'colour'}
    ),
    'transformers, half': Convention(
        onnx_community(HALF), inverse(), assumed=MEANING | {'colour'}
    ),
    'transformers, dpt': Convention(
        simple('pixel_values', 'predicted_depth', (1, 3, 96, 96), squeezed=True),
        inverse(HALVES),
        assumed=MEANING | COLOURS,
    ),
    'depth anything 3': Convention(
        depth_anything_3,
        lambda rgb: 1 / np.exp(truth(rgb, IMAGENET, DEPTH, 0.5, GENTLE)),
        DEPTH,
        given={'output_meaning': 'depth'},
        assumed=COLOURS,
    ),
    'depth anything 3 metric': Convention(
        two_outputs('image', (1, 3, 280, 504), 'depth', 'sky', name='DA3METRIC-LARGE.onnx'),
        of_depth(),
        DEPTH,
        given={'output_meaning': 'metres', 'focal_reference': 300},
        assumed=COLOURS,
    ),
    'depth pro': Convention(
        two_outputs('pixel_values', (1, 3, 96, 96), 'predicted_depth', 'focallength_px'),
        of_depth(HALVES),
        DEPTH,
        given={'output_meaning': 'metres'},
        assumed=COLOURS,
    ),
    'metric3d': Convention(
        two_outputs(
            'pixel_values', (1, 3, 96, 168), 'predicted_depth', 'predicted_normal',
            inside=scaled(IMAGENET, 255),
        ),
        of_depth(),
        DEPTH,
        given={
            'output_meaning': 'metres',
            'focal_reference': 1000,
            'size_rule': 'letterbox',
        },
    ),
    'qualcomm': Convention(
        simple('image', 'output_0', (1, 3, 256, 256), inside=IMAGENET),
        inverse(),
        assumed=MEANING,
    ),
    'zipdepth': Convention(
        simple('image', 'depth', (1, 3, 256, 320), inside=IMAGENET), inverse(), assumed=MEANING
    ),
    'fastdepth, by its hash': Convention(
        simple('input', 'output', (1, 3, 256, 320), name='fast_depth_256x320.onnx'),
        of_depth(),
        DEPTH,
        known='dfc532a08f0ee34283d890d845e3824973f17240ad1d7eb617d9959ec8dc23c9',
        assumed=COLOURS - {'colour'},
    ),
    'bytes': Convention(
        simple('image', 'depth', (1, 3, 64, 96), inside=scaled(IMAGENET, 255), element=UINT8),
        inverse(),
        assumed=MEANING,
    ),
    'double': Convention(
        simple('image', 'depth', (1, 3, 64, 96), inside=IMAGENET, element=DOUBLE),
        inverse(),
        assumed=MEANING,
    ),
    'by channel': Convention(by_channel, inverse(), assumed=MEANING),
    'gathered': Convention(gathered, inverse(), assumed=MEANING),
    'bytes, channels last': Convention(bytes_last, inverse(), assumed=MEANING),
    'monodepth2': Convention(
        lambda folder, sign: disparity(folder, sign),
        lambda rgb: sigmoid(truth(rgb, ((0.45,) * 3, (0.225,) * 3), INVERSE, 0.0)),
        assumed=MEANING | {'colour'},
    ),
    'own words': Convention(
        simple('x', 'y', (1, 3, 60, 80)),
        of_depth(PLAIN),
        DEPTH,
        given={'output_meaning': 'depth', 'range': '1', 'mean': 'none', 'std': 'none',
               'colour': 'rgb'},
    ),
}  # fmt: skip


def disparity(folder: Path, sign: int) -> Path:
    graph = Foreign()
    value = graph.normalised('input', (0.45,) * 3, (0.225,) * 3)
    graph.add('Sigmoid', [brightness(graph, value, sign, 'toy', bias=0.0)], 'out')
    inputs = [('input', (1, 3, 64, 96), FLOAT)]
    return as_file(folder, graph.file(inputs, [('out', (1, 1, 64, 96), FLOAT)]))


@pytest.fixture(autouse=True)
def own_table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    table = dict(KNOWN_FILES)
    monkeypatch.setattr('midas_depth_ros.depth.foreign.KNOWN_FILES', table)
    return table


def made(name: str, folder: Path, table: dict[str, Any], sign: int | None = None) -> Path:
    """The file of a convention; a known one stands in the table under the hash of its toy."""
    convention = CONVENTIONS[name]
    path = convention.make(folder, convention.sign if sign is None else sign)
    if convention.known:
        table[sha256_of(path)] = KNOWN_FILES[convention.known]
    return path


EVERY = [(name, reader) for name, each in CONVENTIONS.items() for reader in each.readers]


@pytest.mark.parametrize(('name', 'reader'), EVERY)
def test_a_file_of_each_convention_is_read_rightly(
    tmp_path: Path, own_table: dict[str, Any], name: str, reader: str
) -> None:
    pytest.importorskip(reader)
    convention = CONVENTIONS[name]
    path = made(name, tmp_path, own_table)
    estimator = load_estimator(path, reader, model_file=convention.given)
    depth = estimator.infer(PICTURE)
    high, wide = depth.shape
    found = depth[high // 4, wide // 2], depth[3 * high // 4, wide // 2]
    half = 'half' in name
    wanted = [convention.answer(BRIGHT), convention.answer(DARK)]
    np.testing.assert_allclose(found, wanted, rtol=5e-3 if half else 1e-4)
    assert depth[-high // 3 :].mean() > depth[: high // 3].mean()  # near is large
    assumed = estimator.notice.partition('assumed')[2]
    for field in ('output_meaning', 'range', 'mean', 'std', 'colour'):
        assert (f' {field} ' in assumed) == (field in convention.assumed), estimator.notice
    assert 'PROBABLY' not in estimator.notice
    assert estimator.enlarge(depth, PICTURE.shape[:2]).shape == PICTURE.shape[:2]


@pytest.mark.parametrize(('name', 'reader'), EVERY)
def test_near_and_far_are_never_swapped(
    tmp_path: Path, own_table: dict[str, Any], name: str, reader: str
) -> None:
    """The same file, with the opposite inside: a guess is refused, a word is contradicted aloud.

    And the right file without the word that it needs is refused.
    """
    pytest.importorskip(reader)
    convention = CONVENTIONS[name]
    swapped = made(name, tmp_path, own_table, -convention.sign)
    guessed = 'output_meaning' in convention.assumed
    if guessed:
        with pytest.raises(WeightsMismatch, match=r'seems to give .*model_file\.output_meaning'):
            load_estimator(swapped, reader, model_file=convention.given)
    else:
        notice = load_estimator(swapped, reader, model_file=convention.given).notice
        assert 'IS PROBABLY READ WRONGLY, NEAR AND FAR SWAPPED' in notice
    if 'output_meaning' in convention.given:
        words = {k: v for k, v in convention.given.items() if k == 'size_rule'}
        (tmp_path / 'right').mkdir()
        right = made(name, tmp_path / 'right', own_table)
        with pytest.raises(WeightsMismatch, match=r'[Ss]et model_file\.output_meaning'):
            load_estimator(right, reader, model_file=words)


def test_every_row_of_the_table_can_be_read() -> None:
    from midas_depth_ros.depth.file_description import parsed

    for sha256, known in KNOWN_FILES.items():
        assert len(sha256) == 64
        assert 'output_meaning' in parsed(known.fields, known.title)
    assert BIAS > 0
