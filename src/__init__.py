"""Teamwright turns one YAML file into a supervised, traced team of AI agents.

To write agents:

>>> from teamwright import Agent, tool

To use a team from a program, a notebook or a test:

>>> with teamwright.start("team.yaml") as job:
...     reply = job.query("What is new?")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from teamwright.agents.agent import Agent
    from teamwright.agents.tools import tool
    from teamwright.backends.api import Answer, File, Turn
    from teamwright.client.running.async_job import AsyncJob, AsyncSession, AsyncStream
    from teamwright.client.running.job import Job, Session, Stream
    from teamwright.client.running.opening import connect, start
    from teamwright.client.running.reply import Reply, Usage
    from teamwright.client.running.trace import Span, Trace
    from teamwright.errors import (
        EngineUnavailable,
        JobFileError,
        JobNotRunning,
        QueryFailed,
        QueryTimeout,
        StartFailed,
        TeamwrightError,
        UnknownJob,
        UserError,
    )
    from teamwright.tracing.runs import RunContext, current_run

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Answer",
    "AsyncJob",
    "AsyncSession",
    "AsyncStream",
    "EngineUnavailable",
    "File",
    "Job",
    "JobFileError",
    "JobNotRunning",
    "QueryFailed",
    "QueryTimeout",
    "Reply",
    "RunContext",
    "Session",
    "Span",
    "StartFailed",
    "Stream",
    "TeamwrightError",
    "Trace",
    "Turn",
    "UnknownJob",
    "Usage",
    "UserError",
    "__version__",
    "connect",
    "current_run",
    "start",
    "tool",
]

_HOMES = {
    "Agent": "teamwright.agents.agent",
    "tool": "teamwright.agents.tools",
    "Answer": "teamwright.backends.api",
    "File": "teamwright.backends.api",
    "Turn": "teamwright.backends.api",
    "RunContext": "teamwright.tracing.runs",
    "current_run": "teamwright.tracing.runs",
    "start": "teamwright.client.running.opening",
    "connect": "teamwright.client.running.opening",
    "Job": "teamwright.client.running.job",
    "Session": "teamwright.client.running.job",
    "Stream": "teamwright.client.running.job",
    "AsyncJob": "teamwright.client.running.async_job",
    "AsyncSession": "teamwright.client.running.async_job",
    "AsyncStream": "teamwright.client.running.async_job",
    "Reply": "teamwright.client.running.reply",
    "Usage": "teamwright.client.running.reply",
    "Span": "teamwright.client.running.trace",
    "Trace": "teamwright.client.running.trace",
    "EngineUnavailable": "teamwright.errors",
    "JobFileError": "teamwright.errors",
    "JobNotRunning": "teamwright.errors",
    "QueryFailed": "teamwright.errors",
    "QueryTimeout": "teamwright.errors",
    "StartFailed": "teamwright.errors",
    "TeamwrightError": "teamwright.errors",
    "UnknownJob": "teamwright.errors",
    "UserError": "teamwright.errors",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
