"""What there is to work with: extras, keys, command-line programs, ports; and the command that adds what is missing.

Reads only; needs no engine and imports no vendor's package: of the backends that other packages bring, those modules
only that their entry points name.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from teamwright.backends import plugins
from teamwright.backends.catalog import CATALOG, BackendInfo
from teamwright.engine.liveness import EngineFile
from teamwright.errors import UserError
from teamwright.home import Home
from teamwright.host.proc import holder
from teamwright.jobs import mcp_plans
from teamwright.jobs.backend_choice import add_command, install_command, installed
from teamwright.jobs.names import looks_secret
from teamwright.jobs.secrets import open_vault
from teamwright.settings import PORT, PORTS, port_range

#: ok; missing: something optional that a command adds; unusable: there, and jobs that name it can't be started;
#: broken: nothing can be started as it is.
State = Literal["ok", "missing", "unusable", "broken"]

_ENGINE_PORT = 8500
#: Extras that bring no backend: the distribution of each.
_OTHERS = {"otlp-grpc": "grpcio", "parquet": "pyarrow"}
#: Programs that jobs often name, what for, and what brings them.
_PROGRAMS = (
    ("uvx", "MCP servers in Python", "pip install uv"),
    ("npx", "MCP servers in JavaScript", "sudo apt-get install npm"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is there or not. `kind` is extra, backend, key, cli, port or home.

    `command` adds what is missing.
    """

    kind: str
    name: str
    state: State
    detail: str
    command: str | None = None


def examine(home: Home, environ: Mapping[str, str], folder: Path) -> list[Finding]:
    """Everything, in the order it is shown. `folder` is where a `.env` is looked for; no value of a key is read out."""
    backends, brought = _backends()
    keys = _keys([*CATALOG.values(), *brought], environ, folder)
    return [*_extras(), *backends, *keys, *_programs(environ), *_ports(home, environ), _home(home)]


def _extras() -> Iterator[Finding]:
    for info in CATALOG.values():
        if info.extra is not None:
            yield _extra(info.extra, info.package or "", installed(info), f"backend {info.name}")
    yield _extra(mcp_plans.EXTRA, "mcp", mcp_plans.installed(), "mcp_servers")
    for extra, package in _OTHERS.items():
        yield _extra(extra, package, _version(package) is not None, "")


def _extra(extra: str, package: str, there: bool, purpose: str) -> Finding:
    words = f"for {purpose}" if purpose else package
    if there:
        return Finding("extra", extra, "ok", f"{package} {_version(package)}")
    return Finding("extra", extra, "missing", words, install_command(extra))


def _backends() -> tuple[list[Finding], list[BackendInfo]]:
    """The backends that other packages bring, and the catalogue's entries of those that can be used."""
    findings, infos = list[Finding](), list[BackendInfo]()
    for name, origins in plugins.found().items():
        words = " and ".join(f"{one.package} {one.version}" for one in origins)
        if plugins.shadowed(name):
            detail = f"{words}: not used, the built-in backend has this name"
            findings.append(Finding("backend", name, "unusable", detail, f"pip uninstall {origins[0].package}"))
            continue
        try:
            info = plugins.brought(name).info
        except UserError as error:
            command = f"pip uninstall {origins[-1].package}"
            findings.append(Finding("backend", name, "unusable", error.message, command))
            continue
        infos.append(info)
        there = installed(info)
        detail = words if there else f"{words}: needs packages that are not installed"
        findings.append(
            Finding("backend", name, "ok" if there else "missing", detail, None if there else add_command(info))
        )
    return findings, infos


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _keys(infos: Iterable[BackendInfo], environ: Mapping[str, str], folder: Path) -> Iterator[Finding]:
    vault, problems = open_vault(folder, environ)
    for problem in problems:
        yield Finding("key", ".env", "broken", str(problem))
    for info in infos:
        names = _key_names(info)
        if not names:
            continue
        found = {name: value[1] for name in names if (value := vault.get(name)) is not None and value[0]}
        if found:
            yield Finding("key", info.name, "ok", ", ".join(f"{name} ({where})" for name, where in found.items()))
        else:
            yield Finding("key", info.name, "missing", " or ".join(names), f"export {names[0]}=…")


def _key_names(info: BackendInfo) -> list[str]:
    return [name for name in info.variables if looks_secret(name)]


def _programs(environ: Mapping[str, str]) -> Iterator[Finding]:
    claude = CATALOG["claude"]
    bundled = _bundled_claude()
    if bundled is not None:
        yield Finding("cli", "claude", "ok", bundled)
    else:
        yield Finding("cli", "claude", "missing", "comes with the extra claude", install_command(claude.extra or ""))
    for name, purpose, command in _PROGRAMS:
        place = shutil.which(name, path=environ.get("PATH"))
        yield Finding("cli", name, "ok" if place else "missing", place or f"for {purpose}", None if place else command)


def _bundled_claude() -> str | None:
    spec = importlib.util.find_spec("claude_agent_sdk")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        program = Path(folder, "_bundled", "claude")
        if os.access(program, os.X_OK):
            return str(program)
    return None


def _ports(home: Home, environ: Mapping[str, str]) -> Iterator[Finding]:
    running = EngineFile.read(home)
    given = environ.get(PORT.env)
    if running is not None:
        yield Finding("port", "engine", "ok", f"the engine of this home is at {running.url}")
    elif given is not None and not (given.isdigit() and int(given) < 65536):
        yield Finding("port", "engine", "broken", f"{PORT.env}={given} is no port", f"unset {PORT.env}")
    elif _free(number := int(given or _ENGINE_PORT)):
        yield Finding("port", "engine", "ok", f"{number} is free" if number else "any")
    elif given is not None:
        yield Finding("port", "engine", "broken", f"{number} is taken by {holder(number)}", f"unset {PORT.env}")
    else:
        yield Finding("port", "engine", "ok", f"{number} is taken by {holder(number)}: the next free one is used")
    try:
        ports = port_range(environ)
    except UserError as error:
        yield Finding("port", "agents", "broken", error.message, f"unset {PORTS.env}")
        return
    free = sum(map(_free, ports))
    words = f"{free} of {len(ports)} are free ({ports.start}-{ports.stop - 1})"
    yield Finding("port", "agents", "ok" if free else "broken", words, None if free else f"unset {PORTS.env}")


def _free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _home(home: Home) -> Finding:
    place = next(one for one in (home.path, *home.path.parents) if one.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Finding("home", str(home.path), "ok", "there" if place == home.path else "is made with the first job")
    return Finding("home", str(home.path), "broken", f"can't write to {place}", "export TEAMWRIGHT_HOME=~/teamwright")
