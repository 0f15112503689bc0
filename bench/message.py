"""What a message costs: CPU of an agent's process, beside a bare a2a-sdk echo server, in one run.

python bench/message.py [--messages 2000] [--at-once 8]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from teamwright.agents.spec import AgentSpec, PeerSpec
from teamwright.home import Home
from teamwright.safety.tokens import Issuer

BARE = """
import os, socket, sys
os.environ["OTEL_INSTRUMENTATION_A2A_SDK_ENABLED"] = "false"
import asyncio, uvicorn, uvloop
from a2a.helpers import new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

class Echo(AgentExecutor):
    async def execute(self, context, queue):
        await queue.enqueue_event(
            new_text_message(context.get_user_input(), context_id=context.context_id, role=Role.ROLE_AGENT))
    async def cancel(self, context, queue): ...

async def ready(request):
    return PlainTextResponse("ok")

async def main():
    card = AgentCard(name="echo", description="echo", version="1", capabilities=AgentCapabilities(streaming=True),
        supported_interfaces=[AgentInterface(url="http://x/", protocol_binding="JSONRPC", protocol_version="1.0")],
        default_input_modes=["text/plain"], default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="echo", description="echo", tags=["echo"])])
    handler = DefaultRequestHandler(agent_executor=Echo(), task_store=InMemoryTaskStore(), agent_card=card)
    app = Starlette(routes=[*create_jsonrpc_routes(handler, "/"), *create_agent_card_routes(card),
                            Route("/readyz", ready)])
    server = uvicorn.Server(uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None,
                                           access_log=False))
    await server.serve(sockets=[socket.socket(fileno=int(sys.argv[1]))])

uvloop.run(main())
"""

AGENTS = """
from teamwright import Agent

class Echo(Agent):
    async def run(self, turn):
        return turn.text

class Relay(Agent):
    async def run(self, turn):
        return (await turn.ask_peer("echo", turn.text)).text
"""


def bind() -> tuple[socket.socket, str]:
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    return sock, f"http://127.0.0.1:{sock.getsockname()[1]}/"


@contextmanager
def bare() -> Iterator[tuple[int, str]]:
    """The tuned echo server."""
    sock, url = bind()
    process = subprocess.Popen([sys.executable, "-I", "-c", BARE, str(sock.fileno())], pass_fds=(sock.fileno(),))
    yield from _running(process, sock, url)


@contextmanager
def agent(spec: AgentSpec, sock: socket.socket) -> Iterator[tuple[int, str]]:
    """One of our agents."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "teamwright.agents.main", str(sock.fileno()), str(read)],
        pass_fds=(sock.fileno(), read),
        stderr=subprocess.DEVNULL,
    )
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        json.dump(spec.to_dict(), pipe)
    yield from _running(process, sock, spec.url)


def _running(process: subprocess.Popen[bytes], sock: socket.socket, url: str) -> Iterator[tuple[int, str]]:
    try:
        httpx.get(f"{url}readyz", timeout=30).raise_for_status()
        yield process.pid, url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        sock.close()


def cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


async def load(url: str, messages: int, at_once: int, token: str | None) -> tuple[float, float]:
    """Send that many messages; seconds in all, and the median of one."""
    headers = {"a2a-version": "1.0", "content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "SendMessage",
        "params": {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hello"}]}},
    }  # fmt: skip
    times: list[float] = []
    left = messages

    async def worker(client: httpx.AsyncClient) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            answer = await client.post(url, json=body, headers=headers)
            times.append(time.perf_counter() - began)
            if "hello" not in answer.text or '"error"' in answer.text or "FAILED" in answer.text:
                raise SystemExit(answer.text)

    began = time.perf_counter()
    async with httpx.AsyncClient(timeout=30) as client:
        await asyncio.gather(*(worker(client) for _ in range(at_once)))
    return time.perf_counter() - began, sorted(times)[len(times) // 2]


def measure(name: str, pids: list[int], url: str, options: Any, token: str | None = None) -> float:
    """Print one line; CPU milliseconds per message of the first process."""
    asyncio.run(load(url, options.messages // 10, options.at_once, token))
    before = [cpu(pid) for pid in pids]
    seconds, median = asyncio.run(load(url, options.messages, options.at_once, token))
    spent = [(cpu(pid) - was) / options.messages * 1000 for pid, was in zip(pids, before, strict=True)]
    print(
        f"{name:58} {' + '.join(f'{each:.2f}' for each in spent):>12} ms CPU"
        f"   {options.messages / seconds:6.0f}/s   p50 {median * 1000:5.1f} ms"
    )
    return float(spent[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = Home(folder / "logs").create()
        issuer = Issuer.load(home)
        (folder / "bench_agents.py").write_text(textwrap.dedent(AGENTS))

        def spec(agent_id: str, url: str, **more: Any) -> AgentSpec:
            more.setdefault("sessions_dir", str(home.sessions_dir("bench")))
            return AgentSpec(
                job="bench", agent=agent_id, incarnation="1", home=str(home.path), home_id=home.id,
                job_folder=name, kind="class", url=url, engine_url="http://127.0.0.1:9", public_key=issuer.public_key,
                epoch_file=str(home.epoch_file), spool_dir=str(home.spool_dir), search_path=(name,),
                module="bench_agents", callers=("front-door", "bench/peer", "bench/relay"), **more,
            )  # fmt: skip

        def token(to: str, sub: str) -> str:
            return issuer.mint(f"bench/{sub}", f"bench/{to}", job="bench", agent=sub, role="agent")

        with bare() as (pid, url):
            base = measure("bare a2a-sdk echo, Message", [pid], url, options)
        sock, url = bind()
        with agent(spec("echo", url, type="Echo"), sock) as (pid, url):
            ours = measure("agent to agent: token, span, session, Message", [pid], url, options, token("echo", "peer"))
            person = issuer.mint("ann", "bench/echo", job="bench", role="front-door")
            measure("front door: the same as a task", [pid], url, options, person)
            relay_sock, relay_url = bind()
            relay = spec(
                "relay", relay_url, type="Relay", peers=(PeerSpec("echo", "bench", "echo", url),),
                tokens={"bench/echo": token("echo", "relay")},
            )  # fmt: skip
            with agent(relay, relay_sock) as (relay_pid, relay_url):
                measure("one hop: relay + echo", [relay_pid, pid], relay_url, options, token("relay", "peer"))
        sock, url = bind()
        with agent(spec("plain", url, type="Echo", tracing=False), sock) as (pid, url):
            measure("agent to agent without tracing", [pid], url, options, token("plain", "peer"))
        sock, url = bind()
        with agent(spec("forgetful", url, type="Echo", sessions_dir=""), sock) as (pid, url):
            measure("agent to agent, sessions in memory only", [pid], url, options, token("forgetful", "peer"))
        print(f"agent / bare: {ours / base:.2f}")


if __name__ == "__main__":
    main()
