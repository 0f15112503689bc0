"""Our own spans while they are being recorded: OpenTelemetry's interface over plain Python containers.

The SDK's span checks each attribute's type anew, under a lock, and wraps every collection each time it is read;
for values that are known to be clean that is most of what a span costs. Context, ids and limits are the same, so
spans of other instrumentation hang below these and the other way round.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from opentelemetry import trace as otel
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Status, StatusCode

from teamwright import __version__
from teamwright.tracing import vocabulary as v
from teamwright.tracing.attributes import clean

ATTRIBUTES_LIMIT = 1024
EVENTS_LIMIT = 1024
LINKS_LIMIT = 256

_UNSET = Status(StatusCode.UNSET)
_SCOPE = InstrumentationScope(v.SCOPE, __version__)


class RecordedEvent(NamedTuple):
    """Something that happened inside a span, at that Unix time."""

    name: str
    timestamp: int
    attributes: Mapping[str, Any]


class RecordedLink(NamedTuple):
    """A span elsewhere that this one refers to."""

    context: otel.SpanContext
    attributes: Mapping[str, Any]


class RecordedSpan(otel.Span):
    """A span that takes what it is given until it ends, then hands itself to `ended`, once."""

    __slots__ = (
        "attributes",
        "context",
        "dropped_attributes",
        "dropped_events",
        "end_time",
        "ended",
        "events",
        "kind",
        "links",
        "name",
        "parent",
        "start_time",
        "status",
    )

    instrumentation_scope = _SCOPE

    def __init__(
        self,
        name: str,
        context: otel.SpanContext,
        parent: otel.SpanContext | None,
        kind: otel.SpanKind,
        attributes: dict[str, Any],
        start_time: int,
        ended: Callable[[RecordedSpan], None],
    ) -> None:
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.attributes = attributes
        self.start_time = start_time
        self.end_time: int | None = None
        self.ended = ended
        self.events: list[RecordedEvent] = []
        self.links: list[RecordedLink] = []
        self.status = _UNSET
        self.dropped_attributes = 0
        self.dropped_events = 0

    def get_span_context(self) -> otel.SpanContext:
        return self.context

    def is_recording(self) -> bool:
        return self.end_time is None

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if self.end_time is None:
            held = self.attributes
            held.update(clean(attributes))
            if len(held) > ATTRIBUTES_LIMIT:
                for key in list(held)[ATTRIBUTES_LIMIT:]:
                    del held[key]
                    self.dropped_attributes += 1

    def set_attribute(self, key: str, value: Any) -> None:
        self.set_attributes({key: value})

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        if self.end_time is None:
            if len(self.events) < EVENTS_LIMIT:
                self.events.append(RecordedEvent(name, timestamp or time.time_ns(), clean(attributes or {})))
            else:
                self.dropped_events += 1

    def add_link(self, context: otel.SpanContext, attributes: Any = None) -> None:
        if self.end_time is None and len(self.links) < LINKS_LIMIT:
            self.links.append(RecordedLink(context, clean(attributes or {})))

    def update_name(self, name: str) -> None:
        if self.end_time is None:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if isinstance(status, StatusCode):
            status = Status(status, description)
        # As OpenTelemetry has it: OK is the last word, UNSET says nothing.
        if self.end_time is None and self.status.status_code is not StatusCode.OK and not status.is_unset:
            self.status = status

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        kind = type(exception)
        found = {
            v.EXCEPTION_TYPE: kind.__qualname__
            if kind.__module__ == "builtins"
            else f"{kind.__module__}.{kind.__qualname__}",
            v.EXCEPTION_MESSAGE: str(exception),
            v.EXCEPTION_STACKTRACE: "".join(traceback.format_exception(exception))[-v.STACK_LIMIT :],
        }
        self.add_event(v.EVENT_EXCEPTION, {**found, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        if self.end_time is None:
            self.end_time = end_time or time.time_ns()
            self.ended(self)
