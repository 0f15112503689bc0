"""What is looked for in the registry, and the pages it comes in."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from teamwright.errors import UserError
from teamwright.registry.records import AgentEntry

#: Entries of a page when nothing is said, and at most.
PAGE, LARGEST_PAGE = 100, 1000
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: all that are given must hold; of several letters' case none counts.

    skill  id, name or tag of a skill     tag   a tag of a skill     name  part of its name or id
    q      free text, ranked              job, group, health (`status` of the entry)  exactly
    """

    job: str | None = None
    group: str | None = None
    skill: str | None = None
    tag: str | None = None
    name: str | None = None
    health: str | None = None
    q: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """From a request's parameters. Raises UserError for ones there are not, and for texts of no sensible length."""
        known = [item.name for item in fields(cls)]
        for key, value in given.items():
            if key not in known:
                raise UserError(f"unknown parameter {key!r}", hint=f"there are {', '.join(known)}, limit and cursor")
            if len(value) > _LONGEST:
                raise UserError(f"{key}: more than {_LONGEST} characters")
        return cls(**{key: value for key, value in given.items() if value})


@dataclass(slots=True)
class Listed:
    """An entry and the words it is found by, in lower case. Heartbeats put another entry of the same card in."""

    entry: AgentEntry
    skills: frozenset[str]
    tags: frozenset[str]
    name: str

    @classmethod
    def of(cls, entry: AgentEntry) -> Self:
        tags = frozenset(tag.lower() for skill in entry.skills for tag in skill["tags"])
        named = frozenset(skill[key].lower() for skill in entry.skills for key in ("id", "name"))
        return cls(entry, named | tags, tags, f"{entry.name}\n{entry.id}".lower())

    def fits(self, wanted: Wanted) -> bool:
        """Whether it is one of those, free text apart."""
        entry = self.entry
        return (
            (wanted.job is None or entry.job == wanted.job)
            and (wanted.group is None or entry.group == wanted.group)
            and (wanted.health is None or entry.status == wanted.health)
            and (wanted.skill is None or wanted.skill.lower() in self.skills)
            and (wanted.tag is None or wanted.tag.lower() in self.tags)
            and (wanted.name is None or wanted.name.lower() in self.name)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what was found. `total` is all of it; `next` is the cursor of the next page, None on the last."""

    entries: tuple[AgentEntry, ...]
    total: int
    next: str | None

    def to_dict(self) -> dict[str, Any]:
        return {"agents": [entry.to_dict() for entry in self.entries], "total": self.total, "next": self.next}


def page(
    found: Sequence[str],
    entry: Callable[[str], AgentEntry],
    *,
    ranked: bool,
    limit: int = PAGE,
    cursor: str | None = None,
) -> Page:
    """One page of those ids; `entry` gives the entry of one. What is sorted by id goes on behind the last one shown,
    whatever came or went before it; what is ranked goes on by number. Raises UserError for a cursor that is none.
    """
    kind, at = ("at", 0) if ranked else ("after", "")
    if cursor is not None:
        at = _place(cursor, kind, type(at))
    start = at if isinstance(at, int) else bisect_right(found, at)
    shown = tuple(map(entry, found[start : start + limit]))
    more = start + limit < len(found)
    place: int | str = start + limit if ranked else (shown[-1].id if shown else "")
    return Page(shown, len(found), _cursor(kind, place) if more else None)


def _cursor(kind: str, place: int | str) -> str:
    return urlsafe_b64encode(json.dumps({kind: place}).encode()).decode().rstrip("=")


def _place(cursor: str, kind: str, wanted: type) -> Any:
    try:
        found = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))[kind]
    except (ValueError, LookupError, TypeError):
        found = None
    if type(found) is not wanted or (isinstance(found, int) and found < 0):
        raise UserError("cursor: not one of this search", hint="take `next` of the page before")
    return found
