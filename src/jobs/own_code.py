"""The user's own code and other people's agents in a job file: `run`, `script`, `command`, `url`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from teamwright.agents.own_code.programs import find_program, script_words
from teamwright.agents.spec import FOREIGN, Kind
from teamwright.errors import UserError
from teamwright.jobs.modules import Fault, check_function, find
from teamwright.jobs.plan import Credential
from teamwright.jobs.schema_agent import AgentEntry, Auth

#: Kinds that take `python:`.
OWN_INTERPRETER: tuple[Kind, ...] = ("run", "script")

_THINKING = ("prompt", "model", "model_options", "backend", "backend_options", "tools", "mcp_servers", "output_schema")
_RUNNING = ("max_concurrent", "queue", "on_disconnect", "push_urls")
_PROCESS = ("restart", "resources", "environment", "config")


def faults(
    kind: Kind, entry: AgentEntry, folder: str, roots: Sequence[str], path: tuple[str, str] | None
) -> Iterator[tuple[str, Fault | None]]:
    """What is wrong with an agent's own code, by key; nothing of it is run. `path` is the shell's PATH."""
    search = path[0] if path is not None else os.defpath
    if kind in OWN_INTERPRETER and entry.python is not None and find_program(entry.python, folder, search) is None:
        yield "python", Fault(f"no program {entry.python}")
    elif kind == "run" and entry.run is not None:
        # With an interpreter of its own the module may be among packages that we can't see.
        if entry.python is None or find(entry.run.partition(":")[0], roots) is not None:
            yield "run", check_function(entry.run, roots)
    elif kind == "script" and entry.script:
        try:
            script_words(entry.script, entry.python, folder, search)
        except UserError as error:
            yield "script", Fault(error.message.removeprefix("script: "), error.hint)
    elif kind == "command" and entry.command and find_program(entry.command[0], folder, search) is None:
        yield "command", Fault(f"no program {entry.command[0]}")
    if isinstance(entry.auth, Auth) and kind not in FOREIGN:
        yield "auth", Fault("a variable is shown only to command: and url: agents")


def idle_keys(kind: Kind, raw: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The keys of an agent that mean nothing for its kind; those of `defaults` may well be for others."""
    idle: tuple[str, ...] = ()
    if kind not in ("class", "declared"):
        idle += _THINKING
    if kind not in ("class", "run"):
        idle += ("instrument",)
    if kind in FOREIGN:
        idle += (*_RUNNING, "calls")
        # How long a foreign agent may take is up to those who wait for it: that limit counts.
        yield from (("limits", key) for key in raw.get("limits", ()) if key != "duration")
    if kind == "url":
        idle += _PROCESS
    yield from ((key,) for key in idle if key in raw)


def credential(entry: AgentEntry) -> Credential | None:
    """What a foreign agent is shown, if anything."""
    if not isinstance(entry.auth, Auth):
        return None
    bearer = entry.auth.header.lower() == "authorization"
    return Credential(entry.auth.variable, entry.auth.header, "Bearer" if bearer else "")


def interpreter(python: str | None, folder: str) -> str | None:
    """`python:` for an agent that works in `folder`: a path from there, or a name to be looked for."""
    if python is None or "/" not in python:
        return python
    return os.path.normpath(Path(folder, Path(python).expanduser()))
