"""How accurate the models are by what was published: on NYU Depth V2 (rooms) and KITTI (streets).

None of it was measured here. Figures of one source compare with each other, those of two sources
hardly: sizes, crops and the fitting of scale and shift differ.
"""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """On one set of pictures; None where the source does not say.

    abs_rel: mean of |difference| / true depth. delta1: share of pixels whose depth is within a
    quarter of the true one. Raises ValueError for what is neither, such as a percentage.
    """

    abs_rel: float | None = None
    delta1: float | None = None

    def __post_init__(self) -> None:
        for name, most in (('abs_rel', math.inf), ('delta1', 1.0)):
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise ValueError(f'{name} is {value}: give a share, such as 0.1')


@dataclasses.dataclass(frozen=True)
class Source:
    """Who says so: `title` for a heading, `where` to look it up, `about` how it was measured."""

    title: str
    where: str
    about: str


@dataclasses.dataclass(frozen=True)
class Published:
    """Accuracy of a model by a source. `note`: what to know about this model's figures."""

    source: Source
    nyu: Accuracy | None = None
    kitti: Accuracy | None = None
    note: str = ''


MIDAS = Source(
    'MiDaS 3.1',
    'README of github.com/isl-org/MiDaS, table "Accuracy"',
    'scale and shift of inverse depth fitted per picture; printed there as the percentage that is '
    'not within a quarter',
)
DEPTH_ANYTHING_V1 = Source(
    'Depth Anything',
    'Yang et al., CVPR 2024; README of github.com/LiheYoung/Depth-Anything',
    'zero-shot; scale and shift of inverse depth fitted per picture',
)
DEPTH_ANYTHING_V2 = Source(
    'Depth Anything V2',
    'Yang et al., NeurIPS 2024, arXiv:2406.09414, table 2',
    'zero-shot; scale and shift of inverse depth fitted per picture',
)
ZIPDEPTH = Source(
    'ZipDepth',
    'Tosi et al., ECCV 2026; table of accuracy in github.com/fabiotosi92/ZipDepth',
    'zero-shot; all measured by its authors in one way',
)
MONODEPTH2 = Source(
    'Monodepth2',
    'Godard et al., ICCV 2019; README of github.com/nianticlabs/monodepth2',
    'trained on KITTI; scale fitted per picture',
)

SEEN = 'trained on pictures of both sets'
EITHER_FILE = 'of ZipDepth; its authors do not say with which of the two files'


def _within(nyu_percent_off: float, kitti_percent_off: float, note: str = '') -> Published:
    """From the percentages of pixels that are off by more than a quarter."""
    nyu, kitti = (
        Accuracy(delta1=round(1 - percent / 100, 4))
        for percent in (nyu_percent_off, kitti_percent_off)
    )
    return Published(MIDAS, nyu, kitti, note)


def _both(
    source: Source, nyu: tuple[float, float], kitti: tuple[float, float], note: str = ''
) -> Published:
    """From (AbsRel, delta1) on each."""
    return Published(source, Accuracy(*nyu), Accuracy(*kitti), note)


# By the name of the model; what its own authors say comes first.
_BY_MODEL = {
    'midas_small': (
        _within(13.43, 29.27),
        _both(ZIPDEPTH, (0.115, 0.868), (0.259, 0.543)),
    ),
    'midas_v21_384': (_within(8.71, 16.08),),
    'dpt_large_384': (
        _within(8.32, 8.46),
        _both(ZIPDEPTH, (0.091, 0.919), (0.110, 0.882)),
    ),
    'dpt_hybrid_384': (
        _within(8.69, 11.56),
        _both(ZIPDEPTH, (0.093, 0.915), (0.132, 0.842)),
    ),
    'dpt_swin2_tiny_256': (_within(5.55, 10.13, SEEN),),
    'dpt_levit_224': (_within(8.64, 15.27, SEEN),),
    'depth_anything_v1_small': (_both(DEPTH_ANYTHING_V1, (0.053, 0.972), (0.080, 0.936)),),
    'depth_anything_v2_small': (
        _both(DEPTH_ANYTHING_V2, (0.053, 0.973), (0.078, 0.936)),
        _both(ZIPDEPTH, (0.061, 0.962), (0.084, 0.934)),
    ),
    'depth_anything_v2_base': (
        _both(DEPTH_ANYTHING_V2, (0.049, 0.976), (0.078, 0.939)),
        _both(ZIPDEPTH, (0.054, 0.967), (0.082, 0.939)),
    ),
    'depth_anything_v2_large': (
        _both(DEPTH_ANYTHING_V2, (0.045, 0.979), (0.074, 0.946)),
        _both(ZIPDEPTH, (0.051, 0.971), (0.077, 0.949)),
    ),
    'zipdepth': (_both(ZIPDEPTH, (0.084, 0.933), (0.123, 0.864), EITHER_FILE),),
    'zipdepth_base': (_both(ZIPDEPTH, (0.084, 0.933), (0.123, 0.864), EITHER_FILE),),
    'monodepth2': (Published(MONODEPTH2, kitti=Accuracy(0.115, 0.877), note='of mono_640x192'),),
}


def published(model: str) -> tuple[Published, ...]:
    """What was published about a model, by its name; empty where nothing was, on these sets."""
    return _BY_MODEL.get(model, ())
