"""A registry with many entries: how long searches take over HTTP, and how many heartbeats a second one core takes.

    uv run python -m bench.registry [--entries 10000] [--rounds 5]

A process of its own serves the registry as the engine does: its server, its checks of hosts and tokens, its limits.
Searches come one after the other, each twenty times a round; heartbeats from a thousand agents, each with its own
token, over eight connections. CPU is the serving process's; heartbeats a second are what that CPU comes to on one core.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import uvloop

from bench.figures import cpu, median, options, percentile, where
from teamwright.home import Home
from teamwright.registry.service import Registry
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Claims, Issuer, Verifier

TOPICS, VERBS, PLACES = map(
    str.split,
    (
        "weather maps stock prices calculator research summary facts writing critic travel hotels flights music films "
        "news sports health recipes law tax shipping orders inventory payments email calendar translation code testing "
        "deployment security logs metrics finance risk valuation history geography physics chemistry biology art",
        "finds checks answers computes compares writes reads plans explains sums searches reviews orders",
        "paris london tokyo berlin rome oslo madrid lisbon vienna prague cairo lagos lima quito",
    ),
)

SEARCHES = {
    "one word": {"q": "weather"},
    "two words": {"q": "weather in Tokyo"},
    "four words": {"q": "weather tokyo stock prices"},
    "a sentence": {"q": "find an agent that can check the weather"},
    "a word of every card": {"q": "team"},
    "a skill": {"skill": "weather"},
    "a job": {"job": "job7"},
    "everything": {},
}
JOB = 20  # agents
BEATING = 1000


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(Path(sys.argv[2]), socket.socket(fileno=int(sys.argv[3])), int(sys.argv[4])))
        return
    parser = options(__doc__, 5)
    parser.add_argument("--entries", type=int, default=10_000)
    given = parser.parse_args()
    print(where(given.rounds))
    with serving(given.entries) as (issuer, pid, address):
        print(f"{'search, ' + format(given.entries, ',') + ' entries':32}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms':>9}")
        operator = issuer.mint("bench", "engine", role="operator")
        for name, wanted in SEARCHES.items():
            request = _request("GET", f"/agents/search?{urlencode({**wanted, 'limit': 20})}", operator)
            spent = cpu([pid])
            times = uvloop.run(_ask(address, [request] * 20 * given.rounds, at_once=1))
            each = (cpu([pid]) - spent) / len(times)
            found = [percentile(times, part) for part in (0.5, 0.95)]
            print(f"{name:32}{found[0] * 1e3:9.1f}{found[1] * 1e3:9.1f}{each * 1e3:9.1f}")
        beats = [_beat(issuer, number) for number in range(min(BEATING, given.entries))]
        uvloop.run(_ask(address, beats, at_once=8))  # tokens are read once
        costs, rates = [], []
        for _ in range(given.rounds):
            spent, began = cpu([pid]), time.perf_counter()
            uvloop.run(_ask(address, beats * 5, at_once=8))
            rates.append(len(beats) * 5 / (time.perf_counter() - began))
            costs.append((cpu([pid]) - spent) / len(beats) / 5)
        print(f"\nheartbeats: {median(costs) * 1e6:.0f} us of CPU each = {1 / median(costs):,.0f} a second on one core")
        print(f"taken in while the senders had the other core: {median(rates):,.0f} a second")


async def serve(home: Path, sock: socket.socket, entries: int) -> None:
    """The registry's part of the engine, with entries that stay."""
    from starlette.applications import Starlette

    from teamwright.engine.auth import Gate, OwnHostOnly
    from teamwright.engine.routes.answers import on_error
    from teamwright.errors import TeamwrightError
    from teamwright.registry.routes import routes
    from teamwright.serving import server

    registry = Registry(lease=3600.0)
    for number in range(entries):
        registry.register(card(number), _claims(number))
    state = Home(home)
    gate = Gate(Verifier(Issuer.load(state).public_key, state.id, EpochFile.create(state.epoch_file)))
    app = Starlette(
        routes=routes(registry, gate.member, lambda claims: {}), exception_handlers={TeamwrightError: on_error}
    )
    serving = server(OwnHostOnly(app))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(serving, "should_exit", True))
    await serving.serve(sockets=[sock])


def card(number: int) -> dict[str, object]:
    """What an agent says of itself: always the same for a number."""
    rng = random.Random(number)
    topics, verbs, place = rng.sample(TOPICS, 3), rng.sample(VERBS, 2), rng.choice(PLACES)
    skills = [
        {
            "id": f"{verb}_{topic}",
            "name": f"{verb} {topic}",
            "description": f"{verb} {topic} of a city or company in {place}",
            "tags": [topic, place],
        }
        for verb, topic in zip(verbs, topics, strict=False)
    ]
    about = f"{verbs[0]} {topics[0]} and {topics[1]} for customers in {place}; {verbs[1]} {topics[2]} for the team"
    return {
        "url": "http://127.0.0.1:8600",
        "incarnation": "one",
        "name": f"{topics[0].title()} Agent {number}",
        "description": about,
        "skills": skills,
    }


@contextmanager
def serving(entries: int) -> Iterator[tuple[Issuer, int, tuple[str, int]]]:
    """The issuer of a new home, and pid and address of its registry."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "logs").create()
        issuer = Issuer.load(home)
        command = [sys.executable, "-m", "bench.registry", "serve", str(home.path), str(sock.fileno()), str(entries)]
        process = subprocess.Popen(command, pass_fds=[sock.fileno()], cwd=Path(__file__).parents[1])
        try:
            address = sock.getsockname()
            ready = _request("GET", "/agents?limit=1", issuer.mint("bench", "engine", role="operator"))
            uvloop.run(_ask(address, [ready], at_once=1))
            yield issuer, process.pid, address
        finally:
            process.terminate()
            process.wait()
            sock.close()


def _claims(number: int) -> Claims:
    job, agent = f"job{number // JOB}", f"agent{number}"
    return Claims("home", f"{job}/{agent}", "engine", "agent", 0, 0.0, 0.0, "j", job, agent)


def _beat(issuer: Issuer, number: int) -> bytes:
    who = _claims(number)
    token = issuer.mint(who.sub, "engine", job=who.job, agent=who.agent, role="agent", ttl=3600.0)
    body = json.dumps({"load": {"working": 1, "waiting": 0}, "incarnation": "one"}).encode()
    return _request("POST", f"/agents/{who.job}.{who.agent}/heartbeat", token, body)


def _request(verb: str, path: str, token: str, body: bytes = b"") -> bytes:
    head = f"{verb} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def _ask(address: tuple[str, int], requests: list[bytes], *, at_once: int) -> list[float]:
    """Seconds of each answer. Raises SystemExit for one that is none."""
    times: list[float] = []
    waiting = iter(requests)

    async def line() -> None:
        reader, writer = await asyncio.open_connection(*address, limit=1 << 24)
        for request in waiting:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.lower().index(b"content-length:") + len(b"content-length:")
            body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
            times.append(time.perf_counter() - began)
            if b" 200 " not in head[:16]:
                raise SystemExit(f"{head.decode()}{body.decode()}")
        writer.close()

    await asyncio.gather(*(line() for _ in range(at_once)))
    return times


if __name__ == "__main__":
    main()
