"""What the job file may say to the claude backend: `backend_options` and `model_options`, checked without the SDK.

backend_options: {builtin_tools: [Read, "Bash(git log *)"], deny: ["Read(secrets/**)"], setting_sources: [project],
                  cwd: ., clients: 8, idle: 300, retries: 3, fallback_models: [claude-haiku-4-5]}
model_options:   {max_tokens: 8000, thinking: off | on | 4000, effort: low}
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teamwright.backends.api import Fault
from teamwright.errors import UserError

#: Tools that the CLI brings; none is there unless the job names it.
BUILTIN_TOOLS = (
    "Agent", "Bash", "Edit", "Glob", "Grep", "NotebookEdit", "Read", "Skill", "TodoWrite", "WebFetch", "WebSearch",
    "Write",
)  # fmt: skip
SETTING_SOURCES = ("user", "project", "local")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
#: Words of other vendors' interfaces for which the CLI has no setting.
_NO_SETTING = ("temperature", "top_p", "top_k", "stop", "stop_sequences", "seed")
_RULE = re.compile(r"(?P<tool>[A-Za-z_][\w-]*)(?P<what>\([^()]*\))?")


@dataclass(frozen=True, slots=True)
class Options:
    """The options with their defaults.

    `builtin_tools` and `deny` are permission rules of the CLI; `cwd` is absolute, None = an empty folder of the
    agent's own. `clients`: CLI processes at once; `idle`: seconds until an unused one is closed; `retries` of the
    CLI for one model call; `fallback_models` are asked where the first is overloaded or not there.
    """

    builtin_tools: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    setting_sources: tuple[str, ...] = ()
    cwd: str | None = None
    clients: int = 8
    idle: float = 300.0
    retries: int = 3
    fallback_models: tuple[str, ...] = ()
    max_tokens: int | None = None
    thinking: bool | int | None = None
    effort: str | None = None


def read(options: Mapping[str, Any], model_options: Mapping[str, Any], folder: str) -> Options:
    """The options of an agent. Raises UserError with the first thing that is wrong."""
    for fault in faults(options, model_options, folder):
        if not fault.warning:
            raise UserError(f"{'.'.join(map(str, fault.path))}: {fault.message}", hint=fault.hint)
    given = {**options, **{key: value for key, value in model_options.items() if key not in _NO_SETTING}}
    for key in ("builtin_tools", "deny", "setting_sources", "fallback_models"):
        given[key] = tuple(given.get(key) or ())
    if given.get("cwd") is not None:
        given["cwd"] = str(_folder(given["cwd"], folder))
    return Options(**{key: value for key, value in given.items() if value is not None})


def faults(options: Mapping[str, Any], model_options: Mapping[str, Any], folder: str) -> list[Fault]:
    """What is wrong with the options of an agent whose job file stands in `folder`."""
    found: list[Fault] = []
    for name, given, checks in (
        ("backend_options", options, _CHECKS),
        ("model_options", model_options, _MODEL_CHECKS),
    ):
        for key, value in given.items():
            if name == "model_options" and key in _NO_SETTING:
                found.append(Fault((name, key), "does nothing here: the Claude CLI has no such setting", warning=True))
            elif key not in checks:
                found.append(Fault((name, key), "unknown key", _nearest(key, checks)))
            elif value is not None:
                found += [Fault((name, key, *more), message, hint) for more, message, hint in checks[key](value)]
    cwd = options.get("cwd")
    if isinstance(cwd, str) and cwd and not _folder(cwd, folder).is_dir():
        found.append(Fault(("backend_options", "cwd"), f"no folder {_folder(cwd, folder)}"))
    return found


def note(options: Mapping[str, Any]) -> str | None:
    """What of the CLI is off, in one line; None when everything is on."""
    off = []
    if not options.get("builtin_tools"):
        off.append("the CLI's own tools (backend_options.builtin_tools names those to allow)")
    if not options.get("setting_sources"):
        off.append("settings files and CLAUDE.md (backend_options.setting_sources)")
    return f"off: {'; '.join(off)}" if off else None


def tool_of(rule: str) -> str:
    """The tool that a permission rule is about: `Bash(git log *)` → `Bash`."""
    return rule.partition("(")[0]


_Found = list[tuple[tuple[str | int, ...], str, str | None]]


def _rules(value: Any, *, builtin: bool) -> _Found:
    found: _Found = []
    for number, rule in enumerate(value if isinstance(value, list) else [value]):
        match = _RULE.fullmatch(rule) if isinstance(rule, str) else None
        if match is None:
            found.append(((number,), f'must be a tool like Read or "Bash(git log *)", not {rule!r}', None))
        elif builtin and match["tool"] not in BUILTIN_TOOLS:
            found.append(((number,), f"the CLI has no tool {match['tool']!r}", _nearest(match["tool"], BUILTIN_TOOLS)))
    return found if isinstance(value, list) else [((), f"must be a list, not {value!r}", f"write [{value}]")]


def _sources(value: Any) -> _Found:
    if not isinstance(value, list):
        return [((), f"must be a list, not {value!r}", f"write [{value}]")]
    return [
        ((number,), f"must be one of {', '.join(SETTING_SOURCES)}, not {item!r}", None)
        for number, item in enumerate(value)
        if item not in SETTING_SOURCES
    ]


def _models(value: Any) -> _Found:
    fits = isinstance(value, list) and all(isinstance(item, str) and item and "," not in item for item in value)
    return [] if fits else [((), f"must be a list of models, not {value!r}", None)]


def _number(least: float, *, whole: bool = True) -> Callable[[Any], _Found]:
    def check(value: Any) -> _Found:
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and value >= least
        kind = "a whole number" if whole else "seconds"
        return [] if fits else [((), f"must be {kind}, at least {least:g}, not {value!r}", None)]

    return check


def _text(value: Any) -> _Found:
    return [] if isinstance(value, str) and value else [((), f"must be a path, not {value!r}", None)]


def _thinking(value: Any) -> _Found:
    fits = isinstance(value, bool) or (isinstance(value, int) and value >= 1024)
    return [] if fits else [((), f"must be true, false or a number of tokens from 1024, not {value!r}", None)]


def _effort(value: Any) -> _Found:
    return [] if value in EFFORTS else [((), f"must be one of {', '.join(EFFORTS)}, not {value!r}", None)]


_CHECKS: Mapping[str, Callable[[Any], _Found]] = {
    "builtin_tools": lambda value: _rules(value, builtin=True),
    "deny": lambda value: _rules(value, builtin=False),
    "setting_sources": _sources,
    "cwd": _text,
    "clients": _number(1),
    "idle": _number(0.1, whole=False),
    "retries": _number(0),
    "fallback_models": _models,
}
_MODEL_CHECKS: Mapping[str, Callable[[Any], _Found]] = {
    "max_tokens": _number(1),
    "thinking": _thinking,
    "effort": _effort,
}


def _nearest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _folder(cwd: str, folder: str) -> Path:
    return (Path(folder) / Path(cwd).expanduser()).resolve()
