"""What engine and host say to each other: one JSON object a line over the Unix socket.

engine → host (each with `ref`, answered by {"ref": n, "ok": …} or {"ref": n, "error": …}):
    {"op": "bind", "agents": [PortRequest]}          → {"ports": {"job/agent": 8600, …}}
    {"op": "launch", "agents": [LaunchOrder]}        → accepted; readiness comes as events
    {"op": "stop", "agents": ["job/agent"], "grace", "drain"} → when they are gone
    {"op": "restart", "agents": [LaunchOrder]}       → stop and launch again, on the same port
    {"op": "replace", "agents": [LaunchOrder]}       → accepted: a successor comes up beside each; until `commit` or
                                                       `undo` its states are marked `next` and the old one is the agent
    {"op": "commit", "agents": ["job/agent"], "grace", "drain"} → when the old ones are gone; their states are `former`
    {"op": "undo", "agents": ["job/agent"]}          → when the successors are gone; the old ones go on
    {"op": "release", "agents": ["job/agent"]}       → close their ports, forget them
    {"op": "tokens", "tokens": {"job/agent": {…}}}   → what a later restart gives the agent; the old ones expire
    {"op": "leave"}                                  → stop everything and exit
host → engine:
    {"event": "hello", "pid", "zygote_pid", "boot_id", "instance", "agents": [AgentState],
     "beside": [AgentState]}                       first, on each connection; `beside` are successors and former ones
    {"event": "agent", "seq": n, "state": AgentState, "cause": str}              each change, in order; kept until
    {"ack": n}                                                                   the engine has acknowledged it
    {"event": "zygote", "pid": n}

`hello` holds the states as they are; events not yet acknowledged follow it, so the last one of each agent agrees with
it. `seq` counts within one `instance` (one life of the host). The engine's side of this is `link.HostLink`.

What an agent goes through, as (status, cause):
    starting launched → healthy ready → backing_off exited|hung|memory_limit|not_ready → starting restart
    healthy ready → busy busy → healthy recovered           (misses health checks, but computes)
    healthy ready → unhealthy hung → backing_off hung       (or memory_limit)
    starting → failed exited|not_ready|spawn_failed         (its first start; only a signal from outside counts as a
                                                             crash and is restarted by policy even then)
    backing_off → failed gave_up                            (`max` restarts `within`; its port refuses callers)
    … → stopped exited                                      (ended with code 0 and the policy doesn't bring it back)
    … → stopping stop → stopped stop                        (`stop`)
    … → stopping restart → starting restart → healthy ready (`restart`)
A `url:` agent is none of the host's; the engine checks it:
    healthy → unhealthy unreachable → healthy recovered
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from signal import Signals
from typing import Any, Literal

from teamwright.agents.spec import FOREIGN, AgentSpec

Status = Literal[
    "pending", "starting", "healthy", "busy", "unhealthy", "backing_off",
    "paused", "halted", "stopping", "stopped", "failed", "lost",
]  # fmt: skip

#: What agents take, which the host writes into the home (see `usage.py`), and the seconds between two looks.
USAGE_FILE, USAGE_EVERY = "usage.json", 5.0

#: Keys of `details`: the state is that of a process that may follow the agent's, or of the one before it.
NEXT, FORMER = "next", "former"

#: Why an agent's state changed, beside `status`.
Cause = Literal[
    "launched", "ready", "exited", "hung", "recovered", "restart", "gave_up", "stop", "memory_limit",
    "not_ready", "spawn_failed", "busy", "host_lost", "unreachable",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class PortRequest:
    """Ask for a listening socket. `port` None = any of TEAMWRIGHT_PORTS; `explicit` = that one or an error."""

    id: str
    port: int | None = None
    explicit: bool = False


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When an ended agent is started again: at most `max` times `within` seconds."""

    policy: Literal["always", "on-failure", "never"] = "on-failure"
    max: int = 5
    within: float = 600.0


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a running agent is watched. Seconds; `retries` missed checks without CPU use = hung."""

    enabled: bool = True
    interval: float = 5.0
    retries: int = 3


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """One agent to start. `timeout` is seconds to ready, `memory` bytes of PSS, `cpu` cores."""

    spec: AgentSpec
    log_file: str
    timeout: float = 60.0
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    health: HealthCheck = field(default_factory=HealthCheck)
    threads: bool = False  # its backend starts threads at import: a plain subprocess, never forked
    memory: int | None = None
    cpu: float | None = None

    @property
    def id(self) -> str:
        """`job/agent`, or `job/agent-0` … of replicas."""
        return f"{self.spec.job}/{self.spec.process}"

    @property
    def foreign(self) -> bool:
        """Whether it runs no code of ours: it binds its port itself, and knows no health path of ours."""
        return self.spec.kind in FOREIGN

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LaunchOrder:
        """The order that `to_dict` gave. Raises TypeError on keys it doesn't know."""
        values = dict(data)
        values["spec"] = AgentSpec.from_dict(values["spec"])
        values["restart"] = RestartPolicy(**values.get("restart", {}))
        values["health"] = HealthCheck(**values.get("health", {}))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class ExitInfo:
    """How a process ended. `reason`: exited, signal, memory_limit, hung, not_ready, stop, spawn_failed …"""

    code: int | None
    signal: int | None
    reason: str
    at_ns: int

    @property
    def words(self) -> str:
        """The reason; where it ended by itself, with what: `SIGKILL`, `exit code 3`."""
        if self.reason == "signal" and self.signal is not None:
            try:
                return Signals(self.signal).name
            except ValueError:  # a signal without a name
                return f"signal {self.signal}"
        if self.reason == "exited" and self.code is not None:
            return f"exit code {self.code}"
        return self.reason


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent as the host sees it. Times are Unix nanoseconds; `tail` are its last log lines.

    `changed_ns` is when `status` became what it is. `details`: `spawn` (zygote or subprocess), `nice`,
    `retry_s` while backing off, `error` for what could not be done, `since_ns` of an unhealthy `url:` agent.
    """

    id: str
    status: Status
    incarnation: str = ""
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    launched_ns: int | None = None
    ready_ns: int | None = None
    last_exit: ExitInfo | None = None
    tail: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    changed_ns: int | None = None

    def unmarked(self) -> AgentState:
        """The state without NEXT and FORMER."""
        return replace(self, details={key: value for key, value in self.details.items() if key not in (NEXT, FORMER)})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AgentState:
        """The state that `to_dict` gave."""
        values = dict(data)
        values["tail"] = tuple(values.get("tail", ()))
        ended = values.get("last_exit")
        values["last_exit"] = ExitInfo(**ended) if ended else None
        return cls(**values)
