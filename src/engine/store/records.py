"""What the engine knows of jobs, agents and queries, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from teamwright.agents.replicas import replica_name
from teamwright.host.api import AgentState
from teamwright.jobs.plan import Plan

#: What the engine wants of a job; what it shows is worked out from this and the agents' states.
Phase = Literal["starting", "running", "stopping", "stopped", "failed", "lost"]
ACTIVE: frozenset[Phase] = frozenset(["starting", "running", "stopping"])


@dataclass(slots=True)
class AgentRecord:
    """One agent of a job, or one of its replicas: `replica` is its number then. `wanted` = it should be running."""

    job: str
    agent: str
    port: int | None
    wanted: bool
    state: AgentState
    replica: int | None = None

    @property
    def name(self) -> str:
        """What the process is called in its job."""
        return self.agent if self.replica is None else replica_name(self.agent, self.replica)

    @property
    def id(self) -> str:
        """`job/name`: what the host calls it."""
        return f"{self.job}/{self.name}"

    @property
    def up(self) -> bool:
        """Whether it may be asked."""
        return self.state.status in ("healthy", "busy")

    @property
    def url(self) -> str | None:
        return f"http://127.0.0.1:{self.port}" if self.port else None


@dataclass(slots=True)
class JobRecord:
    """One job, from its first start on; `agents` are its processes by name, replicas one by one.

    Times are Unix nanoseconds; the span ids are of its deployment.
    """

    plan: Plan
    phase: Phase
    created_ns: int
    ended_ns: int | None = None
    error: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    agents: dict[str, AgentRecord] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.plan.job

    @property
    def active(self) -> bool:
        return self.phase in ACTIVE

    def processes(self, agent: str) -> list[AgentRecord]:
        """The agent of that id: one, or its replicas in their order; empty where there is none."""
        found = [record for record in self.agents.values() if record.agent == agent]
        return sorted(found, key=lambda record: record.replica or 0)

    def ids(self) -> list[str]:
        """`job/name` of every process."""
        return [agent.id for agent in self.agents.values()]


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A query on its way through the front door. `span_id` is its root span, `link` the `traceparent` it refers to."""

    span_id: str
    trace_id: str
    run_id: str
    job: str
    agent: str
    started_ns: int
    parent_id: str | None = None
    task_id: str | None = None
    context_id: str | None = None
    query: str = ""
    user: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    link: str | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A query that has ended. `status` is ok, error or lost; `usage` as the `query` command prints it."""

    task: TaskRow
    status: str
    state: str
    ended_ns: int
    usage: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """What a job was when it was started; it was in use between these Unix times in nanoseconds, or longer."""

    job: str
    revision: str
    plan: Plan
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token that was made for a person; times are Unix seconds. The token itself is not kept."""

    jti: str
    subject: str
    audience: str
    role: str
    job: str | None
    created: float
    expires: float
    revoked: float | None = None
