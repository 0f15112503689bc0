"""The job file's schema: the whole file. Shape only; what must fit together is checked by the planner."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from teamwright.jobs.schema_agent import (
    AgentEntry,
    AgentKeys,
    Count,
    Discover,
    Duration,
    Environment,
    Id,
    JobName,
    Positive,
    Strict,
    Text,
    Url,
)


def _list_form(value: Any) -> str:
    return "<many>" if isinstance(value, list) else "<one>"


OneOrMore = Annotated[
    Annotated[Id, Tag("<one>")] | Annotated[Annotated[list[Id], Field(min_length=1)], Tag("<many>")],
    Discriminator(_list_form),
]
TopologyType = Literal["hub-spoke", "pipeline", "dag", "mesh", "hierarchical", "dynamic"]


class JobInfo(Strict):
    """What the job is called and what it is."""

    name: JobName | None = None
    version: Text = "1.0.0"
    description: str = ""
    tags: list[Text] = Field(default_factory=list)


class Connection(Strict):
    """One arrow of a dag: `from` may call `to`."""

    from_: Id = Field(alias="from")
    to: OneOrMore
    type: Literal["query", "stream", "bidirectional"] | None = None


class TopologyKeys(Strict):
    """Who may call whom. Which of the keys belong to which type is checked by topology.py."""

    type: TopologyType
    hub: Id | None = None
    spokes: list[Id] | None = None
    stages: list[OneOrMore] | None = None
    connections: list[Connection] | None = None
    agents: list[Id] | None = None
    root: Id | None = None
    levels: list[Annotated[list[Id], Field(min_length=1)]] | None = None


class HealthKeys(Strict):
    """How running agents are watched."""

    enabled: bool = True
    interval: Annotated[Duration, Field(gt=0)] = 5.0
    retries: Positive = 3


class Deployment(Strict):
    """How the team is started."""

    strategy: Literal["staged", "sequential", "parallel"] = "staged"
    timeout: Annotated[Duration, Field(gt=0)] = 60.0
    health_check: HealthKeys = HealthKeys()


class Execution(Strict):
    """Who is asked, and what, once the team is ready."""

    entry_point: Id | None = None
    query: Text | None = None
    auto_start: bool = True


class Tracing(Strict):
    """Whether spans are recorded, and how much of the messages is in them."""

    enabled: bool = True
    content: Literal["full", "redacted", "off"] = "full"


class Provider(Strict):
    """Limits that all agents of an engine share for one provider's key."""

    concurrent: Positive | None = None
    rpm: Positive | None = None


class JobFile(Strict):
    """A whole job file."""

    job: JobInfo = JobInfo()
    environment: Environment = Field(default_factory=dict)
    defaults: AgentKeys = AgentKeys()
    agents: Annotated[list[AgentEntry], Field(min_length=1)]
    topology: TopologyKeys | None = None
    deployment: Deployment = Deployment()
    execution: Execution = Execution()
    tracing: Tracing = Tracing()
    watch: dict[str, Any] | None = None
    providers: dict[str, Provider] = Field(default_factory=dict)
    discover: Discover | None = None
    registry_url: Url | None = None


def json_schema() -> dict[str, Any]:
    """The schema as JSON Schema, for editors."""
    made = JobFile.model_json_schema(by_alias=True)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "Teamwright job file"
    return made


__all__ = ["AgentEntry", "AgentKeys", "Connection", "Count", "JobFile", "TopologyKeys", "json_schema"]
