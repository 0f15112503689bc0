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

    file: Text = Field(description="Its path from the job file's folder; text in UTF-8, at most 1 MB.")


class Skill(Strict):
    """One skill on the agent's card."""

    id: Text = Field(description="A short word for it, unique on the card.")
    name: Text = Field(description="What people call it.")
    description: str = Field(default="", description="What it does; the offline backend and models choose by it.")
    tags: list[Text] = Field(default=[], description="Words to find it by.")
    examples: list[Text] = Field(default=[], description="Questions it is for.")
    after: list[Id] = Field(default=[], description="Ids of agents whose results it needs: they are asked first.")


class McpServer(Strict):
    """An MCP server: a command to run, or a URL."""

    command: Text | None = Field(default=None, description="The program to run.")
    args: list[str] = Field(default=[], description="Its arguments.")
    env: Environment = Field(default={}, description="Its variables.")
    url: Url | None = Field(default=None, description="Where it is served, in place of `command`.")
    headers: dict[str, str] = Field(default={}, description="HTTP headers for it.")
    timeout: Annotated[Duration, Field(gt=0)] | None = Field(
        default=None, description="Seconds that a call of one of its tools may take; 300 where it is not given."
    )
    start_timeout: Annotated[Duration, Field(gt=0)] | None = Field(
        default=None, description="Seconds until it must have said what tools it has; 30 where it is not given."
    )


class LimitKeys(Strict):
    """Limits of one query."""

    depth: Count | None = Field(
        default=None, description="Calls between agents one below the other; 8 where it is not given."
    )
    turns: Count | None = Field(default=None, description="Model calls of one agent; 25 where it is not given.")
    peer_calls: Count | None = Field(
        default=None, description="Calls between agents in the whole query; 50 where it is not given."
    )
    tool_calls: Count | None = Field(
        default=None, description="Tool calls of one agent; no limit where it is not given."
    )
    duration: Duration | None = Field(
        default=None,
        description=(
            "Seconds from a message's arrival to its answer, waiting included; no limit where it is not "
            "given. On a `url:` or `command:` agent: how long its callers wait."
        ),
    )
    cost_usd: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description=(
            "Dollars of a query, from this agent down; 5.00 where it is not given and its backend costs money."
        ),
    )


class Restart(Strict):
    """When an ended agent is started again."""

    policy: Literal["always", "on-failure", "never"] = Field(
        default="on-failure",
        description="Whether a process that ended comes back: after every end, after a failure, or never.",
    )
    max: Count = Field(
        default=5, description="Restarts `within` that time, at most; one more death and the agent is `failed`."
    )
    within: Duration = Field(default=600.0, description="Seconds that `max` counts.")


class Resources(Strict):
    """What an agent may use: cores, and memory of its whole process tree."""

    cpu: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Cores; a niceness where the system can't hold it to that (`plan` says which)."
    )
    memory: Annotated[Size, AfterValidator(_checked_memory)] | None = Field(
        default=None,
        description="Memory of its whole process tree (PSS); over it the agent ends with reason `memory_limit`.",
    )


class AgentDeployment(Strict):
    """Where an agent runs."""

    target: Text = Field(default="localhost", description="Where it runs: `localhost` (also `127.0.0.1`, `local`).")
    environment: Environment = Field(default={}, description="The same as `environment` of the agent.")


class Discover(Strict):
    """Whom an agent finds with `find_agents`, and who finds it: both sides must allow it."""

    groups: list[Id] = Field(default=[], description="Agents of these groups only.")
    tags: list[Text] = Field(default=[], description="Agents with a skill of one of these tags only.")


class Config(BaseModel):
    """The port, and whatever the agent's class takes."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    port: Port | None = Field(
        default=None,
        description=(
            "A fixed port, unique in the job; any free one where it is not given. All other keys go to the class."
        ),
    )


class Auth(Strict):
    """What a `command:` or `url:` agent is shown: the value of a variable, in a header."""

    variable: Variable = Field(description="The variable (a secret) whose value is shown.")
    header: Text = Field(
        default="Authorization",
        description="The header it is shown in; as a bearer token in `Authorization`, as it is in any other.",
    )


def _auth_form(value: Any) -> str:
    return "<variable>" if isinstance(value, dict) else "<word>"


def _prompt_form(value: Any) -> str:
    return "<file>" if isinstance(value, dict) else "<text>"


class AgentKeys(Strict):
    """Every key that an agent may have, and that `defaults` may give for all."""

    type: Text | None = Field(
        default=None,
        description="A class derived from `teamwright.Agent`; may be left out where the module has only one.",
    )
    module: ModulePath | None = Field(default=None, description="The module the class is in.")
    run: Reference | None = Field(
        default=None,
        description="Your function as it is: `package.module:function`, called with (text) or (text, turn).",
    )
    script: Words | None = Field(
        default=None, description="Your program as it is, once per message: text on stdin, or in place of `{text}`."
    )
    command: Words | None = Field(default=None, description="Any process that serves A2A on `$PORT`.")
    url: Url | None = Field(default=None, description="An agent that runs elsewhere: joined, not started.")
    python: Text | None = Field(
        default=None, description="The interpreter for `run` or `script`; ours where it is not given."
    )
    instrument: bool = Field(
        default=True,
        description=(
            "Whether what your own code (`run`, `type`) does with the Claude Agent SDK, google-genai and CrewAI is "
            "seen: spans, tokens, limits."
        ),
    )
    config: Config = Field(default=Config(), description="`port`, and whatever the agent's class takes.")
    name: Text | None = Field(
        default=None, description="The name on its card; the class's, else the id, where it is not given."
    )
    description: str | None = Field(
        default=None,
        description="What it does, on its card: others choose it by that. The class's docstring where it is not given.",
    )
    version: Text | None = Field(default=None, description="The version on its card.")
    group: Id | None = Field(default=None, description="A name for several agents, as in `JOB/@GROUP`.")
    backend: Text | None = Field(
        default=None,
        description=(
            "What thinks: `offline`, `claude`, `gemini`, `crewai`, `openai`. Where it is not given: what the "
            "model's name tells, else `offline`."
        ),
    )
    backend_options: dict[str, Any] = Field(default={}, description="Handed to the backend.")
    model: Text | None = Field(default=None, description="The model's name.")
    model_options: dict[str, Any] = Field(
        default={}, description="Handed to the model: `temperature`, `max_tokens` and others."
    )
    prompt: (
        Annotated[Annotated[str, Tag("<text>")] | Annotated[PromptFile, Tag("<file>")], Discriminator(_prompt_form)]
        | None
    ) = Field(
        default=None,
        description="Who the agent is and how it works: text, or a file. The class's where it is not given.",
    )
    skills: list[Skill] = Field(default=[], description="What stands on its card beside its tools.")
    tools: list[Reference] = Field(default=[], description="Functions the model may call: `package.module:function`.")
    mcp_servers: dict[str, McpServer] = Field(
        default={}, description="MCP servers whose tools the model may call, by name."
    )
    output_schema: dict[str, Any] | None = Field(
        default=None,
        description=(
            "A JSON Schema of an object: every answer carries data that fits it; one that does not is sent "
            "back to the model once."
        ),
    )
    auth: (
        Annotated[
            Annotated[Literal["key", "login"], Tag("<word>")] | Annotated[Auth, Tag("<variable>")],
            Discriminator(_auth_form),
        ]
        | None
    ) = Field(
        default=None,
        description=(
            "What a `command:` or `url:` agent is shown. As a word, how a backend signs in: with a `key`, or "
            "by its own `login`."
        ),
    )
    env: list[Variable] = Field(
        default=[], description="Names of variables taken from the calling shell or `.env`; a missing one is an error."
    )
    environment: Environment = Field(
        default={}, description="Variables; the agent's go before the job's, those before `defaults`."
    )
    deployment: AgentDeployment = Field(default=AgentDeployment(), description="Where the agent runs.")
    resources: Resources = Field(default=Resources(), description="What the agent may use.")
    limits: LimitKeys = Field(default=LimitKeys(), description="Limits of one query.")
    max_concurrent: Positive = Field(
        default=32, description="Messages worked on at once; a run that waits for another agent gives its place back."
    )
    queue: Count = Field(default=256, description="Messages that may wait; one more gets the error `busy`.")
    restart: Restart = Field(default=Restart(), description="When an ended agent is started again.")
    replicas: Positive = Field(
        default=1,
        description=(
            "How many processes of it: callers spread over them, a conversation stays with one. `max_concurrent` and "
            "`queue` are those of each."
        ),
    )
    calls: list[Id] | None = Field(default=None, description="Ids this agent may call; instead of a `topology`.")
    discover: Discover | None = Field(
        default=None, description="Whom this agent finds with `find_agents`, and who finds it; in place of the job's."
    )
    route: Literal["any"] | None = Field(
        default=None,
        description=(
            "`any`: when an agent that this one calls is gone, even in mid-answer, another with the same skill is "
            "asked; what the first has done by then may be done twice."
        ),
    )
    on_disconnect: Literal["continue", "cancel"] = Field(
        default="continue", description="What becomes of the work when whoever asked goes away."
    )
    push_urls: Literal["public", "any"] = Field(
        default="public",
        description="Where push notifications may go: `public` addresses, or `any` (this machine and its network too).",
    )
    scope: dict[str, Any] | None = Field(
        default=None, description="What files, commands, network and tools it may use."
    )
    approve: list[Text] | None = Field(default=None, description="Tools that a person is asked about first.")


class AgentEntry(AgentKeys):
    """One agent of the file."""

    id: Id = Field(description="Unique in the job; `job.id` in the registry.")
