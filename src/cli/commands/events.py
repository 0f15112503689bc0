"""`deploy events`: what happened to jobs, agents and engine, and by whom."""

from __future__ import annotations

from typing import Any

import click

from teamwright.cli.app import MOST, Call, command

_PAUSE = 0.3


@command("events")
@click.argument("target", required=False, metavar="[JOB|JOB/AGENT]")
@click.option("--job", metavar="JOB|FILE", help="The same as naming it.")
@click.option("--since", metavar="TIME", help="Only what happened within: 10m, 2h, 7d.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C (exit code 130).")
@click.option("-n", "--limit", type=click.IntRange(0, MOST), default=200, show_default=True, help="The newest so many.")
@click.pass_obj
def events(call: Call, target: str | None, job: str | None, since: str | None, follow: bool, limit: int) -> None:
    """What happened: starts, exits with their reasons, restarts, changes, orders and who gave them. Oldest first.

    Kept for 30 days, the newest 20,000; read from the home, with or without an engine.

    \b
    deploy events research --since 1h
    """
    import time

    from teamwright.cli.targets import parse
    from teamwright.engine.store.state import StateReader
    from teamwright.errors import UserError
    from teamwright.tracing.reading.filters import nanoseconds

    if target and job:
        raise UserError("name the job once", hint="either JOB or --job JOB")
    named = target or job
    chosen = parse(call, named) if named else None
    if chosen is not None and chosen.group is not None:
        raise UserError(f"{named!r} names a group: events are of a job or an agent")
    only = {"job": chosen.job, "agent": chosen.agent} if chosen is not None else {}
    since_ns = time.time_ns() - nanoseconds(since) if since else 0
    with StateReader(call.home) as reader:
        found = reader.events(since_ns=since_ns, limit=limit, **only)
        newest = max((event["id"] for event in reader.events(limit=1)), default=0)
    for event in found:
        _say(call, event)
    if not follow and not found and not call.json:
        click.echo("nothing happened" + (f" within {since}" if since else ""), err=True)
    while follow:
        time.sleep(_PAUSE)
        with StateReader(call.home) as reader:  # anew each time: the home may be made only now
            for event in reader.events(after=newest, **only):
                newest = max(newest, event["id"])
                _say(call, event)


def _say(call: Call, event: dict[str, Any]) -> None:
    from teamwright.cli.happened import colour, words
    from teamwright.cli.output import spoken

    if call.json:
        call.emit(event)
    elif call.environ.get("NO_COLOR"):
        click.echo(spoken(words(event)))
    else:
        click.secho(spoken(words(event)), fg=colour(event))
