"""The run's id on HTTP calls to model servers and tools, so that their logs can be matched with our traces.

>>> httpx.AsyncClient(event_hooks={"request": [stamp]})
>>> httpx.Client(event_hooks={"request": [stamp_now]})
>>> await session.post(url, headers={**headers, **outgoing_headers()})

Only the id goes out: trace context and baggage are for peers (propagation.py). A client that is used in tasks which
don't follow the caller's context (an SDK's own) needs `outgoing_headers(turn.run)` of whoever asks; MCP over HTTP
sends from such tasks too, so there the id goes into the message (`mcp_meta`), and `stamp_mcp` reads it from there.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Final, Protocol

from teamwright.tracing.runs import RunContext, current_run

RUN_HEADER: Final = "X-Run-Id"
#: Where an MCP message carries it, in `params._meta`.
RUN_META: Final = "teamwright.dev/run-id"


class Request(Protocol):
    """What a hook gets: httpx's request, or anything with headers like it."""

    @property
    def headers(self) -> MutableMapping[str, str]: ...


class McpRequest(Request, Protocol):
    """A request with its whole body."""

    @property
    def content(self) -> bytes: ...


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


def mcp_meta(run: RunContext | None = None) -> dict[str, str]:
    """What goes into the `_meta` of an MCP call made for `run`, else for the current run."""
    run = run or current_run()
    return {} if run is None else {RUN_META: str(run.run_id)}


async def stamp_mcp(request: McpRequest) -> None:
    """A request hook for the client of MCP's streamable HTTP: the header from the message's own `_meta`."""
    try:
        run_id = json.loads(request.content)["params"]["_meta"][RUN_META]
    except (ValueError, LookupError, TypeError):
        return
    if isinstance(run_id, str) and RUN_HEADER not in request.headers:
        request.headers[RUN_HEADER] = run_id
