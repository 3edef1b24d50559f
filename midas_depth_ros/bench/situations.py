"""The situations in which the CPU share of a running node is measured."""

from __future__ import annotations

from midas_depth_ros.bench.load import Load

FULL_HD = (1920, 1080)
AT_5_HZ = (('max_rate', 5.0),)
CAMERAS = ('c0', 'c1', 'c2', 'c3')
SHARED_RATE_HZ = 8.0

NO_IMAGES = 'no images'
INACTIVE = 'not activated, images at 30 Hz'
UNWATCHED = 'nobody subscribes, images at 30 Hz'
DROPPING, NOT_DROPPING = '1080p at 60 Hz, max_rate 5', '1080p at 5 Hz'
RATES = {rate: f'images at {rate} Hz' for rate in (5, 10, 20)}
BY_CAMERAS = {count: f'{count} cameras, {SHARED_RATE_HZ:g} Hz together' for count in (1, 2, 4)}

SITUATIONS = (
    Load(NO_IMAGES, watched=True),
    Load(INACTIVE, rate_hz=30.0, watched=False, parameters=(('autostart', False),)),
    Load(UNWATCHED, rate_hz=30.0, watched=False),
    Load(NOT_DROPPING, FULL_HD, rate_hz=5.0, parameters=AT_5_HZ),
    Load(DROPPING, FULL_HD, rate_hz=60.0, parameters=AT_5_HZ),
    *(Load(name, rate_hz=float(rate)) for rate, name in RATES.items()),
    *(
        Load(name, rate_hz=SHARED_RATE_HZ, cameras=CAMERAS[:count])
        for count, name in BY_CAMERAS.items()
    ),
)
