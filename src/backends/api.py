"""The contract between an agent and what thinks inside it: Tool, Turn, Answer, Backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from teamwright.tracing.runs import RunContext
    from teamwright.tracing.tracer import Tracer

Source = Literal["local", "peer", "mcp", "builtin"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one query. Seconds, counts, dollars; None = no limit."""

    depth: int = 8
    turns: int = 25
    peer_calls: int = 50
    tool_calls: int | None = None
    duration: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A file that came with a message or goes out with an answer: bytes here, or a `uri` elsewhere."""

    name: str
    media_type: str = "application/octet-stream"
    data: bytes | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a piece of work used, summed over everything below it. `cost_usd` None = unknown.

    `partial` = somebody below, a foreign agent for example, told nothing of what it used: the counts are at least that.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    peer_calls: int = 0
    cost_usd: float | None = 0.0
    estimated: bool = False
    partial: bool = False

    def __add__(self, other: Usage) -> Usage:
        cost = None if self.cost_usd is None or other.cost_usd is None else self.cost_usd + other.cost_usd
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.model_calls + other.model_calls,
            self.tool_calls + other.tool_calls,
            self.peer_calls + other.peer_calls,
            cost,
            self.estimated or other.estimated,
            self.partial or other.partial,
        )

    @property
    def counts(self) -> dict[str, int | None]:
        """The counts by name; None where nothing is known."""
        names = ("input_tokens", "output_tokens", "model_calls", "tool_calls", "peer_calls")
        return {name: getattr(self, name) or (None if self.partial else 0) for name in names}

    @classmethod
    def unknown(cls) -> Usage:
        """That of somebody who told nothing."""
        return cls(cost_usd=None, partial=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn came to: text, and files or structured data beside it."""

    text: str
    files: tuple[File, ...] = ()
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What a peer said. `state` is its A2A task state in lower case (`completed`, `failed` …)."""

    agent: str
    text: str
    state: str = "completed"
    files: tuple[File, ...] = ()
    data: Mapping[str, Any] | None = None
    task_id: str | None = None
    session: str | None = None
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Message:
    """One earlier word of the session: `role` is user or agent."""

    role: Literal["user", "agent"]
    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters` is a JSON Schema object; `timeout` is in seconds.

    `server` is the MCP server that has it, for one of `source` mcp.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[Mapping[str, Any], Turn], Awaitable[Any]]
    tags: tuple[str, ...] = ()
    timeout: float | None = None
    source: Source = "local"
    after: tuple[str, ...] = ()
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """An agent this one may call, as its card describes it. `calls_back`: it may call this one too."""

    id: str
    name: str
    description: str
    skills: tuple[Mapping[str, Any], ...] = ()
    calls_back: bool = False


class Acquaintance(Protocol):
    """An agent that was found: `id` is what `ask_peer` takes, the other texts are its card's."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def skills(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def healthy(self) -> bool: ...
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Account:
    """Whose limits a model call counts against: the provider as traces name it, and its key.

    A server without keys goes by its address. `key` goes nowhere but into a salted digest.
    """

    provider: str
    key: str = field(repr=False)


class Admission:
    """A place for one model call; without `share` the provider has no limits here."""

    def __init__(self, share: Callable[[float], Awaitable[bool]] | None = None) -> None:
        self._share = share

    async def back_off(self, seconds: float) -> bool:
        """The provider said that it is called too often: all who use the account wait so long.

        Whether they do: then the next admission waits, else the caller has to.
        """
        return self._share is not None and await self._share(seconds)


class Turn(Protocol):
    """One message being handled: what an agent's `run()` and a backend get to work with."""

    @property
    def text(self) -> str: ...
    @property
    def files(self) -> Sequence[File]: ...
    @property
    def session(self) -> str: ...
    @property
    def conversation(self) -> str:
        """Names the conversation: another one for each caller and user, even where they use the same `session`."""

    @property
    def history(self) -> Sequence[Message]: ...
    @property
    def user(self) -> str | None: ...
    @property
    def run(self) -> RunContext: ...
    @property
    def tracer(self) -> Tracer: ...
    @property
    def tools(self) -> Sequence[Tool]: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def usage(self) -> Usage: ...

    async def peers(self) -> Sequence[Peer]:
        """The agents this one may call, with what their cards say."""

    async def find_agents(self, skill: str = "", text: str = "") -> Sequence[Acquaintance]:
        """Agents that run now and may be asked, the best ten first.

        `skill` is a skill's id, name or tag, `text` free. Raises PeerError where this agent finds nobody.
        """

    async def stream(self, text: str) -> None:
        """Send a piece of the answer on its way now."""

    def attach(self, name: str, data: bytes | str, media_type: str | None = None) -> None:
        """Send a file with the answer. Raises ValueError when all of them together are too large."""

    async def ask_peer(self, agent: str, message: str, *, files: Sequence[File] = ()) -> PeerAnswer:
        """Ask another agent. Raises PeerError or LimitReached."""

    async def ask_user(self, question: str) -> str:
        """Ask whoever sent the message and wait for the answer; its files join `files`.

        The task rests in `input-required` until then, which may be long: other work goes on. Nobody answering in
        time cancels the turn.
        """

    def count(self, usage: Usage) -> None:
        """Add to what this turn used; raises LimitReached when the limit of tool calls is passed."""

    def afford(self, dollars: float | None) -> None:
        """Ask before every model call, with what it will cost at least: None = not known.

        Raises LimitReached (cost_usd) when the query has not that much left, or nothing at all.
        """

    def admission(self, account: Account, parent: Any = None) -> AbstractAsyncContextManager[Admission]:
        """Around each model call: waits for the limits that all jobs share (`providers:` in the job file).

        Waiting is a `queued` span, below `parent` where one is given. Raises BackendError (rate_limited).
        """


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """What a backend is set up with, once per agent. `description` is what the agent's card says of it.

    `output_schema`: a JSON Schema that every answer must fit; `structured` checks it and words it for a model.
    `state`: a folder of this agent's own that outlives restarts (made when needed); empty = nothing is kept.
    `login`: the account that a person has logged in with is used, not a key.
    """

    agent: str
    prompt: str
    model: str | None
    model_options: Mapping[str, Any]
    options: Mapping[str, Any]
    folder: str
    description: str = ""
    output_schema: Mapping[str, Any] | None = None
    state: str = ""
    login: bool = False

    @property
    def system(self) -> str:
        """The prompt as a model gets it: with what the answer must look like, where that is fixed."""
        if self.output_schema is None:
            return self.prompt
        from teamwright.backends.structured import instruction

        return f"{self.prompt}\n\n{instruction(self.output_schema)}".lstrip()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with an agent's options: `path` are the keys to it, below the agent. A warning starts anyway."""

    path: tuple[str | int, ...]
    message: str
    hint: str | None = None
    warning: bool = False


@runtime_checkable
class Forgets(Protocol):
    """A backend that keeps conversations of its own, and forgets one when it is told to."""

    async def forget(self, conversation: str) -> None:
        """Forget what `Turn.conversation` names so, in memory and on disk. Raises BackendError while it is in use."""


@runtime_checkable
class Backend(Protocol):
    """What thinks inside an agent. One instance per agent process; `run` may be called concurrently."""

    name: ClassVar[str]

    async def open(self, config: BackendConfig) -> None:
        """Get ready; called once, in the agent's loop."""

    async def run(self, turn: Turn) -> Answer:
        """Handle one turn. Cancelled through asyncio; raises BackendError or LimitReached."""

    async def close(self) -> None:
        """End everything that `open` or `run` started."""
