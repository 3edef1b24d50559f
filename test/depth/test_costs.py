"""Parameters and operations in the specifications are those of the torch modules."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

torch = pytest.importorskip('torch')

from benchmarks.operations import TOLERANCE, giga_operations  # noqa: E402
from midas_depth_ros.depth import models  # noqa: E402
from midas_depth_ros.depth.models import monodepth2  # noqa: E402

KNOWN = {**{name: models.spec(name) for name in models.names()}, 'monodepth2': monodepth2.SPEC}


@pytest.mark.parametrize('name', KNOWN)
def test_parameters_and_operations_are_those_of_the_module(name):
    if name == 'midas_small' and not find_spec('timm'):
        pytest.skip('timm is not installed')
    model = KNOWN[name]
    with torch.device('meta'):
        module = model.module()
    assert model.parameters == sum(each.numel() for each in module.parameters())
    counted = giga_operations(model, model.giga_operations)
    assert counted.keys() == model.giga_operations.keys()
    for size, count in counted.items():
        assert model.giga_operations[size] == pytest.approx(count, rel=TOLERANCE), size


@pytest.mark.parametrize('name', KNOWN)
def test_the_usual_input_has_a_figure(name):
    height, width = KNOWN[name].picture.usual_size
    assert (width, height) in KNOWN[name].giga_operations


def test_branches_that_are_merged_do_not_count_twice():
    # Their authors count 3.0 * 10^9 multiply-and-adds at this size, with the branches merged.
    counted = giga_operations(models.spec('zipdepth_base'), [(384, 384)])[384, 384]
    assert counted / 2 == pytest.approx(3.0, abs=0.05)
