"""The contract of every backend: servers that fail, limits, cancelling."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.agents.conftest import wait_for
from tests.backends.contract.conftest import echo
from tests.standins.script import Reply, Tokens

if TYPE_CHECKING:
    from tests.backends.contract.conftest import World

needs = pytest.mark.needs
AT_ONCE = {"retry-after": "0"}


def failed(world: World, text: str = "go", agent: str = "main", *, partly: bool = False) -> Any:
    """Ask, and see that the failure is one: no answer (`partly`: but what was streamed), an error in state and span."""
    said = world.ask(text, agent)
    assert said.state == "failed", said
    assert (said.text == "" or partly) and said.words
    (span,) = [span for span in world.spans(said.trace_id) if span["name"] == f"invoke_agent {agent}"]
    assert span["status"] == 2
    assert span.attributes["error.type"] == said.reason
    return said


@needs("script", "retries")
@pytest.mark.parametrize(("status", "reason"), [(429, "rate_limited"), (500, "server_error")])
def test_a_server_that_refuses_once(world: World, status: int, reason: str) -> None:
    world.script(Reply(status=status, error="not now", headers=AT_ONCE), Reply("fine"))
    said = world.ask("go")
    assert (said.state, said.text) == ("completed", "fine")
    assert world.tree(said.trace_id) == ["invoke_agent main", "chat", "chat"]
    first, second = world.chats(said.trace_id)
    assert (first["status"], first.attributes["error.type"]) == (2, reason)
    assert "not now" in first["message"] or "error_words" in world.adapter.lacks
    assert second["status"] != 2
    assert [span.attributes["teamwright.attempt"] for span in (first, second)] == [1, 2]
    assert ("rate limit" in first["events"]) == (status == 429)


@needs("script")
def test_a_server_that_keeps_refusing(world: World) -> None:
    world.model.always(Reply(status=500, error="broken for good", headers=AT_ONCE))
    said = failed(world)
    assert said.reason == "server_error"
    assert "broken for good" in said.words
    assert len(world.chats(said.trace_id)) == len(world.model.requests)


@needs("script")
def test_a_bad_key_is_an_error_and_no_answer(world: World) -> None:
    world.model.always(Reply(status=401, error="that key is not valid"))
    said = failed(world)
    assert said.reason == "bad_key"
    if "error_words" not in world.adapter.lacks:
        assert "that key is not valid" in said.words
        assert len(world.model.requests) == 1


@needs("script")
def test_a_request_that_the_server_does_not_take(world: World) -> None:
    world.model.always(Reply(status=400, error="not like this"))
    said = failed(world)
    assert said.reason == "bad_request"
    assert {chat.attributes["error.type"] for chat in world.chats(said.trace_id)} == {"bad_request"}


@needs("script")
def test_a_stream_that_breaks_off(world: World) -> None:
    world.model.always(Reply("one two three four", end="cut", after=3, pause=0.02))
    said = failed(world, partly=True)
    assert said.reason == "cut"
    assert world.chats(said.trace_id)[-1].attributes["error.type"] == "cut"


@needs("script")
def test_a_server_that_goes_silent(world: World) -> None:
    world.script(Reply(end="hang"))
    began = time.monotonic()
    said = failed(world, agent="tight")
    assert said.reason == "duration"
    assert time.monotonic() - began > 0.75 * world.adapter.duration  # and it has an end: the server never says a word
    assert world.model.wait().gone.wait(60)
    (chat,) = world.chats(said.trace_id)
    assert chat["status"] == 2


@needs("script")
def test_nobody_listens(world: World) -> None:
    with world.model.away():
        said = failed(world)
    assert said.reason == "unreachable"
    world.script(Reply("back again"))
    assert world.ask("go").text == "back again"


@needs("script")
def test_too_many_turns(world: World) -> None:
    turn = Reply(calls=[world.call("get_weather", {"city": "Rome"})])
    world.script(turn, turn, turn)
    said = failed(world, agent="tight")
    assert said.reason == "turns"


@needs("script")
def test_too_many_tool_calls(world: World) -> None:
    world.script(Reply(calls=[world.call("get_weather", {"city": str(number)}) for number in range(5)]))
    said = failed(world, agent="tight")
    assert said.reason == "tool_calls"
    assert world.tools(said.trace_id) == []


@needs("script", "price")
def test_no_call_is_made_that_the_query_can_not_pay(world: World) -> None:
    """`tight` may spend a dollar, and ten million tokens cost more with any of the models."""
    turn = Reply(calls=[world.call("get_weather", {"city": "Rome"})], tokens=Tokens(10_000_000, 10, cached=0))
    world.script(turn)
    said = failed(world, agent="tight")
    assert said.reason == "budget_exhausted"
    assert "has spent the $1 that it may" in said.words
    assert len(world.chats(said.trace_id)) == len(world.model.requests) == 1
    world.script(Reply("paid", tokens=Tokens(10_000_000, 10, cached=0)))
    assert world.ask("go", "tight").text == "paid"  # it is the next call that is not made; an answer is an answer


@needs("script")
def test_cancelled_while_the_model_thinks(world: World) -> None:
    world.script(Reply("one two three", end="hang", after=2))
    said = cancelled(world, world.model.wait)
    assert world.model.wait().gone.wait(60)
    (chat,) = world.chats(said)
    assert chat.attributes["error.type"] == "cancelled"
    world.script(Reply("still there"))
    assert world.ask("go").text == "still there"


@needs("script")
def test_cancelled_while_a_tool_works(world: World) -> None:
    folder = world.team.folder
    for name in ("lingering", "left"):
        (folder / name).unlink(missing_ok=True)
    world.script(Reply(calls=[world.call("linger")]))
    said = cancelled(world, lambda: wait_for((folder / "lingering").exists))
    wait_for((folder / "left").exists)
    (tool,) = world.tools(said)
    assert tool.attributes["error.type"] == "cancelled"
    world.script(Reply(calls=[world.call("get_weather", {"city": "Rome"})]), echo())
    assert world.ask("go").text == "21 degrees in Rome"


def cancelled(world: World, until: Any, agent: str = "main") -> str:
    """Send a message, wait `until` something, cancel its task; the trace."""
    states: list[str] = []

    def listen() -> str:
        task = ""
        for _, event in world.stream("take long", agent):
            if "task" in event:
                task = event["task"]["id"]
                ids.append(task)
            if "statusUpdate" in event:
                states.append(event["statusUpdate"]["status"]["state"])
        return task

    ids: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(listen)
        until()
        wait_for(lambda: ids)
        world.team.rpc(agent, "CancelTask", {"id": ids[0]}).raise_for_status()
        listening.result(60)
    assert states[-1] == "TASK_STATE_CANCELED"

    def ended() -> str | None:
        found = [span for span in world.team.spans(agent) if span.attributes.get("a2a.task.id") == ids[0]]
        return str(found[0]["trace_id"]) if found else None

    trace: str = wait_for(ended)
    return trace
