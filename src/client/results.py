"""What a query came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The answer of one query. `status` is ok or error; `state` the task's own (completed, input_required …).

    `agents` is how many agents took part, where that is known.
    """

    job: str
    agent: str
    session: str | None
    run_id: str
    trace_id: str
    status: str
    answer: str
    duration_ms: float
    usage: Mapping[str, Any] = field(default_factory=dict)
    state: str = ""
    task_id: str | None = None
    agents: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `query --json`."""
        return asdict(self)


def usage_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the usage metadata that `query` prints."""
    return {
        "input_tokens": int(found.get("input_tokens", 0)),
        "output_tokens": int(found.get("output_tokens", 0)),
        "cost_usd": found.get("cost_usd"),
        "tool_calls": int(found.get("tool_calls", 0)),
    }
