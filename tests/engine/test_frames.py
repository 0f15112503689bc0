"""Frames: cut, read, sealed."""

from __future__ import annotations

from typing import Any

import pytest

from teamwright.engine.door.frames import Reading, Splitter, event, payload, seal
from teamwright.tracing.propagation import USAGE_EXT


def status(state: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"state": f"TASK_STATE_{state}"}
    if text is not None:
        found["message"] = {"parts": [{"text": text}]}
    return {"result": {"statusUpdate": {"taskId": "t", "contextId": "c", "status": found, **more}}}


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_frames_are_cut_wherever_the_chunks_end(end: bytes) -> None:
    stream = b": ping" + end + b'data: {"a": 1}' + end + b"data: 2" + end + b"half"
    for size in range(1, len(stream)):
        splitter = Splitter()
        frames = [frame for at in range(0, len(stream), size) for frame in splitter.feed(stream[at : at + size])]
        assert b"".join(frames) + splitter.rest == stream
        assert len(frames) == 3 and splitter.rest == b"half"
        assert [payload(frame) for frame in frames] == [None, {"a": 1}, None]


def test_data_over_several_lines_is_one_payload() -> None:
    assert payload(b'event: x\r\ndata: {"a":\r\ndata: 1}\r\n\r\n') == {"a": 1}
    assert payload(event(b'{"a":1}', "error")) == {"a": 1}


def test_reading_a_stream() -> None:
    reading = Reading()
    reading.take({"result": {"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}}}})
    assert (reading.task_id, reading.context_id, reading.state, reading.over) == ("t", "c", "submitted", False)
    for text, append in (("Hel", False), ("lo", True)):
        part = {"artifactId": "a", "parts": [{"text": text}]}
        reading.take({"result": {"artifactUpdate": {"taskId": "t", "artifact": part, "append": append}}})
    reading.take(status("COMPLETED", metadata={USAGE_EXT: {"input_tokens": 3, "cost_usd": 0.5}}))
    assert reading.over and reading.failure is None and reading.answer == "Hello"
    assert reading.usage.input_tokens == 3 and reading.usage.cost_usd == 0.5


def test_half_an_answer_is_not_why_it_failed() -> None:
    reading = Reading()
    part = {"artifactId": "a", "parts": [{"text": "half an answer"}]}
    reading.take({"result": {"artifactUpdate": {"taskId": "t", "artifact": part}}})
    reading.take(status("FAILED", "it broke"))
    assert (reading.failure, reading.reason, reading.answer) == ("failed: it broke", "it broke", "half an answer")


def test_an_answer_of_data_alone_is_its_json() -> None:
    reading = Reading()
    reading.take({"result": {"message": {"parts": [{"data": {"n": 1}}]}}})
    assert reading.answer == '{"n": 1}'
    reading.take({"result": {"message": {"parts": [{"data": {"n": 1}}, {"text": "one"}]}}})
    assert reading.answer == "one"


def test_failures() -> None:
    for state in ("FAILED", "CANCELED", "REJECTED"):
        reading = Reading()
        reading.take(status(state, "because"))
        assert reading.over and reading.failure == f"{state.lower()}: because"
    reading = Reading()
    reading.take({"error": {"code": -32603, "message": "broken"}})
    assert reading.over and reading.failure == "broken"


def test_a_question_back_is_an_end_and_no_failure() -> None:
    reading = Reading()
    reading.take(status("INPUT_REQUIRED", "Which one?"))
    assert reading.over and reading.waiting and reading.failure is None and reading.answer == "Which one?"


def test_a_message_is_a_whole_answer() -> None:
    reading = Reading()
    reading.take({"result": {"message": {"contextId": "c", "parts": [{"text": "Hi"}]}}})
    assert reading.over and reading.answer == "Hi" and reading.task_id is None


@pytest.mark.parametrize("reply", [{}, {"result": None}, {"result": []}, {"result": {"task": 1}}, {"error": "x"}])
def test_nonsense_is_no_answer(reply: dict[str, Any]) -> None:
    reading = Reading()
    reading.take(reply)
    assert not reading.over


def test_unknown_cost_stays_unknown() -> None:
    reading = Reading()
    reading.take(status("COMPLETED", metadata={USAGE_EXT: {"input_tokens": 3}}))
    assert reading.usage.cost_usd is None


def test_who_was_cut_off_in_its_work_had_no_time_to_tell() -> None:
    reading = Reading()
    told = [reading.usage]  # never let in
    for state in ("WORKING", "COMPLETED"):
        reading.take(status(state))
        told.append(reading.usage)
    assert [(usage.cost_usd, usage.partial) for usage in told] == [(0.0, False), (None, True), (0.0, False)]


def test_seal_adds_to_what_the_agent_told() -> None:
    reply = status("COMPLETED", metadata={USAGE_EXT: {"input_tokens": 3}, "x": 1})
    seal(reply, {"run_id": "r"})
    metadata = reply["result"]["statusUpdate"]["metadata"]
    assert metadata == {USAGE_EXT: {"input_tokens": 3, "run_id": "r"}, "x": 1}
    error: dict[str, Any] = {"error": {"code": 1}}
    seal(error, {"run_id": "r"})
    assert error == {"error": {"code": 1}}
