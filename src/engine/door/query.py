"""One query on its way through the front door: its root span, its row, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import uuid4

from teamwright.backends.api import Usage
from teamwright.engine.door.frames import Reading
from teamwright.engine.store.records import AgentRecord, JobRecord, RunRow, TaskRow
from teamwright.engine.store.state import EngineState
from teamwright.safety.tokens import Claims
from teamwright.tracing import messages
from teamwright.tracing import vocabulary as v
from teamwright.tracing.propagation import RUN_EXT, USAGE_EXT, ParentContext, extract, inject
from teamwright.tracing.runs import RunContext, RunId
from teamwright.tracing.spans import PeerSpan, QuerySpan
from teamwright.tracing.tracer import Tracer

#: The keys under which `query` prints usage.
USAGE_KEYS = ("input_tokens", "output_tokens", "cost_usd", "tool_calls", "partial")
_TEXT_LIMIT = 512
_LABELS_LIMIT = 64


class Root(Protocol):
    """A root span that is still open."""

    def end(self, reading: Reading, error: str | None, reason: str | None) -> None: ...


@dataclass(slots=True)
class LiveRoot:
    """The root of a query that this engine has let in."""

    span: QuerySpan

    def end(self, reading: Reading, error: str | None, reason: str | None) -> None:
        self.span.set({v.TASK_ID: reading.task_id, v.CONTEXT_ID: reading.context_id})
        self.span.answer(reading.answer, state=reading.state, usage=reading.usage)
        if error is not None:
            self.span.fail(error, reason=reason)
        self.span.end()


@dataclass(slots=True)
class _Through:
    """A root with the call to a foreign agent below it."""

    root: Root
    span: PeerSpan

    def end(self, reading: Reading, error: str | None, reason: str | None) -> None:
        self.span.answer(reading.answer, state=reading.state, usage=reading.usage)
        if error is not None:
            self.span.fail(error, reason=reason)
        self.span.end()
        self.root.end(reading, error, reason)


class Query:
    """A query that runs. `end` may be called more than once; the first one counts."""

    def __init__(self, row: TaskRow, root: Root, state: EngineState) -> None:
        self.row = row
        self.reading = Reading(task_id=row.task_id, context_id=row.context_id)
        self._root = root
        self._state = state
        self.ended = False

    def through(self, span: PeerSpan) -> None:
        """The query goes on below this span of ours, which ends before the root does."""
        self._root = _Through(self._root, span)

    def read(self, reply: Mapping[str, Any]) -> None:
        """Take note of a reply of the agent; the task's id goes into the database once it is known."""
        self.reading.take(reply)
        found = self.reading
        if found.task_id != self.row.task_id or found.context_id != self.row.context_id:
            self.row = replace(self.row, task_id=found.task_id, context_id=found.context_id)
            if not self.ended:
                self._state.update_task(self.row)

    def end(self, *, error: str | None = None, reason: str | None = None, status: str | None = None) -> None:
        """The answer is whole, or there will be none: end the root span and write the run down."""
        if self.ended:
            return
        self.ended = True
        found = self.reading
        error = error or found.failure
        if error is not None and reason is None:
            reason = found.cause or found.state or "error"
        self._root.end(found, error, reason)
        self._state.end_task(
            RunRow(
                self.row,
                status=status or ("error" if error is not None else "ok"),
                state=found.state or "failed",
                ended_ns=time.time_ns(),
                usage=usage_view(found.usage),
            )
        )

    @property
    def values(self) -> dict[str, Any]:
        """What goes back in the metadata of the last word, beside the agent's own usage."""
        usage = self.reading.usage
        found = {**usage.counts, **usage_view(usage)}
        return {
            **{key: value for key, value in found.items() if value is not None},
            "run_id": self.row.run_id,
            "trace_id": self.row.trace_id,
            "agent": f"{self.row.job}/{self.row.agent}",
            **({} if self._traced else {"traced": False}),
        }

    @property
    def _traced(self) -> bool:
        """Whether the job's spans are recorded: else nobody will find the trace."""
        job = self._state.jobs.get(self.row.job)
        return job is None or job.plan.tracing


def usage_view(usage: Usage) -> dict[str, Any]:
    """Usage as `query` prints it; None where nothing is known."""
    found = {**usage.counts, "cost_usd": usage.cost_usd, "partial": usage.partial}
    return {key: found[key] for key in USAGE_KEYS}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A query with the call that goes to the agent."""

    query: Query
    params: dict[str, Any]
    headers: dict[str, str]


def admit(
    job: JobRecord,
    agent: AgentRecord,
    params: Mapping[str, Any],
    headers: Mapping[str, str],
    claims: Claims,
    *,
    tracer: Tracer,
    state: EngineState,
    last: ParentContext | None = None,
    new_id: Callable[[], str] = lambda: str(uuid4()),
) -> Admitted:
    """Open a query: root span, run, and the message as the agent gets it, trace context and run within.

    The caller's own trace is continued: it has shown a valid token. `last` is the root of the query that this one
    goes on with: its task has asked for something. Else it is linked to the last one of its conversation.
    """
    message = dict(params["message"])
    metadata = dict(message.get("metadata") or {})
    text = _text(message.get("parts"))
    asked = messages.said("user", text, _files(message.get("parts")))
    if not message.get("contextId") and not message.get("taskId"):
        # Ours rather than the agent's, so that a query can be found again before its task is known.
        message["contextId"] = new_id()
    context = message.get("contextId")
    user, labels = _told(metadata, claims)
    parent = extract(headers, metadata)
    entry_limits = job.plan.agent(agent.agent).limits
    run = RunContext(
        run_id=RunId.generate(),
        job=job.name,
        agent=agent.agent,
        session=context,
        user=user,
        labels=labels,
        peer_calls_left=entry_limits.peer_calls,
    )
    started = time.time_ns()
    last = last or state.last_of_session(job.name, user, context)
    span = tracer.query(
        job.name,
        text=asked,
        user=user,
        session=context,
        labels=labels,
        revision=job.plan.revision,
        run=run,
        parent=parent,
        links=[last] if last else [],
        start_ns=started,
        attributes={v.AGENT: agent.agent, v.TASK_ID: message.get("taskId")},
    )
    outgoing: dict[str, str] = {}
    metadata.pop(USAGE_EXT, None)
    inject(span, outgoing, metadata, run=replace(run, trace_id=span.trace_id))
    message["metadata"] = metadata
    row = TaskRow(
        span_id=span.span_id,
        trace_id=span.trace_id,
        run_id=run.run_id,
        job=job.name,
        agent=agent.agent,
        started_ns=started,
        parent_id=parent.span_id if parent else None,
        task_id=message.get("taskId"),
        context_id=context,
        query=messages.plain_text(messages.encode(asked)) if asked and job.plan.content == "full" else "",
        user=user,
        labels=labels,
        revision=job.plan.revision,
        link=last.traceparent if last is not None else None,
    )
    return Admitted(Query(row, LiveRoot(span), state), {**params, "message": message}, outgoing)


def _told(metadata: Mapping[str, Any], claims: Claims) -> tuple[str, dict[str, str]]:
    """Who asks (the token's subject, unless an operator speaks for somebody), and labels."""
    found = metadata.get(RUN_EXT)
    told: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    said = told.get("user")
    user = claims.sub
    if claims.role == "operator" and isinstance(said, str) and said:
        user = said[:_TEXT_LIMIT]
    labels = told.get("labels")
    pairs = list(labels.items())[:_LABELS_LIMIT] if isinstance(labels, Mapping) else []
    return user, {str(key)[:_TEXT_LIMIT]: str(value)[:_TEXT_LIMIT] for key, value in pairs}


def _text(parts: Any) -> str:
    if not isinstance(parts, list):
        return ""
    found = [part for part in parts if isinstance(part, Mapping)]
    words = [str(part["text"]) for part in found if part.get("text")]
    return "\n".join(words or [messages.to_json(part["data"]) for part in found if part.get("data")])


def _files(parts: Any) -> list[messages.Part]:
    """The files of a message, as 1.0 and as 0.3 write them."""
    found = []
    for number, part in enumerate(parts if isinstance(parts, list) else (), start=1):
        if isinstance(part, Mapping) and any(part.get(key) for key in ("raw", "url", "file")):
            file = part["file"] if isinstance(part.get("file"), Mapping) else part
            name = file.get("filename") or file.get("name") or f"file-{number}"
            media_type = file.get("mediaType") or file.get("mimeType") or "application/octet-stream"
            raw, uri = file.get("raw") or file.get("bytes"), file.get("url") or file.get("uri")
            size = len(raw) // 4 * 3 - raw[-2:].count("=") if isinstance(raw, str) else None
            found.append(messages.file(str(name), str(media_type), size, uri if isinstance(uri, str) else None))
    return found
