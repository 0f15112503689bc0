"""Everything one wants to know of a job or an agent, from what the home holds."""

from __future__ import annotations

import time
from typing import Any

from teamwright.cli.app import Call
from teamwright.cli.targets import Target
from teamwright.engine.store.records import JobRecord

_EVENTS, _RUNS, _LINES = 8, 5, 5
_BAD = frozenset(
    ["exited", "hung", "gave_up", "memory_limit", "not_ready", "spawn_failed", "failed", "apply_failed", "lost",
     "unreachable"]
)  # fmt: skip


def describe_job(call: Call, target: Target, record: JobRecord, view: dict[str, Any]) -> dict[str, Any]:
    """The JSON of `describe JOB`."""
    plan = record.plan
    up = view["status"] in ("running", "degraded")
    return {
        **view,
        "uptime_s": round(time.time() - view["created_at"], 1) if up else None,
        "topology": plan.topology,
        "strategy": plan.strategy,
        "edges": [{"from": caller, "to": callee} for caller, callee in plan.edges],
        "description": plan.description,
        "version": plan.version,
        "tracing": plan.tracing,
        "content": plan.content,
        "packages": dict(plan.packages),
        "usage": _usage(call, record.name),
        **_happened(call, target),
    }


def describe_agent(call: Call, target: Target, record: JobRecord, view: dict[str, Any]) -> dict[str, Any]:
    """The JSON of `describe JOB/AGENT`. Of secrets only names and where they came from."""
    import dataclasses

    name = str(target.agent)
    processes = [record.agents[name]] if name in record.agents else record.processes(name)
    # What an agent with replicas says of itself, one of them says that is up.
    process = next((one for one in processes if one.up), processes[0])
    every = [one for item in view["agents"] for one in (item, *item["replicas"])]
    agent = next(item for item in every if item["id"] == name)
    plan = record.plan.agent(process.agent)
    state = process.state
    up = state.pid is not None and state.launched_ns is not None
    config = {
        key: value
        for key, value in dataclasses.asdict(plan).items()
        if key not in ("id", "level", "name", "secrets", "callees", "callers", "limits", "restart", "tools", "skills")
        and value not in (None, "", (), {}, [])
    }
    return {
        **agent,
        "job": record.name,
        "uptime_s": round(time.time() - (state.launched_ns or 0) / 1e9, 1) if up else None,
        "incarnation": state.incarnation or None,
        "details": dict(state.details),
        "model": plan.model,
        "config": config,
        "calls": list(plan.callees),
        "callers": list(plan.callers),
        "limits": dataclasses.asdict(plan.limits),
        "restart": dataclasses.asdict(plan.restart),
        "health": dataclasses.asdict(record.plan.health),
        "tools": list(plan.tools),
        "mcp_servers": sorted(plan.mcp_servers),
        "secrets": [{"name": secret.name, "source": secret.source} for secret in plan.secrets],
        "card": _card(agent["url"] or process.url) if process.up else None,
        "log": str(call.home.agent_log(record.name, process.name)),
        "log_errors": [line for one in processes for line in _log_errors(call, record.name, one.name)][-_LINES:],
        **_happened(call, target, process.agent),
    }


def _happened(call: Call, target: Target, agent: str | None = None) -> dict[str, Any]:
    """The last events, those that were bad, and the last runs."""
    from teamwright.engine.store.state import StateReader
    from teamwright.tracing.reading.filters import Filter

    with StateReader(call.home) as reader:
        events = reader.events(job=target.job, agent=target.agent, limit=200)
        runs = reader.runs(Filter(job=target.job, agent=agent), limit=_RUNS)  # they are the agent's, not a replica's
    bad = [event for event in events if event["kind"].partition(".")[2] in _BAD]
    return {"events": events[-_EVENTS:], "last_errors": bad[-_EVENTS:], "runs": runs}


def _usage(call: Call, job: str, hours: float = 24.0) -> dict[str, Any]:
    """What the job's queries of the last day took."""
    from teamwright.tracing.reading.totals import NOTHING, totals

    since = time.time_ns() - int(hours * 3600e9)
    return {"hours": hours, **totals(call.home.spans_db, since).get(job, NOTHING)}


def _card(url: str | None) -> dict[str, Any] | None:
    """The agent's public card as it is now; None when it doesn't answer at once."""
    import httpx

    try:
        answer = httpx.get(f"{url}/.well-known/agent-card.json", timeout=1.0, trust_env=False, verify=False)
        found = answer.json() if answer.is_success else None
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _log_errors(call: Call, job: str, agent: str) -> list[str]:
    from teamwright.cli.following import LogFile
    from teamwright.cli.log_lines import Parser

    parser = Parser(job, agent)
    lines = [parser.line(text) for text in LogFile(agent, call.home.agent_log(job, agent)).last(500)]
    return [line.text for line in lines if line.head and line.level in ("ERROR", "CRITICAL")][-_LINES:]
