"""The views of spans.db as files: CSV, and Parquet with the extra `parquet`.

Rows are read and written in parts, so that memory doesn't grow with the store.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

from teamwright.errors import MissingExtra, UserError
from teamwright.tracing.reading.reader import SpanReader

VIEWS: Final = ("queries", "model_calls", "tool_calls", "a2a_calls", "runs")
_PART = 10_000
_WHOLE = frozenset(
    [
        "start_ns", "spans", "errors", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
        "reasoning_tokens", "attempt", "depth",
    ]
)  # fmt: skip
_REAL = frozenset(["duration_ms", "cost_usd", "first_token_s"])
_TRUTH = frozenset(["estimated"])


def columns(reader: SpanReader, view: str) -> list[str]:
    """The names of a view's columns. Raises UserError when there is no such view."""
    if view not in VIEWS:
        raise UserError(f"there is no view {view!r}", hint=", ".join(VIEWS))
    return reader.columns(view)


def rows(
    reader: SpanReader, view: str, *, job: str | None = None, since_ns: int | None = None
) -> Iterator[tuple[Any, ...]]:
    """The rows of a view, the oldest first; of one job, or begun after a Unix time, when given."""
    clauses = ["1"] + ["job = ?"] * (job is not None) + ["start_ns >= ?"] * (since_ns is not None)
    values = [value for value in (job, since_ns) if value is not None]
    names = ",".join(columns(reader, view))
    yield from reader.each(f"select {names} from {view} where {' and '.join(clauses)} order by start_ns", values)


def write_csv(out: TextIO, names: Sequence[str], found: Iterator[tuple[Any, ...]]) -> int:
    """CSV with a head line; how many rows. Nothing is an empty field."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    count = 0
    for row in found:
        writer.writerow(row)
        count += 1
    return count


def write_parquet(path: Path, names: Sequence[str], found: Iterator[tuple[Any, ...]]) -> int:
    """A Parquet file with the columns' types; how many rows. Raises MissingExtra without pyarrow."""
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtra(
            "Parquet needs a package that is not installed", hint="pip install 'teamwright[parquet]'"
        ) from None
    schema = arrow.schema([(name, _type(arrow, name)) for name in names])
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        while part := list(islice(found, _PART)):
            held = [[_value(name, row[at]) for row in part] for at, name in enumerate(names)]
            writer.write_table(arrow.table(held, schema=schema))
            count += len(part)
    return count


def _type(arrow: Any, name: str) -> Any:
    if name in _WHOLE:
        return arrow.int64()
    if name in _REAL:
        return arrow.float64()
    return arrow.bool_() if name in _TRUTH else arrow.string()


def _value(name: str, value: Any) -> Any:
    """As the column has it; what somebody else's spans hold in its stead is left out, not guessed."""
    if value is None:
        return None
    if name in _TRUTH:
        return bool(value)
    if name in _WHOLE or name in _REAL:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return (int if name in _WHOLE else float)(value) if number else None
    return value if isinstance(value, str) else str(value)
