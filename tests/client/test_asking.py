"""What a client makes of replies."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from teamwright.backends.api import File
from teamwright.client import asking
from teamwright.client.files import FILES_LIMIT, attachments
from teamwright.errors import UnknownJob, UserError
from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT


def test_the_way_to_an_agent() -> None:
    assert asking.door_path("team", None) == "/a2a/team" and asking.door_path("team", "w-1") == "/a2a/team/w-1"
    wrong = ("..", "tokens"), ("..", "engine/stop"), ("team", ".."), ("team", "a?b"), ("a b", None), ("%2e", "x")
    for job, agent in wrong:
        with pytest.raises(UnknownJob, match="there is no agent"):
            asking.door_path(job, agent)


def test_a_call() -> None:
    call = json.loads(asking.call("Hi", "session", user="ada", labels={"k": "v"}))
    assert call["method"] == "SendMessage"
    message = call["params"]["message"]
    assert message["parts"] == [{"text": "Hi"}] and message["contextId"] == "session"
    assert message["metadata"] == {RUN_EXT: {"user": "ada", "labels": {"k": "v"}}}
    assert json.loads(asking.call("Hi", "s", user=None, labels=None, stream=True))["method"] == "SendStreamingMessage"


def test_a_call_with_files() -> None:
    files = [File("a.txt", "text/plain", b"abc"), File("b", uri="https://x/b")]
    call = json.loads(asking.call("Hi", "s", user=None, labels=None, files=files))
    assert call["params"]["message"]["parts"] == [
        {"text": "Hi"},
        {"filename": "a.txt", "mediaType": "text/plain", "raw": "YWJj"},
        {"filename": "b", "mediaType": "application/octet-stream", "url": "https://x/b"},
    ]


def test_an_answer() -> None:
    answer = asking.Answer("team", None, "session")
    told = {"run_id": "r", "trace_id": "t", "agent": "team/lead", "input_tokens": 1, "cost_usd": 0.5, "tool_calls": 2}
    task = {
        "id": "task",
        "contextId": "ctx",
        "status": {"state": "TASK_STATE_COMPLETED"},
        "artifacts": [{"parts": [{"text": "Hi"}]}],
        "metadata": {USAGE_EXT: told},
    }
    answer.read({"result": {"task": task}})
    found = answer.result(12.34).to_dict()
    assert found == {
        "job": "team", "agent": "lead", "session": "ctx", "run_id": "r", "trace_id": "t", "status": "ok",
        "answer": "Hi", "duration_ms": 12.3, "state": "completed", "task_id": "task", "reason": None, "files": [],
        "traced": True,
        "usage": {"input_tokens": 1, "output_tokens": 0, "cost_usd": 0.5, "tool_calls": 2, "partial": False},
    }  # fmt: skip


def test_an_error() -> None:
    answer = asking.Answer("team", None, "session")
    data = [{"metadata": {"trace_id": "t", "run_id": "r", "agent": "team/lead", "reason": "refused"}}]
    answer.read({"error": {"code": -32603, "message": "agent lead can't be reached", "data": data}})
    found = answer.result(1)
    assert (found.status, found.trace_id, found.agent) == ("error", "t", "lead")
    assert found.answer == "agent lead can't be reached" and found.session == "session"


def test_events() -> None:
    lines = [": ping", "", "event: x", 'data: {"a":', "data: 1}", "", "data: {}", ""]
    assert list(asking.events(lines)) == [{"a": 1}, {}]


def test_files_of_an_answer_come_in_pieces() -> None:
    answer = asking.Answer("team", None, "session")

    def piece(name: str, *, append: bool, artifact: str = "a") -> None:
        part = {"raw": "YWJj", "filename": name, "mediaType": "text/plain"}
        update = {"taskId": "t", "artifact": {"artifactId": artifact, "parts": [part]}, "append": append}
        answer.read({"result": {"artifactUpdate": update}})

    piece("draft", append=False)
    piece("a", append=False)
    piece("b", append=True)
    piece("c", append=False, artifact="other")
    found = answer.result(1)
    assert found.files == tuple(File(name, "text/plain", b"abc") for name in "abc")
    assert found.to_dict()["files"][0] == {"name": "a", "media_type": "text/plain", "bytes": 3}


def test_files_to_send_along(tmp_path: Path) -> None:
    pipe, file, large = tmp_path / "pipe", tmp_path / "a.txt", tmp_path / "large"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"through a pipe",))
    writer.start()
    file.write_text("abc")
    assert [found.data for found in attachments([file, str(pipe)])] == [b"abc", b"through a pipe"]
    writer.join()
    with large.open("wb") as holes:
        holes.truncate(FILES_LIMIT - 2)
    with pytest.raises(UserError, match=r"files: 11\.0 MiB is more than the 11 MiB"):
        attachments([file, large])
    for device in ("/dev/zero", "/dev/null"):  # the first has no end
        with pytest.raises(UserError, match=f"--file {device}: is a device, not a file"):
            attachments([device], said="--file ")
