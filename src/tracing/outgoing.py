"""The run's id on HTTP calls to model servers and tools, so that their logs can be matched with our traces.

>>> httpx.AsyncClient(event_hooks={"request": [stamp]})
>>> httpx.Client(event_hooks={"request": [stamp_now]})
>>> await session.post(url, headers={**headers, **outgoing_headers()})

Only the id goes out: trace context and baggage are for peers (propagation.py). A client that is used in tasks which
don't follow the caller's context (an SDK's own, MCP sessions) needs `outgoing_headers(turn.run)` of whoever asks.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final, Protocol

from teamwright.tracing.runs import RunContext, current_run

RUN_HEADER: Final = "X-Run-Id"


class Request(Protocol):
    """What a hook gets: httpx's request, or anything with headers like it."""

    @property
    def headers(self) -> MutableMapping[str, str]: ...


def outgoing_headers(run: RunContext | None = None) -> dict[str, str]:
    """`{"X-Run-Id": …}` of `run`, else of the current run; nothing outside a run."""
    run = run or current_run()
    return {} if run is None else {RUN_HEADER: str(run.run_id)}


def stamp_now(request: Request) -> None:
    """A request hook for `httpx.Client`. A header that is there already stays."""
    for name, value in outgoing_headers().items():
        if name not in request.headers:
            request.headers[name] = value


async def stamp(request: Request) -> None:
    """The same for `httpx.AsyncClient`."""
    stamp_now(request)
