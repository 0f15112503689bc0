"""What the engine must not forget: jobs, agents, running queries, tokens, in <home>/engine.db.

The engine holds it all in memory (`EngineState`) and writes each change through, synchronous FULL.
Without an engine the CLI reads the same file (`StateReader`).
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from teamwright.database import T, Work, Writer, check_version, connect
from teamwright.engine.deployments.vitals import fill, read_usage
from teamwright.engine.liveness import EngineFile, Incarnation
from teamwright.engine.store import rows
from teamwright.engine.store.diary import Diary, read_events
from teamwright.engine.store.records import ACTIVE, AgentRecord, JobRecord, RevisionRow, RunRow, TaskRow, TokenRow
from teamwright.engine.store.schema import STEPS
from teamwright.engine.views import job_view
from teamwright.errors import EngineError
from teamwright.home import Home
from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.reading.filters import Filter

_GUARD, _STAY, _OWNER = "guard", "stay", "owner "
#: Conversations whose newest query is remembered.
_SESSIONS = 10_000


class EngineState:
    """The engine's memory. Only the engine's loop changes it; `problem` hears of writes that failed.

    >>> state = EngineState(home.engine_db)
    >>> await state.save_job(job)
    """

    def __init__(self, path: Path, *, problem: Callable[[BaseException], None] = lambda error: None) -> None:
        self._writer = Writer(path, STEPS, synchronous="FULL")
        self._problem = problem
        self._plans: dict[str, tuple[object, str]] = {}
        db = connect(path, read_only=True)
        try:
            self.jobs: dict[str, JobRecord] = rows.read_jobs(db)
            self.tasks: dict[str, TaskRow] = {task.span_id: task for task in rows.read_tasks(db)}
            self._last = OrderedDict(rows.last_of_sessions(db, _SESSIONS))
            #: Tokens that were revoked before this engine, by `jti`, and when they would have ended.
            self.revoked = {row.jti: row.expires for row in rows.read_tokens(db) if row.revoked is not None}
            self._meta: dict[str, str] = {row["key"]: row["value"] for row in db.execute("select * from meta")}
        finally:
            db.close()

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._writer.close()

    @property
    def guard(self) -> Incarnation | None:
        """The guard that the stored states belong to."""
        text = self._meta.get(_GUARD)
        return Incarnation.from_text(text) if text else None

    def set_guard(self, guard: Incarnation) -> None:
        """From now on the states are those of this guard's life."""
        self._keep(_GUARD, guard.to_text())

    def stay(self, guard: Incarnation) -> bool:
        """Whether the engine was told, in this guard's life, to stay without jobs."""
        return self._meta.get(_STAY) == guard.to_text()

    def set_stay(self, guard: Incarnation) -> None:
        """The engine stays for the rest of this guard's life."""
        self._keep(_STAY, guard.to_text())

    @property
    def owners(self) -> dict[str, Incarnation]:
        """By job, the processes that jobs end with."""
        return {
            key.removeprefix(_OWNER): Incarnation.from_text(text)
            for key, text in self._meta.items()
            if key.startswith(_OWNER) and text
        }

    def set_owner(self, job: str, owner: Incarnation | None) -> None:
        """The job ends with that process, or belongs to none."""
        self._keep(_OWNER + job, owner.to_text() if owner is not None else "")

    def note_of(self, key: str) -> str | None:
        """What was kept under a key."""
        return self._meta.get(key)

    def keep_note(self, key: str, text: str) -> None:
        """Keep a text for the next engine."""
        self._keep(key, text)

    def agent(self, agent_id: str) -> AgentRecord | None:
        """The agent of that `job/agent` name."""
        job, _, agent = agent_id.partition("/")
        record = self.jobs.get(job)
        return record.agents.get(agent) if record else None

    def active(self) -> list[JobRecord]:
        """The jobs that have or should have processes."""
        return [job for job in self.jobs.values() if job.active]

    async def save_job(self, job: JobRecord) -> None:
        """Keep the job with all its agents; on disk when this returns."""
        self.jobs[job.name] = job
        known = self._plans.get(job.name)
        if known is None or known[0] is not job.plan:
            known = self._plans[job.name] = (job.plan, rows.compact(job.plan.to_dict()))
        # Copies: the writer works in its own thread while the loop changes the records.
        row, plan, agents = replace(job), known[1], [replace(agent) for agent in job.agents.values()]
        await self._now(lambda db: rows.write_job(db, row, plan, agents))

    async def note_job(self, job: JobRecord) -> None:
        """The same for what has to be done even when the disk doesn't take it: a job is being stopped."""
        with suppress(EngineError):
            await self.save_job(job)

    def save_agent(self, agent: AgentRecord) -> None:
        """Keep the agent's state; on disk soon, in order."""
        row = replace(agent)
        self._later(lambda db: rows.write_agent(db, row))

    async def open_task(self, task: TaskRow) -> None:
        """A query begins; on disk when this returns, if the disk takes it: it is to be answered all the same."""
        self.tasks[task.span_id] = task
        self._remember(task)
        with suppress(EngineError):
            await self._now(lambda db: rows.write_task(db, task))

    def update_task(self, task: TaskRow) -> None:
        """The agent has told the query's task id."""
        self.tasks[task.span_id] = task
        self._remember(task)
        self._later(lambda db: rows.write_task(db, task))

    def end_task(self, run: RunRow) -> None:
        """The query has ended."""
        self.tasks.pop(run.task.span_id, None)
        self._later(lambda db: rows.end_task(db, run))

    async def runs(self, which: Filter, *, limit: int = 20) -> list[dict[str, Any]]:
        """Running and ended queries, the newest first; after everything that was written before."""
        return await self._written(lambda db: rows.read_runs(db, which, limit=limit))

    def forget_runs(self, before_ns: int) -> None:
        """Forget the queries that ended before that Unix time and are not labelled to be kept."""
        self._later(lambda db: rows.forget_runs(db, before_ns))

    def last_of_session(self, job: str, user: str | None, session: str | None) -> ParentContext | None:
        """The root span of the newest query of a conversation, for the next one to refer to."""
        return self._last.get((job, user or "", session)) if session else None

    def _remember(self, task: TaskRow) -> None:
        if task.context_id:
            key = (task.job, task.user or "", task.context_id)
            self._last[key] = ParentContext(task.trace_id, task.span_id)
            self._last.move_to_end(key)
            while len(self._last) > _SESSIONS:
                self._last.popitem(last=False)

    async def root_of_task(self, job: str, agent: str, task_id: str) -> ParentContext | None:
        """The root span of the newest query that had to do with a task."""
        return await self._written(lambda db: rows.root_of_task(db, job, agent, task_id))

    def diary(self) -> Diary:
        """What keeps events in the same file."""
        return Diary(self._writer)

    async def add_token(self, token: TokenRow) -> None:
        """A token was made for somebody."""
        await self._now(lambda db: rows.write_token(db, token))

    async def tokens(self) -> list[TokenRow]:
        """Every token that was made for somebody, the newest first."""
        return await self._written(rows.read_tokens)

    async def revoke_token(self, token: TokenRow, at: float) -> None:
        """A token is good no more since that Unix time."""
        await self._now(lambda db: rows.revoke_token(db, token, at))

    def _keep(self, key: str, value: str) -> None:
        self._meta[key] = value
        self._later(lambda db: db.execute("insert or replace into meta values (?, ?)", (key, value)))

    async def _written(self, work: Work[T]) -> T:
        """What that work comes to, done after everything that was given to the writer before."""
        from asyncio import wrap_future  # not above: commands read this file too, and have no loop to load

        return await wrap_future(self._writer.submit(work))

    async def _now(self, work: Work[Any]) -> None:
        try:
            await self._written(work)
        except sqlite3.Error as error:
            self._problem(error)
            hint = "free some space" if "full" in str(error) else "see engine.log in the home"
            raise EngineError(f"{self._writer.path} can't be written: {error}", status=507, hint=hint) from error

    def _later(self, work: Work[Any]) -> None:
        self._writer.submit(work).add_done_callback(self._check)

    def _check(self, future: Future[Any]) -> None:
        if (error := future.exception()) is not None:
            self._problem(error)


class StateReader:
    """The jobs of a home as far as its file tells, with or without an engine. Opens read-only.

    >>> with StateReader(home) as reader:
    ...     reader.jobs()

    Jobs whose guard is gone, or that ran before a reboot, are shown as lost.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._db: sqlite3.Connection | None = None
        if home.engine_db.exists():
            self._db = connect(home.engine_db, read_only=True)
            check_version(self._db, len(STEPS), home.engine_db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._db is not None:
            self._db.close()

    def records(self, name: str | None = None) -> dict[str, JobRecord]:
        """The jobs' records, corrected."""
        if self._db is None:
            return {}
        try:
            found = rows.read_jobs(self._db, name)
        except sqlite3.OperationalError:  # the file is there, its first schema not yet
            return {}
        if not self.alive:
            for job in found.values():
                mark_lost(job)
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """The JSON of every job, as `ps` prints it."""
        usage = read_usage(self._home)
        return [fill(self._home, job_view(job, self._front()), usage) for job in self.records().values()]

    def job(self, name: str) -> dict[str, Any] | None:
        """The JSON of one job; None when there is none of that name."""
        job = self.records(name).get(name)
        return fill(self._home, job_view(job, self._front())) if job else None

    def runs(self, which: Filter, *, limit: int) -> list[dict[str, Any]]:
        """The queries, the newest first, as they were written down; what ran when its guard died is lost."""
        if self._db is None:
            return []
        try:
            found = rows.read_runs(self._db, which, limit=limit)
        except sqlite3.OperationalError:
            return []
        return found if self.alive else [{**run, "status": _ended(run["status"])} for run in found]

    def revisions(self) -> list[RevisionRow]:
        """What jobs were when they were started, the newest first."""
        try:
            return rows.read_revisions(self._db) if self._db is not None else []
        except sqlite3.OperationalError:
            return []

    def tokens(self) -> list[TokenRow]:
        """Every token that was made for somebody, the newest first."""
        try:
            return rows.read_tokens(self._db) if self._db is not None else []
        except sqlite3.OperationalError:
            return []

    def events(self, *, job: str | None = None, agent: str | None = None, **only: Any) -> list[dict[str, Any]]:
        """What happened, as `diary.read_events` gives it; of an agent with replicas that of each."""
        if self._db is None:
            return []
        known = self.records(job).get(job) if job is not None and agent is not None else None
        names = [agent] if agent is not None else []
        names += [process.name for process in known.processes(agent)] if known is not None and agent is not None else []
        try:
            return read_events(self._db, job=job, agents=names, **only)
        except sqlite3.OperationalError:
            return []

    @property
    def alive(self) -> bool:
        """Whether the guard that the stored states belong to lives."""
        if self._db is None:
            return False
        try:
            row = self._db.execute("select value from meta where key = ?", (_GUARD,)).fetchone()
        except sqlite3.OperationalError:
            return False
        return row is not None and Incarnation.from_text(row["value"]).alive

    def _front(self) -> str | None:
        found = EngineFile.read(self._home)
        return found.url if found else None


def _ended(status: str) -> str:
    return "lost" if status == "running" else status


def mark_lost(job: JobRecord) -> bool:
    """Turn an active job whose processes are gone into a lost one; whether there was anything to turn."""
    if job.phase not in ACTIVE:
        return False
    job.phase = "lost"
    for agent in job.agents.values():
        agent.wanted = False
        if agent.state.status not in ("stopped", "failed"):
            agent.state = replace(agent.state, status="lost", pid=None)
    return True
