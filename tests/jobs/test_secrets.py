from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from teamwright.jobs.plan import SecretSource
from teamwright.jobs.secrets import Vault, open_vault, parse_env

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder


def test_names_and_sources_go_into_the_plan_and_values_beside_it(folder: Folder) -> None:
    folder.write(".env", "FROM_FILE=in-the-file\nBOTH=file\n")
    text = "agents: [{id: lead, env: [FROM_FILE, BOTH, FROM_SHELL]}, {id: other}]\nexecution: {entry_point: lead}"
    resolved = folder.load(text, environ={"FROM_SHELL": "in-the-shell", "BOTH": "shell", "UNASKED": "nothing"})
    assert resolved.plan.agent("lead").secrets == (
        SecretSource("FROM_FILE", ".env"),
        SecretSource("BOTH", "shell"),
        SecretSource("FROM_SHELL", "shell"),
    )
    assert resolved.secrets == {
        "lead": {"FROM_FILE": "in-the-file", "BOTH": "shell", "FROM_SHELL": "in-the-shell"},
        "other": {},
    }
    shown = json.dumps(resolved.plan.to_dict()) + repr(resolved)
    assert "in-the" not in shown


def test_a_missing_one_names_line_key_and_cure(folder: Folder) -> None:
    text = "defaults: {env: [ALL]}\nagents:\n  - id: lead\n    env: [OTHER, MY_KEY]\n  - id: b\n    calls: [lead]\n"
    assert folder.lines(text, environ={"OTHER": "x"}) == [
        "team.yaml:1: defaults.env[0]: the variable ALL is not set (export ALL=…, or write it into .env)",
        "team.yaml:4: agents[0].env[1]: agent 'lead': the variable MY_KEY is not set "
        "(export MY_KEY=…, or write it into .env)",
    ]


def test_dot_env_feeds_the_references_of_the_file(folder: Folder) -> None:
    folder.write(".env", "WHO=file\n")
    text = "agents: [{id: lead, prompt: '${WHO}'}]"
    assert folder.load(text).plan.agent("lead").prompt == "file"
    assert folder.load(text, environ={"WHO": "shell"}).plan.agent("lead").prompt == "shell"


def test_what_looks_like_a_secret_travels_as_one_wherever_it_stands(folder: Folder) -> None:
    folder.write(".env", "TOKEN_B=hidden-b\n")
    text = """
        environment: {API_KEY: hidden-a, PLAIN: "1"}
        agents:
          - id: lead
            environment:
              AUTH_HEADER: Bearer ${TOKEN_B}
              SERVICE: ${MY_PASSWORD}
    """
    resolved = folder.load(text, environ={"MY_PASSWORD": "hidden-c"})
    (lead,) = resolved.plan.agents
    assert lead.environment == {"PLAIN": "1"}
    assert resolved.secrets["lead"] == {"API_KEY": "hidden-a", "AUTH_HEADER": "Bearer hidden-b", "SERVICE": "hidden-c"}
    assert {secret.name: secret.source for secret in lead.secrets} == {
        "API_KEY": "team.yaml",
        "AUTH_HEADER": ".env",
        "SERVICE": "shell",
    }
    assert "hidden" not in json.dumps(resolved.plan.to_dict())


def test_a_secret_elsewhere_in_the_file_is_warned_about(folder: Folder) -> None:
    text = "agents:\n  - id: lead\n    prompt: use ${MY_TOKEN}\n"
    (warning,) = folder.load(text, environ={"MY_TOKEN": "x"}).warnings
    assert "team.yaml:3: agents[0].prompt" in warning
    assert "write env: [MY_TOKEN]" in warning


def test_environment_agent_over_job_over_defaults(folder: Folder) -> None:
    text = """
        environment: {A: job, B: job}
        defaults: {environment: {A: defaults, C: defaults}, deployment: {environment: {D: defaults}}}
        agents:
          - {id: lead, environment: {B: agent, E: agent}, deployment: {environment: {E: innermost}}, env: [F]}
    """
    resolved = folder.load(text, environ={"F": "secret"})
    (lead,) = resolved.plan.agents
    assert lead.environment == {"A": "job", "B": "agent", "C": "defaults", "D": "defaults", "E": "innermost"}


def test_env_goes_before_environment(folder: Folder) -> None:
    resolved = folder.load("agents: [{id: lead, environment: {A: file}, env: [A]}]", environ={"A": "shell"})
    assert resolved.plan.agent("lead").environment == {}
    assert resolved.secrets == {"lead": {"A": "shell"}}


def test_variables_of_a_backend_are_taken_where_they_are_set() -> None:
    vault = Vault({"ANTHROPIC_API_KEY": "k"}, {"HTTPS_PROXY": "p"}, ".env")
    values, sources, missing = vault.collect(["MINE"], ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "HTTPS_PROXY"])
    assert values == {"ANTHROPIC_API_KEY": "k", "HTTPS_PROXY": "p"}
    assert sources == [SecretSource("ANTHROPIC_API_KEY", "shell"), SecretSource("HTTPS_PROXY", ".env")]
    assert missing == ["MINE"]
    assert "'k'" not in repr(vault)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A = b c ", "b c"),
        ("A=", ""),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A='b # c'", "b # c"),
        ('A="b\\nc\\"d\\\\"', 'b\nc"d\\'),
        ("A='b\\nc'", "b\\nc"),
        ('A="b" # comment', "b"),
        ("A=$B ${C}", "$B ${C}"),
        ("A=x=y", "x=y"),
    ],
)
def test_lines_of_dot_env(line: str, value: str) -> None:
    assert parse_env(f"# head\n\n{line}\n", ".env") == ({"A": value}, [])


def test_wrong_lines_of_dot_env_are_named_but_never_shown(folder: Folder) -> None:
    folder.write(".env", "A=1\nsecret words\nB='open secret\n1X=secret\n")
    lines = folder.lines("agents: [{id: lead}]")
    assert lines == [
        ".env:2: not NAME=value",
        ".env:3: the quote of B is not closed on its line",
        ".env:4: not NAME=value",
    ]
    (folder.path / ".env").write_bytes(b"\xff\xfe")
    assert folder.lines("agents: [{id: lead}]") == [".env: not text in UTF-8"]


def test_no_dot_env_is_fine(folder: Folder) -> None:
    vault, problems = open_vault(folder.path, {"A": "b"})
    assert (vault.known(), problems) == ({"A": "b"}, [])
