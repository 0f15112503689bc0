"""The job file's schema: the whole file. Shape only; what must fit together is checked by the planner."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

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
from teamwright.tracing.redaction import RULES_LIMIT, problem


def _list_form(value: Any) -> str:
    return "<many>" if isinstance(value, list) else "<one>"


OneOrMore = Annotated[
    Annotated[Id, Tag("<one>")] | Annotated[Annotated[list[Id], Field(min_length=1)], Tag("<many>")],
    Discriminator(_list_form),
]
TopologyType = Literal["hub-spoke", "pipeline", "dag", "mesh", "hierarchical", "dynamic"]


class JobInfo(Strict):
    """What the job is called and what it is."""

    name: JobName | None = Field(
        default=None,
        description="Unique in the engine; `--name` goes before it. The file's name where it is not given.",
    )
    version: Text = Field(default="1.0.0", description="Its version, for people.")
    description: str = Field(default="", description="What the job is for.")
    tags: list[Text] = Field(default_factory=list, description="Words to find it by.")


class Connection(Strict):
    """One arrow of a dag: `from` may call `to`."""

    from_: Id = Field(alias="from", description="The id of the agent that calls.")
    to: OneOrMore = Field(description="The id, or ids, of whom it may call.")
    type: Literal["query", "stream", "bidirectional"] | None = Field(
        default=None,
        description=(
            "`bidirectional`: both may call each other. The other two say what one has in mind and change nothing."
        ),
    )


class TopologyKeys(Strict):
    """Who may call whom. Which of the keys belong to which type is checked by topology.py."""

    type: TopologyType = Field(description="The form of the team: see Topologies.")
    hub: Id | None = Field(default=None, description="`hub-spoke`: the agent in the middle, which is asked first.")
    spokes: list[Id] | None = Field(default=None, description="`hub-spoke`: whom the hub may call.")
    stages: list[OneOrMore] | None = Field(
        default=None, description="`pipeline`: ids one after the other; ids in a list work at the same time."
    )
    connections: list[Connection] | None = Field(default=None, description="`dag`: who may call whom, one arrow each.")
    agents: list[Id] | None = Field(
        default=None, description="`mesh`: who may call each other; all agents where it is not given."
    )
    root: Id | None = Field(default=None, description="`hierarchical`: the agent at the top, which is asked first.")
    levels: list[Annotated[list[Id], Field(min_length=1)]] | None = Field(
        default=None,
        description="`hierarchical`: lists of ids from the top down; each level may call the one below it.",
    )


class HealthKeys(Strict):
    """How running agents are watched."""

    enabled: bool = Field(default=True, description="Whether running agents are asked if they are well.")
    interval: Annotated[Duration, Field(gt=0)] = Field(
        default=5.0, description="Seconds between two checks, and how long one may take."
    )
    retries: Positive = Field(
        default=3,
        description=(
            "Missed checks in a row, without use of CPU time, that make an agent hung: it is restarted. A "
            "`url:` agent that missed them is `unhealthy`."
        ),
    )


class Deployment(Strict):
    """How the team is started."""

    strategy: Literal["staged", "sequential", "parallel"] = Field(
        default="staged",
        description="`staged`: level after level, a level at once; `sequential`: one by one; `parallel`: all at once.",
    )
    timeout: Annotated[Duration, Field(gt=0)] = Field(
        default=60.0, description="Seconds that each agent has until it is ready."
    )
    health_check: HealthKeys = Field(default=HealthKeys(), description="How running agents are watched.")


class Execution(Strict):
    """Who is asked, and what, once the team is ready."""

    entry_point: Id | None = Field(
        default=None,
        description="The id of the agent that is asked. See Topologies for who it is where it is not given.",
    )
    query: Text | None = Field(default=None, description="Asked once when the team is ready.")
    auto_start: bool = Field(default=True, description="`false`: the query is not asked by itself.")


class RedactRule(Strict):
    """Something that is masked in traces."""

    name: str = Field(pattern=r"^[\w .-]{1,40}$", description="What is put in its place: `[redacted: name]`.")
    pattern: str = Field(description="A regular expression (Python's); one that could take for ever is refused.")

    @field_validator("pattern")
    @classmethod
    def _usable(cls, pattern: str) -> str:
        if found := problem(pattern):
            raise ValueError(found)
        return pattern


class Tracing(Strict):
    """Whether spans are recorded, and how much of the messages is in them."""

    enabled: bool = Field(default=True, description="Whether spans are recorded.")
    content: Literal["full", "redacted", "off"] = Field(
        default="full",
        description="What of the messages is in them: all, with secrets masked (`redacted`), or nothing.",
    )
    redact: list[RedactRule] = Field(
        default_factory=list,
        max_length=RULES_LIMIT,
        description="What else is masked, beside keys, tokens, passwords, e-mail addresses; makes content `redacted`.",
    )

    @model_validator(mode="after")
    def _masked(self) -> Self:
        if self.redact and self.content == "full" and "content" in self.model_fields_set:
            raise ValueError("redact masks nothing with content: full; leave content out, or say redacted")
        return self


class Provider(Strict):
    """Limits that all agents of an engine share for one provider's key; a rate limit makes all of them wait."""

    concurrent: Positive | None = Field(
        default=None, description="Calls of the provider's models at the same time; any number where it is not given."
    )
    rpm: Positive | None = Field(default=None, description="Calls in any 60 seconds; any number where it is not given.")


class JobFile(Strict):
    """A whole job file."""

    job: JobInfo = Field(default=JobInfo(), description="What the job is called and what it is.")
    environment: Environment = Field(
        default_factory=dict,
        description=(
            "Variables of all agents; numbers and booleans are taken as written. One that looks like a key or "
            "password is kept as a secret."
        ),
    )
    defaults: AgentKeys = Field(default=AgentKeys(), description="Any key of an agent but `id`, for all agents.")
    agents: Annotated[list[AgentEntry], Field(min_length=1)] = Field(
        description="The agents of the team, at least one."
    )
    topology: TopologyKeys | None = Field(
        default=None, description="Who may call whom; nobody anybody where neither this nor `calls` is given."
    )
    deployment: Deployment = Field(default=Deployment(), description="How the team is started and watched.")
    execution: Execution = Field(default=Execution(), description="Who is asked, and what, once the team is ready.")
    tracing: Tracing = Field(default=Tracing(), description="What traces hold.")
    watch: dict[str, Any] | None = Field(default=None, description="Watchers that halt what gets out of hand.")
    providers: dict[str, Provider] = Field(
        default_factory=dict,
        description=(
            "Limits that all agents of an engine share for one provider's key, by the provider's name: `anthropic`, "
            "`gemini`, `openai` … as traces have it. The strictest of all running jobs holds."
        ),
    )
    discover: Discover | None = Field(
        default=None,
        description=(
            "Whom the job's agents find with `find_agents`, and who finds them. Where it is not given: everybody in a "
            "`dynamic` job, else nobody."
        ),
    )
    registry_url: Url | None = Field(
        default=None,
        description=(
            "The address of another engine whose registry is asked as well; its token (`deploy token create "
            "--registration` there) is taken from `TEAMWRIGHT_REGISTRY_TOKEN`."
        ),
    )


def json_schema() -> dict[str, Any]:
    """The schema as JSON Schema, for editors."""
    made = JobFile.model_json_schema(by_alias=True)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "Teamwright job file"
    return made


__all__ = ["AgentEntry", "AgentKeys", "Connection", "Count", "JobFile", "TopologyKeys", "json_schema"]
