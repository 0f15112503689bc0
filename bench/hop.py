"""One hop: an agent asks another and passes its answer on, beside two bare a2a-sdk servers that do the same.

    uv run python -m bench.hop [--messages 600] [--rounds 3]

Ours: tokens checked by both, limits, sessions on disk, three spans a message, in the store when a round ends.
The yardstick: two tuned a2a-sdk servers (uvloop, httptools, telemetry off), one calling the other by the SDK's client
with a pooled connection, and none of that. Measured in turn, in one run, from one process that asks both; medians of
the rounds. With 100 at once the waits are mostly each other's: two cores, one of them busy with asking.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.asking import Headers, ask
from bench.figures import median, options, percentile, where
from bench.home import Agent, fresh
from bench.message import ratio
from bench.servers import bare
from bench.team import Spent, rounds, team

AT_ONCE = (1, 10, 100)


def main() -> None:
    parser = options(__doc__, 3)
    parser.add_argument("--messages", type=int, default=600, help="per round and row")
    given = parser.parse_args()
    print(where(given.rounds))
    with fresh() as home, bare() as echo, bare(echo.url) as relay, team(home, "hop") as ours:
        engine = home.engine

        def asked(
            agents: tuple[Agent, Agent], headers: Headers, at_once: int, spans: int = 0
        ) -> Callable[[], list[float]]:
            def work() -> list[float]:
                before = ours.stored()
                spent = Spent(given.messages, *([agent.pid] for agent in agents), [engine])
                load = ask(agents[0].url, given.messages, at_once, headers)
                ours.settled(before + spans * given.messages)
                waits = [percentile(load.times, part) * 1000 for part in (0.5, 0.95)]
                return [*waits, load.rate, *spent.per_message()]

            return work

        mine = (ours.agents["relay"], ours.agents["echo"])
        works = {}
        for at_once in AT_ONCE:
            works[f"bare a2a-sdk, {at_once} at once"] = asked((relay, echo), lambda: "", at_once)
            works[f"agent to agent, {at_once} at once"] = asked(mine, ours.headers("relay"), at_once, 3)
        found = rounds(given.rounds, works)
    print(f"{'':32} {'p50 ms':>7} {'p95 ms':>7} {'per s':>6}   CPU ms: caller, callee, engine, all")
    whole = {}
    for name, figures in found.items():
        p50, p95, rate, caller, callee, collector = (median(column) for column in zip(*figures, strict=True))
        # The engine has nothing to do with the bare servers.
        whole[name] = [sum(each[3:] if name.startswith("agent") else each[3:5]) for each in figures]
        shown = f"{collector:7.2f}" if name.startswith("agent") else f"{'':7}"
        print(
            f"{name:32} {p50:7.1f} {p95:7.1f} {rate:6.0f}   {caller:14.2f} {callee:7.2f} {shown} "
            f"{median(whole[name]):5.2f}"
        )
    for at_once in AT_ONCE:
        pair = (whole[f"agent to agent, {at_once} at once"], whole[f"bare a2a-sdk, {at_once} at once"])
        print(f"CPU, ours / bare, {at_once} at once: {ratio(*pair):.2f}")


if __name__ == "__main__":
    main()
