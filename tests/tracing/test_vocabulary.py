from __future__ import annotations

import re
from pathlib import Path

from scripts import trace_docs
from teamwright.tracing import glossary
from teamwright.tracing import vocabulary as v
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.reading.tables import VIEWS
from teamwright.tracing.testing import Spans, attributes
from teamwright.tracing.tracer import Tracer

#: Names that are no attributes, events or operations of their own.
_VALUES = {v.SCOPE, v.PROCESS_LOST, v.DROPPED_NOTE, v.LABEL_PREFIX}


def test_the_page_is_the_vocabulary() -> None:
    have = trace_docs.PAGE.read_text()
    assert have == trace_docs.page(have), "run `uv run scripts/trace_docs.py`"


def test_every_name_is_explained_and_none_is_invented() -> None:
    names = {value for name, value in vars(v).items() if name.isupper() and isinstance(value, str)} - _VALUES
    explained = {*glossary.SPANS, *glossary.ATTRIBUTES, *glossary.EVENTS} - {v.LABEL_PREFIX + "*"}
    assert names == explained
    assert tuple(glossary.SPANS) == v.OPERATIONS and tuple(glossary.EVENTS) == v.EVENTS


def test_phoenix_sees_the_kinds(tracer: Tracer, spans: Spans) -> None:
    with tracer.query("team", text="x", session="s1"), tracer.agent(message="x"):
        with tracer.model_call(model="m") as call:
            call.usage(input_tokens=1, output_tokens=2)
        with tracer.tool_call(name="t"), tracer.queued():
            pass
        with tracer.peer_call(target="Writer"):
            pass
    for span in spans.all():
        found = attributes(span)
        assert found[v.OPENINFERENCE_KIND] == glossary.SPANS[found[v.OPERATION]][2]
        assert set(found) <= set(glossary.ATTRIBUTES)
    assert attributes(spans.named("invoke_workflow team"))[v.SESSION_ID] == "s1"


def test_the_page_has_the_columns_of_the_views(tmp_path: Path) -> None:
    page = trace_docs.PAGE.read_text()
    shared = {"trace_id", "job", "session", "start_ns", "duration_ms", "status"}
    with SpanReader(tmp_path / "none.db") as reader:
        for view in VIEWS:
            match = re.search(rf"^\| `{view}` \| [^|]* \| ([^|]*) \|$", page, re.M)
            assert match and shared | set(match[1].strip().split(", ")) == set(reader.columns(view))
