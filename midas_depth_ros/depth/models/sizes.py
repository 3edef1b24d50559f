"""`NetworkSize`: at which size a network sees pictures. Imports no torch.

A model's specification has the rule of its official code. A caller may choose another shorter side,
or the one that suits a robot; and the longer side is bounded in any case, because the official
rules of some networks let a picture of 2000 x 100 pixels become 10360 x 518.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TypeVar

import numpy as np

from midas_depth_ros.depth.errors import InvalidNetworkSize
from midas_depth_ros.depth.models.spec import Network, PictureInput

# Pictures of cameras, stereo pairs side by side (3.6) and street data sets (3.3) are below it.
MOST_ASPECT = 4.0
LEAST_SHORT_SIDE = 64  # below, a network has a handful of places to tell apart
# Of the largest input: a transformer compares every place with every other, in gigabytes there.
MOST_PIXELS = 1 << 22
MOST_SHORT_SIDE = math.isqrt(MOST_PIXELS)
AnyNetwork = TypeVar('AnyNetwork', bound=Network)


@dataclasses.dataclass(frozen=True)
class NetworkSize:
    """What a caller asks for.

    `short_side` of the network's input in pixels, 0 = as the model says: its official size, or with
    `for_robot` its size for robots. `most_aspect`: how many times as long its longer side may
    be; a longer picture is squeezed.
    """

    short_side: int = 0
    most_aspect: float = MOST_ASPECT
    for_robot: bool = False

    def applied_to(self, model: AnyNetwork) -> AnyNetwork:
        """The model with this size. Raises InvalidNetworkSize where it cannot have it."""
        if not 1 <= self.most_aspect < math.inf:
            raise InvalidNetworkSize(
                f'network_aspect is {self.most_aspect}: give 1 or more, {MOST_ASPECT:g} is usual'
            )
        if not isinstance(self.short_side, int | np.integer):
            raise InvalidNetworkSize(f'network_size is {self.short_side!r}: give whole pixels')
        side = self.short_side or (model.node_short_side if self.for_robot else 0)
        picture = model.picture
        if picture.fixed_size:
            if side not in (0, min(picture.fixed_size)):
                high, wide = picture.fixed_size
                raise InvalidNetworkSize(
                    f'network_size is {side}, but {model.title} takes {wide} x {high} pixels only: '
                    'leave it at 0'
                )
            return model
        if side:
            if fault := self._fault_of(side, picture.multiple):
                raise InvalidNetworkSize(
                    f'network_size is {side}: {fault}, or 0 for the default of {model.title}'
                )
            picture = picture.with_short_side(side)
        picture = dataclasses.replace(picture, most_aspect=self.most_aspect)
        if picture.most_pixels > MOST_PIXELS:
            raise InvalidNetworkSize(self._too_large(model.title, picture))
        return dataclasses.replace(model, picture=picture)

    @staticmethod
    def _fault_of(side: int, multiple: int) -> str:
        """What is wrong with a shorter side of at least 1, and what to give; '' = nothing."""
        least = multiple * math.ceil(LEAST_SHORT_SIDE / multiple)
        if side < least:
            return f'too small to tell anything apart: give {least} or more'
        if side % multiple:
            lower = side // multiple * multiple
            return f'not a multiple of {multiple}: give {lower} or {lower + multiple}'
        return ''

    def _too_large(self, title: str, picture: PictureInput) -> str:
        multiple, side = picture.multiple, min(picture.size)
        most_side = int(math.sqrt(MOST_PIXELS / self.most_aspect)) // multiple * multiple
        remedy = f'a network_size of at most {most_side}'
        if (most_aspect := MOST_PIXELS / side**2) >= 1:
            remedy += f', or a network_aspect of at most {math.floor(10 * most_aspect) / 10:g}'
        return (
            f'{title} with a network_size of {side} and a network_aspect of {self.most_aspect:g} '
            f'would take inputs of {picture.most_pixels / 1e6:.1f} million pixels, more than the '
            f'{MOST_PIXELS / 1e6:.1f} that memory is sure to allow: give {remedy}'
        )


OFFICIAL = NetworkSize()


def size_in_words(model: Network) -> str:
    """At which size the model sees pictures, and how that compares with the official one."""
    picture = model.picture
    high, wide = picture.usual_size
    text = f'network input {wide}x{high}'
    if picture.fixed_size:
        text += ', its only size'
    else:
        text += ' for a 4:3 picture'
        if picture.official is None:
            text += ', the official size'
        else:
            high, wide = picture.official.usual_size
            text += f' (official: {wide}x{high}, network_size {min(high, wide)})'
    if model.slow_on_two_cores and min(picture.size) >= model.node_short_side:
        text += '; in f32 two cores take more than 200 ms for it'
    return text
