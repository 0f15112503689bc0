"""What pyproject.toml says is what is there."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)( ; .+)?$")


@pytest.fixture
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


def test_packages_are_the_folders(project: dict[str, Any], root: Path) -> None:
    folders = {path.parent.relative_to(root / "src") for path in (root / "src").rglob("__init__.py")}
    expected = {".".join(("teamwright", *folder.parts)) for folder in folders}
    # recordings hold a folder for each agent, which no package can be named after: they are data of `examples`
    files = {
        path
        for path in (root / "examples").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and root / "examples" / "recordings" not in path.parents
    }
    expected |= {
        ".".join(("teamwright.bundled.examples", *path.parent.relative_to(root / "examples").parts)) for path in files
    }
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(expected)


def test_every_folder_of_code_is_a_package(root: Path) -> None:
    folders = {path.parent for path in (root / "src").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_constraints_are_exact_and_hold_no_address(project: dict[str, Any]) -> None:
    lines = project["tool"]["uv"]["constraint-dependencies"]
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
    for line in lines:
        assert _PIN.match(line), line
        assert "://" not in line and "@" not in line


def test_constraints_cover_what_is_declared(project: dict[str, Any]) -> None:
    pinned = {match[1] for line in project["tool"]["uv"]["constraint-dependencies"] if (match := _PIN.match(line))}
    declared = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        declared += extra
    for group in project["dependency-groups"].values():
        declared += group
    names = {re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0].lower() for line in declared}
    assert names - pinned == set()


def test_installed_versions_are_the_constraints(project: dict[str, Any]) -> None:
    wrong = []
    for line in project["tool"]["uv"]["constraint-dependencies"]:
        match = _PIN.match(line)
        assert match
        if match[3]:
            continue  # one of several versions; the marker decides which
        try:
            installed = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            continue
        if installed != match[2]:
            wrong.append(f"{match[1]} {installed}, not {match[2]}")
    assert wrong == []


def test_extras_by_name(project: dict[str, Any]) -> None:
    assert {"claude", "gemini", "crewai"} <= set(project["project"]["optional-dependencies"])


def test_the_lock_file_is_ignored(root: Path) -> None:
    assert "uv.lock" in (root / ".gitignore").read_text().splitlines()
