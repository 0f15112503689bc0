"""Replicas: callers spread over them, conversations stay with one, and another goes on with them when it dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from teamwright.client.client import Client
from teamwright.client.launch import connect
from teamwright.errors import TeamwrightError
from teamwright.home import Home
from tests.system.test_hello import whole

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

TEAM = Path(__file__).parent / "team" / "twins.yaml"
SESSIONS, TURNS = 20, 3


@pytest.fixture
def team(deploy: Deploy) -> Iterator[Deploy]:
    deploy("start", TEAM).ok()
    yield deploy
    deploy("stop", "--all").ok()


@pytest.fixture
def client(team: Deploy) -> Iterator[Client]:
    with connected(team) as client:
        yield client


def connected(deploy: Deploy) -> Client:
    return connect(Home(deploy.home), start=False, environ=deploy.environment)


def replicas(client: Client, agent: str) -> dict[str, dict[str, Any]]:
    """The agent's replicas by name."""
    found = next(each for each in client.job("twins")["agents"] if each["id"] == agent)
    return {replica["id"]: replica for replica in found["replicas"]}


def until(client: Client, agent: str, replica: str, *statuses: str, other_than: int = 0) -> dict[str, Any]:
    """Wait until the replica has one of these states (under another pid)."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = replicas(client, agent)[replica]
        if found["status"] in statuses and found["pid"] != other_than:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{replica} is {found['status']}, not {statuses}")


def who(answer: str) -> int:
    """The pid that an answer comes from."""
    return int(answer.partition(":")[0])


def words(answer: str) -> list[str]:
    return answer.partition(": ")[2].split()


class Outsider:
    """A client that lets the other side name conversations."""

    def __init__(self, deploy: Deploy) -> None:
        with connected(deploy) as client:
            self._url = f"{client.url}/a2a/twins"
        token = (deploy.home / "operator.token").read_text().strip()
        headers = {"authorization": f"Bearer {token}", "a2a-version": "1.0"}
        self._http = httpx.Client(headers=headers, trust_env=False, timeout=60)

    def call(self, agent: str, method: str, **params: Any) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer: dict[str, Any] = self._http.post(f"{self._url}/{agent}", json=body).json()
        return answer

    def say(self, agent: str, text: str, *, session: str | None = None, wait: bool = True) -> dict[str, Any]:
        """The task that answers."""
        message = {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}
        if session is not None:
            message["contextId"] = session
        answer = self.call(agent, "SendMessage", message=message, configuration={"returnImmediately": not wait})
        task: dict[str, Any] = answer["result"]["task"]
        return task

    def state(self, agent: str, task: str) -> str:
        return str(self.call(agent, "GetTask", id=task)["result"]["status"]["state"])

    def close(self) -> None:
        self._http.close()


def said(task: dict[str, Any]) -> str:
    return str(task["artifacts"][0]["parts"][0]["text"])


def test_calls_spread_and_conversations_stay(team: Deploy, client: Client) -> None:
    pids = {replica["pid"]: name for name, replica in replicas(client, "keeper").items()}
    assert sorted(pids.values()) == ["keeper-0", "keeper-1", "keeper-2"]
    keeper = next(each for each in client.job("twins")["agents"] if each["id"] == "keeper")
    assert (keeper["status"], keeper["pid"], keeper["url"]) == ("healthy", None, None)
    assert [line.split()[0] for line in team("ps", "twins").ok().out.splitlines() if line.startswith("keeper")] == [
        "keeper-0",
        "keeper-1",
        "keeper-2",
    ]

    # Who names no conversation gets one that leads back to the replica.
    outsider = Outsider(team)
    tasks = [outsider.say("keeper", f"w{number}") for number in range(6)]
    assert {who(said(task)) for task in tasks} == set(pids)
    for number, task in enumerate(tasks):
        name = pids[who(said(task))]
        assert task["contextId"].endswith(f".r{name[-1]}") and task["id"].endswith(f".r{name[-1]}")
        again = outsider.say("keeper", "again", session=task["contextId"])
        assert said(again) == f"{who(said(task))}: w{number} again"
    assert who(said(outsider.say("keeper-1", "you"))) == next(pid for pid in pids if pids[pid] == "keeper-1")

    # A task is found at the replica that works on it.
    waiting = outsider.say("keeper", "wait", wait=False)
    end = time.monotonic() + 60
    while (state := outsider.state("keeper", waiting["id"])) == "TASK_STATE_SUBMITTED":
        assert time.monotonic() < end
    assert state == "TASK_STATE_WORKING"
    ended = outsider.call("keeper", "CancelTask", id=waiting["id"])["result"]
    assert ended["status"]["state"] == "TASK_STATE_CANCELED"
    outsider.close()

    # Many conversations at once through another agent: each keeps its words and its replica.
    def talk(number: int) -> list[str]:
        with connected(team) as own:
            return [
                own.query("twins", f"s{number}.{turn}", session=f"talk-{number}", user=f"user-{number % 3}").answer
                for turn in range(TURNS)
            ]

    with ThreadPoolExecutor(SESSIONS) as pool:
        talks = list(pool.map(talk, range(SESSIONS)))
    for number, answers in enumerate(talks):
        assert words(answers[-1]) == [f"s{number}.{turn}" for turn in range(TURNS)]
        assert len({who(answer) for answer in answers}) == 1, answers
    assert {who(answers[0]) for answers in talks} == set(pids)

    asked = client.query("twins", "trace", session="talk-0", user="user-0")
    spans = whole(client.trace(asked.trace_id))
    (served,) = [span for span in spans if span["kind"] == "SERVER" and span["agent"] == "keeper"]
    assert served["attributes"]["teamwright.replica"] == pids[who(asked.answer)]
    started = client.trace(client.job("twins")["deploy_trace_id"])["spans"]
    names = {(span["name"], span["agent"], span["attributes"].get("teamwright.replica")) for span in started}
    assert {(f"start_agent keeper-{n}", "keeper", f"keeper-{n}") for n in range(3)} < names
    assert ("start_agent front", "front", None) in names
    (entry,) = [entry for entry in client.agents(job="twins", name="keeper")]
    assert [(each["replica"], each["status"]) for each in entry["replicas"]] == [(n, "healthy") for n in range(3)]


def test_what_is_told_of_all_and_of_one(team: Deploy, client: Client) -> None:
    names = set(replicas(client, "keeper"))
    client.query("twins", "hello", agent="keeper")
    happened = [json.loads(line) for line in team("events", "twins/keeper", "--json").ok().out.splitlines()]
    assert {event["agent"] for event in happened} == names
    of_one = [json.loads(line) for line in team("events", "twins/keeper-1", "--json").ok().out.splitlines()]
    assert {event["agent"] for event in of_one} == {"keeper-1"}
    every = team("describe", "twins/keeper", "--json").ok().json
    one = team("describe", "twins/keeper-1", "--json").ok().json
    for found in (every, one):
        assert found["card"]["name"] and found["events"] and found["runs"][0]["agent"] == "keeper", found["id"]
    assert "keeper-0 healthy, keeper-1 healthy, keeper-2 healthy" in team("describe", "twins/keeper").ok().out


def test_another_replica_goes_on(team: Deploy, client: Client) -> None:
    # One is stopped, and started again: its conversations go on elsewhere, with all that was said.
    first = client.query("twins", "one", agent="keeper", session="s")
    name = next(name for name, each in replicas(client, "keeper").items() if each["pid"] == who(first.answer))
    stopped = team("stop", f"twins/{name}", "--json").ok().json
    assert until(client, "keeper", name, "stopped")["pid"] is None and stopped
    second = client.query("twins", "two", agent="keeper", session="s")
    assert words(second.answer) == ["one", "two"] and who(second.answer) != who(first.answer)
    through = client.query("twins", "three", session="t")
    assert who(through.answer) in {each["pid"] for each in replicas(client, "keeper").values()}
    team("restart", f"twins/{name}").ok()
    back = until(client, "keeper", name, "healthy")
    third = client.query("twins", "three", agent="keeper", session="s")
    assert words(third.answer) == ["one", "two", "three"] and who(third.answer) == who(second.answer) != back["pid"]

    # One is killed: the restart policy brings it back under its name, and its log goes on.
    os.kill(back["pid"], signal.SIGKILL)
    again = until(client, "keeper", name, "healthy", other_than=back["pid"])
    assert again["restarts"] == 1
    end = time.monotonic() + 60
    while (count := team("logs", f"twins/{name}").ok().out.count("ready: ")) < 3:
        assert time.monotonic() < end
    assert count == 3
    assert {line.split()[0] for line in team("logs", "twins/keeper").ok().out.splitlines()} >= set(
        replicas(client, "keeper")
    )
    pids = {each["pid"] for each in replicas(client, "keeper").values()}
    team("restart", "twins/keeper").ok()
    assert not pids & {each["pid"] for each in replicas(client, "keeper").values()}

    # One kills itself in the middle of an answer, and nobody starts it again: the conversation is not lost.
    before = client.query("twins", "here", agent="frail", session="f")
    failed = client.query("twins", "die", agent="frail", session="f")
    assert failed.status != "ok" or pytest.fail(str(failed))
    name = next(name for name, each in replicas(client, "frail").items() if each["pid"] != who(before.answer))
    after = client.query("twins", "there", agent="frail", session="f")
    assert words(after.answer) == ["here", "there"]
    assert who(after.answer) == replicas(client, "frail")[name]["pid"]
    with pytest.raises(TeamwrightError, match="keeper-9"):
        client.query("twins", "x", agent="keeper-9")


def test_apply_changes_their_number(deploy: Deploy, tmp_path: Path) -> None:
    shutil.copy(TEAM.with_name("twins.py"), tmp_path)
    file = tmp_path / "twins.yaml"

    def write(count: int) -> Path:
        file.write_text(f"agents: [{{id: keeper, type: Keeper, module: twins, replicas: {count}}}]")
        return file

    deploy("start", write(2)).ok()
    with connected(deploy) as client:
        first = client.query("twins", "one", session="s")
        two = {name: each["pid"] for name, each in replicas(client, "keeper").items()}
        deploy("apply", write(3), "--yes").ok()
        three = {name: each["pid"] for name, each in replicas(client, "keeper").items()}
        assert three.items() > two.items() and list(three) == ["keeper-0", "keeper-1", "keeper-2"]
        deploy("apply", write(1), "--yes").ok()
        (keeper,) = client.job("twins")["agents"]
        assert (keeper["status"], keeper["replicas"]) == ("healthy", [])
        last = client.query("twins", "two", session="s")
        assert words(last.answer) == ["one", "two"]
        assert who(first.answer) in two.values() and who(last.answer) == keeper["pid"] not in three.values()
    deploy("stop", "--all").ok()
