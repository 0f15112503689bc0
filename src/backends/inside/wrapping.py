"""Putting our own function where an SDK has one of its."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_MARK = "_teamwright_inside"


def wrap(owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace `owner.name` by `around(it)`, once. Raises AttributeError where there is no such function."""
    original = owner.__dict__[name] if isinstance(owner, type) and name in owner.__dict__ else getattr(owner, name)
    if hasattr(original, _MARK):
        return
    made = functools.wraps(original)(around(original))
    setattr(made, _MARK, True)
    setattr(owner, name, made)
