"""Teamwright turns one YAML file into a supervised, traced team of AI agents.

>>> from teamwright import Agent, tool
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from teamwright.agents.agent import Agent
    from teamwright.agents.tools import tool
    from teamwright.backends.api import Answer, File, Turn
    from teamwright.tracing.runs import RunContext, current_run

__version__ = "0.1.0"

__all__ = ["Agent", "Answer", "File", "RunContext", "Turn", "__version__", "current_run", "tool"]

_HOMES = {
    "Agent": "teamwright.agents.agent",
    "tool": "teamwright.agents.tools",
    "Answer": "teamwright.backends.api",
    "File": "teamwright.backends.api",
    "Turn": "teamwright.backends.api",
    "RunContext": "teamwright.tracing.runs",
    "current_run": "teamwright.tracing.runs",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
