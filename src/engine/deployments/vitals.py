"""What agents take and have to do right now, as their machine tells it: for `ps`, `describe` and `top`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from teamwright.agents.load_file import FOLDER, Load, read_loads
from teamwright.home import Home
from teamwright.host.api import USAGE_EVERY, USAGE_FILE

#: Older than so many seconds it is nobody's present.
_OLD = 4 * USAGE_EVERY


def fill(home: Home, view: dict[str, Any], usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The job's view with `cpu` (cores), `memory` (bytes of PSS), `in_flight` and `queued` (messages) of each agent.

    None where it isn't known: the agent does not run, was just started, or is not ours.
    """
    usage = read_usage(home) if usage is None else usage
    loads = read_loads(home.job_dir(view["job"]) / FOLDER)
    for agent in view["agents"]:
        processes = agent.get("replicas") or [agent]
        for process in processes:
            pid = process["pid"]
            used = usage.get(f"{view['job']}/{process['id']}", {})
            used = used if pid is not None and used.get("pid") == pid else {}
            load: Load | None = loads.get(pid) if pid is not None else None
            process["cpu"], process["memory"] = used.get("cpu"), used.get("memory")
            process["in_flight"] = load.in_flight if load else None
            process["queued"] = load.queued if load else None
        if processes[0] is not agent:
            add_up(agent)
    return view


def add_up(agent: dict[str, Any]) -> None:
    """What the replicas of an agent take together."""
    for key in ("cpu", "memory", "in_flight", "queued"):
        known = [replica[key] for replica in agent["replicas"] if replica[key] is not None]
        agent[key] = round(sum(known), 4) if known else None


def read_usage(home: Home) -> dict[str, Any]:
    """What the host has written down last, by `job/agent`; empty when it is old."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((home.path / USAGE_FILE).read_text())
        if time.time() - found["at"] < _OLD:
            agents: dict[str, Any] = found["agents"]
            return agents
    return {}
