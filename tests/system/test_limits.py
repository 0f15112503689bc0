"""Each limit of the job file at 1, with twenty queries at once through the front door: it serialises, or ends with its
reason in the answer and in the trace, and the agent is as good as before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from teamwright.client.client import Client
from teamwright.client.launch import connect
from teamwright.client.results import QueryResult
from teamwright.home import Home
from tests.system.waiting import until

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

AT_ONCE = 20
CODE = '''
import asyncio, os

working = 0


def get_weather() -> str:
    """Weather now."""
    return "rain"


def get_time() -> str:
    """Time now."""
    return "noon"


async def work(text):
    global working
    working += 1
    try:
        assert working == 1, "two at work at once"
        while not os.path.exists(text):
            await asyncio.sleep(0.01)
    finally:
        working -= 1
    return "did it"


async def sleep(text):
    await asyncio.sleep(float(text))
    return "slept"


async def ask(text, turn):
    name, _, rest = text.partition(" ")
    answers = [await turn.ask_peer(name, rest) for _ in range(2 if rest == "twice" else 1)]
    return answers[-1].text
'''
TOOLS = {"backend": "offline", "tools": ["bot:get_weather", "bot:get_time"]}
AGENTS: list[dict[str, Any]] = [
    {"id": "turns", **TOOLS, "limits": {"turns": 1}},
    {"id": "tool_calls", **TOOLS, "limits": {"tool_calls": 1}},
    {"id": "duration", "run": "bot:sleep", "limits": {"duration": 1}},
    {"id": "peer_calls", "run": "bot:ask", "limits": {"peer_calls": 1}, "calls": ["echo"]},
    {"id": "depth", "run": "bot:ask", "calls": ["middle"]},
    {"id": "middle", "run": "bot:ask", "limits": {"depth": 1}, "calls": ["echo"]},
    {"id": "echo", "backend": "offline"},
    {"id": "max_concurrent", "run": "bot:work", "max_concurrent": 1},
    {"id": "queue", "run": "bot:work", "max_concurrent": 1, "queue": 1},
]
#: agent: (what passes its limit, what does not)
QUESTIONS = {
    "turns": ("What is the weather now, and what time is it now?", "hello"),
    "tool_calls": ("What is the weather now, and what time is it now?", "hello"),
    "duration": ("1000", "0"),
    "peer_calls": ("echo twice", "echo once"),
    "depth": ("middle echo hello", ""),
}


def test_every_limit_at_one_with_twenty_at_once(deploy: Deploy, tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(CODE)
    file = tmp_path / "limits.yaml"
    file.write_text(json.dumps({"agents": AGENTS, "execution": {"entry_point": "echo"}}))
    deploy("start", file).ok()
    with connect(Home(deploy.home), start=False, environ=deploy.environment) as client:
        for limit, (over, fits) in QUESTIONS.items():
            ends = at_once(client, limit, over)
            assert {(end.status, end.reason) for end in ends} == {("error", limit)}, (limit, ends)
            assert all(limit in end.answer for end in ends), ends[0]
            root = client.trace(ends[0].trace_id)["spans"][0]
            assert (root["status"], root["attributes"]["error.type"]) == ("error", limit)
            if fits:
                fitting = (client.query("limits", fits, agent=limit).status for _ in range(10))
                assert "ok" in fitting, limit  # a busy machine may need a second for nothing
        assert client.query("limits", "echo hello", agent="middle").status == "ok"

        with gate(tmp_path / "first") as (path, pool):
            asked = [pool.submit(client.query, "limits", str(path), agent="max_concurrent") for _ in range(AT_ONCE)]
            until(lambda: waiting(deploy, "max_concurrent") == AT_ONCE - 1)
            path.touch()
            ends = [each.result() for each in asked]
        assert {(end.status, end.answer) for end in ends} == {("ok", "did it")}
        waits = [span for end in ends for span in client.trace(end.trace_id)["spans"] if span["name"] == "queued"]
        assert len(waits) == AT_ONCE - 1
        assert all(span["status"] == "ok" for span in waits)

        with gate(tmp_path / "second") as (path, pool):  # one works, one waits, the others hear so at once
            asked = [pool.submit(client.query, "limits", str(path), agent="queue") for _ in range(AT_ONCE)]
            until(lambda: sum(each.done() for each in asked) == AT_ONCE - 2)
            path.touch()
            ends = [each.result() for each in asked]
        assert sorted((end.status, end.reason) for end in ends if end.status == "error") == [("error", "busy")] * (
            AT_ONCE - 2
        )
        assert [end.status for end in ends].count("ok") == 2
        refused = next(end for end in ends if end.status == "error")
        assert client.trace(refused.trace_id)["complete"]
        assert client.query("limits", str(path), agent="queue").status == "ok"
        with gate(tmp_path / "third") as (path, pool):
            heard = retry_after(client, path, pool)
        assert sorted(heard, key=str) == ["1"] * (AT_ONCE - 2) + [None] * 2
    done = deploy("query", "limits/turns", QUESTIONS["turns"][0], "--json")
    assert (done.code, json.loads(done.out.splitlines()[0])["reason"]) == (1, "turns")
    deploy("stop", "--all").ok()


def at_once(client: Client, agent: str, text: str) -> list[QueryResult]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda _: client.query("limits", text, agent=agent), range(AT_ONCE)))


@contextmanager
def gate(path: Path) -> Iterator[tuple[Path, ThreadPoolExecutor]]:
    """A file that work waits for, and people who ask; it is there at the end in any case."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield path, pool
        finally:
            path.touch()


def waiting(deploy: Deploy, agent: str) -> int:
    """How many messages wait in front of an agent."""
    found = next(each for each in deploy("ps", "limits", "--json").ok().json["agents"] if each["id"] == agent)
    return int(found["queued"] or 0)  # nothing is known of one that has not told yet


def retry_after(client: Client, path: Path, pool: ThreadPoolExecutor) -> list[str | None]:
    """What those who are refused hear about coming again; the two others wait for a file."""
    url = client.status()["url"]
    headers = {"authorization": f"Bearer {client.create_token(subject='ann')['token']}", "a2a-version": "1.0"}

    def one(number: int) -> str | None:
        message = {"messageId": str(number), "role": "ROLE_USER", "parts": [{"text": str(path)}]}
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
        found = httpx.post(f"{url}/a2a/limits/queue", json=body, headers=headers, timeout=60, trust_env=False)
        return found.headers.get("retry-after") if "error" in found.json() else None

    asked = [pool.submit(one, number) for number in range(AT_ONCE)]
    until(lambda: sum(each.done() for each in asked) == AT_ONCE - 2)
    path.touch()
    return [each.result() for each in asked]
