"""What a query came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from teamwright.backends.api import File


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The answer of one query. `status` is ok or error; `state` the task's own (completed, input_required …).

    `reason` is the short word for why there is no good answer: a limit's key (`turns`, `duration`), `timeout`, `busy` …
    Not `traced` = nothing was recorded (`tracing: {enabled: false}`): the trace's id leads nowhere.
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
    reason: str | None = None
    files: tuple[File, ...] = ()
    traced: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `query --json`; of files what they are, not what is in them."""
        files = [
            {"name": file.name, "media_type": file.media_type, "bytes": len(file.data)}
            if file.data is not None
            else {"name": file.name, "media_type": file.media_type, "uri": file.uri}
            for file in self.files
        ]
        return {**asdict(replace(self, files=())), "files": files}


def usage_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the usage metadata that `query` prints; what is not known is None.

    `partial` = somebody who took part told nothing of what it used.
    """
    partial = found.get("partial") is True
    nothing = None if partial or "input_tokens" not in found else 0  # an error tells nothing of what it cost
    counts = {name: found.get(name, nothing) for name in ("input_tokens", "output_tokens", "tool_calls")}
    return {
        **{name: None if count is None else int(count) for name, count in counts.items()},
        "cost_usd": found.get("cost_usd"),
        "partial": partial,
    }
