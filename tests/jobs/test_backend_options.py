"""Options of a backend in the job file: what is wrong is named with file, line and key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from teamwright.errors import JobFileError

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder


def test_each_wrong_value_has_its_line(folder: Folder) -> None:
    with pytest.raises(JobFileError) as caught:
        folder.load(
            """
            agents:
              - id: lead
                backend: claude
                backend_options:
                  builtin_tools: [Read, Reed]
                  cwd: nowhere
                model_options: {effort: huge}
            """
        )
    lines = [str(problem) for problem in caught.value.problems if "packages" not in str(problem)]
    assert [line.partition(": ")[0].rpartition(":")[2] for line in lines] == ["5", "6", "7"]
    assert "agents[0].backend_options.builtin_tools[1]: agent 'lead': the CLI has no tool 'Reed'" in lines[0]
    assert "did you mean 'Read'?" in lines[0]


@pytest.mark.parametrize(
    ("backend", "key", "words"),
    [
        ("openai", "backend_options: {retries: many}", "backend_options.retries: … must be a whole number from 0"),
        ("openai", "backend_options: {base_url: 'localhost:1'}", "backend_options.base_url: … must be like http://"),
        ("openai", "backend_options: {fallback_models: x}", "backend_options.fallback_models: … must be a list of"),
        ("openai", "backend_options: {headers: [a]}", "backend_options.headers: … must be names with texts"),
        ("openai", "model_options: {messages: []}", "model_options.messages: … can't be set"),
        ("gemini", "backend_options: {timeout: -1}", "backend_options.timeout: … must be a number of seconds over 0"),
        ("gemini", "backend_options: {thoughts: 3}", "backend_options.thoughts: … must be true or false, not 3"),
        ("gemini", "model_options: {tools: []}", "model_options.tools: … can't be set"),
        ("crewai", "backend_options: {crew: press}", "backend_options.crew: … must be module:function, not 'press'"),
        ("crewai", "backend_options: {crew: 'nowhere:crew'}", "backend_options.crew: … no module nowhere"),
        ("crewai", "backend_options: {deny: delete_all}", "backend_options.deny: … must be a list of names"),
    ],
)
def test_values_are_looked_at_before_anything_starts(folder: Folder, backend: str, key: str, words: str) -> None:
    with pytest.raises(JobFileError) as caught:
        folder.load(f"agents:\n  - id: lead\n    backend: {backend}\n    model: gpt-4o\n    {key}")
    (line,) = (str(problem) for problem in caught.value.problems if "packages" not in str(problem))
    path, _, what = words.partition(" … ")
    assert f"team.yaml:5: agents[0].{path} agent 'lead': {what}" in line


def test_values_that_are_right(folder: Folder) -> None:
    folder.load(
        """
        agents:
          - id: lead
            backend: openai
            model: gpt-4o
            backend_options: {base_url: "http://[::1]:8000/v1", retries: 0, timeout: 0.5, stream: false}
            environment: {OPENAI_API_KEY: x}
        """
    )
