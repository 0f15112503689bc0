"""Queries that nobody reads any more: followed at their agents to the end, so that each root span ends truly."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from teamwright.engine.door import rpc
from teamwright.engine.door.frames import Reading
from teamwright.engine.door.placing import Placing
from teamwright.engine.door.query import Query
from teamwright.engine.door.upstream import Upstream
from teamwright.engine.store.records import AgentRecord, JobRecord, TaskRow
from teamwright.engine.store.state import EngineState
from teamwright.errors import PeerError
from teamwright.tracing import vocabulary as v
from teamwright.tracing.attributes import task_state
from teamwright.tracing.messages import encode
from teamwright.tracing.propagation import ParentContext, parse_traceparent
from teamwright.tracing.spans import used
from teamwright.tracing.tracer import Tracer

log = logging.getLogger("teamwright.engine")

#: Seconds between two looks: at first, and at most.
_SOON, _LATER = 0.1, 2.0
#: Seconds an agent may be out of reach before its queries count as lost, and one look may take.
_PATIENCE, _LOOK = 30.0, 10.0
_NOT_FOUND = -32001


@dataclass(slots=True)
class FormerRoot:
    """The root of a query that an engine before this one has let in: only its row is left."""

    row: TaskRow
    tracer: Tracer

    def end(self, reading: Reading, error: str | None, reason: str | None) -> None:
        if reason == v.PROCESS_LOST:
            return  # nobody knows when it ended: `Spans.close_former` closes it, and the trace is lost
        row, usage = self.row, reading.usage
        self.tracer.record(
            v.span_name(v.OP_QUERY, row.job),
            start_ns=row.started_ns,
            end_ns=max(self.tracer.now(), row.started_ns + 1),
            trace_id=row.trace_id,
            span_id=row.span_id,
            parent=ParentContext(row.trace_id, row.parent_id) if row.parent_id else None,
            attributes={
                v.OPERATION: v.OP_QUERY,
                v.OPENINFERENCE_KIND: "CHAIN",
                v.WORKFLOW: row.job,
                v.JOB: row.job,
                v.AGENT: row.agent,
                v.REVISION: row.revision,
                v.RUN_ID: row.run_id,
                v.USER_ID: row.user,
                v.CONVERSATION: row.context_id,
                v.SESSION_ID: row.context_id,
                v.TASK_ID: reading.task_id,
                v.CONTEXT_ID: reading.context_id,
                v.TASK_STATE: task_state(reading.state),
                v.INPUT_MESSAGES: encode(row.query) if row.query else None,
                v.OUTPUT_MESSAGES: encode(reading.answer, "assistant") if reading.answer else None,
                **used(usage),
                v.ERROR_TYPE: reason if error else None,
                **{v.LABEL_PREFIX + key: value for key, value in row.labels.items()},
            },
            links=[link] if (link := parse_traceparent(row.link)) is not None else [],
            error=error,
        )


class Followers:
    """One task per query that is looked after."""

    def __init__(
        self,
        state: EngineState,
        upstream: Upstream,
        placing: Placing,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._placing = placing
        self._state = state
        self._upstream = upstream
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, query: Query) -> None:
        """Look after a query until its task has ended."""
        task = asyncio.create_task(self._follow(query), name=f"follow {query.row.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, query: Query) -> None:
        """Have the agent end the work on a query that nobody waits for any more; whoever reads it sees the end."""
        task = asyncio.create_task(self._cancel(query), name=f"cancel {query.row.run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cancel(self, query: Query) -> None:
        row = query.row
        try:
            task_id = row.task_id or (await self._find(row)).get("id")
            await self._call(row, "CancelTask", {"id": task_id})
        except PeerError as error:
            log.info("the task of %s was not cancelled: %s", row.run_id, error.message)

    def recover(self, tracer: Callable[[JobRecord], Tracer]) -> list[asyncio.Task[None]]:
        """Look after every query that an engine before this one has left; the tasks that do it."""
        before = set(self._tasks)
        for row in list(self._state.tasks.values()):
            job = self._state.jobs.get(row.job)
            if job is None:
                self._state.tasks.pop(row.span_id, None)
                continue
            query = Query(row, FormerRoot(row, tracer(job)), self._state)
            query.reading.foreign = job.plan.agent(row.agent).foreign
            self.follow(query)
        return list(self._tasks - before)

    async def aclose(self) -> None:
        """Let go; what has not ended stays in the database."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, query: Query) -> None:
        pause, reached = _SOON, self._clock()
        while not query.ended:
            try:
                if await self._look(query):
                    query.end()
                    return
                reached = self._clock()
            except PeerError as error:
                if error.reason == "not_found" or not self._wanted(query.row):
                    query.reading.state = query.reading.state or "failed"
                    query.end(error=f"lost: {error.message}", reason=v.PROCESS_LOST, status="lost")
                    return
                if self._clock() - reached > _PATIENCE:
                    query.end(error=f"lost: {error.message}", reason=v.PROCESS_LOST, status="lost")
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LATER)

    def _wanted(self, row: TaskRow) -> bool:
        """Whether the agent will be there again, if it isn't now."""
        job = self._state.jobs.get(row.job)
        agents = job.processes(row.agent) if job is not None else []
        return any(agent.wanted and agent.state.status not in ("failed", "stopped") for agent in agents)

    async def _look(self, query: Query) -> bool:
        """Read the task as it is now; whether it has ended. Raises PeerError."""
        row = query.row
        if row.task_id is None:
            task = await self._find(row)
        else:
            task = await self._call(row, "GetTask", {"id": row.task_id})
        query.row = replace(query.row, task_id=str(task.get("id") or "") or None)
        query.reading.task(task)
        return query.reading.over

    async def _find(self, row: TaskRow) -> Mapping[str, Any]:
        """The task of a query whose id was not told yet: the newest one of its conversation."""
        job = self._state.jobs.get(row.job)
        params = {"contextId": row.context_id, "includeArtifacts": True}
        # A conversation may have gone on at another replica when its own was not there.
        lists = [await self._call(row, "ListTasks", params, at) for at in (job.processes(row.agent) if job else [])]
        tasks = [task for found in lists for task in found.get("tasks") or () if isinstance(task, Mapping)]
        if not row.context_id or not tasks:
            raise PeerError(f"agent {row.agent} knows no such task", reason="not_found")
        return max(tasks, key=lambda task: str((task.get("status") or {}).get("timestamp", "")))

    async def _call(
        self, row: TaskRow, method: str, params: Mapping[str, Any], agent: AgentRecord | None = None
    ) -> Mapping[str, Any]:
        job = self._state.jobs.get(row.job)
        if job is None or not job.processes(row.agent):
            raise PeerError("the agent is no more", reason="not_found")
        agent = agent or self._placing.choose(job, row.agent, task=params.get("id"), session=row.context_id)
        body = rpc.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        try:
            async with asyncio.timeout(_LOOK), self._upstream.post(agent, body, {}) as response:
                reply = json.loads(await response.read())
        except TimeoutError:
            raise PeerError(f"agent {row.agent} does not answer", reason="timeout") from None
        except ValueError:
            raise PeerError(f"agent {row.agent} answered with something that is not A2A", reason="bad") from None
        if error := reply.get("error"):
            missing = error.get("code") == _NOT_FOUND
            raise PeerError(str(error.get("message")), reason="not_found" if missing else "failed")
        result: Mapping[str, Any] = reply.get("result") or {}
        return result
