"""What an agent process is told about itself: plain values, nothing of the job model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from teamwright.agents.replicas import replica_name
from teamwright.backends.api import Limits
from teamwright.registry.policy import DiscoveryPolicy

Kind = Literal["class", "declared", "run", "script", "command", "url"]
#: Kinds that run no code of ours: they are not held to tokens and halts.
FOREIGN: frozenset[Kind] = frozenset(["command", "url"])
CARD_PATH = "/.well-known/agent-card.json"
Content = Literal["full", "redacted", "off"]
#: What becomes of the work when whoever asked goes away before the answer.
OnDisconnect = Literal["continue", "cancel"]
#: Where push notifications may go: to public addresses only, or anywhere.
PushUrls = Literal["public", "any"]
#: Whom a call goes to when the agent it was meant for is gone: any other that can do it.
Route = Literal["any"]

#: The variable with the registration token for the engine at `registry_url`.
REGISTRY_TOKEN = "TEAMWRIGHT_REGISTRY_TOKEN"
#: `callers` may hold these besides `job/agent` names.
FRONT_DOOR = "front-door"


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """An agent that this one may call. `id` is what `query_agent` takes; name and skills stand on its card.

    A foreign one's `url` is where its card is found; it gets `headers` instead of a token of ours, and `duration`
    seconds for an answer, as it can't be held to a limit of its own. `name` is what it is called, where that is known
    without its card. `urls` are those of its replicas, in their order.
    """

    id: str
    job: str
    agent: str
    url: str
    kind: Kind = "declared"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    duration: float | None = None
    name: str = ""
    urls: tuple[str, ...] = ()

    @property
    def registry_id(self) -> str:
        return f"{self.job}.{self.agent}"


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """Everything one agent process needs. Travels as JSON over a pipe, never in argv or environment.

    `run` (with `python`, an interpreter of its own), `script` and `command` are the user's code for those kinds.

    `instrument`: what that code does with the SDKs of models gets spans.

    `environment` are the job's and agent's variables, `secrets` those taken from the calling shell;
    both are put into the process's own environment after the fork.
    `tokens` are bearer tokens by audience: `engine`, and `job/agent` for each peer.
    `spans_url` is where spans are sent; empty = to the engine.
    `backend_code` ("module:name") and `backend_folder` say where a backend of another package is; empty = built in.
    `login`: the backend uses the account that a person has logged in with, not a key.
    `sessions_dir` is where the words of conversations are kept; empty = in memory. They are forgotten `session_age`
    seconds after they were last used, the oldest before when they take more than `session_size` bytes; None = never.
    `discover`: whom it may find beyond its peers, and who may find it; None = nobody. `route` any: where one that it
    calls is gone, another with the same skill is asked. `registry_url` is another engine's, asked as well.
    `replica` is its number where the agent has replicas.
    `record` is the folder of a recording that every message goes to, `replay` one that is answered from.
    `stages` are those of a pipeline, for the agent that runs it: itself first, the others are peers of it.
    """

    job: str
    agent: str
    incarnation: str
    home: str
    home_id: str
    job_folder: str
    kind: Kind
    url: str
    engine_url: str
    public_key: str
    epoch_file: str
    spool_dir: str
    spans_url: str = ""
    sessions_dir: str = ""
    session_age: float | None = None
    session_size: int | None = None
    revision: str = ""
    search_path: tuple[str, ...] = ()
    module: str | None = None
    type: str | None = None
    run: str | None = None
    script: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    python: str | None = None
    instrument: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    description: str = ""
    version: str = "1.0.0"
    group: str | None = None
    backend: str = "offline"
    backend_options: Mapping[str, Any] = field(default_factory=dict)
    backend_code: str = ""
    backend_folder: str = ""
    model: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    login: bool = False
    replica: int | None = None
    prompt: str = ""
    tools: tuple[str, ...] = ()
    skills: tuple[Mapping[str, Any], ...] = ()
    mcp_servers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    output_schema: Mapping[str, Any] | None = None
    record: str | None = None
    replay: str | None = None
    peers: tuple[PeerSpec, ...] = ()
    callers: tuple[str, ...] = (FRONT_DOOR,)
    stages: tuple[tuple[str, ...], ...] = ()
    discover: DiscoveryPolicy | None = None
    route: Route | None = None
    registry_url: str = ""
    limits: Limits = field(default_factory=Limits)
    max_concurrent: int = 32
    queue: int = 256
    on_disconnect: OnDisconnect = "continue"
    push_urls: PushUrls = "public"
    tracing: bool = True
    content: Content = "full"
    redact: tuple[tuple[str, str], ...] = ()
    log_level: str = "info"
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def id(self) -> str:
        """`job/agent`: the subject of its tokens."""
        return f"{self.job}/{self.agent}"

    @property
    def process(self) -> str:
        """What this process is called in its job: the agent's id, or its replica's name."""
        return self.agent if self.replica is None else replica_name(self.agent, self.replica)

    @property
    def registry_id(self) -> str:
        return f"{self.job}.{self.agent}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The spec that `to_dict` gave. Raises TypeError on keys it doesn't know."""
        known = {item.name for item in fields(cls)}
        if strange := set(data) - known:
            raise TypeError(f"unknown spec keys: {sorted(strange)}")
        values = dict(data)
        values["peers"] = tuple(
            PeerSpec(**{**peer, "urls": tuple(peer.get("urls", ()))}) for peer in values.get("peers", ())
        )
        values["discover"] = DiscoveryPolicy.of(values.get("discover"))
        values["limits"] = Limits(**values.get("limits", {}))
        for key in ("search_path", "tools", "skills", "callers", "script", "command"):
            values[key] = tuple(values.get(key, ()) or ())
        values["redact"] = tuple((name, pattern) for name, pattern in values.get("redact", ()))
        values["stages"] = tuple(tuple(stage) for stage in values.get("stages", ()))
        return cls(**values)
