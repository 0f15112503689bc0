from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.view import trace_show
from teamwright.tracing.shipping.exporter import Exporter, Later, LocalShipper, Shipper, Unwanted
from teamwright.tracing.shipping.spool import Spool
from teamwright.tracing.storing.rows import decode
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.tracer import Tracer

Make = Callable[..., tuple[Tracer, Spool]]
Serve = Callable[..., AbstractAsyncContextManager[str]]
Listener = Callable[..., socket.socket]


def total(store: SpanStore) -> int:
    with SpanReader(store.path) as reader:
        return sum(summary["spans"] for summary in reader.list_traces(limit=10_000))


class Receiver:
    """The other side, in memory: takes, or raises what it was told to."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, bool]] = []
        self.names: list[str] = []
        self.problems: list[Exception] = []
        self.arrived = asyncio.Event()
        self.poison: str | None = None

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), 60)

    async def __call__(self, body: bytes, started: bool) -> None:
        if self.problems:
            raise self.problems.pop(0)
        rows = decode(body, started=started).rows
        if self.poison in [row.name for row in rows]:
            raise Unwanted("poison")
        self.batches.append((len(rows), started))
        self.names += [row.name for row in rows]
        self.arrived.set()


async def test_a_hundred_traces_at_once_arrive_once(
    make_tracer: Make, serve: Serve, listener: Listener, store: SpanStore
) -> None:
    door, door_spool = make_tracer("engine", "")
    agents = [make_tracer(f"a{number}") for number in range(3)]
    async with serve(store, listener()) as url:
        local = LocalShipper(door_spool, store, door)
        exporters = [Exporter(spool, url, lambda: "t", tracer=tracer) for tracer, spool in agents]
        for shipper in (local, *exporters):
            shipper.start()

        async def query(number: int) -> str:
            first, second = agents[number % 3][0], agents[(number + 1) % 3][0]
            with door.query("team", text=str(number)) as root:
                await asyncio.sleep(0)
                with first.agent(message="x", parent=root), first.peer_call(target=second.service) as call:
                    call.announce()
                    await asyncio.sleep(0)
                    with second.agent(message="x", parent=call):
                        await asyncio.sleep(0)
            return root.trace_id

        ids = await asyncio.gather(*(query(number) for number in range(100)))
        for shipper in (local, *exporters):
            assert await shipper.aclose(60)
    assert total(store) == 400 and len(set(ids)) == 100
    with SpanReader(store.path) as reader:
        for trace_id in ids:
            shown = trace_show(reader.show(trace_id))
            assert shown["complete"] and len(shown["spans"]) == 4 and shown["summary"]["agents"] != []


async def test_the_collector_goes_away_and_comes_back(
    make_tracer: Make, serve: Serve, listener: Listener, store: SpanStore
) -> None:
    tracer, spool = make_tracer()
    naps: list[float] = []
    tried = asyncio.Event()

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) > 4:
            tried.set()
        await asyncio.sleep(0.001)

    first = listener()
    port = first.getsockname()[1]
    exporter: Exporter | None = None
    async with serve(store, first) as url:
        exporter = Exporter(spool, url, lambda: None, tracer=tracer, sleep=nap, jitter=lambda: 0.0)
        exporter.start()
        with tracer.tool_call(name="one"):
            pass
        assert await exporter.flush()
        assert total(store) == 1
    for _ in range(600):
        with tracer.tool_call(name="meanwhile"):
            pass
    await asyncio.wait_for(tried.wait(), 60)
    assert total(store) == 1 and spool.acked < spool.size
    async with serve(store, listener(port)):
        assert await exporter.flush(20)
        assert total(store) == 601
        assert await exporter.aclose()
    assert spool.acked == spool.size and exporter.shipped == 601
    pauses = [seconds for seconds in naps if seconds not in (0.2,)]
    assert pauses[:3] == [0.25, 0.5, 1.0]


async def test_batches_are_bounded_and_in_order(make_tracer: Make) -> None:
    tracer, spool = make_tracer()
    for number in range(600):
        with tracer.tool_call(name=str(number)):
            pass
    receiver = Receiver()
    shipper = Shipper(spool, receiver, tracer)
    shipper.start()
    assert await shipper.aclose()
    assert [count for count, _ in receiver.batches] == [256, 256, 88]
    assert receiver.names == [f"execute_tool {number}" for number in range(600)]
    for number in range(5):
        with tracer.tool_call(name=str(number), arguments="x" * 900_000):
            pass
    again = Shipper(spool, receiver, tracer)
    again.start()
    assert await again.aclose()
    assert sum(count for count, _ in receiver.batches) == 605 and max(count for count, _ in receiver.batches[3:]) <= 2


async def test_what_is_all_stored_and_large_is_emptied(make_tracer: Make) -> None:
    tracer, spool = make_tracer()
    receiver = Receiver()
    shipper = Shipper(spool, receiver, tracer)
    shipper.start()
    for _ in range(3):
        with tracer.tool_call(name="t", arguments="x" * 600_000):
            pass
    assert await shipper.flush()
    assert spool.size == 0
    with tracer.tool_call(name="after"):
        pass
    assert await shipper.flush() and receiver.names[-1] == "execute_tool after"
    assert 0 < spool.path.stat().st_size < 2000
    await shipper.aclose()


async def test_retry_after_is_honoured_and_poison_does_not_stop_the_rest(make_tracer: Make) -> None:
    tracer, spool = make_tracer()
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    for number in range(9):
        with tracer.tool_call(name=str(number)):
            pass
    receiver = Receiver()
    receiver.problems = [Later("busy", 3.0), Later("gone"), Later("gone")]
    receiver.poison = "execute_tool 4"
    shipper = Shipper(spool, receiver, tracer, sleep=nap, jitter=lambda: 1.0)
    shipper.start()
    await receiver.until(lambda: len(receiver.names) == 8)
    await shipper.aclose()
    assert naps[:4] == [0.2, 4.5, 0.375 * 2, 0.75 * 2]
    assert shipper.rejected == 1 and receiver.names == [f"execute_tool {n}" for n in range(9) if n != 4]


async def test_only_spans_that_stay_open_are_told_as_started(make_tracer: Make) -> None:
    tracer, spool = make_tracer()
    receiver = Receiver()
    now = 1_795_000_000_000_000_000
    ticks = asyncio.Semaphore(0)

    async def nap(seconds: float) -> None:
        await ticks.acquire()

    tracer.now = lambda: now
    shipper = Shipper(spool, receiver, tracer, sleep=nap, now=lambda: now)
    shipper.start()
    with tracer.agent(message="long") as agent:
        with tracer.tool_call(name="short"):
            pass
        ticks.release()
        await receiver.until(lambda: len(receiver.batches) == 2)
        # The agent's start was written for its child's sake, and it still runs.
        assert receiver.batches == [(1, True), (1, False)]
        with tracer.model_call(model="m"):
            now += 300_000_000
            ticks.release()
            await receiver.until(lambda: len(receiver.batches) == 3)
            assert receiver.batches[2] == (1, True) and receiver.names[-1] == "chat m"
        agent.ok()
    assert await shipper.aclose()
    assert receiver.names == ["invoke_agent lead", "execute_tool short", "chat m", "chat m", "invoke_agent lead"]


async def test_idle_it_does_nothing(make_tracer: Make) -> None:
    tracer, spool = make_tracer()
    naps = 0

    async def nap(seconds: float) -> None:
        nonlocal naps
        naps += 1

    shipper = Shipper(spool, Receiver(), tracer, sleep=nap)
    shipper.start()
    with tracer.tool_call(name="t"):
        pass
    assert await shipper.flush()
    before = naps
    for _ in range(200):
        await asyncio.sleep(0)
    assert naps - before <= 1
    await shipper.aclose()


async def test_threads_wake_it(make_tracer: Make) -> None:
    tracer, spool = make_tracer()
    receiver = Receiver()
    shipper = Shipper(spool, receiver, tracer, delay=0.001)
    shipper.start()
    assert await shipper.flush()

    def work() -> None:
        with tracer.tool_call(name="in a thread"):
            pass

    await asyncio.to_thread(work)
    await receiver.until(lambda: bool(receiver.names))
    assert await shipper.aclose()
    work()  # the exporter is gone: it stays in the spool
    assert spool.acked < spool.size


async def test_what_an_exporter_did_not_ship_is_drained(make_tracer: Make, store: SpanStore, spool_dir: Path) -> None:
    tracer, spool = make_tracer("lead", "team", "i1")
    receiver = Receiver()
    receiver.problems = [Later("gone", 1000.0)]
    shipper = Shipper(spool, receiver, tracer)
    shipper.start()
    with tracer.agent(message="x"):
        pass
    assert not await shipper.aclose(0.05)
    assert await asyncio.to_thread(lambda: store.drain(spool_dir).records) == 1
    assert total(store) == 1


def test_a_record_that_a_dead_exporter_shipped_twice_is_stored_once(
    make_tracer: Make, store: SpanStore, spool_dir: Path
) -> None:
    tracer, _ = make_tracer()
    with tracer.agent(message="x"):
        pass
    for _ in range(2):
        store.drain(spool_dir)
    assert total(store) == 1


async def test_several_tracers_may_share_a_spool(make_tracer: Make) -> None:
    one, spool = make_tracer("engine", "", "e1")
    two = Tracer("engine", None, "e1", spool, content="off", strict=True)
    receiver = Receiver()
    shipper = Shipper(spool, receiver, one, delay=0.001)
    shipper.watch(two)
    shipper.start()
    with one.query("a", text="x") as first, two.query("b", text="x") as second:
        first.announce()
        second.announce()
        await receiver.until(lambda: sum(count for count, started in receiver.batches if started) == 2)
    await receiver.until(lambda: len(receiver.names) == 4)
    assert await shipper.aclose()
