"""The first difference between what was recorded and what a replay is asked, in words for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from teamwright.backends.recordings import volatile
from teamwright.backends.recordings.values import Asked

#: Characters shown before and behind the place where two texts begin to differ.
_BEFORE, _BEHIND = 24, 60
#: In this order differences are named: the agent first, then what it is asked.
_ORDER = ("model", "prompt", "model_options", "options", "output_schema", "tools", "history", "text", "files")
assert set(_ORDER) == {item.name for item in fields(Asked)}


def differences(recorded: Asked, then: float, given: Asked, now: float) -> Iterator[tuple[str, str]]:
    """The fields that differ, and how. `then` and `now` are Unix time."""
    for name in _ORDER:
        yield from _compared(name, getattr(recorded, name), then, getattr(given, name), now)


def difference(recorded: str, then: float, given: str, now: float) -> str | None:
    """How two texts differ; None when only in what changes from run to run."""
    if volatile.same(recorded, then, given, now):
        return None
    at = next(
        (place for place, (one, other) in enumerate(zip(recorded, given, strict=False)) if one != other),
        min(len(recorded), len(given)),
    )
    return f"recorded {_around(recorded, at)}, now {_around(given, at)}"


def _compared(name: str, recorded: Any, then: float, given: Any, now: float) -> Iterator[tuple[str, str]]:
    if isinstance(recorded, list) and isinstance(given, list):
        yield from _listed(name, recorded, then, given, now)
    elif isinstance(recorded, str) and isinstance(given, str):
        if found := difference(recorded, then, given, now):
            yield name, found
    elif recorded != given and (found := difference(_text(recorded), then, _text(given), now)):
        yield name, found


def _listed(
    name: str, recorded: Sequence[Any], then: float, given: Sequence[Any], now: float
) -> Iterator[tuple[str, str]]:
    if name == "tools":
        before, after = ({tool["name"]: tool for tool in tools} for tools in (recorded, given))
        for gone in sorted(before.keys() - after.keys()):
            yield f"tools.{gone}", "recorded with it, now without"
        for new in sorted(after.keys() - before.keys()):
            yield f"tools.{new}", "recorded without it, now with it"
        for both in sorted(before.keys() & after.keys()):
            yield from _compared(f"tools.{both}", before[both], then, after[both], now)
        return
    for number, (one, other) in enumerate(zip(recorded, given, strict=False), 1):
        if found := difference(_words(one), then, _words(other), now):
            yield f"{name} {number}", found
    if len(recorded) != len(given):
        yield name, f"recorded {len(recorded)}, now {len(given)}"


def _words(item: Any) -> str:
    if isinstance(item, dict) and item.keys() == {"role", "text"}:
        return f"{item['role']}: {item['text']}"
    return _text(item)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _around(text: str, at: int) -> str:
    start, end = max(0, at - _BEFORE), at + _BEHIND
    cut = " ".join(text[start:end].split())
    return f"“{'…' if start else ''}{cut}{'…' if end < len(text) else ''}”"
