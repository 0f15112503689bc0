from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from teamwright.agents.budget import PeerBudget, Purse
from teamwright.agents.gate import Busy, Gate, Slot
from teamwright.errors import LimitReached


async def test_slots_go_in_order_and_the_queue_is_bounded() -> None:
    gate = Gate(1, 2)
    first = await gate.enter()
    order: list[int] = []

    async def wait(number: int) -> None:
        slot = await gate.enter()
        order.append(number)
        slot.release()

    waiting = [asyncio.create_task(wait(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    assert (gate.working, gate.waiting, gate.free) == (1, 2, False)
    with pytest.raises(Busy, match="1 runs at work and 2 waiting"):
        await gate.enter()
    first.release()
    first.release()
    await asyncio.gather(*waiting)
    assert order == [1, 2]
    assert (gate.working, gate.waiting, gate.free) == (0, 0, True)


async def test_a_lent_slot_is_used_by_others_and_comes_back_first() -> None:
    gate = Gate(1, 10)
    order: list[str] = []
    answered = asyncio.Event()

    async def caller() -> None:
        slot = await gate.enter()
        async with slot.lend():
            await answered.wait()
        order.append("caller")
        slot.release()

    async def other(name: str) -> None:
        slot = await gate.enter()
        order.append(name)
        answered.set()
        await asyncio.sleep(0)
        slot.release()

    await asyncio.gather(caller(), other("one"), other("two"), other("three"))
    assert order == ["one", "caller", "two", "three"]
    assert gate.working == 0


async def test_parallel_calls_lend_once() -> None:
    gate = Gate(1, 10)
    slot = await gate.enter()

    async def call() -> None:
        async with slot.lend():
            await asyncio.sleep(0.001)

    await asyncio.gather(call(), call(), call())
    assert gate.working == 1
    slot.release()
    assert gate.working == 0


async def test_cancelling_loses_no_slot() -> None:
    gate = Gate(1, 10)
    first = await gate.enter()

    async def work(slot: Slot | None = None) -> None:
        slot = await gate.enter()
        try:
            async with slot.lend():
                await asyncio.sleep(60)
        finally:
            slot.release()

    tasks = [asyncio.create_task(work()) for _ in range(3)]
    await asyncio.sleep(0.001)
    tasks[1].cancel()
    first.release()
    await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert (gate.working, gate.free) == (0, True)


async def test_one_that_waits_is_cancelled_as_a_slot_gets_free() -> None:
    gate = Gate(1, 10)
    first = await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    waiting.cancel()
    first.release()  # finds it in the line, cancelled but not gone yet
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (gate.working, gate.waiting, gate.free) == (0, 0, True)


async def test_a_budget_is_never_passed_and_comes_back() -> None:
    budget = PeerBudget(50)
    async with asyncio.timeout(30):
        first = await budget.take()
    assert first.share == 41
    assert budget.left == 8
    first.spent = 5
    first.back()
    first.back()
    assert budget.left == 44
    grants = await asyncio.gather(*(budget.take() for _ in range(4)))
    assert [grant.share for grant in grants] == [8, 8, 8, 8]
    assert budget.left == 8
    assert sum(1 + (grant.share or 0) for grant in grants) + budget.left == 44


async def test_who_finds_nothing_left_waits_for_those_who_are_out() -> None:
    budget = PeerBudget(2)
    first, second = await asyncio.gather(budget.take(), budget.take())
    assert (first.share, second.share, budget.left) == (0, 0, 0)
    budget = PeerBudget(3)
    first = await budget.take()
    assert (first.share, budget.left) == (2, 0)
    waiting = asyncio.create_task(budget.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.spent = 1
    first.back()
    assert (await waiting).share == 0
    with pytest.raises(LimitReached) as caught:
        (await waiting).back()
        await budget.take()
        await budget.take()
    assert caught.value.limit == "peer_calls"


async def test_a_chain_of_eight_fits_into_fifty() -> None:
    left = 50
    for _ in range(8):
        left = (await PeerBudget(left).take()).share or 0
    assert left > 0


async def test_no_limit() -> None:
    grant = await PeerBudget(None).take()
    assert grant.share is None
    grant.back()


async def test_a_slot_is_given_back_in_the_moment_in_which_a_waiting_run_is_cancelled() -> None:
    gate = Gate(1, 5)
    slot = await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    waiting.cancel()
    slot.release()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (gate.working, gate.waiting, gate.free) == (0, 0, True)


async def test_places_are_counted_before_anybody_takes_them() -> None:
    gate = Gate(2, 1)
    places = [gate.reserve() for _ in range(3)]
    with pytest.raises(Busy):
        gate.reserve()
    places[0].close()
    places[0].close()
    places[0] = gate.reserve()
    slots = [await place.enter() for place in places[:2]]
    with pytest.raises(Busy):
        gate.reserve()
    last = asyncio.create_task(places[2].enter())
    await asyncio.sleep(0)
    assert (gate.working, gate.waiting) == (2, 1)
    with pytest.raises(Busy):
        gate.reserve()
    slots[0].release()
    (await last).release()
    slots[1].release()
    assert (gate.working, gate.waiting, gate.free) == (0, 0, True)
    closed = gate.reserve()
    closed.close()
    (await closed.enter()).release()
    with pytest.raises(Busy):
        for _ in range(4):
            gate.reserve()


async def test_without_a_queue_one_place_per_slot() -> None:
    gate = Gate(1, 0)
    place = gate.reserve()
    with pytest.raises(Busy):
        gate.reserve()
    slot = await place.enter()
    with pytest.raises(Busy):
        gate.reserve()
    slot.release()
    gate.reserve().close()


def test_a_purse_pays_what_is_in_it() -> None:
    purse = Purse(1.0)
    purse.afford(1.0)
    with pytest.raises(LimitReached, match=r"call costs \$1.5 or more, and \$1 of \$1 is left") as caught:
        purse.afford(1.5)
    assert (caught.value.limit, caught.value.reason) == ("cost_usd", "budget_exhausted")
    purse.spend(1.2)  # an answer was longer than thought
    with pytest.raises(LimitReached):
        purse.afford(0.0)
    Purse(None).afford(1e9)
    Purse(0.0).afford(0.0)  # nothing may be spent, and a model of one's own costs nothing


async def test_dollars_are_shared_by_those_who_are_asked_at_once() -> None:
    purse = Purse(1.0)
    budget = PeerBudget(10, purse)
    first, second = await asyncio.gather(budget.take(), budget.take())
    assert first.dollars == second.dollars == pytest.approx(0.45)
    assert purse.left == pytest.approx(0.1)
    later = await budget.take()
    assert later.dollars == pytest.approx(0.09)
    purse.spend(0.2)  # what the first one told of
    for grant in (first, second, later, first):
        grant.back()
    assert purse.left == pytest.approx(0.8)
    purse.spend(0.9)
    with pytest.raises(LimitReached):
        await budget.take()
