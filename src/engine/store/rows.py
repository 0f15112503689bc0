"""Between the tables of engine.db and the records: the one place that knows both."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from teamwright.engine.store.records import AgentRecord, JobRecord, RevisionRow, RunRow, TaskRow, TokenRow
from teamwright.host.api import AgentState
from teamwright.jobs.plan import Plan, revive
from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.reading.filters import Filter
from teamwright.tracing.storing.retention import KEEP

#: Revisions of a job that are kept.
REVISIONS = 100


def compact(value: Any) -> str:
    """JSON without blanks."""
    return json.dumps(value, separators=(",", ":"))


def read_jobs(db: sqlite3.Connection, name: str | None = None) -> dict[str, JobRecord]:
    """Every job with its agents, oldest first; or the one of that name."""
    where, values = ("where name = ?", (name,)) if name is not None else ("", ())
    jobs: dict[str, JobRecord] = {}
    for row in db.execute(f"select * from jobs {where} order by created_ns, name", values):
        jobs[row["name"]] = JobRecord(
            plan=Plan.from_dict(json.loads(row["plan"])),
            phase=row["phase"],
            created_ns=row["created_ns"],
            ended_ns=row["ended_ns"],
            error=row["error"],
            trace_id=row["trace_id"],
            span_id=row["span_id"],
        )
    for row in db.execute("select * from agents"):
        if (job := jobs.get(row["job"])) is not None:
            state = revive(AgentState, json.loads(row["state"]))
            agent, replica = job.plan.process(row["agent"])
            record = AgentRecord(row["job"], agent, row["port"], bool(row["wanted"]), state, replica)
            job.agents[record.name] = record
    return jobs


def write_job(db: sqlite3.Connection, job: JobRecord, plan: str, agents: Iterable[AgentRecord]) -> None:
    """Put a job and its agents; agents it no longer has go."""
    db.execute(
        "insert or replace into jobs(name, plan, phase, file, revision, entry_point, created_ns, ended_ns, error,"
        " trace_id, span_id) values (?,?,?,?,?,?,?,?,?,?,?)",
        (
            job.name, plan, job.phase, job.plan.file, job.plan.revision, job.plan.entry_point, job.created_ns,
            job.ended_ns, job.error, job.trace_id, job.span_id,
        ),
    )  # fmt: skip
    if job.plan.revision:
        write_revision(db, job, plan)
    db.execute("delete from agents where job = ?", (job.name,))
    for agent in agents:
        write_agent(db, agent)


def write_revision(db: sqlite3.Connection, job: JobRecord, plan: str) -> None:
    """Keep what a revision was, to be compared with later ones; the newest of each job."""
    db.execute(
        "insert into revisions values (?,?,?,?,?) on conflict do update"
        " set last_ns = max(last_ns, excluded.last_ns), plan = excluded.plan",
        (job.name, job.plan.revision, plan, now := time.time_ns(), now),
    )
    db.execute(
        "delete from revisions where job = ?1 and revision not in"
        " (select revision from revisions where job = ?1 order by last_ns desc limit ?2)",
        (job.name, REVISIONS),
    )


def read_revisions(db: sqlite3.Connection) -> list[RevisionRow]:
    """All that are kept, the newest first; what another version has written in its own way is left out."""
    found = []
    for row in db.execute("select * from revisions order by last_ns desc, first_ns desc"):
        with suppress(KeyError, TypeError, ValueError):
            plan = Plan.from_dict(json.loads(row["plan"]))
            found.append(RevisionRow(row["job"], row["revision"], plan, row["first_ns"], row["last_ns"]))
    return found


def write_agent(db: sqlite3.Connection, agent: AgentRecord) -> None:
    db.execute(
        "insert or replace into agents(job, agent, port, wanted, state) values (?,?,?,?,?)",
        (agent.job, agent.name, agent.port, agent.wanted, compact(asdict(agent.state))),
    )


def read_tasks(db: sqlite3.Connection) -> list[TaskRow]:
    """The queries that had not ended."""
    return [
        TaskRow(**{**dict(row), "labels": json.loads(row["labels"])})
        for row in db.execute("select * from tasks order by started_ns")
    ]


def write_task(db: sqlite3.Connection, task: TaskRow) -> None:
    values = {**asdict(task), "labels": compact(dict(task.labels))}
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    db.execute(f"insert or replace into tasks({names}) values ({marks})", values)


def end_task(db: sqlite3.Connection, run: RunRow) -> None:
    """Turn a running query into an ended one."""
    task = run.task
    db.execute("delete from tasks where span_id = ?", (task.span_id,))
    db.execute(
        "insert or replace into runs(run_id, span_id, trace_id, job, agent, task_id, context_id, query, user, labels,"
        " revision, status, state, usage, started_ns, ended_ns) values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            task.run_id, task.span_id, task.trace_id, task.job, task.agent, task.task_id, task.context_id, task.query,
            task.user, compact(dict(task.labels)), task.revision, run.status, run.state, compact(dict(run.usage)),
            task.started_ns, run.ended_ns,
        ),
    )  # fmt: skip


def read_runs(db: sqlite3.Connection, which: Filter, *, limit: int) -> list[dict[str, Any]]:
    """Running and ended queries as JSON-ready values, the newest first."""
    shared = "run_id, trace_id, job, agent, task_id, context_id, query, user, labels, revision, started_ns"
    clause, values = _wanted(which)
    query = f"""
        select * from (
        select {shared}, 'running' as status, 'working' as state, null as ended_ns, '{{}}' as usage from tasks
        union all select {shared}, status, state, ended_ns, usage from runs)
        where {clause} order by started_ns desc limit ?"""
    return [
        {
            "run_id": row["run_id"],
            "trace_id": row["trace_id"],
            "job": row["job"],
            "agent": row["agent"],
            "session": row["context_id"],
            "task_id": row["task_id"],
            "query": row["query"],
            "user": row["user"],
            "labels": json.loads(row["labels"]),
            "revision": row["revision"],
            "status": row["status"],
            "state": row["state"],
            "usage": json.loads(row["usage"]),
            "started_ns": row["started_ns"],
            "ended_ns": row["ended_ns"],
        }
        for row in db.execute(query, (*values, limit))
    ]


def forget_runs(db: sqlite3.Connection, before_ns: int) -> None:
    """Delete the queries that ended before, unless they are labelled to be kept."""
    kept = f"exists(select 1 from json_each(runs.labels) where key = '{KEEP}')"
    db.execute(f"delete from runs where ended_ns < ? and not {kept}", (before_ns,))


def _wanted(which: Filter) -> tuple[str, list[Any]]:
    found: list[tuple[str, Any]] = [
        ("job = ?", which.job),
        ("agent = ?", which.agent),
        ("context_id = ?", which.session),
        ("user = ?", which.user),
        ("status = ?", which.status),
        ("started_ns >= ?", which.since_ns),
        ("started_ns <= ?", which.until_ns),
        ("ended_ns - started_ns >= ?", which.min_ns),
        ("instr(lower(query), ?)", which.text.lower() if which.text is not None else None),
    ]
    clauses = ["1", *(clause for clause, value in found if value is not None)]
    values = [value for _, value in found if value is not None]
    if which.run is not None:
        clauses.append("run_id >= ? and run_id < ?")
        values += [which.run, which.run + "g"]  # after every hex digit
    for label in which.labels.items():
        clauses.append("exists(select 1 from json_each(labels) where key = ? and value = ?)")
        values += label
    return " and ".join(clauses), values


def last_of_sessions(db: sqlite3.Connection, limit: int) -> list[tuple[tuple[str, str, str], ParentContext]]:
    """(job, user, session) and the root span of each of the newest queries, the oldest of them first."""
    query = """
        select job, user, context_id, trace_id, span_id from runs where context_id is not null
        order by started_ns desc limit ?"""
    found = db.execute(query, (limit,)).fetchall()
    return [((row[0], row[1] or "", row[2]), ParentContext(row[3], row[4])) for row in reversed(found)]


def root_of_task(db: sqlite3.Connection, job: str, agent: str, task_id: str) -> ParentContext | None:
    """The root span of the newest query that had to do with a task."""
    query = """
        select trace_id, span_id, started_ns from tasks where task_id = :task and job = :job and agent = :agent
        union all
        select trace_id, span_id, started_ns from runs where task_id = :task and job = :job and agent = :agent
        order by started_ns desc limit 1"""
    row = db.execute(query, {"task": task_id, "job": job, "agent": agent}).fetchone()
    return ParentContext(row["trace_id"], row["span_id"]) if row is not None else None


def write_token(db: sqlite3.Connection, token: TokenRow) -> None:
    db.execute(
        "insert into tokens(jti, subject, audience, role, job, created, expires) values (?,?,?,?,?,?,?)",
        (token.jti, token.subject, token.audience, token.role, token.job, token.created, token.expires),
    )


def revoke_token(db: sqlite3.Connection, token: TokenRow, at: float) -> None:
    """Note when a token was revoked, also one that was never noted; the first time counts."""
    db.execute(
        "insert into tokens values (?,?,?,?,?,?,?,?) on conflict do update set revoked = coalesce(revoked, ?8)",
        (token.jti, token.subject, token.audience, token.role, token.job, token.created, token.expires, at),
    )


def read_tokens(db: sqlite3.Connection) -> list[TokenRow]:
    """Those that were made for people, the newest first."""
    return [TokenRow(**dict(row)) for row in db.execute("select * from tokens order by created desc, jti")]
