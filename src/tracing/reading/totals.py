"""What jobs and agents took in all, for figures that are looked at again and again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from teamwright.database import connect

NOTHING: dict[str, Any] = {"queries": 0, "errors": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0}
#: Of an agent that called no model.
IDLE: dict[str, Any] = {"calls": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0}


def totals(path: Path, since_ns: int) -> dict[str, dict[str, Any]]:
    """By job, of the queries begun since that Unix time: {queries, errors, input_tokens, output_tokens, cost_usd}.

    Dollars are those that are known. One query over an index; empty where there are no traces yet.
    """
    query = """
        select job, count(*) as queries, sum(root_status = 2) as errors, sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens, sum(coalesce(root_cost, cost)) as cost
        from trace where start >= ? and kind = 'query' group by job"""
    return {
        row["job"]: {
            "queries": row["queries"],
            "errors": row["errors"] or 0,
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "cost_usd": round(row["cost"], 9),
        }
        for row in _rows(path, query, since_ns)
    }


def agent_totals(path: Path, since_ns: int) -> dict[tuple[str, str], dict[str, Any]]:
    """By (job, agent), of its own calls of models begun since that Unix time: {calls, input_tokens, output_tokens,
    cost_usd}. `cost_usd` is None where the price of a call that went well is unknown. One query over an index.
    """
    query = """
        select job, agent, count(*) as calls, sum(coalesce(json_extract(facts, '$.input_tokens'), 0)) as input_tokens,
        sum(coalesce(json_extract(facts, '$.output_tokens'), 0)) as output_tokens,
        sum(coalesce(json_extract(facts, '$.cost_usd'), 0)) as cost,
        sum(state = 2 and status <> 2 and json_extract(facts, '$.cost_usd') is null) as unpriced
        from span where op = 'chat' and start >= ? group by job, agent"""
    return {
        (row["job"], row["agent"]): {
            "calls": row["calls"],
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "cost_usd": None if row["unpriced"] else round(row["cost"], 9),
        }
        for row in _rows(path, query, since_ns)
    }


def _rows(path: Path, query: str, since_ns: int) -> list[sqlite3.Row]:
    if not path.exists():
        return []
    try:
        with closing(connect(path, read_only=True)) as db:
            return db.execute(query, (since_ns,)).fetchall()
    except sqlite3.OperationalError:  # its first schema is not there yet
        return []
