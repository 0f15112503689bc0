from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from teamwright.jobs import agent_plans
from teamwright.jobs.older import OLDER
from teamwright.jobs.source import KeyPath, read
from teamwright.jobs.unbuilt import TABLE, Row, check
from teamwright.jobs.validation import keys_at

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder

REFUSED = {
    "agent.scope": "{files: {}}",
    "agent.approve": "[x]",
    "agent.deployment.target": "remote",
    "watch": "{cost: 3}",
}


def nested(key: str, value: str) -> str:
    head, _, rest = key.partition(".")
    return f"{head}: {{{nested(rest, value)}}}" if rest else f"{head}: {value}"


def test_each_refusal_of_the_table_is_tried_below() -> None:
    assert {row.key for row in TABLE if row.refuse} == set(REFUSED)


@pytest.mark.parametrize(("key", "value"), REFUSED.items())
def test_what_would_not_be_safe_or_cannot_run_is_refused_in_one_line(key: str, value: str, folder: Folder) -> None:
    if key.startswith("agent."):
        text = f"agents:\n  - id: lead\n    {nested(key.removeprefix('agent.'), value)}\n"
    else:
        text = f"agents: [{{id: lead}}]\n{nested(key, value)}\n"
    (line,) = folder.lines(text)
    assert "not built yet" in line
    assert key.removeprefix("agent.") in line


def test_refused_in_the_defaults_as_well(folder: Folder) -> None:
    (line,) = folder.lines("defaults: {approve: [x]}\nagents: [{id: lead}]")
    assert line.startswith("team.yaml:1: defaults.approve: approvals are not built yet")


def test_backends_that_cannot_run_yet_are_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_plans, "BUILT_IN", ("offline",))
    lines = folder.lines("agents: [{id: lead, backend: openai, model: m}]")
    assert lines == [
        "team.yaml:1: agents[0].backend: agent 'lead': the backend openai is not built yet (write backend: offline)"
    ]


@pytest.mark.parametrize("target", ["localhost", "127.0.0.1", "local"])
def test_this_machine_by_any_name(target: str, folder: Folder) -> None:
    assert folder.load(f"agents: [{{id: lead, deployment: {{target: {target}}}}}]").warnings == ()


def test_other_unbuilt_keys_start_with_one_warning_each(folder: Folder) -> None:
    source = read(folder.write("team.yaml", "agents:\n  - {id: a, group: x}\n  - {id: b, group: y}"), {})
    refused, (warning,) = check(source, (Row("agent.group", "groups are not built yet"), Row("watch", "no watchers")))
    assert not refused
    assert "agents[0].group: agent 'a': groups are not built yet" in warning
    assert warning.endswith("(and 1 more)")


def test_the_table_names_keys_that_exist() -> None:
    for row in TABLE:
        head, *rest = row.key.split(".")
        path: KeyPath = ("agents", 0, *rest) if head == "agent" else (head, *rest)
        assert path[-1] in keys_at(path[:-1]), row.key


def test_keys_of_older_files_are_warned_about_and_ignored(folder: Folder) -> None:
    text = """
        agents:
          - id: lead
            resources: {cpu: 1.0, gpu: 1}
            deployment: {target: localhost, python: python3, workdir: /opt, network: x}
            health_check: {endpoint: /health}
        deployment: {network: {allow_cross_host: true}, ssh: {timeout: 3}, health_check: {timeout: 5, retries: 2}}
    """
    resolved = folder.load(text)
    older = [warning for warning in resolved.warnings if "means nothing here and is ignored" in warning]
    assert len(older) == 8
    assert older[0].startswith(
        "team.yaml:3: agents[0].resources.gpu: agent 'lead': means nothing here and is ignored ("
    )
    assert "CUDA_VISIBLE_DEVICES" in older[0]
    assert resolved.plan.health.retries == 2


def test_older_keys_are_none_of_ours() -> None:
    for pattern in OLDER:
        path: KeyPath = (*(0 if part == "*" else part for part in pattern.split(".")),)
        assert path[-1] not in keys_at(path[:-1]), pattern
