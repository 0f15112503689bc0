"""GET /metrics: Prometheus text. Operators only: the scraper sends the home's operator token as its bearer token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.engine.spans import Spans
from teamwright.errors import TeamwrightError
from teamwright.tracing.metrics import Gauge, gauges_text


def routes(spans: Spans, gate: Gate, views: Callable[[], list[Mapping[str, Any]]]) -> list[Route]:
    """`views` are the jobs as `ps JOB` shows them."""

    async def metrics(request: Request) -> Response:
        gate.operator(request)
        text = await _of_spans(spans) + gauges_text(_jobs(views()))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/metrics", metrics, methods=["GET"])]


async def _of_spans(spans: Spans) -> str:
    try:
        return await spans.keeper.metrics()
    except TeamwrightError as error:  # a collector that is being started again
        return f"# {error.message}\n"


def _jobs(views: list[Mapping[str, Any]]) -> Iterator[Gauge]:
    for view in views:
        for agent in view["agents"]:
            who = {"job": view["job"], "agent": agent["id"]}
            yield "teamwright_agent_up", "1 while it is healthy or busy.", who, agent["status"] in ("healthy", "busy")
    for view in views:
        for agent in view["agents"]:
            who = {"job": view["job"], "agent": agent["id"]}
            yield "teamwright_agent_restarts", "Restarts since the job was started.", who, agent["restarts"] or 0
