"""What `deploy top` shows: the agents that run, what each takes and has to do, and what their jobs' queries cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from teamwright.cli.app import Call
from teamwright.cli.output import dollars
from teamwright.cli.targets import Target
from teamwright.host.proc import descendants, snapshot
from teamwright.host.usage import Sample

#: Seconds of which queries, tokens and dollars are counted.
RECENT = 3600.0
#: Seconds that a look may ask processes for their memory.
_BUDGET = 0.3
_COLUMNS = ("AGENT", "STATUS", "PID", "CPU", "MEMORY", "IN FLIGHT", "QUEUED", "TOKENS", "COST", "RESTARTS", "UP")
_WIDTHS = (20, 11, 7, 6, 9, 9, 6, 6, 7, 8, 6)


class Watch:
    """Looks at the jobs of a home. CPU and memory are measured here, from one look to the next.

    >>> watch = Watch(call, [])
    >>> watch.look()["jobs"][0]["agents"][0]["cpu"]
    """

    def __init__(self, call: Call, targets: Sequence[Target]) -> None:
        self._call = call
        self._targets = targets
        self._sample = Sample(_BUDGET)

    def look(self) -> dict[str, Any]:
        """The JSON of `top --once`: {at, cores, jobs: [{job, status, usage, agents: [as in ps, uptime_s, usage]}]}.

        `usage` is of the last hour: of a job's queries, and of an agent's own calls of models; replicas have theirs
        together, which the first one shows.
        """
        import os

        from teamwright.engine.store.state import StateReader
        from teamwright.tracing.reading.totals import IDLE, NOTHING, agent_totals, totals

        home = self._call.home
        with StateReader(home) as reader:
            records = reader.records()
            views = [view for view in reader.jobs() if self._wanted(view)]
        since = time.time_ns() - int(RECENT * 1e9)
        spent, own = totals(home.spans_db, since), agent_totals(home.spans_db, since)
        for view in views:  # a line for each process
            view["agents"] = [one for agent in view["agents"] for one in (agent.get("replicas") or [agent])]
        pids = {
            f"{view['job']}/{agent['id']}": agent["pid"] for view in views for agent in view["agents"] if agent["pid"]
        }
        processes = snapshot()
        trees = {
            name: [processes[pid], *descendants([pid], processes)] for name, pid in pids.items() if pid in processes
        }
        measured = self._sample.look(trees)
        for view in views:
            view["usage"] = {"seconds": RECENT, **spent.get(view["job"], NOTHING)}
            for agent in view["agents"]:
                found = measured.get(f"{view['job']}/{agent['id']}", {})
                agent["cpu"] = found["cpu"] if found.get("cpu") is not None else agent["cpu"]
                agent["memory"] = found.get("memory") or agent["memory"]
                record = records[view["job"]].agents[agent["id"]]
                first = records[view["job"]].processes(record.agent)[0] is record
                agent["usage"] = own.get((view["job"], record.agent), IDLE) if first else None
                launched = record.state.launched_ns
                up = agent["pid"] is not None and launched is not None
                agent["uptime_s"] = round(time.time() - launched / 1e9, 1) if up and launched else None
        return {"at": round(time.time(), 3), "cores": os.cpu_count(), "jobs": views}

    def _wanted(self, view: dict[str, Any]) -> bool:
        """Narrow the view to what was named; whether anything of it is left."""
        if not self._targets:
            return view["status"] not in ("stopped", "failed", "lost")
        mine = [target for target in self._targets if target.job == view["job"]]
        view["agents"] = [agent for agent in view["agents"] if any(_means(target, agent) for target in mine)]
        return bool(mine)


def _means(target: Target, agent: dict[str, Any]) -> bool:
    return target.whole or agent["id"] == target.agent or (target.group is not None and agent["group"] == target.group)


Row = tuple[str, str]


def rows(found: dict[str, Any], *, sort: str = "name") -> list[Row]:
    """The table as (style, line): `title`, `job`, `head`, `agent` or `bad`."""
    lines: list[Row] = [("title", _title(found))]
    for view in found["jobs"]:
        lines.append(("job", _job(view)))
        lines.append(("head", _line(_COLUMNS)))
        agents = view["agents"]
        if sort != "name":
            agents = sorted(agents, key=lambda agent: agent[sort] or 0, reverse=True)
        lines += [("agent" if agent["status"] in ("healthy", "busy") else "bad", _agent(agent)) for agent in agents]
    if not found["jobs"]:
        lines.append(("agent", "no job is running"))
    return lines


def _title(found: dict[str, Any]) -> str:
    agents = [agent for view in found["jobs"] for agent in view["agents"]]
    cpu = sum(agent["cpu"] or 0 for agent in agents)
    memory = sum(agent["memory"] or 0 for agent in agents)
    at = time.strftime("%H:%M:%S", time.localtime(found["at"]))
    return (
        f"{at}  jobs {len(found['jobs'])}  agents {len(agents)}  "
        f"cpu {cpu * 100:.0f}% of {found['cores']} cores  memory {_bytes(memory)}"
    )


def _job(view: dict[str, Any]) -> str:
    usage = view["usage"]
    tokens = f"{usage['input_tokens']} + {usage['output_tokens']} tokens"
    failed = f", {usage['errors']} failed" if usage["errors"] else ""
    return (
        f"{view['job']}  {view['status']}  last hour: queries {usage['queries']}{failed}, {tokens}, "
        f"{dollars(usage['cost_usd'])}"
    )


def _agent(agent: dict[str, Any]) -> str:
    return _line(
        (
            agent["id"],
            agent["status"],
            str(agent["pid"] or "-"),
            "-" if agent["cpu"] is None else f"{agent['cpu'] * 100:.1f}%",
            _bytes(agent["memory"]),
            _number(agent["in_flight"]),
            _number(agent["queued"]),
            _tokens(agent["usage"]),
            "-" if agent["usage"] is None else dollars(agent["usage"]["cost_usd"]),
            str(agent["restarts"]),
            _up(agent["uptime_s"]),
        )
    )


def _line(cells: Sequence[str]) -> str:
    first, second, *rest = cells
    left = f"  {first[: _WIDTHS[0]]:<{_WIDTHS[0]}}{second:<{_WIDTHS[1]}}"
    return left + "".join(f"{cell:>{width + 2}}" for cell, width in zip(rest, _WIDTHS[2:], strict=True))


def _tokens(usage: dict[str, Any] | None) -> str:
    """In and out together, as people say them."""
    if usage is None:
        return "-"
    count = usage["input_tokens"] + usage["output_tokens"]
    return str(count) if count < 10_000 else f"{count / 1e3:.0f}k" if count < 10_000_000 else f"{count / 1e6:.0f}M"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _bytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1024**2:.1f} MB"


def _up(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 3600:
        return f"{int(value // 60)}:{int(value % 60):02}"
    return f"{int(value // 3600)}h{int(value % 3600 // 60):02}"
