"""The trace of a deployment: `deploy` with `start_agent` and `stop_agent` below it, from the host's own times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from teamwright.engine.store.records import JobRecord
from teamwright.host.api import AgentState, Cause
from teamwright.tracing import vocabulary as v
from teamwright.tracing.propagation import ParentContext
from teamwright.tracing.spans import ActiveSpan
from teamwright.tracing.tracer import Tracer

_ENDED = frozenset(["exited", "hung", "memory_limit", "not_ready", "spawn_failed", "gave_up", "host_lost"])


class LifeCycle:
    """Writes down what becomes of jobs and agents. `tracer` gives the tracer of a job."""

    def __init__(self, tracer: Callable[[JobRecord], Tracer]) -> None:
        self._tracer = tracer
        self._open: dict[str, ActiveSpan] = {}
        self._crashes: dict[str, list[tuple[str, int | None, Mapping[str, Any]]]] = {}

    def deploy(self, job: JobRecord) -> ActiveSpan:
        """A start begins; end the span when it is over."""
        plan = job.plan
        span = self._tracer(job).deployment(
            job.name,
            agents=[agent.id for agent in plan.agents],
            levels=plan.levels,
            strategy=plan.strategy,
            revision=plan.revision,
        )
        job.trace_id, job.span_id = span.trace_id, span.span_id
        span.announce()
        return span

    def joined(self, job: JobRecord, agent: str, start_ns: int, error: str | None = None) -> None:
        """A `url:` agent was joined, or could not be."""
        if job.trace_id is not None and job.span_id is not None:
            parent = ParentContext(job.trace_id, job.span_id)
            level = job.plan.agent(agent).level
            span = self._tracer(job).start_agent(agent, job=job.name, level=level, parent=parent, start_ns=start_ns)
            if error is not None:
                span.fail(error, reason="unreachable")
            span.end()

    def note(self, job: JobRecord, state: AgentState, cause: Cause, before: AgentState) -> None:
        """An agent's state has changed."""
        if job.trace_id is None or job.span_id is None:
            return
        parent = ParentContext(job.trace_id, job.span_id)
        agent = _agent(job, state)
        match state.status:
            case "starting":
                self._start(job, agent, state, parent)
            case "healthy" if cause == "ready" and (span := self._open.pop(state.id, None)):
                span.set({v.PID: state.pid}).end(state.ready_ns)
            case "stopping":
                self._close(state)
                name = _replica(job, state) or agent
                span = self._tracer(job).stop_agent(name, job=job.name, parent=parent, start_ns=state.changed_ns)
                self._open[state.id] = span.set({v.AGENT: agent, v.PID: state.pid, v.REPLICA: _replica(job, state)})
            case "unhealthy" if cause == "unreachable":
                what = str(state.details.get("error"))
                self._checked(job, agent, parent, state.details.get("since_ns"), v.EVENT_UNHEALTHY, what)
            case "healthy" if cause == "recovered" and not job.plan.agent(agent).started:
                self._checked(job, agent, parent, before.changed_ns, v.EVENT_RECOVERED)
            case "backing_off" | "failed" | "stopped" | "lost":
                self._ended(job, agent, state, cause, parent)

    def _start(self, job: JobRecord, agent: str, state: AgentState, parent: ParentContext) -> None:
        self._close(state)
        level = job.plan.agent(agent).level
        replica = _replica(job, state)
        span = self._tracer(job).start_agent(
            replica or agent, job=job.name, level=level, parent=parent, start_ns=state.launched_ns
        )
        for name, at_ns, attributes in self._crashes.pop(state.id, []):
            span.event(name, attributes, at_ns=at_ns)
        if state.restarts:
            span.event(v.EVENT_RESTART, {v.ATTEMPT: state.restarts}, at_ns=state.launched_ns)
        self._open[state.id] = span.set(
            {v.AGENT: agent, v.PID: state.pid, v.SERVICE_INSTANCE: state.incarnation, v.REPLICA: replica}
        )

    def _ended(self, job: JobRecord, agent: str, state: AgentState, cause: Cause, parent: ParentContext) -> None:
        ended = state.last_exit
        details = {
            v.EXIT_CODE: ended.code if ended else None,
            v.EXIT_SIGNAL: ended.signal if ended else None,
            v.REASON: ended.reason if ended else cause,
            v.REPLICA: _replica(job, state),
        }
        span = self._open.pop(state.id, None)
        if span is not None:
            span.set(details)
            if cause in _ENDED:
                span.fail(f"{agent}: {details[v.REASON]}", reason=str(details[v.REASON]))
            span.end()
            return
        at_ns = ended.at_ns if ended else None
        name = v.EVENT_UNHEALTHY if cause == "hung" else v.EVENT_CRASH
        if state.status == "backing_off":
            self._crashes.setdefault(state.id, []).append((name, at_ns, details))
        elif cause in _ENDED:
            # Nobody starts it again: the crash gets a span of its own, from the exit to the decision.
            tracer = self._tracer(job)
            now = tracer.now()
            tracer.record(
                v.span_name(v.OP_STOP_AGENT, _replica(job, state) or agent),
                start_ns=min(at_ns or now, now - 1),
                end_ns=now,
                parent=parent,
                attributes={v.OPERATION: v.OP_STOP_AGENT, v.AGENT: agent, v.JOB: job.name, **details},
                events=[(name, at_ns or now, details)],
                error=f"{agent}: {details[v.REASON]}",
            )

    def _checked(
        self, job: JobRecord, agent: str, parent: ParentContext, since: int | None, event: str, error: str | None = None
    ) -> None:
        tracer = self._tracer(job)
        now = tracer.now()
        tracer.record(
            v.span_name(v.OP_CHECK_AGENT, agent),
            start_ns=min(since or now, now - 1),
            end_ns=now,
            parent=parent,
            attributes={
                v.OPERATION: v.OP_CHECK_AGENT,
                v.AGENT: agent,
                v.JOB: job.name,
                v.ERROR_TYPE: "unreachable" if error else None,
            },
            events=[(event, now, {v.REASON: error} if error else {})],
            error=error,
        )

    def _close(self, state: AgentState) -> None:
        if (span := self._open.pop(state.id, None)) is not None:
            span.fail("superseded", reason="superseded").end()


def _agent(job: JobRecord, state: AgentState) -> str:
    """The agent that a process is of; one that the job has no more goes by its own name."""
    name = state.id.partition("/")[2]
    return job.agents[name].agent if name in job.agents else name


def _replica(job: JobRecord, state: AgentState) -> str | None:
    found = job.agents.get(state.id.partition("/")[2])
    return found.name if found is not None and found.replica is not None else None
