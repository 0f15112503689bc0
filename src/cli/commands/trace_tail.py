"""`deploy trace tail`: spans as they end, live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from teamwright.cli.app import Call, command
from teamwright.cli.commands.trace import trace
from teamwright.cli.narrowing import narrowed

if TYPE_CHECKING:
    from teamwright.tracing.reading.filters import Filter

_PAUSE = 0.3


@command("tail", group=trace)
@click.argument("job", required=False, metavar="[JOB|FILE]")
@click.option("--seconds", type=click.FloatRange(min=0), help="End after so many; else with Ctrl-C.")
@narrowed("job", "since")
@click.pass_obj
def tail(call: Call, which: Filter, seconds: float | None) -> None:
    """Print each span when it ends, from now on.

    Agent, status and duration are those of the span; session, user, labels and words those of the query it is for.

    \b
    deploy trace tail research
    """
    import time

    from teamwright.tracing.reading.following import Follower
    from teamwright.tracing.showing.wording import duration

    until = None if seconds is None else time.monotonic() + seconds
    follower = Follower(call.home.spans_db, which)
    while True:
        for span in follower.ended():
            if call.json:
                call.emit(span)
            else:
                where = f"{span['trace_id'][:8]}  {span['job']}/{span['agent'] or 'engine'}"
                click.echo(f"{where}  {span['name']}  {duration(span['duration_ms'])}  {span['status']}")
        if until is not None and time.monotonic() >= until:
            return
        time.sleep(_PAUSE)
