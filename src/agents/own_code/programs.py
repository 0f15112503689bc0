"""Finding the programs that a job file names, the same way for checking it and for running them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from teamwright.errors import UserError

_PYTHONS = frozenset(["python", "python3"])


def script_words(words: Sequence[str], python: str | None, folder: str, path: str | None) -> list[str]:
    """The command line, its program found: on `path`, or from `folder` where it holds a slash. Raises UserError."""
    first, *rest = words
    if python is not None:
        # `python:` stands for the interpreter that the list names, or goes before a script that names none.
        found = [python, *rest] if first in _PYTHONS else [python, first, *rest]
        program = find_program(python, folder, path)
    else:
        found = [first, *rest]
        program = find_program(first, folder, path) or (sys.executable if first in _PYTHONS else None)
    if program is None:
        file = Path(folder, found[0])
        hint = f"write [python, {found[0]}]" if found[0].endswith(".py") and file.is_file() else None
        raise UserError(f"script: {found[0]} is not there, or can't be run", hint=hint)
    if found[0] == python or first in _PYTHONS:
        script = next((word for word in found[1:] if not word.startswith("-")), None)
        if script is not None and script.endswith(".py") and not Path(folder, script).is_file():
            raise UserError(f"script: no file {Path(folder, script)}")
    return [program, *found[1:]]


def find_program(name: str, folder: str, path: str | None) -> str | None:
    """Where the program `name` is: from `folder` when it holds a slash, else there itself or on `path`; or None."""
    if "/" in name:
        # Not resolved: a venv's python is a link, and knows its venv by where the link stands.
        return shutil.which(os.path.normpath(os.path.join(folder, Path(name).expanduser())))  # noqa: PTH118
    return shutil.which(name, path=path)


def script_label(words: Sequence[str]) -> str:
    """What a script is called in messages: the file rather than the interpreter."""
    named = [word for word in words if not word.startswith("-")]
    return Path(named[1] if len(named) > 1 and named[0] in _PYTHONS else words[0]).name
