"""Places given out over HTTP: the engine's desk and the agents' side, in one process, over real connections."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette

from teamwright.agents import admission
from teamwright.agents.admission import Admissions
from teamwright.backends.api import Account
from teamwright.backends.calls import ModelError
from teamwright.engine.auth import Gate
from teamwright.engine.providers import routes
from teamwright.engine.providers.desk import Providers
from teamwright.jobs.plan import Plan, ProviderLimit
from teamwright.safety.epochs import EpochFile
from teamwright.safety.tokens import ENGINE_AUDIENCE, Issuer, Verifier
from teamwright.serving import server
from teamwright.tracing.tracer import Tracer

ANN = Account("anthropic", "sk-ann")


def plan(job: str, *limits: ProviderLimit) -> Plan:
    return Plan(job, "f", ".", (), (), (), "", "", providers=limits)


@dataclass
class World:
    """An engine's desk on a port, and what agents of its home get."""

    folder: Path
    issuer: Issuer
    gate: Gate
    sock: socket.socket
    plans: list[Plan] = field(default_factory=list)
    agents: list[Admissions] = field(default_factory=list)

    def desk(self, settles: float = 0.0) -> Providers:
        return Providers(lambda: self.plans, self.folder / "providers.json", settles=settles)

    @asynccontextmanager
    async def serving(self, desk: Providers) -> AsyncIterator[Providers]:
        """The desk, taking requests on the world's port."""
        desk.sync()
        served = server(Starlette(routes=routes.routes(desk, self.gate)))
        served.config.timeout_graceful_shutdown = 0
        listener = self.sock.dup()
        task = asyncio.create_task(served.serve(sockets=[listener]))
        try:
            yield desk
        finally:
            served.should_exit = served.force_exit = True
            await task
            desk.aclose()

    def agent(self, tracer: Tracer) -> Admissions:
        token = self.issuer.mint("job/a", ENGINE_AUDIENCE, job="job", agent="a", role="agent")
        url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        made = Admissions(url, "home", self.folder / "providers.json", tracer, lambda: token)
        self.agents.append(made)
        return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    epochs = EpochFile.create(tmp_path / "epochs")
    issuer = Issuer(Ed25519PrivateKey.generate(), "home", epochs)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield World(tmp_path, issuer, Gate(Verifier(issuer.public_key, "home", epochs)), sock)
    epochs.close()


@pytest.fixture
def tracer() -> Tracer:
    return Tracer("a", "job", "0", lambda payload: None)


async def until(what: Any) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110  # a place that is left is noticed by a closed connection
            await asyncio.sleep(0.005)


def working(desk: Providers) -> tuple[int, int]:
    keys = [key for view in desk.view() for key in view["keys"]]
    return sum(key["working"] for key in keys), sum(key["waiting"] for key in keys)


async def test_first_come_first_served_and_who_is_cancelled_leaves(world: World, tracer: Tracer) -> None:
    world.plans = [plan("one", ProviderLimit("anthropic", concurrent=1))]
    order: list[int] = []
    async with world.serving(world.desk()) as desk:
        agents = [world.agent(tracer) for _ in range(3)]

        async def call(number: int) -> None:
            async with agents[number % 3].enter(ANN):
                assert working(desk)[0] == 1
                order.append(number)

        async with agents[0].enter(ANN):
            tasks = []
            for number in range(6):
                tasks.append(asyncio.create_task(call(number)))
                await until(lambda: working(desk) == (1, len(tasks)))
            tasks[2].cancel()
            await until(lambda: working(desk) == (1, 5))
            async with agents[1].enter(Account("anthropic", "sk-bob")):  # another key waits for nobody
                assert working(desk) == (2, 5)
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: working(desk) == (0, 0))
        assert order == [0, 1, 3, 4, 5]
        assert ANN.key not in json.dumps(desk.view()) and "sk-ann" not in repr(ANN)


async def test_who_is_not_limited_asks_nobody(world: World, tracer: Tracer) -> None:
    agent = world.agent(tracer)
    async with agent.enter(ANN) as place:  # there is no engine at all
        assert await place.back_off(60) is False
    world.plans = [plan("one", ProviderLimit("openai", concurrent=1))]
    async with world.serving(world.desk()) as desk:
        async with agent.enter(ANN):
            assert working(desk) == (0, 0)
        world.plans = [plan("one", ProviderLimit("anthropic", concurrent=1))]
        desk.sync()
        async with agent.enter(ANN):
            assert working(desk) == (1, 0)
        world.plans = []
        desk.sync()
        async with agent.enter(ANN), agent.enter(ANN):
            assert working(desk) == (0, 0)


async def test_a_long_back_off_is_an_error_at_once(world: World, tracer: Tracer) -> None:
    world.plans = [plan("one", ProviderLimit("anthropic"))]
    async with world.serving(world.desk()) as desk:
        agent = world.agent(tracer)
        async with agent.enter(ANN) as place:
            assert await place.back_off(3600) is True
        with pytest.raises(ModelError) as caught:
            async with agent.enter(ANN):
                raise AssertionError("it was let in")
        assert caught.value.reason == "rate_limited" and (caught.value.retry_after or 0) > 3000
        await until(lambda: working(desk) == (0, 0))


async def test_an_engine_that_comes_back_is_told_who_was_at_work(world: World, tracer: Tracer) -> None:
    world.plans = [plan("one", ProviderLimit("anthropic", concurrent=1))]
    agent, other = world.agent(tracer), world.agent(tracer)
    entered = asyncio.Event()

    async def wait_for_place() -> None:
        async with other.enter(ANN):
            entered.set()

    async with world.serving(world.desk()) as desk:
        first = agent.enter(ANN)
        await first.__aenter__()
        waiting = asyncio.create_task(wait_for_place())
        await until(lambda: working(desk) == (1, 1))
    async with world.serving(world.desk(settles=1000.0)) as desk:
        await until(lambda: working(desk) == (1, 1))
        assert not entered.is_set()
        desk._from = 0.0  # it has settled
        await first.__aexit__(None, None, None)
        await waiting
        assert entered.is_set()


async def test_without_an_engine_calls_go_on_after_a_while(
    world: World, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ENGINE_AWAY", 0.5)
    world.plans = [plan("one", ProviderLimit("anthropic", concurrent=1))]
    world.desk().sync()
    world.sock.close()
    world.sock = socket.socket()
    world.sock.bind(("127.0.0.1", 0))  # nobody listens
    agent = world.agent(tracer)
    async with agent.enter(ANN):
        monkeypatch.setattr(admission, "ENGINE_AWAY", 1000.0)
    async with asyncio.timeout(60), agent.enter(ANN), agent.enter(ANN):
        """Those after it don't wait again."""
    with world.sock:
        pass


async def test_strangers_and_nonsense(world: World, tracer: Tracer) -> None:
    world.plans = [plan("one", ProviderLimit("anthropic", concurrent=1))]
    async with world.serving(world.desk()):
        agent = world.agent(tracer)
        for path, body in (
            ("/providers/calls", {}),
            ("/providers/calls", {"provider": "x", "key": "y" * 100}),
            ("/providers/backoff", {"provider": "x", "key": "y", "seconds": -1}),
            ("/providers/backoff", {"provider": "x", "key": "y", "seconds": "soon"}),
        ):
            with pytest.raises(admission._Away):
                await agent.request(path, body)


def test_what_a_start_is_told_of_others(tmp_path: Path) -> None:
    one = plan("one", ProviderLimit("openai", 8, 50), ProviderLimit("anthropic", 2))
    two = plan("two", ProviderLimit("openai", 4), ProviderLimit("anthropic", 2))
    desk = Providers(lambda: [one, two], tmp_path / "providers.json")
    desk.sync()
    assert json.loads((tmp_path / "providers.json").read_text()) == ["anthropic", "openai"]
    words = "providers.openai.concurrent: {} says {}, {} {}: the strictest holds for all, 4"
    assert desk.notes(two) == [words.format("two", 4, "one", 8)]
    assert desk.notes(one) == [words.format("one", 8, "two", 4)]
