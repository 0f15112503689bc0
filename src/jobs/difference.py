"""What changed between two revisions of a job: keys of the resolved file, prompts, code, packages."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from teamwright.jobs.plan import Plan
from teamwright.jobs.revision import content

_ABSENT = object()


def difference(before: Plan, after: Plan) -> dict[str, Any]:
    """`file`: [{key, before, after}], with `lines` (a unified diff) for texts of several lines or many words;
    `code`: [{file, change, before, after}] with hashes; `packages`: [{name, before, after}]. None = was not there.
    """
    sides = [content(plan) for plan in (before, after)]
    code = [side.pop("code") for side in sides]
    packages = [side.pop("packages") for side in sides]
    flat = [dict(_flat(_by_id(side))) for side in sides]
    return {
        "file": [_changed(key, one, other) for key, one, other in _unlike(*flat)],
        "code": [
            {
                "file": name,
                "change": "added" if one is None else "removed" if other is None else "changed",
                "before": one,
                "after": other,
            }
            for name, one, other in _unlike(*code)
        ],
        "packages": [{"name": name, "before": one, "after": other} for name, one, other in _unlike(*packages)],
    }


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*one, *other}):
        if one.get(key, _ABSENT) != other.get(key, _ABSENT):
            yield key, one.get(key), other.get(key)


def _changed(key: str, one: Any, other: Any) -> dict[str, Any]:
    found = {"key": key, "before": one, "after": other}
    texts = [side if isinstance(side, str) else "" for side in (one, other)]
    if any("\n" in text or len(text) > 60 for text in texts):
        lines = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), lineterm="", n=1)
        found["lines"] = [line for line in lines if not line.startswith(("---", "+++"))]
    return found


def _by_id(data: dict[str, Any]) -> dict[str, Any]:
    """Agents under their names, so that one more at the front doesn't change all the others."""
    agents = {agent["id"]: {key: value for key, value in agent.items() if key != "id"} for agent in data["agents"]}
    return {**data, "agents": agents}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf with its path: `agents.lead.model`. Lists are leaves: what is in them has no name."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, list(value) if isinstance(value, tuple) else value
