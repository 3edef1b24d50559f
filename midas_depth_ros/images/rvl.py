"""RVL, a fast lossless code for depth images: (H, W) uint16 goes in, bytes come out.

Wilson, "Fast Lossless Depth Image Compression" (ISS 2017): runs of zeros and of other values in
turn, the values as differences, every number in groups of three bits. How long a number gets does
not depend on other numbers, so NumPy can pack thousands of them at once.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

GROUP_BITS, GROUP = 3, 0x7  # of a number, lowest first
MORE = 0x8  # the bit of a nibble after which another group of the same number follows
NIBBLE_BITS = 4
WORD_SHIFT = 6
WORD_BITS = 1 << WORD_SHIFT
LENGTH = 16  # the bit from which on the table of pieces has their lengths
# A number is packed in pieces of at most four nibbles: the rest of a larger one is a further piece.
PIECE_BITS = 12
PIECE = 1 << PIECE_BITS
# Values at a time. What is made of so few stays in the cache, and is no new memory for each image:
# to get that from the system takes longer than all the arithmetic.
BAND = 24_576


def encode_rvl(values: NDArray[np.uint16]) -> bytes:
    """Encode (H, W) uint16, in which 0 means unknown, as whole words of 32 bits, low byte first.

    Neither the size of the image nor the number of bytes is in them. Raises ValueError if there are
    no values.
    """
    if not values.size:
        raise ValueError(f'an image of shape {values.shape} has no values to encode')
    known, runs = _runs(values.reshape(-1))
    before = np.cumsum(runs[:, 1]) - runs[:, 1]  # how many values are before each run of zeros
    stream = _Stream()
    for start in range(0, max(known.size, 1), BAND):
        stop = start + BAND
        first, last = np.searchsorted(before, (start, stop))
        if stop >= known.size:
            last = before.size  # with zeros at the very end
        folded = _folded(known[start:stop], int(known[start - 1]) if start else 0)
        if last > first:
            places = np.repeat(before[first:last] - start, 2)
            folded = np.insert(folded, places, runs[first:last].reshape(-1))
        stream.add(folded)
    return stream.finished()


def _runs(values: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The values that are not zero, and (n, 2) lengths: of each run of zeros and of others next."""
    is_known = values != 0
    starts = np.flatnonzero(is_known[1:] != is_known[:-1]) + 1
    lengths = np.diff(starts, prepend=0, append=values.size)
    if is_known[0]:
        lengths = np.insert(lengths, 0, 0)
    if lengths.size % 2:
        lengths = np.append(lengths, 0)
    known = values if is_known.all() else values[is_known]
    return known, lengths.reshape(-1, 2)


def _folded(values: NDArray[np.uint16], previous: int) -> NDArray[np.int32]:
    """The differences of values, the first one from `previous`, in the order 0, -1, 1, -2, ..."""
    folded = np.empty(values.size, np.int32)
    np.subtract(values[1:], values[:-1], out=folded[1:], dtype=np.int32)
    folded[:1] = values[:1].astype(np.int32) - previous
    return (folded << 1) ^ (folded >> 31)


@functools.cache
def _pieces() -> NDArray[np.uint32]:
    """The nibbles of every piece, the first one highest, and above LENGTH how many bits they have.

    From PIECE on those of pieces that the rest of a number follows.
    """
    value = np.arange(2 * PIECE, dtype=np.uint32)
    is_full, value = value >= PIECE, value % PIECE
    nibbles = np.zeros(2 * PIECE, np.uint32)
    bits = np.zeros(2 * PIECE, np.uint32)
    for group in range(PIECE_BITS // GROUP_BITS):
        is_there = is_full | (group == 0) | (value >> (GROUP_BITS * group) > 0)
        has_more = is_full | (value >> (GROUP_BITS * (group + 1)) > 0)
        nibble = value >> (GROUP_BITS * group) & GROUP | np.where(has_more, MORE, 0)
        nibbles = np.where(is_there, nibbles << NIBBLE_BITS | nibble, nibbles)
        bits[is_there] += NIBBLE_BITS
    return nibbles | bits << np.uint32(LENGTH)


def _in_pieces(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers of 0 and more, with those from PIECE on in pieces; see `_pieces`."""
    large = np.flatnonzero(numbers >= PIECE)
    while large.size:
        rest = numbers[large] >> PIECE_BITS
        numbers[large] = numbers[large] % PIECE + PIECE
        numbers = np.insert(numbers, large + 1, rest)
        large = (large + 1 + np.arange(large.size))[rest >= PIECE]
    return numbers


def _four_at_a_time(pieces: NDArray[np.int32]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """The nibbles of each four pieces, and how many bits they have: 4 to 64."""
    nibbles = np.zeros(-(-pieces.size // 4) * 4, np.uint32)
    # 'clip' spares a slow check: no piece is outside of the table.
    np.take(_pieces(), pieces, out=nibbles[: pieces.size], mode='clip')
    bits = (nibbles >> LENGTH).astype(np.uint8)
    nibbles &= (1 << LENGTH) - 1
    two = nibbles[0::2] << bits[1::2] | nibbles[1::2]
    bits = bits[0::2] + bits[1::2]
    four = two[0::2].astype(np.uint64) << bits[1::2].astype(np.uint64) | two[1::2]
    return four, bits[0::2] + bits[1::2]


class _Stream:
    """Nibbles of numbers, one behind the other, from the highest bit of each word down."""

    def __init__(self) -> None:
        self._words: list[NDArray[np.uint64]] = []
        self._begun, self._begun_bits = np.uint64(0), 0  # the word that is not full yet

    def add(self, numbers: NDArray[np.int32]) -> None:
        """Append numbers, of which there is at least one."""
        codes, bits = _four_at_a_time(_in_pieces(numbers))
        ends = np.cumsum(bits, dtype=np.int64) + self._begun_bits
        starts = ends - bits
        word = starts >> WORD_SHIFT  # `//` takes four times as long
        offset = (starts & (WORD_BITS - 1)).astype(np.uint8)
        upmost = codes << (WORD_BITS - bits)
        end = int(ends[-1])
        words = np.zeros(end // WORD_BITS + 1, np.uint64)
        # A code begins in every word but perhaps the last one, since none is longer than a word.
        firsts = np.append(0, np.flatnonzero(word[1:] != word[:-1]) + 1)
        words[: firsts.size] = np.bitwise_or.reduceat(upmost >> offset, firsts)
        words[0] |= self._begun
        lasts = np.append(firsts[1:], codes.size) - 1
        lasts = lasts[ends[lasts] > (word[lasts] + 1) * WORD_BITS]  # that go on in the next word
        words[word[lasts] + 1] |= upmost[lasts] << (WORD_BITS - offset[lasts])
        self._words.append(words[:-1])
        self._begun, self._begun_bits = words[-1], end % WORD_BITS

    def finished(self) -> bytes:
        """All of them, in whole words of 32 bits."""
        words = np.append(np.concatenate(self._words), self._begun)
        halves = np.stack([words >> np.uint64(32), words & np.uint64(0xFFFFFFFF)], axis=1)
        count = 2 * (words.size - 1) + -(-self._begun_bits // 32)
        return halves.astype('<u4').reshape(-1)[:count].tobytes()
