"""Who may find whom: what an agent's `discover` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class DiscoveryPolicy:
    """Whom an agent deals with beyond those it is wired to: it finds only them, and only they find it.

    groups  agents of these groups of their job file; empty = of any, or none
    tags    agents with a skill of one of these tags; empty = any

    >>> DiscoveryPolicy(tags=("weather",)).admits("outdoors", ["weather", "text"])
    True
    """

    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def admits(self, group: str | None, tags: Iterable[str]) -> bool:
        """Whether it is about an agent of that group and with those tags."""
        return (not self.groups or group in self.groups) and (not self.tags or bool(self.shared(tags)))

    def shared(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Those of the tags that the policy names; the case of letters doesn't count."""
        given = {tag.lower() for tag in tags}
        return tuple(tag for tag in self.tags if tag.lower() in given)

    @classmethod
    def of(cls, found: Mapping[str, Any] | None) -> Self | None:
        """From JSON."""
        return None if found is None else cls(tuple(found.get("groups", ())), tuple(found.get("tags", ())))


def tags_of(skills: Iterable[Mapping[str, Any]]) -> list[str]:
    """The tags of skills as a card or a plan has them."""
    return [str(tag) for skill in skills for tag in skill.get("tags") or ()]
