"""A job without the keys of its models is a good one, and is refused before anything of it is started."""

from __future__ import annotations

import pytest

from teamwright.errors import MissingExtra, MissingKey
from tests.jobs.conftest import Folder

MODEL = "agents: [{id: a, model: gpt-4o, calls: [b]}, {id: b, model: gpt-4o}]"
NAMED = "agents: [{id: a, backend: openai, model: x, backend_options: {base_url: %s, key_variable: MY_KEY}, env: [%s]}]"


def test_what_is_missing_is_said_for_each_agent(folder: Folder) -> None:
    loaded = folder.load(MODEL)
    with pytest.raises(MissingKey) as caught:
        loaded.check_keys()
    lines = caught.value.message.splitlines()
    assert len(lines) == 2 and caught.value.exit_code == 2
    assert lines[1].endswith("agent 'b': the backend openai needs a key: OPENAI_API_KEY is not set")
    assert caught.value.hint == "export OPENAI_API_KEY=…, or write that into .env beside the job file"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (MODEL, {"OPENAI_API_KEY": "x"}),
        (MODEL, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}),
        ("agents: [{id: a, backend: openai, model: x, backend_options: {base_url: 'http://127.0.0.1:1'}}]", {}),
        ("agents: [{id: a, backend: openai, model: x, environment: {OPENAI_API_KEY: x}}]", {}),
        (NAMED % ("https://example.org", "MY_KEY"), {"MY_KEY": "x"}),
        ("agents: [{id: a, backend: offline}]", {}),
    ],
)
def test_enough_is_there(folder: Folder, text: str, environ: dict[str, str]) -> None:
    folder.load(text, environ=environ).check_keys()


def test_a_key_of_another_name(folder: Folder) -> None:
    loaded = folder.load(NAMED % ("http://127.0.0.1:1", "HOME"), environ={"OPENAI_API_KEY": "x", "HOME": "/"})
    with pytest.raises(MissingKey, match="MY_KEY is not set"):
        loaded.check_keys()


def test_several_packages_are_added_by_one_command(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teamwright.jobs.agent_plans.installed", lambda info: info.extra is None)
    with pytest.raises(MissingExtra) as caught:
        folder.load(
            "agents: [{id: a, model: claude-x, calls: [b, c]}, {id: b, model: gemini-x}, {id: c, model: claude-x}]"
        )
    assert len(caught.value.message.splitlines()) == 3
    assert caught.value.hint == "uv sync --extra claude --extra gemini"
