"""Spans on their way to other people's receivers: flags, headers, content, an engine that dies in between."""

from __future__ import annotations

import gzip
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from teamwright.tracing import glossary
from teamwright.tracing import vocabulary as v
from teamwright.tracing.metrics.instruments import INSTRUMENTS
from teamwright.tracing.testing import attributes

if TYPE_CHECKING:
    from tests.system.conftest import Deploy

HELLO = "examples/jobs/hello.yaml"


class Receiver:
    """An OTLP/HTTP server that decodes with OpenTelemetry's own classes."""

    def __init__(self, *, takes_metrics: bool) -> None:
        self.takes_metrics = takes_metrics
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.asked: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.came = threading.Condition()

    def take(self, path: str, body: bytes, key: str | None) -> int:
        self.asked[path] += 1
        if path == "/v1/metrics" and self.takes_metrics:
            (block,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
            with self.came:
                self.metrics = {metric.name: metric for metric in block.scope_metrics[0].metrics}
                self.came.notify_all()
            return 200
        if path != "/v1/traces":
            return 404
        request = ExportTraceServiceRequest.FromString(body)
        with self.came:
            self.keys.add(key)
            self.spans += [span for block in request.resource_spans for scope in block.scope_spans
                           for span in scope.spans]  # fmt: skip
            self.came.notify_all()
        return 200

    def trace(self, trace_id: str) -> dict[str, Span]:
        """The spans of one trace, when its root is there."""

        def there() -> bool:
            roots = [one for one in self.spans if one.trace_id.hex() == trace_id and not one.parent_span_id]
            return bool(roots)

        self.wait(there)
        return {one.span_id.hex(): one for one in self.spans if one.trace_id.hex() == trace_id}

    def wait(self, condition: Callable[[], bool]) -> None:
        with self.came:
            assert self.came.wait_for(condition, timeout=60), f"{len(self.spans)} spans came"


@contextmanager
def serving(receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            self.send_response(receiver.take(self.path, body, self.headers.get("x-key")))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_flags(deploy: Deploy) -> None:
    for words, what in (
        (("start", HELLO, "--otlp", "nowhere"), "'nowhere' is not an OTLP endpoint"),
        (("start", HELLO, "--otlp-content"), "--otlp-content without a receiver"),
        (("engine", "start", "--otlp", "http://a;b"), "'b' is not header=value"),
        (("engine", "restart", "--otlp", "nowhere"), "'nowhere' is not an OTLP endpoint"),
    ):
        wrong = deploy(*words)
        assert wrong.code == 2 and what in wrong.err and "\n" in wrong.err.strip(), wrong
    first, second = Receiver(takes_metrics=False), Receiver(takes_metrics=True)
    deploy.environment["TEAMWRIGHT_OTLP_METRICS"] = "0.5"
    with serving(first) as one, serving(second) as two:
        deploy("engine", "start").ok()
        # The engine runs already: it is told, and of one that nobody listens to the user is.
        warned = deploy("start", HELLO, "--otlp", f"{one};x-key=a%20b", "--otlp", "http://127.0.0.1:9").ok()
        assert "http://127.0.0.1:9/v1/traces: Connection refused; what is meant for it waits" in warned.err
        asked = deploy("query", "hello", "Say hello to Ada", "--json").ok().json
        sent = first.trace(asked["trace_id"])
        shown = deploy("trace", "show", "--json").ok().json
        first.wait(lambda: len(first.trace(asked["trace_id"])) == len(shown["spans"]))
        sent = first.trace(asked["trace_id"])
        assert set(sent) == {span["span_id"] for span in shown["spans"]} and first.keys == {"a b"}
        for span in sent.values():
            assert set(attributes(span)) <= set(glossary.ATTRIBUTES) and not set(attributes(span)) & v.CONTENT
            assert attributes(span)[v.OPENINFERENCE_KIND] == glossary.SPANS[attributes(span)[v.OPERATION]][2]
        assert b"Ada" not in b"".join(span.SerializeToString() for span in sent.values())

        # An engine that dies remembers whom it was told of; content goes to the one that was to have it.
        deploy("query", "hello", "first", "--otlp", two, "--otlp-content").ok()
        second.wait(lambda: "teamwright.agent.heartbeat.age" in second.metrics)
        second.wait(lambda: "gen_ai.workflow.duration" in second.metrics)
        assert set(second.metrics) <= set(INSTRUMENTS) and first.asked["/v1/metrics"] <= 2  # one per engine
        ages = second.metrics["teamwright.agent.heartbeat.age"].gauge.data_points
        queues = second.metrics["teamwright.agent.queue.length"].gauge.data_points
        assert len(ages) == len(queues) >= 2 and all(0 <= point.as_double < 30 for point in ages)
        token = (deploy.home / "operator.token").read_text().strip()
        url = deploy("engine", "status", "--json").ok().json["url"]
        page = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {token}"}, timeout=60).text
        families = {family.name for family in text_string_to_metric_families(page)}
        assert {
            "teamwright_agent_heartbeat_age_seconds", "teamwright_agent_queue_length", "teamwright_agent_restarts",
            "teamwright_forward_waiting_bytes", "gen_ai_workflow_duration_seconds",
        } <= families  # fmt: skip
        os.kill(deploy("engine", "status", "--json").ok().json["processes"]["engine"], signal.SIGKILL)
        asked = deploy("query", "hello", "Say hello to Ada", "--json").ok().json
        inner = second.trace(asked["trace_id"])
        root = next(span for span in inner.values() if not span.parent_span_id)
        assert attributes(root)[v.OI_INPUT] == "Say hello to Ada" and attributes(root)[v.OI_OUTPUT] == asked["answer"]
        assert v.INPUT_MESSAGES in attributes(root)
        assert b"Ada" not in b"".join(span.SerializeToString() for span in first.trace(asked["trace_id"]).values())
        until = time.monotonic() + 60
        while True:
            found = {view["url"]: view for view in deploy("engine", "status", "--json").ok().json["forwarding"]}
            if found["http://127.0.0.1:9/v1/traces"]["trouble"] and not found[f"{one}/v1/traces"]["waiting_bytes"]:
                break
            assert time.monotonic() < until, found
        assert "onnect" in found["http://127.0.0.1:9/v1/traces"]["trouble"]
        assert found["http://127.0.0.1:9/v1/traces"]["waiting_bytes"] > 0
        assert (found[f"{one}/v1/traces"]["content"], found[f"{two}/v1/traces"]["content"]) == (False, True)
        replaced = deploy("engine", "restart", "--otlp", one, "--otlp-content", "--json").ok().json
        found = {view["url"]: view["content"] for view in replaced["forwarding"]}
        assert found[f"{one}/v1/traces"] and found[f"{two}/v1/traces"] and len(found) == 3
        assert "x-key" not in str(found) and "KiB wait" in deploy("engine", "status").ok().out
        deploy("stop", "--all").ok()
        deploy("engine", "stop").ok()
        # A new engine has been told nothing.
        assert deploy("engine", "start", "--json").ok().json["forwarding"] == []
        deploy("engine", "stop").ok()
