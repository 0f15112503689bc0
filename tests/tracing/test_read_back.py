"""`deploy trace send`, and what it understands of other tools' APIs: answers of the form that the real ones gave."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from teamwright.errors import TeamwrightError
from teamwright.home import Home
from teamwright.tracing.forwarding.endpoints import endpoints
from teamwright.tracing.forwarding.read_back import Found, read_back
from teamwright.tracing.forwarding.sending import send
from teamwright.tracing.reading.reader import SpanReader
from teamwright.tracing.storing.store import SpanStore
from teamwright.tracing.testing import Spans
from teamwright.tracing.tracer import Tracer

ID = "0af7651916cd43dd8448eb211c80319c"


@contextmanager
def answering(pages: dict[str, Any]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers GETs with `pages` by path, and keeps what is posted."""
    posted: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self._answer(404 if page is None else 200, json.dumps(page).encode())

        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["content-length"])))
            self._answer(200 if "good" in self.headers else 422, b"" if "good" in self.headers else b"no key")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _model(prompt: int) -> dict[str, Any]:
    return {"span_kind": "LLM", "attributes": {"llm.token_count.prompt": prompt, "llm.token_count.completion": 1}}


def _typed(kind: str) -> dict[str, Any]:
    return {"attributes": [{"key": "mlflow.spanType", "value": {"string_value": f'"{kind}"'}}]}


@pytest.mark.parametrize(
    ("tool", "pages", "found"),
    [
        (
            "jaeger",
            {f"/api/traces/{ID}": {"data": [{"spans": [{"tags": [{"key": "span.kind", "value": "client"}]}] * 2}]}},
            Found(2, {"client": 2}),
        ),
        (
            "tempo",
            {f"/api/traces/{ID}": {"batches": [{"scopeSpans": [{"spans": [{"kind": "SPAN_KIND_SERVER"}]}]}] * 2}},
            Found(2, {"SERVER": 2}),
        ),
        (
            "phoenix",
            {
                f"/v1/projects/default/spans?trace_id={ID}&limit=1000": {"data": [_model(3)], "next_cursor": "x"},
                f"/v1/projects/default/spans?trace_id={ID}&limit=1000&cursor=x": {
                    "data": [_model(4), {"span_kind": "AGENT", "attributes": {"llm.token_count.prompt": 7}}],
                    "next_cursor": None,
                },
                "/v1/projects/default/sessions?limit=1000": {
                    "data": [{"session_id": "s0", "traces": []}, {"session_id": "s1", "traces": [{"trace_id": ID}]}]
                },
            },
            Found(3, {"LLM": 2, "AGENT": 1}, "s1", 7, 2),
        ),
        (
            "mlflow",
            {
                f"/api/3.0/mlflow/traces/get?trace_id=tr-{ID}": {
                    "trace": {
                        "trace_info": {
                            "trace_metadata": {
                                "mlflow.trace.session": "s1",
                                "mlflow.trace.tokenUsage": '{"input_tokens": 7, "output_tokens": 2}',
                            }
                        },
                        "spans": [_typed("AGENT"), _typed("LLM")],
                    }
                }
            },
            Found(2, {"AGENT": 1, "LLM": 1}, "s1", 7, 2),
        ),
    ],
    ids=["jaeger", "tempo", "phoenix", "mlflow"],
)
def test_read_back(tool: str, pages: dict[str, Any], found: Found) -> None:
    with answering(pages) as (url, _):
        assert read_back(tool, url, ID, spans=found.spans) == found
        assert read_back(tool, url, "f" * 32, spans=1, patience=0).spans == 0
    with pytest.raises(TeamwrightError, match="can't be read"):
        read_back(tool, url, ID, spans=1)
    with (
        answering({path: {"data": 3, "trace": 3} for path in pages}) as (url, _),
        pytest.raises(TeamwrightError, match="otherwise than expected"),
    ):
        read_back(tool, url, ID, spans=1)


def test_send(tmp_path: Path) -> None:
    home = Home(tmp_path / "logs").create()
    spans, store = Spans(), SpanStore(home.spans_db)
    tracer = Tracer("lead", "team", "1", spans, strict=True)
    with tracer.query("team", text="What is one?") as root, tracer.tool_call(name="t"):
        pass
    store.ingest(spans.body).result()
    store.close()
    with SpanReader(home.spans_db) as reader:
        trace = reader.show(root.trace_id)
    with answering({}) as (url, posted):
        (good,) = endpoints({"TEAMWRIGHT_OTLP_ENDPOINT": f"{url};good=yes"})
        assert send(trace, good) == 2 and len(posted) == 1
        (bad,) = endpoints({"TEAMWRIGHT_OTLP_ENDPOINT": url})
        with pytest.raises(TeamwrightError, match="did not take the trace: HTTP 422: no key"):
            send(trace, bad)
