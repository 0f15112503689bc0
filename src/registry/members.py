"""The replicas of agents, each with a lease of its own, as the one entry that the registry shows of an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from teamwright.registry.records import AgentEntry

_WELL = "healthy"


class Members:
    """What each replica of each agent last said, by entry id. Agents without replicas are none of its business."""

    def __init__(self, lease: float, clock: Callable[[], float]) -> None:
        self._lease = lease
        self._clock = clock
        self._known: dict[str, dict[int, AgentEntry]] = {}

    def take(self, entry: AgentEntry) -> AgentEntry:
        """A replica has listed itself; the agent's entry now."""
        number = _number(entry)
        members = self._known.setdefault(entry.id, {})
        before = members.get(number)
        if before is not None and before.incarnation == entry.incarnation:
            entry = replace(entry, registered_at=before.registered_at, status=before.status)
        members[number] = entry
        return self._together(entry.id) or entry

    def find(self, entry_id: str, incarnation: str) -> AgentEntry | None:
        """The replica that this process is."""
        members = self._known.get(entry_id, {}).values()
        return next((member for member in members if member.incarnation == incarnation), None)

    def change(self, member: AgentEntry) -> AgentEntry:
        """What a listed replica says now, or is said of it; the agent's entry then."""
        self._known[member.id][_number(member)] = member
        return self._together(member.id) or member

    def drop(self, entry_id: str, incarnation: str | None) -> AgentEntry | None:
        """A replica is gone, or all of them where no process is named; what is left of the agent."""
        members = self._known.get(entry_id, {})
        for number in [number for number, member in members.items() if incarnation in (None, "", member.incarnation)]:
            del members[number]
        return self._together(entry_id)

    def _together(self, entry_id: str) -> AgentEntry | None:
        known, oldest = self._known.get(entry_id, {}), self._clock() - self._lease
        members = [known[number] for number in sorted(known) if known[number].last_seen >= oldest]
        if not members:
            self._known.pop(entry_id, None)
            return None
        self._known[entry_id] = {_number(member): member for member in members}
        shown = next((member for member in members if member.status == _WELL), members[0])
        return replace(
            shown,
            registered_at=min(member.registered_at for member in members),
            last_seen=max(member.last_seen for member in members),
            load=_sum(members),
            replica=None,
            replicas=tuple(
                {"replica": member.replica, "url": member.url, "status": member.status, "load": dict(member.load)}
                for member in members
            ),
        )


def _number(member: AgentEntry) -> int:
    assert member.replica is not None
    return member.replica


def _sum(members: Iterable[AgentEntry]) -> dict[str, int]:
    found: dict[str, int] = {}
    for member in members:
        for name, count in member.load.items():
            found[name] = found.get(name, 0) + count
    return found
