"""Sends one stored trace to an OTLP receiver, now: for one that came later, or to see whether it works."""

from __future__ import annotations

import asyncio

from teamwright.errors import TeamwrightError
from teamwright.tracing.forwarding.endpoints import Endpoint
from teamwright.tracing.forwarding.outlet import open_outlet, refusals
from teamwright.tracing.forwarding.outward import encode
from teamwright.tracing.reading.reader import Trace
from teamwright.tracing.shipping.exporter import BATCH_SPANS, Later, Unwanted

_SECONDS = 15.0


def send(trace: Trace, endpoint: Endpoint) -> int:
    """Send the spans that have ended; how many. Raises TeamwrightError when they are not taken, with the reason."""
    return asyncio.run(_send(trace, endpoint))


async def _send(trace: Trace, endpoint: Endpoint) -> int:
    records = list(trace.records())
    try:
        outlet = open_outlet(endpoint, _SECONDS)
        try:
            for first in range(0, len(records), BATCH_SPANS):
                body = encode(records[first : first + BATCH_SPANS], content=endpoint.content)
                refused, why = refusals(await outlet.send("traces", body))
                if refused:
                    raise TeamwrightError(f"{endpoint.url} refused {refused} spans: {why}")
        finally:
            await outlet.aclose()
    except (Later, Unwanted) as error:
        raise TeamwrightError(f"{endpoint.url} did not take the trace: {error}") from error
    return len(records)
