"""Where the examples look for files: the folder they work in, then its parents up to the project's root.

`EXAMPLES_FOLDER` names the folder; without it, it is the current one. A job file passes the caller's on with
`environment: {EXAMPLES_FOLDER: "${PWD}"}`, so that a question can say `src/app.py` as its author sees it.
"""

from __future__ import annotations

import os
from pathlib import Path

#: Files that come with the examples.
BUNDLED = Path(__file__).resolve().parent.parent / "data"


def working_folder() -> Path:
    """The folder that relative paths start from."""
    return Path(os.environ.get("EXAMPLES_FOLDER") or Path.cwd()).resolve()


def find(name: str) -> Path | None:
    """The file or folder `name`: absolute, below the working folder, or below a parent within the same project."""
    try:
        given = Path(name).expanduser()
        if given.is_absolute():
            return given.resolve() if given.exists() else None
        for folder in _search_path(working_folder()):
            if (folder / given).exists():
                return (folder / given).resolve()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have: too long, a zero byte, `~nobody`
        pass
    return None


def shown(path: Path) -> str:
    """`path` as a reader wants it: relative to the working folder or its project where it lies inside."""
    for folder in _search_path(working_folder()):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return str(path)


def inside(name: str) -> Path:
    """The path of a folder to write to. Raises ValueError when it isn't below the working folder."""
    base = working_folder()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise ValueError(f"{name} is outside of {base}; files are written below that folder only")
    return path


def _search_path(start: Path) -> list[Path]:
    """`start` and its parents up to the one that looks like the root of a project; only `start` when none does."""
    found = []
    for folder in (start, *start.parents):
        found.append(folder)
        if (folder / "pyproject.toml").exists() or (folder / ".git").exists():
            return found
    return [start]
