"""Runs through the real command line: users and labels down the tree, the registry, with and without an engine."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Deploy

CODE = """
    import logging
    from teamwright import Agent, current_run

    class Lead(Agent):
        "Asks the writer."

        async def run(self, turn):
            run = current_run()
            assert run is not None and run.run_id == turn.run.run_id
            logging.getLogger("somebody.elses").warning("at work on %s", turn.text)
            if turn.text == "fail":
                raise RuntimeError("no luck")
            answer = await turn.ask_peer("writer", turn.text)
            return f"{answer.text} for {run.user} {dict(run.labels)} {run.run_id}"

    class Writer(Agent):
        "Says who asks."

        async def run(self, turn):
            run = current_run()
            return f"{run.user} {dict(run.labels)} below {run.parent_run_id}"
"""
JOB = """
    agents:
      - {id: lead, module: roles, type: Lead, calls: [writer]}
      - {id: writer, module: roles, type: Writer}
"""


@pytest.fixture(scope="module")
def job(shared_deploy: Deploy) -> Iterator[Path]:
    folder = shared_deploy.home.parent
    (folder / "roles.py").write_text(textwrap.dedent(CODE))
    (folder / "who.yaml").write_text(textwrap.dedent(JOB))
    shared_deploy("start", folder / "who.yaml").ok()
    yield folder
    shared_deploy("stop", "--all").ok()


def runs(deploy: Deploy, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deploy("runs", "list", "--json", *words).ok().json["runs"]
    return found


def test_users_and_labels_go_down_the_tree(shared_deploy: Deploy, job: Path) -> None:
    words = ("--user", "ada", "--label", "team=red", "--label", "n=1")
    told = shared_deploy("query", "who", "hello", "--json", *words).ok().json
    labels = {"n": "1", "team": "red"}
    assert told["answer"].startswith("ada {") and f"below {told['run_id']} for ada " in told["answer"]
    assert told["answer"].count("'team': 'red'") == 2 and told["answer"].endswith(told["run_id"])
    shared_deploy("query", "who", "other").ok()
    below, entry = runs(shared_deploy, "--user", "ada", "--label", "team=red", "--label", "n=1")
    assert entry["run_id"] == told["run_id"] == below["parent_run_id"] == below["root_run_id"]
    assert (entry["agent"], below["agent"]) == ("lead", "writer")
    assert below["labels"] == entry["labels"] == labels and below["question"] == entry["question"] == "hello"
    assert (entry["trace_id"], entry["session"], entry["status"]) == (told["trace_id"], told["session"], "ok")
    assert runs(shared_deploy, "--user", "bob") == runs(shared_deploy, "--label", "team=blue") == []
    assert {run["user"] for run in runs(shared_deploy, "--text", "other")} == {"operator"}
    traces = shared_deploy("trace", "list", "--json", "--user", "ada", "--label", "n=1").ok().json["traces"]
    assert [trace["trace_id"] for trace in traces] == [told["trace_id"]]
    spans = shared_deploy("trace", "show", told["trace_id"], "--json").ok().json["spans"]
    by_agent = {"lead": entry["run_id"], "writer": below["run_id"], None: entry["run_id"]}
    assert {(span["agent"], span["attributes"]["teamwright.run.id"]) for span in spans} <= {
        *by_agent.items(),
        ("lead", entry["run_id"]),
    }
    page = shared_deploy("runs", "show", told["run_id"][:10]).ok().out
    assert told["run_id"] in page and "└─ writer" in page and "team=red" in page
    log = (shared_deploy.home / "jobs" / "who" / "agents" / "lead.log").read_text()
    assert f"[run={told['run_id']} trace={told['trace_id']}] somebody.elses: at work on hello" in log


def test_a_failure_names_its_run(shared_deploy: Deploy, job: Path) -> None:
    done = shared_deploy("query", "who", "fail", "--json")
    assert done.code == 1
    told = done.json
    found = shared_deploy("runs", "show", told["run_id"], "--json").ok().json
    assert (found["status"], found["state"], found["error"]) == ("error", "failed", "internal")
    again = shared_deploy("query", "who", "fail")
    assert again.code == 1 and f"run {runs(shared_deploy, '-n', '1')[0]['run_id'][:8]}" in again.err


def test_a_follow_up_is_linked_to_the_last(shared_deploy: Deploy, job: Path) -> None:
    first = shared_deploy("query", "who", "one", "--session", "chat", "--json").ok().json
    second = shared_deploy("query", "who", "two", "--session", "chat", "--json").ok().json
    assert first["trace_id"] != second["trace_id"]
    spans = shared_deploy("trace", "show", second["trace_id"], "--json").ok().json["spans"]
    root = next(span for span in spans if span["parent_id"] is None)
    assert [link["trace_id"] for link in root["links"]] == [first["trace_id"]]
    stranger = shared_deploy("query", "who", "three", "--session", "chat", "--user", "eve", "--json").ok().json
    spans = shared_deploy("trace", "show", stranger["trace_id"], "--json").ok().json["spans"]
    assert not next(span for span in spans if span["parent_id"] is None)["links"]


def test_without_an_engine_and_without_tracing(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "quiet.yaml").write_text(
        "tracing: {enabled: false}\nagents:\n  - {id: lead, backend: offline, prompt: You answer briefly.}\n"
    )
    assert "no runs yet" in deploy("runs", "list").ok().out
    assert deploy("runs", "show").code == 2
    told = deploy("query", tmp_path / "quiet.yaml", "Hello?", "--user", "ada", "--json").ok().json
    deploy("stop", "--all").ok()
    before = sorted(path.name for path in deploy.home.iterdir())
    (run,) = deploy("runs", "list", "--json", "--user", "ada").ok().json["runs"]
    assert (run["run_id"], run["question"], run["status"]) == (told["run_id"], "Hello?", "ok")
    assert (
        json.loads(deploy("runs", "show", run["run_id"][:6], "--json").ok().out)["tree"][0]["run_id"] == run["run_id"]
    )
    after = sorted(path.name for path in deploy.home.iterdir())
    assert [name for name in after if not name.endswith(("-wal", "-shm"))] == [
        name for name in before if not name.endswith(("-wal", "-shm"))
    ]
