"""The examples are found as a job file finds them: from the project's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from teamwright.agents.loading import add_search_path

add_search_path([str(Path(__file__).resolve().parents[2])])


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the tools work in: empty, and no live data is asked for."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.setenv("EXAMPLES_FOLDER", str(folder))
    monkeypatch.delenv("EXAMPLES_ONLINE", raising=False)
    return folder
