"""Backends by name: each in one module, imported when it is first asked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, cast

from teamwright.backends import plugins
from teamwright.backends.api import Backend, Fault
from teamwright.backends.catalog import CATALOG
from teamwright.backends.options import OWN_KEYS, faults
from teamwright.errors import MissingExtra, UserError

#: The backends that are built in; the module of each has `create()`.
BUILT_IN = ("offline", "openai", "gemini", "claude", "crewai")
#: Those that have options of their own: `options.py` in the package of each has `faults` and `note`.
_WITH_OPTIONS = ("claude",)


def load(name: str, code: str = "", folder: str = "") -> Backend:
    """A new backend of that name; `code` ("module:name") and `folder` say where one of another package is.

    Raises UserError for an unknown or broken one, MissingExtra where packages are missing.
    """
    if code:
        return plugins.open_at(code, name, folder)
    info = CATALOG.get(name)
    if info is None:
        close = difflib.get_close_matches(name, CATALOG, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(CATALOG)}"
        raise UserError(f"there is no backend {name!r}", hint=hint)
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
    if name in OWN_KEYS:
        return faults(name, options, model_options)
    check = getattr(_checks(name), "faults", None)
    found: Sequence[Fault] = check(options, model_options, folder) if check is not None else ()
    return found


def option_note(name: str, options: Mapping[str, Any]) -> str | None:
    """What a person should know of an agent with those options, in one line."""
    say = getattr(_checks(name), "note", None)
    note: str | None = say(options) if say is not None else None
    return note


def _checks(name: str) -> Any:
    """What has a backend's `faults` and `note`, if it has any."""
    if name in _WITH_OPTIONS:
        return importlib.import_module(f"teamwright.backends.{name}.options")
    return plugins.brought(name).made_by if name not in CATALOG and name in plugins.found() else None


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
