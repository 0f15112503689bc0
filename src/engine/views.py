"""How jobs and agents look from outside: the JSON of `start` and `ps`."""

from __future__ import annotations

import time
from typing import Any

from teamwright.engine.store.records import AgentRecord, JobRecord, TokenRow
from teamwright.host.api import AgentState, ExitInfo

_UP = frozenset(["healthy", "busy"])
_DOWN = frozenset(["failed", "stopped"])


def job_status(job: JobRecord) -> str:
    """The job's status: what was ordered, and how far the agents' states bear it out."""
    if job.phase != "running":
        return job.phase
    statuses = {agent.state.status for agent in job.agents.values()}
    if statuses <= _UP:
        return "running"
    if statuses <= _DOWN:
        return "failed" if "failed" in statuses else "stopped"
    return "degraded"


def job_view(job: JobRecord, engine_url: str | None) -> dict[str, Any]:
    """One job with its agents in start order."""
    levels = {agent: level for level, agents in enumerate(job.plan.levels) for agent in agents}
    agents = sorted({agent.agent for agent in job.agents.values()}, key=lambda agent: (levels.get(agent, 0), agent))
    return {
        "job": job.name,
        "status": job_status(job),
        "entry_point": job.plan.entry_point,
        "dashboard": None,
        "agents": [_agent(job, agent) for agent in agents],
        "url": f"{engine_url}/a2a/{job.name}" if engine_url else None,
        "file": job.plan.file,
        "revision": job.plan.revision,
        "created_at": seconds(job.created_ns),
        "ended_at": seconds(job.ended_ns),
        "error": job.error,
        "deploy_trace_id": job.trace_id,
        "changing": False,
    }


def _agent(job: JobRecord, agent: str) -> dict[str, Any]:
    """One agent; of one with replicas what they come to, and each of them below `replicas`."""
    found = job.processes(agent)
    if found[0].replica is None:
        return {**agent_view(job, found[0]), "replicas": []}
    views = [agent_view(job, replica) for replica in found]
    down = [view["status"] for view in views if view["status"] not in _UP]
    ended = [view["last_exit"] for view in views if view["last_exit"]]
    return {
        **views[0],
        "id": agent,
        "url": None,
        "pid": None,
        "status": down[0] if down else views[0]["status"],
        "restarts": sum(view["restarts"] for view in views),
        "started_in_ms": max((view["started_in_ms"] for view in views if view["started_in_ms"]), default=None),
        "last_exit": max(ended, key=lambda info: info["at"] or 0.0, default=None),
        "last_error": next((view["last_error"] for view in views if view["last_error"]), None),
        "replicas": views,
    }


def agent_view(job: JobRecord, agent: AgentRecord) -> dict[str, Any]:
    """One process of an agent. What it takes and has to do is for `vitals` to say.

    `started_in_ms` is from its launch to ready, the last time it came up.
    """
    plan = job.plan.agent(agent.agent)
    state = agent.state
    took = None
    if state.launched_ns is not None and state.ready_ns is not None and state.ready_ns >= state.launched_ns:
        took = round((state.ready_ns - state.launched_ns) / 1e6, 1)
    return {
        "id": agent.name,
        "name": plan.name or agent.agent,
        "url": plan.url or agent.url,
        "pid": state.pid,
        "status": state.status,
        "level": plan.level,
        "backend": plan.backend,
        "restarts": state.restarts,
        "started_in_ms": took,
        "last_exit": exit_view(state.last_exit),
        "last_error": state.details.get("error"),
        "group": plan.group,
        "cpu": None,
        "memory": None,
        "in_flight": None,
        "queued": None,
        "foreign": plan.foreign,
    }


def exit_view(info: ExitInfo | None) -> dict[str, Any] | None:
    """How a process ended."""
    if info is None:
        return None
    return {"code": info.code, "signal": info.signal, "reason": info.reason, "at": seconds(info.at_ns)}


def event_view(state: AgentState, cause: str) -> dict[str, Any]:
    """A change of an agent's state as one line of a start's stream."""
    job, _, agent = state.id.partition("/")
    return {
        "event": "agent",
        "job": job,
        "id": agent,
        "status": state.status,
        "cause": cause,
        "pid": state.pid,
        "port": state.port,
        "restarts": state.restarts,
        "launched_ns": state.launched_ns,
        "ready_ns": state.ready_ns,
        "last_exit": exit_view(state.last_exit),
        "tail": list(state.tail),
    }


def seconds(ns: int | None) -> float | None:
    """Unix nanoseconds as seconds."""
    return None if ns is None else ns / 1e9


def token_view(token: TokenRow) -> dict[str, Any]:
    """One token that was made for somebody; `status` is good, expired or revoked, times are Unix seconds."""
    ended = "expired" if token.expires <= time.time() else "good"
    return {
        "id": token.jti,
        "subject": token.subject,
        "role": token.role,
        "job": token.job,
        "created_at": token.created,
        "expires_at": token.expires,
        "revoked_at": token.revoked,
        "status": "revoked" if token.revoked is not None else ended,
    }
