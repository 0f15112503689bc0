"""`deploy runs list|show`: who handled what for whom, run by run. Read without an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from teamwright.cli.app import Call, app, command
from teamwright.cli.narrowing import limited, narrowed

if TYPE_CHECKING:
    from teamwright.tracing.reading.filters import Filter


@app.group("runs")
def runs() -> None:
    """Look up runs: one agent's handling of one message each."""


@command("list", group=runs)
@narrowed()
@limited(20)
@click.pass_obj
def list_runs(call: Call, which: Filter, limit: int) -> None:
    """List runs, the newest query first, with what it asked of other agents below it.

    \b
    deploy runs list --job research --user ann
    """
    from teamwright.engine.store.registry_of_runs import listed

    found = listed(call.home, which, limit=limit)
    if call.json:
        call.emit({"runs": found})
        return
    if not found:
        click.echo("there are no such runs" if call.home.exists else "there are no runs yet")
        click.echo("next: " + call.next("query JOB 'your question'"))
        return
    from teamwright.cli.output import console
    from teamwright.tracing.showing.run_tree import render_list

    screen = console()
    screen.print(render_list(found, screen.width))


@command("show", group=runs)
@click.argument("run_id", required=False, metavar="[ID]")
@click.pass_obj
def show(call: Call, run_id: str | None) -> None:
    """Show one run, and the tree of runs it belongs to; the newest query's without an ID.

    The first digits of an ID are enough.

    \b
    deploy runs show 5f2c
    """
    from teamwright.engine.store.registry_of_runs import found

    run, tree = found(call.home, run_id)
    if call.json:
        call.emit({**run, "tree": tree})
        return
    from teamwright.cli.output import console
    from teamwright.tracing.showing.run_tree import render_run

    screen = console(width=120)
    screen.print(render_run(run, tree, screen.width))
    click.echo("next: " + call.next(f"trace show {run['trace_id'][:8]}"))
