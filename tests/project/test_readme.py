"""The README's set-up commands are two, and they do what it says on a fresh clone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

COMMANDS = ["uv run deploy start examples/jobs/code-review.yaml", "uv run pytest"]


def commands(text: str) -> list[str]:
    """Every command of the section that sets the project up."""
    section = text.split("## Set up", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"```(?:sh|bash|console)\n(.*?)```", section, re.DOTALL)
    assert block
    lines = [line.removeprefix("$ ").split("  #")[0].strip() for line in block[1].splitlines()]
    return [line for line in lines if line]


def test_two_commands(root: Path) -> None:
    assert commands((root / "README.md").read_text()) == COMMANDS


def test_links_lead_somewhere(root: Path) -> None:
    for page in [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_index_lists_every_page(root: Path) -> None:
    index = (root / "docs" / "index.md").read_text()
    pages = [path.relative_to(root / "docs") for path in (root / "docs").rglob("*.md") if path.name != "index.md"]
    assert [str(page) for page in pages if f"]({page})" not in index] == []


@pytest.mark.timeout(600)
def test_fresh_clone(root: Path, uv_environment: dict[str, str], tmp_path: Path) -> None:
    """Both commands in a copy of the project's files, in a clean environment (with uv's cache and mirror settings)."""
    clone = tmp_path / "clone"
    for name in project_files(root):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, clone / name, follow_symlinks=False)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.split(), cwd=clone, env=uv_environment, capture_output=True, text=True, timeout=500
        )

    try:
        started = run(COMMANDS[0])
        assert started.returncode == 0, started.stderr
        assert "code-review is running" in started.stdout
        assert "next: uv run deploy query code-review" in started.stdout
        asked = run("uv run deploy query code-review examples/data/faulty.py")
        assert asked.returncode == 0, asked.stderr
        assert "bandit: 5 findings" in asked.stdout
    finally:
        stopped = run("uv run deploy stop --all")
    assert stopped.returncode == 0, stopped.stderr
    collected = run(f"{COMMANDS[1]} --collect-only -q")
    assert collected.returncode == 0, collected.stdout + collected.stderr


def project_files(root: Path) -> list[str]:
    """What a clone would hold, with what has not been committed yet; without git, all but what tools have made."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=root, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        return [name for name in set(listed.stdout.split("\0")) if name and os.path.lexists(root / name)]
    made = {".venv", "logs", "dist", "build", "__pycache__", "uv.lock"}
    found = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return [
        str(path) for path in found if not made & set(path.parts) and not path.parts[0].endswith(("_cache", "-info"))
    ]
