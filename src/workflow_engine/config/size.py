"""Sizes as people write them."""

import re
from typing import Final

_UNITS: Final = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2, "GB": 1000**3}
_SIZE = re.compile(r"\s*(\d{1,15})\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes of a size such as `1 MiB` or `65536`; raises ValueError that names the units.

    >>> parse_size("1MiB")
    1048576
    """
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"write it as bytes or with a unit of {', '.join(filter(None, _UNITS))}: 65536 or 1MiB")
    return int(match[1]) * _UNITS[match[2]]
