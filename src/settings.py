"""Every setting, declared once: environment variable, default, what it is for.

A flag goes before the environment, the environment before the default; `value()` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from teamwright.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `env` is the variable, `default` its text when nothing else is given."""

    env: str
    default: str | None
    help: str


HOME = Setting("TEAMWRIGHT_HOME", None, "the home (state folder); else the nearest marked logs/, else ./logs")
PORT = Setting("TEAMWRIGHT_PORT", None, "the engine's port; 0 = any; else 8500 or the next free one")
PORTS = Setting("TEAMWRIGHT_PORTS", "8600-9599", "the range that agents' ports are taken from")
SPAWN = Setting("TEAMWRIGHT_SPAWN", "zygote", "how agents are started: zygote or subprocess")
IDLE = Setting("TEAMWRIGHT_IDLE", "60", "seconds an on-demand engine stays without jobs or clients")
LEASE = Setting("TEAMWRIGHT_LEASE", "30", "seconds an agent stays in the registry without a heartbeat; at least 1")
TRACING = Setting("TEAMWRIGHT_TRACING", "on", "on or off: record spans at all")
TRACING_CONTENT = Setting(
    "TEAMWRIGHT_TRACING_CONTENT", "full", "what of messages is recorded, at most: full, redacted or off"
)
REDACT = Setting("TEAMWRIGHT_REDACT", None, "a YAML file of what else is masked in traces: name: regular expression")
COLLECTOR = Setting("TEAMWRIGHT_COLLECTOR", "engine", "where spans are taken in: engine, or process for one of its own")
TRACE_DAYS = Setting("TEAMWRIGHT_TRACE_DAYS", "30", "days that traces are kept; 0 = for ever")
TRACE_SIZE = Setting("TEAMWRIGHT_TRACE_SIZE", "4096", "MiB that stored traces may take, the oldest go first; 0 = any")
SESSION_DAYS = Setting("TEAMWRIGHT_SESSION_DAYS", "90", "days that unused conversations are kept; 0 = for ever")
SESSION_SIZE = Setting(
    "TEAMWRIGHT_SESSION_SIZE", "256", "MiB that one agent's conversations may take, the oldest go first; 0 = any"
)
OTLP_ENDPOINT = Setting(
    "TEAMWRIGHT_OTLP_ENDPOINT", None, "where spans are sent on to: URL[;header=value…], several apart by spaces"
)
OTLP_HEADERS = Setting("TEAMWRIGHT_OTLP_HEADERS", None, "header=value,… for the one endpoint")
OTLP_CERTIFICATE = Setting("TEAMWRIGHT_OTLP_CERTIFICATE", None, "a file of authorities for endpoints")
OTLP_CONTENT = Setting("TEAMWRIGHT_OTLP_CONTENT", "off", "on or off: send what people and models said to endpoints too")
OTLP_METRICS = Setting("TEAMWRIGHT_OTLP_METRICS", "30", "seconds between two sendings of metrics; 0 = none")
PUBLIC_URL = Setting(
    "TEAMWRIGHT_PUBLIC_URL", None, "where the engine is reached from outside, through a proxy: agents' cards say it"
)
TOKEN_RPM = Setting(
    "TEAMWRIGHT_TOKEN_RPM", "6000", "calls a minute that one token of a person may make at the front door; 0 = any"
)
TOKEN = Setting("TEAMWRIGHT_TOKEN", None, "a token to use instead of the home's operator token")

#: What our processes may see of the shell they were started from; the rest is taken away.
#: TEAMWRIGHT_* settings above are passed on; HTTP proxies and keys belong to backends and `env:`.
ALLOWED_ENVIRONMENT = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "XDG_RUNTIME_DIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ]
)
ALLOWED_PREFIXES = ("LC_",)
PASSED_SETTINGS = (
    HOME,
    PORTS,
    SPAWN,
    IDLE,
    LEASE,
    TRACING,
    COLLECTOR,
    TRACE_DAYS,
    TRACE_SIZE,
    SESSION_DAYS,
    SESSION_SIZE,
    PUBLIC_URL,
    TOKEN_RPM,
)
#: For the engine alone: headers are keys. Whatever else is started forgets them.
ENGINE_SETTINGS = (OTLP_ENDPOINT, OTLP_HEADERS, OTLP_CERTIFICATE, OTLP_CONTENT, OTLP_METRICS)
OLDER_NAMES = ("AGENT_OTEL_ENABLED", "AGENT_OTEL_ENDPOINT")
ENGINE_ONLY = frozenset([*(setting.env for setting in ENGINE_SETTINGS), *OLDER_NAMES])


def value(setting: Setting, flag: T | None, environ: Mapping[str, str]) -> T | str | None:
    """The flag if given, else the environment, else the default."""
    if flag is not None:
        return flag
    return environ.get(setting.env) or setting.default


def number(setting: Setting, environ: Mapping[str, str]) -> float:
    """The setting as a number. Raises UserError when it isn't one."""
    text = environ.get(setting.env) or setting.default or ""
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{setting.env}={text!r} is not a number", hint=setting.help) from None


def lease(environ: Mapping[str, str]) -> float:
    """Seconds an agent stays listed without a heartbeat. Raises UserError when they are fewer than 1, or no number."""
    found = number(LEASE, environ)
    if not 1 <= found <= 86_400:
        raise UserError(f"{LEASE.env}={found:g} is not from 1 to 86400", hint=LEASE.help)
    return found


def check(environ: Mapping[str, str]) -> None:
    """Whatever an engine would stumble over, before one is started. Raises UserError."""
    for setting in (IDLE, TRACE_DAYS, TRACE_SIZE, SESSION_DAYS, SESSION_SIZE, OTLP_METRICS, TOKEN_RPM):
        if number(setting, environ) < 0:
            raise UserError(f"{setting.env} is less than 0", hint=setting.help)
    lease(environ)
    public_url(environ)
    port_range(environ)
    collector_process(environ)


def public_url(environ: Mapping[str, str]) -> str | None:
    """The engine's address for people outside, without a slash at its end. Raises UserError when it is no address."""
    text = environ.get(PUBLIC_URL.env) or None
    if text is None:
        return None
    found = urlsplit(text)
    if found.scheme not in ("http", "https") or not found.hostname or found.query or found.fragment or found.username:
        raise UserError(f"{PUBLIC_URL.env}={text!r} is not http(s)://HOST[:PORT][/PATH]", hint=PUBLIC_URL.help)
    return text.rstrip("/")


def collector_process(environ: Mapping[str, str]) -> bool:
    """Whether spans are taken in by a process of its own. Raises UserError."""
    text = environ.get(COLLECTOR.env) or COLLECTOR.default
    if text not in ("engine", "process"):
        raise UserError(f"{COLLECTOR.env}={text!r} is neither engine nor process", hint=COLLECTOR.help)
    return text == "process"


def port_range(environ: Mapping[str, str]) -> range:
    """The ports that agents may have. Raises UserError when TEAMWRIGHT_PORTS is not FIRST-LAST."""
    text = environ.get(PORTS.env) or PORTS.default or ""
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
        raise UserError(f"{PORTS.env}={text!r} is not FIRST-LAST", hint=PORTS.help)
    return range(int(first), int(last) + 1)


def allowed_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` that any process of ours may have."""
    settings = {setting.env for setting in PASSED_SETTINGS} | ENGINE_ONLY
    return {
        name: text
        for name, text in environ.items()
        if name in ALLOWED_ENVIRONMENT or name in settings or name.startswith(ALLOWED_PREFIXES)
    }


#: The header in which the command line says who types: an operator's token alone names nobody.
ACTOR_HEADER = "teamwright-actor"
