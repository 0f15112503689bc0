"""`deploy describe TARGET`: everything one wants to know of a job or an agent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from teamwright.cli.app import Call, command


@command("describe")
@click.argument("target", metavar="JOB|JOB/AGENT")
@click.pass_obj
def describe(call: Call, target: str) -> None:
    """State, processes, configuration in effect, peers, limits, card, last errors, last runs, and what to type next.

    Read from the home, with or without an engine.

    \b
    deploy describe research
    deploy describe research/lead --json
    """
    from teamwright.cli.described import describe_agent, describe_job
    from teamwright.cli.targets import known, parse
    from teamwright.engine.store.state import StateReader
    from teamwright.errors import UserError

    chosen = parse(call, target)
    if chosen.group is not None:
        raise UserError(f"{target!r} names a group: describe its job, or one of its agents")
    record = known(call, chosen)
    with StateReader(call.home) as reader:
        view = reader.job(chosen.job)
    assert view is not None
    found = (describe_job if chosen.agent is None else describe_agent)(call, chosen, record, view)
    if call.json:
        call.emit(found)
        return
    if chosen.agent is None:
        _job(call, found)
    else:
        _agent(call, found)


def _job(call: Call, found: dict[str, Any]) -> None:
    from teamwright.cli.output import console, job_table

    _pairs(
        [
            ("job", found["job"]),
            ("status", _status(found)),
            ("up", _span(found["uptime_s"])),
            ("file", found["file"]),
            ("revision", found["revision"]),
            ("topology", f"{found['topology']}, {found['strategy']}, entry point {found['entry_point']}"),
            ("calls", ", ".join(f"{edge['from']} -> {edge['to']}" for edge in found["edges"])),
            ("tracing", f"on, content {found['content']}" if found["tracing"] else "off"),
            ("last 24 h", _usage(found["usage"])),
            ("front door", found["url"]),
            ("trace of the start", found["deploy_trace_id"]),
        ]
    )
    click.echo()
    console().print(job_table(found))
    _rest(found)
    job = found["job"]
    for line in (f"query {job} '…'", f"logs {job} -f", f"events {job} --since 1h", f"top {job}"):
        click.echo("next: " + call.next(line))


def _agent(call: Call, found: dict[str, Any]) -> None:
    from teamwright.cli.output import last_exit

    limits = ", ".join(f"{key} {value:g}" for key, value in found["limits"].items() if value is not None)
    restart, health = found["restart"], found["health"]
    card = found["card"] or {}
    _pairs(
        [
            ("agent", f"{found['job']}/{found['id']}"),
            ("status", found["status"] + (f": {found['last_error']}" if found["last_error"] else "")),
            (
                "pid",
                found["pid"]
                and f"{found['pid']} ({found['details'].get('spawn', '-')}, up {_span(found['uptime_s'])})",
            ),
            ("restarts", f"{found['restarts']}, last exit {last_exit(found['last_exit'])}"),
            ("replicas", ", ".join(f"{one['id']} {one['status']}" for one in found.get("replicas", ()))),
            ("address", found["url"]),
            ("takes", takes(found)),
            ("backend", found["backend"] + (f", model {found['model']}" if found["model"] else "")),
            ("calls", ", ".join(found["calls"])),
            ("called by", ", ".join(["front door", *found["callers"]])),
            ("tools", ", ".join([*found["tools"], *(f"MCP {name}" for name in found["mcp_servers"])])),
            ("limits", limits),
            ("restart policy", f"{restart['policy']}, {restart['max']} within {restart['within']:g} s"),
            (
                "health checks",
                f"every {health['interval']:g} s, {health['retries']} tries" if health["enabled"] else "off",
            ),
            ("secrets", ", ".join(f"{item['name']} ({item['source'] or 'not set'})" for item in found["secrets"])),
            ("card", f"{card.get('name')} {card.get('version')}: {card.get('description')}" if card else None),
            ("skills", ", ".join(str(skill.get("name")) for skill in card.get("skills", []))),
            ("log", found["log"]),
        ]
    )
    for key, value in found["config"].items():
        click.echo(f"  {key}: {_short(value)}")
    _rest(found)
    if found["log_errors"]:
        click.echo("\nlast errors in its log")
        for line in found["log_errors"]:
            click.echo(f"  {line}")
    name = f"{found['job']}/{found['id']}"
    for words in (f"logs {name} -f", f"events {name}", f"restart {name}"):
        click.echo("next: " + call.next(words))


def takes(agent: dict[str, Any]) -> str:
    """What an agent takes and has to do, in words."""
    if agent["memory"] is None and agent["in_flight"] is None:
        return "-"
    cpu = "-" if agent["cpu"] is None else f"{agent['cpu'] * 100:.0f}% of a core"
    memory = "-" if agent["memory"] is None else f"{agent['memory'] / 1024**2:.1f} MB"
    return f"cpu {cpu}, memory {memory}, {agent['in_flight'] or 0} in flight, {agent['queued'] or 0} queued"


def _rest(found: dict[str, Any]) -> None:
    from teamwright.cli.happened import words

    for title, events in (("last events", found["events"]), ("last errors", found["last_errors"])):
        if events:
            click.echo(f"\n{title}")
            for event in events:
                click.echo(f"  {words(event)}")
    if found["runs"]:
        click.echo("\nlast queries")
        for run in found["runs"]:
            click.echo(f"  {run['trace_id'][:8]}  {run['status']:<8} {_short(run['query'], 60)}")
    click.echo()


def _pairs(pairs: Iterable[tuple[str, Any]]) -> None:
    rows = [(name, str(value)) for name, value in pairs if value not in (None, "", "-")]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def _status(found: dict[str, Any]) -> str:
    return str(found["status"]) + (f": {found['error']}" if found["error"] else "")


def _usage(usage: dict[str, Any]) -> str:
    from teamwright.cli.output import dollars

    tokens = usage["input_tokens"] + usage["output_tokens"]
    return f"queries {usage['queries']}, {usage['errors']} failed, {tokens} tokens, {dollars(usage['cost_usd'])}"


def _span(value: float | None) -> str | None:
    return None if value is None else " ".join(_parts(int(value)))


def _parts(value: int) -> Iterator[str]:
    days, rest = divmod(value, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    yield from (f"{number} {unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if number)
    if not days and not hours:
        yield f"{seconds} s"


def _short(value: Any, most: int = 100) -> str:
    import json

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
