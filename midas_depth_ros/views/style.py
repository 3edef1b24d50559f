"""The few colours of everything that is drawn around pictures, RGB."""

from __future__ import annotations

from typing import Final

BACKGROUND: Final = (22, 23, 26)
TEXT: Final = (232, 232, 228)
DIM_TEXT: Final = (150, 152, 156)
TRACK: Final = (52, 54, 60)
HATCH: Final = (112, 114, 120)
