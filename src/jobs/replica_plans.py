"""`replicas` in a job file: where several processes of one agent make sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from teamwright.agents.spec import Kind
from teamwright.jobs.plan import AgentPlan

_SENSELESS = {
    "url": ("replicas: this agent is not started here", "leave it out: whoever runs it sees to that"),
    "command": (
        "replicas: a program that serves A2A keeps conversations and tasks in its own process",
        "leave it out, or let the program start workers of its own",
    ),
    "script": (
        "replicas: each message has a process of its own already",
        "leave it out, and set max_concurrent to how many may run at once",
    ),
}


def fault(kind: Kind, *, port: bool) -> tuple[str, str] | None:
    """Why an agent of that kind can't have replicas, and what to write instead; `port`: it has one of its own."""
    if kind in _SENSELESS:
        return _SENSELESS[kind]
    if port:
        return "replicas: several processes can't have one config.port", "leave the port out: each gets a free one"
    return None


def clashes(agents: Iterable[AgentPlan]) -> Iterator[tuple[str, str]]:
    """Ids that are also the name of a replica: (the id, the agent whose replica it is)."""
    known = list(agents)
    ids = {agent.id for agent in known}
    for agent in known:
        if agent.replicas > 1:
            yield from ((name, agent.id) for name in agent.processes if name in ids)
