"""Traces by the thousand: one made by a real tracer, then copied with other ids, times and questions."""

from __future__ import annotations

import os
import struct

from teamwright.tracing.testing import Clock, Spans
from teamwright.tracing.tracer import Tracer

SPANS = 10  # of a trace
WORDS = "The quick brown fox jumps over the lazy dog. " * 5
_BETWEEN = b"\0 the next span \0"
_NUMBER = "number 0000000"
_TIME = struct.Struct("<Q").pack


class Original:
    """A trace of ten spans of about 1 KB: a query, an agent, model calls and tools.

    Without `ended` the root is not among them: it is still to come.
    """

    def __init__(
        self, *, job: str = "team", user: str = "ann", ended: bool = True, failed: bool = False, seconds: float = 1.0
    ) -> None:
        spans = Spans()
        tracer = Tracer("lead", job, "1", spans, now=Clock(step=int(seconds * 1e9 / 40)))
        words = f"{_NUMBER}: {WORDS}"
        with tracer.query(job, text=words, user=user, session="s1", labels={"week": user[-1]}) as root:
            with tracer.agent(message=words):
                for _ in range(SPANS // 2 - 1):
                    with tracer.model_call(model="gpt-4o", provider="openai", messages=words) as call:
                        call.first_token().answer(WORDS, finish_reason="stop").usage(input_tokens=100, output_tokens=90)
                    with tracer.tool_call(name="search", call_id="c1", arguments={"words": words}) as tool:
                        tool.result(WORDS)
                if not ended:
                    with tracer.tool_call(name="search", call_id="c2", arguments={"words": words}) as tool:
                        tool.result(WORDS)
            if failed:
                root.fail("it failed")
        self._payloads = _BETWEEN.join(spans.payloads if ended else spans.payloads[:-1])
        self._trace = bytes.fromhex(root.trace_id)
        made = spans.all()
        self._ids = [span.span_id for span in made]
        self._times = sorted({at for span in made for at in (span.start_time_unix_nano, span.end_time_unix_nano)})

    def copy(self, trace: bytes, *, number: int = 0, start_ns: int | None = None) -> list[bytes]:
        """The spans of another trace with that id, each as an agent writes it; `number` stands in the question."""
        data = self._payloads.replace(self._trace, trace)
        for own in self._ids:
            data = data.replace(own, os.urandom(8))
        if number:
            data = data.replace(_NUMBER.encode(), f"number {number:07d}".encode())
        if start_ns is not None:
            for at in self._times:
                data = data.replace(_TIME(at), _TIME(start_ns + at - self._times[0]))
        return data.split(_BETWEEN)
