"""What may happen inside a span, each with its own word: events that backends, tools and the A2A side add.

>>> turn.tracer.current().compacted("auto", before=180_000, after=22_000)
>>> call.rate_limited(retry_after=2.0, message="429 Too Many Requests")

In a hook that runs in a foreign context, keep the span and call it on that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from teamwright.tracing import vocabulary as v
from teamwright.tracing.attributes import task_state


class Happenings:
    """The events of a span. Everything may be left out that isn't known."""

    __slots__ = ()

    def event(self, name: str, attributes: Mapping[str, Any] | None = None, *, at_ns: int | None = None) -> Self:
        """Add an event; `at_ns` is Unix time, now if not given."""
        raise NotImplementedError

    def retry(self, attempt: int, reason: str | None = None, *, after: float | None = None) -> Self:
        """It is tried again inside this span: `attempt` counts from 1, so the first retry is 2. `after` in seconds."""
        return self.event(v.EVENT_RETRY, {v.ATTEMPT: attempt, v.REASON: reason, v.RETRY_AFTER: after})

    def rate_limited(self, *, retry_after: float | None = None, message: str | None = None) -> Self:
        """The provider asked to slow down, for so many seconds."""
        return self.event(v.EVENT_RATE_LIMIT, {v.RETRY_AFTER: retry_after, v.REASON: message})

    def compacted(self, trigger: str | None = None, *, before: int | None = None, after: int | None = None) -> Self:
        """The backend shortened its conversation: from so many tokens to so many; `trigger` is auto or manual."""
        return self.event(v.EVENT_COMPACTION, {v.REASON: trigger, v.TOKENS_BEFORE: before, v.TOKENS_AFTER: after})

    def resumed(self, session: str | None = None) -> Self:
        """The backend took up a conversation again in a new process; `session` is its own id of it."""
        return self.event(v.EVENT_RESUMED, {v.REASON: session})

    def taken_up(self, *, at_ns: int | None = None) -> Self:
        """The program of a backend has the message."""
        return self.event(v.EVENT_TAKEN_UP, at_ns=at_ns)

    def through(self, *, at_ns: int | None = None) -> Self:
        """The program of a backend has nothing more to do for the message."""
        return self.event(v.EVENT_THROUGH, at_ns=at_ns)

    def denied(self, reason: str, *, rule: str | None = None) -> Self:
        """It was not allowed, so it was not done. The span is not failed by this: `fail` says that."""
        return self.event(v.EVENT_DENIED, {v.REASON: reason, v.RULE: rule})

    def limit_reached(self, limit: str, message: str | None = None) -> Self:
        """The query may not go on: `limit` is the key in the job file."""
        return self.event(v.EVENT_LIMIT, {v.LIMIT: limit, v.REASON: message})

    def status_update(self, state: str, message: str | None = None) -> Self:
        """The A2A task is in that state now."""
        return self.event(v.EVENT_STATUS, {v.TASK_STATE: task_state(state), v.REASON: message})

    def artifact_update(self, artifact: str, *, pieces: int = 1) -> Self:
        """The A2A task has given out so many pieces of an artifact by now."""
        return self.event(v.EVENT_ARTIFACT, {v.ARTIFACT: artifact, v.PIECES: pieces})

    def subscribed_again(self) -> Self:
        """A client that had lost its connection reads on."""
        return self.event(v.EVENT_SUBSCRIBED)

    def cancelled(self, reason: str | None = None) -> Self:
        """Somebody cancelled it. The span is not failed by this."""
        return self.event(v.EVENT_CANCEL, {v.REASON: reason})
