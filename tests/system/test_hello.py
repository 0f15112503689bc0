"""The first job, from start to stop, through the real command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

HELLO = "examples/jobs/hello.yaml"


def whole(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The spans of a trace, after checking that they are one tree without a gap."""
    spans: list[dict[str, Any]] = trace["spans"]
    ids = {span["span_id"] for span in spans}
    assert len(ids) == len(spans), "a span twice"
    assert [span for span in spans if span["parent_id"] is None] == spans[:1], "not one root"
    assert [span for span in spans[1:] if span["parent_id"] not in ids] == [], "orphans"
    assert [span for span in spans if span["end_ns"] <= span["start_ns"]] == [], "no duration"
    assert trace["complete"] is True
    nothing = (None, "", "null", "None", "[]", "{}")
    assert [(span["name"], *item) for span in spans for item in span["attributes"].items() if item[1] in nothing] == []
    for span in spans:
        for which in ("gen_ai.input.messages", "gen_ai.output.messages"):
            for message in json.loads(span["attributes"].get(which, "[]")):
                assert message["parts"], (span["name"], which)
                for part in message["parts"]:
                    kinds = {"tool_call": "arguments", "tool_call_response": "response"}
                    said = kinds.get(part["type"], "content")
                    assert part[said] not in (None, "", "null"), (span["name"], which, part)
    return spans


def test_start_query_trace_stop(deploy: Deploy) -> None:
    started = deploy("start", HELLO, "--json").ok().json
    assert (started["job"], started["status"]) == ("hello", "running")
    assert len(started["agents"]) >= 2
    assert len({agent["pid"] for agent in started["agents"]}) == len(started["agents"])

    listed = deploy("ps", "hello", "--json").ok().json
    assert deploy.settled(listed["agents"]) == deploy.settled(started["agents"])
    assert [job["job"] for job in deploy("ps", "--json").ok().json["jobs"]] == ["hello"]

    asked = deploy("query", "hello", "Say hello to Ada", "--json").ok().json
    assert asked["status"] == "ok"
    assert asked["answer"]

    shown = deploy("trace", "show", "--json").ok().json
    assert shown["trace_id"] == asked["trace_id"]
    spans = whole(shown)
    assert spans[0]["name"] == "invoke_workflow hello"
    assert len({span["agent"] for span in spans if span["kind"] == "SERVER"}) >= 2
    assert {span["status"] for span in spans} == {"ok"}

    traces = deploy("trace", "list", "--json").ok().json["traces"]
    assert asked["trace_id"] in {trace["trace_id"] for trace in traces}

    deploy("stop", "--all").ok()
    deploy.nothing_left()
    assert deploy("ps", "hello", "--json").ok().json["status"] == "stopped"
    assert deploy("trace", "show", asked["trace_id"][:8], "--json").ok().json["spans"] == shown["spans"]


def test_what_a_person_sees(deploy: Deploy) -> None:
    started = deploy("start", HELLO).ok()
    assert "hello is running" in started.out
    assert "next: deploy query hello" in started.out
    assert "healthy" in deploy("ps", "hello").ok().out
    assert "running" in deploy("ps").ok().out
    asked = deploy("query", "hello", "Say hello to Ada").ok()
    assert asked.out.strip()
    assert "trace" in asked.err
    assert "invoke_workflow hello" in deploy("trace", "show").ok().out
    assert deploy("logs", "hello").ok().err == ""
    deploy("stop", "hello").ok()
    assert "stopped" in deploy("ps").ok().out
    deploy("stop", "--all").ok()


def test_start_again_says_so(deploy: Deploy) -> None:
    first = deploy("start", HELLO, "--json").ok().json
    again = deploy("start", HELLO).ok()
    assert "already" in again.out
    assert deploy.settled(deploy("ps", "hello", "--json").json["agents"]) == deploy.settled(first["agents"])
    changed = deploy("start", HELLO, "--set", "job.description=changed")
    assert changed.code == 1
    assert "deploy restart" in changed.err
    deploy("stop", "--all").ok()


def test_restart(deploy: Deploy) -> None:
    before = deploy("start", HELLO, "--json").ok().json["agents"]
    one = deploy("restart", f"hello/{before[0]['id']}", "--json").ok().json["agents"]
    assert [a["pid"] == b["pid"] for a, b in zip(before, one, strict=True)] == [False] + [True] * (len(before) - 1)
    every = deploy("restart", HELLO, "--json").ok().json["agents"]
    assert {agent["pid"] for agent in every} & {agent["pid"] for agent in one} == set()
    assert [agent["url"] for agent in every] == [agent["url"] for agent in before]
    deploy("query", "hello", "still there?").ok()
    deploy("stop", "--all").ok()


def test_query_of_a_file_starts_and_stops_its_job(deploy: Deploy) -> None:
    answer = deploy("query", HELLO, "-", "--json", input="Say hello to Ada").ok().json
    assert answer["job"] == "hello"
    assert deploy("ps", "hello", "--json").ok().json["status"] == "stopped"
    deploy("query", HELLO, "hi", "--keep").ok()
    assert deploy("ps", HELLO, "--json").ok().json["status"] == "running"
    deploy("query", HELLO, "hi").ok()
    assert deploy("ps", HELLO, "--json").ok().json["status"] == "running"
    deploy("stop", HELLO).ok()
    deploy("stop", "--all").ok()


def test_sessions_users_and_labels(deploy: Deploy) -> None:
    deploy("start", HELLO).ok()
    words = ("--session", "s1", "--user", "ada", "--label", "team=blue", "--label", "n=1", "--json")
    first = deploy("query", "hello", "hi", *words).ok().json
    assert first["session"] == "s1"
    assert deploy("query", "hello", "hi again", *words).ok().json["session"] == "s1"
    attributes = deploy("trace", "show", first["trace_id"], "--json").ok().json["spans"][0]["attributes"]
    assert "ada" in attributes.values()
    assert any("blue" in str(value) for value in attributes.values())
    deploy("stop", "--all").ok()


@pytest.mark.parametrize("spawn", ["subprocess"])
def test_without_a_zygote(deploy: Deploy, spawn: str) -> None:
    deploy.environment["TEAMWRIGHT_SPAWN"] = spawn
    deploy("start", HELLO).ok()
    deploy("query", "hello", "hi").ok()
    whole(deploy("trace", "show", "--json").ok().json)
    deploy("stop", "--all").ok()
