from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from teamwright import RunContext, current_run
from teamwright.tracing.outgoing import mcp_meta, outgoing_headers, stamp, stamp_mcp, stamp_now
from teamwright.tracing.runs import RunId, use_run


@pytest.fixture
def server() -> Iterator[tuple[str, list[str | None]]]:
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("X-Run-Id"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", seen
        made.shutdown()
        thread.join()


async def test_calls_carry_the_run_that_makes_them(server: tuple[str, list[str | None]]) -> None:
    url, seen = server
    one, two = (RunContext(RunId.generate(), "job", name) for name in ("a", "b"))
    async with httpx.AsyncClient(event_hooks={"request": [stamp]}, trust_env=False) as client:
        for run in (one, two, None):
            with use_run(run):
                assert current_run() is run
                await client.get(url)
        with use_run(one):
            await client.get(url, headers={"x-run-id": "given"})
    assert seen == [one.run_id, two.run_id, None, "given"]


def test_so_do_blocking_calls(server: tuple[str, list[str | None]]) -> None:
    url, seen = server
    run = RunContext(RunId.generate(), "job", "a")
    with httpx.Client(event_hooks={"request": [stamp_now]}, trust_env=False) as client, use_run(run):
        client.get(url)
    assert seen == [run.run_id]


def test_headers_by_hand() -> None:
    run = RunContext(RunId.generate(), "job", "a")
    assert outgoing_headers() == {}
    assert outgoing_headers(run) == {"X-Run-Id": run.run_id} and type(outgoing_headers(run)["X-Run-Id"]) is str


async def test_mcp_messages_carry_the_run_that_made_them(server: tuple[str, list[str | None]]) -> None:
    url, seen = server
    one, two = (RunContext(RunId.generate(), "job", name) for name in ("a", "b"))
    bodies: list[object] = [
        {"method": "tools/call", "params": {"_meta": mcp_meta(one)}},
        {"method": "initialize"},
        [1],
        {"params": {"_meta": {"teamwright.dev/run-id": 7}}},
    ]
    async with httpx.AsyncClient(event_hooks={"request": [stamp_mcp]}, trust_env=False) as client:
        with use_run(two):  # whose task the transport's was made in
            for body in bodies:
                await client.request("GET", url, json=body)
            await client.request("GET", url, content=b"no json")
    assert seen == [one.run_id, None, None, None, None]
