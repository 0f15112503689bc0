"""Spans as they leave this home: without what people and models said, if so wished, and in words that others know.

Phoenix and MLflow read the GenAI conventions, but not all of them, and show what OpenInference calls input and output:
that is added here and nowhere else, so that what is stored stays small.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, TracesData

from teamwright.tracing import vocabulary as v
from teamwright.tracing.content import redact, without_words
from teamwright.tracing.messages import plain_text, to_json

#: Ours: the word for it in OpenInference that receivers don't find by themselves.
_COPIES = {
    v.CACHE_WRITE_TOKENS: v.OI_CACHE_WRITE_TOKENS,
    v.REASONING_TOKENS: v.OI_REASONING_TOKENS,
    v.COST_USD: v.OI_COST,
}
_TEXT, _JSON = "text/plain", "application/json"


def encode(spans: Iterable[tuple[bytes, bytes]], *, content: bool) -> bytes:
    """An OTLP request of these spans (each as it is stored, with its origin), those of one origin together."""
    groups: dict[bytes, ResourceSpans] = {}
    for data, origin in spans:
        group = groups.get(origin)
        if group is None:
            group = groups[origin] = ResourceSpans.FromString(origin)
        span = Span.FromString(data)
        if not content:
            without_content(span)
        described(span)
        group.scope_spans[0].spans.append(span)
    return TracesData(resource_spans=groups.values()).SerializeToString()


def without_content(span: Span) -> None:
    """Take out what people and models said, and the words of errors; mask secrets in what is left."""
    holders: list[Any] = [span, *span.events, *span.links]
    for holder in holders:
        for at in reversed(range(len(holder.attributes))):
            item = holder.attributes[at]
            # A stack trace tells of folders on this machine besides.
            if item.key == v.EXCEPTION_STACKTRACE or without_words(item.key, item.value.string_value) is None:
                del holder.attributes[at]
            elif item.key not in v.NEVER_SECRET and item.value.string_value:
                item.value.string_value = redact(item.value.string_value)
    span.status.message = ""


def described(span: Span) -> None:
    """Add OpenInference's words, from what the span still holds; what it says itself stays as it is."""
    held: dict[str, AnyValue] = {item.key: item.value for item in span.attributes}
    if v.OPERATION not in held:
        return  # somebody else's span
    operation = held[v.OPERATION].string_value
    if operation == v.OP_MODEL:
        for ours, theirs in _COPIES.items():
            if ours in held and theirs not in held:
                span.attributes.append(KeyValue(key=theirs, value=held[ours]))
    if operation == v.OP_TOOL:
        said = ((v.TOOL_ARGUMENTS, v.OI_INPUT, v.OI_INPUT_TYPE), (v.TOOL_RESULT, v.OI_OUTPUT, v.OI_OUTPUT_TYPE))
    else:
        said = ((v.INPUT_MESSAGES, v.OI_INPUT, v.OI_INPUT_TYPE), (v.OUTPUT_MESSAGES, v.OI_OUTPUT, v.OI_OUTPUT_TYPE))
    for source, name, kind in said:
        if source in held and name not in held:
            text = held[source].string_value
            shown = text if operation == v.OP_TOOL else plain_text(text)
            span.attributes.append(KeyValue(key=name, value=AnyValue(string_value=shown)))
            mime = _JSON if operation == v.OP_TOOL and text[:1] in ("{", "[") else _TEXT
            span.attributes.append(KeyValue(key=kind, value=AnyValue(string_value=mime)))
    if operation == v.OP_MODEL and v.INPUT_MESSAGES in held:
        one_result_each(held[v.INPUT_MESSAGES])


def one_result_each(messages: AnyValue) -> None:
    """A message with the results of several tools becomes one message for each: Phoenix shows one per message."""
    if messages.string_value.count('"tool_call_response"') < 2:
        return
    try:
        parted = [
            single
            for message in json.loads(messages.string_value)
            for single in (
                [{**message, "parts": [part]} for part in message["parts"]] if message["role"] == "tool" else [message]
            )
        ]
    except (ValueError, LookupError, TypeError):
        return
    messages.string_value = to_json(parted)
