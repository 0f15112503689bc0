"""httpx without its command line, in the processes that we start ourselves."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

_COMMAND = "httpx._main"


def import_httpx() -> None:
    """Import httpx now, if it isn't there, without rich, pygments and click: two fifths of what it costs to import.

    They are for a command line that httpx has as an extra and tries to import each time; it is made to do without.
    Nothing else is changed: who imports `httpx._main` afterwards gets it. Not for users' own programs.
    """
    if "httpx" in sys.modules:
        return
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules[_COMMAND] = None  # how Python is told that there is no such module
    try:
        import httpx  # noqa: F401
    finally:
        del modules[_COMMAND]
