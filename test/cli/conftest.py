"""What the tests of the commands share: how to call them, and pictures to give them."""

from __future__ import annotations

import inspect
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from midas_depth_ros.cli.main import main

if not find_spec('rclpy'):
    collect_ignore_glob = ['test_bag_*.py']

# click before 8.2 has to be told to keep standard error apart.
APART = {'mix_stderr': False} if 'mix_stderr' in inspect.signature(CliRunner).parameters else {}


@pytest.fixture
def midas_depth(tmp_path, monkeypatch):
    """Call the command in a folder of its own, as `midas_depth image ...`."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner(**APART).invoke(main, [str(each) for each in arguments])

    return call


def corridor(height: int = 120, width: int = 160, shift: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a lit floor, walls that get darker, a box at a place by `shift`.

    All of it has a texture, as what a camera sees: without one it would count as blind.
    """
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    floor = np.clip((rows / height - 0.5) * 400 + 60, 0, 255)
    wall = 200 - 1.2 * np.abs(columns - width / 2)
    grey = np.where(rows > height / 2 + 0.3 * np.abs(columns - width / 2), floor, wall)
    grey[height // 2 : 3 * height // 4, 30 + shift : 50 + shift] = 20
    grains = np.random.default_rng(0).normal(0, 8, (height // 3 + 1, width // 3 + 1))
    grey = grey + grains.repeat(3, axis=0).repeat(3, axis=1)[:height, :width]
    return np.clip(grey[..., None] * [1.0, 0.95, 0.9], 0, 255).astype(np.uint8)


@pytest.fixture
def save(tmp_path):
    """Write an RGB picture under a name in the test's folder."""

    def write(name: str, rgb: np.ndarray):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        return path

    return write
