"""The kinds of place of the first world, and their shares; later kinds build on them."""

from __future__ import annotations

import random
from collections.abc import Callable

from midas_depth_ros.sim.furnished.place import Place
from midas_depth_ros.sim.furnished.textures import Atlas
from midas_depth_ros.sim.scene.scene import Pose
from training.places.indoors import clutter, corridor, room, table_top
from training.places.outdoors import open_ground, street

Layout = Callable[[random.Random, Atlas], tuple[Place, Pose]]

# kind -> how it is laid out, and its share of the samples
PLACES: dict[str, tuple[Layout, float]] = {
    'room': (room, 0.4),
    'corridor': (corridor, 0.12),
    'street': (street, 0.22),
    'open': (open_ground, 0.1),
    'table': (table_top, 0.06),
    'clutter': (clutter, 0.1),
}


def any_place(rng: random.Random, atlas: Atlas) -> tuple[Place, Pose]:
    """One of them."""
    layouts, shares = zip(*PLACES.values(), strict=True)
    layout: Layout = rng.choices(layouts, shares)[0]
    return layout(rng, atlas)
