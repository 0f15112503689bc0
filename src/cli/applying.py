"""Applying a job file to a running job: the changes in words, and the stream of an apply to its end."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from teamwright.cli.app import Call
from teamwright.cli.output import note
from teamwright.cli.progress import Progress
from teamwright.cli.signals import undisturbed
from teamwright.cli.starting import failure, settle
from teamwright.errors import StartFailed

if TYPE_CHECKING:
    from teamwright.client.client import Client

#: Statuses of a job that can be changed as it runs.
RUNS = ("running", "degraded")


def is_running(client: Client, job: str) -> bool:
    """Whether there is a running job of that name."""
    return any(view["job"] == job and view["status"] in RUNS for view in client.jobs())


def nothing(found: Mapping[str, Any]) -> bool:
    """Whether there is nothing to apply."""
    return not any(found[key] for key in ("added", "removed", "changed", "job_changes", "code", "packages"))


def words(found: Mapping[str, Any]) -> Iterator[str]:
    """The changes, line by line: `+` added, `-` removed, `~` changed; and what they disturb."""
    revision = found["revision"]
    yield f"{found['job']}  {revision['before']} -> {revision['after']}"
    for agent in found["added"]:
        yield f"  + {agent}"
    for change in found["changed"]:
        yield f"  ~ {change['agent']}"
        for reason in change["why"]:
            yield from (f"      {line}" for line in _reason(reason))
    for agent in found["removed"]:
        yield f"  - {agent}"
    for reason in found["job_changes"]:
        yield from (f"  job {line}" for line in _reason(reason))
    named = {reason["key"] for change in found["changed"] for reason in change["why"]}
    for change in found["code"]:
        if f"code {change['file']}" not in named:
            yield f"  code {change['file']}: {change['change']}, no process needs it"
    for package in found["packages"]:
        yield f"  package {package['name']}: {_shown(package['before'])} -> {_shown(package['after'])}"
    yield disturbed(found)


def disturbed(found: Mapping[str, Any]) -> str:
    """What the changes mean for those who work with the job right now."""
    agents = [change["agent"] for change in found["changed"]]
    parts = [f"{', '.join(agents)} replaced"] if agents else []
    parts += [f"{', '.join(found['removed'])} ended"] if found["removed"] else []
    if not parts:
        return "no running process is disturbed"
    queries = found["queries"]
    under_way = f"; {queries} {'query' if queries == 1 else 'queries'} under way" if queries else ""
    said = f"processes: {'; '.join(parts)}, once they have ended what they work on{under_way}"
    if parked := found["parked"]:
        whose = ", ".join(f"{count} of {agent}" for agent, count in parked.items())
        said += f"; tasks that wait for a person end with them: {whose}"
    return said


def _reason(reason: Mapping[str, Any]) -> Iterator[str]:
    key = reason["key"]
    if "lines" in reason:
        yield f"{key}:"
        yield from (f"    {line}" for line in reason["lines"])
    elif "before" in reason:
        yield f"{key}: {_shown(reason['before'])} -> {_shown(reason['after'])}"
    else:
        yield str(key)


def _shown(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def follow_apply(
    call: Call, client: Client, job: str, levels: int, stream: Generator[dict[str, Any], None, None]
) -> dict[str, Any]:
    """Follow the stream of an apply; its last line, `done` or `unchanged`. Raises StartFailed when it was undone.

    When the command is interrupted the engine undoes what was not yet decided; KeyboardInterrupt comes out of here
    when the job is one or the other.
    """
    try:
        with closing(stream), Progress(job, levels, quiet=call.json, doing="applying") as progress:
            for line in stream:
                event = line.get("event")
                if event in ("done", "unchanged"):
                    return line
                if event == "failed":
                    error = failure(line["error"])
                    error.message += f"; {job} is as it was"
                    raise error
                progress.take(line)
    except KeyboardInterrupt:
        with undisturbed():
            note(f"interrupted: {job} is left as it was, unless all of its new agents were ready")
            settle(client, job)
        raise
    raise StartFailed(
        f"the engine ended while {job} was being changed: it is either as it was or as it should be",
        hint=f"deploy ps {job}",
    )
