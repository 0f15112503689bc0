"""What README and docs show works: commands are run, job files validated, Python compiled.

A block whose first line is `# name.yaml` or `# name.py` is saved under that name for the commands of the page.
`<!-- not run: reason -->` above a block says why it can't be.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
SHELLS = ("sh", "bash", "console")
_BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^\n]+?) -->\n)?^```(?P<kind>[\w-]*)\n(?P<text>.*?)^```$", re.M | re.S)
_NAMED = re.compile(r"# ([\w.-]+\.(?:py|yaml))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    kind: str
    text: str
    skipped: str | None

    @property
    def name(self) -> str | None:
        """The file it is, where it says so."""
        match = _NAMED.match(self.text)
        return match[1] if match else None

    @property
    def commands(self) -> str:
        """A shell block's commands; of a console only the lines behind `$`, or all where none has one."""
        lines = self.text.splitlines()
        typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return "\n".join(typed if self.kind == "console" and typed else lines)


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, match.start("kind")) + 1, match["kind"], match["text"], match["why"])
        for match in _BLOCK.finditer(text)
    ]


@pytest.fixture
def sandbox(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A folder with the examples in it, where `uv run X` is X of this installation."""
    place = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "examples", place / "examples", ignore=ignored)
    (place / "pyproject.toml").write_text("")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uv").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (programs / "uv").chmod(0o755)
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    return place


def run(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_works(page: Path, sandbox: Path, environment: dict[str, str]) -> None:
    try:
        found = blocks(page)
        for block in found:
            if block.name:
                (sandbox / block.name).write_text(block.text)
        for block in found:
            if block.skipped:
                continue
            where = f"{page.name}:{block.line}"
            if block.kind in SHELLS:
                done = run(block.commands, sandbox, environment)
                assert done.returncode == 0, f"{where}: {block.commands}\n{done.stdout}{done.stderr}"
            elif block.kind == "python":
                compile(block.text, where, "exec")
            elif block.kind in ("yaml", "json"):
                _check_data(block, sandbox, environment)
            else:
                assert block.kind == "text", f"{where}: say what it is: {(*SHELLS, 'python', 'yaml', 'json', 'text')}"
    finally:
        stopped = run("deploy stop --all", sandbox, environment)
    assert stopped.returncode == 0, stopped.stderr


def _check_data(block: Block, sandbox: Path, environment: dict[str, str]) -> None:
    data = yaml.safe_load(block.text)
    if isinstance(data, dict) and "agents" in data:
        file = sandbox / (block.name or "block.yaml")
        file.write_text(block.text)
        done = run(f"deploy validate {file.name}", sandbox, environment)
        assert done.returncode == 0, f"{block.page.name}:{block.line}: {done.stderr}"


def test_blocks_are_found() -> None:
    found = {page.name: [block.kind for block in blocks(page)] for page in PAGES}
    assert found["README.md"].count("console") >= 1
    assert len(found["getting-started.md"]) >= 7
    assert (
        sum(len(kinds) for kinds in found.values())
        == sum(len(re.findall(r"^```", page.read_text(), re.M)) for page in PAGES) / 2
    )
