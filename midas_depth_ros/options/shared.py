"""Options that several nodes have: each is declared here, and taken over with `declared_as`."""

from __future__ import annotations

import dataclasses

from midas_depth_ros.options.declarations import Options, parameter

TURNS = (0, 90, 180, 270)  # degrees, clockwise, by which pictures may be turned
FEWEST_BITS, MOST_BITS = 8, 16  # that a camera may use of a sample of 16


def check_turn(degrees: int) -> str:
    """Pictures are turned by quarters."""
    if degrees in TURNS:
        return ''
    return f'{degrees} is not one of {", ".join(map(str, TURNS))}: degrees, clockwise'


def check_bit_depth(bits: int) -> str:
    """Why a number is no bit depth; '' if it is one, or 0."""
    if bits == 0 or FEWEST_BITS <= bits <= MOST_BITS:
        return ''
    return f'{bits} is neither 0 nor {FEWEST_BITS} to {MOST_BITS}'


@dataclasses.dataclass(frozen=True)
class SharedOptions(Options):
    """What is asked of more than one node."""

    max_pixels: int = parameter(
        33_554_432,
        'Larger pictures are rejected before they are decoded.',
        unit='px',
        minimum=1024,
        maximum=1_000_000_000,
        live=True,
    )
    bit_depth: int = parameter(
        0,
        'How many bits the camera uses of 16-bit samples (mono16, rgb16, bayer_*16, 16-bit PNG and '
        'the like): 8 to 16, or 16 if it uses the high ones; 0 = guessed from the pictures.',
        minimum=0,
        maximum=MOST_BITS,
        live=True,
        check=check_bit_depth,
    )
    diagnostics_rate: float = parameter(
        1.0, 'How often /diagnostics is published.', unit='Hz', minimum=0.1, maximum=100.0
    )
