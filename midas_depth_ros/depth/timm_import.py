"""Imports timm where torch and torchvision were built apart.

timm imports torchvision. Where torchvision was compiled against another torch (a CPU torch beside
a CUDA torchvision, wheels of a Jetson), its compiled operators do not load and its import fails,
although nothing that is used here needs them. This module then declares the two schemas that the
import asks for, and only then; a torchvision that imports is left alone.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

MISSING_OPERATORS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_declared: list[Any] = []  # a torch Library takes its schemas with it when it is collected


def import_timm() -> ModuleType:
    """Import and return timm.

    Raises whatever the import raises for any other reason: ImportError where torch, torchvision
    or timm is not installed, OSError or RuntimeError where one of them is broken.
    """
    importlib.import_module('torch')
    try:
        importlib.import_module('torchvision')
    except RuntimeError as error:
        if 'torchvision::' not in str(error) or _declared:
            raise
        _declare_missing_operators()
        _forget('torchvision')
        importlib.import_module('torchvision')
    return importlib.import_module('timm')


def _declare_missing_operators() -> None:
    import torch

    library = torch.library.Library('torchvision', 'DEF')
    for schema in MISSING_OPERATORS:
        library.define(schema)
    _declared.append(library)


def _forget(package: str) -> None:
    """Drop what a failed import left behind, so that the next one starts afresh."""
    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        del sys.modules[name]
