"""Rules of the house that a machine can check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for path in (ROOT / "src").rglob("*.py") if path.stat().st_size)
_BARRED = {"utils", "helpers", "manager", "common", "misc", "util", "helper"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module(path: Path) -> None:
    text = path.read_text()
    assert path.stem not in _BARRED
    assert len(text.splitlines()) <= 400, "one idea: think again"
    assert ast.get_docstring(ast.parse(text)), "says what it is"


def test_only_the_boundary_catches_our_errors() -> None:
    """In the command line, nobody but boundary.py swallows everything."""
    loose = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "src" / "cli").rglob("*.py")
        if path.name != "boundary.py" and "except Exception" in path.read_text()
    ]
    assert loose == []


def test_vendors_are_imported_in_one_module_each() -> None:
    for vendor in ("claude_agent_sdk", "google.genai", "crewai"):
        importers = {
            path.relative_to(ROOT / "src").parts[0]
            for path in MODULES
            for node in ast.walk(ast.parse(path.read_text()))
            if (isinstance(node, ast.Import) and any(name.name.startswith(vendor) for name in node.names))
            or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith(vendor))
        }
        assert importers <= {"backends"}, vendor


def test_no_pictures_in_text() -> None:
    """No emoji in code or pages."""
    for path in [*MODULES, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        assert not any(ord(char) >= 0x1F000 for char in path.read_text()), path
