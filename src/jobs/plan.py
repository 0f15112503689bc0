"""A job, fully resolved: what the CLI hands to the engine and the deployer carries out.

Plain values that survive JSON; no secret is in here (they travel beside it).
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from teamwright.agents.replicas import replica_names
from teamwright.agents.spec import FOREIGN, Content, Kind, OnDisconnect, PushUrls, Route
from teamwright.backends.api import Limits
from teamwright.host.api import HealthCheck, RestartPolicy
from teamwright.registry.policy import DiscoveryPolicy

Strategy = Literal["staged", "sequential", "parallel"]


@dataclass(frozen=True, slots=True)
class SecretSource:
    """A variable an agent gets from the calling shell: its name and where it was found (`shell`, a .env path)."""

    name: str
    source: str | None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a foreign agent is shown: the header, and the variable (a secret) with its value; `scheme` goes before."""

    variable: str
    header: str = "authorization"
    scheme: str = "Bearer"

    def headers(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """The header with its value; empty when the secret isn't there."""
        value = secrets.get(self.variable)
        return {self.header.lower(): f"{self.scheme} {value}".strip()} if value else {}


@dataclass(frozen=True, slots=True)
class ProviderLimit:
    """What a job says of a provider, by the name that traces have: calls at once and in a minute; None = nothing."""

    provider: str
    concurrent: int | None = None
    rpm: int | None = None


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """One agent of a plan. `level` counts from 0 (started first); `callees` and `callers` are agent ids.

    `run`, `script`, `command` and `url` are the user's own code and other people's agents; `python` as it was written.
    `backend_code` ("module:name") and `backend_folder` say where a backend of another package is; empty = built in.
    `instrument`: what own code does with the SDKs of models is seen.
    """

    id: str
    kind: Kind
    level: int
    backend: str
    name: str = ""
    description: str = ""
    version: str = "1.0.0"
    group: str | None = None
    module: str | None = None
    type: str | None = None
    run: str | None = None
    script: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    python: str | None = None
    instrument: bool = True
    url: str | None = None
    auth: Credential | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    backend_options: Mapping[str, Any] = field(default_factory=dict)
    backend_code: str = ""
    backend_folder: str = ""
    model: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    login: bool = False
    prompt: str = ""
    tools: tuple[str, ...] = ()
    skills: tuple[Mapping[str, Any], ...] = ()
    mcp_servers: Mapping[str, Any] = field(default_factory=dict)
    output_schema: Mapping[str, Any] | None = None
    callees: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()
    discover: DiscoveryPolicy | None = None
    route: Route | None = None
    port: int | None = None
    replicas: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretSource, ...] = ()
    limits: Limits = field(default_factory=Limits)
    max_concurrent: int = 32
    queue: int = 256
    on_disconnect: OnDisconnect = "continue"
    push_urls: PushUrls = "public"
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    threads: bool = False
    memory: int | None = None
    cpu: float | None = None

    @property
    def foreign(self) -> bool:
        """Whether it runs no code of ours, and can't be held to tokens and halts."""
        return self.kind in FOREIGN

    @property
    def processes(self) -> tuple[str, ...]:
        """What its processes are called: its id, or `id-0`, `id-1` … where it has replicas."""
        return replica_names(self.id, self.replicas)

    @property
    def started(self) -> bool:
        """Whether it has a process of ours; a `url:` agent is only joined."""
        return self.kind != "url"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole job. `levels` holds agent ids in start order; `edges` are (caller, callee).

    `timeout` is seconds per agent to ready. `revision` hashes the resolved file, prompts, user code
    and package versions: another revision needs a restart to take effect. `code` has the SHA-256 of each file of the
    user's, `packages` versions by name. `record` is the folder of a recording to make, `replay` that of one to answer
    from. `notes` are for the person who starts it.
    """

    job: str
    file: str
    folder: str
    agents: tuple[AgentPlan, ...]
    levels: tuple[tuple[str, ...], ...]
    edges: tuple[tuple[str, str], ...]
    entry_point: str
    topology: str
    version: str = "1.0.0"
    description: str = ""
    tags: tuple[str, ...] = ()
    stages: tuple[tuple[str, ...], ...] = ()
    search_path: tuple[str, ...] = ()
    strategy: Strategy = "staged"
    timeout: float = 60.0
    health: HealthCheck = field(default_factory=HealthCheck)
    tracing: bool = True
    content: Content = "full"
    redact: tuple[tuple[str, str], ...] = ()
    query: str | None = None
    registry_url: str = ""
    providers: tuple[ProviderLimit, ...] = ()
    record: str | None = None
    replay: str | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def agent(self, agent_id: str) -> AgentPlan:
        """The agent of that id. Raises KeyError."""
        for agent in self.agents:
            if agent.id == agent_id:
                return agent
        raise KeyError(agent_id)

    def process(self, name: str) -> tuple[str, int | None]:
        """The agent that a process belongs to, and its number where that has replicas."""
        for agent in self.agents:
            if agent.replicas > 1 and name in agent.processes:
                return agent.id, agent.processes.index(name)
        return name, None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` takes it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that `to_dict` gave."""
        return typing.cast(Plan, revive(cls, data))


def revive(kind: Any, data: Any) -> Any:
    """Build dataclasses, tuples and unions of `kind` from what JSON made of them."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        hints = _hints(typing.cast(type, kind))
        return kind(**{name: revive(hints[name], value) for name, value in data.items()})  # type: ignore[operator]
    if origin is tuple:
        inner = typing.get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(revive(inner[0], item) for item in data)
        return tuple(revive(part, item) for part, item in zip(inner, data, strict=True))
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        return revive(next(part for part in typing.get_args(kind) if part is not type(None)), data)
    return data


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields: dear to work out, and asked for once for each agent of a job."""
    return typing.get_type_hints(kind)
