"""MCP servers in a job file: what is wrong with them, and their keys and passwords kept out of the plan.

A value of `env` or `headers` that looks secret, or is made of a variable that does, becomes a secret of the agent by
the name `mcp_servers.NAME.env.KEY`; it travels beside the plan and is put back in for the agent alone.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from teamwright.agents.own_code.programs import find_program
from teamwright.jobs.names import looks_secret

if TYPE_CHECKING:
    from teamwright.jobs.schema_agent import McpServer
    from teamwright.jobs.source import KeyPath

KEY = "mcp_servers"
#: The extra that brings the package `mcp`, and the version that we speak to.
EXTRA, _MAJOR = "mcp", "1"
_HIDDEN = ("env", "headers")
#: Headers that carry a credential whatever their names look like.
_CREDENTIALS = ("authorization", "proxy-authorization", "cookie")


def installed(version: Callable[[str], str] = importlib.metadata.version) -> bool:
    """Whether the package `mcp` is there, in a version that we speak to; it is not imported."""
    try:
        return version("mcp").partition(".")[0] == _MAJOR
    except importlib.metadata.PackageNotFoundError:
        return False


def faults(
    servers: Mapping[str, McpServer], folder: str, path: str | None
) -> Iterator[tuple[tuple[str, ...], str, str | None]]:
    """What is wrong: the keys to it below the agent, a message, a hint. `path` is the PATH of the agent."""
    for name, server in servers.items():
        if (server.command is None) == (server.url is None):
            yield (KEY, name), "an MCP server has either a command or a url", None
            continue
        for key in ("headers",) if server.command is not None else ("args", "env"):
            if key in server.model_fields_set:
                other = "url" if server.command is not None else "command"
                yield (KEY, name, key), f"belongs to an MCP server with a {other}", None
        if server.command is not None and find_program(server.command, folder, path) is None:
            yield (KEY, name, "command"), f"no program {server.command}", None


def beside_the_plan(path: KeyPath) -> bool:
    """Whether what stands there in the job file is kept as a secret when it is made of one."""
    return KEY in path and any(part in _HIDDEN for part in path[path.index(KEY) + 2 :][:1])


def apart(
    servers: Mapping[str, McpServer], variables: Callable[..., tuple[str, ...]]
) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[str, ...]]]]:
    """The servers as the plan has them; and the secrets by name, each with its value and the variables in it.

    `variables(NAME, "env", KEY)` says which variables of the shell a value is made of.
    """
    plain: dict[str, Any] = {}
    secrets: dict[str, tuple[str, tuple[str, ...]]] = {}
    for name, server in servers.items():
        plain[name] = server.model_dump(exclude_unset=True)
        for where in _HIDDEN:
            for key, value in list(plain[name].get(where, {}).items()):
                used = variables(name, where, key)
                if looks_secret(key) or key.lower() in _CREDENTIALS or any(looks_secret(one) for one in used):
                    secrets[f"{KEY}.{name}.{where}.{key}"] = (value, used)
                    del plain[name][where][key]
    return plain, secrets


def joined(servers: Mapping[str, Any], secrets: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The servers with their secrets in them; and the agent's other secrets."""
    made = {name: {**given, **{where: dict(given[where]) for where in _HIDDEN if where in given}}
            for name, given in servers.items()}  # fmt: skip
    others = dict(secrets)
    for name, given in made.items():
        for where in _HIDDEN:
            start = f"{KEY}.{name}.{where}."
            for secret in [one for one in others if one.startswith(start)]:
                given.setdefault(where, {})[secret.removeprefix(start)] = others.pop(secret)
    return made, others
