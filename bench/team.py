"""The job that messages are measured on: agents that echo, relay and think offline, with tracing and without."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.asking import Headers, bearer
from bench.figures import cpu
from bench.home import Agent, Home, running, write_job
from teamwright.safety.tokens import Issuer

AGENTS = '''
from teamwright import Agent


class Echo(Agent):
    """Says what it was told."""

    async def run(self, turn):
        return turn.text


class Relay(Agent):
    """Asks the echo."""

    async def run(self, turn):
        return (await turn.ask_peer("echo", turn.text)).text


def population(city: str) -> str:
    """How many people live in a city."""
    return f"{city}: 2.1 million"
'''
CALLS = (("caller", "relay"), ("caller", "echo"), ("caller", "thinker"), ("relay", "echo"))
#: Asked of the offline agent: it calls its tool and answers with what it returned.
QUESTION = "What is the population of Paris?"


@dataclass(frozen=True)
class Team:
    """A running job of that name; `agents` are relay, echo and thinker."""

    home: Home
    name: str
    agents: dict[str, Agent]

    def headers(self, agent: str, *, caller: str = "caller") -> Headers:
        """What an agent sends to `agent` with its messages."""
        issuer = Issuer.load(self.home.state)
        token = issuer.mint(f"{self.name}/{caller}", f"{self.name}/{agent}", job=self.name, agent=caller, role="agent")
        return bearer(token)

    def stored(self) -> int:
        """How many ended spans of the job's queries are in the store; those of its start may still be on their way."""
        with closing(sqlite3.connect(f"file:{self.home.state.spans_db}?mode=ro", uri=True)) as db:
            ended = "select count(*) from span where state > 0 and job = ? and run <> ''"
            (count,) = db.execute(ended, (self.name,)).fetchone()
        return int(count)

    def filed(self) -> int:
        """How many traces of the job have their file."""
        return len(list(self.home.state.trace_file(self.name, "x").parent.glob("*.json")))

    def settled(self, spans: int, files: int = 0, limit: float = 60.0) -> None:
        """Wait for that many spans in the store, and so many files. Raises SystemExit when there are others."""
        until = time.monotonic() + limit
        while (self.stored() < spans or self.filed() < files) and time.monotonic() < until:
            time.sleep(0.1)
        if self.stored() != spans or self.filed() < files:
            raise SystemExit(f"{self.name} has {self.stored()} spans and {self.filed()} files, not {spans} and {files}")


@contextmanager
def team(home: Home, name: str, **keys: Any) -> Iterator[Team]:
    """Start the job; `keys` go into its file."""
    (home.path / "bench_agents.py").write_text(AGENTS)
    module = {"module": "bench_agents"}
    job = {
        "agents": [
            {"id": "caller", "backend": "offline", "prompt": "You ask the others."},
            {"id": "relay", "type": "Relay", **module},
            {"id": "echo", "type": "Echo", **module},
            {"id": "thinker", "backend": "offline", "prompt": "You answer.", "tools": ["bench_agents:population"]},
        ],
        "topology": {
            "type": "dag",
            "connections": [
                {"from": source, "to": target}
                for source, target in (
                    ("caller", "relay"),
                    ("caller", "echo"),
                    ("caller", "thinker"),
                    ("relay", "echo"),
                )
            ],
        },
        "defaults": {"max_concurrent": 128},
        **keys,
    }
    with running(home, write_job(home.path, name, job)) as agents:
        yield Team(home, name, agents)


class Spent:
    """CPU of groups of processes over a piece of work, in milliseconds per message.

    >>> spent = Spent(messages, [agent.pid], [engine])
    >>> ...
    >>> agent_ms, engine_ms = spent.per_message()
    """

    def __init__(self, messages: int, *groups: Iterable[int]) -> None:
        self._messages = messages
        self._groups = [list(group) for group in groups]
        self._before = [cpu(group) for group in self._groups]

    def per_message(self) -> list[float]:
        return [
            (cpu(group) - before) / self._messages * 1000
            for group, before in zip(self._groups, self._before, strict=True)
        ]


def rounds(count: int, works: dict[str, Callable[[], list[float]]]) -> dict[str, list[list[float]]]:
    """Each piece of work in turn, so often: what they returned, by name. A first round is not counted."""
    found: dict[str, list[list[float]]] = {name: [] for name in works}
    for number in range(count + 1):
        for name, work in works.items():
            figures = work()
            if number:
                found[name].append(figures)
    return found
