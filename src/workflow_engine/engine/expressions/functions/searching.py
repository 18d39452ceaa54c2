"""What a search in a text costs at the worst."""

from __future__ import annotations


def search_units(text: str, part: str) -> int:
    """Units for finding every occurrence of `part` in `text`.

    CPython compares character by character (length times length at the worst) where the text is below 2,500
    characters, or below 30,000 with a part below 100, or the part below 6; beyond, it takes the linear two-way method.
    """
    length, width = len(text), len(part)
    units = 1 + (length >> 3)
    if length < 2500 or (width < 100 and length < 30_000) or width < 6:
        units += max(0, length - width) * width >> 6
    return units
