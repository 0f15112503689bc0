from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from teamwright.backends.api import Usage
from teamwright.errors import LimitReached, PeerError, Refused
from teamwright.tracing import messages
from teamwright.tracing import vocabulary as v
from teamwright.tracing.otlp_json import plain_value
from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.runs import RunContext, RunId, current_run, use_run
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer


def run(**more: Any) -> RunContext:
    return RunContext(RunId.generate(), "team", "lead", session="s1", user="ada", labels={"k": "v"}, **more)


def test_a_whole_query(tracer: Tracer, spans: Spans) -> None:
    this = run()
    with tracer.query(
        "team", text="Sum?", user="ada", session="s1", labels={"k": "v"}, revision="r1", run=this
    ) as root:
        with tracer.agent(message="Sum?", run=this) as agent:
            inside = current_run()
            with tracer.model_call(model="m1", provider="openai", messages="Sum?", system="Be brief") as call:
                call.first_token()
                call.answer(
                    messages.message("assistant", messages.tool_call("add", {"a": 1}, "c1")), finish_reason="tool_call"
                )
                call.usage(input_tokens=10, output_tokens=5, cost_usd=0.25)
            with tracer.tool_call(name="add", call_id="c1", arguments={"a": 1}, source="local") as tool:
                tool.result({"sum": 3})
            with tracer.peer_call(target="Writer", target_id="writer", message="Write 3") as peer:
                peer.answer("three", state="completed")
            agent.answer("3")
        root.answer("3", state="completed", usage=Usage(10, 5, 1, 1, 1, 0.25))
    assert inside is not None and inside.trace_id == root.trace_id

    found = {span.name: span for span in spans.all()}
    assert list(found) == [
        "chat m1",
        "execute_tool add",
        "invoke_agent writer",
        "invoke_agent lead",
        "invoke_workflow team",
    ]
    top, agent_span = found["invoke_workflow team"], found["invoke_agent lead"]
    assert top.parent_span_id == b"" and agent_span.parent_span_id == top.span_id
    for name in ("chat m1", "execute_tool add", "invoke_agent writer"):
        assert found[name].parent_span_id == agent_span.span_id
        assert attributes(found[name])[v.RUN_ID] == this.run_id
    assert {span.trace_id.hex() for span in found.values()} == {root.trace_id}
    kinds = [found[name].kind for name in ("invoke_workflow team", "invoke_agent lead", "chat m1", "execute_tool add")]
    assert kinds == [Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL]
    chat = attributes(found["chat m1"])
    assert json.loads(chat[v.OUTPUT_MESSAGES]) == [
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}}]}
    ]
    assert chat[v.FIRST_TOKEN] > 0 and chat[v.FINISH_REASONS] == ["tool_call"] and chat[v.INPUT_TOKENS] == 10
    assert attributes(found["execute_tool add"])[v.TOOL_RESULT] == '{"sum":3}'
    assert attributes(found["invoke_agent writer"])[v.CALL] == "Lead->Writer"
    head = attributes(top)
    assert head[v.USER_ID] == "ada" and head[v.LABEL_PREFIX + "k"] == "v" and head[v.COST_USD] == 0.25
    assert head[v.REVISION] == "r1" and head[v.CONVERSATION] == "s1"
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in found.values())
    assert all(value is not None for span in found.values() for value in attributes(span).values())


def test_two_clock_readings_that_are_equal_still_make_a_duration(spans: Spans) -> None:
    tracer = Tracer("lead", "team", "i1", spans, strict=True, now=lambda: 1_795_000_000_000_000_000)
    with tracer.queued():
        pass
    (span,) = spans.all()
    assert span.end_time_unix_nano == span.start_time_unix_nano + 1


async def test_parents_are_right_under_parallel_tasks_and_threads(tracer: Tracer, spans: Spans) -> None:
    async def one(number: int) -> None:
        with tracer.query("team", text=str(number)) as root, tracer.agent(message=str(number)) as agent:

            async def tool(part: int) -> None:
                with tracer.tool_call(name="same", call_id=f"{number}.{part}") as call:
                    await asyncio.sleep(0)
                    await asyncio.to_thread(in_thread, f"{number}.{part}")
                    call.result(f"{number}.{part}")

            await asyncio.gather(*(tool(part) for part in range(4)))
            assert agent.trace_id == root.trace_id

    def in_thread(text: str) -> None:
        with tracer.span("deep", {"text": text}):
            pass

    await asyncio.gather(*(one(number) for number in range(100)))
    found = spans.all()
    assert len(found) == 100 * (2 + 4 + 4)
    by_id = {span.span_id: span for span in found}
    assert len(by_id) == len(found) and len({span.trace_id for span in found}) == 100
    for span in found:
        if span.name == "deep":
            parent = by_id[span.parent_span_id]
            assert attributes(parent)[v.TOOL_CALL_ID] == attributes(span)["text"] == attributes(parent)[v.TOOL_RESULT]
        if span.parent_span_id:
            assert by_id[span.parent_span_id].trace_id == span.trace_id


def test_threads_without_context_give_the_parent_by_hand(tracer: Tracer, spans: Spans) -> None:
    with tracer.agent(message="x") as agent:

        def work(number: int) -> None:
            assert not otel.get_current_span().get_span_context().is_valid
            with tracer.tool_call(name=f"t{number}", parent=agent):
                pass

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(8)))
    server = spans.named("invoke_agent lead")
    for number in range(8):
        assert spans.named(f"execute_tool t{number}").parent_span_id == server.span_id


def test_a_parent_elsewhere_and_links(tracer: Tracer, spans: Spans) -> None:
    there = ParentContext("a" * 32, "b" * 16)
    with (
        tracer.query("team", text="outer"),
        tracer.agent(parent=there, entry=True, links=[ParentContext("c" * 32, "d" * 16)]),
    ):
        pass
    span = spans.named("invoke_agent lead")
    assert span.trace_id.hex() == "a" * 32 and span.parent_span_id.hex() == "b" * 16
    assert span.links[0].trace_id.hex() == "c" * 32 and span.flags & 0x200
    with tracer.query("team", text="x", links=[there]) as root:
        pass
    assert root.trace_id != there.trace_id


def test_a_query_begins_a_new_trace_wherever_it_stands(tracer: Tracer) -> None:
    with tracer.query("team", text="a") as one, tracer.query("team", text="b") as two:
        assert one.trace_id != two.trace_id
        assert tracer.current().span_id == two.span_id


def test_an_exception_is_status_reason_and_event(tracer: Tracer, spans: Spans) -> None:
    with pytest.raises(PeerError), tracer.peer_call(target="Writer"):
        raise PeerError("it took 30 s", reason="timeout")
    with pytest.raises(LimitReached), tracer.tool_call(name="t"):
        raise LimitReached("depth", "too deep")
    with pytest.raises(ZeroDivisionError), tracer.tool_call(name="z"):
        _ = 1 / 0
    peer, limit, zero = spans.named("invoke_agent Writer"), spans.named("execute_tool t"), spans.named("execute_tool z")
    assert peer.status.code == 2 and peer.status.message == "it took 30 s"
    assert attributes(peer)[v.ERROR_TYPE] == "timeout" and attributes(limit)[v.ERROR_TYPE] == "depth"
    assert attributes(zero)[v.ERROR_TYPE] == "ZeroDivisionError"
    (event,) = zero.events
    assert event.name == v.EVENT_EXCEPTION
    assert "_ = 1 / 0" in next(
        item.value.string_value for item in event.attributes if item.key == v.EXCEPTION_STACKTRACE
    )


async def test_cancelled_and_closed_early(tracer: Tracer, spans: Spans) -> None:
    async def wait() -> None:
        with tracer.agent(message="x"):
            await asyncio.Event().wait()

    async def words() -> AsyncIterator[str]:
        with tracer.model_call(model="m"):
            yield "a"
            yield "b"

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    stream = words()
    await asyncio.create_task(stream.__anext__())  # type: ignore[arg-type]
    await asyncio.create_task(stream.aclose())  # type: ignore[attr-defined]
    cancelled, early = spans.named("invoke_agent lead"), spans.named("chat m")
    assert cancelled.status.code == 2 and attributes(cancelled)[v.ERROR_TYPE] == "cancelled"
    assert cancelled.events[0].name == v.EVENT_CANCEL
    assert early.status.code == 0 and attributes(early)[v.ENDED_EARLY] is True
    assert not otel.get_current_span().get_span_context().is_valid


def test_without_with_it_is_nobodys_parent_and_ends_once(tracer: Tracer, spans: Spans) -> None:
    call = tracer.tool_call(name="hook", call_id="c")
    assert tracer.current().span_id == "0" * 16
    with tracer.span("child", parent=call):
        pass
    call.result("r").end()
    call.end()
    call.set({"late": 1}).event("late").fail("late").ok()
    assert [span.name for span in spans.all()] == ["child", "execute_tool hook"]
    assert spans.named("child").parent_span_id == spans.named("execute_tool hook").span_id


def test_given_times_are_kept(tracer: Tracer, spans: Spans) -> None:
    at = 1_795_000_000_000_000_000
    call = tracer.model_call(model="m", start_ns=at)
    call.first_token(at + 50_000_000).event("note", {"a": [1, "b"]}, at_ns=at + 1)
    call.end(at + 300_000_000)
    (span,) = spans.all()
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (at, at + 300_000_000)
    assert attributes(span)[v.FIRST_TOKEN] == 0.05
    assert [event.time_unix_nano for event in span.events] == [at + 50_000_000, at + 1]


def test_record_writes_what_it_is_given(tracer: Tracer, spans: Spans) -> None:
    at = 1_795_000_000_000_000_000
    parent = tracer.record("invoke_workflow team", start_ns=at, end_ns=at + 5, trace_id="a" * 32, span_id="b" * 16,
                           attributes={v.OPERATION: v.OP_QUERY, "n": None}, error="lost")  # fmt: skip
    child = tracer.record(
        "start_agent x", start_ns=at, end_ns=at + 2, parent=parent, events=[("crash", at + 1, {"code": 9})]
    )
    root, other = spans.all()
    assert parent == ParentContext("a" * 32, "b" * 16) and child.trace_id == parent.trace_id
    assert root.status.code == 2 and "n" not in attributes(root)
    assert other.parent_span_id.hex() == "b" * 16 and other.events[0].name == "crash"


def test_other_instrumentation_joins_in(tracer: Tracer, spans: Spans) -> None:
    theirs = tracer._provider.get_tracer("somebody.else", "2.0")
    this = run()
    with (
        tracer.agent(message="x", run=this),
        theirs.start_as_current_span("their span"),
        tracer.tool_call(name="t"),
    ):
        pass
    their = spans.named("their span")
    assert their.parent_span_id == spans.named("invoke_agent lead").span_id
    assert spans.named("execute_tool t").parent_span_id == their.span_id
    assert attributes(their)[v.RUN_ID] == this.run_id


def test_odd_values_never_break_it(tracer: Tracer, spans: Spans) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no")

    loop: list[Any] = []
    loop.append(loop)
    with tracer.tool_call(name="t", arguments={"odd": Odd(), "b": b"xx", "s": {3, 1}}) as call:
        call.set({"big": 1 << 70, "half": "\ud800", "loop": loop, "none": None, "nested": {"a": [1]}})
        call.result(loop)
    found = attributes(spans.named("execute_tool t"))
    assert found["big"] == str(1 << 70) and found["half"] == "?" and "none" not in found
    assert found["nested"] == '{"a":[1]}' and json.loads(found[v.TOOL_ARGUMENTS])["odd"] == "<Odd>"


def test_a_sink_that_fails_is_counted_and_the_caller_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def broken(payload: bytes) -> None:
        raise RuntimeError("no sink")

    tracer = Tracer("lead", "team", "i1", broken)
    for _ in range(5):
        with tracer.tool_call(name="t"):
            pass
    assert tracer.errors == 5 and tracer.processor.dropped == 5 and tracer.processor.open == 0
    assert len(caplog.records) == 1
    strict = Tracer("lead", "team", "i1", broken, strict=True)
    with pytest.raises(RuntimeError, match="no sink"), strict.tool_call(name="t"):
        pass


def test_off_makes_ids_but_records_nothing(spans: Spans) -> None:
    tracer = Tracer("lead", "team", "i1", spans, enabled=False, strict=True)
    with tracer.query("team", text="x") as root, tracer.agent(message="x", run=run()) as agent:
        with tracer.model_call(model="m") as call:
            call.answer("y").usage(input_tokens=1)
        agent.fail("x")
        assert agent.trace_id == root.trace_id != "0" * 32 and root.traceparent.endswith("-00")
        inside = current_run()
        assert inside is not None and inside.trace_id == root.trace_id
    assert spans.payloads == []


def test_making_a_tracer_changes_nothing_global(spans: Spans) -> None:
    before = (threading.active_count(), type(otel.get_tracer_provider()), otel_context.get_current())
    Tracer("lead", "team", "i1", spans)
    assert (threading.active_count(), type(otel.get_tracer_provider()), otel_context.get_current()) == before


def test_users_code_may_treat_ours_as_any_opentelemetry_span(tracer: Tracer, spans: Spans) -> None:
    with tracer.tool_call(name="t"):
        span = otel.get_current_span()
        span.set_attributes({"n": [1, 2], "t": ("a", "b"), "none": None})
        span.set_attribute("x", 1.5)
        span.add_event("note", {"k": True})
        span.record_exception(KeyError("k"))
        span.set_status(otel.StatusCode.OK)
        span.set_status(otel.StatusCode.ERROR, "too late")
        span.update_name("renamed")
    found = spans.named("renamed")
    assert attributes(found)["n"] == [1, 2] and attributes(found)["t"] == ["a", "b"] and attributes(found)["x"] == 1.5
    assert [event.name for event in found.events] == ["note", v.EVENT_EXCEPTION] and found.status.code == 1
    assert "none" not in attributes(found)


def test_a_span_has_limits(tracer: Tracer, spans: Spans) -> None:
    with tracer.span("big") as span:
        span.set({f"k{number}": number for number in range(1500)})
        for number in range(1100):
            span.event(f"e{number}")
    found = spans.named("big")
    assert (len(found.attributes), found.dropped_attributes_count) == (1024, 476)
    assert (len(found.events), found.dropped_events_count) == (1024, 76)


def test_a_hook_in_a_foreign_context_belongs_to_its_parents_run(tracer: Tracer, spans: Spans) -> None:
    first, second = run(), run()
    with use_run(first), tracer.agent(message="connect", run=first):
        hooks = contextvars.copy_context()  # an SDK's: made at its first query, used for all
    with tracer.agent(message="query", run=second) as agent:
        call = hooks.run(lambda: tracer.tool_call(name="t", call_id="c1", parent=agent))
        inner = hooks.run(lambda: tracer.span("deeper", parent=call))
        inner.end()
        call.result("r").end()
    for name in ("execute_tool t", "deeper"):
        assert attributes(spans.named(name))[v.RUN_ID] == second.run_id
        assert attributes(spans.named(name))[v.CONVERSATION] == "s1"


def test_what_happens_inside_a_span(tracer: Tracer, spans: Spans) -> None:
    with tracer.model_call(model="m") as call:
        call.retry(2, "overloaded", after=1.5).rate_limited(retry_after=2.0, message="429")
        call.compacted("auto", before=180_000, after=22_000)
    with tracer.tool_call(name="rm") as tool:
        tool.denied("outside the scope", rule="files.write.deny")
        tracer.current().cancelled("by hand")
    with tracer.agent(message="x") as agent:
        agent.status_update("working").artifact_update("answer", pieces=3).subscribed_again()
    with pytest.raises(LimitReached), tracer.tool_call(name="limit"):
        raise LimitReached("cost_usd", "dear")
    with pytest.raises(Refused), tracer.tool_call(name="refused"):
        raise Refused("not you")

    def told(name: str) -> list[tuple[str, dict[str, Any]]]:
        found = [(event.name, {item.key: plain_value(item.value) for item in event.attributes})
                 for event in spans.named(name).events]  # fmt: skip
        return [one for one in found if one[0] != v.EVENT_EXCEPTION]

    assert told("chat m") == [
        (v.EVENT_RETRY, {v.ATTEMPT: 2, v.REASON: "overloaded", v.RETRY_AFTER: 1.5}),
        (v.EVENT_RATE_LIMIT, {v.RETRY_AFTER: 2.0, v.REASON: "429"}),
        (v.EVENT_COMPACTION, {v.REASON: "auto", v.TOKENS_BEFORE: 180_000, v.TOKENS_AFTER: 22_000}),
    ]
    assert told("execute_tool rm") == [
        (v.EVENT_DENIED, {v.REASON: "outside the scope", v.RULE: "files.write.deny"}),
        (v.EVENT_CANCEL, {v.REASON: "by hand"}),
    ]
    assert told("invoke_agent lead") == [
        (v.EVENT_STATUS, {v.TASK_STATE: "TASK_STATE_WORKING"}),
        (v.EVENT_ARTIFACT, {v.ARTIFACT: "answer", v.PIECES: 3}),
        (v.EVENT_SUBSCRIBED, {}),
    ]
    assert told("execute_tool limit") == [(v.EVENT_LIMIT, {v.LIMIT: "cost_usd", v.REASON: "dear"})]
    assert told("execute_tool refused") == [(v.EVENT_DENIED, {v.REASON: "not you"})]
