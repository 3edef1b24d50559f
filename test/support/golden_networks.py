"""Weights and inputs that anyone can make, on which a network's official code was run once.

An entry says `[shape, fill, mean, std]`; what the module computes itself (`keep`) is left out.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from midas_depth_ros.depth import models

DRAWN = 65521  # a prime: how many numbers are drawn before they repeat
TOLERANCE = 5e-4  # of the spread
SMALL = 'depth_anything_v2_small'

Infer = Callable[[np.ndarray], np.ndarray]  # (1, 3, h, w) to (h, w)


def golden_entries(folder: Path, name: str) -> dict[str, list[Any]]:
    """The entries of a network's state dict; `folder` is test/golden."""
    if name.startswith('depth_anything'):
        described = json.loads((folder / 'depth_anything.json').read_text())
        shared = described[SMALL] if name.endswith('_small') else {}
        return shared | described[name]
    if name.startswith('zipdepth'):
        described = json.loads((folder / 'zipdepth.json').read_text())
        head = 'decoder.convex_up'  # in which the two networks differ
        shared = {key: each for key, each in described['zipdepth'].items() if head not in key}
        return shared | {key: each for key, each in described[name].items() if head in key}
    family = 'midas_v21' if name.startswith('midas') else 'dpt'
    found: dict[str, list[Any]] = json.loads((folder / f'{family}.json').read_text())[name]
    return found


def golden_weights(entries: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
    """The state dict: normal numbers by the key's name, `abs` their absolute values."""
    return {key: _weight(key, *entry) for key, entry in entries.items() if entry[1] != 'keep'}


def _weight(key: str, shape: list[int], fill: str, mean: float, std: float) -> np.ndarray:
    if fill == 'zero':
        return np.zeros(shape, np.int64)
    drawn = np.random.RandomState(zlib.crc32(key.encode()))
    numbers = drawn.standard_normal(min(int(np.prod(shape)), DRAWN)).astype(np.float32)
    numbers = np.resize(np.abs(numbers) if fill == 'abs' else numbers, shape)
    return np.asarray(np.float32(mean) + np.float32(std) * numbers, np.float32)


def golden_file(golden_dir: Path, folder: Path, name: str) -> Path:
    """These weights in a file in `folder`, named as the official one. Needs torch."""
    torch = pytest.importorskip('torch')
    spec = models.spec(name)
    weights = golden_weights(golden_entries(golden_dir, name))
    tensors = {key: torch.from_numpy(value) for key, value in weights.items()}
    known = spec.module().state_dict()  # such as ZipDepth's mean and std; tables are computed
    for key in spec.shapes.keys() - tensors.keys():
        kind = torch.int64 if key.endswith('attention_bias_idxs') else torch.float32
        tensors[key] = known.get(key, torch.zeros(spec.shapes[key], dtype=kind))
    torch.save(tensors, folder / spec.weights.name)
    return folder / spec.weights.name


def golden_noise(height: int, width: int) -> np.ndarray:
    """The input of a golden output, (1, 3, height, width) float32, -2 to 2."""
    noise = np.random.RandomState(height * 1000 + width)
    return noise.uniform(-2, 2, (1, 3, height, width)).astype(np.float32)


def deviation(found: np.ndarray, wanted: np.ndarray) -> float:
    """The worst difference, in parts of the spread."""
    return float(np.abs(found - wanted).max() / wanted.std())


# --- What runs the bytes of an ONNX model whose input is `picture`, in float32.


def onnxruntime_of(model: bytes) -> Infer:
    ort = pytest.importorskip('onnxruntime')
    session = ort.InferenceSession(model, providers=['CPUExecutionProvider'])
    return lambda picture: session.run(None, {'picture': picture})[0][0, 0]


def openvino_of(model: bytes) -> Infer:
    core = pytest.importorskip('openvino').Core()
    how = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}
    compiled = core.compile_model(core.read_model(model), 'CPU', how)
    return lambda picture: compiled(picture)[0][0, 0]


def opencv_of(model: bytes) -> Infer:
    if int(cv2.__version__.split('.')[0]) < 5:
        pytest.skip('OpenCV 4.6 takes neither integers nor means of rows whose length is free')
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))

    def infer(picture: np.ndarray) -> np.ndarray:
        net.setInput(picture)
        return net.forward()[0, 0]

    return infer


BACKENDS = (onnxruntime_of, openvino_of, opencv_of)
