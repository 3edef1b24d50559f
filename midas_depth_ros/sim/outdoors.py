"""What all places outdoors share: daylight, roads and meadows."""

from __future__ import annotations

import math
import random

from midas_depth_ros.sim.parts import Light, Sky
from midas_depth_ros.sim.stock import Stock, varied


def daylight(rng: random.Random, stock: Stock) -> tuple[Light, Sky, float]:
    """Sun and sky of one weather, and how far one sees."""
    overcast = rng.random() < 0.35
    high, around = math.radians(rng.uniform(14, 75)), rng.uniform(0, math.tau)
    towards = (math.cos(high) * math.cos(around), math.cos(high) * math.sin(around), math.sin(high))
    warm = rng.uniform(0, 0.2) * (1 - math.sin(high))
    if overcast:
        grey = rng.uniform(0.75, 1.3)
        key, ambient = rng.choice((0.0, rng.uniform(0.05, 0.3))), rng.uniform(0.75, 1.0)
        sky = Sky(
            (0.8 * grey, 0.85 * grey, 0.9 * grey),
            (grey, grey, grey),
            stock.texture('sky'),
            rng.uniform(0.0, 0.6),
        )
    else:
        key, ambient = rng.uniform(0.5, 1.2), rng.uniform(0.28, 0.6)
        blue = varied(rng, (0.3, 0.52, 0.9), 0.15)
        sky = Sky(
            blue,
            varied(rng, (0.78, 0.87, 0.97), 0.06),
            stock.texture('sky'),
            rng.choice((0.0, rng.uniform(0.1, 0.7))),
        )
    light = Light(
        towards,
        True,
        (key * (1 + warm), key, key * (1 - warm)),
        (0.96 * ambient, ambient, 1.05 * ambient),
    )
    haze = rng.choice((math.inf, rng.uniform(60, 200), rng.uniform(150, 600)))
    return light, sky, haze


def road_finish(stock: Stock) -> int:
    rng = stock.rng
    if rng.random() < 0.06:
        return stock.odd()
    grey = rng.uniform(0.2, 0.6)
    base = varied(rng, (grey, grey, grey * rng.uniform(0.92, 1.05)), 0.05)
    return stock.of('road', base, rng.uniform(1.5, 5), rng.uniform(0.08, 0.3), grain=0.2)


def meadow_finish(stock: Stock) -> int:
    rng = stock.rng
    base = varied(rng, rng.choice(((0.33, 0.43, 0.16), (0.25, 0.36, 0.13), (0.5, 0.45, 0.24))), 0.2)
    return stock.of('meadow', base, rng.uniform(0.6, 3), 0.45, grain=0.35)
