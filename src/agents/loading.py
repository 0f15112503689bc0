"""Finding the user's code: classes and functions by name, and one clear line when they can't be found."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from teamwright.errors import UserError


def add_search_path(folders: Sequence[str]) -> None:
    """Put `folders` before everything else that Python looks through, in their order."""
    for folder in reversed(folders):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)


def load(path: str) -> Any:
    """The object at "pkg.mod:name" (or "pkg.mod:Class.method"). Raises UserError."""
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise UserError(f"{path!r} is not of the form package.module:name")
    found: Any = load_module(module_name)
    for part in name.split("."):
        owner = found
        found = getattr(owner, part, None)
        if found is None:
            raise UserError(f"{module_name} has no {name!r}", hint=_suggestion(part, vars(owner)))
    return found


def load_class(module_name: str, name: str | None, base: type) -> type:
    """The class `name` of a module, or the only one below `base` when no name is given. Raises UserError."""
    module = load_module(module_name)
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__
    }
    if name is None:
        if len(classes) == 1:
            return next(iter(classes.values()))
        what = f"the classes {', '.join(sorted(classes))}" if classes else f"no class that derives from {base.__name__}"
        raise UserError(f"{module_name} has {what}", hint="say which one with `type:`")
    found = getattr(module, name, None)
    if found is None:
        raise UserError(f"{module_name} has no class {name!r}", hint=_suggestion(name, classes))
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise UserError(f"{module_name}:{name} is not a class that derives from {base.__name__}")
    return found


def load_module(name: str) -> ModuleType:
    """Import a module of the user's. Raises UserError with the file and line that went wrong."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                f"no module {name!r}", hint=f"looked in {', '.join(_own_folders()) or 'sys.path'}"
            ) from None
        raise UserError(f"importing {name} failed: no module {error.name!r}{_place(error)}") from None
    except SyntaxError as error:
        raise UserError(f"importing {name} failed: {error.filename}:{error.lineno}: {error.msg}") from None
    except Exception as error:
        raise UserError(f"importing {name} failed: {type(error).__name__}: {error}{_place(error)}") from error
    except SystemExit as error:
        raise UserError(f"importing {name} ended the process (exit code {error.code})") from None


def _place(error: BaseException) -> str:
    """` (file:line)` of the innermost line of the user's own code."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "importlib" not in frame.filename and frame.filename != __file__
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _own_folders() -> list[str]:
    return [folder for folder in sys.path if not folder.startswith(sys.prefix) and Path(folder).is_dir()][:3]


def _suggestion(name: str, names: Any) -> str | None:
    close = difflib.get_close_matches(name, [key for key in names if not key.startswith("_")], n=1)
    return f"did you mean {close[0]!r}?" if close else None
