"""How large outputs are, and how much smaller a large JPEG may be decoded for them.

A JPEG is a grid of small cosine transforms: its decoder gives a half, a quarter or an eighth of the
picture for less than a whole one costs. All sizes are (height, width), as those of arrays.
"""

from __future__ import annotations

Size = tuple[int, int]
REDUCTIONS = (8, 4, 2)
# So many pixels of a reduced picture for each of the network's answer, in both directions. Some
# networks answer at half of the size of their input, and that is sampled from the picture.
PIXELS_PER_ANSWER = 4


def bounded_size(size: Size, most_width: int, *, aside: bool = False) -> Size:
    """Return `size`, or the same shape at most `most_width` pixels wide; 0 = no bound.

    aside: a picture that is turned by 90 or 270 degrees, whose height is the width it is sent with.
    """
    height, width = size
    sent_width = height if aside else width
    if not 0 < most_width < sent_width:
        return size
    if aside:
        return most_width, max(1, round(width * most_width / sent_width))
    return max(1, round(height * most_width / sent_width)), most_width


def thinned(size: Size, most_width: int, *, aside: bool = False) -> tuple[slice, slice]:
    """Return which rows and columns of an array of points to keep, so that it is not wider.

    Every n-th one: a mean of two points may lie where nothing is. Arguments as of `bounded_size`.
    """
    sent_width = size[0] if aside else size[1]
    step = -(-sent_width // most_width) if most_width > 0 else 1
    return slice(None, None, step), slice(None, None, step)


def sufficient_size(answer: Size | None, most_width: int, *, aside: bool = False) -> Size | None:
    """Return the size as sent that a picture must have for outputs that are at most so wide.

    answer: of the network; None before it is known. None = whole pictures: without a bound, outputs
    are as large as they are. aside: as of `bounded_size`; the answer is that of the turned picture.
    """
    if answer is None or most_width <= 0:
        return None
    height, width = reversed(answer) if aside else answer
    return PIXELS_PER_ANSWER * height, max(PIXELS_PER_ANSWER * width, most_width)


def reduction(size: Size, least: Size | None) -> int:
    """Return by what to divide both sides of a JPEG: 1, 2, 4 or 8, so that it is not below `least`.

    Only what divides both sides: else the last row or column would be of smaller pixels, and the
    camera's calibration would not fit.
    """
    if least is None:
        return 1
    return next(
        (
            each
            for each in REDUCTIONS
            if all(side % each == 0 for side in size)
            and all(side // each >= enough for side, enough in zip(size, least, strict=True))
        ),
        1,
    )
