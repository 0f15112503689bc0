"""`deploy apply`: a running job is changed through the real command line, while it is being asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .test_chat import Person

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

JOB = """
job: {name: shop}
defaults: {module: shop}
deployment: {timeout: 20}
agents:
  - {id: clerk, type: Clerk, calls: [store]}
  - {id: store, type: Store, description: first}
"""
CODE = """
import asyncio, os
from teamwright import Agent

class Clerk(Agent):
    async def run(self, turn):
        if turn.text == "which":
            return "bought " + await turn.ask_user("Which one?")
        return "clerk: " + (await turn.ask_peer("store", turn.text)).text

class Store(Agent):
    async def run(self, turn):
        word, _, rest = turn.text.partition(" ")
        if word == "wait":
            open(rest + ".waits", "w").close()
            while not os.path.exists(rest):
                await asyncio.sleep(0.01)
        return f"v1 {os.getpid()}"
"""


class Shop:
    """The job, its file and what may be done with it."""

    def __init__(self, deploy: Deploy) -> None:
        self.deploy = deploy
        self.folder = deploy.home.parent / "shop"
        self.file = self.folder / "shop.yaml"
        self.code = self.folder / "shop.py"
        self.folder.mkdir()
        self.write(JOB, CODE)

    def write(self, job: str | None = None, code: str | None = None) -> None:
        if job is not None:
            self.file.write_text(job)
        if code is not None:
            self.code.write_text(code)

    def apply(self, *more: str, code: int = 0) -> Any:
        done = self.deploy("apply", self.file, "--json", *more)
        assert done.code == code, str(done)
        return done.json

    def pids(self) -> dict[str, int]:
        return {agent["id"]: agent["pid"] for agent in self.view()["agents"]}

    def view(self) -> Any:
        return self.deploy("ps", "shop", "--json").ok().json

    def ask(self, text: str) -> str:
        return str(self.deploy("query", "shop", text, "--json").ok().json["answer"])

    def revisions(self) -> str:
        return str(self.view()["revision"])


@pytest.fixture(scope="module")
def shop(shared_deploy: Deploy) -> Iterator[Shop]:
    yield Shop(shared_deploy)
    shared_deploy("stop", "--all").ok()


@pytest.fixture(autouse=True)
def as_it_was(shop: Shop) -> None:
    """Each test begins with the first version, running."""
    shop.write(JOB, CODE)
    shop.apply("--yes")


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_nothing_changed(shop: Shop) -> None:
    before = shop.pids()
    assert shop.apply()["result"] == "unchanged"
    assert shop.pids() == before
    done = shop.deploy("apply", shop.file).ok()
    assert "already what its file says" in done.out


def test_what_waits_for_a_person_is_told_before_it_is_lost(shop: Shop) -> None:
    first, second = (shop.deploy("query", "shop", "which", "--json").ok().json for _ in range(2))
    assert first["state"] == second["state"] == "input_required"
    shop.write(JOB.replace("description: first", "description: second"))
    assert shop.apply("--dry-run")["parked"] == {}  # the store's process ends, which has none
    shop.write(JOB.replace("calls: [store]", "calls: [store], description: sells"))
    assert shop.apply("--dry-run")["parked"] == {"clerk": 2}
    said = shop.deploy("apply", shop.file, "--dry-run").ok().out
    assert "tasks that wait for a person end with them: 2 of clerk" in said
    # Answered ones wait no more.
    more = ("--session", first["session"], "--task", first["task_id"], "--json")
    assert shop.deploy("query", "shop", "this", *more).ok().json["answer"] == "bought this"
    assert shop.apply("--dry-run")["parked"] == {"clerk": 1}


def test_only_what_changed_is_replaced(shop: Shop) -> None:
    before = shop.pids()
    shop.write(JOB.replace("description: first", "description: second"))
    found = shop.apply("--dry-run")
    assert found["result"] == "planned" and shop.pids() == before
    assert found["changed"] == [
        {"agent": "store", "why": [{"key": "description", "before": "first", "after": "second"}]}
    ]
    found = shop.apply("--yes")
    after = shop.pids()
    assert found["result"] == "applied" and after["clerk"] == before["clerk"] and after["store"] != before["store"]
    assert shop.view()["revision"] == found["revision"]["after"]
    until(lambda: not Path(f"/proc/{before['store']}").exists())
    assert shop.ask("hello") == f"clerk: v1 {after['store']}"


def test_nobody_to_ask(shop: Shop) -> None:
    before = shop.pids()
    shop.write(JOB.replace("first", "second"))
    done = shop.deploy("apply", shop.file)
    assert done.code == 2 and "--yes" in done.err and "~ store" in done.out
    assert shop.pids() == before


def test_it_asks(shop: Shop) -> None:
    before = shop.pids()
    shop.write(JOB.replace("first", "second"))
    for answer, code in (("n\r", 1), ("y\r", 0)):
        person = Person(shop.deploy, shop.folder, "apply", "shop.yaml")
        try:
            person.sees("apply this to shop?", within=60)
            assert shop.pids() == before
            assert person.leaves(answer) == code
        finally:
            person.goes()
    after = shop.pids()
    assert after["store"] != before["store"] and after["clerk"] == before["clerk"]
    found = [json.loads(line) for line in shop.deploy("events", "shop", "--json").ok().out.splitlines()]
    assert {"order.apply", "job.applied", "agent.replaced"} <= {event["kind"] for event in found}


def test_code_and_messages_under_load(shop: Shop) -> None:
    """The module changes while ten people ask: each gets an answer, of the old or the new one."""
    answers: list[str] = []
    over = threading.Event()

    def ask() -> None:
        from teamwright.client import launch
        from teamwright.home import Home

        with launch.connect(Home(shop.deploy.home), start=False, environ=shop.deploy.environment) as client:
            while not over.is_set():
                answers.append(client.query("shop", "hello").answer)

    people = [threading.Thread(target=ask) for _ in range(5)]
    for person in people:
        person.start()
    try:
        for version in ("v2", "v3"):
            until(lambda: len(answers) > 10)
            shop.write(code=CODE.replace("v1", version))
            assert shop.apply("--yes")["result"] == "applied"
            told = len(answers) + 10
            until(lambda told=told: len(answers) > told)  # type: ignore[misc]
    finally:
        over.set()
        for person in people:
            person.join()
    assert all(answer.startswith("clerk: v") for answer in answers), set(answers)
    assert "clerk: v1" in answers[0] and "clerk: v3" in answers[-1]


def test_work_under_way_is_ended_by_the_old_process(shop: Shop) -> None:
    gate = shop.folder / "gate"
    before = shop.pids()
    slow = shop.deploy.begin("query", "shop", f"wait {gate}", "--json")
    until(Path(f"{gate}.waits").exists)
    shop.write(JOB.replace("first", "second"))
    applying = shop.deploy.begin("apply", str(shop.file), "--yes", "--json")
    until(lambda: shop.pids()["store"] != before["store"])
    assert shop.ask("hello") == f"clerk: v1 {shop.pids()['store']}"
    assert applying.poll() is None, "it waits for the work of the old process"
    gate.touch()
    out, _ = slow.communicate(timeout=60)
    assert json.loads(out)["answer"] == f"clerk: v1 {before['store']}"
    out, err = applying.communicate(timeout=60)
    assert applying.returncode == 0, err
    assert not Path(f"/proc/{before['store']}").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no such shelf')", "before it was ready"),
        ("import time; time.sleep(600)", "was not ready after 1 s"),
    ],
)
def test_a_broken_one_changes_nothing(shop: Shop, code: str, said: str) -> None:
    before, revision = shop.pids(), shop.revisions()
    # At import it breaks in the new process only: nobody who reads the file can know.
    shop.write(JOB.replace("timeout: 20", "timeout: 1") if "sleep" in code else None, CODE + code + "\n")
    done = shop.deploy("apply", shop.file, "--yes")
    assert done.code == 1 and said in done.err and "shop is as it was" in done.err, str(done)
    assert shop.pids() == before and shop.revisions() == revision
    assert shop.ask("hello") == f"clerk: v1 {before['store']}"


def test_more_and_fewer_agents(shop: Shop) -> None:
    before = shop.pids()
    shop.write(JOB.replace("calls: [store]", "calls: [store, vault]") + "  - {id: vault, type: Store}\n")
    found = shop.apply("--yes")
    assert found["added"] == ["vault"] and [item["agent"] for item in found["changed"]] == ["clerk"]
    after = shop.pids()
    assert after["store"] == before["store"] and after["clerk"] != before["clerk"] and after["vault"]
    shop.write(JOB)
    assert shop.apply("--yes")["removed"] == ["vault"]
    assert set(shop.pids()) == {"clerk", "store"} and not Path(f"/proc/{after['vault']}").exists()
    assert shop.ask("hello") == f"clerk: v1 {before['store']}"


def test_another_port(shop: Shop) -> None:
    """Who calls the agent is told its new address."""
    before = shop.pids()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shop.write(JOB.replace("description: first", f"config: {{port: {port}}}"))
    found = shop.apply("--yes")
    assert {item["agent"] for item in found["changed"]} == {"clerk", "store"}
    assert [agent["url"] for agent in shop.view()["agents"] if agent["id"] == "store"] == [f"http://127.0.0.1:{port}"]
    assert shop.pids()["clerk"] != before["clerk"]
    assert shop.ask("hello").startswith("clerk: v1")


@pytest.mark.parametrize("victim", ["engine", "command"])
def test_killed_in_the_middle(shop: Shop, victim: str) -> None:
    """Before all new agents are ready: the job stays what it was."""
    before, revision = shop.pids(), shop.revisions()
    gate = shop.folder / f"{victim}-gate"
    engine = shop.deploy("engine", "status", "--json").ok().json["processes"]["engine"]
    shop.write(code=CODE + f"import os, time\nopen({str(gate)!r}, 'w').close()\ntime.sleep(15)\n")
    applying = shop.deploy.begin("apply", str(shop.file), "--yes", "--json")
    until(gate.exists)
    os.kill(engine if victim == "engine" else applying.pid, signal.SIGKILL)
    applying.communicate(timeout=60)
    assert applying.returncode != 0
    until(lambda: shop.deploy("engine", "status").code == 0)
    until(lambda: shop.deploy("query", "shop", "hello", "--json").code == 0)
    assert shop.ask("hello") == f"clerk: v1 {before['store']}"
    assert shop.pids() == before and shop.revisions() == revision
    assert shop.view()["status"] == "running"
    shop.write(code=CODE)
    until(lambda: shop.deploy("apply", shop.file, "--yes").code == 0)  # nobody changes it any more


def test_a_job_that_does_not_run_is_started(shop: Shop) -> None:
    shop.deploy("stop", "shop").ok()
    assert shop.apply()["result"] == "started"
    assert shop.ask("hello").startswith("clerk: v1")


def test_bad_file(shop: Shop) -> None:
    before = shop.pids()
    shop.write(JOB.replace("type: Store", "typo: Store"))
    done = shop.deploy("apply", shop.file, "--yes")
    assert done.code == 2 and "shop.yaml:7" in done.err and "Traceback" not in done.err
    assert shop.pids() == before
