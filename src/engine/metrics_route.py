"""GET /metrics: Prometheus text. Operators only: the scraper sends the home's operator token as its bearer token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.engine.spans import Spans

Gauge = tuple[str, str, Mapping[str, str], float]


def routes(spans: Spans, gate: Gate, views: Callable[[], list[Mapping[str, Any]]]) -> list[Route]:
    """`views` are the jobs as `ps JOB` shows them."""

    async def metrics(request: Request) -> Response:
        gate.operator(request)
        text = spans.metrics.text([*_jobs(views()), *_spans(spans)])
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/metrics", metrics, methods=["GET"])]


def _jobs(views: list[Mapping[str, Any]]) -> Iterator[Gauge]:
    for view in views:
        for agent in view["agents"]:
            who = {"job": view["job"], "agent": agent["id"]}
            yield "teamwright_agent_up", "1 while it is healthy or busy.", who, agent["status"] in ("healthy", "busy")
    for view in views:
        for agent in view["agents"]:
            who = {"job": view["job"], "agent": agent["id"]}
            yield "teamwright_agent_restarts", "Restarts since the job was started.", who, agent["restarts"] or 0


def _spans(spans: Spans) -> Iterator[Gauge]:
    yield "teamwright_spans_waiting_bytes", "Taken in and not yet committed.", {}, spans.store.waiting
    for line in spans.forwarding.lines:
        waiting = line.spool.size - line.spool.acked
        yield "teamwright_forward_waiting_bytes", "Not yet sent on.", {"endpoint": line.endpoint.key}, waiting
    for line in spans.forwarding.lines:
        dropped = line.dropped + spans.forwarding.dropped
        yield "teamwright_forward_dropped_spans", "Never sent on.", {"endpoint": line.endpoint.key}, dropped
