"""Which of several content types a client prefers, by its Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations


def preferred(accept: str, offers: tuple[str, ...]) -> str:
    """The offer that Accept likes best, the first of equals; '' if it takes none of them."""
    ranges = [_range(part) for part in accept.split(',') if part.strip()] or [('*/*', 1.0)]
    qualities = {offer: _quality(offer, ranges) for offer in offers}
    best = max(offers, key=lambda offer: qualities[offer])
    return best if qualities[best] > 0 else ''


def _range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(';'))
    for parameter in parameters:
        if parameter.startswith('q='):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """The quality of the most specific range that fits; 0 where none does."""
    kind = offer.partition('/')[0]
    for pattern in (offer, f'{kind}/*', '*/*'):
        found = [quality for name, quality in ranges if name == pattern]
        if found:
            return max(found)
    return 0.0
