"""`deploy start --record` and `--replay`: a run with a model server becomes one without, and says so when it drifts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.standins.chat_completions import ChatCompletions
from tests.standins.mixed_team import DRAFT, QUESTION
from tests.standins.script import Call, Reply, Seen
from tests.system.test_hello import whole

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

FOLDER = Path(__file__).parent / "recorded"
JOB = "recorded"
KEY, TOKEN = "dummy-key-abcdef", "dummy-token-uvwxyz"
SECRET = "sk-live1234567890abcdefgh"
QUESTIONS = ("use tools", "ask the peer", "too busy", "never")


def model(seen: Seen) -> Reply:
    """What both agents' model says: by the last words of the user, and what the tools gave."""
    if "You help" in seen.system:
        return Reply(f"help with {seen.user}")
    results = " | ".join(seen.results.values())
    if seen.user == "use tools" and not results:
        calls = [Call("stamp", {"word": "one"}), Call("stamp", {"word": "two"}), Call("count")]
        return Reply("Let me see.", calls=calls, thinking="three at once")
    if seen.user == "ask the peer" and not results:
        message = f"mail to a@example.org, {KEY} {SECRET}"
        return Reply(calls=[Call("query_agent", {"agent": "peer", "message": message})])
    if seen.user == "too busy" and _first(seen):
        return Reply(status=429, error="slow down", headers={"retry-after": "0"})
    if seen.user == "never":
        return Reply(status=401, error=f"no such key {KEY}")
    if seen.user.startswith("remember"):
        return Reply(f"noted: {seen.user}")
    if seen.user == "what?":
        return Reply(f"you said {seen.said[0]}")
    return Reply(f"{seen.user}: done" if not results else f"done with {len(seen.results)}")


_asked: set[str] = set()


def _first(seen: Seen) -> bool:
    """Whether this run asks for the first time."""
    run = seen.headers["x-run-id"]
    new = run not in _asked
    _asked.add(run)
    return new


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job's folder."""
    made = tmp_path_factory.mktemp("job")
    for path in FOLDER.iterdir():
        if path.is_file():
            shutil.copy(path, made)
    (made / "count.txt").write_text("seven")
    return made


@pytest.fixture(scope="module")
def recorded(place: Path, shared_deploy: Deploy) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The recording, and what was answered while it was made."""
    recording = place / "recording"
    deploy = shared_deploy
    with ChatCompletions() as server:
        server.always(model)
        keys = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY, "LEAD_TOKEN": TOKEN}
        started = deploy("start", place / "recorded.yaml", "--record", recording, environment=keys).ok()
        assert f"every exchange is written to {recording}" in started.err
        answers = ask_all(deploy, "then")
        deploy("stop", JOB).ok()
        assert server.unexpected == []
    yield recording, answers
    deploy("stop", "--all").ok()


def ask_all(deploy: Deploy, name: str) -> dict[str, Any]:
    """Every question, and two people's sessions at the same time."""
    answers = {text: deploy("query", JOB, text, "--json").json for text in QUESTIONS}

    def session(user: str) -> list[Any]:
        words = ("--session", name, "--user", user, "--json")
        return [deploy("query", JOB, text, *words).ok().json["answer"] for text in (f"remember {user}", "what?")]

    with ThreadPoolExecutor(2) as pool:
        answers |= dict(zip(("ann", "bob"), pool.map(session, ("ann", "bob")), strict=True))
    return answers


@pytest.fixture
def replay(place: Path, recorded: tuple[Path, dict[str, Any]], shared_deploy: Deploy) -> Deploy:
    """The job, answering from the recording: there is no server and no key."""
    shared_deploy("start", place / "recorded.yaml", "--replay", recorded[0]).ok()
    return shared_deploy


def files(recording: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(recording.glob("*/*.json"))]


def test_nothing_secret_is_written(recorded: tuple[Path, dict[str, Any]], place: Path) -> None:
    text = "".join(path.read_text() for path in recorded[0].rglob("*.json"))
    assert all(secret not in text for secret in (KEY, TOKEN, SECRET, str(place)))
    assert "[OPENAI_API_KEY]" in text and "a@example.org" in text
    about = json.loads((recorded[0] / "recording.json").read_text())
    assert (about["format"], about["version"], about["job"]) == ("teamwright-recording", 1, JOB)
    assert about["agents"] == ["lead", "peer"]


def test_everything_is_answered_as_it_was(replay: Deploy, recorded: tuple[Path, dict[str, Any]]) -> None:
    then = recorded[1]
    now = ask_all(replay, "now")
    assert now["ann"] == then["ann"] == ["noted: remember ann", "you said remember ann"]
    assert now["bob"] == then["bob"]
    for text in QUESTIONS:
        assert now[text].get("answer") == then[text].get("answer"), text
        assert now[text]["status"] == then[text]["status"], text
        if "usage" in now[text]:
            assert now[text]["usage"] == {**then[text]["usage"], "cost_usd": 0}
    assert now["too busy"]["answer"] == "too busy: done"
    assert now["never"]["status"] == "error" and "no such key" in json.dumps(now["never"])


def test_the_trace_says_that_it_is_a_replay(replay: Deploy, recorded: tuple[Path, dict[str, Any]]) -> None:
    then = spans_of(replay, recorded[1]["use tools"])
    now = spans_of(replay, replay("query", JOB, "use tools", "--json").ok().json)
    assert [span["name"] for span in now] == [span["name"] for span in then]
    chats = [span["attributes"] for span in now if span["name"].startswith("chat ")]
    assert [chat["teamwright.replay"] for chat in chats] == ["lead/0001.json#1", "lead/0001.json#2"]
    assert all(chat["teamwright.cost_usd"] == 0 for chat in chats)
    assert all(chat["teamwright.replay.recorded_cost_usd"] > 0 for chat in chats)
    assert all(chat["gen_ai.usage.input_tokens"] == 20 for chat in chats)
    assert "three at once" in chats[0]["gen_ai.output.messages"]
    (lead,) = [span for span in now if span["kind"] == "SERVER"]
    assert lead["attributes"]["teamwright.replay"] == "recording/lead/0001.json"
    tools = [span for span in now if span["name"] == "execute_tool stamp"]
    stamps = {span["attributes"]["gen_ai.tool.call.result"] for span in tools}
    assert len(stamps) == 2 and not stamps & {span["attributes"].get("gen_ai.tool.call.result") for span in then}, (
        "the tools were not called"
    )

    busy = spans_of(replay, replay("query", JOB, "too busy", "--json").ok().json)
    first, second = [span for span in busy if span["name"].startswith("chat ")]
    assert (first["status"], first["attributes"]["error.type"]) == ("error", "rate_limited")
    assert "rate limit" in {event["name"] for event in first["events"]}
    assert (second["status"], second["attributes"]["teamwright.attempt"]) == ("ok", 2)


def spans_of(deploy: Deploy, asked: dict[str, Any]) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = deploy("trace", "show", asked["trace_id"], "--json").ok().json["spans"]
    return spans


def test_files_and_streams_come_as_they_came(replay: Deploy, tmp_path: Path) -> None:
    replay("query", JOB, "use tools", folder=tmp_path).ok()
    spans = spans_of(replay, replay("query", JOB, "use tools", "--json", folder=tmp_path).ok().json)
    (lead,) = [span for span in spans if span["kind"] == "SERVER"]
    assert "count.txt" in lead["attributes"]["gen_ai.output.messages"]
    pieces = [event["attributes"].get("teamwright.a2a.pieces") for event in lead["events"]]
    assert max(piece for piece in pieces if piece) > 2


def test_an_agent_that_is_killed_comes_back_with_its_replay(replay: Deploy, place: Path) -> None:
    (lead,) = [agent for agent in replay("ps", JOB, "--json").ok().json["agents"] if agent["id"] == "lead"]
    os.kill(lead["pid"], signal.SIGKILL)
    end = time.monotonic() + 60
    while True:
        (now,) = [agent for agent in replay("ps", JOB, "--json").ok().json["agents"] if agent["id"] == "lead"]
        if now["pid"] != lead["pid"] and now["status"] == "healthy":
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    assert replay("query", JOB, "ask the peer", "--json").ok().json["answer"] == "done with 1"
    replay("restart", JOB).ok()
    done = replay("apply", place / "recorded.yaml", "--yes").ok()
    assert "unchanged" in done.out + done.err or "nothing" in done.out + done.err
    assert replay("query", JOB, "ask the peer", "--json").ok().json["answer"] == "done with 1"


def drifts(deploy: Deploy, text: str) -> str:
    """The error of a query whose replay has drifted, as its caller gets it."""
    done = deploy("query", JOB, text, "--json")
    assert done.code == 1
    return str(done.json.get("error") or done.json)


def test_a_question_that_was_not_asked(replay: Deploy) -> None:
    said = drifts(replay, "use toolz")
    assert "replay drifted: agent lead, exchange 1, text: recorded “use tools”, now “use toolz”" in said
    spans = replay("trace", "show", "--json").ok().json["spans"]
    (lead,) = [span for span in spans if span["kind"] == "SERVER"]
    assert lead["attributes"]["error.type"] == "replay_drifted"


def test_a_tool_that_gives_something_else(replay: Deploy, place: Path) -> None:
    (place / "count.txt").write_text("eighty")
    try:
        said = drifts(replay, "use tools")
    finally:
        (place / "count.txt").write_text("seven")
    assert "agent lead, exchange 2, the result of count (call_" in said
    assert "text/plain, 5 bytes)”, now “" in said and "text/plain, 6 bytes)”" in said


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("agents.peer.prompt=You hinder.", "agent peer, exchange 1, prompt: recorded “You help.”, now “You hinder.”"),
        ("agents.lead.tools=[]", "agent lead, exchange 1, tools.count: recorded with it, now without"),
    ],
)
def test_a_job_that_has_changed(
    change: str, where: str, recorded: tuple[Path, dict[str, Any]], place: Path, shared_deploy: Deploy
) -> None:
    """The first difference is named: the peer's own, not what its caller makes of it."""
    shared_deploy("stop", JOB)
    shared_deploy("start", place / "recorded.yaml", "--replay", recorded[0], "--set", change).ok()
    try:
        assert f"replay drifted: {where}" in drifts(shared_deploy, "ask the peer")
    finally:
        shared_deploy("stop", JOB).ok()


def refused(deploy: Deploy, *words: str | Path) -> str:
    """The one line of a start that is refused as bad input."""
    done = deploy("start", *words)
    assert done.code == 2, done
    lines: Sequence[str] = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done
    return lines[0]


def test_folders_that_cant_be_used(
    recorded: tuple[Path, dict[str, Any]], place: Path, tmp_path: Path, shared_deploy: Deploy
) -> None:
    job, recording = place / "recorded.yaml", recorded[0]
    environment = {"OPENAI_API_KEY": KEY, "LEAD_TOKEN": TOKEN}
    assert "there is no folder" in refused(shared_deploy, job, "--replay", tmp_path / "nowhere")
    assert "is empty" in refused(shared_deploy, job, "--replay", tmp_path)
    assert "is no recording" in refused(shared_deploy, job, "--replay", place)
    other = "examples/jobs/hello.yaml"
    assert "a recording of the job 'recorded', not of 'hello'" in refused(shared_deploy, other, "--replay", recording)
    shared_deploy.environment.update(environment)
    try:
        assert "is not empty" in refused(shared_deploy, job, "--record", recording)
        both = ("--record", tmp_path / "new", "--replay", recording)
        assert "either --record or --replay" in refused(shared_deploy, job, *both)
        assert not (tmp_path / "new").exists()
        shared_deploy("start", job, "--replay", recording).ok()
        again = shared_deploy("start", job, "--record", tmp_path / "new")
        assert again.code != 0 and not (tmp_path / "new").exists(), again
    finally:
        for name in environment:
            del shared_deploy.environment[name]
    newer = tmp_path / "newer"
    shutil.copytree(recording, newer)
    about = json.loads((newer / "recording.json").read_text())
    (newer / "recording.json").write_text(json.dumps({**about, "version": 99}))
    assert "has format 99, and this Teamwright reads up to 1" in refused(shared_deploy, job, "--replay", newer)
    (newer / "recording.json").write_text(json.dumps(about))
    (newer / "lead" / "0001.json").write_text('{"at": 1}')
    assert "0001.json is not a recorded message" in refused(shared_deploy, job, "--replay", newer)
    assert "there is no recording 'mixed'" in refused(shared_deploy, job, "--replay", "example:mixed")


def test_the_mixed_team_without_keys(deploy: Deploy) -> None:
    """What is missing is said, and the command that needs none of it; that command works, packages or not."""
    done = deploy("start", "example:mixed-providers")
    assert done.code == 2
    assert "needs a key: " in done.err or "needs packages that are not installed" in done.err
    again = "deploy start example:mixed-providers --replay example:mixed-providers-stand-in"
    assert again in done.err

    deploy(*again.split()[1:]).ok()
    asked = deploy("query", "mixed-providers", QUESTION, "--json").ok().json
    assert (asked["answer"], asked["usage"]["cost_usd"]) == (DRAFT, 0)
    assert asked["usage"]["tool_calls"] == 5
    spans = whole(deploy("trace", "show", asked["trace_id"], "--json").ok().json)
    assert {span["status"] for span in spans} == {"ok"}
    chats = [span["attributes"] for span in spans if span["name"].startswith("chat ")]
    assert " · replayed" in deploy("trace", "show").ok().out
    assert len(chats) == 9 and all("teamwright.replay" in chat for chat in chats)
    assert {chat["gen_ai.provider.name"] for chat in chats} == {"anthropic", "gcp.gemini", "openai"}
    deploy("stop", "--all").ok()
