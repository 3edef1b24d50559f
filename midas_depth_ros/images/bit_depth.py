"""How many of the 16 bits of a sample a camera uses: given, or guessed from what it sends.

Samples of 16 bits go in, a bit depth and samples of 8 bits come out. A sensor of 10, 12 or 14 bits
is published in samples of 16. No field of a message says how many of them mean anything; whoever
takes all of them sees a picture that is nearly black.

The rule of the guess, for one picture:

- The brightest samples decide: up to 1023 they are of 10 bits, up to 4095 of 12, up to 16383 of
  14, else of 16. It is never fewer than 10, for a dark picture has to stay dark.
- One sample in 200 may be brighter: a lamp, broken pixels, or pixels that a driver marks with
  65535. These become white and decide nothing.
- Empty low bits mean a sensor that uses the high ones: values that are all multiples of 16 (or 32,
  64 and so on) are of 16 bits. But 8 bits moved up by 4 or 6, as some drivers make 12 or 14 of
  them, have empty low bits, too: where what is above them fits 8 bits, they are of 12 or 14 bits.

Of the pictures of one camera the first that is not too dark decides, and after that the guess can
only grow, so that brightness never goes to and fro, whatever the scene does. Two of ten pictures
have to ask for more: a single damaged one does not make the others dark for ever; it is white where
it is brighter. A bit depth that is given is not guessed at all.
"""

from __future__ import annotations

import collections
from collections.abc import Hashable

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.options.shared import FEWEST_BITS, MOST_BITS, check_bit_depth

Samples = NDArray[np.uint16]

GUESSES = (10, 12, 14, 16)
IGNORED_SHARE = 0.005
# Brighter than a quarter of the fewest bits: below, a picture is dark whatever the sensor has.
TELLING = 256
# Empty low bits mean something from here on, and only where there are so many levels: a uniform
# grey of 2048 has eleven of them.
EMPTY_BITS, LEVELS = 4, 16
# So many of the last pictures have to ask for more.
AGREEING, RECENT = 2, 10
# A guess looks at about so many rows and columns, of which a broken one is less than is ignored.
LINES = 384
COLOURS = 3  # alpha, behind them, says nothing of the sensor


class BitDepth:
    """The bit depth of one camera, or of one picture.

    given: 8 to 16, or 0 to guess; it may be changed between two pictures. Values of a sensor that
    uses the high bits, whatever it has, are of 16.
    words: what the last picture was taken for and why, for people; '' before the first.
    """

    def __init__(self, given: int = 0) -> None:
        """Raises ValueError for what is neither 0 nor 8 to 16."""
        fault = check_bit_depth(given)
        if fault:
            raise ValueError(f'bit depth {fault}')
        self.given = given
        self.words = ''
        self._guess = 0
        self._recent: collections.deque[int] = collections.deque(maxlen=RECENT)
        self._kind: Hashable = None

    def reset(self) -> None:
        """Forget what was guessed: the camera starts anew."""
        self.words, self._guess, self._kind = '', 0, None
        self._recent.clear()

    def of(self, samples: Samples, kind: Hashable = None, may_be_depth: bool = False) -> int:
        """How many bits these samples use, 8 to 16.

        Args:
            samples: (H, W) or (H, W, C) uint16, in the order of bytes of this machine.
            kind: what a camera does not change, such as encoding and size; another starts anew.
            may_be_depth: they may be millimetres, of which nothing can be guessed.
        """
        if kind != self._kind:
            self.reset()
            self._kind = kind
        if self.given:
            self.words = f'{self.given}, given by bit_depth'
            return self.given
        if may_be_depth:
            self.words = f'{MOST_BITS}: 16UC1 may be depth, and is not guessed'
            return MOST_BITS
        self._add(samples)
        if self._guess:
            self.words = f'{self._guess}, guessed from the pictures'
            return self._guess
        self.words = f'{GUESSES[0]}, until it is bright enough for a guess'
        return GUESSES[0]

    def _add(self, samples: Samples) -> None:
        # Nothing but something brighter raises a guess: the others need no closer look.
        brighter = not self._guess or _colours(samples).max() >> self._guess
        wanted = guess(samples) if brighter else self._guess
        if wanted:
            self._recent.append(wanted)
            agreed = sorted(self._recent)[-AGREEING:][0]
            self._guess = max(self._guess, agreed)


def guess(samples: Samples) -> int:
    """The guess for one picture, (H, W) or (H, W, C) uint16; 0 where it is too dark for one."""
    few = _colours(samples[:: _stride(samples.shape[0]), :: _stride(samples.shape[1])])
    counts = np.bincount(few.reshape(-1), minlength=1 << MOST_BITS)
    ignored = int(IGNORED_SHARE * few.size)
    brightest = len(counts) - 1 - int(np.argmax(counts[::-1].cumsum() > ignored))
    if brightest < TELLING:
        return 0
    needed = brightest.bit_length()
    empty = _empty_bits(counts, ignored)
    if empty >= EMPTY_BITS:
        needed = (
            max(needed, FEWEST_BITS + empty) if brightest >> empty < 1 << FEWEST_BITS else MOST_BITS
        )
    return next((each for each in GUESSES if each >= needed), MOST_BITS)


def _empty_bits(counts: NDArray[np.intp], ignored: int) -> int:
    """How many low bits no sample has, the ignored ones apart; 0 where there are few levels."""
    empty = 0
    while empty < FEWEST_BITS and counts.sum() - counts[:: 2 << empty].sum() <= ignored:
        empty += 1
    return empty if np.count_nonzero(counts[:: 1 << empty]) >= LEVELS else 0


def _stride(length: int) -> int:
    """An odd step, so that every colour of a mosaic is met."""
    return length // LINES | 1


def _colours(samples: Samples) -> Samples:
    return samples[:, :, :COLOURS] if samples.ndim == 3 else samples


def eight_bits(samples: Samples, depth: int) -> NDArray[np.uint8]:
    """The eight highest of `depth` bits; what has more than `depth` is 255.

    So 8 bits that were widened to `depth`, by a shift or in proportion, come out as they were.
    (H, W) or (H, W, C) uint16 in, the same shape in uint8 out.
    """
    step = 1 << (depth - FEWEST_BITS)
    # OpenCV rounds to the nearest and saturates, in one pass: half a step less is rounded down.
    down = 0.5 / step - 0.5
    scaled = cv2.convertScaleAbs(samples, alpha=1 / step, beta=down)
    return np.asarray(scaled, np.uint8).reshape(samples.shape)


def in_colour(grey_or_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) of (H, W), (H, W, 1) or (H, W, 3) uint8."""
    if grey_or_rgb.ndim == 3 and grey_or_rgb.shape[2] == 3:
        return grey_or_rgb
    return np.asarray(cv2.cvtColor(grey_or_rgb, cv2.COLOR_GRAY2RGB), np.uint8)
