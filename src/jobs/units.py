"""Durations (`60s`, `10m`) and sizes (`512M`) as people write them."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(?:(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d))+\Z")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT])(?:i?[bB])?\Z")
_BYTES = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def seconds(value: object) -> float:
    """Seconds: a number, or text such as `500ms`, `60s`, `10m`, `1h30m`. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a duration like 60s or 10m")
    if isinstance(value, str):
        if not _DURATION.match(value.strip()):
            raise ValueError(f"must be a duration like 60s or 10m, not {value!r}")
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    if value < 0:
        raise ValueError("must not be negative")
    return float(value)


def size(value: object) -> int:
    """Bytes: a number of bytes, or text such as `512M` or `2G` (powers of 1024). Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("must be a size like 512M or 2G")
    if isinstance(value, str):
        if not (match := _SIZE.match(value.strip())):
            raise ValueError(f"must be a size like 512M or 2G, not {value!r}")
        return int(float(match[1]) * _BYTES[match[2].upper()])
    return value
