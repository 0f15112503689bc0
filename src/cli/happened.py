"""Events in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from teamwright.cli.output import last_exit

_COLOURS = {
    "exited": "red",
    "hung": "red",
    "gave_up": "red",
    "memory_limit": "red",
    "not_ready": "red",
    "spawn_failed": "red",
    "failed": "red",
    "apply_failed": "red",
    "lost": "red",
    "unreachable": "red",
    "restart": "yellow",
    "busy": "yellow",
    "ready": "green",
    "applied": "green",
    "started": "green",
    "recovered": "green",
}


def words(event: Mapping[str, Any]) -> str:
    """When, what, of whom, by whom, and why: one line."""
    at = datetime.fromtimestamp(event["at"])
    whom = event["job"] or "-"
    if event["agent"]:
        whom += f"/{event['agent']}"
    by = f"  by {event['actor']}" if event["actor"] else ""
    more = details(event)
    return f"{at:%Y-%m-%d %H:%M:%S}  {event['kind']:<18} {whom:<24}{by}{'  ' + more if more else ''}".rstrip()


def colour(event: Mapping[str, Any]) -> str | None:
    """What colour its line has."""
    return _COLOURS.get(event["kind"].partition(".")[2])


def details(event: Mapping[str, Any]) -> str:
    """What is worth saying of it, in a few words."""
    data = event["data"]
    parts = []
    if event["kind"].startswith("agent."):
        parts.append(f"{data['status']}" + (f", pid {data['pid']}" if data.get("pid") else ""))
        if data.get("last_exit") and not data.get("pid"):
            parts.append(last_exit(data["last_exit"]))
        if data.get("restarts"):
            parts.append(f"restart {data['restarts']}")
    elif event["kind"].startswith("token."):
        parts.append(f"{data['token'][:8]} of {data['of']}")
    elif event["kind"].startswith("engine."):
        parts.append(f"pid {data['pid']}")
    named = [(key, data[key]) for key in ("added", "removed", "changed", "targets") if data.get(key)]
    parts += [f"{'' if key == 'targets' else key + ' '}{', '.join(names)}" for key, names in named]
    if data.get("revision"):
        parts.append(f"{data.get('before') or '-'} -> {data['revision']}")
    parts += [str(data[key]) for key in ("error", "said") if data.get(key)]
    return "; ".join(parts)
