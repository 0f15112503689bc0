"""MCP servers in a job file: what is wrong with them, the missing package, and secrets beside the plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from teamwright.errors import MissingExtra
from teamwright.jobs import mcp_plans

if TYPE_CHECKING:
    from tests.jobs.conftest import Folder

HEAD = "agents:\n  - id: a\n    mcp_servers:\n"


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("w: {}", "mcp_servers.w: agent 'a': an MCP server has either a command or a url"),
        ("w: {command: sh, url: 'http://x/mcp'}", "mcp_servers.w: agent 'a': an MCP server has either"),
        ("w: {command: no-such-program}", "mcp_servers.w.command: agent 'a': no program no-such-program"),
        ("w: {command: sh, headers: {a: b}}", "mcp_servers.w.headers: agent 'a': belongs to an MCP server with a url"),
        ("w: {url: 'http://x/mcp', args: [a]}", "w.args: agent 'a': belongs to an MCP server with a command"),
        ("w: {url: 'ftp://x'}", "mcp_servers.w.url: agent 'a': must be an http:// or https:// address"),
        ("w: {command: sh, timeout: 0}", "mcp_servers.w.timeout: agent 'a': must be over 0, not 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(server: str, says: str, folder: Folder) -> None:
    (line,) = folder.lines(f"{HEAD}      {server}\n")
    assert line.startswith("team.yaml:4: agents[0].")
    assert says in line


def test_the_package_that_is_missing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_plans, "installed", lambda: False)
    with pytest.raises(MissingExtra) as caught:
        folder.load(f"{HEAD}      w: {{command: sh}}\n")
    assert str(caught.value) == (
        "team.yaml:3: agents[0].mcp_servers: agent 'a': MCP servers need packages that are not installed"
    )
    assert (caught.value.hint, caught.value.exit_code) == ("uv sync --extra mcp", 2)


def test_a_version_we_do_not_speak_to_counts_as_missing() -> None:
    assert mcp_plans.installed(lambda name: "1.30.0")
    assert not mcp_plans.installed(lambda name: "2.0.0")


def test_secrets_travel_beside_the_plan(folder: Folder) -> None:
    text = f"""{HEAD}
      w: {{command: sh, env: {{API_KEY: k1, WHERE: "${{DB_PASSWORD}}@db", MODE: fast}}, timeout: 5s}}
      h: {{url: "http://x/mcp", headers: {{Authorization: "Bearer k3", x-team: support}}}}
"""
    resolved = folder.load(text, environ={"DB_PASSWORD": "k2"})
    plan, secrets = resolved.plan.agents[0], resolved.secrets["a"]
    assert plan.mcp_servers == {
        "w": {"command": "sh", "env": {"MODE": "fast"}, "timeout": 5.0},
        "h": {"url": "http://x/mcp", "headers": {"x-team": "support"}},
    }
    kept = {
        "mcp_servers.w.env.API_KEY": "k1",
        "mcp_servers.w.env.WHERE": "k2@db",
        "mcp_servers.h.headers.Authorization": "Bearer k3",
    }
    assert secrets == kept
    assert {secret.name for secret in plan.secrets} == set(kept)
    assert not any(value in json.dumps(resolved.plan.to_dict()) for value in ("k1", "k2", "k3"))
    assert resolved.warnings == ()
    servers, others = mcp_plans.joined(plan.mcp_servers, {**secrets, "OTHER": "o"})
    assert others == {"OTHER": "o"}
    assert servers["w"]["env"] == {"API_KEY": "k1", "WHERE": "k2@db", "MODE": "fast"}
    assert servers["h"]["headers"] == {"Authorization": "Bearer k3", "x-team": "support"}
