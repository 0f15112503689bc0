"""Looks a trace up where it was sent, through that tool's own API: Jaeger, Tempo, Phoenix, MLflow."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from teamwright.errors import TeamwrightError

#: Seconds until a trace must be there: receivers write in batches.
PATIENCE = 30.0
_PAUSE = 0.5
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What a tool shows of a trace. `kinds` counts its spans by what it takes them for."""

    spans: int
    kinds: Mapping[str, int] = field(default_factory=dict)
    session: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def read_back(tool: str, url: str, trace_id: str, *, spans: int, patience: float = PATIENCE) -> Found:
    """The trace as `tool` at `url` has it, as soon as it has `spans` of it, or all that is there after `patience`.

    Raises TeamwrightError when the API can't be reached, or answers in a way that nobody understands.
    """
    look, until = TOOLS[tool], time.monotonic() + patience
    with httpx.Client(base_url=url.rstrip("/"), timeout=10.0, headers={"accept": "application/json"}) as client:
        while True:
            try:
                found = look(client, trace_id)
            except httpx.HTTPError as error:
                raise TeamwrightError(f"{tool} at {url} can't be read: {error}") from error
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise TeamwrightError(f"{tool} at {url} answers otherwise than expected: {error!r}") from error
            if found.spans >= spans or time.monotonic() > until:
                return found
            time.sleep(_PAUSE)


def _jaeger(client: httpx.Client, trace_id: str) -> Found:
    found = _get(client, f"/api/traces/{trace_id}")
    spans = found["data"][0]["spans"] if found and found.get("data") else []
    return Found(len(spans), Counter(_tag(span, "span.kind") for span in spans))


def _tag(span: Mapping[str, Any], key: str) -> str:
    return next((str(tag["value"]) for tag in span["tags"] if tag["key"] == key), "none")


def _tempo(client: httpx.Client, trace_id: str) -> Found:
    found = _get(client, f"/api/traces/{trace_id}") or {}
    found = found.get("trace", found)
    blocks = found.get("batches") or found.get("resourceSpans") or []
    spans = [span for block in blocks for scope in block["scopeSpans"] for span in scope["spans"]]
    return Found(len(spans), Counter(str(span.get("kind", "none")).removeprefix("SPAN_KIND_") for span in spans))


def _phoenix(client: httpx.Client, trace_id: str) -> Found:
    spans: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        more = f"&cursor={cursor}" if cursor else ""
        page = _get(client, f"/v1/projects/default/spans?trace_id={trace_id}&limit={_PAGE}{more}") or {"data": []}
        spans += page["data"]
        cursor = page.get("next_cursor")
        if not cursor:
            break
    sessions = _get(client, f"/v1/projects/default/sessions?limit={_PAGE}") or {"data": []}
    session = next(
        (one for one in sessions["data"] if trace_id in {trace["trace_id"] for trace in one["traces"]}), None
    )
    models = [span["attributes"] for span in spans if span["span_kind"] == "LLM"]
    return Found(
        len(spans),
        Counter(span["span_kind"] for span in spans),
        session and session["session_id"],
        _sum(model.get("llm.token_count.prompt") for model in models),
        _sum(model.get("llm.token_count.completion") for model in models),
    )


def _mlflow(client: httpx.Client, trace_id: str) -> Found:
    found = _get(client, f"/api/3.0/mlflow/traces/get?trace_id=tr-{trace_id}")
    if not found:
        return Found(0)
    told = found["trace"]["trace_info"].get("trace_metadata", {})
    tokens = json.loads(told.get("mlflow.trace.tokenUsage", "{}"))
    spans = found["trace"].get("spans", [])
    kinds: Counter[str] = Counter()
    for span in spans:
        held = {item["key"]: item["value"].get("string_value", "") for item in span["attributes"]}
        kinds[held.get("mlflow.spanType", "none").strip('"')] += 1
    return Found(
        len(spans), kinds, told.get("mlflow.trace.session"), tokens.get("input_tokens"), tokens.get("output_tokens")
    )


#: What can be asked, and how.
TOOLS: Mapping[str, Callable[[httpx.Client, str], Found]] = {
    "jaeger": _jaeger,
    "tempo": _tempo,
    "phoenix": _phoenix,
    "mlflow": _mlflow,
}


def _get(client: httpx.Client, path: str) -> Any:
    """The JSON, None when there is nothing of that name yet."""
    answer = client.get(path)
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    return answer.json()


def _sum(counts: Any) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
