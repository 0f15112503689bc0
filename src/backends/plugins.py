"""Backends that other packages bring, by the entry-point group `teamwright.backends`.

    [project.entry-points."teamwright.backends"]
    ollama = "teamwright_ollama:Ollama"

The name is what a job file says; what it refers to is a class, or a function without arguments, that makes a Backend.
Its attributes, where it has them: `info` (a BackendInfo: variables, options, model names …), `faults(options,
model_options, folder)` and `note(options)` as in loader.py. Names are read from the packages' metadata; a package's
code is imported when a job names its backend, and by `deploy doctor`. Built-in names go before those of packages.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from teamwright.backends import catalog
from teamwright.backends.api import Backend
from teamwright.backends.catalog import CATALOG, BackendInfo, Origin
from teamwright.errors import UserError

GROUP = "teamwright.backends"
_ASYNC = ("open", "run", "close")


@dataclass(frozen=True, slots=True)
class Brought:
    """A backend of a package, imported. `made_by` is what the entry point refers to."""

    info: BackendInfo
    made_by: Callable[[], Any]

    def make(self) -> Backend:
        """A new one. Raises UserError when it isn't a Backend."""
        return _made(self.made_by, _who(self.info.name, self.info.origin), self.info.origin)


def found() -> Mapping[str, tuple[Origin, ...]]:
    """The backends that packages bring, by name; more than one where packages claim the same name. Imports none."""
    return _found(tuple(sys.path))


@lru_cache(maxsize=4)
def _found(path: tuple[str, ...]) -> Mapping[str, tuple[Origin, ...]]:
    from importlib import metadata  # 25 ms, which commands that name no backend don't pay

    made: dict[str, list[Origin]] = {}
    for point in metadata.entry_points(group=GROUP):
        package, version = (point.dist.name, point.dist.version) if point.dist is not None else ("?", "?")
        origin = Origin(point.value, package, version)
        if origin not in made.setdefault(point.name, []):
            made[point.name].append(origin)
    return {name: tuple(made[name]) for name in sorted(made)}


def names() -> list[str]:
    """What `backend:` may say: the built-in ones, then those of packages."""
    return list(dict.fromkeys([*CATALOG, *found()]))


def shadowed(name: str) -> tuple[Origin, ...]:
    """The packages whose backend is not used because the built-in one has its name."""
    return found().get(name, ()) if name in CATALOG else ()


def info_of(name: str) -> BackendInfo | None:
    """The catalogue's entry of a backend, a package's included; None = no such name. Raises UserError (see brought)."""
    if name in CATALOG:
        return CATALOG[name]
    return brought(name).info if name in found() else None


def for_model(model: str) -> BackendInfo | None:
    """The backend that plainly answers for `model`: built in, else of a package; a broken one answers for nothing."""
    if (built_in := catalog.for_model(model)) is not None:
        return built_in
    return next((info for info in _usable() if any(model.startswith(prefix) for prefix in info.models)), None)


def _usable() -> Iterator[BackendInfo]:
    for name in found():
        try:
            info = info_of(name)
        except UserError:
            continue
        if info is not None and info.origin is not None:
            yield info


def brought(name: str) -> Brought:
    """The backend of that name, imported, and one made to look at. Raises UserError with a hint when it can't be used.

    That is: two packages claim the name, its import fails, or it is no Backend.
    """
    origins = found()[name]
    if len(origins) > 1:
        packages = " and ".join(f"{one.package} {one.version}" for one in origins)
        raise UserError(f"{packages} both bring a backend {name!r}", hint=f"pip uninstall {origins[-1].package}")
    (origin,) = origins
    made_by = load(origin.reference, _who(name, origin), origin)
    info = getattr(made_by, "info", None)
    info = BackendInfo(name) if info is None else info
    if not isinstance(info, BackendInfo):
        raise _wrong(f"{_who(name, origin)}: its `info` is no BackendInfo, but {info!r:.80}", origin)
    origin = replace(origin, folder=_folder(origin.reference))
    # what is made must do nothing before `open`, so that looking at one costs nothing
    _made(made_by, _who(name, origin), origin)
    return Brought(replace(info, name=name, origin=origin), made_by)


def load(reference: str, who: str, origin: Origin | None = None) -> Callable[[], Any]:
    """What "package.module:name" refers to. Raises UserError that begins with `who`."""
    module, _, attribute = reference.partition(":")
    try:
        with redirect_stdout(sys.stderr):  # commands print JSON there
            target: Any = importlib.import_module(module.strip())
            for part in attribute.strip().split("."):
                target = getattr(target, part)
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split())
        raise _wrong(f"{who} can't be loaded: {type(error).__name__}: {words}".rstrip(": "), origin) from error
    if not callable(target):
        raise _wrong(f"{who} is no class or function that makes a backend, but {target!r:.80}", origin)
    return cast("Callable[[], Any]", target)


def open_at(reference: str, name: str, folder: str) -> Backend:
    """A new backend from where the job's plan found it, in an agent's process. Raises UserError."""
    if folder and folder not in sys.path:  # PYTHONPATH counts for commands, not for agents
        sys.path.append(folder)
    return _made(load(reference, f"the backend {name!r} ({reference})"), f"the backend {name!r} ({reference})", None)


def _made(made_by: Callable[[], Any], who: str, origin: Origin | None) -> Backend:
    try:
        made = made_by()
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split())
        raise _wrong(f"{who} can't be made: {type(error).__name__}: {words}".rstrip(": "), origin) from error
    missing = [part for part in ("name", *_ASYNC) if not hasattr(made, part)]
    if missing:
        raise _wrong(f"{who} is no backend: a {type(made).__name__} has no {', '.join(missing)}", origin)
    for part in _ASYNC:
        if not inspect.iscoroutinefunction(getattr(made, part)):
            raise _wrong(f"{who} is no backend: its {part}() is not an `async def`", origin)
    return cast("Backend", made)


def _who(name: str, origin: Origin | None) -> str:
    return f"the backend {name!r}" + (f" of {origin.package} {origin.version}" if origin is not None else "")


def _wrong(message: str, origin: Origin | None) -> UserError:
    hint = f"mend it, or remove it: pip uninstall {origin.package}" if origin is not None else None
    return UserError(message, hint=hint)


def _folder(reference: str) -> str:
    """The folder that Python finds the code's package in."""
    top = sys.modules[reference.partition(":")[0].strip().partition(".")[0]]
    if (paths := getattr(top, "__path__", None)) is not None:
        return str(Path(next(iter(paths))).parent)
    return str(Path(top.__file__ or ".").parent)
