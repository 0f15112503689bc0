"""What the queries of jobs took together, for figures that are looked at again and again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from teamwright.database import connect

NOTHING: dict[str, Any] = {"queries": 0, "errors": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0}


def totals(path: Path, since_ns: int) -> dict[str, dict[str, Any]]:
    """By job, of the queries begun since that Unix time: {queries, errors, input_tokens, output_tokens, cost_usd}.

    Dollars are those that are known. One query over an index; empty where there are no traces yet.
    """
    if not path.exists():
        return {}
    query = """
        select job, count(*) as queries, sum(root_status = 2) as errors, sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens, sum(coalesce(root_cost, cost)) as cost
        from trace where start >= ? and kind = 'query' group by job"""
    try:
        with closing(connect(path, read_only=True)) as db:
            rows = db.execute(query, (since_ns,)).fetchall()
    except sqlite3.OperationalError:  # its first schema is not there yet
        return {}
    return {
        row["job"]: {
            "queries": row["queries"],
            "errors": row["errors"] or 0,
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "cost_usd": round(row["cost"], 9),
        }
        for row in rows
    }
