"""What a message costs: CPU of an agent's process and of the engine that takes in its spans, beside a bare echo server.

    uv run python -m bench.message [--messages 1000] [--at-once 8] [--rounds 5]

A real job on a real engine. Each message has a token and a trace context, as another agent would send it; a round
ends when every span of it is in the store. The yardstick is a tuned a2a-sdk server (uvloop, httptools, telemetry off)
without tokens, sessions, limits or traces. All are measured in turn, in one run: medians of the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.asking import Headers, ask, fetch
from bench.figures import median, options, where
from bench.home import Home, fresh
from bench.servers import bare
from bench.team import QUESTION, Spent, Team, rounds, team
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import Issuer, Verifier
from teamwright.tracing.shipping.spool import Spool

PARTS = 20_000


def main() -> None:
    parser = options(__doc__, 5)
    parser.add_argument("--messages", type=int, default=1000, help="per round and row")
    parser.add_argument("--at-once", type=int, default=8)
    given = parser.parse_args()
    print(where(given.rounds))
    with (
        fresh() as home,
        bare() as plain,
        team(home, "traced") as traced,
        team(home, "quiet", tracing={"enabled": False}) as quiet,
    ):
        engine = home.engine
        issuer = Issuer.load(home.state)
        person = issuer.mint("ann", "traced", job="traced", role="user", rpm=10_000_000)

        def asked(
            pid: int, url: str, headers: Headers, spans: int = 0, text: str = "hello", of: Team = traced, files: int = 0
        ) -> Callable[[], list[float]]:
            def work() -> list[float]:
                before, written = of.stored(), of.filed()
                spent = Spent(given.messages, [pid], [engine])
                load = ask(url, given.messages, given.at_once, headers, text)
                of.settled(before + spans * given.messages, written + files * given.messages)
                return [*spent.per_message(), load.rate, median(load.times) * 1000]

            return work

        def http() -> list[float]:
            spent = Spent(given.messages, [echo.pid], [engine])
            load = fetch(f"{echo.url.rstrip('/')}/readyz", given.messages, given.at_once)
            return [*spent.per_message(), load.rate, median(load.times) * 1000]

        echo, thinker = traced.agents["echo"], traced.agents["thinker"]
        still, idle = quiet.agents["echo"], quiet.agents["thinker"]
        door = f"{home.engine_url}/a2a/traced/echo"
        found = rounds(
            given.rounds,
            {
                "bare a2a-sdk echo, a Message": asked(plain.pid, plain.url, lambda: ""),
                "agent: token, session, span in the store, a Message": asked(
                    echo.pid, echo.url, traced.headers("echo"), 1
                ),
                "the same without tracing": asked(still.pid, still.url, quiet.headers("echo"), of=quiet),
                "offline agent with a tool, traced": asked(
                    thinker.pid, thinker.url, traced.headers("thinker"), 4, QUESTION
                ),
                "the same agent without tracing": asked(
                    idle.pid, idle.url, quiet.headers("thinker"), text=QUESTION, of=quiet
                ),
                "through the front door: a Task, and its trace's file": asked(
                    echo.pid, door, lambda: f"authorization: Bearer {person}\r\n", 2, files=1
                ),
                "HTTP alone: a GET of the agent": http,
            },
        )
        parts(home, issuer)
    print(f"{'':52} {'agent':>8} {'engine':>8} {'both ms':>8} {'per s':>7} {'p50 ms':>7}")
    both = {}
    for name, figures in found.items():
        agent_ms, engine_ms, rate, wait = (median(column) for column in zip(*figures, strict=True))
        both[name] = [each[0] + each[1] for each in figures]
        print(f"{name:52} {agent_ms:8.2f} {engine_ms:8.2f} {median(both[name]):8.2f} {rate:7.0f} {wait:7.1f}")
    base, ours, still_, thinks, thinks_not, *_ = (both[name] for name in found)
    print(f"agent with ingest / bare:   {ratio(ours, base):.2f}   (target 1.6)")
    print(f"tracing / offline message:  {ratio(thinks, thinks_not) - 1:.2f}   (target 0.25)")
    print(f"tracing / echoed message:   {ratio(ours, still_) - 1:.2f}")


def parts(home: Home, issuer: Issuer) -> None:
    """Microseconds of what can be timed alone, in this process: a known token, a record in the spool."""
    verifier = Verifier(issuer.public_key, home.state.id, EpochFile.create(home.state.epoch_file))
    token = issuer.mint("traced/caller", "traced/echo", job="traced", agent="caller", role="agent")
    spool = Spool.create(home.path / "spool", "bench", "bench", "1")
    payload = b"x" * 900
    works: dict[str, Callable[[], object]] = {
        "a token that is known, and the epoch file": lambda: verifier.check(token, "traced/echo"),
        "a span of 900 bytes into the spool": lambda: spool.append(payload),
    }
    for name, work in works.items():
        began = time.process_time()
        for _ in range(PARTS):
            work()
        print(f"{name:52} {(time.process_time() - began) / PARTS * 1e6:8.1f} us")


def ratio(above: list[float], below: list[float]) -> float:
    """The median of the rounds' ratios."""
    return median(one / other for one, other in zip(above, below, strict=True))


if __name__ == "__main__":
    main()
