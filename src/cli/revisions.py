"""What stands where the command line says a revision: digits, JOB, JOB@prev, JOB@DIGITS, or a job file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from teamwright.cli.app import Call
from teamwright.errors import UserError

if TYPE_CHECKING:
    from teamwright.engine.store.records import RevisionRow
    from teamwright.jobs.plan import Plan

_FILES = (".yaml", ".yml", ".json")
#: The newest so many queries of a revision are summed up.
_QUERIES = 200


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two; `used_ns` is when it was last heard of, None for a file as it is now."""

    plan: Plan
    used_ns: int | None

    @property
    def shown(self) -> str:
        at = datetime.fromtimestamp(self.used_ns / 1e9) if self.used_ns is not None else None
        return f"{self.plan.job} {self.plan.revision} " + (
            f"(last in use {at:%Y-%m-%d %H:%M:%S})" if at else "(the file as it is now)"
        )

    def to_dict(self) -> dict[str, Any]:
        return {"job": self.plan.job, "revision": self.plan.revision, "used_ns": self.used_ns}


def sides(call: Call, first: str, second: str | None) -> tuple[Side, Side]:
    """The two that are meant. Raises UserError, UnknownJob, or JobFileError for a file that is wrong."""
    from teamwright.engine.store.state import StateReader

    with StateReader(call.home) as state:
        known = state.revisions()
    if second is not None:
        return _side(call, first, known), _side(call, second, known)
    side = _side(call, first, known)
    if side.used_ns is None:  # a file: against what was started last
        return _side(call, side.plan.job, known), side
    mine = [row for row in known if row.job == side.plan.job]
    later = [row for row in mine if row.revision == side.plan.revision]
    rest = mine[mine.index(later[0]) + 1 :]
    if not rest:
        raise UserError(f"job {side.plan.job} has had one revision only", hint=f"deploy diff {side.plan.job} FILE")
    return _of(rest[0]), side


def queries_of(call: Call, *both: Side) -> list[dict[str, Any]]:
    """How the newest queries of each revision fared: count, errors, median ms, tokens and dollars per query."""
    from teamwright.tracing.reading.filters import Filter
    from teamwright.tracing.reading.reader import SpanReader
    from teamwright.tracing.reading.view import cost

    with SpanReader(call.home.spans_db, call.home.spool_dir) as reader:
        found = []
        for side in both:
            which = Filter(job=side.plan.job, revision=side.plan.revision)
            rows = [row for row in reader.list_traces(which, limit=_QUERIES) if row["root_state"]]
            count = max(1, len(rows))
            costs = [cost(row) for row in rows]
            found.append(
                {
                    "queries": len(rows),
                    "errors": sum(row["root_status"] == 2 for row in rows),
                    "median_ms": median([(row["end"] - row["start"]) / 1e6 for row in rows] or [0.0]),
                    "tokens_each": sum(row["input_tokens"] + row["output_tokens"] for row in rows) / count,
                    "dollars_each": None if None in costs else sum(one or 0.0 for one in costs) / count,
                }
            )
    return found


def _side(call: Call, text: str, known: Sequence[RevisionRow]) -> Side:
    if text.endswith(_FILES) or text.startswith("example:"):
        from teamwright.cli.job_file import load

        return Side(load(call, Path(text)).plan, None)
    job, at, digits = text.partition("@")
    mine = [row for row in known if row.job == job]
    if mine and not at:
        return _of(mine[0])
    if at and digits == "prev":
        if len(mine) < 2:
            raise UserError(f"job {job} has had {'one revision only' if mine else 'no revision yet'}")
        return _of(mine[1])
    wanted = digits if at else text
    found = [row for row in (mine if at else known) if wanted and row.revision.startswith(wanted.lower())]
    if len({row.revision for row in found}) == 1:
        return _of(found[0])
    if found:
        some = ", ".join(row.revision[: len(wanted) + 4] for row in found[:3])
        raise UserError(f"{text} is the beginning of more than one revision: {some} …", hint="give more digits")
    newest = ", ".join(f"{row.job}@{row.revision[:8]}" for row in known[:3])
    raise UserError(
        f"no revision {text}", hint=f"newest: {newest}" if newest else "nothing has been started: deploy start FILE"
    )


def _of(row: RevisionRow) -> Side:
    return Side(row.plan, row.last_ns)
