"""The backends that Teamwright knows: what each needs installed, which variables it reads, which models it answers for.

Plain data: importing this imports no vendor's SDK. A new backend is one entry here and one module beside it; one of
another package brings its entry with it (plugins.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Variables that every backend with an HTTP client of its own honours.
_NETWORK = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
#: Whose servers these are, as OpenTelemetry and the price list call them; any other counts as `openai`.
HOSTS: Mapping[str, str] = {
    "api.openai.com": "openai", "openrouter.ai": "openrouter", "api.deepseek.com": "deepseek",
    "api.groq.com": "groq", "api.mistral.ai": "mistral_ai", "api.x.ai": "x_ai", "api.together.xyz": "together_ai",
    "api.fireworks.ai": "fireworks_ai", "api.cerebras.ai": "cerebras", "api.moonshot.ai": "moonshotai",
}  # fmt: skip
#: Options of the backends that drive the tool loop themselves: see calls.py.
_CALLS = ("retries", "timeout", "fallback_models")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a backend comes from that isn't built in: "module:name", and the package with its version.

    `folder` is where the code lies, once it was imported.
    """

    reference: str
    package: str
    version: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """One backend.

    `extra` is the optional dependency that brings what it needs, `probe` the module that shows it is
    installed, `package` the distribution whose version counts (None: core).
    `keys`: one of these variables must be set to ask its models; where there is a `base_variable`, not for a server at
    an `http:` address in that variable or in `base_url`.
    `variables` are taken from the calling shell or `.env` where they are set; `models` are prefixes of model names.
    `options` are the keys its `backend_options` may have; None = whatever there is, it looks itself. `needs_model`: it
    has no model of its own choice.
    `threads`: importing it starts threads, so it must never be forked. `paid`: its calls may cost money.
    `providers`: whose models it asks, by the names that traces have.
    `origin` is filled in where it is found: None = built in.
    """

    name: str
    extra: str | None = None
    probe: str | None = None
    package: str | None = None
    variables: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    base_variable: str | None = None
    models: tuple[str, ...] = ()
    options: tuple[str, ...] | None = None
    needs_model: bool = False
    threads: bool = False
    paid: bool = True
    providers: tuple[str, ...] = ()
    origin: Origin | None = None


_ALL = (
    BackendInfo("offline", models=("offline",), paid=False),
    BackendInfo(
        "claude",
        extra="claude",
        probe="claude_agent_sdk",
        package="claude-agent-sdk",
        variables=(
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_BASE_URL",
            "ANTHROPIC_CUSTOM_HEADERS",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CONFIG_DIR",
            "NODE_EXTRA_CA_CERTS",
            *_NETWORK,
        ),
        keys=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        models=("claude-", "anthropic/"),
        providers=("anthropic",),
    ),
    BackendInfo(
        "gemini",
        extra="gemini",
        probe="google.genai",
        package="google-genai",
        variables=(
            "GEMINI_API_KEY",
            "GOOGLE_API_KEY",
            "GOOGLE_GEMINI_BASE_URL",
            "GOOGLE_GENAI_USE_VERTEXAI",
            "GOOGLE_VERTEX_BASE_URL",
            "GOOGLE_CLOUD_PROJECT",
            "GOOGLE_CLOUD_LOCATION",
            "GOOGLE_APPLICATION_CREDENTIALS",
            *_NETWORK,
        ),
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        base_variable="GOOGLE_GEMINI_BASE_URL",
        models=("gemini-", "gemini/", "models/gemini-"),
        options=("base_url", "thoughts", "vertex", "project", "location", *_CALLS),
        needs_model=True,
        providers=("gcp.gemini", "gcp.vertex_ai"),
    ),
    BackendInfo(
        "crewai",
        extra="crewai",
        probe="crewai",
        package="crewai",
        variables=(
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "OPENAI_API_BASE",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "GEMINI_API_KEY",
            "GOOGLE_API_KEY",
            *_NETWORK,
        ),
        keys=("OPENAI_API_KEY",),
        base_variable="OPENAI_BASE_URL",
        options=("crew", "role", "goal", "deny", "base_url", "key_variable", "headers", "stream", *_CALLS),
        threads=True,
        providers=tuple(HOSTS.values()),
    ),
    BackendInfo(
        "openai",
        variables=("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", *_NETWORK),
        keys=("OPENAI_API_KEY",),
        base_variable="OPENAI_BASE_URL",
        models=("gpt-", "chatgpt-", "o1", "o3", "o4-", "openai/"),
        options=("base_url", "key_variable", "headers", "stream", *_CALLS),
        needs_model=True,
        providers=tuple(HOSTS.values()),
    ),
)

CATALOG: Mapping[str, BackendInfo] = {info.name: info for info in _ALL}


def for_model(model: str) -> BackendInfo | None:
    """The backend that plainly answers for `model`; None when its name doesn't say.

    for_model("claude-sonnet-4-5").name == "claude"
    """
    return next((info for info in _ALL if any(model.startswith(prefix) for prefix in info.models)), None)
