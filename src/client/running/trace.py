"""A trace as a value: what `deploy trace show --json` prints, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, Literal

from teamwright.home import Home


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Times are Unix nanoseconds, `end_ns` None while it runs; `status` is ok, error, running or lost.

    `attributes` have the names of docs/tracing.md; `events` and `links` are as `deploy trace show --json` has them.
    """

    span_id: str
    parent_id: str | None
    name: str
    kind: str
    agent: str | None
    start_ns: int
    end_ns: int | None
    status: Literal["ok", "error", "running", "lost"]
    message: str | None
    attributes: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...] = ()
    links: tuple[Mapping[str, Any], ...] = ()

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds; None while it runs."""
        return None if self.end_ns is None else (self.end_ns - self.start_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that happened for one query, the root first. `str(trace)` is the tree of `deploy trace show`.

    >>> [span.agent for span in trace.named("execute_tool")]

    `complete` is false while it runs, and when spans of it are missing; `shown` is all that `trace show --json` prints.
    """

    trace_id: str
    job: str
    status: str
    complete: bool
    spans: tuple[Span, ...]
    shown: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, home: Home, trace_id: str | None = None, *, job: str | None = None) -> Trace:
        """The trace of that id, or beginning of an id; the newest without. Raises UnknownJob."""
        from teamwright.tracing.reading.reader import SpanReader
        from teamwright.tracing.reading.view import trace_show

        with SpanReader(home.spans_db, home.spool_dir) as reader:
            return cls.of(trace_show(reader.show(trace_id, job=job)))

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> Trace:
        """From the JSON of `trace show`."""
        spans = tuple(
            Span(**{**span, "events": tuple(span["events"]), "links": tuple(span["links"])}) for span in shown["spans"]
        )
        return cls(shown["trace_id"], shown["job"], shown["status"], shown["complete"], spans, shown)

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents that took part, in the order they came in."""
        return tuple(dict.fromkeys(span.agent for span in self.spans if span.agent))

    @property
    def errors(self) -> tuple[Span, ...]:
        """The spans that failed."""
        return tuple(span for span in self.spans if span.status in ("error", "lost"))

    def named(self, operation: str) -> tuple[Span, ...]:
        """The spans whose name begins with that word: chat, execute_tool, invoke_agent …"""
        return tuple(span for span in self.spans if span.name.split(" ", 1)[0] == operation)

    def render(self, *, full: bool = False, width: int = 120) -> str:
        """The tree as plain text; `full` leaves nothing out of what was said."""
        from rich.console import Console

        from teamwright.tracing.showing.tree import render_trace

        page = Console(file=StringIO(), width=width, color_system=None, highlight=False)
        with page.capture() as text:
            page.print(render_trace(dict(self.shown), full=full, width=width))
        return "\n".join(line.rstrip() for line in text.get().splitlines())

    def __str__(self) -> str:
        return self.render()
