"""GET /metrics: Prometheus text. Operators only: the scraper sends the home's operator token as its bearer token."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from teamwright.engine.auth import Gate
from teamwright.engine.telemetry.spans import Spans
from teamwright.errors import TeamwrightError
from teamwright.tracing.metrics import text as metrics_text
from teamwright.tracing.metrics.instruments import Gauge


def routes(spans: Spans, gate: Gate, gauges: Callable[[], Iterable[Gauge]]) -> list[Route]:
    """`gauges` are those of the engine itself; the others come from whoever keeps the spans."""

    async def metrics(request: Request) -> Response:
        gate.operator(request)
        text = await _of_spans(spans) + metrics_text.gauges(gauges())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/metrics", metrics, methods=["GET"])]


async def _of_spans(spans: Spans) -> str:
    try:
        return await spans.keeper.metrics()
    except TeamwrightError as error:  # a collector that is being started again
        return f"# {error.message}\n"
