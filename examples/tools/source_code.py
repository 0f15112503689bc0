"""The Python code that a question is about: a file, a folder, or code in the question itself."""

from __future__ import annotations

import ast
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .folders import find, shown

MAX_FILES = 500
MAX_FILE_BYTES = 1_000_000
MAX_TOTAL_BYTES = 5_000_000
PASTED = "pasted.py"

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "build", "dist"}


@dataclass(frozen=True)
class Code:
    """The files to look at, what to call them, and an empty folder to work in."""

    target: str
    files: Sequence[Path]
    scratch: Path
    pasted: bool = False

    @property
    def paths(self) -> list[str]:
        return [str(path) for path in self.files]

    def name(self, path: str) -> str:
        return PASTED if self.pasted else shown((self.scratch / path).resolve())


@contextmanager
def code_in(target: str) -> Iterator[Code]:
    """The code that `target` is or names. Raises ValueError."""
    if not target.strip():
        raise ValueError("nothing to review: give the path of a Python file or folder, or Python code")
    with tempfile.TemporaryDirectory(prefix="review-") as folder:
        scratch = Path(folder).resolve()
        fence = _fenced(target)
        path = None if fence is not None else _path_in(target)
        if path is not None:
            yield Code(shown(path), _files(path), scratch)
            return
        source = fence if fence is not None else _source_in(target)
        if source is None:
            raise ValueError(f"no such file or folder, and not Python code: {textwrap.shorten(target, 100)}")
        if len(source.encode()) > MAX_FILE_BYTES:
            raise ValueError(f"the code has {len(source.encode()):,} bytes; the limit is {MAX_FILE_BYTES:,}")
        file = scratch / PASTED
        file.write_text(source, encoding="utf-8")
        yield Code("the code in the question", [file], scratch, pasted=True)


def _fenced(text: str) -> str | None:
    """What stands between ``` fences; several blocks one after the other."""
    blocks = re.findall(r"```[^\S\n]*(?:[\w+-]*[^\S\n]*\n)?(.*?)(?:```|\Z)", text, re.DOTALL)
    code = "\n".join(textwrap.dedent(block).strip("\n") for block in blocks)
    return f"{code}\n" if code.strip() else None


def _path_in(text: str) -> Path | None:
    """The path that `text` is, or the first one in it that exists."""
    if "\n" not in text.strip() and (path := find(text.strip().strip("`'\""))):
        return path
    for match in re.finditer(r"[`'\"]([^`'\"\n]+)[`'\"]|(\S+)", text):
        word = (match[1] or match[2].strip("`'\"()[]{},;:!?")).strip()
        for name in dict.fromkeys((word, word.rstrip("."))):
            # A plain word is a path only if it looks like one: `review the code` must not find a folder `code`.
            if ("/" in name or name.endswith(".py")) and (path := find(name)):
                return path
    words = re.search(r"\b(?:folder|directory|package|file|module)\s+[`'\"]?([\w./-]+)", text)
    return find(words[1].rstrip(".")) if words else None


_STATEMENT = re.compile(
    r"^(?:(?:async\s+)?def\s+\w+|class\s+\w+|import\s+\w+|from\s+[\w.]+\s+import\b|@\w|"
    r"(?:if|for|while|with|try|elif|else|except)\b.*:\s*(?:#.*)?$|[\w.\[\]'\"]+\s*(?:[-+*/|&]?=)[^=]|\w[\w.]*\(.*\)\s*$)"
)


def _source_in(text: str) -> str | None:
    """Python code without a fence: all of the text, or from the first line that is a statement."""
    if _is_code(text):
        return textwrap.dedent(text).strip("\n") + "\n"
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if _STATEMENT.match(line.strip()) and (len(lines) > 1 or _is_code(line)):
            return textwrap.dedent("\n".join(lines[number:])).strip("\n") + "\n"
    _, colon, rest = text.partition(":")  # "Is this safe: eval(input())"
    return f"{rest.strip()}\n" if colon and _is_code(rest) else None


def _is_code(text: str) -> bool:
    """Whether `text` is valid Python that does something: a word or a path parses as an expression, too."""
    try:
        tree = ast.parse(textwrap.dedent(text).strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        isinstance(node, ast.Call) or (isinstance(node, ast.stmt) and not isinstance(node, ast.Expr | ast.AnnAssign))
        for node in ast.walk(tree)
    )


def _files(path: Path) -> list[Path]:
    """The Python files at or below `path`, sorted. Raises ValueError when there is none or too much."""
    if path.is_file():
        if path.suffix != ".py":
            raise ValueError(f"{shown(path)} is not a Python file (*.py)")
        found = [path]
    else:
        found = _below(path)
    if not found:
        raise ValueError(f"no Python files (*.py) in {shown(path)}")
    total = 0
    for file in found:
        size = file.stat().st_size
        total += size
        if size > MAX_FILE_BYTES:
            raise ValueError(f"{shown(file)} has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}")
        if not os.access(file, os.R_OK):
            raise ValueError(f"{shown(file)} can't be read: permission denied")
    if total > MAX_TOTAL_BYTES:
        raise ValueError(f"{shown(path)} holds more than {MAX_TOTAL_BYTES:,} bytes of Python; name a smaller folder")
    return found


def _below(path: Path) -> list[Path]:
    """The Python files below a folder, without hidden folders, virtual environments and build results."""
    found: list[Path] = []
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in _SKIPPED and not (here / name / "pyvenv.cfg").exists()
        )
        found += [here / name for name in sorted(names) if name.endswith(".py") and (here / name).is_file()]
        if len(found) > MAX_FILES:
            raise ValueError(f"{shown(path)} holds more than {MAX_FILES} Python files; name a smaller folder")
    return found
