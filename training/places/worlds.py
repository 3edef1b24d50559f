"""The worlds that samples are drawn from, as kinds of place with their shares.

`first` is what the first edition of the embedded model learned from, bit for bit. `wider` is half
of that, and half of what it lacked. `closed` is what a robot takes for an open way most easily.
"""

from __future__ import annotations

from training.places.close import at_border, closeup, walls
from training.places.dark import black
from training.places.doors import doors
from training.places.facing import facing
from training.places.first import PLACES, Layout, any_place
from training.places.glass import glass
from training.places.own import own
from training.places.parked import cars
from training.places.plants import plants
from training.places.stairs import stairs
from training.places.tilted import tilted

MURKY = 'murky'  # the kind whose pictures are all spoilt, one way or another

NEW: dict[str, tuple[Layout, float]] = {
    'doors': (doors, 0.1),
    'closeup': (closeup, 0.05),
    'stairs': (stairs, 0.05),
    'glass': (glass, 0.04),
    'black': (black, 0.04),
    'wall': (walls, 0.04),
    'border': (at_border, 0.04),
    'own': (own, 0.04),
    'plants': (plants, 0.03),
    'cars': (cars, 0.03),
    'tilted': (tilted, 0.02),
    MURKY: (any_place, 0.02),
}

WORLDS: dict[str, dict[str, tuple[Layout, float]]] = {
    'first': PLACES,
    'wider': {kind: (layout, 0.5 * share) for kind, (layout, share) in PLACES.items()} | NEW,
    'closed': {
        'doors': (doors, 0.7),
        'black': (black, 0.1),
        'wall': (walls, 0.1),
        'border': (at_border, 0.1),
    },
    'facing': {
        'facing': (facing, 0.7),
        'doors': (doors, 0.2),
        'black': (black, 0.1),
    },
}
