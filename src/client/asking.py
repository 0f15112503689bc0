"""A2A as a client of the front door speaks it: messages out, replies in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict
from uuid import uuid4

from teamwright.backends.api import File
from teamwright.backends.parts import files_in, part_of
from teamwright.client.results import QueryResult, usage_of
from teamwright.engine.door.frames import Reading
from teamwright.engine.door.rpc import SEND, STREAM
from teamwright.errors import UnknownJob
from teamwright.tracing.propagation import RUN_EXT, TRACE_EXT, USAGE_EXT

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class TokenAsked(TypedDict, total=False):
    """What a token is asked for with; `ttl` in seconds, `rpm` in calls a minute."""

    job: str | None
    ttl: float | None
    subject: str | None
    rpm: int | None
    registration: str | None
    group: str | None


HEADERS = {
    "content-type": "application/json",
    "a2a-version": "1.0",
    "a2a-extensions": f"{TRACE_EXT},{RUN_EXT},{USAGE_EXT}",
}


def door_path(job: str, agent: str | None) -> str:
    """Where a job, or an agent of it, is asked. Raises UnknownJob for what can be no name.

    Names come from models too: one with dots and slashes would be a way to other routes of the engine.
    """
    for name in (job, agent):
        if name and not _NAME.fullmatch(name):
            raise UnknownJob(f"there is no agent {f'{job}/{agent}' if agent else job!r}"[:200])
    return f"/a2a/{job}/{agent}" if agent else f"/a2a/{job}"


def call(
    text: str,
    session: str,
    *,
    user: str | None,
    labels: Mapping[str, str] | None,
    files: Sequence[File] = (),
    task: str | None = None,
    stream: bool = False,
) -> bytes:
    """The JSON-RPC call that asks `text`, with `files`, in the conversation `session`, or answers what `task` asked."""
    about: dict[str, Any] = {"labels": dict(labels or {})}
    if user is not None:
        about["user"] = user
    message = {
        "messageId": str(uuid4()),
        "role": "ROLE_USER",
        "contextId": session,
        "parts": [{"text": text}, *map(part_of, files)],
        "metadata": {RUN_EXT: about},
    }
    if task is not None:
        message["taskId"] = task
    method = STREAM if stream else SEND
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}).encode()


def events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects in the lines of a stream of server-sent events."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield json.loads("\n".join(data))
            data = []


class Answer:
    """Puts the result of a query together from its replies."""

    def __init__(self, job: str, agent: str | None, session: str) -> None:
        self._job = job
        self._agent = agent or ""
        self._session = session
        self._reading = Reading()
        self._told: dict[str, Any] = {}
        self._files: dict[str, tuple[File, ...]] = {}

    def told(self, run: Mapping[str, Any]) -> None:
        """Take what the engine has written down about the query."""
        self._told.update({key: run[key] for key in ("run_id", "trace_id", "agent")})
        self._told.update(run["usage"])

    def read(self, reply: Mapping[str, Any]) -> None:
        """Take one JSON-RPC reply."""
        self._reading.take(reply)
        result = reply.get("result")
        if isinstance(result, Mapping):
            self._keep(result)
        for holder in result.values() if isinstance(result, Mapping) else ():
            found = (holder.get("metadata") or {}).get(USAGE_EXT) if isinstance(holder, Mapping) else None
            if isinstance(found, Mapping):
                self._told.update(found)
        error = reply.get("error")
        for item in (error.get("data") or ()) if isinstance(error, Mapping) else ():
            if isinstance(item, Mapping) and isinstance(item.get("metadata"), Mapping):
                self._told.update(item["metadata"])

    def _keep(self, result: Mapping[str, Any]) -> None:
        """The files of artifacts, by artifact, and of a message."""
        if "message" in result:
            self._files[""] = files_in(result["message"].get("parts") or ())
        for artifact in (result.get("task") or {}).get("artifacts") or ():
            self._files[artifact.get("artifactId", "")] = files_in(artifact.get("parts") or ())
        if update := result.get("artifactUpdate"):
            key, found = update["artifact"].get("artifactId", ""), files_in(update["artifact"].get("parts") or ())
            self._files[key] = (*self._files.get(key, ()), *found) if update.get("append") else found

    def result(self, duration_ms: float) -> QueryResult:
        """What came of it."""
        found = self._reading
        agent = self._told.get("agent") or self._agent
        return QueryResult(
            job=self._job,
            agent=str(agent).rpartition("/")[2],
            session=found.context_id or self._session,
            run_id=str(self._told.get("run_id", "")),
            trace_id=str(self._told.get("trace_id", "")),
            status="error" if found.failure is not None else "ok",
            answer=found.reason if found.failure is not None else found.answer,
            duration_ms=round(duration_ms, 1),
            usage=usage_of(self._told),
            state=found.state or "failed",
            task_id=found.task_id,
            files=tuple(file for files in self._files.values() for file in files),
            traced=self._told.get("traced") is not False,
            reason=(found.cause or found.state or "error") if found.failure is not None else None,
        )
