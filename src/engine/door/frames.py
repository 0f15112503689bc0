"""An agent's answer as it passes by: server-sent events cut into frames, and what they tell about the task."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from teamwright.backends.api import Usage
from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")
_PREFIX = "TASK_STATE_"
_REASON_LIMIT = 64
_FAILED = frozenset(["failed", "rejected", "canceled"])
#: States after which an agent says nothing more by itself.
_WAITING = frozenset(["input_required", "auth_required"])
#: What A2A 0.3 calls things, and 1.0.
_KINDS = {
    "task": "task",
    "message": "message",
    "status-update": "statusUpdate",
    "artifact-update": "artifactUpdate",
}
_RESTING = frozenset(["completed"]) | _WAITING | _FAILED


class Splitter:
    """Cuts a byte stream into whole frames, each with its blank line."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that `chunk` completes."""
        last = self._parts[-1] if self._parts else b""
        if len(last) >= 3 and not _END.search(last[-3:] + chunk):
            self._parts.append(chunk)  # a long frame is put together once, when it is whole
            return []
        rest = self.rest
        data = rest + chunk
        frames = []
        start = 0
        for match in _END.finditer(data, max(0, len(rest) - 3)):
            frames.append(data[start : match.end()])
            start = match.end()
        self._parts = [data[start:]]
        return frames

    @property
    def rest(self) -> bytes:
        """What came after the last whole frame."""
        return b"".join(self._parts)


def payload(frame: bytes) -> dict[str, Any] | None:
    """The JSON object that a frame carries; None for comments and anything else."""
    lines = [line[5:].removeprefix(b" ") for line in _LINE.split(frame) if line.startswith(b"data:")]
    try:
        found = json.loads(b"\n".join(lines)) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def event(data: bytes, name: str | None = None) -> bytes:
    """One frame."""
    head = f"event: {name}\r\n".encode() if name else b""
    return head + b"data: " + data + b"\r\n\r\n"


@dataclass(slots=True)
class Reading:
    """What an agent has told so far. `state` is the A2A task state as a plain word (`completed`, `input_required`).

    `foreign` = it is not ours: what it doesn't tell about its usage is unknown, not nothing. `cause` is its short word
    for why it failed (`turns`, `timeout`, `busy`), if it gave one.
    """

    task_id: str | None = None
    context_id: str | None = None
    state: str | None = None
    error: str | None = None
    foreign: bool = False
    cause: str | None = None
    _artifacts: dict[str, str] = field(default_factory=dict)
    _said: str = ""
    _usage: Mapping[str, Any] | None = None

    @property
    def over(self) -> bool:
        """Whether this is the whole answer."""
        return self.error is not None or self.state in _RESTING

    @property
    def waiting(self) -> bool:
        """Whether the agent waits for the next message."""
        return self.state in _WAITING

    @property
    def failure(self) -> str | None:
        """Why it is no good answer; None when it is one."""
        if self.error is not None or self.state not in _FAILED:
            return self.error
        return f"{self.state}: {self.reason}" if self.reason else self.state

    @property
    def reason(self) -> str:
        """What a failed one said last, which is why; half an answer may have come before."""
        return self.error or self._said or self.answer

    @property
    def artifact(self) -> str:
        """The text of the artifacts, as far as it has come."""
        return "\n".join(text for text in self._artifacts.values() if text)

    @property
    def answer(self) -> str:
        """The text of the artifacts, else what the last status or message said."""
        return self.artifact or self._said

    @property
    def usage(self) -> Usage:
        """What the whole tree used, as the agent told it."""
        found = self._usage or {}
        if not found and (self.foreign or (self.state is not None and self.state not in _RESTING)):
            return Usage.unknown()  # one of ours that was cut off in its work had no time to tell
        counts = {
            key: int(found[key])
            for key in ("input_tokens", "output_tokens", "model_calls", "tool_calls", "peer_calls")
            if isinstance(found.get(key), int | float)
        }
        cost = found.get("cost_usd", 0.0 if not found else None)
        return Usage(
            **counts,
            cost_usd=float(cost) if isinstance(cost, int | float) else None,
            estimated=found.get("estimated") is True,
            partial=found.get("partial") is True,
        )

    def take(self, reply: Mapping[str, Any]) -> None:
        """Take note of one JSON-RPC reply, of a stream or whole."""
        if isinstance(error := reply.get("error"), Mapping):
            self.error = str(error.get("message") or error.get("code"))
            details = error.get("data")
            for item in details if isinstance(details, list) else ():
                self._why(item.get("metadata") if isinstance(item, Mapping) else None)
        result = _modern(reply.get("result"))
        for kind, value in result.items():
            if isinstance(value, Mapping):
                match kind:
                    case "task":
                        self.task(value)
                    case "message":
                        self._message(value)
                    case "statusUpdate":
                        self._where(value.get("taskId"), value)
                        self._status(value)
                    case "artifactUpdate":
                        self._where(value.get("taskId"), value)
                        self._artifact(value.get("artifact"), append=value.get("append") is True)

    def task(self, task: Mapping[str, Any]) -> None:
        """Take note of a whole task."""
        self._where(task.get("id"), task)
        self._artifacts.clear()
        for artifact in task.get("artifacts") or ():
            self._artifact(artifact, append=False)
        self._status(task)

    def _where(self, task_id: Any, holder: Mapping[str, Any]) -> None:
        self.task_id = str(task_id) if task_id else self.task_id
        context = holder.get("contextId")
        self.context_id = str(context) if context else self.context_id

    def _status(self, holder: Mapping[str, Any]) -> None:
        self._meta(holder)
        status = holder.get("status")
        if not isinstance(status, Mapping):
            return
        if isinstance(state := status.get("state"), str):
            word = state.removeprefix(_PREFIX).lower().replace("-", "_")
            self.state = "canceled" if word == "cancelled" else word  # as 0.3 over HTTP+JSON spells it
        if isinstance(message := status.get("message"), Mapping):
            self._meta(message)
            self._said = _words(message) or self._said

    def _message(self, message: Mapping[str, Any]) -> None:
        self._where(message.get("taskId"), message)
        self._meta(message)
        self._said = _words(message)
        self.state = "completed"

    def _artifact(self, artifact: Any, *, append: bool) -> None:
        if isinstance(artifact, Mapping):
            key = str(artifact.get("artifactId", ""))
            text = _text(artifact.get("parts"))
            self._artifacts[key] = self._artifacts.get(key, "") + text if append else text

    def _meta(self, holder: Mapping[str, Any]) -> None:
        metadata = holder.get("metadata")
        if isinstance(metadata, Mapping) and isinstance(found := metadata.get(USAGE_EXT), Mapping):
            self._usage = found
        if isinstance(metadata, Mapping):
            self._why(metadata.get(RUN_EXT))

    def _why(self, told: Any) -> None:
        if isinstance(told, Mapping) and isinstance(reason := told.get("reason"), str) and reason:
            self.cause = reason[:_REASON_LIMIT]


def seal(reply: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Add `values` to the usage metadata of the task, message or status update in a reply."""
    result = _modern(reply.get("result"))
    for kind in ("task", "message", "statusUpdate"):
        if isinstance(holder := result.get(kind), dict):
            metadata = found if isinstance(found := holder.get("metadata"), dict) else {}
            told = found if isinstance(found := metadata.get(USAGE_EXT), Mapping) else {}
            holder["metadata"] = {**metadata, USAGE_EXT: {**told, **values}}


def shows_task(reply: Mapping[str, Any]) -> bool:
    """Whether a reply is a whole task."""
    return "task" in _modern(reply.get("result"))


def _modern(result: Any) -> Mapping[str, Any]:
    """A result under the name of its kind; A2A 0.3 says the kind inside it."""
    if not isinstance(result, Mapping):
        return {}
    kind = _KINDS.get(str(result.get("kind")))
    return result if kind is None else {kind: result}


def _words(message: Mapping[str, Any]) -> str:
    """Those of a message; A2A 0.3 over HTTP+JSON calls its parts content."""
    return _text(message.get("parts") or message.get("content"))


def _text(parts: Any) -> str:
    """The words of parts, or their data as JSON where they have none."""
    found = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    words = "".join(str(part["text"]) for part in found if part.get("text"))
    return words or "\n".join(json.dumps(part["data"], ensure_ascii=False) for part in found if part.get("data"))
