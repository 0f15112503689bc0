"""The job file's schema: one agent, and the defaults of all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from teamwright.jobs.names import OWN_VARIABLES, VARIABLE, name_fault, normalised
from teamwright.jobs.units import seconds, size


class Strict(BaseModel):
    """No unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


def _checked_id(text: str) -> str:
    if fault := name_fault(text, identifier=True):
        better = normalised(text, identifier=True)
        raise ValueError(f"{text!r} {fault}" + (f"; {better!r} would do" if better else ""))
    return text


def _checked_name(text: str) -> str:
    if fault := name_fault(text):
        better = normalised(text)
        raise ValueError(f"{text!r} {fault}" + (f"; {better!r} would do" if better else ""))
    return text


def _checked_variable(name: str) -> str:
    if not VARIABLE.match(name):
        raise ValueError(f"{name!r} is not the name of an environment variable")
    if name.startswith(OWN_VARIABLES):
        raise ValueError(f"{name} is Teamwright's own: variables of agents can't begin with {OWN_VARIABLES}")
    return name


def _checked_reference(text: str) -> str:
    module, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise ValueError(f"must be package.module:name, not {text!r}")
    return text


def _checked_module(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise ValueError(f"must be a module like package.module, not {text!r}")
    return text


def _checked_url(text: str) -> str:
    if not text.startswith(("http://", "https://")) or not text.split("://", 1)[1].strip("/"):
        raise ValueError(f"must be an http:// or https:// address, not {text!r}")
    return text


def _checked_memory(value: int) -> int:
    if value < 1024**2:
        raise ValueError(f"must be at least 1M, not {value} bytes: write it like 512M")
    return value


Duration = Annotated[
    float, BeforeValidator(seconds), WithJsonSchema({"type": ["number", "string"], "examples": ["60s", "10m", 30]})
]
Size = Annotated[
    int, BeforeValidator(size), WithJsonSchema({"type": ["integer", "string"], "examples": ["512M", "2G"]})
]
Id = Annotated[str, AfterValidator(_checked_id)]
JobName = Annotated[str, AfterValidator(_checked_name)]
Variable = Annotated[str, AfterValidator(_checked_variable)]
Reference = Annotated[str, AfterValidator(_checked_reference)]
ModulePath = Annotated[str, AfterValidator(_checked_module)]
Url = Annotated[str, AfterValidator(_checked_url)]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Environment = dict[Variable, str]
Words = Annotated[list[Text], Field(min_length=1)]


class PromptFile(Strict):
    """A prompt in a file of its own, beside the job file."""

    file: Text


class Skill(Strict):
    """One skill on the agent's card."""

    id: Text
    name: Text
    description: str = ""
    tags: list[Text] = []
    examples: list[Text] = []
    after: list[Id] = []


class McpServer(Strict):
    """An MCP server: a command to run, or a URL."""

    command: Text | None = None
    args: list[str] = []
    env: Environment = {}
    url: Url | None = None
    headers: dict[str, str] = {}


class LimitKeys(Strict):
    """Limits of one query."""

    depth: Count | None = None
    turns: Count | None = None
    peer_calls: Count | None = None
    tool_calls: Count | None = None
    duration: Duration | None = None
    cost_usd: Annotated[float, Field(ge=0)] | None = None


class Restart(Strict):
    """When an ended agent is started again."""

    policy: Literal["always", "on-failure", "never"] = "on-failure"
    max: Count = 5
    within: Duration = 600.0


class Resources(Strict):
    """What an agent may use: cores, and memory of its whole process tree."""

    cpu: Annotated[float, Field(gt=0)] | None = None
    memory: Annotated[Size, AfterValidator(_checked_memory)] | None = None


class AgentDeployment(Strict):
    """Where an agent runs."""

    target: Text = "localhost"
    environment: Environment = {}


class Discover(Strict):
    """Who may be found by `find_agents`."""

    groups: list[Id] = []
    tags: list[Text] = []


class Config(BaseModel):
    """The port, and whatever the agent's class takes."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    port: Port | None = None


class Auth(Strict):
    """What a `command:` or `url:` agent is shown: the value of a variable, in a header."""

    variable: Variable
    header: Text = "Authorization"


def _auth_form(value: Any) -> str:
    return "<variable>" if isinstance(value, dict) else "<word>"


def _prompt_form(value: Any) -> str:
    return "<file>" if isinstance(value, dict) else "<text>"


class AgentKeys(Strict):
    """Every key that an agent may have, and that `defaults` may give for all."""

    type: Text | None = None
    module: ModulePath | None = None
    run: Reference | None = None
    script: Words | None = None
    command: Words | None = None
    url: Url | None = None
    python: Text | None = None
    config: Config = Config()
    name: Text | None = None
    description: str | None = None
    version: Text | None = None
    group: Id | None = None
    backend: Text | None = None
    backend_options: dict[str, Any] = {}
    model: Text | None = None
    model_options: dict[str, Any] = {}
    prompt: (
        Annotated[Annotated[str, Tag("<text>")] | Annotated[PromptFile, Tag("<file>")], Discriminator(_prompt_form)]
        | None
    ) = None
    skills: list[Skill] = []
    tools: list[Reference] = []
    mcp_servers: dict[str, McpServer] = {}
    output_schema: dict[str, Any] | None = None
    auth: (
        Annotated[
            Annotated[Literal["key", "login"], Tag("<word>")] | Annotated[Auth, Tag("<variable>")],
            Discriminator(_auth_form),
        ]
        | None
    ) = None
    env: list[Variable] = []
    environment: Environment = {}
    deployment: AgentDeployment = AgentDeployment()
    resources: Resources = Resources()
    limits: LimitKeys = LimitKeys()
    max_concurrent: Positive = 32
    queue: Count = 256
    restart: Restart = Restart()
    replicas: Positive = 1
    calls: list[Id] | None = None
    discover: Discover | None = None
    route: Literal["any"] | None = None
    on_disconnect: Literal["continue", "cancel"] = "continue"
    push_urls: Literal["public", "any"] = "public"
    scope: dict[str, Any] | None = None
    approve: list[Text] | None = None


class AgentEntry(AgentKeys):
    """One agent of the file."""

    id: Id
