"""Backends by name: each in one module, imported when it is first asked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, cast

from teamwright.backends.api import Backend, Fault
from teamwright.backends.catalog import CATALOG, BackendInfo
from teamwright.errors import MissingExtra, UserError

#: The backends that are built in; the module of each has `create()`.
BUILT_IN = ("offline", "openai", "gemini", "claude", "crewai")
#: Those that have options of their own: `options.py` in the package of each has `faults` and `note`.
_WITH_OPTIONS = ("claude",)


def known(name: str) -> BackendInfo:
    """The entry of the catalogue. Raises UserError that suggests the nearest name."""
    if name not in CATALOG:
        close = difflib.get_close_matches(name, CATALOG, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(CATALOG)}"
        raise UserError(f"there is no backend {name!r}", hint=hint)
    return CATALOG[name]


def load(name: str) -> Backend:
    """A new backend of that name. Raises UserError for an unknown one, MissingExtra where packages are missing."""
    info = known(name)
    if info.probe is not None and not _installed(info.probe):
        raise MissingExtra(
            f"backend {name!r} needs packages that are not installed", hint=f"pip install 'teamwright[{info.extra}]'"
        )
    if name not in BUILT_IN:
        raise UserError(f"backend {name!r} is not built yet", hint=f"there is {', '.join(BUILT_IN)}")
    module = importlib.import_module(f"teamwright.backends.{name}")
    return cast(Backend, module.create())


def option_faults(
    name: str, options: Mapping[str, Any], model_options: Mapping[str, Any], folder: str
) -> Sequence[Fault]:
    """What is wrong with an agent's options for that backend; the job file stands in `folder`. Imports no SDK."""
    if name not in _WITH_OPTIONS:
        return ()
    found: Sequence[Fault] = _options(name).faults(options, model_options, folder)
    return found


def option_note(name: str, options: Mapping[str, Any]) -> str | None:
    """What a person should know of an agent with those options, in one line."""
    note: str | None = _options(name).note(options) if name in _WITH_OPTIONS else None
    return note


def _options(name: str) -> ModuleType:
    return importlib.import_module(f"teamwright.backends.{name}.options")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
