"""The front door as the outside world sees it: its own address, how often a token may call, and a thousand streams."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

STREAMS = 1000
AGENT = """
import asyncio

from teamwright import Agent

OPEN = asyncio.Event()
WAITING = 0


class Crowded(Agent):
    async def run(self, turn):
        global WAITING
        if turn.text == "how many":
            return str(WAITING)
        if turn.text == "open":
            OPEN.set()
            return "opened"
        WAITING += 1
        await turn.stream(f"{turn.text} waits, ")
        await OPEN.wait()
        await turn.stream(f"{turn.text} goes")
"""
JOB = """
execution: {entry_point: hall}
agents:
  - {id: hall, type: Crowded, module: crowded, max_concurrent: 2000, limits: {duration: 5m}}
"""


@contextmanager
def soft_limit(files: int) -> Iterator[None]:
    """What a shell usually gives its commands."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def hall(deploy: Deploy, tmp_path: Path) -> Iterator[Deploy]:
    (tmp_path / "crowded.py").write_text(AGENT)
    (tmp_path / "hall.yaml").write_text(JOB)
    public = {"TEAMWRIGHT_PUBLIC_URL": "https://agents.example.org/team", "TEAMWRIGHT_TOKEN_RPM": "3"}
    with soft_limit(1024):
        deploy("start", tmp_path / "hall.yaml", environment=public).ok()
    yield deploy
    deploy("stop", "--all").ok()


def url(deploy: Deploy) -> str:
    return str(deploy("engine", "status", "--json").ok().json["url"])


def call(text: str, method: str = "SendMessage") -> dict[str, Any]:
    message = {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}]}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}


def token(deploy: Deploy, *more: str) -> dict[str, str]:
    made = deploy("token", "create", "--job", "hall", "--user", "ada", *more, "--json").ok().json
    return {"authorization": f"Bearer {made['token']}", "a2a-version": "1.0"}


def client_card(base: str) -> Any:
    return httpx.get(f"{base}/a2a/hall/hall/.well-known/agent-card.json", trust_env=False, timeout=60).json()


def test_public_address_and_calls_a_minute(hall: Deploy) -> None:
    base = url(hall)
    with httpx.Client(base_url=base, trust_env=False, timeout=60) as client:
        card = client.get("/a2a/hall/.well-known/agent-card.json").json()
        assert {item["url"] for item in card["supportedInterfaces"]} == {"https://agents.example.org/team/a2a/hall"}
        host = {"host": "agents.example.org"}
        assert client.get("/livez", headers=host).status_code == 200
        assert client.get("/livez", headers={**host, "origin": "https://agents.example.org"}).status_code == 200
        assert client.get("/livez", headers={"host": "evil.example.org"}).status_code == 403
        assert client.get("/livez", headers={**host, "origin": "https://evil.example.org"}).status_code == 403

        door = "/a2a/hall"
        for headers, allowed in ((token(hall), 3), (token(hall, "--rpm", "1"), 1), (token(hall, "--rpm", "5"), 5)):
            for _ in range(allowed):
                assert client.post(door, json=call("how many"), headers=headers).status_code == 200
            refused = client.post(door, json=call("how many"), headers=headers)
            assert (refused.status_code, refused.json()["error"]["type"]) == (429, "TooMany")
            assert 0 < int(refused.headers["retry-after"]) <= 60
        for _ in range(8):  # the operator's own
            assert hall("query", "hall", "how many", "--json").ok().json["answer"] == "0"
    folder = hall.home.parent / "cards"
    (file,) = hall("registry", "export", folder, "--json").ok().json["files"]
    assert json.loads(Path(file).read_text()) == client_card(base)
    assert file.endswith("cards/hall/hall/.well-known/agent-card.json")
    assert hall("registry", "export", folder, "--job", "nobody").code == 2
    assert "--rpm" in hall("token", "create", "--rpm", "0").err


def test_bad_settings_are_said_at_once(deploy: Deploy) -> None:
    for name, text in (
        ("TEAMWRIGHT_PUBLIC_URL", "agents.example.org"),
        ("TEAMWRIGHT_TOKEN_RPM", "many"),
        ("TEAMWRIGHT_IDLE", "soon"),
        ("TEAMWRIGHT_TRACE_DAYS", "-1"),
    ):
        done = deploy("engine", "start", environment={name: text})
        assert done.code == 2 and done.err.startswith(f"error: {name}"), done


async def test_a_thousand_open_streams(hall: Deploy) -> None:
    base = await asyncio.to_thread(url, hall)
    operator = (hall.home / "operator.token").read_text().strip()
    headers = {"authorization": f"Bearer {operator}", "a2a-version": "1.0", "accept": "text/event-stream"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    began = asyncio.Semaphore(0)

    async def ask(client: httpx.AsyncClient, number: int) -> str:
        said, first = "", True
        body = call(f"guest {number}", "SendStreamingMessage")
        async with client.stream("POST", f"{base}/a2a/hall", json=body, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                event = json.loads(line[5:])["result"]
                parts = event.get("artifactUpdate", {}).get("artifact", {}).get("parts", ())
                said += "".join(part.get("text", "") for part in parts)
                if said and first:
                    first = False
                    began.release()
        return said

    async with httpx.AsyncClient(trust_env=False, timeout=250, limits=limits) as client:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(client, number)) for number in range(STREAMS)]
            for _ in asked:
                await began.acquire()
            # All of them are open now, and a newcomer is still answered.
            status = await client.get(f"{base}/livez")
            assert status.status_code == 200
            assert (await asyncio.to_thread(hall, "query", "hall", "how many", "--json")).json["answer"] == str(STREAMS)
            (await asyncio.to_thread(hall, "query", "hall", "open")).ok()
        answers = [task.result() for task in asked]
    assert answers == [f"guest {number} waits, guest {number} goes" for number in range(STREAMS)]


async def test_the_engine_is_killed_in_mid_answer_and_the_client_goes_on(hall: Deploy) -> None:
    base = await asyncio.to_thread(url, hall)
    operator = (hall.home / "operator.token").read_text().strip()
    headers = {"authorization": f"Bearer {operator}", "a2a-version": "1.0", "accept": "text/event-stream"}
    engine = (await asyncio.to_thread(hall, "engine", "status", "--json")).json["processes"]["engine"]
    async with httpx.AsyncClient(trust_env=False, timeout=60, base_url=base) as client:
        task = ""
        with pytest.raises(httpx.HTTPError):
            async with client.stream(
                "POST", "/a2a/hall", json=call("ada", "SendStreamingMessage"), headers=headers
            ) as got:
                async for line in got.aiter_lines():
                    if line.startswith("data:") and "artifactUpdate" in line and not task:
                        task = json.loads(line[5:])["result"]["artifactUpdate"]["taskId"]
                        os.kill(engine, signal.SIGKILL)
        assert task
        again = {"jsonrpc": "2.0", "id": 2, "method": "SubscribeToTask", "params": {"id": task}}
        said: list[dict[str, Any]] = []
        # The socket is the guard's: this waits in its backlog until the next engine answers.
        async with client.stream("POST", "/a2a/hall", json=again, headers=headers) as got:
            assert got.status_code == 200
            async for line in got.aiter_lines():
                if line.startswith("data:"):
                    said.append(json.loads(line[5:])["result"])
                    if len(said) == 1:
                        (await asyncio.to_thread(hall, "query", "hall", "open")).ok()
        assert "task" in said[0]
        assert said[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED", said[-1]
        found = {"jsonrpc": "2.0", "id": 3, "method": "GetTask", "params": {"id": task}}
        whole = (await client.post("/a2a/hall", json=found, headers=headers)).json()["result"]
    text = "".join(part.get("text", "") for artifact in whole["artifacts"] for part in artifact["parts"])
    assert text == "ada waits, ada goes"
    trace = (await asyncio.to_thread(hall, "trace", "list", "--json")).ok().out
    assert "process_lost" not in trace
