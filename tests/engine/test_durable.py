"""Engine and collector are killed while queries run: every span of every finished query is in the store, once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from teamwright.client import launch
from teamwright.client.client import Client
from teamwright.errors import TeamwrightError
from teamwright.home import Home
from teamwright.host import guard as guard_module
from teamwright.jobs.plan import AgentPlan, Plan
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show

from .conftest import begin, end, make_plan
from .test_whole import eventually, of_home

pytestmark = pytest.mark.timeout(600)

KILLS = 10
#: Seconds that the engine is held down; set it to see a longer absence with your own eyes.
DOWN = float(os.environ.get("DOWN_SECONDS", "2"))


def pair() -> Plan:
    lead = AgentPlan(
        id="lead", kind="class", level=1, backend="offline", module="enduring", type="Lead", callees=("helper",)
    )
    helper = AgentPlan(
        id="helper", kind="class", level=0, backend="offline", module="enduring", type="Helper", callers=("lead",)
    )
    return make_plan("team", lead, helper)


@pytest.fixture(params=["engine", "process"])
def enduring(request: pytest.FixtureRequest, home: Home, environment: dict[str, str]) -> Iterator[Client]:
    """A real engine whose guard bears any number of deaths; `process`: with a collector of its own."""
    ours, theirs = socket.socketpair()
    order = {
        "home": str(home.path), "home_id": home.id, "run_dir": str(home.run_dir), "python": sys.executable, "port": 0,
        "stay": True, "host": True, "collector": request.param == "process", "version": "1", "fingerprint": "f",
        "lifeline": theirs.fileno(), "beat": 0.5, "entry": {"undying": True},
    }  # fmt: skip
    with theirs:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guard_module.__file__).resolve()), json.dumps(order)],
            env=environment,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    with ours.makefile() as lines:
        url = json.loads(lines.readline())["url"]
    ours.sendall(b"ok")
    ours.close()
    try:
        with Client(url, launch._token(home, url, environment)) as client:
            begin(client, pair())
            yield client
        alarms = "is killed" in home.guard_log.read_text()
        assert alarms == (request.node.originalname == "test_stopped_processes_are_replaced"), "a false alarm"
    finally:
        guard.send_signal(signal.SIGTERM)
        guard.wait(60)
        end(home, environment)
    assert not of_home(home)


class Load:
    """Asks without a pause from several threads, until stopped; knows what was answered."""

    def __init__(self, client: Client, askers: int = 4) -> None:
        self._token = client.headers()["authorization"].removeprefix("Bearer ")
        self._url = client.url
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(askers)
        self.answered: list[str] = []
        self.failed = 0
        self._futures = [self._pool.submit(self._ask, number) for number in range(askers)]

    def _ask(self, number: int) -> None:
        count = 0
        while not self._over.is_set():
            count += 1
            with Client(self._url, self._token) as client:
                try:
                    result = client.query("team", f"0.01 {number}-{count}")
                except TeamwrightError:
                    self.failed += 1
                    continue
            if result.status == "ok":
                self.answered.append(result.trace_id)
            else:
                self.failed += 1

    def more(self, count: int = 2) -> None:
        """Wait until so many more have been answered."""
        goal = len(self.answered) + count
        eventually(lambda: len(self.answered) >= goal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for future in self._futures:
            future.result(60)
        self._pool.shutdown()


def kill(client: Client, process: str) -> None:
    def pid() -> Any:
        return client.status()["processes"].get(process)

    eventually(pid)
    os.kill(pid(), signal.SIGKILL)


def check(client: Client, home: Home, answered: list[str]) -> None:
    """Every answered query is whole in the store; nothing runs, nothing hangs in the air."""
    assert len(set(answered)) == len(answered)
    eventually(lambda: not [trace for trace in client.traces(limit=1000) if trace["status"] == "running"])
    client.trace(answered[-1])  # drains
    with SpanReader(home.spans_db) as reader:  # the store alone, no spool
        for trace_id in answered:
            trace = trace_show(reader.show(trace_id))
            assert trace["complete"] and trace["status"] == "ok", trace
            names = sorted(span["name"] for span in trace["spans"])
            assert names == ["invoke_agent helper"] * 2 + ["invoke_agent lead", "invoke_workflow team"], names
        for summary in reader.list_traces(Filter(job="team"), limit=1000):
            found = trace_show(reader.show(summary["trace"].hex()))
            assert found["missing"]["open"] == found["missing"]["orphans"] == 0, found
            if found["status"] == "ok":
                assert found["complete"], found


def test_killed_ten_times_under_load(enduring: Client, home: Home) -> None:
    victims = ["engine", "collector"] if "collector" in enduring.status()["processes"] else ["engine"]
    with Load(enduring) as load:
        load.more()
        for number in range(KILLS):
            kill(enduring, victims[number % len(victims)])
            load.more()
    check(enduring, home, load.answered)


def test_an_engine_that_is_away_for_long(enduring: Client, home: Home, tmp_path: Path) -> None:
    """Agents work on and spool; what they did meanwhile is told afterwards."""
    processes = enduring.status()["processes"]
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(4) as pool:
        # These end at their agents while there is no engine.
        long = [pool.submit(_try, enduring, f"{gate} long-{number}") for number in range(4)]
        eventually(lambda: len([t for t in enduring.traces() if t["spans"] >= 3]) >= 4)
        with Load(enduring) as load:
            load.more(8)
            os.kill(processes["guard"], signal.SIGSTOP)  # nobody starts them again
            try:
                for name in ("engine", "collector"):
                    if name in processes:
                        os.kill(processes[name], signal.SIGKILL)
                gate.touch()
                time.sleep(DOWN)
            finally:
                os.kill(processes["guard"], signal.SIGCONT)
            load.more(4)
        for future in long:
            future.result(60)
    check(enduring, home, load.answered)
    with SpanReader(home.spans_db) as reader:
        found = [trace_show(reader.show(item["trace"].hex())) for item in reader.list_traces(Filter(text="long-"))]
    assert len(found) == 4 and all(trace["complete"] and trace["status"] == "ok" for trace in found), found
    assert {len(trace["spans"]) for trace in found} == {4}


def _try(client: Client, text: str) -> None:
    token = client.headers()["authorization"].removeprefix("Bearer ")
    # Its engine is killed, perhaps; the query itself goes on.
    with Client(client.url, token) as other, suppress(TeamwrightError):
        other.query("team", text)


def test_a_killed_agent_leaves_no_open_span(enduring: Client, home: Home) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_try, enduring, "60 never")
        eventually(lambda: any(item["spans"] >= 4 for item in enduring.traces()))
        agents = {agent["id"]: agent["pid"] for agent in enduring.job("team")["agents"]}
        os.kill(agents["helper"], signal.SIGKILL)
        asked.result(60)
    (item,) = enduring.traces()
    eventually(lambda: not enduring.trace(item["trace_id"])["missing"]["open"])
    trace = enduring.trace(item["trace_id"])
    (lost,) = [span for span in trace["spans"] if span["status"] == "lost"]
    assert lost["agent"] == "helper" and lost["attributes"]["error.type"] == "process_lost"
    assert lost["message"] == "helper ended (SIGKILL) before this did" and lost["events"][-1]["name"] == "agent lost"
    assert not trace["complete"] and trace["missing"]["lost"] == 1
    # What it had used nobody knows: not nothing, neither for who asked nor for the whole.
    assert trace["summary"]["cost_usd"] is None
    (lead,) = [span for span in trace["spans"] if span["name"] == "invoke_agent lead"]
    assert lead["attributes"]["teamwright.usage.partial"] and "teamwright.cost_usd" not in lead["attributes"]


def _replaced(client: Client, name: str, pid: int) -> bool:
    return client.status()["processes"][name] not in (None, pid)


@pytest.mark.parametrize("enduring", ["process"], indirect=True)
def test_stopped_processes_are_replaced(enduring: Client) -> None:
    """SIGSTOP: it lives, holds its sockets, and does nothing."""
    before = enduring.status()["processes"]
    for name in ("collector", "host", "engine"):
        os.kill(before[name], signal.SIGSTOP)
        eventually(partial(_replaced, enduring, name, before[name]))
    eventually(lambda: enduring.job("team")["status"] == "running")
    assert enduring.query("team", "0 again").status == "ok"
    log = (Path(enduring.status()["home"]) / "guard.log").read_text()
    assert log.count("is killed: stopped by a signal") == 3
