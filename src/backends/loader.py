"""Backends by name: each in one module, imported when it is first asked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import cast

from teamwright.backends.api import Backend
from teamwright.backends.catalog import CATALOG, BackendInfo
from teamwright.errors import MissingExtra, UserError

#: The backends that are built in; the module of each has `create()`.
BUILT_IN = ("offline", "openai")


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


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
