"""The registry: who is there. Entries live by heartbeats; one without is no longer listed.

An agent changes its own entry only: who it is stands in its token. The HTTP side is in `routes`.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from teamwright.errors import Refused, TokenRefused, UnknownJob
from teamwright.registry.card_index import CardIndex
from teamwright.registry.changes import Changes
from teamwright.registry.finding import PAGE, Listed, Page, Wanted, page
from teamwright.registry.members import Members
from teamwright.registry.records import AgentEntry, entry_from, load_from
from teamwright.safety.tokens import Claims

#: Seconds an entry stays listed without a heartbeat; agents beat three times in that time.
LEASE = 30.0

#: Raises Refused for an entry that the engine knows to be wrong: another address, a process that is not the agent's.
Admit = Callable[[AgentEntry], None]
#: Whether whoever asks may see an entry.
Sees = Callable[[AgentEntry], bool]


def _anybody(entry: AgentEntry) -> None:
    """Where nobody knows more about agents than they say."""


class Registry:
    """The entries, in memory: after a restart of the engine the agents' next heartbeats bring them back.

    `changes` tells what happened to them; a lease that has ended counts when somebody looks (`sweep`).
    """

    def __init__(
        self, *, lease: float = LEASE, clock: Callable[[], float] = time.time, admit: Admit = _anybody
    ) -> None:
        self.lease = lease
        self.changes = Changes()
        self._clock = clock
        self._admit = admit
        self._listed: OrderedDict[str, Listed] = OrderedDict()  # who has been silent longest comes first
        self._sorted: list[str] = []  # their ids
        self._cards = CardIndex()
        self._members = Members(lease, clock)

    def now(self) -> float:
        """The registry's time."""
        return self._clock()

    def register(self, data: Any, claims: Claims) -> AgentEntry:
        """List the agent that the token speaks for. Raises UserError or Refused."""
        job, agent = _self(claims)
        self.sweep()
        entry = entry_from(data, job=job, agent=agent, group=claims.group, now=self._clock())
        self._admit(entry)
        return self.put(entry)

    def put(self, entry: AgentEntry) -> AgentEntry:
        """List an agent that the engine answers for; it has to come again before its lease ends."""
        self.sweep()
        before = self._listed.get(entry.id)
        if entry.replica is not None:
            entry = self._members.take(entry)
        elif before is not None and before.entry.incarnation == entry.incarnation:
            entry = replace(entry, registered_at=before.entry.registered_at, status=before.entry.status)
        if before is None:
            insort(self._sorted, entry.id)
        self._listed[entry.id] = Listed.of(entry)
        self._listed.move_to_end(entry.id)
        if before is None or _facts(before.entry) != _facts(entry):
            self._cards.put(entry)
            self.changes.add("listed" if before is None else "changed", entry, entry.last_seen)
        return entry

    def heartbeat(self, entry_id: str, data: Any, claims: Claims) -> AgentEntry:
        """Prolong the lease. Raises UnknownJob when the entry is not (or no longer) there, or another process's."""
        _own(entry_id, claims)
        self.sweep()
        found = self._listed.get(entry_id)
        process = data.get("incarnation") if isinstance(data, Mapping) else None
        said = found.entry if found is not None else None
        if said is not None and said.replicas:
            said = self._members.find(entry_id, str(process))
        if found is None or said is None or process not in (None, said.incarnation):
            raise UnknownJob(f"{entry_id} is not registered", hint="register again")
        entry = replace(said, last_seen=self._clock(), load=load_from(data))
        if entry.replica is not None:
            entry = self._members.change(entry)
        found.entry = entry
        self._listed.move_to_end(entry_id)
        return entry

    def remove(self, entry_id: str, claims: Claims, incarnation: str | None = None) -> bool:
        """Take the agent's own entry, or that one replica's, off the list; whether there was one."""
        if claims.role != "operator":
            _own(entry_id, claims)
        return self._gone(entry_id, incarnation, "left")

    def drop(self, job: str, agent: str, incarnation: str | None = None) -> None:
        """The engine knows that the agent's process is gone."""
        self._gone(f"{job}.{agent}", incarnation, "died")

    def note(self, job: str, agent: str, incarnation: str, status: str) -> None:
        """The host's checks say how the agent is."""
        found = self._listed.get(f"{job}.{agent}")
        if found is None:
            return
        said = self._members.find(found.entry.id, incarnation) if found.entry.replicas else found.entry
        if said is not None and said.incarnation == incarnation and said.status != status:
            entry = replace(said, status=status)
            self._change(found, self._members.change(entry) if entry.replica is not None else entry)

    def get(self, entry_id: str) -> AgentEntry:
        """One entry. Raises UnknownJob."""
        if (found := self.look(entry_id)) is None:
            raise UnknownJob(f"no agent {entry_id} is registered")
        return found

    def look(self, entry_id: str) -> AgentEntry | None:
        """One entry, if there is one."""
        self.sweep()
        found = self._listed.get(entry_id)
        return found.entry if found is not None else None

    def list(self, wanted: Wanted | None = None) -> list[AgentEntry]:
        """The entries with a living lease: the best match first when there is free text, else sorted by id."""
        return [self._entry(entry_id) for entry_id in self._found(wanted or Wanted())]

    def find(self, wanted: Wanted, *, limit: int = PAGE, cursor: str | None = None, sees: Sees | None = None) -> Page:
        """One page of `list`; with `sees`, of those that it says yes to. Raises UserError for a cursor that is none."""
        ranked, found = wanted.q is not None, self._found(wanted)
        if sees is not None:
            found = [entry_id for entry_id in found if sees(self._entry(entry_id))]
        return page(found, self._entry, ranked=ranked, limit=limit, cursor=cursor)

    def _entry(self, entry_id: str) -> AgentEntry:
        return self._listed[entry_id].entry

    def _found(self, wanted: Wanted) -> Sequence[str]:
        self.sweep()
        ids = self._sorted if wanted.q is None else self._cards.find(wanted.q)
        if wanted == Wanted(q=wanted.q):
            return ids
        return [entry_id for entry_id in ids if self._listed[entry_id].fits(wanted)]

    def sweep(self) -> float:
        """Delist whose lease has ended; seconds until the next one may end."""
        now = self._clock()
        while self._listed:
            first = next(iter(self._listed.values())).entry
            left = first.last_seen + self.lease - now
            if left >= 0:
                return left
            self._delist(first.id, "lease")
        return self.lease

    def _gone(self, entry_id: str, incarnation: str | None, reason: str) -> bool:
        """A process is, or the whole agent where none is named; whether it was listed."""
        found = self._listed.get(entry_id)
        if found is None:
            return False
        if found.entry.replicas:
            if incarnation and self._members.find(entry_id, incarnation) is None:
                return False
            if (left := self._members.drop(entry_id, incarnation)) is not None:
                self._change(found, left)
                return True
        elif incarnation not in (None, "", found.entry.incarnation):
            return False
        return self._delist(entry_id, reason)

    def _change(self, found: Listed, entry: AgentEntry) -> None:
        found.entry = entry
        self.changes.add("changed", entry, self._clock())

    def _delist(self, entry_id: str, reason: str) -> bool:
        found = self._listed.pop(entry_id, None)
        if found is None:
            return False
        del self._sorted[bisect_left(self._sorted, entry_id)]
        self._cards.drop(entry_id)
        self._members.drop(entry_id, None)
        self.changes.add("delisted", found.entry, self._clock(), reason)
        return True


def _facts(entry: AgentEntry) -> AgentEntry:
    """What of an entry is news when it changes."""
    replicas = tuple({**replica, "load": {}} for replica in entry.replicas)
    return replace(entry, registered_at=0.0, last_seen=0.0, load={}, replicas=replicas)


def _self(claims: Claims) -> tuple[str, str]:
    if claims.role not in ("agent", "guest") or not claims.job or not claims.agent:
        raise Refused("only agents register, with their own token")
    return claims.job, claims.agent


def _own(entry_id: str, claims: Claims) -> None:
    job, agent = _self(claims)
    if entry_id != f"{job}.{agent}":
        raise TokenRefused(f"{claims.sub} may not change the entry of {entry_id}")
