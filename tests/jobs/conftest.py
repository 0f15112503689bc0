from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from teamwright.errors import JobFileError, Problem
from teamwright.jobs.planner import Resolved, load


class Folder:
    """A folder with a job file in it, which is the current folder as well."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
        return file

    def load(
        self, text: str, *sets: str, environ: Mapping[str, str] | None = None, name: str | None = None
    ) -> Resolved:
        """Resolve `text` as team.yaml."""
        self.write("team.yaml", text)
        return load("team.yaml", environ=environ or {}, sets=sets, name=name, cwd=self.path)

    def problems(
        self, text: str, *sets: str, environ: Mapping[str, str] | None = None, name: str | None = None
    ) -> list[Problem]:
        """What is wrong with `text`."""
        with pytest.raises(JobFileError) as caught:
            self.load(text, *sets, environ=environ, name=name)
        assert caught.value.exit_code == 2
        return caught.value.problems

    def lines(self, text: str, *sets: str, environ: Mapping[str, str] | None = None) -> list[str]:
        """What is wrong, as it is printed."""
        return [str(problem) for problem in self.problems(text, *sets, environ=environ)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


Team = Callable[..., str]


@pytest.fixture
def team() -> Team:
    """Text of a job with offline agents of the given ids, and more text after it."""

    def make(ids: str, more: str = "") -> str:
        agents = "".join(f"  - {{id: {one}, backend: offline}}\n" for one in ids.split())
        return f"agents:\n{agents}{textwrap.dedent(more)}"

    return make
