"""Every live parameter at its bounds: what the node accepts never fails a frame later."""

from __future__ import annotations

import numpy as np
import pytest
from bags import JAZZY, START_NS, camera_info_message, raw_message
from fakes import SceneEstimator

from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.bag_messages import Recorded
from midas_depth_ros.nodes.bag.pipeline import BagPipeline
from midas_depth_ros.options.declarations import OptionFault, build, specs_for_values
from midas_depth_ros.options.depth import DepthNodeSettings

from .test_metric_topics import MOUNT, box, scene_depth

CAMERA = BagCamera('camera', '/camera/image_raw', '/camera/camera_info')
RGB = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
SPECS = {
    name: spec
    for name, spec in specs_for_values(DepthNodeSettings, {'cameras': ['camera']}).items()
    if spec.live and (spec.kind in ('double', 'int', 'bool') or spec.choices)
}
del SPECS['max_pixels']  # it refuses pictures, which is what it is for
DEPTH_Z = scene_depth(box())
# What makes some of them matter.
WITH = {
    'scale': {'scale.source': 'fixed', 'scale.fixed_scale': 1.0},
    'heatmap': {'heatmap.mode': 'metric', 'output_size': 'network'},
}


def bounds(spec) -> list:
    """The extreme values that a parameter accepts."""
    if spec.choices:
        return list(spec.choices)
    if spec.kind == 'bool':
        return [True, False]
    return [value for value in (spec.minimum, spec.maximum, spec.default) if value is not None]


def cases(name) -> list:
    """The values of a parameter, alone and where it matters most."""
    spec = SPECS[name]
    others = [MOUNT, *({**MOUNT, **more} for group, more in WITH.items() if name.startswith(group))]
    return [(value, each) for value in bounds(spec) for each in others]


@pytest.mark.sampled
@pytest.mark.parametrize('name', SPECS)
def test_what_is_accepted_fails_no_frame(name):
    spec = SPECS[name]
    for value, others in cases(name):
        value = int(value) if spec.kind == 'int' else value
        assert spec.fault(value) == ''
        try:
            settings = build(DepthNodeSettings, {**others, name: value})
        except OptionFault:
            continue  # refused together with the others
        said = []
        estimator = SceneEstimator(DEPTH_Z)
        node = BagPipeline(estimator, settings, [CAMERA], (), said.append, said.append)
        messages = [(CAMERA.info, camera_info_message(RGB, START_NS, focal=234.0))]
        messages += [(CAMERA.image, raw_message(RGB, START_NS + i * 200_000_000)) for i in (1, 2)]
        for topic, message in messages:
            kind = message.__msgtype__
            node.process(Recorded(topic, kind, START_NS, bytes(JAZZY.serialize_cdr(message, kind))))
        assert node.camera_counts[0].frames == 2
        assert node.camera_counts[0].processed == 2, (value, said)
