"""Who may call whom, in which order agents start, and who is asked first.

Callees start before callers, level by level. Bidirectional edges and those of a mesh say nothing about the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from teamwright.jobs.levels import Edge, find_cycle, levels_of
from teamwright.jobs.names import suggestion
from teamwright.jobs.schema import Connection, TopologyKeys
from teamwright.jobs.source import KeyPath

Report = Callable[[KeyPath, str, str | None], None]

#: The keys that belong to each type: (needed, optional).
KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hub-spoke": (("hub", "spokes"), ()),
    "pipeline": (("stages",), ()),
    "dag": (("connections",), ()),
    "mesh": ((), ("agents",)),
    "hierarchical": (("root", "levels"), ()),
    "dynamic": ((), ()),
}


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a topology comes to. `edges` are (caller, callee); `order` those of them that decide who starts first."""

    type: str
    edges: tuple[Edge, ...] = ()
    order: tuple[Edge, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    stages: tuple[tuple[str, ...], ...] = ()
    entry_point: str | None = None
    unwired: tuple[str, ...] = ()


@dataclass
class _Draft:
    edges: list[Edge] = field(default_factory=list)
    order: list[Edge] = field(default_factory=list)
    stages: list[tuple[str, ...]] = field(default_factory=list)
    first: str | None = None
    named: set[str] = field(default_factory=set)

    def add(self, caller: str, callee: str, *, ordered: bool = True) -> None:
        self.edges.append((caller, callee))
        if ordered:
            self.order.append((caller, callee))


def wire(
    topology: TopologyKeys | None,
    calls: Mapping[str, Sequence[str] | None],
    entry_point: str | None,
    tell: Report,
    *,
    places: Mapping[str, KeyPath],
) -> Wiring:
    """Edges, levels and entry point of a job's agents.

    `calls` holds each agent in file order with its own `calls:`, `places` where the agent stands in the file.
    What is wrong goes to `tell(path, message, hint)`; the wiring is then only good for finding more.
    """
    agents = list(calls)
    draft = _Draft()
    reported: list[KeyPath] = []

    def report(path: KeyPath, message: str, hint: str | None) -> None:
        reported.append(path)
        tell(path, message, hint)

    kind = "calls" if any(calls.values()) else "none"
    if topology is not None:
        kind = topology.type
        for agent, callees in calls.items():
            if callees is not None:
                message = "calls can't stand beside a topology"
                report(
                    (*places[agent], "calls"), message, "keep one of them; topology: {type: dag, …} can say the same"
                )
        _check_keys(topology, report)
        _BUILDERS[topology.type](topology, draft, _Checker(agents, report, draft))
    else:
        _from_calls(calls, draft, _Checker(agents, report, draft), places)
    edges, order = tuple(dict.fromkeys(draft.edges)), tuple(dict.fromkeys(draft.order))
    place: KeyPath = ("topology",) if topology else ("agents",)
    levels: tuple[tuple[str, ...], ...] = ()
    if cycle := find_cycle(agents, order):
        hint = "agents that call each other: topology: {type: dag, connections: [{from, to, type: bidirectional}]}"
        report(place, f"a cycle: {' | '.join(cycle)}", hint)
    else:
        levels = levels_of(agents, order)
    entry = _entry(entry_point, draft, agents, edges, report if not reported or entry_point else _silent)
    loose = kind not in ("dynamic", "none") and len(agents) > 1
    unwired = tuple(agent for agent in agents if agent not in draft.named and agent != entry) if loose else ()
    return Wiring(kind, edges, order, levels, tuple(draft.stages), entry, unwired)


def _entry(
    given: str | None, draft: _Draft, agents: Sequence[str], edges: Sequence[Edge], report: Report
) -> str | None:
    path: KeyPath = ("execution", "entry_point")
    if given is not None:
        if given not in agents:
            report(path, f"no agent {given!r}", suggestion(given, agents, kind="agents"))
        elif draft.stages and given != draft.first:
            report(path, f"a pipeline is asked at its first agent, {draft.first!r}", "leave entry_point out")
        return given
    if draft.first is not None:
        return draft.first
    called = {callee for _, callee in edges}
    free = [agent for agent in agents if agent not in called]
    if len(free) == 1:
        return free[0]
    why = f"{', '.join(free[:4])}{' …' if len(free) > 4 else ''} are called by nobody" if free else "all are called"
    report(path, f"which agent is asked first? ({why})", f"write execution: {{entry_point: {(free or agents)[0]}}}")
    return None


def _silent(path: KeyPath, message: str, hint: str | None) -> None:
    """For what may only follow from what was reported before."""


class _Checker:
    """Looks up agents that a topology names; reports those that don't exist or stand there twice."""

    def __init__(self, agents: Sequence[str], report: Report, draft: _Draft) -> None:
        self.agents = agents
        self.report = report
        self._draft = draft

    def known(self, agent: str | None, path: KeyPath) -> str | None:
        if agent is None:
            return None
        if agent not in self.agents:
            self.report(path, f"no agent {agent!r}", suggestion(agent, self.agents, kind="agents"))
            return None
        self._draft.named.add(agent)
        return agent

    def once(self, agent: str, path: KeyPath, seen: dict[str, KeyPath]) -> str | None:
        if self.known(agent, path) is None:
            return None
        if agent in seen:
            self.report(path, f"{agent!r} stands twice in the topology", "name each agent once")
            return None
        seen[agent] = path
        return agent

    def edge(self, caller: str, callee: str | None, path: KeyPath) -> bool:
        if caller == callee:
            self.report(path, f"{caller!r} would call itself", "leave it out")
        return callee is not None and caller != callee


def _check_keys(topology: TopologyKeys, report: Report) -> None:
    needed, optional = KEYS[topology.type]
    for key in needed:
        if getattr(topology, key) is None:
            report(("topology",), f"{topology.type} needs {key}", f"write {key}: …")
    given = topology.model_fields_set - {"type", *needed, *optional}
    for key in sorted(given):
        owners = [kind for kind, keys in KEYS.items() if key in keys[0] or key in keys[1]]
        wants = ", ".join((*needed, *optional)) or "nothing beside type"
        report(("topology", key), f"{key} belongs to {', '.join(owners)}; {topology.type} takes {wants}", None)


def _hub_spoke(topology: TopologyKeys, draft: _Draft, check: _Checker) -> None:
    seen: dict[str, KeyPath] = {}
    hub = check.once(topology.hub, ("topology", "hub"), seen) if topology.hub else None
    draft.first = hub
    for index, spoke in enumerate(topology.spokes or ()):
        if check.once(spoke, ("topology", "spokes", index), seen) and hub:
            draft.add(hub, spoke)


def _pipeline(topology: TopologyKeys, draft: _Draft, check: _Checker) -> None:
    """The runtime of the first agent hands every result on, so it alone calls; the stages start last to first.

    Where the first stage is a list, its first agent runs the pipeline and asks the others of the list too.
    """
    seen: dict[str, KeyPath] = {}
    for index, stage in enumerate(topology.stages or ()):
        path: KeyPath = ("topology", "stages", index)
        if isinstance(stage, str):
            names = [check.once(stage, path, seen)]
        else:
            names = [check.once(agent, (*path, place), seen) for place, agent in enumerate(stage)]
            if not stage:
                check.report(path, "must not be empty", None)
        draft.stages.append(tuple(name for name in names if name))
    if topology.stages is not None and not topology.stages:
        check.report(("topology", "stages"), "must not be empty", None)
    everybody = [agent for stage in draft.stages for agent in stage]
    if everybody:
        draft.first = everybody[0]
        for agent in everybody[1:]:
            draft.add(everybody[0], agent)
    for earlier, later in zip(draft.stages, draft.stages[1:], strict=False):
        draft.order.extend((caller, callee) for caller in earlier for callee in later)


def _dag(topology: TopologyKeys, draft: _Draft, check: _Checker) -> None:
    for index, connection in enumerate(topology.connections or ()):
        path: KeyPath = ("topology", "connections", index)
        caller = check.known(connection.from_, (*path, "from"))
        for callee, where in _targets(connection, path):
            if check.known(callee, where) is None or caller is None or not check.edge(caller, callee, where):
                continue
            both = connection.type == "bidirectional"
            draft.add(caller, callee, ordered=not both)
            if both:
                draft.add(callee, caller, ordered=False)


def _targets(connection: Connection, path: KeyPath) -> list[tuple[str, KeyPath]]:
    if isinstance(connection.to, str):
        return [(connection.to, (*path, "to"))]
    return [(callee, (*path, "to", place)) for place, callee in enumerate(connection.to)]


def _mesh(topology: TopologyKeys, draft: _Draft, check: _Checker) -> None:
    seen: dict[str, KeyPath] = {}
    if topology.agents is None:
        members = list(check.agents)
        draft.named.update(members)
    else:
        for index, agent in enumerate(topology.agents):
            check.once(agent, ("topology", "agents", index), seen)
        members = list(seen)
    for caller in members:
        for callee in members:
            if caller != callee:
                draft.add(caller, callee, ordered=False)


def _hierarchical(topology: TopologyKeys, draft: _Draft, check: _Checker) -> None:
    seen: dict[str, KeyPath] = {}
    root = check.once(topology.root, ("topology", "root"), seen) if topology.root else None
    draft.first = root
    above = [root] if root else []
    for depth, level in enumerate(topology.levels or ()):
        below = [
            agent for place, agent in enumerate(level) if check.once(agent, ("topology", "levels", depth, place), seen)
        ]
        for parent in above:
            for child in below:
                draft.add(parent, child)
        above = below


def _dynamic(topology: TopologyKeys, draft: _Draft, check: _Checker) -> None:
    """Nobody is wired."""


def _from_calls(
    calls: Mapping[str, Sequence[str] | None], draft: _Draft, check: _Checker, places: Mapping[str, KeyPath]
) -> None:
    for caller, callees in calls.items():
        if callees:
            draft.named.add(caller)
        for index, callee in enumerate(callees or ()):
            path = (*places[caller], "calls", index)
            if check.known(callee, path) and check.edge(caller, callee, path):
                draft.add(caller, callee)


_BUILDERS: Mapping[str, Callable[[TopologyKeys, _Draft, _Checker], None]] = {
    "hub-spoke": _hub_spoke,
    "pipeline": _pipeline,
    "dag": _dag,
    "mesh": _mesh,
    "hierarchical": _hierarchical,
    "dynamic": _dynamic,
}
